//! Local folders and mounted shares as a source.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;

use crate::model::failure::Class;
use crate::model::{RemoteFile, RemotePath};
use crate::settings::{Section, SettingError, SettingKey, SourceUrl, ValueKind};
use crate::source::contract::{
    Download, Driver, Endpoint, FileUse, Listed, Op, Session, ShareCheck, SourceError,
};
use crate::source::finding::{Finding, Tell};

#[cfg(target_os = "linux")]
mod beneath;
mod calls;
mod fault;
mod identity;
#[cfg(target_os = "linux")]
mod in_use;
mod look;
mod moving;
mod paths;
#[cfg(not(target_os = "linux"))]
mod plain;

#[cfg(target_os = "linux")]
use crate::source::file::beneath::Share;
use crate::source::file::calls::{CallError, Calls, Pulse};
use crate::source::file::look::FileLook;
#[cfg(not(target_os = "linux"))]
use crate::source::file::plain::PathShare as Share;

/// `file:///srv/share`.
pub(crate) const DRIVER: Driver = Driver { schemes: &["file"], keys: KEYS, configure };

const KEYS: &[SettingKey] = &[
    SettingKey {
        name: "stall_timeout",
        kind: ValueKind::Duration,
        doc: "How long the file system may take to answer a call; default 60s.",
    },
    SettingKey {
        name: "share",
        kind: ValueKind::OneOf(&["same", "any"]),
        doc: "`same` (the default): a share whose root is another file system than earlier runs \
            saw is not read; `any` takes whatever is there by now for it.",
    },
    SettingKey {
        name: "system_files",
        kind: ValueKind::Flag,
        doc: "Whether what systems and programs keep for themselves is brought over, too: \
            `.snapshot`, `lost+found`, `$RECYCLE.BIN`, `Thumbs.db`, `.DS_Store`, lock files of \
            Office and the like. Default false: left out as `excluded`.",
    },
];

const ADDRESS: &str = "file://";
const CHUNK: usize = 256 << 10;
/// Room to see whether more follows where a file should end.
const LAST_CHUNK: u64 = 4 << 10;
const STALL: Duration = Duration::from_secs(60);
/// Entries of a listing that are handed on together, and how long they may wait for each other.
const BATCH: usize = 1024;
const BATCH_TIME: Duration = Duration::from_millis(200);

fn configure(section: &Section, url: &SourceUrl) -> Result<Arc<dyn Endpoint>, SettingError> {
    let host = if url.host == "localhost" { "" } else { url.host.as_str() };
    if !host.is_empty() && !cfg!(windows) {
        let problem = format!(
            "names the host `{host}`; allowed is a path on this machine, as `file:///srv/share`: \
            mount the share and name where (Windows alone reaches `file://server/share`)"
        );
        return Err(section.error("url", problem));
    }
    let stall = match section.duration("stall_timeout")? {
        Some(Duration::ZERO) => {
            let problem = "is zero; allowed is a duration above it";
            return Err(section.error("stall_timeout", problem));
        }
        found => found.unwrap_or(STALL),
    };
    let any_share = section.one_of("share")? == Some("any");
    Ok(Arc::new(FileSourceFolder { any_share, ..FileSourceFolder::on(host, &url.root, stall) }))
}

/// A folder of this machine, and what is mounted there.
#[derive(Clone, Debug)]
pub struct FileSourceFolder {
    host: String,
    root: RemotePath,
    any_share: bool,
    calls: Arc<Calls>,
    /// The root's descriptor, as long as a session has it: an idle source keeps nobody from
    /// unmounting its share.
    share: Arc<Mutex<Weak<Share>>>,
    #[cfg(target_os = "linux")]
    open_files: Arc<in_use::OpenFiles>,
}

impl FileSourceFolder {
    /// The folder at `root`.
    pub fn new(root: &RemotePath) -> Self {
        Self::on("", root, STALL)
    }

    fn on(host: &str, root: &RemotePath, stall: Duration) -> Self {
        let (calls, share) = (Arc::new(Calls::new(stall)), Arc::default());
        Self {
            host: host.to_owned(),
            root: root.clone(),
            any_share: false,
            calls,
            share,
            #[cfg(target_os = "linux")]
            open_files: Arc::default(),
        }
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Weak<Share>> {
        self.share.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(target_os = "linux")]
    fn open_share(&self) -> io::Result<Share> {
        Share::open(&self.root)
    }

    #[cfg(not(target_os = "linux"))]
    fn open_share(&self) -> io::Result<Share> {
        Share::open(&self.root, &self.host)
    }
}

/// What lies at the local folder `root`, in words for people: which file system, room and rights.
pub fn told(root: &std::path::Path) -> io::Result<String> {
    identity::told(root)
}

#[async_trait]
impl Endpoint for FileSourceFolder {
    fn address(&self) -> &str {
        ADDRESS
    }

    fn default_connections(&self) -> usize {
        8
    }

    fn local(&self, path: &RemotePath) -> Option<PathBuf> {
        Some(paths::local(&self.host, path))
    }

    async fn share(&self) -> Result<ShareCheck, SourceError> {
        let root = paths::local(&self.host, &self.root);
        let found = self.calls.run(move |_| identity::identity(&root)).await;
        Ok(match found.map_err(|error| fail(Op::Connect, &self.root, error))? {
            None => ShareCheck::None,
            Some(id) if self.any_share => ShareCheck::Any(id),
            Some(id) => ShareCheck::Known(id),
        })
    }

    async fn open(&self) -> Result<Box<dyn Session>, SourceError> {
        Ok(Box::new(FolderSession { folder: self.clone(), share: None, seen: None, reading: None }))
    }

    async fn diagnose(&self, tell: Tell<'_>) -> Result<Box<dyn Session>, SourceError> {
        let root = paths::local(&self.host, &self.root);
        let told = self.calls.run(move |_| identity::told(&root)).await;
        let text = told.map_err(|error| fail(Op::Connect, &self.root, error))?;
        tell(Finding::new("file system", text));
        self.open().await
    }
}

struct FolderSession {
    folder: FileSourceFolder,
    share: Option<Arc<Share>>,
    /// The last file that was described: what is removed or moved must be it.
    seen: Option<(RemotePath, FileLook)>,
    reading: Option<OpenFile>,
}

/// The file that was opened last, and how it had been described before.
struct OpenFile {
    described: RemoteFile,
    file: Arc<File>,
}

fn fail(op: Op, path: &RemotePath, error: CallError) -> SourceError {
    fault::fail(op, ADDRESS, path, error)
}

impl FolderSession {
    /// The share, opened if nobody has it open.
    async fn share(&mut self) -> Result<Arc<Share>, CallError> {
        if let Some(share) = self.share.as_ref().filter(|share| !share.is_gone()) {
            return Ok(share.clone());
        }
        let open = self.folder.current().upgrade().filter(|share| !share.is_gone());
        let share = match open {
            Some(share) => share,
            None => {
                let folder = self.folder.clone();
                let opened = self.folder.calls.run(move |_| folder.open_share()).await?;
                let opened = Arc::new(opened);
                *self.folder.current() = Arc::downgrade(&opened);
                opened
            }
        };
        self.share = Some(share.clone());
        Ok(share)
    }

    /// Does `work` on the share, in bounded time.
    async fn work<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Share, &Pulse) -> io::Result<T> + Send + 'static,
    ) -> Result<T, CallError> {
        let share = self.share().await?;
        self.folder.calls.run(move |pulse| work(&share, pulse)).await
    }

    fn expected(&mut self, path: &RemotePath) -> Option<FileLook> {
        self.seen.take().filter(|(seen, _)| seen == path).map(|(_, look)| look)
    }

    async fn list_in_parts(
        &mut self,
        dir: &RemotePath,
        visit: &mut (dyn FnMut(Listed) + Send),
    ) -> Result<(), CallError> {
        let (share, dir) = (self.share().await?, dir.clone());
        let (parts, mut listed) = tokio::sync::mpsc::channel(2);
        // One thread for a folder, not one hop for an entry.
        let call = self.folder.calls.begin(move |pulse| {
            let (mut part, mut since) = (Vec::new(), Instant::now());
            let each = &mut |entry| {
                part.push(entry);
                pulse.beat();
                if part.len() < BATCH && since.elapsed() < BATCH_TIME {
                    return true;
                }
                since = Instant::now();
                parts.blocking_send(std::mem::take(&mut part)).is_ok()
            };
            let result = share.list(&dir, each);
            // Without a receiver the listing is over.
            drop(parts.blocking_send(part));
            result
        })?;
        while let Some(part) = call.next(&mut listed).await? {
            part.into_iter().for_each(&mut *visit);
            // A task that polls this may have what was found taken first.
            tokio::task::yield_now().await;
        }
        call.end().await
    }
}

/// What a look at `path` after a reading says: of the file that was read, if another one had been
/// in its place when it was opened.
fn after_reading(
    share: &Share,
    path: &RemotePath,
    reading: Option<OpenFile>,
) -> io::Result<Option<FileLook>> {
    let now = share.stat(path)?;
    let (Some(now), Some(OpenFile { described, file })) = (now, reading) else { return Ok(now) };
    let read = share.look_again(&file)?;
    Ok(Some(if read.id != now.id && !read.is_like(&described) { read } else { now }))
}

#[async_trait]
impl Session for FolderSession {
    fn fork(&self) -> Option<Box<dyn Session>> {
        None
    }

    async fn list(
        &mut self,
        dir: &RemotePath,
        visit: &mut (dyn FnMut(Listed) + Send),
    ) -> Result<(), SourceError> {
        self.list_in_parts(dir, visit).await.map_err(|error| fail(Op::List, dir, error))
    }

    async fn stat(&mut self, path: &RemotePath) -> Result<Option<RemoteFile>, SourceError> {
        let reading = self.reading.take().filter(|reading| reading.described.path == *path);
        let asked = path.clone();
        let looked = self.work(move |share, _| after_reading(share, &asked, reading)).await;
        let look = looked.map_err(|error| fail(Op::Stat, path, error))?;
        self.seen = look.map(|look| (path.clone(), look));
        Ok(look.map(|look| look.file(path.clone())))
    }

    async fn read<'a>(
        &'a mut self,
        file: &RemoteFile,
        offset: u64,
    ) -> Result<Box<dyn Download + 'a>, SourceError> {
        let (path, size) = (file.path.clone(), file.size.unwrap_or(u64::MAX));
        // With its first bytes, which of most files are all: one call instead of three.
        let opened = self.work(move |share, _| {
            let (opened, _) = share.read(&path)?;
            let first = FilePiece::read(&opened, offset, size)?;
            Ok((opened, first))
        });
        let (opened, first) = opened.await.map_err(|error| fail(Op::Read, &file.path, error))?;
        let opened = Arc::new(opened);
        self.reading = Some(OpenFile { described: file.clone(), file: opened.clone() });
        let (path, calls) = (file.path.clone(), self.folder.calls.clone());
        let (position, first, is_over) = (offset, Some(first), false);
        Ok(Box::new(FolderDownload { file: opened, path, size, position, first, is_over, calls }))
    }

    async fn file_use(&mut self, path: &RemotePath) -> Result<FileUse, SourceError> {
        let asked = path.clone();
        #[cfg(target_os = "linux")]
        let found = {
            let open = self.folder.open_files.clone();
            self.work(move |share, _| share.file_use(&asked, &open)).await
        };
        #[cfg(not(target_os = "linux"))]
        let found = self.work(move |share, _| share.file_use(&asked)).await;
        match found {
            Err(CallError::Io(error)) if error.kind() == io::ErrorKind::ResourceBusy => {
                Ok(FileUse::Taken("another program holds a lock on it".to_owned()))
            }
            found => found.map_err(|error| fail(Op::Stat, path, error)),
        }
    }

    async fn remove(&mut self, path: &RemotePath) -> Result<(), SourceError> {
        let (gone, expected) = (path.clone(), self.expected(path));
        let removed = self.work(move |share, _| share.remove(&gone, expected.as_ref())).await;
        match removed.map_err(|error| fail(Op::Remove, path, error))? {
            true => Ok(()),
            false => Err(another(Op::Remove, path)),
        }
    }

    async fn rename(&mut self, from: &RemotePath, to: &RemotePath) -> Result<(), SourceError> {
        let (expected, paths) = (self.expected(from), (from.clone(), to.clone()));
        let moved = self
            .work(move |share, pulse| {
                moving::rename(share, (&paths.0, &paths.1), expected.as_ref(), pulse)
            })
            .await;
        match moved {
            Ok(true) => Ok(()),
            Ok(false) => Err(another(Op::Rename, from)),
            Err(CallError::Io(error)) if error.kind() == io::ErrorKind::AlreadyExists => {
                let cause = format!("`{to}` exists already");
                Err(SourceError::new(Op::Rename, ADDRESS, Class::Permission, cause)
                    .at(from)
                    .session_survives())
            }
            Err(error) => Err(fail(Op::Rename, from, error)),
        }
    }

    async fn close(self: Box<Self>) {}
}

fn another(op: Op, path: &RemotePath) -> SourceError {
    let cause = "another file lies there by now, so it stays";
    SourceError::new(op, ADDRESS, Class::AfterAction, cause).at(path).session_survives()
}

struct FolderDownload {
    file: Arc<File>,
    path: RemotePath,
    /// As it was described.
    size: u64,
    position: u64,
    /// What was read when it was opened.
    first: Option<FilePiece>,
    is_over: bool,
    calls: Arc<Calls>,
}

/// Bytes of a file.
struct FilePiece {
    bytes: Bytes,
    /// Whether the file ends behind them.
    is_last: bool,
}

impl FilePiece {
    /// The next bytes of `file`, which was described to have `size`, from `position` on.
    fn read(file: &File, position: u64, size: u64) -> io::Result<Self> {
        // No more than is to be expected: fresh memory costs, and most files are small.
        let expected = size.saturating_sub(position).clamp(LAST_CHUNK, CHUNK as u64);
        let mut chunk = vec![0; expected as usize];
        let (mut length, mut is_last) = (0, false);
        while length < chunk.len() && !is_last {
            let read = read_at(file, &mut chunk[length..], position + length as u64)?;
            (length, is_last) = (length + read, read == 0);
        }
        chunk.truncate(length);
        Ok(Self { bytes: chunk.into(), is_last })
    }
}

#[async_trait]
impl Download for FolderDownload {
    async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        let part = match self.first.take() {
            Some(first) => first,
            None if self.is_over => return Ok(None),
            None => {
                let (file, position, size) = (self.file.clone(), self.position, self.size);
                let read = self.calls.run(move |_| FilePiece::read(&file, position, size));
                read.await.map_err(|error| fail(Op::Read, &self.path, error))?
            }
        };
        self.position += part.bytes.len() as u64;
        self.is_over = part.is_last;
        Ok((!part.bytes.is_empty()).then_some(part.bytes))
    }
}

fn read_at(file: &File, chunk: &mut [u8], position: u64) -> io::Result<usize> {
    loop {
        #[cfg(unix)]
        let read = std::os::unix::fs::FileExt::read_at(file, chunk, position);
        #[cfg(windows)]
        let read = std::os::windows::fs::FileExt::seek_read(file, chunk, position);
        match read {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
