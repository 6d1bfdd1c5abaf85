//! What an error of the destination's file system means, and what to do about it.

use std::io::{self, ErrorKind};

use crate::store::contract::{StoreError, StoreKind};

/// What a folder is for, as hints call it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum FolderUse {
    /// Users' blobs, and the state among them.
    #[default]
    Destination,
    /// The state alone, in a place of its own.
    State,
}

const NO_ROOM: &str = "the destination's file system is full, by bytes, by files (inodes) or by \
    quota: make room";
const NO_ROOM_FOR_STATE: &str = "the file system that `[state]` names is full, by bytes, by files \
    (inodes) or by quota: make room there; the destination is another place";
const GONE: &str = "the destination folder was there when the run began and is gone: mount its \
    file system, or put it back, then run again";
const STATE_GONE: &str = "the folder that `[state]` names was there when the run began and is \
    gone: mount its file system, or put it back, then run again";
const STATE_BROKEN: &str = "the file system that `[state]` names reports an error: see `dmesg`, \
    its disk and, if it is a share, its server and its mount";
const STATE_READ_ONLY: &str = "the file system that `[state]` names is mounted for reading only: \
    see `dmesg` for why, and mount it for writing";
const STATE_RIGHTS: &str = "the folder that `[state]` names, or something in it, may not be read \
    or written by this user: see its owner and its rights";
const BROKEN: &str = "the destination's file system reports an error: see `dmesg`, its disk and, \
    if it is a share, its server and its mount";
const READ_ONLY: &str = "the destination's file system is mounted for reading only: see `dmesg` \
    for why, and mount it for writing";
const RIGHTS: &str = "the destination folder, or something in it, may not be read or written by \
    this user: see its owner and its rights";
const NAME: &str = "the destination's file system cannot hold this name: its message says why";
const LOCKED: &str = "the lock on this name was not to be had: its message says who has it";

/// The error of a step on the blob or prefix `name`.
pub fn fail(
    op: &'static str,
    name: &str,
    address: &str,
    used_for: FolderUse,
    error: io::Error,
) -> StoreError {
    let (kind, hint) = meaning(error.kind());
    let hint = match used_for {
        FolderUse::Destination => hint,
        FolderUse::State => for_state(hint),
    };
    StoreError::new(op, name, address, kind, error).with_hint(hint)
}

/// The same advice about the folder that holds the state.
fn for_state(hint: &'static str) -> &'static str {
    match hint {
        NO_ROOM => NO_ROOM_FOR_STATE,
        BROKEN => STATE_BROKEN,
        GONE => STATE_GONE,
        READ_ONLY => STATE_READ_ONLY,
        RIGHTS => STATE_RIGHTS,
        hint => hint,
    }
}

fn meaning(kind: ErrorKind) -> (StoreKind, &'static str) {
    match kind {
        ErrorKind::PermissionDenied => (StoreKind::Denied, RIGHTS),
        ErrorKind::ReadOnlyFilesystem => (StoreKind::Denied, READ_ONLY),
        ErrorKind::InvalidFilename | ErrorKind::InvalidInput => (StoreKind::Rejected, NAME),
        ErrorKind::ResourceBusy => (StoreKind::Rejected, LOCKED),
        ErrorKind::AlreadyExists => (StoreKind::Condition, ""),
        // Missing are only the folders that `prepare` makes.
        ErrorKind::NotFound => (StoreKind::NoContainer, GONE),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => (StoreKind::Unavailable, NO_ROOM),
        ErrorKind::TimedOut => (StoreKind::Unavailable, LOCKED),
        _ => (StoreKind::Unavailable, BROKEN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::failure::Failure;

    #[test]
    fn a_full_disk_of_the_state_is_not_taken_for_the_destinations() {
        for kind in [
            ErrorKind::StorageFull,
            ErrorKind::QuotaExceeded,
            ErrorKind::PermissionDenied,
            ErrorKind::ReadOnlyFilesystem,
            ErrorKind::NotFound,
            ErrorKind::Other,
        ] {
            let told = |used_for| fail("writing", "a", "/mnt/state", used_for, kind.into());
            let (blobs, state) = (told(FolderUse::Destination), told(FolderUse::State));
            assert!(blobs.hint().starts_with("the destination"), "{kind}: {}", blobs.hint());
            assert!(state.hint().contains("`[state]` names"), "{kind}: {}", state.hint());
            assert!(!state.hint().contains("destination's"), "{kind}: {}", state.hint());
            assert!(state.to_string().contains("/mnt/state"), "{state}");
        }
    }
}
