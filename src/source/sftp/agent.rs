//! The agent that holds the user's keys: where it listens.

use std::path::PathBuf;

use super::auth_error::AuthError;

/// An agent, by the socket that it listens on.
#[derive(Clone, Debug)]
pub struct SshAgent {
    socket: PathBuf,
}

/// The connection to an agent.
#[cfg(unix)]
pub(crate) type AgentConnection = russh::keys::agent::client::AgentClient<tokio::net::UnixStream>;
/// The connection to an agent.
#[cfg(not(unix))]
pub(crate) type AgentConnection = russh::keys::agent::client::AgentClient<tokio::io::DuplexStream>;

impl SshAgent {
    /// The one that `SSH_AUTH_SOCK` names, as for `ssh`.
    pub(crate) fn of_environment() -> Option<Self> {
        let socket = std::env::var_os("SSH_AUTH_SOCK").filter(|socket| !socket.is_empty())?;
        Some(Self { socket: socket.into() })
    }

    /// Where it listens.
    pub fn place(&self) -> String {
        self.socket.display().to_string()
    }

    /// Connects to it.
    #[cfg(unix)]
    pub(crate) async fn connect(&self) -> Result<AgentConnection, AuthError> {
        AgentConnection::connect_uds(&self.socket).await.map_err(|error| {
            AuthError::Agent(format!(
                "the agent of SSH_AUTH_SOCK ({}) cannot be reached: {error}",
                self.socket.display()
            ))
        })
    }

    /// There are none here.
    #[cfg(not(unix))]
    #[expect(clippy::unused_async, reason = "elsewhere it waits")]
    pub async fn connect(&self) -> Result<AgentConnection, AuthError> {
        Err(AuthError::Agent("agents are reached by a socket of Unix alone".into()))
    }
}
