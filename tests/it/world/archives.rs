//! What becomes of archives: their members, or the reason why there are none.

use super::zips::{Entry, entry, link, zip, zip_of};
use super::{LONG_AGO, World};
use blobferry::model::RemotePath;
use blobferry::transfer::settings::{After, Archives};
use expect_test::expect;

#[tokio::test]
async fn members_arrive_under_the_archives_name_with_their_times() {
    let world = World::new().file(
        "/in/a.zip",
        zip_of(&[entry("d/", b""), entry("d/1.csv", b"one"), entry("2.txt", b"two")]),
    );
    let ran = world.run().await;
    expect![[r"
        acme (memory://server)
          listed 1 = ingested 1 + unchanged 0 + skipped 0 + gone 0 + deferred 0 + failed 0
          2 blobs from 284 B
          1 archive: members 3 = stored 2 + identical 0 + skipped 1
        Ok, exit 0
    "]]
    .assert_eq(&ran.to_string());
    assert_eq!(world.names(), ["acme/in/a.zip!/2.txt", "acme/in/a.zip!/d/1.csv"]);
    assert_eq!(world.text("acme/in/a.zip!/d/1.csv"), "one");
    let info = world.info("acme/in/a.zip!/d/1.csv").await;
    let metadata = |key: &str| info.metadata.get(key).map(String::as_str);
    assert_eq!(
        (metadata("archive"), metadata("member"), metadata("source_path")),
        (Some("zip"), Some("d/1.csv"), Some("/in/a.zip"))
    );
    assert_eq!(
        (metadata("mtime"), info.content_type.as_deref()),
        (Some("2026-11-20T12:00:00Z"), Some("text/csv"))
    );
}

#[tokio::test]
async fn twins_and_case_pairs_all_arrive() {
    let world = World::new()
        .file("/a.zip", zip_of(&[entry("x", b"1"), entry("x", b"2"), entry("X", b"3")]));
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
    let mut contents: Vec<String> = world.names().iter().map(|name| world.text(name)).collect();
    contents.sort();
    assert_eq!(contents, ["1", "2", "3"]);
    assert_eq!(world.run().await.brief(), "ok: unchanged 1");
}

#[tokio::test]
async fn a_corrupt_last_member_shows_nothing_of_the_archive() {
    let spoilt = Entry { crc: Some(1), ..entry("3.txt", b"three") };
    let world = World::new()
        .file("/a.zip", zip_of(&[entry("1.txt", b"one"), entry("2.txt", b"two"), spoilt]));
    let ran = world.run().await;
    assert_eq!(
        (ran.brief().as_str(), ran.report.exit_code()),
        ("degraded: failed 1 [archive_damaged]", 1)
    );
    assert!(world.names().is_empty() && world.recorded().is_empty());
    world.put("/a.zip", zip(&[("1.txt", b"one")]), LONG_AGO + 1);
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
}

#[tokio::test]
async fn a_truncated_archive_fails_alone() {
    let whole = zip(&[("1.txt", b"one"), ("2.txt", b"two")]);
    let world = World::new().file("/a.zip", whole[..whole.len() - 30].to_vec()).file("/b", "b");
    assert_eq!(world.run().await.brief(), "degraded: ingested 1, failed 1 [archive_damaged]");
    assert_eq!(world.names(), ["acme/b"]);
}

#[tokio::test]
async fn an_encrypted_archive_says_so() {
    let world = World::new()
        .file("/a.zip", zip_of(&[Entry { flags: 1, ..entry("1.txt", b"0123456789abcdef") }]));
    assert_eq!(world.run().await.brief(), "degraded: failed 1 [archive_encrypted]");
    assert!(world.names().is_empty());
}

#[tokio::test]
async fn an_office_document_stays_whole() {
    let document = zip(&[("[Content_Types].xml", b"<Types/>"), ("word/document.xml", b"<x/>")]);
    let world = World::new().file("/a.docx", document.clone());
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
    assert_eq!(
        (world.names(), world.store.content("acme/a.docx").unwrap().to_vec()),
        (vec!["acme/a.docx".to_owned()], document)
    );
}

#[tokio::test]
async fn archives_can_be_kept_whole_or_both() {
    let archive = zip(&[("1.txt", b"one")]);
    let world = World::new()
        .with(|source| source.archives = Archives::Keep)
        .file("/a.zip", archive.clone());
    assert_eq!(
        (world.run().await.brief().as_str(), world.names()),
        ("ok: ingested 1", vec!["acme/a.zip".to_owned()])
    );
    let world = World::new()
        .with(|source| source.archives = Archives::Both)
        .file("/a.zip", archive.clone());
    let ran = world.run().await;
    assert_eq!((ran.brief().as_str(), ran.source().blobs), ("ok: ingested 1", 2));
    assert_eq!(world.names(), ["acme/a.zip", "acme/a.zip!/1.txt"]);
    assert_eq!(world.store.content("acme/a.zip").unwrap().to_vec(), archive);
}

#[tokio::test]
async fn an_empty_archive_is_ingested_without_blobs() {
    let world = World::new().file("/a.zip", zip(&[]));
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
    assert!(world.names().is_empty());
    assert_eq!(world.run().await.brief(), "ok: unchanged 1");
}

#[tokio::test]
async fn an_archive_and_a_folder_of_its_name_never_meet() {
    let world = World::new().file("/a.zip", zip(&[("x", b"member")])).file("/a.zip!/x", "file");
    assert_eq!(world.run().await.brief(), "ok: ingested 2");
    assert_eq!(
        (world.text("acme/a.zip!/x"), world.text("acme/a.zip%21/x")),
        ("member".into(), "file".into())
    );
}

#[tokio::test]
async fn a_link_in_an_archive_is_told_and_the_archive_stays_at_the_source() {
    let world = World::new()
        .with(|source| source.after = After::Delete)
        .file("/a.zip", zip_of(&[entry("1.txt", b"one"), link("l", "1.txt")]));
    for expected in ["ok: ingested 1", "ok: unchanged 1"] {
        let ran = world.run().await;
        assert_eq!(
            (ran.brief().as_str(), world.at_source()),
            (expected, vec!["/a.zip".to_owned()])
        );
        assert!(ran.to_string().contains("stays at the source"), "{ran}");
    }
    let world = World::new()
        .with(|source| (source.after, source.archives) = (After::Delete, Archives::Both))
        .file("/a.zip", zip_of(&[entry("1.txt", b"one"), link("l", "1.txt")]));
    assert_eq!(
        (world.run().await.brief().as_str(), world.at_source().len()),
        ("ok: ingested 1", 0)
    );
}

#[tokio::test]
async fn an_archive_whose_name_says_otherwise_is_unpacked_by_its_content() {
    let world = World::new()
        .file("/report.bin", zip(&[("1.txt", b"one")]))
        .file("/fake.zip", "no archive at all");
    assert_eq!(world.run().await.brief(), "ok: ingested 2");
    assert_eq!(world.names(), ["acme/fake.zip", "acme/report.bin!/1.txt"]);
    assert!(world.server.tree().files.contains_key(&RemotePath::from("/fake.zip")));
}

#[tokio::test]
async fn an_archive_over_a_limit_fails_with_its_limit_and_alone() {
    let mut world =
        World::new().file("/a.zip", zip(&[("1", b"1"), ("2", b"2"), ("3", b"3")])).file("/b", "b");
    world.limits.archive.members = 2;
    assert_eq!(world.run().await.brief(), "degraded: ingested 1, failed 1 [limit_archive]");
    world.limits.archive.members = 3;
    assert_eq!(world.run().await.brief(), "ok: ingested 1, unchanged 1");
}

#[tokio::test]
async fn an_archive_for_which_there_is_no_room_fails_and_says_so() {
    let mut world =
        World::new().file("/a.zip", zip_of(&[entry("1", &vec![1; 4 << 20])])).file("/b", "b");
    (world.limits.memory, world.limits.temp) = (1 << 20, 1 << 20);
    assert_eq!(world.run().await.brief(), "degraded: ingested 1, failed 1 [limit_temp]");
}

fn large(salt: u8) -> Vec<u8> {
    (0..9u32 << 20).map(|at| (at / 5) as u8 ^ salt).collect()
}

#[tokio::test]
async fn large_members_are_unpacked_once_and_leave_nothing_when_the_archive_fails() {
    let (one, two) = (large(1), large(2));
    let members = [entry("1.bin", &one), entry("small", b"x"), entry("2.bin", &two)];
    let world = World::new().file("/a.zip", zip_of(&members));
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
    assert!(
        world.store.content("acme/a.zip!/1.bin").unwrap() == one
            && world.store.content("acme/a.zip!/2.bin").unwrap() == two
    );
    assert_eq!(
        (world.store.counts().stages, world.store.counts().commits, world.store.staged().len()),
        (4, 2, 0)
    );
    // The last member tells that the archive is damaged, when the large ones are staged already.
    let spoilt = zip_of(&[&members[..], &[Entry { crc: Some(1), ..entry("last", b"y") }]].concat());
    let world = World::new().file("/a.zip", spoilt);
    assert_eq!(
        (world.run().await.brief().as_str(), world.names()),
        ("degraded: failed 1 [archive_damaged]", vec![])
    );
    assert_eq!((world.store.counts().commits, world.store.staged().len()), (0, 0));
}

/// Which name a large member has is certain only when the whole archive is known.
#[tokio::test]
async fn large_members_that_share_a_name_or_stand_in_inner_archives_all_arrive() {
    let contents = [large(1), large(2), large(3), large(4)];
    let inner = zip(&[("x", &contents[2])]);
    let members = [
        entry("x", &contents[0]),
        entry("x", &contents[1]),
        entry("b.zip", &inner),
        entry("b.zip!/x", &contents[3]),
    ];
    let world = World::new().file("/a.zip", zip_of(&members));
    let ran = world.run().await;
    assert_eq!((ran.brief().as_str(), ran.source().members.stored), ("ok: ingested 1", 4), "{ran}");
    let found: Vec<_> =
        world.names().iter().map(|name| world.store.content(name).unwrap()).collect();
    assert!(
        contents.iter().all(|content| found.iter().any(|found| found == content)),
        "{:?}",
        world.names()
    );
    assert!(
        world.store.content("acme/a.zip!/x").unwrap() == contents[0]
            && world.store.content("acme/a.zip!/b.zip!/x").unwrap() == contents[2]
    );
    assert_eq!(world.store.staged().len(), 0);
    assert_eq!(world.run().await.brief(), "ok: unchanged 1");
    // Without a ledger everything is found again, by content and name.
    world.lose_ledger().await;
    let ran = world.run().await;
    assert_eq!(
        (ran.report.exit_code(), ran.source().blobs, world.names().len()),
        (0, 0, 4),
        "{ran}"
    );
}

#[tokio::test]
async fn members_that_are_not_wanted_are_not_staged() {
    let globs = blobferry::rules::patterns::NameGlobs::new(&["small".to_owned()]).unwrap();
    let world = World::new()
        .with(|source| source.include_members = Some(globs))
        .file("/a.zip", zip_of(&[entry("1.bin", &large(1)), entry("small", b"x")]));
    assert_eq!(
        (world.run().await.brief().as_str(), world.names()),
        ("ok: ingested 1", vec!["acme/a.zip!/small".to_owned()])
    );
    assert_eq!(world.store.counts().stages, 0);
}
