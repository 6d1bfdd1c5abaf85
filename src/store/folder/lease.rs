//! Leases in a folder: a lock of the operating system, which goes with the process that holds it.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::time::Duration;

use async_trait::async_trait;

use super::modes;
use super::record::{FolderShelf, key_of};
use super::trouble::Trouble;
use crate::store::contract::{Lease, Leased, StoreError, Taken};
use crate::store::holder::Holder;

/// Takes the lock, if nobody has it.
pub fn take(shelf: &FolderShelf, name: &str, holder: &Holder) -> Result<Leased, Trouble> {
    // The record is another file: where locks are mandatory, nobody may read the one that is
    // locked.
    let (lock, record) = shelf.lease(&key_of(name));
    let file = modes::private().create(true).truncate(false).write(true).open(lock)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let by: Option<Holder> =
                fs::read(&record).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
            return Ok(Leased::Taken(Taken { by, outlives: Duration::ZERO }));
        }
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    let text = serde_json::to_vec_pretty(holder).map_err(io::Error::from)?;
    modes::private().create(true).truncate(true).write(true).open(record)?.write_all(&text)?;
    Ok(Leased::Held(Box::new(FolderLease { _lock: file })))
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
