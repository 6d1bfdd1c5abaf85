//! A run in this process: a pass over each source, side by side.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use time::OffsetDateTime;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use crate::jobs::sweep::end_if_silent;
use crate::ledger::OpenPass;
use crate::model::chain;
use crate::model::failure::Class;
use crate::pass::found_work::Again;
use crate::pass::judging;
use crate::pass::look::{EndDeadPasses, LookOutcome, Pieces, left, left_to, look_first};
use crate::pass::share;
use crate::pass::steps::work_on;
use crate::report::{LeftTo, Problem, Report, SourceReport, Status, problem};
use crate::rules::patterns::Patterns;
use crate::runtime::retry::retry;
use crate::transfer::context::{Pass, Run};
use crate::transfer::events;
use crate::transfer::options::{Options, begin};
use crate::transfer::settings::Source;

/// Passes that begin at once: so that a thousand idle sources need little memory.
const LOOKS: usize = 16;
/// A pass that takes longer makes room for another: a slow source keeps no other waiting for long.
const QUICK_LOOK: Duration = Duration::from_secs(10);

/// Brings over what is new at `sources`, all of them side by side but those that are off; those of
/// higher priority begin first. Never fails: the report tells.
pub async fn run(mut sources: Vec<Source>, options: Options) -> Report {
    sources.retain(|source| source.enabled);
    sources.sort_by_key(|source| Reverse(source.priority));
    let (again, cancel) = (options.again.clone(), options.cancel.clone());
    let run = Arc::new(begin(options, &sources));
    tracing::info!(
        run_id = run.id,
        sources = sources.len(),
        store = run.store.address(),
        "A run begins."
    );
    let mut report = empty_report(&run);
    match retry(&run.policy, &run.cancel, "preparing the store", |_| run.store.prepare()).await {
        Err(error) => report.problems.push(problem(&error)),
        Ok(()) => {
            let looks = Semaphore::new(LOOKS);
            let passes = sources.into_iter().map(|source| {
                let again = patterns_again(&source, &again);
                let (name, address) = (source.name.clone(), source.endpoint.address().to_owned());
                let (run, looks) = (run.clone(), &looks);
                async move {
                    let place = looks.acquire().await;
                    // Dropping the run stops it.
                    let work = tokio::spawn(pass(run.clone(), source, again));
                    let mut task = AbortOnDropHandle::new(work);
                    let ended = tokio::select! {
                        biased;
                        ended = &mut task => ended,
                        () = sleep(QUICK_LOOK) => {
                            drop(place);
                            task.await
                        }
                    };
                    let report = ended.unwrap_or_else(|_| defect(&name, &address));
                    events::source_ended(&run, &report).await;
                    report
                }
            });
            report.sources = join_all(passes).await;
            share::write_down(&run).await;
        }
    }
    report.interrupted = cancel.is_cancelled();
    report.ended = OffsetDateTime::now_utc();
    events::run_ended(&report);
    log_end(&report);
    report
}

/// Goes over `source` once, unless another run is at it. Never fails: whatever goes wrong is in the
/// report.
async fn pass(run: Arc<Run>, source: Source, again: Again) -> SourceReport {
    let run = run.toward(&source);
    let report = match look_first(&run, &source, &again, Pieces::EndIfDead(&Sweeper)).await {
        LookOutcome::Ended(mut report) => {
            judging::after_pass(&run, &source, run.started, &mut report).await;
            *report
        }
        LookOutcome::Work(pass, survey, ours) => work_on(&pass, *survey, ours).await,
        LookOutcome::UnderWay(open) => left(&source, left_to(&open)),
    };
    run.progress.finished(&report);
    report
}

/// Ends passes in pieces whose workers are dead, for a run that has no queue.
struct Sweeper;

#[async_trait]
impl EndDeadPasses for Sweeper {
    async fn end_if_dead(&self, pass: &Pass, open: &OpenPass) -> Option<LeftTo> {
        match end_if_silent(&pass.run, &pass.source, open).await {
            Ok(true) => None,
            Ok(false) => Some(left_to(open)),
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(
                    source = pass.source.name,
                    error,
                    "Warning: how the pass of another run stands cannot be read; the source is \
                    left to it."
                );
                Some(left_to(open))
            }
        }
    }
}

/// Tells the end of a run at the level of its word: what a person must look at is no information.
fn log_end(report: &Report) {
    let (run_id, status) = (&report.run, report.status().word());
    let ingested: u64 = report.sources.iter().map(|source| source.ingested).sum();
    let failed: u64 = report.sources.iter().map(|source| source.failed).sum();
    let is_bad = |source: &&SourceReport| source.status() > Status::Interrupted;
    let bad = report.sources.iter().filter(is_bad).count();
    match report.status() {
        Status::Left | Status::Ok => tracing::info!(run_id, status, ingested, "A run ended."),
        Status::Interrupted => tracing::warn!(run_id, status, ingested, "A run ended."),
        Status::Degraded => tracing::warn!(run_id, status, ingested, failed, bad, "A run ended."),
        Status::Failed => tracing::error!(run_id, status, ingested, failed, bad, "A run ended."),
    }
}

fn empty_report(run: &Run) -> Report {
    Report {
        run: run.id.clone(),
        started: run.started,
        ended: run.started,
        interrupted: false,
        store: run.store.address().to_owned(),
        problems: Vec::new(),
        sources: Vec::new(),
    }
}

/// The patterns of files that are fetched again though they are known.
pub(crate) fn patterns_again(source: &Source, globs: &[String]) -> Again {
    if globs.is_empty() {
        return None;
    }
    // Checked when the command line was read.
    Patterns::new(source.root.clone(), globs, &[], &[], None).ok()
}

fn defect(source: &str, address: &str) -> SourceReport {
    let mut report = SourceReport::new(source, address);
    report.unusable = true;
    let what = "a defect ended the work on this source; the log has its trace";
    report.problems.push(Problem::new(Class::Internal, what));
    report
}
