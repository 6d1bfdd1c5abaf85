//! Walks a source's tree, several folders at a time, and tells what it finds.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::failure::Class;
use crate::model::RemotePath;
use crate::retry::{Policy, retry};
use crate::source::contract::{Listed, Op, SourceError};
use crate::source::pool::Pool;

/// What a walk tells.
#[derive(Debug)]
pub enum Found {
    /// An entry that is no directory.
    Entry(Listed),
    /// A folder could not be listed to its end; what is below it is unknown.
    Unlisted(RemotePath, SourceError),
    /// A folder lies deeper than [`Walk::depth`].
    TooDeep(RemotePath),
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
    /// How stubborn to be with a folder.
    pub policy: Policy,
    /// Stops the walk.
    pub cancel: CancellationToken,
}

impl Walk {
    /// Sends everything below the root, folder by folder, in no particular order of folders.
    /// Ends early when the receiver is gone or the walk is cancelled.
    pub async fn run(self, found: mpsc::Sender<Vec<Found>>) {
        let mut waiting = vec![(self.root.clone(), 0)];
        let mut listing = JoinSet::new();
        let mut in_hand = HashMap::new();
        loop {
            while listing.len() < self.parallel {
                let Some((dir, depth)) = waiting.pop() else { break };
                let id = listing.spawn(list(self.pool.clone(), dir.clone(), self.policy, self.cancel.clone())).id();
                in_hand.insert(id, (dir, depth));
            }
            let Some(listed) = listing.join_next_with_id().await else { return };
            let (id, result) = match listed {
                Ok((id, result)) => (id, result),
                Err(panic) => (panic.id(), Err(self.panicked())),
            };
            let (dir, depth) = in_hand.remove(&id).expect("every task was noted when it was spawned");
            let (entries, directories) = self.sort(dir, depth, result);
            waiting.extend(directories);
            if self.cancel.is_cancelled() || (!entries.is_empty() && found.send(entries).await.is_err()) {
                return;
            }
        }
    }

    /// A panic in a driver costs one folder.
    fn panicked(&self) -> SourceError {
        SourceError::new(Op::List, self.pool.address(), Class::Internal, "it ended in a panic; the log has its trace")
    }

    fn sort(&self, dir: RemotePath, depth: usize, result: Result<Vec<Listed>, SourceError>) -> (Vec<Found>, Vec<(RemotePath, usize)>) {
        let mut found = Vec::new();
        let mut directories = Vec::new();
        let listed = match result {
            Ok(listed) => listed,
            Err(error) => return (vec![Found::Unlisted(dir, error)], directories),
        };
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

async fn list(pool: Arc<Pool>, dir: RemotePath, policy: Policy, cancel: CancellationToken) -> Result<Vec<Listed>, SourceError> {
    let once = |_| async {
        // A listing that breaks off is begun again from its first entry, so nothing is told twice.
        let mut entries = Vec::new();
        let mut lease = pool.lend().await?;
        let result = lease.list(&dir, &mut |listed| entries.push(listed)).await;
        lease.settle(&result);
        result.map(|()| entries)
    };
    retry(&policy, &cancel, "listing a folder", once).await
}
