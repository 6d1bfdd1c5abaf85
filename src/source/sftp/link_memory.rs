//! Where the folders of a source really are, as far as links made it worth asking.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::RemotePath;

/// So many folders are remembered.
const MOST_REMEMBERED: usize = 10_000;

/// What following the links of a login takes.
#[derive(Debug)]
pub struct FollowedLinks {
    /// The folder of the URL.
    pub root: RemotePath,
    /// Where folders really are.
    real: Mutex<HashMap<RemotePath, Vec<u8>>>,
}

impl FollowedLinks {
    /// Of a source whose listing begins at `root`.
    pub fn below(root: RemotePath) -> Self {
        Self { root, real: Mutex::default() }
    }

    fn real(&self) -> MutexGuard<'_, HashMap<RemotePath, Vec<u8>>> {
        self.real.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where `dir` really is, if it was asked for before.
    pub fn known(&self, dir: &RemotePath) -> Option<Vec<u8>> {
        self.real().get(dir).cloned()
    }

    /// Remembers where `dir` really is.
    pub fn remember(&self, dir: &RemotePath, real: &[u8]) {
        let mut known = self.real();
        if known.len() < MOST_REMEMBERED {
            known.insert(dir.clone(), real.to_vec());
        }
    }
}
