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
use super::survey::Again;
use super::watch;
use crate::failure::Class;
use crate::patterns::Patterns;
use crate::report::{Problem, Report, SourceReport, problem};
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
                    let mut task = AbortOnDropHandle::new(tokio::spawn(pass(run, source, again)));
                    let ended = tokio::select! {
                        biased;
                        ended = &mut task => ended,
                        () = sleep(QUICK_LOOK) => {
                            drop(place);
                            task.await
                        }
                    };
                    let report = ended.unwrap_or_else(|_| defect(&name, &address));
                    watch::source_ended(&report);
                    report
                }
            });
            report.sources = join_all(passes).await;
        }
    }
    report.interrupted = cancel.is_cancelled();
    report.ended = OffsetDateTime::now_utc();
    watch::run_ended(&report);
    let ingested = report.sources.iter().map(|source| source.ingested).sum::<u64>();
    tracing::info!(run_id = run.id, status = ?report.status(), ingested, "A run ended.");
    report
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
