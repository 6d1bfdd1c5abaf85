//! New, known, changed, touched, changed back: what a second run does.

use super::{LONG_AGO, World};
use blobferry::model::{ModifiedTime, Precision};
use blobferry::transfer::settings::Versions;
use expect_test::expect;

#[tokio::test]
async fn a_new_file_arrives_and_the_report_says_so() {
    let world = World::new().file("/in/a.csv", "one");
    let ran = world.run().await;
    expect![[r"
        acme (memory://server)
          listed 1 = ingested 1 + unchanged 0 + skipped 0 + gone 0 + deferred 0 + failed 0
          1 blob from 3 B
        Ok, exit 0
    "]]
    .assert_eq(&ran.to_string());
    assert_eq!(world.text("acme/in/a.csv"), "one");
    assert_eq!(world.recorded(), ["/in/a.csv"]);
}

#[tokio::test]
async fn a_second_run_downloads_nothing_and_writes_nothing() {
    let world = World::new()
        .file("/a.csv", "one")
        .file("/sub/b.zip", super::zips::zip(&[("1.txt", b"1")]))
        .file("/empty", "");
    assert_eq!(world.run().await.brief(), "ok: ingested 3");
    let (contents, journal) = (world.contents(), world.journal_of("acme"));
    let ran = world.run().await;
    assert_eq!((ran.brief().as_str(), ran.reads), ("ok: unchanged 3", 0));
    // Container, refused logins (the index of sources, and what release 0.1 kept), ledger's head
    // and journal.
    assert!(ran.requests.requests() <= 5, "{:?}", ran.requests);
    assert_eq!((ran.requests.puts, ran.requests.appends, ran.requests.commits), (0, 0, 0));
    assert_eq!((world.contents(), world.journal_of("acme")), (contents, journal));
}

#[tokio::test]
async fn a_changed_file_gets_a_blob_of_its_own_and_the_first_stays() {
    let world = World::new().file("/a.csv", "one");
    world.run().await;
    world.put("/a.csv", "two!", LONG_AGO + 60);
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
    let names = world.names();
    assert_eq!((names.len(), world.text("acme/a.csv").as_str()), (2, "one"));
    let versioned = names.iter().find(|name| *name != "acme/a.csv").unwrap();
    assert!(versioned.starts_with("acme/a~20240101T000100Z-"), "{versioned}");
    assert_eq!(world.text(versioned), "two!");
    assert_eq!(world.run().await.brief(), "ok: unchanged 1");
}

#[tokio::test]
async fn a_file_that_changes_back_is_read_and_found_equal() {
    let world = World::new().file("/a.csv", "one");
    world.run().await;
    world.put("/a.csv", "two!", LONG_AGO + 60);
    world.run().await;
    world.put("/a.csv", "one", LONG_AGO);
    let ran = world.run().await;
    assert_eq!(
        (ran.brief().as_str(), ran.reads, ran.source().blobs, world.names().len()),
        ("ok: ingested 1", 1, 0, 2)
    );
    let ran = world.run().await;
    assert_eq!((ran.brief().as_str(), ran.reads), ("ok: unchanged 1", 0));
}

#[tokio::test]
async fn a_touched_file_is_a_new_version() {
    let world = World::new().file("/a.csv", "one");
    world.run().await;
    world.put("/a.csv", "one", LONG_AGO + 60);
    assert_eq!((world.run().await.brief().as_str(), world.names().len()), ("ok: ingested 1", 2));
    assert_eq!(world.run().await.brief(), "ok: unchanged 1");
}

#[tokio::test]
async fn overwrite_replaces_the_blob() {
    let world =
        World::new().file("/a.csv", "one").with(|source| source.versions = Versions::Overwrite);
    world.run().await;
    for (content, modified) in [("two!", LONG_AGO + 60), ("one", LONG_AGO)] {
        world.put("/a.csv", content, modified);
        assert_eq!(world.run().await.brief(), "ok: ingested 1");
        assert_eq!(
            (world.names(), world.text("acme/a.csv").as_str()),
            (vec!["acme/a.csv".to_owned()], content)
        );
    }
    assert_eq!(world.run().await.brief(), "ok: unchanged 1");
}

#[tokio::test]
async fn a_file_asked_for_again_is_read_and_found_equal() {
    let mut world = World::new().file("/a.csv", "one").file("/b.csv", "two");
    world.run().await;
    world.again = vec!["a.*".to_owned()];
    let ran = world.run().await;
    assert_eq!(
        (ran.brief().as_str(), ran.reads, ran.source().blobs),
        ("ok: ingested 1, unchanged 1", 1, 0)
    );
    assert_eq!(world.names(), ["acme/a.csv", "acme/b.csv"]);
}

#[tokio::test]
async fn a_lost_ledger_costs_work_and_changes_nothing() {
    let world = World::new()
        .file("/a.csv", "one")
        .file("/b.zip", super::zips::zip(&[("1.txt", b"1"), ("2.txt", b"2")]));
    world.run().await;
    world.put("/a.csv", "two!", LONG_AGO + 60);
    world.run().await;
    let contents = world.contents();
    world.lose_ledger().await;
    let ran = world.run().await;
    assert_eq!((ran.brief().as_str(), ran.source().blobs), ("ok: ingested 2", 0));
    assert_eq!(world.contents(), contents);
}

#[tokio::test]
async fn when_daylight_saving_moves_listed_times_nothing_is_downloaded_and_it_is_asked_once() {
    let world = World::new().file("/a.csv", "one");
    world.run().await;
    let shifted = time::OffsetDateTime::from_unix_timestamp(LONG_AGO + 3_600).unwrap();
    world.server.tree().files.get_mut(&"/a.csv".into()).unwrap().listed =
        Some(ModifiedTime::new(shifted, Precision::Minute));
    for appends in [1, 0] {
        let ran = world.run().await;
        assert_eq!(
            (ran.brief().as_str(), ran.reads, ran.requests.appends),
            ("ok: unchanged 1", 0, appends)
        );
    }
}

#[tokio::test]
async fn an_archive_asked_for_again_is_read_and_stores_nothing_twice() {
    let mut world =
        World::new().file("/a.zip", super::zips::zip(&[("1.txt", b"1"), ("2.txt", b"2")]));
    world.run().await;
    world.again = vec!["**".to_owned()];
    let ran = world.run().await;
    assert_eq!(
        (ran.brief().as_str(), ran.reads, ran.source().members.identical, world.names().len()),
        ("ok: ingested 1", 1, 2, 2)
    );
}

/// Of many files three are replaced by others of equal size, an exact number of hours later.
#[tokio::test]
async fn three_files_replaced_some_hours_later_arrive_where_others_stand_still() {
    let world = (0..20).fold(World::new(), |world, n| world.file(&format!("/{n:02}"), "old"));
    assert_eq!(world.run().await.brief(), "ok: ingested 20");
    for n in 0..3 {
        world.put(&format!("/{n:02}"), "new", LONG_AGO + 6 * 3_600);
    }
    assert_eq!(world.run().await.brief(), "ok: ingested 3, unchanged 17");
}
