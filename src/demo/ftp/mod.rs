//! An FTP server over a tree of files, with scripted faults.
//!
//! Without a script it is a server for people to try things on: confined to its folder, byte-exact
//! in names, good enough for `curl`, `lftp` and browsers' heirs. With one it plays the servers
//! that one meets in the field. No FTP library is involved, so that both can be exact.

mod commands;
mod control;
mod data;
mod lines;
pub mod script;
mod tree;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

pub use script::{Company, DeadPorts, Fault, Hook, ListFormat, Script};

use crate::model::Secret;
use tree::Tree;

/// What to serve, to whom, where.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder that is served; nothing outside it is.
    pub root: PathBuf,
    /// Where to listen.
    pub listen: SocketAddr,
    /// The one user.
    pub user: String,
    /// The user's password.
    pub password: Secret,
    /// Encryption; with it, nobody gets in without.
    pub tls: Option<ServerTls>,
    /// Connections at once; one more is turned away with 421.
    pub max_connections: usize,
    /// How to misbehave.
    pub script: Script,
}

impl Options {
    /// `root` for the user `demo` with the password `demo`, on a free port of this machine alone.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            user: "demo".into(),
            password: Secret::new("demo"),
            tls: None,
            max_connections: 64,
            script: Script::default(),
        }
    }
}

/// Encryption of a server.
#[derive(Clone)]
pub struct ServerTls {
    /// Certificate and key.
    pub config: Arc<rustls::ServerConfig>,
    /// When it begins.
    pub start: TlsStart,
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerTls({:?})", self.start)
    }
}

/// When encryption begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsStart {
    /// After `AUTH TLS`.
    Explicit,
    /// With the first byte.
    Implicit,
}

/// What a server has seen so far.
#[derive(Debug, Default)]
pub struct Counts {
    /// Logins that were let in.
    pub logins: AtomicU64,
    /// Logins that were refused.
    pub refused_logins: AtomicU64,
    /// Control connections that are open now.
    pub connections: AtomicU64,
    /// The most control connections that were open at once.
    pub most_connections: AtomicU64,
    /// Bytes of files sent.
    pub bytes: AtomicU64,
    /// Commands that were there when the one before them was read.
    pub in_company: AtomicU64,
    commands: Mutex<BTreeMap<&'static str, u64>>,
}

impl Counts {
    /// How often this command, as `RETR`, was received.
    pub fn of(&self, verb: &str) -> u64 {
        self.commands.lock().map_or(0, |commands| commands.get(verb).copied().unwrap_or(0))
    }

    fn count(&self, verb: &'static str) {
        if let Ok(mut commands) = self.commands.lock() {
            *commands.entry(verb).or_default() += 1;
        }
    }
}

/// A running server. It stops when it is dropped, with all its connections.
#[derive(Debug)]
pub struct FtpServer {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it has seen so far.
    pub counts: Arc<Counts>,
    task: JoinHandle<()>,
}

/// What all connections of a server share.
struct Shared {
    options: Options,
    tree: Tree,
    counts: Arc<Counts>,
    /// How many connections there have been.
    arrivals: AtomicU64,
    /// How many right passwords were shown.
    welcomes: AtomicU64,
    /// How often each file's passing fault has been played.
    played: Mutex<BTreeMap<Vec<u8>, u64>>,
}

impl FtpServer {
    /// Binds the address and serves from a task of the current runtime.
    pub async fn start(options: Options) -> io::Result<Self> {
        let tree = Tree::new(&options.root)?;
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let counts = Arc::new(Counts::default());
        let shared = Arc::new(Shared {
            options,
            tree,
            counts: counts.clone(),
            arrivals: AtomicU64::new(0),
            welcomes: AtomicU64::new(0),
            played: Mutex::default(),
        });
        Ok(Self { address, counts, task: tokio::spawn(accept(listener, shared)) })
    }
}

impl Drop for FtpServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The set of connections lives in this task, so that it ends them when it ends.
async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(control::serve(stream, peer, shared.clone(), Guest::arrive(&shared.counts)));
                }
                // Out of file handles, perhaps: that may pass.
                Err(error) => {
                    tracing::warn!(%error, "The demo server could not accept a connection.");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// A control connection, counted as long as it lives.
struct Guest {
    counts: Arc<Counts>,
    /// How many there are with this one.
    together: u64,
}

impl Guest {
    fn arrive(counts: &Arc<Counts>) -> Self {
        let together = counts.connections.fetch_add(1, Ordering::SeqCst) + 1;
        counts.most_connections.fetch_max(together, Ordering::SeqCst);
        Self { counts: counts.clone(), together }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.counts.connections.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests;
