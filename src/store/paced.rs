//! A store that is not pressed: when it says that it is too busy, fewer requests at once are made,
//! after a rest.
//!
//! The number of requests at once is halved at most once a second, and grows by one again for each
//! time that as many went well: additive increase, multiplicative decrease, as TCP does. A request
//! that failed is not repeated here.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::contract::{Store, StoreError, StoreKind};
use super::gated::{StoreAccess, StoreGate};
use crate::model::failure::Failure;

/// Requests at once while all is well: more than a run ever makes.
const MOST: usize = 256;
/// Of a burst of refusals only the first halves: the others were under way with it.
const HALVED_EVERY: Duration = Duration::from_secs(1);
/// No request waits longer than this for its turn. A turn may be kept by a future that nobody
/// polls, because its owner is waiting here itself: pacing may slow a run down, but not stop it.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// The longest rest for all requests; a single one may be asked to wait longer, and does so by
/// itself.
const LONGEST_REST: Duration = Duration::from_secs(10);

/// See the module.
pub(crate) struct Paced {
    inner: Arc<dyn Store>,
    pace: Mutex<Pace>,
    free: Notify,
}

#[derive(Debug)]
struct Pace {
    most: usize,
    under_way: usize,
    well: usize,
    halved: Option<Instant>,
    rest_until: Option<Instant>,
}

/// A request that is under way.
struct PacedUnderWay<'a>(&'a Paced);

impl Drop for PacedUnderWay<'_> {
    fn drop(&mut self) {
        self.0.pace().under_way -= 1;
        self.0.free.notify_one();
    }
}

impl fmt::Debug for Paced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Paced({:?})", self.inner)
    }
}

impl Paced {
    /// Over `inner`.
    pub fn over(inner: Arc<dyn Store>) -> Self {
        let pace = Pace { most: MOST, under_way: 0, well: 0, halved: None, rest_until: None };
        Self { inner, pace: Mutex::new(pace), free: Notify::new() }
    }

    /// How many requests are made at once, at most, for now.
    #[cfg(test)]
    pub fn most(&self) -> usize {
        self.pace().most
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn turn(&self) -> PacedUnderWay<'_> {
        let patience = tokio::time::sleep(LONGEST_WAIT);
        tokio::pin!(patience);
        loop {
            let freed = self.free.notified();
            let rest = {
                let mut pace = self.pace();
                let rest = pace.rest_until.filter(|until| *until > Instant::now());
                if rest.is_none() && (pace.under_way < pace.most || patience.is_elapsed()) {
                    pace.under_way += 1;
                    return PacedUnderWay(self);
                }
                rest
            };
            match rest {
                Some(until) => tokio::time::sleep_until(until).await,
                None => tokio::select! {
                    () = freed => {}
                    () = &mut patience => {}
                },
            }
        }
    }

    fn too_busy(&self, error: &StoreError) {
        let now = Instant::now();
        let mut pace = self.pace();
        if let Some(asked) = error.retry_after() {
            pace.rest_until = pace.rest_until.max(Some(now + asked.min(LONGEST_REST)));
        }
        pace.well = 0;
        if pace.halved.is_none_or(|at| now - at >= HALVED_EVERY) {
            // What is allowed matters less than what was under way when it became too much.
            pace.most = (pace.most.min(pace.under_way) / 2).max(1);
            pace.halved = Some(now);
            tracing::debug!(
                at_once = pace.most,
                store = self.inner.address(),
                "Storage is busy: fewer requests at once."
            );
        }
    }

    fn went_well(&self) {
        let mut pace = self.pace();
        if pace.most >= MOST {
            return;
        }
        pace.well += 1;
        if pace.well >= pace.most {
            pace.well = 0;
            pace.most += 1;
            drop(pace);
            // One more may go than comes back.
            self.free.notify_one();
        }
    }
}

impl StoreGate for Paced {
    fn inner(&self) -> &dyn Store {
        &*self.inner
    }

    async fn pass<T: Send>(
        &self,
        _name: &str,
        _access: StoreAccess,
        work: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let turn = self.turn().await;
        let result = work.await;
        match &result {
            Err(error) if error.kind == StoreKind::Unavailable => self.too_busy(error),
            _ => self.went_well(),
        }
        drop(turn);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::BlobName;
    use crate::store::memory::MemoryStore;
    use crate::store::memory::{MemoryFault, MemoryOp};
    use futures_util::future::join_all;

    fn name() -> BlobName {
        BlobName::new("a").expect("a name")
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_store_is_asked_less_after_a_rest_and_then_one_more_at_a_time() {
        let store = Arc::new(MemoryStore::new());
        let paced = Paced::over(store.clone());
        let (name, begun) = (name(), Instant::now());
        store.fault(MemoryOp::Head, 1, MemoryFault::Delay(Duration::from_secs(1)));
        store.fault(MemoryOp::Head, 2, MemoryFault::Delay(Duration::from_secs(1)));
        (3..=9).for_each(|n| {
            store.fault(MemoryOp::Head, n, MemoryFault::Busy(Duration::from_secs(3)))
        });
        let asked = join_all((0..9).map(|_| paced.head(&name))).await;
        // One refusal came while two others were under way; those that waited for their turn had a
        // rest first.
        assert!(asked.iter().any(Result::is_err) && paced.most() <= 2, "{}", paced.most());
        let few = paced.most();
        while paced.head(&name).await.is_err() {}
        assert!(begun.elapsed() >= Duration::from_secs(3), "it had its rest");
        for _ in 0..few + (few + 1) {
            paced.head(&name).await.expect("it answers");
        }
        assert!(paced.most() > few && paced.most() <= few + 3, "{} after {few}", paced.most());
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_are_under_way_than_may_be() {
        let store = Arc::new(MemoryStore::new());
        let paced = Paced::over(store.clone());
        paced.pace().most = 3;
        (1..=30).for_each(|n| {
            store.fault(MemoryOp::Head, n, MemoryFault::Delay(Duration::from_secs(1)))
        });
        let (name, begun) = (name(), Instant::now());
        let watched = async {
            let mut most = 0;
            while begun.elapsed() < Duration::from_secs(5) {
                most = most.max(paced.pace().under_way);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            most
        };
        let (asked, most) = tokio::join!(join_all((0..30).map(|_| paced.head(&name))), watched);
        assert!(asked.iter().all(Result::is_ok));
        // One more for each three that go well.
        assert!((3..=8).contains(&most), "{most}");
        assert!(begun.elapsed() >= Duration::from_secs(5), "thirty seconds of work for so few");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_nobody_polls_stops_nothing() {
        let store = Arc::new(MemoryStore::new());
        let paced = Paced::over(store.clone());
        paced.pace().most = 1;
        store.fault(MemoryOp::Head, 1, MemoryFault::Delay(Duration::from_millis(1)));
        let name = name();
        let kept = paced.head(&name);
        tokio::pin!(kept);
        assert!(futures_util::poll!(kept.as_mut()).is_pending(), "it is under way");
        let asked = tokio::time::timeout(Duration::from_secs(60), paced.head(&name)).await;
        assert!(asked.is_ok_and(|answer| answer.is_ok()), "it waited for one that waited for it");
        assert!(kept.await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_dropped_makes_room() {
        let store = Arc::new(MemoryStore::new());
        let paced = Paced::over(store.clone());
        paced.pace().most = 1;
        store.fault(MemoryOp::Head, 1, MemoryFault::Delay(Duration::from_secs(1_000)));
        let name = name();
        assert!(tokio::time::timeout(Duration::from_secs(1), paced.head(&name)).await.is_err());
        assert!(
            tokio::time::timeout(Duration::from_secs(1), paced.head(&name))
                .await
                .expect("there is room")
                .is_ok()
        );
    }
}
