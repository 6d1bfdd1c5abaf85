//! A store that is busy, forgets to answer, refuses, or holds what is not ours.

use blobferry::store::contract::StoreKind;
use blobferry::store::memory::MemoryStore;
use blobferry::store::memory::{MemoryFault, MemoryOp};

use super::World;
use super::zips::zip;

async fn check(op: MemoryOp, content: Vec<u8>, fault: MemoryFault, expected: &str) {
    // The first write is the ledger's head, the second a small file's.
    let calls = if op == MemoryOp::Put { 2 } else { 1 };
    for nth in 1..=calls {
        check_nth(op, nth, &content, fault, expected).await;
    }
}

async fn check_nth(op: MemoryOp, nth: u64, content: &[u8], fault: MemoryFault, expected: &str) {
    let world = World::new().file("/a", content.to_vec());
    world.store.fault(op, nth, fault);
    let ran = world.run().await;
    assert_eq!(ran.brief(), expected, "{op:?} {fault:?}: {ran}");
    assert!(world.store.content("acme/a").unwrap() == content);
    assert_eq!(
        (world.names().len(), ran.source().blobs, world.recorded().len()),
        (1, 1, 1),
        "{op:?} {fault:?}"
    );
    assert_eq!(world.run().await.brief(), "ok: unchanged 1");
}

#[tokio::test]
async fn a_busy_store_is_asked_again_and_a_lost_answer_is_no_failure() {
    let (small, big) = (b"one".to_vec(), vec![7; 9 << 20]);
    for fault in [
        MemoryFault::Refused(StoreKind::Unavailable),
        MemoryFault::LostReply,
        MemoryFault::Busy(std::time::Duration::ZERO),
    ] {
        for op in [MemoryOp::Put, MemoryOp::Append, MemoryOp::Get, MemoryOp::Prepare] {
            check(op, small.clone(), fault, "ok: ingested 1").await;
        }
        for op in [MemoryOp::Commit, MemoryOp::Stage, MemoryOp::Head] {
            check(op, big.clone(), fault, "ok: ingested 1").await;
        }
    }
}

#[tokio::test]
async fn a_store_that_is_busy_four_times_is_asked_a_fifth() {
    let world = World::new().file("/a", "one");
    // The first write is the ledger's head.
    (2..=5).for_each(|nth| {
        world.store.fault(MemoryOp::Put, nth, MemoryFault::Refused(StoreKind::Unavailable))
    });
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
    let world = World::new().file("/a", "one");
    (2..=6).for_each(|nth| {
        world.store.fault(MemoryOp::Put, nth, MemoryFault::Refused(StoreKind::Unavailable))
    });
    assert_eq!(world.run().await.brief(), "degraded: failed 1 [store_unavailable]");
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
}

#[tokio::test]
async fn bytes_that_arrive_corrupted_are_sent_again() {
    check(
        MemoryOp::Put,
        b"one".to_vec(),
        MemoryFault::Refused(StoreKind::Corrupted),
        "ok: ingested 1",
    )
    .await;
    check(
        MemoryOp::Stage,
        vec![7; 9 << 20],
        MemoryFault::Refused(StoreKind::Corrupted),
        "ok: ingested 1",
    )
    .await;
}

#[tokio::test]
async fn lost_answers_everywhere_in_an_archive_are_no_failure() {
    for (op, calls) in [(MemoryOp::Put, 4), (MemoryOp::Append, 4)] {
        for nth in 1..=calls {
            let world = World::new().file("/a.zip", zip(&[("1", b"one"), ("2", b"two")]));
            world.store.fault(op, nth, MemoryFault::LostReply);
            let ran = world.run().await;
            assert_eq!(
                (ran.brief().as_str(), ran.source().members.stored),
                ("ok: ingested 1", 2),
                "{op:?} {nth}"
            );
            assert_eq!((world.names().len(), world.recorded().len()), (2, 1));
        }
    }
}

#[tokio::test]
async fn a_blob_of_somebody_else_is_never_touched() {
    for content in [b"one".to_vec(), vec![7; 9 << 20]] {
        let world = World::new().file("/a", content).file("/b", "two");
        world.foreign("acme/a", b"by hand").await;
        let ran = world.run().await;
        assert_eq!(ran.brief(), "degraded: ingested 1, failed 1 [store_conflict]");
        assert_eq!(
            (world.text("acme/a").as_str(), world.recorded()),
            ("by hand", vec!["/b".to_owned()])
        );
        assert!(world.store.staged().is_empty());
    }
}

#[tokio::test]
async fn with_adopt_an_equal_blob_is_taken_over_and_another_is_not() {
    let world =
        World::new().with(|source| source.adopt = true).file("/a", "same").file("/b", "ours");
    world.foreign("acme/a", b"same").await;
    world.foreign("acme/b", b"theirs").await;
    assert_eq!(world.run().await.brief(), "degraded: ingested 1, failed 1 [store_conflict]");
    assert_eq!(world.text("acme/b"), "theirs");
    assert!(world.info("acme/a").await.metadata.contains_key("version"));
    assert_eq!(world.run().await.brief(), "degraded: unchanged 1, failed 1 [store_conflict]");
}

#[tokio::test]
async fn a_credential_without_the_right_to_write_fails_at_once_with_a_hint() {
    let world = World::new().file("/a", "one");
    world.store.fault(MemoryOp::Prepare, 1, MemoryFault::Refused(StoreKind::Denied));
    let ran = world.run().await;
    assert_eq!(
        (ran.brief().as_str(), ran.report.exit_code(), ran.requests.requests(), ran.reads),
        ("failed: problem [store_auth]", 3, 1, 0)
    );
    assert!(ran.to_string().contains("hint:"), "{ran}");
    world.store.fault(MemoryOp::Put, 2, MemoryFault::Refused(StoreKind::Denied));
    assert_eq!(world.run().await.brief(), "degraded: failed 1 [store_auth]");
}

#[tokio::test]
async fn a_container_that_is_not_there_is_told_and_nothing_is_read() {
    let world = World::of(blobferry::source::memory::MemoryServer::new(), MemoryStore::missing())
        .file("/a", "one");
    let ran = world.run().await;
    assert_eq!(
        (ran.brief().as_str(), ran.report.exit_code(), ran.logins),
        ("failed: problem [store_container]", 3, 0)
    );
}
