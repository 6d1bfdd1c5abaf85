//! Journals of pieces, damage of every kind, and what crashes leave behind.

use super::*;

#[tokio::test]
async fn pieces_have_journals_of_their_own_and_a_fold_sends_them_on() {
    let store = Arc::new(MemoryStore::new());
    let ledger = open(&store, "run", Tuning { journals: 100, ..SMALL }).await.expect("it opens");
    ledger.begin(NOW).await.expect("it begins");
    let pass = |id: &str| OpenPass { id: id.into(), run: "run".into(), since: NOW };
    let planned = ledger.make_journals(3).await.expect("it makes them");
    assert_eq!(ledger.open_pass(&pass("p1"), planned.clone()).await.expect("it opens"), None);
    // One pass at a time.
    let others = ledger.make_journals(1).await.expect("it makes them");
    assert_eq!(ledger.open_pass(&pass("p2"), others).await.expect("it is told"), Some(pass("p1")));
    let opened = |n: usize| {
        Ledger::open_piece(
            store.clone(),
            "acme",
            &planned[n],
            ["run/0", "run/1", "run/2"][n],
            quick(),
            CancellationToken::new(),
        )
    };
    let ((first, _), (second, _)) =
        (opened(0).await.expect("it opens"), opened(1).await.expect("it opens"));
    for (piece, n) in [(&first, 0), (&second, 10)] {
        piece.begin(NOW).await.expect("it begins");
        let (file, known) = some(n, n + 1);
        piece.ingested(&file, &known, 1, 1).await.expect("it records");
        // What is not told yet is not folded.
        piece.end().await.expect("it ends");
    }
    // The run folds the journals that its pieces write to.
    for n in 20..30 {
        let (file, known) = some(n, n + 1);
        ledger.ingested(&file, &known, 1, 1).await.expect("it records");
    }
    assert!(
        overview(store.clone(), "acme", quick(), CancellationToken::new())
            .await
            .expect("it reads")
            .generation
            > 0
    );
    for (piece, n) in [(&first, 1), (&second, 11)] {
        let (file, known) = some(n, n + 1);
        piece.ingested(&file, &known, 1, 1).await.expect("it records in a journal of its own");
        piece.end().await.expect("it ends");
    }
    ledger.end().await.expect("it ends");
    let recorded: Vec<u64> = [0, 1, 10, 11].into_iter().chain(20..30).collect();
    assert_true(&store, &recorded, 30, "pieces").await;
    assert!(!open(&store, "look", SMALL).await.expect("it opens").unclean());
    // The pass is under way through all of that, and then it is not.
    assert_eq!(open(&store, "look", SMALL).await.expect("it opens").under_way(), Some(&pass("p1")));
    for id in ["p2", "p1", "p1"] {
        close_pass(store.clone(), "acme", id, quick(), CancellationToken::new())
            .await
            .expect("it closes");
    }
    assert_eq!(
        under_way(store.clone(), "acme", quick(), CancellationToken::new())
            .await
            .expect("it reads"),
        None
    );
    // The third was never opened, and its journal was folded away: a writer that opens it late goes
    // on in a new one.
    let (late, recorded) = opened(2).await.expect("it opens");
    assert!(recorded.is_empty() && !late.unclean());
    let (file, known) = some(2, 3);
    late.ingested(&file, &known, 1, 1).await.expect("it records");
    assert_eq!(
        open(&store, "look", SMALL).await.expect("it opens").known(&file.path),
        Some(known.indexed())
    );
}

#[tokio::test]
async fn a_piece_that_was_killed_tells_what_it_had_recorded() {
    let store = Arc::new(MemoryStore::new());
    let ledger = open(&store, "run", SMALL).await.expect("it opens");
    let pass = OpenPass { id: "p".into(), run: "run".into(), since: NOW };
    let planned = ledger.make_journals(2).await.expect("it makes them");
    assert_eq!(ledger.open_pass(&pass, planned.clone()).await.expect("it opens"), None);
    let opened = |n: usize, name: &'static str| {
        Ledger::open_piece(
            store.clone(),
            "acme",
            &planned[n],
            name,
            quick(),
            CancellationToken::new(),
        )
    };
    let (killed, _) = opened(0, "run/0").await.expect("it opens");
    killed.begin(NOW).await.expect("it begins");
    let (file, known) = some(1, 2);
    killed.ingested(&file, &known, 3, 4).await.expect("it records");
    // Another piece that ends says nothing of this one.
    let (other, _) = opened(1, "run/1").await.expect("it opens");
    other.begin(NOW).await.expect("it begins");
    other.end().await.expect("it ends");
    assert!(open(&store, "look", SMALL).await.expect("it opens").unclean());
    let (again, recorded) = opened(0, "run/0").await.expect("it opens");
    assert!(again.unclean());
    assert_eq!(recorded, [Recorded { path: file.path, known, blobs: 3, bytes: 4, stored: None }]);
    again.begin(NOW).await.expect("it begins");
    again.end().await.expect("it ends");
    assert!(opened(1, "run/1").await.expect("it opens").1.is_empty());
}

async fn damage(kind: &str, change: impl Fn(Vec<u8>) -> Option<Vec<u8>>) -> (String, String) {
    let store = Arc::new(MemoryStore::new());
    work(&Dying::new(&store, u64::MAX, true, 0), "grown", 0, 12, &Mutex::default()).await;
    let name = store
        .names()
        .into_iter()
        .find(|name| name.contains(kind))
        .unwrap_or_else(|| panic!("a {kind} among {:?}", store.names()));
    let blob = BlobName::new(name.clone()).expect("a name");
    let bytes = store.content(&name).expect("it is there");
    store.delete(&blob).await.expect("it deletes");
    if let Some(bytes) = change(bytes.to_vec()) {
        shelf(store.clone()).append(&blob, bytes.into(), 0).await.expect("it writes");
    }
    // Shards are read when journals are folded into them.
    let error = match open(&store, "run", SMALL).await {
        Err(error) => error,
        Ok(ledger) => {
            let mut result = ledger.begin(NOW).await;
            for n in 0..PATHS {
                let (file, known) = some(n, n + 2);
                result = result.and(ledger.ingested(&file, &known, 1, 1).await);
            }
            result.expect_err("damage is told")
        }
    };
    assert_eq!(crate::model::failure::Failure::class(&error), crate::model::failure::Class::Ledger);
    (name, chain(&error))
}

#[tokio::test]
async fn damage_of_every_kind_is_told_with_what_to_do() {
    for kind in ["/ledger/index-", "/ledger/shard-", "/ledger/journal-", "/ledger/head.json"] {
        let flipped = |mut bytes: Vec<u8>| {
            let at = bytes.len() / 2;
            bytes[at] ^= 4;
            Some(bytes)
        };
        for (what, change) in [
            ("flipped", &flipped as &dyn Fn(Vec<u8>) -> Option<Vec<u8>>),
            ("cut", &|bytes| Some(bytes[..20].to_vec())),
            ("gone", &|_| None),
        ] {
            let (name, told) = damage(kind, change).await;
            assert!(told.contains(&name), "{what}: `{name}` is not named in: {told}");
            assert!(told.contains("`blobferry ledger rebuild --source acme`"), "{what}: {told}");
        }
    }
}

#[tokio::test]
async fn what_crashes_left_behind_is_removed_a_day_later() {
    let store = Arc::new(MemoryStore::new());
    let keep = ["journal-29991231T000000Z-00.ndjson", "notes.txt"];
    let orphans = [
        "journal-20200101T000000Z-00.ndjson",
        "shard-000001-0000-20200101T000000Z-00.ndjson",
        "index-000001-20200101T000000Z-00",
    ];
    let shelf = shelf(store.clone());
    for name in keep.iter().chain(&orphans) {
        shelf
            .append(&shelf.blob(name).expect("a name"), Bytes::from_static(b"x"), 0)
            .await
            .expect("it writes");
    }
    work(&Dying::new(&store, u64::MAX, true, 0), "run", 0, 12, &Mutex::default()).await;
    let names = shelf.names().await.expect("it lists");
    assert!(keep.iter().all(|name| names.contains(&(*name).to_owned())), "{names:?}");
    assert!(!orphans.iter().any(|name| names.contains(&(*name).to_owned())), "{names:?}");
}
