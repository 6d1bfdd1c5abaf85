//! Since when something is so, and whether that is too long to be well.

use time::OffsetDateTime;

use crate::failpoint::safeguard_off;
use crate::transfer::settings::Source;

/// Whether what is so since then is so for too long.
pub(crate) fn is_late(source: &Source, since: OffsetDateTime, now: OffsetDateTime) -> bool {
    now - since > source.late_after && !safeguard_off!("late")
}

/// A time for people.
pub(crate) fn in_seconds(at: OffsetDateTime) -> String {
    let at = at.replace_nanosecond(0).unwrap_or(at);
    at.format(&time::format_description::well_known::Rfc3339).unwrap_or_else(|_| at.to_string())
}
