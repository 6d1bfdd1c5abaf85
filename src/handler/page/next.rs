//! When a schedule of Azure Functions comes next. Pure.
//!
//! Six fields: second, minute, hour, day of the month, month, day of the week (0 and 7 are Sunday);
//! each a `*`, a number, a name, a range, a list of these, each with a step; UTC. A day must fit
//! both of its fields. Five fields begin with the minute.

use croner::parser::{CronParser, Seconds, Year};
use time::OffsetDateTime;

/// Names of months and days; the host reads longer ones by their first three letters.
const NAMES: [&str; 19] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec", "sun",
    "mon", "tue", "wed", "thu", "fri", "sat",
];

/// The first time after `now` at which `schedule` comes; `None` if it cannot be read, or never
/// comes.
pub fn next(schedule: &str, now: OffsetDateTime) -> Option<OffsetDateTime> {
    let parser = CronParser::builder()
        .seconds(Seconds::Optional)
        .year(Year::Disallowed)
        .dom_and_dow(true)
        // `5/20` is every twentieth from the fifth.
        .sloppy_ranges(true)
        .build();
    let cron = parser.parse(&with_short_names(schedule)?).ok()?;
    let now = chrono::DateTime::from_timestamp(now.unix_timestamp(), now.nanosecond())?;
    let next = cron.find_next_occurrence(&now, false).ok()?;
    OffsetDateTime::from_unix_timestamp(next.timestamp()).ok()
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
    use time::Duration;
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
