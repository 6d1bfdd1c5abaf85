//! `IngestHttp` for people with a browser: a desk that starts runs and plans them, also without
//! JavaScript.
//!
//! The host takes a function's key from the query or a header, never from a form's body. So a plain
//! form first asks for the desk, `GET /api/ingest?code=KEY`, which changes nothing; the desk's own
//! form then posts to the address that it was opened by. With JavaScript the key goes in a header,
//! and into no address.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::api;
use super::app::{Answer, App, Invocation};
use super::envelope::{Envelope, HttpAnswer, HttpCall};
use super::host::Host;
use super::page;
use super::planning;
use super::resources::Ready;

/// A person is not kept waiting for the end of a run: its page tells.
const GLANCE: Duration = Duration::from_secs(1);

/// What the desk can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FormAction {
    Look,
    Plan,
    Start,
}

/// Answers a client that asks for a page or a plan; everybody else is `functions::http`'s.
pub(crate) async fn http(app: &App, invocation: Invocation) -> Answer {
    let Ok(call) = invocation.envelope.http() else {
        return crate::handler::ingest_http::http(app, invocation).await;
    };
    let (fields, body) = read(&call);
    let wish = wish(&call, &fields, body.as_ref());
    let wants_page = api::wants_page(&call);
    if wish == FormAction::Start && !wants_page {
        return crate::handler::ingest_http::http(app, invocation).await;
    }
    if wish == FormAction::Look && !wants_page {
        return Answer::http(
            HttpAnswer::refusal(405, "this is asked by POST only").with("Allow", "POST"),
        );
    }
    let (ready, host) = match crate::handler::app::loaded(app).await {
        Ok(loaded) => loaded,
        Err(reason) => return Answer::http(shown(&call, "", &HttpAnswer::refusal(500, reason))),
    };
    let context = page::manual::FormContext {
        sources: &ready.names(),
        store: ready.store.address(),
        prefix: &host.prefix,
        call: &call,
        view: fields.get("view"),
    };
    let answer = match wish {
        FormAction::Look => context.open(),
        FormAction::Plan => {
            let planned = planned(
                app,
                &ready,
                &host,
                &bare(&call, &fields, body),
                invocation.begun.elapsed(),
            )
            .await;
            if wants_page { context.planned(&planned) } else { planned }
        }
        FormAction::Start => {
            let started = started(app, invocation, &bare(&call, &fields, body)).await;
            context.started(&started)
        }
    };
    Answer::http(answer)
}

fn shown(call: &HttpCall, prefix: &str, answer: &HttpAnswer) -> HttpAnswer {
    if api::wants_page(call) { page::refusal(answer, prefix, call) } else { answer.clone() }
}

/// The fields of a form, from the body and the query, and a body that is no form.
fn read(call: &HttpCall) -> (BTreeMap<String, String>, Option<Value>) {
    let mut fields: BTreeMap<String, String> = call
        .query
        .iter()
        .filter(|(name, _)| is_ours(name))
        .map(|(n, v)| (n.clone(), v.clone()))
        .collect();
    let form = match &call.body {
        Some(Value::String(text)) => form(text),
        _ => None,
    };
    match form {
        Some(form) => {
            fields.extend(form);
            (fields, None)
        }
        None => (fields, call.body.clone()),
    }
}

fn is_ours(name: &str) -> bool {
    matches!(name, "do" | "view")
}

/// A body as a browser sends a form: our fields and no others.
fn form(text: &str) -> Option<BTreeMap<String, String>> {
    let text = text.trim();
    if text.is_empty() || text.starts_with(['{', '[', '"']) {
        return None;
    }
    let fields: BTreeMap<String, String> =
        url::form_urlencoded::parse(text.as_bytes()).into_owned().collect();
    fields.keys().all(|name| is_ours(name) || name == "source").then_some(fields)
}

fn wish(call: &HttpCall, fields: &BTreeMap<String, String>, body: Option<&Value>) -> FormAction {
    let asked = |body: &Value| match body {
        Value::String(text) => {
            super::envelope::json_of(text.as_bytes()).is_ok_and(|value| value["plan"] == true)
        }
        value => value["plan"] == true,
    };
    match (call.method.as_str(), fields.get("do").map(String::as_str)) {
        ("GET" | "HEAD", _) => FormAction::Look,
        ("POST", Some("plan")) => FormAction::Plan,
        ("POST", _) if body.is_some_and(asked) => FormAction::Plan,
        _ => FormAction::Start,
    }
}

/// The call as `api::wanted` reads it: no fields of the desk, and a form's source as JSON.
fn bare(call: &HttpCall, fields: &BTreeMap<String, String>, body: Option<Value>) -> HttpCall {
    let mut call = call.clone();
    call.query.retain(|name, _| !is_ours(name));
    let text = |value: Value| match value {
        Value::String(text) => {
            super::envelope::json_of(text.as_bytes()).unwrap_or(Value::String(text))
        }
        value => value,
    };
    call.body = body.map(text);
    if let Some(object) = call.body.as_mut().and_then(Value::as_object_mut) {
        object.remove("plan");
    }
    if let Some(source) = fields.get("source").filter(|source| !source.is_empty()) {
        call.body = Some(json!({ "sources": [source] }));
    }
    call
}

async fn planned(
    app: &App,
    ready: &Arc<Ready>,
    host: &Host,
    call: &HttpCall,
    gone: Duration,
) -> HttpAnswer {
    let wanted = match api::wanted(call, &ready.names()) {
        Ok(wanted) => wanted,
        Err(refusal) => return refusal,
    };
    let sources: Vec<_> = ready
        .enabled()
        .filter(|source| wanted.as_ref().is_none_or(|wanted| wanted.contains(&source.name)))
        .cloned()
        .collect();
    // A plan logs in, and a run may have taken all the logins that a source allows.
    let runs = app.runs.now();
    let busy = runs.iter().filter(|run| run.ended.is_none()).find(|run| {
        run.sources.iter().any(|told| {
            told["status"] == "running"
                && sources.iter().any(|source| told["source"] == source.name.as_str())
        })
    });
    if let Some(run) = busy {
        return HttpAnswer::refusal(
            409,
            format!("run {} is busy with what was asked for; plan again when it has ended", run.id),
        );
    }
    let most = host
        .deadline()
        .answer
        .map_or(app.patience, |answer| app.patience.min(answer))
        .saturating_sub(gone);
    planning::plan(ready, sources, most).await
}

/// Starts a run as any caller would, without waiting for its end.
async fn started(app: &App, invocation: Invocation, call: &HttpCall) -> Value {
    let asked = json!({ "Method": call.method, "Url": call.url, "Query": call.query,
        "Params": call.params, "Body": call.body });
    let envelope = Envelope::parse(json!({ "Data": { "req": asked } }).to_string().as_bytes())
        .unwrap_or_default();
    let hasty = App { patience: app.patience.min(GLANCE), ..app.clone() };
    let answer =
        crate::handler::ingest_http::http(&hasty, Invocation { envelope, ..invocation }).await;
    answer.body["Outputs"]["res"].clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(method: &str, query: &[(&str, &str)], body: Option<&str>) -> HttpCall {
        let query =
            query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        HttpCall {
            method: method.into(),
            query,
            body: body.map(Value::from),
            ..HttpCall::default()
        }
    }

    /// What is wished for, and what is left for those who read the rest.
    fn check(
        method: &str,
        query: &[(&str, &str)],
        body: Option<&str>,
        expected: FormAction,
        sources: Result<Option<&str>, u16>,
    ) {
        let call = call(method, query, body);
        let (fields, body) = read(&call);
        assert_eq!(wish(&call, &fields, body.as_ref()), expected, "{query:?} {call:?}");
        let wanted = api::wanted(&bare(&call, &fields, body), &["acme", "other"])
            .map_err(|refusal| refusal.status);
        assert_eq!(
            wanted,
            sources.map(|source| source.map(|source| vec![source.to_owned()])),
            "{call:?}"
        );
    }

    #[test]
    fn a_form_and_json_ask_for_the_same() {
        check("GET", &[("code", "k"), ("view", "v")], None, FormAction::Look, Ok(None));
        check(
            "POST",
            &[("code", "k")],
            Some("do=start&source=acme&view=v%2F"),
            FormAction::Start,
            Ok(Some("acme")),
        );
        check("POST", &[("code", "k")], Some("do=plan&source="), FormAction::Plan, Ok(None));
        check(
            "POST",
            &[],
            Some(r#"{"plan":true,"sources":["other"]}"#),
            FormAction::Plan,
            Ok(Some("other")),
        );
        check(
            "POST",
            &[("do", "plan"), ("sources", "other")],
            None,
            FormAction::Plan,
            Ok(Some("other")),
        );
        check("POST", &[], None, FormAction::Start, Ok(None));
        check("POST", &[], Some(r#"{"sources":["acme"]}"#), FormAction::Start, Ok(Some("acme")));
        check("POST", &[], Some("do=start&source=nix"), FormAction::Start, Err(404));
        // What is no form of ours is left as it is, to be refused.
        check("POST", &[], Some("source=acme&url=ftp%3A%2F%2Fevil"), FormAction::Start, Err(400));
        check(
            "POST",
            &[("url", "ftp://evil")],
            Some("do=plan&source=acme"),
            FormAction::Plan,
            Err(400),
        );
        check("POST", &[], Some(r#"{"plan":true,"url":"ftp://evil"}"#), FormAction::Plan, Err(400));
        check("POST", &[], Some(r#"{"plan":false}"#), FormAction::Start, Ok(None));
    }
}
