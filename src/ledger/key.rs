//! The key of a path in the ledger.

use sha2::{Digest, Sha256};

use crate::model::RemotePath;

/// The first bytes of a path's SHA-256.
pub type Key = [u8; 16];

/// The key of `path`.
pub fn key(path: &RemotePath) -> Key {
    let mut key = [0; 16];
    key.copy_from_slice(&Sha256::digest(path.as_bytes())[..16]);
    key
}
