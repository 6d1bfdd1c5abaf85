//! Pure-FTPd, which only runs as root: it changes its own folder and user for each session.

use std::path::PathBuf;

use super::account::{self, Account, Home};
use super::certs::{self, Cert};
use super::daemon::{Daemon, Ready};
use super::{Rights, available, debian, run};

/// How to start it.
#[derive(Clone, Copy, Debug, Default)]
pub struct PureFtpdOptions {
    /// With a certificate it insists on explicit TLS, for logins and data.
    pub cert: Option<Cert>,
    /// More arguments, as `--maxclientsperip=2`.
    pub arguments: &'static [&'static str],
}

/// A running Pure-FTPd with a virtual user, locked into the served folder.
#[derive(Debug)]
pub struct PureFtpd {
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// The served folder.
    pub root: PathBuf,
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

impl PureFtpd {
    /// Starts it; `None` when the test is to be left out.
    pub fn start(options: PureFtpdOptions) -> Option<Self> {
        let (program, users) = (debian("usr/sbin/pure-ftpd"), debian("usr/bin/pure-pw"));
        if !available("pure-ftpd", &[program.clone(), users.clone()], Rights::Root) {
            return None;
        }
        let home = Home::new("pureftpd");
        let password = format!("p s:w@r/d%41#?{}", account::random());
        add_user(&home, &users, "partner", &password);
        let files = options.cert.map(|cert| certs::write(&home, cert));
        let (daemon, [port]) =
            Daemon::start("pure-ftpd", &home.path("log"), Ready::Greets("220"), |[port]| {
                let mut words = vec![
                    program.display().to_string(),
                    "--bind".to_owned(),
                    format!("127.0.0.1,{port}"),
                ];
                words.extend(["--login".to_owned(), format!("puredb:{}", home.text("users.pdb"))]);
                words.extend([
                    "--pidfile".to_owned(),
                    home.text("pid"),
                    "--altlog".to_owned(),
                    format!("clf:{}", home.text("log")),
                ]);
                words.extend(
                    ["--noanonymous", "--chrooteveryone", "--dontresolve", "--displaydotfiles"]
                        .map(str::to_owned),
                );
                words.extend(
                    ["--maxclientsnumber=100", "--syslogfacility=none", "--verboselog"]
                        .map(str::to_owned),
                );
                if let Some(files) = &files {
                    let both = std::fs::read_to_string(&files.key).unwrap()
                        + &std::fs::read_to_string(&files.cert).unwrap();
                    words.extend([
                        "--tls=3".to_owned(),
                        format!("--certfile={}", home.write_secret("both.pem", &both)),
                    ]);
                }
                words.extend(options.arguments.iter().map(|argument| (*argument).to_owned()));
                words
            });
        let ca = files.map(|files| files.ca);
        Some(Self {
            port,
            root: home.files(),
            user: "partner".to_owned(),
            password,
            ca,
            daemon,
            _home: home,
        })
    }
}

/// Makes the database with one virtual user, who acts as the tests' account.
fn add_user(home: &Home, users: &std::path::Path, user: &str, password: &str) {
    let Account { uid, gid, .. } = Account::get();
    // Not by `pure-pw useradd`: its hashes are made to cost seconds for each login.
    let list = format!(
        "{user}:{}:{uid}:{gid}::{}/./::::::::::::\n",
        account::crypt(password),
        home.text("jail/files")
    );
    let library_path = format!("LD_LIBRARY_PATH={}", super::library_path());
    run(
        "env",
        [
            &library_path,
            &users.display().to_string(),
            "mkdb",
            &home.text("users.pdb"),
            "-f",
            &home.write_secret("users", &list),
        ],
    );
}
