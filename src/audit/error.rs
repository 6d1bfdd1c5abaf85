//! Why an audit says nothing, and who is told how far it is.

use crate::ledger::error::LedgerError;
use crate::model::failure::{Class, Failure};
use crate::store::contract::StoreError;

/// Why nothing can be said: the store could not be read.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// A blob or a listing.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ledger, because of the store.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl Failure for AuditError {
    fn class(&self) -> Class {
        match self {
            AuditError::Store(error) => error.class(),
            AuditError::Ledger(error) => error.class(),
        }
    }
    fn is_transient(&self) -> bool {
        false
    }
}

/// Who is told how far it is: what is done now, for people.
pub(crate) type AuditWatch<'a> = &'a (dyn Fn(&str) + Send + Sync);
