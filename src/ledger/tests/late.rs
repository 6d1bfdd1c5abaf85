//! The ledger before a store in which a request has its effect long after its sender has given it
//! up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{NOW, SMALL, open, path, shelf, some};
use crate::ledger::*;
use crate::model::BlobName;
use crate::store::contract::Store;
use crate::store::contract::{
    BlobInfo, Condition, Etag, Leased, Properties, StoreError, StoreKind, Upload,
};
use crate::store::holder::Holder;
use crate::store::memory::MemoryStore;
use crate::store::memory::{MemoryFault, MemoryOp};
use std::sync::{Arc, Mutex};

/// Gives no answer to the first making of a journal, which has its effect when it is told to.
#[derive(Debug, Default)]
struct Late {
    inner: Arc<MemoryStore>,
    held: Mutex<Option<(BlobName, Bytes)>>,
}

impl Late {
    async fn come(&self) {
        let (name, bytes) =
            self.held.lock().expect("no panic").take().expect("a journal was to be made");
        // It may as well find that it comes too late.
        drop(self.inner.append(&name, bytes, 0).await);
    }
}

#[async_trait]
impl Store for Late {
    fn address(&self) -> &str {
        self.inner.address()
    }
    async fn prepare(&self) -> Result<(), StoreError> {
        self.inner.prepare().await
    }
    async fn head(&self, name: &BlobName) -> Result<Option<BlobInfo>, StoreError> {
        self.inner.head(name).await
    }
    async fn get(
        &self,
        name: &BlobName,
        start: u64,
        max_bytes: u64,
    ) -> Result<Option<(BlobInfo, Bytes)>, StoreError> {
        self.inner.get(name, start, max_bytes).await
    }
    async fn put(
        &self,
        name: &BlobName,
        bytes: Bytes,
        properties: &Properties,
        condition: &Condition,
    ) -> Result<Etag, StoreError> {
        self.inner.put(name, bytes, properties, condition).await
    }
    async fn stage(&self, upload: &Upload, index: u32, bytes: Bytes) -> Result<(), StoreError> {
        self.inner.stage(upload, index, bytes).await
    }
    async fn commit(
        &self,
        upload: &Upload,
        blocks: u32,
        properties: &Properties,
        condition: &Condition,
    ) -> Result<Etag, StoreError> {
        self.inner.commit(upload, blocks, properties, condition).await
    }
    async fn abandon(&self, upload: &Upload) {
        self.inner.abandon(upload).await;
    }
    async fn append(
        &self,
        name: &BlobName,
        bytes: Bytes,
        position: u64,
    ) -> Result<u64, StoreError> {
        let first = self.held.lock().expect("no panic").is_none();
        if first && name.as_str().contains("/ledger/journal-") {
            *self.held.lock().expect("no panic") = Some((name.clone(), bytes));
            return Err(StoreError::new(
                "appending to",
                name.as_str(),
                "here",
                StoreKind::Unavailable,
                "no answer",
            ));
        }
        self.inner.append(name, bytes, position).await
    }
    async fn list(
        &self,
        prefix: &str,
        visit: &mut (dyn FnMut(BlobInfo) + Send),
    ) -> Result<(), StoreError> {
        self.inner.list(prefix, visit).await
    }
    async fn delete(&self, name: &BlobName) -> Result<(), StoreError> {
        self.inner.delete(name).await
    }
    async fn lease(&self, name: &BlobName, holder: &Holder) -> Result<Leased, StoreError> {
        self.inner.lease(name, holder).await
    }
    async fn end_lease(&self, name: &BlobName, holder: &Holder) -> Result<(), StoreError> {
        self.inner.end_lease(name, holder).await
    }
}

async fn record(ledger: &Ledger, files: std::ops::Range<u64>) {
    ledger.begin(NOW).await.expect("it begins");
    for n in files {
        let (file, known) = some(n, n + 1);
        ledger.ingested(&file, &known, 1, 1).await.expect("it records");
    }
    ledger.end().await.expect("it ends");
}

/// A run makes a journal twice, since the first request is not answered. The journal is folded and
/// removed; then the first request has its effect. A run that was reading the ledger all that time
/// must not record in what comes of it.
#[tokio::test(start_paused = true)]
async fn a_journal_that_was_folded_does_not_come_to_life_by_a_request_that_comes_late() {
    let store = Arc::new(Late::default());
    record(&open(&store, "first", Tuning::default()).await.expect("it opens"), 0..1).await;
    // Its next call reads the head, the one after that the journal.
    store.inner.fault(
        MemoryOp::Get,
        store.inner.counts().gets + 2,
        MemoryFault::Delay(Duration::from_secs(3_600)),
    );
    let reading = tokio::spawn({
        let store = store.clone();
        async move { open(&store, "slow", Tuning::default()).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    record(&open(&store, "folds", SMALL).await.expect("it opens"), 1..12).await;
    store.come().await;
    record(&reading.await.expect("no panic").expect("it opens"), 12..13).await;
    let ledger = open(&store, "look", SMALL).await.expect("it opens");
    for n in 0..13 {
        assert!(ledger.known(&path(n)).is_some(), "{n} was recorded and is lost");
    }
}

#[tokio::test]
async fn only_a_try_that_may_have_its_effect_later_spoils_a_name() {
    for (fault, names) in [
        (MemoryFault::Busy(Duration::ZERO), 1),
        (MemoryFault::LostReply, 2),
        (MemoryFault::Refused(StoreKind::Unavailable), 2),
    ] {
        let store = Arc::new(MemoryStore::new());
        store.fault(MemoryOp::Append, 1, fault);
        let used = AtomicU64::new(0);
        let name = || format!("journal-{}", used.fetch_add(1, Ordering::Relaxed));
        let made =
            shelf(store).append_new(name, Bytes::from_static(b"x")).await.expect("it makes one");
        assert_eq!((made, used.load(Ordering::Relaxed)), (format!("journal-{}", names - 1), names));
    }
}
