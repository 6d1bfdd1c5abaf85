//! A host on the way (`ProxyJump`): one login there carries the connections of all behind it.

use std::sync::{Arc, Weak};

use futures_util::future::BoxFuture;
use russh::ChannelOpenFailure;
use russh::client::Handle;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::jump_stream::always_read;
use super::open_error::OpenError;
use super::transport::{Detour, Forwarded, JumpLogin, Target, WINDOW, logged_in};
use super::watcher::Watcher;
use crate::model::failure::Class;
use crate::model::{BoxError, Secret, chain};
use crate::source::finding::{Finding, Tell};

/// Bytes of a connection through the host that nobody has read yet. What the server behind it may
/// send is bounded by the window of its own channel; the rest is for what carries it.
const MOST_UNREAD: usize = WINDOW as usize + (16 << 20);

/// A host on the way.
pub(crate) struct JumpHost {
    /// The host, as a target of its own.
    pub target: Target,
    /// The login that is open, as long as somebody uses it.
    login: Mutex<Weak<Handle<Watcher>>>,
}

impl JumpHost {
    /// The host that `target` describes.
    pub fn new(target: Target) -> Self {
        Self { target, login: Mutex::default() }
    }

    /// `sftp://host:port`.
    fn address(&self) -> String {
        format!("sftp://{}:{}", self.target.host, self.target.port)
    }

    async fn reach(&self, host: &str, port: u16, tell: Tell<'_>) -> Result<Forwarded, OpenError> {
        let login = self.login(tell).await?;
        let opening = login.channel_open_direct_tcpip(host, u32::from(port), "127.0.0.1", 0);
        let limit = self.target.connect_timeout;
        let channel = match timeout(limit, opening).await {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => return Err(self.not_forwarded(host, port, error)),
            Err(_) => {
                let cause =
                    format!("{}: no connection to {host}:{port} in {limit:?}", self.address());
                return Err(OpenError::connect(Class::Connect, cause));
            }
        };
        tell(Finding::new("connect", format!("{host}:{port}, by way of {}", self.address())));
        Ok((always_read(channel.into_stream(), MOST_UNREAD), login))
    }

    async fn login(&self, tell: Tell<'_>) -> Result<JumpLogin, OpenError> {
        let mut kept = self.login.lock().await;
        if let Some(login) = kept.upgrade().filter(|login| !login.is_closed()) {
            return Ok(login);
        }
        let address = self.address();
        let mut told = |finding: Finding| tell(of_jump(&address, finding));
        let opened = logged_in(&self.target, &mut told).await;
        let login = opened.map_err(|error| self.failed(error))?;
        let login = Arc::new(login.handle);
        *kept = Arc::downgrade(&login);
        Ok(login)
    }

    /// An error on the way, told as one of the host on the way.
    fn failed(&self, error: OpenError) -> OpenError {
        let cause: BoxError = format!("{}: {}", self.address(), settings_of(&words(&error))).into();
        OpenError { cause, ..error }
    }

    fn not_forwarded(&self, host: &str, port: u16, error: russh::Error) -> OpenError {
        let address = self.address();
        match error {
            russh::Error::ChannelOpenFailure(ChannelOpenFailure::AdministrativelyProhibited) => {
                let cause = format!(
                    "{address} does not forward connections to {host}:{port} for this user: its \
                    owner has to allow it (AllowTcpForwarding, PermitOpen)"
                );
                OpenError::connect(Class::Protocol, cause).not_transient()
            }
            russh::Error::ChannelOpenFailure(ChannelOpenFailure::ConnectFailed) => {
                let cause = format!("{address} cannot reach {host}:{port}");
                OpenError::connect(Class::Connect, cause)
            }
            error => OpenError::connect(Class::Connect, format!("{address}: {error}")),
        }
    }
}

impl Detour for JumpHost {
    fn connect<'a>(
        &'a self,
        host: &'a str,
        port: u16,
        tell: Tell<'a>,
    ) -> BoxFuture<'a, Result<Forwarded, OpenError>> {
        Box::pin(self.reach(host, port, tell))
    }

    fn secrets(&self) -> Vec<Secret> {
        self.target.credentials.password.iter().cloned().collect()
    }
}

fn words(error: &OpenError) -> String {
    chain(error.cause.as_ref())
}

/// A text that names settings of the source, about those of the host on the way.
fn settings_of(text: &str) -> String {
    text.replace("set host_key = ", "set jump_host_key = ")
}

/// What was found of the host on the way.
fn of_jump(address: &str, finding: Finding) -> Finding {
    let named = |line: String| line.replace("host_key = ", "jump_host_key = ");
    let setting = finding.setting.filter(|line| line.starts_with("host_key")).map(named);
    Finding {
        text: format!("{address}: {}", finding.text),
        paste: finding.paste.map(named),
        setting,
        ..finding
    }
}
