//! What one look at a file of a share shows: which file it is, and how it is described.

use time::OffsetDateTime;

use crate::model::{ModifiedTime, Precision, RemoteFile, RemotePath};

/// A regular file as the system describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileLook {
    /// Device and inode; `None` where the system tells none.
    pub id: Option<(u64, u64)>,
    /// Its bytes.
    pub size: u64,
    /// When it was written last, if the system can say it.
    pub modified: Option<OffsetDateTime>,
}

impl FileLook {
    /// The file at `path` that this is.
    pub fn file(&self, path: RemotePath) -> RemoteFile {
        let modified = self.modified.map(|at| ModifiedTime::new(at, Precision::Nanosecond));
        RemoteFile { path, size: Some(self.size), modified }
    }

    /// Whether this is the very file of an earlier look, with nothing written since.
    pub fn is_still(&self, earlier: &FileLook) -> bool {
        self == earlier
    }

    /// Whether `file` was described like this. What it does not tell speaks against nothing.
    pub fn is_like(&self, file: &RemoteFile) -> bool {
        let times = match (self.modified, file.modified) {
            (Some(ours), Some(theirs)) => {
                ModifiedTime::new(ours, Precision::Nanosecond).agrees_with(&theirs)
            }
            _ => true,
        };
        times && file.size.is_none_or(|size| size == self.size)
    }
}
