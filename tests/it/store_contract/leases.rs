//! Leases: one holder, given back or not, told of to others.

use std::sync::Arc;
use std::time::Duration;

use blobferry::store::contract::{LEASE, Lease, Leased, Store, StoreKind, Taken};
use blobferry::store::discard::DiscardStore;
use blobferry::store::folder::FolderStore;
use blobferry::store::holder::Holder;
use blobferry::store::memory::MemoryStore;
use futures_util::future::join_all;

use super::{listed, name};

const LOCK: &str = "_blobferry/acme/lock";

fn holder(number: usize) -> Holder {
    Holder::new(&format!("20261123T100000Z-0000000{number}"))
}

async fn ask(store: &dyn Store, number: usize) -> Leased {
    store.lease(&name(LOCK), &holder(number)).await.expect("it answers")
}

async fn held(store: &dyn Store, number: usize) -> Box<dyn Lease> {
    match ask(store, number).await {
        Leased::Held(lease) => lease,
        Leased::Taken(taken) => panic!("it is free, not {taken:?}"),
    }
}

async fn taken(store: &dyn Store, number: usize) -> Taken {
    match ask(store, number).await {
        Leased::Taken(taken) => taken,
        Leased::Held(lease) => panic!("it is taken, not {lease:?}"),
    }
}

/// Polls until the lease is free, as it is a moment after it was dropped.
async fn comes_free(store: &dyn Store, number: usize) -> Box<dyn Lease> {
    let wait = async {
        loop {
            if let Leased::Held(lease) = ask(store, number).await {
                return lease;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect("it comes free")
}

/// What may be relied on.
pub async fn have_one_holder(store: Arc<dyn Store>) {
    // Of many at once, one has it; the others are told who, or were quicker than that was written
    // down.
    let tries = (0..8).map(|number| {
        let store = store.clone();
        tokio::spawn(async move { (number, ask(&*store, number).await) })
    });
    let mut leases = Vec::new();
    for answer in join_all(tries).await {
        if let (number, Leased::Held(lease)) = answer.expect("no panic") {
            leases.push((number, lease));
        }
    }
    assert_eq!(leases.len(), 1, "{leases:?}");
    let (winner, lease) = leases.remove(0);
    let told = taken(&*store, 9).await;
    assert_eq!(
        told.by.map(|by| (by.run, by.process)),
        Some((holder(winner).run, holder(winner).process))
    );
    assert!(told.outlives <= LEASE);
    lease.renew().await.expect("it is ours");
    lease.renew().await.expect("it is still ours");

    // Nobody ends the lease of another by mistake.
    store.end_lease(&name(LOCK), &holder(9)).await.expect("it does nothing");
    taken(&*store, 9).await;

    lease.release().await.expect("it is given back");
    let lease = held(&*store, 9).await;
    assert_eq!(taken(&*store, 1).await.by.map(|by| by.run), Some(holder(9).run));

    drop(lease);
    let lease = comes_free(&*store, 2).await;

    // Another name is another lease.
    let other = store.lease(&name("_blobferry/other/lock"), &holder(3)).await.expect("it answers");
    assert!(matches!(other, Leased::Held(_)), "{other:?}");
    lease.release().await.expect("it is given back");
    // A lease is in the way of no blob.
    assert!(listed(&*store, "_blobferry/acme/").await.iter().all(|info| info.name == LOCK));
}

/// What can be said only of stores whose leases outlive a dead process.
pub async fn can_be_lost(store: &dyn Store) {
    let lease = held(store, 1).await;
    // As after a lost answer.
    let again = held(store, 1).await;
    store.end_lease(&name(LOCK), &holder(1)).await.expect("its holder is dead");
    assert_eq!(lease.renew().await.expect_err("it was ended").kind, StoreKind::Condition);
    let next = held(store, 2).await;
    assert_eq!(lease.renew().await.expect_err("it is another's").kind, StoreKind::Condition);
    lease.release().await.expect("there is nothing to give back");
    again.release().await.expect("there is nothing to give back");
    taken(store, 3).await;
    next.release().await.expect("it is given back");
}

#[tokio::test]
async fn memory_loses_leases() {
    can_be_lost(&MemoryStore::new()).await;
}

#[tokio::test]
async fn a_store_that_discards_keeps_leases() {
    have_one_holder(Arc::new(DiscardStore::new())).await;
    can_be_lost(&DiscardStore::new()).await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_lapses_unless_it_is_renewed() {
    let store = MemoryStore::new();
    let lease = held(&store, 1).await;
    for _ in 0..5 {
        tokio::time::sleep(LEASE - Duration::from_secs(1)).await;
        lease.renew().await.expect("it is ours");
        taken(&store, 2).await;
    }
    tokio::time::sleep(LEASE).await;
    let next = held(&store, 2).await;
    assert_eq!(lease.renew().await.expect_err("it is another's").kind, StoreKind::Condition);
    // The one who lost it takes nothing away by going.
    drop(lease);
    taken(&store, 1).await;
    drop(next);
}

#[tokio::test]
async fn two_stores_over_one_folder_share_its_leases() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (one, two) = (
        FolderStore::new(dir.path()).expect("a folder"),
        FolderStore::new(dir.path()).expect("a folder"),
    );
    one.prepare().await.expect("it is prepared");
    let lease = held(&one, 1).await;
    let told = taken(&two, 2).await;
    // The system takes the lock from a process that dies, so whoever has it lives.
    assert_eq!((told.by.map(|by| by.run), told.outlives), (Some(holder(1).run), Duration::ZERO));
    two.end_lease(&name(LOCK), &holder(1)).await.expect("it does nothing");
    taken(&two, 2).await;
    drop(lease);
    held(&two, 2).await;
}
