//! What the visitors of one SFTP server share.

use std::collections::HashMap;
use std::net::{Shutdown, TcpStream as StdStream};
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Mutex, MutexGuard, PoisonError};

use russh::keys::PublicKey;

use crate::demo::sftp::jail::Jail;
use crate::demo::sftp::script::DemoSftpScript;
use crate::model::Secret;

/// A user and the password that opens the door.
#[derive(Clone, Debug)]
pub struct DemoSftpAccount {
    /// The name.
    pub user: String,
    /// The password.
    pub password: Secret,
}

/// How visitors log in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoginRule {
    /// By password, or by the authorised key if there is one.
    #[default]
    PasswordOrKey,
    /// By a question for the password.
    KeyboardInteractive,
    /// By the authorised key, and then by password.
    KeyThenPassword,
}

/// What all visitors share.
pub(crate) struct House {
    pub jail: Jail,
    pub account: Option<DemoSftpAccount>,
    pub authorized_key: Option<PublicKey>,
    pub login: LoginRule,
    #[cfg(feature = "testing")]
    pub script: Mutex<std::sync::Arc<DemoSftpScript>>,
    pub counters: Counters,
    pub visitors: Mutex<HashMap<u64, StdStream>>,
}

/// What has happened so far.
#[derive(Default)]
pub(crate) struct Counters {
    pub connections: AtomicU64,
    pub most_connections: AtomicUsize,
    pub credentials: AtomicUsize,
    pub logins: AtomicUsize,
    pub opens: AtomicUsize,
    pub folders: AtomicUsize,
    pub bytes_sent: AtomicU64,
}

impl House {
    /// What goes wrong: what the test has set.
    #[cfg(feature = "testing")]
    pub fn script(&self) -> std::sync::Arc<DemoSftpScript> {
        lock(&self.script).clone()
    }

    /// What goes wrong: in what is shipped, nothing.
    #[cfg(not(feature = "testing"))]
    pub fn script(&self) -> &'static DemoSftpScript {
        &crate::demo::sftp::script::FAULTLESS
    }

    /// Ends a visitor's connection as a broken line would.
    pub fn cut(&self, visitor: u64) {
        if let Some(stream) = lock(&self.visitors).get(&visitor) {
            // It may be gone already; then there is nothing to cut.
            stream.shutdown(Shutdown::Both).unwrap_or_default();
        }
    }
}

/// No lock here is held while anything can panic, so a poisoned one is still sound.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
