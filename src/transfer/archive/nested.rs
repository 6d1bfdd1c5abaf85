//! Archives in archives that a new version of the outer one holds unchanged: their members are not
//! read again.

use crate::transfer::archive::manifest::{InnerArchive, LINK, NOT_WANTED, SPECIAL};
use std::collections::HashMap;

use crate::archive::contract::Place;
use crate::archive::unpack::Proven;
use crate::report::Ingested;
use crate::transfer::archive::manifest::{Manifest, ManifestMember};
use crate::transfer::context::Pass;

/// An inner archive that is as it was, and what the version before says of its members.
#[derive(Clone, Debug)]
pub struct Unchanged {
    archive: InnerArchive,
    members: Vec<ManifestMember>,
}

/// The inner archive at `place`, if the directory says of it what it said in the version `before`
/// (CRC-32, size and time) and all files of it were stored then, opened as deep as they would be
/// now.
pub fn unchanged(pass: &Pass, before: &Manifest, place: &Place) -> Option<Unchanged> {
    let now = InnerArchive::told(pass, &place.member, Some(place.crc32?));
    now.modified.as_ref()?;
    let mut same_name = before.inner.iter().filter(|inner| inner.name == now.name);
    let archive = same_name.next().filter(|_| same_name.next().is_none())?;
    let same =
        (&archive.crc32, archive.size, &archive.modified) == (&now.crc32, now.size, &now.modified);
    let members = before.members.get(archive.first..archive.first.checked_add(archive.members)?)?;
    let whole = members.iter().all(|member| {
        member.blob.is_some() || member.skipped.as_deref().is_some_and(|why| why != NOT_WANTED)
    });
    (same && whole && before.opening == opening(pass))
        .then(|| Unchanged { archive: archive.clone(), members: members.to_vec() })
}

/// The settings that decide which archives in archives are opened.
pub fn opening(pass: &Pass) -> String {
    let documents = if pass.source.unpacking.unpack_documents { ", documents too" } else { "" };
    format!("depth {}{documents}", pass.source.unpacking.depth)
}

impl Unchanged {
    /// What the version before says of its members.
    pub fn members(&self) -> &[ManifestMember] {
        &self.members
    }
}

/// Counts the members of unchanged inner archives in the places of those among the checked members,
/// and tells where the members of all inner archives are then.
pub fn settle(
    pass: &Pass,
    proven: &Proven,
    unchanged: &HashMap<usize, Unchanged>,
    ingested: &mut Ingested,
) -> Vec<InnerArchive> {
    let (mut all, mut inner, mut places) =
        (0, Vec::new(), Vec::with_capacity(proven.members.len() + 1));
    for at in 0..proven.members.len() {
        places.push(all);
        let Some(Unchanged { archive, members }) = unchanged.get(&at) else {
            all += 1;
            continue;
        };
        inner.push(InnerArchive { first: all, ..archive.clone() });
        let count = |what: fn(&ManifestMember) -> bool| {
            members.iter().filter(|member| what(member)).count() as u64
        };
        let (stored, links) = (
            count(|member| member.blob.is_some()),
            count(|member| member.skipped.as_deref() == Some(LINK)),
        );
        let special = links + count(|member| member.skipped.as_deref() == Some(SPECIAL));
        ingested.members_links += links;
        // The archive itself was counted as a member that is skipped.
        ingested.members_skipped += members.len() as u64 - stored - 1;
        ingested.identical += stored;
        ingested.members = ingested.members.map(|all| all + members.len() as u64 - 1);
        if pass.source.archives != crate::transfer::settings::Archives::Both {
            ingested.members_left += special;
        }
        all += members.len();
    }
    places.push(all);
    for (outer, crc32, leaves) in proven.opened() {
        let (first, end) = (places[leaves.start], places[leaves.end]);
        inner.push(InnerArchive {
            first,
            members: end - first,
            ..InnerArchive::told(pass, &outer, crc32)
        });
    }
    inner.sort_by_key(|archive| archive.first);
    inner
}
