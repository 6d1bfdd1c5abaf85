//! What the pages show of runs, drawn from their records and reports. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use crate::run::record::{RunRecord, Trigger};

/// A failure as records tell it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Problem {
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Pass {
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
    pub failures: Vec<Problem>,
    pub problems: Vec<Problem>,
    pub notes: Vec<String>,
}

impl Pass {
    /// Of what a record holds. A text that cannot be read as one says so where the pages show it.
    pub fn read(value: &Value) -> Self {
        Self::deserialize(value).unwrap_or_else(|error| Self {
            source: value["source"].as_str().unwrap_or("?").to_owned(),
            status: "unreadable".into(),
            problems: vec![Problem {
                message: format!("this part of the record cannot be read: {error}"),
                ..Problem::default()
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
    pub fn is_running(&self) -> bool {
        self.status == "running"
    }

    /// Bytes that arrived, also while it goes on.
    pub fn arrived(&self) -> u64 {
        self.bytes.max(self.bytes_fetched)
    }
}

/// A run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
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
    pub problems: Vec<Problem>,
    /// Its sources.
    pub passes: Vec<Pass>,
}

/// What the command line leaves of a run over one source, beside the ledger.
#[derive(Clone, Debug, Deserialize)]
pub struct Stored {
    run: String,
    #[serde(with = "time::serde::rfc3339")]
    started: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    ended: OffsetDateTime,
    #[serde(flatten)]
    pass: Pass,
}

fn word(value: Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

impl Run {
    /// Of the record of a run, as it stands at `now`.
    pub fn of_record(record: &RunRecord, now: OffsetDateTime) -> Self {
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
                .map(|problem| Problem::deserialize(problem).unwrap_or_default())
                .collect(),
            passes: record.sources.iter().map(Pass::read).collect(),
        }
    }

    /// Runs of the command line, each of the reports that its sources left.
    pub fn of_reports(reports: Vec<Stored>) -> Vec<Self> {
        let mut runs: BTreeMap<String, Vec<Stored>> = BTreeMap::new();
        for report in reports {
            runs.entry(report.run.clone()).or_default().push(report);
        }
        runs.into_iter().filter_map(|(id, reports)| Self::of_one(id, reports)).collect()
    }

    fn of_one(id: String, reports: Vec<Stored>) -> Option<Self> {
        let started = reports.iter().map(|report| report.started).min()?;
        let ended = reports.iter().map(|report| report.ended).max()?;
        let passes: Vec<Pass> = reports.into_iter().map(|report| report.pass).collect();
        let all = |word: &str| passes.iter().all(|pass| pass.status == word);
        let status = if all("ok") {
            "ok"
        } else if all("failed") {
            "failed"
        } else {
            "degraded"
        };
        Some(Self {
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

    /// Whether it goes on.
    pub fn is_running(&self) -> bool {
        self.status == "running"
    }

    /// A sum over its sources.
    pub fn sum(&self, of: impl Fn(&Pass) -> u64) -> u64 {
        self.passes.iter().map(of).fold(0, u64::saturating_add)
    }

    /// How long it took, or has taken so far.
    pub fn duration(&self, now: OffsetDateTime) -> Duration {
        let end = if self.is_running() { now } else { self.ended.unwrap_or(self.heard) };
        (end - self.started).max(Duration::ZERO)
    }

    /// Its sources in one pass: the sums of their numbers.
    pub fn total(&self) -> Pass {
        let known = self.passes.iter().all(|pass| pass.listed.is_some());
        Pass {
            listed: known.then(|| self.sum(|pass| pass.listed.unwrap_or(0))),
            ingested: self.sum(|pass| pass.ingested),
            unchanged: self.sum(|pass| pass.unchanged),
            skipped: self.sum(|pass| pass.skipped),
            gone: self.sum(|pass| pass.gone),
            deferred: self.sum(|pass| pass.deferred),
            failed: self.sum(|pass| pass.failed),
            ..Pass::default()
        }
    }
}

/// How a source stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceView {
    /// Its name.
    pub name: String,
    /// Its address, as its last report tells it.
    pub address: String,
    /// How its last pass ended; `None` if none of these runs took it.
    pub state: Option<String>,
    /// Whether a run is busy with it.
    pub running: bool,
    /// Its last run that is over.
    pub last: Option<(String, OffsetDateTime)>,
    /// The last run that found all well, by the time it began: what had settled at the source by
    /// then is stored.
    pub last_good: Option<(String, OffsetDateTime)>,
    /// Files that the last pass left for later.
    pub deferred: u64,
    /// Files that the last pass could not bring over.
    pub failed: u64,
}

/// How each source stands by `runs`, newest first: the `configured` ones, then others that runs
/// tell of.
pub fn sources(runs: &[Run], configured: &[&str]) -> Vec<SourceView> {
    let told: BTreeSet<&str> =
        runs.iter().flat_map(|run| &run.passes).map(|pass| pass.source.as_str()).collect();
    let others = told.into_iter().filter(|name| !configured.contains(name));
    configured.iter().copied().chain(others).map(|name| source(runs, name)).collect()
}

fn source(runs: &[Run], name: &str) -> SourceView {
    let passes = || {
        runs.iter().flat_map(|run| {
            run.passes.iter().filter(|pass| pass.source == name).map(move |pass| (run, pass))
        })
    };
    let over = || passes().filter(|(run, pass)| !(run.is_running() && pass.is_running()));
    let last = over().next();
    let at = |(run, _): (&Run, &Pass)| (run.id.clone(), run.started);
    SourceView {
        name: name.to_owned(),
        address: passes()
            .map(|(_, pass)| pass.address.clone())
            .find(|address| !address.is_empty())
            .unwrap_or_default(),
        // A pass that was cut off with its process still says that it runs.
        state: last.map(
            |(run, pass)| if pass.is_running() { run.status.clone() } else { pass.status.clone() },
        ),
        running: passes().any(|(run, pass)| run.is_running() && pass.is_running()),
        last: last.map(at),
        last_good: over().find(|(_, pass)| pass.status == "ok").map(at),
        deferred: last.map_or(0, |(_, pass)| pass.deferred),
        failed: last.map_or(0, |(_, pass)| pass.failed),
    }
}

/// An earlier run in which a file failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Earlier {
    /// Its id.
    pub run: String,
    /// When it began.
    pub started: OffsetDateTime,
    /// What class the failure was of.
    pub class: String,
}

/// The runs among `runs` (newest first) before `run` in which `path` of `source` failed too.
pub fn earlier(runs: &[Run], run: &Run, source: &str, path: &str) -> Vec<Earlier> {
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

    fn run(minutes_ago: i64, sources: Vec<Value>) -> Run {
        let mut record = RunRecord::new(Trigger::Timer, "i", NOW - Duration::minutes(minutes_ago));
        record.sources = sources;
        record.ended = Some(record.started + Duration::seconds(90));
        record.status = crate::run::record::Status::Ok;
        Run::of_record(&record, NOW)
    }

    #[test]
    fn a_source_stands_as_its_last_pass_and_its_last_good_one_say() {
        let bad = json!({ "source": "acme", "address": "ftp://acme:21", "status": "degraded", "listed": 3, "ingested": 1, "deferred": 1, "failed": 1 });
        let good = json!({ "source": "acme", "status": "ok", "listed": 1, "unchanged": 1 });
        let runs = [run(10, vec![bad]), run(70, vec![good.clone()]), run(130, vec![good])];
        let found = sources(&runs, &["acme", "idle"]);
        assert_eq!(
            (found[0].state.as_deref(), found[0].deferred, found[0].failed),
            (Some("degraded"), 1, 1)
        );
        assert_eq!(
            found[0].last_good.as_ref().map(|(_, at)| *at),
            Some(NOW - Duration::minutes(70))
        );
        assert_eq!(found[0].address, "ftp://acme:21");
        assert_eq!(
            (found[1].name.as_str(), &found[1].state, &found[1].last_good),
            ("idle", &None, &None)
        );
    }

    #[test]
    fn a_running_pass_counts_as_running_until_its_run_is_given_up() {
        let running = json!({ "source": "acme", "status": "running", "bytes_fetched": 5, "bytes_to_fetch": 10 });
        let mut record = RunRecord::new(Trigger::Http, "i", NOW);
        record.sources = vec![running];
        let now = sources(&[Run::of_record(&record, NOW)], &["acme"]);
        assert_eq!((now[0].running, &now[0].state), (true, &None));
        let later = sources(&[Run::of_record(&record, NOW + Duration::hours(1))], &["acme"]);
        assert_eq!((later[0].running, later[0].state.as_deref()), (false, Some("abandoned")));
    }

    #[test]
    fn reports_of_the_command_line_make_runs() {
        let stored = |run: &str, source: &str, status: &str| -> Stored {
            let value = json!({ "run": run, "started": "2026-11-23T09:00:00Z", "ended": "2026-11-23T09:00:05Z", "status": status, "source": source, "listed": 2, "ingested": 2, "bytes": 7 });
            serde_json::from_value(value).expect("a report")
        };
        let runs = Run::of_reports(vec![
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
        let failing = |path: &str| json!({ "source": "acme", "status": "degraded", "failures": [{ "path": path, "class": "permission" }] });
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
