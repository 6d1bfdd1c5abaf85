//! What is stored, by paths of the source.

use std::collections::BTreeMap;

use blobferry::model::{BlobName, RemotePath};
use blobferry::store::contract::Store;
use blobferry::store::memory::MemoryStore;
use bytes::Bytes;
use futures_util::FutureExt;

/// What is stored: of each path of the source its contents.
pub type Stored = BTreeMap<RemotePath, Vec<Bytes>>;

/// Reads the store.
pub fn stored(store: &MemoryStore) -> Stored {
    let mut found = Stored::new();
    let names = store.names().into_iter().filter(|name| !name.starts_with("_blobferry/"));
    for name in names {
        let name = BlobName::new(name).unwrap();
        let info = store.head(&name).now_or_never().unwrap().unwrap().unwrap();
        let path = info.metadata.get("source_path").cloned().unwrap_or_default();
        let content = store.content(name.as_str()).unwrap();
        found.entry(decoded(&path)).or_default().push(content);
    }
    found
}

/// A path as metadata spell it.
fn decoded(text: &str) -> RemotePath {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend(&part.as_bytes()[2..]);
    }
    RemotePath::new(bytes)
}
