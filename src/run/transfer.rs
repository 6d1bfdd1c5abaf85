//! The road of one file.

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::archive::contract::{Format, Nature};
use crate::archive::spool::Spool;
use crate::archive::unpack::Archive;
use crate::failpoint::failpoint;
use crate::failure::{Class, Failure};
use crate::model::{ModifiedTime, RemoteFile, Version};
use crate::plan::{Known, Skip, Why};
use crate::report::{Defer, Ingested, Outcome, Proof, problem};
use crate::run::after::{self, Acted};
use crate::run::blob::{self, Claim, Claimed, Content, Identity};
use crate::run::context::Pass;
use crate::run::error::TransferError;
use crate::run::fetch::{FetchError, describe, fetch};
use crate::run::intake::{Arrived, Intake, Look};
use crate::run::manifest;
use crate::run::members::{self, ProvenArchive};
use crate::run::partly::{self, Partly};
use crate::run::quarantine;
use crate::run::settings::{Archives, Versions};
use crate::run::watch::Call;
use crate::store::contract::{BLOCK_BYTES, StoreKind, Upload};
use crate::verify::Verdict;

/// Chunks that wait between the source and the store.
const CHUNKS_AHEAD: usize = 4;

/// A file that is to be brought over.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// The file, as exactly as it was needed to decide about it.
    pub file: RemoteFile,
    /// Its modified time as the listing showed it.
    pub listed: Option<ModifiedTime>,
    /// Why.
    pub why: Why,
    /// What was ingested of it before.
    pub known: Option<Known>,
}

/// Brings one file over. Whatever happens is an outcome; nothing of a failed transfer is visible in the store,
/// except members of an archive whose last steps failed, which the next run completes.
pub async fn transfer(pass: &Pass, transfer: &Transfer) -> Outcome {
    let mut result = road(pass, transfer).await;
    // Its name was taken while it was on its way: it is read once more, and finds a name of its own.
    if matches!(&result, Err(TransferError::Store(error)) if error.kind == StoreKind::Condition) && !pass.run.cancel.is_cancelled() {
        result = road(pass, transfer).await;
    }
    match result {
        Ok(outcome) => outcome,
        Err(TransferError::Source(error)) if error.class() == Class::NotFound => Outcome::Skipped(Skip::Vanished),
        Err(TransferError::Changed) => Outcome::Deferred(Defer::Changed),
        Err(_) if pass.run.cancel.is_cancelled() => Outcome::Deferred(Defer::Interrupted),
        Err(error) => Outcome::Failed(problem(&error)),
    }
}

async fn road(pass: &Pass, transfer: &Transfer) -> Result<Outcome, TransferError> {
    let file = match pass.run.in_time(describe(pass, &transfer.file)).await.ok_or(TransferError::Interrupted)?? {
        Ok(file) => file,
        Err(verdict) => return Ok(left_for_later(verdict)),
    };
    let version = Version::of(&file);
    if pass.quarantine.holds(version) {
        return Ok(Outcome::Skipped(Skip::Quarantined));
    }
    let mut ingested = match place(pass, transfer, &file, version).await? {
        Place::Done(ingested) => ingested,
        Place::Free(claim) => {
            let upload = Upload::new(claim.name.clone());
            let result = bring(pass, transfer, &file, version, claim, &upload).await;
            if !matches!(result, Ok(Ok(_))) {
                pass.run.store.abandon(&upload).await;
            }
            match result? {
                Ok(ingested) => ingested,
                Err(verdict) => return Ok(left_for_later(verdict)),
            }
        }
    };
    record(pass, transfer, &file, version, &ingested).await?;
    ingested.proof.taken = Some((file.clone(), version));
    quarantine::release(pass, version).await?;
    match after::act(pass, &file, ingested.members_left).await {
        Acted::Done => {}
        Acted::Stays(note) => ingested.notes.push(note),
        Acted::Failed(problem) => ingested.after = Some(problem),
    }
    Ok(Outcome::Ingested(ingested))
}

fn left_for_later(verdict: Verdict) -> Outcome {
    match verdict {
        Verdict::Vanished => Outcome::Skipped(Skip::Vanished),
        Verdict::Changed | Verdict::Whole => Outcome::Deferred(Defer::Changed),
    }
}

/// Where the file goes.
enum Place {
    /// It is there already: an earlier run committed it and could not say so.
    Done(Ingested),
    /// Under this name.
    Free(Claim),
}

/// Looks for the file's place before anything is read, where that can spare work or decides what may be
/// replaced. A small new file is read first: one request less, and a name that is taken shows at the commit.
async fn place(pass: &Pass, transfer: &Transfer, file: &RemoteFile, version: Version) -> Result<Place, TransferError> {
    let plain = pass.source.naming.file(&file.path);
    let new_and_small = transfer.why == Why::New && !pass.ledger.unclean() && file.size.is_some_and(|size| size <= BLOCK_BYTES);
    if new_and_small && pass.source.versions == Versions::Keep && !pass.source.adopt {
        return Ok(Place::Free(Claim::hopeful(plain)));
    }
    // Under `overwrite` a version that comes back finds its old manifest, but not its members.
    if pass.source.archives != Archives::Keep
        && pass.source.versions == Versions::Keep
        && transfer.why != Why::Again
        && let Some(ingested) = manifest::complete(pass, version).await?
    {
        return Ok(Place::Done(ingested));
    }
    let identity = Identity { file, version, member: None };
    match blob::claim(pass, &identity, &plain, None).await? {
        Claimed::Free(claim) => Ok(Place::Free(claim)),
        // The user wants the bytes compared, or the original of an archive says nothing of its members, which
        // are stored after it: the file is read, and meets the blob at the commit.
        Claimed::There(name, _) if transfer.why == Why::Again || pass.source.archives == Archives::Both => Ok(Place::Free(Claim::hopeful(name))),
        Claimed::There(name, found) => {
            let proof = Box::new(Proof { blob: Some((name, found.size, found.md5)), ..Proof::default() });
            Ok(Place::Done(Ingested { identical: 1, proof, ..Ingested::default() }))
        }
    }
}

/// Reads the file and commits it, or says why it is not to be taken now.
async fn bring(
    pass: &Pass,
    transfer: &Transfer,
    file: &RemoteFile,
    version: Version,
    claim: Claim,
    upload: &Upload,
) -> Result<Result<Ingested, Verdict>, TransferError> {
    let identity = Identity { file, version, member: None };
    match partly::read(pass, transfer, &identity).await? {
        Partly::Not => {}
        Partly::Changed(verdict) => return Ok(Err(verdict)),
        Partly::Proven(proven) => {
            let bytes = file.size.unwrap_or(0);
            let ingested = store_members(pass, transfer, &identity, *proven, bytes).await?;
            return Ok(Ok(Ingested { bytes, ..ingested }));
        }
    }
    let file_name = file.path.file_name_text();
    let look = if pass.source.archives == Archives::Keep { Look::Away } else { Look::ForArchives(&file_name) };
    let (verdict, arrived) = read(pass, file, upload, look).await?;
    if verdict != Verdict::Whole {
        return Ok(Err(verdict));
    }
    if let Arrived::Spooled(spool, format) = arrived {
        return unpack_or_keep(pass, transfer, &identity, (spool, format), claim, upload).await.map(Ok);
    }
    plain_file(pass, &identity, &arrived, claim, upload).await.map(Ok)
}

/// Source and store work side by side; nothing is visible when this returns.
async fn read(pass: &Pass, file: &RemoteFile, upload: &Upload, look: Look<'_>) -> Result<(Verdict, Arrived), TransferError> {
    let turn = pass.run.in_time(pass.large.turn(file.size)).await.ok_or(TransferError::Interrupted)?;
    let (sender, mut chunks) = mpsc::channel(CHUNKS_AHEAD);
    let intake = async {
        let arrived = Intake::new(&pass.run, &mut chunks, file.size).take(upload, look).await;
        // A failed intake must not leave the source waiting for room.
        chunks.close();
        arrived
    };
    let both = async { tokio::join!(fetch(pass, file, sender), intake) };
    let (fetched, arrived) = pass.run.in_time(both).await.ok_or(TransferError::Interrupted)?;
    drop(turn);
    failpoint!("file-fetched", TransferError::Defect("a step that a test lets fail"));
    match (fetched, arrived) {
        (Err(FetchError::Source(error)), _) => Err(error.into()),
        (Err(FetchError::Mismatch(error)), _) => Err(error.into()),
        (_, Err(error)) => Err(error),
        (Err(FetchError::Unwanted), Ok(_)) => Err(TransferError::Defect("joining source and store")),
        (Ok(verdict), Ok(arrived)) => Ok((verdict, arrived)),
    }
}

async fn plain_file(pass: &Pass, identity: &Identity<'_>, arrived: &Arrived, claim: Claim, upload: &Upload) -> Result<Ingested, TransferError> {
    let content = Content::of(arrived, upload)?;
    let content_type = blob::content_type(&identity.file.path, content.head());
    let plain = pass.source.naming.file(&identity.file.path);
    let stored = blob::write(pass, identity, content, &plain, claim, &content_type).await?;
    Ok(Ingested {
        bytes: stored.size,
        stored: u64::from(!stored.identical),
        identical: u64::from(stored.identical),
        notes: stored.note.into_iter().collect(),
        proof: Box::new(Proof { blob: Some((stored.name, stored.size, Some(stored.md5))), ..Proof::default() }),
        ..Ingested::default()
    })
}

/// What is to become of a file that looks like an archive, now that all of it is here.
async fn unpack_or_keep(
    pass: &Pass,
    transfer: &Transfer,
    identity: &Identity<'_>,
    (spool, format): (Spool, &'static dyn Format),
    claim: Claim,
    upload: &Upload,
) -> Result<Ingested, TransferError> {
    let archive = members::archive(pass, &identity.file.path, format, &spool);
    // Nothing, not even the original, becomes visible before the archive has proved whole.
    let proven = match prove(pass, transfer, identity, archive).await {
        Ok(Some(proven)) => proven,
        Ok(None) => {
            let arrived = members::replay(pass, &spool, upload).await?;
            return plain_file(pass, identity, &arrived, claim, upload).await;
        }
        Err(error) => return Err(quarantine::keep(pass, identity, &spool, error).await),
    };
    let kept = if pass.source.archives == Archives::Both {
        let arrived = members::replay(pass, &spool, upload).await?;
        plain_file(pass, identity, &arrived, claim, upload).await?
    } else {
        Ingested::default()
    };
    let unpacked = store_members(pass, transfer, identity, proven, spool.size()).await?;
    let proof = Box::new(Proof { blob: kept.proof.blob, ..*unpacked.proof });
    Ok(Ingested { bytes: spool.size(), originals: kept.stored, notes: [kept.notes, unpacked.notes].concat(), proof, ..unpacked })
}

/// Stores the members of an archive of `bytes`, as one call that is watched.
async fn store_members(
    pass: &Pass,
    transfer: &Transfer,
    identity: &Identity<'_>,
    proven: ProvenArchive,
    bytes: u64,
) -> Result<Ingested, TransferError> {
    let call = Call::to_store("store members", pass, &identity.file.path);
    let stored = members::store(pass, transfer, identity, proven).await;
    match &stored {
        Ok(_) => call.went_well(bytes),
        Err(error) => call.failed(0, error),
    }
    stored
}

/// The archive, read to its end; `None` if it is none, or a document that is wanted whole.
async fn prove(pass: &Pass, transfer: &Transfer, identity: &Identity<'_>, archive: Archive) -> Result<Option<ProvenArchive>, TransferError> {
    let opens = match archive.nature().await? {
        Nature::Archive => true,
        Nature::Document => pass.source.unpacking.unpack_documents,
        Nature::Other => false,
    };
    if opens { members::check(pass, transfer, identity, archive).await.map(Some) } else { Ok(None) }
}

/// Only now, with every blob committed, does the ledger speak of the file.
async fn record(pass: &Pass, transfer: &Transfer, file: &RemoteFile, version: Version, ingested: &Ingested) -> Result<(), TransferError> {
    let known = Known { size: file.size, modified: file.modified, listed: transfer.listed, version };
    let blobs = ingested.stored + ingested.identical + ingested.originals;
    failpoint!("before-record", TransferError::Defect("a step that a test lets fail"));
    pass.ledger.ingested(file, &known, blobs, ingested.bytes).await?;
    failpoint!("after-record", TransferError::Defect("a step that a test lets fail"));
    Ok(())
}

/// Sends a spool's bytes as a stream of chunks, as if they came from a source.
pub async fn resend(spool: &Spool, chunks: mpsc::Sender<Bytes>) -> Result<(), TransferError> {
    use std::io::Read;
    let mut reader = spool.reader();
    let work = tokio::task::spawn_blocking(move || -> std::io::Result<()> {
        loop {
            let mut chunk = vec![0; 256 << 10];
            let read = reader.read(&mut chunk)?;
            chunk.truncate(read);
            // A receiver that is gone has failed and tells why itself.
            if read == 0 || chunks.blocking_send(chunk.into()).is_err() {
                return Ok(());
            }
        }
    });
    let result = work.await.map_err(|_| TransferError::Defect("reading a spool"))?;
    result.map_err(|error| crate::archive::contract::UnpackError::new(Class::LimitTemp, error).into())
}
