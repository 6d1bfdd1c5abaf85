//! What came of each member of an archive in the store: its MD5, and what is odd about it.

use std::collections::{BTreeMap, HashMap};

use crate::model::{BlobName, Md5};
use crate::transfer::archive::places::MemberPlan;
use crate::transfer::commit::Stored;

/// A member that is in the store.
#[derive(Clone, Debug)]
pub(crate) struct StoredMember {
    /// Its place in the archive.
    pub place: usize,
    /// Its blob, if that is not the one of its plan.
    pub name: Option<BlobName>,
    /// Its MD5.
    pub md5: Md5,
    /// Whether it was there before this run.
    pub identical: bool,
    /// What the report should say of it.
    pub note: Option<String>,
}

impl StoredMember {
    /// The member at `place`, which was to go where `plan` says.
    pub fn new(place: usize, stored: Stored, plan: Option<&MemberPlan>) -> Self {
        let Stored { name, size: _, md5, identical, note } = stored;
        let is_planned = plan.is_some_and(|plan| plan.plain == name);
        Self { place, name: (!is_planned).then_some(name), md5, identical, note }
    }
}

/// Members that are in the store, by their places.
#[derive(Debug)]
pub(crate) struct StoredMembers {
    rows: Vec<StoredRow>,
    names: HashMap<usize, BlobName>,
    notes: BTreeMap<usize, String>,
}

#[derive(Clone, Copy, Debug)]
enum StoredRow {
    Absent,
    Here { md5: Md5, identical: bool },
}

impl StoredMembers {
    /// Of `count` members none.
    pub fn new(count: usize) -> Self {
        let rows = vec![StoredRow::Absent; count];
        Self { rows, names: HashMap::new(), notes: BTreeMap::new() }
    }

    /// One more is in the store.
    pub fn add(&mut self, member: StoredMember) {
        let StoredMember { place, name, md5, identical, note } = member;
        let Some(row) = self.rows.get_mut(place) else { return };
        *row = StoredRow::Here { md5, identical };
        self.names.extend(name.map(|name| (place, name)));
        self.notes.extend(note.map(|note| (place, note)));
    }

    /// The MD5 of the one at `place`, and whether it was there before this run; `None` if it is not
    /// in the store.
    pub fn get(&self, place: usize) -> Option<(Md5, bool)> {
        match self.rows.get(place)? {
            StoredRow::Absent => None,
            StoredRow::Here { md5, identical } => Some((*md5, *identical)),
        }
    }

    /// The blob of the one at `place`, if it is not the one of its plan.
    pub fn name(&self, place: usize) -> Option<&BlobName> {
        self.names.get(&place)
    }

    /// What the report should say, in the archive's order.
    pub fn notes(&self) -> impl Iterator<Item = &String> {
        self.notes.values()
    }

    /// How many were stored by this run, and how many were there before.
    pub fn counts(&self) -> (u64, u64) {
        let count = |wanted: bool| {
            let is = |row: &&StoredRow| {
                matches!(row,
                StoredRow::Here { identical, .. } if *identical == wanted)
            };
            self.rows.iter().filter(is).count() as u64
        };
        (count(false), count(true))
    }
}
