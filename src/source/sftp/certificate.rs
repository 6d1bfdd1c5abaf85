//! Certificates of users, as `ssh-keygen -s` makes them: one beside the key, shown in its place.

use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{Certificate, HashAlg, PrivateKey};
use time::OffsetDateTime;

use crate::model::printable;

/// A certificate of a user's key.
#[derive(Clone, Debug)]
pub struct UserCertificate(Certificate);

impl UserCertificate {
    /// The certificate in `text`, a line as in a file `-cert.pub`, which has to be one of `key`;
    /// what is wrong with it, otherwise.
    pub fn read(text: &str, key: &PrivateKey) -> Result<Self, String> {
        let lines = text.lines().map(str::trim);
        let line = lines.into_iter().find(|line| !line.is_empty() && !line.starts_with('#'));
        let line = line.ok_or("holds no certificate; allowed is the line of a `-cert.pub` file")?;
        let certificate = Certificate::from_openssh(line).map_err(|_| {
            "holds no certificate of OpenSSH; allowed is the line of a `-cert.pub` file, as \
                `ssh-ed25519-cert-v01@openssh.com AAAA…`"
        })?;
        if certificate.cert_type() != CertType::User {
            return Err("is the certificate of a host; allowed is that of a user".into());
        }
        if certificate.public_key() != key.public_key().key_data() {
            return Err("is not one of the private key that the settings name".into());
        }
        Ok(Self(certificate))
    }

    /// The library's certificate.
    pub fn inner(&self) -> &Certificate {
        &self.0
    }

    /// Why it is of no use at `now`.
    pub fn expired(&self, now: OffsetDateTime) -> Option<String> {
        let now = now.unix_timestamp().max(0).unsigned_abs();
        if now < self.0.valid_after() {
            return Some(format!(
                "the certificate is not valid before {}; nothing was sent",
                day(self.0.valid_after())
            ));
        }
        (now >= self.0.valid_before()).then(|| {
            format!(
                "the certificate expired on {}; nothing was sent: have it signed again",
                day(self.0.valid_before())
            )
        })
    }

    /// What it says, for people.
    pub fn told(&self) -> String {
        let names = self.0.valid_principals().join(", ");
        let until = match self.0.valid_before() {
            u64::MAX => "for ever".to_owned(),
            before => format!("until {}", day(before)),
        };
        let names = if names.is_empty() { "anybody".into() } else { printable(names.as_bytes()) };
        format!("{} for {names}, valid {until}", printable(self.0.key_id().as_bytes()))
    }

    /// What tells it from another one of the same key.
    pub fn mark(&self) -> String {
        let signer = self.0.signature_key().fingerprint(HashAlg::Sha256);
        let (from, until) = (self.0.valid_after(), self.0.valid_before());
        format!("{signer} {} {from} {until}", self.0.serial())
    }
}

fn day(seconds: u64) -> String {
    let at =
        i64::try_from(seconds).ok().and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
    at.map_or_else(|| "a day far away".into(), |at| at.date().to_string())
}
