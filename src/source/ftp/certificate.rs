//! Certificates as people compare them.

use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509Certificate};

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

fn finding(step: &'static str, place: usize, der: &[u8], now: OffsetDateTime) -> Finding {
    let fingerprint = hex(&Sha256::digest(der));
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return Finding::new(step, format!("cannot be read; SHA-256 {fingerprint}"));
    };
    let cut = |name: String| printable(name.as_bytes()).chars().take(LONGEST).collect::<String>();
    let (subject, issuer) =
        (cut(certificate.subject().to_string()), cut(certificate.issuer().to_string()));
    let signed = if certificate.subject() == certificate.issuer() {
        "signed by itself".to_owned()
    } else {
        format!("issued by {issuer}")
    };
    let until = certificate.validity().not_after.to_datetime();
    let text = format!("{subject}, {signed}, valid until {}, SHA-256 {fingerprint}", until.date());
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
