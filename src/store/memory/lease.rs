//! Leases in memory, by the clock of the runtime: a test that pauses it sees them lapse at once.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;

use super::{Inner, Op, refused};
use crate::model::BlobName;
use crate::store::contract::{LEASE, Lease, StoreError, StoreKind, Taken};
use crate::store::holder::Holder;

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
    fn renew(&mut self, name: &str, holder: &Holder) -> bool {
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

/// A lease that is held.
pub struct MemoryLease {
    store: Arc<Inner>,
    name: BlobName,
    holder: Holder,
}

impl fmt::Debug for MemoryLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryLease({})", self.name)
    }
}

impl MemoryLease {
    /// Of what was just given to `holder`.
    pub fn new(store: Arc<Inner>, name: &BlobName, holder: &Holder) -> Self {
        Self { store, name: name.clone(), holder: holder.clone() }
    }
}

impl Drop for MemoryLease {
    fn drop(&mut self) {
        self.store.state().leases.end(&self.name, &self.holder);
    }
}

#[async_trait]
impl Lease for MemoryLease {
    async fn renew(&self) -> Result<(), StoreError> {
        let (op, name) = ("renewing the lease", self.name.as_str());
        let renewed = self
            .store
            .call(Op::Renew, op, name, |state| Ok(state.leases.renew(name, &self.holder)))
            .await?;
        if renewed {
            Ok(())
        } else {
            Err(refused(op, name, StoreKind::Condition, "LeaseIdMismatchWithLeaseOperation (409)"))
        }
    }

    async fn release(self: Box<Self>) -> Result<(), StoreError> {
        let end = |state: &mut super::State| {
            state.leases.end(&self.name, &self.holder);
            Ok(())
        };
        self.store.call(Op::Release, "giving back the lease", self.name.as_str(), end).await
    }
}
