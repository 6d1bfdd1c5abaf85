//! Whether the files that a ledger knows are in the place that their source goes to now.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::blob_place::BlobPlace;
use super::blobs::LedgerBlobs;
use super::error::LedgerError;
use super::opened::Ledger;
use crate::runtime::retry::Policy;
use crate::store::contract::Store;

impl Ledger {
    /// This one, where blobs go to `place`.
    #[must_use]
    pub(crate) fn toward(mut self, place: BlobPlace) -> Self {
        self.place = Some(place);
        self
    }

    /// Where the files that are known went to, if that is another place than blobs go to now, with
    /// their number. Nothing is noted of places by earlier releases.
    pub(crate) fn moved_from(&self) -> Option<(BlobPlace, usize)> {
        let index = self.index();
        let (before, now) = (index.place()?, self.place.as_ref()?);
        (index.len() > 0 && before.is_left_for(now)).then(|| (before.clone(), index.len()))
    }
}

/// As [`Ledger::moved_from`], of the ledger of `source` as it is now; a source without a ledger has
/// none. `store` is where its blobs go.
pub(crate) async fn moved_from(
    store: Arc<dyn Store>,
    source: &str,
    policy: Policy,
) -> Result<Option<(BlobPlace, usize)>, LedgerError> {
    let (place, cancel) = (BlobPlace::of(store.as_ref()), CancellationToken::new());
    let source = source.to_owned();
    let shelf = LedgerBlobs { store, source, policy, cancel };
    if shelf.head_tag().await?.is_none() {
        return Ok(None);
    }
    let LedgerBlobs { store, source, policy, cancel } = shelf;
    let ledger = Ledger::open(store, &source, "check", policy, cancel).await?;
    Ok(ledger.toward(place).moved_from())
}
