//! Promised against arrived: size, modified time at its precision, checksum.

use crate::failpoint::left_out;
use crate::failure::{Class, Failure};
use crate::model::{Md5, RemoteFile, hex};

/// What a file turned out to be when its bytes had arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Size and modified time are what was promised before the read, and still hold after it.
    Whole,
    /// The file at the source is another one than when the read began: take it later.
    Changed,
    /// The file is no longer there.
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
    #[error("{sent} was sent with MD5 {sent_md5}, {stored} is stored with MD5 {stored_md5}", sent = .0.0, sent_md5 = hex(&.0.1), stored = .1.0, stored_md5 = .1.1.as_ref().map_or("none".into(), |md5| hex(md5)))]
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

/// Judges a finished read: `before` and `after` are the source's descriptions of the file around the
/// read (`after` is `None` if it is gone), `arrived` is the number of bytes read.
pub fn source(before: &RemoteFile, after: Option<&RemoteFile>, arrived: u64) -> Result<Verdict, Mismatch> {
    let Some(after) = after else { return Ok(Verdict::Vanished) };
    if !after.unchanged_since(before) {
        return Ok(Verdict::Changed);
    }
    match after.size.or(before.size) {
        Some(promised) if promised != arrived && !left_out!("verify") => Err(Mismatch::Size { promised, arrived }),
        _ => Ok(Verdict::Whole),
    }
}

/// Whether a blob in the store is the content that we sent: size and MD5.
pub fn stored(sent: (u64, Md5), stored: (u64, Option<Md5>)) -> Result<(), Mismatch> {
    if sent.0 == stored.0 && stored.1 == Some(sent.1) { Ok(()) } else { Err(Mismatch::Stored(sent, stored)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ModifiedTime, RemotePath};

    fn file(size: Option<u64>, seconds: i64) -> RemoteFile {
        RemoteFile { path: RemotePath::from("/a"), size, modified: ModifiedTime::from_unix(seconds) }
    }

    #[test]
    fn a_file_that_ends_early_is_a_mismatch() {
        let listed = file(Some(100), 1);
        assert_eq!(source(&listed, Some(&listed), 60), Err(Mismatch::Size { promised: 100, arrived: 60 }));
    }

    #[test]
    fn a_file_that_grows_shrinks_or_vanishes_is_taken_later() {
        let listed = file(Some(100), 1);
        assert_eq!(source(&listed, Some(&file(Some(200), 1)), 150), Ok(Verdict::Changed));
        assert_eq!(source(&listed, Some(&file(Some(100), 2)), 100), Ok(Verdict::Changed));
        assert_eq!(source(&listed, None, 100), Ok(Verdict::Vanished));
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
