//! `blobferry find`.

use std::fmt::Write as _;
use std::time::Duration;

use crate::history::files_by_name::{Hit, NameQuery, NamesFound, find as look};
use crate::model::number_of;
use crate::model::redactor::Redactor;
use crate::report::{Word, in_bytes};
use crate::state::store::StateStore;
use crate::store::contract::StoreError;

/// How long the command looks, at most.
const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Debug, clap::Args)]
pub(crate) struct FindWords {
    /// The file's name or a part of it; `*` stands for any letters, capitals do not matter.
    name: String,
    /// Print what was found as JSON.
    #[arg(long)]
    json: bool,
    /// Stop at so many files.
    #[arg(long, value_name = "COUNT", default_value_t = 200)]
    most: usize,
}

/// What is known of files of this name at `sources`, and whether there is any.
pub async fn find(
    state: &StateStore,
    sources: Vec<String>,
    words: FindWords,
    redactor: &Redactor,
) -> Result<(String, bool), StoreError> {
    let FindWords { name, json, most } = words;
    let query = NameQuery { name, sources, most: most.max(1), patience: PATIENCE };
    let found = look(state, &query).await?;
    let told = if json {
        format!("{:#}\n", redactor.json(serde_json::json!(found)))
    } else {
        redactor.text(&text(&found))
    };
    Ok((told, !found.hits.is_empty()))
}

fn text(found: &NamesFound) -> String {
    let mut text = String::new();
    let mut line = |line: String| {
        writeln!(text, "{line}").expect("writing to a String does not fail");
    };
    if !found.hits.is_empty() {
        line(format!("{:<10} {:<20} {:>10}  {:<16} PATH", "STATE", "RUN OF", "SIZE", "SOURCE"));
    }
    for hit in &found.hits {
        let began = hit.began.map_or_else(|| hit.run.clone(), in_seconds);
        let size = hit.size.map_or_else(|| "?".to_owned(), in_bytes);
        let more = if hit.runs > 1 { format!(" ({} runs)", hit.runs) } else { String::new() };
        let (word, source, path) = (word(hit), &hit.source, &hit.path);
        line(format!("{word:<10} {began:<20} {size:>10}  {source:<16} {path}{more}"));
        for why in hit.reason.iter().chain(&hit.message) {
            line(format!("           {why}"));
        }
        if let (Some(blob), Some(md5)) = (&hit.blob, &hit.md5) {
            line(format!("           blob {blob}, MD5 {md5}"));
        }
        line(format!("           {}", changed(hit)));
    }
    let count = match found.hits.len() {
        0 => "no file of this name was seen".to_owned(),
        1 => "1 file".to_owned(),
        count => format!("{count} files"),
    };
    let back = found.back_to.map_or_else(String::new, |at| format!(" back to {}", in_seconds(at)));
    let rest = if found.complete { "" } else { "; there is more, further back" };
    line(format!("{count}; looked through {}{back}{rest}", number_of(found.lines, "name")));
    text
}

/// Since when it is so, by which runs, and in which version.
fn changed(hit: &Hit) -> String {
    let mut text = match (&hit.stored, &hit.recovered) {
        (Some(stored), Some(dead)) => format!("stored {stored} by run {dead}, which died"),
        (Some(stored), None) => format!("stored {stored} by run {}", hit.since_run),
        (None, _) => {
            let since = hit.since.map_or_else(|| "unknown".to_owned(), in_seconds);
            format!("since {since}, run {}", hit.since_run)
        }
    };
    if hit.run != hit.since_run {
        text += &format!("; last told by run {}", hit.run);
    }
    if let Some(version) = &hit.version {
        text += &format!("; version {version}");
    }
    text
}

fn word(hit: &Hit) -> &'static str {
    match hit.outcome {
        Word::Ingested => "arrived",
        Word::Skipped => "left out",
        Word::Gone => "gone",
        Word::Deferred => "waits",
        Word::Failed => "failed",
    }
}

fn in_seconds(at: time::OffsetDateTime) -> String {
    let at = at.replace_nanosecond(0).unwrap_or(at);
    at.format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
}
