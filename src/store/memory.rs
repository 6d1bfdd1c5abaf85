//! Blobs in memory, with Azure's real limits and faults by script.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use md5::Digest;

mod lease;
pub mod queue;

use super::contract::{
    BlobInfo, Condition, Etag, Leased, Properties, Store, StoreError, StoreKind, Upload,
};
use super::holder::Holder;
use super::limits;
use crate::model::BlobName;
use crate::store::memory::lease::{Leases, MemoryLease};

/// An operation of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "they are the methods of `Store` and of `Lease`")]
pub enum Op {
    Prepare,
    Head,
    Get,
    Put,
    Stage,
    Commit,
    Append,
    List,
    Delete,
    Lease,
    Renew,
    Release,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Refused with this kind; nothing happened.
    Refused(StoreKind),
    /// Too busy, with a time to wait; nothing happened.
    Busy(Duration),
    /// It happened, but the answer was lost on the way.
    LostReply,
    /// It happens after this time.
    Delay(Duration),
}

/// What was asked of a store so far, failed calls included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "one number per method of `Store` and of `Lease`")]
pub struct Counts {
    pub prepares: u64,
    pub heads: u64,
    pub gets: u64,
    pub puts: u64,
    pub stages: u64,
    pub commits: u64,
    pub appends: u64,
    pub lists: u64,
    pub deletes: u64,
    pub leases: u64,
    pub renewals: u64,
    pub releases: u64,
    /// Bytes that came in by `put`, `stage` and `append`.
    pub bytes: u64,
}

impl Counts {
    fn of(&mut self, op: Op) -> &mut u64 {
        match op {
            Op::Prepare => &mut self.prepares,
            Op::Head => &mut self.heads,
            Op::Get => &mut self.gets,
            Op::Put => &mut self.puts,
            Op::Stage => &mut self.stages,
            Op::Commit => &mut self.commits,
            Op::Append => &mut self.appends,
            Op::List => &mut self.lists,
            Op::Delete => &mut self.deletes,
            Op::Lease => &mut self.leases,
            Op::Renew => &mut self.renewals,
            Op::Release => &mut self.releases,
        }
    }

    /// Requests in all, as Azure would be asked: a lease is two, since who holds it is written down
    /// beside it.
    pub fn requests(&self) -> u64 {
        let blobs = self.heads
            + self.gets
            + self.puts
            + self.stages
            + self.commits
            + self.appends
            + self.lists
            + self.deletes;
        self.prepares + blobs + 2 * self.leases + self.renewals + self.releases
    }
}

/// A container in memory. Every change is atomic, so it is what a race test can trust.
#[derive(Default)]
pub struct MemoryStore {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    missing: bool,
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MemoryStore({} blobs)", self.state().blobs.len())
    }
}

#[derive(Debug, Default)]
struct State {
    blobs: BTreeMap<String, Blob>,
    /// Uncommitted blocks by blob name and block id.
    staged: BTreeMap<String, BTreeMap<String, Bytes>>,
    leases: Leases,
    faults: BTreeMap<Op, VecDeque<(u64, Fault)>>,
    counts: Counts,
    writes: u64,
}

#[derive(Clone, Debug)]
struct Blob {
    content: Content,
    etag: Etag,
    properties: Option<Properties>,
}

#[derive(Clone, Debug)]
enum Content {
    Block(Bytes),
    Append { bytes: BytesMut, appends: u32 },
}

impl Content {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Block(bytes) => bytes,
            Self::Append { bytes, .. } => bytes,
        }
    }
}

const ADDRESS: &str = "memory";

fn refused(
    op: &'static str,
    name: &str,
    kind: StoreKind,
    why: impl Into<crate::model::BoxError>,
) -> StoreError {
    StoreError::new(op, name, ADDRESS, kind, why)
}

impl MemoryStore {
    /// An empty container.
    pub fn new() -> Self {
        Self::default()
    }

    /// A container that does not exist and that nobody may create.
    pub fn missing() -> Self {
        Self { inner: Arc::new(Inner { missing: true, ..Inner::default() }) }
    }

    /// Lets the `nth` call of `op` from now on (1 is the next) fail in this way.
    pub fn fault(&self, op: Op, nth: u64, fault: Fault) {
        let mut state = self.state();
        let call = *state.counts.of(op) + nth;
        state.faults.entry(op).or_default().push_back((call, fault));
    }

    /// What was asked so far.
    pub fn counts(&self) -> Counts {
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

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state()
    }

    async fn call<T>(
        &self,
        op: Op,
        doing: &'static str,
        name: &str,
        work: impl FnOnce(&mut State) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.inner.call(op, doing, name, work).await
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        // No change is left half done by a panic: each is one assignment at its end.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call and plays its fault: before it, the call fails here; after it, the answer is
    /// lost.
    async fn call<T>(
        &self,
        op: Op,
        doing: &'static str,
        name: &str,
        work: impl FnOnce(&mut State) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let fault = self.state().next_fault(op);
        if let Some(Fault::Delay(time)) = fault {
            tokio::time::sleep(time).await;
        }
        match fault {
            Some(Fault::Refused(kind)) => {
                return Err(refused(doing, name, kind, "refused by script"));
            }
            Some(Fault::Busy(wait)) => {
                return Err(refused(doing, name, StoreKind::Unavailable, "busy by script")
                    .after(Some(wait))
                    .without_effect());
            }
            _ if self.missing => {
                return Err(refused(
                    doing,
                    name,
                    StoreKind::NoContainer,
                    "the container does not exist",
                ));
            }
            _ => {}
        }
        let result = work(&mut self.state());
        match fault {
            Some(Fault::LostReply) => {
                Err(refused(doing, name, StoreKind::Unavailable, "the answer was lost by script"))
            }
            _ => result,
        }
    }
}

impl State {
    fn next_fault(&mut self, op: Op) -> Option<Fault> {
        *self.counts.of(op) += 1;
        let call = *self.counts.of(op);
        let faults = self.faults.get_mut(&op)?;
        let index = faults.iter().position(|(nth, _)| *nth == call)?;
        faults.remove(index).map(|(_, fault)| fault)
    }

    fn tag(&mut self) -> Etag {
        self.writes += 1;
        Etag(format!("0x{:016X}", self.writes))
    }

    fn holds(&self, name: &str, condition: &Condition) -> Result<(), &'static str> {
        match (condition, self.blobs.get(name)) {
            (Condition::IfAbsent, Some(_)) => Err("BlobAlreadyExists (409)"),
            (Condition::IfMatch(etag), Some(blob)) if blob.etag != *etag => {
                Err("ConditionNotMet (412)")
            }
            (Condition::IfMatch(_), None) => Err("ConditionNotMet (412): there is no such blob"),
            _ => Ok(()),
        }
    }

    fn write(&mut self, name: &str, bytes: Bytes, properties: &Properties) -> Etag {
        let etag = self.tag();
        let blob = Blob {
            content: Content::Block(bytes),
            etag: etag.clone(),
            properties: Some(properties.clone()),
        };
        self.blobs.insert(name.to_owned(), blob);
        // As in Azure: a write under a name drops everybody's uncommitted blocks of that name.
        self.staged.remove(name);
        etag
    }
}

fn info(name: &str, blob: &Blob) -> BlobInfo {
    let properties = blob.properties.as_ref();
    BlobInfo {
        name: name.to_owned(),
        size: blob.content.bytes().len() as u64,
        etag: blob.etag.clone(),
        md5: properties.map(|properties| properties.md5),
        metadata: properties.map(|properties| properties.metadata.clone()).unwrap_or_default(),
        content_type: Some(properties.map_or_else(
            || "application/octet-stream".to_owned(),
            |properties| properties.content_type.clone(),
        )),
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn address(&self) -> &str {
        ADDRESS
    }

    async fn prepare(&self) -> Result<(), StoreError> {
        self.call(Op::Prepare, "opening", "container", |_| Ok(())).await
    }

    async fn head(&self, name: &BlobName) -> Result<Option<BlobInfo>, StoreError> {
        let name = name.as_str();
        self.call(Op::Head, "looking at", name, |state| {
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
        self.call(Op::Get, op, name, |state| {
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
        self.call(Op::Put, op, name, |state| {
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
        self.call(Op::Stage, op, name, |state| {
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
        self.call(Op::Commit, op, name, |state| {
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
        self.call(Op::Append, op, name, |state| {
            state.counts.bytes += bytes.len() as u64;
            limits::check_append(bytes.len())
                .map_err(|why| refused(op, name, StoreKind::Rejected, why))?;
            let etag = state.tag();
            if position == 0 {
                let empty = Content::Append { bytes: BytesMut::new(), appends: 0 };
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
            let Content::Append { bytes: content, appends } = &mut blob.content else {
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
            if *appends >= limits::MAX_APPENDS {
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
            .call(Op::List, "listing", prefix, |state| {
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
        self.call(Op::Delete, "removing", name.as_str(), |state| {
            state.blobs.remove(name.as_str());
            Ok(())
        })
        .await
    }

    async fn lease(&self, name: &BlobName, holder: &Holder) -> Result<Leased, StoreError> {
        let taken = self
            .call(Op::Lease, "leasing", name.as_str(), |state| Ok(state.leases.take(name, holder)))
            .await?;
        Ok(match taken {
            None => Leased::Held(Box::new(MemoryLease::new(self.inner.clone(), name, holder))),
            Some(taken) => Leased::Taken(taken),
        })
    }

    async fn end_lease(&self, name: &BlobName, holder: &Holder) -> Result<(), StoreError> {
        self.call(Op::Release, "ending the lease", name.as_str(), |state| {
            state.leases.end(name, holder);
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests;
