//! The protocol with one thing wrong: each must be noticed. Most are made at the seams, so that the
//! program itself is the one that ships; the others leave a step out inside it. The last five were
//! found by this simulation.

use std::collections::HashSet;
use std::sync::Arc;

use blobferry::model::BlobName;
use blobferry::store::contract::{Condition, Etag, Store};
use blobferry::transfer::settings::Versions;
use bytes::Bytes;

use super::kind::Kind;
use super::process::{Owed, Process, Sim};
use super::schedule::schedule;
use super::store::effect_put;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A blob is acknowledged before it is there, so that its record comes first.
    RecordFirst,
    /// What the source says after a read is not looked at.
    NoReCheck,
    /// Blob names are not a function of path and version.
    RandomName,
    /// Blobs are written whatever stands there.
    BlindOverwrite,
    /// The tag that a blob is replaced under is read right before it is replaced.
    EtagAfterDownload,
    /// A file that ends early is recorded.
    RecordBeforeVerify,
    /// A file is removed at the source as soon as its blob is there.
    DeleteBeforeRecord,
    /// The result of a piece is written before what it tells of is in its journal.
    PieceBeforeJournal,
    /// A journal is appended to wherever it ends.
    BlindAppend,
    /// The head is replaced whatever it has become.
    BlindHead,
    /// A pass is closed though results are missing.
    CloseEarly,
    /// A journal is named in the head again though it was folded while an answer was lost.
    NamedTwice,
    /// A piece goes on in a journal that was folded and could not be removed.
    SealedJournal,
    /// A run goes on in any journal that nobody writes to, not in the last one only.
    AnyJournal,
    /// A write that another run was quicker with takes the place of what that one wrote.
    OvertakenWrite,
    /// Members take the place of others though their archive is another one by now.
    OldMembers,
    /// A run ends in the ledger before the last of its lines are in its manifest.
    LinesDropped,
    /// What a dead run recorded is looked for when its journals were folded and are gone.
    FoldedFirst,
    /// Files are committed while the beginning of their run is not noted yet.
    CommitBeforeBegin,
}

pub fn is_users(name: &BlobName) -> bool {
    !name.as_str().starts_with("_blobferry/")
}

impl Mutant {
    /// What is left out inside the program.
    pub fn step(self) -> Option<&'static str> {
        match self {
            Self::RecordBeforeVerify => Some("verify"),
            Self::CloseEarly => Some("all-results"),
            Self::NamedTwice => Some("journal-untouched"),
            Self::SealedJournal => Some("sealed-journal"),
            Self::AnyJournal => Some("last-journal"),
            Self::OvertakenWrite => Some("overtaken-write"),
            Self::OldMembers => Some("newest-archive"),
            Self::LinesDropped => Some("lines-before-end"),
            Self::FoldedFirst => Some("folded-untold"),
            Self::CommitBeforeBegin => Some("begin-before-commit"),
            _ => None,
        }
    }

    /// What becomes of a condition of a write.
    pub async fn condition(self, sim: &Sim, name: &BlobName, condition: Condition) -> Condition {
        match self {
            Self::BlindOverwrite if is_users(name) => Condition::Always,
            Self::BlindHead if name.as_str().ends_with("/head.json") => Condition::Always,
            Self::EtagAfterDownload if is_users(name) && sim.versions == Versions::Overwrite => {
                let found = sim.store.head(name).await.unwrap();
                found.map_or(Condition::IfAbsent, |found| Condition::IfMatch(found.etag))
            }
            _ => condition,
        }
    }

    /// What becomes of a name of a user's blob.
    pub fn name(self, sim: &Sim, name: BlobName) -> BlobName {
        if self != Self::RandomName || !is_users(&name) {
            return name;
        }
        BlobName::new(format!("{}-{:04x}", name.as_str(), sim.chance.below(1 << 16))).unwrap()
    }
}

/// A tag that no blob has.
pub fn made_up() -> Etag {
    Etag("acknowledged".into())
}

/// Whether these lines are to wait until the piece has its result.
pub fn owes(process: &Process, name: &BlobName, bytes: &[u8]) -> bool {
    let holds_files = bytes.windows(10).any(|window| window == b"\"t\":\"file\"");
    let waits = |owed: &Owed| matches!(owed, Owed::Lines(waiting, _) if waiting == name);
    holds_files || process.owed.lock().unwrap().iter().any(waits)
}

/// What was acknowledged is done at last, as far as this process lives to do it.
pub async fn settle(sim: &Arc<Sim>, process: &Arc<Process>) {
    let owed = std::mem::take(&mut *process.owed.lock().unwrap());
    for one in owed {
        match one {
            Owed::Blob(name, bytes, properties) => {
                drop(effect_put(sim, process, name, bytes, properties, Condition::Always).await)
            }
            Owed::Lines(name, bytes) => drop(append_at_end(sim, name, bytes).await),
        }
    }
}

/// Appends wherever the blob ends.
pub async fn append_at_end(sim: &Arc<Sim>, name: BlobName, bytes: Bytes) -> Option<u64> {
    let length = sim.store.content(name.as_str())?.len() as u64;
    let landed = sim.store.append(&name, bytes.clone(), length).await.ok()?;
    super::witness::appended(sim, &name, &bytes);
    Some(landed)
}

/// The mutant is noticed within `bound` schedules of one of these kinds, and for the right reason.
fn caught(mutant: Mutant, kinds: &[Kind], bound: u64, by: &str) {
    caught_within(mutant, kinds, 0..bound, by);
}

/// As [`caught`], among these schedules. Where those that show a mutant are rare, they begin near
/// one that is known to.
fn caught_within(mutant: Mutant, kinds: &[Kind], seeds: std::ops::Range<u64>, by: &str) {
    let mut reasons = HashSet::new();
    for seed in seeds.clone() {
        for kind in kinds {
            let (violations, _) = schedule(*kind, seed, Some(mutant), false);
            if violations.iter().any(|violation| violation.starts_with(by)) {
                // It is the mutant that is noticed, not something that is wrong anyway.
                assert_eq!(
                    schedule(*kind, seed, None, false).0,
                    Vec::<String>::new(),
                    "without the mutant: {kind:?} {seed}"
                );
                println!("{mutant:?} is noticed by schedule {seed} of {kind:?}: {}", violations[0]);
                return;
            }
            reasons.extend(violations);
        }
    }
    panic!(
        "{mutant:?} is not noticed by `{by}` in the schedules {seeds:?}; other findings: \
        {reasons:?}"
    );
}

#[test]
fn a_record_that_comes_before_its_blob_is_noticed() {
    caught(Mutant::RecordFirst, &[Kind::Inline], 100, "I1");
}

#[test]
fn a_file_that_is_not_looked_at_again_after_the_read_is_noticed() {
    caught(Mutant::NoReCheck, &[Kind::Inline], 200, "I5");
}

#[test]
fn names_by_chance_are_noticed() {
    caught(Mutant::RandomName, &[Kind::Inline], 100, "I3");
}

#[test]
fn blobs_that_are_written_over_blindly_are_noticed() {
    caught(Mutant::BlindOverwrite, &[Kind::Inline, Kind::Queue], 300, "I7");
}

#[test]
fn a_tag_that_is_read_after_the_download_is_noticed() {
    caught(Mutant::EtagAfterDownload, &[Kind::Contended], 500, "I8");
}

#[test]
fn a_record_before_the_size_is_verified_is_noticed() {
    caught(Mutant::RecordBeforeVerify, &[Kind::Inline], 200, "I5");
}

#[test]
fn a_removal_at_the_source_before_the_record_is_noticed() {
    caught(Mutant::DeleteBeforeRecord, &[Kind::Inline], 100, "I2");
}

#[test]
fn a_piece_that_is_acknowledged_before_its_journal_is_noticed() {
    caught(Mutant::PieceBeforeJournal, &[Kind::Queue], 100, "I1 result");
}

#[test]
fn appends_that_ignore_the_position_are_noticed() {
    caught(Mutant::BlindAppend, &[Kind::Mixed, Kind::Inline], 1_000, "I2");
}

#[test]
fn heads_that_are_replaced_blindly_are_noticed() {
    caught(Mutant::BlindHead, &[Kind::Mixed, Kind::Inline], 500, "I2");
}

#[test]
fn a_pass_that_is_closed_without_all_results_is_noticed() {
    caught(Mutant::CloseEarly, &[Kind::Queue], 100, "I9");
}

#[test]
fn a_folded_journal_that_is_named_again_is_noticed() {
    caught_within(Mutant::NamedTwice, &[Kind::Contended, Kind::Inline], 290..3_000, "I2");
}

#[test]
fn a_piece_that_goes_on_in_a_folded_journal_is_noticed() {
    caught(Mutant::SealedJournal, &[Kind::Queue], 500, "I2");
}

#[test]
fn records_in_an_earlier_journal_are_noticed() {
    caught(Mutant::AnyJournal, &[Kind::Inline], 2_000, "I2");
}

#[test]
fn an_overtaken_write_is_noticed() {
    caught(Mutant::OvertakenWrite, &[Kind::Contended], 2_000, "I8");
}

#[test]
fn old_members_in_the_place_of_newer_ones_are_noticed() {
    caught_within(Mutant::OldMembers, &[Kind::Contended], 800..1_300, "I8");
}

#[test]
fn a_run_that_ends_before_its_last_lines_are_written_is_noticed() {
    caught(Mutant::LinesDropped, &[Kind::Inline], 500, "I11");
}

#[test]
fn journals_of_a_dead_run_that_are_folded_before_they_are_told_are_noticed() {
    caught(Mutant::FoldedFirst, &[Kind::Inline, Kind::Mixed], 1_000, "I11");
}

#[test]
fn a_commit_before_the_beginning_of_its_run_is_noticed() {
    caught(Mutant::CommitBeforeBegin, &[Kind::Inline], 200, "I12");
}
