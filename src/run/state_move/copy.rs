//! A blob of state copied from one store to another, and compared.

use bytes::{Bytes, BytesMut};
use md5::{Digest, Md5};
use tokio_util::sync::CancellationToken;

use crate::model::BlobName;
use crate::runtime::retry::{Policy, retry};
use crate::store::contract::{
    BLOCK_BYTES, BlobInfo, Condition, Properties, Store, StoreError, StoreKind, Upload,
};

/// The most bytes of one append.
const APPEND: usize = 4 << 20;
/// What is read whole is smaller.
const MAX_BYTES: u64 = 2 << 30;

/// What `store` holds under `name`.
pub(crate) async fn bytes_of(
    store: &dyn Store,
    name: &BlobName,
) -> Result<Option<Bytes>, StoreError> {
    let never = CancellationToken::new();
    let once = |_| store.get(name, 0, MAX_BYTES);
    let found = retry(&Policy::default(), &never, "reading the state", once).await?;
    Ok(found.map(|(_, bytes)| bytes))
}

/// Writes `bytes`, which are JSON.
pub async fn put(
    store: &dyn Store,
    name: &BlobName,
    bytes: Bytes,
    condition: &Condition,
) -> Result<(), StoreError> {
    let properties = Properties {
        content_type: "application/json".to_owned(),
        md5: Md5::digest(&bytes).into(),
        metadata: [].into(),
        placement: Default::default(),
    };
    let never = CancellationToken::new();
    let once = |_| store.put(name, bytes.clone(), &properties, condition);
    match retry(&Policy::default(), &never, "moving the state", once).await {
        Ok(_) => Ok(()),
        // It is there because an answer was lost.
        Err(error) if error.kind == StoreKind::Condition => {
            match bytes_of(store, name).await?.is_some_and(|there| there == bytes) {
                true => Ok(()),
                false => Err(error),
            }
        }
        Err(error) => Err(error),
    }
}

/// Writes JSON of ours, whatever stands there.
pub(crate) async fn write_json(
    store: &dyn Store,
    name: &BlobName,
    value: &serde_json::Value,
) -> Result<(), StoreError> {
    let bytes = Bytes::from(value.to_string().into_bytes());
    put(store, name, bytes, &Condition::Always).await
}

/// Sees to it that `to` holds what `from` does under the name of `info`.
pub async fn copied(from: &dyn Store, to: &dyn Store, info: &BlobInfo) -> Result<(), StoreError> {
    // A name that we would not write is none of our state.
    let Ok(name) = BlobName::new(&info.name) else { return Ok(()) };
    let never = CancellationToken::new();
    let once = |_| async {
        if is_appended(&info.name) {
            appended(from, to, &name).await
        } else {
            whole(from, to, &name).await
        }
    };
    retry(&Policy::default(), &never, "moving the state", once).await
}

/// Whether blobs of this name are appended to: journals of ledgers and manifests of runs.
fn is_appended(name: &str) -> bool {
    name.ends_with(".jsonl") || name.contains("/ledger/journal-")
}

async fn appended(from: &dyn Store, to: &dyn Store, name: &BlobName) -> Result<(), StoreError> {
    let Some((_, bytes)) = from.get(name, 0, MAX_BYTES).await? else { return Ok(()) };
    if let Some((_, there)) = to.get(name, 0, MAX_BYTES).await? {
        if there == bytes {
            return Ok(());
        }
        to.delete(name).await?;
    }
    let mut position = 0;
    for part in bytes.chunks(APPEND) {
        let part = Bytes::copy_from_slice(part);
        position = to.append(name, part, position).await.map_err(StoreError::into_no_race)?;
    }
    match to.get(name, 0, MAX_BYTES).await? {
        Some((_, there)) if there == bytes => Ok(()),
        _ if bytes.is_empty() => Ok(()),
        _ => Err(differs(to, name)),
    }
}

async fn whole(from: &dyn Store, to: &dyn Store, name: &BlobName) -> Result<(), StoreError> {
    let Some(info) = from.head(name).await? else { return Ok(()) };
    let there = to.head(name).await?;
    let is_same = |there: &BlobInfo| {
        there.size == info.size
            && there.md5.is_some()
            && there.md5 == info.md5
            && there.metadata == info.metadata
    };
    if there.as_ref().is_some_and(is_same) {
        return Ok(());
    }
    let upload = Upload::new(name.clone());
    let (mut md5, mut at, mut blocks) = (Md5::new(), 0, 0);
    let mut only = BytesMut::new();
    while at < info.size {
        let Some((now, bytes)) = from.read(name, at, BLOCK_BYTES).await? else {
            return Err(differs(from, name));
        };
        if now.etag != info.etag || bytes.is_empty() {
            return Err(differs(from, name));
        }
        md5.update(&bytes);
        at += bytes.len() as u64;
        if info.size <= BLOCK_BYTES {
            only.extend_from_slice(&bytes);
        } else {
            to.stage(&upload, blocks, bytes).await?;
            blocks += 1;
        }
    }
    let md5: [u8; 16] = md5.finalize().into();
    if info.md5.is_some_and(|known| known != md5) {
        return Err(differs(from, name));
    }
    let properties = Properties {
        content_type: info.content_type.clone().unwrap_or_else(|| "application/json".into()),
        md5,
        metadata: info.metadata.clone(),
        placement: Default::default(),
    };
    // The store compares what comes with its MD5.
    if blocks == 0 {
        to.put(name, only.freeze(), &properties, &Condition::Always).await?;
    } else {
        to.commit(&upload, blocks, &properties, &Condition::Always).await?;
    }
    match to.head(name).await? {
        Some(there) if there.size == info.size && there.md5.is_none_or(|found| found == md5) => {
            Ok(())
        }
        _ => Err(differs(to, name)),
    }
}

fn differs(store: &dyn Store, name: &BlobName) -> StoreError {
    let why = "it changed while it was copied, or its copy is not equal to it";
    StoreError::new("moving", name.as_str(), store.address(), StoreKind::Unavailable, why)
}
