//! Work by the queue: the timer and requests only ask for passes, `IngestQueue` does them, piece by
//! piece.

use std::sync::Arc;

use serde_json::Value;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::api;
use super::app::{Answer, App, Invocation, for_work};
use super::console::Ids;
use super::envelope::HttpAnswer;
use super::expected;
use super::host::Host;
use super::isolated_runtime::IsolatedRuntime;
use super::resources::{QueueWork, Ready, RunResources};
use crate::history::record::{
    RunRecord, RunStatus, RunUnderWay, Trigger, source_line, waiting_line,
};
use crate::history::records::{Changed, Records};
use crate::history::source_index::SourceIndex;
use crate::jobs::enqueue::Office;
use crate::jobs::error::WorkError;
use crate::jobs::message::{Message, Unreadable};
use crate::jobs::outcome::Came;
use crate::jobs::run_status;
use crate::jobs::sweep::sweep;
use crate::jobs::work;
use crate::model::chain;
use crate::report::{SourceReport, Status as Ended};
use crate::run::due::due;
use crate::runtime::retry::{Policy, retry};
use crate::state::paths::is_run_id;
use crate::store::queue::Queue;
use crate::telemetry::insights::{Beginning, FLUSH, Operation, taken_from_queue};
use crate::transfer::options::Options;
use crate::transfer::progress::Silent;
use crate::transfer::settings::Source;

/// A message of a later release is not seen for so long.
const LATER_RELEASE: std::time::Duration = std::time::Duration::from_secs(60);

/// What came of asking for a run.
pub(crate) struct Enqueued {
    /// The run, if it is asked to go over any source.
    pub run: Option<RunRecord>,
    /// Sources that other runs were asked to go over before, and have not yet.
    pub joined: Vec<RunUnderWay>,
}

/// A tick: looks after what is left behind, and asks for a run over the sources that are due.
pub async fn timer(ready: &Ready, work: &QueueWork, invocation: &str) -> Answer {
    let state = ready.state();
    let now = OffsetDateTime::now_utc();
    let index = match (Office { state: &state, queue: &work.queue }).fold(now).await {
        Ok(index) => index,
        Err(error) => {
            return Answer::not_done(
                500,
                ready.redactor.text(&format!("looking what is due: {}", chain(&error))),
            );
        }
    };
    look_after(ready, work, &index, invocation).await;
    expected::judge_all(ready, now).await;
    let due = due(&state, &ready.sources, now).await;
    if due.is_empty() {
        return Answer::done("no source is due".into());
    }
    match enqueue(ready, &work.queue, &due, Trigger::Timer, invocation).await {
        Ok(Enqueued { run: Some(run), joined }) => Answer::done(format!(
            "run {} goes over {} through the queue{}",
            run.id,
            run.queued.join(", "),
            besides(&joined)
        )),
        Ok(Enqueued { run: None, joined }) => {
            Answer::done(format!("nothing to start{}", besides(&joined)))
        }
        Err(problem) => Answer::not_done(500, ready.redactor.text(&problem)),
    }
}

/// Looks after messages that were given up, and after sources that were asked for and not looked at
/// yet: only there a pass can be under way. Where the index of sources is lost, after all of them.
async fn look_after(ready: &Ready, work: &QueueWork, index: &SourceIndex, invocation: &str) {
    let is_asked = |source: &&Source| {
        index
            .sources
            .get(&source.name)
            .is_none_or(|entry| entry.asked.is_some() || entry.run.is_none())
    };
    let asked: Vec<Source> = ready.sources.iter().filter(is_asked).cloned().collect();
    let swept = sweep(&ready.sources, &asked, &work.queue, || options(ready, "sweep")).await;
    for problem in &swept.problems {
        let error = ready.redactor.text(problem);
        tracing::warn!(
            invocation,
            error,
            "Warning: something that is left behind could not be looked after; the next tick tries \
            again."
        );
    }
    let records = Records::new(ready.state());
    let mut ended = swept.ended;
    for run in index.open.iter().chain(&swept.closed) {
        match run_status::settle(&records, run).await {
            Ok(settled) => ended.extend(now_ended(settled)),
            Err(error) => tracing::warn!(
                run_id = run,
                error = chain(&error),
                "Warning: the record of this run could not be written."
            ),
        }
    }
    for record in &ended {
        tell_end(ready, record);
    }
    if let Some(insights) = ready.insights.as_ref().filter(|_| !ended.is_empty()) {
        insights.flush(FLUSH).await;
    }
}

/// The record of a run that ended by this change, and by no other.
fn now_ended(changed: Option<Changed>) -> Option<RunRecord> {
    changed.filter(|changed| changed.has_ended).map(|changed| changed.record)
}

/// Counts a run that has ended, once: its request, its duration, its word. The client that ended it
/// does so, be it a worker at the last piece or the timer for those who are dead.
fn tell_end(ready: &Ready, record: &RunRecord) {
    let Some(insights) = &ready.insights else { return };
    let beginning = Beginning {
        name: record.trigger.function(),
        run: &record.id,
        trigger: record.trigger.word(),
        invocation: Some(record.invocation.as_str()).filter(|id| !matches!(*id, "-" | "")),
        traceparent: None,
        at: record.started.into(),
    };
    let is_failed = matches!(record.status, RunStatus::Failed | RunStatus::Abandoned);
    insights.begin(&beginning).end(record.ended_word(), is_failed);
}

fn besides(joined: &[RunUnderWay]) -> String {
    joined
        .iter()
        .map(|run| format!("; run {} is asked to go over `{}` already", run.id, run.source))
        .collect()
}

/// A request: asks for a run over `wanted`.
pub async fn http(
    ready: &Ready,
    host: &Host,
    work: &QueueWork,
    wanted: Option<&[String]>,
    invocation: &str,
) -> HttpAnswer {
    let sources: Vec<Source> = ready
        .enabled()
        .filter(|source| wanted.is_none_or(|wanted| wanted.contains(&source.name)))
        .cloned()
        .collect();
    match enqueue(ready, &work.queue, &sources, Trigger::Http, invocation).await {
        Ok(Enqueued { run: Some(run), joined }) => api::accepted(&host.prefix, &run.id, &joined),
        Ok(Enqueued { run: None, joined }) => api::joined(&host.prefix, &joined),
        Err(problem) => {
            HttpAnswer::refusal(503, ready.redactor.text(&problem)).with("Retry-After", "30")
        }
    }
}

/// Asks for a run over `sources`: the claims first, then its record, then the messages. A client
/// that is killed in between leaves a claim that lapses.
async fn enqueue(
    ready: &Ready,
    queue: &Arc<dyn Queue>,
    sources: &[Source],
    trigger: Trigger,
    invocation: &str,
) -> Result<Enqueued, String> {
    let told =
        |error: &(dyn std::error::Error + 'static)| format!("asking for a run: {}", chain(error));
    let policy = Policy::default();
    let never = CancellationToken::new();
    retry(&policy, &never, "making the queue", |_| queue.prepare())
        .await
        .map_err(|error| told(&error))?;
    retry(&policy, &never, "preparing the store", |_| ready.store.prepare())
        .await
        .map_err(|error| told(&error))?;
    let state = ready.state();
    let office = Office { state: &state, queue };
    let now = OffsetDateTime::now_utc();
    let mut record = RunRecord::new(trigger, invocation, now);
    let names: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
    let claimed = office.claim(&names, &record.id, now).await.map_err(|error| told(&error))?;
    let joined = claimed
        .joined
        .iter()
        .map(|(source, id)| RunUnderWay { source: source.clone(), id: id.clone() })
        .collect();
    if claimed.ours.is_empty() {
        return Ok(Enqueued { run: None, joined });
    }
    record.queued.clone_from(&claimed.ours);
    record.sources = claimed.ours.iter().map(|source| waiting_line(source)).collect();
    record.run = Some(record.id.clone());
    Records::new(state.clone()).put(&record).await.map_err(|error| told(&error))?;
    office.send(&claimed, &record.id).await.map_err(|error| told(&error))?;
    tracing::info!(
        run_id = record.id,
        invocation,
        sources = record.queued.join(","),
        queue = queue.address(),
        "A run is asked for."
    );
    Ok(Enqueued { run: Some(record), joined })
}

fn options(ready: &Ready, id: &str) -> Options {
    let given = RunResources {
        store: ready.store.clone(),
        destinations: ready.destinations.clone(),
        limits: ready.limits.clone(),
    };
    ready.options(id, given, CancellationToken::new(), Arc::new(Silent))
}

/// A message: does what it says. What cannot be done answers 500, so that the queue brings it
/// again.
pub async fn message(app: &App, invocation: Invocation) -> Answer {
    let (ready, host) = match for_work(app).await {
        Ok(loaded) => loaded,
        Err(reason) => return Answer::not_done(500, reason),
    };
    let value = match invocation.envelope.message() {
        Ok(value) => value,
        Err(error) => return error.into(),
    };
    let by_queue = ready
        .work
        .as_ref()
        .ok_or("this configuration does not work by the queue: `dispatch.mode` is `inline`");
    let message = match (Message::read(value.clone()), by_queue) {
        (Ok(message), _) => message,
        (Err(Unreadable::Later(version)), Ok(work)) => {
            return put_back(work, &value, version).await;
        }
        (Err(Unreadable::Later(_)), Err(reason)) => return Answer::not_done(500, reason),
        (Err(error), _) => {
            return Answer::not_done(400, format!("the message is none of ours: {error}"));
        }
    };
    if let Some(waited) = invocation.envelope.waited(OffsetDateTime::now_utc()) {
        taken_from_queue(waited);
    }
    if !is_run_id(&message.run) {
        return Answer::not_done(400, "the message is none of ours: it names no run");
    }
    let sources = match wanted(&ready, &message) {
        Ok(sources) => sources,
        Err(refusal) => return refusal,
    };
    let work = match by_queue {
        Ok(work) => work,
        Err(reason) => return Answer::not_done(500, reason),
    };
    if app.runs.is_stopping() {
        return Answer::not_done(503, "the process is ending");
    }
    let count = invocation.envelope.dequeue_count();
    let work_asked = message.to_string();
    tracing::info!(
        run_id = message.run,
        invocation = invocation.id,
        work = work_asked,
        count,
        "A message asks for work."
    );
    let Invocation { id, begun, traceparent, .. } = invocation;
    let beginning = Beginning {
        name: Trigger::Queue.function(),
        run: &message.run,
        trigger: Trigger::Queue.word(),
        invocation: Some(id.as_str()).filter(|id| *id != "-"),
        traceparent: traceparent.as_deref(),
        at: std::time::SystemTime::now() - begun.elapsed(),
    };
    let operation =
        ready.insights.as_ref().map(|insights| Arc::new(insights.begin_part(&beginning)));
    let (stop, end) = app.runs.ends();
    let ids = Arc::new(Ids { run: message.run.clone(), invocation: id });
    let leases = TaskTracker::new();
    let own = IsolatedRuntime {
        ids,
        begun,
        deadline: host.deadline(),
        stop: stop.clone(),
        end,
        leases: leases.clone(),
        operation: operation.clone(),
    };
    let doing = do_it(ready.clone(), work.sizes, message.clone(), sources, (stop, leases));
    let came = app.runs.track(async move { own.run(doing).await }).await;
    let answer = match came {
        Ok(Ok(came)) => answer(&ready, &message, came).await,
        Ok(Err((_, problem))) => {
            Answer::not_done(500, ready.redactor.text(&format!("{message}: {problem}")))
        }
        Err(_) => Answer::not_done(
            500,
            format!("{message}: a defect of blobferry ended it; the log has its trace"),
        ),
    };
    if let Some(operation) = operation {
        flush(&operation, answer.status, &host, begun).await;
    }
    answer
}

async fn flush(operation: &Operation, status: u16, host: &Host, begun: tokio::time::Instant) {
    operation.end(if status == 200 { "ok" } else { "failed" }, status != 200);
    operation.flush(host.deadline().before_answer(begun.elapsed(), FLUSH)).await;
}

/// A worker of the release that sent it will take it.
async fn put_back(work: &QueueWork, message: &Value, version: u64) -> Answer {
    let text = message.to_string();
    let send = |_| work.queue.send(&text, LATER_RELEASE);
    match retry(&Policy::default(), &CancellationToken::new(), "putting a message back", send).await
    {
        Ok(()) => Answer::done(format!(
            "a later release sent this message (version {version}); it is put back for a worker of \
            that release"
        )),
        Err(error) => Answer::not_done(500, chain(&error)),
    }
}

/// The sources that a message is about, as far as this configuration holds them.
fn wanted(ready: &Ready, message: &Message) -> Result<Vec<Source>, Answer> {
    let names = message.sources();
    let sources: Vec<Source> =
        ready.enabled().filter(|source| names.contains(&source.name.as_str())).cloned().collect();
    if sources.is_empty() {
        let name = crate::model::printable(names.join("`, `").as_bytes());
        return Err(Answer::not_done(
            404,
            format!("there is no source `{name}` in this configuration"),
        ));
    }
    Ok(sources)
}

/// What came of each source that a message is about.
type Ends = Vec<(String, Result<Came, WorkError>)>;

/// On threads of its own: connections live and die with them.
async fn do_it(
    ready: Arc<Ready>,
    sizes: crate::jobs::cutting::Sizes,
    message: Message,
    sources: Vec<Source>,
    (stop, leases): (CancellationToken, TaskTracker),
) -> Ends {
    let each = sources.into_iter().map(|source| {
        let (ready, message, ends) = (&ready, &message, (stop.clone(), leases.clone()));
        async move {
            let name = source.name.clone();
            (name, of_source(ready, sizes, message, source, ends).await)
        }
    });
    futures_util::future::join_all(each).await
}

async fn of_source(
    ready: &Ready,
    sizes: crate::jobs::cutting::Sizes,
    message: &Message,
    source: Source,
    (stop, leases): (CancellationToken, TaskTracker),
) -> Result<Came, WorkError> {
    let broken = |why: String| WorkError::Damaged { blob: "the configuration".into(), why };
    let given = (ready.open)().map_err(broken)?;
    let queue = match &ready.work {
        Some(work) => (work.open)().map_err(broken)?,
        None => return Err(broken("there is no queue".into())),
    };
    let options = Options { leases, ..ready.options(&message.run, given, stop, Arc::new(Silent)) };
    work(message, source, options, queue, sizes).await
}

/// Tells the record of the run what has ended, and the host what came of the message: done, unless
/// a source failed.
async fn answer(ready: &Ready, message: &Message, ends: Ends) -> Answer {
    let (mut lines, mut told, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    let mut is_over = false;
    for (source, came) in ends {
        match came {
            Ok(Came::Done(text) | Came::Later(text)) => told.push(text),
            Ok(Came::Over) => {
                is_over = true;
                told.push(format!("{message}: its pass is over already"));
            }
            Ok(Came::Closed(report)) => {
                lines.push(source_line(&report, &ready.redactor, OffsetDateTime::now_utc()));
                told.push(closed(ready, message, &report));
            }
            Err(error) => failed.push(format!("`{source}`: {}", chain(&error))),
        }
    }
    let records = Records::new(ready.state());
    let settled = if is_over { run_status::settle(&records, &message.run).await } else { Ok(None) };
    let ended = if lines.is_empty() { Ok(None) } else { records.tell(&message.run, &lines).await };
    for written in [settled, ended] {
        match written {
            Ok(changed) => now_ended(changed).iter().for_each(|record| tell_end(ready, record)),
            Err(error) => tracing::warn!(
                run_id = message.run,
                error = chain(&error),
                "Warning: the record of this run could not be written."
            ),
        }
    }
    if failed.is_empty() {
        return Answer::done(ready.redactor.text(&told.join("; ")));
    }
    Answer::not_done(500, ready.redactor.text(&format!("{message}: {}", failed.join("; "))))
}

fn closed(ready: &Ready, message: &Message, report: &SourceReport) -> String {
    let status = report.status();
    if status == Ended::Failed {
        let problem = report
            .problems
            .first()
            .map_or("the report tells no cause", |problem| problem.message.as_str());
        tracing::error!(
            run_id = message.run,
            source = report.source,
            error = ready.redactor.text(problem),
            "Nothing could be done at a source."
        );
    }
    format!(
        "`{}` is gone over by run {}: {}, ingested {}, unchanged {}, skipped {}, gone {}, deferred \
        {}, failed {}",
        report.source,
        message.run,
        status.word(),
        report.ingested,
        report.unchanged,
        report.skipped,
        report.gone,
        report.deferred,
        report.failed
    )
}
