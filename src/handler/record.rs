//! What is kept of a run for those who ask later. Pure.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use crate::model::BlobName;
use crate::report::{Report, SourceReport, Status as Ended};
use crate::run::run_id;
use crate::telemetry::redact::Redactor;

/// Where records are. Names of sources never begin with `_`.
pub const PREFIX: &str = "_blobferry/_runs/";
/// A run that has not been heard of for this long is gone: killed, or its instance taken away.
pub const SILENCE: Duration = Duration::minutes(3);
/// As [`SILENCE`], of a run whose work goes through the queue.
const QUEUED_SILENCE: Duration = Duration::hours(24);
/// Lines of each kind that a record tells of a source; the pass's own report, beside its ledger, tells more.
const LINES: usize = 100;

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
}

impl Trigger {
    /// The function that it calls.
    pub fn function(self) -> &'static str {
        match self {
            Trigger::Timer => "IngestTimer",
            Trigger::Http => "IngestHttp",
            Trigger::Queue => "IngestQueue",
        }
    }

    /// The word for records.
    pub fn word(self) -> &'static str {
        match self {
            Trigger::Timer => "timer",
            Trigger::Http => "http",
            Trigger::Queue => "queue",
        }
    }
}

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
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
    /// It ended without a word. Never written: it is what a running record without heartbeat is shown as.
    Abandoned,
}

/// A source that a run is busy with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnderWay {
    /// The source.
    pub source: String,
    /// The run's id.
    pub id: String,
}

/// A run as others see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The id that our HTTP API knows it by: the UTC time of its start and eight random digits.
    pub id: String,
    /// The id that the ledger, the reports and the blobs know it by. Told once it has ended.
    pub run: Option<String>,
    /// How it stands.
    pub status: Status,
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
    /// Sources whose work goes through the queue: what is known of them is in their own state until the run is over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queued: Vec<String>,
    /// Its sources: a report each, or how far they have come.
    #[serde(default)]
    pub sources: Vec<Value>,
}

impl Status {
    /// The word for records.
    pub fn word(self) -> &'static str {
        match self {
            Status::Running => "running",
            Status::Ok => "ok",
            Status::Degraded => "degraded",
            Status::Failed => "failed",
            Status::Interrupted => "interrupted",
            Status::Abandoned => "abandoned",
        }
    }
}

impl RunRecord {
    /// Of a run that begins at `now`.
    pub fn new(trigger: Trigger, invocation: &str, now: OffsetDateTime) -> Self {
        Self {
            id: run_id(now),
            run: None,
            status: Status::Running,
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
        self.status = match (report.status(), report.interrupted) {
            (Ended::Failed, false) => Status::Failed,
            (_, true) => Status::Interrupted,
            (Ended::Degraded, _) => Status::Degraded,
            (Ended::Ok | Ended::Left, _) => Status::Ok,
        };
        self.ended = Some(report.ended);
        self.heartbeat = report.ended;
        self.problems = report.problems.iter().map(|problem| redactor.json(json!(problem))).collect();
        self.sources = report.sources.iter().map(|source| source_line(source, redactor)).collect();
    }

    /// The run ended without a report: it stood at `sources`.
    pub fn cut(&mut self, status: Status, problem: &str, sources: Vec<Value>, now: OffsetDateTime) {
        self.status = status;
        self.ended = Some(now);
        self.heartbeat = now;
        self.problems.push(json!({ "message": problem }));
        self.sources = sources;
        for source in self.sources.iter_mut().filter(|source| source["status"] == json!(Status::Running)) {
            source["status"] = json!(status);
        }
    }

    /// How it stands, for those who ask at `now`.
    pub fn shown_status(&self, now: OffsetDateTime) -> Status {
        // Work that waits in a queue says nothing; what is dead of it is closed by the timer.
        let most = if self.queued.is_empty() { SILENCE } else { QUEUED_SILENCE };
        let silent = self.status == Status::Running && now - self.heartbeat > most;
        if silent { Status::Abandoned } else { self.status }
    }

    /// All of it for those who ask at `now`.
    pub fn shown(&self, now: OffsetDateTime) -> Value {
        let shown = Self { status: self.shown_status(now), ..self.clone() };
        json!(shown)
    }

    /// It in a list: counts only.
    pub fn line(&self, now: OffsetDateTime) -> Value {
        let mut line = self.shown(now);
        let sources = line.get_mut("sources").and_then(Value::as_array_mut);
        for source in sources.into_iter().flatten().filter_map(Value::as_object_mut) {
            source.retain(|_, value| !value.is_array() && !value.is_object());
        }
        line
    }

    /// It in a sentence.
    pub fn summary(&self) -> String {
        let sum = |name: &str| self.sources.iter().filter_map(|source| source.get(name)?.as_u64()).sum::<u64>();
        let word = json!(self.status);
        let left: Vec<String> = self.sources.iter().filter_map(left_to).collect();
        let left = if left.is_empty() { String::new() } else { format!("; {}", left.join(", ")) };
        format!(
            "run {} {}: ingested {}, unchanged {}, skipped {}, deferred {}, failed {}, {} sources{left}",
            self.id,
            word.as_str().unwrap_or_default(),
            sum("ingested"),
            sum("unchanged"),
            sum("skipped"),
            sum("deferred"),
            sum("failed"),
            self.sources.len()
        )
    }

    /// Why nothing could be done, in a line.
    pub fn first_problem(&self) -> String {
        let of_sources = self.sources.iter().filter_map(|source| source.get("problems")?.as_array()).flatten();
        let message = self.problems.iter().chain(of_sources).find_map(|problem| problem.get("message")?.as_str());
        message.unwrap_or("the report tells no cause").to_owned()
    }
}

/// A report as it was stored, its long lists cut.
pub fn stored_line(report: Value) -> Value {
    let mut report = report;
    if let Some(object) = report.as_object_mut() {
        ["run", "started", "ended"].iter().for_each(|name| drop(object.remove(*name)));
        object.values_mut().filter_map(Value::as_array_mut).for_each(|list| list.truncate(LINES));
    }
    report
}

/// Which run a source is left to, in words.
fn left_to(source: &Value) -> Option<String> {
    let other = source.get("left_to").filter(|other| other.is_object())?;
    let text = |name: &str, otherwise: &'static str| other.get(name).and_then(Value::as_str).unwrap_or(otherwise).to_owned();
    let name = source.get("source").and_then(Value::as_str).unwrap_or_default();
    Some(format!("{name} is left to run {} on {}", text("run", "of unknown id"), text("host", "an unknown host")))
}

/// A pass's report, its long lists cut, without secrets.
pub fn source_line(report: &SourceReport, redactor: &Redactor) -> Value {
    let mut value = json!(report);
    if let Some(object) = value.as_object_mut() {
        object.insert("status".into(), json!(report.status()));
        object.values_mut().filter_map(Value::as_array_mut).for_each(|list| list.truncate(LINES));
    }
    redactor.json(value)
}

/// The blob that holds the record of the run `id`; `None` if that is no id.
pub fn blob_name(id: &str) -> Option<BlobName> {
    const PATTERN: &[u8] = b"00000000T000000Z-hhhhhhhh";
    let fits = |(byte, pattern): (u8, &u8)| match pattern {
        b'0' => byte.is_ascii_digit(),
        b'h' => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        other => byte == *other,
    };
    let is_id = id.len() == PATTERN.len() && id.bytes().zip(PATTERN).all(fits);
    if !is_id {
        return None;
    }
    Some(BlobName::new(format!("{PREFIX}{}/{id}.json", &id[..8])).expect("an id is a legal segment"))
}

/// What names of blobs with records of the day of `at` begin with.
pub fn day_prefix(at: OffsetDateTime) -> String {
    let date = at.date();
    format!("{PREFIX}{:04}{:02}{:02}/", date.year(), u8::from(date.month()), date.day())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Secret;
    use crate::report::LeftTo;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-23 10:00 UTC);

    #[test]
    fn a_running_record_without_heartbeat_is_abandoned() {
        let mut record = RunRecord::new(Trigger::Timer, "i", NOW);
        assert_eq!(record.shown_status(NOW + Duration::minutes(2)), Status::Running);
        assert_eq!(record.shown_status(NOW + Duration::minutes(4)), Status::Abandoned);
        assert_eq!(record.shown(NOW + Duration::minutes(4))["status"], "abandoned");
        record.cut(Status::Interrupted, "stopped", vec![json!({ "status": "running" }), json!({ "status": "ok" })], NOW);
        assert_eq!(record.sources, [json!({ "status": "interrupted" }), json!({ "status": "ok" })]);
        assert_eq!(record.shown_status(NOW + Duration::hours(4)), Status::Interrupted);
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record = RunRecord::new(Trigger::Http, "i", NOW);
        assert!(record.id.starts_with("20261123T100000Z-"));
        assert_eq!(blob_name(&record.id).expect("an id").as_str(), format!("{}{}.json", day_prefix(NOW), record.id));
        let read: RunRecord = serde_json::from_value(json!(record)).expect("a record");
        assert_eq!(read, record);
        for bad in ["", "..", "20261123T100000Z-ABCDEF01", "20261123T100000Z-abcdef0", "20261123T100000Z/abcdef01", "20261123T100000Z-abcdef0é"] {
            assert_eq!(blob_name(bad), None, "{bad}");
        }
    }

    #[test]
    fn texts_are_cleaned_and_the_form_stays() {
        let redactor = Redactor::new([&Secret::new("true"), &Secret::new("message")]);
        let value = redactor.json(json!({ "message": "a true message", "flag": true }));
        assert_eq!(value, json!({ "message": "a *** ***", "flag": true }));
    }

    #[test]
    fn a_source_that_another_run_has_is_told_with_that_run() {
        let mut source = SourceReport::new("acme", "file:///x");
        source.left_to = Some(LeftTo { run: Some("r1".into()), host: Some("laptop".into()), since: Some(NOW) });
        let mut record = RunRecord::new(Trigger::Http, "i", NOW);
        record.sources = vec![source_line(&source, &Redactor::default()), source_line(&SourceReport::new("b", "file:///y"), &Redactor::default())];
        assert_eq!((&record.sources[0]["status"], &record.sources[0]["left_to"]["host"]), (&json!("left"), &json!("laptop")));
        assert!(record.summary().ends_with("2 sources; acme is left to run r1 on laptop"), "{}", record.summary());
        assert_eq!(record.line(NOW)["sources"][0]["status"], "left");
    }

    #[test]
    fn a_line_of_a_list_holds_counts_only() {
        let mut record = RunRecord::new(Trigger::Http, "i", NOW);
        record.sources = vec![source_line(&SourceReport::new("acme", "file:///x"), &Redactor::default())];
        let line = record.line(NOW);
        assert_eq!((&line["sources"][0]["listed"], line["sources"][0].get("failures")), (&json!(0), None));
        assert!(record.summary().contains("ingested 0"));
    }
}
