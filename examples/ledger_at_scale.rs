//! The ledger with very many files, measured: seconds, requests by kind, peak of memory. For
//! measuring, not for users.
//!
//! `scripts/measure-ledger.sh` calls it, each step as a process of its own so that each has its own
//! peak:
//!
//! ```text
//! ledger_at_scale fill DIR N        a first run's records of N files, into the folder store at DIR
//! ledger_at_scale plan DIR N NEW    ledger and plan alone: N known files, NEW ones to record
//! ledger_at_scale run DIR N NEW     a whole run over a made-up source of N + NEW files
//! ledger_at_scale memory N NEW      fill and plan with the store in memory
//! ledger_at_scale rebuild DIR       makes the ledger anew from the blobs in DIR
//! ```

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use async_trait::async_trait;
use blobferry::history::run_id::run_id;
use blobferry::ledger::{self, Ledger, Originals};
use blobferry::model::{BlobName, ModifiedTime, RemoteFile, RemotePath, Version};
use blobferry::rules::naming::{Layout, Naming};
use blobferry::rules::patterns::Patterns;
use blobferry::rules::plan::known::Known;
use blobferry::rules::plan::rest::Clock;
use blobferry::rules::plan::{Decision, MarkerTimes, Rules, decide};
use blobferry::run;
use blobferry::runtime::retry::Policy;
use blobferry::source::contract::{Download, Endpoint, Listed, Op, Session, SourceError};
use blobferry::store::contract::{
    BlobInfo, Condition, Etag, Leased, Properties, Store, StoreError, Upload,
};
use blobferry::store::folder::FolderStore;
use blobferry::store::holder::Holder;
use blobferry::store::memory::MemoryStore;
use blobferry::transfer::options::Options;
use blobferry::transfer::settings::{After, Archives, Limits, Source, Versions};
use bytes::Bytes;
use futures_util::StreamExt;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

/// Files in a folder of the made-up source.
const IN_FOLDER: u64 = 1_000;
const NAME: &str = "acme";

fn path(n: u64) -> RemotePath {
    RemotePath::from(
        format!("/outbound/region-{:04}/daily-report-{n:08}-final.csv", n / IN_FOLDER).as_str(),
    )
}

fn file(n: u64) -> RemoteFile {
    RemoteFile {
        path: path(n),
        size: Some(5),
        modified: ModifiedTime::from_unix(1_600_000_000 + n.cast_signed()),
    }
}

fn say(line: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout().lock(), "{line}")?)
}

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let folder = |dir: &str| -> Result<Arc<Counting>> {
        Ok(Counting::of(Arc::new(FolderStore::new(std::path::Path::new(dir))?)))
    };
    match words[..] {
        ["fill", dir, n] => fill(&folder(dir)?, n.parse()?).await?,
        ["plan", dir, n, new] => plan(&folder(dir)?, n.parse()?, new.parse()?).await?,
        ["run", dir, n, new] => whole_run(&folder(dir)?, n.parse()?, new.parse()?).await?,
        ["memory", n, new] => {
            let store = Counting::of(Arc::new(MemoryStore::new()));
            fill(&store, n.parse()?).await?;
            plan(&store, n.parse()?, new.parse()?).await?;
        }
        ["rebuild", dir] => rebuild(&folder(dir)?).await?,
        _ => bail!(
            "usage: ledger_at_scale fill DIR N | plan DIR N NEW | run DIR N NEW | memory N NEW | \
            rebuild DIR"
        ),
    }
    say(&format!("  peak {} MiB", peak_kib().context("Linux tells the peak")? / 1024))
}

async fn open(store: &Arc<Counting>) -> Result<Ledger> {
    let run = run_id(OffsetDateTime::now_utc());
    Ok(Ledger::open(store.clone(), NAME, &run, Policy::default(), CancellationToken::new()).await?)
}

async fn record(
    ledger: &Ledger,
    files: impl Iterator<Item = RemoteFile>,
    at_once: usize,
) -> Result<()> {
    let one = |file: RemoteFile| async move {
        let known = Known::new(&file, file.modified, Version::of(&file));
        ledger.ingested(&file, &known, 1, 5).await
    };
    let mut records = futures_util::stream::iter(files).map(one).buffer_unordered(at_once);
    while let Some(result) = records.next().await {
        result?;
    }
    Ok(())
}

async fn fill(store: &Arc<Counting>, n: u64) -> Result<()> {
    store.prepare().await?;
    let start = Instant::now();
    let ledger = open(store).await?;
    ledger.begin(OffsetDateTime::now_utc()).await?;
    // More than a run has in flight: here the time of files does not count.
    record(&ledger, (0..n).map(file), 500).await?;
    ledger.end().await?;
    say(&format!("fill: {n} records in {:.1} s, {}", start.elapsed().as_secs_f64(), store.told()))
}

async fn plan(store: &Arc<Counting>, n: u64, new: u64) -> Result<()> {
    store.reset();
    let start = Instant::now();
    let ledger = open(store).await?;
    let opened = start.elapsed();
    ensure!(ledger.len() as u64 == n, "{} files are known", ledger.len());
    let markers = MarkerTimes::new();
    let rules = Rules {
        wanted: &|_| true,
        skipped_by_time_or_size: &|_, _| None,
        in_progress: &|_| false,
        again: &|_| false,
        marker: None,
        markers: &markers,
        stable_for: Duration::from_secs(60),
        clock: Clock { here: OffsetDateTime::now_utc(), newest: None },
        times: Default::default(),
        removes: false,
    };
    let mut fetch = Vec::new();
    for n in 0..n + new {
        let file = file(n);
        match decide(
            &file,
            ledger.known(&file.path).as_ref(),
            ledger.seen(&file.path).as_ref(),
            &rules,
        ) {
            Decision::Unchanged => {}
            Decision::Ingest(_) => fetch.push(file),
            other => bail!("{other:?}"),
        }
    }
    let decided = start.elapsed() - opened;
    ensure!(fetch.len() as u64 == new, "{} files are new", fetch.len());
    let read = peak_kib().unwrap_or(0) / 1024;
    ledger.begin(OffsetDateTime::now_utc()).await?;
    record(&ledger, fetch.into_iter(), 16).await?;
    ledger.end().await?;
    let (opened, decided, all) =
        (opened.as_secs_f64(), decided.as_secs_f64(), start.elapsed().as_secs_f64());
    say(&format!(
        "plan: {n} known, {new} new: read in {opened:.2} s, decided in {decided:.2} s (peak so far \
        {read} MiB), recorded after {all:.2} s, {}",
        store.told()
    ))
}

async fn whole_run(store: &Arc<Counting>, n: u64, new: u64) -> Result<()> {
    let start = Instant::now();
    let limits = Limits::default_with(std::env::temp_dir(), 1 << 30);
    let options = |store: &Arc<Counting>| Options::new(store.clone(), limits.clone());
    for expected in [new, 0] {
        store.reset();
        let report = run::run(vec![source(n + new)], options(store)).await;
        ensure!(report.exit_code() == 0, "{report}");
        let source = &report.sources[0];
        ensure!((source.unchanged, source.ingested) == (n + new - expected, expected), "{report}");
        say(&format!(
            "run: {} unchanged, {expected} ingested in {:.2} s since the start, {}",
            source.unchanged,
            start.elapsed().as_secs_f64(),
            store.told()
        ))?;
    }
    Ok(())
}

async fn rebuild(store: &Arc<Counting>) -> Result<()> {
    let start = Instant::now();
    let run = run_id(OffsetDateTime::now_utc());
    let rebuilt = ledger::rebuild(
        store.clone(),
        NAME,
        Originals::Prove,
        &run,
        Policy::default(),
        CancellationToken::new(),
    )
    .await?;
    say(&format!(
        "rebuild: {} files from {} blobs in {:.1} s, {}",
        rebuilt.files,
        rebuilt.blobs,
        start.elapsed().as_secs_f64(),
        store.told()
    ))
}

/// The most memory that this process ever had, as Linux tells it.
fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

fn source(files: u64) -> Source {
    let root = RemotePath::from("/");
    Source {
        name: NAME.to_owned(),
        endpoint: Arc::new(MadeUp { files }),
        patterns: Patterns::new(root.clone(), &[], &[], &[], None).expect("good patterns"),
        connections: 16,
        shared_cap: None,
        login: None,
        enabled: true,
        priority: 50,
        order: None,
        stable_for: Duration::from_secs(60),
        late_after: Duration::from_secs(24 * 3600),
        late_markers: false,
        archives: Archives::Unpack,
        zone: time::UtcOffset::UTC,
        include_members: None,
        incremental_members: false,
        quarantine: false,
        unpacking: Default::default(),
        retry_auth_after: Duration::from_secs(6 * 3600),
        schedule: None,
        time_zone: Default::default(),
        selection: Default::default(),
        min_listed: 0,
        dates: None,
        move_to: None,
        notes: Vec::new(),
        naming: Naming {
            source: NAME.to_owned(),
            layout: Layout::Path,
            root: root.clone(),
            host_port: "made-up_21".to_owned(),
        },
        versions: Versions::Keep,
        after: After::Keep,
        delete_by: Default::default(),
        recheck: 1 << 30,
        times: Default::default(),
        shared_with: None,
        unusable: None,
        destination: None,
        placement: Default::default(),
        metadata: Default::default(),
        own_folders: Vec::new(),
        expectations: Vec::new(),
        marker: None,
        adopt: false,
        depth: 64,
        policy: Policy::default(),
        root,
    }
}

/// A server that makes its files up when it is asked for them.
#[derive(Clone, Debug)]
struct MadeUp {
    files: u64,
}

#[async_trait]
impl Endpoint for MadeUp {
    fn address(&self) -> &str {
        "made-up://server"
    }
    fn default_connections(&self) -> usize {
        16
    }
    async fn open(&self) -> Result<Box<dyn Session>, SourceError> {
        Ok(Box::new(self.clone()))
    }
}

impl MadeUp {
    fn number(&self, path: &RemotePath) -> Option<u64> {
        let name = std::str::from_utf8(path.file_name()).ok()?;
        let n = name.strip_prefix("daily-report-")?.split('-').next()?.parse().ok()?;
        (n < self.files).then_some(n)
    }
}

#[async_trait]
impl Session for MadeUp {
    fn fork(&self) -> Option<Box<dyn Session>> {
        None
    }
    async fn list(
        &mut self,
        dir: &RemotePath,
        visit: &mut (dyn FnMut(Listed) + Send),
    ) -> Result<(), SourceError> {
        let dir_name = String::from_utf8_lossy(dir.as_bytes()).into_owned();
        match dir_name.strip_prefix("/outbound/region-").map(str::parse::<u64>) {
            Some(Ok(folder)) => (folder * IN_FOLDER..self.files.min((folder + 1) * IN_FOLDER))
                .for_each(|n| visit(Listed::File(file(n)))),
            _ if dir_name == "/" => visit(Listed::Directory(RemotePath::from("/outbound"))),
            _ => (0..self.files.div_ceil(IN_FOLDER)).for_each(|folder| {
                visit(Listed::Directory(dir.join(format!("region-{folder:04}").as_bytes())))
            }),
        }
        Ok(())
    }
    async fn stat(&mut self, path: &RemotePath) -> Result<Option<RemoteFile>, SourceError> {
        Ok(self.number(path).map(file))
    }
    async fn read<'a>(
        &'a mut self,
        _: &RemoteFile,
        offset: u64,
    ) -> Result<Box<dyn Download + 'a>, SourceError> {
        Ok(Box::new(Five(Some(
            Bytes::from_static(b"five\n").slice(usize::try_from(offset).unwrap_or(5).min(5)..),
        ))))
    }
    async fn remove(&mut self, path: &RemotePath) -> Result<(), SourceError> {
        Err(SourceError::new(
            Op::Remove,
            "made-up://server",
            blobferry::model::failure::Class::Permission,
            "it stays",
        )
        .at(path))
    }
    async fn rename(&mut self, from: &RemotePath, _: &RemotePath) -> Result<(), SourceError> {
        self.remove(from).await
    }
    async fn close(self: Box<Self>) {}
}

struct Five(Option<Bytes>);

#[async_trait]
impl Download for Five {
    async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        Ok(self.0.take())
    }
}

/// Counts what a store is asked for.
#[derive(Debug)]
struct Counting {
    inner: Arc<dyn Store>,
    counts: [AtomicU64; OPS.len()],
}

const OPS: [&str; 9] =
    ["prepare", "head", "get", "put", "stage", "commit", "append", "list", "delete"];

impl Counting {
    fn of(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self { inner, counts: Default::default() })
    }
    fn reset(&self) {
        self.counts.iter().for_each(|count| count.store(0, Ordering::Relaxed));
    }
    fn count(&self, op: &str) {
        if let Some(at) = OPS.iter().position(|known| *known == op) {
            self.counts[at].fetch_add(1, Ordering::Relaxed);
        }
    }
    fn told(&self) -> String {
        let counts: Vec<(&str, u64)> = OPS
            .into_iter()
            .zip(self.counts.iter().map(|count| count.load(Ordering::Relaxed)))
            .collect();
        let each: Vec<String> = counts
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(op, count)| format!("{op} {count}"))
            .collect();
        format!(
            "{} requests ({})",
            counts.iter().map(|(_, count)| count).sum::<u64>(),
            each.join(", ")
        )
    }
}

#[async_trait]
impl Store for Counting {
    fn address(&self) -> &str {
        self.inner.address()
    }
    async fn prepare(&self) -> Result<(), StoreError> {
        self.count("prepare");
        self.inner.prepare().await
    }
    async fn head(&self, name: &BlobName) -> Result<Option<BlobInfo>, StoreError> {
        self.count("head");
        self.inner.head(name).await
    }
    async fn get(
        &self,
        name: &BlobName,
        start: u64,
        max_bytes: u64,
    ) -> Result<Option<(BlobInfo, Bytes)>, StoreError> {
        self.count("get");
        self.inner.get(name, start, max_bytes).await
    }
    async fn put(
        &self,
        name: &BlobName,
        bytes: Bytes,
        properties: &Properties,
        condition: &Condition,
    ) -> Result<Etag, StoreError> {
        self.count("put");
        self.inner.put(name, bytes, properties, condition).await
    }
    async fn stage(&self, upload: &Upload, index: u32, bytes: Bytes) -> Result<(), StoreError> {
        self.count("stage");
        self.inner.stage(upload, index, bytes).await
    }
    async fn commit(
        &self,
        upload: &Upload,
        blocks: u32,
        properties: &Properties,
        condition: &Condition,
    ) -> Result<Etag, StoreError> {
        self.count("commit");
        self.inner.commit(upload, blocks, properties, condition).await
    }
    async fn abandon(&self, upload: &Upload) {
        self.inner.abandon(upload).await;
    }
    async fn append(
        &self,
        name: &BlobName,
        bytes: Bytes,
        position: u64,
    ) -> Result<u64, StoreError> {
        self.count("append");
        self.inner.append(name, bytes, position).await
    }
    async fn list(
        &self,
        prefix: &str,
        visit: &mut (dyn FnMut(BlobInfo) + Send),
    ) -> Result<(), StoreError> {
        self.count("list");
        self.inner.list(prefix, visit).await
    }
    async fn delete(&self, name: &BlobName) -> Result<(), StoreError> {
        self.count("delete");
        self.inner.delete(name).await
    }
    async fn lease(&self, name: &BlobName, holder: &Holder) -> Result<Leased, StoreError> {
        self.count("lease");
        self.inner.lease(name, holder).await
    }
    async fn end_lease(&self, name: &BlobName, holder: &Holder) -> Result<(), StoreError> {
        self.count("end lease");
        self.inner.end_lease(name, holder).await
    }
}
