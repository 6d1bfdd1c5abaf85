//! Pairs of files of one folder whose names differ in case alone.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use crate::model::RemotePath;

/// Pairs of one source that are looked at, at most.
const MOST_PAIRS: usize = 1_000;

/// Those of a pass.
#[derive(Debug, Default)]
pub struct AlikeNames(Mutex<HashMap<RemotePath, RemotePath>>);

impl AlikeNames {
    /// Two more.
    pub fn add(&self, one: RemotePath, other: RemotePath) {
        let mut pairs = self.pairs();
        if pairs.len() < 2 * MOST_PAIRS {
            pairs.insert(one.clone(), other.clone());
            pairs.insert(other, one);
        }
    }

    /// Whether a file is one of a pair.
    pub fn has(&self, path: &RemotePath) -> bool {
        self.pairs().contains_key(path)
    }

    /// The other one of its pair.
    pub fn other(&self, path: &RemotePath) -> Option<RemotePath> {
        self.pairs().get(path).cloned()
    }

    /// Each pair once.
    pub fn all(&self) -> Vec<(RemotePath, RemotePath)> {
        let pairs = self.pairs();
        let once = pairs.iter().filter(|(one, other)| one < other);
        once.map(|(one, other)| (one.clone(), other.clone())).collect()
    }

    fn pairs(&self) -> MutexGuard<'_, HashMap<RemotePath, RemotePath>> {
        self.0.lock().expect("no code panics while it holds this lock")
    }
}
