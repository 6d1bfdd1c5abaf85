//! What the overview shows before the first run: what is right already, what comes next, and the
//! sources that the settings name. Pure.

use std::collections::BTreeMap;

use maud::{Markup, html};
use serde::Serialize;
use time::{Duration, OffsetDateTime};

use super::moment::{age, at};
use super::next::every;
use super::overview::StatusOverview;
use crate::model::number_of;
use crate::model::redactor::Redactor;
use crate::transfer::settings::Source;

/// Sources that are shown.
const SHOWN: usize = 24;

/// A source at which no run has looked yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct NewSource {
    /// Its name.
    pub source: String,
    /// Its address and folder.
    pub place: String,
    /// Seconds between two runs over it, where that is the same all day.
    pub every: Option<u64>,
    /// When the first run looks at it, if that is known.
    #[serde(with = "time::serde::rfc3339::option")]
    pub first: Option<OffsetDateTime>,
}

/// The sources of `settings`, once runs go over them as the host's `schedule` says.
pub(crate) fn new_sources(
    settings: &[Source],
    schedule: Option<&str>,
    redactor: &Redactor,
    overview: &StatusOverview,
) -> Vec<NewSource> {
    let next = overview.sources.iter().map(|source| (source.name.as_str(), source.next));
    let of: BTreeMap<&str, Option<OffsetDateTime>> = next.collect();
    let told = |source: &Source| {
        let span = schedule
            .and_then(|schedule| every(schedule, source.schedule.as_ref(), overview.as_of))
            .and_then(|span| u64::try_from(span.whole_seconds()).ok());
        NewSource {
            source: source.name.clone(),
            place: redactor.name(&format!("{}{}", source.endpoint.address(), source.root)),
            every: span,
            first: of.get(source.name.as_str()).copied().flatten(),
        }
    };
    settings.iter().filter(|source| source.enabled).map(told).collect()
}

/// What is right already, the steps that are left, and the sources.
pub(crate) fn steps(overview: &StatusOverview, sources: &[NewSource]) -> Markup {
    const EXPECT: &str = "[[source.expect]]\nname = \"daily-sales\"\n\
        files = [\"sales_{yyyyMMdd}*.csv\"]\nby = \"06:30\"";
    let first = overview.sources.iter().filter_map(|source| source.next).min();
    let settings = format!("They name {}", number_of(overview.sources.len(), "source"));
    let steps = [
        (
            "See whether the servers let us in",
            "Logs in, lists one folder, says what is wrong. \
            Changes nothing.",
            "blobferry check",
        ),
        ("See what would come", "Every file with the name that it will have.", "blobferry plan"),
        ("Bring it over", "This page then shows each file by name.", "blobferry run"),
        (
            "Say what you expect",
            "Then this page tells you what is missing, not only what came.",
            EXPECT,
        ),
    ];
    html! {
        @if let Some(first) = first {
            p.lead {
                "The first run begins by itself at " (at(first)) ", in "
                (age(first - overview.as_of)) "; you need not wait for it."
            }
        }
        div.two {
            section aria-labelledby="steps" {
                h2 #steps { "To the first file" }
                ol.steps {
                    li { (done()) div { h3 { "Settings read" } p.q { (settings) } } }
                    li {
                        (done())
                        div { h3 { "Storage answers" } p.q { "It holds no record of a run yet" } }
                    }
                    @for ((title, what, text), number) in steps.iter().zip(3..) {
                        li {
                            span.num aria-hidden="true" { (number) }
                            div {
                                h3 { (title) }
                                p.q { (what) }
                                pre tabindex="0" { code { (text) } }
                            }
                        }
                    }
                }
            }
            @if !sources.is_empty() { (yours(sources)) }
        }
    }
}

/// Where files come from, and when.
fn yours(sources: &[NewSource]) -> Markup {
    html! {
        aside aria-labelledby="yours" {
            h2 #yours {
                @if sources.len() == 1 { "Your source" }
                @else { "Your " (sources.len()) " sources" }
            }
            div.box {
                dl.facts {
                    @for source in sources.iter().take(SHOWN) {
                        dt { bdi { (source.source) } }
                        dd {
                            bdi { (source.place) }
                            @if let Some(first) = source.first {
                                br;
                                span.q.s { (often(source.every)) "first at " (at(first)) }
                            }
                        }
                    }
                }
                @if sources.len() > SHOWN { p.q.s { "and " (sources.len() - SHOWN) " more" } }
            }
        }
    }
}

/// How often, in words before others; nothing if that is not known.
fn often(every: Option<u64>) -> String {
    match every {
        None | Some(0..=59) => String::new(),
        Some(60) => "every minute, ".into(),
        Some(3_600) => "every hour, ".into(),
        Some(86_400) => "every day, ".into(),
        Some(seconds) => {
            let span = Duration::seconds(i64::try_from(seconds).unwrap_or(i64::MAX));
            format!("every {}, ", age(span))
        }
    }
}

fn done() -> Markup {
    html! {
        svg.good viewBox="0 0 16 16" role="img" aria-label="Done" { use href="#i-ok" {} }
    }
}

#[cfg(test)]
mod tests {
    use super::often;

    #[test]
    fn spans_are_told_in_words() {
        for (every, told) in [
            (None, ""),
            (Some(30), ""),
            (Some(60), "every minute, "),
            (Some(900), "every 15 min, "),
            (Some(3_600), "every hour, "),
            (Some(21_600), "every 6 hours, "),
            (Some(86_400), "every day, "),
        ] {
            assert_eq!(often(every), told, "{every:?}");
        }
    }
}
