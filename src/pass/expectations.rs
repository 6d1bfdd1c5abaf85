//! Judges what is expected of a source, by what manifests tell, and alerts once of what changes.
//!
//! ```text
//! _blobferry/<source>/expect/<name>/<deadline>.<state>.json   a transition: its one writer alerts
//! _blobferry/<source>/expect/open.json   which manifests were counted; losing it costs reading
//! ```
//!
//! The judgement is a pure function of configuration, manifests, looks and a clock, so that it may
//! be made by anybody, at any time, twice at once.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use time::OffsetDateTime;

use crate::history::arrivals::{self, ArrivalsWanted, CountedFact, OpenExpectations};
use crate::history::run_id::began;
use crate::model::RemotePath;
use crate::report::{ExpectationStanding, OpenWindow, Word};
use crate::rules::expect::{
    Arrival, Expectation, ExpectedWhen, Hindrance, LastLook, WhyUnmet, WindowState, WindowVerdict,
    judge_age, judge_windows, why,
};
use crate::rules::expect_due::{Deadlines, ExpectedWindow, ExpectedWindows};
use crate::rules::expect_files::ExpectedIndex;
use crate::rules::patterns::Patterns;
use crate::state::paths::{StatePaths, stamp};
use crate::state::store::{StateError, StateStore};
use crate::store::contract::Condition;
use crate::transfer::events;
use crate::transfer::settings::Source;

/// How far back windows are judged.
const REACH: time::Duration = time::Duration::days(8);
/// Expectations of which transitions are written at once.
const TOLD_AT_ONCE: usize = 32;
/// Windows of an expectation that are judged at once.
const MOST_WINDOWS: usize = 64;

/// Whether what changes is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Telling {
    /// Transitions are written, and alerted of by a run that is first.
    Alert,
    /// Nothing is written: a look at another time.
    Silent,
}

/// A transition of a window.
struct Transition {
    /// What its blob is named by: the deadline, or since when files are stale.
    at: String,
    state: &'static str,
    standing: ExpectationStanding,
}

impl Transition {
    /// What it is told as, beside all others of its source.
    fn key(&self, of: &Expectation) -> String {
        format!("{}/{}.{}", of.name, self.at, self.state)
    }
}

/// How one expectation stands, and what may have changed.
struct Judged {
    standing: ExpectationStanding,
    transitions: Vec<Transition>,
}

/// How each expectation of `source` stands at `now`.
pub async fn judge(
    state: &StateStore,
    source: &Source,
    now: OffsetDateTime,
    look: Option<LastLook>,
    telling: Telling,
) -> Result<Vec<ExpectationStanding>, StateError> {
    let Some(index) = index(source) else { return Ok(Vec::new()) };
    let waits_for = |path: &RemotePath| !index.owners(path).is_empty();
    let wanted = ArrivalsWanted {
        source: &source.name,
        made_from: made_from(source),
        waits_for: &waits_for,
        reach: reach(source, now),
        keeps: telling == Telling::Alert,
    };
    let open = arrivals::gather(state, &wanted, now).await?;
    let judged = judge_all((source, &index), &open, look, now);
    let standings: Vec<ExpectationStanding> =
        judged.iter().map(|judged| judged.standing.clone()).collect();
    if telling == Telling::Alert {
        let before = open.clone();
        let mut open = open;
        let told = tell_all(state, source, judged, &open.told).await?;
        open.told.extend(told);
        open.standings.clone_from(&standings);
        if open != before || open.is_changed {
            arrivals::keep(state, &source.name, &open).await?;
        }
        measure(source, &standings);
    }
    Ok(standings)
}

/// How each expectation of `source` stands at `now` by what is kept, if all of them are well and
/// nothing is to be told or written: else everything has to be read first.
pub(crate) fn settled(
    source: &Source,
    open: &OpenExpectations,
    look: Option<LastLook>,
    now: OffsetDateTime,
) -> Option<Vec<ExpectationStanding>> {
    if open.made_from != made_from(source) {
        return None;
    }
    let judged = judge_all((source, &index(source)?), open, look, now);
    let mut all = source.expectations.iter().zip(&judged);
    let is_told = |of: &Expectation, judged: &Judged| {
        judged.transitions.iter().all(|transition| open.told.contains(&transition.key(of)))
    };
    let is_quiet = all.all(|(of, judged)| is_told(of, judged) && !judged.standing.is_unmet());
    let standings: Vec<_> = judged.into_iter().map(|judged| judged.standing).collect();
    (is_quiet && standings == open.standings).then_some(standings)
}

/// Measures which expectations are met.
pub(crate) fn measure(source: &Source, standings: &[ExpectationStanding]) {
    for standing in standings {
        events::expected(&source.name, &standing.name, !standing.is_unmet());
    }
}

/// Which expectations a path may concern; they were compiled when the configuration was read.
fn index(source: &Source) -> Option<ExpectedIndex> {
    ExpectedIndex::new(&source.root, source.expectations.iter().map(|of| &of.files)).ok()
}

fn made_from(source: &Source) -> String {
    source.expectations.iter().map(|of| of.files.text()).collect()
}

fn judge_all(
    (source, index): (&Source, &ExpectedIndex),
    open: &OpenExpectations,
    look: Option<LastLook>,
    now: OffsetDateTime,
) -> Vec<Judged> {
    let meant = meant(open, index, source.expectations.len());
    let all = source.expectations.iter().zip(&meant);
    all.map(|(of, meant)| judge_one(of, (open.since, meant), look, now)).collect()
}

/// How far back manifests are read: to the beginning of each window that is judged, however early a
/// file came in it. Else a window that was met would be missed once its files are out of reach.
pub(crate) fn reach(source: &Source, now: OffsetDateTime) -> time::Duration {
    let of = |of: &Expectation| match &of.when {
        ExpectedWhen::By { deadlines, window, grace } => {
            let windows = windows(of, deadlines, (*window, *grace), now);
            now - windows.all.iter().map(|window| window.start).min().unwrap_or(now)
        }
        ExpectedWhen::MaxAge(age) => time::Duration::try_from(*age).unwrap_or_default() + REACH,
    };
    source.expectations.iter().map(of).fold(REACH, time::Duration::max)
}

/// A line about a file that an expectation may mean, with the file's path.
type Meant<'a> = (RemotePath, &'a CountedFact);

/// The lines of `open`, by the expectation that may mean them.
fn meant<'a>(
    open: &'a OpenExpectations,
    index: &ExpectedIndex,
    expectations: usize,
) -> Vec<Vec<Meant<'a>>> {
    let mut meant = vec![Vec::new(); expectations];
    for fact in &open.facts {
        let Some(path) = fact.remote_path() else { continue };
        for owner in index.owners(&path) {
            meant[owner].push((path.clone(), fact));
        }
    }
    meant
}

/// The windows of `of` that are judged at `now`.
fn windows(
    of: &Expectation,
    deadlines: &Deadlines,
    span: (Option<Duration>, Duration),
    now: OffsetDateTime,
) -> ExpectedWindows {
    let mut windows = deadlines.windows(span, now, REACH, MOST_WINDOWS);
    // A name tells its day, however early or late the file comes.
    if of.files.is_dated() {
        windows.all.drain(..std::mem::take(&mut windows.earlier));
        for window in &mut windows.all {
            window.start = window.start.min(window.deadline - time::Duration::WEEK);
        }
    }
    windows
}

fn judge_one(
    of: &Expectation,
    (since, open): (Option<OffsetDateTime>, &Vec<Meant<'_>>),
    look: Option<LastLook>,
    now: OffsetDateTime,
) -> Judged {
    match &of.when {
        ExpectedWhen::MaxAge(age) => {
            let all = arrived(open, |_| true);
            let (verdict, since) = judge_age(of, *age, &all, now);
            fresh_or_stale(of, verdict, since, hindered(open, look, of, now))
        }
        ExpectedWhen::By { deadlines, window, grace } => {
            let windows = windows(of, deadlines, (*window, *grace), now);
            let wanted = |window: &ExpectedWindow| {
                if open.is_empty() {
                    return Vec::new();
                }
                let patterns = of.files.at(window.local);
                arrived(open, |path| patterns.wants(path))
            };
            let verdicts = judge_windows(of, &windows.all, wanted, now);
            // Before the expectation was there, nobody was waiting.
            let known: Vec<(ExpectedWindow, WindowVerdict)> = windows
                .all
                .into_iter()
                .zip(verdicts)
                .skip(windows.earlier)
                .filter(|(window, verdict)| {
                    since.is_none_or(|since| window.deadline > since)
                        || verdict.state == WindowState::Met
                })
                .collect();
            of_windows(of, &known, (since, open), look, now)
        }
    }
}

/// What was stored and is meant, in the order in which it was stored.
fn arrived(open: &[Meant<'_>], wants: impl Fn(&RemotePath) -> bool) -> Vec<Arrival> {
    let mut all: Vec<Arrival> = open
        .iter()
        .filter(|(path, fact)| fact.outcome == Word::Ingested && wants(path))
        .filter_map(|(path, fact)| fact.arrival(path))
        .collect();
    all.sort_by_key(|arrival| arrival.stored);
    // A line that was recovered may be there twice.
    all.dedup();
    all
}

/// What hinders a file that is meant, by the newest line about one.
fn hindrance(open: &[Meant<'_>], patterns: &Patterns, start: OffsetDateTime) -> Option<Hindrance> {
    let mut told = BTreeSet::new();
    open.iter().rev().find_map(|(path, fact)| {
        // The newest line of a path counts.
        let is_newest = told.insert(path);
        let is_near = began(&fact.run).is_some_and(|began| began >= start);
        if !is_newest || !is_near || fact.outcome == Word::Ingested || !patterns.wants(path) {
            return None;
        }
        let reason = fact.reason.clone().unwrap_or_default();
        match fact.outcome {
            Word::Failed => Some(Hindrance::Failed(reason)),
            Word::Deferred => Some(Hindrance::Deferred(reason)),
            _ => None,
        }
    })
}

fn hindered(
    open: &[Meant<'_>],
    look: Option<LastLook>,
    of: &Expectation,
    now: OffsetDateTime,
) -> WhyUnmet {
    let patterns = of.files.at(time::PrimitiveDateTime::new(now.date(), now.time()));
    let looked = look.map_or(now, |look| look.began);
    why(hindrance(open, &patterns, now - REACH).as_ref(), look, looked)
}

fn of_windows(
    of: &Expectation,
    known: &[(ExpectedWindow, WindowVerdict)],
    (since, open): (Option<OffsetDateTime>, &Vec<Meant<'_>>),
    look: Option<LastLook>,
    now: OffsetDateTime,
) -> Judged {
    let is_over = |(window, _): &&(ExpectedWindow, WindowVerdict)| window.deadline <= now;
    let newest = known.iter().rfind(is_over);
    let next = known.iter().find(|(window, _)| window.deadline > now);
    let last_met = known
        .iter()
        .rfind(|(_, verdict)| verdict.state == WindowState::Met)
        .map(|(window, _)| window.deadline);
    let next = next.map(|(window, verdict)| (*window, verdict.clone()));
    let told = |window: &ExpectedWindow, verdict: &WindowVerdict| {
        let patterns = of.files.at(window.local);
        let is_unmet = matches!(verdict.state, WindowState::Late | WindowState::Missed);
        let why = (is_unmet && verdict.recovered_at.is_none()).then(|| {
            let hindrance = hindrance(open, &patterns, window.start);
            why(hindrance.as_ref(), look, window.deadline)
        });
        let since = match verdict.state {
            WindowState::Late => Some(window.deadline),
            WindowState::Missed => Some(window.end),
            _ => None,
        };
        ExpectationStanding {
            deadline: Some(window.deadline),
            why,
            since,
            last_met,
            next: next.as_ref().filter(|(open, _)| open.deadline != window.deadline).map(
                |(open, verdict)| OpenWindow { deadline: open.deadline, state: verdict.state },
            ),
            ..standing(of, verdict)
        }
    };
    let mut transitions = Vec::new();
    for (window, verdict) in known {
        let at = stamp(window.deadline);
        let mut add = |state| {
            transitions.push(Transition { at: at.clone(), state, standing: told(window, verdict) });
        };
        // What was met before anybody looked is no news.
        let is_news = since.is_none_or(|since| window.deadline > since);
        if verdict.state != WindowState::Due && is_news {
            add(verdict.state.word());
        }
        if verdict.recovered_at.is_some() && is_news {
            add(RECOVERED);
        }
    }
    let standing = match (newest, &next) {
        (Some((window, verdict)), _) => told(window, verdict),
        (None, Some((window, verdict))) => told(window, verdict),
        // No deadline is left in all years to come.
        (None, None) => ExpectationStanding { state: WindowState::Due, ..standing(of, &NOTHING) },
    };
    Judged { standing, transitions }
}

/// The state of a missed window whose files came after all, in the names of blobs.
const RECOVERED: &str = "recovered";
/// The stamp of files that were never seen.
const NEVER: &str = "never";

/// A window of which nothing is known.
const NOTHING: WindowVerdict = WindowVerdict {
    state: WindowState::Due,
    count: 0,
    unmet: None,
    late_by: None,
    recovered_at: None,
    paths: Vec::new(),
    approximate: false,
    ours: None,
};

fn standing(of: &Expectation, verdict: &WindowVerdict) -> ExpectationStanding {
    ExpectationStanding {
        name: of.name.clone(),
        severity: of.severity,
        state: verdict.state,
        deadline: None,
        count: verdict.count,
        expected: of.min_count,
        unmet: verdict.unmet.filter(|_| verdict.state != WindowState::Due),
        why: None,
        since: None,
        late_by: verdict.late_by.map(time::Duration::whole_seconds),
        delay_is_ours: verdict.ours,
        recovered_at: verdict.recovered_at,
        paths: verdict.paths.iter().map(ToString::to_string).collect(),
        approximate: verdict.approximate,
        last_met: None,
        next: None,
    }
}

fn fresh_or_stale(
    of: &Expectation,
    verdict: WindowVerdict,
    since: Option<OffsetDateTime>,
    why: WhyUnmet,
) -> Judged {
    let mut standing = standing(of, &verdict);
    standing.since = since;
    standing.why = (verdict.state == WindowState::Missed).then_some(why);
    let at = since.map_or_else(|| NEVER.to_owned(), stamp);
    let missed = verdict.state == WindowState::Missed;
    let transition =
        Transition { at, state: WindowState::Missed.word(), standing: standing.clone() };
    let transitions = if missed { vec![transition] } else { Vec::new() };
    Judged { standing, transitions }
}

/// Writes what has changed beside what is `told` already. Returns what is told now, too.
async fn tell_all(
    state: &StateStore,
    source: &Source,
    judged: Vec<Judged>,
    told: &BTreeSet<String>,
) -> Result<Vec<String>, StateError> {
    let all = source.expectations.iter().zip(judged);
    let each: Vec<BoxFuture<'_, _>> =
        all.map(|(of, judged)| tell_one(state, source, (of, judged), told).boxed()).collect();
    stream::iter(each).buffer_unordered(TOLD_AT_ONCE).try_concat().await
}

/// The same of one expectation, in order.
async fn tell_one(
    state: &StateStore,
    source: &Source,
    (of, judged): (&Expectation, Judged),
    told: &BTreeSet<String>,
) -> Result<Vec<String>, StateError> {
    let mut now = Vec::new();
    for transition in judged.transitions {
        let key = transition.key(of);
        if !told.contains(&key) {
            tell(state, source, of, transition).await?;
            now.push(key);
        }
    }
    Ok(now)
}

/// Writes a transition, unless that is done; a run that writes it alerts.
async fn tell(
    state: &StateStore,
    source: &Source,
    of: &Expectation,
    transition: Transition,
) -> Result<(), StateError> {
    let Transition { at, state: word, standing } = transition;
    let name = StatePaths::of(&source.name).expectation(&of.name, &at, word);
    let doing = "writing what became of an expectation";
    let first = state.put_json(&name, &standing, &Condition::IfAbsent, doing).await?.is_some();
    if first {
        alert(source, word, &standing);
    }
    Ok(())
}

/// Tells people of a transition, once.
fn alert(source: &Source, word: &'static str, standing: &ExpectationStanding) {
    let (source, expectation) = (&source.name, &standing.name);
    events::expectation(source, expectation, word);
    let (reason, deadline) = (standing.reason(), standing.deadline.map(stamp));
    let last_met = standing.last_met.map(stamp);
    match word {
        RECOVERED => {
            tracing::info!(source, expectation, deadline, "A file that was missed came after all.")
        }
        _ => match standing.state {
            WindowState::Missed if standing.severity == crate::rules::expect::Severity::Error => {
                tracing::error!(
                    source,
                    expectation,
                    deadline,
                    reason,
                    last_met,
                    "An expected file is missing."
                );
            }
            WindowState::Missed => tracing::warn!(
                source,
                expectation,
                deadline,
                reason,
                last_met,
                "Warning: an expected file is missing."
            ),
            WindowState::Late => tracing::warn!(
                source,
                expectation,
                deadline,
                reason,
                last_met,
                "Warning: an expected file is late."
            ),
            WindowState::Met | WindowState::Due => {
                let late_by = standing.late_by;
                tracing::info!(source, expectation, deadline, late_by, "What is expected is here.");
            }
        },
    }
}
