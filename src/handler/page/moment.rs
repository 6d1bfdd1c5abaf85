//! Moments and spans of time, for people and programs. Pure.

use maud::{Markup, html};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime, UtcOffset};

/// A moment, for people and programs.
pub fn at(at: OffsetDateTime) -> Markup {
    let at = at.to_offset(UtcOffset::UTC);
    // Years beyond 9999 have no such form; the pages then show the plain one.
    let whole = at.replace_nanosecond(0).unwrap_or(at).format(&Rfc3339).unwrap_or_default();
    html! { time datetime=(whole) { (in_utc(at)) } }
}

/// A moment in a text that nothing turns to another zone.
pub(crate) fn in_utc(at: OffsetDateTime) -> String {
    let at = at.to_offset(UtcOffset::UTC);
    let (date, time) = (at.date(), at.time());
    format!("{} {:02}:{:02}:{:02} UTC", date, time.hour(), time.minute(), time.second())
}

/// A moment as manifests tell it; `None` if that cannot be read.
pub(crate) fn read(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok()
}

/// Minutes up to 90, hours up to 36, then days.
pub(crate) fn age(duration: Duration) -> String {
    let minutes = duration.whole_minutes().max(0);
    match minutes {
        0 => "less than a minute".into(),
        1 => "a minute".into(),
        2..=90 => format!("{minutes} min"),
        91..=2160 => format!("{} hours", minutes / 60),
        _ => format!("{} days", minutes / 1440),
    }
}
