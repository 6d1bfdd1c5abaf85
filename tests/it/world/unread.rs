//! Archives that are not read, those that a limit refuses, and members that nobody wants.

use super::World;
use super::zips::{entry, link, zip, zip_of};
use blobferry::archive::options::{OwnLimits, UnknownArchives};
use blobferry::model::Secret;
use blobferry::rules::patterns::NameGlobs;
use blobferry::transfer::settings::After;

const RAR: &[u8] = b"Rar!\x1A\x07\x01\0\x33\x92\xB5\xE5\x0A\x01\x05\x06\0\x05\x01\x01\x80\x80\0";

fn globs(globs: &[&str]) -> NameGlobs {
    NameGlobs::new(&globs.iter().map(|glob| (*glob).to_owned()).collect::<Vec<_>>())
        .expect("they compile")
}

#[tokio::test]
async fn archives_that_are_not_read_are_kept_told_and_counted() {
    let sfx = [b"MZ", &[0x90; 600][..], b"7z\xBC\xAF\x27\x1C\0\x04", &[0; 40]].concat();
    let world = World::new()
        .file("/a.bin", RAR)
        .file("/b.rar", RAR)
        .file("/setup.exe", sfx)
        .file("/c.7z.002", "more")
        .file("/plain", "x");
    let ran = world.run().await;
    assert_eq!((ran.brief().as_str(), ran.report.exit_code()), ("ok: ingested 5", 0));
    let told: Vec<(&str, u64)> =
        ran.source().not_unpacked.iter().map(|(kind, count)| (kind.as_ref(), *count)).collect();
    assert_eq!(told, [("rar", 2), ("self_extractor", 1), ("split_7z", 1)]);
    assert!(
        ran.to_string()
            .contains("note: /a.bin: not_unpacked: rar: it is a RAR archive, and stored as it is"),
        "{ran}"
    );
    assert_eq!(world.store.content("acme/b.rar").unwrap(), RAR);
}

#[tokio::test]
async fn archives_that_are_not_read_can_fail() {
    let world = World::new()
        .with(|source| source.unpacking.unknown = UnknownArchives::Fail)
        .file("/b.rar", RAR);
    let ran = world.run().await;
    assert_eq!(
        (ran.brief().as_str(), world.names()),
        ("degraded: failed 1 [archive_unsupported]", vec![])
    );
    assert!(ran.to_string().contains("it is a RAR archive"), "{ran}");
}

#[tokio::test]
async fn every_part_of_a_split_zip_is_kept_and_told() {
    let whole = zip(&[("a", &[b'a'; 3000][..]), ("b", &[b'b'; 3000])]);
    let mut world = World::new();
    for (number, part) in whole.chunks(2000).enumerate() {
        world = world.file(&format!("/x.zip.{:03}", number + 1), part.to_vec());
    }
    let ran = world.run().await;
    assert_eq!(ran.source().not_unpacked.get("split_zip"), Some(&4), "{ran}");
    assert!(!ran.to_string().contains("have it sent again"), "{ran}");
    let parts: Vec<u8> =
        world.names().iter().flat_map(|name| world.store.content(name).unwrap().to_vec()).collect();
    assert!(parts == whole);
}

#[tokio::test]
async fn a_rar_in_a_zip_is_a_member_and_told() {
    let world = World::new().file("/a.zip", zip(&[("1.txt", &b"one"[..]), ("b.rar", RAR)]));
    let ran = world.run().await;
    assert_eq!((ran.brief().as_str(), ran.source().partly_unpacked), ("ok: ingested 1", 1));
    assert!(ran.to_string().contains("the inner archive `b.rar` is stored as it is: rar"), "{ran}");
}

#[tokio::test]
async fn symbolic_links_are_told_by_name_and_counted_apart_from_folders() {
    let world = World::new().file(
        "/a.zip",
        zip_of(&[entry("d/", b""), entry("1.txt", b"one"), link("soft.csv", "1.txt")]),
    );
    let ran = world.run().await;
    let members = ran.source().members;
    assert_eq!((ran.brief().as_str(), members.skipped, members.links), ("ok: ingested 1", 2, 1));
    assert!(ran.to_string().contains("symbolic links are not stored (1): `soft.csv`"), "{ran}");
    assert!(ran.to_string().contains("skipped 2 (1 symbolic link)"), "{ran}");
}

#[tokio::test]
async fn excluded_members_are_not_stored_and_keep_no_archive_at_its_source() {
    let members = [
        ("a.csv", &b"1"[..]),
        ("__MACOSX/._a.csv", b"x"),
        ("d/.DS_Store", b"x"),
        ("in.zip", &zip(&[("b.csv", b"2"), ("__MACOSX/._b", b"x")])),
    ];
    let world = World::new()
        .with(|source| {
            source.unpacking.exclude_members = Some(globs(&["**/__MACOSX/**", "**/.DS_Store"]))
        })
        .with(|source| source.after = After::Delete)
        .file("/a.zip", zip(&members));
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
    assert_eq!(
        (world.names(), world.at_source().len()),
        (vec!["acme/a.zip!/a.csv".to_owned(), "acme/a.zip!/in.zip!/b.csv".to_owned()], 0)
    );
}

#[tokio::test]
async fn a_password_may_be_for_some_files_alone() {
    let mut writer = zip_encrypted(b"content", "s3cret");
    let world = World::new()
        .with(|source| {
            source.unpacking.file_passwords = vec![(globs(&["acme/*.zip"]), Secret::new("s3cret"))]
        })
        .file("/acme/a.zip", writer.clone())
        .file("/other/a.zip", std::mem::take(&mut writer));
    assert_eq!(world.run().await.brief(), "degraded: ingested 1, failed 1 [archive_encrypted]");
    assert_eq!(world.text("acme/acme/a.zip!/a"), "content");
}

/// A zip with the member `a`, encrypted with PKZIP's cipher.
fn zip_encrypted(content: &[u8], password: &str) -> Vec<u8> {
    let crc = |value: u32, byte: u8| {
        let mut value = (value ^ u32::from(byte)) & 0xFF | (value & !0xFF);
        for _ in 0..8 {
            value = if value & 1 == 1 { value >> 1 ^ 0xEDB8_8320 } else { value >> 1 };
        }
        value
    };
    let mut keys = [0x1234_5678u32, 0x2345_6789, 0x3456_7890];
    let update = |keys: &mut [u32; 3], byte: u8| {
        keys[0] = crc(keys[0], byte);
        keys[1] = keys[1].wrapping_add(keys[0] & 0xFF).wrapping_mul(134_775_813).wrapping_add(1);
        keys[2] = crc(keys[2], (keys[1] >> 24) as u8);
    };
    password.bytes().for_each(|byte| update(&mut keys, byte));
    let sum = !content.iter().fold(u32::MAX, |sum, byte| crc(sum, *byte));
    let plain = [&[0; 11][..], &[(sum >> 24) as u8], content].concat();
    let packed: Vec<u8> = plain
        .into_iter()
        .map(|byte| {
            let key = (keys[2] | 2) & 0xFFFF;
            let cipher = (key.wrapping_mul(key ^ 1) >> 8) as u8;
            update(&mut keys, byte);
            byte ^ cipher
        })
        .collect();
    let mut archive =
        zip_of(&[super::zips::Entry { flags: 1, crc: Some(sum), ..entry("a", &packed) }]);
    // The size before it was encrypted, in both headers.
    let directory =
        archive.windows(4).position(|window| window == b"PK\x01\x02").expect("it has a directory");
    for at in [22, directory + 24] {
        archive[at..at + 4].copy_from_slice(&(content.len() as u32).to_le_bytes());
    }
    archive
}

#[tokio::test]
async fn a_source_may_have_limits_of_its_own() {
    let mut world = World::new()
        .with(|source| {
            source.unpacking.own_limits = OwnLimits { members: Some(2), ..OwnLimits::default() }
        })
        .file("/a.zip", zip(&[("1", b"1"), ("2", b"2")]));
    world.limits.archive.members = 1;
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
}

#[tokio::test]
async fn a_large_archive_that_a_limit_refuses_is_not_fetched_again_until_the_limit_is_another_one()
{
    let large: Vec<u8> = (0..9u32 << 20).map(|at| (at / 3) as u8).collect();
    let mut world =
        World::new().file("/a.zip", zip(&[("1", &large[..]), ("2", b"2")])).file("/b", "b");
    world.limits.archive.members = 1;
    let first = world.run().await;
    assert_eq!(first.brief(), "degraded: ingested 1, failed 1 [limit_archive]");
    let second = world.run().await;
    assert_eq!(
        (second.brief().as_str(), second.reads),
        ("degraded: unchanged 1, failed 1 [limit_archive]", 0)
    );
    assert!(
        second.to_string().contains("in [limits] or [source.limits] (found by run"),
        "{second}"
    );
    world.limits.archive.members = 2;
    assert_eq!(world.run().await.brief(), "ok: ingested 1, unchanged 1");
    assert!(!world.store.names().iter().any(|name| name.contains("/refused/")));
}
