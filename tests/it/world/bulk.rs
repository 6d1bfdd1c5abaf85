//! Many files, large files, little memory.

use super::World;
use super::zips::{entry, zip_of};
use blobferry::source::memory::MemoryServer;
use blobferry::store::memory::MemoryStore;

fn wide() -> World {
    World::of(MemoryServer::forking(16), MemoryStore::new())
}

#[tokio::test]
async fn a_large_file_goes_in_blocks_and_is_committed_once() {
    let content: Vec<u8> = (0..40u32 << 18).flat_map(u32::to_le_bytes).collect();
    let world = World::new().file("/big", content.clone());
    let ran = world.run().await;
    assert_eq!(
        (ran.brief().as_str(), ran.requests.stages, ran.requests.commits),
        ("ok: ingested 1", 5, 1)
    );
    assert!(world.store.content("acme/big").unwrap() == content && world.store.staged().is_empty());
}

#[tokio::test]
async fn eight_large_files_at_once_finish_in_little_memory() {
    let mut world = (0..8).fold(wide(), |world, n| world.file(&format!("/{n}"), vec![n; 20 << 20]));
    world.limits.memory = 32 << 20;
    assert_eq!(world.run().await.brief(), "ok: ingested 8");
    for n in 0..8u8 {
        assert!(world.store.content(&format!("acme/{n}")).unwrap() == vec![n; 20 << 20]);
    }
}

#[tokio::test]
async fn archives_of_large_members_finish_in_little_memory() {
    for memory in [32 << 20, 4 << 20] {
        let mut world = wide();
        for n in 0..6 {
            let members: Vec<_> =
                (0..12).map(|m| entry(&format!("{m}"), &vec![n * 16 + m; 1 << 20])).collect();
            world = world.file(&format!("/{n}.zip"), zip_of(&members));
        }
        world.limits.memory = memory;
        assert_eq!(world.run().await.brief(), "ok: ingested 6");
        assert_eq!(world.names().len(), 72);
    }
}

#[tokio::test]
async fn two_thousand_files_arrive_and_cost_few_requests_each() {
    let world = (0..2_000)
        .fold(wide(), |world, n| world.file(&format!("/d{}/f{n}", n % 40), format!("content {n}")));
    let ran = world.run().await;
    assert_eq!((ran.brief().as_str(), world.names().len()), ("ok: ingested 2000", 2_000));
    // Beside the files' own: the ledger's head, and the report; and whether the ledger is as it was
    // before the lease.
    assert_eq!((ran.requests.puts, ran.requests.heads), (2_002, 1));
    let ran = world.run().await;
    assert_eq!((ran.brief().as_str(), ran.reads), ("ok: unchanged 2000", 0));
    assert!(ran.requests.requests() <= 5, "{:?}", ran.requests);
}

#[tokio::test]
async fn an_archive_of_a_thousand_members_arrives() {
    let members: Vec<_> =
        (0..1_000).map(|n| entry(&format!("{n}"), format!("content {n}").as_bytes())).collect();
    let world = World::new().file("/a.zip", zip_of(&members));
    let ran = world.run().await;
    assert_eq!(
        (ran.brief().as_str(), ran.source().members.stored, world.names().len()),
        ("ok: ingested 1", 1_000, 1_000)
    );
}

/// More members than the end of a zip could once say: the directory tells them all, and the last
/// one is found.
#[tokio::test]
async fn the_last_of_seventy_thousand_members_arrives() {
    let members: Vec<_> =
        (0..70_000).map(|n| entry(&format!("{n}"), n.to_string().as_bytes())).collect();
    let wanted = blobferry::rules::patterns::NameGlobs::new(&[
        "69999".to_owned(),
        "65535".to_owned(),
        "0".to_owned(),
    ])
    .unwrap();
    let world = World::new()
        .file("/a.zip", zip_of(&members))
        .with(|source| source.include_members = Some(wanted));
    let ran = world.run().await;
    let members = &ran.source().members;
    assert_eq!(
        (ran.brief().as_str(), members.members, members.stored, members.skipped),
        ("ok: ingested 1", 70_000, 3, 69_997)
    );
    assert_eq!(
        (world.text("acme/a.zip!/69999"), world.text("acme/a.zip!/65535")),
        ("69999".into(), "65535".into())
    );
}
