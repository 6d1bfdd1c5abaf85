//! `blobferry state move`, killed at each of its calls: at no moment an old and a new configuration
//! both record, nothing is fetched a second time, and a second call ends it.

use std::sync::Arc;
use std::time::Duration;

use blobferry::report::Status;
use blobferry::run::state_move::{MoveError, StateMove};
use blobferry::state::apart::Apart;
use blobferry::store::contract::{Leased, Store};
use blobferry::store::holder::Holder;
use blobferry::store::memory::MemoryStore;
use tokio_util::sync::CancellationToken;

use super::super::lies::mortal::Mortal;
use super::*;

/// A world whose source has three files in the store and an archive; its state is among the blobs.
async fn world() -> World {
    let world = World::new()
        .file("/a", "one")
        .file("/b", "two")
        .file("/z.zip", super::zips::zip(&[("m", b"member")]));
    let report = world.run().await.report;
    assert_eq!(report.status(), Status::Ok, "{report:?}");
    world
}

fn moving(blobs: Arc<dyn Store>, from: Arc<dyn Store>, to: Arc<dyn Store>) -> StateMove {
    StateMove {
        destinations: vec![blobs],
        from,
        to,
        is_among_blobs: false,
        sources: vec!["acme".to_owned()],
    }
}

fn back(blobs: Arc<dyn Store>, from: Arc<dyn Store>) -> StateMove {
    StateMove { is_among_blobs: true, ..moving(blobs.clone(), from, blobs) }
}

fn apart(blobs: &Arc<MemoryStore>, state: &Arc<MemoryStore>) -> Arc<dyn Store> {
    Arc::new(Apart::new(blobs.clone(), state.clone()))
}

/// What a run under a configuration comes to: files that it knows, or `None` where it is refused
/// and has changed nothing.
async fn looked(world: &World, store: Arc<dyn Store>) -> Option<u64> {
    let before = world.contents();
    let report = world.run_into(store, CancellationToken::new()).await.report;
    assert_eq!(world.contents(), before, "nothing is fetched a second time: {report:?}");
    let known = report.sources.first().map_or(0, |source| source.unchanged);
    match report.status() {
        Status::Ok => Some(known),
        _ => None,
    }
}

/// Both configurations are tried: one of them at most may record.
async fn at_most_one_works(world: &World, state: &Arc<MemoryStore>, at: u64) {
    let old = looked(world, world.store.clone()).await;
    let new = looked(world, apart(&world.store, state)).await;
    assert!(old.is_none() || new.is_none(), "call {at}: {old:?} {new:?}");
}

#[tokio::test]
async fn the_state_goes_to_another_place_and_back_and_nothing_is_fetched_again() {
    let world = world().await;
    let state = Arc::new(MemoryStore::new());
    let moved = moving(world.store.clone(), world.store.clone(), state.clone()).run().await;
    let moved = moved.expect("moved");
    assert!(moved.blobs > 3 && moved.sources == 1 && !moved.was_there, "{moved:?}");
    assert_eq!(looked(&world, world.store.clone()).await, None, "the old one is told");
    assert_eq!(looked(&world, apart(&world.store, &state)).await, Some(3));
    let again = moving(world.store.clone(), world.store.clone(), state.clone()).run().await;
    assert!(again.expect("it is there").was_there);
    // It goes on there.
    world.put("/c", "three", LONG_AGO);
    let report = world.run_into(apart(&world.store, &state), CancellationToken::new()).await.report;
    assert_eq!(report.sources[0].ingested, 1, "{report:?}");
    // To a third place, and from there back among the blobs.
    let third = Arc::new(MemoryStore::new());
    let wrong = moving(world.store.clone(), world.store.clone(), third.clone()).run().await;
    assert!(matches!(wrong, Err(MoveError::Refused(why)) if why.contains("--from")));
    moving(world.store.clone(), state.clone(), third.clone()).run().await.expect("moved");
    assert_eq!(looked(&world, apart(&world.store, &state)).await, None);
    assert_eq!(looked(&world, apart(&world.store, &third)).await, Some(4));
    back(world.store.clone(), third.clone()).run().await.expect("moved back");
    assert_eq!(looked(&world, apart(&world.store, &third)).await, None);
    assert_eq!(looked(&world, world.store.clone()).await, Some(4));
    assert!(back(world.store.clone(), third).run().await.expect("it is there").was_there);
}

#[tokio::test]
async fn a_move_is_refused_while_a_run_is_at_a_source_and_into_a_place_that_holds_state() {
    let world = world().await;
    let state = Arc::new(MemoryStore::new());
    let lock = BlobName::new("_blobferry/acme/lock").unwrap();
    let Leased::Held(held) = world.store.lease(&lock, &Holder::new("a-run")).await.unwrap() else {
        panic!("it is free")
    };
    let refused = moving(world.store.clone(), world.store.clone(), state.clone()).run().await;
    let told = refused.expect_err("a run is at it").to_string();
    assert!(told.contains("a run is at `acme` (a-run on"), "{told}");
    assert_eq!(looked(&world, apart(&world.store, &state)).await, None);
    held.release().await.unwrap();
    let other = super::World::new().file("/x", "x");
    other.run().await;
    let refused = moving(world.store.clone(), world.store.clone(), other.store.clone()).run().await;
    let told = refused.expect_err("it holds state").to_string();
    assert!(told.contains("holds state already"), "{told}");
    assert_eq!(looked(&world, world.store.clone()).await, Some(3));
}

/// Which of both places the dying process calls by a store that counts.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Counted {
    From,
    To,
}

/// Kills the move at its call `at` to one of the places; whether it got to its end before.
async fn killed(world: &World, state: &Arc<MemoryStore>, counted: Counted, at: u64) -> bool {
    let (inner, effect) = match counted {
        Counted::From => (world.store.clone(), at.is_multiple_of(2)),
        Counted::To => (state.clone(), !at.is_multiple_of(2)),
    };
    let mortal = Arc::new(Mortal::new(inner, at, effect));
    let (from, to): (Arc<dyn Store>, Arc<dyn Store>) = match counted {
        Counted::From => (mortal.clone(), state.clone()),
        Counted::To => (world.store.clone(), mortal.clone()),
    };
    let relocation = moving(from.clone(), from, to);
    tokio::select! {
        biased;
        () = mortal.death() => false,
        moved = relocation.run() => moved.is_ok(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_move_that_is_killed_at_any_call_is_ended_by_the_next_one() {
    for counted in [Counted::From, Counted::To] {
        let mut ends = 0;
        for at in 1.. {
            let (world, state) = (world().await, Arc::new(MemoryStore::new()));
            let ended = killed(&world, &state, counted, at).await;
            // The lease of the dead lapses.
            tokio::time::sleep(Duration::from_secs(61)).await;
            at_most_one_works(&world, &state, at).await;
            tokio::time::sleep(Duration::from_secs(61)).await;
            let relocation = moving(world.store.clone(), world.store.clone(), state.clone());
            let moved = relocation.run().await;
            moved.unwrap_or_else(|error| panic!("{counted:?} {at}: {error}"));
            assert_eq!(looked(&world, world.store.clone()).await, None, "{counted:?} {at}");
            let known = looked(&world, apart(&world.store, &state)).await;
            assert_eq!(known, Some(3), "{counted:?} {at}");
            if ended {
                break;
            }
            ends += 1;
        }
        assert!(ends > 10, "{counted:?}: {ends} calls");
    }
}
