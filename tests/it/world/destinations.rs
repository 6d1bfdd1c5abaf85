//! A source with a destination of its own, by the queue and without it; and one whose destination
//! is another one than it was.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use blobferry::ledger::{Originals, rebuild, under_way};
use blobferry::run::plan;
use blobferry::state::apart::Apart;
use blobferry::store::contract::Store;
use blobferry::store::destinations::Destinations;
use blobferry::store::folder::FolderStore;
use blobferry::store::queue::Queue;
use blobferry::transfer::options::Options;
use bytes::Bytes;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::crash::Dying;
use super::pieces::{Office, dies, files};
use super::{World, quick};

/// A world whose source may name the destination `finance`, and the world that this is.
fn with_finance(world: World) -> (World, World) {
    let finance = World::new();
    let destinations = place(finance.store.clone(), world.store.clone());
    (World { destinations, ..world }, finance)
}

fn place(blobs: Arc<dyn Store>, state: Arc<dyn Store>) -> Destinations {
    let apart: Arc<dyn Store> = Arc::new(Apart::new(blobs, state));
    Destinations::new([("finance".to_owned(), apart)])
}

fn goes_to(world: &mut World, destination: Option<&str>) {
    world.source.destination = destination.map(str::to_owned);
}

/// A world whose source may name the destination `finance`, which is a folder: stores in memory all
/// have one address.
fn with_folder(world: World) -> (World, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let blobs = Arc::new(FolderStore::new(folder.path()).expect("a store"));
    let destinations = place(blobs, world.store.clone());
    (World { destinations, ..world }, folder)
}

/// How many blobs of users are in the folder.
fn stored(folder: &TempDir) -> usize {
    std::fs::read_dir(folder.path().join("acme")).map_or(0, Iterator::count)
}

fn office_with_folder(count: usize, size: usize) -> (Office, TempDir) {
    let (mut world, folder) = with_folder(files(count).with(|source| source.connections = 2));
    goes_to(&mut world, Some("finance"));
    (Office::new(world, size), folder)
}

fn office(count: usize, size: usize) -> (Office, World) {
    let (mut world, finance) = with_finance(files(count).with(|source| source.connections = 2));
    goes_to(&mut world, Some("finance"));
    (Office::new(world, size), finance)
}

fn expected(count: usize) -> BTreeMap<String, Vec<Bytes>> {
    (0..count)
        .map(|n| (format!("acme/{n:02}.csv"), vec![Bytes::from(format!("content {n}"))]))
        .collect()
}

#[track_caller]
fn all_there(office: &Office, finance: &World, count: usize) {
    let contents: BTreeMap<String, Vec<Bytes>> =
        finance.contents().into_iter().map(|(name, bytes)| (name, vec![bytes])).collect();
    assert_eq!(contents, expected(count));
    assert_eq!(office.world.names(), Vec::<String>::new(), "none went to the first destination");
    assert_eq!(finance.store.names().len(), count + 1, "of our state, one blob tells its place");
    let mut recorded = office.world.recorded();
    recorded.sort();
    let paths: Vec<String> = (0..count).map(|n| format!("/{n:02}.csv")).collect();
    assert_eq!(recorded, paths, "each is recorded once");
}

#[tokio::test]
async fn two_workers_put_pieces_of_a_source_into_its_own_destination() {
    let (office, finance) = office(12, 3);
    let run = office.ask().await;
    let mut rounds = 0;
    while let Some((first, _)) = office.queue.take() {
        let second = office.queue.take();
        let one = office.work(&first, CancellationToken::new());
        let other = async {
            if let Some((message, _)) = &second {
                office.work(message, CancellationToken::new()).await.expect("it works");
            }
        };
        tokio::join!(async { drop(one.await.expect("it works")) }, other);
        rounds += 1;
        assert!(rounds < 100, "it comes to an end");
    }
    assert_eq!(office.report(&run).await, "ok, ingested 12");
    all_there(&office, &finance, 12);
    assert_eq!(office.left(), Vec::<String>::new());
    assert!(office.world.server.tree().most_open <= 2, "never more logins than allowed");
    let run = office.ask().await;
    office.drain().await;
    assert_eq!(office.report(&run).await, "ok, unchanged 12");
    assert_eq!(office.world.run().await.brief(), "ok: unchanged 12");
}

/// Kills the process at its `at`-th call of the one store or of the other. Whether it died.
async fn killed(at: u64, effect: bool, of_blobs: bool) -> bool {
    let (office, finance) = office(5, 2);
    let run = office.ask().await;
    let dying = Arc::new(if of_blobs {
        Dying::new(&finance, at, effect, &expected(5))
    } else {
        Dying::new(&office.world, at, effect, &BTreeMap::new())
    });
    let destinations = match of_blobs {
        true => place(dying.clone(), office.world.store.clone()),
        false => place(finance.store.clone(), dying.clone()),
    };
    let with = |options| Options { destinations: destinations.clone(), ..options };
    let died = std::thread::scope(|scope| {
        scope.spawn(|| dies(&office, &dying, with)).join().expect("no panic")
    });
    let Some(message) = died else { return false };
    // The host brings the message again.
    office.queue.send(&message, Duration::ZERO).await.unwrap();
    office.drain().await;
    office.sweep().await;
    let told = format!("death at call {at} (effect: {effect}, of blobs: {of_blobs})");
    all_there(&office, &finance, 5);
    assert_eq!(office.report(&run).await, "ok, ingested 5", "{told}");
    let store = office.world.store.clone();
    let open = under_way(store, "acme", quick(), CancellationToken::new()).await.unwrap();
    assert_eq!(open, None, "{told}");
    assert_eq!(office.world.run().await.brief(), "ok: unchanged 5", "{told}");
    true
}

#[tokio::test]
async fn workers_killed_at_any_call_of_either_store_lose_nothing_of_such_a_source() {
    for of_blobs in [true, false] {
        let mut at = 1;
        while killed(at, at % 2 == 0, of_blobs).await {
            at += 1;
        }
        assert!(at > if of_blobs { 6 } else { 40 }, "a pass has many steps: {at}");
    }
}

#[tokio::test]
async fn a_source_whose_destination_was_changed_is_told_and_not_looked_at() {
    for names in [[None, Some("finance")], [Some("finance"), None]] {
        let (mut world, folder) = with_folder(files(3));
        goes_to(&mut world, names[0]);
        assert_eq!(world.run().await.brief(), "ok: ingested 3");
        goes_to(&mut world, names[1]);
        for _ in 0..2 {
            let ran = world.run().await;
            assert_eq!(ran.brief(), "failed: problem [moved]", "{ran}");
            assert_eq!((ran.reads, ran.logins), (0, 0), "nothing was listed");
            assert!(ran.to_string().contains("its 3 known files went to `"), "{ran}");
        }
        let options = world.options(world.store.clone(), CancellationToken::new());
        let planned = plan(vec![world.source.clone()], options).await;
        assert_eq!(planned[0].report.problems.len(), 1, "{:?}", planned[0].report.problems);
        assert_eq!(planned[0].report.listed, 0);
        // As it was, all goes on.
        goes_to(&mut world, names[0]);
        world.put("/03.csv", "content 3", super::LONG_AGO);
        assert_eq!(world.run().await.brief(), "ok: ingested 1, unchanged 3");
        // Or the ledger is made of what the new place holds, which is nothing.
        goes_to(&mut world, names[1]);
        let store = world.destinations.of(names[1], &(world.store.clone() as Arc<dyn Store>));
        let cancel = CancellationToken::new();
        rebuild(store, "acme", Originals::Prove, "r", quick(), cancel).await.expect("rebuilt");
        assert_eq!(world.run().await.brief(), "ok: ingested 4");
        assert_eq!((stored(&folder), world.names().len()), (4, 4));
        assert_eq!(world.run().await.brief(), "ok: unchanged 4");
    }
}

#[tokio::test]
async fn a_changed_destination_is_known_after_journals_are_folded_and_after_passes_in_pieces() {
    let (mut office, _folder) = office_with_folder(8, 2);
    office.ask().await;
    office.drain().await;
    for _ in 0..12 {
        office.world.put("/00.csv", "other", super::LONG_AGO + 60);
        office.ask().await;
        office.drain().await;
        office.world.put("/00.csv", "content 0", super::LONG_AGO + 120);
        office.ask().await;
        office.drain().await;
    }
    goes_to(&mut office.world, None);
    let run = office.ask().await;
    office.drain().await;
    assert_eq!(office.report(&run).await, "failed");
    assert_eq!(office.world.run().await.brief(), "failed: problem [moved]");
    goes_to(&mut office.world, Some("finance"));
    let run = office.ask().await;
    office.drain().await;
    assert_eq!(office.report(&run).await, "ok, unchanged 8");
}

#[tokio::test]
async fn a_destination_that_is_changed_in_the_midst_of_a_pass_gets_no_file_of_it() {
    let (mut office, folder) = office_with_folder(6, 2);
    let run = office.ask().await;
    let plan = office.queue.take().expect("the plan").0;
    office.work(&plan, CancellationToken::new()).await.expect("it plans");
    goes_to(&mut office.world, None);
    office.drain().await;
    assert_eq!(office.report(&run).await, "degraded, failed 6");
    assert_eq!((stored(&folder), office.world.names().len()), (0, 0));
    // No file is known in the other place, so the next run goes on in this one.
    let run = office.ask().await;
    office.drain().await;
    assert_eq!(office.report(&run).await, "ok, ingested 6");
    assert_eq!(office.world.names().len(), 6);
}
