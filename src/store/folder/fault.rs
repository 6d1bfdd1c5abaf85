//! What an error of the destination's file system means, and what to do about it.

use std::io::{self, ErrorKind};

use crate::store::contract::{StoreError, StoreKind};

const NO_ROOM: &str = "the destination's file system is full, by bytes, by files (inodes) or by \
    quota: make room";
const BROKEN: &str = "the destination's file system reports an error: see `dmesg`, its disk and, \
    if it is a share, its server and its mount";
const READ_ONLY: &str = "the destination's file system is mounted for reading only: see `dmesg` \
    for why, and mount it for writing";
const RIGHTS: &str = "the destination folder, or something in it, may not be read or written by \
    this user: see its owner and its rights";
const NAME: &str = "the destination's file system cannot hold this name: its message says why";
const LOCKED: &str = "the lock on this name was not to be had: its message says who has it";

/// The error of a step on the blob or prefix `name`.
pub fn fail(op: &'static str, name: &str, address: &str, error: io::Error) -> StoreError {
    let (kind, hint) = match error.kind() {
        ErrorKind::PermissionDenied => (StoreKind::Denied, RIGHTS),
        ErrorKind::ReadOnlyFilesystem => (StoreKind::Denied, READ_ONLY),
        ErrorKind::InvalidFilename | ErrorKind::InvalidInput => (StoreKind::Rejected, NAME),
        ErrorKind::ResourceBusy => (StoreKind::Rejected, LOCKED),
        ErrorKind::AlreadyExists => (StoreKind::Condition, ""),
        // Missing are only the folders that `prepare` makes.
        ErrorKind::NotFound => (StoreKind::NoContainer, ""),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => (StoreKind::Unavailable, NO_ROOM),
        ErrorKind::TimedOut => (StoreKind::Unavailable, LOCKED),
        _ => (StoreKind::Unavailable, BROKEN),
    };
    StoreError::new(op, name, address, kind, error).with_hint(hint)
}
