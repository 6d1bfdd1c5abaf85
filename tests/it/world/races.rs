//! Runs of one source at the same time, in many orders: one result, no failure.

use std::collections::BTreeMap;
use std::sync::Arc;

use blobferry::transfer::settings::{After, Archives, Versions};
use tokio_util::sync::CancellationToken;

use super::crash::Dying;
use super::zips::zip;
use super::{LONG_AGO, World};

/// Runs three at once over what `make` builds, and compares with one run by itself.
async fn race(make: impl AsyncFn() -> World, rounds: u64) {
    let whole = make().await;
    let mut expected: BTreeMap<String, Vec<bytes::Bytes>> = BTreeMap::new();
    whole
        .contents()
        .into_iter()
        .for_each(|(name, content)| expected.entry(name).or_default().push(content));
    whole.run().await;
    whole
        .contents()
        .into_iter()
        .for_each(|(name, content)| expected.entry(name).or_default().push(content));
    for round in 1..=rounds {
        let world = make().await;
        let one = |jitter: u64| {
            world.run_into(
                Arc::new(Dying::slow(&world, jitter, &expected)),
                CancellationToken::new(),
            )
        };
        let (first, second, third) =
            tokio::join!(one(round), one(round * 31 + 7), one(round * 1_009 + 3));
        for ran in [&first, &second, &third] {
            assert_eq!(ran.report.exit_code(), 0, "round {round}: {ran}");
        }
        assert!(
            world.contents() == whole.contents(),
            "round {round}: {:?} instead of {:?}",
            world.names(),
            whole.names()
        );
        assert_eq!(world.at_source(), whole.at_source());
        let ran = world.run().await;
        assert_eq!(
            (ran.report.exit_code(), ran.reads, ran.source().blobs),
            (0, 0, 0),
            "round {round}: {ran}"
        );
    }
}

fn mixed() -> World {
    let world = World::new()
        .file("/a.zip", zip(&[("1.txt", b"one"), ("2.txt", b"two")]))
        .file("/big", vec![7; 9 << 20]);
    (0..6).fold(world, |world, n| world.file(&format!("/{n}"), format!("content {n}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_files() {
    race(async || mixed(), 6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_files_that_are_deleted_at_the_source() {
    race(async || mixed().with(|source| source.after = After::Delete), 6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn archives_that_are_also_kept() {
    race(async || mixed().with(|source| source.archives = Archives::Both), 6).await;
}

async fn changed(versions: Versions) -> World {
    let world = mixed().with(|source| source.versions = versions);
    world.run().await;
    world.put("/a.zip", zip(&[("1.txt", b"one"), ("2.txt", b"other")]), LONG_AGO + 60);
    world.put("/big", vec![8; 10 << 20], LONG_AGO + 60);
    (0..6).for_each(|n| world.put(&format!("/{n}"), format!("changed {n}"), LONG_AGO + 60));
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_files() {
    race(async || changed(Versions::Keep).await, 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replaced_files() {
    race(async || changed(Versions::Overwrite).await, 4).await;
}
