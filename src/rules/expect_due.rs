//! The deadlines of an expectation, on the clock of a time zone. Pure.
//!
//! A deadline that clocks leave out is the first instant after the gap; one that comes twice is the
//! later one, so that nobody is alarmed too early.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::Duration;

use croner::Cron;
use time::{Date, OffsetDateTime, PrimitiveDateTime, Time, Weekday};

use crate::rules::time_zone::{Repeated, TimeZone};

/// Without a `window`, what was stored earlier before a deadline does not count.
pub(crate) const LONGEST_WINDOW: time::Duration = time::Duration::WEEK;
/// Windows before those that are judged, at most.
const MOST_EARLIER: usize = 8;
/// How far deadlines are looked for: a day of the year that is left out four times.
const MOST_DAYS: u32 = 5 * 366;

/// When deadlines are.
#[derive(Clone, Debug)]
pub struct Deadlines {
    /// The time of day, or the times.
    pub times: DeadlineTimes,
    /// The days of the week that have deadlines.
    pub days: Vec<Weekday>,
    /// Days without.
    pub except: BTreeSet<Date>,
    /// Whose clock it is.
    pub zone: TimeZone,
}

/// The times of deadlines on a day.
#[derive(Clone, Debug)]
pub enum DeadlineTimes {
    /// One a day.
    At(Time),
    /// Those of a cron expression.
    Cron(Box<Cron>),
}

impl DeadlineTimes {
    /// Reads `07:00` or `07:00:30`.
    pub fn at(text: &str) -> Option<Self> {
        let minutes = time::macros::format_description!("[hour]:[minute]");
        let seconds = time::macros::format_description!("[hour]:[minute]:[second]");
        let time = Time::parse(text, minutes).or_else(|_| Time::parse(text, seconds));
        time.ok().map(Self::At)
    }

    /// Reads five fields, minute first.
    pub fn cron(text: &str) -> Result<Self, String> {
        if text.split_whitespace().count() != 5 {
            return Err("has not five fields; allowed is `minute hour day month weekday`".into());
        }
        let cron = Cron::from_str(text);
        cron.map(|cron| Self::Cron(Box::new(cron)))
            .map_err(|error| format!("is no cron expression: {error}"))
    }

    /// The last time on the clock at or before `local` (after it, for `Direction::Next`).
    fn beside(&self, local: PrimitiveDateTime, to: Direction) -> Option<PrimitiveDateTime> {
        match (self, to) {
            (Self::At(time), Direction::Last) => {
                let today = local.date().with_time(*time);
                if today <= local { Some(today) } else { today.checked_sub(time::Duration::DAY) }
            }
            (Self::At(time), Direction::Next) => {
                let today = local.date().with_time(*time);
                if today > local { Some(today) } else { today.checked_add(time::Duration::DAY) }
            }
            // The clock on the wall is taken for UTC: what a zone leaves out or shows twice is
            // decided in one place, for both kinds of times.
            (Self::Cron(cron), Direction::Last) => {
                wall(cron.find_previous_occurrence(&chrono(local)?, true).ok()?)
            }
            (Self::Cron(cron), Direction::Next) => {
                wall(cron.find_next_occurrence(&chrono(local)?, false).ok()?)
            }
        }
    }
}

/// A span in which files are expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpectedWindow {
    /// What was stored after this counts.
    pub start: OffsetDateTime,
    /// By when.
    pub deadline: OffsetDateTime,
    /// When it is missed.
    pub end: OffsetDateTime,
    /// The deadline on the clock of its zone: placeholders tell this date.
    pub local: PrimitiveDateTime,
}

/// Windows that matter at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExpectedWindows {
    /// They, in order.
    pub all: Vec<ExpectedWindow>,
    /// How many of the first ones only tell which files count for the others.
    pub earlier: usize,
}

#[derive(Clone, Copy)]
enum Direction {
    Last,
    Next,
}

fn chrono(local: PrimitiveDateTime) -> Option<chrono::DateTime<chrono::Utc>> {
    chrono::DateTime::from_timestamp(local.assume_utc().unix_timestamp(), 0)
}

fn wall(at: chrono::DateTime<chrono::Utc>) -> Option<PrimitiveDateTime> {
    let at = OffsetDateTime::from_unix_timestamp(at.timestamp()).ok()?;
    Some(PrimitiveDateTime::new(at.date(), at.time()))
}

/// A deadline: the instant, and what the clock shows.
type DeadlineAt = (OffsetDateTime, PrimitiveDateTime);

impl Deadlines {
    fn allows(&self, day: Date) -> bool {
        self.days.contains(&day.weekday()) && !self.except.contains(&day)
    }

    fn instant(&self, local: PrimitiveDateTime) -> OffsetDateTime {
        self.zone.instant(local, Repeated::Second)
    }

    /// The allowed time on the clock before or after `local`.
    fn step(&self, local: PrimitiveDateTime, to: Direction) -> Option<PrimitiveDateTime> {
        let mut at = local;
        for _ in 0..MOST_DAYS {
            at = self.times.beside(at, to)?;
            if self.allows(at.date()) {
                return Some(at);
            }
            // The rest of this day is left out too.
            at = match to {
                Direction::Last => at.date().midnight().checked_sub(time::Duration::SECOND)?,
                Direction::Next => at.date().next_day()?.midnight(),
            };
            if matches!(to, Direction::Next) {
                at = at.checked_sub(time::Duration::SECOND)?;
            }
        }
        None
    }

    /// The last deadline at or before `now`.
    pub fn last(&self, now: OffsetDateTime) -> Option<DeadlineAt> {
        let mut local = self.zone.local(now).checked_add(time::Duration::hours(25))?;
        for _ in 0..MOST_DAYS {
            local = self.step(local, Direction::Last)?;
            let at = self.instant(local);
            if at <= now {
                return Some((at, local));
            }
            local = local.checked_sub(time::Duration::SECOND)?;
        }
        None
    }

    /// The first deadline after `now`.
    pub fn next(&self, now: OffsetDateTime) -> Option<DeadlineAt> {
        let mut local = self.zone.local(now).checked_sub(time::Duration::hours(25))?;
        for _ in 0..MOST_DAYS {
            local = self.step(local, Direction::Next)?;
            let at = self.instant(local);
            if at > now {
                // Of times that clocks leave out in one gap the last one is meant, as afterwards.
                while let Some(later) = self.step(local, Direction::Next)
                    && self.instant(later) == at
                {
                    local = later;
                }
                return Some((at, local));
            }
        }
        None
    }

    /// The windows that matter at `now`, in order: those whose deadlines are at most `reach` old,
    /// never more than `most` of them, at least the last one; then the open one. Before them come
    /// earlier ones, as long as files that are late for one may come in the window behind it: each
    /// tells which files the next one does not count.
    pub(crate) fn windows(
        &self,
        (window, grace): (Option<Duration>, Duration),
        now: OffsetDateTime,
        reach: time::Duration,
        most: usize,
    ) -> ExpectedWindows {
        let mut deadlines = Vec::from_iter(self.next(now));
        let (mut at, mut near, mut beyond) = (now, 0, 0);
        while let Some(deadline) = self.last(at) {
            let age = now - deadline.0;
            let is_near = age <= reach && near < most;
            // Two at least: an earlier window, and where that one begins.
            if !is_near && beyond >= 2 && (age > 2 * reach || beyond > MOST_EARLIER) {
                break;
            }
            deadlines.push(deadline);
            *(if is_near { &mut near } else { &mut beyond }) += 1;
            at = deadline.0 - time::Duration::SECOND;
        }
        deadlines.reverse();
        let of = |before: Option<&DeadlineAt>, (deadline, local): DeadlineAt| {
            let longest = deadline - LONGEST_WINDOW;
            let start = match window {
                Some(window) => deadline - window,
                None => before.map_or(longest, |(before, _)| (*before).max(longest)),
            };
            ExpectedWindow { start, deadline, end: deadline + grace, local }
        };
        let windows = deadlines.iter().enumerate();
        let mut windows: Vec<ExpectedWindow> = windows
            .map(|(n, deadline)| of(n.checked_sub(1).map(|before| &deadlines[before]), *deadline))
            .collect();
        // The oldest deadline tells only where the window behind it begins.
        let begins = usize::from(beyond >= 2);
        windows.drain(..begins);
        let earlier = (near + beyond - begins).saturating_sub(near.max(1));
        let is_apart = |n: &usize| windows[*n].end <= windows[*n + 1].start;
        let apart = (0..earlier).rev().find(is_apart).map_or(0, |n| n + 1);
        windows.drain(..apart);
        ExpectedWindows { all: windows, earlier: earlier - apart }
    }
}

/// Reads texts as `mon-fri`, `mon,wed,sat` or `thu`; or returns the one that names no days.
pub fn days(texts: &[String]) -> Result<Vec<Weekday>, String> {
    let mut found = Vec::new();
    for text in texts {
        for part in text.split(',') {
            let range = part.split_once('-').unwrap_or((part, part));
            let (Some(mut at), Some(last)) = (day(range.0), day(range.1)) else {
                return Err(text.clone());
            };
            loop {
                if !found.contains(&at) {
                    found.push(at);
                }
                if at == last {
                    break;
                }
                at = at.next();
            }
        }
    }
    Ok(found)
}

/// Every day of the week.
pub fn all_days() -> Vec<Weekday> {
    let mut all = vec![Weekday::Monday];
    all.extend((1..7).map(|after| Weekday::Monday.nth_next(after)));
    all
}

fn day(text: &str) -> Option<Weekday> {
    Some(match text.trim().to_ascii_lowercase().as_str() {
        "mon" => Weekday::Monday,
        "tue" => Weekday::Tuesday,
        "wed" => Weekday::Wednesday,
        "thu" => Weekday::Thursday,
        "fri" => Weekday::Friday,
        "sat" => Weekday::Saturday,
        "sun" => Weekday::Sunday,
        _ => return None,
    })
}

/// Reads `2026-12-25`.
pub fn date(text: &str) -> Option<Date> {
    Date::parse(text.trim(), time::macros::format_description!("[year]-[month]-[day]")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::{date, datetime, time};

    fn daily(zone: &str, at: Time) -> Deadlines {
        Deadlines {
            times: DeadlineTimes::At(at),
            days: all_days(),
            except: BTreeSet::new(),
            zone: TimeZone::parse(zone).expect("a zone"),
        }
    }

    #[test]
    fn a_deadline_of_a_workday_passes_over_weekends_and_holidays() {
        let due = Deadlines {
            days: days(&["mon-fri".to_owned()]).expect("days"),
            except: BTreeSet::from([date!(2026 - 12 - 25)]),
            ..daily("Europe/Berlin", time!(7:00))
        };
        // 2026-12-24 is a Thursday.
        let now = datetime!(2026-12-27 12:00 UTC);
        assert_eq!(due.last(now).map(|last| last.0), Some(datetime!(2026-12-24 6:00 UTC)));
        assert_eq!(due.next(now).map(|next| next.0), Some(datetime!(2026-12-28 6:00 UTC)));
        let at = datetime!(2026-12-24 6:00 UTC);
        assert_eq!(due.last(at).map(|last| last.0), Some(at), "at the deadline it is over");
        assert!(date("2026-13-01").is_none());
    }

    #[test]
    fn days_are_a_list_or_ranges_and_each_counts_once() {
        use Weekday::{Friday, Monday, Saturday, Sunday, Wednesday};
        let of =
            |texts: &[&str]| days(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&["mon", "wed", "fri"]), Ok(vec![Monday, Wednesday, Friday]));
        assert_eq!(of(&["fri-mon"]), Ok(vec![Friday, Saturday, Sunday, Monday]));
        assert_eq!(of(&["sat-sun", "mon, sun"]), Ok(vec![Saturday, Sunday, Monday]));
        assert_eq!(of(&["mon", "moon"]), Err("moon".to_owned()));
        assert_eq!(of(&[" Mon ,, wed"]), Err(" Mon ,, wed".to_owned()));
    }

    #[test]
    fn nobody_is_alarmed_too_early_in_the_nights_when_clocks_change() {
        let due = daily("Europe/Berlin", time!(2:30));
        // Clocks go from 2:00 to 3:00.
        assert_eq!(
            due.next(datetime!(2026-03-28 12:00 UTC)).map(|next| next.0),
            Some(datetime!(2026-03-29 1:00 UTC))
        );
        // 2:30 comes twice, at 0:30 and 1:30 UTC.
        assert_eq!(
            due.next(datetime!(2026-10-24 12:00 UTC)).map(|next| next.0),
            Some(datetime!(2026-10-25 1:30 UTC))
        );
        assert_eq!(
            due.last(datetime!(2026-10-25 1:00 UTC)).map(|last| last.0),
            Some(datetime!(2026-10-24 0:30 UTC)),
            "the first 2:30 is none"
        );
    }

    #[test]
    fn the_last_day_of_a_month_is_a_cron_expression() {
        let due = Deadlines {
            times: DeadlineTimes::cron("0 7 L * *").expect("cron"),
            ..daily("Europe/Berlin", time!(0:00))
        };
        assert_eq!(
            due.last(datetime!(2026-03-05 0:00 UTC)).map(|last| last.0),
            Some(datetime!(2026-02-28 6:00 UTC))
        );
        assert!(DeadlineTimes::cron("0 7 * *").is_err() && DeadlineTimes::at("7 am").is_none());
    }

    #[test]
    fn windows_meet_and_the_last_one_is_open() {
        let due = daily("UTC", time!(7:00));
        let now = datetime!(2026-12-02 8:00 UTC);
        let day = |day: u8| datetime!(2026-12-01 7:00 UTC).replace_day(day).expect("a day");
        let grace = Duration::from_secs(1800);
        let windows = |due: &Deadlines, grace, now, days, most| {
            let found = due.windows((None, grace), now, time::Duration::days(days), most);
            let ends = found.all.iter().map(|window| (window.start.date(), window.deadline.date()));
            (ends.map(|(start, end)| [start.day(), end.day()]).collect::<Vec<_>>(), found.earlier)
        };
        // A file that was late for the first of December counts for no other window.
        let found = due.windows((None, grace), now, time::Duration::days(1), 9);
        assert_eq!((found.all[1].start, found.all[1].deadline), (day(1), day(2)));
        assert_eq!(found.all[1].end, datetime!(2026-12-02 7:30 UTC));
        assert_eq!(windows(&due, grace, now, 1, 9), (vec![[30, 1], [1, 2], [2, 3]], 1));
        assert_eq!(windows(&due, Duration::ZERO, now, 1, 9), (vec![[1, 2], [2, 3]], 0));
        assert_eq!(windows(&due, Duration::ZERO, now, 9, 1), (vec![[1, 2], [2, 3]], 0));
        // Late files of one day after the other are told apart from the first of them on.
        let hour = Duration::from_secs(3600);
        assert_eq!(windows(&due, grace, now, 4, 2).1, 5);
        assert_eq!(windows(&due, hour, now, 8, 64).1, 7);
        assert_eq!(windows(&due, hour, now, 9, 1).1, MOST_EARLIER);
        // All windows of the last days are judged, however few there are: 2026-12-07 is a Monday.
        let texts = ["mon,thu".to_owned()];
        let weekly = Deadlines { days: days(&texts).expect("days"), ..due };
        let now = datetime!(2026-12-13 14:00 UTC);
        assert_eq!(windows(&weekly, Duration::ZERO, now, 8, 9).0, [[3, 7], [7, 10], [10, 14]]);
        let now = datetime!(2026-12-13 14:00 UTC);
        assert_eq!(windows(&weekly, Duration::ZERO, now, 1, 9).0, [[7, 10], [10, 14]]);
    }
}
