//! What an operator asks first: who needs me, since when, what do I do, and what came. Pure.
//!
//! One struct, which is the page in JSON and which HTML is made of: the two cannot disagree.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use time::OffsetDateTime;

use super::days::{self, DaysTold};
use super::expected::{ExpectedFeed, ExpectedNight};
use super::next::is_silent;
use super::pass::PagePass;
use super::stands::{Stands, so_far};
use super::view::{NAMED, PageRun, PassesBySource};
use crate::history::run_id::began;
use crate::history::source_days::DayState;
use crate::history::source_index::SourceIndex;
use crate::history::standing::{LastingTrouble, SourceStanding};
use crate::model::failure::Class;
use crate::report::Status;
use crate::rules::expect::WhyUnmet;

/// What is told of a file that is expected and not here, in the place of a class.
pub(crate) const MISSING: &str = "missing";
/// How a source stands, in one word: the worst that holds comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SourceWord {
    /// Nothing of it could be looked at.
    Down,
    /// Files fail, or a folder is not listed.
    Failing,
    /// A file that is expected is not here.
    Missing,
    /// Files wait for longer than they may.
    Stuck,
    /// No run has ended for too long.
    Silent,
    /// The last run's process ended without a word.
    Abandoned,
    /// The last run was stopped; the next takes up the rest.
    Interrupted,
    /// A run is at it.
    Running,
    /// No run has looked at it.
    NoRunYet,
    /// All is well.
    Fine,
}

impl SourceWord {
    /// All of them, the worst first.
    pub const ALL: [SourceWord; 10] = [
        SourceWord::Down,
        SourceWord::Failing,
        SourceWord::Missing,
        SourceWord::Stuck,
        SourceWord::Silent,
        SourceWord::Abandoned,
        SourceWord::Interrupted,
        SourceWord::Running,
        SourceWord::NoRunYet,
        SourceWord::Fine,
    ];

    /// The word for people.
    pub fn shown(self) -> &'static str {
        match self {
            SourceWord::Down => "Down",
            SourceWord::Failing => "Failing",
            SourceWord::Missing => "Missing",
            SourceWord::Stuck => "Stuck",
            SourceWord::Silent => "Silent",
            SourceWord::Abandoned => "Abandoned",
            SourceWord::Interrupted => "Interrupted",
            SourceWord::Running => "Running",
            SourceWord::NoRunYet => "No run yet",
            SourceWord::Fine => "Fine",
        }
    }

    /// Whether a person must do something.
    pub(crate) fn needs_you(self) -> bool {
        self <= SourceWord::Silent
    }
}

/// A trouble that lasts, with what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Need {
    /// Its class.
    pub class: String,
    /// What is wrong, in a sentence.
    pub what: String,
    /// What happened.
    pub message: String,
    /// What to do.
    pub hint: String,
    /// When the first run began that met it.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// How many runs met it; unknown of what is expected, which is judged between runs, too.
    pub runs: Option<u64>,
    /// How many files the last of them could not bring over for it.
    pub files: u64,
    /// Some of these files.
    pub paths: Vec<String>,
}

/// A file that arrived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ArrivedFile {
    /// Its source.
    pub source: String,
    /// Its path at the source.
    pub path: String,
    /// Its size in bytes, if the source told.
    pub size: Option<u64>,
    /// The run that brought it.
    pub run: String,
    /// When that run had looked at the source: the file was there by then.
    #[serde(with = "time::serde::rfc3339")]
    pub by: OffsetDateTime,
}

/// A source, as all pages show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct SourceState {
    /// Its name.
    pub name: String,
    /// Its address, as its last report tells it.
    pub address: String,
    /// How it stands.
    pub word: SourceWord,
    /// When the run began since which it is well, or is not; unknown if no run was heard of.
    #[serde(with = "time::serde::rfc3339::option")]
    pub since: Option<OffsetDateTime>,
    /// How many runs that are.
    pub runs: u64,
    /// What had settled at the source by then is stored; unknown if no run found all well.
    #[serde(with = "time::serde::rfc3339::option")]
    pub complete_up_to: Option<OffsetDateTime>,
    /// When the last run began that is over.
    #[serde(with = "time::serde::rfc3339::option")]
    pub looked: Option<OffsetDateTime>,
    /// That run.
    pub run: Option<String>,
    /// Files that it listed; unknown if it could not list them.
    pub listed: Option<u64>,
    /// Files that it left for later; unknown if it could not look.
    pub waiting: Option<u64>,
    /// Files that it could not bring over; unknown if it could not look.
    pub failed: Option<u64>,
    /// When it is gone over next, if that is known.
    #[serde(with = "time::serde::rfc3339::option")]
    pub next: Option<OffsetDateTime>,
    /// Its troubles, the oldest first.
    pub needs: Vec<Need>,
    /// The newest file that is known to have arrived.
    pub newest: Option<ArrivedFile>,
    /// When the run began that brought the newest file; unknown if none is known to have.
    #[serde(with = "time::serde::rfc3339::option")]
    pub brought: Option<OffsetDateTime>,
    /// How its last thirty days were, today last.
    pub days: Vec<DayState>,
}

/// The page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct StatusOverview {
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub as_of: OffsetDateTime,
    /// The answer, in a sentence.
    pub answer: String,
    /// Sources, the worst first, then the longest in that state.
    pub sources: Vec<SourceState>,
    /// What is expected, missing files first.
    pub expected: Vec<ExpectedFeed>,
    /// What came of that since last evening; `None` where nothing is expected.
    pub night: Option<ExpectedNight>,
    /// Files that arrived last, newest first.
    pub arrived: Vec<ArrivedFile>,
    /// What all sources brought in the last thirty days.
    pub month: DaysTold,
}

/// What the page is made of.
pub(crate) struct KnownOfSources<'a> {
    /// The index of sources.
    pub index: &'a SourceIndex,
    /// What the last runs tell of each source, newest first.
    pub passes: PassesBySource<'a>,
    /// The configured sources.
    pub configured: &'a [&'a str],
    /// When each is gone over next.
    pub next: &'a BTreeMap<String, OffsetDateTime>,
    /// When each was to be gone over the last time but one.
    pub last_but_one: &'a BTreeMap<String, OffsetDateTime>,
    /// Files that arrived last, newest first.
    pub arrived: Vec<ArrivedFile>,
    /// What is expected, missing files first.
    pub expected: Vec<ExpectedFeed>,
    /// Now.
    pub now: OffsetDateTime,
}

impl SourceState {
    /// Whether a look at it has told something: none has before its first run ends, or is killed.
    fn is_known(&self) -> bool {
        match self.word {
            SourceWord::NoRunYet => false,
            SourceWord::Abandoned | SourceWord::Interrupted => self.listed.is_some(),
            SourceWord::Running => self.looked.is_some(),
            _ => true,
        }
    }
}

impl StatusOverview {
    /// The page of what is known.
    pub fn of(known: KnownOfSources<'_>) -> Self {
        let mut sources: Vec<SourceState> =
            names(&known).into_iter().map(|name| source(&known, &name)).collect();
        sources.sort_by(|one, other| {
            (one.word, one.since, &one.name).cmp(&(other.word, other.since, &other.name))
        });
        Self {
            as_of: known.now,
            answer: answer(&sources),
            sources,
            night: ExpectedNight::of(&known.expected, known.now),
            expected: known.expected,
            arrived: known.arrived,
            month: DaysTold::last(known.index, known.now),
        }
    }

    /// Whether no run has looked at any source yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.sources.iter().all(|source| source.word == SourceWord::NoRunYet)
    }

    /// How many sources need a person.
    pub(crate) fn needing(&self) -> usize {
        self.sources.iter().filter(|source| source.word.needs_you()).count()
    }
}

fn names(known: &KnownOfSources<'_>) -> BTreeSet<String> {
    let configured = known.configured.iter().map(|name| (*name).to_owned());
    configured.chain(known.passes.keys().map(|name| (*name).to_owned())).collect()
}

/// The answer in a sentence.
fn answer(sources: &[SourceState]) -> String {
    let all = sources.len();
    let is = |word: SourceWord| sources.iter().filter(|source| source.word == word).count();
    let needing = sources.iter().filter(|source| source.word.needs_you()).count();
    let noun = if all == 1 { "source" } else { "sources" };
    if all > 0 && is(SourceWord::NoRunYet) == all {
        return "Nothing has run yet".into();
    }
    match (needing, all) {
        (0, 1) if is(SourceWord::Fine) == 1 => "The source is fine".into(),
        (0, _) if is(SourceWord::Fine) == all => format!("All {all} {noun} are fine"),
        (0, _) => so_far(sources.iter().filter(|source| source.is_known()).count(), all),
        (1, _) => format!("1 of {all} {noun} needs you"),
        (needing, _) => format!("{needing} of {all} {noun} need you"),
    }
}

fn source(known: &KnownOfSources<'_>, name: &str) -> SourceState {
    let passes = || known.passes.get(name).into_iter().flatten().copied();
    let over = || {
        passes().filter(|(run, pass)| !(pass.was_left() || run.is_running() && pass.is_running()))
    };
    let last = over().next();
    let standing = standing(known, name);
    let needs = needs(standing.as_ref(), last.map(|(_, pass)| pass));
    // A pass that could not look says nothing about numbers.
    let told = last.map(|(_, pass)| pass).filter(|pass| !pass.unusable && !pass.is_running());
    let looked = last.map(|(run, _)| run.started).or_else(|| {
        standing.as_ref().and(known.index.sources.get(name)?.run.as_deref()).and_then(began)
    });
    let state = last.map(
        |(run, pass)| {
            if pass.is_running() { run.status.clone() } else { pass.status.clone() }
        },
    );
    let state = state.or_else(|| standing.as_ref().map(|standing| standing.word.clone()));
    let running = passes().any(|(run, pass)| run.is_running() && pass.is_running());
    let next = known.next.get(name).copied();
    let last_but_one = known.last_but_one.get(name).copied();
    let silent = looked.is_some_and(|looked| is_silent(looked, last_but_one, known.now));
    let is_missed = |feed: &&ExpectedFeed| feed.source == name && feed.standing.degrades();
    let missed: Vec<Need> = known.expected.iter().filter(is_missed).map(missing).collect();
    let missing = !missed.is_empty();
    let word = match word(state.as_deref(), &needs, running, silent) {
        SourceWord::Failing if missing && needs.is_empty() => SourceWord::Missing,
        better if missing && better > SourceWord::Missing => SourceWord::Missing,
        word => word,
    };
    let needs: Vec<Need> = needs.into_iter().chain(missed).collect();
    SourceState {
        name: name.to_owned(),
        address: passes()
            .map(|(_, pass)| pass.address.clone())
            .find(|address| !address.is_empty())
            .unwrap_or_default(),
        word,
        since: standing.as_ref().map(|standing| standing.since),
        runs: standing.as_ref().map_or(0, |standing| standing.runs),
        complete_up_to: standing.as_ref().and_then(|standing| standing.good),
        looked,
        run: last.map(|(run, _)| run.id.clone()),
        listed: told.and_then(|pass| pass.listed),
        waiting: told.map(|pass| pass.deferred),
        failed: told.map(|pass| pass.failed),
        next,
        needs,
        newest: known.arrived.iter().find(|arrived| arrived.source == name).cloned(),
        brought: brought(known, name).as_deref().and_then(began),
        days: days::strip(
            known.index.sources.get(name).and_then(|entry| entry.days.as_ref()),
            known.now,
        ),
    }
}

/// The run that brought the newest file of the source `name`, as far as that is known.
pub fn brought(known: &KnownOfSources<'_>, name: &str) -> Option<String> {
    let indexed = known.index.sources.get(name).and_then(|entry| entry.brought.clone());
    let mut told = known.passes.get(name).into_iter().flatten();
    let told = told.find(|(_, pass)| pass.ingested > 0 && !pass.is_running());
    indexed.max(told.map(|(run, _)| run.id.clone()))
}

/// How a source stands: what the index says, and what records say that are newer or go further
/// back. Where the index was lost, the last runs tell at least as much as they show.
fn standing(known: &KnownOfSources<'_>, name: &str) -> Option<SourceStanding> {
    let indexed = known.index.sources.get(name).and_then(|entry| entry.standing.clone());
    let passes = known.passes.get(name).map(Vec::as_slice).unwrap_or_default();
    if indexed.as_ref().is_some_and(|indexed| knows_all(indexed, passes)) {
        return indexed;
    }
    let folded = super::view::standing(passes);
    match (indexed, folded) {
        (Some(mut indexed), Some(folded)) => {
            let well = |standing: &SourceStanding| standing.word == "ok";
            if well(&indexed) == well(&folded) && folded.since < indexed.since {
                indexed.since = folded.since;
                indexed.runs = indexed.runs.max(folded.runs);
            }
            indexed.good = indexed.good.max(folded.good);
            Some(indexed)
        }
        (indexed, folded) => indexed.or(folded),
    }
}

/// Whether `passes`, newest first, can tell nothing that `indexed` does not say: it goes as far
/// back, and is as new.
fn knows_all(indexed: &SourceStanding, passes: &[(&PageRun, &PagePass)]) -> bool {
    let newest = passes.iter().find(|(_, pass)| !pass.is_running() && !pass.was_left());
    let cut = passes.iter().any(|(run, pass)| pass.is_running() && !run.is_running());
    !cut && newest.is_none_or(|(run, _)| run.started <= indexed.looked)
        && passes.last().is_none_or(|(run, _)| indexed.since <= run.started)
}

fn needs(standing: Option<&SourceStanding>, last: Option<&PagePass>) -> Vec<Need> {
    let Some(standing) = standing else { return Vec::new() };
    let paths = |class: &str, trouble: &LastingTrouble| -> Vec<String> {
        let failures = last.into_iter().flat_map(|pass| &pass.failures);
        let mut paths: Vec<String> = failures
            .filter(|failure| failure.class == class)
            .map(|failure| failure.path.clone())
            .take(NAMED)
            .collect();
        if paths.is_empty() {
            paths.extend(trouble.path.clone());
        }
        paths
    };
    let mut needs: Vec<Need> = standing
        .troubles
        .iter()
        .map(|(class, trouble)| Need {
            class: class.clone(),
            what: what(class),
            message: trouble.message.clone(),
            hint: trouble.hint.clone(),
            since: trouble.since,
            runs: Some(trouble.runs),
            files: trouble.files,
            paths: paths(class, trouble),
        })
        .collect();
    needs.sort_by_key(|need| (need.files > 0, need.since));
    needs
}

/// What is expected and not here, why, and what to do.
fn missing(feed: &ExpectedFeed) -> Need {
    let ExpectedFeed { source, evening, standing } = feed;
    let hint = match &standing.why {
        Some(WhyUnmet::NotListed) => format!("have {source} send it"),
        Some(WhyUnmet::Failed { .. } | WhyUnmet::Deferred { .. }) => {
            "mend what is told of it; the next run brings it over".into()
        }
        Some(WhyUnmet::ListingFailed) => "mend the listing; the next run looks again".into(),
        Some(WhyUnmet::NotLooked) => {
            "see whether the schedule still starts runs, and what the log says".into()
        }
        None => format!("ask {source} what they sent"),
    };
    Need {
        class: MISSING.into(),
        what: format!("{}: {}.", standing.name, feed.lacks()),
        message: feed.why(),
        hint,
        since: standing.since.or(standing.deadline).unwrap_or(*evening),
        runs: None,
        files: 0,
        paths: Vec::new(),
    }
}

/// What a class says, in a sentence; one of another release has its word only.
fn what(class: &str) -> String {
    let known = Class::ALL.iter().find(|known| known.word() == class);
    known.map_or_else(|| format!("`{class}`."), |known| known.what().to_owned())
}

fn word(state: Option<&str>, needs: &[Need], running: bool, silent: bool) -> SourceWord {
    let late = !needs.is_empty() && needs.iter().all(|need| need.class == "late");
    match state.map(Stands::of) {
        Some(Stands::Ended(Status::Failed)) => SourceWord::Down,
        _ if late => SourceWord::Stuck,
        Some(Stands::Ended(Status::Degraded) | Stands::Unknown) => SourceWord::Failing,
        _ if !needs.is_empty() => SourceWord::Failing,
        _ if running => SourceWord::Running,
        _ if silent => SourceWord::Silent,
        Some(Stands::Abandoned) => SourceWord::Abandoned,
        Some(Stands::Ended(Status::Interrupted)) => SourceWord::Interrupted,
        Some(Stands::Running | Stands::Ended(Status::Left | Status::Ok)) => SourceWord::Fine,
        None => SourceWord::NoRunYet,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_comes_first_and_says_so() {
        use SourceWord::{Down, Failing, Fine, Interrupted, NoRunYet, Running, Silent, Stuck};
        let late = Need {
            class: "late".into(),
            what: String::new(),
            message: String::new(),
            hint: String::new(),
            since: OffsetDateTime::UNIX_EPOCH,
            runs: Some(1),
            files: 1,
            paths: Vec::new(),
        };
        let failing = Need { class: "permission".into(), ..late.clone() };
        for (state, needs, running, silent, expected) in [
            (Some("failed"), vec![failing.clone()], true, true, Down),
            (Some("degraded"), vec![failing.clone(), late.clone()], false, false, Failing),
            (Some("degraded"), vec![late], false, false, Stuck),
            (Some("interrupted"), vec![failing], false, false, Failing),
            (Some("interrupted"), vec![], false, false, Interrupted),
            (Some("ok"), vec![], false, true, Silent),
            (Some("ok"), vec![], true, true, Running),
            (Some("ok"), vec![], false, false, Fine),
            (Some("left"), vec![], false, false, Fine),
            (Some("of another release"), vec![], false, false, Failing),
            (None, vec![], false, false, NoRunYet),
        ] {
            assert_eq!(word(state, &needs, running, silent), expected, "{state:?}");
        }
        assert!(Down < Failing && Silent.needs_you() && !Interrupted.needs_you());
    }
}
