//! Folders whose names differ in case alone, and what was listed in both: a server that folds case
//! shows one folder twice, and what the other one holds is never seen.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard};

use crate::model::{RemoteFile, RemotePath};
use crate::rules::equality;

/// Pairs of one source that are looked at, at most.
const MOST_PAIRS: usize = 20;
/// Files of a pair that are compared, at most.
const MOST_FILES: usize = 1_000;

/// Those of a pass.
#[derive(Debug, Default)]
pub struct AlikeFolders(Mutex<Vec<FolderPair>>);

/// Two folders, and the files that were listed in them.
#[derive(Clone, Debug)]
pub(crate) struct FolderPair {
    /// One of the two.
    pub one: RemotePath,
    /// The other one.
    pub other: RemotePath,
    /// By their paths below: the file as it was listed first, whether that was in `one`, and
    /// whether it was listed in both.
    files: HashMap<Vec<u8>, (RemoteFile, bool, bool)>,
    /// Whether some file is not the same in both.
    apart: bool,
}

impl FolderPair {
    /// The paths of each file in both folders, if all files are listed in both with equal sizes and
    /// times.
    pub(crate) fn twins(&self) -> Option<Vec<[RemotePath; 2]>> {
        let all = self.files.values().all(|(_, _, both)| *both);
        let paths = |below: &Vec<u8>| [self.one.join(below), self.other.join(below)];
        (all && !self.apart && !self.files.is_empty())
            .then(|| self.files.keys().map(paths).collect())
    }

    /// The same if one of them is among `files`.
    pub(crate) fn twins_among(&self, files: &HashSet<RemotePath>) -> Option<Vec<[RemotePath; 2]>> {
        self.twins().filter(|twins| twins.as_flattened().iter().any(|path| files.contains(path)))
    }

    fn see(&mut self, file: &RemoteFile) {
        let in_one = file.path.below(&self.one);
        let Some(below) = in_one.or_else(|| file.path.below(&self.other)) else { return };
        let is_full = self.files.len() >= MOST_FILES;
        match self.files.get_mut(below) {
            Some((_, of_one, _)) if *of_one == in_one.is_some() => {}
            Some((first, _, both)) => {
                let same = RemoteFile { path: first.path.clone(), ..file.clone() };
                *both = true;
                self.apart |= !equality::between(first, &same).is_possible()
                    || first.modified != same.modified;
            }
            None if is_full => {}
            None => {
                self.files.insert(below.to_vec(), (file.clone(), in_one.is_some(), false));
            }
        }
    }
}

impl AlikeFolders {
    /// Two more.
    pub(crate) fn add(&self, one: RemotePath, other: RemotePath) {
        let mut pairs = self.pairs();
        if pairs.len() < MOST_PAIRS {
            pairs.push(FolderPair { one, other, files: HashMap::new(), apart: false });
        }
    }

    /// A file was listed.
    pub(crate) fn see(&self, file: &RemoteFile) {
        self.pairs().iter_mut().for_each(|pair| pair.see(file));
    }

    /// All pairs.
    pub(crate) fn all(&self) -> Vec<FolderPair> {
        self.pairs().clone()
    }

    fn pairs(&self) -> MutexGuard<'_, Vec<FolderPair>> {
        self.0.lock().expect("no code panics while it holds this lock")
    }
}
