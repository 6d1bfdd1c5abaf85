//! What an xz stream is proven by: the checks of blocks, its numbers, its errors.

use std::io;

use crc_fast::{CrcAlgorithm, Digest};
use sha2::Sha256;

/// The checks that the format knows by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CheckKind {
    None,
    Crc32,
    Crc64,
    Sha256,
}

impl CheckKind {
    /// The one that stream flags tell.
    pub fn of(flags: [u8; 2]) -> io::Result<Self> {
        match flags {
            [0, 0] => Ok(CheckKind::None),
            [0, 1] => Ok(CheckKind::Crc32),
            [0, 4] => Ok(CheckKind::Crc64),
            [0, 10] => Ok(CheckKind::Sha256),
            [0, other @ 0..16] => {
                Err(unsupported(format!("its check is of the unknown type {other}")))
            }
            _ => Err(unsupported("its stream flags are not known".to_owned())),
        }
    }

    /// As stream flags tell it.
    pub fn flags(self) -> [u8; 2] {
        match self {
            CheckKind::None => [0, 0],
            CheckKind::Crc32 => [0, 1],
            CheckKind::Crc64 => [0, 4],
            CheckKind::Sha256 => [0, 10],
        }
    }

    /// How many bytes it takes.
    pub fn bytes(self) -> usize {
        match self {
            CheckKind::None => 0,
            CheckKind::Crc32 => 4,
            CheckKind::Crc64 => 8,
            CheckKind::Sha256 => 32,
        }
    }
}

/// The check of a block while its content comes.
pub(crate) enum BlockCheck {
    None,
    Crc32(Digest),
    Crc64(Digest),
    Sha256(Box<Sha256>),
}

impl BlockCheck {
    /// One of this kind.
    pub fn of(kind: CheckKind) -> Self {
        match kind {
            CheckKind::None => BlockCheck::None,
            CheckKind::Crc32 => BlockCheck::Crc32(Digest::new(CrcAlgorithm::Crc32IsoHdlc)),
            CheckKind::Crc64 => BlockCheck::Crc64(Digest::new(CrcAlgorithm::Crc64Xz)),
            CheckKind::Sha256 => BlockCheck::Sha256(Box::default()),
        }
    }

    /// More content came.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            BlockCheck::None => {}
            BlockCheck::Crc32(digest) | BlockCheck::Crc64(digest) => digest.update(bytes),
            BlockCheck::Sha256(digest) => sha2::Digest::update(digest.as_mut(), bytes),
        }
    }

    /// What it comes to.
    pub fn digest(self) -> Vec<u8> {
        match self {
            BlockCheck::None => Vec::new(),
            BlockCheck::Crc32(digest) => digest.finalize().to_le_bytes()[..4].to_vec(),
            BlockCheck::Crc64(digest) => digest.finalize().to_le_bytes().to_vec(),
            BlockCheck::Sha256(digest) => sha2::Digest::finalize(*digest).to_vec(),
        }
    }
}

/// Seven bits a byte, the least first, in as few bytes as it takes.
pub fn decode(mut next: impl FnMut() -> io::Result<u8>) -> io::Result<u64> {
    let mut value = 0;
    for place in 0..9 {
        let byte = next()?;
        value |= u64::from(byte & 0x7F) << (7 * place);
        if byte & 0x80 == 0 {
            return if byte == 0 && place > 0 {
                Err(invalid("a number is not written as it should be"))
            } else {
                Ok(value)
            };
        }
    }
    Err(invalid("a number is too long"))
}

/// The stream is not as its format says.
pub fn invalid(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

/// The stream is of a form that is not read.
pub(crate) fn unsupported(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, why)
}
