//! Awkward file names, as bytes, that real partners send or attackers would.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

/// A file with an awkward name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Awkward {
    /// Its path below the root, with `/` between folders and not in front.
    pub path: Vec<u8>,
    /// Its content: different for each.
    pub content: Vec<u8>,
    /// When it was modified, in Unix seconds: in the past, different for each.
    pub modified: u64,
}

/// The FTP servers, which differ in the names that they can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FtpServer {
    Vsftpd,
    Proftpd,
    PureFtpd,
}

impl Awkward {
    /// Whether a client that follows the standard can fetch it from this server: a command ends at
    /// CR LF, and 0xFF is sent twice, which only some servers undo.
    pub fn reachable(&self, server: FtpServer) -> bool {
        let holds = |bytes: &[u8]| self.path.iter().any(|byte| bytes.contains(byte));
        let control = self.path.iter().any(|byte| *byte < 0x20 || *byte == 0x7f);
        !holds(b"\r\n")
            && match server {
                FtpServer::Proftpd => true,
                FtpServer::Vsftpd => !holds(b"\xff"),
                FtpServer::PureFtpd => !holds(b"\xff\\") && !control,
            }
    }
}

const NAMES: &[&[u8]] = &[
    // Blanks
    b" leading blank",
    b"trailing blank ",
    b" ",
    b"two  blanks",
    b"\ttab first",
    b"tab\tinside",
    b"\xc2\xa0no-break space",
    // What URLs, shells, SQL and markup read something into
    b"#hash",
    b"question?mark=1",
    b"100%",
    b"%41",
    b"%2F",
    b"%2e%2e%2fetc",
    b"a%00b",
    b"a&b",
    b"a+b",
    b"it's",
    b"say \"hi\"",
    b"semi;colon",
    b"back\\slash",
    b"..\\..\\windows",
    b"$(touch pwned)",
    b"`id`",
    b"$HOME",
    b"*",
    b"[x]",
    b"{a,b}",
    b"~",
    b"~root",
    b"-rf",
    b"--help",
    b"@file",
    b"a|b",
    b"a<b>c",
    b"a:b",
    b"C:",
    b"key=value",
    b"comma,name",
    b"caret^",
    b"exclaim!",
    b"a.zip!inner.txt",
    // What looks like a folder, a device or a protocol
    b"...",
    b"..x",
    b"x..",
    b"x.",
    b".hidden",
    b"con",
    b"NUL.txt",
    b"a -> b",
    b"226 Transfer complete.",
    b"-rw-r--r-- 1 u g 5 Jan 1 00:00 fake",
    b"type=file;size=5; fake",
    // Control characters
    b"line\nfeed",
    b"\nfirst",
    b"carriage\rreturn",
    b"cr\r\nlf",
    b"esc\x1b[31mred",
    b"bell\x07",
    b"\x01start",
    b"del\x7f",
    // Unicode, and what is not
    "caf\u{e9} composed".as_bytes(),
    "cafe\u{301} composed".as_bytes(),
    b"caf\xe9 latin-1",
    b"\x93\xfa\x96\x7b cp932",
    b"\x83\x5c cp932 with a backslash inside",
    b"\xff",
    b"half \xff way \xff",
    b"\xc0\xaf overlong slash",
    b"\xed\xa0\x80 surrogate",
    "\u{1f69a} lorry".as_bytes(),
    "\u{65e5}\u{672c}\u{8a9e}".as_bytes(),
    "rtl \u{202e}gpj.exe".as_bytes(),
    "zero\u{200b}width".as_bytes(),
    "\u{feff}bom".as_bytes(),
    "\u{fffe}noncharacter".as_bytes(),
    "\u{e000}private".as_bytes(),
    "\u{ff0f}fullwidth slash".as_bytes(),
    "\u{2028}line separator".as_bytes(),
    "\u{130}stanbul".as_bytes(),
    // Pairs that a careless store merges
    b"Case",
    b"case",
    b"CASE",
    b"a_b",
    b"a b",
    b"a%20b",
    // The same name in two folders, a folder beside a file of nearly its name
    b"one/same.txt",
    b"two/same.txt",
    b"archive.zip/inner.txt",
    b"archive.zip.txt",
    b"folder /x",
    b"folder/x",
    b"%2e/x",
    b"caf\xe9/x",
    b"new\nline/x",
    b"_blobferry/manifests/x",
];

/// All of them, the long and deep ones included.
pub fn all() -> Vec<Awkward> {
    let mut paths: Vec<Vec<u8>> = NAMES.iter().map(|name| name.to_vec()).collect();
    paths.push(vec![b'n'; 255]);
    paths.push("\u{e9}".repeat(127).into_bytes());
    paths.push([b"deep/".repeat(30), b"file".to_vec()].concat());
    let content = |index: usize, path: &[u8]| {
        if index == 0 {
            Vec::new()
        } else {
            [format!("{index}: ").as_bytes(), &path.repeat(index % 7 + 1)].concat()
        }
    };
    let modified = |index: usize| 1_500_000_000 + 86_461 * index as u64;
    paths
        .into_iter()
        .enumerate()
        .map(|(index, path)| Awkward {
            content: content(index, &path),
            modified: modified(index),
            path,
        })
        .collect()
}

/// What [`write_under`] did.
#[derive(Debug)]
pub struct Written {
    /// The files that are there now.
    pub files: Vec<Awkward>,
    /// Those that the local file system refuses, with its reason.
    pub refused: Vec<(Awkward, io::Error)>,
}

/// Writes all of them below `root`.
pub fn write_under(root: &Path) -> Written {
    let mut written = Written { files: Vec::new(), refused: Vec::new() };
    for file in all() {
        match write(root, &file) {
            Ok(()) => written.files.push(file),
            Err(error) => written.refused.push((file, error)),
        }
    }
    written
}

fn write(root: &Path, file: &Awkward) -> io::Result<()> {
    let path = root.join(OsStr::from_bytes(&file.path));
    fs::create_dir_all(path.parent().expect("it is below the root"))?;
    // Never one file in the place of another, as on a file system that does not tell upper from
    // lower case.
    let mut out = File::create_new(&path)?;
    io::Write::write_all(&mut out, &file.content)?;
    out.set_modified(std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(file.modified))
}

mod tests {
    use super::super::servers::*;
    use super::*;

    #[test]
    fn there_are_many_and_no_two_are_alike() {
        let all = all();
        assert!(all.len() >= 95, "{}", all.len());
        for distinct in [
            all.iter().map(|file| file.path.clone()).collect::<BTreeSet<_>>().len(),
            all.iter().map(|file| file.content.clone()).collect::<BTreeSet<_>>().len(),
            all.iter().map(|file| file.modified).collect::<BTreeSet<_>>().len(),
        ] {
            assert_eq!(distinct, all.len());
        }
    }

    #[test]
    fn the_local_file_system_takes_them_byte_by_byte() {
        let root = tempfile::tempdir().unwrap();
        let written = write_under(root.path());
        let mut found = BTreeSet::new();
        let mut folders = vec![root.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.insert(
                        path.strip_prefix(root.path()).unwrap().as_os_str().as_bytes().to_vec(),
                    );
                }
            }
        }
        assert_eq!(found, written.files.iter().map(|file| file.path.clone()).collect());
        assert_eq!(written.files.len() + written.refused.len(), all().len());
        #[cfg(target_os = "linux")]
        assert_eq!(
            written
                .refused
                .iter()
                .map(|(file, error)| format!("{:?} {error}", file.path))
                .collect::<Vec<_>>(),
            Vec::<String>::new()
        );
    }

    /// Asks for each path on standard-conforming terms and prints the lines of those that arrive
    /// with the right content.
    const FETCH: &str = r#"
import ftplib, sys
host, port, user, password, base, local = sys.argv[1:]
ftp = ftplib.FTP(encoding="latin-1")
ftp.connect(host, int(port), timeout=20)
ftp.login(user, password)
ftp.voidcmd("TYPE I")
for name in open(local + "/names").read().split():
    raw = bytes.fromhex(name)
    path = (base.encode() + b"/" + raw).replace(b"\xff", b"\xff\xff").decode("latin-1")
    got = []
    try:
        ftp.retrbinary("RETR " + path, got.append)
        copy = open(local.encode() + b"/copy/" + raw, "rb").read()
        print(name if b"".join(got) == copy else name + " differs")
    except (ftplib.error_perm, ValueError):
        pass
"#;

    fn check_reachable(server: FtpServer, port: u16, login: (&str, &str), base: &str, root: &Path) {
        let files = write_under(root).files;
        hand_over(root);
        let local = tempfile::tempdir().unwrap();
        let hex =
            |file: &Awkward| file.path.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        fs::write(local.path().join("names"), files.iter().map(hex).collect::<Vec<_>>().join("\n"))
            .unwrap();
        fs::create_dir(local.path().join("copy")).unwrap();
        write_under(&local.path().join("copy"));
        let port = port.to_string();
        let output = run(
            "python3",
            [
                "-c",
                FETCH,
                "127.0.0.1",
                &port,
                login.0,
                login.1,
                base,
                &local.path().display().to_string(),
            ],
        );
        let fetched: BTreeSet<String> =
            String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
        let expected: BTreeSet<String> =
            files.iter().filter(|file| file.reachable(server)).map(hex).collect();
        let named = |names: Vec<&String>| {
            files
                .iter()
                .filter(|file| names.contains(&&hex(file)))
                .map(|file| file.path.escape_ascii().to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            named(expected.difference(&fetched).collect()),
            Vec::<String>::new(),
            "{server:?} does not give these"
        );
        assert_eq!(
            named(fetched.difference(&expected).collect()),
            Vec::<String>::new(),
            "{server:?} gives these too"
        );
        assert_eq!(fetched, expected);
    }

    #[test]
    fn vsftpd_gives_those_that_are_reachable() {
        let Some(vsftpd) = Vsftpd::start(VsftpdOptions::default()) else { return };
        check_reachable(
            FtpServer::Vsftpd,
            vsftpd.port,
            (&vsftpd.user, &vsftpd.password),
            &vsftpd.base,
            &vsftpd.root,
        );
    }

    #[test]
    fn proftpd_gives_those_that_are_reachable() {
        let Some(proftpd) = Proftpd::start(ProftpdOptions::default()) else { return };
        check_reachable(
            FtpServer::Proftpd,
            proftpd.port,
            (&proftpd.user, &proftpd.password),
            &proftpd.base,
            &proftpd.root,
        );
    }

    #[test]
    fn pure_ftpd_gives_those_that_are_reachable() {
        let Some(pure) = PureFtpd::start(PureFtpdOptions::default()) else { return };
        check_reachable(
            FtpServer::PureFtpd,
            pure.port,
            (&pure.user, &pure.password),
            "",
            &pure.root,
        );
    }
}
