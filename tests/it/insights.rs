//! Application Insights from end to end: the real binary, and an endpoint that reads what arrives.

mod export;
pub mod ingestion;
mod kql;
mod otlp;
mod queries;
mod queued;
mod trouble;
pub mod world;

use std::collections::BTreeSet;

use serde_json::Value;

use crate::servers::Azurite;
use ingestion::{Envelope, Ingestion, KEY, Mood, Server, is_clean, of};
use world::{CANARY, Handler, World, run};

const CONNECTION: &str = "APPLICATIONINSIGHTS_CONNECTION_STRING";
const AUTHENTICATION: &str = "APPLICATIONINSIGHTS_AUTHENTICATION_STRING";
const FOLDER: &str = "folder = \"stored\"";

/// The one operation that all of them belong to.
#[track_caller]
fn operation(envelopes: &[Envelope]) -> &str {
    let ids: BTreeSet<_> = envelopes.iter().map(Envelope::operation).collect();
    assert!(ids.len() == 1 && !ids.contains(&None), "{ids:?} in {envelopes:#?}");
    ids.into_iter().flatten().next().expect("there is one")
}

fn dependency<'a>(envelopes: &'a [Envelope], name: &str, path: &str) -> &'a Envelope {
    let found = of(envelopes, "RemoteDependency")
        .into_iter()
        .find(|e| e.data("name") == name && e.property("path").is_some_and(|p| p.contains(path)));
    found.unwrap_or_else(|| panic!("no `{name}` of `{path}` in {envelopes:#?}"))
}

/// The sum of a measurement where its label `label` is `value`.
fn measured(envelopes: &[Envelope], name: &str, label: &str, value: &str) -> f64 {
    let all =
        of(envelopes, "Metric").into_iter().filter(|metric| metric.property(label) == Some(value));
    let points = all.filter_map(|metric| {
        metric
            .data("metrics")
            .get(0)
            .filter(|point| point["name"] == name)
            .map(|point| point["value"].as_f64())
    });
    points.map(|point| point.expect("a number")).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_of_the_command_line_arrives_whole_and_holds_no_secret() {
    let Some(azurite) = Azurite::shared() else { return };
    let account = azurite.connection_string();
    let key = account
        .split(';')
        .find_map(|part| part.strip_prefix("AccountKey="))
        .expect("it has a key")
        .to_owned();
    let container = Azurite::container("insights");
    let world = World::new(&format!(
        "connection_string = \"{account}\"\ncontainer = \"{container}\"\ncreate_container = true"
    ))
    .await;
    let ingestion = Ingestion::start(Mood::Well);
    let done = world.run(&[(CONNECTION, &ingestion.connection())]);
    assert_eq!(done.code, Some(1), "{}", done.err);
    assert!(!done.err.contains("Application Insights"), "{}", done.err);
    let report: Value = serde_json::from_str(&done.out).expect("a report");
    let envelopes = ingestion.envelopes();
    operation(&envelopes);
    for envelope in &envelopes {
        is_clean(&envelope.0, &[CANARY, &key, "AccountKey", "SharedKey"]);
        assert_eq!(
            (envelope.0["iKey"].as_str(), envelope.tag("ai.cloud.role")),
            (Some(KEY), Some("blobferry"))
        );
    }

    let [request] = of(&envelopes, "Request")[..] else { panic!("{envelopes:#?}") };
    assert_eq!(
        (request.data("name").as_str(), request.data("success").as_bool()),
        (Some("blobferry run"), Some(true))
    );
    assert_eq!(
        (request.property("run_id"), request.property("status")),
        (report["run"].as_str(), Some("degraded"))
    );
    let id = request.data("id").as_str();
    for envelope in
        envelopes.iter().filter(|envelope| !["Request", "Metric"].contains(&envelope.kind()))
    {
        assert_eq!(
            (envelope.tag("ai.operation.parentId"), envelope.property("run_id")),
            (id, report["run"].as_str()),
            "{envelope:#?}"
        );
    }

    let server =
        dependency(&envelopes, "list acme", "/").data("target").as_str().expect("a target");
    assert!(server.starts_with("127.0.0.1:"), "{server}");
    for (name, path, kind, success, bytes) in [
        ("list acme", "/", "SFTP", true, "0"),
        ("fetch acme", "a.txt", "SFTP", true, "12"),
        ("fetch acme", "b.txt", "SFTP", true, "12"),
        ("fetch acme", "ied", "SFTP", false, "0"),
        ("store acme", "a.txt", "Azure blob", true, "12"),
        ("store acme", "b.txt", "Azure blob", true, "12"),
    ] {
        let call = dependency(&envelopes, name, path);
        assert_eq!(
            (call.data("type").as_str(), call.data("success").as_bool(), call.property("bytes")),
            (Some(kind), Some(success), Some(bytes))
        );
        assert_ne!(call.data("duration"), "0.00:00:00.000000", "{call:#?}");
    }
    assert_eq!(of(&envelopes, "RemoteDependency").len(), 6, "{envelopes:#?}");

    let [exception] = of(&envelopes, "Exception")[..] else { panic!("{envelopes:#?}") };
    let told = &exception.data("exceptions")[0];
    assert_eq!(
        (told["typeName"].as_str(), exception.property("source")),
        (Some("permission"), Some("acme"))
    );
    assert!(
        told["message"]
            .as_str()
            .is_some_and(|message| message
                .contains("reading `/den\\x0Aied\\x1B[31m.txt` on sftp://127.0.0.1")),
        "{told}"
    );
    assert_eq!(exception.property("path"), Some("/den\\x0Aied\\x1B[31m.txt"));

    for (outcome, count) in [("ingested", 2.0), ("failed", 1.0), ("skipped", 0.0)] {
        assert_eq!(
            measured(&envelopes, "ingest_files_total", "outcome", outcome),
            count,
            "{outcome} in {envelopes:#?}"
        );
    }
    assert_eq!(measured(&envelopes, "ingest_bytes_total", "source", "acme"), 24.0);
    assert_eq!(measured(&envelopes, "ingest_failures_total", "class", "permission"), 1.0);
    assert!(measured(&envelopes, "ingest_run_duration_seconds", "status", "degraded") > 0.0);
    let names: BTreeSet<&str> = of(&envelopes, "Metric")
        .iter()
        .filter_map(|metric| metric.data("metrics")[0]["name"].as_str())
        .collect();
    assert!(
        names.is_superset(&["ingest_lag_seconds", "ingest_resident_memory_bytes"].into()),
        "{names:?}"
    );
    let messages: Vec<_> = of(&envelopes, "Message")
        .iter()
        .filter_map(|message| message.data("message").as_str())
        .collect();
    assert_eq!(messages, ["A run begins.", "A run ended."]);
}

/// The payload of a timer.
const TIMER: &str =
    r#"{"Data":{"timer":{"IsPastDue":false}},"Metadata":{"sys":{"MethodName":"IngestTimer"}}}"#;
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

fn invoked(
    world: &World,
    settings: &[(&str, &str)],
    invocation: &str,
    ingestion: &Ingestion,
) -> (Vec<Envelope>, Handler) {
    let connection = ingestion.connection();
    let handler = Handler::start(
        world.folder.path(),
        &[settings, &[(CONNECTION, connection.as_str())]].concat(),
    );
    // Not sampled, as classic activities flag what they send.
    let parent = format!("00-{TRACE}-{CALLER}-00");
    let (status, body) = handler.post(
        "IngestTimer",
        &[("traceparent", &parent), ("X-Azure-Functions-InvocationId", invocation)],
        TIMER,
    );
    assert_eq!(status, 200, "{body}");
    // The answer comes after the flush, unless this machine was too slow for it.
    let here = |envelopes: &[Envelope]| {
        ["IngestTimer"].iter().all(|name| envelopes.iter().any(|e| e.data("name") == *name))
            && !of(envelopes, "Metric").is_empty()
            && !of(envelopes, "Exception").is_empty()
    };
    (ingestion.once(here), handler)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_of_the_handler_is_joined_to_its_callers_trace_though_that_was_not_sampled() {
    let world = World::new(FOLDER).await;
    let ingestion = Ingestion::start(Mood::Well);
    let (envelopes, handler) = invoked(&world, &[], "11-aa", &ingestion);
    assert_eq!(operation(&envelopes), TRACE);
    for envelope in &envelopes {
        is_clean(&envelope.0, &[CANARY]);
        let told = envelope.property("faas.invocation_id");
        assert!(told == Some("11-aa") || envelope.kind() == "Metric", "{envelope:#?}");
    }
    let [request] = of(&envelopes, "Request")[..] else { panic!("{envelopes:#?}") };
    assert_eq!(
        (request.tag("ai.operation.parentId"), request.property("trigger")),
        (Some(CALLER), Some("timer"))
    );
    assert_eq!(of(&envelopes, "RemoteDependency").len(), 6, "{envelopes:#?}");
    let [exception] = of(&envelopes, "Exception")[..] else { panic!("{envelopes:#?}") };
    assert_eq!(exception.tag("ai.operation.parentId"), request.data("id").as_str());

    // Two runs are two operations, and nothing of one is told of the other.
    let other = format!("00-{}-{CALLER}-01", "a".repeat(32));
    let (status, _) = handler.post(
        "IngestTimer",
        &[("traceparent", &other), ("X-Azure-Functions-InvocationId", "22-bb")],
        TIMER,
    );
    assert_eq!(status, 200);
    let both = ingestion.once(|envelopes| of(envelopes, "Request").len() == 2);
    for envelope in both.iter().filter(|envelope| envelope.kind() != "Metric") {
        let first = envelope.operation() == Some(TRACE);
        assert_eq!(
            envelope.property("faas.invocation_id"),
            Some(if first { "11-aa" } else { "22-bb" }),
            "{envelope:#?}"
        );
    }
    // The host's log is paid for too, so it holds nothing but what went wrong.
    let (out, err) = handler.end();
    assert_eq!(out, "");
    assert!(err.contains("A file did not arrive."), "{err}");
    // Whoever reads a record finds the trace.
    let records = world.folder.path().join("stored/_blobferry/_runs");
    let mut days = std::fs::read_dir(records)
        .expect("records")
        .map(|entry| entry.expect("it can be read").path());
    let day = days.find(|path| path.is_dir()).expect("a day");
    let texts = std::fs::read_dir(day)
        .expect("records")
        .map(|file| std::fs::read_to_string(file.expect("a file").path()).expect("a record"));
    assert!(texts.into_iter().any(|text| text.contains(TRACE)));
}

#[test]
fn runs_at_the_same_time_are_told_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut text = "[destination]\nfolder = \"stored\"\n".to_owned();
    for source in ["one", "two"] {
        let files = folder.path().join(source);
        std::fs::create_dir(&files).expect("made");
        (0..5).for_each(|number| {
            std::fs::write(files.join(number.to_string()), source).expect("written")
        });
        // Young files are waited for, so the runs are under way at the same time.
        text += &format!(
            "[[source]]\nname = \"{source}\"\nurl = \"file://{}\"\nstable_for = \"2s\"\n",
            files.display()
        );
    }
    world::configure(folder.path(), &text);
    let ingestion = Ingestion::start(Mood::Well);
    let handler = Handler::start(folder.path(), &[(CONNECTION, &ingestion.connection())]);
    std::thread::scope(|threads| {
        for source in ["one", "two"] {
            let handler = &handler;
            threads.spawn(move || {
                let (status, body) = handler.post(
                    "IngestHttp",
                    &[("X-Azure-Functions-InvocationId", source)],
                    &crate::handler::ingest(&[source]),
                );
                assert_eq!(status, 200, "{body}");
            });
        }
    });
    let enough = |envelopes: &[Envelope]| {
        of(envelopes, "Request").len() == 2 && of(envelopes, "RemoteDependency").len() == 22
    };
    let envelopes = ingestion.once(enough);
    let requests = of(&envelopes, "Request");
    assert_ne!(requests[0].operation(), requests[1].operation());
    for request in requests {
        let own = envelopes.iter().filter(|envelope| {
            envelope.kind() != "Metric" && envelope.operation() == request.operation()
        });
        let told: BTreeSet<_> =
            own.clone().map(|envelope| envelope.property("faas.invocation_id")).collect();
        let sources: BTreeSet<_> = own.filter_map(|envelope| envelope.property("source")).collect();
        let invocation = request.property("faas.invocation_id");
        // Each invocation is called as the source that it asks for.
        assert_eq!((told, sources), ([invocation].into(), invocation.into_iter().collect()));
    }
    let of_none = envelopes
        .iter()
        .filter(|envelope| envelope.operation().is_none() && envelope.kind() != "Metric")
        .count();
    assert_eq!(of_none, 0, "{envelopes:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_azure_the_hosts_request_is_not_counted_twice() {
    let world = World::new(FOLDER).await;
    let ingestion = Ingestion::start(Mood::Well);
    let flex = [
        ("WEBSITE_SITE_NAME", "ferry-app"),
        ("WEBSITE_SKU", "FlexConsumption"),
        ("WEBSITE_POD_NAME", "pod-7"),
        ("CONTAINER_NAME", "c-7"),
    ];
    let azure = [&flex[..], &[("BLOBFERRY__DISPATCH__MODE", "inline")]].concat();
    let (envelopes, _handler) = invoked(&world, &azure, "11-aa", &ingestion);
    assert_eq!((operation(&envelopes), of(&envelopes, "Request").len()), (TRACE, 0));
    let run = of(&envelopes, "RemoteDependency")
        .into_iter()
        .find(|call| call.data("name") == "IngestTimer")
        .expect("the run");
    assert_eq!(
        (run.data("type").as_str(), run.tag("ai.operation.parentId")),
        (Some("InProc"), Some(CALLER))
    );
    assert_eq!(
        (run.tag("ai.cloud.role"), run.tag("ai.cloud.roleInstance")),
        (Some("ferry-app"), Some("pod-7"))
    );
}

fn zip(members: &[&str]) -> Vec<u8> {
    use std::io::Write;
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for name in members {
        let stored = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored);
        writer.start_file(*name, stored).expect("begun");
        writer.write_all(name.as_bytes()).expect("written");
    }
    writer.finish().expect("finished").into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_in_blocks_archives_and_very_long_names_are_one_call_each() {
    let world = World::new(FOLDER).await;
    // Two bytes a character, and folder upon folder: longer than a name, a target or a blob's name
    // may be.
    let folder = "größe-ü".repeat(20) + "/";
    let long = folder.repeat(12) + "ü.txt";
    world.file(&long, b"long");
    world.file("big.bin", &vec![7; 9 << 20]);
    let archive = zip(&["one", "two", "three"]);
    world.file("three.zip", &archive);
    let ingestion = Ingestion::start(Mood::Well);
    let done = world.run(&[(CONNECTION, &ingestion.connection())]);
    assert_eq!(done.code, Some(1), "{}", done.err);
    let envelopes = ingestion.envelopes();
    operation(&envelopes);
    envelopes.iter().for_each(|envelope| is_clean(&envelope.0, &[CANARY]));
    let (big, bytes) = ((9 << 20).to_string(), archive.len().to_string());
    for (name, path, moved) in [
        ("fetch acme", "big.bin", &*big),
        ("store acme", "big.bin", &*big),
        ("fetch acme", "three.zip", &*bytes),
        ("store members acme", "three.zip", &*bytes),
        ("fetch acme", &*long, "4"),
    ] {
        let call = dependency(&envelopes, name, path);
        assert_eq!(
            (call.property("bytes"), call.data("success").as_bool()),
            (Some(moved), Some(true)),
            "{call:#?}"
        );
    }
    let stores = of(&envelopes, "RemoteDependency")
        .iter()
        .filter(|call| call.data("name").as_str().is_some_and(|name| name.starts_with("store")))
        .count();
    assert_eq!(
        stores, 5,
        "a.txt, b.txt, big.bin, the long one, and the members of three.zip together: {envelopes:#?}"
    );
}

#[test]
fn a_source_that_is_not_there_is_an_exception_and_fails_the_request() {
    let folder = tempfile::tempdir().expect("a folder");
    world::configure(
        folder.path(),
        "[destination]\nfolder = \"stored\"\n[[source]]\nname = \"gone\"\nurl = \
        \"file:///nowhere/at/all\"\n",
    );
    let ingestion = Ingestion::start(Mood::Well);
    let done = run(folder.path(), &[(CONNECTION, &ingestion.connection())]);
    assert_eq!(done.code, Some(3), "{}", done.err);
    let envelopes = ingestion.envelopes();
    operation(&envelopes);
    let [request] = of(&envelopes, "Request")[..] else { panic!("{envelopes:#?}") };
    assert_eq!(
        (request.data("success").as_bool(), request.property("status")),
        (Some(false), Some("failed"))
    );
    let told: Vec<_> = of(&envelopes, "Exception")
        .iter()
        .map(|e| {
            (
                e.property("message"),
                e.data("exceptions")[0]["typeName"].as_str(),
                e.property("source"),
            )
        })
        .collect();
    let of_source = (Some("A source could not be worked on."), Some("not_found"), Some("gone"));
    assert_eq!(told, [of_source, (Some("A run could do nothing."), Some("not_found"), None)]);
    assert_eq!(dependency(&envelopes, "list gone", "/nowhere").data("success"), false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn telemetry_carries_a_token_of_the_managed_identity_and_nobody_hears_it() {
    let world = World::new(FOLDER).await;
    let ingestion = Ingestion::start(Mood::Well);
    let end = time::OffsetDateTime::now_utc().unix_timestamp() + 3600;
    let token = serde_json::json!({ "access_token": "canary-t0ken", "expires_on": end.to_string(),
        "resource": "https://monitor.azure.com", "token_type": "Bearer" });
    let identity = Server::start(move |_| Some((200, token.to_string())));
    let endpoint = format!("http://{}/msi/token", identity.address);
    let settings = [
        (CONNECTION, &*ingestion.connection()),
        (AUTHENTICATION, "Authorization=AAD;ClientId=1111-2222"),
        ("IDENTITY_ENDPOINT", &endpoint),
        ("IDENTITY_HEADER", "canary-header"),
    ];
    let done = world.run(&settings);
    assert_eq!(done.code, Some(1), "{}", done.err);
    let requests = ingestion.0.requests();
    assert!(!requests.is_empty());
    for request in &requests {
        assert_eq!(
            request.headers.get("authorization").map(String::as_str),
            Some("Bearer canary-t0ken")
        );
    }
    let asked = identity.requests();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(
        asked[0].head.contains("resource=https%3A%2F%2Fmonitor.azure.com")
            && asked[0].head.contains("client_id=1111-2222"),
        "{asked:?}"
    );
    for envelope in ingestion.envelopes() {
        is_clean(&envelope.0, &["canary-t0ken", "canary-header", CANARY]);
    }
    assert!(!done.err.contains("canary") && !done.out.contains("canary"), "{}", done.err);
}
