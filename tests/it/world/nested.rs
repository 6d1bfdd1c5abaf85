//! Archives in archives.

use super::World;
use super::zips::{Entry, entry, zip, zip_of};
use blobferry::run::settings::Archives;

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
    assert_eq!(world.names(), ["acme/a.zip!/0.txt", "acme/a.zip!/3.txt", "acme/a.zip!/deep/b.zip!/2%21/x", "acme/a.zip!/deep/b.zip!/d/1.txt"]);
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
    let world = World::new().with(|source| source.unpacking.depth = 1).file("/1.zip", wrapped("2.zip", &innermost));
    assert_eq!((world.run().await.brief().as_str(), world.names()), ("ok: ingested 1", vec!["acme/1.zip!/2.zip".to_owned()]));
}

#[tokio::test]
async fn a_broken_inner_archive_shows_nothing_of_the_outer_one_and_is_named() {
    let spoilt = zip_of(&[entry("1.txt", b"one"), Entry { crc: Some(1), ..entry("2.txt", b"two") }]);
    let world = World::new().file("/a.zip", zip(&[("0.txt", &b"zero"[..]), ("d/b.zip", &spoilt)]));
    let ran = world.run().await;
    assert_eq!((ran.brief().as_str(), world.names()), ("degraded: failed 1 [archive_damaged]", vec![]));
    assert!(ran.to_string().contains("d/b.zip") && ran.to_string().contains("2.txt"), "{ran}");
}

#[tokio::test]
async fn documents_in_archives_stay_whole() {
    let document = zip(&[("[Content_Types].xml", b"<Types/>"), ("word/document.xml", b"<x/>")]);
    let world = World::new().file("/a.zip", wrapped("a.docx", &document));
    assert_eq!((world.run().await.brief().as_str(), world.names()), ("ok: ingested 1", vec!["acme/a.zip!/a.docx".to_owned()]));
    assert_eq!(world.store.content("acme/a.zip!/a.docx").unwrap(), document);
}

#[tokio::test]
async fn limits_count_what_is_nested() {
    let inner = zip(&[("1", b"1"), ("2", b"2"), ("3", b"3")]);
    let mut world = World::new().file("/a.zip", zip(&[("x.zip", &inner[..]), ("y.zip", &inner)]));
    world.limits.archive.members = 7;
    assert_eq!(world.run().await.brief(), "degraded: failed 1 [limit_archive]");
    world.limits.archive.members = 8;
    assert_eq!((world.run().await.brief().as_str(), world.names().len()), ("ok: ingested 1", 6));
}

#[tokio::test]
async fn large_inner_archives_go_through_temporary_files() {
    let large: Vec<Vec<u8>> = (0..4u8).map(|n| vec![n; 3 << 20]).collect();
    let inner = |n: usize| zip(&[("a", &large[n][..]), ("b", &large[n + 1])]);
    let mut world = World::new()
        .with(|source| source.archives = Archives::Both)
        .file("/o.zip", zip(&[("x.zip", &inner(0)[..]), ("y.zip", &inner(1)), ("z.zip", &inner(2))]));
    world.limits.memory = 32 << 20;
    let ran = world.run().await;
    assert_eq!((ran.brief().as_str(), world.names().len()), ("ok: ingested 1", 7));
    for (name, n) in [("x", 0), ("y", 1), ("z", 2)] {
        assert!(world.store.content(&format!("acme/o.zip!/{name}.zip!/b")).unwrap() == large[n + 1]);
    }
    world.limits.temp = 4 << 20;
    world.limits.memory = 32 << 20;
    world.put("/o.zip", zip(&[("x.zip", &zip(&[("a", &vec![7; 6 << 20][..])])[..])]), super::LONG_AGO + 5);
    let ran = world.run().await;
    assert_eq!(ran.brief(), "degraded: failed 1 [limit_temp]");
}
