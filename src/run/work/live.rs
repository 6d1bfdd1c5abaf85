//! How a pass stands, by the names and the metadata of its blobs: one listing tells.

use std::collections::BTreeMap;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::message::PieceId;
use super::names::{Folder, Kind};
use crate::model::BlobName;
use crate::store::contract::{BlobInfo, Store, StoreError};

/// The metadata that tells when something was.
pub const AT: &str = "at";
/// The metadata of a result that tells whether a rest was handed on.
pub const REST: &str = "rest";

/// Files and bytes of a piece so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Files that are done with.
    pub files: u64,
    /// Files stored.
    pub ingested: u64,
    /// Files that failed.
    pub failed: u64,
    /// Bytes that arrived.
    pub bytes: u64,
}

impl Counts {
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
pub struct Sign {
    /// When.
    pub at: Option<OffsetDateTime>,
    /// How far it had come.
    pub counts: Counts,
    /// Of a result: whether a rest was handed on.
    pub rest: bool,
}

/// How a pass stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Pieces that workers are or were at.
    pub beats: BTreeMap<PieceId, Sign>,
    /// Pieces that are done.
    pub results: BTreeMap<PieceId, Sign>,
    /// All blobs of the pass.
    pub blobs: Vec<BlobName>,
}

impl State {
    /// Reads how the pass of `folder` stands.
    pub async fn read(store: &dyn Store, folder: &Folder) -> Result<Self, StoreError> {
        let mut state = Self::default();
        store.list(folder.prefix(), &mut |info| state.take(folder, &info)).await?;
        Ok(state)
    }

    fn take(&mut self, folder: &Folder, info: &BlobInfo) {
        let at = info.metadata.get(AT).and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
        let rest = info.metadata.get(REST).is_some_and(|rest| rest == "1");
        let sign = Sign { at, counts: Counts::of(info), rest };
        match folder.kind(&info.name) {
            Some(Kind::Beat(id)) => drop(self.beats.insert(id, sign)),
            Some(Kind::Result(id)) => drop(self.results.insert(id, sign)),
            _ => {}
        }
        self.blobs.extend(BlobName::new(info.name.clone()).ok());
    }

    /// Whether a worker has ever been at piece `id`.
    pub fn was_begun(&self, id: PieceId) -> bool {
        self.beats.contains_key(&id) || self.results.contains_key(&id)
    }

    /// Every part of each of `pieces` pieces: those with results, and the one that each waits for,
    /// if it does.
    pub fn parts(&self, pieces: u32) -> (Vec<PieceId>, Vec<PieceId>) {
        let (mut done, mut missing) = (Vec::new(), Vec::new());
        for number in 0..pieces {
            let mut id = PieceId::first(number);
            loop {
                match self.results.get(&id) {
                    None => missing.push(id),
                    Some(sign) => {
                        done.push(id);
                        if sign.rest {
                            id = id.rest();
                            continue;
                        }
                    }
                }
                break;
            }
        }
        (done, missing)
    }

    /// When it was last heard of.
    pub fn heard(&self) -> Option<OffsetDateTime> {
        self.beats.values().chain(self.results.values()).filter_map(|sign| sign.at).max()
    }

    /// How far it has come: results, and the pieces that workers are at.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
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
        let sign = |rest| Sign { at: None, counts: Counts { files: 1, ..Counts::default() }, rest };
        let mut state = State::default();
        let (first, second) = (PieceId::first(0), PieceId::first(1));
        assert_eq!(state.parts(2), (vec![], vec![first, second]));
        state.results.insert(first, sign(true));
        state.beats.insert(first, sign(false));
        state.beats.insert(second, sign(false));
        assert_eq!(state.parts(2), (vec![first], vec![first.rest(), second]));
        assert!(state.was_begun(second) && !state.was_begun(first.rest()));
        assert_eq!(state.counts().files, 2);
        state.results.insert(first.rest(), sign(false));
        state.results.insert(second, sign(false));
        assert_eq!(state.parts(2), (vec![first, first.rest(), second], vec![]));
    }
}
