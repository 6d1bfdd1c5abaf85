//! The end of a zip, from which its directory is found.

use crate::archive::contract::UnpackError;
use crate::archive::spool_reader::SpoolReader;
use crate::archive::zip::beginning::{begins_as_split, begins_as_zip};
use crate::archive::zip::directory::{
    Directory, ENTRY, HEADER, damaged, fill, read_exact, split, u16_at, u32_at, u64_at,
};
use crate::model::failure::{Class, Failure};

/// The most bytes that a directory may have, names and comments included.
const MAX_BYTES: u64 = 256 << 20;
/// The end record without its comment, and its forms of zip64.
const END_BYTES: usize = 22;
const LOCATOR_BYTES: usize = 20;
const END64_BYTES: usize = 56;

const END: [u8; 4] = *b"PK\x05\x06";
const END64: [u8; 4] = *b"PK\x06\x06";
const LOCATOR: [u8; 4] = *b"PK\x06\x07";

/// What an end record tells: the number of its part and of the one where the directory begins, the
/// members in this part and in all, size and start of the directory.
type EndClaims = [u64; 6];
/// What a value says that stands in the zip64 record.
const ELSEWHERE: EndClaims = [0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF_FFFF, 0xFFFF_FFFF];

/// What is looked at of the file's end.
struct FileEnd {
    bytes: Vec<u8>,
    /// Where in the file it begins.
    start: u64,
    /// Whether the file begins otherwise than as a zip.
    is_behind: bool,
}

/// Finds the directory from the end of the file.
///
/// The end record whose comment ends with the file is the one; two of them that both work are a
/// trap, which readers fall into differently. Else bytes may follow the last one that works, as
/// long as they do not look like parts of a zip, or its comment may be cut. The directory must end
/// where its end record begins. Other bytes may stand before the archive, but only where the file
/// does not begin as a zip itself: the inner archive of one that lost its end is not taken for the
/// whole.
pub fn find(reader: &mut SpoolReader) -> Result<Directory, UnpackError> {
    let mut head = [0; 8];
    let there = reader.size().min(8) as usize;
    reader.jump(0);
    fill(reader, &mut head[..there], "the archive")?;
    let tail_bytes = reader.size().min((LOCATOR_BYTES + END_BYTES + usize::from(u16::MAX)) as u64);
    let mut tail = FileEnd {
        bytes: vec![0; tail_bytes as usize],
        start: reader.size() - tail_bytes,
        is_behind: !begins_as_zip(&head[..there]),
    };
    reader.jump(tail.start);
    fill(reader, &mut tail.bytes, "the end of the archive")?;
    let mut seen = SeenEnds::default();
    for at in (0..(tail.bytes.len() + 1).saturating_sub(END_BYTES))
        .rev()
        .filter(|at| tail.bytes[*at..].starts_with(&END))
    {
        seen.end(reader, &tail, at);
    }
    let SeenEnds { exact, rivals, within, cut, first_error } = seen;
    match (exact.first(), within.first()) {
        (Some(_), _) if exact.len() + rivals > 1 => {
            Err(damaged("it has two ends of central directory, and either may be meant"))
        }
        (Some(directory), _) => Ok(directory.clone()),
        (None, Some((after, directory))) if !has_parts(&tail.bytes[*after..]) => {
            Ok(directory.clone())
        }
        (None, Some(_)) => Err(damaged("more of a zip follows its end")),
        (None, None) if first_error.is_none() && begins_as_split(&head) => Err(split()),
        (None, None) => cut.ok_or_else(|| {
            first_error.unwrap_or_else(|| damaged("no end of central directory: truncated?"))
        }),
    }
}

/// The ends that were seen, from the last one on.
#[derive(Default)]
struct SeenEnds {
    /// Those that work and whose comment ends with the file.
    exact: Vec<Directory>,
    /// How many more end with the file and would work if the archive began elsewhere.
    rivals: usize,
    /// Those that work and end before the file, and where.
    within: Vec<(usize, Directory)>,
    /// One that works and whose comment is cut.
    cut: Option<Directory>,
    first_error: Option<UnpackError>,
}

impl SeenEnds {
    fn end(&mut self, reader: &mut SpoolReader, tail: &FileEnd, at: usize) {
        let after = at + END_BYTES + usize::from(u16_at(&tail.bytes, at + 20));
        let length = tail.bytes.len();
        match from_end(reader, tail, at) {
            Ok(directory) if after == length => self.exact.push(directory),
            Ok(directory) if after < length => self.within.push((after, directory)),
            Ok(directory) if directory.base == 0 && !has_parts(&tail.bytes[at + 4..]) => {
                let oddity = format!("its comment is cut: {} bytes are missing", after - length);
                self.cut.get_or_insert(Directory { oddity: Some(oddity), ..directory });
            }
            Err(error) if after <= length => {
                if after == length && entries_end_at(reader, tail, at) {
                    self.rivals += 1;
                }
                self.first_error.get_or_insert(error);
            }
            _ => {
                self.first_error.get_or_insert_with(|| {
                    damaged("its last comment reaches beyond the end of the file: truncated?")
                });
            }
        }
    }
}

/// Whether a directory of the size that the end record at `at` tells stands before it.
fn entries_end_at(reader: &mut SpoolReader, tail: &FileEnd, at: usize) -> bool {
    let size = u64::from(u32_at(&tail.bytes, at + 12));
    let locator = at.checked_sub(LOCATOR_BYTES).map(|at| &tail.bytes[at..]);
    let between = match locator.is_some_and(|bytes| bytes.starts_with(&LOCATOR)) {
        true => (END64_BYTES + LOCATOR_BYTES) as u64,
        false => 0,
    };
    let Some(start) = (tail.start + at as u64).checked_sub(size + between) else { return false };
    reader.jump(start);
    size > 0 && read_exact::<4>(reader, "the directory").is_ok_and(|bytes| bytes == ENTRY)
}

fn from_end(reader: &mut SpoolReader, tail: &FileEnd, at: usize) -> Result<Directory, UnpackError> {
    let end = &tail.bytes[at..];
    let short = [4, 6, 8, 10].map(|at| u64::from(u16_at(end, at)));
    let long = [12, 16].map(|at| u64::from(u32_at(end, at)));
    let claims = [short[0], short[1], short[2], short[3], long[0], long[1]];
    let ends_at = tail.start + at as u64;
    let locator = at.checked_sub(LOCATOR_BYTES).map(|at| &tail.bytes[at..]);
    let Some(locator) = locator.filter(|bytes| bytes.starts_with(&LOCATOR)) else {
        return fit(claims, ends_at, tail.is_behind);
    };
    let agrees = |wide: &EndClaims| {
        (0..6).all(|field| claims[field] == ELSEWHERE[field] || claims[field] == wide[field])
    };
    match end64(reader, locator, ends_at - LOCATOR_BYTES as u64) {
        Ok((begins_at, wide)) if agrees(&wide) => fit(wide, begins_at, tail.is_behind),
        Ok((begins_at, wide)) => the_one_that_fits(
            fit(wide, begins_at, tail.is_behind),
            fit(claims, begins_at, tail.is_behind),
        ),
        Err(error)
            if (0..6).any(|field| claims[field] == ELSEWHERE[field])
                || (error.class() == Class::ArchiveUnsupported && error.kind().is_none()) =>
        {
            Err(error)
        }
        // What looks like a locator may be the end of a comment or name; a reader that needs zip64
        // says so. Or it is one, and the record that nobody needs is torn.
        Err(_) => fit(claims, ends_at, tail.is_behind).or_else(|error| {
            let begins_at = u64_at(locator, 8);
            reader.jump(begins_at);
            let is_there = begins_at < ends_at
                && read_exact::<4>(reader, "its zip64 end record")
                    .is_ok_and(|start| start == END64);
            match fit(claims, begins_at, tail.is_behind) {
                Ok(directory) if is_there && directory.base == 0 => Ok(Directory {
                    oddity: Some("its zip64 end record is torn, and not needed".to_owned()),
                    ..directory
                }),
                _ => Err(error),
            }
        }),
    }
}

/// Of two end records that disagree: both name the same directory, or only one names any.
fn the_one_that_fits(
    wide: Result<Directory, UnpackError>,
    narrow: Result<Directory, UnpackError>,
) -> Result<Directory, UnpackError> {
    let place = |directory: &Directory| (directory.start, directory.size, directory.base);
    let directory = match (wide, narrow) {
        (Ok(wide), Ok(narrow)) if place(&wide) == place(&narrow) => wide,
        (Ok(one), Err(_)) | (Err(_), Ok(one)) if one.base == 0 => one,
        _ => return Err(damaged("its two end records disagree")),
    };
    let oddity = Some("its two end records disagree, and one directory fits".to_owned());
    Ok(Directory { oddity, ..directory })
}

/// The directory that `claims` tell, if it ends at `ends_at`.
fn fit(claims: EndClaims, ends_at: u64, is_behind: bool) -> Result<Directory, UnpackError> {
    let [disk, directory_disk, members_here, members, size, start] = claims;
    let is_part = disk != 0 || directory_disk != 0;
    if members_here != members {
        return Err(split());
    }
    let base = start
        .checked_add(size)
        .and_then(|told| i64::try_from(i128::from(ends_at) - i128::from(told)).ok());
    let base = base.filter(|base| *base <= 0 || is_behind).filter(|_| size <= ends_at);
    let base = match base {
        Some(base) if base == 0 || !is_part => base,
        _ if is_part => return Err(split()),
        _ => return Err(damaged("its directory is not where its end says")),
    };
    if size > MAX_BYTES {
        return Err(UnpackError::new(
            Class::LimitArchive,
            format!("its directory has {size} bytes, more than {MAX_BYTES}"),
        ));
    }
    Ok(Directory { start: ends_at - size, size, is_behind, base, members, is_part, oddity: None })
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
    let ends_at = |begins_at: u64, record: &[u8]| {
        let size = u64_at(record, 4).checked_add(12)?;
        record.starts_with(&END64).then_some(())?;
        size.checked_add(begins_at)
    };
    let mut record_at = |begins_at: u64| {
        reader.jump(begins_at);
        let record: [u8; END64_BYTES] = read_exact(reader, "its zip64 end record")?;
        match ends_at(begins_at, &record) == Some(locator_at) {
            true => Ok(record),
            false => Err(damaged("its zip64 end record is not where it should be")),
        }
    };
    let end = match record_at(begins_at) {
        Ok(end) => end,
        // Counted from where the archive begins, which only the record tells: it has no extension
        // then.
        Err(_) => {
            begins_at = locator_at.saturating_sub(END64_BYTES as u64);
            record_at(begins_at)?
        }
    };
    reader.jump(begins_at + END64_BYTES as u64);
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
