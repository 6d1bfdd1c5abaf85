//! File systems that change a file's time after it was closed: there its bytes tell whether it is
//! what was written.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use md5::Digest;

use crate::model::Md5;

/// So many comparisons are remembered.
const MOST_FILES: usize = 100_000;

/// Files whose times have moved, and whose bytes were found to be those that were written.
#[derive(Clone, Debug, Default)]
pub(crate) struct MovedTimes(Arc<Mutex<HashMap<String, i128>>>);

impl MovedTimes {
    /// Whether the file at `path`, which has another time by now (`at`) than when the version
    /// `etag` was written, still has the bytes of it.
    pub(crate) fn still_holds(
        &self,
        path: &Path,
        etag: &str,
        md5: &Md5,
        at: i128,
    ) -> io::Result<bool> {
        if self.known().get(etag) == Some(&at) {
            return Ok(true);
        }
        if hash(path)? != *md5 {
            return Ok(false);
        }
        let mut known = self.known();
        if known.is_empty() {
            tracing::info!(
                path = %path.display(),
                "The destination's file system changes a file's time after it was written; its \
                bytes are compared instead."
            );
        }
        if known.len() >= MOST_FILES {
            known.clear();
        }
        known.insert(etag.to_owned(), at);
        Ok(true)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, i128>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hash(path: &Path) -> io::Result<Md5> {
    let (mut file, mut hash, mut piece) = (File::open(path)?, md5::Md5::new(), vec![0; 256 << 10]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hash.finalize().into()),
            read => hash.update(&piece[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_whose_time_moved_is_known_by_its_bytes() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a");
        std::fs::write(&path, b"bytes").expect("it writes");
        let md5: Md5 = md5::Md5::digest(b"bytes").into();
        let times = MovedTimes::default();
        let holds = |etag, at| times.still_holds(&path, etag, &md5, at).expect("it reads");
        assert!(holds("one", 1));
        std::fs::write(&path, b"other").expect("it writes");
        assert!(holds("one", 1), "this was compared");
        assert!(!holds("one", 2) && !holds("two", 1));
    }
}
