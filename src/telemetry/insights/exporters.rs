//! The exporter of each signal, with a count of what goes in and what is lost.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogBatch, LogExporter};
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

use super::health::{Gate, Health};

/// An exporter whose batches come out of a queue behind a gate.
#[derive(Debug)]
pub(crate) struct TelemetryCounted<E> {
    inner: E,
    gate: Gate,
    health: Arc<Health>,
}

impl<E> TelemetryCounted<E> {
    /// Around `inner`.
    pub fn new(inner: E, gate: Gate, health: Arc<Health>) -> Self {
        Self { inner, gate, health }
    }

    fn ended(&self, items: usize, result: OTelSdkResult) -> OTelSdkResult {
        if result.is_err() {
            self.health.lose(items);
        }
        result
    }
}

impl<E: SpanExporter> SpanExporter for TelemetryCounted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let items = batch.len();
        self.gate.leave(items);
        self.ended(items, self.inner.export(batch).await)
    }
    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }
    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

impl<E: LogExporter> LogExporter for TelemetryCounted<E> {
    async fn export(&self, batch: LogBatch<'_>) -> OTelSdkResult {
        let items = batch.iter().count();
        self.gate.leave(items);
        self.ended(items, self.inner.export(batch).await)
    }
    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }
    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// Measurements are added up where they are made, so they have no queue.
pub struct Measured<E> {
    inner: E,
    health: Arc<Health>,
}

impl<E> Measured<E> {
    /// Around `inner`.
    pub fn new(inner: E, health: Arc<Health>) -> Self {
        Self { inner, health }
    }
}

impl<E: PushMetricExporter> PushMetricExporter for Measured<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let result = self.inner.export(metrics).await;
        if result.is_err() {
            self.health.lose(metrics.scope_metrics().map(|scope| scope.metrics().count()).sum());
        }
        result
    }
    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }
    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }
    fn temporality(&self) -> Temporality {
        self.inner.temporality()
    }
}
