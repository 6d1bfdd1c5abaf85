//! An archive's members to blobs: proved as a whole first, stored one by one, its manifest last.

use std::collections::HashMap;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use md5::{Digest, Md5};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};

use crate::archive::checked_members::CheckedMembers;
use crate::archive::contract::{Member, MemberKind};
use crate::archive::unpack::{Part, Parts};
use crate::archive::verify::Checked;
use crate::failpoint::{failpoint, safeguard_off};
use crate::model::{self, BlobName, RemotePath};
use crate::report::Ingested;
use crate::rules::equality;
use crate::rules::naming::escaped_for_metadata;
use crate::rules::verify;
use crate::store::contract::{BLOCK_BYTES, BlobInfo, Condition, Upload};
use crate::transfer::archive::checking::ProvenArchive;
use crate::transfer::archive::early_upload::EarlyStaged;
use crate::transfer::archive::manifest::{self, Manifest, ManifestMember};
use crate::transfer::archive::manifest_writing::{self, ManifestMembers};
use crate::transfer::archive::nested::{self, Unchanged};
use crate::transfer::archive::notes;
use crate::transfer::archive::places::{MemberPlan, MemberPlans};
use crate::transfer::archive::stored_members::{StoredMember, StoredMembers};
use crate::transfer::commit::{self, Claim, Claimed, Content, Stored};
use crate::transfer::context::Pass;
use crate::transfer::download;
use crate::transfer::error::TransferError;
use crate::transfer::identity::{MemberOf, TransferIdentity};
use crate::transfer::permits::SlotPermit;
use crate::transfer::request::Transfer;
use crate::transfer::settings::is_wanted;
use crate::transfer::settings::{Archives, MemberGlobs};
use crate::transfer::upload::{Arrived, Intake, Look, Whole};

/// Members on their way to the store at once, of one archive, at least.
const MEMBERS_AT_ONCE: usize = 8;
/// And at most, while the run has slots that no file waits for.
const MOST_MEMBERS: usize = 64;

/// Stores every member of a checked archive, then its manifest.
pub(crate) async fn store(
    pass: &Pass,
    transfer: &Transfer,
    identity: &TransferIdentity<'_>,
    whole: ProvenArchive,
) -> Result<Ingested, TransferError> {
    let ProvenArchive { archive, mut proven, look_first, known, unchanged, staged, plans, _kept } =
        whole;
    let staged = fitting(pass, identity, staged, &mut proven.members, &plans).await?;
    let checked = &proven.members;
    let before = manifest::before(pass, transfer).await?;
    let format = archive.format.name();
    let before_by_name = manifest::by_name(before.as_ref());
    let own = MEMBERS_AT_ONCE.max(pass.run.store.small_writes_at_once());
    let way = Way {
        pass,
        own: Semaphore::new(own),
        most: MOST_MEMBERS.max(own),
        archive: identity,
        format,
        checked,
        plans: &plans,
        look_first,
        before: before_by_name,
    };
    let uploads: Vec<Upload> = staged.iter().map(|(_, staged)| staged.upload.clone()).collect();
    let stored = way.store(archive.stream(&proven), staged).await;
    if stored.is_err() {
        for upload in uploads {
            pass.run.store.abandon(&upload).await;
        }
    }
    let mut stored = stored?;
    known.into_iter().for_each(|(place, known)| stored.add(StoredMember::new(place, known, None)));
    let members_left = left(pass, checked, &unchanged) + proven.doubts.len() as u64;
    let mut ingested = notes::of(pass.source.unpacking.inner_errors, &proven);
    (ingested.members, ingested.members_left) = (Some(checked.len() as u64), members_left);
    (ingested.stored, ingested.identical) = stored.counts();
    ingested.members_skipped = checked.len() as u64 - ingested.stored - ingested.identical;
    ingested.notes.extend(stored.notes().cloned());
    let inner = nested::settle(pass, &proven, &unchanged, &mut ingested);
    let told = ManifestMembers { pass, identity, checked, stored, plans, unchanged };
    let stale = manifest::stale(before, told.iter());
    ingested.notes.extend(
        stale
            .iter()
            .map(|blob| format!("stale: the archive no longer holds what is stored as `{blob}`")),
    );
    let manifest = Manifest {
        schema: 1,
        run: pass.run.id.clone(),
        source_path: escaped_for_metadata(identity.file.path.as_bytes()),
        version: identity.version.to_string(),
        format: format.to_owned(),
        bytes: archive.spool.size(),
        members: Vec::new(),
        stale,
        inner,
        opening: nested::opening(pass),
    };
    notes::limit(&mut ingested.notes);
    manifest_writing::write(pass, identity, manifest, told.iter(), &ingested).await?;
    ingested.proof.archive = Some(manifest::name_of(&pass.source.name, identity.version));
    Ok(ingested)
}

/// Those of `staged` that were staged for what their members turned out to be, by index; the others
/// are given up, and their members are read again.
async fn fitting(
    pass: &Pass,
    identity: &TransferIdentity<'_>,
    staged: Vec<EarlyStaged>,
    checked: &mut CheckedMembers,
    plans: &MemberPlans,
) -> Result<Vec<(usize, EarlyStaged)>, TransferError> {
    let mut by_number: HashMap<u64, EarlyStaged> =
        staged.into_iter().map(|staged| (staged.number, staged)).collect();
    let mut fitting = Vec::with_capacity(by_number.len());
    for (index, number) in checked.taken() {
        let plan = plans.plan(pass, identity, &checked.member(index))?;
        match (by_number.remove(&number), plan) {
            (Some(staged), Some(plan)) if staged.plain == plan.plain && plan.twin == 0 => {
                fitting.push((index, staged));
            }
            (staged, _) => {
                checked.give_back(index);
                if let Some(staged) = staged {
                    staged.abandon(pass).await;
                }
            }
        }
    }
    for staged in by_number.into_values() {
        staged.abandon(pass).await;
    }
    Ok(fitting)
}

/// A member on its way to the store.
enum MemberReady {
    /// Its bytes are here, none of them visible yet.
    Here(Box<Here>),
    /// It was there before.
    There(StoredMember),
}

struct Here {
    index: usize,
    claim: Claim,
    upload: Upload,
    arrived: Arrived,
}

/// What the two sides of an archive's way share.
struct Way<'a> {
    pass: &'a Pass,
    /// Members that may be on their way in any case.
    own: Semaphore,
    /// Members that may be on their way while there are slots to spare.
    most: usize,
    archive: &'a TransferIdentity<'a>,
    format: &'static str,
    checked: &'a CheckedMembers,
    plans: &'a MemberPlans,
    /// Whether earlier content may stand under the members' names.
    look_first: bool,
    /// The members of the version before, by name.
    before: HashMap<&'a str, &'a ManifestMember>,
}

impl<'a> Way<'a> {
    fn identity<'m>(&'m self, member: &'m Member, plan: &MemberPlan) -> TransferIdentity<'m> {
        let member_of = MemberOf {
            format: self.format,
            raw_name: &member.raw_name,
            twin: plan.twin,
            modified: self.pass.modified(member),
        };
        TransferIdentity { member: Some(member_of), yields: false, ..self.archive.clone() }
    }

    fn plan(&self, checked: &Checked) -> Result<Option<MemberPlan>, TransferError> {
        Ok(self.plans.plan(self.pass, self.archive, &checked.member)?)
    }

    /// Unpacks on one side and commits on the other, some members at once.
    async fn store(
        &self,
        streams: Vec<Parts>,
        staged: Vec<(usize, EarlyStaged)>,
    ) -> Result<StoredMembers, TransferError> {
        let (sender, receiver) = mpsc::channel(1);
        let mut receiver: mpsc::Receiver<MemberReady> = receiver;
        let ready = futures_util::stream::poll_fn(move |context| receiver.poll_recv(context));
        let commits = ready
            .map(|ready| self.commit(ready).boxed())
            .buffer_unordered(self.most)
            .try_fold(StoredMembers::new(self.checked.len()), |mut all, stored| {
                all.add(stored);
                std::future::ready(Ok(all))
            });
        let (taken_in, stored) = tokio::join!(self.take_all_in(streams, staged, sender), commits);
        // A commit that fails stops the unpacking, which then has nothing to tell but that.
        let stored = stored?;
        taken_in?;
        Ok(stored)
    }

    async fn take_all_in(
        &self,
        streams: Vec<Parts>,
        staged: Vec<(usize, EarlyStaged)>,
        ready: mpsc::Sender<MemberReady>,
    ) -> Result<(), TransferError> {
        let streams = streams.into_iter().map(|parts| self.take_in(parts, ready.clone()).boxed());
        let all = futures_util::future::try_join_all(streams);
        for (index, EarlyStaged { claim, upload, arrived, .. }) in staged {
            if ready
                .send(MemberReady::Here(Box::new(Here { index, claim, upload, arrived })))
                .await
                .is_err()
            {
                return Ok(());
            }
        }
        tokio::try_join!(all, self.take_kept(&ready))?;
        Ok(())
    }

    /// Members that the check has kept.
    async fn take_kept(&self, ready: &mpsc::Sender<MemberReady>) -> Result<(), TransferError> {
        for place in 0..self.checked.len() {
            let Some(bytes) = self.checked.kept(place) else { continue };
            let checked = self.checked.at(place);
            let (Some(md5), Some(plan)) = (checked.md5, self.plan(&checked)?) else {
                continue;
            };
            let one = match self.claim(&plan, &checked).await? {
                Claimed::There(name, found) => {
                    self.there(place, name, &found, (checked.size, md5), &plan)?
                }
                Claimed::Free(claim) => {
                    let upload = Upload::new(claim.name.clone());
                    let arrived = Arrived::Whole(Whole::kept(bytes, md5));
                    MemberReady::Here(Box::new(Here { index: place, claim, upload, arrived }))
                }
            };
            if ready.send(one).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn take_in(
        &self,
        mut parts: Parts,
        ready: mpsc::Sender<MemberReady>,
    ) -> Result<(), TransferError> {
        while let Some(part) = parts.next().await.transpose()? {
            let Part::Begin(member) = part else {
                return Err(TransferError::Defect("a member without a beginning"));
            };
            let one = self.take_one(&mut parts, member.index).await?;
            if let Some(one) = one
                && ready.send(one).await.is_err()
            {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn take_one(
        &self,
        parts: &mut Parts,
        index: usize,
    ) -> Result<Option<MemberReady>, TransferError> {
        let defect = TransferError::Defect("a member that was not checked");
        let checked = self.checked.get(index).ok_or(defect)?;
        let Some(plan) = self.plan(&checked)?.filter(|_| !self.checked.is_done(index)) else {
            pump(parts, None).await?;
            return Ok(None);
        };
        let claim = match self.claim(&plan, &checked).await? {
            Claimed::Free(claim) => claim,
            Claimed::There(name, found) => {
                let proof = pump(parts, None).await?;
                return Ok(Some(self.there(index, name, &found, proof, &plan)?));
            }
        };
        let upload = Upload::new(claim.name.clone());
        let (chunks, mut received) = mpsc::channel(2);
        let intake = async {
            let arrived = Intake::new(&self.pass.run, &mut received, Some(checked.size))
                .take(&upload, Look::Away)
                .await;
            received.close();
            arrived
        };
        let (pumped, arrived) = tokio::join!(pump(parts, Some(chunks)), intake);
        pumped?;
        Ok(Some(MemberReady::Here(Box::new(Here { arrived: arrived?, index, claim, upload }))))
    }

    /// A member whose content, `proof`, is in the store already.
    fn there(
        &self,
        place: usize,
        name: BlobName,
        found: &BlobInfo,
        proof: (u64, model::Md5),
        plan: &MemberPlan,
    ) -> Result<MemberReady, TransferError> {
        commit::check_there(self.archive, self.archive.md5, proof, found)?;
        let (size, md5) = proof;
        let stored = Stored { name, size, md5, identical: true, note: plan.note.clone() };
        Ok(MemberReady::There(StoredMember::new(place, stored, Some(plan))))
    }

    /// A large member's name must be certain before its blocks are staged under it; a small one's
    /// may be tried.
    async fn claim(&self, plan: &MemberPlan, checked: &Checked) -> Result<Claimed, TransferError> {
        if !self.look_first && checked.size <= BLOCK_BYTES {
            return Ok(Claimed::Free(Claim::hopeful(plan.plain.clone())));
        }
        if let Some(there) = self.as_before(checked).await? {
            return Ok(there);
        }
        let identity = self.identity(&checked.member, plan);
        let claimed = commit::claim(
            self.pass,
            &identity,
            &plan.plain,
            checked.md5.map(|md5| (checked.size, md5)),
        )
        .await?;
        if let Claimed::Free(claim) = &claimed
            && matches!(claim.condition, Condition::IfMatch(_))
        {
            self.is_still_the_newest().await?;
        }
        Ok(claimed)
    }

    /// The archive was fetched before the blob was looked at that a member is to replace, so that
    /// one could be of a newer version, which another run brought meanwhile. It is not if the
    /// archive is still at the source as it was.
    async fn is_still_the_newest(&self) -> Result<(), TransferError> {
        let file = self.archive.file;
        match download::stat(self.pass, file).await? {
            Some(now)
                if equality::between(file, &now).is_possible()
                    || safeguard_off!("newest-archive") =>
            {
                Ok(())
            }
            _ => Err(TransferError::Changed),
        }
    }

    /// The blob of the same member of the version before, if it still holds the same.
    async fn as_before(&self, checked: &Checked) -> Result<Option<Claimed>, TransferError> {
        let name = escaped_for_metadata(&checked.member.raw_name);
        let (Some(member), Some(md5)) = (self.before.get(name.as_str()), checked.md5) else {
            return Ok(None);
        };
        let Some(blob) = manifest::same_content(self.pass, member, checked, &md5) else {
            return Ok(None);
        };
        let found = commit::head(&self.pass.run, &blob).await?;
        let found = found
            .filter(|found| verify::stored((checked.size, md5), (found.size, found.md5)).is_ok());
        Ok(found.map(|found| Claimed::There(blob, found)))
    }

    /// A member goes by one of the few permits that its archive has of its own, else by a slot that
    /// no file waits for.
    async fn turn(&self) -> (Option<SemaphorePermit<'_>>, Option<SlotPermit<'_>>) {
        if let Ok(own) = self.own.try_acquire() {
            return (Some(own), None);
        }
        match self.pass.run.permits.spare_slot() {
            Some(slot) => (None, Some(slot)),
            None => (Some(self.own.acquire().await.expect("this semaphore is never closed")), None),
        }
    }

    async fn commit(&self, ready: MemberReady) -> Result<StoredMember, TransferError> {
        let Here { index, claim, upload, arrived } = match ready {
            MemberReady::There(stored) => return Ok(stored),
            MemberReady::Here(here) => *here,
        };
        let _turn = self.turn().await;
        let checked = self.checked.at(index);
        let plan = self.plan(&checked)?.ok_or(TransferError::Defect("a member without a place"))?;
        let identity = self.identity(&checked.member, &plan);
        failpoint!("member-ready", TransferError::Defect("a step that a test lets fail"));
        let content = Content::of(&arrived, &upload)?;
        // What is stored is what was proved, though the archive was unpacked twice.
        let (size, md5) = content.proof();
        verify::stored((checked.size, checked.md5.unwrap_or(md5)), (size, Some(md5)))?;
        let content_type =
            commit::content_type(&RemotePath::from(checked.member.name.as_str()), content.head());
        let stored =
            commit::write(self.pass, &identity, content, &plan.plain, claim, &content_type).await;
        if !stored.as_ref().is_ok_and(|stored| !stored.identical) {
            self.pass.run.store.abandon(&upload).await;
        }
        let stored = stored?;
        failpoint!("member-committed", TransferError::Defect("a step that a test lets fail"));
        let stored = Stored { note: stored.note.or_else(|| plan.note.clone()), ..stored };
        Ok(StoredMember::new(index, stored, Some(&plan)))
    }
}

/// Hands on the chunks of the member in hand to its end; its size and MD5 if nobody wants them, in
/// which case they are read all the same.
async fn pump(
    parts: &mut Parts,
    chunks: Option<mpsc::Sender<Bytes>>,
) -> Result<(u64, model::Md5), TransferError> {
    let (mut wanted, mut size, mut md5) = (chunks, 0, Md5::new());
    loop {
        match parts.next().await.transpose()? {
            Some(Part::Chunk(chunk)) => match &wanted {
                Some(chunks) => {
                    if chunks.send(chunk).await.is_err() {
                        wanted = None;
                    }
                }
                None => {
                    size += chunk.len() as u64;
                    md5.update(&chunk);
                }
            },
            Some(Part::End) => return Ok((size, md5.finalize().into())),
            Some(Part::Begin(_)) | None => {
                return Err(TransferError::Defect("a member without an end"));
            }
        }
    }
}

/// How many members are neither stored nor kept with the original, though nobody said that they are
/// not wanted.
fn left(pass: &Pass, checked: &CheckedMembers, unchanged: &HashMap<usize, Unchanged>) -> u64 {
    let globs = MemberGlobs::of(&pass.source);
    let is_left = |member: &Member| match member.kind {
        MemberKind::Directory => false,
        _ if globs.excludes(&member.full_name()) => false,
        MemberKind::File => !is_wanted(&globs, member),
        MemberKind::Link | MemberKind::Special => true,
    };
    let read = (0..checked.len()).filter(|place| !unchanged.contains_key(place));
    let special = read.filter(|place| is_left(&checked.member(*place))).count() as u64;
    if pass.source.archives == Archives::Both { 0 } else { special }
}
