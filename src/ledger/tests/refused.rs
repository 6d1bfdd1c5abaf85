//! A store that refuses for a reason of its own: nobody was quicker, and asking again a thousand
//! times does not help.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{NOW, SMALL, open, quick, shelf, some};
use crate::ledger::*;
use crate::model::chain;
use crate::model::failure::{Class, Failure};
use crate::store::contract::{Store, StoreKind};
use crate::store::memory::MemoryStore;
use crate::store::memory::{MemoryFault, MemoryOp};

/// From now on, `store` answers so many calls of `op` that a condition does not hold, though it
/// does.
fn refuse(store: &MemoryStore, op: MemoryOp, calls: u64) {
    (1..=calls).for_each(|n| store.fault(op, n, MemoryFault::Refused(StoreKind::Condition)));
}

/// What was asked of `store` since `before`.
fn asked(store: &MemoryStore, before: u64) -> u64 {
    store.counts().requests() - before
}

#[tokio::test]
async fn a_head_that_may_not_be_written_is_asked_for_twice_and_not_a_thousand_times() {
    let store = Arc::new(MemoryStore::new());
    let ledger = open(&store, "first", SMALL).await.expect("it opens");
    refuse(&store, MemoryOp::Put, 50);
    let before = store.counts().requests();
    let error = ledger.begin(NOW).await.expect_err("the head cannot be written");
    assert!(asked(&store, before) < 12, "{} requests: {}", asked(&store, before), chain(&error));
    assert_eq!(error.class(), Class::StoreRejected, "{}", chain(&error));
}

#[tokio::test]
async fn a_pass_is_neither_opened_nor_closed_by_going_round_and_round() {
    let store = Arc::new(MemoryStore::new());
    let ledger = open(&store, "first", SMALL).await.expect("it opens");
    ledger.begin(NOW).await.expect("it begins");
    let pass = |id: &str| OpenPass { id: id.into(), run: "first".into(), since: NOW };
    let one = pass("one");
    let names = ledger.make_journals(2).await.expect("they are made");
    assert_eq!(ledger.open_pass(&one, names).await.expect("it opens"), None);
    let (other, before) = (pass("two"), store.counts().requests());
    refuse(&store, MemoryOp::Put, 50);
    close_pass(store.clone(), "acme", "one", quick(), CancellationToken::new())
        .await
        .expect_err("the head cannot be written");
    assert!(asked(&store, before) < 6, "{}", asked(&store, before));
    // Another pass is told of whatever the store does.
    assert!(ledger.open_pass(&other, Vec::new()).await.expect("it is told").is_some());
}

#[tokio::test]
async fn a_journal_that_may_not_be_appended_to_ends_the_ledger_soon() {
    let store = Arc::new(MemoryStore::new());
    let ledger = open(&store, "first", SMALL).await.expect("it opens");
    ledger.begin(NOW).await.expect("it begins");
    let (file, known) = some(1, 2);
    // Journals are made, and then refused at the position at which they end.
    (1..=40).for_each(|n| {
        store.fault(MemoryOp::Append, 2 * n - 1, MemoryFault::Refused(StoreKind::Condition))
    });
    let before = store.counts().requests();
    ledger.ingested(&file, &known, 1, 1).await.expect_err("nothing can be recorded");
    assert!(asked(&store, before) < 20, "{}", asked(&store, before));
}

#[tokio::test]
async fn a_fold_that_is_refused_leaves_the_journals_as_they_count() {
    let store = Arc::new(MemoryStore::new());
    let ledger = open(&store, "first", SMALL).await.expect("it opens");
    ledger.begin(NOW).await.expect("it begins");
    for n in 0..5 {
        let (file, known) = some(n, n + 1);
        ledger.ingested(&file, &known, 1, 1).await.expect("it records");
    }
    let (head, _) = shelf(store.clone()).head().await.expect("it reads").expect("a head");
    let (file, known) = some(9, 9);
    // The pieces of the snapshot are written; the head is refused.
    (3..=50)
        .for_each(|n| store.fault(MemoryOp::Put, n, MemoryFault::Refused(StoreKind::Condition)));
    let before = store.counts().requests();
    ledger.ingested(&file, &known, 1, 1).await.expect("the record is durable, folded or not");
    assert!(asked(&store, before) < 40, "{}", asked(&store, before));
    let (now, _) = shelf(store.clone()).head().await.expect("it reads").expect("a head");
    assert_eq!((now.generation, &now.index), (head.generation, &head.index));
}

#[tokio::test]
async fn a_head_that_was_removed_is_told_and_not_taken_for_a_new_source() {
    let store = Arc::new(MemoryStore::new());
    // What a run left that was killed between making a journal and naming it proves nothing.
    crate::ledger::journal_files::make(&shelf(store.clone())).await.expect("made");
    let ledger = open(&store, "first", SMALL).await.expect("a new source");
    ledger.begin(NOW).await.expect("it begins");
    let (file, known) = some(1, 2);
    ledger.ingested(&file, &known, 1, 1).await.expect("it records");
    drop(ledger);
    store.delete(&shelf(store.clone()).blob("head.json").expect("a name")).await.expect("removed");
    let error = open(&store, "second", SMALL).await.err().expect("it is told");
    let told = chain(&error);
    assert!(
        told.contains("ledger/head.json` is missing")
            && told.contains("journal-")
            && told.contains("ledger rebuild --source acme"),
        "{told}"
    );
    assert_eq!(error.class(), Class::Ledger);
}
