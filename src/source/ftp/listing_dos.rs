//! Lines as the `DIR` command of DOS and Windows writes them.

use super::listing_entry::words;
use super::listing_entry::{FtpListingEntry, FtpListingKind};
use super::when;

/// IIS pads a directory's column to as many characters as a size has.
const DIRECTORY_PADDING: usize = 10;

/// The entry of a line as `11-20-26  10:11AM                 1024 name`.
pub fn entry(line: &[u8]) -> Option<FtpListingEntry> {
    let words = words(line);
    let &[(date, _), (clock, _), (column, end), ..] = words.as_slice() else { return None };
    let is_date = when::is_dashed_date(date) || when::is_dotted_date(date);
    if !is_date || line.starts_with(b" ") {
        return None;
    }
    let clock = when::clock(clock)?;
    // `10:11 AM` in two words moves the column by one.
    let (clock, column, end) = match half(column) {
        Some(half) => {
            let both = when::clock(&[words[1].0, half].concat())?;
            let &(column, end) = words.get(3)?;
            (both, column, end)
        }
        None => (clock, column, end),
    };
    let rest = line.get(end..)?;
    let (kind, size, name) = match column {
        b"<DIR>" => (FtpListingKind::Directory, None, behind_padding(rest)?),
        b"<JUNCTION>" | b"<SYMLINK>" | b"<SYMLINKD>" => {
            (FtpListingKind::Symlink, None, behind_padding(rest)?)
        }
        _ => (
            FtpListingKind::File,
            Some(size(column)?),
            rest.strip_prefix(b" ").or(rest.strip_prefix(b"\t"))?,
        ),
    };
    let date =
        if date.contains(&b'.') { when::lone_reading(date) } else { when::dashed_date(date) };
    let modified = date.map(|date| when::to_the_minute(date, clock));
    Some(FtpListingEntry { kind, name: name.to_vec(), size, modified })
}

fn half(word: &[u8]) -> Option<&[u8]> {
    (word.eq_ignore_ascii_case(b"am") || word.eq_ignore_ascii_case(b"pm")).then_some(word)
}

fn size(word: &[u8]) -> Option<u64> {
    let digits: Vec<u8> = word.iter().copied().filter(|b| *b != b',').collect();
    let all = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    all.then(|| std::str::from_utf8(&digits).ok()?.parse().ok())?
}

/// The name behind `<DIR>`: after the ten blanks of IIS, or after however many another server
/// sends.
fn behind_padding(rest: &[u8]) -> Option<&[u8]> {
    let blanks = rest.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    (blanks > 0).then(|| &rest[blanks.min(DIRECTORY_PADDING)..])
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::super::listing::list_line;
    use crate::source::ftp::listing_entry::FtpListingLine;

    fn check(line: &str, shown: &str) {
        let found = match list_line(line.as_bytes(), datetime!(2026-11-23 2:00 UTC)) {
            FtpListingLine::Entry(entry) => {
                let modified = entry.modified.map_or("?".into(), |m| m.at.to_string());
                format!(
                    "{:?} {:?} {:?} {modified}",
                    entry.kind,
                    String::from_utf8_lossy(&entry.name),
                    entry.size
                )
            }
            other => format!("{other:?}"),
        };
        assert_eq!(found, shown, "{line:?}");
    }

    #[test]
    fn years_of_two_and_of_four_digits() {
        check(
            "11-20-26  10:11AM                 1024 a b.txt",
            r#"File "a b.txt" Some(1024) 2026-11-20 10:11:00.0 +00:00:00"#,
        );
        check(
            "11-20-2026  10:11PM               1024  a",
            r#"File " a" Some(1024) 2026-11-20 22:11:00.0 +00:00:00"#,
        );
        check(
            "11-20-99  12:05AM                    1 a",
            r#"File "a" Some(1) 1999-11-20 0:05:00.0 +00:00:00"#,
        );
        check(
            "2026-11-20  22:11           1,234,567 a",
            r#"File "a" Some(1234567) 2026-11-20 22:11:00.0 +00:00:00"#,
        );
        check(
            "11/20/2026  10:11 PM               7 a",
            r#"File "a" Some(7) 2026-11-20 22:11:00.0 +00:00:00"#,
        );
        check("31-12-26  12:05PM                    1 a", r#"File "a" Some(1) ?"#);
        check(
            "10.01.2024  14:12    6 a.csv",
            r#"File "a.csv" Some(6) 2024-01-10 14:12:00.0 +00:00:00"#,
        );
        check("11-20-26\t22:11\t6\ta b", r#"File "a b" Some(6) 2026-11-20 22:11:00.0 +00:00:00"#);
    }

    #[test]
    fn directories_and_links() {
        check(
            "11-20-26  10:11AM       <DIR>          sub dir",
            r#"Directory "sub dir" None 2026-11-20 10:11:00.0 +00:00:00"#,
        );
        check(
            "11-20-26  10:11AM       <DIR>           blank",
            r#"Directory " blank" None 2026-11-20 10:11:00.0 +00:00:00"#,
        );
        check(
            "11-20-26  10:11AM  <DIR>  x",
            r#"Directory "x" None 2026-11-20 10:11:00.0 +00:00:00"#,
        );
        check(
            "11-20-26  10:11AM       <JUNCTION>     j",
            r#"Symlink "j" None 2026-11-20 10:11:00.0 +00:00:00"#,
        );
        check("11-20-26  10:11AM       <DIR>          ..", "Nothing");
    }

    #[test]
    fn what_is_no_line_of_dos() {
        for line in [
            "11-20-26  10:11AM  x",
            "11-20-26  25:11 12 x",
            "1-2-3 10:11 12 x",
            "11-20-26  10:11AM  12",
            " 11-20-26  10:11AM 12 x",
        ] {
            check(line, "Unparsed");
        }
    }
}
