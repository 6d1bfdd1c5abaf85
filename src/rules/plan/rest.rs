//! At rest: what a file's time proves of it, and what it does not.

use std::time::Duration;

use time::OffsetDateTime;

use crate::model::ModifiedTime;
use crate::rules::equality::{is_exact, is_plausible};

/// What a file's time says of its rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Whatever the server's zone, it was last written a day ago or earlier.
    Proven,
    /// It may have been written a moment ago, in some zone.
    Young,
    /// Nothing: there is no time, or it cannot be true.
    Nothing,
}

/// How a time was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeTold {
    /// In UTC by the protocol: SFTP attributes, MLSD, a file system.
    Exactly,
    /// By LIST, or by MDTM, which many servers answer in local time.
    InSomeZone,
}

/// A zone's offset and half a day of a wrong clock.
const EXACT_AGE: time::Duration = time::Duration::hours(26);
/// The same where the zone may be any, in both directions.
const SOME_ZONE_AGE: time::Duration = time::Duration::hours(40);

/// What `modified` says at `now`, by our clock.
pub fn rest(modified: Option<&ModifiedTime>, told: TimeTold, now: OffsetDateTime) -> Rest {
    let Some(modified) = modified else { return Rest::Nothing };
    if !is_plausible(modified) || modified.at > now {
        return Rest::Nothing;
    }
    let limit =
        if told == TimeTold::Exactly && is_exact(modified) { EXACT_AGE } else { SOME_ZONE_AGE };
    if now - youngest(modified) >= limit { Rest::Proven } else { Rest::Young }
}

/// A time stands for its whole step: the file may be that much younger.
fn youngest(modified: &ModifiedTime) -> OffsetDateTime {
    let step = i64::try_from(modified.precision.nanoseconds()).unwrap_or(i64::MAX);
    modified.at.saturating_add(time::Duration::nanoseconds(step))
}

/// The source's clock, as well as we know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Our own time.
    pub here: OffsetDateTime,
    /// The newest modified time that the source has shown: its clock is at least there.
    pub newest: Option<OffsetDateTime>,
}

impl Clock {
    /// Whether a file modified at `modified` has rested for `stable_for`: by its age whatever the
    /// zone, else by what the source's own clock has shown. Our clock alone proves nothing of a
    /// younger file.
    pub fn settled(&self, modified: &ModifiedTime, told: TimeTold, stable_for: Duration) -> bool {
        match rest(Some(modified), told, self.here) {
            Rest::Proven => true,
            Rest::Nothing => false,
            Rest::Young => {
                let stable_for =
                    time::Duration::try_from(stable_for).unwrap_or(time::Duration::MAX);
                // A file from the future is no witness of the source's clock.
                let witness = self.newest.filter(|newest| *newest <= self.here);
                is_exact(modified)
                    && witness
                        .is_some_and(|clock| youngest(modified).saturating_add(stable_for) <= clock)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Precision;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);

    fn check(hours: i64, precision: Precision, told: TimeTold, expected: Rest) {
        let modified = ModifiedTime::new(NOW - time::Duration::hours(hours), precision);
        assert_eq!(
            rest(Some(&modified), told, NOW),
            expected,
            "{hours} hours, {precision:?}, {told:?}"
        );
    }

    #[test]
    fn age_proves_rest_only_beyond_every_zone() {
        check(27, Precision::Second, TimeTold::Exactly, Rest::Proven);
        check(25, Precision::Second, TimeTold::Exactly, Rest::Young);
        check(27, Precision::Second, TimeTold::InSomeZone, Rest::Young);
        check(41, Precision::Second, TimeTold::InSomeZone, Rest::Proven);
        check(41, Precision::Minute, TimeTold::Exactly, Rest::Proven);
        check(39, Precision::Minute, TimeTold::Exactly, Rest::Young);
    }

    #[test]
    fn times_that_cannot_be_prove_nothing() {
        check(-1, Precision::Second, TimeTold::Exactly, Rest::Nothing);
        check(24 * 365 * 40, Precision::Second, TimeTold::Exactly, Rest::Nothing);
        assert_eq!(rest(None, TimeTold::Exactly, NOW), Rest::Nothing);
    }

    #[test]
    fn our_own_clock_does_not_make_a_young_file_settled() {
        let modified = ModifiedTime::new(NOW - time::Duration::hours(5), Precision::Second);
        let settled = |newest| {
            Clock { here: NOW, newest }.settled(
                &modified,
                TimeTold::Exactly,
                Duration::from_secs(60),
            )
        };
        assert!(!settled(None));
        assert!(settled(Some(modified.at + time::Duration::seconds(61))));
        assert!(!settled(Some(NOW + time::Duration::seconds(61))), "nobody's clock");
    }
}
