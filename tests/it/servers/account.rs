//! Who serves and who logs in: as root a system account made for the tests, else the current user.

use std::fs::{self, File};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::{line, run, try_run};

const NAME: &str = "blobferry-test";
const HOME: &str = "/var/lib/blobferry-test";

/// A user of this system.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its login name.
    pub user: String,
    /// Its number.
    pub uid: u32,
    /// The number of its group.
    pub gid: u32,
    /// Its password in the system's own list: only known when the tests run as root.
    pub system_password: Option<String>,
}

impl Account {
    /// The account that servers run sessions as. Made at first use when the tests run as root; kept
    /// afterwards, with a random password in a file that only root can read.
    pub fn get() -> &'static Self {
        static ACCOUNT: OnceLock<Account> = OnceLock::new();
        ACCOUNT.get_or_init(|| {
            let system_password = is_root().then(make_account);
            let user = if is_root() { NAME.to_owned() } else { line(&run("id", ["-un"])) };
            let number = |option: &str| line(&run("id", [option, &user])).parse().unwrap();
            Self { uid: number("-u"), gid: number("-g"), user, system_password }
        })
    }
}

/// Whether the tests run as root.
pub fn is_root() -> bool {
    static ROOT: OnceLock<bool> = OnceLock::new();
    *ROOT.get_or_init(|| line(&run("id", ["-u"])) == "0")
}

/// Gives a folder and all that is in it to the account of the sessions, so that they may remove and
/// rename there.
pub fn hand_over(folder: &Path) {
    if is_root() {
        let account = Account::get();
        run(
            "chown",
            [
                "-hR".as_ref(),
                format!("{}:{}", account.uid, account.gid).as_ref(),
                folder.as_os_str(),
            ],
        );
    }
}

/// A folder for a server: `/tmp/…/` that every user may enter, with `jail/files` in it that belongs
/// to the account.
#[derive(Debug)]
pub struct Home {
    /// Goes with the guard.
    folder: tempfile::TempDir,
}

impl Home {
    /// Makes the folder.
    pub fn new(name: &str) -> Self {
        let folder =
            tempfile::Builder::new().prefix(&format!("blobferry-{name}-")).tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let home = Self { folder };
        fs::create_dir_all(home.files()).unwrap();
        hand_over(&home.files());
        home
    }

    /// The served folder.
    pub fn files(&self) -> PathBuf {
        self.path("jail/files")
    }

    /// A file of the server's own, beside the served folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// [`Home::path`] as text for a configuration file.
    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("temporary folders have plain names").to_owned()
    }

    /// Writes a file of the server's own, and says where it is.
    pub fn write(&self, name: &str, content: &str) -> String {
        fs::write(self.path(name), content).unwrap();
        self.text(name)
    }

    /// [`Home::write`] for a secret, readable by its owner only, as servers insist.
    pub fn write_secret(&self, name: &str, content: &str) -> String {
        let path = self.write(name, content);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }
}

/// A system user that has no login but through our servers.
pub fn ensure_system_user(name: &str, home: &str, shell: &str) {
    if try_run("id", ["-u", name]).status.success() {
        return;
    }
    run(
        "useradd",
        [
            "--system",
            "--user-group",
            "--no-create-home",
            "--home-dir",
            home,
            "--shell",
            shell,
            name,
        ],
    );
}

/// Makes the account if it is not there, and says its password. Several test processes may come
/// here at once.
fn make_account() -> String {
    fs::create_dir_all(HOME).unwrap();
    let lock = File::create(Path::new(HOME).join(".lock")).unwrap();
    lock.lock().unwrap();
    // sshd and vsftpd refuse users whose shell is not a login shell.
    ensure_system_user(NAME, HOME, "/bin/sh");
    let file = Path::new(HOME).join("password");
    let known = fs::read_to_string(&file).unwrap_or_default();
    if !known.is_empty() {
        return known;
    }
    // Every character that URLs and shells are proud of, so that the tests meet them.
    let password = format!("p s:w@r/d%41#?{}", random());
    let mut options = File::options();
    let mut out = options.create(true).truncate(true).write(true).mode(0o600).open(&file).unwrap();
    run("sh", ["-c", r#"printf '%s:%s\n' "$0" "$1" | chpasswd"#, NAME, &password]);
    std::io::Write::write_all(&mut out, password.as_bytes()).unwrap();
    password
}

/// 128 random bits in hex.
pub fn random() -> String {
    let mut bytes = [0; 16];
    std::io::Read::read_exact(&mut File::open("/dev/urandom").unwrap(), &mut bytes).unwrap();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A password as the system's crypt() keeps it. Perl is part of every Debian system, and knows that
/// function.
pub fn crypt(password: &str) -> String {
    line(&run(
        "perl",
        ["-e", r#"print crypt($ARGV[0], '$6$' . $ARGV[1] . '$')"#, password, &random()[..16]],
    ))
}
