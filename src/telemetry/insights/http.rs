//! The exporter's way to the network.
//!
//! The exporter works on threads of its own, outside every runtime, while each run has a runtime
//! that ends with it. So requests go over a small runtime that lives as long as the process.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::uri::Scheme;
use http::{Request, Response, StatusCode, Uri, header};
use opentelemetry_http::{HttpClient, HttpError};
use serde::Deserialize;
use tokio::runtime::Handle;

use super::health::Health;
use super::operation::TelemetryWire;
use super::token::Tokens;
use crate::model::chain;

/// An answer of the service is smaller.
const MAX_ANSWER: usize = 1 << 20;

/// Sends requests.
#[derive(Clone)]
pub(crate) struct Post {
    handle: Handle,
    client: reqwest::Client,
    plain: bool,
    tokens: Option<Arc<Tokens>>,
    health: Arc<Health>,
    wire: TelemetryWire,
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Post")
    }
}

impl Post {
    /// Over the runtime of `handle`; to this machine and without TLS if `plain`.
    pub fn new(
        handle: Handle,
        plain: bool,
        tokens: Option<Arc<Tokens>>,
        health: Arc<Health>,
    ) -> Result<Self, String> {
        let mut client = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(3))
            .timeout(Duration::from_secs(10))
            .redirect(reqwest::redirect::Policy::limited(2))
            .retry(reqwest::retry::never());
        if plain {
            client = client.no_proxy();
        }
        let client = client.build().map_err(|error| chain(&error))?;
        Ok(Self { handle, client, plain, tokens, health, wire: TelemetryWire::ApplicationInsights })
    }

    /// To an endpoint that understands `wire`.
    #[must_use]
    pub(crate) fn speaking(mut self, wire: TelemetryWire) -> Self {
        self.wire = wire;
        self
    }

    async fn send(self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let mut request: reqwest::Request = self.addressed(request)?.try_into()?;
        if let Some(tokens) = &self.tokens {
            request.headers_mut().insert(header::AUTHORIZATION, tokens.bearer().await?);
        }
        let mut answer =
            self.client.execute(request).await.map_err(|error| chain(&error.without_url()))?;
        let status = answer.status();
        let mut body = BytesMut::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| chain(&error.without_url()))? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err("the answer is too long".into());
            }
            body.extend_from_slice(&chunk);
        }
        self.answered(status, body.freeze())
    }

    fn addressed(&self, request: Request<Bytes>) -> Result<Request<Bytes>, HttpError> {
        if !self.plain || self.wire == TelemetryWire::Otlp {
            return Ok(request);
        }
        let (mut head, body) = request.into_parts();
        let mut uri = head.uri.into_parts();
        uri.scheme = Some(Scheme::HTTP);
        head.uri = Uri::from_parts(uri)?;
        Ok(Request::from_parts(head, body))
    }

    /// The answer as the exporter shall see it. It repeats items of a partial success that may be
    /// repeated, and forgets the others without a word, so they are counted here.
    fn answered(&self, status: StatusCode, body: Bytes) -> Result<Response<Bytes>, HttpError> {
        if !(status == StatusCode::OK || self.wire == TelemetryWire::Otlp && status.is_success()) {
            self.health.because(format!("it answered {status}"));
        }
        let mut shown = status;
        if status == StatusCode::PARTIAL_CONTENT
            && self.wire == TelemetryWire::ApplicationInsights
            && let Ok(answer) = serde_json::from_slice::<TelemetryPartial>(&body)
        {
            let refused =
                answer.errors.iter().filter(|error| !may_be_repeated(error.status_code)).count();
            self.health.lose(refused);
            if refused == answer.errors.len() {
                shown = StatusCode::OK;
            }
        }
        Ok(Response::builder().status(shown).body(body)?)
    }
}

#[async_trait]
impl HttpClient for Post {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let sent = self.handle.spawn(self.clone().send(request)).await;
        let answer = sent.unwrap_or_else(|error| Err(error.into()));
        if let Err(error) = &answer {
            self.health.because(chain(error.as_ref()));
        }
        answer
    }
}

/// The answer to a request of which only a part was taken.
#[derive(Deserialize)]
struct TelemetryPartial {
    errors: Vec<ItemError>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ItemError {
    status_code: u16,
}

fn may_be_repeated(status: u16) -> bool {
    matches!(status, 408 | 429 | 439 | 500 | 503)
}
