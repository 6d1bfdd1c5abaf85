//! A share on Linux: everything is reached from a descriptor of its root, through no link.
//!
//! A path is a claim of each program that may write to the share: a folder or a file can be
//! exchanged with a link, a pipe or a device between two calls. So no path is resolved by itself:
//! each call begins at the root's descriptor, the kernel refuses links and whatever leads out of
//! the root (`openat2`, or one folder at a time where the kernel does not know it), nothing is
//! waited for in opening, and what was opened is looked at before a byte of it counts.

use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags, Stat, fcntl_setfl, fstat,
    fstatfs, linkat, mkdirat, openat, openat2, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;
use time::OffsetDateTime;

use super::identity::file_system_kind;
use super::in_use::{self, OpenFiles, keeps_nanoseconds};
use super::look::{FileLook, told};
use crate::model::RemotePath;
use crate::source::contract::{FileUse, Listed};

/// What a name is, when it is no regular file.
const NO_FILE: Errno = Errno::LOOP;

/// The root of a share.
#[derive(Debug)]
pub struct Share {
    path: RemotePath,
    root: OwnedFd,
    /// Whether its file system has gone away: another try opens the path anew.
    gone: AtomicBool,
    /// Whether its file system keeps times to the nanosecond, by its kind.
    is_exact: bool,
}

/// The folder that holds a path, and the name in it.
struct EntryPlace<'a> {
    folder: OwnedFd,
    name: &'a OsStr,
}

impl Share {
    /// Opens the folder at `path`, which the settings name: links on the way to it are followed.
    pub fn open(path: &RemotePath) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(Path::new(os(path.as_bytes())), flags, Mode::empty())?;
        let is_exact =
            fstatfs(&root).is_ok_and(|found| keeps_nanoseconds(file_system_kind(&found)));
        Ok(Self { path: path.clone(), root, gone: AtomicBool::new(false), is_exact })
    }

    /// Whether its file system answered that it is gone.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    fn seen<T>(&self, result: Result<T, Errno>) -> io::Result<T> {
        if let Err(Errno::NOTCONN | Errno::STALE | Errno::NODEV | Errno::SHUTDOWN) = result {
            self.gone.store(true, Ordering::Relaxed);
        }
        Ok(result?)
    }

    fn look(&self, found: &Stat) -> FileLook {
        look(found, self.is_exact)
    }

    /// Opens what lies at `below`, relative to the root, through no link.
    fn reach(&self, below: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        reach(&self.root, below, flags)
    }

    /// The folder of `path`. What lies outside of the share is where the settings say it is.
    fn place<'a>(&self, path: &'a RemotePath) -> Result<EntryPlace<'a>, Errno> {
        let bytes = path.as_bytes();
        let split = bytes.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        let name = os(&bytes[(split + 1).min(bytes.len())..]);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = match path.parent() {
            parent if parent == self.path => self.reach(b"", flags)?,
            parent => match parent.below(&self.path) {
                Some(below) => self.reach(below, flags)?,
                None => rustix::fs::open(Path::new(os(parent.as_bytes())), flags, Mode::empty())?,
            },
        };
        Ok(EntryPlace { folder, name })
    }

    /// Tells `each` what the folder at `dir` holds, until it returns `false`.
    pub fn list(&self, dir: &RemotePath, each: &mut dyn FnMut(Listed) -> bool) -> io::Result<()> {
        let below = if *dir == self.path { Some(&b""[..]) } else { dir.below(&self.path) };
        let below = below.ok_or(Errno::NOENT)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = self.seen(self.reach(below, flags))?;
        let mut entries = self.seen(Dir::read_from(&folder))?;
        while let Some(entry) = entries.read() {
            let entry = self.seen(entry)?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let path = dir.join(name);
            let listed = match entry.file_type() {
                FileType::Directory => Some(Listed::Directory(path)),
                FileType::Symlink => Some(Listed::Symlink(path)),
                FileType::RegularFile | FileType::Unknown => {
                    self.described(&folder, os(name), path)
                }
                _ => Some(Listed::Special(path)),
            };
            if listed.is_some_and(|listed| !each(listed)) {
                break;
            }
        }
        Ok(())
    }

    /// An entry as it is described; `None` if it went away meanwhile, which is as if it had never
    /// been there. One that cannot be described hides nothing but itself.
    fn described(&self, folder: &OwnedFd, name: &OsStr, path: RemotePath) -> Option<Listed> {
        let mut found = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
        if matches!(found, Err(Errno::IO | Errno::STALE | Errno::INTR | Errno::AGAIN)) {
            found = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
        }
        Some(match found {
            Ok(found) => match FileType::from_raw_mode(found.st_mode) {
                FileType::RegularFile => Listed::File(self.look(&found).file(path)),
                FileType::Directory => Listed::Directory(path),
                FileType::Symlink => Listed::Symlink(path),
                _ => Listed::Special(path),
            },
            Err(Errno::NOENT) => return None,
            Err(error) => Listed::Undescribed(path, reason(error)),
        })
    }

    /// The regular file at `path`; `None` if there is none.
    pub fn stat(&self, path: &RemotePath) -> io::Result<Option<FileLook>> {
        let found = self
            .place(path)
            .and_then(|place| statat(&place.folder, place.name, AtFlags::SYMLINK_NOFOLLOW));
        match found {
            Ok(found) => Ok(is_file(&found).then(|| self.look(&found))),
            Err(Errno::NOENT | Errno::NOTDIR | NO_FILE) => Ok(None),
            failed => self.seen(failed).map(|_| None),
        }
    }

    /// Opens the regular file at `path`. A link, a pipe, a device in its place is not there.
    pub fn read(&self, path: &RemotePath) -> io::Result<(File, FileLook)> {
        let below = path.below(&self.path).ok_or(Errno::NOENT)?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        // Opening a device may do something, so what is there is looked at first.
        if self.stat(path)?.is_none() {
            return Err(Errno::NOENT.into());
        }
        let opened = self.seen(self.reach(below, flags))?;
        let found = self.seen(fstat(&opened))?;
        if !is_file(&found) {
            return Err(Errno::NOENT.into());
        }
        self.seen(fcntl_setfl(&opened, OFlags::empty()))?;
        let file = File::from(opened);
        if let Err(TryLockError::WouldBlock) = file.try_lock_shared() {
            return Err(Errno::BUSY.into());
        }
        // It is asked for only to see whether somebody else has one. A task that wants one for
        // writing meets ours for a moment.
        drop(file.unlock());
        Ok((file, self.look(&found)))
    }

    /// Whether somebody writes to the file at `path`, or holds a lock on it.
    pub fn file_use(&self, path: &RemotePath, open: &OpenFiles) -> io::Result<FileUse> {
        let (file, found) = self.read(path)?;
        let Some((_, inode)) = found.id else { return Ok(FileUse::Unknown) };
        if let Some(who) = in_use::locked(inode) {
            return Ok(FileUse::Taken(who));
        }
        let kind = file_system_kind(&self.seen(fstatfs(&file))?);
        Ok(match open.writer(os(path.file_name()), inode) {
            Ok(Some(who)) => FileUse::Taken(who),
            Ok(None) if in_use::is_local(kind) => FileUse::Free,
            Ok(None) | Err(()) => FileUse::Unknown,
        })
    }

    /// The file that `file` is open for, as it is now.
    pub(crate) fn look_again(&self, file: &File) -> io::Result<FileLook> {
        self.seen(fstat(file)).map(|found| self.look(&found))
    }

    /// Removes the file at `path`, if it is `expected` still. `false` if it is another.
    pub fn remove(&self, path: &RemotePath, expected: Option<&FileLook>) -> io::Result<bool> {
        let removed = self.place(path).and_then(|place| {
            if !place.holds(expected, self.is_exact)? {
                return Ok(false);
            }
            unlinkat(&place.folder, place.name, AtFlags::empty()).map(|()| true)
        });
        match removed {
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(true),
            removed => self.seen(removed),
        }
    }

    /// Moves the file at `from` to `to`, never over another file, if it is `expected` still.
    /// `false` if it is another. The folder of `to` is there.
    pub fn rename(
        &self,
        from: &RemotePath,
        to: &RemotePath,
        expected: Option<&FileLook>,
    ) -> io::Result<bool> {
        let renamed = self.place(from).and_then(|from| {
            let to = self.place(to)?;
            if !from.holds(expected, self.is_exact)? {
                return Ok(false);
            }
            match renameat_with(
                &from.folder,
                from.name,
                &to.folder,
                to.name,
                RenameFlags::NOREPLACE,
            ) {
                Err(Errno::INVAL | Errno::NOSYS) => from.link_to(&to)?,
                result => result?,
            }
            Ok(true)
        });
        self.seen(renamed)
    }

    /// Makes the folders on the way to the file `path`.
    pub(crate) fn make_folders_of(&self, path: &RemotePath) -> io::Result<()> {
        let parent = path.parent();
        let Some(below) = parent.below(&self.path) else {
            return std::fs::create_dir_all(Path::new(os(parent.as_bytes())));
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut folder = self.seen(self.reach(b"", flags))?;
        for name in below.split(|byte| *byte == b'/') {
            match mkdirat(&folder, os(name), Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                failed => self.seen(failed)?,
            }
            folder = self.seen(openat(&folder, os(name), flags, Mode::empty()))?;
        }
        Ok(())
    }

    /// Creates the file `path`, which is not there yet.
    pub fn create(&self, path: &RemotePath) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let flags = flags | OFlags::NOFOLLOW;
        let place = self.seen(self.place(path))?;
        let mode = Mode::from_raw_mode(0o666);
        self.seen(openat(&place.folder, place.name, flags, mode)).map(File::from)
    }

    /// Brings the entries of the folder that holds `path` to the disk.
    pub(crate) fn sync_folder_of(&self, path: &RemotePath) -> io::Result<()> {
        let place = self.seen(self.place(path))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = self.seen(openat(&place.folder, ".", flags, Mode::empty()))?;
        File::from(folder).sync_all()
    }
}

impl EntryPlace<'_> {
    /// Whether the name is the file that was seen before.
    fn holds(&self, expected: Option<&FileLook>, is_exact: bool) -> Result<bool, Errno> {
        let Some(expected) = expected else { return Ok(true) };
        let found = statat(&self.folder, self.name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(is_file(&found) && look(&found, is_exact).is_still(expected))
    }

    /// A second name, then one less: for file systems that cannot rename without replacing.
    fn link_to(&self, to: &EntryPlace<'_>) -> Result<(), Errno> {
        match linkat(&self.folder, self.name, &to.folder, to.name, AtFlags::empty()) {
            Ok(()) => return unlinkat(&self.folder, self.name, AtFlags::empty()),
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK) => {}
            Err(error) => return Err(error),
        }
        // Without hard links there is nothing better than to look first.
        match statat(&to.folder, to.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Err(Errno::EXIST),
            Err(Errno::NOENT) => rustix::fs::renameat(&self.folder, self.name, &to.folder, to.name),
            Err(error) => Err(error),
        }
    }
}

/// One call where the kernel knows it, else one folder after another.
fn reach(root: &OwnedFd, below: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = if below.is_empty() { OsStr::new(".") } else { os(below) };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match openat2(root, path, flags, Mode::empty(), resolve) {
        // Unknown to kernels before 5.6; sandboxes refuse what they do not know.
        Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN) => step_by_step(root, below, flags),
        result => result,
    }
}

/// The same, with a call a folder: each is no link.
fn step_by_step(root: &OwnedFd, below: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    if below.is_empty() {
        return openat(root, ".", flags, Mode::empty());
    }
    let through = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut names = below.split(|byte| *byte == b'/').peekable();
    let mut folder: Option<OwnedFd> = None;
    while let Some(name) = names.next() {
        if matches!(name, b"" | b"." | b"..") {
            return Err(Errno::NOENT);
        }
        let last = names.peek().is_none();
        let flags = if last { flags | OFlags::NOFOLLOW } else { through };
        let from = folder.as_ref().map_or(root.as_fd(), AsFd::as_fd);
        folder = Some(openat(from, os(name), flags, Mode::empty())?);
    }
    folder.ok_or(Errno::NOENT)
}

fn reason(error: Errno) -> &'static str {
    match error {
        Errno::IO => "the share answers its description with an I/O error (EIO)",
        Errno::ACCESS | Errno::PERM => "the user may not describe it (EACCES)",
        Errno::STALE => "the server of the share lost it (ESTALE)",
        Errno::NOTCONN => "the share is not connected any more (ENOTCONN)",
        Errno::LOOP => "the share answers its description with ELOOP",
        Errno::NAMETOOLONG => "its path is too long for this system (ENAMETOOLONG)",
        Errno::OVERFLOW => "its size or time is beyond what this system can say (EOVERFLOW)",
        _ => "the share answers its description with an error",
    }
}

fn is_file(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
}

fn look(found: &Stat, is_exact: bool) -> FileLook {
    let seconds = i128::from(found.st_mtime) * 1_000_000_000;
    let modified =
        OffsetDateTime::from_unix_timestamp_nanos(seconds + i128::from(found.st_mtime_nsec));
    FileLook {
        id: Some((found.st_dev, found.st_ino)),
        size: u64::try_from(found.st_size).unwrap_or(0),
        modified: modified.ok().map(|at| told(at, is_exact)),
    }
}

fn os(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}
