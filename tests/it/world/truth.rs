//! Witnesses that err: what counts as unchanged, as arrived, as ours to remove, when a server's
//! word does not hold.

use blobferry::model::failure::Class;
use blobferry::model::{ModifiedTime, Precision, RemotePath};
use blobferry::rules::plan::known::Times;
use blobferry::source::memory::{MemoryFile, MemorySourceFault, MemorySourceTree};
use blobferry::store::contract::StoreKind;
use blobferry::store::memory::{MemoryFault, MemoryOp};
use blobferry::transfer::settings::{After, DeleteBy};
use bytes::Bytes;

use super::{LONG_AGO, World, at};

/// A server that only lists, to the minute: it tells no time when it is asked for a file.
fn listed_only(world: &World, path: &str, content: &'static str, day: i64) {
    let listed =
        at(LONG_AGO + day * 86_400).map(|time| ModifiedTime::new(time.at, Precision::Minute));
    let file = MemoryFile {
        content: Bytes::from(content),
        modified: None,
        listed,
        claimed_size: Some(content.len() as u64),
    };
    world.server.tree().files.insert(RemotePath::from(path), file);
}

fn untimed(world: &World, path: &str, content: &'static str) {
    let file = MemoryFile {
        content: Bytes::from(content),
        modified: None,
        listed: None,
        claimed_size: Some(content.len() as u64),
    };
    world.server.tree().files.insert(RemotePath::from(path), file);
}

fn deleting() -> World {
    World::new().with(|source| source.after = After::Delete)
}

fn stored(world: &World) -> Vec<String> {
    let mut contents: Vec<String> = world
        .contents()
        .into_iter()
        .map(|(_, content)| String::from_utf8_lossy(&content).into_owned())
        .collect();
    contents.sort();
    contents
}

#[tokio::test]
async fn a_file_of_equal_size_that_is_replaced_on_a_server_that_only_lists_is_taken() {
    let world = World::new();
    for (day, content) in [(0, "AAAA"), (1, "BBBB"), (5, "CCCC")] {
        listed_only(&world, "/daily.dat", content, day);
        assert_eq!(world.run().await.brief(), "ok: ingested 1");
    }
    assert_eq!(stored(&world), ["AAAA", "BBBB", "CCCC"]);
}

#[tokio::test]
async fn a_listed_time_that_moved_over_equal_bytes_stores_nothing_and_is_read_once() {
    let world = World::new();
    listed_only(&world, "/daily.dat", "AAAA", 0);
    world.run().await;
    listed_only(&world, "/daily.dat", "AAAA", 1);
    for reads in [1, 0] {
        let ran = world.run().await;
        assert_eq!(
            (ran.brief().as_str(), ran.reads, world.names().len()),
            ("ok: unchanged 1", reads, 1)
        );
    }
}

#[tokio::test]
async fn a_listing_of_which_all_moved_by_an_hour_is_not_read_again() {
    let world = World::new();
    for n in 0..5 {
        listed_only(&world, &format!("/{n}"), "same", n);
    }
    world.run().await;
    for file in world.server.tree().files.values_mut() {
        file.listed = file
            .listed
            .map(|listed| ModifiedTime::new(listed.at + time::Duration::HOUR, Precision::Minute));
    }
    for _ in 0..2 {
        let ran = world.run().await;
        assert_eq!((ran.brief().as_str(), ran.reads), ("ok: unchanged 5", 0));
    }
}

#[tokio::test]
async fn what_cannot_be_compared_within_the_allowance_fails_until_it_is_its_turn() {
    let world = World::new().with(|source| source.recheck = 10);
    for n in 0..3 {
        untimed(&world, &format!("/{n}"), "12345");
    }
    world.run().await;
    let ran = world.run().await;
    assert_eq!(
        (ran.brief().as_str(), ran.reads),
        ("degraded: unchanged 2, failed 1 [unverified]", 2)
    );
    let off = world.with(|source| source.recheck = 0);
    let ran = off.run().await;
    assert_eq!((ran.brief().as_str(), ran.reads), ("degraded: failed 3 [unverified]", 0));
}

#[tokio::test]
async fn with_times_of_no_worth_size_alone_is_trusted_and_counted() {
    let world = World::new().file("/a", "one").with(|source| source.times = Times::None);
    world.run().await;
    world.put("/a", "two", LONG_AGO + 60);
    let ran = world.run().await;
    assert_eq!((ran.brief().as_str(), ran.source().on_trust, ran.reads), ("ok: unchanged 1", 1, 0));
    assert!(ran.to_string().contains("1 unchanged file told by size alone"), "{ran}");
    world.put("/a", "three", LONG_AGO + 60);
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
}

#[tokio::test]
async fn a_file_that_was_read_whole_before_the_server_took_it_away_is_kept() {
    let world = World::new().file("/a", "one").meanwhile("/a", 3, |tree| tree.files.clear());
    let ran = world.run().await;
    assert_eq!(ran.brief(), "ok: ingested 1");
    assert!(
        ran.source().notes.iter().any(|note| note.contains("not_seen_afterwards")),
        "{:?}",
        ran.source().notes
    );
    assert_eq!(world.text("acme/a"), "one");
    assert!(world.info("acme/a").await.metadata.contains_key("not_seen_afterwards"));
    // The same size and time again, other bytes.
    world.put("/a", "two", LONG_AGO);
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
    assert_eq!(stored(&world), ["one", "two"]);
}

/// A run that dies before it can record what it took leaves the mark at the blob alone.
#[tokio::test]
async fn a_file_like_one_that_was_taken_away_is_read_though_the_run_that_knew_died() {
    let world = World::new().file("/a", "one").meanwhile("/a", 3, |tree| tree.files.clear());
    // The journal and the beginning are appended before the record.
    world.store.fault(MemoryOp::Append, 3, MemoryFault::Refused(StoreKind::Denied));
    assert_eq!(world.run().await.source().ingested, 0);
    assert!(world.info("acme/a").await.metadata.contains_key("not_seen_afterwards"));
    world.put("/a", "two", LONG_AGO);
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
    assert_eq!(stored(&world), ["one", "two"]);
}

#[tokio::test]
async fn a_file_like_one_that_was_taken_away_is_read_though_the_ledger_was_rebuilt() {
    let world = World::new().file("/a", "one").meanwhile("/a", 3, |tree| tree.files.clear());
    world.run().await;
    let rebuilt = blobferry::ledger::rebuild(
        world.store.clone(),
        "acme",
        blobferry::ledger::Originals::Prove,
        "20260101T000000Z-00000000",
        super::quick(),
        tokio_util::sync::CancellationToken::new(),
    );
    assert_eq!(rebuilt.await.unwrap().files, 1);
    world.put("/a", "two", LONG_AGO);
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
    assert_eq!(stored(&world), ["one", "two"]);
}

#[tokio::test]
async fn a_file_of_which_only_a_part_came_before_it_vanished_is_not_kept() {
    let world = World::new().file("/a", vec![7; 200_000]);
    let world = world.meanwhile("/a", 70_000, |tree| tree.files.clear()).fault(
        "/a",
        "read",
        MemorySourceFault::EndAt(70_000),
    );
    world.run().await;
    assert!(
        world.recorded().is_empty()
            || world.store.content("acme/a").is_some_and(|content| content.len() == 200_000)
    );
}

#[tokio::test]
async fn a_listing_that_tells_another_size_than_the_file_has_does_not_keep_it_from_arriving() {
    let world = World::new().file("/a", "hello");
    // The listing's own size goes with every description: so it is told apart by its first look.
    world.server.tree().files.get_mut(&RemotePath::from("/a")).unwrap().claimed_size = Some(0);
    let right = |tree: &mut MemorySourceTree| {
        tree.files.get_mut(&RemotePath::from("/a")).unwrap().claimed_size = Some(5)
    };
    let world = world.fault("/a", "stat", MemorySourceFault::Before(Box::new(right)));
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
    assert_eq!(world.text("acme/a"), "hello");
}

/// Its time moves at every look.
fn restless(world: &World, path: &'static str, looks: i64) {
    for look in 1..=looks {
        let moved = move |tree: &mut MemorySourceTree| {
            if let Some(file) = tree.files.get_mut(&RemotePath::from(path)) {
                file.modified = at(LONG_AGO + look);
            }
        };
        world.server.fault(path, "stat", MemorySourceFault::Before(Box::new(moved)));
    }
}

#[tokio::test]
async fn files_whose_time_moves_at_every_look_arrive_and_are_known_by_their_bytes() {
    let world = World::new().file("/a", "one").file("/b", "two").file("/c", "three");
    for path in ["/a", "/b", "/c"] {
        restless(&world, path, 20);
    }
    let ran = world.run().await;
    assert_eq!(ran.brief(), "ok: ingested 3");
    assert!(
        ran.source().notes.iter().any(|note| note.contains("move at every look")),
        "{:?}",
        ran.source().notes
    );
    for n in 0..2 {
        let ran = world.run().await;
        assert_eq!(
            (ran.brief().as_str(), world.names().len(), ran.source().notes.len()),
            ("ok: unchanged 3", 3, 0),
            "run {n}"
        );
    }
    world.put("/b", "TWO", LONG_AGO);
    assert_eq!(world.run().await.brief(), "ok: ingested 1, unchanged 2");
}

#[tokio::test]
async fn a_file_made_again_with_equal_size_and_time_after_its_removal_is_new() {
    let world = deleting().file("/daily.dat", "AAAA");
    for content in ["AAAA", "BBBB", "CCCC", "BBBB"] {
        world.put("/daily.dat", content, LONG_AGO);
        assert_eq!(world.run().await.brief(), "ok: ingested 1", "{content}");
        assert!(world.at_source().is_empty(), "{content}");
    }
    assert_eq!(stored(&world), ["AAAA", "BBBB", "CCCC"]);
}

#[tokio::test]
async fn a_version_that_comes_back_with_other_bytes_is_read_before_it_is_removed() {
    let world = deleting();
    for (content, modified) in [("AAAA", 0), ("BBBB", 86_400), ("CCCC", 0)] {
        world.put("/daily.dat", content, LONG_AGO + modified);
        assert_eq!(world.run().await.brief(), "ok: ingested 1");
    }
    assert_eq!(stored(&world), ["AAAA", "BBBB", "CCCC"]);
}

#[tokio::test]
async fn asked_for_again_other_bytes_of_equal_size_and_time_are_a_new_version() {
    let mut world =
        World::new().file("/a.csv", "AAAA").file("/b.zip", super::zips::zip(&[("1.txt", b"one")]));
    world.run().await;
    world.put("/a.csv", "BBBB", LONG_AGO);
    world.put("/b.zip", super::zips::zip(&[("1.txt", b"two")]), LONG_AGO);
    world.again = vec!["**".into()];
    assert_eq!(world.run().await.brief(), "ok: ingested 2");
    assert_eq!(stored(&world), ["AAAA", "BBBB", "one", "two"]);
    let ran = world.run().await;
    assert_eq!(
        (ran.brief().as_str(), ran.source().blobs, world.names().len()),
        ("ok: ingested 2", 0, 4)
    );
    world.again.clear();
    let ran = world.run().await;
    assert_eq!((ran.brief().as_str(), ran.reads), ("ok: unchanged 2", 0));
}

#[tokio::test]
async fn nothing_is_deleted_unread_on_a_server_that_only_lists() {
    let world = deleting();
    for (day, content) in [(0, "AAAA"), (1, "BBBB"), (5, "CCCC")] {
        listed_only(&world, "/daily.dat", content, day);
        let ran = world.run().await;
        assert_eq!((ran.brief().as_str(), ran.reads), ("ok: ingested 1", 2), "{content}");
        assert!(world.at_source().is_empty());
    }
    assert_eq!(stored(&world), ["AAAA", "BBBB", "CCCC"]);
    // Without an allowance for the second reading it stays, told.
    let world = world.with(|source| source.recheck = 0);
    listed_only(&world, "/daily.dat", "DDDD", 9);
    assert_eq!(world.run().await.brief(), "degraded: ingested 1, problem [after_action]");
    assert_eq!(world.at_source(), ["/daily.dat"]);
}

#[tokio::test]
async fn a_file_that_is_written_while_its_time_stands_still_is_not_removed() {
    let world = deleting().with(|source| source.stable_for = std::time::Duration::from_millis(50));
    // 1980: nobody's time.
    world.put("/x.bin", "DDDD0000", 315_532_800);
    let more = |tree: &mut MemorySourceTree| {
        tree.files.get_mut(&RemotePath::from("/x.bin")).unwrap().content = "DDDDDDDD".into()
    };
    // The first reading sees half of it; the second one all.
    world.server.fault("/x.bin", "read", MemorySourceFault::Before(Box::new(|_| {}))).fault(
        "/x.bin",
        "read",
        MemorySourceFault::Before(Box::new(more)),
    );
    assert_eq!(world.run().await.brief(), "degraded: ingested 1, problem [after_action]");
    assert_eq!(world.at_source(), ["/x.bin"]);
    // The next run reads it again, and sees that it is another; the one after that, that it rests.
    world.run().await;
    tokio::time::sleep(std::time::Duration::from_millis(60)).await;
    world.run().await;
    assert!(world.at_source().is_empty() && stored(&world).contains(&"DDDDDDDD".to_owned()));
}

#[tokio::test]
async fn a_young_file_is_removed_only_after_it_has_rested_since_it_was_read() {
    let world = deleting().with(|source| source.stable_for = std::time::Duration::from_millis(60));
    world.put("/a", "one", super::now());
    let began = std::time::Instant::now();
    let ran = world.run().await;
    assert_eq!((ran.brief().as_str(), ran.reads), ("ok: ingested 1", 1));
    assert!(began.elapsed().as_millis() >= 120, "it was seen, and read, and seen again");
    assert!(world.at_source().is_empty());
}

#[tokio::test]
async fn a_refused_removal_is_told_and_neither_tried_nor_read_again_the_same_day() {
    let world = deleting().file("/a", "one").fault(
        "/a",
        "remove",
        MemorySourceFault::Refuse(Class::Permission),
    );
    assert_eq!(world.run().await.brief(), "degraded: ingested 1, problem [after_action]");
    for _ in 0..2 {
        let ran = world.run().await;
        assert_eq!(
            (ran.brief().as_str(), ran.reads, world.at_source().len()),
            ("degraded: unchanged 1, problem [after_action]", 0, 1)
        );
    }
}

/// Another file comes right before one of the looks at a file without a time, and the connection is
/// lost over the first removal: before which looks it was lost.
async fn lost_before_looks(without: Option<&'static str>) -> Vec<usize> {
    let mut lost = Vec::new();
    for look in 0..6 {
        let world = deleting();
        untimed(&world, "/a", "one");
        let comes = |tree: &mut MemorySourceTree| {
            if let Some(file) = tree.files.get_mut(&RemotePath::from("/a")) {
                file.content = "two".into();
            }
        };
        let nothing = || MemorySourceFault::Before(Box::new(|_| {}));
        let world = (0..look).fold(world, |world, _| world.fault("/a", "stat", nothing()));
        let world = world.fault("/a", "stat", MemorySourceFault::Before(Box::new(comes))).fault(
            "/a",
            "remove",
            MemorySourceFault::Fail(Class::Connect),
        );
        blobferry::failpoint::leave_out(without);
        world.run().await;
        blobferry::failpoint::leave_out(None);
        if world.at_source().is_empty() && !stored(&world).contains(&"two".to_owned()) {
            lost.push(look);
        }
    }
    lost
}

#[tokio::test]
async fn a_removal_that_breaks_off_hits_no_file_that_came_before_the_next_try() {
    // Between the last look and the removal nobody can see a file of equal size come.
    assert_eq!(lost_before_looks(None).await, [5]);
    let without = lost_before_looks(Some("reread-before-retry")).await;
    assert!(without.len() > 1, "{without:?}");
}

#[tokio::test]
async fn deleting_by_rename_hits_no_file_that_came_meanwhile() {
    let world = deleting().with(|source| source.delete_by = DeleteBy::Rename).file("/a", "one");
    let newer = |tree: &mut MemorySourceTree| {
        let file = MemoryFile {
            content: "newer".into(),
            modified: at(LONG_AGO + 9),
            listed: None,
            claimed_size: Some(5),
        };
        tree.files.insert(RemotePath::from("/a"), file);
    };
    world.server.fault("/a", "rename", MemorySourceFault::Before(Box::new(newer)));
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
    assert_eq!(world.at_source(), ["/a"]);
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
    assert!(world.at_source().is_empty());
    assert_eq!(stored(&world), ["newer", "one"]);
}
