//! Why a piece of work, or the plan of one, could not be done.

use crate::ledger::error::LedgerError;
use crate::model::failure::{Class, Failure};
use crate::state::store::StateError;
use crate::store::contract::StoreError;

/// Why a message could not be dealt with. The queue brings it again.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// Storage.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A blob of state.
    #[error(transparent)]
    State(#[from] StateError),
    /// A blob of the pass cannot be read.
    #[error("reading `{blob}`: {why}")]
    Damaged {
        /// Its name.
        blob: String,
        /// What is wrong with it.
        why: String,
    },
    /// Another worker may be at it by now.
    #[error(
        "the lease of this piece was lost, so another worker may be at it; what was done is \
        recorded"
    )]
    Lost,
}

impl Failure for WorkError {
    fn class(&self) -> Class {
        match self {
            WorkError::Store(error) => error.class(),
            WorkError::Ledger(error) => error.class(),
            WorkError::State(error) => error.class(),
            WorkError::Damaged { .. } => Class::Ledger,
            WorkError::Lost => Class::Interrupted,
        }
    }

    fn is_transient(&self) -> bool {
        match self {
            WorkError::Store(error) => error.is_transient(),
            WorkError::Ledger(error) => error.is_transient(),
            WorkError::State(error) => error.is_transient(),
            WorkError::Damaged { .. } => false,
            WorkError::Lost => true,
        }
    }
}
