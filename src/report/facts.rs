//! What a report says of the blobs that it rests on, with their checksums: what is taken away from
//! them later is missed by an audit.

use crc_fast::{CrcAlgorithm, checksum};
use serde::{Deserialize, Serialize};

/// The beginning of a journal of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// The journal's name in the ledger's folder.
    pub journal: String,
    /// How many of its bytes.
    pub bytes: u64,
    /// Their CRC-64/NVME, 16 hex digits.
    pub crc: String,
}

impl Reach {
    /// The first `bytes` bytes of `journal`, which have this checksum.
    pub fn new(journal: &str, bytes: u64, sum: u64) -> Self {
        Self { journal: journal.to_owned(), bytes, crc: format!("{sum:016x}") }
    }

    /// Whether `content`, which is all of the journal, still begins so.
    pub fn holds(&self, content: &[u8]) -> bool {
        let beginning = usize::try_from(self.bytes).ok().and_then(|bytes| content.get(..bytes));
        beginning.is_some_and(|bytes| {
            self.crc == format!("{:016x}", checksum(CrcAlgorithm::Crc64Nvme, bytes))
        })
    }
}

/// The facts that a report names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedFacts {
    /// SHA-256 of the manifest in hex, if there is a whole one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_sha256: Option<String>,
    /// What the pass wrote into the ledger, journal by journal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub journals: Vec<Reach>,
    /// Whether the run had a record before it did anything.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recorded: bool,
}

impl NamedFacts {
    /// Whether nothing is named.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
