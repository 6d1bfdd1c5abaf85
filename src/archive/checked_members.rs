//! The members of an archive that were read and held: a row each, and apart what few of them have.

use std::collections::HashMap;

use bytes::Bytes;

use crate::archive::contract::{Member, MemberKind};
use crate::archive::member_table::MemberTable;
use crate::archive::nested::KeptInner;
use crate::archive::verify::Checked;
use crate::model::Md5;

/// Every member, in the archive's order: an archive may have a million of them.
#[derive(Debug, Default)]
pub struct CheckedMembers {
    /// What each thread has read.
    parts: Vec<CheckedPart>,
    /// Where each member is, the part and the row in it, where there are several parts.
    order: Vec<(u32, u32)>,
}

#[derive(Debug, Default)]
struct CheckedPart {
    members: MemberTable,
    rows: Vec<CheckedRow>,
    rare: HashMap<usize, CheckedRare>,
}

/// What most members have.
#[derive(Clone, Copy, Debug)]
struct CheckedRow {
    size: u64,
    md5: Md5,
    crc32: u32,
    has_md5: bool,
    has_crc32: bool,
    is_read: bool,
    /// Kept whole, and nothing to keep.
    is_kept_empty: bool,
}

/// What few have.
#[derive(Debug, Default)]
struct CheckedRare {
    kept: Option<Bytes>,
    taken: Option<u64>,
    unopened: Option<Box<KeptInner>>,
}

impl CheckedMembers {
    /// What several threads have read, of which `order` tells the one after the other: the number
    /// of a thread, and the place in what that one has read.
    pub(super) fn joined(threads: Vec<Self>, order: Vec<(u32, u32)>) -> Self {
        let part = |mut thread: Self| thread.parts.pop().unwrap_or_default();
        Self { parts: threads.into_iter().map(part).collect(), order }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match &self.parts[..] {
            [one] if self.order.is_empty() => one.rows.len(),
            _ => self.order.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts `checked` in the next place, which is its member's index from now on. Only while one
    /// thread reads.
    pub fn push(&mut self, checked: Checked) {
        if self.parts.is_empty() {
            self.parts.push(CheckedPart::default());
        }
        self.parts[0].push(checked);
    }

    /// Takes back all but the first `len`. Only while one thread reads.
    pub fn truncate(&mut self, len: usize) {
        if let Some(part) = self.parts.first_mut() {
            part.members.truncate(len);
            part.rows.truncate(len);
            part.rare.retain(|row, _| *row < len);
        }
    }

    fn row(&self, place: usize) -> (usize, usize) {
        match self.order.is_empty() {
            true => (0, place),
            false => (self.order[place].0 as usize, self.order[place].1 as usize),
        }
    }

    fn part(&self, place: usize) -> (&CheckedPart, usize) {
        let (part, row) = self.row(place);
        (&self.parts[part], row)
    }

    /// The one at `place`, which must be there.
    pub fn at(&self, place: usize) -> Checked {
        let (part, at) = self.part(place);
        let (row, rare) = (&part.rows[at], part.rare.get(&at));
        Checked {
            member: self.member(place),
            size: row.size,
            md5: row.has_md5.then_some(row.md5),
            kept: self.kept(place),
            taken: rare.and_then(|rare| rare.taken),
            crc32: row.has_crc32.then_some(row.crc32),
            read: row.is_read,
            unopened: rare.and_then(|rare| rare.unopened.clone()),
        }
    }

    /// The one at `place`, if it is there.
    pub fn get(&self, place: usize) -> Option<Checked> {
        (place < self.len()).then(|| self.at(place))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Checked> {
        (0..self.len()).map(|place| self.at(place))
    }

    /// What the archive says of the one at `place`.
    pub fn member(&self, place: usize) -> Member {
        let (part, row) = self.part(place);
        Member { index: place, ..part.members.member(row) }
    }

    /// The members that are of this kind.
    pub fn of_kind(&self, kind: MemberKind) -> impl Iterator<Item = Member> {
        let is_it = move |place: &usize| {
            let (part, row) = self.part(*place);
            part.members.kind(row) == kind
        };
        (0..self.len()).filter(is_it).map(|place| self.member(place))
    }

    /// Whether the one at `place` need not be read again: it was kept, taken, or not asked for.
    pub(crate) fn is_done(&self, place: usize) -> bool {
        let (part, at) = self.part(place);
        let row = &part.rows[at];
        let is_here = |rare: &CheckedRare| rare.kept.is_some() || rare.taken.is_some();
        !row.is_read || row.is_kept_empty || part.rare.get(&at).is_some_and(is_here)
    }

    /// Whether the one at `place` is in an archive that is in the outermost one.
    pub(crate) fn is_nested(&self, place: usize) -> bool {
        let (part, row) = self.part(place);
        part.members.is_nested(row)
    }

    /// All bytes of the one at `place`, if they were kept.
    pub fn kept(&self, place: usize) -> Option<Bytes> {
        let (part, row) = self.part(place);
        let rare = part.rare.get(&row).and_then(|rare| rare.kept.clone());
        rare.or_else(|| part.rows[row].is_kept_empty.then(Bytes::new))
    }

    /// Those of which there is more than a row, in order.
    fn rare(&self) -> impl Iterator<Item = (usize, &CheckedRare)> {
        let is_there = self.parts.iter().any(|part| !part.rare.is_empty());
        let places = 0..if is_there { self.len() } else { 0 };
        places.filter_map(|place| {
            let (part, row) = self.part(place);
            Some((place, part.rare.get(&row)?))
        })
    }

    /// Those that were kept and have no MD5 yet, with their bytes.
    pub(crate) fn unhashed(&self) -> Vec<(usize, Bytes)> {
        let kept = self.rare().filter_map(|(place, rare)| Some((place, rare.kept.clone()?)));
        let is_open = |place: usize| {
            let (part, row) = self.part(place);
            !part.rows[row].has_md5
        };
        kept.filter(|(place, _)| is_open(*place)).collect()
    }

    /// The MD5 of the one at `place` is known now.
    pub(crate) fn set_md5(&mut self, place: usize, md5: Md5) {
        let (part, row) = self.row(place);
        let row = &mut self.parts[part].rows[row];
        (row.md5, row.has_md5) = (md5, true);
    }

    /// CRC-32 of the one at `place`, as the archive tells it.
    pub(crate) fn set_crc32(&mut self, place: usize, crc32: Option<u32>) {
        let (part, row) = self.row(place);
        let row = &mut self.parts[part].rows[row];
        (row.crc32, row.has_crc32) = (crc32.unwrap_or_default(), crc32.is_some());
    }

    /// The places of those that a taker has got, with the numbers that it knows them by.
    pub fn taken(&self) -> Vec<(usize, u64)> {
        self.rare().filter_map(|(place, rare)| Some((place, rare.taken?))).collect()
    }

    /// What a taker has got of the one at `place` is of no use: it is read again.
    pub(crate) fn give_back(&mut self, place: usize) {
        let (part, row) = self.row(place);
        if let Some(rare) = self.parts[part].rare.get_mut(&row) {
            rare.taken = None;
        }
    }

    /// Archives that are stored as they are, with the places of their members, in order.
    pub(crate) fn unopened(&self) -> Vec<(usize, &KeptInner)> {
        self.rare().filter_map(|(place, rare)| Some((place, rare.unopened.as_deref()?))).collect()
    }
}

impl CheckedPart {
    fn push(&mut self, checked: Checked) {
        let Checked { member, size, md5, kept, taken, crc32, read, unopened } = checked;
        let is_kept_empty = kept.as_ref().is_some_and(Bytes::is_empty);
        let kept = kept.filter(|_| !is_kept_empty);
        if kept.is_some() || taken.is_some() || unopened.is_some() {
            self.rare.insert(self.rows.len(), CheckedRare { kept, taken, unopened });
        }
        self.members.push(&member);
        self.rows.push(CheckedRow {
            size,
            md5: md5.unwrap_or_default(),
            crc32: crc32.unwrap_or_default(),
            has_md5: md5.is_some(),
            has_crc32: crc32.is_some(),
            is_read: read,
            is_kept_empty,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::nested::KeptWhy;
    use crate::model::failure::Class;

    #[test]
    fn what_was_checked_comes_back_as_it_was() {
        let member = |index| Member {
            index,
            within: Vec::new(),
            raw_name: b"a".to_vec(),
            name: "a".to_owned(),
            kind: MemberKind::File,
            size: Some(1),
            modified: None,
        };
        let why = KeptWhy::Failed(Class::ArchiveDamaged, "cut".to_owned());
        let all = vec![
            Checked::unread(&member(0)),
            Checked { kept: Some(Bytes::new()), md5: Some([7; 16]), ..Checked::read(&member(1)) },
            Checked { kept: Some(Bytes::from_static(b"x")), ..Checked::read(&member(2)) },
            Checked { taken: Some(9), crc32: Some(0), ..Checked::read(&member(3)) },
            Checked {
                unopened: Some(Box::new(KeptInner { place: vec![4], why })),
                size: 1 << 40,
                ..Checked::read(&member(4))
            },
        ];
        let mut table = CheckedMembers::default();
        all.iter().for_each(|one| table.push(one.clone()));
        assert_eq!(table.iter().collect::<Vec<_>>(), all);
        assert_eq!(
            (0..5).map(|place| table.is_done(place)).collect::<Vec<_>>(),
            [true, true, true, true, false]
        );
        assert_eq!(table.unhashed(), [(2, Bytes::from_static(b"x"))]);
        assert_eq!((table.taken(), table.unopened().len()), (vec![(3, 9)], 1));
        let two = |from: usize, to: usize| {
            let mut part = CheckedMembers::default();
            all[from..to].iter().for_each(|one| part.push(one.clone()));
            part
        };
        let order = vec![(0, 0), (0, 1), (1, 0), (1, 1), (0, 2)];
        let mut parts = two(0, 2);
        parts.push(all[4].clone());
        let joined = CheckedMembers::joined(vec![parts, two(2, 4)], order);
        assert_eq!(joined.iter().collect::<Vec<_>>(), all);
        assert_eq!(joined.taken(), [(3, 9)]);
        assert_eq!(joined.unopened().iter().map(|(place, _)| *place).collect::<Vec<_>>(), [4]);
        table.give_back(3);
        assert!(!table.is_done(3));
        table.truncate(2);
        table.push(all[3].clone());
        assert_eq!((table.len(), table.taken()), (3, vec![(2, 9)]));
    }

    #[test]
    fn a_member_takes_little_memory() {
        assert_eq!(size_of::<CheckedRow>(), 32);
    }
}
