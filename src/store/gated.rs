//! A store whose requests pass a gate, which slows them down or cuts them off. Here alone each
//! request of [`Store`] is handed on.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

use super::contract::{
    BlobInfo, Condition, Etag, Leased, Properties, Store, StoreError, Terms, Upload,
};
use super::holder::Holder;
use crate::model::BlobName;

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreAccess {
    /// It reads.
    Read,
    /// It changes something.
    Write,
}

/// What all requests to a store pass. Who implements it is a [`Store`].
pub trait StoreGate: fmt::Debug + Send + Sync {
    /// The store behind the gate.
    fn inner(&self) -> &dyn Store;

    /// Does `work`, a request about the blob or prefix `name`, and gives its answer or another
    /// error.
    fn pass<T: Send>(
        &self,
        name: &str,
        access: StoreAccess,
        work: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> impl Future<Output = Result<T, StoreError>> + Send;
}

#[async_trait]
impl<G: StoreGate> Store for G {
    fn address(&self) -> &str {
        self.inner().address()
    }
    fn holds_state(&self) -> bool {
        self.inner().holds_state()
    }
    fn clock_ahead(&self) -> Option<time::Duration> {
        self.inner().clock_ahead()
    }
    fn small_writes_at_once(&self) -> usize {
        self.inner().small_writes_at_once()
    }
    async fn prepare(&self) -> Result<(), StoreError> {
        self.pass("", StoreAccess::Write, self.inner().prepare()).await
    }
    async fn terms(&self) -> Result<Terms, StoreError> {
        self.pass("", StoreAccess::Read, self.inner().terms()).await
    }
    async fn head(&self, name: &BlobName) -> Result<Option<BlobInfo>, StoreError> {
        self.pass(name.as_str(), StoreAccess::Read, self.inner().head(name)).await
    }
    async fn get(
        &self,
        name: &BlobName,
        start: u64,
        max_bytes: u64,
    ) -> Result<Option<(BlobInfo, Bytes)>, StoreError> {
        let get = self.inner().get(name, start, max_bytes);
        self.pass(name.as_str(), StoreAccess::Read, get).await
    }
    async fn read(
        &self,
        name: &BlobName,
        start: u64,
        most: u64,
    ) -> Result<Option<(BlobInfo, Bytes)>, StoreError> {
        let read = self.inner().read(name, start, most);
        self.pass(name.as_str(), StoreAccess::Read, read).await
    }
    async fn put(
        &self,
        name: &BlobName,
        bytes: Bytes,
        properties: &Properties,
        condition: &Condition,
    ) -> Result<Etag, StoreError> {
        let put = self.inner().put(name, bytes, properties, condition);
        self.pass(name.as_str(), StoreAccess::Write, put).await
    }
    async fn stage(&self, upload: &Upload, index: u32, bytes: Bytes) -> Result<(), StoreError> {
        let stage = self.inner().stage(upload, index, bytes);
        self.pass(&upload.block_id(index), StoreAccess::Write, stage).await
    }
    async fn commit(
        &self,
        upload: &Upload,
        blocks: u32,
        properties: &Properties,
        condition: &Condition,
    ) -> Result<Etag, StoreError> {
        let commit = self.inner().commit(upload, blocks, properties, condition);
        self.pass(upload.name.as_str(), StoreAccess::Write, commit).await
    }
    async fn abandon(&self, upload: &Upload) {
        self.inner().abandon(upload).await;
    }
    async fn append(
        &self,
        name: &BlobName,
        bytes: Bytes,
        position: u64,
    ) -> Result<u64, StoreError> {
        let append = self.inner().append(name, bytes, position);
        self.pass(name.as_str(), StoreAccess::Write, append).await
    }
    async fn list(
        &self,
        prefix: &str,
        visit: &mut (dyn FnMut(BlobInfo) + Send),
    ) -> Result<(), StoreError> {
        self.pass(prefix, StoreAccess::Read, self.inner().list(prefix, visit)).await
    }
    async fn remove_empty_directories(&self, prefix: &str, before: &str) -> Result<(), StoreError> {
        let removal = self.inner().remove_empty_directories(prefix, before);
        self.pass(prefix, StoreAccess::Write, removal).await
    }
    async fn delete(&self, name: &BlobName) -> Result<(), StoreError> {
        self.pass(name.as_str(), StoreAccess::Write, self.inner().delete(name)).await
    }
    async fn lease(&self, name: &BlobName, holder: &Holder) -> Result<Leased, StoreError> {
        self.pass(name.as_str(), StoreAccess::Write, self.inner().lease(name, holder)).await
    }
    async fn end_lease(&self, name: &BlobName, holder: &Holder) -> Result<(), StoreError> {
        self.pass(name.as_str(), StoreAccess::Write, self.inner().end_lease(name, holder)).await
    }
}
