//! Does a piece of work: brings its files over, writes what became of them, and sees to what comes
//! next.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::cutting::next;
use super::error::WorkError;
use super::finalize;
use super::heartbeat::{PieceCounter, beat};
use super::message::PieceId;
use super::names::JobKind;
use super::outcome::Came;
use super::pass_store::PassStore;
use super::piece::{Header, Item, to_bytes};
use super::piece_job::PieceJob;
use super::piece_report::PieceReport;
use super::progress::PassProgress;
use super::slots::{self, EARLY};
use crate::failpoint::failpoint;
use crate::ledger::{Recorded, SeenRecord};
use crate::model::failure::Class;
use crate::model::number_of;
use crate::model::{RemoteFile, chain};
use crate::pass::{gone, late, login_refusal, second_look, steps, waiting_folders};
use crate::report::{Defer, Ingested, Outcome, Problem, Proof, SourceReport};
use crate::transfer::alike;
use crate::transfer::context::Pass;
use crate::transfer::leave_folders::leave_all;
use crate::transfer::settings::Source;

/// How long a piece waits at least for another worker that is at it, and for logins.
const OTHERS: Duration = Duration::from_secs(20);
/// A worker that has no more to do looks after another's piece from then on.
const LOOKED_AFTER: Duration = Duration::from_secs(45);
/// A file that takes a worker's whole time so often is not tried again.
const INTERRUPTIONS: u32 = 3;

/// Does the piece `id` of the pass `name`, unless it is done, or another worker is at it.
pub(crate) async fn work(
    pass_store: &PassStore,
    name: &str,
    id: PieceId,
) -> Result<Came, WorkError> {
    let Some(job) = PieceJob::find(pass_store, name, id).await? else { return Ok(Came::Over) };
    if finish_if_over(&job).await? {
        return Ok(Came::Over);
    }
    if !job.is_done().await? {
        let Some(content) = job.content().await? else {
            if finish_if_over(&job).await? {
                return Ok(Came::Over);
            }
            return Err(job.damaged("it is not there"));
        };
        let (header, items) = content.map_err(|why| job.damaged(why))?;
        if let Some(came) = with_leases(&job, header, items).await? {
            return Ok(came);
        }
    }
    what_comes_next(&job).await
}

/// Whether the pass is over. The worker that closed it may have been killed while it removed the
/// rest: that is done here.
async fn finish_if_over(job: &PieceJob<'_>) -> Result<bool, WorkError> {
    let is_over = job.pass_store.is_over().await?;
    if is_over {
        finalize::finish(job.pass_store, &job.plan.pass, &job.folder).await?;
    }
    Ok(is_over)
}

/// Does the piece with its lease and its logins; what came instead, where it has to wait.
async fn with_leases(
    job: &PieceJob<'_>,
    header: Header,
    items: Vec<Item>,
) -> Result<Option<Came>, WorkError> {
    if let Some(young_since) = header.young_since {
        let left = (young_since + job.source().stable_for - OffsetDateTime::now_utc())
            .unsigned_abs_if_positive();
        // A wait of less is not worth a message.
        if left > Duration::from_secs(5) {
            return job.later(left, "its files have not rested yet").await.map(Some);
        }
    }
    let lost = CancellationToken::new();
    let who = format!("{}/{:04x}", job.name(), slots::random());
    let Some(own) = job.lease(&who, EARLY, &lost).await? else {
        return job.later(slots::some_time(OTHERS), "another worker is at it").await.map(Some);
    };
    let logins = slots::take(job.pass_store, &who, job.logins(), &lost).await?;
    let came = if logins.len() < job.logins() {
        let why = "the logins of the source are taken";
        job.later(slots::some_time(OTHERS / 2), why).await.map(Some)
    } else {
        at_work(job, header, items, &lost).await.map(|()| None)
    };
    slots::over(logins).await;
    own.release().await;
    came
}

/// A positive time as an unsigned one.
trait IfPositive {
    fn unsigned_abs_if_positive(self) -> Duration;
}

impl IfPositive for time::Duration {
    fn unsigned_abs_if_positive(self) -> Duration {
        if self.is_positive() { self.unsigned_abs() } else { Duration::ZERO }
    }
}

/// Brings the files over and writes the result.
async fn at_work(
    job: &PieceJob<'_>,
    header: Header,
    items: Vec<Item>,
    lost: &CancellationToken,
) -> Result<(), WorkError> {
    failpoint!("piece-leased", WorkError::Lost);
    let run = &job.pass_store.run;
    let counting = Arc::new(PieceCounter::default());
    let beating = AbortOnDropHandle::new(tokio::spawn(beat(
        run.clone(),
        job.folder.blob(JobKind::Beat(job.id)),
        counting.clone(),
    )));
    let (stop, gone) = (run.cancel.clone(), lost.clone());
    let watcher = AbortOnDropHandle::new(tokio::spawn(async move {
        gone.cancelled().await;
        stop.cancel();
    }));
    let mut told = PieceReport::of(job.pass_store);
    let (rest, ends) = bring(job, &header, items, &counting, &mut told).await?;
    drop(watcher);
    if lost.is_cancelled() {
        return Err(WorkError::Lost);
    }
    drop(beating);
    failpoint!("piece-brought", WorkError::Lost);
    let rest = hand_on(job, header, rest, &mut told);
    let is_ours = job.write_result(&told.outcome(rest)).await?;
    failpoint!("result-written", WorkError::Lost);
    // What another worker's result stands for is not told by this one.
    if let Some(pass) = ends.filter(|_| is_ours)
        && let Err(error) = pass.ledger.end().await
    {
        let (source, error) = (&job.source().name, chain(&error));
        tracing::debug!(source, error, "That a piece ended is not recorded.");
    }
    Ok(())
}

/// Brings the files of a piece over. Those that the worker's time was too short for come back.
async fn bring(
    job: &PieceJob<'_>,
    header: &Header,
    mut items: Vec<Item>,
    counting: &PieceCounter,
    told: &mut PieceReport,
) -> Result<(Vec<Item>, Option<Arc<Pass>>), WorkError> {
    let (pass, recorded) = match job.open(&header.journal).await {
        Ok(opened) => opened,
        Err(refused) => {
            counting.add_all(items.len());
            not_begun(job.pass_store, items, *refused, told);
            return Ok((Vec::new(), None));
        }
    };
    pass.quarantine.load(&pass.run.state, &pass.source).await?;
    pass.lines.keep();
    pass.waiting.set_elsewhere(job.plan.sightings);
    let folders = job.plan.waiting_folders.iter().filter_map(SeenRecord::sighting);
    folders.for_each(|seen| pass.ledger.remember(&seen));
    items.iter().filter_map(|item| item.seen.as_ref()).for_each(|seen| pass.ledger.remember(seen));
    let pairs =
        items.iter().filter_map(|item| Some((&item.transfer.file.path, item.alike.clone()?)));
    pairs.for_each(|(path, other)| pass.alike.add_told(path.clone(), other));
    let own = items.iter().filter(|item| item.alike.is_some());
    own.filter_map(|item| Some((item.transfer.file.path.clone(), item.transfer.known.clone()?)))
        .for_each(|(path, known)| pass.alike.note(path, *known));
    for done in &recorded {
        let (file, outcome) = recorded_before(done);
        counting.add(&outcome);
        told.add(job.pass_store, &file, None, outcome);
    }
    items.retain(|item| recorded.iter().all(|done| done.path != item.transfer.file.path));
    let interrupted = |item: &Item| {
        let told = (item.interrupted, item.seen.clone(), item.alike.clone());
        (item.transfer.file.path.clone(), told)
    };
    let before: std::collections::HashMap<_, _> = items.iter().map(interrupted).collect();
    let mut transfers: Vec<_> = items.into_iter().map(|item| item.transfer).collect();
    if let Some(young_since) = header.young_since {
        let left = (young_since + job.source().stable_for - OffsetDateTime::now_utc())
            .unsigned_abs_if_positive();
        let until = Instant::now() + left;
        let began = (young_since, until.checked_sub(job.source().stable_for).unwrap_or(until));
        transfers = second_look::second_look(&pass, transfers, began, &mut told.report).await;
    }
    let (mut rest, mut ends) = (Vec::new(), false);
    if !transfers.is_empty() {
        if steps::begin(&pass, &mut told.report).await {
            let mut ingested = recorded.len() as u64;
            steps::transfer_all(&pass, transfers, |transfer, outcome, begun| {
                counting.add(&outcome);
                ingested += u64::from(matches!(outcome, Outcome::Ingested(_)));
                if outcome == Outcome::Deferred(Defer::Interrupted) {
                    let (before, seen, alike) =
                        before.get(&transfer.file.path).cloned().unwrap_or_default();
                    let interrupted = before + u32::from(begun);
                    rest.push(Item { interrupted, transfer, seen, alike });
                } else {
                    steps::tell(&pass, &transfer, outcome, &mut told.report);
                }
            })
            .await;
            leave_all(&pass, &mut told.report).await;
            alike::tell(&pass, &mut told.report).await;
            late::left_behind(&pass, &mut told.report).await;
            gone::settle(&pass, &mut told.report, |settled| counting.add(&settled.outcome)).await;
            // What was recorded and is not told is told by a later pass.
            ends = ingested >= pass.ledger.records();
        } else {
            steps::give_up(&pass, transfers.iter(), &steps::not_writable(), &mut told.report).await;
        }
    }
    gone::settle(&pass, &mut told.report, |settled| counting.add(&settled.outcome)).await;
    waiting_folders::tell_piece(&pass, &mut told.report).await;
    if !job.pass_store.run.cancel.is_cancelled() {
        pass.pool.close().await;
    }
    login_refusal::after(&pass).await;
    told.lines.extend(pass.lines.take());
    Ok((rest, ends.then_some(pass)))
}

/// A file that an earlier worker at this piece has recorded.
pub(crate) fn recorded_before(done: &Recorded) -> (RemoteFile, Outcome) {
    let file = RemoteFile {
        path: done.path.clone(),
        size: done.known.size,
        modified: done.known.modified,
    };
    let proof = Box::new(Proof {
        taken: Some((file.clone(), done.known.version)),
        stored: done.stored,
        ..Proof::default()
    });
    (
        file,
        Outcome::Ingested(Ingested {
            bytes: done.bytes,
            stored: done.blobs,
            proof,
            ..Ingested::default()
        }),
    )
}

/// The source could not be worked on at all: its files failed for the reason that `refused` tells.
fn not_begun(
    pass_store: &PassStore,
    items: Vec<Item>,
    refused: SourceReport,
    told: &mut PieceReport,
) {
    let unknown = || Problem::new(Class::Internal, "the source could not be worked on");
    let problem = refused.problems.into_iter().next().unwrap_or_else(unknown);
    for item in items {
        told.add(
            pass_store,
            &item.transfer.file,
            Some(item.transfer.why),
            Outcome::Failed(problem.clone()),
        );
    }
}

/// What is left as the next part of the piece, if there is one.
fn hand_on(
    job: &PieceJob<'_>,
    header: Header,
    rest: Vec<Item>,
    told: &mut PieceReport,
) -> Option<String> {
    let (again, given_up): (Vec<_>, Vec<_>) =
        rest.into_iter().partition(|item| item.interrupted < INTERRUPTIONS);
    for item in given_up {
        let why = format!(
            "it was not done in the time of {INTERRUPTIONS} invocations: raise functionTimeout, or \
            fetch it with `blobferry run`"
        );
        let outcome = Outcome::Failed(Problem::new(Class::Interrupted, why));
        told.add(job.pass_store, &item.transfer.file, Some(item.transfer.why), outcome);
    }
    if again.is_empty() {
        return None;
    }
    tracing::info!(
        source = job.source().name,
        piece = %job.id,
        files = again.len(),
        "The time of this worker is over; the rest is handed on."
    );
    let header = Header { young_since: None, ..header };
    Some(String::from_utf8_lossy(&to_bytes(&header, &again)).into_owned())
}

/// After a result: the rest of the piece, or the next one in its lane, or the end of the pass. The
/// message of a worker that was killed comes again after ten minutes only, and its lane would wait
/// for it. So a piece whose worker seems to be dead is sent again, and a worker that has no more to
/// do in its own lane sends one message that looks after a piece of another: it comes back until
/// that piece has a result, and does it once the lease of the dead lapses.
pub(crate) async fn what_comes_next(job: &PieceJob<'_>) -> Result<Came, WorkError> {
    let (id, plan, state) = (job.id, &job.plan, job.progress().await?);
    let rest = state.results.get(&id).is_some_and(|sign| sign.rest);
    let following = if rest { Some(id.rest()) } else { next(id, plan.lanes, plan.pieces) };
    // The worker that began a piece has its message.
    let following = following.filter(|piece| !state.was_begun(*piece));
    let stranded = state.stranded(OffsetDateTime::now_utc()).filter(|piece| *piece != id);
    let watched = state.to_watch(plan.lanes, plan.pieces).filter(|_| following.is_none());
    let now = following.into_iter().chain(stranded).map(|piece| (piece, Duration::ZERO));
    for (piece, delay) in now.chain(watched.map(|piece| (piece, LOOKED_AFTER))) {
        job.send(piece, delay).await?;
    }
    match finalize::close_if_done(job.pass_store, plan, &job.folder, &state).await? {
        Some(report) => Ok(Came::Closed(Box::new(report))),
        None => Ok(Came::Done(piece_summary(&state, id, job.source()))),
    }
}

fn piece_summary(state: &PassProgress, id: PieceId, source: &Source) -> String {
    let counts = state.results.get(&id).map(|sign| sign.counts).unwrap_or_default();
    format!(
        "piece {id} of `{}`: {}, {} ingested, {} failed, {}",
        source.name,
        number_of(counts.files, "file"),
        counts.ingested,
        counts.failed,
        number_of(counts.bytes, "byte")
    )
}
