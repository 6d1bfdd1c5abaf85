//! A store in two places: the blobs of users in one, our own state in another.
//!
//! Which place a blob is in follows from its name alone. The place of the blobs holds one blob of
//! ours, [`pointer()`], which tells where the state is, and the place of the state holds the same
//! as [`place`]: a configuration that looks for the state elsewhere is refused, and begins no new
//! ledger.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

use super::paths::{PROBES, ROOT, is_state, place, pointer};
use super::version::VERSION;
use crate::model::{BlobName, hex};
use crate::store::contract::{
    BlobInfo, Condition, Etag, Leased, Properties, Store, StoreError, StoreKind, Terms, Upload,
};
use crate::store::holder::Holder;

/// The pointer is smaller than this by far.
const MAX_BYTES: u64 = 64 << 10;
const UNREADABLE: &str = "it does not tell where the state is";

/// See the module.
#[derive(Debug)]
pub struct Apart {
    blobs: Arc<dyn Store>,
    state: Arc<dyn Store>,
    is_agreed: AtomicBool,
}

/// What a place knows of the state: the same random id in both, and where it is.
#[derive(Serialize, Deserialize)]
struct Pointer {
    schema: u32,
    id: String,
    state: String,
}

/// Where the state of a destination is, as its pointer tells.
pub fn told(bytes: &[u8]) -> Option<String> {
    serde_json::from_slice(bytes).ok().map(|pointer: Pointer| pointer.state)
}

/// The id of both places and the address that a pointer, or what stands in the other place, tells.
pub fn known(bytes: &[u8]) -> Option<(String, String)> {
    serde_json::from_slice(bytes).ok().map(|pointer: Pointer| (pointer.id, pointer.state))
}

/// What [`known`] reads.
pub(crate) fn known_as(id: &str, state: &str) -> serde_json::Value {
    let pointer = Pointer { schema: VERSION, id: id.to_owned(), state: state.to_owned() };
    serde_json::to_value(pointer).expect("a pointer holds nothing that JSON cannot")
}

/// An id that no other place has.
pub(crate) fn new_id() -> String {
    hex(&random())
}

impl Apart {
    /// Users' blobs in `blobs`, ours in `state`.
    pub fn new(blobs: Arc<dyn Store>, state: Arc<dyn Store>) -> Self {
        Self { blobs, state, is_agreed: AtomicBool::new(false) }
    }

    fn of(&self, name: &str) -> &dyn Store {
        if is_state(name) { &*self.state } else { &*self.blobs }
    }

    /// Makes sure, once a process, that both places belong together: they hold the same id, or
    /// there was neither a pointer nor state in the place of the blobs, and they are given one now.
    async fn agree(&self) -> Result<(), StoreError> {
        if self.is_agreed.load(Ordering::Relaxed) {
            return Ok(());
        }
        if let Some(bytes) = bytes_of(&*self.blobs, &pointer()).await? {
            self.must_be_ours(&bytes).await?;
        } else {
            self.must_be_free().await?;
            let id = new_id();
            let held = written_once(&*self.state, &place(), &self.pointer(id)).await?;
            let id = id_of(&held).ok_or_else(|| self.refused(UNREADABLE.into()))?;
            let told = written_once(&*self.blobs, &pointer(), &self.pointer(id)).await?;
            self.must_be_ours(&told).await?;
        }
        self.is_agreed.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn pointer(&self, id: String) -> Pointer {
        Pointer { schema: VERSION, id, state: self.state.address().to_owned() }
    }

    /// The place that the pointer `bytes` tells of is this one: it holds the same id, whatever it
    /// is called on this machine.
    async fn must_be_ours(&self, bytes: &[u8]) -> Result<(), StoreError> {
        let told: Pointer =
            serde_json::from_slice(bytes).map_err(|_| self.refused(UNREADABLE.into()))?;
        let held = bytes_of(&*self.state, &place()).await?;
        if held.and_then(|held| id_of(&held)).is_some_and(|id| id == told.id) {
            return Ok(());
        }
        Err(self.refused(format!(
            "the state of this destination is in `{}`, and is not in `{}`, which `[state]` names",
            told.state,
            self.state.address()
        )))
    }

    async fn must_be_free(&self) -> Result<(), StoreError> {
        let mut first = None;
        // Where nothing can be removed, the probes of `check` stay.
        let mut visit = |info: BlobInfo| {
            if first.is_none() && !info.name.starts_with(PROBES) {
                first = Some(info.name);
            }
        };
        self.blobs.list(ROOT, &mut visit).await?;
        match first {
            None => Ok(()),
            Some(name) => Err(self.refused(format!(
                "there is state among the blobs already (`{name}`), and `[state]` names another \
                place: all that was ingested would be taken for new"
            ))),
        }
    }

    fn refused(&self, why: String) -> StoreError {
        let op = "looking for the state of";
        StoreError::new(op, ROOT, self.blobs.address(), StoreKind::Rejected, why).with_hint(
            "set `[state]` to the place that holds the state, or leave it out; `blobferry state \
            move` moves what is there to the place that `[state]` names",
        )
    }
}

fn id_of(bytes: &[u8]) -> Option<String> {
    serde_json::from_slice(bytes).ok().map(|pointer: Pointer| pointer.id)
}

fn random() -> [u8; 8] {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// What `store` holds under `name`.
async fn bytes_of(store: &dyn Store, name: &BlobName) -> Result<Option<Bytes>, StoreError> {
    Ok(store.get(name, 0, MAX_BYTES).await?.map(|(_, bytes)| bytes))
}

/// Writes `ours` to `store` under `name` unless there is one; the one that is there then.
async fn written_once(
    store: &dyn Store,
    name: &BlobName,
    ours: &Pointer,
) -> Result<Bytes, StoreError> {
    let bytes =
        Bytes::from(serde_json::to_vec(ours).expect("a pointer holds nothing that JSON cannot"));
    let properties = Properties {
        content_type: "application/json".into(),
        md5: Md5::digest(&bytes).into(),
        metadata: [].into(),
        placement: Default::default(),
    };
    let condition = Condition::IfAbsent;
    match store.put(name, bytes.clone(), &properties, &condition).await {
        Ok(_) => Ok(bytes),
        // Another process was quicker, or the answer to an earlier try was lost.
        Err(error) if error.kind == StoreKind::Condition => {
            bytes_of(store, name).await?.ok_or_else(|| error.into_no_race())
        }
        Err(error) => Err(error),
    }
}

#[async_trait]
impl Store for Apart {
    fn address(&self) -> &str {
        self.blobs.address()
    }
    fn holds_state(&self) -> bool {
        false
    }
    fn clock_ahead(&self) -> Option<time::Duration> {
        self.blobs.clock_ahead().or_else(|| self.state.clock_ahead())
    }
    fn small_writes_at_once(&self) -> usize {
        self.blobs.small_writes_at_once()
    }
    async fn prepare(&self) -> Result<(), StoreError> {
        self.blobs.prepare().await?;
        self.state.prepare().await?;
        self.agree().await
    }
    async fn terms(&self) -> Result<Terms, StoreError> {
        self.blobs.terms().await
    }
    async fn head(&self, name: &BlobName) -> Result<Option<BlobInfo>, StoreError> {
        self.of(name.as_str()).head(name).await
    }
    async fn get(
        &self,
        name: &BlobName,
        start: u64,
        max_bytes: u64,
    ) -> Result<Option<(BlobInfo, Bytes)>, StoreError> {
        self.of(name.as_str()).get(name, start, max_bytes).await
    }
    async fn read(
        &self,
        name: &BlobName,
        start: u64,
        most: u64,
    ) -> Result<Option<(BlobInfo, Bytes)>, StoreError> {
        self.of(name.as_str()).read(name, start, most).await
    }
    async fn put(
        &self,
        name: &BlobName,
        bytes: Bytes,
        properties: &Properties,
        condition: &Condition,
    ) -> Result<Etag, StoreError> {
        self.of(name.as_str()).put(name, bytes, properties, condition).await
    }
    async fn stage(&self, upload: &Upload, index: u32, bytes: Bytes) -> Result<(), StoreError> {
        self.of(upload.name.as_str()).stage(upload, index, bytes).await
    }
    async fn commit(
        &self,
        upload: &Upload,
        blocks: u32,
        properties: &Properties,
        condition: &Condition,
    ) -> Result<Etag, StoreError> {
        self.of(upload.name.as_str()).commit(upload, blocks, properties, condition).await
    }
    async fn abandon(&self, upload: &Upload) {
        self.of(upload.name.as_str()).abandon(upload).await;
    }
    async fn append(
        &self,
        name: &BlobName,
        bytes: Bytes,
        position: u64,
    ) -> Result<u64, StoreError> {
        self.of(name.as_str()).append(name, bytes, position).await
    }

    /// Names of either place come in their order: first those of our state, then the others.
    async fn list(
        &self,
        prefix: &str,
        visit: &mut (dyn FnMut(BlobInfo) + Send),
    ) -> Result<(), StoreError> {
        if is_state(prefix) {
            return self.state.list(prefix, visit).await;
        }
        if ROOT.starts_with(prefix) {
            self.state.list(ROOT, visit).await?;
        }
        // What lies there under names of ours is none of this configuration's.
        let mut others = |info: BlobInfo| {
            if !is_state(&info.name) {
                visit(info);
            }
        };
        self.blobs.list(prefix, &mut others).await
    }
    async fn remove_empty_directories(&self, prefix: &str, before: &str) -> Result<(), StoreError> {
        self.of(prefix).remove_empty_directories(prefix, before).await
    }
    async fn delete(&self, name: &BlobName) -> Result<(), StoreError> {
        self.of(name.as_str()).delete(name).await
    }
    async fn lease(&self, name: &BlobName, holder: &Holder) -> Result<Leased, StoreError> {
        self.of(name.as_str()).lease(name, holder).await
    }
    async fn end_lease(&self, name: &BlobName, holder: &Holder) -> Result<(), StoreError> {
        self.of(name.as_str()).end_lease(name, holder).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;

    fn name(text: &str) -> BlobName {
        BlobName::new(text).expect("a name")
    }

    async fn write(store: &dyn Store, text: &str) -> Result<Etag, StoreError> {
        let properties = Properties {
            content_type: "text/plain".into(),
            md5: Md5::digest(b"x").into(),
            metadata: [].into(),
            placement: Default::default(),
        };
        store.put(&name(text), Bytes::from_static(b"x"), &properties, &Condition::IfAbsent).await
    }

    fn apart() -> (Arc<MemoryStore>, Arc<MemoryStore>, Apart) {
        let (blobs, state) = (Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new()));
        (blobs.clone(), state.clone(), Apart::new(blobs, state))
    }

    #[tokio::test]
    async fn a_name_tells_the_place_and_listings_show_both() {
        let (blobs, state, apart) = apart();
        apart.prepare().await.expect("both are new");
        write(&apart, "acme/a.txt").await.expect("written");
        write(&apart, "_blobferry/acme/lock").await.expect("written");
        assert_eq!(blobs.names(), ["_blobferry/state.json", "acme/a.txt"]);
        assert_eq!(state.names(), ["_blobferry/acme/lock", "_blobferry/place.json"]);
        for (prefix, expected) in [
            ("", vec!["_blobferry/acme/lock", "_blobferry/place.json", "acme/a.txt"]),
            ("_", vec!["_blobferry/acme/lock", "_blobferry/place.json"]),
            ("_blobferry/acme/", vec!["_blobferry/acme/lock"]),
            ("acme/", vec!["acme/a.txt"]),
        ] {
            let mut names = Vec::new();
            apart.list(prefix, &mut |info| names.push(info.name)).await.expect("listed");
            assert_eq!(names, expected, "{prefix}");
        }
    }

    #[tokio::test]
    async fn state_among_the_blobs_or_in_a_third_place_is_refused_and_nothing_is_begun() {
        let (blobs, state, apart) = apart();
        write(&*blobs, "_blobferry/_check/probe").await.expect("written");
        write(&*blobs, "_blobferry/acme/ledger/head.json").await.expect("written");
        let error = apart.prepare().await.expect_err("there is state already");
        let why = crate::model::chain(&error);
        assert!(why.contains("`_blobferry/acme/ledger/head.json`"), "{why}");
        assert_eq!(state.names(), Vec::<String>::new());
        blobs.delete(&name("_blobferry/acme/ledger/head.json")).await.expect("removed");
        apart.prepare().await.expect("now it begins");
        apart.prepare().await.expect("and goes on");
        // Another process, and one whose places have other names, find them as they are.
        Apart::new(blobs.clone(), state.clone()).prepare().await.expect("they belong together");
        for other in [Arc::new(MemoryStore::new()), apart_from_others().await] {
            let again = Apart::new(blobs.clone(), other);
            let why = crate::model::chain(&again.prepare().await.expect_err("it is elsewhere"));
            assert!(why.contains("the state of this destination is in `memory"), "{why}");
        }
    }

    /// The state of another destination.
    async fn apart_from_others() -> Arc<MemoryStore> {
        let (_, state, apart) = apart();
        apart.prepare().await.expect("both are new");
        state
    }
}
