//! The page of sources and runs as HTML: the worst first, each trouble beside what to do. Pure.

use maud::{Markup, html};
use time::{Duration, OffsetDateTime};

use super::chart::{bar, equation};
use super::expected;
use super::html::{self as parts, Frame, at, home, legend, run_link, starting, with, word};
use super::overview::{ArrivedFile, Need, SourceState, SourceWord, StatusOverview};
use super::view::{PagePass, PageRun, span};
use crate::report::in_bytes;

/// Rows of what needs a person.
const NEEDS: usize = 12;
/// Rows of sources.
const SOURCES: usize = 24;

/// The page.
pub fn list(frame: &Frame<'_>, overview: &StatusOverview, runs: &[PageRun]) -> String {
    let needing: Vec<&SourceState> =
        overview.sources.iter().filter(|source| source.word.needs_you()).collect();
    let empty = overview.sources.iter().all(|source| source.word == SourceWord::NoRunYet);
    let live = html! {
        h1.big { (icon(overview)) (overview.answer) }
        @if let Some(expected) = expected::answer(&overview.expected) { p.lead { (expected) "." } }
        @if !overview.arrived.is_empty() { p.lead { (lead(overview)) } }
        (parts::as_of(frame))
        @if empty && runs.is_empty() { (steps(overview)) }
        @if !needing.is_empty() {
            h2.vh #need { "What needs you" }
            ul.rows { @for source in needing.iter().take(NEEDS) { (need(frame, source)) } }
            @if needing.len() > NEEDS {
                p.q.s { "and " (needing.len() - NEEDS) " more, in the list of sources" }
            }
        }
        (expected::section(&overview.expected))
        @if !overview.arrived.is_empty() { (arrived(frame, &overview.arrived)) }
        @if !empty { (sources(frame, overview)) }
        @if !runs.is_empty() { (history(frame, runs)) }
    };
    let running = runs.iter().any(PageRun::is_running);
    parts::page(frame, &overview.answer, running, &live, &starting(frame))
}

/// The page of one source: what is wrong with it, what came, how it went.
pub fn one(
    frame: &Frame<'_>,
    source: &SourceState,
    came: &[ArrivedFile],
    runs: &[PageRun],
) -> String {
    let answer = answer(source);
    let live = html! {
        p.crumb { a href=(home(frame)) { "All sources" } }
        h1 { (answer) }
        (parts::as_of(frame))
        @if source.word.needs_you() { ul.rows #failing { (need(frame, source)) } }
        dl.facts {
            dt { "Complete up to" } dd { (known(source.complete_up_to)) }
            dt { "Looked" } dd { (known(source.looked)) }
            dt { "Looks again" }
            dd { @match source.next { Some(next) => (at(next)), None => "No schedule is known here" } }
            @if !source.address.is_empty() { dt { "Server" } dd { bdi { (source.address) } } }
            dt { "Listed" } dd { (number(source.listed)) }
            dt { "Waiting" } dd { (number(source.waiting)) }
            dt { "Failed" } dd { (number(source.failed)) }
        }
        @if !came.is_empty() { (arrived(frame, came)) }
        @if !runs.is_empty() { (history(frame, runs)) }
    };
    parts::page(frame, &answer, source.word == SourceWord::Running, &live, &html! {})
}

/// The answer of a source's page, in a sentence.
pub fn answer(source: &SourceState) -> String {
    let name = &source.name;
    match (source.word, source.needs.first()) {
        (SourceWord::Fine, _) => format!("{name} is fine"),
        (SourceWord::NoRunYet, _) => format!("{name}: no run has looked at it yet"),
        (SourceWord::Running, _) => format!("{name}: a run is at it"),
        (SourceWord::Interrupted, _) => {
            format!("{name}: the last run was interrupted; the next goes on")
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
    let ago = span(overview.as_of - newest.by);
    format!("The newest file came {ago} ago: {} from {}.", file_name(&newest.path), newest.source)
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Since when, how long, in how many runs.
fn since(frame: &Frame<'_>, since: OffsetDateTime, runs: u64) -> Markup {
    html! {
        p.q { "Since " (at(since)) ", " (age(frame.now - since)) ", " (runs) @if runs == 1 { " run" }
            @else { " runs" } }
    }
}

/// Minutes up to 90, hours up to 36, then days.
fn age(duration: Duration) -> String {
    let minutes = duration.whole_minutes().max(0);
    match minutes {
        0 => "less than a minute".into(),
        1 => "a minute".into(),
        2..=90 => format!("{minutes} min"),
        91..=2160 => format!("{} hours", minutes / 60),
        _ => format!("{} days", minutes / 1440),
    }
}

fn need(frame: &Frame<'_>, source: &SourceState) -> Markup {
    html! {
        li {
            div { (shown(source.word)) }
            div.what {
                h3 { a href=(with(frame, &[("source", &source.name)])) { bdi { (source.name) } } }
                @for need in &source.needs {
                    p { (need.what) }
                    p.s { bdi { (need.message) } }
                    (since(frame, need.since, need.runs))
                    (paths(frame, source, need))
                }
                @if source.needs.is_empty() {
                    p { (silence(source)) }
                    @if let Some(began) = source.since { (since(frame, began, source.runs)) }
                }
                p.q.s { "Complete up to " (known(source.complete_up_to)) }
            }
            div.do {
                h4 { "What to do" }
                @for need in &source.needs { p { bdi { (need.hint) } } }
                @if source.needs.is_empty() {
                    p { "See whether the schedule still starts runs, and what the log says." }
                }
                p.acts.s {
                    @if let Some(run) = &source.run { (run_link(frame, run, &html! { "Last run" })) }
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
        @if more > 0 && !need.paths.is_empty() { p.q.s { "and " (more) " more files" } }
    }
}

/// A file's name, as a link to what is known of it.
pub fn file(frame: &Frame<'_>, source: &str, path: &str) -> Markup {
    html! { a href=(with(frame, &[("source", source), ("q", path)])) { bdi { (path) } } }
}

fn known(at_time: Option<OffsetDateTime>) -> Markup {
    html! { @match at_time { Some(time) => (at(time)), None => span.q { "unknown" } } }
}

fn number(count: Option<u64>) -> Markup {
    html! { @match count { Some(count) => (count), None => span.q { "unknown" } } }
}

fn arrived(frame: &Frame<'_>, files: &[ArrivedFile]) -> Markup {
    html! {
        section aria-labelledby="night" {
            h2 #night { "What arrived last" }
            table.st.ar role="table" {
                caption.vh { "Files that arrived last" }
                thead role="rowgroup" {
                    tr role="row" {
                        th.c1 scope="col" role="columnheader" { "By run of" }
                        th scope="col" role="columnheader" { "File" }
                        th scope="col" role="columnheader" { "Source" }
                        th.n scope="col" role="columnheader" { "Size" }
                    }
                }
                tbody role="rowgroup" {
                    @for came in files {
                        tr role="row" {
                            td.q.nw.ar-t role="cell" { (run_link(frame, &came.run, &at(came.by))) }
                            th.ar-f scope="row" role="rowheader" {
                                (file(frame, &came.source, &came.path))
                            }
                            td.ar-s role="cell" { bdi { (came.source) } }
                            td.n.ar-n role="cell" {
                                @match came.size { Some(size) => (in_bytes(size)), None => "unknown" }
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
    let heads = ["Source", "Newest file", "Waiting, failed", "Complete up to", "Looked"];
    html! {
        section aria-labelledby="all" {
            h2 #all { "All sources" }
            table.st.so role="table" {
                caption.vh { "All sources" }
                thead role="rowgroup" {
                    tr role="row" {
                        th.c1 scope="col" role="columnheader" { "State" }
                        @for head in heads { th scope="col" role="columnheader" { (head) } }
                    }
                }
                tbody role="rowgroup" { @for one in all.iter().take(SOURCES) { (row(frame, one)) } }
            }
            @if all.len() > SOURCES {
                @let rest = &all[SOURCES..];
                @let fine = rest.iter().all(|source| source.word == SourceWord::Fine);
                p.q.s { "and " (rest.len()) " more" @if fine { ", all fine" } }
            }
            @if !frame.off.is_empty() {
                p.q.s { "Off (" code { "enabled = false" } "): " bdi { (frame.off.join(", ")) } }
            }
        }
    }
}

fn row(frame: &Frame<'_>, source: &SourceState) -> Markup {
    html! {
        tr role="row" {
            th.so-a scope="row" role="rowheader" { (shown(source.word)) }
            td.so-n role="cell" {
                a href=(with(frame, &[("source", &source.name)])) { bdi { (source.name) } }
            }
            td.so-f role="cell" {
                @match (&source.newest, source.brought) {
                    (Some(newest), _) => {
                        (file(frame, &source.name, &newest.path)) span.q.s { (at(newest.by)) }
                    }
                    (None, Some(brought)) => span.q { "by the run of " (at(brought)) },
                    (None, None) => span.q { "none is known" },
                }
            }
            td.days role="cell" data-l="waiting, failed" {
                (number(source.waiting)) ", " (number(source.failed))
            }
            td role="cell" data-l="complete up to" { (known(source.complete_up_to)) }
            td.hide role="cell" { (known(source.looked)) }
        }
    }
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
        let failing: Vec<(String, String)> = run
            .passes
            .iter()
            .flat_map(|pass| {
                pass.failures.iter().map(|failure| (pass.source.clone(), failure.path.clone()))
            })
            .collect();
        (run.status.clone(), run.trigger.clone(), total, failing)
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

fn history(frame: &Frame<'_>, runs: &[PageRun]) -> Markup {
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
                @if group.runs > 1 { span.q.s { (group.runs) " runs since " (at(group.oldest.started)) } }
                span.q.s { (run.trigger.replace('_', " ")) }
            }
            td.hi-s role="cell" { (word(&run.status)) }
            td.hi-d role="cell" { (bar(&total)) span.bar-words { (equation(&total)) } }
            td.n role="cell" data-l="read" { (in_bytes(run.sum(PagePass::arrived))) }
            td.n.hide role="cell" { (span(run.duration(frame.now))) }
        }
    }
}

/// Nothing has run yet: what is right already, and what comes next.
fn steps(overview: &StatusOverview) -> Markup {
    let count = overview.sources.len();
    let commands = [
        ("See whether the servers let us in", "blobferry check"),
        ("See what would come", "blobferry plan"),
        ("Bring it over", "blobferry run"),
    ];
    html! {
        section aria-labelledby="steps" {
            h2 #steps { "To the first file" }
            ol.steps {
                li { (done()) div { h3 { "Settings read" }
                    p.q { "They name " (count) @if count == 1 { " source" } @else { " sources" } } } }
                li { (done()) div { h3 { "Storage answers" } p.q { "It holds no record of a run yet" } } }
                @for ((title, command), number) in commands.iter().zip(3..) {
                    li {
                        span.num aria-hidden="true" { (number) }
                        div { h3 { (title) } pre tabindex="0" { code { (command) } } }
                    }
                }
            }
        }
    }
}

fn done() -> Markup {
    html! {
        svg.good viewBox="0 0 16 16" role="img" aria-label="Done" { use href="#i-ok" {} }
    }
}
