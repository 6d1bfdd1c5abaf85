//! The headers of 7z: where packed streams are, how they are coded, and which members come of them.

use crate::archive::contract::UnpackError;
use crate::archive::limits::Meter;
use crate::archive::tar_header::damaged;
use crate::model::failure::Class;

/// What all headers together say.
#[derive(Debug, Default)]
pub struct Contents {
    /// Packed streams and how to unpack them.
    pub streams: SevenZipStreams,
    /// Members, in the archive's order.
    pub entries: Vec<SevenZipEntry>,
}

/// Packed streams and the folders that unpack them.
#[derive(Debug, Default)]
pub(crate) struct SevenZipStreams {
    /// Where the first packed stream begins, after the signature header.
    pub pack_start: u64,
    /// The sizes of the packed streams, one behind the other.
    pub pack_sizes: Vec<u64>,
    /// Folders, in order.
    pub folders: Vec<SevenZipFolder>,
}

/// Coders that belong together and what comes out of them: the contents of members, one after the
/// other.
#[derive(Debug, Default)]
pub(crate) struct SevenZipFolder {
    /// The coders.
    pub coders: Vec<Coder>,
    /// Which input of a coder is fed by which coder's output: `(input, output)`.
    pub binds: Vec<(usize, usize)>,
    /// Inputs that are fed by packed streams, in the order of those.
    pub packed: Vec<usize>,
    /// Which of the packed streams is the first.
    pub first_packed: usize,
    /// Bytes that come out of each coder.
    pub sizes: Vec<u64>,
    /// CRC-32 of all that comes out.
    pub crc: Option<u32>,
    /// The contents of members.
    pub parts: Vec<PartOf>,
}

/// A part of what comes out of a folder: one member's content.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PartOf {
    /// Its bytes.
    pub size: u64,
    /// Their CRC-32.
    pub crc: Option<u32>,
}

/// One step of unpacking.
#[derive(Debug)]
pub(crate) struct Coder {
    /// Its identifier.
    pub method: Vec<u8>,
    /// How many inputs it has. It has one output.
    pub inputs: usize,
    /// Its parameters.
    pub properties: Vec<u8>,
}

/// What a header says of one member.
#[derive(Clone, Debug, Default)]
pub(crate) struct SevenZipEntry {
    /// Its name in UTF-16; none if it was packed from a pipe.
    pub name: Vec<u16>,
    /// Whether it has content.
    pub has_content: bool,
    /// Without content: whether it is a file all the same.
    pub is_empty_file: bool,
    /// Without content: whether it only says that something is to be deleted.
    pub is_deletion: bool,
    /// When it was last modified: 100 ns since 1601.
    pub modified: Option<u64>,
    /// Windows attributes, and a Unix mode above them.
    pub attributes: u32,
}

impl SevenZipFolder {
    /// The coder whose output is the folder's.
    pub fn main(&self) -> Option<usize> {
        (0..self.coders.len()).find(|output| !self.binds.iter().any(|(_, bound)| bound == output))
    }

    /// How many bytes come out.
    pub fn size(&self) -> u64 {
        self.main().and_then(|main| self.sizes.get(main)).copied().unwrap_or(0)
    }

    /// The first input of the coder at `index`.
    pub(crate) fn first_input(&self, index: usize) -> usize {
        self.coders[..index].iter().map(|coder| coder.inputs).sum()
    }
}

pub const HEADER: u8 = 0x01;
const PROPERTIES: u8 = 0x02;
const MAIN_STREAMS: u8 = 0x04;
const FILES: u8 = 0x05;
const PACK_INFO: u8 = 0x06;
const UNPACK_INFO: u8 = 0x07;
const PARTS_INFO: u8 = 0x08;
const SIZE: u8 = 0x09;
const CRC: u8 = 0x0A;
const FOLDER: u8 = 0x0B;
const CODER_SIZES: u8 = 0x0C;
const PART_COUNTS: u8 = 0x0D;
const EMPTY_STREAM: u8 = 0x0E;
const EMPTY_FILE: u8 = 0x0F;
const ANTI: u8 = 0x10;
const NAMES: u8 = 0x11;
const MODIFIED: u8 = 0x14;
const ATTRIBUTES: u8 = 0x15;
pub(crate) const PACKED_HEADER: u8 = 0x17;
const END: u8 = 0;

/// BCJ2 has four coders, and encryption doubles that.
const MOST_CODERS: u64 = 8;
const MOST_INPUTS: u64 = 4;

/// Reads a header. Every count is compared with what is left of it, or with a limit, before room is
/// made for it.
pub(crate) struct SevenZipHeaderReader<'a> {
    data: &'a [u8],
    meter: &'a Meter,
}

type Result<T> = std::result::Result<T, UnpackError>;

fn wrong(what: &str) -> UnpackError {
    damaged(format!("its header is wrong: {what}"))
}

impl<'a> SevenZipHeaderReader<'a> {
    /// Over `data`, with counts of what may be members limited by `meter`.
    pub fn new(data: &'a [u8], meter: &'a Meter) -> Self {
        Self { data, meter }
    }

    /// The next byte.
    pub fn byte(&mut self) -> Result<u8> {
        let (first, rest) = self.data.split_first().ok_or_else(|| wrong("it ends early"))?;
        self.data = rest;
        Ok(*first)
    }

    fn take(&mut self, count: u64) -> Result<&'a [u8]> {
        let taken = usize::try_from(count).ok().and_then(|count| self.data.split_at_checked(count));
        let (taken, rest) = taken.ok_or_else(|| wrong("it ends early"))?;
        self.data = rest;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(self.take(4)?.try_into().map_or(0, u32::from_le_bytes))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(self.take(8)?.try_into().map_or(0, u64::from_le_bytes))
    }

    /// As many high bits as the first byte has set say how many bytes follow; its low bits are the
    /// highest of the number.
    fn number(&mut self) -> Result<u64> {
        let first = self.byte()?;
        let more = first.leading_ones();
        let mut number = 0;
        for index in 0..more.min(8) {
            number |= u64::from(self.byte()?) << (8 * index);
        }
        let high = u64::from(first) & (0x7F_u64 >> more.min(7));
        Ok(if more < 7 { number | high << (8 * more) } else { number })
    }

    fn expect(&mut self, id: u8) -> Result<()> {
        if self.byte()? == id {
            Ok(())
        } else {
            Err(wrong("something else stands where a part of it should"))
        }
    }

    /// A count of something of which there is not more than of members.
    fn count(&mut self) -> Result<usize> {
        let count = self.number()?;
        self.meter.claimed_members(count)?;
        Ok(count as usize)
    }

    fn bits(&mut self, count: usize) -> Result<Vec<bool>> {
        let bytes = self.take(count.div_ceil(8) as u64)?;
        Ok((0..count).map(|at| bytes[at / 8] & (0x80 >> (at % 8)) != 0).collect())
    }

    fn all_or_bits(&mut self, count: usize) -> Result<Vec<bool>> {
        if self.byte()? != 0 { Ok(vec![true; count]) } else { self.bits(count) }
    }

    fn digests(&mut self, count: usize) -> Result<Vec<Option<u32>>> {
        let told = self.all_or_bits(count)?;
        told.into_iter().map(|is_told| is_told.then(|| self.u32()).transpose()).collect()
    }

    /// The header proper, without its first byte.
    pub fn contents(&mut self) -> Result<Contents> {
        let mut contents = Contents::default();
        let mut id = self.byte()?;
        if id == PROPERTIES {
            while self.byte()? != END {
                let size = self.number()?;
                self.take(size)?;
            }
            id = self.byte()?;
        }
        if id == MAIN_STREAMS {
            contents.streams = self.streams()?;
            id = self.byte()?;
        }
        if id == FILES {
            contents.entries = self.entries()?;
            id = self.byte()?;
        }
        let parts: usize = contents.streams.folders.iter().map(|folder| folder.parts.len()).sum();
        let with_content = contents.entries.iter().filter(|entry| entry.has_content).count();
        match id {
            END if parts == with_content => Ok(contents),
            END => Err(wrong(&format!(
                "{with_content} members have content, and there are contents for {parts}"
            ))),
            _ => Err(UnpackError::new(
                Class::ArchiveUnsupported,
                format!("its header has a part of the unknown kind {id}"),
            )),
        }
    }

    /// Packed streams and folders.
    pub fn streams(&mut self) -> Result<SevenZipStreams> {
        let mut streams = SevenZipStreams::default();
        let mut id = self.byte()?;
        if id == PACK_INFO {
            streams.pack_start = self.number()?;
            let count = self.number()?;
            self.meter.claimed_members(count / MOST_INPUTS)?;
            id = self.byte()?;
            if id == SIZE {
                streams.pack_sizes = (0..count).map(|_| self.number()).collect::<Result<_>>()?;
                id = self.byte()?;
            }
            if id == CRC {
                self.digests(streams.pack_sizes.len())?;
                id = self.byte()?;
            }
            if id != END {
                return Err(wrong("the list of packed streams does not end"));
            }
            id = self.byte()?;
        }
        if id == UNPACK_INFO {
            streams.folders = self.folders(streams.pack_sizes.len())?;
            id = self.byte()?;
        }
        if id == PARTS_INFO {
            self.parts(&mut streams.folders)?;
            id = self.byte()?;
        } else {
            streams.folders.iter_mut().for_each(|folder| {
                folder.parts = vec![PartOf { size: folder.size(), crc: folder.crc }]
            });
        }
        if id == END { Ok(streams) } else { Err(wrong("the list of streams does not end")) }
    }

    fn folders(&mut self, packed: usize) -> Result<Vec<SevenZipFolder>> {
        self.expect(FOLDER)?;
        let count = self.count()?;
        self.inline()?;
        let mut first_packed = 0;
        let mut folders = Vec::new();
        for _ in 0..count {
            let folder = SevenZipFolder { first_packed, ..self.folder()? };
            first_packed += folder.packed.len();
            folders.push(folder);
        }
        if first_packed > packed {
            return Err(wrong("it names packed streams that are not there"));
        }
        self.expect(CODER_SIZES)?;
        for folder in &mut folders {
            folder.sizes = folder.coders.iter().map(|_| self.number()).collect::<Result<_>>()?;
        }
        let mut id = self.byte()?;
        if id == CRC {
            let digests = self.digests(folders.len())?;
            folders.iter_mut().zip(digests).for_each(|(folder, crc)| folder.crc = crc);
            id = self.byte()?;
        }
        if id == END { Ok(folders) } else { Err(wrong("the list of folders does not end")) }
    }

    /// Parts of the header could stand elsewhere, says the format; nobody writes that.
    fn inline(&mut self) -> Result<()> {
        match self.byte()? {
            0 => Ok(()),
            _ => Err(UnpackError::new(
                Class::ArchiveUnsupported,
                "a part of its header stands elsewhere",
            )),
        }
    }

    fn folder(&mut self) -> Result<SevenZipFolder> {
        let count = self.number()?;
        if count == 0 || count > MOST_CODERS {
            return Err(wrong(&format!("a folder has {count} coders")));
        }
        let mut folder = SevenZipFolder::default();
        for _ in 0..count {
            folder.coders.push(self.coder()?);
        }
        let inputs: usize = folder.coders.iter().map(|coder| coder.inputs).sum();
        let outputs = folder.coders.len();
        for _ in 1..outputs {
            let (input, output) = (self.number()?, self.number()?);
            folder.binds.push((to_index(input, inputs)?, to_index(output, outputs)?));
        }
        let free =
            inputs.checked_sub(outputs - 1).ok_or_else(|| wrong("a folder has too few inputs"))?;
        let is_bound = |input: &usize| folder.binds.iter().any(|(bound, _)| bound == input);
        folder.packed = match free {
            1 => (0..inputs).filter(|input| !is_bound(input)).collect(),
            _ => (0..free).map(|_| to_index(self.number()?, inputs)).collect::<Result<_>>()?,
        };
        Ok(folder)
    }

    fn coder(&mut self) -> Result<Coder> {
        let flags = self.byte()?;
        if flags & 0xC0 != 0 {
            return Err(wrong("a coder has flags that there are not"));
        }
        let method = self.take(u64::from(flags & 0x0F))?.to_vec();
        let (inputs, outputs) =
            if flags & 0x10 != 0 { (self.number()?, self.number()?) } else { (1, 1) };
        if inputs == 0 || inputs > MOST_INPUTS || outputs != 1 {
            return Err(UnpackError::new(
                Class::ArchiveUnsupported,
                format!("a coder has {inputs} inputs and {outputs} outputs"),
            ));
        }
        let properties = if flags & 0x20 != 0 {
            let size = self.number()?;
            self.take(size)?.to_vec()
        } else {
            Vec::new()
        };
        Ok(Coder { method, inputs: inputs as usize, properties })
    }

    fn parts(&mut self, folders: &mut [SevenZipFolder]) -> Result<()> {
        let mut id = self.byte()?;
        let mut counts = vec![1; folders.len()];
        if id == PART_COUNTS {
            let mut total = 0u64;
            for count in &mut counts {
                *count = self.number()?;
                total = total.saturating_add(*count);
                self.meter.claimed_members(total)?;
            }
            id = self.byte()?;
        }
        let is_told = id == SIZE;
        for (folder, count) in folders.iter_mut().zip(counts) {
            let mut left = folder.size();
            for at in 1..=count {
                let is_last = at == count;
                if !is_last && !is_told {
                    return Err(wrong("the sizes of members are missing"));
                }
                let size = if is_last { left } else { self.number()? };
                left = left
                    .checked_sub(size)
                    .ok_or_else(|| wrong("members are larger than what they are unpacked from"))?;
                folder.parts.push(PartOf { size, crc: None });
            }
        }
        if is_told {
            id = self.byte()?;
        }
        let inherits = |folder: &SevenZipFolder| folder.parts.len() == 1 && folder.crc.is_some();
        let unknown = folders
            .iter()
            .filter(|folder| !inherits(folder))
            .map(|folder| folder.parts.len())
            .sum();
        let mut digests = Vec::new();
        if id == CRC {
            digests = self.digests(unknown)?;
            id = self.byte()?;
        }
        let mut digests = digests.into_iter();
        for folder in folders {
            let inherited = folder.crc.filter(|_| folder.parts.len() == 1);
            folder
                .parts
                .iter_mut()
                .for_each(|part| part.crc = inherited.or_else(|| digests.next().flatten()));
        }
        if id == END { Ok(()) } else { Err(wrong("the list of members' sizes does not end")) }
    }

    fn entries(&mut self) -> Result<Vec<SevenZipEntry>> {
        let count = self.count()?;
        let mut entries =
            vec![SevenZipEntry { has_content: true, ..SevenZipEntry::default() }; count];
        loop {
            let id = self.byte()?;
            if id == END {
                break;
            }
            let size = self.number()?;
            let mut property = SevenZipHeaderReader::new(self.take(size)?, self.meter);
            property.apply(id, &mut entries)?;
        }
        Ok(entries)
    }

    /// A property of all members; those that are not named here tell nothing of what is stored.
    fn apply(&mut self, id: u8, entries: &mut [SevenZipEntry]) -> Result<()> {
        match id {
            EMPTY_STREAM => {
                let empty = self.bits(entries.len())?;
                entries
                    .iter_mut()
                    .zip(empty)
                    .for_each(|(entry, is_empty)| entry.has_content = !is_empty);
            }
            EMPTY_FILE | ANTI => {
                let mut without: Vec<&mut SevenZipEntry> =
                    entries.iter_mut().filter(|entry| !entry.has_content).collect();
                let told = self.bits(without.len())?;
                for (entry, is_told) in without.iter_mut().zip(told) {
                    if id == ANTI {
                        entry.is_deletion = is_told
                    } else {
                        entry.is_empty_file = is_told
                    }
                }
            }
            NAMES => {
                self.inline()?;
                let mut units =
                    self.data.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
                for entry in entries {
                    entry.name = units.by_ref().take_while(|unit| *unit != 0).collect();
                }
                if units.next().is_some() {
                    return Err(wrong("there are more names than members"));
                }
            }
            MODIFIED => {
                let told = self.all_or_bits(entries.len())?;
                self.inline()?;
                for (entry, _) in entries.iter_mut().zip(told).filter(|(_, is_told)| *is_told) {
                    entry.modified = Some(self.u64()?);
                }
            }
            ATTRIBUTES => {
                let told = self.all_or_bits(entries.len())?;
                self.inline()?;
                for (entry, _) in entries.iter_mut().zip(told).filter(|(_, is_told)| *is_told) {
                    entry.attributes = self.u32()?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn to_index(number: u64, count: usize) -> Result<usize> {
    usize::try_from(number)
        .ok()
        .filter(|index| *index < count)
        .ok_or_else(|| wrong("a folder names an input or output that is not there"))
}
