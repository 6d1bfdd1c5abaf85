//! Work by the queue: the timer and requests only ask for passes, `IngestQueue` does them, piece by piece.

use std::sync::Arc;

use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::api;
use super::console::Ids;
use super::envelope::HttpAnswer;
use super::functions::{Answer, App, Invocation, loaded};
use super::host::Host;
use super::ready::{Ready, Work};
use super::record::{RunRecord, Trigger, UnderWay, blob_name};
use super::records::Records;
use super::threads::Own;
use crate::model::chain;
use crate::report::Status as Ended;
use crate::retry::{Policy, retry};
use crate::run::due::due;
use crate::run::progress::Silent;
use crate::run::settings::Source;
use crate::run::work::asking::{Asked, Office};
use crate::run::work::message::Message;
use crate::run::work::sweep::sweep;
use crate::run::work::{Came, WorkError, work};
use crate::run::{self, Options};
use crate::store::contract::Store;
use crate::store::queue::Queue;
use crate::telemetry::insights::{Beginning, FLUSH, Operation, taken_from_queue};

/// What came of asking for a run.
pub struct Enqueued {
    /// The run, if it is asked to go over any source.
    pub run: Option<RunRecord>,
    /// Sources that other runs were asked to go over before, and have not yet.
    pub joined: Vec<UnderWay>,
}

/// A tick: looks after what is left behind, and asks for a run over the sources that are due.
pub async fn timer(ready: &Ready, work: &Work, invocation: &str) -> Answer {
    let queue = &work.queue;
    let swept = sweep(&ready.sources, queue, || options(ready, "sweep")).await;
    for problem in &swept.problems {
        let error = ready.redactor.text(problem);
        tracing::warn!(invocation, error, "Warning: something that is left behind could not be looked after; the next tick tries again.");
    }
    let records = Records::new(ready.store.clone());
    for run in &swept.closed {
        settle(&records, run).await;
    }
    let due = due(&ready.store, &Policy::default(), &ready.sources, OffsetDateTime::now_utc()).await;
    if due.is_empty() {
        return Answer::done("no source is due".into());
    }
    match enqueue(ready, queue, &due, Trigger::Timer, invocation).await {
        Ok(Enqueued { run: Some(run), joined }) => {
            Answer::done(format!("run {} goes over {} through the queue{}", run.id, run.queued.join(", "), besides(&joined)))
        }
        Ok(Enqueued { run: None, joined }) => Answer::done(format!("nothing to start{}", besides(&joined))),
        Err(problem) => Answer::not_done(500, ready.redactor.text(&problem)),
    }
}

fn besides(joined: &[UnderWay]) -> String {
    joined.iter().map(|run| format!("; run {} is asked to go over `{}` already", run.id, run.source)).collect()
}

/// A request: asks for a run over `wanted`.
pub async fn http(ready: &Ready, host: &Host, work: &Work, wanted: Option<&[String]>, invocation: &str) -> HttpAnswer {
    let sources: Vec<Source> = ready.sources.iter().filter(|source| wanted.is_none_or(|wanted| wanted.contains(&source.name))).cloned().collect();
    match enqueue(ready, &work.queue, &sources, Trigger::Http, invocation).await {
        Ok(Enqueued { run: Some(run), joined }) => api::accepted(&host.prefix, &run.id, &joined),
        Ok(Enqueued { run: None, joined }) => api::joined(&host.prefix, &joined),
        Err(problem) => HttpAnswer::refusal(503, ready.redactor.text(&problem)).with("Retry-After", "30"),
    }
}

/// Asks for a run over `sources`: the claims first, then its record, then the messages. Whoever is killed in between
/// leaves a claim that lapses.
async fn enqueue(ready: &Ready, queue: &Arc<dyn Queue>, sources: &[Source], trigger: Trigger, invocation: &str) -> Result<Enqueued, String> {
    let told = |error: &(dyn std::error::Error + 'static)| format!("asking for a run: {}", chain(error));
    let policy = Policy::default();
    let never = CancellationToken::new();
    retry(&policy, &never, "making the queue", |_| queue.prepare()).await.map_err(|error| told(&error))?;
    retry(&policy, &never, "preparing the store", |_| ready.store.prepare()).await.map_err(|error| told(&error))?;
    let office = Office { store: &ready.store, queue, policy };
    let now = OffsetDateTime::now_utc();
    let mut record = RunRecord::new(trigger, invocation, now);
    let mut joined = Vec::new();
    for source in sources {
        match office.claim(&source.name, &record.id, now).await.map_err(|error| told(&error))? {
            Asked::Ours => record.queued.push(source.name.clone()),
            Asked::Joined(id) => joined.push(UnderWay { source: source.name.clone(), id }),
        }
    }
    if record.queued.is_empty() {
        return Ok(Enqueued { run: None, joined });
    }
    record.run = Some(record.id.clone());
    Records::new(ready.store.clone()).put(&record).await.map_err(|error| told(&error))?;
    for source in &record.queued {
        office.send(source, &record.id).await.map_err(|error| told(&error))?;
    }
    tracing::info!(run = record.id, invocation, sources = record.queued.join(","), queue = queue.address(), "A run is asked for.");
    Ok(Enqueued { run: Some(record), joined })
}

fn options(ready: &Ready, id: &str) -> Options {
    given(ready.store.clone(), ready.limits.clone(), id, CancellationToken::new())
}

fn given(store: Arc<dyn Store>, limits: run::settings::Limits, id: &str, cancel: CancellationToken) -> Options {
    Options {
        id: id.to_owned(),
        store,
        limits,
        policy: Policy::default(),
        again: Vec::new(),
        retry_quarantined: false,
        cancel,
        progress: Arc::new(Silent),
    }
}

/// A message: does what it says. What cannot be done answers 500, so that the queue brings it again.
pub async fn message(app: &App, invocation: Invocation) -> Answer {
    let (ready, host) = match loaded(app).await {
        Ok(loaded) => loaded,
        Err(reason) => return Answer::not_done(500, reason),
    };
    let value = match invocation.envelope.message() {
        Ok(value) => value,
        Err(error) => return error.into(),
    };
    let message: Message = match serde_json::from_value(value) {
        Ok(message) => message,
        Err(error) => return Answer::not_done(400, format!("the message is none of ours: {error}")),
    };
    if let Some(waited) = invocation.envelope.waited(OffsetDateTime::now_utc()) {
        taken_from_queue(waited);
    }
    if blob_name(&message.run).is_none() {
        return Answer::not_done(400, "the message is none of ours: it names no run");
    }
    let Some(source) = ready.sources.iter().find(|source| source.name == message.source).cloned() else {
        let name = crate::model::printable(message.source.as_bytes());
        return Answer::not_done(404, format!("there is no source `{name}` in this configuration"));
    };
    let Some(work) = &ready.work else {
        return Answer::not_done(500, "this configuration does not work by the queue: `dispatch.mode` is `inline`");
    };
    if app.runs.is_stopping() {
        return Answer::not_done(503, "the process is ending");
    }
    let count = invocation.envelope.dequeue_count();
    tracing::info!(invocation = invocation.id, run = message.run, message = %message, count, "A message asks for work.");
    let Invocation { id, begun, traceparent, .. } = invocation;
    let beginning = Beginning {
        name: Trigger::Queue.function(),
        run: &message.run,
        trigger: Trigger::Queue.word(),
        invocation: Some(id.as_str()).filter(|id| *id != "-"),
        traceparent: traceparent.as_deref(),
        at: std::time::SystemTime::now() - begun.elapsed(),
    };
    let operation = ready.insights.as_ref().map(|insights| Arc::new(insights.begin(&beginning)));
    let (stop, end) = app.runs.ends();
    let ids = Arc::new(Ids { run: message.run.clone(), invocation: id });
    let own = Own { ids, begun, deadline: host.deadline(), stop: stop.clone(), end, operation: operation.clone() };
    let doing = do_it(ready.clone(), work.sizes, message.clone(), source, stop);
    let came = app.runs.track(async move { own.run(doing).await }).await;
    let answer = match came {
        Ok(Ok(Ok(came))) => answer(&ready, &message, came).await,
        Ok(Ok(Err(error))) => Answer::not_done(500, ready.redactor.text(&format!("{message}: {}", chain(&error)))),
        Ok(Err((_, problem))) => Answer::not_done(500, ready.redactor.text(&format!("{message}: {problem}"))),
        Err(_) => Answer::not_done(500, format!("{message}: a defect of blobferry ended it; the log has its trace")),
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

/// On threads of its own: connections live and die with them.
async fn do_it(
    ready: Arc<Ready>,
    sizes: run::work::cutting::Sizes,
    message: Message,
    source: Source,
    stop: CancellationToken,
) -> Result<Came, WorkError> {
    let opened =
        (ready.open)().and_then(|given| Ok((given, ready.work.as_ref().map_or_else(|| Err("there is no queue".into()), |work| (work.open)())?)));
    match opened {
        Ok((of_store, queue)) => work(&message, source, given(of_store.store, of_store.limits, &message.run, stop), queue, sizes).await,
        Err(why) => Err(WorkError::Damaged { blob: "the configuration".into(), why }),
    }
}

async fn answer(ready: &Ready, message: &Message, came: Came) -> Answer {
    let records = Records::new(ready.store.clone());
    match came {
        Came::Done(told) | Came::Later(told) => Answer::done(told),
        Came::Over => {
            settle(&records, &message.run).await;
            Answer::done(format!("{message}: its pass is over already"))
        }
        Came::Closed(report) => {
            settle(&records, &message.run).await;
            let status = report.status();
            let told = format!(
                "`{}` is gone over by run {}: {}, ingested {}, unchanged {}, skipped {}, deferred {}, failed {}",
                message.source,
                message.run,
                status.word(),
                report.ingested,
                report.unchanged,
                report.skipped,
                report.deferred,
                report.failed
            );
            if status == Ended::Failed {
                let problem = report.problems.first().map_or("the report tells no cause", |problem| problem.message.as_str());
                tracing::error!(
                    run = message.run,
                    source = message.source,
                    error = ready.redactor.text(problem),
                    "Nothing could be done at a source."
                );
            }
            Answer::done(ready.redactor.text(&told))
        }
    }
}

/// Writes the record of a run that may be over. Whoever asks for it is told the truth also where that fails.
async fn settle(records: &Records, run: &str) {
    if let Err(error) = records.settle(run).await {
        tracing::warn!(run, error = %chain(&error), "Warning: the record of this run could not be written.");
    }
}
