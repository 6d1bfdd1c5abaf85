//! One login: what its sessions share, and what the client's answers mean to the contract.

use std::sync::atomic::AtomicUsize;

use bytes::Bytes;
use time::{Duration, OffsetDateTime};

use super::client::{Client, ClientError};
use super::link_memory::FollowedLinks;
use super::packet::{Attributes, status};
use super::refusal::is_in_use;
use super::transport::SftpConnection;
use crate::model::failure::{Class, Failure};
use crate::model::{ModifiedTime, RemoteFile, RemotePath};
use crate::source::contract::{Op, SourceError};

/// One login carries this many files at once: measured best between 32 and 100. Far away, small
/// files come this many times faster than one by one.
pub(crate) const MOST_FORKS: usize = 64;
/// Open handles that a fork may need: a file and a directory.
const HANDLES_PER_FORK: u64 = 2;

/// What the forks of a session share; dropping the last one closes the connection.
pub struct SftpLogin {
    /// Where it leads to.
    pub address: String,
    /// What `/~` stands for, if paths begin there.
    pub home: Option<Bytes>,
    /// How links are followed, if they are.
    pub links: Option<FollowedLinks>,
    /// The connection.
    pub connection: SftpConnection,
    /// How many sessions share it.
    pub users: AtomicUsize,
}

impl SftpLogin {
    /// The SFTP channel.
    pub fn client(&self) -> &Client {
        &self.connection.client
    }

    /// How many sessions may share it.
    pub fn room(&self) -> usize {
        let open = self.client().limits().open();
        let room = open.map_or(MOST_FORKS, |open| {
            usize::try_from(open / HANDLES_PER_FORK).unwrap_or(MOST_FORKS).clamp(1, MOST_FORKS)
        });
        self.client().learned().requests.sessions(room)
    }

    /// The bytes that the server knows `path` by.
    pub fn wire(&self, path: &RemotePath) -> Vec<u8> {
        match (&self.home, path.as_bytes()) {
            (Some(home), b"/~") => home.to_vec(),
            // Some servers take `./` before a path for a part of it.
            (Some(home), bytes) if home.as_ref() == b"." && bytes.starts_with(b"/~/") => {
                bytes[3..].to_vec()
            }
            (Some(home), bytes) if bytes.starts_with(b"/~/") => {
                let home: &[u8] = home.strip_suffix(b"/").unwrap_or(home);
                [home, &bytes[2..]].concat()
            }
            (_, bytes) => bytes.to_vec(),
        }
    }

    /// What the client's `error` means.
    pub fn fail(&self, op: Op, path: &RemotePath, error: ClientError) -> SourceError {
        if matches!(error, ClientError::HandleTwice) {
            self.client().learned().handle_came_twice(&self.address);
        }
        if matches!(error, ClientError::OpensLate(_)) {
            self.client().learned().opens_came_late(&self.address);
        }
        if matches!(error, ClientError::Folder(_)) {
            return SourceError::is_folder(op, &self.address, path);
        }
        fail(op, &self.address, error).at(path)
    }
}

/// The file of these attributes.
pub(crate) fn remote_file(path: RemotePath, attributes: &Attributes) -> RemoteFile {
    // Times before 1970 arrive as ones after 2100: version 3 has no sign.
    let latest = OffsetDateTime::now_utc() + Duration::days(50 * 365);
    let modified =
        attributes.modified.and_then(|seconds| ModifiedTime::from_unix(i64::from(seconds)));
    RemoteFile::told(path, attributes.size, modified.filter(|modified| modified.at < latest))
}

/// The one place that says what a client's error means to the contract.
pub fn fail(op: Op, address: &str, error: ClientError) -> SourceError {
    let class = match &error {
        ClientError::Stalled(_) | ClientError::Slow(_) => Class::Stalled,
        ClientError::Lost(_) => Class::Connect,
        // The next login has one file open at a time.
        ClientError::HandleTwice | ClientError::OpensLate(_) => {
            let failure = SourceError::new(op, address, Class::Protocol, error);
            return failure.transient(true).spoiling();
        }
        ClientError::OpensUnanswered(reason) => {
            let class = fail(op, address, ClientError::clone(reason)).class();
            return SourceError::new(op, address, class, error).transient(true).spoiling();
        }
        ClientError::Broken(_) | ClientError::Version(_) | ClientError::Folder(_) => {
            Class::Protocol
        }
        ClientError::Status { told, message, .. } if is_in_use(*told, message) => Class::Busy,
        ClientError::Status { code, .. } => match *code {
            status::NO_SUCH_FILE => Class::NotFound,
            status::PERMISSION_DENIED => Class::Permission,
            status::NO_CONNECTION | status::CONNECTION_LOST => {
                return SourceError::new(op, address, Class::Connect, error);
            }
            _ => Class::Protocol,
        },
    };
    let answered = matches!(error, ClientError::Status { .. });
    let failure = SourceError::new(op, address, class, error);
    // A status is an answer like any other: the connection goes on.
    if answered { failure.session_survives() } else { failure }
}
