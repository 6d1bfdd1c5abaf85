//! vsftpd: plain, with explicit TLS (it insists on session reuse for data), with implicit TLS.

use std::path::PathBuf;

use super::account::{self, Account, Home};
use super::certs::{self, Tls};
use super::daemon::{Daemon, Ready};
use super::{Rights, available, configuration, debian};

/// How to start it.
#[derive(Clone, Copy, Debug)]
pub struct VsftpdOptions {
    /// Whether it speaks TLS.
    pub tls: Tls,
    /// Lines for its configuration, in place of ours with the same keyword, as
    /// `force_dot_files=YES`, `pasv_min_port=…`.
    pub lines: &'static [&'static str],
}

impl Default for VsftpdOptions {
    fn default() -> Self {
        Self { tls: Tls::Off, lines: &[] }
    }
}

/// A running vsftpd. Its user is `anonymous`, the one kind that it can check without the system's
/// passwords: here it does need the password. It may remove and rename what it owns (see
/// `hand_over`).
#[derive(Debug)]
pub struct Vsftpd {
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// The served folder.
    pub root: PathBuf,
    /// The served folder as a client sees it, without a closing slash. Sessions start one folder
    /// above it, which they cannot change: vsftpd does not lock anonymous users into a folder of
    /// their own.
    pub base: String,
    /// Who logs in.
    pub user: String,
    /// The password of the user.
    pub password: String,
    /// The CA to trust.
    pub ca: Option<PathBuf>,
    /// The process.
    pub daemon: Daemon,
    _home: Home,
}

impl Vsftpd {
    /// Starts it; `None` when the test is to be left out.
    pub fn start(options: VsftpdOptions) -> Option<Self> {
        let program = debian("usr/sbin/vsftpd");
        if !available("vsftpd", std::slice::from_ref(&program), Rights::Anyone) {
            return None;
        }
        let home = Home::new("vsftpd");
        std::fs::create_dir(home.path("empty")).unwrap();
        let password = format!("p s:w@r/d%41#?{}", account::random());
        home.write_secret("passwords", &format!("{password}\n"));
        let cert = options.tls.cert().map(|cert| certs::write(&home, cert));
        let ready = if matches!(options.tls, Tls::Implicit(_)) {
            Ready::Accepts
        } else {
            Ready::Greets("220")
        };
        let (daemon, [port]) = Daemon::start("vsftpd", &home.path("log"), ready, |[port]| {
            let config =
                home.write_secret("vsftpd.conf", &config(&home, &options, cert.as_ref(), port));
            vec![program.display().to_string(), config]
        });
        Some(Self {
            port,
            root: home.files(),
            base: if account::is_root() { "/files".to_owned() } else { home.text("jail/files") },
            user: "anonymous".to_owned(),
            password,
            ca: cert.map(|cert| cert.ca),
            daemon,
            _home: home,
        })
    }
}

fn config(
    home: &Home,
    options: &VsftpdOptions,
    cert: Option<&certs::CertFiles>,
    port: u16,
) -> String {
    let mut lines = vec![
        "listen=YES".to_owned(),
        "background=NO".to_owned(),
        "listen_address=127.0.0.1".to_owned(),
        format!("listen_port={port}"),
        "anonymous_enable=YES".to_owned(),
        "local_enable=NO".to_owned(),
        "secure_email_list_enable=YES".to_owned(),
        format!("email_password_file={}", home.text("passwords")),
        format!("anon_root={}", home.text("jail")),
        "anon_world_readable_only=NO".to_owned(),
        "write_enable=YES".to_owned(),
        "anon_mkdir_write_enable=YES".to_owned(),
        "anon_other_write_enable=YES".to_owned(),
        format!("secure_chroot_dir={}", home.text("empty")),
        "seccomp_sandbox=NO".to_owned(),
        "isolate=NO".to_owned(),
        "isolate_network=NO".to_owned(),
        "max_per_ip=0".to_owned(),
        "max_clients=0".to_owned(),
        "xferlog_enable=YES".to_owned(),
        "log_ftp_protocol=YES".to_owned(),
        format!("vsftpd_log_file={}", home.text("log")),
    ];
    if account::is_root() {
        lines.push(format!("ftp_username={}", Account::get().user));
    } else {
        lines.extend([
            "run_as_launching_user=YES".to_owned(),
            format!("ftp_username={}", Account::get().user),
        ]);
    }
    if let Some(cert) = cert {
        lines.extend(
            [
                "ssl_enable",
                "allow_anon_ssl",
                "force_anon_logins_ssl",
                "force_anon_data_ssl",
                "require_ssl_reuse",
            ]
            .map(|key| format!("{key}=YES")),
        );
        lines.extend([
            format!("rsa_cert_file={}", cert.cert),
            format!("rsa_private_key_file={}", cert.key),
            format!("ca_certs_file={}", cert.ca.display()),
            "ssl_ciphers=HIGH".to_owned(),
        ]);
    }
    if matches!(options.tls, Tls::Implicit(_)) {
        lines.push("implicit_ssl=YES".to_owned());
    }
    configuration(lines, options.lines)
}
