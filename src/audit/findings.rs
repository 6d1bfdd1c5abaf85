//! What an audit found: what was checked, what does not hold, what an operator should know.

use serde::Serialize;

/// How many violations of a source are told in full; beyond that they are only counted.
pub const DETAILS: usize = 1_000;

/// What is claimed to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Invariant {
    /// A record of the ledger, or an archive's manifest, implies its blobs: version, size, MD5.
    I1,
    /// At most one blob for each path, version and member.
    I3,
    /// At most one record for each path and version.
    I4,
    /// No blob holds anything but one complete version of its file.
    I5,
    /// No record and no blob speaks of a version that its own path, size and time do not make.
    I6,
    /// Under `overwrite` a blob holds the version that was recorded last.
    I8,
    /// The sums of a report.
    I9,
    /// A run's manifest tells what its report counts, and what it tells is in the store.
    #[serde(rename = "manifest")]
    Manifest,
    /// Each fact is named by another one, and is as that one says.
    #[serde(rename = "witness")]
    Witness,
    /// The ledger can be read, and its parts agree.
    #[serde(rename = "ledger")]
    Ledger,
}

impl Invariant {
    /// The word for reports.
    pub fn word(self) -> &'static str {
        match self {
            Invariant::I1 => "I1",
            Invariant::I3 => "I3",
            Invariant::I4 => "I4",
            Invariant::I5 => "I5",
            Invariant::I6 => "I6",
            Invariant::I8 => "I8",
            Invariant::I9 => "I9",
            Invariant::Manifest => "manifest",
            Invariant::Witness => "witness",
            Invariant::Ledger => "ledger",
        }
    }
}

/// Something that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Violation {
    /// What should hold.
    pub invariant: Invariant,
    /// The blob that it is about, if there is one.
    pub blob: Option<String>,
    /// The file's path at the source, percent-escaped as in metadata, if it is known.
    pub path: Option<String>,
    /// What was found.
    pub message: String,
}

/// Violations: all are counted, the first [`DETAILS`] are told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Violations {
    /// How many there are.
    pub total: u64,
    /// The first of them.
    pub first: Vec<Violation>,
}

impl Violations {
    /// Adds one.
    pub fn add(
        &mut self,
        invariant: Invariant,
        blob: Option<&str>,
        path: Option<&str>,
        message: impl Into<String>,
    ) {
        self.total += 1;
        if self.first.len() < DETAILS {
            self.first.push(Violation {
                invariant,
                blob: blob.map(str::to_owned),
                path: path.map(str::to_owned),
                message: message.into(),
            });
        }
    }

    /// Adds all of `other`.
    pub fn append(&mut self, other: Self) {
        self.total += other.total;
        let room = DETAILS.saturating_sub(self.first.len());
        self.first.extend(other.first.into_iter().take(room));
    }
}

/// What was checked of a source, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AuditChecked {
    /// Records of the ledger.
    pub records: u64,
    /// Versions of files that they speak of.
    pub versions: u64,
    /// Blobs that say that they are this source's.
    pub blobs: u64,
    /// Archives whose manifests were read.
    pub archives: u64,
    /// Blobs of members that these name.
    pub members: u64,
    /// Reports of runs.
    pub reports: u64,
    /// Manifests of runs.
    pub manifests: u64,
    /// Lines in them.
    pub lines: u64,
    /// Blobs whose bytes were read and hashed.
    pub downloaded: u64,
    /// How many bytes that were.
    pub downloaded_bytes: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What is no violation, but should be known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AuditNotes {
    /// Runs that began and did not end, or are under way. The next run takes up what they left.
    pub unfinished_runs: Vec<String>,
    /// Manifests of runs without a report: these runs were killed, or are under way.
    pub manifests_without_report: u64,
    /// Blobs of versions that no record speaks of, as a kill between commit and record leaves them.
    pub unrecorded: u64,
    /// Blobs of versions whose records were folded away when later ones came.
    pub earlier_versions: u64,
    /// Blobs whose names an earlier layout gave: today's settings would name them otherwise.
    #[serde(skip_serializing_if = "is_zero")]
    pub earlier_names: u64,
    /// Blobs where this source's belong that do not say that they are ours.
    pub foreign: u64,
    /// Reports of releases that wrote no manifests.
    pub reports_without_manifest: u64,
    /// Reports that say themselves that their manifests lack lines.
    pub incomplete_manifests: u64,
    /// Blobs and lines that could not be checked in full: a name too long for metadata or with a
    /// secret in it, an archive's manifest that is too large.
    pub unprovable: u64,
    /// Originals in quarantine.
    pub quarantined: u64,
    /// Reports of earlier builds, which name no checksums of what they rest on.
    pub reports_without_facts: u64,
    /// Blobs of runs before the first report that is there: earlier ones were removed.
    pub before_reports: u64,
}

/// What an audit found of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The source's name.
    pub source: String,
    /// What was checked.
    pub checked: AuditChecked,
    /// What should be known.
    pub notes: AuditNotes,
    /// What does not hold.
    pub violations: Violations,
}
