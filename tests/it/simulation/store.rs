//! The store as one process sees it, with the witness behind it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use blobferry::model::BlobName;
use blobferry::store::contract::{
    BlobInfo, Condition, Etag, Lease, Leased, Properties, Store, StoreError, StoreKind, Upload,
};
use blobferry::store::holder::Holder;
use bytes::Bytes;
use tokio::time::sleep;

use super::mutants::{self, Mutant, is_users, made_up};
use super::process::{Owed, Process, Sim};
use super::witness;

/// The store of one process.
pub struct SimStore {
    pub sim: Arc<Sim>,
    pub process: Arc<Process>,
}

impl std::fmt::Debug for SimStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SimStore")
    }
}

fn lost(op: &'static str, name: &str) -> StoreError {
    StoreError::new(op, name, "simulation", StoreKind::Unavailable, "there is no answer")
}

impl SimStore {
    async fn call<T: Send + 'static>(
        &self,
        op: &'static str,
        name: &str,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.process.call(&self.sim, &format!("{op} {name}"), || lost(op, name), work).await
    }
}

/// Writes a blob and lets the witness look at it.
pub async fn effect_put(
    sim: &Arc<Sim>,
    process: &Arc<Process>,
    name: BlobName,
    bytes: Bytes,
    properties: Properties,
    condition: Condition,
) -> Result<Etag, StoreError> {
    let condition = match sim.mutant {
        Some(mutant) => mutant.condition(sim, &name, condition).await,
        None => condition,
    };
    let before = witness::before(sim, &name).await;
    let etag = sim.store.put(&name, bytes, &properties, &condition).await?;
    written(sim, process, &name, before).await;
    Ok(etag)
}

async fn written(
    sim: &Arc<Sim>,
    process: &Arc<Process>,
    name: &BlobName,
    before: Option<(BlobInfo, Bytes)>,
) {
    witness::written(sim, name, before).await;
    if sim.mutant == Some(Mutant::DeleteBeforeRecord) && is_users(name) {
        witness::remove_what_is_stored(sim, name).await;
    }
    if sim.mutant == Some(Mutant::PieceBeforeJournal) && name.as_str().contains("/result-") {
        Box::pin(mutants::settle(sim, process)).await;
    }
}

#[async_trait]
impl Store for SimStore {
    fn address(&self) -> &str {
        "simulation"
    }
    async fn prepare(&self) -> Result<(), StoreError> {
        let store = self.sim.store.clone();
        self.call("opening", "container", async move { store.prepare().await }).await
    }
    async fn head(&self, name: &BlobName) -> Result<Option<BlobInfo>, StoreError> {
        let (store, at) = (self.sim.store.clone(), name.clone());
        self.call("looking at", name.as_str(), async move { store.head(&at).await }).await
    }
    async fn get(
        &self,
        name: &BlobName,
        start: u64,
        max_bytes: u64,
    ) -> Result<Option<(BlobInfo, Bytes)>, StoreError> {
        let (store, at) = (self.sim.store.clone(), name.clone());
        self.call("reading", name.as_str(), async move { store.get(&at, start, max_bytes).await })
            .await
    }
    async fn put(
        &self,
        name: &BlobName,
        bytes: Bytes,
        properties: &Properties,
        condition: &Condition,
    ) -> Result<Etag, StoreError> {
        let name = self
            .sim
            .mutant
            .map_or_else(|| name.clone(), |mutant| mutant.name(&self.sim, name.clone()));
        if self.sim.mutant == Some(Mutant::RecordFirst) && is_users(&name) {
            self.process.owed.lock().unwrap().push(Owed::Blob(name, bytes, properties.clone()));
            return Ok(made_up());
        }
        let (sim, process, at) = (self.sim.clone(), self.process.clone(), name.clone());
        let (properties, condition) = (properties.clone(), condition.clone());
        self.call("writing", name.as_str(), async move {
            effect_put(&sim, &process, at, bytes, properties, condition).await
        })
        .await
    }
    async fn stage(&self, upload: &Upload, index: u32, bytes: Bytes) -> Result<(), StoreError> {
        let (store, of) = (self.sim.store.clone(), upload.clone());
        self.call("staging a block of", upload.name.as_str(), async move {
            store.stage(&of, index, bytes).await
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
        let (sim, process, of) = (self.sim.clone(), self.process.clone(), upload.clone());
        let (properties, condition) = (properties.clone(), condition.clone());
        let work = async move {
            let before = witness::before(&sim, &of.name).await;
            let etag = sim.store.commit(&of, blocks, &properties, &condition).await?;
            written(&sim, &process, &of.name, before).await;
            Ok(etag)
        };
        self.call("committing", upload.name.as_str(), work).await
    }
    async fn abandon(&self, upload: &Upload) {
        let (store, of) = (self.sim.store.clone(), upload.clone());
        let work = async move {
            store.abandon(&of).await;
            Ok(())
        };
        drop(self.call("giving up", upload.name.as_str(), work).await);
    }
    async fn append(
        &self,
        name: &BlobName,
        bytes: Bytes,
        position: u64,
    ) -> Result<u64, StoreError> {
        let mutant = self.sim.mutant;
        if mutant == Some(Mutant::PieceBeforeJournal)
            && position > 0
            && mutants::owes(&self.process, name, &bytes)
        {
            let end = position + bytes.len() as u64;
            self.process.owed.lock().unwrap().push(Owed::Lines(name.clone(), bytes));
            return Ok(end);
        }
        let (sim, process, at) = (self.sim.clone(), self.process.clone(), name.clone());
        let work = async move {
            if mutant == Some(Mutant::BlindAppend)
                && position > 0
                && let Some(end) = mutants::append_at_end(&sim, at.clone(), bytes.clone()).await
            {
                return Ok(end);
            }
            let end = sim.store.append(&at, bytes.clone(), position).await?;
            witness::appended(&sim, &at, &bytes);
            if mutant == Some(Mutant::RecordFirst) {
                mutants::settle(&sim, &process).await;
            }
            Ok(end)
        };
        self.call("appending to", name.as_str(), work).await
    }
    async fn list(
        &self,
        prefix: &str,
        visit: &mut (dyn FnMut(BlobInfo) + Send),
    ) -> Result<(), StoreError> {
        let (store, below) = (self.sim.store.clone(), prefix.to_owned());
        let work = async move {
            let mut found = Vec::new();
            store.list(&below, &mut |info| found.push(info)).await.map(|()| found)
        };
        self.call("listing", prefix, work).await?.into_iter().for_each(visit);
        Ok(())
    }
    async fn delete(&self, name: &BlobName) -> Result<(), StoreError> {
        let (sim, at) = (self.sim.clone(), name.clone());
        let work = async move {
            if is_users(&at) {
                sim.violation(format!("I7: `{}` was removed", at.as_str()));
            }
            sim.store.delete(&at).await
        };
        self.call("removing", name.as_str(), work).await
    }

    async fn lease(&self, name: &BlobName, holder: &Holder) -> Result<Leased, StoreError> {
        if self.sim.happens(self.sim.knobs.leases) {
            self.sim.count("leases denied");
            return Err(StoreError::new(
                "leasing",
                name.as_str(),
                "simulation",
                StoreKind::Denied,
                "no leases here",
            ));
        }
        let (store, at, by) = (self.sim.store.clone(), name.clone(), holder.clone());
        // Who dies with the answer under way holds it all the same, so nothing here gives it back.
        let work = async move { store.lease(&at, &by).await.map(std::mem::ManuallyDrop::new) };
        let leased =
            std::mem::ManuallyDrop::into_inner(self.call("leasing", name.as_str(), work).await?);
        Ok(match leased {
            Leased::Held(lease) => {
                if self.sim.happens(self.sim.knobs.leases) {
                    self.takes_away(name.clone(), holder.clone());
                }
                Leased::Held(Box::new(SimLease {
                    lease: Some(lease),
                    sim: self.sim.clone(),
                    process: self.process.clone(),
                    name: name.clone(),
                }))
            }
            // All processes of a simulation are one: whether another lives can be told only now and
            // then.
            Leased::Taken(mut taken) => {
                if self.sim.chance.below(2) == 0 {
                    taken.by = None;
                }
                Leased::Taken(taken)
            }
        })
    }
    async fn end_lease(&self, name: &BlobName, holder: &Holder) -> Result<(), StoreError> {
        let (store, at, by) = (self.sim.store.clone(), name.clone(), holder.clone());
        self.call("ending the lease", name.as_str(), async move { store.end_lease(&at, &by).await })
            .await
    }
}

impl SimStore {
    /// The lease is lost some time later.
    fn takes_away(&self, name: BlobName, holder: Holder) {
        self.sim.count("leases taken away");
        let (store, after) =
            (self.sim.store.clone(), Duration::from_millis(self.sim.chance.below(30_000)));
        tokio::spawn(async move {
            sleep(after).await;
            drop(store.end_lease(&name, &holder).await);
        });
    }
}

struct SimLease {
    lease: Option<Box<dyn Lease>>,
    sim: Arc<Sim>,
    process: Arc<Process>,
    name: BlobName,
}

impl std::fmt::Debug for SimLease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SimLease({})", self.name.as_str())
    }
}

impl Drop for SimLease {
    fn drop(&mut self) {
        // A killed process gives nothing back.
        if self.process.is_dead() {
            std::mem::forget(self.lease.take());
        }
    }
}

#[async_trait]
impl Lease for SimLease {
    async fn renew(&self) -> Result<(), StoreError> {
        let ready = async { Ok(()) };
        self.process
            .call(
                &self.sim,
                &format!("renewing {}", self.name.as_str()),
                || lost("renewing", self.name.as_str()),
                ready,
            )
            .await?;
        match &self.lease {
            Some(lease) => lease.renew().await,
            None => Ok(()),
        }
    }
    async fn release(mut self: Box<Self>) -> Result<(), StoreError> {
        let ready = async { Ok(()) };
        self.process
            .call(
                &self.sim,
                &format!("giving back {}", self.name.as_str()),
                || lost("giving back", self.name.as_str()),
                ready,
            )
            .await?;
        match self.lease.take() {
            Some(lease) => lease.release().await,
            None => Ok(()),
        }
    }
}
