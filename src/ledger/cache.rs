//! Ledgers that a long-lived process has read before: one that has not changed is not read again.
//!
//! Two requests prove that a ledger is as it was: the head has its tag, and the one journal that
//! may still grow has its length. A sealed journal does not change, and any other change replaces
//! the head.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::ledger::blobs::LedgerBlobs;
use crate::ledger::error::LedgerError;
use crate::ledger::loaded::LedgerLoaded;

/// Files of all ledgers that are kept, at most: 32 bytes each, and some hundred for what is not
/// folded yet.
const MOST_FILES: usize = 200_000;
/// Ledgers that are kept, at most.
const MOST_LEDGERS: usize = 10_000;

/// See the module. Cloning it copies nothing. By itself it keeps nothing: [`LedgerCache::keeping`]
/// does.
#[derive(Clone, Debug, Default)]
pub struct LedgerCache {
    kept: Option<Arc<Mutex<HashMap<String, LedgerLoaded>>>>,
}

impl LedgerCache {
    /// One that keeps what was read, for a process that looks at the same sources again and again.
    pub fn keeping() -> Self {
        Self { kept: Some(Arc::default()) }
    }

    fn kept(&self) -> Option<MutexGuard<'_, HashMap<String, LedgerLoaded>>> {
        self.kept.as_ref().map(|kept| kept.lock().expect("no code panics while it holds this lock"))
    }

    /// The ledger of `shelf` as it was read last, if it has not changed.
    pub(crate) async fn current(
        &self,
        shelf: &LedgerBlobs,
    ) -> Result<Option<LedgerLoaded>, LedgerError> {
        let Some(loaded) = self.kept().and_then(|kept| kept.get(&shelf.source).cloned()) else {
            return Ok(None);
        };
        if loaded.is_current(shelf).await? {
            return Ok(Some(loaded));
        }
        self.kept().map(|mut kept| kept.remove(&shelf.source));
        Ok(None)
    }

    /// Keeps what was read, if there is room and a later look can tell whether it has changed.
    pub(crate) fn keep(&self, shelf: &LedgerBlobs, loaded: &LedgerLoaded) {
        let Some(mut kept) = self.kept() else { return };
        kept.remove(&shelf.source);
        let files: usize = kept.values().map(|other| other.index.len()).sum();
        if loaded.is_cheap_to_check()
            && kept.len() < MOST_LEDGERS
            && files + loaded.index.len() <= MOST_FILES
        {
            kept.insert(shelf.source.clone(), loaded.clone());
        }
    }
}
