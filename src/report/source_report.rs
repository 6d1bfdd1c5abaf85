//! What a run did about one source.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::failpoint::safeguard_off;
use crate::model::RemotePath;
use crate::model::failure::Class;
use crate::report::expectation::ExpectationStanding;
use crate::report::facts::NamedFacts;
use crate::report::outcome::{Defer, Ingested, Outcome, Problem};
use crate::report::status::{Signs, Status};

/// How many files a report tells in full, per kind; beyond that it only counts.
pub const DETAILS: usize = 1_000;

/// A file that is told by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileLine {
    /// Its path, safe for a line.
    pub path: String,
    /// Why it is told.
    #[serde(flatten)]
    pub problem: Problem,
}

/// Everything that one pass over one source came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceReport {
    /// The source's name.
    pub source: String,
    /// Its address, without user info.
    pub address: String,
    /// Files that the source listed: the sum of the six counts below.
    pub listed: u64,
    /// Files stored by this run.
    pub ingested: u64,
    /// Files stored by an earlier run.
    pub unchanged: u64,
    /// Files left alone.
    pub skipped: u64,
    /// Files that were listed, and that a fresh listing of their folder did not show any more.
    #[serde(default)]
    pub gone: u64,
    /// Files left for a later run.
    pub deferred: u64,
    /// Files that could not be brought over.
    pub failed: u64,
    /// Files that earlier runs stored and died before they could say so. This pass says so; they
    /// are none of the six counts.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub recovered: u64,
    /// Bytes read from the source for ingested files.
    pub bytes: u64,
    /// Blobs written.
    pub blobs: u64,
    /// Archives that were unpacked, and what became of their members.
    pub members: Members,
    /// Archives of kinds that are not read and stored as they are, by kind.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub not_unpacked: BTreeMap<Cow<'static, str>, u64>,
    /// Archives in archives that are stored as the members that they are, because they could not be
    /// unpacked.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub partly_unpacked: u64,
    /// Skipped files by reason.
    pub skipped_by_reason: BTreeMap<Cow<'static, str>, u64>,
    /// Deferred files by reason.
    pub deferred_by_reason: BTreeMap<Cow<'static, str>, u64>,
    /// Deferred files by name, at most [`DETAILS`].
    pub deferred_files: Vec<String>,
    /// Failed files by name, at most [`DETAILS`].
    pub failures: Vec<FileLine>,
    /// Listing lines that nobody can parse.
    pub unparsed_lines: u64,
    /// The first few of them.
    pub unparsed_samples: Vec<String>,
    /// What went wrong with the source as a whole or with a folder of it.
    pub problems: Vec<Problem>,
    /// Whether nothing of the source could be worked on.
    pub unusable: bool,
    /// Unchanged files of which only the size was compared, since the source's times are not to be
    /// looked at.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub on_trust: u64,
    /// Files that are older than `max_age` by now and were taken all the same, because earlier runs
    /// should have taken them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub kept_by_failure: u64,
    /// The days whose folders were looked at, where folders have dates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub days: Vec<String>,
    /// How far back it looked for what earlier runs left undone, where that makes a difference:
    /// folders have dates, or `max_age` is set.
    #[serde(
        default,
        with = "time::serde::rfc3339::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub looked_back_to: Option<OffsetDateTime>,
    /// Files that are stored, but whose removal or move at the source failed.
    pub after_failed: u64,
    /// What a reader should know.
    pub notes: Vec<String>,
    /// The run that is at this source, if this one left it alone for that: it was not even listed.
    pub left_to: Option<LeftTo>,
    /// The blob that tells of each file that something was done about; `None` if there is no such
    /// file.
    pub manifest: Option<String>,
    /// How many lines it has.
    pub manifest_lines: u64,
    /// The blob that holds this report; `None` if the pass changed nothing: then the record of its
    /// run tells all.
    #[serde(default)]
    pub report: Option<String>,
    /// SHA-256 of that blob, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report_sha256: Option<String>,
    /// How what is expected of the source stands.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expectations: Vec<ExpectationStanding>,
    /// The other blobs that it rests on.
    #[serde(default, skip_serializing_if = "NamedFacts::is_empty")]
    pub facts: NamedFacts,
}

/// Another run that a source was left to, as far as it tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftTo {
    /// Its id.
    pub run: Option<String>,
    /// The machine that it runs on.
    pub host: Option<String>,
    /// Since when the source is its own, by its clock.
    #[serde(with = "time::serde::rfc3339::option")]
    pub since: Option<OffsetDateTime>,
}

/// Members of unpacked archives: `members = stored + identical + skipped`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// Archives unpacked.
    pub archives: u64,
    /// Members in them: the sum of the three counts below.
    pub members: u64,
    /// Stored by this run.
    pub stored: u64,
    /// There already with equal content.
    pub identical: u64,
    /// Directories and links.
    pub skipped: u64,
    /// Those of them that are symbolic links.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub links: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
pub(crate) fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl SourceReport {
    /// An empty report.
    pub fn new(source: &str, address: &str) -> Self {
        Self { source: source.to_owned(), address: address.to_owned(), ..Self::default() }
    }

    /// Counts what became of one listed file.
    pub fn add(&mut self, path: &RemotePath, outcome: Outcome) {
        self.listed += 1;
        match outcome {
            Outcome::Ingested(ingested) => self.add_ingested(path, ingested),
            Outcome::Unchanged => self.unchanged += 1,
            Outcome::Skipped(skip) => {
                self.skipped += 1;
                *self.skipped_by_reason.entry(skip.word().into()).or_default() += 1;
            }
            Outcome::Gone => self.gone += 1,
            Outcome::Deferred(defer) => {
                self.deferred += 1;
                *self.deferred_by_reason.entry(defer.word().into()).or_default() += 1;
                push(&mut self.deferred_files, format!("{path} ({})", defer.word()));
            }
            Outcome::Failed(problem) => {
                self.failed += 1;
                push(&mut self.failures, FileLine { path: path.to_string(), problem });
            }
        }
    }

    fn add_ingested(&mut self, path: &RemotePath, ingested: Ingested) {
        self.ingested += 1;
        self.bytes += ingested.bytes;
        self.blobs += ingested.stored + ingested.originals;
        if let Some(members) = ingested.members {
            self.members.archives += 1;
            self.members.members += members;
            self.members.stored += ingested.stored;
            self.members.identical += ingested.identical;
            self.members.skipped += ingested.members_skipped;
            self.members.links += ingested.members_links;
        }
        self.partly_unpacked += ingested.partly;
        if let Some(kind) = ingested.not_unpacked {
            *self.not_unpacked.entry(kind.into()).or_default() += 1;
        }
        for problem in ingested.problems {
            push(
                &mut self.problems,
                Problem::new(problem.class, format!("{path}: {}", problem.message)),
            );
        }
        for note in ingested.notes {
            self.add_note(path, &note);
        }
        if let Some(problem) = ingested.after {
            self.add_after_failed(path, &problem);
        }
    }

    /// Notes what a reader should know of a file.
    pub(crate) fn add_note(&mut self, path: &RemotePath, note: &str) {
        push(&mut self.notes, format!("{path}: {note}"));
    }

    /// Notes what a reader should know of the source or a folder of it.
    pub(crate) fn add_remark(&mut self, note: String) {
        push(&mut self.notes, note);
    }

    /// Notes a stored file that could not be removed or moved at the source.
    pub(crate) fn add_after_failed(&mut self, path: &RemotePath, problem: &Problem) {
        self.after_failed += 1;
        push(
            &mut self.problems,
            Problem::new(Class::AfterAction, format!("{path}: {}", problem.message)),
        );
    }

    /// Tells of something that went wrong, unless so much was told already.
    pub(crate) fn add_problem(&mut self, problem: Problem) {
        push(&mut self.problems, problem);
    }

    /// Counts a line of a listing that nobody can parse.
    pub(crate) fn add_unparsed(&mut self, line: String) {
        self.unparsed_lines += 1;
        if self.unparsed_samples.len() < 5 {
            self.unparsed_samples.push(line);
        }
    }

    /// Counts in what another part of the same pass came to.
    pub(crate) fn absorb(&mut self, part: SourceReport) {
        self.listed += part.listed;
        self.ingested += part.ingested;
        self.unchanged += part.unchanged;
        self.skipped += part.skipped;
        self.gone += part.gone;
        self.deferred += part.deferred;
        self.failed += part.failed;
        self.recovered += part.recovered;
        self.bytes += part.bytes;
        self.blobs += part.blobs;
        self.members.archives += part.members.archives;
        self.members.members += part.members.members;
        self.members.stored += part.members.stored;
        self.members.identical += part.members.identical;
        self.members.skipped += part.members.skipped;
        self.members.links += part.members.links;
        self.partly_unpacked += part.partly_unpacked;
        part.not_unpacked
            .into_iter()
            .for_each(|(kind, count)| *self.not_unpacked.entry(kind).or_default() += count);
        self.unparsed_lines += part.unparsed_lines;
        self.on_trust += part.on_trust;
        self.kept_by_failure += part.kept_by_failure;
        self.after_failed += part.after_failed;
        self.unusable |= part.unusable;
        part.skipped_by_reason.into_iter().for_each(|(reason, count)| {
            *self.skipped_by_reason.entry(reason).or_default() += count
        });
        part.deferred_by_reason.into_iter().for_each(|(reason, count)| {
            *self.deferred_by_reason.entry(reason).or_default() += count
        });
        part.deferred_files.into_iter().for_each(|line| push(&mut self.deferred_files, line));
        part.failures.into_iter().for_each(|line| push(&mut self.failures, line));
        part.unparsed_samples.into_iter().for_each(|line| push(&mut self.unparsed_samples, line));
        part.problems.into_iter().for_each(|problem| push(&mut self.problems, problem));
        part.notes.into_iter().for_each(|note| push(&mut self.notes, note));
        if self.days.is_empty() {
            self.days = part.days;
        }
        self.looked_back_to = self.looked_back_to.or(part.looked_back_to);
        self.left_to = self.left_to.take().or(part.left_to);
        self.facts.journals.extend(part.facts.journals);
    }

    /// Whether there is nothing to tell but counts: all is well, and nothing was done.
    pub fn is_idle(&self) -> bool {
        let done = self.ingested + self.after_failed;
        self.status() == Status::Ok && self.report.is_none() && done == 0 && self.notes.is_empty()
    }

    /// How many files were left for later for this reason.
    pub(crate) fn deferred_as(&self, defer: Defer) -> u64 {
        self.deferred_by_reason.get(defer.word()).copied().unwrap_or(0)
    }

    /// How the pass ended.
    pub fn status(&self) -> Status {
        let left = self.deferred_as(Defer::Interrupted) + self.deferred_as(Defer::TooMany);
        Status::of_pass(Signs {
            unusable: self.unusable,
            wrong: (self.failed > 0 && !safeguard_off!("failures-told"))
                || self.unparsed_lines > 0
                || self.problems.iter().any(|problem| problem.class != Class::Interrupted)
                || self.expectations.iter().any(ExpectationStanding::degrades),
            stopped: (left > 0 && !safeguard_off!("limit-told")) || !self.problems.is_empty(),
            left: self.left_to.is_some(),
        })
    }
}

pub fn push<T>(list: &mut Vec<T>, item: T) {
    if list.len() < DETAILS {
        list.push(item);
    }
}
