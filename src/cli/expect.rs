//! `blobferry expect`.

use std::fmt::Write as _;

use serde_json::json;
use time::OffsetDateTime;

use crate::cli::since::since;
use crate::history::source_index;
use crate::model::redactor::Redactor;
use crate::pass::expectations::{self, Telling};
use crate::pass::judging;
use crate::report::ExpectationStanding;
use crate::rules::expect::Severity;
use crate::state::store::{StateError, StateStore};
use crate::transfer::settings::Source;

#[derive(Debug, clap::Args)]
pub(crate) struct ExpectWords {
    /// How it stood, or will stand, at this time: 2026-11-01T06:00:00Z, or 12h ago. Nothing is
    /// written then, and nobody is alerted.
    #[arg(long, value_name = "TIME", value_parser = since)]
    at: Option<OffsetDateTime>,
    /// One JSON object with all expectations.
    #[arg(long)]
    json: bool,
}

impl ExpectWords {
    /// Whether changes are written down, and told.
    pub(crate) fn writes(&self) -> bool {
        self.at.is_none()
    }
}

/// How what is expected of each source stands, and whether something is late or missed that is more
/// than a warning.
pub async fn expect(
    state: &StateStore,
    sources: &[Source],
    words: &ExpectWords,
    redactor: &Redactor,
) -> Result<(String, bool), StateError> {
    let now = words.at.unwrap_or_else(OffsetDateTime::now_utc);
    let telling = if words.at.is_some() { Telling::Silent } else { Telling::Alert };
    let index = source_index::read(state).await?.map(|(index, _)| index).unwrap_or_default();
    let mut all: Vec<(String, Vec<ExpectationStanding>)> = Vec::new();
    for source in sources.iter().filter(|source| !source.expectations.is_empty()) {
        let look = judging::last_look(&index, &source.name);
        let standings = expectations::judge(state, source, now, look, telling).await?;
        all.push((source.name.clone(), standings));
    }
    let counts = |standing: &ExpectationStanding| standing.severity == Severity::Error;
    let is_unmet =
        all.iter().flat_map(|(_, all)| all).any(|standing| standing.is_unmet() && counts(standing));
    let told = if words.json {
        let sources: Vec<_> = all
            .iter()
            .map(|(source, standings)| json!({ "source": source, "expectations": standings }))
            .collect();
        format!("{:#}\n", redactor.json(json!({ "at": in_seconds(now), "sources": sources })))
    } else {
        redactor.text(&text(&all))
    };
    Ok((told, is_unmet))
}

fn in_seconds(now: OffsetDateTime) -> String {
    let now = now.replace_nanosecond(0).unwrap_or(now);
    now.format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
}

/// Worst first.
fn text(all: &[(String, Vec<ExpectationStanding>)]) -> String {
    let mut lines: Vec<(&String, &ExpectationStanding)> = all
        .iter()
        .flat_map(|(source, standings)| standings.iter().map(move |standing| (source, standing)))
        .collect();
    lines.sort_by_key(|(_, standing)| {
        (!standing.is_missed(), !standing.is_unmet(), standing.deadline)
    });
    let mut text = String::new();
    for (source, standing) in &lines {
        writeln!(text, "{source}: {}", standing.text()).expect("writing to a String does not fail");
    }
    let missed = lines.iter().filter(|(_, standing)| standing.is_missed()).count();
    let late = lines.iter().filter(|(_, standing)| standing.is_unmet()).count() - missed;
    writeln!(text, "{} expected, {missed} missed, {late} late", lines.len())
        .expect("writing to a String does not fail");
    text
}
