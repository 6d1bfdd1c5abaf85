//! Blobs in memory, with Azure's real limits and faults by script.

pub use crate::store::memory::state::{MemoryCounts, MemoryFault, MemoryOp};
use std::sync::{Arc, MutexGuard};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use md5::Digest;

use crate::store::memory::state::{
    ADDRESS, Blob, MemoryContent, MemoryInner, MemoryState, info, refused,
};

mod lease;
pub mod queue;
mod state;

use super::contract::{
    BlobInfo, Condition, Etag, Leased, Properties, Store, StoreError, StoreKind, Upload,
};
use super::holder::Holder;
use super::limits;
use crate::model::BlobName;
use crate::store::memory::lease::MemoryLease;

/// The most appends to one blob that Azure takes.
const MAX_APPENDS: u32 = 50_000;

/// A container in memory. Every change is atomic, so it is what a race test can trust.
#[derive(Default)]
pub struct MemoryStore {
    inner: Arc<MemoryInner>,
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MemoryStore({} blobs)", self.state().blobs.len())
    }
}

impl MemoryStore {
    /// An empty container.
    pub fn new() -> Self {
        Self::default()
    }

    /// A container that does not exist and that nobody may create.
    pub fn missing() -> Self {
        Self { inner: Arc::new(MemoryInner { missing: true, ..MemoryInner::default() }) }
    }

    /// Lets the `nth` call of `op` from now on (1 is the next) fail in this way.
    pub fn fault(&self, op: MemoryOp, nth: u64, fault: MemoryFault) {
        let mut state = self.state();
        let call = *state.counts.of(op) + nth;
        state.faults.entry(op).or_default().push_back((call, fault));
    }

    /// What was asked so far.
    pub fn counts(&self) -> MemoryCounts {
        self.state().counts.clone()
    }

    /// The content of a blob, without counting as a call.
    pub fn content(&self, name: &str) -> Option<Bytes> {
        self.state().blobs.get(name).map(|blob| Bytes::copy_from_slice(blob.content.bytes()))
    }

    /// The names of all blobs, in order, without counting as a call.
    pub fn names(&self) -> Vec<String> {
        self.state().blobs.keys().cloned().collect()
    }

    /// What was staged and not committed: blob name, block id, bytes.
    pub fn staged(&self) -> Vec<(String, String, Bytes)> {
        let state = self.state();
        let blocks = state.staged.iter().flat_map(|(name, blocks)| {
            blocks.iter().map(move |(id, bytes)| (name.clone(), id.clone(), bytes.clone()))
        });
        blocks.collect()
    }

    fn state(&self) -> MutexGuard<'_, MemoryState> {
        self.inner.state()
    }

    async fn call<T>(
        &self,
        op: MemoryOp,
        doing: &'static str,
        name: &str,
        work: impl FnOnce(&mut MemoryState) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.inner.call(op, doing, name, work).await
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn address(&self) -> &str {
        ADDRESS
    }

    async fn prepare(&self) -> Result<(), StoreError> {
        self.call(MemoryOp::Prepare, "opening", "container", |_| Ok(())).await
    }

    async fn head(&self, name: &BlobName) -> Result<Option<BlobInfo>, StoreError> {
        let name = name.as_str();
        self.call(MemoryOp::Head, "looking at", name, |state| {
            Ok(state.blobs.get(name).map(|blob| info(name, blob)))
        })
        .await
    }

    async fn get(
        &self,
        name: &BlobName,
        start: u64,
        max_bytes: u64,
    ) -> Result<Option<(BlobInfo, Bytes)>, StoreError> {
        let (op, name) = ("reading", name.as_str());
        self.call(MemoryOp::Get, op, name, |state| {
            let Some(blob) = state.blobs.get(name) else { return Ok(None) };
            let bytes =
                usize::try_from(start).ok().and_then(|start| blob.content.bytes().get(start..));
            let bytes = bytes.ok_or_else(|| {
                refused(op, name, StoreKind::Rejected, "it is shorter than where to start")
            })?;
            if bytes.len() as u64 > max_bytes {
                return Err(refused(
                    op,
                    name,
                    StoreKind::Rejected,
                    format!("it has {} bytes, more than {max_bytes}", bytes.len()),
                ));
            }
            Ok(Some((info(name, blob), Bytes::copy_from_slice(bytes))))
        })
        .await
    }

    async fn put(
        &self,
        name: &BlobName,
        bytes: Bytes,
        properties: &Properties,
        condition: &Condition,
    ) -> Result<Etag, StoreError> {
        let (op, name) = ("writing", name.as_str());
        self.call(MemoryOp::Put, op, name, |state| {
            state.counts.bytes += bytes.len() as u64;
            limits::check_properties(properties)
                .map_err(|why| refused(op, name, StoreKind::Rejected, why))?;
            if md5::Md5::digest(&bytes).as_slice() != properties.md5 {
                return Err(refused(op, name, StoreKind::Corrupted, "Md5Mismatch (400)"));
            }
            state
                .holds(name, condition)
                .map_err(|why| refused(op, name, StoreKind::Condition, why))?;
            Ok(state.write(name, bytes, properties))
        })
        .await
    }

    async fn stage(&self, upload: &Upload, index: u32, bytes: Bytes) -> Result<(), StoreError> {
        let (op, name) = ("staging a block of", upload.name.as_str());
        self.call(MemoryOp::Stage, op, name, |state| {
            state.counts.bytes += bytes.len() as u64;
            limits::check_block(index, bytes.len())
                .map_err(|why| refused(op, name, StoreKind::Rejected, why))?;
            state.staged.entry(name.to_owned()).or_default().insert(upload.block_id(index), bytes);
            Ok(())
        })
        .await
    }

    async fn commit(
        &self,
        upload: &Upload,
        blocks: u32,
        properties: &Properties,
        condition: &Condition,
    ) -> Result<Etag, StoreError> {
        let (op, name) = ("committing", upload.name.as_str());
        self.call(MemoryOp::Commit, op, name, |state| {
            let checked =
                limits::check_properties(properties).and_then(|()| limits::check_blocks(blocks));
            checked.map_err(|why| refused(op, name, StoreKind::Rejected, why))?;
            state
                .holds(name, condition)
                .map_err(|why| refused(op, name, StoreKind::Condition, why))?;
            let staged = state.staged.get(name);
            let mut whole = BytesMut::new();
            for index in 0..blocks {
                let block = staged.and_then(|staged| staged.get(&upload.block_id(index)));
                whole.extend_from_slice(block.ok_or_else(|| {
                    refused(op, name, StoreKind::Condition, "InvalidBlockList (400)")
                })?);
            }
            Ok(state.write(name, whole.freeze(), properties))
        })
        .await
    }

    async fn abandon(&self, upload: &Upload) {
        let id = upload.block_id(0);
        let ours = id.rsplit_once('-').map_or(id.as_str(), |(nonce, _)| nonce);
        let mut state = self.state();
        if let Some(blocks) = state.staged.get_mut(upload.name.as_str()) {
            blocks.retain(|id, _| !id.starts_with(ours));
            if blocks.is_empty() {
                state.staged.remove(upload.name.as_str());
            }
        }
    }

    async fn append(
        &self,
        name: &BlobName,
        bytes: Bytes,
        position: u64,
    ) -> Result<u64, StoreError> {
        let (op, name) = ("appending to", name.as_str());
        self.call(MemoryOp::Append, op, name, |state| {
            state.counts.bytes += bytes.len() as u64;
            limits::check_append(bytes.len())
                .map_err(|why| refused(op, name, StoreKind::Rejected, why))?;
            let etag = state.tag();
            if position == 0 {
                let empty = MemoryContent::Append { bytes: BytesMut::new(), appends: 0 };
                state.blobs.entry(name.to_owned()).or_insert(Blob {
                    content: empty,
                    etag: etag.clone(),
                    properties: None,
                });
            }
            let blob = state.blobs.get_mut(name);
            let blob = blob.ok_or_else(|| {
                refused(
                    op,
                    name,
                    StoreKind::Condition,
                    "there is no such blob, so it is not that long",
                )
            })?;
            let MemoryContent::Append { bytes: content, appends } = &mut blob.content else {
                return Err(refused(op, name, StoreKind::Condition, "InvalidBlobType (409)"));
            };
            if content.len() as u64 != position {
                return Err(refused(
                    op,
                    name,
                    StoreKind::Condition,
                    "AppendPositionConditionNotMet (412)",
                ));
            }
            if *appends >= MAX_APPENDS {
                return Err(refused(op, name, StoreKind::Rejected, "BlockCountExceedsLimit (409)"));
            }
            content.extend_from_slice(&bytes);
            *appends += 1;
            blob.etag = etag;
            Ok(position + bytes.len() as u64)
        })
        .await
    }

    async fn list(
        &self,
        prefix: &str,
        visit: &mut (dyn FnMut(BlobInfo) + Send),
    ) -> Result<(), StoreError> {
        let found = self
            .call(MemoryOp::List, "listing", prefix, |state| {
                let from = state
                    .blobs
                    .range(prefix.to_owned()..)
                    .take_while(|(name, _)| name.starts_with(prefix));
                Ok(from.map(|(name, blob)| info(name, blob)).collect::<Vec<_>>())
            })
            .await?;
        found.into_iter().for_each(visit);
        Ok(())
    }

    async fn delete(&self, name: &BlobName) -> Result<(), StoreError> {
        self.call(MemoryOp::Delete, "removing", name.as_str(), |state| {
            state.blobs.remove(name.as_str());
            Ok(())
        })
        .await
    }

    async fn lease(&self, name: &BlobName, holder: &Holder) -> Result<Leased, StoreError> {
        let taken = self
            .call(MemoryOp::Lease, "leasing", name.as_str(), |state| {
                Ok(state.leases.take(name, holder))
            })
            .await?;
        Ok(match taken {
            None => Leased::Held(Box::new(MemoryLease::new(self.inner.clone(), name, holder))),
            Some(taken) => Leased::Taken(taken),
        })
    }

    async fn end_lease(&self, name: &BlobName, holder: &Holder) -> Result<(), StoreError> {
        self.call(MemoryOp::Release, "ending the lease", name.as_str(), |state| {
            state.leases.end(name, holder);
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests;
