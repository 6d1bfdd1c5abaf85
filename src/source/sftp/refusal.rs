//! Why a request has no good answer.

use std::sync::Arc;
use std::time::Duration;

use super::packet::{Malformed, PacketReply, status};
use crate::model::printable;
use crate::source::contract::IsFolder;
use crate::source::pace::TooSlow;

/// Why a request has no good answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClientError {
    /// The server answered with this status.
    #[error("the server says: {message} (status {told})")]
    Status {
        /// What it means: one of [`status`], or any other number.
        code: u32,
        /// What the server sent, which may be a number of a later version of the protocol.
        told: u32,
        /// The server's words, safe to print.
        message: String,
    },
    /// Nothing came for this long.
    #[error("no answer within {0:?}")]
    Stalled(Duration),
    /// Less came than has to, in so much time.
    #[error(transparent)]
    Slow(#[from] TooSlow),
    /// The server gave out a handle that is in use: nothing that it tells of either file can be
    /// believed.
    #[error("the server gave one handle to two open files")]
    HandleTwice,
    /// The server does not say for long which handle a file has that it was asked to open, so that
    /// nobody knows whether it is one that is in use.
    #[error(
        "the server did not answer a request to open a file within {0:?}, while others were read"
    )]
    OpensLate(Duration),
    /// The session ended, for this reason, before the server said which handle a file has that it
    /// was asked to open: nobody knows whether it is one that others were read by.
    #[error("{0}, before it answered a request to open a file, while others were read")]
    OpensUnanswered(Box<ClientError>),
    /// The server speaks another version of the protocol.
    #[error("the server speaks version {0} of SFTP, and this program version 3")]
    Version(u32),
    /// What was listed as a file is a folder.
    #[error(transparent)]
    Folder(#[from] IsFolder),
    /// The connection is gone, and every request on it.
    #[error("the connection was lost: {0}")]
    Lost(Arc<str>),
    /// The server's answer is not what the protocol allows.
    #[error("the server broke the protocol: {0}")]
    Broken(Malformed),
}

impl From<Malformed> for ClientError {
    fn from(malformed: Malformed) -> Self {
        ClientError::Broken(malformed)
    }
}

/// The error that an answer stands for.
pub(super) fn unexpected(reply: PacketReply) -> ClientError {
    match reply {
        PacketReply::Status { code: status::OK, .. } => {
            Malformed("it says OK where an answer was due").into()
        }
        PacketReply::Status { code: told, message } => {
            let message = match message.is_empty() {
                true => words(told).into(),
                false => printable(&message[..message.len().min(300)]),
            };
            ClientError::Status { code: meaning(told), told, message }
        }
        _ => Malformed("its answer does not fit the question").into(),
    }
}

/// Numbers of versions 4 to 6 that servers send under version 3 as well.
/// Source: draft-ietf-secsh-filexfer-13, section 9.1.
mod later {
    pub(super) const NO_SUCH_PATH: u32 = 10;
    pub(super) const WRITE_PROTECT: u32 = 12;
    pub(super) const LOCK_CONFLICT: u32 = 17;
    pub(super) const NOT_A_DIRECTORY: u32 = 19;
    pub(super) const CANNOT_DELETE: u32 = 22;
    pub(super) const BYTE_RANGE_LOCK_CONFLICT: u32 = 25;
    /// The first and the last of all of them.
    pub(super) const RANGE: std::ops::RangeInclusive<u32> = 9..=31;
}

/// What a status means in the numbers of version 3.
pub(super) fn meaning(code: u32) -> u32 {
    match code {
        later::NO_SUCH_PATH | later::NOT_A_DIRECTORY => status::NO_SUCH_FILE,
        later::WRITE_PROTECT | later::CANNOT_DELETE => status::PERMISSION_DENIED,
        code if later::RANGE.contains(&code) => status::FAILURE,
        code => code,
    }
}

/// Whether a status, or its words, say that somebody else uses the file.
pub(super) fn is_in_use(told: u32, message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    matches!(told, later::LOCK_CONFLICT | later::BYTE_RANGE_LOCK_CONFLICT)
        || told == status::FAILURE && IN_USE.iter().any(|words| message.contains(words))
}

/// Windows' words for a file that another program has open, and those of some servers.
const IN_USE: [&str; 4] =
    ["being used by another process", "sharing violation", "file is busy", "file is locked"];

fn words(code: u32) -> &'static str {
    match code {
        status::EOF => "end of file",
        status::NO_SUCH_FILE => "no such file",
        status::PERMISSION_DENIED => "permission denied",
        status::FAILURE => "failure",
        status::BAD_MESSAGE => "bad message",
        status::NO_CONNECTION => "no connection",
        status::CONNECTION_LOST => "connection lost",
        status::OP_UNSUPPORTED => "operation unsupported",
        code if later::RANGE.contains(&code) => LATER_WORDS[(code - later::RANGE.start()) as usize],
        _ => "nothing more",
    }
}

/// The names of the later numbers, in their order.
const LATER_WORDS: [&str; 23] = [
    "invalid handle",
    "no such path",
    "file already exists",
    "write protect",
    "no media",
    "no space on filesystem",
    "quota exceeded",
    "unknown principal",
    "lock conflict",
    "directory not empty",
    "not a directory",
    "invalid filename",
    "link loop",
    "cannot delete",
    "invalid parameter",
    "file is a directory",
    "byte range lock conflict",
    "byte range lock refused",
    "delete pending",
    "file corrupt",
    "owner invalid",
    "group invalid",
    "no matching byte range lock",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_open_elsewhere_is_known_by_number_or_words() {
        let windows = "The process cannot access the file because it is being used by another \
            process.";
        for (told, message, is) in [
            (later::LOCK_CONFLICT, "", true),
            (status::FAILURE, windows, true),
            (status::FAILURE, "Failure", false),
            (status::PERMISSION_DENIED, windows, false),
        ] {
            assert_eq!(is_in_use(told, message), is, "{told} {message}");
        }
    }

    #[test]
    fn a_status_of_a_later_version_means_what_its_name_says() {
        for (told, code, text) in [
            (2, 2, "no such file (status 2)"),
            (8, 8, "operation unsupported (status 8)"),
            (9, 4, "invalid handle (status 9)"),
            (10, 2, "no such path (status 10)"),
            (12, 3, "write protect (status 12)"),
            (17, 4, "lock conflict (status 17)"),
            (19, 2, "not a directory (status 19)"),
            (22, 3, "cannot delete (status 22)"),
            (24, 4, "file is a directory (status 24)"),
            (31, 4, "no matching byte range lock (status 31)"),
            (32, 32, "nothing more (status 32)"),
            (4711, 4711, "nothing more (status 4711)"),
        ] {
            let error = unexpected(PacketReply::Status { code: told, message: Default::default() });
            assert_eq!(error.to_string(), format!("the server says: {text}"));
            assert!(matches!(error, ClientError::Status { code: found, .. } if found == code));
        }
    }
}
