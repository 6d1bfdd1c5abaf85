//! The handles that a server has given out on one channel: no two that are open may be equal.

use std::collections::HashMap;

use bytes::Bytes;

/// The handles of one channel that the server has not taken back yet, or so short a time ago that a
/// request to open may have got one before.
#[derive(Debug, Default)]
pub struct Handles {
    given: HashMap<Bytes, Use>,
    /// Handles that are taken back, with the number of their CLOSE.
    returned: HashMap<Bytes, u32>,
}

#[derive(Debug, Default)]
struct Use {
    /// Requests about it that have no answer yet.
    under_way: usize,
    /// The number of its CLOSE, once the server has answered that.
    closed: Option<u32>,
}

impl Handles {
    /// The server gives out `handle` for the request `open`; whether it may: not while it is open,
    /// nor while anything that was asked about the file that it stood for before is under way,
    /// since bytes of one file would then be taken for those of another. Nor may it where its CLOSE
    /// was sent after `open`: however late the answer comes, both files may have had it.
    #[must_use]
    pub fn give(&mut self, handle: Bytes, open: u32) -> bool {
        let is_free = self.returned.get(&handle).is_none_or(|closed| *closed < open);
        let fresh = is_free && !self.given.contains_key(&handle);
        self.given.entry(handle).or_default();
        fresh
    }

    /// Something is asked about `handle`.
    pub fn ask(&mut self, handle: &Bytes) {
        if let Some(used) = self.given.get_mut(handle) {
            used.under_way += 1;
        }
    }

    /// One of these questions is answered.
    pub fn answer(&mut self, handle: &Bytes) {
        if let Some(used) = self.given.get_mut(handle) {
            used.under_way = used.under_way.saturating_sub(1);
            self.take_back(handle);
        }
    }

    /// The CLOSE of `handle`, which has this number, is answered.
    pub fn close(&mut self, handle: &Bytes, number: u32) {
        if let Some(used) = self.given.get_mut(handle) {
            used.closed = Some(number);
            self.take_back(handle);
        }
    }

    /// `oldest` is the first request to open that has no answer; none is, without one.
    pub fn opened_before(&mut self, oldest: Option<u32>) {
        self.returned.retain(|_, closed| oldest.is_some_and(|oldest| oldest < *closed));
    }

    fn take_back(&mut self, handle: &Bytes) {
        if let Some(Use { closed: Some(closed), under_way: 0 }) = self.given.get(handle) {
            self.returned.insert(handle.clone(), *closed);
            self.given.remove(handle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_free_again_when_it_is_closed_and_nothing_about_it_is_under_way() {
        let (mut handles, one) = (Handles::default(), Bytes::from_static(b"1"));
        assert!(handles.give(one.clone(), 1) && handles.give(Bytes::from_static(b"2"), 2));
        assert!(!handles.give(one.clone(), 3), "it is open");
        handles.ask(&one);
        handles.close(&one, 4);
        assert!(!handles.give(one.clone(), 5), "a read of its former file is under way");
        handles.answer(&one);
        assert!(handles.give(one, 5));
    }

    #[test]
    fn a_handle_whose_close_was_sent_after_an_open_is_not_what_that_gets() {
        let (mut handles, one) = (Handles::default(), Bytes::from_static(b"1"));
        assert!(handles.give(one.clone(), 1));
        handles.close(&one, 3);
        handles.opened_before(Some(2));
        assert!(!handles.give(one.clone(), 2), "it was open when it was asked for");
        handles.close(&one, 4);
        handles.opened_before(None);
        assert!(handles.give(one, 2), "nothing that was to be opened before has no answer");
    }
}
