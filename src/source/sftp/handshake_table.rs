//! The failures of SSH handshakes as people are told of them, each made by hand: for the table of
//! all handshakes.

use russh::keys::Error as KeyError;
use russh::{AlgorithmKind, ChannelOpenFailure, Error};

use super::handshake_reasons;

fn no_common(kind: AlgorithmKind, theirs: &str) -> Error {
    Error::NoCommonAlgo { kind, ours: vec!["ours".into()], theirs: vec![theirs.to_owned()] }
}

/// A row for each that can be made from outside the library.
pub fn rows() -> Vec<(String, String)> {
    let io = || std::io::Error::other("x");
    let errors = vec![
        no_common(AlgorithmKind::Kex, "theirs"),
        no_common(AlgorithmKind::Kex, "diffie-hellman-group14-sha1"),
        no_common(AlgorithmKind::Key, "theirs"),
        no_common(AlgorithmKind::Key, "ssh-rsa"),
        no_common(AlgorithmKind::Cipher, "theirs"),
        no_common(AlgorithmKind::Cipher, "aes128-cbc"),
        no_common(AlgorithmKind::Mac, "hmac-sha1"),
        no_common(AlgorithmKind::Compression, "theirs"),
        Error::KexInit,
        Error::Kex,
        Error::UnknownAlgo,
        Error::Version,
        Error::PacketAuth,
        Error::DecryptionError,
        Error::UnknownKey,
        Error::WrongServerSig,
        Error::KeyChanged { line: 1 },
        Error::StrictKeyExchangeViolation { message_type: 2, sequence_number: 1 },
        Error::PacketSize(1),
        Error::Inconsistent,
        Error::IndexOutOfBounds,
        Error::WrongChannel,
        Error::ChannelOpenFailure(ChannelOpenFailure::AdministrativelyProhibited),
        Error::RequestDenied,
        Error::ConnectionTimeout,
        Error::InactivityTimeout,
        Error::KeepaliveTimeout,
        Error::NotAuthenticated,
        Error::UnsupportedAuthMethod,
        Error::NoAuthMethod,
        Error::Disconnect,
        Error::HUP,
        Error::IO(io()),
        Error::SendError,
        Error::RecvError,
        Error::Pending,
        Error::CouldNotReadKey,
        Error::NoHomeDir,
        Error::InvalidConfig("x".into()),
        Error::Keys(KeyError::CouldNotReadKey),
        Error::Keys(KeyError::UnsupportedKeyType {
            key_type_string: "ssh-dss".into(),
            key_type_raw: Vec::new(),
        }),
        Error::Keys(KeyError::InvalidSignature),
        Error::Keys(KeyError::KeyIsEncrypted),
        Error::Keys(KeyError::KeyIsCorrupt),
        Error::Keys(KeyError::AgentFailure),
        Error::Keys(KeyError::BadAuthSock),
        Error::Keys(KeyError::IO(io())),
    ];
    errors
        .iter()
        .map(|error| {
            let debug = format!("{error:?}");
            let name: String = debug
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || "(".contains(*c))
                .collect();
            (name.trim_end_matches('(').replace('(', ": "), handshake_reasons::of(error).text)
        })
        .collect()
}
