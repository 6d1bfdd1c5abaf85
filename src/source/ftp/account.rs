//! Whom to log in as, where, and how long to wait for what.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::fatal::FatalCommands;
use super::fault::Scene;
use super::known_ways::Ways;
use super::tls::Tls;
use crate::model::Secret;
use crate::source::contract::Op;
use crate::source::pace::MinimumRate;
use crate::source::proxy::Proxy;

/// How long to wait for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FtpLimits {
    /// For a TCP connection.
    pub connect: Duration,
    /// For the reply to a command.
    pub command: Duration,
    /// For the next bytes.
    pub stall: Duration,
    /// For the reply that closes a transfer whose data connection has ended.
    pub finish: Duration,
    /// How much the server must send while bytes are waited for.
    pub rate: MinimumRate,
}

/// Whether and how the connection is encrypted.
#[derive(Clone, Debug)]
pub(crate) enum Security {
    /// Not at all.
    Clear,
    /// Clear text up to `AUTH TLS`.
    Explicit(Tls),
    /// From the first byte.
    Implicit(Tls),
}

/// How files are transferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TransferType {
    /// Byte for byte (`TYPE I`).
    Binary,
    /// As text (`TYPE A`), whose character set and line ends the server converts.
    Ascii,
}

/// A server and a user of it.
#[derive(Debug)]
pub(crate) struct FtpAccount {
    /// Host name or address.
    pub host: String,
    /// Port of the control connection.
    pub port: u16,
    /// `scheme://host:port`.
    pub address: String,
    /// The user.
    pub user: String,
    /// The password.
    pub password: Secret,
    /// What answers a server that asks for an account behind the password.
    pub account: Option<Secret>,
    /// What is sent after the login.
    pub login_commands: Vec<String>,
    /// Whether paths that begin with `/~` begin where the login starts.
    pub home: bool,
    /// How files are transferred.
    pub transfer_type: TransferType,
    /// Encryption.
    pub security: Security,
    /// The way to the server, if it is not straight.
    pub proxy: Option<Proxy>,
    /// Time limits.
    pub limits: FtpLimits,
    /// What its logins found out.
    pub learned: Learned,
}

/// What the logins of an account found out about its server, so that later ones need not do so
/// again.
#[derive(Debug, Default)]
pub(crate) struct Learned {
    /// It wants `PASV`.
    pub wants_pasv: AtomicBool,
    /// It fails at data connections in TLS 1.3: later logins offer 1.2 at most.
    pub wants_tls_1_2: AtomicBool,
    /// It has answered several commands that were sent at once.
    pub takes_many: AtomicBool,
    /// It has not: commands are sent one by one.
    pub one_by_one: AtomicBool,
    /// A port of it was reached the last time that one was tried.
    pub ports_open: AtomicBool,
    /// Logins that are in at this moment.
    pub inside: AtomicUsize,
    /// It answers commands while a port that it opened waits for a connection.
    pub answers_before_data: AtomicBool,
    /// It does not.
    pub waits_for_data: AtomicBool,
    /// It refuses `CWD` to whole paths, and takes their folders one by one.
    pub wants_steps: AtomicBool,
    /// It has taken `CWD` to a whole path.
    pub takes_paths: AtomicBool,
    /// How it lists folders.
    pub ways: Ways,
    /// Commands over which it ends the connection.
    pub fatal: FatalCommands,
    /// It encrypts data connections before it announces data, or does not announce it.
    pub(super) encrypts_first: AtomicBool,
    /// It sends data without the reply that announces it (150).
    pub begins_unsaid: AtomicBool,
    /// It has ended an encrypted listing with TLS's own sign of the end.
    pub signs_listings: AtomicBool,
    /// It has ended one twice without that sign.
    pub signs_no_listing: AtomicBool,
    /// Bytes that arrived on its data connections so far.
    pub received: AtomicU64,
}

impl FtpAccount {
    /// A scene of `op` on this server.
    pub fn scene(&self, op: Op) -> Scene<'_> {
        Scene { op, address: &self.address, path: None }
    }
}

/// A login that is in, as long as this lives.
#[derive(Debug)]
pub(crate) struct Presence(Arc<FtpAccount>);

impl Presence {
    /// One more is in.
    pub fn new(account: Arc<FtpAccount>) -> Self {
        account.learned.inside.fetch_add(1, Ordering::Relaxed);
        Self(account)
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.learned.inside.fetch_sub(1, Ordering::Relaxed);
    }
}
