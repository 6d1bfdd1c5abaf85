//! Outcomes to report. A file is counted by what became of it, so the equation
//! `listed = ingested + unchanged + skipped + gone + deferred + failed` holds by construction.

mod facts;
mod line;
mod status;
mod text;

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::failpoint::left_out;
use crate::model::failure::Class;
use crate::model::{RemotePath, chain};
use crate::rules::plan::Skip;

pub use crate::report::facts::{NamedFacts, Reach};
pub use crate::report::line::{ArchiveClaim, BlobClaim, Line, Proof, Word};
pub use crate::report::status::{Signs, Status};
pub use crate::report::text::in_bytes;

/// How the problem begins of a pass whose manifest lacks lines.
pub const MANIFEST_INCOMPLETE: &str = "its manifest is incomplete";

/// How many files a report tells in full, per kind; beyond that it only counts.
pub const DETAILS: usize = 1_000;

/// What became of one listed file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the store and in the ledger.
    Ingested(Ingested),
    /// It was there already.
    Unchanged,
    /// It was left alone.
    Skipped(Skip),
    /// A fresh listing of its folder does not show it any more.
    Gone,
    /// It is taken by a later run.
    Deferred(Defer),
    /// It could not be brought over.
    Failed(Problem),
}

/// What was stored of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ingested {
    /// Bytes read from the source.
    pub bytes: u64,
    /// Blobs written.
    pub stored: u64,
    /// Blobs that were there already with equal content.
    pub identical: u64,
    /// The original of an archive, written beside its members.
    pub originals: u64,
    /// Members of an archive that were not stored: directories, links.
    pub members_skipped: u64,
    /// Those of them that are no directories and not kept with the original either: the source has
    /// the only copy.
    pub members_left: u64,
    /// Those of the skipped members that are symbolic links.
    pub members_links: u64,
    /// Archives in the archive that could not be unpacked and are stored as the members that they
    /// are.
    pub partly: u64,
    /// The kind of archive that it is, if that is not read and it is stored as it is.
    pub not_unpacked: Option<&'static str>,
    /// Members in the archive, if it was unpacked.
    pub members: Option<u64>,
    /// What a reader should know: names that climb, collisions, members gone since the last
    /// version.
    pub notes: Vec<String>,
    /// What is wrong with it, though it is stored.
    pub problems: Vec<Problem>,
    /// Why the file is still at the source though it should be deleted or moved.
    pub after: Option<Problem>,
    /// What can be re-checked later.
    pub proof: Box<Proof>,
}

/// Why a file is taken later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Defer {
    /// It may still be written.
    Unsettled,
    /// It changed while it was read.
    Changed,
    /// The run was stopped before its turn came.
    Interrupted,
    /// The run had `limits.files` to do already.
    TooMany,
    /// The source lists it, and says that it is not there when it is asked for it.
    Unreachable,
}

impl Outcome {
    /// Whether the manifest has a line for it: what changed, what failed, what was in hand. What a
    /// rule leaves out, what waits for its turn and what is unchanged is told by number only.
    pub fn has_line(&self) -> bool {
        match self {
            Outcome::Ingested(_) | Outcome::Gone | Outcome::Failed(_) => true,
            Outcome::Unchanged => false,
            Outcome::Skipped(skip) => SKIPS_WITH_LINES.contains(&skip.word()),
            Outcome::Deferred(defer) => DEFERS_WITH_LINES.contains(defer),
        }
    }
}

/// Why files were skipped that a manifest names. `vanished` is in manifests of earlier builds only:
/// such a file is gone, or cannot be reached.
pub const SKIPS_WITH_LINES: &[&str] = &["vanished", "quarantined"];
/// Deferred files that a manifest names.
pub const DEFERS_WITH_LINES: &[Defer] = &[Defer::Unsettled, Defer::Changed, Defer::Unreachable];

impl Defer {
    /// The word for reports.
    pub fn word(self) -> &'static str {
        match self {
            Defer::Unsettled => "unsettled",
            Defer::Changed => "changed_during_read",
            Defer::Interrupted => "interrupted",
            Defer::TooMany => "too_many",
            Defer::Unreachable => "unreachable",
        }
    }
}

/// A failure for people: class, what happened, what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Its class.
    pub class: Class,
    /// The whole chain of causes on one safe line.
    pub message: String,
    /// What to do next.
    pub hint: Cow<'static, str>,
}

/// A problem that was written without a hint has that of its class.
impl<'de> Deserialize<'de> for Problem {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Told {
            class: Class,
            message: String,
            #[serde(default)]
            hint: Option<String>,
        }
        let Told { class, message, hint } = Told::deserialize(deserializer)?;
        let own = hint.filter(|hint| !hint.is_empty() && hint != class.hint());
        Ok(Self { hint: own.map_or(class.hint().into(), Cow::Owned), ..Self::new(class, message) })
    }
}

impl Problem {
    /// A problem of `class` with this text.
    pub fn new(class: Class, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), hint: class.hint().into() }
    }
}

/// A failure of a room as a problem of the report, with its whole chain.
pub fn problem<E: crate::model::failure::Failure>(error: &E) -> Problem {
    Problem { hint: error.hint().into(), ..Problem::new(error.class(), chain(error)) }
}

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
fn is_zero(number: &u64) -> bool {
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
    pub fn add_note(&mut self, path: &RemotePath, note: &str) {
        push(&mut self.notes, format!("{path}: {note}"));
    }

    /// Notes what a reader should know of the source or a folder of it.
    pub fn add_remark(&mut self, note: String) {
        push(&mut self.notes, note);
    }

    /// Notes a stored file that could not be removed or moved at the source.
    pub fn add_after_failed(&mut self, path: &RemotePath, problem: &Problem) {
        self.after_failed += 1;
        push(
            &mut self.problems,
            Problem::new(Class::AfterAction, format!("{path}: {}", problem.message)),
        );
    }

    /// Tells of something that went wrong, unless so much was told already.
    pub fn add_problem(&mut self, problem: Problem) {
        push(&mut self.problems, problem);
    }

    /// Counts a line of a listing that nobody can parse.
    pub fn add_unparsed(&mut self, line: String) {
        self.unparsed_lines += 1;
        if self.unparsed_samples.len() < 5 {
            self.unparsed_samples.push(line);
        }
    }

    /// Counts in what another part of the same pass came to.
    pub fn absorb(&mut self, part: SourceReport) {
        self.listed += part.listed;
        self.ingested += part.ingested;
        self.unchanged += part.unchanged;
        self.skipped += part.skipped;
        self.gone += part.gone;
        self.deferred += part.deferred;
        self.failed += part.failed;
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
        self.left_to = self.left_to.take().or(part.left_to);
        self.facts.journals.extend(part.facts.journals);
    }

    /// Whether there is nothing to tell but counts: all is well, and nothing was done.
    pub fn is_idle(&self) -> bool {
        let done = self.ingested + self.after_failed;
        self.status() == Status::Ok && self.report.is_none() && done == 0 && self.notes.is_empty()
    }

    /// How the pass ended.
    pub fn status(&self) -> Status {
        let interrupted =
            self.deferred_by_reason.get(Defer::Interrupted.word()).is_some_and(|count| *count > 0);
        Status::of_pass(Signs {
            unusable: self.unusable,
            wrong: (self.failed > 0 && !left_out!("failures-told"))
                || self.unparsed_lines > 0
                || self.problems.iter().any(|problem| problem.class != Class::Interrupted),
            stopped: interrupted || !self.problems.is_empty(),
            left: self.left_to.is_some(),
        })
    }
}

fn push<T>(list: &mut Vec<T>, item: T) {
    if list.len() < DETAILS {
        list.push(item);
    }
}

/// The report of a run. In JSON it begins with its `status`.
#[derive(Clone, Debug)]
pub struct Report {
    /// The run's id.
    pub run: String,
    /// When it began.
    pub started: OffsetDateTime,
    /// When it ended.
    pub ended: OffsetDateTime,
    /// Whether it was stopped from outside.
    pub interrupted: bool,
    /// Where blobs went.
    pub store: String,
    /// What went wrong with the run as a whole.
    pub problems: Vec<Problem>,
    /// Its passes, one a source.
    pub sources: Vec<SourceReport>,
}

impl Serialize for Report {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::{Error, SerializeStruct};
        let rfc3339 = |at: OffsetDateTime| {
            at.format(&time::format_description::well_known::Rfc3339).map_err(S::Error::custom)
        };
        let sources: Vec<_> = self
            .sources
            .iter()
            .map(|source| WithStatus { status: source.status(), source })
            .collect();
        let mut report = serializer.serialize_struct("Report", 8)?;
        report.serialize_field("status", &self.status())?;
        report.serialize_field("run", &self.run)?;
        report.serialize_field("started", &rfc3339(self.started)?)?;
        report.serialize_field("ended", &rfc3339(self.ended)?)?;
        report.serialize_field("interrupted", &self.interrupted)?;
        report.serialize_field("store", &self.store)?;
        report.serialize_field("problems", &self.problems)?;
        report.serialize_field("sources", &sources)?;
        report.end()
    }
}

#[derive(Serialize)]
struct WithStatus<'a> {
    status: Status,
    #[serde(flatten)]
    source: &'a SourceReport,
}

impl Report {
    /// How the run ended.
    pub fn status(&self) -> Status {
        let sources: Vec<Status> = self.sources.iter().map(SourceReport::status).collect();
        let wrong = self.problems.iter().any(|problem| problem.class != Class::Interrupted);
        let stopped = self.interrupted || !self.problems.is_empty();
        Status::of_run(&sources, Signs { wrong, stopped, ..Signs::default() })
    }

    /// The exit status that tells the same.
    pub fn exit_code(&self) -> u8 {
        self.status().exit_code()
    }
}

#[cfg(test)]
mod tests;
