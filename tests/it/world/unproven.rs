//! Files that become others between the last look and their removal or move, and names that a
//! server may take for one.

use std::time::Duration;

use blobferry::jobs::outcome::Came;
use blobferry::model::failure::Class;
use blobferry::model::{ModifiedTime, Precision, RemotePath};
use blobferry::report::SourceReport;
use blobferry::source::memory::{MemorySourceFault, MemorySourceTree};
use blobferry::store::memory::MemoryStore;
use blobferry::transfer::settings::After;
use time::OffsetDateTime;

use super::pieces::Office;
use super::{LONG_AGO, World};

fn moving() -> World {
    World::new().with(|source| source.after = After::Move(RemotePath::from("/done"))).patterns(
        &[],
        &[],
        Some("/done"),
    )
}

fn minute(seconds: i64) -> Option<ModifiedTime> {
    let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap();
    Some(ModifiedTime::new(at, Precision::Minute))
}

/// Only listings tell the time of this file, to the minute.
fn only_listed(world: &World, path: &str, seconds: i64) {
    let mut tree = world.server.tree();
    let file = tree.files.get_mut(&RemotePath::from(path)).unwrap();
    (file.modified, file.listed) = (None, minute(seconds));
}

fn becomes_another(tree: &mut MemorySourceTree) {
    let file = tree.files.get_mut(&RemotePath::from("/a")).unwrap();
    file.content = "two".into();
    match file.listed {
        None => file.modified = super::at(LONG_AGO + 600),
        Some(_) => file.listed = minute(LONG_AGO + 600),
    }
}

#[tokio::test]
async fn a_file_that_becomes_another_one_as_it_is_moved_comes_back_and_is_stored_by_the_next_run() {
    for listed in [false, true] {
        let world = moving().file("/a", "one").fault(
            "/a",
            "rename",
            MemorySourceFault::Before(Box::new(becomes_another)),
        );
        if listed {
            only_listed(&world, "/a", LONG_AGO);
        }
        assert_eq!(world.run().await.brief(), "ok: ingested 1", "{listed}");
        assert_eq!(world.at_source(), ["/a"], "{listed}");
        assert_eq!(world.run().await.brief(), "ok: ingested 1", "{listed}");
        let mut stored: Vec<_> = world.contents().into_iter().map(|(_, bytes)| bytes).collect();
        stored.sort();
        assert_eq!((stored, world.at_source()), (vec!["one".into(), "two".into()], moved_there()));
    }
}

fn moved_there() -> Vec<String> {
    vec!["/done/a".to_owned()]
}

#[tokio::test]
async fn a_file_that_was_moved_unread_and_cannot_come_back_is_told() {
    let taken = |tree: &mut MemorySourceTree| {
        let newest = tree.files[&RemotePath::from("/done/a")].clone();
        tree.files.insert(RemotePath::from("/a"), newest);
    };
    let world = moving().file("/a", "one");
    world.server.fault("/a", "rename", MemorySourceFault::Before(Box::new(becomes_another)));
    // The first look is for a file in the way, the second one is at what was moved.
    world.server.fault("/done/a", "stat", MemorySourceFault::Before(Box::new(|_| {})));
    world.server.fault("/done/a", "stat", MemorySourceFault::Before(Box::new(taken)));
    let ran = world.run().await;
    assert_eq!(ran.brief(), "degraded: ingested 1, problem [after_action]");
    assert!(ran.to_string().contains("it was not read"), "{ran}");
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
}

#[tokio::test]
async fn a_file_that_a_fresh_listing_does_not_show_is_not_removed_by_a_description_alone() {
    let world = World::new().with(|source| source.after = After::Delete).file("/a", "one");
    only_listed(&world, "/a", LONG_AGO);
    let hide = |tree: &mut MemorySourceTree| {
        let file = tree.files.remove(&RemotePath::from("/a")).unwrap();
        tree.files.insert(RemotePath::from("/b"), file);
    };
    // The first listing is the survey's.
    world.server.fault("/", "list", MemorySourceFault::Before(Box::new(|_| {})));
    world.server.fault("/", "list", MemorySourceFault::Before(Box::new(hide)));
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
    assert_eq!(world.at_source(), ["/b"]);
}

#[tokio::test]
async fn a_read_that_goes_on_after_a_lost_connection_is_proven_where_no_time_tells() {
    let becomes = |tree: &mut MemorySourceTree| {
        tree.files.get_mut(&RemotePath::from("/a")).unwrap().content = "222222".into();
    };
    let world = World::new().file("/a", "111111");
    only_listed(&world, "/a", LONG_AGO);
    world.server.fault("/a", "read", MemorySourceFault::FailAt(3, Class::Connect));
    world.server.fault("/a", "read", MemorySourceFault::Before(Box::new(becomes)));
    let ran = world.run().await;
    assert_eq!(ran.brief(), "ok: deferred 1 [changed_during_read]");
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
    assert_eq!(world.contents(), [("acme/a".to_owned(), "222222".into())]);
}

#[tokio::test]
async fn names_that_a_server_may_take_for_one_are_told_and_stay_in_a_pass_of_pieces() {
    let world = World::new().file("/f0", "the same").file("/F0", "the same");
    only_listed(&world, "/f0", LONG_AGO);
    only_listed(&world, "/F0", LONG_AGO + 6_000);
    for files in [1, 10] {
        let again = World::of(world.server.clone(), MemoryStore::new())
            .with(|source| source.after = After::Delete);
        let office = Office::new(again, files);
        for pass in 0..3 {
            office.ask().await;
            let came = office.drain().await;
            let closed = came.iter().find_map(|came| match came {
                Came::Closed(report) => Some(report),
                _ => None,
            });
            let report = closed.unwrap_or_else(|| panic!("{came:?}"));
            let told = report.problems.iter().any(|problem| problem.class == Class::Unreachable);
            // In pieces of one file each the second pass is the first to know both.
            assert!(told || (files == 1 && pass == 0), "{files} {pass}: {report}");
            assert_eq!(office.world.at_source(), ["/F0", "/f0"], "{files} {pass}: {report}");
        }
    }
}

/// The listing tells two exact times; once one file was read nobody describes it any more.
#[tokio::test]
async fn two_names_of_equal_bytes_are_told_where_no_description_confirms_whose_they_are() {
    let world = World::new().file("/f0", "the same");
    world.put("/F0", "the same", LONG_AGO + 60);
    assert_eq!(world.run().await.brief(), "ok: ingested 2", "two times tell two files apart");
    let world = World::new().file("/f0", "the same");
    world.put("/F0", "the same", LONG_AGO + 60);
    let leaves = |tree: &mut MemorySourceTree| drop(tree.files.remove(&RemotePath::from("/F0")));
    let ran = world.meanwhile("/F0", 8, leaves).run().await;
    assert!(ran.to_string().contains("not_seen_afterwards"), "{ran}");
    assert_eq!(ran.brief(), "degraded: ingested 2, problem [unreachable]");
}

#[tokio::test]
async fn one_folder_that_is_listed_under_two_spellings_is_told() {
    let world = World::new()
        .file("/Out/a", "one")
        .file("/Out/deep/b", "two")
        .file("/out/a", "one")
        .file("/out/deep/b", "two");
    for _ in 0..2 {
        let ran = world.run().await;
        assert!(ran.brief().ends_with("problem [unreachable]"), "{ran}");
        assert!(ran.to_string().contains("`/Out` and `/out` are listed"), "{ran}");
    }
    // Two folders that differ in one file are two.
    world.put("/out/c", "three", LONG_AGO);
    assert_eq!(world.run().await.brief(), "ok: ingested 1, unchanged 4");
}

#[tokio::test]
async fn one_folder_under_two_spellings_is_told_where_its_files_leave_too() {
    let world = World::new().with(|source| source.after = After::Delete);
    under_two_spellings(&world, &[("a", "one"), ("deep/b", "two")]);
    let ran = world.run().await;
    assert!(ran.to_string().contains("`/Out` and `/out` are listed"), "{ran}");
    assert_eq!(world.at_source(), [""; 0]);
}

#[tokio::test]
async fn one_folder_under_two_spellings_is_told_in_queue_mode_too() {
    for (files, after) in [(1, After::Keep), (1, After::Delete), (10, After::Delete)] {
        let world = World::new().with(|source| source.after = after.clone());
        under_two_spellings(&world, &[("a", "one"), ("deep/b", "two")]);
        let office = Office::new(world, files);
        office.ask().await;
        let report = closed(&office).await;
        assert!(report.to_string().contains("`/Out` and `/out` are listed"), "{files}: {report}");
        assert!(report.to_string().matches("are listed with").count() == 1, "{files}: {report}");
    }
}

/// What became of the pass that was asked for.
async fn closed(office: &Office) -> SourceReport {
    let came = office.drain().await;
    let closed = came.into_iter().find_map(|came| match came {
        Came::Closed(report) => Some(*report),
        _ => None,
    });
    closed.expect("the pass is closed")
}

/// Each file has two names, and both leave together.
fn under_two_spellings(world: &World, files: &[(&str, &'static str)]) {
    for (below, content) in files {
        for (own, other) in [("/Out", "/out"), ("/out", "/Out")] {
            let (own, other) = (format!("{own}/{below}"), format!("{other}/{below}"));
            world.put(&own, *content, LONG_AGO);
            let leaves = move |tree: &mut MemorySourceTree| {
                tree.files.remove(&RemotePath::from(other.as_str()));
            };
            world.server.fault(&own, "remove", MemorySourceFault::Before(Box::new(leaves)));
        }
    }
}

#[tokio::test]
async fn a_file_of_which_no_time_is_told_and_that_is_another_one_is_stored_by_the_run_that_sees_it()
{
    for time in [None, Some(0)] {
        let world = World::new().with(|source| source.stable_for = Duration::from_millis(20));
        world.put("/a", "one", time.unwrap_or(LONG_AGO));
        world.server.tree().files.get_mut(&RemotePath::from("/a")).unwrap().modified =
            time.and_then(ModifiedTime::from_unix);
        assert_eq!(world.run().await.brief(), "ok: ingested 1");
        world.server.tree().files.get_mut(&RemotePath::from("/a")).unwrap().content = "two".into();
        assert_eq!(world.run().await.brief(), "ok: ingested 1", "{time:?}");
        assert_eq!(world.run().await.brief(), "ok: unchanged 1", "{time:?}");
        assert_eq!(world.names().len(), 2, "{time:?}");
    }
}
