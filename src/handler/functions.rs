//! The functions: what each invocation does and answers.
//!
//! The rule for answers: a run that did something, or found nothing to do, is a success of its
//! invocation, with 200 and a summary, also when single files failed or time ran out: the report
//! tells, and the next run takes up the rest. A timer's run that could do nothing at all (status
//! `failed`: no source or no store could be worked with, or a defect ended it) answers 500, so that
//! the host shows a failure and its retry policy works. HTTP functions always answer the host with
//! 200, since it throws away the body of every other answer: the status for the caller stands in
//! the output `res`.

use std::time::Duration;

use serde_json::json;
use time::OffsetDateTime;

use super::api::{self, StatusQuery};
use super::dispatch;
use super::envelope::HttpAnswer;
use super::expected;
use super::host::Host;
use super::manual;
use super::page::{self, Dress};
use super::resources::Ready;
use super::runs::{RunCall, Started};
use crate::handler::app::{Answer, App, Invocation, for_work, loaded};
use crate::handler::ingest_http::busy;
use crate::history::record::{RunRecord, RunStatus, RunUnderWay, Trigger};
use crate::run::due::due;

/// What links begin with while the host's settings are being read.
const UNKNOWN_PREFIX: &str = "/api";

/// Reading records never takes longer.
const READ: Duration = Duration::from_secs(60);

/// The names that functions go by.
pub const NAMES: &[&str] = &["IngestTimer", "IngestHttp", "IngestStatus", "IngestQueue"];

/// Does what the function `name` does; `None` if there is no such function.
pub(crate) async fn call(app: &App, name: &str, invocation: Invocation) -> Option<Answer> {
    match name {
        "IngestTimer" => Some(timer(app, invocation).await),
        "IngestHttp" => Some(manual::http(app, invocation).await),
        "IngestStatus" => Some(status(app, invocation).await),
        "IngestQueue" => Some(dispatch::message(app, invocation).await),
        _ => None,
    }
}

async fn timer(app: &App, invocation: Invocation) -> Answer {
    let Invocation { id, begun, traceparent, envelope } = invocation;
    let (ready, host) = match for_work(app).await {
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
    let now = OffsetDateTime::now_utc();
    expected::judge_all(&ready, now).await;
    let due = due(&ready.state(), &ready.sources, now).await;
    if due.is_empty() {
        return Answer::done("no source is due".into());
    }
    let due: Vec<String> = due.into_iter().map(|source| source.name).collect();
    let call = RunCall {
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

fn of_timer(record: &RunRecord, under_way: &[RunUnderWay]) -> Answer {
    if record.status == RunStatus::Failed {
        return Answer::not_done(500, format!("{}; {}", record.summary(), record.first_problem()));
    }
    let left = if under_way.is_empty() { String::new() } else { format!("; {}", busy(under_way)) };
    Answer::done(record.summary() + &left)
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
        Err(refusal) => return Answer::http(refused(refusal, UNKNOWN_PREFIX)),
    };
    let (ready, host) = match loaded(app).await {
        Ok(loaded) => loaded,
        Err(reason) => {
            return Answer::http(refused(HttpAnswer::refusal(500, reason), UNKNOWN_PREFIX));
        }
    };
    let dress = if wants_page { Dress::Html } else { Dress::Json };
    let answer = async {
        let mut answer = page::answer(context(app, &ready, &host), &request, &asked, dress).await?;
        if dress == Dress::Json && matches!(asked, StatusQuery::List(_)) {
            answer.body["place"] = json!(host.place.told(ready.work.is_some()));
            answer.body["signs"] = json!(host.place.signs);
        }
        Ok(answer)
    };
    let answer = tokio::time::timeout(READ, answer)
        .await
        .unwrap_or_else(|_| Err(format!("the store did not answer within {READ:?}")));
    Answer::http(answer.unwrap_or_else(|error| {
        let error = ready.redactor.text(&error);
        tracing::warn!(
            invocation = invocation.id,
            error,
            "Warning: records of runs could not be read."
        );
        refused(HttpAnswer::refusal(502, error), &host.prefix)
    }))
}

fn context<'a>(app: &App, ready: &'a Ready, host: &'a Host) -> page::PageContext<'a> {
    page::PageContext {
        store: &ready.store,
        destinations: &ready.destinations,
        sources: &ready.sources,
        redactor: &ready.redactor,
        prefix: &host.prefix,
        here: app.runs.now(),
        starts_runs: app.starts_runs && (ready.work.is_some() || !host.place.in_azure()),
        schedule: host.schedule.as_deref(),
    }
}
