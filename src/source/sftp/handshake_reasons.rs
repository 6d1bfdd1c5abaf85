//! Why SSH did not come about, in words that name the cause and the setting that mends it.

use russh::{AlgorithmKind, Error, keys};

use super::algorithms;
use crate::model::printable;

/// Whose matter a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SshCause {
    /// The connection ended, which says nothing of its reason.
    Ended,
    /// What the server sent or offers.
    Server,
    /// This program or this machine.
    Here,
}

/// A failure as people are told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshReason {
    /// Whose matter it is.
    pub cause: SshCause,
    /// What it says, with what mends it.
    pub text: String,
}

const CLOSED: &str = "the server closed the connection during the key exchange";
const TEXT: &str = "a message of the server is cut short, or its text is not UTF-8: if it shows a \
    banner before the login, its owner has to write that in plain ASCII";
const RULES: &str = "the server breaks the rules of SSH";
const CHANGED: &str = "what the server sent was changed on the way, or by the server";
const OWN: &str = "this is an error of this program";

/// What `error` means, whichever it is: every kind that the library has is named, so that a new one
/// does not compile unnoticed.
pub(crate) fn of(error: &Error) -> SshReason {
    use SshCause::{Ended, Here, Server};
    let (cause, advice) = match error {
        Error::NoCommonAlgo { kind, ours, theirs } => {
            return SshReason { cause: Server, text: no_common(kind, ours, theirs) };
        }
        // sshd drops connections above MaxStartups without a word.
        Error::Disconnect | Error::HUP | Error::IO(_) => {
            return SshReason { cause: Ended, text: CLOSED.into() };
        }
        Error::KexInit => (
            Server,
            "the server's key exchange cannot be taken up: its group may have fewer than 2,048 \
                bits, which its owner has to change (`moduli`)",
        ),
        Error::Kex => (Server, "the key exchange failed: the server's part of it is not valid"),
        Error::UnknownAlgo => (Server, "the server chose an algorithm that was not offered"),
        Error::Version => (Server, "the server does not begin with a version of SSH 2"),
        Error::PacketAuth | Error::DecryptionError => (Server, CHANGED),
        Error::UnknownKey => {
            (Server, "the server's key is not the one of the settings: `host_key`")
        }
        Error::WrongServerSig => (
            Server,
            "the server does not hold the key that it presents: somebody may stand in between",
        ),
        Error::KeyChanged { .. } => {
            (Server, "the server presents another key than is known: `host_key`")
        }
        Error::StrictKeyExchangeViolation { .. } => (
            Server,
            "somebody in between changed the key exchange (Terrapin), or the server does not keep \
                to what it promised",
        ),
        Error::Signature(_) => (
            Server,
            "a signature cannot be made or read: the key's kind may not be supported; an Ed25519 \
                key is",
        ),
        Error::Utf8(_) | Error::SshEncoding(_) => (Server, TEXT),
        Error::PacketSize(_)
        | Error::Inconsistent
        | Error::IndexOutOfBounds
        | Error::SshKey(_)
        | Error::WrongChannel
        | Error::Compress(_)
        | Error::Decompress(_) => (Server, RULES),
        Error::ChannelOpenFailure(_) => (Server, "the server opens no session for this user"),
        Error::RequestDenied => (Server, "the server denies what it was asked for"),
        Error::ConnectionTimeout | Error::InactivityTimeout | Error::Elapsed(_) => {
            (Ended, "the server was silent for too long: `stall_timeout`")
        }
        Error::KeepaliveTimeout => (
            Ended,
            "the server left the questions whether it lives without an answer: `stall_timeout` \
                says for how long it may",
        ),
        Error::NotAuthenticated => (Server, "the server wants a login where none is due"),
        Error::UnsupportedAuthMethod | Error::NoAuthMethod => (
            Server,
            "the server accepts none of what the settings hold: `password`, `private_key`, \
                `certificate`, `agent`",
        ),
        Error::Keys(inner) => return key_failure(inner),
        Error::SendError | Error::RecvError | Error::Pending | Error::Join(_) => {
            (Ended, "the connection was closed while it was used")
        }
        Error::CouldNotReadKey | Error::NoHomeDir | Error::InvalidConfig(_) => (Here, OWN),
    };
    let words = printable(error.to_string().as_bytes());
    SshReason { cause, text: format!("{words}; {advice}") }
}

/// What is told where no algorithm is common to both sides.
fn no_common(kind: &AlgorithmKind, ours: &[String], theirs: &[String]) -> String {
    let hint = match kind {
        AlgorithmKind::Kex | AlgorithmKind::Cipher | AlgorithmKind::Mac => {
            "the server's owner has to allow a newer one"
        }
        AlgorithmKind::Key => "the server's owner has to give it a key of another kind",
        AlgorithmKind::Compression => "the server's owner has to allow `none`",
    };
    let hint = if algorithms::any_legacy(theirs) {
        "legacy_algorithms = true allows old ones"
    } else {
        hint
    };
    let theirs = printable(theirs.join(", ").as_bytes());
    format!(
        "no common {kind:?} algorithm: the server offers {theirs}; we offer {}; {hint}",
        ours.join(", ")
    )
}

/// What an error of keys means in a handshake.
fn key_failure(error: &keys::Error) -> SshReason {
    let (cause, advice) = match error {
        keys::Error::UnsupportedKeyType { .. } | keys::Error::UnknownAlgorithm(_) => {
            (SshCause::Server, "the kind of a key is not supported; Ed25519, ECDSA and RSA are")
        }
        keys::Error::InvalidSignature | keys::Error::UnknownSignatureType { .. } => (
            SshCause::Server,
            "the server does not hold the key that it presents: somebody may stand in between",
        ),
        keys::Error::AgentProtocolError
        | keys::Error::AgentFailure
        | keys::Error::EnvVar(_)
        | keys::Error::BadAuthSock => {
            (SshCause::Here, "the agent of SSH_AUTH_SOCK does not do its part: see `ssh-add -l`")
        }
        keys::Error::KeyIsEncrypted => (SshCause::Here, "the key needs its `passphrase`"),
        keys::Error::IO(_) => (SshCause::Ended, "the connection was closed while it was used"),
        keys::Error::KeyChanged { .. } => {
            (SshCause::Server, "the server presents another key than is known: `host_key`")
        }
        keys::Error::Ed25519KeyError(_)
        | keys::Error::EcdsaKeyError(_)
        | keys::Error::Rsa(_)
        | keys::Error::InvalidParameters
        | keys::Error::IndexOutOfBounds
        | keys::Error::SshKey(_)
        | keys::Error::SshEncoding(_)
        | keys::Error::Utf8(_) => (SshCause::Server, "a key that the server sent is damaged"),
        keys::Error::CouldNotReadKey
        | keys::Error::KeyIsCorrupt
        | keys::Error::Pad(_)
        | keys::Error::Unpad(_)
        | keys::Error::Decode(_)
        | keys::Error::Der(_)
        | keys::Error::Spki(_)
        | keys::Error::Pkcs1(_)
        | keys::Error::Pkcs8(_)
        | keys::Error::Sec1(_) => {
            (SshCause::Here, "the key of the settings is damaged: `ssh-keygen -y -f FILE` tells")
        }
        keys::Error::NoHomeDir => (SshCause::Here, OWN),
        #[cfg(windows)]
        keys::Error::Pageant(_) => (SshCause::Here, "Pageant does not do its part"),
    };
    let words = printable(error.to_string().as_bytes());
    SshReason { cause, text: format!("{words}; {advice}") }
}
