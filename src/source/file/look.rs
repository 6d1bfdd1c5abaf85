//! What one look at a file of a share shows: which file it is, and how it is described.

use time::OffsetDateTime;

use crate::model::{ModifiedTime, Precision, RemoteFile, RemotePath};

/// A regular file as the system describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileLook {
    /// Device and inode; `None` where the system tells none.
    pub id: Option<(u64, u64)>,
    /// Its bytes.
    pub size: u64,
    /// When it was written last, if the system can say it, as exactly as it can.
    pub modified: Option<ModifiedTime>,
}

/// A time as its file system shows it. Of one that `is_exact` every nanosecond counts; another may
/// keep whole seconds and show the rest as nothing.
pub fn told(at: OffsetDateTime, is_exact: bool) -> ModifiedTime {
    let is_whole = at.nanosecond() == 0 && !is_exact;
    ModifiedTime::new(at, if is_whole { Precision::Second } else { Precision::Nanosecond })
}

impl FileLook {
    /// The file at `path` that this is.
    pub fn file(&self, path: RemotePath) -> RemoteFile {
        RemoteFile { path, size: Some(self.size), modified: self.modified }
    }

    /// Whether this is the very file of an earlier look, with nothing written since.
    pub(crate) fn is_still(&self, earlier: &FileLook) -> bool {
        self == earlier
    }

    /// Whether `file` was described like this. What it does not tell speaks against nothing.
    pub(crate) fn is_like(&self, file: &RemoteFile) -> bool {
        let times = match (self.modified, file.modified) {
            (Some(ours), Some(theirs)) => ours.agrees_with(&theirs),
            _ => true,
        };
        times && file.size.is_none_or(|size| size == self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn a_share_that_cuts_its_times_shows_the_files_that_it_showed_before() {
        let (fine, cut) =
            (datetime!(2026-11-20 10:00:00.25 UTC), datetime!(2026-11-20 10:00:00 UTC));
        assert!(told(cut, false).agrees_with(&told(fine, true)), "it was moved to another server");
        assert!(!told(cut, true).agrees_with(&told(fine, true)), "there every nanosecond counts");
        assert!(!told(fine, false).agrees_with(&told(datetime!(2026-11-20 10:00:00.5 UTC), true)));
    }
}
