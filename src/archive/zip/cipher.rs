//! The two ciphers of zips: the traditional one of PKZIP and WinZip's AES.

use aes::cipher::{KeyIvInit, StreamCipher};
use aes::{Aes128, Aes192, Aes256};
use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use sha1::Sha1;

use crate::archive::contract::UnpackError;
use crate::archive::zip::directory::damaged;

/// Random bytes that stand before content under the traditional cipher; the last one is known.
pub(crate) const TRADITIONAL_HEAD_BYTES: u64 = 12;
/// What follows content under AES: the first half of an HMAC-SHA1.
pub(crate) const TAG_BYTES: u64 = 10;
/// How often WinZip's key derivation hashes.
const ROUNDS: u32 = 1000;

/// Turns packed bytes into plain ones, in order.
pub enum Cipher {
    /// They are plain already.
    None,
    /// PKZIP's own.
    Traditional(Traditional),
    /// WinZip's: AES in counter mode, authenticated.
    Aes(Box<Aes>),
}

impl Cipher {
    /// Decrypts the next `bytes` in their place.
    pub(crate) fn decrypt(&mut self, bytes: &mut [u8]) {
        match self {
            Cipher::None => {}
            Cipher::Traditional(cipher) => {
                bytes.iter_mut().for_each(|byte| *byte = cipher.decrypt(*byte))
            }
            Cipher::Aes(cipher) => cipher.decrypt(bytes),
        }
    }
}

/// The keys of the traditional cipher.
pub(crate) struct Traditional([u32; 3]);

impl Traditional {
    /// The cipher once it has read `head`, and whether the last byte of that says that the password
    /// may be right.
    pub fn open(
        password: &[u8],
        mut head: [u8; TRADITIONAL_HEAD_BYTES as usize],
        checks: &[u8],
    ) -> Option<Self> {
        let mut cipher = Self([0x1234_5678, 0x2345_6789, 0x3456_7890]);
        password.iter().for_each(|byte| cipher.update(*byte));
        head.iter_mut().for_each(|byte| *byte = cipher.decrypt(*byte));
        checks.contains(&head[head.len() - 1]).then_some(cipher)
    }

    fn update(&mut self, plain: u8) {
        let [a, b, c] = &mut self.0;
        *a = crc_step(*a, plain);
        *b = b.wrapping_add(*a & 0xFF).wrapping_mul(134_775_813).wrapping_add(1);
        *c = crc_step(*c, (*b >> 24) as u8);
    }

    fn decrypt(&mut self, byte: u8) -> u8 {
        let mix = (self.0[2] | 3) & 0xFFFF;
        let plain = byte ^ (mix.wrapping_mul(mix ^ 1) >> 8) as u8;
        self.update(plain);
        plain
    }
}

/// The table of CRC-32.
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let mut value = at as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { 0xEDB8_8320 ^ (value >> 1) } else { value >> 1 };
            bit += 1;
        }
        table[at] = value;
        at += 1;
    }
    table
};

fn crc_step(crc: u32, byte: u8) -> u32 {
    TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8)
}

/// How long the keys of WinZip's AES are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strength {
    /// 128 bits.
    Aes128,
    /// 192 bits.
    Aes192,
    /// 256 bits.
    Aes256,
}

impl Strength {
    /// As field 0x9901 numbers them.
    pub fn of(number: u8) -> Option<Self> {
        [Strength::Aes128, Strength::Aes192, Strength::Aes256]
            .get(usize::from(number).checked_sub(1)?)
            .copied()
    }

    fn key_bytes(self) -> usize {
        match self {
            Strength::Aes128 => 16,
            Strength::Aes192 => 24,
            Strength::Aes256 => 32,
        }
    }

    /// How much salt stands before the content; two bytes that check the password follow it.
    pub(crate) fn salt_bytes(self) -> usize {
        self.key_bytes() / 2
    }
}

enum ZipCipherStream {
    Aes128(ctr::Ctr128LE<Aes128>),
    Aes192(ctr::Ctr128LE<Aes192>),
    Aes256(ctr::Ctr128LE<Aes256>),
}

/// WinZip's AES.
pub(crate) struct Aes {
    stream: ZipCipherStream,
    tag: Hmac<Sha1>,
}

impl Aes {
    /// The cipher, if the two bytes behind the salt say that the password may be right.
    pub fn open(password: &[u8], strength: Strength, salt: &[u8], check: [u8; 2]) -> Option<Self> {
        let mut derived = [0; 66];
        let (size, bytes) = (strength.key_bytes(), strength.key_bytes() * 2 + 2);
        pbkdf2::pbkdf2_hmac::<Sha1>(password, salt, ROUNDS, &mut derived[..bytes]);
        let (key, tag_key) = derived[..size * 2].split_at(size);
        if !same(&derived[size * 2..bytes], &check) {
            return None;
        }
        let first = 1u128.to_le_bytes();
        let fits = "the key was derived to this length";
        let stream = match strength {
            Strength::Aes128 => {
                ZipCipherStream::Aes128(KeyIvInit::new_from_slices(key, &first).expect(fits))
            }
            Strength::Aes192 => {
                ZipCipherStream::Aes192(KeyIvInit::new_from_slices(key, &first).expect(fits))
            }
            Strength::Aes256 => {
                ZipCipherStream::Aes256(KeyIvInit::new_from_slices(key, &first).expect(fits))
            }
        };
        Some(Self {
            stream,
            tag: Hmac::new_from_slice(tag_key).expect("an HMAC takes keys of any length"),
        })
    }

    fn decrypt(&mut self, bytes: &mut [u8]) {
        self.tag.update(bytes);
        match &mut self.stream {
            ZipCipherStream::Aes128(stream) => stream.apply_keystream(bytes),
            ZipCipherStream::Aes192(stream) => stream.apply_keystream(bytes),
            ZipCipherStream::Aes256(stream) => stream.apply_keystream(bytes),
        }
    }

    /// Whether all that was decrypted is what the owner of the password encrypted.
    pub fn verify(self, tag: &[u8; TAG_BYTES as usize]) -> Result<(), UnpackError> {
        self.tag.verify_truncated_left(tag).map_err(|_| {
            damaged("its authentication code does not hold: it was changed after it was encrypted")
        })
    }
}

/// Whether two texts of the same length are equal, in a time that does not tell where they differ.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.iter().zip(other).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

/// `plain` under the traditional cipher.
#[cfg(test)]
pub fn encrypt(password: &[u8], mut plain: Vec<u8>) -> Vec<u8> {
    let mut cipher = Traditional([0x1234_5678, 0x2345_6789, 0x3456_7890]);
    password.iter().for_each(|byte| cipher.update(*byte));
    for byte in &mut plain {
        // What the key stream adds is the same both ways; the keys go on with the plain byte.
        let mut probe = Traditional(cipher.0);
        let mix = probe.decrypt(0);
        cipher.update(*byte);
        *byte ^= mix;
    }
    plain
}
