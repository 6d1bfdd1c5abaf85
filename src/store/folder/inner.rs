//! The blobs of a folder, as blocking calls.

use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::Seek;
use std::io::{self, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::modes;
use crate::runtime::random;
use crate::store::contract::{BlobInfo, Condition, Etag, Properties, StoreKind};
use crate::store::folder::locks::ExclusiveLock;
use crate::store::folder::paths::{FolderPlace, OWN};
use crate::store::folder::record::{
    FolderBlob, FolderRecord, FolderShelf, PutTarget, key_of, record_of,
};
use crate::store::folder::staged::Uploads;
use crate::store::folder::trouble::{Trouble, check, rule};
use crate::store::folder::waiting::FolderWaiting;
use crate::store::limits;

#[derive(Debug)]
pub(crate) struct FolderInner {
    pub shelf: FolderShelf,
    pub address: String,
    pub uploads: Uploads,
    pub waiting: FolderWaiting,
    /// Where this machine keeps what it knows of its destinations.
    pub memory: Option<PathBuf>,
}

impl FolderInner {
    pub fn read<T>(
        &self,
        name: &str,
        work: impl FnOnce(Option<FolderBlob>) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let _lock = self.shelf.lock(&key_of(name), ExclusiveLock::No)?;
        work(self.shelf.find(name)?)
    }

    /// The name of a new temporary file for the name with `key`; it tells whose it is and how old.
    pub(crate) fn temporary_id(&self, key: &str) -> String {
        format!("{key}.{}.{}", OffsetDateTime::now_utc().unix_timestamp(), random::digits())
    }

    pub fn temporary(&self, name: &str, key: &str) -> io::Result<(String, File)> {
        let id = self.temporary_id(key);
        let file = modes::files_of(name)
            .create_new(true)
            .write(true)
            .open(self.shelf.temporary().join(&id))?;
        Ok((id, file))
    }

    /// Gives a file the modified time that its blob tells.
    pub(crate) fn set_time(&self, file: &File, id: &str, properties: &Properties) {
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
    pub(crate) fn publish(
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
        let record = record_of(name, FolderPlace::Plain, id, &file.metadata()?, properties)?;
        drop(file);
        let _lock = self.shelf.lock(&key, ExclusiveLock::Yes)?;
        let found = self.shelf.settled(name, &key)?;
        check(condition, found.as_ref())?;
        let (place, target) = self.shelf.target(name, found)?;
        let etag = Etag(record.etag.clone());
        self.shelf.commit(&key, FolderRecord { place, ..record }, target)?;
        Ok(etag)
    }

    pub fn commit(
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
    pub(crate) fn tidied<T>(&self, id: &str, result: Result<T, Trouble>) -> Result<T, Trouble> {
        if result.is_err() {
            self.swept(self.shelf.forget_temporary(id), id);
        }
        result
    }

    pub fn abandon(&self, upload: &str) {
        self.uploads.forget(upload);
        match fs::remove_dir_all(self.shelf.staged().join(upload)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => self.swept(Err(error), upload),
            _ => {}
        }
    }

    pub fn swept(&self, result: io::Result<()>, what: &str) {
        if let Err(error) = result {
            tracing::debug!(store = self.address, what, %error, "Could not tidy up.");
        }
    }

    pub fn append(&self, name: &str, bytes: &[u8], position: u64) -> Result<u64, Trouble> {
        limits::check_append(bytes.len()).map_err(|why| rule(StoreKind::Rejected, why))?;
        let key = key_of(name);
        let _lock = self.shelf.lock(&key, ExclusiveLock::Yes)?;
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
                    placement: Default::default(),
                };
                let record =
                    record_of(name, FolderPlace::Plain, &id, &file.metadata()?, &properties)?;
                let (place, _) = self.shelf.target(name, None)?;
                let record = FolderRecord { place, md5: None, modified: None, ..record };
                self.shelf.commit(&key, record, PutTarget::New)?;
            }
            None => {
                return Err(rule(
                    StoreKind::Condition,
                    "there is no such blob, so it is not that long",
                ));
            }
            Some(FolderBlob { record: Some(record), path, .. }) if record.modified.is_none() => {
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
                self.shelf.amend(&FolderRecord { size: end, etag: random::digits(), ..record })?;
            }
            Some(_) => return Err(rule(StoreKind::Condition, "it is no append blob")),
        }
        Ok(end)
    }

    pub fn list(&self, prefix: &str) -> Result<Vec<BlobInfo>, Trouble> {
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
                    self.shelf
                        .path_of(&format!("{folder}/x"), place)
                        .0
                        .parent()
                        .map(Path::to_owned)
                        .unwrap_or_default()
                };
                self.walk(below(FolderPlace::Plain), prefix, &mut names)?;
                self.walk(below(FolderPlace::Apart), prefix, &mut names)?;
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

    pub fn walk(
        &self,
        start: PathBuf,
        prefix: &str,
        names: &mut Vec<String>,
    ) -> Result<(), Trouble> {
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
    pub fn sweep(&self) -> io::Result<()> {
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

/// Unfinished files older than this are of dead processes; Azure drops blocks at the same age.
pub(crate) const LEFTOVER: Duration = Duration::from_secs(7 * 86_400);
