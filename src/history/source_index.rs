//! When each source was looked at last, in one blob for all sources: a cache over the records of
//! runs.
//!
//! A tick of the timer reads it to tell which sources are due, which are asked for already, and
//! which were idle. Losing it costs reading: the records of runs say the same. Each change is one
//! replacement under the tag that was read.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration as Wait;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::name_index::{self, NamesCover};
use super::record::{RunRecord, is_final};
use super::run_id::is_of_clock_ahead;
use super::source_days::SourceDays;
use super::standing::{Of, SourceStanding};
use crate::model::chain;
use crate::model::clocks::{is_ahead, not_ahead};
use crate::source::contract::ShareId;
use crate::state::paths;
use crate::state::store::{StateError, StateStore};
use crate::store::contract::{Condition, Etag};

/// A few hundred bytes a source.
const MAX_BYTES: u64 = 64 << 20;
/// How often another writer may be quicker.
const MAX_OVERTAKEN: u32 = 100;
/// Days of which the sums over all sources are kept.
const DAYS: usize = 400;

/// What is known of all sources.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceIndex {
    /// By name.
    #[serde(default)]
    pub sources: BTreeMap<String, SourceEntry>,
    /// Runs whose work goes through the queue and that are not known to be over, oldest first.
    #[serde(default)]
    pub open: Vec<String>,
    /// What all sources brought, by day, as `20261123`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub days: BTreeMap<String, DaySum>,
    /// What the index of names covers.
    #[serde(default, skip_serializing_if = "NamesCover::is_unknown")]
    pub names: NamesCover,
}

/// What is known of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceEntry {
    /// The last run that looked at it. Ids begin with the time at which the run began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Whether that run found nothing to do.
    #[serde(default)]
    pub idle: bool,
    /// A refused credential that is not tried again for some time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refusal>,
    /// Which file system it was, if it is a share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<ShareId>,
    /// The run that was asked to look at it, and is not known to have done so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<AskedFor>,
    /// How it stands, and since when; `None` until a run of this release has looked at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<SourceStanding>,
    /// When the last run began that left nothing undone: all was listed, nothing failed or
    /// waits.
    #[serde(
        default,
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub settled: Option<OffsetDateTime>,
    /// When the first run began that looked at it, of those that left something undone.
    #[serde(
        default,
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub unsettled_since: Option<OffsetDateTime>,
    /// Whether one of those runs looked in the records for how far back to look: they need not be
    /// read again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reached: bool,
    /// The last run that brought files: its manifest names them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brought: Option<String>,
    /// What came of it day by day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<SourceDays>,
}

/// What all sources brought on a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaySum {
    /// Files that arrived.
    pub files: u64,
    /// Their bytes at the source.
    pub bytes: u64,
}

/// A login that a server refused, and too little of its credential to find it out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub refused_at: OffsetDateTime,
    /// The run that logged in.
    pub run: String,
    /// What the mark was made with.
    pub salt: String,
    /// Sixteen bits of a slow hash of the credential.
    pub mark: String,
    /// What the server said.
    pub message: String,
}

/// That a run was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedFor {
    /// The run.
    pub run: String,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

impl SourceEntry {
    /// How far back a run that begins at `now` looks for what earlier ones left undone.
    pub(crate) fn looks_back_to(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let good = self.standing.as_ref().and_then(|standing| standing.good);
        let known = [self.settled, self.unsettled_since, good];
        known.into_iter().find_map(|at| not_ahead(at, now))
    }

    /// Whether the records of runs know no more of how far back to look than this does.
    pub(crate) fn is_settled(&self, now: OffsetDateTime) -> bool {
        self.reached || not_ahead(self.settled, now).is_some()
    }

    /// Takes in how a pass ended that `line` tells of. In which order runs are taken in makes no
    /// difference.
    fn settle(&mut self, began: OffsetDateTime, now: OffsetDateTime, line: &Value) {
        if line["status"] == "left" || line["left_to"].is_object() || is_ahead(began, now) {
            return;
        }
        let none = |name: &str| line[name].as_u64().unwrap_or(0) == 0;
        // What is told to be late is told; the next run need not look for it again.
        let told = |problem: &Value| problem["class"] == "late";
        let well = line["status"] == "ok"
            || (line["status"] == "degraded"
                && line["unusable"] != true
                && line["problems"].as_array().is_some_and(|list| list.iter().all(told)));
        let nothing_left = ["deferred", "failed", "unparsed_lines"].into_iter().all(none);
        let unmarked = line["skipped_by_reason"]["no_marker"].as_u64().unwrap_or(0);
        if well && nothing_left && unmarked == 0 {
            self.settled = not_ahead(self.settled, now).max(Some(began));
        } else {
            let reached = line["looked_back_to"].as_str();
            let reached = reached.and_then(|at| OffsetDateTime::parse(at, &Rfc3339).ok());
            // What this pass was to make up for is still to be made up for.
            reached.into_iter().for_each(|at| self.reach(at));
            self.unsettled_since = [self.unsettled_since, Some(began)].into_iter().flatten().min();
        }
    }

    /// A pass looked back to `at`, and nobody needs to ask the records how far.
    pub(crate) fn reach(&mut self, at: OffsetDateTime) {
        self.reached = true;
        self.unsettled_since = [self.unsettled_since, Some(at)].into_iter().flatten().min();
    }
}

impl SourceIndex {
    /// The entry of a source; an empty one is made if there is none.
    pub fn entry(&mut self, source: &str) -> &mut SourceEntry {
        self.sources.entry(source.to_owned()).or_default()
    }

    /// Takes in which sources `record` says were looked at.
    pub(crate) fn take_in(&mut self, record: &RunRecord) {
        self.take_in_at(record, OffsetDateTime::now_utc());
    }

    /// As [`SourceIndex::take_in`] at `now`: what a clock that was ahead left gives way to a run of
    /// one that is not.
    pub(crate) fn take_in_at(&mut self, record: &RunRecord, now: OffsetDateTime) {
        let takes_place = |last: &String, run: &String| {
            (!is_of_clock_ahead(last, now), last) <= (!is_of_clock_ahead(run, now), run)
        };
        let run = record.run.as_ref().unwrap_or(&record.id);
        for line in record.sources.iter().filter(|line| is_final(line)) {
            let Some(source) = line["source"].as_str() else { continue };
            let entry = self.entry(source);
            let of = Of { run, began: record.started };
            if !is_ahead(of.began, now) {
                entry.standing.iter_mut().for_each(|standing| standing.put_right(of, now));
            }
            let after = SourceStanding::after(entry.standing.as_ref(), of, line);
            let is_news = after.is_some();
            entry.standing = after.or_else(|| entry.standing.take());
            if is_news {
                entry.days.get_or_insert_default().take_in(record.started, line);
                let sum = self.days.entry(run.chars().take(8).collect()).or_default();
                sum.files = sum.files.saturating_add(line["ingested"].as_u64().unwrap_or(0));
                sum.bytes = sum.bytes.saturating_add(line["bytes"].as_u64().unwrap_or(0));
            }
            let entry = self.entry(source);
            entry.settle(record.started, now, line);
            let brought = line["ingested"].as_u64().is_some_and(|files| files > 0);
            if brought && entry.brought.as_ref().is_none_or(|last| takes_place(last, run)) {
                entry.brought = Some(run.clone());
            }
            // The workers of the queue noted the names before they told of the end.
            if !record.queued.is_empty() && line["manifest"].is_string() {
                self.names.take_in(run, true);
            }
            let entry = self.entry(source);
            if entry.run.as_ref().is_none_or(|last| takes_place(last, run)) {
                entry.run = Some(run.clone());
                entry.idle = line.get("report").is_none() && line["status"] == "ok";
            }
            if entry.asked.as_ref().is_some_and(|asked| asked.run == *run) {
                entry.asked = None;
            }
        }
        while self.days.len() > DAYS {
            self.days.pop_first();
        }
        if record.ended.is_some() {
            self.open.retain(|open| open != run);
        }
    }

    /// Whether a run that began at `since` or later has looked at `source`, as far as is known at
    /// `now`.
    pub(crate) fn looked_since(
        &self,
        source: &str,
        since: OffsetDateTime,
        now: OffsetDateTime,
    ) -> bool {
        let run = self.sources.get(source).and_then(|entry| entry.run.as_ref());
        run.filter(|run| !is_of_clock_ahead(run, now))
            .is_some_and(|run| run.as_str() >= paths::stamp(since).as_str())
    }
}

/// What is stored, with its tag; `None`: there is none, or none that can be read.
pub(crate) async fn read(state: &StateStore) -> Result<Option<(SourceIndex, Etag)>, StateError> {
    match state.get_json(&paths::sources(), MAX_BYTES, "reading when sources were looked at").await
    {
        Err(error @ StateError::Damaged { .. }) => {
            let error = chain(&error);
            tracing::warn!(error, "When sources were looked at cannot be read, and is made anew.");
            // It is replaced under the tag that it has.
            let found =
                state.head(&paths::sources(), "reading when sources were looked at").await?;
            Ok(found.map(|info| (SourceIndex::default(), info.etag)))
        }
        found => found,
    }
}

/// What the index of names covers. What else is stored stays unread: of many sources it is long.
pub(crate) async fn names_cover(state: &StateStore) -> Result<NamesCover, StateError> {
    #[derive(Deserialize)]
    struct CoverOnly {
        #[serde(default)]
        names: NamesCover,
    }
    let doing = "reading what names are known";
    let found = state.get_json::<CoverOnly>(&paths::sources(), MAX_BYTES, doing).await?;
    Ok(found.map(|(index, _)| index.names).unwrap_or_default())
}

/// What is stored, and the condition under which it may be replaced.
pub(crate) async fn read_to_replace(
    state: &StateStore,
) -> Result<(SourceIndex, Condition), StateError> {
    Ok(match read(state).await? {
        Some((index, etag)) => (index, Condition::IfMatch(etag)),
        None => (SourceIndex::default(), Condition::IfAbsent),
    })
}

/// Replaces what is stored. False: another writer was quicker; the wait before the next try is over
/// then.
pub(crate) async fn replace(
    state: &StateStore,
    index: &SourceIndex,
    condition: &Condition,
    tries: u32,
) -> Result<bool, StateError> {
    let doing = "writing when sources were looked at";
    if state.put_json(&paths::sources(), index, condition, doing).await?.is_some() {
        return Ok(true);
    }
    if tries >= MAX_OVERTAKEN {
        let why = "other writers were always quicker".to_owned();
        return Err(StateError::Damaged { blob: paths::sources().as_str().to_owned(), why });
    }
    tokio::time::sleep(Wait::from_millis(20) * tries.min(10)).await;
    Ok(false)
}

/// Makes a change. `change` may be called more than once, each time with what is stored by then.
pub async fn change(
    state: &StateStore,
    change: impl Fn(&mut SourceIndex),
) -> Result<(), StateError> {
    let first = read_to_replace(state).await;
    change_from(state, first, change).await
}

/// As [`change`], where what is stored was read as `first`. That it has changed since is noticed:
/// then it is read again.
async fn change_from(
    state: &StateStore,
    first: Result<(SourceIndex, Condition), StateError>,
    change: impl Fn(&mut SourceIndex),
) -> Result<(), StateError> {
    let (mut before, mut condition) = first?;
    for tries in 0.. {
        let mut index = before.clone();
        change(&mut index);
        if index == before || replace(state, &index, &condition, tries).await? {
            break;
        }
        (before, condition) = read_to_replace(state).await?;
    }
    Ok(())
}

/// What notes of the end of a run that it looked at its sources, as far as that may come before the
/// record of the run.
#[derive(Debug)]
pub struct RunNote {
    /// Whether the names of its files were written; `None`: there are none.
    names: Option<bool>,
    stored: Result<(SourceIndex, Condition), StateError>,
}

/// Writes the names that the manifests of the ended run of `record` tell, and reads what is stored
/// of all sources. Nothing waits for the record of the run: names are found by those who search
/// them, whether it is there or not.
pub async fn prepare_note(state: &StateStore, record: &RunRecord) -> RunNote {
    let (names, stored) =
        tokio::join!(name_index::after_run(state, record), read_to_replace(state));
    RunNote { names, stored }
}

/// Notes that the run of `record` has looked at its sources. What cannot be written is told in the
/// log; it costs a look too many.
pub async fn note(state: &StateStore, record: &RunRecord) {
    let prepared = prepare_note(state, record).await;
    note_prepared(state, record, prepared).await;
}

/// As [`note`], once the record of the run is written.
pub async fn note_prepared(state: &StateStore, record: &RunRecord, prepared: RunNote) {
    let run = record.run.as_ref().unwrap_or(&record.id);
    let RunNote { names, stored } = prepared;
    let many = AtomicBool::new(false);
    let noted = change_from(state, stored, |index| {
        index.take_in(record);
        if let Some(written) = &names {
            many.store(index.names.take_in(run, *written), Ordering::Relaxed);
        }
    });
    let noted = noted.await;
    if many.load(Ordering::Relaxed) {
        name_index::fold_in_time(state).await;
    }
    if let Err(error) = noted {
        tracing::warn!(
            run_id = record.id,
            error = chain(&error),
            "When sources were looked at could not be written."
        );
    }
}

/// Notes that nobody knows what the index of names covers.
pub(crate) async fn lose_names(state: &StateStore) {
    let lost = change(state, |index| index.names.back_to = None);
    if let Err(error) = lost.await {
        let error = chain(&error);
        tracing::warn!(error, "That names of files are missing for a search could not be noted.");
    }
}

/// Notes that the index of names goes back to the run `to`, if it went back to `from` until now.
/// What cannot be written costs reading.
pub(crate) async fn cover_names(state: &StateStore, from: &Option<String>, to: Option<String>) {
    let noted = change(state, |index| {
        if index.names.back_to == *from {
            index.names.back_to.clone_from(&to);
        }
    });
    if let Err(error) = noted.await {
        tracing::debug!(error = chain(&error), "What names are known could not be noted.");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::record::Trigger;
    use serde_json::json;
    use time::macros::datetime;

    #[test]
    fn a_source_that_a_run_looked_at_is_known_until_it_is_due_again() {
        let began = datetime!(2026-11-23 10:00 UTC);
        let mut record = RunRecord::new(Trigger::Timer, "i", began);
        record.queued = vec!["acme".into(), "other".into()];
        let mut index = SourceIndex { open: vec![record.id.clone()], ..SourceIndex::default() };
        index.entry("acme").asked = Some(AskedFor { run: record.id.clone(), at: began });
        record.tell(json!({ "source": "acme", "status": "ok" }), began);
        index.take_in(&record);
        assert!(
            index.looked_since("acme", began, began)
                && !index.looked_since("acme", began + time::Duration::SECOND, began)
        );
        assert!(!index.looked_since("other", began, began));
        assert_eq!(
            (index.sources["acme"].idle, &index.sources["acme"].asked, index.open.len()),
            (true, &None, 1)
        );
        record.tell(json!({ "source": "other", "status": "degraded", "report": "x" }), began);
        index.take_in(&record);
        assert_eq!((index.sources["other"].idle, index.open.len()), (false, 0));
        let read: SourceIndex = serde_json::from_value(json!(index)).expect("an index");
        assert_eq!(read, index);
    }

    const LATER: OffsetDateTime = datetime!(2026-11-23 10:05 UTC);

    #[test]
    fn an_older_run_that_ends_late_does_not_take_the_place_of_a_newer_one() {
        let mut index = SourceIndex::default();
        for (minute, idle) in [(5, false), (0, true)] {
            let mut record = RunRecord::new(
                Trigger::Timer,
                "i",
                datetime!(2026-11-23 10:00 UTC) + time::Duration::minutes(minute),
            );
            record.sources = vec![if idle {
                json!({ "source": "a", "status": "ok" })
            } else {
                json!({ "source": "a", "status": "ok", "report": "x" })
            }];
            index.take_in(&record);
        }
        assert!(!index.sources["a"].idle && index.looked_since("a", LATER, LATER));
    }

    #[test]
    fn the_next_run_looks_back_to_the_last_one_that_left_nothing_undone() {
        let hour = |hour| datetime!(2026-11-23 0:00 UTC) + time::Duration::hours(hour);
        let late = json!([{ "class": "late" }]);
        let runs = [
            (1, json!({ "status": "degraded", "failed": 1 })),
            (2, json!({ "status": "ok", "deferred": 1 })),
            (3, json!({ "status": "ok" })),
            (4, json!({ "status": "degraded", "problems": late })),
            (5, json!({ "status": "degraded", "problems": [{ "class": "too_few" }] })),
            (6, json!({ "status": "failed", "unusable": true })),
            (7, json!({ "status": "ok", "skipped_by_reason": { "no_marker": 1 } })),
            (8, json!({ "status": "interrupted" })),
            (9, json!({ "status": "left" })),
        ];
        let looks_back = |order: &mut dyn Iterator<Item = &(i64, Value)>| {
            let mut index = SourceIndex::default();
            for (at, line) in order {
                let mut record = RunRecord::new(Trigger::Command, "", hour(*at));
                let mut line = line.clone();
                line["source"] = json!("a");
                record.sources = vec![line];
                index.take_in(&record);
            }
            index.sources.get("a").and_then(|entry| entry.looks_back_to(hour(24)))
        };
        assert_eq!(looks_back(&mut runs[..2].iter()), Some(hour(1)), "none was well");
        assert_eq!(looks_back(&mut runs[..2].iter().rev()), Some(hour(1)));
        assert_eq!(looks_back(&mut runs.iter()), Some(hour(4)));
        assert_eq!(looks_back(&mut runs.iter().rev()), Some(hour(4)));
        assert_eq!(looks_back(&mut runs[..0].iter()), None);
    }
}
