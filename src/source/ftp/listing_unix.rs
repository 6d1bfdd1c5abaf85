//! Lines as `ls -l` writes them, in the ways that servers vary it.

use time::OffsetDateTime;

use super::listing::{Entry, Kind, words};
use super::when;
use crate::model::{ModifiedTime, Precision};

/// The entry of a line as `-rw-r--r--   1 ftp      ftp           1024 Nov 20 10:11 name`.
///
/// Owner and group may be missing, be numbers or hold blanks, so the date is what we look for:
/// the name begins exactly one blank behind it, and the size stands right before it.
pub fn entry(line: &[u8], now: OffsetDateTime) -> Option<Entry> {
    let kind = kind(line)?;
    let words = words(line);
    let (at, date) = (1..words.len()).find_map(|at| Some((at, date_at(&words, at, kind, now)?)))?;
    // Without a column before the date there is no size; a device shows `8, 0` there.
    let size = if kind == Kind::File { Some(size(words[at - 1].0)?) } else { None };
    let name = line.get(date.end..)?.strip_prefix(b" ")?;
    Some(Entry { kind, name: own_name(name, kind).to_vec(), size, modified: date.modified })
}

/// What the mode column says: ten characters, and one more where access lists exist.
fn kind(line: &[u8]) -> Option<Kind> {
    let mode = line.get(..10)?;
    let kind = match mode[0] {
        b'-' => Kind::File,
        b'd' => Kind::Directory,
        b'l' => Kind::Symlink,
        b'b' | b'c' | b'p' | b's' | b'D' => Kind::Special,
        _ => return None,
    };
    let ends = matches!(line.get(10..12)?, [b' ', _] | [b'+' | b'.' | b'@', b' ']);
    (ends && mode[1..].iter().all(|b| b"rwxsStTlL-".contains(b))).then_some(kind)
}

fn size(word: &[u8]) -> Option<u64> {
    word.iter().all(u8::is_ascii_digit).then(|| std::str::from_utf8(word).ok()?.parse().ok())?
}

/// A symbolic link's own name, without ` -> target`.
fn own_name(name: &[u8], kind: Kind) -> &[u8] {
    let arrow = (kind == Kind::Symlink)
        .then(|| name.windows(4).position(|window| window == b" -> "))
        .flatten();
    &name[..arrow.unwrap_or(name.len())]
}

struct Dated {
    /// Where the date's last column ends.
    end: usize,
    modified: Option<ModifiedTime>,
}

/// The date that begins with the word at `at`, if one does.
fn date_at(words: &[(&[u8], usize)], at: usize, kind: Kind, now: OffsetDateTime) -> Option<Dated> {
    if kind == Kind::File && size(words[at - 1].0).is_none() {
        return None;
    }
    let word = |ahead: usize| words.get(at + ahead).copied();
    let (first, _) = word(0)?;
    let (second, second_end) = word(1)?;
    if let Some(date) = when::iso_date(first) {
        let modified = when::to_the_minute(date, when::clock(second)?);
        return Some(zoned(modified, second_end, word(2)));
    }
    let (month, day) = match (when::month(first), when::day(second)) {
        (Some(month), Some(day)) => (month, day),
        _ => (when::month(second)?, when::day(first)?),
    };
    let (third, end) = word(2)?;
    let modified = match (third.len(), when::number(third)) {
        (4, Some(year)) => when::to_the_day(year, month, day),
        _ => when::without_year(month, day, when::clock(third)?, now),
    };
    Some(Dated { end, modified })
}

/// `ls --full-time` writes the zone behind the time.
fn zoned(modified: ModifiedTime, end: usize, next: Option<(&[u8], usize)>) -> Dated {
    // The zone counts only in its own place; the same text further on is a name.
    let zone = next
        .filter(|(word, zone_end)| *zone_end == end + 1 + word.len())
        .and_then(|(word, end)| Some((when::zone(word)?, end)));
    match zone {
        Some((zone, end)) => {
            let at = modified.at.checked_sub(zone);
            Dated { end, modified: at.map(|at| ModifiedTime::new(at, Precision::Minute)) }
        }
        None => Dated { end, modified: Some(modified) },
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::super::listing::{Line, list_line};
    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-11-23 2:00 UTC);

    fn show(line: &[u8]) -> String {
        match list_line(line, NOW) {
            Line::Entry(entry) => {
                let modified =
                    entry.modified.map_or("?".into(), |m| format!("{} {:?}", m.at, m.precision));
                format!(
                    "{:?} {:?} {:?} {modified}",
                    entry.kind,
                    String::from_utf8_lossy(&entry.name),
                    entry.size
                )
            }
            other => format!("{other:?}"),
        }
    }

    fn check(line: &str, shown: &str) {
        assert_eq!(show(line.as_bytes()), shown, "{line:?}");
    }

    #[test]
    fn an_ordinary_line() {
        check(
            "-rw-r--r--   1 ftp      ftp          1024 Nov 20 10:11 report 1.csv",
            r#"File "report 1.csv" Some(1024) 2026-11-20 10:11:00.0 +00:00:00 Minute"#,
        );
        check(
            "-rw-r--r--   1 ftp      ftp    5368709120 Feb 29  2024 big",
            r#"File "big" Some(5368709120) 2024-02-29 0:00:00.0 +00:00:00 Day"#,
        );
    }

    #[test]
    fn names_keep_every_blank() {
        check(
            "-rw-r--r-- 1 f f 1 Nov 20 10:11   two before ",
            r#"File "  two before " Some(1) 2026-11-20 10:11:00.0 +00:00:00 Minute"#,
        );
        check(
            "-rw-r--r-- 1 f f 1 Feb 29  2024  one",
            r#"File " one" Some(1) 2024-02-29 0:00:00.0 +00:00:00 Day"#,
        );
        check(
            "-rw-r--r-- 1 f f 1 Nov 20 10:11 12 Nov 20 10:11 x",
            r#"File "12 Nov 20 10:11 x" Some(1) 2026-11-20 10:11:00.0 +00:00:00 Minute"#,
        );
    }

    #[test]
    fn owners_and_groups_of_every_kind() {
        for columns in [
            "1 ftp",
            "1 ftp Domain Users",
            "1 1001 1002",
            "1 May 3",
            "",
            "999999 averyveryverylongname othername",
        ] {
            let line = format!("-rw-r--r--+ {columns} 7 Nov 20 10:11 x");
            check(&line, r#"File "x" Some(7) 2026-11-20 10:11:00.0 +00:00:00 Minute"#);
        }
        check(
            "-rw-r--r--. 1 f f 7 20 Nov 10:11 x",
            r#"File "x" Some(7) 2026-11-20 10:11:00.0 +00:00:00 Minute"#,
        );
    }

    #[test]
    fn what_is_no_file() {
        check("total 12", "Nothing");
        check("", "Nothing");
        check("drwxr-xr-x 2 f f 4096 Nov 20 10:11 .", "Nothing");
        check("drwxr-xr-x 2 f f 4096 Nov 20 10:11 ..", "Nothing");
        check(
            "drwxrwxrwt 2 f f 4096 Nov 20 10:11 a b",
            r#"Directory "a b" None 2026-11-20 10:11:00.0 +00:00:00 Minute"#,
        );
        check(
            "lrwxrwxrwx 1 f f 3 Nov 20 10:11 a -> /etc/b",
            r#"Symlink "a" None 2026-11-20 10:11:00.0 +00:00:00 Minute"#,
        );
        check(
            "brw-rw---- 1 root disk 8, 0 Nov 20 10:11 sda",
            r#"Special "sda" None 2026-11-20 10:11:00.0 +00:00:00 Minute"#,
        );
        check(
            "prw-r--r-- 1 f f 0 Nov 20 10:11 fifo",
            r#"Special "fifo" None 2026-11-20 10:11:00.0 +00:00:00 Minute"#,
        );
        check(
            "srw-r--r-- 1 f f 0 Nov 20 10:11 sock",
            r#"Special "sock" None 2026-11-20 10:11:00.0 +00:00:00 Minute"#,
        );
    }

    #[test]
    fn what_nobody_can_parse() {
        for line in [
            "!!! not a listing line",
            "A.TXT;1   1/1 20-NOV-2026 10:11:00 [FTP,FTP] (RWED,RE,,)",
            "-rw-r--r-- 1 f f 99999999999999999999999 Nov 20 10:11 x",
            "-rw-r--r-- 1 f f 1 Nov 20 10:11",
            "-rw-r--r-- 1 f f 1 Nov 20 10:11 ",
            "-rw-r--r-- 1 f f 1 Nov 32 10:11 x",
            "-rw-r--r--",
            "total of nothing",
        ] {
            check(line, "Unparsed");
        }
    }

    #[test]
    fn the_year_that_a_listing_leaves_out() {
        let year = |line: &str, now| match list_line(line.as_bytes(), now) {
            Line::Entry(entry) => entry.modified.map(|m| m.at.year()),
            _ => None,
        };
        let line = |date: &str| format!("-rw-r--r-- 1 f f 1 {date} x");
        assert_eq!(year(&line("Dec 31 23:59"), datetime!(2027-01-01 0:10 UTC)), Some(2026));
        assert_eq!(year(&line("Jan  1 08:00"), datetime!(2026-12-31 23:30 UTC)), Some(2027));
        assert_eq!(year(&line("Nov 23 12:00"), NOW), Some(2026));
        assert_eq!(year(&line("Nov 25 12:00"), NOW), Some(2025));
        assert_eq!(year(&line("Feb 29 10:00"), datetime!(2025-01-10 0:00 UTC)), Some(2024));
    }

    #[test]
    fn dates_by_the_iso_rule() {
        check(
            "-rw-r--r-- 1 f f 5 2026-11-20 10:11 x y",
            r#"File "x y" Some(5) 2026-11-20 10:11:00.0 +00:00:00 Minute"#,
        );
        check(
            "-rw-r--r-- 1 f f 5 2026-11-20 10:11:12.123456789 +0100 x",
            r#"File "x" Some(5) 2026-11-20 9:11:00.0 +00:00:00 Minute"#,
        );
        check(
            "-rw-r--r-- 1 f f 5 2026-11-20 10:11  +0100",
            r#"File " +0100" Some(5) 2026-11-20 10:11:00.0 +00:00:00 Minute"#,
        );
    }

    #[test]
    fn a_day_that_no_calendar_has_leaves_the_file_without_a_time() {
        check("-rw-r--r-- 1 f f 5 Feb 30  2026 x", r#"File "x" Some(5) ?"#);
    }
}
