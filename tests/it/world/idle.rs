//! A source in which nothing changed: what a run over it asks of the store, and what it leaves
//! there.

use blobferry::history::source_index;
use blobferry::ledger::LedgerCache;
use blobferry::run::run;
use blobferry::state::store::StateStore;
use blobferry::transfer::options::Options;
use tokio_util::sync::CancellationToken;

use super::World;

/// Requests but for the container, and how often something was leased.
async fn requests(world: &World, ledgers: &LedgerCache) -> (u64, u64) {
    let before = world.store.counts();
    let options = Options {
        ledgers: ledgers.clone(),
        ..world.options(world.store.clone(), CancellationToken::new())
    };
    let report = run(vec![world.source.clone()], options).await;
    assert!(report.sources[0].is_idle(), "{report}");
    let now = world.store.counts();
    let all = |counts: &blobferry::store::memory::MemoryCounts| {
        counts.heads
            + counts.gets
            + counts.puts
            + counts.stages
            + counts.commits
            + counts.appends
            + counts.lists
            + counts.deletes
    };
    (all(&now) - all(&before), now.leases - before.leases)
}

fn world() -> World {
    (0..5).fold(World::new(), |world, n| world.file(&format!("/{n}.csv"), format!("content {n}")))
}

#[tokio::test]
async fn four_requests_cold_and_two_warm_without_a_lease_and_without_a_blob() {
    let world = world();
    assert_eq!(world.run().await.brief(), "ok: ingested 5");
    // A run of the program writes the index of sources when it ends.
    let state = StateStore::new(world.store.clone(), Default::default(), super::quick());
    source_index::change(&state, |index| index.entry("acme").idle = true).await.unwrap();
    let names = world.store.names();
    let (cold, leases) = requests(&world, &LedgerCache::default()).await;
    assert!(cold <= 4 && leases == 0, "{cold} requests, {leases} leases");
    let ledgers = LedgerCache::keeping();
    requests(&world, &ledgers).await;
    let (warm, leases) = requests(&world, &ledgers).await;
    assert!(
        warm <= 3 && leases == 0,
        "{warm} requests (one of them for all sources), {leases} leases"
    );
    assert_eq!(world.store.names(), names, "an idle run leaves nothing");
}

#[tokio::test]
async fn what_another_process_records_is_seen_by_one_that_has_looked_before() {
    let world = world();
    let ledgers = LedgerCache::keeping();
    world.run().await;
    requests(&world, &ledgers).await;
    // The head stays, the journal grows.
    world.put("/new.csv", "new", super::LONG_AGO);
    assert_eq!(world.run().await.brief(), "ok: ingested 1, unchanged 5");
    let options =
        Options { ledgers, ..world.options(world.store.clone(), CancellationToken::new()) };
    let report = run(vec![world.source.clone()], options).await;
    assert_eq!((report.sources[0].unchanged, report.sources[0].ingested), (6, 0));
}

/// A run that finds work has looked without the lease: if another run was quicker, it looks again.
#[tokio::test]
async fn two_runs_that_find_the_same_work_do_it_once() {
    let world = world();
    let run = || {
        run(
            vec![world.source.clone()],
            world.options(world.store.clone(), CancellationToken::new()),
        )
    };
    let (one, other) = tokio::join!(run(), run());
    let told: Vec<(u64, bool)> = [&one, &other]
        .iter()
        .map(|report| (report.sources[0].ingested, report.sources[0].left_to.is_some()))
        .collect();
    assert!(
        told.contains(&(5, false)) && told.iter().map(|(ingested, _)| ingested).sum::<u64>() == 5,
        "{told:?}"
    );
    assert_eq!(world.server.tree().reads, 5, "each file is read once");
}
