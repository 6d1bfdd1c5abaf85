//! Layouts that are templates: every run, audit and rebuilt ledger finds its blobs again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use blobferry::audit::{self, Bytes as Read};
use blobferry::history::record::{RunRecord, Trigger, waiting_line};
use blobferry::history::records::Records;
use blobferry::jobs::cutting::Sizes;
use blobferry::jobs::message::{Message, Task};
use blobferry::jobs::work;
use blobferry::ledger::{Originals, rebuild};
use blobferry::model::RemotePath;
use blobferry::rules::layout::{LayoutSettings, Template};
use blobferry::rules::naming::Layout;
use blobferry::rules::patterns::NameGlobs;
use blobferry::rules::time_zone::TimeZone;
use blobferry::run::plan;
use blobferry::state::store::StateStore;
use blobferry::store::memory::queue::MemoryQueue;
use blobferry::store::queue::Queue;
use blobferry::transfer::settings::{After, Archives, Source, Versions};
use tokio_util::sync::CancellationToken;

use super::zips::{entry, zip, zip_of};
use super::{LONG_AGO, World, quick};

const DAY: i64 = 86_400;

/// A layout that is all that is set.
pub(super) fn settings(layout: &str) -> LayoutSettings<'_> {
    LayoutSettings {
        source: "acme",
        layout,
        capture: None,
        member_layout: None,
        zone: TimeZone::UTC,
        one_file: false,
        overwrites: false,
    }
}

/// Has `source` name blobs by these settings.
pub(super) fn set(source: &mut Source, settings: LayoutSettings<'_>) {
    let template = Template::read(settings).unwrap_or_else(|bad| panic!("{}", bad.problem));
    source.naming.layout = Layout::Template(template.into());
}

fn laid_out(layout: &str) -> World {
    World::new().with(|source| set(source, settings(layout)))
}

fn hostile(world: World) -> World {
    world
        .file("/a.csv", "one")
        .file("/x/a.csv", "another of its name")
        .file("/x/y/_blobferry", "a file")
        .file("/_blobferry/acme/lock", "no lease")
        .file("/caf\u{e9} 50%.csv", "two")
        .file("/x/..a./b.", "dots")
        .file("/c.zip", zip(&[("d/1.txt", b"one"), ("2.txt", b"two"), ("_blobferry/x", b"x")]))
        .file(
            "/x/c.zip",
            zip_of(&[entry("d/1.txt", b"1"), entry("d/1.txt", b"2"), entry("", b"3")]),
        )
        .file("/c.zip!/2.txt", "a folder called as members are")
        .file("/large.bin", vec![7; 9 << 20])
        .file("/x/large.bin", vec![8; 9 << 20])
}

/// Where each path or member is, by what the blobs say of themselves.
async fn places(world: &World) -> BTreeMap<String, BTreeSet<String>> {
    let mut places: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for name in world.names() {
        let metadata = world.info(&name).await.metadata;
        let of = |key: &str| metadata.get(key).cloned().unwrap_or_default();
        let what = format!("{} {} {}", of("source_path"), of("member"), of("member_index"));
        places.entry(what).or_default().insert(name);
    }
    places
}

pub(super) async fn clean(world: &World) {
    let found = audit::audit(
        world.store.clone(),
        std::slice::from_ref(&world.source),
        Read::Read,
        quick(),
        &|_| {},
    );
    let found = found.await.expect("the store can be read").pop().expect("one source");
    let told: Vec<&str> = found.violations.first.iter().map(|one| one.message.as_str()).collect();
    assert_eq!(told, [""; 0], "{:?} {:?}", found.violations.first, world.names());
    assert_eq!((found.checked.downloaded, found.notes.foreign), (found.checked.blobs, 0));
}

/// How many blobs an audit finds under names of earlier layouts.
async fn noted(world: &World) -> u64 {
    let sources = std::slice::from_ref(&world.source);
    let found = audit::audit(world.store.clone(), sources, Read::Believed, quick(), &|_| {});
    found.await.expect("the store can be read")[0].notes.earlier_names
}

/// Everything that holds of a layout, on a hostile tree: nothing is lost, nothing meets, each run
/// and each rebuilt ledger finds its blobs again.
async fn holds(name: &str, change: impl FnOnce(&mut Source)) {
    let mut world = hostile(World::new()).with(change);
    let first = world.run().await;
    assert_eq!((first.source().ingested, first.source().failed), (11, 0), "{name}: {first}");
    let apart = places(&world).await;
    let members = usize::from(world.source.archives != Archives::Keep) * 6;
    let originals = usize::from(world.source.archives != Archives::Unpack) * 2;
    assert_eq!(apart.len(), 9 + members + originals, "{name}: {apart:?}");
    assert!(apart.values().all(|names| names.len() == 1), "{name}: {apart:?}");
    clean(&world).await;
    assert_eq!(world.run().await.brief(), "ok: unchanged 11", "{name}");

    // Without its ledger, a run finds what is there; a rebuilt one knows it.
    let contents = world.contents();
    world.lose_ledger().await;
    let again = world.run().await;
    assert_eq!((again.source().ingested, again.source().blobs), (11, 0), "{name}: {again}");
    assert_eq!(world.contents(), contents, "{name}");
    let originals = match world.source.archives {
        Archives::Both => Originals::NeedManifest,
        _ => Originals::Prove,
    };
    let rebuilt = rebuild(
        world.store.clone(),
        "acme",
        originals,
        "20260101T000000Z-00000000",
        quick(),
        CancellationToken::new(),
    );
    assert!(rebuilt.await.expect("it rebuilds").files > 0, "{name}");
    let options = world.options(world.store.clone(), CancellationToken::new());
    let planned = plan(vec![world.source.clone()], options).await.remove(0).report.to_string();
    assert!(!planned.contains("known files keep"), "{name}: {planned}");
    world.run().await;
    assert_eq!(world.contents(), contents, "{name}");
    clean(&world).await;

    // A new version of a file and of an archive, a day later; then all of it once more.
    world.put("/a.csv", "three", LONG_AGO + DAY);
    world.put("/c.zip", zip(&[("d/1.txt", b"one"), ("2.txt", b"new")]), LONG_AGO + DAY);
    let changed = world.run().await;
    assert_eq!((changed.source().ingested, changed.source().failed), (2, 0), "{name}: {changed}");
    let expected: &[u8] = b"three";
    assert!(world.contents().iter().any(|(_, content)| content == expected), "{name}");
    if world.source.versions == Versions::Keep {
        for (name, content) in contents {
            assert!(world.contents().contains(&(name.clone(), content)), "{name} was replaced");
        }
    }
    clean(&world).await;
    world.again = vec!["**".to_owned()];
    assert_eq!(world.run().await.source().failed, 0, "{name}");
    clean(&world).await;
}

#[tokio::test]
async fn a_dated_prefix_holds_on_a_hostile_tree() {
    holds("hive", |source| {
        set(source, settings("landing/{source}/dt={yyyy-MM-dd}/{path}"));
    })
    .await;
}

#[tokio::test]
async fn the_root_of_the_container_holds_on_a_hostile_tree() {
    holds("root", |source| set(source, settings("{path}"))).await;
    holds("root, both", |source| {
        set(source, settings("{path}"));
        source.archives = Archives::Both;
    })
    .await;
}

#[tokio::test]
async fn layouts_that_forget_folders_hold_on_a_hostile_tree() {
    holds("file", |source| set(source, settings("{file}"))).await;
    holds("stem", |source| set(source, settings("in/{yyyy}/{stem}"))).await;
    holds("file, overwrite", |source| {
        set(source, LayoutSettings { overwrites: true, ..settings("in/{file}") });
        source.versions = Versions::Overwrite;
    })
    .await;
}

#[tokio::test]
async fn members_that_leave_their_archives_name_hold_on_a_hostile_tree() {
    for member_layout in ["{stem}/{member}", "{member}", "{member_file}"] {
        let with =
            |layout| LayoutSettings { member_layout: Some(member_layout), ..settings(layout) };
        holds(member_layout, |source| set(source, with("{source}/{path}"))).await;
        holds(member_layout, |source| {
            set(source, with("{path}"));
            source.archives = Archives::Both;
        })
        .await;
    }
    let dated = Some("{stem}/{yyyy}/{member}");
    holds("dated", |source| {
        set(source, LayoutSettings { member_layout: dated, ..settings("{path}") });
        source.incremental_members = true;
    })
    .await;
}

#[tokio::test]
async fn who_comes_second_under_a_name_is_set_apart_and_told() {
    let world = laid_out("in/{file}").file("/x/a.csv", "one").file("/y/a.csv", "two");
    let ran = world.run().await;
    assert_eq!(world.names().len(), 2);
    assert!(
        ran.to_string().contains("belongs to another file, so it is stored as `in/a~"),
        "{ran}"
    );
}

#[tokio::test]
async fn a_member_and_a_file_of_one_name_are_both_there() {
    let world = World::new()
        .with(|source| {
            set(
                source,
                LayoutSettings { member_layout: Some("{member}"), ..settings("in/{path}") },
            );
        })
        .file("/a.csv", "file")
        .file("/b.zip", zip(&[("a.csv", b"member")]));
    assert_eq!(world.run().await.brief(), "ok: ingested 2");
    let mut contents: Vec<String> = world.names().iter().map(|name| world.text(name)).collect();
    contents.sort();
    assert_eq!(contents, ["file", "member"]);
    assert_eq!(world.run().await.brief(), "ok: unchanged 2");
}

#[tokio::test]
async fn the_manifest_of_an_archive_maps_members_to_names_of_every_layout() {
    let world = World::new()
        .with(|source| {
            let members = Some("{stem}/{member_file}");
            set(source, LayoutSettings { member_layout: members, ..settings("in/{path}") });
        })
        .file("/b.zip", zip(&[("x/a.csv", b"1"), ("y/a.csv", b"2")]));
    world.run().await;
    let manifests: Vec<String> =
        world.store.names().into_iter().filter(|name| name.contains("/archives/")).collect();
    let manifest: serde_json::Value = serde_json::from_str(&world.text(&manifests[0])).unwrap();
    let members = manifest["members"].as_array().expect("members");
    let blob = |at: usize| members[at]["blob"].as_str().expect("a name").to_owned();
    assert_eq!((blob(0).as_str(), members[0]["name"].as_str()), ("in/b/a.csv", Some("x/a.csv")));
    assert!(blob(1).starts_with("in/b/a~") && world.text(&blob(1)) == "2", "{manifest}");
}

#[tokio::test]
async fn a_file_that_gets_no_name_fails_as_name_and_others_arrive() {
    let capture = Some(r"_(?<date>\d{8})\.csv$");
    let world = World::new()
        .with(|source| {
            set(source, LayoutSettings { capture, ..settings("{date:yyyy/MM}/{file}") });
        })
        .file("/sales_20260301.csv", "one")
        .file("/readme.txt", "two")
        .file("/sales_20261301.csv", "three");
    let ran = world.run().await;
    assert_eq!(
        ran.brief(),
        "failed: ingested 1, failed 2 [name]".replace("failed: ", "degraded: ")
    );
    assert_eq!(world.names(), ["2026/03/sales_20260301.csv"]);
    let text = ran.to_string();
    assert!(text.contains("the layout needs `date`, and `readme.txt` does not match"), "{text}");
    assert_eq!(world.run().await.source().failed, 2, "and again, until it is mended");
}

#[tokio::test]
async fn an_archive_whose_member_gets_no_name_is_not_stored_in_part() {
    for archives in [Archives::Unpack, Archives::Both] {
        let world = World::new()
            .with(|source| {
                let members = Some("{yyyy}/{member}");
                set(source, LayoutSettings { member_layout: members, ..settings("{path}") });
                source.archives = archives;
                source.quarantine = true;
            })
            .file("/b.csv.gz", super::compressed::gz(b"a member without a time"))
            .file("/c.csv", "one");
        let ran = world.run().await;
        assert_eq!((ran.source().ingested, ran.source().failed), (1, 1), "{ran}");
        assert_eq!(world.names(), ["c.csv"], "{ran}");
        assert!(ran.to_string().contains("[name]"), "{ran}");
    }
}

#[tokio::test]
async fn a_new_day_is_a_new_plain_name_and_the_same_day_a_version() {
    let world = laid_out("{yyyy-MM-dd}/{path}").file("/a.csv", "one");
    world.run().await;
    world.put("/a.csv", "two", LONG_AGO + 60);
    world.run().await;
    world.put("/a.csv", "three", LONG_AGO + DAY);
    world.run().await;
    let names = world.names();
    assert_eq!((names.len(), names[0].as_str()), (3, "2024-01-01/a.csv"), "{names:?}");
    assert!(names[1].starts_with("2024-01-01/a~20240101T000100Z-"), "{names:?}");
    assert_eq!(names[2], "2024-01-02/a.csv");
    clean(&world).await;
}

#[tokio::test]
async fn a_changed_layout_leaves_old_names_alone() {
    let mut world = hostile(World::new());
    world.run().await;
    let before = world.contents();
    for layout in ["landing/{yyyy}/{path}", "{file}", "landing/{source}/{path}"] {
        set(&mut world.source, settings(layout));
        assert_eq!(world.run().await.brief(), "ok: unchanged 11", "{layout}");
        assert_eq!(world.contents(), before, "{layout}");
        clean(&world).await;
    }
    // A new version goes under the new name, one that is asked for again too; that old names stay
    // is told where something is written.
    assert!(!world.run().await.to_string().contains("known files keep the names"));
    world.put("/a.csv", "new", LONG_AGO + DAY);
    world.again = vec!["x/a.csv".to_owned()];
    let ran = world.run().await;
    assert_eq!(ran.source().ingested, 2);
    assert!(ran.to_string().contains("11 known files keep the names that they have"), "{ran}");
    assert_eq!(world.text("landing/acme/a.csv"), "new");
    assert_eq!(world.text("landing/acme/x/a.csv"), world.text("acme/x/a.csv"));
    assert!(before.iter().all(|one| world.contents().contains(one)));
    clean(&world).await;
    assert_eq!(noted(&world).await, 9, "every file that was stored whole, under its old name");
    world.put("/b.csv", "newer", LONG_AGO);
    let ran = world.run().await;
    assert!(!ran.to_string().contains("known files keep"), "told once: {ran}");
}

#[tokio::test]
async fn after_actions_follow_under_every_layout() {
    for after in [After::Delete, After::Move(RemotePath::from("/done"))] {
        let world = laid_out("landing/{yyyy}/{path}")
            .with(|source| source.after = after)
            .file("/a.csv", "one")
            .file("/b.zip", zip(&[("m", b"two")]));
        assert_eq!(world.run().await.brief(), "ok: ingested 2");
        assert_eq!(world.names(), ["landing/2024/a.csv", "landing/2024/b.zip!/m"]);
        let left = world.at_source().into_iter().filter(|path| !path.starts_with("/done/")).count();
        assert_eq!(left, 0);
        clean(&world).await;
    }
}

#[tokio::test]
async fn a_literal_name_holds_each_version_or_the_last() {
    for (versions, expected) in [(Versions::Keep, 2), (Versions::Overwrite, 1)] {
        let world = World::new()
            .with(|source| {
                let overwrites = versions == Versions::Overwrite;
                let one =
                    LayoutSettings { one_file: true, overwrites, ..settings("in/current.csv") };
                set(source, one);
                source.versions = versions;
                source.patterns = super::patterns(&["out/report.csv"], &[], None);
            })
            .file("/out/report.csv", "one");
        world.run().await;
        world.put("/out/report.csv", "two", LONG_AGO + DAY);
        assert_eq!(world.run().await.brief(), "ok: ingested 1");
        assert_eq!(world.names().len(), expected);
        let current = if versions == Versions::Keep { "one" } else { "two" };
        assert_eq!(world.text("in/current.csv"), current);
        clean(&world).await;
    }
}

#[tokio::test]
async fn a_pass_in_pieces_gives_the_names_that_a_run_gives() {
    let world = || {
        let text = "landing/{source}/dt={yyyy-MM-dd}/{path}";
        hostile(World::new()).with(|source| set(source, settings(text)))
    };
    let (alone, in_pieces) = (world(), world());
    alone.run().await;
    let mut record = RunRecord::new(Trigger::Timer, "", time::OffsetDateTime::now_utc());
    (record.queued, record.sources) = (vec!["acme".into()], vec![waiting_line("acme")]);
    let state = StateStore::new(in_pieces.store.clone(), Default::default(), quick());
    Records::new(state).put(&record).await.expect("it writes");
    let queue = Arc::<MemoryQueue>::default();
    let first = Message::new(&record.id, "acme", Task::Plan);
    queue.send(&first.to_text(), Duration::ZERO).await.expect("it is sent");
    let sizes = Sizes { files: 3, bytes: 1 << 30 };
    while let Some((message, _)) = queue.take() {
        let message = Message::parse(&message).expect("a message of ours");
        let options = in_pieces.options(in_pieces.store.clone(), CancellationToken::new());
        work(&message, in_pieces.source.clone(), options, queue.clone(), sizes)
            .await
            .expect("it works");
    }
    assert_eq!(alone.contents(), in_pieces.contents());
    assert_eq!(in_pieces.run().await.brief(), "ok: unchanged 11");
}

/// A zip of 4 MB, of which the members in `changed` have other bytes.
fn large_zip(changed: &[usize]) -> Vec<u8> {
    let member = |n: usize| {
        let salt = u8::from(changed.contains(&n));
        let content: Vec<u8> = (0..10_240).map(|at| (at as u8) ^ (n as u8) ^ salt).collect();
        entry(&format!("x/{n:03}.csv"), &content)
    };
    zip_of(&(0..400).map(member).collect::<Vec<_>>())
}

#[tokio::test]
async fn archives_that_are_read_in_parts_have_the_names_of_their_layout() {
    let members = Some("{stem}/{yyyy-MM-dd}/{member_file}");
    let change = |source: &mut Source| {
        set(source, LayoutSettings { member_layout: members, ..settings("{yyyy}/{path}") });
        source.incremental_members = true;
    };
    let world = World::new().with(change).file("/a.zip", large_zip(&[]));
    assert_eq!(world.run().await.source().members.stored, 400);
    assert_eq!(world.names()[0], "2024/a/2026-11-20/000.csv");
    // A new version of another year: what did not change keeps its name.
    let (before, read) = (world.contents(), world.server.tree().bytes_read);
    world.put("/a.zip", large_zip(&[7]), LONG_AGO + 400 * DAY);
    let ran = world.run().await;
    assert_eq!((ran.source().members.stored, ran.source().members.identical), (1, 399), "{ran}");
    assert!(world.server.tree().bytes_read - read < 1 << 20, "it was read in parts");
    assert!(before.iter().all(|one| world.contents().contains(one)));
    assert_eq!(
        (world.names().len(), world.names()[400].as_str()),
        (401, "2025/a/2026-11-20/007.csv")
    );
    clean(&world).await;

    let only = NameGlobs::new(&["x/00?.csv".to_owned()]).expect("globs");
    let some = World::new()
        .with(change)
        .with(|source| source.include_members = Some(only))
        .file("/a.zip", large_zip(&[]));
    some.run().await;
    let expected: Vec<String> = (0..10).map(|n| format!("2024/a/2026-11-20/00{n}.csv")).collect();
    assert_eq!(some.names(), expected);
    assert!(some.server.tree().bytes_read < 1 << 20, "it was read in parts");
    clean(&some).await;
}
