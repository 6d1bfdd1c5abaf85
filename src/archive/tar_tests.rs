//! What becomes of tars, honest and hostile: each is built here, block by block.

use proptest::prelude::*;
use time::macros::datetime;

use crate::archive::contract::{Charset, MemberKind, MemberTime, Options};
use crate::archive::limits::{Limits, Meter};
use crate::archive::reading_tests::{check, fails, read, read_by, within};
use crate::archive::spool::Spool;
use crate::archive::tar::{Tar, visit_members};
use crate::archive::tar_header::begins_tar;
use crate::failure::{Class, Failure};
use crate::model::{ModifiedTime, Precision, chain};

const USTAR: &[u8] = b"ustar\x0000";
const GNU: &[u8] = b"ustar  \0";

/// A header and its content.
fn entry(magic: &[u8], kind: u8, name: &[u8], content: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
    for (at, text) in [(100, "0000644\0"), (108, "0001750\0"), (116, "0001750\0"), (136, "14712345670\0")] {
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
        let length = (1..).find(|length: &usize| length.to_string().len() + rest.len() == *length).unwrap();
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
    check("a.tar", &archive, &[("d/", b""), ("d/1.txt", b"one"), ("link", b""), ("hard", b""), ("pipe", b""), ("empty", b""), ("empty", b"again")]);
    let read = read("a.tar", &archive).unwrap();
    let kinds: Vec<_> = read.iter().map(|(member, _)| member.kind).collect();
    use MemberKind::{Directory, File, Special};
    assert_eq!(kinds, [Directory, File, Special, Special, Special, File, File]);
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
    let gnu = [entry(GNU, b'L', b"././@LongLink", &[long.as_bytes(), b"\0"].concat()), entry(GNU, b'0', b"d/d/", b"content")];
    check("a", &tar(&gnu), &[(&long, b"content")]);
    check("a", &tar(&[pax(&[("path", &long)]), file("short", b"content")]), &[(&long, b"content")]);
    // It belongs to the next member only.
    check("a", &tar(&[pax(&[("path", "b")]), file("a", b"1"), file("a", b"2")]), &[("b", b"1"), ("a", b"2")]);
    check("a", &tar(&[pax(&[("path", "line\nbreak=1")]), file("a", b"1")]), &[("line\nbreak=1", b"1")]);
    let linked = [entry(GNU, b'K', b"././@LongLink", b"far\0"), entry(GNU, b'2', b"link", b"")];
    check("a", &tar(&linked), &[("link", b"")]);
}

#[test]
fn the_size_in_a_pax_header_wins() {
    let mut block = file("a", b"")[..512].to_vec();
    block[124..136].fill(b'0');
    let member = sealed(block, b"content");
    check("a", &tar(&[pax(&[("size", "7")]), member.clone(), file("b", b"2")]), &[("a", b"content"), ("b", b"2")]);
    fails("a", &tar(&[pax(&[("size", "-7")]), member.clone()]), Class::ArchiveDamaged, "size in a pax header");
    fails("a", &tar(&[pax(&[("size", "99999999999")]), member]), Class::ArchiveDamaged, "bytes are missing");
}

#[test]
fn times_are_as_exact_as_told() {
    let time = |value: &str| read("a", &tar(&[pax(&[("mtime", value)]), file("a", b"")])).unwrap()[0].0.modified;
    let exact = |at, precision| Some(MemberTime::Utc(ModifiedTime::new(at, precision)));
    assert_eq!(time("1500000000.123456789"), exact(datetime!(2017-07-14 2:40:00.123456789 UTC), Precision::Nanosecond));
    assert_eq!(time("1500000000.5"), exact(datetime!(2017-07-14 2:40:00.5 UTC), Precision::Nanosecond));
    assert_eq!(time("1500000000"), exact(datetime!(2017-07-14 2:40:00 UTC), Precision::Second));
    assert_eq!(time("-1.5"), exact(datetime!(1969-12-31 23:59:58.5 UTC), Precision::Nanosecond));
    assert_eq!(time("99999999999999999999"), Some(MemberTime::Utc(ModifiedTime::from_unix(0o14_712_345_670).unwrap())));
    let global = entry(USTAR, b'g', b"g", &pax_data(&[("mtime", "1"), ("comment", "from git")]));
    assert_eq!(read("a", &tar(&[global, file("a", b"")])).unwrap()[0].0.modified, exact(datetime!(1970-01-01 0:00:01 UTC), Precision::Second));
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
    let read_in = |charset| read_by(&Tar, &archive, &Options { charset, ..Options::default() }).unwrap().remove(0).0;
    assert_eq!((read_in(Charset::Detect).name.as_str(), &read_in(Charset::Detect).raw_name[..]), ("grüße “ú", &b"gr\xFC\xDFe \x93\xFA"[..]));
    assert_eq!(read_in(Charset::Named(encoding_rs::KOI8_R)).name, "grЭъe ⌠З");
    let member = read("a", &tar(&[file("./././a/b", b"x"), file("./", b"")])).unwrap();
    assert_eq!((member[0].0.name.as_str(), &member[0].0.raw_name[..], member[1].0.name.as_str()), ("a/b", &b"./././a/b"[..], "./"));
}

#[test]
fn what_is_not_read_is_refused_by_name() {
    let sparse = [("GNU.sparse.major", "1"), ("GNU.sparse.name", "holes"), ("path", "GNUSparseFile.1/holes")];
    fails("a", &tar(&[pax(&sparse), file("b", b"")]), Class::ArchiveUnsupported, "`holes`: it is sparse");
    fails("a", &tar(&[entry(GNU, b'S', b"holes", b"")]), Class::ArchiveUnsupported, "`holes`: it is sparse");
    fails("a", &tar(&[entry(GNU, b'M', b"rest", b"x")]), Class::ArchiveUnsupported, "another volume");
    fails("a", &tar(&[pax(&[("GNU.volume.offset", "1")]), file("b", b"")]), Class::ArchiveUnsupported, "another volume");
    fails("a", &tar(&[entry(USTAR, b'Q', b"q", b"x")]), Class::ArchiveUnsupported, "unknown type `Q`");
    let global = |key| entry(USTAR, b'g', b"g", &pax_data(&[(key, "1")]));
    fails("a", &tar(&[global("size"), file("b", b"x")]), Class::ArchiveUnsupported, "all members one name or size");
    fails("a", &tar(&[global("path"), file("b", b"x")]), Class::ArchiveUnsupported, "all members one name or size");
    // The lists of an incremental backup and the label of a volume are no content.
    let dump = tar(&[entry(GNU, b'V', b"label", b""), entry(GNU, b'D', b"dir/", b"Yfile\0\0"), file("dir/file", b"x")]);
    check("a", &dump, &[("dir/", b""), ("dir/file", b"x")]);
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
    check("a", &tar(&[pax(&[("uid", "1")]), claims(b'1', b"one"), file("a", b"x")]), &[("l", b"one"), ("a", b"x")]);
    fails("a", &tar(&[claims(b'2', b"one"), file("a", b"x")]), Class::ArchiveDamaged, "claims 3 bytes of content");
}

#[test]
fn only_zeros_may_follow_the_end() {
    let whole = tar(&[file("a", b"x")]);
    check("a", &[&whole[..], &[0; 9000]].concat(), &[("a", b"x")]);
    check("a", &whole[..1024], &[("a", b"x")]);
    check("a", &whole[..1024 + 512], &[("a", b"x")]);
    let at = format!("at byte {}", whole.len() + 3);
    fails("a", &[&whole[..], &[0, 0, 0, 7]].concat(), Class::ArchiveDamaged, &at);
    fails("a", &[&whole[..], &whole[..]].concat(), Class::ArchiveDamaged, "something follows the end");
    fails("a", &[&whole[..1024], b"garbage"].concat(), Class::ArchiveDamaged, "ends within a header");
    fails("a", &tar(&[file("a", b"x"), vec![b'g'; 512]]), Class::ArchiveDamaged, "checksum of the header at byte 1024");
    fails("a", &[file("a", b"x"), pax(&[("path", "b")])].concat(), Class::ArchiveDamaged, "after an extended header");
}

#[test]
fn a_tar_cut_anywhere_is_damaged_unless_between_members() {
    let whole = tar(&[pax(&[("path", "one")]), file("a", b"1"), file("b", &[7; 700])]);
    for cut in 513..whole.len() {
        let members = match cut {
            2048 => Some(1),
            3584.. if cut % 512 == 0 || cut > 4096 => Some(2),
            _ => None,
        };
        match read("a", &whole[..cut]) {
            Ok(read) => assert_eq!(Some(read.len()), members, "cut at {cut}"),
            Err(error) => assert!(error.class() == Class::ArchiveDamaged && members.is_none(), "cut at {cut}: {}", chain(&error)),
        }
    }
}

#[test]
fn extended_headers_are_bounded() {
    let mut block = pax(&[])[..512].to_vec();
    block[124..136].copy_from_slice(b"77777777777\0");
    fails("a", &tar(&[sealed(block, b"")]), Class::LimitArchive, "an extended header claims 8589934591 bytes");
    for bad in ["7 path", "nonsense", "99 a=b\n", "5 =b\n", "x a=b\n", " a=b\n"] {
        let header = entry(USTAR, b'x', b"x", bad.as_bytes());
        fails("a", &tar(&[header, file("a", b"")]), Class::ArchiveDamaged, "is no record");
    }
}

/// As many of the same members as anybody reads.
struct Endless(Vec<u8>, usize);

impl std::io::Read for Endless {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let read = into.len().min(self.0.len() - self.1);
        into[..read].copy_from_slice(&self.0[self.1..self.1 + read]);
        self.1 = (self.1 + read) % self.0.len();
        Ok(read)
    }
}

#[test]
fn members_without_end_stop_at_the_limit() {
    let (options, mut visited) = (Options::default(), 0);
    let meter = Meter::new(options.limits.clone(), 100);
    let error = visit_members(&mut Endless(file("a", b""), 0), &options, &meter, &mut |_, _| {
        visited += 1;
        Ok(())
    });
    assert_eq!((error.unwrap_err().class(), visited), (Class::LimitArchive, 100_000));
    let error = read_by(&Tar, &tar(&[file("a", &[1; 2000])]), &within("a", Limits { member_bytes: 1999, ..Limits::default() })).unwrap_err();
    assert_eq!(error.class(), Class::LimitArchive);
}

#[test]
fn content_that_nobody_reads_is_passed_over() {
    let spool = Spool::of(&tar(&[file("a", &[1; 5000]), file("b", b"x")]));
    let mut names = Vec::new();
    visit_members(&mut spool.reader(), &Options::default(), &Meter::new(Limits::default(), spool.size()), &mut |member, _| {
        names.push(member.name.clone());
        Ok(())
    })
    .unwrap();
    assert_eq!(names, ["a", "b"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// A tar proves headers, not content: whatever is flipped, nothing panics, and what is read is as long as it was.
    #[test]
    fn flipped_bits_never_panic(at in 0usize..3584, bit in 0u8..8) {
        let mut archive = tar(&[pax(&[("path", "one"), ("mtime", "1.5")]), file("a", b"1"), file("b", &[7; 700])]);
        archive[at] ^= 1 << bit;
        if begins_tar(&archive[..512]) && let Ok(read) = read("a", &archive) {
            prop_assert_eq!(read.iter().map(|(_, bytes)| bytes.len()).sum::<usize>(), 701);
        }
    }

    #[test]
    fn any_bytes_behind_a_header_never_panic(junk in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let archive = [file("a", b"1"), junk].concat();
        if let Err(error) = read("a", &archive) {
            prop_assert_eq!(error.class(), Class::ArchiveDamaged);
        }
    }
}
