//! Why TLS did not come about, in words that name the cause and the setting that mends it.

use std::error::Error as StdError;

use rustls::{AlertDescription, Error, InvalidMessage, PeerIncompatible};

use crate::model::printable;

const NO_TLS: &str = "does the server speak TLS on this port?";
const OLD: &str = "this program speaks TLS 1.2 and 1.3, with ECDHE and AES-GCM or ChaCha20; the \
    server may know older versions, or suites with RSA, DHE or CBC, alone: its owner has to \
    allow newer ones";
const OLD_VERSIONS: &str = "this program speaks TLS 1.2 and 1.3; the server speaks older versions \
    alone, or newer ones than `tls_max_version` allows: its owner has to allow TLS 1.2";
const RULES: &str = "the server breaks the rules of TLS; `tls_max_version = \"1.2\"` may help";
const CLIENT: &str = "the server wants a client certificate: set `tls_client_certificate_file` \
    and `tls_client_key_file`";

/// What `error`, if it is one of TLS, means to people.
pub fn of(error: &(dyn StdError + Send + Sync + 'static)) -> String {
    let text = printable(error.to_string().as_bytes());
    match error.downcast_ref::<Error>().and_then(advice) {
        Some(advice) => format!("{text}; {advice}"),
        None => text,
    }
}

/// What is said to a server that asked for a certificate and got none.
pub(crate) fn client_certificate(text: &str) -> String {
    format!("{text}; {CLIENT}")
}

/// The cause and the remedy of an error, where it has one. Certificates are judged elsewhere.
fn advice(error: &Error) -> Option<&'static str> {
    Some(match error {
        Error::InvalidMessage(problem) => message(problem),
        Error::InappropriateMessage { .. } | Error::PeerSentOversizedRecord => NO_TLS,
        Error::InappropriateHandshakeMessage { .. } | Error::PeerMisbehaved(_) => RULES,
        Error::PeerIncompatible(problem) => incompatible(problem),
        Error::AlertReceived(alert) => told(*alert),
        Error::DecryptError => {
            "what the server sent was changed on the way, or by the server: try \
                `tls_max_version = \"1.2\"`"
        }
        Error::NoCertificatesPresented => "the server showed no certificate",
        Error::UnsupportedNameType => "the server's name is none that a certificate can hold",
        Error::InvalidEncryptedClientHello(_)
        | Error::EncryptError
        | Error::InvalidCertificate(_)
        | Error::InvalidCertRevocationList(_)
        | Error::General(_)
        | Error::FailedToGetCurrentTime
        | Error::FailedToGetRandomBytes
        | Error::HandshakeNotComplete
        | Error::NoApplicationProtocol
        | Error::BadMaxFragmentSize
        | Error::InconsistentKeys(_)
        | Error::Other(_) => return None,
        // The list is open; a test counts what it holds today.
        _ => return None,
    })
}

fn message(problem: &InvalidMessage) -> &'static str {
    match problem {
        InvalidMessage::UnknownProtocolVersion => OLD_VERSIONS,
        InvalidMessage::UnsupportedCurveType
        | InvalidMessage::UnsupportedKeyExchangeAlgorithm(_)
        | InvalidMessage::InvalidDhParams
        | InvalidMessage::MissingKeyExchange => OLD,
        InvalidMessage::InvalidContentType
        | InvalidMessage::InvalidEmptyPayload
        | InvalidMessage::MessageTooLarge
        | InvalidMessage::MessageTooShort
        | InvalidMessage::UnexpectedMessage(_) => NO_TLS,
        InvalidMessage::CertificatePayloadTooLarge => {
            "the server's chain of certificates is larger than is read: its owner has to shorten it"
        }
        InvalidMessage::InvalidCertRequest | InvalidMessage::NoSignatureSchemes => CLIENT,
        InvalidMessage::UnsupportedCompression => {
            "the server wants compression, which nobody speaks any more"
        }
        InvalidMessage::HandshakePayloadTooLarge
        | InvalidMessage::InvalidCcs
        | InvalidMessage::InvalidCertificateStatusType
        | InvalidMessage::InvalidKeyUpdate
        | InvalidMessage::InvalidServerName
        | InvalidMessage::MissingData(_)
        | InvalidMessage::TrailingData(_)
        | InvalidMessage::EmptyTicketValue
        | InvalidMessage::IllegalEmptyList(_)
        | InvalidMessage::IllegalEmptyValue
        | InvalidMessage::DuplicateExtension(_)
        | InvalidMessage::PreSharedKeyIsNotFinalExtension
        | InvalidMessage::UnknownHelloRetryRequestExtension
        | InvalidMessage::UnknownCertificateExtension => RULES,
        // The list is open; a test counts what it holds today.
        _ => NO_TLS,
    }
}

fn incompatible(problem: &PeerIncompatible) -> &'static str {
    match problem {
        PeerIncompatible::ExtendedMasterSecretExtensionRequired => {
            "the server's TLS lacks the extended master secret"
        }
        PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
        | PeerIncompatible::SupportedVersionsExtensionRequired
        | PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled => OLD_VERSIONS,
        PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon => {
            "the server takes client certificates of other kinds alone than that of \
                `tls_client_certificate_file`"
        }
        PeerIncompatible::NoCipherSuitesInCommon
        | PeerIncompatible::NoKxGroupsInCommon
        | PeerIncompatible::NoSignatureSchemesInCommon
        | PeerIncompatible::NoEcPointFormatsInCommon
        | PeerIncompatible::EcPointsExtensionRequired
        | PeerIncompatible::UncompressedEcPointsRequired
        | PeerIncompatible::NamedGroupsExtensionRequired
        | PeerIncompatible::KeyShareExtensionRequired
        | PeerIncompatible::NullCompressionRequired
        | PeerIncompatible::SignatureAlgorithmsExtensionRequired => OLD,
        PeerIncompatible::IncorrectCertificateTypeExtension
        | PeerIncompatible::UnsolicitedCertificateTypeExtension
        | PeerIncompatible::ServerSentHelloRetryRequestWithUnknownExtension
        | PeerIncompatible::ServerRejectedEncryptedClientHello(_)
        | PeerIncompatible::Tls13RequiredForQuic => RULES,
        // The list is open; a test counts what it holds today.
        _ => OLD,
    }
}

/// What the server's last word says.
fn told(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::ProtocolVersion => OLD_VERSIONS,
        AlertDescription::HandshakeFailure
        | AlertDescription::InsufficientSecurity
        | AlertDescription::IllegalParameter
        | AlertDescription::InappropriateFallback => OLD,
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => CLIENT,
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied
        | AlertDescription::CertificateUnobtainable => {
            "the server refuses the client certificate: see `tls_client_certificate_file`"
        }
        AlertDescription::UnrecognisedName => {
            "the server does not know itself by the host name in `url`"
        }
        AlertDescription::UnexpectedMessage
        | AlertDescription::DecodeError
        | AlertDescription::DecryptError
        | AlertDescription::BadRecordMac
        | AlertDescription::RecordOverflow
        | AlertDescription::MissingExtension
        | AlertDescription::UnsupportedExtension => {
            "the server does not understand this program's TLS: try `tls_max_version = \"1.2\"`"
        }
        _ => "the server's own log says why",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(error: Error, part: &str) {
        let text = of(&error);
        assert!(text.contains(part), "{text}");
    }

    #[test]
    fn reasons_name_what_mends_them() {
        use AlertDescription as Alert;
        check(Error::AlertReceived(Alert::HandshakeFailure), "older versions, or suites");
        check(Error::AlertReceived(Alert::ProtocolVersion), "TLS 1.2 and 1.3");
        check(Error::AlertReceived(Alert::CertificateRequired), "`tls_client_certificate_file`");
        check(Error::AlertReceived(Alert::UnknownCA), "refuses the client certificate");
        check(Error::InvalidMessage(InvalidMessage::InvalidContentType), NO_TLS);
        check(Error::InvalidMessage(InvalidMessage::UnknownProtocolVersion), "older versions");
        let old = Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13);
        check(old, "TLS 1.2 and 1.3");
    }

    #[test]
    fn every_alert_that_the_library_knows_has_words() {
        let known: Vec<AlertDescription> = (0..=u8::MAX)
            .map(AlertDescription::from)
            .filter(|alert| !matches!(alert, AlertDescription::Unknown(_)))
            .collect();
        // One more than this: give it words in `told`.
        assert_eq!(known.len(), 35, "{known:?}");
        assert!(known.into_iter().all(|alert| !told(alert).is_empty()));
    }
}
