//! SFTP as a source.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;
use russh::keys::HashAlg;
use time::{Duration, OffsetDateTime};

use super::client::{Client, ClientError};
use super::packet::{Attributes, Entry, FileKind, status};
use super::reading::Reading;
use super::settings;
use super::transport::{self, Connection, Target};
use crate::failure::Class;
use crate::model::{ModifiedTime, RemoteFile, RemotePath, Secret, printable};
use crate::settings::{Section, SettingError, SourceUrl};
use crate::source::contract::{Download, Driver, Endpoint, Listed, Op, Session, SourceError};
use crate::source::finding::{Finding, Tell};

/// SFTP.
pub const DRIVER: Driver = Driver { schemes: &["sftp"], keys: settings::KEYS, configure };

/// One login carries this many files at once: measured best between 32 and 100. Far away, small files come this many
/// times faster than one by one.
const MOST_FORKS: usize = 64;
/// Questions for the next entries of a folder that are under way at once, at most; two to begin with, which tell a small
/// folder's entries and its end.
const MOST_PAGES_AHEAD: usize = 8;
/// Open handles that a fork may need: a file and a directory.
const HANDLES_PER_FORK: u64 = 2;

fn configure(section: &Section, url: &SourceUrl) -> Result<Arc<dyn Endpoint>, SettingError> {
    let target = settings::target(section, url)?;
    let host = if target.host.contains(':') { format!("[{}]", target.host) } else { target.host.clone() };
    let address = format!("sftp://{host}:{}", target.port);
    let home = url.root.as_bytes() == b"/~" || url.root.as_bytes().starts_with(b"/~/");
    Ok(Arc::new(SftpEndpoint { address, target, root: if home { Root::Home } else { Root::Server } }))
}

/// Where paths begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Root {
    /// `/` is the server's.
    Server,
    /// `/~` is where the login starts.
    Home,
}

struct SftpEndpoint {
    address: String,
    target: Target,
    root: Root,
}

impl fmt::Debug for SftpEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SftpEndpoint({})", self.address)
    }
}

#[async_trait]
impl Endpoint for SftpEndpoint {
    fn address(&self) -> &str {
        &self.address
    }

    fn secrets(&self) -> Vec<Secret> {
        self.target.credentials.password.iter().cloned().collect()
    }

    fn credential(&self) -> Option<Secret> {
        let credentials = &self.target.credentials;
        let password = credentials.password.as_ref().map_or("", Secret::reveal);
        let key = credentials.key.as_ref().map(|key| key.public_key().fingerprint(HashAlg::Sha256).to_string()).unwrap_or_default();
        Some(Secret::new(format!("{}\n{}\n{password}\n{key}", self.address, credentials.user)))
    }

    // One login fills a core on each side; the second helps large files, more only annoy the server.
    fn default_connections(&self) -> usize {
        2
    }

    fn transfers_per_connection(&self) -> usize {
        MOST_FORKS
    }

    async fn open(&self) -> Result<Box<dyn Session>, SourceError> {
        self.diagnose(&mut |_| {}).await
    }

    async fn diagnose(&self, tell: Tell<'_>) -> Result<Box<dyn Session>, SourceError> {
        let connection = transport::open(&self.target, tell).await.map_err(|error| {
            let op = if error.at_login { Op::Login } else { Op::Connect };
            let failure = SourceError::new(op, &self.address, error.class, error.cause);
            match error.transient {
                Some(transient) => failure.transient(transient),
                None => failure,
            }
        })?;
        let home = match self.root {
            Root::Server => None,
            Root::Home => Some(connection.client.real_path(b".").await.map_err(|error| fail(Op::Login, &self.address, error))?),
        };
        let login = Login { address: self.address.clone(), home, connection, users: AtomicUsize::new(1) };
        Ok(Box::new(SftpSession { login: Arc::new(login) }))
    }
}

/// What the forks of a session share; dropping the last one closes the connection.
struct Login {
    address: String,
    home: Option<Bytes>,
    connection: Connection,
    users: AtomicUsize,
}

impl Login {
    fn client(&self) -> &Client {
        &self.connection.client
    }

    /// How many sessions may share it.
    fn room(&self) -> usize {
        let open = self.client().limits().open();
        open.map_or(MOST_FORKS, |open| usize::try_from(open / HANDLES_PER_FORK).unwrap_or(MOST_FORKS).clamp(1, MOST_FORKS))
    }

    /// The bytes that the server knows `path` by.
    fn wire(&self, path: &RemotePath) -> Vec<u8> {
        match (&self.home, path.as_bytes()) {
            (Some(home), b"/~") => home.to_vec(),
            (Some(home), bytes) if bytes.starts_with(b"/~/") => {
                let home: &[u8] = home.strip_suffix(b"/").unwrap_or(home);
                [home, &bytes[2..]].concat()
            }
            (_, bytes) => bytes.to_vec(),
        }
    }

    fn fail(&self, op: Op, path: &RemotePath, error: ClientError) -> SourceError {
        fail(op, &self.address, error).at(path)
    }
}

struct SftpSession {
    login: Arc<Login>,
}

impl Drop for SftpSession {
    fn drop(&mut self) {
        self.login.users.fetch_sub(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl Session for SftpSession {
    fn fork(&self) -> Option<Box<dyn Session>> {
        if self.login.client().is_lost() {
            return None;
        }
        let room = self.login.room();
        let taken = self.login.users.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |users| (users < room).then_some(users + 1));
        taken.ok().map(|_| Box::new(SftpSession { login: self.login.clone() }) as Box<dyn Session>)
    }

    async fn list(&mut self, dir: &RemotePath, visit: &mut (dyn FnMut(Listed) + Send)) -> Result<(), SourceError> {
        list(&self.login, dir, visit).await.map_err(|error| self.login.fail(Op::List, dir, error))
    }

    async fn stat(&mut self, path: &RemotePath) -> Result<Option<RemoteFile>, SourceError> {
        stat(&self.login, path).await.map_err(|error| self.login.fail(Op::Stat, path, error))
    }

    async fn read<'a>(&'a mut self, file: &RemoteFile, offset: u64) -> Result<Box<dyn Download + 'a>, SourceError> {
        let client = self.login.client();
        let handle = client.open(&self.login.wire(&file.path)).await.map_err(|error| self.login.fail(Op::Read, &file.path, error))?;
        let reading = Reading::new(client.clone(), handle, offset, file.size);
        Ok(Box::new(SftpDownload { login: &self.login, path: file.path.clone(), reading }))
    }

    async fn remove(&mut self, path: &RemotePath) -> Result<(), SourceError> {
        match self.login.client().remove(&self.login.wire(path)).await {
            Ok(()) | Err(ClientError::Status { code: status::NO_SUCH_FILE, .. }) => Ok(()),
            Err(error) => Err(self.login.fail(Op::Remove, path, error)),
        }
    }

    async fn rename(&mut self, from: &RemotePath, to: &RemotePath) -> Result<(), SourceError> {
        let client = self.login.client();
        // Some servers replace the target of a rename; the standard leaves it to them.
        match client.lstat(&self.login.wire(to)).await {
            Err(ClientError::Status { code: status::NO_SUCH_FILE, .. }) => {}
            Err(error) => return Err(self.login.fail(Op::Rename, to, error)),
            Ok(_) => {
                let taken = format!("`{to}` is there already, and nothing is replaced");
                return Err(SourceError::new(Op::Rename, &self.login.address, Class::AfterAction, taken).at(from).session_survives());
            }
        }
        make_dirs(&self.login, &to.parent()).await.map_err(|error| self.login.fail(Op::Rename, &to.parent(), error))?;
        client.rename(&self.login.wire(from), &self.login.wire(to)).await.map_err(|error| self.login.fail(Op::Rename, from, error))
    }

    fn describe(&self) -> Vec<Finding> {
        self.login.client().features()
    }

    async fn close(self: Box<Self>) {}
}

struct SftpDownload<'a> {
    login: &'a Login,
    path: RemotePath,
    reading: Reading,
}

#[async_trait]
impl Download for SftpDownload<'_> {
    async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        self.reading.next().await.map_err(|error| {
            // A read that fails half-way is often a hiccup of the server's disk or of what lies behind it.
            let hiccup = matches!(error, ClientError::Status { code: status::FAILURE, .. });
            let failure = self.login.fail(Op::Read, &self.path, error);
            if hiccup { failure.transient(true) } else { failure }
        })
    }
}

async fn list(login: &Login, dir: &RemotePath, visit: &mut (dyn FnMut(Listed) + Send)) -> Result<(), ClientError> {
    let client = login.client();
    let directory = client.open_dir(&login.wire(dir)).await?;
    // The server answers questions about one handle in their order, so that the first end is the end.
    let mut pages = VecDeque::from([client.ask_dir(&directory)]);
    let (mut ahead, mut told) = (2, 0);
    loop {
        while pages.len() < ahead {
            pages.push_back(client.ask_dir(&directory));
        }
        let mut page = pages.pop_front().expect("at least two were asked for");
        let Some(entries) = client.entries(&mut page).await? else { return Ok(()) };
        // Only a folder whose second page has entries as well is worth more questions.
        ahead = if told > 0 { (ahead * 2).min(MOST_PAGES_AHEAD) } else { ahead };
        told += 1;
        let described = entries.into_iter().map(|entry| describe(login, dir, entry));
        for listed in join_all(described).await {
            if let Some(listed) = listed? {
                visit(listed);
            }
        }
    }
}

/// An entry as the contract has it; asks again where the listing does not tell the kind. `None` for `.` and `..`.
async fn describe(login: &Login, dir: &RemotePath, entry: Entry) -> Result<Option<Listed>, ClientError> {
    let name: &[u8] = &entry.name;
    if name == b"." || name == b".." {
        return Ok(None);
    }
    if name.is_empty() {
        let line: String = printable(&entry.long_name).chars().take(160).collect();
        return Ok(Some(Listed::Unparsed(format!("an entry without a name: `{line}`"))));
    }
    let path = dir.join(name);
    if name.contains(&b'/') {
        return Ok(Some(Listed::Unreachable(path, "its name holds a slash")));
    }
    if name.contains(&0) {
        return Ok(Some(Listed::Unreachable(path, "its name holds a NUL byte")));
    }
    let mut attributes = entry.attributes;
    if attributes.kind().is_none() {
        match login.client().lstat(&login.wire(&path)).await {
            Ok(told) => attributes = told,
            // What was listed is told; reading it shows whether it has gone or may not be read.
            Err(ClientError::Status { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let kind = attributes.kind().or_else(|| kind_of_line(&entry.long_name)).unwrap_or(FileKind::Regular);
    Ok(Some(match kind {
        FileKind::Regular => Listed::File(remote_file(path, &attributes)),
        FileKind::Directory => Listed::Directory(path),
        FileKind::Symlink => Listed::Symlink(path),
        FileKind::Special => Listed::Special(path),
    }))
}

/// What the line `drwxr-xr-x …` says, for servers that send no permission bits.
fn kind_of_line(line: &[u8]) -> Option<FileKind> {
    let letters = line.get(1..10)?;
    if !letters.iter().all(|letter| b"rwxsStT-".contains(letter)) {
        return None;
    }
    match line[0] {
        b'-' => Some(FileKind::Regular),
        b'd' => Some(FileKind::Directory),
        b'l' => Some(FileKind::Symlink),
        b'b' | b'c' | b'p' | b's' => Some(FileKind::Special),
        _ => None,
    }
}

fn remote_file(path: RemotePath, attributes: &Attributes) -> RemoteFile {
    // Times before 1970 arrive as ones after 2100: version 3 has no sign.
    let latest = OffsetDateTime::now_utc() + Duration::days(50 * 365);
    let modified = attributes.modified.and_then(|seconds| ModifiedTime::from_unix(i64::from(seconds)));
    RemoteFile { path, size: attributes.size, modified: modified.filter(|modified| modified.at < latest) }
}

async fn stat(login: &Login, path: &RemotePath) -> Result<Option<RemoteFile>, ClientError> {
    let wire = login.wire(path);
    let mut told = login.client().lstat(&wire).await;
    if told.as_ref().is_ok_and(|attributes| attributes.kind() == Some(FileKind::Symlink)) {
        told = login.client().stat(&wire).await;
    }
    match told {
        Ok(attributes) => {
            let is_file = matches!(attributes.kind(), None | Some(FileKind::Regular));
            Ok(is_file.then(|| remote_file(path.clone(), &attributes)))
        }
        Err(ClientError::Status { code: status::NO_SUCH_FILE, .. }) => Ok(None),
        // Some servers let their users list what they may not describe.
        Err(ClientError::Status { .. }) => stat_by_listing(login, path).await,
        Err(error) => Err(error),
    }
}

async fn stat_by_listing(login: &Login, path: &RemotePath) -> Result<Option<RemoteFile>, ClientError> {
    let mut found = None;
    let mut visit = |listed| {
        if let Listed::File(file) = listed
            && file.path == *path
        {
            found = Some(file);
        }
    };
    list(login, &path.parent(), &mut visit).await?;
    Ok(found)
}

/// Makes `dir` and what is missing above it.
async fn make_dirs(login: &Login, dir: &RemotePath) -> Result<(), ClientError> {
    let client = login.client();
    let mut missing = Vec::new();
    let mut at = dir.clone();
    while at.as_bytes() != b"/" && matches!(client.lstat(&login.wire(&at)).await, Err(ClientError::Status { code: status::NO_SUCH_FILE, .. })) {
        let parent = at.parent();
        missing.push(at);
        at = parent;
    }
    for dir in missing.iter().rev() {
        if let Err(error) = client.make_dir(&login.wire(dir)).await {
            // Another fork may have made it in between.
            client.lstat(&login.wire(dir)).await.map_err(|_| error)?;
        }
    }
    Ok(())
}

/// The one place that says what a client's error means to the contract.
fn fail(op: Op, address: &str, error: ClientError) -> SourceError {
    let class = match &error {
        ClientError::Stalled(_) => Class::Stalled,
        ClientError::Lost(_) => Class::Connect,
        ClientError::Broken(_) => Class::Protocol,
        ClientError::Status { code, .. } => match *code {
            status::NO_SUCH_FILE => Class::NotFound,
            status::PERMISSION_DENIED => Class::Permission,
            status::NO_CONNECTION | status::CONNECTION_LOST => return SourceError::new(op, address, Class::Connect, error),
            _ => Class::Protocol,
        },
    };
    let answered = matches!(error, ClientError::Status { .. });
    let failure = SourceError::new(op, address, class, error);
    // A status is an answer like any other: the connection goes on.
    if answered { failure.session_survives() } else { failure }
}
