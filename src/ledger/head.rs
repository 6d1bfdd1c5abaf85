//! The head of a ledger: which blobs are its state now. Replaced only under the tag that it was
//! read with.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::ledger::blob_place::BlobPlace;
use crate::ledger::error::{BadState, SCHEMA};
use crate::ledger::record::{checked_line, crc, verify_line};
use crate::model::{BlobName, hex};
use crate::runtime::random;
use crate::source::contract::ShareId;

/// A blob of a snapshot, and what it must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// Its name below the ledger's folder.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// CRC-64/NVME of its bytes, in hex.
    pub crc: String,
    /// How many files it tells of.
    pub entries: u64,
}

impl Piece {
    /// Refuses bytes that are not those that were written.
    pub(crate) fn verify(&self, blob: &BlobName, bytes: &[u8]) -> Result<(), BadState> {
        let bad = |why: String| Err(BadState::Blob { blob: blob.as_str().to_owned(), why });
        if bytes.len() as u64 != self.bytes {
            return bad(format!("it has {} bytes instead of {}", bytes.len(), self.bytes));
        }
        if crc(bytes) != self.crc {
            return bad("its checksum does not hold".to_owned());
        }
        Ok(())
    }
}

/// Which blobs are the ledger's state. What it names is there; what it does not name counts for
/// nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// See [`SCHEMA`].
    pub schema: u32,
    /// How often journals were folded into a snapshot. 0: there is none yet.
    pub generation: u64,
    /// The snapshot's index: what a run reads. `None` while there is no snapshot.
    pub index: Option<Piece>,
    /// The snapshot's records in full, in shards by the hash of the path; their number is a power
    /// of two, or none.
    pub shards: Vec<Option<Piece>>,
    /// Journals that are not folded yet, by name, in the order in which they were planned.
    pub journals: Vec<String>,
    /// Runs that began and had not ended when their journals were folded.
    pub open: Vec<String>,
    /// Runs of which no manifest may have told all that they recorded when their journals were
    /// folded, and how many records those are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub untold: BTreeMap<String, u64>,
    /// The pass that is under way in pieces, if there is one: no other is planned before it is
    /// closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass: Option<OpenPass>,
    /// Whether the source's times move at every look.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restless: bool,
    /// The settings that name blobs, if a run said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<String>,
    /// Which file system the source's share is, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<ShareId>,
    /// Where the blobs of the source are. Earlier releases did not note this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<BlobPlace>,
}

/// A pass over the source that was planned into pieces of work and is not closed yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenPass {
    /// Its own name, which no other pass has.
    pub id: String,
    /// The run that it belongs to.
    pub run: String,
    /// When it was planned.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
}

/// The member that tells where the state is.
const MOVED: &str = "moved_to";
/// No release had, or will have, ledgers of this version: one that knows nothing of moves refuses
/// it as that of a later release.
const MOVED_SCHEMA: u32 = 1_000_000;

/// What stands in the place of a head whose state is in `state` now.
pub fn moved(state: &str) -> Vec<u8> {
    checked_line(&serde_json::json!({ "schema": MOVED_SCHEMA, MOVED: state }))
}

impl Head {
    /// The head of a ledger that holds nothing.
    pub fn empty() -> Self {
        Self {
            schema: SCHEMA,
            generation: 0,
            index: None,
            shards: Vec::new(),
            journals: Vec::new(),
            open: Vec::new(),
            untold: BTreeMap::new(),
            pass: None,
            restless: false,
            layout: None,
            share: None,
            place: None,
        }
    }

    /// As it is stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        checked_line(self)
    }

    /// Reads what [`Head::to_bytes`] wrote.
    pub(crate) fn parse(blob: &BlobName, bytes: &[u8]) -> Result<Self, BadState> {
        let bad = |why: String| BadState::Blob { blob: blob.as_str().to_owned(), why };
        let value: serde_json::Value =
            serde_json::from_slice(bytes).map_err(|error| bad(error.to_string()))?;
        if let Some(state) = value[MOVED].as_str() {
            let (blob, state) = (blob.as_str().to_owned(), state.to_owned());
            return Err(BadState::Elsewhere { blob, state });
        }
        // Later releases may guard theirs in another way, so this is asked first.
        if let Some(found) = value["schema"].as_u64().filter(|found| *found > u64::from(SCHEMA)) {
            return Err(BadState::Future { blob: blob.as_str().to_owned(), found });
        }
        let line = bytes.strip_suffix(b"\n").ok_or_else(|| bad("it does not end".to_owned()))?;
        verify_line(line).map_err(|why| bad(why.to_string()))?;
        let head: Self = serde_json::from_value(value).map_err(|error| bad(error.to_string()))?;
        if !head.shards.is_empty() && !head.shards.len().is_power_of_two() {
            return Err(bad(format!("it names {} shards", head.shards.len())));
        }
        Ok(head)
    }

    /// Whether `bytes` are a head of [`moved`].
    pub(crate) fn is_moved(bytes: &[u8]) -> bool {
        serde_json::from_slice::<serde_json::Value>(bytes)
            .is_ok_and(|value| value[MOVED].is_string())
    }

    /// Every blob that it names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let pieces =
            self.index.iter().chain(self.shards.iter().flatten()).map(|piece| piece.name.as_str());
        pieces.chain(self.journals.iter().map(String::as_str))
    }
}

/// A name that no other blob has, with the time in it, so that orphans can be told from what is
/// being written now.
pub(crate) fn new_name(kind: &str, ending: &str) -> String {
    let mut nonce = [0u8; 8];
    random::of_name(&mut nonce);
    format!("{kind}-{}-{}{ending}", stamp(OffsetDateTime::now_utc()), hex(&nonce))
}

/// A moment as names tell it: equally long for each, ordered like time.
pub fn stamp(at: OffsetDateTime) -> String {
    let (date, time) = (at.date(), at.time());
    format!(
        "{:04}{:02}{:02}T{:02}{:02}{:02}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}

/// When a blob of [`new_name`] got its name; `None` for any other.
pub(crate) fn stamp_of(name: &str) -> Option<&str> {
    let at = name.split('-').rev().nth(1)?;
    (at.len() == 16 && at.ends_with('Z') && at.as_bytes()[8] == b'T').then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob() -> BlobName {
        BlobName::new("head.json").expect("a name")
    }

    #[test]
    fn every_bit_of_a_head_is_guarded() {
        let piece = Piece { name: new_name("index", ""), bytes: 1, crc: crc(b"x"), entries: 1 };
        let head = Head {
            index: Some(piece),
            open: vec!["run".into()],
            journals: vec!["j".into()],
            ..Head::empty()
        };
        let bytes = head.to_bytes();
        assert_eq!(Head::parse(&blob(), &bytes).ok(), Some(head));
        assert!(Head::parse(&blob(), &bytes[..bytes.len() - 1]).is_err(), "without its end");
        for at in 0..bytes.len() - 1 {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                assert!(Head::parse(&blob(), &flipped).is_err(), "bit {bit} of byte {at}");
            }
            assert!(Head::parse(&blob(), &bytes[..at]).is_err());
        }
    }

    #[test]
    fn the_head_of_a_state_that_was_moved_tells_where_it_is() {
        let bytes = moved("https://x/state");
        let told = Head::parse(&blob(), &bytes).expect_err("it is elsewhere");
        assert!(told.to_string().contains("is in `https://x/state`"), "{told}");
        assert!(Head::is_moved(&bytes) && !Head::is_moved(&Head::empty().to_bytes()));
        // A release that knows nothing of this asks for the schema first, and refuses it.
        let value: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
        assert!(value["schema"].as_u64().is_some_and(|schema| schema > u64::from(SCHEMA)));
    }

    #[test]
    fn names_tell_their_time() {
        assert_eq!(stamp_of(&new_name("shard-000001-00", "")).map(str::len), Some(16));
        assert_eq!(stamp_of("journal-20261123T044003Z-00ff.ndjson"), Some("20261123T044003Z"));
        assert_eq!((stamp_of("head.json"), stamp_of("journal-00000.ndjson")), (None, None));
    }
}
