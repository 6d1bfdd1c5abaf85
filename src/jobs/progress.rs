//! How a pass stands, by the names and the metadata of its blobs: one listing tells.

use std::collections::BTreeMap;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::message::PieceId;
use super::names::{JobFolder, JobKind};
use crate::model::BlobName;
use crate::model::clocks::not_ahead;
use crate::store::contract::{BlobInfo, Store, StoreError};

/// A worker that was not heard of for so long is dead, or cut off: it misses its third beat.
const DEAD: time::Duration = time::Duration::seconds(60);

/// The metadata that tells when something was.
pub(crate) const AT: &str = "at";
/// The metadata of a result that tells whether a rest was handed on.
pub const REST: &str = "rest";

/// Files and bytes of a piece so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobCounts {
    /// Files that are done with.
    pub files: u64,
    /// Files stored.
    pub ingested: u64,
    /// Files that failed.
    pub failed: u64,
    /// Bytes that arrived.
    pub bytes: u64,
}

impl JobCounts {
    /// As metadata.
    pub fn pairs(self) -> [(&'static str, String); 4] {
        [
            ("files", self.files.to_string()),
            ("ingested", self.ingested.to_string()),
            ("failed", self.failed.to_string()),
            ("bytes", self.bytes.to_string()),
        ]
    }

    fn of(info: &BlobInfo) -> Self {
        let count =
            |name: &str| info.metadata.get(name).and_then(|text| text.parse().ok()).unwrap_or(0);
        Self {
            files: count("files"),
            ingested: count("ingested"),
            failed: count("failed"),
            bytes: count("bytes"),
        }
    }

    fn add(&mut self, other: Self) {
        self.files += other.files;
        self.ingested += other.ingested;
        self.failed += other.failed;
        self.bytes += other.bytes;
    }
}

/// A sign of life, or a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PieceSign {
    /// When.
    pub at: Option<OffsetDateTime>,
    /// How far it had come.
    pub counts: JobCounts,
    /// Of a result: whether a rest was handed on.
    pub rest: bool,
}

/// The parts of the pieces of a pass. A piece whose worker ran out of time hands a rest on, which
/// is its next part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PieceParts {
    /// Those with a result.
    pub done: Vec<PieceId>,
    /// Those that are waited for, at most one of each piece.
    pub missing: Vec<PieceId>,
}

/// How a pass stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PassProgress {
    /// Pieces that workers are or were at.
    pub beats: BTreeMap<PieceId, PieceSign>,
    /// Pieces that are done.
    pub results: BTreeMap<PieceId, PieceSign>,
    /// All blobs of the pass.
    pub blobs: Vec<BlobName>,
}

impl PassProgress {
    /// Reads how the pass of `folder` stands.
    pub async fn read(store: &dyn Store, folder: &JobFolder) -> Result<Self, StoreError> {
        let mut state = Self::default();
        store.list(folder.prefix(), &mut |info| state.take(folder, &info)).await?;
        Ok(state)
    }

    fn take(&mut self, folder: &JobFolder, info: &BlobInfo) {
        let at = info.metadata.get(AT).and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
        let rest = info.metadata.get(REST).is_some_and(|rest| rest == "1");
        let sign = PieceSign { at, counts: JobCounts::of(info), rest };
        match folder.kind(&info.name) {
            Some(JobKind::Beat(id)) => drop(self.beats.insert(id, sign)),
            Some(JobKind::Result(id)) => drop(self.results.insert(id, sign)),
            _ => {}
        }
        self.blobs.extend(BlobName::new(info.name.clone()).ok());
    }

    /// Whether a worker has ever been at piece `id`.
    pub(crate) fn was_begun(&self, id: PieceId) -> bool {
        self.beats.contains_key(&id) || self.results.contains_key(&id)
    }

    /// Pieces that workers are at, or died at.
    pub(crate) fn at_work(&self) -> impl Iterator<Item = PieceId> + '_ {
        self.beats.keys().copied().filter(|id| !self.results.contains_key(id))
    }

    /// Pieces whose workers died, as it seems at `now`.
    pub(crate) fn stranded(&self, now: OffsetDateTime) -> impl Iterator<Item = PieceId> + '_ {
        self.at_work().filter(move |id| self.beats[id].at.is_some_and(|at| now - at > DEAD))
    }

    /// Which piece the worker watches whose lane has just ended. Each lane that goes on has a
    /// current piece: its first one without a result. The k-th lane to end watches the k-th of
    /// these, by number; `None` if fewer lanes go on than have ended. The piece need not have been
    /// begun: a worker may have died with its message before its first beat.
    pub(crate) fn to_watch(&self, lanes: u32, pieces: u32) -> Option<PieceId> {
        let mut others: BTreeMap<u32, PieceId> = BTreeMap::new();
        for id in self.parts(pieces).missing {
            others.entry(id.number % lanes.max(1)).or_insert(id);
        }
        let ended = (lanes as usize).saturating_sub(others.len());
        let mut others: Vec<PieceId> = others.into_values().collect();
        others.sort_unstable();
        others.get(ended.checked_sub(1)?).copied()
    }

    /// The parts of all `pieces` pieces.
    pub fn parts(&self, pieces: u32) -> PieceParts {
        let mut parts = PieceParts::default();
        for number in 0..pieces {
            let mut id = PieceId::first(number);
            loop {
                match self.results.get(&id) {
                    None => parts.missing.push(id),
                    Some(sign) => {
                        parts.done.push(id);
                        if sign.rest {
                            id = id.rest();
                            continue;
                        }
                    }
                }
                break;
            }
        }
        parts
    }

    /// When it was last heard of, as far as is known at `now`.
    pub fn heard(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let signs = self.beats.values().chain(self.results.values());
        signs.filter_map(|sign| not_ahead(sign.at, now)).max()
    }

    /// How far it has come: results, and the pieces that workers are at.
    pub fn counts(&self) -> JobCounts {
        let mut counts = JobCounts::default();
        self.results.values().for_each(|sign| counts.add(sign.counts));
        self.beats
            .iter()
            .filter(|(id, _)| !self.results.contains_key(id))
            .for_each(|(_, sign)| counts.add(sign.counts));
        counts
    }
}

/// A moment as metadata tells it.
pub fn stamp(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).expect("a moment of our time has this form")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_is_over_when_every_part_has_a_result() {
        let sign = |rest| PieceSign {
            at: None,
            counts: JobCounts { files: 1, ..JobCounts::default() },
            rest,
        };
        let mut state = PassProgress::default();
        let (first, second) = (PieceId::first(0), PieceId::first(1));
        assert_eq!(state.parts(2), PieceParts { done: vec![], missing: vec![first, second] });
        state.results.insert(first, sign(true));
        state.beats.insert(first, sign(false));
        state.beats.insert(second, sign(false));
        assert_eq!(
            state.parts(2),
            PieceParts { done: vec![first], missing: vec![first.rest(), second] }
        );
        assert!(state.was_begun(second) && !state.was_begun(first.rest()));
        assert_eq!(state.counts().files, 2);
        state.results.insert(first.rest(), sign(false));
        state.results.insert(second, sign(false));
        assert_eq!(
            state.parts(2),
            PieceParts { done: vec![first, first.rest(), second], missing: vec![] }
        );
    }

    #[test]
    fn a_piece_is_stranded_when_its_worker_missed_three_beats() {
        let now = time::macros::datetime!(2026-11-23 10:00 UTC);
        let sign = |seconds| PieceSign {
            at: Some(now - time::Duration::seconds(seconds)),
            counts: JobCounts::default(),
            rest: false,
        };
        let mut state = PassProgress::default();
        let [dead, alive, done] = [0, 1, 2].map(PieceId::first);
        state.beats = [(dead, sign(61)), (alive, sign(59)), (done, sign(600))].into();
        state.results.insert(done, sign(500));
        assert_eq!(state.stranded(now).collect::<Vec<_>>(), [dead]);
        // Of three lanes one has ended: the worker that ended it looks after the first of the
        // others.
        let of_lanes = |lanes| state.to_watch(lanes, 3);
        assert_eq!((of_lanes(3), of_lanes(4)), (Some(dead), Some(alive)));
        assert_eq!((of_lanes(2), of_lanes(5)), (None, None));
        // A piece that nobody has begun counts as well: its message may be in dead hands.
        state.beats.clear();
        assert_eq!(state.to_watch(3, 3), Some(dead));
    }
}
