//! Nothing is left for later for ever: after `late_after` the run is degraded, and says since when.

use std::time::Duration;

use blobferry::model::{RemoteFile, RemotePath};
use blobferry::source::contract::Listed;
use blobferry::source::memory::{MemorySourceFault, MemorySourceTree};

use super::{LONG_AGO, World, at, now};

const LATE: Duration = Duration::from_millis(150);

fn soon_late() -> World {
    World::new()
        .with(|source| (source.stable_for, source.late_after) = (Duration::from_millis(30), LATE))
}

fn grow(tree: &mut MemorySourceTree) {
    let file = tree.files.get_mut(&RemotePath::from("/log")).unwrap();
    let longer = [file.content.as_ref(), b"x"].concat();
    (file.claimed_size, file.content, file.modified) =
        (Some(longer.len() as u64), longer.into(), at(now()));
}

/// One run while the file grows.
async fn run_growing(world: World) -> (World, String, Vec<String>) {
    grow(&mut world.server.tree());
    let world = world.fault("/log", "stat", MemorySourceFault::Before(Box::new(grow)));
    let ran = world.run().await;
    let problems = ran.source().problems.iter().map(|problem| problem.message.clone()).collect();
    (world, ran.brief(), problems)
}

#[tokio::test]
async fn a_log_that_never_rests_is_told_with_the_time_since_which_it_is_so() {
    let world = soon_late();
    world.put("/log", "x", now());
    let (world, brief, _) = run_growing(world).await;
    assert_eq!(brief, "ok: deferred 1 [unsettled]");
    tokio::time::sleep(LATE).await;
    let (world, brief, problems) = run_growing(world).await;
    assert_eq!(brief, "degraded: deferred 1 [unsettled], problem [late]");
    assert!(problems[0].starts_with("`/log`: unsettled since 20"), "{problems:?}");
    // Once it is taken, it is well again, and what comes later begins anew.
    world.put("/log", "all", LONG_AGO);
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
    world.put("/log", "more", now());
    let (_, brief, _) = run_growing(world).await;
    assert_eq!(brief, "ok: deferred 1 [unsettled]");
}

#[tokio::test]
async fn a_file_that_changes_whenever_it_is_read_is_late_in_the_end() {
    let world = World::new().with(|source| source.late_after = LATE).file("/log", vec![7; 200_000]);
    let grown = |tree: &mut MemorySourceTree| {
        let file = tree.files.get_mut(&RemotePath::from("/log")).unwrap();
        file.modified = file.modified.map(|modified| {
            blobferry::model::ModifiedTime::new(
                modified.at + time::Duration::SECOND,
                modified.precision,
            )
        });
        file.claimed_size = file.claimed_size.map(|size| size + 1);
    };
    let world = world.meanwhile("/log", 70_000, grown);
    assert_eq!(world.run().await.brief(), "ok: deferred 1 [changed_during_read]");
    tokio::time::sleep(LATE).await;
    let world = world.meanwhile("/log", 70_000, grown);
    let brief = world.run().await.brief();
    assert_eq!(brief, "degraded: deferred 1 [changed_during_read], problem [late]");
}

#[tokio::test]
async fn a_file_that_cannot_be_reached_is_late_before_it_may_fail() {
    let world = World::new()
        .with(|source| (source.stable_for, source.late_after) = (Duration::from_secs(3600), LATE));
    let ghost = RemoteFile { path: RemotePath::from("/a"), size: Some(3), modified: at(LONG_AGO) };
    world.server.tree().extra.push((RemotePath::from("/"), Listed::File(ghost)));
    assert_eq!(world.run().await.brief(), "ok: deferred 1 [unreachable]");
    tokio::time::sleep(LATE).await;
    assert_eq!(world.run().await.brief(), "degraded: deferred 1 [unreachable], problem [late]");
}

#[tokio::test]
async fn files_beyond_the_limit_are_late_only_if_nothing_arrives() {
    let mut world = World::new()
        .with(|source| (source.stable_for, source.late_after) = (Duration::from_secs(3600), LATE))
        .file("/b", "x");
    let ghost = RemoteFile { path: RemotePath::from("/a"), size: Some(3), modified: at(LONG_AGO) };
    world.server.tree().extra.push((RemotePath::from("/"), Listed::File(ghost)));
    // The ghost is listed after the file, and takes its place as soon as that is stored.
    world.limits.files = 1;
    assert_eq!(world.run().await.brief(), "interrupted: ingested 1, deferred 1 [too_many]");
    world.server.tree().extra.insert(
        0,
        (
            RemotePath::from("/"),
            Listed::File(RemoteFile {
                path: RemotePath::from("/c"),
                size: Some(3),
                modified: at(LONG_AGO),
            }),
        ),
    );
    assert_eq!(
        world.run().await.brief(),
        "interrupted: unchanged 1, deferred 2 [too_many unreachable]"
    );
    tokio::time::sleep(LATE).await;
    let ran = world.run().await;
    let told: Vec<&str> =
        ran.source().problems.iter().map(|problem| problem.message.as_str()).collect();
    assert!(
        told.iter().any(|text| text
            .starts_with("1 file waits beyond `limits.files`, and nothing has arrived since ")),
        "{told:?}"
    );
    // One that arrives begins the time anew.
    world.server.tree().extra.clear();
    let world = world.file("/d", "x").file("/e", "x");
    assert_eq!(
        world.run().await.brief(),
        "interrupted: ingested 1, unchanged 1, deferred 1 [too_many]"
    );
}

#[tokio::test]
async fn a_file_that_waits_for_its_marker_is_told_with_its_age_and_late_only_by_a_setting() {
    let world = World::new().with(|source| source.marker = Some(".done".into())).file("/a", "one");
    let ran = world.run().await;
    assert_eq!(ran.brief(), "ok: skipped 1 [no_marker]");
    assert!(
        ran.source().notes[0].starts_with("1 file waits for a marker, the oldest is of "),
        "{:?}",
        ran.source().notes
    );
    let world = world.with(|source| source.late_markers = true);
    assert_eq!(world.run().await.brief(), "degraded: skipped 1 [no_marker], problem [late]");
}

#[tokio::test]
async fn a_source_that_another_run_has_for_too_long_is_not_called_well() {
    use blobferry::transfer::settings::Source;
    let source = |late_after| Source { late_after, ..World::new().source };
    let since = Some(time::OffsetDateTime::now_utc() - time::Duration::hours(25));
    let other = || blobferry::report::LeftTo { run: Some("r1".into()), host: None, since };
    let told = |late_after| blobferry::pass::look::left(&source(late_after), other());
    assert_eq!(told(Duration::from_secs(26 * 3600)).status().word(), "left");
    let late = told(Duration::from_secs(24 * 3600));
    assert_eq!(late.status().word(), "degraded");
    assert!(late.to_string().contains("run r1 has been at this source since"), "{late}");
}
