//! What becomes of 7z archives, honest and hostile: each is built here, header by header.

use std::io::Write;

use lzma_rust2::{LzmaOptions, LzmaWriter};
use proptest::prelude::*;
use time::macros::datetime;

use crate::archive::contract::{MemberKind, MemberTime};
use crate::archive::limits::ArchiveLimits;
use crate::archive::sevenz::SevenZ;
use crate::archive::spool_reader::Spool;
use crate::archive::tests::{check, fails, read, read_by, within};
use crate::model::failure::{Class, Failure};
use crate::model::{ModifiedTime, Precision, chain};

const COPY: &[u8] = &[0x01, 0];
const LZMA: &[u8] = &[0x23, 3, 1, 1];

fn number(number: u64) -> Vec<u8> {
    if number < 0x80 { vec![number as u8] } else { [&[0xFF][..], &number.to_le_bytes()].concat() }
}

fn crc(bytes: &[u8]) -> [u8; 4] {
    crc_fast::crc32_iso_hdlc(bytes).to_le_bytes()
}

fn lzma(content: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let options = LzmaOptions::with_preset(1);
    let mut writer =
        LzmaWriter::new(Vec::new(), &options, false, false, Some(content.len() as u64)).unwrap();
    writer.write_all(content).unwrap();
    let properties = [&[options.get_props()][..], &options.dict_size.to_le_bytes()].concat();
    (writer.finish().unwrap(), properties)
}

/// The folder of one coder, and the streams that it unpacks.
fn streams(
    start: usize,
    packed: usize,
    coder: &[u8],
    properties: &[u8],
    unpacked: &[&[u8]],
) -> Vec<u8> {
    let size: usize = unpacked.iter().map(|content| content.len()).sum();
    let mut out = [
        &[6][..],
        &number(start as u64),
        &[1, 9],
        &number(packed as u64),
        &[0, 7, 0xB, 1, 0, 1],
        coder,
    ]
    .concat();
    if coder[0] & 0x20 != 0 {
        out.extend([&number(properties.len() as u64)[..], properties].concat());
    }
    out.extend(
        [&[0xC][..], &number(size as u64), &[0, 8, 0xD], &number(unpacked.len() as u64)].concat(),
    );
    if !unpacked.is_empty() {
        let (_, but_last) = unpacked.split_last().unwrap();
        out.push(9);
        but_last.iter().for_each(|content| out.extend(number(content.len() as u64)));
        out.extend([0xA, 1]);
        unpacked.iter().for_each(|content| out.extend(crc(content)));
    }
    [out, vec![0, 0]].concat()
}

fn property(id: u8, data: &[u8]) -> Vec<u8> {
    [&[id][..], &number(data.len() as u64), data].concat()
}

fn names(names: &[&str]) -> Vec<u8> {
    let units = names.iter().flat_map(|name| name.encode_utf16().chain([0]));
    property(0x11, &[vec![0], units.flat_map(u16::to_le_bytes).collect()].concat())
}

fn entries(count: usize, properties: &[Vec<u8>]) -> Vec<u8> {
    [&[5][..], &number(count as u64), &properties.concat(), &[0]].concat()
}

fn header(parts: &[Vec<u8>]) -> Vec<u8> {
    [&[1][..], &parts.concat(), &[0]].concat()
}

/// An archive of `packed`, with `header` behind it.
fn archive(packed: &[u8], header: &[u8]) -> Vec<u8> {
    let places = [
        &(packed.len() as u64).to_le_bytes()[..],
        &(header.len() as u64).to_le_bytes(),
        &crc(header),
    ]
    .concat();
    [b"7z\xBC\xAF\x27\x1C\0\x04", &crc(&places)[..], &places, packed, header].concat()
}

fn main_streams(streams: Vec<u8>) -> Vec<u8> {
    [vec![4], streams].concat()
}

/// Members with content, in one folder.
fn solid(members: &[(&str, &[u8])]) -> Vec<u8> {
    let contents: Vec<&[u8]> = members.iter().map(|(_, content)| *content).collect();
    let (packed, properties) = lzma(&contents.concat());
    let all: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
    let streams = main_streams(streams(0, packed.len(), LZMA, &properties, &contents));
    archive(&packed, &header(&[streams, entries(all.len(), &[names(&all)])]))
}

#[test]
fn members_of_a_solid_folder_come_in_order() {
    let long = b"0123456789".repeat(5000);
    check(
        "a.7z",
        &solid(&[("a.txt", b"one"), ("d/größe ☃", &long), ("empty?", b""), ("z", b"z")]),
        &[("a.txt", b"one"), ("d/größe ☃", &long), ("empty?", b""), ("z", b"z")],
    );
    check("a.7z", &archive(b"", b""), &[]);
    check("a.7z", &archive(b"", &header(&[])), &[]);
}

#[test]
fn coders_of_branches_of_7_zip_are_read() {
    let content = b"0123456789abcdef".repeat(4_001);
    let turned = |unit: usize| {
        let mut turned = content.clone();
        turned.chunks_exact_mut(unit).for_each(<[u8]>::reverse);
        turned
    };
    let packed = zstd::encode_all(&content[..], 3).unwrap();
    let cut = &packed[..packed.len() - 2];
    for (coder, packed) in [
        (&[0x24, 4, 0xF7, 0x11, 1][..], &packed[..]),
        (&[0x03, 2, 3, 2], &turned(2)),
        (&[0x03, 2, 3, 4], &turned(4)),
    ] {
        let properties: &[u8] = if coder.len() > 4 { &[1, 5, 3, 0, 0] } else { &[] };
        let streams = main_streams(streams(0, packed.len(), coder, properties, &[&content]));
        let archive = archive(packed, &header(&[streams, entries(1, &[names(&["a"])])]));
        check("a.7z", &archive, &[("a", &content)]);
    }
    let streams = streams(0, cut.len(), &[0x24, 4, 0xF7, 0x11, 1], &[1, 5, 3, 0, 0], &[&content]);
    let archive = archive(cut, &header(&[main_streams(streams), entries(1, &[names(&["a"])])]));
    fails("a.7z", &archive, Class::ArchiveDamaged, "");
}

#[test]
fn kinds_and_times_are_told() {
    let contents: [&[u8]; 2] = [b"file", b"target"];
    let streams = main_streams(streams(0, 10, COPY, &[], &contents));
    let modified = (11_644_473_600u64 + 1_500_000_000) * 10_000_000 + 1_234_567;
    let properties = [
        // dir, file, empty file, link, deletion
        property(0x0E, &[0b1010_1000]),
        property(0x0F, &[0b0110_0000]),
        property(0x10, &[0b0010_0000]),
        names(&["dir", "file", "empty", "link", "gone"]),
        property(0x14, &[&[0, 0b0100_0000, 0][..], &modified.to_le_bytes()].concat()),
        property(
            0x15,
            &[&[0, 0b0001_0000, 0][..], &(0o120_777u32 << 16 | 0x8000).to_le_bytes()].concat(),
        ),
        property(0x19, &[0; 3]),
    ];
    let archive = archive(b"filetarget", &header(&[streams, entries(5, &properties)]));
    check(
        "a.7z",
        &archive,
        &[("dir", b""), ("file", b"file"), ("empty", b""), ("link", b"target"), ("gone", b"")],
    );
    let read = read("a.7z", &archive).unwrap();
    use MemberKind::{Directory, File, Link, Special};
    assert_eq!(
        read.iter().map(|(member, _)| member.kind).collect::<Vec<_>>(),
        [Directory, File, File, Link, Special]
    );
    let exact = ModifiedTime::new(datetime!(2017-07-14 2:40:00.1234567 UTC), Precision::Nanosecond);
    let times: Vec<_> = read.iter().map(|(member, _)| member.modified).collect();
    assert_eq!(times, [None, Some(MemberTime::Utc(exact)), None, None, None]);
}

#[test]
fn what_has_content_is_a_file_whatever_its_type() {
    let (pipe, deduplicated) = (0o010_644u32 << 16 | 0x8000, 0x620u32);
    let streams = main_streams(streams(0, 8, COPY, &[], &[b"pipe", b"file"]));
    let attributes =
        property(0x15, &[&[1, 0][..], &pipe.to_le_bytes(), &deduplicated.to_le_bytes()].concat());
    let archive = archive(
        b"pipefile",
        &header(&[streams, entries(2, &[names(&["a.csv", "b.csv"]), attributes])]),
    );
    let read = read("a.7z", &archive).unwrap();
    assert!(read.iter().all(|(member, _)| member.kind == MemberKind::File), "{read:?}");
    assert_eq!((&read[0].1[..], &read[1].1[..]), (&b"pipe"[..], &b"file"[..]));
}

#[test]
fn a_coder_without_a_number_copies() {
    let streams = main_streams(streams(0, 1, &[0], &[], &[b"x"]));
    let header = header(&[streams, entries(1, &[names(&["a"])])]);
    check("a.7z", &archive(b"x", &header), &[("a", b"x")]);
}

#[test]
fn content_that_no_header_lists_is_told() {
    let whole = archive(b"", b"");
    fails(
        "a.7z",
        &[&whole[..], b"content"].concat(),
        Class::ArchiveDamaged,
        "its header lists nothing",
    );
}

#[test]
fn a_name_may_hold_half_a_pair_or_be_missing() {
    let streams = |size| main_streams(streams(0, size, COPY, &[], &[b"x"]));
    let half = property(0x11, &[0, b'a', 0, 0, 0xD8, 0, 0]);
    let found = read("a.7z", &archive(b"x", &header(&[streams(1), entries(1, &[half])]))).unwrap();
    assert_eq!(
        (found[0].0.name.as_str(), &found[0].0.raw_name[..]),
        ("a\u{FFFD}", &b"a\xED\xA0\x80"[..])
    );
    check("piped.7z", &archive(b"x", &header(&[streams(1), entries(1, &[])])), &[("piped", b"x")]);
}

#[test]
fn a_packed_header_is_unpacked() {
    let plain =
        header(&[main_streams(streams(0, 3, COPY, &[], &[b"one"])), entries(1, &[names(&["a"])])]);
    let (packed, properties) = lzma(&plain);
    let outer = [vec![0x17], streams(3, packed.len(), LZMA, &properties, &[&plain])].concat();
    check("a.7z", &archive(&[b"one", &packed[..]].concat(), &outer), &[("a", b"one")]);
    // A header that packs itself.
    let mut endless = [vec![0x17], streams(0, 0, COPY, &[], &[&[0; 60]])].concat();
    let size = endless.len();
    endless = [vec![0x17], streams(0, size, COPY, &[], &[&vec![0; size]])].concat();
    let crc_at = endless.len() - 6;
    endless.drain(crc_at - 2..crc_at + 4);
    fails("a.7z", &archive(&endless, &endless), Class::ArchiveDamaged, "its header");
}

#[test]
fn claims_make_no_room() {
    let huge = |what: &[u8]| archive(b"", &[what, &number(u64::MAX >> 8)].concat());
    fails("a.7z", &huge(&[1, 5]), Class::LimitArchive, "more than 1000000 members");
    fails("a.7z", &huge(&[1, 4, 6, 0]), Class::LimitArchive, "more than 1000000 members");
    fails(
        "a.7z",
        &archive(b"", &[&[1, 4, 7, 0xB][..], &number(1 << 40)].concat()),
        Class::LimitArchive,
        "more than 1000000 members",
    );
    let parts =
        [&[1, 4, 6, 0, 1, 9, 1, 0, 7, 0xB, 1, 0, 1, 1, 0, 0xC, 1, 0, 8, 0xD][..], &number(1 << 40)]
            .concat();
    fails("a.7z", &archive(b"x", &parts), Class::LimitArchive, "more than 1000000 members");
    fails("a.7z", &archive(b"", &[1, 5, 3, 0x11, 0x7F, 0]), Class::ArchiveDamaged, "ends early");
    // A dictionary of 4 GiB for content that may reach so far back, PPMd with 4 GiB, and headers of
    // 10 GB.
    for (coder, properties, size) in [
        (LZMA, &[0x5D, 0xFF, 0xFF, 0xFF, 0xEF][..], 300 << 20),
        (&[0x21, 0x21], &[40], 300 << 20),
        (&[0x23, 3, 4, 1], &[6, 0, 0, 0, 0xF0], 1),
    ] {
        let streams = main_streams(streams(0, 1, coder, properties, &[&vec![0; size]]));
        let archive = archive(b"x", &header(&[streams, entries(1, &[names(&["big"])])]));
        fails("a.7z", &archive, Class::LimitArchive, "MiB of memory");
    }
    let outer =
        [&[0x17, 6, 0, 1, 9, 1, 0, 7, 0xB, 1, 0, 1, 1, 0, 0xC][..], &number(10 << 30), &[0, 0]]
            .concat();
    fails("a.7z", &archive(b"x", &outer), Class::LimitArchive, "its header has 10737418240 bytes");
}

#[test]
fn what_is_not_read_is_refused_by_name() {
    let with = |coder: &[u8]| {
        let streams = main_streams(streams(0, 1, coder, &[], &[b"x"]));
        archive(b"x", &header(&[streams, entries(1, &[names(&["a"])])]))
    };
    fails("a.7z", &with(&[0x03, 4, 1, 9]), Class::ArchiveDamaged, "`a`: ");
    fails("a.7z", &with(&[0x02, 9, 9]), Class::ArchiveUnsupported, "an unknown method (0909)");
    fails("a.7z", &with(&[0x04, 6, 0xF1, 7, 1]), Class::ArchiveEncrypted, "encrypted with AES");
    let whole = solid(&[("a", &b"content".repeat(100))]);
    fails(
        "a.7z.001",
        &whole[..whole.len() - 9],
        Class::ArchiveUnsupported,
        "it is one part of a split 7z",
    );
    fails(
        "a.7z",
        &whole[..whole.len() - 9],
        Class::ArchiveDamaged,
        "truncated, or the first of several volumes",
    );
    fails(
        "a.7z",
        &[b"7z\xBC\xAF\x27\x1C\0\x04", &[0; 24][..], b"packed"].concat(),
        Class::ArchiveDamaged,
        "did not finish it",
    );
}

#[test]
fn headers_that_contradict_themselves_are_damaged() {
    let content = main_streams(streams(0, 3, COPY, &[], &[b"one"]));
    let fails_with = |header: &[u8], why: &str| {
        fails("a.7z", &archive(b"one", header), Class::ArchiveDamaged, why)
    };
    fails_with(
        &header(&[content.clone(), entries(2, &[names(&["a", "b"])])]),
        "2 members have content",
    );
    fails_with(&header(std::slice::from_ref(&content)), "contents for 1");
    fails_with(
        &header(&[content.clone(), entries(1, &[names(&["a", "b"])])]),
        "more names than members",
    );
    let long = main_streams(streams(0, 4, COPY, &[], &[b"one!"]));
    let past = archive(b"", &header(&[long, entries(1, &[names(&["a"])])]));
    // Bytes of the header itself are no content of that checksum.
    assert_eq!(read("a.7z", &past).unwrap_err().class(), Class::ArchiveDamaged);
    let far = main_streams(streams(1000, 3, COPY, &[], &[b"one"]));
    fails_with(&header(&[far, entries(1, &[names(&["a"])])]), "behind its end");
    // Two coders that feed each other, and none that is fed.
    let circle = [4, 6, 0, 1, 9, 3, 0, 7, 0xB, 1, 0, 2, 1, 0, 1, 0, 0, 0, 0, 0xC, 3, 3, 0, 0];
    assert_eq!(
        read("a.7z", &archive(b"one", &header(&[circle.to_vec(), entries(1, &[names(&["a"])])])))
            .unwrap_err()
            .class(),
        Class::ArchiveDamaged
    );
    // More comes out than members have; content that is nobody's.
    let more = main_streams(streams(0, 3, COPY, &[], &[b"on"]));
    fails_with(&header(&[more, entries(1, &[names(&["a"])])]), "more comes out");
    fails_with(
        &header(&[main_streams(
            [&[6, 0, 1, 9, 3, 0, 7, 0xB, 1, 0, 1, 1, 0, 0xC, 3, 0, 8, 0xD, 0, 0, 0][..]].concat(),
        )]),
        "belongs to no member",
    );
}

#[test]
fn an_archive_cut_anywhere_is_damaged() {
    let whole = solid(&[("a", b"one"), ("b", &b"two".repeat(50))]);
    for cut in 6..whole.len() {
        fails("a.7z", &whole[..cut], Class::ArchiveDamaged, "it");
    }
}

#[test]
fn limits_hold() {
    let archive = solid(&[("a", b"one"), ("b", &vec![0; 20 << 20])]);
    let over = |limits| read_by(&SevenZ, &archive, &within("a.7z", limits)).unwrap_err().class();
    assert_eq!(
        over(ArchiveLimits { total_bytes: 1 << 20, ..ArchiveLimits::default() }),
        Class::LimitArchive
    );
    assert_eq!(over(ArchiveLimits { members: 1, ..ArchiveLimits::default() }), Class::LimitArchive);
    assert_eq!(
        over(ArchiveLimits { member_bytes: 1 << 20, ratio: u64::MAX, ..ArchiveLimits::default() }),
        Class::LimitArchive
    );
    assert!(
        read_by(
            &SevenZ,
            &archive,
            &within("a.7z", ArchiveLimits { ratio: u64::MAX, ..ArchiveLimits::default() })
        )
        .is_ok()
    );
    assert!(Spool::of(&archive).size() < 100_000);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1500,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn flipped_bits_never_pass_other_content_as_whole(
        place in any::<prop::sample::Index>(),
        bit in 0u8..8,
    ) {
        let contents: [&[u8]; 2] = [b"one", &b"two".repeat(50)];
        let mut whole = solid(&[("a", contents[0]), ("b", contents[1])]);
        let at = place.index(whole.len() - 6) + 6;
        whole[at] ^= 1 << bit;
        match read("a.7z", &whole) {
            Ok(read) => prop_assert!(read.iter().map(|(_, bytes)| &bytes[..]).eq(contents), "at {} \
                bit {}", at, bit),
            Err(error) => prop_assert!(
                matches!(error.class(), Class::ArchiveDamaged | Class::ArchiveUnsupported),
                "{}",
                chain(&error)
            ),
        }
    }

    /// With checksums that hold, so that the reading itself is tried.
    #[test]
    fn a_spoilt_header_never_panics(
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        more in any::<prop::sample::Index>(),
        other in any::<u8>(),
    ) {
        let (packed, properties) = lzma(b"onetwo");
        let streams = main_streams(streams(0, packed.len(), LZMA, &properties, &[b"one", b"two"]));
        let named = entries(3, &[property(0x0E, &[0x20]), names(&["a", "b", "dir"])]);
        let mut header = header(&[streams, named]);
        let (at, then) = (place.index(header.len()), more.index(header.len()));
        (header[at], header[then]) = (byte, other);
        if let Err(error) = read("a.7z", &archive(&packed, &header)) {
            prop_assert!(error.class() != Class::Internal, "{}", chain(&error));
        }
    }

    #[test]
    fn any_header_never_panics(
        junk in proptest::collection::vec(any::<u8>(), 0..80),
        first in prop::sample::select(vec![1u8, 0x17]),
    ) {
        let header = [&[first, 4][..], &junk].concat();
        if let Err(error) = read("a.7z", &archive(&junk, &header)) {
            prop_assert!(error.class() != Class::Internal, "{}", chain(&error));
        }
    }
}
