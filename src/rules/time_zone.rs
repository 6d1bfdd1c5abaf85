//! Time zones by their IANA names: instants to local times and back. Pure.

use std::fmt;

use chrono::{NaiveDateTime, Offset, TimeZone as _};
use chrono_tz::{GapInfo, TZ_VARIANTS, Tz};
use time::{OffsetDateTime, PrimitiveDateTime, UtcOffset};

use crate::model::printable;
use crate::rules::windows_zones::WINDOWS_ZONES;
use crate::settings::closest;

/// A time zone, with its rules for daylight saving.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimeZone(Tz);

/// Which instant is meant by a local time that comes twice, when clocks go back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeated {
    /// The first one, before clocks go back.
    First,
    /// The second one.
    Second,
}

/// Local times that clocks leave out when they go forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClockGap {
    /// The first of them.
    pub begin: PrimitiveDateTime,
    /// The first time that clocks show again.
    pub end: PrimitiveDateTime,
}

const SECONDS_OF_DAY: i64 = 86_400;

impl TimeZone {
    /// Universal time.
    pub const UTC: TimeZone = TimeZone(Tz::UTC);

    /// The zone of this IANA name, as `Europe/Berlin`. The error says what is allowed and, where
    /// the name is one of Windows or misspelled, which was meant.
    pub fn parse(name: &str) -> Result<Self, String> {
        if let Some(tz) = TZ_VARIANTS.iter().find(|tz| tz.name() == name) {
            return Ok(Self(*tz));
        }
        let shown = printable(name.as_bytes());
        let allowed = "allowed are IANA names as \"Europe/Berlin\"";
        if let Some((_, meant)) =
            WINDOWS_ZONES.iter().find(|(windows, _)| windows.eq_ignore_ascii_case(name.trim()))
        {
            return Err(format!(
                "is \"{shown}\", a time zone's name in Windows; {allowed}; for this one write \
                 \"{meant}\""
            ));
        }
        Err(match likely(name) {
            Some(meant) => {
                format!("is \"{shown}\", no time zone; {allowed}; did you mean \"{meant}\"?")
            }
            None => format!("is \"{shown}\", no time zone; {allowed} or \"UTC\""),
        })
    }

    /// Its IANA name.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// The time that clocks of the zone show at `at`.
    pub fn local(self, at: OffsetDateTime) -> PrimitiveDateTime {
        let at = at.to_offset(UtcOffset::UTC);
        let utc = PrimitiveDateTime::new(at.date(), at.time());
        let offset = self.0.offset_from_utc_datetime(&to_chrono(utc)).fix().local_minus_utc();
        utc.saturating_add(time::Duration::seconds(offset.into()))
    }

    /// The instant at which clocks of the zone show `local`. A time that clocks leave out when they
    /// go forward is the first instant after that; of a time that comes twice, `repeated` is meant.
    pub(crate) fn instant(self, local: PrimitiveDateTime, repeated: Repeated) -> OffsetDateTime {
        let naive = to_chrono(local);
        let found = self.0.from_local_datetime(&naive);
        let found = match repeated {
            Repeated::First => found.earliest(),
            Repeated::Second => found.latest(),
        };
        let found =
            found.or_else(|| GapInfo::new(&naive, &self.0).and_then(|gap: GapInfo| gap.end));
        let from_unix = |at: chrono::DateTime<Tz>| {
            let nanos = i128::from(at.timestamp()) * 1_000_000_000
                + i128::from(at.timestamp_subsec_nanos());
            OffsetDateTime::from_unix_timestamp_nanos(nanos).ok()
        };
        // Only where the calendar ends there is no such instant.
        found.and_then(from_unix).unwrap_or_else(|| local.assume_utc())
    }

    /// When clocks go forward from `from` on and before `to`.
    pub(crate) fn gaps(self, from: OffsetDateTime, to: OffsetDateTime) -> Vec<ClockGap> {
        let (mut gaps, mut at) = (Vec::new(), from.unix_timestamp());
        while at < to.unix_timestamp() {
            let next = (at + SECONDS_OF_DAY).min(to.unix_timestamp());
            let (before, after) = (self.offset_at(at), self.offset_at(next));
            if after > before {
                let (mut old, mut new) = (at, next);
                while new - old > 1 {
                    let middle = old + (new - old) / 2;
                    let side = if self.offset_at(middle) == before { &mut old } else { &mut new };
                    *side = middle;
                }
                let shown = |offset: i64| {
                    let local = OffsetDateTime::from_unix_timestamp(new + offset).ok()?;
                    Some(PrimitiveDateTime::new(local.date(), local.time()))
                };
                let gap = shown(before).zip(shown(after));
                gaps.extend(gap.map(|(begin, end)| ClockGap { begin, end }));
            }
            at = next;
        }
        gaps
    }

    /// Seconds that clocks are ahead of UTC.
    fn offset_at(self, unix: i64) -> i64 {
        let at = chrono::DateTime::from_timestamp(unix, 0).unwrap_or_default().naive_utc();
        self.0.offset_from_utc_datetime(&at).fix().local_minus_utc().into()
    }

    /// The zone as `chrono` has it, for cron expressions.
    pub(super) fn tz(self) -> Tz {
        self.0
    }
}

impl Default for TimeZone {
    fn default() -> Self {
        Self::UTC
    }
}

impl fmt::Display for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn to_chrono(local: PrimitiveDateTime) -> NaiveDateTime {
    let utc = local.assume_utc();
    chrono::DateTime::from_timestamp(utc.unix_timestamp(), utc.nanosecond())
        .unwrap_or_default()
        .naive_utc()
}

/// The name that was most likely meant.
fn likely(name: &str) -> Option<&'static str> {
    let names: Vec<&'static str> = TZ_VARIANTS.iter().map(|tz| tz.name()).collect();
    let city = |full: &&&'static str| {
        full.rsplit('/').next().is_some_and(|city| city.eq_ignore_ascii_case(name))
    };
    if let Some(meant) = fixed_offset(name) {
        return names.iter().find(|full| **full == meant).copied();
    }
    let spaced = name.trim().replace(' ', "_");
    names
        .iter()
        .find(|full| full.eq_ignore_ascii_case(&spaced))
        .or_else(|| ABBREVIATIONS.iter().find(|(short, _)| *short == name).map(|(_, full)| full))
        .or_else(|| names.iter().find(city))
        .copied()
        .or_else(|| closest(&spaced, &names))
}

/// What people write for a zone, and it is none of its names.
const ABBREVIATIONS: &[(&str, &str)] = &[
    ("Z", "UTC"),
    ("BST", "Europe/London"),
    ("CEST", "Europe/Berlin"),
    ("EEST", "Europe/Athens"),
    ("MESZ", "Europe/Berlin"),
    ("MEZ", "Europe/Berlin"),
    ("PST", "America/Los_Angeles"),
    ("PDT", "America/Los_Angeles"),
    ("MDT", "America/Denver"),
    ("CST", "America/Chicago"),
    ("CDT", "America/Chicago"),
    ("EDT", "America/New_York"),
    ("JST", "Asia/Tokyo"),
    ("IST", "Asia/Kolkata"),
    ("AEST", "Australia/Sydney"),
    ("AEDT", "Australia/Sydney"),
];

/// `+02:00`, `UTC+2`, `GMT-5`: whole hours are zones whose names have the sign turned round.
fn fixed_offset(name: &str) -> Option<String> {
    let name = name.trim();
    let rest = ["UTC", "GMT"].iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    let (sign, digits) = match rest.as_bytes().first()? {
        b'+' => ('-', &rest[1..]),
        b'-' => ('+', &rest[1..]),
        _ => return None,
    };
    let hours = digits.strip_suffix(":00").unwrap_or(digits);
    let hours: u8 = hours.parse().ok()?;
    Some(if hours == 0 { "UTC".to_owned() } else { format!("Etc/GMT{sign}{hours}") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    fn zone(name: &str) -> TimeZone {
        TimeZone::parse(name).expect("it is a zone")
    }

    fn check(name: &str, local: PrimitiveDateTime, first: OffsetDateTime, second: OffsetDateTime) {
        let found =
            [Repeated::First, Repeated::Second].map(|which| zone(name).instant(local, which));
        assert_eq!(found, [first, second], "{local} in {name}");
    }

    #[test]
    fn summer_and_winter_have_offsets_of_their_own() {
        let berlin = zone("Europe/Berlin");
        assert_eq!(berlin.local(datetime!(2026-07-01 10:00 UTC)), datetime!(2026-07-01 12:00));
        assert_eq!(berlin.local(datetime!(2026-12-31 23:30 UTC)), datetime!(2027-01-01 00:30));
        assert_eq!(berlin.local(datetime!(2026-12-31 23:30 -5)), datetime!(2027-01-01 05:30));
        let summer = datetime!(2026-07-01 10:00 UTC);
        check("Europe/Berlin", datetime!(2026-07-01 12:00), summer, summer);
        assert_eq!(TimeZone::default().local(summer), datetime!(2026-07-01 10:00));
    }

    #[test]
    fn a_time_that_clocks_leave_out_is_the_first_instant_after_the_gap() {
        let end = datetime!(2026-03-29 1:00 UTC);
        for local in [datetime!(2026-03-29 2:00), datetime!(2026-03-29 2:30:15)] {
            check("Europe/Berlin", local, end, end);
        }
        check("Europe/Berlin", datetime!(2026-03-29 3:00), end, end);
        // Half an hour on Lord Howe Island; a day in Samoa.
        let end = datetime!(2026-10-03 15:30 UTC);
        check("Australia/Lord_Howe", datetime!(2026-10-04 2:29), end, end);
        let end = datetime!(2011-12-30 10:00 UTC);
        check("Pacific/Apia", datetime!(2011-12-30 12:00), end, end);
        check("Pacific/Apia", datetime!(2011-12-31 0:00), end, end);
    }

    #[test]
    fn of_a_time_that_comes_twice_the_caller_says_which_is_meant() {
        check(
            "Europe/Berlin",
            datetime!(2026-10-25 2:30),
            datetime!(2026-10-25 0:30 UTC),
            datetime!(2026-10-25 1:30 UTC),
        );
        check(
            "Africa/Casablanca",
            datetime!(2026-02-15 2:30),
            datetime!(2026-02-15 1:30 UTC),
            datetime!(2026-02-15 2:30 UTC),
        );
    }

    fn refused(name: &str, expected: &str) {
        let error = TimeZone::parse(name).expect_err("it is refused");
        assert!(error.ends_with(expected), "{name}: {error}");
        assert!(error.contains("allowed are IANA names"), "{error}");
    }

    #[test]
    fn a_windows_name_is_refused_with_the_iana_one() {
        refused(
            "W. Europe Standard Time",
            "is \"W. Europe Standard Time\", a time zone's name in Windows; allowed are IANA \
             names as \"Europe/Berlin\"; for this one write \"Europe/Berlin\"",
        );
        refused("pacific standard time", "write \"America/Los_Angeles\"");
        for (windows, iana) in WINDOWS_ZONES {
            assert!(TimeZone::parse(windows).is_err(), "{windows}");
            assert_eq!(TimeZone::parse(iana).map(TimeZone::name), Ok(*iana), "{windows}");
        }
    }

    #[test]
    fn a_slip_in_a_name_is_told_with_the_right_one() {
        for (given, meant) in [
            ("europe/berlin", "Europe/Berlin"),
            ("Europe/Berln", "Europe/Berlin"),
            ("Berlin", "Europe/Berlin"),
            ("America/New York", "America/New_York"),
            ("New_York", "America/New_York"),
            ("CEST", "Europe/Berlin"),
            ("UTC+2", "Etc/GMT-2"),
            ("+02:00", "Etc/GMT-2"),
            ("GMT-5", "Etc/GMT+5"),
            ("utc", "UTC"),
        ] {
            refused(given, &format!("did you mean \"{meant}\"?"));
        }
        for none in ["", "Mars/Olympus Mons", "+02:30", "a\nb"] {
            refused(none, "or \"UTC\"");
        }
        for right in ["UTC", "Europe/Berlin", "CET", "Etc/GMT-2", "America/Argentina/Ushuaia"] {
            assert_eq!(TimeZone::parse(right).map(TimeZone::name), Ok(right));
        }
    }

    #[test]
    fn the_ends_of_the_calendar_do_not_panic() {
        for name in ["Pacific/Kiritimati", "Pacific/Midway", "Europe/Berlin"] {
            for local in [PrimitiveDateTime::MIN, PrimitiveDateTime::MAX] {
                let at = zone(name).instant(local, Repeated::First);
                assert!(zone(name).local(at).year().abs() > 9000);
            }
        }
    }
}
