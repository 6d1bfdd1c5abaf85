//! Lines of listings that other projects' tests and public reports have, each with its meaning.

use time::OffsetDateTime;
use time::macros::datetime;

use super::super::listing::list_line;
use crate::model::Precision;
use crate::source::ftp::listing_entry::{FtpListingKind, FtpListingLine};

/// Blocks that begin with `@` and an address; a line of a listing behind `> `, bytes above 0x7F
/// and tabs escaped, and behind `= ` what it means: `file`, `folder`, `link`, `special` or
/// `untold`, the size, the time, the name; `nothing`, or `unparsed`.
const CORPUS: &str = include_str!("../../../../tests/fixtures/listings.txt");
const NOW: OffsetDateTime = datetime!(2026-11-23 2:00 UTC);

fn unescaped(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, tail @ ..] = rest {
        rest = match (first, tail) {
            (b'\\', [b't', tail @ ..]) => {
                bytes.push(b'\t');
                tail
            }
            (b'\\', [b'x', high, low, tail @ ..]) => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).unwrap();
                bytes.push(u8::from_str_radix(digits, 16).unwrap());
                tail
            }
            (first, tail) => {
                bytes.push(*first);
                tail
            }
        };
    }
    bytes
}

fn escaped(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        match byte {
            b'\t' => text.push_str("\\t"),
            0x20..=0x7E => text.push(char::from(*byte)),
            byte => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text
}

fn meaning(line: &[u8]) -> String {
    let entry = match list_line(line, NOW) {
        FtpListingLine::Nothing => return "nothing".into(),
        FtpListingLine::Unparsed => return "unparsed".into(),
        FtpListingLine::Entry(entry) => entry,
    };
    let kind = match entry.kind {
        FtpListingKind::File => "file",
        FtpListingKind::Directory => "folder",
        FtpListingKind::Symlink => "link",
        FtpListingKind::Special => "special",
        FtpListingKind::Untold => "untold",
    };
    let size = entry.size.map_or("-".into(), |size| size.to_string());
    let time = entry.modified.map_or("-".into(), |modified| {
        let (day, time) = (modified.at.date(), modified.at.time());
        match modified.precision {
            Precision::Day => day.to_string(),
            Precision::Minute => format!("{day}T{:02}:{:02}", time.hour(), time.minute()),
            _ => format!("{day}T{:02}:{:02}:{:02}", time.hour(), time.minute(), time.second()),
        }
    });
    format!("{kind} {size} {time} {}", escaped(&entry.name))
}

#[test]
fn lines_mean_what_the_projects_that_collected_them_say() {
    let (mut lines, mut wrong, mut line, mut address) = (0, Vec::new(), None, "");
    for text in CORPUS.lines() {
        if let Some(found) = text.strip_prefix("@ ") {
            assert!(found.contains("https://"), "{found}");
            address = found;
        } else if let Some(raw) = text.strip_prefix("> ") {
            assert!(line.replace(raw).is_none(), "no meaning before {raw}");
        } else if let Some(wanted) = text.strip_prefix("= ") {
            let raw = line.take().unwrap();
            let found = meaning(&unescaped(raw));
            lines += 1;
            if found != wanted {
                wrong.push(format!("{address}\n  {raw}\n  wanted {wanted}\n  found  {found}"));
            }
        } else {
            assert!(text.is_empty() || text.starts_with("# "), "{text}");
        }
    }
    assert!(wrong.is_empty(), "{} of {lines}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(lines >= 300, "{lines}");
}
