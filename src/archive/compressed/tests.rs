//! What becomes of compressed files, honest and hostile, of every codec alike.

use std::io::Write;

use lzma_rust2::{XzOptions, XzWriter};
use proptest::prelude::*;

use super::{Compressed, Documents, plain_name};
use crate::archive::compressed_stream::Codec;
use crate::archive::contract::{Format, MemberTime, UnpackError};
use crate::archive::limits::{ArchiveLimits, Meter};
use crate::archive::recognise;
use crate::archive::spool_reader::Spool;
use crate::archive::tar::tests::{file, tar};
use crate::archive::tests::{check, fails, read, within};
use crate::model::failure::{Class, Failure};
use crate::model::{ModifiedTime, chain};

const ALL: [Codec; 5] = [Codec::Gz, Codec::Bz2, Codec::Xz, Codec::Zst, Codec::Lz4];

/// `content` in one stream, with every checksum that the format knows.
fn packed(codec: Codec, content: &[u8]) -> Vec<u8> {
    match codec {
        Codec::Gz => gz(&mut flate2::GzBuilder::new(), content),
        Codec::Bz2 => finish(
            bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default()),
            content,
            |encoder| encoder.finish().unwrap(),
        ),
        Codec::Xz => finish(
            XzWriter::new(Vec::new(), XzOptions::with_preset(1)).unwrap(),
            content,
            |encoder| encoder.finish().unwrap(),
        ),
        Codec::Zst => {
            let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
            encoder.include_checksum(true).unwrap();
            finish(encoder, content, |encoder| encoder.finish().unwrap())
        }
        Codec::Lz4 => lz4(lz4_flex::frame::BlockMode::Linked, content),
    }
}

fn finish<E: Write>(mut encoder: E, content: &[u8], end: impl FnOnce(E) -> Vec<u8>) -> Vec<u8> {
    encoder.write_all(content).unwrap();
    end(encoder)
}

fn gz(builder: &mut flate2::GzBuilder, content: &[u8]) -> Vec<u8> {
    let encoder = std::mem::take(builder).write(Vec::new(), flate2::Compression::default());
    finish(encoder, content, |encoder| encoder.finish().unwrap())
}

fn lz4(mode: lz4_flex::frame::BlockMode, content: &[u8]) -> Vec<u8> {
    let mut info = lz4_flex::frame::FrameInfo::new()
        .block_mode(mode)
        .content_checksum(true)
        .block_checksums(true);
    info.block_size = lz4_flex::frame::BlockSize::Max64KB;
    let encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
    finish(encoder, content, |encoder| encoder.finish().unwrap())
}

fn named(codec: Codec) -> String {
    format!("report.csv.{}", codec.name())
}

/// Some text that refers far back.
fn text(lines: usize) -> Vec<u8> {
    (0..lines)
        .flat_map(|line| format!("{line};{};some,fields\n", line * 7919 % 1000).into_bytes())
        .collect()
}

#[test]
fn a_compressed_file_holds_one_member_of_its_name() {
    for codec in ALL {
        for content in [&b"a,b\n1,2\n"[..], b"", &text(20_000)] {
            check(&named(codec), &packed(codec, content), &[("report.csv", content)]);
        }
        let read = read(&named(codec), &packed(codec, b"x")).unwrap();
        assert_eq!((read[0].0.size, read[0].0.modified), (None, None));
    }
    let content = text(20_000);
    check("a.lz4", &lz4(lz4_flex::frame::BlockMode::Independent, &content), &[("a", &content)]);
}

#[test]
fn a_tar_inside_gives_its_members() {
    let inside = tar(&[file("a.txt", b"one"), file("d/b.txt", &text(3000))]);
    for codec in ALL {
        for name in [&named(codec), "whatever.bin"] {
            check(name, &packed(codec, &inside), &[("a.txt", b"one"), ("d/b.txt", &text(3000))]);
        }
        let cut = packed(codec, &inside[..inside.len() - 3000]);
        fails("a", &cut, Class::ArchiveDamaged, "`d/b.txt`: it ends within content");
    }
}

#[test]
fn streams_one_after_the_other_are_one_content() {
    for codec in ALL {
        let streams = [packed(codec, b"one,"), packed(codec, b""), packed(codec, b"two")].concat();
        check(&named(codec), &streams, &[("report.csv", b"one,two")]);
        check(&named(codec), &[&streams[..], &[0; 1000]].concat(), &[("report.csv", b"one,two")]);
        let at = format!(
            "something follows the end of the {} stream, at byte {}",
            codec.name(),
            streams.len() + 2
        );
        fails(&named(codec), &[&streams[..], b"\0\0junk"].concat(), Class::ArchiveDamaged, &at);
        let other = if codec == Codec::Gz { Codec::Xz } else { Codec::Gz };
        fails(
            &named(codec),
            &[streams, packed(other, b"x")].concat(),
            Class::ArchiveDamaged,
            "something follows",
        );
    }
}

#[test]
fn frames_for_others_are_skipped() {
    let skippable = b"\x57\x2A\x4D\x18\x03\0\0\0abc";
    for codec in [Codec::Zst, Codec::Lz4] {
        let frame = packed(codec, b"x");
        for file in [
            [&skippable[..], &frame].concat(),
            [&frame[..], skippable].concat(),
            [&frame[..], skippable, &frame].concat(),
        ] {
            let expected: &[u8] = if file.len() > frame.len() * 2 { b"xx" } else { b"x" };
            check(&named(codec), &file, &[("report.csv", expected)]);
        }
        fails(
            &named(codec),
            &[&frame[..], &skippable[..9]].concat(),
            Class::ArchiveDamaged,
            "ends early",
        );
        fails(
            &named(codec),
            &[&frame[..], &skippable[..6]].concat(),
            Class::ArchiveDamaged,
            "ends early",
        );
    }
    assert!(recognise(skippable, "unknown.bin").is_none());
}

#[test]
fn the_header_of_gz_names_the_member() {
    let builder = || flate2::GzBuilder::new().mtime(1_500_000_000);
    let read_one =
        |mut builder: flate2::GzBuilder| read("x.gz", &gz(&mut builder, b"x")).unwrap().remove(0).0;
    let member = read_one(builder().filename("report.csv"));
    assert_eq!((member.name.as_str(), &member.raw_name[..]), ("report.csv", &b"report.csv"[..]));
    assert_eq!(member.modified, ModifiedTime::from_unix(1_500_000_000).map(MemberTime::Utc));
    assert_eq!(read_one(builder().filename("../../etc/passwd")).name, "passwd");
    assert_eq!(read_one(builder().filename("dir/")).name, "x");
    assert_eq!(read_one(builder()).name, "x");
    let member = read_one(builder().filename(&b"gr\xFC\xDFe"[..]));
    assert_eq!((member.name.as_str(), &member.raw_name[..]), ("grüße", &b"gr\xFC\xDFe"[..]));
    let several =
        [gz(&mut builder().filename("first"), b"1"), gz(&mut builder().filename("second"), b"2")]
            .concat();
    check("x.gz", &several, &[("first", b"12")]);
}

/// The table of checks in `docs/archives.md`, each broken by itself.
#[test]
fn every_check_of_a_codec_is_made() {
    // Below zero, `at` is counted from the end.
    let spoilt = |codec, at: isize, what: &str| {
        let mut file = packed(codec, &text(300));
        let at = if at < 0 { file.len() - at.unsigned_abs() } else { at.unsigned_abs() };
        file[at] ^= 1;
        assert!(
            read(&named(codec), &file).is_err_and(|error| error.class() == Class::ArchiveDamaged),
            "{codec:?}: {what}"
        );
    };
    spoilt(Codec::Gz, -8, "CRC-32");
    spoilt(Codec::Gz, -4, "size");
    spoilt(Codec::Bz2, 10, "CRC-32 of a block");
    spoilt(Codec::Bz2, -3, "CRC-32 of all blocks");
    spoilt(Codec::Zst, -4, "XXH64");
    spoilt(Codec::Lz4, 6, "the frame's header");
    spoilt(Codec::Lz4, -9, "XXH32 of a block");
    spoilt(Codec::Lz4, -4, "XXH32 of all content");
    let damaged = |name: &str, file: &[u8]| {
        assert!(
            read(name, file).is_err_and(|error| error.class() == Class::ArchiveDamaged),
            "{name} {file:x?}"
        )
    };
    // The checksum of a header of gz.
    let header = b"\x1f\x8b\x08\x02\0\0\0\0\0\xff";
    let crc = crc_fast::crc32_iso_hdlc(header).to_le_bytes();
    let deflated = &packed(Codec::Gz, b"x")[10..];
    check("a.gz", &[&header[..], &crc[..2], deflated].concat(), &[("a", b"x")]);
    damaged("a.gz", &[&header[..], &[crc[0] ^ 1, crc[1]], deflated].concat());
    // A frame of zstd of one byte that tells two, and one that tells the truth.
    damaged("a.zst", b"\x28\xB5\x2F\xFD\x20\x02\x09\0\0x");
    check("a.zst", b"\x28\xB5\x2F\xFD\x20\x01\x09\0\0x", &[("a", b"x")]);
    // A frame of lz4 that tells another size than it has.
    let sized = |size| {
        let info = lz4_flex::frame::FrameInfo::new().content_size(Some(size));
        let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(b"content").unwrap();
        encoder
    };
    let file = sized(7).finish().unwrap();
    check("a.lz4", &file, &[("a", b"content")]);
    let mut lying = file.clone();
    lying[6] = 8;
    lying[14] = (twox_hash::XxHash32::oneshot(0, &lying[4..14]) >> 8) as u8;
    fails("a.lz4", &lying, Class::ArchiveDamaged, "its header tells 8");
}

#[test]
fn a_file_cut_anywhere_is_damaged() {
    let content = text(300);
    for codec in ALL {
        let whole = packed(codec, &content);
        for cut in 0..whole.len() {
            let spool = Spool::of(&whole[..cut]);
            let options = within(&named(codec), ArchiveLimits::default());
            let meter = Meter::new(ArchiveLimits::default(), cut as u64);
            let result =
                Compressed(codec).visit(spool.reader(), &options, &meter, &mut |_, content| {
                    std::io::copy(content, &mut std::io::sink())
                        .map_err(UnpackError::from_read)
                        .map(|_| ())
                });
            let error = result.expect_err(&format!("{codec:?} cut at {cut}"));
            assert_eq!(
                error.class(),
                Class::ArchiveDamaged,
                "{codec:?} cut at {cut}: {}",
                chain(&error)
            );
        }
        fails(&named(codec), &whole[..whole.len() - 1], Class::ArchiveDamaged, "at byte");
    }
}

#[test]
fn nothing_is_recognised_that_is_not_compressed() {
    for (head, name) in [
        (&b""[..], "a.gz"),
        (b"\x1f\x8b", "a.gz"),
        (b"\x1f\x8b\x07\x00", "a.gz"),
        (b"BZh91text", "a.bz2"),
        (b"BZh", "a.bz2"),
    ] {
        assert!(recognise(head, name).is_none(), "{head:?}");
    }
}

#[test]
fn bombs_stop_at_the_limit() {
    let zeros = vec![0; 40 << 20];
    let limits = ArchiveLimits { total_bytes: 16 << 20, ..ArchiveLimits::default() };
    for codec in ALL {
        let bomb = packed(codec, &zeros);
        let (spool, mut came) = (Spool::of(&bomb), 0);
        let meter = Meter::new(limits.clone(), spool.size());
        let result = Compressed(codec).visit(
            spool.reader(),
            &within("x", limits.clone()),
            &meter,
            &mut |_, content| {
                let mut buffer = vec![0; 64 << 10];
                loop {
                    match content.read(&mut buffer).map_err(UnpackError::from_read)? {
                        0 => return Ok(()),
                        read => came += read,
                    }
                }
            },
        );
        assert_eq!(result.map_err(|error| error.class()), Err(Class::LimitArchive), "{codec:?}");
        assert!(came <= 17 << 20, "{codec:?}: {came}");
    }
}

#[test]
fn what_takes_much_memory_is_refused() {
    // A window of 256 MiB, then an empty last block.
    fails("a.zst", b"\x28\xB5\x2F\xFD\x00\x90\x01\0\0", Class::LimitArchive, "too much memory");
    let mut xz = packed(Codec::Xz, b"x");
    let end = 12 + (usize::from(xz[12]) + 1) * 4 - 4;
    let dictionary = 12 + xz[12..end].windows(2).position(|pair| pair == [0x21, 1]).unwrap() + 2;
    xz[dictionary] = 40;
    let crc = crc_fast::crc32_iso_hdlc(&xz[12..end]);
    xz[end..end + 4].copy_from_slice(&crc.to_le_bytes());
    fails("a.xz", &xz, Class::LimitArchive, "a block needs a dictionary of");
}

#[test]
fn a_zstd_file_that_needs_a_dictionary_is_told_as_that() {
    // The number of the dictionary in one byte and in four, behind a window or without one.
    for frame in [
        &b"\x28\xB5\x2F\xFD\x21\x05\x01\x09\0\0x"[..],
        b"\x28\xB5\x2F\xFD\x03\x58\0\0\x01\0\x09\0\0x",
    ] {
        fails(
            "a.zst",
            frame,
            Class::ArchiveUnsupported,
            "it needs a zstd dictionary that it does not bring",
        );
    }
    // The number 0 stands for none.
    check("a.zst", b"\x28\xB5\x2F\xFD\x21\0\x01\x09\0\0x", &[("a", b"x")]);
}

#[test]
fn what_is_not_read_is_refused_by_name() {
    fails("a.lz4", b"\x02\x21\x4C\x18\x01\0\0\0x", Class::ArchiveUnsupported, "legacy");
    let mut xz = packed(Codec::Xz, b"x");
    xz[7] = 2;
    let crc = crc_fast::crc32_iso_hdlc(&xz[6..8]);
    xz[8..12].copy_from_slice(&crc.to_le_bytes());
    fails("a.xz", &xz, Class::ArchiveUnsupported, "its check is of the unknown type 2");
}

fn any_codec() -> impl Strategy<Value = Codec> {
    (0..ALL.len()).prop_map(|index| ALL[index])
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1500,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn flipped_bits_never_pass_other_content_as_whole(
        codec in any_codec(),
        place in any::<prop::sample::Index>(),
        bit in 0u8..8,
    ) {
        let content = text(100);
        let mut whole = packed(codec, &content);
        let at = place.index(whole.len());
        whole[at] ^= 1 << bit;
        if recognise(&whole[..whole.len().min(512)], &named(codec)).is_some() {
            match read(&named(codec), &whole) {
                Ok(read) => prop_assert!(read.len() == 1 && read[0].1 == content, "{:?} at {} bit \
                    {}", codec, at, bit),
                Err(error) => prop_assert!(
                    matches!(
                        error.class(),
                        Class::ArchiveDamaged | Class::ArchiveUnsupported | Class::LimitArchive
                    ),
                    "{}", chain(&error)
                ),
            }
        }
    }

    #[test]
    fn any_bytes_behind_a_magic_never_panic(
        codec in any_codec(),
        junk in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let magic: &[u8] = match codec {
            Codec::Gz => b"\x1f\x8b\x08\0\0\0\0\0\0\0",
            Codec::Bz2 => b"BZh9\x31\x41\x59\x26\x53\x59",
            Codec::Xz => b"\xFD7zXZ\0\0\x04\xE6\xD6\xB4\x46",
            Codec::Zst => b"\x28\xB5\x2F\xFD",
            Codec::Lz4 => b"\x04\x22\x4D\x18\x60\x40\x82",
        };
        // What is whole by chance is one file.
        if let Ok(read) = read(&named(codec), &[magic, &junk].concat()) {
            prop_assert_eq!(read.len(), 1);
        }
    }
}

#[test]
fn names_lose_what_compressing_added() {
    let check = |name: &str, codec, plain: &str| assert_eq!(plain_name(name, codec), plain);
    check("report.csv.gz", Codec::Gz, "report.csv");
    check("REPORT.CSV.GZ", Codec::Gz, "REPORT.CSV");
    check("a.tgz", Codec::Gz, "a.tar");
    check("a.tar.gz", Codec::Gz, "a.tar");
    check("a.gz", Codec::Bz2, "a.gz");
    check("a.bz2", Codec::Bz2, "a");
    check("a.txz", Codec::Xz, "a.tar");
    check("a.zst", Codec::Zst, "a");
    check("ä.lz4", Codec::Lz4, "ä");
    check(".gz", Codec::Gz, ".gz");
    check("é", Codec::Gz, "é");
    check("", Codec::Gz, "");
    check("plain", Codec::Gz, "plain");
}

#[test]
fn documents_are_told_by_name_and_content() {
    assert!(Documents.recognises(b"\x1f\x8b\x08\0", "drawing.SVGZ"));
    assert!(!Documents.recognises(b"\x1f\x8b\x08\0", "drawing.svg.gz"));
    assert!(!Documents.recognises(b"<svg", "drawing.svgz"));
}

#[test]
fn a_gz_with_flags_that_nobody_knows_is_not_stored_as_if_it_were_none() {
    let mut odd = packed(Codec::Gz, b"content");
    odd[3] |= 0x80;
    fails("a.csv.gz", &odd, Class::ArchiveDamaged, "");
    // Behind another name it may be anything.
    assert!(recognise(&odd, "a.bin").is_none());
}
