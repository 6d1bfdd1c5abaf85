//! Work on many things, some at once, each in a task of its own.

use std::collections::HashMap;
use std::future::Future;

use tokio::sync::watch;
use tokio::task::JoinSet;

/// Calls `work` for each of `items`, at most `at_once` at a time, and `each` with what came of it,
/// in the order of completion; `None` where the work ended in a panic, which is logged by then.
/// Dropping the future stops all work.
pub(crate) async fn side_by_side<I, T, F>(
    items: impl IntoIterator<Item = I>,
    at_once: usize,
    work: impl Fn(I) -> F,
    mut each: impl FnMut(I, Option<T>),
) where
    I: Clone,
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let mut items = items.into_iter();
    let mut tasks = JoinSet::new();
    let mut in_hand = HashMap::new();
    loop {
        while tasks.len() < at_once.max(1) {
            let Some(item) = items.next() else { break };
            let id = tasks.spawn(work(item.clone())).id();
            in_hand.insert(id, item);
        }
        let Some(ended) = tasks.join_next_with_id().await else { return };
        let (id, result) = match ended {
            Ok((id, result)) => (id, Some(result)),
            Err(panic) => (panic.id(), None),
        };
        let item = in_hand.remove(&id).expect("every task was noted when it was spawned");
        each(item, result);
    }
}

/// Lets tasks pass one by one, in the order of their numbers, from 0.
#[derive(Debug)]
pub struct Turns {
    next: watch::Sender<usize>,
}

/// The turn of one task. When it is dropped, the next number may pass.
#[derive(Debug)]
pub struct TurnInLine<'a> {
    turns: &'a Turns,
    number: usize,
}

impl Default for Turns {
    fn default() -> Self {
        Self { next: watch::Sender::new(0) }
    }
}

impl Turns {
    /// The turn of `number`, which is over when it is dropped, whether it came or not.
    pub(crate) fn of(&self, number: usize) -> TurnInLine<'_> {
        TurnInLine { turns: self, number }
    }
}

impl TurnInLine<'_> {
    /// Waits until all smaller numbers have passed.
    pub async fn comes(&self) {
        let mut next = self.turns.next.subscribe();
        // The sender lives as long as this does.
        drop(next.wait_for(|next| *next >= self.number).await);
    }
}

impl Drop for TurnInLine<'_> {
    fn drop(&mut self) {
        self.turns.next.send_modify(|next| *next = (*next).max(self.number + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn turns_come_in_order_and_one_that_is_given_up_holds_nobody_back() {
        let turns = Turns::default();
        let mut passed = Vec::new();
        let (first, second, third) = (turns.of(0), turns.of(1), turns.of(2));
        first.comes().await;
        drop(first);
        passed.push(0);
        second.comes().await;
        drop(second);
        third.comes().await;
        passed.push(2);
        assert_eq!(passed, [0, 2]);
        let late = turns.of(9);
        let waits = tokio::time::timeout(std::time::Duration::from_millis(20), late.comes()).await;
        assert!(waits.is_err(), "eight others come before it");
    }

    #[tokio::test]
    async fn a_panic_costs_one_item_only() {
        let mut ended = Vec::new();
        let work = |n: u32| async move {
            assert_ne!(n, 3, "scripted");
            n * 10
        };
        side_by_side(1..=4, 2, work, |n, result| ended.push((n, result))).await;
        ended.sort_unstable();
        assert_eq!(ended, [(1, Some(10)), (2, Some(20)), (3, None), (4, Some(40))]);
    }
}
