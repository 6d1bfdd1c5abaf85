//! A store that has failed for longer than any request is tried again is tried once by each further
//! request: a run whose destination died ends soon, instead of waiting out all tries of each step.
//!
//! The store counts as dead once nothing has succeeded for as long as the retries of one request
//! may take, and some requests have used up all of their tries by then. So a hiccup that a request
//! rides out with its retries is ridden out by all. The first request that succeeds closes the
//! circuit again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::contract::{Store, StoreError, StoreKind};
use super::gated::{StoreAccess, StoreGate};
use crate::model::failure::Failure;
use crate::runtime::retry::Policy;

/// So many blobs must have been asked for in vain as often as a request is tried.
const USED_UP: usize = 3;
/// Blobs whose failures are counted.
const MOST_COUNTED: usize = 1_024;

/// See the module.
#[derive(Debug)]
pub struct CircuitBreaker {
    inner: Arc<dyn Store>,
    policy: Policy,
    failing: Mutex<Option<FailingStore>>,
}

/// A store of which nothing was heard but failures.
#[derive(Debug)]
struct FailingStore {
    since: Instant,
    last: Instant,
    /// Whether writes are among the failures: what can be read proves nothing of them.
    writes: bool,
    /// How often each blob was asked for.
    tries: HashMap<String, u32>,
    used_up: usize,
}

impl FailingStore {
    fn now() -> Self {
        let now = Instant::now();
        Self { since: now, last: now, writes: false, tries: HashMap::new(), used_up: 0 }
    }

    fn see(&mut self, name: &str, access: StoreAccess, policy: &Policy) {
        self.last = Instant::now();
        self.writes |= access == StoreAccess::Write;
        if self.tries.len() >= MOST_COUNTED && !self.tries.contains_key(name) {
            return;
        }
        let tries = self.tries.entry(name.to_owned()).or_default();
        *tries += 1;
        self.used_up += usize::from(*tries == policy.attempts);
    }

    fn is_dead(&self, policy: &Policy) -> bool {
        self.used_up >= USED_UP && self.since.elapsed() >= policy.longest()
    }
}

impl CircuitBreaker {
    /// Over `inner`, whose requests are tried again as `policy` says.
    pub fn over(inner: Arc<dyn Store>, policy: Policy) -> Self {
        Self { inner, policy, failing: Mutex::default() }
    }

    fn failing(&self) -> MutexGuard<'_, Option<FailingStore>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a failure. Whether the store counts as dead.
    fn failed(&self, name: &str, access: StoreAccess) -> bool {
        let mut failing = self.failing();
        // Requests are tried again sooner than that, so this is another trouble.
        let is_over = |known: &mut FailingStore| known.last.elapsed() > 2 * self.policy.max_wait;
        drop(failing.take_if(is_over));
        let known = failing.get_or_insert_with(FailingStore::now);
        known.see(name, access, &self.policy);
        known.is_dead(&self.policy)
    }

    fn went_well(&self, access: StoreAccess) {
        let mut failing = self.failing();
        drop(failing.take_if(|known| access == StoreAccess::Write || !known.writes));
    }
}

impl StoreGate for CircuitBreaker {
    fn inner(&self) -> &dyn Store {
        &*self.inner
    }

    async fn pass<T: Send>(
        &self,
        name: &str,
        access: StoreAccess,
        work: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        match work.await {
            Err(error) if error.kind == StoreKind::Unavailable => {
                // A store that says when to come back is busy, not dead.
                let is_dead = error.retry_after().is_none() && self.failed(name, access);
                Err(if is_dead { error.for_good() } else { error })
            }
            result => {
                self.went_well(access);
                result
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use futures_util::future::join_all;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::model::BlobName;
    use crate::runtime::retry::retry;
    use crate::store::memory::MemoryStore;
    use crate::store::memory::{MemoryFault, MemoryOp};

    /// A store that writes refuse from now on, `times` times.
    fn dying(times: u64) -> (Arc<MemoryStore>, CircuitBreaker) {
        let store = Arc::new(MemoryStore::new());
        for nth in 1..=times {
            let refused = MemoryFault::Refused(StoreKind::Unavailable);
            store.fault(MemoryOp::Append, nth, refused);
        }
        (store.clone(), CircuitBreaker::over(store, Policy::default()))
    }

    /// Writes the blob `name` as a run does; how long that took.
    async fn write(store: &CircuitBreaker, name: &str) -> (Result<u64, StoreError>, Duration) {
        let (name, never) = (BlobName::new(name).expect("a name"), CancellationToken::new());
        let (policy, begun) = (Policy::default(), Instant::now());
        let bytes = Bytes::from_static(b"1");
        let once = |_| store.append(&name, bytes.clone(), 0);
        (retry(&policy, &never, "writing", once).await, begun.elapsed())
    }

    async fn write_some(store: &CircuitBreaker) -> Vec<(Result<u64, StoreError>, Duration)> {
        let names: Vec<String> = (0..20).map(|number| format!("{number}")).collect();
        join_all(names.iter().map(|name| write(store, name))).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_destination_that_died_is_asked_once_by_each_step_after_the_first() {
        let (_, store) = dying(1_000);
        let first = write_some(&store).await;
        assert!(first.iter().all(|(written, _)| written.is_err()));
        tokio::time::sleep(Policy::default().longest()).await;
        for name in ["journal", "manifest", "report", "record"] {
            let (written, took) = write(&store, name).await;
            let error = written.expect_err("it is dead");
            assert_eq!((took, error.is_transient()), (Duration::ZERO, false), "{name}");
            assert_eq!(error.kind, StoreKind::Unavailable);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_hiccup_is_ridden_out_as_long_as_retries_last() {
        let (_, store) = dying(16);
        for number in 0..15 {
            let name = BlobName::new(format!("{}", number % 3)).expect("a name");
            let refused = store.append(&name, Bytes::new(), 0).await.expect_err("scripted");
            assert!(refused.is_transient(), "three used up their tries at once");
        }
        // A fourth is tried again still.
        let (written, took) = write(&store, "d").await;
        assert!(written.is_ok() && took > Duration::ZERO, "{took:?}");
        assert!(store.failing().is_none(), "what succeeded closed the circuit");
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_store_is_not_dead() {
        let (inner, store) = dying(0);
        (1..=100).for_each(|nth| {
            inner.fault(MemoryOp::Append, nth, MemoryFault::Busy(Duration::from_secs(1)))
        });
        write_some(&store).await;
        assert!(store.failing().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_files_that_fail_do_not_make_a_store_dead_nor_does_an_old_trouble() {
        let (_, store) = dying(10);
        for name in ["a", "b"] {
            assert!(write(&store, name).await.0.is_err());
        }
        tokio::time::sleep(Policy::default().longest()).await;
        assert!(write(&store, "c").await.0.is_ok());
        let (_, store) = dying(101);
        write_some(&store).await;
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        let (written, took) = write(&store, "at the next run").await;
        assert!(written.is_ok() && took > Duration::ZERO, "{took:?}: it was tried again");
    }

    #[tokio::test(start_paused = true)]
    async fn what_can_be_read_does_not_make_writes_go_well() {
        let (_, store) = dying(1_000);
        write_some(&store).await;
        store.head(&BlobName::new("x").expect("a name")).await.expect("read");
        assert!(store.failing().is_some());
    }
}
