//! Walks a source's tree, several folders at a time, and tells what it finds.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::model::RemotePath;
use crate::model::failure::Class;
use crate::runtime::retry::Policy;
use crate::source::contract::{Listed, Op, SourceError};
use crate::source::folders::Folders;
use crate::source::pool::Pool;
use crate::source::room::WalkRoom;
use crate::source::sifted::{FolderBatch, Sift};

/// Notes on single folders; of further ones there is a count.
const NOTES: u64 = 20;

/// What a walk tells.
#[derive(Debug)]
pub(crate) enum WalkFound {
    /// An entry that is no directory.
    Entry(Listed),
    /// Two files of one folder whose names differ in case alone. The second one comes after it.
    Alike(RemotePath, RemotePath),
    /// Two folders whose names do; told before what they hold.
    AlikeFolders(RemotePath, RemotePath),
    /// A folder could not be listed to its end; what is below it is unknown.
    Unlisted(RemotePath, SourceError),
    /// A folder lies deeper than [`Walk::depth`].
    TooDeep(RemotePath),
    /// There are more than [`Walk::most`] lines in the listings; the walk has ended.
    TooMany,
    /// More folders wait to be listed than there is room for, in bytes; the walk has ended.
    TooMuch(u64),
    /// The walk was stopped before it was done.
    Stopped,
    /// What a reader of the report should know.
    Note(String),
}

/// How to walk.
pub(crate) struct Walk {
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
    /// Lines of listings in all, at most.
    pub most: u64,
    /// What it may keep in memory, together with other walks.
    pub room: WalkRoom,
    /// How stubborn to be with a folder.
    pub policy: Policy,
    /// Stops the walk.
    pub cancel: CancellationToken,
}

impl Walk {
    /// Sends everything below the root, in no particular order of folders; what a folder holds
    /// while it is being listed. Ends early when the receiver is gone or the walk is cancelled.
    pub async fn run(self, found: mpsc::Sender<Vec<WalkFound>>) {
        let mut waiting = Folders::new(&self.room.folders);
        let mut next = Some((self.root.clone(), 0));
        let mut listing = JoinSet::new();
        let mut in_hand = HashMap::new();
        let (batches, mut listed) = mpsc::channel(self.parallel);
        let (mut count, mut notes) = (0, 0);
        loop {
            while listing.len() < self.parallel {
                let Some((dir, depth)) = next.take().or_else(|| waiting.pop()) else { break };
                let id = listing.spawn(self.sift(dir.clone(), depth, &batches).run()).id();
                in_hand.insert(id, dir);
            }
            if listing.is_empty() && listed.is_empty() {
                break;
            }
            let batch = tokio::select! {
                // What a folder held comes before its end.
                biased;
                () = self.cancel.cancelled() => {
                    return drop(found.send(vec![WalkFound::Stopped]).await);
                }
                Some(batch) = listed.recv() => batch,
                Some(ended) = listing.join_next_with_id() => {
                    let (id, result) = match ended {
                        Ok((id, result)) => (id, result),
                        Err(panic) => (panic.id(), Err(self.panicked())),
                    };
                    let dir = in_hand.remove(&id).expect("every task was noted when it was \
                        spawned");
                    if let Err(error) = result
                        && found.send(vec![WalkFound::Unlisted(dir, error)]).await.is_err()
                    {
                        return;
                    }
                    continue;
                }
            };
            count += batch.lines;
            let (entries, fits) = self.sort(batch, &mut waiting, &mut notes);
            if !entries.is_empty() && found.send(entries).await.is_err() {
                return;
            }
            if !fits {
                return drop(found.send(vec![WalkFound::TooMuch(self.room.folders.total())]).await);
            }
            if count > self.most {
                return drop(found.send(vec![WalkFound::TooMany]).await);
            }
        }
        if notes > NOTES {
            drop(
                found
                    .send(vec![WalkFound::Note(format!(
                        "{} more notes on listings of folders",
                        notes - NOTES
                    ))])
                    .await,
            );
        }
    }

    fn sift(&self, dir: RemotePath, depth: usize, to: &mpsc::Sender<FolderBatch>) -> Sift {
        let (pool, policy, cancel, room) =
            (self.pool.clone(), self.policy, self.cancel.clone(), self.room.listed.clone());
        Sift { pool, dir, depth, policy, cancel, room, to: to.clone() }
    }

    /// A panic in a driver costs one folder.
    fn panicked(&self) -> SourceError {
        SourceError::new(
            Op::List,
            self.pool.address(),
            Class::Internal,
            "it ended in a panic; the log has its trace",
        )
    }

    /// What of a batch is to be told, and whether there was room for its folders.
    fn sort(
        &self,
        batch: FolderBatch,
        waiting: &mut Folders,
        notes: &mut u64,
    ) -> (Vec<WalkFound>, bool) {
        let mut found = Vec::with_capacity(batch.entries.len());
        let mut fits = true;
        for note in batch.notes {
            *notes += 1;
            found.extend((*notes <= NOTES).then_some(WalkFound::Note(note)));
        }
        found.extend(batch.alike.into_iter().map(|(one, other)| WalkFound::Alike(one, other)));
        let folders = batch.alike_folders.into_iter();
        found.extend(folders.map(|(one, other)| WalkFound::AlikeFolders(one, other)));
        for entry in batch.entries {
            match entry {
                Listed::Directory(path) if !(self.enter)(&path) => {}
                Listed::Directory(path) if batch.depth >= self.depth => {
                    found.push(WalkFound::TooDeep(path))
                }
                Listed::Directory(path) => fits &= waiting.push(&path, batch.depth + 1),
                other => found.push(WalkFound::Entry(other)),
            }
        }
        (found, fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::memory::MemoryServer;
    use crate::source::room::MemoryRoom;

    /// What a walk over 3,000 folders of one file each tells last, and how much it told before.
    async fn ends(
        room: u64,
        most: u64,
        enter: fn(&RemotePath) -> bool,
    ) -> (usize, Option<WalkFound>) {
        let server = MemoryServer::new();
        for n in 0..3000 {
            server.put(&format!("/folder{n:04}/file"), "x", 1_000_000_000);
        }
        let walk = Walk {
            pool: Pool::new(Arc::new(server), 1),
            root: "/".into(),
            enter: Arc::new(enter),
            parallel: 2,
            depth: 5,
            most,
            room: WalkRoom { folders: MemoryRoom::new(room), listed: MemoryRoom::new(1 << 20) },
            policy: Policy::default(),
            cancel: CancellationToken::new(),
        };
        let (sender, mut found) = mpsc::channel(1);
        let collect = async {
            let (mut entries, mut last) = (0, None);
            while let Some(batch) = found.recv().await {
                for found in batch {
                    match found {
                        WalkFound::Entry(_) => entries += 1,
                        other => last = Some(other),
                    }
                }
            }
            (entries, last)
        };
        tokio::join!(walk.run(sender), collect).1
    }

    #[tokio::test]
    async fn a_walk_ends_where_its_room_or_its_lines_do() {
        let all = |_: &RemotePath| true;
        assert!(matches!(ends(1 << 20, 1_000_000, all).await, (3000, None)));
        assert!(matches!(
            ends(10_000, 1_000_000, all).await,
            (_, Some(WalkFound::TooMuch(10_000)))
        ));
        assert!(matches!(ends(1 << 20, 1000, all).await, (_, Some(WalkFound::TooMany))));
        // Folders that nobody wants are lines, too.
        assert!(matches!(ends(1 << 20, 1000, |_| false).await, (0, Some(WalkFound::TooMany))));
    }
}
