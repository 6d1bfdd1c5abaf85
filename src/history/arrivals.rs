//! What the manifests of a source tell of files that somebody expects: read once, and kept.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use time::format_description::well_known::Rfc3339;
use time::{Date, OffsetDateTime};

use crate::history::manifest_lines::each_line;
use crate::history::run_id::began;
use crate::model::RemotePath;
use crate::report::{ExpectationStanding, Line, Word};
use crate::rules::expect::Arrival;
use crate::settings::percent_decode;
use crate::state::paths::{StatePaths, day, is_run_id};
use crate::state::store::{StateError, StateStore};
use crate::store::contract::Condition;

/// Manifests that are read at once.
const READ_AT_ONCE: usize = 8;
/// Manifests are looked for again after this time, though nothing tells of a new one: a run may
/// have been killed behind its manifest.
const GATHERED_FOR: time::Duration = time::Duration::DAY;
/// A kept blob is smaller than this by far.
const MAX_BYTES: u64 = 64 << 20;

/// What was counted so far, and how expectations stood then. Losing it costs reading.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenExpectations {
    /// What the expectations are made from: what was counted for others counts for nothing.
    #[serde(default)]
    pub made_from: String,
    /// Since when somebody expects something, or the source has manifests.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub since: Option<OffsetDateTime>,
    /// Manifests that were counted, by run, as far as they went.
    #[serde(default)]
    pub counted: BTreeMap<String, u64>,
    /// Days of which every run has ended and was counted.
    #[serde(default)]
    pub complete: BTreeSet<String>,
    /// When all manifests were looked for, about; the blob is not replaced for this alone.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "time::serde::rfc3339::option"
    )]
    pub gathered: Option<OffsetDateTime>,
    /// The first day of which they were.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// Lines that somebody waits for, run by run.
    #[serde(default)]
    pub facts: Vec<CountedFact>,
    /// Transitions that are written.
    #[serde(default)]
    pub told: BTreeSet<String>,
    /// How the expectations stood last.
    #[serde(default)]
    pub standings: Vec<ExpectationStanding>,
    /// Whether it is not stored as it is.
    #[serde(skip)]
    pub is_changed: bool,
}

/// A line of a manifest about a file that somebody waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountedFact {
    /// The run whose manifest has it.
    pub run: String,
    /// The path, escaped as in manifests.
    pub path: String,
    /// What became of it.
    pub outcome: Word,
    /// When it was stored.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "time::serde::rfc3339::option"
    )]
    pub stored: Option<OffsetDateTime>,
    /// Whether that is only about so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub approximate: bool,
    /// Its size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// When it was modified at the source.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "time::serde::rfc3339::option"
    )]
    pub modified: Option<OffsetDateTime>,
    /// The class of its failure, or why it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl OpenExpectations {
    /// Whether manifests of `reach` before `now` were looked for within a day, and that of the run
    /// `brought`, the last one that brought files, is counted.
    pub(crate) fn covers(
        &self,
        reach: time::Duration,
        now: OffsetDateTime,
        brought: Option<&str>,
    ) -> bool {
        let first = day(first_day(reach, now));
        let is_counted = |run: &str| self.counted.contains_key(run) || run < first.as_str();
        let is_young = |at: OffsetDateTime| (now - at).abs() < GATHERED_FOR;
        self.gathered.is_some_and(is_young)
            && !self.from.is_empty()
            && self.from <= first
            && brought.is_none_or(is_counted)
    }
}

/// The first day of which manifests are read.
fn first_day(reach: time::Duration, now: OffsetDateTime) -> Date {
    (now - reach).date().previous_day().unwrap_or(Date::MIN)
}

impl CountedFact {
    fn of(run: &str, line: Line) -> Self {
        let time = |text: Option<String>| OffsetDateTime::parse(&text?, &Rfc3339).ok();
        Self {
            run: run.to_owned(),
            outcome: line.outcome,
            stored: time(line.stored),
            approximate: false,
            size: line.size,
            modified: time(line.modified),
            reason: line.class.or(line.reason),
            path: line.path,
        }
    }

    /// The path as the server spells it.
    pub(crate) fn remote_path(&self) -> Option<RemotePath> {
        percent_decode(&self.path).map(RemotePath::new)
    }

    /// It as the arrival of `path`, if it is one.
    pub(crate) fn arrival(&self, path: &RemotePath) -> Option<Arrival> {
        Some(Arrival {
            path: path.clone(),
            stored: self.stored?,
            size: self.size,
            modified: self.modified,
            approximate: self.approximate,
        })
    }
}

/// What is to be gathered.
pub(crate) struct ArrivalsWanted<'a> {
    /// The source's name.
    pub source: &'a str,
    /// What the expectations are made from.
    pub made_from: String,
    /// Whether somebody may wait for this path.
    pub waits_for: &'a (dyn Fn(&RemotePath) -> bool + Sync),
    /// How far back.
    pub reach: time::Duration,
    /// Whether what was kept counts: not where another time is asked about.
    pub keeps: bool,
}

/// Reads what is kept, and the manifests that are not counted yet.
pub(crate) async fn gather(
    state: &StateStore,
    wanted: &ArrivalsWanted<'_>,
    now: OffsetDateTime,
) -> Result<OpenExpectations, StateError> {
    let kept = kept(state, wanted.source).await?;
    let before = kept.clone();
    let fits = wanted.keeps && kept.made_from == wanted.made_from;
    let mut open = match fits {
        true => kept,
        false => OpenExpectations {
            made_from: wanted.made_from.clone(),
            since: kept.since,
            told: kept.told,
            ..OpenExpectations::default()
        },
    };
    let first = first_day(wanted.reach, now);
    let mut fresh = Vec::new();
    let mut at = first;
    while at <= now.date() {
        if !open.complete.contains(&day(at)) {
            fresh.extend(of_day(state, wanted.source, at, now, &mut open).await?);
        }
        at = at.next_day().unwrap_or(Date::MAX);
    }
    count(state, wanted, fresh, &mut open).await?;
    forget(&mut open, &day(first));
    let evidence = open.counted.keys().filter_map(|run| began(run)).min();
    let since = open.since.unwrap_or(now);
    open.since = Some(evidence.map_or(since, |first| first.min(since)));
    open.is_changed = open != before || !before.covers(wanted.reach, now, None);
    if open.is_changed {
        (open.gathered, open.from) = (Some(now), day(first));
    }
    Ok(open)
}

/// What is kept of `source`. A cache that cannot be read is made anew.
pub(crate) async fn kept(state: &StateStore, source: &str) -> Result<OpenExpectations, StateError> {
    let name = StatePaths::of(source).open_expectations();
    match state.get_json(&name, MAX_BYTES, "reading what is expected").await {
        Ok(found) => Ok(found.map(|(open, _)| open).unwrap_or_default()),
        Err(StateError::Damaged { .. }) => Ok(OpenExpectations::default()),
        Err(error) => Err(error),
    }
}

/// Manifests of `at` that are not counted as they are, with their sizes. A day on which every run
/// has ended, and that is over, is not looked at again.
async fn of_day(
    state: &StateStore,
    source: &str,
    at: Date,
    now: OffsetDateTime,
    open: &mut OpenExpectations,
) -> Result<Vec<(String, u64)>, StateError> {
    let prefix = StatePaths::of(source).runs_of_day(at);
    let listed = state
        .list(&prefix, "listing manifests", |info| {
            let (run, ending) = info.name.strip_prefix(&prefix)?.rsplit_once('.')?;
            is_run_id(run).then(|| (run.to_owned(), ending.to_owned(), info.size))
        })
        .await?;
    let reports: BTreeSet<&str> = listed
        .iter()
        .filter(|(_, ending, _)| ending == "json")
        .map(|(run, ..)| run.as_str())
        .collect();
    let manifests: Vec<&(String, String, u64)> =
        listed.iter().filter(|(_, ending, _)| ending == "jsonl").collect();
    let has_ended = |(run, ..): &&&(String, String, u64)| reports.contains(run.as_str());
    if now.date() - at > time::Duration::days(2)
        && manifests.iter().filter(|manifest| !has_ended(manifest)).count() == 0
    {
        open.complete.insert(day(at));
    }
    Ok(manifests
        .iter()
        .filter(|(run, _, size)| open.counted.get(run) != Some(size))
        .map(|(run, _, size)| (run.clone(), *size))
        .collect())
}

/// Reads manifests, and keeps the lines that somebody waits for.
async fn count(
    state: &StateStore,
    wanted: &ArrivalsWanted<'_>,
    fresh: Vec<(String, u64)>,
    open: &mut OpenExpectations,
) -> Result<(), StateError> {
    if fresh.is_empty() {
        return Ok(());
    }
    let read = stream::iter(fresh).map(|(run, _)| async move {
        let name = StatePaths::of(wanted.source).manifest(&run);
        let mut facts = Vec::new();
        let mut visit = |line: Line| {
            let fact = CountedFact::of(&run, line);
            if fact.remote_path().is_some_and(|path| (wanted.waits_for)(&path)) {
                facts.push(fact);
            }
        };
        let bytes = each_line(state, &name, &mut visit).await?;
        ended_about(state, wanted.source, &run, &mut facts).await?;
        Ok::<_, StateError>((run, bytes, facts))
    });
    let mut read = read.buffered(READ_AT_ONCE);
    while let Some((run, bytes, facts)) = read.try_next().await? {
        if open.counted.insert(run.clone(), bytes).is_some() {
            open.facts.retain(|fact| fact.run != run);
        }
        open.facts.extend(facts);
    }
    open.facts.sort_by(|a, b| a.run.cmp(&b.run));
    Ok(())
}

/// Lines of earlier builds tell no time: the end of their run stands for it.
async fn ended_about(
    state: &StateStore,
    source: &str,
    run: &str,
    facts: &mut [CountedFact],
) -> Result<(), StateError> {
    #[derive(Deserialize)]
    struct Ended {
        #[serde(default, with = "time::serde::rfc3339::option")]
        ended: Option<OffsetDateTime>,
    }
    let is_bare = |fact: &CountedFact| fact.outcome == Word::Ingested && fact.stored.is_none();
    if !facts.iter().any(is_bare) {
        return Ok(());
    }
    let name = StatePaths::of(source).report(run);
    let report = state.get_json::<Ended>(&name, MAX_BYTES, "reading a report").await?;
    let ended = report.and_then(|(report, _)| report.ended).or_else(|| began(run));
    for fact in facts.iter_mut().filter(|fact| is_bare(fact)) {
        (fact.stored, fact.approximate) = (ended, true);
    }
    Ok(())
}

/// Forgets what is out of reach, and of what did not arrive all but the newest line a path.
fn forget(open: &mut OpenExpectations, first: &str) {
    let is_near = |text: &str| text.get(..8).is_none_or(|day| day >= first);
    open.counted.retain(|run, _| is_near(run));
    open.complete.retain(|day| is_near(day));
    open.told.retain(|key| key.rsplit('/').next().is_none_or(is_near));
    let newest: BTreeMap<String, usize> =
        open.facts.iter().enumerate().map(|(at, fact)| (fact.path.clone(), at)).collect();
    let mut at = 0;
    open.facts.retain(|fact| {
        let is_newest = newest.get(&fact.path) == Some(&at);
        at += 1;
        is_near(&fact.run) && (fact.outcome == Word::Ingested || is_newest)
    });
}

/// Keeps it.
pub(crate) async fn keep(
    state: &StateStore,
    source: &str,
    open: &OpenExpectations,
) -> Result<(), StateError> {
    let name = StatePaths::of(source).open_expectations();
    let doing = "writing what is expected";
    state.put_json(&name, open, &Condition::Always, doing).await?;
    Ok(())
}

/// How the expectations of `source` stood when they were judged last.
pub(crate) async fn standings(
    state: &StateStore,
    source: &str,
) -> Result<Vec<ExpectationStanding>, StateError> {
    // What was counted for them may be long, and is not needed.
    #[derive(Deserialize)]
    struct Standings {
        #[serde(default)]
        standings: Vec<ExpectationStanding>,
    }
    let name = StatePaths::of(source).open_expectations();
    let found = state.get_json::<Standings>(&name, MAX_BYTES, "reading what is expected");
    Ok(found.await?.map(|(open, _)| open.standings).unwrap_or_default())
}
