//! Only what is wanted of an archive is read from the server.

use super::zips::{Entry, entry, link, zip_of};
use super::{LONG_AGO, World};
use blobferry::rules::patterns::NameGlobs;

const MEMBERS: usize = 400;
const MEMBER_BYTES: usize = 10 << 10;

fn content(n: usize, salt: u8) -> Vec<u8> {
    (0..MEMBER_BYTES).map(|at| (at as u8).wrapping_mul(31) ^ (n as u8) ^ salt).collect()
}

/// 4 MB of members `000.csv`, `001.csv`…; those in `changed` have other bytes.
fn archive(changed: &[usize]) -> Vec<u8> {
    let member =
        |n: usize| entry(&format!("{n:03}.csv"), &content(n, u8::from(changed.contains(&n))));
    zip_of(&(0..MEMBERS).map(member).collect::<Vec<_>>())
}

fn only(globs: &[&str]) -> Option<NameGlobs> {
    Some(NameGlobs::new(&globs.iter().map(|glob| (*glob).to_owned()).collect::<Vec<_>>()).unwrap())
}

impl World {
    fn bytes_read(&self) -> u64 {
        self.server.tree().bytes_read
    }
}

#[tokio::test]
async fn ten_members_of_many_cost_their_own_bytes_and_the_directory() {
    let whole = archive(&[]);
    let world = World::new()
        .with(|source| source.include_members = only(&["12?.csv"]))
        .file("/a.zip", whole.clone());
    let ran = world.run().await;
    assert_eq!(
        (ran.brief().as_str(), ran.source().members.stored, ran.source().members.skipped),
        ("ok: ingested 1", 10, MEMBERS as u64 - 10)
    );
    assert_eq!(world.names().len(), 10);
    for n in 120..130 {
        assert!(world.store.content(&format!("acme/a.zip!/{n}.csv")).unwrap() == content(n, 0));
    }
    let most = 10 * MEMBER_BYTES as u64 + (256 << 10);
    assert!(world.bytes_read() <= most, "{} bytes of {}", world.bytes_read(), whole.len());
    assert_eq!(world.run().await.brief(), "ok: unchanged 1");
}

#[tokio::test]
async fn of_a_new_version_only_changed_members_are_read() {
    let world =
        World::new().with(|source| source.incremental_members = true).file("/a.zip", archive(&[]));
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
    let first = world.bytes_read();
    world.put("/a.zip", archive(&[7, 300]), LONG_AGO + 60);
    let ran = world.run().await;
    let members = ran.source().members;
    assert_eq!(
        (ran.brief().as_str(), members.stored, members.identical),
        ("ok: ingested 1", 2, MEMBERS as u64 - 2)
    );
    let second = world.bytes_read() - first;
    assert!(second <= 2 * MEMBER_BYTES as u64 + (256 << 10), "{second} bytes");
    assert_eq!(world.names().len(), MEMBERS + 2);
    // The third version is compared with what the second one's manifest says, read or not.
    world.put("/a.zip", archive(&[7, 301]), LONG_AGO + 120);
    let ran = world.run().await;
    let members = ran.source().members;
    assert_eq!(
        (ran.brief().as_str(), members.stored, members.identical),
        ("ok: ingested 1", 1, MEMBERS as u64 - 1)
    );
}

#[tokio::test]
async fn the_first_and_the_last_member_are_read_in_parts_too() {
    let world = World::new()
        .with(|source| source.include_members = only(&["000.csv", "399.csv"]))
        .file("/a.zip", archive(&[]));
    assert_eq!((world.run().await.brief().as_str(), world.names().len()), ("ok: ingested 1", 2));
    for n in [0, MEMBERS - 1] {
        assert!(world.store.content(&format!("acme/a.zip!/{n:03}.csv")).unwrap() == content(n, 0));
    }
    assert!(world.bytes_read() <= 512 << 10, "{}", world.bytes_read());
}

#[tokio::test]
async fn when_most_members_are_wanted_the_archive_is_read_once_as_a_whole() {
    let whole = archive(&[]);
    let world = World::new()
        .with(|source| source.include_members = only(&["[0-3]*.csv"]))
        .file("/a.zip", whole.clone());
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
    assert_eq!(world.names().len(), MEMBERS);
    assert!(
        world.bytes_read() <= whole.len() as u64 + (256 << 10),
        "{} of {}",
        world.bytes_read(),
        whole.len()
    );
}

#[tokio::test]
async fn a_damaged_member_that_is_wanted_shows_nothing() {
    let mut members: Vec<Entry> =
        (0..MEMBERS).map(|n| entry(&format!("{n:03}.csv"), &content(n, 0))).collect();
    members[125].crc = Some(1);
    let world = World::new()
        .with(|source| source.include_members = only(&["12?.csv"]))
        .file("/a.zip", zip_of(&members));
    let ran = world.run().await;
    assert_eq!(
        (ran.brief().as_str(), world.names()),
        ("degraded: failed 1 [archive_damaged]", vec![])
    );
    assert!(ran.to_string().contains("125.csv"), "{ran}");
    let world = World::new()
        .with(|source| source.include_members = only(&["13?.csv"]))
        .file("/a.zip", zip_of(&members));
    assert_eq!((world.run().await.brief().as_str(), world.names().len()), ("ok: ingested 1", 10));
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_read_in_parts_is_left_for_later() {
    let world = World::new()
        .with(|source| source.include_members = only(&["12?.csv"]))
        .file("/a.zip", archive(&[]));
    let world = world.meanwhile("/a.zip", 1, |tree| {
        tree.files.get_mut(&"/a.zip".into()).unwrap().modified =
            blobferry::model::ModifiedTime::from_unix(LONG_AGO + 1);
    });
    assert_eq!(
        (world.run().await.brief().as_str(), world.names()),
        ("ok: deferred 1 [changed_during_read]", vec![])
    );
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
}

#[tokio::test]
async fn what_is_no_zip_after_all_is_stored_as_it_is() {
    let world = World::new()
        .with(|source| source.include_members = only(&["*.csv"]))
        .file("/a.zip", vec![b'x'; 2 << 20]);
    assert_eq!(
        (world.run().await.brief().as_str(), world.names()),
        ("ok: ingested 1", vec!["acme/a.zip".to_owned()])
    );
}

/// Ten archives of 100 KB each, of which those in `changed` hold other bytes.
fn of_archives(changed: &[usize]) -> Vec<u8> {
    let inner = |n: usize| {
        let salt = u8::from(changed.contains(&n));
        let members: Vec<Entry> =
            (0..10).map(|m| entry(&format!("{m}.csv"), &content(10 * n + m, salt))).collect();
        entry(&format!("{n}.zip"), &zip_of(&[members, vec![link("link", "0.csv")]].concat()))
    };
    let others = [entry("top.csv", b"top"), entry("filling", &vec![7; 1 << 20])];
    zip_of(&others.into_iter().chain((0..10).map(inner)).collect::<Vec<_>>())
}

#[tokio::test]
async fn archives_in_it_that_are_unchanged_are_not_read_again() {
    let world = World::new()
        .with(|source| source.incremental_members = true)
        .file("/a.zip", of_archives(&[]));
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
    let (names, first) = (world.names(), world.bytes_read());
    assert_eq!(names.len(), 102);
    for (turn, changed) in [(1, vec![3]), (2, vec![3, 8]), (3, vec![3, 8])] {
        let before = world.bytes_read();
        world.put("/a.zip", of_archives(&changed), LONG_AGO + 60 * turn);
        let ran = world.run().await;
        let members = ran.source().members;
        let new = if turn == 3 { 0 } else { 10 };
        assert_eq!(
            (ran.brief().as_str(), members.members, members.skipped),
            ("ok: ingested 1", 112, 10),
            "{ran}"
        );
        assert_eq!((members.stored, members.identical), (new, 102 - new), "{ran}");
        let read = world.bytes_read() - before;
        assert!(read <= new * MEMBER_BYTES as u64 + (256 << 10), "{read} bytes, {first} at first");
    }
    assert_eq!(world.names().len(), names.len() + 20);
    // How deep archives are opened is another question than whether they have changed.
    let world = world.with(|source| source.unpacking.depth = 1);
    world.put("/a.zip", of_archives(&[3, 8]), LONG_AGO + 600);
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
    assert!(world.names().iter().any(|name| name.ends_with("!/4.zip")), "{:?}", world.names());
}
