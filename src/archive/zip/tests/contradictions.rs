//! Zips whose headers contradict each other: read with a word about it where all readers get the
//! same content, refused where they do not.

use crate::archive::contract::{Format, UnpackError};
use crate::archive::limits::{ArchiveLimits, Meter};
use crate::archive::options::ArchiveOptions;
use crate::archive::spool_reader::Spool;
use crate::archive::zip::Zip;
use crate::archive::zip::making::{ZipMade, build, check, doubts, end, find, made, read, refused};
use crate::model::failure::Class;

/// Asserts that `archive` holds these members and that its reader remarks upon `text`.
fn noted(archive: &[u8], expected: &[(&str, &[u8])], text: &str) {
    check(archive, expected);
    let spool = Spool::of(archive);
    let meter = Meter::new(ArchiveLimits::default(), spool.size());
    let read = Zip.visit(spool.reader(), &ArchiveOptions::default(), &meter, &mut |_, content| {
        std::io::copy(content, &mut std::io::sink()).map_err(UnpackError::from_read)?;
        Ok(())
    });
    assert!(read.is_ok());
    let told = [meter.remarks(), meter.doubts()].concat();
    assert!(told.len() == 1 && told[0].contains(text), "{told:?}");
}

/// `archive` with `bytes` at `offset` behind the first place where `part` stands.
fn with(archive: &[u8], part: &[u8], offset: usize, bytes: &[u8]) -> Vec<u8> {
    let (mut changed, at) = (archive.to_vec(), find(archive, part) + offset);
    changed[at..at + bytes.len()].copy_from_slice(bytes);
    changed
}

const ENTRY: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";

#[test]
fn a_member_that_its_own_header_calls_otherwise_has_the_name_that_readers_list() {
    let archive = build(&[made("name", b"content"), made("other", b"")]);
    let renamed = with(&archive, b"name", 0, b"N");
    noted(&renamed, &[("name", b"content"), ("other", b"")], "own header calls it `Name`");
    // Nothing proves a name, so which of two is right is a doubt, but for two character sets.
    assert_eq!(doubts(&renamed).len(), 1);
    let archive = build(&[made("caf\u{e9}.csv", b"content")]);
    let local = with(&archive, "caf\u{e9}".as_bytes(), 3, &[0xB3, 0xD8]);
    noted(&local, &[("caf\u{e9}.csv", b"content")], "own header calls it");
    assert_eq!(doubts(&local), Vec::<String>::new());
}

#[test]
fn a_directory_that_lists_other_than_it_counts_is_read_as_it_lists() {
    let archive = build(&[made("a", b"x"), made("b", b"y")]);
    let start = find(&archive, ENTRY);
    for counted in [1, 3, 60_000] {
        let miscounted = [&archive[..archive.len() - 22], &end(counted, 94, start)].concat();
        let text = format!("counts {counted} members and lists 2");
        noted(&miscounted, &[("a", b"x"), ("b", b"y")], &text);
    }
}

/// Writers without zip64 keep 16 bits of the count.
#[test]
fn more_members_than_a_count_of_16_bits_holds_are_all_read() {
    let archive = build(&vec![made("a", b""); 65_536 + 3]);
    let read = read(&archive).map(|read| read.len());
    assert_eq!(read.ok(), Some(65_539));
}

#[test]
fn an_end_that_speaks_of_parts_is_believed_where_parts_are_missing() {
    let archive = build(&[made("a", b"x"), made("b", b"y")]);
    let part = with(&archive, END, 4, &[1, 0, 1, 0]);
    noted(&part, &[("a", b"x"), ("b", b"y")], "part of several; all of it is here");
    // The first member stands in an earlier part: where it should be here, something else is.
    let second = find(&archive[4..], b"PK\x03\x04") + 4;
    let start = 4 + find(&archive, ENTRY) - second;
    let rest = &archive[second..archive.len() - 22];
    let last = [&b"PK\x07\x08"[..], rest, &end(2, 94, start)].concat();
    refused(&with(&last, END, 4, &[1, 0, 1, 0]), Class::ArchiveUnsupported, "split");
}

#[test]
fn a_packed_size_that_only_one_header_can_mean_is_that() {
    let stored = |name, content| ZipMade { deflate: false, ..made(name, content) };
    let archive = build(&[stored("a", b"content"), stored("b", b"more")]);
    let members: &[(&str, &[u8])] = &[("a", b"content"), ("b", b"more")];
    for told in [8u32, 100, i32::MAX as u32] {
        let lying = with(&archive, ENTRY, 20, &told.to_le_bytes());
        noted(&lying, members, &format!("tells {told} packed bytes, and it has 7"));
    }
    // Where both lead to nothing, and where the content is another one, nobody can tell.
    let lying = with(&with(&archive, ENTRY, 20, &[9]), b"PK\x03\x04", 18, &[8]);
    refused(&lying, Class::ArchiveDamaged, "differ in its size or checksum");
    let lying = with(&with(&archive, ENTRY, 20, &[9]), b"PK\x03\x04", 22, &[8]);
    refused(&lying, Class::ArchiveDamaged, "differ in its size or checksum");
    let larger = with(&archive, ENTRY, 24, &[9]);
    refused(&larger, Class::ArchiveDamaged, "differ in its size or checksum");
    let crc = with(&archive, ENTRY, 16, &[9]);
    refused(&crc, Class::ArchiveDamaged, "differ in its size or checksum");
}

#[test]
fn a_header_that_tells_nothing_leaves_it_to_the_directory() {
    let archive = build(&[made("a", b"content"), made("b", b"more")]);
    let silent = with(&archive, b"PK\x03\x04", 14, &[0; 12]);
    noted(&silent, &[("a", b"content"), ("b", b"more")], "tells neither size nor checksum");
}

#[test]
fn a_descriptor_with_other_sizes_vouches_for_the_checksum_alone() {
    let archive = build(&[ZipMade { descriptor: true, ..made("a", b"content") }, made("b", b"")]);
    let members: &[(&str, &[u8])] = &[("a", b"content"), ("b", b"")];
    let lying = with(&archive, b"PK\x07\x08", 8, &[99, 0, 0, 0, 98]);
    noted(&lying, members, "other sizes than the directory");
    let lying = with(&archive, b"PK\x07\x08", 4, &[1, 2, 3, 4]);
    refused(&lying, Class::ArchiveDamaged, "differ in its size or checksum");
}

#[test]
fn packed_bytes_that_nobody_needs_are_told() {
    let packed = [made("a", b"content").packed(), b"garbage".to_vec()].concat();
    let archive = build(&[ZipMade { as_packed: Some(packed), ..made("a", b"content") }]);
    noted(&archive, &[("a", b"content")], "7 packed bytes follow its end");
}

#[test]
fn a_comment_that_is_cut_costs_no_content() {
    let archive = build(&[made("a", b"content")]);
    let commented = with(&archive, END, 20, &[7]);
    noted(&[&commented[..], b"com"].concat(), &[("a", b"content")], "comment is cut: 4 bytes");
    check(&[&commented[..], b"comment"].concat(), &[("a", b"content")]);
}

#[test]
fn a_zip_in_the_comment_of_a_zip_leaves_two_readings() {
    let (outer, inner) = (build(&[made("a", b"content")]), build(&[made("b", b"more")]));
    let length = (inner.len() as u16).to_le_bytes();
    let both = [with(&outer, END, 20, &length), inner].concat();
    refused(&both, Class::ArchiveDamaged, "two ends of central directory");
}

/// `archive` with a zip64 end record of `bytes` after its own length, and a locator.
fn wide(archive: &[u8], told: u64, claims: [u64; 4]) -> Vec<u8> {
    let (before, end) = archive.split_at(archive.len() - 22);
    let record = [b"PK\x06\x06", &told.to_le_bytes()[..], &[0; 12]].concat();
    let at = (before.len() as u64).to_le_bytes();
    let locator = [b"PK\x06\x07", &[0; 4][..], &at, &[1, 0, 0, 0]].concat();
    [before, &record, &claims.map(u64::to_le_bytes).concat(), &locator, end].concat()
}

/// PKWARE's second version of the record tells how the directory is packed and encrypted.
#[test]
fn an_encrypted_directory_is_told_as_that() {
    let archive = build(&[made("a", b"x")]);
    let start = find(&archive, ENTRY);
    let plain = wide(&archive, 72, [1, 1, 47, start as u64]);
    let locator = find(&plain, b"PK\x06\x07");
    let second = [&[8, 0][..], &[0; 16], &1u16.to_le_bytes(), &[0; 8]].concat();
    let masked = [&plain[..locator], &second, &plain[locator..]].concat();
    refused(&masked, Class::ArchiveUnsupported, "its directory is encrypted");
}

#[test]
fn of_two_end_records_the_one_counts_that_fits_the_file() {
    let archive = build(&[made("a", b"x"), made("b", b"y")]);
    let (start, members): (_, &[(&str, &[u8])]) =
        (find(&archive, ENTRY), &[("a", b"x"), ("b", b"y")]);
    let claims = [2, 2, 94, start as u64];
    check(&wide(&archive, 44, claims), members);
    let torn = wide(&archive, 40, claims);
    noted(&torn, members, "zip64 end record is torn");
    let lying = [&archive[..archive.len() - 22], &end(1, 47, start)].concat();
    noted(&wide(&lying, 44, claims), members, "two end records disagree");
    noted(&wide(&archive, 44, [2, 2, 47, start as u64]), members, "two end records disagree");
    // Behind other bytes both may be meant.
    let both = [b"#!/bin/sh\n", &wide(&lying, 44, claims)[..]].concat();
    refused(&both, Class::ArchiveDamaged, "two end records disagree");
}
