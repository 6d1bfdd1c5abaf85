//! The function `IngestHttp`: starts runs, and answers with their records.

use serde_json::json;
use time::OffsetDateTime;

use crate::handler::app::{Answer, App, Invocation, for_work};
use crate::handler::envelope::HttpAnswer;
use crate::handler::runs::{RunCall, Started};
use crate::handler::{api, dispatch};
use crate::history::record::{RunRecord, RunStatus, RunUnderWay, Trigger};

pub(super) fn busy(under_way: &[RunUnderWay]) -> String {
    let each = under_way.iter().map(|run| format!("run {} is busy with `{}`", run.id, run.source));
    each.collect::<Vec<_>>().join(", ")
}

/// Starts a run for a program.
pub(crate) async fn http(app: &App, invocation: Invocation) -> Answer {
    let request = match invocation.envelope.http() {
        Ok(request) => request,
        Err(error) => return error.into(),
    };
    if let Err(refusal) = api::check_method(&request, "POST") {
        return Answer::http(refusal);
    }
    let (ready, host) = match for_work(app).await {
        Ok(loaded) => loaded,
        Err(reason) => return Answer::http(HttpAnswer::refusal(500, reason)),
    };
    let wanted = match api::wanted(&request, &ready.names()) {
        Ok(wanted) => wanted,
        Err(refusal) => return Answer::http(refusal),
    };
    if let Some(work) = &ready.work {
        return Answer::http(
            dispatch::http(&ready, &host, work, wanted.as_deref(), &invocation.id).await,
        );
    }
    if host.place.in_azure() {
        return Answer::http(no_queue());
    }
    tracing::info!(
        invocation = invocation.id,
        sources = wanted.as_ref().map(|names| names.join(",")),
        "A request asks for a run."
    );
    let Invocation { id, begun, traceparent, .. } = invocation;
    let call = RunCall {
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
    Answer::http(answer)
}

pub(super) fn no_queue() -> HttpAnswer {
    let body = json!({
        "error": "in Azure a request cannot start a run: the instance may be taken away as soon as \
            the request is answered",
        "hint": "set `dispatch.mode` to `queue`, which is the default in Azure; or let the \
            schedule start runs: POST /admin/functions/IngestTimer with the master key starts one \
            at once",
    });
    HttpAnswer::new(501, body)
}

pub(super) fn of_http(record: &RunRecord, prefix: &str, under_way: &[RunUnderWay]) -> HttpAnswer {
    let mut body = record.shown(OffsetDateTime::now_utc());
    let location = api::location(prefix, &record.id);
    body["joined"] = json!(false);
    body["location"] = json!(location);
    body["under_way"] = api::lines(prefix, under_way);
    let status = if record.status == RunStatus::Failed { 500 } else { 200 };
    HttpAnswer::new(status, body).with("Location", location)
}
