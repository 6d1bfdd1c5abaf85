//! What becomes of zips, honest and hostile.

use std::io::Write;

use md5::{Digest, Md5};
use proptest::prelude::*;

use crate::archive::contract::{Format, MemberKind, MemberTime, Nature, UnpackError};
use crate::archive::limits::{ArchiveLimits, Meter};
use crate::archive::options::ArchiveOptions;
use crate::archive::spool::{SpoolLimits, SpoolRoom, Spooler};
use crate::archive::spool_reader::Spool;
use crate::archive::tests::Read;
use crate::archive::unpack::{Archive, CheckWish, Part};
use crate::archive::zip::Zip;
use crate::archive::zip::making::{
    ZipMade, build, check, doubts, end, find, made, read, read_within, refused,
};
use crate::model::chain;
use crate::model::failure::{Class, Failure};

#[cfg(test)]
mod contradictions;
mod natures;

#[test]
fn members_come_in_order_with_all_their_bytes() {
    let big: Vec<u8> = (0..300_000u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
    let stored = ZipMade { deflate: false, ..made("b.bin", &big) };
    let streamed = ZipMade { descriptor: true, ..made("c.bin", &big) };
    let both = ZipMade { deflate: false, ..streamed.clone() };
    let archive = build(&[
        made("a.txt", b"one"),
        stored,
        streamed,
        ZipMade { name: b"d".to_vec(), ..both },
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
    let members: Vec<ZipMade> = names.iter().map(|name| made(name, b"x")).collect();
    check(&build(&members), &names.map(|name| (name, &b"x"[..])));
    let raw = ZipMade { name: b"\x8e\\\x81".to_vec(), made_by: 0, ..made("", b"x") };
    let read = read(&build(&[raw])).unwrap();
    assert_eq!(
        (read[0].0.raw_name.as_slice(), read[0].0.name.as_str()),
        (&b"\x8e\\\x81"[..], "Ä/ü")
    );
}

#[test]
fn kinds_and_times_are_told() {
    let link = ZipMade { attributes: 0o120_777 << 16, ..made("link", b"target") };
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
    let member = ZipMade {
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
        &ArchiveOptions::default(),
        &Meter::new(ArchiveLimits::default(), spool.size()),
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
    let error = read_within(&archive, ArchiveLimits { members: 19, ..ArchiveLimits::default() })
        .unwrap_err();
    assert_eq!(error.class(), Class::LimitArchive);
    assert!(
        read_within(&archive, ArchiveLimits { members: 20, ..ArchiveLimits::default() }).is_ok()
    );
}

#[test]
fn the_last_of_many_members_is_proven_too() {
    let mut members: Vec<ZipMade> = (0..5_000).map(|i| made(&format!("{i}"), b"content")).collect();
    members[4_999].crc = Some(1);
    refused(&build(&members), Class::ArchiveDamaged, "unpacking member `4999`: its checksum is");
}

#[test]
fn what_is_left_unread_is_proven_too() {
    let spool = Spool::of(&build(&[ZipMade { crc: Some(1), ..made("a", b"content") }]));
    let error = Zip
        .visit(
            spool.reader(),
            &ArchiveOptions::default(),
            &Meter::new(ArchiveLimits::default(), spool.size()),
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
        &ArchiveOptions::default(),
        &Meter::new(ArchiveLimits::default(), spool.size()),
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
            &build(&[ZipMade { size: Some(size), ..made("a", b"content") }]),
            Class::ArchiveDamaged,
            text,
        );
        refused(
            &build(&[ZipMade { size: Some(size), deflate: false, ..made("a", b"content") }]),
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
    let streamed = build(&[ZipMade { descriptor: true, ..made("name", b"content") }]);
    let mut lying = streamed.clone();
    lying[find(&streamed, b"PK\x07\x08") + 4] ^= 1;
    refused(&lying, Class::ArchiveDamaged, "differ in its size or checksum");
}

#[test]
fn encrypted_members_are_told_so() {
    refused(
        &build(&[made("plain", b""), ZipMade { flags: 1, ..made("secret", b"content") }]),
        Class::ArchiveEncrypted,
        "member `secret`",
    );
    let aes = [1, 0x99, 7, 0, 1, 0, b'A', b'E', 3, 8, 0].to_vec();
    refused(
        &build(&[ZipMade { method: Some(99), flags: 1, extra: aes, ..made("secret", b"content") }]),
        Class::ArchiveEncrypted,
        "archive_passwords",
    );
    refused(
        &build(&[ZipMade { method: Some(99), flags: 1, ..made("secret", b"content") }]),
        Class::ArchiveDamaged,
        "its field about that is wrong",
    );
    refused(
        &build(&[ZipMade { flags: 1 | 1 << 6, ..made("secret", b"content") }]),
        Class::ArchiveUnsupported,
        "strong encryption",
    );
    refused(
        &build(&[ZipMade { flags: 1 << 13, ..made("secret", b"content") }]),
        Class::ArchiveUnsupported,
        "its directory is encrypted",
    );
    refused(
        &build(&[ZipMade { flags: 1 << 5, ..made("a", b"content") }]),
        Class::ArchiveUnsupported,
        "a patch",
    );
}

#[test]
fn methods_that_are_not_read_are_named() {
    for (method, text) in [(10, "DCL"), (97, "WavPack"), (777, "unknown method 777")] {
        refused(
            &build(&[ZipMade { method: Some(method), ..made("a", b"x") }]),
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
        build(&[made("before", b"y"), ZipMade { deflate: false, ..made("inner.zip", &archive) }]);
    let cut = find(&outer, b"inner.zip") + 9 + archive.len();
    refused(&outer[..cut], Class::ArchiveDamaged, "not where its end says");
}

#[test]
fn bombs_are_stopped_while_they_unpack() {
    let zeros = made("zeros", &vec![0; 40 << 20]);
    let free = ArchiveLimits { ratio: u64::MAX, ..ArchiveLimits::default() };
    assert!(read_within(&build(std::slice::from_ref(&zeros)), free.clone()).is_ok());
    for limits in [
        ArchiveLimits { total_bytes: 1 << 20, ..free.clone() },
        ArchiveLimits { member_bytes: 1 << 20, ..free },
    ] {
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
        ZipMade { descriptor: true, ..made("dir/b", &[b'x'; 500]) },
        made("c/", b""),
    ]);
    for length in 0..archive.len() {
        let error = read(&archive[..length]).expect_err("a part is not the whole");
        assert_eq!(error.class(), Class::ArchiveDamaged, "{length}");
    }
}
