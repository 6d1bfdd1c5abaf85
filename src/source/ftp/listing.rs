//! One line of a listing, as raw bytes, to what it says.

use time::OffsetDateTime;

use super::{listing_dos, listing_ibm, listing_others, listing_unix, mlsd, months};
use crate::model::{RemoteFile, RemotePath, printable};
use crate::source::contract::Listed;
use crate::source::ftp::listing_entry::settled;
use crate::source::ftp::listing_entry::{FtpListingEntry, FtpListingKind, FtpListingLine};

/// The most characters of a line that nobody can parse which are kept for the report.
const SAMPLE_CHARS: usize = 200;

/// A line of `LIST`, in the dialect of whatever system. `now` decides on years that are left out.
pub fn list_line(line: &[u8], now: OffsetDateTime) -> FtpListingLine {
    if line.iter().all(|b| *b == b' ' || *b == b'\t') || months::is_sum(line) {
        return FtpListingLine::Nothing;
    }
    let entry = listing_unix::entry(line, now)
        .or_else(|| listing_dos::entry(line))
        .or_else(|| listing_ibm::entry(line))
        .or_else(|| listing_others::entry(line));
    match entry {
        Some(entry) => settled(entry),
        None if listing_ibm::is_heading(line) || listing_others::is_heading(line) => {
            FtpListingLine::Nothing
        }
        // Some answer LIST with facts.
        None if has_type(line) => mlsd::line(line),
        None => FtpListingLine::Unparsed,
    }
}

/// Whether one of the facts before the first blank is the type.
fn has_type(line: &[u8]) -> bool {
    let facts = line.split(|b| *b == b' ').next().unwrap_or_default();
    let is_type =
        |fact: &[u8]| fact.get(..5).is_some_and(|head| head.eq_ignore_ascii_case(b"type="));
    facts.split(|b| *b == b';').any(is_type)
}

/// Whether a line is nothing but a name as VMS has it, with its version.
pub(crate) fn is_vms_name(line: &[u8]) -> bool {
    let Some(version) = line.iter().rposition(|b| *b == b';') else { return false };
    let is_digits = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    version > 0
        && is_digits(&line[version + 1..])
        && !line.iter().any(|b| b.is_ascii_whitespace() || *b == b'=')
}

/// A line of `NLST`: a name, which may stand behind the path of its folder `dir`.
pub(crate) fn name_line(dir: &RemotePath, line: &[u8]) -> FtpListingLine {
    let name = own_name(dir, line).to_vec();
    if name.is_empty() {
        return FtpListingLine::Nothing;
    }
    settled(FtpListingEntry { kind: FtpListingKind::Untold, name, size: None, modified: None })
}

fn own_name<'a>(dir: &RemotePath, line: &'a [u8]) -> &'a [u8] {
    let Some(slash) = line.iter().rposition(|b| *b == b'/') else { return line };
    let (head, name) = (&line[..slash], &line[slash + 1..]);
    let dir = dir.as_bytes();
    let own = head == b"."
        || head == dir.strip_suffix(b"/").unwrap_or(dir)
        || head == dir.strip_prefix(b"/").unwrap_or(dir);
    if own && !name.is_empty() { name } else { line }
}

/// `line` as a line of the report about `dir`; `None` when it says nothing.
pub(crate) fn listed(dir: &RemotePath, line: &[u8], parsed: FtpListingLine) -> Option<Listed> {
    match parsed {
        FtpListingLine::Nothing => None,
        FtpListingLine::Unparsed => Some(Listed::Unparsed(sample(line))),
        // With its path before it, the folder itself is seen only here.
        FtpListingLine::Entry(entry) if matches!(own_name(dir, &entry.name), b"." | b"..") => None,
        FtpListingLine::Entry(entry) => Some(placed(dir, entry)),
    }
}

fn placed(dir: &RemotePath, entry: FtpListingEntry) -> Listed {
    // Some write the folder's own path before each name.
    let name = own_name(dir, &entry.name);
    let unreachable = unreachable(name);
    let path = dir.join(name);
    match (unreachable, entry.kind) {
        (Some(why), _) => Listed::Unreachable(path, why),
        (None, FtpListingKind::File) => {
            Listed::File(RemoteFile::told(path, entry.size, entry.modified))
        }
        (None, FtpListingKind::Directory) => Listed::Directory(path),
        (None, FtpListingKind::Symlink) => Listed::Symlink(path),
        (None, FtpListingKind::Special) => Listed::Special(path),
        (None, FtpListingKind::Untold) => {
            Listed::Untold(RemoteFile::told(path, entry.size, entry.modified))
        }
    }
}

/// Why an FTP command cannot carry `name` as one segment of a path.
pub fn unreachable(name: &[u8]) -> Option<&'static str> {
    name.iter().find_map(|b| match b {
        b'\r' => Some("the name holds a carriage return, which no FTP command can carry"),
        b'\n' => Some("the name holds a line feed, which no FTP command can carry"),
        0 => Some("the name holds a NUL byte, which no FTP command can carry"),
        b'/' => Some("the name holds a slash"),
        _ => None,
    })
}

/// The beginning of `line` as text that is safe in a log.
pub(crate) fn sample(line: &[u8]) -> String {
    printable(&line[..line.len().min(4 * SAMPLE_CHARS)]).chars().take(SAMPLE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_with_and_without_their_folder() {
        let dir = RemotePath::from("/out/x");
        for (line, name) in [
            ("a b", "a b"),
            ("/out/x/a", "a"),
            ("out/x/a", "a"),
            ("./a", "a"),
            ("/else/a", "/else/a"),
            ("/out/x/", "/out/x/"),
        ] {
            assert_eq!(own_name(&dir, line.as_bytes()), name.as_bytes(), "{line}");
        }
        assert_eq!(own_name(&RemotePath::from("/"), b"/a"), b"a");
    }

    #[test]
    fn the_folder_itself_is_no_entry_with_its_path_before_it_either() {
        let dir = RemotePath::from("/out");
        for (line, entries) in [("/out/.", 0), ("/out/..", 0), ("/out/a", 1), ("/else/.", 1)] {
            let line = [b"-rw-r--r-- 1 f f 6 Jan 10 2024 ", line.as_bytes()].concat();
            let parsed = list_line(&line, OffsetDateTime::UNIX_EPOCH);
            assert_eq!(listed(&dir, &line, parsed).into_iter().count(), entries);
        }
    }
}
