//! Local folders and mounted shares as a source.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use time::OffsetDateTime;
use tokio::io::AsyncReadExt;

use crate::failure::Class;
use crate::model::{ModifiedTime, Precision, RemoteFile, RemotePath};
use crate::settings::{Section, SettingError, SourceUrl};
use crate::source::contract::{Download, Driver, Endpoint, Listed, Op, Session, SourceError};
use crate::source::finding::{Finding, Tell};

/// `file:///srv/share`.
pub const DRIVER: Driver = Driver { schemes: &["file"], keys: &[], configure };

const ADDRESS: &str = "file://";
const CHUNK: usize = 256 << 10;

fn configure(section: &Section, url: &SourceUrl) -> Result<Arc<dyn Endpoint>, SettingError> {
    if !url.host.is_empty() && url.host != "localhost" {
        let problem = format!(
            "names the host `{}`; allowed is a path on this machine, as `file:///srv/share`",
            url.host
        );
        return Err(section.error("url", problem));
    }
    Ok(Arc::new(Folder))
}

/// The file system of this machine.
#[derive(Debug)]
pub struct Folder;

#[async_trait]
impl Endpoint for Folder {
    fn address(&self) -> &str {
        ADDRESS
    }

    fn default_connections(&self) -> usize {
        8
    }

    fn local(&self, path: &RemotePath) -> Option<PathBuf> {
        Some(local(path))
    }

    async fn open(&self) -> Result<Box<dyn Session>, SourceError> {
        Ok(Box::new(FolderSession))
    }

    async fn diagnose(&self, tell: Tell<'_>) -> Result<Box<dyn Session>, SourceError> {
        tell(Finding::new("open", "the file system of this machine"));
        self.open().await
    }
}

struct FolderSession;

#[cfg(unix)]
fn local(path: &RemotePath) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    PathBuf::from(std::ffi::OsStr::from_bytes(path.as_bytes()))
}

/// `/C:/share/x` names `C:/share/x`, as in every `file://` URL on Windows.
#[cfg(not(unix))]
fn local(path: &RemotePath) -> PathBuf {
    PathBuf::from(String::from_utf8_lossy(&path.as_bytes()[1..]).into_owned())
}

#[cfg(unix)]
fn name_bytes(name: std::ffi::OsString) -> Vec<u8> {
    use std::os::unix::ffi::OsStringExt;
    name.into_vec()
}

#[cfg(not(unix))]
fn name_bytes(name: std::ffi::OsString) -> Vec<u8> {
    name.to_string_lossy().into_owned().into_bytes()
}

fn fail(op: Op, path: &RemotePath, error: io::Error) -> SourceError {
    let class = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => {
            Class::NotFound
        }
        io::ErrorKind::PermissionDenied => Class::Permission,
        io::ErrorKind::TimedOut | io::ErrorKind::StaleNetworkFileHandle => Class::Stalled,
        _ => Class::Protocol,
    };
    SourceError::new(op, ADDRESS, class, error).at(path).session_survives()
}

fn describe(path: RemotePath, metadata: &std::fs::Metadata) -> RemoteFile {
    let modified = metadata
        .modified()
        .ok()
        .map(|at| ModifiedTime::new(OffsetDateTime::from(at), Precision::Nanosecond));
    RemoteFile { path, size: Some(metadata.len()), modified }
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
        let mut entries =
            tokio::fs::read_dir(local(dir)).await.map_err(|error| fail(Op::List, dir, error))?;
        while let Some(entry) =
            entries.next_entry().await.map_err(|error| fail(Op::List, dir, error))?
        {
            let path = dir.join(&name_bytes(entry.file_name()));
            // Describes a link itself, not what it points to.
            match entry.metadata().await {
                Ok(metadata) if metadata.is_file() => {
                    visit(Listed::File(describe(path, &metadata)))
                }
                Ok(metadata) if metadata.is_dir() => visit(Listed::Directory(path)),
                Ok(metadata) if metadata.is_symlink() => visit(Listed::Symlink(path)),
                Ok(_) => visit(Listed::Special(path)),
                // Gone between the listing and the look at it: it was never there for us.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(fail(Op::List, &path, error)),
            }
        }
        Ok(())
    }

    async fn stat(&mut self, path: &RemotePath) -> Result<Option<RemoteFile>, SourceError> {
        match tokio::fs::symlink_metadata(local(path)).await {
            Ok(metadata) if metadata.is_file() => Ok(Some(describe(path.clone(), &metadata))),
            Ok(_) => Ok(None),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(fail(Op::Stat, path, error)),
        }
    }

    async fn read<'a>(
        &'a mut self,
        file: &RemoteFile,
        offset: u64,
    ) -> Result<Box<dyn Download + 'a>, SourceError> {
        use tokio::io::AsyncSeekExt;
        let path = file.path.clone();
        let mut opened = tokio::fs::File::open(local(&path))
            .await
            .map_err(|error| fail(Op::Read, &path, error))?;
        opened.set_max_buf_size(CHUNK);
        opened
            .seek(io::SeekFrom::Start(offset))
            .await
            .map_err(|error| fail(Op::Read, &path, error))?;
        Ok(Box::new(FolderDownload { file: opened, path }))
    }

    async fn remove(&mut self, path: &RemotePath) -> Result<(), SourceError> {
        match tokio::fs::remove_file(local(path)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(fail(Op::Remove, path, error))
            }
            _ => Ok(()),
        }
    }

    async fn rename(&mut self, from: &RemotePath, to: &RemotePath) -> Result<(), SourceError> {
        let failed = |error| fail(Op::Rename, from, error);
        if let Some(parent) = local(to).parent() {
            tokio::fs::create_dir_all(parent).await.map_err(failed)?;
        }
        if tokio::fs::symlink_metadata(local(to)).await.is_ok() {
            let cause = format!("`{to}` exists already");
            return Err(SourceError::new(Op::Rename, ADDRESS, Class::Permission, cause)
                .at(from)
                .session_survives());
        }
        tokio::fs::rename(local(from), local(to)).await.map_err(failed)
    }

    async fn close(self: Box<Self>) {}
}

struct FolderDownload {
    file: tokio::fs::File,
    path: RemotePath,
}

#[async_trait]
impl Download for FolderDownload {
    async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        let mut chunk = BytesMut::with_capacity(CHUNK);
        let read = self
            .file
            .read_buf(&mut chunk)
            .await
            .map_err(|error| fail(Op::Read, &self.path, error))?;
        Ok((read > 0).then(|| chunk.freeze()))
    }
}
