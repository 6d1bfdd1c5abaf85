//! The directory of a zip: where its members are, each checked against its own header.
//!
//! It is read here rather than by the `zip` crate, because that crate keeps one member of each name
//! and drops the others without a word, and because "the archive was read to its end" can only be
//! said by someone who knows which bytes of it belong to nobody.

use std::io::{BufRead, Read};

use crate::archive::contract::UnpackError;
use crate::archive::spool::SpoolReader;
use crate::archive::unread::Unread;
use crate::archive::zip::beginning::begins_as_zip;
use crate::archive::zip::fields;
use crate::failure::Class;

/// The most bytes that a directory may have, names and comments included.
const MAX_BYTES: u64 = 256 << 20;
/// A directory entry without its name, a local header without its name, the end record without its
/// comment.
const ENTRY_BYTES: u64 = 46;
const HEADER_BYTES: u64 = 30;
const END_BYTES: usize = 22;
const LOCATOR_BYTES: usize = 20;
const END64_BYTES: usize = 56;

const HEADER: [u8; 4] = *b"PK\x03\x04";
const ENTRY: [u8; 4] = *b"PK\x01\x02";
const SIGNATURE: [u8; 4] = *b"PK\x05\x05";
const END: [u8; 4] = *b"PK\x05\x06";
const END64: [u8; 4] = *b"PK\x06\x06";
const LOCATOR: [u8; 4] = *b"PK\x06\x07";
const DESCRIPTOR: [u8; 4] = *b"PK\x07\x08";

/// Where the directory is and how many members it counts: claims that fit each other and the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Directory {
    /// Where it begins.
    pub start: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Whether other bytes stand before the archive: a program that unpacks it, a mail's header.
    is_behind: bool,
    /// Where the archive begins, which its offsets are counted from: 0 unless `is_behind`, or less
    /// if what stood before it was cut off.
    base: i64,
    /// How many members it counts; no more than its size can hold.
    pub members: u64,
}

/// One entry of the directory.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    pub made_by: u8,
    pub flags: u16,
    pub method: u16,
    pub dos_time: u16,
    pub dos_date: u16,
    pub crc: u32,
    pub packed: u64,
    pub unpacked: u64,
    pub attributes: u32,
    pub raw_name: Vec<u8>,
    /// Its name in its own header, where that is another and the same Unicode name goes with both.
    pub header_name: Option<Vec<u8>>,
    pub extra: Vec<u8>,
    disk: u32,
    /// Where its own header begins.
    pub header: u64,
}

/// Which bytes of the file a member takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Extent {
    /// Where its header begins.
    pub start: u64,
    /// Where its packed content begins.
    pub data: u64,
    /// Where its last byte is over.
    pub end: u64,
}

pub fn damaged(why: impl Into<String>) -> UnpackError {
    UnpackError::new(Class::ArchiveDamaged, why.into())
}

fn split() -> UnpackError {
    UnpackError::unread(Unread::SplitZip)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

fn read_exact<const N: usize>(
    reader: &mut SpoolReader,
    what: &str,
) -> Result<[u8; N], UnpackError> {
    let mut bytes = [0; N];
    fill(reader, &mut bytes, what)?;
    Ok(bytes)
}

fn fill(reader: &mut SpoolReader, bytes: &mut [u8], what: &str) -> Result<(), UnpackError> {
    reader.read_exact(bytes).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => {
            damaged(format!("{what} reaches beyond the end of the file"))
        }
        _ => UnpackError::from_read(error),
    })
}

impl Directory {
    /// Finds the directory from the end of the file.
    ///
    /// The end record whose comment ends with the file is the one; two of them that both work are a
    /// trap, which readers fall into differently. Else bytes may follow the last one that works, as
    /// long as they do not look like parts of a zip. The directory must end where its end record
    /// begins. Other bytes may stand before the archive, but only where the file does not begin as
    /// a zip itself: the inner archive of one that lost its end is not taken for the whole.
    pub fn find(reader: &mut SpoolReader) -> Result<Self, UnpackError> {
        let mut head = [0; 8];
        let there = reader.size().min(8) as usize;
        reader.jump(0);
        fill(reader, &mut head[..there], "the archive")?;
        let is_behind = !begins_as_zip(&head[..there]);
        let tail_bytes =
            reader.size().min((LOCATOR_BYTES + END_BYTES + usize::from(u16::MAX)) as u64);
        let tail_start = reader.size() - tail_bytes;
        let mut tail = vec![0; tail_bytes as usize];
        reader.jump(tail_start);
        fill(reader, &mut tail, "the end of the archive")?;
        let mut found = Vec::new();
        let mut first_error = None;
        for at in (0..(tail.len() + 1).saturating_sub(END_BYTES))
            .rev()
            .filter(|at| tail[*at..].starts_with(&END))
        {
            let after = at + END_BYTES + usize::from(u16_at(&tail, at + 20));
            match Self::from_end(reader, &tail, at, tail_start, is_behind) {
                _ if after > tail.len() => {
                    first_error = first_error.or(Some(damaged(
                        "its last comment reaches beyond the end of the file: truncated?",
                    )))
                }
                Ok(directory) => found.push((after, directory)),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        let mut exact = found.iter().filter(|(after, _)| *after == tail.len());
        match (exact.next(), exact.next(), found.first()) {
            (Some(_), Some(_), _) => {
                Err(damaged("it has two ends of central directory, and either may be meant"))
            }
            (Some((_, directory)), None, _) => Ok(*directory),
            (None, _, Some((after, directory))) if !has_parts(&tail[*after..]) => Ok(*directory),
            (None, _, Some(_)) => Err(damaged("more of a zip follows its end")),
            (None, _, None) if first_error.is_none() && head.starts_with(&DESCRIPTOR) => {
                Err(split())
            }
            (None, _, None) => {
                Err(first_error
                    .unwrap_or_else(|| damaged("no end of central directory: truncated?")))
            }
        }
    }

    fn from_end(
        reader: &mut SpoolReader,
        tail: &[u8],
        at: usize,
        tail_start: u64,
        is_behind: bool,
    ) -> Result<Self, UnpackError> {
        let end = &tail[at..];
        let short =
            [u16_at(end, 4), u16_at(end, 6), u16_at(end, 8), u16_at(end, 10)].map(u64::from);
        let long = [u32_at(end, 12), u32_at(end, 16)].map(u64::from);
        let mut claims = [short[0], short[1], short[2], short[3], long[0], long[1]];
        let limits = [0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF_FFFF, 0xFFFF_FFFF];
        let mut ends_at = tail_start + at as u64;
        if let Some(locator) = at
            .checked_sub(LOCATOR_BYTES)
            .map(|at| &tail[at..])
            .filter(|tail| tail.starts_with(&LOCATOR))
        {
            match end64(reader, locator, ends_at - LOCATOR_BYTES as u64) {
                Ok((begins_at, claims64)) => {
                    let agree = (0..6).all(|i| claims[i] == limits[i] || claims[i] == claims64[i]);
                    if !agree {
                        return Err(damaged("its two end records disagree"));
                    }
                    (claims, ends_at) = (claims64, begins_at);
                }
                // What looks like a locator may be the end of a comment or name; whoever needs
                // zip64 says so.
                Err(error) if (0..6).any(|i| claims[i] == limits[i]) => return Err(error),
                Err(_) => {}
            }
        }
        let [disk, directory_disk, members_here, members, size, start] = claims;
        if disk != 0 || directory_disk != 0 || members_here != members {
            return Err(split());
        }
        let base = start
            .checked_add(size)
            .and_then(|told| i64::try_from(i128::from(ends_at) - i128::from(told)).ok());
        let base = base.filter(|base| *base <= 0 || is_behind).filter(|_| size <= ends_at);
        let base = base.ok_or_else(|| damaged("its directory is not where its end says"))?;
        if size > MAX_BYTES {
            return Err(UnpackError::new(
                Class::LimitArchive,
                format!("its directory has {size} bytes, more than {MAX_BYTES}"),
            ));
        }
        if members > size / ENTRY_BYTES {
            return Err(damaged(format!(
                "its directory of {size} bytes cannot hold the {members} members that it counts"
            )));
        }
        Ok(Self { start: ends_at - size, size, is_behind, base, members })
    }

    /// Reads the entries in the directory's order.
    pub fn entries(
        &self,
        reader: &mut SpoolReader,
        mut each: impl FnMut(Entry) -> Result<(), UnpackError>,
    ) -> Result<(), UnpackError> {
        // Read apart from the members: `each` may jump.
        let mut reader = reader.clone();
        reader.jump(self.start);
        let mut position = self.start;
        for _ in 0..self.members {
            let entry = self.entry(&mut reader, &mut position)?;
            each(entry)?;
        }
        let left = self.start + self.size - position;
        if left == 0 {
            return Ok(());
        }
        let mut next = [0; 4];
        let wish = left.min(4) as usize;
        fill(&mut reader, &mut next[..wish], "the directory")?;
        match next {
            SIGNATURE => Ok(()),
            ENTRY => Err(damaged("its directory lists more members than it counts")),
            _ => Err(damaged("its directory goes on after its last member")),
        }
    }

    fn entry(&self, reader: &mut SpoolReader, position: &mut u64) -> Result<Entry, UnpackError> {
        let fixed: [u8; ENTRY_BYTES as usize] = read_exact(reader, "the directory")?;
        if !fixed.starts_with(&ENTRY) {
            return Err(damaged("its directory is torn"));
        }
        let [name_bytes, extra_bytes, comment_bytes] =
            [28, 30, 32].map(|at| u64::from(u16_at(&fixed, at)));
        *position += ENTRY_BYTES + name_bytes + extra_bytes + comment_bytes;
        if *position > self.start + self.size {
            return Err(damaged("its directory is torn: an entry reaches beyond its end"));
        }
        let mut raw_name = vec![0; name_bytes as usize];
        fill(reader, &mut raw_name, "a name")?;
        let mut extra = vec![0; extra_bytes as usize];
        fill(reader, &mut extra, "an extra field")?;
        reader.jump(*position);
        let mut entry = Entry {
            made_by: fixed[5],
            flags: u16_at(&fixed, 8),
            method: u16_at(&fixed, 10),
            dos_time: u16_at(&fixed, 12),
            dos_date: u16_at(&fixed, 14),
            crc: u32_at(&fixed, 16),
            packed: u64::from(u32_at(&fixed, 20)),
            unpacked: u64::from(u32_at(&fixed, 24)),
            disk: u32::from(u16_at(&fixed, 34)),
            attributes: u32_at(&fixed, 38),
            header: u64::from(u32_at(&fixed, 42)),
            raw_name,
            header_name: None,
            extra,
        };
        let mut wide = Wide::of(&entry.extra);
        entry.unpacked = wide.resolve(entry.unpacked)?;
        entry.packed = wide.resolve(entry.packed)?;
        entry.header = wide.resolve(entry.header)?;
        if entry.disk == 0xFFFF {
            entry.disk = wide.resolve_disk(entry.disk)?;
        }
        entry.header = entry
            .header
            .checked_add_signed(self.base)
            .ok_or_else(|| damaged("its header is not in the file"))?;
        Ok(entry)
    }

    /// Finds the content of `entry` and compares its own header, and what follows the content, with
    /// the entry.
    pub fn extent(
        &self,
        reader: &mut SpoolReader,
        entry: &mut Entry,
    ) -> Result<Extent, UnpackError> {
        if entry.disk != 0 {
            return Err(split());
        }
        reader.jump(entry.header);
        let fixed: [u8; HEADER_BYTES as usize] = read_exact(reader, "its header")?;
        if !fixed.starts_with(&HEADER) {
            return Err(damaged("it has no header where the directory says"));
        }
        let (flags, method) = (u16_at(&fixed, 6), u16_at(&fixed, 8));
        let mut name = vec![0; usize::from(u16_at(&fixed, 26))];
        fill(reader, &mut name, "its name")?;
        let mut extra = vec![0; usize::from(u16_at(&fixed, 28))];
        fill(reader, &mut extra, "its extra field")?;
        let data = reader.position();
        let over = data.checked_add(entry.packed).filter(|over| *over <= self.start);
        let over = over.ok_or_else(|| damaged("its content reaches into the directory"))?;
        if !same_but_slashes(&name, &entry.raw_name) {
            let paths =
                [&extra, &entry.extra].map(|extra| fields::field(extra, fields::UNICODE_PATH));
            if paths[0].is_none() || paths[0] != paths[1] {
                return Err(damaged("its header and the directory call it by different names"));
            }
            entry.header_name = Some(name);
        }
        if method != entry.method {
            return Err(damaged("its header and the directory differ in how it is packed"));
        }
        if (flags ^ entry.flags) & FLAG_ENCRYPTED != 0 {
            return Err(damaged("its header and the directory differ in whether it is encrypted"));
        }
        let mut wide = Wide::of(&extra);
        let unpacked = wide.resolve(u64::from(u32_at(&fixed, 22)))?;
        let packed = wide.resolve(u64::from(u32_at(&fixed, 18)))?;
        let told = (u32_at(&fixed, 14), packed, unpacked);
        let same = told == (entry.crc, entry.packed, entry.unpacked);
        let end = match flags & FLAG_DESCRIPTOR != 0 {
            true => match descriptor_end(reader, entry, over, self.start)? {
                // The header tells nothing and promises more, and none is there: the directory
                // alone tells.
                None if told == (0, 0, 0) && self.is_part(reader, over)? => Some(over),
                None => same.then_some(over),
                end => end,
            },
            false => same.then_some(over),
        };
        let end = end.ok_or_else(|| {
            damaged("its header and the directory differ in its size or checksum")
        })?;
        Ok(Extent { start: entry.header, data, end })
    }

    /// Whether the next member or the directory begins at `position`.
    fn is_part(&self, reader: &mut SpoolReader, position: u64) -> Result<bool, UnpackError> {
        reader.jump(position);
        Ok(position == self.start
            || (position + 4 <= self.start && read_exact::<4>(reader, "a header")? == HEADER))
    }

    /// Whether `extents` are parts of the file that do not overlap and leave no member unlisted.
    pub fn covers(
        &self,
        reader: &mut SpoolReader,
        mut extents: Vec<Extent>,
    ) -> Result<(), UnpackError> {
        extents.sort_unstable();
        let mut over = 0;
        for extent in &extents {
            if extent.start < over {
                return Err(damaged("its members overlap, as in a zip bomb"));
            }
            match over {
                0 if self.is_behind => no_member_before(reader, extent.start)?,
                _ => no_header_between(reader, over, extent.start)?,
            }
            over = extent.end;
        }
        if over > self.start {
            return Err(damaged("a member reaches into the directory"));
        }
        match over {
            0 if self.is_behind => no_member_before(reader, self.start),
            _ => no_header_between(reader, over, self.start),
        }
    }
}

/// Bit 0 of the flags: the content is encrypted.
pub const FLAG_ENCRYPTED: u16 = 1;
/// Bit 3: sizes and checksum follow the content.
pub const FLAG_DESCRIPTOR: u16 = 1 << 3;
/// Bit 5: a patch to a file that someone else has.
pub const FLAG_PATCH: u16 = 1 << 5;
/// Bit 6: PKWARE's encryption with certificates or its own key derivation.
pub const FLAG_STRONG: u16 = 1 << 6;
/// Bit 13: the directory is encrypted, and what headers tell is masked.
pub const FLAG_MASKED: u16 = 1 << 13;

/// Whether two names are the same: some programs write `\` in one place and `/` in the other.
fn same_but_slashes(one: &[u8], other: &[u8]) -> bool {
    let is_slash = |byte: u8| matches!(byte, b'/' | b'\\');
    one.len() == other.len()
        && one.iter().zip(other).all(|(a, b)| a == b || (is_slash(*a) && is_slash(*b)))
}

fn has_parts(bytes: &[u8]) -> bool {
    bytes.windows(4).any(|window| [HEADER, ENTRY, END].iter().any(|part| window == part))
}

/// The zip64 end record that `locator` points to and that must end where the locator begins: its
/// start and claims.
fn end64(
    reader: &mut SpoolReader,
    locator: &[u8],
    locator_at: u64,
) -> Result<(u64, [u64; 6]), UnpackError> {
    let mut begins_at = u64_at(locator, 8);
    if u32_at(locator, 4) != 0 || u32_at(locator, 16) > 1 {
        return Err(split());
    }
    if begins_at.checked_add(END64_BYTES as u64) != Some(locator_at) {
        // Counted from where the archive begins, which only the record tells: it has no extension
        // then.
        begins_at = locator_at.saturating_sub(END64_BYTES as u64);
    }
    reader.jump(begins_at);
    let end: [u8; END64_BYTES] = read_exact(reader, "its zip64 end record")?;
    let ends_at = u64_at(&end, 4).checked_add(12).and_then(|bytes| bytes.checked_add(begins_at));
    if !end.starts_with(&END64) || ends_at != Some(locator_at) {
        return Err(damaged("its zip64 end record is not where it should be"));
    }
    if u64_at(&end, 4) >= 72 {
        // The second version: 28 bytes and more on how the directory is packed and encrypted.
        let more: [u8; 20] = read_exact(reader, "its zip64 end record")?;
        if u16_at(&more, 18) != 0 {
            return Err(UnpackError::new(
                Class::ArchiveUnsupported,
                "its directory is encrypted (PKWARE strong encryption)",
            ));
        }
    }
    let disks = [u32_at(&end, 16), u32_at(&end, 20)].map(u64::from);
    Ok((
        begins_at,
        [
            disks[0],
            disks[1],
            u64_at(&end, 24),
            u64_at(&end, 32),
            u64_at(&end, 40),
            u64_at(&end, 48),
        ],
    ))
}

/// The values of a zip64 field, which stand there for those that were too big, in order.
struct Wide<'a>(Option<&'a [u8]>);

impl<'a> Wide<'a> {
    fn of(extra: &'a [u8]) -> Self {
        Self(fields::field(extra, 0x0001))
    }

    fn take<const N: usize>(&mut self) -> Result<Option<&'a [u8; N]>, UnpackError> {
        let Some(values) = self.0 else { return Ok(None) };
        let (value, rest) = values
            .split_first_chunk::<N>()
            .ok_or_else(|| damaged("its zip64 field is too short"))?;
        self.0 = Some(rest);
        Ok(Some(value))
    }

    /// `value`, unless it says "look here". Without a field it may be meant as it is.
    fn resolve(&mut self, value: u64) -> Result<u64, UnpackError> {
        if value != 0xFFFF_FFFF {
            return Ok(value);
        }
        Ok(self.take::<8>()?.map_or(value, |wide| u64::from_le_bytes(*wide)))
    }

    fn resolve_disk(&mut self, disk: u32) -> Result<u32, UnpackError> {
        Ok(self.take::<4>()?.map_or(disk, |wide| u32::from_le_bytes(*wide)))
    }
}

/// Where the data descriptor behind the content ends, if one that tells the same as `entry` is
/// there. It comes with and without a signature and with sizes of 32 or 64 bits, and nothing tells
/// which.
fn descriptor_end(
    reader: &mut SpoolReader,
    entry: &Entry,
    at: u64,
    limit: u64,
) -> Result<Option<u64>, UnpackError> {
    let mut bytes = [0; 24];
    let there = limit.saturating_sub(at).min(24) as usize;
    reader.jump(at);
    fill(reader, &mut bytes[..there], "its data descriptor")?;
    let crc = entry.crc.to_le_bytes();
    let wide = [entry.packed.to_le_bytes(), entry.unpacked.to_le_bytes()].concat();
    let narrow = [&wide[0..4], &wide[8..12]].concat();
    let narrow = if entry.packed.max(entry.unpacked) <= u64::from(u32::MAX) {
        &narrow[..]
    } else {
        &wide[..]
    };
    let forms = [
        [&DESCRIPTOR[..], &crc, &wide],
        [&DESCRIPTOR, &crc, narrow],
        [&[], &crc, &wide],
        [&[], &crc, narrow],
    ];
    let found =
        forms.iter().map(|form| form.concat()).find(|form| bytes[..there].starts_with(form));
    Ok(found.map(|form| at + form.len() as u64))
}

/// Programs that unpack what follows them know the signatures of zips, and so hold them. A whole
/// header with a name is more: a member of another archive, of which the one that was found is only
/// a part.
fn no_member_before(reader: &mut SpoolReader, end: u64) -> Result<(), UnpackError> {
    let mut window = [0; HEADER_BYTES as usize + 1];
    reader.jump(0);
    while reader.position() < end {
        let left = usize::try_from(end - reader.position()).unwrap_or(usize::MAX);
        let bytes = reader.fill_buf().map_err(UnpackError::from_read)?;
        let bytes = &bytes[..bytes.len().min(left)];
        for byte in bytes {
            window.copy_within(1.., 0);
            window[HEADER_BYTES as usize] = *byte;
            if is_header(&window) {
                return Err(damaged(
                    "a member of another archive stands before it: it is a part of what was sent",
                ));
            }
        }
        let amount = bytes.len();
        if amount == 0 {
            break;
        }
        reader.consume(amount);
    }
    Ok(())
}

/// Whether `bytes` are a local header that a writer may have written, and the first byte of its
/// name.
fn is_header(bytes: &[u8; HEADER_BYTES as usize + 1]) -> bool {
    let (version, flags, method, name_bytes) =
        (u16_at(bytes, 4), u16_at(bytes, 6), u16_at(bytes, 8), u16_at(bytes, 26));
    bytes.starts_with(&HEADER)
        && version & 0xFF <= 63
        && flags & 0xC000 == 0
        && method <= 99
        && (1..=4096).contains(&name_bytes)
        && bytes[30] >= b' '
}

/// Bytes that belong to no member may be padding or a signature, but not a member that the
/// directory keeps quiet about.
fn no_header_between(reader: &mut SpoolReader, start: u64, end: u64) -> Result<(), UnpackError> {
    if start >= end {
        return Ok(());
    }
    reader.jump(start);
    let mut window = [0; 4];
    while reader.position() < end {
        let left = usize::try_from(end - reader.position()).unwrap_or(usize::MAX);
        let bytes = reader.fill_buf().map_err(UnpackError::from_read)?;
        let bytes = &bytes[..bytes.len().min(left)];
        for byte in bytes {
            window = [window[1], window[2], window[3], *byte];
            if window == HEADER {
                return Err(damaged("it holds a member that its directory does not list"));
            }
        }
        let amount = bytes.len();
        if amount == 0 {
            break;
        }
        reader.consume(amount);
    }
    Ok(())
}
