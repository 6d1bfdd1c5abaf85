//! Folders with dates in their names: of thousands a run lists those of its days.

use std::path::Path;

use blobferry::history::record::{RunRecord, Trigger, source_line};
use blobferry::history::records::Records;
use blobferry::history::source_index;
use blobferry::model::BlobName;
use blobferry::model::redactor::Redactor;
use blobferry::rules::date_folders::{DateFolders, DatePattern};
use blobferry::rules::patterns::Patterns;
use blobferry::rules::time_zone::TimeZone;
use blobferry::state::store::StateStore;
use serde_json::{Value, json};
use time::{Date, Duration, OffsetDateTime};

use super::selection::{looked, run_over};
use super::world::zips::{Entry, entry, zip_of};
use super::world::{LONG_AGO, World, quick};

/// A zone in which it is about noon, so that no test sees midnight.
fn noon() -> TimeZone {
    let ahead = 12 - i16::from(OffsetDateTime::now_utc().hour());
    // The names of these zones have the sign turned round.
    let name = match ahead {
        0 => "UTC".to_owned(),
        1.. => format!("Etc/GMT-{ahead}"),
        _ => format!("Etc/GMT+{}", -ahead),
    };
    TimeZone::parse(&name).expect("it is a zone")
}

fn today() -> Date {
    noon().local(OffsetDateTime::now_utc()).date()
}

fn days_ago(days: i64) -> String {
    (today() - Duration::days(days)).to_string()
}

/// A source with these patterns.
fn dated(include: &[&str], days_back: u16, catch_up: u16) -> World {
    let patterns: Vec<DatePattern> =
        include.iter().map(|glob| DatePattern::of_glob(glob).expect("it is right").0).collect();
    let any: Vec<String> = patterns.iter().map(DatePattern::at_any_time).collect();
    World::new().with(|source| {
        source.patterns = Patterns::new("/".into(), &any, &[], &[], None).expect("good patterns");
        source.dates = Some(DateFolders { include: patterns, days_back, catch_up });
        source.time_zone = noon();
    })
}

/// The folders that were listed since the last call, sorted.
fn listed(world: &World) -> Vec<String> {
    let mut lists: Vec<String> =
        std::mem::take(&mut world.server.tree().lists).iter().map(ToString::to_string).collect();
    lists.sort();
    lists
}

#[tokio::test]
async fn of_two_thousand_day_folders_only_four_are_listed() {
    let world = dated(&["{yyyy-MM-dd}/**"], 3, 31);
    for day in 0..2000 {
        world.put(&format!("/{}/f.csv", days_ago(day)), "x", LONG_AGO);
    }
    let four: Vec<String> = (0..4).rev().map(|day| format!("/{}", days_ago(day))).collect();
    let expected = [vec!["/".to_owned()], four].concat();
    let ran = world.run().await;
    assert_eq!(ran.brief(), "ok: ingested 4");
    assert_eq!(listed(&world), expected);
    assert_eq!(ran.source().days, [days_ago(3), days_ago(2), days_ago(1), days_ago(0)]);
    assert!(ran.report.to_string().contains(&format!("days: {} to", days_ago(3))));
    // The name of the folder stays in the blob's.
    assert!(world.names().contains(&format!("acme/{}/f.csv", days_ago(3))));
    looked(&world, 0, json!({ "status": "ok" })).await;
    assert_eq!(world.run().await.brief(), "ok: unchanged 4");
    assert_eq!(listed(&world), expected);
}

#[tokio::test]
async fn nested_folders_are_entered_only_on_the_way_to_their_day() {
    let world = dated(&["{yyyy}/{MM}/{dd}/**/*.csv", "fixed/*"], 0, 31);
    for day in 0..800 {
        let at = today() - Duration::days(day);
        let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
        world.put(&format!("/{year}/{month:02}/{day:02}/x/f.csv"), "x", LONG_AGO);
    }
    world.put("/fixed/g", "x", LONG_AGO);
    assert_eq!(world.run().await.brief(), "ok: ingested 2");
    // The root, year, month, day and the folder in it; the fixed one.
    assert_eq!(listed(&world).len(), 6);
}

#[tokio::test]
async fn days_on_which_no_run_was_made_are_made_up_for() {
    for (hours, line, expected) in [
        // The last run that left nothing undone was ten days ago.
        (240, json!({ "status": "ok" }), 12),
        // Since then runs could not do all: the first of them counts.
        (240, json!({ "status": "degraded", "failed": 1 }), 12),
        (24, json!({ "status": "ok" }), 3),
    ] {
        let world = dated(&["{yyyyMMdd}/*"], 1, 31);
        for day in 0..40 {
            let name = days_ago(day).replace('-', "");
            world.put(&format!("/{name}/f"), "x", LONG_AGO);
        }
        looked(&world, hours, line.clone()).await;
        let ran = world.run().await;
        assert_eq!(ran.brief(), format!("ok: ingested {expected}"), "{line}");
        assert_eq!(listed(&world).len(), expected + 1);
        looked(&world, 0, json!({ "status": "ok" })).await;
        assert_eq!(world.run().await.brief(), "ok: unchanged 2", "the next run looks at two days");
    }
}

#[tokio::test]
async fn without_the_index_the_records_of_runs_say_the_same() {
    let world = dated(&["{yyyyMMdd}/*"], 1, 31);
    for day in 0..40 {
        let name = days_ago(day).replace('-', "");
        world.put(&format!("/{name}/f"), "x", LONG_AGO);
    }
    let state = StateStore::new(world.store.clone(), Default::default(), quick());
    for (hours, status) in [(300, "ok"), (240, "ok"), (120, "degraded")] {
        let began = OffsetDateTime::now_utc() - Duration::hours(hours);
        let mut record = RunRecord::new(Trigger::Command, "", began);
        record.sources = vec![json!({ "source": "acme", "status": status })];
        Records::new(state.clone()).put(&record).await.expect("it writes");
    }
    assert_eq!(world.run().await.brief(), "ok: ingested 12");
}

/// A world whose last good run was five days ago, as a record tells; the index is lost.
async fn lost_index(world: World) -> (World, StateStore) {
    let state = StateStore::new(world.store.clone(), Default::default(), quick());
    tell(&state, Duration::days(5), json!({ "source": "acme", "status": "ok" })).await;
    (world, state)
}

/// The record of a run that began `ago`.
async fn tell(state: &StateStore, ago: Duration, line: Value) -> RunRecord {
    let mut record = RunRecord::new(Trigger::Command, "", OffsetDateTime::now_utc() - ago);
    record.sources = vec![line];
    Records::new(state.clone()).put(&record).await.expect("it writes");
    record
}

#[tokio::test]
async fn a_missed_day_is_made_up_for_though_another_source_wrote_the_lost_index_first() {
    let (world, state) = lost_index(dated(&["{yyyyMMdd}/*"], 1, 31)).await;
    world.put(&format!("/{}/f", days_ago(3).replace('-', "")), "x", LONG_AGO);
    let line = json!({ "source": "beta", "status": "ok" });
    source_index::note(&state, &tell(&state, Duration::ZERO, line).await).await;
    // A share, a refusal or the claim of a tick leave an entry that says nothing of it.
    source_index::change(&state, |index| {
        index.entry("acme");
    })
    .await
    .expect("it writes");
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
}

#[tokio::test]
async fn a_missed_day_is_made_up_for_after_a_run_that_failed_without_the_index() {
    let damaged = Entry { crc: Some(1), ..entry("3.txt", b"three") };
    let (world, state) = lost_index(dated(&["{yyyyMMdd}/*"], 1, 31)).await;
    let path = format!("/{}/f.zip", days_ago(3).replace('-', ""));
    world.put(&path, zip_of(&[damaged]), LONG_AGO);
    let ran = world.run().await;
    assert_eq!(ran.brief(), "degraded: failed 1 [archive_damaged]");
    let line = source_line(ran.source(), &Redactor::default(), OffsetDateTime::now_utc());
    source_index::note(&state, &tell(&state, Duration::ZERO, line).await).await;
    world.put(&path, zip_of(&[entry("3.txt", b"three")]), LONG_AGO + 1);
    // The records are not read again: what the first run reached back to is known.
    for name in world.store.names().iter().filter(|name| name.starts_with("_blobferry/_runs/2")) {
        let name = BlobName::new(name.clone()).expect("a name");
        state.delete(&name, "deleting").await.expect("it is deleted");
    }
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
}

#[tokio::test]
async fn days_that_cannot_be_made_up_for_are_told_once() {
    let world = dated(&["{yyyyMMdd}/*"], 1, 5);
    looked(&world, 20 * 24, json!({ "status": "ok" })).await;
    let ran = world.run().await;
    assert_eq!(ran.brief(), "degraded: problem [late]");
    let text = &ran.source().problems[0].message;
    assert!(text.contains(&format!("from {} to {}", days_ago(20), days_ago(6))), "{text}");
    let line = json!({ "status": "degraded", "problems": [{ "class": "late", "message": text }] });
    looked(&world, 0, line).await;
    assert_eq!(world.run().await.brief(), "ok: nothing");
}

#[tokio::test]
async fn a_day_without_a_folder_is_no_failure() {
    let world = dated(&["{yyyy-MM-dd}/**"], 3, 31).file("/other/x", "x");
    assert_eq!(world.run().await.brief(), "ok: nothing");
    // An exact path is asked for without any listing.
    let world = dated(&["in/{yyyy-MM-dd}.csv"], 1, 31);
    world.put(&format!("/in/{}.csv", days_ago(1)), "x", LONG_AGO);
    let ran = world.run().await;
    assert_eq!(ran.brief(), "ok: ingested 1");
    assert_eq!(listed(&world), [] as [String; 0]);
    assert!(ran.source().notes[0].contains("is not there"), "{:?}", ran.source().notes);
}

#[tokio::test]
async fn files_move_to_folders_named_by_their_dates() {
    let world = World::new().with(|source| {
        let pattern = DatePattern::of_path("/done/{yyyy}/{MM}").expect("right");
        source.after = blobferry::transfer::settings::After::Move("/done".into());
        source.move_to = Some(pattern);
        source.patterns =
            Patterns::new("/".into(), &[], &[], &[], Some("/done".into())).expect("good");
    });
    // 2024-01-01 in UTC; the last evening of the year before in New York.
    let world = world.file("/a.csv", "a");
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
    assert_eq!(world.at_source(), ["/done/2024/01/a.csv"]);
    let world = world
        .with(|source| source.time_zone = TimeZone::parse("America/New_York").expect("a zone"))
        .file("/b.csv", "b");
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
    assert_eq!(world.at_source(), ["/done/2023/12/b.csv", "/done/2024/01/a.csv"]);
}

#[cfg(unix)]
#[tokio::test]
async fn the_url_may_hold_the_date() {
    let folder = tempfile::tempdir().expect("a folder");
    let put = |path: &str| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("it is made");
        std::fs::write(path, "x").expect("it writes");
    };
    for day in 0..10 {
        put(&format!("out/{}/in/f.csv", days_ago(day)));
        put(&format!("out/{}/in/skip/f.csv", days_ago(day)));
    }
    let settings = format!(
        "url = \"file://$FOLDER/out/{{yyyy-MM-dd}}/in\"\nexclude = [\"skip/**\"]\ntime_zone = \
         \"{}\"\ndays_back = 2",
        noon()
    );
    let (report, store) = run_over(folder.path(), &settings).await;
    let mut names = store.names();
    names.retain(|name| name.starts_with("acme/"));
    let expected: Vec<String> =
        (0..3).rev().map(|day| format!("acme/{}/in/f.csv", days_ago(day))).collect();
    assert_eq!(names, expected, "{report}");
    assert!(Path::new(folder.path()).exists());
}
