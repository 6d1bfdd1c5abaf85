//! Where the members of an archive would go, for a plan: by the archive's directory, where that can
//! be read by itself.

use std::collections::HashSet;

use crate::archive::contract::{Member, MemberKind};
use crate::model::{BlobName, ModifiedTime, RemoteFile};
use crate::rules::layout::{MemberName, NameError};
use crate::rules::naming::{Places, short_hash};
use crate::transfer::archive::partial::{Previewed, may_be_archive, preview};
use crate::transfer::context::Pass;
use crate::transfer::identity::MemberOf;
use crate::transfer::settings::is_wanted;
use crate::transfer::settings::{Archives, MemberGlobs, Source};

/// Names that are told of one archive, at most.
const MOST_NAMES: usize = 1_000;

/// Where the members of an archive would go.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PlannedMembers {
    /// What their names begin with.
    pub below: String,
    /// How many would be stored, if the archive's directory could be read; an archive in it counts
    /// as one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// The names of the first of them; those of an archive's members end in `…`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blobs: Vec<String>,
}

/// A member whose name is told.
#[derive(Clone, Debug)]
pub(crate) struct ReadMember {
    /// Its place among the names that are told.
    pub place: usize,
    /// Its plain name.
    pub plain: BlobName,
    format: &'static str,
    raw_name: Vec<u8>,
    twin: usize,
    modified: Option<ModifiedTime>,
}

impl ReadMember {
    /// What its blob says of it.
    pub fn identity(&self) -> MemberOf<'_> {
        let Self { format, raw_name, twin, modified, .. } = self;
        MemberOf { format, raw_name, twin: *twin, modified: *modified }
    }
}

/// Where the members of an archive go by themselves, and those of them that are no archives.
pub(crate) type ReadArchive = (PlannedMembers, Vec<ReadMember>);

/// Whether `file` would be unpacked, as far as its name tells.
pub(crate) fn is_unpacked(source: &Source, file: &RemoteFile) -> bool {
    source.archives != Archives::Keep && may_be_archive(&file.path.file_name_text())
}

/// What is known of the members of `file` without its directory.
pub(crate) fn unread(source: &Source, file: &RemoteFile) -> Result<PlannedMembers, NameError> {
    let below = source.naming.members_of(file)?;
    Ok(PlannedMembers { below, count: None, blobs: Vec::new() })
}

/// The same, with the names that the archive's directory leads to, if it can be read.
pub(crate) async fn read(pass: &Pass, file: &RemoteFile) -> Result<ReadArchive, NameError> {
    let unread = unread(&pass.source, file)?;
    let Some(Previewed { format, members }) = preview(pass, file).await else {
        return Ok((unread, Vec::new()));
    };
    let globs = MemberGlobs::of(&pass.source);
    let inner = |member: &Member| {
        pass.source.unpacking.depth > 1 && may_be_archive(MemberName::file_name(&member.name))
    };
    let wanted = |member: &Member| {
        member.kind == MemberKind::File && (inner(member) || is_wanted(&globs, member))
    };
    let (mut count, mut blobs, mut told) = (0, Vec::new(), Vec::new());
    let (mut places, mut raw_names) = (Places::default(), HashSet::new());
    for member in members.into_iter().filter(wanted) {
        count += 1;
        if inner(&member) {
            let within = [member.name.clone()];
            let rest = MemberName { within: &within, name: "…", ..pass.member_name(&member) };
            let name = pass.source.naming.member(file, rest)?;
            blobs.extend((blobs.len() < MOST_NAMES).then(|| name.to_string()));
            continue;
        }
        let plain = pass.source.naming.member(file, pass.member_name(&member))?;
        let plain = places.of(plain, &member.raw_name, member.index).0;
        let twin = if raw_names.insert(short_hash(&member.raw_name)) { 0 } else { member.index };
        if blobs.len() < MOST_NAMES {
            blobs.push(plain.to_string());
            let (place, modified) = (blobs.len() - 1, pass.modified(&member));
            let raw_name = member.raw_name;
            told.push(ReadMember { place, plain, format, raw_name, twin, modified });
        }
    }
    Ok((PlannedMembers { count: Some(count), blobs, ..unread }, told))
}
