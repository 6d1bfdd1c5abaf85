//! What a run tells those who watch it from outside: its calls, its files, its failures.
//!
//! Calls and counts go out as `tracing` events under [`TARGET`], never a secret in any. Where
//! nobody listens to that target, as in every command without Application Insights, an event costs
//! one comparison. What a person must see is a line of the log: [`source_ended`], [`run_ended`].

use std::fmt::Display;
use std::time::{Duration, Instant};

use time::format_description::well_known::Rfc3339;

use crate::model::failure::{Class, Failure};
use crate::model::{RemoteFile, chain};
use crate::report::{Outcome, Problem, Report, SourceReport, Status};
use crate::transfer::context::{Pass, Run};

/// The target of all these events. No log line has it.
pub const TARGET: &str = "watch";
/// The field that tells what an event is.
pub(crate) const WATCH: &str = "watch";
/// A call to another machine has ended: `kind`, `source`, `address`, `path`, `outcome` (`ok`,
/// `failed`, `left`), `bytes`, `micros`; `class` and `error` where it failed.
pub const CALL: &str = "call";
/// One file is done with: `source`, `outcome`; `bytes` and `lag_seconds` where it was ingested.
pub const FILE: &str = "file";
/// Files are done with: `source` and a count of each outcome.
pub const FILES: &str = "files";

/// A window of an expectation came to a state: `source`, `expectation`, `state`. Once.
pub(crate) const EXPECTATION: &str = "expectation";
/// An expectation was judged: `source`, `expectation`, `met` (1 or 0).
pub const EXPECTED: &str = "expected";

/// What can become of a file.
pub(crate) const OUTCOMES: &[&str] =
    &["ingested", "unchanged", "skipped", "gone", "deferred", "failed"];

/// A call to another machine that goes on. Dropped before its end, it is told as left half way.
pub(crate) struct Call<'a> {
    kind: &'static str,
    source: &'a str,
    address: &'a str,
    path: &'a (dyn Display + Sync),
    begun: Instant,
    ended: bool,
}

impl<'a> Call<'a> {
    /// A call to the source of `pass`.
    pub(crate) fn to_source(
        kind: &'static str,
        pass: &'a Pass,
        path: &'a (dyn Display + Sync),
    ) -> Self {
        Self {
            kind,
            source: &pass.source.name,
            address: pass.pool.address(),
            path,
            begun: Instant::now(),
            ended: false,
        }
    }

    /// A call to the store on behalf of `pass`.
    pub(crate) fn to_store(
        kind: &'static str,
        pass: &'a Pass,
        path: &'a (dyn Display + Sync),
    ) -> Self {
        Self {
            kind,
            source: &pass.source.name,
            address: pass.run.store.address(),
            path,
            begun: Instant::now(),
            ended: false,
        }
    }

    /// It had begun at this time already.
    #[must_use]
    pub fn since(mut self, begun: Instant) -> Self {
        self.begun = begun;
        self
    }

    /// It went well, and moved so many bytes.
    pub(crate) fn went_well(mut self, bytes: u64) {
        self.tell("ok", bytes, None);
    }

    /// It failed after so many bytes.
    pub fn failed<E: Failure>(mut self, bytes: u64, error: &E) {
        self.tell("failed", bytes, Some((error.class().word(), chain(error))));
    }

    /// It failed, as a report tells.
    pub(crate) fn has_problem(mut self, problem: &Problem) {
        self.tell("failed", 0, Some((problem.class.word(), problem.message.clone())));
    }

    fn tell(&mut self, outcome: &'static str, bytes: u64, failure: Option<(&'static str, String)>) {
        self.ended = true;
        let Self { kind, source, address, path, begun, .. } = self;
        let micros = micros(begun.elapsed());
        let (class, error) = failure.unzip();
        tracing::info!(target: TARGET, watch = CALL, kind, source, address, %path, outcome, bytes,
            micros, class, error);
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.tell("left", 0, None);
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A window of an expectation came to `state`.
pub(crate) fn expectation(source: &str, expectation: &str, state: &'static str) {
    tracing::info!(target: TARGET, watch = EXPECTATION, source, expectation, state);
}

/// An expectation was judged: what is expected is here, or still in time.
pub fn expected(source: &str, expectation: &str, is_met: bool) {
    tracing::info!(target: TARGET, watch = EXPECTED, source, expectation, met = u64::from(is_met));
}

/// A file came to `outcome`.
pub fn file(source: &str, file: &RemoteFile, outcome: &Outcome) {
    let word = match outcome {
        Outcome::Ingested(_) => "ingested",
        Outcome::Unchanged => "unchanged",
        Outcome::Skipped(_) => "skipped",
        Outcome::Gone => "gone",
        Outcome::Deferred(_) => "deferred",
        Outcome::Failed(_) => "failed",
    };
    let Outcome::Ingested(ingested) = outcome else {
        return tracing::info!(target: TARGET, watch = FILE, source, outcome = word);
    };
    let lag_seconds = file
        .modified
        .map(|modified| (time::OffsetDateTime::now_utc() - modified.at).as_seconds_f64().max(0.0));
    tracing::info!(target: TARGET, watch = FILE, source, outcome = word, bytes = ingested.bytes,
        lag_seconds);
}

/// A source is surveyed: what `report` holds now is decided, and is not told again.
pub fn surveyed(report: &SourceReport) {
    let SourceReport { source, unchanged, skipped, gone, deferred, failed, .. } = report;
    tracing::info!(target: TARGET, watch = FILES, source, unchanged, skipped, gone, deferred,
        failed);
    for line in &report.failures {
        let (class, error, path) = (line.problem.class.word(), &line.problem.message, &line.path);
        let hint = &*line.problem.hint;
        tracing::error!(source, path, class, error, hint, "A file did not arrive.");
    }
}

/// A pass over a source of `run` has ended: a line for each thing that is wrong with the source or
/// a folder of it, with the time since which that is so.
pub(crate) async fn source_ended(run: &Run, report: &SourceReport) {
    if report.problems.is_empty() {
        return;
    }
    let (source, address) = (&report.source, &report.address);
    let known = run.known_sources.read(&run.state).await.ok();
    let known = known.and_then(|known| known.get(source)?.standing.as_ref());
    for Problem { class, message, hint } in &report.problems {
        let (since, runs) = known
            .and_then(|known| known.since(class.word()))
            .map_or_else(|| (run.started, 1), |(since, before)| (since, before.saturating_add(1)));
        let (class, since) = (class.word(), since.format(&Rfc3339).unwrap_or_default());
        if report.unusable {
            tracing::error!(source, address, class, error = message, %hint, since, runs,
                "A source could not be worked on.");
        } else if class == Class::Interrupted.word() {
            tracing::warn!(source, address, class, error = message, %hint,
                "The work on a source was stopped.");
        } else {
            tracing::error!(source, address, class, error = message, %hint, since, runs,
                "Not all of a source could be worked on.");
        }
    }
}

/// A run has ended without anything done.
pub(crate) fn run_ended(report: &Report) {
    let of_sources = report.sources.iter().flat_map(|source| source.problems.first());
    let failed = (report.status() == Status::Failed && report.problems.is_empty())
        .then_some(of_sources)
        .into_iter()
        .flatten()
        .take(1);
    let (run, store) = (&report.run, &report.store);
    for Problem { class, message, hint } in report.problems.iter().chain(failed) {
        let class = class.word();
        tracing::error!(run, store, class, error = message, %hint, "A run could do nothing.");
    }
}
