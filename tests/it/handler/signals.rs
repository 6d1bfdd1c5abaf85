//! How the binary ends, and what is left for the next.

use std::time::{Duration, Instant};

use blobferry::demo::sftp::script::{DemoSftpFault, DemoSftpScript};
use blobferry::history::record::RunRecord;
use blobferry::model::BlobName;
use blobferry::store::contract::{Condition, Properties, Store};
use blobferry::store::folder::FolderStore;
use md5::{Digest, Md5};
use serde_json::json;

use super::process::App;
use super::worker::{Encoding, until};
use super::{res, status, timer};

const RECORDS: &str = "_blobferry/_runs/";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_ends_an_idle_handler_at_once() {
    let app = App::new(&[], DemoSftpScript::default()).await;
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let mut worker = app.worker(&[]);
        let begun = Instant::now();
        worker.signal(signal);
        assert_eq!(worker.ended().code(), Some(code));
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_gives_files_in_hand_ten_seconds_and_no_more() {
    let app = App::new(
        &["slow.txt"],
        DemoSftpScript::default().always("slow.txt", DemoSftpFault::StallAt(0)),
    )
    .await;
    let mut worker = app.worker(&[]);
    let run = app.hang(&worker);
    let begun = Instant::now();
    worker.signal("TERM");
    assert_eq!(worker.ended().code(), Some(143));
    assert!(begun.elapsed() < Duration::from_secs(11), "{:?}", begun.elapsed());
    let (code, answer) = run.join().expect("an answer");
    assert!(
        code == 200 && answer["Logs"][0].as_str().is_some_and(|text| text.contains("interrupted")),
        "{answer}"
    );
    let record = records(&app).await.pop().expect("a record");
    assert_eq!(json!(record)["status"], "interrupted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_run_is_shown_as_abandoned_and_the_next_completes() {
    let app = App::new(
        &["a.txt", "slow.txt"],
        DemoSftpScript::default().once("slow.txt", DemoSftpFault::StallAt(0)),
    )
    .await;
    let mut worker = app.worker(&[]);
    let port = worker.port;
    std::thread::spawn(move || {
        // The connection dies with the process.
        drop(std::panic::catch_unwind(|| {
            super::worker::post(port, "IngestTimer", "1-1", &timer(), Encoding::Chunked)
        }));
    });
    until("one file is stored", || app.stored("acme/a.txt"));
    app.hangs();
    let handle = tokio::runtime::Handle::current();
    until("the run is recorded", || {
        tokio::task::block_in_place(|| handle.block_on(records(&app))).pop()
    });
    worker.signal("KILL");
    worker.ended();
    assert_eq!(app.stored("acme/slow.txt"), None);
    let mut record = records(&app).await.pop().expect("a record");
    record.heartbeat -= time::Duration::minutes(4);
    put(&app, &record).await;
    let worker = app.worker(&[]);
    let (_, answer) =
        worker.post("IngestStatus", "1-2", &status(Some(&record.id)), Encoding::Chunked);
    assert_eq!(res(&answer).2["status"], "abandoned");
    let (code, answer) = worker.post("IngestTimer", "1-3", &timer(), Encoding::Chunked);
    assert!(
        code == 200
            && answer["Logs"][0].as_str().is_some_and(|text| text.contains("ok: ingested ")),
        "{answer}"
    );
    assert!(app.stored("acme/a.txt").is_some() && app.stored("acme/slow.txt").is_some());
    let (_, answer) = worker.post("IngestStatus", "1-4", &status(None), Encoding::Chunked);
    let list = res(&answer).2;
    assert_eq!(
        (&list["runs"][0]["status"], &list["runs"][1]["status"]),
        (&json!("ok"), &json!("abandoned")),
        "{list}"
    );
}

fn store(app: &App) -> FolderStore {
    FolderStore::new(&app.folder.path().join("stored")).expect("a store")
}

async fn records(app: &App) -> Vec<RunRecord> {
    let store = store(app);
    let mut names = Vec::new();
    // The handler may not have made the folder yet.
    if store
        .list(RECORDS, &mut |blob| {
            names.extend(
                Some(blob.name)
                    .filter(|name| blobferry::state::paths::run_of_record(name).is_some()),
            )
        })
        .await
        .is_err()
    {
        return Vec::new();
    }
    let mut records = Vec::new();
    for name in names {
        let found =
            store.get(&BlobName::new(name).expect("a name"), 0, 1 << 20).await.expect("it is read");
        records.extend(
            found.map(|(_, bytes)| serde_json::from_slice::<RunRecord>(&bytes).expect("a record")),
        );
    }
    records
}

async fn put(app: &App, record: &RunRecord) {
    let bytes = serde_json::to_vec(record).expect("JSON");
    let properties = Properties {
        content_type: "application/json".into(),
        md5: Md5::digest(&bytes).into(),
        metadata: [].into(),
        placement: Default::default(),
    };
    let name =
        BlobName::new(format!("{RECORDS}{}/{}.json", &record.id[..8], record.id)).expect("a name");
    store(app)
        .put(&name, bytes.into(), &properties, &Condition::Always)
        .await
        .expect("it is written");
}
