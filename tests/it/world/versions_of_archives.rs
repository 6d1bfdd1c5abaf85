//! Archives that come again with other content: what is stored, what is left, what is told.

use super::zips::{entry, zip_of};
use super::{LONG_AGO, World};
use blobferry::transfer::settings::Versions;

fn archive(members: &[(&str, &str)]) -> Vec<u8> {
    zip_of(
        &members.iter().map(|(name, content)| entry(name, content.as_bytes())).collect::<Vec<_>>(),
    )
}

#[tokio::test]
async fn only_what_changed_in_an_archive_is_stored_again_and_what_is_gone_is_told() {
    let world =
        World::new().file("/a.zip", archive(&[("same", "1"), ("other", "2"), ("gone", "3")]));
    world.run().await;
    world.put("/a.zip", archive(&[("same", "1"), ("other", "22")]), LONG_AGO + 60);
    let ran = world.run().await;
    let members = ran.source().members;
    assert_eq!((ran.brief().as_str(), members.stored, members.identical), ("ok: ingested 1", 1, 1));
    assert_eq!(world.names().len(), 4, "{:?}", world.names());
    assert_eq!(
        (world.text("acme/a.zip!/other"), world.text("acme/a.zip!/gone")),
        ("2".into(), "3".into())
    );
    assert!(
        ran.to_string()
            .contains("stale: the archive no longer holds what is stored as `acme/a.zip!/gone`"),
        "{ran}"
    );
    assert_eq!(world.run().await.brief(), "ok: unchanged 1");
}

#[tokio::test]
async fn a_member_that_changed_once_is_not_stored_with_every_later_archive() {
    let world = World::new().file("/a.zip", archive(&[("log", "1")]));
    world.run().await;
    world.put("/a.zip", archive(&[("log", "22")]), LONG_AGO + 60);
    world.run().await;
    world.put("/a.zip", archive(&[("log", "22"), ("new", "3")]), LONG_AGO + 120);
    let ran = world.run().await;
    assert_eq!(
        (ran.source().members.stored, ran.source().members.identical),
        (1, 1),
        "{:?}",
        world.names()
    );
    assert_eq!(world.names().len(), 3, "{:?}", world.names());
}

#[tokio::test]
async fn a_touched_archive_stores_nothing_again() {
    let world = World::new().file("/a.zip", archive(&[("1", "1"), ("2", "2")]));
    world.run().await;
    world.put("/a.zip", archive(&[("1", "1"), ("2", "2")]), LONG_AGO + 60);
    let ran = world.run().await;
    assert_eq!(
        (ran.source().members.stored, ran.source().members.identical, world.names().len()),
        (0, 2, 2)
    );
}

#[tokio::test]
async fn overwritten_archives_hold_what_the_source_holds_also_when_it_goes_back() {
    let world = World::new()
        .with(|source| source.versions = Versions::Overwrite)
        .file("/a.zip", archive(&[("1", "old")]));
    world.run().await;
    for (content, modified) in [("newer", LONG_AGO + 60), ("old", LONG_AGO)] {
        world.put("/a.zip", archive(&[("1", content)]), modified);
        assert_eq!(world.run().await.brief(), "ok: ingested 1");
        assert_eq!((world.text("acme/a.zip!/1"), world.names().len()), (content.to_owned(), 1));
    }
}
