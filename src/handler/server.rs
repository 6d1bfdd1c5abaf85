//! The handler as a process: it listens before anything else, and ends only by a signal or with its
//! host.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::Level;

use super::app::{App, Loaded, PATIENCE};
use super::console::say;
use super::host::{self, Host};
use super::listen;
use super::resources::{Load, NotReady, Ready};
use super::routes::router;
use super::runs::Runs;
use crate::config::text::Environment;
use crate::model::chain;
use crate::runtime::signals::{Parent, Signals};
use crate::store::queue::Queue;
use crate::telemetry::Telemetry;

/// Exit status: it cannot be told where to listen.
const UNUSABLE: u8 = 2;
/// Exit status: it cannot listen there.
const NOTHING: u8 = 3;
/// The number of SIGTERM.
const TERMINATED: u8 = 15;
/// What keeps a configuration from being used, and may pass, is looked at again after this long.
const READ_AGAIN: Duration = Duration::from_secs(60);
/// After a signal, files in hand get this long.
const FILES_IN_HAND: Duration = Duration::from_secs(8);
/// How often the queue is tried to be made, and what is between two tries.
const QUEUE_TRIES: u32 = 20;
const QUEUE_PAUSE: Duration = Duration::from_secs(30);
/// After a signal, everything is over after this long: records and answers of ended runs included.
const OVER: Duration = Duration::from_secs(10);

/// Serves until a signal comes or the host ends: a host that ends or is killed leaves its handler
/// running, without a word to it. Returns 128 + the signal's number (that of SIGTERM, if it was the
/// host), and never 0: the host takes a handler that ends with 0 for one that wanted to, and starts
/// no other.
pub async fn serve(environment: &Environment, load: Load) -> u8 {
    let (signals, host) = (Signals::new(), Parent::new());
    let port = match host::port(environment) {
        Ok(port) => port,
        Err(problem) => return cannot(UNUSABLE, &problem),
    };
    // Tokio sets SO_REUSEADDR: the host starts a fallen handler again on the same port.
    let listener = match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
        Ok(listener) => listener,
        Err(error) => return cannot(NOTHING, &format!("listening on 127.0.0.1:{port}: {error}")),
    };
    tell_panics();
    let (tell, loaded) = watch::channel(None);
    let app = Arc::new(App {
        loaded,
        runs: Arc::new(Runs::default()),
        patience: PATIENCE,
        starts_runs: true,
    });
    let loading = spawn_load(environment.clone(), load, tell);
    let closing = CancellationToken::new();
    let mut serving = tokio::spawn(listen::serve(listener, router(app.clone()), closing.clone()));
    let number = tokio::select! {
        number = signals.next() => {
            tracing::warn!(
                "Warning: stopping by signal {number}. Files in hand have a few seconds; once more \
                ends at once."
            );
            number
        }
        () = host.ended() => {
            tracing::warn!(
                "Warning: stopping, since the host has ended. Files in hand have a few seconds."
            );
            TERMINATED
        }
        // It ends when it is told to, or by a defect.
        _ = &mut serving => return cannot(NOTHING, "the server ended by itself"),
    };
    app.runs.stop();
    closing.cancel();
    let ending = async {
        if tokio::time::timeout(FILES_IN_HAND, app.runs.over()).await.is_err() {
            app.runs.end();
            app.runs.over().await;
        }
        // Answers of ended runs go out. How the server ends makes no difference any more.
        drop(serving.await);
    };
    tokio::select! {
        _ = tokio::time::timeout(OVER, ending) => {}
        _ = signals.next() => {}
    }
    if let Ok(Ok(telemetry)) = tokio::time::timeout(Duration::from_millis(100), loading).await {
        drop(telemetry);
    }
    128 + number
}

fn cannot(code: u8, problem: &str) -> u8 {
    say(Level::ERROR, &format!("error: {problem}").replace('\n', "; "));
    code
}

/// Reads what may take its time, while the host is answered already. A configuration that cannot be
/// used is told once here, and to every invocation.
fn spawn_load(
    environment: Environment,
    load: Load,
    tell: watch::Sender<Loaded>,
) -> JoinHandle<Option<Telemetry>> {
    tokio::task::spawn_blocking(move || {
        let host_json = environment
            .get(host::APP_ROOT)
            .and_then(|root| std::fs::read(Path::new(root).join("host.json")).ok());
        let host = Host::read(host_json.as_deref(), &environment);
        host.warnings.iter().for_each(|warning| say(Level::WARN, warning));
        loop {
            let not_ready = match load() {
                Ok(mut ready) => {
                    let telemetry = ready.telemetry.take();
                    tell_ready(&ready, &host);
                    let queue = ready.queue.clone();
                    tell.send_replace(Some(Ok((Arc::new(ready), Arc::new(host)))));
                    queue.map(|queue| Handle::current().spawn(make_queue(queue)));
                    return telemetry;
                }
                Err(not_ready) => not_ready,
            };
            let NotReady { reason, may_pass } = not_ready;
            let later = if may_pass { "; it is read again in a minute" } else { "" };
            say(
                Level::ERROR,
                &format!(
                    "error: the configuration cannot be used, so every invocation fails: \
                    {reason}{later}"
                ),
            );
            tell.send_replace(Some(Err(format!("the configuration cannot be used: {reason}"))));
            if !may_pass {
                return None;
            }
            Handle::current().block_on(tokio::time::sleep(READ_AGAIN));
        }
    })
}

fn tell_ready(ready: &Ready, host: &Host) {
    let sources = ready.names().join(",");
    let place = host.place.told(ready.work.is_some());
    let signs = host.place.signs.join(",");
    tracing::info!(
        place,
        signs,
        sources,
        store = ready.store.address(),
        timeout_seconds = host.timeout.map(|t| t.as_secs()),
        "Ready for invocations."
    );
}

/// Makes the queue that the host listens to, whether work goes by it or not: the host complains of
/// a missing one every few seconds. Rights may take some minutes to hold after a deployment.
async fn make_queue(queue: Arc<dyn Queue>) {
    for tries in 1.. {
        let error = match queue.prepare().await {
            Ok(()) => return,
            Err(error) => chain(&error),
        };
        let queue = queue.address();
        if tries == QUEUE_TRIES {
            tracing::warn!(
                queue,
                error,
                "Warning: the queue that the host listens to could not be made; the host goes on \
                asking for it."
            );
            return;
        }
        tracing::debug!(queue, error, "The queue could not be made yet.");
        tokio::time::sleep(QUEUE_PAUSE).await;
    }
}

/// A panic is one line of the log, as the host reads lines, without secrets.
fn tell_panics() {
    std::panic::set_hook(Box::new(|info| {
        let payload = info.payload();
        let text = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let text = crate::model::printable(text.unwrap_or("no text").as_bytes());
        let at = info.location().map(ToString::to_string);
        if tracing::enabled!(Level::ERROR) {
            tracing::error!(at, panic = text, "A defect of blobferry: a task panicked.");
        } else {
            say(
                Level::ERROR,
                &format!(
                    "A defect of blobferry: a task panicked at {}: {text}",
                    at.unwrap_or_default()
                ),
            );
        }
    }));
}
