//! Leases in memory, by the clock of the runtime: a test that pauses it sees them lapse at once.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::state::{MemoryInner, MemoryOp, refused};
use crate::model::BlobName;
use crate::store::contract::{Lease, StoreError, StoreKind};
use crate::store::holder::Holder;

/// A lease that is held.
pub(crate) struct MemoryLease {
    store: Arc<MemoryInner>,
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
    pub fn new(store: Arc<MemoryInner>, name: &BlobName, holder: &Holder) -> Self {
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
            .call(MemoryOp::Renew, op, name, |state| Ok(state.leases.renew(name, &self.holder)))
            .await?;
        if renewed {
            Ok(())
        } else {
            Err(refused(op, name, StoreKind::Condition, "LeaseIdMismatchWithLeaseOperation (409)"))
        }
    }

    async fn release(self: Box<Self>) -> Result<(), StoreError> {
        let end = |state: &mut crate::store::memory::state::MemoryState| {
            state.leases.end(&self.name, &self.holder);
            Ok(())
        };
        self.store.call(MemoryOp::Release, "giving back the lease", self.name.as_str(), end).await
    }
}
