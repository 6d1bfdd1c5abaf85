//! The known_hosts format of OpenSSH, as sshd(8) describes it.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use russh::keys::PublicKey;
use sha1::Sha1;

/// What a line says of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownHostsMark {
    /// It is the host's key.
    Plain,
    /// It must never be taken.
    Revoked,
    /// It signs host certificates, which we do not read.
    Authority,
}

/// A line with a key that we can read.
#[derive(Clone, Debug)]
pub struct KnownHostsEntry {
    hosts: String,
    /// Its key.
    pub key: PublicKey,
    /// What it says of the key.
    pub mark: KnownHostsMark,
    /// Where it stands, from 1.
    pub line: usize,
}

/// A known_hosts file. Lines that nobody can read, and keys of kinds that we do not speak, are left
/// out, as OpenSSH does.
#[derive(Clone, Debug, Default)]
pub struct KnownHosts(Vec<KnownHostsEntry>);

impl KnownHosts {
    /// Reads the file's text.
    pub fn parse(text: &str) -> Self {
        Self(text.lines().zip(1..).filter_map(|(line, number)| entry(line, number)).collect())
    }

    /// The entries that speak of `host` at `port`.
    pub(crate) fn of(&self, host: &str, port: u16) -> Vec<&KnownHostsEntry> {
        let host = host.to_ascii_lowercase();
        let name = if port == 22 { host } else { format!("[{host}]:{port}") };
        self.0.iter().filter(|entry| speaks_of(&entry.hosts, &name)).collect()
    }
}

fn entry(line: &str, number: usize) -> Option<KnownHostsEntry> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    let mut fields = line.split_ascii_whitespace().peekable();
    let mark = match *fields.peek()? {
        "@revoked" => KnownHostsMark::Revoked,
        "@cert-authority" => KnownHostsMark::Authority,
        _ => KnownHostsMark::Plain,
    };
    if mark != KnownHostsMark::Plain {
        fields.next();
    }
    let (hosts, kind, key) = (fields.next()?, fields.next()?, fields.next()?);
    let key = PublicKey::from_openssh(&format!("{kind} {key}")).ok()?;
    Some(KnownHostsEntry { hosts: hosts.to_owned(), key, mark, line: number })
}

/// A list of patterns fits if one of them does and none that is negated.
fn speaks_of(hosts: &str, name: &str) -> bool {
    let mut fits = false;
    for pattern in hosts.split(',') {
        match pattern.strip_prefix('!') {
            Some(pattern) if fits_one(pattern, name) => return false,
            Some(_) => {}
            None => fits |= fits_one(pattern, name),
        }
    }
    fits
}

fn fits_one(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix("|1|") {
        Some(hashed) => hash_fits(hashed, name).unwrap_or(false),
        None => wildcard_fits(pattern.to_ascii_lowercase().as_bytes(), name.as_bytes()),
    }
}

fn hash_fits(hashed: &str, name: &str) -> Option<bool> {
    let (salt, hash) = hashed.split_once('|')?;
    let mac = Hmac::<Sha1>::new_from_slice(&decode_base64(salt)?).ok()?;
    Some(mac.chain_update(name).verify_slice(&decode_base64(hash)?).is_ok())
}

/// `*` is any run of characters, `?` any one. Steps back to the last `*` only, so time stays a
/// product of both lengths.
fn wildcard_fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while from < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(byte) if *byte == b'?' || *byte == name[from] => {
                at += 1;
                from += 1;
            }
            _ => {
                let Some((star_at, eaten)) = star else { return false };
                star = Some((star_at, eaten + 1));
                at = star_at + 1;
                from = eaten + 1;
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// Base64 as keys and hashes of known_hosts files have it, padded or not.
pub(super) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    fn lines(text: &str, host: &str, port: u16) -> Vec<usize> {
        KnownHosts::parse(text).of(host, port).iter().map(|entry| entry.line).collect()
    }

    #[test]
    fn hosts_are_found_by_every_kind_of_pattern() {
        let file = format!(
            "# a comment\n\nacme.example,10.0.0.1 {KEY} comment with spaces\r\n[acme.example]:2222 \
             {KEY}\n*.example,!bad.example {KEY}\nnot a key\n@revoked ??me.example \
             {KEY}\nacme.example ssh-dss AAAAB3NzaC1kc3M="
        );
        assert_eq!(lines(&file, "ACME.example", 22), [3, 5, 7]);
        assert_eq!(lines(&file, "acme.example", 2222), [4]);
        assert_eq!(lines(&file, "bad.example", 22), [0; 0]);
        assert_eq!(lines(&file, "10.0.0.1", 22), [3]);
    }

    #[test]
    fn hashed_names_are_found() {
        // Made by `ssh-keygen -H` from `example.com`; the same pair as in russh's own tests.
        let file = format!("|1|O33ESRMWPVkMYIwJ1Uw+n877jTo=|nuuC5vEqXlEZ/8BXQR7m619W6Ak= {KEY}");
        assert_eq!(lines(&file, "example.com", 22), [1]);
        assert_eq!(lines(&file, "example.org", 22), [0; 0]);
        assert_eq!(lines(&format!("|1|%|% {KEY}\n|1| {KEY}"), "example.com", 22), [0; 0]);
    }
}
