//! The record of a run: one blob that names every source that the run looked at. Pure.
//!
//! A source in which nothing changed is one short line: when it was looked at, how many files were
//! listed, how many are unchanged. Any other source is told in full, with the name of its report if
//! a report was stored.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::history::run_id::run_id;
use crate::model::redactor::Redactor;
use crate::report::{Report, SourceReport, Status as Ended};

/// A run that has not been heard of for this long is gone: killed, or its instance taken away.
pub(crate) const SILENCE: Duration = Duration::minutes(3);
/// As [`SILENCE`], of a run whose work goes through the queue.
const QUEUED_SILENCE: Duration = Duration::hours(24);
/// Lines of each kind that a record tells of a source; the pass's own report, beside its ledger,
/// tells more.
const LINES: usize = 100;
/// The counts that every source's line has when it is shown.
pub(crate) const COUNTS: &[&str] =
    &["listed", "ingested", "unchanged", "skipped", "gone", "deferred", "failed", "bytes", "blobs"];

/// What started a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// The schedule.
    Timer,
    /// A request.
    Http,
    /// A message of the work queue.
    Queue,
    /// The command line.
    Command,
}

impl Trigger {
    /// The function, or the command, that it calls.
    pub fn function(self) -> &'static str {
        match self {
            Trigger::Timer => "IngestTimer",
            Trigger::Http => "IngestHttp",
            Trigger::Queue => "IngestQueue",
            Trigger::Command => "blobferry run",
        }
    }

    /// The word for records.
    pub fn word(self) -> &'static str {
        match self {
            Trigger::Timer => "timer",
            Trigger::Http => "http",
            Trigger::Queue => "queue",
            Trigger::Command => "command",
        }
    }
}

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// It goes on.
    Running,
    /// All is well.
    Ok,
    /// Something did not arrive, or may not have been listed.
    Degraded,
    /// Nothing could be done.
    Failed,
    /// It was stopped by its deadline or with the process; the next run takes up the rest.
    Interrupted,
    /// It ended without a word. That is what a running record without heartbeat is shown as; a tick
    /// of the timer writes it down.
    Abandoned,
}

/// A source that a run is busy with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunUnderWay {
    /// The source.
    pub source: String,
    /// The run's id.
    pub id: String,
}

/// A run as others see it. `S`: its sources as the record has them, or as much as a list needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord<S: Default = Vec<Value>> {
    /// The id that our HTTP API knows it by: the UTC time of its start and eight random digits.
    pub id: String,
    /// The id that the ledger, the reports and the blobs know it by. Told once it has ended.
    pub run: Option<String>,
    /// How it stands.
    pub status: RunStatus,
    /// What started it.
    pub trigger: Trigger,
    /// The host's invocation that started it.
    pub invocation: String,
    /// The id that Application Insights knows it by, if it goes there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// When it began.
    #[serde(with = "time::serde::rfc3339")]
    pub started: OffsetDateTime,
    /// When it was last heard of.
    #[serde(with = "time::serde::rfc3339")]
    pub heartbeat: OffsetDateTime,
    /// When it ended.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub ended: Option<OffsetDateTime>,
    /// What went wrong with it as a whole.
    #[serde(default)]
    pub problems: Vec<Value>,
    /// Sources whose work goes through the queue: what is known of them is in their own state until
    /// the run is over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queued: Vec<String>,
    /// Its sources: a report each, or how far they have come.
    #[serde(default)]
    pub sources: S,
}

impl From<Ended> for RunStatus {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Left | Ended::Ok => RunStatus::Ok,
            Ended::Interrupted => RunStatus::Interrupted,
            Ended::Degraded => RunStatus::Degraded,
            Ended::Failed => RunStatus::Failed,
        }
    }
}

impl RunStatus {
    /// The word for records.
    pub fn word(self) -> &'static str {
        match self {
            RunStatus::Running => "running",
            RunStatus::Ok => "ok",
            RunStatus::Degraded => "degraded",
            RunStatus::Failed => "failed",
            RunStatus::Interrupted => "interrupted",
            RunStatus::Abandoned => "abandoned",
        }
    }

    /// How a run of this status stands that was not heard of for `silence`, for those who ask.
    pub(crate) fn seen(self, silence: Duration, queued: &[String]) -> Self {
        // Work that waits in a queue says nothing; what is dead of it is closed by the timer.
        let most = if queued.is_empty() { SILENCE } else { QUEUED_SILENCE };
        if self == Self::Running && silence > most { Self::Abandoned } else { self }
    }
}

impl RunRecord {
    /// Of a run that begins at `now`.
    pub fn new(trigger: Trigger, invocation: &str, now: OffsetDateTime) -> Self {
        Self {
            id: run_id(now),
            run: None,
            status: RunStatus::Running,
            trigger,
            invocation: invocation.to_owned(),
            operation: None,
            started: now,
            heartbeat: now,
            ended: None,
            problems: Vec::new(),
            queued: Vec::new(),
            sources: Vec::new(),
        }
    }

    /// The run ended with `report`.
    pub fn end(&mut self, report: &Report, redactor: &Redactor) {
        self.run = Some(report.run.clone());
        self.status = report.status().into();
        // Events of the log tell this time, too.
        self.started = report.started;
        self.ended = Some(report.ended);
        self.heartbeat = report.ended;
        self.problems =
            report.problems.iter().map(|problem| redactor.json(json!(problem))).collect();
        self.sources = report
            .sources
            .iter()
            .map(|source| source_line(source, redactor, report.ended))
            .collect();
    }

    /// Takes in how a source of a run ended whose work goes through the queue; `line` is final.
    /// What tells of a change is never replaced by what tells of none: a message may come twice.
    pub fn tell(&mut self, line: Value, now: OffsetDateTime) {
        let source = line["source"].clone();
        match self.sources.iter_mut().find(|told| told["source"] == source) {
            Some(told)
                if is_final(told)
                    && told.get("report").is_some()
                    && line.get("report").is_none() => {}
            Some(told) => *told = line,
            None => self.sources.push(line),
        }
        self.heartbeat = self.heartbeat.max(now);
        if self.unsettled().is_empty() {
            self.status = worst(&self.sources);
            self.ended = Some(self.ended.map_or(now, |ended| ended.max(now)));
        }
    }

    /// The sources whose ends this record does not tell.
    pub fn unsettled(&self) -> Vec<String> {
        let told = |name: &String| {
            self.sources.iter().any(|line| line["source"] == **name && is_final(line))
        };
        self.queued.iter().filter(|name| !told(name)).cloned().collect()
    }

    /// The run ended without a report: it stood at `sources`.
    pub fn cut(
        &mut self,
        status: RunStatus,
        problem: &str,
        sources: Vec<Value>,
        now: OffsetDateTime,
    ) {
        self.status = status;
        self.ended = Some(now);
        self.heartbeat = now;
        self.problems.push(json!({ "message": problem }));
        self.sources = sources;
        none_is_running(&mut self.sources, status);
    }

    /// The word for its end, as measurements tell it: a run that left all sources says so.
    pub(crate) fn ended_word(&self) -> &'static str {
        let left = json!(Ended::Left);
        let is_left = !self.sources.is_empty() && self.sources.iter().all(|s| s["status"] == left);
        match self.status {
            RunStatus::Ok if is_left => Ended::Left.word(),
            status => status.word(),
        }
    }

    /// Closes it if, at `now`, nobody works on it any more.
    pub fn abandon(&mut self, now: OffsetDateTime) {
        if self.ended.is_none() && self.shown_status(now) == RunStatus::Abandoned {
            let sources = std::mem::take(&mut self.sources);
            self.cut(RunStatus::Abandoned, "nothing was heard of it any more", sources, now);
        }
    }

    /// How it stands, for those who ask at `now`.
    pub(crate) fn shown_status(&self, now: OffsetDateTime) -> RunStatus {
        self.status.seen(now - self.heartbeat, &self.queued)
    }

    /// All of it for those who ask at `now`.
    pub fn shown(&self, now: OffsetDateTime) -> Value {
        self.clone().into_shown(now)
    }

    /// The same without a copy: a record over a thousand sources is large.
    pub(crate) fn into_shown(mut self, now: OffsetDateTime) -> Value {
        self.status = self.shown_status(now);
        let mut sources = std::mem::take(&mut self.sources);
        if self.status == RunStatus::Abandoned {
            none_is_running(&mut sources, self.status);
        }
        for line in sources.iter_mut().filter_map(Value::as_object_mut) {
            for name in COUNTS {
                line.entry(*name).or_insert(json!(0));
            }
        }
        let mut shown = json!(self);
        shown["sources"] = sources.into();
        shown
    }

    /// It in a sentence.
    pub fn summary(&self) -> String {
        let sum = |name: &str| {
            self.sources.iter().filter_map(|source| source.get(name)?.as_u64()).sum::<u64>()
        };
        let word = json!(self.status);
        let left: Vec<String> = self.sources.iter().filter_map(left_to).collect();
        let left = if left.is_empty() { String::new() } else { format!("; {}", left.join(", ")) };
        format!(
            "run {} {}: ingested {}, unchanged {}, skipped {}, gone {}, deferred {}, failed {}, \
            {}{left}",
            self.id,
            word.as_str().unwrap_or_default(),
            sum("ingested"),
            sum("unchanged"),
            sum("skipped"),
            sum("gone"),
            sum("deferred"),
            sum("failed"),
            crate::model::number_of(self.sources.len(), "source")
        )
    }

    /// Why nothing could be done, in a line.
    pub(crate) fn first_problem(&self) -> String {
        let of_sources =
            self.sources.iter().filter_map(|source| source.get("problems")?.as_array()).flatten();
        let message = self
            .problems
            .iter()
            .chain(of_sources)
            .find_map(|problem| problem.get("message")?.as_str());
        message.unwrap_or("the report tells no cause").to_owned()
    }
}

/// The sources of a run that is over in `status` are not being run over any more.
fn none_is_running(sources: &mut [Value], status: RunStatus) {
    let running = json!(RunStatus::Running);
    for source in sources.iter_mut().filter(|source| source["status"] == running) {
        source["status"] = json!(status);
    }
}

/// A report as it was stored under the name `blob`, its long lists cut.
pub(crate) fn stored_line(mut report: Value, blob: &str) -> Value {
    if let Some(object) = report.as_object_mut() {
        let looked = object.remove("ended");
        ["run", "started", "schema"].iter().for_each(|name| drop(object.remove(*name)));
        object.values_mut().filter_map(Value::as_array_mut).for_each(|list| list.truncate(LINES));
        object.insert("report".into(), blob.into());
        object.extend(looked.map(|looked| ("looked".to_owned(), looked)));
    }
    report
}

/// The line of a source that waits for its turn in the queue.
pub fn waiting_line(source: &str) -> Value {
    json!({ "source": source, "status": RunStatus::Running, "waiting": true })
}

/// The line of a source that a run is busy with.
pub(crate) fn running_line(source: &str) -> Value {
    json!({ "source": source, "status": RunStatus::Running })
}

/// Whether a source's line says how it ended.
pub(crate) fn is_final(line: &Value) -> bool {
    line["status"] != json!(RunStatus::Running)
}

/// As a run in one process would be.
fn worst(sources: &[Value]) -> RunStatus {
    Ended::of_all(sources.iter().filter_map(|line| Ended::from_word(line["status"].as_str()?)))
        .into()
}

/// Which run a source is left to, in words.
fn left_to(source: &Value) -> Option<String> {
    let other = source.get("left_to").filter(|other| other.is_object())?;
    let name = source["source"].as_str().unwrap_or_default();
    let run = other["run"].as_str().unwrap_or("of unknown id");
    let host = other["host"].as_str().unwrap_or("an unknown host");
    Some(format!("{name} is left to run {run} on {host}"))
}

/// The line of a source whose pass came to `report` at `now`, without secrets.
pub fn source_line(report: &SourceReport, redactor: &Redactor, now: OffsetDateTime) -> Value {
    let mut value = json!(report);
    if let Some(object) = value.as_object_mut() {
        object.insert("status".into(), json!(report.status()));
        object.insert("looked".into(), json!(now.format(&Rfc3339).unwrap_or_default()));
        if report.is_idle() {
            object
                .retain(|name, value| name == "listed" || name == "unchanged" || !is_empty(value));
        }
        object.values_mut().filter_map(Value::as_array_mut).for_each(|list| list.truncate(LINES));
    }
    redactor.json(value)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_u64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(object) => object.values().all(is_empty),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::LeftTo;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-23 10:00 UTC);

    #[test]
    fn a_running_record_without_heartbeat_is_abandoned() {
        let mut record = RunRecord::new(Trigger::Timer, "i", NOW);
        assert_eq!(record.shown_status(NOW + Duration::minutes(2)), RunStatus::Running);
        assert_eq!(record.shown_status(NOW + Duration::minutes(4)), RunStatus::Abandoned);
        record.sources = vec![json!({ "source": "a", "status": "running" })];
        let shown = record.shown(NOW + Duration::minutes(4));
        assert_eq!(shown["status"], "abandoned");
        assert_eq!(shown["sources"][0]["status"], "abandoned", "not running as well");
        let sources = vec![json!({ "status": "running" }), json!({ "status": "ok" })];
        record.cut(RunStatus::Interrupted, "stopped", sources, NOW);
        assert_eq!(record.sources, [json!({ "status": "interrupted" }), json!({ "status": "ok" })]);
        assert_eq!(record.shown_status(NOW + Duration::hours(4)), RunStatus::Interrupted);
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record = RunRecord::new(Trigger::Http, "i", NOW);
        assert!(record.id.starts_with("20261123T100000Z-"));
        let read: RunRecord = serde_json::from_value(json!(record)).expect("a record");
        assert_eq!(read, record);
    }

    fn line(report: &SourceReport) -> Value {
        source_line(report, &Redactor::default(), NOW)
    }

    #[test]
    fn an_idle_source_is_one_short_line() {
        let mut report = SourceReport::new("acme", "file:///x");
        (report.listed, report.unchanged) = (3, 3);
        let expected = json!({
            "source": "acme", "address": "file:///x", "status": "ok",
            "looked": "2026-11-23T10:00:00Z", "listed": 3, "unchanged": 3
        });
        assert_eq!(line(&report), expected);
        let mut record = RunRecord::new(Trigger::Command, "", NOW);
        record.sources = vec![line(&report)];
        assert_eq!(record.shown(NOW)["sources"][0]["ingested"], 0);
    }

    #[test]
    fn what_tells_of_a_change_is_not_replaced_by_what_tells_of_none() {
        let mut record = RunRecord::new(Trigger::Timer, "i", NOW);
        record.queued = vec!["acme".into(), "other".into()];
        record.sources = vec![waiting_line("acme"), waiting_line("other")];
        let changed = json!({ "source": "acme", "status": "degraded",
            "report": "_blobferry/acme/runs/x.json" });
        let idle = |source: &str| line(&SourceReport::new(source, "file:///x"));
        record.tell(idle("acme"), NOW);
        assert_eq!((record.unsettled(), record.ended), (vec!["other".to_owned()], None));
        record.tell(changed.clone(), NOW);
        record.tell(idle("acme"), NOW);
        assert_eq!(record.sources[0], changed);
        record.tell(idle("other"), NOW + Duration::SECOND);
        assert_eq!(
            (record.status, record.ended),
            (RunStatus::Degraded, Some(NOW + Duration::SECOND))
        );
    }

    #[test]
    fn a_source_that_another_run_has_is_told_with_that_run() {
        let mut source = SourceReport::new("acme", "file:///x");
        source.left_to =
            Some(LeftTo { run: Some("r1".into()), host: Some("laptop".into()), since: Some(NOW) });
        let mut record = RunRecord::new(Trigger::Http, "i", NOW);
        record.sources = vec![line(&source), line(&SourceReport::new("b", "file:///y"))];
        assert_eq!(
            (&record.sources[0]["status"], &record.sources[0]["left_to"]["host"]),
            (&json!("left"), &json!("laptop"))
        );
        assert!(
            record.summary().ends_with("2 sources; acme is left to run r1 on laptop"),
            "{}",
            record.summary()
        );
        assert_eq!(record.shown(NOW)["sources"][0]["status"], "left");
    }

    #[test]
    fn a_run_that_nobody_works_on_is_closed_once_and_one_that_left_all_says_so() {
        let mut record = RunRecord::new(Trigger::Timer, "i", NOW);
        record.queued = vec!["acme".into()];
        record.sources = vec![waiting_line("acme")];
        record.abandon(NOW + Duration::hours(23));
        assert_eq!(record.ended, None);
        let late = NOW + Duration::hours(25);
        [late, late + Duration::DAY].into_iter().for_each(|at| record.abandon(at));
        assert_eq!((record.ended_word(), record.ended), ("abandoned", Some(late)));
        record.status = RunStatus::Ok;
        record.sources = vec![json!({ "status": "left" }), json!({ "status": "left" })];
        assert_eq!(record.ended_word(), "left");
        record.sources[1]["status"] = json!("ok");
        assert_eq!(record.ended_word(), "ok");
    }
}
