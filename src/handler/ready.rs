//! What the handler works with once the configuration is read.

use std::sync::Arc;

use crate::run::settings::{Limits, Source};
use crate::store::contract::Store;
use crate::telemetry::Telemetry;
use crate::telemetry::insights::Insights;
use crate::telemetry::redact::Redactor;

/// A configuration that can be used.
pub struct Ready {
    /// Where files come from.
    pub sources: Vec<Source>,
    /// Where records of runs go.
    pub store: Arc<dyn Store>,
    /// A store and limits for one run. Every run opens the store anew, since a run lives on threads of its
    /// own, and connections die with the threads that they were made on. Does no I/O.
    pub open: Box<dyn Fn() -> Result<Given, String> + Send + Sync>,
    /// Knows what no answer may repeat.
    pub redactor: Redactor,
    /// Where runs are told of beside the log.
    pub insights: Option<Arc<Insights>>,
    /// Keeps the log going.
    pub telemetry: Option<Telemetry>,
}

/// What one run is given.
pub struct Given {
    /// Where blobs go.
    pub store: Arc<dyn Store>,
    /// What it may use.
    pub limits: Limits,
}

/// Reads the configuration and starts the log; may take its time. An `Err` is the reason for people.
pub type Load = Box<dyn FnOnce() -> Result<Ready, String> + Send>;

impl Ready {
    /// The sources' names, in the configuration's order.
    pub fn names(&self) -> Vec<&str> {
        self.sources.iter().map(|source| source.name.as_str()).collect()
    }
}
