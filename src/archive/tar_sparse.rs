//! Sparse files in tars: where their data stands, and the holes between.

use crate::archive::contract::UnpackError;
use crate::archive::tar_header::{BLOCK, TarBlock, damaged, number};
use crate::model::failure::Class;

/// The most pieces of data that one file may have.
const MOST_PIECES: usize = 1 << 20;
/// A piece in the header of GNU's old form takes twice twelve bytes.
const PIECE_BYTES: usize = 24;

/// Where the data of a file stands: offset and length, in order; what is between are zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sparse {
    pieces: Vec<(u64, u64)>,
    size: u64,
    /// The piece that is read, and how much of it was.
    piece: usize,
    taken: u64,
    data_left: u64,
}

impl Sparse {
    /// A file of `size` bytes without holes.
    pub fn whole(size: u64) -> Self {
        Self { pieces: vec![(0, size)], size, piece: 0, taken: 0, data_left: size }
    }

    /// A file of `size` bytes with `data` bytes in `pieces`, if that can be.
    pub fn new(pieces: Vec<(u64, u64)>, size: u64, data: u64) -> Result<Self, UnpackError> {
        let (mut end, mut sum) = (0u64, 0u64);
        for (offset, length) in &pieces {
            if *offset < end {
                return Err(damaged("its map of holes is wrong: pieces overlap"));
            }
            end = offset
                .checked_add(*length)
                .ok_or_else(|| damaged("its map of holes is wrong: a piece has no end"))?;
            sum += length;
        }
        if end > size || sum != data {
            return Err(damaged(format!(
                "its map of holes is wrong: {sum} bytes of data up to byte {end}; it has {data}, \
                and {size} in all"
            )));
        }
        Ok(Self { pieces, size, piece: 0, taken: 0, data_left: data })
    }

    /// How many bytes the file has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// How many bytes of data were not taken.
    pub(crate) fn data_left(&self) -> u64 {
        self.data_left
    }

    /// Whether data stands at `at`, and for how many bytes; `None` at the end.
    pub fn next(&mut self, at: u64) -> Option<(bool, u64)> {
        while let Some((offset, length)) = self.pieces.get(self.piece) {
            if at < *offset {
                return Some((false, offset - at));
            }
            if self.taken < *length {
                return Some((true, length - self.taken));
            }
            self.piece += 1;
            self.taken = 0;
        }
        (at < self.size).then(|| (false, self.size - at))
    }

    /// So many bytes of the piece were read.
    pub fn taken(&mut self, bytes: u64) {
        self.taken += bytes;
        self.data_left -= bytes;
    }
}

/// What GNU's old form tells in the header `block` and in those that `next` brings: pieces and the
/// size.
pub(crate) fn old_map(
    block: &TarBlock,
    next: &mut dyn FnMut() -> Result<TarBlock, UnpackError>,
) -> Result<(Vec<(u64, u64)>, u64), UnpackError> {
    let size = natural(&block[483..495])?;
    let mut pieces = Vec::new();
    add(&mut pieces, &block[386..482])?;
    let mut goes_on = block[482] != 0;
    while goes_on {
        let block = next()?;
        add(&mut pieces, &block[..21 * PIECE_BYTES])?;
        goes_on = block[21 * PIECE_BYTES] != 0;
    }
    Ok((pieces, size))
}

fn add(pieces: &mut Vec<(u64, u64)>, fields: &[u8]) -> Result<(), UnpackError> {
    for field in fields.chunks_exact(PIECE_BYTES).take_while(|field| field[0] != 0) {
        push(pieces, (natural(&field[..12])?, natural(&field[12..])?))?;
    }
    Ok(())
}

fn natural(field: &[u8]) -> Result<u64, UnpackError> {
    number(field)
        .and_then(|number| u64::try_from(number).ok())
        .ok_or_else(|| damaged("a number in its map of holes is none"))
}

fn push(pieces: &mut Vec<(u64, u64)>, piece: (u64, u64)) -> Result<(), UnpackError> {
    if pieces.len() == MOST_PIECES {
        return Err(UnpackError::new(
            Class::LimitArchive,
            format!("it has more than {MOST_PIECES} holes"),
        ));
    }
    pieces.push(piece);
    Ok(())
}

/// What pax headers tell of a sparse file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SparseRecords {
    /// Its name, which stands under a made-up one.
    pub name: Option<Vec<u8>>,
    size: Option<u64>,
    pieces: Vec<(u64, u64)>,
    offset: Option<u64>,
    major: Option<u64>,
    is_told: bool,
}

impl SparseRecords {
    /// The record `key` after `GNU.sparse.`, with its `value`.
    pub fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), UnpackError> {
        let number = || decimal(value);
        match key {
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.size = Some(number()?),
            b"major" => self.major = Some(number()?),
            b"minor" | b"numblocks" => {}
            b"offset" => self.offset = Some(number()?),
            b"numbytes" => {
                let offset = self
                    .offset
                    .take()
                    .ok_or_else(|| damaged("its map of holes is wrong: a piece has no offset"))?;
                push(&mut self.pieces, (offset, number()?))?;
            }
            b"map" => {
                let mut numbers =
                    value.split(|byte| *byte == b',').filter(|number| !number.is_empty());
                while let Some(offset) = numbers.next() {
                    let length = numbers.next().ok_or_else(|| {
                        damaged("its map of holes is wrong: a piece has no length")
                    })?;
                    push(&mut self.pieces, (decimal(offset)?, decimal(length)?))?;
                }
            }
            _ => return Ok(()),
        }
        self.is_told = true;
        Ok(())
    }

    /// Whether any of it was told.
    pub(crate) fn is_sparse(&self) -> bool {
        self.is_told
    }

    /// Whether the map stands before the data.
    pub(crate) fn has_leading_map(&self) -> Result<bool, UnpackError> {
        match self.major {
            None | Some(0) => Ok(false),
            Some(1) => Ok(true),
            Some(other) => Err(UnpackError::new(
                Class::ArchiveUnsupported,
                format!("it is sparse in the unknown form {other}"),
            )),
        }
    }

    /// Size and pieces. Without a size it is none of a file.
    pub fn parts(self) -> Result<(Vec<(u64, u64)>, u64), UnpackError> {
        let size = self.size.ok_or_else(|| damaged("it is sparse, and its size is not told"))?;
        Ok((self.pieces, size))
    }
}

fn decimal(text: &[u8]) -> Result<u64, UnpackError> {
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| damaged("a number in its map of holes is none"))
}

/// The map that stands before the data: how many pieces, then offset and length of each, a line a
/// number, in blocks.
pub(crate) fn leading_map(
    next: &mut dyn FnMut() -> Result<TarBlock, UnpackError>,
) -> Result<Vec<(u64, u64)>, UnpackError> {
    const MOST_DIGITS: usize = 20;
    let (mut block, mut at) = (next()?, 0);
    let mut line = || {
        let mut digits = Vec::new();
        loop {
            if at == BLOCK {
                (block, at) = (next()?, 0);
            }
            let byte = block[at];
            at += 1;
            match byte {
                b'\n' => return decimal(&digits),
                b'0'..=b'9' if digits.len() < MOST_DIGITS => digits.push(byte),
                _ => return Err(damaged("its map of holes is wrong: a line is no number")),
            }
        }
    };
    let count = line()?;
    let mut pieces = Vec::new();
    for _ in 0..count {
        push(&mut pieces, (line()?, line()?))?;
    }
    Ok(pieces)
}
