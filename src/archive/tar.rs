//! The tar format: old, ustar, star, GNU and pax; every header proven by its checksum. Content has
//! none in this format.

#[cfg(test)]
pub(crate) mod tests;

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufRead, Read};

use crate::archive::contract::{Format, Member, MemberKind, Nature, UnpackError, Visit};
use crate::archive::limits::{MemberMeter, Meter};
use crate::archive::options::ArchiveOptions;
use crate::archive::spool_reader::SpoolReader;
use crate::archive::tar_blocks::{TarBlocks, TarContent};
use crate::archive::tar_extended::Extended;
use crate::archive::tar_header::{
    BLOCK, TarBlock, TarHeader, begins_tar, damaged, decoded, kind, parse,
};
use crate::archive::tar_links::{Links, is_same};
use crate::archive::tar_sparse::{Sparse, old_map};
use crate::archive::unread::Unread;
use crate::model::failure::Class;

/// tar, uncompressed; within a compression see `compressed`.
#[derive(Debug)]
pub struct Tar;

impl Format for Tar {
    fn name(&self) -> &'static str {
        "tar"
    }

    fn recognises(&self, head: &[u8], name: &str) -> bool {
        begins_tar(head) || (is_end(head) && name.to_ascii_lowercase().ends_with(".tar"))
    }

    fn nature(&self, mut archive: SpoolReader) -> Result<Nature, UnpackError> {
        let mut head = [0; BLOCK];
        let is_there = archive.size() >= 2 * BLOCK as u64;
        if !is_there {
            return Ok(Nature::Archive);
        }
        archive.read_exact(&mut head).map_err(UnpackError::from_read)?;
        // An empty tar is its end mark; what else begins with zeros is none.
        let is_other = is_end(&head) && !ends_in_zeros(&mut archive)?;
        Ok(if is_other { Nature::Other } else { Nature::Archive })
    }

    fn visit(
        &self,
        archive: SpoolReader,
        options: &ArchiveOptions,
        meter: &Meter,
        visit: &mut Visit<'_>,
    ) -> Result<(), UnpackError> {
        visit_members(
            &mut archive.clone(),
            &|| Ok(Box::new(archive.clone())),
            options,
            meter,
            visit,
        )
    }
}

/// Whether `head` begins with a block of the mark at a tar's end.
fn is_end(head: &[u8]) -> bool {
    head.first_chunk::<BLOCK>().is_some_and(|block| block.iter().all(|byte| *byte == 0))
}

fn ends_in_zeros(archive: &mut SpoolReader) -> Result<bool, UnpackError> {
    loop {
        let rest = archive.fill_buf().map_err(UnpackError::from_read)?;
        if rest.is_empty() {
            return Ok(true);
        }
        if rest.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        let zeros = rest.len();
        archive.consume(zeros);
    }
}

/// Opens the same tar once more, from its beginning.
pub type ReopenTar<'a> = dyn Fn() -> Result<Box<dyn Read + 'a>, UnpackError> + 'a;

/// A file with several links is kept in memory while they are visited, if it has no more bytes than
/// this; else the archive is read once for each.
const KEPT_BYTES: u64 = 1 << 20;
/// So many headers are remembered: as many as a record holds, and more.
const HEADERS_REMEMBERED: usize = 64;

/// [`Format::visit`] over a stream, which is read to its end. Hard links come after all other
/// members: what they hold stands earlier, so the archive is read `again` for them.
pub(crate) fn visit_members(
    input: &mut dyn Read,
    again: &ReopenTar<'_>,
    options: &ArchiveOptions,
    meter: &Meter,
    visit: &mut Visit<'_>,
) -> Result<(), UnpackError> {
    let (mut links, mut index, mut number) = (Links::default(), 0, 0);
    walk(input, options, meter, &mut |entry, content| {
        let (at, member) = (number, entry.member);
        number += 1;
        let member = match entry.link {
            Some(target) => match links.saw_link(member, &target) {
                Ok(()) => return Ok(WalkStep::On),
                Err(member) => member,
            },
            None => member,
        };
        if member.kind == MemberKind::File {
            links.saw_file(at, &member.raw_name);
        }
        let member = Member { index, ..member };
        index += 1;
        visit_one(&member, content, meter, visit)?;
        Ok(WalkStep::On)
    })?;
    while let Some((last, left)) = links.last() {
        number = 0;
        walk(&mut *again()?, options, meter, &mut |entry, content| {
            let small = content.size() <= KEPT_BYTES;
            let waiting = links.take(number, small);
            let step = if number == last { WalkStep::Enough } else { WalkStep::On };
            number += 1;
            if waiting.is_empty() {
                return Ok(step);
            }
            if waiting.iter().any(|link| !is_same(&link.target, &entry.member.raw_name)) {
                return Err(damaged("a hard link and its file are called by different names"));
            }
            let mut kept = Vec::new();
            if small {
                content.read_to_end(&mut kept).map_err(UnpackError::from_read)?;
            }
            for link in waiting {
                let size = Some(content.size());
                let modified = entry.member.modified.or(link.member.modified);
                let member =
                    Member { index, kind: MemberKind::File, size, modified, ..link.member };
                index += 1;
                match small {
                    true => visit_one(&member, &mut &kept[..], meter, visit)?,
                    false => visit_one(&member, content, meter, visit)?,
                }
            }
            Ok(step)
        })?;
        if links.last().is_some_and(|(_, now)| now >= left) {
            return Err(UnpackError::new(
                Class::Internal,
                "the files that hard links name are gone when read again",
            ));
        }
    }
    Ok(())
}

fn visit_one(
    member: &Member,
    content: &mut dyn Read,
    meter: &Meter,
    visit: &mut Visit<'_>,
) -> Result<(), UnpackError> {
    let meter = meter.member().map_err(|error| error.at(&member.name))?;
    let mut content = MeteredContent { content, meter, name: &member.name };
    visit(member, &mut content)?;
    // `Ok` from us means read to its end, whatever `visit` left unread.
    io::copy(&mut content, &mut io::sink()).map_err(UnpackError::from_read)?;
    Ok(())
}

/// Content that is counted as a member's.
struct MeteredContent<'a> {
    content: &'a mut dyn Read,
    meter: MemberMeter<'a>,
    name: &'a str,
}

impl Read for MeteredContent<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(into).map_err(UnpackError::from_read);
        let counted = read.and_then(|read| self.meter.bytes(read as u64).map(|()| read));
        counted.map_err(|error| error.at(self.name).into_read())
    }
}

/// One member, as its headers tell it.
struct TarEntry {
    /// All but its index.
    member: Member,
    /// The file that it is another name of.
    link: Option<Vec<u8>>,
}

/// Whether to read on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WalkStep {
    On,
    Enough,
}

type Each<'a> = dyn FnMut(TarEntry, &mut TarContent<'_, '_>) -> Result<WalkStep, UnpackError> + 'a;

/// Calls `each` for every member, in their order.
fn walk(
    input: &mut dyn Read,
    options: &ArchiveOptions,
    meter: &Meter,
    each: &mut Each<'_>,
) -> Result<(), UnpackError> {
    let mut blocks = TarBlocks::of(input);
    let (mut global, mut extended) = (Extended::default(), Extended::default());
    let mut seen = VecDeque::with_capacity(HEADERS_REMEMBERED);
    loop {
        let start = blocks.position();
        let Some(block) = blocks.next()? else {
            // Some writers leave the mark out, and one that was cut between two members has none:
            // nothing tells which. What an extended header announced must have come.
            if !extended.is_none() {
                return Err(damaged(format!("it ends at byte {start} after an extended header")));
            }
            meter.doubt(format!(
                "the tar ends at byte {start} without its end mark: what followed may be missing"
            ));
            return Ok(());
        };
        if block == [0; BLOCK] {
            return blocks.end(&|block| seen.contains(&hash(block)), meter);
        }
        let header = parse(&block, start)?;
        if seen.len() == HEADERS_REMEMBERED {
            seen.pop_front();
        }
        seen.push_back(hash(&block));
        match header.kind {
            kind::PAX | kind::PAX_SUN => extended.read_pax(&blocks.extension(&header)?)?,
            kind::PAX_GLOBAL => global.read_pax(&blocks.extension(&header)?)?,
            kind::GNU_LONG_NAME => extended.read_long_name(&blocks.extension(&header)?),
            kind::GNU_LONG_LINK => extended.read_long_link(&blocks.extension(&header)?),
            kind::GNU_VOLUME_LABEL | kind::SUN_ACL | kind::SUN_ATTRIBUTES => {
                blocks.skip(header.size)?
            }
            _ => {
                let told = std::mem::take(&mut extended).over(&global);
                let is_global = global.size.is_some();
                if visit_entry(&mut blocks, (&header, &block), told, is_global, options, each)?
                    == WalkStep::Enough
                {
                    return Ok(());
                }
            }
        }
    }
}

fn visit_entry(
    blocks: &mut TarBlocks<'_>,
    (header, block): (&TarHeader, &TarBlock),
    told: Extended,
    has_global_size: bool,
    options: &ArchiveOptions,
    each: &mut Each<'_>,
) -> Result<WalkStep, UnpackError> {
    let raw_name = told.name().unwrap_or(&header.name).clone();
    let name = decoded(&raw_name, options.charset);
    let at = |error: UnpackError| error.at(&name);
    told.is_readable().map_err(at)?;
    if header.kind == kind::GNU_CONTINUED {
        return Err(at(UnpackError::unread(Unread::TarVolume)));
    }
    let claimed = told.size.unwrap_or(header.size);
    if has_global_size && header.size != 0 && header.size != claimed {
        return Err(at(damaged(format!(
            "its header tells {} bytes, and a header for all members {claimed}",
            header.size
        ))));
    }
    let modified = told.modified.or(header.modified);
    let link = told.link.clone().unwrap_or_else(|| header.link.clone());
    let (kind, mut data) =
        kind_and_size(blocks, header.kind, &name, claimed, told.is_pax).map_err(at)?;
    let sparse = sparse(blocks, (header, block), told, &mut data).map_err(at)?;
    if header.kind == kind::GNU_DIRECTORY {
        // Its content lists the names of what was in it when an incremental backup was made.
        blocks.skip(data).map_err(at)?;
        data = 0;
    }
    let mut content = TarContent::new(blocks, data, sparse);
    let plain = without_here(&name).to_owned();
    let member = Member {
        index: 0,
        within: Vec::new(),
        raw_name,
        name: plain,
        kind,
        size: Some(content.size()),
        modified,
    };
    let is_link = header.kind == kind::HARD_LINK && kind == MemberKind::Special;
    let step = each(TarEntry { member, link: is_link.then_some(link) }, &mut content)?;
    content.end().map_err(at)?;
    Ok(step)
}

/// Where the holes of a file are, if it has any; a map before the data is taken from `data`.
fn sparse(
    blocks: &mut TarBlocks<'_>,
    (header, block): (&TarHeader, &TarBlock),
    told: Extended,
    data: &mut u64,
) -> Result<Option<Sparse>, UnpackError> {
    let (pieces, size) = match header.kind {
        kind::GNU_SPARSE => old_map(block, &mut || {
            blocks.next()?.ok_or_else(|| damaged("it ends within a map of holes"))
        })?,
        kind::OLD_FILE | kind::FILE | kind::CONTIGUOUS_FILE if told.sparse.is_sparse() => {
            let has_leading_map = told.sparse.has_leading_map()?;
            let (pieces, size) = told.sparse.parts()?;
            if has_leading_map {
                let (pieces, bytes) = blocks.map(*data)?;
                *data = data
                    .checked_sub(bytes)
                    .ok_or_else(|| damaged("its map of holes is larger than it"))?;
                (pieces, size)
            } else {
                (pieces, size)
            }
        }
        _ => return Ok(None),
    };
    Sparse::new(pieces, size, *data).map(Some)
}

/// What a member of this type is, and how many bytes of content follow its header.
fn kind_and_size(
    blocks: &mut TarBlocks<'_>,
    kind: u8,
    name: &str,
    claimed: u64,
    is_pax: bool,
) -> Result<(MemberKind, u64), UnpackError> {
    match kind {
        kind::OLD_FILE | kind::FILE if claimed == 0 && name.ends_with('/') => {
            Ok((MemberKind::Directory, 0))
        }
        kind::OLD_FILE | kind::FILE | kind::CONTIGUOUS_FILE | kind::GNU_SPARSE => {
            Ok((MemberKind::File, claimed))
        }
        kind::GNU_DIRECTORY => Ok((MemberKind::Directory, claimed)),
        _ if claimed == 0 => Ok((nameless(kind), 0)),
        // With pax a hard link may bring the content of its file.
        kind::HARD_LINK if is_pax => Ok((MemberKind::File, claimed)),
        kind::HARD_LINK..=kind::PIPE => {
            // Old writers put there the size of what it links to, or room to be kept for a
            // directory.
            if blocks.header_follows()? {
                return Ok((nameless(kind), 0));
            }
            match kind {
                kind::HARD_LINK => Ok((MemberKind::File, claimed)),
                _ => Err(damaged(format!(
                    "it is a link, directory or device and claims {claimed} bytes of content"
                ))),
            }
        }
        // What has a type that nobody knows is a file, says POSIX.
        _ => Ok((MemberKind::File, claimed)),
    }
}

/// What has no content.
fn nameless(kind: u8) -> MemberKind {
    match kind {
        kind::DIRECTORY => MemberKind::Directory,
        kind::SOFT_LINK => MemberKind::Link,
        _ => MemberKind::Special,
    }
}

/// `./a` is how `tar` names what it packs when it is told to pack `.`.
fn without_here(name: &str) -> &str {
    let mut rest = name;
    while let Some(shorter) = rest.strip_prefix("./").map(|shorter| shorter.trim_start_matches('/'))
        && !shorter.is_empty()
    {
        rest = shorter;
    }
    rest
}

fn hash(block: &TarBlock) -> u64 {
    let mut hasher = DefaultHasher::new();
    block.hash(&mut hasher);
    hasher.finish()
}
