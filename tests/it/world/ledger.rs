//! The ledger as runs meet it: damaged, of a later release, of an earlier one, out of reach,
//! written by two at once.

use std::sync::Arc;

use blobferry::ledger::head_name;
use blobferry::model::BlobName;
use blobferry::run::run;
use blobferry::state::paths::StatePaths;
use blobferry::store::contract::{Store, StoreKind};
use blobferry::store::memory::{MemoryFault, MemoryOp};
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::zips::zip;
use super::{LONG_AGO, World, assert_equations};

/// The journal of a world that has one.
pub fn journal(world: &World) -> BlobName {
    let names: Vec<String> =
        world.store.names().into_iter().filter(|name| name.contains("/ledger/journal-")).collect();
    assert_eq!(names.len(), 1, "{names:?}");
    BlobName::new(names[0].clone()).unwrap()
}

/// Puts other bytes in the place of a journal or a head.
pub async fn rewrite(world: &World, name: &BlobName, change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
    let bytes = world.store.content(name.as_str()).unwrap();
    world.store.delete(name).await.unwrap();
    world.store.append(name, Bytes::from(change(bytes.to_vec())), 0).await.unwrap();
}

fn state(world: &World) -> Vec<(String, Option<Bytes>)> {
    let names = world.store.names().into_iter().filter(|name| !name.contains("/runs/"));
    names.map(|name| (name.clone(), world.store.content(&name))).collect()
}

async fn damaged(
    name: impl FnOnce(&World) -> BlobName,
    change: impl FnOnce(Vec<u8>) -> Vec<u8>,
    says: &[&str],
) {
    let world = World::new().file("/a", "one");
    world.run().await;
    rewrite(&world, &name(&world), change).await;
    let before = state(&world);
    world.put("/b", "two", LONG_AGO);
    let ran = world.run().await;
    assert_eq!(
        (ran.brief().as_str(), ran.report.exit_code(), ran.reads),
        ("failed: problem [ledger]", 3, 0)
    );
    for says in says {
        assert!(ran.to_string().contains(says), "no `{says}` in {ran}");
    }
    assert!(state(&world) == before, "nothing is touched");
}

fn head(_: &World) -> BlobName {
    head_name("acme")
}

fn flip(mut bytes: Vec<u8>) -> Vec<u8> {
    let at = bytes.len() / 2;
    bytes[at] ^= 0x01;
    bytes
}

const REBUILD: &str = "`blobferry ledger rebuild --source acme`";

#[tokio::test]
async fn a_damaged_ledger_stops_its_source_and_nothing_is_begun_anew() {
    damaged(journal, flip, &["line 3 of `_blobferry/acme/ledger/journal-", "is damaged", REBUILD])
        .await;
    damaged(head, flip, &["`_blobferry/acme/ledger/head.json` is damaged", REBUILD]).await;
    damaged(
        head,
        |bytes| bytes[..bytes.len() - 9].to_vec(),
        &["`_blobferry/acme/ledger/head.json` is damaged", REBUILD],
    )
    .await;
    damaged(journal, |_| b"x".to_vec(), &["it does not begin as a journal does", REBUILD]).await;
}

#[tokio::test]
async fn a_ledger_of_a_later_release_is_refused() {
    damaged(journal, |_| b"{\"t\":\"schema\",\"version\":99}\n".to_vec(), &["is damaged"]).await;
    damaged(
        head,
        |_| b"{\"schema\":99,\"more\":[]}\n".to_vec(),
        &["head.json` was written by a later release (schema 99, this one knows 3): run that \
            release"],
    )
    .await;
}

#[tokio::test]
async fn an_unknown_kind_of_line_is_not_guessed_at() {
    damaged(
        journal,
        |bytes| [&bytes[..], b"{\"t\":\"moved\",\"path\":\"/a\"}\n"].concat(),
        &["is damaged"],
    )
    .await;
}

#[tokio::test]
async fn a_journal_that_is_gone_stops_its_source_until_the_ledger_is_rebuilt() {
    let world = World::new().file("/a", "one");
    world.run().await;
    world.store.delete(&journal(&world)).await.unwrap();
    let ran = world.run().await;
    assert_eq!((ran.brief().as_str(), ran.report.exit_code()), ("failed: problem [ledger]", 3));
    assert!(
        ran.to_string().contains("is missing, though the ledger's head names it")
            && ran.to_string().contains(REBUILD),
        "{ran}"
    );
}

#[tokio::test]
async fn a_journal_whose_last_line_is_torn_is_read_up_to_there() {
    let world = World::new().file("/a", "one").file("/b", "two");
    world.run().await;
    let whole = world.store.content(journal(&world).as_str()).unwrap();
    let lines: Vec<usize> = whole
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'\n')
        .map(|(at, _)| at + 1)
        .collect();
    for length in lines[0] + 1..whole.len() {
        rewrite(&world, &journal(&world), |_| whole[..length].to_vec()).await;
        world.put("/b", "two", LONG_AGO);
        let ran = world.run().await;
        // What the lost lines spoke of is found under its name, and not downloaded again.
        assert_eq!(
            (ran.report.exit_code(), ran.source().blobs, ran.reads),
            (0, 0, 0),
            "cut to {length} bytes: {ran}"
        );
        assert_eq!(world.run().await.brief(), "ok: unchanged 2");
        world.lose_ledger().await;
        world.run().await;
    }
}

#[tokio::test]
async fn a_ledger_that_cannot_be_begun_lets_nothing_be_committed() {
    // A journal that cannot be made ahead is tried once more. The second append of a run whose
    // journal is made tells of its beginning.
    let appends = |nth: &[u64]| nth.iter().map(|nth| (MemoryOp::Append, *nth)).collect::<Vec<_>>();
    for faults in [appends(&[1, 2]), appends(&[2]), vec![(MemoryOp::Put, 1)]] {
        let world = World::new().file("/a", "one").file("/b", "two");
        for (op, nth) in faults {
            world.store.fault(op, nth, MemoryFault::Refused(StoreKind::Denied));
        }
        let ran = world.run().await;
        assert_eq!(
            (ran.brief().as_str(), ran.reads, world.names().len()),
            ("degraded: failed 2 [ledger], problem [store_auth]", 0, 0)
        );
        assert_eq!(world.run().await.brief(), "ok: ingested 2");
    }
}

#[tokio::test]
async fn a_ledger_that_breaks_midway_stops_further_downloads() {
    let mut world = (0..50).fold(World::new(), |world, n| world.file(&format!("/{n}"), "content"));
    // Few records come together.
    world.limits.transfers = 2;
    world.store.fault(MemoryOp::Append, 5, MemoryFault::Refused(StoreKind::Denied));
    let ran = world.run().await;
    assert_eq!(ran.source().listed, 50);
    assert!(ran.source().failed > 40 && ran.reads < 20, "{} reads: {}", ran.reads, ran.brief());
    assert_eq!(world.run().await.report.exit_code(), 0);
    assert_eq!((world.names().len(), world.recorded().len()), (50, 50));
}

#[tokio::test]
async fn two_runs_at_once_store_everything_once_and_neither_fails() {
    for round in 0..10 {
        let mut world = World::new()
            .file("/big", vec![7; 9 << 20])
            .file("/a.zip", zip(&[("1", b"one"), ("2", b"two")]));
        for n in 0..10 {
            world = world.file(&format!("/{n}"), format!("content {n} of {round}"));
        }
        let store: Arc<dyn Store> = world.store.clone();
        let one = || {
            run(vec![world.source.clone()], world.options(store.clone(), CancellationToken::new()))
        };
        let (first, second) = tokio::join!(one(), one());
        for report in [&first, &second] {
            assert_equations(report);
            assert_eq!(report.exit_code(), 0, "{report}");
        }
        assert_eq!(world.names().len(), 13, "{:?}", world.names());
        let ran = world.run().await;
        assert_eq!((ran.brief().as_str(), ran.reads), ("ok: unchanged 12", 0));
    }
}

#[tokio::test]
async fn after_one_crash_only_the_next_run_looks_for_blobs_first() {
    let world = World::new().file("/a", "one");
    world.run().await;
    // As a run leaves it that dies right after it began: its end is missing.
    rewrite(&world, &journal(&world), |bytes| {
        let end = bytes[..bytes.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap();
        bytes[..=end].to_vec()
    })
    .await;
    for (path, heads) in [("/b", true), ("/c", false), ("/d", false)] {
        world.put(path, "new", LONG_AGO);
        // The ledger's head, and each journal's length, tell that it is as it was before the lease.
        let journals =
            world.store.names().iter().filter(|name| name.contains("/journal-")).count() as u64;
        let ran = world.run().await;
        assert_eq!(
            (ran.source().ingested, ran.requests.heads > 1 + journals),
            (1, heads),
            "{path}: {:?}",
            ran.requests
        );
    }
}

#[tokio::test]
async fn a_journal_taken_away_meanwhile_fails_soon() {
    let world = World::new().file("/a", "one");
    world.run().await;
    let (store, name) = (world.store.clone(), journal(&world));
    let take_away = move |tree: &mut blobferry::source::memory::MemorySourceTree| {
        tree.files.remove(&"/nothing".into());
        futures_util::FutureExt::now_or_never(store.delete(&name))
            .expect("memory does not wait")
            .unwrap();
    };
    let world = world.meanwhile("/b", 0, take_away);
    world.put("/b", "two", LONG_AGO);
    let ran = world.run().await;
    assert_eq!(ran.brief(), "degraded: unchanged 1, failed 1 [ledger], problem [ledger]");
    assert!(ran.requests.requests() < 20, "{:?}", ran.requests);
    // That is damage, and the next run says what to do about it.
    assert!(world.run().await.to_string().contains(REBUILD));
}

/// What the release before this one wrote for `/a` (\"one\") and `/b` (\"two\").
async fn of_the_release_before(world: &World) {
    world.run().await;
    let plain = |line: &[u8]| {
        let mut line: serde_json::Value = serde_json::from_slice(line).unwrap();
        line.as_object_mut().unwrap().remove("crc");
        if line["t"] == "schema" {
            line["version"] = 1.into();
        }
        format!("{line}\n").into_bytes()
    };
    let content = world.store.content(journal(world).as_str()).unwrap();
    let lines: Vec<u8> = content.split_inclusive(|byte| *byte == b'\n').flat_map(plain).collect();
    world.lose_ledger().await;
    world.store.append(&StatePaths::of("acme").legacy_journal(0), lines.into(), 0).await.unwrap();
}

#[tokio::test]
async fn the_ledger_of_the_release_before_is_taken_over() {
    let world = World::new().file("/a", "one").file("/b", "two");
    of_the_release_before(&world).await;
    let old = world.store.content(StatePaths::of("acme").legacy_journal(0).as_str());
    let ran = world.run().await;
    assert_eq!(
        (ran.brief().as_str(), ran.reads, ran.requests.requests()),
        ("ok: unchanged 2", 0, 6),
        "{:?}",
        ran.requests
    );
    assert!(
        old.is_some()
            && world.store.content(StatePaths::of("acme").legacy_journal(0).as_str()) == old,
        "a run that records nothing writes nothing"
    );
    world.put("/c", "three", LONG_AGO);
    assert_eq!(world.run().await.brief(), "ok: ingested 1, unchanged 2");
    assert_eq!(world.store.content(StatePaths::of("acme").legacy_journal(0).as_str()), None);
    let mut recorded = world.recorded();
    recorded.sort();
    assert_eq!(recorded, ["/a", "/b", "/c"]);
    let ran = world.run().await;
    assert!(ran.requests.requests() <= 9, "{:?}", ran.requests);
    assert_eq!((ran.brief().as_str(), ran.reads), ("ok: unchanged 3", 0));
}

#[tokio::test]
async fn a_damaged_ledger_of_the_release_before_is_not_begun_anew() {
    let world = World::new().file("/a", "one").file("/b", "two");
    of_the_release_before(&world).await;
    rewrite(&world, &StatePaths::of("acme").legacy_journal(0), |bytes| {
        String::from_utf8(bytes).unwrap().replacen("version", "vers", 2).into_bytes()
    })
    .await;
    let ran = world.run().await;
    assert_eq!(
        (ran.brief().as_str(), ran.report.exit_code(), ran.reads),
        ("failed: problem [ledger]", 3, 0)
    );
    assert!(
        ran.to_string().contains("`_blobferry/acme/journal-00000.ndjson` is damaged")
            && ran.to_string().contains(REBUILD),
        "{ran}"
    );
}

#[tokio::test]
async fn an_unchanged_source_costs_five_requests_and_no_record() {
    let world = World::new().file("/a", "one").file("/b", "two");
    for round in 0..5 {
        world.put(&format!("/more{round}"), "x", LONG_AGO);
        world.run().await;
        let before = state(&world);
        let ran = world.run().await;
        assert_eq!(
            (ran.requests.requests(), ran.requests.puts, ran.requests.appends),
            (5, 0, 0),
            "{:?}",
            ran.requests
        );
        assert!(state(&world) == before);
    }
    assert_eq!(
        world.store.names().iter().filter(|name| name.contains("/ledger/")).count(),
        2,
        "runs go on in one journal"
    );
}
