//! Archives to begin with, built byte by byte: one of each form that is read.

use std::io::Write as _;

use super::{quine, rare};

/// A member without content, and how its name is told.
pub struct Stored<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// The system that made it.
    pub made_by: u8,
    /// Its flags.
    pub flags: u16,
    /// Its name in UTF-8, in a field of its own.
    pub unicode: Option<&'a [u8]>,
}

pub fn crc(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iso_hdlc(bytes)
}

/// A member of a zip as it stands there.
struct Packed<'a> {
    name: &'a [u8],
    made_by: u8,
    flags: u16,
    method: u16,
    crc: u32,
    size: u32,
    packed: &'a [u8],
    extra: Vec<u8>,
}

fn build_zip(members: &[Packed<'_>]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for member in members {
        let mut shared = Vec::new();
        [20, member.flags, member.method, 0x6000, 0x5B74]
            .iter()
            .for_each(|value: &u16| shared.extend(value.to_le_bytes()));
        [member.crc, member.packed.len() as u32, member.size]
            .iter()
            .for_each(|value| shared.extend(value.to_le_bytes()));
        [member.name.len() as u16, member.extra.len() as u16]
            .iter()
            .for_each(|value| shared.extend(value.to_le_bytes()));
        let start = out.len() as u32;
        out.extend(
            [b"PK\x03\x04", &shared[..], member.name, &member.extra, member.packed].concat(),
        );
        directory.extend(
            [
                b"PK\x01\x02",
                &[20, member.made_by][..],
                &shared,
                &[0; 10],
                &start.to_le_bytes(),
                member.name,
                &member.extra,
            ]
            .concat(),
        );
    }
    let counts =
        [0, 0, members.len() as u16, members.len() as u16].into_iter().flat_map(u16::to_le_bytes);
    let places = [directory.len() as u32, out.len() as u32].into_iter().flat_map(u32::to_le_bytes);
    let end: Vec<u8> =
        b"PK\x05\x06".iter().copied().chain(counts).chain(places).chain([0, 0]).collect();
    [out, directory, end].concat()
}

/// A zip of empty members with these names.
pub fn stored_zip(members: &[Stored<'_>]) -> Vec<u8> {
    let unicode = |name: &[u8], plain: &[u8]| {
        let length = (name.len() + 5) as u16;
        [&0x7075u16.to_le_bytes()[..], &length.to_le_bytes(), &[1], &crc(plain).to_le_bytes(), name]
            .concat()
    };
    let packed = members.iter().map(|member| Packed {
        name: member.name,
        made_by: member.made_by,
        flags: member.flags,
        method: 0,
        crc: 0,
        size: 0,
        packed: b"",
        extra: member.unicode.map(|name| unicode(name, member.name)).unwrap_or_default(),
    });
    build_zip(&packed.collect::<Vec<_>>())
}

fn deflated(content: &[u8]) -> Vec<u8> {
    let mut encoder =
        flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

fn bzipped(content: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(content).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

fn zst(content: &[u8]) -> Vec<u8> {
    zstd::encode_all(content, 1).expect("memory takes it")
}

fn xz(content: &[u8]) -> Vec<u8> {
    let mut writer = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(0))
        .expect("the preset is known");
    writer.write_all(content).expect("memory takes it");
    writer.finish().expect("memory takes it")
}

/// A gz of `content`, which it says was called `name`.
pub fn gz(name: &str, content: &[u8]) -> Vec<u8> {
    let mut writer = flate2::GzBuilder::new()
        .filename(name)
        .mtime(1_700_000_000)
        .write(Vec::new(), flate2::Compression::best());
    writer.write_all(content).expect("memory takes it");
    writer.finish().expect("memory takes it")
}

fn lz4(content: &[u8], linked: bool) -> Vec<u8> {
    let mode = if linked {
        lz4_flex::frame::BlockMode::Linked
    } else {
        lz4_flex::frame::BlockMode::Independent
    };
    let info = lz4_flex::frame::FrameInfo::new()
        .block_mode(mode)
        .content_checksum(linked)
        .block_checksums(!linked);
    let mut writer = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
    writer.write_all(content).expect("memory takes it");
    writer.finish().expect("memory takes it")
}

fn lzma(content: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let options = lzma_rust2::LzmaOptions::with_preset(0);
    let mut writer =
        lzma_rust2::LzmaWriter::new(Vec::new(), &options, false, false, Some(content.len() as u64))
            .expect("the preset is known");
    writer.write_all(content).expect("memory takes it");
    let properties = [&[options.get_props()][..], &options.dict_size.to_le_bytes()].concat();
    (writer.finish().expect("memory takes it"), properties)
}

/// Text that packs well and is not all one byte.
fn text() -> Vec<u8> {
    (0..60).flat_map(|line| format!("{line},acme,{}\n", line * line).into_bytes()).collect()
}

fn led(forms: &[u8], archives: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    archives
        .iter()
        .flat_map(|archive| forms.iter().map(|form| [&[*form][..], archive].concat()))
        .collect()
}

/// A zip of one member that is packed by `method`, with the checksum and size of its content.
pub fn zip_of(name: &str, method: u16, packed: &[u8], (crc, size): (u32, usize)) -> Vec<u8> {
    build_zip(&[Packed {
        name: name.as_bytes(),
        made_by: 3,
        flags: 0,
        method,
        crc,
        size: size as u32,
        packed,
        extra: Vec::new(),
    }])
}

/// One member for each method, nested ones, lying ones, a quine's relatives.
pub fn zip() -> Vec<Vec<u8>> {
    let text = text();
    let member = |name: &str, method: u16, packed: &[u8]| {
        zip_of(name, method, packed, (crc(&text), text.len()))
    };
    let (lzma, properties) = lzma(&text);
    let in_zip = [&[9, 20, 5, 0][..], &properties, &lzma].concat();
    let plain = member("a.csv", 8, &deflated(&text));
    let mut archives = vec![
        stored_zip(&[]),
        stored_zip(&[Stored {
            name: b"caf\x82/",
            made_by: 0,
            flags: 0,
            unicode: Some("café/".as_bytes()),
        }]),
        member("stored", 0, &text),
        member("bz", 12, &bzipped(&text)),
        member("lzma", 14, &in_zip),
        member("zst", 93, &zst(&text)),
        member("xz", 95, &xz(&text)),
        member("ppmd", 98, &[&[0x05, 0x01][..], &text].concat()),
        [&b"#!/bin/sh\n"[..], &plain, b"\0\0"].concat(),
    ];
    // A password, by either cipher; neither opens.
    for (method, flags, extra) in
        [(8, 1, Vec::new()), (99, 1, [&[1, 0x99, 7, 0, 2, 0][..], b"AE", &[3, 8, 0]].concat())]
    {
        let packed = &text[..80];
        archives.push(build_zip(&[Packed {
            name: b"locked",
            made_by: 0,
            flags,
            method,
            crc: 7,
            size: 60,
            packed,
            extra,
        }]));
    }
    let inner = quine::gz();
    let nested = |name: &[u8], content: &[u8]| {
        let packed = deflated(content);
        build_zip(&[Packed {
            name,
            made_by: 3,
            flags: 0,
            method: 8,
            crc: crc(content),
            size: content.len() as u32,
            packed: &packed,
            extra: Vec::new(),
        }])
    };
    archives.push(nested(b"in/er.zip", &plain));
    archives.push(nested(b"q.gz", &inner));
    archives.push(nested(b"bomb", &vec![0; 2 << 20]));
    archives.push(plain);
    archives.extend(rare::zips(&text));
    led(&[0, 5, 0x0A], archives)
}

/// Writes the checksum of a tar's header.
pub fn sum(header: &mut [u8]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

pub fn header(name: &[u8], kind: u8, size: usize, magic: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 512];
    header[..name.len()].copy_from_slice(name);
    header[100..108].copy_from_slice(b"0000644\0");
    header[108..124].copy_from_slice(b"0001750\x000001750\0");
    header[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    header[136..148].copy_from_slice(b"14504061000\0");
    header[156] = kind;
    header[257..257 + magic.len()].copy_from_slice(magic);
    sum(&mut header);
    header
}

fn padded(content: &[u8]) -> Vec<u8> {
    let mut padded = content.to_vec();
    padded.resize(content.len().next_multiple_of(512), 0);
    padded
}

pub fn entry(name: &[u8], kind: u8, content: &[u8], magic: &[u8]) -> Vec<u8> {
    [header(name, kind, content.len(), magic), padded(content)].concat()
}

pub const USTAR: &[u8] = b"ustar\x0000";
pub const GNU: &[u8] = b"ustar  \0";

fn tars() -> Vec<Vec<u8>> {
    let end = vec![0; 1024];
    let text = &text()[..300];
    let pax = b"30 mtime=1700000000.123456789\n20 path=d/na\xc3\xafve.txt\n11 size=77\n";
    let mut large = header(b"large", b'0', 0, GNU);
    large[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    sum(&mut large);
    vec![
        [
            entry(b"a.csv", b'0', text, USTAR),
            entry(b"d/", b'5', b"", USTAR),
            entry(b"l", b'2', b"", USTAR),
            end.clone(),
        ]
        .concat(),
        [
            entry(b"././@PaxHeader", b'x', pax, USTAR),
            entry(b"short", b'0', &text[..77], USTAR),
            end.clone(),
        ]
        .concat(),
        [
            entry(b"pax_global", b'g', b"19 mtime=1600000000\n", USTAR),
            entry(b"a", b'0', b"x", USTAR),
            end.clone(),
        ]
        .concat(),
        [
            entry(b"././@LongLink", b'L', &[b'n'; 200], GNU),
            entry(b"n", b'0', b"x", GNU),
            end.clone(),
        ]
        .concat(),
        [large, padded(&[7; 256]), end.clone()].concat(),
        [entry(b"old", 0, b"from before there was a magic", b""), end.clone()].concat(),
        [entry(b"sparse", b'S', text, GNU), end.clone()].concat(),
        entry(b"no end", b'0', b"x", USTAR),
        [entry(b"in.gz", b'0', &quine::gz(), USTAR), entry(b"../../x\\y", b'0', b"", USTAR), end]
            .concat(),
    ]
}

/// Each kind of header.
pub fn tar() -> Vec<Vec<u8>> {
    led(&[0x10], [tars(), rare::tars()].concat())
}

/// Each codec over text, over a tar, twice in a row, and the file that holds itself.
pub fn compressed() -> Vec<Vec<u8>> {
    let (text, tar) = (text(), tars().swap_remove(0));
    let mut archives = vec![quine::gz()];
    for content in [&text[..], &tar, b""] {
        archives.extend([
            gz("d/a.csv", content),
            bzipped(content),
            xz(content),
            zst(content),
            lz4(content, false),
            lz4(content, true),
        ]);
    }
    archives.push([gz("a", b"one"), gz("b", b"two"), vec![0; 9]].concat());
    archives.push(
        [&b"\x50\x2A\x4D\x18\x03\0\0\0abc"[..], &zst(b"behind a frame to be skipped")].concat(),
    );
    archives.push(gz("bomb", &vec![0; 2 << 20]));
    archives.push(gz("twice.gz", &gz("once", &text)));
    archives.extend(rare::xzs(&text));
    led(&[0x10], archives)
}

fn number(number: u64) -> Vec<u8> {
    if number < 0x80 { vec![number as u8] } else { [&[0xFF][..], &number.to_le_bytes()].concat() }
}

/// A 7z of packed streams and a header, whose checksums hold.
pub fn wrapped_7z(packed: &[u8], header: &[u8]) -> Vec<u8> {
    let places = [
        &(packed.len() as u64).to_le_bytes()[..],
        &(header.len() as u64).to_le_bytes(),
        &crc(header).to_le_bytes(),
    ]
    .concat();
    [b"7z\xBC\xAF\x27\x1C\0\x04", &crc(&places).to_le_bytes()[..], &places, packed, header].concat()
}

/// A header of two members in a folder of these coders, and one folder of the file system.
fn header_7z(packed: usize, coders: &[u8], sizes: &[u64], contents: [&[u8]; 2]) -> Vec<u8> {
    let mut out =
        [&[1, 4, 6, 0, 1, 9][..], &number(packed as u64), &[0, 7, 0xB, 1, 0], coders, &[0xC]]
            .concat();
    sizes.iter().for_each(|size| out.extend(number(*size)));
    out.extend([0, 8, 0xD, 2, 9, contents[0].len() as u8, 0xA, 1]);
    contents.iter().for_each(|content| out.extend(crc(content).to_le_bytes()));
    out.extend([0, 0, 5, 3, 0x0E, 1, 0x20, 0x11, 19, 0]);
    "a\0é\0d/\0é\0".encode_utf16().take(9).for_each(|unit| out.extend(unit.to_le_bytes()));
    out.extend([0x14, 11, 0, 0x80, 0, 0, 0x80, 0x3E, 0xD5, 0xDE, 0xB1, 0x9D, 1, 0, 0]);
    out
}

/// Coders by themselves and one behind the other; content as it is.
pub fn sevenz() -> Vec<Vec<u8>> {
    let contents = [&b"onetwothree"[..], &b"four".repeat(9)];
    let whole = contents.concat();
    let size = whole.len() as u64;
    let (lzma, properties) = lzma(&whole);
    let coder = |id: &[u8], properties: &[u8]| {
        let flags = id.len() as u8 | if properties.is_empty() { 0 } else { 0x20 };
        [
            &[flags][..],
            id,
            &if properties.is_empty() { Vec::new() } else { number(properties.len() as u64) },
            properties,
        ]
        .concat()
    };
    let one = |coder: Vec<u8>| [vec![1], coder].concat();
    let two = |first: Vec<u8>, second: Vec<u8>| [vec![2], first, second, vec![1, 0]].concat();
    let copy = || coder(&[0], &[]);
    let folders = [
        (whole.clone(), one(copy()), vec![size]),
        (lzma.clone(), one(coder(&[3, 1, 1], &properties)), vec![size]),
        (lzma, two(copy(), coder(&[3, 1, 1], &properties)), vec![size, size]),
        (deflated(&whole), one(coder(&[4, 1, 8], &[])), vec![size]),
        (rare::DEFLATE64.to_vec(), one(coder(&[4, 1, 9], &[])), vec![1000]),
        (bzipped(&whole), one(coder(&[4, 2, 2], &[])), vec![size]),
        (whole.clone(), one(coder(&[0x21], &[1])), vec![size]),
        (whole.clone(), one(coder(&[3, 4, 1], &[6, 0, 0, 1, 0])), vec![size]),
        (whole.clone(), two(copy(), coder(&[3], &[1])), vec![size, size]),
        (whole.clone(), one(coder(&[3, 3, 1, 3], &[])), vec![size]),
        (
            whole.repeat(3)[..64].to_vec(),
            one(coder(&[6, 0xF1, 7, 1], &[0x53, 7, 1, 2, 3, 4, 5, 6, 7, 8])),
            vec![size],
        ),
        (whole.clone(), [&[1, 0x14, 3, 3, 1, 0x1B, 4, 1][..]].concat(), vec![size]),
    ];
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for (packed, coders, sizes) in folders {
        let header = header_7z(packed.len(), &coders, &sizes, contents);
        seeds.push([&[0x14, packed.len() as u8][..], &packed, &header].concat());
        seeds.push([vec![0], wrapped_7z(&packed, &header)].concat());
        seeds.push([&[0x10, packed.len() as u8][..], &packed, &[0x17], &header[2..]].concat());
    }
    seeds
}
