//! Lines as IBM i and z/OS write them.

use super::listing_entry::words;
use super::listing_entry::{FtpListingEntry, FtpListingKind};
use super::when;
use crate::model::ModifiedTime;

/// The entry of a line of IBM i or of z/OS.
pub fn entry(line: &[u8]) -> Option<FtpListingEntry> {
    let words = words(line);
    ibm_i(line, &words).or_else(|| dataset(&words)).or_else(|| member(&words))
}

/// Whether this stands above a listing of z/OS.
pub fn is_heading(line: &[u8]) -> bool {
    let mut words = line.split(|b| *b == b' ').filter(|word| !word.is_empty());
    let head = [words.next(), words.next()];
    matches!(head, [Some(b"Volume"), Some(b"Unit")] | [Some(b"Name"), Some(b"VV.MM" | b"Size")])
}

/// `QPGMR 6 10/01/24 12:00:00 *STMF a.csv`
fn ibm_i(line: &[u8], words: &[(&[u8], usize)]) -> Option<FtpListingEntry> {
    let at = words.iter().position(|(word, _)| word.first() == Some(&b'*'))?;
    let (kind, end) = words[at];
    let name = line.get(end..)?.trim_ascii_start();
    let kind = match kind {
        b"*STMF" | b"*DSTMF" | b"*FILE" | b"*MEM" | b"*DOC" | b"*SAVF" | b"*USRSPC" => {
            FtpListingKind::File
        }
        b"*DIR" | b"*DDIR" | b"*LIB" | b"*FLR" => FtpListingKind::Directory,
        b"*SYMLNK" => FtpListingKind::Symlink,
        _ if kind.len() > 2 && kind[1..].iter().all(u8::is_ascii_uppercase) => {
            FtpListingKind::Untold
        }
        _ => return None,
    };
    let (size, modified) = match &words[..at] {
        // Members have neither.
        [_owner] => (None, None),
        [_owner, (size, _), (date, _), (time, _)] => {
            let size = when::whole(size)?;
            (Some(size), stamp(date, time)?)
        }
        _ => return None,
    };
    let name = match kind {
        FtpListingKind::Directory => name.strip_suffix(b"/").unwrap_or(name),
        _ => name,
    };
    let size = size.filter(|_| !kind.has_no_size());
    Some(FtpListingEntry { kind, name: name.to_vec(), size, modified })
}

/// The order of a date depends on the job that serves; only what has one reading is a time.
fn stamp(date: &[u8], time: &[u8]) -> Option<Option<ModifiedTime>> {
    let is_date = when::is_dotted_date(date) || when::is_dashed_date(date);
    let time = when::clock(time).filter(|_| is_date)?;
    Some(when::lone_reading(date).map(|date| when::to_the_minute(date, time)))
}

/// `WYOSPT 3420   2003/05/21  1  200  FB      80  8053  PS  SOME.FILE`. The date says when it was
/// read, not when it was written, and its size is in tracks.
fn dataset(words: &[(&[u8], usize)]) -> Option<FtpListingEntry> {
    let named = |kind, name: &[u8]| {
        Some(FtpListingEntry { kind, name: name.to_vec(), size: None, modified: None })
    };
    match words {
        [(b"Migrated", _), (name, _)] => return named(FtpListingKind::File, name),
        [(b"Pseudo", _), (b"Directory", _), (name, _)] => {
            return named(FtpListingKind::Directory, name);
        }
        [(volume, _), (b"Tape", _), (name, _)] if is_volume(volume) => {
            return named(FtpListingKind::File, name);
        }
        [(volume, _), (unit, _), (b"VSAM", _), (name, _)] if is_volume(volume) && is_unit(unit) => {
            return named(FtpListingKind::Special, name);
        }
        _ => {}
    }
    let [(volume, _), (unit, _), (referred, _), middle @ .., (organisation, _), (name, _)] = words
    else {
        return None;
    };
    let is_date = *referred == b"**NONE**"
        || (referred.len() == 10 && referred[4] == b'/' && when::iso_date(referred).is_some());
    if !is_volume(volume) || !is_unit(unit) || !is_date || !(3..=6).contains(&middle.len()) {
        return None;
    }
    match *organisation {
        b"PO" | b"PO-E" => named(FtpListingKind::Directory, name),
        b"PS" | b"PS-E" | b"DA" | b"PSU" | b"GDG" => named(FtpListingKind::File, name),
        b"VS" => named(FtpListingKind::Special, name),
        _ => None,
    }
}

fn is_volume(word: &[u8]) -> bool {
    (1..=6).contains(&word.len())
        && word.iter().all(|b| b.is_ascii_alphanumeric() || b"$#@".contains(b))
}

fn is_unit(word: &[u8]) -> bool {
    word.len() == 4 && word.iter().all(u8::is_ascii_hexdigit)
}

/// `MEMBER 01.03 2002/09/12 2002/10/11 09:37    11    11     0 KIL001`; sizes count records.
fn member(words: &[(&[u8], usize)]) -> Option<FtpListingEntry> {
    match words {
        [
            (name, _),
            (version, _),
            (created, _),
            (changed, _),
            (time, _),
            size,
            init,
            changes,
            _id,
        ] if version.len() == 5
            && version[2] == b'.'
            && when::iso_date(created).is_some()
            && [size, init, changes].iter().all(|(word, _)| when::whole(word).is_some()) =>
        {
            let modified = when::to_the_minute(when::iso_date(changed)?, when::clock(time)?);
            let (kind, name) = (FtpListingKind::File, name.to_vec());
            Some(FtpListingEntry { kind, name, size: None, modified: Some(modified) })
        }
        // A load module: its size and its place in hexadecimal digits.
        [(name, _), (size, _), (place, _), rest @ ..]
            if rest.len() >= 3
                && rest
                    .iter()
                    .any(|(word, _)| *word == b"ANY" || *word == b"24" || *word == b"31")
                && [size, place]
                    .iter()
                    .all(|word| word.len() == 6 && word.iter().all(u8::is_ascii_hexdigit)) =>
        {
            Some(FtpListingEntry {
                kind: FtpListingKind::File,
                name: name.to_vec(),
                size: None,
                modified: None,
            })
        }
        _ => None,
    }
}
