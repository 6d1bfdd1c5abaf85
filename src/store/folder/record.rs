//! What a folder remembers of each blob beside its bytes, and the order of steps that keeps both in
//! one.
//!
//! A write is, under an exclusive lock on the name: the next record is written and, like the
//! content before it, brought to the disk; the content's temporary file is renamed to its place,
//! which is the commit; its folder is brought to the disk; the next record is renamed over the
//! last. After a kill in between the next record counts if, and only if, its temporary file is
//! gone, so nobody ever sees content without its own properties. Writes that wait together take
//! these steps together (`writes.rs`), each step for all of them.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::Digest;

use super::characters::HeldCharacters;
use super::disk::{clashes, metadata, modified, owner_of, remove};
use super::folders::DestinationFolders;
use super::folding::{Folding, rename_new};
use super::locks::{ExclusiveLock, HeldLock, Locks};
use super::modes;
use super::moved_times::MovedTimes;
use super::paths::{self, FolderPlace, OWN};
use crate::model::{Md5, hex};
use crate::runtime::random;
use crate::store::contract::{BlobInfo, Etag, Metadata, Properties};

/// What is remembered of a blob.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FolderRecord {
    /// The blob's name.
    pub name: String,
    /// Where its content is.
    pub place: FolderPlace,
    /// Its version.
    pub etag: String,
    /// Its bytes.
    pub size: u64,
    /// The modified time of its file in nanoseconds; `None` for an append blob, whose file may
    /// have more bytes than count: those of an append that did not finish.
    pub modified: Option<i128>,
    /// MD5 of its content.
    pub md5: Option<Md5>,
    /// MIME type.
    pub content_type: String,
    /// Our metadata.
    pub metadata: Metadata,
    /// The temporary file that became its content.
    pub temporary: String,
}

/// A blob that is there.
#[derive(Debug)]
pub(crate) struct FolderBlob {
    /// The path of its content.
    pub path: PathBuf,
    /// How the contract tells of it.
    pub info: BlobInfo,
    /// What is remembered; `None` if somebody else put or changed the file.
    pub record: Option<FolderRecord>,
}

/// An empty file, which is read to see whether its file system is at work.
const ALIVE: &str = "alive";

/// The folders of a store.
#[derive(Clone, Debug)]
pub(crate) struct FolderShelf {
    /// What users see.
    pub root: PathBuf,
    own: PathBuf,
    locks: Locks,
    folding: Folding,
    moved: MovedTimes,
    characters: HeldCharacters,
}

/// Where a write goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PutTarget {
    /// Nothing is there yet, and nothing may be replaced.
    New,
    /// It replaces what was found there.
    Known,
}

impl FolderShelf {
    /// The shelf at `root`.
    pub fn new(root: &Path) -> Self {
        let own = root.join(OWN);
        let (locks, folding) = (Locks::new(own.join("locks")), Folding::default());
        let (moved, characters) = (MovedTimes::default(), HeldCharacters::new(root));
        Self { root: root.to_owned(), locks, own, folding, moved, characters }
    }

    /// The path of blob `name` below the root, and the long segments that are kept for it.
    pub(crate) fn path_of(
        &self,
        name: &str,
        place: FolderPlace,
    ) -> (PathBuf, Vec<paths::LongSegment>) {
        paths::path_of(name, place, self.characters.of(name))
    }

    /// Makes the store's own folders.
    pub fn create(&self) -> io::Result<()> {
        fs::create_dir_all(&self.root)?;
        self.refuse_links(&self.own.join("locks"))?;
        for folder in ["temporary", "staged", "locks", "records", "long"] {
            modes::private_folders().create(self.own.join(folder))?;
        }
        modes::private().create(true).append(true).open(self.own.join(ALIVE)).map(drop)
    }

    /// Refuses a path that leads through a link: nothing is written outside of the folder, and what
    /// is listed is what is read. The root itself may be one.
    fn refuse_links(&self, path: &Path) -> io::Result<()> {
        let folders = path.ancestors().skip(1).take_while(|folder| *folder != self.root);
        for folder in folders {
            if fs::symlink_metadata(folder).is_ok_and(|found| found.is_symlink()) {
                let why = format!(
                    "`{}` is a link, and links in the destination are not followed",
                    folder.display()
                );
                return Err(io::Error::new(io::ErrorKind::InvalidFilename, why));
            }
        }
        Ok(())
    }

    /// The folder of unfinished content.
    pub fn temporary(&self) -> PathBuf {
        self.own.join("temporary")
    }

    /// The folder of staged blocks.
    pub fn staged(&self) -> PathBuf {
        self.own.join("staged")
    }

    /// The file whose lock is the lease of the name with `key`, and the one that tells who holds
    /// it.
    pub fn lease(&self, key: &str) -> (PathBuf, PathBuf) {
        let folder = self.own.join("locks");
        (folder.join(format!("lease-{key}")), folder.join(format!("lease-{key}.json")))
    }

    /// The locks on its names.
    pub(crate) fn locks(&self) -> &Locks {
        &self.locks
    }

    /// Held until dropped, also against other processes; a process that dies drops it.
    /// One that is not to be had in a few seconds is an error.
    pub fn lock(&self, key: &str, alone: ExclusiveLock) -> io::Result<HeldLock> {
        self.locks.lock(key, alone)
    }

    fn record(&self, key: &str) -> PathBuf {
        self.own.join("records").join(&key[..2]).join(format!("{key}.json"))
    }

    fn next_record(&self, key: &str) -> PathBuf {
        self.record(key).with_extension("next")
    }

    /// The blob `name`; call under its lock.
    pub fn find(&self, name: &str) -> io::Result<Option<FolderBlob>> {
        let key = key_of(name);
        let record = match self.read(&self.next_record(&key))? {
            Some(next) if self.happened(&next)? => Some(next),
            _ => self.read(&self.record(&key))?,
        };
        self.found(name, record)
    }

    fn found(&self, name: &str, record: Option<FolderRecord>) -> io::Result<Option<FolderBlob>> {
        if let Some(record) = record.filter(|record| record.name == name) {
            let (below, _) = self.path_of(name, record.place);
            let path = self.root.join(below);
            self.refuse_links(&path)?;
            if let Some(file) = metadata(&path)? {
                let record = self.as_it_is_now(record, &path, &file)?;
                return Ok(Some(found(name, path, &file, Some(record))?));
            }
        }
        // A file that somebody put there by hand is a blob too, so that it is never written over.
        let (below, _) = self.path_of(name, FolderPlace::Plain);
        let path = self.root.join(&below);
        self.refuse_links(&path)?;
        let Some(file) = metadata(&path)? else { return Ok(None) };
        // What the file system takes for this name may be another blob's.
        if self.folding.folds(&self.root) && !self.folding.is_exact(&self.root, &below)? {
            return Ok(None);
        }
        found(name, path, &file, None).map(Some)
    }

    /// `record`, with the time that its file has by now, if the file has the bytes that it tells
    /// of.
    fn as_it_is_now(
        &self,
        record: FolderRecord,
        path: &Path,
        file: &fs::Metadata,
    ) -> io::Result<FolderRecord> {
        let now = modified(file)?;
        let (Some(then), Some(md5)) = (record.modified, &record.md5) else { return Ok(record) };
        if then == now || record.size != file.len() {
            return Ok(record);
        }
        let holds = self.moved.still_holds(path, &record.etag, md5, now)?;
        Ok(if holds { FolderRecord { modified: Some(now), ..record } } else { record })
    }

    /// Where a write of `name` goes, and whether that is new, by what was found of it.
    pub fn target(
        &self,
        name: &str,
        found: Option<FolderBlob>,
    ) -> io::Result<(FolderPlace, PutTarget)> {
        if let Some(found) = found {
            return Ok((
                found.record.map_or(FolderPlace::Plain, |record| record.place),
                PutTarget::Known,
            ));
        }
        let folds = self.folding.folds(&self.root);
        let (below, _) = self.path_of(name, FolderPlace::Plain);
        let other = folds && !self.folding.has_exact_folders(&self.root, &below)?;
        Ok((if other { FolderPlace::Marked } else { FolderPlace::Plain }, PutTarget::New))
    }

    /// Settles what a killed writer of `name` left, and finds the blob; call under the name's
    /// exclusive lock. `key` is that of `name`.
    pub fn settled(&self, name: &str, key: &str) -> io::Result<Option<FolderBlob>> {
        let path = self.next_record(key);
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(next) if self.happened(&next)? => fs::rename(&path, self.record(key))?,
                _ => remove(&path)?,
            },
        }
        self.found(name, self.read(&self.record(key))?)
    }

    /// Writes the record that is to count once [`FolderShelf::place`] has gone well, and gives back
    /// its file, which must reach the disk before that. Call under the name's exclusive lock, when
    /// it is settled and the condition holds.
    pub(crate) fn write_next(&self, key: &str, record: &FolderRecord) -> io::Result<File> {
        let (_, long) = self.path_of(&record.name, record.place);
        for segment in long {
            self.keep_long(&segment)?;
        }
        let next = self.next_record(key);
        let mut file = DestinationFolders::private(&self.root).with_folder_of(&next, || {
            modes::private().create(true).write(true).truncate(true).open(&next)
        })?;
        file.write_all(&serde_json::to_vec(record)?)?;
        Ok(file)
    }

    /// Puts the temporary file in its place, which is the commit, after
    /// [`FolderShelf::write_next`]. Gives back the folder that it is in: the commit is durable once
    /// that has reached the disk.
    pub fn place(
        &self,
        key: &str,
        mut record: FolderRecord,
        target: PutTarget,
    ) -> io::Result<PathBuf> {
        let is_new = target == PutTarget::New;
        let temporary = self.temporary().join(&record.temporary);
        loop {
            let (below, _) = self.path_of(&record.name, record.place);
            let target = self.root.join(&below);
            self.refuse_links(&target)?;
            let may_fold =
                is_new && record.place == FolderPlace::Plain && self.folding.folds(&self.root);
            if may_fold && !self.is_in_exact_folders(&record.name, &below)? {
                self.mark(key, &mut record)?;
                continue;
            }
            match DestinationFolders::of(&self.root, &record.name).with_folder_of(&target, || {
                if is_new {
                    rename_new(&temporary, &target)
                } else {
                    fs::rename(&temporary, &target)
                }
            }) {
                Ok(()) => return Ok(target.parent().unwrap_or(&self.root).to_owned()),
                // Another blob is a file where this one needs a folder, or the other way round.
                Err(_) if record.place == FolderPlace::Plain && clashes(&self.root, &target) => {
                    record.place = FolderPlace::Apart;
                    self.write_next(key, &record)?.sync_all()?;
                }
                // Another blob has the file that the file system takes for this name's.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && may_fold => {
                    self.mark(key, &mut record)?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the folders of `below` stand under their very names; missing ones are made.
    fn is_in_exact_folders(&self, name: &str, below: &Path) -> io::Result<bool> {
        if let Some(folder) = self.root.join(below).parent().filter(|folder| !folder.exists()) {
            // A file may be in the way: the placing finds that out.
            drop(DestinationFolders::of(&self.root, name).make(folder));
        }
        self.folding.has_exact_folders(&self.root, below)
    }

    /// The file system takes the name of `record` for another blob's: it gets a mark.
    fn mark(&self, key: &str, record: &mut FolderRecord) -> io::Result<()> {
        record.place = FolderPlace::Marked;
        tracing::info!(
            blob = record.name,
            "The destination's file system takes this name for another blob's, so it gets a mark."
        );
        self.write_next(key, record)?.sync_all()
    }

    /// Makes the next record the last one, after [`FolderShelf::place`].
    pub(crate) fn confirm(&self, key: &str) -> io::Result<()> {
        fs::rename(self.next_record(key), self.record(key))
    }

    /// Puts the temporary file in its place with its record; call under the name's exclusive lock,
    /// when it is settled and the condition holds. After an error the caller forgets the temporary
    /// file.
    pub fn commit(&self, key: &str, record: FolderRecord, target: PutTarget) -> io::Result<()> {
        self.write_next(key, &record)?.sync_all()?;
        let folder = self.place(key, record, target)?;
        self.sync_folder(&folder)?;
        self.confirm(key)
    }

    /// A rename is durable once its folder is. Other systems than Unix cannot open folders for it.
    pub(crate) fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        if cfg!(unix) {
            File::open(folder)?.sync_all().and_then(|()| self.is_alive())
        } else {
            Ok(())
        }
    }

    /// Whether the file system is still at work. One that gave up between a rename and the flush of
    /// its folder has nothing left to flush, and xfs calls that a success; a read it refuses.
    fn is_alive(&self) -> io::Result<()> {
        match File::open(self.own.join(ALIVE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            file => file?.read(&mut [0]).map(drop),
        }
    }

    /// Replaces the record of an append blob; its bytes are in place already. They count once the
    /// record does, so its folder is brought to the disk, too.
    pub(crate) fn amend(&self, record: &FolderRecord) -> io::Result<()> {
        let path = self.record(&key_of(&record.name));
        let new = path.with_extension("new");
        self.write_synced(&new, &serde_json::to_vec(record)?)?;
        fs::rename(new, &path)?;
        self.sync_folder(path.parent().unwrap_or(&self.own))
    }

    /// Removes content first: a record alone is no blob. Call under the name's exclusive lock, when
    /// settled.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        if let Some(found) = self.find(name)? {
            remove(&found.path)?;
        }
        remove(&self.record(&key_of(name)))
    }

    /// The name that a path below the root stands for.
    pub fn name_of(&self, below: &Path) -> Option<String> {
        let long = |hash: &str| fs::read_to_string(self.own.join("long").join(hash)).ok();
        paths::name_of(below, &|name| self.characters.of(name), &long).map(|(name, _)| name)
    }

    /// Forgets a temporary file that nobody works on any more, and the next record that waits for
    /// it.
    pub(crate) fn forget_temporary(&self, file: &str) -> io::Result<()> {
        let _lock = owner_of(file).map(|key| self.lock(key, ExclusiveLock::Yes)).transpose()?;
        self.forget_locked(file)
    }

    /// The same under the lock on its name.
    pub(crate) fn forget_locked(&self, file: &str) -> io::Result<()> {
        if let Some(key) = owner_of(file) {
            let next = self.next_record(key);
            if self.read(&next)?.is_none_or(|record| record.temporary == file) {
                remove(&next)?;
            }
        }
        remove(&self.temporary().join(file))
    }

    fn happened(&self, next: &FolderRecord) -> io::Result<bool> {
        Ok(metadata(&self.temporary().join(&next.temporary))?.is_none())
    }

    /// A record; `None` if there is none, or only the start of one.
    fn read(&self, path: &Path) -> io::Result<Option<FolderRecord>> {
        match fs::read(path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn write_synced(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = DestinationFolders::private(&self.root).with_folder_of(path, || {
            modes::private().create(true).write(true).truncate(true).open(path)
        })?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn keep_long(&self, segment: &paths::LongSegment) -> io::Result<()> {
        let path = self.own.join("long").join(&segment.hash);
        if metadata(&path)?.is_some() {
            return Ok(());
        }
        let new = self.temporary().join(random::digits());
        self.write_synced(&new, segment.text.as_bytes())?;
        fs::rename(new, path)
    }
}

/// What records and locks of a name are filed under.
pub(crate) fn key_of(name: &str) -> String {
    hex(&sha2::Sha256::digest(name))
}

/// The record of content in a temporary file.
pub(crate) fn record_of(
    name: &str,
    place: FolderPlace,
    temporary: &str,
    file: &fs::Metadata,
    properties: &Properties,
) -> io::Result<FolderRecord> {
    Ok(FolderRecord {
        name: name.to_owned(),
        place,
        etag: random::digits(),
        size: file.len(),
        modified: Some(modified(file)?),
        md5: Some(properties.md5),
        content_type: properties.content_type.clone(),
        metadata: properties.metadata.clone(),
        temporary: temporary.to_owned(),
    })
}

fn found(
    name: &str,
    path: PathBuf,
    file: &fs::Metadata,
    record: Option<FolderRecord>,
) -> io::Result<FolderBlob> {
    let at = modified(file)?;
    let record = record.filter(|record| match record.modified {
        Some(modified) => (modified, record.size) == (at, file.len()),
        None => record.size <= file.len(),
    });
    let info = match &record {
        Some(record) => BlobInfo {
            name: name.to_owned(),
            size: record.size,
            etag: Etag(record.etag.clone()),
            md5: record.md5,
            metadata: record.metadata.clone(),
            content_type: Some(record.content_type.clone()),
        },
        None => BlobInfo {
            name: name.to_owned(),
            size: file.len(),
            etag: Etag(format!("{:x}-{at:x}", file.len())),
            md5: None,
            metadata: Metadata::new(),
            content_type: None,
        },
    };
    Ok(FolderBlob { path, info, record })
}

#[cfg(test)]
mod tests;
