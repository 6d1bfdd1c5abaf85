//! The encryption of 7z: AES-256 in CBC mode, its key made of the password by many rounds of
//! SHA-256.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, Read};

use aes::Aes256;
use cbc::cipher::{Block, BlockModeDecrypt, KeyIvInit};
use sha2::{Digest, Sha256};

use crate::archive::contract::UnpackError;
use crate::archive::tar_header::damaged;
use crate::model::failure::Class;

const AES_BLOCK: usize = 16;
/// Rounds as a power of two: 7-Zip uses 19, and more than this takes seconds.
const MOST_POWER: u8 = 24;
/// Says that the password is the key.
const NO_ROUNDS: u8 = 0x3F;

/// Keys that were made: a new one takes a tenth of a second, and most folders of an archive share
/// one.
#[derive(Default)]
pub(crate) struct Keys(RefCell<HashMap<Recipe, [u8; 32]>>);

#[derive(Clone, PartialEq, Eq, Hash)]
struct Recipe {
    power: u8,
    salt: Vec<u8>,
    password: Vec<u8>,
}

impl Keys {
    fn key(&self, recipe: Recipe) -> [u8; 32] {
        *self.0.borrow_mut().entry(recipe).or_insert_with_key(Recipe::key)
    }
}

impl Recipe {
    fn key(&self) -> [u8; 32] {
        if self.power == NO_ROUNDS {
            let mut key = [0; 32];
            key.iter_mut()
                .zip(self.salt.iter().chain(&self.password))
                .for_each(|(to, from)| *to = *from);
            return key;
        }
        let mut hasher = Sha256::new();
        for round in 0..1u64 << self.power {
            hasher.update(&self.salt);
            hasher.update(&self.password);
            hasher.update(round.to_le_bytes());
        }
        hasher.finalize().into()
    }
}

/// How much is decrypted at once.
const AHEAD: usize = 256 * AES_BLOCK;

/// Decrypts; what it reads must be whole blocks.
pub(crate) struct AesReader<R> {
    input: R,
    cipher: cbc::Decryptor<Aes256>,
    plain: Vec<u8>,
    taken: usize,
}

impl<R: Read> AesReader<R> {
    /// Over `input`, with the settings in `properties` and a password in UTF-16.
    pub fn new(
        input: R,
        properties: &[u8],
        password: &[u8],
        keys: &Keys,
    ) -> Result<Self, UnpackError> {
        let wrong = || damaged("its header is wrong: AES has no settings");
        let (first, rest) = properties.split_first().ok_or_else(wrong)?;
        let (second, rest) = rest.split_first().unwrap_or((&0, &[]));
        let (salt, iv) = (
            usize::from((first >> 7) + (second >> 4)),
            usize::from((first >> 6 & 1) + (second & 0xF)),
        );
        let (salt, rest) = rest.split_at_checked(salt).ok_or_else(wrong)?;
        let told = rest.get(..iv).ok_or_else(wrong)?;
        let mut iv = [0; AES_BLOCK];
        iv[..told.len()].copy_from_slice(told);
        let power = first & 0x3F;
        if power > MOST_POWER && power != NO_ROUNDS {
            return Err(UnpackError::new(
                Class::LimitArchive,
                format!("its key takes 2^{power} rounds; more than 2^{MOST_POWER} are not done"),
            ));
        }
        let key = keys.key(Recipe { power, salt: salt.to_vec(), password: password.to_vec() });
        let cipher = cbc::Decryptor::new(&key.into(), &iv.into());
        Ok(Self { input, cipher, plain: Vec::new(), taken: 0 })
    }
}

impl<R: Read> Read for AesReader<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.plain.len() {
            self.plain.clear();
            self.taken = 0;
            (&mut self.input).take(AHEAD as u64).read_to_end(&mut self.plain)?;
            if !self.plain.len().is_multiple_of(AES_BLOCK) {
                return Err(io::Error::other("encrypted content ends within a block"));
            }
            for bytes in self.plain.as_chunks_mut::<AES_BLOCK>().0 {
                let mut block = Block::<cbc::Decryptor<Aes256>>::from(*bytes);
                self.cipher.decrypt_block(&mut block);
                *bytes = block.into();
            }
        }
        let read = into.len().min(self.plain.len() - self.taken);
        into[..read].copy_from_slice(&self.plain[self.taken..self.taken + read]);
        self.taken += read;
        Ok(read)
    }
}
