//! What the connections of one FTP server share.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::demo::ftp::script::DemoFtpScript;
use crate::demo::ftp::tree::DemoFtpTree;
use crate::model::Secret;

/// What to serve, to whom, where.
#[derive(Clone, Debug)]
pub struct DemoFtpOptions {
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
    #[cfg(feature = "testing")]
    pub script: DemoFtpScript,
}

impl DemoFtpOptions {
    /// `root` for the user `demo` with the password `demo`, on a free port of this machine alone.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            user: "demo".into(),
            password: Secret::new("demo"),
            tls: None,
            max_connections: 64,
            #[cfg(feature = "testing")]
            script: DemoFtpScript::default(),
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
pub struct DemoFtpCounts {
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
    pub(super) commands: Mutex<BTreeMap<&'static str, u64>>,
}

impl DemoFtpCounts {
    /// How often this command, as `RETR`, was received.
    pub fn of(&self, verb: &str) -> u64 {
        self.commands.lock().map_or(0, |commands| commands.get(verb).copied().unwrap_or(0))
    }

    pub(super) fn count(&self, verb: &'static str) {
        if let Ok(mut commands) = self.commands.lock() {
            *commands.entry(verb).or_default() += 1;
        }
    }
}

/// What all connections of a server share.
pub(crate) struct DemoFtpShared {
    pub(super) options: DemoFtpOptions,
    pub(super) tree: DemoFtpTree,
    pub(super) counts: Arc<DemoFtpCounts>,
    /// How many connections there have been.
    pub arrivals: AtomicU64,
    /// How many right passwords were shown.
    pub welcomes: AtomicU64,
    /// How many data connections have ended.
    pub ends: AtomicU64,
    /// How often each file's passing fault has been played.
    pub played: Mutex<BTreeMap<Vec<u8>, u64>>,
}

impl DemoFtpShared {
    /// How it misbehaves: as the test has it.
    #[cfg(feature = "testing")]
    pub(super) fn script(&self) -> &DemoFtpScript {
        &self.options.script
    }

    /// How it misbehaves: what is shipped does everything right.
    #[cfg(not(feature = "testing"))]
    pub(super) fn script(&self) -> &'static DemoFtpScript {
        &crate::demo::ftp::script::FAULTLESS
    }
}

/// A control connection, counted as long as it lives.
pub(crate) struct Guest {
    pub(super) counts: Arc<DemoFtpCounts>,
    /// How many there are with this one.
    pub together: u64,
}

impl Guest {
    pub(super) fn arrive(counts: &Arc<DemoFtpCounts>) -> Self {
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
