//! The export of this process, and a run as one operation of it.

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
use opentelemetry_sdk::logs::SdkLogger;
use opentelemetry_sdk::resource::EnvResourceDetector;
use opentelemetry_sdk::trace::{SdkTracer, Span};
use tokio::sync::oneshot;

use crate::model::chain;
use crate::model::redactor::Redactor;
use crate::telemetry::insights::clamp::Cleaner;
use crate::telemetry::insights::connection::TelemetryConnection;
use crate::telemetry::insights::health::{Gate, Health};
use crate::telemetry::insights::http::Post;
use crate::telemetry::insights::labels::QUEUED;
use crate::telemetry::insights::meters::{Meters, names};
use crate::telemetry::insights::operation::{
    self, Beginning, OperationContext, TelemetryWire, Tie, operation_label,
};
use crate::telemetry::insights::otlp::TelemetryEndpoint;
use crate::telemetry::insights::providers::{Providers, Queues};
use crate::telemetry::insights::sampling::Split;
use crate::telemetry::insights::token::Tokens;
use crate::transfer::events::TARGET;

/// A run waits no longer for its telemetry to be sent.
pub(crate) const FLUSH: Duration = Duration::from_secs(2);

/// Threads that flush at once. The next item that is sent takes along what others would have sent.
const FLUSHES: usize = 4;

/// Who counts a run as a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requests {
    /// We do.
    Ours,
    /// The Functions host does, so that ours is a part of its own.
    TheHosts,
}

/// Who is told.
pub enum Receiver {
    /// Application Insights.
    ApplicationInsights {
        /// Where it is.
        connection: TelemetryConnection,
        /// Who we are to Entra ID, if the key is not enough.
        credential: Option<Arc<dyn TokenCredential>>,
    },
    /// An OTLP endpoint.
    Otlp(TelemetryEndpoint),
}

/// How to export.
pub struct Settings {
    /// Who is told.
    pub receiver: Receiver,
    /// Of a hundred calls that went well, so many are sent.
    pub sample_percent: u8,
    /// Who counts requests.
    pub requests: Requests,
    /// The role in the application map.
    pub role: String,
    /// The instance of that role.
    pub instance: String,
}

/// The export of this process.
pub struct Insights {
    pub(super) tracer: SdkTracer,
    pub(super) logger: SdkLogger,
    pub(super) meters: Meters,
    pub(super) spans: Gate,
    pub(super) logs: Gate,
    pub(super) health: Arc<Health>,
    pub(super) cleaner: Cleaner,
    requests: Requests,
    pub(super) wire: TelemetryWire,
    pub(super) sample_percent: u8,
    pub(super) active: Arc<Mutex<Vec<Arc<Tie>>>>,
    flushes: AtomicUsize,
    // Dropping them waits for an endpoint that may be dead. The end of the process takes them.
    providers: ManuallyDrop<Providers>,
    _runtime: ManuallyDrop<tokio::runtime::Runtime>,
}

impl Insights {
    /// Starts the export. Sends nothing yet. An `Err` is the reason for people.
    pub fn start(settings: Settings, redactor: &Redactor) -> Result<Arc<Self>, String> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("telemetry")
            .enable_all()
            .build();
        let runtime =
            ManuallyDrop::new(runtime.map_err(|error| format!("no thread for it: {error}"))?);
        let (wire, name) = match &settings.receiver {
            Receiver::ApplicationInsights { .. } => {
                (TelemetryWire::ApplicationInsights, "Application Insights")
            }
            Receiver::Otlp(_) => (TelemetryWire::Otlp, "the OTLP endpoint"),
        };
        let health = Arc::new(Health::of(name));
        let cleaner = Cleaner::new(redactor.clone());
        let resource = resource(&settings, wire, &cleaner);
        let (spans, logs) = (Gate::new(health.clone()), Gate::new(health.clone()));
        let queues =
            Queues { resource, spans: spans.clone(), logs: logs.clone(), health: health.clone() };
        let handle = runtime.handle().clone();
        let providers = match settings.receiver {
            Receiver::ApplicationInsights { connection, credential } => {
                let tokens = credential.map(|credential| Arc::new(Tokens::new(credential)));
                let post = Post::new(handle, connection.plain, tokens, health.clone())?;
                let exporter = Exporter::new_from_connection_string(&connection.text, post)
                    .map_err(|error| chain(error.as_ref()))?;
                let part =
                    exporter.clone().with_sample_rate(f64::from(settings.sample_percent) / 100.0);
                queues.providers(Split::new(exporter.clone(), part), exporter.clone(), exporter)
            }
            Receiver::Otlp(endpoint) => {
                let post =
                    Post::new(handle, endpoint.is_here, None, health.clone())?.speaking(wire);
                let (spans, logs, metrics) = endpoint.exporters(&post)?;
                queues.providers(spans, logs, metrics)
            }
        };
        let (tracers, loggers, meters) = &providers;
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
            wire,
            sample_percent: settings.sample_percent,
            active,
            flushes: AtomicUsize::new(0),
            providers: ManuallyDrop::new(providers),
            _runtime: runtime,
        }))
    }

    /// Begins a run.
    pub fn begin(self: &Arc<Self>, beginning: &Beginning<'_>) -> Operation {
        let kind = match self.requests {
            Requests::Ours => SpanKind::Server,
            Requests::TheHosts => SpanKind::Internal,
        };
        self.begin_as(kind, beginning)
    }

    /// Begins a part of a run: a message of the queue that is worked on. It is no request, and its
    /// end is not the run's.
    pub(crate) fn begin_part(self: &Arc<Self>, beginning: &Beginning<'_>) -> Operation {
        let mut operation = self.begin_as(SpanKind::Internal, beginning);
        operation.is_part = true;
        operation
    }

    fn begin_as(self: &Arc<Self>, kind: SpanKind, beginning: &Beginning<'_>) -> Operation {
        let context = OperationContext {
            tracer: &self.tracer,
            gate: &self.spans,
            cleaner: &self.cleaner,
            wire: self.wire,
        };
        let (tie, request) = operation::begin(&context, kind, beginning);
        self.active.lock().expect("no code panics while it holds this lock").push(tie.clone());
        Operation {
            insights: self.clone(),
            tie,
            request,
            begun: beginning.at,
            trigger: beginning.trigger.to_owned(),
            is_part: false,
        }
    }

    /// Sends what waits, and comes back when it is sent, at the latest after `most`. What is not
    /// sent by then is sent later, as long as the process lives.
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

/// Work was taken from the queue in which it had `waited` so long. Tells those who listen; may be
/// called where nobody does.
pub fn taken_from_queue(waited: Duration) {
    tracing::info!(target: TARGET, watch = QUEUED, age_seconds = waited.as_secs_f64());
}

/// Who we are, in every item.
fn resource(settings: &Settings, wire: TelemetryWire, cleaner: &Cleaner) -> Resource {
    let mut resource = Resource::builder_empty();
    if wire == TelemetryWire::Otlp {
        // OTEL_RESOURCE_ATTRIBUTES.
        resource = resource.with_detector(Box::new(EnvResourceDetector::new()));
    }
    let more = [
        KeyValue::new("service.instance.id", cleaner.name(&settings.instance)),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
    ];
    resource.with_service_name(cleaner.name(&settings.role)).with_attributes(more).build()
}

/// A run that goes on, as one operation.
pub struct Operation {
    insights: Arc<Insights>,
    tie: Arc<Tie>,
    request: Mutex<Option<Span>>,
    begun: SystemTime,
    trigger: String,
    is_part: bool,
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
        let Some(request) =
            self.request.lock().expect("no code panics while it holds this lock").take()
        else {
            return;
        };
        if self.is_part {
            return operation::end(request, status, failed);
        }
        let seconds = self.begun.elapsed().unwrap_or_default().as_secs_f64();
        let mut labels = vec![
            KeyValue::new("trigger", self.trigger.clone()),
            KeyValue::new("status", status.to_owned()),
        ];
        labels.extend(operation_label(&self.tie));
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
        self.end(names::BROKEN, true);
        self.insights
            .active
            .lock()
            .expect("no code panics while it holds this lock")
            .retain(|tie| !Arc::ptr_eq(tie, &self.tie));
    }
}
