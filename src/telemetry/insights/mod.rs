//! Application Insights, or whatever takes OTLP: one request a run, a dependency for each of its
//! calls, exceptions, measurements, messages.
//!
//! Whatever becomes of the export, runs go on as without it: items wait in bounded queues, threads
//! of the exporter send them, [`Insights::flush`] waits for them only so long, and what is lost is
//! told once.

pub mod bridge;
mod clamp;
pub mod connection;
mod export;
mod exporters;
mod fields;
mod health;
mod http;
mod labels;
mod meters;
mod operation;
mod otlp;
mod providers;
mod sampling;
mod token;

pub(crate) use crate::telemetry::insights::export::FLUSH;
pub use crate::telemetry::insights::export::{
    Insights, Operation, Receiver, Requests, Settings, taken_from_queue,
};
pub use crate::telemetry::insights::meters::names;
pub use crate::telemetry::insights::operation::Beginning;
pub use crate::telemetry::insights::otlp::{TelemetryEndpoint, endpoint};
pub use crate::telemetry::insights::sampling::SAMPLED;
