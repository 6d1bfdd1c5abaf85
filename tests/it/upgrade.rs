//! What version 0.1 left in a folder and in a container is read by this version, which goes on with
//! it and loses nothing.
//!
//! `scripts/make-state-0.1.sh` made `tests/fixtures/state-0.1`; `expected.json` there says what
//! each source must show.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use blobferry::demo::ftp::FtpServer;
use blobferry::demo::ftp::script::DemoFtpScript;
use blobferry::demo::ftp::shared::DemoFtpOptions;
use blobferry::ledger::under_way;
use blobferry::model::{Secret, hex};
use blobferry::runtime::retry::Policy;
use blobferry::store::contract::Store;
use blobferry::store::folder::FolderStore;
use blobferry::store::queue::Queue;
use md5::{Digest, Md5};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::e2e::{Done, Ferry, azure, look, python};
use super::handler::pump::{Pump, queue, work_queue};
use super::handler::worker::{Encoding, Worker};
use super::handler::{http, res, status, timer};
use super::kit::stage::runtime;
use super::servers::{Azurite, Persistence};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/state-0.1").join(name)
}

fn unpack(name: &str, folder: &Path) {
    std::fs::create_dir_all(folder).expect("a folder");
    // It warns of a file from the future, which is one on purpose.
    let unpacked = Command::new("tar")
        .arg("-xzf")
        .arg(fixture(name))
        .arg("-C")
        .arg(folder)
        .output()
        .expect("tar is there");
    assert!(unpacked.status.success(), "{}", String::from_utf8_lossy(&unpacked.stderr));
}

/// The servers that 0.1 read from, and the program with the state that it left.
struct Site {
    // First the servers, then their runtime.
    machine: FtpServer,
    lists: FtpServer,
    runtime: Runtime,
    ferry: Ferry,
    azurite: Option<(Azurite, String)>,
}

impl Site {
    /// With the state in a folder.
    fn folder() -> Self {
        let site = Self::new(None, "folder = \"store\"\n");
        unpack("folder.tar.gz", &site.ferry.path("store"));
        site
    }

    /// With the state in an Azurite of its own; `None` where there is none and need not be.
    fn azure() -> Option<Self> {
        let (azurite, container) =
            (Azurite::start(Persistence::Disk)?, Azurite::container("landing"));
        let words = [
            fixture("container.py"),
            "load".into(),
            azurite.connection_string().into(),
            (&container).into(),
            fixture("azure.jsonl.gz"),
        ];
        let words: Vec<&str> = words.iter().map(|word| word.to_str().expect("UTF-8")).collect();
        let loaded = python(&words);
        assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
        let destination = azure(&azurite, &container);
        Some(Self::new(Some((azurite, container)), &destination))
    }

    fn new(azurite: Option<(Azurite, String)>, destination: &str) -> Self {
        let (ferry, runtime) = (Ferry::new(""), runtime());
        unpack("served.tar.gz", &ferry.path("served"));
        let start = |script| {
            let options = DemoFtpOptions {
                user: "user".into(),
                password: Secret::new("password"),
                script,
                ..DemoFtpOptions::new(ferry.path("served"))
            };
            runtime.block_on(FtpServer::start(options)).expect("it starts")
        };
        let (machine, lists) = (
            start(DemoFtpScript::default()),
            start(DemoFtpScript { without: vec!["MLST"], ..DemoFtpScript::default() }),
        );
        let config = std::fs::read_to_string(fixture("ingest.toml")).expect("it is there");
        let words = [
            ("{destination}", destination.to_owned()),
            ("{port}", port(&machine)),
            ("{list_port}", port(&lists)),
        ];
        ferry.configure(
            &words.iter().fold(config, |config, (word, text)| config.replace(word, text)),
        );
        std::fs::copy(
            Path::new(env!("CARGO_MANIFEST_DIR")).join("host.json"),
            ferry.path("host.json"),
        )
        .expect("copied");
        Self { machine, lists, runtime, ferry, azurite }
    }

    fn store(&self) -> Arc<dyn Store> {
        match &self.azurite {
            Some((azurite, container)) => Arc::new(look(azurite, container)),
            None => Arc::new(FolderStore::new(&self.ferry.path("store")).expect("a folder")),
        }
    }

    /// Files that were read so far.
    fn reads(&self) -> u64 {
        self.machine.counts.of("RETR") + self.lists.counts.of("RETR")
    }

    /// Files that the ledger of `source` knows.
    fn known(&self, source: &str) -> Value {
        let shown = self.ferry.run(&["ledger", "show", "--json", "--source", source]).code(0);
        shown.report()["files"].clone()
    }

    /// MD5 by name of every blob of `source`.
    fn blobs(&self, source: &str) -> BTreeMap<String, String> {
        let listed = self.ferry.run(&["ls", "--json"]).code(0);
        let blobs =
            listed.out.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        blobs
            .filter(|blob| blob["metadata"]["source"] == source)
            .map(|blob| (text(&blob["name"]), text(&blob["md5"])))
            .collect()
    }

    fn ingest(&self, source: &str) -> Done {
        self.ferry.run(&["run", "--json", "--source", source])
    }

    fn is_open(&self, source: &str) -> bool {
        let open = under_way(self.store(), source, Policy::default(), CancellationToken::new());
        self.runtime.block_on(open).expect("it can be read").is_some()
    }
}

fn port(server: &FtpServer) -> String {
    server.address.port().to_string()
}

fn expected() -> BTreeMap<String, BTreeMap<String, u64>> {
    serde_json::from_str(&std::fs::read_to_string(fixture("expected.json")).expect("it is there"))
        .expect("numbers by source")
}

/// A message that was under way when the state in this form was taken.
fn message(form: &str, name: &str) -> (String, Value) {
    let text = std::fs::read_to_string(fixture("messages").join(format!("{form}-{name}.json")))
        .expect("it is there");
    let value = serde_json::from_str(&text).expect("JSON");
    (text, value)
}

fn reads_and_goes_on(site: &Site) {
    for (source, of) in &expected() {
        assert_eq!(
            (site.known(source), site.blobs(source).len() as u64),
            (of["known"].into(), of["blobs"]),
            "{source}"
        );
    }
    // What it left agrees with itself: ledgers, blobs, manifests, reports.
    site.ferry.run(&["audit", "--download"]).code(0);
    for (source, of) in &expected() {
        assert_plan(site, source, of);
        let before = site.reads();
        let done = site.ingest(source).code(of["exit"] as i32);
        let report = done.source();
        for count in ["listed", "ingested", "unchanged", "skipped", "failed", "deferred"] {
            assert_eq!(
                report[count],
                of.get(count).copied().unwrap_or(0),
                "{count} of {source}: {report:#}"
            );
        }
        assert_eq!(
            site.reads() - before,
            of["ingested"],
            "{source}: nothing that is known is read again"
        );
        if source == "locked" {
            done.says(&["this credential was refused at", "530 Login incorrect."]);
        }
    }
    let before = site.reads();
    for (source, of) in &expected() {
        let report = site.ingest(source).code(of["exit"] as i32).source();
        assert_eq!(
            (&report["ingested"], &report["unchanged"], &report["failed"]),
            (&0.into(), &of["then_known"].into(), &0.into()),
            "{report:#}"
        );
        assert_eq!(
            (site.known(source), site.blobs(source).len() as u64),
            (of["then_known"].into(), of["then_blobs"]),
            "{source}"
        );
        assert!(!site.is_open(source), "{source}: a pass of 0.1 is still under way");
    }
    // `growing.csv` is dated in the future, so only its bytes tell whether it changed.
    assert_eq!(site.reads(), before + 1, "a second run has nothing else to read");
    for (source, files) in [
        ("acme", 1),
        ("acme/bulk", 40),
        ("acme/daily", 23),
        ("acme/late", 1),
        ("coarse", 3),
        ("young", 2),
        ("pieces", 6),
        ("later", 1),
    ] {
        assert_stored(site, source, files);
    }
    assert!(site.blobs("acme").contains_key("acme/na%EFve.csv"), "a name that is not UTF-8");
    assert_eq!(
        site.blobs("acme").keys().filter(|name| name.starts_with("acme/changed")).count(),
        2,
        "both versions of a changed file"
    );
    site.ferry.run(&["audit", "--download"]).code(0);
}

/// The files of a served folder, which is that of a source or in it, have their blobs with their
/// bytes.
fn assert_stored(site: &Site, folder: &str, files: usize) {
    let source = folder.split('/').next().expect("a first segment");
    let (blobs, root) = (site.blobs(source), site.ferry.path("served").join(folder));
    let entries =
        std::fs::read_dir(&root).expect("a folder").map(|entry| entry.expect("an entry").path());
    // `changed.csv` has its first version under that name.
    let wanted = |path: &PathBuf| {
        path.to_str().is_some_and(|path| path.ends_with(".csv") && !path.ends_with("/changed.csv"))
    };
    let paths: Vec<PathBuf> = entries.filter(wanted).collect();
    assert_eq!(paths.len(), files, "{paths:?}");
    for path in paths {
        let name = format!("{folder}/{}", path.file_name().expect("a name").to_string_lossy());
        let md5 = hex(&Md5::digest(std::fs::read(&path).expect("it reads")));
        assert_eq!(blobs.get(&name), Some(&md5), "{name}");
    }
}

/// What is planned is what was not stored. (An archive in quarantine may be planned, and is then
/// left alone.)
fn assert_plan(site: &Site, source: &str, of: &BTreeMap<String, u64>) {
    let plans =
        site.ferry.run(&["plan", "--json", "--source", source]).code(of["exit"] as i32).report();
    let (plan, new) = (&plans[0], of["ingested"]);
    let planned = plan["fetch"].as_array().map_or(0, Vec::len) as u64;
    assert!((new..=new + of["skipped"]).contains(&planned), "{source}: {plan:#}");
    assert_eq!(plan["decided"]["unchanged"], of["unchanged"], "{source}: {plan:#}");
}

#[test]
fn a_folder_of_version_0_1_is_gone_on_with() {
    reads_and_goes_on(&Site::folder());
}

#[test]
fn a_container_of_version_0_1_is_gone_on_with() {
    let Some(site) = Site::azure() else { return };
    reads_and_goes_on(&site);
}

/// The handler in the site's folder, with the queue `base` of its Azurite.
fn worker(site: &Site, azurite: &Azurite, base: &str) -> Worker {
    let (storage, queue) = (azurite.connection_string(), work_queue(base));
    let worker = Worker::start(
        &site.ferry.path(""),
        &[("AzureWebJobsStorage", &storage), ("INGEST_QUEUE", &queue)],
    );
    worker.ready();
    worker
}

fn page(site: &Site, azurite: &Azurite) {
    let worker = worker(site, azurite, &Azurite::container("page"));
    let ask = |payload: &str| worker.post("IngestStatus", "-", payload, Encoding::Sized).1;
    let (code, _, listed) = res(&ask(&status(None)));
    let runs = listed["runs"].as_array().expect("a list");
    assert_eq!((code, runs.len()), (200, 15), "{listed:#}");
    let mut gone_over = BTreeSet::new();
    for run in runs {
        let (code, _, record) = res(&ask(&status(run["id"].as_str())));
        assert_eq!((code, &record["id"]), (200, &run["id"]), "{record:#}");
        match &record["ended"] {
            // Of what did not end, how it stands depends on how long ago it was.
            Value::Null => assert!(
                ["running", "abandoned"].contains(&record["status"].as_str().expect("a word")),
                "{record:#}"
            ),
            _ => assert!(
                ["ok", "degraded", "failed"].contains(&record["status"].as_str().expect("a word")),
                "{record:#}"
            ),
        }
        gone_over.extend(
            record["sources"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|source| source["source"].as_str().expect("a name").to_owned()),
        );
    }
    assert_eq!(
        gone_over,
        ["acme", "coarse", "later", "locked", "pieces", "types", "young"].map(str::to_owned).into()
    );
    let mut html: Value =
        serde_json::from_str(&http("GET", "/api/ingest/runs?code=k", json!({ "code": "k" }), None))
            .expect("JSON");
    html["Data"]["req"]["Headers"]["Accept"] = json!(["text/html"]);
    let answer = ask(&html.to_string());
    let page = answer["Outputs"]["res"]["body"].as_str().expect("a page");
    for source in expected().keys() {
        assert!(
            page.contains(&format!(">{source}<")),
            "the page does not tell of {source}: {page}"
        );
    }
    assert!(
        !worker.err().iter().any(|line| line.contains("cannot be read")),
        "{:#?}",
        worker.err()
    );
}

#[test]
fn runs_of_version_0_1_are_told_of() {
    let Some(site) = Site::azure() else { return };
    page(&site, &site.azurite.as_ref().expect("it has one").0);
    // A folder, too; the queue is in Azurite either way.
    let azurite = Azurite::shared().expect("it is there");
    page(&Site::folder(), azurite);
}

/// Waits until the run `id` is over. Old records that did not end look abandoned until then.
fn over(pump: &Pump, id: &str) -> Value {
    let begun = Instant::now();
    loop {
        let (_, _, record) = res(&pump.call("IngestStatus", &status(Some(id))).1);
        if !record["ended"].is_null() {
            return record;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "it comes to an end: {record:#}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// `form` is that of the state; the queue is in Azurite in both.
fn messages_are_done(site: &Site, azurite: &Azurite, form: &str) {
    let base = Azurite::container("work");
    let under_way = ["piece-under-way", "piece-waiting", "plan-done", "plan-waiting"]
        .map(|name| message(form, name));
    site.runtime.block_on(async {
        let queue = queue(azurite, &work_queue(&base));
        queue.prepare().await.expect("the queue is made");
        for (text, _) in &under_way {
            queue.send(text, Duration::ZERO).await.expect("it is sent");
        }
    });
    let (storage, work) = (azurite.connection_string(), work_queue(&base));
    let pump = Pump::new(
        &site.ferry.path(""),
        &[("AzureWebJobsStorage", &storage), ("INGEST_QUEUE", &work)],
        1,
    );
    let before = site.reads();
    let records = std::thread::scope(|scope| {
        scope.spawn(|| pump.run(azurite, &base));
        let records = ["piece-waiting", "plan-waiting"]
            .map(|name| over(&pump, message(form, name).1["run"].as_str().expect("an id")));
        pump.stop();
        records
    });
    for (record, files) in records.iter().zip([6, 1]) {
        let source = &record["sources"][0];
        assert_eq!(
            (&record["status"], &source["ingested"], &source["failed"]),
            (&"ok".into(), &files.into(), &0.into()),
            "{record:#}"
        );
    }
    assert_eq!(
        site.reads() - before,
        3 + 1,
        "what the first worker had recorded of the pass is not read again"
    );
    let given_up = pump.given_up.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!((given_up, site.is_open("pieces"), site.is_open("later")), (0, false, false));
    assert_eq!((site.known("pieces"), site.known("later")), (6.into(), 1.into()));
    assert_stored(site, "pieces", 6);
    site.ferry.run(&["audit", "--download", "--source", "pieces", "--source", "later"]).code(0);
}

#[test]
fn messages_that_version_0_1_sent_are_done() {
    let Some(site) = Site::azure() else { return };
    messages_are_done(&site, &site.azurite.as_ref().expect("it has one").0, "azure");
    messages_are_done(&Site::folder(), Azurite::shared().expect("it is there"), "folder");
}

#[test]
fn a_pass_of_version_0_1_that_nobody_works_on_is_closed_by_the_timer() {
    let Some(site) = Site::azure() else { return };
    let (azurite, _) = site.azurite.as_ref().expect("it has one");
    assert!(site.is_open("pieces"));
    // No message waits, and nothing was heard of the pass for a quarter of an hour.
    let base = Azurite::container("tick");
    site.runtime.block_on(queue(azurite, &work_queue(&base)).prepare()).expect("the queue is made");
    let worker = worker(&site, azurite, &base);
    let (code, answer) = worker.post("IngestTimer", "-", &timer(), Encoding::Sized);
    assert_eq!(code, 200, "{answer:#}");
    drop(worker);
    assert!(!site.is_open("pieces"));
    let before = site.reads();
    let report = site.ingest("pieces").code(0).source();
    assert_eq!(
        (&report["ingested"], &report["unchanged"], site.reads() - before),
        (&3.into(), &3.into(), 3),
        "{report:#}"
    );
    assert_stored(&site, "pieces", 6);
    site.ferry.run(&["audit", "--download", "--source", "pieces"]).code(0);
}
