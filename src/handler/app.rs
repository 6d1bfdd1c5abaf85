//! The app that the functions share, one invocation, and its answer.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::handler::envelope::{BadPayload, Envelope, HttpAnswer, answer, http_answer};
use crate::handler::host::Host;
use crate::handler::resources::Ready;
use crate::handler::runs::Runs;

/// Azure's front end gives up after 230 s, so a caller is sent off with 202 before.
pub const PATIENCE: Duration = Duration::from_secs(200);

/// The configuration and the host's settings, or why there are none; `None` while they are being
/// read.
pub(crate) type Loaded = Option<Result<(Arc<Ready>, Arc<Host>), String>>;

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
    pub fn http(answer: HttpAnswer) -> Self {
        Self { status: 200, body: http_answer(answer), reason: None }
    }

    /// The program cannot work, for `reason`.
    pub fn unusable(reason: &str) -> Self {
        let told = format!("the configuration cannot be used: {reason}");
        Self { status: 500, body: answer(&[reason.to_owned()]), reason: Some(told) }
    }

    /// Not done, and why.
    pub(crate) fn not_done(status: u16, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self { status, body: answer(std::slice::from_ref(&reason)), reason: Some(reason) }
    }
}

impl From<BadPayload> for Answer {
    fn from(error: BadPayload) -> Self {
        Answer::not_done(400, error.to_string())
    }
}

/// The configuration, once it is read.
pub async fn loaded(app: &App) -> Result<(Arc<Ready>, Arc<Host>), String> {
    first(app).await.map(|(ready, host)| (ready.latest(), host))
}

/// The configuration for work that begins: secrets in key vaults are read anew.
pub(crate) async fn for_work(app: &App) -> Result<(Arc<Ready>, Arc<Host>), String> {
    let (ready, host) = first(app).await?;
    Ok((ready.renewed().await, host))
}

/// The configuration as it was read when the process began.
async fn first(app: &App) -> Result<(Arc<Ready>, Arc<Host>), String> {
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
