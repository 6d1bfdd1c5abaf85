//! The ledger: damaged, of a later release, out of reach, written by two at once.

use std::sync::Arc;

use blobferry::ledger::journal::journal_name;
use blobferry::run::run;
use blobferry::store::contract::{Store, StoreKind};
use blobferry::store::memory::{Fault, Op};
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::zips::zip;
use super::{LONG_AGO, World, assert_equations};

async fn rewrite(world: &World, change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
    let name = journal_name("acme", 0);
    let bytes = world.store.content(name.as_str()).unwrap();
    world.store.delete(&name).await.unwrap();
    world.store.append(&name, Bytes::from(change(bytes.to_vec())), 0).await.unwrap();
}

async fn damaged(change: impl FnOnce(Vec<u8>) -> Vec<u8>, says: &str) {
    let world = World::new().file("/a", "one");
    world.run().await;
    rewrite(&world, change).await;
    let journal = world.store.content(journal_name("acme", 0).as_str());
    world.put("/b", "two", LONG_AGO);
    let ran = world.run().await;
    assert_eq!((ran.brief().as_str(), ran.report.exit_code(), ran.reads), ("failed: problem [ledger]", 3, 0));
    assert!(ran.to_string().contains(says), "{ran}");
    assert_eq!((world.names(), world.store.content(journal_name("acme", 0).as_str())), (vec!["acme/a".to_owned()], journal));
}

#[tokio::test]
async fn a_damaged_ledger_stops_its_source_and_nothing_is_begun_anew() {
    let flip = |mut bytes: Vec<u8>| {
        let at = bytes.len() / 2;
        bytes[at] ^= 0xff;
        bytes
    };
    damaged(flip, "line 3 of `_blobferry/acme/journal-00000.ndjson` is damaged").await;
    damaged(|bytes| bytes[..bytes.len() - 9].to_vec(), "line 4 of `_blobferry/acme/journal-00000.ndjson` is damaged").await;
    damaged(|_| b"{\"t\":\"schema\",\"version\":99}\n".to_vec(), "was written by a later release (schema 99").await;
}

#[tokio::test]
async fn an_unknown_kind_of_line_is_not_guessed_at() {
    damaged(|bytes| [&bytes[..], b"{\"t\":\"moved\",\"path\":\"/a\"}\n"].concat(), "is damaged").await;
}

#[tokio::test]
async fn a_ledger_that_cannot_be_begun_lets_nothing_be_committed() {
    let world = World::new().file("/a", "one").file("/b", "two");
    world.store.fault(Op::Append, 1, Fault::Refused(StoreKind::Denied));
    let ran = world.run().await;
    assert_eq!((ran.brief().as_str(), ran.reads, world.names().len()), ("degraded: failed 2 [ledger], problem [store_auth]", 0, 0));
    assert_eq!(world.run().await.brief(), "ok: ingested 2");
}

#[tokio::test]
async fn a_ledger_that_breaks_midway_stops_further_downloads() {
    let world = (0..50).fold(World::new(), |world, n| world.file(&format!("/{n}"), "content"));
    world.store.fault(Op::Append, 5, Fault::Refused(StoreKind::Denied));
    let ran = world.run().await;
    assert_eq!(ran.source().listed, 50);
    assert!(ran.source().failed > 40 && ran.reads < 12, "{} reads: {}", ran.reads, ran.brief());
    assert_eq!(world.run().await.report.exit_code(), 0);
    assert_eq!((world.names().len(), world.recorded().len()), (50, 50));
}

#[tokio::test]
async fn two_runs_at_once_store_and_record_everything_once_and_neither_fails() {
    for round in 0..10 {
        let mut world = World::new().file("/big", vec![7; 9 << 20]).file("/a.zip", zip(&[("1", b"one"), ("2", b"two")]));
        for n in 0..10 {
            world = world.file(&format!("/{n}"), format!("content {n} of {round}"));
        }
        let store: Arc<dyn Store> = world.store.clone();
        let one = || run(vec![world.source.clone()], world.options(store.clone(), CancellationToken::new()));
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
    // As a run leaves it that dies right after it began.
    let began = b"{\"t\":\"begin\",\"run\":\"20260101T000000Z-dead\",\"at\":\"2026-01-01T00:00:00Z\"}\n";
    rewrite(&world, |bytes| [&bytes[..], began].concat()).await;
    for (path, heads) in [("/b", true), ("/c", false), ("/d", false)] {
        world.put(path, "new", LONG_AGO);
        let ran = world.run().await;
        assert_eq!((ran.source().ingested, ran.requests.heads > 0), (1, heads), "{path}: {:?}", ran.requests);
    }
}

#[tokio::test]
async fn a_ledger_taken_away_meanwhile_fails_soon_and_the_next_run_begins_anew() {
    let world = World::new().file("/a", "one");
    world.run().await;
    let store = world.store.clone();
    let take_away = move |tree: &mut blobferry::source::memory::Tree| {
        tree.files.remove(&"/nothing".into());
        let name = journal_name("acme", 0);
        futures_util::FutureExt::now_or_never(store.delete(&name)).expect("memory does not wait").unwrap();
    };
    let world = world.meanwhile("/b", 0, take_away);
    world.put("/b", "two", LONG_AGO);
    let ran = world.run().await;
    assert_eq!(ran.brief(), "degraded: unchanged 1, failed 1 [ledger], problem [ledger]");
    assert!(ran.requests.requests() < 20, "{:?}", ran.requests);
    assert_eq!(world.run().await.report.exit_code(), 0);
    assert_eq!(world.names(), ["acme/a", "acme/b"]);
}

#[tokio::test]
async fn a_long_ledger_goes_on_in_a_next_journal() {
    let world = World::new().file("/a", "one");
    world.run().await;
    rewrite(&world, |bytes| [bytes, b"{\"t\":\"end\",\"run\":\"of old\"}\n".repeat(40_000)].concat()).await;
    let first = world.store.content(journal_name("acme", 0).as_str());
    world.put("/b", "two", LONG_AGO);
    assert_eq!(world.run().await.brief(), "ok: ingested 1, unchanged 1");
    assert_eq!(world.store.content(journal_name("acme", 0).as_str()), first);
    assert!(world.store.content(journal_name("acme", 1).as_str()).is_some());
    assert_eq!(world.run().await.brief(), "ok: unchanged 2");
}
