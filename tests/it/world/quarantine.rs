//! Archives that cannot be unpacked, and members that are not wanted.

use blobferry::rules::patterns::NameGlobs;
use blobferry::transfer::settings::{After, Archives};

use super::World;
use super::zips::{Entry, entry, zip, zip_of};

const PREFIX: &str = "_blobferry/acme/quarantine/";

fn kept(world: &World) -> Vec<String> {
    world.store.names().into_iter().filter(|name| name.starts_with(PREFIX)).collect()
}

fn quarantining() -> World {
    World::new().with(|source| source.quarantine = true)
}

#[tokio::test]
async fn a_broken_archive_is_kept_with_its_reason_and_not_fetched_again() {
    let spoilt = zip_of(&[Entry { crc: Some(1), ..entry("1.txt", b"one") }]);
    let world = quarantining().file("/a b.zip", spoilt.clone()).file("/c", "c");
    let ran = world.run().await;
    assert_eq!(ran.brief(), "degraded: ingested 1, failed 1 [archive_damaged]");
    let names = kept(&world);
    assert_eq!(names.len(), 1);
    assert!(ran.to_string().contains(&format!("its original is kept as `{}`", names[0])), "{ran}");
    assert_eq!(world.store.content(&names[0]).unwrap(), spoilt);
    let metadata = world.info(&names[0]).await.metadata;
    assert_eq!(
        (metadata["class"].as_str(), metadata["source_path"].as_str()),
        ("archive_damaged", "/a%20b.zip")
    );
    assert!(
        metadata["reason"].contains("1.txt") && metadata["reason"].contains("checksum"),
        "{metadata:?}"
    );
    let ran = world.run().await;
    assert_eq!((ran.brief().as_str(), ran.reads), ("ok: unchanged 1, skipped 1 [quarantined]", 0));
}

#[tokio::test]
async fn an_archive_in_quarantine_is_taken_again_when_asked_and_let_go_when_it_unpacks() {
    let mut world = quarantining().file("/a.zip", zip(&[("1", b"one"), ("2", b"two")]));
    world.limits.archive.members = 1;
    assert_eq!(world.run().await.brief(), "degraded: failed 1 [limit_archive]");
    world.limits.archive.members = 2;
    assert_eq!(world.run().await.brief(), "ok: skipped 1 [quarantined]");
    world.retry_quarantined = true;
    assert_eq!((world.run().await.brief().as_str(), kept(&world)), ("ok: ingested 1", vec![]));
    assert_eq!(world.names(), ["acme/a.zip!/1", "acme/a.zip!/2"]);
}

#[tokio::test]
async fn a_new_version_of_a_broken_archive_is_taken() {
    let whole = zip(&[("1.txt", b"one")]);
    let world = quarantining().file("/a.zip", whole[..whole.len() - 3].to_vec());
    assert_eq!(world.run().await.brief(), "degraded: failed 1 [archive_damaged]");
    world.put("/a.zip", whole, super::LONG_AGO + 1);
    assert_eq!((world.run().await.brief().as_str(), kept(&world).len()), ("ok: ingested 1", 1));
}

#[tokio::test]
async fn a_server_that_fails_puts_nothing_into_quarantine() {
    let world = quarantining().file("/a.zip", zip(&[("1.txt", b"one")]));
    let world = world.fault(
        "/a.zip",
        "read",
        blobferry::source::memory::MemorySourceFault::Refuse(
            blobferry::model::failure::Class::Permission,
        ),
    );
    assert_eq!(
        (world.run().await.brief().as_str(), kept(&world)),
        ("degraded: failed 1 [permission]", vec![])
    );
}

#[tokio::test]
async fn only_wanted_members_are_stored_and_the_others_told() {
    let members = [("a/1.csv", &b"1"[..]), ("a/2.pdf", b"2"), ("b/3.csv", b"3")];
    let globs = |globs: &[&str]| {
        NameGlobs::new(&globs.iter().map(|glob| (*glob).to_owned()).collect::<Vec<_>>()).unwrap()
    };
    let world = World::new()
        .with(|source| source.include_members = Some(globs(&["**/*.csv"])))
        .file("/a.zip", zip(&members));
    let ran = world.run().await;
    assert_eq!(
        (ran.brief().as_str(), ran.source().members.stored, ran.source().members.skipped),
        ("ok: ingested 1", 2, 1)
    );
    assert_eq!(world.names(), ["acme/a.zip!/a/1.csv", "acme/a.zip!/b/3.csv"]);
    let manifest =
        world.store.names().into_iter().find(|name| name.contains("/archives/")).unwrap();
    let manifest: serde_json::Value =
        serde_json::from_slice(&world.store.content(&manifest).unwrap()).unwrap();
    assert_eq!(manifest["members"][1]["skipped"], "not wanted");
}

#[tokio::test]
async fn an_archive_with_unwanted_members_is_not_deleted_unless_it_is_kept_too() {
    let globs = || Some(NameGlobs::new(&["*.csv".to_owned()]).unwrap());
    let members = [("1.csv", &b"1"[..]), ("2.pdf", b"2")];
    for (archives, left) in [(Archives::Unpack, 1), (Archives::Both, 0)] {
        let world = World::new()
            .with(|source| {
                source.include_members = globs();
                source.archives = archives;
                source.after = After::Delete;
            })
            .file("/a.zip", zip(&members));
        assert_eq!(
            (world.run().await.brief().as_str(), world.at_source().len()),
            ("ok: ingested 1", left),
            "{archives:?}"
        );
    }
}
