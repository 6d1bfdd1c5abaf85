//! What all transfers of a run share, and what those of one source share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::archive::contract::Member;
use crate::archive::spool::Spooler;
use crate::history::announcement::Announcement;
use crate::history::arrivals_cache::ArrivalsCache;
use crate::history::known_sources::{Before, KnownSources};
use crate::ledger::{Ledger, LedgerCache};
use crate::model::redactor::Redactor;
use crate::model::{ModifiedTime, RemoteFile};
use crate::rules::date_folders::LookBack;
use crate::rules::equality;
use crate::rules::layout::MemberName;
use crate::rules::patterns::slips::AgainSlips;
use crate::rules::plan::known::Times;
use crate::rules::plan::rest::rest;
use crate::rules::plan::rest::{Rest, TimeTold};
use crate::runtime::checksum::Hashers;
use crate::runtime::retry::Policy;
use crate::source::contract::ShareId;
use crate::source::pool::Pool;
use crate::source::room::WalkRoom;
use crate::source::shared_pools::SharedPools;
use crate::state::store::StateStore;
use crate::store::contract::{BLOCK_BYTES, Store};
use crate::store::destinations::Destinations;
use crate::transfer::alike_folders::AlikeFolders;
use crate::transfer::alike_names::AlikeNames;
use crate::transfer::budget::{Allowance, ByteBudget};
use crate::transfer::leaving::Leaving;
use crate::transfer::member_slips::MemberSlips;
use crate::transfer::missing::Absences;
use crate::transfer::permits::{Admission, SourcePermits, StorePermits};
use crate::transfer::progress::Progress;
use crate::transfer::quarantined::Quarantine;
use crate::transfer::removed_files::RemovedFiles;
use crate::transfer::run_manifest::RunManifest;
use crate::transfer::settings::{Limits, Source};
use crate::transfer::store_health::StoreHealth;
use crate::transfer::waiting::WaitingFolders;

/// What all transfers of a run share.
pub struct Run {
    /// Its id: the UTC time that it began at and eight random digits.
    pub id: String,
    /// When it began.
    pub started: OffsetDateTime,
    /// Where blobs go.
    pub store: Arc<dyn Store>,
    /// Where blobs of sources go that name another destination.
    pub destinations: Destinations,
    /// Where our own state goes.
    pub state: StateStore,
    /// What it may use.
    pub limits: Limits,
    /// Slots at the store and tickets of the ledger.
    pub permits: Arc<StorePermits>,
    /// Whether the store still takes anything.
    pub store_health: Arc<StoreHealth>,
    /// Bytes of blocks in memory.
    pub blocks: ByteBudget,
    /// Who hashes what comes.
    pub hashers: Hashers,
    /// Bytes of small members that are kept from the check of their archive.
    pub kept: ByteBudget,
    /// Archives at rest.
    pub spooler: Spooler,
    /// What walks keep of listings.
    pub walks: WalkRoom,
    /// Which globs of files that are wanted again match.
    pub again: Arc<AgainSlips>,
    /// What earlier runs know of sources.
    pub known_sources: Arc<KnownSources>,
    /// Logins that its sources share.
    pub pools: Arc<SharedPools>,
    /// Files that its sources took away.
    pub removed: Arc<RemovedFiles>,
    /// Shares that became known, by source.
    pub shares: Arc<Mutex<BTreeMap<String, ShareId>>>,
    /// Ledgers that this process has read before.
    pub ledgers: LedgerCache,
    /// What this process has read of files that are expected.
    pub arrivals: ArrivalsCache,
    /// How stubborn to be with the store.
    pub policy: Policy,
    /// Whether archives in quarantine are taken again.
    pub retry_quarantined: bool,
    /// Stops the run: no new file is begun, waits end.
    pub cancel: CancellationToken,
    /// Those who keep its leases: each gives its lease back when it is no longer needed.
    pub leases: TaskTracker,
    /// Who looks on.
    pub progress: Arc<dyn Progress>,
    /// Its record, if it leaves one.
    pub announcement: Option<Arc<Announcement>>,
}

/// How long reads that are under way may go on once the run was told to stop: `docker stop` kills
/// after 10 s.
const GRACE: Duration = Duration::from_secs(4);

impl Run {
    /// This run, under the id of another one.
    pub(crate) fn as_if(&self, id: &str) -> Self {
        Self {
            id: id.to_owned(),
            blocks: ByteBudget::new(0),
            kept: ByteBudget::new(0),
            known_sources: Arc::default(),
            pools: Arc::default(),
            removed: Arc::default(),
            shares: Arc::default(),
            ..self.sharing()
        }
    }

    /// This run, for a pass over `source`, whose blobs may go to a store of their own.
    pub(crate) fn toward(self: &Arc<Self>, source: &Source) -> Arc<Self> {
        match source.destination.as_deref() {
            None => self.clone(),
            name => {
                let store = self.destinations.of(name, &self.store);
                Arc::new(Self { store, ..self.sharing() })
            }
        }
    }

    /// This run once more: both share all that it may use and all that it knows.
    fn sharing(&self) -> Self {
        Self {
            id: self.id.clone(),
            started: self.started,
            store: self.store.clone(),
            destinations: self.destinations.clone(),
            state: self.state.clone(),
            limits: self.limits.clone(),
            permits: self.permits.clone(),
            store_health: self.store_health.clone(),
            blocks: self.blocks.clone(),
            hashers: self.hashers.clone(),
            kept: self.kept.clone(),
            spooler: self.spooler.clone(),
            walks: self.walks.clone(),
            again: self.again.clone(),
            known_sources: self.known_sources.clone(),
            pools: self.pools.clone(),
            removed: self.removed.clone(),
            shares: self.shares.clone(),
            ledgers: self.ledgers.clone(),
            arrivals: self.arrivals.clone(),
            policy: self.policy,
            retry_quarantined: self.retry_quarantined,
            cancel: self.cancel.clone(),
            leases: self.leases.clone(),
            progress: self.progress.clone(),
            announcement: self.announcement.clone(),
        }
    }

    /// The time by the store's clock, as far as the store told; else by this machine's.
    pub(crate) fn store_time(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc() - self.store.clock_ahead().unwrap_or_default()
    }

    /// Sees to it that its record is there before anything is done.
    pub(crate) async fn announce(&self) {
        if let Some(announcement) = &self.announcement {
            announcement.made().await;
        }
    }

    /// What `work` comes to; `None` if the run was told to stop and it is not done soon after. Only
    /// for work that leaves nothing visible when it is dropped.
    pub(crate) async fn in_time<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let over = async {
            self.cancel.cancelled().await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            biased;
            value = work => Some(value),
            () = over => None,
        }
    }
}

/// What all transfers of one source share.
pub struct Pass {
    /// The run.
    pub run: Arc<Run>,
    /// The source.
    pub source: Source,
    /// Its sessions.
    pub pool: Arc<Pool>,
    /// What was ingested from it.
    pub ledger: Ledger,
    /// What could not be unpacked.
    pub quarantine: Quarantine,
    /// What was known of its logins before.
    pub before: Before,
    /// Places at the source.
    pub permits: SourcePermits,
    /// Turns for reading large files.
    pub large: LargeFiles,
    /// What is to stand in its manifest.
    pub lines: RunManifest,
    /// What may still be read only to be compared.
    pub recheck: Allowance,
    /// What is to leave the source.
    pub leaving: Leaving,
    /// What was listed, and not there when it was asked for.
    pub missing: Absences,
    /// Files whose time moves at every look.
    pub restless: Restless,
    /// How far back it looks.
    pub look_back: LookBack,
    /// Files that failed and that the next run must not take for left out.
    pub left_behind: Mutex<Vec<RemoteFile>>,
    /// Which patterns of members match.
    pub member_slips: MemberSlips,
    /// Names that differ in case alone.
    pub alike: AlikeNames,
    /// Names of folders that do.
    pub alike_folders: AlikeFolders,
    /// Folders of files that wait and are not remembered one by one.
    pub waiting: WaitingFolders,
}

/// Counts files whose time moves at every look: of a source that has several, times tell nothing.
#[derive(Debug, Default)]
pub struct Restless {
    files: AtomicU32,
    known: AtomicBool,
    news: AtomicBool,
}

/// From so many on, the times of all files are unknown.
const RESTLESS_FILES: u32 = 3;

impl Restless {
    /// Of a source of which earlier runs know whether its times move.
    pub fn known(known: bool) -> Self {
        Self { known: AtomicBool::new(known), ..Self::default() }
    }

    /// Counts one more; `true` for the one that decides about the source.
    pub fn add(&self) -> bool {
        let counted = self.files.fetch_add(1, Ordering::Relaxed) + 1;
        let decides = counted >= RESTLESS_FILES && !self.known.swap(true, Ordering::Relaxed);
        self.news.fetch_or(decides, Ordering::Relaxed);
        decides
    }

    /// Whether this pass found it out; true once.
    pub(crate) fn take_news(&self) -> bool {
        self.news.swap(false, Ordering::Relaxed)
    }

    /// Whether the source's times tell nothing.
    pub fn is_known(&self) -> bool {
        self.known.load(Ordering::Relaxed)
    }
}

/// Turns for reading large files of one source. Many small ones at once save round trips; many
/// large ones would only take bandwidth from each other, arrive all at the end, and hold what they
/// have read until there is room for it.
#[derive(Debug)]
pub struct LargeFiles(Semaphore);

/// A smaller file needs no turn.
const LARGE_BYTES: u64 = 1 << 20;
/// A file counts in steps of this many bytes, as one block at most.
const STEP_BYTES: u64 = 64 << 10;
/// One login has room under way for two blocks; a source is not asked for fewer than this.
const FEWEST_BLOCKS: usize = 4;

impl LargeFiles {
    /// Turns over `connections` logins.
    pub fn over(connections: usize) -> Self {
        Self(Semaphore::new((2 * connections).max(FEWEST_BLOCKS) * steps(None) as usize))
    }

    /// Waits for a turn to read a file of `size`; small ones have theirs at once. It ends when it
    /// is dropped.
    pub async fn turn(&self, size: Option<u64>) -> Option<SemaphorePermit<'_>> {
        if size.is_some_and(|size| size <= LARGE_BYTES) {
            return None;
        }
        Some(self.0.acquire_many(steps(size)).await.expect("this semaphore is never closed"))
    }
}

fn steps(size: Option<u64>) -> u32 {
    let counted = size.map_or(BLOCK_BYTES, |size| size.min(BLOCK_BYTES));
    u32::try_from(counted.div_ceil(STEP_BYTES)).expect("a block is small")
}

impl Pass {
    /// What the source's times are worth.
    pub fn times(&self) -> Times {
        if self.restless.is_known() && matches!(self.source.times, Times::Trust | Times::Alone) {
            Times::Unknown
        } else {
            self.source.times
        }
    }

    /// `file` without its time, where times move at every look.
    pub(crate) fn without_false_time(&self, file: RemoteFile) -> RemoteFile {
        if self.times() == Times::Unknown { RemoteFile { modified: None, ..file } } else { file }
    }

    /// What the time of `file` proves of its rest; `listed` is the time that the listing showed.
    pub fn rest(&self, file: &RemoteFile, listed: Option<&ModifiedTime>) -> Rest {
        let told = if listed.is_some_and(equality::is_exact) {
            TimeTold::Exactly
        } else {
            TimeTold::InSomeZone
        };
        match self.times() {
            Times::Trust | Times::Alone => {
                rest(file.modified.as_ref(), told, OffsetDateTime::now_utc())
            }
            Times::Unknown | Times::None => Rest::Nothing,
        }
    }

    /// Whether the source is a folder of this machine, or a share that is mounted on it.
    pub(crate) fn is_share(&self) -> bool {
        self.source.endpoint.local(&self.source.root).is_some()
    }

    /// Waits until a file may be read; `None` when the run is stopped.
    pub(crate) async fn admission(&self) -> Option<Admission<'_>> {
        Admission::wait(&self.permits, &self.run.permits, &self.run.cancel).await
    }

    /// Whether the manifest tells of every file that was recorded, durably. A transfer that was
    /// given up on the way, or failed after its record, may have recorded a file and told nothing.
    pub(crate) async fn tells_all(&self) -> bool {
        self.lines.flush().await && self.lines.ingested() >= self.ledger.records()
    }

    /// What is taken out of texts that are stored.
    pub fn redactor(&self) -> &Redactor {
        self.run.state.redactor()
    }

    /// How many things the source can be asked for at once.
    pub fn parallel(&self) -> usize {
        self.source.parallel()
    }

    /// When a member was last modified; local times are read in the source's zone.
    pub fn modified(&self, member: &Member) -> Option<ModifiedTime> {
        member.modified.map(|modified| modified.at_offset(self.source.zone))
    }

    /// A member, as far as its blob's name needs it.
    pub(crate) fn member_name<'a>(&self, member: &'a Member) -> MemberName<'a> {
        let modified = self.modified(member);
        MemberName { within: &member.within, name: &member.name, modified }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn large_files_take_turns_and_small_ones_do_not() {
        let large = LargeFiles::over(1);
        let mut turns = Vec::new();
        for _ in 0..FEWEST_BLOCKS {
            turns.push(large.turn(Some(BLOCK_BYTES + 1)).await.expect("a large file has a turn"));
        }
        // All turns are taken: a file of unknown size may be large.
        assert!(large.turn(None).now_or_never().is_none());
        assert!(large.turn(Some(LARGE_BYTES)).await.is_none(), "a small file needs none");
        turns.pop();
        let half = Some(BLOCK_BYTES / 2);
        let halves = [large.turn(half).await, large.turn(half).await];
        assert!(large.turn(half).now_or_never().is_none(), "two of half a block count as one");
        drop(halves);
        assert!(large.turn(None).await.is_some(), "a turn came free");
        assert_eq!(LargeFiles::over(8).0.available_permits(), 16 * steps(None) as usize);
    }
}
