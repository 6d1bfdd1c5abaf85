//! What earlier runs know of refused logins.

use std::collections::BTreeMap;

use crate::run::source_index::Refusal;

/// What the last run left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// Nothing.
    Nothing,
    /// A refusal that does not count any more.
    Stale,
}

/// The refusals of all sources, read once a run.
pub type Refusals = tokio::sync::OnceCell<BTreeMap<String, Option<Refusal>>>;
