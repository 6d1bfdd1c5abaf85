//! The same over OTLP: an endpoint that reads the protocol's own messages.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use prost::Message;

use super::ingestion::{Ingestion, Mood, Received, Server};
use super::trouble::{alone, is_as_alone};
use super::world::{CANARY, World};
use super::{CONNECTION, FOLDER};

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
const LOST: &str = "telemetry for the OTLP endpoint is being lost";

/// An endpoint that takes everything, or answers so.
fn collector(status: u16) -> (Server, String) {
    let server = Server::start(move |_| Some((status, String::new())));
    let url = format!("http://{}", server.address);
    (server, url)
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &AnyValue| match value.value.as_ref().expect("a value") {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        other => panic!("nothing that we send: {other:?}"),
    };
    attributes
        .iter()
        .map(|pair| (pair.key.clone(), text(pair.value.as_ref().expect("a value"))))
        .collect()
}

/// All that arrived, read.
#[derive(Default)]
struct Told {
    resources: Vec<BTreeMap<String, String>>,
    spans: Vec<Span>,
    logs: Vec<LogRecord>,
    /// Sum, or count of a histogram, by name and labels.
    measured: BTreeMap<(String, String), f64>,
}

fn told(requests: &[Received]) -> Told {
    let mut told = Told::default();
    for request in requests {
        assert_eq!(
            request.headers.get("content-type").map(String::as_str),
            Some("application/x-protobuf")
        );
        let body = request.body.as_slice();
        match request.head.as_str() {
            "POST /v1/traces HTTP/1.1" => {
                for of in ExportTraceServiceRequest::decode(body).expect("spans").resource_spans {
                    told.resources.push(texts(&of.resource.expect("a resource").attributes));
                    told.spans.extend(of.scope_spans.into_iter().flat_map(|scope| scope.spans));
                }
            }
            "POST /v1/logs HTTP/1.1" => {
                for of in ExportLogsServiceRequest::decode(body).expect("logs").resource_logs {
                    told.resources.push(texts(&of.resource.expect("a resource").attributes));
                    told.logs.extend(of.scope_logs.into_iter().flat_map(|scope| scope.log_records));
                }
            }
            "POST /v1/metrics HTTP/1.1" => {
                for of in
                    ExportMetricsServiceRequest::decode(body).expect("metrics").resource_metrics
                {
                    told.resources.push(texts(&of.resource.expect("a resource").attributes));
                    for metric in of.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
                        measure(&mut told.measured, &metric.name, metric.data.expect("data"));
                    }
                }
            }
            other => panic!("nothing of OTLP: {other}"),
        }
    }
    told
}

fn measure(measured: &mut BTreeMap<(String, String), f64>, name: &str, data: Data) {
    let number = |value: Option<number_data_point::Value>| match value.expect("a number") {
        number_data_point::Value::AsInt(whole) => {
            f64::from(u32::try_from(whole).unwrap_or(u32::MAX))
        }
        number_data_point::Value::AsDouble(number) => number,
    };
    let points: Vec<(Vec<KeyValue>, f64)> = match data {
        Data::Sum(sum) => sum
            .data_points
            .into_iter()
            .map(|point| (point.attributes, number(point.value)))
            .collect(),
        Data::Gauge(gauge) => gauge
            .data_points
            .into_iter()
            .map(|point| (point.attributes, number(point.value)))
            .collect(),
        Data::Histogram(histogram) => histogram
            .data_points
            .into_iter()
            .map(|point| (point.attributes, point.sum.unwrap_or_default()))
            .collect(),
        other => panic!("nothing that we send: {other:?}"),
    };
    for (attributes, value) in points {
        let labels: Vec<String> =
            texts(&attributes).into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        // Sums are from the start: the last one counts.
        measured.insert((name.to_owned(), labels.join(" ")), value);
    }
}

/// Every text that arrived is clean: bytes of messages are looked through as they came.
fn is_clean(requests: &[Received], secrets: &[&str]) {
    for request in requests {
        for secret in secrets {
            assert!(
                !request.body.windows(secret.len()).any(|window| window == secret.as_bytes()),
                "a secret was told: {secret}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_run_is_told_over_otlp_with_the_variables_of_opentelemetry() {
    let (server, url) = collector(200);
    let world = World::new(FOLDER).await;
    let settings = [
        (ENDPOINT, url.as_str()),
        (HEADERS, "api-key=canary%2Dkey,x-tenant=t1"),
        ("OTEL_SERVICE_NAME", "ferry"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test"),
    ];
    let done = world.run(&settings);
    assert_eq!(done.code, Some(1), "{}", done.err);
    assert!(
        !done.err.contains("OTLP")
            && !done.err.contains("canary-key")
            && !done.out.contains("canary-key"),
        "{}",
        done.err
    );
    let report: serde_json::Value = serde_json::from_str(&done.out).expect("a report");
    let requests = server.requests();
    for request in &requests {
        let header = |name: &str| request.headers.get(name).map(String::as_str);
        assert_eq!(
            (header("api-key"), header("x-tenant"), header("content-encoding")),
            (Some("canary-key"), Some("t1"), Some("gzip"))
        );
    }
    is_clean(&requests, &[CANARY, "canary-key"]);
    let told = told(&requests);
    for resource in &told.resources {
        let of = |name: &str| resource.get(name).map(String::as_str);
        assert_eq!(
            (of("service.name"), of("deployment.environment")),
            (Some("ferry"), Some("test"))
        );
        assert_eq!(of("service.version"), Some(env!("CARGO_PKG_VERSION")));
    }
    // One run, and its six calls below it.
    let [root] =
        told.spans.iter().filter(|span| span.kind() == SpanKind::Server).collect::<Vec<_>>()[..]
    else {
        panic!("{:#?}", told.spans)
    };
    assert_eq!(
        (root.name.as_str(), texts(&root.attributes).get("run_id").map(String::as_str)),
        ("blobferry run", report["run"].as_str())
    );
    let calls: Vec<&Span> =
        told.spans.iter().filter(|span| span.kind() == SpanKind::Client).collect();
    assert_eq!(calls.len(), 6, "{calls:#?}");
    let failed: Vec<&str> = calls
        .iter()
        .filter(|s| s.status.as_ref().is_some_and(|s| s.code() == StatusCode::Error))
        .map(|s| s.name.as_str())
        .collect();
    assert_eq!(failed, ["fetch acme"]);
    for span in &told.spans {
        assert_eq!(span.trace_id, root.trace_id);
        assert!(span.name == root.name || span.parent_span_id == root.span_id, "{span:#?}");
        let attributes = texts(&span.attributes);
        assert!(attributes.iter().all(|(key,
            value)| !key.starts_with("ai.") && !value.chars().any(char::is_control)),
            "{attributes:?}");
    }
    // Logs: an exception with its class, the begin and the end of the run, all in the run's trace.
    assert!(told.logs.iter().all(|log| log.trace_id == root.trace_id), "{:#?}", told.logs);
    let classes: Vec<String> = told
        .logs
        .iter()
        .filter_map(|log| texts(&log.attributes).get("exception.type").cloned())
        .collect();
    assert_eq!((classes, told.logs.len()), (vec!["permission".to_owned()], 3));
    let of = |name: &str, labels: &str| {
        told.measured.get(&(name.to_owned(), labels.to_owned())).copied()
    };
    assert_eq!(
        of("ingest_files_total", "outcome=ingested source=acme"),
        Some(2.0),
        "{:?}",
        told.measured
    );
    assert_eq!(of("ingest_files_total", "outcome=failed source=acme"), Some(1.0));
    assert_eq!(of("ingest_bytes_total", "source=acme"), Some(24.0));
    assert_eq!(of("ingest_failures_total", "class=permission source=acme"), Some(1.0));
    assert!(
        of("ingest_run_duration_seconds", "status=degraded trigger=command")
            .is_some_and(|seconds| seconds > 0.0)
    );
    let names: BTreeSet<&str> = told.measured.keys().map(|(name, _)| name.as_str()).collect();
    assert!(
        names.is_superset(&["ingest_lag_seconds", "ingest_resident_memory_bytes"].into()),
        "{names:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_otlp_endpoint_in_trouble_is_told_once_and_changes_no_run() {
    let alone = alone().await;
    let refused =
        TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let silent = Server::start(|_| None);
    let (busy, busy_url) = collector(503);
    let (strict, strict_url) = collector(400);
    for (how, url) in [
        ("silent", format!("http://{}", silent.address)),
        ("busy", busy_url),
        ("strict", strict_url),
        ("refused", format!("http://{refused}")),
    ] {
        let done = World::new(FOLDER).await.run(&[(ENDPOINT, &url)]);
        is_as_alone(&done, &alone, how);
        assert_eq!(done.err.matches(LOST).count(), 1, "{how}: {}", done.err);
    }
    assert!([&silent, &busy, &strict].iter().all(|server| !server.requests().is_empty()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_told_is_a_setting() {
    let ingestion = Ingestion::start(Mood::Well);
    let (server, url) = collector(200);
    let world = World::new(FOLDER).await;
    let file = world.folder.path().join("ingest.toml");
    let plain = std::fs::read_to_string(&file).expect("it is there");
    let both = [(CONNECTION, &*ingestion.connection()), (ENDPOINT, &*url)];
    let told = || (ingestion.0.requests().len(), server.requests().len());
    for (section, to_insights, to_otlp) in [
        ("", true, false),
        ("export = \"application-insights\"", true, false),
        ("export = \"otlp\"", false, true),
        ("export = \"off\"", false, false),
    ] {
        let before = told();
        std::fs::write(&file, format!("{plain}\n[telemetry]\n{section}\n")).expect("written");
        let done = world.run(&both);
        // The files are stored by now; the one that is denied fails in each run.
        assert_eq!(done.code, Some(1), "{section}: {}", done.err);
        assert_eq!((told().0 > before.0, told().1 > before.1), (to_insights, to_otlp), "{section}");
    }
    let sent = server.requests().len();
    std::fs::write(&file, &plain).expect("written");
    for (name, value) in [("OTEL_SDK_DISABLED", "true"), (ENDPOINT, "canary")] {
        let settings = [(ENDPOINT, &*url), (name, value)];
        let done = world.run(&settings);
        assert_eq!((done.code, server.requests().len()), (Some(1), sent), "{}", done.err);
        assert_eq!(
            done.err.contains("Warning: the OTLP endpoint cannot be used"),
            value == "canary",
            "{}",
            done.err
        );
        assert!(!done.err.contains("canary"), "{}", done.err);
    }
}
