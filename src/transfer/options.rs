//! What a run is given, and a run that begins.

use std::sync::Arc;

use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::budget::ByteBudget;
use super::context::Run;
use super::permits::StorePermits;
use super::progress::{Progress, Silent};
use super::settings::{Limits, Source};
use crate::archive::dictionary_budget::Windows;
use crate::archive::spool::{SpoolLimits, Spooler};
use crate::history::announcement::Announcement;
use crate::history::arrivals_cache::ArrivalsCache;
use crate::history::run_id::run_id;
use crate::ledger::LedgerCache;
use crate::model::Secret;
use crate::model::redactor::Redactor;
use crate::rules::patterns::slips::AgainSlips;
use crate::runtime::checksum::Hashers;
use crate::runtime::retry::Policy;
use crate::source::room::WalkRoom;
use crate::state::store::StateStore;
use crate::store::contract::Store;
use crate::store::destinations::Destinations;
use crate::store::paced::Paced;

/// What a run is given beside its sources.
pub struct Options {
    /// Its id, from [`run_id`].
    pub id: String,
    /// Where blobs go.
    pub store: Arc<dyn Store>,
    /// Where blobs of sources go that name another destination.
    pub destinations: Destinations,
    /// What it may use.
    pub limits: Limits,
    /// Secrets that nothing stored may hold; those of the sources need not be among them.
    pub redactor: Redactor,
    /// Ledgers that this process has read before.
    pub ledgers: LedgerCache,
    /// What this process has read of files that are expected.
    pub arrivals: ArrivalsCache,
    /// How stubborn to be with the store.
    pub policy: Policy,
    /// Globs of files that are fetched again though they are known.
    pub again: Vec<String>,
    /// What becomes of these.
    pub again_slips: Arc<AgainSlips>,
    /// Whether archives in quarantine are taken again.
    pub retry_quarantined: bool,
    /// Stops the run: no new file is begun, what is in hand has a few seconds.
    pub cancel: CancellationToken,
    /// Those who keep its leases: a task that ends the run by dropping it waits for them.
    pub leases: TaskTracker,
    /// Who looks on.
    pub progress: Arc<dyn Progress>,
    /// Its record, if it leaves one.
    pub announcement: Option<Arc<Announcement>>,
}

impl Options {
    /// For a new run that nobody watches and nothing stops.
    pub fn new(store: Arc<dyn Store>, limits: Limits) -> Self {
        Self {
            id: run_id(OffsetDateTime::now_utc()),
            store,
            destinations: Destinations::default(),
            limits,
            redactor: Redactor::default(),
            ledgers: LedgerCache::default(),
            arrivals: ArrivalsCache::default(),
            policy: Policy::default(),
            again: Vec::new(),
            again_slips: Arc::default(),
            retry_quarantined: false,
            cancel: CancellationToken::new(),
            leases: TaskTracker::new(),
            progress: Arc::new(Silent),
            announcement: None,
        }
    }
}

/// A run over `sources` that begins now.
pub fn begin(options: Options, sources: &[Source]) -> Run {
    let Options {
        id,
        store,
        destinations,
        limits,
        redactor,
        ledgers,
        arrivals,
        policy,
        again_slips,
        retry_quarantined,
        cancel,
        leases,
        progress,
        announcement,
        ..
    } = options;
    let secrets: Vec<Secret> =
        sources.iter().flat_map(|source| source.endpoint.secrets()).collect();
    let store: Arc<dyn Store> = Arc::new(Paced::over(store));
    let started = OffsetDateTime::now_utc();
    // Sixteenths: three for archives at rest, four for what their decoders hold, three for blocks
    // on their way, two for members kept from their check: none of them waits for another's room.
    // The last four are what is on its way outside of them, from a server's socket and to the
    // store's, and what the allocator keeps for a moment.
    let part = limits.memory / 16;
    let folder = limits.temp_folder.clone();
    let at_rest = SpoolLimits {
        memory_bytes: 3 * part,
        archive_memory_bytes: 2 * part,
        temp_bytes: limits.temp,
        folder,
    };
    let spooler = Spooler::with_windows(at_rest, Windows::with_large(4 * part, 14 * part));
    Run {
        id,
        started,
        state: StateStore::new(store.clone(), redactor.and(&secrets), policy),
        store,
        destinations: destinations.map(|store| Arc::new(Paced::over(store))),
        known_sources: Arc::default(),
        pools: Arc::default(),
        removed: Arc::default(),
        shares: Arc::default(),
        ledgers,
        arrivals,
        permits: Arc::new(StorePermits::new(limits.transfers)),
        store_health: Arc::default(),
        blocks: ByteBudget::with_spare(3 * part),
        hashers: Hashers::default(),
        kept: ByteBudget::new(2 * part),
        spooler,
        walks: WalkRoom::of(limits.memory),
        again: again_slips,
        limits,
        policy,
        retry_quarantined,
        cancel,
        leases,
        progress,
        announcement,
    }
}
