//! What a store in memory holds, and the faults that it plays.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use crate::model::BlobName;
use crate::store::contract::{BlobInfo, Condition, Etag, Properties, StoreError, StoreKind};
use crate::store::contract::{LEASE, Taken};
use crate::store::holder::Holder;

/// An operation of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "they are the methods of `Store` and of `Lease`")]
pub enum MemoryOp {
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
pub enum MemoryFault {
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
pub struct MemoryCounts {
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

impl MemoryCounts {
    pub(super) fn of(&mut self, op: MemoryOp) -> &mut u64 {
        match op {
            MemoryOp::Prepare => &mut self.prepares,
            MemoryOp::Head => &mut self.heads,
            MemoryOp::Get => &mut self.gets,
            MemoryOp::Put => &mut self.puts,
            MemoryOp::Stage => &mut self.stages,
            MemoryOp::Commit => &mut self.commits,
            MemoryOp::Append => &mut self.appends,
            MemoryOp::List => &mut self.lists,
            MemoryOp::Delete => &mut self.deletes,
            MemoryOp::Lease => &mut self.leases,
            MemoryOp::Renew => &mut self.renewals,
            MemoryOp::Release => &mut self.releases,
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

#[derive(Default)]
pub(crate) struct MemoryInner {
    pub state: Mutex<MemoryState>,
    pub missing: bool,
}

#[derive(Debug, Default)]
pub(crate) struct MemoryState {
    pub blobs: BTreeMap<String, Blob>,
    /// Uncommitted blocks by blob name and block id.
    pub staged: BTreeMap<String, BTreeMap<String, Bytes>>,
    pub leases: Leases,
    pub faults: BTreeMap<MemoryOp, VecDeque<(u64, MemoryFault)>>,
    pub counts: MemoryCounts,
    pub writes: u64,
}

#[derive(Clone, Debug)]
pub struct Blob {
    pub content: MemoryContent,
    pub etag: Etag,
    pub properties: Option<Properties>,
}

#[derive(Clone, Debug)]
pub(crate) enum MemoryContent {
    Block(Bytes),
    Append { bytes: BytesMut, appends: u32 },
}

impl MemoryContent {
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Block(bytes) => bytes,
            Self::Append { bytes, .. } => bytes,
        }
    }
}

pub const ADDRESS: &str = "memory";

pub fn refused(
    op: &'static str,
    name: &str,
    kind: StoreKind,
    why: impl Into<crate::model::BoxError>,
) -> StoreError {
    StoreError::new(op, name, ADDRESS, kind, why)
}

impl MemoryInner {
    pub fn state(&self) -> MutexGuard<'_, MemoryState> {
        // No change is left half done by a panic: each is one assignment at its end.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call and plays its fault: before it, the call fails here; after it, the answer is
    /// lost.
    pub async fn call<T>(
        &self,
        op: MemoryOp,
        doing: &'static str,
        name: &str,
        work: impl FnOnce(&mut MemoryState) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let fault = self.state().next_fault(op);
        if let Some(MemoryFault::Delay(time)) = fault {
            tokio::time::sleep(time).await;
        }
        match fault {
            Some(MemoryFault::Refused(kind)) => {
                return Err(refused(doing, name, kind, "refused by script"));
            }
            Some(MemoryFault::Busy(wait)) => {
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
            Some(MemoryFault::LostReply) => {
                Err(refused(doing, name, StoreKind::Unavailable, "the answer was lost by script"))
            }
            _ => result,
        }
    }
}

impl MemoryState {
    pub(crate) fn next_fault(&mut self, op: MemoryOp) -> Option<MemoryFault> {
        *self.counts.of(op) += 1;
        let call = *self.counts.of(op);
        let faults = self.faults.get_mut(&op)?;
        let index = faults.iter().position(|(nth, _)| *nth == call)?;
        faults.remove(index).map(|(_, fault)| fault)
    }

    pub fn tag(&mut self) -> Etag {
        self.writes += 1;
        Etag(format!("0x{:016X}", self.writes))
    }

    pub fn holds(&self, name: &str, condition: &Condition) -> Result<(), &'static str> {
        match (condition, self.blobs.get(name)) {
            (Condition::IfAbsent, Some(_)) => Err("BlobAlreadyExists (409)"),
            (Condition::IfMatch(etag), Some(blob)) if blob.etag != *etag => {
                Err("ConditionNotMet (412)")
            }
            (Condition::IfMatch(_), None) => Err("ConditionNotMet (412): there is no such blob"),
            _ => Ok(()),
        }
    }

    pub fn write(&mut self, name: &str, bytes: Bytes, properties: &Properties) -> Etag {
        let etag = self.tag();
        let blob = Blob {
            content: MemoryContent::Block(bytes),
            etag: etag.clone(),
            properties: Some(properties.clone()),
        };
        self.blobs.insert(name.to_owned(), blob);
        // As in Azure: a write under a name drops everybody's uncommitted blocks of that name.
        self.staged.remove(name);
        etag
    }
}

pub fn info(name: &str, blob: &Blob) -> BlobInfo {
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

/// Who holds what until when.
#[derive(Debug, Default)]
pub struct Leases(BTreeMap<String, (Holder, Instant)>);

impl Leases {
    /// Gives the lease to `holder`, or tells whose it is.
    pub fn take(&mut self, name: &BlobName, holder: &Holder) -> Option<Taken> {
        let now = Instant::now();
        match self.0.get(name.as_str()) {
            Some((by, until)) if by.run != holder.run && *until > now => {
                Some(Taken { by: Some(by.clone()), outlives: LEASE })
            }
            _ => {
                self.0.insert(name.as_str().to_owned(), (holder.clone(), now + LEASE));
                None
            }
        }
    }

    /// Whether it was that of `holder` until now, and is for another while.
    pub fn renew(&mut self, name: &str, holder: &Holder) -> bool {
        let now = Instant::now();
        // Azure renews a lease that has lapsed, too, if nobody took it meanwhile.
        let ours = self.0.get_mut(name).filter(|(by, _)| by.run == holder.run);
        ours.map(|(_, until)| *until = now + LEASE).is_some()
    }

    /// Ends the lease if it is that of `holder`.
    pub fn end(&mut self, name: &BlobName, holder: &Holder) {
        if self.0.get(name.as_str()).is_some_and(|(by, _)| by.run == holder.run) {
            self.0.remove(name.as_str());
        }
    }
}
