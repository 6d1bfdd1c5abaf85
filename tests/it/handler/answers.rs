//! Every payload that hosts are known to send, through the real routes, and what is answered.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use blobferry::config::{self, text::Environment};
use blobferry::handler::app::{App, PATIENCE};
use blobferry::handler::host::Host;
use blobferry::handler::resources::{QueueWork, Ready, RunResources};
use blobferry::handler::routes::router;
use blobferry::handler::runs::Runs;
use blobferry::jobs::cutting::Sizes;
use blobferry::model::redactor::Redactor;
use blobferry::store::memory::MemoryStore;
use blobferry::store::memory::queue::MemoryQueue;
use blobferry::transfer::settings::Limits;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use tower::ServiceExt;

use super::{http, ingest, res, status, timer};

mod pages;

/// A handler in this process, over a folder with one file and a store in memory.
struct Bench {
    files: TempDir,
    router: Router,
    runs: Arc<Runs>,
}

#[derive(Clone, Copy)]
struct Options {
    /// How long a file must rest before it is taken.
    stable_for: &'static str,
    in_azure: bool,
    patience: Duration,
}

const QUICK: Options = Options { stable_for: "0s", in_azure: false, patience: PATIENCE };
/// Its run waits for the young file.
const SLOW: Options = Options { stable_for: "600s", patience: Duration::from_millis(300), ..QUICK };

impl Bench {
    fn new(options: Options) -> Self {
        let files = tempfile::tempdir().expect("a folder");
        std::fs::write(files.path().join("a.txt"), "one").expect("written");
        let store = Arc::new(MemoryStore::new());
        let limits = Limits::default_with(files.path().to_owned(), 1 << 30);
        let given = store.clone();
        let of_runs = limits.clone();
        let ready = Ready {
            sources: sources(files.path(), options.stable_for),
            store,
            destinations: Default::default(),
            open: Box::new(move || {
                Ok(RunResources {
                    store: given.clone(),
                    destinations: Default::default(),
                    limits: of_runs.clone(),
                })
            }),
            limits,
            work: None,
            queue: None,
            redactor: Redactor::default(),
            ledgers: Default::default(),
            arrivals: Default::default(),
            insights: None,
            telemetry: None,
            renewal: None,
        };
        Self::with(files, Ok(ready), options)
    }

    fn with(files: TempDir, ready: Result<Ready, String>, options: Options) -> Self {
        // As on Flex Consumption, where there is no instance id.
        let flex = [("WEBSITE_SITE_NAME", "func-x"), ("WEBSITE_SKU", "FlexConsumption")];
        let environment = flex
            .iter()
            .filter(|_| options.in_azure)
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let host = Host::read(None, &environment.collect());
        let (_, loaded) =
            watch::channel(Some(ready.map(|ready| (Arc::new(ready), Arc::new(host)))));
        let runs = Arc::new(Runs::default());
        let router = router(Arc::new(App {
            loaded,
            runs: runs.clone(),
            patience: options.patience,
            starts_runs: true,
        }));
        Self { files, router, runs }
    }

    async fn call(&self, request: Request<Body>) -> (u16, Value) {
        let answer = self.router.clone().oneshot(request).await.expect("an answer");
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/json");
        let status = answer.status().as_u16();
        let bytes = to_bytes(answer.into_body(), 1 << 20).await.expect("a body");
        (status, serde_json::from_slice(&bytes).expect("JSON, never empty"))
    }

    async fn post(&self, function: &str, payload: impl Into<Body>) -> (u16, Value) {
        let request =
            Request::post(format!("/{function}")).header("X-Azure-Functions-InvocationId", "1-2");
        let (status, answer) = self.call(request.body(payload.into()).expect("a request")).await;
        assert!(
            answer["Outputs"].is_object()
                && answer["Logs"].is_array()
                && answer["ReturnValue"].is_null(),
            "{answer}"
        );
        (status, answer)
    }

    async fn post_http(&self, function: &str, payload: impl Into<Body>) -> (u16, Value, Value) {
        let (status, answer) = self.post(function, payload).await;
        assert_eq!(status, 200, "{answer}");
        res(&answer)
    }
}

fn work(source: &str, task: &str) -> String {
    let run = "20261123T100000Z-0a1b2c3d";
    json!({ "Data": { "work": { "run": run, "source": source, "task": task } } }).to_string()
}

fn sources(folder: &Path, stable_for: &str) -> Vec<blobferry::transfer::settings::Source> {
    let source = |name: &str| {
        format!(
            "[[source]]\nname = \"{name}\"\nurl = \"file://{}\"\nstable_for = \"{stable_for}\"\n",
            folder.display()
        )
    };
    let text = format!("[destination]\nfolder = \"unused\"\n{}{}", source("acme"), source("other"));
    config::parse("ingest.toml", Path::new(""), &text, &Environment::new())
        .expect("a configuration")
        .sources
}

#[tokio::test]
async fn every_form_of_a_timers_payload_starts_a_run() {
    let bench = Bench::new(QUICK);
    let with = |status: &str| {
        let timer = r#""Schedule":{"AdjustForDST":true},"IsPastDue":true"#;
        let data = format!(r#"{{"timer":{{{timer},"ScheduleStatus":{status}}}}}"#);
        format!(r#"{{"Data":{data},"Metadata":{{"sys":{{}}}}}}"#)
    };
    let first = |date: &str| {
        with(&format!(
            r#"{{"Last":"{date}","Next":"2026-11-22T20:00:00+00:00","LastUpdated":"{date}"}}"#
        ))
    };
    let payloads = [
        timer(),
        first("0001-01-01T00:00:00+00:00"),
        first("0001-01-01T00:51:00+00:51"),
        first("0001-01-01T00:00:00"),
        with("null"),
        concat!(
            r#"{"Data":{"timer":{"IsPastDue":false,"New":{"x":[1]}}},"Metadata":{"RetryContext":"#,
            r#"{"RetryCount":1,"MaxRetryCount":2,"Exception":null}},"More":1}"#
        )
        .to_owned(),
        r#"{"Data":{"timer":"{\"IsPastDue\":false,\"ScheduleStatus\":null}"}}"#.to_owned(),
        "{}".to_owned(),
    ];
    for (index, payload) in payloads.into_iter().enumerate() {
        let (status, answer) = bench.post("IngestTimer", payload).await;
        let summary = answer["Logs"][0].as_str().expect("a summary");
        let expected =
            if index == 0 { "ok: ingested 2, unchanged 0" } else { "ok: ingested 0, unchanged 2" };
        assert!(status == 200 && summary.contains(expected), "{index}: {status} {summary}");
    }
}

#[tokio::test]
async fn a_request_runs_the_sources_that_it_names_and_its_run_is_told_of() {
    let bench = Bench::new(QUICK);
    let (code, headers, body) = bench.post_http("IngestHttp", ingest(&["other"])).await;
    assert_eq!(
        (code, &body["status"], &body["joined"], &body["trigger"]),
        (200, &json!("ok"), &json!(false), &json!("http")),
        "{body}"
    );
    assert_eq!(
        (&body["sources"][0]["source"], &body["sources"][0]["ingested"], &body["sources"][1]),
        (&json!("other"), &json!(1), &Value::Null)
    );
    let id = body["id"].as_str().expect("an id");
    assert_eq!(headers["Location"], format!("/api/ingest/runs/{id}"));
    let (code, _, one) = bench.post_http("IngestStatus", status(Some(id))).await;
    assert_eq!(
        (code, &one["id"], &one["status"], &one["run"]),
        (200, &body["id"], &json!("ok"), &body["run"])
    );
    bench.post("IngestTimer", timer()).await;
    let (code, _, list) = bench.post_http("IngestStatus", status(None)).await;
    let triggers: Vec<&Value> =
        list["runs"].as_array().expect("a list").iter().map(|run| &run["trigger"]).collect();
    assert_eq!((code, triggers), (200, vec![&json!("timer"), &json!("http")]), "newest first");
    assert_eq!(
        bench.post_http("IngestStatus", status(Some("20260101T000000Z-00000000"))).await.0,
        404
    );
    assert_eq!(bench.post_http("IngestStatus", status(Some("../../etc"))).await.0, 404);
}

#[tokio::test]
async fn what_a_request_may_not_ask_is_refused() {
    let bench = Bench::new(QUICK);
    let post = |query: Value, body: Option<&'static str>| http("POST", "/api/ingest", query, body);
    for (payload, code) in [
        (post(json!({}), Some(r#"{"sources":["nobody"]}"#)), 404),
        (post(json!({}), Some(r#"{"sources":["acme"],"url":"ftp://evil/"}"#)), 400),
        (post(json!({ "path": "/etc" }), None), 400),
        (post(json!({}), Some("not json")), 400),
        (http("GET", "/api/ingest", json!({}), None), 405),
    ] {
        let (found, _, body) = bench.post_http("IngestHttp", payload.clone()).await;
        assert!(found == code && body["error"].is_string(), "{payload}: {found} {body}");
    }
    let (code, _, body) =
        bench.post_http("IngestHttp", post(json!({ "sources": "acme,other" }), None)).await;
    assert_eq!(
        (code, body["sources"].as_array().map(Vec::len)),
        (200, Some(2)),
        "the query serves callers whose bodies are lost"
    );
    assert_eq!(
        bench.post_http("IngestStatus", http("POST", "/api/ingest/runs", json!({}), None)).await.0,
        405
    );
    let azure = Bench::new(Options { in_azure: true, ..QUICK });
    let (code, _, body) = azure.post_http("IngestHttp", ingest(&[])).await;
    assert!(
        code == 501
            && body["hint"]
                .as_str()
                .is_some_and(|hint| hint.contains("`dispatch.mode` to `queue`")),
        "{code} {body}"
    );
    assert_eq!(azure.post("IngestTimer", timer()).await.0, 200);
}

#[tokio::test]
async fn what_is_no_payload_is_refused_with_a_reason() {
    let bench = Bench::new(QUICK);
    for (function, payload, code) in [
        ("IngestTimer", "{".to_owned(), 400),
        ("IngestTimer", String::new(), 400),
        ("IngestTimer", "[".repeat(50_000), 400),
        ("IngestTimer", format!("{{\"Data\":\"{}\"}}", "x".repeat(64 << 10)), 413),
        ("IngestHttp", "{}".to_owned(), 400),
        ("IngestQueue", timer(), 400),
        ("IngestQueue", json!({ "Data": { "work": "dance" } }).to_string(), 400),
        ("IngestQueue", work("acme", "dance"), 400),
        ("IngestQueue", work("none", "plan"), 404),
        ("IngestQueue", work("acme", "plan"), 500),
        ("api/ingest", timer(), 404),
    ] {
        let (found, answer) = bench.post(function, payload).await;
        assert!(found == code && answer["Logs"][0].is_string(), "{function}: {found} {answer}");
    }
    let (code, _) =
        bench.call(Request::get("/IngestTimer").body(Body::empty()).expect("a request")).await;
    assert_eq!(code, 405);
    let (code, ping) = bench.call(Request::get("/").body(Body::empty()).expect("a request")).await;
    assert_eq!((code, &ping["configuration"]), (200, &json!("ok")));
}

#[tokio::test]
async fn a_long_run_is_left_with_202_and_joined_by_others() {
    let bench = Bench::new(SLOW);
    std::fs::write(bench.files.path().join("young.txt"), "two").expect("written");
    let (code, headers, body) = bench.post_http("IngestHttp", ingest(&["acme"])).await;
    assert_eq!(
        (code, &body["status"], &body["joined"]),
        (202, &json!("running"), &json!(false)),
        "{body}"
    );
    let (code, again, joined) = bench.post_http("IngestHttp", ingest(&["acme"])).await;
    assert_eq!((code, &joined["joined"], &joined["id"]), (202, &json!(true), &body["id"]));
    assert_eq!(again["Location"], headers["Location"]);
    let (code, _, other) = bench.post_http("IngestHttp", ingest(&[])).await;
    assert_eq!(
        (code, &other["joined"], &other["under_way"][0]["id"]),
        (202, &json!(false), &body["id"]),
        "the rest is run over"
    );
    let (_, answer) = bench.post("IngestTimer", timer()).await;
    assert!(
        answer["Logs"][0].as_str().is_some_and(|text| text.contains("nothing to start")),
        "{answer}"
    );
    let (_, _, list) = bench.post_http("IngestStatus", status(None)).await;
    let words: Vec<&Value> =
        list["runs"].as_array().expect("a list").iter().map(|run| &run["status"]).collect();
    assert_eq!(words, [&json!("running"), &json!("running")]);
    bench.runs.stop();
    tokio::time::timeout(Duration::from_secs(30), bench.runs.over()).await.expect("both end");
    let (_, _, one) = bench.post_http("IngestStatus", status(body["id"].as_str())).await;
    assert_eq!(
        (&one["status"], &one["sources"][0]["deferred"]),
        (&json!("interrupted"), &json!(2)),
        "{one}"
    );
    assert_eq!(bench.post("IngestTimer", timer()).await.0, 503);
}

#[tokio::test]
async fn of_many_requests_at_once_one_starts_a_run() {
    let bench = Bench::new(SLOW);
    let answers = futures_util::future::join_all(
        (0..8).map(|_| bench.post_http("IngestHttp", ingest(&["acme"]))),
    )
    .await;
    let started = answers.iter().filter(|(_, _, body)| body["joined"] == json!(false)).count();
    let ids: std::collections::BTreeSet<&str> =
        answers.iter().filter_map(|(_, _, body)| body["id"].as_str()).collect();
    assert_eq!((started, ids.len()), (1, 1), "{answers:?}");
    bench.runs.stop();
    tokio::time::timeout(Duration::from_secs(30), bench.runs.over()).await.expect("it ends");
}

#[tokio::test]
async fn a_run_that_can_do_nothing_is_a_500_of_its_invocation_only() {
    let bench = Bench::new(QUICK);
    std::fs::remove_dir_all(bench.files.path()).expect("removed");
    let (code, answer) = bench.post("IngestTimer", timer()).await;
    assert!(
        code == 500 && answer["Logs"][0].as_str().is_some_and(|text| text.contains("failed")),
        "{code} {answer}"
    );
    let (code, _, body) = bench.post_http("IngestHttp", ingest(&[])).await;
    assert_eq!((code, &body["status"]), (500, &json!("failed")), "{body}");
    std::fs::create_dir(bench.files.path()).expect("made");
    assert_eq!(bench.post("IngestTimer", timer()).await.0, 200);
}

/// Work by a queue in memory.
fn by_queue(queue: &Arc<MemoryQueue>) -> (Bench, Arc<MemoryStore>) {
    let files = tempfile::tempdir().expect("a folder");
    std::fs::write(files.path().join("a.txt"), "one").expect("written");
    let (store, limits) =
        (Arc::new(MemoryStore::new()), Limits::default_with(files.path().to_owned(), 1 << 30));
    let (given, of_runs, of_work) = (store.clone(), limits.clone(), queue.clone());
    let work = QueueWork {
        queue: queue.clone(),
        open: Box::new(move || Ok(of_work.clone())),
        sizes: Sizes::default(),
    };
    let ready = Ready {
        sources: sources(files.path(), "0s"),
        store: store.clone(),
        destinations: Default::default(),
        open: Box::new(move || {
            Ok(RunResources {
                store: given.clone(),
                destinations: Default::default(),
                limits: of_runs.clone(),
            })
        }),
        limits,
        work: Some(work),
        queue: None,
        redactor: Redactor::default(),
        ledgers: Default::default(),
        arrivals: Default::default(),
        insights: None,
        telemetry: None,
        renewal: None,
    };
    (Bench::with(files, Ok(ready), QUICK), store)
}

#[tokio::test]
async fn messages_are_read_however_the_host_encodes_them() {
    use base64::Engine;
    let queue = Arc::new(MemoryQueue::default());
    let (bench, _) = by_queue(&queue);
    let (code, answer) = bench.post("IngestTimer", timer()).await;
    assert!(
        code == 200
            && answer["Logs"][0]
                .as_str()
                .is_some_and(|told| told.contains("goes over acme, other through the queue")),
        "{answer}"
    );
    // A second tick asks for nothing: the first one's work still waits.
    let (_, answer) = bench.post("IngestTimer", timer()).await;
    assert!(
        answer["Logs"][0].as_str().is_some_and(|told| told.starts_with("nothing to start; run ")),
        "{answer}"
    );
    let (code, _, record) = bench.post_http("IngestStatus", status(None)).await;
    assert_eq!(
        (code, &record["runs"][0]["status"], &record["runs"][0]["sources"][0]["waiting"]),
        (200, &json!("running"), &json!(true)),
        "{record}"
    );
    let forms: [fn(&str) -> Value; 4] = [
        |text| serde_json::from_str(text).expect("JSON"),
        |text| Value::from(text),
        |text| Value::from(Value::from(text).to_string()),
        |text| Value::from(base64::engine::general_purpose::STANDARD.encode(text)),
    ];
    for n in 0.. {
        let Some((text, _)) = queue.take() else {
            assert!(n >= 4, "two plans and two pieces");
            break;
        };
        let payload = json!({ "Data": { "work": forms[n % forms.len()](&text) },
            "Metadata": { "DequeueCount": "1" } });
        let (code, answer) = bench.post("IngestQueue", payload.to_string()).await;
        assert_eq!(code, 200, "{text}: {answer}");
    }
    let (_, _, record) = bench.post_http("IngestStatus", status(None)).await;
    let run = &record["runs"][0];
    assert_eq!(
        (&run["status"], &run["sources"][0]["ingested"], run["ended"].is_string()),
        (&json!("ok"), &json!(1), true),
        "{record}"
    );
}

#[tokio::test]
async fn a_panic_costs_one_invocation() {
    let files = tempfile::tempdir().expect("a folder");
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let (store, limits) =
        (Arc::new(MemoryStore::new()), Limits::default_with(files.path().to_owned(), 1 << 30));
    let given = store.clone();
    let of_ready = limits.clone();
    let open = move || {
        assert_ne!(calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed), 0, "scripted");
        Ok(RunResources {
            store: given.clone(),
            destinations: Default::default(),
            limits: limits.clone(),
        })
    };
    let sources = sources(files.path(), "0s");
    let ready = Ready {
        sources,
        store,
        destinations: Default::default(),
        open: Box::new(open),
        limits: of_ready,
        work: None,
        queue: None,
        redactor: Redactor::default(),
        ledgers: Default::default(),
        arrivals: Default::default(),
        insights: None,
        telemetry: None,
        renewal: None,
    };
    let bench = Bench::with(files, Ok(ready), QUICK);
    let (code, answer) = bench.post("IngestTimer", timer()).await;
    assert!(
        code == 500 && answer["Logs"][0].as_str().is_some_and(|text| text.contains("defect")),
        "{code} {answer}"
    );
    assert_eq!(bench.post("IngestTimer", timer()).await.0, 200);
}

#[tokio::test]
async fn without_a_configuration_every_invocation_is_told_why() {
    let bench = Bench::with(
        tempfile::tempdir().expect("a folder"),
        Err("`source` is missing".into()),
        QUICK,
    );
    let (code, answer) = bench.post("IngestTimer", timer()).await;
    assert_eq!((code, &answer["Logs"][0]), (500, &json!("`source` is missing")));
    for (function, payload) in [("IngestHttp", ingest(&[])), ("IngestStatus", status(None))] {
        let (code, _, body) = bench.post_http(function, payload).await;
        assert_eq!((code, &body["error"]), (500, &json!("`source` is missing")));
    }
    let (code, ping) = bench.call(Request::get("/").body(Body::empty()).expect("a request")).await;
    assert_eq!((code, &ping["configuration"]), (200, &json!("cannot be used")));
}
