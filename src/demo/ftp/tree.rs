//! The folder that is served: paths as clients write them to paths on disk, never outside.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use time::OffsetDateTime;

/// A folder that nothing leads out of: `..` stops at its top, symbolic links are shown, not
/// followed.
#[derive(Debug)]
pub(crate) struct DemoFtpTree {
    root: PathBuf,
}

/// Something in a folder.
#[derive(Clone, Debug)]
pub(crate) struct DemoFtpEntry {
    /// Its name, byte for byte.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: DemoFtpKind,
    /// Its size.
    pub size: u64,
    /// Its modified time.
    pub modified: OffsetDateTime,
}

/// What something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DemoFtpKind {
    File,
    Directory,
    /// With its target.
    Symlink(Vec<u8>),
    Special,
}

impl DemoFtpTree {
    /// The folder at `root`, which has to be there.
    pub fn new(root: &Path) -> io::Result<Self> {
        let root = root.canonicalize()?;
        match root.is_dir() {
            true => Ok(Self { root }),
            false => Err(io::Error::new(io::ErrorKind::NotADirectory, "the root is no folder")),
        }
    }

    /// Where `path` (absolute, as [`absolute`] makes it) is on disk. Everything above its last
    /// segment is a true folder; what it is itself, if anything, the caller has to look at.
    pub(crate) fn locate(&self, path: &[u8]) -> io::Result<PathBuf> {
        let mut local = self.root.clone();
        let mut segments =
            path.split(|b| *b == b'/').filter(|segment| !segment.is_empty()).peekable();
        while let Some(segment) = segments.next() {
            local.push(os_name(segment).ok_or(io::ErrorKind::NotFound)?);
            if segments.peek().is_some() && !fs::symlink_metadata(&local)?.is_dir() {
                return Err(io::ErrorKind::NotFound.into());
            }
        }
        Ok(local)
    }

    /// What is at `path`; a symbolic link is a symbolic link.
    pub fn entry(&self, path: &[u8]) -> io::Result<DemoFtpEntry> {
        let local = self.locate(path)?;
        let name = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
        described(name.to_vec(), &local, &fs::symlink_metadata(&local)?)
    }

    /// Where the file at `path` is on disk, if it is a file and no link.
    pub fn file(&self, path: &[u8]) -> io::Result<(PathBuf, DemoFtpEntry)> {
        let entry = self.entry(path)?;
        match entry.kind {
            DemoFtpKind::File => Ok((self.locate(path)?, entry)),
            _ => Err(io::Error::new(io::ErrorKind::NotFound, "not a plain file")),
        }
    }

    /// What is in the folder at `path`, by name.
    pub fn list(&self, path: &[u8]) -> io::Result<Vec<DemoFtpEntry>> {
        let local = self.locate(path)?;
        if !fs::symlink_metadata(&local)?.is_dir() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let mut entries = Vec::new();
        for found in fs::read_dir(&local)? {
            let found = found?;
            // What has vanished since the folder was opened is not in it.
            if let Ok(metadata) = found.metadata() {
                entries.push(described(name_bytes(found.file_name()), &found.path(), &metadata)?);
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }
}

fn described(name: Vec<u8>, local: &Path, metadata: &Metadata) -> io::Result<DemoFtpEntry> {
    let kind = match metadata.file_type() {
        kind if kind.is_symlink() => DemoFtpKind::Symlink(
            fs::read_link(local)
                .map(|target| name_bytes(target.into_os_string()))
                .unwrap_or_default(),
        ),
        kind if kind.is_dir() => DemoFtpKind::Directory,
        kind if kind.is_file() => DemoFtpKind::File,
        _ => DemoFtpKind::Special,
    };
    Ok(DemoFtpEntry {
        name,
        kind,
        size: metadata.len(),
        modified: OffsetDateTime::from(metadata.modified()?),
    })
}

/// `argument` as seen from the folder `here`: absolute, without `.` and `..`, which stops at the
/// top.
pub fn absolute(here: &[u8], argument: &[u8]) -> Vec<u8> {
    let start = if argument.starts_with(b"/") { &b""[..] } else { here };
    let mut segments: Vec<&[u8]> = Vec::new();
    for segment in start.split(|b| *b == b'/').chain(argument.split(|b| *b == b'/')) {
        match segment {
            b"" | b"." => {}
            b".." => drop(segments.pop()),
            name => segments.push(name),
        }
    }
    [b"/", segments.join(&b'/').as_slice()].concat()
}

#[cfg(unix)]
fn os_name(bytes: &[u8]) -> Option<OsString> {
    use std::os::unix::ffi::OsStringExt;
    (!bytes.contains(&0)).then(|| OsString::from_vec(bytes.to_vec()))
}

#[cfg(not(unix))]
fn os_name(bytes: &[u8]) -> Option<OsString> {
    // There, these would be separators, drives and streams.
    let text = std::str::from_utf8(bytes).ok().filter(|text| !text.contains(['\\', ':', '\0']))?;
    Some(OsString::from(text))
}

#[cfg(unix)]
fn name_bytes(name: OsString) -> Vec<u8> {
    use std::os::unix::ffi::OsStringExt;
    name.into_vec()
}

#[cfg(not(unix))]
fn name_bytes(name: OsString) -> Vec<u8> {
    name.to_string_lossy().into_owned().into_bytes()
}
