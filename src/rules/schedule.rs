//! When a source is due, beside the ticks of a timer. Pure.

use std::str::FromStr;
use std::time::Duration;

use croner::Cron;
use time::OffsetDateTime;

/// How often a source is gone over. All times are UTC.
#[derive(Clone, Debug)]
pub enum Schedule {
    /// Once in each span of this length; spans are counted from midnight of 1970-01-01, so that
    /// `15m` means on the quarters of an hour.
    Every(Duration),
    /// At the times of a cron expression.
    Cron(Box<Cron>),
}

impl Schedule {
    /// Every `span`: at least a minute, at most 366 days.
    pub fn every(span: Duration) -> Result<Self, &'static str> {
        let allowed = Duration::from_secs(60)..=Duration::from_secs(366 * 86_400);
        if allowed.contains(&span) {
            Ok(Self::Every(span))
        } else {
            Err("is out of range; allowed is \"1m\" to \"366d\"")
        }
    }

    /// At the times of `text`: five fields, minute first, as crontab(5) tells, in UTC.
    pub fn cron(text: &str) -> Result<Self, String> {
        if text.split_whitespace().count() != 5 {
            return Err(
                "has not five fields; allowed is `minute hour day month weekday`, as \"30 6 \
                * * 1-5\""
                    .to_owned(),
            );
        }
        let cron =
            Cron::from_str(text).map_err(|error| format!("is no cron expression: {error}"))?;
        Ok(Self::Cron(Box::new(cron)))
    }

    /// The last time at or before `now` at which the source was due; `None` if it never was.
    pub fn last_due(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        match self {
            Self::Every(span) => {
                let span = i64::try_from(span.as_secs()).ok().filter(|span| *span > 0)?;
                OffsetDateTime::from_unix_timestamp(now.unix_timestamp().div_euclid(span) * span)
                    .ok()
            }
            Self::Cron(cron) => utc(cron.find_previous_occurrence(&chrono(now)?, true).ok()?),
        }
    }

    /// The next time after `now` at which the source is due; `None` if it never is again.
    pub fn next_due(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        match self {
            Self::Every(span) => {
                self.last_due(now)?.checked_add(time::Duration::try_from(*span).ok()?)
            }
            Self::Cron(cron) => utc(cron.find_next_occurrence(&chrono(now)?, false).ok()?),
        }
    }
}

fn chrono(at: OffsetDateTime) -> Option<chrono::DateTime<chrono::Utc>> {
    chrono::DateTime::from_timestamp(at.unix_timestamp(), 0)
}

fn utc(at: chrono::DateTime<chrono::Utc>) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(at.timestamp()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    fn check(schedule: &Schedule, now: OffsetDateTime, last: OffsetDateTime, next: OffsetDateTime) {
        assert_eq!(
            (schedule.last_due(now), schedule.next_due(now)),
            (Some(last), Some(next)),
            "{schedule:?} at {now}"
        );
    }

    #[test]
    fn every_quarter_means_on_the_quarters() {
        let quarters = Schedule::every(Duration::from_secs(900)).expect("allowed");
        check(
            &quarters,
            datetime!(2026-11-23 10:14:59 UTC),
            datetime!(2026-11-23 10:00 UTC),
            datetime!(2026-11-23 10:15 UTC),
        );
        check(
            &quarters,
            datetime!(2026-11-23 10:15 UTC),
            datetime!(2026-11-23 10:15 UTC),
            datetime!(2026-11-23 10:30 UTC),
        );
        let days = Schedule::every(Duration::from_secs(86_400)).expect("allowed");
        check(
            &days,
            datetime!(2026-11-23 10:15 UTC),
            datetime!(2026-11-23 0:00 UTC),
            datetime!(2026-11-24 0:00 UTC),
        );
        assert!(
            Schedule::every(Duration::from_secs(59)).is_err()
                && Schedule::every(Duration::from_secs(367 * 86_400)).is_err()
        );
    }

    #[test]
    fn cron_expressions_are_read_as_crontab_reads_them() {
        let workdays = Schedule::cron("30 6 * * 1-5").expect("cron");
        // 2026-11-23 is a Monday.
        check(
            &workdays,
            datetime!(2026-11-23 6:29:59 UTC),
            datetime!(2026-11-20 6:30 UTC),
            datetime!(2026-11-23 6:30 UTC),
        );
        check(
            &workdays,
            datetime!(2026-11-23 6:30 UTC),
            datetime!(2026-11-23 6:30 UTC),
            datetime!(2026-11-24 6:30 UTC),
        );
        // Day and weekday both named: either will do.
        let either = Schedule::cron("0 0 1 * 0").expect("cron");
        check(
            &either,
            datetime!(2026-11-30 12:00 UTC),
            datetime!(2026-11-29 0:00 UTC),
            datetime!(2026-12-01 0:00 UTC),
        );
        for bad in ["", "every day", "61 * * * *", "* * * *", "0 * * * * *", "0 0 32 1 *"] {
            assert!(Schedule::cron(bad).is_err(), "{bad}");
        }
    }
}
