//! One contract for every store: memory, folder and Azurite keep it alike.

use std::collections::BTreeSet;
use std::sync::Arc;

use blobferry::model::BlobName;
use blobferry::store::contract::{
    BlobInfo, Condition, Etag, MAX_METADATA_BYTES, Metadata, Properties, Store, StoreError,
    StoreKind, Upload,
};
use blobferry::store::folder::FolderStore;
use blobferry::store::memory::MemoryStore;
use bytes::Bytes;
use futures_util::future::join_all;
use md5::Digest;

mod answers;
mod azurite;
mod folder;
mod leases;
mod names;

#[tokio::test]
async fn memory_keeps_the_contract() {
    store_contract(Arc::new(MemoryStore::new())).await;
}

#[tokio::test]
async fn a_folder_keeps_the_contract() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    store_contract(Arc::new(FolderStore::new(dir.path()).expect("a folder"))).await;
}

#[tokio::test]
async fn memory_lists_more_than_a_page() {
    let store = MemoryStore::new();
    for index in 0..5_100 {
        write(&store, &format!("many/{index:05}"), b"x").await;
    }
    assert_eq!(listed(&store, "many/").await.len(), 5_100);
}

/// Everything that may be relied on.
pub async fn store_contract(store: Arc<dyn Store>) {
    store.prepare().await.expect("it is prepared");
    store.prepare().await.expect("it is prepared again");
    names::survive(&*store).await;
    short_contract(store).await;
}

/// The same without the many names.
pub async fn short_contract(store: Arc<dyn Store>) {
    whole_writes_come_back(&*store).await;
    reads_start_and_end_where_asked(&*store).await;
    one_of_many_creates(store.clone()).await;
    a_match_is_the_last_write(&*store).await;
    staged_blocks_are_invisible(&*store).await;
    uploads_do_not_mix(&*store).await;
    commits_are_conditional(&*store).await;
    listings_have_prefix_order_and_properties(&*store).await;
    appends_know_their_position(&*store).await;
    removing_is_idempotent(&*store).await;
    what_cannot_be_kept_is_refused(&*store).await;
    leases::have_one_holder(store).await;
}

pub fn name(text: &str) -> BlobName {
    BlobName::new(text).expect("a legal name")
}

pub fn properties(bytes: &[u8]) -> Properties {
    let metadata = [
        ("source_path", "/out/a%20b.txt"),
        ("mtime", "2024-02-29T12:13:14Z"),
        ("inner", "a  b=c;d,e\"f"),
        ("_1", "~!@#$%^&*()"),
    ];
    let metadata =
        metadata.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    Properties {
        content_type: "text/plain; charset=utf-8".into(),
        md5: md5::Md5::digest(bytes).into(),
        metadata,
        placement: Default::default(),
    }
}

pub async fn write(store: &dyn Store, at: &str, bytes: &'static [u8]) -> Etag {
    store
        .put(&name(at), Bytes::from_static(bytes), &properties(bytes), &Condition::IfAbsent)
        .await
        .expect("it writes")
}

pub async fn content(store: &dyn Store, at: &str) -> Option<Bytes> {
    store.get(&name(at), 0, 64 << 20).await.expect("it reads").map(|(_, bytes)| bytes)
}

pub async fn listed(store: &dyn Store, prefix: &str) -> Vec<BlobInfo> {
    let mut found = Vec::new();
    store.list(prefix, &mut |info| found.push(info)).await.expect("it lists");
    found
}

async fn whole_writes_come_back(store: &dyn Store) {
    for (at, bytes) in [("whole/five", &b"five\0"[..]), ("whole/empty", b"")] {
        assert_eq!(store.head(&name(at)).await.expect("it looks"), None);
        assert_eq!(content(store, at).await, None);
        let etag = store
            .put(&name(at), Bytes::from_static(bytes), &properties(bytes), &Condition::IfAbsent)
            .await
            .expect("it writes");
        let expected = BlobInfo {
            name: at.to_owned(),
            size: bytes.len() as u64,
            etag,
            md5: Some(properties(bytes).md5),
            metadata: properties(bytes).metadata,
            content_type: Some(properties(bytes).content_type),
        };
        assert_eq!(store.head(&name(at)).await.expect("it looks").as_ref(), Some(&expected));
        let (info, read) = store
            .get(&name(at), 0, bytes.len() as u64)
            .await
            .expect("it reads")
            .expect("it is there");
        assert_eq!((&info, &read[..]), (&expected, bytes));
        assert_eq!(listed(store, at).await, [expected]);
    }
}

async fn reads_start_and_end_where_asked(store: &dyn Store) {
    write(store, "range", b"0123456789").await;
    let read = |start, max| {
        let at = name("range");
        async move {
            store
                .get(&at, start, max)
                .await
                .map(|found| found.map(|(info, bytes)| (info.size, info.md5.is_some(), bytes)))
        }
    };
    assert_eq!(read(7, 3).await.expect("it reads"), Some((10, true, Bytes::from_static(b"789"))));
    assert_eq!(
        read(0, u64::MAX).await.expect("it reads"),
        Some((10, true, Bytes::from_static(b"0123456789")))
    );
    assert_eq!(read(10, 0).await.expect("it reads"), Some((10, true, Bytes::new())));
    assert_eq!(read(0, 9).await.expect_err("it is longer").kind, StoreKind::Rejected);
    assert_eq!(read(3, 6).await.expect_err("it is longer").kind, StoreKind::Rejected);
    assert_eq!(read(11, 100).await.expect_err("it is shorter").kind, StoreKind::Rejected);
    parts_are_as_long_as_asked(store).await;
}

async fn parts_are_as_long_as_asked(store: &dyn Store) {
    write(store, "range/empty", b"").await;
    let read = |at: &'static str, start, most| async move {
        let found = store.read(&name(at), start, most).await;
        found.map(|found| found.map(|(info, bytes)| (info.size, info.md5.is_some(), bytes)))
    };
    for (start, most, expected) in [
        (0, 4, "0123"),
        (4, 4, "4567"),
        (8, 4, "89"),
        (10, 4, ""),
        (3, 0, ""),
        (0, u64::MAX, "0123456789"),
    ] {
        assert_eq!(
            read("range", start, most).await.expect("it reads"),
            Some((10, true, Bytes::from(expected))),
            "{most} from {start}"
        );
    }
    assert_eq!(read("range/empty", 0, 4).await.expect("it reads"), Some((0, true, Bytes::new())));
    assert_eq!(read("range", 11, 4).await.expect_err("it is shorter").kind, StoreKind::Rejected);
    assert_eq!(read("range/none", 0, 4).await.expect("it looks"), None);
}

async fn one_of_many_creates(store: Arc<dyn Store>) {
    let put = |task: u8, condition: Condition| {
        let store = store.clone();
        async move {
            let bytes = Bytes::from(vec![task; 1000]);
            store.put(&name("race/put"), bytes.clone(), &properties(&bytes), &condition).await
        }
    };
    let (winner, first) = one_wins((0..16).map(|task| put(task, Condition::IfAbsent))).await;
    holds(&*store, "race/put", winner, &first).await;
    let (winner, second) =
        one_wins((0..16).map(|task| put(task, Condition::IfMatch(first.clone())))).await;
    holds(&*store, "race/put", winner, &second).await;
    let uploads: Vec<_> = (0..8).map(|_| Upload::new(name("race/commit"))).collect();
    for (task, upload) in uploads.iter().enumerate() {
        let bytes = vec![u8::try_from(task).expect("it is below 8"); 500];
        store
            .stage(upload, 0, bytes.clone().into())
            .await
            .and(store.stage(upload, 1, bytes.into()).await)
            .expect("it stages");
    }
    let commit = |(task, upload): (usize, Upload)| {
        let store = store.clone();
        let bytes = vec![u8::try_from(task).expect("it is below 8"); 1000];
        async move { store.commit(&upload, 2, &properties(&bytes), &Condition::IfAbsent).await }
    };
    let (winner, etag) = one_wins(uploads.into_iter().enumerate().map(commit)).await;
    holds(&*store, "race/commit", winner, &etag).await;
}

/// Runs all at once: one succeeds, the others find their condition broken. Returns who and what.
async fn one_wins<F>(tries: impl Iterator<Item = F>) -> (u8, Etag)
where
    F: Future<Output = Result<Etag, StoreError>> + Send + 'static,
{
    let mut won = Vec::new();
    for (task, outcome) in (0..).zip(join_all(tries.map(tokio::spawn)).await) {
        match outcome.expect("no panic") {
            Ok(etag) => won.push((task, etag)),
            Err(error) => assert_eq!(error.kind, StoreKind::Condition, "{error:?}"),
        }
    }
    assert_eq!(won.len(), 1, "{won:?}");
    won.remove(0)
}

async fn holds(store: &dyn Store, at: &str, winner: u8, etag: &Etag) {
    let (info, bytes) =
        store.get(&name(at), 0, 1000).await.expect("it reads").expect("it is there");
    assert_eq!(
        (&bytes[..], &info.etag, info.md5),
        (&[winner; 1000][..], etag, Some(properties(&bytes).md5))
    );
}

async fn a_match_is_the_last_write(store: &dyn Store) {
    let at = name("match");
    let first = write(store, "match", b"one").await;
    let replace = |bytes: &'static [u8], etag: &Etag| {
        let (at, condition) = (at.clone(), Condition::IfMatch(etag.clone()));
        let written = Bytes::from_static(bytes);
        async move { store.put(&at, written, &properties(bytes), &condition).await }
    };
    let second = replace(b"two", &first).await.expect("the tag is the last one's");
    assert_ne!(first, second);
    assert_eq!(
        replace(b"three", &first).await.expect_err("the tag is old").kind,
        StoreKind::Condition
    );
    assert_eq!(content(store, "match").await.as_deref(), Some(&b"two"[..]));
    let absent = store
        .put(&name("match/not there"), Bytes::new(), &properties(b""), &Condition::IfMatch(first))
        .await;
    assert_eq!(absent.expect_err("there is none").kind, StoreKind::Condition);
    // Any version is replaced when asked to, and the same bytes again are a new version.
    let third = store
        .put(&at, Bytes::from_static(b"two"), &properties(b"two"), &Condition::Always)
        .await
        .expect("it writes");
    assert_ne!(second, third);
}

async fn staged_blocks_are_invisible(store: &dyn Store) {
    let upload = Upload::new(name("staged/blob"));
    // Any order, and a block may be sent twice.
    store.stage(&upload, 2, Bytes::from_static(b"!")).await.expect("it stages");
    store.stage(&upload, 0, Bytes::from_static(b"wrong")).await.expect("it stages");
    let (first, second) = tokio::join!(
        store.stage(&upload, 0, Bytes::from_static(b"hello ")),
        store.stage(&upload, 1, Bytes::from_static(b"world"))
    );
    first.and(second).expect("they stage");
    assert_eq!(store.head(&upload.name).await.expect("it looks"), None);
    assert_eq!(content(store, "staged/blob").await, None);
    assert_eq!(listed(store, "staged/").await, []);
    let etag = store
        .commit(&upload, 3, &properties(b"hello world!"), &Condition::IfAbsent)
        .await
        .expect("it commits");
    let info = store.head(&upload.name).await.expect("it looks").expect("it is there");
    let expected = properties(b"hello world!");
    assert_eq!(
        (info.size, info.etag, info.md5, info.metadata),
        (12, etag, Some(expected.md5), expected.metadata)
    );
    assert_eq!(info.content_type, Some(expected.content_type));
    assert_eq!(content(store, "staged/blob").await.as_deref(), Some(&b"hello world!"[..]));

    let empty = Upload::new(name("staged/empty"));
    store
        .commit(&empty, 0, &properties(b""), &Condition::IfAbsent)
        .await
        .expect("it commits nothing");
    assert_eq!(
        store.head(&empty.name).await.expect("it looks").map(|info| (info.size, info.md5)),
        Some((0, Some(properties(b"").md5)))
    );

    let given_up = Upload::new(name("staged/given up"));
    store.stage(&given_up, 0, Bytes::from_static(b"x")).await.expect("it stages");
    store.abandon(&given_up).await;
    assert_eq!(store.head(&given_up.name).await.expect("it looks"), None);
}

async fn uploads_do_not_mix(store: &dyn Store) {
    let (one, two) = (Upload::new(name("mixed")), Upload::new(name("mixed")));
    for (upload, bytes) in [(&one, &b"1"[..]), (&two, b"2"), (&one, b"1")]
        .into_iter()
        .map(|(upload, bytes)| (upload, Bytes::from_static(bytes)))
    {
        for index in 0..3 {
            store.stage(upload, index, bytes.clone()).await.expect("it stages");
        }
    }
    store.commit(&two, 3, &properties(b"222"), &Condition::IfAbsent).await.expect("it commits");
    assert_eq!(content(store, "mixed").await.as_deref(), Some(&b"222"[..]));
    let late = store
        .commit(&one, 3, &properties(b"111"), &Condition::IfAbsent)
        .await
        .expect_err("it is there already");
    assert_eq!(late.kind, StoreKind::Condition);
    assert_eq!(content(store, "mixed").await.as_deref(), Some(&b"222"[..]));
}

async fn commits_are_conditional(store: &dyn Store) {
    let at = name("committed");
    let commit = |bytes: &'static [u8], condition: Condition| {
        let upload = Upload::new(at.clone());
        async move {
            store.stage(&upload, 0, Bytes::from_static(bytes)).await?;
            store.commit(&upload, 1, &properties(bytes), &condition).await
        }
    };
    let first = commit(b"one", Condition::IfAbsent).await.expect("there is none");
    let second =
        commit(b"two", Condition::IfMatch(first.clone())).await.expect("the tag is the last one's");
    assert_eq!(
        commit(b"three", Condition::IfMatch(first)).await.expect_err("the tag is old").kind,
        StoreKind::Condition
    );
    assert_eq!(store.head(&at).await.expect("it looks").map(|info| info.etag), Some(second));
    commit(b"four", Condition::Always).await.expect("in any case");
    assert_eq!(content(store, "committed").await.as_deref(), Some(&b"four"[..]));
    let never_staged = store
        .commit(&Upload::new(name("never staged")), 1, &properties(b"x"), &Condition::IfAbsent)
        .await;
    assert_eq!(never_staged.expect_err("its block is not there").kind, StoreKind::Condition);
}

async fn listings_have_prefix_order_and_properties(store: &dyn Store) {
    for at in
        ["list/b", "list/a/2", "list/a/1", "list/a.txt", "list/a-b", "list2/x", "list/c/d/e/f"]
    {
        write(store, at, b"x").await;
    }
    let names = |found: Vec<BlobInfo>| found.into_iter().map(|info| info.name).collect::<Vec<_>>();
    assert_eq!(
        names(listed(store, "list/").await),
        ["list/a-b", "list/a.txt", "list/a/1", "list/a/2", "list/b", "list/c/d/e/f"]
    );
    assert_eq!(
        names(listed(store, "list/a").await),
        ["list/a-b", "list/a.txt", "list/a/1", "list/a/2"]
    );
    assert_eq!(names(listed(store, "list/a/2").await), ["list/a/2"]);
    assert_eq!(names(listed(store, "list/c/d").await), ["list/c/d/e/f"]);
    assert_eq!(names(listed(store, "list/nothing").await), Vec::<String>::new());
    for info in listed(store, "list").await {
        assert_eq!(Some(&info), store.head(&name(&info.name)).await.expect("it looks").as_ref());
    }
    let all: Vec<String> = names(listed(store, "").await);
    assert!(
        all.contains(&"list2/x".to_owned())
            && all.iter().collect::<BTreeSet<_>>().len() == all.len()
    );
}

async fn appends_know_their_position(store: &dyn Store) {
    let at = name("_blobferry/journal");
    assert_eq!(
        store.append(&at, Bytes::from_static(b"x"), 5).await.expect_err("there is none").kind,
        StoreKind::Condition
    );
    assert_eq!(store.head(&at).await.expect("it looks"), None);
    assert_eq!(store.append(&at, Bytes::from_static(b"one\n"), 0).await.expect("it begins"), 4);
    assert_eq!(store.append(&at, Bytes::from_static(b"two\n"), 4).await.expect("it goes on"), 8);
    for position in [0, 4, 7, 9] {
        let error = store
            .append(&at, Bytes::from_static(b"late\n"), position)
            .await
            .expect_err("it is 8 bytes long");
        assert_eq!(error.kind, StoreKind::Condition, "{position}");
    }
    let (info, bytes) = store.get(&at, 4, 100).await.expect("it reads").expect("it is there");
    assert_eq!((info.size, &bytes[..]), (8, &b"two\n"[..]));
    assert_eq!(
        listed(store, "_blobferry/journal").await.iter().map(|info| info.size).collect::<Vec<_>>(),
        [8]
    );
    // Two writers at one position: one of them has to look again.
    let (a, b) = tokio::join!(
        store.append(&at, Bytes::from_static(b"a"), 8),
        store.append(&at, Bytes::from_static(b"b"), 8)
    );
    let lost = match (a, b) {
        (Ok(9), Err(error)) | (Err(error), Ok(9)) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(lost.kind, StoreKind::Condition);
    let block = store
        .append(&name("whole/five"), Bytes::from_static(b"x"), 5)
        .await
        .expect_err("it is no append blob");
    assert_eq!(block.kind, StoreKind::Condition);
    let long = Bytes::from(vec![0; (4 << 20) + 1]);
    assert_eq!(
        store.append(&name("long"), long, 0).await.expect_err("it is too long").kind,
        StoreKind::Rejected
    );
}

async fn removing_is_idempotent(store: &dyn Store) {
    write(store, "removed/it", b"x").await;
    store.delete(&name("removed/it")).await.expect("it removes");
    store.delete(&name("removed/it")).await.expect("there is none");
    assert_eq!(store.head(&name("removed/it")).await.expect("it looks"), None);
    assert_eq!(listed(store, "removed/").await, []);
    write(store, "removed/it", b"new").await;
    assert_eq!(content(store, "removed/it").await.as_deref(), Some(&b"new"[..]));
}

async fn what_cannot_be_kept_is_refused(store: &dyn Store) {
    let put = |md5: [u8; 16], metadata: &[(&str, String)]| {
        let metadata: Metadata =
            metadata.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        let properties = Properties {
            content_type: "text/plain".into(),
            md5,
            metadata,
            placement: Default::default(),
        };
        async move {
            store
                .put(&name("refused"), Bytes::from_static(b"x"), &properties, &Condition::Always)
                .await
                .map_err(|error| error.kind)
        }
    };
    let good: [u8; 16] = md5::Md5::digest(b"x").into();
    assert_eq!(put([7; 16], &[]).await, Err(StoreKind::Corrupted));
    for (key, value) in [
        ("a-b", "v"),
        ("1a", "v"),
        ("A", "v"),
        ("", "v"),
        ("a", "é"),
        ("a", "v\r\nx-ms-meta-b: w"),
        ("a", " v"),
    ] {
        assert_eq!(
            put(good, &[(key, value.to_owned())]).await,
            Err(StoreKind::Rejected),
            "{key:?} {value:?}"
        );
    }
    assert_eq!(put(good, &[("a", "v".repeat(MAX_METADATA_BYTES))]).await, Err(StoreKind::Rejected));
    let block = store.stage(&Upload::new(name("refused")), 50_000, Bytes::from_static(b"x")).await;
    assert_eq!(block.expect_err("there are 50,000 at most").kind, StoreKind::Rejected);
    assert_eq!(store.head(&name("refused")).await.expect("it looks"), None);
    put(good, &[("a", "v".repeat(7000)), ("b", String::new())]).await.expect("it is all allowed");
    let info = store.head(&name("refused")).await.expect("it looks").expect("it is there");
    assert_eq!(info.metadata.get("a").map(String::len), Some(7000));
    store.delete(&name("refused")).await.expect("it removes");
}
