//! Work on many things, some at once, each in a task of its own.

use std::collections::HashMap;
use std::future::Future;

use tokio::task::JoinSet;

/// Calls `work` for each of `items`, at most `at_once` at a time, and `each` with what came of it,
/// in the order of completion; `None` where the work ended in a panic, which is logged by then.
/// Dropping the future stops all work.
pub async fn side_by_side<I, T, F>(
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

#[cfg(test)]
mod tests {
    use super::*;

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
