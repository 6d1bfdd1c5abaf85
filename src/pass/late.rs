//! What is left for later run after run: since when, and whether that is too long to be well.
//!
//! The ledger holds one sighting a file, written when the file is first left or has changed since;
//! the time of the first one stays with it until the file is taken.

use std::sync::PoisonError;

use time::OffsetDateTime;

use crate::ledger::Ledger;
use crate::model::RemoteFile;
use crate::model::failure::Class;
use crate::model::number_of;
use crate::pass::since::{in_seconds, is_late};
use crate::pass::waiting_folders;
use crate::report::{Defer, LeftTo, Outcome, Problem, SourceReport, problem};
use crate::rules::plan::as_before;
use crate::rules::plan::known::{Seen, Unmet};
use crate::transfer::context::Pass;
use crate::transfer::settings::Source;

/// A file was seen and is left for later: the next run is told, and so is the report if it was
/// first seen too long ago.
pub(crate) async fn sighted(pass: &Pass, report: &mut SourceReport, seen: Seen, defer: Defer) {
    let earlier = pass.ledger.seen(&seen.file.path);
    if earlier.is_none() && waiting_folders::is_full(pass) {
        return waiting_folders::add(pass, &seen.file.path);
    }
    let seen = seen.after(earlier.as_ref());
    // A young file rests from its last sighting on, any other has its first one.
    let known = seen.why.is_some()
        && earlier.is_some_and(|earlier| {
            earlier.why == seen.why && as_before(&earlier.file, &seen.file, pass.times())
        });
    if !known && let Err(error) = pass.ledger.note_seen(&seen).await {
        report.problems.push(problem(&error));
    }
    if defer != Defer::Interrupted && is_late(&pass.source, seen.since, OffsetDateTime::now_utc()) {
        let text =
            format!("`{}`: {} since {}", seen.file.path, defer.word(), in_seconds(seen.since));
        report.add_problem(Problem::new(Class::Late, text));
    }
}

/// Remembers a file that failed where only the newest files are taken: a newer one that comes must
/// not hide it.
pub(crate) fn leave_behind(pass: &Pass, file: &RemoteFile, outcome: &Outcome) {
    if pass.source.selection.newest.is_some() && matches!(outcome, Outcome::Failed(_)) {
        let mut left = pass.left_behind.lock().unwrap_or_else(PoisonError::into_inner);
        left.push(file.clone());
    }
}

/// Writes down what failed; the ledger must have been begun.
pub(crate) async fn left_behind(pass: &Pass, report: &mut SourceReport) {
    let left =
        std::mem::take(&mut *pass.left_behind.lock().unwrap_or_else(PoisonError::into_inner));
    for file in left {
        let seen = Seen { why: Some(Unmet::Failed), ..Seen::new(file, OffsetDateTime::now_utc()) };
        let earlier = pass.ledger.seen(&seen.file.path);
        if earlier.as_ref().is_some_and(|earlier| earlier.why == seen.why) {
            continue;
        }
        if let Err(error) = pass.ledger.note_seen(&seen.after(earlier.as_ref())).await {
            report.problems.push(problem(&error));
        }
    }
}

/// Files that wait because the run had enough to do are late if nothing of the source has arrived
/// for long.
pub(crate) async fn over_limit(pass: &Pass, report: &mut SourceReport) {
    let since = over_limit_since(&pass.ledger, &pass.source);
    if over_limit_moved(since, report) {
        note_over_limit(&pass.ledger, &pass.source, report).await;
    }
    tell_over_limit(&pass.source, since, report);
}

/// Since when nothing of a source has arrived while files waited beyond a limit, as far as earlier
/// runs noted.
pub(crate) fn over_limit_since(ledger: &Ledger, source: &Source) -> Option<OffsetDateTime> {
    let seen = ledger.seen(&source.root).filter(|seen| seen.why == Some(Unmet::TooMany));
    seen.map(|seen| seen.since)
}

/// Whether the time since when nothing has arrived begins now.
pub(crate) fn over_limit_moved(since: Option<OffsetDateTime>, report: &SourceReport) -> bool {
    let begins = since.is_none() && report.deferred_as(Defer::TooMany) > 0;
    if report.ingested > 0 { since.is_some() } else { begins }
}

/// Notes that it does.
pub(crate) async fn note_over_limit(ledger: &Ledger, source: &Source, report: &mut SourceReport) {
    let root = RemoteFile { path: source.root.clone(), size: None, modified: None };
    let seen = Seen { why: Some(Unmet::TooMany), ..Seen::new(root, OffsetDateTime::now_utc()) };
    if let Err(error) = ledger.note_seen(&seen).await {
        report.problems.push(problem(&error));
    }
}

/// Tells of files that wait beyond a limit for too long.
pub(crate) fn tell_over_limit(
    source: &Source,
    since: Option<OffsetDateTime>,
    report: &mut SourceReport,
) {
    let waiting = report.deferred_as(Defer::TooMany);
    let since = since.filter(|_| waiting > 0 && report.ingested == 0);
    if let Some(since) = since.filter(|since| is_late(source, *since, OffsetDateTime::now_utc())) {
        let text = format!(
            "{} {} beyond `limits.files`, and nothing has arrived since {}",
            number_of(waiting, "file"),
            if waiting == 1 { "waits" } else { "wait" },
            in_seconds(since)
        );
        report.add_problem(Problem::new(Class::Late, text));
    }
}

/// Files that wait for their markers: how many, and the oldest time that the source tells of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unmarked {
    files: u64,
    oldest: Option<OffsetDateTime>,
}

impl Unmarked {
    /// One more.
    pub fn add(&mut self, file: &RemoteFile) {
        self.files += 1;
        let modified = file.modified.map(|modified| modified.at);
        self.oldest = match (self.oldest, modified) {
            (Some(oldest), Some(modified)) => Some(oldest.min(modified)),
            (oldest, modified) => oldest.or(modified),
        };
    }

    /// Tells of them; they are late only where the source itself sets `late_after`.
    pub fn tell(self, source: &Source, report: &mut SourceReport, now: OffsetDateTime) {
        let Some(oldest) = self.oldest else { return };
        let text = format!(
            "{} {} for a marker, the oldest is of {}",
            number_of(self.files, "file"),
            if self.files == 1 { "waits" } else { "wait" },
            in_seconds(oldest)
        );
        if source.late_markers && is_late(source, oldest, now) {
            report.add_problem(Problem::new(Class::Late, text));
        } else {
            report.notes.push(text);
        }
    }
}

/// A source that is left to `other` is late if that run has had it for long.
pub fn left(source: &Source, report: &mut SourceReport, other: &LeftTo, now: OffsetDateTime) {
    if let Some(since) = other.since.filter(|since| is_late(source, *since, now)) {
        let run = other.run.as_deref().unwrap_or("of unknown id");
        let text = format!("run {run} has been at this source since {}", in_seconds(since));
        report.add_problem(Problem::new(Class::Late, text));
    }
}
