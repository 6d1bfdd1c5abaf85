//! What a run came to, in numbers and source by source. Pure.

use maud::{Markup, html};
use time::Duration;

use super::address;
use super::chart::{commas, equation, progress};
use super::frame::Frame;
use super::html::{self as parts, named, word};
use super::moment::at;
use super::overview::ArrivedFile;
use super::pass::PagePass;
use super::stands::Stands;
use super::view::{PageRun, WantedFailures, span};
use crate::model::number_of;
use crate::report::{Status, in_bytes};

/// Sources that are shown.
const SOURCES: usize = 50;
/// Sources of which all is shown.
const DETAILED: usize = 20;

/// The page of one run; `runs` are the last ones, newest first.
pub fn page(frame: &Frame<'_>, run: &PageRun, runs: &[PageRun], came: &[ArrivedFile]) -> String {
    let answer = parts::run_answer(run);
    let (duration, bytes) = (run.duration(frame.now), run.sum(PagePass::arrived));
    let live = html! {
        p.crumb { a href=(address::page(frame, "/runs", &[])) { "All runs" } }
        h1 { (answer) }
        (parts::as_of(frame))
        (numbers(run))
        @if !run.problems.is_empty() { (parts::problems(&run.problems)) }
        @if !came.is_empty() { (by_source(frame, run)) }
        div.two {
            // Where nothing arrived, nothing but this would stand beside the facts.
            div { @if came.is_empty() { (by_source(frame, run)) } @else { (arrived(frame, came)) } }
            aside aria-label="About this run" {
                div.box { (about(run, duration, bytes)) }
            }
        }
        section aria-labelledby="details" {
            h2 #details { "Details" }
            (parts::legend())
            @let worst = worst_first(run);
            @for (index, pass) in worst.iter().take(DETAILED).enumerate() {
                div.card { (parts::section(frame, run, runs, pass, index)) }
            }
            @if worst.len() > DETAILED {
                p.q.s { "and " (worst.len() - DETAILED) " more, of which the page as JSON tells" }
            }
        }
    };
    parts::page(frame, &answer.to_string(), run.is_running(), &live, &html! {})
}

/// The four numbers that a run is asked for.
fn numbers(run: &PageRun) -> Markup {
    let total = run.total();
    let unlisted = run.passes.iter().filter(|pass| is_unlisted(pass)).count();
    let files = if total.ingested == 1 { "file arrived" } else { "files arrived" };
    let so_far = if run.is_running() { " so far" } else { "" };
    html! {
        dl.nums {
            div { dt { (files) (so_far) } dd { (commas(total.ingested)) } }
            div { dt { "failed" } dd { (commas(total.failed)) } }
            div { dt { "waiting" } dd { (commas(total.deferred)) } }
            div {
                dt { @if unlisted == 1 { "source" } @else { "sources" } " could not be listed" }
                dd { (unlisted) }
            }
        }
    }
}

fn is_unlisted(pass: &PagePass) -> bool {
    !pass.is_running() && !pass.was_left() && (pass.unusable || pass.listed.is_none())
}

/// Whether a pass is nothing to look at: the rows of such come last.
fn rank(pass: &PagePass) -> u8 {
    match Stands::of(&pass.status) {
        Stands::Ended(Status::Failed) => 0,
        Stands::Ended(Status::Degraded) | Stands::Unknown => 1,
        Stands::Abandoned | Stands::Ended(Status::Interrupted) => 2,
        Stands::Running => 3,
        Stands::Ended(Status::Ok | Status::Left) => match pass {
            pass if pass.failed + pass.deferred > 0 => 4,
            pass if pass.ingested > 0 => 5,
            _ => 6,
        },
    }
}

fn worst_first(run: &PageRun) -> Vec<&PagePass> {
    let mut passes: Vec<&PagePass> = run.passes.iter().collect();
    passes.sort_by(|one, other| (rank(one), &one.source).cmp(&(rank(other), &other.source)));
    passes
}

/// The failed files of which the page tells one by one.
pub(crate) fn failures_shown(run: &PageRun) -> WantedFailures {
    let shown = worst_first(run).into_iter().take(DETAILED);
    let of = |pass: &PagePass| {
        let failures = pass.failures.iter();
        failures.map(|failure| (pass.source.clone(), failure.path.clone())).collect::<Vec<_>>()
    };
    shown.flat_map(of).collect()
}

/// Its sources, the worst first, a sentence each.
fn by_source(frame: &Frame<'_>, run: &PageRun) -> Markup {
    let passes = worst_first(run);
    html! {
        section aria-labelledby="srcs" {
            h2 #srcs { "By source" }
            table.st.ru role="table" {
                caption.vh { "Sources of this run, the worst first" }
                thead role="rowgroup" {
                    tr role="row" {
                        th.c1 scope="col" role="columnheader" { "State" }
                        th.w20 scope="col" role="columnheader" { "Source" }
                        th scope="col" role="columnheader" { "In this run" }
                        th.n scope="col" role="columnheader" { "Listed" }
                    }
                }
                tbody role="rowgroup" {
                    @for pass in passes.iter().take(SOURCES) { (row(frame, pass)) }
                }
            }
            @if passes.len() > SOURCES { p.q.s { "and " (passes.len() - SOURCES) " more" } }
        }
    }
}

fn row(frame: &Frame<'_>, pass: &PagePass) -> Markup {
    html! {
        tr role="row" {
            th.ru-a scope="row" role="rowheader" { (word(&pass.status)) }
            td.ru-n role="cell" {
                a href=(address::source(frame, &pass.source)) { bdi { (pass.source) } }
            }
            td.ru-t role="cell" {
                bdi { (sentence(pass)) }
                @if let (true, Some(_)) = (pass.is_running(), pass.bytes_to_fetch) {
                    (progress(pass, &sentence(pass)))
                }
            }
            td.n.ru-l role="cell" data-l="listed" {
                @match pass.listed.filter(|_| !pass.unusable) {
                    Some(listed) => (commas(listed)),
                    None => "unknown",
                }
            }
        }
    }
}

/// What a pass came to, in a sentence.
pub fn sentence(pass: &PagePass) -> String {
    if pass.was_left() {
        return "Left to another run".into();
    }
    if pass.is_running() {
        let fetched = in_bytes(pass.bytes_fetched);
        return match pass.bytes_to_fetch {
            Some(all) => {
                let files = number_of(pass.ingested, "file");
                format!("{files} so far, {fetched} of {}", in_bytes(all))
            }
            None => "Being listed".into(),
        };
    }
    if pass.unusable {
        let why = pass.problems.first().map_or("no reason is told", |first| &first.message);
        return format!("Not looked at: {why}");
    }
    let files = |count: u64, words: &str| match count {
        0 => None,
        1 => Some(format!("1 file {words}")),
        count => Some(format!("{} files {words}", commas(count))),
    };
    let waits = if pass.deferred == 1 { "waits" } else { "wait" };
    let fails = if pass.failed == 1 { "fails" } else { "fail" };
    let parts = [
        files(pass.failed, fails),
        files(pass.ingested, "arrived"),
        files(pass.deferred, waits),
        files(pass.skipped, "left out by your rules"),
        files(pass.gone, "gone before they came"),
    ];
    let told: Vec<String> = parts.into_iter().flatten().collect();
    match told.is_empty() {
        true if pass.problems.is_empty() => "Nothing new".into(),
        true => pass.problems[0].message.clone(),
        false => told.join(", "),
    }
}

/// Files that arrived in it.
fn arrived(frame: &Frame<'_>, came: &[ArrivedFile]) -> Markup {
    html! {
        @if !came.is_empty() {
            section aria-labelledby="new" {
                h2 #new { "What arrived" }
                table.st.ar role="table" {
                    caption.vh { "Files that arrived in this run, the newest first" }
                    thead role="rowgroup" {
                        tr role="row" {
                            th scope="col" role="columnheader" { "File" }
                            th scope="col" role="columnheader" { "Source" }
                            th.n scope="col" role="columnheader" { "Size" }
                        }
                    }
                    tbody role="rowgroup" {
                        @for file in came {
                            tr role="row" {
                                th.ar-f scope="row" role="rowheader" {
                                    (named(frame, &file.source, &file.path))
                                }
                                td.ar-s role="cell" { bdi { (file.source) } }
                                td.n.ar-n role="cell" {
                                    @match file.size {
                                        Some(size) => (in_bytes(size)),
                                        None => "unknown",
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Facts about a run, beside what it came to.
fn about(run: &PageRun, duration: Duration, bytes: u64) -> Markup {
    let total = run.total();
    let known = total.listed.is_none_or(|listed| listed == total.sum());
    html! {
        dl.facts {
            dt { "Began" } dd { (at(run.started)) ", by " (started_by(&run.trigger)) }
            @match run.ended {
                Some(ended) => { dt { "Ended" } dd { (at(ended)) } }
                None => { dt { "Last heard of" } dd { (at(run.heard)) } }
            }
            dt { @if run.is_running() { "So far" } @else { "Took" } }
            dd { (span(duration)) }
            dt { "Read" }
            dd { (in_bytes(bytes)) @if let Some(rate) = rate(bytes, duration) { ", " (rate) } }
            dt { "Every listed file accounted for?" }
            dd {
                @if run.is_running() { "Not yet" } @else if known { "Yes" } @else { "No" }
                span.q.s { br; (equation(&total)) }
            }
            dt { "Run" } dd { code { (run.id) } " " (word(&run.status)) }
        }
    }
}

/// What started a run, for people.
fn started_by(trigger: &str) -> &str {
    match trigger {
        "timer" => "the schedule",
        "http" => "a request",
        "queue" => "the queue",
        "command line" => "the command line",
        other => other,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handler::page::pass::PageProblem;

    #[test]
    fn a_pass_is_one_sentence() {
        let check = |pass: PagePass, told: &str| assert_eq!(sentence(&pass), told);
        let ok = || PagePass { status: "ok".into(), listed: Some(9), ..PagePass::default() };
        check(ok(), "Nothing new");
        check(PagePass { ingested: 1, ..ok() }, "1 file arrived");
        let many = PagePass { ingested: 2_000, failed: 2, deferred: 1, ..ok() };
        check(many, "2 files fail, 2,000 files arrived, 1 file waits");
        let message = "the login is refused".to_owned();
        let problems = vec![PageProblem { message, ..PageProblem::default() }];
        check(PagePass { unusable: true, problems, ..ok() }, "Not looked at: the login is refused");
        check(PagePass { status: "left".into(), ..ok() }, "Left to another run");
        check(
            PagePass { status: "running".into(), bytes_to_fetch: Some(2048), ..ok() },
            &format!("0 files so far, 0 B of {}", in_bytes(2048)),
        );
    }
}
