//! An audit of very many files, measured: seconds and peak of memory. For measuring, not for users.
//!
//! ```text
//! ledger_at_scale fill DIR N      first: the ledger of N files, in the folder store at DIR
//! audit_at_scale manifest DIR N   then: the manifest and the report of a run that ingested them
//! audit_at_scale audit DIR N      the audit, over a container that makes up N blobs
//! ```

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use async_trait::async_trait;
use blobferry::audit::{self, Bytes as Read};
use blobferry::model::{BlobName, Md5, ModifiedTime, RemoteFile, RemotePath, Version};
use blobferry::report::{Ingested, Line, Outcome, Proof, SourceReport};
use blobferry::rules::naming::{Layout, Naming, escaped_for_metadata};
use blobferry::rules::patterns::Patterns;
use blobferry::rules::plan::Why;
use blobferry::runtime::retry::Policy;
use blobferry::source::memory::MemoryServer;
use blobferry::state::paths::StatePaths;
use blobferry::store::contract::{
    BlobInfo, Condition, Etag, Leased, Properties, Store, StoreError, Upload,
};
use blobferry::store::folder::FolderStore;
use blobferry::store::holder::Holder;
use blobferry::transfer::run_manifest::Appender;
use blobferry::transfer::settings::{After, Archives, Source, Versions};
use bytes::Bytes;
use md5::Digest;
use time::format_description::well_known::Rfc3339;

const NAME: &str = "acme";
const RUN: &str = "20261123T000000Z-00000000";

/// As `ledger_at_scale` records them.
fn file(n: u64) -> RemoteFile {
    let path = RemotePath::from(
        format!("/outbound/region-{:04}/daily-report-{n:08}-final.csv", n / 1_000).as_str(),
    );
    RemoteFile {
        path,
        size: Some(5),
        modified: ModifiedTime::from_unix(1_600_000_000 + n.cast_signed()),
    }
}

fn content(n: u64) -> Md5 {
    md5::Md5::digest(n.to_be_bytes()).into()
}

fn naming() -> Naming {
    Naming {
        source: NAME.into(),
        layout: Layout::Path,
        root: RemotePath::from("/"),
        host_port: "made-up_1".into(),
    }
}

fn info(n: u64) -> Result<BlobInfo> {
    let file = file(n);
    let modified = file.modified.context("it has a time")?.at.format(&Rfc3339)?;
    let metadata = [
        ("source", NAME.to_owned()),
        ("source_path", escaped_for_metadata(file.path.as_bytes())),
        ("source_size", "5".to_owned()),
        ("mtime", modified),
        ("version", Version::of(&file).to_string()),
        ("run", RUN.to_owned()),
    ];
    Ok(BlobInfo {
        name: naming().file(&file).expect("it is named by its path").as_str().to_owned(),
        size: 5,
        etag: Etag("1".into()),
        md5: Some(content(n)),
        metadata: metadata.map(|(key, value)| (key.to_owned(), value)).into(),
        content_type: Some("text/csv".into()),
    })
}

fn say(line: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout().lock(), "{line}")?)
}

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let [step, dir, n] = words[..] else {
        bail!("usage: audit_at_scale manifest DIR N | audit DIR N")
    };
    let store = Arc::new(FolderStore::new(std::path::Path::new(dir))?);
    let (n, start) = (n.parse()?, Instant::now());
    match step {
        "manifest" => manifest(store, n).await?,
        "audit" => check(Arc::new(MadeUp { state: store, blobs: n }), n).await?,
        _ => bail!("there is no step `{step}`"),
    }
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| {
        line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    });
    say(&format!(
        "{step}: {n} files in {:.1} s, peak {} MiB",
        start.elapsed().as_secs_f64(),
        peak.context("Linux tells the peak")? / 1024
    ))
}

async fn manifest(store: Arc<FolderStore>, n: u64) -> Result<()> {
    let mut report = SourceReport::new(NAME, "made-up://server");
    let mut appender =
        Appender::new(store.clone(), Policy::default(), StatePaths::of(NAME).manifest(RUN), 0, 0);
    let mut lines = Vec::new();
    for n in 0..n {
        let file = file(n);
        let blob =
            Some((naming().file(&file).expect("it is named by its path"), 5, Some(content(n))));
        let proof = Box::new(Proof {
            taken: Some((file.clone(), Version::of(&file))),
            blob,
            archive: None,
            stored: None,
        });
        let outcome =
            Outcome::Ingested(Ingested { bytes: 5, stored: 1, proof, ..Ingested::default() });
        lines
            .extend(Line::of(&file, Some(Why::New), &outcome).context("it has a line")?.to_bytes());
        report.add(&file.path, outcome);
        if lines.len() >= 1 << 20 {
            appender.append(std::mem::take(&mut lines).into()).await?;
        }
    }
    appender.append(lines.into()).await?;
    (report.manifest, report.manifest_lines) =
        (Some(StatePaths::of(NAME).manifest(RUN).as_str().to_owned()), appender.lines());
    let bytes = Bytes::from(serde_json::to_vec(&report)?);
    let properties = Properties {
        content_type: "application/json".into(),
        md5: md5::Md5::digest(&bytes).into(),
        metadata: [].into(),
        placement: Default::default(),
    };
    store.put(&StatePaths::of(NAME).report(RUN), bytes, &properties, &Condition::Always).await?;
    Ok(())
}

async fn check(store: Arc<MadeUp>, n: u64) -> Result<()> {
    let server = MemoryServer::new();
    let source = Source {
        name: NAME.to_owned(),
        endpoint: Arc::new(server),
        patterns: Patterns::new(RemotePath::from("/"), &[], &[], &[], None)?,
        connections: 1,
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
        naming: naming(),
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
        retry_auth_after: Duration::ZERO,
        schedule: None,
        time_zone: Default::default(),
        selection: Default::default(),
        min_listed: 0,
        dates: None,
        move_to: None,
        notes: Vec::new(),
        root: RemotePath::from("/"),
    };
    let found = audit::audit(store, &[source], Read::Believed, Policy::default(), &|_| {}).await?;
    let checked = &found[0].checked;
    ensure!(found[0].violations.total == 0, "{:?}", found[0].violations.first.first());
    ensure!((checked.records, checked.blobs, checked.lines) == (n, n, n), "{checked:?}");
    Ok(())
}

/// State in a folder, users' blobs made up in the order of their names.
#[derive(Debug)]
struct MadeUp {
    state: Arc<FolderStore>,
    blobs: u64,
}

#[async_trait]
impl Store for MadeUp {
    fn address(&self) -> &str {
        self.state.address()
    }
    async fn prepare(&self) -> Result<(), StoreError> {
        self.state.prepare().await
    }
    async fn head(&self, name: &BlobName) -> Result<Option<BlobInfo>, StoreError> {
        self.state.head(name).await
    }
    async fn get(
        &self,
        name: &BlobName,
        start: u64,
        max_bytes: u64,
    ) -> Result<Option<(BlobInfo, Bytes)>, StoreError> {
        self.state.get(name, start, max_bytes).await
    }
    async fn read(
        &self,
        name: &BlobName,
        start: u64,
        most: u64,
    ) -> Result<Option<(BlobInfo, Bytes)>, StoreError> {
        self.state.read(name, start, most).await
    }
    async fn put(
        &self,
        name: &BlobName,
        bytes: Bytes,
        properties: &Properties,
        condition: &Condition,
    ) -> Result<Etag, StoreError> {
        self.state.put(name, bytes, properties, condition).await
    }
    async fn stage(&self, upload: &Upload, index: u32, bytes: Bytes) -> Result<(), StoreError> {
        self.state.stage(upload, index, bytes).await
    }
    async fn commit(
        &self,
        upload: &Upload,
        blocks: u32,
        properties: &Properties,
        condition: &Condition,
    ) -> Result<Etag, StoreError> {
        self.state.commit(upload, blocks, properties, condition).await
    }
    async fn abandon(&self, upload: &Upload) {
        self.state.abandon(upload).await;
    }
    async fn append(
        &self,
        name: &BlobName,
        bytes: Bytes,
        position: u64,
    ) -> Result<u64, StoreError> {
        self.state.append(name, bytes, position).await
    }
    async fn list(
        &self,
        prefix: &str,
        visit: &mut (dyn FnMut(BlobInfo) + Send),
    ) -> Result<(), StoreError> {
        self.state.list(prefix, visit).await?;
        if prefix.is_empty() {
            (0..self.blobs).filter_map(|n| info(n).ok()).for_each(visit);
        }
        Ok(())
    }
    async fn delete(&self, name: &BlobName) -> Result<(), StoreError> {
        self.state.delete(name).await
    }
    async fn lease(&self, name: &BlobName, holder: &Holder) -> Result<Leased, StoreError> {
        self.state.lease(name, holder).await
    }
    async fn end_lease(&self, name: &BlobName, holder: &Holder) -> Result<(), StoreError> {
        self.state.end_lease(name, holder).await
    }
}
