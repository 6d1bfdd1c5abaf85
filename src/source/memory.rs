//! A server in memory with a script of faults: an ordinary endpoint, kept honest by the contract
//! suite.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;

use crate::model::failure::Class;
use crate::model::{ModifiedTime, RemoteFile, RemotePath, Secret};
use crate::source::contract::{Download, Endpoint, Listed, Op, Session, SourceError};

/// A file of the memory server.
#[derive(Clone, Debug)]
pub struct MemoryFile {
    /// Its content.
    pub content: Bytes,
    /// Its modified time; `None`: the server does not tell.
    pub modified: Option<ModifiedTime>,
    /// Its modified time as listings show it, where that is another one than `stat` tells.
    pub listed: Option<ModifiedTime>,
    /// What the server says its size is; `None`: it does not tell.
    pub claimed_size: Option<u64>,
}

/// What happens instead of, or to, the next call of an operation on a path.
pub enum MemorySourceFault {
    /// The call fails with this class; the session is broken.
    Fail(Class),
    /// The call fails with this class; the session goes on.
    Refuse(Class),
    /// A read delivers this many bytes, then fails with this class.
    FailAt(u64, Class),
    /// A read delivers this many bytes and then claims to be complete.
    EndAt(u64),
    /// Something happens to the tree (through this hook) when a read has delivered this many bytes.
    At(u64, MemorySourceHook),
    /// Something happens to the tree right before the call, which then goes on.
    Before(MemorySourceHook),
    /// The call panics.
    Panic,
}

/// Changes the tree at a moment of the script.
pub type MemorySourceHook = Box<dyn FnOnce(&mut MemorySourceTree) + Send>;

/// What the server holds.
#[derive(Default)]
pub struct MemorySourceTree {
    /// Files by path.
    pub files: BTreeMap<RemotePath, MemoryFile>,
    /// Further entries of listings, by directory: links, pipes, unparsed lines.
    pub extra: Vec<(RemotePath, Listed)>,
    faults: BTreeMap<(RemotePath, &'static str), VecDeque<MemorySourceFault>>,
    /// Logins so far.
    pub logins: u64,
    /// Logins open now.
    pub open: u64,
    /// The most logins that were open at once.
    pub most_open: u64,
    /// Folders listed so far, in order.
    pub lists: Vec<RemotePath>,
    /// Reads begun so far.
    pub reads: u64,
    /// Bytes of files sent so far.
    pub bytes_read: u64,
    /// Classes that the next logins fail with.
    pub login_faults: VecDeque<Class>,
    /// Every login is ended by the server after this many calls.
    pub calls_per_login: Option<u64>,
    /// Offsets at which reads began, in order.
    pub offsets: Vec<(RemotePath, u64)>,
}

/// The endpoint. Clones are the same server.
#[derive(Clone, Default)]
pub struct MemoryServer {
    tree: Arc<Mutex<MemorySourceTree>>,
    forks: usize,
}

impl std::fmt::Debug for MemoryServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemoryServer")
    }
}

const ADDRESS: &str = "memory://server";
const CHUNK: usize = 64 << 10;

impl MemoryServer {
    /// An empty server on which one login is one transfer.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty server on which a login carries `forks` transfers at once.
    pub fn forking(forks: usize) -> Self {
        Self { forks, ..Self::default() }
    }

    /// The tree, to look at or to change.
    pub fn tree(&self) -> MutexGuard<'_, MemorySourceTree> {
        self.tree.lock().expect("no code panics while it holds this lock")
    }

    /// Adds or replaces a file, modified at `modified` (seconds since 1970).
    pub fn put(&self, path: &str, content: impl Into<Bytes>, modified: i64) -> &Self {
        let content = content.into();
        let file = MemoryFile {
            claimed_size: Some(content.len() as u64),
            content,
            modified: ModifiedTime::from_unix(modified),
            listed: None,
        };
        self.tree().files.insert(RemotePath::from(path), file);
        self
    }

    /// Scripts a fault for the next call of `op` (`list`, `stat`, `read`, `remove`, `rename`) on
    /// `path`.
    pub fn fault(&self, path: &str, op: &'static str, fault: MemorySourceFault) -> &Self {
        self.tree().faults.entry((RemotePath::from(path), op)).or_default().push_back(fault);
        self
    }
}

#[async_trait]
impl Endpoint for MemoryServer {
    fn address(&self) -> &str {
        ADDRESS
    }

    fn default_connections(&self) -> usize {
        2
    }

    fn credential(&self) -> Option<Secret> {
        Some(Secret::new("memory"))
    }

    fn transfers_per_connection(&self) -> usize {
        self.forks.max(1)
    }

    async fn open(&self) -> Result<Box<dyn Session>, SourceError> {
        // Others get their turn here, as with a real login.
        tokio::task::yield_now().await;
        let mut tree = self.tree();
        tree.logins += 1;
        if let Some(class) = tree.login_faults.pop_front() {
            return Err(SourceError::new(Op::Login, ADDRESS, class, "scripted"));
        }
        tree.open += 1;
        tree.most_open = tree.most_open.max(tree.open);
        drop(tree);
        let login = Arc::new(MemorySourceLogin {
            server: self.clone(),
            used: Mutex::new(0),
            calls: AtomicU64::new(0),
        });
        Ok(Box::new(MemorySession { login, forked: false }))
    }
}

struct MemorySourceLogin {
    server: MemoryServer,
    used: Mutex<usize>,
    calls: AtomicU64,
}

impl Drop for MemorySourceLogin {
    fn drop(&mut self) {
        self.server.tree().open -= 1;
    }
}

struct MemorySession {
    login: Arc<MemorySourceLogin>,
    forked: bool,
}

impl Drop for MemorySession {
    fn drop(&mut self) {
        if self.forked {
            *self.login.used.lock().expect("no code panics while it holds this lock") -= 1;
        }
    }
}

impl MemorySession {
    fn tree(&self) -> MutexGuard<'_, MemorySourceTree> {
        self.login.server.tree()
    }

    fn scripted(
        &self,
        path: &RemotePath,
        op: Op,
        word: &'static str,
    ) -> Result<Option<MemorySourceFault>, SourceError> {
        let calls = self.login.calls.fetch_add(1, Ordering::Relaxed);
        if self.tree().calls_per_login.is_some_and(|most| calls >= most) {
            return Err(SourceError::new(
                op,
                ADDRESS,
                Class::Connect,
                "the server has ended this login",
            )
            .at(path));
        }
        let fault = self.tree().faults.get_mut(&(path.clone(), word)).and_then(VecDeque::pop_front);
        match fault {
            Some(MemorySourceFault::Fail(class)) => {
                Err(SourceError::new(op, ADDRESS, class, "scripted").at(path))
            }
            Some(MemorySourceFault::Refuse(class)) => {
                Err(SourceError::new(op, ADDRESS, class, "scripted")
                    .at(path)
                    .transient(false)
                    .session_survives())
            }
            Some(MemorySourceFault::Before(hook)) => {
                hook(&mut self.tree());
                Ok(None)
            }
            Some(MemorySourceFault::Panic) => panic!("scripted"),
            other => Ok(other),
        }
    }
}

fn describe(path: &RemotePath, file: &MemoryFile) -> RemoteFile {
    RemoteFile { path: path.clone(), size: file.claimed_size, modified: file.modified }
}

fn gone(op: Op, path: &RemotePath) -> SourceError {
    SourceError::new(op, ADDRESS, Class::NotFound, "no such file").at(path).session_survives()
}

#[async_trait]
impl Session for MemorySession {
    fn fork(&self) -> Option<Box<dyn Session>> {
        let calls = self.login.calls.load(Ordering::Relaxed);
        // A call has shown that the server has ended it.
        if self.tree().calls_per_login.is_some_and(|most| calls > most) {
            return None;
        }
        let mut used = self.login.used.lock().expect("no code panics while it holds this lock");
        if *used >= self.login.server.forks {
            return None;
        }
        *used += 1;
        Some(Box::new(MemorySession { login: self.login.clone(), forked: true }))
    }

    async fn list(
        &mut self,
        dir: &RemotePath,
        visit: &mut (dyn FnMut(Listed) + Send),
    ) -> Result<(), SourceError> {
        self.tree().lists.push(dir.clone());
        let fault = self.scripted(dir, Op::List, "list")?;
        let breaks_at =
            if let Some(MemorySourceFault::FailAt(at, _)) = &fault { *at } else { u64::MAX };
        let mut told = 0;
        // Entries after the break are not told.
        let visit = &mut |listed: Listed| {
            if told < breaks_at {
                visit(listed);
            }
            told += 1;
        };
        let tree = self.tree();
        let mut directories = BTreeSet::new();
        let mut found = *dir == RemotePath::from("/");
        for (path, file) in &tree.files {
            let Some(below) = path.below(dir) else { continue };
            found = true;
            match below.iter().position(|b| *b == b'/') {
                None => visit(Listed::File(RemoteFile {
                    modified: file.listed.or(file.modified),
                    ..describe(path, file)
                })),
                Some(slash) => {
                    directories.insert(dir.join(&below[..slash]));
                }
            }
        }
        directories.into_iter().for_each(|directory| visit(Listed::Directory(directory)));
        tree.extra.iter().filter(|(at, _)| at == dir).for_each(|(_, listed)| visit(listed.clone()));
        match fault {
            Some(MemorySourceFault::FailAt(_, class)) => {
                Err(SourceError::new(Op::List, ADDRESS, class, "scripted").at(dir))
            }
            _ if found => Ok(()),
            _ => Err(gone(Op::List, dir)),
        }
    }

    async fn stat(&mut self, path: &RemotePath) -> Result<Option<RemoteFile>, SourceError> {
        self.scripted(path, Op::Stat, "stat")?;
        Ok(self.tree().files.get(path).map(|file| describe(path, file)))
    }

    async fn read<'a>(
        &'a mut self,
        file: &RemoteFile,
        offset: u64,
    ) -> Result<Box<dyn Download + 'a>, SourceError> {
        let fault = self.scripted(&file.path, Op::Read, "read")?;
        let content = {
            let mut tree = self.tree();
            tree.reads += 1;
            tree.offsets.push((file.path.clone(), offset));
            tree.files
                .get(&file.path)
                .map(|file| file.content.clone())
                .ok_or_else(|| gone(Op::Read, &file.path))?
        };
        let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
        // Like SFTP, it is asked for no more than the file is said to have, until that much was
        // sent.
        let worth = file.size.map_or(u64::MAX, |size| size.saturating_sub(offset as u64));
        Ok(Box::new(MemoryDownload {
            session: self,
            path: file.path.clone(),
            rest: content.slice(offset..),
            worth,
            sent: 0,
            fault,
        }))
    }

    async fn remove(&mut self, path: &RemotePath) -> Result<(), SourceError> {
        self.scripted(path, Op::Remove, "remove")?;
        self.tree().files.remove(path);
        Ok(())
    }

    async fn rename(&mut self, from: &RemotePath, to: &RemotePath) -> Result<(), SourceError> {
        self.scripted(from, Op::Rename, "rename")?;
        let mut tree = self.tree();
        if tree.files.contains_key(to) {
            return Err(SourceError::new(
                Op::Rename,
                ADDRESS,
                Class::Permission,
                "the target exists",
            )
            .at(to)
            .session_survives());
        }
        let file = tree.files.remove(from).ok_or_else(|| gone(Op::Rename, from))?;
        tree.files.insert(to.clone(), file);
        Ok(())
    }

    async fn close(self: Box<Self>) {}
}

struct MemoryDownload<'a> {
    session: &'a MemorySession,
    path: RemotePath,
    rest: Bytes,
    worth: u64,
    sent: u64,
    fault: Option<MemorySourceFault>,
}

#[async_trait]
impl Download for MemoryDownload<'_> {
    async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        let until_fault = match &self.fault {
            Some(
                MemorySourceFault::FailAt(at, _)
                | MemorySourceFault::EndAt(at)
                | MemorySourceFault::At(at, _),
            ) => Some(at.saturating_sub(self.sent)),
            _ => None,
        };
        if until_fault == Some(0) {
            match self.fault.take() {
                Some(MemorySourceFault::FailAt(_, class)) => {
                    return Err(
                        SourceError::new(Op::Read, ADDRESS, class, "scripted").at(&self.path)
                    );
                }
                Some(MemorySourceFault::At(_, hook)) => hook(&mut self.session.tree()),
                _ => return Ok(None),
            }
        }
        let room = until_fault
            .filter(|room| *room > 0)
            .map_or(CHUNK, |room| usize::try_from(room).unwrap_or(CHUNK).min(CHUNK));
        let worth = usize::try_from(self.worth.saturating_sub(self.sent))
            .ok()
            .filter(|worth| *worth > 0)
            .unwrap_or(room);
        let chunk = self.rest.split_to(room.min(worth).min(self.rest.len()));
        self.sent += chunk.len() as u64;
        self.session.tree().bytes_read += chunk.len() as u64;
        Ok((!chunk.is_empty()).then_some(chunk))
    }
}
