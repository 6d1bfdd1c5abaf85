//! Leases in a folder: a lock of the operating system, which goes with the process that holds it;
//! where that holds on one machine alone, a lock file.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::inner::FolderInner;
use super::lock_files::{DEAD, HeldLockFile};
use super::locks::is_missing;
use super::modes;
use super::record::key_of;
use super::trouble::Trouble;
use crate::store::contract::{Lease, Leased, StoreError, StoreKind, Taken};
use crate::store::holder::Holder;

/// Takes the lock, if nobody has it.
pub fn take(inner: &FolderInner, name: &str, holder: &Holder) -> Result<Leased, Trouble> {
    let (shelf, key) = (&inner.shelf, key_of(name));
    match shelf.locks().lease_by_file(&key, holder)? {
        Some(Ok(held)) => {
            let (name, address) = (name.to_owned(), inner.address.clone());
            return Ok(Leased::Held(Box::new(FileLease { held: Arc::new(held), name, address })));
        }
        // On another machine nobody knows whether it lives but by its silence.
        Some(Err(by)) => return Ok(Leased::Taken(Taken { by, outlives: DEAD })),
        None => {}
    }
    // The record is another file: where locks are mandatory, nobody may read the one that is
    // locked.
    let (lock, record) = shelf.lease(&key);
    let file = modes::private().create(true).truncate(false).write(true).open(lock)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let by: Option<Holder> =
                fs::read(&record).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
            return Ok(Leased::Taken(Taken { by, outlives: Duration::ZERO }));
        }
        Err(TryLockError::Error(error)) if is_missing(&error) => {
            shelf.locks().become_files()?;
            return take(inner, name, holder);
        }
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    let text = serde_json::to_vec_pretty(holder).map_err(io::Error::from)?;
    modes::private().create(true).truncate(true).write(true).open(record)?.write_all(&text)?;
    Ok(Leased::Held(Box::new(FolderLease { _lock: file })))
}

/// A lock file, until it is dropped.
#[derive(Debug)]
struct FileLease {
    held: Arc<HeldLockFile>,
    name: String,
    address: String,
}

#[async_trait]
impl Lease for FileLease {
    async fn renew(&self) -> Result<(), StoreError> {
        let held = self.held.clone();
        let failed = |kind, why: crate::model::BoxError| {
            StoreError::new("renewing the lease of", &self.name, &self.address, kind, why)
        };
        match tokio::task::spawn_blocking(move || held.is_ours()).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => {
                let why = "another process took this one for dead and has its lock file now";
                Err(failed(StoreKind::Condition, why.into()))
            }
            Ok(Err(error)) => Err(failed(StoreKind::Unavailable, error.into())),
            Err(panic) => Err(failed(StoreKind::Rejected, panic.into())),
        }
    }

    async fn release(self: Box<Self>) -> Result<(), StoreError> {
        let held = self.held;
        // A panic in there was told by the panic itself; the file lapses.
        drop(tokio::task::spawn_blocking(move || drop(held)).await);
        Ok(())
    }
}

/// A lock that is held until it is dropped.
#[derive(Debug)]
struct FolderLease {
    _lock: File,
}

#[async_trait]
impl Lease for FolderLease {
    async fn renew(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn release(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}
