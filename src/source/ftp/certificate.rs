//! Certificates as people compare them.

use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::der::Decode;

use crate::model::{hex, printable};
use crate::source::finding::Finding;

/// A certificate with fewer days left is told with advice.
const SOON: i64 = 30;
/// Names of subjects and issuers are cut here.
const LONGEST: usize = 200;

/// What a server's chain of certificates says, its own one first.
pub fn findings(chain: &[Vec<u8>], now: OffsetDateTime) -> Vec<Finding> {
    let each = chain.iter().enumerate();
    each.map(|(place, der)| {
        finding(if place == 0 { "certificate" } else { "its issuer" }, place, der, now)
    })
    .collect()
}

/// What is told of a certificate, beside its fingerprint.
pub(crate) struct CertificateFacts {
    /// The owner, in the order of RFC 4514.
    pub subject: String,
    /// The authority that signed it.
    pub issuer: String,
    /// Whether the owner signed it.
    pub is_signed_by_itself: bool,
    /// The first second of its validity, since 1970.
    pub not_before: u64,
    /// The last second of its validity, since 1970.
    pub not_after: u64,
}

impl CertificateFacts {
    /// The facts of the certificate `der`; `None` where it cannot be read. Rules of RFC 5280 that
    /// devices break, as on the length of serial numbers, are not asked for.
    pub fn of(der: &[u8]) -> Option<Self> {
        let certificate = CertificateInner::<Raw>::from_der(der).ok()?;
        let told = certificate.tbs_certificate();
        let validity = told.validity();
        Some(Self {
            subject: told.subject().to_string(),
            issuer: told.issuer().to_string(),
            is_signed_by_itself: told.subject() == told.issuer(),
            not_before: validity.not_before.to_unix_duration().as_secs(),
            not_after: validity.not_after.to_unix_duration().as_secs(),
        })
    }
}

fn finding(step: &'static str, place: usize, der: &[u8], now: OffsetDateTime) -> Finding {
    let fingerprint = hex(&Sha256::digest(der));
    let unread = || Finding::new(step, format!("cannot be read; SHA-256 {fingerprint}"));
    let Some(facts) = CertificateFacts::of(der) else { return unread() };
    let seconds = i64::try_from(facts.not_after).ok();
    let until = seconds.and_then(|until| OffsetDateTime::from_unix_timestamp(until).ok());
    let Some(until) = until else { return unread() };
    let cut = |name: &str| printable(name.as_bytes()).chars().take(LONGEST).collect::<String>();
    let signed = if facts.is_signed_by_itself {
        "signed by itself".to_owned()
    } else {
        format!("issued by {}", cut(&facts.issuer))
    };
    let (subject, until_day) = (cut(&facts.subject), until.date());
    let text = format!("{subject}, {signed}, valid until {until_day}, SHA-256 {fingerprint}");
    let found = Finding::new(step, text);
    let found = match (until - now).whole_days() {
        _ if until < now => found
            .advice(format!("it expired on {}: the server's owner has to renew it", until.date())),
        days @ ..SOON => found.advice(format!(
            "it expires in {days} days: ask the server's owner when it is renewed"
        )),
        _ => found,
    };
    // Only the server's own certificate can be pinned.
    if place == 0 { found.paste(format!("tls_pin = \"SHA256:{fingerprint}\"")) } else { found }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};
    use time::macros::datetime;

    #[test]
    fn a_certificate_is_told_with_its_days() {
        let mut params =
            CertificateParams::new(vec!["ftp.acme.example".into()]).expect("good parameters");
        params.distinguished_name.push(DnType::CommonName, "ftp.acme.example");
        params.not_after = date_time_ymd(2026, 12, 24);
        let key = KeyPair::generate().expect("a key");
        let der = params.self_signed(&key).expect("it signs").der().to_vec();
        let at = |now| findings(std::slice::from_ref(&der), now).remove(0);
        let early = at(datetime!(2026-10-01 0:00 UTC));
        assert!(
            early.text.contains(
                "CN=ftp.acme.example, signed by itself, valid until 2026-12-24, SHA-256 "
            ),
            "{early:?}"
        );
        assert_eq!(
            (early.advice, early.paste.map(|line| line.len())),
            (None, Some("tls_pin = \"SHA256:\"".len() + 64))
        );
        let late = at(datetime!(2026-12-04 0:00 UTC)).advice.expect("it expires soon");
        assert!(late.starts_with("it expires in 20 days"), "{late}");
        let gone = at(datetime!(2026-12-25 0:00 UTC)).advice.expect("it has expired");
        assert!(gone.starts_with("it expired on 2026-12-24"), "{gone}");
        assert!(
            findings(&[b"nonsense".to_vec()], datetime!(2026-12-25 0:00 UTC))[0]
                .text
                .starts_with("cannot be read; SHA-256 ")
        );
    }
}
