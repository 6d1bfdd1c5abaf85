//! An archive at rest: read from any place, by any number of readers.

use std::fs::File;
use std::io::{self, BufRead, Read, Seek, SeekFrom};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use crate::archive::error::UnpackError;
use crate::model::failure::Class;

/// Memory is held in blocks of this size: no reallocation, and no slice keeps a network buffer
/// alive.
pub(super) const BLOCK: usize = 64 << 10;
/// The most that a reader of a temporary file reads ahead.
const AHEAD: usize = 256 << 10;
/// What a reader reads after a jump: members and headers are often smaller than [`AHEAD`].
const AHEAD_AFTER_JUMP: usize = 4 << 10;

/// An archive at rest. Clones and readers share it; its room is given back with the last of them.
#[derive(Clone, Debug)]
pub struct Spool(Arc<AtRest>);

#[derive(Debug)]
struct AtRest {
    store: SpoolStore,
    size: u64,
    _room: Option<OwnedSemaphorePermit>,
}

/// What holds it.
#[derive(Debug)]
pub(super) enum SpoolStore {
    /// Each of [`BLOCK`] bytes but the last.
    Memory(Vec<Bytes>),
    File(Arc<File>),
    /// Some parts of a file, one behind the other.
    Parts(Spool, Vec<SpoolPiece>),
}

/// A part of a file that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpoolPiece {
    /// Where it begins in the file.
    pub start: u64,
    /// How many bytes.
    pub length: u64,
    /// Where it begins among the parts.
    pub packed: u64,
}

impl Spool {
    /// A spool of `size` bytes in `store`, in `room` that ends with it.
    pub(super) fn new(store: SpoolStore, size: u64, room: Option<OwnedSemaphorePermit>) -> Self {
        Self(Arc::new(AtRest { store, size, _room: room }))
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.0.size
    }

    /// Parts of a file of `size` bytes: `pieces`, in order of their start, lie in `packed`. What is
    /// not there cannot be read.
    pub(crate) fn of_parts(packed: Spool, size: u64, pieces: Vec<SpoolPiece>) -> Self {
        Self::new(SpoolStore::Parts(packed, pieces), size, None)
    }

    /// A reader at its start.
    pub fn reader(&self) -> SpoolReader {
        SpoolReader::new(Arc::clone(&self.0), 0)
    }

    /// A spool over bytes that are there already.
    #[cfg(test)]
    pub fn of(bytes: &[u8]) -> Self {
        let store = SpoolStore::Memory(bytes.chunks(BLOCK).map(Bytes::copy_from_slice).collect());
        Self::new(store, bytes.len() as u64, None)
    }

    /// A spool over `head`, `zeros` zeros and `tail`, which takes room for the first and last only.
    #[cfg(test)]
    pub fn of_zeros(head: &[u8], zeros: u64, tail: &[u8]) -> Self {
        let size = head.len() as u64 + zeros + tail.len() as u64;
        let mut first = head.to_vec();
        first.resize(BLOCK, 0);
        let full = (size - tail.len() as u64) / BLOCK as u64 - 1;
        let last = vec![0; (zeros + head.len() as u64 - (full + 1) * BLOCK as u64) as usize];
        let mut blocks = vec![Bytes::from(first)];
        blocks.resize(1 + full as usize, Bytes::from(vec![0; BLOCK]));
        blocks.extend([&last, tail].concat().chunks(BLOCK).map(Bytes::copy_from_slice));
        Self::new(SpoolStore::Memory(blocks), size, None)
    }
}

/// Reads a spooled archive from any place; clones are independent. Its errors carry an
/// [`UnpackError`] of class `limit_temp`: the archive is not to blame for a failing disk.
#[derive(Debug)]
pub struct SpoolReader {
    at_rest: Arc<AtRest>,
    position: u64,
    buffer: Vec<u8>,
    buffer_start: u64,
    ahead: usize,
    /// Reads the parts, where only parts are there.
    packed: Option<Box<SpoolReader>>,
}

impl SpoolReader {
    fn new(at_rest: Arc<AtRest>, position: u64) -> Self {
        let packed = match &at_rest.store {
            SpoolStore::Parts(packed, _) => Some(Box::new(packed.reader())),
            _ => None,
        };
        Self {
            at_rest,
            position,
            buffer: Vec::new(),
            buffer_start: 0,
            ahead: AHEAD_AFTER_JUMP,
            packed,
        }
    }

    /// The size of the whole archive.
    pub fn size(&self) -> u64 {
        self.at_rest.size
    }

    /// Goes to `position` from the start; past the end there is nothing to read.
    pub fn jump(&mut self, position: u64) {
        self.position = position;
    }

    /// Where it is.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// How far the position is into the buffer, if it is in it.
    fn buffered(&self) -> Option<usize> {
        let offset = usize::try_from(self.position.checked_sub(self.buffer_start)?).ok()?;
        (offset < self.buffer.len()).then_some(offset)
    }

    /// Fills the buffer from the position on: little after a jump, more and more while reading on.
    fn refill(&mut self, file: &File) -> io::Result<()> {
        let reads_on = self.position == self.buffer_start + self.buffer.len() as u64
            && !self.buffer.is_empty();
        self.ahead = if reads_on { (self.ahead * 4).min(AHEAD) } else { AHEAD_AFTER_JUMP };
        let left = self.at_rest.size.saturating_sub(self.position);
        let wish = self.ahead.min(usize::try_from(left).unwrap_or(self.ahead));
        self.buffer.resize(wish, 0);
        let mut filled = 0;
        while filled < wish {
            match read_at(file, &mut self.buffer[filled..], self.position + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.buffer.clear();
                    return Err(no_room(format!("reading a temporary file: {error}")).into_read());
                }
            }
        }
        self.buffer.truncate(filled);
        self.buffer_start = self.position;
        if filled < wish {
            self.buffer.clear();
            return Err(no_room("a temporary file lost its end").into_read());
        }
        Ok(())
    }
}

impl Clone for SpoolReader {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.at_rest), self.position)
    }
}

impl BufRead for SpoolReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.position >= self.at_rest.size {
            return Ok(&[]);
        }
        let file = match &self.at_rest.store {
            SpoolStore::Memory(_) => None,
            SpoolStore::File(file) => Some(Arc::clone(file)),
            SpoolStore::Parts(_, pieces) => {
                let Some((packed, left)) = piece_at(pieces, self.position) else {
                    return Err(UnpackError::new(
                        Class::Internal,
                        "a part of the archive was not fetched",
                    )
                    .into_read());
                };
                let Some(reader) = &mut self.packed else { return Ok(&[]) };
                reader.jump(packed);
                let buffer = reader.fill_buf()?;
                return Ok(&buffer[..buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX))]);
            }
        };
        if let Some(file) = file {
            if self.buffered().is_none() {
                self.refill(&file)?;
            }
            return Ok(self.buffered().map_or(&[], |offset| &self.buffer[offset..]));
        }
        let SpoolStore::Memory(blocks) = &self.at_rest.store else { return Ok(&[]) };
        let index = usize::try_from(self.position / BLOCK as u64).unwrap_or(usize::MAX);
        let offset = (self.position % BLOCK as u64) as usize;
        Ok(blocks.get(index).and_then(|block| block.get(offset..)).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        self.position += amount as u64;
    }
}

impl Read for SpoolReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let amount = available.len().min(into.len());
        into[..amount].copy_from_slice(&available[..amount]);
        self.consume(amount);
        Ok(amount)
    }
}

impl Seek for SpoolReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.at_rest.size.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

/// Where the byte at `position` of the file lies among the parts, and how many bytes of its part
/// follow it.
fn piece_at(pieces: &[SpoolPiece], position: u64) -> Option<(u64, u64)> {
    let after = pieces.partition_point(|piece| piece.start <= position);
    let piece = pieces.get(after.checked_sub(1)?)?;
    let within = position - piece.start;
    (within < piece.length).then(|| (piece.packed + within, piece.length - within))
}

#[cfg(unix)]
fn read_at(file: &File, into: &mut [u8], position: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, into, position)
}

#[cfg(windows)]
fn read_at(file: &File, into: &mut [u8], position: u64) -> io::Result<usize> {
    // It moves the file's own cursor, which nobody uses once the archive is written.
    std::os::windows::fs::FileExt::seek_read(file, into, position)
}

/// Neither memory nor temporary space can hold an archive, or the disk under it fails.
pub(super) fn no_room(cause: impl Into<crate::model::BoxError>) -> UnpackError {
    UnpackError::new(Class::LimitTemp, cause)
}
