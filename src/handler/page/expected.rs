//! What is expected of sources, as the page shows it: missing and late first. Pure.

use maud::{Markup, html};
use serde::Serialize;
use time::OffsetDateTime;

use super::address;
use super::frame::Frame;
use super::html::at;
use crate::report::ExpectationStanding;
use crate::rules::expect::WindowState;

/// What stands above the columns.
const HEADS: [&str; 4] = ["Due", "Source and feed", "Arrived, or why not", "Last good"];
/// Rows that are shown.
const ROWS: usize = 30;

/// An expectation of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ExpectedFeed {
    /// The source.
    pub source: String,
    /// How it stands.
    #[serde(flatten)]
    pub standing: ExpectationStanding,
}

/// Missing ones first, then late ones, then by deadline.
pub fn sort(feeds: &mut [ExpectedFeed]) {
    feeds.sort_by(|one, other| {
        let key = |feed: &ExpectedFeed| {
            let standing = &feed.standing;
            (!standing.is_missed(), !standing.is_unmet(), standing.deadline)
        };
        key(one).cmp(&key(other)).then_with(|| one.source.cmp(&other.source))
    });
}

/// They in a sentence; `None`: nothing is expected.
pub fn answer(feeds: &[ExpectedFeed]) -> Option<String> {
    if feeds.is_empty() {
        return None;
    }
    let missed = || feeds.iter().filter(|feed| feed.standing.is_missed());
    let late = feeds.iter().filter(|feed| feed.standing.is_unmet()).count() - missed().count();
    let since = missed().filter_map(|feed| feed.standing.since).min();
    let mut text = format!("{} expected", feeds.len());
    if missed().count() > 0 {
        text += &format!(", {} missed", missed().count());
        text += &since.map_or_else(String::new, |since| format!(" since {}", clock(since)));
    }
    if late > 0 {
        text += &format!(", {late} late");
    }
    if missed().count() + late == 0 {
        text += ", all in time";
    }
    Some(text)
}

/// Day, hour and minute, in UTC.
fn clock(at: OffsetDateTime) -> String {
    let format =
        time::macros::format_description!("[day padding:none] [month repr:short], [hour]:[minute]");
    let at = at.to_offset(time::UtcOffset::UTC);
    at.format(format).map_or_else(|_| String::new(), |text| format!("{text} UTC"))
}

/// The state in a word for people.
fn word(standing: &ExpectationStanding) -> &'static str {
    match standing.state {
        WindowState::Missed if !standing.is_missed() => "came late",
        WindowState::Missed => "missing",
        WindowState::Late => "late",
        WindowState::Met if standing.late_by.is_some() => "here, late",
        WindowState::Met => "here",
        WindowState::Due => "due",
    }
}

/// Shape, word and colour of a state.
fn shown(standing: &ExpectationStanding) -> Markup {
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
pub fn section(frame: &Frame<'_>, feeds: &[ExpectedFeed]) -> Markup {
    html! {
        @if let Some(answer) = answer(feeds) {
            section aria-labelledby="expected" {
                h2 #expected { "Expected files" }
                p.q.s { (answer) "." }
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
    let reason = standing.reason();
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
            @if !reason.is_empty() { span.q { (reason) } }
            @else {
                @for path in standing.paths.iter().take(1) {
                    a href=(address::file(frame, &feed.source, path)) { bdi { (path) } }
                }
                @if standing.paths.len() > 1 {
                    span.q { " and " (standing.count.saturating_sub(1)) " more" }
                }
            }
            @if let Some(late) = standing.late_by { span.q.s { (late.div_euclid(60)) " min late" } }
        }
        td.st-w role="cell" {
            span.q.s { @match standing.last_met { Some(last) => (at(last)), None => "unknown" } }
        }
    } }
}
