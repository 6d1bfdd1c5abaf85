//! A zone that moved: when a whole listing shows its times by the same quarters of an hour later or
//! earlier. Files that stood still speak against it as those do that moved otherwise.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use crate::failpoint::safeguard_off;
use crate::model::{ModifiedTime, Precision, RemoteFile};
use crate::rules::equality::{self, Equality};
use crate::rules::plan::known::Known;

/// Fewer files that moved alike are no zone.
const FEWEST: usize = 3;
/// Of those that differ, so many in a hundred must have moved alike.
const PERCENT: usize = 90;
const QUARTER: i64 = 15 * 60;
/// No zone is further from UTC.
const FURTHEST: i64 = 14 * 3600;
/// A file that is younger than this may have been written anew a zone's offset later.
const OLD: time::Duration = time::Duration::hours(40);

/// How far the time of a known file of equal size has moved, if a zone could have moved it:
/// quarters of an hour.
pub fn moved(known: &Known, file: &RemoteFile) -> Option<i64> {
    if equality::sizes(known.size, file.size) != Equality::Same {
        return None;
    }
    let now = file.modified.as_ref()?;
    known.listed.iter().chain(&known.modified).find_map(|then| quarters(then, now))
}

fn quarters(then: &ModifiedTime, now: &ModifiedTime) -> Option<i64> {
    let precision = then.precision.max(now.precision);
    let at = |time: &ModifiedTime| ModifiedTime::new(time.at, precision).at;
    let seconds = (at(now) - at(then)).whole_seconds();
    (seconds != 0 && seconds.abs() <= FURTHEST && seconds % QUARTER == 0)
        .then_some(seconds / QUARTER)
}

/// Whether a file is older than a day in any zone, so that it was not written anew a zone's offset
/// later.
pub fn is_old(file: &RemoteFile, now: OffsetDateTime) -> bool {
    file.modified.is_some_and(|modified| now - modified.at > OLD)
}

/// Known files that a listing shows as they were: a zone that moves takes them along.
#[derive(Clone, Copy, Debug, Default)]
pub struct StoodStill {
    files: usize,
}

impl StoodStill {
    /// Takes in a known file that is unchanged. A time that is coarser than zones move, or of a
    /// file that may have been written anew meanwhile, says nothing.
    pub(crate) fn see(&mut self, file: &RemoteFile, now: OffsetDateTime) {
        let is_fine = file.modified.is_some_and(|at| at.precision <= Precision::Minute);
        self.files += usize::from(is_fine && is_old(file, now));
    }
}

/// What the known files of equal size, whose times differ, say of the listing's zone.
#[derive(Debug, Default)]
pub(crate) struct Shift {
    /// How far each moved, and whether it is old enough to be no new file.
    moves: Vec<(Option<i64>, bool)>,
    stood_still: StoodStill,
}

impl Shift {
    /// Beside files whose times did not move.
    pub fn beside(stood_still: &StoodStill) -> Self {
        Self { moves: Vec::new(), stood_still: *stood_still }
    }

    /// Takes in a known file of equal size whose time differs, as listed now.
    pub fn add(&mut self, known: &Known, file: &RemoteFile, now: OffsetDateTime) {
        self.moves.push((moved(known, file), is_old(file, now)));
    }

    /// How far the zone has moved, in quarters of an hour, if it has.
    pub(crate) fn quarters(&self) -> Option<i64> {
        let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
        self.moves
            .iter()
            .filter_map(|(moved, _)| *moved)
            .for_each(|quarters| *counts.entry(quarters).or_default() += 1);
        let (best, alike) = counts.into_iter().max_by_key(|(_, count)| *count)?;
        let old = self.moves.iter().filter(|(moved, old)| *moved == Some(best) && *old).count();
        let enough = old >= FEWEST || safeguard_off!("zone");
        let all = self.moves.len() + self.stood_still.files;
        (enough && alike * 100 >= all * PERCENT).then_some(best)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{RemotePath, Version};
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);

    fn file(at: OffsetDateTime) -> RemoteFile {
        RemoteFile {
            path: RemotePath::from("/a"),
            size: Some(5),
            modified: Some(ModifiedTime::new(at, Precision::Minute)),
        }
    }

    fn check(moves: &[(OffsetDateTime, i64)], expected: Option<i64>) {
        let mut shift = Shift::default();
        for (at, minutes) in moves {
            let then = file(*at);
            let known = Known::new(&then, then.modified, Version::of(&then));
            shift.add(&known, &file(*at + time::Duration::minutes(*minutes)), NOW);
        }
        assert_eq!(shift.quarters(), expected, "{moves:?}");
    }

    #[test]
    fn a_listing_of_which_all_moved_by_an_hour_is_another_zone() {
        let old = datetime!(2026-10-20 10:11 UTC);
        check(&[(old, 60); 3], Some(4));
        check(&[(old, -345); 12], Some(-23));
        check(&[(old, 60); 2], None);
    }

    #[test]
    fn files_that_stood_still_are_no_part_of_a_zone_that_moved() {
        let old = datetime!(2026-10-20 10:11 UTC);
        let still = file(old);
        let known = Known::new(&still, still.modified, Version::of(&still));
        let moved = |stood_still: usize| {
            let mut seen = StoodStill::default();
            for _ in 0..stood_still {
                seen.see(&still, NOW);
            }
            let mut shift = Shift::beside(&seen);
            for _ in 0..3 {
                shift.add(&known, &file(old + time::Duration::hours(6)), NOW);
            }
            shift.quarters()
        };
        assert_eq!((moved(0), moved(1), moved(20)), (Some(24), None, None));
    }

    #[test]
    fn files_that_moved_each_in_its_own_way_are_no_zone() {
        let old = datetime!(2026-10-20 10:11 UTC);
        check(&[(old, 60), (old, 60), (old, 60), (old, 75)], None);
        check(&[(old, 61); 5], None);
        check(&[(old, 24 * 60); 5], None);
        let many: Vec<_> = (0..20).map(|n| (old, if n == 0 { 7 } else { 60 })).collect();
        check(&many, Some(4));
    }

    #[test]
    fn files_that_are_written_anew_each_hour_are_no_zone() {
        check(&[(datetime!(2026-11-20 10:05 UTC), 60); 8], None);
    }
}
