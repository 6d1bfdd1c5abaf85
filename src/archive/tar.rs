//! The tar format: old, ustar, GNU and pax; every header proven by its checksum. Content has none in this format.

use std::io::{self, Read};

use crate::archive::contract::{Format, Member, MemberKind, MemberTime, Nature, Options, UnpackError, Visit};
use crate::archive::limits::{MemberMeter, Meter};
use crate::archive::spool::SpoolReader;
use crate::archive::tar_header::{BLOCK, Block, Header, begins_tar, checksum_holds, damaged, decoded, kind, parse, pax_time, records, until_nul};
use crate::failure::Class;

/// tar, uncompressed; within a compression see `compressed`.
#[derive(Debug)]
pub struct Tar;

impl Format for Tar {
    fn name(&self) -> &'static str {
        "tar"
    }

    fn recognises(&self, head: &[u8], _name: &str) -> bool {
        begins_tar(head)
    }

    fn nature(&self, _archive: SpoolReader) -> Result<Nature, UnpackError> {
        Ok(Nature::Archive)
    }

    fn visit(&self, mut archive: SpoolReader, options: &Options, meter: &Meter, visit: &mut Visit<'_>) -> Result<(), UnpackError> {
        visit_members(&mut archive, options, meter, visit)
    }
}

/// The largest extended header that is read: names and numbers, nothing that needs more.
const MOST_EXTENDED_BYTES: u64 = 1 << 20;

/// [`Format::visit`] over a stream, which is read to its end.
pub fn visit_members(input: &mut dyn Read, options: &Options, meter: &Meter, visit: &mut Visit<'_>) -> Result<(), UnpackError> {
    let mut blocks = Blocks { input, at: 0, ahead: None };
    let (mut global, mut extended, mut index) = (Extended::default(), Extended::default(), 0);
    loop {
        let start = blocks.at;
        let Some(block) = blocks.next()? else {
            // A tar may end without its mark; what an extended header announced must have come, though.
            return if extended.is_none() { Ok(()) } else { Err(damaged(format!("it ends at byte {start} after an extended header"))) };
        };
        if block == [0; BLOCK] {
            return blocks.only_zeros_follow();
        }
        let header = parse(&block, start)?;
        match header.kind {
            kind::PAX | kind::PAX_SUN => extended.read_pax(&blocks.extension(&header)?)?,
            kind::PAX_GLOBAL => global.read_global(&blocks.extension(&header)?)?,
            kind::GNU_LONG_NAME => extended.long_name = Some(until_nul(&blocks.extension(&header)?).to_vec()),
            kind::GNU_LONG_LINK => extended.is_long_link = !blocks.extension(&header)?.is_empty(),
            kind::GNU_VOLUME_LABEL => blocks.skip(header.size)?,
            _ => {
                let extended = std::mem::take(&mut extended);
                visit_one(&mut blocks, &header, (extended, &global), index, (options, meter), visit)?;
                index += 1;
            }
        }
    }
}

fn visit_one(
    blocks: &mut Blocks<'_>,
    header: &Header,
    (extended, global): (Extended, &Extended),
    index: usize,
    (options, meter): (&Options, &Meter),
    visit: &mut Visit<'_>,
) -> Result<(), UnpackError> {
    let raw_name = extended.sparse_name.as_ref().or(extended.path.as_ref()).or(extended.long_name.as_ref()).unwrap_or(&header.name).clone();
    let name = decoded(&raw_name, options.charset);
    let at = |error: UnpackError| error.at(&name);
    if let Some(what) = extended.unsupported.or(global.unsupported).or(unsupported(header.kind)) {
        return Err(at(UnpackError::new(Class::ArchiveUnsupported, what)));
    }
    if !is_known(header.kind) {
        let kind = crate::model::printable(&[header.kind]);
        return Err(at(UnpackError::new(Class::ArchiveUnsupported, format!("it is of the unknown type `{kind}`"))));
    }
    let claimed = extended.size.unwrap_or(header.size);
    let (kind, size) = blocks.kind_and_size(header.kind, &name, claimed, extended.is_pax).map_err(at)?;
    let meter = meter.member().map_err(at)?;
    if header.kind == kind::GNU_DIRECTORY {
        // Its content lists the names of what was in it when an incremental backup was made.
        blocks.skip(size).map_err(at)?;
    }
    let told = if kind == MemberKind::File { size } else { 0 };
    let modified = extended.modified.or(global.modified).or(header.modified);
    let plain = without_here(&name).to_owned();
    let member = Member { index, within: Vec::new(), raw_name: raw_name.clone(), name: plain, kind, size: Some(told), modified };
    let mut content = Content { blocks, left: told, meter, name: &name, failed: false };
    visit(&member, &mut content)?;
    // `Ok` from us means read to its end, whatever `visit` left unread.
    io::copy(&mut content, &mut io::sink()).map_err(UnpackError::from_read)?;
    blocks.skip_padding(told).map_err(at)
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

fn is_known(kind: u8) -> bool {
    matches!(kind, kind::OLD_FILE | kind::FILE..=kind::CONTIGUOUS_FILE | kind::GNU_DIRECTORY)
}

fn unsupported(kind: u8) -> Option<&'static str> {
    match kind {
        kind::GNU_SPARSE => Some(SPARSE),
        kind::GNU_CONTINUED => Some(VOLUMES),
        _ => None,
    }
}

const SPARSE: &str = "it is sparse: pack it without `--sparse`";
const VOLUMES: &str = "it is continued from another volume: a tar in several volumes is not read";

/// What extended headers say of the member that follows them.
#[derive(Default)]
struct Extended {
    is_pax: bool,
    is_long_link: bool,
    path: Option<Vec<u8>>,
    /// What a sparse file is called, which stands under a made-up name.
    sparse_name: Option<Vec<u8>>,
    long_name: Option<Vec<u8>>,
    size: Option<u64>,
    modified: Option<MemberTime>,
    unsupported: Option<&'static str>,
}

impl Extended {
    fn is_none(&self) -> bool {
        !self.is_pax && !self.is_long_link && self.long_name.is_none()
    }

    /// Keys that are not named here tell nothing of what is stored: owners, comments, attributes, targets of links.
    fn read_pax(&mut self, data: &[u8]) -> Result<(), UnpackError> {
        self.is_pax = true;
        for record in records(data) {
            let (key, value) = record?;
            match key {
                b"path" => self.path = Some(value.to_vec()).filter(|path| !path.is_empty()),
                b"mtime" => self.modified = pax_time(value),
                b"size" if value.is_empty() => self.size = None,
                b"size" => {
                    let size = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                    self.size = Some(size.ok_or_else(|| damaged("the size in a pax header is no number"))?);
                }
                _ => {
                    if key == b"GNU.sparse.name" {
                        self.sparse_name = Some(value.to_vec());
                    }
                    self.unsupported = self.unsupported.or(unsupported_key(key));
                }
            }
        }
        Ok(())
    }

    /// A header for all members that follow it. Nobody can share a name or a size: readers disagree on what that means.
    fn read_global(&mut self, data: &[u8]) -> Result<(), UnpackError> {
        let mut read = Self::default();
        read.read_pax(data)?;
        let shared = (read.size.is_some() || read.path.is_some()).then_some("a global pax header gives all members one name or size");
        self.modified = read.modified.or(self.modified);
        self.unsupported = self.unsupported.or(read.unsupported).or(shared);
        Ok(())
    }
}

fn unsupported_key(key: &[u8]) -> Option<&'static str> {
    match key {
        b"SCHILY.realsize" | b"SUN.holesdata" => Some(SPARSE),
        key if key.starts_with(b"GNU.sparse.") => Some(SPARSE),
        key if key.starts_with(b"GNU.volume.") => Some(VOLUMES),
        _ => None,
    }
}

/// The blocks of a tar, in order.
struct Blocks<'a> {
    input: &'a mut dyn Read,
    /// Bytes that were taken.
    at: u64,
    /// A block that was looked at, and how much of it was taken since.
    ahead: Option<(Block, usize)>,
}

impl Blocks<'_> {
    /// The next block; `None` where the archive ends with the one before.
    fn next(&mut self) -> Result<Option<Block>, UnpackError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.read(&mut block[filled..])? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(self.truncated("a header")),
                read => filled += read,
            }
        }
        Ok(Some(block))
    }

    fn read(&mut self, into: &mut [u8]) -> Result<usize, UnpackError> {
        if let Some((block, taken)) = &mut self.ahead {
            let read = into.len().min(BLOCK - *taken);
            into[..read].copy_from_slice(&block[*taken..*taken + read]);
            *taken += read;
            if *taken == BLOCK {
                self.ahead = None;
            }
            self.at += read as u64;
            return Ok(read);
        }
        loop {
            match self.input.read(into) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(UnpackError::from_read(error)),
                Ok(read) => {
                    self.at += read as u64;
                    return Ok(read);
                }
            }
        }
    }

    fn truncated(&self, within: &str) -> UnpackError {
        damaged(format!("it ends within {within}, at byte {}", self.at))
    }

    /// The content of an extended header.
    fn extension(&mut self, header: &Header) -> Result<Vec<u8>, UnpackError> {
        if header.size > MOST_EXTENDED_BYTES {
            let cause = format!("an extended header claims {} bytes; more than {MOST_EXTENDED_BYTES} are not read", header.size);
            return Err(UnpackError::new(Class::LimitArchive, cause));
        }
        let mut data = vec![0; header.size as usize];
        let mut filled = 0;
        while filled < data.len() {
            match self.read(&mut data[filled..])? {
                0 => return Err(self.truncated("an extended header")),
                read => filled += read,
            }
        }
        self.skip_padding(header.size)?;
        Ok(data)
    }

    /// Skips content of `size` bytes, with its padding.
    fn skip(&mut self, size: u64) -> Result<(), UnpackError> {
        self.skip_bytes(size)?;
        self.skip_padding(size)
    }

    fn skip_padding(&mut self, size: u64) -> Result<(), UnpackError> {
        self.skip_bytes(size.wrapping_neg() % BLOCK as u64)
    }

    fn skip_bytes(&mut self, mut left: u64) -> Result<(), UnpackError> {
        let mut buffer = [0; 8 << 10];
        while left > 0 {
            let wish = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            match self.read(&mut buffer[..wish])? {
                0 => return Err(self.truncated("content or its padding")),
                read => left -= read as u64,
            }
        }
        Ok(())
    }

    /// After the end mark there may be more zeros, as tapes want it, and nothing else.
    fn only_zeros_follow(&mut self) -> Result<(), UnpackError> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let start = self.at;
            let read = self.read(&mut buffer)?;
            if read == 0 {
                return Ok(());
            }
            if let Some(at) = buffer[..read].iter().position(|byte| *byte != 0) {
                return Err(damaged(format!("something follows the end of the archive, at byte {}", start + at as u64)));
            }
        }
    }

    /// What a member of this type is, and how many bytes of content follow its header.
    fn kind_and_size(&mut self, kind: u8, name: &str, claimed: u64, is_pax: bool) -> Result<(MemberKind, u64), UnpackError> {
        match kind {
            kind::OLD_FILE | kind::FILE if claimed == 0 && name.ends_with('/') => Ok((MemberKind::Directory, 0)),
            kind::OLD_FILE | kind::FILE | kind::CONTIGUOUS_FILE => Ok((MemberKind::File, claimed)),
            kind::GNU_DIRECTORY => Ok((MemberKind::Directory, claimed)),
            _ if claimed == 0 => Ok((nameless(kind), 0)),
            // With pax a hard link may bring the content of its file.
            kind::HARD_LINK if is_pax => Ok((MemberKind::File, claimed)),
            // Old writers put there the size of what it links to, or room to be kept for a directory.
            _ if self.header_follows()? => Ok((nameless(kind), 0)),
            kind::HARD_LINK => Ok((MemberKind::File, claimed)),
            _ => Err(damaged(format!("it is a link, directory or device and claims {claimed} bytes of content"))),
        }
    }

    fn header_follows(&mut self) -> Result<bool, UnpackError> {
        let at = self.at;
        let block = self.next()?;
        self.ahead = block.map(|block| (block, 0));
        self.at = at;
        Ok(block.is_none_or(|block| block == [0; BLOCK] || checksum_holds(&block)))
    }
}

/// What has no content.
fn nameless(kind: u8) -> MemberKind {
    if kind == kind::DIRECTORY { MemberKind::Directory } else { MemberKind::Special }
}

/// The content of a member. Its end is reported only once all of it was there.
struct Content<'a, 'b> {
    blocks: &'a mut Blocks<'b>,
    left: u64,
    meter: MemberMeter<'a>,
    name: &'a str,
    failed: bool,
}

impl Content<'_, '_> {
    fn next(&mut self, into: &mut [u8]) -> Result<usize, UnpackError> {
        if self.failed {
            return Err(damaged("it failed before"));
        }
        let wish = into.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if wish == 0 {
            return Ok(0);
        }
        let read = self.blocks.read(&mut into[..wish])?;
        if read == 0 {
            return Err(self.blocks.truncated(&format!("content of which {} bytes are missing", self.left)));
        }
        self.left -= read as u64;
        self.meter.bytes(read as u64)?;
        Ok(read)
    }
}

impl Read for Content<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.next(into).map_err(|error| {
            self.failed = true;
            error.at(self.name).into_read()
        })
    }
}
