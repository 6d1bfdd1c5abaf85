//! Tars that end oddly, are cut, or never end.

use super::*;

#[test]
fn what_follows_the_end_is_stale_strange_or_another_archive() {
    let whole = tar(&[file("a", b"x")]);
    check("a", &[&whole[..], &[0; 9000]].concat(), &[("a", b"x")]);
    check("a", &whole[..1024], &[("a", b"x")]);
    check("a", &whole[..1024 + 512], &[("a", b"x")]);
    // Writers that use their buffer again leave in the last record what was in it, headers too.
    for stale in [&b"stale buffer"[..], &whole] {
        let mut record = [&whole[..], stale].concat();
        record.resize(10_240, b'g');
        check("a", &record, &[("a", b"x")]);
        assert_eq!(remarks(&record), Vec::<String>::new());
    }
    let mut record = whole.clone();
    record.resize(10_240, 0);
    let beyond = [&record[..], &[0; 100], b"-- mailed by a gateway"].concat();
    check("a", &beyond, &[("a", b"x")]);
    assert_eq!(
        remarks(&beyond),
        ["something follows the end of the tar, from byte 10340 to 10362, and is not stored"]
    );
    let another = tar(&[file("b", b"y")]);
    fails(
        "a",
        &[&whole[..], &another].concat(),
        Class::ArchiveDamaged,
        "another archive follows the end of the archive, at byte 2048",
    );
    fails(
        "a",
        &[&record[..], &another].concat(),
        Class::ArchiveDamaged,
        "another archive follows the end of the archive, at byte 10240",
    );
    fails(
        "a",
        &[&whole[..1024], b"garbage"].concat(),
        Class::ArchiveDamaged,
        "ends within a header",
    );
    fails(
        "a",
        &tar(&[file("a", b"x"), vec![b'g'; 512]]),
        Class::ArchiveDamaged,
        "checksum of the header at byte 1024",
    );
    fails(
        "a",
        &[file("a", b"x"), pax(&[("path", "b")])].concat(),
        Class::ArchiveDamaged,
        "after an extended header",
    );
}

/// What a reader of `archive` remarks.
fn remarks(archive: &[u8]) -> Vec<String> {
    let spool = Spool::of(archive);
    let meter = Meter::new(ArchiveLimits::default(), spool.size());
    Tar.visit(spool.reader(), &ArchiveOptions::default(), &meter, &mut |_, _| Ok(())).unwrap();
    meter.remarks()
}

#[test]
fn a_tar_that_ends_within_content_and_with_a_record_may_be_a_volume() {
    let whole = tar(&[file("a", &vec![7; 30_000])]);
    let kind = |length: usize| read("a", &whole[..length]).unwrap_err().kind();
    assert_eq!((kind(10_240), kind(20_480)), (Some(Unread::TarVolume), Some(Unread::TarVolume)));
    assert_eq!((kind(10_241), kind(8192)), (None, None));
    let packed = zstd::encode_all(&whole[..10_240], 1).unwrap();
    assert_eq!(read("a", &packed).unwrap_err().kind(), None);
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
            Err(error) => assert!(
                error.class() == Class::ArchiveDamaged && members.is_none(),
                "cut at {cut}: {}",
                chain(&error)
            ),
        }
    }
}

#[test]
fn extended_headers_are_bounded() {
    let mut block = pax(&[])[..512].to_vec();
    block[124..136].copy_from_slice(b"77777777777\0");
    fails(
        "a",
        &tar(&[sealed(block, b"")]),
        Class::LimitArchive,
        "an extended header claims 8589934591 bytes",
    );
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
    let (options, mut visited) = (ArchiveOptions::default(), 0);
    let meter = Meter::new(ArchiveLimits { members: 10_000, ..ArchiveLimits::default() }, 100);
    let again = || unreachable!("nothing is linked");
    let error =
        visit_members(&mut Endless(file("a", b""), 0), &again, &options, &meter, &mut |_, _| {
            visited += 1;
            Ok(())
        });
    assert_eq!((error.unwrap_err().class(), visited), (Class::LimitArchive, 10_000));
    let error = read_by(
        &Tar,
        &tar(&[file("a", &[1; 2000])]),
        &within("a", ArchiveLimits { member_bytes: 1999, ..ArchiveLimits::default() }),
    )
    .unwrap_err();
    assert_eq!(error.class(), Class::LimitArchive);
}

#[test]
fn content_that_nobody_reads_is_passed_over() {
    let spool = Spool::of(&tar(&[file("a", &[1; 5000]), file("b", b"x")]));
    let mut names = Vec::new();
    Tar.visit(
        spool.reader(),
        &ArchiveOptions::default(),
        &Meter::new(ArchiveLimits::default(), spool.size()),
        &mut |member, _| {
            names.push(member.name.clone());
            Ok(())
        },
    )
    .unwrap();
    assert_eq!(names, ["a", "b"]);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// A tar proves headers, not content: whatever is flipped, nothing panics, and what is read is
    /// as long as it was.
    #[test]
    fn flipped_bits_never_panic(at in 0usize..3584, bit in 0u8..8) {
        let first = pax(&[("path", "one"), ("mtime", "1.5")]);
        let mut archive = tar(&[first, file("a", b"1"), file("b", &[7; 700])]);
        archive[at] ^= 1 << bit;
        if begins_tar(&archive[..512]) && let Ok(read) = read("a", &archive) {
            prop_assert_eq!(read.iter().map(|(_, bytes)| bytes.len()).sum::<usize>(), 701);
        }
    }

    #[test]
    fn any_bytes_behind_a_header_never_panic(
        junk in proptest::collection::vec(any::<u8>(), 0..2000),
    ) {
        let archive = [file("a", b"1"), junk].concat();
        if let Err(error) = read("a", &archive) {
            prop_assert_eq!(error.class(), Class::ArchiveDamaged);
        }
    }
}
