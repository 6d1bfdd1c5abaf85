//! What becomes of tars, honest and hostile: each is built here, block by block.

use proptest::prelude::*;
use time::macros::datetime;

use crate::archive::contract::{Charset, Format, MemberKind, MemberTime, Nature};
use crate::archive::limits::{ArchiveLimits, Meter};
use crate::archive::options::ArchiveOptions;
use crate::archive::recognise;
use crate::archive::spool_reader::Spool;
use crate::archive::tar::{Tar, visit_members};
use crate::archive::tar_header::begins_tar;
use crate::archive::tests::{check, fails, read, read_by, within};
use crate::archive::unread::Unread;
use crate::model::failure::{Class, Failure};
use crate::model::{ModifiedTime, Precision, chain};

#[cfg(test)]
mod end;
mod endings;

const USTAR: &[u8] = b"ustar\x0000";
const GNU: &[u8] = b"ustar  \0";

/// A header and its content.
fn entry(magic: &[u8], kind: u8, name: &[u8], content: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
    for (at, text) in
        [(100, "0000644\0"), (108, "0001750\0"), (116, "0001750\0"), (136, "14712345670\0")]
    {
        block[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
    block[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
    block[156] = kind;
    block[257..257 + magic.len()].copy_from_slice(magic);
    sealed(block, content)
}

/// `block` with its right checksum, and content behind it.
fn sealed(mut block: Vec<u8>, content: &[u8]) -> Vec<u8> {
    block[148..156].fill(b' ');
    let sum: u32 = block[..512].iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block.truncate(512);
    block.extend(content);
    block.resize(block.len().next_multiple_of(512), 0);
    block
}

pub fn file(name: &str, content: &[u8]) -> Vec<u8> {
    entry(USTAR, b'0', name.as_bytes(), content)
}

/// With the end mark.
pub fn tar(entries: &[Vec<u8>]) -> Vec<u8> {
    [entries.concat(), vec![0; 1024]].concat()
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    entry(USTAR, b'x', b"PaxHeaders/x", &pax_data(records))
}

fn pax_data(records: &[(&str, &str)]) -> Vec<u8> {
    let record = |(key, value): &(&str, &str)| {
        let rest = format!(" {key}={value}\n");
        let length =
            (1..).find(|length: &usize| length.to_string().len() + rest.len() == *length).unwrap();
        format!("{length}{rest}")
    };
    records.iter().map(record).collect::<String>().into_bytes()
}

#[test]
fn members_come_in_order_with_kind_and_time() {
    let archive = tar(&[
        entry(USTAR, b'5', b"d/", b""),
        file("d/1.txt", b"one"),
        entry(USTAR, b'2', b"link", b""),
        entry(USTAR, b'1', b"hard", b""),
        entry(USTAR, b'6', b"pipe", b""),
        file("empty", b""),
        file("empty", b"again"),
    ]);
    check(
        "a.tar",
        &archive,
        &[
            ("d/", b""),
            ("d/1.txt", b"one"),
            ("link", b""),
            ("hard", b""),
            ("pipe", b""),
            ("empty", b""),
            ("empty", b"again"),
        ],
    );
    let read = read("a.tar", &archive).unwrap();
    let kinds: Vec<_> = read.iter().map(|(member, _)| member.kind).collect();
    use MemberKind::{Directory, File, Link, Special};
    assert_eq!(kinds, [Directory, File, Link, Special, Special, File, File]);
    let expected = MemberTime::Utc(ModifiedTime::from_unix(0o14_712_345_670).unwrap());
    assert!(read.iter().all(|(member, _)| member.modified == Some(expected)));
}

#[test]
fn old_headers_are_read_and_text_is_none() {
    let archive = tar(&[entry(b"", 0, b"old.txt", b"from before"), entry(b"", 0, b"dir/", b"")]);
    check("a", &archive, &[("old.txt", b"from before"), ("dir/", b"")]);
    assert_eq!(read("a", &archive).unwrap()[1].0.kind, MemberKind::Directory);
    assert!(!begins_tar(&[b'a'; 512]) && !begins_tar(&[0; 512]) && !begins_tar(&archive[..511]));
    let mut text = vec![b' '; 512];
    text[257..265].copy_from_slice(b"ustar  x");
    assert!(!begins_tar(&text));
}

#[test]
fn the_prefix_of_ustar_stands_before_the_name() {
    let mut block = file("name", b"x")[..512].to_vec();
    block[345..351].copy_from_slice(b"a/long");
    check("a", &tar(&[sealed(block.clone(), b"x")]), &[("a/long/name", b"x")]);
    block[257..265].copy_from_slice(GNU);
    check("a", &tar(&[sealed(block, b"x")]), &[("name", b"x")]);
}

#[test]
fn names_from_extended_headers_win() {
    let long = "d/".repeat(5000) + "x";
    let gnu = [
        entry(GNU, b'L', b"././@LongLink", &[long.as_bytes(), b"\0"].concat()),
        entry(GNU, b'0', b"d/d/", b"content"),
    ];
    check("a", &tar(&gnu), &[(&long, b"content")]);
    check("a", &tar(&[pax(&[("path", &long)]), file("short", b"content")]), &[(&long, b"content")]);
    // It belongs to the next member only.
    check(
        "a",
        &tar(&[pax(&[("path", "b")]), file("a", b"1"), file("a", b"2")]),
        &[("b", b"1"), ("a", b"2")],
    );
    check(
        "a",
        &tar(&[pax(&[("path", "line\nbreak=1")]), file("a", b"1")]),
        &[("line\nbreak=1", b"1")],
    );
    let linked = [entry(GNU, b'K', b"././@LongLink", b"far\0"), entry(GNU, b'2', b"link", b"")];
    check("a", &tar(&linked), &[("link", b"")]);
}

#[test]
fn the_size_in_a_pax_header_wins() {
    let mut block = file("a", b"")[..512].to_vec();
    block[124..136].fill(b'0');
    let member = sealed(block, b"content");
    check(
        "a",
        &tar(&[pax(&[("size", "7")]), member.clone(), file("b", b"2")]),
        &[("a", b"content"), ("b", b"2")],
    );
    fails(
        "a",
        &tar(&[pax(&[("size", "-7")]), member.clone()]),
        Class::ArchiveDamaged,
        "size in a pax header",
    );
    fails(
        "a",
        &tar(&[pax(&[("size", "99999999999")]), member]),
        Class::ArchiveDamaged,
        "bytes are missing",
    );
}

#[test]
fn times_are_as_exact_as_told() {
    let time = |value: &str| {
        read("a", &tar(&[pax(&[("mtime", value)]), file("a", b"")])).unwrap()[0].0.modified
    };
    let exact = |at, precision| Some(MemberTime::Utc(ModifiedTime::new(at, precision)));
    assert_eq!(
        time("1500000000.123456789"),
        exact(datetime!(2017-07-14 2:40:00.123456789 UTC), Precision::Nanosecond)
    );
    assert_eq!(
        time("1500000000.5"),
        exact(datetime!(2017-07-14 2:40:00.5 UTC), Precision::Nanosecond)
    );
    assert_eq!(time("1500000000"), exact(datetime!(2017-07-14 2:40:00 UTC), Precision::Second));
    assert_eq!(time("-1.5"), exact(datetime!(1969-12-31 23:59:58.5 UTC), Precision::Nanosecond));
    assert_eq!(
        time("99999999999999999999"),
        Some(MemberTime::Utc(ModifiedTime::from_unix(0o14_712_345_670).unwrap()))
    );
    let global = entry(USTAR, b'g', b"g", &pax_data(&[("mtime", "1"), ("comment", "from git")]));
    assert_eq!(
        read("a", &tar(&[global, file("a", b"")])).unwrap()[0].0.modified,
        exact(datetime!(1970-01-01 0:00:01 UTC), Precision::Second)
    );
    let mut block = file("a", b"")[..512].to_vec();
    block[136..148].copy_from_slice(&[0xFF; 12]);
    let before = read("a", &tar(&[sealed(block, b"")])).unwrap()[0].0.modified;
    assert_eq!(before, exact(datetime!(1969-12-31 23:59:59 UTC), Precision::Second));
}

#[test]
fn sizes_in_base_256_are_read() {
    let mut block = file("a", b"")[..512].to_vec();
    block[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
    check("a", &tar(&[sealed(block.clone(), b"content")]), &[("a", b"content")]);
    block[124..136].fill(0xFF);
    fails("a", &tar(&[sealed(block.clone(), b"content")]), Class::ArchiveDamaged, "is no number");
    block[124] = 0x80;
    fails("a", &tar(&[sealed(block, b"content")]), Class::ArchiveDamaged, "is no number");
}

#[test]
fn names_that_are_no_utf8_are_decoded_and_kept() {
    let archive = tar(&[entry(USTAR, b'0', b"gr\xFC\xDFe \x93\xFA", b"x")]);
    let read_in = |charset| {
        read_by(&Tar, &archive, &ArchiveOptions { charset, ..ArchiveOptions::default() })
            .unwrap()
            .remove(0)
            .0
    };
    assert_eq!(
        (read_in(Charset::Detect).name.as_str(), &read_in(Charset::Detect).raw_name[..]),
        ("grüße “ú", &b"gr\xFC\xDFe \x93\xFA"[..])
    );
    assert_eq!(read_in(Charset::Named(encoding_rs::KOI8_R)).name, "grЭъe ⌠З");
    let member = read("a", &tar(&[file("./././a/b", b"x"), file("./", b"")])).unwrap();
    assert_eq!(
        (member[0].0.name.as_str(), &member[0].0.raw_name[..], member[1].0.name.as_str()),
        ("a/b", &b"./././a/b"[..], "./")
    );
}

#[test]
fn what_is_not_read_is_refused_by_name() {
    fails(
        "a",
        &tar(&[pax(&[("SCHILY.realsize", "7")]), file("holes", b"x")]),
        Class::ArchiveUnsupported,
        "`holes`: it is sparse",
    );
    for archive in [
        tar(&[entry(GNU, b'M', b"rest", b"x")]),
        tar(&[entry(b"", b'M', b"rest", b"x")]),
        tar(&[pax(&[("GNU.volume.offset", "1")]), file("b", b"")]),
    ] {
        let error = read("a", &archive).unwrap_err();
        assert_eq!(
            (error.class(), error.kind()),
            (Class::ArchiveUnsupported, Some(Unread::TarVolume)),
            "{}",
            chain(&error)
        );
    }
}

#[test]
fn labels_lists_and_access_rights_are_no_members() {
    // GNU's `tar` writes a label without the magic of its time.
    for label in [
        entry(GNU, b'V', b"label", b""),
        entry(b"", b'V', b"label", b""),
        pax(&[("GNU.volume.label", "x")]),
    ] {
        check("a", &tar(&[label, file("a", b"x")]), &[("a", b"x")]);
    }
    let dump = tar(&[entry(GNU, b'D', b"dir/", b"Yfile\0\0"), file("dir/file", b"x")]);
    check("a", &dump, &[("dir/", b""), ("dir/file", b"x")]);
    check(
        "a",
        &tar(&[entry(USTAR, b'A', b"acl", b"1000007\0user::rwx"), file("a", b"x")]),
        &[("a", b"x")],
    );
    // A type that nobody knows is that of a file (POSIX).
    check(
        "a",
        &tar(&[entry(USTAR, b'Q', b"q", b"x"), file("a", b"y")]),
        &[("q", b"x"), ("a", b"y")],
    );
}

#[test]
fn a_header_for_all_members_holds_unless_their_own_say_otherwise() {
    let global = |records: &[(&str, &str)]| entry(USTAR, b'g', b"g", &pax_data(records));
    check(
        "a",
        &tar(&[
            global(&[("path", "all")]),
            file("b", b"x"),
            pax(&[("path", "own")]),
            file("c", b"y"),
        ]),
        &[("all", b"x"), ("own", b"y")],
    );
    check("a", &tar(&[global(&[("size", "1")]), file("b", b"x")]), &[("b", b"x")]);
    fails(
        "a",
        &tar(&[global(&[("size", "1")]), file("b", b"xy")]),
        Class::ArchiveDamaged,
        "a header for all members",
    );
}

#[test]
fn star_and_headers_without_a_full_magic_are_read() {
    let mut star = file("name", b"x")[..512].to_vec();
    star[257..265].fill(0);
    star[345..349].copy_from_slice(b"deep");
    star[476..488].copy_from_slice(b"14712345670\0");
    star[508..512].copy_from_slice(b"tar\0");
    check("a", &tar(&[sealed(star, b"x")]), &[("deep/name", b"x")]);
    check("a", &tar(&[entry(b"ustar 00", b'0', b"a", b"x")]), &[("a", b"x")]);
    let mut bare = entry(b"", 0, b"bare", b"x")[..512].to_vec();
    bare[100..124].fill(0);
    check("a", &tar(&[sealed(bare, b"x")]), &[("bare", b"x")]);
}

/// A hard link to `target`.
fn hard(name: &str, target: &str) -> Vec<u8> {
    let mut block = entry(USTAR, b'1', name.as_bytes(), b"")[..512].to_vec();
    block[157..157 + target.len()].copy_from_slice(target.as_bytes());
    sealed(block, b"")
}

#[test]
fn a_hard_link_has_the_content_of_its_file() {
    let large = vec![b'x'; 3 << 20];
    let members = [
        file("d/a.csv", b"one"),
        hard("link", "d/a.csv"),
        file("large", &large),
        hard("to-the-link", "./link"),
        hard("large-1", "large"),
        hard("large-2", "large"),
        file("last", b"z"),
        hard("nowhere", "not here"),
    ];
    let expected: [(&str, &[u8]); 8] = [
        ("d/a.csv", b"one"),
        ("large", &large),
        ("last", b"z"),
        ("nowhere", b""),
        ("link", b"one"),
        ("to-the-link", b"one"),
        ("large-1", &large),
        ("large-2", &large),
    ];
    check("a.tar", &tar(&members), &expected);
    let packed = zstd::encode_all(&tar(&members)[..], 1).unwrap();
    check("a.tar.zst", &packed, &expected);
    let kinds: Vec<_> =
        read("a.tar", &tar(&members)).unwrap().iter().map(|(member, _)| member.kind).collect();
    assert_eq!(
        kinds.iter().filter(|kind| **kind != MemberKind::File).collect::<Vec<_>>(),
        [&MemberKind::Special]
    );
    // The newest file of a name is meant.
    check(
        "a.tar",
        &tar(&[file("a", b"old"), file("a", b"new"), hard("l", "a")]),
        &[("a", b"old"), ("a", b"new"), ("l", b"new")],
    );
}

#[test]
fn sparse_files_are_the_bytes_that_they_mean() {
    let expected = [&[0; 1000][..], b"data", &[0; 3000], b"more", &[0; 96]].concat();
    let told = expected.len().to_string();
    let data = b"datamore";
    // GNU's old form, with its last pieces in a block of their own.
    let mut old = entry(GNU, b'S', b"holes", data)[..512].to_vec();
    let piece =
        |offset: usize, length: usize| format!("{offset:011o}\0{length:011o}\0").into_bytes();
    old[386..410].copy_from_slice(&piece(1000, 4));
    old[482] = 1;
    old[483..495].copy_from_slice(format!("{:011o}\0", expected.len()).as_bytes());
    let mut more = [piece(4004, 4), piece(expected.len(), 0)].concat();
    more.resize(512, 0);
    let old = [&sealed(old, &[])[..], &more, &[data, &[0; 504][..]].concat()].concat();
    check("a", &tar(&[old, file("b", b"x")]), &[("holes", &expected), ("b", b"x")]);
    let first = [
        ("GNU.sparse.size", &*told),
        ("GNU.sparse.numblocks", "2"),
        ("GNU.sparse.offset", "1000"),
        ("GNU.sparse.numbytes", "4"),
        ("GNU.sparse.offset", "4004"),
        ("GNU.sparse.numbytes", "4"),
    ];
    check("a", &tar(&[pax(&first), file("holes", data)]), &[("holes", &expected)]);
    let second = [
        ("GNU.sparse.size", &*told),
        ("GNU.sparse.map", "1000,4,4004,4"),
        ("GNU.sparse.name", "holes"),
    ];
    check("a", &tar(&[pax(&second), file("made/up", data)]), &[("holes", &expected)]);
    let third = [
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.realsize", &*told),
        ("GNU.sparse.name", "holes"),
    ];
    let mut map = b"2\n1000\n4\n4004\n4\n".to_vec();
    map.resize(512, 0);
    let content = [&map[..], data].concat();
    check(
        "a",
        &tar(&[pax(&third), file("made/up", &content), file("b", b"x")]),
        &[("holes", &expected), ("b", b"x")],
    );
    let wrong = |map: &str| {
        tar(&[pax(&[("GNU.sparse.size", &*told), ("GNU.sparse.map", map)]), file("holes", data)])
    };
    fails("a", &wrong("1000,4,1002,4"), Class::ArchiveDamaged, "pieces overlap");
    fails("a", &wrong("1000,4,4004,5"), Class::ArchiveDamaged, "its map of holes is wrong");
    fails("a", &wrong("1000,4,9999999,4"), Class::ArchiveDamaged, "its map of holes is wrong");
    fails("a", &wrong("1000"), Class::ArchiveDamaged, "a piece has no length");
    // Zeros count: a terabyte of them is too much.
    let huge = tar(&[
        pax(&[("GNU.sparse.size", "1099511627776"), ("GNU.sparse.map", "0,8")]),
        file("holes", data),
    ]);
    let limits =
        ArchiveLimits { total_bytes: 1 << 20, member_bytes: 1 << 20, ..ArchiveLimits::default() };
    assert_eq!(
        read_by(&Tar, &huge, &within("a", limits)).unwrap_err().class(),
        Class::LimitArchive
    );
}

#[test]
fn links_that_claim_content_have_it_or_not() {
    let claims = |kind, followed_by: &[u8]| {
        let mut block = entry(USTAR, kind, b"l", b"")[..512].to_vec();
        block[124..136].copy_from_slice(b"00000000003\0");
        sealed(block, followed_by)
    };
    check("a", &tar(&[claims(b'1', b""), file("a", b"x")]), &[("l", b""), ("a", b"x")]);
    check("a", &tar(&[claims(b'5', b"")]), &[("l", b"")]);
    check("a", &tar(&[claims(b'1', b"one"), file("a", b"x")]), &[("l", b"one"), ("a", b"x")]);
    check(
        "a",
        &tar(&[pax(&[("uid", "1")]), claims(b'1', b"one"), file("a", b"x")]),
        &[("l", b"one"), ("a", b"x")],
    );
    fails(
        "a",
        &tar(&[claims(b'2', b"one"), file("a", b"x")]),
        Class::ArchiveDamaged,
        "claims 3 bytes of content",
    );
}

#[test]
fn a_tar_of_nothing_is_an_archive_and_a_disk_of_zeros_is_none() {
    for blocks in [2, 20] {
        check("a.tar", &vec![0; blocks * 512], &[]);
    }
    let nature = |bytes: Vec<u8>| Tar.nature(Spool::of(&bytes).reader()).unwrap();
    assert_eq!(nature(vec![0; 1024]), Nature::Archive);
    assert_eq!(nature([vec![0; 4096], b"x".to_vec()].concat()), Nature::Other);
    assert!(recognise(&[0; 512], "disk.img").is_none());
    assert!(recognise(&[0; 512], "A.TAR").is_some());
}
