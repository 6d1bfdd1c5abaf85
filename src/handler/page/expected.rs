//! What is expected of sources, as the page shows it: missing and late first. Pure.

use std::time::Duration;

use maud::{Markup, html};
use serde::Serialize;
use time::OffsetDateTime;

use super::address;
use super::frame::Frame;
use super::html::{hint, named};
use super::moment::at;
use crate::report::ExpectationStanding;
use crate::rules::expect::{Shortfall, WhyUnmet, WindowState};
use crate::rules::time_zone::{Repeated, TimeZone};

/// What stands above the columns.
const HEADS: [&str; 4] = ["Due", "Source and feed", "Arrived, or why not", "Last good"];
/// Rows that are shown.
const ROWS: usize = 30;

/// An expectation of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ExpectedFeed {
    /// The source.
    pub source: String,
    /// When its last evening was.
    #[serde(with = "time::serde::rfc3339")]
    pub evening: OffsetDateTime,
    /// How it stands.
    #[serde(flatten)]
    pub standing: ExpectationStanding,
}

/// Judges what was kept by the clock: a window of which the deadline is over is late while its
/// grace runs, and missed then. No run has judged it since, so nobody has looked for its files.
pub(super) fn judge(standing: &mut ExpectationStanding, grace: Duration, now: OffsetDateTime) {
    if let Some(open) = standing.next.filter(|open| open.deadline < now) {
        let is_met = open.state == WindowState::Met;
        *standing = ExpectationStanding {
            state: open.state,
            deadline: Some(open.deadline),
            count: if is_met { standing.expected } else { 0 },
            unmet: (open.state == WindowState::Missed).then_some(Shortfall::TooMany),
            why: None,
            since: None,
            late_by: None,
            delay_is_ours: None,
            recovered_at: None,
            paths: Vec::new(),
            next: None,
            ..standing.clone()
        };
    }
    let Some(deadline) = standing.deadline.filter(|deadline| *deadline < now) else { return };
    let end = deadline + grace;
    match standing.state {
        WindowState::Due => {
            standing.unmet = Some(Shortfall::TooFew);
            standing.why = Some(WhyUnmet::NotLooked);
        }
        WindowState::Late if now > end => {}
        _ => return,
    }
    let is_late = now <= end;
    standing.state = if is_late { WindowState::Late } else { WindowState::Missed };
    standing.since = Some(if is_late { deadline } else { end });
}

/// Missing ones first, then late ones, then those of last night by deadline, then the others.
pub fn sort(feeds: &mut [ExpectedFeed]) {
    feeds.sort_by(|one, other| {
        let key = |feed: &ExpectedFeed| {
            let standing = &feed.standing;
            let night = feed.is_of_the_night();
            (!standing.is_missed(), !standing.is_unmet(), !night, standing.deadline)
        };
        key(one).cmp(&key(other)).then_with(|| one.source.cmp(&other.source))
    });
}

/// What came of what is expected since last evening.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ExpectedNight {
    /// It in a sentence.
    pub answer: String,
    /// Since when.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// Feeds whose files are here.
    pub here: usize,
    /// Feeds whose files are missing, however long.
    pub missing: usize,
    /// Feeds whose files are late.
    pub late: usize,
    /// What is due next.
    pub next: Option<ExpectedNext>,
}

/// The next window of a feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ExpectedNext {
    /// The source.
    pub source: String,
    /// The feed.
    pub name: String,
    /// By when.
    #[serde(with = "time::serde::rfc3339")]
    pub deadline: OffsetDateTime,
}

/// The last evening that is over, six o'clock in `zone`, at `now`: until midnight that of the day
/// before, so that a night is told of as a whole.
pub(crate) fn last_evening(zone: TimeZone, now: OffsetDateTime) -> OffsetDateTime {
    let day = zone.local(now).date();
    let evening = day.previous_day().unwrap_or(day).with_time(time::macros::time!(18:00));
    zone.instant(evening, Repeated::First)
}

impl ExpectedNight {
    /// Of feeds; `None`: nothing is expected.
    pub fn of(feeds: &[ExpectedFeed], now: OffsetDateTime) -> Option<Self> {
        let since = feeds.iter().map(|feed| feed.evening).min()?;
        let counts = |feed: &&ExpectedFeed| feed.is_of_the_night();
        let night = || feeds.iter().filter(counts).map(|feed| &feed.standing);
        let missing = night().filter(|standing| standing.is_missed()).count();
        let late = night().filter(|standing| standing.is_unmet()).count() - missing;
        let here = night().count() - missing - late;
        let next = feeds.iter().filter_map(ExpectedFeed::next).min_by_key(|next| next.deadline);
        let next = next.filter(|next| next.deadline > now);
        Some(Self { answer: night_answer(here, missing, late), since, here, missing, late, next })
    }
}

impl ExpectedFeed {
    /// Whether its window ended since last evening, or is not made good.
    fn is_of_the_night(&self) -> bool {
        let standing = &self.standing;
        let is_over = standing.deadline.is_none_or(|deadline| deadline >= self.evening);
        standing.is_unmet() || is_over && standing.state != WindowState::Due
    }

    /// What it lacks, as a sentence goes on.
    pub fn lacks(&self) -> String {
        let (count, expected) = (self.standing.count, self.standing.expected);
        match self.standing.unmet {
            Some(Shortfall::TooMany) => format!("{count} files came, more than are expected"),
            Some(Shortfall::TooSmall) => "what came is smaller than expected".into(),
            Some(Shortfall::Stale) => "no file has come for too long".into(),
            _ if expected > 1 && self.standing.why == Some(WhyUnmet::NotLooked) => {
                format!("{count} of {expected} expected files are known to be here")
            }
            _ if expected > 1 => format!("{count} of {expected} expected files are here"),
            _ => "the expected file is not here".into(),
        }
    }

    /// Why, in a sentence.
    pub fn why(&self) -> String {
        match &self.standing.why {
            Some(WhyUnmet::NotListed) => {
                "The source was listed in full, and does not show it.".into()
            }
            Some(WhyUnmet::Failed { class }) => format!("It could not be brought over: {class}."),
            Some(WhyUnmet::Deferred { reason }) => {
                format!("It waits: {}.", reason.replace('_', " "))
            }
            Some(WhyUnmet::ListingFailed) => {
                "The source could not be listed, so nobody knows whether it is there.".into()
            }
            Some(WhyUnmet::NotLooked) => "No run has looked at the source since it was due.".into(),
            None => "Nothing more is known.".into(),
        }
    }

    /// Its next window.
    fn next(&self) -> Option<ExpectedNext> {
        let standing = &self.standing;
        let open = standing.next.as_ref().map(|next| next.deadline);
        let is_due = standing.state == WindowState::Due;
        let deadline = open.or(standing.deadline.filter(|_| is_due))?;
        Some(ExpectedNext { source: self.source.clone(), name: standing.name.clone(), deadline })
    }
}

fn night_answer(here: usize, missing: usize, late: usize) -> String {
    let all = here + missing + late;
    let are = |count: usize| if count == 1 { "is" } else { "are" };
    match (all, missing + late) {
        (0, _) => return "Nothing was due last night".into(),
        (1, 0) => return "Last night\u{2019}s file is here".into(),
        (1, _) if missing == 1 => return "Last night\u{2019}s file is missing".into(),
        (1, _) => return "Last night\u{2019}s file is late".into(),
        (all, 0) => return format!("Last night\u{2019}s files: all {all} are here"),
        _ => {}
    }
    let mut text = format!("Last night\u{2019}s files: {here} of {all} {} here", are(here));
    if missing > 0 {
        text += &format!(", {missing} {} missing", are(missing));
    }
    if late > 0 {
        text += &format!(", {late} {} late", are(late));
    }
    text
}

/// The state in a word for people.
fn word(standing: &ExpectationStanding) -> &'static str {
    match standing.state {
        WindowState::Missed if !standing.is_missed() => "Came late",
        WindowState::Missed => "Missing",
        WindowState::Late => "Late",
        WindowState::Met if standing.late_by.is_some() => "Here, late",
        WindowState::Met => "Here",
        WindowState::Due => "Due",
    }
}

/// Shape, word and colour of a state.
pub(super) fn shown(standing: &ExpectationStanding) -> Markup {
    let (class, icon) = match standing.state {
        WindowState::Missed if standing.is_missed() => ("bad", "i-bad"),
        WindowState::Late => ("warn", "i-late"),
        WindowState::Missed | WindowState::Met => ("good", "i-ok"),
        WindowState::Due => ("none", "i-late"),
    };
    html! {
        span.w.(class) {
            svg viewBox="0 0 16 16" aria-hidden="true" { use href={ "#" (icon) } {} }
            (word(standing))
        }
    }
}

/// A table of them.
pub fn section(frame: &Frame<'_>, night: Option<&ExpectedNight>, feeds: &[ExpectedFeed]) -> Markup {
    html! {
        @if let Some(night) = night {
            section aria-labelledby="night" {
                h2 #night { "Last night\u{2019}s files" }
                p.q.s {
                    "Expected between " (at(night.since)) " and now."
                    @if let Some(next) = &night.next {
                        " Next due: " bdi { (next.source) } " " bdi { (next.name) } ", by "
                        (at(next.deadline)) "."
                    }
                }
                table.st.ex role="table" {
                    caption.vh { "Expected files, missing ones first" }
                    thead role="rowgroup" {
                        tr role="row" {
                            th.c1 scope="col" role="columnheader" { "State" }
                            @for head in HEADS {
                                th scope="col" role="columnheader" { (head) }
                            }
                        }
                    }
                    tbody role="rowgroup" {
                        @for feed in feeds.iter().take(ROWS) { (row(frame, feed)) }
                    }
                }
                @if feeds.len() > ROWS { p.q.s { "and " (feeds.len() - ROWS) " more" } }
            }
        }
    }
}

fn row(frame: &Frame<'_>, feed: &ExpectedFeed) -> Markup {
    let standing = &feed.standing;
    html! { tr role="row" {
        th.half.st-a scope="row" role="rowheader" { (shown(standing)) }
        td.q.st-d role="cell" {
            @match standing.deadline { Some(deadline) => (at(deadline)), None => "at any time" }
        }
        td.st-s role="cell" {
            a href=(address::source(frame, &feed.source)) { bdi { (feed.source) } }
            " " span.q { bdi { (standing.name) } }
        }
        td.st-f role="cell" {
            @if standing.unmet.is_some() {
                @if standing.expected > 1 || standing.unmet != Some(Shortfall::TooFew) {
                    span.q { (hint(&feed.lacks())) ". " }
                }
                @if standing.why.is_some() { span.q { bdi { (feed.why()) } } }
            } @else if standing.paths.is_empty() {
                span.q { @if standing.state == WindowState::Due { "not yet" } }
            } @else {
                @for path in standing.paths.iter().take(1) {
                    (named(frame, &feed.source, path))
                }
                @if standing.paths.len() > 1 {
                    span.q { " and " (standing.count.saturating_sub(1)) " more" }
                }
            }
            @if let Some(late) = standing.late_by { span.q.s { (late.div_euclid(60)) " min late" } }
        }
        td.st-w role="cell" data-l="last good" {
            span.q.s { @match standing.last_met { Some(last) => (at(last)), None => "unknown" } }
        }
    } }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn the_night_is_told_with_what_is_here_and_what_is_not() {
        for ((here, missing, late), told) in [
            ((9, 2, 1), "Last night\u{2019}s files: 9 of 12 are here, 2 are missing, 1 is late"),
            ((1, 1, 0), "Last night\u{2019}s files: 1 of 2 is here, 1 is missing"),
            ((0, 0, 1), "Last night\u{2019}s file is late"),
            ((12, 0, 0), "Last night\u{2019}s files: all 12 are here"),
            ((1, 0, 0), "Last night\u{2019}s file is here"),
            ((0, 0, 0), "Nothing was due last night"),
        ] {
            assert_eq!(night_answer(here, missing, late), told);
        }
    }

    #[test]
    fn a_passed_deadline_without_its_file_is_late_then_missing_and_never_here() {
        let evening = datetime!(2026-11-30 18:00 UTC);
        let told = |text: &str, now| {
            let mut standing = serde_json::from_str(text).expect("a standing");
            judge(&mut standing, Duration::from_secs(1800), now);
            let feed = ExpectedFeed { source: "acme".into(), evening, standing };
            ExpectedNight::of(&[feed], now).expect("a night").answer
        };
        let due = r#"{ "name": "daily", "severity": "error", "state": "due", "count": 0,
            "expected": 1, "deadline": "2026-12-01T05:00:00Z" }"#;
        let met = r#"{ "name": "daily", "severity": "error", "state": "met", "count": 1,
            "expected": 1, "deadline": "2026-11-30T05:00:00Z",
            "next": { "deadline": "2026-12-01T05:00:00Z", "state": "due" } }"#;
        for kept in [due, met] {
            for (now, answer) in [
                (datetime!(2026-12-01 4:00 UTC), "Nothing was due last night"),
                (datetime!(2026-12-01 5:10 UTC), "Last night\u{2019}s file is late"),
                (datetime!(2026-12-01 6:00 UTC), "Last night\u{2019}s file is missing"),
            ] {
                assert_eq!(told(kept, now), answer, "{now}");
            }
        }
    }

    #[test]
    fn the_evening_is_that_of_the_sources_zone() {
        let berlin = TimeZone::parse("Europe/Berlin").expect("a zone");
        let evening = |now| last_evening(berlin, now);
        let monday = datetime!(2026-11-30 17:00 UTC);
        assert_eq!(evening(datetime!(2026-12-01 06:04 UTC)), monday, "in the morning");
        assert_eq!(evening(datetime!(2026-12-01 22:59 UTC)), monday, "just before midnight");
        assert_eq!(evening(datetime!(2026-12-01 23:00 UTC)), datetime!(2026-12-01 17:00 UTC));
    }
}
