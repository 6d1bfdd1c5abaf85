//! Closes a pass when every piece has a result: one report of all, the pass out of the ledger's
//! head, the rest removed.

use futures_util::future::try_join_all;
use time::OffsetDateTime;

use super::error::WorkError;
use super::manifest::JobManifest;
use super::message::PieceId;
use super::names::{JobFolder, JobKind};
use super::pass_store::{PassStore, never};
use super::piece::{PiecePlan, SCHEMA};
use super::progress::{PassProgress, PieceParts};
use super::twin_folders::TwinsHeard;
use crate::failpoint::{failpoint, safeguard_off};
use crate::history::{name_index, source_index};
use crate::ledger::{self, Ledger};
use crate::pass::{judging, late};
use crate::report::{Line, SourceReport};

/// Results that are read at once.
const READ_AT_ONCE: usize = 16;

/// Closes the pass if all of it is done, and returns its report. Many may do so at once, and a
/// killed one is followed by the next: each step can be done again.
pub(crate) async fn close_if_done(
    pass_store: &PassStore,
    plan: &PiecePlan,
    folder: &JobFolder,
    state: &PassProgress,
) -> Result<Option<SourceReport>, WorkError> {
    let PieceParts { done, missing } = state.parts(plan.pieces);
    if !missing.is_empty() && !safeguard_off!("all-results") {
        return Ok(None);
    }
    let mut report = plan.surveyed.clone();
    let mut manifest = JobManifest::of(pass_store);
    let mut twins = TwinsHeard::new(&plan.twin_folders);
    if let Some(lines) = pass_store.read(&folder.blob(JobKind::Lines)).await? {
        manifest.add(told(&lines, plan.schema)).await?;
    }
    for some in done.chunks(READ_AT_ONCE) {
        // Nothing is being read while the manifest is written: see `store::paced` about requests
        // that nobody polls.
        for outcome in try_join_all(some.iter().map(|id| pass_store.result(folder, *id))).await? {
            // Another worker has closed the pass, and removed them.
            let Some(outcome) = outcome else { return Ok(None) };
            report.absorb(outcome.report);
            twins.hear(outcome.lines.as_bytes());
            manifest.add(told(outcome.lines.as_bytes(), outcome.schema)).await?;
        }
    }
    manifest.tell(&mut report);
    twins.tell(&mut report);
    over_limit(pass_store, plan, folder, done.last(), &mut report).await?;
    let state = &pass_store.run.state;
    judging::after_pass(&pass_store.run, &pass_store.source, plan.began, &mut report).await;
    if plan.unclean {
        settle(pass_store, plan, folder, done.last()).await?;
    }
    failpoint!("before-close-report", WorkError::Lost);
    pass_store.report(&mut report, plan.began).await?;
    failpoint!("close-report-written", WorkError::Lost);
    let (run, source) = (&pass_store.run.id, &pass_store.source.name);
    if report.manifest.is_some() && !name_index::after_pass(state, run, source).await {
        source_index::lose_names(state).await;
    }
    finish(pass_store, &plan.pass, folder).await?;
    tracing::info!(
        run_id = pass_store.run.id,
        source = pass_store.source.name,
        ingested = report.ingested,
        failed = report.failed,
        "A pass is closed."
    );
    Ok(Some(report))
}

/// Lines as a manifest of this release has them, of a worker whose state was of version `schema`.
fn told(lines: &[u8], schema: u32) -> Vec<u8> {
    if schema >= SCHEMA {
        return lines.to_vec();
    }
    let is_told = |line: &&[u8]| Line::parse(line).is_ok_and(|line| line.is_told());
    lines.split_inclusive(|byte| *byte == b'\n').filter(is_told).flatten().copied().collect()
}

/// The last steps, when the report is there.
pub(crate) async fn finish(
    pass_store: &PassStore,
    pass: &str,
    folder: &JobFolder,
) -> Result<(), WorkError> {
    ledger::close_pass(
        pass_store.run.store.clone(),
        &pass_store.source.name,
        pass,
        pass_store.run.policy,
        never(),
    )
    .await?;
    failpoint!("head-cleared", WorkError::Lost);
    let state = pass_store.state(folder).await?;
    // The plan last: who finds it finds the rest.
    let plan = folder.blob(JobKind::Plan);
    pass_store.remove(state.blobs.into_iter().filter(|blob| *blob != plan)).await;
    failpoint!("work-removed", WorkError::Lost);
    pass_store.remove([plan]).await;
    Ok(())
}

/// The pieces of this pass have looked after what a run that did not end had left: from now on it
/// is over.
async fn settle(
    pass_store: &PassStore,
    plan: &PiecePlan,
    folder: &JobFolder,
    last: Option<&PieceId>,
) -> Result<(), WorkError> {
    let Some(ledger) = ledger_of(pass_store, plan, folder, last).await? else { return Ok(()) };
    ledger.set_recovered(plan.recovered.clone());
    ledger.begin(OffsetDateTime::now_utc()).await?;
    ledger.end().await?;
    Ok(())
}

/// Whether files have waited beyond a limit for long is known once all pieces are done.
async fn over_limit(
    pass_store: &PassStore,
    plan: &PiecePlan,
    folder: &JobFolder,
    last: Option<&PieceId>,
    report: &mut SourceReport,
) -> Result<(), WorkError> {
    if safeguard_off!("limit-in-pieces") {
        return Ok(());
    }
    let (source, since) = (&pass_store.source, plan.over_limit_since);
    if late::over_limit_moved(since, report)
        && let Some(ledger) = ledger_of(pass_store, plan, folder, last).await?
    {
        late::note_over_limit(&ledger, source, report).await;
    }
    late::tell_over_limit(source, since, report);
    Ok(())
}

/// The ledger of the pass as a whole, which records in the journal of its last piece.
async fn ledger_of(
    pass_store: &PassStore,
    plan: &PiecePlan,
    folder: &JobFolder,
    last: Option<&PieceId>,
) -> Result<Option<Ledger>, WorkError> {
    let Some(last) = last else { return Ok(None) };
    let piece = folder.blob(JobKind::Piece(PieceId::first(last.number)));
    let Some(bytes) = pass_store.read(&piece).await? else { return Ok(None) };
    let Ok((header, _)) = super::piece::parse(&bytes) else { return Ok(None) };
    let run = &pass_store.run;
    let (ledger, _) = Ledger::open_piece(
        run.store.clone(),
        &pass_store.source.name,
        &header.journal,
        &plan.pass,
        run.policy,
        never(),
    )
    .await?;
    Ok(Some(ledger))
}
