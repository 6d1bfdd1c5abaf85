//! What earlier runs know of sources: refused logins, troubles that last.

use std::collections::BTreeMap;

use crate::run::source_index::SourceEntry;

/// What the last run left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// Nothing.
    Nothing,
    /// A refusal that does not count any more.
    Stale,
}

/// What the index says of all sources, read once a run, and only if somebody asks.
pub type KnownSources = tokio::sync::OnceCell<BTreeMap<String, SourceEntry>>;
