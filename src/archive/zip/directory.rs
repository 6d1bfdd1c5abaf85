//! The directory of a zip: where its members are, each checked against its own header.
//!
//! It is read here rather than by the `zip` crate, because that crate keeps one member of each name
//! and drops the others without a word, and because "the archive was read to its end" can only be
//! said by someone who knows which bytes of it belong to nobody.

use std::io::Read;

use crate::archive::contract::UnpackError;
use crate::archive::spool_reader::SpoolReader;
use crate::archive::unread::Unread;
use crate::archive::zip::fields;
use crate::model::failure::{Class, Failure};

/// A directory entry without its name.
pub(super) const ENTRY_BYTES: u64 = 46;

/// A member's own header.
pub(super) const HEADER: [u8; 4] = *b"PK\x03\x04";
/// An entry of the directory.
pub(super) const ENTRY: [u8; 4] = *b"PK\x01\x02";
/// What follows the content of a member that was streamed.
pub(super) const DESCRIPTOR: [u8; 4] = *b"PK\x07\x08";
const SIGNATURE: [u8; 4] = *b"PK\x05\x05";

/// Where the directory is and how many members it counts: claims that fit each other and the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// Where it begins.
    pub start: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Whether other bytes stand before the archive: a program that unpacks it, a mail's header.
    pub(super) is_behind: bool,
    /// Where the archive begins, which its offsets are counted from: 0 unless `is_behind`, or less
    /// if what stood before it was cut off.
    pub(super) base: i64,
    /// How many members it counts.
    pub members: u64,
    /// Whether its end says that it is a part of several. All of it may be here nevertheless.
    pub is_part: bool,
    /// What contradicts itself in its end without a doubt about where the directory is.
    pub oddity: Option<String>,
}

/// One entry of the directory.
#[derive(Clone, Debug, Default)]
pub(crate) struct ZipEntry {
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
    pub(super) disk: u32,
    /// Where its own header begins.
    pub header: u64,
}

pub fn damaged(why: impl Into<String>) -> UnpackError {
    UnpackError::new(Class::ArchiveDamaged, why.into())
}

pub(super) fn split() -> UnpackError {
    UnpackError::unread(Unread::SplitZip)
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

pub(super) fn read_exact<const N: usize>(
    reader: &mut SpoolReader,
    what: &str,
) -> Result<[u8; N], UnpackError> {
    let mut bytes = [0; N];
    fill(reader, &mut bytes, what)?;
    Ok(bytes)
}

pub(super) fn fill(
    reader: &mut SpoolReader,
    bytes: &mut [u8],
    what: &str,
) -> Result<(), UnpackError> {
    reader.read_exact(bytes).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => {
            damaged(format!("{what} reaches beyond the end of the file"))
        }
        _ => UnpackError::from_read(error),
    })
}

impl Directory {
    /// Reads the entries in the directory's order, and says how many there are: its size decides,
    /// not the count, of which old writers keep 16 bits only.
    pub fn entries(
        &self,
        reader: &mut SpoolReader,
        mut each: impl FnMut(ZipEntry) -> Result<(), UnpackError>,
    ) -> Result<u64, UnpackError> {
        // Read apart from the members: `each` may jump.
        let mut reader = reader.clone();
        let (mut position, mut found) = (self.start, 0);
        while position < self.start + self.size {
            reader.jump(position);
            if found >= self.members {
                let mut next = [0; 4];
                let wish = (self.start + self.size - position).min(4) as usize;
                fill(&mut reader, &mut next[..wish], "the directory")?;
                match next {
                    SIGNATURE => break,
                    ENTRY => reader.jump(position),
                    _ => return Err(damaged("its directory goes on after its last member")),
                }
            }
            each(self.entry(&mut reader, &mut position)?)?;
            found += 1;
        }
        Ok(found)
    }

    /// Where the part begins that follows the member at `header`: the next of the members that
    /// begin at `starts`, in order, or the directory.
    pub(crate) fn next_start(&self, starts: &[u64], header: u64) -> u64 {
        let next = starts.partition_point(|start| *start <= header);
        starts.get(next).copied().unwrap_or(self.start)
    }

    /// `error`, or what is told of the archive is true: it is a part of several.
    pub fn judge(&self, error: UnpackError) -> UnpackError {
        match self.is_part && error.class() == Class::ArchiveDamaged {
            true => split(),
            false => error,
        }
    }

    fn entry(&self, reader: &mut SpoolReader, position: &mut u64) -> Result<ZipEntry, UnpackError> {
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
        let mut entry = ZipEntry {
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
}

/// Bit 0 of the flags: the content is encrypted.
pub(crate) const FLAG_ENCRYPTED: u16 = 1;
/// Bit 3: sizes and checksum follow the content.
pub(crate) const FLAG_DESCRIPTOR: u16 = 1 << 3;
/// Bit 5: a patch to a file that someone else has.
pub(crate) const FLAG_PATCH: u16 = 1 << 5;
/// Bit 6: PKWARE's encryption with certificates or its own key derivation.
pub(crate) const FLAG_STRONG: u16 = 1 << 6;
/// Bit 13: the directory is encrypted, and what headers tell is masked.
pub(crate) const FLAG_MASKED: u16 = 1 << 13;

/// The values of a zip64 field, which stand there for those that were too big, in order.
pub(super) struct Wide<'a>(Option<&'a [u8]>);

impl<'a> Wide<'a> {
    pub(super) fn of(extra: &'a [u8]) -> Self {
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
    pub(super) fn resolve(&mut self, value: u64) -> Result<u64, UnpackError> {
        if value != 0xFFFF_FFFF {
            return Ok(value);
        }
        Ok(self.take::<8>()?.map_or(value, |wide| u64::from_le_bytes(*wide)))
    }

    fn resolve_disk(&mut self, disk: u32) -> Result<u32, UnpackError> {
        Ok(self.take::<4>()?.map_or(disk, |wide| u32::from_le_bytes(*wide)))
    }
}
