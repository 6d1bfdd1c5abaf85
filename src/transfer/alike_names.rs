//! Pairs of files of one folder whose names differ in case alone.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard};

use crate::model::RemotePath;
use crate::rules::plan::known::Known;

/// Pairs of one source that are looked at, at most.
const MOST_PAIRS: usize = 1_000;

/// The other file of a pair, and what earlier runs know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherName {
    /// Its path.
    pub path: RemotePath,
    /// With the MD5 of its bytes; `None`: it is not stored.
    pub known: Option<Known>,
}

/// Those of a pass.
#[derive(Debug, Default)]
pub struct AlikeNames {
    pairs: Mutex<HashMap<RemotePath, RemotePath>>,
    /// What is known of those that the ledger of this pass does not tell of.
    told: Mutex<HashMap<RemotePath, Known>>,
    /// Those that the server did not show any more once they were read.
    unseen: Mutex<HashSet<RemotePath>>,
}

impl AlikeNames {
    /// Two more.
    pub fn add(&self, one: RemotePath, other: RemotePath) {
        let mut pairs = self.pairs();
        if pairs.len() < 2 * MOST_PAIRS {
            pairs.insert(one.clone(), other.clone());
            pairs.insert(other, one);
        }
    }

    /// One more pair, of which the ledger of this pass may know one file only: a piece reads its
    /// own journal alone.
    pub(crate) fn add_told(&self, one: RemotePath, other: OtherName) {
        if let Some(known) = other.known {
            self.known_by_path().insert(other.path.clone(), known);
        }
        self.add(one, other.path);
    }

    /// What is known of a file of a pair, with the MD5 of its bytes, beside the ledger.
    pub(crate) fn note(&self, path: RemotePath, known: Known) {
        self.known_by_path().insert(path, known);
    }

    /// What was told of a file beside the ledger.
    pub(crate) fn known(&self, path: &RemotePath) -> Option<Known> {
        self.known_by_path().get(path).cloned()
    }

    /// Notes that the server did not show a file of a pair any more once it was read, so that no
    /// description confirms whose bytes came.
    pub(crate) fn note_unseen(&self, path: &RemotePath) {
        if self.has(path) {
            self.unseen_paths().insert(path.clone());
        }
    }

    /// Whether the server did not show a file any more once this pass had read it.
    pub(crate) fn is_unseen(&self, path: &RemotePath) -> bool {
        self.unseen_paths().contains(path)
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

    fn known_by_path(&self) -> MutexGuard<'_, HashMap<RemotePath, Known>> {
        self.told.lock().expect("no code panics while it holds this lock")
    }

    fn unseen_paths(&self) -> MutexGuard<'_, HashSet<RemotePath>> {
        self.unseen.lock().expect("no code panics while it holds this lock")
    }

    fn pairs(&self) -> MutexGuard<'_, HashMap<RemotePath, RemotePath>> {
        self.pairs.lock().expect("no code panics while it holds this lock")
    }
}
