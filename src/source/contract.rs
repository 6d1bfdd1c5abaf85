//! What a source is: an endpoint opens sessions; a session lists, describes, reads, removes,
//! renames.
//!
//! A driver (one protocol) implements [`Endpoint`], [`Session`] and [`Download`] and describes
//! itself in a [`Driver`]. `tests/it/source_contract.rs` holds for every one of them.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;

use super::finding::{Finding, Tell};
use crate::model::failure::{Class, Failure};
use crate::model::{BoxError, RemoteFile, RemotePath, Secret};
use crate::settings::{Section, SettingError, SettingKey, SourceUrl};

/// A protocol: which URLs it serves, which settings it knows, how it turns them into an endpoint.
pub struct Driver {
    /// URL schemes, as `sftp`.
    pub schemes: &'static [&'static str],
    /// Settings beside those that every source has.
    pub keys: &'static [SettingKey],
    /// Settings to endpoint: checks everything that can be checked without the network, does no I/O
    /// but reading key and certificate files that the settings name.
    pub configure: Configure,
}

/// See [`Driver::configure`].
pub(crate) type Configure = fn(&Section, &SourceUrl) -> Result<Arc<dyn Endpoint>, SettingError>;

/// Which file system a share is.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ShareId {
    /// The file system at its root.
    pub root: String,
    /// What is mounted below, relative to the root.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub below: Vec<String>,
}

/// Whether a source is a share that is to be known again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShareCheck {
    /// It is none, or nothing tells it.
    None,
    /// It must be the one that earlier runs knew.
    Known(ShareId),
    /// Whatever it is by now is taken for it.
    Any(ShareId),
}

/// Whether somebody writes to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileUse {
    /// Nobody does.
    Free,
    /// Nothing tells it.
    Unknown,
    /// Somebody may: who, as a sentence without its end.
    Taken(String),
}

/// A server with a user, as configured. Opening it costs one login.
#[async_trait]
pub trait Endpoint: Send + Sync + fmt::Debug {
    /// `scheme://host:port` for logs and reports; never user info.
    fn address(&self) -> &str;

    /// How many logins at once are polite when the settings do not say.
    fn default_connections(&self) -> usize;

    /// Whether the sizes of files are those of the bytes that come.
    fn tells_sizes(&self) -> bool {
        true
    }

    /// How many transfers one login carries at once (see [`Session::fork`]).
    fn transfers_per_connection(&self) -> usize {
        1
    }

    /// How many files it is worth while to describe at once (see [`Session::stat_ahead`]).
    fn described_together(&self) -> usize {
        1
    }

    /// Where `path` is on this machine, if it is there.
    fn local(&self, path: &RemotePath) -> Option<std::path::PathBuf> {
        let _ = path;
        None
    }

    /// Which file system it is, where it is one.
    async fn share(&self) -> Result<ShareCheck, SourceError> {
        Ok(ShareCheck::None)
    }

    /// User, server and credential in one, to notice that one of them has changed; `None` where
    /// nobody logs in.
    fn credential(&self) -> Option<Secret> {
        None
    }

    /// What a server must not be quoted with: some repeat a password when they refuse it.
    fn secrets(&self) -> Vec<Secret> {
        Vec::new()
    }

    /// Logs in. One call is one login: no retries inside, and a refused credential comes back
    /// as [`Class::Auth`] after exactly one attempt. Bounded in time by the driver's own limits.
    async fn open(&self) -> Result<Box<dyn Session>, SourceError>;

    /// [`Endpoint::open`] for people: tells what each step finds when it is taken, so that before
    /// an error everything is told that came before it, and what was refused.
    async fn diagnose(&self, tell: Tell<'_>) -> Result<Box<dyn Session>, SourceError> {
        let start = Instant::now();
        let session = self.open().await?;
        tell(Finding::new("login", "connected and logged in").took(start.elapsed()));
        Ok(session)
    }
}

/// One login, or one of several users of the same login (see [`Session::fork`]).
///
/// After any error that is not [`SourceError::keeps_session`], the session is in an unknown
/// state and must be dropped. Dropping never blocks.
#[async_trait]
pub trait Session: Send {
    /// Another session on the same login, when the protocol carries several transfers at once
    /// over one login (SFTP) and the login has room for one more; `None` otherwise.
    fn fork(&self) -> Option<Box<dyn Session>>;

    /// Lists one directory, not what is below it, calling `visit` for each entry in the server's
    /// order (never for `.` and `..`), and as often as the server names it. Gives way to others
    /// after each part of a listing, so that a task that polls it may have what was found taken
    /// before it goes on. `Ok` means the server said that the listing was complete. On `Err` some
    /// entries may have been visited already.
    async fn list(
        &mut self,
        dir: &RemotePath,
        visit: &mut (dyn FnMut(Listed) + Send),
    ) -> Result<(), SourceError>;

    /// The file at `path` as it is now, as exactly as the protocol can tell;
    /// `None` when there is no file (any more).
    async fn stat(&mut self, path: &RemotePath) -> Result<Option<RemoteFile>, SourceError>;

    /// [`Session::stat`] of several files, where that takes one round trip for all of them. What
    /// could not be told plainly is `None`, and is to be asked for by itself; so is everything,
    /// where nothing is saved.
    async fn stat_ahead(
        &mut self,
        paths: &[RemotePath],
    ) -> Result<Vec<Option<RemoteFile>>, SourceError> {
        Ok(vec![None; paths.len()])
    }

    /// Starts to read `file` at byte `offset`. Only one download of a session at a time.
    /// `file.size`, when known, tells how far it is worth asking for bytes.
    async fn read<'a>(
        &'a mut self,
        file: &RemoteFile,
        offset: u64,
    ) -> Result<Box<dyn Download + 'a>, SourceError>;

    /// Starts to read the bytes of `file` in `range`. More may come; as little as can be is sent
    /// for nothing when the download is stopped where the range ends.
    async fn read_part<'a>(
        &'a mut self,
        file: &RemoteFile,
        range: Range<u64>,
    ) -> Result<Box<dyn Download + 'a>, SourceError> {
        // Nothing beyond a known end is asked for.
        let bounded = RemoteFile { size: Some(range.end), ..file.clone() };
        self.read(&bounded, range.start).await
    }

    /// Whether somebody writes to the file at `path`, by the system that has it. Its size and time
    /// need not tell.
    async fn file_use(&mut self, path: &RemotePath) -> Result<FileUse, SourceError> {
        let _ = path;
        Ok(FileUse::Unknown)
    }

    /// Removes a file. `Ok` when it is gone, also when it was gone before.
    async fn remove(&mut self, path: &RemotePath) -> Result<(), SourceError>;

    /// Moves a file, creating the target's directory if need be; never replaces an existing file
    /// knowingly.
    async fn rename(&mut self, from: &RemotePath, to: &RemotePath) -> Result<(), SourceError>;

    /// What is known by now of the server and of what it can do; more after a first listing. Asks
    /// nobody.
    fn describe(&self) -> Vec<Finding> {
        Vec::new()
    }

    /// Says good-bye. Errors are of no interest to anyone.
    async fn close(self: Box<Self>);
}

/// The bytes of one file, in order, without gaps.
#[async_trait]
pub trait Download: Send {
    /// The next bytes (never empty), or `None` once the server itself has said that the file is
    /// complete (FTP: the closing reply; SFTP: end of file). A connection that merely ends is an
    /// error. Each call is bounded by the source's stall timeout.
    async fn next(&mut self) -> Result<Option<Bytes>, SourceError>;

    /// Ends a download of which no more is wanted, so that its session can be used again.
    async fn stop(self: Box<Self>) -> Result<(), SourceError> {
        Ok(())
    }
}

/// What a directory holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    /// A regular file.
    File(RemoteFile),
    /// A directory.
    Directory(RemotePath),
    /// A symbolic link; not followed.
    Symlink(RemotePath),
    /// A device, pipe, socket.
    Special(RemotePath),
    /// A file whose name cannot be asked for again, with the reason (a CR or LF over FTP, a slash).
    Unreachable(RemotePath, &'static str),
    /// An entry that could not be described, with the reason: only its name is known.
    Undescribed(RemotePath, &'static str),
    /// A name of which the server does not tell whether it is a file or a folder. A session tries
    /// it out before it tells.
    Untold(RemoteFile),
    /// A line that nobody can parse, as text safe for a log, cut to 200 characters.
    Unparsed(String),
    /// No entry, but something about the listing.
    Aside(Aside),
}

impl Listed {
    /// The path of an entry.
    pub fn path(&self) -> Option<&RemotePath> {
        match self {
            Listed::File(file) | Listed::Untold(file) => Some(&file.path),
            Listed::Directory(path)
            | Listed::Symlink(path)
            | Listed::Special(path)
            | Listed::Unreachable(path, _)
            | Listed::Undescribed(path, _) => Some(path),
            Listed::Unparsed(_) | Listed::Aside(_) => None,
        }
    }
}

/// What is told of a listing beside its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aside {
    /// So many lines told nothing. Told when they are many: a listing of nothing else must not go
    /// on without end.
    Lines(u64),
    /// What was told of this folder so far made no whole, for this reason: it is listed again from
    /// its first entry.
    Again(&'static str),
    /// Something about one of its entries.
    Note(&'static str),
    /// The listing is taken for whole, although the server ended it in this way.
    Doubt(&'static str),
}

/// What was being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words say it")]
pub enum Op {
    Connect,
    Login,
    List,
    Stat,
    Read,
    Remove,
    Rename,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Op::Connect => "connecting",
            Op::Login => "logging in",
            Op::List => "listing",
            Op::Stat => "describing",
            Op::Read => "reading",
            Op::Remove => "removing",
            Op::Rename => "renaming",
        })
    }
}

/// Something that went wrong with a source: what we were doing, to what, why.
#[derive(Debug)]
pub struct SourceError {
    op: Op,
    address: String,
    path: Option<RemotePath>,
    class: Class,
    transient: bool,
    keeps_session: bool,
    spoiling: bool,
    retry_after: Option<Duration>,
    hint: Option<&'static str>,
    cause: BoxError,
}

/// Why a path that was listed as a file cannot be read as one.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the server lists it as a file, and it is a folder")]
pub struct IsFolder;

impl SourceError {
    /// Why it failed, without the words of what was tried.
    pub fn cause(&self) -> String {
        std::error::Error::source(self).map_or_else(|| self.to_string(), crate::model::chain)
    }

    /// That the file of this path is a folder.
    pub fn is_folder(op: Op, address: &str, path: &RemotePath) -> Self {
        Self::new(op, address, Class::Protocol, IsFolder).at(path).session_survives()
    }

    /// Whether it says that the path is a folder.
    pub(crate) fn says_folder(&self) -> bool {
        self.cause.is::<IsFolder>()
    }

    /// An error of `class` in doing `op`. Transient if its class usually is
    /// (busy, connect, share_error, stalled, truncated); the session is not usable afterwards.
    pub fn new(op: Op, address: &str, class: Class, cause: impl Into<BoxError>) -> Self {
        let transient = matches!(
            class,
            Class::Busy
                | Class::Connect
                | Class::Dns
                | Class::ShareError
                | Class::Stalled
                | Class::Truncated
        );
        Self {
            op,
            address: address.to_owned(),
            path: None,
            class,
            transient,
            keeps_session: false,
            spoiling: false,
            retry_after: None,
            hint: None,
            cause: cause.into(),
        }
    }

    /// The path that it was about.
    #[must_use]
    pub fn at(mut self, path: &RemotePath) -> Self {
        self.path = Some(path.clone());
        self
    }

    /// Overrides whether trying again may help.
    #[must_use]
    pub(crate) fn transient(mut self, transient: bool) -> Self {
        self.transient = transient;
        self
    }

    /// Marks an error after which the session is of no use.
    #[must_use]
    pub(crate) fn session_ends(mut self) -> Self {
        self.keeps_session = false;
        self
    }

    /// Marks an error (a missing file, a refused right) after which the session goes on well.
    #[must_use]
    pub fn session_survives(mut self) -> Self {
        self.keeps_session = true;
        self
    }

    /// Marks an error that takes back what the session brought before: the bytes of a file that is
    /// not whole yet may be another one's.
    #[must_use]
    pub(crate) fn spoiling(mut self) -> Self {
        self.spoiling = true;
        self
    }

    /// Whether what the session brought of a file may be another one's.
    pub(crate) fn is_spoiling(&self) -> bool {
        self.spoiling
    }

    /// Says what to do, where more is known than the class tells.
    #[must_use]
    pub(crate) fn hinted(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }

    /// Whether the session may be used again.
    pub fn keeps_session(&self) -> bool {
        self.keeps_session
    }

    /// What was being done.
    pub fn op(&self) -> Op {
        self.op
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "{} `{path}` on {}", self.op, self.address),
            None => write!(f, "{} to {}", self.op, self.address),
        }
    }
}

impl std::error::Error for SourceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.cause.as_ref())
    }
}

impl Failure for SourceError {
    fn class(&self) -> Class {
        self.class
    }
    fn is_transient(&self) -> bool {
        self.transient
    }
    fn hint(&self) -> &'static str {
        self.hint.unwrap_or_else(|| self.class.hint())
    }
    fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}
