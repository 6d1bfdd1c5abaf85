//! A store that takes everything and keeps only what it learned of it: for tests of memory and
//! speed.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, checksum, checksum_combine};

use super::contract::{
    BlobInfo, Condition, Etag, Leased, Properties, Store, StoreError, StoreKind, Upload,
};
use super::holder::Holder;
use super::memory::MemoryStore;
use crate::model::BlobName;

const ADDRESS: &str = "nowhere";
const STATE: &str = "_blobferry/";

/// Keeps size, properties and CRC-64/NVME of each blob but not its bytes;
/// our own state, below `_blobferry/`, is kept in memory whole.
#[derive(Debug, Default)]
pub struct DiscardStore {
    state: MemoryStore,
    kept: Mutex<DiscardKept>,
}

#[derive(Debug, Default)]
struct DiscardKept {
    blobs: BTreeMap<String, (BlobInfo, u64)>,
    /// Size and checksum by block id.
    staged: BTreeMap<String, (u64, u64)>,
    writes: u64,
}

impl DiscardStore {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// The store that holds our own state.
    pub fn state(&self) -> &MemoryStore {
        &self.state
    }

    /// The CRC-64/NVME of what was written as `name`, computed from the bytes as they came in.
    pub fn crc64(&self, name: &str) -> Option<u64> {
        self.kept().blobs.get(name).map(|(_, crc)| *crc)
    }

    /// Blobs and bytes so far, our own state apart.
    pub fn totals(&self) -> (usize, u64) {
        let kept = self.kept();
        (kept.blobs.len(), kept.blobs.values().map(|(info, _)| info.size).sum())
    }

    fn kept(&self) -> MutexGuard<'_, DiscardKept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DiscardKept {
    fn write(
        &mut self,
        name: &BlobName,
        size: u64,
        crc: u64,
        properties: &Properties,
        condition: &Condition,
    ) -> Result<Etag, StoreError> {
        let present = self.blobs.get(name.as_str()).map(|(info, _)| &info.etag);
        let holds = match condition {
            Condition::IfAbsent => present.is_none(),
            Condition::IfMatch(etag) => present == Some(etag),
            Condition::Always => true,
        };
        if !holds {
            return Err(StoreError::new(
                "writing",
                name.as_str(),
                ADDRESS,
                StoreKind::Condition,
                "the condition does not hold",
            ));
        }
        self.writes += 1;
        let etag = Etag(format!("{:016X}", self.writes));
        let info = BlobInfo {
            name: name.as_str().to_owned(),
            size,
            etag: etag.clone(),
            md5: Some(properties.md5),
            metadata: properties.metadata.clone(),
            content_type: Some(properties.content_type.clone()),
        };
        self.blobs.insert(name.as_str().to_owned(), (info, crc));
        Ok(etag)
    }

    fn forget(&mut self, upload: &Upload) {
        let first = upload.block_id(0);
        let nonce = first.rsplit_once('-').map_or(first.as_str(), |(nonce, _)| nonce);
        self.staged.retain(|id, _| !id.starts_with(nonce));
    }
}

fn crc64(bytes: &[u8]) -> u64 {
    checksum(CrcAlgorithm::Crc64Nvme, bytes)
}

#[async_trait]
impl Store for DiscardStore {
    fn address(&self) -> &str {
        ADDRESS
    }

    async fn prepare(&self) -> Result<(), StoreError> {
        self.state.prepare().await
    }

    async fn head(&self, name: &BlobName) -> Result<Option<BlobInfo>, StoreError> {
        if name.as_str().starts_with(STATE) {
            return self.state.head(name).await;
        }
        Ok(self.kept().blobs.get(name.as_str()).map(|(info, _)| info.clone()))
    }

    async fn get(
        &self,
        name: &BlobName,
        start: u64,
        max_bytes: u64,
    ) -> Result<Option<(BlobInfo, Bytes)>, StoreError> {
        if name.as_str().starts_with(STATE) {
            return self.state.get(name, start, max_bytes).await;
        }
        Err(StoreError::new(
            "reading",
            name.as_str(),
            ADDRESS,
            StoreKind::Rejected,
            "its bytes were not kept",
        ))
    }

    async fn put(
        &self,
        name: &BlobName,
        bytes: Bytes,
        properties: &Properties,
        condition: &Condition,
    ) -> Result<Etag, StoreError> {
        if name.as_str().starts_with(STATE) {
            return self.state.put(name, bytes, properties, condition).await;
        }
        let crc = crc64(&bytes);
        self.kept().write(name, bytes.len() as u64, crc, properties, condition)
    }

    async fn stage(&self, upload: &Upload, index: u32, bytes: Bytes) -> Result<(), StoreError> {
        let crc = crc64(&bytes);
        self.kept().staged.insert(upload.block_id(index), (bytes.len() as u64, crc));
        Ok(())
    }

    async fn commit(
        &self,
        upload: &Upload,
        blocks: u32,
        properties: &Properties,
        condition: &Condition,
    ) -> Result<Etag, StoreError> {
        let mut kept = self.kept();
        let (mut size, mut crc) = (0, crc64(b""));
        for index in 0..blocks {
            let (length, next) =
                kept.staged.get(&upload.block_id(index)).copied().ok_or_else(|| {
                    StoreError::new(
                        "committing",
                        upload.name.as_str(),
                        ADDRESS,
                        StoreKind::Condition,
                        "a block was never staged",
                    )
                })?;
            crc = checksum_combine(CrcAlgorithm::Crc64Nvme, crc, next, length);
            size += length;
        }
        let etag = kept.write(&upload.name, size, crc, properties, condition)?;
        kept.forget(upload);
        Ok(etag)
    }

    async fn abandon(&self, upload: &Upload) {
        self.kept().forget(upload);
    }

    async fn append(
        &self,
        name: &BlobName,
        bytes: Bytes,
        position: u64,
    ) -> Result<u64, StoreError> {
        self.state.append(name, bytes, position).await
    }

    async fn list(
        &self,
        prefix: &str,
        visit: &mut (dyn FnMut(BlobInfo) + Send),
    ) -> Result<(), StoreError> {
        let mut found: Vec<BlobInfo> = self
            .kept()
            .blobs
            .values()
            .map(|(info, _)| info.clone())
            .filter(|info| info.name.starts_with(prefix))
            .collect();
        self.state.list(prefix, &mut |info| found.push(info)).await?;
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found.into_iter().for_each(visit);
        Ok(())
    }

    async fn delete(&self, name: &BlobName) -> Result<(), StoreError> {
        self.kept().blobs.remove(name.as_str());
        self.state.delete(name).await
    }

    async fn lease(&self, name: &BlobName, holder: &Holder) -> Result<Leased, StoreError> {
        self.state.lease(name, holder).await
    }

    async fn end_lease(&self, name: &BlobName, holder: &Holder) -> Result<(), StoreError> {
        self.state.end_lease(name, holder).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_checksum_of_blocks_is_that_of_the_whole() {
        let store = DiscardStore::new();
        let upload = Upload::new(BlobName::new("big").expect("a name"));
        // Blocks may arrive in any order.
        store.stage(&upload, 1, Bytes::from_static(b"456789")).await.expect("it stages");
        store.stage(&upload, 0, Bytes::from_static(b"123")).await.expect("it stages");
        let properties = Properties {
            content_type: "text/plain".into(),
            md5: [0; 16],
            metadata: Default::default(),
            placement: Default::default(),
        };
        store.commit(&upload, 2, &properties, &Condition::IfAbsent).await.expect("it commits");
        assert_eq!((store.crc64("big"), store.totals()), (Some(0xae8b_1486_0a79_9888), (1, 9)));
    }
}
