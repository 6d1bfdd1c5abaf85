//! Listings of FTP servers: lines of `LIST` and of `MLSD`, however they are cut on their way.

use blobferry::model::RemotePath;
use blobferry::source::contract::Listed;
use blobferry::source::ftp::lines::{Dialect, LINE_LIMIT, Splitter};
use bytes::BytesMut;
use time::macros::datetime;

use super::taking::Taking;

/// `LIST`.
pub fn list(bytes: &[u8]) {
    check(bytes, Dialect::List);
}

/// `MLSD`.
pub fn mlsd(bytes: &[u8]) {
    check(bytes, Dialect::Mlsd);
}

/// The first byte says in what pieces the others arrive.
fn check(bytes: &[u8], dialect: Dialect) {
    let mut taking = Taking(bytes);
    let step = usize::from(taking.byte()) + 1;
    let listing = taking.0;
    let found = split(listing, listing.len().max(1), dialect);
    if listing.len() < LINE_LIMIT {
        assert_eq!(found, split(listing, step, dialect), "it reads otherwise in pieces of {step}");
    }
    let lines = listing.iter().filter(|byte| **byte == b'\n').count() + 1;
    assert!(found.len() <= lines, "{} entries in {lines} lines", found.len());
    found.iter().for_each(one);
    if dialect == Dialect::List {
        listing.split(|byte| *byte == b'\n').for_each(never_lost);
    }
}

/// A line is told as an entry or as one that cannot be parsed, unless it says of itself that it is
/// neither.
fn never_lost(line: &[u8]) {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() || line.len() > LINE_LIMIT / 2 || line.contains(&b'\r') {
        return;
    }
    let found = split(&[line, b"\r\n"].concat(), LINE_LIMIT, Dialect::List);
    let told = found.iter().filter(|listed| !matches!(listed, Listed::Aside(_))).count();
    assert!(told <= 1, "{told} entries in one line");
    let words: Vec<&[u8]> =
        line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty()).collect();
    let is_itself = || {
        let dots: [&[u8]; 4] = [b".", b"..", b"./", b"../"];
        line.ends_with(b"/.")
            || line.ends_with(b"/..")
            || words.iter().any(|word| dots.contains(word) || word.starts_with(b".."))
            || line
                .to_ascii_lowercase()
                .windows(9)
                .any(|part| part == b"type=cdir" || part == b"type=pdir")
    };
    let is_sum = || words.len() == 2 && words[1][0].is_ascii_digit();
    let is_heading = || {
        let first: [&[u8]; 5] = [b"Volume", b"Name", b"Directory", b"Total", b"File"];
        words.first().is_some_and(|word| first.contains(word))
    };
    // Text files of old systems end so, and so do listings of their servers.
    let is_end_mark = line == b"\x1a";
    let says_nothing = words.is_empty() || is_end_mark || is_sum() || is_heading() || is_itself();
    assert!(told == 1 || says_nothing, "lost: {}", String::from_utf8_lossy(line));
}

fn split(bytes: &[u8], step: usize, dialect: Dialect) -> Vec<Listed> {
    let dir = RemotePath::from("/d");
    let mut found = Vec::new();
    let mut splitter = Splitter::new(&dir, dialect, datetime!(2026-11-23 2:00 UTC));
    let mut buffer = BytesMut::new();
    for piece in bytes.chunks(step) {
        buffer.extend_from_slice(piece);
        splitter.take(&mut buffer, &mut |listed| found.push(listed));
        assert!(buffer.len() < LINE_LIMIT, "{} bytes are held", buffer.len());
    }
    splitter.end(&buffer, &mut |listed| found.push(listed));
    found
}

/// What holds of one entry of `/d`.
pub fn one(listed: &Listed) {
    let (path, is_reachable) = match listed {
        Listed::File(file) | Listed::Untold(file) => (&file.path, true),
        Listed::Directory(path) | Listed::Symlink(path) | Listed::Special(path) => (path, true),
        Listed::Unreachable(path, _) | Listed::Undescribed(path, _) => (path, false),
        Listed::Unparsed(text) => {
            assert!(text.chars().count() <= 200, "{text:?}");
            return super::printable(text);
        }
        Listed::Aside(_) => return,
    };
    super::printable(&path.to_string());
    let name =
        path.as_bytes().strip_prefix(b"/d/").unwrap_or_else(|| panic!("{path} is not below /d"));
    assert!(!matches!(name, b"" | b"." | b".."), "{path} is no entry of /d");
    // Nothing that is asked for can end a command or leave the folder.
    assert!(
        !is_reachable || !name.iter().any(|byte| matches!(byte, b'/' | b'\r' | b'\n' | 0)),
        "{path} can be asked for"
    );
}

/// What servers send, the odd ones too.
pub fn list_seeds() -> Vec<Vec<u8>> {
    const LINES: &[&[u8]] = &[
        b"total 12",
        b"-rw-r--r--   1 ftp      ftp          1024 Nov 20 10:11 report.csv",
        b"-rw-r--r--   1 ftp      ftp  18446744073709551615 Feb 29  2024 big file ",
        b"drwxr-xr-x   2 1000     1000         4096 Jan  1  1970 .",
        b"drwxr-xr-x+  2 1000     1000         4096 Dec 31 23:59 folder",
        b"lrwxrwxrwx   1 root     root            7 May  5  2020 link -> /target",
        b"crw-rw----   1 root     dialout   4,  64 Nov 20 10:11 ttyS0",
        b"-rw-r--r--   1 a user   a group      1024 2024-02-29 10:11 iso",
        b"-r--------   0 none 12 Nov 20 10:11 no group",
        b"11-20-26  10:11AM       <DIR>          folder",
        b"2026-11-20  22:11                 1024 file.txt",
        b"02-29-99  12:60PM  99999999999999999999 wrong.txt",
        b"d [R----F--] supervisor            512       Jan 16 18:53    login",
        b"/bin/ls: cannot open directory '.': Permission denied",
        b"-rw-r--r-- 1 u g 5 Jan 1 00:00 caf\xe9\0\xff",
        b"dr-xr-xr-x   2 root     other      2235 26. Juli, 20:10 geplant",
        b"-rw-r--r--   1 root   sys   8473  4\x8c\x8e 18\x93\xfa 2003\x94\x4e a.csv",
        b"+i8388621.48594,m825718503,r,s280,up755\tfile",
        b"QPGMR           36864 18.09.06 14:21:26 *FILE      A.FILE",
        b"WYOSPT 3420   2003/05/21  1  200  FB      80  8053  PS  A.FILE",
        b"A.;2   18/18   1-JUL-1998 08:43:20  [GROUP,OWNER]    (RWED,RWED,RWED,RE)",
        b" 1123 DIR  A    10-05-100  23:38  dir",
        b"- [RWCEAFMS] owner   19968 Mar 12 15:20 Executive Summary.doc",
        b"0100644   500  101   12345    123456789       numbers",
    ];
    seeds(LINES)
}

/// What servers send, the odd ones too.
pub fn mlsd_seeds() -> Vec<Vec<u8>> {
    const LINES: &[&[u8]] = &[
        b"type=file;size=1024;modify=20261120101112;UNIX.mode=0644; report.csv",
        b"Type=dir;Modify=20261120101112.123; folder",
        b"type=cdir;perm=el; .",
        b"type=pdir; ..",
        b"type=OS.unix=slink:/target; link",
        b"size=18446744073709551616;type=file;modify=20260230256199; odd ",
        b"type=;size=-1; no type",
        b" type=file; leading blank",
        b"type=file;modify=00000000000000.9999999999; zero",
        b"type=OS.unix=chr-1/3; device",
        b"type=file;size=5; a\rb",
        b"type=file;size=5; /slash\0",
    ];
    seeds(LINES)
}

fn seeds(lines: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> =
        lines.iter().map(|line| [b"\x06", *line, b"\r\n"].concat()).collect();
    for ending in ["\r\n", "\n"] {
        seeds.push(
            [
                b"\xFF".to_vec(),
                lines.iter().flat_map(|line| [*line, ending.as_bytes()].concat()).collect(),
            ]
            .concat(),
        );
    }
    seeds.push(
        [&b"\0"[..], lines[1], b"\n", lines[2], b"\r\n", lines[3], b"\n\n\r\r\n", lines[4]]
            .concat(),
    );
    seeds
}
