//! Bounds of time and size, and which files are the newest.

use super::*;
use crate::model::Precision;
use time::macros::datetime;

const NOW: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);
const DAY: Duration = Duration::from_secs(86_400);

fn file(path: &str, size: Option<u64>, modified: Option<ModifiedTime>) -> RemoteFile {
    RemoteFile { path: RemotePath::from(path), size, modified }
}

fn dated(at: OffsetDateTime, precision: Precision) -> RemoteFile {
    file("/a", Some(1), Some(ModifiedTime::new(at, precision)))
}

fn check(selection: &FileSelection, file: &RemoteFile, expected: Selected) {
    let clock = SelectionClock { now: NOW, settled: None };
    assert_eq!(selection.of(file, false, clock), expected, "{file:?}");
}

#[test]
fn sizes_outside_the_bounds_are_left_out_and_unknown_ones_taken() {
    let selection =
        FileSelection { min_size: Some(10), max_size: Some(20), ..FileSelection::default() };
    for (size, expected) in [
        (Some(9), Selected::No(Skip::TooSmall)),
        (Some(10), Selected::Yes),
        (Some(20), Selected::Yes),
        (Some(21), Selected::No(Skip::TooLarge)),
        (None, Selected::Yes),
    ] {
        check(&selection, &file("/a", size, None), expected);
    }
}

#[test]
fn a_time_is_left_out_only_where_all_that_it_may_mean_is() {
    let bound = datetime!(2026-11-10 0:00 UTC);
    let after = FileSelection { modified_after: Some(bound), ..FileSelection::default() };
    let before = FileSelection { modified_before: Some(bound), ..FileSelection::default() };
    let (old, new) = (Selected::No(Skip::TooOld), Selected::No(Skip::TooNew));
    for (at, precision, is_after, is_before) in [
        (datetime!(2026-11-09 23:59:59 UTC), Precision::Second, old, Selected::Yes),
        (bound, Precision::Second, Selected::Yes, new),
        // A listing in some zone, to the minute.
        (datetime!(2026-11-09 12:00 UTC), Precision::Minute, Selected::Yes, Selected::Yes),
        (datetime!(2026-11-09 9:00 UTC), Precision::Minute, old, Selected::Yes),
        (datetime!(2026-11-10 13:00 UTC), Precision::Minute, Selected::Yes, Selected::Yes),
        (datetime!(2026-11-10 14:00 UTC), Precision::Minute, Selected::Yes, new),
        (datetime!(2026-11-09 0:00 UTC), Precision::Day, Selected::Yes, Selected::Yes),
        (datetime!(2026-11-08 0:00 UTC), Precision::Day, old, Selected::Yes),
    ] {
        check(&after, &dated(at, precision), is_after);
        check(&before, &dated(at, precision), is_before);
    }
    check(&after, &file("/a", Some(1), None), Selected::Yes);
}

#[test]
fn a_file_that_no_run_could_take_in_time_is_not_let_go_for_its_age() {
    let selection = FileSelection { max_age: Some(2 * DAY), ..FileSelection::default() };
    let old = dated(datetime!(2026-11-15 12:00 UTC), Precision::Second);
    let young = dated(datetime!(2026-11-19 12:00 UTC), Precision::Second);
    let of = |file: &RemoteFile, waited: bool, settled: Option<OffsetDateTime>| {
        selection.of(file, waited, SelectionClock { now: NOW, settled })
    };
    assert_eq!(of(&old, false, None), Selected::No(Skip::TooOld), "a first run");
    assert_eq!(of(&young, false, None), Selected::Yes);
    assert_eq!(of(&old, true, None), Selected::Kept, "an earlier run left it for later");
    // Nothing was well since before it came: no run, or runs that left files undone.
    assert_eq!(of(&old, false, Some(datetime!(2026-11-14 0:00 UTC))), Selected::Kept);
    assert_eq!(of(&old, false, Some(datetime!(2026-11-17 13:00 UTC))), Selected::No(Skip::TooOld));
    // A clock that was set back.
    assert_eq!(of(&young, false, Some(datetime!(2027-01-01 0:00 UTC))), Selected::Yes);
}

fn newest(rule: Newest, files: &[(&str, i64)]) -> Vec<String> {
    let mut found = NewestFiles::new(rule);
    let mut others = 0;
    for (path, unix) in files {
        let file = file(path, Some(1), ModifiedTime::from_unix(*unix).filter(|_| *unix > 0));
        let group = group(rule, &file.path, Some(usize::from(path.ends_with(".csv"))));
        others += found.take(group, file).len();
    }
    let (newest, rest) = found.finish();
    assert_eq!(newest.len() + rest.len() + others, files.len());
    newest.iter().map(|file| file.path.to_string()).collect()
}

const TWO: Newest = Newest { files: 2, by: NewestBy::Modified, per: NewestPer::Folder };

#[test]
fn the_newest_of_each_folder_are_found() {
    let files =
        [("/a/1", 100), ("/a/2", 300), ("/a/3", 200), ("/b/4", 10), ("/b/5", 20), ("/b/6", 5)];
    assert_eq!(newest(TWO, &files), ["/a/2", "/a/3", "/b/4", "/b/5"]);
    let by_name = Newest { by: NewestBy::Name, ..TWO };
    assert_eq!(newest(by_name, &files), ["/a/2", "/a/3", "/b/5", "/b/6"]);
    let per_pattern = Newest { files: 1, per: NewestPer::Pattern, ..TWO };
    let files = [("/a/1.csv", 100), ("/b/2.csv", 300), ("/b/3.txt", 200), ("/c/4.txt", 100)];
    assert_eq!(newest(per_pattern, &files), ["/b/3.txt", "/b/2.csv"]);
}

#[test]
fn what_may_be_as_new_is_taken_too() {
    assert_eq!(newest(TWO, &[("/1", 100), ("/2", 300), ("/3", 100)]), ["/1", "/2", "/3"]);
    // One without a time.
    assert_eq!(
        newest(TWO, &[("/1", 100), ("/2", 0), ("/3", 200), ("/4", 300)]),
        ["/2", "/3", "/4"]
    );
    let mut files = vec![
        dated(datetime!(2026-11-10 10:00 UTC), Precision::Day),
        dated(datetime!(2026-11-10 10:00 UTC), Precision::Second),
        dated(datetime!(2026-11-01 10:00 UTC), Precision::Second),
    ];
    let one = Newest { files: 1, ..TWO };
    assert_eq!(sift(one, &mut files).len(), 1);
}

#[test]
fn a_folder_of_many_files_is_not_held_in_memory() {
    let mut found = NewestFiles::new(TWO);
    let mut others = 0;
    for n in 0..100_000 {
        let file =
            file(&format!("/a/{n}"), Some(1), ModifiedTime::from_unix(1 + n * 7919 % 100_003));
        others += found.take(b"/a".to_vec(), file).len();
        assert!(found.held() < 200);
    }
    let (newest, rest) = found.finish();
    assert_eq!((newest.len(), others + rest.len()), (2, 99_998));
}
