//! Small writes that wait together reach the disk together: one flush for many files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use md5::Digest;
use tokio::sync::oneshot;

use super::inner::FolderInner;
use super::locks::{ExclusiveLock, HeldLock};
use super::paths::FolderPlace;
use super::record::{FolderRecord, key_of, record_of};
use super::trouble::{Trouble, check, rule};
use crate::store::contract::{Etag, StoreKind};
use crate::store::folder::waiting::{FolderWaiting, Put};
use crate::store::limits;

/// Flushing more files than this one by one takes longer than flushing their whole file system.
const FEW_FILES: usize = 8;

/// A thread that writes.
struct Thread<'a>(&'a FolderWaiting);

impl Drop for Thread<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Another one may begin. Who waits is told, since nobody may come to begin it.
            let mut queue = self.0.queue();
            queue.threads -= 1;
            queue.puts.clear();
        }
    }
}

/// A write whose content is in a temporary file.
struct StagedWrite {
    at: usize,
    key: String,
    file: File,
    record: FolderRecord,
}

impl FolderInner {
    /// Writes `put` soon, together with others that wait.
    pub(crate) async fn put_soon(self: &Arc<Self>, put: Put) -> Result<Etag, Trouble> {
        let (reply, answer) = oneshot::channel();
        let begins = {
            let mut queue = self.waiting.queue();
            queue.puts.push((put, reply));
            let most = std::thread::available_parallelism().map_or(2, usize::from);
            let begins = queue.threads < most;
            queue.threads += usize::from(begins);
            begins
        };
        if begins {
            let inner = self.clone();
            drop(tokio::task::spawn_blocking(move || inner.write_waiting()));
        }
        answer
            .await
            .unwrap_or_else(|_| Err(rule(StoreKind::Rejected, "the thread that wrote it ended")))
    }

    fn write_waiting(&self) {
        let _thread = Thread(&self.waiting);
        loop {
            let together = self.waiting.next();
            if together.is_empty() {
                return;
            }
            let (puts, replies): (Vec<_>, Vec<_>) = together.into_iter().unzip();
            for (reply, result) in replies.into_iter().zip(self.put_together(puts)) {
                // The caller that gave up waiting finds the blob later, or writes it again.
                drop(reply.send(result));
            }
        }
    }

    /// Writes blobs of different names: each as a whole or not at all, none because of the others.
    fn put_together(&self, puts: Vec<Put>) -> Vec<Result<Etag, Trouble>> {
        let mut results: Vec<Option<Result<Etag, Trouble>>> = puts.iter().map(|_| None).collect();
        let mut ready = Vec::with_capacity(puts.len());
        for (at, put) in puts.iter().enumerate() {
            match self.written(at, put) {
                Ok(one) => ready.push(one),
                Err(error) => results[at] = Some(Err(error)),
            }
        }
        ready.sort_by(|one, other| one.key.cmp(&other.key));
        self.publish_together(&puts, ready, &mut results);
        results
            .into_iter()
            .map(|result| {
                result.unwrap_or_else(|| Err(rule(StoreKind::Rejected, "it was forgotten")))
            })
            .collect()
    }

    fn written(&self, at: usize, put: &Put) -> Result<StagedWrite, Trouble> {
        limits::check_properties(&put.properties).map_err(|why| rule(StoreKind::Rejected, why))?;
        if md5::Md5::digest(&put.bytes).as_slice() != put.properties.md5 {
            return Err(rule(
                StoreKind::Corrupted,
                "the bytes have another MD5 than they should have",
            ));
        }
        let key = key_of(&put.name);
        let (id, mut file) = self.temporary(&put.name, &key)?;
        let written = file.write_all(&put.bytes).map_err(Trouble::from).and_then(|()| {
            self.set_time(&file, &id, &put.properties);
            Ok(record_of(&put.name, FolderPlace::Plain, &id, &file.metadata()?, &put.properties)?)
        });
        Ok(StagedWrite { at, key, file, record: self.tidied(&id, written)? })
    }

    /// `ready` is in order of keys, and locks are taken in that order by everybody who takes
    /// several.
    fn publish_together(
        &self,
        puts: &[Put],
        ready: Vec<StagedWrite>,
        results: &mut [Option<Result<Etag, Trouble>>],
    ) {
        let mut locks: BTreeMap<String, HeldLock> = BTreeMap::new();
        let mut prepared = Vec::with_capacity(ready.len());
        for StagedWrite { at, key, file, record } in ready {
            let id = record.temporary.clone();
            let locked = if locks.contains_key(&key[..2]) {
                Ok(None)
            } else {
                self.shelf.lock(&key, ExclusiveLock::Yes).map(Some)
            };
            let result = locked.map_err(Trouble::from).and_then(|lock| {
                locks.extend(lock.map(|lock| (key[..2].to_owned(), lock)));
                let found = self.shelf.settled(&puts[at].name, &key)?;
                check(&puts[at].condition, found.as_ref())?;
                let (place, target) = self.shelf.target(&puts[at].name, found)?;
                let record = FolderRecord { place, ..record };
                let next = self.shelf.write_next(&key, &record)?;
                Ok((at, key, (record, target), [file, next]))
            });
            match result {
                Ok(one) => prepared.push(one),
                Err(error) => results[at] = Some(self.swept_without_lock(&id, Err(error))),
            }
        }
        let flushed = self.flush(prepared.iter().flat_map(|(_, _, _, files)| files));
        let mut folders: BTreeMap<PathBuf, Vec<usize>> = BTreeMap::new();
        let mut placed = Vec::with_capacity(prepared.len());
        for (at, key, (record, target), files) in prepared {
            drop(files);
            let id = record.temporary.clone();
            let etag = Etag(record.etag.clone());
            let result = match &flushed {
                Err((kind, text)) => Err(io::Error::new(*kind, text.clone())),
                Ok(()) => self.shelf.place(&key, record, target),
            };
            match result {
                Ok(folder) => {
                    folders.entry(folder).or_default().push(placed.len());
                    placed.push((at, key, etag));
                }
                Err(error) => results[at] = Some(self.swept_without_lock(&id, Err(error.into()))),
            }
        }
        let unsynced = self.sync_folders(folders);
        for (place, (at, key, etag)) in placed.into_iter().enumerate() {
            let renamed = if unsynced.contains(&place) {
                Err(io::Error::other("its folder cannot be flushed"))
            } else {
                self.shelf.confirm(&key)
            };
            results[at] = Some(renamed.map(|()| etag).map_err(Trouble::from));
        }
        drop(locks);
    }

    /// Makes what was renamed into `folders` durable, and gives back what is not: members of one
    /// archive may have a folder each, and a flush of the file system is one wait for all of them.
    fn sync_folders(&self, folders: BTreeMap<PathBuf, Vec<usize>>) -> Vec<usize> {
        let all = if cfg!(target_os = "linux") && folders.len() > FEW_FILES {
            let first = folders.keys().next().map(File::open);
            first.map(|first| first.and_then(|first| flush_all(&first, &[])))
        } else {
            None
        };
        match all {
            Some(Ok(())) => Vec::new(),
            Some(Err(_)) => folders.into_values().flatten().collect(),
            None => folders
                .into_iter()
                .filter_map(|(folder, places)| {
                    self.shelf.sync_folder(&folder).err().map(|_| places)
                })
                .flatten()
                .collect(),
        }
    }

    /// Brings `files` to the disk. An error is told by its kind and text: it is that of all of
    /// them.
    fn flush<'a>(
        &self,
        files: impl Iterator<Item = &'a File>,
    ) -> Result<(), (io::ErrorKind, String)> {
        let files: Vec<&File> = files.collect();
        let flushed = match files.first() {
            Some(first) if files.len() > FEW_FILES => flush_all(first, &files),
            _ => files.iter().try_for_each(|file| file.sync_all()),
        };
        flushed.map_err(|error| (error.kind(), error.to_string()))
    }

    /// Removes what a write that failed has left, while the lock on its name is held.
    fn swept_without_lock<T>(&self, id: &str, result: Result<T, Trouble>) -> Result<T, Trouble> {
        if result.is_err() {
            self.swept(self.shelf.forget_locked(id), id);
        }
        result
    }
}

/// Linux flushes a file system in one go; what others have under way there is waited for, too.
#[cfg(target_os = "linux")]
fn flush_all(first: &File, _all: &[&File]) -> io::Result<()> {
    Ok(rustix::fs::syncfs(first)?)
}

#[cfg(not(target_os = "linux"))]
fn flush_all(_first: &File, all: &[&File]) -> io::Result<()> {
    all.iter().try_for_each(|file| file.sync_all())
}
