//! Why a write to a folder failed: by the file system, or by a rule of stores.

use std::io::{self};

use crate::model::BoxError;
use crate::store::contract::{Condition, StoreKind};
use crate::store::folder::record::FolderBlob;

/// Why a step failed: the world, or a rule of the contract.
#[derive(Debug)]
pub(crate) enum Trouble {
    Io(io::Error),
    Rule(StoreKind, BoxError),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

pub fn rule(kind: StoreKind, why: impl Into<BoxError>) -> Trouble {
    Trouble::Rule(kind, why.into())
}

pub fn check(condition: &Condition, found: Option<&FolderBlob>) -> Result<(), Trouble> {
    match (condition, found) {
        (Condition::IfAbsent, Some(_)) => Err(rule(StoreKind::Condition, "it is there already")),
        (Condition::IfMatch(etag), found) if found.map(|found| &found.info.etag) != Some(etag) => {
            Err(rule(StoreKind::Condition, "it is another version by now"))
        }
        _ => Ok(()),
    }
}
