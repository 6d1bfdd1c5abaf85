//! Records of runs in the store.

use std::sync::Arc;

use bytes::Bytes;
use md5::{Digest, Md5};
use time::{Duration, OffsetDateTime};

use super::afar;
use super::record::{PREFIX, RunRecord, blob_name, day_prefix};
use crate::model::BlobName;
use crate::store::contract::{Condition, Properties, Store, StoreError, StoreKind};

/// A record is smaller than this by far.
const MAX_BYTES: u64 = 8 << 20;

/// Records of runs, as the store holds them.
#[derive(Clone)]
pub struct Records {
    store: Arc<dyn Store>,
}

impl Records {
    /// In `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// Writes `record`, over what was written of that run before. A missing container is made, if that is allowed.
    pub async fn put(&self, record: &RunRecord) -> Result<(), StoreError> {
        let name = blob_name(&record.id).expect("records carry ids of our own making");
        let bytes = Bytes::from(serde_json::to_vec_pretty(record).expect("a record holds nothing that JSON cannot"));
        let properties = Properties { content_type: "application/json".into(), md5: Md5::digest(&bytes).into(), metadata: [].into() };
        let put = || self.store.put(&name, bytes.clone(), &properties, &Condition::Always);
        match put().await {
            Err(error) if error.kind == StoreKind::NoContainer => {
                self.store.prepare().await?;
                put().await.map(|_| ())
            }
            result => result.map(|_| ()),
        }
    }

    /// The record of the run `id`; `None` if there is none, or none that we can read.
    pub async fn get(&self, id: &str) -> Result<Option<RunRecord>, StoreError> {
        match blob_name(id) {
            Some(name) => match self.read(&name).await? {
                Some(record) => Ok(Some(afar::filled(&self.store, record).await)),
                None => Ok(None),
            },
            None => Ok(None),
        }
    }

    async fn read(&self, name: &BlobName) -> Result<Option<RunRecord>, StoreError> {
        let found = self.store.get(name, 0, MAX_BYTES).await?;
        Ok(found.and_then(|(_, bytes)| match serde_json::from_slice(&bytes) {
            Ok(record) => Some(record),
            Err(error) => {
                tracing::warn!(blob = name.as_str(), %error, "Warning: a record of a run cannot be read and is passed over.");
                None
            }
        }))
    }

    /// The last runs, newest first, at most `limit`.
    pub async fn last(&self, limit: usize, now: OffsetDateTime) -> Result<Vec<RunRecord>, StoreError> {
        // Two days tell enough where runs are frequent; where they are not, all of them are few.
        let mut names = self.names(&day_prefix(now - Duration::DAY)).await?;
        names.extend(self.names(&day_prefix(now)).await?);
        if names.len() < limit {
            names = self.names(PREFIX).await?;
        }
        let mut records = Vec::new();
        for name in names.iter().rev().take(limit) {
            if let Some(record) = self.read(name).await? {
                records.push(afar::filled(&self.store, record).await);
            }
        }
        Ok(records)
    }

    /// Writes the record of the run `id`, whose work went through the queue, for the last time, if all of it is done.
    pub async fn settle(&self, id: &str) -> Result<(), StoreError> {
        let Some(name) = blob_name(id) else { return Ok(()) };
        let Some(record) = self.read(&name).await?.filter(|record| record.ended.is_none() && !record.queued.is_empty()) else { return Ok(()) };
        let record = afar::filled(&self.store, record).await;
        if record.ended.is_some() { self.put(&record).await } else { Ok(()) }
    }

    async fn names(&self, prefix: &str) -> Result<Vec<BlobName>, StoreError> {
        let mut names = Vec::new();
        self.store.list(prefix, &mut |blob| names.extend(BlobName::new(blob.name).ok())).await?;
        Ok(names)
    }
}
