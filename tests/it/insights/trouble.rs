//! Whatever the endpoint does, runs are the same as without it, and not much later.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::ingestion::{Ingestion, Mood, Server, connection};
use super::world::{Done, Handler, World};
use super::{AUTHENTICATION, CONNECTION, FOLDER, TIMER};

/// A flush takes two seconds at most; the rest is for a machine that is busy with other things.
const LONGER: Duration = Duration::from_secs(6);
const LOST: &str = "telemetry for Application Insights is being lost";

/// What a run came to, without what is another each time.
fn result(done: &Done) -> (Option<i32>, Value) {
    let report: Value =
        serde_json::from_str(&done.out).unwrap_or_else(|error| panic!("{error}: {}", done.err));
    let counts = ["listed", "ingested", "failed", "bytes", "blobs"]
        .map(|count| report["sources"][0][count].clone());
    (done.code, counts.into())
}

/// How the same run goes without telemetry.
pub async fn alone() -> ((Option<i32>, Value), Duration) {
    let done = World::new(FOLDER).await.run(&[]);
    let result = result(&done);
    assert_eq!(result, (Some(1), serde_json::json!([3, 2, 1, 24, 2])), "{}", done.err);
    (result, done.took)
}

#[track_caller]
pub fn is_as_alone(done: &Done, (expected, took): &((Option<i32>, Value), Duration), how: &str) {
    assert_eq!(&result(done), expected, "{how}: {}", done.err);
    assert!(done.took < *took + LONGER, "{how}: {:?} instead of {took:?}", done.took);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_in_trouble_is_told_once_and_changes_no_run() {
    let alone = alone().await;
    for mood in
        [Mood::Silent, Mood::Status(500), Mood::Status(400), Mood::Status(503), Mood::Partly]
    {
        let ingestion = Ingestion::start(mood);
        let done = World::new(FOLDER).await.run(&[(CONNECTION, &ingestion.connection())]);
        is_as_alone(&done, &alone, &format!("{mood:?}"));
        assert_eq!(done.err.matches(LOST).count(), 1, "{mood:?}: {}", done.err);
        assert!(!ingestion.0.requests().is_empty(), "{mood:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_refuses_connections_changes_no_run() {
    let alone = alone().await;
    let address =
        TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let done = World::new(FOLDER).await.run(&[(CONNECTION, &connection(address))]);
    is_as_alone(&done, &alone, "refused");
    assert_eq!(done.err.matches(LOST).count(), 1, "{}", done.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_handler_answers_beside_a_silent_endpoint_and_tells_of_it_once() {
    let ingestion = Ingestion::start(Mood::Silent);
    let world = World::new(FOLDER).await;
    let handler = Handler::start(world.folder.path(), &[(CONNECTION, &ingestion.connection())]);
    for invocation in ["11-aa", "22-bb", "33-cc"] {
        let begun = Instant::now();
        let (status, body) =
            handler.post("IngestTimer", &[("X-Azure-Functions-InvocationId", invocation)], TIMER);
        assert!(status == 200 && body.contains("failed 1"), "{status} {body}");
        assert!(begun.elapsed() < Duration::from_secs(2) + LONGER, "{:?}", begun.elapsed());
    }
    let (_, err) = handler.end();
    assert_eq!(err.matches(LOST).count(), 1, "{err}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_identity_that_gives_no_token_is_a_warning() {
    let alone = alone().await;
    let ingestion = Ingestion::start(Mood::Well);
    for answer in [Some((400, r#"{"error":"no"}"#.to_owned())), None] {
        let identity = Server::start(move |_| answer.clone());
        let endpoint = format!("http://{}/msi/token", identity.address);
        let settings = [
            (CONNECTION, &*ingestion.connection()),
            (AUTHENTICATION, "Authorization=AAD"),
            ("IDENTITY_ENDPOINT", &endpoint),
            ("IDENTITY_HEADER", "h"),
        ];
        let done = World::new(FOLDER).await.run(&settings);
        is_as_alone(&done, &alone, "no token");
        assert!(done.err.contains(LOST), "{}", done.err);
        assert_eq!(identity.requests().len(), 1);
    }
    // The key alone is not what was asked for.
    assert_eq!(ingestion.0.requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_cannot_be_used_are_a_warning_that_does_not_repeat_them() {
    let alone = alone().await;
    let bad = [
        "canary",
        "InstrumentationKey=;IngestionEndpoint=https://canary/",
        "InstrumentationKey=c-1;IngestionEndpoint=http://canary.example.org/",
    ];
    for bad in bad {
        let done = World::new(FOLDER).await.run(&[(CONNECTION, bad)]);
        is_as_alone(&done, &alone, bad);
        assert!(
            done.err.contains("Warning: APPLICATIONINSIGHTS_CONNECTION_STRING cannot be used")
                && !done.err.contains("canary"),
            "{}",
            done.err
        );
    }
    let ingestion = Ingestion::start(Mood::Well);
    let done = World::new(FOLDER)
        .await
        .run(&[(CONNECTION, &ingestion.connection()), (AUTHENTICATION, "canary")]);
    is_as_alone(&done, &alone, "authentication");
    assert!(
        done.err.contains("Warning: APPLICATIONINSIGHTS_AUTHENTICATION_STRING")
            && !done.err.contains("canary"),
        "{}",
        done.err
    );
    let done = World::new(FOLDER).await.run(&[(CONNECTION, " ")]);
    is_as_alone(&done, &alone, "empty");
    assert!(!done.err.contains("Warning"), "{}", done.err);
}
