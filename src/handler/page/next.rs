//! When a schedule of Azure Functions comes next, and when it came. Pure.
//!
//! Six fields: second, minute, hour, day of the month, month, day of the week (0 and 7 are Sunday);
//! each a `*`, a number, a name, a range, a list of these, each with a step; UTC. A day must fit
//! both of its fields. Five fields begin with the minute.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use time::{Duration, OffsetDateTime};

use crate::rules::schedule::Schedule;

/// The least time without a run after which a source may count as silent, whatever its schedule.
const SILENT: Duration = Duration::hours(3);
/// A look at a source may begin so long before the time at which it was due: clocks differ.
const EARLY: Duration = Duration::minutes(1);
/// Names of months and days; the host reads longer ones by their first three letters.
const NAMES: [&str; 19] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec", "sun",
    "mon", "tue", "wed", "thu", "fri", "sat",
];

/// The first time after `now` at which `schedule` comes; `None` if it cannot be read, or never
/// comes.
pub fn next(schedule: &str, now: OffsetDateTime) -> Option<OffsetDateTime> {
    let next = cron(schedule)?.find_next_occurrence(&in_chrono(now)?, false).ok()?;
    OffsetDateTime::from_unix_timestamp(next.timestamp()).ok()
}

/// The last time up to `now` at which `schedule` came; `None` if it cannot be read, or never came.
fn last(schedule: &str, now: OffsetDateTime) -> Option<OffsetDateTime> {
    let last = cron(schedule)?.find_previous_occurrence(&in_chrono(now)?, true).ok()?;
    OffsetDateTime::from_unix_timestamp(last.timestamp()).ok()
}

/// The last time but one up to `now` at which a source was to be gone over: it is due by its `own`
/// schedule, and gone over at the next tick of `schedule`; without one of its own, at each tick.
pub(crate) fn last_but_one(
    schedule: &str,
    own: Option<&Schedule>,
    now: OffsetDateTime,
) -> Option<OffsetDateTime> {
    let up_to = |at: OffsetDateTime| {
        let tick = last(schedule, at)?;
        match own {
            None => Some(tick),
            Some(own) => next(schedule, own.last_due(tick)? - Duration::SECOND),
        }
    };
    up_to(up_to(now)? - Duration::SECOND)
}

/// How long it is from one look at a source to the next, where that is the same all the time:
/// `None` for a schedule of weekdays or of some hours, and for a source with a cron expression.
pub(crate) fn every(
    schedule: &str,
    own: Option<&Schedule>,
    now: OffsetDateTime,
) -> Option<Duration> {
    let ticks = span(schedule, now)?;
    match own {
        None => Some(ticks),
        Some(Schedule::Every(own)) => Some(ticks.max(Duration::try_from(*own).ok()?)),
        Some(Schedule::Cron(_)) => None,
    }
}

/// The time between two ticks, where it is always the same.
fn span(schedule: &str, now: OffsetDateTime) -> Option<Duration> {
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    // Six fields, second first, or five.
    let (second, rest) = match fields.as_slice() {
        [second, rest @ ..] if rest.len() == 5 => (*second, rest),
        five => ("0", five),
    };
    let [_, hour, day, month, weekday] = rest else { return None };
    let comes_daily = [day, month, weekday].iter().all(|field| **field == "*");
    if !comes_daily || !second.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // What comes in each hour is the same in all of them, what comes each day in all days.
    let window = if *hour == "*" { Duration::HOUR } else { Duration::DAY };
    let mut at = next(schedule, now)?;
    let (end, first) = (at + window, next(schedule, at)? - at);
    while at < end {
        let following = next(schedule, at)?;
        if following - at != first {
            return None;
        }
        at = following;
    }
    Some(first)
}

/// Whether a source is silent: its last run began more than [`SILENT`] ago and before the last time
/// but one at which it was due. Without a known schedule the time alone decides.
pub(crate) fn is_silent(
    looked: OffsetDateTime,
    last_but_one: Option<OffsetDateTime>,
    now: OffsetDateTime,
) -> bool {
    now - looked > SILENT && last_but_one.is_none_or(|due| looked + EARLY < due)
}

fn cron(schedule: &str) -> Option<Cron> {
    let parser = CronParser::builder()
        .seconds(Seconds::Optional)
        .year(Year::Disallowed)
        .dom_and_dow(true)
        // `5/20` is every twentieth from the fifth.
        .sloppy_ranges(true)
        .build();
    parser.parse(&with_short_names(schedule)?).ok()
}

fn in_chrono(at: OffsetDateTime) -> Option<chrono::DateTime<chrono::Utc>> {
    chrono::DateTime::from_timestamp(at.unix_timestamp(), at.nanosecond())
}

/// `schedule` with each name in three letters; `None` where it holds a sign that the parser knows
/// and the host does not (`L`, `W`, `#`, `?`).
fn with_short_names(schedule: &str) -> Option<String> {
    let mut short = String::with_capacity(schedule.len());
    let mut rest = schedule;
    while let Some(sign) = rest.chars().next() {
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        if letters > 0 {
            let name = rest.get(..3.min(letters))?.to_ascii_lowercase();
            short.push_str(NAMES.iter().find(|known| **known == name)?);
            rest = &rest[letters..];
        } else if sign == '/' && short.ends_with([' ', ',', '/']) {
            return None;
        } else if sign.is_ascii_digit() || " */,-".contains(sign) {
            short.push(sign);
            rest = &rest[1..];
        } else {
            return None;
        }
    }
    Some(short)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use time::macros::datetime;

    fn check(schedule: &str, expected: Option<OffsetDateTime>) {
        // A Monday.
        assert_eq!(next(schedule, datetime!(2026-11-23 10:07:30.5 UTC)), expected, "{schedule}");
    }

    #[test]
    fn schedules_of_the_functions_host_are_read() {
        check("0 0 * * * *", Some(datetime!(2026-11-23 11:00 UTC)));
        check("0 */5 * * * *", Some(datetime!(2026-11-23 10:10 UTC)));
        check("30 7 10 * * *", Some(datetime!(2026-11-24 10:07:30 UTC)));
        check("31 7 10 * * *", Some(datetime!(2026-11-23 10:07:31 UTC)));
        check("0 30 9 * * Mon-Fri", Some(datetime!(2026-11-24 9:30 UTC)));
        check("0 30 9 * Jan,Mar 7", Some(datetime!(2027-01-03 9:30 UTC)));
        check("0 5/20 0-6/3 1 * *", Some(datetime!(2026-12-01 0:05 UTC)));
        check("0 0 0 29 2 *", Some(datetime!(2028-02-29 0:00 UTC)));
        check("15 6 * * *", Some(datetime!(2026-11-24 6:15 UTC)));
        check("0 30 9 * * Monday", Some(datetime!(2026-11-30 9:30 UTC)));
        check("0 0 0 1 * Tuesday", Some(datetime!(2026-12-01 0:00 UTC)));
        check("0 0 0 31 2 *", None);
        for bad in [
            "",
            "* * *",
            "0 60 * * * *",
            "0 0 24 * * *",
            "0 0 * * * 8",
            "0 */0 * * * *",
            "0 0 * * Foo *",
            "0 0 9-5 * * *",
            "0 /5 9 * * *",
            "0 0 9 L * *",
            "0 0 9 15W * *",
            "0 0 9 * * 1#2",
            "01:00:00",
            "%X%",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn a_source_that_is_due_once_a_day_is_silent_after_two_days_and_not_each_night() {
        let looked = datetime!(2026-11-23 6:00:02 UTC);
        let (daily, hourly) = (Some("0 0 6 * * *"), Some("0 0 * * * *"));
        for (schedule, hours, expected) in [
            (daily, 20, false),
            (daily, 23, false),
            (daily, 47, false),
            (daily, 49, true),
            (hourly, 2, false),
            (hourly, 4, true),
            (None, 2, false),
            (None, 4, true),
        ] {
            let now = looked + Duration::hours(hours);
            let due = schedule.and_then(|schedule| last_but_one(schedule, None, now));
            assert_eq!(is_silent(looked, due, now), expected, "{schedule:?} after {hours} hours");
        }
    }

    #[test]
    fn a_span_is_told_where_it_is_always_the_same() {
        let now = datetime!(2026-11-23 10:07:30.5 UTC);
        let half_hours = Schedule::every(std::time::Duration::from_secs(1_800)).expect("a span");
        for (schedule, own, minutes) in [
            ("0 0 * * * *", None, Some(60)),
            ("*/5 * * * *", None, Some(5)),
            ("0 */7 * * * *", None, None),
            ("0 0 */6 * * *", None, Some(360)),
            ("0 0 6-20 * * *", None, None),
            ("0 30 9 * * *", None, Some(1_440)),
            ("0 30 9 * * Mon-Fri", None, None),
            ("*/10 * * * * *", None, None),
            ("no schedule", None, None),
            ("0 */5 * * * *", Some(&half_hours), Some(30)),
            ("0 0 * * * *", Some(&half_hours), Some(60)),
        ] {
            let told = every(schedule, own, now).map(|span| span.whole_minutes());
            assert_eq!(told, minutes, "{schedule} {own:?}");
        }
    }

    #[test]
    fn a_source_was_due_at_the_times_before() {
        let now = datetime!(2026-11-23 10:07:30.5 UTC);
        let hourly = "0 0 * * * *";
        let own = |text: &str| {
            Some(Schedule::cron(text, crate::rules::time_zone::TimeZone::UTC).expect("a schedule"))
        };
        let quarters = Some(Schedule::every(std::time::Duration::from_secs(900)).expect("a span"));
        for (schedule, own, expected) in [
            (hourly, None, Some(datetime!(2026-11-23 9:00 UTC))),
            ("0 0 6 * * *", None, Some(datetime!(2026-11-22 6:00 UTC))),
            ("0 0 6 * * Mon-Fri", None, Some(datetime!(2026-11-20 6:00 UTC))),
            // Due at half past six, gone over at seven.
            (hourly, own("30 6 * * *"), Some(datetime!(2026-11-22 7:00 UTC))),
            // Due at five past ten, and the next tick is to come.
            (hourly, own("5 10 * * *"), Some(datetime!(2026-11-21 11:00 UTC))),
            (hourly, quarters, Some(datetime!(2026-11-23 9:00 UTC))),
            ("no schedule", None, None),
        ] {
            assert_eq!(last_but_one(schedule, own.as_ref(), now), expected, "{schedule} {own:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_comes_next_is_later(text in r"[0-9*/,\-a-zA-Z ]{0,40}",
            at in 0i64..4_102_444_800) {
            let now = OffsetDateTime::from_unix_timestamp(at).expect("a time");
            prop_assert!(next(&text, now).is_none_or(|next| next > now));
            prop_assert!(next("*/7 */11 * * * *",
                now).is_some_and(|next| next > now && next - now < Duration::minutes(61)));
        }
    }
}
