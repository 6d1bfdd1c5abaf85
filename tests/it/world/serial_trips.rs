//! Answers that a run waits for one after the other. Each request takes a second of virtual time,
//! so seconds are trips to the store.

use std::sync::Arc;
use std::time::Duration;

use blobferry::failpoint::leave_out;
use blobferry::history::record::Trigger;
use blobferry::ledger::LedgerCache;
use blobferry::run::{recorded, run};
use blobferry::store::contract::StoreKind;
use blobferry::store::memory::{MemoryFault, MemoryOp, MemoryStore};
use blobferry::transfer::options::Options;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::World;
use super::far_store::Halting;

const OPS: [MemoryOp; 12] = [
    MemoryOp::Prepare,
    MemoryOp::Head,
    MemoryOp::Get,
    MemoryOp::Put,
    MemoryOp::Stage,
    MemoryOp::Commit,
    MemoryOp::Append,
    MemoryOp::List,
    MemoryOp::Delete,
    MemoryOp::Lease,
    MemoryOp::Renew,
    MemoryOp::Release,
];

const TRIP: Duration = Duration::from_secs(1);

/// From now on each request takes a trip.
fn far(store: &MemoryStore) {
    for op in OPS {
        (1..=200).for_each(|nth| store.fault(op, nth, MemoryFault::Delay(TRIP)));
    }
}

/// Trips of a run that ends so.
async fn trips(world: &World, brief: &str) -> u64 {
    let begun = Instant::now();
    let options = Options {
        ledgers: LedgerCache::default(),
        ..world.options(world.store.clone(), CancellationToken::new())
    };
    let report = run(vec![world.source.clone()], options).await;
    let told = &report.sources[0];
    assert_eq!(format!("{} of {}", told.ingested, told.listed), brief, "{report}");
    begun.elapsed().as_secs()
}

fn three_files() -> World {
    (0..3).fold(World::new(), |world, n| world.file(&format!("/{n}.csv"), format!("content {n}")))
}

#[tokio::test(start_paused = true)]
async fn a_run_waits_for_few_answers_one_after_the_other() {
    let world = three_files();
    far(&world.store);
    let first = trips(&world, "3 of 3").await;
    world.put("/new.csv", "new", super::LONG_AGO);
    let second = trips(&world, "1 of 4").await;
    let idle = trips(&world, "0 of 4").await;
    println!("first run {first}, a later one {second}, an idle one {idle}");
    assert!(first <= 13, "{first} trips of a first run");
    assert!(second <= 11, "{second} trips of a later run");
    assert!(idle <= 3, "{idle} trips of an idle run");
}

/// Trips of a run of the command line that ends so: it leaves a record, and notes in the index of
/// sources and in that of names.
async fn trips_with_record(world: &World, brief: &str) -> u64 {
    let begun = Instant::now();
    let options = Options {
        ledgers: LedgerCache::default(),
        ..world.options(world.store.clone(), CancellationToken::new())
    };
    let report = recorded(vec![world.source.clone()], options, Trigger::Command).await;
    let told = &report.sources[0];
    assert_eq!(format!("{} of {}", told.ingested, told.listed), brief, "{report}");
    begun.elapsed().as_secs()
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_run_is_noted_beside_its_record() {
    let world = three_files();
    far(&world.store);
    let first = trips_with_record(&world, "3 of 3").await;
    world.put("/new.csv", "new", super::LONG_AGO);
    let second = trips_with_record(&world, "1 of 4").await;
    let idle = trips_with_record(&world, "0 of 4").await;
    println!("first run {first}, a later one {second}, an idle one {idle}");
    assert!(first <= 16, "{first} trips of a first run");
    assert!(second <= 14, "{second} trips of a later run");
    assert!(idle <= 5, "{idle} trips of an idle run");
}

/// What a first run leaves when the store refuses every append from the second on: the journal is
/// made, and this run's beginning is not noted in it.
async fn committed_without_a_beginning(step: Option<&'static str>) -> usize {
    let world = three_files();
    // The head, which names the journal.
    world.store.fault(MemoryOp::Put, 1, MemoryFault::Delay(TRIP));
    for nth in 2..20 {
        world.store.fault(MemoryOp::Append, nth, MemoryFault::Refused(StoreKind::Denied));
    }
    leave_out(step);
    let ran = world.run().await;
    leave_out(None);
    assert_eq!((ran.source().ingested, ran.source().failed), (0, 3), "{ran}");
    world.names().len()
}

#[tokio::test(start_paused = true)]
async fn nothing_is_committed_before_the_beginning_of_the_run_is_noted() {
    assert_eq!(committed_without_a_beginning(None).await, 0);
    let without = committed_without_a_beginning(Some("begin-before-commit")).await;
    assert!(without > 0, "commits that do not wait for the beginning are not noticed");
}

#[tokio::test(start_paused = true)]
async fn files_are_read_while_the_beginning_of_the_run_is_noted() {
    let world = three_files();
    let reads = Halting::over(&world.server, "read", 1, Duration::from_secs(3));
    let world = world.with(|source| {
        (source.endpoint, source.connections) = (Arc::new(reads), 3);
    });
    let before = trips(&world, "3 of 3").await;
    assert_eq!(before, 3, "only reads take time");
    let world = three_files();
    let reads = Halting::over(&world.server, "read", 1, Duration::from_secs(3));
    let world = world.with(|source| {
        (source.endpoint, source.connections) = (Arc::new(reads), 3);
    });
    // The journal is there by then. The beginning; then the records.
    (2..=3).for_each(|nth| world.store.fault(MemoryOp::Append, nth, MemoryFault::Delay(TRIP)));
    let beside = trips(&world, "3 of 3").await;
    assert!(beside <= before + 1, "{beside} s");
}

/// A file of more than one block, which the store has as `there` says.
fn large(reads: Duration) -> World {
    let content = vec![7; (8 << 20) + 1_000];
    let world = World::new().file("/large.bin", content);
    let slow = Halting::over(&world.server, "read", 1, reads);
    world.with(|source| source.endpoint = Arc::new(slow))
}

#[tokio::test(start_paused = true)]
async fn the_place_of_a_large_file_is_looked_for_while_it_is_read() {
    let reads = Duration::from_secs(4);
    for op in [MemoryOp::Head, MemoryOp::Get] {
        let world = large(reads);
        let near = trips(&world, "1 of 1").await;
        let world = large(reads);
        (1..=9).for_each(|nth| world.store.fault(op, nth, MemoryFault::Delay(TRIP)));
        let far = trips(&world, "1 of 1").await;
        // Those of the ledger come before.
        assert!(far <= near + 5, "{op:?}: {near} s, {far} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_file_that_is_stored_already_is_not_read_to_its_end() {
    let world = large(Duration::from_secs(100));
    assert_eq!(trips(&world, "1 of 1").await, 100);
    world.lose_ledger().await;
    far(&world.store);
    let again = trips(&world, "1 of 1").await;
    assert!(again < 30, "it was read for {again} s");
    assert_eq!(world.names().len(), 1, "{:?}", world.names());
}

/// A name that another version has taken: the bytes that were staged under it are given up.
#[tokio::test(start_paused = true)]
async fn a_large_file_whose_name_is_taken_is_stored_under_its_own() {
    let world = large(Duration::from_secs(5));
    trips(&world, "1 of 1").await;
    world.lose_ledger().await;
    world.put("/large.bin", vec![8; (8 << 20) + 5], super::LONG_AGO + 60);
    (1..=40).for_each(|nth| {
        world.store.fault(MemoryOp::Head, nth, MemoryFault::Delay(Duration::from_secs(7)));
    });
    trips(&world, "1 of 1").await;
    let names = world.names();
    assert_eq!(names.len(), 2, "{names:?}");
    let sizes: Vec<usize> = world.contents().iter().map(|(_, bytes)| bytes.len()).collect();
    assert!(sizes.contains(&((8 << 20) + 5)) && sizes.contains(&((8 << 20) + 1_000)), "{sizes:?}");
}

/// Sixty files are committed at once, and each append takes a while: all records go in one.
#[tokio::test(start_paused = true)]
async fn records_of_one_wave_go_in_one_append() {
    let world = (0..60).fold(World::new().with(|source| source.connections = 4), |world, n| {
        world.file(&format!("/{n:02}"), format!("content {n}"))
    });
    for nth in 1..=20 {
        world.store.fault(MemoryOp::Append, nth, MemoryFault::Delay(Duration::from_millis(25)));
    }
    // Answers come within some milliseconds of each other.
    for nth in 1..=60 {
        let takes = Duration::from_millis(200 + nth % 5);
        world.store.fault(MemoryOp::Put, nth, MemoryFault::Delay(takes));
    }
    let ran = world.run().await;
    assert_eq!(ran.brief(), "ok: ingested 60");
    let records = world.journal_of("acme").len();
    println!("{} appends of {records} lines", ran.requests.appends);
    // The journal, the beginning, the wave, the end; and the manifest.
    assert!(ran.requests.appends <= 6, "{} appends", ran.requests.appends);
}
