//! Whether a server is the one that the settings mean.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use russh::keys::{Algorithm, HashAlg, PublicKey};

use super::known_hosts::{KnownHosts, KnownHostsMark};
use crate::model::printable;

/// A key that the settings name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pin {
    /// `SHA256:…`, without padding.
    Fingerprint(String),
    /// A whole key, as in `ssh-ed25519 AAAA…`.
    Key(Box<PublicKey>),
}

impl Pin {
    /// A pin from its text in the settings, or what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(hash) = text.strip_prefix("SHA256:") {
            let hash = hash.trim_end_matches('=');
            let whole = STANDARD_NO_PAD.decode(hash).is_ok_and(|bytes| bytes.len() == 32);
            return if whole {
                Ok(Pin::Fingerprint(format!("SHA256:{hash}")))
            } else {
                Err(wrong(text, "a fingerprint of 43 characters after `SHA256:`"))
            };
        }
        if text.starts_with("MD5:") || text.split(':').count() == 16 {
            return Err(wrong(text, "a SHA256 fingerprint, since MD5 ones can be forged"));
        }
        PublicKey::from_openssh(text)
            .map(|key| Pin::Key(Box::new(key)))
            .map_err(|_| wrong(text, "`SHA256:…` or a whole key as `ssh-ed25519 AAAA…`"))
    }

    fn fits(&self, key: &PublicKey) -> bool {
        match self {
            Pin::Fingerprint(fingerprint) => *fingerprint == fingerprint_of(key),
            Pin::Key(pinned) => pinned.key_data() == key.key_data(),
        }
    }
}

fn wrong(text: &str, allowed: &str) -> String {
    format!("is \"{}\"; allowed is {allowed}", printable(text.as_bytes()))
}

/// `SHA256:…` of a key, as `ssh-keygen -lf` shows it.
pub(crate) fn fingerprint_of(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// Everything that the settings say about a server's key.
#[derive(Clone, Debug, Default)]
pub struct SftpTrust {
    /// `host_key`.
    pub pins: Vec<Pin>,
    /// `known_hosts`.
    pub known_hosts: Option<KnownHosts>,
}

/// Why a presented key is not taken; its text says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Distrust {
    /// Nothing is known about this server.
    Unknown {
        /// What it presented.
        presented: Presented,
        /// What the known_hosts file says that does not help.
        aside: &'static str,
    },
    /// Another key is known for this server.
    Changed {
        /// What it presented.
        presented: Presented,
        /// Where the known keys stand.
        expected: String,
    },
    /// The known_hosts file calls this key stolen.
    Revoked {
        /// What it presented.
        presented: Presented,
        /// The line that says so.
        line: usize,
    },
}

/// A key as people compare it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presented {
    /// Its type, as `ssh-ed25519`.
    pub kind: String,
    /// Its `SHA256:…`.
    pub fingerprint: String,
}

impl Presented {
    /// How people compare `key`.
    pub fn of(key: &PublicKey) -> Self {
        Self { kind: key.algorithm().to_string(), fingerprint: fingerprint_of(key) }
    }
}

impl fmt::Display for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a key of type {} with the fingerprint {}", self.kind, self.fingerprint)
    }
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Distrust::Unknown { presented, aside } => write!(
                f,
                "the server presents {presented}, which the settings do not name{aside}; \
                 if its owner confirms it, set host_key = \"{}\"",
                presented.fingerprint
            ),
            Distrust::Changed { presented, expected } => write!(
                f,
                "THE SERVER'S KEY IS NOT THE KNOWN ONE: it presents {presented}, but {expected}; \
                 someone may be listening in between, or the server was set up anew. Nothing was \
                 sent to it. Only if its owner confirms the change, set host_key = \"{}\"",
                presented.fingerprint
            ),
            Distrust::Revoked { presented, line } => {
                write!(
                    f,
                    "the server presents {presented}, which line {line} of the known_hosts file \
                    marks as revoked; talk to its owner"
                )
            }
        }
    }
}

impl std::error::Error for Distrust {}

impl SftpTrust {
    /// Whether `key` may speak for `host` at `port`.
    pub(crate) fn judge(&self, host: &str, port: u16, key: &PublicKey) -> Result<(), Distrust> {
        let presented = Presented::of(key);
        let entries = self.known_hosts.as_ref().map(|file| file.of(host, port)).unwrap_or_default();
        let same = |entry: &&crate::source::sftp::known_hosts::KnownHostsEntry| {
            entry.key.key_data() == key.key_data()
        };
        if let Some(revoked) =
            entries.iter().find(|entry| entry.mark == KnownHostsMark::Revoked && same(entry))
        {
            return Err(Distrust::Revoked { presented, line: revoked.line });
        }
        if self.pins.iter().any(|pin| pin.fits(key))
            || entries.iter().any(|entry| entry.mark == KnownHostsMark::Plain && same(entry))
        {
            return Ok(());
        }
        let lines: Vec<String> = entries
            .iter()
            .filter(|entry| entry.mark == KnownHostsMark::Plain)
            .map(|entry| entry.line.to_string())
            .collect();
        if !self.pins.is_empty() {
            // A server has one key for each type, and a fingerprint does not tell which one to ask
            // for.
            let whole = self.pins.iter().all(|pin| matches!(pin, Pin::Key(_)));
            let hint = if whole {
                ""
            } else {
                " (if that is the server's key of another type, give the whole line, as `ssh-rsa \
                AAAA…`)"
            };
            return Err(Distrust::Changed {
                presented,
                expected: format!("`host_key` names another{hint}"),
            });
        }
        if !lines.is_empty() {
            return Err(Distrust::Changed {
                presented,
                expected: format!(
                    "the known_hosts file names another in line {}",
                    lines.join(", ")
                ),
            });
        }
        let aside = match &self.known_hosts {
            Some(_) if entries.iter().any(|entry| entry.mark == KnownHostsMark::Authority) => {
                " (the known_hosts file holds a @cert-authority for it, which is not supported)"
            }
            Some(_) => " (the known_hosts file does not hold this host)",
            None => "",
        };
        Err(Distrust::Unknown { presented, aside })
    }

    /// `algorithms` with those first that a known key of this host has, so that the server presents
    /// a key we can compare. A fingerprint alone does not tell its algorithm.
    pub(crate) fn preferred(
        &self,
        host: &str,
        port: u16,
        algorithms: &[Algorithm],
    ) -> Vec<Algorithm> {
        let pinned = self.pins.iter().filter_map(|pin| match pin {
            Pin::Key(key) => Some(key.algorithm()),
            Pin::Fingerprint(_) => None,
        });
        let entries = self.known_hosts.as_ref().map(|file| file.of(host, port)).unwrap_or_default();
        let listed = entries
            .iter()
            .filter(|entry| entry.mark == KnownHostsMark::Plain)
            .map(|entry| entry.key.algorithm());
        let known: Vec<Algorithm> = pinned.chain(listed).collect();
        let is_known = |algorithm: &Algorithm| {
            known.iter().any(|known| known == algorithm || (is_rsa(known) && is_rsa(algorithm)))
        };
        let (mut first, rest): (Vec<Algorithm>, Vec<Algorithm>) =
            algorithms.iter().cloned().partition(is_known);
        first.extend(rest);
        first
    }
}

fn is_rsa(algorithm: &Algorithm) -> bool {
    matches!(algorithm, Algorithm::Rsa { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const OTHER: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA6rWI3G1sz07DnfFlrouTcysQlj2P+jpNSOEWD9OJ3X";

    fn key(text: &str) -> PublicKey {
        PublicKey::from_openssh(text).expect("the test's key is well formed")
    }

    fn judge(pins: &[&str], known_hosts: Option<&str>) -> Result<(), String> {
        let pins = pins.iter().map(|pin| Pin::parse(pin)).collect::<Result<_, _>>()?;
        let trust = SftpTrust { pins, known_hosts: known_hosts.map(KnownHosts::parse) };
        trust.judge("acme.example", 2222, &key(ED25519)).map_err(|error| error.to_string())
    }

    #[test]
    fn pinned_keys_are_taken_whatever_their_spelling() {
        let fingerprint = fingerprint_of(&key(ED25519));
        for pins in [
            &[fingerprint.as_str()][..],
            &[&format!("{fingerprint}=")],
            &[OTHER, &format!("{ED25519} root@acme")],
        ] {
            assert_eq!(judge(pins, None), Ok(()));
        }
    }

    #[test]
    fn an_unknown_key_is_shown_with_what_to_paste() {
        let fingerprint = fingerprint_of(&key(ED25519));
        let error = judge(&[], None).expect_err("nothing is pinned");
        assert!(
            error.contains("ssh-ed25519")
                && error.contains(&format!("set host_key = \"{fingerprint}\"")),
            "{error}"
        );
        let error =
            judge(&[], Some(&format!("@cert-authority *.example,[acme.example]:* {OTHER}")))
                .expect_err("no authority is taken");
        assert!(error.contains("@cert-authority"), "{error}");
    }

    #[test]
    fn a_changed_key_alarms() {
        for error in
            [judge(&[OTHER], None), judge(&[], Some(&format!("\n[acme.example]:2222 {OTHER}")))]
        {
            let error = error.expect_err("another key is known");
            assert!(error.starts_with("THE SERVER'S KEY IS NOT THE KNOWN ONE"), "{error}");
        }
    }

    #[test]
    fn a_revoked_key_is_refused_even_if_pinned() {
        let file = format!("@revoked * {ED25519}");
        let error = judge(&[ED25519], Some(&file)).expect_err("it is revoked");
        assert!(error.contains("line 1") && error.contains("revoked"), "{error}");
    }

    #[test]
    fn pins_that_are_none_are_explained() {
        for bad in [
            "SHA256:abc",
            "MD5:00:11",
            "16:27:ac:a5:76:28:2d:36:63:1b:56:4d:eb:df:a6:48",
            "ssh-ed25519",
            "",
        ] {
            assert!(Pin::parse(bad).expect_err(bad).contains("allowed is"), "{bad}");
        }
    }

    #[test]
    fn algorithms_of_known_keys_come_first() {
        let trust =
            SftpTrust { pins: vec![Pin::parse(ED25519).expect("it parses")], known_hosts: None };
        let rsa = Algorithm::Rsa { hash: Some(HashAlg::Sha512) };
        assert_eq!(
            trust.preferred("h", 22, &[rsa.clone(), Algorithm::Ed25519]),
            vec![Algorithm::Ed25519, rsa]
        );
    }
}
