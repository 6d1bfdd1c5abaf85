//! The places of members in a zip, each checked against what the directory tells.

use std::io::BufRead;

use crate::archive::contract::UnpackError;
use crate::archive::spool_reader::SpoolReader;
use crate::archive::zip::directory::{
    DESCRIPTOR, Directory, FLAG_DESCRIPTOR, FLAG_ENCRYPTED, HEADER, Wide, ZipEntry, damaged, fill,
    read_exact, split, u16_at, u32_at,
};
use crate::archive::zip::fields;
use crate::model::printable;

/// A local header without its name.
const HEADER_BYTES: u64 = 30;

/// Which bytes of the file a member takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Extent {
    /// Where its header begins.
    pub start: u64,
    /// Where its packed content begins.
    pub data: u64,
    /// Where its last byte is over.
    pub end: u64,
}

/// What contradicts the directory and is read all the same.
pub(crate) enum Odd {
    /// Readers get the same.
    Remark(String),
    /// Readers get the same bytes, and one of two things that nothing proves is wrong.
    Doubt(String),
}

/// Takes note of what is odd about a member.
type Note<'a> = dyn FnMut(Odd) + 'a;

/// Finds the content of `entry` and compares its own header, and what follows the content, with the
/// entry. What contradicts the entry without a doubt about the content is told to `note`; content
/// that two readers would read differently is an error.
pub(crate) fn extent(
    directory: &Directory,
    reader: &mut SpoolReader,
    entry: &mut ZipEntry,
    note: &mut Note<'_>,
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
    if method != entry.method {
        return Err(damaged("its header and the directory differ in how it is packed"));
    }
    if (flags ^ entry.flags) & FLAG_ENCRYPTED != 0 {
        return Err(damaged("its header and the directory differ in whether it is encrypted"));
    }
    let mut wide = Wide::of(&extra);
    let unpacked = wide.resolve(u64::from(u32_at(&fixed, 22)))?;
    let packed = wide.resolve(u64::from(u32_at(&fixed, 18)))?;
    let told = OwnHeader { crc: u32_at(&fixed, 14), packed, unpacked };
    let end = match flags & FLAG_DESCRIPTOR != 0 {
        true => streamed_end(directory, reader, entry, data, &told, note)?,
        false => None,
    };
    let end = match end {
        Some(end) => end,
        None => plain_end(directory, reader, entry, data, &told, note)?,
    };
    if !same_but_slashes(&name, &entry.raw_name) {
        let paths = [&extra, &entry.extra].map(|extra| fields::field(extra, fields::UNICODE_PATH));
        if paths[0].is_some() && paths[0] == paths[1] {
            entry.header_name = Some(name);
        } else {
            let text = format!("its own header calls it `{}`", printable(&name));
            note(match same_but_charset(&name, &entry.raw_name) {
                true => Odd::Remark(text),
                false => Odd::Doubt(text),
            });
        }
    }
    Ok(Extent { start: entry.header, data, end })
}

/// What a member's own header tells.
#[derive(PartialEq, Eq)]
struct OwnHeader {
    crc: u32,
    packed: u64,
    unpacked: u64,
}

impl OwnHeader {
    const NOTHING: OwnHeader = OwnHeader { crc: 0, packed: 0, unpacked: 0 };
}

/// Where the content that begins at `data` is over, if the file has so much before the directory.
fn content_end(directory: &Directory, data: u64, packed: u64) -> Option<u64> {
    data.checked_add(packed).filter(|over| *over <= directory.start)
}

/// Where a member that was streamed ends: with what follows its content. `None` if nothing that
/// fits follows.
fn streamed_end(
    directory: &Directory,
    reader: &mut SpoolReader,
    entry: &ZipEntry,
    data: u64,
    told: &OwnHeader,
    note: &mut Note<'_>,
) -> Result<Option<u64>, UnpackError> {
    let Some(over) = content_end(directory, data, entry.packed) else { return Ok(None) };
    if let Some(end) = descriptor_end(reader, entry, over, directory.start)? {
        return Ok(Some(end));
    }
    if *told == OwnHeader::NOTHING && is_part(directory, reader, over)? {
        // More is promised, and none is there: the directory alone tells.
        return Ok(Some(over));
    }
    for end in [over + 16, over + 24] {
        // It vouches for the content, and lies about sizes: readers go by the directory.
        if *told == OwnHeader::NOTHING
            && end <= directory.start
            && is_part(directory, reader, end)?
            && begins_with_descriptor(reader, over, entry.crc)?
        {
            note(Odd::Remark("what follows it tells other sizes than the directory".to_owned()));
            return Ok(Some(end));
        }
    }
    Ok(None)
}

/// Where a member ends of which its header tells all.
fn plain_end(
    directory: &Directory,
    reader: &mut SpoolReader,
    entry: &mut ZipEntry,
    data: u64,
    told: &OwnHeader,
    note: &mut Note<'_>,
) -> Result<u64, UnpackError> {
    let over = content_end(directory, data, entry.packed);
    let listed = OwnHeader { crc: entry.crc, packed: entry.packed, unpacked: entry.unpacked };
    if let Some(over) = over.filter(|_| *told == listed) {
        return Ok(over);
    }
    let mut is_exact = false;
    if let Some(over) = over {
        is_exact = is_part(directory, reader, over)?;
        if *told == OwnHeader::NOTHING && is_exact {
            note(Odd::Remark("its own header tells neither size nor checksum".to_owned()));
            return Ok(over);
        }
    }
    let by_header = content_end(directory, data, told.packed)
        .filter(|_| (told.crc, told.unpacked) == (entry.crc, entry.unpacked) && !is_exact);
    if let Some(end) = by_header
        && is_part(directory, reader, end).unwrap_or(false)
    {
        // Size and checksum prove the content; how much of the file to read for it is told by where
        // the next part begins.
        note(Odd::Remark(format!(
            "the directory tells {} packed bytes, and it has {}",
            entry.packed, told.packed
        )));
        entry.packed = told.packed;
        return Ok(end);
    }
    Err(match over {
        None => damaged("its content reaches into the directory"),
        Some(_) => damaged("its header and the directory differ in its size or checksum"),
    })
}

/// Whether the next member or the directory begins at `position`.
fn is_part(
    directory: &Directory,
    reader: &mut SpoolReader,
    position: u64,
) -> Result<bool, UnpackError> {
    if position == directory.start {
        return Ok(true);
    }
    reader.jump(position);
    Ok(position + 4 <= directory.start && read_exact::<4>(reader, "a header")? == HEADER)
}

/// Whether a data descriptor with this checksum begins at `position`, whatever sizes it tells.
fn begins_with_descriptor(
    reader: &mut SpoolReader,
    position: u64,
    crc: u32,
) -> Result<bool, UnpackError> {
    reader.jump(position);
    let bytes: [u8; 8] = read_exact(reader, "its data descriptor")?;
    Ok(bytes.starts_with(&DESCRIPTOR) && bytes[4..] == crc.to_le_bytes())
}

/// How many bytes before the directory belong to no member, if `extents` are parts of the file
/// that do not overlap and leave no member unlisted.
pub(crate) fn cover(
    directory: &Directory,
    reader: &mut SpoolReader,
    mut extents: Vec<Extent>,
) -> Result<u64, UnpackError> {
    extents.sort_unstable();
    let (mut over, mut unused) = (0, 0);
    for extent in &extents {
        if extent.start < over {
            return Err(damaged("its members overlap, as in a zip bomb"));
        }
        unused += gap(directory, reader, over, extent.start)?;
        over = extent.end;
    }
    if over > directory.start {
        return Err(damaged("a member reaches into the directory"));
    }
    Ok(unused + gap(directory, reader, over, directory.start)?)
}

/// Whether `extents`, of some members, are parts of the file that do not reach into the next ones
/// and leave no member unlisted before these.
pub(crate) fn apart(
    directory: &Directory,
    reader: &mut SpoolReader,
    extents: &[Extent],
) -> Result<(), UnpackError> {
    let mut starts = Vec::new();
    directory.entries(&mut reader.clone(), |entry| {
        starts.push(entry.header);
        Ok(())
    })?;
    starts.sort_unstable();
    for extent in extents {
        let next = directory.next_start(&starts, extent.start);
        if extent.end > next {
            return Err(damaged("its members overlap, as in a zip bomb"));
        }
        no_header_between(reader, extent.end, next)?;
    }
    Ok(())
}

/// How many bytes stand between `over`, where a member ends, and `next`, where another part
/// begins: none of them begins a member. What an archive stands behind is none of its own.
fn gap(
    directory: &Directory,
    reader: &mut SpoolReader,
    over: u64,
    next: u64,
) -> Result<u64, UnpackError> {
    if over == 0 && directory.is_behind {
        return no_member_before(reader, next).map(|()| 0);
    }
    no_header_between(reader, over, next).map(|()| next.saturating_sub(over))
}

/// Whether two names are the same: some programs write `\` in one place and `/` in the other.
pub(super) fn same_but_slashes(one: &[u8], other: &[u8]) -> bool {
    let is_slash = |byte: u8| matches!(byte, b'/' | b'\\');
    one.len() == other.len()
        && one.iter().zip(other).all(|(a, b)| a == b || (is_slash(*a) && is_slash(*b)))
}

/// Whether two names may be the same in two character sets: what is ASCII in them is equal.
fn same_but_charset(one: &[u8], other: &[u8]) -> bool {
    let ascii = |name: &[u8]| name.iter().copied().filter(u8::is_ascii).collect::<Vec<u8>>();
    !one.is_ascii() && !other.is_ascii() && ascii(one) == ascii(other)
}

/// Where the data descriptor behind the content ends, if one that tells the same as `entry` is
/// there. It comes with and without a signature and with sizes of 32 or 64 bits, and nothing tells
/// which.
fn descriptor_end(
    reader: &mut SpoolReader,
    entry: &ZipEntry,
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
