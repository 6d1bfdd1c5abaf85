//! What is expected of sources, as the page shows it: missing and late first. Pure.

use maud::{Markup, html};
use serde::Serialize;
use time::OffsetDateTime;

use super::html::at;
use crate::report::ExpectationStanding;
use crate::rules::expect::WindowState;

/// Rows that are shown.
const ROWS: usize = 30;

/// An expectation of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExpectedFeed {
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

/// A table of them.
pub fn section(feeds: &[ExpectedFeed]) -> Markup {
    html! {
        @if let Some(answer) = answer(feeds) {
            h2 #expected { "Expected files" }
            p { (answer) "." }
            table {
                caption.vh { "Expected files, missing ones first" }
                thead { tr {
                    th scope="col" { "State" } th scope="col" { "Due" }
                    th scope="col" { "Files" } th scope="col" { "Arrived, or why not" }
                    th scope="col" { "Last good" }
                } }
                tbody { @for feed in feeds.iter().take(ROWS) { (row(feed)) } }
            }
            @if feeds.len() > ROWS { p.q.s { "and " (feeds.len() - ROWS) " more" } }
        }
    }
}

fn row(feed: &ExpectedFeed) -> Markup {
    let standing = &feed.standing;
    let reason = standing.reason();
    html! { tr {
        td { (word(standing)) }
        td { @match standing.deadline { Some(deadline) => (at(deadline)), None => "at any time" } }
        td { bdi { (feed.source) " " (standing.name) } }
        td {
            @if !reason.is_empty() { (reason) }
            @else if let Some(path) = standing.paths.first() { bdi { (path) } }
        }
        td { @match standing.last_met { Some(last) => (at(last)), None => "unknown" } }
    } }
}
