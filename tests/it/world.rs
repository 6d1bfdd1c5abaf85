//! A world in a line: a server, a store, runs between them, and what a user would see of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use blobferry::model::{BlobName, ModifiedTime, RemotePath};
use blobferry::report::{Report, SourceReport};
use blobferry::rules::naming::{Layout, Naming};
use blobferry::rules::patterns::Patterns;
use blobferry::run::run;
use blobferry::runtime::retry::Policy;
use blobferry::source::memory::{MemoryServer, MemorySourceFault, MemorySourceHook};
use blobferry::store::contract::{BlobInfo, Condition, Properties, Store};
use blobferry::store::destinations::Destinations;
use blobferry::store::memory::MemoryCounts;
use blobferry::store::memory::MemoryStore;
use blobferry::transfer::options::Options;
use blobferry::transfer::settings::{After, Archives, Limits, Source, Versions};
use bytes::Bytes;
use md5::Digest;
use tokio_util::sync::CancellationToken;

mod after;
mod archives;
mod audit;
mod blobs;
mod bulk;
mod cancel;
mod changes;
mod compressed;
mod crash;
mod damaged_parts;
mod destinations;
mod doubts;
mod far_store;
mod folders;
mod gone;
mod idle;
mod lanes;
mod late;
mod layout_trees;
mod layouts;
mod leases;
mod ledger;
mod ledger_rebuilt;
mod listing;
mod logins;
mod names;
mod nested;
mod partly;
mod pieces;
mod planned_names;
mod planning;
mod quarantine;
mod races;
mod reading;
mod serial_trips;
mod settling;
mod state_moved;
mod store_faults;
mod truth;
mod unproven;
mod unread;
mod versions_of_archives;
mod waiting;
mod witness;
pub mod zips;

/// 2024-01-01, long enough ago to be settled.
pub const LONG_AGO: i64 = 1_704_067_200;

/// No run of these tests takes this long, unless it waits for itself.
const PATIENCE: Duration = Duration::from_secs(30);

/// One server, one container, and how the source is set up.
pub struct World {
    pub server: MemoryServer,
    pub store: Arc<MemoryStore>,
    pub destinations: Destinations,
    pub source: Source,
    pub limits: Limits,
    pub again: Vec<String>,
    pub retry_quarantined: bool,
}

impl World {
    /// A server on which one login is one transfer.
    pub fn new() -> Self {
        Self::of(MemoryServer::new(), MemoryStore::new())
    }

    /// This server before this container.
    pub fn of(server: MemoryServer, store: MemoryStore) -> Self {
        let limits =
            Limits { memory: 64 << 20, ..Limits::default_with(std::env::temp_dir(), 1 << 30) };
        Self {
            source: source("acme", &server),
            server,
            store: Arc::new(store),
            destinations: Destinations::default(),
            limits,
            again: Vec::new(),
            retry_quarantined: false,
        }
    }

    /// With a file that was last modified long ago.
    pub fn file(self, path: &str, content: impl Into<Bytes>) -> Self {
        self.put(path, content, LONG_AGO);
        self
    }

    /// With a fault at the next call of `op` on `path`.
    pub fn fault(self, path: &str, op: &'static str, fault: MemorySourceFault) -> Self {
        self.server.fault(path, op, fault);
        self
    }

    /// With the tree changed when a read of `path` has delivered `bytes`.
    pub fn meanwhile(
        self,
        path: &str,
        bytes: u64,
        hook: impl FnOnce(&mut blobferry::source::memory::MemorySourceTree) + Send + 'static,
    ) -> Self {
        self.fault(path, "read", MemorySourceFault::At(bytes, Box::new(hook) as MemorySourceHook))
    }

    /// With another setting.
    pub fn with(mut self, change: impl FnOnce(&mut Source)) -> Self {
        change(&mut self.source);
        self
    }

    /// Only these patterns.
    pub fn patterns(mut self, include: &[&str], exclude: &[&str], outside: Option<&str>) -> Self {
        self.source.patterns = patterns(include, exclude, outside);
        self
    }

    /// Changes or adds a file between runs.
    pub fn put(&self, path: &str, content: impl Into<Bytes>, modified: i64) {
        self.server.put(path, content, modified);
    }

    /// A blob of somebody else, as another tool would write it.
    pub async fn foreign(&self, name: &str, content: &'static [u8]) {
        let properties = Properties {
            content_type: "text/plain".into(),
            md5: md5::Md5::digest(content).into(),
            metadata: [("by".into(), "hand".into())].into(),
            placement: Default::default(),
        };
        let name = BlobName::new(name).expect("a legal name");
        self.store
            .put(&name, Bytes::from_static(content), &properties, &Condition::IfAbsent)
            .await
            .expect("it writes");
    }

    /// One run, as the timer starts it.
    pub async fn run(&self) -> Ran {
        self.run_into(self.store.clone(), CancellationToken::new()).await
    }

    /// One run that `cancel` may stop.
    pub async fn run_until(&self, cancel: CancellationToken) -> Ran {
        self.run_into(self.store.clone(), cancel).await
    }

    /// One run over another store, or over a wrapper of ours.
    pub async fn run_into(&self, store: Arc<dyn Store>, cancel: CancellationToken) -> Ran {
        let counts = self.store.counts();
        let (reads, logins) = self.at_server();
        let report = run(vec![self.source.clone()], self.options(store, cancel));
        let report = tokio::time::timeout(PATIENCE, report).await.expect("a run ends");
        assert_equations(&report);
        let (all_reads, all_logins) = self.at_server();
        Ran {
            report,
            requests: difference(&self.store.counts(), &counts),
            reads: all_reads - reads,
            logins: all_logins - logins,
        }
    }

    fn at_server(&self) -> (u64, u64) {
        let tree = self.server.tree();
        (tree.reads, tree.logins)
    }

    /// What a run is given.
    pub fn options(&self, store: Arc<dyn Store>, cancel: CancellationToken) -> Options {
        Options {
            destinations: self.destinations.clone(),
            policy: quick(),
            again: self.again.clone(),
            retry_quarantined: self.retry_quarantined,
            cancel,
            ..Options::new(store, self.limits.clone())
        }
    }

    /// The names of users' blobs.
    pub fn names(&self) -> Vec<String> {
        self.store.names().into_iter().filter(|name| !name.starts_with("_blobferry/")).collect()
    }

    /// A blob as text.
    pub fn text(&self, name: &str) -> String {
        let content = self
            .store
            .content(name)
            .unwrap_or_else(|| panic!("no blob `{name}` among {:?}", self.names()));
        String::from_utf8_lossy(&content).into_owned()
    }

    /// Every blob of users with its content.
    pub fn contents(&self) -> Vec<(String, Bytes)> {
        self.names()
            .into_iter()
            .map(|name| (name.clone(), self.store.content(&name).unwrap()))
            .collect()
    }

    /// A blob's properties.
    pub async fn info(&self, name: &str) -> BlobInfo {
        self.store
            .head(&BlobName::new(name).unwrap())
            .await
            .unwrap()
            .unwrap_or_else(|| panic!("no blob `{name}`"))
    }

    /// The lines of the journals and shards of `source`.
    pub fn journal_of(&self, source: &str) -> Vec<serde_json::Value> {
        let folder = format!("_blobferry/{source}/ledger/");
        let names = self
            .store
            .names()
            .into_iter()
            .filter(|name| name.starts_with(&folder) && name.ends_with(".ndjson"));
        let bytes: Vec<u8> = names.flat_map(|name| self.store.content(&name).unwrap()).collect();
        bytes
            .split_inclusive(|byte| *byte == b'\n')
            .map(|line| serde_json::from_slice(line).expect("a whole line"))
            .collect()
    }

    /// The paths that the ledger says are in the store, in the order in which it says so.
    pub fn recorded(&self) -> Vec<String> {
        let files = self.journal_of("acme").into_iter().filter(|line| line["t"] == "file");
        files.map(|line| line["path"].as_str().unwrap().to_owned()).collect()
    }

    /// Takes away all of the ledger of `acme`.
    pub async fn lose_ledger(&self) {
        for name in self
            .store
            .names()
            .into_iter()
            .filter(|name| name.starts_with("_blobferry/acme/ledger/"))
        {
            self.store.delete(&BlobName::new(name).unwrap()).await.unwrap();
        }
    }

    /// What is at the source now.
    pub fn at_source(&self) -> Vec<String> {
        self.server.tree().files.keys().map(ToString::to_string).collect()
    }
}

/// What came of a run.
pub struct Ran {
    pub report: Report,
    pub requests: MemoryCounts,
    pub reads: u64,
    pub logins: u64,
}

impl Ran {
    /// The only source's report.
    pub fn source(&self) -> &SourceReport {
        &self.report.sources[0]
    }

    /// Status and every count that is not zero, with its reasons, on one line.
    pub fn brief(&self) -> String {
        let mut parts: Vec<String> = self
            .report
            .problems
            .iter()
            .map(|problem| format!("problem [{}]", problem.class))
            .collect();
        parts.extend(self.report.sources.iter().map(brief));
        format!("{:?}: {}", self.report.status(), parts.join("; ")).to_lowercase()
    }
}

/// The whole report, but for what differs from run to run.
impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.report.to_string();
        text.lines()
            .filter(|line| !line.starts_with("run "))
            .try_for_each(|line| writeln!(f, "{line}"))?;
        writeln!(f, "{:?}, exit {}", self.report.status(), self.report.exit_code())
    }
}

fn brief(source: &SourceReport) -> String {
    let reasons = |reasons: &std::collections::BTreeMap<std::borrow::Cow<'static, str>, u64>| {
        reasons.keys().map(AsRef::as_ref).collect::<Vec<&str>>().join(" ")
    };
    let mut classes: Vec<String> =
        source.failures.iter().map(|line| line.problem.class.to_string()).collect();
    // Files end in any order.
    classes.sort();
    classes.dedup();
    let counts = [
        (source.ingested, "ingested", String::new()),
        (source.unchanged, "unchanged", String::new()),
        (source.skipped, "skipped", reasons(&source.skipped_by_reason)),
        (source.gone, "gone", String::new()),
        (source.deferred, "deferred", reasons(&source.deferred_by_reason)),
        (source.failed, "failed", classes.join(" ")),
        (source.unparsed_lines, "unparsed", String::new()),
    ];
    let counts = counts.into_iter().filter(|(count, ..)| *count > 0);
    let mut parts: Vec<String> = counts
        .map(|(count, word, why)| {
            if why.is_empty() {
                format!("{word} {count}")
            } else {
                format!("{word} {count} [{why}]")
            }
        })
        .collect();
    parts.extend(source.problems.iter().map(|problem| format!("problem [{}]", problem.class)));
    parts.extend(source.left_to.iter().map(|_| "left".to_owned()));
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }
}

/// The sums that every report keeps, whatever happened.
pub fn assert_equations(report: &Report) {
    for source in &report.sources {
        let sum = source.ingested
            + source.unchanged
            + source.skipped
            + source.gone
            + source.deferred
            + source.failed;
        assert_eq!(source.listed, sum, "the sum of {source}");
        let members = source.members;
        assert_eq!(
            members.members,
            members.stored + members.identical + members.skipped,
            "the members of {source}"
        );
    }
}

fn difference(now: &MemoryCounts, then: &MemoryCounts) -> MemoryCounts {
    MemoryCounts {
        prepares: now.prepares - then.prepares,
        heads: now.heads - then.heads,
        gets: now.gets - then.gets,
        puts: now.puts - then.puts,
        stages: now.stages - then.stages,
        commits: now.commits - then.commits,
        appends: now.appends - then.appends,
        lists: now.lists - then.lists,
        deletes: now.deletes - then.deletes,
        leases: now.leases - then.leases,
        renewals: now.renewals - then.renewals,
        releases: now.releases - then.releases,
        bytes: now.bytes - then.bytes,
    }
}

/// Retries without waiting.
pub fn quick() -> Policy {
    Policy { first_wait: Duration::ZERO, ..Policy::default() }
}

/// A source over `server` with the settings that one gets without asking, but for `stable_for`.
pub fn source(name: &str, server: &MemoryServer) -> Source {
    let root = RemotePath::from("/");
    Source {
        name: name.to_owned(),
        endpoint: Arc::new(server.clone()),
        patterns: patterns(&[], &[], None),
        connections: 2,
        shared_cap: None,
        login: None,
        enabled: true,
        priority: 50,
        order: None,
        stable_for: Duration::ZERO,
        late_after: Duration::from_secs(24 * 3600),
        late_markers: false,
        archives: Archives::Unpack,
        zone: time::UtcOffset::UTC,
        include_members: None,
        incremental_members: false,
        quarantine: false,
        unpacking: Default::default(),
        naming: Naming {
            source: name.to_owned(),
            layout: Layout::Path,
            root: root.clone(),
            host_port: "ftp.acme.example_21".to_owned(),
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
        policy: quick(),
        retry_auth_after: Duration::from_secs(6 * 3600),
        schedule: None,
        time_zone: Default::default(),
        selection: Default::default(),
        min_listed: 0,
        dates: None,
        move_to: None,
        notes: Vec::new(),
        root,
    }
}

/// Patterns below `/`; `*.part` says that a file is being written.
pub fn patterns(include: &[&str], exclude: &[&str], outside: Option<&str>) -> Patterns {
    let owned = |globs: &[&str]| globs.iter().map(|glob| (*glob).to_owned()).collect::<Vec<_>>();
    let outside = outside.map(RemotePath::from);
    Patterns::new(
        RemotePath::from("/"),
        &owned(include),
        &owned(exclude),
        &owned(&["**/*.part"]),
        outside,
    )
    .expect("good patterns")
}

/// Seconds since 1970, now.
pub fn now() -> i64 {
    time::OffsetDateTime::now_utc().unix_timestamp()
}

/// A time as a server tells it.
pub fn at(seconds: i64) -> Option<ModifiedTime> {
    ModifiedTime::from_unix(seconds)
}
