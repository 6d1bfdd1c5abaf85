//! One run from its start to its record's last word: its own threads, its deadline, its heartbeat.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::console::Ids;
use super::host::Deadline;
use super::isolated_runtime::IsolatedRuntime;
use super::resources::Ready;
use super::tally::RunTally;
use crate::history::record::{RunRecord, RunStatus};
use crate::history::records::Records;
use crate::history::source_index;
use crate::model::chain;
use crate::model::failure::Class;
use crate::report::Report;
use crate::run;
use crate::telemetry::insights::{FLUSH, Operation};
use crate::transfer::settings::Source;

/// A record is written this often while its run goes on.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// Writing a record never takes longer.
const WRITE: Duration = Duration::from_secs(60);

/// A run to be.
pub(crate) struct Job {
    /// What it works with.
    pub ready: Arc<Ready>,
    /// The sources to go over; nobody else does at this time.
    pub sources: Vec<Source>,
    /// Whose lines its threads write.
    pub ids: Arc<Ids>,
    /// When its invocation began.
    pub begun: Instant,
    /// How long it may take.
    pub deadline: Deadline,
    /// Stops it: files in hand are finished.
    pub stop: CancellationToken,
    /// Ends it: nothing is finished.
    pub end: CancellationToken,
    /// How far it has come.
    pub tally: Arc<RunTally>,
    /// What others see of it.
    pub record: watch::Sender<RunRecord>,
    /// What Application Insights sees of it.
    pub operation: Option<Arc<Operation>>,
}

/// How it ended.
enum End {
    Report(Box<Report>),
    Broken(RunStatus, String),
}

/// Runs `job`. The record tells how it ended, first to those who watch it, then in the store.
pub async fn drive(job: Job) {
    let keeper = tokio::spawn(keep(
        Records::new(job.ready.state()),
        job.record.subscribe(),
        job.tally.clone(),
    ));
    let end = work(&job).await;
    let redactor = &job.ready.redactor;
    let mut record = job.record.borrow().clone();
    match &end {
        End::Report(report) => record.end(report, redactor),
        End::Broken(status, problem) => record.cut(
            *status,
            &redactor.text(problem),
            job.tally.sources(),
            OffsetDateTime::now_utc(),
        ),
    }
    tell(&job, &end);
    // Before anybody hears of the end: once the host is answered, it may kill us at any moment.
    flush(&job, &record).await;
    job.record.send_replace(record.clone());
    source_index::note(&job.ready.state(), &record).await;
    if let Err(panic) = keeper.await {
        tracing::error!(run_id = job.ids.run, error = %chain(&panic), "The record of a run was not \
            kept.");
    }
}

/// Says in the log what an operator must see, also where nobody waits for the answer.
fn tell(job: &Job, end: &End) {
    let Ids { run: run_id, invocation } = &*job.ids;
    match end {
        // The run itself told of its end.
        End::Report(_) => {}
        End::Broken(RunStatus::Failed, error) => tracing::error!(
            run_id,
            invocation,
            class = Class::Internal.word(),
            error,
            "A run broke down."
        ),
        End::Broken(_, reason) => {
            tracing::warn!(run_id, invocation, reason, "Warning: a run was ended.")
        }
    }
}

/// Sends what Application Insights is to know of the run, without being late for the host.
async fn flush(job: &Job, record: &RunRecord) {
    let Some(operation) = &job.operation else { return };
    operation.end(record.ended_word(), record.status == RunStatus::Failed);
    let most = if job.end.is_cancelled() { FLUSH / 4 } else { FLUSH };
    operation.flush(job.deadline.before_answer(job.begun.elapsed(), most)).await;
}

async fn work(job: &Job) -> End {
    let given = match (job.ready.open)() {
        Ok(given) => given,
        Err(problem) => return End::Broken(RunStatus::Failed, problem),
    };
    let options = job.ready.options(&job.ids.run, given, job.stop.clone(), job.tally.clone());
    let leases = options.leases.clone();
    let own = IsolatedRuntime {
        ids: job.ids.clone(),
        begun: job.begun,
        deadline: job.deadline,
        stop: job.stop.clone(),
        end: job.end.clone(),
        leases,
        operation: job.operation.clone(),
    };
    match own.run(run::run(job.sources.clone(), options)).await {
        Ok(report) => End::Report(Box::new(report)),
        Err((status, problem)) => End::Broken(status, problem),
    }
}

/// Writes the record at the start, at each heartbeat and at the end. What cannot be written is
/// told, and stops nothing.
async fn keep(records: Records, mut record: watch::Receiver<RunRecord>, tally: Arc<RunTally>) {
    loop {
        let mut now = record.borrow_and_update().clone();
        let has_ended = now.ended.is_some();
        if !has_ended {
            now.heartbeat = OffsetDateTime::now_utc();
            now.sources = tally.sources();
        }
        let problem = match tokio::time::timeout(WRITE, records.put(&now)).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(chain(&error)),
            Err(_) => Some(format!("no answer within {WRITE:?}")),
        };
        if let Some(error) = problem {
            tracing::warn!(
                run_id = now.id,
                invocation = now.invocation,
                error,
                "Warning: the record of this run could not be written."
            );
        }
        if has_ended {
            return;
        }
        tokio::select! {
            changed = record.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(HEARTBEAT) => {}
        }
    }
}
