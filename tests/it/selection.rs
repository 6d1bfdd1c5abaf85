//! Which files are taken: by time, size and rank, and what no filter may hide.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use blobferry::config;
use blobferry::history::record::{RunRecord, Trigger};
use blobferry::history::source_index;
use blobferry::model::failure::Class;
use blobferry::report::Report;
use blobferry::rules::selection::{FileSelection, Newest, NewestBy, NewestPer};
use blobferry::run::run;
use blobferry::source::memory::MemorySourceFault;
use blobferry::state::store::StateStore;
use blobferry::store::memory::MemoryStore;
use blobferry::transfer::options::Options;
use blobferry::transfer::settings::Limits;
use serde_json::json;
use time::OffsetDateTime;

use super::world::{LONG_AGO, World, now, quick};

const HOUR: u64 = 3600;

/// A record of a run that began so many hours ago and left `line` of the source.
pub async fn looked(world: &World, hours: i64, mut line: serde_json::Value) {
    let state = StateStore::new(world.store.clone(), Default::default(), quick());
    let began = OffsetDateTime::now_utc() - time::Duration::hours(hours);
    let mut record = RunRecord::new(Trigger::Command, "", began);
    line["source"] = json!("acme");
    record.sources = vec![line];
    source_index::note(&state, &record).await;
}

fn selecting(selection: FileSelection) -> World {
    World::new().with(|source| source.selection = selection)
}

#[tokio::test]
async fn files_outside_the_bounds_are_skipped_and_counted_by_reason() {
    let bound = OffsetDateTime::from_unix_timestamp(LONG_AGO).expect("a time");
    let world = selecting(FileSelection {
        modified_after: Some(bound),
        modified_before: Some(bound + time::Duration::days(10)),
        min_size: Some(3),
        max_size: Some(5),
        ..FileSelection::default()
    });
    world.put("/old", "1234", LONG_AGO - 1);
    world.put("/new", "1234", LONG_AGO + 10 * 86_400);
    world.put("/small", "12", LONG_AGO);
    world.put("/large", "123456", LONG_AGO);
    world.put("/right", "1234", LONG_AGO);
    world.put("/x.part", "1", LONG_AGO - 1);
    let ran = world.run().await;
    assert_eq!(
        ran.brief(),
        "ok: ingested 1, skipped 5 [in_progress too_large too_new too_old too_small]"
    );
    assert_eq!(world.names(), ["acme/right"]);
    assert_eq!(ran.source().manifest_lines, 1, "what a rule leaves out is told by number");
}

#[tokio::test]
async fn what_cannot_be_judged_is_taken() {
    let world = selecting(FileSelection {
        max_age: Some(Duration::from_secs(HOUR)),
        min_size: Some(100),
        ..FileSelection::default()
    });
    world.put("/untold", "1234", LONG_AGO);
    {
        let mut tree = world.server.tree();
        let file = tree.files.values_mut().next().expect("a file");
        (file.modified, file.claimed_size) = (None, None);
    }
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
}

#[tokio::test]
async fn what_an_earlier_run_should_have_taken_is_not_too_old() {
    let selection = || FileSelection {
        max_age: Some(Duration::from_secs(2 * HOUR)),
        ..FileSelection::default()
    };
    for (line, expected) in [
        (None, "ok: skipped 1 [too_old]"),
        (Some(json!({ "status": "degraded", "failed": 1 })), "ok: ingested 1"),
        (Some(json!({ "status": "ok", "deferred": 1 })), "ok: ingested 1"),
        (Some(json!({ "status": "failed", "unusable": true })), "ok: ingested 1"),
        // All was well then, before the file came: no run has looked since.
        (Some(json!({ "status": "ok" })), "ok: ingested 1"),
    ] {
        let world = selecting(selection());
        world.put("/a", "1", now() - 6 * 3600);
        if let Some(line) = &line {
            looked(&world, 5, line.clone()).await;
        }
        let ran = world.run().await;
        assert_eq!(ran.brief(), expected, "{line:?}");
        assert_eq!(ran.source().kept_by_failure, u64::from(line.is_some()), "{line:?}");
    }
    // A run after which nothing was left came an hour ago.
    let world = selecting(selection());
    world.put("/a", "1", now() - 6 * 3600);
    looked(&world, 5, json!({ "status": "degraded", "failed": 1 })).await;
    looked(&world, 1, json!({ "status": "ok" })).await;
    assert_eq!(world.run().await.brief(), "ok: skipped 1 [too_old]");
}

fn newest(files: usize, by: NewestBy) -> FileSelection {
    let newest = Newest { files, by, per: NewestPer::Folder };
    FileSelection { newest: Some(newest), ..FileSelection::default() }
}

#[tokio::test]
async fn only_the_newest_files_of_a_folder_are_taken() {
    for (by, expected) in [
        (NewestBy::Modified, ["acme/a/1", "acme/a/3", "acme/b/x"]),
        (NewestBy::Name, ["acme/a/2", "acme/a/3", "acme/b/x"]),
    ] {
        let world = selecting(newest(2, by)).file("/b/x", "x").file("/b/newer.part", "x");
        world.put("/a/1", "1", LONG_AGO + 20);
        world.put("/a/2", "2", LONG_AGO);
        world.put("/a/3", "3", LONG_AGO + 10);
        assert_eq!(world.run().await.brief(), "ok: ingested 3, skipped 2 [in_progress not_newest]");
        assert_eq!(world.names(), expected);
        assert_eq!(
            world.run().await.brief(),
            "ok: unchanged 3, skipped 2 [in_progress not_newest]"
        );
    }
}

#[tokio::test]
async fn a_file_that_failed_is_tried_again_though_a_newer_one_came() {
    let world = selecting(newest(1, NewestBy::Modified)).fault(
        "/1",
        "read",
        MemorySourceFault::Refuse(Class::Permission),
    );
    world.put("/1", "1", LONG_AGO);
    assert_eq!(world.run().await.brief(), "degraded: failed 1 [permission]");
    world.put("/2", "2", LONG_AGO + 10);
    world.put("/0", "0", LONG_AGO - 10);
    assert_eq!(world.run().await.brief(), "ok: ingested 2, skipped 1 [not_newest]");
    assert_eq!(world.names(), ["acme/1", "acme/2"]);
}

#[tokio::test]
async fn fewer_files_than_there_must_be_make_the_run_degraded() {
    let world = World::new()
        .patterns(&["*.csv"], &[], None)
        .with(|source| source.min_listed = 2)
        .file("/a.csv", "a")
        .file("/other", "b");
    assert_eq!(
        world.run().await.brief(),
        "degraded: ingested 1, skipped 1 [excluded], problem [too_few]"
    );
    // An idle run tells it too.
    assert_eq!(
        world.run().await.brief(),
        "degraded: unchanged 1, skipped 1 [excluded], problem [too_few]"
    );
    world.put("/b.csv", "b", LONG_AGO);
    assert_eq!(world.run().await.brief(), "ok: ingested 1, unchanged 1, skipped 1 [excluded]");
}

fn parsed(settings: &str) -> Result<config::Config, String> {
    let text = format!(
        "[destination]\nfolder = \"out\"\n[[source]]\nname = \"acme\"\nurl = \"file:///in\"\n\
         {settings}\n"
    );
    config::parse("ingest.toml", Path::new(""), &text, &Default::default())
        .map_err(|error| error.to_string())
}

#[test]
fn settings_that_would_take_nothing_are_refused() {
    for (settings, expected) in [
        ("modified_after = \"2999-01-01\"", "`source.acme.modified_after` is in the future"),
        (
            "modified_after = \"2026-01-02\"\nmodified_before = \"2026-01-02\"",
            "`source.acme.modified_before` is not after `modified_after`",
        ),
        ("modified_after = \"yesterday\"", "allowed is a day as \"2026-01-31\""),
        ("min_size = \"2 KiB\"\nmax_size = \"1 KiB\"", "is less than `min_size`"),
        ("max_age = \"30s\"", "is less than `stable_for`"),
        ("newest_by = \"name\"", "`source.acme.newest_by` stands without `newest`"),
        ("newest = 1\nmarker = \".done\"", "stands beside `marker`"),
        ("newest = 0", "allowed is a whole number from 1 to"),
        ("days_back = 2", "stands without a date placeholder"),
        ("include = [\"{yyyy-mm-dd}/*\"]", "months are `MM` (did you mean {yyyy-MM-dd}?)"),
        ("include = [\"{yyyyMMddHHmm}/*\"]", "the finest part of a folder is the hour"),
        ("include = [\"{yyyy}/*\"]\ndays_back = 9\ncatch_up = \"3d\"", "is less than `days_back`"),
        ("include = [\"{yyyy}/*\"]\ncatch_up = \"999d\"", "is more than \"366d\""),
        ("after = \"move:/done/{YYYY}\"", "(did you mean {yyyy}?)"),
        ("after = \"move:/{yyyy}\"", "allowed is a folder before the first date"),
        ("time_zone = \"W. Europe Standard Time\"", "for this one write \"Europe/Berlin\""),
    ] {
        let error = parsed(settings).map(drop).expect_err(settings);
        assert!(error.contains(expected), "{settings}: {error}");
        assert!(error.starts_with("ingest.toml:"), "{error}");
    }
}

#[test]
fn days_are_meant_in_the_zone_of_the_source() {
    let config = parsed("modified_after = \"2026-07-01\"\ntime_zone = \"Europe/Berlin\"");
    let after = config.expect("it is right").sources[0].selection.modified_after;
    assert_eq!(after, Some(time::macros::datetime!(2026-06-30 22:00 UTC)));
    let top = "time_zone = \"Asia/Tokyo\"\n[destination]\nfolder = \"out\"\n[[source]]\nname = \
               \"a\"\nurl = \"file:///in\"\n[[source]]\nname = \"b\"\nurl = \"file:///in\"\n\
               time_zone = \"Europe/Paris\"\n";
    let read = |text: &str| {
        config::parse("ingest.toml", Path::new(""), text, &Default::default())
            .map_err(|error| error.to_string())
    };
    let zones: Vec<&str> =
        read(top).expect("right").sources.iter().map(|source| source.time_zone.name()).collect();
    assert_eq!(zones, ["Asia/Tokyo", "Europe/Paris"]);
    let error = read(&top.replace("Asia/Tokyo", "Tokyo")).map(drop).expect_err("refused");
    assert!(error.starts_with("ingest.toml:1: `time_zone` is \"Tokyo\""), "{error}");
    assert!(error.ends_with("did you mean \"Asia/Tokyo\"?"), "{error}");
}

/// A run over a folder, as the settings say.
pub async fn run_over(folder: &Path, settings: &str) -> (Report, Arc<MemoryStore>) {
    let text = format!(
        "[destination]\nfolder = \"out\"\n[[source]]\nname = \"acme\"\nstable_for = \"0s\"\n\
         {settings}\n"
    );
    let text = text.replace("$FOLDER", folder.to_str().expect("UTF-8"));
    let config = config::parse("ingest.toml", Path::new(""), &text, &Default::default());
    let sources = config.unwrap_or_else(|error| panic!("{error}\n{text}")).sources;
    let store = Arc::new(MemoryStore::new());
    let limits = Limits { memory: 64 << 20, ..Limits::default_with(std::env::temp_dir(), 1 << 30) };
    let options = Options { policy: quick(), ..Options::new(store.clone(), limits) };
    (run(sources, options).await, store)
}

#[cfg(unix)]
#[tokio::test]
async fn gnu_find_selects_the_same_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let day = |n: u64| std::time::UNIX_EPOCH + Duration::from_secs(1_767_225_600 + n * 43_200);
    for n in 0..60_u64 {
        let path = folder.path().join(format!("f{n:02}"));
        std::fs::write(&path, vec![b'x'; usize::try_from(n * 37 % 400).expect("small")])
            .expect("it writes");
        let file = std::fs::File::options().append(true).open(&path).expect("it opens");
        file.set_modified(day(n)).expect("it is set");
    }
    let settings = "url = \"file://$FOLDER\"\nmodified_after = \"2026-01-05T12:00:00Z\"\n\
                    modified_before = \"2026-01-25\"\nmin_size = \"100 B\"\nmax_size = \"300 B\"";
    let (report, store) = run_over(folder.path(), settings).await;
    let mut stored: Vec<String> = store.names();
    stored.retain(|name| name.starts_with("acme/"));
    let found = Command::new("find")
        .arg(folder.path())
        .args(["-type", "f", "-size", "+99c", "-size", "-301c"])
        .args(["(", "-newermt", "2026-01-05 12:00:00 UTC", "-o", "-newermt"])
        .args(["2026-01-05 11:59:59 UTC", ")", "!", "-newermt", "2026-01-24 23:59:59 UTC"])
        .args(["-printf", "acme/%f\n"])
        .output()
        .expect("find is there");
    let mut found: Vec<&str> = std::str::from_utf8(&found.stdout).expect("UTF-8").lines().collect();
    found.sort_unstable();
    assert!(found.len() > 10 && found.len() < 40, "{found:?}");
    assert_eq!(stored, found, "{report}");
}

#[cfg(unix)]
#[test]
fn check_and_plan_tell_of_zones_and_dates_and_a_run_keeps_when_all_was_done() {
    let ferry = super::e2e::Ferry::new("");
    std::fs::create_dir(ferry.path("in")).expect("it is made");
    std::fs::write(ferry.path("in/a.csv"), "a").expect("it writes");
    ferry.configure(&format!(
        "time_zone = \"Europe/Berlin\"\n[destination]\nfolder = \"out\"\n[[source]]\nname = \
         \"acme\"\nurl = \"file://{}\"\nstable_for = \"0s\"\ncron = \"30 2 * * *\"\ninclude = \
         [\"{{YYYY}}/*\", \"{{yyyyMMdd}}/*\", \"a.csv\"]\n",
        ferry.path("in").display()
    ));
    ferry.run(&["check"]).says(&[
        "clocks in Europe/Berlin go from 02:00 to 03:00: `30 2 * * *` is due at 03:00 then",
        "{YYYY} is no date placeholder; allowed are yyyy yy MM dd HH mm (did you mean {yyyy}?)",
    ]);
    let today = OffsetDateTime::now_utc().year().to_string();
    ferry.run(&["plan"]).code(0).says(&["looks for a.csv", &format!("looks for {today}")]);
    ferry.ingest().code(0);
    let index = std::fs::read_to_string(ferry.path("out/_blobferry/_runs/sources.json"));
    let index: serde_json::Value =
        serde_json::from_str(&index.expect("it is there")).expect("JSON");
    assert!(index["sources"]["acme"]["settled"].is_string(), "{index:#}");
}
