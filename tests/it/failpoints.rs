//! A real process is stopped, hung or failed at each point of the road and of a pass in pieces,
//! against Azurite; then whole ones make everything whole, and nothing is there twice.
//!
//! A few of all cases are part of every test run; `BLOBFERRY_FAILPOINTS=all`
//! (`scripts/failpoints.sh`) plays all.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use blobferry::failpoint::POINTS;
use blobferry::history::record::{RunRecord, Trigger, waiting_line};
use blobferry::history::records::Records;
use blobferry::history::run_id::run_id;
use blobferry::ledger::{OpenPass, under_way};
use blobferry::model::BlobName;
use blobferry::model::redactor::Redactor;
use blobferry::runtime::retry::Policy;
use blobferry::state::store::StateStore;
use blobferry::store::contract::Store;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::e2e::bad_input::old_file;
use super::e2e::{Ferry, azure, look, wait_within};
use super::handler::worker::Worker;
use super::servers::Azurite;
use super::world::zips::zip;

const ACTIONS: [&str; 3] = ["abort", "error", "hang"];
const LIMIT: Duration = Duration::from_secs(60);

/// Points that only a pass in pieces comes to.
const OF_PIECES: &[&str] = &[
    "journals-made",
    "pieces-written",
    "plan-written",
    "pass-opened",
    "pass-decided",
    "piece-sent",
    "piece-leased",
    "piece-brought",
    "result-written",
    "before-close-report",
    "close-report-written",
    "head-cleared",
    "work-removed",
];

/// What a served folder holds, and what is to be stored of it.
struct Stage {
    root: tempfile::TempDir,
    expected: BTreeMap<String, Vec<u8>>,
}

impl Stage {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let mut expected = BTreeMap::new();
        let big: Vec<u8> =
            (0..(9u32 << 20)).map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
        for (name, content) in
            [("one.csv", b"one".to_vec()), ("sub/two.csv", b"two!".to_vec()), ("big.bin", big)]
        {
            old_file(&root.path().join(name), &content);
            expected.insert(format!("acme/{name}"), content);
        }
        old_file(
            &root.path().join("a.zip"),
            &zip(&[("m1.txt", b"member one"), ("d/m2.txt", b"member two")]),
        );
        expected.insert("acme/a.zip!/m1.txt".into(), b"member one".to_vec());
        expected.insert("acme/a.zip!/d/m2.txt".into(), b"member two".to_vec());
        Self { root, expected }
    }

    fn source(&self, more: &str) -> String {
        format!(
            "url = \"file://{}\"\nstable_for = \"0s\"\nattempts = 2\n{more}",
            self.root.path().display()
        )
    }

    /// Every blob of users is whole content of its name; whether all are there.
    fn is_stored(&self, azurite: &Azurite, container: &str, when: &str) -> bool {
        let store = look(azurite, container);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut names = Vec::new();
            match store.list("acme/", &mut |info| names.push(info.name)).await {
                Err(error) if error.kind == blobferry::store::contract::StoreKind::NoContainer => {
                    return false;
                }
                listed => listed.expect("it lists"),
            }
            for name in &names {
                let expected = self
                    .expected
                    .get(name)
                    .unwrap_or_else(|| panic!("{when}: `{name}` should not be there: {names:?}"));
                let (_, bytes) = store
                    .get(&BlobName::new(name.as_str()).unwrap(), 0, 64 << 20)
                    .await
                    .expect("it reads")
                    .expect("it is there");
                assert!(
                    bytes == expected[..],
                    "{when}: `{name}` holds {} bytes that are not its own",
                    bytes.len()
                );
            }
            names.len() == self.expected.len()
        })
    }
}

/// Ledger, blobs, manifests and reports agree.
fn audited(ferry: &Ferry) {
    ferry.run(&["audit", "--json"]).code(0);
}

/// What came of a process that was told to stop somewhere.
struct Stopped {
    child: Child,
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // It may be gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn has_seen(file: &Path, point: &str) -> bool {
    std::fs::read_to_string(file).is_ok_and(|seen| seen.lines().any(|line| line == point))
}

/// A run that ends, or hangs, at `point`.
fn run_until(ferry: &Ferry, point: &str, action: &str) {
    let seen = ferry.path("seen");
    drop(std::fs::remove_file(&seen));
    let mut command = ferry.command(&["run", "--json"]);
    command
        .env("BLOBFERRY_FAILPOINT", format!("{point}={action}"))
        .env("BLOBFERRY_FAILPOINTS_SEEN", &seen);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    let mut stopped = Stopped { child };
    match action {
        "hang" => wait_within(LIMIT, &format!("{point} to be reached"), || has_seen(&seen, point)),
        _ => wait_within(LIMIT, &format!("the end at {point}"), || {
            stopped.child.try_wait().unwrap().is_some()
        }),
    }
    assert!(
        has_seen(&seen, point),
        "the run ended before it came to {point} (or its binary was built without failpoints \
        meanwhile)"
    );
}

/// One case without a queue.
fn inline_case(azurite: &Azurite, point: &str, action: &str) {
    let case = format!("{point}={action}");
    let (stage, container) = (Stage::new(), Azurite::container("failpoint"));
    let deletes = point.contains("after-action");
    let source = stage.source(if deletes { "after = \"delete\"\n" } else { "" });
    let ferry = Ferry::between(&source, &azure(azurite, &container));
    if point.contains("fold") || point.contains("head-swap") {
        // So many journals are left behind that the next run, which adds one, folds them.
        for _ in 0..8 {
            run_until(&ferry, "after-begin", "abort");
        }
    }
    run_until(&ferry, point, action);
    stage.is_stored(azurite, &container, &case);
    let whole = ferry.ingest();
    assert_eq!(whole.code, 0, "{case}: {}\n{}", whole.out, whole.err);
    assert!(
        stage.is_stored(azurite, &container, &case),
        "{case}: something is missing after a whole run"
    );
    let again = ferry.ingest().code(0).source();
    let listed = if deletes { 0 } else { 4 };
    assert_eq!(
        (&again["listed"], &again["unchanged"], &again["blobs"]),
        (&listed.into(), &listed.into(), &0.into()),
        "{case}: {again:#}"
    );
    audited(&ferry);
}

/// The handler of an app that works by a queue.
struct Office<'a> {
    azurite: &'a Azurite,
    container: String,
    ferry: Ferry,
    run: String,
}

impl Office<'_> {
    fn worker(&self, settings: &[(&str, &str)]) -> Worker {
        let storage = self.azurite.connection_string();
        let worker = Worker::start(
            &self.ferry.path(""),
            &[settings, &[("AzureWebJobsStorage", &storage)]].concat(),
        );
        worker.ready();
        worker
    }

    fn open(&self) -> Option<OpenPass> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let store = std::sync::Arc::new(look(self.azurite, &self.container));
        runtime
            .block_on(under_way(store, "acme", Policy::default(), CancellationToken::new()))
            .expect("it can be read")
    }

    /// What the host would post, as long as it makes sense; ends early when the process is gone or
    /// `enough`.
    fn post_all(&self, worker: &Worker, enough: impl Fn() -> bool) {
        let plan = json!({ "run": self.run, "source": "acme", "task": "plan" });
        if post(worker.port, &plan, &enough).is_none() {
            return;
        }
        for _ in 0..4 {
            let Some(open) = self.open() else { return };
            for piece in 0..4 {
                let message = json!({ "run": self.run, "source": "acme", "task": "piece",
                    "pass": open.id, "piece": format!("{piece:05}") });
                if self.open().is_none() || post(worker.port, &message, &enough).is_none() {
                    return;
                }
            }
        }
    }
}

/// Posts a message to `IngestQueue`. `None` if there is no answer.
fn post(port: u16, message: &Value, enough: &impl Fn() -> bool) -> Option<u16> {
    let payload = json!({ "Data": { "work": message },
        "Metadata": { "DequeueCount": "1", "sys": { "MethodName": "IngestQueue" } } })
    .to_string();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let head = format!(
        "POST /IngestQueue HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: \
        application/json\r\nContent-Length: {}\r\n\r\n",
        payload.len()
    );
    stream.write_all((head + &payload).as_bytes()).ok()?;
    let (mut answer, mut buffer, begun) = (Vec::new(), [0; 4096], Instant::now());
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => answer.extend_from_slice(&buffer[..read]),
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) =>
            {
                assert!(begun.elapsed() < LIMIT, "no answer");
                if enough() {
                    return None;
                }
            }
            Err(_) => return None,
        }
    }
    String::from_utf8_lossy(&answer).split(' ').nth(1)?.parse().ok()
}

/// One case with a queue.
fn queue_case(azurite: &Azurite, point: &str, action: &str) {
    let case = format!("{point}={action}");
    let (stage, container) = (Stage::new(), Azurite::container("failpoint"));
    let queue = container.replace("failpoint", "work");
    let destination = format!(
        "{}\n[dispatch]\nmode = \"queue\"\nqueue = \"{queue}\"\npiece_files = 2\n",
        azure(azurite, &container)
    );
    let ferry = Ferry::between(&stage.source("connections = 1\n"), &destination);
    let office = Office { azurite, container, ferry, run: run_id(time::OffsetDateTime::now_utc()) };
    prepare(&office, &queue);
    let seen = office.ferry.path("seen");
    let worker = office.worker(&[
        ("BLOBFERRY_FAILPOINT", &case),
        ("BLOBFERRY_FAILPOINTS_SEEN", &seen.display().to_string()),
    ]);
    office.post_all(&worker, || action == "hang" && has_seen(&seen, point));
    assert!(has_seen(&seen, point), "{case}: the handler never came to {point}");
    drop(worker);
    stage.is_stored(azurite, &office.container, &case);
    let worker = office.worker(&[]);
    office.post_all(&worker, || false);
    assert_eq!(office.open(), None, "{case}: the pass is not closed\n{:#?}", worker.err());
    drop(worker);
    assert!(
        stage.is_stored(azurite, &office.container, &case),
        "{case}: something is missing after whole workers"
    );
    let source = office.ferry.ingest().code(0).source();
    assert_eq!(
        (&source["listed"], &source["unchanged"], &source["blobs"]),
        (&4.into(), &4.into(), &0.into()),
        "{case}: {source:#}"
    );
    audited(&office.ferry);
}

/// Container and queue, as the timer makes them.
fn prepare(office: &Office<'_>, queue: &str) {
    use blobferry::store::azure::{
        AzureQueue, AzureSettings, AzureStore, ContainerCreation, QueueSettings,
        parse_connection_string,
    };
    use blobferry::store::queue::Queue;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let secret = blobferry::model::Secret::new(office.azurite.connection_string());
    let connection = parse_connection_string(&secret).expect("a connection string");
    runtime.block_on(async {
        let settings = AzureSettings::new(
            connection.blob,
            office.container.clone(),
            connection.credential.clone(),
        );
        let store =
            AzureStore::new(AzureSettings { creation: ContainerCreation::Allowed, ..settings })
                .expect("a store");
        store.prepare().await.expect("the container is made");
        // The handler writes the record of a run before it sends the first message of it.
        let mut record = RunRecord::new(Trigger::Http, "-", time::OffsetDateTime::now_utc());
        record.id.clone_from(&office.run);
        record.queued = vec!["acme".to_owned()];
        record.sources = vec![waiting_line("acme")];
        let state = StateStore::new(Arc::new(store), Redactor::default(), Policy::default());
        Records::new(state).put(&record).await.expect("it is written");
        let service = connection.queue.expect("an address");
        let settings = QueueSettings {
            service,
            name: queue.to_owned(),
            credential: connection.credential,
            api_version: None,
            trust: Default::default(),
        };
        let queue = AzureQueue::new(&settings).expect("a queue");
        queue.prepare().await.expect("the queue is made");
    });
}

/// All cases, or every so many of them.
fn play(every: usize) {
    let Some(azurite) = Azurite::shared() else { return };
    let cases: Vec<(&str, &str)> =
        POINTS.iter().flat_map(|point| ACTIONS.map(|action| (*point, action))).collect();
    let (begun, mut played) = (Instant::now(), 0);
    for (point, action) in cases.into_iter().step_by(every) {
        if OF_PIECES.contains(&point) {
            queue_case(azurite, point, action)
        } else {
            inline_case(azurite, point, action)
        }
        played += 1;
        println!("{point}={action}: whole again ({} s)", begun.elapsed().as_secs());
    }
    println!("{played} cases over {} points", POINTS.len());
}

#[test]
fn a_process_that_stops_at_a_point_leaves_what_the_next_one_makes_whole() {
    assert!(POINTS.len() >= 20, "{POINTS:?}");
    assert!(OF_PIECES.iter().all(|point| POINTS.contains(point)));
    // Seven and three share no divisor: each action comes as often as the others.
    play(if std::env::var("BLOBFERRY_FAILPOINTS").is_ok_and(|which| which == "all") {
        1
    } else {
        7
    });
}
