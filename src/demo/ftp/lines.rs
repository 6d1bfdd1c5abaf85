//! Listings as servers write them.

use time::{Duration, OffsetDateTime};

use super::script::ListFormat;
use super::tree::{DemoFtpEntry, DemoFtpKind};

/// A line of `LIST`, ended.
pub fn list_line(format: ListFormat, entry: &DemoFtpEntry, now: OffsetDateTime) -> Vec<u8> {
    let (name, at) = (entry.name.as_slice(), entry.modified);
    let size = entry.size;
    let (year, month, day, hour, minute) =
        (at.year(), u8::from(at.month()), at.day(), at.hour(), at.minute());
    let half = if hour < 12 { "AM" } else { "PM" };
    let twelve = (hour + 11) % 12 + 1;
    let column = if entry.kind == DemoFtpKind::Directory {
        "      <DIR>         ".to_owned()
    } else {
        format!("{size:>20}")
    };
    match format {
        ListFormat::Unix => unix(entry, &unix_date(at, now), b"\r\n"),
        ListFormat::UnixLf => unix(entry, &unix_date(at, now), b"\n"),
        ListFormat::UnixOld => unix(entry, "Feb 29  2024", b"\r\n"),
        ListFormat::Dos => {
            let head = format!(
                "{month:02}-{day:02}-{:02}  {twelve:02}:{minute:02}{half} {column} ",
                year.rem_euclid(100)
            );
            [head.as_bytes(), name, b"\r\n"].concat()
        }
        ListFormat::DosLong => [
            format!("{month:02}-{day:02}-{year:04}  {hour:02}:{minute:02} {column} ").as_bytes(),
            name,
            b"\r\n",
        ]
        .concat(),
        ListFormat::Vms => {
            let blocks = size.div_ceil(512);
            let tail = format!(
                ";1   {blocks}/{blocks} {day}-{}-{year} {hour:02}:{minute:02}:00 [FTP,FTP] \
                (RWED,RE,,)\r\n",
                abbreviation(at).to_uppercase()
            );
            [name, tail.as_bytes()].concat()
        }
        ListFormat::Garbage => [b"!!! not a listing line ", name, b"\r\n"].concat(),
    }
}

fn unix(entry: &DemoFtpEntry, date: &str, end: &[u8]) -> Vec<u8> {
    let (mode, target) = match &entry.kind {
        DemoFtpKind::File => ("-rw-r--r--", None),
        DemoFtpKind::Directory => ("drwxr-xr-x", None),
        DemoFtpKind::Symlink(target) => ("lrwxrwxrwx", Some(target)),
        DemoFtpKind::Special => ("prw-r--r--", None),
    };
    let mut line = format!("{mode}   1 ftp      ftp      {:>12} {date} ", entry.size).into_bytes();
    line.extend_from_slice(&entry.name);
    if let Some(target) = target {
        line.extend_from_slice(b" -> ");
        line.extend_from_slice(target);
    }
    line.extend_from_slice(end);
    line
}

/// `ls` shows the year of what is older than half a year or in the future.
fn unix_date(at: OffsetDateTime, now: OffsetDateTime) -> String {
    let (month, day) = (abbreviation(at), at.day());
    match at > now || now - at > Duration::days(182) {
        true => format!("{month} {day:>2}  {:04}", at.year()),
        false => format!("{month} {day:>2} {:02}:{:02}", at.hour(), at.minute()),
    }
}

fn abbreviation(at: OffsetDateTime) -> &'static str {
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        [usize::from(u8::from(at.month())) - 1]
}

/// A line of `MLSD` or `MLST`, not ended; `name` is what the reader shall see.
pub(crate) fn fact_line(kind: &str, entry: &DemoFtpEntry, name: &[u8]) -> Vec<u8> {
    let size = if entry.kind == DemoFtpKind::File {
        format!("size={};", entry.size)
    } else {
        String::new()
    };
    [format!("type={kind};{size}modify={}; ", stamp(entry.modified)).as_bytes(), name].concat()
}

/// What `MLSD` calls it.
pub(crate) fn fact_kind(entry: &DemoFtpEntry) -> &'static str {
    match entry.kind {
        DemoFtpKind::File => "file",
        DemoFtpKind::Directory => "dir",
        DemoFtpKind::Symlink(_) => "OS.unix=symlink",
        DemoFtpKind::Special => "OS.unix=special",
    }
}

/// `20261120101112`.
pub fn stamp(at: OffsetDateTime) -> String {
    format!(
        "{:04}{:02}{:02}{:02}{:02}{:02}",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}
