//! A run in this process: a pass over each source, side by side.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use time::OffsetDateTime;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::context::Run;
use super::look::pass;
use super::options::{Options, begin};
use super::settings::Source;
use super::share;
use super::survey::Again;
use super::watch;
use crate::failure::Class;
use crate::patterns::Patterns;
use crate::report::{Problem, Report, SourceReport, Status, problem};
use crate::retry::retry;

/// Passes that begin at once: so that a thousand idle sources need little memory.
const LOOKS: usize = 16;
/// A pass that takes longer makes room for another: a slow source keeps no other waiting for long.
const QUICK_LOOK: Duration = Duration::from_secs(10);

/// Brings over what is new at `sources`, all of them side by side. Never fails: the report tells.
pub async fn run(sources: Vec<Source>, options: Options) -> Report {
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
                    watch::source_ended(&run, &report).await;
                    report
                }
            });
            report.sources = join_all(passes).await;
            share::write_down(&run).await;
        }
    }
    report.interrupted = cancel.is_cancelled();
    report.ended = OffsetDateTime::now_utc();
    watch::run_ended(&report);
    log_end(&report);
    report
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
pub fn patterns_again(source: &Source, globs: &[String]) -> Again {
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
