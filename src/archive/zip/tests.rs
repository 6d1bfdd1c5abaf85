//! What becomes of zips, honest and hostile.

use std::io::Write;

use md5::{Digest, Md5};
use proptest::prelude::*;

use crate::archive::contract::{Format, MemberKind, MemberTime, Nature, Options, UnpackError};
use crate::archive::limits::{Limits, Meter};
use crate::archive::spool::{Room, Spool, SpoolLimits, Spooler};
use crate::archive::unpack::{Archive, Part, Wish};
use crate::archive::zip::Zip;
use crate::archive::zip::making::{
    Made, Read, build, check, doubts, end, find, made, read, read_within, refused,
};
use crate::failure::{Class, Failure};
use crate::model::chain;

#[test]
fn members_come_in_order_with_all_their_bytes() {
    let big: Vec<u8> = (0..300_000u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
    let stored = Made { deflate: false, ..made("b.bin", &big) };
    let streamed = Made { descriptor: true, ..made("c.bin", &big) };
    let both = Made { deflate: false, ..streamed.clone() };
    let archive = build(&[
        made("a.txt", b"one"),
        stored,
        streamed,
        Made { name: b"d".to_vec(), ..both },
        made("empty", b""),
    ]);
    check(
        &archive,
        &[("a.txt", b"one"), ("b.bin", &big), ("c.bin", &big), ("d", &big), ("empty", b"")],
    );
}

#[test]
fn an_empty_zip_has_no_members() {
    check(&build(&[]), &[]);
}

#[test]
fn duplicates_and_names_that_differ_in_case_are_all_there() {
    let archive = build(&[made("a", b"1"), made("a", b"2"), made("A", b"3"), made("a", b"")]);
    check(&archive, &[("a", b"1"), ("a", b"2"), ("A", b"3"), ("a", b"")]);
}

#[test]
fn odd_names_are_kept_as_they_are() {
    let names =
        ["../../a", "/etc/passwd", "C:/x", "C:x", "a\0b", "", "..", "a//b", "ends.", "caf\u{e9}"];
    let members: Vec<Made> = names.iter().map(|name| made(name, b"x")).collect();
    check(&build(&members), &names.map(|name| (name, &b"x"[..])));
    let raw = Made { name: b"\x8e\\\x81".to_vec(), made_by: 0, ..made("", b"x") };
    let read = read(&build(&[raw])).unwrap();
    assert_eq!(
        (read[0].0.raw_name.as_slice(), read[0].0.name.as_str()),
        (&b"\x8e\\\x81"[..], "Ä/ü")
    );
}

#[test]
fn kinds_and_times_are_told() {
    let link = Made { attributes: 0o120_777 << 16, ..made("link", b"target") };
    let archive = build(&[made("dir/", b""), made("dir/file", b"x"), link]);
    let read = read(&archive).unwrap();
    let kinds: Vec<_> = read.iter().map(|(member, _)| member.kind).collect();
    assert_eq!(kinds, [MemberKind::Directory, MemberKind::File, MemberKind::Link]);
    assert_eq!(read[2].1, b"target");
    assert_eq!(
        read[1].0.modified,
        Some(MemberTime::Local(time::macros::datetime!(2025-11-20 12:00:00)))
    );
}

#[test]
fn an_archive_by_another_writer_is_read() {
    use zip::write::SimpleFileOptions;
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    for i in 0..70_000 {
        writer
            .start_file(
                format!("{i}.txt"),
                options.compression_method(zip::CompressionMethod::Stored),
            )
            .unwrap();
        writer.write_all(i.to_string().as_bytes()).unwrap();
    }
    writer.start_file("wide", options.large_file(true)).unwrap();
    writer.write_all(&[7; 100_000]).unwrap();
    let archive = writer.finish().unwrap().into_inner();
    let read = read(&archive).unwrap();
    assert_eq!(read.len(), 70_001);
    assert!(
        read[..70_000].iter().enumerate().all(|(i, (_, bytes))| bytes == i.to_string().as_bytes())
    );
    assert_eq!(read[70_000].1, [7; 100_000]);
}

/// More than 4 GiB of zeros, stored.
#[test]
fn a_member_beyond_32_bits_is_read() {
    let size: u64 = (4 << 30) + 1;
    let crc = 0x41D912FF; // Of so many zeros, as zlib has it.
    let wide = [&[1, 0, 16, 0][..], &size.to_le_bytes(), &size.to_le_bytes()].concat();
    let member = Made {
        extra: wide,
        size: Some(u32::MAX),
        crc: Some(crc),
        deflate: false,
        ..made("big", b"")
    };
    let header =
        [b"PK\x03\x04", &member.shared(u32::MAX, false)[..], b"big", &member.extra].concat();
    let entry = [
        b"PK\x01\x02\x14\x03",
        &member.shared(u32::MAX, false)[..],
        &[0; 14],
        b"big",
        &member.extra,
    ]
    .concat();
    let start = header.len() as u64 + size;
    let end64 = [b"PK\x06\x06", &44u64.to_le_bytes()[..], &[0; 12]].concat();
    let counts = [1, 1, entry.len() as u64, start].map(u64::to_le_bytes).concat();
    let locator =
        [b"PK\x06\x07", &[0; 4][..], &(start + entry.len() as u64).to_le_bytes(), &[1, 0, 0, 0]]
            .concat();
    let tail = [entry, end64, counts, locator, end(1, usize::MAX, usize::MAX)].concat();
    let spool = Spool::of_zeros(&header, size, &tail);
    let mut read = 0;
    let result = Zip.visit(
        spool.reader(),
        &Options::default(),
        &Meter::new(Limits::default(), spool.size()),
        &mut |member, content| {
            assert_eq!(member.size, Some(size));
            let mut buffer = vec![0; 1 << 20];
            loop {
                match content.read(&mut buffer).map_err(UnpackError::from_read)? {
                    0 => return Ok(()),
                    bytes => read += bytes as u64,
                }
            }
        },
    );
    assert!(result.is_ok(), "{:?}", result.map_err(|error| chain(&error)));
    assert_eq!(read, size);
}

#[test]
fn more_members_than_allowed_are_refused_by_the_claim() {
    let archive = build(&vec![made("a", b""); 20]);
    let error = read_within(&archive, Limits { members: 19, ..Limits::default() }).unwrap_err();
    assert_eq!(error.class(), Class::LimitArchive);
    assert!(read_within(&archive, Limits { members: 20, ..Limits::default() }).is_ok());
}

#[test]
fn the_last_of_many_members_is_proven_too() {
    let mut members: Vec<Made> = (0..5_000).map(|i| made(&format!("{i}"), b"content")).collect();
    members[4_999].crc = Some(1);
    refused(&build(&members), Class::ArchiveDamaged, "unpacking member `4999`: its checksum is");
}

#[test]
fn what_is_left_unread_is_proven_too() {
    let spool = Spool::of(&build(&[Made { crc: Some(1), ..made("a", b"content") }]));
    let error = Zip
        .visit(
            spool.reader(),
            &Options::default(),
            &Meter::new(Limits::default(), spool.size()),
            &mut |_, _| Ok(()),
        )
        .unwrap_err();
    assert_eq!(error.class(), Class::ArchiveDamaged);
}

#[test]
fn the_visitors_error_comes_back_as_it_is() {
    let spool = Spool::of(&build(&[made("a", b"content"), made("b", b"")]));
    let mut visits = 0;
    let error = Zip.visit(
        spool.reader(),
        &Options::default(),
        &Meter::new(Limits::default(), spool.size()),
        &mut |_, _| {
            visits += 1;
            Err(UnpackError::new(Class::Interrupted, "stop"))
        },
    );
    assert_eq!((error.unwrap_err().class(), visits), (Class::Interrupted, 1));
}

#[test]
fn lying_sizes_are_refused() {
    for (size, text) in
        [(3, "more than the 3 bytes"), (99, "it has 7 bytes; the directory tells 99")]
    {
        refused(
            &build(&[Made { size: Some(size), ..made("a", b"content") }]),
            Class::ArchiveDamaged,
            text,
        );
        refused(
            &build(&[Made { size: Some(size), deflate: false, ..made("a", b"content") }]),
            Class::ArchiveDamaged,
            "sizes packed and unpacked differ",
        );
    }
    let mut archive = build(&[made("a", b"content")]);
    archive[22] ^= 1;
    refused(&archive, Class::ArchiveDamaged, "differ in its size or checksum");
}

#[test]
fn headers_that_disagree_are_refused() {
    let archive = build(&[made("name", b"content"), made("other", b"")]);
    // Names that differ only in which way their slashes lean are the same.
    let mut leaning = build(&[made("d/a", b"content")]);
    let at = find(&leaning, b"d/a");
    leaning[at + 1] = b'\\';
    assert_eq!(read(&leaning).unwrap()[0].0.raw_name, b"d/a");
    let mut method = archive.clone();
    method[8] = 0;
    refused(&method, Class::ArchiveDamaged, "differ in how it is packed");
    let streamed = build(&[Made { descriptor: true, ..made("name", b"content") }]);
    let mut lying = streamed.clone();
    lying[find(&streamed, b"PK\x07\x08") + 4] ^= 1;
    refused(&lying, Class::ArchiveDamaged, "differ in its size or checksum");
}

#[test]
fn encrypted_members_are_told_so() {
    refused(
        &build(&[made("plain", b""), Made { flags: 1, ..made("secret", b"content") }]),
        Class::ArchiveEncrypted,
        "member `secret`",
    );
    let aes = [1, 0x99, 7, 0, 1, 0, b'A', b'E', 3, 8, 0].to_vec();
    refused(
        &build(&[Made { method: Some(99), flags: 1, extra: aes, ..made("secret", b"content") }]),
        Class::ArchiveEncrypted,
        "archive_passwords",
    );
    refused(
        &build(&[Made { method: Some(99), flags: 1, ..made("secret", b"content") }]),
        Class::ArchiveDamaged,
        "its field about that is wrong",
    );
    refused(
        &build(&[Made { flags: 1 | 1 << 6, ..made("secret", b"content") }]),
        Class::ArchiveUnsupported,
        "strong encryption",
    );
    refused(
        &build(&[Made { flags: 1 << 13, ..made("secret", b"content") }]),
        Class::ArchiveUnsupported,
        "its directory is encrypted",
    );
    refused(
        &build(&[Made { flags: 1 << 5, ..made("a", b"content") }]),
        Class::ArchiveUnsupported,
        "a patch",
    );
}

#[test]
fn methods_that_are_not_read_are_named() {
    for (method, text) in [(10, "DCL"), (97, "WavPack"), (777, "unknown method 777")] {
        refused(
            &build(&[Made { method: Some(method), ..made("a", b"x") }]),
            Class::ArchiveUnsupported,
            text,
        );
    }
}

#[test]
fn parts_of_split_archives_are_told_so() {
    let mut archive = build(&[made("a", b"x")]);
    let at = find(&archive, b"PK\x01\x02") + 34;
    archive[at] = 1;
    refused(&archive, Class::ArchiveUnsupported, "split");
}

#[test]
fn members_that_share_bytes_are_refused() {
    let archive = build(&[made("a", b"content"), made("a", b"content")]);
    let second = find(&archive, b"PK\x01\x02") + 46 + 1;
    let mut overlap = archive.clone();
    overlap[second + 42..second + 46].copy_from_slice(&[0; 4]);
    refused(&overlap, Class::ArchiveDamaged, "overlap");
}

#[test]
fn members_that_the_directory_keeps_quiet_about_are_refused() {
    let archive = build(&[made("a", b"x"), made("b", b"y")]);
    let start = find(&archive, b"PK\x01\x02");
    let listed = &archive[start..start + 47];
    let hidden = [&archive[..start], listed, &end(1, 47, start)].concat();
    refused(&hidden, Class::ArchiveDamaged, "that its directory does not list");
}

#[test]
fn bytes_after_the_end_are_fine_unless_they_are_more_of_a_zip() {
    let archive = build(&[made("a", b"x")]);
    check(&[&archive[..], b"\n-- mailed by a gateway"].concat(), &[("a", b"x")]);
    refused(&[&archive[..], &archive[..]].concat(), Class::ArchiveDamaged, "more of a zip follows");
    // An archive that lost its end holds a whole one, stored: that is not what was sent.
    let outer =
        build(&[made("before", b"y"), Made { deflate: false, ..made("inner.zip", &archive) }]);
    let cut = find(&outer, b"inner.zip") + 9 + archive.len();
    refused(&outer[..cut], Class::ArchiveDamaged, "not where its end says");
}

#[test]
fn bombs_are_stopped_while_they_unpack() {
    let zeros = made("zeros", &vec![0; 40 << 20]);
    let free = Limits { ratio: u64::MAX, ..Limits::default() };
    assert!(read_within(&build(std::slice::from_ref(&zeros)), free.clone()).is_ok());
    for limits in
        [Limits { total_bytes: 1 << 20, ..free.clone() }, Limits { member_bytes: 1 << 20, ..free }]
    {
        assert_eq!(
            read_within(&build(std::slice::from_ref(&zeros)), limits).unwrap_err().class(),
            Class::LimitArchive
        );
    }
}

#[test]
fn a_zip_cut_anywhere_is_never_whole() {
    let archive = build(&[
        made("a", b"content"),
        Made { descriptor: true, ..made("dir/b", &[b'x'; 500]) },
        made("c/", b""),
    ]);
    for length in 0..archive.len() {
        let error = read(&archive[..length]).expect_err("a part is not the whole");
        assert_eq!(error.class(), Class::ArchiveDamaged, "{length}");
    }
}

#[test]
fn documents_are_told_from_archives() {
    let check = |names: &[&str], expected: bool| {
        let members: Vec<Made> =
            names.iter().map(|name| Made { deflate: false, ..made(name, b"x") }).collect();
        assert_eq!(
            Zip.nature(Spool::of(&build(&members)).reader()).unwrap() == Nature::Document,
            expected,
            "{names:?}"
        );
    };
    check(&["word/document.xml", "[Content_Types].xml"], true);
    check(&["META-INF/", "META-INF/MANIFEST.MF", "A.class"], true);
    check(&["mimetype", "content.xml"], true);
    check(&["classes.dex", "AndroidManifest.xml"], true);
    check(&["a.csv", "mimetype"], false);
    check(&["folder/META-INF/MANIFEST.MF"], false);
    check(&[], false);
}

/// `archive` with all its offsets counted from `by` bytes before it.
fn moved(archive: &[u8], by: u32) -> Vec<u8> {
    let mut moved = archive.to_vec();
    let mut add = |at: usize| {
        let offset = u32::from_le_bytes(moved[at..at + 4].try_into().unwrap()) + by;
        moved[at..at + 4].copy_from_slice(&offset.to_le_bytes());
    };
    archive
        .windows(4)
        .enumerate()
        .filter(|(_, window)| window == b"PK\x01\x02")
        .for_each(|(at, _)| add(at + 42));
    add(archive.len() - 22 + 16);
    moved
}

#[test]
fn an_archive_behind_other_bytes_is_read() {
    let members = [made("a", b"content"), Made { descriptor: true, ..made("b", &[b'x'; 300]) }];
    let archive = build(&members);
    // Programs that unpack themselves know the signatures.
    for before in [
        &b"#!/bin/sh\nexec unzip \"$0\"\n"[..],
        b"Content-Type: application/zip\r\n\r\n",
        b"MZ..PK\x03\x04\xff\xff\xff..PK\x05\x06..",
    ] {
        for archive in [archive.clone(), moved(&archive, before.len() as u32)] {
            let whole = [before, &archive].concat();
            check(&whole, &[("a", b"content"), ("b", &[b'x'; 300])]);
            assert_eq!(Zip.nature(Spool::of(&whole).reader()).unwrap(), Nature::Archive);
            for length in (before.len()..whole.len()).step_by(7) {
                assert!(read(&whole[..length]).is_err(), "{length}");
            }
        }
    }
    let empty = [b"nothing else: ", &build(&[])[..]].concat();
    check(&empty, &[]);
}

#[test]
fn a_part_of_an_archive_is_not_taken_for_the_whole() {
    let inner = build(&[made("a", b"content")]);
    let outer =
        build(&[made("before", b"y"), Made { deflate: false, ..made("inner.zip", &inner) }]);
    let cut = find(&outer, b"inner.zip") + 9 + inner.len();
    refused(
        &[b"Subject: a.zip\n\n", &outer[..cut]].concat(),
        Class::ArchiveDamaged,
        "a part of what was sent",
    );
    // The last part of a split archive begins with anything.
    let mut last = [b"the middle of a member", &inner[..]].concat();
    let at = last.len() - 22 + 4;
    last[at] = 2;
    assert_eq!(
        Zip.nature(Spool::of(&last).reader()).unwrap_err().class(),
        Class::ArchiveUnsupported
    );
    refused(
        b"PK\x07\x08PK\x03\x04 the first part of a split archive",
        Class::ArchiveUnsupported,
        "split",
    );
}

#[test]
fn what_is_only_called_a_zip_is_a_file() {
    for content in [
        &b"a text"[..],
        b"",
        b"PK",
        b"a text that says PK\x05\x06 and then goes on for more than twenty-two bytes",
    ] {
        assert!(crate::archive::recognise(content, "a.ZIP").is_some());
        assert_eq!(Zip.nature(Spool::of(content).reader()).unwrap(), Nature::Other);
    }
    assert!(crate::archive::recognise(b"a text", "zip").is_none());
    assert!(crate::archive::recognise(b"a text", "b.zipx").is_some());
    assert!(crate::archive::recognise(b"a text", "é.zip").is_some());
    // What begins as a zip has been one, but for a text that begins with its signature.
    assert_eq!(
        Zip.nature(Spool::of(b"PK\x03\x04 is how a zip begins").reader()).unwrap(),
        Nature::Beginning
    );
    assert!(Zip.nature(Spool::of(&build(&[made("a", b"content")])[..40]).reader()).is_err());
}

#[test]
fn an_archive_without_the_program_that_stood_before_it_is_read() {
    let archive = moved(&build(&[made("a", b"content"), made("b", b"x")]), 4096);
    check(&archive, &[("a", b"content"), ("b", b"x")]);
    assert_eq!(Zip.nature(Spool::of(&archive).reader()).unwrap(), Nature::Archive);
    // One that lost its first bytes is told as damaged, not stored whole without a word.
    let cut = &build(&[made("a", b"content"), made("b", b"x")])[4..];
    assert_eq!(Zip.nature(Spool::of(cut).reader()).unwrap_err().class(), Class::ArchiveDamaged);
    refused(cut, Class::ArchiveDamaged, "its header is not in the file");
}

#[test]
fn a_document_that_is_called_a_zip_is_one() {
    assert_eq!(Nature::Document.called("parcel.ZIP"), Nature::Archive);
    assert_eq!(Nature::Document.called("report.docx"), Nature::Document);
    assert_eq!(Nature::Document.called("zip"), Nature::Document);
    assert_eq!(Nature::Other.called("a.zip"), Nature::Other);
    assert_eq!(Nature::Beginning.called("a.zip"), Nature::Archive);
    assert_eq!(Nature::Beginning.called("a.txt"), Nature::Other);
}

#[test]
fn a_descriptor_that_was_promised_and_left_out_is_no_loss() {
    let archive = build(&[Made { descriptor: true, ..made("a", b"content") }, made("b", b"x")]);
    let at = find(&archive, b"PK\x07\x08");
    let mut without = [&archive[..at], &archive[at + 16..]].concat();
    for at in [find(&without, b"PK\x01\x02") + 47 + 42, without.len() - 22 + 16] {
        let offset = u32::from_le_bytes(without[at..at + 4].try_into().unwrap()) - 16;
        without[at..at + 4].copy_from_slice(&offset.to_le_bytes());
    }
    check(&without, &[("a", b"content"), ("b", b"x")]);
}

#[test]
fn two_names_for_one_member_need_a_third_that_vouches_for_both() {
    let path = [
        &[0x75, 0x70, 11, 0, 1][..],
        &crc_fast::crc32_iso_hdlc(b"xx").to_le_bytes(),
        "öäü".as_bytes(),
    ]
    .concat();
    let archive = build(&[Made { extra: path, ..made("xx", b"content") }]);
    let mut renamed = archive.clone();
    let at = find(&archive, b"PK\x01\x02") + 46;
    renamed[at..at + 2].copy_from_slice(b"\x94\x84");
    check(&renamed, &[("öäü", b"content")]);
    renamed[at + 2 + 9] ^= 1;
    assert_ne!(read(&renamed).unwrap()[0].0.name, "öäü");
}

#[test]
fn a_time_that_is_torn_does_not_lose_the_member() {
    for extra in [
        &[0x55, 0x54, 0, 0][..],
        &[0x55, 0x54, 9, 0, 1],
        &[0x55, 0x54, 5, 0, 0xFF, 1, 2, 3, 4, 0x0A, 0, 2, 0, 1, 1],
    ] {
        check(
            &build(&[Made { extra: extra.to_vec(), ..made("a", b"content") }]),
            &[("a", b"content")],
        );
    }
}

#[test]
fn zips_are_recognised_by_their_first_bytes() {
    for head in
        [&build(&[])[..], &build(&[made("a", b"")]), b"PK\x07\x08PK\x03\x04", b"PK00PK\x03\x04"]
    {
        assert!(crate::archive::recognise(head, "a").is_some());
    }
    for head in [&b""[..], b"PK", b"PK\x01\x02", b"\x1f\x8b\x08", b"PKZIP is a program"] {
        assert!(crate::archive::recognise(head, "a").is_none());
    }
}

/// What `stream` tells of `archive`, a word a part.
async fn told(archive: &[u8]) -> String {
    let archive = Archive::of(&Zip, Spool::of(archive));
    let mut parts = match archive.check(Wish { keep_bytes: 0, md5: false }).await {
        Ok(proven) => archive.stream(&proven).remove(0),
        Err(error) => return error.class().to_string(),
    };
    let mut words = Vec::new();
    while let Some(part) = parts.next().await {
        words.push(match part {
            Ok(Part::Begin(member)) => member.name,
            Ok(Part::Chunk(chunk)) => chunk.len().to_string(),
            Ok(Part::End) => "end".to_owned(),
            Err(error) => error.class().to_string(),
        });
    }
    words.join(" ")
}

#[tokio::test]
async fn a_member_that_does_not_hold_never_ends() {
    let good = made("a", b"content");
    assert_eq!(
        told(&build(&[good.clone(), made("b", b""), made("c", &[1; 300_000])])).await,
        "a 7 end c 262144 37856 end"
    );
    assert_eq!(
        told(&build(&[good.clone(), Made { crc: Some(1), ..made("b", b"x") }, good])).await,
        "archive_damaged"
    );
}

#[tokio::test]
async fn an_archive_in_a_temporary_file_is_checked_in_full() {
    let limits = SpoolLimits {
        memory_bytes: 0,
        archive_memory_bytes: 0,
        temp_bytes: 64 << 20,
        folder: std::env::temp_dir(),
    };
    let mut noise = 1u32;
    let mut content = || -> Vec<u8> {
        (0..700_000)
            .map(|_| {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (noise >> 24) as u8
            })
            .collect()
    };
    let mut members: Vec<Made> = (0..6)
        .map(|i| Made {
            deflate: i % 2 == 0,
            descriptor: i % 3 == 0,
            ..made(&i.to_string(), &content())
        })
        .collect();
    for damage in [false, true] {
        members[5].crc = damage.then_some(1);
        let mut writer = Spooler::new(limits.clone()).writer(None, Room::Wait).await.unwrap();
        writer.write(build(&members).into()).await.unwrap();
        let checked = Archive::of(&Zip, writer.finish().await.unwrap())
            .check(Wish { keep_bytes: 0, md5: true })
            .await;
        if damage {
            assert!(
                chain(&checked.unwrap_err()).starts_with("unpacking member `5`: its checksum is")
            );
        } else {
            let found: Vec<_> = checked
                .unwrap()
                .members
                .iter()
                .map(|checked| (checked.size, checked.md5.unwrap()))
                .collect();
            let expected: Vec<_> = members
                .iter()
                .map(|made| (made.content.len() as u64, Md5::digest(&made.content).into()))
                .collect();
            assert_eq!(found, expected);
        }
    }
}

proptest! {
    /// Whatever bytes are flipped: no panic, and what is called whole has the same contents, and
    /// the same names where nothing is doubted.
    #[test]
    fn flipped_bytes_never_pass_as_other_content(
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..4),
    ) {
        let archive = build(&[
            made("a", b"content"),
            Made { descriptor: true, ..made("dir/b", &[b'x'; 300]) },
            Made { deflate: false, ..made("c", b"stored bytes") },
        ]);
        let mut flipped = archive.clone();
        for (index, flip) in &flips {
            flipped[index.index(archive.len())] ^= flip;
        }
        if let Ok(found) = read(&flipped) {
            let doubted = !doubts(&flipped).is_empty();
            let name = |raw: &[u8]| if doubted { Vec::new() } else { raw.to_vec() };
            let contents = |read: &Read| {
                let each = read.iter();
                each.map(|(member, bytes)| (name(&member.raw_name), bytes.clone()))
                    .collect::<Vec<_>>()
            };
            prop_assert_eq!(contents(&found), contents(&read(&archive).unwrap()));
        }
    }

    #[test]
    fn no_bytes_are_too_odd(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        size in any::<u16>(),
    ) {
        let end = end(size % 5, usize::from(size) % 300, bytes.len() / 2);
        let torn = [b"PK\x03\x04", &bytes[..], &end].concat();
        prop_assert!(read(&torn).is_err() || read(&torn).unwrap().is_empty());
    }
}
