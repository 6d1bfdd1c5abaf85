//! Lines as `ls -l` writes them, in the ways that servers vary it.

use time::OffsetDateTime;

use super::listing_entry::words;
use super::listing_entry::{FtpListingEntry, FtpListingKind};
use super::{months, when};
use crate::model::{ModifiedTime, Precision};

/// The entry of a line as `-rw-r--r--   1 ftp      ftp           1024 Nov 20 10:11 name`.
///
/// Owner and group may be missing, be numbers or hold blanks, so the date is what we look for:
/// the name begins exactly one blank behind it, and the size stands right before it.
pub fn entry(line: &[u8], now: OffsetDateTime) -> Option<FtpListingEntry> {
    plain_entry(line, now).or_else(|| plain_entry(behind_numbers(line)?, now))
}

/// The line behind the numbers that `ls -i` (inode) and `ls -s` (blocks) write before the mode.
fn behind_numbers(line: &[u8]) -> Option<&[u8]> {
    let mut rest = line.trim_ascii_start();
    for _ in 0..2 {
        let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        match rest.get(digits..) {
            Some(tail @ [b' ', ..]) if digits > 0 => rest = tail.trim_ascii_start(),
            _ => break,
        }
    }
    (rest.len() < line.len()).then_some(rest)
}

fn plain_entry(line: &[u8], now: OffsetDateTime) -> Option<FtpListingEntry> {
    let mode = mode(line)?;
    let words = words(line);
    let dates = |style| {
        (1..words.len()).find_map(|at| Some((at, date_at(&words, at, mode.kind, style, now)?)))
    };
    let (at, date) = [Style::Named, Style::Glued, Style::Numbers].into_iter().find_map(dates)?;
    // Without a column before the date there is no size; a device shows `8, 0` there.
    let size = if mode.kind == FtpListingKind::File || mode.kind == FtpListingKind::Untold {
        size(words[at - 1].0)
    } else {
        None
    };
    let rest = line.get(date.end..)?.strip_prefix(b" ")?;
    let name = if mode.pads || date.pads { rest.trim_ascii_start() } else { rest };
    let name = own_name(name, mode.kind).to_vec();
    Some(FtpListingEntry { kind: mode.kind, name, size, modified: date.modified })
}

struct Mode {
    kind: FtpListingKind,
    /// Whether names are put into a column behind more than one blank.
    pads: bool,
}

/// What the mode column says.
fn mode(line: &[u8]) -> Option<Mode> {
    let kind = match line.first()? {
        // `a` is for files that only grow (Plan 9), `f` for files that are nothing else.
        b'-' | b'a' | b'f' => FtpListingKind::File,
        b'd' => FtpListingKind::Directory,
        b'l' => FtpListingKind::Symlink,
        b'b' | b'c' | b'p' | b's' | b'D' => FtpListingKind::Special,
        b'r' => FtpListingKind::Untold,
        _ => return None,
    };
    let plain = |kind| Some(Mode { kind, pads: false });
    let word = &line[..line.iter().position(|b| *b == b' ')?];
    let known = |bytes: &[u8]| bytes.iter().all(|b| b"rwxsStTlL-".contains(b));
    if kind == FtpListingKind::Untold {
        // Nine letters, and nothing on what it is.
        return (word.len() == 9 && known(word)).then(|| plain(kind))?;
    }
    // NetWare: `- [RWCEAFMS] owner`.
    if word.len() == 1 {
        let rights = line.get(1..13)?;
        let is_netware = rights.starts_with(b" [") && rights.ends_with(b"] ");
        return is_netware.then_some(Mode { kind, pads: true });
    }
    // Connect:Enterprise: `-C--E-----FTP B owner`.
    if word.len() == 13 && word.ends_with(b"FTP") && kind == FtpListingKind::File {
        return plain(kind);
    }
    let letters = word.iter().skip(1).take_while(|b| known(&[**b])).take(9).count();
    // HylaFAX shows six of them, some others lose the last one.
    if letters != 9 && !(matches!(letters, 6 | 8) && word.len() == 1 + letters) {
        return None;
    }
    // One more where access lists exist, and the number of links where the column is too narrow.
    let rest = &word[1 + letters..];
    let rest = rest.strip_prefix(b"+").or(rest.strip_prefix(b".")).unwrap_or(rest);
    let rest = rest.strip_prefix(b"@").unwrap_or(rest);
    rest.iter().all(u8::is_ascii_digit).then(|| plain(kind))?
}

fn size(word: &[u8]) -> Option<u64> {
    word.iter().all(u8::is_ascii_digit).then(|| std::str::from_utf8(word).ok()?.parse().ok())?
}

/// A size that is none, but stands where one belongs: `33.5k`, `-528`, or one that the column
/// before it touches.
fn is_unclear_size(word: &[u8]) -> bool {
    let rounded = |tail: &u8| b"kKmMgGtT".contains(tail);
    match word {
        [b'-', digits @ ..] if !digits.is_empty() => digits.iter().all(u8::is_ascii_digit),
        [first, .., last] if first.is_ascii_alphabetic() => last.is_ascii_digit(),
        [digits @ .., last] if rounded(last) && !digits.is_empty() => {
            digits.iter().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b','))
        }
        _ => false,
    }
}

/// A symbolic link's own name, without ` -> target`.
fn own_name(name: &[u8], kind: FtpListingKind) -> &[u8] {
    let arrow = (kind == FtpListingKind::Symlink)
        .then(|| name.windows(4).position(|window| window == b" -> "))
        .flatten();
    &name[..arrow.unwrap_or(name.len())]
}

/// In which way a date is looked for. What is less certain is tried only where nothing else fits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    /// Behind a size, with a name for the month, or as the ISO has it.
    Named,
    /// As [`Style::Named`], behind a size that is unclear.
    Glued,
    /// Behind a size, with a number for the month.
    Numbers,
}

struct Dated {
    /// Where the date's last column ends.
    end: usize,
    modified: Option<ModifiedTime>,
    /// Whether the column for the time is empty, so that more than one blank follows.
    pads: bool,
}

impl Dated {
    fn new(end: usize, modified: Option<ModifiedTime>) -> Self {
        Self { end, modified, pads: false }
    }
}

/// The date that begins with the word at `at`, if one does.
fn date_at(
    words: &[(&[u8], usize)],
    at: usize,
    kind: FtpListingKind,
    style: Style,
    now: OffsetDateTime,
) -> Option<Dated> {
    let before = words[at - 1].0;
    let stands = match style {
        Style::Named | Style::Numbers => size(before).is_some() || kind.has_no_size(),
        Style::Glued => is_unclear_size(before),
    };
    if !stands {
        return None;
    }
    let word = |ahead: usize| words.get(at + ahead).copied();
    let (first, first_end) = word(0)?;
    let (second, second_end) = word(1)?;
    if let Some(date) = when::iso_date(first) {
        let Some(time) = when::clock(second) else {
            // `2004.07.15`, and blanks where a time would stand.
            return when::is_year_first(first).then_some(Dated {
                end: first_end,
                modified: when::at_day(date),
                pads: true,
            });
        };
        return Some(zoned(when::to_the_minute(date, time), second_end, word(2)));
    }
    if let Some(date) = when::named_date(first) {
        return Some(Dated { pads: true, ..Dated::new(first_end, when::at_day(date)) });
    }
    if let Some((month, day)) = when::month_and_day(first) {
        return Some(Dated::new(second_end, year_or_clock(second, month, day, now)?));
    }
    // `2005년 1월 6일`
    if let (Some((year, _)), Some(month)) = (months::year(first), months::counted(second, 1..=12)) {
        let (third, end) = word(2)?;
        return Some(Dated::new(end, when::to_the_day(year, month, when::day(third)?)));
    }
    let month = |word| match style {
        Style::Numbers => when::month_number(word),
        _ => months::month(word),
    };
    let (month, day) = match (month(first), when::day(second)) {
        (Some(month), Some(day)) => (month, day),
        _ if style == Style::Numbers => return None,
        _ => (month(second)?, when::day(first)?),
    };
    let (third, end) = word(2)?;
    // `Oct 08, 2002 09:47`
    if second.ends_with(b",")
        && let (Some((year, _)), Some((fourth, end))) = (months::year(third), word(3))
        && let Some(time) = when::clock(fourth)
    {
        return Some(Dated::new(end, when::at_minute(year, month, day, time)));
    }
    Some(Dated::new(end, year_or_clock(third, month, day, now)?))
}

/// The year or the time of day behind month and day.
fn year_or_clock(
    word: &[u8],
    month: u8,
    day: u8,
    now: OffsetDateTime,
) -> Option<Option<ModifiedTime>> {
    Some(match months::year(word) {
        Some((year, _)) => when::to_the_day(year, month, day),
        None => when::without_year(month, day, when::clock(word)?, now),
    })
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
            Dated::new(end, at.map(|at| ModifiedTime::new(at, Precision::Minute)))
        }
        None => Dated::new(end, Some(modified)),
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::super::listing::list_line;
    use super::*;
    use crate::source::ftp::listing_entry::FtpListingLine;

    const NOW: OffsetDateTime = datetime!(2026-11-23 2:00 UTC);

    fn show(line: &[u8]) -> String {
        match list_line(line, NOW) {
            FtpListingLine::Entry(entry) => {
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
    fn a_mode_that_lost_its_last_letter() {
        check(
            "drw-r--rw   1     root     root         0 Nov 20 10:11 Directory1",
            r#"Directory "Directory1" None 2026-11-20 10:11:00.0 +00:00:00 Minute"#,
        );
    }

    #[test]
    fn numbers_of_inodes_and_blocks_before_the_mode() {
        for numbers in ["131 ", "  9007199254740993 ", "131  4 ", "   8 "] {
            let line = format!("{numbers}-rw-r--r-- 1 f f 7 Nov 20 10:11  x 1");
            check(&line, r#"File " x 1" Some(7) 2026-11-20 10:11:00.0 +00:00:00 Minute"#);
            let line = format!("{numbers}drwxr-xr-x 2 f f 4096 Nov 20 10:11 ..");
            check(&line, "Nothing");
        }
        check("1 2 3 -rw-r--r-- 1 f f 7 Nov 20 10:11 x", "Unparsed");
        check("131x -rw-r--r-- 1 f f 7 Nov 20 10:11 x", "Unparsed");
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
            FtpListingLine::Entry(entry) => entry.modified.map(|m| m.at.year()),
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
