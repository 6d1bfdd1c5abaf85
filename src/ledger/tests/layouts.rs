//! What a ledger remembers of the settings that named its blobs.

use super::*;

async fn under(store: &Arc<MemoryStore>, run: &str, layout: &str) -> Ledger {
    open(store, run, SMALL).await.expect("it opens").under(layout)
}

/// One run that records so many files.
async fn records(store: &Arc<MemoryStore>, run: &str, layout: &str, files: std::ops::Range<u64>) {
    let ledger = under(store, run, layout).await;
    ledger.begin(NOW).await.expect("it begins");
    for n in files {
        let (file, known) = some(n, n + 1);
        ledger.ingested(&file, &known, 1, 1).await.expect("it records");
    }
    ledger.end().await.expect("it ends");
}

#[tokio::test]
async fn a_changed_layout_is_known_until_something_is_written_also_over_folds() {
    let store = Arc::new(MemoryStore::new());
    assert!(!under(&store, "none", "landing/{path}").await.has_other_names(), "it knows no file");
    let layouts = ["path", "landing/{path}", "{yyyy}/{path}", "by-type", "path", "{path}"];
    for (n, layout) in layouts.into_iter().enumerate() {
        // By-type and path are what ledgers of earlier releases were written under: nobody noted
        // which.
        let changed = n > 0;
        assert_eq!(under(&store, "look", layout).await.has_other_names(), changed, "{layout}");
        // Enough for folds, by which journals are gone.
        records(&store, &format!("run{n}"), layout, 0..20).await;
        assert!(!under(&store, "again", layout).await.has_other_names(), "{layout}");
    }
}

#[tokio::test]
async fn a_pass_in_pieces_remembers_its_layout() {
    let store = Arc::new(MemoryStore::new());
    records(&store, "run", "{path}", 0..5).await;
    let ledger = under(&store, "run2", "path").await;
    assert!(ledger.has_other_names());
    let pass = OpenPass { id: "p1".into(), run: "run2".into(), since: NOW };
    let planned = ledger.make_journals(1).await.expect("it makes them");
    assert_eq!(ledger.open_pass(&pass, planned).await.expect("it opens"), None);
    assert!(!under(&store, "run3", "path").await.has_other_names());
}
