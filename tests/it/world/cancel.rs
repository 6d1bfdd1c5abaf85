//! A run that is stopped: what is in hand is finished or left, and nothing is claimed that is not
//! so.

use super::World;
use super::zips::zip;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn a_stopped_run_finishes_what_it_has_and_the_next_one_does_the_rest() {
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let world = (0..30).fold(World::new(), |world, n| world.file(&format!("/{n:02}"), "content"));
    let world =
        world.file("/a.zip", zip(&[("1", b"one")])).meanwhile("/15", 3, move |_| stop.cancel());
    let ran = world.run_until(cancel).await;
    assert!(
        ran.report.interrupted
            && ran.report.exit_code() == 1
            && ran.to_string().contains("interrupted"),
        "{ran}"
    );
    let (ingested, deferred) = (ran.source().ingested, ran.source().deferred);
    assert!(ingested >= 1 && deferred >= 1 && ingested + deferred == 31, "{}", ran.brief());
    assert_eq!(world.recorded().len() as u64, ingested, "the ledger speaks of what is there");
    let ran = world.run().await;
    assert_eq!(
        (ran.source().unchanged, ran.source().ingested, ran.report.exit_code()),
        (ingested, deferred, 0)
    );
    assert_eq!((world.names().len(), world.recorded().len()), (31, 31));
}

#[tokio::test]
async fn a_run_stopped_before_it_begins_touches_no_file() {
    let cancel = CancellationToken::new();
    cancel.cancel();
    let world = World::new().file("/a", "one");
    let ran = world.run_until(cancel).await;
    assert!(ran.report.interrupted && world.names().is_empty() && ran.reads == 0);
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
}

#[tokio::test]
async fn a_run_stopped_while_it_waits_for_young_files_leaves_them() {
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let world = World::new()
        .with(|source| source.stable_for = std::time::Duration::from_secs(3_600))
        .file("/old", "x");
    let world = world.meanwhile("/old", 1, move |_| stop.cancel());
    world.put("/young", "one", super::now());
    let ran = world.run_until(cancel).await;
    assert_eq!(ran.brief(), "interrupted: ingested 1, deferred 1 [interrupted]");
}

#[tokio::test]
async fn a_run_that_is_dropped_stops() {
    let (reached, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let mut world =
        (0..200).fold(World::new(), |world, n| world.file(&format!("/{n:03}"), "content"));
    // Few are on their way at once.
    world.limits.transfers = 2;
    let world = world.meanwhile("/100", 1, move |_| reached.send(()).unwrap());
    let report = blobferry::run::run(
        vec![world.source.clone()],
        world.options(world.store.clone(), CancellationToken::new()),
    );
    tokio::select! {
        biased;
        _ = seen.recv() => {}
        _ = report => panic!("it ended"),
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let then = world.names().len();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(then < 200 && world.names().len() == then);
    assert_eq!(world.run().await.report.exit_code(), 0);
    assert_eq!((world.names().len(), world.recorded().len()), (200, 200));
}
