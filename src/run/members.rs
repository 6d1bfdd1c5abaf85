//! An archive's members to blobs: proved as a whole first, stored one by one, its manifest last.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use time::format_description::well_known::Rfc3339;
use tokio::sync::mpsc;

use crate::archive::contract::{Format, Member, MemberKind};
use crate::archive::names::{Oddity, odd_names};
use crate::archive::spool::Spool;
use crate::archive::unpack::{Checked, Part, Parts, check as check_all, stream};
use crate::model::{BlobName, RemotePath, Version, hex, printable};
use crate::naming::{self, escaped_for_metadata};
use crate::plan::Why;
use crate::report::Ingested;
use crate::retry::retry;
use crate::run::blob::{self, Claim, Claimed, Content, Identity, MemberOf, Stored};
use crate::run::context::Pass;
use crate::run::error::TransferError;
use crate::run::intake::{Arrived, Intake, Look};
use crate::run::settings::{Archives, Versions};
use crate::run::transfer::{Transfer, resend};
use crate::store::contract::{BLOCK_BYTES, Condition, Properties, Upload};
use crate::verify;

/// Members on their way to the store at once, of one archive.
const MEMBERS_AT_ONCE: usize = 8;
/// The largest manifest that is read back to find members that a new version no longer has.
const MAX_MANIFEST_BYTES: u64 = 64 << 20;

/// The last write of an archive: the sign that all of it is in the store.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    schema: u32,
    run: String,
    source_path: String,
    version: String,
    format: String,
    bytes: u64,
    members: Vec<ManifestMember>,
    /// Blobs of members that the version before had and this one has not. They stay.
    stale: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ManifestMember {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blob: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    skipped: Option<String>,
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    modified: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    md5: Option<String>,
}

/// The name of the manifest of an archive's version.
pub fn manifest_name(source: &str, version: Version) -> BlobName {
    BlobName::new(format!("_blobferry/{source}/archives/{version}.json")).expect("source names are legal segments")
}

/// Whether this version of an archive is in the store already, by its manifest.
pub async fn complete(pass: &Pass, version: Version) -> Result<Option<Ingested>, TransferError> {
    let name = manifest_name(&pass.source.name, version);
    let Some(found) = blob::head(&pass.run, &name).await? else { return Ok(None) };
    let count = |key: &str| found.metadata.get(key).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let (members, skipped) = (count("members"), count("members_skipped"));
    let identical = members - skipped.min(members);
    Ok(Some(Ingested { identical, members_skipped: skipped, members_left: count("members_left"), members: Some(members), ..Ingested::default() }))
}

/// Reads the archive to its end: nothing of it may become visible before that has gone well.
pub async fn check(pass: &Pass, format: &'static dyn Format, spool: &Spool) -> Result<Vec<Checked>, TransferError> {
    Ok(check_all(format, spool, pass.run.limits.archive.clone()).await?)
}

/// A spool's bytes as if they had just come from the source, for archives that are kept whole.
pub async fn replay(pass: &Pass, spool: &Spool, upload: &Upload) -> Result<Arrived, TransferError> {
    let (sender, mut chunks) = mpsc::channel(4);
    let intake = async {
        let arrived = Intake::new(&pass.run, &mut chunks, Some(spool.size())).take(upload, Look::Away).await;
        chunks.close();
        arrived
    };
    let (sent, arrived) = tokio::join!(resend(spool, sender), intake);
    sent?;
    arrived
}

/// Stores every member of a checked archive, then its manifest.
pub async fn store(
    pass: &Pass,
    transfer: &Transfer,
    identity: &Identity<'_>,
    format: &'static dyn Format,
    spool: &Spool,
    checked: Vec<Checked>,
) -> Result<Ingested, TransferError> {
    let plans = planned(pass, identity, &checked);
    let look_first = transfer.why != Why::New || pass.ledger.unclean() || pass.source.versions == Versions::Overwrite || pass.source.adopt;
    let before = before(pass, transfer).await?;
    let way = Way { pass, archive: identity, format, checked: &checked, plans: &plans, look_first, before: by_name(before.as_ref()) };
    let stored = way.store(stream(format, spool, pass.run.limits.archive.clone())).await?;
    let mut ingested =
        Ingested { members: Some(checked.len() as u64), members_left: left(pass, &checked), notes: notes(&checked), ..Ingested::default() };
    let mut members = Vec::with_capacity(checked.len());
    for checked in &checked {
        let stored = stored.get(&checked.member.index);
        match stored {
            None => ingested.members_skipped += 1,
            Some(stored) => {
                ingested.stored += u64::from(!stored.identical);
                ingested.identical += u64::from(stored.identical);
                ingested.notes.extend(stored.note.clone());
            }
        }
        members.push(manifest_member(pass, checked, stored));
    }
    let stale = stale(before, &members);
    ingested.notes.extend(stale.iter().map(|blob| format!("stale: the archive no longer holds what is stored as `{blob}`")));
    let manifest = Manifest {
        schema: 1,
        run: pass.run.id.clone(),
        source_path: escaped_for_metadata(identity.file.path.as_bytes()),
        version: identity.version.to_string(),
        format: format.name().to_owned(),
        bytes: spool.size(),
        members,
        stale,
    };
    write_manifest(pass, identity.version, &manifest, &ingested).await?;
    Ok(ingested)
}

/// Where a member goes.
struct Plan {
    plain: BlobName,
    twin: usize,
    note: Option<String>,
}

/// A place for each member that is a file. Two members whose names meet get different ones here, by their
/// order in the archive, so that who gets the plain name is the same in every run.
fn planned(pass: &Pass, identity: &Identity<'_>, checked: &[Checked]) -> Vec<Option<Plan>> {
    let mut raw_names: HashSet<&[u8]> = HashSet::new();
    let mut taken: HashSet<BlobName> = HashSet::new();
    let mut plan = |member: &'_ Member| {
        let plain = pass.source.naming.member(&identity.file.path, &member.name);
        if taken.insert(plain.clone()) {
            return (plain, None);
        }
        let own = naming::apart(&plain, &[&member.raw_name[..], &member.index.to_be_bytes()].concat());
        taken.insert(own.clone());
        let note = format!("member `{}` (number {}) shares its name, so it is stored as `{own}`", printable(member.name.as_bytes()), member.index);
        (own, Some(note))
    };
    let mut plans = Vec::with_capacity(checked.len());
    for Checked { member, .. } in checked {
        if member.kind != MemberKind::File {
            plans.push(None);
            continue;
        }
        let (plain, note) = plan(member);
        let twin = if raw_names.insert(&member.raw_name) { 0 } else { member.index };
        plans.push(Some(Plan { plain, twin, note }));
    }
    plans
}

/// A member on its way to the store.
enum Ready {
    /// Its bytes are here, none of them visible yet.
    Here(Box<Here>),
    /// It was there before.
    There(usize, Stored),
}

struct Here {
    member: Member,
    claim: Claim,
    upload: Upload,
    arrived: Arrived,
}

/// What the two sides of an archive's way share.
struct Way<'a> {
    pass: &'a Pass,
    archive: &'a Identity<'a>,
    format: &'static dyn Format,
    checked: &'a [Checked],
    plans: &'a [Option<Plan>],
    /// Whether earlier content may stand under the members' names.
    look_first: bool,
    /// The members of the version before, by name.
    before: HashMap<&'a str, &'a ManifestMember>,
}

impl<'a> Way<'a> {
    fn identity(&self, member: &'a Member, plan: &Plan) -> Identity<'a> {
        let member_of = MemberOf { format: self.format.name(), raw_name: &member.raw_name, twin: plan.twin, modified: self.pass.modified(member) };
        Identity { member: Some(member_of), ..self.archive.clone() }
    }

    /// Unpacks on one side and commits on the other, some members at once.
    async fn store(&self, parts: Parts) -> Result<HashMap<usize, Stored>, TransferError> {
        let (sender, receiver) = mpsc::channel(1);
        let mut receiver: mpsc::Receiver<Ready> = receiver;
        let ready = futures_util::stream::poll_fn(move |context| receiver.poll_recv(context));
        let commits = ready.map(|ready| self.commit(ready).boxed()).buffer_unordered(MEMBERS_AT_ONCE).try_collect::<HashMap<_, _>>();
        let (taken_in, stored) = tokio::join!(self.take_in(parts, sender), commits);
        // A commit that fails stops the unpacking, which then has nothing to tell but that.
        let stored = stored?;
        taken_in?;
        Ok(stored)
    }

    async fn take_in(&self, mut parts: Parts, ready: mpsc::Sender<Ready>) -> Result<(), TransferError> {
        while let Some(part) = parts.next().await.transpose()? {
            let Part::Begin(member) = part else { return Err(TransferError::Defect("a member without a beginning")) };
            let one = self.take_one(&mut parts, member).await?;
            if let Some(one) = one
                && ready.send(one).await.is_err()
            {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn take_one(&self, parts: &mut Parts, member: Member) -> Result<Option<Ready>, TransferError> {
        let defect = TransferError::Defect("a member that was not checked");
        let Some((plan, checked)) = self.plans.get(member.index).zip(self.checked.get(member.index)) else { return Err(defect) };
        let Some(plan) = plan else {
            pump(parts, None).await?;
            return Ok(None);
        };
        let claim = match self.claim(plan, checked).await? {
            Claimed::Free(claim) => claim,
            Claimed::There(name, found) => {
                verify::stored((checked.size, checked.md5), (found.size, found.md5))?;
                pump(parts, None).await?;
                let stored = Stored { name, size: checked.size, md5: checked.md5, identical: true, note: plan.note.clone() };
                return Ok(Some(Ready::There(member.index, stored)));
            }
        };
        let upload = Upload::new(claim.name.clone());
        let (chunks, mut received) = mpsc::channel(2);
        let intake = async {
            let arrived = Intake::new(&self.pass.run, &mut received, Some(checked.size)).take(&upload, Look::Away).await;
            received.close();
            arrived
        };
        let (pumped, arrived) = tokio::join!(pump(parts, Some(chunks)), intake);
        pumped?;
        Ok(Some(Ready::Here(Box::new(Here { arrived: arrived?, member, claim, upload }))))
    }

    /// A large member's name must be certain before its blocks are staged under it; a small one's may be tried.
    async fn claim(&self, plan: &Plan, checked: &'a Checked) -> Result<Claimed, TransferError> {
        if !self.look_first && checked.size <= BLOCK_BYTES {
            return Ok(Claimed::Free(Claim::hopeful(plan.plain.clone())));
        }
        if let Some(there) = self.as_before(checked).await? {
            return Ok(there);
        }
        let identity = self.identity(&checked.member, plan);
        blob::claim(self.pass, &identity, &plan.plain, Some((checked.size, checked.md5))).await
    }

    /// The blob of the same member of the version before, if it still holds the same.
    async fn as_before(&self, checked: &Checked) -> Result<Option<Claimed>, TransferError> {
        let name = escaped_for_metadata(&checked.member.raw_name);
        let Some(member) = self.before.get(name.as_str()) else { return Ok(None) };
        let same =
            member.size == checked.size && member.md5.as_ref() == Some(&hex(&checked.md5)) && member.modified == modified(self.pass, &checked.member);
        let Some(blob) = member.blob.as_ref().filter(|_| same).and_then(|blob| BlobName::new(blob).ok()) else { return Ok(None) };
        let found = blob::head(&self.pass.run, &blob).await?;
        let found = found.filter(|found| verify::stored((checked.size, checked.md5), (found.size, found.md5)).is_ok());
        Ok(found.map(|found| Claimed::There(blob, found)))
    }

    async fn commit(&self, ready: Ready) -> Result<(usize, Stored), TransferError> {
        let Here { member, claim, upload, arrived } = match ready {
            Ready::There(index, stored) => return Ok((index, stored)),
            Ready::Here(here) => *here,
        };
        let plan = self.plans[member.index].as_ref().ok_or(TransferError::Defect("a member without a place"))?;
        let checked = &self.checked[member.index];
        let identity = self.identity(&checked.member, plan);
        let content = Content::of(&arrived, &upload)?;
        // What is stored is what was proved, though the archive was unpacked twice.
        verify::stored((checked.size, checked.md5), (content.proof().0, Some(content.proof().1)))?;
        let content_type = blob::content_type(&RemotePath::from(member.name.as_str()), content.head());
        let stored = blob::write(self.pass, &identity, content, &plan.plain, claim, &content_type).await;
        if !stored.as_ref().is_ok_and(|stored| !stored.identical) {
            self.pass.run.store.abandon(&upload).await;
        }
        let stored = stored?;
        Ok((member.index, Stored { note: stored.note.or_else(|| plan.note.clone()), ..stored }))
    }
}

/// Hands on the chunks of the member in hand to its end. Where nobody wants them, they are read all the same.
async fn pump(parts: &mut Parts, chunks: Option<mpsc::Sender<Bytes>>) -> Result<(), TransferError> {
    let mut wanted = chunks;
    loop {
        match parts.next().await.transpose()? {
            Some(Part::Chunk(chunk)) => {
                if let Some(chunks) = &wanted
                    && chunks.send(chunk).await.is_err()
                {
                    wanted = None;
                }
            }
            Some(Part::End) => return Ok(()),
            Some(Part::Begin(_)) | None => return Err(TransferError::Defect("a member without an end")),
        }
    }
}

fn manifest_member(pass: &Pass, checked: &Checked, stored: Option<&Stored>) -> ManifestMember {
    let member = &checked.member;
    let skipped = match member.kind {
        MemberKind::File => None,
        MemberKind::Directory => Some("directory".to_owned()),
        MemberKind::Special => Some("link or special file".to_owned()),
    };
    ManifestMember {
        name: escaped_for_metadata(&member.raw_name),
        blob: stored.map(|stored| stored.name.as_str().to_owned()),
        skipped,
        size: checked.size,
        modified: modified(pass, member),
        md5: stored.map(|stored| hex(&stored.md5)),
    }
}

fn modified(pass: &Pass, member: &Member) -> Option<String> {
    pass.modified(member).and_then(|modified| modified.at.format(&Rfc3339).ok())
}

/// How many members are neither stored nor kept with the original.
fn left(pass: &Pass, checked: &[Checked]) -> u64 {
    let special = checked.iter().filter(|checked| checked.member.kind == MemberKind::Special).count() as u64;
    if pass.source.archives == Archives::Both { 0 } else { special }
}

/// What a reader should know of the members' names.
fn notes(checked: &[Checked]) -> Vec<String> {
    let files: Vec<&Member> = checked.iter().map(|checked| &checked.member).filter(|member| member.kind == MemberKind::File).collect();
    let odd = odd_names(files.iter().map(|member| member.name.as_str()));
    let line = |(index, odd): (usize, Vec<Oddity>)| {
        let words: Vec<String> = odd.iter().map(ToString::to_string).collect();
        format!("member `{}` {}", printable(files[index].name.as_bytes()), words.join(", "))
    };
    odd.into_iter().map(line).collect()
}

/// What was stored of the version before.
async fn before(pass: &Pass, transfer: &Transfer) -> Result<Option<Manifest>, TransferError> {
    let Some(known) = &transfer.known else { return Ok(None) };
    let name = manifest_name(&pass.source.name, known.version);
    let once = |_| pass.run.store.get(&name, 0, MAX_MANIFEST_BYTES);
    let Some((_, bytes)) = retry(&pass.run.policy, &pass.run.cancel, "reading a manifest", once).await? else { return Ok(None) };
    // The version before may not have been an archive, or be described by a later release: then nothing is known of it.
    Ok(serde_json::from_slice(&bytes).ok())
}

/// Members by name; those that share one are left out.
fn by_name(before: Option<&Manifest>) -> HashMap<&str, &ManifestMember> {
    let mut members = HashMap::new();
    let mut shared = HashSet::new();
    for member in before.iter().flat_map(|manifest| &manifest.members) {
        if members.insert(member.name.as_str(), member).is_some() {
            shared.insert(member.name.as_str());
        }
    }
    members.retain(|name, _| !shared.contains(name));
    members
}

/// Blobs of members that the version before had and this one has not.
fn stale(before: Option<Manifest>, members: &[ManifestMember]) -> Vec<String> {
    let Some(before) = before else { return Vec::new() };
    let names: HashSet<&str> = members.iter().map(|member| member.name.as_str()).collect();
    let gone = before.members.into_iter().filter(|member| !names.contains(member.name.as_str()));
    gone.filter_map(|member| member.blob).chain(before.stale).collect()
}

async fn write_manifest(pass: &Pass, version: Version, manifest: &Manifest, ingested: &Ingested) -> Result<(), TransferError> {
    let bytes = Bytes::from(serde_json::to_vec_pretty(manifest).map_err(|_| TransferError::Defect("writing a manifest"))?);
    let metadata =
        [("members", manifest.members.len() as u64), ("members_skipped", ingested.members_skipped), ("members_left", ingested.members_left)];
    let properties = Properties {
        content_type: "application/json".to_owned(),
        md5: Md5::digest(&bytes).into(),
        metadata: metadata.into_iter().map(|(key, count)| (key.to_owned(), count.to_string())).collect(),
    };
    let name = manifest_name(&pass.source.name, version);
    let once = |_| pass.run.store.put(&name, bytes.clone(), &properties, &Condition::Always);
    retry(&pass.run.policy, &pass.run.cancel, "writing a manifest", once).await?;
    Ok(())
}
