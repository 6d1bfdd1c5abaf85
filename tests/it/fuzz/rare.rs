//! Archives of forms that are rare, to begin with: each has a decoder or a map of its own.

use super::seeds::{GNU, USTAR, crc, entry, header, sum, zip_of};

/// `codes` of so many bits each, the least bit first.
fn bits(codes: impl IntoIterator<Item = (u32, u32)>) -> Vec<u8> {
    let (mut bytes, mut at) = (Vec::new(), 0);
    for (code, width) in codes {
        for bit in 0..width {
            if at % 8 == 0 {
                bytes.push(0u8);
            }
            if let Some(last) = bytes.last_mut() {
                *last |= ((code >> bit & 1) as u8) << (at % 8);
            }
            at += 1;
        }
    }
    bytes
}

/// The methods of PKZIP before 1993, of every byte by itself, and deflate64.
pub fn zips(text: &[u8]) -> Vec<Vec<u8>> {
    let literals = |width| text.iter().map(move |byte| (u32::from(*byte), width));
    let reduced = bits((0..256).map(|_| (0, 6)).chain(literals(8)));
    let trees = [3u8, 0xF5, 0xF5, 0xF5, 0xF5, 3, 0xF5, 0xF5, 0xF5, 0xF5];
    let imploded =
        [&trees[..], &bits(text.iter().map(|byte| (u32::from(*byte) << 1 | 1, 9)))].concat();
    let mut zips: Vec<Vec<u8>> =
        [(1, bits(literals(9))), (2, reduced.clone()), (5, reduced), (6, imploded)]
            .iter()
            .map(|(method, packed)| zip_of("old", *method, packed, (crc(text), text.len())))
            .collect();
    let sixes = [b'6'; 1000];
    zips.push(zip_of("wide", 9, DEFLATE64, (crc(&sixes), sixes.len())));
    zips
}

/// A thousand times the digit six: a fixed block of a literal and a length that deflate does not
/// know.
pub const DEFLATE64: &[u8] = &[0x33, 0x1B, 0x25, 0x1F, 0, 0];

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let record = |(key, value): &(&str, &str)| {
        let rest = format!(" {key}={value}\n");
        let length = (1..)
            .find(|length: &usize| length.to_string().len() + rest.len() == *length)
            .unwrap_or_default();
        format!("{length}{rest}").into_bytes()
    };
    entry(b"PaxHeaders/x", b'x', &records.iter().flat_map(record).collect::<Vec<_>>(), USTAR)
}

/// Files with holes, as each release of GNU tar tells them, links, labels and parts of volumes.
pub fn tars() -> Vec<Vec<u8>> {
    let end = vec![0; 1024];
    let mut old = header(b"holes", b'S', 8, GNU);
    for (at, number) in [(386, 1000), (398, 4), (410, 4004), (422, 4), (483, 5000)] {
        old[at..at + 12].copy_from_slice(format!("{number:011o}\0").as_bytes());
    }
    sum(&mut old);
    let mut hard = header(b"again", b'1', 0, USTAR);
    hard[157..162].copy_from_slice(b"holes");
    sum(&mut hard);
    let mut data = vec![0; 512];
    data[..8].copy_from_slice(b"dataEND.");
    let map = [&b"2\n1000\n4\n4004\n4\n"[..], &[0; 494], &data].concat();
    let sparse = |records: &[(&str, &str)]| {
        [pax(records), entry(b"holes", b'0', b"dataEND.", USTAR), end.clone()].concat()
    };
    vec![
        [old, data, hard, end.clone()].concat(),
        sparse(&[
            ("GNU.sparse.size", "5000"),
            ("GNU.sparse.numblocks", "2"),
            ("GNU.sparse.offset", "1000"),
            ("GNU.sparse.numbytes", "4"),
            ("GNU.sparse.offset", "4004"),
            ("GNU.sparse.numbytes", "4"),
        ]),
        sparse(&[
            ("GNU.sparse.size", "5000"),
            ("GNU.sparse.map", "1000,4,4004,4"),
            ("GNU.sparse.name", "n"),
        ]),
        [
            pax(&[
                ("GNU.sparse.major", "1"),
                ("GNU.sparse.minor", "0"),
                ("GNU.sparse.realsize", "5000"),
                ("GNU.sparse.name", "n"),
            ]),
            entry(b"holes", b'0', &map[..520], USTAR),
            end.clone(),
        ]
        .concat(),
        [header(b"Monday", b'V', 0, b""), entry(b"a", b'0', b"x", GNU), end.clone()].concat(),
        [entry(b"acl", b'A', b"user::rwx", USTAR), entry(b"a", b'0', b"x", USTAR), end].concat(),
        entry(b"a", b'0', b"without its end", USTAR),
    ]
}

/// Two streams with padding between them and behind, the second of several blocks.
pub fn xzs(text: &[u8]) -> Vec<Vec<u8>> {
    use std::io::Write as _;
    let pack = |block: Option<u64>| {
        let mut options = lzma_rust2::XzOptions::with_preset(0);
        options.set_block_size(block.and_then(std::num::NonZeroU64::new));
        let mut writer =
            lzma_rust2::XzWriter::new(Vec::new(), options).expect("the preset is known");
        writer.write_all(text).expect("memory takes it");
        writer.finish().expect("memory takes it")
    };
    let (one, several) = (pack(None), pack(Some(300)));
    vec![[&one[..], &[0; 4], &several, &[0; 8]].concat(), several]
}

/// Each is what it should be: a seed that nothing reads covers nothing.
#[test]
fn every_rare_form_is_read() {
    let text: Vec<u8> = b"device,1,2026-11-20\n".repeat(40);
    for (name, archives) in [("a.zip", zips(&text)), ("a.tar", tars()), ("a.xz", xzs(&text))] {
        for (at, archive) in archives.iter().enumerate() {
            let read = super::packed::unpack(name, archive, super::packed::options(name, 0));
            assert!(read.is_some_and(|members| !members.is_empty()), "{name} {at}");
        }
    }
}
