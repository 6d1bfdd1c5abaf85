//! What the pages show of runs, drawn from their records and reports. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use super::digest::{FEW, LineDigest, RunDigest, counts_only};
use super::pass::{PagePass, PageProblem, totals};
use crate::history::record::{RunRecord, Trigger};
use crate::history::standing::{Of, SourceStanding};
use crate::report::Status as Ended;

/// Failed files of one class that are named where a source has many.
pub(crate) const NAMED: usize = 5;

/// A run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PageRun {
    /// Its id.
    pub id: String,
    /// How it stands, in a word.
    pub status: String,
    /// What started it, in a word.
    pub trigger: String,
    /// When it began.
    pub started: OffsetDateTime,
    /// When it ended, if it has.
    pub ended: Option<OffsetDateTime>,
    /// When it was last heard of.
    pub heard: OffsetDateTime,
    /// What went wrong with it as a whole.
    pub problems: Vec<PageProblem>,
    /// Its sources.
    pub passes: Vec<PagePass>,
    /// A hash of the files that failed in it: equal runs have the same.
    pub failing: u64,
    /// It in a list for programs, as JSON: counts only.
    told: String,
}

/// What the command line leaves of a run over one source, beside the ledger.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct PageStored {
    run: String,
    #[serde(with = "time::serde::rfc3339")]
    started: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    ended: OffsetDateTime,
    #[serde(flatten)]
    pass: PagePass,
}

impl PageRun {
    /// Of the record of a run, as it stands at `now`.
    pub(crate) fn of_record(record: RunRecord, now: OffsetDateTime) -> Self {
        Self::of_digest(record.into(), now)
    }

    /// Of what lists need of a record, as it stands at `now`.
    pub(crate) fn of_digest(digest: RunDigest, now: OffsetDateTime) -> Self {
        let told = digest.told(now).to_string();
        let (status, trigger) = (digest.shown_status(now).word(), digest.trigger);
        let problems = digest.problems.iter();
        Self {
            status: status.to_owned(),
            trigger: if trigger == Trigger::Command {
                "command line".into()
            } else {
                trigger.word().into()
            },
            started: digest.started,
            ended: digest.ended,
            heard: digest.heartbeat,
            problems: problems
                .map(|problem| PageProblem::deserialize(problem).unwrap_or_default())
                .collect(),
            failing: failing(&digest.sources.passes),
            passes: digest.sources.passes,
            id: digest.id,
            told,
        }
    }

    /// Runs of the command line, each of the reports that its sources left.
    pub(crate) fn of_reports(reports: Vec<PageStored>) -> Vec<Self> {
        let mut runs: BTreeMap<String, Vec<PageStored>> = BTreeMap::new();
        for report in reports {
            runs.entry(report.run.clone()).or_default().push(report);
        }
        runs.into_iter().filter_map(|(id, reports)| Self::of_one(id, reports)).collect()
    }

    fn of_one(id: String, reports: Vec<PageStored>) -> Option<Self> {
        let started = reports.iter().map(|report| report.started).min()?;
        let ended = reports.iter().map(|report| report.ended).max()?;
        let passes: Vec<PagePass> = reports.into_iter().map(|report| report.pass).collect();
        // A word that no release wrote is taken for the worst that still lets others be well.
        let words = passes.iter().map(|pass| Ended::from_word(&pass.status));
        let status = Ended::of_all(words.map(|word| word.unwrap_or(Ended::Degraded))).word();
        let time = |at: OffsetDateTime| at.format(&Rfc3339).unwrap_or_default();
        let lines: LineDigest = passes.iter().map(|pass| json!(pass)).collect();
        let told = json!({
            "id": id, "run": id, "status": status, "trigger": "command", "started": time(started),
            "heartbeat": time(ended), "ended": time(ended), "problems": [], "sources": lines.told,
            "total": totals(&passes),
        });
        Some(Self {
            told: told.to_string(),
            failing: failing(&passes),
            id,
            status: status.into(),
            trigger: "command line".into(),
            started,
            ended: Some(ended),
            heard: ended,
            problems: Vec::new(),
            passes,
        })
    }

    /// It with all that is known of its passes, for programs.
    pub(crate) fn all(&self) -> Value {
        let mut told: Value = serde_json::from_str(&self.told).unwrap_or_default();
        told["sources"] = json!(self.passes);
        told
    }

    /// It in a list for programs: counts only, and where all of it is told.
    pub fn line(&self, location: String) -> Value {
        let mut line: Value = serde_json::from_str(&self.told).unwrap_or_default();
        line["location"] = location.into();
        line
    }

    /// Leaves out all sources but `name`; what ended with them is how that one ended.
    pub fn keep(&mut self, name: &str) {
        self.passes.retain(|pass| pass.source == name);
        self.failing = failing(&self.passes);
        let mut told: Value = serde_json::from_str(&self.told).unwrap_or_default();
        told["total"] = totals(&self.passes);
        let lines = told["sources"].as_array_mut().map(std::mem::take).unwrap_or_default();
        let mut lines: Vec<Value> =
            lines.into_iter().filter(|line| line["source"] == name).collect();
        if let Some(pass) = self.passes.first() {
            if lines.is_empty() {
                lines.push(counts_only(json!(pass)));
            }
            if !pass.is_running() {
                self.status.clone_from(&pass.status);
                told["status"] = pass.status.as_str().into();
            }
        }
        told["sources"] = lines.into();
        self.told = told.to_string();
    }

    /// Of a run over many sources the lists need no names, but those of failed files that `wanted`
    /// asks for, and the first few of each class.
    pub(crate) fn shorten(&mut self, wanted: &WantedFailures) {
        if self.passes.len() <= FEW {
            return;
        }
        for pass in &mut self.passes {
            pass.deferred_files = Vec::new();
            pass.notes = Vec::new();
            pass.manifest = None;
            pass.skipped_by_reason = BTreeMap::new();
            pass.deferred_by_reason = BTreeMap::new();
            let mut kept: BTreeMap<String, usize> = BTreeMap::new();
            let source = &pass.source;
            pass.failures.retain(|failure| {
                let first = kept.entry(failure.class.clone()).or_default();
                *first += 1;
                *first <= NAMED || wanted.contains(&(source.clone(), failure.path.clone()))
            });
            pass.failures.shrink_to_fit();
        }
    }

    /// Whether it goes on.
    pub(crate) fn is_running(&self) -> bool {
        self.status == "running"
    }

    /// A sum over its sources.
    pub fn sum(&self, of: impl Fn(&PagePass) -> u64) -> u64 {
        self.passes.iter().map(of).fold(0, u64::saturating_add)
    }

    /// How long it took, or has taken so far.
    pub fn duration(&self, now: OffsetDateTime) -> Duration {
        let end = if self.is_running() { now } else { self.ended.unwrap_or(self.heard) };
        (end - self.started).max(Duration::ZERO)
    }

    /// Its sources in one pass: the sums of their numbers.
    pub fn total(&self) -> PagePass {
        PagePass::total(&self.passes)
    }
}

/// Failed files by source and path, of which earlier failures are asked for.
pub(crate) type WantedFailures = BTreeSet<(String, String)>;

fn failing(passes: &[PagePass]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for pass in passes {
        pass.failures.iter().for_each(|failure| (&pass.source, &failure.path).hash(&mut hasher));
    }
    hasher.finish()
}

/// The passes that are known of each source, the newest first.
pub(crate) type PassesBySource<'a> = HashMap<&'a str, Vec<(&'a PageRun, &'a PagePass)>>;

/// They, of `runs`, newest first.
pub(crate) fn passes_by_source(runs: &[PageRun]) -> PassesBySource<'_> {
    let mut found = PassesBySource::new();
    for run in runs {
        for pass in &run.passes {
            found.entry(&pass.source).or_default().push((run, pass));
        }
    }
    found
}

/// How a source stands by its passes alone, newest first; `None` if none of them looked at it.
pub(crate) fn standing(passes: &[(&PageRun, &PagePass)]) -> Option<SourceStanding> {
    let mut standing: Option<SourceStanding> = None;
    let over = |(run, pass): &&(&PageRun, &PagePass)| !(run.is_running() && pass.is_running());
    for (run, pass) in passes.iter().rev().filter(over) {
        let mut line = json!({ "status": pass.status, "unusable": pass.unusable,
            "failed": pass.failed, "problems": pass.problems, "failures": pass.failures });
        // A pass that was cut off with its process still says that it runs.
        if pass.is_running() {
            line["status"] = run.status.as_str().into();
        }
        let of = Of { run: &run.id, began: run.started };
        standing = SourceStanding::after(standing.as_ref(), of, &line).or(standing);
    }
    standing
}

/// An earlier run in which a file failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Earlier {
    /// Its id.
    pub run: String,
    /// When it began.
    #[serde(with = "time::serde::rfc3339")]
    pub started: OffsetDateTime,
    /// What class the failure was of.
    pub class: String,
}

/// The runs among `runs` (newest first) before `run` in which `path` of `source` failed too.
pub fn earlier(runs: &[PageRun], run: &PageRun, source: &str, path: &str) -> Vec<Earlier> {
    let before = runs.iter().filter(|other| other.id != run.id && other.started < run.started);
    let failed = before.filter_map(|other| {
        let passes = other.passes.iter().filter(|pass| pass.source == source);
        let failure =
            passes.flat_map(|pass| &pass.failures).find(|failure| failure.path == path)?;
        Some(Earlier {
            run: other.id.clone(),
            started: other.started,
            class: failure.class.clone(),
        })
    });
    failed.collect()
}

/// A failed file that failed before, too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct FailedBefore {
    source: String,
    path: String,
    runs: Vec<Earlier>,
}

/// Which of the failed files `wanted` failed in the runs before `run`, and in which.
pub(crate) fn failed_before(
    runs: &[PageRun],
    run: &PageRun,
    wanted: &WantedFailures,
) -> Vec<FailedBefore> {
    let before = wanted.iter().map(|(source, path)| FailedBefore {
        source: source.clone(),
        path: path.clone(),
        runs: earlier(runs, run, source, path),
    });
    before.filter(|before| !before.runs.is_empty()).collect()
}

/// A span of time for people, in its two largest units.
pub fn span(duration: Duration) -> String {
    let seconds = duration.whole_seconds().max(0);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) if seconds < 10 => format!("{:.1} s", duration.as_seconds_f64().max(0.0)),
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-23 10:00 UTC);

    fn run(minutes_ago: i64, sources: Vec<Value>) -> PageRun {
        let mut record = RunRecord::new(Trigger::Timer, "i", NOW - Duration::minutes(minutes_ago));
        record.sources = sources;
        record.ended = Some(record.started + Duration::seconds(90));
        record.status = crate::history::record::RunStatus::Ok;
        PageRun::of_record(record.clone(), NOW)
    }

    #[test]
    fn reports_of_the_command_line_make_runs() {
        let stored = |run: &str, source: &str, status: &str| -> PageStored {
            let value = json!({ "run": run, "started": "2026-11-23T09:00:00Z",
                "ended": "2026-11-23T09:00:05Z", "status": status, "source": source, "listed": 2,
                "ingested": 2, "bytes": 7 });
            serde_json::from_value(value).expect("a report")
        };
        let runs = PageRun::of_reports(vec![
            stored("a", "x", "ok"),
            stored("a", "y", "failed"),
            stored("b", "x", "failed"),
        ]);
        let told: Vec<_> = runs
            .iter()
            .map(|run| {
                (run.id.as_str(), run.status.as_str(), run.passes.len(), run.sum(|pass| pass.bytes))
            })
            .collect();
        assert_eq!(told, [("a", "degraded", 2, 14), ("b", "failed", 1, 7)]);
        assert_eq!(
            (runs[0].duration(NOW), runs[0].total().listed, runs[0].total().sum()),
            (Duration::seconds(5), Some(4), 4)
        );
    }

    #[test]
    fn records_that_nobody_can_read_say_so() {
        let odd = run(5, vec![json!({ "source": "acme", "ingested": "many" }), json!(7)]);
        assert_eq!(
            (odd.passes[0].source.as_str(), odd.passes[0].status.as_str()),
            ("acme", "unreadable")
        );
        assert!(odd.passes[1].problems[0].message.contains("cannot be read"));
        assert_eq!(odd.total().listed, None);
    }

    #[test]
    fn a_failed_file_is_found_in_the_runs_before() {
        let failing = |path: &str| {
            json!({ "source": "acme", "status": "degraded",
            "failures": [{ "path": path, "class": "permission" }] })
        };
        let other =
            json!({ "source": "other", "failures": [{ "path": "/a", "class": "stalled" }] });
        let runs = [
            run(1, vec![failing("/a")]),
            run(10, vec![failing("/a"), other]),
            run(20, vec![failing("/b")]),
            run(30, vec![failing("/a")]),
        ];
        let found = earlier(&runs, &runs[1], "acme", "/a");
        assert_eq!(
            found
                .iter()
                .map(|earlier| (earlier.started, earlier.class.as_str()))
                .collect::<Vec<_>>(),
            [(runs[3].started, "permission")]
        );
        assert_eq!(earlier(&runs, &runs[0], "acme", "/a").len(), 2);
        assert_eq!(earlier(&runs, &runs[3], "acme", "/a"), []);
    }

    #[test]
    fn a_list_tells_of_a_thousand_sources_only_what_there_is_to_tell() {
        let mut sources: Vec<Value> = (0..1_000)
            .map(|n| format!("s{n}"))
            .map(|name| json!({ "source": name, "status": "ok", "listed": 1, "unchanged": 1 }))
            .collect();
        sources[7] = json!({ "source": "s7", "status": "failed" });
        sources[8]["ingested"] = json!(2);
        let long = run(5, sources);
        let told = long.line("/there".into());
        assert_eq!((&told["idle_sources"], &told["more_sources"]), (&json!(998), &json!(0)));
        assert_eq!(told["sources"].as_array().map(Vec::len), Some(2));
        assert_eq!(
            (&told["total"]["unchanged"], &told["total"]["ingested"]),
            (&json!(999), &json!(2))
        );
        assert_eq!((long.passes.len(), long.total().listed), (1_000, None));
    }

    #[test]
    fn of_a_thousand_sources_that_all_failed_a_list_tells_a_hundred_the_worst_first() {
        let failures: Vec<Value> = (0..20)
            .map(|n| json!({ "path": format!("/{n}"), "class": "permission", "message": "no" }))
            .collect();
        let line = |n: usize| match n {
            500..900 => json!({ "source": format!("s{n}"), "status": "degraded", "failed": 20,
                "failures": failures, "deferred_files": ["/x"], "notes": ["y"] }),
            _ => json!({ "source": format!("s{n}"), "status": "ok", "ingested": 1 }),
        };
        let mut long = run(5, (0..1_000).map(line).collect());
        let told = long.line("/there".into());
        let sources = told["sources"].as_array().expect("sources");
        assert_eq!((sources.len(), &told["more_sources"]), (FEW, &json!(1_000 - FEW)));
        assert!(sources.iter().all(|source| source["status"] == "degraded"), "{sources:?}");
        let wanted = WantedFailures::from([("s500".to_owned(), "/19".to_owned())]);
        let before = long.clone();
        long.shorten(&wanted);
        let named = |at: usize| {
            long.passes[at].failures.iter().map(|failure| &*failure.path).collect::<Vec<_>>()
        };
        assert_eq!(named(500), ["/0", "/1", "/2", "/3", "/4", "/19"]);
        assert_eq!((named(501).len(), long.passes[501].failed), (NAMED, 20));
        assert!(long.passes.iter().all(|pass| pass.deferred_files.len() + pass.notes.len() == 0));
        assert_eq!(long.failing, before.failing, "equal runs still stand together");
    }

    #[test]
    fn a_line_of_a_list_holds_counts_only() {
        let pass = json!({ "source": "acme", "failures": [{ "path": "/a" }], "failed": 1 });
        let line = run(5, vec![pass]).line("/there".into());
        assert_eq!(
            line["sources"][0],
            json!({ "source": "acme", "failed": 1, "listed": 0,
            "ingested": 0, "unchanged": 0, "skipped": 0, "gone": 0, "deferred": 0, "bytes": 0,
            "blobs": 0 })
        );
        assert_eq!(line["location"], "/there");
    }

    #[test]
    fn a_source_stands_by_its_runs_where_nothing_else_is_known() {
        let bad = json!({ "source": "acme", "status": "degraded",
            "failures": [{ "path": "/a", "class": "permission" }] });
        let good = json!({ "source": "acme", "status": "ok", "listed": 1, "unchanged": 1 });
        let runs = [run(10, vec![bad.clone()]), run(70, vec![bad]), run(130, vec![good])];
        let of = |runs: &[PageRun], name: &str| {
            let passes = passes_by_source(runs);
            standing(passes.get(name).map(Vec::as_slice).unwrap_or_default())
        };
        let found = of(&runs, "acme").expect("it was looked at");
        assert_eq!((found.word.as_str(), found.runs), ("degraded", 2));
        assert_eq!(found.since("permission"), Some((NOW - Duration::minutes(70), 2)));
        assert_eq!(found.good, Some(NOW - Duration::minutes(130)));
        assert_eq!(of(&runs, "idle"), None);
        // A pass that was cut off with its process still says that it runs.
        let mut record = RunRecord::new(Trigger::Http, "i", NOW);
        record.sources = vec![json!({ "source": "acme", "status": "running" })];
        assert_eq!(of(&[PageRun::of_record(record.clone(), NOW)], "acme"), None);
        let later = of(&[PageRun::of_record(record.clone(), NOW + Duration::hours(1))], "acme");
        assert_eq!(later.map(|found| found.word).as_deref(), Some("abandoned"));
    }

    #[test]
    fn spans_read_well() {
        for (seconds, text) in [
            (0, "0.0 s"),
            (12, "12 s"),
            (62, "1 min 2 s"),
            (3_700, "1 h 1 min"),
            (90_000, "1 d 1 h"),
        ] {
            assert_eq!(span(Duration::seconds(seconds)), text);
        }
    }
}
