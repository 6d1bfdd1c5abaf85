//! The status page on this machine, without a Functions host: for a person who has the address with
//! its key.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::handler::app::{App, Invocation, PATIENCE};
use crate::handler::envelope::Envelope;
use crate::handler::functions::call;
use crate::handler::host::Host;
use crate::handler::listen;
use crate::handler::resources::Ready;
use crate::handler::routes;
use crate::handler::runs::Runs;
use crate::model::hex;

/// Where the pages are, as in a Functions app.
const PAGES: &str = "/api/ingest/status";
/// Where they were in earlier releases.
const OLD_PAGES: &str = "/api/ingest/runs";

/// The pages, listening.
pub struct Local {
    listener: TcpListener,
    router: Router,
    key: String,
}

struct LocalPageContext {
    app: App,
    key: String,
}

impl Local {
    /// Listens on 127.0.0.1:`port`; 0 is any that is free. Nothing is asked of the store yet.
    pub async fn bind(ready: Ready, port: u16) -> Result<Self, String> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .await
            .map_err(|error| format!("listening on 127.0.0.1:{port}: {error}"))?;
        let mut key = [0u8; 16];
        getrandom::fill(&mut key).map_err(|error| format!("no random key: {error}"))?;
        let key = hex(&key);
        let (_, loaded) =
            watch::channel(Some(Ok((Arc::new(ready), Arc::new(Host::read(None, &[].into()))))));
        let app =
            App { loaded, runs: Arc::new(Runs::default()), patience: PATIENCE, starts_runs: false };
        let router = Router::new()
            .fallback(any)
            .with_state(Arc::new(LocalPageContext { app, key: key.clone() }));
        Ok(Self { listener, router, key })
    }

    /// The address of the pages with their key. Other users of this machine cannot guess it, nor
    /// can pages of other sites.
    pub fn url(&self) -> Result<String, String> {
        let address: SocketAddr = self
            .listener
            .local_addr()
            .map_err(|error| format!("the port that was bound: {error}"))?;
        Ok(format!("http://{address}{PAGES}?code={}", self.key))
    }

    /// Serves until the process ends.
    pub async fn serve(self) -> Result<(), String> {
        listen::serve(self.listener, self.router, CancellationToken::new()).await;
        Ok(())
    }
}

async fn any(State(context): State<Arc<LocalPageContext>>, request: Request) -> Response {
    if routes::foreign(request.headers()).is_some() {
        return plain(
            StatusCode::FORBIDDEN,
            "This page is for this machine alone: open it as 127.0.0.1 or localhost.\n",
        );
    }
    let query: Map<String, Value> =
        url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes())
            .map(|(name, value)| (name.into_owned(), Value::from(value.into_owned())))
            .collect();
    if query.get("code").and_then(Value::as_str) != Some(&context.key) {
        return plain(
            StatusCode::FORBIDDEN,
            "Open the whole address that `blobferry serve --status` printed: its `code` is the \
            key.\n",
        );
    }
    let headers = handed_on(request.headers());
    let path = request.uri().path().to_owned();
    let below = |pages: &str| {
        path.strip_prefix(pages).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    match (request.method(), below(PAGES) || below(OLD_PAGES)) {
        (&Method::GET, true) => shown(&context, headers, query, &path).await,
        (&Method::GET, false) => plain(StatusCode::NOT_FOUND, "There is no such page.\n"),
        _ => plain(StatusCode::METHOD_NOT_ALLOWED, "These pages are only read.\n"),
    }
}

/// The headers that the function reads, as a host tells them.
fn handed_on(headers: &HeaderMap) -> Value {
    let value = |name: HeaderName| {
        headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    };
    json!({
        "Accept": [value(header::ACCEPT)],
        "If-None-Match": [value(header::IF_NONE_MATCH)],
    })
}

/// Asks the function as a host would, and hands on its answer.
async fn shown(
    context: &LocalPageContext,
    headers: Value,
    query: Map<String, Value>,
    path: &str,
) -> Response {
    let asked =
        json!({ "Method": "GET", "Url": path, "Query": query, "Headers": headers, "Params": {} });
    let Ok(envelope) = Envelope::parse(json!({ "Data": { "req": asked } }).to_string().as_bytes())
    else {
        return plain(StatusCode::BAD_REQUEST, "This request cannot be read.\n");
    };
    let invocation =
        Invocation { id: "-".into(), begun: Instant::now(), envelope, traceparent: None };
    let answer = call(&context.app, "IngestStatus", invocation)
        .await
        .map(|answer| answer.body)
        .unwrap_or_default();
    let res = &answer["Outputs"]["res"];
    let status = res["statusCode"]
        .as_str()
        .and_then(|status| status.parse().ok())
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response =
        (status, res["body"].as_str().unwrap_or_default().to_owned()).into_response();
    for (name, value) in res["headers"].as_object().into_iter().flatten() {
        let pair = HeaderName::try_from(name.as_str())
            .ok()
            .zip(value.as_str().and_then(|value| HeaderValue::from_str(value).ok()));
        if let Some((name, value)) = pair {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn plain(status: StatusCode, text: &'static str) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}
