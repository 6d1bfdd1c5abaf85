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
    #[error("the server says: {message} (status {code})")]
    Status {
        /// One of [`status`], or any other number.
        code: u32,
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
        PacketReply::Status { code, message } if message.is_empty() => {
            ClientError::Status { code, message: words(code).into() }
        }
        PacketReply::Status { code, message } => {
            ClientError::Status { code, message: printable(&message[..message.len().min(300)]) }
        }
        _ => Malformed("its answer does not fit the question").into(),
    }
}

fn words(code: u32) -> &'static str {
    match code {
        status::EOF => "end of file",
        status::NO_SUCH_FILE => "no such file",
        status::PERMISSION_DENIED => "permission denied",
        status::FAILURE => "failure",
        status::OP_UNSUPPORTED => "operation unsupported",
        _ => "nothing more",
    }
}
