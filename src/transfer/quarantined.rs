//! Which archives of a source are in quarantine.

use std::collections::HashSet;
use std::sync::OnceLock;

use crate::model::Version;
use crate::state::paths::StatePaths;
use crate::state::store::StateStore;
use crate::store::contract::{BlobInfo, StoreError};
use crate::transfer::refused_archives::RefusalCache;
use crate::transfer::settings::Source;

/// What a source has in quarantine.
#[derive(Debug, Default)]
pub struct Quarantine {
    versions: OnceLock<HashSet<String>>,
    again: bool,
    refused: RefusalCache,
}

impl Quarantine {
    /// Nothing is read yet. With `again`, what is there does not keep its files from being taken.
    pub fn new(again: bool) -> Self {
        Self { again, ..Self::default() }
    }

    /// Reads what `source` has there: one listing, and only where it uses a quarantine. Comes
    /// before the first transfer.
    pub async fn load(&self, state: &StateStore, source: &Source) -> Result<(), StoreError> {
        if !source.quarantine || self.versions.get().is_some() {
            return Ok(());
        }
        let folder = StatePaths::of(&source.name).quarantine_folder();
        let version = |blob: BlobInfo| blob.name.strip_prefix(&folder).map(str::to_owned);
        let versions =
            state.list(&folder, "listing the quarantine", version).await?.into_iter().collect();
        self.versions.get_or_init(|| versions);
        Ok(())
    }

    /// What limits have refused.
    pub(crate) fn refused(&self) -> &RefusalCache {
        &self.refused
    }

    /// Whether this version of a file is there and must not be taken.
    pub fn holds(&self, version: Version) -> bool {
        !self.again && self.has(version)
    }

    /// Whether this version of a file is there.
    pub fn has(&self, version: Version) -> bool {
        self.versions.get().is_some_and(|versions| versions.contains(&version.to_string()))
    }
}
