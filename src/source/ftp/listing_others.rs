//! Lines of systems that are rare: EPLF, VMS, OS/2, NonStop, VShell, and modes in digits.

use super::listing_entry::words;
use super::listing_entry::{FtpListingEntry, FtpListingKind};
use super::{months, when};
use crate::model::ModifiedTime;

/// The entry of such a line.
pub fn entry(line: &[u8]) -> Option<FtpListingEntry> {
    eplf(line).or_else(|| {
        let words = words(line);
        vms(&words)
            .or_else(|| os2(line, &words))
            .or_else(|| non_stop(&words))
            .or_else(|| vshell(line, &words))
            .or_else(|| octal(line, &words))
    })
}

/// Whether this stands above or below a listing of VMS or NonStop.
pub fn is_heading(line: &[u8]) -> bool {
    let words = words(line);
    let words: Vec<&[u8]> = words.iter().map(|(word, _)| *word).collect();
    match words.as_slice() {
        [b"Directory", device] => device.contains(&b':') && device.ends_with(b"]"),
        [b"Total", b"of", count, b"files" | b"file,", ..] => when::whole(count).is_some(),
        [b"Total", count, b"files" | b"file"] => when::whole(count).is_some(),
        [b"File", b"Code", b"EOF", b"Last", ..] => true,
        _ => false,
    }
}

/// `+i8388621.48594,m825718503,r,s280,` and a tab before the name
/// (<https://cr.yp.to/ftp/list/eplf.html>).
fn eplf(line: &[u8]) -> Option<FtpListingEntry> {
    let line = line.strip_prefix(b"+")?;
    let tab = line.iter().position(|b| *b == b'\t')?;
    let (mut kind, mut size, mut modified) = (FtpListingKind::Untold, None, None);
    for fact in line[..tab].split(|b| *b == b',') {
        match fact {
            b"r" => kind = FtpListingKind::File,
            b"/" => kind = FtpListingKind::Directory,
            [b's', digits @ ..] => size = when::whole(digits),
            [b'm', digits @ ..] => modified = epoch(digits),
            _ => {}
        }
    }
    Some(FtpListingEntry { kind, name: line[tab + 1..].to_vec(), size, modified })
}

fn epoch(digits: &[u8]) -> Option<ModifiedTime> {
    ModifiedTime::from_unix(i64::try_from(when::whole(digits)?).ok()?)
}

/// `NAME.EXT;1   9/9   2-JUN-1998 07:32:04  [GROUP,OWNER]  (RWED,RWED,RWED,RE)`. The size is in
/// blocks, the version is part of the name.
fn vms(words: &[(&[u8], usize)]) -> Option<FtpListingEntry> {
    let &(name, _) = words.first()?;
    let version = name.iter().rposition(|b| *b == b';')?;
    when::whole(&name[version + 1..])?;
    let at = words.iter().skip(1).position(|(word, _)| when::named_date(word).is_some())? + 1;
    let date = when::named_date(words[at].0)?;
    let is_blocks = |(word, _): &(&[u8], usize)| {
        let word = word.strip_suffix(b"KB").or(word.strip_suffix(b"MB")).unwrap_or(word);
        let mut parts = word.split(|b| *b == b'/');
        parts.by_ref().take(2).all(|part| when::whole(part).is_some()) && parts.next().is_none()
    };
    if !words[1..].iter().any(is_blocks) {
        return None;
    }
    let modified = match words.get(at + 1).map(|(word, _)| when::clock(word)) {
        Some(Some(time)) => Some(when::to_the_minute(date, time)),
        Some(None) if words[at + 1].0.contains(&b':') => return None,
        _ => when::at_day(date),
    };
    let folder = name[..version].to_ascii_uppercase().ends_with(b".DIR");
    Some(if folder {
        let name = name[..version - 4].to_vec();
        FtpListingEntry { kind: FtpListingKind::Directory, name, size: None, modified }
    } else {
        FtpListingEntry { kind: FtpListingKind::File, name: name.to_vec(), size: None, modified }
    })
}

/// ` 1123 DIR  A    07-14-99   12:37  name`
fn os2(line: &[u8], words: &[(&[u8], usize)]) -> Option<FtpListingEntry> {
    let size = when::whole(words.first()?.0)?;
    let at = (1..=3).find(|at| words.get(*at).is_some_and(|(word, _)| word.contains(&b'-')))?;
    let flags = &words[1..at];
    let is_flag = |word: &[u8]| {
        word == b"DIR" || (word.len() <= 5 && word.iter().all(|b| b"RASH".contains(b)))
    };
    if flags.is_empty() || !flags.iter().all(|(word, _)| is_flag(word)) {
        return None;
    }
    let (&(date, _), &(time, end)) = (words.get(at)?, words.get(at + 1)?);
    let mut parts = date.split(|b| *b == b'-').map(when::number);
    let (month, day, year) = (parts.next()??, parts.next()??, parts.next()??);
    let year = match year {
        0..=69 => 2000 + year,
        70..=199 => 1900 + year,
        year => year,
    };
    let time = when::clock(time)?;
    let modified = when::at_minute(year, u8::try_from(month).ok()?, u8::try_from(day).ok()?, time);
    let name = line.get(end..)?.trim_ascii_start().to_vec();
    let folder = flags.iter().any(|(word, _)| *word == b"DIR");
    let (kind, size) =
        if folder { (FtpListingKind::Directory, None) } else { (FtpListingKind::File, Some(size)) };
    Some(FtpListingEntry { kind, name, size, modified: Some(modified?) })
}

/// `FILE1 101 528 12-Jan-14 14:21:18 255, 0 "oooo"`
fn non_stop(words: &[(&[u8], usize)]) -> Option<FtpListingEntry> {
    let [(name, _), (code, _), (size, _), (date, _), (time, _), .., (rights, _)] = words else {
        return None;
    };
    let quoted = rights.len() > 2 && rights.starts_with(b"\"") && rights.ends_with(b"\"");
    when::whole(code).filter(|_| quoted)?;
    let modified = when::to_the_minute(when::named_date(date)?, when::clock(time)?);
    let (name, size) = (name.to_vec(), Some(when::whole(size)?));
    Some(FtpListingEntry { kind: FtpListingKind::File, name, size, modified: Some(modified) })
}

/// `206876  Apr 04, 2000 21:06 name`, folders with a slash at the end.
fn vshell(line: &[u8], words: &[(&[u8], usize)]) -> Option<FtpListingEntry> {
    let [(size, _), (month, _), (day, _), (year, _), (time, end), _, ..] = words else {
        return None;
    };
    let size = when::whole(size).filter(|_| day.ends_with(b","))?;
    let (month, day, year) = (months::month(month)?, when::day(day)?, when::number(year)?);
    let modified = when::at_minute(year, month, day, when::clock(time)?);
    let name = line.get(*end..)?.strip_prefix(b" ")?;
    Some(match name.strip_suffix(b"/") {
        Some(name) => FtpListingEntry {
            kind: FtpListingKind::Directory,
            name: name.to_vec(),
            size: None,
            modified,
        },
        None => FtpListingEntry {
            kind: FtpListingKind::File,
            name: name.to_vec(),
            size: Some(size),
            modified,
        },
    })
}

/// `0100644   500  101   12345    123456789       name`: mode, owner, group, size, seconds since
/// 1970.
fn octal(line: &[u8], words: &[(&[u8], usize)]) -> Option<FtpListingEntry> {
    let [(mode, _), (owner, _), (group, _), (size, _), (seconds, end), _, ..] = words else {
        return None;
    };
    let digits = std::str::from_utf8(mode).ok().filter(|mode| matches!(mode.len(), 6 | 7))?;
    let mode = u32::from_str_radix(digits, 8).ok()?;
    when::whole(owner).and(when::whole(group))?;
    let kind = match mode >> 12 {
        0o10 => FtpListingKind::File,
        0o4 => FtpListingKind::Directory,
        0o12 => FtpListingKind::Symlink,
        _ => return None,
    };
    let size = Some(when::whole(size)?).filter(|_| !kind.has_no_size());
    let name = line.get(*end..)?.trim_ascii_start().to_vec();
    Some(FtpListingEntry { kind, name, size, modified: Some(epoch(seconds)?) })
}
