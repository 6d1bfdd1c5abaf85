//! What schedules of lies found, made small: each named for what a user saw.

use std::time::Duration;

use blobferry::model::{ModifiedTime, Precision, RemotePath};
use blobferry::source::memory::MemoryFile;
use blobferry::transfer::settings::After;
use bytes::Bytes;

use super::super::world::{LONG_AGO, World};

fn put(world: &World, path: &str, content: &'static str, modified: Option<i64>) {
    let modified = modified.and_then(ModifiedTime::from_unix);
    let file = MemoryFile {
        content: Bytes::from(content),
        modified,
        listed: modified.map(|modified| ModifiedTime::new(modified.at, Precision::Minute)),
        claimed_size: Some(content.len() as u64),
    };
    world.server.tree().files.insert(RemotePath::from(path), file);
}

/// A source without times, of which a file was taken and became another one of its size.
async fn replaced_without_a_time(stable_for: Duration) -> World {
    let world = World::new().with(|source| source.stable_for = stable_for);
    put(&world, "/a", "12345", None);
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
    put(&world, "/a", "54321", None);
    world
}

#[tokio::test(start_paused = true)]
async fn a_file_without_a_time_that_became_another_one_is_taken_by_the_run_that_finds_it() {
    let stable_for = Duration::from_secs(10);
    let world = replaced_without_a_time(stable_for).await;
    let begun = tokio::time::Instant::now();
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
    assert!(begun.elapsed() >= stable_for, "it may still be written: {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_file_without_a_time_arrives_however_often_runs_look_at_it() {
    let stable_for = Duration::from_millis(400);
    let world = replaced_without_a_time(stable_for).await;
    let begun = std::time::Instant::now();
    let mut brief = world.run().await.brief();
    while brief == "ok: deferred 1 [unsettled]" && begun.elapsed() < stable_for * 10 {
        tokio::time::sleep(stable_for / 20).await;
        brief = world.run().await.brief();
    }
    assert_eq!(brief, "ok: ingested 1");
}

#[tokio::test]
async fn a_file_that_is_replaced_within_its_listed_minute_is_taken_before_it_leaves() {
    let world = World::new();
    put(&world, "/a", "12345", Some(LONG_AGO));
    world.run().await;
    put(&world, "/a", "54321", Some(LONG_AGO + 1));
    let world = world.with(|source| source.after = After::Delete);
    let ran = world.run().await;
    assert_eq!((ran.brief().as_str(), world.at_source().len()), ("ok: unchanged 1", 1));
    let ran = world.run().await;
    assert_eq!((ran.brief().as_str(), world.at_source().len()), ("ok: ingested 1", 0));
    let stored: Vec<_> = world.contents().into_iter().map(|(_, content)| content).collect();
    assert!(stored.contains(&Bytes::from("54321")), "{stored:?}");
}

#[tokio::test]
async fn a_file_without_an_exact_time_is_read_though_an_earlier_run_stored_one_like_it() {
    let world = World::new();
    put(&world, "/a", "12345", None);
    world.run().await;
    world.lose_ledger().await;
    put(&world, "/a", "54321", None);
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
    let stored: Vec<_> = world.contents().into_iter().map(|(_, content)| content).collect();
    assert!(stored.contains(&Bytes::from("54321")), "{stored:?}");
}

/// Lists the file an hour later than it is, as a server does that tells its own time in summer.
fn list_in_summer_time(world: &World, path: &str) {
    let mut tree = world.server.tree();
    let file = tree.files.get_mut(&RemotePath::from(path)).expect("it is there");
    let listed = file.listed.expect("a time");
    file.listed = Some(ModifiedTime::new(listed.at + time::Duration::HOUR, Precision::Minute));
}

#[tokio::test]
async fn a_file_of_equal_size_and_time_that_comes_after_one_of_an_earlier_run_left_is_read() {
    let world = World::new();
    put(&world, "/a", "12345", Some(LONG_AGO));
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
    let world = world.with(|source| source.after = After::Delete);
    // The listing tells another time than before, so that the file is described and its new listed
    // time is noted, and what the first run did not do is done.
    list_in_summer_time(&world, "/a");
    assert_eq!(world.run().await.brief(), "ok: unchanged 1");
    assert!(world.server.tree().files.is_empty(), "it was removed");
    put(&world, "/a", "54321", Some(LONG_AGO));
    list_in_summer_time(&world, "/a");
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
    let stored: Vec<_> = world.contents().into_iter().map(|(_, content)| content).collect();
    assert!(stored.contains(&Bytes::from("54321")), "{stored:?}");
}
