//! Private keys from the settings: every common file format, or a clear word on what is wrong,
//! never the key.

use russh::keys::{PrivateKey, decode_secret_key};

use crate::model::Secret;

/// The private key in `text`, opened with `passphrase` if it is encrypted. The error tells what
/// is wrong with the setting that holds the text, without repeating any of it.
pub fn read(text: &Secret, passphrase: Option<&Secret>) -> Result<PrivateKey, String> {
    let text = tidy(text.reveal());
    if let Some(problem) = other_than_a_key(&text) {
        return Err(problem.to_owned());
    }
    let encrypted = is_encrypted(&text);
    match decode_secret_key(&text, passphrase.map(Secret::reveal)) {
        Ok(key) if !key.is_encrypted() => Ok(key),
        Ok(_) | Err(russh::keys::Error::KeyIsEncrypted) if passphrase.is_none() => {
            Err(NEEDS_PASSPHRASE.into())
        }
        _ if encrypted && passphrase.is_none() => Err(NEEDS_PASSPHRASE.into()),
        Ok(_) | Err(russh::keys::Error::KeyIsEncrypted) => Err(WRONG_PASSPHRASE.into()),
        Err(_) if encrypted => Err(WRONG_PASSPHRASE.into()),
        Err(error) => Err(format!(
            "is a private key that cannot be read ({}); `ssh-keygen -y -f FILE` tells whether it \
            is whole",
            kind_of(&error)
        )),
    }
}

const NEEDS_PASSPHRASE: &str = "is encrypted: set `passphrase`";
const WRONG_PASSPHRASE: &str = "is encrypted, and `passphrase` does not open it (or its cipher is \
    not supported: `ssh-keygen -p -f FILE` rewrites it)";

/// Keys in environment variables come with `\r\n`, with `\n` as two characters, or with blanks in
/// place of line ends.
fn tidy(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let text = if text.contains('\n') && text.trim().contains('\n') {
        text
    } else {
        text.replace("\\r", "").replace("\\n", "\n")
    };
    let text = text.trim().trim_start_matches('\u{FEFF}').trim_matches('"');
    if !text.contains('\n')
        && let Some(lines) = broken_up(text)
    {
        return lines;
    }
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines.join("\n") + "\n"
}

/// `-----BEGIN X----- body -----END X-----` on one line, with its line ends put back.
fn broken_up(text: &str) -> Option<String> {
    let (label, rest) = text.strip_prefix("-----BEGIN ")?.split_once("-----")?;
    let (body, _) = rest.split_once("-----END ")?;
    let body = body.split_whitespace().collect::<Vec<_>>().join("\n");
    Some(format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n"))
}

fn other_than_a_key(text: &str) -> Option<&'static str> {
    let first = text.lines().next().unwrap_or_default();
    if ["ssh-", "ecdsa-", "sk-"].iter().any(|start| first.starts_with(start))
        || first.contains("PUBLIC KEY")
    {
        return Some("is a public key; allowed is the private one (the file without `.pub`)");
    }
    if first.contains("BEGIN CERTIFICATE") {
        return Some("is a certificate; allowed is a private key");
    }
    if first.contains("BEGIN DSA PRIVATE KEY") {
        return Some(
            "is a DSA key, which servers no longer take; make an Ed25519 one with `ssh-keygen -t \
            ed25519`",
        );
    }
    if !text.contains("PRIVATE KEY-----") && !first.starts_with("PuTTY-User-Key-File-") {
        return Some(
            "holds no private key; allowed is the text of an OpenSSH, PEM or PuTTY key file \
            (`private_key_file` takes a file's name, `private_key` the text)",
        );
    }
    (!text.contains("-----END ") && !first.starts_with("PuTTY-"))
        .then_some("is a private key that is cut off: its END line is missing")
}

fn is_encrypted(text: &str) -> bool {
    let mut lines = text.lines();
    lines.any(|line| {
        line.contains("ENCRYPTED") || (line.starts_with("Encryption:") && !line.contains("none"))
    })
        // An OpenSSH key tells its cipher inside.
        || PrivateKey::from_openssh(text).is_ok_and(|key| key.is_encrypted())
}

/// Only the kind of error: some texts of the libraries below quote their input.
fn kind_of(error: &russh::keys::Error) -> &'static str {
    match error {
        russh::keys::Error::UnsupportedKeyType { .. } | russh::keys::Error::UnknownAlgorithm(_) => {
            "its kind is not supported"
        }
        russh::keys::Error::Decode(_) => "its Base64 is damaged",
        _ => "its content is damaged",
    }
}

#[cfg(test)]
mod tests {
    use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
    use russh::keys::ssh_key::{Cipher, Kdf, LineEnding};

    use super::*;

    fn plain() -> String {
        key().to_openssh(LineEnding::LF).expect("it has a text form").to_string()
    }

    fn locked() -> String {
        let kdf = Kdf::Bcrypt { salt: vec![7; 16], rounds: 1 };
        let locked = key()
            .encrypt_with(Cipher::Aes256Ctr, kdf, 7, "open sesame")
            .expect("it can be encrypted");
        locked.to_openssh(LineEnding::LF).expect("it has a text form").to_string()
    }

    fn key() -> PrivateKey {
        PrivateKey::new(KeypairData::Ed25519(Ed25519Keypair::from_seed(&[7; 32])), "test")
            .expect("a pair makes a key")
    }

    fn check(text: &str, passphrase: Option<&str>, expected: Result<(), &str>) {
        let found = read(&Secret::new(text), passphrase.map(Secret::new).as_ref());
        match (found, expected) {
            (Ok(_), Ok(())) => {}
            (Err(found), Err(expected)) => {
                assert!(found.contains(expected), "{found}");
                let leaked =
                    text.lines().filter(|line| line.len() > 20).any(|line| found.contains(line));
                assert!(!leaked, "{found}");
            }
            (found, _) => panic!("{:?} for {expected:?}", found.map(|_| "a key")),
        }
    }

    #[test]
    fn keys_survive_what_environment_variables_do_to_them() {
        let plain = plain();
        for mangled in [
            plain.clone(),
            plain.replace('\n', "\r\n"),
            plain.replace('\n', "\\n"),
            plain.replace('\n', " "),
            format!("\n  {plain}\n\n"),
        ] {
            check(&mangled, None, Ok(()));
        }
        check(&plain, Some("not needed"), Ok(()));
        check(&locked(), Some("open sesame"), Ok(()));
    }

    #[test]
    fn each_mistake_has_its_own_message() {
        let plain = plain();
        check(&locked(), None, Err("set `passphrase`"));
        check(&locked(), Some("wrong"), Err("does not open it"));
        check(
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ",
            None,
            Err("public key"),
        );
        check("/home/me/.ssh/id_ed25519", None, Err("private_key_file"));
        check(&plain[..200], None, Err("cut off"));
        check(&plain.replace("b3BlbnNzaC1", "b3BlbnNz@C1"), None, Err("cannot be read"));
        check(
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
            None,
            Err("certificate"),
        );
    }
}
