//! OpenSSH's own server.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::account::{self, Account, Home};
use super::daemon::{Daemon, Ready};
use super::{Rights, available, configuration, debian, run};

/// What a user may log in with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SshdAuth {
    /// A key.
    Key,
    /// A certificate of the key ([`Sshd::certificate`]), which no file of keys names.
    Certificate,
    /// A password and nothing else. Needs root: only root can check a password.
    Password,
    /// A password as the answer to a question (keyboard-interactive, by PAM). Needs root.
    Keyboard,
    /// Either a key or a password. Needs root.
    KeyOrPassword,
}

/// How to start it.
#[derive(Clone, Copy, Debug)]
pub struct SshdOptions {
    /// What a user may log in with.
    pub auth: SshdAuth,
    /// Lines for its configuration, in place of ours with the same keyword, as `MaxSessions 2`,
    /// `MaxStartups 3:100:3`, `RekeyLimit 1M`.
    pub lines: &'static [&'static str],
}

impl Default for SshdOptions {
    fn default() -> Self {
        Self { auth: SshdAuth::Key, lines: &[] }
    }
}

/// A running sshd that serves [`Sshd::root`] by SFTP.
#[derive(Debug)]
pub struct Sshd {
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// `SHA256:…` of its ed25519 key, as `ssh-keygen -l` prints it; of its RSA key if
    /// `HostKeyAlgorithms ssh-rsa` is all it has.
    pub host_key_sha256: String,
    /// The lines for a `known_hosts` file, one for each of its keys (ed25519 first, then ecdsa).
    pub known_hosts: String,
    /// A `known_hosts` file with these lines.
    pub known_hosts_file: PathBuf,
    /// The served folder.
    pub root: PathBuf,
    /// The served folder as a client sees it; a session starts there.
    pub base: String,
    /// Who logs in.
    pub user: String,
    /// The private key of the user (ed25519, OpenSSH's format, no passphrase).
    pub user_key: PathBuf,
    /// The certificate of that key, and who signed it, if logins are by certificate.
    pub certificate: PathBuf,
    /// See there.
    pub user_ca: PathBuf,
    /// The password of the user, if passwords are allowed.
    pub password: Option<String>,
    /// The process.
    pub daemon: Daemon,
    _home: Home,
}

impl Sshd {
    /// Starts it; `None` when the test is to be left out.
    pub fn start(options: SshdOptions) -> Option<Self> {
        let program = debian("usr/sbin/sshd");
        let keygen = debian("usr/bin/ssh-keygen");
        let by_key = matches!(options.auth, SshdAuth::Key | SshdAuth::Certificate);
        let rights = if by_key { Rights::Anyone } else { Rights::Root };
        if !available("sshd", &[program.clone(), keygen.clone()], rights) {
            return None;
        }
        let home = Home::new("sshd");
        if account::is_root() {
            // Of sshd's own making usually; it does not start without them.
            std::fs::create_dir_all("/run/sshd").unwrap();
            account::ensure_system_user("sshd", "/run/sshd", "/usr/sbin/nologin");
        }
        for (kind, file) in
            [("ed25519", "host_ed25519"), ("ecdsa", "host_ecdsa"), ("ed25519", "user_key")]
        {
            run(&keygen, ["-q", "-t", kind, "-N", "", "-C", "test", "-f", &home.text(file)]);
        }
        if options.auth == SshdAuth::Certificate {
            run(&keygen, ["-q", "-t", "ed25519", "-N", "", "-f", &home.text("user_ca")]);
            sign(&home.path("user_ca"), &home.path("user_key.pub"), "+1d");
        }
        let rsa = options.lines.contains(&"HostKeyAlgorithms ssh-rsa");
        if rsa {
            run(
                &keygen,
                [
                    "-q",
                    "-t",
                    "rsa",
                    "-b",
                    "2048",
                    "-N",
                    "",
                    "-C",
                    "test",
                    "-f",
                    &home.text("host_rsa"),
                ],
            );
        }
        // PAM's service is the name of the program; one without a file of its own gets the system's
        // defaults, while the file for `sshd` asks for things that a container does not have.
        let program_link = home.path("blobferry-sshd");
        std::os::unix::fs::symlink(&program, &program_link).unwrap();
        let (daemon, [port]) =
            Daemon::start("sshd", &home.path("log"), Ready::Greets("SSH-2.0-"), |[port]| {
                let config = home.write("sshd_config", &config(&home, &options, port));
                let link =
                    program_link.to_str().expect("temporary folders have plain names").to_owned();
                [link.as_str(), "-D", "-e", "-f", &config].map(str::to_owned).to_vec()
            });
        let fingerprint = String::from_utf8(
            run(
                &keygen,
                ["-l", "-f", &home.text(if rsa { "host_rsa.pub" } else { "host_ed25519.pub" })],
            )
            .stdout,
        )
        .unwrap();
        let line = |file: &str| {
            format!(
                "[127.0.0.1]:{port} {}\n",
                std::fs::read_to_string(home.path(file)).unwrap().trim_end()
            )
        };
        let known_hosts = line("host_ed25519.pub") + &line("host_ecdsa.pub");
        let account = Account::get();
        Some(Self {
            port,
            host_key_sha256: fingerprint.split(' ').nth(1).unwrap().to_owned(),
            known_hosts_file: home.write("known_hosts", &known_hosts).into(),
            known_hosts,
            root: home.files(),
            base: home.text("jail/files"),
            user: account.user.clone(),
            user_key: home.path("user_key"),
            certificate: home.path("user_key-cert.pub"),
            user_ca: home.path("user_ca"),
            password: account.system_password.clone().filter(|_| !by_key),
            daemon,
            _home: home,
        })
    }
}

/// Signs a key for the account of the sessions, from an hour ago to `until`; the certificate stands
/// beside the key.
pub fn sign(authority: &Path, key: &Path, until: &str) {
    let user = Account::get().user.clone();
    let words = ["-q", "-I", "tests", "-n", &user, "-V", &format!("-1h:{until}")];
    let words = words.into_iter().map(OsStr::new);
    let files = [OsStr::new("-s"), authority.as_os_str(), key.as_os_str()];
    run(debian("usr/bin/ssh-keygen"), words.chain(files));
}

fn config(home: &Home, options: &SshdOptions, port: u16) -> String {
    let yes = |allowed: bool| if allowed { "yes" } else { "no" };
    let keyboard = options.auth == SshdAuth::Keyboard;
    let key =
        matches!(options.auth, SshdAuth::Key | SshdAuth::Certificate | SshdAuth::KeyOrPassword);
    let password = matches!(options.auth, SshdAuth::Password | SshdAuth::KeyOrPassword);
    let mut lines = vec![
        "ListenAddress 127.0.0.1".to_owned(),
        format!("Port {port}"),
        format!("HostKey {}", home.text("host_ed25519")),
        format!("HostKey {}", home.text("host_ecdsa")),
        if home.path("host_rsa").exists() {
            format!("HostKey {}", home.text("host_rsa"))
        } else {
            "# no RSA key".to_owned()
        },
        "PidFile none".to_owned(),
        match options.auth {
            SshdAuth::Certificate => "AuthorizedKeysFile none".to_owned(),
            _ => format!("AuthorizedKeysFile {}", home.text("user_key.pub")),
        },
        match options.auth {
            SshdAuth::Certificate => format!("TrustedUserCAKeys {}", home.text("user_ca.pub")),
            _ => "# no certificates".to_owned(),
        },
        "StrictModes no".to_owned(),
        format!("UsePAM {}", yes(keyboard)),
        format!("PubkeyAuthentication {}", yes(key)),
        format!("PasswordAuthentication {}", yes(password)),
        format!("KbdInteractiveAuthentication {}", yes(keyboard)),
        format!("AllowUsers {}", Account::get().user),
        "Subsystem sftp internal-sftp".to_owned(),
        format!("ForceCommand internal-sftp -d {}", home.text("jail/files")),
        "UseDNS no".to_owned(),
        "LogLevel VERBOSE".to_owned(),
    ];
    // From OpenSSH 9.8 on the sessions are programs of their own, looked for in the system's
    // folders.
    for (keyword, program) in [("SshdSessionPath", "sshd-session"), ("SshdAuthPath", "sshd-auth")] {
        let path = debian("usr/lib/openssh").join(program);
        if path.exists() {
            lines.push(format!("{keyword} {}", path.display()));
        }
    }
    if debian("usr/lib/openssh/sshd-session").exists() {
        lines.push("PAMServiceName blobferry-sshd".to_owned());
    }
    configuration(lines, options.lines)
}
