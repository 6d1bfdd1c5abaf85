//! How far a run has come, source by source: what is told of a run that goes on, or that had to be
//! ended.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::history::record::source_line;
use crate::model::RemotePath;
use crate::model::redactor::Redactor;
use crate::report::{Outcome, SourceReport};
use crate::transfer::progress::Progress;

/// Counts along.
pub(crate) struct RunTally {
    redactor: Redactor,
    sources: Mutex<BTreeMap<String, TallySource>>,
}

#[derive(Default)]
struct TallySource {
    planned: Option<(u64, u64)>,
    fetched: u64,
    ingested: u64,
    unchanged: u64,
    skipped: u64,
    gone: u64,
    deferred: u64,
    failed: u64,
    report: Option<Value>,
}

impl RunTally {
    /// Of these sources, of which nothing is known yet.
    pub fn new<'a>(names: impl Iterator<Item = &'a str>, redactor: &Redactor) -> Self {
        let sources = names.map(|name| (name.to_owned(), TallySource::default())).collect();
        Self { redactor: redactor.clone(), sources: Mutex::new(sources) }
    }

    /// Each source's report, or how far it has come.
    pub fn sources(&self) -> Vec<Value> {
        self.lock()
            .iter()
            .map(|(name, source)| source.report.clone().unwrap_or_else(|| source.line(name)))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, TallySource>> {
        self.sources.lock().expect("no code panics while it holds this lock")
    }

    fn with(&self, source: &str, change: impl FnOnce(&mut TallySource)) {
        change(self.lock().entry(source.to_owned()).or_default());
    }
}

impl TallySource {
    fn line(&self, name: &str) -> Value {
        json!({
            "source": name,
            "status": "running",
            "to_fetch": self.planned.map(|planned| planned.0),
            "bytes_to_fetch": self.planned.map(|planned| planned.1),
            "bytes_fetched": self.fetched,
            "ingested": self.ingested,
            "unchanged": self.unchanged,
            "skipped": self.skipped,
            "gone": self.gone,
            "deferred": self.deferred,
            "failed": self.failed,
        })
    }
}

impl Progress for RunTally {
    fn planned(&self, source: &str, files: u64, bytes: u64) {
        self.with(source, |source| source.planned = Some((files, bytes)));
    }

    fn fetched(&self, source: &str, bytes: u64) {
        self.with(source, |source| source.fetched += bytes);
    }

    fn done(&self, source: &str, _path: &RemotePath, outcome: &Outcome) {
        self.with(source, |source| match outcome {
            Outcome::Ingested(_) => source.ingested += 1,
            Outcome::Unchanged => source.unchanged += 1,
            Outcome::Skipped(_) => source.skipped += 1,
            Outcome::Gone => source.gone += 1,
            Outcome::Deferred(_) => source.deferred += 1,
            Outcome::Failed(_) => source.failed += 1,
        });
    }

    fn finished(&self, report: &SourceReport) {
        let line = source_line(report, &self.redactor, OffsetDateTime::now_utc());
        self.with(&report.source, |source| source.report = Some(line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Defer;

    #[test]
    fn a_source_counts_along_until_its_report_is_there() {
        let tally = RunTally::new(["acme"].into_iter(), &Redactor::default());
        tally.planned("acme", 2, 10);
        tally.fetched("acme", 4);
        tally.done("acme", &RemotePath::from("/a"), &Outcome::Deferred(Defer::Interrupted));
        let line = &tally.sources()[0];
        assert_eq!(
            (&line["to_fetch"], &line["bytes_fetched"], &line["deferred"]),
            (&json!(2), &json!(4), &json!(1))
        );
        tally.finished(&SourceReport::new("acme", "file:///x"));
        assert_eq!(tally.sources()[0]["status"], "ok");
    }
}
