//! `plan`: the same decisions, and nothing touched.

use super::{World, now};
use blobferry::run::{Plan, plan};
use blobferry::store::memory::MemoryStore;
use tokio_util::sync::CancellationToken;

async fn planned(world: &World) -> Plan {
    plan(vec![world.source.clone()], world.options(world.store.clone(), CancellationToken::new()))
        .await
        .remove(0)
}

#[tokio::test]
async fn a_plan_says_what_a_run_would_do_and_changes_nothing() {
    let world = World::new()
        .with(|source| source.stable_for = std::time::Duration::from_secs(60))
        .file("/known", "x");
    world.run().await;
    let world = world.file("/new", "four").file("/half.part", "");
    world.put("/young", "y", now());
    world.put("/known", "xx", super::LONG_AGO + 9);
    let (names, counts) = (world.store.names(), world.store.counts());
    let Plan { report, files, .. } = planned(&world).await;
    let lines: Vec<String> = files
        .iter()
        .map(|file| {
            format!(
                "{} {} {:?} {} -> {}",
                file.path,
                file.why,
                file.size,
                file.unsettled,
                file.blob.as_ref().unwrap()
            )
        })
        .collect();
    let expected = [
        "/known changed Some(2) false -> acme/known~20240101T000009Z-210d5eda",
        "/new new Some(4) false -> acme/new",
        "/young new Some(1) true -> acme/young",
    ];
    assert_eq!(lines, expected);
    assert_eq!((report.listed, report.skipped), (1, 1));
    let now = world.store.counts();
    // The ledger's head and journal, whether the last login was refused (two places), and the two
    // names of what changed.
    assert_eq!(
        (world.store.names(), now.requests() - counts.requests(), now.bytes),
        (names, 6, counts.bytes)
    );
    assert_eq!(world.server.tree().open, 0);
}

#[tokio::test]
async fn a_plan_comes_before_the_first_run_has_made_the_container() {
    let world = World::of(blobferry::source::memory::MemoryServer::new(), MemoryStore::missing())
        .file("/a", "x");
    let Plan { report, files, .. } = planned(&world).await;
    assert!(!report.unusable && report.problems.is_empty(), "{report}");
    assert_eq!(
        files.iter().map(|file| file.blob.unwrap().as_str().to_owned()).collect::<Vec<_>>(),
        ["acme/a"]
    );
    assert_eq!(world.store.names(), Vec::<String>::new());
}
