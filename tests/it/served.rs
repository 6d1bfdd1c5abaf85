//! Every kind of server as the lines of `ingest.toml` that reach it, so that one test can go
//! through all of them.

use std::path::PathBuf;

use super::names::{Awkward, FtpServer};
use super::servers::*;

/// A server, or a folder, with what a user would write to reach it.
pub struct Served {
    /// The served folder.
    pub root: PathBuf,
    /// The served folder as a client sees it; empty where sessions see nothing else.
    pub base: String,
    /// The lines of a `[[source]]` table, but `name`.
    pub toml: String,
    /// Whether sessions run as an ordinary user, so that files can be kept from them.
    pub ordinary_user: bool,
    /// Which FTP server it is.
    pub ftp: Option<FtpServer>,
    guard: Guard,
}

/// Ends what is served.
enum Guard {
    Sshd(Sshd),
    Vsftpd(Vsftpd),
    PureFtpd(PureFtpd),
    Proftpd(Proftpd),
    Folder(#[expect(dead_code, reason = "goes with the guard")] tempfile::TempDir),
}

/// What a URL's path or user info needs.
pub fn percent(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

/// The same for a password: a slash ends the user info.
pub fn percent_all(text: &str) -> String {
    percent(text).replace('/', "%2F")
}

impl Served {
    /// The process, if there is one.
    pub fn daemon(&self) -> Option<&Daemon> {
        match &self.guard {
            Guard::Sshd(server) => Some(&server.daemon),
            Guard::Vsftpd(server) => Some(&server.daemon),
            Guard::PureFtpd(server) => Some(&server.daemon),
            Guard::Proftpd(server) => Some(&server.daemon),
            Guard::Folder(_) => None,
        }
    }

    /// Whether a client that follows the standard can have this file.
    pub fn gives(&self, file: &Awkward) -> bool {
        self.ftp.is_none_or(|server| file.reachable(server))
    }
}

/// OpenSSH, by key, password or keyboard-interactive.
pub fn sshd(auth: SshdAuth) -> Option<Served> {
    let server = Sshd::start(SshdOptions { auth, lines: &[] })?;
    let credential = match &server.password {
        Some(password) => format!("password = \"{password}\""),
        None => format!("private_key_file = \"{}\"", server.user_key.display()),
    };
    let url = format!("sftp://{}@127.0.0.1:{}{}", server.user, server.port, server.base);
    let toml =
        format!("url = \"{url}\"\n{credential}\nhost_key = \"{}\"\n", server.host_key_sha256);
    Some(Served {
        root: server.root.clone(),
        base: server.base.clone(),
        toml,
        ordinary_user: true,
        ftp: None,
        guard: Guard::Sshd(server),
    })
}

/// Scheme and CA line of a TLS mode.
fn tls_words(tls: Tls, ca: Option<&PathBuf>) -> (&'static str, String) {
    let ca = ca.map_or(String::new(), |ca| format!("tls_ca_file = \"{}\"\n", ca.display()));
    match tls {
        Tls::Off => ("ftp", ca),
        Tls::Explicit(_) => ("ftpes", ca),
        Tls::Implicit(_) => ("ftps", ca),
    }
}

/// vsftpd.
pub fn vsftpd(tls: Tls) -> Option<Served> {
    let server = Vsftpd::start(VsftpdOptions { tls, lines: &[] })?;
    let (scheme, ca) = tls_words(tls, server.ca.as_ref());
    let toml = format!(
        "url = \"{scheme}://{}:{}@127.0.0.1:{}{}\"\n{ca}",
        server.user,
        percent_all(&server.password),
        server.port,
        percent(&server.base)
    );
    Some(Served {
        root: server.root.clone(),
        base: server.base.clone(),
        toml,
        ordinary_user: true,
        ftp: Some(FtpServer::Vsftpd),
        guard: Guard::Vsftpd(server),
    })
}

/// Pure-FTPd.
pub fn pure_ftpd(cert: Option<Cert>) -> Option<Served> {
    let server =
        PureFtpd::start(PureFtpdOptions { cert, arguments: &["--limitrecursion=10000:64"] })?;
    let (scheme, ca) = tls_words(cert.map_or(Tls::Off, Tls::Explicit), server.ca.as_ref());
    let toml = format!(
        "url = \"{scheme}://{}@127.0.0.1:{}/\"\npassword = \"{}\"\n{ca}",
        server.user, server.port, server.password
    );
    Some(Served {
        root: server.root.clone(),
        base: String::new(),
        toml,
        ordinary_user: true,
        ftp: Some(FtpServer::PureFtpd),
        guard: Guard::PureFtpd(server),
    })
}

/// ProFTPD as an FTP server.
pub fn proftpd(tls: Tls) -> Option<Served> {
    let server = Proftpd::start(ProftpdOptions { mode: ProftpdMode::Ftp(tls), lines: &[] })?;
    let (scheme, ca) = tls_words(tls, server.ca.as_ref());
    let toml = format!(
        "url = \"{scheme}://{}@127.0.0.1:{}{}/\"\npassword = \"{}\"\n{ca}",
        server.user,
        server.port,
        percent(&server.base),
        server.password
    );
    Some(Served {
        root: server.root.clone(),
        base: server.base.clone(),
        toml,
        ordinary_user: true,
        ftp: Some(FtpServer::Proftpd),
        guard: Guard::Proftpd(server),
    })
}

/// ProFTPD's mod_sftp, by key and a known_hosts file.
pub fn proftpd_sftp() -> Option<Served> {
    let server = Proftpd::start(ProftpdOptions { mode: ProftpdMode::Sftp, lines: &[] })?;
    let known_hosts = server.root.parent().expect("a jail").join("known_hosts");
    std::fs::write(&known_hosts, server.known_hosts.as_ref().expect("it speaks SFTP")).unwrap();
    let toml = format!(
        "url = \"sftp://{}@127.0.0.1:{}{}/\"\nprivate_key_file = \"{}\"\nknown_hosts = \"{}\"\n",
        server.user,
        server.port,
        percent(&server.base),
        server.user_key.as_ref().expect("it speaks SFTP").display(),
        known_hosts.display()
    );
    Some(Served {
        root: server.root.clone(),
        base: server.base.clone(),
        toml,
        ordinary_user: true,
        ftp: None,
        guard: Guard::Proftpd(server),
    })
}

/// A local folder.
pub fn folder() -> Served {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().to_str().expect("temporary folders have plain names").to_owned();
    let toml = format!("url = \"file://{}\"\n", percent(&base));
    Served {
        root: folder.path().to_owned(),
        base,
        toml,
        ordinary_user: false,
        ftp: None,
        guard: Guard::Folder(folder),
    }
}
