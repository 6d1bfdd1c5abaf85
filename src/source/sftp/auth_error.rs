//! Why a login did not succeed.

/// Whether RSA signatures may use SHA-1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sha1Signatures {
    /// Never.
    Refused,
    /// If the server offers nothing better.
    Allowed,
}

/// Why a login did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The server refused what we showed, or wants what we do not have.
    #[error("{0}")]
    Refused(String),
    /// The connection ended before the server had decided.
    #[error("the connection ended while logging in")]
    Ended {
        /// Whether a credential had been sent by then.
        after_credential: bool,
    },
    /// The agent did not do its part.
    #[error("{0}")]
    Agent(String),
    /// The transport failed.
    #[error(transparent)]
    Transport(#[from] russh::Error),
}

impl From<russh::SendError> for AuthError {
    fn from(_: russh::SendError) -> Self {
        AuthError::Transport(russh::Error::SendError)
    }
}
