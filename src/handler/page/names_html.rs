//! The page of a search for a file by its name. Pure.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::absent::AbsentName;
use super::address;
use super::expected::{ExpectedFeed, shown};
use super::frame::Frame;
use super::html::{self as parts, file_name, run_link};
use super::moment::at;
use super::names_seen::{NameSearch, NamesSeen};
use super::overview::{SourceState, SourceWord as Standing, StatusOverview};
use super::overview_html::file;
use super::sentence::Sentence;
use crate::handler::api::SeenSince;
use crate::history::files_by_name::Hit;
use crate::model::number_of;
use crate::report::{Word, in_bytes};

/// Files that are shown.
const SHOWN: usize = 50;
/// Sources that were not listed and are named.
const UNLISTED: usize = 12;

/// What a search came to, in a sentence.
pub fn answer(seen: &NamesSeen, search: &NameSearch<'_>) -> String {
    let found = &seen.found;
    if search.name.is_empty() {
        return "Find a file by its name".into();
    }
    if found.hits.is_empty() && seen.earlier > 0 {
        return format!("No file of this name was seen {}", since_then(search.since));
    }
    if let [hit] = found.hits.as_slice() {
        let file = file_name(&hit.path);
        return match hit.outcome {
            Word::Ingested => format!("{file} is here"),
            Word::Failed => format!("{file} failed"),
            Word::Deferred => format!("{file} waits"),
            Word::Gone => format!("{file} is gone from the source"),
            Word::Skipped => format!("{file} is left out"),
        };
    }
    // A file may be told of several times: its versions, and what became of it before.
    let files: BTreeSet<(&str, &str)> =
        found.hits.iter().map(|hit| (hit.source.as_str(), hit.path.as_str())).collect();
    match (files.len(), found.hits.first()) {
        (0, _) | (_, None) => "No file of this name was seen".into(),
        (1, Some(hit)) => {
            let file = file_name(&hit.path);
            format!("{file}: {} things are known of it", found.hits.len())
        }
        (count, _) => format!("{count} files match"),
    }
}

/// The page.
pub fn page(
    frame: &Frame<'_>,
    overview: &StatusOverview,
    (seen, absent): (&NamesSeen, Option<&AbsentName>),
    search: &NameSearch<'_>,
) -> String {
    let answer = answer(seen, search);
    let (found, name) = (&seen.found, search.name);
    let back = found.back_to;
    let live = html! {
        h1 { (answer) }
        @if let Some(absent) = absent { p.lead { bdi { (absent.lead) } } }
        (parts::as_of(frame))
        (form(frame, search))
        @if let Some(absent) = absent { (nothing(frame, absent)) }
        @if !found.hits.is_empty() { (hits(frame, "Files that match", &[], &found.hits)) }
        @if found.hits.len() > SHOWN {
            p.q.s.note {
                "and " (found.hits.len() - SHOWN) " more: a longer part of the name, or the "
                "source, leaves fewer"
            }
        }
        @if !name.is_empty() { p.q.s.note {
            @if !found.hits.is_empty() { "Newest first. " }
            "Looked through " (number_of(found.lines, "name"))
            @if let Some(back) = back { ", back to the run of " (at(back)) }
            @if !found.complete { ". There is more further back: " code { "blobferry find" }
                " looks through all of it" } "."
            @if seen.earlier > 0 {
                @let are = if seen.earlier == 1 { "is" } else { "are" };
                " " (number_of(seen.earlier, "older hit")) " " (are) " left out. "
                a href=(further_back(frame, search)) { "Look further back" }
            }
        } }
        section aria-labelledby="not" {
            h2 #not { "Where it could still be" }
            ul.not {
                @let unknown = || overview.sources.iter().filter(|source| source.listed.is_none());
                @for source in unknown().take(UNLISTED) {
                    li {
                        span {
                            a href=(address::source(frame, &source.name)) { bdi { (source.name) } }
                        }
                        span { (unlisted(source, absent)) }
                    }
                }
                @let more = unknown().count().saturating_sub(UNLISTED);
                @if more > 0 {
                    li { span { "and " (more) " more" } span { "were not listed either" } }
                }
                li { span { "Left out" } span { "Names of files that your rules leave out are not \
                    kept." } }
                li {
                    span { "Archives" }
                    span { "Members are found by the name of their archive." }
                }
                li {
                    span { "Spelling" }
                    span {
                        "Capital and small letters are the same here. "
                        code { "*" } " stands for any letters."
                    }
                }
            }
        }
    };
    parts::page(frame, &answer, false, &live, &html! {})
}

/// The time since which runs count, behind "Seen since".
fn ago(since: SeenSince) -> &'static str {
    match since {
        SeenSince::Months => "3 months ago",
        SeenSince::Yesterday => "yesterday",
        SeenSince::Ever => "ever",
    }
}

/// The same, behind "was seen".
fn since_then(since: SeenSince) -> &'static str {
    match since {
        SeenSince::Months => "in the last 3 months",
        SeenSince::Yesterday => "since yesterday",
        SeenSince::Ever => "",
    }
}

/// The same search without a bound.
fn further_back(frame: &Frame<'_>, search: &NameSearch<'_>) -> String {
    let of = search.source.map(|source| ("source", source));
    let pairs: Vec<(&str, &str)> = [("q", search.name)].into_iter().chain(of).collect();
    address::page(frame, "/files", &pairs)
}

/// The form, with what was looked for.
fn form(frame: &Frame<'_>, search: &NameSearch<'_>) -> Markup {
    let NameSearch { name, source, since } = *search;
    html! {
        form.row role="search" aria-label="Names of files" method="get"
            action={ (frame.prefix) "/ingest/status/files" } {
            @if !frame.view.is_empty() { input type="hidden" name="code" value=(frame.view); }
            div.grow {
                label for="name" { "File name, or a part of it" }
                input #name name="q" type="search" value=(name) autocomplete="off";
            }
            div {
                label for="of" { "Source" }
                select #of name="source" {
                    option value="" { "all " (frame.sources.len()) }
                    @for known in frame.sources {
                        option value=(known) selected[source == Some(*known)] { (known) }
                    }
                }
            }
            div {
                label for="since" { "Seen since" }
                select #since name="since" {
                    @for one in SeenSince::ALL {
                        option value=(one.word()) selected[one == since] { (ago(one)) }
                    }
                }
            }
            button.go { "Find" }
        }
    }
}

/// Why newer files of a source are not known, and since when.
fn unlisted(source: &SourceState, absent: Option<&AbsentName>) -> Sentence {
    let known = absent.and_then(|absent| {
        absent.unlisted.iter().find(|unlisted| unlisted.source == source.name)?.since
    });
    let unknown = "newer files are not known here";
    match (source.word, known) {
        (Standing::NoRunYet, _) => Sentence::new("was never listed"),
        (_, Some(since)) => {
            Sentence::new("has not been listed since ").at(since).and(format!(": {unknown}"))
        }
        _ => Sentence::new(format!("was not listed by the last run: {unknown}")),
    }
}

/// What there is to say where no file has the name.
fn nothing(frame: &Frame<'_>, absent: &AbsentName) -> Markup {
    html! {
        div.box {
            p.s.q { "For the sender, to read out or paste" }
            p #said data-utc { bdi { (absent.for_the_sender) } }
            p.acts { button type="button" data-copy="said" hidden { "Copy" } }
        }
        @if !absent.expected.is_empty() || !absent.nearest.is_empty() {
            section aria-labelledby="near" {
                h2 #near { "Nearest names" }
                (hits(frame, "Nearest names", &absent.expected, &absent.nearest))
            }
        }
    }
}

fn hits(frame: &Frame<'_>, caption: &str, expected: &[ExpectedFeed], found: &[Hit]) -> Markup {
    html! {
        table.st.se role="table" {
            caption.vh { (caption) }
            thead role="rowgroup" {
                tr role="row" {
                    th.c1 scope="col" role="columnheader" { "State" }
                    @for head in ["File", "Source", "By run of"] {
                        th scope="col" role="columnheader" { (head) }
                    }
                    th.n scope="col" role="columnheader" { "Size" }
                }
            }
            tbody role="rowgroup" {
                @for feed in expected { (expected_row(frame, feed)) }
                @for hit in found.iter().take(SHOWN) { (row(frame, hit)) }
            }
        }
    }
}

/// A feed of which a file is expected and not here.
fn expected_row(frame: &Frame<'_>, feed: &ExpectedFeed) -> Markup {
    html! {
        tr role="row" {
            th.so-a scope="row" role="rowheader" { (shown(&feed.standing)) }
            td.se-f role="cell" {
                bdi { (feed.standing.name) }
                @if let Some(deadline) = feed.standing.deadline {
                    span.q.s { "Expected by " (at(deadline)) }
                }
            }
            td.se-s role="cell" {
                a href=(address::source(frame, &feed.source)) { bdi { (feed.source) } }
            }
            td.se-t role="cell" { span.q { "not yet" } }
            td.n.se-z role="cell" {}
        }
    }
}

fn row(frame: &Frame<'_>, hit: &Hit) -> Markup {
    let (class, name, said) = match hit.outcome {
        Word::Ingested => ("good", "i-ok", "Here"),
        Word::Failed => ("bad", "i-fail", "Failed"),
        Word::Deferred => ("warn", "i-stuck", "Waits"),
        Word::Gone => ("none", "i-late", "Gone"),
        Word::Skipped => ("none", "i-late", "Left out"),
    };
    html! {
        tr role="row" {
            th.so-a scope="row" role="rowheader" {
                span.w.(class) {
                    svg viewBox="0 0 16 16" aria-hidden="true" { use href={ "#" (name) } {} } (said)
                }
            }
            td.se-f role="cell" {
                (file(frame, &hit.source, &hit.path))
                @for why in hit.reason.iter().chain(&hit.message) { span.q.s { bdi { (why) } } }
                @if let Some(blob) = &hit.blob { span.q.s { "blob " bdi { (blob) } } }
                @if let Some(md5) = &hit.md5 { span.q.s { "MD5 " code { (md5) } } }
                @if let Some(members) = hit.members {
                    span.q.s { "unpacked, " (number_of(members, "member")) }
                }
            }
            td.se-s role="cell" { bdi { (hit.source) } }
            td.se-t role="cell" {
                @if let Some(began) = hit.began { (run_link(frame, &hit.run, &at(began))) }
                @if hit.runs > 1 { span.q.s { "in " (hit.runs) " runs" } }
            }
            td.n.se-z role="cell" {
                @match hit.size { Some(size) => (in_bytes(size)), None => "unknown" }
            }
        }
    }
}
