//! A gz file that holds itself, made here: unpacking it gives it back, to any depth.
//!
//! After Russ Cox, "Zip Files All The Way Down" (2010). Deflate has two commands that print: stored
//! bytes, and a repetition of what came out before. A sequence of them that prints itself is
//! written around a head and a tail, both of which it prints; and since CRC-32 is linear, the
//! checksum in the tail can be solved for.

use crc_fast::crc32_iso_hdlc;

/// Every command takes as many bytes.
const COMMAND: usize = 5;
/// A head, and then a tail, with the command before or behind it.
const HEAD: usize = 3 * COMMAND;
const TAIL: usize = COMMAND + 8;

/// Stored bytes follow: so many.
fn print(bytes: usize) -> Vec<u8> {
    let length = (bytes as u16).to_le_bytes();
    [&[0][..], &length, &length.map(|byte| !byte)].concat()
}

/// Bits, the lowest of each byte first.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    count: usize,
}

impl Bits {
    fn bit(&mut self, bit: bool) {
        if self.count.is_multiple_of(8) {
            self.bytes.push(0);
        }
        if bit {
            *self.bytes.last_mut().expect("one was pushed") |= 1 << (self.count % 8);
        }
        self.count += 1;
    }

    /// Numbers stand lowest bit first.
    fn number(&mut self, number: u32, bits: usize) {
        (0..bits).for_each(|at| self.bit(number >> at & 1 == 1));
    }

    /// Huffman codes stand highest bit first.
    fn code(&mut self, code: u32, bits: usize) {
        (0..bits).rev().for_each(|at| self.bit(code >> at & 1 == 1));
    }
}

/// The last `bytes` once more, in two halves: 18 or 20 of them fill a command to its last bit.
fn repeat(bytes: usize) -> Vec<u8> {
    let mut bits = Bits::default();
    // Not the last block; of fixed codes.
    bits.number(0b010, 3);
    for _ in 0..2 {
        // The lengths 9 and 10 are the symbols 263 and 264; distances from 17 to 24 have code 8 and
        // three bits more.
        bits.code((bytes / 2 - 9 + 263 - 256) as u32, 7);
        bits.code(8, 5);
        bits.number((bytes - 17) as u32, 3);
    }
    bits.code(0, 7);
    assert_eq!(bits.count, 8 * COMMAND);
    bits.bytes
}

fn with(head: &[u8], checksum: u32) -> Vec<u8> {
    let size = (2 * HEAD + 2 * TAIL + 30 * COMMAND) as u32;
    let tail = [&[1, 0, 0, 0xFF, 0xFF][..], &checksum.to_le_bytes(), &size.to_le_bytes()].concat();
    let (p, r) = (print, repeat);
    // One command, four of them, a head and a command, a command and a tail.
    let (one, four, first, last) = (COMMAND, 4 * COMMAND, HEAD + COMMAND, TAIL + COMMAND);
    let file = [
        head.to_vec(),
        [p(first), head.to_vec(), p(first)].concat(),
        r(first),
        [p(one), r(first)].concat(),
        [p(one), p(one)].concat(),
        [p(four), r(first), p(one), p(one), p(four)].concat(),
        r(four),
        [p(four), r(four), p(four), r(four), p(four)].concat(),
        r(four),
        [p(four), r(four), p(0), p(0), p(last)].concat(),
        r(four),
        [p(0), p(0)].concat(),
        [p(last), r(last), tail.clone()].concat(),
        r(last),
        tail,
    ]
    .concat();
    assert_eq!(file.len(), size as usize);
    file
}

/// The file. Its header counts the seconds since 1970 up until there is a checksum that fits.
pub fn gz() -> Vec<u8> {
    let solved = |time: u32| {
        // A command that prints nothing fills up the head.
        let head = [&[0x1F, 0x8B, 8, 0][..], &time.to_le_bytes(), &[0, 3], &print(0)].concat();
        let of = |checksum: u32| crc32_iso_hdlc(&with(&head, checksum));
        let nothing = of(0);
        // What must be 0: the checksum of a file that tells `x`, and `x`. Row by row: what bit `at`
        // of `x` changes.
        let rows = (0..32).map(|at| (of(1 << at) ^ nothing ^ 1 << at, 1u32 << at)).collect();
        solve(rows, nothing).map(|checksum| with(&head, checksum))
    };
    (0..1 << 16).find_map(solved).expect("one in a few times there is a solution")
}

/// The sum of those of `rows` whose left sides sum up to `wanted`: their right sides'.
fn solve(mut rows: Vec<(u32, u32)>, mut wanted: u32) -> Option<u32> {
    let mut sum = 0;
    for bit in 0..32 {
        let Some(at) = rows.iter().position(|(left, _)| left >> bit & 1 == 1) else { continue };
        let (left, right) = rows.swap_remove(at);
        rows.iter_mut()
            .filter(|row| row.0 >> bit & 1 == 1)
            .for_each(|row| *row = (row.0 ^ left, row.1 ^ right));
        if wanted >> bit & 1 == 1 {
            (wanted, sum) = (wanted ^ left, sum ^ right);
        }
    }
    (wanted == 0).then_some(sum)
}
