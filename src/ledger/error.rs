//! Why the ledger could not be read or written.

use crate::model::BoxError;
use crate::model::failure::{Class, Failure};
use crate::store::contract::{StoreError, StoreKind};

/// The version of the ledger's blobs. Those of a later release are refused, not guessed at. Version
/// 1 was one journal without a head, version 2 is release 0.1; both are taken over.
pub(crate) const SCHEMA: u32 = 3;

/// What is wrong with a blob of our state.
#[derive(Debug, thiserror::Error)]
pub enum BadState {
    /// A line is not one of ours, or its checksum does not hold.
    #[error("line {line} of `{blob}` is damaged")]
    Line {
        /// The blob's name.
        blob: String,
        /// The line's number, from 1.
        line: usize,
        /// What is wrong with it.
        #[source]
        cause: BoxError,
    },
    /// The blob as a whole is not what was written.
    #[error("`{blob}` is damaged: {why}")]
    Blob {
        /// The blob's name.
        blob: String,
        /// What is wrong with it.
        why: String,
    },
    /// The head names a blob that is not there.
    #[error("`{blob}` is missing, though the ledger's head names it")]
    Missing {
        /// The blob's name.
        blob: String,
    },
    /// There is no head, and something stands there that is only written under one.
    #[error(
        "`{blob}` is missing, though `{trace}` was written under it: was it removed, as by a rule \
        that deletes old blobs?"
    )]
    HeadLost {
        /// The head's name.
        blob: String,
        /// What stands there.
        trace: String,
    },
    /// There is no head, since the state is in another place.
    #[error(
        "the state of this destination is in `{state}`, as `{blob}` tells: set `[state]` to it"
    )]
    Elsewhere {
        /// The blob that tells.
        blob: String,
        /// Where the state is.
        state: String,
    },
    /// Written by a later release.
    #[error(
        "`{blob}` was written by a later release (schema {found}, this one knows {SCHEMA}): run \
        that release, or a later one"
    )]
    Future {
        /// The blob's name.
        blob: String,
        /// Its schema.
        found: u64,
    },
}

/// Why the ledger could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The store failed.
    #[error("the ledger of `{source_name}`")]
    Store {
        /// The source's name.
        source_name: String,
        /// What the store says.
        #[source]
        cause: Box<StoreError>,
    },
    /// The state holds something that we did not write, or lacks something that we did.
    #[error(
        "the ledger of `{source_name}` cannot be used (`blobferry ledger rebuild --source \
        {source_name}` makes it anew from the blobs)"
    )]
    Damaged {
        /// The source's name.
        source_name: String,
        /// What is wrong.
        #[source]
        cause: BadState,
    },
    /// The state is whole, but this release cannot read it, or not here.
    #[error("the ledger of `{source_name}`")]
    Future {
        /// The source's name.
        source_name: String,
        /// Which blob says so.
        #[source]
        cause: BadState,
    },
    /// An earlier write of this run failed, so nothing more is written.
    #[error("the ledger of this source is closed: {0}")]
    Closed(String),
}

impl LedgerError {
    /// Bad state of the ledger of `source`.
    pub fn bad(source: &str, cause: BadState) -> Self {
        let source_name = source.to_owned();
        match cause {
            BadState::Future { .. } | BadState::Elsewhere { .. } => {
                LedgerError::Future { source_name, cause }
            }
            _ => LedgerError::Damaged { source_name, cause },
        }
    }

    /// Whether something is not there that should be: the head, or what it names.
    pub fn is_missing(&self) -> bool {
        matches!(
            self,
            LedgerError::Damaged {
                cause: BadState::Missing { .. } | BadState::HeadLost { .. },
                ..
            }
        )
    }
}

impl Failure for LedgerError {
    fn class(&self) -> Class {
        match self {
            LedgerError::Store { cause, .. } if cause.kind != StoreKind::Condition => cause.class(),
            _ => Class::Ledger,
        }
    }
    fn is_transient(&self) -> bool {
        false
    }
    fn hint(&self) -> &'static str {
        match self {
            LedgerError::Store { cause, .. } if cause.kind != StoreKind::Condition => cause.hint(),
            _ => self.class().hint(),
        }
    }
}
