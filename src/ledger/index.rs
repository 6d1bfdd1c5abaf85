//! What the records say, by path, in memory.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use crate::ledger::record::Record;
use crate::model::RemotePath;
use crate::plan::{Known, Seen};

type Key = [u8; 16];

/// The latest record of each path. Paths are kept as hashes: a million of them are to fit.
#[derive(Debug, Default)]
pub struct Index {
    known: HashMap<Key, Known>,
    seen: HashMap<Key, Seen>,
    /// Runs that began and did not end, in the order in which they began.
    open_runs: Vec<String>,
}

fn key(path: &RemotePath) -> Key {
    let mut key = [0; 16];
    key.copy_from_slice(&Sha256::digest(path.as_bytes())[..16]);
    key
}

impl Index {
    /// Takes in a record. The same record twice changes nothing.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Schema { .. } => {}
            Record::Begin { run, .. } => {
                self.open_runs.push(run.clone());
            }
            Record::End { run } => {
                // A run that ended has also looked after what died before it began.
                if let Some(began) = self.open_runs.iter().position(|open| open == run) {
                    self.open_runs.drain(..=began);
                }
            }
            Record::File(file) => {
                let Some((path, known)) = file.known() else { return };
                self.seen.remove(&key(&path));
                self.known.insert(key(&path), known);
            }
            Record::Seen(seen) => {
                if let Some(sighting) = seen.sighting() {
                    self.seen.insert(key(&sighting.file.path), sighting);
                }
            }
        }
    }

    /// What was ingested last from `path`.
    pub fn known(&self, path: &RemotePath) -> Option<&Known> {
        self.known.get(&key(path))
    }

    /// The last sighting of `path` that was not followed by its ingestion.
    pub fn seen(&self, path: &RemotePath) -> Option<&Seen> {
        self.seen.get(&key(path))
    }

    /// How many paths are known.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Whether a run began and did not end.
    pub fn unclean(&self) -> bool {
        !self.open_runs.is_empty()
    }
}
