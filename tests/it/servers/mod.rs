//! Real servers on 127.0.0.1 that live as long as their guard.
//!
//! `Server::start(options)` is `None` when the server's program is not installed: the test then
//! returns. With `REQUIRE_SERVERS=1` that is a failure instead. `scripts/install-test-tools.sh`
//! installs all of them.
//!
//! ```ignore
//! let Some(sshd) = Sshd::start(SshdOptions::default()) else { return };
//! std::fs::write(sshd.root.join("a.txt"), b"one")?;
//! hand_over(&sshd.root); // only if the test removes or renames
//! let url = format!("sftp://{}@127.0.0.1:{}{}/", sshd.user, sshd.port, sshd.base);
//! ```

mod account;
mod azurite;
mod certs;
mod daemon;
mod proftpd;
mod pureftpd;
mod smoke;
mod sshd;
mod vsftpd;

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub use self::account::hand_over;
pub use self::azurite::{Azurite, Persistence};
pub use self::certs::{Cert, Signed, Tls, client as client_certificate};
pub use self::daemon::Daemon;
pub use self::proftpd::{Proftpd, ProftpdMode, ProftpdOptions};
pub use self::pureftpd::{PureFtpd, PureFtpdOptions};
pub use self::sshd::{Sshd, SshdAuth, SshdOptions, sign};
pub use self::vsftpd::{Vsftpd, VsftpdOptions};

/// Where `scripts/install-test-tools.sh` installs to.
pub fn tools() -> PathBuf {
    match std::env::var_os("BLOBFERRY_TEST_TOOLS") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join(".test-tools"),
    }
}

/// A program out of the Debian packages in the tools folder.
pub fn debian(program: &str) -> PathBuf {
    tools().join("debian").join(program)
}

/// What a test cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Any user may run it.
    Anyone,
    /// The server only runs, or only checks passwords, as root.
    Root,
}

/// Whether the test `what` can run: `programs` are there, and so are the rights. If not, the test
/// fails when servers are required, and is left out loudly otherwise.
pub fn available(what: &str, programs: &[PathBuf], rights: Rights) -> bool {
    let set = |name: &str| std::env::var(name).is_ok_and(|value| !value.is_empty() && value != "0");
    let required = set("REQUIRE_SERVERS");
    if let Some(missing) = programs.iter().find(|program| !program.exists()) {
        assert!(
            !required,
            "{what} is required, but {} is missing: run scripts/install-test-tools.sh",
            missing.display()
        );
        return skip(
            what,
            &format!("{} is missing; run scripts/install-test-tools.sh", missing.display()),
        );
    }
    if rights == Rights::Root && !account::is_root() {
        assert!(
            !required || set("BLOBFERRY_WITHOUT_ROOT_TESTS"),
            "{what} is required and needs root: run as root, or set BLOBFERRY_WITHOUT_ROOT_TESTS=1 \
            to leave it out"
        );
        return skip(what, "it needs root");
    }
    true
}

/// Says past the test harness, which keeps the output of a passing test, that something was not
/// tested.
fn skip(what: &str, why: &str) -> bool {
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    std::io::stderr()
        .write_all(format!("\nSKIPPED {test}: {what}: {why}\n").as_bytes())
        .expect("stderr is open");
    false
}

/// `LD_LIBRARY_PATH` for the unpacked Debian packages.
pub fn library_path() -> String {
    let folders = ["usr/lib", "lib"]
        .map(debian)
        .into_iter()
        .filter_map(|folder| std::fs::read_dir(folder).ok());
    let found = folders.flatten().flatten().map(|entry| entry.path());
    let found = found.filter(|path| path.to_string_lossy().contains("-linux-gnu"));
    found.map(|path| path.to_string_lossy().into_owned()).collect::<Vec<_>>().join(":")
}

/// A server's configuration: `lines`, but `more` in place of those with the same keyword. Some
/// servers take the first line of a keyword and some the last, so there is only one.
pub fn configuration(lines: Vec<String>, more: &[&str]) -> String {
    fn keyword(line: &str) -> &str {
        line.split([' ', '=']).next().unwrap_or_default()
    }
    let kept =
        lines.into_iter().filter(|line| !more.iter().any(|other| keyword(other) == keyword(line)));
    kept.chain(more.iter().map(|line| (*line).to_owned())).map(|line| line + "\n").collect()
}

/// Runs a program to its end, at most a minute, and expects success.
pub fn run<A: AsRef<OsStr>>(
    program: impl AsRef<OsStr>,
    arguments: impl IntoIterator<Item = A>,
) -> Output {
    let program = program.as_ref();
    let output = try_run(program, arguments);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{program:?}: {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    output
}

/// Runs a program to its end, at most a minute.
pub fn try_run<A: AsRef<OsStr>>(
    program: impl AsRef<OsStr>,
    arguments: impl IntoIterator<Item = A>,
) -> Output {
    let mut command = Command::new("timeout");
    command.arg("60").arg(program.as_ref()).args(arguments).stdin(std::process::Stdio::null());
    command
        .env("PYTHONPATH", tools().join("python"))
        .env("RCLONE_CONFIG", "/dev/null")
        .env_remove("SSH_AUTH_SOCK");
    command.output().expect("coreutils' `timeout` is there")
}

/// The first line of a program's output.
pub fn line(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned()
}
