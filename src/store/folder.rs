//! Blobs as files in a local folder.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::store::folder::inner::FolderInner;
use crate::store::folder::trouble::{Trouble, rule};

mod characters;
mod disk;
mod fault;
mod folders;
mod folding;
mod inner;
mod lease;
mod lock_files;
mod locks;
mod modes;
mod mounted;
mod moved_times;
mod paths;
mod record;
mod staged;
mod trouble;
mod waiting;
mod writes;

use super::contract::{
    BlobInfo, Condition, Etag, Leased, Properties, Store, StoreError, StoreKind, Upload,
};
use super::holder::Holder;
use super::limits;
use crate::model::BlobName;
use crate::runtime::few_threads::FewThreads;
use crate::store::folder::fault::FolderUse;
use crate::store::folder::locks::ExclusiveLock;
use crate::store::folder::paths::OWN;
use crate::store::folder::record::{FolderBlob, FolderShelf, key_of};
use crate::store::folder::staged::Uploads;
use crate::store::folder::waiting::{FolderWaiting, Put};

/// Blobs as files below a folder: plain names are their own relative path. Properties are kept
/// in `.blobferry` beside them; a file's modified time is the metadata's `mtime`.
///
/// Writes are atomic against crashes and against other processes on the same file system. A write
/// that went well has reached the disk: content, properties and name; writes that wait together are
/// brought there together. File systems that fold case or Unicode forms hold fewer names than Azure
/// does.
#[derive(Clone, Debug)]
pub struct FolderStore {
    inner: Arc<FolderInner>,
    threads: FewThreads,
    used_for: FolderUse,
}

/// Calls on a folder at once, beside small writes that go together: flushes of one disk share their
/// way to it.
const CALLS_AT_ONCE: usize = 16;

impl FolderStore {
    /// The store in `root`, which [`Store::prepare`] creates if it is missing.
    pub fn new(root: &Path) -> io::Result<Self> {
        Self::remembered_in(root, None)
    }

    /// The same; `memory` is a folder of this machine that tells whether a destination that can be
    /// unmounted was here before.
    pub fn remembered_in(root: &Path, memory: Option<PathBuf>) -> io::Result<Self> {
        let root = std::path::absolute(root)?;
        let address = root.display().to_string();
        let (uploads, waiting) = (Uploads::default(), FolderWaiting::default());
        let shelf = FolderShelf::new(&root);
        let inner = Arc::new(FolderInner { shelf, address, uploads, waiting, memory });
        let threads = FewThreads::new(CALLS_AT_ONCE);
        Ok(Self { inner, threads, used_for: FolderUse::Destination })
    }

    /// The same for the state alone: what goes wrong is told of the place that `[state]` names.
    #[must_use]
    pub(crate) fn for_state(self) -> Self {
        Self { used_for: FolderUse::State, ..self }
    }

    /// Runs `work` where it may block.
    async fn work<T: Send + 'static>(
        &self,
        op: &'static str,
        name: &str,
        work: impl FnOnce(&FolderInner, &str) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (inner, of) = (self.inner.clone(), name.to_owned());
        match self.threads.run(move || work(&inner, &of)).await {
            Ok(result) => result.map_err(|trouble| self.told(op, name, trouble)),
            Err(panic) => {
                Err(StoreError::new(op, name, &self.inner.address, StoreKind::Rejected, panic))
            }
        }
    }

    fn told(&self, op: &'static str, name: &str, trouble: Trouble) -> StoreError {
        match trouble {
            Trouble::Rule(kind, why) => {
                let error = StoreError::new(op, name, &self.inner.address, kind, why);
                if kind == StoreKind::NoContainer { error.with_hint(mounted::HINT) } else { error }
            }
            Trouble::Io(error) => fault::fail(op, name, &self.inner.address, self.used_for, error),
        }
    }
}

/// Bytes of a part for which there is room before they are read.
const AT_ONCE: usize = 8 << 20;

/// A part for which there is room before it is known how many bytes there are.
const SMALL_PART: usize = 1 << 20;

/// So many bytes of a file from `start` on, in `bytes`, which may have room.
fn part(path: &Path, start: u64, length: u64, mut bytes: Vec<u8>) -> io::Result<Bytes> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(start))?;
    // A vector that grows takes twice the memory, and as much again that is free.
    if bytes.capacity() == 0 {
        bytes.reserve_exact(usize::try_from(length).unwrap_or(0).min(AT_ONCE));
    }
    file.take(length).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

fn upload_of(block_id: &str) -> &str {
    block_id.rsplit_once('-').map_or(block_id, |(upload, _)| upload)
}

#[async_trait]
impl Store for FolderStore {
    fn address(&self) -> &str {
        &self.inner.address
    }

    fn small_writes_at_once(&self) -> usize {
        crate::store::folder::waiting::MOST_TOGETHER
    }

    async fn prepare(&self) -> Result<(), StoreError> {
        self.work("opening", "folder", |inner, _| {
            let memory = inner.memory.as_deref();
            if let Some(why) = memory.and_then(|known| mounted::missing(&inner.shelf.root, known)) {
                return Err(rule(StoreKind::NoContainer, why));
            }
            inner.shelf.create()?;
            if let Some(memory) = memory {
                // Durable first: a power cut must not make it unknown.
                inner.shelf.sync_folder(&inner.shelf.root)?;
                inner.swept(mounted::remember(&inner.shelf.root, memory), "the destination's note");
            }
            // Two processes may sweep at once: what one finds gone is no trouble.
            inner.swept(inner.sweep(), OWN);
            Ok(())
        })
        .await
    }

    async fn head(&self, name: &BlobName) -> Result<Option<BlobInfo>, StoreError> {
        self.work("looking at", name.as_str(), |inner, name| {
            inner.read(name, |found| Ok(found.map(|found| found.info)))
        })
        .await
    }

    async fn get(
        &self,
        name: &BlobName,
        start: u64,
        max_bytes: u64,
    ) -> Result<Option<(BlobInfo, Bytes)>, StoreError> {
        self.work("reading", name.as_str(), move |inner, name| {
            inner.read(name, |found| {
                let Some(FolderBlob { path, info, .. }) = found else { return Ok(None) };
                let length = info.size.checked_sub(start).ok_or_else(|| {
                    rule(StoreKind::Rejected, "it is shorter than where to start")
                })?;
                if length > max_bytes {
                    return Err(rule(
                        StoreKind::Rejected,
                        format!("it has {length} bytes, more than {max_bytes}"),
                    ));
                }
                Ok(Some((info, part(&path, start, length, Vec::new())?)))
            })
        })
        .await
    }

    async fn read(
        &self,
        name: &BlobName,
        start: u64,
        most: u64,
    ) -> Result<Option<(BlobInfo, Bytes)>, StoreError> {
        // Room that comes of the caller's thread goes back to it: the threads that read would keep
        // a part each.
        let room = usize::try_from(most).ok().filter(|most| *most <= SMALL_PART);
        let room = room.map_or_else(Vec::new, Vec::with_capacity);
        self.work("reading", name.as_str(), move |inner, name| {
            inner.read(name, |found| {
                let Some(FolderBlob { path, info, .. }) = found else { return Ok(None) };
                let length = info.size.checked_sub(start).ok_or_else(|| {
                    rule(StoreKind::Rejected, "it is shorter than where to start")
                })?;
                Ok(Some((info, part(&path, start, length.min(most), room)?)))
            })
        })
        .await
    }

    async fn put(
        &self,
        name: &BlobName,
        bytes: Bytes,
        properties: &Properties,
        condition: &Condition,
    ) -> Result<Etag, StoreError> {
        let put = Put {
            name: name.as_str().to_owned(),
            bytes,
            properties: properties.clone(),
            condition: condition.clone(),
        };
        self.inner
            .put_soon(put)
            .await
            .map_err(|trouble| self.told("writing", name.as_str(), trouble))
    }

    async fn stage(&self, upload: &Upload, index: u32, bytes: Bytes) -> Result<(), StoreError> {
        let id = upload.block_id(index);
        self.work("staging a block of", upload.name.as_str(), move |inner, _| {
            limits::check_block(index, bytes.len())
                .map_err(|why| rule(StoreKind::Rejected, why))?;
            Ok(inner.uploads.open(&inner.shelf.staged(), upload_of(&id))?.stage(index, &bytes)?)
        })
        .await
    }

    async fn commit(
        &self,
        upload: &Upload,
        blocks: u32,
        properties: &Properties,
        condition: &Condition,
    ) -> Result<Etag, StoreError> {
        let (properties, condition) = (properties.clone(), condition.clone());
        let first = upload.block_id(0);
        let upload_id = upload_of(&first).to_owned();
        self.work("committing", upload.name.as_str(), move |inner, name| {
            limits::check_blocks(blocks).map_err(|why| rule(StoreKind::Rejected, why))?;
            inner.commit(name, blocks, &upload_id, &properties, &condition)
        })
        .await
    }

    async fn abandon(&self, upload: &Upload) {
        let (inner, first) = (self.inner.clone(), upload.block_id(0));
        // A panic in there was told by the panic itself, and there is nothing to do about it.
        drop(self.threads.run(move || inner.abandon(upload_of(&first))).await);
    }

    async fn append(
        &self,
        name: &BlobName,
        bytes: Bytes,
        position: u64,
    ) -> Result<u64, StoreError> {
        self.work("appending to", name.as_str(), move |inner, name| {
            inner.append(name, &bytes, position)
        })
        .await
    }

    async fn list(
        &self,
        prefix: &str,
        visit: &mut (dyn FnMut(BlobInfo) + Send),
    ) -> Result<(), StoreError> {
        let found = self.work("listing", prefix, |inner, prefix| inner.list(prefix)).await?;
        found.into_iter().for_each(visit);
        Ok(())
    }

    async fn delete(&self, name: &BlobName) -> Result<(), StoreError> {
        self.work("removing", name.as_str(), |inner, name| {
            let key = key_of(name);
            let _lock = inner.shelf.lock(&key, ExclusiveLock::Yes)?;
            inner.shelf.settled(name, &key)?;
            Ok(inner.shelf.remove(name)?)
        })
        .await
    }
    async fn lease(&self, name: &BlobName, holder: &Holder) -> Result<Leased, StoreError> {
        let holder = holder.clone();
        self.work("leasing", name.as_str(), move |inner, name| lease::take(inner, name, &holder))
            .await
    }

    async fn end_lease(&self, _name: &BlobName, _holder: &Holder) -> Result<(), StoreError> {
        // The system has done so when the holder died.
        Ok(())
    }
}
