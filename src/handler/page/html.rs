//! The pages: what holds for all of them, the list of sources and runs, one run. Pure.
//!
//! Every text goes through the templates' escaping, in elements and in attributes; only the style
//! sheet and the script, which are our own, do not.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::chart::{Chart, Column, PARTS, bar, chart, equation, progress};
use super::view::{Earlier, Pass, Problem, Run, SourceView, earlier, sources, span};
use crate::report::in_bytes;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// Without a script the page of a running run asks for itself again after so many seconds.
const RELOAD: u32 = 15;

/// What the pages know beside runs.
pub struct Frame<'a> {
    /// Where blobs go.
    pub store: &'a str,
    /// What paths of our HTTP API begin with.
    pub prefix: &'a str,
    /// What the caller's links carry on: `?code=…`, encoded, or nothing.
    pub query: &'a str,
    /// The key in them, as it is; empty if there is none.
    pub view: &'a str,
    /// Where requests that start runs go, if they are served here.
    pub starts: Option<String>,
    /// The configured sources.
    pub sources: &'a [&'a str],
    /// When each source is gone over next, if that is known.
    pub next: BTreeMap<String, OffsetDateTime>,
    /// When the page was made.
    pub now: OffsetDateTime,
}

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

/// A whole page: `live` is renewed while somebody looks at it, `below` is not.
pub fn page(
    frame: &Frame<'_>,
    title: &str,
    running: bool,
    live: &Markup,
    below: &Markup,
) -> String {
    let home = format!("{}/ingest/runs{}", frame.prefix, frame.query);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="referrer" content="no-referrer";
                title { (title) }
                @if running { noscript { meta http-equiv="refresh" content=(RELOAD); } }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#live" { "To the content" }
                header.top {
                    h1 { a href=(home) { "blobferry" } }
                    span.quiet { "into " bdi { (frame.store) } }
                }
                main {
                    div #live data-running=(if running { "yes" } else { "no" }) {
                        (live)
                        p.quiet.small { "As of " (at(frame.now)) ". " noscript { a href="" { "Look \
                            again" } } }
                    }
                    (below)
                }
                footer.quiet.small {
                    "blobferry " (env!("CARGO_PKG_VERSION"))
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

/// The page of sources and of `runs`, newest first.
pub fn list(frame: &Frame<'_>, runs: &[Run]) -> String {
    let views = sources(runs, frame.sources);
    let well = views.iter().filter(|view| view.state.as_deref() == Some("ok")).count();
    let running = runs.iter().any(Run::is_running);
    let live = html! {
        h2 { "Sources" }
        ul.cards { @for view in &views { li.card { (card(frame, view)) } } }
        @if !runs.is_empty() { h2 { @if runs.len() == 1 { "The last run" } @else { "Over the last \
            " (runs.len()) " \
            runs" } } (charts(runs, frame.now)) }
        h2 #runs { "Runs" }
        @if runs.is_empty() { p { "No run has left a record yet." } } @else { (legend()) (table(frame, runs)) }
    };
    let title = format!(
        "blobferry: {well} of {} sources well{}",
        views.len(),
        if running { ", running" } else { "" }
    );
    page(frame, &title, running, &live, &starting(frame))
}

/// The page of one run; `runs` are the last ones, newest first.
pub fn run(frame: &Frame<'_>, run: &Run, runs: &[Run]) -> String {
    let (duration, bytes) = (run.duration(frame.now), run.sum(Pass::arrived));
    let live = html! {
        h2 { "Run " (run.id) " " (word(&run.status)) }
        dl {
            dt { "started" } dd { (at(run.started)) ", by " (run.trigger.replace('_', " ")) }
            @if let Some(ended) = run.ended { dt { "ended" } dd { (at(ended)) } } @else { dt { "last \
                heard of" } dd { (at(run.heard)) } }
            dt { @if run.is_running() { "so far" } @else { "took" } } dd { (span(duration)) ", " (in_bytes(bytes)) " \
                read" @if let Some(rate) = rate(bytes, duration) { ", \
                " (rate) } }
            dt { "files" } dd { (equation(&run.total())) }
        }
        @if !run.problems.is_empty() { (problems(&run.problems)) }
        (legend())
        @for (index, pass) in run.passes.iter().enumerate() { section.card { (section(frame, run, runs, pass, index)) } }
        p { a href={ (frame.prefix) "/ingest/runs" (frame.query) } { "All runs" } }
    };
    page(
        frame,
        &format!("blobferry: run {} {}", run.id, run.status),
        run.is_running(),
        &live,
        &html! {},
    )
}

/// The page of a refusal.
pub fn refusal(frame: &Frame<'_>, status: u16, reason: &str) -> String {
    let live = html! {
        h2 { "That did not work (" (status) ")" }
        p { (reason) }
        p { a href={ (frame.prefix) "/ingest/runs" (frame.query) } { "All runs" } }
    };
    page(frame, "blobferry: that did not work", false, &live, &html! {})
}

fn at(at: OffsetDateTime) -> Markup {
    let at = at.to_offset(time::UtcOffset::UTC);
    // Years beyond 9999 have no such form; the pages then show the plain one.
    html! { time datetime=(at.replace_nanosecond(0).unwrap_or(at).format(&Rfc3339).unwrap_or_default()) { (short(at)) " \
    UTC" } }
}

fn short(at: OffsetDateTime) -> String {
    let (date, time) = (at.date(), at.time());
    format!("{} {:02}:{:02}:{:02}", date, time.hour(), time.minute(), time.second())
}

/// A status in its colour; the word itself says as much.
fn word(status: &str) -> Markup {
    let class = match status {
        "ok" => "good",
        "running" => "live",
        "degraded" | "interrupted" => "warn",
        "" => "none",
        _ => "bad",
    };
    html! { span.word.(class) { (status) } }
}

fn run_link(frame: &Frame<'_>, id: &str, words: &Markup) -> Markup {
    let id: String = url::form_urlencoded::byte_serialize(id.as_bytes()).collect();
    html! { a href={ (frame.prefix) "/ingest/runs/" (id) (frame.query) } { (words) } }
}

fn card(frame: &Frame<'_>, view: &SourceView) -> Markup {
    let backlog = view.deferred.saturating_add(view.failed);
    html! {
        div.head {
            h3 { bdi { (view.name) } }
            span { @if view.running { (word("running")) " " } @match &view.state { Some(state) => (word(state)), None if !view.running => span.word.none { "no \
                run yet" }, None => "" } }
        }
        @if !view.address.is_empty() { div.quiet.small { bdi { (view.address) } } }
        dl {
            dt { "last run" } dd { @match &view.last { Some((id, began)) => (run_link(frame, id, &at(*began))), None => "none \
                of those below" } }
            dt { "last good run" } dd { @match &view.last_good { Some((id, began)) => (run_link(frame, id, &at(*began))), None => "none \
                of those below" } }
            dt { "next run" } dd { @match frame.next.get(&view.name) { Some(next) => { (at(*next)) div.quiet.small { "in \
                " (span(*next - frame.now)) } } None => "no \
                schedule is known here" } }
            dt { "lag" } dd {
                @match &view.last_good {
                    Some((_, began)) => span title="What had settled at the source by the start of \
                        its last good run is stored." { (span(frame.now - *began)) },
                    None => "unknown",
                }
            }
            dt { "backlog" } dd { @if backlog == 0 { "none" } @else { (view.deferred) " deferred, \
                " (view.failed) " \
                failed" } }
        }
    }
}

fn legend() -> Markup {
    html! {
        ul.legend aria-label="Colours of the bars" {
            @for (name, class, _) in PARTS { li { svg width="12" height="12" aria-hidden="true" { rect class=(class) width="12" height="12" rx="2" {} } " \
                " (name) } }
        }
    }
}

fn table(frame: &Frame<'_>, runs: &[Run]) -> Markup {
    html! {
        div.wide role="region" aria-labelledby="runs" tabindex="0" {
            table.stack {
                thead { tr { th scope="col" { "started" } th scope="col" { "status" } th scope="col" { "files" } th.number scope="col" { "read" } th.number scope="col" { "took" } } }
                tbody { @for run in runs { (row(frame, run)) } }
            }
        }
    }
}

fn row(frame: &Frame<'_>, run: &Run) -> Markup {
    let total = run.total();
    let names: Vec<&str> = run.passes.iter().map(|pass| pass.source.as_str()).collect();
    html! {
        tr {
            td.when { (run_link(frame, &run.id, &at(run.started))) div.quiet.small { (run.trigger.replace('_', " \
                ")) } }
            td { (word(&run.status)) }
            td.bars {
                div.small { bdi { (names.join(", ")) } }
                (bar(&total))
                div.bar-words { (equation(&total)) }
            }
            td.number data-label="read" { (in_bytes(run.sum(Pass::arrived))) }
            td.number data-label="took" { (span(run.duration(frame.now))) }
        }
    }
}

fn bytes_per_second(bytes: u64, duration: time::Duration) -> Option<u64> {
    // Less than a tenth of a second tells nothing of a rate.
    let tenths =
        u128::try_from(duration.whole_milliseconds() / 100).ok().filter(|tenths| *tenths > 0)?;
    u64::try_from(u128::from(bytes) * 10 / tenths).ok()
}

fn rate(bytes: u64, duration: time::Duration) -> Option<String> {
    bytes_per_second(bytes, duration).map(|rate| format!("{}/s", in_bytes(rate)))
}

fn charts(runs: &[Run], now: OffsetDateTime) -> Markup {
    let ends = || {
        let end = |run: Option<&Run>| run.map(|run| short(run.started)).unwrap_or_default();
        (end(runs.last()), end(runs.first()))
    };
    let columns =
        |of: &dyn Fn(&Run) -> u64, words: &dyn Fn(u64) -> String| -> (Vec<Column>, String) {
            let title = |run: &Run, value: u64| {
                let rate = rate(run.sum(Pass::arrived), run.duration(now))
                    .map(|rate| format!(" at {rate}"))
                    .unwrap_or_default();
                format!("{}: {}{rate}, {}", short(run.started), words(value), run.status)
            };
            let columns: Vec<Column> = runs
                .iter()
                .rev()
                .map(|run| Column { value: of(run), title: title(run, of(run)) })
                .collect();
            let highest = columns.iter().map(|column| column.value).max().unwrap_or(0);
            (columns, words(highest))
        };
    let files = |n: u64| format!("{n} {}", if n == 1 { "file" } else { "files" });
    let per_second = |bytes: u64| format!("{}/s", in_bytes(bytes));
    let (rates, most_rates) = columns(
        &|run| bytes_per_second(run.sum(Pass::arrived), run.duration(now)).unwrap_or(0),
        &per_second,
    );
    let (bytes, most_bytes) = columns(&|run| run.sum(Pass::arrived), &in_bytes);
    let (stored, most_stored) = columns(&|run| run.sum(|pass| pass.ingested), &files);
    let (failed, most_failed) = columns(&|run| run.sum(|pass| pass.failed), &files);
    html! {
        div.charts {
            (chart(&Chart { name: "Throughput", class: "c-live", columns: rates, highest: most_rates, ends: ends() }))
            (chart(&Chart { name: "Bytes read", class: "c-live", columns: bytes, highest: most_bytes, ends: ends() }))
            (chart(&Chart { name: "Files ingested", class: "c-ingested", columns: stored, highest: most_stored, ends: ends() }))
            (chart(&Chart { name: "Files failed", class: "c-failed", columns: failed, highest: most_failed, ends: ends() }))
        }
    }
}

/// A word between a heading and what it heads, for ids of parts that can be opened.
fn part(name: &str, index: usize) -> String {
    format!("{name}-{index}")
}

fn section(frame: &Frame<'_>, run: &Run, runs: &[Run], pass: &Pass, index: usize) -> Markup {
    html! {
        div.head { h3 { bdi { (pass.source) } } (word(&pass.status)) }
        @if !pass.address.is_empty() { div.quiet.small { bdi { (pass.address) } } }
        @if let (true, Some(to_fetch)) = (pass.is_running(), pass.bytes_to_fetch) {
            @let words = format!("{} of {} fetched", in_bytes(pass.bytes_fetched), in_bytes(to_fetch));
            (progress(pass, &words)) div.bar-words { (words) }
        }
        (bar(pass))
        div.bar-words { (equation(pass)) }
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
pub fn problems(problems: &[Problem]) -> Markup {
    html! {
        ul.plain {
            @for problem in problems {
                li { @if !problem.class.is_empty() { code { (problem.class) } " " } bdi { (problem.message) } @if !problem.hint.is_empty() { div.quiet.small { (problem.hint) } } }
            }
        }
    }
}

fn failures(frame: &Frame<'_>, run: &Run, runs: &[Run], pass: &Pass, index: usize) -> Markup {
    let more = pass.failed.saturating_sub(u64::try_from(pass.failures.len()).unwrap_or(u64::MAX));
    html! {
        div.wide role="region" aria-label={ "Failed files of " (pass.source) } tabindex="0" id=(part("failed", index)) {
            table.stack {
                thead { tr { th scope="col" { "failed file" } th scope="col" { "class" } th scope="col" { "what \
                    happened, and what to do" } th scope="col" { "before" } } }
                tbody {
                    @for failure in &pass.failures {
                        tr {
                            td.name { bdi { (failure.path) } }
                            td.class { code { (failure.class) } }
                            td.name { bdi { (failure.message) } div.quiet.small { (failure.hint) } }
                            td.small data-label="before" { (history(frame, &earlier(runs, run, &pass.source, &failure.path))) }
                        }
                    }
                }
            }
        }
        @if more > 0 { p.small { "and " (more) " more: the report below " code { "_blobferry/" (pass.source) "/runs/" } " \
            tells more of them" } }
    }
}

/// In which of the runs before this one a file failed too.
fn history(frame: &Frame<'_>, before: &[Earlier]) -> Markup {
    const SHOWN: usize = 3;
    let more = before.len().saturating_sub(SHOWN);
    html! {
        @if before.is_empty() { "not in the runs before" }
        @for one in before.iter().take(SHOWN) { div { (run_link(frame, &one.run, &at(one.started))) " \
            " code { (one.class) } } }
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
fn starting(frame: &Frame<'_>) -> Markup {
    let Some(to) = &frame.starts else { return html! {} };
    html! {
        h2 { "Start or plan a run" }
        form #start method="get" action={ (frame.prefix) "/ingest" } data-to={ (frame.prefix) "/ingest" } {
            div {
                label for="source" { "Source" }
                select #source { option value="" { "all" } @for name in frame.sources { option value=(name) { (name) } } }
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
