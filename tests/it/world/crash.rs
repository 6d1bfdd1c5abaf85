//! A run that dies at any of its steps, and the run after it: everything is there once, whole, and
//! the ledger is true.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use blobferry::model::BlobName;
use blobferry::run::run;
use blobferry::store::contract::{
    BlobInfo, Condition, Etag, Leased, Properties, Store, StoreError, StoreKind, Upload,
};
use blobferry::store::holder::Holder;
use blobferry::store::memory::MemoryStore;
use blobferry::transfer::settings::{After, Archives, Versions};
use bytes::Bytes;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::compressed::{gz, tar};
use super::zips::{sevenz, zip};
use super::{LONG_AGO, World};

/// A store whose `at`-th call is the last thing that its process does.
#[derive(Debug)]
pub struct Dying {
    inner: Arc<MemoryStore>,
    calls: AtomicU64,
    writes: AtomicU64,
    at: u64,
    /// Whether the last call still has its effect, though nobody lives to see it.
    effect: bool,
    died: Notify,
    expected: BTreeMap<String, Vec<Bytes>>,
    /// Lets others go first now and then, differently for each number; 0 is never.
    jitter: u64,
    leases: Leases,
}

/// Whether a store knows leases. Without them runs are at work side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leases {
    Known,
    Denied,
}

impl Dying {
    pub fn new(
        world: &World,
        at: u64,
        effect: bool,
        expected: &BTreeMap<String, Vec<Bytes>>,
    ) -> Self {
        Self {
            inner: world.store.clone(),
            calls: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            at,
            effect,
            died: Notify::new(),
            expected: expected.clone(),
            jitter: 0,
            leases: Leases::Known,
        }
    }

    /// Ends when its process does.
    pub async fn death(&self) {
        self.died.notified().await;
    }

    /// One that gives no leases, so that its runs are not alone.
    fn without_leases(self) -> Self {
        Self { leases: Leases::Denied, ..self }
    }

    /// One that lives, whose calls take their time, and that gives no leases.
    pub fn slow(world: &World, jitter: u64, expected: &BTreeMap<String, Vec<Bytes>>) -> Self {
        Self { jitter, ..Self::new(world, u64::MAX, false, expected) }.without_leases()
    }

    async fn pause(&self, call: u64) {
        let turns =
            call.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(17).wrapping_mul(self.jitter)
                >> 60;
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    }

    async fn step<T>(&self, work: impl Future<Output = T>) -> T {
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        self.pause(call).await;
        if call < self.at {
            let result = work.await;
            let (counts, before) = (self.inner.counts(), self.writes.load(Ordering::Relaxed));
            if counts.puts + counts.commits != before {
                self.writes.store(counts.puts + counts.commits, Ordering::Relaxed);
                assert_whole(&self.inner, &self.expected);
            }
            self.pause(call + 1).await;
            return result;
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
        match self.leases {
            Leases::Known => self.step(self.inner.lease(name, holder)).await,
            Leases::Denied => Err(StoreError::new(
                "leasing",
                name.as_str(),
                self.address(),
                StoreKind::Denied,
                "no leases here",
            )),
        }
    }
    async fn end_lease(&self, name: &BlobName, holder: &Holder) -> Result<(), StoreError> {
        self.step(self.inner.end_lease(name, holder)).await
    }
}

/// No reader sees a blob that is not some whole content of its name.
fn assert_whole(store: &MemoryStore, expected: &BTreeMap<String, Vec<Bytes>>) {
    for name in store.names().into_iter().filter(|name| !name.starts_with("_blobferry/")) {
        let content = store.content(&name).unwrap();
        let known = expected.get(&name).is_some_and(|known| known.contains(&content));
        assert!(known, "`{name}` holds {} bytes that no version of it has", content.len());
    }
}

/// The first run dies at call `at`; true if it came to its end before.
fn first_run(
    world: &World,
    at: u64,
    effect: bool,
    expected: &BTreeMap<String, Vec<Bytes>>,
) -> bool {
    let store = Arc::new(Dying::new(world, at, effect, expected));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ended = runtime.block_on(async {
        tokio::select! {
            biased;
            () = store.died.notified() => false,
            _ = run(vec![world.source.clone()],
                world.options(store.clone(), CancellationToken::new())) => true,
        }
    });
    // The process ends here: no task of it goes on.
    runtime.shutdown_background();
    ended
}

/// `make` builds the world as it is before the run that dies; it is the same each time.
async fn dies_everywhere(make: impl AsyncFn() -> World) {
    let whole = make().await;
    let mut expected: BTreeMap<String, Vec<Bytes>> = BTreeMap::new();
    whole
        .contents()
        .into_iter()
        .for_each(|(name, content)| expected.entry(name).or_default().push(content));
    whole.run().await;
    whole
        .contents()
        .into_iter()
        .for_each(|(name, content)| expected.entry(name).or_default().push(content));
    let records = sorted(whole.recorded());
    // Megabytes cost time: there the harder of both ways to die must do.
    let large = whole.contents().iter().any(|(_, content)| content.len() > 1 << 20);
    for effect in [true, false].into_iter().take(if large { 1 } else { 2 }) {
        for at in 1.. {
            let world = make().await;
            let ended = std::thread::scope(|scope| {
                scope.spawn(|| first_run(&world, at, effect, &expected)).join().unwrap()
            });
            assert_whole(&world.store, &expected);
            assert_true(&world);
            let ran = world.run().await;
            let what = format!("after a death at call {at} (effect: {effect})");
            assert!(ran.brief().starts_with("ok: "), "{what}: {}", ran);
            assert!(
                world.contents() == whole.contents(),
                "{what}: {:?} instead of {:?}",
                world.names(),
                whole.names()
            );
            assert_eq!(sorted(world.recorded()), records, "{what}");
            let ran = world.run().await;
            assert_eq!(
                (ran.source().unchanged, ran.source().listed, ran.reads),
                (ran.source().listed, whole.at_source().len() as u64, 0),
                "{what}"
            );
            if !large || ended {
                loses_its_ledger(&world, &whole, &what).await;
            }
            if ended {
                assert!(at > 5, "the run has steps");
                break;
            }
        }
    }
}

/// Whatever the ledger speaks of is there.
fn assert_true(world: &World) {
    let names = world.names();
    for path in world.recorded() {
        let plain = format!("acme{path}");
        let there =
            names.iter().any(|name| *name == plain || name.starts_with(&format!("{plain}!/")));
        assert!(there, "the ledger speaks of `{path}`, the container holds {names:?}");
    }
}

async fn loses_its_ledger(world: &World, whole: &World, what: &str) {
    world.lose_ledger().await;
    let ran = world.run().await;
    assert_eq!((ran.report.exit_code(), ran.source().blobs), (0, 0), "{what}, ledger lost: {ran}");
    assert!(
        world.contents() == whole.contents(),
        "{what}, ledger lost: {:?} instead of {:?}",
        world.names(),
        whole.names()
    );
}

fn sorted(mut paths: Vec<String>) -> Vec<String> {
    paths.sort();
    paths
}

#[tokio::test]
async fn plain_files() {
    dies_everywhere(async || {
        World::new().file("/a.csv", "one").file("/sub/b.csv", "two").file("/empty", "")
    })
    .await;
}

#[tokio::test]
async fn a_file_in_blocks() {
    dies_everywhere(async || World::new().file("/big", vec![7; 9 << 20])).await;
}

#[tokio::test]
async fn archives() {
    dies_everywhere(async || {
        World::new()
            .file("/a.zip", zip(&[("1.txt", b"one"), ("2.txt", b"two"), ("d/3.txt", b"three")]))
            .file("/b", "b")
    })
    .await;
}

#[tokio::test]
async fn tars_and_7zs() {
    let (one, two, three): (&[u8], &[u8], &[u8]) = (b"one", b"two", b"three");
    let members = [("1.txt", one), ("2.txt", two), ("d/3.txt", three)];
    dies_everywhere(async || World::new().file("/a.tar.gz", gz(&tar(&members))).file("/b", "b"))
        .await;
    dies_everywhere(async || World::new().file("/a.7z", sevenz(&members)).file("/b", "b")).await;
}

/// The large member is staged while the rest of the archive is still checked.
#[tokio::test]
async fn archives_with_large_members() {
    let large: Vec<u8> = (0..9 << 20).map(|at: u32| (at / 3) as u8).collect();
    let members = [("1.txt", &b"one"[..]), ("large", &large), ("2.txt", b"two")];
    for (name, archive) in
        [("/a.zip", zip(&members)), ("/a.tar.gz", gz(&tar(&members))), ("/a.7z", sevenz(&members))]
    {
        dies_everywhere(async || World::new().file(name, archive.clone())).await;
    }
}

#[tokio::test]
async fn archives_that_are_also_kept() {
    dies_everywhere(async || {
        let world = World::new().with(|source| source.archives = Archives::Both);
        world.file("/a.zip", zip(&[("1.txt", b"one"), ("2.txt", b"two")])).file("/b", "b")
    })
    .await;
}

#[tokio::test]
async fn large_archives_that_are_also_kept() {
    let members = vec![7u8; 9 << 20];
    dies_everywhere(async || {
        World::new()
            .with(|source| source.archives = Archives::Both)
            .file("/a.zip", zip(&[("1.txt", &members)]))
    })
    .await;
}

#[tokio::test]
async fn a_changed_file() {
    dies_everywhere(async || {
        let world = World::new().file("/a.csv", "one");
        world.run().await;
        world.put("/a.csv", "two!", LONG_AGO + 60);
        world
    })
    .await;
}

#[tokio::test]
async fn a_replaced_archive() {
    dies_everywhere(async || {
        let world = World::new()
            .with(|source| source.versions = Versions::Overwrite)
            .file("/a.zip", zip(&[("1.txt", b"one"), ("2.txt", b"two")]));
        world.run().await;
        world.put("/a.zip", zip(&[("1.txt", b"one"), ("2.txt", b"TWO!")]), LONG_AGO + 60);
        world
    })
    .await;
}

/// One run dies at each of its calls while another one is at work on the same source.
#[tokio::test]
async fn a_run_that_dies_beside_another_one_harms_neither_it_nor_the_container() {
    let make = || {
        World::new()
            .file("/a.zip", zip(&[("1.txt", b"one"), ("2.txt", b"two")]))
            .file("/b", "b")
            .file("/c", "c")
    };
    let whole = make();
    whole.run().await;
    let expected: BTreeMap<String, Vec<Bytes>> =
        whole.contents().into_iter().map(|(name, content)| (name, vec![content])).collect();
    for at in 1..40 {
        let world = make();
        let dying = Arc::new(Dying::new(&world, at, at % 2 == 0, &expected).without_leases());
        let victim = async {
            tokio::select! {
                () = dying.died.notified() => {}
                _ = run(vec![world.source.clone()],
                    world.options(dying.clone(), CancellationToken::new())) => {}
            }
        };
        let ((), other) = tokio::join!(victim, world.run());
        assert_eq!(other.report.exit_code(), 0, "beside a death at call {at}: {other}");
        assert_eq!(world.run().await.report.exit_code(), 0);
        assert!(
            world.contents() == whole.contents(),
            "beside a death at call {at}: {:?}",
            world.names()
        );
        assert_eq!(world.run().await.brief(), "ok: unchanged 3");
    }
}

/// A file leaves the source only when it is in the store and in the ledger, whenever the run dies.
#[tokio::test]
async fn files_that_are_deleted_at_the_source() {
    let make = || {
        let world = World::new().with(|source| source.after = After::Delete);
        world
            .file("/a.zip", zip(&[("1.txt", b"one"), ("2.txt", b"two")]))
            .file("/b", "b")
            .file("/c", "c")
    };
    let whole = make();
    let all = whole.at_source();
    whole.run().await;
    let expected: BTreeMap<String, Vec<Bytes>> =
        whole.contents().into_iter().map(|(name, content)| (name, vec![content])).collect();
    for effect in [false, true] {
        for at in 1.. {
            let world = make();
            let ended = std::thread::scope(|scope| {
                scope.spawn(|| first_run(&world, at, effect, &expected)).join().unwrap()
            });
            assert_true(&world);
            let (left, recorded) = (world.at_source(), world.recorded());
            for path in &all {
                assert!(
                    left.contains(path) || recorded.contains(path),
                    "death at call {at}: `{path}` is lost"
                );
            }
            let ran = world.run().await;
            assert!(
                ran.report.exit_code() == 0 && world.at_source().is_empty(),
                "after a death at call {at}: {ran}"
            );
            assert!(
                world.contents() == whole.contents(),
                "after a death at call {at}: {:?}",
                world.names()
            );
            if ended {
                break;
            }
        }
    }
}
