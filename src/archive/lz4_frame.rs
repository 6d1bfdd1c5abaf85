//! One frame of lz4: blocks, their checksums and the one of all content.

use std::hash::Hasher;
use std::io::{self, Read};

use lz4_flex::block::{decompress_into, decompress_into_with_dict};
use twox_hash::XxHash32;

use crate::archive::contract::UnpackError;
use crate::archive::spool_reader::SpoolReader;
use crate::archive::tar_header::damaged;
use crate::model::failure::Class;

/// How far back a block may refer.
const WINDOW: usize = 64 << 10;

/// Decodes one frame and stops behind its last byte.
pub(crate) struct Lz4Frame {
    input: SpoolReader,
    descriptor: Descriptor,
    packed: Vec<u8>,
    block: Vec<u8>,
    taken: usize,
    /// The last [`WINDOW`] bytes before `block`, where blocks refer to earlier ones.
    window: Vec<u8>,
    checksum: XxHash32,
    size: u64,
    ended: bool,
}

struct Descriptor {
    independent: bool,
    block_checksums: bool,
    content_checksum: bool,
    content_size: Option<u64>,
    most_of_block: usize,
}

impl Lz4Frame {
    /// The frame at which `input` stands.
    pub fn open(mut input: SpoolReader) -> Result<Self, UnpackError> {
        let descriptor = Descriptor::read(&mut input)?;
        let (packed, block, window, checksum) =
            (Vec::new(), Vec::new(), Vec::new(), XxHash32::with_seed(0));
        Ok(Self {
            input,
            descriptor,
            packed,
            block,
            taken: 0,
            window,
            checksum,
            size: 0,
            ended: false,
        })
    }

    /// Where it reads.
    pub(crate) fn get_ref(&self) -> &SpoolReader {
        &self.input
    }

    /// What it has not read.
    pub fn into_inner(self) -> SpoolReader {
        self.input
    }

    fn next_block(&mut self) -> io::Result<()> {
        self.remember();
        self.taken = 0;
        self.block.clear();
        let told = read_u32(&mut self.input)?;
        if told == 0 {
            return self.end();
        }
        let (is_plain, size) = (told >> 31 == 1, (told & !(1 << 31)) as usize);
        if size > self.descriptor.most_of_block {
            return Err(io::Error::other("a block is larger than the frame allows"));
        }
        self.packed.resize(size, 0);
        self.input.read_exact(&mut self.packed)?;
        if self.descriptor.block_checksums
            && read_u32(&mut self.input)? != XxHash32::oneshot(0, &self.packed)
        {
            return Err(io::Error::other("the checksum of a block does not hold"));
        }
        if is_plain {
            std::mem::swap(&mut self.packed, &mut self.block);
        } else {
            self.unpack()?;
        }
        self.size += self.block.len() as u64;
        if self.descriptor.content_checksum {
            self.checksum.write(&self.block);
        }
        Ok(())
    }

    fn unpack(&mut self) -> io::Result<()> {
        self.block.resize(self.descriptor.most_of_block, 0);
        let unpacked = match self.window.is_empty() {
            true => decompress_into(&self.packed, &mut self.block),
            false => decompress_into_with_dict(&self.packed, &mut self.block, &self.window),
        };
        self.block.truncate(unpacked.map_err(io::Error::other)?);
        Ok(())
    }

    /// Keeps the end of what was unpacked, if later blocks may refer to it.
    fn remember(&mut self) {
        if self.descriptor.independent {
            return;
        }
        let from_block = self.block.len().min(WINDOW);
        let from_window = self.window.len().min(WINDOW - from_block);
        self.window.drain(..self.window.len() - from_window);
        self.window.extend_from_slice(&self.block[self.block.len() - from_block..]);
    }

    fn end(&mut self) -> io::Result<()> {
        let size = self.size;
        if let Some(told) = self.descriptor.content_size.filter(|told| *told != size) {
            return Err(io::Error::other(format!("it has {size} bytes; its header tells {told}")));
        }
        if self.descriptor.content_checksum
            && read_u32(&mut self.input)? != self.checksum.finish_32()
        {
            return Err(io::Error::other("the checksum of the content does not hold"));
        }
        self.ended = true;
        Ok(())
    }
}

impl Read for Lz4Frame {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.block.len() && !self.ended {
            self.next_block()?;
        }
        let read = into.len().min(self.block.len() - self.taken);
        into[..read].copy_from_slice(&self.block[self.taken..self.taken + read]);
        self.taken += read;
        Ok(read)
    }
}

impl Descriptor {
    fn read(input: &mut SpoolReader) -> Result<Self, UnpackError> {
        let start = input.position();
        let mut read = |into: &mut [u8]| {
            input
                .read_exact(into)
                .map_err(|_| damaged(format!("the lz4 frame at byte {start} ends early")))
        };
        let mut head = [0; 6];
        read(&mut head)?;
        let (flags, block) = (head[4], head[5]);
        let mut described = vec![flags, block];
        let mut size = [0; 8];
        if flags & 8 != 0 {
            read(&mut size)?;
            described.extend(size);
        }
        if flags & 1 != 0 {
            return Err(UnpackError::new(
                Class::ArchiveUnsupported,
                "it needs an lz4 dictionary that it does not bring",
            ));
        }
        let mut check = [0];
        read(&mut check)?;
        let is_reserved = flags >> 6 != 1 || flags & 2 != 0 || block & 0x8F != 0 || block >> 4 < 4;
        if is_reserved || check[0] != (XxHash32::oneshot(0, &described) >> 8) as u8 {
            return Err(damaged(format!(
                "the header of the lz4 frame at byte {start} does not hold"
            )));
        }
        Ok(Self {
            independent: flags & 0x20 != 0,
            block_checksums: flags & 0x10 != 0,
            content_checksum: flags & 4 != 0,
            content_size: (flags & 8 != 0).then(|| u64::from_le_bytes(size)),
            most_of_block: 1 << (8 + 2 * (block >> 4)),
        })
    }
}

fn read_u32(input: &mut SpoolReader) -> io::Result<u32> {
    let mut bytes = [0; 4];
    input.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}
