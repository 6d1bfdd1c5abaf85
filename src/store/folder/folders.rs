//! Folders in a destination, made as they are needed: below its root, and never the store's own.
//!
//! A destination that is unmounted while a run is at work leaves an empty folder. Were the store's
//! own folder made there, the next run would take the mount point for the destination.

use std::fs::{DirBuilder, File};
use std::io::{self, ErrorKind};
use std::path::Path;

use super::modes;
use super::paths::OWN;

/// Makes folders below a root.
pub(crate) struct DestinationFolders<'a> {
    root: &'a Path,
    builder: DirBuilder,
}

impl<'a> DestinationFolders<'a> {
    /// Those of the blob `name`.
    pub fn of(root: &'a Path, name: &str) -> Self {
        Self { root, builder: modes::folders_of(name) }
    }

    /// Those that others than owner and group cannot enter.
    pub fn private(root: &'a Path) -> Self {
        Self { root, builder: modes::private_folders() }
    }

    /// Does `work` on `path`, and once more in a folder that is made if there was none.
    pub fn with_folder_of<T>(
        mut self,
        path: &Path,
        work: impl Fn() -> io::Result<T>,
    ) -> io::Result<T> {
        match (work(), path.parent()) {
            (Err(error), Some(folder)) if error.kind() == ErrorKind::NotFound => {
                self.make_all(folder)?;
                work()
            }
            (result, _) => result,
        }
    }

    /// Makes `folder`.
    pub fn make(mut self, folder: &Path) -> io::Result<()> {
        self.make_all(folder)
    }

    /// What is in a new folder is durable once its own entry, and those above, are.
    fn make_all(&mut self, folder: &Path) -> io::Result<()> {
        let below = folder.strip_prefix(self.root).map_err(io::Error::other)?;
        let own = self.root.join(OWN);
        if !own.is_dir() {
            return Err(io::Error::new(
                ErrorKind::NotFound,
                format!(
                    "`{}` is not the folder any more that this run began with: `{OWN}` is missing \
                    in it",
                    self.root.display()
                ),
            ));
        }
        self.builder.recursive(false);
        let mut at = self.root.to_owned();
        for part in below {
            let holder = at.clone();
            at.push(part);
            if at.is_dir() {
                continue;
            }
            if at != own {
                match self.builder.create(&at) {
                    Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
                    _ => {}
                }
            }
            if cfg!(unix) {
                File::open(holder)?.sync_all()?;
            }
        }
        Ok(())
    }
}
