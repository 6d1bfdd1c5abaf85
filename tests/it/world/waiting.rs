//! Files that wait, in pieces too, and how many of them are remembered.

use std::time::Duration;

use blobferry::jobs::outcome::Came;
use blobferry::model::failure::Class;
use blobferry::model::{RemoteFile, RemotePath};
use blobferry::report::{SourceReport, Status};
use blobferry::source::contract::Listed;
use blobferry::source::memory::MemorySourceTree;

use super::pieces::Office;
use super::{LONG_AGO, World, at, brief};

const LATE: Duration = Duration::from_millis(150);

/// Files that are listed and are not there.
fn ghosts(world: &World, names: &[&str]) {
    let ghost = |name: &&str| {
        let path = RemotePath::from(*name);
        let file = RemoteFile { path, size: Some(3), modified: at(LONG_AGO) };
        (RemotePath::from("/"), Listed::File(file))
    };
    world.server.tree().extra = names.iter().map(ghost).collect();
}

/// A pass in pieces.
async fn pass(office: &Office) -> SourceReport {
    office.ask().await;
    let came = office.drain().await;
    let report = came.into_iter().find_map(|came| match came {
        Came::Closed(report) => Some(*report),
        _ => None,
    });
    report.expect("the pass is closed")
}

fn late(report: &SourceReport) -> Vec<&str> {
    let late = report.problems.iter().filter(|problem| problem.class == Class::Late);
    late.map(|problem| problem.message.as_str()).collect()
}

/// Grows while it is read.
fn growing(world: World) -> World {
    let grown = |tree: &mut MemorySourceTree| {
        let file = tree.files.get_mut(&RemotePath::from("/log")).unwrap();
        file.modified = file.modified.map(|modified| {
            let later = modified.at + time::Duration::SECOND;
            blobferry::model::ModifiedTime::new(later, modified.precision)
        });
        file.claimed_size = file.claimed_size.map(|size| size + 1);
    };
    world.meanwhile("/log", 70_000, grown)
}

/// What two passes in pieces, `LATE` apart, come to over a file that changes whenever it is read.
async fn two_passes() -> [SourceReport; 2] {
    let world = World::new().with(|source| source.late_after = LATE);
    let mut office = Office::new(growing(world.file("/log", vec![7; 200_000])), 10);
    let first = pass(&office).await;
    tokio::time::sleep(LATE).await;
    office.world = growing(office.world);
    [first, pass(&office).await]
}

#[tokio::test]
async fn in_pieces_too_a_file_that_always_changes_is_late_in_the_end() {
    let [first, second] = two_passes().await;
    assert_eq!(brief(&first), "deferred 1 [changed_during_read]");
    assert_eq!(brief(&second), "deferred 1 [changed_during_read], problem [late]");
    assert!(late(&second)[0].starts_with("`/log`: changed_during_read since 20"), "{second}");
    blobferry::failpoint::leave_out(Some("sightings-in-pieces"));
    let [_, without] = two_passes().await;
    blobferry::failpoint::leave_out(None);
    assert_eq!(without.status(), Status::Ok, "the first sighting must not come by another way");
}

#[tokio::test]
async fn in_pieces_too_files_beyond_the_limit_are_late_if_nothing_arrives() {
    let mut world = World::new().with(|source| source.late_after = LATE).file("/0", "x");
    world.limits.files = 1;
    let office = Office::new(world, 10);
    assert_eq!(brief(&pass(&office).await), "ingested 1");
    // They are listed in this order.
    ghosts(&office.world, &["/a", "/b", "/c"]);
    let first = pass(&office).await;
    assert_eq!(
        (first.status(), brief(&first).as_str()),
        (Status::Interrupted, "unchanged 1, deferred 3 [too_many unreachable]")
    );
    tokio::time::sleep(LATE).await;
    let beyond = |report: &SourceReport| {
        late(report).iter().any(|text| text.starts_with("2 files wait beyond `limits.files`"))
    };
    blobferry::failpoint::leave_out(Some("limit-in-pieces"));
    let without = pass(&office).await;
    blobferry::failpoint::leave_out(None);
    assert!(!beyond(&without), "{without}");
    let told = pass(&office).await;
    assert!(beyond(&told), "{told}");
    // What arrives begins the time anew.
    ghosts(&office.world, &[]);
    office.world.put("/1", "x", LONG_AGO);
    office.world.put("/2", "x", LONG_AGO);
    assert_eq!(brief(&pass(&office).await), "ingested 1, unchanged 1, deferred 1 [too_many]");
    assert_eq!(brief(&pass(&office).await), "ingested 1, unchanged 2");
}

#[tokio::test]
async fn more_files_than_are_remembered_one_by_one_are_remembered_by_their_folder() {
    let mut world = World::new().with(|source| {
        (source.late_after, source.stable_for) = (LATE, Duration::from_secs(3_600));
    });
    world.limits.sightings = 2;
    ghosts(&world, &["/1", "/2", "/3", "/4", "/5"]);
    let ran = world.run().await;
    assert_eq!(ran.brief(), "ok: deferred 5 [unreachable]");
    assert!(ran.to_string().contains("3 more files wait than are remembered one by one (2)"));
    tokio::time::sleep(LATE).await;
    let ran = world.run().await;
    let told = late(ran.source());
    assert!(told.iter().any(|text| text.starts_with("`/`: 3 files wait there")), "{told:?}");
    assert_eq!(told.len(), 3, "two files and a folder: {told:?}");
    // What no listing shows any more is not remembered, and makes room.
    ghosts(&world, &["/6"]);
    let world = world.file("/done", "x");
    assert_eq!(world.run().await.brief(), "ok: ingested 1, deferred 1 [unreachable]");
    ghosts(&world, &["/7", "/8"]);
    let ran = world.run().await;
    assert_eq!(ran.brief(), "ok: unchanged 1, deferred 2 [unreachable]");
    assert!(!ran.to_string().contains("one by one"), "{ran}");
}
