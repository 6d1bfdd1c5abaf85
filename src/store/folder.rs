//! Blobs as files in a local folder.

use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

mod fault;
mod folding;
mod lease;
mod locks;
mod modes;
mod mounted;
mod paths;
mod record;
mod staged;
mod writes;

use super::contract::{
    BlobInfo, Condition, Etag, Leased, Properties, Store, StoreError, StoreKind, Upload,
};
use super::holder::Holder;
use super::limits;
use crate::model::{BlobName, BoxError};
use crate::store::folder::locks::Alone;
use crate::store::folder::paths::{OWN, Place};
use crate::store::folder::record::{Found, PutTarget, Record, Shelf, key_of, random, record_of};
use crate::store::folder::staged::Uploads;
use crate::store::folder::writes::{Put, Waiting};

/// Unfinished files older than this are of dead processes; Azure drops blocks at the same age.
const LEFTOVER: Duration = Duration::from_secs(7 * 86_400);

/// Blobs as files below a folder: plain names are their own relative path. Properties are kept
/// in `.blobferry` beside them; a file's modified time is the metadata's `mtime`.
///
/// Writes are atomic against crashes and against other processes on the same file system. A write
/// that went well has reached the disk: content, properties and name; writes that wait together are
/// brought there together. File systems that fold case or Unicode forms hold fewer names than Azure
/// does.
#[derive(Clone, Debug)]
pub struct FolderStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shelf: Shelf,
    address: String,
    uploads: Uploads,
    waiting: Waiting,
    /// Where this machine keeps what it knows of its destinations.
    memory: Option<PathBuf>,
}

/// Why a step failed: the world, or a rule of the contract.
#[derive(Debug)]
enum Trouble {
    Io(io::Error),
    Rule(StoreKind, BoxError),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn rule(kind: StoreKind, why: impl Into<BoxError>) -> Trouble {
    Trouble::Rule(kind, why.into())
}

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
        let (uploads, waiting) = (Uploads::default(), Waiting::default());
        let shelf = Shelf::new(&root);
        Ok(Self { inner: Arc::new(Inner { shelf, address, uploads, waiting, memory }) })
    }

    /// Runs `work` where it may block.
    async fn work<T: Send + 'static>(
        &self,
        op: &'static str,
        name: &str,
        work: impl FnOnce(&Inner, &str) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (inner, of) = (self.inner.clone(), name.to_owned());
        match tokio::task::spawn_blocking(move || work(&inner, &of)).await {
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
            Trouble::Io(error) => fault::fail(op, name, &self.inner.address, error),
        }
    }
}

impl Inner {
    fn read<T>(
        &self,
        name: &str,
        work: impl FnOnce(Option<Found>) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let _lock = self.shelf.lock(&key_of(name), Alone::No)?;
        work(self.shelf.find(name)?)
    }

    /// The name of a new temporary file for the name with `key`; it tells whose it is and how old.
    fn temporary_id(&self, key: &str) -> String {
        format!("{key}.{}.{}", OffsetDateTime::now_utc().unix_timestamp(), random())
    }

    fn temporary(&self, name: &str, key: &str) -> io::Result<(String, File)> {
        let id = self.temporary_id(key);
        let file = modes::files_of(name)
            .create_new(true)
            .write(true)
            .open(self.shelf.temporary().join(&id))?;
        Ok((id, file))
    }

    /// Gives a file the modified time that its blob tells.
    fn set_time(&self, file: &File, id: &str, properties: &Properties) {
        if let Some(mtime) = properties
            .metadata
            .get("mtime")
            .and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok())
        {
            // Beyond these years file systems cut times or refuse them. The metadata keeps the time
            // in any case.
            if (1902..=2400).contains(&mtime.year()) {
                self.swept(file.set_times(FileTimes::new().set_modified(mtime.into())), id);
            }
        }
    }

    /// Makes the temporary file `id` the blob `name`, if `condition` holds.
    fn publish(
        &self,
        name: &str,
        id: &str,
        file: File,
        properties: &Properties,
        condition: &Condition,
    ) -> Result<Etag, Trouble> {
        let key = key_of(name);
        self.set_time(&file, id, properties);
        file.sync_all()?;
        let record = record_of(name, Place::Plain, id, &file.metadata()?, properties)?;
        drop(file);
        let _lock = self.shelf.lock(&key, Alone::Yes)?;
        let found = self.shelf.settled(name, &key)?;
        check(condition, found.as_ref())?;
        let (place, target) = self.shelf.target(name, found)?;
        let etag = Etag(record.etag.clone());
        self.shelf.commit(&key, Record { place, ..record }, target)?;
        Ok(etag)
    }

    fn commit(
        &self,
        name: &str,
        blocks: u32,
        upload: &str,
        properties: &Properties,
        condition: &Condition,
    ) -> Result<Etag, Trouble> {
        limits::check_properties(properties).map_err(|why| rule(StoreKind::Rejected, why))?;
        // Before the joining, which may take long; `publish` asks again, under the lock.
        self.read(name, |found| check(condition, found.as_ref()))?;
        let staged = match self.uploads.find(upload) {
            Some(staged) => staged,
            None if blocks == 0 => self.uploads.open(&self.shelf.staged(), upload)?,
            None => {
                return Err(rule(
                    StoreKind::Condition,
                    "its blocks were never staged, or are gone",
                ));
            }
        };
        let id = self.temporary_id(&key_of(name));
        let joined = staged.join(blocks, &self.shelf.temporary().join(&id));
        let published =
            joined.and_then(|whole| self.publish(name, &id, whole, properties, condition));
        let etag = self.tidied(&id, published)?;
        self.abandon(upload);
        Ok(etag)
    }

    /// Removes the temporary file of a write that failed.
    fn tidied<T>(&self, id: &str, result: Result<T, Trouble>) -> Result<T, Trouble> {
        if result.is_err() {
            self.swept(self.shelf.forget_temporary(id), id);
        }
        result
    }

    fn abandon(&self, upload: &str) {
        self.uploads.forget(upload);
        match fs::remove_dir_all(self.shelf.staged().join(upload)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => self.swept(Err(error), upload),
            _ => {}
        }
    }

    fn swept(&self, result: io::Result<()>, what: &str) {
        if let Err(error) = result {
            tracing::debug!(store = self.address, what, %error, "Could not tidy up.");
        }
    }

    fn append(&self, name: &str, bytes: &[u8], position: u64) -> Result<u64, Trouble> {
        limits::check_append(bytes.len()).map_err(|why| rule(StoreKind::Rejected, why))?;
        let key = key_of(name);
        let _lock = self.shelf.lock(&key, Alone::Yes)?;
        let end = position + bytes.len() as u64;
        match self.shelf.settled(name, &key)? {
            None if position == 0 => {
                let (id, mut file) = self.temporary(name, &key)?;
                file.write_all(bytes)?;
                file.sync_all()?;
                let properties = Properties {
                    content_type: "application/octet-stream".into(),
                    md5: [0; 16],
                    metadata: Default::default(),
                };
                let record = record_of(name, Place::Plain, &id, &file.metadata()?, &properties)?;
                let (place, _) = self.shelf.target(name, None)?;
                let record = Record { place, md5: None, modified: None, ..record };
                self.shelf.commit(&key, record, PutTarget::New)?;
            }
            None => {
                return Err(rule(
                    StoreKind::Condition,
                    "there is no such blob, so it is not that long",
                ));
            }
            Some(Found { record: Some(record), path, .. }) if record.modified.is_none() => {
                if record.size != position {
                    return Err(rule(
                        StoreKind::Condition,
                        format!("it is {} bytes long, not {position}", record.size),
                    ));
                }
                let mut file = OpenOptions::new().write(true).open(path)?;
                // Whatever a killed append left behind the end never counted.
                file.set_len(position)?;
                file.seek(SeekFrom::End(0))?;
                file.write_all(bytes)?;
                file.sync_all()?;
                self.shelf.amend(&Record { size: end, etag: random(), ..record })?;
            }
            Some(_) => return Err(rule(StoreKind::Condition, "it is no append blob")),
        }
        Ok(end)
    }

    fn list(&self, prefix: &str) -> Result<Vec<BlobInfo>, Trouble> {
        let mut names = Vec::new();
        let folder = prefix.rsplit_once('/').map(|(folder, _)| folder);
        match folder {
            None => self.walk(PathBuf::new(), prefix, &mut names)?,
            // No blob is there, and outside of our folder we have no business.
            Some(folder) if folder.split('/').any(|segment| matches!(segment, "" | "." | "..")) => {
            }
            Some(folder) => {
                // Only where such names can be: at their own path, or apart.
                let below = |place| {
                    paths::path_of(&format!("{folder}/x"), place)
                        .0
                        .parent()
                        .map(Path::to_owned)
                        .unwrap_or_default()
                };
                self.walk(below(Place::Plain), prefix, &mut names)?;
                self.walk(below(Place::Apart), prefix, &mut names)?;
            }
        }
        names.sort();
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            self.read(&name, |blob| {
                found.extend(blob.map(|blob| blob.info));
                Ok(())
            })?;
        }
        Ok(found)
    }

    fn walk(&self, start: PathBuf, prefix: &str, names: &mut Vec<String>) -> Result<(), Trouble> {
        let mut folders = vec![start];
        while let Some(below) = folders.pop() {
            let is_start = Path::new(prefix).starts_with(&below);
            let entries = match fs::read_dir(self.shelf.root.join(&below)) {
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                    ) && below != Path::new("") =>
                {
                    continue;
                }
                // `lost+found`, and whatever else somebody keeps to himself: no blob of ours.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !is_start => {
                    let folder = below.display();
                    tracing::warn!(store = self.address, %folder, %error, "A folder in the \
                        destination cannot be read; what is in it is left out.");
                    continue;
                }
                entries => entries?,
            };
            for entry in entries {
                let entry = entry?;
                let path = below.join(entry.file_name());
                if path == Path::new(OWN) {
                    continue;
                }
                if entry.file_type()?.is_dir() {
                    folders.push(path);
                } else if let Some(name) =
                    self.shelf.name_of(&path).filter(|name| name.starts_with(prefix))
                {
                    names.push(name);
                }
            }
        }
        Ok(())
    }

    /// Removes what dead processes left.
    fn sweep(&self) -> io::Result<()> {
        let now = OffsetDateTime::now_utc();
        for entry in fs::read_dir(self.shelf.temporary())? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let born = name
                .split('.')
                .nth(1)
                .and_then(|text| text.parse().ok())
                .and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
            if born.is_some_and(|born| now - born > LEFTOVER) {
                self.shelf.forget_temporary(&name)?;
            }
        }
        for entry in fs::read_dir(self.shelf.staged())? {
            let entry = entry?;
            let touched: OffsetDateTime = entry.metadata()?.modified()?.into();
            if now - touched > LEFTOVER {
                self.abandon(&entry.file_name().to_string_lossy());
            }
        }
        Ok(())
    }
}

fn check(condition: &Condition, found: Option<&Found>) -> Result<(), Trouble> {
    match (condition, found) {
        (Condition::IfAbsent, Some(_)) => Err(rule(StoreKind::Condition, "it is there already")),
        (Condition::IfMatch(etag), found) if found.map(|found| &found.info.etag) != Some(etag) => {
            Err(rule(StoreKind::Condition, "it is another version by now"))
        }
        _ => Ok(()),
    }
}

/// So many bytes of a file from `start` on.
fn part(path: &Path, start: u64, length: u64) -> io::Result<Bytes> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
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
        writes::MOST_TOGETHER
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
                let Some(Found { path, info, .. }) = found else { return Ok(None) };
                let length = info.size.checked_sub(start).ok_or_else(|| {
                    rule(StoreKind::Rejected, "it is shorter than where to start")
                })?;
                if length > max_bytes {
                    return Err(rule(
                        StoreKind::Rejected,
                        format!("it has {length} bytes, more than {max_bytes}"),
                    ));
                }
                Ok(Some((info, part(&path, start, length)?)))
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
        self.work("reading", name.as_str(), move |inner, name| {
            inner.read(name, |found| {
                let Some(Found { path, info, .. }) = found else { return Ok(None) };
                let length = info.size.checked_sub(start).ok_or_else(|| {
                    rule(StoreKind::Rejected, "it is shorter than where to start")
                })?;
                Ok(Some((info, part(&path, start, length.min(most))?)))
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
        drop(tokio::task::spawn_blocking(move || inner.abandon(upload_of(&first))).await);
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
            let _lock = inner.shelf.lock(&key, Alone::Yes)?;
            inner.shelf.settled(name, &key)?;
            Ok(inner.shelf.remove(name)?)
        })
        .await
    }
    async fn lease(&self, name: &BlobName, holder: &Holder) -> Result<Leased, StoreError> {
        let holder = holder.clone();
        self.work("leasing", name.as_str(), move |inner, name| {
            lease::take(&inner.shelf, name, &holder)
        })
        .await
    }

    async fn end_lease(&self, _name: &BlobName, _holder: &Holder) -> Result<(), StoreError> {
        // The system has done so when the holder died.
        Ok(())
    }
}
