//! The export by itself: texts that would stop it, more than it can send.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use blobferry::model::Secret;
use blobferry::model::redactor::Redactor;
use blobferry::telemetry::insights::bridge::layer;
use blobferry::telemetry::insights::connection::connection;
use blobferry::telemetry::insights::{
    Beginning, Insights, Operation, Receiver, Requests, SAMPLED, Settings, names, taken_from_queue,
};
use blobferry::transfer::events::{CALL, FILE, TARGET};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, filter};

use super::ingestion::{Envelope, Ingestion, Mood, is_clean, of};

const LONG_ENOUGH: Duration = Duration::from_secs(30);

fn start(ingestion: &Ingestion, sample_percent: u8) -> (Arc<Insights>, Operation) {
    let connection =
        connection(&ingestion.connection()).expect("it can be read").expect("it is not empty");
    let settings = Settings {
        receiver: Receiver::ApplicationInsights { connection, credential: None },
        sample_percent,
        requests: Requests::Ours,
        role: "größe".repeat(400),
        instance: "one\ntwo".into(),
    };
    let insights = Insights::start(settings, &Redactor::new([&Secret::new("canary-pa55")]))
        .expect("it starts");
    let beginning = Beginning {
        name: "run",
        run: "r",
        trigger: "test",
        invocation: None,
        traceparent: None,
        at: SystemTime::now(),
    };
    let operation = insights.begin(&beginning);
    (insights, operation)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_of_any_length_and_kind_arrive_cut_and_stop_nothing() {
    let ingestion = Ingestion::start(Mood::Well);
    let (insights, operation) = start(&ingestion, 100);
    let subscriber = tracing_subscriber::registry().with(layer(insights));
    {
        let _in_this_thread = tracing::subscriber::set_default(subscriber);
        // The exporter's limits, each met in the middle of a character.
        for before in [149, 1_023, 2_047, 8_191, 32_767] {
            let long = "a".repeat(before) + "üüü\u{1F600} canary-pa55 \r\n\0";
            let (address, path) = (format!("sftp://{long}/"), &long);
            tracing::warn!(target: "blobferry::x", field = long, "{long}");
            tracing::error!(target: "blobferry::transfer::events", source = long, path,
                class = long, error = long, "{long}");
            tracing::info!(target: TARGET, watch = CALL, kind = long, source = long, address, path,
                outcome = "failed", error = long, micros = 5u64);
            tracing::info!(target: TARGET, watch = FILE, source = long, outcome = "ingested",
                bytes = 7u64, lag_seconds = 1.5);
            operation.flush(LONG_ENOUGH).await;
        }
        tracing::warn!(target: "blobferry::x", "The last.");
    }
    operation.end("ok", false);
    operation.flush(LONG_ENOUGH).await;
    let envelopes = ingestion.envelopes();
    envelopes.iter().for_each(|envelope| is_clean(&envelope.0, &["canary-pa55"]));
    let count = |kind| of(&envelopes, kind).len();
    assert_eq!(
        (count("Message"), count("Exception"), count("RemoteDependency"), count("Request")),
        (6, 5, 5, 1)
    );
    let bytes = of(&envelopes, "Metric")
        .iter()
        .filter(|metric| metric.data("metrics")[0]["name"] == "ingest_bytes_total")
        .count();
    assert_eq!(bytes, 5, "one a source");
    assert!(of(&envelopes, "Message").iter().any(|message| message.data("message") == "The last."));
    let first = of(&envelopes, "RemoteDependency")[0];
    assert_eq!(
        first
            .data("name")
            .as_str()
            .map(|name| name.starts_with("aaa") && name.ends_with("\\x0D\\x0A\\x00")),
        Some(true),
        "{first:#?}"
    );
}

/// What is logged in a test.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "current_thread")]
async fn more_than_can_be_sent_is_turned_away_counted_and_told_once() {
    let ingestion = Ingestion::start(Mood::Silent);
    let (insights, operation) = start(&ingestion, 100);
    let lines = Lines::default();
    let to = lines.clone();
    let log = tracing_subscriber::fmt::layer()
        .with_writer(move || to.clone())
        .with_ansi(false)
        .with_filter(filter::LevelFilter::WARN);
    let log = log.with_filter(filter::filter_fn(|metadata| metadata.target().contains("insights")));
    let subscriber = tracing_subscriber::registry().with(layer(insights)).with(log);
    let _in_this_thread = tracing::subscriber::set_default(subscriber);
    let sent = 20_000;
    for number in 0..sent {
        tracing::warn!(target: "blobferry::x", number, "One of many.");
        tracing::info!(target: TARGET, watch = CALL, kind = "fetch", source = "s",
            address = "sftp://h:22", path = "/p", outcome = "ok", micros = 5u64);
    }
    for _ in 0..2 {
        operation.flush(Duration::from_millis(200)).await;
    }
    let lines = String::from_utf8(lines.0.lock().expect("not poisoned").clone()).expect("UTF-8");
    assert_eq!(lines.matches("is being lost").count(), 1, "{lines}");
    let lost: u64 = lines
        .split("lost=")
        .nth(1)
        .and_then(|rest| rest.split(' ').next())
        .and_then(|number| number.parse().ok())
        .expect("a number");
    // Of each signal a queue of 2,048 and a request of 512 may be on their way.
    assert!((2 * (sent - 2_560)..=2 * (sent - 2_048)).contains(&lost), "{lost} in {lines}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_good_calls_a_part_is_sent_that_says_what_it_stands_for_and_every_failure_is_sent() {
    let ingestion = Ingestion::start(Mood::Well);
    let (insights, operation) = start(&ingestion, 10);
    let subscriber = tracing_subscriber::registry().with(layer(insights));
    let (well, failed) = (1_000, 60);
    {
        let _in_this_thread = tracing::subscriber::set_default(subscriber);
        let call = |kind: &str, path: &str, outcome: &str| {
            tracing::info!(target: TARGET, watch = CALL, kind, source = "s",
                address = "sftp://h:22", path, outcome, bytes = 1u64, micros = 5u64);
        };
        for number in 0..well {
            let path = format!("/in/{number}.csv");
            call("fetch", &path, "ok");
            call("store", &path, "ok");
            tracing::info!(target: TARGET, watch = FILE, source = "s", outcome = "ingested",
                bytes = 7u64);
        }
        for number in 0..failed {
            let path = format!("/in/bad-{number}.csv");
            call("fetch", &path, if number % 2 == 0 { "failed" } else { "left" });
            tracing::error!(target: "blobferry::x", class = "permission", error = "denied", path,
                "A file did not arrive.");
        }
        tracing::warn!(target: "blobferry::x", "Something to know.");
        taken_from_queue(Duration::from_secs(90));
    }
    operation.end("degraded", true);
    operation.flush(LONG_ENOUGH).await;
    let envelopes = ingestion.envelopes();
    let is_part = |envelope: &&Envelope| envelope.property(SAMPLED).is_some();
    let (part, whole): (Vec<&Envelope>, Vec<&Envelope>) = envelopes.iter().partition(is_part);
    // What is not a part of something stands for itself alone: every failure, the run, exceptions,
    // messages, measurements.
    for envelope in &whole {
        let rate = &envelope.0["sampleRate"];
        assert!(rate.is_null() || rate == 100.0, "{envelope:#?}");
    }
    let count = |kind: &str| whole.iter().filter(|envelope| envelope.kind() == kind).count();
    assert_eq!(
        (count("RemoteDependency"), count("Exception"), count("Request"), count("Message")),
        (failed, failed, 1, 1)
    );
    assert!(
        part.iter()
            .all(|envelope| envelope.kind() == "RemoteDependency"
                && envelope.0["sampleRate"] == 10.0),
        "{part:#?}"
    );
    // A portal counts each of them as often as it stands for: about as many as there were.
    let sum: f64 = part
        .iter()
        .map(|envelope| 100.0 / envelope.0["sampleRate"].as_f64().expect("a rate"))
        .sum();
    assert!((1_200.0..=2_800.0).contains(&sum), "{sum} of {}", 2 * well);
    // Both calls of a file, or none.
    let of_kind = |kind: &str| {
        let mut paths: Vec<_> = part
            .iter()
            .filter(|e| e.data("name") == kind)
            .filter_map(|e| e.property("path"))
            .collect();
        paths.sort_unstable();
        paths
    };
    assert_eq!(of_kind("fetch s"), of_kind("store s"));
    let measured = |name: &str| -> f64 {
        let points = of(&envelopes, "Metric")
            .into_iter()
            .filter(|metric| metric.data("metrics")[0]["name"] == name);
        points.filter_map(|metric| metric.data("metrics")[0]["value"].as_f64()).sum()
    };
    assert_eq!((measured(names::FILES), measured(names::QUEUE_AGE)), (f64::from(well), 90.0));
}
