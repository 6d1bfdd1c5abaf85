//! The packed bytes of one member as its decoder reads them: decrypted, if they were encrypted.

use std::io::{self, BufRead, Read, Take};

use crate::archive::contract::UnpackError;
use crate::archive::spool_reader::SpoolReader;
use crate::archive::zip::cipher::{Cipher, TAG_BYTES};
use crate::archive::zip::directory::damaged;

/// How much is decrypted at once.
const PIECE_BYTES: usize = 16 << 10;

/// Packed bytes of one member, plain.
pub(crate) struct Input {
    packed: Take<SpoolReader>,
    cipher: Cipher,
    plain: Vec<u8>,
    at: usize,
    /// Whether what stands in `plain` comes first, though nothing is encrypted.
    peeked: bool,
}

impl Input {
    /// The next `bytes` of `archive`.
    pub fn new(archive: SpoolReader, bytes: u64, cipher: Cipher) -> Self {
        Self { packed: archive.take(bytes), cipher, plain: Vec::new(), at: 0, peeked: false }
    }

    /// The first `amount` bytes, which stay in it; fewer if there are no more. Only before anything
    /// was read.
    pub fn peek(&mut self, amount: usize) -> Result<&[u8], UnpackError> {
        let mut head = vec![0; amount];
        let mut filled = 0;
        while filled < amount {
            match self.read(&mut head[filled..]).map_err(UnpackError::from_read)? {
                0 => break,
                read => filled += read,
            }
        }
        head.truncate(filled);
        // What is left of the last piece that was decrypted follows.
        head.extend_from_slice(&self.plain[self.at..]);
        (self.plain, self.at, self.peeked) = (head, 0, true);
        Ok(&self.plain[..filled])
    }

    /// How many packed bytes nobody took.
    pub fn unread(&self) -> u64 {
        self.packed.limit() + (self.plain.len() - self.at) as u64
    }

    /// Once all was read: whether it is authentic, where the cipher can tell.
    pub fn finish(self) -> Result<(), UnpackError> {
        let Cipher::Aes(cipher) = self.cipher else { return Ok(()) };
        let mut tag = [0; TAG_BYTES as usize];
        self.packed
            .into_inner()
            .read_exact(&mut tag)
            .map_err(|_| damaged("its authentication code reaches beyond the end of the file"))?;
        cipher.verify(&tag)
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.plain.len() {
            self.peeked = false;
        }
        if matches!(self.cipher, Cipher::None) && !self.peeked {
            return self.packed.fill_buf();
        }
        if self.at == self.plain.len() {
            let bytes = self.packed.fill_buf()?;
            let amount = bytes.len().min(PIECE_BYTES);
            self.plain.clear();
            self.plain.extend_from_slice(&bytes[..amount]);
            self.packed.consume(amount);
            self.cipher.decrypt(&mut self.plain);
            self.at = 0;
        }
        Ok(&self.plain[self.at..])
    }

    fn consume(&mut self, amount: usize) {
        match self.cipher {
            Cipher::None if !self.peeked => self.packed.consume(amount),
            _ => self.at += amount,
        }
    }
}

impl Read for Input {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let amount = available.len().min(into.len());
        into[..amount].copy_from_slice(&available[..amount]);
        self.consume(amount);
        Ok(amount)
    }
}
