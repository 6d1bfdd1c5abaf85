//! Archives in archives.

use super::World;
use super::zips::{Entry, entry, zip, zip_of};
use blobferry::archive::options::InnerErrors;
use blobferry::transfer::settings::Archives;

fn wrapped(name: &str, inner: &[u8]) -> Vec<u8> {
    zip(&[(name, inner)])
}

#[tokio::test]
async fn members_of_inner_archives_arrive_under_the_way_to_them() {
    let inner = zip(&[("d/1.txt", b"one"), ("2!/x", b"two")]);
    let outer = zip(&[("0.txt", &b"zero"[..]), ("deep/b.zip", &inner), ("3.txt", b"three")]);
    let world = World::new().file("/a.zip", outer);
    let ran = world.run().await;
    assert_eq!((ran.brief().as_str(), ran.source().members.members), ("ok: ingested 1", 4));
    assert_eq!(
        world.names(),
        [
            "acme/a.zip!/0.txt",
            "acme/a.zip!/3.txt",
            "acme/a.zip!/deep/b.zip!/2%21/x",
            "acme/a.zip!/deep/b.zip!/d/1.txt"
        ]
    );
    assert_eq!(world.text("acme/a.zip!/deep/b.zip!/d/1.txt"), "one");
    let info = world.info("acme/a.zip!/deep/b.zip!/d/1.txt").await;
    assert_eq!(info.metadata["member"], "deep/b.zip%21/d/1.txt");
    assert_eq!((world.run().await.brief().as_str(), world.names().len()), ("ok: unchanged 1", 4));
}

#[tokio::test]
async fn the_deepest_archives_stay_files() {
    let innermost = wrapped("leaf", b"leaf");
    let level3 = wrapped("4.zip", &innermost);
    let world = World::new().file("/1.zip", wrapped("2.zip", &wrapped("3.zip", &level3)));
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
    assert_eq!(world.names(), ["acme/1.zip!/2.zip!/3.zip!/4.zip"]);
    assert_eq!(world.store.content("acme/1.zip!/2.zip!/3.zip!/4.zip").unwrap(), innermost);
    let world = World::new()
        .with(|source| source.unpacking.depth = 1)
        .file("/1.zip", wrapped("2.zip", &innermost));
    assert_eq!(
        (world.run().await.brief().as_str(), world.names()),
        ("ok: ingested 1", vec!["acme/1.zip!/2.zip".to_owned()])
    );
}

#[tokio::test]
async fn a_broken_inner_archive_does_not_cost_the_parcel_and_degrades_the_run_once() {
    let spoilt =
        zip_of(&[entry("1.txt", b"one"), Entry { crc: Some(1), ..entry("2.txt", b"two") }]);
    let encrypted = zip_of(&[Entry { flags: 1, ..entry("1.txt", b"0123456789abcdef") }]);
    let members = [
        ("0.txt", &b"zero"[..]),
        ("d/b.zip", &spoilt),
        ("e.zip", &encrypted),
        ("good.zip", &zip(&[("x", b"x")])),
        ("9.txt", b"nine"),
    ];
    let world = World::new().file("/a.zip", zip(&members));
    let ran = world.run().await;
    let source = ran.source();
    assert_eq!(
        ran.brief(),
        "degraded: ingested 1, problem [archive_damaged], problem [archive_encrypted]"
    );
    assert_eq!((ran.report.exit_code(), source.partly_unpacked, source.members.members), (1, 2, 5));
    let names = [
        "acme/a.zip!/0.txt",
        "acme/a.zip!/9.txt",
        "acme/a.zip!/d/b.zip",
        "acme/a.zip!/e.zip",
        "acme/a.zip!/good.zip!/x",
    ];
    assert_eq!(world.names(), names);
    assert!(
        world.store.content("acme/a.zip!/d/b.zip").unwrap() == spoilt
            && world.store.content("acme/a.zip!/e.zip").unwrap() == encrypted
    );
    let told = source.problems[0].message.clone();
    assert!(
        told.contains("partly_unpacked: the inner archive `d/b.zip` is stored as it is")
            && told.contains("2.txt"),
        "{told}"
    );
    let manifest =
        world.store.names().into_iter().find(|name| name.contains("/archives/")).unwrap();
    let manifest: serde_json::Value =
        serde_json::from_slice(&world.store.content(&manifest).unwrap()).unwrap();
    assert_eq!(
        (&manifest["members"][1]["not_unpacked"], &manifest["members"][3]["not_unpacked"]),
        (&"archive_damaged".into(), &serde_json::Value::Null)
    );
    assert_eq!(world.run().await.brief(), "ok: unchanged 1");
}

#[tokio::test]
async fn a_large_broken_inner_archive_arrives_whole_though_its_first_members_were_taken_already() {
    let large: Vec<u8> = (0..9u32 << 20).map(|at| (at / 7) as u8).collect();
    let spoilt =
        zip_of(&[entry("large", &large), Entry { crc: Some(1), ..entry("2.txt", b"two") }]);
    let world = World::new().file("/a.zip", zip(&[("b.zip", &spoilt[..]), ("large", &large)]));
    assert_eq!(world.run().await.brief(), "degraded: ingested 1, problem [archive_damaged]");
    assert_eq!(world.names(), ["acme/a.zip!/b.zip", "acme/a.zip!/large"]);
    assert!(
        world.store.content("acme/a.zip!/b.zip").unwrap() == spoilt
            && world.store.content("acme/a.zip!/large").unwrap() == large
    );
}

#[tokio::test]
async fn inner_errors_can_be_no_more_than_a_note() {
    let spoilt = zip_of(&[Entry { crc: Some(1), ..entry("2.txt", b"two") }]);
    let world = World::new()
        .with(|source| source.unpacking.inner_errors = InnerErrors::Keep)
        .file("/a.zip", wrapped("b.zip", &spoilt));
    let ran = world.run().await;
    assert_eq!((ran.brief().as_str(), ran.source().partly_unpacked), ("ok: ingested 1", 1));
    assert!(
        ran.to_string().contains("note: /a.zip: partly_unpacked: the inner archive `b.zip`"),
        "{ran}"
    );
}

#[tokio::test]
async fn what_only_begins_like_an_archive_is_a_file_without_a_word() {
    let world = World::new()
        .file(
            "/a.zip",
            zip(&[
                ("a.txt", &b"PK\x03\x04 is how a zip begins\n"[..]),
                ("b.zip", b"no zip at all"),
            ]),
        )
        .file("/b.txt", "PK\x03\x04 too");
    let ran = world.run().await;
    assert_eq!(
        (ran.brief().as_str(), ran.source().notes.len(), ran.source().partly_unpacked),
        ("ok: ingested 2", 0, 0)
    );
    assert_eq!(world.names(), ["acme/a.zip!/a.txt", "acme/a.zip!/b.zip", "acme/b.txt"]);
}

#[tokio::test]
async fn a_broken_inner_archive_can_fail_the_outer_one_and_is_named() {
    let spoilt =
        zip_of(&[entry("1.txt", b"one"), Entry { crc: Some(1), ..entry("2.txt", b"two") }]);
    let world = World::new()
        .with(|source| source.unpacking.inner_errors = InnerErrors::Fail)
        .file("/a.zip", zip(&[("0.txt", &b"zero"[..]), ("d/b.zip", &spoilt)]));
    let ran = world.run().await;
    assert_eq!(
        (ran.brief().as_str(), world.names()),
        ("degraded: failed 1 [archive_damaged]", vec![])
    );
    assert!(ran.to_string().contains("d/b.zip") && ran.to_string().contains("2.txt"), "{ran}");
}

#[tokio::test]
async fn documents_in_archives_stay_whole() {
    let document = zip(&[("[Content_Types].xml", b"<Types/>"), ("word/document.xml", b"<x/>")]);
    let world = World::new().file("/a.zip", wrapped("a.docx", &document));
    assert_eq!(
        (world.run().await.brief().as_str(), world.names()),
        ("ok: ingested 1", vec!["acme/a.zip!/a.docx".to_owned()])
    );
    assert_eq!(world.store.content("acme/a.zip!/a.docx").unwrap(), document);
}

#[tokio::test]
async fn limits_count_what_is_nested() {
    let inner = zip(&[("1", b"1"), ("2", b"2"), ("3", b"3")]);
    let outer = zip(&[("x.zip", &inner[..]), ("y.zip", &inner)]);
    let mut world = World::new()
        .with(|source| source.unpacking.inner_errors = InnerErrors::Fail)
        .file("/a.zip", outer.clone());
    world.limits.archive.members = 7;
    assert_eq!(world.run().await.brief(), "degraded: failed 1 [limit_archive]");
    let mut kept = World::new().file("/a.zip", outer);
    kept.limits.archive.members = 7;
    let ran = kept.run().await;
    assert_eq!(
        (ran.brief().as_str(), ran.source().partly_unpacked, kept.names().len()),
        ("ok: ingested 1", 1, 4)
    );
    world.limits.archive.members = 8;
    assert_eq!((world.run().await.brief().as_str(), world.names().len()), ("ok: ingested 1", 6));
}

#[tokio::test]
async fn large_inner_archives_go_through_temporary_files() {
    let large: Vec<Vec<u8>> = (0..4u8).map(|n| vec![n; 3 << 20]).collect();
    let inner = |n: usize| zip(&[("a", &large[n][..]), ("b", &large[n + 1])]);
    let mut world = World::new().with(|source| source.archives = Archives::Both).file(
        "/o.zip",
        zip(&[("x.zip", &inner(0)[..]), ("y.zip", &inner(1)), ("z.zip", &inner(2))]),
    );
    world.limits.memory = 32 << 20;
    let ran = world.run().await;
    assert_eq!((ran.brief().as_str(), world.names().len()), ("ok: ingested 1", 7));
    for (name, n) in [("x", 0), ("y", 1), ("z", 2)] {
        assert!(
            world.store.content(&format!("acme/o.zip!/{name}.zip!/b")).unwrap() == large[n + 1]
        );
    }
    world.limits.temp = 4 << 20;
    world.limits.memory = 32 << 20;
    world.put(
        "/o.zip",
        zip(&[("x.zip", &zip(&[("a", &vec![7; 6 << 20][..])])[..])]),
        super::LONG_AGO + 5,
    );
    let ran = world.run().await;
    assert_eq!(ran.brief(), "degraded: failed 1 [limit_temp]");
}
