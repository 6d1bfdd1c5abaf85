//! The store in memory keeps the promises of the contract.

use super::*;

fn properties(bytes: &[u8]) -> Properties {
    Properties {
        content_type: "text/plain".into(),
        md5: md5::Md5::digest(bytes).into(),
        metadata: Default::default(),
        placement: Default::default(),
    }
}

#[tokio::test]
async fn faults_come_when_the_script_says() {
    let (store, name) = (MemoryStore::new(), BlobName::new("a").expect("a name"));
    store.fault(MemoryOp::Put, 1, MemoryFault::Refused(StoreKind::Denied));
    store.fault(MemoryOp::Put, 2, MemoryFault::LostReply);
    let mut kinds = Vec::new();
    for _ in 0..3 {
        kinds.push(
            store
                .put(&name, Bytes::from_static(b"x"), &properties(b"x"), &Condition::IfAbsent)
                .await
                .err()
                .map(|error| error.kind),
        );
    }
    // The second call wrote, though nobody was told; the third finds its work done.
    assert_eq!(
        kinds,
        [Some(StoreKind::Denied), Some(StoreKind::Unavailable), Some(StoreKind::Condition)]
    );
    assert_eq!(
        (store.counts().puts, store.counts().bytes, store.names()),
        (3, 2, vec!["a".to_owned()])
    );
}

#[tokio::test]
async fn a_write_drops_the_staged_blocks_of_its_name() {
    let (store, name) = (MemoryStore::new(), BlobName::new("a").expect("a name"));
    let upload = Upload::new(name.clone());
    store.stage(&upload, 0, Bytes::from_static(b"x")).await.expect("it stages");
    assert_eq!(store.staged().len(), 1);
    store.put(&name, Bytes::new(), &properties(b""), &Condition::Always).await.expect("it writes");
    let error = store
        .commit(&upload, 1, &properties(b"x"), &Condition::Always)
        .await
        .expect_err("its blocks are gone");
    assert_eq!((error.kind, store.staged().len()), (StoreKind::Condition, 0));
}

#[tokio::test]
async fn a_missing_container_stays_missing() {
    let store = MemoryStore::missing();
    assert_eq!(store.prepare().await.map_err(|error| error.kind), Err(StoreKind::NoContainer));
    let name = BlobName::new("a").expect("a name");
    assert_eq!(store.head(&name).await.map_err(|error| error.kind), Err(StoreKind::NoContainer));
    assert_eq!(store.counts().requests(), 2);
}
