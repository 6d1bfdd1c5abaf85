//! A ledger that was made anew from the blobs: the next run downloads nothing.

use blobferry::ledger::{Originals, Rebuilt, rebuild};
use blobferry::model::{ModifiedTime, Precision};
use blobferry::transfer::settings::{Archives, Versions};
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::ledger::{journal, rewrite};
use super::zips::zip;
use super::{LONG_AGO, World, quick};

async fn rebuilt(world: &World) -> Rebuilt {
    let originals = if world.source.archives == Archives::Both {
        Originals::NeedManifest
    } else {
        Originals::Prove
    };
    rebuild(
        world.store.clone(),
        "acme",
        originals,
        "20260101T000000Z-00000000",
        quick(),
        CancellationToken::new(),
    )
    .await
    .expect("it rebuilds")
}

fn archive() -> Bytes {
    zip(&[("1.txt", b"one"), ("d/2.txt", b"two")]).into()
}

/// Expects that the world's runs after a rebuild find everything there. `known`: so many files and
/// archives of it at once, without a look at their blobs.
async fn check(world: World, known: (u64, u64), ran: &str) {
    world.run().await;
    let contents = world.contents();
    for lost in [true, false] {
        // In the place of a whole ledger it changes nothing that a run would notice.
        if lost {
            world.lose_ledger().await;
        }
        let rebuilt = rebuilt(&world).await;
        assert_eq!((rebuilt.files, rebuilt.archives), known, "{rebuilt:?}");
        for expected in [ran, "ok: unchanged"] {
            let next = world.run().await;
            assert!(next.brief().starts_with(expected), "lost: {lost}: {}", next.brief());
            assert_eq!((next.source().blobs, next.reads), (0, 0), "lost: {lost}: {next}");
        }
        assert_eq!(world.contents(), contents);
    }
}

#[tokio::test]
async fn plain_files_and_archives_are_known_again() {
    let world = World::new()
        .file("/a.csv", "one")
        .file("/sub/caf\u{e9} 50%.csv", "two")
        .file("/c.zip", archive())
        .file("/empty", "");
    check(world, (4, 1), "ok: unchanged 4").await;
}

#[tokio::test]
async fn archives_that_are_replaced_are_known_again() {
    let world = World::new()
        .with(|source| source.versions = Versions::Overwrite)
        .file("/c.zip", archive())
        .file("/a", "one");
    world.run().await;
    world.put("/c.zip", zip(&[("1.txt", b"ONE!")]), LONG_AGO + 60);
    check(world, (2, 1), "ok: unchanged 2").await;
}

#[tokio::test]
async fn of_several_versions_the_last_one_is_known() {
    let world = World::new().file("/a.csv", "one");
    world.run().await;
    world.put("/a.csv", "two!", LONG_AGO + 60);
    check(world, (1, 0), "ok: unchanged 1").await;
}

#[tokio::test]
async fn times_of_every_precision_are_known_again() {
    let world = World::new().file("/a", "one");
    let at = time::OffsetDateTime::from_unix_timestamp(LONG_AGO).unwrap()
        + std::time::Duration::from_nanos(123_456_789);
    for (n, precision) in
        [Precision::Nanosecond, Precision::Second, Precision::Minute, Precision::Day]
            .into_iter()
            .enumerate()
    {
        let path = format!("/{n}");
        world.put(&path, "x", LONG_AGO);
        world.server.tree().files.get_mut(&path.as_str().into()).unwrap().modified =
            Some(ModifiedTime::new(at, precision));
    }
    check(world, (5, 0), "ok: unchanged 5").await;
}

#[tokio::test]
async fn a_name_too_long_for_metadata_is_looked_for_and_not_read_again() {
    let long = format!("/{}", format!("{}/", "%".repeat(200)).repeat(6));
    check(World::new().file(&long, "one").file("/a", "two"), (1, 0), "ok: ingested 1, unchanged 1")
        .await;
}

#[tokio::test]
async fn an_archive_of_the_release_before_is_looked_for_and_not_read_again() {
    use blobferry::store::contract::{Condition, Properties, Store};
    let world = World::new().file("/c.zip", archive());
    world.run().await;
    let name = world.store.names().into_iter().find(|name| name.contains("/archives/")).unwrap();
    let name = blobferry::model::BlobName::new(name).unwrap();
    let (info, bytes) = world.store.get(&name, 0, 1 << 20).await.unwrap().unwrap();
    let metadata =
        info.metadata.into_iter().filter(|(key, _)| key.starts_with("members")).collect();
    let properties = Properties {
        content_type: "application/json".into(),
        md5: info.md5.unwrap(),
        metadata,
        placement: Default::default(),
    };
    world.store.put(&name, bytes, &properties, &Condition::Always).await.unwrap();
    world.lose_ledger().await;
    let rebuilt = rebuilt(&world).await;
    assert_eq!((rebuilt.files, rebuilt.left_out), (0, 1));
    let ran = world.run().await;
    assert_eq!((ran.brief().as_str(), ran.reads, ran.source().blobs), ("ok: ingested 1", 0, 0));
}

#[tokio::test]
async fn an_archive_whose_members_are_not_all_there_is_not_called_known() {
    // The original is there, as a run leaves it that dies before the manifest.
    let world = World::new()
        .with(|source| source.archives = Archives::Both)
        .file("/c.zip", archive())
        .file("/d.zip", archive());
    world.run().await;
    use blobferry::store::contract::Store;
    let names = world
        .store
        .names()
        .into_iter()
        .filter(|name| name.contains("/archives/") || name.starts_with("acme/c.zip!/"));
    for name in names.collect::<Vec<_>>() {
        let name = blobferry::model::BlobName::new(name).unwrap();
        if name.as_str().starts_with("acme/")
            || world.info(name.as_str()).await.metadata["source_path"] == "/c.zip"
        {
            world.store.delete(&name).await.unwrap();
        }
    }
    let rebuilt = rebuilt(&world).await;
    assert_eq!((rebuilt.files, rebuilt.archives, rebuilt.left_out), (1, 1, 2));
    let ran = world.run().await;
    assert_eq!(
        (ran.brief().as_str(), ran.source().members.stored),
        ("ok: ingested 1, unchanged 1", 2)
    );
    assert_eq!(world.names().len(), 6);
}

#[tokio::test]
async fn what_somebody_else_wrote_is_left_out() {
    let world = World::new().file("/a", "one");
    world.foreign("acme/by-hand", b"x").await;
    world.run().await;
    assert_eq!(rebuilt(&world).await, Rebuilt { files: 1, archives: 0, left_out: 0, blobs: 6 });
}

#[tokio::test]
async fn a_damaged_ledger_is_replaced() {
    let world = World::new().file("/a", "one");
    world.run().await;
    for name in [journal(&world), blobferry::ledger::head_name("acme")] {
        rewrite(&world, &name, |bytes| bytes[..40].to_vec()).await;
        assert_eq!(world.run().await.brief(), "failed: problem [ledger]");
        rebuilt(&world).await;
        assert_eq!(world.run().await.brief(), "ok: unchanged 1");
        world.lose_ledger().await;
        world.run().await;
    }
    // Of a later release, too: whoever asks for it means it.
    rewrite(&world, &blobferry::ledger::head_name("acme"), |_| b"{\"schema\":99}\n".to_vec()).await;
    rebuilt(&world).await;
    assert_eq!(world.run().await.brief(), "ok: unchanged 1");
}

#[tokio::test]
async fn a_run_that_is_under_way_goes_on_in_the_new_ledger() {
    let world = World::new().file("/a", "one");
    world.run().await;
    let store = world.store.clone();
    let rebuild_now = move |_: &mut blobferry::source::memory::MemorySourceTree| {
        let work = rebuild(
            store,
            "acme",
            Originals::Prove,
            "20260101T000000Z-00000000",
            quick(),
            CancellationToken::new(),
        );
        futures_util::FutureExt::now_or_never(work)
            .expect("memory does not wait")
            .expect("it rebuilds");
    };
    let world = world.meanwhile("/b", 0, rebuild_now);
    world.put("/b", "two", LONG_AGO);
    assert_eq!(world.run().await.brief(), "ok: ingested 1, unchanged 1");
    let ran = world.run().await;
    assert_eq!((ran.brief().as_str(), ran.reads), ("ok: unchanged 2", 0));
}
