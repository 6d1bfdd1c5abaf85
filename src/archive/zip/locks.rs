//! How members are encrypted, and which password opens them.

use std::fmt;
use std::io::Read;

use crate::archive::contract::UnpackError;
use crate::archive::options::ArchiveOptions;
use crate::archive::spool_reader::SpoolReader;
use crate::archive::zip::cipher::{
    Aes, Cipher, Strength, TAG_BYTES, TRADITIONAL_HEAD_BYTES, Traditional,
};
use crate::archive::zip::directory::{FLAG_DESCRIPTOR, FLAG_ENCRYPTED, ZipEntry, damaged};
use crate::archive::zip::fields;
use crate::archive::zip::method::Method;
use crate::archive::zip::names::cp437_bytes;
use crate::model::Secret;
use crate::model::failure::Class;

/// Stands for the real method of content encrypted with AES.
const AES: u16 = 99;
/// Bytes behind the salt that check a password.
const CHECK_BYTES: usize = 2;

/// What a member's header says of how its content is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lock {
    /// How it is packed, beneath the encryption.
    pub method: Method,
    /// How it is encrypted.
    pub kind: ZipLockKind,
    /// Whether the directory tells its CRC-32.
    pub has_crc: bool,
}

/// A kind of encryption.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ZipLockKind {
    /// None.
    Open,
    /// PKZIP's, and what the last byte of its head may be.
    Traditional([u8; 2]),
    /// WinZip's AES.
    Aes(Strength),
}

impl fmt::Debug for ZipLockKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ZipLockKind::Open => f.write_str("Open"),
            ZipLockKind::Traditional(_) => f.write_str("Traditional"),
            ZipLockKind::Aes(strength) => strength.fmt(f),
        }
    }
}

impl Lock {
    /// What `entry` says. An error where it cannot be opened whatever its content is.
    pub fn of(entry: &ZipEntry, options: &ArchiveOptions) -> Result<Self, UnpackError> {
        let lock = Self::told(entry)?;
        if lock.kind != ZipLockKind::Open && options.passwords.is_empty() {
            return Err(encrypted(
                "it is encrypted and no password is configured: set `archive_passwords`",
            ));
        }
        Ok(lock)
    }

    fn told(entry: &ZipEntry) -> Result<Self, UnpackError> {
        match (entry.method, entry.flags & FLAG_ENCRYPTED != 0) {
            (AES, _) => {
                let wrong =
                    || damaged("it is encrypted with AES, and its field about that is wrong");
                // Version, "AE", strength, the real method.
                let Some([version, 0, b'A', b'E', strength, low, high]) =
                    fields::field(&entry.extra, 0x9901)
                else {
                    return Err(wrong());
                };
                let strength = Strength::of(*strength).ok_or_else(wrong)?;
                let has_crc = match version {
                    1 => true,
                    2 => false,
                    _ => return Err(wrong()),
                };
                Ok(Self {
                    method: Method::of(u16::from_le_bytes([*low, *high]), entry)?,
                    kind: ZipLockKind::Aes(strength),
                    has_crc,
                })
            }
            (method, true) => {
                let crc = (entry.crc >> 24) as u8;
                // A program that did not know the checksum yet took the time for it, but not all
                // did.
                let time = if entry.flags & FLAG_DESCRIPTOR != 0 {
                    (entry.dos_time >> 8) as u8
                } else {
                    crc
                };
                Ok(Self {
                    method: Method::of(method, entry)?,
                    kind: ZipLockKind::Traditional([crc, time]),
                    has_crc: true,
                })
            }
            (method, false) => Ok(Self {
                method: Method::of(method, entry)?,
                kind: ZipLockKind::Open,
                has_crc: true,
            }),
        }
    }

    /// How many bytes stand before the packed ones, and how many after.
    pub(crate) fn overhead(&self) -> (u64, u64) {
        match self.kind {
            ZipLockKind::Open => (0, 0),
            ZipLockKind::Traditional(_) => (TRADITIONAL_HEAD_BYTES, 0),
            ZipLockKind::Aes(strength) => ((strength.salt_bytes() + CHECK_BYTES) as u64, TAG_BYTES),
        }
    }

    /// The cipher for `password`, unless what checks it at `start` of `archive` says that it is
    /// wrong: it may be wrong all the same, once in 256 times under the traditional cipher.
    pub fn open(
        &self,
        mut archive: SpoolReader,
        start: u64,
        password: &[u8],
    ) -> Result<Option<Cipher>, UnpackError> {
        archive.jump(start);
        match self.kind {
            ZipLockKind::Open => Ok(Some(Cipher::None)),
            ZipLockKind::Traditional(checks) => {
                let mut head = [0; TRADITIONAL_HEAD_BYTES as usize];
                archive.read_exact(&mut head).map_err(UnpackError::from_read)?;
                Ok(Traditional::open(password, head, &checks).map(Cipher::Traditional))
            }
            ZipLockKind::Aes(strength) => {
                let mut head = vec![0; strength.salt_bytes() + CHECK_BYTES];
                archive.read_exact(&mut head).map_err(UnpackError::from_read)?;
                let (salt, check) = head.split_at(strength.salt_bytes());
                Ok(Aes::open(password, strength, salt, [check[0], check[1]])
                    .map(|aes| Cipher::Aes(Box::new(aes))))
            }
        }
    }
}

/// The bytes that `passwords` may be in a zip, in the order in which they are tried: UTF-8, and
/// where that makes a difference also the code page of DOS and that of Windows, which older
/// programs take.
pub fn spellings(passwords: &[Secret]) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = Vec::with_capacity(passwords.len());
    for password in passwords.iter().map(Secret::reveal) {
        all.push(password.as_bytes().to_vec());
        if !password.is_ascii() {
            let (windows, _, lossy) = encoding_rs::WINDOWS_1252.encode(password);
            let others = [cp437_bytes(password), (!lossy).then(|| windows.into_owned())];
            let new: Vec<_> =
                others.into_iter().flatten().filter(|bytes| !all.contains(bytes)).collect();
            all.extend(new);
        }
    }
    all
}

/// An error about passwords.
pub fn encrypted(why: &str) -> UnpackError {
    UnpackError::new(Class::ArchiveEncrypted, why)
}
