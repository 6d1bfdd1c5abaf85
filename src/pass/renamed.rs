//! Files that were ingested while other settings named their blobs.

use crate::transfer::context::Pass;

/// What to say where the settings that name blobs have changed since files were ingested.
pub(crate) fn told(pass: &Pass) -> Option<String> {
    pass.ledger.has_other_names().then(|| {
        format!(
            "blobs are named in another way than before: {} known files keep the names that they \
             have",
            pass.ledger.len()
        )
    })
}
