//! MD5 (RFC 1321) of several contents side by side. Each step of it needs the result of the one
//! before, so a core spends most of one content's time on waiting: four contents take about one and
//! a half times as long as one (`cargo bench -- side_by_side`).

/// Bytes of a block of MD5.
pub const BLOCK: usize = 64;
/// How many contents are taken at most. Four words fill a register that every x86-64 and every
/// ARMv8 has.
pub(crate) const LANES: usize = 4;

/// What MD5 has come to after whole blocks.
pub type Words = [u32; 4];

/// Before the first block.
pub const BEGIN: Words = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// One word of each content.
type Row = [u32; LANES];

/// Takes the same number of blocks of each content, as many as the shortest has, into its words.
/// `contents` has at most [`LANES`]; what follows the last whole block of one is left alone.
pub(crate) fn advance(words: &mut [Words], contents: &[&[u8]]) {
    let blocks = contents.iter().map(|content| content.len() / BLOCK).min().unwrap_or(0);
    // Where our own code is not optimised, as in tests, four at once take longer than one after the
    // other.
    if contents.len() > 1 && !cfg!(debug_assertions) {
        return side_by_side(words, contents, blocks);
    }
    for (words, content) in words.iter_mut().zip(contents) {
        md5::block_api::compress(words, &content.as_chunks().0[..blocks]);
    }
}

/// With fewer than four contents, the last one fills their places, too, and what comes of that is
/// thrown away: two cost less in four lanes than one after the other.
fn side_by_side(words: &mut [Words], contents: &[&[u8]], blocks: usize) {
    let last = contents.len() - 1;
    let mut state: [Row; 4] =
        std::array::from_fn(|word| std::array::from_fn(|lane| words[lane.min(last)][word]));
    let mut contents: [_; LANES] =
        std::array::from_fn(|lane| contents[lane.min(last)].as_chunks::<BLOCK>().0.iter());
    for _ in 0..blocks {
        compress(
            &mut state,
            std::array::from_fn(|lane| contents[lane].next().expect("each has so many")),
        );
    }
    for (lane, words) in words.iter_mut().enumerate().take(last + 1) {
        *words = std::array::from_fn(|word| state[word][lane]);
    }
}

/// Sixteen steps, written out: only then everything but the words is a constant, and stays in
/// registers.
macro_rules! round {
    ($state:ident, $message:ident, $round:literal, $first:literal, $stride:literal, $mix:expr) => {
        round!($state, $message, $round, $first, $stride, $mix,
            [0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15])
    };
    ($state:ident, $message:ident, $round:literal, $first:literal, $stride:literal, $mix:expr,
        [$($step:literal)*]) => {
        $(
            let word = &$message[($first + $step * $stride) % 16];
            $state = turn::<{ 16 * $round + $step }>($state, word, $mix);
        )*
    };
}

fn compress(words: &mut [Row; 4], blocks: [&[u8; BLOCK]; LANES]) {
    let message: [Row; 16] =
        std::array::from_fn(|word| std::array::from_fn(|lane| word_of(blocks[lane], word)));
    let [a, b, c, d] = *words;
    let mut state = (a, b, c, d);
    round!(state, message, 0, 0, 1, |sum, b, c, d| sum.wrapping_add(d ^ (b & (c ^ d))));
    // Two sums in place of an "or": the one without `b` does not wait for the step before.
    round!(state, message, 1, 1, 5, |sum, b, c, d| sum.wrapping_add(c & !d).wrapping_add(b & d));
    round!(state, message, 2, 5, 3, |sum, b, c, d| sum.wrapping_add(b ^ (c ^ d)));
    round!(state, message, 3, 0, 7, |sum, b, c, d| sum.wrapping_add(c ^ (b | !d)));
    let (a, b, c, d) = state;
    for (word, end) in words.iter_mut().zip([a, b, c, d]) {
        *word = std::array::from_fn(|lane| word[lane].wrapping_add(end[lane]));
    }
}

type Rows = (Row, Row, Row, Row);

#[inline(always)]
fn turn<const STEP: usize>(
    (a, b, c, d): Rows,
    message: &Row,
    mix: impl Fn(u32, u32, u32, u32) -> u32,
) -> Rows {
    let next = std::array::from_fn(|lane| {
        let sum = a[lane].wrapping_add(message[lane]).wrapping_add(SINES[STEP]);
        mix(sum, b[lane], c[lane], d[lane])
            .rotate_left(TURNS[STEP / 16][STEP % 4])
            .wrapping_add(b[lane])
    });
    (d, next, b, c)
}

#[inline(always)]
fn word_of(block: &[u8; BLOCK], word: usize) -> u32 {
    let at = word * 4;
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

/// The end: what follows the last whole block of a content of `size` bytes, and its length.
pub fn finish(mut words: Words, rest: &[u8], size: u64) -> [u8; 16] {
    let mut last = [0; 2 * BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    last[rest.len()] = 0x80;
    let end = if rest.len() + 9 > BLOCK { 2 * BLOCK } else { BLOCK };
    last[end - 8..end].copy_from_slice(&size.wrapping_mul(8).to_le_bytes());
    advance(std::slice::from_mut(&mut words), &[&last[..end]]);
    let mut digest = [0; 16];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    digest
}

const TURNS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];

/// 2³² · |sin(n)| for n from 1 to 64.
#[rustfmt::skip]
const SINES: [u32; 64] = [
    0xd76a_a478, 0xe8c7_b756, 0x2420_70db, 0xc1bd_ceee,
    0xf57c_0faf, 0x4787_c62a, 0xa830_4613, 0xfd46_9501,
    0x6980_98d8, 0x8b44_f7af, 0xffff_5bb1, 0x895c_d7be,
    0x6b90_1122, 0xfd98_7193, 0xa679_438e, 0x49b4_0821,
    0xf61e_2562, 0xc040_b340, 0x265e_5a51, 0xe9b6_c7aa,
    0xd62f_105d, 0x0244_1453, 0xd8a1_e681, 0xe7d3_fbc8,
    0x21e1_cde6, 0xc337_07d6, 0xf4d5_0d87, 0x455a_14ed,
    0xa9e3_e905, 0xfcef_a3f8, 0x676f_02d9, 0x8d2a_4c8a,
    0xfffa_3942, 0x8771_f681, 0x6d9d_6122, 0xfde5_380c,
    0xa4be_ea44, 0x4bde_cfa9, 0xf6bb_4b60, 0xbebf_bc70,
    0x289b_7ec6, 0xeaa1_27fa, 0xd4ef_3085, 0x0488_1d05,
    0xd9d4_d039, 0xe6db_99e5, 0x1fa2_7cf8, 0xc4ac_5665,
    0xf429_2244, 0x432a_ff97, 0xab94_23a7, 0xfc93_a039,
    0x655b_59c3, 0x8f0c_cc92, 0xffef_f47d, 0x8584_5dd1,
    0x6fa8_7e4f, 0xfe2c_e6e0, 0xa301_4314, 0x4e08_11a1,
    0xf753_7e82, 0xbd3a_f235, 0x2ad7_d2bb, 0xeb86_d391,
];

#[cfg(test)]
mod tests {
    use super::*;
    use md5::Digest;
    use proptest::prelude::*;

    #[test]
    fn the_table_is_that_of_sines() {
        for (at, sine) in SINES.iter().enumerate() {
            assert_eq!(
                f64::from(*sine),
                ((at as f64 + 1.0).sin().abs() * 2_f64.powi(32)).floor(),
                "{at}"
            );
        }
    }

    /// The MD5 of each, by the whole blocks that all of them have and then by the rest.
    fn digests(
        contents: &[Vec<u8>],
        together: impl Fn(&mut [Words], &[&[u8]], usize),
    ) -> Vec<[u8; 16]> {
        let blocks = contents.iter().map(|content| content.len() / BLOCK).min().unwrap_or(0);
        let mut words = vec![BEGIN; contents.len()];
        together(&mut words, &contents.iter().map(Vec::as_slice).collect::<Vec<_>>(), blocks);
        let alone = |(content, mut words): (&Vec<u8>, Words)| {
            let (whole, rest) = content[blocks * BLOCK..].as_chunks::<BLOCK>();
            advance(std::slice::from_mut(&mut words), &[whole.as_flattened()]);
            finish(words, rest, content.len() as u64)
        };
        contents.iter().zip(words).map(alone).collect()
    }

    proptest! {
        #[test]
        fn contents_side_by_side_come_to_what_each_comes_to_alone(
            contents in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..400),
                1..=LANES),
        ) {
            let alone = |content: &Vec<u8>| md5::Md5::digest(content).into();
            let wanted: Vec<[u8; 16]> = contents.iter().map(alone).collect();
            prop_assert_eq!(&digests(&contents, side_by_side), &wanted);
            prop_assert_eq!(&digests(&contents, |words, contents,
                _| advance(words, contents)), &wanted);
        }
    }
}
