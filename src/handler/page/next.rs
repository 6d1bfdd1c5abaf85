//! When a schedule of Azure Functions comes next. Pure.
//!
//! Six fields: second, minute, hour, day of the month, month, day of the week (0 and 7 are Sunday);
//! each a `*`, a number, a name, a range, a list of these, each with a step; UTC. A day must fit
//! both of its fields.

use time::{Date, Duration, OffsetDateTime, Time, UtcOffset};

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// Leap days come back within eight years.
const DAYS_AHEAD: u32 = 8 * 366;

/// The first time after `now` at which `schedule` comes; `None` if it cannot be read, or never
/// comes.
pub fn next(schedule: &str, now: OffsetDateTime) -> Option<OffsetDateTime> {
    let fields: Vec<&str> = schedule.split_ascii_whitespace().collect();
    let fields = match fields.as_slice() {
        [minute, hour, day, month, weekday] => ["0", minute, hour, day, month, weekday],
        [second, minute, hour, day, month, weekday] => [*second, minute, hour, day, month, weekday],
        _ => return None,
    };
    let [seconds, minutes, hours] = [(fields[0], 59), (fields[1], 59), (fields[2], 23)]
        .map(|(text, last)| field(text, 0, last, &[]));
    let (seconds, minutes, hours) = (seconds?, minutes?, hours?);
    let (days, months, weekdays) = (
        field(fields[3], 1, 31, &[])?,
        field(fields[4], 1, 12, &MONTHS)?,
        field(fields[5], 0, 7, &DAYS)?,
    );
    let fits = |date: Date| {
        let weekday = date.weekday().number_days_from_sunday();
        let is_weekday = weekdays.contains(&weekday) || (weekday == 0 && weekdays.contains(&7));
        days.contains(&date.day()) && months.contains(&u8::from(date.month())) && is_weekday
    };
    let now = now.to_offset(UtcOffset::UTC);
    let mut date = now.date();
    for ahead in 0..DAYS_AHEAD {
        if fits(date) {
            let after = (ahead == 0).then(|| now.time());
            if let Some(time) = first(&hours, &minutes, &seconds, after) {
                return Some(date.with_time(time).assume_utc());
            }
        }
        date = date.checked_add(Duration::DAY)?;
    }
    None
}

/// The first time of a day, later than `after`.
fn first(hours: &[u8], minutes: &[u8], seconds: &[u8], after: Option<Time>) -> Option<Time> {
    let later = |time: &Time| after.is_none_or(|after| *time > after);
    let from = after.map_or(0, Time::hour);
    hours.iter().filter(|hour| **hour >= from).find_map(|hour| {
        let of_hour = minutes.iter().flat_map(|minute| {
            seconds.iter().filter_map(|second| Time::from_hms(*hour, *minute, *second).ok())
        });
        of_hour.into_iter().find(later)
    })
}

/// The values of a field, in order.
fn field(text: &str, first: u8, last: u8, names: &[&str]) -> Option<Vec<u8>> {
    let number = |text: &str| match names
        .iter()
        .position(|name| text.len() >= 3 && text.to_ascii_lowercase().starts_with(name))
    {
        Some(at) => u8::try_from(at).ok()?.checked_add(first),
        None => text.parse().ok().filter(|value| (first..=last).contains(value)),
    };
    let mut values = Vec::new();
    for part in text.split(',') {
        let (range, step) = part.split_once('/').map_or(Some((part, 1)), |(range, step)| {
            Some((range, step.parse().ok().filter(|step| *step > 0)?))
        })?;
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (first, last),
            Some((from, to)) => (number(from)?, number(to)?),
            // `5/15` is every fifteenth from the fifth.
            None if part.contains('/') => (number(range)?, last),
            None => (number(range)?, number(range)?),
        };
        values.extend((from..=to).step_by(step));
    }
    values.sort_unstable();
    values.dedup();
    (!values.is_empty()).then_some(values)
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
            "01:00:00",
            "%X%",
        ] {
            check(bad, None);
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_comes_next_is_later(text in r"[0-9*/,\-a-zA-Z ]{0,40}", at in 0i64..4_102_444_800) {
            let now = OffsetDateTime::from_unix_timestamp(at).expect("a time");
            prop_assert!(next(&text, now).is_none_or(|next| next > now));
            prop_assert!(next("*/7 */11 * * * *", now).is_some_and(|next| next > now && next - now < Duration::minutes(61)));
        }
    }
}
