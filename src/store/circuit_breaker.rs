//! A store that has failed for longer than any request is tried again is tried once by each further
//! request: a run whose destination died ends soon, instead of waiting out all tries of each step.
//!
//! The store counts as dead once nothing has succeeded for as long as the retries of one request
//! may take, and some requests have used up all of their tries by then. So a hiccup that a request
//! rides out with its retries is ridden out by all. The first request that succeeds closes the
//! circuit again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use super::contract::{
    BlobInfo, Condition, Etag, Leased, Properties, Store, StoreError, StoreKind, Terms, Upload,
};
use super::holder::Holder;
use crate::model::BlobName;
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

/// What a request does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum StoreAccess {
    Read,
    Write,
}

impl FailingStore {
    fn now() -> Self {
        let now = Instant::now();
        Self { since: now, last: now, writes: false, tries: HashMap::new(), used_up: 0 }
    }

    fn see(&mut self, name: &str, request: StoreAccess, policy: &Policy) {
        self.last = Instant::now();
        self.writes |= request == StoreAccess::Write;
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

    async fn go<T>(
        &self,
        name: &str,
        request: StoreAccess,
        work: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let result = work.await;
        match result {
            Err(error) if error.kind == StoreKind::Unavailable => {
                // A store that says when to come back is busy, not dead.
                let is_dead = error.retry_after().is_none() && self.failed(name, request);
                Err(if is_dead { error.for_good() } else { error })
            }
            result => {
                self.went_well(request);
                result
            }
        }
    }

    /// Takes note of a failure. Whether the store counts as dead.
    fn failed(&self, name: &str, request: StoreAccess) -> bool {
        let mut failing = self.failing();
        // Requests are tried again sooner than that, so this is another trouble.
        let is_over = |known: &mut FailingStore| known.last.elapsed() > 2 * self.policy.max_wait;
        drop(failing.take_if(is_over));
        let known = failing.get_or_insert_with(FailingStore::now);
        known.see(name, request, &self.policy);
        known.is_dead(&self.policy)
    }

    fn went_well(&self, request: StoreAccess) {
        let mut failing = self.failing();
        drop(failing.take_if(|known| request == StoreAccess::Write || !known.writes));
    }
}

#[async_trait]
impl Store for CircuitBreaker {
    fn address(&self) -> &str {
        self.inner.address()
    }
    fn holds_state(&self) -> bool {
        self.inner.holds_state()
    }
    fn clock_ahead(&self) -> Option<time::Duration> {
        self.inner.clock_ahead()
    }
    fn small_writes_at_once(&self) -> usize {
        self.inner.small_writes_at_once()
    }
    async fn prepare(&self) -> Result<(), StoreError> {
        self.go("", StoreAccess::Write, self.inner.prepare()).await
    }
    async fn terms(&self) -> Result<Terms, StoreError> {
        self.inner.terms().await
    }
    async fn head(&self, name: &BlobName) -> Result<Option<BlobInfo>, StoreError> {
        self.go(name.as_str(), StoreAccess::Read, self.inner.head(name)).await
    }
    async fn get(
        &self,
        name: &BlobName,
        start: u64,
        max_bytes: u64,
    ) -> Result<Option<(BlobInfo, Bytes)>, StoreError> {
        self.go(name.as_str(), StoreAccess::Read, self.inner.get(name, start, max_bytes)).await
    }
    async fn read(
        &self,
        name: &BlobName,
        start: u64,
        most: u64,
    ) -> Result<Option<(BlobInfo, Bytes)>, StoreError> {
        self.go(name.as_str(), StoreAccess::Read, self.inner.read(name, start, most)).await
    }
    async fn put(
        &self,
        name: &BlobName,
        bytes: Bytes,
        properties: &Properties,
        condition: &Condition,
    ) -> Result<Etag, StoreError> {
        let put = self.inner.put(name, bytes, properties, condition);
        self.go(name.as_str(), StoreAccess::Write, put).await
    }
    async fn stage(&self, upload: &Upload, index: u32, bytes: Bytes) -> Result<(), StoreError> {
        let stage = self.inner.stage(upload, index, bytes);
        self.go(&upload.block_id(index), StoreAccess::Write, stage).await
    }
    async fn commit(
        &self,
        upload: &Upload,
        blocks: u32,
        properties: &Properties,
        condition: &Condition,
    ) -> Result<Etag, StoreError> {
        let commit = self.inner.commit(upload, blocks, properties, condition);
        self.go(upload.name.as_str(), StoreAccess::Write, commit).await
    }
    async fn abandon(&self, upload: &Upload) {
        self.inner.abandon(upload).await;
    }
    async fn append(
        &self,
        name: &BlobName,
        bytes: Bytes,
        position: u64,
    ) -> Result<u64, StoreError> {
        self.go(name.as_str(), StoreAccess::Write, self.inner.append(name, bytes, position)).await
    }
    async fn list(
        &self,
        prefix: &str,
        visit: &mut (dyn FnMut(BlobInfo) + Send),
    ) -> Result<(), StoreError> {
        self.go(prefix, StoreAccess::Read, self.inner.list(prefix, visit)).await
    }
    async fn remove_empty_directories(&self, prefix: &str, before: &str) -> Result<(), StoreError> {
        let removal = self.inner.remove_empty_directories(prefix, before);
        self.go(prefix, StoreAccess::Write, removal).await
    }
    async fn delete(&self, name: &BlobName) -> Result<(), StoreError> {
        self.go(name.as_str(), StoreAccess::Write, self.inner.delete(name)).await
    }
    async fn lease(&self, name: &BlobName, holder: &Holder) -> Result<Leased, StoreError> {
        self.go(name.as_str(), StoreAccess::Write, self.inner.lease(name, holder)).await
    }
    async fn end_lease(&self, name: &BlobName, holder: &Holder) -> Result<(), StoreError> {
        self.go(name.as_str(), StoreAccess::Write, self.inner.end_lease(name, holder)).await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::join_all;
    use tokio_util::sync::CancellationToken;

    use super::*;
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
