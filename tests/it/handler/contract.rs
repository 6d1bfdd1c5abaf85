//! The contract as the Functions host has it: each test plays one line of it, and names where the
//! host says so (in the source of azure-functions-host 4.1037), or that it was seen when that host
//! ran with this program.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use blobferry::demo::sftp::script::DemoSftpScript;
use serde_json::{Value, json};

use super::super::servers::{Azurite, Persistence};
use super::process::App;
use super::worker::{Encoding, Worker, command, until};
use super::{http, res, status, timer};

/// `WorkerProcess.Dispose`: the host gives its
/// handler no signal. It kills it, or is killed itself and leaves it behind; under the real host
/// with a run in hand the handler lived on.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_handler_ends_with_its_host_however_that_ends() {
    let app = App::new(&[], DemoSftpScript::default()).await;
    for signal in ["TERM", "KILL", "INT"] {
        // A shell that starts the handler as its child, and tells its number.
        let handler = command(app.folder.path());
        let port = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = port.local_addr().expect("an address").port();
        let script = format!("'{}' serve & echo $!; wait", handler.get_program().display());
        let mut host = Command::new("sh")
            .args(["-c", &script])
            .current_dir(app.folder.path())
            .env("FUNCTIONS_APP_ROOT_PATH", app.folder.path())
            .env("FUNCTIONS_CUSTOMHANDLER_PORT", port.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let mut line = String::new();
        let out = host.stdout.take().expect("piped");
        BufReader::new(out).read_line(&mut line).expect("its number");
        let stat = format!("/proc/{}/stat", line.trim());
        until("the handler listens", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        let status = Command::new("kill").args(["-s", signal, &host.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()));
        host.wait().expect("it ended");
        let begun = Instant::now();
        until("the handler has ended", || {
            let stat = std::fs::read_to_string(&stat).unwrap_or_default();
            (stat.is_empty() || stat.contains(") Z ")).then_some(())
        });
        assert!(begun.elapsed() < Duration::from_secs(12), "{signal}: {:?}", begun.elapsed());
    }
}

/// `HttpRequestExtensions.cs`, `GetRequestAsJObject`: `Body` is left out where the caller sent
/// chunks, since `ContentLength` is null (azure-functions-host #7930).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_in_chunks_is_none_at_all_and_starts_nothing() {
    let app = App::new(&["a.txt"], DemoSftpScript::default()).await;
    let worker = app.worker(&[]);
    let mut payload: Value =
        serde_json::from_str(&http("POST", "/api/ingest", json!({}), None)).expect("JSON");
    payload["Data"]["req"]["Headers"]["Transfer-Encoding"] = json!(["chunked"]);
    let (code, answer) = worker.post("IngestHttp", "1-1", &payload.to_string(), Encoding::Chunked);
    assert_eq!((code, res(&answer).0), (200, 411));
    assert_eq!(app.stored("acme/a.txt"), None);
}

/// `GetHttpScriptInvocationContextValue`: a body of `application/octet-stream` comes in base64.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_of_bytes_is_read_as_the_json_that_it_is() {
    let app = App::new(&["a.txt"], DemoSftpScript::default()).await;
    let worker = app.worker(&[]);
    // {"plan":true}
    let body = Some("eyJwbGFuIjp0cnVlfQ==");
    let mut payload: Value =
        serde_json::from_str(&http("POST", "/api/ingest", json!({}), body)).expect("JSON");
    payload["Data"]["req"]["Headers"]["Content-Type"] = json!(["application/octet-stream"]);
    let (_, answer) = worker.post("IngestHttp", "1-1", &payload.to_string(), Encoding::Chunked);
    let (code, _, plan) = res(&answer);
    assert!(code == 200 && plan.to_string().contains("a.txt"), "{code} {plan}");
    assert_eq!(app.stored("acme/a.txt"), None, "a plan brings nothing");
}

/// `GetRequestAsJObject`, seen: an optional parameter of the route that is not there is
/// `"Params":{"id":null}`; repeated headers are lists; values of one query key are joined.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_is_null_and_what_is_there_twice_is_joined() {
    let app = App::new(&["a.txt"], DemoSftpScript::default()).await;
    let worker = app.worker(&[]);
    let mut payload: Value = serde_json::from_str(&status(None)).expect("JSON");
    payload["Data"]["req"]["Params"] = json!({ "id": null });
    payload["Data"]["req"]["Headers"]["Accept"] = json!(["application/json", "text/plain"]);
    let (_, answer) = worker.post("IngestStatus", "1-1", &payload.to_string(), Encoding::Chunked);
    let (code, _, list) = res(&answer);
    assert_eq!((code, &list["runs"]), (200, &json!([])), "runs before the first are an empty list");
    let twice = http("POST", "/api/ingest", json!({ "sources": "acme,acme" }), None);
    let (_, answer) = worker.post("IngestHttp", "1-2", &twice, Encoding::Chunked);
    assert_eq!(res(&answer).0, 200);
    assert!(app.stored("acme/a.txt").is_some());
}

/// Seen: a null or empty answer leaves the invocation open until
/// functionTimeout, and a header that is no plain string makes it a 500.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_an_object_with_plain_headers() {
    let app = App::new(&[], DemoSftpScript::default()).await;
    let worker = app.worker(&[]);
    let calls = [
        ("IngestTimer", timer()),
        ("IngestHttp", super::ingest(&["nobody"])),
        ("IngestHttp", super::ingest(&[])),
        ("IngestStatus", status(Some("no-such-run"))),
        ("IngestStatus", status(None)),
    ];
    for (function, payload) in calls {
        let (code, answer) = worker.post(function, "1-1", &payload, Encoding::Chunked);
        assert!(code == 200 && answer["Outputs"].is_object(), "{function}: {code} {answer}");
        let headers = answer["Outputs"]["res"]["headers"].as_object().cloned().unwrap_or_default();
        for (name, value) in headers {
            let text = value.as_str().unwrap_or_else(|| panic!("{name} is no text: {value}"));
            assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{name}: {text}");
        }
    }
}

/// `WorkerProcess.cs`, `ParseErrorMessageAndLog`: a line of standard error is an error unless it
/// holds "warn", and tells of no invocation.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_source_among_good_ones_is_an_error_with_its_name_and_ids() {
    let app = App::new(&["a.txt"], DemoSftpScript::default()).await;
    let config = app.folder.path().join("ingest.toml");
    let mut text = std::fs::read_to_string(&config).expect("a configuration");
    text += "[[source]]\nname = \"deadpartner\"\nurl = \"ftp://u@127.0.0.1:9/\"\n";
    text += "password = \"p\"\nattempts = 1\n";
    std::fs::write(&config, text).expect("written");
    let worker = app.worker(&[("BLOBFERRY__LOG__FORMAT", "json")]);
    let (code, _) = worker.post("IngestTimer", "55-1", &timer(), Encoding::Chunked);
    assert_eq!(code, 200);
    let line = until("the error is told", || {
        worker.err().into_iter().find(|line| line.contains("deadpartner") && line.contains("ERROR"))
    });
    assert!(!line.to_ascii_lowercase().contains("warn"), "{line}");
    let line: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(line["invocation"], "55-1");
    assert!(line["run_id"].as_str().is_some_and(|id| id.len() > 20), "{line}");
    // So do all lines of this invocation, wherever it was worked on, each id once.
    let told = worker.out().into_iter().chain(worker.err());
    for line in told.filter(|line| line.contains("\"55-1\"") || line.contains("run_id")) {
        assert_eq!(line.matches("\"invocation\":").count(), 1, "{line}");
        assert!(line.matches("\"run_id\":").count() <= 1, "{line}");
    }
}

/// `QueueListener` of the storage extension, seen: a queue that is not there is looked
/// for every few seconds, and each look is an error of ten lines in the host's log.
#[test]
fn the_queue_that_the_host_listens_to_is_made_at_the_start_whether_work_goes_by_it_or_not() {
    let Some(azurite) = Azurite::start(Persistence::Memory) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let source = "[[source]]\nname = \"acme\"\nurl = \"file:///nowhere\"\n";
    std::fs::write(
        folder.path().join("ingest.toml"),
        format!("[destination]\nfolder = \"stored\"\n[dispatch]\nmode = \"inline\"\n{source}"),
    )
    .expect("written");
    let (storage, name) = (azurite.connection_string(), Azurite::container("listened"));
    let settings = [("AzureWebJobsStorage", storage.as_str()), ("INGEST_QUEUE", name.as_str())];
    let worker = Worker::start(folder.path(), &settings);
    worker.ready();
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let queue = super::pump::queue(&azurite, &name);
    use blobferry::store::queue::Queue;
    until("the queue is there", || runtime.block_on(queue.length()).ok());
}
