//! The settings of an SFTP source, turned into a target.

use std::sync::Arc;
use std::time::Duration;

use russh::keys::PrivateKey;

use super::agent::SshAgent;
use super::algorithms::Algorithms;
use super::auth::{Credentials, Sha1Signatures};
use super::certificate::UserCertificate;
use super::client::SessionTerms;
use super::host_key::{Pin, SftpTrust};
use super::jump::JumpHost;
use super::known_hosts::KnownHosts;
use super::private_key;
use super::transport::{Detour, Target};
use crate::model::Secret;
use crate::settings::{Section, SettingError, SettingKey, SourceUrl, ValueKind};
use crate::source::pace::{self, MinimumRate};
use crate::source::proxy::{self, Proxy};

/// The settings that only SFTP sources have.
pub(crate) const KEYS: &[SettingKey] = &[
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
    SettingKey {
        name: "certificate",
        kind: ValueKind::Text,
        doc: "The text of a certificate of the private key, as `ssh-keygen -s` makes it.",
    },
    SettingKey {
        name: "certificate_file",
        kind: ValueKind::Text,
        doc: "A file with a certificate of the private key; default: the file beside \
            `private_key_file` that ends in `-cert.pub`, if there is one.",
    },
    SettingKey {
        name: "agent",
        kind: ValueKind::Flag,
        doc: "Whether the keys of the agent that SSH_AUTH_SOCK names are used; default false.",
    },
    SettingKey {
        name: "jump",
        kind: ValueKind::Text,
        doc: "A host on the way, as \"sftp://user@bastion.example:22\"; without a password or key \
            of its own the key, certificate or agent of the source is shown there.",
    },
    SettingKey {
        name: "jump_password",
        kind: ValueKind::Secret,
        doc: "The user's password on the host of `jump`.",
    },
    SettingKey {
        name: "jump_private_key",
        kind: ValueKind::Secret,
        doc: "The text of a private key for the host of `jump`.",
    },
    SettingKey {
        name: "jump_private_key_file",
        kind: ValueKind::Text,
        doc: "A file with a private key for the host of `jump`.",
    },
    SettingKey {
        name: "jump_passphrase",
        kind: ValueKind::Secret,
        doc: "Opens the private key for the host of `jump`, if it is encrypted.",
    },
    SettingKey {
        name: "jump_host_key",
        kind: ValueKind::List,
        doc: "The key of the host of `jump`, as `host_key`; `blobferry check` shows it.",
    },
    SettingKey {
        name: "jump_known_hosts",
        kind: ValueKind::Text,
        doc: "A known_hosts file of OpenSSH that holds the key of the host of `jump`.",
    },
    SettingKey {
        name: "links",
        kind: ValueKind::OneOf(&["skip", "follow"]),
        doc: "What is done with symbolic links: `follow` takes what they lead to, where that lies \
            below the folder of `url`; default skip.",
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
        doc: "A command that starts SFTP on the server, as \"sudo /usr/lib/openssh/sftp-server\", \
            in place of the server's own SFTP.",
    },
    SettingKey {
        name: "legacy_algorithms",
        kind: ValueKind::Flag,
        doc: "Whether SHA-1 and CBC may be used, for servers of before 2014 that know nothing \
            better; default false.",
    },
];

/// The target that `section` and `url` describe, with everything checked that needs no network.
pub(crate) fn target(section: &Section, url: &SourceUrl) -> Result<Target, SettingError> {
    if url.host.is_empty() {
        return Err(section.error("url", "names no host; allowed is `sftp://user@host/folder`"));
    }
    let legacy = section.flag("legacy_algorithms", false)?;
    let (algorithms, sha1) = if legacy {
        (Algorithms::Legacy, Sha1Signatures::Allowed)
    } else {
        (Algorithms::Modern, Sha1Signatures::Refused)
    };
    let key = key(section, &OWN_KEY)?.map(Arc::new);
    let credentials = Credentials {
        user: user(section, url)?,
        password: password(section, url)?,
        certificate: certificate(section, key.as_deref())?.map(Arc::new),
        key,
        agent: agent(section)?,
        sha1,
    };
    if credentials.password.is_none() && credentials.key.is_none() && credentials.agent.is_none() {
        return Err(section.error(
            "password",
            "is missing; allowed is `password`, `private_key`, `private_key_file` or `agent`",
        ));
    }
    let own = Target {
        host: url.host.clone(),
        port: url.port.unwrap_or(22),
        credentials,
        trust: trust(section, "host_key", "known_hosts")?,
        jump: None,
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
    };
    with_jump(section, own)
}

/// `own`, reached by way of the host of `jump`, if there is one.
fn with_jump(section: &Section, own: Target) -> Result<Target, SettingError> {
    let Some(text) = section.text("jump")? else {
        return match JUMP_KEYS.into_iter().find(|key| section.has(key)) {
            Some(key) => Err(section.error(key, "is of no use without `jump`")),
            None => Ok(own),
        };
    };
    let wrong = |problem: &str| section.error("jump", problem);
    let url = SourceUrl::parse(&text).map_err(|problem| wrong(&problem))?;
    if !matches!(url.scheme.as_str(), "sftp" | "ssh") || url.host.is_empty() {
        return Err(wrong("is no host; allowed is `sftp://user@host:22`"));
    }
    if url.password.is_some() {
        return Err(wrong("holds a password; allowed is `jump_password`"));
    }
    let password = section.secret("jump_password")?;
    let key = key(section, &JUMP_KEY)?.map(Arc::new);
    let mut credentials = Credentials {
        user: url.user.unwrap_or_else(|| own.credentials.user.clone()),
        password,
        key,
        certificate: None,
        agent: None,
        ..own.credentials.clone()
    };
    if credentials.password.is_none() && credentials.key.is_none() {
        credentials.key = own.credentials.key.clone();
        credentials.certificate = own.credentials.certificate.clone();
        credentials.agent = own.credentials.agent.clone();
        if credentials.key.is_none() && credentials.agent.is_none() {
            let why = "has no credential; allowed is `jump_password` or `jump_private_key_file`";
            return Err(wrong(why));
        }
    }
    let host = Target {
        host: url.host,
        port: url.port.unwrap_or(22),
        credentials,
        trust: trust(section, "jump_host_key", "jump_known_hosts")?,
        ..own.clone()
    };
    let jump: Arc<dyn Detour> = Arc::new(JumpHost::new(host));
    Ok(Target { jump: Some(jump), proxy: None, ..own })
}

/// What is of no use without `jump`.
const JUMP_KEYS: [&str; 6] = [
    "jump_password",
    "jump_private_key",
    "jump_private_key_file",
    "jump_passphrase",
    "jump_host_key",
    "jump_known_hosts",
];

/// The settings that hold a private key: as text, as a file, and what opens it.
struct KeyNames {
    text: &'static str,
    file: &'static str,
    passphrase: &'static str,
}

const OWN_KEY: KeyNames =
    KeyNames { text: "private_key", file: "private_key_file", passphrase: "passphrase" };
const JUMP_KEY: KeyNames = KeyNames {
    text: "jump_private_key",
    file: "jump_private_key_file",
    passphrase: "jump_passphrase",
};

fn agent(section: &Section) -> Result<Option<SshAgent>, SettingError> {
    if !section.flag("agent", false)? {
        return Ok(None);
    }
    let agent = SshAgent::of_environment();
    agent.map(Some).ok_or_else(|| {
        section.error("agent", "is true, but the environment holds no SSH_AUTH_SOCK")
    })
}

/// The certificate of `key`: the one that is named, or, as with `ssh`, the one beside its file.
fn certificate(
    section: &Section,
    key: Option<&PrivateKey>,
) -> Result<Option<UserCertificate>, SettingError> {
    let text = section.text("certificate")?;
    let file = section.text("certificate_file")?;
    let (name, text) = match (text, file) {
        (Some(_), Some(_)) => {
            return Err(section.error(
                "certificate_file",
                "is set beside `certificate`; allowed is one of the two",
            ));
        }
        (Some(text), None) => ("certificate", text),
        (None, Some(file)) => ("certificate_file", read_file(section, "certificate_file", &file)?),
        (None, None) => return beside(section, key),
    };
    let Some(key) = key else {
        return Err(
            section.error(name, "is set without a private key; set `private_key_file`, too")
        );
    };
    let read = UserCertificate::read(&text, key).map(Some);
    read.map_err(|problem| of_content(section, (name, "certificate_file"), problem))
}

/// The certificate beside the key's file. One that does not fit is none, as for `ssh`.
fn beside(
    section: &Section,
    key: Option<&PrivateKey>,
) -> Result<Option<UserCertificate>, SettingError> {
    let (Some(key), Some(file)) = (key, section.text("private_key_file")?) else { return Ok(None) };
    let text = std::fs::read_to_string(format!("{file}-cert.pub"));
    Ok(text.ok().and_then(|text| UserCertificate::read(&text, key).ok()))
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

fn key(section: &Section, names: &KeyNames) -> Result<Option<PrivateKey>, SettingError> {
    let passphrase = section.secret(names.passphrase)?;
    let (name, text) = match (section.secret(names.text)?, section.text(names.file)?) {
        (Some(_), Some(_)) => {
            let text = names.text;
            return Err(section
                .error(names.file, format!("is set beside `{text}`; allowed is one of the two")));
        }
        (Some(text), None) => (names.text, text),
        (None, Some(file)) => (names.file, Secret::new(read_file(section, names.file, &file)?)),
        (None, None) if passphrase.is_some() => {
            let why = "is set, but there is no private key for it to open";
            return Err(section.error(names.passphrase, why));
        }
        (None, None) => return Ok(None),
    };
    private_key::read(&text, passphrase.as_ref())
        .map(Some)
        .map_err(|problem| of_content(section, (name, names.file), problem))
}

/// What is wrong with the text of the setting `name`, which is a file's if it is `file`.
fn of_content(section: &Section, (name, file): (&str, &str), problem: String) -> SettingError {
    if name == file { section.error_outside(name, problem) } else { section.error(name, problem) }
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

fn trust(
    section: &Section,
    host_key: &'static str,
    known_hosts: &'static str,
) -> Result<SftpTrust, SettingError> {
    let pins = section.list(host_key)?;
    let pins = pins
        .iter()
        .map(|pin| Pin::parse(pin).map_err(|problem| section.error(host_key, problem)))
        .collect::<Result<_, _>>()?;
    let known_hosts = match section.text(known_hosts)? {
        Some(file) => Some(KnownHosts::parse(&read_file(section, known_hosts, &file)?)),
        None => None,
    };
    Ok(SftpTrust { pins, known_hosts })
}

fn read_file(section: &Section, key: &str, file: &str) -> Result<String, SettingError> {
    let bytes = std::fs::read(file).map_err(|error| {
        section.error_outside(key, format!("names a file that cannot be read: {error}"))
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
