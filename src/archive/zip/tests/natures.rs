//! What is a zip, a part of one, a document, or only looks so; and zips that do not hold.

use super::*;
use crate::archive::zip::extent::same_but_slashes;

#[test]
fn documents_are_told_from_archives() {
    let check = |names: &[&str], expected: bool| {
        let members: Vec<ZipMade> =
            names.iter().map(|name| ZipMade { deflate: false, ..made(name, b"x") }).collect();
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
    let members = [made("a", b"content"), ZipMade { descriptor: true, ..made("b", &[b'x'; 300]) }];
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
        build(&[made("before", b"y"), ZipMade { deflate: false, ..made("inner.zip", &inner) }]);
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
    // What follows the content of a streamed member, found in a file of its own.
    assert_eq!(
        Zip.nature(Spool::of(b"PK\x07\x08 and then neither a member nor an end").reader()).unwrap(),
        Nature::Beginning
    );
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
    let archive = build(&[ZipMade { descriptor: true, ..made("a", b"content") }, made("b", b"x")]);
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
    let archive = build(&[ZipMade { extra: path, ..made("xx", b"content") }]);
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
            &build(&[ZipMade { extra: extra.to_vec(), ..made("a", b"content") }]),
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
    let mut parts = match archive.check(CheckWish { keep_bytes: 0, md5: false }).await {
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
        told(&build(&[good.clone(), ZipMade { crc: Some(1), ..made("b", b"x") }, good])).await,
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
    let mut members: Vec<ZipMade> = (0..6)
        .map(|i| ZipMade {
            deflate: i % 2 == 0,
            descriptor: i % 3 == 0,
            ..made(&i.to_string(), &content())
        })
        .collect();
    for damage in [false, true] {
        members[5].crc = damage.then_some(1);
        let mut writer = Spooler::new(limits.clone()).writer(None, SpoolRoom::Wait).await.unwrap();
        writer.write(build(&members).into()).await.unwrap();
        let checked = Archive::of(&Zip, writer.finish().await.unwrap())
            .check(CheckWish { keep_bytes: 0, md5: true })
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

/// The members that damage was done to, in order of the directory.
fn members_to_damage() -> [ZipMade; 3] {
    [
        made("a", b"content"),
        ZipMade { descriptor: true, ..made("dir/b", &[b'x'; 300]) },
        ZipMade { deflate: false, ..made("c", b"stored bytes") },
    ]
}

/// Where each member's name stands in `archive`: beside its content, and in the directory.
fn places_of_names(archive: &[u8]) -> Vec<[std::ops::Range<usize>; 2]> {
    let number = |at: usize, bytes: usize| {
        archive[at..at + bytes].iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
    };
    let entries = archive.windows(4).enumerate().filter(|(_, four)| four == b"PK\x01\x02");
    entries
        .map(|(entry, _)| {
            let (length, local) = (number(entry + 28, 2), number(entry + 42, 4));
            [local + 30, entry + 46].map(|start| start..start + length)
        })
        .collect()
}

/// What `flipped` holds, where it is called whole, is as it was: each content, and each name of
/// which one of its two copies is whole, where nothing is doubted (`\` for `/` is no other name).
/// Where both copies changed, a zip holds no further witness.
fn never_other_content(flipped: &[u8], archive: &[u8]) {
    let (Ok(found), whole) = (read(flipped), read(archive).unwrap()) else { return };
    let contents = |read: &Read| read.iter().map(|(_, bytes)| bytes.clone()).collect::<Vec<_>>();
    if !doubts(flipped).is_empty() {
        assert!(found.iter().all(|(_, bytes)| contents(&whole).contains(bytes)), "other content");
        return;
    }
    assert!(contents(&found) == contents(&whole), "other content");
    let places = places_of_names(archive);
    assert_eq!(places.len(), whole.len());
    for ((found, whole), copies) in found.iter().zip(&whole).zip(places) {
        let name = &whole.0.raw_name[..];
        let is_witnessed = copies.into_iter().any(|copy| flipped[copy] == *name);
        assert!(!is_witnessed || same_but_slashes(&found.0.raw_name, name), "{:?}", found.0);
    }
}

/// Seen once among many thousand damages: both copies of `dir/b` became `dir/N`.
#[test]
fn a_name_whose_two_copies_changed_alike_is_the_archive_s_name() {
    let archive = build(&members_to_damage());
    let mut flipped = archive.clone();
    for place in &places_of_names(&archive)[1] {
        flipped[place.end - 1] ^= b'b' ^ b'N';
    }
    never_other_content(&flipped, &archive);
    assert_eq!(read(&flipped).unwrap()[1].0.raw_name, b"dir/N");
    flipped[places_of_names(&archive)[1][0].end - 1] = b'b';
    assert!(read(&flipped).is_err() || !doubts(&flipped).is_empty());
}

/// Seen once among a million damages: one entry's extra field grew by just the next entry, and
/// the header of the member that the next entry was about was damaged too.
#[test]
fn a_member_that_a_damaged_directory_no_longer_lists_is_a_doubt() {
    let archive = build(&members_to_damage());
    let [beside, listed] = places_of_names(&archive).swap_remove(1);
    let mut flipped = archive.clone();
    let (first, second) = (listed.start - 46 - 47, listed.start - 46);
    flipped[first + 30] = u8::try_from(46 + listed.len()).unwrap();
    assert!(read(&flipped).is_err(), "its own header is seen");
    flipped[beside.start - 30] ^= 1;
    assert_eq!(flipped[second..second + 4], *b"PK\x01\x02");
    assert_eq!(read(&flipped).unwrap().len(), 2);
    assert_eq!(doubts(&flipped), ["59 bytes belong to no member that its directory lists"]);
}

proptest! {
    /// Whatever bytes are flipped: no panic, and what is called whole has the same contents, and
    /// the same names where nothing is doubted.
    #[test]
    fn flipped_bytes_never_pass_as_other_content(
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..4),
    ) {
        let archive = build(&members_to_damage());
        let mut flipped = archive.clone();
        for (index, flip) in &flips {
            flipped[index.index(archive.len())] ^= flip;
        }
        never_other_content(&flipped, &archive);
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
