//! A polite guest: how often it knocks, how many of it sit at the table.

use blobferry::model::failure::Class;
use blobferry::run::run;
use blobferry::source::memory::{MemoryServer, MemorySourceFault};
use blobferry::store::memory::MemoryStore;
use blobferry::transfer::settings::Archives;
use tokio_util::sync::CancellationToken;

use super::{World, source};

fn forty(world: World) -> World {
    (0..40).fold(world, |world, n| world.file(&format!("/d{}/f{n}", n % 7), format!("content {n}")))
}

#[tokio::test]
async fn a_wrong_password_is_tried_once_and_other_sources_go_on() {
    let world = forty(World::new().with(|source| source.connections = 4));
    world.server.tree().login_faults.extend([Class::Auth; 9]);
    let other = MemoryServer::new();
    other.put("/x", "other", super::LONG_AGO);
    let sources = vec![world.source.clone(), source("other", &other)];
    let report = run(sources, world.options(world.store.clone(), CancellationToken::new())).await;
    super::assert_equations(&report);
    assert_eq!((world.server.tree().logins, report.exit_code()), (1, 1));
    assert_eq!((report.sources[0].unusable, report.sources[1].ingested), (true, 1));
    assert_eq!(report.sources[0].problems[0].class, Class::Auth);
}

#[tokio::test]
async fn a_wrong_password_is_tried_once_for_exact_paths_too() {
    let world = World::new().with(|source| source.connections = 4).patterns(
        &["a", "b", "c", "d"],
        &[],
        None,
    );
    world.server.tree().login_faults.extend([Class::Auth; 9]);
    let ran = world.run().await;
    assert_eq!((ran.logins, ran.report.exit_code()), (1, 3));
}

#[tokio::test]
async fn a_busy_server_is_asked_again() {
    let world = forty(World::new());
    world.server.tree().login_faults.extend([Class::Busy; 3]);
    assert_eq!(world.run().await.brief(), "ok: ingested 40");
}

#[tokio::test]
async fn a_server_that_stays_busy_fails_the_source() {
    let world = World::new().file("/a", "x");
    world.server.tree().login_faults.extend([Class::Busy; 30]);
    let ran = world.run().await;
    assert_eq!(
        (ran.brief().as_str(), ran.logins, ran.report.exit_code()),
        ("failed: problem [busy]", 5, 3)
    );
}

#[tokio::test]
async fn no_more_logins_than_allowed_and_each_serves_many_files() {
    for (server, connections) in [
        (MemoryServer::new(), 1),
        (MemoryServer::new(), 3),
        (MemoryServer::forking(8), 1),
        (MemoryServer::forking(4), 3),
    ] {
        let world = forty(
            World::of(server, MemoryStore::new()).with(|source| source.connections = connections),
        );
        let ran = world.run().await;
        assert_eq!(ran.brief(), "ok: ingested 40");
        let tree = world.server.tree();
        assert!(
            tree.most_open <= connections as u64 && ran.logins <= connections as u64,
            "{} open, {} made",
            tree.most_open,
            ran.logins
        );
        assert_eq!(tree.open, 0, "all logged out");
    }
}

#[tokio::test]
async fn logins_that_the_server_ends_between_files_are_replaced() {
    for server in [MemoryServer::new(), MemoryServer::forking(4)] {
        let world = forty(World::of(server, MemoryStore::new()));
        world.server.tree().calls_per_login = Some(9);
        assert_eq!(world.run().await.brief(), "ok: ingested 40");
        let tree = world.server.tree();
        assert!(
            tree.most_open <= 2 && tree.open == 0,
            "{} open at once, {} now",
            tree.most_open,
            tree.open
        );
    }
}

/// The memory has room for one of the two: `/a` has it and loses its session, `/b` has a session on
/// the only login and waits for room.
#[tokio::test(start_paused = true)]
async fn who_waits_for_room_gives_way_to_who_has_room_and_waits_for_a_session() {
    let one_mib = vec![7_u8; 1 << 20];
    let world = World::of(MemoryServer::forking(4), MemoryStore::new())
        .file("/a", one_mib.clone())
        .file("/b", one_mib);
    let mut world =
        world.with(|source| (source.connections, source.archives) = (1, Archives::Keep));
    world.limits.memory = 8 << 20;
    let world = world.fault("/a", "read", MemorySourceFault::FailAt(900_000, Class::Connect));
    assert_eq!(world.run().await.brief(), "ok: ingested 2");
}
