//! What is listed and not there when it is asked for: gone by a fresh listing only.

use std::time::Duration;

use blobferry::model::failure::Class;
use blobferry::model::{RemoteFile, RemotePath};
use blobferry::source::contract::Listed;
use blobferry::source::memory::{MemorySourceFault, MemorySourceTree};
use blobferry::transfer::settings::After;

use super::{LONG_AGO, World, at, now};

/// A server that lists this file, and does not know it by the name that it lists.
fn ghost(name: &[u8]) -> World {
    let world = World::new();
    show(
        &world,
        Listed::File(RemoteFile {
            path: RemotePath::new([b"/", name].concat()),
            size: Some(3),
            modified: at(LONG_AGO),
        }),
    );
    world
}

fn show(world: &World, listed: Listed) {
    world.server.tree().extra.push((RemotePath::from("/"), listed));
}

fn lists(world: &World) -> Vec<String> {
    world.server.tree().lists.drain(..).map(|path| path.to_string()).collect()
}

#[tokio::test]
async fn a_file_that_is_listed_and_can_never_be_opened_fails_with_every_byte_of_its_name() {
    let world = ghost(b"caf?\xe9.csv").file("/ok", "x");
    assert_eq!(world.run().await.brief(), "ok: ingested 1, deferred 1 [unreachable]");
    let ran = world.run().await;
    assert_eq!(
        (ran.brief().as_str(), ran.report.exit_code()),
        ("degraded: unchanged 1, failed 1 [unreachable]", 1)
    );
    let told = &ran.source().failures[0].problem;
    assert!(
        told.message.ends_with("its name in bytes: 63 61 66 3f e9 2e 63 73 76"),
        "{}",
        told.message
    );
    assert!(told.hint.contains("listing and opening disagree"), "{}", told.hint);
    // It is told in every run, and the ledger grows no more.
    let records = world.journal_of("acme").len();
    assert_eq!(world.run().await.brief(), "degraded: unchanged 1, failed 1 [unreachable]");
    let seen =
        world.journal_of("acme")[records..].iter().filter(|record| record["t"] == "seen").count();
    assert_eq!(seen, 0);
}

#[tokio::test]
async fn a_look_before_stable_for_has_passed_proves_no_more_than_the_first() {
    let world = ghost(b"a").with(|source| source.stable_for = Duration::from_millis(300));
    assert_eq!(world.run().await.brief(), "ok: deferred 1 [unreachable]");
    assert_eq!(world.run().await.brief(), "ok: deferred 1 [unreachable]");
    tokio::time::sleep(Duration::from_millis(310)).await;
    assert_eq!(world.run().await.brief(), "degraded: failed 1 [unreachable]", "by the first look");
}

#[tokio::test]
async fn a_file_that_can_be_opened_again_is_taken() {
    let world = ghost(b"a");
    assert_eq!(world.run().await.brief(), "ok: deferred 1 [unreachable]");
    world.server.tree().extra.clear();
    world.put("/a", "one", LONG_AGO);
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
    assert_eq!(world.run().await.brief(), "ok: unchanged 1");
}

#[tokio::test]
async fn an_unreachable_file_that_is_another_one_now_is_looked_at_twice_again() {
    let world = ghost(b"a");
    assert_eq!(world.run().await.brief(), "ok: deferred 1 [unreachable]");
    world.server.tree().extra.clear();
    show(
        &world,
        Listed::File(RemoteFile {
            path: RemotePath::from("/a"),
            size: Some(4),
            modified: at(LONG_AGO + 60),
        }),
    );
    assert_eq!(world.run().await.brief(), "ok: deferred 1 [unreachable]");
    assert_eq!(world.run().await.brief(), "degraded: failed 1 [unreachable]");
}

#[tokio::test]
async fn a_folder_that_is_listed_and_cannot_be_entered_is_a_problem_in_every_run() {
    let world = World::new().file("/ok", "x");
    show(&world, Listed::Directory(RemotePath::from("/sub?")));
    assert_eq!(world.run().await.brief(), "degraded: ingested 1, problem [listing_failed]");
    let ran = world.run().await;
    assert_eq!(ran.brief(), "degraded: unchanged 1, problem [listing_failed]");
    let told = &ran.source().problems[0].message;
    assert!(told.contains("/sub?") && told.contains("still shows it"), "{told}");
}

#[tokio::test]
async fn a_folder_that_goes_away_while_the_tree_is_walked_is_noted_once() {
    let world = World::new().file("/ok", "x");
    show(&world, Listed::Directory(RemotePath::from("/sub")));
    let world = world.fault(
        "/sub",
        "list",
        MemorySourceFault::Before(Box::new(|tree: &mut MemorySourceTree| tree.extra.clear())),
    );
    let ran = world.run().await;
    assert_eq!(ran.brief(), "ok: ingested 1");
    assert_eq!(ran.source().notes, ["/sub: it went away before it could be listed"]);
    let ran = world.run().await;
    assert_eq!((ran.brief().as_str(), ran.source().notes.len()), ("ok: unchanged 1", 0));
}

#[tokio::test]
async fn files_that_went_away_with_their_folders_are_gone_and_each_folder_is_listed_once_more() {
    let world =
        World::new().file("/a/b/1", "x").file("/a/b/2", "x").file("/a/c/3", "x").file("/z/4", "x");
    let hook = |tree: &mut MemorySourceTree| {
        tree.files
            .retain(|path, _| !path.as_bytes().starts_with(b"/a/") && path.as_bytes() != b"/z/4")
    };
    // Whichever of them is opened first.
    let all = ["/a/b/1", "/a/b/2", "/a/c/3", "/z/4"];
    let world = all.into_iter().fold(world.file("/z/5", "x"), |world, path| {
        world.fault(path, "read", MemorySourceFault::Before(Box::new(hook)))
    });
    lists(&world);
    assert_eq!(world.run().await.brief(), "ok: ingested 1, gone 4");
    let mut told = lists(&world);
    told.sort();
    assert_eq!(told, ["/", "/", "/a", "/a", "/a/b", "/a/b", "/a/c", "/a/c", "/z", "/z"]);
}

#[tokio::test]
async fn where_the_fresh_listing_fails_the_file_is_not_called_gone() {
    let world = World::new().file("/sub/a", "x").fault(
        "/sub",
        "list",
        MemorySourceFault::Before(Box::new(|_: &mut MemorySourceTree| {})),
    );
    let world = world.fault("/sub", "list", MemorySourceFault::Refuse(Class::Permission));
    let world = world.fault("/sub/a", "read", MemorySourceFault::Refuse(Class::NotFound));
    assert_eq!(world.run().await.brief(), "degraded: failed 1 [permission]");
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
}

#[tokio::test]
async fn a_file_that_is_taken_by_its_path_is_described_once_more_and_no_folder_is_listed() {
    let world = World::new().file("/a", "x").file("/b", "x").patterns(&["/a", "/b"], &[], None);
    let world = world.fault(
        "/a",
        "read",
        MemorySourceFault::Before(Box::new(|tree: &mut MemorySourceTree| {
            drop(tree.files.remove(&RemotePath::from("/a")))
        })),
    );
    let world = world.fault("/b", "read", MemorySourceFault::Refuse(Class::NotFound));
    assert_eq!(world.run().await.brief(), "ok: gone 1, deferred 1 [unreachable]");
    assert_eq!(lists(&world), [] as [&str; 0]);
}

#[tokio::test]
async fn a_stored_file_that_seems_not_to_be_there_when_it_is_to_leave_is_not_taken_for_removed() {
    let world = World::new().with(|source| source.after = After::Delete).file("/a", "x");
    let world = world
        .fault("/a", "stat", MemorySourceFault::Before(Box::new(|_: &mut MemorySourceTree| {})))
        .fault("/a", "stat", MemorySourceFault::Refuse(Class::NotFound));
    let ran = world.run().await;
    assert_eq!(ran.brief(), "degraded: ingested 1, problem [after_action]");
    assert_eq!(world.at_source(), ["/a"]);
    assert_eq!(world.run().await.brief(), "ok: unchanged 1");
    assert_eq!(world.at_source(), [] as [&str; 0]);
}

#[tokio::test]
async fn a_stored_file_that_somebody_else_took_is_recorded_as_removed() {
    let world = World::new().with(|source| source.after = After::Delete).file("/a", "x");
    let hook = |tree: &mut MemorySourceTree| tree.files.clear();
    let world = world
        .fault("/a", "stat", MemorySourceFault::Before(Box::new(|_: &mut MemorySourceTree| {})))
        .fault("/a", "stat", MemorySourceFault::Before(Box::new(hook)));
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
    assert_eq!(world.journal_of("acme").iter().filter(|record| record["left"] == true).count(), 1);
}

#[tokio::test]
async fn a_young_file_that_is_listed_and_not_there_at_the_second_look_is_unreachable() {
    let world = World::new().with(|source| source.stable_for = Duration::from_millis(60));
    show(
        &world,
        Listed::File(RemoteFile {
            path: RemotePath::from("/a"),
            size: Some(3),
            modified: at(now()),
        }),
    );
    assert_eq!(world.run().await.brief(), "ok: deferred 1 [unreachable]");
}

#[tokio::test]
async fn a_plan_tells_what_cannot_be_entered_and_writes_nothing() {
    let world = World::new();
    show(&world, Listed::Directory(RemotePath::from("/sub")));
    let options = world.options(world.store.clone(), tokio_util::sync::CancellationToken::new());
    let plan = blobferry::run::plan(vec![world.source.clone()], options).await;
    assert_eq!(plan[0].report.problems.len(), 1);
    assert!(world.store.names().is_empty(), "{:?}", world.store.names());
}
