//! Which names the blobs of a plan will have where their plain names are taken: by blobs that are
//! there, or by other files of the plan.

use std::collections::{BTreeSet, HashMap, HashSet};

use futures_util::{StreamExt, stream};

use crate::model::{BlobName, RemoteFile, RemotePath, Version};
use crate::rules::layout::NameError;
use crate::rules::naming::short_hash;
use crate::rules::plan::Why;
use crate::run::planned_members::{ReadArchive, ReadMember, is_unpacked};
use crate::transfer::commit::{Claimed, claim, set_apart};
use crate::transfer::context::Pass;
use crate::transfer::download::{describe, is_exact};
use crate::transfer::error::TransferError;
use crate::transfer::identity::TransferIdentity;
use crate::transfer::request::Transfer;
use crate::transfer::settings::Archives;

/// Names that are looked for in the store, at most: each costs a request or two.
const MOST_LOOKUPS: usize = 1_000;
/// Names that are looked for at once.
const LOOKUPS: usize = 16;

/// Where the members of archives go, as far as their directories were read.
pub(crate) type ReadArchives = HashMap<RemotePath, Result<ReadArchive, NameError>>;

/// What is known of names beside what the settings say.
#[derive(Debug, Default)]
pub(crate) struct LookedUpNames {
    /// Files whose names are not the plain ones, or why they get none.
    pub files: HashMap<RemotePath, Result<BlobName, String>>,
    /// Members whose names are not the plain ones, by the paths of their archives and their places
    /// among the names that are told.
    pub members: Vec<(RemotePath, usize, BlobName)>,
    /// What the plan should say of single files.
    pub notes: Vec<(RemotePath, String)>,
    /// Names that were not looked for, since there are too many.
    pub unasked: usize,
    /// Plain names that a member of an archive and another file of the plan both want, in order.
    /// Nobody knows yet which of the two is stored first.
    pub contested: BTreeSet<BlobName>,
}

impl LookedUpNames {
    /// Puts the names of members into `archives`.
    pub fn put_into(&mut self, archives: &mut ReadArchives) {
        for (path, place, name) in self.members.drain(..) {
            let told = archives.get_mut(&path).and_then(|read| read.as_mut().ok());
            if let Some(blob) = told.and_then(|(told, _)| told.blobs.get_mut(place)) {
                *blob = name.to_string();
            }
        }
    }
}

/// A blob that a run would store.
struct WantedBlob<'a> {
    file: &'a RemoteFile,
    /// Whether another file of the plan is to have its plain name.
    yields: bool,
    member: Option<&'a ReadMember>,
    is_asked_for: bool,
}

impl WantedBlob<'_> {
    fn identity<'a>(&'a self, file: &'a RemoteFile) -> TransferIdentity<'a> {
        TransferIdentity {
            yields: self.yields,
            member: self.member.map(ReadMember::identity),
            ..TransferIdentity::recorded(file, Version::of(file))
        }
    }

    /// Its plain name, by what the source says of `file` now.
    fn plain(&self, pass: &Pass, file: &RemoteFile) -> Result<BlobName, NameError> {
        match self.member {
            Some(member) => Ok(member.plain.clone()),
            None => pass.source.naming.file(file),
        }
    }
}

/// Looks for the names of `planned`, which come in the order of a run, and of the members
/// that `archives` tell.
pub(crate) async fn look_up(
    pass: &Pass,
    planned: &[&Transfer],
    archives: &ReadArchives,
) -> LookedUpNames {
    let (wanted, unasked) = wanted(pass, planned, archives);
    let mut found = LookedUpNames { unasked, ..LookedUpNames::default() };
    let (mut taken, mut by_members) = (HashSet::new(), HashSet::new());
    let lookups = wanted.iter().map(|one| async move { (one, asked(pass, one).await) });
    let mut lookups = std::pin::pin!(stream::iter(lookups).buffered(LOOKUPS));
    while let Some((one, (file, claimed))) = lookups.next().await {
        let path = &one.file.path;
        // Those that get no name are told with the reason.
        let Ok(plain) = one.plain(pass, &file) else { continue };
        let (name, note) = match given(pass, &one.identity(&file), &plain, claimed, &taken).await {
            Ok(given) => given,
            Err(why) => {
                found.files.insert(path.clone(), Err(why));
                continue;
            }
        };
        let wanted = short_hash(plain.as_str().as_bytes());
        let is_met = taken.contains(&wanted);
        if is_met && (one.member.is_some() || by_members.contains(&wanted)) {
            found.contested.insert(plain.clone());
        }
        taken.insert(short_hash(name.as_str().as_bytes()));
        by_members.extend(one.member.is_some().then_some(wanted));
        found.notes.extend(note.map(|note| (path.clone(), note)));
        match one.member {
            Some(member) if name != plain => found.members.push((path.clone(), member.place, name)),
            Some(_) => {}
            None if one.plain(pass, one.file).is_ok_and(|told| told == name) => {}
            None => drop(found.files.insert(path.clone(), Ok(name))),
        }
    }
    found
}

/// The blobs whose names may be others than the plain ones, and how many of them nobody asks for.
fn wanted<'a>(
    pass: &Pass,
    planned: &[&'a Transfer],
    archives: &'a ReadArchives,
) -> (Vec<WantedBlob<'a>>, usize) {
    let (naming, may_meet) = (&pass.source.naming, pass.source.naming.may_meet());
    let (mut wanted, mut unasked) = (Vec::new(), 0);
    for Transfer { file, why, known, yields, .. } in planned {
        let is_new = *why == Why::New && known.is_none();
        let is_stored = pass.source.archives == Archives::Both || !is_unpacked(&pass.source, file);
        let is_vague = naming.is_dated() && !is_exact(file);
        let own = (is_stored && (may_meet || is_vague || !is_new)).then_some(None);
        let read = archives.get(&file.path).and_then(|read| read.as_ref().ok());
        // Of the members of a changed archive nobody knows which ones are as they were.
        let members = read.filter(|_| may_meet && is_new).into_iter().flat_map(|(_, told)| told);
        for member in own.into_iter().chain(members.map(Some)) {
            let is_asked_for = wanted.len() < MOST_LOOKUPS;
            unasked += usize::from(!is_asked_for);
            if is_asked_for || may_meet {
                let yields = *yields && member.is_none();
                wanted.push(WantedBlob { file, yields, member, is_asked_for });
            }
        }
    }
    (wanted, unasked)
}

/// The file as a run would know it, and what stands in the store in its place.
async fn asked(
    pass: &Pass,
    one: &WantedBlob<'_>,
) -> (RemoteFile, Option<Result<Claimed, TransferError>>) {
    if !one.is_asked_for {
        return (one.file.clone(), None);
    }
    let file = match describe(pass, one.file).await {
        Ok(Ok(described)) => described.file,
        // The run that finds it so decides about it.
        Ok(Err(_)) | Err(_) => one.file.clone(),
    };
    let claimed = match one.plain(pass, &file) {
        Ok(plain) => claim(pass, &one.identity(&file), &plain, None).await,
        Err(nameless) => Err(nameless.into()),
    };
    (file, Some(claimed))
}

/// The name that a blob gets beside those that are `taken`, with what is to be said of it; or why
/// it gets none.
async fn given(
    pass: &Pass,
    identity: &TransferIdentity<'_>,
    plain: &BlobName,
    claimed: Option<Result<Claimed, TransferError>>,
    taken: &HashSet<u64>,
) -> Result<(BlobName, Option<String>), String> {
    let is_taken = |name: &BlobName| taken.contains(&short_hash(name.as_str().as_bytes()));
    let claimed = match claimed {
        Some(Ok(Claimed::Free(free))) if is_taken(&free.name) => {
            let identity = TransferIdentity { yields: true, ..identity.clone() };
            Some(claim(pass, &identity, plain, None).await)
        }
        claimed => claimed,
    };
    match claimed {
        Some(Ok(Claimed::Free(free))) => Ok((free.name, free.note)),
        Some(Ok(Claimed::There(name, _))) => Ok((name, None)),
        Some(Err(conflict @ TransferError::Conflict { .. })) => Err(conflict.to_string()),
        // A store that does not answer keeps no plan from being told.
        None | Some(Err(_)) if identity.yields || is_taken(plain) => {
            Ok(set_apart(pass, identity, plain, "belongs to another file"))
        }
        None | Some(Err(_)) => Ok((plain.clone(), None)),
    }
}
