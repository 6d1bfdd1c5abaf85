//! What can happen to a file and its connection while it is read.

use blobferry::model::RemotePath;
use blobferry::model::failure::Class;
use blobferry::source::memory::{MemoryFile, MemorySourceFault, MemorySourceTree};
use bytes::Bytes;

use super::{LONG_AGO, World};

fn content(size: usize) -> Bytes {
    (0..size).map(|at| u8::try_from(at % 251).unwrap()).collect::<Vec<u8>>().into()
}

fn replace(
    path: &'static str,
    bytes: Bytes,
    modified: i64,
) -> impl FnOnce(&mut MemorySourceTree) + Send + 'static {
    move |tree| {
        let file = MemoryFile {
            claimed_size: Some(bytes.len() as u64),
            content: bytes,
            modified: super::at(modified),
            listed: None,
        };
        tree.files.insert(RemotePath::from(path), file);
    }
}

fn offsets(world: &World) -> Vec<u64> {
    world.server.tree().offsets.iter().map(|(_, offset)| *offset).collect()
}

#[tokio::test]
async fn a_file_that_goes_away_before_all_of_it_came_is_gone_and_nothing_is_stored() {
    let world = World::new().file("/a", content(200_000)).fault(
        "/a",
        "read",
        MemorySourceFault::EndAt(70_000),
    );
    let world = world.fault(
        "/a",
        "stat",
        MemorySourceFault::Before(Box::new(|tree: &mut MemorySourceTree| tree.files.clear())),
    );
    assert_eq!(world.run().await.brief(), "ok: gone 1");
    assert!(world.names().is_empty());
}

#[tokio::test]
async fn a_file_that_went_away_before_its_turn_is_gone() {
    let hook = |tree: &mut MemorySourceTree| tree.files.clear();
    let world =
        World::new().file("/a", "x").fault("/a", "read", MemorySourceFault::Before(Box::new(hook)));
    assert_eq!(world.run().await.brief(), "ok: gone 1");
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_read_is_taken_by_the_next_run() {
    for (size, modified) in [(300_000, LONG_AGO + 5), (100, LONG_AGO + 5), (200_000, LONG_AGO + 5)]
    {
        let world = World::new().file("/a", content(200_000)).meanwhile(
            "/a",
            70_000,
            replace("/a", other(size), modified),
        );
        let ran = world.run().await;
        assert_eq!(
            (ran.brief().as_str(), ran.report.exit_code()),
            ("ok: deferred 1 [changed_during_read]", 0)
        );
        assert!(world.names().is_empty() && world.recorded().is_empty());
        assert_eq!(world.run().await.brief(), "ok: ingested 1");
        assert_eq!(world.store.content("acme/a").unwrap(), other(size));
    }
}

/// Other bytes than [`content`] has.
fn other(size: usize) -> Bytes {
    content(size + 1).slice(1..)
}

#[tokio::test]
async fn a_file_that_is_described_as_another_size_twice_is_taken_as_it_is_described() {
    for size in [300_000, 100] {
        let world = World::new().file("/a", content(200_000)).meanwhile(
            "/a",
            70_000,
            replace("/a", content(size), LONG_AGO),
        );
        assert_eq!(world.run().await.brief(), "ok: ingested 1");
        assert_eq!(world.store.content("acme/a").unwrap(), content(size));
    }
}

#[tokio::test]
async fn a_server_that_ends_early_and_calls_it_complete_is_asked_for_the_rest() {
    let world = World::new().file("/a", content(200_000)).fault(
        "/a",
        "read",
        MemorySourceFault::EndAt(70_000),
    );
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
    assert_eq!(offsets(&world), [0, 70_000]);
    assert_eq!(world.store.content("acme/a").unwrap(), content(200_000));
}

#[tokio::test]
async fn a_server_that_always_ends_early_is_never_believed() {
    let mut world = World::new().file("/a", content(200_000));
    for _ in 0..5 {
        world = world.fault("/a", "read", MemorySourceFault::EndAt(0));
    }
    assert_eq!(world.run().await.brief(), "degraded: failed 1 [truncated]");
    assert!(world.names().is_empty() && world.recorded().is_empty());
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
}

#[tokio::test]
async fn a_file_that_is_longer_than_the_server_says_fails() {
    let world = World::new().file("/a", content(1_000));
    world.server.tree().files.get_mut(&RemotePath::from("/a")).unwrap().claimed_size = Some(900);
    assert_eq!(world.run().await.brief(), "degraded: failed 1 [size_mismatch]");
    assert!(world.names().is_empty());
}

#[tokio::test]
async fn a_lost_connection_is_taken_up_where_it_broke() {
    let size = 20 << 20;
    let world = World::new()
        .file("/a", content(size))
        .fault("/a", "read", MemorySourceFault::FailAt(9_000_000, Class::Connect))
        .fault("/a", "read", MemorySourceFault::FailAt(1_000_000, Class::Stalled));
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
    assert_eq!(offsets(&world), [0, 9_000_000, 10_000_000]);
    assert_eq!(world.store.content("acme/a").unwrap(), content(size));
}

#[tokio::test]
async fn a_connection_that_breaks_often_but_brings_something_arrives() {
    let mut world = World::new().file("/a", content(12 << 20));
    for _ in 0..9 {
        world = world.fault("/a", "read", MemorySourceFault::FailAt(1_200_000, Class::Connect));
    }
    let ran = world.run().await;
    assert_eq!((ran.brief().as_str(), ran.reads), ("ok: ingested 1", 10));
}

#[tokio::test]
async fn a_file_that_changed_between_loss_and_resumption_is_not_patched_together() {
    let world = World::new()
        .file("/a", content(200_000))
        .fault("/a", "read", MemorySourceFault::FailAt(100_000, Class::Connect))
        .fault(
            "/a",
            "stat",
            MemorySourceFault::Before(Box::new(replace(
                "/a",
                Bytes::from(vec![7; 200_000]),
                LONG_AGO + 1,
            ))),
        );
    assert_eq!(world.run().await.brief(), "ok: deferred 1 [changed_during_read]");
    assert!(world.names().is_empty());
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
    assert_eq!(world.store.content("acme/a").unwrap(), Bytes::from(vec![7; 200_000]));
}

#[tokio::test]
async fn a_stall_is_tried_again_and_told_if_it_stays() {
    let world =
        World::new().file("/a", "x").fault("/a", "read", MemorySourceFault::Fail(Class::Stalled));
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
    let mut world = World::new().file("/a", "x").file("/b", "y");
    for _ in 0..5 {
        world = world.fault("/a", "read", MemorySourceFault::Fail(Class::Stalled));
    }
    assert_eq!(world.run().await.brief(), "degraded: ingested 1, failed 1 [stalled]");
}

#[tokio::test]
async fn a_file_that_may_not_be_read_costs_only_itself() {
    let mut world = World::new().fault("/b", "read", MemorySourceFault::Refuse(Class::Permission));
    for path in ["/a", "/b", "/c", "/d"] {
        world = world.file(path, path);
    }
    let ran = world.run().await;
    assert_eq!(
        (ran.brief().as_str(), ran.report.exit_code()),
        ("degraded: ingested 3, failed 1 [permission]", 1)
    );
    assert_eq!(world.names(), ["acme/a", "acme/c", "acme/d"]);
    assert!(
        ran.to_string()
            .contains("failed /b [permission]: reading `/b` on memory://server: scripted"),
        "{ran}"
    );
    assert_eq!(world.run().await.brief(), "ok: ingested 1, unchanged 3");
}

#[tokio::test]
async fn a_panic_in_a_driver_costs_one_file() {
    let mut world = World::new().fault("/b", "read", MemorySourceFault::Panic);
    for path in ["/a", "/b", "/c"] {
        world = world.file(path, path);
    }
    assert_eq!(world.run().await.brief(), "degraded: ingested 2, failed 1 [internal]");
    assert_eq!(world.run().await.brief(), "ok: ingested 1, unchanged 2");
}

#[tokio::test]
async fn a_server_that_tells_neither_size_nor_time_is_believed_at_the_end() {
    let world = World::new().file("/a", content(100_000));
    let unknown = |file: &mut MemoryFile| (file.claimed_size, file.modified) = (None, None);
    unknown(world.server.tree().files.get_mut(&RemotePath::from("/a")).unwrap());
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
    // Nothing but its bytes tells whether it changed.
    let ran = world.run().await;
    assert_eq!((ran.brief().as_str(), ran.reads, world.names().len()), ("ok: unchanged 1", 1, 1));
}
