//! What a listing can hold or hide, and how the report says so.

use blobferry::model::failure::Class;
use blobferry::model::{RemoteFile, RemotePath};
use blobferry::report::Status;
use blobferry::source::contract::Listed;
use blobferry::source::memory::MemorySourceFault;

use super::{LONG_AGO, World};

fn also(world: World, listed: Listed) -> World {
    world.server.tree().extra.push((RemotePath::from("/"), listed));
    world
}

#[tokio::test]
async fn a_folder_that_may_not_be_listed_is_told_and_the_rest_arrives() {
    let world = World::new().file("/a", "one").file("/secret/b", "two").fault(
        "/secret",
        "list",
        MemorySourceFault::Refuse(Class::Permission),
    );
    let ran = world.run().await;
    assert_eq!(
        (ran.brief().as_str(), ran.report.exit_code()),
        ("degraded: ingested 1, problem [permission]", 1)
    );
    assert!(ran.to_string().contains("listing `/secret` on memory://server"), "{ran}");
}

#[tokio::test]
async fn a_root_that_cannot_be_listed_is_never_ok_with_no_files() {
    for (fault, class) in [(Class::Permission, "permission"), (Class::Protocol, "listing_failed")] {
        let world =
            World::new().file("/a", "one").fault("/", "list", MemorySourceFault::Refuse(fault));
        let ran = world.run().await;
        assert_eq!(
            (ran.brief(), ran.report.exit_code()),
            (format!("failed: problem [{class}]"), 3)
        );
    }
    let world =
        World::new().file("/a", "one").with(|source| source.root = RemotePath::from("/nowhere"));
    assert_eq!(world.run().await.report.exit_code(), 3);
}

#[tokio::test]
async fn a_listing_that_breaks_off_is_begun_again_and_tells_nothing_twice() {
    let world = World::new().file("/a", "one").file("/d/b", "two").fault(
        "/",
        "list",
        MemorySourceFault::Fail(Class::Connect),
    );
    assert_eq!(world.run().await.brief(), "ok: ingested 2");
}

#[tokio::test]
async fn a_large_listing_that_breaks_off_in_the_middle_tells_nothing_twice() {
    let files =
        |world: World| (0..5_000).fold(world, |world, n| world.file(&format!("/many/{n:04}"), "x"));
    let world = files(World::new()).fault(
        "/many",
        "list",
        MemorySourceFault::FailAt(3_000, Class::Connect),
    );
    assert_eq!(world.run().await.brief(), "ok: ingested 5000");
    // What was told before it broke off for good is brought over, and the report does not call that
    // all.
    let world = files(World::new()).fault(
        "/many",
        "list",
        MemorySourceFault::FailAt(3_000, Class::Protocol),
    );
    let ran = world.run().await;
    assert_eq!(
        (ran.brief().as_str(), ran.report.exit_code()),
        ("degraded: ingested 3000, problem [listing_failed]", 1)
    );
}

#[tokio::test]
async fn more_files_than_fit_into_a_run_come_with_the_next_ones() {
    let mut world = (0..50).fold(World::new(), |world, n| world.file(&format!("/{n:02}"), "x"));
    world.limits.files = 20;
    assert_eq!(world.run().await.brief(), "interrupted: ingested 20, deferred 30 [too_many]");
    let ran = world.run().await;
    assert_eq!(ran.brief(), "interrupted: ingested 20, unchanged 20, deferred 10 [too_many]");
    assert_eq!((ran.report.status(), ran.report.exit_code()), (Status::Interrupted, 1));
    assert!(ran.to_string().contains("10 files beyond `limits.files`"), "{ran}");
    assert_eq!(world.run().await.brief(), "ok: ingested 10, unchanged 40");
    assert_eq!(world.run().await.brief(), "ok: unchanged 50");
}

#[tokio::test]
async fn a_listing_without_end_is_ended_and_the_report_says_so() {
    let mut world = (0..5_000).fold(World::new(), |world, n| world.file(&format!("/{n:04}"), "x"));
    world.limits.entries = 2_000;
    let ran = world.run().await;
    assert_eq!(ran.report.exit_code(), 1, "{ran}");
    assert!(
        ran.brief().ends_with("problem [limit_listing]")
            && ran.to_string().contains("`limits.entries` = 2000"),
        "{ran}"
    );
}

#[tokio::test]
async fn a_panic_while_a_folder_is_listed_costs_that_folder() {
    let world = World::new().file("/a", "one").file("/d/b", "two").fault(
        "/d",
        "list",
        MemorySourceFault::Panic,
    );
    assert_eq!(world.run().await.brief(), "degraded: ingested 1, problem [internal]");
}

#[tokio::test]
async fn a_line_that_nobody_can_parse_degrades_the_run() {
    let world = also(World::new().file("/a", "one"), Listed::Unparsed("?rwx what is this".into()));
    let ran = world.run().await;
    assert_eq!(
        (ran.brief().as_str(), ran.report.exit_code()),
        ("degraded: ingested 1, unparsed 1", 1)
    );
    assert!(ran.to_string().contains("?rwx what is this"), "{ran}");
}

#[tokio::test]
async fn links_and_devices_are_skipped_and_names_out_of_reach_fail() {
    let world = also(World::new().file("/a", "one"), Listed::Symlink("/link".into()));
    let world = also(world, Listed::Special("/pipe".into()));
    assert_eq!(world.run().await.brief(), "ok: ingested 1, skipped 2 [special symlink]");
    let world = also(world, Listed::Unreachable("/new\nline".into(), "it holds a line feed"));
    let ran = world.run().await;
    assert_eq!(
        ran.brief(),
        "degraded: unchanged 1, skipped 2 [special symlink], failed 1 [protocol]"
    );
}

#[tokio::test]
async fn patterns_choose_and_what_they_leave_out_is_counted() {
    let world = World::new().patterns(&["**/*.csv"], &["tmp/**"], None);
    let world = world
        .file("/a.csv", "1")
        .file("/d/b.csv", "2")
        .file("/d/c.txt", "3")
        .file("/tmp/d.csv", "4");
    assert_eq!(world.run().await.brief(), "ok: ingested 2, skipped 1 [excluded]");
    assert_eq!(world.names(), ["acme/a.csv", "acme/d/b.csv"]);
}

#[tokio::test]
async fn exact_paths_are_taken_without_a_listing() {
    let world = World::new()
        .patterns(&["/d/a.csv", "/not/there"], &[], None)
        .file("/d/a.csv", "1")
        .file("/d/b.csv", "2");
    let world = world.fault("/", "list", MemorySourceFault::Panic).fault(
        "/d",
        "list",
        MemorySourceFault::Panic,
    );
    let ran = world.run().await;
    assert_eq!(
        (ran.brief().as_str(), world.names()),
        ("ok: ingested 1", vec!["acme/d/a.csv".to_owned()])
    );
    assert!(ran.to_string().contains("/not/there: is not there"), "{ran}");
}

#[tokio::test]
async fn a_deep_tree_arrives_and_one_that_is_too_deep_says_so() {
    let deep = format!("/{}f", "d/".repeat(60));
    let world = World::new().file(&deep, "x");
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
    world.put(&format!("/{}f", "e/".repeat(70)), "x", LONG_AGO);
    assert_eq!(world.run().await.brief(), "degraded: unchanged 1, problem [listing_failed]");
}

#[tokio::test]
async fn one_exact_path_out_of_reach_does_not_hide_the_other() {
    let world = World::new().with(|source| source.marker = Some(".ok".into())).patterns(
        &["a", "b"],
        &[],
        None,
    );
    let world = world.file("/a", "one").file("/a.ok", "");
    let world = world.fault("/b", "stat", MemorySourceFault::Refuse(Class::Permission)).fault(
        "/b.ok",
        "stat",
        MemorySourceFault::Refuse(Class::Permission),
    );
    let ran = world.run().await;
    assert_eq!(
        (ran.brief().as_str(), ran.report.exit_code()),
        ("degraded: ingested 1, skipped 1 [marker], problem [permission], problem [permission]", 1)
    );
    assert!(!ran.source().unusable);
}

#[tokio::test]
async fn a_file_that_a_server_lists_twice_is_stored_once() {
    for size in [3, 9 << 20] {
        let world = World::new().file("/a", vec![b'x'; size]);
        let file = RemoteFile {
            path: "/a".into(),
            size: Some(size as u64),
            modified: super::at(LONG_AGO),
        };
        let world = also(world, Listed::File(file));
        let ran = world.run().await;
        assert_eq!((ran.report.exit_code(), world.names().len()), (0, 1), "{ran}");
        assert_eq!(world.run().await.report.exit_code(), 0);
    }
}
