//! SFTP as a source.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;

use super::client::ClientError;
use super::link_memory::FollowedLinks;
use super::listing::list;
use super::login::{MOST_FORKS, SftpLogin, fail, remote_file};
use super::packet::{Attributes, FileKind, Malformed, status};
use super::reading::SftpReading;
use super::settings;
use super::transport::{self, Target};
use crate::failpoint::safeguard_off;
use crate::model::failure::{Class, Failure};
use crate::model::{RemoteFile, RemotePath, Secret};
use crate::settings::{Section, SettingError, SourceUrl};
use crate::source::bounded::{ListingBound, MOST_LOOKED_THROUGH};
use crate::source::contract::{
    Download, Driver, Endpoint, IsFolder, Listed, Op, Session, SourceError,
};
use crate::source::finding::{Finding, Tell};

/// SFTP.
pub(crate) const DRIVER: Driver = Driver { schemes: &["sftp"], keys: settings::KEYS, configure };

fn configure(section: &Section, url: &SourceUrl) -> Result<Arc<dyn Endpoint>, SettingError> {
    let target = settings::target(section, url)?;
    let follows = section.one_of("links")? == Some("follow");
    let host =
        if target.host.contains(':') { format!("[{}]", target.host) } else { target.host.clone() };
    let address = format!("sftp://{host}:{}", target.port);
    let home = url.root.as_bytes() == b"/~" || url.root.as_bytes().starts_with(b"/~/");
    Ok(Arc::new(SftpEndpoint {
        address,
        target,
        root: if home { Root::Home } else { Root::Server },
        links: follows.then(|| url.root.clone()),
    }))
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
    /// The folder below which links are followed, if they are.
    links: Option<RemotePath>,
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
        let own = self.target.credentials.password.iter().cloned();
        own.chain(self.target.jump.iter().flat_map(|jump| jump.secrets())).collect()
    }

    fn credential(&self) -> Option<Secret> {
        Some(Secret::new(format!("{}\n{}", self.address, self.target.credentials.mark())))
    }

    // One login fills a core on each side; the second helps large files, more only annoy the
    // server.
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
            Root::Home => {
                let home = connection.client.real_path(b".").await;
                let home = home.map_err(|error| fail(Op::Login, &self.address, error))?;
                // Paths that are relative begin there as well.
                Some(home.unwrap_or(Bytes::from_static(b".")))
            }
        };
        let login = SftpLogin {
            address: self.address.clone(),
            home,
            links: self.links.clone().map(FollowedLinks::below),
            connection,
            users: AtomicUsize::new(1),
        };
        Ok(Box::new(SftpSession { login: Arc::new(login) }))
    }
}

struct SftpSession {
    login: Arc<SftpLogin>,
}

impl Drop for SftpSession {
    fn drop(&mut self) {
        self.login.users.fetch_sub(1, Ordering::Relaxed);
    }
}

impl SftpSession {
    /// Why a file could not be opened.
    fn unopened(&self, path: &RemotePath, error: ClientError) -> SourceError {
        let is_bare = matches!(error, ClientError::Status { code: status::FAILURE, .. });
        let failure = self.login.fail(Op::Read, path, error);
        let is_unexplained = is_bare && failure.class() == Class::Protocol;
        if is_unexplained { failure.hinted(NO_REASON) } else { failure }
    }

    /// Whether the folder of `path` lists it. What cannot be listed lists nothing.
    async fn is_listed(&self, path: &RemotePath) -> Result<bool, SourceError> {
        let mut found = false;
        let mut visit = |listed: Listed| found |= listed.path() == Some(path);
        match list(&self.login, &path.parent(), &mut visit).await {
            Ok(()) => Ok(found),
            Err(ClientError::Status { .. }) => Ok(false),
            Err(error) => Err(self.login.fail(Op::Rename, path, error)),
        }
    }

    /// Whether the server describes something at `path`, or says that nothing is there.
    async fn holds(&self, path: &RemotePath) -> Result<bool, ClientError> {
        match described(&self.login, &self.login.wire(path)).await {
            Ok(_) => Ok(true),
            Err(ClientError::Status { code: status::NO_SUCH_FILE, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What a link leads to is not the source's own: nothing is done to what lies behind one. A
    /// link itself may be removed or moved.
    async fn spare_targets(&self, op: Op, path: &RemotePath) -> Result<(), SourceError> {
        let Some(links) = &self.login.links else { return Ok(()) };
        let through = links.leads_through(&self.login, path).await;
        if !through.map_err(|error| self.login.fail(op, path, error))? {
            return Ok(());
        }
        let why = "it lies in a folder that a link leads to, and what links lead to stays as it is";
        Err(SourceError::new(op, &self.login.address, Class::AfterAction, why)
            .at(path)
            .session_survives())
    }
}

#[async_trait]
impl Session for SftpSession {
    fn fork(&self) -> Option<Box<dyn Session>> {
        if self.login.client().is_lost() {
            return None;
        }
        let room = self.login.room();
        let taken = self.login.users.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |users| {
            (users < room).then_some(users + 1)
        });
        taken.ok().map(|_| Box::new(SftpSession { login: self.login.clone() }) as Box<dyn Session>)
    }

    async fn list(
        &mut self,
        dir: &RemotePath,
        visit: &mut (dyn FnMut(Listed) + Send),
    ) -> Result<(), SourceError> {
        list(&self.login, dir, visit).await.map_err(|error| self.login.fail(Op::List, dir, error))
    }

    async fn stat(&mut self, path: &RemotePath) -> Result<Option<RemoteFile>, SourceError> {
        let client = self.login.client();
        // What a file brought is believed once it is described again. Where answers come in the
        // order of questions, all that was to be opened before is open when this one is there.
        let mark = client.mark();
        let told = stat(&self.login, path).await;
        let told = client.opened_before(mark).await.and(told);
        told.map_err(|error| self.login.fail(Op::Stat, path, error))
    }

    async fn read<'a>(
        &'a mut self,
        file: &RemoteFile,
        offset: u64,
    ) -> Result<Box<dyn Download + 'a>, SourceError> {
        let client = self.login.client();
        let handle = client
            .open(&self.login.wire(&file.path))
            .await
            .map_err(|error| self.unopened(&file.path, error))?;
        let reading = SftpReading::new(client.clone(), handle, offset, file.size);
        Ok(Box::new(SftpDownload {
            login: &self.login,
            path: file.path.clone(),
            reading: Some(reading),
            is_empty: offset == 0,
        }))
    }

    async fn remove(&mut self, path: &RemotePath) -> Result<(), SourceError> {
        self.spare_targets(Op::Remove, path).await?;
        match self.login.client().remove(&self.login.wire(path)).await {
            Ok(()) | Err(ClientError::Status { code: status::NO_SUCH_FILE, .. }) => Ok(()),
            Err(error @ ClientError::Status { .. }) => match self.holds(path).await {
                // It did what it says to have failed in.
                Ok(false) => Ok(()),
                _ => Err(self.login.fail(Op::Remove, path, error)),
            },
            Err(error) => Err(self.login.fail(Op::Remove, path, error)),
        }
    }

    async fn rename(&mut self, from: &RemotePath, to: &RemotePath) -> Result<(), SourceError> {
        self.spare_targets(Op::Rename, from).await?;
        let client = self.login.client();
        // Some servers replace the target of a rename; the standard leaves it to them.
        match described(&self.login, &self.login.wire(to)).await {
            Err(ClientError::Status { code: status::NO_SUCH_FILE, .. }) => {}
            // Of what is not there some say no more than that they failed.
            Err(ClientError::Status { .. }) if !self.is_listed(to).await? => {}
            Err(error) => return Err(self.login.fail(Op::Rename, to, error)),
            Ok(_) => {
                let taken = format!("`{to}` is there already, and nothing is replaced");
                return Err(SourceError::new(
                    Op::Rename,
                    &self.login.address,
                    Class::AfterAction,
                    taken,
                )
                .at(from)
                .session_survives());
            }
        }
        make_dirs(&self.login, &to.parent())
            .await
            .map_err(|error| self.login.fail(Op::Rename, &to.parent(), error))?;
        match client.rename(&self.login.wire(from), &self.login.wire(to)).await {
            Ok(()) => Ok(()),
            // It did what it says to have failed in.
            Err(ClientError::Status { .. })
                if matches!(
                    (self.holds(from).await, self.holds(to).await),
                    (Ok(false), Ok(true))
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(self.login.fail(Op::Rename, from, error)),
        }
    }

    fn describe(&self) -> Vec<Finding> {
        self.login.client().features()
    }

    async fn close(self: Box<Self>) {}
}

struct SftpDownload<'a> {
    login: &'a SftpLogin,
    path: RemotePath,
    /// `None` after the end.
    reading: Option<SftpReading>,
    is_empty: bool,
}

#[async_trait]
impl Download for SftpDownload<'_> {
    async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        let Some(reading) = &mut self.reading else { return Ok(None) };
        let next = match reading.next().await {
            Ok(None)
                if self.is_empty && reading.ended_oddly() && !safeguard_off!("folder-not-file") =>
            {
                // It may stand one open handle only.
                self.reading = None;
                not_a_folder(self.login, &self.path).await.map(|()| None)
            }
            next => next,
        };
        self.is_empty &= !matches!(next, Ok(Some(_)));
        next.map_err(|error| {
            // A read that fails half-way is often a hiccup of the server's disk or of what lies
            // behind it.
            let hiccup = matches!(error, ClientError::Status { code: status::FAILURE, .. });
            let failure = self.login.fail(Op::Read, &self.path, error);
            if hiccup { failure.transient(true) } else { failure }
        })
    }
}

/// What helps where a server gives no reason to refuse a file.
const NO_REASON: &str = "the server gives no reason: mostly another program has the file open, or \
    the server cannot read it itself; its own log tells";

/// Many servers open a folder as if it were a file, and answer to a read of it with a failure.
async fn not_a_folder(login: &SftpLogin, path: &RemotePath) -> Result<(), ClientError> {
    match login.client().open_dir(&login.wire(path)).await {
        Ok(_) => Err(ClientError::Folder(IsFolder)),
        Err(ClientError::Status { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// What lies at `wire`; a link as itself. Some servers do not know LSTAT, or know nothing by it.
async fn described(login: &SftpLogin, wire: &[u8]) -> Result<Attributes, ClientError> {
    match login.client().lstat(wire).await {
        Err(ClientError::Status { .. }) => login.client().stat(wire).await,
        told => told,
    }
}

async fn stat(login: &SftpLogin, path: &RemotePath) -> Result<Option<RemoteFile>, ClientError> {
    let wire = login.wire(path);
    let mut told = described(login, &wire).await;
    if told.as_ref().is_ok_and(|attributes| attributes.kind() == Some(FileKind::Symlink)) {
        told = login.client().stat(&wire).await;
    }
    match told {
        // The line of a listing may tell better.
        Ok(attributes) if attributes.kind() == Some(FileKind::Special) => {
            stat_by_listing(login, path).await
        }
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

async fn stat_by_listing(
    login: &SftpLogin,
    path: &RemotePath,
) -> Result<Option<RemoteFile>, ClientError> {
    let mut found = None;
    let (bound, dir) = (ListingBound::new(MOST_LOOKED_THROUGH), path.parent());
    let mut visit = |listed| {
        bound.count(&listed);
        if let Listed::File(file) = listed
            && file.path == *path
        {
            found = Some(file);
        }
    };
    let listing = async { Ok(list(login, &dir, &mut visit).await) };
    match bound.hold(&login.address, &dir, listing).await {
        Ok(Err(ClientError::Status { code: status::NO_SUCH_FILE, .. })) => return Ok(None),
        Ok(listed) => listed?,
        Err(_) => return Err(Malformed("it lists a folder without end").into()),
    }
    Ok(found)
}

/// Makes `dir` and what is missing above it.
async fn make_dirs(login: &SftpLogin, dir: &RemotePath) -> Result<(), ClientError> {
    let client = login.client();
    let mut missing = Vec::new();
    let mut at = dir.clone();
    while at.as_bytes() != b"/" {
        // Of what is not there some say no more than that they failed, and some describe nothing.
        let is_sure = match described(login, &login.wire(&at)).await {
            Err(ClientError::Status { code: status::NO_SUCH_FILE, .. }) => true,
            Err(ClientError::Status { .. }) => false,
            _ => break,
        };
        let parent = at.parent();
        missing.push((at, is_sure));
        at = parent;
    }
    for (dir, is_sure) in missing.iter().rev() {
        if let Err(error) = client.make_dir(&login.wire(dir)).await
            && *is_sure
        {
            // Another fork may have made it in between.
            described(login, &login.wire(dir)).await.map_err(|_| error)?;
        }
    }
    Ok(())
}
