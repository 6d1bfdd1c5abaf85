//! Bytes changed as a fuzzer changes them, the same way in every run.

/// A sequence of numbers that look like chance: xorshift64*.
pub struct Chance(u64);

impl Chance {
    /// The sequence of this number.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `end`; 0 if that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() >> 11) as usize % end.max(1)
    }
}

/// Numbers at which something changes.
const EDGES: &[u64] = &[
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFF_FFFF,
    0x8000_0000,
    0xFFFF_FFFF,
    u64::MAX >> 1,
    u64::MAX,
];

/// One of `seeds`, changed once to six times.
pub fn mutated(seeds: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = seeds[chance.below(seeds.len())].clone();
    for _ in 0..=chance.below(6) {
        change(&mut bytes, seeds, chance);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], chance: &mut Chance) {
    let at = chance.below(bytes.len());
    let length = chance.below(bytes.len() - at + 1).min(1 << chance.below(10));
    match chance.below(9) {
        0 if !bytes.is_empty() => bytes[at] ^= 1 << chance.below(8),
        1 if !bytes.is_empty() => bytes[at] = chance.next() as u8,
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at..at + length)),
        // The same again: the archive's, or another place's.
        4 => drop(bytes.splice(at..at, bytes[at..at + length].to_vec())),
        5 => {
            let to = chance.below(bytes.len() - length + 1);
            let part = bytes[at..at + length].to_vec();
            bytes[to..to + length].copy_from_slice(&part);
        }
        6 => {
            let edge = EDGES[chance.below(EDGES.len())];
            let width = (1usize << chance.below(4)).min(bytes.len() - at);
            let number = if chance.below(2) == 0 {
                edge.to_le_bytes()[..width].to_vec()
            } else {
                edge.to_be_bytes()[8 - width..].to_vec()
            };
            bytes[at..at + width].copy_from_slice(&number);
        }
        7 => {
            let other = &seeds[chance.below(seeds.len())];
            let from = chance.below(other.len());
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
        _ => drop(
            bytes.splice(at..at, (0..length % 9).map(|_| chance.next() as u8).collect::<Vec<_>>()),
        ),
    }
}
