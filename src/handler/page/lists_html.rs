//! Long lists, a page at a time: all sources, all runs, a calendar month. Pure.

use maud::{Markup, html};

use super::address;
use super::chart::commas;
use super::chart::plot;
use super::days::{DaysTold, beside, month_of};
use super::frame::Frame;
use super::html::{self as parts};
use super::overview::{SourceState, SourceWord, StatusOverview};
use super::overview_html::{files_by_day, history, source_table, sums};
use super::view::PageRun;
use crate::handler::api::ListQuery;
use crate::report::in_bytes;

/// Rows of a page.
pub(crate) const ROWS: usize = 50;

/// The sources that `asked` asks for, and the last of them, if more follow.
pub(crate) fn some_sources<'a>(
    overview: &'a StatusOverview,
    asked: &ListQuery,
) -> (Vec<&'a SourceState>, Option<&'a str>) {
    let word = |word: SourceWord| word.shown().to_lowercase().replace(' ', "_");
    let fits = |source: &&SourceState| {
        let words = asked.words.as_deref().unwrap_or_default().to_lowercase();
        asked.state.as_ref().is_none_or(|state| word(source.word) == state.to_lowercase())
            && source.name.to_lowercase().contains(&words)
    };
    let after = asked.after.as_deref();
    let start = after.and_then(|after| overview.sources.iter().position(|one| one.name == after));
    let mut some: Vec<&SourceState> = overview
        .sources
        .iter()
        .skip(start.map_or(0, |start| start + 1))
        .filter(fits)
        .take(ROWS + 1)
        .collect();
    let more = some.len() > ROWS;
    some.truncate(ROWS);
    let next = some.last().filter(|_| more).map(|source| source.name.as_str());
    (some, next)
}

/// The page of sources.
pub fn sources(frame: &Frame<'_>, overview: &StatusOverview, asked: &ListQuery) -> String {
    let (some, next) = some_sources(overview, asked);
    let words = asked.words.as_deref().unwrap_or_default();
    let live = html! {
        h1 { (overview.answer) }
        (parts::as_of(frame))
        form.row role="search" aria-label="Sources" method="get"
            action={ (frame.prefix) "/ingest/status/sources" } {
            @if !frame.view.is_empty() { input type="hidden" name="code" value=(frame.view); }
            div.grow {
                label for="words" { "Name, or a part of it" }
                input #words name="q" type="search" value=(words) autocomplete="off";
            }
            div {
                label for="state" { "State" }
                select #state name="state" {
                    option value="" { "all" }
                    @for word in SourceWord::ALL {
                        @let value = word.shown().to_lowercase().replace(' ', "_");
                        @let chosen = asked.state.as_deref() == Some(value.as_str());
                        option value=(value) selected[chosen] { (word.shown()) }
                    }
                }
            }
            button.go { "Show" }
        }
        section aria-labelledby="all" {
            h2 #all { "Sources, the worst first" }
            @if some.is_empty() { p.q { "No source fits. Leave the fields empty to see all." } }
            @else { (source_table(frame, some.into_iter())) }
            (more(frame, "/sources", asked, next))
        }
    };
    parts::page(frame, &overview.answer, false, &live, &html! {})
}

/// The page of runs; more follow if `next` names the last of these.
pub fn runs(frame: &Frame<'_>, runs: &[PageRun], asked: &ListQuery, next: Option<&str>) -> String {
    let answer = runs_answer(runs);
    let live = html! {
        h1 { (answer) }
        (parts::as_of(frame))
        @if !runs.is_empty() { (history(frame, runs)) }
        (more(frame, "/runs", asked, next))
    };
    parts::page(frame, &answer, runs.iter().any(PageRun::is_running), &live, &html! {})
}

/// What the page of runs says first.
pub(crate) fn runs_answer(runs: &[PageRun]) -> String {
    let bad = runs.iter().filter(|run| !matches!(run.status.as_str(), "ok" | "running")).count();
    match (runs.len(), bad) {
        (0, _) => "No run is known here".into(),
        (1, 0) => "The run shown here went well".into(),
        (all, 0) => format!("All {all} runs shown here went well"),
        (all, bad) => format!("{bad} of the {all} runs shown here did not go well"),
    }
}

fn more(frame: &Frame<'_>, path: &str, asked: &ListQuery, next: Option<&str>) -> Markup {
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    pairs.extend(asked.state.as_deref().map(|state| ("state", state)));
    pairs.extend(asked.words.as_deref().map(|words| ("source", words)));
    pairs.extend(next.map(|next| ("after", next)));
    html! {
        @if next.is_some() { p.acts { a href=(address::page(frame, path, &pairs)) { "More" } } }
    }
}

/// What the page of a month says first.
pub(crate) fn month_answer(month: &str, told: &DaysTold) -> String {
    match (told.due, told.files) {
        (0, 1) => format!("{month}: 1 file arrived"),
        (0, files) => format!("{month}: {} files arrived", commas(files)),
        (due, _) => format!("{month}: {} of {due} expected files came in time", told.on_time),
    }
}

/// The page of a calendar month.
pub fn month(frame: &Frame<'_>, month: &str, told: &DaysTold, days: &[time::Date]) -> String {
    let answer = month_answer(month, told);
    let heads = ["Due", "On time", "Late", "Missing", "Files", "Bytes"];
    let later = beside(month, true).filter(|later| *later <= month_of(frame.now.date()));
    let others = [("Month before", beside(month, false)), ("Month after", later)];
    let live = html! {
        h1 { (answer) }
        (parts::as_of(frame))
        (sums(told))
        figure { (plot(&files_by_day(told, days), "Files arrived each day")) }
        p.acts {
            @for (words, other) in others {
                @if let Some(other) = other { a href=(address::month(frame, &other)) { (words) } }
            }
        }
        section aria-labelledby="days" {
            h2 #days { "Day by day" }
            p.q.s data-utc {
                "What was expected is known of the last two months, days are those of UTC."
            }
            div.wide tabindex="0" role="region" aria-label="The table of days" {
                table {
                    caption.vh { "The days of the month" }
                    thead { tr {
                        th scope="col" { "Day" }
                        @for head in heads { th.n scope="col" { (head) } }
                    } }
                    tbody {
                        @for row in &told.days {
                            tr {
                                th.nw scope="row" { (row.day) }
                                @for count in [row.due, row.on_time, row.late, row.missed] {
                                    td.n { (count) }
                                }
                                td.n { (commas(row.files)) }
                                td.n { (in_bytes(row.bytes)) }
                            }
                        }
                    }
                }
            }
        }
    };
    parts::page(frame, &answer, false, &live, &html! {})
}
