//! What the pages show of runs, drawn from their records and reports. Pure.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::history::record::{RunRecord, Trigger};
use crate::history::standing::{Of, SourceStanding};
use crate::report::Status as Ended;

/// Sources of which a list tells one by one, whatever they came to.
const FEW: usize = 100;

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
}

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
    /// All of it as programs are told.
    pub told: Value,
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

fn word(value: Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

impl PageRun {
    /// Of the record of a run, as it stands at `now`.
    pub(crate) fn of_record(record: RunRecord, now: OffsetDateTime) -> Self {
        Self {
            id: record.id.clone(),
            status: word(json!(record.shown_status(now))),
            trigger: if record.trigger == Trigger::Command {
                "command line".into()
            } else {
                word(json!(record.trigger))
            },
            started: record.started,
            ended: record.ended,
            heard: record.heartbeat,
            problems: record
                .problems
                .iter()
                .map(|problem| PageProblem::deserialize(problem).unwrap_or_default())
                .collect(),
            passes: record.sources.iter().map(PagePass::read).collect(),
            told: record.into_shown(now),
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
        let told = json!({
            "id": id, "run": id, "status": status, "trigger": "command", "started": time(started),
            "heartbeat": time(ended), "ended": time(ended), "problems": [], "sources": passes,
        });
        Some(Self {
            told,
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

    /// It in a list for programs: counts only, and where all of it is told.
    pub fn line(&self, location: String) -> Value {
        let mut line = self.told.clone();
        let sources = line.get_mut("sources").and_then(Value::as_array_mut);
        for source in sources.into_iter().flatten().filter_map(Value::as_object_mut) {
            source.retain(|_, value| !value.is_array() && !value.is_object());
        }
        line["location"] = location.into();
        line
    }

    /// Leaves out all sources but `name`; what ended with them is how that one ended.
    pub fn keep(&mut self, name: &str) {
        self.passes.retain(|pass| pass.source == name);
        if let Some(sources) = self.told.get_mut("sources").and_then(Value::as_array_mut) {
            sources.retain(|source| source["source"] == name);
        }
        if let Some(pass) = self.passes.first().filter(|pass| !pass.is_running()) {
            self.status.clone_from(&pass.status);
            self.told["status"] = pass.status.as_str().into();
        }
    }

    /// Of a run over many sources programs are told of those alone of which there is something to
    /// tell, and how many the others are.
    pub(crate) fn shorten(&mut self) {
        if self.passes.len() <= FEW {
            return;
        }
        let mut idle = 0_u64;
        let mut tells = |source: &Value| {
            let count = |name: &str| source[name].as_u64().unwrap_or(0);
            let is_idle = source["status"] == "ok" && count("ingested") + count("deferred") == 0;
            idle += u64::from(is_idle);
            !is_idle
        };
        if let Some(sources) = self.told.get_mut("sources").and_then(Value::as_array_mut) {
            sources.retain(&mut tells);
            sources.shrink_to_fit();
        }
        self.told["idle_sources"] = idle.into();
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
        let known = self.passes.iter().all(|pass| pass.listed.is_some());
        PagePass {
            listed: known.then(|| self.sum(|pass| pass.listed.unwrap_or(0))),
            ingested: self.sum(|pass| pass.ingested),
            unchanged: self.sum(|pass| pass.unchanged),
            skipped: self.sum(|pass| pass.skipped),
            gone: self.sum(|pass| pass.gone),
            deferred: self.sum(|pass| pass.deferred),
            failed: self.sum(|pass| pass.failed),
            ..PagePass::default()
        }
    }
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
        let mut line = json!(pass);
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Earlier {
    /// Its id.
    pub run: String,
    /// When it began.
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
        let mut long = run(5, sources);
        long.shorten();
        assert_eq!(long.told["idle_sources"], 998);
        assert_eq!(long.told["sources"].as_array().map(Vec::len), Some(2));
        assert_eq!((long.passes.len(), long.total().listed), (1_000, None));
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
