//! The page of one file as HTML. Pure.

use maud::{Markup, html};

use super::address;
use super::chart::commas;
use super::file::{FileEvent, FileLife, FileVersion};
use super::frame::Frame;
use super::html::{self as parts, run_link};
use super::moment::{at, read};
use crate::report::{Word, in_bytes};

/// The page.
pub fn page(frame: &Frame<'_>, life: &FileLife) -> String {
    let live = html! {
        p.crumb { a href=(address::source(frame, &life.source)) { bdi { (life.source) } } " "
            span.q { bdi { (folder(&life.path)) } } }
        h1 { bdi { (life.answer) } }
        p.lead { (life.lead) }
        (parts::as_of(frame))
        div.box {
            p.s.q { "For the sender, to read out or paste" }
            p #said data-utc { bdi { (life.for_the_sender) } }
            p.acts { button type="button" data-copy="said" hidden { "Copy" } }
        }
        div.two {
            section aria-labelledby="life" {
                h2 #life { "What happened to it" }
                ol.life reversed { @for event in &life.life { (row(frame, event)) } }
                @if !life.complete {
                    p.q.s.note { "There is more further back: " code { "blobferry find" } " tells \
                        all of it." }
                }
            }
            @if !life.versions.is_empty() {
                aside aria-labelledby="vers" {
                    h2 #vers {
                        (life.versions.len())
                        @if life.versions.len() == 1 { " version" } @else { " versions" }
                    }
                    @for version in &life.versions { (of_version(frame, version)) }
                }
            }
        }
    };
    parts::page(frame, &life.answer, false, &live, &html! {})
}

fn folder(path: &str) -> &str {
    path.rfind('/').map_or("", |end| &path[..=end])
}

fn row(frame: &Frame<'_>, event: &FileEvent) -> Markup {
    let (class, icon) = match event.outcome {
        Word::Ingested => ("good", "i-ok"),
        Word::Failed => ("bad", "i-fail"),
        Word::Deferred => ("warn", "i-stuck"),
        Word::Gone | Word::Skipped => ("none", "i-late"),
    };
    html! {
        li {
            div.when { @match event.at { Some(time) => (at(time)), None => "unknown" } }
            div class={ "dot " (class) } {
                svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true" {
                    use href={ "#" (icon) } {}
                }
            }
            div.ev {
                h3 { (event.title) }
                @for detail in &event.details { p { bdi { (detail) } } }
                p.s.q {
                    (run_link(frame, &event.run, &html! { "The run that tells so" }))
                    @if event.runs > 1 {
                        ", and " (event.runs - 1) " before it, since "
                        @match event.since { Some(since) => (at(since)), None => "unknown" }
                    }
                }
            }
        }
    }
}

fn of_version(frame: &Frame<'_>, version: &FileVersion) -> Markup {
    html! {
        div.feed {
            div.hd {
                h3 { "Version " (version.number) }
                span.q { (run_link(frame, &version.run, &html! { "Its run" })) }
            }
            dl.facts {
                @if let Some(blob) = &version.blob { dt { "Blob" } dd { code { (blob) } } }
                @if let Some(md5) = &version.md5 { dt { "MD5" } dd { code { (md5) } } }
                @if let Some(members) = version.members {
                    dt { "Unpacked" }
                    dd { (members) @if members == 1 { " file" } @else { " files" } }
                }
                dt { "Size" }
                dd {
                    @match version.size {
                        Some(size) => {
                            (in_bytes(size)) " " span.q { "(" (commas(size)) " bytes)" }
                        }
                        None => "unknown",
                    }
                }
                @if let Some(stored) = &version.stored {
                    dt { "Complete since" }
                    dd { @match read(stored) { Some(stored) => (at(stored)), None => (stored) } }
                }
            }
        }
    }
}
