//! Why a certificate was refused, in words that name the cause and the setting that mends it.

use rustls::CertificateError;
use rustls::pki_types::UnixTime;
use time::OffsetDateTime;

use crate::model::printable;

const RENEW: &str = "its owner has to renew it, and `tls_pin` trusts it meanwhile";
const PIN: &str = "`tls_pin` trusts one certificate, whoever signed it";

/// What follows after "the certificate".
pub fn of(error: &rustls::Error) -> String {
    let rustls::Error::InvalidCertificate(problem) = error else {
        return format!("was refused: {error}");
    };
    match problem {
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("expired on {}; {RENEW}", day(*not_after))
        }
        CertificateError::Expired => format!("expired; {RENEW}"),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("is not valid before {}", day(*not_before))
        }
        CertificateError::NotValidYet => "is not valid yet".into(),
        CertificateError::NotValidForNameContext { expected, presented }
            if presented.is_empty() =>
        {
            format!(
                "names no host (it has no subjectAltName, and a common name does not count), so \
                    it is not for `{}`; `tls_pin` trusts it as it is",
                expected.to_str()
            )
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            format!(
                "is for {}, not for `{}`",
                printable(presented.join(", ").as_bytes()),
                expected.to_str()
            )
        }
        CertificateError::NotValidForName => "is for another host than that of `url`".into(),
        CertificateError::UnknownIssuer => {
            "is signed by itself or by an authority that is not trusted: `tls_ca_file` names one, \
                `tls_pin` trusts the certificate itself"
                .into()
        }
        CertificateError::BadSignature => {
            "is not signed by the authority whose name it bears".into()
        }
        CertificateError::ApplicationVerificationFailure => {
            "is not the one that `tls_pin` names".into()
        }
        CertificateError::Revoked => "was revoked by the authority that signed it".into(),
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "is one of an authority, shown as the server's own; `tls_pin` trusts it".into()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            format!("is not one for servers ({}); {PIN}", text(problem))
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            format!(
                "is signed in a way that is not accepted any more (SHA-1, MD5, short keys); {PIN}"
            )
        }
        CertificateError::BadEncoding
        | CertificateError::UnhandledCriticalExtension
        | CertificateError::UnknownRevocationStatus
        | CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. }
        | CertificateError::InvalidOcspResponse
        | CertificateError::Other(_) => format!("was refused: {}; {PIN}", text(problem)),
        // The list is open; a test counts what it holds today.
        other => format!("was refused: {}; {PIN}", text(other)),
    }
}

fn text(problem: &CertificateError) -> String {
    printable(problem.to_string().as_bytes())
}

fn day(time: UnixTime) -> String {
    let at = i64::try_from(time.as_secs())
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    at.map_or_else(|| "an unknown day".into(), |at| at.date().to_string())
}
