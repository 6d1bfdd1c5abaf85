//! Paths as visitors name them, turned into paths below one folder and nowhere else.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// A folder that no path leads out of.
#[derive(Clone, Debug)]
pub(crate) struct Jail {
    root: PathBuf,
}

impl Jail {
    /// `root`, which must exist.
    pub fn new(root: &Path) -> io::Result<Self> {
        Ok(Self { root: root.canonicalize()? })
    }

    /// `path` without `.`, `..` and doubled slashes, as visitors see it.
    pub fn tidy(path: &[u8]) -> Vec<u8> {
        let mut tidy = Vec::new();
        for segment in segments(path) {
            tidy.push(b'/');
            tidy.extend_from_slice(segment);
        }
        if tidy.is_empty() { b"/".to_vec() } else { tidy }
    }

    /// Where `path` leads, symbolic links followed; an error if that is outside.
    pub fn follow(&self, path: &[u8]) -> io::Result<PathBuf> {
        let mut real = self.root.clone();
        for segment in segments(path) {
            real.push(os_name(segment)?);
        }
        self.inside(real.canonicalize()?)
    }

    /// The entry that `path` names, itself not followed if it is a link; its directory must be
    /// inside.
    pub fn entry(&self, path: &[u8]) -> io::Result<PathBuf> {
        let segments = segments(path);
        let Some((name, parents)) = segments.split_last() else { return Ok(self.root.clone()) };
        Ok(self.follow(&parents.join(&b'/'))?.join(os_name(name)?))
    }

    fn inside(&self, real: PathBuf) -> io::Result<PathBuf> {
        if real.starts_with(&self.root) {
            Ok(real)
        } else {
            Err(io::ErrorKind::PermissionDenied.into())
        }
    }
}

/// `..` at the top stays at the top.
fn segments(path: &[u8]) -> Vec<&[u8]> {
    let mut segments = Vec::new();
    for segment in path.split(|byte| *byte == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    segments
}

#[cfg(unix)]
fn os_name(segment: &[u8]) -> io::Result<OsString> {
    use std::os::unix::ffi::OsStrExt;
    Ok(std::ffi::OsStr::from_bytes(segment).to_owned())
}

#[cfg(not(unix))]
fn os_name(segment: &[u8]) -> io::Result<OsString> {
    // Drives, streams and other separators would lead out of the folder.
    let text = std::str::from_utf8(segment).map_err(|_| io::ErrorKind::InvalidInput)?;
    if text.contains(['\\', ':']) {
        Err(io::ErrorKind::InvalidInput.into())
    } else {
        Ok(text.into())
    }
}

/// The bytes that visitors see of a name.
#[cfg(unix)]
pub(crate) fn wire_name(name: &std::ffi::OsStr) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    name.as_bytes().to_vec()
}

/// The bytes that visitors see of a name.
#[cfg(not(unix))]
pub(crate) fn wire_name(name: &std::ffi::OsStr) -> Vec<u8> {
    name.to_string_lossy().into_owned().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_never_lead_out() {
        let outer = tempfile::tempdir().expect("a folder");
        let root = outer.path().join("root");
        std::fs::create_dir_all(root.join("sub")).expect("a folder");
        std::fs::write(outer.path().join("secret"), "x").expect("a file");
        let jail = Jail::new(&root).expect("it exists");
        let root = root.canonicalize().expect("it exists");
        for path in ["/..", "../../..", "/sub/../..", "//..//.", ""] {
            assert_eq!(jail.follow(path.as_bytes()).ok().as_ref(), Some(&root), "{path}");
        }
        assert!(jail.follow(b"/../secret").is_err());
        assert_eq!(jail.entry(b"/sub/../../new").ok(), Some(root.join("new")));
        assert_eq!(Jail::tidy(b"/a/./b//../c/"), b"/a/c");
        assert_eq!(Jail::tidy(b"."), b"/");
    }

    #[cfg(unix)]
    #[test]
    fn links_never_lead_out() {
        let outer = tempfile::tempdir().expect("a folder");
        let root = outer.path().join("root");
        std::fs::create_dir_all(&root).expect("a folder");
        std::fs::write(outer.path().join("secret"), "x").expect("a file");
        std::os::unix::fs::symlink(outer.path(), root.join("out")).expect("a link");
        let jail = Jail::new(&root).expect("it exists");
        assert!(jail.follow(b"/out/secret").is_err());
        assert!(jail.entry(b"/out/secret").is_err());
        assert!(jail.entry(b"/out").is_ok(), "the link itself is inside");
    }
}
