//! Times of our own that a clock wrote which was ahead.
//!
//! A time that lies further ahead of the present clock than clocks differ counts as unknown: nobody
//! knows when it was, and what waits for it to pass would wait for years.

use time::{Duration, OffsetDateTime};

/// Clocks of workers differ by less.
pub(crate) const CLOCKS_DIFFER: Duration = Duration::minutes(5);

/// Whether `at` was written by a clock that was ahead of the one that shows `now`.
pub(crate) fn is_ahead(at: OffsetDateTime, now: OffsetDateTime) -> bool {
    at - now > CLOCKS_DIFFER
}

/// `at`, unless it [`is_ahead`].
pub(crate) fn not_ahead(at: Option<OffsetDateTime>, now: OffsetDateTime) -> Option<OffsetDateTime> {
    at.filter(|at| !is_ahead(*at, now))
}
