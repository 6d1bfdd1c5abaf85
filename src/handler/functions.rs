//! The functions: what each invocation does and answers.
//!
//! The rule for answers: a run that did something, or found nothing to do, is a success of its
//! invocation, with 200 and a summary, also when single files failed or time ran out: the report
//! tells, and the next run takes up the rest. A timer's run that could do nothing at all (status
//! `failed`: no source or no store could be worked with, or a defect ended it) answers 500, so that
//! the host shows a failure and its retry policy works. HTTP functions always answer the host with
//! 200, since it throws away the body of every other answer: the status for the caller stands in
//! the output `res`.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::Instant;

use super::api::{self, Asked};
use super::dispatch;
use super::envelope::{BadPayload, Envelope, HttpAnswer, answer, http_answer};
use super::host::Host;
use super::manual;
use super::page::{self, Dress};
use super::resources::Ready;
use super::runs::{Call, Runs, Started};
use crate::history::record::{RunRecord, Status, Trigger, UnderWay};
use crate::run::due::due;

/// Azure's front end gives up after 230 s, so a caller is sent off with 202 before.
pub const PATIENCE: Duration = Duration::from_secs(200);

/// What links begin with while the host's settings are being read.
const UNKNOWN_PREFIX: &str = "/api";

/// Reading records never takes longer.
const READ: Duration = Duration::from_secs(60);

/// The configuration and the host's settings, or why there are none; `None` while they are being
/// read.
pub type Loaded = Option<Result<(Arc<Ready>, Arc<Host>), String>>;

/// What all invocations share.
#[derive(Clone)]
pub struct App {
    /// What they work with.
    pub loaded: watch::Receiver<Loaded>,
    /// The runs of this process.
    pub runs: Arc<Runs>,
    /// How long an HTTP caller waits for its run.
    pub patience: Duration,
    /// Whether requests that start runs are served here; the status page then has a form for them.
    pub starts_runs: bool,
}

/// One call of a function.
pub struct Invocation {
    /// The host's id of it, safe for a log.
    pub id: String,
    /// When it came.
    pub begun: Instant,
    /// The trace that it is a part of, as the host tells it.
    pub traceparent: Option<String>,
    /// What it says.
    pub envelope: Envelope,
}

/// What the host is answered.
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Value,
    /// What the log must say about it, because the host throws it away.
    pub reason: Option<String>,
}

impl Answer {
    /// Done, and how, in a sentence.
    pub fn done(summary: String) -> Self {
        Self { status: 200, body: answer(&[summary]), reason: None }
    }

    /// The host's answer to an HTTP function.
    pub fn http(answer: &HttpAnswer) -> Self {
        Self { status: 200, body: http_answer(answer), reason: None }
    }

    /// Not done for want of a configuration. Why, the log was told when it was read.
    fn unusable(reason: &str) -> Self {
        let told =
            "the configuration cannot be used; the reason was logged when it was read".to_owned();
        Self { status: 500, body: answer(&[reason.to_owned()]), reason: Some(told) }
    }

    /// Not done, and why.
    pub fn not_done(status: u16, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self { status, body: answer(std::slice::from_ref(&reason)), reason: Some(reason) }
    }
}

impl From<BadPayload> for Answer {
    fn from(error: BadPayload) -> Self {
        Answer::not_done(400, error.to_string())
    }
}

/// The names that functions go by.
pub const NAMES: &[&str] = &["IngestTimer", "IngestHttp", "IngestStatus", "IngestQueue"];

/// Does what the function `name` does; `None` if there is no such function.
pub async fn call(app: &App, name: &str, invocation: Invocation) -> Option<Answer> {
    match name {
        "IngestTimer" => Some(timer(app, invocation).await),
        "IngestHttp" => Some(manual::http(app, invocation).await),
        "IngestStatus" => Some(status(app, invocation).await),
        "IngestQueue" => Some(dispatch::message(app, invocation).await),
        _ => None,
    }
}

/// The configuration, once it is read.
pub async fn loaded(app: &App) -> Result<(Arc<Ready>, Arc<Host>), String> {
    let mut loaded = app.loaded.clone();
    match loaded.wait_for(Option::is_some).await {
        Ok(loaded) => {
            loaded.clone().unwrap_or_else(|| Err("the configuration was not read".into()))
        }
        Err(_) => {
            Err("a defect ended the reading of the configuration; the log has its trace".into())
        }
    }
}

async fn timer(app: &App, invocation: Invocation) -> Answer {
    let Invocation { id, begun, traceparent, envelope } = invocation;
    let (ready, host) = match loaded(app).await {
        Ok(loaded) => loaded,
        Err(reason) => return Answer::unusable(&reason),
    };
    let timer = envelope.timer();
    let past_due = timer.is_past_due;
    let (last, retry) = (timer.last.map(tracing::field::display), envelope.retry_count());
    tracing::info!(invocation = id, past_due, last, retry, "The schedule asks for a run.");
    if let Some(work) = &ready.work {
        return dispatch::timer(&ready, work, &id).await;
    }
    let due = due(&ready.state(), &ready.sources, OffsetDateTime::now_utc()).await;
    if due.is_empty() {
        return Answer::done("no source is due".into());
    }
    let due: Vec<String> = due.into_iter().map(|source| source.name).collect();
    let call = Call {
        trigger: Trigger::Timer,
        invocation: id,
        begun,
        traceparent,
        deadline: host.deadline(),
    };
    match app.runs.start(&ready, Some(&due), call) {
        Started::Run { mut run, under_way } => of_timer(&run.ended().await, &under_way),
        Started::Joined(under_way) => {
            Answer::done(format!("nothing to start: {}", busy(&under_way)))
        }
        Started::Full => Answer::not_done(500, "too many runs are under way in this process"),
        Started::Closing => Answer::not_done(503, "the process is ending"),
    }
}

fn of_timer(record: &RunRecord, under_way: &[UnderWay]) -> Answer {
    if record.status == Status::Failed {
        return Answer::not_done(500, format!("{}; {}", record.summary(), record.first_problem()));
    }
    let left = if under_way.is_empty() { String::new() } else { format!("; {}", busy(under_way)) };
    Answer::done(record.summary() + &left)
}

fn busy(under_way: &[UnderWay]) -> String {
    let each = under_way.iter().map(|run| format!("run {} is busy with `{}`", run.id, run.source));
    each.collect::<Vec<_>>().join(", ")
}

/// Starts a run for a program.
pub async fn http(app: &App, invocation: Invocation) -> Answer {
    let request = match invocation.envelope.http() {
        Ok(request) => request,
        Err(error) => return error.into(),
    };
    if let Err(refusal) = api::check_method(&request, "POST") {
        return Answer::http(&refusal);
    }
    let (ready, host) = match loaded(app).await {
        Ok(loaded) => loaded,
        Err(reason) => return Answer::http(&HttpAnswer::refusal(500, reason)),
    };
    let wanted = match api::wanted(&request, &ready.names()) {
        Ok(wanted) => wanted,
        Err(refusal) => return Answer::http(&refusal),
    };
    if let Some(work) = &ready.work {
        return Answer::http(
            &dispatch::http(&ready, &host, work, wanted.as_deref(), &invocation.id).await,
        );
    }
    if host.place.in_azure() {
        return Answer::http(&no_queue());
    }
    tracing::info!(
        invocation = invocation.id,
        sources = wanted.as_ref().map(|names| names.join(",")),
        "A request asks for a run."
    );
    let Invocation { id, begun, traceparent, .. } = invocation;
    let call = Call {
        trigger: Trigger::Http,
        invocation: id,
        begun,
        traceparent,
        deadline: host.deadline(),
    };
    let answer = match app.runs.start(&ready, wanted.as_deref(), call) {
        Started::Joined(under_way) => api::joined(&host.prefix, &under_way),
        Started::Full => {
            HttpAnswer::refusal(503, "too many runs are under way in this process; ask again later")
                .with("Retry-After", "60")
        }
        Started::Closing => HttpAnswer::refusal(503, "the process is ending; ask again later")
            .with("Retry-After", "10"),
        Started::Run { mut run, under_way } => {
            match tokio::time::timeout_at(begun + app.patience, run.ended()).await {
                Ok(record) => of_http(&record, &host.prefix, &under_way),
                Err(_) => api::accepted(&host.prefix, &run.id, &under_way),
            }
        }
    };
    Answer::http(&answer)
}

fn no_queue() -> HttpAnswer {
    let body = json!({
        "error": "in Azure a request cannot start a run: the instance may be taken away as soon as \
            the request is answered",
        "hint": "set `dispatch.mode` to `queue`, which is the default in Azure; or let the \
            schedule start runs: POST /admin/functions/IngestTimer with the master key starts one \
            at once",
    });
    HttpAnswer::new(501, body)
}

fn of_http(record: &RunRecord, prefix: &str, under_way: &[UnderWay]) -> HttpAnswer {
    let mut body = record.shown(OffsetDateTime::now_utc());
    let location = api::location(prefix, &record.id);
    body["joined"] = json!(false);
    body["location"] = json!(location);
    body["under_way"] = api::lines(prefix, under_way);
    let status = if record.status == Status::Failed { 500 } else { 200 };
    HttpAnswer::new(status, body).with("Location", location)
}

async fn status(app: &App, invocation: Invocation) -> Answer {
    let request = match invocation.envelope.http() {
        Ok(request) => request,
        Err(error) => return error.into(),
    };
    let asked = api::check_method(&request, "GET")
        .and_then(|()| api::asked(&invocation.envelope, &request));
    let wants_page = api::wants_page(&request);
    let refused = |refusal: HttpAnswer, prefix: &str| {
        if wants_page { page::refusal(&refusal, prefix, &request) } else { refusal }
    };
    let asked = match asked {
        Ok(asked) => asked,
        Err(refusal) => return Answer::http(&refused(refusal, UNKNOWN_PREFIX)),
    };
    let (ready, host) = match loaded(app).await {
        Ok(loaded) => loaded,
        Err(reason) => {
            return Answer::http(&refused(HttpAnswer::refusal(500, reason), UNKNOWN_PREFIX));
        }
    };
    let dress = if wants_page { Dress::Html } else { Dress::Json };
    let answer = async {
        let mut answer = page::answer(desk(app, &ready, &host), &request, &asked, dress).await?;
        if dress == Dress::Json && matches!(asked, Asked::List(_)) {
            answer.body["place"] = json!(host.place.told(ready.work.is_some()));
            answer.body["signs"] = json!(host.place.signs);
        }
        Ok(answer)
    };
    let answer = tokio::time::timeout(READ, answer)
        .await
        .unwrap_or_else(|_| Err(format!("the store did not answer within {READ:?}")));
    Answer::http(&answer.unwrap_or_else(|error| {
        let error = ready.redactor.text(&error);
        tracing::warn!(
            invocation = invocation.id,
            error,
            "Warning: records of runs could not be read."
        );
        refused(HttpAnswer::refusal(502, error), &host.prefix)
    }))
}

fn desk<'a>(app: &App, ready: &'a Ready, host: &'a Host) -> page::Desk<'a> {
    page::Desk {
        store: &ready.store,
        sources: &ready.sources,
        redactor: &ready.redactor,
        prefix: &host.prefix,
        here: app.runs.now(),
        starts_runs: app.starts_runs && (ready.work.is_some() || !host.place.in_azure()),
        schedule: host.schedule.as_deref(),
    }
}
