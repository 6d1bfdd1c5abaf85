//! What earlier runs know of sources: refused logins, troubles that last.

use std::collections::BTreeMap;

use tokio::sync::OnceCell;

use crate::history::source_index::{self, SourceEntry};
use crate::state::store::{StateError, StateStore};

/// What the last run left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// Nothing.
    Nothing,
    /// A refusal that does not count any more.
    Stale,
}

/// What the index says of all sources, read once a run, and only if somebody asks.
#[derive(Default)]
pub struct KnownSources {
    entries: OnceCell<BTreeMap<String, SourceEntry>>,
}

impl KnownSources {
    /// The entries of the index in `state`, by the names of sources. An index that could not be
    /// read is read again by the next caller.
    pub(crate) async fn read(
        &self,
        state: &StateStore,
    ) -> Result<&BTreeMap<String, SourceEntry>, StateError> {
        let read = || async {
            let found = source_index::read(state).await?;
            Ok(found.map(|(index, _)| index.sources).unwrap_or_default())
        };
        self.entries.get_or_try_init(read).await
    }
}
