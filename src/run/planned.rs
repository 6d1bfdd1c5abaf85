//! Files that a run would fetch, each with the names that it would get.
//!
//! A million of them are in memory as they were listed; what is said of each is made when it is
//! asked for.

use std::fmt;

use crate::model::{BlobName, RemotePath};
use crate::run::planned_members::PlannedMembers;
use crate::transfer::request::Transfer;
use crate::transfer::transfers::Transfers;

/// A file that would be fetched.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Planned {
    /// Its path.
    #[serde(serialize_with = "as_text")]
    pub path: RemotePath,
    /// Its size, if the source tells.
    pub size: Option<u64>,
    /// When it was last modified, RFC 3339, if the source tells.
    pub modified: Option<String>,
    /// Why: `new`, `changed`, `again`.
    pub why: &'static str,
    /// Whether it must be looked at again first, because it may still be written.
    pub unsettled: bool,
    /// The name of its blob, as things are now. `None`: it is an archive, of
    /// which only members are stored, or it gets no name.
    pub blob: Option<BlobName>,
    /// Where its members go, if it is an archive by its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members: Option<PlannedMembers>,
    /// Why it gets none, so that it will fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nameless: Option<String>,
}

fn as_text<S: serde::Serializer>(path: &RemotePath, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(path)
}

/// The names that a file would get, that of its own blob and those of its members; or why it gets
/// none.
pub(crate) type PlannedNames = Result<(Option<BlobName>, Option<PlannedMembers>), String>;

/// Says which names a file would get.
pub(crate) type NamesOf = Box<dyn Fn(&Transfer) -> PlannedNames + Send + Sync>;

/// Files that would be fetched, in the listing's order: those that must be looked at again first
/// come last.
pub struct PlannedFiles {
    files: Transfers,
    /// How many of them need no second look.
    settled: usize,
    names_of: NamesOf,
}

impl fmt::Debug for PlannedFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl PlannedFiles {
    /// None at all.
    pub(crate) fn none() -> Self {
        let (settled, unsettled) = (Transfers::default(), Transfers::default());
        Self::new(settled, unsettled, Box::new(|_| Ok((None, None))))
    }

    pub(crate) fn new(settled: Transfers, unsettled: Transfers, names_of: NamesOf) -> Self {
        let (settled, mut files) = (settled.len(), settled);
        files.extend(unsettled);
        Self { files, settled, names_of }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The size of each, if the source tells.
    pub fn sizes(&self) -> impl Iterator<Item = Option<u64>> + '_ {
        self.files.iter().map(|one| one.file.size)
    }

    /// Each, in the listing's order.
    pub fn iter(&self) -> impl Iterator<Item = Planned> + '_ {
        self.files.iter().enumerate().map(|(place, one)| self.planned(place, one))
    }

    /// Each, in the order of paths.
    pub(crate) fn by_path(&self) -> impl Iterator<Item = Planned> + '_ {
        let mut places: Vec<usize> = (0..self.files.len()).collect();
        places.sort_by_key(|place| self.files.get(*place).map(|one| &one.file.path));
        places.into_iter().filter_map(|place| Some(self.planned(place, self.files.get(place)?)))
    }

    fn planned(&self, place: usize, one: &Transfer) -> Planned {
        let named = (self.names_of)(one);
        let nameless = named.as_ref().err().cloned();
        let (blob, members) = named.unwrap_or_default();
        Planned {
            blob,
            members,
            nameless,
            size: one.file.size,
            modified: one.file.modified.and_then(|modified| {
                let at = modified.at.replace_nanosecond(0).unwrap_or(modified.at);
                at.format(&time::format_description::well_known::Rfc3339).ok()
            }),
            why: one.why.word(),
            unsettled: place >= self.settled,
            path: one.file.path.clone(),
        }
    }
}
