//! The binary under a host: it listens at once, keeps its deadline, writes lines as the host reads
//! them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use blobferry::demo::sftp::DemoSftpAccount;
use blobferry::demo::sftp::script::{DemoSftpFault, DemoSftpScript};
use blobferry::demo::sftp::{DemoSftpOptions, SftpServer};
use blobferry::model::{BlobName, Secret};
use blobferry::store::contract::{Leased, Store};
use blobferry::store::folder::FolderStore;
use blobferry::store::holder::Holder;
use serde_json::json;
use tempfile::TempDir;

use super::worker::{Encoding, Worker, command, post, until};
use super::{CANARY, http, ingest, res, status, timer};

/// An app folder with an SFTP source `acme` of these files and a folder as its store.
pub struct App {
    /// The folder.
    pub folder: TempDir,
    /// The server, which suffers by a script.
    pub server: SftpServer,
    asked: Arc<AtomicBool>,
}

impl App {
    /// With a server that holds `files`.
    pub async fn new(files: &[&str], script: DemoSftpScript) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("files");
        std::fs::create_dir(&root).expect("made");
        for name in files {
            std::fs::write(root.join(name), format!("the content of {name}")).expect("written");
        }
        let asked = Arc::new(AtomicBool::new(false));
        let told = asked.clone();
        let script = script.always(
            "slow.txt",
            DemoSftpFault::OnRead(0, Arc::new(move |_| told.store(true, Ordering::Relaxed))),
        );
        let account = Some(DemoSftpAccount { user: "user".into(), password: Secret::new(CANARY) });
        let server =
            SftpServer::start(DemoSftpOptions { account, script, ..DemoSftpOptions::new(&root) })
                .await
                .expect("a server");
        let source = format!(
            "name = \"acme\"\nurl = \"sftp://user@127.0.0.1:{}/\"\npassword = \
            \"{CANARY}\"\nhost_key = \"{}\"\nstable_for = \"0s\"\nattempts = 2\n",
            server.address.port(),
            server.host_key
        );
        configure(
            folder.path(),
            &format!("[destination]\nfolder = \"stored\"\n[[source]]\n{source}"),
        );
        Self { folder, server, asked }
    }

    /// Starts a handler, and waits until it listens.
    pub fn worker(&self, settings: &[(&str, &str)]) -> Worker {
        let worker = Worker::start(self.folder.path(), settings);
        worker.ready();
        worker
    }

    /// Starts a run that hangs on the server, in a thread of its own.
    pub fn hang(&self, worker: &Worker) -> std::thread::JoinHandle<(u16, serde_json::Value)> {
        let port = worker.port;
        let run = std::thread::spawn(move || {
            post(port, "IngestTimer", "11-11", &timer(), Encoding::Chunked)
        });
        self.hangs();
        run
    }

    /// Waits until the slow file is asked for.
    pub fn hangs(&self) {
        until("the slow file is asked for", || self.asked.load(Ordering::Relaxed).then_some(()));
    }

    /// The content of a stored blob.
    pub fn stored(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.folder.path().join("stored").join(name)).ok()
    }
}

fn configure(app: &Path, text: &str) {
    std::fs::write(app.join("ingest.toml"), text).expect("written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ping_is_answered_at_once_whatever_the_store_does() {
    let folder = tempfile::tempdir().expect("a folder");
    // A store that swallows connections, and a source beside it.
    let hole = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let store = format!(
        "connection_string = \
        \"DefaultEndpointsProtocol=http;AccountName=a;AccountKey=a2V5;BlobEndpoint=http://{}/a;\"",
        hole.local_addr().expect("an address")
    );
    configure(
        folder.path(),
        &format!(
            "[destination]\n{store}\ncontainer = \"landing\"\n[[source]]\nname = \"acme\"\nurl = \
            \"file:///nowhere\"\n"
        ),
    );
    let worker = Worker::start(folder.path(), &[]);
    worker.ready();
    let port = worker.port;
    std::thread::spawn(move || post(port, "IngestTimer", "1-1", &timer(), Encoding::Sized));
    until("a run begins", || {
        worker.out().iter().any(|line| line.contains("A run begins.")).then_some(())
    });
    // The fastest of many: the machine may be busy with other things.
    let fastest = (0..20).map(|_| worker.ready()).min().expect("some");
    assert!(fastest < Duration::from_millis(50), "{fastest:?}");
}

/// With an identity and a Key Vault that nobody answers for.
#[test]
fn the_first_ping_waits_for_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let hole = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let endpoint = format!("http://{}/msi/token", hole.local_addr().expect("an address"));
    let destination = "[destination]\naccount = \"nosuchaccount\"\ncontainer = \"landing\"\n";
    let source = "[[source]]\nname = \"acme\"\nurl = \"ftp://acme@127.0.0.1:9/\"\npassword = \
        { env = \"ACME_PASSWORD\" }\n";
    configure(folder.path(), &format!("{destination}{source}"));
    let vault = "@Microsoft.KeyVault(SecretUri=https://vault.invalid/secrets/acme)";
    for password in ["resolved", vault] {
        let begun = Instant::now();
        let worker = Worker::start(
            folder.path(),
            &[
                ("IDENTITY_ENDPOINT", &endpoint),
                ("IDENTITY_HEADER", "h"),
                ("ACME_PASSWORD", password),
            ],
        );
        let ping = worker.ready();
        let all = begun.elapsed();
        println!("first ping: {ping:?} after the port was open, {all:?} after the process began");
        // The host gives thirty seconds; a machine that is busy with other tests takes its share of
        // them.
        assert!(ping < Duration::from_secs(2) && all < Duration::from_secs(10), "{ping:?} {all:?}");
    }
}

/// A source that a run elsewhere (a laptop, another instance) has is left to it, and the answer
/// says to which.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_a_run_elsewhere_has_is_told_with_that_run() {
    let app = App::new(&["a.txt"], DemoSftpScript::default()).await;
    let store = FolderStore::new(&app.folder.path().join("stored")).expect("a folder");
    store.prepare().await.expect("it is prepared");
    let holder = Holder { host: "laptop".into(), ..Holder::new("20260101T000000Z-00000000") };
    let name = BlobName::new("_blobferry/acme/lock").expect("a name");
    let leased = store.lease(&name, &holder).await.expect("it answers");
    assert!(matches!(leased, Leased::Held(_)), "{leased:?}");
    let worker = app.worker(&[]);
    let (_, answer) = worker.post("IngestHttp", "1-1", &ingest(&[]), Encoding::Sized);
    let (code, _, run) = res(&answer);
    assert_eq!(
        (code, &run["status"], &run["sources"][0]["status"]),
        (200, &json!("ok"), &json!("left")),
        "{run:#}"
    );
    assert_eq!(
        (&run["sources"][0]["left_to"]["run"], &run["sources"][0]["left_to"]["host"]),
        (&json!(holder.run), &json!("laptop"))
    );
    assert!(app.server.logins() <= 1, "it was looked at, and left");
    let (code, answer) = worker.post("IngestTimer", "1-2", &timer(), Encoding::Chunked);
    let summary = answer["Logs"][0].as_str().unwrap_or_default();
    assert!(
        code == 200 && summary.contains("acme is left to run 20260101T000000Z-00000000 on laptop"),
        "{answer}"
    );
    // Its record says so to those who ask later.
    let id = run["id"].as_str().expect("an id");
    let (_, answer) = worker.post("IngestStatus", "1-3", &status(Some(id)), Encoding::Sized);
    assert_eq!(res(&answer).2["sources"][0]["left_to"]["run"], json!(holder.run));
    drop(leased);
    let (_, answer) = worker.post("IngestHttp", "1-4", &ingest(&[]), Encoding::Sized);
    assert_eq!(res(&answer).2["sources"][0]["ingested"], 1, "{answer}");
}

#[test]
fn a_bad_configuration_keeps_listening_and_is_told_at_each_tick() {
    let folder = tempfile::tempdir().expect("a folder");
    configure(
        folder.path(),
        &format!(
            "[destination]\nfolder = \"stored\"\n[[source]]\nname = \"acme\"\nurl = \
            \"file:///x\"\npasword = \"{CANARY}\"\n"
        ),
    );
    let mut worker = Worker::start(folder.path(), &[]);
    worker.ready();
    for encoding in [Encoding::Chunked, Encoding::Sized] {
        let (code, answer) = worker.post("IngestTimer", "1-1", &timer(), encoding);
        assert!(
            code == 500
                && answer["Logs"][0].as_str().is_some_and(|reason| reason.contains("pasword")),
            "{code} {answer}"
        );
    }
    let (code, answer) = worker.post("IngestHttp", "1-2", &ingest(&[]), Encoding::Sized);
    let (status, _, body) = res(&answer);
    assert!(
        code == 200
            && status == 500
            && body["error"].as_str().is_some_and(|reason| reason.contains("pasword")),
        "{answer}"
    );
    worker.ready();
    worker.signal("TERM");
    assert_eq!(worker.ended().code(), Some(143));
    let told = worker.err().iter().filter(|line| line.contains("pasword")).count();
    // At the start, and at each tick of the timer: whoever looks at the last hour sees it.
    assert_eq!(told, 3, "{:?}", worker.err());
}

#[test]
fn a_port_that_is_none_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    for port in [None, Some("http")] {
        let mut command = command(folder.path());
        let output = command
            .arg("serve")
            .envs(port.map(|port| ("FUNCTIONS_CUSTOMHANDLER_PORT", port)))
            .output()
            .expect("it runs");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.code() == Some(2) && text.contains("FUNCTIONS_CUSTOMHANDLER_PORT"),
            "{output:?}"
        );
        assert_eq!(text.lines().count(), 1, "{text}");
    }
    let output = command(folder.path()).output().expect("it runs");
    assert_eq!(
        output.status.code(),
        Some(2),
        "without a port and a command there is nothing to do"
    );
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let output =
        command(folder.path()).env("FUNCTIONS_CUSTOMHANDLER_PORT", port).output().expect("it runs");
    assert_eq!(output.status.code(), Some(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_go_where_the_host_reads_them_as_what_they_are() {
    const DENIED: u32 = 3;
    let app = App::new(
        &["a.txt", "warnings.txt"],
        DemoSftpScript::default().always("warnings.txt", DemoSftpFault::OpenStatus(DENIED)),
    )
    .await;
    for settings in [
        &[][..],
        &[
            ("WEBSITE_SITE_NAME", "func-x"),
            ("WEBSITE_POD_NAME", "pod-1"),
            ("BLOBFERRY__DISPATCH__MODE", "inline"),
        ],
    ] {
        let mut worker = app.worker(settings);
        let (code, answer) = worker.post("IngestTimer", "44-55", &timer(), Encoding::Chunked);
        assert!(
            code == 200
                && answer["Logs"][0]
                    .as_str()
                    .is_some_and(|text| text.contains("degraded") && text.contains("failed 1")),
            "{answer}"
        );
        assert_eq!(worker.post("IngestTimer", "44-66", "{", Encoding::Chunked).0, 400);
        worker.signal("TERM");
        assert_eq!(worker.ended().code(), Some(143));
        let (out, err) = (worker.out(), worker.err());
        assert!(out.iter().all(|line| line.contains("INFO")), "{out:#?}");
        let errors: Vec<&String> = err.iter().filter(|line| line.contains("ERROR")).collect();
        assert!(
            !errors.is_empty()
                && errors.iter().all(|line| !line.to_ascii_lowercase().contains("warn")),
            "{err:#?}"
        );
        assert!(
            errors.iter().any(|line| line.contains("arnings.txt")
                && line.contains("run_id")
                && line.contains("44-55")),
            "{err:#?}"
        );
        let others = err.iter().filter(|line| !line.contains("ERROR"));
        assert!(others.clone().all(|line| line.to_ascii_lowercase().contains("warn")), "{err:#?}");
        assert!(others.clone().any(|line| line.contains("44-66")), "{err:#?}");
        if !settings.is_empty() {
            assert!(
                out.iter()
                    .chain(&err)
                    .all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()),
                "{out:#?} {err:#?}"
            );
        }
    }
    assert_eq!(app.stored("acme/a.txt").as_deref(), Some("the content of a.txt"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_under_way_is_joined_and_then_ends_well() {
    let app = App::new(
        &["a.txt", "slow.txt"],
        DemoSftpScript::default().once("slow.txt", DemoSftpFault::StallAt(0)),
    )
    .await;
    let worker = app.worker(&[]);
    let run = app.hang(&worker);
    let (code, answer) = worker.post("IngestHttp", "22-22", &ingest(&["acme"]), Encoding::Chunked);
    let (status_code, headers, body) = res(&answer);
    assert_eq!((code, status_code, &body["joined"]), (200, 202, &json!(true)), "{answer}");
    let id = body["id"].as_str().expect("an id").to_owned();
    assert_eq!(headers["Location"], format!("/api/ingest/runs/{id}"));
    let (_, answer) = worker.post("IngestStatus", "33-33", &status(Some(&id)), Encoding::Chunked);
    assert_eq!(res(&answer).2["status"], "running");
    app.server.disconnect_all();
    let (code, answer) = run.join().expect("an answer");
    assert!(
        code == 200 && answer["Logs"][0].as_str().is_some_and(|text| text.contains("ingested 2")),
        "{answer}"
    );
    let (_, answer) = worker.post("IngestStatus", "33-34", &status(None), Encoding::Sized);
    let list = res(&answer).2;
    assert_eq!(
        (list["runs"].as_array().map(Vec::len), &list["runs"][0]["id"], &list["runs"][0]["status"]),
        (Some(1), &json!(id), &json!("ok"))
    );
    assert_eq!(
        res(&worker
            .post(
                "IngestStatus",
                "33-35",
                &http("GET", "/api/ingest/runs", json!({ "limit": "0" }), None),
                Encoding::Sized
            )
            .1)
        .0,
        400
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_hangs_up_and_asks_again_joins_its_run() {
    use std::io::Write as _;
    let app = App::new(
        &["a.txt", "slow.txt"],
        DemoSftpScript::default().once("slow.txt", DemoSftpFault::StallAt(0)),
    )
    .await;
    let worker = app.worker(&[]);
    let payload = ingest(&["acme"]);
    let mut lost = std::net::TcpStream::connect(("127.0.0.1", worker.port)).expect("it listens");
    let head = format!(
        "POST /IngestHttp HTTP/1.1\r\nHost: host\r\nX-Azure-Functions-InvocationId: \
        44-44\r\nContent-Length: {}\r\n\r\n",
        payload.len()
    );
    lost.write_all(format!("{head}{payload}").as_bytes()).expect("sent");
    app.hangs();
    // The answer of this one never arrives; the host asks again, with the same invocation.
    drop(lost);
    let (code, answer) = worker.post("IngestHttp", "44-44", &payload, Encoding::Chunked);
    let (status_code, _, body) = res(&answer);
    assert_eq!((code, status_code, &body["joined"]), (200, 202, &json!(true)), "{answer}");
    app.server.disconnect_all();
    let over = |list: &serde_json::Value| list["runs"][0]["status"] == "ok";
    let list = until("the run is over", || {
        let list = res(&worker.post("IngestStatus", "44-45", &status(None), Encoding::Sized).1).2;
        over(&list).then_some(list)
    });
    assert_eq!(
        list["runs"].as_array().map(Vec::len),
        Some(1),
        "one run, whoever heard of it: {list}"
    );
    assert_eq!(app.stored("acme/slow.txt").as_deref(), Some("the content of slow.txt"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_server_ends_the_run_before_the_host_would() {
    let app = App::new(
        &["a.txt", "slow.txt"],
        DemoSftpScript::default().always("slow.txt", DemoSftpFault::StallAt(0)),
    )
    .await;
    let worker = app.worker(&[("AzureFunctionsJobHost__functionTimeout", "00:00:05")]);
    let begun = Instant::now();
    let (code, answer) = worker.post("IngestTimer", "1-1", &timer(), Encoding::Chunked);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(
        code == 200
            && answer["Logs"][0]
                .as_str()
                .is_some_and(|text| text.contains("interrupted: ingested 1")),
        "{answer}"
    );
    let (_, answer) = worker.post("IngestStatus", "1-2", &status(None), Encoding::Sized);
    let list = res(&answer).2;
    assert_eq!(
        (&list["runs"][0]["status"], &list["runs"][0]["sources"][0]["ingested"]),
        (&json!("interrupted"), &json!(1)),
        "{list}"
    );
    app.server.follow(DemoSftpScript::default());
    let (code, answer) = worker.post("IngestTimer", "1-3", &timer(), Encoding::Chunked);
    assert!(
        code == 200
            && answer["Logs"][0]
                .as_str()
                .is_some_and(|text| text.contains("ok: ingested 1, unchanged 1")),
        "{answer}"
    );
}

/// What an instance of Flex Consumption has in its environment, as the host's own source has it.
const FLEX: [(&str, &str); 6] = [
    ("WEBSITE_SITE_NAME", "func-x"),
    ("WEBSITE_SKU", "FlexConsumption"),
    ("WEBSITE_INSTANCE_ID", ""),
    ("CONTAINER_NAME", "c-1"),
    ("WEBSITE_POD_NAME", "pod-1"),
    ("LEGION_SERVICE_HOST", "10.0.0.1"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_flex_consumption_work_goes_by_the_queue_though_there_is_no_instance_id() {
    let app = App::new(&["a.txt"], DemoSftpScript::default()).await;
    let worker = app.worker(&FLEX);
    let (code, answer) = worker.post("IngestTimer", "44-77", &timer(), Encoding::Chunked);
    let told = answer.to_string();
    assert!(
        code == 500
            && told.contains(
                "work goes by the queue `blobferry-work`, and no app setting tells where it is"
            ),
        "{code} {told}"
    );
    assert_eq!(app.stored("acme/a.txt"), None, "nothing was done inline");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_line_of_the_log_and_the_list_of_runs_say_where_it_runs_and_why() {
    let app = App::new(&["a.txt"], DemoSftpScript::default()).await;
    let tools = [("FUNCTIONS_CORETOOLS_ENVIRONMENT", "true"), ("WEBSITE_SITE_NAME", "func-x")];
    let inline = [&FLEX[..], &[("BLOBFERRY__DISPATCH__MODE", "inline")]].concat();
    let flex = "Flex Consumption, because WEBSITE_SKU says so; dispatch inline";
    let cases = [
        (&[][..], "this machine, because WEBSITE_SITE_NAME is not set; dispatch inline"),
        (&inline, flex),
    ];
    let of_tools =
        (&tools[..], "Core Tools, because FUNCTIONS_CORETOOLS_ENVIRONMENT is set; dispatch inline");
    for (settings, words) in cases.into_iter().chain([of_tools]) {
        let worker = app.worker(settings);
        let (code, answer) = worker.post("IngestStatus", "44-88", &status(None), Encoding::Sized);
        assert_eq!((code, res(&answer).2["place"].as_str()), (200, Some(words)));
        until("the first line is written", || {
            worker.out().first().map(|line| assert!(line.contains(words), "{line}"))
        });
    }
}
