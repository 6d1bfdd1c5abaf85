//! The blocks of a tar, in order, and the content that stands in them.

use std::io::{self, Read};

use crate::archive::contract::UnpackError;
use crate::archive::limits::Meter;
use crate::archive::tar_header::{BLOCK, RECORD, TarBlock, TarHeader, checksum_holds, damaged};
use crate::archive::tar_sparse::Sparse;
use crate::archive::unread::Unread;
use crate::model::failure::Class;

/// The largest extended header that is read: names and numbers, nothing that needs more.
const MOST_EXTENDED_BYTES: u64 = 1 << 20;

/// The blocks of a tar, in order.
pub(crate) struct TarBlocks<'a> {
    input: &'a mut dyn Read,
    /// Bytes that were taken.
    at: u64,
    /// A block that was looked at, and how much of it was taken since.
    ahead: Option<(TarBlock, usize)>,
}

impl<'a> TarBlocks<'a> {
    /// Those that `input` brings.
    pub fn of(input: &'a mut dyn Read) -> Self {
        Self { input, at: 0, ahead: None }
    }

    /// How many bytes were taken.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// The next block; `None` where the archive ends with the one before.
    pub fn next(&mut self) -> Result<Option<TarBlock>, UnpackError> {
        let mut block = [0; BLOCK];
        match self.fill(&mut block)? {
            0 => Ok(None),
            BLOCK => Ok(Some(block)),
            _ => Err(self.truncated("a header")),
        }
    }

    /// Fills `into`; less only at the end.
    fn fill(&mut self, into: &mut [u8]) -> Result<usize, UnpackError> {
        let mut filled = 0;
        while filled < into.len() {
            match self.read(&mut into[filled..])? {
                0 => break,
                read => filled += read,
            }
        }
        Ok(filled)
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

    /// A tar that ends within content and with a record may be the first of several volumes:
    /// nothing in it tells.
    fn truncated(&self, within: &str) -> UnpackError {
        let error = damaged(format!("it ends within {within}, at byte {}", self.at));
        if self.at > 0 && self.at.is_multiple_of(RECORD) {
            error.or_unread(Unread::TarVolume)
        } else {
            error
        }
    }

    /// The content of an extended header.
    pub fn extension(&mut self, header: &TarHeader) -> Result<Vec<u8>, UnpackError> {
        if header.size > MOST_EXTENDED_BYTES {
            let cause = format!(
                "an extended header claims {} bytes; more than {MOST_EXTENDED_BYTES} are not read",
                header.size
            );
            return Err(UnpackError::new(Class::LimitArchive, cause));
        }
        let mut data = vec![0; header.size as usize];
        if self.fill(&mut data)? < data.len() {
            return Err(self.truncated("an extended header"));
        }
        self.skip_padding(header.size)?;
        Ok(data)
    }

    /// Skips content of `size` bytes, with its padding.
    pub fn skip(&mut self, size: u64) -> Result<(), UnpackError> {
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

    /// What follows the end mark. The rest of its record may hold anything (POSIX), as writers that
    /// use a buffer again leave it there: headers that were `seen` before, too. Zeros may follow
    /// that, as tapes want it. A header that was not seen is another archive, and anything else
    /// behind the record is told by `meter`.
    pub fn end(
        &mut self,
        seen: &dyn Fn(&TarBlock) -> bool,
        meter: &Meter,
    ) -> Result<(), UnpackError> {
        let (end, mut stray) = (self.at, None);
        let record_end = end.div_ceil(RECORD) * RECORD;
        loop {
            let start = self.at;
            let mut block = [0; BLOCK];
            let filled = self.fill(&mut block)?;
            if filled == 0 {
                break;
            }
            if block == [0; BLOCK] {
                continue;
            }
            if filled == BLOCK && checksum_holds(&block) && !seen(&block) {
                return Err(damaged(format!(
                    "another archive follows the end of the archive, at byte {start}"
                )));
            }
            if start >= record_end && stray.is_none() {
                stray = block.iter().position(|byte| *byte != 0).map(|at| start + at as u64);
            }
        }
        if let Some(at) = stray {
            meter.remark(format!(
                "something follows the end of the tar, from byte {at} to {}, and is not stored",
                self.at
            ));
        }
        Ok(())
    }

    /// Whether what comes next is a header, or the end.
    pub(crate) fn header_follows(&mut self) -> Result<bool, UnpackError> {
        let at = self.at;
        let block = self.next()?;
        self.ahead = block.map(|block| (block, 0));
        self.at = at;
        Ok(block.is_none_or(|block| block == [0; BLOCK] || checksum_holds(&block)))
    }

    /// The map of a sparse file that stands before its data, and its size in bytes.
    pub fn map(&mut self, data: u64) -> Result<(Vec<(u64, u64)>, u64), UnpackError> {
        let start = self.at;
        let map = crate::archive::tar_sparse::leading_map(&mut || {
            if self.at - start + BLOCK as u64 > data.next_multiple_of(BLOCK as u64) {
                return Err(damaged("its map of holes has no end"));
            }
            self.next()?.ok_or_else(|| damaged("it ends within a map of holes"))
        })?;
        Ok((map, self.at - start))
    }
}

/// The content of a member. Its end is reported only once all of it was there.
pub(crate) struct TarContent<'a, 'b> {
    blocks: &'a mut TarBlocks<'b>,
    /// Where data stands in it; holes are zeros.
    sparse: Sparse,
    /// How far it was read.
    at: u64,
    /// The data in the archive.
    data: u64,
    failed: bool,
}

impl<'a, 'b> TarContent<'a, 'b> {
    /// Content of which `data` bytes follow in `blocks`, and the map that tells where they stand in
    /// it.
    pub fn new(blocks: &'a mut TarBlocks<'b>, data: u64, sparse: Option<Sparse>) -> Self {
        Self {
            blocks,
            sparse: sparse.unwrap_or_else(|| Sparse::whole(data)),
            at: 0,
            data,
            failed: false,
        }
    }

    /// How many bytes it has.
    pub fn size(&self) -> u64 {
        self.sparse.size()
    }

    /// Passes over what was not read, and the padding.
    pub fn end(mut self) -> Result<(), UnpackError> {
        let left = self.sparse.data_left();
        self.blocks.skip_bytes(left)?;
        self.at = self.size();
        self.blocks.skip_padding(self.data)
    }

    fn next(&mut self, into: &mut [u8]) -> Result<usize, UnpackError> {
        if self.failed {
            return Err(damaged("it failed before"));
        }
        let Some((is_data, bytes)) = self.sparse.next(self.at) else { return Ok(0) };
        let wish = into.len().min(usize::try_from(bytes).unwrap_or(usize::MAX));
        if wish == 0 {
            return Ok(0);
        }
        let read = if is_data {
            let read = self.blocks.read(&mut into[..wish])?;
            if read == 0 {
                return Err(self.blocks.truncated(&format!(
                    "content of which {} bytes are missing",
                    self.sparse.data_left()
                )));
            }
            self.sparse.taken(read as u64);
            read
        } else {
            into[..wish].fill(0);
            wish
        };
        self.at += read as u64;
        Ok(read)
    }
}

impl Read for TarContent<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.next(into).map_err(|error| {
            self.failed = true;
            error.into_read()
        })
    }
}
