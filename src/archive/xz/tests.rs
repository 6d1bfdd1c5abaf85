//! What becomes of xz files whose blocks, index or footer do not fit each other: none of them is
//! taken for whole.

use std::io::{Read, Write};
use std::num::NonZeroU64;

use crc_fast::crc32_iso_hdlc;
use lzma_rust2::{CheckType, FilterType, LzmaOptions, XzOptions, XzWriter};

use crate::archive::tests::{check, fails};
use crate::archive::xz::XzStream;
use crate::model::failure::Class;

const BLOCK: usize = 64 << 10;

fn content() -> Vec<u8> {
    (0..30_000u32)
        .flat_map(|line| format!("{line},{}\n", line * 7919 % 1009).into_bytes())
        .collect()
}

fn packed(options: XzOptions, content: &[u8]) -> Vec<u8> {
    let mut writer = XzWriter::new(Vec::new(), options).unwrap();
    writer.write_all(content).unwrap();
    writer.finish().unwrap()
}

/// In several blocks.
fn blocks(check: CheckType) -> XzOptions {
    let lzma_options = LzmaOptions { dict_size: BLOCK as u32, ..LzmaOptions::with_preset(0) };
    let mut options = XzOptions { lzma_options, ..XzOptions::with_preset(0) };
    options.set_block_size(NonZeroU64::new(BLOCK as u64));
    options.set_check_sum_type(check);
    options
}

/// The parts of a stream: its header, its blocks, its index, its footer.
struct Parts {
    header: Vec<u8>,
    blocks: Vec<Vec<u8>>,
    /// Unpadded and unpacked size of each.
    records: Vec<(u64, u64)>,
    flags: [u8; 2],
}

impl Parts {
    fn of(stream: &[u8]) -> Self {
        let footer = &stream[stream.len() - 12..];
        let backward = (u32::from_le_bytes(footer[4..8].try_into().unwrap()) as usize + 1) * 4;
        let mut index = &stream[stream.len() - 12 - backward + 1..];
        let count = number(&mut index);
        let records: Vec<_> =
            (0..count).map(|_| (number(&mut index), number(&mut index))).collect();
        let (mut at, mut blocks) = (12, Vec::new());
        for (unpadded, _) in &records {
            let size = unpadded.next_multiple_of(4) as usize;
            blocks.push(stream[at..at + size].to_vec());
            at += size;
        }
        Self { header: stream[..12].to_vec(), blocks, records, flags: [footer[8], footer[9]] }
    }

    fn index(&self) -> Vec<u8> {
        let mut index = vec![0];
        put(&mut index, self.records.len() as u64);
        for (unpadded, unpacked) in &self.records {
            put(&mut index, *unpadded);
            put(&mut index, *unpacked);
        }
        sealed(index)
    }

    fn stream(&self) -> Vec<u8> {
        self.with_index(&self.index())
    }

    fn with_index(&self, index: &[u8]) -> Vec<u8> {
        let backward = (index.len() / 4 - 1) as u32;
        [&self.header[..], &self.blocks.concat(), index, &footer(backward, self.flags)].concat()
    }
}

/// With its padding and its checksum.
fn sealed(mut index: Vec<u8>) -> Vec<u8> {
    index.resize(index.len().next_multiple_of(4), 0);
    let crc = crc32_iso_hdlc(&index);
    [index, crc.to_le_bytes().to_vec()].concat()
}

fn footer(backward: u32, flags: [u8; 2]) -> Vec<u8> {
    let told = [&backward.to_le_bytes()[..], &flags].concat();
    [&crc32_iso_hdlc(&told).to_le_bytes()[..], &told, b"YZ"].concat()
}

fn number(bytes: &mut &[u8]) -> u64 {
    let (mut value, mut place) = (0, 0);
    loop {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= u64::from(byte & 0x7F) << place;
        place += 7;
        if byte < 0x80 {
            return value;
        }
    }
}

fn put(bytes: &mut Vec<u8>, mut value: u64) {
    while value > 0x7F {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn refused(stream: &[u8], why: &str) {
    fails("a.csv.xz", stream, Class::ArchiveDamaged, why);
}

#[test]
fn every_check_and_every_filter_gives_the_content() {
    let content = content();
    for kind in [CheckType::None, CheckType::Crc32, CheckType::Crc64, CheckType::Sha256] {
        check("a.csv.xz", &packed(blocks(kind), &content), &[("a.csv", &content)]);
        check("a.csv.xz", &packed(blocks(kind), b""), &[("a.csv", b"")]);
    }
    for (filter, property) in [
        (FilterType::Delta, 4),
        (FilterType::BcjX86, 0),
        (FilterType::BcjArm, 0),
        (FilterType::BcjPpc, 0),
    ] {
        let mut options = blocks(CheckType::Crc64);
        options.prepend_pre_filter(filter, property);
        check("a.csv.xz", &packed(options, &content), &[("a.csv", &content)]);
    }
}

#[test]
fn blocks_in_another_order_are_damage_though_each_holds() {
    let mut parts = Parts::of(&packed(blocks(CheckType::Crc64), &content()));
    assert!(parts.blocks.len() > 2 && parts.records[0] != parts.records[1], "{:?}", parts.records);
    check("a.csv.xz", &parts.stream(), &[("a.csv", &content())]);
    parts.blocks.swap(0, 1);
    refused(&parts.stream(), "the sizes in its index are not those of its blocks");
    parts.blocks[0] = parts.blocks[1].clone();
    refused(&parts.stream(), "the sizes in its index are not those of its blocks");
    parts.blocks.remove(0);
    refused(&parts.stream(), "its index tells");
}

#[test]
fn an_index_that_is_wrong_is_damage() {
    let whole = Parts::of(&packed(blocks(CheckType::Crc32), &content()));
    let changed = |change: fn(&mut Vec<(u64, u64)>)| {
        let mut records = whole.records.clone();
        change(&mut records);
        Parts {
            header: whole.header.clone(),
            blocks: whole.blocks.clone(),
            records,
            flags: whole.flags,
        }
        .stream()
    };
    refused(&changed(|records| records[0].0 += 1), "the sizes in its index");
    refused(&changed(|records| records[0].1 += 1), "the sizes in its index");
    refused(&changed(|records| records.truncate(1)), "its index tells 1 blocks");
    let index = whole.index();
    let mut flipped = index.clone();
    *flipped.last_mut().unwrap() ^= 1;
    refused(&whole.with_index(&flipped), "the checksum of its index");
    // The number of blocks in more bytes than it takes.
    let long = sealed([&[0, index[1] | 0x80, 0][..], &index[2..index.len() - 4]].concat());
    refused(&whole.with_index(&long), "a number is not written as it should be");
}

#[test]
fn a_footer_that_is_wrong_is_damage() {
    let whole = Parts::of(&packed(blocks(CheckType::Crc32), &content()));
    let stream = whole.stream();
    let before = &stream[..stream.len() - 12];
    let backward = (whole.index().len() / 4 - 1) as u32;
    refused(&[before, &footer(backward + 1, whole.flags)].concat(), "another size of the index");
    refused(&[before, &footer(backward, [0, 4])].concat(), "differ");
    let mut torn = footer(backward, whole.flags);
    torn[0] ^= 1;
    refused(&[before, &torn].concat(), "its stream footer does not hold");
    refused(before, "the xz stream");
}

#[test]
fn zeros_come_in_fours_between_streams_and_behind_them() {
    let (one, two) =
        (packed(blocks(CheckType::Crc64), b"one,"), packed(blocks(CheckType::Sha256), b"two"));
    for zeros in [0, 4, 8, 70_000] {
        let padding = vec![0; zeros];
        check("a.csv.xz", &[&one[..], &padding, &two, &padding].concat(), &[("a.csv", b"one,two")]);
    }
    for zeros in [1, 2, 3, 5] {
        let padding = vec![0; zeros];
        refused(&[&one[..], &padding].concat(), "the format has them in fours");
        refused(&[&one[..], &padding, &two].concat(), "the format has them in fours");
    }
    refused(
        &[&one[..], &[0; 4], b"garbage"].concat(),
        "something follows the end of the xz stream",
    );
}

#[test]
fn a_check_or_filter_that_is_not_known_is_told_as_that() {
    let mut stream = packed(blocks(CheckType::Crc64), b"x");
    stream[7] = 2;
    let crc = crc32_iso_hdlc(&stream[6..8]);
    stream[8..12].copy_from_slice(&crc.to_le_bytes());
    fails("a.csv.xz", &stream, Class::ArchiveUnsupported, "its check is of the unknown type 2");
}

#[test]
fn whatever_is_flipped_is_noticed() {
    let stream = packed(blocks(CheckType::Crc32), &content()[..200_000]);
    // Every byte of the container, and some of what is packed.
    let places =
        (0..24).chain((24..stream.len() - 60).step_by(997)).chain(stream.len() - 60..stream.len());
    for at in places {
        for bit in [0, 5] {
            let mut flipped = stream.clone();
            flipped[at] ^= 1 << bit;
            let read = XzStream::new(&flipped[..], u32::MAX).read_to_end(&mut Vec::new());
            assert!(read.is_err(), "bit {bit} of byte {at}");
        }
    }
}
