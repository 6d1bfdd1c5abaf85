//! One stream of xz: every block proven by its check, and all of them against the index and the
//! footer.

#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

use crc_fast::{CrcAlgorithm, Digest, crc32_iso_hdlc};
use lzma_rust2::filter::bcj::BcjReader;
use lzma_rust2::filter::delta::DeltaReader;
use lzma_rust2::{Lzma2Reader, lzma2_get_memory_usage};
use sha2::Sha256;

use crate::archive::dictionary_budget;
use crate::archive::xz_checks::{BlockCheck, CheckKind, decode, invalid, unsupported};

const MAGIC: &[u8] = b"\xFD7zXZ\0";
const FOOTER_MAGIC: &[u8] = b"YZ";
const LZMA2: u64 = 0x21;

/// Decodes one stream and stops behind its last byte. Its end is reported only once the index and
/// the footer held.
///
/// The container is read here rather than by the crate of the decoder, because that crate counts
/// the records of the index and compares none of their sizes: blocks in another order would pass.
pub struct XzStream<R: Read> {
    state: XzState<R>,
    /// How many bytes were taken, which is known though it has failed.
    taken: Rc<Cell<u64>>,
    most_kib: u32,
}

enum XzState<R: Read> {
    /// Nothing was read yet.
    Begins(CountedInput<R>),
    /// A block is being read.
    Block(Box<XzBlock<R>>),
    /// The stream is over.
    Over(CountedInput<R>),
    /// An error ended it, or a step is being taken.
    Failed,
}

struct XzBlock<R: Read> {
    chain: Chain<R>,
    header: BlockHeader,
    check: BlockCheck,
    kind: CheckKind,
    size: u64,
    seen: BlockSizes,
}

/// The decoders of a block, one upon the other.
enum Chain<R: Read> {
    Lzma2(Box<Lzma2Reader<CountedInput<R>>>),
    Delta(DeltaReader<Box<Chain<R>>>),
    Bcj(BcjReader<Box<Chain<R>>>),
}

/// Opens a filter for code of a processor, of which the first byte stands at an address.
type OpenBcj<R> = fn(Box<Chain<R>>, usize) -> BcjReader<Box<Chain<R>>>;

/// Counts what is taken from `input`.
struct CountedInput<R> {
    input: R,
    taken: Rc<Cell<u64>>,
    /// How many were taken when the block or the index began.
    start: u64,
}

impl<R: Read> XzStream<R> {
    /// The stream at which `input` stands. No block may need more than `most_kib` of memory.
    pub fn new(input: R, most_kib: u32) -> Self {
        let taken = Rc::new(Cell::new(0));
        Self {
            state: XzState::Begins(CountedInput { input, taken: Rc::clone(&taken), start: 0 }),
            taken,
            most_kib,
        }
    }

    /// How many bytes it has taken.
    pub fn taken(&self) -> u64 {
        self.taken.get()
    }

    /// What it has not read; `None` once it has failed.
    pub fn into_inner(self) -> Option<R> {
        match self.state {
            XzState::Begins(input) | XzState::Over(input) => Some(input.input),
            XzState::Block(block) => Some(block.chain.into_input().input),
            XzState::Failed => None,
        }
    }

    fn step(&mut self, into: &mut [u8]) -> io::Result<Option<usize>> {
        self.state = match std::mem::replace(&mut self.state, XzState::Failed) {
            XzState::Failed => return Err(invalid("it failed before")),
            XzState::Over(input) => {
                self.state = XzState::Over(input);
                return Ok(Some(0));
            }
            XzState::Begins(mut input) => {
                let kind = stream_header(&mut input)?;
                next_block(input, kind, BlockSizes::default(), self.most_kib)?
            }
            XzState::Block(mut block) => {
                let read = block.chain.read(into)?;
                if read > 0 {
                    block.take(&into[..read])?;
                    self.state = XzState::Block(block);
                    return Ok(Some(read));
                }
                let kind = block.kind;
                let (input, seen) = block.end()?;
                next_block(input, kind, seen, self.most_kib)?
            }
        };
        Ok(None)
    }
}

impl<R: Read> Read for XzStream<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            if let Some(read) = self.step(into)? {
                return Ok(read);
            }
        }
    }
}

/// The block that follows, or the end of the stream.
fn next_block<R: Read>(
    mut input: CountedInput<R>,
    kind: CheckKind,
    seen: BlockSizes,
    most_kib: u32,
) -> io::Result<XzState<R>> {
    input.start = input.taken.get();
    let size = input.byte()?;
    if size == 0 {
        let index_bytes = index(&mut input, &seen)?;
        footer(&mut input, index_bytes, kind)?;
        return Ok(XzState::Over(input));
    }
    let header = BlockHeader::read(&mut input, size)?;
    let chain = header.open(input, most_kib)?;
    Ok(XzState::Block(Box::new(XzBlock {
        chain,
        header,
        check: BlockCheck::of(kind),
        kind,
        size: 0,
        seen,
    })))
}

impl<R: Read> XzBlock<R> {
    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.size = self
            .size
            .checked_add(bytes.len() as u64)
            .ok_or_else(|| invalid("a block is too large"))?;
        if self.header.unpacked.is_some_and(|told| self.size > told) {
            return Err(invalid("a block has more bytes than its header tells"));
        }
        self.check.update(bytes);
        Ok(())
    }

    /// Proves the block by its header and its check.
    fn end(self) -> io::Result<(CountedInput<R>, BlockSizes)> {
        let mut input = self.chain.into_input();
        let packed = input.so_far() - self.header.bytes;
        if self.header.packed.is_some_and(|told| told != packed)
            || self.header.unpacked.is_some_and(|told| told != self.size)
        {
            return Err(invalid("a block has another size than its header tells"));
        }
        if !zeros(&mut input, packed)? {
            return Err(invalid("the padding of a block is not zero"));
        }
        let mut told = vec![0; self.kind.bytes()];
        input.read_exact(&mut told)?;
        if self.check.digest() != told {
            return Err(invalid("the check of a block does not hold"));
        }
        let mut seen = self.seen;
        seen.add(self.header.bytes + packed + told.len() as u64, self.size);
        Ok((input, seen))
    }
}

impl<R: Read> Chain<R> {
    fn into_input(self) -> CountedInput<R> {
        match self {
            Chain::Lzma2(reader) => reader.into_inner(),
            Chain::Delta(reader) => reader.into_inner().into_input(),
            Chain::Bcj(reader) => reader.into_inner().into_input(),
        }
    }
}

impl<R: Read> Read for Chain<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Chain::Lzma2(reader) => reader.read(into),
            Chain::Delta(reader) => reader.read(into),
            Chain::Bcj(reader) => reader.read(into),
        }
    }
}

impl<R: Read> CountedInput<R> {
    /// How many bytes of the block or the index were taken.
    fn so_far(&self) -> u64 {
        self.taken.get() - self.start
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.read_exact(&mut byte)?;
        Ok(byte[0])
    }
}

impl<R: Read> Read for CountedInput<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(into)?;
        self.taken.set(self.taken.get() + read as u64);
        Ok(read)
    }
}

/// The sizes of blocks, one after the other. Their hash stands for them, since there may be any
/// number of blocks.
#[derive(Clone, Default)]
struct BlockSizes {
    count: u64,
    hash: Sha256,
}

impl BlockSizes {
    fn add(&mut self, unpadded: u64, unpacked: u64) {
        self.count += 1;
        sha2::Digest::update(&mut self.hash, unpadded.to_le_bytes());
        sha2::Digest::update(&mut self.hash, unpacked.to_le_bytes());
    }

    fn equals(&self, other: &Self) -> bool {
        let hash = |records: &Self| sha2::Digest::finalize(records.hash.clone());
        self.count == other.count && hash(self) == hash(other)
    }
}

fn stream_header<R: Read>(input: &mut CountedInput<R>) -> io::Result<CheckKind> {
    let mut header = [0; 12];
    input.read_exact(&mut header)?;
    let [_, _, _, _, _, _, first, second, crc @ ..] = header;
    if !header.starts_with(MAGIC) || crc32_iso_hdlc(&header[6..8]).to_le_bytes() != crc {
        return Err(invalid("its stream header does not hold"));
    }
    CheckKind::of([first, second])
}

struct BlockHeader {
    /// Its own size.
    bytes: u64,
    packed: Option<u64>,
    unpacked: Option<u64>,
    /// The filters, the outermost first, and what is told of them.
    filters: Vec<(u64, Vec<u8>)>,
}

impl BlockHeader {
    /// The header whose first byte is `size`.
    fn read<R: Read>(input: &mut CountedInput<R>, size: u8) -> io::Result<Self> {
        let mut header = vec![0; (usize::from(size) + 1) * 4];
        header[0] = size;
        input.read_exact(&mut header[1..])?;
        let (told, crc) = header.split_at(header.len() - 4);
        if crc32_iso_hdlc(told).to_le_bytes() != crc {
            return Err(invalid("the checksum of a block's header does not hold"));
        }
        let (flags, mut rest) = (told[1], &told[2..]);
        if flags & 0x3C != 0 {
            return Err(unsupported("a block's header has flags that are not known".to_owned()));
        }
        let packed = if flags & 0x40 != 0 { Some(number(&mut rest)?) } else { None };
        let unpacked = if flags & 0x80 != 0 { Some(number(&mut rest)?) } else { None };
        if packed == Some(0) {
            return Err(invalid("a block's header tells that nothing is packed"));
        }
        let mut filters = Vec::new();
        for _ in 0..=flags & 3 {
            let (id, length) = (number(&mut rest)?, number(&mut rest)?);
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            let (properties, after) = rest
                .split_at_checked(length)
                .ok_or_else(|| invalid("a block's header is too short"))?;
            filters.push((id, properties.to_vec()));
            rest = after;
        }
        if rest.iter().any(|byte| *byte != 0) {
            return Err(unsupported("a block's header holds more than is known".to_owned()));
        }
        Ok(Self { bytes: header.len() as u64, packed, unpacked, filters })
    }

    fn open<R: Read>(&self, input: CountedInput<R>, most_kib: u32) -> io::Result<Chain<R>> {
        let Some(((LZMA2, properties), others)) =
            self.filters.split_last().map(|((id, properties), others)| ((*id, properties), others))
        else {
            return Err(unsupported("a block is not packed with LZMA2".to_owned()));
        };
        let dictionary = match properties[..] {
            [setting] => {
                dictionary_budget::of_lzma2(setting).and_then(|bytes| u32::try_from(bytes).ok())
            }
            _ => None,
        };
        let dictionary = dictionary
            .ok_or_else(|| unsupported("the settings of LZMA2 are not known".to_owned()))?;
        // No distance reaches back further than to the beginning.
        let needed = self.unpacked.map_or(dictionary, |size| {
            dictionary.min(u32::try_from(size).unwrap_or(u32::MAX).max(4 << 10))
        });
        if lzma2_get_memory_usage(needed) > most_kib {
            return Err(io::Error::new(
                io::ErrorKind::OutOfMemory,
                format!("a block needs a dictionary of {needed} bytes"),
            ));
        }
        let mut chain = Chain::Lzma2(Box::new(Lzma2Reader::new(input, needed, None)));
        for (id, properties) in others.iter().rev() {
            chain = filter(chain, *id, properties)?;
        }
        Ok(chain)
    }
}

fn filter<R: Read>(chain: Chain<R>, id: u64, properties: &[u8]) -> io::Result<Chain<R>> {
    let wrong = || unsupported("the settings of a filter are not known".to_owned());
    if id == 3 {
        let [distance] = properties else { return Err(wrong()) };
        return Ok(Chain::Delta(DeltaReader::new(Box::new(chain), usize::from(*distance) + 1)));
    }
    let start = match properties {
        [] => 0,
        [a, b, c, d] => u32::from_le_bytes([*a, *b, *c, *d]) as usize,
        _ => return Err(wrong()),
    };
    let (open, step): (OpenBcj<R>, usize) = match id {
        4 => (BcjReader::new_x86, 1),
        5 => (BcjReader::new_ppc, 4),
        6 => (BcjReader::new_ia64, 16),
        7 => (BcjReader::new_arm, 4),
        8 => (BcjReader::new_arm_thumb, 2),
        9 => (BcjReader::new_sparc, 4),
        10 => (BcjReader::new_arm64, 4),
        11 => (BcjReader::new_riscv, 2),
        other => return Err(unsupported(format!("a block has the unknown filter {other:#x}"))),
    };
    if start % step != 0 {
        return Err(wrong());
    }
    Ok(Chain::Bcj(open(Box::new(chain), start)))
}

/// Reads the index behind its first byte and compares it with the blocks that were `seen`; its size
/// in bytes.
fn index<R: Read>(input: &mut CountedInput<R>, seen: &BlockSizes) -> io::Result<u64> {
    let mut input = Summed { input, crc: Digest::new(CrcAlgorithm::Crc32IsoHdlc) };
    input.crc.update(&[0]);
    let count = input.number()?;
    if count != seen.count {
        return Err(invalid(format!("its index tells {count} blocks; it has {}", seen.count)));
    }
    let mut told = BlockSizes::default();
    for _ in 0..count {
        let (unpadded, unpacked) = (input.number()?, input.number()?);
        told.add(unpadded, unpacked);
    }
    if !told.equals(seen) {
        return Err(invalid("the sizes in its index are not those of its blocks"));
    }
    while !input.input.so_far().is_multiple_of(4) {
        if input.byte()? != 0 {
            return Err(invalid("the padding of its index is not zero"));
        }
    }
    let (crc, input) = (input.crc.finalize(), input.input);
    let mut told = [0; 4];
    input.read_exact(&mut told)?;
    if u64::from(u32::from_le_bytes(told)) != crc {
        return Err(invalid("the checksum of its index does not hold"));
    }
    Ok(input.so_far())
}

fn footer<R: Read>(
    input: &mut CountedInput<R>,
    index_bytes: u64,
    kind: CheckKind,
) -> io::Result<()> {
    let mut footer = [0; 12];
    input.read_exact(&mut footer)?;
    let [a, b, c, d, e, f, g, h, first, second, magic @ ..] = footer;
    if magic != FOOTER_MAGIC || crc32_iso_hdlc(&footer[4..10]).to_le_bytes() != [a, b, c, d] {
        return Err(invalid("its stream footer does not hold"));
    }
    if (u64::from(u32::from_le_bytes([e, f, g, h])) + 1) * 4 != index_bytes {
        return Err(invalid("its stream footer tells another size of the index"));
    }
    if [first, second] != kind.flags() {
        return Err(invalid("its stream header and its stream footer differ"));
    }
    Ok(())
}

/// Input whose bytes are summed up.
struct Summed<'a, R> {
    input: &'a mut CountedInput<R>,
    crc: Digest,
}

impl<R: Read> Summed<'_, R> {
    fn byte(&mut self) -> io::Result<u8> {
        let byte = self.input.byte()?;
        self.crc.update(&[byte]);
        Ok(byte)
    }

    fn number(&mut self) -> io::Result<u64> {
        decode(|| self.byte())
    }
}

/// A number at the beginning of `bytes`, which then stand behind it.
fn number(bytes: &mut &[u8]) -> io::Result<u64> {
    decode(|| {
        let (byte, rest) =
            bytes.split_first().ok_or_else(|| invalid("a block's header is too short"))?;
        *bytes = rest;
        Ok(*byte)
    })
}

/// Whether zeros fill up what follows `bytes` bytes to a multiple of four.
fn zeros<R: Read>(input: &mut CountedInput<R>, bytes: u64) -> io::Result<bool> {
    let mut padding = [0; 3];
    let padding = &mut padding[..(bytes.wrapping_neg() % 4) as usize];
    input.read_exact(padding)?;
    Ok(padding.iter().all(|byte| *byte == 0))
}
