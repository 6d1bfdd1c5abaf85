//! Files that are to be brought over, in parts: a list of a million grows without being copied, and
//! gives its memory back part by part as it is worked off.

use std::collections::VecDeque;

use super::request::Transfer;

/// Files of one part.
const PART: usize = 4_096;

/// A list of files. All parts but the last are full.
#[derive(Debug, Default)]
pub struct Transfers {
    parts: VecDeque<Vec<Transfer>>,
}

impl Transfers {
    /// Adds a file at the end.
    pub fn push(&mut self, one: Transfer) {
        match self.parts.back_mut().filter(|part| part.len() < PART) {
            Some(part) => part.push(one),
            None => {
                // A list of few files stays small.
                let room = if self.parts.is_empty() { 0 } else { PART };
                let mut part = Vec::with_capacity(room);
                part.push(one);
                self.parts.push_back(part);
            }
        }
    }

    /// How many.
    pub fn len(&self) -> usize {
        let full = self.parts.len().saturating_sub(1) * PART;
        self.parts.back().map_or(0, |last| full + last.len())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The file at this place.
    pub(crate) fn get(&self, place: usize) -> Option<&Transfer> {
        self.parts.get(place / PART)?.get(place % PART)
    }

    /// Each, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Transfer> {
        self.parts.iter().flatten()
    }

    /// Each, to be changed.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Transfer> {
        self.parts.iter_mut().flatten()
    }

    /// Has all of them put into another order.
    pub(crate) fn reorder(&mut self, sort: impl FnOnce(&mut [Transfer])) {
        let mut all: Vec<Transfer> = std::mem::take(self).into_iter().collect();
        sort(&mut all);
        self.extend(all);
    }
}

impl Extend<Transfer> for Transfers {
    fn extend<T: IntoIterator<Item = Transfer>>(&mut self, more: T) {
        more.into_iter().for_each(|one| self.push(one));
    }
}

impl IntoIterator for Transfers {
    type Item = Transfer;
    type IntoIter = std::iter::Flatten<std::collections::vec_deque::IntoIter<Vec<Transfer>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.parts.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{RemoteFile, RemotePath};
    use crate::rules::plan::Why;

    fn transfer(number: usize) -> Transfer {
        let path = RemotePath::from(format!("/{number:06}").as_str());
        let file = RemoteFile { path, size: None, modified: None };
        let why = Why::New;
        Transfer { file, listed: None, why, known: None, rests: false, yields: false }
    }

    fn paths<'a>(all: impl Iterator<Item = &'a Transfer>) -> Vec<String> {
        all.map(|one| one.file.path.to_string()).collect()
    }

    #[test]
    fn a_long_list_keeps_its_order_over_all_parts() {
        for count in [0, 1, PART - 1, PART, PART + 1, 3 * PART + 7] {
            let mut list = Transfers::default();
            list.extend((0..count).map(transfer));
            assert_eq!((list.len(), list.is_empty()), (count, count == 0));
            let expected: Vec<String> = (0..count).map(|number| format!("/{number:06}")).collect();
            assert_eq!(paths(list.iter()), expected);
            assert_eq!(list.get(count).map(|one| &one.file.path), None);
            for place in [0, PART - 1, PART, 2 * PART].into_iter().filter(|place| *place < count) {
                let found = list.get(place).expect("it is there").file.path.to_string();
                assert_eq!(found, expected[place]);
            }
            list.reorder(|all| all.reverse());
            let reversed: Vec<String> = expected.into_iter().rev().collect();
            assert_eq!(paths(list.iter()), reversed);
            assert_eq!(paths(list.into_iter().collect::<Vec<_>>().iter()), reversed);
        }
    }
}
