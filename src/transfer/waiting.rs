//! Folders of files that wait, where more files wait than are remembered one by one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::model::RemotePath;

/// Those of a pass, and how many files wait in each.
#[derive(Debug, Default)]
pub struct WaitingFolders {
    folders: Mutex<BTreeMap<RemotePath, u64>>,
    /// Files that are remembered elsewhere: of a piece, by its pass.
    elsewhere: AtomicUsize,
}

impl WaitingFolders {
    /// One more file waits in `folder`, or, where there are `most` folders already, in `root`.
    pub fn add(&self, folder: RemotePath, root: &RemotePath, most: usize) {
        let mut folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = folders.len() < most || folders.contains_key(&folder);
        *folders.entry(if has_room { folder } else { root.clone() }).or_default() += 1;
    }

    /// All of them.
    pub fn take(&self) -> BTreeMap<RemotePath, u64> {
        std::mem::take(&mut *self.folders.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// So many files are remembered elsewhere.
    pub(crate) fn set_elsewhere(&self, files: usize) {
        self.elsewhere.store(files, Ordering::Relaxed);
    }

    /// How many are.
    pub fn elsewhere(&self) -> usize {
        self.elsewhere.load(Ordering::Relaxed)
    }
}
