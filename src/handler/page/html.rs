//! The pages: what holds for all of them, the list of sources and runs, one run. Pure.
//!
//! Every text goes through the templates' escaping, in elements and in attributes; only the style
//! sheet and the script, which are our own, do not.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

use super::address;
use super::chart::{PARTS, bar, equation, progress};
use super::frame::Frame;
use super::moment::at;
use super::pass::{PagePass, PageProblem};
use super::sentence::Sentence;
use super::stands::Stands;
use super::view::{Earlier, PageRun, earlier};
use crate::handler::envelope::HttpAnswer;
use crate::report::{Status, in_bytes};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// Without a script the page of a running run asks for itself again after so many seconds.
const RELOAD: u32 = 15;

/// The policy that the pages are sent with: our style sheet and script by their hashes, requests to
/// us, nothing else.
pub fn policy() -> String {
    let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)));
    format!(
        "default-src 'none'; style-src {}; script-src {}; connect-src 'self'; form-action 'self'; \
        base-uri 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
}

/// The icons: a shape for each state, so that none is told by colour alone.
const SPRITE: &str = include_str!("sprite.svg");

/// A whole page: `live` is renewed while somebody looks at it, `below` is not.
pub fn page(
    frame: &Frame<'_>,
    title: &str,
    running: bool,
    live: &Markup,
    below: &Markup,
) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="referrer" content="no-referrer";
                title { (title) " – blobferry" }
                @if !frame.here.is_empty() {
                    link rel="alternate" type="application/json" href=(frame.here)
                        title="The same facts for programs";
                }
                @if running { noscript { meta http-equiv="refresh" content=(RELOAD); } }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#live" { "To the content" }
                (PreEscaped(SPRITE))
                (top(frame))
                main.in {
                    div #live data-running=(if running { "yes" } else { "no" }) {
                        (live)
                        noscript { p.q.s { a href="" { "Look again" } } }
                    }
                    (below)
                }
                footer.foot {
                    div.in {
                        span #zone { "Times are UTC." }
                        a #utc href="" hidden { "Show UTC" }
                        @if !frame.here.is_empty() { a href=(frame.here) { "This page as JSON" } }
                        span { "blobferry " (env!("CARGO_PKG_VERSION")) }
                    }
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

/// The pages in the navigation, and what stands behind the address of the first.
const PARTS_OF_THE_PAGE: [(&str, &str); 4] =
    [("Overview", ""), ("Sources", "/sources"), ("Runs", "/runs"), ("Files", "/files")];

fn top(frame: &Frame<'_>) -> Markup {
    html! {
        header.top {
            div.in {
                a.brand href=(address::home(frame)) { "blobferry" }
                span.where { "into " bdi { (frame.store) } }
                nav aria-label="Pages" {
                    ul {
                        @for (name, part) in PARTS_OF_THE_PAGE {
                            @let to = if part.is_empty() { address::home(frame) } else {
                                address::page(frame, part, &[])
                            };
                            @let here = (frame.part == Some(part)).then_some("page");
                            li { a href=(to) aria-current=[here] { (name) } }
                        }
                    }
                }
                form.find role="search" aria-label="Files" method="get"
                    action={ (frame.prefix) "/ingest/status/files" } {
                    label.vh for="find" { "Find a file by its name" }
                    @if !frame.view.is_empty() {
                        input type="hidden" name="code" value=(frame.view);
                    }
                    input #find name="q" type="search" placeholder="Find a file by its name"
                        autocomplete="off";
                    button { "Find" }
                }
            }
        }
    }
}

/// When the page was made.
pub(crate) fn as_of(frame: &Frame<'_>) -> Markup {
    html! { p.asof { "As of " (at(frame.now)) } }
}

/// What a run came to, in a sentence.
pub(crate) fn run_answer(run: &PageRun) -> Sentence {
    let came_to = match Stands::of(&run.status) {
        Stands::Ended(Status::Ok) => " went well",
        Stands::Running => " is under way",
        Stands::Ended(Status::Interrupted) => " ended before all was done; the next one goes on",
        Stands::Abandoned => " ended without a word; the next one goes on",
        Stands::Ended(Status::Failed) => " could do nothing",
        Stands::Ended(Status::Left) => " was left to another run",
        Stands::Ended(Status::Degraded) => {
            return Sentence::new("Not all of the run of ").at(run.started).and(" went well");
        }
        Stands::Unknown => {
            let text = format!(": {}", run.status);
            return Sentence::new("The run of ").at(run.started).and(text);
        }
    };
    Sentence::new("The run of ").at(run.started).and(came_to)
}

/// The page of a refusal.
pub fn refusal(frame: &Frame<'_>, status: u16, reason: &str) -> String {
    let live = html! {
        h1 { "That did not work (" (status) ")" }
        p { (reason) }
        p { a href=(address::home(frame)) { "Overview" } }
    };
    page(frame, "blobferry: that did not work", false, &live, &html! {})
}

/// A status in its colour; the word itself says as much.
pub fn word(status: &str) -> Markup {
    let class = match Stands::of(status) {
        Stands::Ended(Status::Ok) => "good",
        Stands::Running => "live",
        Stands::Ended(Status::Degraded | Status::Interrupted) => "warn",
        Stands::Ended(Status::Left) => "none",
        Stands::Unknown if status.is_empty() => "none",
        Stands::Ended(Status::Failed) | Stands::Abandoned | Stands::Unknown => "bad",
    };
    html! { span.word.(class) { (status) } }
}

/// A hint as a sentence begins, with what is to be typed set apart.
pub(crate) fn hint(text: &str) -> Markup {
    let mut letters = text.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    let text: String = first.chain(letters).collect();
    html! {
        @for (at, part) in text.split('`').enumerate() {
            @if at % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

/// The last part of a path.
pub(crate) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// A file's name without its folder, as a link to what is known of it.
pub(crate) fn named(frame: &Frame<'_>, source: &str, path: &str) -> Markup {
    html! {
        a href=(address::file(frame, source, path)) title=(path) { bdi { (file_name(path)) } }
    }
}

/// A link to the page of a run.
pub(crate) fn run_link(frame: &Frame<'_>, id: &str, words: &Markup) -> Markup {
    html! { a href=(address::page(frame, &address::run_path(id), &[])) { (words) } }
}

/// A page with the headers that keep it to itself: no other origin, no copy, no address in a
/// referrer, no frame.
pub(super) fn with_headers(status: u16, html: String) -> HttpAnswer {
    HttpAnswer::page(status, html)
        .with("Content-Security-Policy", policy())
        .with("Referrer-Policy", "no-referrer")
        .with("Cache-Control", "no-store")
        .with("X-Content-Type-Options", "nosniff")
        .with("X-Frame-Options", "DENY")
        .with("Vary", "Accept")
}

/// What the colours of the bars mean.
pub(crate) fn legend() -> Markup {
    html! {
        ul.legend aria-label="Colours of the bars" {
            @for (name, class, _) in PARTS {
                li {
                    svg width="12" height="12" aria-hidden="true" {
                        rect class=(class) width="12" height="12" rx="2" {}
                    }
                    " " (name)
                }
            }
        }
    }
}

/// A word between a heading and what it heads, for ids of parts that can be opened.
fn part(name: &str, index: usize) -> String {
    format!("{name}-{index}")
}

/// All that is told of one source of a run.
pub fn section(
    frame: &Frame<'_>,
    run: &PageRun,
    runs: &[PageRun],
    pass: &PagePass,
    index: usize,
) -> Markup {
    html! {
        div.head { h3 { bdi { (pass.source) } } (word(&pass.status)) }
        @if !pass.address.is_empty() { div.quiet.small { bdi { (pass.address) } } }
        @if let (true, Some(to_fetch)) = (pass.is_running(), pass.bytes_to_fetch) {
            @let words = format!("{} of {} fetched", in_bytes(pass.bytes_fetched),
                in_bytes(to_fetch));
            (progress(pass, &words)) div.bar-words { (words) }
        }
        @if pass.unusable && !pass.is_running() {
            div.bar-words { "Not listed: how many files it has is unknown" }
        } @else {
            (bar(pass))
            div.bar-words { (equation(pass)) }
        }
        @if !pass.is_running() && pass.arrived() > 0 { p.small { (in_bytes(pass.arrived())) " \
            read, blobs written: " (pass.blobs) } }
        (reasons("skipped", &pass.skipped_by_reason))
        (reasons("deferred", &pass.deferred_by_reason))
        @if pass.unparsed_lines > 0 { p { (word("degraded")) " " (pass.unparsed_lines) " lines of \
            listings could not be parsed" } }
        @if !pass.problems.is_empty() { (problems(&pass.problems)) }
        @if !pass.failures.is_empty() { (failures(frame, run, runs, pass, index)) }
        (names("deferred", "Deferred files", &pass.deferred_files, pass.deferred, index))
        (names("notes", "Notes", &pass.notes, 0, index))
    }
}

fn reasons(what: &str, by_reason: &std::collections::BTreeMap<String, u64>) -> Markup {
    let each: Vec<String> =
        by_reason.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    html! { @if !each.is_empty() { p.small { (what) ": " (each.join(", ")) } } }
}

/// Problems as a list.
pub fn problems(problems: &[PageProblem]) -> Markup {
    html! {
        ul.plain {
            @for problem in problems {
                li {
                    @if !problem.class.is_empty() { code { (problem.class) } " " }
                    bdi { (problem.message) }
                    @if !problem.hint.is_empty() {
                        div.quiet.small { (hint(&problem.hint)) }
                    }
                }
            }
        }
    }
}

fn failures(
    frame: &Frame<'_>,
    run: &PageRun,
    runs: &[PageRun],
    pass: &PagePass,
    index: usize,
) -> Markup {
    let more = pass.failed.saturating_sub(u64::try_from(pass.failures.len()).unwrap_or(u64::MAX));
    html! {
        div.wide role="region" aria-label={ "Failed files of " (pass.source) }
            tabindex="0" id=(part("failed", index))
        {
            table.stack {
                thead {
                    tr {
                        th scope="col" { "failed file" }
                        th scope="col" { "class" }
                        th scope="col" { "what happened, and what to do" }
                        th scope="col" { "before" }
                    }
                }
                tbody {
                    @for failure in &pass.failures {
                        tr {
                            td.name {
                                a href=(address::file(frame, &pass.source, &failure.path)) {
                                    bdi { (failure.path) }
                                }
                            }
                            td.class { code { (failure.class) } }
                            td.name {
                                bdi { (failure.message) }
                                div.quiet.small { (hint(&failure.hint)) }
                            }
                            td.small data-label="before" {
                                (history(frame, &earlier(runs, run, &pass.source, &failure.path)))
                            }
                        }
                    }
                }
            }
        }
        @if more > 0 {
            p.small {
                "and " (more) " more: the report below "
                code { "_blobferry/" (pass.source) "/runs/" }
                " tells more of them"
            }
        }
    }
}

/// In which of the runs before this one a file failed too.
fn history(frame: &Frame<'_>, before: &[Earlier]) -> Markup {
    const SHOWN: usize = 3;
    let more = before.len().saturating_sub(SHOWN);
    html! {
        @if before.is_empty() { "not in the runs before" }
        @for one in before.iter().take(SHOWN) {
            div { (run_link(frame, &one.run, &at(one.started))) " " code { (one.class) } }
        }
        @if more > 0 { "and " (more) " times more" }
    }
}

fn names(what: &str, title: &str, names: &[String], count: u64, index: usize) -> Markup {
    let more = count.saturating_sub(u64::try_from(names.len()).unwrap_or(u64::MAX));
    html! {
        @if !names.is_empty() {
            details id=(part(what, index)) {
                summary { (title) " (" (names.len()) @if more > 0 { " of " (count) } ")" }
                ul.plain.small { @for name in names { li { bdi { (name) } } } }
            }
        }
    }
}

/// The form that starts and plans runs, where requests may do that. With the script the key goes in
/// a header. Without it the form asks for the desk: the host takes a key from a query or a header,
/// and a plain form that posts can set neither, so the key stands in the address of that page.
pub(crate) fn starting(frame: &Frame<'_>) -> Markup {
    let Some(to) = &frame.starts else { return html! {} };
    html! {
        h2 { "Start or plan a run" }
        form.form #start method="get" action={ (frame.prefix) "/ingest" }
            data-to={ (frame.prefix) "/ingest" }
        {
            div {
                label for="source" { "Source" }
                select #source {
                    option value="" { "all" }
                    @for name in frame.sources { option value=(name) { (name) } }
                }
            }
            div {
                label for="key" { "Function key of IngestHttp (none needed on this machine)" }
                input #key name="code" type="password" autocomplete="off" spellcheck="false";
            }
            @if !frame.view.is_empty() { input type="hidden" name="view" value=(frame.view); }
            noscript { button type="submit" { "To the desk" } }
            button.scripted.second hidden type="submit" value="plan" { "Plan" }
            button.scripted hidden type="submit" value="start" { "Start" }
            output for="source key" role="status" {}
        }
        div #answer aria-live="polite" {}
        noscript {
            p.quiet.small { "Without JavaScript the key stands in the address of the next page. By \
                command it need not:" }
            pre { code { "curl -X POST -H 'x-functions-key: KEY' -H 'Content-Type: \
                application/json' -d '{}' " (to) } }
        }
    }
}
