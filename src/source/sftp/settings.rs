//! The settings of an SFTP source, turned into a target.

use std::sync::Arc;
use std::time::Duration;

use russh::keys::PrivateKey;

use super::algorithms::Algorithms;
use super::auth::{Credentials, Sha1Signatures};
use super::client::SessionTerms;
use super::host_key::{Pin, SftpTrust};
use super::known_hosts::KnownHosts;
use super::private_key;
use super::transport::Target;
use crate::model::Secret;
use crate::settings::{Section, SettingError, SettingKey, SourceUrl, ValueKind};
use crate::source::pace::{self, MinimumRate};
use crate::source::proxy::{self, Proxy};

/// The settings that only SFTP sources have.
pub const KEYS: &[SettingKey] = &[
    SettingKey {
        name: "user",
        kind: ValueKind::Text,
        doc: "The user to log in as, if the URL does not name one.",
    },
    SettingKey {
        name: "password",
        kind: ValueKind::Secret,
        doc: "The user's password; also answers keyboard-interactive logins.",
    },
    SettingKey {
        name: "private_key",
        kind: ValueKind::Secret,
        doc: "The text of a private key (OpenSSH, PEM or PuTTY).",
    },
    SettingKey {
        name: "private_key_file",
        kind: ValueKind::Text,
        doc: "A file with a private key (OpenSSH, PEM or PuTTY).",
    },
    SettingKey {
        name: "passphrase",
        kind: ValueKind::Secret,
        doc: "Opens the private key, if it is encrypted.",
    },
    SettingKey {
        name: "host_key",
        kind: ValueKind::List,
        doc: "The server's key: \"SHA256:…\" or a whole line as \"ssh-ed25519 AAAA…\"; several are \
            allowed while a server changes its key. `blobferry check` shows it.",
    },
    SettingKey {
        name: "known_hosts",
        kind: ValueKind::Text,
        doc: "A known_hosts file of OpenSSH that holds the server's key.",
    },
    proxy::KEY,
    SettingKey {
        name: "stall_timeout",
        kind: ValueKind::Duration,
        doc: "How long the server may be silent while an answer is due; default \"60s\".",
    },
    pace::KEY,
    SettingKey {
        name: "connect_timeout",
        kind: ValueKind::Duration,
        doc: "How long each of the server's addresses may take to accept a connection; default \
            \"15s\".",
    },
    SettingKey {
        name: "server_command",
        kind: ValueKind::Text,
        doc: "A command that starts SFTP on the server, as \"sudo /usr/lib/openssh/sftp-server\", in \
            place of the server's own SFTP.",
    },
    SettingKey {
        name: "legacy_algorithms",
        kind: ValueKind::Flag,
        doc: "Whether SHA-1 and CBC may be used, for servers of before 2014 that know nothing \
            better; default false.",
    },
];

/// The target that `section` and `url` describe, with everything checked that needs no network.
pub fn target(section: &Section, url: &SourceUrl) -> Result<Target, SettingError> {
    if url.host.is_empty() {
        return Err(section.error("url", "names no host; allowed is `sftp://user@host/folder`"));
    }
    let legacy = section.flag("legacy_algorithms", false)?;
    let (algorithms, sha1) = if legacy {
        (Algorithms::Legacy, Sha1Signatures::Allowed)
    } else {
        (Algorithms::Modern, Sha1Signatures::Refused)
    };
    let credentials = Credentials {
        user: user(section, url)?,
        password: password(section, url)?,
        key: key(section)?.map(Arc::new),
        sha1,
    };
    if credentials.password.is_none() && credentials.key.is_none() {
        return Err(section.error(
            "password",
            "is missing; allowed is `password`, `private_key` or `private_key_file`",
        ));
    }
    Ok(Target {
        host: url.host.clone(),
        port: url.port.unwrap_or(22),
        credentials,
        trust: trust(section)?,
        server_command: server_command(section)?,
        proxy: section
            .secret("proxy")?
            .map(|text| {
                Proxy::parse(text.reveal()).map_err(|problem| section.error("proxy", problem))
            })
            .transpose()?,
        algorithms,
        connect_timeout: time_limit(section, "connect_timeout", Duration::from_secs(15))?,
        terms: SessionTerms::new(
            time_limit(section, "stall_timeout", Duration::from_secs(60))?,
            MinimumRate::of(section)?,
        ),
    })
}

fn user(section: &Section, url: &SourceUrl) -> Result<String, SettingError> {
    match (section.text("user")?, &url.user) {
        (Some(_), Some(_)) => Err(section
            .error("user", "is set although the URL names a user; allowed is one of the two")),
        (Some(user), None) => Ok(user),
        (None, Some(user)) => Ok(user.clone()),
        (None, None) => Err(section.error(
            "user",
            "is missing; allowed is `user` or `sftp://user@host/folder` in the URL",
        )),
    }
}

fn password(section: &Section, url: &SourceUrl) -> Result<Option<Secret>, SettingError> {
    match (section.secret("password")?, &url.password) {
        (Some(_), Some(_)) => Err(section.error(
            "password",
            "is set although the URL holds a password; allowed is one of the two",
        )),
        (Some(password), None) => Ok(Some(password)),
        (None, password) => Ok(password.clone()),
    }
}

fn key(section: &Section) -> Result<Option<PrivateKey>, SettingError> {
    let passphrase = section.secret("passphrase")?;
    let (name, text) = match (section.secret("private_key")?, section.text("private_key_file")?) {
        (Some(_), Some(_)) => {
            return Err(section.error(
                "private_key_file",
                "is set beside `private_key`; allowed is one of the two",
            ));
        }
        (Some(text), None) => ("private_key", text),
        (None, Some(file)) => {
            ("private_key_file", Secret::new(read_file(section, "private_key_file", &file)?))
        }
        (None, None) if passphrase.is_some() => {
            return Err(
                section.error("passphrase", "is set, but there is no private key for it to open")
            );
        }
        (None, None) => return Ok(None),
    };
    private_key::read(&text, passphrase.as_ref())
        .map(Some)
        .map_err(|problem| section.error(name, problem))
}

fn server_command(section: &Section) -> Result<Option<String>, SettingError> {
    match section.text("server_command")? {
        Some(command) if command.trim().is_empty() || command.contains('\0') => Err(section.error(
            "server_command",
            "is no command; allowed is the path of a program and its words",
        )),
        command => Ok(command),
    }
}

fn trust(section: &Section) -> Result<SftpTrust, SettingError> {
    let pins = section.list("host_key")?;
    let pins = pins
        .iter()
        .map(|pin| Pin::parse(pin).map_err(|problem| section.error("host_key", problem)))
        .collect::<Result<_, _>>()?;
    let known_hosts = match section.text("known_hosts")? {
        Some(file) => Some(KnownHosts::parse(&read_file(section, "known_hosts", &file)?)),
        None => None,
    };
    Ok(SftpTrust { pins, known_hosts })
}

fn read_file(section: &Section, key: &str, file: &str) -> Result<String, SettingError> {
    let bytes = std::fs::read(file).map_err(|error| {
        section.error(key, format!("names a file that cannot be read: {error}"))
    })?;
    // What is no UTF-8 is no key either, and a comment may be in any encoding.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn time_limit(section: &Section, key: &str, default: Duration) -> Result<Duration, SettingError> {
    match section.duration(key)? {
        Some(Duration::ZERO) => Err(section.error(key, "is 0; allowed is a duration above 0")),
        limit => Ok(limit.unwrap_or(default)),
    }
}
