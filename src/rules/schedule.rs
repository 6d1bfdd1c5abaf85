//! When a source is due, beside the ticks of a timer. Pure.

use std::str::FromStr;
use std::time::Duration;

use croner::Cron;
use time::{OffsetDateTime, PrimitiveDateTime};

use crate::rules::time_zone::{Repeated, TimeZone};

/// How often a source is gone over.
#[derive(Clone, Debug)]
pub enum Schedule {
    /// Once in each span of this length; spans are counted from midnight of 1970-01-01 in UTC, so
    /// that `15m` means on the quarters of an hour.
    Every(Duration),
    /// At the times of a cron expression.
    Cron(Box<CronTimes>),
}

/// The times of a cron expression, as clocks of a time zone show them.
///
/// Where minute and hour are numbers, lists or ranges, each time comes once a day: one that clocks
/// leave out comes when they go on, one that they show twice comes at its first time. With a `*` or
/// a step in minute or hour the expression follows the clock: it is due whenever clocks show such a
/// time.
#[derive(Clone, Debug)]
pub struct CronTimes {
    cron: Cron,
    text: String,
    zone: TimeZone,
    follows_the_clock: bool,
}

/// Clocks go forward by 24 hours at most (where a country moves over the date line).
const LONGEST_JUMP: time::Duration = time::Duration::hours(25);

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

    /// At the times of `text`: five fields, minute first, as crontab(5) tells, in `zone`.
    pub fn cron(text: &str, zone: TimeZone) -> Result<Self, String> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, ..] = fields.as_slice() else { return Err(FIVE_FIELDS.to_owned()) };
        if fields.len() != 5 {
            return Err(FIVE_FIELDS.to_owned());
        }
        let cron =
            Cron::from_str(text).map_err(|error| format!("is no cron expression: {error}"))?;
        let follows_the_clock = [minute, hour].iter().any(|field| field.contains(['*', '?', '/']));
        let text = fields.join(" ");
        Ok(Self::Cron(Box::new(CronTimes { cron, text, zone, follows_the_clock })))
    }

    /// The last time at or before `now` at which the source was due; `None` if it never was.
    pub fn last_due(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        match self {
            Self::Every(span) => {
                let span = i64::try_from(span.as_secs()).ok().filter(|span| *span > 0)?;
                OffsetDateTime::from_unix_timestamp(now.unix_timestamp().div_euclid(span) * span)
                    .ok()
            }
            Self::Cron(times) => times.last_due(now),
        }
    }

    /// The next time after `now` at which the source is due; `None` if it never is again.
    pub fn next_due(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        match self {
            Self::Every(span) => {
                self.last_due(now)?.checked_add(time::Duration::try_from(*span).ok()?)
            }
            Self::Cron(times) => times.next_due(now),
        }
    }

    /// What a person should know of the next night in the year after `now` in which clocks leave
    /// out a time at which the source would be due.
    pub fn left_out(&self, now: OffsetDateTime) -> Option<String> {
        let Self::Cron(times) = self else { return None };
        let year = now.saturating_add(time::Duration::days(366));
        let gaps = times.zone.gaps(now, year);
        let gap = gaps.into_iter().find(|gap| times.is_due_between(gap.begin, gap.end))?;
        let clock = |time: time::Time| format!("{:02}:{:02}", time.hour(), time.minute());
        let then = if times.follows_the_clock {
            "is not due in that time".to_owned()
        } else {
            format!("is due at {} then", clock(gap.end.time()))
        };
        Some(format!(
            "on {} clocks in {} go from {} to {}: `{}` {then}",
            gap.begin.date(),
            times.zone,
            clock(gap.begin.time()),
            clock(gap.end.time()),
            times.text,
        ))
    }
}

const FIVE_FIELDS: &str = "has not five fields; allowed is `minute hour day month weekday`, as \
                           \"30 6 * * 1-5\"";

impl CronTimes {
    fn last_due(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        if self.follows_the_clock {
            let at = self.cron.find_previous_occurrence(&in_zone(now, self.zone)?, true).ok()?;
            return OffsetDateTime::from_unix_timestamp(at.timestamp()).ok();
        }
        let mut local = self.zone.local(now).checked_add(LONGEST_JUMP)?;
        loop {
            local = plain(self.cron.find_previous_occurrence(&as_utc(local)?, false).ok()?)?;
            let at = self.zone.instant(local, Repeated::First);
            if at <= now {
                return Some(at);
            }
        }
    }

    fn next_due(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        if self.follows_the_clock {
            let at = self.cron.find_next_occurrence(&in_zone(now, self.zone)?, false).ok()?;
            return OffsetDateTime::from_unix_timestamp(at.timestamp()).ok();
        }
        let mut local = self.zone.local(now).checked_sub(LONGEST_JUMP)?;
        loop {
            local = plain(self.cron.find_next_occurrence(&as_utc(local)?, false).ok()?)?;
            let at = self.zone.instant(local, Repeated::First);
            if at > now {
                return Some(at);
            }
        }
    }

    /// Whether a clock that shows every time would make it due from `begin` on and before `end`.
    fn is_due_between(&self, begin: PrimitiveDateTime, end: PrimitiveDateTime) -> bool {
        let next = as_utc(begin).and_then(|from| self.cron.find_next_occurrence(&from, true).ok());
        next.and_then(plain).is_some_and(|next| next < end)
    }
}

/// A local time, for arithmetic in which no clock jumps.
fn as_utc(local: PrimitiveDateTime) -> Option<chrono::DateTime<chrono::Utc>> {
    chrono::DateTime::from_timestamp(local.assume_utc().unix_timestamp(), 0)
}

fn plain(at: chrono::DateTime<chrono::Utc>) -> Option<PrimitiveDateTime> {
    let at = OffsetDateTime::from_unix_timestamp(at.timestamp()).ok()?;
    Some(PrimitiveDateTime::new(at.date(), at.time()))
}

fn in_zone(at: OffsetDateTime, zone: TimeZone) -> Option<chrono::DateTime<chrono_tz::Tz>> {
    Some(chrono::DateTime::from_timestamp(at.unix_timestamp(), 0)?.with_timezone(&zone.tz()))
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
        let workdays = Schedule::cron("30 6 * * 1-5", TimeZone::UTC).expect("cron");
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
        let either = Schedule::cron("0 0 1 * 0", TimeZone::UTC).expect("cron");
        check(
            &either,
            datetime!(2026-11-30 12:00 UTC),
            datetime!(2026-11-29 0:00 UTC),
            datetime!(2026-12-01 0:00 UTC),
        );
        for bad in ["", "every day", "61 * * * *", "* * * *", "0 * * * * *", "0 0 32 1 *"] {
            assert!(Schedule::cron(bad, TimeZone::UTC).is_err(), "{bad}");
        }
    }

    fn in_berlin(text: &str) -> Schedule {
        Schedule::cron(text, TimeZone::parse("Europe/Berlin").expect("a zone")).expect("cron")
    }

    /// Everything that is due after `from` and before `to`, by `next_due` and by `last_due`.
    fn due_between(text: &str, from: OffsetDateTime, to: OffsetDateTime) -> Vec<OffsetDateTime> {
        let schedule = in_berlin(text);
        let forward: Vec<_> =
            std::iter::successors(schedule.next_due(from), |at| schedule.next_due(*at))
                .take_while(|at| *at < to)
                .collect();
        let second = time::Duration::SECOND;
        let mut backward: Vec<_> = std::iter::successors(schedule.last_due(to - second), |at| {
            schedule.last_due(*at - second)
        })
        .take_while(|at| *at > from)
        .collect();
        backward.reverse();
        assert_eq!(forward, backward, "{text}");
        forward
    }

    #[test]
    fn seven_in_berlin_is_six_in_winter_and_five_in_summer() {
        let seven = in_berlin("0 7 * * *");
        check(
            &seven,
            datetime!(2026-11-23 6:00 UTC),
            datetime!(2026-11-23 6:00 UTC),
            datetime!(2026-11-24 6:00 UTC),
        );
        check(
            &seven,
            datetime!(2026-07-23 4:59 UTC),
            datetime!(2026-07-22 5:00 UTC),
            datetime!(2026-07-23 5:00 UTC),
        );
    }

    #[test]
    fn a_fixed_time_comes_once_in_the_nights_in_which_clocks_change() {
        // Clocks go from 02:00 to 03:00 at 01:00 UTC.
        let spring = (datetime!(2026-03-28 12:00 UTC), datetime!(2026-03-29 12:00 UTC));
        let end = datetime!(2026-03-29 1:00 UTC);
        assert_eq!(due_between("30 2 * * *", spring.0, spring.1), [end]);
        assert_eq!(due_between("0,30 2 * * *", spring.0, spring.1), [end]);
        assert_eq!(
            due_between("30 2,14 * * *", spring.0, spring.1),
            [datetime!(2026-03-28 13:30 UTC), end]
        );
        // And from 03:00 back to 02:00 at 01:00 UTC.
        let autumn = (datetime!(2026-10-24 12:00 UTC), datetime!(2026-10-25 12:00 UTC));
        let first = datetime!(2026-10-25 0:30 UTC);
        assert_eq!(due_between("30 2 * * *", autumn.0, autumn.1), [first]);
        assert_eq!(
            due_between("30 2-3 * * *", autumn.0, autumn.1),
            [first, datetime!(2026-10-25 2:30 UTC)]
        );
    }

    #[test]
    fn an_expression_with_a_star_follows_the_clock() {
        let hours = due_between(
            "0 * * * *",
            datetime!(2026-10-24 23:30 UTC),
            datetime!(2026-10-25 3:30 UTC),
        );
        assert_eq!(hours.len(), 4, "{hours:?}");
        let halves = due_between(
            "*/30 2 * * *",
            datetime!(2026-03-28 12:00 UTC),
            datetime!(2026-03-30 2:00 UTC),
        );
        assert_eq!(halves, [datetime!(2026-03-30 0:00 UTC), datetime!(2026-03-30 0:30 UTC)]);
    }

    #[test]
    fn hours_that_clocks_leave_out_are_told() {
        let now = datetime!(2026-11-23 10:00 UTC);
        let told = |text: &str| in_berlin(text).left_out(now);
        let night = "on 2027-03-28 clocks in Europe/Berlin go from 02:00 to 03:00:";
        assert_eq!(told("30 2 * * *"), Some(format!("{night} `30 2 * * *` is due at 03:00 then")));
        assert_eq!(
            told("*/20 2 * * *"),
            Some(format!("{night} `*/20 2 * * *` is not due in that time"))
        );
        assert_eq!(told("0 3 * * *"), None);
        assert_eq!(told("30 2 * * 1"), None);
        let utc = Schedule::cron("30 2 * * *", TimeZone::UTC).expect("cron");
        assert_eq!(utc.left_out(now), None);
    }
}
