//! The protocol's row: its URLs, its settings, its endpoint.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;

use super::account::{FtpAccount, FtpLimits, Learned, Security, TransferType};
use super::client::FtpClient;
use super::client_certificate::ClientCertificate;
use super::session::FtpSession;
use super::tls::{self, FtpTrust, MaxVersion, Tls};
use crate::model::Secret;
use crate::settings::{Section, SettingError, SettingKey, SourceUrl, ValueKind};
use crate::source::contract::{Driver, Endpoint, Session, SourceError};
use crate::source::finding::Tell;
use crate::source::pace::{self, MinimumRate};
use crate::source::proxy::{self, Proxy};

const CONNECT: Duration = Duration::from_secs(15);
const COMMAND: Duration = Duration::from_secs(30);
const STALL: Duration = Duration::from_secs(60);
const FINISH: Duration = Duration::from_secs(10);

/// FTP, in clear text or encrypted.
pub(crate) const DRIVER: Driver =
    Driver { schemes: &["ftp", "ftps", "ftpes"], keys: KEYS, configure };

const KEYS: &[SettingKey] = &[
    SettingKey {
        name: "user",
        kind: ValueKind::Text,
        doc: "User to log in as; `anonymous` if neither this nor the URL names one.",
    },
    SettingKey { name: "password", kind: ValueKind::Secret, doc: "Password of the user." },
    SettingKey {
        name: "account",
        kind: ValueKind::Secret,
        doc: "Answers a server that asks for an account behind the password (332, ACCT).",
    },
    SettingKey {
        name: "login_commands",
        kind: ValueKind::List,
        doc: "Commands to send after the login, as [\"SITE UMASK 022\"]; a refused one ends it.",
    },
    SettingKey {
        name: "transfer_type",
        kind: ValueKind::OneOf(&["binary", "ascii"]),
        doc: "How files come: `binary` as they are, `ascii` as text that the server converts (from \
            EBCDIC, to other line ends), for text alone; default binary.",
    },
    SettingKey {
        name: "tls",
        kind: ValueKind::OneOf(&["none", "explicit", "implicit"]),
        doc: "Encryption of an `ftp://` source: `explicit` begins with AUTH TLS, `implicit` \
            encrypts from the first byte; default none.",
    },
    SettingKey {
        name: "tls_ca_file",
        kind: ValueKind::Text,
        doc: "PEM file of the authorities to trust instead of this machine's.",
    },
    SettingKey {
        name: "tls_pin",
        kind: ValueKind::Text,
        doc: "Fingerprint (`SHA256:…`) of the one certificate to trust, whoever signed it.",
    },
    SettingKey {
        name: "tls_max_version",
        kind: ValueKind::OneOf(&["1.2", "1.3"]),
        doc: "Highest TLS version to offer; default 1.3.",
    },
    SettingKey {
        name: "tls_client_certificate",
        kind: ValueKind::Secret,
        doc: "The text of a PEM certificate (and its chain) to show to the server.",
    },
    SettingKey {
        name: "tls_client_certificate_file",
        kind: ValueKind::Text,
        doc: "A PEM file with the certificate (and its chain) to show to the server.",
    },
    SettingKey {
        name: "tls_client_key",
        kind: ValueKind::Secret,
        doc: "The text of the PEM private key of the client certificate.",
    },
    SettingKey {
        name: "tls_client_key_file",
        kind: ValueKind::Text,
        doc: "A PEM file with the private key of the client certificate.",
    },
    proxy::KEY,
    SettingKey {
        name: "stall_timeout",
        kind: ValueKind::Duration,
        doc: "How long the server may send nothing during a transfer; default 60s.",
    },
    pace::KEY,
    SettingKey {
        name: "connect_timeout",
        kind: ValueKind::Duration,
        doc: "How long a connection may take to open; default 15s.",
    },
];

fn configure(section: &Section, url: &SourceUrl) -> Result<Arc<dyn Endpoint>, SettingError> {
    let security = security(section, url)?;
    let (user, password) = credentials(section, url)?;
    let default_port = if matches!(security, Security::Implicit(_)) { 990 } else { 21 };
    let port = url.port.unwrap_or(default_port);
    if url.host.is_empty() {
        return Err(section.error("url", "names no host"));
    }
    let host = if url.host.contains(':') { format!("[{}]", url.host) } else { url.host.clone() };
    // A person who allows less silence than we would wait for a reply means replies, too.
    let stall = patience(section, "stall_timeout", STALL)?;
    let limits = FtpLimits {
        connect: patience(section, "connect_timeout", CONNECT)?,
        command: COMMAND.min(stall),
        stall,
        finish: FINISH.min(stall),
        rate: MinimumRate::of(section)?,
    };
    let account = FtpAccount {
        address: format!("{}://{host}:{port}", url.scheme),
        host: url.host.clone(),
        port,
        user,
        password,
        account: account(section)?,
        login_commands: login_commands(section)?,
        home: url.root.as_bytes() == b"/~" || url.root.as_bytes().starts_with(b"/~/"),
        transfer_type: match section.one_of("transfer_type")? {
            Some("ascii") => TransferType::Ascii,
            _ => TransferType::Binary,
        },
        security,
        proxy: section
            .secret("proxy")?
            .map(|text| {
                Proxy::parse(text.reveal()).map_err(|problem| section.error("proxy", problem))
            })
            .transpose()?,
        limits,
        learned: Learned::default(),
    };
    Ok(Arc::new(FtpEndpoint { account: Arc::new(account) }))
}

fn patience(section: &Section, key: &str, default: Duration) -> Result<Duration, SettingError> {
    match section.duration(key)? {
        Some(Duration::ZERO) => Err(section.error(key, "is zero; allowed is a duration above it")),
        found => Ok(found.unwrap_or(default)),
    }
}

fn credentials(section: &Section, url: &SourceUrl) -> Result<(String, Secret), SettingError> {
    let user = match (section.text("user")?, &url.user) {
        (Some(_), Some(_)) => {
            return Err(section.error("user", "is named here and in `url`; allowed is one of them"));
        }
        (user, named) => user.or_else(|| named.clone()),
    };
    let password = match (section.secret("password")?, &url.password) {
        (Some(_), Some(_)) => {
            return Err(
                section.error("password", "is given here and in `url`; allowed is one of them")
            );
        }
        (password, given) => password.or_else(|| given.clone()),
    };
    for (key, text) in
        [("user", user.as_deref()), ("password", password.as_ref().map(Secret::reveal))]
    {
        if text.is_some_and(|text| text.contains(['\r', '\n', '\0'])) {
            return Err(section.error(key, "holds a line break or a NUL, which FTP cannot carry"));
        }
    }
    match (user, password) {
        (Some(user), Some(password)) => Ok((user, password)),
        (None, Some(password)) => Ok(("anonymous".into(), password)),
        // By custom, an anonymous guest leaves an address.
        (None, None) => Ok(("anonymous".into(), Secret::new("blobferry@example.invalid"))),
        (Some(user), None) if user == "anonymous" || user == "ftp" => {
            Ok((user, Secret::new("blobferry@example.invalid")))
        }
        (Some(_), None) => {
            Err(section.error("password", "is missing; a user that is not `anonymous` needs one"))
        }
    }
}

fn account(section: &Section) -> Result<Option<Secret>, SettingError> {
    match section.secret("account")? {
        Some(account) if account.reveal().contains(['\r', '\n', '\0']) => {
            Err(section.error("account", "holds a line break or a NUL, which FTP cannot carry"))
        }
        account => Ok(account),
    }
}

/// Commands that would break what follows: they log in anew, encrypt, or open data connections.
const NOT_AFTER_LOGIN: [&str; 22] = [
    "USER", "PASS", "ACCT", "REIN", "QUIT", "AUTH", "PBSZ", "PROT", "CCC", "TYPE", "MODE", "STRU",
    "PORT", "EPRT", "PASV", "EPSV", "RETR", "STOR", "APPE", "LIST", "NLST", "MLSD",
];

fn login_commands(section: &Section) -> Result<Vec<String>, SettingError> {
    let commands = section.list("login_commands")?;
    for command in &commands {
        let verb = command.split(' ').next().unwrap_or_default().to_ascii_uppercase();
        if verb.is_empty() || command.contains(['\r', '\n', '\0']) {
            return Err(section.error("login_commands", "holds a line that is no command of FTP"));
        }
        if NOT_AFTER_LOGIN.contains(&verb.as_str()) {
            let problem = format!("holds {verb}, which this program sends by itself");
            return Err(section.error("login_commands", problem));
        }
    }
    Ok(commands)
}

fn security(section: &Section, url: &SourceUrl) -> Result<Security, SettingError> {
    let tls = tls(section)?;
    let chosen = section.one_of("tls")?;
    let mode = match (url.scheme.as_str(), chosen) {
        ("ftps", None | Some("implicit")) => "implicit",
        ("ftpes", None | Some("explicit")) => "explicit",
        ("ftp", chosen) => chosen.unwrap_or("none"),
        (scheme, _) => {
            return Err(section.error(
                "tls",
                format!("contradicts `{scheme}://`; leave it out or write `ftp://`"),
            ));
        }
    };
    match mode {
        "implicit" => Ok(Security::Implicit(tls)),
        "explicit" => Ok(Security::Explicit(tls)),
        _ => match TLS_KEYS.into_iter().find(|key| section.has(key)) {
            // Who names an authority believes that the connection is encrypted.
            Some(key) => Err(section
                .error(key, "is of no use without encryption; write `ftpes://` or set `tls`")),
            None => Ok(Security::Clear),
        },
    }
}

/// What is of no use without encryption.
const TLS_KEYS: [&str; 7] = [
    "tls_ca_file",
    "tls_pin",
    "tls_max_version",
    "tls_client_certificate",
    "tls_client_certificate_file",
    "tls_client_key",
    "tls_client_key_file",
];

/// The text of a setting that is given as text or as a file.
fn text_or_file(
    section: &Section,
    name: &'static str,
    file: &'static str,
) -> Result<Option<(&'static str, Secret)>, SettingError> {
    match (section.secret(name)?, section.text(file)?) {
        (Some(_), Some(_)) => {
            Err(section.error(file, format!("is set beside `{name}`; allowed is one of the two")))
        }
        (Some(text), None) => Ok(Some((name, text))),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(&path).map_err(|error| {
                section.error_outside(file, format!("names a file that cannot be read: {error}"))
            })?;
            Ok(Some((file, Secret::new(text))))
        }
        (None, None) => Ok(None),
    }
}

/// What is shown to a server that wants a certificate of its clients.
fn client_certificate(section: &Section) -> Result<Option<ClientCertificate>, SettingError> {
    let certificate =
        text_or_file(section, "tls_client_certificate", "tls_client_certificate_file")?;
    let key = text_or_file(section, "tls_client_key", "tls_client_key_file")?;
    match (certificate, key) {
        (None, None) => Ok(None),
        (Some((_, certificate)), Some((name, key))) => {
            ClientCertificate::read(certificate.reveal(), key.reveal()).map(Some).map_err(
                |problem| {
                    let is_outside = name.ends_with("_file");
                    SettingError { is_outside, ..section.error(name, problem) }
                },
            )
        }
        (Some((name, _)), None) => {
            Err(section.error(name, "is set without its key; set `tls_client_key_file`, too"))
        }
        (None, Some((name, _))) => Err(section
            .error(name, "is set without its certificate; set `tls_client_certificate_file`, too")),
    }
}

fn tls(section: &Section) -> Result<Tls, SettingError> {
    let trust = match (section.text("tls_ca_file")?, section.text("tls_pin")?) {
        (Some(_), Some(_)) => {
            return Err(section.error("tls_pin", "and `tls_ca_file` exclude each other"));
        }
        (Some(file), None) => {
            let pem = std::fs::read(&file).map_err(|error| {
                let problem = format!("names a file that cannot be read: {error}");
                section.error_outside("tls_ca_file", problem)
            })?;
            tls::authorities(&pem).map_err(|why| section.error_outside("tls_ca_file", why))?
        }
        (None, Some(pin)) => tls::pin(&pin).ok_or_else(|| {
            section.error(
                "tls_pin",
                "is no fingerprint; allowed is `SHA256:` and 64 hex digits or base64",
            )
        })?,
        (None, None) => FtpTrust::Platform,
    };
    let max_version = match section.one_of("tls_max_version")? {
        Some("1.2") => MaxVersion::V1_2,
        _ => MaxVersion::V1_3,
    };
    Ok(Tls { trust, max_version, client: client_certificate(section)? })
}

/// A server with a user.
#[derive(Debug)]
pub(super) struct FtpEndpoint {
    pub(super) account: Arc<FtpAccount>,
}

#[async_trait]
impl Endpoint for FtpEndpoint {
    fn address(&self) -> &str {
        &self.account.address
    }

    fn secrets(&self) -> Vec<Secret> {
        std::iter::once(&self.account.password).chain(&self.account.account).cloned().collect()
    }

    fn credential(&self) -> Option<Secret> {
        Some(Secret::new(format!(
            "{}\n{}\n{}",
            self.account.address,
            self.account.user,
            self.account.password.reveal()
        )))
    }

    fn tells_sizes(&self) -> bool {
        self.account.transfer_type == TransferType::Binary
    }

    fn default_connections(&self) -> usize {
        // More of them exhaust the passive ports of small servers, and were no faster.
        4
    }

    fn described_together(&self) -> usize {
        // Some thousand bytes of commands and as many of replies: no server has to hold more than
        // it can.
        16
    }

    async fn open(&self) -> Result<Box<dyn Session>, SourceError> {
        self.diagnose(&mut |_| {}).await
    }

    async fn diagnose(&self, tell: Tell<'_>) -> Result<Box<dyn Session>, SourceError> {
        let one_by_one = || self.account.learned.one_by_one.load(Ordering::Relaxed);
        let before = one_by_one();
        let client = match FtpClient::open(self.account.clone(), tell).await {
            // It let us in, but could not be asked two things at once: it is asked again, one by
            // one.
            Err(_) if one_by_one() != before => FtpClient::open(self.account.clone(), tell).await?,
            opened => opened?,
        };
        Ok(Box::new(FtpSession::new(client)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::settings::{SettingEntry, Value};

    fn configured(url: &str, settings: &[(&str, &str)]) -> Result<Arc<dyn Endpoint>, SettingError> {
        let entry = |text: &str| SettingEntry {
            value: Value::Text(text.into()),
            line: Some(1),
            origin: None,
            file: None,
        };
        let entries: BTreeMap<_, _> =
            settings.iter().map(|(key, text)| ((*key).to_owned(), entry(text))).collect();
        let mut keys = KEYS.to_vec();
        keys.push(SettingKey { name: "url", kind: ValueKind::Text, doc: "" });
        configure(
            &Section::new("ingest.toml", "source.acme", 1, entries, keys)?,
            &SourceUrl::parse(url).unwrap(),
        )
    }

    fn check(url: &str, settings: &[(&str, &str)], shown: &str) {
        match configured(url, settings) {
            Ok(endpoint) => assert_eq!(endpoint.address(), shown, "{endpoint:?}"),
            Err(error) => assert_eq!(error.to_string(), shown),
        }
    }

    #[test]
    fn each_scheme_has_its_port() {
        check("ftp://h", &[], "ftp://h:21");
        check("ftps://h", &[], "ftps://h:990");
        check("ftpes://h", &[], "ftpes://h:21");
        check("ftp://[::1]:2121/x", &[], "ftp://[::1]:2121");
        check("ftp://h", &[("tls", "implicit")], "ftp://h:990");
        check(
            "ftp://h",
            &[("tls", "explicit"), ("tls_max_version", "1.2"), ("stall_timeout", "5s")],
            "ftp://h:21",
        );
    }

    #[test]
    fn secrets_stay_secret() {
        let endpoint = configured("ftp://u:canary@h", &[]).unwrap();
        assert!(!format!("{endpoint:?}").contains("canary"));
    }

    #[test]
    fn settings_that_contradict_each_other() {
        check(
            "ftps://h",
            &[("tls", "none")],
            "ingest.toml:1: `source.acme.tls` contradicts `ftps://`; leave it out or write \
            `ftp://`",
        );
        check(
            "ftp://h",
            &[("tls_pin", "SHA256:x")],
            "ingest.toml:1: `source.acme.tls_pin` is no fingerprint; allowed is `SHA256:` and 64 \
            hex digits or base64",
        );
        let pin = format!("SHA256:{}", "0".repeat(64));
        check(
            "ftp://h",
            &[("tls_pin", &pin)],
            "ingest.toml:1: `source.acme.tls_pin` is of no use without encryption; write \
            `ftpes://` or set `tls`",
        );
        check(
            "ftp://u@h",
            &[],
            "ingest.toml:1: `source.acme.password` is missing; a user that is not `anonymous` \
            needs one",
        );
        check(
            "ftp://u:p@h",
            &[("password", "x")],
            "ingest.toml:1: `source.acme.password` is given here and in `url`; allowed is one of \
            them",
        );
        check(
            "ftp://u%0D%0AX:p@h",
            &[],
            "ingest.toml:1: `source.acme.user` holds a line break or a NUL, which FTP cannot carry",
        );
        check(
            "ftp://h",
            &[("stall_timeout", "0s")],
            "ingest.toml:1: `source.acme.stall_timeout` is zero; allowed is a duration above it",
        );
    }
}
