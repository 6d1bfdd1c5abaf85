//! The paths that the host calls: a ping, and one path a function.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::Level;

use super::app::{Answer, App, Invocation};
use super::console::{self, say};
use super::envelope::{self, Envelope};
use super::functions::{NAMES, call};

/// A payload of the host is smaller, unless somebody has sent a large body to an HTTP function.
const MAX_BODY: usize = 64 << 10;
/// What is read of a payload that is too large, so that the host hears why it was refused: it hands
/// on bodies of up to 100 MB, twice, and takes a connection that ends before for a failure of the
/// handler.
const MAX_READ: usize = 512 << 20;
/// The functions that answer requests of the world: what the caller is to see stands inside of the
/// answer to the host.
const HTTP_FUNCTIONS: &[&str] = &["IngestHttp", "IngestStatus"];
/// The host is on this machine: a payload that takes longer does not come.
const BODY_TIME: std::time::Duration = std::time::Duration::from_secs(30);

/// All paths.
pub fn router(app: Arc<App>) -> Router {
    Router::new().fallback(any).with_state(app)
}

async fn any(State(app): State<Arc<App>>, request: Request) -> Response {
    let path = request.uri().path();
    let is_ping = path == "/" && matches!(*request.method(), Method::GET | Method::HEAD);
    if let Some(why) = foreign(request.headers()).filter(|_| !is_ping) {
        return reply(
            &Answer::not_done(
                403,
                format!("{why}; only the Functions host of this machine asks here"),
            ),
            "-",
        );
    }
    match (request.method().clone(), path.trim_start_matches('/')) {
        (Method::GET | Method::HEAD, "") => ping(&app),
        (Method::POST, name) if NAMES.contains(&name) => {
            let name = name.to_owned();
            invoke(app, name, request).await
        }
        (_, name) => {
            let (status, why) = if name.is_empty() || NAMES.contains(&name) {
                (405, "is not asked so")
            } else {
                (404, "is no function")
            };
            let shown = crate::model::printable(path.as_bytes());
            reply(
                &Answer::not_done(
                    status,
                    format!(
                        "{} {shown} {why}; POST /{} are",
                        request.method(),
                        NAMES.join(", POST /")
                    ),
                ),
                "-",
            )
        }
    }
}

/// Why a request is not from this machine's host: a browser was led here, by the page of another
/// site or by its name. The host names 127.0.0.1 and no origin.
pub fn foreign(headers: &HeaderMap) -> Option<&'static str> {
    let text =
        |name: header::HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if text(header::HOST).is_some_and(|host| !is_local(host)) {
        return Some("the request is for another host");
    }
    let site = headers.get("sec-fetch-site").map(|value| value.to_str().unwrap_or("?"));
    let origin = text(header::ORIGIN)
        .filter(|_| !site.is_some_and(envelope::is_own_page))
        .map(|origin| origin.split_once("://").map_or(origin, |(_, host)| host));
    let is_other = |origin: &str| origin == "null" || !is_local(origin);
    if origin.is_some_and(is_other) || site == Some("cross-site") {
        return Some("the request is from a page of another site");
    }
    None
}

/// Whether `host`, with a port or without, is this machine, or a name without a domain: no site of
/// the world has such a one, so that no browser can be led here by it.
fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let has_no_domain =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    name == "127.0.0.1" || name == "[::1]" || has_no_domain
}

/// The host asks whether we are there, at once and at any time; so it is told at once, whatever
/// goes on.
fn ping(app: &App) -> Response {
    let configuration = match &*app.loaded.borrow() {
        None => "is being read",
        Some(Ok(_)) => "ok",
        Some(Err(_)) => "cannot be used",
    };
    json_response(
        200,
        &json!({ "name": "blobferry", "version": env!("CARGO_PKG_VERSION"),
            "configuration": configuration }),
    )
}

async fn invoke(app: Arc<App>, name: String, request: Request) -> Response {
    let begun = Instant::now();
    let id = invocation_id(request.headers());
    let traceparent = request
        .headers()
        .get("traceparent")
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    let is_http = HTTP_FUNCTIONS.contains(&name.as_str());
    let envelope = match payload(request.into_body()).await {
        Ok(bytes) => match Envelope::parse(&bytes) {
            Ok(envelope) => envelope,
            Err(error) => return reply(&error.into(), &id),
        },
        // The host makes an empty 500 of every other answer of ours.
        Err(answer) if is_http && answer.status == 413 => {
            return reply(&Answer::http(envelope::too_large(MAX_BODY)), &id);
        }
        Err(answer) => return reply(&answer, &id),
    };
    if let Some(refusal) =
        is_http.then(|| envelope.http().ok()).flatten().and_then(|call| call.refusal())
    {
        return reply(&Answer::http(refusal), &id);
    }
    let invocation = Invocation { id: id.clone(), begun, traceparent, envelope };
    // In a task of its own: a panic costs this invocation only, and a host that hangs up stops
    // nothing.
    let of_task = id.clone();
    let task = tokio::spawn(async move {
        console::in_invocation(&of_task, call(&app, &name, invocation)).await
    });
    let answer = match task.await {
        Ok(Some(answer)) => answer,
        Ok(None) => Answer::not_done(404, "there is no such function"),
        Err(_) => Answer::not_done(
            500,
            "a defect of blobferry ended this invocation; the log has its trace",
        ),
    };
    reply(&answer, &id)
}

/// The host's id of the invocation, if it is fit for a log line.
fn invocation_id(headers: &HeaderMap) -> String {
    let id = headers.get("x-azure-functions-invocationid").and_then(|value| value.to_str().ok());
    let fits = |id: &&str| {
        (1..=64).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    id.filter(fits).unwrap_or("-").to_owned()
}

/// The whole body, sent in chunks or with its length.
async fn payload(body: Body) -> Result<Vec<u8>, Answer> {
    let collect = async {
        let (mut kept, mut read) = (Vec::new(), 0usize);
        let mut stream = body.into_data_stream();
        while let Some(chunk) = stream.next().await {
            let chunk: Bytes = chunk.map_err(|error| {
                Answer::not_done(400, format!("the payload broke off: {error}"))
            })?;
            read += chunk.len();
            if read > MAX_READ {
                break;
            }
            if read <= MAX_BODY {
                kept.extend_from_slice(&chunk);
            }
        }
        if read > MAX_BODY {
            return Err(Answer::not_done(
                413,
                format!("the payload is larger than {MAX_BODY} bytes"),
            ));
        }
        Ok(kept)
    };
    match tokio::time::timeout(BODY_TIME, collect).await {
        Ok(result) => result,
        Err(_) => Err(Answer::not_done(408, "the payload did not arrive in time")),
    }
}

/// Answers the host. It throws away every answer that is no success, so the log keeps the reason.
fn reply(answer: &Answer, invocation: &str) -> Response {
    if let Some(reason) = &answer.reason {
        tell(answer.status, reason, invocation);
    }
    json_response(answer.status, &answer.body)
}

fn tell(status: u16, reason: &str, invocation: &str) {
    // Before the configuration is read, and where it cannot be used, nobody listens to `tracing`.
    match (status >= 500, tracing::enabled!(Level::ERROR)) {
        (true, true) => tracing::error!(invocation, status, reason, "An invocation failed."),
        (false, true) => {
            tracing::warn!(invocation, status, reason, "Warning: an invocation was refused.")
        }
        (true, false) => say(
            Level::ERROR,
            &format!(
                "An invocation failed. status={status} invocation={invocation} reason={reason}"
            ),
        ),
        (false, false) => say(
            Level::WARN,
            &format!(
                "Warning: an invocation was refused. status={status} invocation={invocation} \
                reason={reason}"
            ),
        ),
    }
}

fn json_response(status: u16, body: &Value) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_that_was_led_here_is_refused_and_the_host_is_not() {
        let with = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().expect("a value"));
            foreign(&headers).is_some()
        };
        for host in ["127.0.0.1:41234", "127.0.0.1", "localhost:7071", "[::1]:80", "app"] {
            assert!(!with("host", host), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:80",
            "127.0.0.1.evil.example",
            "10.0.0.1:80",
            "[2001:db8::1]:80",
            "",
            "a b",
        ] {
            assert!(with("host", host), "{host}");
        }
        assert!(
            with("origin", "https://evil.example")
                && with("origin", "null.evil")
                && with("sec-fetch-site", "cross-site")
        );
        assert!(
            !with("origin", "http://localhost:7071")
                && !with("sec-fetch-site", "same-origin")
                && !with("user-agent", "x")
        );
    }

    #[test]
    fn a_form_of_our_own_page_without_scripts_is_heard() {
        for (site, is_foreign) in
            [("same-origin", false), ("none", false), ("same-site", true), ("cross-site", true)]
        {
            let headers: HeaderMap = [("origin", "null"), ("sec-fetch-site", site)]
                .into_iter()
                .map(|(name, value)| {
                    let name = header::HeaderName::from_static(name);
                    (name, value.parse().expect("a value"))
                })
                .collect();
            assert_eq!(foreign(&headers).is_some(), is_foreign, "{site}");
        }
    }
}
