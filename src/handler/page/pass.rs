//! A pass over a source, as the record of its run tells of it. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::report::Status as Ended;

/// A failure as records tell it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PageProblem {
    /// The file, if it is about one.
    pub path: String,
    /// Its class.
    pub class: String,
    /// What happened.
    pub message: String,
    /// What to do next.
    pub hint: String,
}

/// What a run's record tells of one source: its report, or how far it has come. Whatever is
/// missing, as in records of other releases, is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PagePass {
    pub source: String,
    pub address: String,
    pub status: String,
    pub listed: Option<u64>,
    pub ingested: u64,
    pub unchanged: u64,
    pub skipped: u64,
    pub gone: u64,
    pub deferred: u64,
    pub failed: u64,
    pub bytes: u64,
    pub blobs: u64,
    pub bytes_to_fetch: Option<u64>,
    pub bytes_fetched: u64,
    pub unparsed_lines: u64,
    pub skipped_by_reason: BTreeMap<String, u64>,
    pub deferred_by_reason: BTreeMap<String, u64>,
    pub deferred_files: Vec<String>,
    pub failures: Vec<PageProblem>,
    pub problems: Vec<PageProblem>,
    pub notes: Vec<String>,
    /// Whether nothing of the source could be worked on.
    pub unusable: bool,
    /// The blob that names its files.
    pub manifest: Option<String>,
}

impl PagePass {
    /// Of what a record holds. A text that cannot be read as one says so where the pages show it.
    pub fn read(value: &Value) -> Self {
        Self::deserialize(value).unwrap_or_else(|error| Self {
            source: value["source"].as_str().unwrap_or("?").to_owned(),
            status: "unreadable".into(),
            problems: vec![PageProblem {
                message: format!("this part of the record cannot be read: {error}"),
                ..PageProblem::default()
            }],
            ..Self::default()
        })
    }

    /// The sum of the six ways in which a file can end.
    pub fn sum(&self) -> u64 {
        [self.ingested, self.unchanged, self.skipped, self.gone, self.deferred, self.failed]
            .iter()
            .fold(0, |sum, n| sum.saturating_add(*n))
    }

    /// Whether the source is being worked on.
    pub(crate) fn is_running(&self) -> bool {
        self.status == "running"
    }

    /// Whether the source was left to another run: it was not looked at.
    pub(crate) fn was_left(&self) -> bool {
        self.status == Ended::Left.word()
    }

    /// Bytes that arrived, also while it goes on.
    pub fn arrived(&self) -> u64 {
        self.bytes.max(self.bytes_fetched)
    }

    /// The sums of the numbers of `passes`.
    pub(crate) fn total(passes: &[Self]) -> Self {
        let sum = |of: fn(&Self) -> u64| passes.iter().map(of).fold(0, u64::saturating_add);
        let known = passes.iter().all(|pass| pass.listed.is_some());
        Self {
            listed: known.then(|| sum(|pass| pass.listed.unwrap_or(0))),
            ingested: sum(|pass| pass.ingested),
            unchanged: sum(|pass| pass.unchanged),
            skipped: sum(|pass| pass.skipped),
            gone: sum(|pass| pass.gone),
            deferred: sum(|pass| pass.deferred),
            failed: sum(|pass| pass.failed),
            ..Self::default()
        }
    }
}

/// The sums of numbers over sources, for programs.
pub(crate) fn totals(passes: &[PagePass]) -> Value {
    let total = PagePass::total(passes);
    let bytes = passes.iter().map(PagePass::arrived).fold(0, u64::saturating_add);
    json!({
        "listed": total.listed, "ingested": total.ingested, "unchanged": total.unchanged,
        "skipped": total.skipped, "gone": total.gone, "deferred": total.deferred,
        "failed": total.failed, "bytes": bytes,
    })
}
