//! The page of one source as HTML: what is wrong with it, what is expected, what came. Pure.

use maud::{Markup, html};

use super::address;
use super::chart::{short_day, strip, strip_key, strip_words};
use super::days::{FeedDays, last_days};
use super::expected::{self, ExpectedFeed, ExpectedNight};
use super::frame::Frame;
use super::html::{self as parts};
use super::moment::at;
use super::overview::{ArrivedFile, SourceState, SourceWord, StatusOverview};
use super::overview_html::{answer, arrived, history, known, need, number};
use super::view::PageRun;

/// What the page shows.
pub(crate) struct SourceFacts<'a> {
    /// How the source stands.
    pub source: &'a SourceState,
    /// The folder of the server at which it begins, if it is configured.
    pub folder: Option<&'a str>,
    /// What came, newest first.
    pub came: &'a [ArrivedFile],
    /// What is expected of it.
    pub expected: &'a [ExpectedFeed],
    /// What came of that since last evening.
    pub night: Option<&'a ExpectedNight>,
    /// How its feeds were in the last thirty days.
    pub feeds: &'a [FeedDays],
    /// Its last runs, newest first.
    pub runs: &'a [PageRun],
}

impl<'a> SourceFacts<'a> {
    /// Of the source `source` of `overview`.
    pub fn of(
        overview: &'a StatusOverview,
        (source, folder): (&'a SourceState, Option<&'a str>),
        feeds: &'a [FeedDays],
        runs: &'a [PageRun],
    ) -> Self {
        Self {
            source,
            folder,
            came: &overview.arrived,
            expected: &overview.expected,
            night: overview.night.as_ref(),
            feeds,
            runs,
        }
    }
}

/// The page.
pub fn page(frame: &Frame<'_>, facts: &SourceFacts<'_>) -> String {
    let source = facts.source;
    let answer = answer(source);
    let live = html! {
        p.crumb { a href=(address::page(frame, "/sources", &[])) { "All sources" } }
        h1 { (answer) }
        (parts::as_of(frame))
        @if source.word.needs_you() {
            h2.vh { "What needs you" }
            ul.rows #failing { (need(frame, source)) }
        }
        div.two {
            div {
                (days(frame, facts))
                (expected::section(frame, facts.night, facts.expected))
                @if !facts.came.is_empty() { (arrived(frame, facts.came)) }
            }
            aside aria-label={ "About " (source.name) } {
                div.box { (about(source, facts.folder)) }
            }
        }
        @if !facts.runs.is_empty() { (history(frame, facts.runs)) }
    };
    parts::page(frame, &answer, source.word == SourceWord::Running, &live, &html! {})
}

/// The last thirty days of the source, and of each of its feeds.
fn days(frame: &Frame<'_>, facts: &SourceFacts<'_>) -> Markup {
    let days: Vec<time::Date> = last_days(frame.now).collect();
    let states = &facts.source.days;
    html! {
        section aria-labelledby="days" {
            h2 #days { "Last 30 days" }
            div.feed {
                div.hd { h3 { "Runs" } }
                (strip(states, &strip_words(states, &days), true))
                (ends(&days))
            }
            @for feed in facts.feeds {
                div.feed {
                    div.hd {
                        h3 { bdi { (feed.name) } }
                        span { (feed.on_time) " of " (feed.due) " on time" }
                    }
                    (strip(&feed.days, &strip_words(&feed.days, &days), true))
                    (ends(&days))
                }
            }
            (strip_key(["missing or failing", "late or waiting", "all well", "nothing due"]))
        }
    }
}

fn ends(days: &[time::Date]) -> Markup {
    html! {
        div.ends aria-hidden="true" {
            @if let Some(first) = days.first() { span { (short_day(*first)) } }
            span { "today" }
        }
    }
}

/// Facts about a source, beside what came of it.
fn about(source: &SourceState, folder: Option<&str>) -> Markup {
    html! {
        dl.facts {
            dt { "Complete up to" } dd { (known(source.complete_up_to)) }
            dt { "Looked" } dd { (known(source.looked)) }
            dt { "Looks again" }
            dd { @match source.next { Some(next) => (at(next)),
                None => "No schedule is known here" } }
            @if !source.address.is_empty() { dt { "Server" } dd { bdi { (source.address) } } }
            @if let Some(folder) = folder { dt { "Folder" } dd { bdi { (folder) } } }
            dt { "Listed" } dd { (number(source.listed)) }
            dt { "Waiting" } dd { (number(source.waiting)) }
            dt { "Failed" } dd { (number(source.failed)) }
        }
    }
}
