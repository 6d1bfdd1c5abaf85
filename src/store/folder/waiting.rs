//! Small writes that wait for each other, to reach the disk together.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::store::contract::{Condition, Etag, Properties};
use crate::store::folder::trouble::Trouble;

/// One blob to be written whole.
#[derive(Debug)]
pub struct Put {
    pub name: String,
    pub bytes: Bytes,
    pub properties: Properties,
    pub condition: Condition,
}

/// Writes that wait for a thread.
#[derive(Debug, Default)]
pub(crate) struct FolderWaiting(Mutex<FolderQueue>);

impl FolderWaiting {
    pub fn queue(&self) -> MutexGuard<'_, FolderQueue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next writes that belong together: their names differ. Empty, and one thread less, if
    /// there is none.
    pub fn next(&self) -> Vec<(Put, oneshot::Sender<Result<Etag, Trouble>>)> {
        let mut queue = self.queue();
        let (mut names, mut bytes) = (std::collections::HashSet::new(), 0);
        let mut together = Vec::new();
        let mut later = Vec::new();
        for (put, reply) in queue.puts.drain(..) {
            let fits = together.is_empty()
                || (together.len() < MOST_TOGETHER && bytes + put.bytes.len() <= MOST_BYTES);
            if fits && names.insert(put.name.clone()) {
                bytes += put.bytes.len();
                together.push((put, reply));
            } else {
                later.push((put, reply));
            }
        }
        queue.puts = later;
        // Under the same lock: a write that comes now begins a thread of its own.
        queue.threads -= usize::from(together.is_empty());
        together
    }
}

/// One flush serves this many writes at most: the first of them waits for the last.
pub(crate) const MOST_TOGETHER: usize = 64;

/// And this many bytes: hashing and copying them is work for several threads.
pub(crate) const MOST_BYTES: usize = 8 << 20;

#[derive(Debug, Default)]
pub(crate) struct FolderQueue {
    pub puts: Vec<(Put, oneshot::Sender<Result<Etag, Trouble>>)>,
    pub threads: usize,
}
