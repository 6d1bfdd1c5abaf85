//! What the handler works with once the configuration is read.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::handler::renewal::Renewal;
use crate::history::arrivals_cache::ArrivalsCache;
use crate::jobs::cutting::Sizes;
use crate::ledger::LedgerCache;
use crate::model::redactor::Redactor;
use crate::runtime::retry::Policy;
use crate::state::store::StateStore;
use crate::store::contract::Store;
use crate::store::destinations::Destinations;
use crate::store::queue::Queue;
use crate::telemetry::Telemetry;
use crate::telemetry::insights::Insights;
use crate::transfer::options::Options;
use crate::transfer::progress::Progress;
use crate::transfer::settings::{Limits, Source};

/// A configuration that can be used.
pub struct Ready {
    /// Where files come from.
    pub sources: Vec<Source>,
    /// Where records of runs go.
    pub store: Arc<dyn Store>,
    /// Where blobs of sources go that name another destination.
    pub destinations: Destinations,
    /// A store and limits for one run. Every run opens the store anew, since a run lives on threads
    /// of its own, and connections die with the threads that they were made on. Does no I/O.
    pub open: Box<dyn Fn() -> Result<RunResources, String> + Send + Sync>,
    /// What a run may use.
    pub limits: Limits,
    /// How work is handed out by the queue; `None`: this process does it.
    pub work: Option<QueueWork>,
    /// The queue that the host listens to, whether work goes by it or not.
    pub queue: Option<Arc<dyn Queue>>,
    /// Knows what no answer may repeat.
    pub redactor: Redactor,
    /// Ledgers that this process has read before.
    pub ledgers: LedgerCache,
    /// What this process has read of files that are expected.
    pub arrivals: ArrivalsCache,
    /// Where runs are told of beside the log.
    pub insights: Option<Arc<Insights>>,
    /// Keeps the log going.
    pub telemetry: Option<Telemetry>,
    /// How the configuration is read anew, where it names secrets of key vaults: they change.
    pub renewal: Option<Renewal<Ready>>,
}

/// The queue.
pub struct QueueWork {
    /// For those who ask for runs.
    pub queue: Arc<dyn Queue>,
    /// Opens it anew, for work on threads of its own. Does no I/O.
    pub open: Box<dyn Fn() -> Result<Arc<dyn Queue>, String> + Send + Sync>,
    /// How large pieces of work are.
    pub sizes: Sizes,
}

/// What one run is given.
pub struct RunResources {
    /// Where blobs go.
    pub store: Arc<dyn Store>,
    /// Where blobs of sources go that name another destination.
    pub destinations: Destinations,
    /// What it may use.
    pub limits: Limits,
}

/// Reads the configuration and starts the log; may take its time.
pub(crate) type Load = Box<dyn Fn() -> Result<Ready, NotReady> + Send>;

/// Why a configuration cannot be used.
pub struct NotReady {
    /// The reason for people.
    pub reason: String,
    /// Whether it may be usable later: what it names in a key vault cannot be read now.
    pub may_pass: bool,
}

impl Ready {
    /// The configuration as it was read last.
    pub(crate) fn latest(self: &Arc<Self>) -> Arc<Self> {
        let latest = self.renewal.as_ref().and_then(Renewal::latest);
        latest.unwrap_or_else(|| self.clone())
    }

    /// The configuration for work that begins.
    pub(crate) async fn renewed(self: &Arc<Self>) -> Arc<Self> {
        if let Some(renewal) = &self.renewal {
            renewal.renew().await;
        }
        self.latest()
    }

    /// Where our own state is.
    pub fn state(&self) -> StateStore {
        StateStore::new(self.store.clone(), self.redactor.clone(), Policy::default())
    }

    /// What a run is given: `store` and `limits` are its own.
    pub(crate) fn options(
        &self,
        id: &str,
        given: RunResources,
        cancel: CancellationToken,
        progress: Arc<dyn Progress>,
    ) -> Options {
        Options {
            id: id.to_owned(),
            redactor: self.redactor.clone(),
            ledgers: self.ledgers.clone(),
            arrivals: self.arrivals.clone(),
            cancel,
            progress,
            // A client that starts a run here has written its record.
            announcement: Some(Arc::default()),
            destinations: given.destinations,
            ..Options::new(given.store, given.limits)
        }
    }

    /// The sources that runs go over.
    pub fn enabled(&self) -> impl Iterator<Item = &Source> {
        self.sources.iter().filter(|source| source.enabled)
    }

    /// The names of the sources that runs go over, in the configuration's order.
    pub fn names(&self) -> Vec<&str> {
        self.enabled().map(|source| source.name.as_str()).collect()
    }
}
