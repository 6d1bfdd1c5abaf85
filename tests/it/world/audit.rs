//! An audit finds nothing after honest runs of every policy, and each thing that was tampered with.

use std::sync::Arc;

use blobferry::audit::{self, Bytes, Findings};
use blobferry::ledger::{Ledger, Tuning};
use blobferry::model::{
    BlobName, ModifiedTime, Precision, RemoteFile, RemotePath, Secret, Version,
};
use blobferry::rules::naming::Layout;
use blobferry::rules::plan::known::Known;
use blobferry::source::contract::{Endpoint, Session, SourceError};
use blobferry::source::memory::MemorySourceFault as SourceFault;
use blobferry::store::contract::{BlobInfo, Condition, Metadata, Properties, Store, StoreKind};
use blobferry::store::memory::{MemoryFault, MemoryOp};
use blobferry::transfer::settings::{After, Archives, Source, Versions};
use md5::Digest;
use serde_json::Value;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::ledger::rewrite;
use super::zips::{entry, link, zip, zip_of};
use super::{LONG_AGO, World, quick};

mod facts;
mod folded;
mod tampered;

async fn found(world: &World, bytes: Bytes) -> Findings {
    let store: Arc<dyn Store> = world.store.clone();
    let sources = std::slice::from_ref(&world.source);
    let mut found =
        audit::audit(store, sources, bytes, quick(), &|_| {}).await.expect("the store can be read");
    found.pop().expect("one source")
}

/// Every violation on a line: invariant, blob, path, message.
fn told(found: &Findings) -> Vec<String> {
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let line = |one: &audit::Violation| {
        format!("{} {} {}: {}", one.invariant.word(), text(&one.blob), text(&one.path), one.message)
    };
    found.violations.first.iter().map(line).collect()
}

/// Expects that all is well, also by the bytes.
async fn clean(world: &World) -> Findings {
    let found = found(world, Bytes::Read).await;
    assert_eq!(told(&found), [""; 0], "{:?}", world.store.names());
    assert_eq!(found.checked.downloaded, found.checked.blobs);
    found
}

/// Expects exactly these violations, by how their lines begin.
async fn violated(world: &World, expected: &[&str]) -> Findings {
    let found = found(world, Bytes::Believed).await;
    let mut told = told(&found);
    told.sort();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    let matches = told.len() == expected.len()
        && told.iter().zip(&expected).all(|(told, expected)| told.starts_with(expected));
    assert!(matches, "expected {expected:#?}, found {told:#?}");
    assert_eq!(found.violations.total, expected.len() as u64);
    found
}

/// Plain files, an archive, a name of odd bytes, an empty file.
fn full() -> World {
    let archive = zip_of(&[
        entry("d/", b""),
        entry("d/1.txt", b"one"),
        entry("2.txt", b"two"),
        link("l", "2.txt"),
    ]);
    World::new()
        .file("/a.csv", "one")
        .file("/sub/caf\u{e9} 50%.csv", "two")
        .file("/c.zip", archive)
        .file("/empty", "")
}

async fn delete(world: &World, name: &str) {
    world.store.delete(&BlobName::new(name).unwrap()).await.unwrap();
}

/// Puts a blob in its own place with other bytes or properties.
async fn tamper(world: &World, name: &str, change: impl FnOnce(&mut Vec<u8>, &mut Metadata)) {
    let BlobInfo { mut metadata, content_type, .. } = world.info(name).await;
    let mut bytes = world.store.content(name).unwrap().to_vec();
    change(&mut bytes, &mut metadata);
    put(world, name, bytes, metadata, content_type).await;
}

async fn put(
    world: &World,
    name: &str,
    bytes: Vec<u8>,
    metadata: Metadata,
    content_type: Option<String>,
) {
    let properties = Properties {
        content_type: content_type.unwrap_or_else(|| "text/plain".to_owned()),
        md5: md5::Md5::digest(&bytes).into(),
        metadata,
        placement: Default::default(),
    };
    world
        .store
        .put(&BlobName::new(name).unwrap(), bytes.into(), &properties, &Condition::Always)
        .await
        .unwrap();
}

/// The only blob of `acme`'s runs with this ending.
fn of_run(world: &World, ending: &str) -> String {
    let mut names = world
        .store
        .names()
        .into_iter()
        .filter(|name| name.starts_with("_blobferry/acme/runs/") && name.ends_with(ending));
    let name = names.next().expect("there is one");
    assert_eq!(names.next(), None);
    name
}

async fn note_in_ledger(world: &World, run: &str, files: &[(&RemoteFile, Version)]) {
    let ledger = Ledger::open(world.store.clone(), "acme", run, quick(), CancellationToken::new())
        .await
        .unwrap();
    ledger.begin(OffsetDateTime::now_utc()).await.unwrap();
    for (file, version) in files {
        let known = Known::new(file, file.modified, *version);
        ledger.ingested(file, &known, 1, 1).await.unwrap();
    }
    ledger.end().await.unwrap();
}

fn file(path: &str, size: u64, modified: i64) -> RemoteFile {
    RemoteFile {
        path: RemotePath::from(path),
        size: Some(size),
        modified: ModifiedTime::from_unix(modified),
    }
}

/// A server whose password is part of a file's name.
#[derive(Debug)]
struct Talkative(Arc<dyn Endpoint>);

#[async_trait::async_trait]
impl Endpoint for Talkative {
    fn address(&self) -> &str {
        self.0.address()
    }
    fn default_connections(&self) -> usize {
        self.0.default_connections()
    }
    fn secrets(&self) -> Vec<Secret> {
        vec![Secret::new("canary-bird")]
    }
    async fn open(&self) -> Result<Box<dyn Session>, SourceError> {
        self.0.open().await
    }
}

// Honest runs.

#[tokio::test]
async fn nothing_was_ever_done() {
    let found = clean(&World::new()).await;
    assert_eq!(found, Findings { source: "acme".into(), ..Findings::default() });
}

#[tokio::test]
async fn every_policy_leaves_what_it_claims_also_of_two_versions() {
    let settings: &[fn(&mut Source)] = &[
        |_| {},
        |source| source.versions = Versions::Overwrite,
        |source| source.archives = Archives::Keep,
        |source| source.archives = Archives::Both,
        |source| (source.archives, source.versions) = (Archives::Both, Versions::Overwrite),
        |source| source.naming.layout = Layout::ByType,
        |source| (source.naming.layout, source.versions) = (Layout::ByType, Versions::Overwrite),
        |source| source.adopt = true,
        |source| source.incremental_members = true,
        |source| source.quarantine = true,
        |source| source.after = After::Move(RemotePath::from("/done")),
    ];
    for (n, setting) in settings.iter().enumerate() {
        let world = full().with(setting);
        assert_eq!(world.run().await.source().ingested, 4, "setting {n}");
        let first = clean(&world).await;
        assert_eq!(
            (
                first.checked.records,
                first.checked.lines,
                first.checked.reports,
                first.notes.unrecorded
            ),
            (4, 4, 1, 0),
            "setting {n}"
        );
        // A changed file, a changed archive, both back again, one asked for again.
        for round in [1, 2, 0] {
            world.put("/a.csv", format!("one{round}"), LONG_AGO + round);
            world.put(
                "/c.zip",
                zip(&[("d/1.txt", &b"one"[..]), ("2.txt", format!("two{round}").as_bytes())]),
                LONG_AGO + round,
            );
            assert_eq!(world.run().await.source().failed, 0, "setting {n}");
            clean(&world).await;
        }
        let mut world = world;
        world.again = vec!["**".to_owned()];
        assert_eq!(world.run().await.source().failed, 0, "setting {n}");
        let last = clean(&world).await;
        assert_eq!(
            last.notes.earlier_versions + last.notes.unrecorded + last.notes.unprovable,
            0,
            "setting {n}: {:?}",
            last.notes
        );
        assert_eq!(last.checked.reports, 5);
    }
}

#[tokio::test]
async fn other_bytes_of_equal_size_and_time_hold_also_after_a_rebuild() {
    let mut world = World::new().file("/a.csv", "one").file("/c.zip", zip(&[("1.txt", b"one")]));
    world.run().await;
    world.put("/a.csv", "two", LONG_AGO);
    world.put("/c.zip", zip(&[("1.txt", b"two")]), LONG_AGO);
    world.again = vec!["**".to_owned()];
    world.run().await;
    clean(&world).await;
    let rebuilt = blobferry::ledger::rebuild(
        world.store.clone(),
        "acme",
        blobferry::ledger::Originals::Prove,
        "20260101T000000Z-00000000",
        quick(),
        CancellationToken::new(),
    );
    assert_eq!(rebuilt.await.unwrap().files, 2);
    clean(&world).await;
}

#[tokio::test]
async fn names_that_meet_and_names_too_long_hold() {
    let long = format!("/{}", format!("{}/", "%".repeat(200)).repeat(6));
    let world = World::new()
        .with(|source| source.naming.layout = Layout::ByType)
        .file("/x/a.csv", "1")
        .file("/y/a.csv", "22")
        .file(&long, "3");
    world.run().await;
    assert_eq!(clean(&world).await.notes.unprovable, 1);
    let twins = World::new()
        .file("/a.zip", zip_of(&[entry("x", b"1"), entry("x", b"2"), entry("X", b"3")]));
    twins.run().await;
    assert_eq!(clean(&twins).await.checked.members, 3);
}

#[tokio::test]
async fn times_of_every_precision_and_none_hold() {
    let world = World::new().file("/none", "x");
    let at = OffsetDateTime::from_unix_timestamp(LONG_AGO).unwrap()
        + std::time::Duration::from_nanos(123_456_789);
    for (n, precision) in
        [Precision::Nanosecond, Precision::Second, Precision::Minute, Precision::Day]
            .into_iter()
            .enumerate()
    {
        let path = format!("/{n}");
        world.put(&path, "x", LONG_AGO);
        world.server.tree().files.get_mut(&path.as_str().into()).unwrap().modified =
            Some(ModifiedTime::new(at, precision));
    }
    let unknown = |file: &mut blobferry::source::memory::MemoryFile| {
        (file.claimed_size, file.modified) = (None, None)
    };
    unknown(world.server.tree().files.get_mut(&"/none".into()).unwrap());
    assert_eq!(world.run().await.source().ingested, 5);
    clean(&world).await;
}

#[tokio::test]
async fn what_did_not_arrive_has_its_line() {
    let world = World::new()
        .file("/ok", "x")
        .file("/part.part", "x")
        .file("/bad.zip", zip(&[("a", b"b")])[..30].to_vec());
    let world = world.fault(
        "/no",
        "read",
        SourceFault::Refuse(blobferry::model::failure::Class::Permission),
    );
    world.put("/no", "x", LONG_AGO);
    world.put("/gone", "x", LONG_AGO);
    let world = world.fault(
        "/gone",
        "read",
        SourceFault::Before(Box::new(|tree| drop(tree.files.remove(&"/gone".into())))),
    );
    assert_eq!(
        world.run().await.brief(),
        "degraded: ingested 1, skipped 1 [in_progress], gone 1, failed 2 [archive_damaged \
        permission]"
    );
    let mut lines: Vec<String> =
        String::from_utf8(world.store.content(&of_run(&world, ".jsonl")).unwrap().to_vec())
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect();
    lines.sort();
    let brief: Vec<String> = lines
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|line| {
            format!(
                "{} {} {} {}",
                line["path"],
                line["outcome"],
                line["why"],
                if line["reason"].is_null() { &line["class"] } else { &line["reason"] }
            )
        })
        .collect();
    assert_eq!(
        brief,
        [
            r#""/bad.zip" "failed" "new" "archive_damaged""#,
            r#""/gone" "gone" "new" null"#,
            r#""/no" "failed" "new" "permission""#,
            r#""/ok" "ingested" "new" null"#
        ]
    );
    assert_eq!(clean(&world).await.checked.lines, 4);
}

#[tokio::test]
async fn a_folded_ledger_holds_and_earlier_versions_are_told() {
    let world = full();
    world.run().await;
    world.put("/a.csv", "one1", LONG_AGO + 1);
    world.run().await;
    let tuning = Tuning { lines: 0, share: 1, journals: 0, shard_files: 2 };
    let ledger = Ledger::open_tuned(
        world.store.clone(),
        "acme",
        "fold",
        quick(),
        CancellationToken::new(),
        tuning,
    )
    .await
    .unwrap();
    ledger.begin(OffsetDateTime::now_utc()).await.unwrap();
    ledger.end().await.unwrap();
    let found = clean(&world).await;
    assert_eq!(
        (found.checked.records, found.notes.earlier_versions, found.notes.unrecorded),
        (4, 1, 0)
    );
    assert_eq!(found.notes.unfinished_runs, [""; 0]);
}

#[tokio::test]
async fn more_lines_than_fit_in_memory_at_once_are_appended_as_they_come() {
    let world = World::new();
    for n in 0..3_000 {
        world.put(&format!("/{}{n:05}.csv", "long-".repeat(40)), "", LONG_AGO);
    }
    let ran = world.run().await;
    assert_eq!((ran.source().ingested, ran.source().manifest_lines), (3_000, 3_000));
    assert!(ran.requests.appends >= 2, "{:?}", ran.requests);
    clean(&world).await;
}

#[tokio::test]
async fn a_run_that_could_not_write_its_manifest_says_so() {
    let world = full();
    // Journal, begin, four records come before it; the end of the run comes last.
    let appends = {
        let like = full();
        like.run().await.requests.appends
    };
    world.store.fault(MemoryOp::Append, appends - 1, MemoryFault::Refused(StoreKind::Denied));
    let ran = world.run().await;
    assert_eq!(ran.brief(), "degraded: ingested 4, problem [store_auth]", "{ran}");
    assert!(ran.to_string().contains("its manifest is incomplete: appending to"), "{ran}");
    assert_eq!((ran.source().manifest.as_ref(), ran.source().manifest_lines), (None, 0));
    assert_eq!(clean(&world).await.notes.incomplete_manifests, 1);
}

#[tokio::test]
async fn secrets_in_names_are_not_told_and_the_rest_holds() {
    let world = World::new().file("/canary-bird-file", "x").file("/b", "y").with(|source| {
        source.endpoint = Arc::new(Talkative(source.endpoint.clone()));
    });
    let ran = world.run().await;
    assert_eq!(ran.brief(), "ok: ingested 2");
    let manifest =
        String::from_utf8(world.store.content(&of_run(&world, ".jsonl")).unwrap().to_vec())
            .unwrap();
    assert!(!manifest.contains("canary") && manifest.contains("***-file"), "{manifest}");
    assert_eq!(clean(&world).await.notes.unprovable, 1);
}

// What is no violation.

#[tokio::test]
async fn a_kill_between_commit_and_record_is_told() {
    let world = full();
    world.run().await;
    world.lose_ledger().await;
    // A run that was killed leaves no report, and no line of what it did not record.
    for ending in [".json", ".jsonl"] {
        delete(&world, &of_run(&world, ending)).await;
    }
    let killed = Ledger::open(world.store.clone(), "acme", "killed", quick(), Default::default());
    killed.await.unwrap().begin(OffsetDateTime::now_utc()).await.unwrap();
    let found = clean(&world).await;
    assert_eq!((found.notes.unrecorded, found.checked.records), (6, 0));
    let overwritten =
        World::new().with(|source| source.versions = Versions::Overwrite).file("/a", "old");
    overwritten.run().await;
    let newer = file("/a", 5, LONG_AGO + 60);
    tamper(&overwritten, "acme/a", |bytes, metadata| {
        *bytes = b"newer".to_vec();
        metadata.extend([
            ("source_size".into(), "5".into()),
            ("run".into(), "20990101T000000Z-00000000".into()),
            ("mtime".into(), "2024-01-01T00:01:00Z".into()),
            ("version".into(), Version::of(&newer).to_string()),
        ]);
    })
    .await;
    assert_eq!(clean(&overwritten).await.notes.unrecorded, 1);
}

#[tokio::test]
async fn runs_that_did_not_end_and_blobs_of_others_are_told() {
    let world = full();
    world.run().await;
    world.foreign("acme/by-hand", b"x").await;
    let ledger =
        Ledger::open(world.store.clone(), "acme", "killed", quick(), CancellationToken::new())
            .await
            .unwrap();
    ledger.begin(OffsetDateTime::now_utc()).await.unwrap();
    delete(&world, &of_run(&world, ".json")).await;
    let name = of_run(&world, ".jsonl");
    rewrite(&world, &BlobName::new(name).unwrap(), |bytes| bytes[..bytes.len() - 9].to_vec()).await;
    let found = clean(&world).await;
    assert_eq!(
        (found.notes.unfinished_runs, found.notes.foreign, found.notes.manifests_without_report),
        (vec!["killed".to_owned()], 1, 1)
    );
}
