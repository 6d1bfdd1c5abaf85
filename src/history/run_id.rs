//! Ids of runs.

use time::OffsetDateTime;

use crate::model::{clocks, hex};
use crate::runtime::random;
use crate::state::paths::stamp;

/// A new id for a run that begins at `now`: that time and eight random digits.
pub fn run_id(now: OffsetDateTime) -> String {
    let mut bytes = [0u8; 4];
    random::of_name(&mut bytes);
    format!("{}-{}", stamp(now), hex(&bytes))
}

/// When the run of this id began, to the second.
pub fn began(run: &str) -> Option<OffsetDateTime> {
    let format = time::macros::format_description!("[year][month][day]T[hour][minute][second]Z");
    let stamp = run.split('-').next()?;
    time::PrimitiveDateTime::parse(stamp, format).ok().map(time::PrimitiveDateTime::assume_utc)
}

/// Whether a clock gave `run` its id that was ahead of the one that shows `now`.
pub(crate) fn is_of_clock_ahead(run: &str, now: OffsetDateTime) -> bool {
    began(run).is_some_and(|began| clocks::is_ahead(began, now))
}
