//! The status page in a real browser, over a handler behind a stand-in for the Functions host.
//!
//! Chromium and Playwright are no part of the usual tools: `scripts/browser-test.sh` installs them
//! and runs this with `REQUIRE_BROWSER=1`, under which a browser that is missing is a failure.
//! Without it the test says aloud that it was left out.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use blobferry::demo::sftp::DemoSftpAccount;
use blobferry::demo::sftp::script::{DemoSftpFault, DemoSftpScript};
use blobferry::demo::sftp::{DemoSftpOptions, SftpServer};
use blobferry::model::Secret;
use serde_json::{Map, Value, json};

use crate::handler::CANARY;
use crate::handler::worker::{Encoding, Worker, post, until};
use crate::servers::tools;

const READ_KEY: &str = "key/that+reads";
const START_KEY: &str = "key-that-starts=";
const HOSTILE: &str = "<img src=x onerror=alert(1)>.txt";

/// Programs of the browser: node, where its packages are, Chromium.
struct Programs {
    node: PathBuf,
    packages: PathBuf,
    chromium: PathBuf,
}

/// `None` where the browser is missing; a failure, if it is required.
fn programs() -> Option<Programs> {
    let packages = tools().join("browser");
    let found =
        Programs { node: tools().join("node/node"), chromium: packages.join("chromium"), packages };
    let needed = [
        found.node.clone(),
        found.packages.join("node_modules/playwright-core/package.json"),
        found.chromium.clone(),
    ];
    let missing = needed.into_iter().find(|path| !path.exists());
    let Some(missing) = missing else { return Some(found) };
    let required =
        std::env::var("REQUIRE_BROWSER").is_ok_and(|value| !value.is_empty() && value != "0");
    assert!(
        !required,
        "a browser is required, but {} is missing: run scripts/install-test-tools.sh --browser",
        missing.display()
    );
    // Not `SKIPPED`: the gate, which allows no such line, leaves the browser to a job of its own.
    let told = format!(
        "\nNOT RUN browser: {} is missing; scripts/browser-test.sh installs it and runs this\n",
        missing.display()
    );
    std::io::stderr().write_all(told.as_bytes()).expect("stderr is open");
    None
}

/// Says to the server's thread when a file may be read.
#[derive(Clone, Default)]
struct Latch {
    asked: Arc<AtomicBool>,
    open: Arc<AtomicBool>,
}

impl Latch {
    fn hold(&self) {
        self.asked.store(true, Ordering::SeqCst);
        while !self.open.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The host: looks at keys, and hands on calls to the worker at this port as it would.
#[derive(Clone)]
struct Host(u16);

async fn any(State(Host(port)): State<Host>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let query: Map<String, Value> =
        url::form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes())
            .map(|(n, v)| (n.into_owned(), Value::from(&*v)))
            .collect();
    let key = head
        .headers
        .get("x-functions-key")
        .and_then(|key| key.to_str().ok())
        .or_else(|| query.get("code").and_then(Value::as_str));
    let rest = head.uri.path().strip_prefix("/api/ingest").unwrap_or("none");
    let (function, page, right, methods) = match rest.split_once('/') {
        None if rest.is_empty() => ("IngestHttp", None, START_KEY, ["GET", "POST"].as_slice()),
        Some(("", page)) => ("IngestStatus", Some(page), READ_KEY, ["GET"].as_slice()),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    if !methods.contains(&head.method.as_str()) {
        return StatusCode::NOT_FOUND.into_response();
    }
    if key != Some(right) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let headers: Map<String, Value> = head
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), json!([value.to_str().unwrap_or_default()])))
        .collect();
    let params = page.map_or(json!({}), |page| {
        let (kind, page) = page.split_once('/').unwrap_or((page, ""));
        json!({ "kind": kind, "page": page })
    });
    let mut asked = json!({ "Url": format!("http://localhost{}", head.uri),
        "Method": head.method.as_str(), "Query": query, "Headers": headers, "Params": params });
    let body: Bytes = to_bytes(body, 1 << 20).await.expect("a small body");
    if !body.is_empty() {
        asked["Body"] = Value::from(String::from_utf8_lossy(&body));
    }
    let payload = json!({ "Data": { "req": asked }, "Metadata": {} }).to_string();
    let answer = tokio::task::spawn_blocking(move || {
        post(port, function, "11-11", &payload, Encoding::Sized)
    })
    .await
    .expect("no panic")
    .1;
    let res = &answer["Outputs"]["res"];
    let status = res["statusCode"]
        .as_str()
        .and_then(|status| status.parse().ok())
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = Response::builder().status(status);
    for (name, value) in res["headers"].as_object().expect("headers") {
        response = response.header(name, value.as_str().expect("text"));
    }
    response.body(res["body"].as_str().expect("a body").to_owned().into()).expect("a response")
}

/// An app with a server whose largest file waits for `latch`, one file that is denied, and a
/// folder.
async fn app(folder: &Path, latch: &Latch) -> SftpServer {
    let (files, share) = (folder.join("files"), folder.join("share"));
    for (root, names) in
        [(&files, ["a.csv", "b.csv", HOSTILE].as_slice()), (&share, &["one.txt", "größe ☃.txt"])]
    {
        std::fs::create_dir(root).expect("made");
        names.iter().for_each(|name| {
            std::fs::write(root.join(name), format!("the content of {name}").repeat(500))
                .expect("written")
        });
    }
    std::fs::write(files.join("big.bin"), vec![7; 3 << 20]).expect("written");
    let held = latch.clone();
    let script = DemoSftpScript::default()
        .always(HOSTILE, DemoSftpFault::OpenStatus(3))
        .always("big.bin", DemoSftpFault::OnRead(1 << 20, Arc::new(move |_| held.hold())));
    let account = Some(DemoSftpAccount { user: "user".into(), password: Secret::new(CANARY) });
    let server =
        SftpServer::start(DemoSftpOptions { account, script, ..DemoSftpOptions::new(&files) })
            .await
            .expect("a server");
    let text = format!(
        "[destination]\nfolder = \"stored\"\n[[source]]\nname = \"acme\"\nurl = \
         \"sftp://user@127.0.0.1:{}/\"\npassword = \"{CANARY}\"\nhost_key = \"{}\"\nstable_for = \
         \"0s\"\nattempts = 2\nstall_timeout = \"600s\"\n[[source]]\nname = \"share\"\nurl = \
         \"file://{}\"\nstable_for = \"0s\"\n",
        server.address.port(),
        server.host_key,
        share.display()
    );
    std::fs::write(folder.join("ingest.toml"), text).expect("written");
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn a_person_finds_starts_and_follows_runs_with_and_without_javascript() {
    let Some(programs) = programs() else { return };
    let (folder, latch) = (tempfile::tempdir().expect("a folder"), Latch::default());
    let _server = app(folder.path(), &latch).await;
    let worker = Worker::start(folder.path(), &[("INGEST_SCHEDULE", "0 0 * * * *")]);
    worker.ready();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let origin = format!("http://{}", listener.local_addr().expect("an address"));
    let host = Router::new().fallback(any).with_state(Host(worker.port));
    tokio::spawn(async move { axum::serve(listener, host).await });
    let pictures = std::env::var_os("BROWSER_PICTURES")
        .map_or_else(|| folder.path().join("pictures"), PathBuf::from);
    std::fs::create_dir_all(&pictures).expect("made");
    let encoded =
        |key: &str| url::form_urlencoded::byte_serialize(key.as_bytes()).collect::<String>();
    let settings = json!({
        "origin": origin, "readKey": encoded(READ_KEY), "startKey": START_KEY, "pictures": pictures,
        "chromium": programs.chromium, "tools": programs.packages,
    });
    let played = tokio::task::spawn_blocking(move || play(&programs, &settings, &latch))
        .await
        .expect("no panic");
    assert!(played.is_ok(), "{}", played.unwrap_err());
    let told = worker.out().join("\n") + &worker.err().join("\n");
    assert!(
        !told.contains("panic") && !told.contains(START_KEY) && !told.contains(READ_KEY),
        "{told}"
    );
}

/// Runs the script, doing what it asks for.
fn play(programs: &Programs, settings: &Value, latch: &Latch) -> Result<(), String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/status-page.mjs");
    let mut command = Command::new("timeout");
    command.arg("300").arg(&programs.node).arg(script).arg(settings.to_string());
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("coreutils' `timeout` is there");
    let mut answers = child.stdin.take().expect("piped");
    let mut told = String::new();
    for line in BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok) {
        match line.strip_prefix("ASK ") {
            Some("hangs") => until("the big file is asked for", || {
                latch.asked.load(Ordering::SeqCst).then_some(())
            }),
            Some("release") => latch.open.store(true, Ordering::SeqCst),
            Some(other) => panic!("nobody knows what `{other}` is"),
            None => {
                told += &(line + "\n");
                continue;
            }
        }
        answers.write_all(b"done\n").expect("it listens");
    }
    // Whatever happened, the server's threads must not wait for ever.
    latch.open.store(true, Ordering::SeqCst);
    let status = child.wait().expect("it can be waited for");
    std::fs::write(
        Path::new(settings["pictures"].as_str().expect("a folder")).join("steps.txt"),
        &told,
    )
    .expect("written");
    // A script that did nothing has not shown anything.
    if status.success() && told.matches("ok   ").count() >= 11 {
        Ok(())
    } else {
        Err(format!("{status}\n{told}"))
    }
}
