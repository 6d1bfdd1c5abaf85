//! A process that may die at any of its calls, to the source or to the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use blobferry::model::BlobName;
use blobferry::store::contract::{
    BlobInfo, Condition, Etag, Lease, Leased, Properties, Store, StoreError, Upload,
};
use blobferry::store::holder::Holder;
use blobferry::store::memory::MemoryStore;
use bytes::Bytes;
use tokio::sync::Notify;

/// The process, and the store as it sees it.
#[derive(Debug)]
pub struct Mortal {
    inner: Arc<MemoryStore>,
    calls: AtomicU64,
    /// The call that is its last one.
    at: u64,
    /// Whether that call still has its effect, though nobody lives to see it.
    effect: bool,
    died: Notify,
    dead: Arc<AtomicBool>,
}

impl Mortal {
    pub fn new(inner: Arc<MemoryStore>, at: u64, effect: bool) -> Self {
        let (calls, died, dead) = (AtomicU64::new(0), Notify::new(), Arc::default());
        Self { inner, calls, at, effect, died, dead }
    }

    /// Ends when the process does.
    pub async fn death(&self) {
        self.died.notified().await;
    }

    /// One call of the process to the world.
    pub async fn step<T>(&self, work: impl Future<Output = T>) -> T {
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        if call < self.at {
            return work.await;
        }
        if call == self.at && self.effect {
            drop(work.await);
        }
        self.dead.store(true, Ordering::Relaxed);
        self.died.notify_one();
        std::future::pending().await
    }
}

/// A lease that nobody renews or gives back once its process is dead.
#[derive(Debug)]
struct MortalLease {
    lease: Option<Box<dyn Lease>>,
    dead: Arc<AtomicBool>,
}

impl Drop for MortalLease {
    fn drop(&mut self) {
        if self.dead.load(Ordering::Relaxed) {
            std::mem::forget(self.lease.take());
        }
    }
}

#[async_trait]
impl Lease for MortalLease {
    async fn renew(&self) -> Result<(), StoreError> {
        match &self.lease {
            Some(lease) if !self.dead.load(Ordering::Relaxed) => lease.renew().await,
            _ => std::future::pending().await,
        }
    }
    async fn release(mut self: Box<Self>) -> Result<(), StoreError> {
        match self.lease.take() {
            Some(lease) if !self.dead.load(Ordering::Relaxed) => lease.release().await,
            lease => {
                std::mem::forget(lease);
                std::future::pending().await
            }
        }
    }
}

#[async_trait]
impl Store for Mortal {
    fn address(&self) -> &str {
        self.inner.address()
    }
    async fn prepare(&self) -> Result<(), StoreError> {
        self.step(self.inner.prepare()).await
    }
    async fn head(&self, name: &BlobName) -> Result<Option<BlobInfo>, StoreError> {
        self.step(self.inner.head(name)).await
    }
    async fn get(
        &self,
        name: &BlobName,
        start: u64,
        max_bytes: u64,
    ) -> Result<Option<(BlobInfo, Bytes)>, StoreError> {
        self.step(self.inner.get(name, start, max_bytes)).await
    }
    async fn put(
        &self,
        name: &BlobName,
        bytes: Bytes,
        properties: &Properties,
        condition: &Condition,
    ) -> Result<Etag, StoreError> {
        self.step(self.inner.put(name, bytes, properties, condition)).await
    }
    async fn stage(&self, upload: &Upload, index: u32, bytes: Bytes) -> Result<(), StoreError> {
        self.step(self.inner.stage(upload, index, bytes)).await
    }
    async fn commit(
        &self,
        upload: &Upload,
        blocks: u32,
        properties: &Properties,
        condition: &Condition,
    ) -> Result<Etag, StoreError> {
        self.step(self.inner.commit(upload, blocks, properties, condition)).await
    }
    async fn abandon(&self, upload: &Upload) {
        self.step(self.inner.abandon(upload)).await;
    }
    async fn append(
        &self,
        name: &BlobName,
        bytes: Bytes,
        position: u64,
    ) -> Result<u64, StoreError> {
        self.step(self.inner.append(name, bytes, position)).await
    }
    async fn list(
        &self,
        prefix: &str,
        visit: &mut (dyn FnMut(BlobInfo) + Send),
    ) -> Result<(), StoreError> {
        self.step(self.inner.list(prefix, visit)).await
    }
    async fn delete(&self, name: &BlobName) -> Result<(), StoreError> {
        self.step(self.inner.delete(name)).await
    }
    async fn lease(&self, name: &BlobName, holder: &Holder) -> Result<Leased, StoreError> {
        Ok(match self.step(self.inner.lease(name, holder)).await? {
            Leased::Held(lease) => {
                let dead = self.dead.clone();
                Leased::Held(Box::new(MortalLease { lease: Some(lease), dead }))
            }
            taken => taken,
        })
    }
    async fn end_lease(&self, name: &BlobName, holder: &Holder) -> Result<(), StoreError> {
        self.step(self.inner.end_lease(name, holder)).await
    }
}
