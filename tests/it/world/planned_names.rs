//! `plan` tells the names that blobs then have, also where the plain names are taken.

use std::collections::{BTreeMap, BTreeSet};

use blobferry::model::failure::Class;
use blobferry::model::{BlobName, RemotePath};
use blobferry::rules::layout::LayoutSettings;
use blobferry::rules::naming::Layout;
use blobferry::run::{Plan, plan};
use blobferry::source::memory::MemorySourceFault;
use blobferry::store::contract::Store;
use blobferry::transfer::settings::Archives;
use tokio_util::sync::CancellationToken;

use super::layouts::{set, settings};
use super::zips::zip;
use super::{LONG_AGO, World};

const DAY: i64 = 86_400;

fn laid_out(layout: &str, member_layout: Option<&str>) -> World {
    World::new().with(|source| set(source, LayoutSettings { member_layout, ..settings(layout) }))
}

async fn planned(world: &World) -> Plan {
    plan(vec![world.source.clone()], world.options(world.store.clone(), CancellationToken::new()))
        .await
        .remove(0)
}

/// The names of blobs by the paths of their files.
fn told(plan: &Plan) -> BTreeMap<String, BTreeSet<String>> {
    let names = plan.files.iter().map(|file| {
        let members = file.members.into_iter().flat_map(|members| members.blobs);
        let own = file.blob.map(|blob| blob.as_str().to_owned());
        (file.path.to_string(), members.chain(own).collect())
    });
    names.collect()
}

/// The same of the blobs that a run added to `before`, by what they say of themselves.
async fn stored(world: &World, before: &[String]) -> BTreeMap<String, BTreeSet<String>> {
    let mut names: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for name in world.names().into_iter().filter(|name| !before.contains(name)) {
        let path = world.info(&name).await.metadata["source_path"].clone();
        names.entry(path).or_default().insert(name);
    }
    names
}

/// A plan tells the names that the run after it gives.
async fn holds(world: &World) -> Plan {
    let (before, plan) = (world.names(), planned(world).await);
    assert_eq!(world.names(), before, "a plan stores nothing");
    let ran = world.run().await;
    assert_eq!(ran.source().failed, 0, "{ran}");
    assert_eq!(told(&plan), stored(world, &before).await);
    plan
}

#[tokio::test]
async fn files_that_want_one_name_are_planned_under_the_names_that_they_get() {
    let world = laid_out("in/{file}", None)
        .file("/x/a.csv", "one")
        .file("/y/a.csv", "two")
        .file("/z/a.csv", "three");
    let plan = holds(&world).await;
    let report = plan.report.to_string();
    assert!(report.contains("belongs to another file, so it is stored as `in/a~"), "{report}");
    assert_eq!(world.text("in/a.csv"), "one", "the first by its path has the plain name");

    // The name is taken by a blob now, and a new version of a file keeps to the name that it got.
    let world = world.file("/w/a.csv", "four");
    world.put("/y/a.csv", "two, again", LONG_AGO + DAY);
    holds(&world).await;
}

#[tokio::test]
async fn a_file_that_was_set_apart_stays_there_though_the_other_one_never_came() {
    let world = laid_out("in/{file}", None)
        .fault("/x/a.csv", "read", MemorySourceFault::Refuse(Class::Permission))
        .file("/x/a.csv", "one")
        .file("/y/a.csv", "two");
    let ran = world.run().await;
    assert_eq!((ran.source().ingested, ran.source().failed), (1, 1), "{ran}");
    let apart = world.names();
    assert!(apart[0].starts_with("in/a~"), "{apart:?}");
    world.server.tree().files.remove(&RemotePath::from("/x/a.csv"));
    world.put("/y/a.csv", "two, again", LONG_AGO + DAY);
    holds(&world).await;
    assert!(world.names().iter().all(|name| name.starts_with("in/a~")), "{:?}", world.names());
}

#[tokio::test]
async fn by_type_forgets_folders_and_its_plan_tells_who_comes_second() {
    let world = World::new().with(|source| source.naming.layout = Layout::ByType);
    holds(&world.file("/x/a.csv", "one").file("/y/a.csv", "two")).await;
}

#[tokio::test]
async fn a_new_version_is_planned_under_the_name_of_its_version() {
    let world = World::new().file("/a.csv", "one").file("/b.csv", "two");
    world.run().await;
    world.put("/a.csv", "three", LONG_AGO + DAY);
    let plan = holds(&world).await;
    let names = &told(&plan)["/a.csv"];
    assert!(names.iter().all(|name| name.starts_with("acme/a~20")), "{names:?}");
}

#[tokio::test]
async fn members_whose_names_are_taken_are_planned_apart() {
    let world = laid_out("in/{path}", Some("{member_file}"))
        .with(|source| source.archives = Archives::Both)
        .file("/a.csv", "a file");
    holds(&world).await;
    let world = world.file("/b.zip", zip(&[("x/a.csv", b"1"), ("y/a.csv", b"2"), ("z", b"3")]));
    holds(&world).await;
    holds(&world.file("/c.zip", zip(&[("z", b"4"), ("own.csv", b"5")]))).await;

    // Of two that come in one run, who is stored first has the plain name; the others do not.
    let world = laid_out("{path}", Some("{member}"))
        .file("/b.zip", zip(&[("a.csv", b"1")]))
        .file("/c.zip", zip(&[("a.csv", b"2")]));
    let plan = planned(&world).await;
    let names: BTreeSet<String> = told(&plan).into_values().flatten().collect();
    assert!(names.len() == 2 && names.contains("a.csv"), "{names:?}");
    // Which of them that is, a plan cannot know, and says so.
    let report = plan.report.to_string();
    assert!(report.contains("`a.csv` is wanted by members of several archives"), "{report}");
    let world = world.file("/d.csv", "3").file("/e.zip", zip(&[("d.csv", b"4"), ("e", b"5")]));
    let report = planned(&world).await.report.to_string();
    assert!(report.contains("`a.csv` (and 1 name more) is wanted by members"), "{report}");
}

#[tokio::test]
async fn a_name_that_another_writer_has_is_told_before_the_file_fails() {
    let world = World::new().file("/a.csv", "one");
    world.run().await;
    let name = BlobName::new("acme/a.csv").expect("a legal name");
    world.store.delete(&name).await.expect("it is removed");
    world.foreign("acme/a.csv", b"not ours").await;
    world.put("/a.csv", "two", LONG_AGO + DAY);
    let plan = planned(&world).await;
    let file = plan.files.iter().next().expect("one file");
    let why = file.nameless.expect("it gets no name");
    assert!(why.contains("a blob of another writer stands there"), "{why}");
    assert_eq!((file.blob, world.run().await.source().failed), (None, 1));
}

#[tokio::test]
async fn a_plan_asks_the_store_for_a_thousand_names_and_tells_how_many_it_did_not() {
    let mut world = World::new();
    for number in 0..1_003 {
        world = world.file(&format!("/{number:04}.csv"), "x");
    }
    assert_eq!(world.run().await.source().ingested, 1_003);
    for number in 0..1_003 {
        world.put(&format!("/{number:04}.csv"), "new", LONG_AGO + DAY);
    }
    let before = world.store.counts().requests();
    let plan = planned(&world).await;
    let asked = world.store.counts().requests() - before;
    // Each of a thousand for its plain name and for that of its version.
    assert!((2_000..2_020).contains(&asked), "{asked}");
    let report = plan.report.to_string();
    assert!(report.contains("the names of 3 files were not looked for in the store"), "{report}");
    let unversioned = told(&plan).into_values().flatten().filter(|name| !name.contains('~'));
    assert_eq!(unversioned.count(), 3);
}
