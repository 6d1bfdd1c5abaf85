//! Walks a source's tree, several folders at a time, and tells what it finds.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::failure::Class;
use crate::model::RemotePath;
use crate::retry::{Policy, retry};
use crate::source::contract::{Listed, Op, SourceError};
use crate::source::pool::Pool;

/// Entries that are handed on together: a folder may hold more than fits into memory.
const BATCH: usize = 1024;

/// What a walk tells.
#[derive(Debug)]
pub enum Found {
    /// An entry that is no directory.
    Entry(Listed),
    /// A folder could not be listed to its end; what is below it is unknown.
    Unlisted(RemotePath, SourceError),
    /// A folder lies deeper than [`Walk::depth`].
    TooDeep(RemotePath),
    /// There are more than [`Walk::most`] entries; the walk has ended.
    TooMany,
}

/// How to walk.
pub struct Walk {
    /// The source's sessions.
    pub pool: Arc<Pool>,
    /// Where to begin.
    pub root: RemotePath,
    /// Whether anything below this directory can be wanted.
    pub enter: Arc<dyn Fn(&RemotePath) -> bool + Send + Sync>,
    /// Folders listed at once.
    pub parallel: usize,
    /// Folders in folders below the root.
    pub depth: usize,
    /// Entries in all, at most.
    pub most: u64,
    /// How stubborn to be with a folder.
    pub policy: Policy,
    /// Stops the walk.
    pub cancel: CancellationToken,
}

impl Walk {
    /// Sends everything below the root, in no particular order of folders; what a folder holds while it is being listed.
    /// Ends early when the receiver is gone or the walk is cancelled.
    pub async fn run(self, found: mpsc::Sender<Vec<Found>>) {
        let mut waiting = vec![(self.root.clone(), 0)];
        let mut listing = JoinSet::new();
        let mut in_hand = HashMap::new();
        let (batches, mut listed) = mpsc::channel(self.parallel * 2);
        let mut count = 0;
        loop {
            while listing.len() < self.parallel {
                let Some((dir, depth)) = waiting.pop() else { break };
                let batches = Batches { depth, to: batches.clone(), entries: Vec::new() };
                let id = listing.spawn(list(self.pool.clone(), dir.clone(), batches, self.policy, self.cancel.clone())).id();
                in_hand.insert(id, dir);
            }
            if listing.is_empty() && listed.is_empty() {
                return;
            }
            let (entries, directories) = tokio::select! {
                // What a folder held comes before its end.
                biased;
                Some((depth, entries)) = listed.recv() => self.sort(depth, entries),
                Some(ended) = listing.join_next_with_id() => {
                    let (id, result) = match ended {
                        Ok((id, result)) => (id, result),
                        Err(panic) => (panic.id(), Err(self.panicked())),
                    };
                    let dir = in_hand.remove(&id).expect("every task was noted when it was spawned");
                    (result.err().map(|error| Found::Unlisted(dir, error)).into_iter().collect(), Vec::new())
                }
            };
            count += (entries.len() + directories.len()) as u64;
            waiting.extend(directories);
            if self.cancel.is_cancelled() || (!entries.is_empty() && found.send(entries).await.is_err()) {
                return;
            }
            if count > self.most {
                return drop(found.send(vec![Found::TooMany]).await);
            }
        }
    }

    /// A panic in a driver costs one folder.
    fn panicked(&self) -> SourceError {
        SourceError::new(Op::List, self.pool.address(), Class::Internal, "it ended in a panic; the log has its trace")
    }

    fn sort(&self, depth: usize, listed: Vec<Listed>) -> (Vec<Found>, Vec<(RemotePath, usize)>) {
        let mut found = Vec::with_capacity(listed.len());
        let mut directories = Vec::new();
        for entry in listed {
            match entry {
                Listed::Directory(path) if !(self.enter)(&path) => {}
                Listed::Directory(path) if depth >= self.depth => found.push(Found::TooDeep(path)),
                Listed::Directory(path) => directories.push((path, depth + 1)),
                other => found.push(Found::Entry(other)),
            }
        }
        (found, directories)
    }
}

/// The entries of a folder that lies so deep, on their way.
struct Batches {
    depth: usize,
    to: mpsc::Sender<(usize, Vec<Listed>)>,
    entries: Vec<Listed>,
}

impl Batches {
    /// Entries that nobody has time for wait here, and go with later ones.
    fn add(&mut self, entry: Listed) {
        self.entries.push(entry);
        if self.entries.len() >= BATCH
            && let Ok(place) = self.to.try_reserve()
        {
            place.send((self.depth, std::mem::take(&mut self.entries)));
        }
    }

    async fn end(&mut self) {
        let entries = std::mem::take(&mut self.entries);
        if !entries.is_empty() {
            // Without a receiver the walk is over.
            drop(self.to.send((self.depth, entries)).await);
        }
    }
}

/// A listing that breaks off is begun again from its first entry; what was told before is not told twice. It is known
/// again by a hash of 64 bits: of a million entries told before, one in 10^13 new ones is taken for one of them, and told
/// by the next run.
async fn list(pool: Arc<Pool>, dir: RemotePath, mut batches: Batches, policy: Policy, cancel: CancellationToken) -> Result<(), SourceError> {
    let hashes = RandomState::new();
    let told = tokio::sync::Mutex::new((HashSet::new(), &mut batches));
    let (told, hashes, pool, dir) = (&told, &hashes, &pool, &dir);
    let once = |attempt| async move {
        let mut told = told.lock().await;
        let (before, batches) = &mut *told;
        let mut now = Vec::new();
        let mut lease = pool.lend_for_try(attempt, policy.attempts).await?;
        let visit = &mut |listed: Listed| {
            let hash = hashes.hash_one(key(&listed));
            if !before.contains(&hash) {
                now.push(hash);
                batches.add(listed);
            }
        };
        let result = lease.list(dir, visit).await;
        lease.settle(&result);
        if result.is_err() {
            before.extend(now);
        }
        result
    };
    let result = retry(&policy, &cancel, "listing a folder", once).await;
    batches.end().await;
    result
}

fn key(listed: &Listed) -> &[u8] {
    match listed {
        Listed::File(file) => file.path.as_bytes(),
        Listed::Directory(path) | Listed::Symlink(path) | Listed::Special(path) | Listed::Unreachable(path, _) => path.as_bytes(),
        Listed::Unparsed(line) => line.as_bytes(),
    }
}
