//! Every method and every cipher: what others pack is read, what is cut or changed never passes.

use std::io::Write;
use std::sync::LazyLock;

use aes::cipher::{KeyIvInit, StreamCipher};
use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use proptest::prelude::*;

use crate::archive::contract::UnpackError;
use crate::archive::options::ArchiveOptions;
use crate::archive::tests::Read;
use crate::archive::zip::cipher::encrypt;
use crate::archive::zip::making::{ZipMade, build, check, made, read, read_as, refused};
use crate::model::failure::{Class, Failure};
use crate::model::{Secret, chain};

/// Text that packs well, so that all parts of a decoder have work.
static TEXT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    (0..3_000u32)
        .flat_map(|i| format!("{} {};", i.wrapping_mul(i) % 977, i % 13).into_bytes())
        .collect()
});

fn zstd(content: &[u8]) -> Vec<u8> {
    zstd::encode_all(content, 3).unwrap()
}

fn bzip2(content: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn ppmd(content: &[u8]) -> Vec<u8> {
    let mut packed = 5u16.to_le_bytes().to_vec();
    let mut encoder =
        ppmd_rust::Ppmd8Encoder::new(&mut packed, 6, 1 << 20, ppmd_rust::RestoreMethod::Restart)
            .unwrap();
    encoder.write_all(content).unwrap();
    encoder.finish(true).unwrap();
    packed
}

fn packed(method: u16, content: &[u8]) -> Vec<u8> {
    match method {
        12 => bzip2(content),
        20 | 93 => zstd(content),
        98 => ppmd(content),
        _ => panic!("no packer for {method}"),
    }
}

fn of(method: u16, content: &[u8]) -> ZipMade {
    ZipMade { method: Some(method), as_packed: Some(packed(method, content)), ..made("a", content) }
}

/// Members that Python's `lzma` packed, and one block of deflate64 that was put together bit by
/// bit.
fn by_others() -> Vec<ZipMade> {
    let hello = b"hello hello hello hello hello\n";
    // FORMAT_RAW with FILTER_LZMA1, dictionary 64 KiB, behind the header of zips; ended by a
    // marker.
    let lzma = hex(LZMA);
    let xz = hex(XZ);
    let deflate64 = hex(DEFLATE64);
    let sixes: &[u8] = &[b'6'; 1000];
    vec![
        ZipMade { method: Some(14), flags: 2, as_packed: Some(lzma), ..made("lzma", hello) },
        ZipMade { method: Some(95), as_packed: Some(xz), ..made("xz", hello) },
        ZipMade { method: Some(9), as_packed: Some(deflate64), ..made("deflate64", sixes) },
    ]
}

const LZMA: &str = "091405005d0000010000341949ee8de9573ac70db003fffffdd1c000";
const XZ: &str = "\
    fd377a585a000004e6d6b4460200210116000000742fe5a3e0001d000d5d00341949ee8de9573ac7090c\
    8000000000001c0578f9cd21b4f80001291ea317cf9e1fb6f37d010000000004595a";
/// A fixed block: a literal, then one length of more than 258, which deflate does not know.
const DEFLATE64: &str = "331b251f0000";

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
        .collect()
}

static EVERY_METHOD: LazyLock<Vec<ZipMade>> = LazyLock::new(|| {
    let mut members: Vec<ZipMade> =
        [12, 20, 93, 98].into_iter().map(|method| of(method, &TEXT)).collect();
    members.extend([12, 93, 98].into_iter().map(|method| of(method, b"")));
    members.extend(by_others());
    members
});

#[test]
fn every_method_is_read() {
    for member in EVERY_METHOD.iter() {
        let name = String::from_utf8(member.name.clone()).unwrap();
        check(
            &build(&[made("before", b"1"), member.clone(), made("after", b"2")]),
            &[("before", b"1"), (&name, &member.content), ("after", b"2")],
        );
    }
}

#[test]
fn what_is_cut_or_followed_by_more_is_damaged() {
    for member in EVERY_METHOD.iter() {
        let packed = member.packed();
        for length in (0..packed.len()).step_by(1 + packed.len() / 60) {
            let cut = ZipMade { as_packed: Some(packed[..length].to_vec()), ..member.clone() };
            match read(&build(&[cut])) {
                Err(error) => assert_eq!(
                    error.class(),
                    Class::ArchiveDamaged,
                    "method {:?} cut at {length}: {}",
                    member.method,
                    chain(&error)
                ),
                // Nothing at all may be told in fewer bytes than were spent on it.
                Ok(_) => {
                    assert!(member.content.is_empty(), "method {:?} cut at {length}", member.method)
                }
            }
        }
        let more = ZipMade { as_packed: Some([&packed[..], &[0; 7]].concat()), ..member.clone() };
        assert!(read(&build(&[more])).is_err(), "method {:?} followed by zeros", member.method);
    }
}

/// `codes` of so many bits each, the least bit first.
fn bits(codes: impl IntoIterator<Item = (u32, u32)>) -> Vec<u8> {
    let (mut bytes, mut at) = (Vec::new(), 0);
    for (code, width) in codes {
        for bit in 0..width {
            if at % 8 == 0 {
                bytes.push(0);
            }
            *bytes.last_mut().unwrap() |= ((code >> bit & 1) as u8) << (at % 8);
            at += 1;
        }
    }
    bytes
}

/// Written by hand, as PKZIP's notes on its format tell: every byte by itself, which each of the
/// methods allows.
#[test]
fn methods_of_before_1993_are_read_and_proven() {
    let content = b"packed by a program for MS-DOS\r\n".repeat(3);
    let literals = |width| content.iter().map(move |byte| (u32::from(*byte), width));
    // Codes of nine bits; no set of followers for any byte; two trees of 64 codes of six bits, and
    // a bit before each byte.
    let shrunk = bits(literals(9));
    let reduced = bits((0..256).map(|_| (0, 6)).chain(literals(8)));
    let trees = [3u8, 0xF5, 0xF5, 0xF5, 0xF5, 3, 0xF5, 0xF5, 0xF5, 0xF5];
    let imploded =
        [&trees[..], &bits(content.iter().map(|byte| (u32::from(*byte) << 1 | 1, 9)))].concat();
    for (method, packed) in [(1, shrunk), (2, reduced.clone()), (5, reduced), (6, imploded)] {
        let member = ZipMade {
            method: Some(method),
            as_packed: Some(packed.clone()),
            ..made("a.txt", &content)
        };
        check(&build(std::slice::from_ref(&member)), &[("a.txt", &content)]);
        for at in [packed.len() / 2, packed.len() - 2] {
            let mut spoilt = packed.clone();
            spoilt[at] ^= 0x10;
            refused(
                &build(&[ZipMade { as_packed: Some(spoilt), ..member.clone() }]),
                Class::ArchiveDamaged,
                "",
            );
        }
        refused(
            &build(&[ZipMade { as_packed: Some(packed[..20].to_vec()), ..member.clone() }]),
            Class::ArchiveDamaged,
            "",
        );
        refused(
            &build(&[ZipMade { size: Some(u32::MAX - 1), ..member }]),
            Class::LimitArchive,
            "a method of before 1993",
        );
    }
}

#[test]
fn memory_that_headers_claim_is_not_taken() {
    let limit = |member: ZipMade| {
        refused(&build(&[member]), Class::LimitArchive, "claims that unpacking it takes")
    };
    let mut wide = hex(LZMA);
    wide[5..9].copy_from_slice(&u32::MAX.to_le_bytes());
    // A dictionary can reach no further back than the content is long.
    check(
        &build(&[ZipMade {
            method: Some(14),
            as_packed: Some(wide.clone()),
            ..by_others()[0].clone()
        }]),
        &[("lzma", &by_others()[0].content)],
    );
    limit(ZipMade {
        method: Some(14),
        as_packed: Some(wide),
        size: Some(u32::MAX - 1),
        ..made("a", b"")
    });
    limit(ZipMade {
        method: Some(98),
        as_packed: Some([&0xFF5u16.to_le_bytes()[..], &ppmd(b"x")[2..]].concat()),
        ..made("a", b"x")
    });
    // Frame header with a window of 1 GiB.
    limit(ZipMade {
        method: Some(93),
        as_packed: Some(hex("28b52ffd00a0010000")),
        ..made("a", b"")
    });
    // The size of the dictionary in the header of the first block, and that header's checksum.
    let mut xz = hex(XZ);
    let at = xz.iter().position(|byte| *byte == 0x21).unwrap() + 2;
    xz[at] = 38;
    let crc = crc_fast::crc32_iso_hdlc(&xz[12..20]);
    xz[20..24].copy_from_slice(&crc.to_le_bytes());
    limit(ZipMade { as_packed: Some(xz), ..by_others()[1].clone() });
}

#[test]
fn headers_of_methods_that_make_no_sense_are_damaged() {
    for (method, head) in [
        (14, "0914060000000000005d"),
        (14, "09140500ff00000000"),
        (98, "f5f000000000"),
        (98, "00000000000000"),
        (95, "fd377a585a01"),
    ] {
        let error = read(&build(&[ZipMade {
            method: Some(method),
            as_packed: Some(hex(head)),
            ..made("a", b"x")
        }]))
        .unwrap_err();
        assert_eq!(error.class(), Class::ArchiveDamaged, "{method}: {}", chain(&error));
    }
}

fn with(passwords: &[&str]) -> ArchiveOptions {
    ArchiveOptions {
        passwords: passwords.iter().map(|password| Secret::new(*password)).collect(),
        ..ArchiveOptions::default()
    }
}

fn read_with(archive: &[u8], passwords: &[&str]) -> Result<Read, UnpackError> {
    read_as(archive, &with(passwords))
}

#[track_caller]
fn opens(archive: &[u8], passwords: &[&str], content: &[u8]) {
    let read = read_with(archive, passwords).unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert!(read.len() == 1 && read[0].1 == content);
}

#[track_caller]
fn stays_shut(archive: &[u8], passwords: &[&str], class: Class) {
    let line = match read_with(archive, passwords) {
        Ok(_) => panic!("it was opened"),
        Err(error) => {
            assert_eq!(error.class(), class, "{}", chain(&error));
            chain(&error)
        }
    };
    assert!(passwords.iter().all(|password| !line.contains(password)), "{line}");
}

/// `member` under the traditional cipher.
fn traditional(member: &ZipMade, password: impl AsRef<[u8]>) -> ZipMade {
    let crc = crc_fast::crc32_iso_hdlc(&member.content);
    let check = if member.descriptor { 0x60 } else { (crc >> 24) as u8 };
    let plain = [&[7; 11], &[check][..], &member.packed()].concat();
    ZipMade {
        flags: member.flags | 1,
        as_packed: Some(encrypt(password.as_ref(), plain)),
        ..member.clone()
    }
}

/// `member` under AES with keys of `bits`, AE-`version`.
fn aes(member: &ZipMade, password: impl AsRef<[u8]>, bits: usize, version: u8) -> ZipMade {
    let size = bits / 8;
    let salt: Vec<u8> = (0..size as u8 / 2).map(|i| i.wrapping_mul(37)).collect();
    let mut derived = vec![0; size * 2 + 2];
    pbkdf2::pbkdf2_hmac::<sha1::Sha1>(password.as_ref(), &salt, 1000, &mut derived);
    let mut packed = member.packed();
    let (key, first) = (&derived[..size], &1u128.to_le_bytes());
    match bits {
        128 => ctr::Ctr128LE::<aes::Aes128>::new_from_slices(key, first)
            .unwrap()
            .apply_keystream(&mut packed),
        192 => ctr::Ctr128LE::<aes::Aes192>::new_from_slices(key, first)
            .unwrap()
            .apply_keystream(&mut packed),
        _ => ctr::Ctr128LE::<aes::Aes256>::new_from_slices(key, first)
            .unwrap()
            .apply_keystream(&mut packed),
    }
    let mut tag = Hmac::<sha1::Sha1>::new_from_slice(&derived[size..size * 2]).unwrap();
    tag.update(&packed);
    let whole =
        [&salt[..], &derived[size * 2..], &packed, &tag.finalize().into_bytes()[..10]].concat();
    let method = member.method.unwrap_or(if member.deflate { 8 } else { 0 });
    let field = [
        &[1, 0x99, 7, 0, version, 0, b'A', b'E', (bits / 64 - 1) as u8][..],
        &method.to_le_bytes(),
    ]
    .concat();
    let crc = if version == 2 { Some(0) } else { member.crc };
    ZipMade {
        flags: member.flags | 1,
        method: Some(99),
        extra: field,
        crc,
        as_packed: Some(whole),
        ..member.clone()
    }
}

#[test]
fn the_traditional_cipher_is_read() {
    let stored = ZipMade { deflate: false, ..made("a", b"stored secret") };
    let streamed = ZipMade { descriptor: true, ..made("a", &TEXT) };
    for member in [
        made("a", &TEXT),
        stored,
        streamed,
        of(12, &TEXT),
        of(93, &TEXT),
        of(98, &TEXT),
        made("a", b""),
    ] {
        let archive = build(&[traditional(&member, "right")]);
        opens(&archive, &["right"], &member.content);
        opens(&archive, &["wrong", "other", "right", "last"], &member.content);
        stays_shut(&archive, &["wrong"], Class::ArchiveEncrypted);
        stays_shut(&archive, &[], Class::ArchiveEncrypted);
    }
}

/// What checks a password under the traditional cipher is one byte: of a thousand wrong ones, four
/// pass it.
#[test]
fn passwords_that_pass_by_chance_do_not_stop_the_right_one() {
    let archive = build(&[traditional(&made("a", &TEXT), "right")]);
    let wrong: Vec<String> = (0..1_000).map(|i| format!("wrong{i}")).collect();
    let wrong: Vec<&str> = wrong.iter().map(String::as_str).collect();
    opens(&archive, &[&wrong[..], &["right"]].concat(), &TEXT);
    opens(&archive, &[&wrong[..], &["right"], &wrong[..]].concat(), &TEXT);
    stays_shut(&archive, &wrong, Class::ArchiveEncrypted);
}

#[test]
fn aes_is_read_and_authenticated() {
    let stored = ZipMade { deflate: false, ..made("a", b"stored secret") };
    for member in [made("a", &TEXT), stored, of(93, &TEXT)] {
        for (bits, version) in [(128, 1), (192, 1), (256, 1), (128, 2), (256, 2)] {
            let archive = build(&[aes(&member, "right", bits, version)]);
            opens(&archive, &["right"], &member.content);
            opens(&archive, &["wrong", "right"], &member.content);
            stays_shut(&archive, &["wrong"], Class::ArchiveEncrypted);
        }
    }
    // A change that leaves no other trace: without a checksum, the code alone tells.
    let mut member =
        aes(&ZipMade { deflate: false, ..made("a", b"stored secret") }, "right", 256, 2);
    let packed = member.as_packed.as_mut().unwrap();
    packed[20] ^= 1;
    stays_shut(&build(&[member]), &["right"], Class::ArchiveDamaged);
}

/// Programs of the time before UTF-8 take the password in the code page of DOS or of Windows.
#[test]
fn passwords_of_other_letters_open_what_was_packed_with_older_code_pages() {
    let spellings = ["pässwört".as_bytes(), b"p\x84ssw\x94rt", b"p\xE4ssw\xF6rt"];
    for bytes in spellings {
        for archive in [
            build(&[traditional(&made("a", &TEXT), bytes)]),
            build(&[aes(&made("a", &TEXT), bytes, 256, 2)]),
        ] {
            opens(&archive, &["pässwört"], &TEXT);
            opens(&archive, &["wrong", "pässwört", "日本語"], &TEXT);
            stays_shut(&archive, &["passwort", "日本語"], Class::ArchiveEncrypted);
        }
    }
}

#[test]
fn each_member_may_have_its_own_password() {
    let one = traditional(&ZipMade { name: b"1".to_vec(), ..made("", b"one") }, "first");
    let two = aes(&ZipMade { name: b"2".to_vec(), ..made("", b"two") }, "second", 256, 2);
    let archive = build(&[one, two, made("3", b"plain")]);
    let read = read_with(&archive, &["second", "first"]).unwrap();
    assert_eq!(
        read.iter().map(|(_, bytes)| bytes.as_slice()).collect::<Vec<_>>(),
        [&b"one"[..], b"two", b"plain"]
    );
}

#[test]
fn encrypted_content_that_is_too_short_is_refused() {
    for (length, member) in
        [(11, traditional(&made("a", b"x"), "right")), (20, aes(&made("a", b"x"), "right", 256, 2))]
    {
        let cut = ZipMade { as_packed: Some(member.packed()[..length].to_vec()), ..member };
        stays_shut(&build(&[cut]), &["right"], Class::ArchiveDamaged);
    }
}

proptest! {
    /// Whatever bits are flipped in packed content: no panic, and never other content.
    #[test]
    fn flipped_bits_never_pass_as_other_content(
        which in 0..9usize,
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8u32), 1..3),
    ) {
        let member = match which {
            7 => traditional(&made("a", &TEXT), "right"),
            8 => aes(&made("a", &TEXT), "right", 256, 2),
            which => EVERY_METHOD[[0, 1, 3, 7, 8, 9, 4][which]].clone(),
        };
        let mut packed = member.packed();
        for (index, bit) in &flips {
            let at = index.index(packed.len());
            packed[at] ^= 1 << bit;
        }
        let content = member.content.clone();
        let archive = build(&[ZipMade { as_packed: Some(packed), ..member }]);
        if let Ok(found) = read_with(&archive, &["right"]) {
            prop_assert_eq!(&found[0].1, &content);
        }
    }
}
