//! A share on systems other than Linux: by paths, with a look before and after each step.
//!
//! A path that somebody exchanges in the very moment between look and step is not seen there; on
//! Linux (`beneath.rs`) it is.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use time::OffsetDateTime;

use super::look::{FileLook, told};
use super::paths;
use crate::model::RemotePath;
use crate::source::contract::{FileUse, Listed};

/// The root of a share.
#[derive(Debug)]
pub(crate) struct PathShare {
    root: PathBuf,
    host: String,
}

impl PathShare {
    /// The folder at `path` on `host`; without a host on this machine.
    pub fn open(path: &RemotePath, host: &str) -> io::Result<Self> {
        let root = paths::local(host, path);
        fs::metadata(&root)?;
        Ok(Self { root, host: host.to_owned() })
    }

    /// Each call asks by path anew.
    pub(crate) fn is_gone(&self) -> bool {
        false
    }

    fn local(&self, path: &RemotePath) -> PathBuf {
        paths::local(&self.host, path)
    }

    /// Refuses a path below the root that leads through a link.
    fn checked(&self, path: &RemotePath) -> io::Result<PathBuf> {
        let local = self.local(path);
        let above = local
            .ancestors()
            .skip(1)
            .take_while(|folder| folder.starts_with(&self.root) && *folder != self.root);
        for folder in above {
            if fs::symlink_metadata(folder)?.is_symlink() {
                return Err(io::ErrorKind::NotFound.into());
            }
        }
        Ok(local)
    }

    /// Tells `each` what the folder at `dir` holds, until it returns `false`.
    pub fn list(&self, dir: &RemotePath, each: &mut dyn FnMut(Listed) -> bool) -> io::Result<()> {
        for entry in fs::read_dir(self.checked(dir)?)? {
            let entry = entry?;
            let path = dir.join(&paths::name_bytes(&entry.file_name()));
            // Describes a link itself, not what it points to.
            let listed = match entry.metadata() {
                Ok(found) if found.is_file() => Listed::File(look(&found).file(path)),
                Ok(found) if found.is_dir() => Listed::Directory(path),
                Ok(found) if found.is_symlink() => Listed::Symlink(path),
                Ok(_) => Listed::Special(path),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(_) => {
                    let why = "the share answers its description with an error";
                    Listed::Undescribed(path, why)
                }
            };
            if !each(listed) {
                break;
            }
        }
        Ok(())
    }

    /// The regular file at `path`; `None` if there is none.
    pub fn stat(&self, path: &RemotePath) -> io::Result<Option<FileLook>> {
        use io::ErrorKind::{NotADirectory, NotFound};
        match self.checked(path).and_then(fs::symlink_metadata) {
            Ok(found) => Ok(found.is_file().then(|| look(&found))),
            Err(error) if matches!(error.kind(), NotFound | NotADirectory) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens the regular file at `path`.
    pub fn read(&self, path: &RemotePath) -> io::Result<(File, FileLook)> {
        if self.stat(path)?.is_none() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let file = self.options().open(self.checked(path)?)?;
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok((file, look(&found)))
    }

    fn options(&self) -> fs::OpenOptions {
        let mut options = fs::OpenOptions::new();
        options.read(true);
        #[cfg(windows)]
        {
            use std::os::windows::fs::OpenOptionsExt;
            // Shared with readers and with a program that removes it, not with a writer: a file
            // that is being written cannot be opened.
            const READ: u32 = 1;
            const DELETE: u32 = 4;
            options.share_mode(READ | DELETE);
        }
        options
    }

    /// Whether somebody writes to the file at `path`: where a file that is open for writing cannot
    /// be opened, opening it tells.
    pub fn file_use(&self, path: &RemotePath) -> io::Result<FileUse> {
        const SHARING_VIOLATION: i32 = 32;
        match self.read(path) {
            Err(error) if cfg!(windows) && error.raw_os_error() == Some(SHARING_VIOLATION) => {
                Ok(FileUse::Taken("another program has it open for writing".to_owned()))
            }
            Err(error) => Err(error),
            Ok(_) if cfg!(windows) => Ok(FileUse::Free),
            Ok((file, _)) => Ok(match file.try_lock_shared() {
                Err(fs::TryLockError::WouldBlock) => {
                    FileUse::Taken("another program holds a lock on it".to_owned())
                }
                _ => FileUse::Unknown,
            }),
        }
    }

    /// The file that `file` is open for, as it is now.
    pub(crate) fn look_again(&self, file: &File) -> io::Result<FileLook> {
        file.metadata().map(|found| look(&found))
    }

    fn holds(&self, path: &RemotePath, expected: Option<&FileLook>) -> io::Result<bool> {
        let Some(expected) = expected else { return Ok(true) };
        Ok(self.stat(path)?.is_some_and(|now| now.is_still(expected)))
    }

    /// Removes the file at `path`, if it is `expected` still. `false` if it is another.
    pub fn remove(&self, path: &RemotePath, expected: Option<&FileLook>) -> io::Result<bool> {
        if self.stat(path)?.is_some() && !self.holds(path, expected)? {
            return Ok(false);
        }
        match self.checked(path).and_then(fs::remove_file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(true),
        }
    }

    /// Moves the file at `from` to `to`, never over another file, if it is `expected` still.
    pub fn rename(
        &self,
        from: &RemotePath,
        to: &RemotePath,
        expected: Option<&FileLook>,
    ) -> io::Result<bool> {
        if !self.holds(from, expected)? {
            return Ok(false);
        }
        let (from, to) = (self.checked(from)?, self.local(to));
        // A second name refuses to replace; file systems without have nothing but the look.
        if fs::hard_link(&from, &to).is_ok() {
            return fs::remove_file(&from).map(|()| true);
        }
        match fs::symlink_metadata(&to) {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => fs::rename(from, to).map(|()| true),
        }
    }

    /// Makes the folders on the way to the file `path`.
    pub(crate) fn make_folders_of(&self, path: &RemotePath) -> io::Result<()> {
        self.local(path).parent().map_or(Ok(()), fs::create_dir_all)
    }

    /// Creates the file `path`, which is not there yet.
    pub fn create(&self, path: &RemotePath) -> io::Result<File> {
        File::options().read(true).write(true).create_new(true).open(self.local(path))
    }

    /// Brings the entries of the folder that holds `path` to the disk, where the system can.
    pub(crate) fn sync_folder_of(&self, path: &RemotePath) -> io::Result<()> {
        match self.local(path).parent() {
            Some(folder) if cfg!(unix) => File::open(Path::new(folder))?.sync_all(),
            _ => Ok(()),
        }
    }
}

fn look(found: &fs::Metadata) -> FileLook {
    #[cfg(unix)]
    let id = {
        use std::os::unix::fs::MetadataExt;
        Some((found.dev(), found.ino()))
    };
    #[cfg(not(unix))]
    let id = None;
    let modified = found.modified().ok().map(|at| told(OffsetDateTime::from(at), false));
    FileLook { id, size: found.len(), modified }
}
