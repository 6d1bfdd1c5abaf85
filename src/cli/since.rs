//! Times as people write them.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

use crate::settings::parse_duration;

/// A time as people write it: a day (UTC), an instant, or how long ago.
pub fn since(text: &str) -> Result<OffsetDateTime, String> {
    before(text, OffsetDateTime::now_utc())
}

fn before(text: &str, now: OffsetDateTime) -> Result<OffsetDateTime, String> {
    let day = || {
        time::Date::parse(text, format_description!("[year]-[month]-[day]"))
            .ok()
            .map(|day| day.midnight().assume_utc())
    };
    let ago = || parse_duration(text).and_then(|ago| now.checked_sub(ago.try_into().ok()?));
    let instant = || OffsetDateTime::parse(text, &Rfc3339).ok();
    day().or_else(instant).or_else(ago).ok_or_else(|| {
        "allowed is a day as 2026-11-01, a time as 2026-11-01T06:00:00Z, or how \
            long ago, as 12h or 7d"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn times_are_days_instants_or_how_long_ago() {
        let now = datetime!(2026-11-23 10:00 UTC);
        let at = |text: &str| before(text, now);
        assert_eq!(at("2026-11-01"), Ok(datetime!(2026-11-01 0:00 UTC)));
        assert_eq!(at("2026-11-01T06:00:00+02:00"), Ok(datetime!(2026-11-01 4:00 UTC)));
        assert_eq!(at("12h"), Ok(datetime!(2026-11-22 22:00 UTC)));
        assert_eq!(at("7d"), Ok(datetime!(2026-11-16 10:00 UTC)));
        for bad in ["", "yesterday", "2026-13-01", "2026-11-01T06:00:00", "-1d"] {
            assert!(at(bad).is_err_and(|problem| problem.contains("7d")), "{bad}");
        }
    }
}
