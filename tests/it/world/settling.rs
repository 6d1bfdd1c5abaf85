//! Files that may still be written: young, marked, named as unfinished.

use std::time::Duration;

use blobferry::model::RemotePath;
use blobferry::source::memory::{MemorySourceFault, MemorySourceTree};
use tokio_util::sync::CancellationToken;

use super::{World, now};

fn waiting() -> World {
    World::new().with(|source| source.stable_for = Duration::from_millis(60))
}

fn grow(tree: &mut MemorySourceTree) {
    let file = tree.files.get_mut(&RemotePath::from("/a")).unwrap();
    (file.content, file.claimed_size) = ("longer".into(), Some(6));
}

#[tokio::test]
async fn a_young_file_that_rests_is_taken_at_the_end_of_the_same_run() {
    let world = waiting();
    world.put("/a", "one", now());
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
    assert_eq!(world.text("acme/a"), "one");
}

#[tokio::test]
async fn a_file_that_is_still_growing_is_left_and_the_next_run_takes_it_without_waiting() {
    let world = waiting().fault("/a", "stat", MemorySourceFault::Before(Box::new(grow)));
    world.put("/a", "one", now());
    let ran = world.run().await;
    assert_eq!((ran.brief().as_str(), ran.report.exit_code()), ("ok: deferred 1 [unsettled]", 0));
    assert!(world.names().is_empty());
    tokio::time::sleep(Duration::from_millis(70)).await;
    let plan = blobferry::run::plan(
        vec![world.source.clone()],
        world.options(world.store.clone(), CancellationToken::new()),
    )
    .await;
    let first = plan[0].files.iter().next().expect("one file");
    assert!(!first.unsettled, "it was seen before as it is now");
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
    assert_eq!(world.text("acme/a"), "longer");
}

#[tokio::test]
async fn a_young_file_that_goes_away_meanwhile_is_gone() {
    let world = waiting().fault(
        "/a",
        "stat",
        MemorySourceFault::Before(Box::new(|tree| tree.files.clear())),
    );
    world.put("/a", "one", now());
    assert_eq!(world.run().await.brief(), "ok: gone 1");
}

#[tokio::test]
async fn with_no_time_to_settle_a_young_file_is_taken_at_once() {
    let world = World::new();
    world.put("/a", "one", now());
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
}

#[tokio::test]
async fn with_markers_only_marked_files_are_taken() {
    let world = World::new().with(|source| source.marker = Some(".done".into()));
    let world = world.file("/a", "one").file("/a.done", "").file("/b", "two");
    assert_eq!(world.run().await.brief(), "ok: ingested 1, skipped 2 [marker no_marker]");
    assert_eq!(world.names(), ["acme/a"]);
    let world = world.file("/b.done", "");
    assert_eq!(world.run().await.brief(), "ok: ingested 1, unchanged 1, skipped 2 [marker]");
}

#[tokio::test]
async fn files_named_as_unfinished_are_left_alone() {
    let world = World::new().file("/a.part", "half");
    assert_eq!(world.run().await.brief(), "ok: skipped 1 [in_progress]");
    world.server.tree().files.clear();
    world.put("/a", "whole", super::LONG_AGO);
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
}

#[tokio::test]
async fn a_marker_that_an_earlier_file_left_does_not_make_half_a_file_complete() {
    let world = World::new().with(|source| {
        source.marker = Some(".done".into());
        source.stable_for = std::time::Duration::from_secs(3_600);
    });
    let world = world.file("/a.csv", "whole").file("/a.csv.done", "");
    assert_eq!(world.run().await.brief(), "ok: ingested 1, skipped 1 [marker]");
    world.put("/a.csv", "half", super::now());
    let cancel = tokio_util::sync::CancellationToken::new();
    let stop = cancel.clone();
    let stopped = async move {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        stop.cancel();
    };
    let (ran, ()): (super::Ran, ()) = tokio::join!(world.run_until(cancel), stopped);
    assert_eq!(ran.source().ingested, 0, "{ran}");
    assert!(ran.to_string().contains("its marker is older than it is"), "{ran}");
    // The sender's word, given anew.
    world.put("/a.csv", "half and half", super::now() - 60);
    world.put("/a.csv.done", "", super::now());
    assert_eq!(world.run().await.source().ingested, 1);
}
