//! The ledger against a plain map: many schedules, deaths at every call, two at once, damage of
//! every kind.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Notify;

use super::*;
use crate::ledger::blobs::HEAD;
use crate::ledger::blobs::LedgerBlobs;
use crate::ledger::error::LedgerError;
use crate::model::{BlobName, ModifiedTime, Precision, Version, chain};
use crate::model::{Md5, RemoteFile, RemotePath};
use crate::rules::plan::known::{History, Known, Seen};
use crate::runtime::retry::Policy;
use crate::store::contract::Store;
use crate::store::contract::{BlobInfo, Condition, Etag, Leased, Properties, StoreError, Upload};
use crate::store::holder::Holder;
use crate::store::memory::MemoryStore;
use crate::store::memory::{MemoryFault, MemoryOp};
use std::sync::Mutex;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

#[cfg(test)]
mod late;
#[cfg(test)]
mod layouts;
mod pieces;
#[cfg(test)]
mod refused;

/// Folds early and cuts finely.
pub(super) const SMALL: Tuning = Tuning { lines: 6, share: 4, journals: 2, shard_files: 4 };
pub(super) const NOW: OffsetDateTime = time::macros::datetime!(2026-11-20 12:00 UTC);

pub(super) fn quick() -> Policy {
    Policy { first_wait: Duration::ZERO, ..Policy::default() }
}

pub(super) async fn open(
    store: &Arc<impl Store + 'static>,
    run: &str,
    tuning: Tuning,
) -> Result<Ledger, LedgerError> {
    Ledger::open_tuned(store.clone(), "acme", run, quick(), CancellationToken::new(), tuning).await
}

pub(super) fn path(n: u64) -> RemotePath {
    RemotePath::from(format!("/dir/{n}").as_str())
}

/// Some file at `path(n)`, different for each `seed`; listed times agree, differ by a zone, by
/// chance, or are not there.
pub(super) fn some(n: u64, seed: u64) -> (RemoteFile, Known) {
    let precision = [Precision::Nanosecond, Precision::Second, Precision::Minute, Precision::Day]
        [seed as usize % 4];
    let at = NOW - time::Duration::seconds(((seed * 7919) % 10_000_000).cast_signed());
    let modified = (!seed.is_multiple_of(11)).then(|| ModifiedTime::new(at, precision));
    let size = (!seed.is_multiple_of(13)).then_some(seed << (seed % 50));
    let listed = match seed % 5 {
        0 => None,
        1 => Some(ModifiedTime::new(at + time::Duration::hours(5), Precision::Minute)),
        2 => Some(ModifiedTime::new(at + time::Duration::seconds(1_234), Precision::Second)),
        _ => modified,
    };
    let file = RemoteFile { path: path(n), size, modified };
    let known = Known::new(&file, listed, Version::of(&file));
    // Earlier releases recorded no MD5.
    let known = if seed.is_multiple_of(3) { known } else { known.read_at(NOW, Some(md5(seed))) };
    let left = seed.is_multiple_of(17);
    let refused = seed.is_multiple_of(19).then_some(NOW);
    let history = History { left, refused, ..known.history.clone() };
    (file, Known { history, ..known })
}

/// The MD5 of what is at such a file.
fn md5(seed: u64) -> Md5 {
    u128::from(seed).to_be_bytes()
}

/// The next number of a schedule.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

#[derive(Clone, Debug, Default)]
struct Model {
    known: BTreeMap<u64, Known>,
    seen: BTreeMap<u64, Seen>,
}

const PATHS: u64 = 40;

async fn assert_agrees(ledger: &Ledger, model: &Model, what: &str) {
    for n in 0..PATHS {
        assert_eq!(ledger.known(&path(n)), model.known.get(&n).map(Known::indexed), "{what}: {n}");
        let md5 = ledger.md5_of(&path(n)).await.expect("it is found");
        assert_eq!(
            md5,
            model.known.get(&n).and_then(|known| known.history.md5),
            "{what}: MD5 of {n}"
        );
        assert_eq!(ledger.seen(&path(n)), model.seen.get(&n).cloned(), "{what}: {n} seen");
    }
    assert_eq!(ledger.len(), model.known.len(), "{what}");
}

async fn one_session(store: &Arc<MemoryStore>, model: &mut Model, random: &mut u64, what: &str) {
    let ledger = open(store, what, SMALL).await.expect("it opens");
    assert_agrees(&ledger, model, what).await;
    ledger.begin(NOW).await.expect("it begins");
    for _ in 0..next(random) % 15 {
        let (n, seed) = (next(random) % PATHS, next(random) % 1_000_000);
        let (file, known) = some(n, seed);
        if next(random).is_multiple_of(5) {
            let seen = Seen::new(file, NOW);
            ledger.note_seen(&seen).await.expect("it notes");
            model.seen.insert(n, seen);
        } else {
            ledger.ingested(&file, &known, 1, 1).await.expect("it records");
            model.known.insert(n, known);
            model.seen.remove(&n);
        }
    }
    assert_agrees(&ledger, model, what).await;
    // Now and then a run does not end.
    if !next(random).is_multiple_of(4) {
        ledger.end().await.expect("it ends");
    }
}

#[tokio::test]
async fn over_many_schedules_it_says_what_a_plain_map_says() {
    let mut folds = 0;
    for seed in 0..60 {
        let (store, mut model, mut random) = (Arc::new(MemoryStore::new()), Model::default(), seed);
        for session in 0..12 {
            one_session(
                &store,
                &mut model,
                &mut random,
                &format!("schedule {seed}, session {session}"),
            )
            .await;
        }
        let overview = overview(store.clone(), "acme", quick(), CancellationToken::new())
            .await
            .expect("it reads");
        folds += overview.generation;
        // The shards hold every record in full.
        let mut last = BTreeMap::new();
        let mut visit = |path, known| {
            last.insert(path, known);
        };
        each_file(store.clone(), "acme", quick(), CancellationToken::new(), &mut visit)
            .await
            .expect("it reads");
        let expected: BTreeMap<_, _> =
            model.known.iter().map(|(n, known)| (path(*n), known.clone())).collect();
        assert_eq!(last, expected, "schedule {seed}");
        assert_no_orphans(&store, &format!("schedule {seed}")).await;
    }
    assert!(folds > 120, "only {folds} folds");
}

/// Everything in the folder is named, and what is named is there.
async fn assert_no_orphans(store: &Arc<MemoryStore>, what: &str) {
    let shelf = shelf(store.clone());
    let (head, _) = shelf.head().await.expect("it reads").expect("there is one");
    let named: BTreeSet<String> =
        head.names().map(str::to_owned).chain([HEAD.to_owned()]).collect();
    let there: BTreeSet<String> = shelf.names().await.expect("it lists").into_iter().collect();
    assert_eq!(named, there, "{what}");
}

pub(super) fn shelf(store: Arc<dyn Store>) -> LedgerBlobs {
    LedgerBlobs { store, source: "acme".into(), policy: quick(), cancel: CancellationToken::new() }
}

/// A store whose `at`-th call is the last thing that its process does, with effect or without;
/// calls take turns differently for each `jitter`.
#[derive(Debug)]
struct Dying {
    inner: Arc<MemoryStore>,
    calls: AtomicU64,
    at: u64,
    effect: bool,
    jitter: u64,
    died: Notify,
}

impl Dying {
    fn new(inner: &Arc<MemoryStore>, at: u64, effect: bool, jitter: u64) -> Arc<Self> {
        Arc::new(Self {
            inner: inner.clone(),
            calls: AtomicU64::new(0),
            at,
            effect,
            jitter,
            died: Notify::new(),
        })
    }

    async fn step<T>(&self, work: impl Future<Output = T>) -> T {
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let turns =
            call.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(17).wrapping_mul(self.jitter)
                >> 60;
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        if call < self.at {
            return work.await;
        }
        if call == self.at && self.effect {
            drop(work.await);
        }
        self.died.notify_one();
        std::future::pending().await
    }
}

#[async_trait]
impl Store for Dying {
    fn address(&self) -> &str {
        self.inner.address()
    }
    async fn prepare(&self) -> Result<(), StoreError> {
        self.step(self.inner.prepare()).await
    }
    async fn head(&self, name: &BlobName) -> Result<Option<BlobInfo>, StoreError> {
        self.step(self.inner.head(name)).await
    }
    async fn get(
        &self,
        name: &BlobName,
        start: u64,
        max_bytes: u64,
    ) -> Result<Option<(BlobInfo, Bytes)>, StoreError> {
        self.step(self.inner.get(name, start, max_bytes)).await
    }
    async fn put(
        &self,
        name: &BlobName,
        bytes: Bytes,
        properties: &Properties,
        condition: &Condition,
    ) -> Result<Etag, StoreError> {
        self.step(self.inner.put(name, bytes, properties, condition)).await
    }
    async fn stage(&self, upload: &Upload, index: u32, bytes: Bytes) -> Result<(), StoreError> {
        self.step(self.inner.stage(upload, index, bytes)).await
    }
    async fn commit(
        &self,
        upload: &Upload,
        blocks: u32,
        properties: &Properties,
        condition: &Condition,
    ) -> Result<Etag, StoreError> {
        self.step(self.inner.commit(upload, blocks, properties, condition)).await
    }
    async fn abandon(&self, upload: &Upload) {
        self.step(self.inner.abandon(upload)).await;
    }
    async fn append(
        &self,
        name: &BlobName,
        bytes: Bytes,
        position: u64,
    ) -> Result<u64, StoreError> {
        self.step(self.inner.append(name, bytes, position)).await
    }
    async fn list(
        &self,
        prefix: &str,
        visit: &mut (dyn FnMut(BlobInfo) + Send),
    ) -> Result<(), StoreError> {
        self.step(self.inner.list(prefix, visit)).await
    }
    async fn delete(&self, name: &BlobName) -> Result<(), StoreError> {
        self.step(self.inner.delete(name)).await
    }
    async fn lease(&self, name: &BlobName, holder: &Holder) -> Result<Leased, StoreError> {
        self.step(self.inner.lease(name, holder)).await
    }
    async fn end_lease(&self, name: &BlobName, holder: &Holder) -> Result<(), StoreError> {
        self.step(self.inner.end_lease(name, holder)).await
    }
}

/// Records files `from..to` one after the other; `recorded` is told of each that is durable.
async fn work(store: &Arc<Dying>, run: &str, from: u64, to: u64, recorded: &Mutex<Vec<u64>>) {
    let ledger = open(store, run, SMALL).await.expect("it opens");
    ledger.begin(NOW).await.expect("it begins");
    for n in from..to {
        let (file, known) = some(n, n + 1);
        ledger.ingested(&file, &known, 1, 1).await.expect("it records");
        recorded.lock().expect("no panic").push(n);
    }
    ledger.set_recovered(ledger.untold());
    ledger.end().await.expect("it ends");
}

/// Nothing that was said to be recorded is lost, and nothing is known that was never recorded.
async fn assert_true(store: &Arc<MemoryStore>, recorded: &[u64], tried: u64, what: &str) {
    let ledger = open(store, "look", SMALL)
        .await
        .unwrap_or_else(|error| panic!("{what}: {}", chain(&error)));
    for n in 0..PATHS {
        let known = ledger.known(&path(n));
        assert!(known.is_none() || known == Some(some(n, n + 1).1.indexed()), "{what}: {n}");
        assert!(!recorded.contains(&n) || known.is_some(), "{what}: {n} was recorded and is lost");
        assert!(known.is_none() || n < tried, "{what}: {n} was never recorded");
    }
}

/// A ledger with a snapshot in two shards or more and a journal.
fn grown() -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::new());
    on_a_runtime(work(&Dying::new(&store, u64::MAX, true, 0), "grown", 0, 12, &Mutex::default()));
    store
}

fn on_a_runtime<T>(work: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let result = runtime.block_on(work);
    // The process ends here: no task of it goes on.
    runtime.shutdown_background();
    result
}

#[test]
fn a_death_at_any_call_loses_nothing_that_was_recorded() {
    let mut deaths = 0;
    for (base, effect) in [(false, false), (false, true), (true, false), (true, true)] {
        for at in 1.. {
            let store = if base { grown() } else { Arc::new(MemoryStore::new()) };
            let (dying, recorded) = (Dying::new(&store, at, effect, 0), Mutex::new(Vec::new()));
            let ended = on_a_runtime(async {
                tokio::select! {
                    biased;
                    () = dying.died.notified() => false,
                    () = work(&dying, "dies", if base { 12 } else { 0 }, 24, &recorded) => true,
                }
            });
            let what = format!("death at call {at} (effect: {effect}, grown: {base})");
            let recorded = recorded.into_inner().expect("no panic");
            on_a_runtime(async {
                assert_true(&store, &recorded, 24, &what).await;
                let unclean = open(&store, "look", SMALL).await.expect("it opens").unclean();
                let (some, all) = (!recorded.is_empty(), recorded.last() == Some(&23));
                assert!(
                    if ended { !unclean } else { unclean || !some || all },
                    "{what}: unclean is {unclean}"
                );
                work(&Dying::new(&store, u64::MAX, true, 0), "after", 0, 30, &Mutex::default())
                    .await;
                assert_true(&store, &(0..30).collect::<Vec<_>>(), 30, &what).await;
                assert!(
                    !open(&store, "look", SMALL).await.expect("it opens").unclean(),
                    "{what}: the run after has ended"
                );
            });
            if ended {
                break;
            }
            deaths += 1;
        }
    }
    assert!(deaths > 150, "only {deaths} deaths");
}

#[test]
fn a_refusal_at_any_call_loses_nothing_that_was_recorded() {
    let ops = [MemoryOp::Get, MemoryOp::Put, MemoryOp::Append, MemoryOp::List, MemoryOp::Delete];
    for (op, fault) in ops.into_iter().flat_map(|op| {
        [
            (op, MemoryFault::LostReply),
            (op, MemoryFault::Refused(crate::store::contract::StoreKind::Unavailable)),
        ]
    }) {
        for nth in 1..60 {
            let (store, recorded) = (grown(), Mutex::new(Vec::new()));
            let before = store.counts();
            store.fault(op, nth, fault);
            on_a_runtime(work(&Dying::new(&store, u64::MAX, true, 0), "run", 12, 24, &recorded));
            let what = format!("{op:?} {nth} {fault:?}");
            on_a_runtime(async {
                assert_true(&store, &(0..24).collect::<Vec<_>>(), 24, &what).await;
            });
            let (now, then) = (store.counts(), before);
            let calls = match op {
                MemoryOp::Get => now.gets - then.gets,
                MemoryOp::Put => now.puts - then.puts,
                MemoryOp::Append => now.appends - then.appends,
                MemoryOp::List => now.lists - then.lists,
                _ => now.deletes - then.deletes,
            };
            if calls < nth {
                break;
            }
        }
    }
}

#[test]
fn two_at_once_lose_nothing_and_neither_fails() {
    let mut folds = 0;
    for jitter in 0..200 {
        let store = if jitter % 2 == 0 { grown() } else { Arc::new(MemoryStore::new()) };
        on_a_runtime(async {
            let (one, two) = (
                Dying::new(&store, u64::MAX, true, jitter * 2 + 1),
                Dying::new(&store, u64::MAX, true, jitter * 3 + 2),
            );
            let recorded = Mutex::new(Vec::new());
            // Half of what they record is the same.
            tokio::join!(
                work(&one, "one", 12, 30, &recorded),
                work(&two, "two", 21, 39, &recorded)
            );
            let what = format!("jitter {jitter}");
            assert_true(&store, &recorded.into_inner().expect("no panic"), 39, &what).await;
            folds += overview(store.clone(), "acme", quick(), CancellationToken::new())
                .await
                .expect("it reads")
                .generation;
            assert!(
                !open(&store, "look", SMALL).await.expect("it opens").unclean(),
                "{what}: both have ended"
            );
        });
    }
    assert!(folds > 200, "only {folds} folds");
}

#[test]
fn one_that_dies_beside_another_harms_it_not() {
    for at in 1..90 {
        let store = grown();
        on_a_runtime(async {
            let (dying, living) = (
                Dying::new(&store, at, at % 2 == 0, at),
                Dying::new(&store, u64::MAX, true, at + 7),
            );
            let recorded = Mutex::new(Vec::new());
            let victim = async {
                tokio::select! {
                    () = dying.died.notified() => {}
                    () = work(&dying, "dies", 12, 30, &recorded) => {}
                }
            };
            tokio::join!(victim, work(&living, "lives", 21, 39, &recorded));
            assert_true(
                &store,
                &recorded.into_inner().expect("no panic"),
                39,
                &format!("beside a death at call {at}"),
            )
            .await;
        });
    }
}
