//! The headers of tar: the old one, ustar, GNU's; and the records of pax.

use time::OffsetDateTime;

use crate::archive::contract::{Charset, MemberTime, UnpackError};
use crate::model::failure::Class;
use crate::model::{ModifiedTime, Precision};

/// Everything in a tar stands in blocks of this size.
pub const BLOCK: usize = 512;
/// Blocks are written in records of this size, unless a writer is told otherwise.
pub(crate) const RECORD: u64 = 20 * BLOCK as u64;
/// A block of it.
pub(crate) type TarBlock = [u8; BLOCK];

/// Types of headers that are read, or told of by name.
pub mod kind {
    pub(crate) const OLD_FILE: u8 = 0;
    pub const FILE: u8 = b'0';
    pub(crate) const HARD_LINK: u8 = b'1';
    pub(crate) const SOFT_LINK: u8 = b'2';
    pub(crate) const DIRECTORY: u8 = b'5';
    pub(crate) const PIPE: u8 = b'6';
    pub(crate) const CONTIGUOUS_FILE: u8 = b'7';
    pub(crate) const PAX: u8 = b'x';
    pub(crate) const PAX_SUN: u8 = b'X';
    pub(crate) const PAX_GLOBAL: u8 = b'g';
    pub(crate) const GNU_LONG_NAME: u8 = b'L';
    pub(crate) const GNU_LONG_LINK: u8 = b'K';
    pub(crate) const GNU_DIRECTORY: u8 = b'D';
    pub(crate) const GNU_VOLUME_LABEL: u8 = b'V';
    pub(crate) const GNU_CONTINUED: u8 = b'M';
    pub(crate) const GNU_SPARSE: u8 = b'S';
    pub(crate) const SUN_ACL: u8 = b'A';
    pub(crate) const SUN_ATTRIBUTES: u8 = b'E';
}

/// What one header says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TarHeader {
    /// Its type.
    pub kind: u8,
    /// The name, with the prefix of ustar.
    pub name: Vec<u8>,
    /// Bytes that follow it, before padding.
    pub size: u64,
    /// What a link points at.
    pub link: Vec<u8>,
    /// Seconds since 1970, if they are told and a date.
    pub modified: Option<MemberTime>,
}

/// The archive is not as its format says.
pub fn damaged(cause: impl Into<crate::model::BoxError>) -> UnpackError {
    UnpackError::new(Class::ArchiveDamaged, cause)
}

/// Whether `head` is a header that begins a tar. Text never is: it has no NUL where one must be.
pub(crate) fn begins_tar(head: &[u8]) -> bool {
    let Some(block) = head.first_chunk::<BLOCK>() else { return false };
    block[257..].starts_with(b"ustar\0")
        || is_gnu(block)
        || (is_old_header(block) && checksum_holds(block))
}

fn has_magic(block: &TarBlock) -> bool {
    block[257..].starts_with(b"ustar")
}

fn is_gnu(block: &TarBlock) -> bool {
    block[257..].starts_with(b"ustar  \0")
}

/// A header without the magic of its time, of a tar or of a volume: only if nothing in it speaks
/// against it.
fn is_old_header(block: &TarBlock) -> bool {
    let numbers =
        [&block[100..108], &block[108..116], &block[116..124], &block[124..136], &block[136..148]];
    let name = until_nul(&block[..100]);
    let is_octal = |field: &[u8]| {
        field[0] & 0x80 != 0 || field.iter().all(|byte| matches!(byte, b'0'..=b'7' | b' ' | 0))
    };
    let is_known = matches!(
        block[156],
        kind::OLD_FILE | kind::FILE
            ..=kind::CONTIGUOUS_FILE | kind::GNU_SPARSE | kind::GNU_DIRECTORY
    );
    // GNU's `tar` labels volumes so, and gives no more than a name and a time.
    let is_volume = matches!(
        block[156],
        kind::GNU_VOLUME_LABEL | kind::GNU_CONTINUED | kind::GNU_LONG_NAME | kind::GNU_LONG_LINK
    );
    let has_digits = |field: &[u8]| field.iter().any(u8::is_ascii_digit) || field[0] & 0x80 != 0;
    // `star` wrote times and a mark of its own behind the names; GNU's `tar` device numbers.
    let is_plain_behind = block[257..].iter().all(|byte| matches!(byte, 0 | b'0'));
    !name.is_empty()
        && !name.iter().any(u8::is_ascii_control)
        && numbers.iter().all(|field| is_octal(field))
        && has_digits(&block[148..156])
        && (is_volume || (is_known && has_digits(&block[124..136])))
        && (is_volume || is_plain_behind || is_star(block) || has_magic(block))
}

fn is_star(block: &TarBlock) -> bool {
    block[508..] == *b"tar\0"
}

/// Whether `block` could be a header at all: its checksum holds.
pub(crate) fn checksum_holds(block: &TarBlock) -> bool {
    let Some(told) = number(&block[148..156]) else { return false };
    let spaced = block
        .iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { b' ' } else { *byte });
    let unsigned: i64 = spaced.clone().map(i64::from).sum();
    // Some early systems took bytes for signed.
    let signed: i64 = spaced.map(|byte| i64::from(byte.cast_signed())).sum();
    told == unsigned || told == signed
}

/// What the header at byte `start` says, if its checksum holds.
pub fn parse(block: &TarBlock, start: u64) -> Result<TarHeader, UnpackError> {
    if !checksum_holds(block) {
        return Err(damaged(format!("the checksum of the header at byte {start} does not hold")));
    }
    let size = number(&block[124..136]).and_then(|size| u64::try_from(size).ok());
    let size = size
        .ok_or_else(|| damaged(format!("the size in the header at byte {start} is no number")))?;
    let modified = number(&block[136..148]).and_then(ModifiedTime::from_unix).map(MemberTime::Utc);
    let link = until_nul(&block[157..257]).to_vec();
    Ok(TarHeader { kind: block[156], name: name(block), link, size, modified })
}

fn name(block: &TarBlock) -> Vec<u8> {
    let name = until_nul(&block[..100]);
    if is_gnu(block) || (!has_magic(block) && !is_star(block)) {
        return name.to_vec();
    }
    // `star` keeps times behind a shorter prefix.
    match until_nul(&block[345..if is_star(block) { 476 } else { 500 }]) {
        b"" => name.to_vec(),
        prefix => [prefix, b"/", name].concat(),
    }
}

/// A field up to its first NUL.
pub(crate) fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A number: octal digits among spaces and NULs (none are 0), or base 256 with its sign, as GNU and
/// star write large ones.
pub fn number(field: &[u8]) -> Option<i64> {
    let (first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        let start = if first & 0x40 == 0 {
            i64::from(first & 0x3F)
        } else {
            i64::from(first.cast_signed())
        };
        return rest.iter().try_fold(start, |number, byte| {
            number.checked_mul(256)?.checked_add(i64::from(*byte))
        });
    }
    let digits = until_nul(field).trim_ascii();
    digits.iter().try_fold(0i64, |number, digit| match digit {
        b'0'..=b'7' => number.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
        _ => None,
    })
}

/// A record of pax: `LENGTH KEY=VALUE\n`, one after the other.
pub fn records(data: &[u8]) -> impl Iterator<Item = Result<(&[u8], &[u8]), UnpackError>> {
    let mut rest = data;
    std::iter::from_fn(move || {
        // Some writers fill up with NULs.
        if rest.iter().all(|byte| *byte == 0) {
            return None;
        }
        let record = split_record(rest);
        rest = record.map_or(&[], |(_, _, rest)| rest);
        Some(
            record
                .map(|(key, value, _)| (key, value))
                .ok_or_else(|| damaged("a pax header holds something that is no record")),
        )
    })
}

fn split_record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = data.iter().take(20).position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(&data[..space]).ok()?.parse().ok()?;
    let record = data.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    (equals > 0).then(|| (&record[..equals], &record[equals + 1..], &data[length..]))
}

/// A time of pax: seconds since 1970, before it with a minus, with as many digits behind the point
/// as are known.
pub(crate) fn pax_time(value: &[u8]) -> Option<MemberTime> {
    let text = std::str::from_utf8(value).ok()?;
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (seconds, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if !fraction.bytes().all(|digit| digit.is_ascii_digit())
        || !seconds.bytes().all(|digit| digit.is_ascii_digit())
    {
        return None;
    }
    let nanoseconds: i128 = format!("{:0<9.9}", fraction).parse().ok()?;
    let magnitude = i128::from(seconds.parse::<u64>().ok()?) * 1_000_000_000 + nanoseconds;
    let at =
        OffsetDateTime::from_unix_timestamp_nanos(if negative { -magnitude } else { magnitude })
            .ok()?;
    let precision = if fraction.is_empty() { Precision::Second } else { Precision::Nanosecond };
    Some(MemberTime::Utc(ModifiedTime::new(at, precision)))
}

/// A name that does not tell its character set: UTF-8 if it is valid, else the one that the
/// settings name, else windows-1252, which gives every byte a letter of its own.
pub fn decoded(raw: &[u8], charset: Charset) -> String {
    match (std::str::from_utf8(raw), charset) {
        (Ok(name), _) => name.to_owned(),
        (Err(_), Charset::Named(encoding)) => {
            encoding.decode_without_bom_handling(raw).0.into_owned()
        }
        (Err(_), Charset::Detect | Charset::Cp437) => {
            encoding_rs::WINDOWS_1252.decode_without_bom_handling(raw).0.into_owned()
        }
    }
}
