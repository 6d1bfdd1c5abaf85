//! Stages large members of an archive while it is still checked, and keeps room for small ones.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use tokio::sync::mpsc;

use crate::archive::checked_members::CheckedMembers;
use crate::archive::contract::{Member, MemberKind};
use crate::archive::verify::Taker;
use crate::model::{BlobName, Md5};
use crate::runtime::checksum::Hashers;
use crate::store::contract::{BLOCK_BYTES, Upload};
use crate::transfer::budget::{BudgetDrawn, ByteBudget};
use crate::transfer::commit::{self, Claim, Claimed};
use crate::transfer::context::{Pass, Run};
use crate::transfer::error::TransferError;
use crate::transfer::identity::{MemberOf, TransferIdentity};
use crate::transfer::settings::MemberGlobs;
use crate::transfer::settings::is_wanted;
use crate::transfer::upload::{Arrived, Intake, Look};

/// Chunks that wait between a checking thread and the store.
const CHUNKS_AHEAD: usize = 4;
/// Room for small members is drawn in steps.
const STEP_BYTES: u64 = 1 << 20;
/// How many kept members of one archive are hashed at once: enough that no lane waits.
const HASHED_AT_ONCE: usize = 8;

/// Takes members from the threads that check one archive.
#[derive(Debug)]
pub(crate) struct EarlyUpload {
    kept: ByteBudget,
    room: Mutex<EarlyRoom>,
    next: AtomicU64,
    /// `None` where nothing is staged ahead, or no longer.
    large: Mutex<Option<mpsc::UnboundedSender<Large>>>,
    /// Which members are wanted.
    wanted: MemberGlobs,
}

#[derive(Debug, Default)]
struct EarlyRoom {
    drawn: Vec<BudgetDrawn>,
    left: u64,
}

/// A large member whose content begins to come.
#[derive(Debug)]
struct Large {
    number: u64,
    member: Member,
    chunks: mpsc::Receiver<Bytes>,
}

/// The receiving end of an [`EarlyUpload`].
pub(crate) struct LargeMembers(mpsc::UnboundedReceiver<Large>);

/// A large member in staged blocks, of which nothing is visible.
pub(crate) struct EarlyStaged {
    /// The number that the check tells it by.
    pub number: u64,
    /// The plain name that it was staged for.
    pub plain: BlobName,
    /// The name that it may be committed to.
    pub claim: Claim,
    /// The upload that its blocks belong to.
    pub upload: Upload,
    /// The blocks.
    pub arrived: Arrived,
}

impl EarlyStaged {
    /// Gives up its blocks.
    pub async fn abandon(self, pass: &Pass) {
        pass.run.store.abandon(&self.upload).await;
    }
}

impl EarlyUpload {
    /// Both ends; if not `stages`, it only keeps room.
    pub fn new(pass: &Pass, stages: bool) -> (Arc<Self>, LargeMembers) {
        // There are no more of them at once than threads that check.
        let (sender, receiver) = mpsc::unbounded_channel();
        let large = Mutex::new(stages.then_some(sender));
        let (kept, wanted) = (pass.run.kept.clone(), MemberGlobs::of(&pass.source));
        (
            Arc::new(Self { kept, room: Mutex::default(), next: AtomicU64::new(0), large, wanted }),
            LargeMembers(receiver),
        )
    }

    /// Takes nothing any more.
    pub fn close(&self) {
        *self.large.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Taker for EarlyUpload {
    fn room(&self, bytes: u64) -> bool {
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        if room.left < bytes {
            let short = bytes - room.left;
            let steps = [short.max(STEP_BYTES), short].into_iter();
            let found = steps
                .filter(|step| *step <= self.kept.total())
                .find_map(|step| Some((step, self.kept.draw_now(step)?)));
            let Some((step, drawn)) = found else { return false };
            room.drawn.push(drawn);
            room.left += step;
        }
        room.left -= bytes;
        true
    }

    fn take(&self, member: &Member) -> Option<(u64, mpsc::Sender<Bytes>)> {
        // What fits in one block would hold its room until all of the archive is checked.
        let large = member.kind == MemberKind::File
            && member.size.is_some_and(|size| size > BLOCK_BYTES)
            && is_wanted(&self.wanted, member);
        let queue =
            self.large.lock().unwrap_or_else(PoisonError::into_inner).clone().filter(|_| large)?;
        let (sender, chunks) = mpsc::channel(CHUNKS_AHEAD);
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        queue.send(Large { number, member: member.clone(), chunks }).ok()?;
        Some((number, sender))
    }
}

impl LargeMembers {
    /// Stages what comes until the other end is closed. An error ends it; what was staged by then
    /// is given up.
    pub async fn stage(
        mut self,
        pass: &Pass,
        archive: &TransferIdentity<'_>,
        format: &'static str,
    ) -> Result<Vec<EarlyStaged>, TransferError> {
        let (mut working, mut staged, mut open) = (FuturesUnordered::new(), Vec::new(), true);
        while open || !working.is_empty() {
            let done = tokio::select! {
                large = self.0.recv(), if open => {
                    match large {
                        Some(large) => working.push(stage(pass, archive, format, large)),
                        None => open = false,
                    }
                    continue;
                }
                Some(done) = working.next() => done,
            };
            match done {
                Ok(done) => staged.extend(done),
                Err(error) => {
                    for staged in staged {
                        EarlyStaged::abandon(staged, pass).await;
                    }
                    return Err(error);
                }
            }
        }
        Ok(staged)
    }
}

/// Stages one member under the name that it will have if no earlier one has it. `None` if it is not
/// to be, or not yet.
async fn stage(
    pass: &Pass,
    archive: &TransferIdentity<'_>,
    format: &'static str,
    large: Large,
) -> Result<Option<EarlyStaged>, TransferError> {
    let Large { number, member, mut chunks } = large;
    // A member that gets no name fails its archive once all of this is known.
    let named = pass.source.naming.member(archive.file, pass.member_name(&member));
    let Ok(plain) = named else { return Ok(None) };
    let member_of =
        MemberOf { format, raw_name: &member.raw_name, twin: 0, modified: pass.modified(&member) };
    let identity = TransferIdentity { member: Some(member_of), yields: false, ..archive.clone() };
    let Claimed::Free(claim) = commit::claim(pass, &identity, &plain, None).await? else {
        return Ok(None);
    };
    let upload = Upload::new(claim.name.clone());
    let arrived = Intake::new(&pass.run, &mut chunks, member.size).take(&upload, Look::Away).await;
    match arrived {
        Ok(arrived @ Arrived::Staged(_)) => {
            Ok(Some(EarlyStaged { number, plain, claim, upload, arrived }))
        }
        Ok(_) => Ok(None),
        Err(error) => {
            pass.run.store.abandon(&upload).await;
            Err(error)
        }
    }
}

/// The MD5s that a check leaves open: of larger members that are kept, side by side.
pub(crate) async fn hash_kept(
    run: &Run,
    checked: &mut CheckedMembers,
) -> Result<(), TransferError> {
    let open = checked.unhashed().into_iter();
    let hashing: Vec<_> =
        open.map(|(place, kept)| hash_one(&run.hashers, place, kept).boxed()).collect();
    let hashed: Vec<(usize, Md5)> =
        futures_util::stream::iter(hashing).buffer_unordered(HASHED_AT_ONCE).try_collect().await?;
    hashed.into_iter().for_each(|(place, md5)| checked.set_md5(place, md5));
    Ok(())
}

async fn hash_one(
    hashers: &Hashers,
    place: usize,
    kept: Bytes,
) -> Result<(usize, Md5), TransferError> {
    Ok((place, hashers.whole(&kept).await?))
}
