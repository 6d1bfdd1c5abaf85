//! A store that is far away: one file's answer keeps no login, no slot and no ticket from another.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use blobferry::failpoint::leave_out;
use blobferry::model::{RemoteFile, RemotePath};
use blobferry::run::run;
use blobferry::source::contract::{Download, Endpoint, Listed, Session, SourceError};
use blobferry::source::memory::MemoryServer;
use blobferry::store::contract::StoreKind;
use blobferry::store::memory::MemoryStore;
use blobferry::store::memory::{MemoryFault, MemoryOp};
use blobferry::transfer::settings::{After, Source};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::zips::zip;
use super::{Ran, World, source};

/// So many files, which differ.
fn with_files(world: World, count: usize) -> World {
    (0..count).fold(world, |world, n| world.file(&format!("/{n:04}"), format!("content {n}")))
}

/// A store of which each of the next `calls` calls of `op` takes this long.
fn slow(store: &MemoryStore, op: MemoryOp, calls: u64, takes: Duration) {
    (1..=calls).for_each(|nth| store.fault(op, nth, MemoryFault::Delay(takes)));
}

#[tokio::test(start_paused = true)]
async fn while_the_store_answers_for_one_file_the_login_reads_others() {
    let mut world = with_files(World::new().with(|source| source.connections = 1), 60);
    world.limits.transfers = 30;
    slow(&world.store, MemoryOp::Put, 100, Duration::from_secs(1));
    let begun = Instant::now();
    let ran = world.run().await;
    assert_eq!(ran.brief(), "ok: ingested 60");
    // Two waves of puts, and a few requests at the beginning and at the end.
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(8), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn while_records_are_written_others_are_committed() {
    let mut world = with_files(World::new().with(|source| source.connections = 1), 60);
    world.limits.transfers = 10;
    slow(&world.store, MemoryOp::Append, 100, Duration::from_secs(1));
    let begun = Instant::now();
    let ran = world.run().await;
    assert_eq!(ran.brief(), "ok: ingested 60");
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(12), "{took:?}");
}

/// Every request takes 25 ms, as in another region.
#[tokio::test(start_paused = true)]
async fn two_thousand_small_files_cost_a_request_each_and_few_more() {
    let world = with_files(World::new(), 2_000).with(|source| source.connections = 4);
    for (op, calls) in
        [(MemoryOp::Put, 2_100), (MemoryOp::Append, 500), (MemoryOp::Get, 50), (MemoryOp::Head, 50)]
    {
        slow(&world.store, op, calls, Duration::from_millis(25));
    }
    let begun = Instant::now();
    let ran = world.run().await;
    let took = begun.elapsed();
    assert_eq!(ran.brief(), "ok: ingested 2000");
    let (appends, puts) = (ran.requests.appends, ran.requests.puts);
    let others = ran.requests.requests() - appends - 2_000;
    println!("{took:?}: {puts} puts, {appends} appends, {others} others: {:?}", ran.requests);
    assert!(appends <= 60 && others <= 20, "{appends} appends, {others} others");
    // Thirty-two waves of 64 would take 0.8 s, and records come two answers later.
    assert!(took < Duration::from_millis(1_500), "{took:?}");
}

/// A zip of many members.
#[tokio::test(start_paused = true)]
async fn members_of_one_archive_take_the_slots_that_no_file_waits_for() {
    let contents: Vec<(String, Vec<u8>)> =
        (0..320).map(|n| (format!("{n}.txt"), format!("content {n}").into_bytes())).collect();
    let members: Vec<(&str, &[u8])> =
        contents.iter().map(|(name, content)| (name.as_str(), content.as_slice())).collect();
    let world = World::new().file("/a.zip", zip(&members));
    slow(&world.store, MemoryOp::Put, 400, Duration::from_secs(1));
    let begun = Instant::now();
    let ran = world.run().await;
    assert_eq!((ran.source().members.stored, ran.report.exit_code()), (320, 0), "{ran}");
    // Five waves of 64, and a few requests at the beginning and at the end.
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(12), "{took:?}");
}

/// The most files that were committed and not recorded at one time, each append taking a while.
async fn most_unrecorded(step: Option<&'static str>) -> usize {
    let mut world = with_files(World::new().with(|source| source.connections = 4), 120);
    world.limits.transfers = 4;
    slow(&world.store, MemoryOp::Append, 200, Duration::from_millis(200));
    let most = AtomicUsize::new(0);
    leave_out(step);
    let watched = async {
        loop {
            let unrecorded = world.names().len().saturating_sub(world.recorded().len());
            most.fetch_max(unrecorded, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    };
    let ran = tokio::select! {
        ran = world.run() => ran,
        () = watched => unreachable!("it watches for ever"),
    };
    leave_out(None);
    assert_eq!(ran.brief(), "ok: ingested 120");
    most.into_inner()
}

/// Four slots and eight tickets.
#[tokio::test(start_paused = true)]
async fn no_more_files_than_slots_and_tickets_lack_their_record() {
    assert_eq!(most_unrecorded(None).await, 12);
    let without = most_unrecorded(Some("ticket-until-durable")).await;
    assert!(without > 12, "{without}: a ticket that is given back too early is not noticed");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_recorded_any_more_is_not_committed() {
    // The first file's record fails while the second one is on its way to the store.
    let committed = async |step| {
        let world = with_files(World::new().with(|source| source.connections = 1), 2);
        let server = Halting::over(&world.server, "read", 2, Duration::from_secs(60));
        let world = world.with(|source| source.endpoint = Arc::new(server));
        // The journal is made, then written to: its schema, this run's beginning, the first record.
        let before = appends_before_a_record().await;
        for nth in before + 1..before + 20 {
            world.store.fault(MemoryOp::Append, nth, MemoryFault::Refused(StoreKind::Denied));
        }
        leave_out(step);
        let ran = tokio::time::timeout(Duration::from_secs(600), unhurried(&world)).await;
        leave_out(None);
        let report = ran.expect("it ends");
        assert_eq!((report.sources[0].ingested, report.sources[0].failed), (0, 2), "{report}");
        world.names().len()
    };
    assert_eq!(committed(None).await, 1);
    assert_eq!(committed(Some("closed-before-commit")).await, 2, "the check is not what does it");
}

/// A run without the limit of time of a world: these are slow on purpose.
async fn unhurried(world: &World) -> blobferry::report::Report {
    run(vec![world.source.clone()], world.options(world.store.clone(), CancellationToken::new()))
        .await
}

/// How many appends a first run makes before that of its first record.
async fn appends_before_a_record() -> u64 {
    let world = with_files(World::new(), 1);
    slow(&world.store, MemoryOp::Put, 20, Duration::from_secs(1));
    let counted = AtomicU64::new(0);
    let watched = async {
        loop {
            if world.names().is_empty() {
                counted.store(world.store.counts().appends, Ordering::Relaxed);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let ran = tokio::select! {
        biased;
        () = watched => unreachable!("it watches for ever"),
        ran = world.run() => ran,
    };
    assert_eq!(ran.brief(), "ok: ingested 1");
    counted.into_inner()
}

/// How many files arrive of a source of 20 beside another one, of so many files over so many
/// logins, that stands still at `op`. There are four slots and eight tickets.
async fn beside_a_halted_one(
    op: &'static str,
    (files, logins): (usize, usize),
    step: Option<&'static str>,
) -> u64 {
    let mut world = with_files(World::new(), files).with(|source| source.after = After::Delete);
    world.limits.transfers = 4;
    let halted = Halting::over(&world.server, op, 1, Duration::from_secs(3_600));
    let world = world.with(|source| {
        (source.endpoint, source.connections) = (Arc::new(halted), logins);
    });
    let other = (0..20).fold(World::new(), |other, n| other.file(&format!("/{n}"), "x"));
    // The other one reads slowly, so that this one is where it stands still by then.
    let slowly = Halting::over(&other.server, "read", 1, Duration::from_secs(1));
    let other: Source = Source { endpoint: Arc::new(slowly), ..source("other", &other.server) };
    let cancel = CancellationToken::new();
    leave_out(step);
    let stop = cancel.clone();
    let stopped = async move {
        tokio::time::sleep(Duration::from_secs(300)).await;
        stop.cancel();
    };
    let options = world.options(world.store.clone(), cancel);
    let (report, ()) = tokio::join!(run(vec![world.source.clone(), other], options), stopped);
    leave_out(None);
    let other = report.sources.iter().find(|source| source.source == "other").expect("its report");
    other.ingested
}

#[tokio::test(start_paused = true)]
async fn a_source_that_stands_still_leaves_the_slots_to_others() {
    assert_eq!(beside_a_halted_one("read", (40, 1), None).await, 20);
    let swapped = beside_a_halted_one("read", (40, 1), Some("place-before-slot")).await;
    assert!(swapped < 20, "slots that are taken before places are not noticed");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_waits_to_leave_its_source_keeps_no_ticket() {
    assert_eq!(beside_a_halted_one("remove", (8, 8), None).await, 20);
    let step = Some("ticket-for-the-record-alone");
    let kept = beside_a_halted_one("remove", (8, 8), step).await;
    assert!(kept < 20, "a ticket that is kept for the removal is not noticed");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_stopped_ends_in_time_wherever_its_files_stand() {
    for op in ["read", "remove"] {
        let mut world = with_files(World::new(), 40).with(|source| source.after = After::Delete);
        world.limits.transfers = 4;
        let halted = Halting::over(&world.server, op, 1, Duration::from_secs(3_600));
        let world = world.with(|source| source.endpoint = Arc::new(halted));
        let cancel = CancellationToken::new();
        let stop = cancel.clone();
        let begun = Instant::now();
        let stopped = async move {
            tokio::time::sleep(Duration::from_secs(10)).await;
            stop.cancel();
        };
        let (ran, ()): (Ran, ()) = tokio::join!(world.run_until(cancel), stopped);
        let took = begun.elapsed() - Duration::from_secs(10);
        assert!(took <= Duration::from_secs(8), "{op}: {took:?}");
        let source = ran.source();
        assert_eq!(source.ingested + source.deferred, 40, "{op}: {}", ran.brief());
        assert_eq!(world.recorded().len() as u64, source.ingested, "{op}");
    }
}

/// A server whose `nth` call of `op`, and each one after that, takes this long.
#[derive(Clone, Debug)]
pub struct Halting {
    inner: MemoryServer,
    op: &'static str,
    nth: u64,
    takes: Duration,
    calls: Arc<AtomicU64>,
}

impl Halting {
    pub fn over(server: &MemoryServer, op: &'static str, nth: u64, takes: Duration) -> Self {
        Self { inner: server.clone(), op, nth, takes, calls: Arc::default() }
    }

    async fn called(&self, op: &'static str) {
        if op == self.op && self.calls.fetch_add(1, Ordering::Relaxed) + 1 >= self.nth {
            tokio::time::sleep(self.takes).await;
        }
    }
}

#[async_trait]
impl Endpoint for Halting {
    fn address(&self) -> &str {
        self.inner.address()
    }
    fn default_connections(&self) -> usize {
        self.inner.default_connections()
    }
    async fn open(&self) -> Result<Box<dyn Session>, SourceError> {
        Ok(Box::new(HaltingSession { inner: self.inner.open().await?, server: self.clone() }))
    }
}

struct HaltingSession {
    inner: Box<dyn Session>,
    server: Halting,
}

#[async_trait]
impl Session for HaltingSession {
    fn fork(&self) -> Option<Box<dyn Session>> {
        None
    }
    async fn list(
        &mut self,
        dir: &RemotePath,
        visit: &mut (dyn FnMut(Listed) + Send),
    ) -> Result<(), SourceError> {
        self.inner.list(dir, visit).await
    }
    async fn stat(&mut self, path: &RemotePath) -> Result<Option<RemoteFile>, SourceError> {
        self.inner.stat(path).await
    }
    async fn read<'a>(
        &'a mut self,
        file: &RemoteFile,
        offset: u64,
    ) -> Result<Box<dyn Download + 'a>, SourceError> {
        self.server.called("read").await;
        self.inner.read(file, offset).await
    }
    async fn remove(&mut self, path: &RemotePath) -> Result<(), SourceError> {
        self.server.called("remove").await;
        self.inner.remove(path).await
    }
    async fn rename(&mut self, from: &RemotePath, to: &RemotePath) -> Result<(), SourceError> {
        self.inner.rename(from, to).await
    }
    async fn close(self: Box<Self>) {
        self.inner.close().await;
    }
}
