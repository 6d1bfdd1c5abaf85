//! What is decided about files that have markers.

use super::*;
use crate::model::{ModifiedTime, Precision, Version};
use time::OffsetDateTime;
use time::macros::datetime;

const NOW: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);

fn rules(markers: &MarkerTimes) -> Rules<'_> {
    Rules { marker: Some(".done"), ..tests::rules(markers) }
}

/// A file that was written a second ago.
fn data() -> RemoteFile {
    let at = NOW - time::Duration::SECOND;
    let modified = Some(ModifiedTime::new(at, Precision::Second));
    RemoteFile { path: RemotePath::from("/a.csv"), size: Some(1), modified }
}

fn decided(marker: Option<Option<OffsetDateTime>>, known: Option<&Known>) -> Decision {
    let time = |at| ModifiedTime::new(at, Precision::Second);
    let markers = marker.into_iter().map(|at| (RemotePath::from("/a.csv.done"), at.map(time)));
    decide(&data(), known, None, &rules(&markers.collect()))
}

#[test]
fn with_markers_a_file_waits_for_its_own() {
    assert_eq!(decided(None, None), Decision::Skip(Skip::NoMarker));
    assert_eq!(decided(Some(None), None), Decision::Ingest(Why::New));
    assert_eq!(decided(Some(Some(NOW)), None), Decision::Ingest(Why::New));
    let marker = RemoteFile { path: RemotePath::from("/a.csv.done"), ..data() };
    let none = MarkerTimes::new();
    assert_eq!(decide(&marker, None, None, &rules(&none)), Decision::Skip(Skip::Marker));
}

#[test]
fn a_file_that_is_newer_than_its_marker_rests_as_one_without() {
    let yesterday = NOW - time::Duration::DAY;
    assert_eq!(decided(Some(Some(yesterday)), None), Decision::LookAgain(Why::New));
}

#[test]
fn a_stored_file_needs_its_marker_no_more() {
    let known = Known::new(&data(), data().modified, Version::of(&data()));
    assert_eq!(decided(None, Some(&known)), Decision::Unchanged);
    let other = Known { size: Some(2), ..known };
    assert_eq!(decided(None, Some(&other)), Decision::Skip(Skip::NoMarker));
}
