//! Marker files: a sender's own word that the file beside them is complete.

use std::collections::HashMap;

use crate::model::{ModifiedTime, RemoteFile, RemotePath};

/// The marker files of a listing, with the times that it tells of them.
pub type MarkerTimes = HashMap<RemotePath, Option<ModifiedTime>>;

/// The marker of `path`.
pub fn marker_of(path: &RemotePath, suffix: &str) -> RemotePath {
    RemotePath::new([path.as_bytes(), suffix.as_bytes()].concat())
}

/// Whether the marker of `file` says that it is complete: it is there, and not older than the file.
/// One that is older was left by an earlier file of this name. Both times are of one server, so
/// that its zone does not matter; a time that is not told speaks against nothing.
pub(super) fn vouches(file: &RemoteFile, suffix: &str, markers: &MarkerTimes) -> bool {
    markers.get(&marker_of(&file.path, suffix)).is_some_and(|marker| !is_older(marker, file))
}

fn is_older(marker: &Option<ModifiedTime>, file: &RemoteFile) -> bool {
    let (Some(marker), Some(modified)) = (marker, &file.modified) else { return false };
    let precision = marker.precision.max(modified.precision);
    let at = |time: &ModifiedTime| ModifiedTime::new(time.at, precision).at;
    at(marker) < at(modified)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Precision;
    use time::macros::datetime;

    #[test]
    fn a_marker_that_is_older_than_its_file_vouches_for_nothing() {
        let at = datetime!(2026-11-20 10:11:30 UTC);
        let hour = time::Duration::HOUR;
        let check = |marker: Option<(time::OffsetDateTime, Precision)>, expected: bool| {
            let time = |(at, precision)| ModifiedTime::new(at, precision);
            let modified = Some(time((at, Precision::Second)));
            let file = RemoteFile { path: RemotePath::from("/a"), size: Some(3), modified };
            let markers = MarkerTimes::from([(RemotePath::from("/a.done"), marker.map(time))]);
            assert_eq!(vouches(&file, ".done", &markers), expected, "{marker:?}");
        };
        check(Some((at, Precision::Second)), true);
        check(Some((at + hour, Precision::Second)), true);
        check(Some((at - hour, Precision::Second)), false);
        check(Some((at - 3 * hour, Precision::Minute)), false);
        // Within the step of a coarse time nobody can say which came first.
        check(Some((at, Precision::Minute)), true);
        check(Some((at - hour, Precision::Day)), true);
        check(None, true);
    }
}
