//! ProFTPD: as an FTP server, with TLS, and its module for SFTP, the second real SFTP server.

use std::path::PathBuf;

use super::account::{self, Account, Home};
use super::certs::{self, Tls};
use super::daemon::{Daemon, Ready};
use super::{Rights, available, configuration, debian, line, run};

/// Which protocol it serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProftpdMode {
    /// FTP, with or without TLS. TLS 1.2 only: the server of Debian 12 crashes on its second TLS
    /// 1.3 data connection.
    Ftp(Tls),
    /// SFTP by mod_sftp, for passwords and for [`Proftpd::user_key`].
    Sftp,
}

/// How to start it.
#[derive(Clone, Copy, Debug)]
pub struct ProftpdOptions {
    /// Which protocol it serves.
    pub mode: ProftpdMode,
    /// Lines for its configuration, in place of ours with the same keyword, as `MaxClientsPerHost
    /// 2`, `TLSProtocol TLSv1.3`, `UseMLSD`….
    pub lines: &'static [&'static str],
}

impl Default for ProftpdOptions {
    fn default() -> Self {
        Self { mode: ProftpdMode::Ftp(Tls::Off), lines: &[] }
    }
}

/// A running ProFTPD with a virtual user.
#[derive(Debug)]
pub struct Proftpd {
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// The served folder.
    pub root: PathBuf,
    /// The served folder as a client sees it, without a closing slash: empty where the server can
    /// lock sessions into it.
    pub base: String,
    /// Who logs in.
    pub user: String,
    /// The password of the user.
    pub password: String,
    /// The CA to trust.
    pub ca: Option<PathBuf>,
    /// SFTP: the private key of the user.
    pub user_key: Option<PathBuf>,
    /// SFTP: the line for a `known_hosts` file.
    pub known_hosts: Option<String>,
    /// The process.
    pub daemon: Daemon,
    _home: Home,
}

impl Proftpd {
    /// Starts it; `None` when the test is to be left out.
    pub fn start(options: ProftpdOptions) -> Option<Self> {
        let (program, keygen) = (debian("usr/sbin/proftpd"), debian("usr/bin/ssh-keygen"));
        if !available("proftpd", &[program.clone(), keygen.clone()], Rights::Anyone) {
            return None;
        }
        let home = Home::new("proftpd");
        let password = format!("p s:w@r/d%41#?{}", account::random());
        let Account { uid, gid, .. } = Account::get();
        home.write_secret(
            "users",
            &format!(
                "partner:{}:{uid}:{gid}::{}:/bin/sh\n",
                account::crypt(&password),
                home.text("jail/files")
            ),
        );
        let sftp = options.mode == ProftpdMode::Sftp;
        if sftp {
            make_keys(&home, &keygen);
        }
        let cert = match options.mode {
            ProftpdMode::Ftp(tls) => tls.cert().map(|cert| certs::write(&home, cert)),
            ProftpdMode::Sftp => None,
        };
        let ready = match options.mode {
            ProftpdMode::Ftp(Tls::Implicit(_)) => Ready::Accepts,
            ProftpdMode::Ftp(_) => Ready::Greets("220"),
            ProftpdMode::Sftp => Ready::Greets("SSH-2.0-"),
        };
        let (daemon, [port]) = Daemon::start("proftpd", &home.path("log"), ready, |[port]| {
            let config =
                home.write_secret("proftpd.conf", &config(&home, &options, cert.as_ref(), port));
            [program.display().to_string().as_str(), "-n", "-c", &config]
                .map(str::to_owned)
                .to_vec()
        });
        let host_key = || std::fs::read_to_string(home.path("host_key.pub")).unwrap();
        Some(Self {
            port,
            root: home.files(),
            base: if account::is_root() { String::new() } else { home.text("jail/files") },
            user: "partner".to_owned(),
            password,
            ca: cert.map(|cert| cert.ca),
            user_key: sftp.then(|| home.path("user_key")),
            known_hosts: sftp.then(|| format!("[127.0.0.1]:{port} {}", host_key())),
            daemon,
            _home: home,
        })
    }
}

/// A host key in the old format, which older releases need, and a user key with its public half as
/// RFC 4716 has it.
fn make_keys(home: &Home, keygen: &std::path::Path) {
    run(
        keygen,
        ["-q", "-t", "ecdsa", "-m", "PEM", "-N", "", "-C", "test", "-f", &home.text("host_key")],
    );
    run(keygen, ["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", &home.text("user_key")]);
    let public = run(keygen, ["-e", "-m", "RFC4716", "-f", &home.text("user_key.pub")]);
    home.write("authorized", &String::from_utf8(public.stdout).unwrap());
}

fn config(
    home: &Home,
    options: &ProftpdOptions,
    cert: Option<&certs::CertFiles>,
    port: u16,
) -> String {
    let account = Account::get();
    let group = line(&run("id", ["-gn", &account.user]));
    let mut lines = vec![
        format!("ModulePath {}", debian("usr/lib/proftpd").display()),
        "LoadModule mod_tls.c".to_owned(),
        "LoadModule mod_sftp.c".to_owned(),
        "ServerType standalone".to_owned(),
        "DefaultAddress 127.0.0.1".to_owned(),
        "SocketBindTight on".to_owned(),
        "UseIPv6 off".to_owned(),
        format!("Port {port}"),
        format!("User {}", account.user),
        format!("Group {group}"),
        format!("PidFile {}", home.text("pid")),
        format!("ScoreboardFile {}", home.text("scoreboard")),
        format!("DelayTable {}", home.text("delay")),
        "DelayEngine off".to_owned(),
        format!("SystemLog {}", home.text("log")),
        "WtmpLog off".to_owned(),
        "TransferLog none".to_owned(),
        "UseReverseDNS off".to_owned(),
        "RequireValidShell off".to_owned(),
        "AuthOrder mod_auth_file.c".to_owned(),
        format!("AuthUserFile {}", home.text("users")),
        "MaxInstances 100".to_owned(),
        "AllowOverwrite on".to_owned(),
        "AllowStoreRestart on".to_owned(),
    ];
    if account::is_root() {
        lines.push("DefaultRoot ~".to_owned());
    }
    if let Some(cert) = cert {
        lines.extend(
            ["TLSEngine on", "TLSRequired on", "TLSProtocol TLSv1.2", "TLSVerifyClient off"]
                .map(str::to_owned),
        );
        lines.extend([
            format!("TLSRSACertificateFile {}", cert.cert),
            format!("TLSRSACertificateKeyFile {}", cert.key),
            format!("TLSCACertificateFile {}", cert.ca.display()),
        ]);
        lines.push(format!("TLSLog {}", home.text("log.tls")));
    }
    if matches!(options.mode, ProftpdMode::Ftp(Tls::Implicit(_))) {
        lines.push("TLSOptions UseImplicitSSL".to_owned());
    }
    if options.mode == ProftpdMode::Sftp {
        lines
            .extend(["SFTPEngine on".to_owned(), format!("SFTPHostKey {}", home.text("host_key"))]);
        lines.extend([
            format!("SFTPAuthorizedUserKeys file:{}", home.text("authorized")),
            "SFTPAuthMethods publickey password".to_owned(),
        ]);
    }
    configuration(lines, options.lines)
}
