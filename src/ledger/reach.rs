//! How far a run wrote each journal, and the checksum of all that stands in it up to there: what
//! its report tells of the ledger.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, checksum, checksum_combine};

use crate::report::Reach;

/// The checksum of bytes.
pub fn sum(bytes: &[u8]) -> u64 {
    checksum(CrcAlgorithm::Crc64Nvme, bytes)
}

/// The checksum of bytes whose checksum is `before` with `more` behind them.
pub fn extended(before: u64, more: &Bytes) -> u64 {
    checksum_combine(CrcAlgorithm::Crc64Nvme, before, sum(more), more.len() as u64)
}

/// The journals that a run has written, each as far as it wrote. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reached(Arc<Mutex<BTreeMap<String, (u64, u64)>>>);

impl Reached {
    /// The run wrote `journal` up to `bytes`; all of them have this checksum.
    pub fn note(&self, journal: &str, bytes: u64, sum: u64) {
        let mut reached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reached.insert(journal.to_owned(), (bytes, sum));
    }

    /// All of them.
    pub fn all(&self) -> Vec<Reach> {
        let reached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reached.iter().map(|(name, (bytes, sum))| Reach::new(name, *bytes, *sum)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_holds_whatever_is_appended_and_not_when_a_line_is_gone() {
        let (reached, first, second) = (Reached::default(), "one\n", Bytes::from("two\n"));
        reached.note("j", 8, extended(sum(first.as_bytes()), &second));
        let [reach] = &reached.all()[..] else { panic!("one journal") };
        assert!(reach.holds(b"one\ntwo\n") && reach.holds(b"one\ntwo\nthree\n"));
        for content in ["one\n", "two\nthree\n", "one\nthree\n", "one\ntwp\n", ""] {
            assert!(!reach.holds(content.as_bytes()), "{content:?}");
        }
    }
}
