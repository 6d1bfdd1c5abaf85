//! Promised against arrived: size, modified time at its precision, checksum.

use crate::failpoint::safeguard_off;
use crate::model::failure::{Class, Failure};
use crate::model::{Md5, RemoteFile, hex};
use crate::rules::equality::{self, Equality};

/// What a file turned out to be when its bytes had arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Size and modified time are what was promised before the read, and still hold after it.
    Whole,
    /// All of it arrived, and the server does not show it any more.
    Unseen,
    /// All of it arrived, and only its time is another one now.
    Touched,
    /// The file at the source is another one than when the read began: take it later.
    Changed,
    /// The file went away before all of it had arrived.
    Vanished,
}

/// Why bytes cannot be what they were promised to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// The source says one size and sends another.
    #[error("the source promised {promised} bytes and sent {arrived}")]
    Size {
        /// Bytes in listing and description.
        promised: u64,
        /// Bytes that arrived.
        arrived: u64,
    },
    /// The store holds other bytes than were sent.
    #[error("{sent} was sent with MD5 {sent_md5}, {stored} is stored with MD5 {stored_md5}",
        sent = .0.0, sent_md5 = hex(&.0.1), stored = .1.0,
        stored_md5 = .1.1.as_ref().map_or("none".into(), |md5| hex(md5)))]
    Stored((u64, Md5), (u64, Option<Md5>)),
}

impl Failure for Mismatch {
    fn class(&self) -> Class {
        match self {
            Mismatch::Size { .. } => Class::SizeMismatch,
            Mismatch::Stored(..) => Class::StoreConflict,
        }
    }
    fn is_transient(&self) -> bool {
        false
    }
}

/// Judges a read that the server itself has ended: `before` and `after` are the source's
/// descriptions of the file around the read (`after` is `None` if it gives none any more),
/// `arrived` is the number of bytes read.
pub(crate) fn source(
    before: &RemoteFile,
    after: Option<&RemoteFile>,
    arrived: u64,
) -> Result<Verdict, Mismatch> {
    let Some(after) = after else { return Ok(without_after(before, arrived)) };
    if equality::between(before, after) == Equality::Different && !safeguard_off!("look-after-read")
    {
        let only_its_time = equality::sizes(before.size, after.size) == Equality::Same
            && before.size == Some(arrived);
        return Ok(if only_its_time { Verdict::Touched } else { Verdict::Changed });
    }
    match after.size.or(before.size) {
        Some(promised) if promised != arrived && !safeguard_off!("verify") => {
            Err(Mismatch::Size { promised, arrived })
        }
        _ => Ok(Verdict::Whole),
    }
}

/// Some servers take a file away as soon as it was read: then nobody has it but us.
fn without_after(before: &RemoteFile, arrived: u64) -> Verdict {
    if before.size.is_none_or(|promised| promised == arrived) {
        Verdict::Unseen
    } else {
        Verdict::Vanished
    }
}

/// Whether a blob in the store is the content that we sent: size and MD5.
pub(crate) fn stored(sent: (u64, Md5), stored: (u64, Option<Md5>)) -> Result<(), Mismatch> {
    if sent.0 == stored.0 && stored.1 == Some(sent.1) {
        Ok(())
    } else {
        Err(Mismatch::Stored(sent, stored))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ModifiedTime, RemotePath};

    fn file(size: Option<u64>, seconds: i64) -> RemoteFile {
        RemoteFile {
            path: RemotePath::from("/a"),
            size,
            modified: ModifiedTime::from_unix(seconds),
        }
    }

    #[test]
    fn a_file_that_ends_early_is_a_mismatch() {
        let listed = file(Some(100), 1);
        assert_eq!(
            source(&listed, Some(&listed), 60),
            Err(Mismatch::Size { promised: 100, arrived: 60 })
        );
    }

    #[test]
    fn a_file_that_grows_or_shrinks_is_taken_later() {
        let listed = file(Some(100), 1);
        assert_eq!(source(&listed, Some(&file(Some(200), 1)), 150), Ok(Verdict::Changed));
        assert_eq!(source(&listed, Some(&file(Some(200), 1)), 200), Ok(Verdict::Changed));
        assert_eq!(source(&listed, Some(&file(Some(100), 2)), 60), Ok(Verdict::Changed));
    }

    #[test]
    fn a_file_of_which_only_the_time_moved_is_told_apart() {
        assert_eq!(
            source(&file(Some(100), 1), Some(&file(Some(100), 2)), 100),
            Ok(Verdict::Touched)
        );
    }

    #[test]
    fn a_file_that_is_taken_away_once_it_was_read_has_arrived() {
        assert_eq!(source(&file(Some(100), 1), None, 100), Ok(Verdict::Unseen));
        assert_eq!(source(&file(None, 1), None, 7), Ok(Verdict::Unseen));
        assert_eq!(source(&file(Some(100), 1), None, 60), Ok(Verdict::Vanished));
    }

    #[test]
    fn a_server_that_knows_no_size_is_believed_at_its_end_of_file() {
        assert_eq!(source(&file(None, 1), Some(&file(None, 1)), 7), Ok(Verdict::Whole));
    }

    #[test]
    fn a_stored_blob_without_md5_is_no_proof() {
        assert!(stored((1, [0; 16]), (1, None)).is_err());
        assert!(stored((1, [0; 16]), (1, Some([0; 16]))).is_ok());
    }
}
