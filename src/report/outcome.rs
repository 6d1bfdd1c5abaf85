//! What became of one file.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::model::chain;
use crate::model::failure::Class;
use crate::report::proof::Proof;
use crate::rules::plan::Skip;

/// How the problem begins of a pass whose manifest lacks lines.
pub const MANIFEST_INCOMPLETE: &str = "its manifest is incomplete";

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
    pub(crate) fn has_line(&self) -> bool {
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
