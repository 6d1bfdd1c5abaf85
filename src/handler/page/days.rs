//! Thirty days, or a month, of sources and of their feeds. Pure.

use serde::Serialize;
use time::{Date, Month, OffsetDateTime};

use crate::history::source_days::{DayState, SourceDays, days};
use crate::history::source_index::SourceIndex;
use crate::state::paths::day as stamped;

/// Days of a strip.
pub(crate) const STRIP: usize = 30;

/// A feed's last thirty days.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct FeedDays {
    /// Its name.
    pub name: String,
    /// How it was, day by day.
    pub days: Vec<DayState>,
    /// Days on which something was due.
    pub due: usize,
    /// Days on which all was in time.
    pub on_time: usize,
}

/// What all sources brought on a day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct DayRow {
    /// The day, as `2026-11-23`.
    pub day: String,
    /// Feeds of which something was due.
    pub due: usize,
    /// Those that were in time.
    pub on_time: usize,
    /// Those that were late.
    pub late: usize,
    /// Those that were missed.
    pub missed: usize,
    /// Files that arrived.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Days of all sources, and their sums.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct DaysTold {
    /// The days, the first first.
    pub days: Vec<DayRow>,
    /// Expected files, a feed and day each.
    pub due: usize,
    /// Those in time.
    pub on_time: usize,
    /// Those that came late.
    pub late: usize,
    /// Those that were missed, by source, the most first.
    pub missed: Vec<MissedOf>,
    /// Files that arrived.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// How often files of a source were missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct MissedOf {
    /// The source.
    pub source: String,
    /// How many days its feeds missed.
    pub count: usize,
}

impl DaysTold {
    /// From `first` to `last`.
    pub fn of(index: &SourceIndex, first: Date, last: Date) -> Self {
        let rows: Vec<DayRow> = days(first, last).map(|day| row(index, day)).collect();
        let known =
            index.sources.iter().filter_map(|(name, entry)| Some((name, entry.days.as_ref()?)));
        let mut missed: Vec<MissedOf> = known
            .map(|(name, known)| MissedOf {
                source: name.clone(),
                count: days(first, last).map(|day| count(known, day, DayState::Bad)).sum(),
            })
            .filter(|missed| missed.count > 0)
            .collect();
        missed.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.source.cmp(&b.source)));
        let sum = |of: fn(&DayRow) -> usize| rows.iter().map(of).sum();
        Self {
            due: sum(|row| row.due),
            on_time: sum(|row| row.on_time),
            late: sum(|row| row.late),
            files: rows.iter().map(|row| row.files).fold(0, u64::saturating_add),
            bytes: rows.iter().map(|row| row.bytes).fold(0, u64::saturating_add),
            missed,
            days: rows,
        }
    }

    /// The last thirty days.
    pub fn last(index: &SourceIndex, now: OffsetDateTime) -> Self {
        let today = now.to_offset(time::UtcOffset::UTC).date();
        let first = today.saturating_sub(time::Duration::days(STRIP as i64 - 1));
        Self::of(index, first, today)
    }

    /// A calendar month, as `2026-11`; `None` if that is none.
    pub fn month(index: &SourceIndex, month: &str) -> Option<Self> {
        let first = first_of(month)?;
        let last = first.replace_day(first.month().length(first.year())).ok()?;
        Some(Self::of(index, first, last))
    }

    /// How many were missed.
    pub(crate) fn misses(&self) -> usize {
        self.missed.iter().map(|missed| missed.count).sum()
    }
}

/// The first day of a month, as `2026-11`.
fn first_of(month: &str) -> Option<Date> {
    let (year, number) = month.split_once('-').filter(|_| month.len() == 7)?;
    let month: Month = number.parse::<u8>().ok()?.try_into().ok()?;
    Date::from_calendar_date(year.parse().ok()?, month, 1).ok()
}

/// The days of a calendar month.
pub(crate) fn of_month(month: &str) -> Option<Vec<Date>> {
    let first = first_of(month)?;
    let last = first.replace_day(first.month().length(first.year())).ok()?;
    Some(days(first, last).collect())
}

/// The month before the one that begins so, or after it.
pub fn beside(month: &str, after: bool) -> Option<String> {
    let first = first_of(month)?;
    let other = match after {
        true => first.replace_day(28).ok()?.saturating_add(time::Duration::days(7)),
        false => first.previous_day()?,
    };
    Some(month_of(other))
}

/// The month of a day.
pub(crate) fn month_of(day: Date) -> String {
    format!("{:04}-{:02}", day.year(), u8::from(day.month()))
}

fn count(days: &SourceDays, day: Date, state: DayState) -> usize {
    days.feeds().filter(|feed| days.feed(feed, day) == state).count()
}

fn row(index: &SourceIndex, day: Date) -> DayRow {
    let known = || index.sources.values().filter_map(|entry| entry.days.as_ref());
    let sum = |state| known().map(|days| count(days, day, state)).sum::<usize>();
    let (on_time, late, missed) = (sum(DayState::Well), sum(DayState::Late), sum(DayState::Bad));
    let brought = index.days.get(&stamped(day)).copied().unwrap_or_default();
    DayRow {
        day: day.to_string(),
        due: on_time + late + missed,
        on_time,
        late,
        missed,
        files: brought.files,
        bytes: brought.bytes,
    }
}

/// The last thirty days of a source.
pub(crate) fn strip(days: Option<&SourceDays>, now: OffsetDateTime) -> Vec<DayState> {
    let state = |day| days.map_or(DayState::None, |days| days.state(day));
    last_days(now).map(state).collect()
}

/// The last thirty days of each feed of a source.
pub fn feeds(known: Option<&SourceDays>, now: OffsetDateTime) -> Vec<FeedDays> {
    let Some(known) = known else { return Vec::new() };
    let of = |name: &str| {
        let states: Vec<DayState> = last_days(now).map(|day| known.feed(name, day)).collect();
        let is = |wanted: &[DayState]| states.iter().filter(|s| wanted.contains(s)).count();
        FeedDays {
            name: name.to_owned(),
            due: is(&[DayState::Well, DayState::Late, DayState::Bad]),
            on_time: is(&[DayState::Well]),
            days: states,
        }
    };
    known.feeds().map(of).collect()
}

/// The last thirty days, the first first.
pub(crate) fn last_days(now: OffsetDateTime) -> impl Iterator<Item = Date> {
    let today = now.to_offset(time::UtcOffset::UTC).date();
    days(today.saturating_sub(time::Duration::days(STRIP as i64 - 1)), today)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::record::{RunRecord, Trigger};
    use serde_json::json;
    use time::macros::datetime;

    #[test]
    fn a_month_is_what_its_days_sum_up_to_and_tells_who_missed() {
        let mut index = SourceIndex::default();
        for (number, state) in [(23, "met"), (24, "missed"), (25, "late")] {
            let began = datetime!(2026-11-01 10:00 UTC).replace_day(number).expect("a day");
            let mut record = RunRecord::new(Trigger::Timer, "", began);
            let deadline = format!("2026-11-{number}T05:00:00Z");
            record.sources = vec![json!({ "source": "acme", "status": "ok", "ingested": 3,
                "bytes": 100, "expectations": [{ "name": "daily", "severity": "error",
                "state": state, "deadline": deadline, "count": 0, "expected": 1 }] })];
            index.take_in(&record);
        }
        let month = DaysTold::month(&index, "2026-11").expect("a month");
        assert_eq!((month.days.len(), month.due, month.on_time, month.late), (30, 3, 1, 1));
        assert_eq!((month.misses(), month.files, month.bytes), (1, 9, 300));
        assert_eq!(month.missed[0].source, "acme");
        let told: usize = month.days.iter().map(|row| row.due).sum();
        assert_eq!(told, month.due);
        assert_eq!(DaysTold::month(&index, "2026-10").map(|month| month.files), Some(0));
        for bad in ["2026-13", "2026", "x", "2026-1"] {
            assert_eq!(DaysTold::month(&index, bad), None, "{bad}");
        }
        let now = datetime!(2026-11-25 12:00 UTC);
        let strip = strip(index.sources["acme"].days.as_ref(), now);
        assert_eq!(strip[27..], [DayState::Well, DayState::Bad, DayState::Late]);
        let feeds = feeds(index.sources["acme"].days.as_ref(), now);
        assert_eq!((feeds[0].due, feeds[0].on_time), (3, 1));
        assert_eq!(beside("2026-12", true).as_deref(), Some("2027-01"));
        assert_eq!(beside("2026-01", false).as_deref(), Some("2025-12"));
    }
}
