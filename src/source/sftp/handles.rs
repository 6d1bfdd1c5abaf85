//! The handles that a server has given out on one channel: no two that are open may be equal.

use std::collections::HashMap;

use bytes::Bytes;

/// The handles of one channel that the server has not taken back yet.
#[derive(Debug, Default)]
pub struct Handles(HashMap<Bytes, Use>);

#[derive(Debug, Default)]
struct Use {
    /// Requests about it that have no answer yet.
    under_way: usize,
    /// Whether the server has answered its CLOSE.
    closed: bool,
}

impl Handles {
    /// The server gives out `handle`; whether it may: not while it is open, nor while anything that
    /// was asked about the file that it stood for before is under way, since bytes of one file
    /// would then be taken for those of another.
    #[must_use]
    pub fn give(&mut self, handle: Bytes) -> bool {
        let fresh = !self.0.contains_key(&handle);
        self.0.entry(handle).or_default();
        fresh
    }

    /// Something is asked about `handle`.
    pub fn ask(&mut self, handle: &Bytes) {
        if let Some(used) = self.0.get_mut(handle) {
            used.under_way += 1;
        }
    }

    /// One of these questions is answered.
    pub fn answer(&mut self, handle: &Bytes) {
        if let Some(used) = self.0.get_mut(handle) {
            used.under_way = used.under_way.saturating_sub(1);
            self.forget(handle);
        }
    }

    /// The CLOSE of `handle` is answered.
    pub fn close(&mut self, handle: &Bytes) {
        if let Some(used) = self.0.get_mut(handle) {
            used.closed = true;
            self.forget(handle);
        }
    }

    fn forget(&mut self, handle: &Bytes) {
        if self.0.get(handle).is_some_and(|used| used.closed && used.under_way == 0) {
            self.0.remove(handle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_free_again_when_it_is_closed_and_nothing_about_it_is_under_way() {
        let (mut handles, one) = (Handles::default(), Bytes::from_static(b"1"));
        assert!(handles.give(one.clone()) && handles.give(Bytes::from_static(b"2")));
        assert!(!handles.give(one.clone()), "it is open");
        handles.ask(&one);
        handles.close(&one);
        assert!(!handles.give(one.clone()), "a read of its former file is under way");
        handles.answer(&one);
        assert!(handles.give(one));
    }
}
