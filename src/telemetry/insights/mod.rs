//! Application Insights: one request a run, a dependency for each of its calls, exceptions, measurements, messages.
//!
//! Whatever becomes of the export, runs go on as without it: items wait in bounded queues, threads of the
//! exporter send them, [`Insights::flush`] waits for them only so long, and what is lost is told once.

mod bridge;
mod clamp;
pub mod connection;
mod exporters;
mod fields;
mod health;
mod http;
mod meters;
mod operation;
mod token;

use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use azure_core::credentials::TokenCredential;
use opentelemetry::KeyValue;
use opentelemetry::logs::LoggerProvider;
use opentelemetry::metrics::MeterProvider;
use opentelemetry::trace::{SpanKind, TracerProvider};
use opentelemetry_application_insights::Exporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{BatchConfigBuilder as LogBatch, BatchLogProcessor, SdkLogger, SdkLoggerProvider};
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{BatchConfigBuilder as SpanBatch, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider, Span};
use tokio::sync::oneshot;

use self::clamp::Cleaner;
use self::connection::Connection;
use self::exporters::{Counted, Measured};
use self::health::{Gate, Health, QUEUE};
use self::http::Post;
use self::meters::Meters;
use self::operation::Tie;
use self::token::Tokens;
use super::redact::Redactor;
use crate::model::chain;

pub use self::bridge::layer;
pub use self::operation::Beginning;

/// A run waits no longer for its telemetry to be sent.
pub const FLUSH: Duration = Duration::from_secs(2);

/// The target of what the export says of itself; it is logged, and not exported.
const OWN: &str = "blobferry::telemetry::insights";
/// The name under which the host's id of an invocation is known.
const INVOCATION: &str = "faas.invocation_id";
/// Items of a request.
const BATCH: usize = 512;
/// Threads that flush at once. The next item that is sent takes along what others would have sent.
const FLUSHES: usize = 4;
/// Items that come without a place in the queue: requests of runs.
const SPARE: usize = 64;

/// Who counts a run as a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requests {
    /// We do.
    Ours,
    /// The Functions host does, so that ours is a part of its own.
    TheHosts,
}

/// How to export.
pub struct Settings {
    /// Where to.
    pub connection: Connection,
    /// Who we are to Entra ID, if the key is not enough.
    pub credential: Option<Arc<dyn TokenCredential>>,
    /// Who counts requests.
    pub requests: Requests,
    /// The role in the application map.
    pub role: String,
    /// The instance of that role.
    pub instance: String,
}

/// The export of this process.
pub struct Insights {
    tracer: SdkTracer,
    logger: SdkLogger,
    meters: Meters,
    spans: Gate,
    logs: Gate,
    health: Arc<Health>,
    cleaner: Cleaner,
    requests: Requests,
    active: Arc<Mutex<Vec<Arc<Tie>>>>,
    flushes: AtomicUsize,
    // Dropping them waits for an endpoint that may be dead. The end of the process takes them.
    providers: ManuallyDrop<(SdkTracerProvider, SdkLoggerProvider, SdkMeterProvider)>,
    _runtime: ManuallyDrop<tokio::runtime::Runtime>,
}

impl Insights {
    /// Starts the export. Sends nothing yet. An `Err` is the reason for people.
    pub fn start(settings: Settings, redactor: &Redactor) -> Result<Arc<Self>, String> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("telemetry").enable_all().build();
        let runtime = ManuallyDrop::new(runtime.map_err(|error| format!("no thread for it: {error}"))?);
        let health = Arc::new(Health::default());
        let cleaner = Cleaner::new(redactor.clone());
        let tokens = settings.credential.map(|credential| Arc::new(Tokens::new(credential)));
        let post = Post::new(runtime.handle().clone(), settings.connection.plain, tokens, health.clone())?;
        let exporter = Exporter::new_from_connection_string(&settings.connection.text, post).map_err(|error| chain(error.as_ref()))?;
        let resource = Resource::builder_empty()
            .with_service_name(cleaner.name(&settings.role))
            .with_attributes([
                KeyValue::new("service.instance.id", cleaner.name(&settings.instance)),
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            ])
            .build();
        let (spans, logs) = (Gate::new(health.clone()), Gate::new(health.clone()));
        let batch = SpanBatch::default().with_max_queue_size(QUEUE + SPARE).with_max_export_batch_size(BATCH).build();
        let of_spans = BatchSpanProcessor::builder(Counted::new(exporter.clone(), spans.clone(), health.clone())).with_batch_config(batch).build();
        // What the caller has not sampled is wanted here all the same: classic callers flag everything so.
        let tracers =
            SdkTracerProvider::builder().with_resource(resource.clone()).with_sampler(Sampler::AlwaysOn).with_span_processor(of_spans).build();
        let batch = LogBatch::default().with_max_queue_size(QUEUE + SPARE).with_max_export_batch_size(BATCH).build();
        let of_logs = BatchLogProcessor::builder(Counted::new(exporter.clone(), logs.clone(), health.clone())).with_batch_config(batch).build();
        let loggers = SdkLoggerProvider::builder().with_resource(resource.clone()).with_log_processor(of_logs).build();
        let reader = PeriodicReader::builder(Measured::new(exporter, health.clone())).with_interval(Duration::from_secs(60)).build();
        let meters = SdkMeterProvider::builder().with_resource(resource).with_reader(reader).build();
        let active = Arc::new(Mutex::default());
        Ok(Arc::new(Self {
            tracer: tracers.tracer("blobferry"),
            logger: loggers.logger("blobferry"),
            meters: Meters::new(&meters.meter("blobferry"), active.clone()),
            spans,
            logs,
            health,
            cleaner,
            requests: settings.requests,
            active,
            flushes: AtomicUsize::new(0),
            providers: ManuallyDrop::new((tracers, loggers, meters)),
            _runtime: runtime,
        }))
    }

    /// Begins a run.
    pub fn begin(self: &Arc<Self>, beginning: &Beginning<'_>) -> Operation {
        let kind = match self.requests {
            Requests::Ours => SpanKind::Server,
            Requests::TheHosts => SpanKind::Internal,
        };
        let (tie, request) = operation::begin(&self.tracer, &self.spans, &self.cleaner, kind, beginning);
        self.active.lock().expect("no code panics while it holds this lock").push(tie.clone());
        Operation { insights: self.clone(), tie, request, begun: beginning.at, trigger: beginning.trigger.to_owned() }
    }

    /// Sends what waits, and comes back when it is sent, at the latest after `most`. What is not sent by then is
    /// sent later, as long as the process lives.
    pub async fn flush(self: &Arc<Self>, most: Duration) {
        let late = match self.flushing() {
            Some(flushed) => tokio::time::timeout(most, flushed).await.is_err(),
            None => false,
        };
        self.health.tell(late);
    }

    /// Flushes on threads of its own: it blocks, and outlives a run's runtime.
    fn flushing(self: &Arc<Self>) -> Option<oneshot::Receiver<()>> {
        let place = Flushing::take(self.clone())?;
        let (tell, flushed) = oneshot::channel();
        let work = move || {
            let (tracers, loggers, meters) = &*place.0.providers;
            // How each of them ends, the exporters count.
            std::thread::scope(|threads| {
                threads.spawn(|| drop(tracers.force_flush()));
                threads.spawn(|| drop(loggers.force_flush()));
                drop(meters.force_flush());
            });
            drop((place, tell));
        };
        std::thread::Builder::new().name("telemetry-flush".into()).spawn(work).ok().map(|_| flushed)
    }
}

/// A place among the threads that flush.
struct Flushing(Arc<Insights>);

impl Flushing {
    fn take(insights: Arc<Insights>) -> Option<Self> {
        let room = |flushes| (flushes < FLUSHES).then_some(flushes + 1);
        insights.flushes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).ok()?;
        Some(Self(insights))
    }
}

impl Drop for Flushing {
    fn drop(&mut self) {
        self.0.flushes.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Measurements of a run carry its operation as others do.
fn operation_label(tie: &Tie) -> KeyValue {
    KeyValue::new("ai.operation.id", tie.ids.0.to_string())
}

/// A run that goes on, as one operation.
pub struct Operation {
    insights: Arc<Insights>,
    tie: Arc<Tie>,
    request: Mutex<Option<Span>>,
    begun: SystemTime,
    trigger: String,
}

impl Operation {
    /// The id under which everything of this run is found.
    pub fn id(&self) -> String {
        self.tie.ids.0.to_string()
    }

    /// Makes threads of the run's own runtime known as such.
    pub fn threads(&self) -> impl Fn() + Send + Sync + 'static {
        let tie = self.tie.clone();
        move || tie.holds_this_thread()
    }

    /// The run has ended so.
    pub fn end(&self, status: &str, failed: bool) {
        let Some(request) = self.request.lock().expect("no code panics while it holds this lock").take() else { return };
        let seconds = self.begun.elapsed().unwrap_or_default().as_secs_f64();
        let labels = [KeyValue::new("trigger", self.trigger.clone()), KeyValue::new("status", status.to_owned()), operation_label(&self.tie)];
        self.insights.meters.duration.record(seconds, &labels);
        operation::end(request, status, failed);
    }

    /// Waits, at most so long, until what the run has told is sent. See [`Insights::flush`].
    pub async fn flush(&self, most: Duration) {
        self.insights.flush(most).await;
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        self.end("broken", true);
        self.insights.active.lock().expect("no code panics while it holds this lock").retain(|tie| !Arc::ptr_eq(tie, &self.tie));
    }
}
