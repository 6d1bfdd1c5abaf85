//! Why a transfer failed: one of the rooms' errors, unchanged.

use crate::archive::contract::UnpackError;
use crate::ledger::error::LedgerError;
use crate::model::failure::{Class, Failure};
use crate::model::{BlobName, Md5};
use crate::rules::layout::NameError;
use crate::rules::verify::Mismatch;
use crate::runtime::checksum::Gone;
use crate::source::contract::SourceError;
use crate::store::contract::StoreError;

/// Why a transfer failed.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The source.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// What arrived is not what was promised.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// The archive.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The file gets no name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A blob name belongs to somebody else.
    #[error("writing `{name}`: {why}")]
    Conflict {
        /// The name.
        name: BlobName,
        /// Whose it is, or what it holds.
        why: &'static str,
    },
    /// Other bytes of equal path, size and time were stored before; these have this MD5.
    #[error("other bytes of equal size and time are stored already")]
    OtherBytes(Md5),
    /// The archive, whose original was kept.
    #[error("{cause}; its original is kept as `{name}`")]
    Quarantined {
        /// What failed.
        #[source]
        cause: Box<TransferError>,
        /// Where the original is.
        name: BlobName,
    },
    /// The run was told to stop, and the source did not come to an end soon enough.
    #[error("the run was stopped")]
    Interrupted,
    /// The archive at the source is another one by now, so its members may not take the place of
    /// others.
    #[error("the file changed at the source while it was being stored")]
    Changed,
    /// A task of ours ended in a panic.
    #[error("a defect in {0}")]
    Defect(&'static str),
}

impl TransferError {
    fn inner(&self) -> Option<&dyn Failure> {
        match self {
            TransferError::Source(error) => Some(error),
            TransferError::Mismatch(error) => Some(error),
            TransferError::Unpack(error) => Some(error),
            TransferError::Store(error) => Some(error),
            TransferError::Ledger(error) => Some(error),
            TransferError::Quarantined { cause, .. } => Some(cause.as_ref()),
            TransferError::Name(_)
            | TransferError::Conflict { .. }
            | TransferError::OtherBytes(_)
            | TransferError::Interrupted
            | TransferError::Changed
            | TransferError::Defect(_) => None,
        }
    }
}

impl From<Gone> for TransferError {
    fn from(_: Gone) -> Self {
        Self::Defect("hashing")
    }
}

impl Failure for TransferError {
    fn class(&self) -> Class {
        match (self, self.inner()) {
            (_, Some(inner)) => inner.class(),
            (TransferError::Conflict { .. } | TransferError::OtherBytes(_), None) => {
                Class::StoreConflict
            }
            (TransferError::Name(_), None) => Class::Name,
            (TransferError::Interrupted | TransferError::Changed, None) => Class::Interrupted,
            (_, None) => Class::Internal,
        }
    }
    fn is_transient(&self) -> bool {
        self.inner().is_some_and(Failure::is_transient)
    }
    fn hint(&self) -> &'static str {
        self.inner().map_or_else(|| self.class().hint(), Failure::hint)
    }
}
