//! What came of a source day by day, and how its feeds stood: a letter and a number a day. Pure.
//!
//! The days of two months are kept, so that a page shows the last thirty and the month before.
//! Days are those of UTC.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::{Date, OffsetDateTime};

use crate::report::ExpectationStanding;
use crate::rules::expect::WindowState;
use crate::state::paths::day;

/// Days that are kept.
pub(crate) const KEPT: usize = 62;

/// How a day was: the worst of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DayState {
    /// No run looked, or nothing was due.
    None,
    /// All was well.
    Well,
    /// Something came late, or waited, or a run was stopped.
    Late,
    /// Something failed or was missed, or nothing could be looked at.
    Bad,
}

impl DayState {
    const ALL: [(DayState, char); 4] =
        [(DayState::None, '-'), (DayState::Well, 'w'), (DayState::Late, 'l'), (DayState::Bad, 'b')];

    fn letter(self) -> char {
        Self::ALL.iter().find(|(state, _)| *state == self).map_or('-', |(_, letter)| *letter)
    }

    fn read(letter: char) -> Self {
        Self::ALL.iter().find(|(_, known)| *known == letter).map_or(Self::None, |(state, _)| *state)
    }

    /// Of a window of an expectation; `None` while nobody can say.
    pub(crate) fn of_window(standing: &ExpectationStanding) -> Option<Self> {
        match standing.state {
            WindowState::Due => None,
            WindowState::Met if standing.late_by.is_some() => Some(Self::Late),
            WindowState::Met => Some(Self::Well),
            WindowState::Late => Some(Self::Late),
            WindowState::Missed => Some(Self::Bad),
        }
    }

    /// Of a pass that a line of a record tells of.
    fn of_pass(line: &Value) -> Self {
        let late = line["problems"].as_array().is_some_and(|problems| {
            !problems.is_empty() && problems.iter().all(|problem| problem["class"] == "late")
        });
        match line["status"].as_str() {
            Some("ok") => Self::Well,
            Some("interrupted" | "abandoned") => Self::Late,
            Some("degraded") if late && line["failed"].as_u64().unwrap_or(0) == 0 => Self::Late,
            _ => Self::Bad,
        }
    }
}

/// The days of a source: a letter each, the last one last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceDays {
    /// The last day, as `20261123`.
    #[serde(default)]
    last: String,
    /// How the source was.
    #[serde(default)]
    states: String,
    /// Files that arrived, with blanks between the days.
    #[serde(default)]
    files: String,
    /// How its feeds were.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    feeds: BTreeMap<String, String>,
}

impl SourceDays {
    /// Takes in a pass that began at `began`; each pass once.
    pub(crate) fn take_in(&mut self, began: OffsetDateTime, line: &Value) {
        let today = began.to_offset(time::UtcOffset::UTC).date();
        self.go_to(today);
        let Some(at) = self.position(today) else { return };
        let state = DayState::of_pass(line);
        worsen(&mut self.states, at, state);
        let mut files: Vec<u64> = self.file_counts();
        if let Some(count) = files.get_mut(at) {
            *count = count.saturating_add(line["ingested"].as_u64().unwrap_or(0));
        }
        self.files = files.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
        for told in line["expectations"].as_array().into_iter().flatten() {
            if let Ok(standing) = ExpectationStanding::deserialize(told) {
                self.window(&standing);
            }
        }
    }

    /// Takes in how an expectation stands.
    pub fn window(&mut self, standing: &ExpectationStanding) {
        let Some(state) = DayState::of_window(standing) else { return };
        let Some(due) = standing.deadline else { return };
        let Some(at) = self.position(due.to_offset(time::UtcOffset::UTC).date()) else { return };
        let length = self.states.len();
        let letters = self.feeds.entry(standing.name.clone()).or_default();
        *letters = format!("{letters:->length$}");
        worsen(letters, at, state);
    }

    /// Days on which nothing ran are there, too.
    fn go_to(&mut self, today: Date) {
        if self.last >= day(today) && !self.states.is_empty() {
            return;
        }
        let mut files = self.file_counts();
        let mut days = match self.last_day() {
            Some(last) => usize::try_from((today - last).whole_days()).unwrap_or(KEPT),
            None => KEPT,
        };
        days = days.min(KEPT);
        self.last = day(today);
        for letters in self.feeds.values_mut().chain([&mut self.states]) {
            letters.push_str(&"-".repeat(days));
            letters.drain(..letters.len().saturating_sub(KEPT));
        }
        files.extend(std::iter::repeat_n(0, days));
        files.drain(..files.len().saturating_sub(KEPT));
        self.files = files.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
    }

    fn file_counts(&self) -> Vec<u64> {
        let mut files: Vec<u64> =
            self.files.split_ascii_whitespace().map(|n| n.parse().unwrap_or(0)).collect();
        files.resize(self.states.len(), 0);
        files
    }

    fn last_day(&self) -> Option<Date> {
        let part = |from: usize, to: usize| self.last.get(from..to)?.parse::<u16>().ok();
        let month = u8::try_from(part(4, 6)?).ok()?;
        let day = u8::try_from(part(6, 8)?).ok()?;
        Date::from_calendar_date(i32::from(part(0, 4)?), month.try_into().ok()?, day).ok()
    }

    /// Where a day stands, if it is kept.
    fn position(&self, day: Date) -> Option<usize> {
        let ago = usize::try_from((self.last_day()? - day).whole_days()).ok()?;
        self.states.len().checked_sub(ago + 1)
    }

    fn letter(&self, letters: &str, day: Date) -> DayState {
        let letter = self.position(day).and_then(|at| letters.as_bytes().get(at));
        letter.map_or(DayState::None, |letter| DayState::read(char::from(*letter)))
    }

    /// How the source was on `day`: its passes and its feeds.
    pub(crate) fn state(&self, day: Date) -> DayState {
        let feeds = self.feeds.values().map(|letters| self.letter(letters, day));
        feeds.fold(self.letter(&self.states, day), DayState::max)
    }

    /// Files that arrived on `day`.
    pub fn files(&self, day: Date) -> u64 {
        let at = self.position(day);
        at.and_then(|at| self.file_counts().get(at).copied()).unwrap_or(0)
    }

    /// Its feeds by name.
    pub fn feeds(&self) -> impl Iterator<Item = &str> {
        self.feeds.keys().map(String::as_str)
    }

    /// How a feed was on `day`.
    pub(crate) fn feed(&self, name: &str, day: Date) -> DayState {
        self.feeds.get(name).map_or(DayState::None, |letters| self.letter(letters, day))
    }
}

/// The days from `first` to `last`.
pub fn days(first: Date, last: Date) -> impl Iterator<Item = Date> {
    std::iter::successors(Some(first), |day| day.next_day()).take_while(move |day| *day <= last)
}

/// The state at `at` becomes `state`, if that is worse.
fn worsen(letters: &mut String, at: usize, state: DayState) {
    let worse = |(place, letter): (usize, char)| {
        if place == at { DayState::read(letter).max(state).letter() } else { letter }
    };
    *letters = letters.chars().enumerate().map(worse).collect();
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use time::macros::{date, datetime};

    #[test]
    fn a_day_is_as_bad_as_its_worst_pass_and_days_go_by() {
        let mut days = SourceDays::default();
        let ok = json!({ "status": "ok", "ingested": 2 });
        days.take_in(datetime!(2026-11-23 10:00 UTC), &ok);
        days.take_in(datetime!(2026-11-23 11:00 UTC), &json!({ "status": "failed" }));
        days.take_in(datetime!(2026-11-23 12:00 UTC), &ok);
        days.take_in(datetime!(2026-11-26 12:00 UTC), &json!({ "status": "interrupted" }));
        let told = [23, 24, 26].map(|n| date!(2026 - 11 - 01).replace_day(n).expect("a day"));
        assert_eq!(
            told.map(|day| (days.state(day), days.files(day))),
            [(DayState::Bad, 4), (DayState::None, 0), (DayState::Late, 0)]
        );
        assert_eq!(days.states.len(), KEPT);
        days.take_in(datetime!(2027-11-26 12:00 UTC), &ok);
        assert_eq!((days.states.len(), days.state(told[0])), (KEPT, DayState::None));
        let read: SourceDays = serde_json::from_value(json!(days)).expect("days");
        assert_eq!(read, days);
    }

    #[test]
    fn a_feed_has_its_own_days_and_the_source_the_worst_of_them() {
        let mut days = SourceDays::default();
        let window = |state: &str, deadline: &str| {
            json!({ "name": "daily", "severity": "error", "state": state, "deadline": deadline,
                "count": 0, "expected": 1 })
        };
        let line = |windows: Value| json!({ "status": "ok", "expectations": windows });
        days.take_in(
            datetime!(2026-11-23 10:00 UTC),
            &line(json!([window("met", "2026-11-23T05:00:00Z")])),
        );
        days.take_in(
            datetime!(2026-11-24 10:00 UTC),
            &line(json!([window("missed", "2026-11-24T05:00:00Z")])),
        );
        let (first, second) = (date!(2026 - 11 - 23), date!(2026 - 11 - 24));
        assert_eq!(days.feed("daily", first), DayState::Well);
        assert_eq!(
            (days.feed("daily", second), days.state(second)),
            (DayState::Bad, DayState::Bad)
        );
        assert_eq!(days.feeds().collect::<Vec<_>>(), ["daily"]);
        assert_eq!(days.feed("none", first), DayState::None);
    }
}
