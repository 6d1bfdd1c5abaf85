//! The page of sources and runs as HTML: the worst first, each trouble beside what to do. Pure.

use maud::{Markup, html};
use time::OffsetDateTime;

use super::address;
use super::chart::{bar, equation};
use super::chart::{commas, plot, short_day, strip, strip_key, strip_words};
use super::days::{DaysTold, last_days, month_of};
use super::expected;
use super::frame::Frame;
use super::html::{self as parts, file_name, hint, legend, named, run_link, starting, word};
use super::moment::{age, at};
use super::newcomer::{NewSource, steps};
use super::overview::{ArrivedFile, Need, SourceState, SourceWord, StatusOverview};
use super::pass::PagePass;
use super::view::{PageRun, span};
use crate::model::number_of;
use crate::report::in_bytes;

/// Rows of what needs a person.
const NEEDS: usize = 12;
/// Rows of sources.
const SOURCES: usize = 24;

/// The page; with `new`, that of the first day: nothing has run yet.
pub fn list(
    frame: &Frame<'_>,
    overview: &StatusOverview,
    runs: &[PageRun],
    new: Option<&[NewSource]>,
) -> String {
    let needing: Vec<&SourceState> =
        overview.sources.iter().filter(|source| source.word.needs_you()).collect();
    let empty = overview.is_empty();
    let live = html! {
        h1.big { (icon(overview)) (overview.answer) }
        @if let Some(night) = &overview.night { p.lead { (night.answer) "." } }
        @if !overview.arrived.is_empty() { p.lead { (lead(overview)) } }
        (parts::as_of(frame))
        @if let Some(new) = new { (steps(overview, new)) }
        @if !needing.is_empty() {
            h2.vh #need { "What needs you" }
            ul.rows { @for source in needing.iter().take(NEEDS) { (need(frame, source)) } }
            @if needing.len() > NEEDS {
                p.q.s { "and " (needing.len() - NEEDS) " more, in the list of sources" }
            }
        }
        (expected::section(frame, overview.night.as_ref(), &overview.expected))
        @if !overview.arrived.is_empty() { (arrived(frame, &overview.arrived)) }
        @if !empty { (sources(frame, overview)) }
        @if !empty { (month(frame, &overview.month)) }
        @if !runs.is_empty() { (history(frame, runs)) }
    };
    let running = runs.iter().any(PageRun::is_running);
    parts::page(frame, &overview.answer, running, &live, &starting(frame))
}

/// The answer of a source's page, in a sentence.
pub fn answer(source: &SourceState) -> String {
    let name = &source.name;
    match (source.word, source.needs.first()) {
        (SourceWord::Fine, _) => format!("{name} is fine"),
        (SourceWord::NoRunYet, _) => format!("{name}: no run has looked at it yet"),
        (SourceWord::Running, _) => format!("{name}: a run is at it"),
        (SourceWord::Interrupted, _) => {
            format!("{name}: the last run ended before all was done; the next goes on")
        }
        (word, Some(need)) if word.needs_you() => {
            format!("{name}: {}", lower(need.what.trim_end_matches('.')))
        }
        (word, _) => format!("{name}: {}", word.shown()),
    }
}

fn lower(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

fn icon(overview: &StatusOverview) -> Markup {
    let needing = overview.needing() > 0;
    let well = overview.sources.iter().all(|source| source.word == SourceWord::Fine);
    let (class, name) = match (needing, well) {
        (true, _) => ("bad", "i-bad"),
        (false, true) => ("good", "i-ok"),
        (false, false) => ("none", "i-late"),
    };
    html! { span.(class) { (svg(name)) } }
}

fn svg(name: &str) -> Markup {
    html! { svg viewBox="0 0 16 16" aria-hidden="true" { use href={ "#" (name) } {} } }
}

/// The word of a source: shape, word and colour.
pub fn shown(word: SourceWord) -> Markup {
    let (class, name) = match word {
        SourceWord::Down => ("bad", "i-bad"),
        SourceWord::Failing => ("bad", "i-fail"),
        SourceWord::Missing => ("bad", "i-late"),
        SourceWord::Stuck | SourceWord::Interrupted | SourceWord::Abandoned => ("warn", "i-stuck"),
        SourceWord::Silent => ("warn", "i-late"),
        SourceWord::Running => ("live", "i-run"),
        SourceWord::NoRunYet => ("none", "i-late"),
        SourceWord::Fine => ("good", "i-ok"),
    };
    html! { span.w.(class) { (svg(name)) (word.shown()) } }
}

fn lead(overview: &StatusOverview) -> String {
    let newest = &overview.arrived[0];
    let ago = age(overview.as_of - newest.by);
    format!("The newest file came {ago} ago: {} from {}.", file_name(&newest.path), newest.source)
}

/// Since when, how long, in how many runs.
fn since(frame: &Frame<'_>, since: OffsetDateTime, runs: Option<u64>) -> Markup {
    html! {
        p.q {
            "Since " (at(since)) ", " (age(frame.now - since))
            @if let Some(runs) = runs { ", " (number_of(runs, "run")) }
        }
    }
}

/// What is wrong with a source, beside what to do.
pub fn need(frame: &Frame<'_>, source: &SourceState) -> Markup {
    html! {
        li {
            div { (shown(source.word)) }
            div.what {
                h3 { a href=(address::source(frame, &source.name)) { bdi { (source.name) } } }
                @for need in &source.needs {
                    p { (need.what) }
                    p.s { bdi { (need.message) } }
                    (since(frame, need.since, need.runs))
                    (paths(frame, source, need))
                }
                @if source.needs.is_empty() {
                    p { (silence(source)) }
                    @if let Some(began) = source.since { (since(frame, began, Some(source.runs))) }
                }
                p.q.s { "Complete up to " (known(source.complete_up_to)) }
            }
            div.do {
                h4 { "What to do" }
                @for need in &source.needs { p { bdi { (hint(&need.hint)) } } }
                @if source.needs.is_empty() {
                    p { "See whether the schedule still starts runs, and what the log says." }
                }
                p.acts.s {
                    @if let Some(run) = &source.run { (run_link(frame,
                        run, &html! { "Last run" })) }
                }
            }
        }
    }
}

fn silence(source: &SourceState) -> &'static str {
    match source.word {
        SourceWord::Silent => "No run has looked at it for too long.",
        _ => "The last run was not well; its record tells no class.",
    }
}

fn paths(frame: &Frame<'_>, source: &SourceState, need: &Need) -> Markup {
    let shown = u64::try_from(need.paths.len()).unwrap_or(u64::MAX);
    let more = need.files.saturating_sub(shown);
    html! {
        @for path in &need.paths { p.s { (file(frame, &source.name, path)) } }
        @if more > 0 && !need.paths.is_empty() {
            p.q.s { "and " (more) @if more == 1 { " more file" } @else { " more files" } }
        }
    }
}

/// A file's name, as a link to what is known of it.
pub fn file(frame: &Frame<'_>, source: &str, path: &str) -> Markup {
    html! { a href=(address::file(frame, source, path)) { bdi { (path) } } }
}

/// A time, or that nobody knows it.
pub fn known(at_time: Option<OffsetDateTime>) -> Markup {
    html! { @match at_time { Some(time) => (at(time)), None => span.q { "unknown" } } }
}

/// A number, or that nobody knows it.
pub fn number(count: Option<u64>) -> Markup {
    html! { @match count { Some(count) => (count), None => span.q { "unknown" } } }
}

/// Files that arrived.
pub fn arrived(frame: &Frame<'_>, files: &[ArrivedFile]) -> Markup {
    let several = files.windows(2).any(|pair| pair[0].source != pair[1].source);
    html! {
        section aria-labelledby="came" {
            h2 #came { "What arrived last" }
            table.st.ar role="table" {
                caption.vh { "Files that arrived last" }
                thead role="rowgroup" {
                    tr role="row" {
                        th.c1 scope="col" role="columnheader" { "By run of" }
                        th scope="col" role="columnheader" { "File" }
                        @if several { th scope="col" role="columnheader" { "Source" } }
                        th.n scope="col" role="columnheader" { "Size" }
                    }
                }
                tbody role="rowgroup" {
                    @for came in files {
                        tr role="row" {
                            td.q.nw.ar-t role="cell" { (run_link(frame, &came.run, &at(came.by))) }
                            th.ar-f scope="row" role="rowheader" {
                                (named(frame, &came.source, &came.path))
                            }
                            @if several { td.ar-s role="cell" { bdi { (came.source) } } }
                            td.n.ar-n role="cell" {
                                @match came.size { Some(size) => (in_bytes(size)),
                                    None => "unknown" }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn sources(frame: &Frame<'_>, overview: &StatusOverview) -> Markup {
    let all = &overview.sources;
    html! {
        section aria-labelledby="all" {
            h2 #all { "All sources" }
            (source_table(frame, all.iter().take(SOURCES)))
            @if all.len() > SOURCES {
                @let rest = &all[SOURCES..];
                @let fine = rest.iter().all(|source| source.word == SourceWord::Fine);
                p.q.s.note {
                    a href=(address::page(frame, "/sources", &[])) { "and " (rest.len()) " more" }
                    @if fine { ", all fine" }
                }
            }
            (strip_key(["missing, failing or down", "late or waiting", "all well", "nothing due"]))
            @if !frame.off.is_empty() {
                p.q.s.note {
                    "Off (" code { "enabled = false" } "): " bdi { (frame.off.join(", ")) }
                }
            }
        }
    }
}

/// Sources as a table.
pub(crate) fn source_table<'a>(
    frame: &Frame<'_>,
    sources: impl Iterator<Item = &'a SourceState>,
) -> Markup {
    let days: Vec<time::Date> = last_days(frame.now).collect();
    let heads = ["Newest file", "Waiting, failed", "Complete up to"];
    html! {
        table.st.so role="table" {
            caption.vh { "All sources" }
            thead role="rowgroup" {
                tr role="row" {
                    th.c1 scope="col" role="columnheader" { "State" }
                    th.w15 scope="col" role="columnheader" { "Source" }
                    th.w22 scope="col" role="columnheader" { "Last 30 days" }
                    @for head in heads { th scope="col" role="columnheader" { (head) } }
                }
            }
            tbody role="rowgroup" { @for one in sources { (row(frame, one, &days)) } }
        }
    }
}

fn row(frame: &Frame<'_>, source: &SourceState, days: &[time::Date]) -> Markup {
    html! {
        tr role="row" {
            th.so-a scope="row" role="rowheader" { (shown(source.word)) }
            td.so-n role="cell" {
                a href=(address::source(frame, &source.name)) { bdi { (source.name) } }
            }
            td.days role="cell" { (strip(&source.days, &strip_words(&source.days, days), false)) }
            td.so-f role="cell" {
                @match (&source.newest, source.brought) {
                    (Some(newest), _) => {
                        (named(frame, &source.name, &newest.path)) span.q.s { (at(newest.by)) }
                    }
                    (None, Some(brought)) => span.q { "by the run of " (at(brought)) },
                    (None, None) => span.q { "none is known" },
                }
            }
            td role="cell" data-l="waiting, failed" {
                (number(source.waiting)) ", " (number(source.failed))
            }
            td role="cell" data-l="complete up to" {
                (known(source.complete_up_to))
                span.q.s { "looked " (known(source.looked)) }
            }
        }
    }
}

/// The last thirty days of all sources: what was in time, what was not, what came.
fn month(frame: &Frame<'_>, told: &DaysTold) -> Markup {
    let days: Vec<time::Date> = last_days(frame.now).collect();
    let [Some(first), Some(last)] = [days.first(), days.last()] else { return html! {} };
    html! {
        section aria-labelledby="month" {
            h2 #month { "Last 30 days" }
            p.q.s {
                (short_day(*first)) " to today, all sources. "
                a href=(address::month(frame, &month_of(*last))) { "By calendar month" }
            }
            (sums(told))
            figure {
                (plot(&files_by_day(told, &days), "Files arrived each day"))
                figcaption.q.s { "Files arrived each day" }
            }
        }
    }
}

/// Files of each day.
pub(crate) fn files_by_day(told: &DaysTold, days: &[time::Date]) -> Vec<(time::Date, u64)> {
    days.iter().copied().zip(told.days.iter().map(|row| row.files)).collect()
}

/// What days came to, in numbers.
pub fn sums(told: &DaysTold) -> Markup {
    let missed: Vec<String> = told
        .missed
        .iter()
        .take(3)
        .map(|missed| format!("{} {}", missed.source, missed.count))
        .collect();
    html! {
        dl.nums {
            @if told.due > 0 {
                div {
                    dt { "of " (told.due) " expected files on time" }
                    dd { (percent(told.on_time, told.due)) }
                }
                div { dt { "late" } dd { (told.late) } }
                div {
                    dt { "missing" @if !missed.is_empty() { ": " (missed.join(", ")) } }
                    dd { (told.misses()) }
                }
            }
            div {
                dt {
                    @if told.files == 1 { "file" } @else { "files" }
                    " arrived, " (in_bytes(told.bytes))
                }
                dd { (commas(told.files)) }
            }
        }
    }
}

/// `a` of `b` in per cent, rounded down: all is all alone.
pub fn percent(a: usize, b: usize) -> String {
    let tenths = a * 1000 / b.max(1);
    format!("{}.{} %", tenths / 10, tenths % 10)
}

/// Runs that came to the same, as one.
struct Alike<'a> {
    newest: &'a PageRun,
    oldest: &'a PageRun,
    runs: usize,
}

/// Equal runs stand together, if nothing arrived in them.
fn alike(runs: &[PageRun]) -> Vec<Alike<'_>> {
    let mut found: Vec<Alike<'_>> = Vec::new();
    let key = |run: &PageRun| {
        let total = run.total();
        (run.status.clone(), run.trigger.clone(), total, run.failing)
    };
    for run in runs {
        match found.last_mut() {
            Some(last)
                if run.sum(|pass| pass.ingested) == 0
                    && !run.is_running()
                    && key(last.newest) == key(run) =>
            {
                last.oldest = run;
                last.runs += 1;
            }
            _ => found.push(Alike { newest: run, oldest: run, runs: 1 }),
        }
    }
    found
}

/// Runs, equal ones together.
pub fn history(frame: &Frame<'_>, runs: &[PageRun]) -> Markup {
    let heads = ["When", "State", "What came of it"];
    html! {
        section aria-labelledby="runs" {
            h2 #runs { "Runs" }
            p.q.s { "Runs with the same result stand together." }
            (legend())
            table.st.hi role="table" {
                caption.vh { "Runs, newest first" }
                thead role="rowgroup" {
                    tr role="row" {
                        @for head in heads { th scope="col" role="columnheader" { (head) } }
                        th.n scope="col" role="columnheader" { "Read" }
                        th.n scope="col" role="columnheader" { "Took" }
                    }
                }
                tbody role="rowgroup" { @for group in alike(runs) { (run_row(frame, &group)) } }
            }
        }
    }
}

fn run_row(frame: &Frame<'_>, group: &Alike<'_>) -> Markup {
    let (run, total) = (group.newest, group.newest.total());
    html! {
        tr role="row" {
            th.hi-w scope="row" role="rowheader" {
                (run_link(frame, &run.id, &at(run.started)))
                @if group.runs > 1 {
                    span.q.s { (group.runs) " runs since " (at(group.oldest.started)) }
                }
                span.q.s { (run.trigger.replace('_', " ")) }
            }
            td.hi-s role="cell" { (word(&run.status)) }
            td.hi-d role="cell" { (bar(&total)) span.bar-words { (equation(&total)) } }
            td.n role="cell" data-l="read" { (in_bytes(run.sum(PagePass::arrived))) }
            td.n.hide role="cell" { (span(run.duration(frame.now))) }
        }
    }
}
