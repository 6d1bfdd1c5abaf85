//! Whether each fact is there that another one names: what records of runs say of reports, and
//! reports of records and of the ledger. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Deserialize;
use serde_json::Value;

use crate::audit::findings::{Invariant, Violations};
use crate::audit::suspects::Suspects;
use crate::report::Reach;
use crate::state::sum;

/// A report as the record of a run names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamedReport {
    /// The record's blob.
    pub record: String,
    /// SHA-256 of the report, in hex, if it is told.
    pub sha256: Option<String>,
}

/// What the runs of a source came to.
#[derive(Debug, Default)]
pub(crate) struct EndedRuns {
    /// Runs that did all that they began.
    pub sound: HashSet<String>,
    /// The first run that has a report.
    pub first: Option<String>,
    /// Files that a manifest says are in the ledger, and that it does not speak of.
    pub suspects: Suspects,
}

/// What records of runs say.
#[derive(Debug, Default)]
pub(crate) struct RunsTold {
    /// Every run that has a record, by the ids that it has: whether it ended.
    ended: HashMap<String, bool>,
    /// Reports, by their blobs.
    reports: BTreeMap<String, NamedReport>,
    /// Records that are not as they were written.
    pub violations: Violations,
}

/// What is read of a record.
#[derive(Deserialize)]
struct RecordRead {
    id: String,
    #[serde(default)]
    run: Option<String>,
    status: String,
    #[serde(default)]
    sources: Vec<Value>,
}

impl RunsTold {
    /// Takes in the record `blob`.
    pub fn take(&mut self, blob: &str, bytes: &[u8]) {
        let told = serde_json::from_slice::<Value>(bytes)
            .and_then(|value| RecordRead::deserialize(&value).map(|told| (value, told)));
        let (value, RecordRead { id, run, status, sources }) = match told {
            Ok(told) => told,
            Err(error) => {
                let message = format!("this record of a run cannot be read: {error}");
                return self.violations.add(Invariant::Witness, Some(blob), None, message);
            }
        };
        if sum::holds(value) == Some(false) {
            let message = "this record of a run does not have the checksum that it bears";
            self.violations.add(Invariant::Witness, Some(blob), None, message);
        }
        let has_ended = status != "running";
        for id in std::iter::once(id).chain(run) {
            self.ended.insert(id, has_ended);
        }
        for line in &sources {
            let text = |name: &str| line.get(name).and_then(Value::as_str).map(str::to_owned);
            if let Some(report) = text("report") {
                let named = NamedReport { record: blob.to_owned(), sha256: text("report_sha256") };
                self.reports.insert(report, named);
            }
        }
    }

    /// Whether the run `id` has a record.
    pub fn knows(&self, id: &str) -> bool {
        self.ended.contains_key(id)
    }

    /// Whether the run `id` has a record that says that it ended.
    pub fn has_ended(&self, id: &str) -> bool {
        self.ended.get(id).copied().unwrap_or_default()
    }

    /// The reports of the source whose names begin with `folder`.
    pub(crate) fn of_folder<'a>(
        &'a self,
        folder: &'a str,
    ) -> impl Iterator<Item = (&'a String, &'a NamedReport)> {
        self.reports
            .range(folder.to_owned()..)
            .take_while(move |(name, _)| name.starts_with(folder))
    }

    /// What is said of the report `blob`.
    pub fn report(&self, blob: &str) -> Option<&NamedReport> {
        self.reports.get(blob)
    }
}

/// The report `blob` of the run `run`, which `recorded` says has a record, against what records
/// say; `sha256` is that of its bytes.
pub(crate) fn judge_report(
    told: &RunsTold,
    run: &str,
    (blob, sha256): (&str, &str),
    recorded: bool,
    violations: &mut Violations,
) {
    let mut violate =
        |message: String| violations.add(Invariant::Witness, Some(blob), None, message);
    match told.report(blob) {
        Some(NamedReport { record, sha256: Some(named) }) if named != sha256 => {
            violate(format!("it does not have the SHA-256 that `{record}` names"));
        }
        Some(_) => {}
        None if recorded && !told.knows(run) => {
            violate("the record of its run is not there".to_owned());
        }
        None if recorded && told.has_ended(run) => {
            violate("the record of its run does not name it".to_owned());
        }
        None => {}
    }
}

/// That `reach`, which the report `blob` names, does not hold.
pub(crate) fn add_short(violations: &mut Violations, journal: &str, blob: &str, reach: &Reach) {
    let message = format!(
        "its first {} bytes are not those that `{blob}` names: lines are gone or were changed",
        reach.bytes
    );
    violations.add(Invariant::Witness, Some(journal), None, message);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const REPORT: &str = "_blobferry/acme/runs/20260101/r.json";

    fn record(status: &str, sha256: Option<&str>) -> Value {
        let mut line = json!({ "source": "acme", "report": REPORT });
        if let Some(sha256) = sha256 {
            line["report_sha256"] = sha256.into();
        }
        let mut value = json!({ "id": "r", "status": status, "sources": [line], "schema": 2 });
        sum::seal(&mut value);
        value
    }

    fn told(records: &[Value], run: &str, blob: &str, recorded: bool) -> Vec<String> {
        let mut told = RunsTold::default();
        records.iter().for_each(|record| told.take("record", record.to_string().as_bytes()));
        let mut violations = std::mem::take(&mut told.violations);
        judge_report(&told, run, (blob, "aa"), recorded, &mut violations);
        violations.first.into_iter().map(|one| one.message).collect()
    }

    #[test]
    fn a_report_is_as_the_record_of_its_run_names_it() {
        assert_eq!(told(&[record("ok", Some("aa"))], "r", REPORT, true), [""; 0]);
        assert_eq!(told(&[record("ok", None)], "r", REPORT, true), [""; 0]);
        let other = told(&[record("ok", Some("bb"))], "r", REPORT, true);
        assert_eq!(other, ["it does not have the SHA-256 that `record` names"]);
    }

    #[test]
    fn a_report_without_the_record_of_its_run_is_told_from_a_run_that_was_killed() {
        assert_eq!(told(&[], "r", REPORT, true), ["the record of its run is not there"]);
        // Of a build that left no record before its work.
        assert_eq!(told(&[], "r", REPORT, false), [""; 0]);
        let killed = json!({ "id": "r", "status": "running", "sources": [] });
        assert_eq!(told(&[killed], "r", REPORT, true), [""; 0]);
        let ended = json!({ "id": "r", "status": "ok", "sources": [] });
        assert_eq!(told(&[ended], "r", REPORT, true), ["the record of its run does not name it"]);
    }

    #[test]
    fn a_record_that_was_changed_is_told() {
        let mut changed = record("ok", Some("aa"));
        changed["status"] = "degraded".into();
        assert_eq!(
            told(&[changed], "r", REPORT, true),
            ["this record of a run does not have the checksum that it bears"]
        );
        let cut = told(&[json!("x")], "r", REPORT, false);
        assert!(cut[0].starts_with("this record of a run cannot be read: "), "{cut:?}");
    }
}
