//! The report of a run against itself and against the run's manifest. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::audit::findings::{AuditNotes, Invariant, Violations};
use crate::model::number_of;
use crate::report::{
    DEFERS_WITH_LINES, Defer, Line, MANIFEST_INCOMPLETE, NamedFacts, SKIPS_WITH_LINES, Word,
};

/// What is read of a report.
#[derive(Debug, Deserialize)]
pub(crate) struct AuditReport {
    listed: u64,
    ingested: u64,
    unchanged: u64,
    skipped: u64,
    /// Reports of release 0.1 have no such count.
    #[serde(default)]
    gone: u64,
    deferred: u64,
    failed: u64,
    /// Files that dead runs stored, outside the equation.
    #[serde(default)]
    recovered: u64,
    bytes: u64,
    members: AuditMembers,
    skipped_by_reason: BTreeMap<String, u64>,
    deferred_by_reason: BTreeMap<String, u64>,
    problems: Vec<AuditProblem>,
    #[serde(default)]
    manifest: Option<String>,
    /// `None` in reports of releases that wrote no manifests.
    #[serde(default)]
    manifest_lines: Option<u64>,
    /// The version of stored state; `None` in reports of release 0.1.
    #[serde(default)]
    schema: Option<u64>,
    /// What it says of other blobs; `None` in reports of earlier builds.
    #[serde(default)]
    pub facts: Option<NamedFacts>,
}

#[derive(Debug, Deserialize)]
struct AuditMembers {
    members: u64,
    stored: u64,
    identical: u64,
    skipped: u64,
}

#[derive(Debug, Deserialize)]
struct AuditProblem {
    message: String,
}

/// A manifest in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AuditTally {
    /// Whole lines.
    pub lines: u64,
    counts: [u64; 5],
    /// Those that tell of what a dead run stored: none of the counts.
    recovered: u64,
    bytes: u64,
    /// SHA-256 of its whole lines, in hex.
    pub sha256: Option<String>,
    /// Whether it ends in the midst of a line.
    pub torn: bool,
}

impl AuditTally {
    /// Counts a line.
    pub fn add(&mut self, line: &Line) {
        self.lines += 1;
        if line.recovered.is_some() {
            self.recovered += 1;
            return;
        }
        self.counts[place(line.outcome)] += 1;
        self.bytes = self.bytes.saturating_add(line.bytes.unwrap_or(0));
    }

    fn count(&self, word: Word) -> u64 {
        self.counts[place(word)]
    }
}

fn place(word: Word) -> usize {
    match word {
        Word::Ingested => 0,
        Word::Skipped => 1,
        Word::Deferred => 2,
        Word::Failed => 3,
        Word::Gone => 4,
    }
}

fn sum(numbers: impl IntoIterator<Item = u64>) -> u64 {
    numbers.into_iter().fold(0, u64::saturating_add)
}

impl AuditReport {
    /// Whether its sums hold, and whether its manifest is as it says. `blob` is the report's name,
    /// `manifest` that of the manifest, `tally` what is in it, if it is there.
    pub fn judge(
        &self,
        blob: &str,
        manifest: &str,
        tally: Option<&AuditTally>,
        violations: &mut Violations,
        notes: &mut AuditNotes,
    ) {
        let mut equal = |left: (&str, u64), right: (&str, u64)| {
            if left.1 != right.1 {
                violations.add(
                    Invariant::I9,
                    Some(blob),
                    None,
                    format!("{} {}, but {} is {}", left.0, left.1, right.0, right.1),
                );
            }
        };
        let six = sum([
            self.ingested,
            self.unchanged,
            self.skipped,
            self.gone,
            self.deferred,
            self.failed,
        ]);
        equal(
            ("listed", self.listed),
            ("ingested + unchanged + skipped + gone + deferred + failed", six),
        );
        let AuditMembers { members, stored, identical, skipped } = self.members;
        equal(
            ("members", members),
            ("stored + identical + skipped", sum([stored, identical, skipped])),
        );
        equal(
            ("skipped", self.skipped),
            ("the sum of its reasons", sum(self.skipped_by_reason.values().copied())),
        );
        equal(
            ("deferred", self.deferred),
            ("the sum of its reasons", sum(self.deferred_by_reason.values().copied())),
        );
        let before = violations.total;
        self.judge_manifest(blob, manifest, tally, violations, notes);
        let named = self.facts.as_ref().and_then(|facts| facts.manifest_sha256.as_ref());
        let read = tally.and_then(|tally| tally.sha256.as_ref());
        if before == violations.total && named.is_some() && read.is_some() && named != read {
            let message = "its bytes do not have the SHA-256 that its report names";
            violations.add(Invariant::Manifest, Some(manifest), None, message);
        }
    }

    /// Whether the run did all that it began: then each blob that it wrote is recorded.
    pub(crate) fn is_sound(&self) -> bool {
        let interrupted = self.deferred_by_reason.get(Defer::Interrupted.word());
        self.failed == 0 && self.problems.is_empty() && interrupted.is_none_or(|count| *count == 0)
    }

    /// Whether it says that its manifest has all lines.
    pub fn is_whole(&self) -> bool {
        !self.problems.iter().any(|problem| problem.message.starts_with(MANIFEST_INCOMPLETE))
    }

    /// How many skipped and how many deferred files the manifest names.
    fn skipped_and_deferred_with_lines(&self) -> (u64, u64) {
        let of =
            |counts: &BTreeMap<String, u64>, word: &str| counts.get(word).copied().unwrap_or(0);
        if self.schema.is_none() {
            // Release 0.1 named all of them but those that a glob leaves out.
            return (
                self.skipped.saturating_sub(of(&self.skipped_by_reason, "excluded")),
                self.deferred,
            );
        }
        let skipped = SKIPS_WITH_LINES.iter().map(|reason| of(&self.skipped_by_reason, reason));
        let deferred =
            DEFERS_WITH_LINES.iter().map(|defer| of(&self.deferred_by_reason, defer.word()));
        (sum(skipped), sum(deferred))
    }

    fn judge_manifest(
        &self,
        blob: &str,
        manifest: &str,
        tally: Option<&AuditTally>,
        violations: &mut Violations,
        notes: &mut AuditNotes,
    ) {
        let Some(lines) = self.manifest_lines else {
            notes.reports_without_manifest += 1;
            return;
        };
        let mut violate = |blob: &str, message: String| {
            violations.add(Invariant::Manifest, Some(blob), None, message)
        };
        let there = tally.map_or(0, |tally| tally.lines);
        if !self.is_whole() {
            notes.incomplete_manifests += 1;
            if there < lines {
                violate(
                    manifest,
                    format!("it has {}, its report counts {lines}", number_of(there, "line")),
                );
            }
            return;
        }
        let (skipped, deferred) = self.skipped_and_deferred_with_lines();
        let expected =
            sum([self.ingested, skipped, self.gone, deferred, self.failed, self.recovered]);
        if lines != expected {
            violate(
                blob,
                format!(
                    "it says that its manifest has {lines} lines, and counts {expected} files that \
                    should have one"
                ),
            );
        }
        let Some(tally) = tally else {
            if lines > 0 {
                violate(
                    manifest,
                    format!("it is not there, its report says that it has {lines} lines"),
                );
            }
            return;
        };
        // A name with a secret in it is not told.
        if self.manifest.as_deref().is_none_or(|name| name != manifest && !name.contains("***")) {
            violate(blob, format!("it does not name its manifest `{manifest}`"));
        }
        if tally.lines != lines || tally.torn {
            let torn = if tally.torn { " and part of another" } else { "" };
            violate(
                manifest,
                format!(
                    "it has {}{torn}, its report counts {lines}",
                    number_of(tally.lines, "line")
                ),
            );
        }
        let words = [
            ("ingested", tally.count(Word::Ingested), self.ingested),
            ("skipped", tally.count(Word::Skipped), skipped),
            ("gone", tally.count(Word::Gone), self.gone),
            ("deferred", tally.count(Word::Deferred), deferred),
            ("failed", tally.count(Word::Failed), self.failed),
            ("recovered", tally.recovered, self.recovered),
            ("bytes", tally.bytes, self.bytes),
        ];
        for (word, told, counted) in words.into_iter().filter(|(_, told, counted)| told != counted)
        {
            violate(manifest, format!("{word}: its lines say {told}, its report {counted}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::failure::Class;
    use crate::model::{RemoteFile, RemotePath};
    use crate::report::{Defer, Ingested, Outcome, SourceReport};
    use crate::rules::plan::Skip;
    use serde_json::Value;

    /// A report and its manifest, as a run writes them.
    fn written() -> (SourceReport, AuditTally) {
        let (mut report, mut tally) =
            (SourceReport::new("acme", "memory://"), AuditTally::default());
        let outcomes = [
            Outcome::Ingested(Ingested {
                bytes: 9,
                members: Some(3),
                stored: 2,
                members_skipped: 1,
                ..Ingested::default()
            }),
            Outcome::Unchanged,
            Outcome::Gone,
            Outcome::Skipped(Skip::Excluded),
            Outcome::Deferred(Defer::Unsettled),
            Outcome::Failed(crate::report::Problem::new(Class::Permission, "no")),
        ];
        for outcome in outcomes {
            let file = RemoteFile { path: RemotePath::from("/a"), size: Some(1), modified: None };
            Line::of(&file, None, &outcome).iter().for_each(|line| tally.add(line));
            report.add(&file.path, outcome);
        }
        (report.manifest, report.manifest_lines) = (Some("m".into()), 4);
        (report, tally)
    }

    fn check(
        change: impl FnOnce(&mut Value, &mut Option<AuditTally>),
    ) -> (Vec<String>, AuditNotes) {
        let (report, tally) = written();
        let (mut value, mut tally) = (serde_json::to_value(report).expect("JSON"), Some(tally));
        value["schema"] = 2.into();
        change(&mut value, &mut tally);
        let (mut violations, mut notes) = (Violations::default(), AuditNotes::default());
        let report: AuditReport = serde_json::from_value(value).expect("a report");
        report.judge("r", "m", tally.as_ref(), &mut violations, &mut notes);
        let told = violations.first.iter().map(|one| {
            format!(
                "{} {}: {}",
                one.invariant.word(),
                one.blob.as_deref().unwrap_or("-"),
                one.message
            )
        });
        (told.collect(), notes)
    }

    fn told(change: impl FnOnce(&mut Value, &mut Option<AuditTally>)) -> String {
        check(change).0.join("\n")
    }

    #[test]
    fn what_a_run_writes_holds() {
        assert_eq!(check(|_, _| {}), (Vec::new(), AuditNotes::default()));
    }

    #[test]
    fn sums_that_do_not_hold_are_told() {
        assert_eq!(
            told(|report, _| report["listed"] = 7.into()),
            "I9 r: listed 7, but ingested + unchanged + skipped + gone + deferred + failed is 6"
        );
        assert_eq!(
            told(|report, _| report["members"]["stored"] = 3.into()),
            "I9 r: members 3, but stored + identical + skipped is 4"
        );
        let both = told(|report, _| report["skipped_by_reason"]["excluded"] = 2.into());
        assert_eq!(both, "I9 r: skipped 1, but the sum of its reasons is 2");
        let other = told(|report, _| {
            report["deferred_by_reason"]["too_many"] = 1.into();
        });
        assert_eq!(other, "I9 r: deferred 1, but the sum of its reasons is 2");
        // Larger than any sum of files: nothing overflows.
        assert!(
            told(|report, _| report["failed"] = u64::MAX.into())
                .starts_with("I9 r: listed 6, but ")
        );
    }

    #[test]
    fn a_manifest_that_is_not_as_the_report_says_is_told() {
        assert_eq!(
            told(|_, tally| *tally = None),
            "manifest m: it is not there, its report says that it has 4 lines"
        );
        let file = RemoteFile { path: RemotePath::from("/b"), size: None, modified: None };
        let more = Line::of(&file, None, &Outcome::Deferred(Defer::Changed)).expect("a line");
        let twice = told(|_, tally| tally.as_mut().expect("there").add(&more));
        assert_eq!(
            twice,
            "manifest m: it has 5 lines, its report counts 4\nmanifest m: deferred: its lines say \
            2, its report 1"
        );
        assert_eq!(
            told(|_, tally| tally.as_mut().expect("there").torn = true),
            "manifest m: it has 4 lines and part of another, its report counts 4"
        );
        assert_eq!(
            told(|report, _| report["bytes"] = 8.into()),
            "manifest m: bytes: its lines say 9, its report 8"
        );
        assert_eq!(
            told(|report, _| report["manifest"] = Value::Null),
            "manifest r: it does not name its manifest `m`"
        );
        let fewer = told(|report, tally| (report["manifest_lines"], *tally) = (0.into(), None));
        assert_eq!(
            fewer,
            "manifest r: it says that its manifest has 0 lines, and counts 4 files that should \
            have one"
        );
    }

    #[test]
    fn a_run_that_could_not_write_its_manifest_has_said_so() {
        let (told, notes) = check(|report, tally| {
            report["manifest_lines"] = 2.into();
            tally.as_mut().expect("there").lines = 3;
            report["problems"] = serde_json::json!([{ "class": "store_auth",
                "message": format!("{MANIFEST_INCOMPLETE}: \
                no"), "hint": "" }]);
        });
        assert_eq!((told, notes.incomplete_manifests), (Vec::new(), 1));
    }

    #[test]
    fn a_report_that_counts_a_file_as_vanished_holds_as_it_was_written() {
        let earlier = |schema: u64| {
            move |report: &mut Value, tally: &mut Option<AuditTally>| {
                (report["skipped"], report["skipped_by_reason"]["vanished"], report["schema"]) =
                    (2.into(), 1.into(), schema.into());
                report.as_object_mut().expect("an object").remove("gone");
                if schema < 2 {
                    report.as_object_mut().expect("an object").remove("schema");
                }
                let tally = tally.as_mut().expect("there");
                (tally.counts[place(Word::Skipped)], tally.counts[place(Word::Gone)]) = (1, 0);
            }
        };
        assert_eq!(told(earlier(1)), "");
        assert_eq!(told(earlier(2)), "");
    }

    #[test]
    fn reports_of_earlier_releases_have_none() {
        let (told, notes) = check(|report, tally| {
            let fields = report.as_object_mut().expect("an object");
            fields.retain(|name, _| !name.starts_with("manifest"));
            *tally = None;
        });
        assert_eq!((told, notes.reports_without_manifest), (Vec::new(), 1));
    }
}
