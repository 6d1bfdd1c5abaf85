//! Telemetry of runs whose work goes through the queue: whoever closes a run counts it, once.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::CONNECTION;
use super::ingestion::{Envelope, Ingestion, Mood, of};
use super::kql::evaluate;
use super::world::World;
use crate::e2e;
use crate::handler::pump::{Pump, over, work_queue};
use crate::handler::{ingest, res};
use crate::servers::{Azurite, Persistence};

fn query(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("infra/queries").join(name);
    std::fs::read_to_string(path).expect("a query")
}

/// Measured ends of runs: word and trigger.
fn ends(envelopes: &[Envelope]) -> Vec<(&str, &str)> {
    let of_runs = of(envelopes, "Metric")
        .into_iter()
        .filter(|metric| metric.data("metrics")[0]["name"] == "ingest_run_duration_seconds");
    of_runs
        .map(|end| {
            assert_eq!(end.data("metrics")[0]["count"], 1, "{end:?}");
            (end.property("status").expect("a word"), end.property("trigger").expect("a trigger"))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_with_failed_files_through_the_queue_is_counted_once_and_fires_the_alert() {
    let Some(azurite) = Azurite::start(Persistence::Memory) else { return };
    let (container, base) = (Azurite::container("counted"), Azurite::container("work"));
    let destination = format!(
        "{}[dispatch]\nmode = \"queue\"\npiece_files = 1\n",
        e2e::azure(&azurite, &container)
    );
    // Two files that arrive, and one that is denied.
    let world = World::new(&destination).await;
    let ingestion = Ingestion::start(Mood::Well);
    let (storage, queue) = (azurite.connection_string(), work_queue(&base));
    let connection = ingestion.connection();
    let settings = [
        ("AzureWebJobsStorage", storage.as_str()),
        ("INGEST_QUEUE", queue.as_str()),
        (CONNECTION, connection.as_str()),
    ];
    let pump = Pump::new(world.folder.path(), &settings, 2);
    let mut record = Value::Null;
    std::thread::scope(|scope| {
        scope.spawn(|| pump.run(&azurite, &base));
        let (status, _, body) = res(&pump.call("IngestHttp", &ingest(&[])).1);
        assert_eq!(status, 202, "{body:#}");
        let id = body["id"].as_str().expect("an id");
        record = over(&pump, id, Duration::from_secs(120));
        pump.stop();
    });
    assert_eq!(record["status"], "degraded");
    // The end of the run, and those of the messages before it: a plan and three pieces.
    let parts = |envelopes: &[Envelope]| {
        let calls = of(envelopes, "RemoteDependency").into_iter();
        calls.filter(|call| call.data("name") == "IngestQueue").count()
    };
    let envelopes =
        ingestion.once(|envelopes| !ends(envelopes).is_empty() && parts(envelopes) >= 4);
    assert_eq!(ends(&envelopes), [("degraded", "http")], "one end, with its own trigger");
    let requests = of(&envelopes, "Request");
    let runs: Vec<_> = requests.iter().map(|request| request.property("run_id")).collect();
    assert_eq!(runs, [record["id"].as_str()], "one request, however many messages it took");
    // The rule as it stands in the template, over what was sent.
    let fired = evaluate(&query("runs-that-went-wrong.kql"), &envelopes);
    let [row] = &fired[..] else { panic!("{fired:?}") };
    assert_eq!(
        (&row["status"], &row["trigger"], &row["runs"]),
        (&json!("degraded"), &json!("http"), &json!(1.0))
    );
    let ended = evaluate(&query("runs-that-ended.kql"), &envelopes);
    assert_eq!(ended[0]["runs"], json!(1.0), "so the rule for no run at all is silent");
    // And neither is, or does, where nothing was sent.
    assert!(evaluate(&query("runs-that-went-wrong.kql"), &[]).is_empty());
    assert_eq!(evaluate(&query("runs-that-ended.kql"), &[])[0]["runs"], json!(0.0));
}

/// Two hosts with one queue and one state. One of them dies with its handler while both bring files
/// over, and stays dead: its message comes again after ten minutes, as in Azure.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes up to two minutes; scripts/two-hosts.sh runs it"]
async fn what_a_dead_host_had_in_hand_is_taken_within_two_minutes_and_counted_once() {
    const FILES: usize = 60;
    let azurite = Azurite::start(Persistence::Memory).expect("the server is there");
    let (container, base) = (Azurite::container("hosts"), Azurite::container("work"));
    let destination = format!(
        "{}[dispatch]\nmode = \"queue\"\npiece_files = 5\n",
        e2e::azure(&azurite, &container)
    );
    let world = World::new(&destination).await;
    for n in 0..FILES {
        world.file(&format!("{n:03}.bin"), &vec![u8::try_from(n).expect("few"); 2 << 20]);
    }
    let ingestion = Ingestion::start(Mood::Well);
    let (storage, queue) = (azurite.connection_string(), work_queue(&base));
    let connection = ingestion.connection();
    let settings = [
        ("AzureWebJobsStorage", storage.as_str()),
        ("INGEST_QUEUE", queue.as_str()),
        (CONNECTION, connection.as_str()),
    ];
    let mut pump = Pump::new(world.folder.path(), &settings, 2);
    pump.hidden = Duration::from_secs(600);
    // In a thread of its own: this one belongs to a runtime.
    let count = || {
        let names = std::thread::scope(|scope| {
            scope.spawn(|| e2e::blobs(&azurite, &container)).join().expect("it lists")
        });
        names.keys().filter(|name| name.starts_with("acme/")).count()
    };
    let (mut record, mut took) = (Value::Null, Duration::ZERO);
    std::thread::scope(|scope| {
        scope.spawn(|| pump.run(&azurite, &base));
        let (status, _, body) = res(&pump.call("IngestHttp", &ingest(&[])).1);
        assert_eq!(status, 202, "{body:#}");
        e2e::wait_for("both bring files over", || count() >= 12);
        assert!(count() < FILES, "the host has to die before all is done");
        pump.die(1);
        let died = Instant::now();
        record = over(&pump, body["id"].as_str().expect("an id"), Duration::from_secs(120));
        took = died.elapsed();
        pump.stop();
    });
    println!("taken over and ended {:.1} s after the host had died", took.as_secs_f64());
    let source = &record["sources"][0];
    assert_eq!(
        (&source["ingested"], &source["failed"], &record["status"]),
        (&json!(FILES + 2), &json!(1), &json!("degraded")),
        "{record:#}"
    );
    assert_eq!(count(), FILES + 2, "no file is there twice");
    let audit = super::world::run_words(world.folder.path(), &["audit", "--json"], &settings);
    assert_eq!(audit.code, Some(0), "{}{}", audit.out, audit.err);
    let envelopes = ingestion.once(|envelopes| !ends(envelopes).is_empty());
    assert_eq!(ends(&envelopes), [("degraded", "http")], "one end");
    let requests = of(&envelopes, "Request");
    let runs: Vec<_> = requests.iter().map(|request| request.property("run_id")).collect();
    assert_eq!(runs, [record["id"].as_str()], "one request");
}
