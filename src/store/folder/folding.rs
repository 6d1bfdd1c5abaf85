//! File systems that take two names for one: which do, and which names stand there exactly.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::paths::OWN;

/// So many folders are remembered.
const MOST_FOLDERS: usize = 10_000;

/// What is known of the file system below a root.
#[derive(Clone, Debug, Default)]
pub(crate) struct Folding {
    folds: Arc<OnceLock<bool>>,
    /// Folders whose names on the disk are those that they are asked by.
    exact: Arc<Mutex<HashSet<PathBuf>>>,
}

impl Folding {
    /// Whether the file system below `root` takes names for one that differ in case: then it knows
    /// our own folder under another name, too. Nothing is written for it.
    pub fn folds(&self, root: &Path) -> bool {
        if let Some(known) = self.folds.get() {
            return *known;
        }
        if fs::symlink_metadata(root.join(OWN)).is_err() {
            return false;
        }
        // Inodes tell nothing: some file systems by FUSE give one to each name.
        let other = OWN.to_ascii_uppercase();
        *self.folds.get_or_init(|| {
            fs::symlink_metadata(root.join(&other)).is_ok()
                && stands(root, Path::new(&other)).is_ok_and(|stands| !stands)
        })
    }

    /// Whether each folder on the way to `below` has the very name on the disk that it is asked by.
    /// Those that are not there yet get it.
    pub(crate) fn has_exact_folders(&self, root: &Path, below: &Path) -> io::Result<bool> {
        let Some(folder) = below.parent().filter(|folder| !folder.as_os_str().is_empty()) else {
            return Ok(true);
        };
        if self.exact().contains(folder) {
            return Ok(true);
        }
        if fs::symlink_metadata(root.join(folder)).is_err() {
            return self.has_exact_folders(root, folder);
        }
        let exact = self.has_exact_folders(root, folder)? && stands(root, folder)?;
        if exact {
            let mut known = self.exact();
            if known.len() >= MOST_FOLDERS {
                known.clear();
            }
            known.insert(folder.to_owned());
        }
        Ok(exact)
    }

    /// Whether `below` stands on the disk under this very name.
    pub(crate) fn is_exact(&self, root: &Path, below: &Path) -> io::Result<bool> {
        Ok(self.has_exact_folders(root, below)? && stands(root, below)?)
    }

    fn exact(&self) -> std::sync::MutexGuard<'_, HashSet<PathBuf>> {
        self.exact.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the folder of `below` lists its last name.
fn stands(root: &Path, below: &Path) -> io::Result<bool> {
    let (Some(folder), Some(name)) = (below.parent(), below.file_name()) else { return Ok(true) };
    for entry in fs::read_dir(root.join(folder))? {
        if entry?.file_name() == name {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Gives the file `from` the name `to`, if nothing stands there; `AlreadyExists` if something does.
pub(crate) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // Some file systems by FUSE cannot.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
            result => return Ok(result?),
        }
    }
    // One look and one rename at a time in this process. Of another one, with a lock on a name that
    // folds to the same, nothing is known here.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    match fs::symlink_metadata(to) {
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(_) => fs::rename(from, to),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_name_replaces_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name);
        fs::write(at("new"), "new").expect("it writes");
        fs::write(at("old"), "old").expect("it writes");
        let error = rename_new(&at("new"), &at("old")).expect_err("it is there");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(at("old")).expect("it reads"), "old");
        rename_new(&at("new"), &at("free")).expect("it is free");
        assert!(at("free").exists() && !at("new").exists());
    }

    #[test]
    fn names_are_compared_with_those_on_the_disk() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(dir.path().join("acme/Data")).expect("it is made");
        fs::write(dir.path().join("acme/Data/x"), "").expect("it writes");
        let folding = Folding::default();
        let exact = |below: &str| folding.is_exact(dir.path(), Path::new(below)).expect("it looks");
        assert!(exact("acme/Data/x") && !exact("acme/Data/X") && !exact("acme/Data/y"));
        let folders =
            |below: &str| folding.has_exact_folders(dir.path(), Path::new(below)).expect("looks");
        assert!(folders("acme/Data/new") && folders("acme/none yet/new") && folders("new"));
        assert!(!folding.folds(dir.path()), "our own folder is not there");
        fs::create_dir(dir.path().join(OWN)).expect("it is made");
        assert_eq!(folding.folds(dir.path()), dir.path().join(".BLOBFERRY").exists());
    }
}
