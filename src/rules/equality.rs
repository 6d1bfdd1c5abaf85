//! Whether two looks at one path saw the same: the only place where sizes and times of files are
//! compared.

use time::OffsetDateTime;
use time::macros::datetime;

use crate::model::{ModifiedTime, Precision, RemoteFile};

/// What two observations of one path say of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Equality {
    /// Size and time are known on both sides and agree, at the coarser precision of the two.
    Same,
    /// The sizes differ, or exact times do.
    Different,
    /// Neither can be said: a size or a time is missing, or a coarse time moved, which tells no
    /// zone.
    Unknown,
}

impl Equality {
    /// Whether nothing speaks against their being the same: enough where more evidence comes, as
    /// the bytes themselves.
    pub fn is_possible(self) -> bool {
        self != Equality::Different
    }
}

/// Compares two observations.
pub(crate) fn between(then: &RemoteFile, now: &RemoteFile) -> Equality {
    let sizes = sizes(then.size, now.size);
    if sizes == Equality::Different {
        return Equality::Different;
    }
    match times(then.modified.as_ref(), now.modified.as_ref()) {
        Equality::Same => sizes,
        other => other,
    }
}

/// Compares sizes.
pub(crate) fn sizes(then: Option<u64>, now: Option<u64>) -> Equality {
    match (then, now) {
        (Some(then), Some(now)) if then == now => Equality::Same,
        (Some(_), Some(_)) => Equality::Different,
        _ => Equality::Unknown,
    }
}

/// Compares times. A coarse one comes from a listing, in a zone that nobody tells: that it moved
/// proves nothing.
pub(crate) fn times(then: Option<&ModifiedTime>, now: Option<&ModifiedTime>) -> Equality {
    match (then, now) {
        (Some(then), Some(now)) if then.agrees_with(now) => Equality::Same,
        (Some(then), Some(now)) if is_exact(then) && is_exact(now) => Equality::Different,
        _ => Equality::Unknown,
    }
}

/// Whether a time is as exact as protocols tell: to the second, or better.
pub(crate) fn is_exact(time: &ModifiedTime) -> bool {
    time.precision <= Precision::Second
}

/// FTP is older, files on its servers are not: an earlier time is a default that somebody left, and
/// another file has it, too.
pub(crate) const FIRST_PLAUSIBLE: OffsetDateTime = datetime!(1990-01-01 0:00 UTC);

/// Whether a time can be that of a file.
pub(crate) fn is_plausible(time: &ModifiedTime) -> bool {
    time.at >= FIRST_PLAUSIBLE
}

/// Whether a file was so young when it was looked at that another could have taken its place within
/// the step of its time. Only coarse times have steps that matter; they tell no zone, and zones
/// differ by quarters of an hour.
pub(crate) fn could_hide_a_replacement(time: &ModifiedTime, looked: time::OffsetDateTime) -> bool {
    const ZONES: time::Duration = time::Duration::hours(14);
    const QUARTER: i64 = 15 * 60;
    // A default, or the time of a wrong clock: others have it, too.
    if !is_plausible(time) || time.at > looked + time::Duration::DAY {
        return true;
    }
    if is_exact(time) {
        return false;
    }
    let age = looked - time.at;
    let step = i64::try_from(time.precision.nanoseconds() / 1_000_000_000).unwrap_or(i64::MAX);
    let far = time::Duration::seconds(step) + ZONES;
    age >= -far && age < far && (step > QUARTER || age.whole_seconds().rem_euclid(QUARTER) < step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RemotePath;

    fn file(size: Option<u64>, at: Option<(time::OffsetDateTime, Precision)>) -> RemoteFile {
        RemoteFile {
            path: RemotePath::from("/a"),
            size,
            modified: at.map(|(at, precision)| ModifiedTime::new(at, precision)),
        }
    }

    fn check(then: &RemoteFile, now: &RemoteFile, expected: Equality) {
        assert_eq!(between(then, now), expected, "{then:?} {now:?}");
        assert_eq!(between(now, then), expected, "the other way round");
    }

    #[test]
    fn what_is_missing_is_never_taken_for_equal() {
        let at = datetime!(2026-11-20 10:11:12 UTC);
        let whole = file(Some(5), Some((at, Precision::Second)));
        check(&whole, &whole, Equality::Same);
        for lacking in
            [file(None, Some((at, Precision::Second))), file(Some(5), None), file(None, None)]
        {
            check(&whole, &lacking, Equality::Unknown);
            check(&lacking, &lacking, Equality::Unknown);
        }
        check(&whole, &file(Some(6), None), Equality::Different);
    }

    #[test]
    fn an_exact_time_that_moved_differs_and_a_coarse_one_is_unknown() {
        let (at, later) = (datetime!(2026-11-20 10:11:12 UTC), datetime!(2026-11-20 11:11:12 UTC));
        let exact = |at| file(Some(5), Some((at, Precision::Second)));
        let minute = |at| file(Some(5), Some((at, Precision::Minute)));
        check(&exact(at), &exact(later), Equality::Different);
        check(&exact(at), &minute(at), Equality::Same);
        check(&exact(at), &minute(later), Equality::Unknown);
        check(&minute(at), &minute(later), Equality::Unknown);
    }

    #[test]
    fn a_coarse_time_of_a_file_that_was_young_hides_a_replacement_once() {
        let listed = ModifiedTime::new(datetime!(2026-11-20 10:00 UTC), Precision::Minute);
        assert!(could_hide_a_replacement(&listed, datetime!(2026-11-20 10:00:40 UTC)));
        // A server that is five hours behind UTC.
        assert!(could_hide_a_replacement(&listed, datetime!(2026-11-20 15:00:40 UTC)));
        assert!(!could_hide_a_replacement(&listed, datetime!(2026-11-20 10:05 UTC)));
        assert!(!could_hide_a_replacement(&listed, datetime!(2026-11-29 10:00:30 UTC)));
        let day = ModifiedTime::new(datetime!(2026-11-20 0:00 UTC), Precision::Day);
        assert!(could_hide_a_replacement(&day, datetime!(2026-11-20 18:00 UTC)));
        let default = ModifiedTime::new(datetime!(1980-01-01 0:00 UTC), Precision::Second);
        assert!(could_hide_a_replacement(&default, datetime!(2026-11-20 18:00 UTC)));
        let future = ModifiedTime::new(datetime!(2100-01-01 0:00 UTC), Precision::Second);
        assert!(could_hide_a_replacement(&future, datetime!(2026-11-20 18:00 UTC)));
        let exact = ModifiedTime::new(datetime!(2026-11-20 10:00 UTC), Precision::Second);
        assert!(!could_hide_a_replacement(&exact, datetime!(2026-11-20 10:00:00.5 UTC)));
    }
}
