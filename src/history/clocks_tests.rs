//! A clock that was ahead once.

use serde_json::{Value, json};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use super::record::{RunRecord, Trigger};
use super::source_index::SourceIndex;

const NOW: OffsetDateTime = datetime!(2026-11-23 10:00 UTC);
const AHEAD: OffsetDateTime = datetime!(2028-01-01 0:00 UTC);

/// The run that began at `began` by its clock takes its place at `now`.
fn ran(index: &mut SourceIndex, began: OffsetDateTime, now: OffsetDateTime, mut line: Value) {
    let mut record = RunRecord::new(Trigger::Timer, "", began);
    line["source"] = json!("a");
    record.sources = vec![line];
    index.take_in_at(&record, now);
}

fn ok() -> Value {
    json!({ "status": "ok", "ingested": 1 })
}

fn failing() -> Value {
    let file = json!({ "path": "/f", "class": "permission", "message": "550", "hint": "ask" });
    json!({ "status": "degraded", "failed": 1, "failures": [file] })
}

#[test]
fn how_far_back_to_look_is_not_the_year_of_a_clock_that_was_ahead() {
    let mut index = SourceIndex::default();
    ran(&mut index, AHEAD, AHEAD, ok());
    assert_eq!(index.sources["a"].looks_back_to(NOW), None);
    assert!(!index.sources["a"].is_settled(NOW), "the records are asked");
    ran(&mut index, NOW, NOW, ok());
    assert_eq!(index.sources["a"].settled, Some(NOW));
    // A record of such a clock that is taken in later moves nothing.
    ran(&mut index, AHEAD, NOW, ok());
    assert_eq!(index.sources["a"].looks_back_to(NOW), Some(NOW));
}

#[test]
fn the_status_does_not_stay_what_a_clock_that_was_ahead_left() {
    let mut index = SourceIndex::default();
    ran(&mut index, NOW - Duration::HOUR, NOW, failing());
    ran(&mut index, AHEAD, AHEAD, failing());
    ran(&mut index, NOW, NOW, failing());
    let standing = index.sources["a"].standing.clone().expect("it was looked at");
    assert_eq!((standing.looked, standing.runs), (NOW, 3));
    assert_eq!(standing.since("permission"), Some((NOW - Duration::HOUR, 3)));
    let later = NOW + Duration::HOUR;
    ran(&mut index, later, later, ok());
    let entry = &index.sources["a"];
    let standing = entry.standing.as_ref().expect("it was looked at");
    assert_eq!((standing.word.as_str(), standing.good), ("ok", Some(later)));
    assert!(entry.run.as_ref().is_some_and(|run| run.starts_with("20261123T11")));
    assert_eq!(entry.run, entry.brought);
}

#[test]
fn what_a_pass_was_to_make_up_for_is_still_to_be_made_up_for() {
    let (good, mut index) = (NOW - Duration::days(5), SourceIndex::default());
    let mut line = failing();
    line["looked_back_to"] = json!("2026-11-18T10:00:00Z");
    ran(&mut index, NOW, NOW, line);
    assert_eq!(index.sources["a"].looks_back_to(NOW), Some(good));
    assert!(index.sources["a"].is_settled(NOW), "the records need not be read again");
}
