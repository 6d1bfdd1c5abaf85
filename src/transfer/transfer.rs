//! The road of one file.

use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::failpoint::{failpoint, safeguard_off};
use crate::model::failure::{Class, Failure};
use crate::model::{Md5, RemoteFile, Version};
use crate::report::{Defer, Ingested, Outcome, problem};
use crate::rules::plan::known::{History, Known};
use crate::rules::plan::rest::Rest;
use crate::rules::plan::{Skip, Why};
use crate::rules::verify::Verdict;
use crate::store::contract::{StoreKind, Upload};
use crate::transfer::after_action::{self, Acted};
use crate::transfer::alike;
use crate::transfer::archive::ingest::refusal_records_of;
use crate::transfer::archive::ingest::{ingest, store_members};
use crate::transfer::archive::partial::{self, Partly};
use crate::transfer::archive::quarantine;
use crate::transfer::commit::Claim;
use crate::transfer::context::Pass;
use crate::transfer::download::{Described, FetchError, Fetched, describe, fetch};
use crate::transfer::error::TransferError;
use crate::transfer::identity::TransferIdentity;
use crate::transfer::leaving::{Due, is_doubted};
use crate::transfer::lookup::{FilePlace, LookupTime, look_for, read_beside};
use crate::transfer::permits::{Admission, RecordTicket, SlotPermit};
use crate::transfer::request::Transfer;
use crate::transfer::settings::Archives;
use crate::transfer::settling::{
    Read, better_told, is_listed_otherwise, listed_otherwise, may_be_contested, settle,
};
use crate::transfer::upload::{Arrived, Intake, Look};
use crate::transfer::whole_file::stored_whole;

/// Chunks that wait between the source and the store.
const CHUNKS_AHEAD: usize = 4;

/// Brings one file over. Whatever happens is an outcome; nothing of a failed transfer is visible in
/// the store, except members of an archive whose last steps failed, which the next run completes. A
/// file that is not there is deferred as unreachable until a fresh listing decides about it. With
/// `content_md5`, its bytes are known to have this MD5, and others of equal path, size and time
/// were taken before.
pub(crate) async fn transfer(
    pass: &Pass,
    transfer: &Transfer,
    content_md5: Option<Md5>,
    admission: Admission<'_>,
) -> Outcome {
    let (mut content_md5, mut name_was_taken, mut spoilt) = (content_md5, false, 0);
    let mut result = attempt(pass, transfer, content_md5, admission).await;
    while !pass.run.cancel.is_cancelled() {
        match &result {
            // Its name was taken while it was on its way: it is read once more, and finds a name of
            // its own.
            Err(TransferError::Store(error))
                if error.kind == StoreKind::Condition && !name_was_taken =>
            {
                name_was_taken = true
            }
            // Other bytes of equal size and time stand there: its version tells of its bytes, too.
            Err(TransferError::OtherBytes(md5)) if content_md5.is_none() => {
                content_md5 = Some(*md5)
            }
            // What came may be another file's: it is read anew, from its first byte on.
            Err(TransferError::Source(error))
                if error.is_spoiling() && spoilt < pass.source.policy.attempts =>
            {
                spoilt += 1;
            }
            _ => break,
        }
        // What the first attempt held is given back by now: this one queues again.
        let Some(admission) = pass.admission().await else { break };
        result = attempt(pass, transfer, content_md5, admission).await;
    }
    match result {
        Ok(outcome) => outcome,
        Err(TransferError::Source(error)) if error.class() == Class::NotFound => {
            Outcome::Deferred(Defer::Unreachable)
        }
        Err(TransferError::Changed) => Outcome::Deferred(Defer::Changed),
        Err(_) if pass.run.cancel.is_cancelled() => Outcome::Deferred(Defer::Interrupted),
        Err(error) => Outcome::Failed(problem(&error)),
    }
}

async fn attempt(
    pass: &Pass,
    transfer: &Transfer,
    content_md5: Option<Md5>,
    admission: Admission<'_>,
) -> Result<Outcome, TransferError> {
    let described = match pass
        .run
        .in_time(describe(pass, &transfer.file))
        .await
        .ok_or(TransferError::Interrupted)??
    {
        Ok(described) => described,
        Err(verdict) => return Ok(left_for_later(verdict)),
    };
    // What has another size than the listing showed may be written right now.
    if described.contested && !may_be_contested(pass, transfer, &described.file) {
        return Ok(Outcome::Deferred(Defer::Changed));
    }
    match attempt_described(pass, transfer, &described, content_md5, admission).await? {
        Attempted::Ended(outcome) => Ok(outcome),
        Attempted::Left(left) => {
            let Some(file) = better_told(pass, transfer, &described, &left) else {
                return Ok(match is_listed_otherwise(pass, transfer, &described.file, &left) {
                    true => Outcome::Failed(listed_otherwise()),
                    false => left_for_later(left.verdict),
                });
            };
            let described = Described { file, contested: true };
            let admission = admitted_again(pass).await?;
            let again = attempt_described(pass, transfer, &described, content_md5, admission);
            Ok(match again.await? {
                Attempted::Ended(outcome) => outcome,
                Attempted::Left(left) => left_for_later(left.verdict),
            })
        }
    }
}

/// A file that gave its permits back queues for others.
async fn admitted_again(pass: &Pass) -> Result<Admission<'_>, TransferError> {
    pass.admission().await.ok_or(TransferError::Interrupted)
}

/// What was brought of a file that is whole.
struct TakenFile {
    ingested: Ingested,
    /// How it was read; `None`: an earlier run brought it.
    read: Option<Read>,
}

/// What an attempt at a file came to.
enum Attempted {
    Ended(Outcome),
    /// It is not to be taken now.
    Left(Fetched),
}

/// The road of a file that is described.
async fn attempt_described(
    pass: &Pass,
    transfer: &Transfer,
    described: &Described,
    content_md5: Option<Md5>,
    admission: Admission<'_>,
) -> Result<Attempted, TransferError> {
    let file = &described.file;
    let version =
        content_md5.map_or_else(|| Version::of(file), |md5| Version::of_content(file, &md5));
    if pass.quarantine.holds(version) {
        return Ok(Attempted::Ended(Outcome::Skipped(Skip::Quarantined)));
    }
    let wants_again = transfer.why == Why::Again || pass.run.retry_quarantined;
    if pass.source.archives != Archives::Keep
        && !wants_again
        && let Some(problem) = refusal_records_of(pass).earlier_refusal(file.size, version).await?
    {
        return Ok(Attempted::Ended(Outcome::Failed(problem)));
    }
    let yields = transfer.yields;
    let (unseen, moved, member) = (false, false, None);
    let identity =
        TransferIdentity { file, version, md5: content_md5, unseen, moved, yields, member };
    let (mut taken, ticket) = match claim_and_read(pass, transfer, &identity, admission).await? {
        Ok(taken) => taken,
        Err(left) => return Ok(Attempted::Left(left)),
    };
    let known = known_of(transfer, &identity, taken.read.as_ref());
    if known.history.left {
        pass.alike.note_unseen(&file.path);
    }
    let ticket = Some(ticket).filter(|_| !safeguard_off!("ticket-until-durable"));
    taken.ingested.proof.stored = Some(pass.run.store_time());
    record(pass, file, &known, &taken.ingested).await?;
    let ticket = ticket.filter(|_| safeguard_off!("ticket-for-the-record-alone"));
    taken.ingested.proof.taken = Some((file.clone(), version));
    quarantine::release(pass, version).await?;
    let mut ingested = taken.ingested;
    refusal_records_of(pass).release(version).await?;
    let members = ingested.members_left;
    let acting = begin_after_action(pass, transfer, described, known, taken.read, members);
    match Box::pin(acting).await {
        Acted::Done => {}
        Acted::Stays(note) => ingested.notes.push(note),
        Acted::Failed(problem) => ingested.after = Some(problem),
    }
    drop(ticket);
    Ok(Attempted::Ended(Outcome::Ingested(ingested)))
}

/// What the ledger is to know of a file.
fn known_of(transfer: &Transfer, identity: &TransferIdentity<'_>, read: Option<&Read>) -> Known {
    let known = Known::new(identity.file, transfer.listed, identity.version);
    let Some(read) = read else { return known };
    let known = known.read_at(OffsetDateTime::now_utc(), Some(read.md5));
    let (left, moves) = (read.verdict == Verdict::Unseen, read.verdict == Verdict::Touched);
    Known { history: History { left, moves, ..known.history.clone() }, ..known }
}

/// Begins the after-action of a file, if this program read it.
async fn begin_after_action(
    pass: &Pass,
    transfer: &Transfer,
    described: &Described,
    known: Known,
    read: Option<Read>,
    members_only_at_source: u64,
) -> Acted {
    // What is not there any more needs no removal; what was not read is none of ours to remove.
    let Some(Read { md5, after: Some(after), .. }) = read else { return Acted::Done };
    let file = RemoteFile {
        modified: after.modified.or(known.modified.filter(|_| !known.history.moves)),
        ..after
    };
    // A file that was seen to change while its time stood still has no time that proves rest.
    let rest = if described.contested {
        Rest::Nothing
    } else {
        pass.rest(&file, transfer.listed.as_ref())
    };
    let doubted = is_doubted(transfer.known.as_deref());
    let due = Due {
        file,
        listed: transfer.listed,
        known,
        md5,
        read: Instant::now(),
        rest,
        doubted,
        is_of_share: pass.is_share(),
    };
    after_action::act_or_wait(pass, due, members_only_at_source).await
}

fn left_for_later(verdict: Verdict) -> Outcome {
    match verdict {
        Verdict::Vanished => Outcome::Deferred(Defer::Unreachable),
        Verdict::Changed | Verdict::Touched | Verdict::Whole | Verdict::Unseen => {
            Outcome::Deferred(Defer::Changed)
        }
    }
}

/// What one try to read a file and to commit it comes to.
enum TriedFile<'a> {
    /// It is committed.
    Taken(TakenFile, RecordTicket<'a>),
    /// It is not to be taken now.
    Left(Fetched),
    /// Something else stands in its place than was thought; this is what was found instead.
    Elsewhere(FilePlace),
}

/// Looks for the file's place, reads it and commits it, or says why it is not to be taken now.
async fn claim_and_read<'a>(
    pass: &'a Pass,
    transfer: &Transfer,
    identity: &TransferIdentity<'_>,
    admission: Admission<'a>,
) -> Result<Result<(TakenFile, RecordTicket<'a>), Fetched>, TransferError> {
    let (mut time, mut admission) = (LookupTime::of(pass, transfer, identity), Some(admission));
    let mut place = match time {
        // While the store is asked, others are read.
        LookupTime::First => {
            admission = None;
            look_for(pass, transfer, identity).await?
        }
        LookupTime::Never | LookupTime::Beside => {
            FilePlace::Free(Claim::hopeful(pass.source.naming.file(identity.file)?))
        }
    };
    loop {
        let claim = match place {
            FilePlace::Free(claim) => claim,
            FilePlace::Done(ingested) => {
                let taken = TakenFile { ingested, read: None };
                return Ok(Ok((taken, pass.run.permits.ticket().await)));
            }
        };
        let admission = match admission.take() {
            Some(admission) => admission,
            None => admitted_again(pass).await?,
        };
        let upload = Upload::new(claim.name.clone());
        // Those that wait for their record do without the memory of their way up to there.
        let reading = read_and_commit(pass, transfer, identity, claim, &upload, (admission, time));
        let result = Box::pin(reading).await;
        if !matches!(result, Ok(TriedFile::Taken(..))) {
            pass.run.store.abandon(&upload).await;
        }
        match result? {
            TriedFile::Taken(taken, ticket) => return Ok(Ok((taken, ticket))),
            TriedFile::Left(left) => return Ok(Err(left)),
            TriedFile::Elsewhere(found) => (place, time) = (found, LookupTime::First),
        }
    }
}

/// Reads the file and commits it.
async fn read_and_commit<'a>(
    pass: &'a Pass,
    transfer: &Transfer,
    identity: &TransferIdentity<'_>,
    claim: Claim,
    upload: &Upload,
    (admission, time): (Admission<'a>, LookupTime),
) -> Result<TriedFile<'a>, TransferError> {
    let file = identity.file;
    match partial::read(pass, transfer, identity).await? {
        Partly::Not => {}
        Partly::Changed(verdict) => return Ok(TriedFile::Left(verdict.into())),
        Partly::Proven(proven) => {
            pass.ledger.may_commit().await?;
            let (slot, bytes) = (admission.arrived(), file.size.unwrap_or(0));
            let ingested = store_members(pass, transfer, identity, *proven, bytes).await?;
            let taken = TakenFile { ingested: Ingested { bytes, ..ingested }, read: None };
            return Ok(TriedFile::Taken(taken, committed(pass, slot).await));
        }
    }
    let file_name = file.path.file_name_text();
    let look = if pass.source.archives == Archives::Keep {
        Look::Away
    } else {
        Look::ForArchives(&file_name)
    };
    // Who waits for the store does without the memory of the reading, and so below.
    let reading = Box::pin(read(pass, file, upload, look));
    let ((fetched, arrived), claim) = match time {
        LookupTime::Never | LookupTime::First => (reading.await?, claim),
        LookupTime::Beside => {
            let looking = look_for(pass, transfer, identity);
            match read_beside(reading, looking, claim).await? {
                Ok(read) => read,
                Err(found) => return Ok(TriedFile::Elsewhere(found)),
            }
        }
    };
    let slot = admission.arrived();
    let md5 = arrived.md5();
    let read = match Box::pin(settle(pass, transfer, file, fetched, md5)).await? {
        Ok(read) => read,
        Err(left) => return Ok(TriedFile::Left(left)),
    };
    if identity.md5.is_some_and(|content_md5| content_md5 != md5) {
        return Ok(TriedFile::Left(Verdict::Changed.into()));
    }
    // An archive writes more than its members: their manifest, or itself into quarantine.
    pass.ledger.may_commit().await?;
    let (unseen, moved) = (read.verdict == Verdict::Unseen, read.verdict == Verdict::Touched);
    let identity = &TransferIdentity { unseen, moved, ..identity.clone() };
    let ingested = match arrived {
        Arrived::Spooled(spool, format, md5) => {
            let identity = TransferIdentity { md5: Some(md5), ..identity.clone() };
            Box::pin(ingest(pass, transfer, &identity, (spool, format), claim, upload)).await?
        }
        arrived => stored_whole(pass, identity, &arrived, claim, upload).await?,
    };
    let notes = (read.verdict == Verdict::Unseen).then(|| NOT_SEEN_AFTERWARDS.to_owned());
    let taken = TakenFile {
        ingested: Ingested { notes: ingested.notes.into_iter().chain(notes).collect(), ..ingested },
        read: Some(read),
    };
    Ok(TriedFile::Taken(taken, committed(pass, slot).await))
}

/// Changes the slot of a file that is committed for a ticket.
async fn committed<'a>(pass: &'a Pass, slot: SlotPermit<'a>) -> RecordTicket<'a> {
    let ticket = pass.run.permits.ticket().await;
    drop(slot);
    ticket
}

/// What the report says of a file that the server took away once it was read.
const NOT_SEEN_AFTERWARDS: &str =
    "not_seen_afterwards: all of it came, and the server does not show it any more";

/// Source and store work side by side; nothing is visible when this returns.
async fn read(
    pass: &Pass,
    file: &RemoteFile,
    upload: &Upload,
    look: Look<'_>,
) -> Result<(Fetched, Arrived), TransferError> {
    let turn =
        pass.run.in_time(pass.large.turn(file.size)).await.ok_or(TransferError::Interrupted)?;
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
        (Err(FetchError::Source(error) | FetchError::Spoilt(error)), _) => Err(error.into()),
        (Err(FetchError::Mismatch(error)), _) => Err(error.into()),
        (_, Err(error)) => Err(error),
        (Err(FetchError::Unwanted), Ok(_)) => {
            Err(TransferError::Defect("joining source and store"))
        }
        (Ok(fetched), Ok(arrived)) => Ok((fetched, arrived)),
    }
}

/// Only now, with every blob committed, does the ledger speak of the file.
async fn record(
    pass: &Pass,
    file: &RemoteFile,
    known: &Known,
    ingested: &Ingested,
) -> Result<(), TransferError> {
    let blobs = ingested.stored + ingested.identical + ingested.originals;
    failpoint!("before-record", TransferError::Defect("a step that a test lets fail"));
    let stored = ingested.proof.stored;
    let known = alike::uncompared(pass, &file.path, known.clone());
    pass.ledger.stored(file, &known, blobs, ingested.bytes, stored).await?;
    failpoint!("after-record", TransferError::Defect("a step that a test lets fail"));
    Ok(())
}
