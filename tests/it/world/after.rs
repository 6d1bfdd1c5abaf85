//! Deleting and moving at the source: only what is stored and recorded, and never twice.

use blobferry::model::failure::Class;
use blobferry::model::{ModifiedTime, Precision, RemotePath};
use blobferry::source::memory::MemorySourceFault;
use blobferry::store::contract::StoreKind;
use blobferry::store::memory::{MemoryFault as StoreFault, MemoryOp};
use blobferry::transfer::settings::After;

use super::{LONG_AGO, World};

fn deleting() -> World {
    World::new().with(|source| source.after = After::Delete)
}

/// As often as a run tries, the server is lost when it is to remove the file.
fn unreachable_for_a_run(world: World) -> World {
    let attempts = world.source.policy.attempts;
    (0..attempts).fold(world, |world, _| {
        world.fault("/a", "remove", MemorySourceFault::Fail(Class::Stalled))
    })
}

#[tokio::test]
async fn a_stored_file_is_deleted_at_the_source() {
    let world = deleting().file("/a", "one").file("/b", "two");
    assert_eq!(world.run().await.brief(), "ok: ingested 2");
    assert!(world.at_source().is_empty());
    assert_eq!(world.run().await.brief(), "ok: nothing");
    assert_eq!(world.names(), ["acme/a", "acme/b"]);
}

#[tokio::test]
async fn a_file_that_is_not_recorded_stays_at_the_source() {
    let world = deleting().file("/a", "one");
    // The first append makes the journal, the second begins the run, the third is the file's
    // record.
    world.store.fault(MemoryOp::Append, 3, StoreFault::Refused(StoreKind::Denied));
    assert_eq!(world.run().await.brief(), "degraded: failed 1 [store_auth], problem [ledger]");
    assert_eq!(world.at_source(), ["/a"]);
    let ran = world.run().await;
    // Nothing says that this program read it.
    assert_eq!((ran.brief().as_str(), ran.reads, ran.source().blobs), ("ok: ingested 1", 1, 0));
    assert!(world.at_source().is_empty());
    assert_eq!(world.names(), ["acme/a"]);
}

#[tokio::test]
async fn a_deletion_that_fails_is_told_and_finished_by_the_next_run_without_a_download() {
    let world = unreachable_for_a_run(deleting().file("/a", "one"));
    let ran = world.run().await;
    assert_eq!(
        (ran.brief().as_str(), ran.source().after_failed),
        ("degraded: ingested 1, problem [after_action]", 1)
    );
    assert_eq!(
        (world.recorded(), world.at_source()),
        (vec!["/a".to_owned()], vec!["/a".to_owned()])
    );
    let ran = world.run().await;
    assert_eq!(
        (ran.brief().as_str(), ran.reads, world.at_source().len()),
        ("ok: unchanged 1", 0, 0)
    );
}

#[tokio::test]
async fn a_file_that_changes_before_its_deletion_stays() {
    let hook = |tree: &mut blobferry::source::memory::MemorySourceTree| {
        let file = tree.files.get_mut(&RemotePath::from("/a")).unwrap();
        (file.content, file.claimed_size, file.modified) =
            ("newer".into(), Some(5), super::at(LONG_AGO + 9));
    };
    // The read looks at the file once; the second look is the deletion's.
    let world = deleting().file("/a", "one");
    world.server.fault("/a", "stat", MemorySourceFault::Before(Box::new(|_| {}))).fault(
        "/a",
        "stat",
        MemorySourceFault::Before(Box::new(hook)),
    );
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
    assert_eq!(world.at_source(), ["/a"]);
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
    assert_eq!((world.at_source().len(), world.names().len()), (0, 2));
}

#[tokio::test]
async fn a_moved_file_is_outside_the_listing() {
    let world = World::new()
        .with(|source| source.after = After::Move(RemotePath::from("/done")))
        .patterns(&[], &[], Some("/done"));
    let world = world.file("/in/a", "one");
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
    assert_eq!(world.at_source(), ["/done/in/a"]);
    assert_eq!(world.run().await.brief(), "ok: nothing");
}

#[tokio::test]
async fn a_deletion_left_over_is_finished_though_the_listing_shows_local_time() {
    let world = unreachable_for_a_run(deleting().file("/a", "one"));
    // LIST shows the hour of the server's zone, to the minute.
    let local = time::OffsetDateTime::from_unix_timestamp(LONG_AGO + 7_200).unwrap();
    world.server.tree().files.get_mut(&RemotePath::from("/a")).unwrap().listed =
        Some(ModifiedTime::new(local, Precision::Minute));
    assert_eq!(world.run().await.brief(), "degraded: ingested 1, problem [after_action]");
    let ran = world.run().await;
    assert_eq!(
        (ran.brief().as_str(), ran.reads, world.at_source().len()),
        ("ok: unchanged 1", 0, 0)
    );
}

#[tokio::test]
async fn a_file_of_the_same_name_every_day_is_moved_every_day() {
    let world = World::new()
        .with(|source| source.after = After::Move(RemotePath::from("/done")))
        .patterns(&[], &[], Some("/done"));
    for (day, content) in [(0, "monday"), (86_400, "tuesday"), (172_800, "wednesday")] {
        world.put("/report.csv", content, LONG_AGO + day);
        let ran = world.run().await;
        assert_eq!(
            (ran.brief().as_str(), ran.source().after_failed),
            ("ok: ingested 1", 0),
            "{ran}"
        );
    }
    let moved = world.at_source();
    assert!(moved.len() == 3 && moved.contains(&"/done/report.csv".to_owned()), "{moved:?}");
    assert!(
        moved.iter().any(|path| path.starts_with("/done/report~20240102T000000Z-")),
        "{moved:?}"
    );
}

#[tokio::test]
async fn two_runs_that_move_the_same_files_do_not_stumble() {
    let world = World::new()
        .with(|source| source.after = After::Move(RemotePath::from("/done")))
        .patterns(&[], &[], Some("/done"));
    let world =
        (0..20).fold(world, |world, n| world.file(&format!("/{n}"), format!("content {n}")));
    let (first, second) = tokio::join!(world.run(), world.run());
    for ran in [first, second] {
        assert_eq!(ran.report.exit_code(), 0, "{ran}");
    }
    assert_eq!((world.names().len(), world.at_source().len()), (20, 20));
    assert!(
        world.at_source().iter().all(|path| path.starts_with("/done/")),
        "{:?}",
        world.at_source()
    );
}
