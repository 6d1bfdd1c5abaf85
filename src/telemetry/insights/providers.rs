//! The queues between those who tell and those who send.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{
    BatchConfigBuilder as LogBatch, BatchLogProcessor, LogExporter, SdkLoggerProvider,
};
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder as SpanBatch, BatchSpanProcessor, Sampler, SdkTracerProvider, SpanExporter,
};

use crate::telemetry::insights::exporters::{Measured, TelemetryCounted};
use crate::telemetry::insights::health::{Gate, Health, QUEUE};

/// Items of a request.
const BATCH: usize = 512;
/// Items that come without a place in the queue: requests of runs.
const SPARE: usize = 64;

/// Who makes spans, log records and measurements.
pub(super) type Providers = (SdkTracerProvider, SdkLoggerProvider, SdkMeterProvider);

/// What stands between those who tell and those who send.
pub(super) struct Queues {
    /// Who we are, in every item.
    pub resource: Resource,
    pub spans: Gate,
    pub logs: Gate,
    pub health: Arc<Health>,
}

impl Queues {
    pub fn providers<S, L, M>(self, spans: S, logs: L, metrics: M) -> Providers
    where
        S: SpanExporter + 'static,
        L: LogExporter + 'static,
        M: PushMetricExporter,
    {
        let Self { resource, health, .. } = self;
        let batch = SpanBatch::default()
            .with_max_queue_size(QUEUE + SPARE)
            .with_max_export_batch_size(BATCH)
            .build();
        let spans =
            BatchSpanProcessor::builder(TelemetryCounted::new(spans, self.spans, health.clone()))
                .with_batch_config(batch)
                .build();
        // What the caller has not sampled is wanted here all the same: classic callers flag
        // everything so.
        let tracers = SdkTracerProvider::builder()
            .with_resource(resource.clone())
            .with_sampler(Sampler::AlwaysOn)
            .with_span_processor(spans)
            .build();
        let batch = LogBatch::default()
            .with_max_queue_size(QUEUE + SPARE)
            .with_max_export_batch_size(BATCH)
            .build();
        let logs =
            BatchLogProcessor::builder(TelemetryCounted::new(logs, self.logs, health.clone()))
                .with_batch_config(batch)
                .build();
        let loggers = SdkLoggerProvider::builder()
            .with_resource(resource.clone())
            .with_log_processor(logs)
            .build();
        let reader = PeriodicReader::builder(Measured::new(metrics, health))
            .with_interval(Duration::from_secs(60))
            .build();
        (
            tracers,
            loggers,
            SdkMeterProvider::builder().with_resource(resource).with_reader(reader).build(),
        )
    }
}
