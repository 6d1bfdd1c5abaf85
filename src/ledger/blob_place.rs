//! The place that the blobs of a source go to, as a ledger notes it.

use serde::{Deserialize, Serialize};

use crate::store::contract::Store;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobPlace {
    /// Its address.
    pub address: String,
    /// Whether the ledger is there too: then a copy of the place is a copy of both.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub with_state: bool,
}

impl BlobPlace {
    /// The place that `store` puts blobs in.
    pub(crate) fn of(store: &dyn Store) -> Self {
        Self { address: store.address().to_owned(), with_state: store.holds_state() }
    }

    /// Whether blobs that went to this place are not in `now`. A place that holds the ledger too is
    /// the same under any address: whoever moved the ledger moved the blobs with it.
    pub(crate) fn is_left_for(&self, now: &Self) -> bool {
        self.address != now.address && !(self.with_state && now.with_state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_holds_the_ledger_moves_with_it_and_another_does_not() {
        let place = |address: &str, with_state| BlobPlace { address: address.into(), with_state };
        for (before, now, is_left) in [
            (place("a", true), place("a", true), false),
            (place("a", true), place("b", true), false),
            (place("a", true), place("a", false), false),
            (place("a", false), place("a", true), false),
            (place("a", true), place("b", false), true),
            (place("a", false), place("b", true), true),
            (place("a", false), place("b", false), true),
        ] {
            assert_eq!(before.is_left_for(&now), is_left, "{before:?} {now:?}");
        }
    }
}
