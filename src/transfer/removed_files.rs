//! Files that sources of a run took away from their servers. Two sources may see the same files
//! under different addresses, which no setting shows: the other source then finds that files which
//! were listed are not there any more.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use crate::model::{RemoteFile, RemotePath};
use crate::rules::equality::{self, Equality};

/// Files that are remembered, at most.
const MOST_FILES: usize = 50_000;

/// Those of a run.
#[derive(Debug, Default)]
pub struct RemovedFiles(Mutex<HashMap<Vec<u8>, Removal>>);

#[derive(Clone, Debug)]
struct Removal {
    source: String,
    file: RemoteFile,
}

impl RemovedFiles {
    /// `source` removed or moved this file.
    pub(crate) fn add(&self, source: &str, file: &RemoteFile) {
        let mut files = self.files();
        if files.len() < MOST_FILES {
            let removal = Removal { source: source.to_owned(), file: file.clone() };
            files.insert(file.path.file_name().to_vec(), removal);
        }
    }

    /// The source other than `source` that took away a file of this name, size and time.
    pub(crate) fn taken_by_other(&self, source: &str, file: &RemoteFile) -> Option<String> {
        let files = self.files();
        let removal = files.get(file.path.file_name())?;
        let path = RemotePath::from("/");
        let [then, now] =
            [&removal.file, file].map(|file| RemoteFile { path: path.clone(), ..file.clone() });
        let is_same = equality::sizes(then.size, now.size) == Equality::Same
            && equality::between(&then, &now).is_possible();
        (is_same && removal.source != source).then(|| removal.source.clone())
    }

    fn files(&self) -> MutexGuard<'_, HashMap<Vec<u8>, Removal>> {
        self.0.lock().expect("no code panics while it holds this lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ModifiedTime;

    #[test]
    fn a_file_that_another_source_took_is_known_by_its_name_size_and_time() {
        let file = |path: &str, size, seconds| RemoteFile {
            path: RemotePath::from(path),
            size: Some(size),
            modified: ModifiedTime::from_unix(seconds),
        };
        let removed = RemovedFiles::default();
        removed.add("acme", &file("/out/a.csv", 5, 1_700_000_000));
        let taken = |source, file| removed.taken_by_other(source, &file);
        let same = file("/srv/out/a.csv", 5, 1_700_000_000);
        assert_eq!(taken("beta", same.clone()), Some("acme".to_owned()));
        assert_eq!(taken("acme", same), None, "its own removals are none of another source");
        assert_eq!(taken("beta", file("/out/a.csv", 6, 1_700_000_000)), None);
        assert_eq!(taken("beta", file("/out/a.csv", 5, 1_700_000_001)), None);
        assert_eq!(taken("beta", file("/out/b.csv", 5, 1_700_000_000)), None);
    }
}
