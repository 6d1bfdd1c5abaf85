//! Files that are expected: what a window of an expectation comes to. Pure: the clock is a value.
//!
//! A window ends at its deadline and may be late until its grace is over. What counts is what was
//! stored in it: a file that was stored once counts once, however often it is seen unchanged.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::model::RemotePath;
use crate::rules::expect_due::{Deadlines, ExpectedWindow};
use crate::rules::expect_files::ExpectedFiles;

/// What is expected of a source.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// Its name, unique in the source.
    pub name: String,
    /// Which files.
    pub files: ExpectedFiles,
    /// By when.
    pub when: ExpectedWhen,
    /// How many, at least.
    pub min_count: u64,
    /// How many, at most.
    pub max_count: Option<u64>,
    /// Smaller files do not count.
    pub min_size: u64,
    /// What a missed window means.
    pub severity: Severity,
}

/// By when files are expected.
#[derive(Clone, Debug)]
pub enum ExpectedWhen {
    /// At deadlines.
    By {
        /// The deadlines.
        deadlines: Deadlines,
        /// What counts before a deadline; `None`: since the deadline before it, at most a week.
        window: Option<Duration>,
        /// How long a window is late before it is missed.
        grace: Duration,
    },
    /// At any time the newest file was stored at most so long ago.
    MaxAge(Duration),
}

/// What a missed window means for the word of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The run is degraded.
    #[default]
    Error,
    /// It is told, and changes no exit status.
    Warn,
}

/// How a window stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowState {
    /// It is open, and not met yet.
    Due,
    /// What was expected is here.
    Met,
    /// The deadline is over, the grace is not.
    Late,
    /// The grace is over, or too many came. It stays so, also when the files come after all.
    Missed,
}

impl WindowState {
    /// The word for reports and names.
    pub fn word(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Met => "met",
            Self::Late => "late",
            Self::Missed => "missed",
        }
    }
}

/// What an unmet window lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shortfall {
    /// Fewer files than expected.
    TooFew,
    /// More files than expected.
    TooMany,
    /// Files came, and are smaller than expected.
    TooSmall,
    /// The newest file is too old.
    Stale,
}

impl Shortfall {
    /// The word for reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::TooFew => "too_few",
            Self::TooMany => "too_many",
            Self::TooSmall => "too_small",
            Self::Stale => "stale",
        }
    }
}

/// A file that was stored and that the patterns match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// Its path.
    pub path: RemotePath,
    /// When its commit was confirmed.
    pub stored: OffsetDateTime,
    /// Its size.
    pub size: Option<u64>,
    /// When it was last modified at the source, if that told.
    pub modified: Option<OffsetDateTime>,
    /// Whether `stored` is only about so.
    pub approximate: bool,
}

/// What a window comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WindowVerdict {
    /// How it stands.
    pub state: WindowState,
    /// Files that count.
    pub count: u64,
    /// What it lacks.
    pub unmet: Option<Shortfall>,
    /// When what was expected was here, if that was after the deadline.
    pub late_by: Option<time::Duration>,
    /// When a missed window was made good after all.
    pub recovered_at: Option<OffsetDateTime>,
    /// Files that count, as far as they were needed.
    pub paths: Vec<RemotePath>,
    /// Whether a time that decided is only about so.
    pub approximate: bool,
    /// Of the file that made it late: whether the source had it by the deadline, so that the delay
    /// is ours.
    pub ours: Option<bool>,
}

/// How many paths a verdict names.
const PATHS: usize = 10;

/// What each of `windows`, which are in order, comes to at `now`. `wanted` are the arrivals that a
/// window's patterns match, in the order in which they were stored.
///
/// A file that comes within the grace of an unmet window counts for that one and for no other. With
/// `dated` patterns the name alone decides, and a file counts for its day however late it is.
pub(crate) fn judge_windows(
    of: &Expectation,
    windows: &[ExpectedWindow],
    wanted: impl Fn(&ExpectedWindow) -> Vec<Arrival>,
    now: OffsetDateTime,
) -> Vec<WindowVerdict> {
    let mut used: Vec<Arrival> = Vec::new();
    let dated = of.files.is_dated();
    let judged = windows.iter().map(|window| {
        let mut all = wanted(window);
        all.retain(|arrival| {
            arrival.stored > window.start && arrival.stored <= now && !used.contains(arrival)
        });
        let (verdict, late) = judge(of, window, &all, now);
        if !dated {
            used = late;
        }
        verdict
    });
    judged.collect()
}

/// What `window` comes to, and the arrivals of its grace that it needed.
fn judge(
    of: &Expectation,
    window: &ExpectedWindow,
    all: &[Arrival],
    now: OffsetDateTime,
) -> (WindowVerdict, Vec<Arrival>) {
    let large = |arrival: &&Arrival| arrival.size.is_none_or(|size| size >= of.min_size);
    let big: Vec<&Arrival> = all.iter().filter(large).collect();
    let needed = usize::try_from(of.min_count).unwrap_or(usize::MAX);
    let by = |end: OffsetDateTime| big.iter().filter(|arrival| arrival.stored <= end).count();
    let (on_time, in_grace) = (by(window.deadline), by(window.end));
    let counted = if on_time >= needed { on_time } else { in_grace };
    let too_many = of.max_count.is_some_and(|most| counted as u64 > most);
    let met_by = needed.checked_sub(1).map(|last| big.get(last).copied());
    let state = match met_by {
        _ if too_many => WindowState::Missed,
        None => WindowState::Met,
        Some(Some(last)) if last.stored <= window.end => WindowState::Met,
        _ if now <= window.deadline => WindowState::Due,
        _ if now <= window.end => WindowState::Late,
        _ => WindowState::Missed,
    };
    let last = met_by.flatten();
    let late = last.filter(|last| state == WindowState::Met && last.stored > window.deadline);
    let unmet = match state {
        WindowState::Met => None,
        _ if too_many => Some(Shortfall::TooMany),
        _ if all.len() >= needed && big.len() < needed => Some(Shortfall::TooSmall),
        _ => Some(Shortfall::TooFew),
    };
    let verdict = WindowVerdict {
        state,
        count: counted as u64,
        unmet,
        late_by: late.map(|last| last.stored - window.deadline),
        recovered_at: last
            .filter(|_| state == WindowState::Missed && !too_many)
            .map(|last| last.stored),
        paths: big.iter().take(PATHS).map(|arrival| arrival.path.clone()).collect(),
        approximate: last.is_some_and(|last| last.approximate),
        ours: late.and_then(|last| Some(last.modified? <= window.deadline)),
    };
    let used = big.iter().filter(|arrival| arrival.stored > window.deadline);
    let used = used.filter(|arrival| on_time < needed && arrival.stored <= window.end);
    (verdict, used.take(needed.saturating_sub(on_time)).map(|arrival| (*arrival).clone()).collect())
}

/// Whether the newest of `all`, in the order in which they were stored, is at most `most` old at
/// `now`; and since when it is not, if there is one.
pub(crate) fn judge_age(
    of: &Expectation,
    most: Duration,
    all: &[Arrival],
    now: OffsetDateTime,
) -> (WindowVerdict, Option<OffsetDateTime>) {
    let large = |arrival: &&Arrival| arrival.size.is_none_or(|size| size >= of.min_size);
    let until_now = || all.iter().filter(|arrival| arrival.stored <= now);
    let big: Vec<&Arrival> = until_now().filter(large).collect();
    let fresh = big.iter().filter(|arrival| arrival.stored + most >= now).count() as u64;
    // So many must be fresh: the oldest of the newest of them decides.
    let needed = usize::try_from(of.min_count.max(1)).unwrap_or(usize::MAX);
    let oldest = big.len().checked_sub(needed).map(|at| big[at]);
    let too_many = of.max_count.is_some_and(|most| fresh > most);
    let stale_since = oldest.map(|arrival| arrival.stored + most).filter(|since| *since < now);
    let met = oldest.is_some() && stale_since.is_none() && !too_many;
    let verdict = WindowVerdict {
        state: if met { WindowState::Met } else { WindowState::Missed },
        count: fresh,
        unmet: match (met, too_many) {
            (true, _) => None,
            (false, true) => Some(Shortfall::TooMany),
            (false, false) => Some(Shortfall::Stale),
        },
        late_by: None,
        recovered_at: None,
        paths: big.iter().rev().take(PATHS).map(|arrival| arrival.path.clone()).collect(),
        approximate: oldest.is_some_and(|arrival| arrival.approximate),
        ours: None,
    };
    (verdict, stale_since)
}

/// Why what is expected is not here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "why")]
pub enum WhyUnmet {
    /// The source was listed in full, and does not show it: the sender.
    NotListed,
    /// It could not be brought over.
    Failed {
        /// The class of the failure.
        class: String,
    },
    /// It waits.
    Deferred {
        /// For what.
        reason: String,
    },
    /// The source, or a folder of it, could not be listed.
    ListingFailed,
    /// No pass has looked at the source: us.
    NotLooked,
}

impl WhyUnmet {
    /// The word for reports.
    pub fn word(&self) -> &'static str {
        match self {
            Self::NotListed => "not_listed",
            Self::Failed { .. } => "failed",
            Self::Deferred { .. } => "deferred",
            Self::ListingFailed => "listing_failed",
            Self::NotLooked => "not_looked",
        }
    }
}

/// The last look at a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastLook {
    /// When it began.
    pub began: OffsetDateTime,
    /// Whether it listed all.
    pub whole: bool,
}

/// What became of a file that did not arrive, as the last line about it tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hindrance {
    /// It failed, with this class.
    Failed(String),
    /// It waits for this.
    Deferred(String),
}

/// Why a window that ends at `deadline` is not met: by what hinders its files, else by the last
/// look at the source.
pub(crate) fn why(
    hindrance: Option<&Hindrance>,
    look: Option<LastLook>,
    deadline: OffsetDateTime,
) -> WhyUnmet {
    match hindrance {
        Some(Hindrance::Failed(class)) => WhyUnmet::Failed { class: class.clone() },
        Some(Hindrance::Deferred(reason)) => WhyUnmet::Deferred { reason: reason.clone() },
        None => match look {
            Some(look) if look.began >= deadline && look.whole => WhyUnmet::NotListed,
            Some(look) if look.began >= deadline => WhyUnmet::ListingFailed,
            _ => WhyUnmet::NotLooked,
        },
    }
}

#[cfg(test)]
#[path = "expect_tests.rs"]
mod tests;
