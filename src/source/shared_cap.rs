//! One cap on logins over several pools: those of sources that log in at one server.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use crate::model::failure::{Class, Failure};
use crate::source::contract::{Op, SourceError};

/// A task that waits looks so often whether another pool has a login that it does not need.
const LOOK: Duration = Duration::from_millis(200);
/// A login that nobody has used for so long is given up for another pool.
const IDLE: Duration = Duration::from_secs(1);
/// A task that has waited for so long has the turn of a pool that has had its login for as long, so
/// that a large source keeps no other one waiting until it is done.
const TURN: Duration = Duration::from_secs(10);
/// How long that may take before another pool is asked.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that did not answer one pool is not asked by the others for so long: each of them would
/// wait as long for the same silence, one after the other.
const SILENCE: Duration = Duration::from_secs(10);

/// A place is free so long after its login has ended here: the server may notice it later.
const GRACE: Duration = Duration::from_millis(100);

/// A pool under the cap, as the others see it.
#[async_trait]
pub trait CapMember: Send + Sync {
    /// Ends a login that nobody has used for `idle`. Whether there was one.
    async fn give_up_idle(&self, idle: Duration) -> bool;

    /// Ends a login once those on it have ended what they do.
    async fn give_up_one(&self);

    /// Since when it has had a login; `None`: it has none.
    fn has_login_since(&self) -> Option<Instant>;

    /// Has its tasks that wait for a login ask [`SharedCap::silence`] again.
    fn look_again(&self);
}

/// Places for logins at one server. A task that waits for one is served by priority, then in turn.
/// A login that its pool does not use is given up for another pool at once, one in use after a
/// while.
pub struct SharedCap {
    total: usize,
    state: Mutex<CapState>,
    unanswered: Mutex<Option<Unanswered>>,
}

/// A login that the server did not answer.
struct Unanswered {
    at: Instant,
    /// Which pool asked.
    by: usize,
    class: Class,
    cause: String,
}

struct CapState {
    free: usize,
    next: u64,
    waiting: BTreeMap<Rank, oneshot::Sender<SharedPlace>>,
    members: Vec<Weak<dyn CapMember>>,
}

/// Who comes first: by priority, then by time.
type Rank = (Reverse<u64>, u64);

impl SharedCap {
    /// Of `total` logins at once.
    pub fn new(total: usize) -> Arc<Self> {
        let total = total.max(1);
        let state =
            CapState { free: total, next: 0, waiting: BTreeMap::new(), members: Vec::new() };
        Arc::new(Self { total, state: Mutex::new(state), unanswered: Mutex::default() })
    }

    /// How many logins it allows.
    pub fn total(&self) -> usize {
        self.total
    }

    /// A login of the pool `by` failed. Where any pool has a login, the server is there, and only
    /// has no room for one more.
    pub(crate) fn note_failure(&self, by: usize, error: &SourceError) {
        let class = error.class();
        if !matches!(class, Class::Connect | Class::Stalled) || !error.is_transient() {
            return;
        }
        let members: Vec<_> = self.state().members.iter().filter_map(Weak::upgrade).collect();
        if members.iter().all(|member| member.has_login_since().is_none()) {
            let (at, cause) = (Instant::now(), error.cause());
            *self.unanswered() = Some(Unanswered { at, by, class, cause });
            // Nobody who waits for a place has to have it first to learn this.
            members.iter().for_each(|member| member.look_again());
        }
    }

    /// The server answers.
    pub(crate) fn was_answered(&self) {
        *self.unanswered() = None;
    }

    /// Why the pool `by` need not ask the server now: another one has just waited in vain, or
    /// somebody of the same pool since it was `asked` for a login. Without `by` any pool is another
    /// one: so asks a source that has tried nothing yet.
    pub fn silence(
        &self,
        (by, asked): (Option<usize>, Instant),
        address: &str,
    ) -> Option<SourceError> {
        let unanswered = self.unanswered();
        let is_fresh = |told: &&Unanswered| {
            told.at > asked || Some(told.by) != by && told.at.elapsed() < SILENCE
        };
        let told = unanswered.as_ref().filter(is_fresh)?;
        let (cause, ago) = (&told.cause, told.at.elapsed().as_secs());
        let why = format!("{cause} (so it was for another source {ago} s ago)");
        Some(SourceError::new(Op::Login, address, told.class, why))
    }

    fn unanswered(&self) -> MutexGuard<'_, Option<Unanswered>> {
        self.unanswered.lock().expect("no code panics while it holds this lock")
    }

    /// Whether none is free now.
    pub(crate) fn is_full(&self) -> bool {
        self.state().free == 0
    }

    fn state(&self) -> MutexGuard<'_, CapState> {
        self.state.lock().expect("no code panics while it holds this lock")
    }

    /// One more pool.
    pub(crate) fn join(&self, member: Weak<dyn CapMember>) {
        let mut state = self.state();
        state.members.retain(|member| member.strong_count() > 0);
        state.members.push(member);
    }

    /// Waits for a place, for `own`; a higher `priority` comes first.
    pub(crate) async fn place(
        self: &Arc<Self>,
        own: &Weak<dyn CapMember>,
        priority: u64,
    ) -> SharedPlace {
        let (mut waiting, mut place) = {
            let mut state = self.state();
            if state.free > 0 {
                state.free -= 1;
                return SharedPlace(Some(self.clone()));
            }
            let rank = (Reverse(priority), state.next);
            state.next += 1;
            let (sender, receiver) = oneshot::channel();
            state.waiting.insert(rank, sender);
            (Queued { cap: self, rank, since: Instant::now() }, receiver)
        };
        loop {
            tokio::select! {
                biased;
                place = &mut place => return place.expect("its sender stays until it is used"),
                () = waiting.ask_for_room(own) => {}
            }
        }
    }

    /// Hands a place on to who is next.
    fn release(self: &Arc<Self>) {
        loop {
            let next = {
                let mut state = self.state();
                let Some((_, next)) = state.waiting.pop_first() else {
                    state.free += 1;
                    return;
                };
                next
            };
            match next.send(SharedPlace(Some(self.clone()))) {
                Ok(()) => return,
                // Nobody waits for it any more. It is still ours to hand on.
                Err(mut place) => drop(place.0.take()),
            }
        }
    }
}

impl std::fmt::Debug for SharedCap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.state();
        write!(f, "{} of {} free, {} wait", state.free, self.total, state.waiting.len())
    }
}

/// A place for one login, until it is dropped.
#[derive(Debug)]
pub struct SharedPlace(Option<Arc<SharedCap>>);

impl Drop for SharedPlace {
    fn drop(&mut self) {
        let Some(cap) = self.0.take() else { return };
        let freed = FreedPlace(cap);
        if let Ok(runtime) = Handle::try_current() {
            // A runtime that ends drops what it has not done, and the place with it.
            drop(runtime.spawn(async move {
                sleep(GRACE).await;
                drop(freed);
            }));
        }
    }
}

/// A place that somebody else may have once this is dropped.
struct FreedPlace(Arc<SharedCap>);

impl Drop for FreedPlace {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// Somebody who waits, as long as this lives.
struct Queued<'a> {
    cap: &'a SharedCap,
    rank: Rank,
    since: Instant,
}

impl Queued<'_> {
    /// After a moment, has another pool give up a login, if this is who is next.
    async fn ask_for_room(&mut self, own: &Weak<dyn CapMember>) {
        sleep(LOOK).await;
        let members: Vec<Arc<dyn CapMember>> = {
            let state = self.cap.state();
            if state.waiting.first_key_value().is_none_or(|(rank, _)| *rank != self.rank) {
                return;
            }
            let others = state.members.iter().filter(|member| !member.ptr_eq(own));
            others.filter_map(Weak::upgrade).collect()
        };
        for member in &members {
            if member.give_up_idle(IDLE).await {
                return;
            }
        }
        if self.since.elapsed() < TURN {
            return;
        }
        let had =
            |member: &Arc<dyn CapMember>| member.has_login_since().map(|since| since.elapsed());
        let longest = members.iter().filter_map(|member| Some((had(member)?, member)));
        let longest = longest.filter(|(had, _)| *had >= TURN).max_by_key(|(had, _)| *had);
        if let Some((_, member)) = longest {
            // The place comes by itself if this ends too late.
            drop(timeout(PATIENCE, member.give_up_one()).await);
        }
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.cap.state().waiting.remove(&self.rank);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    /// A pool that never gives anything up.
    struct Stubborn;

    #[async_trait]
    impl CapMember for Stubborn {
        async fn give_up_idle(&self, _: Duration) -> bool {
            false
        }
        async fn give_up_one(&self) {}
        fn has_login_since(&self) -> Option<Instant> {
            None
        }
        fn look_again(&self) {}
    }

    fn nobody() -> Weak<dyn CapMember> {
        Arc::downgrade(&(Arc::new(Stubborn) as Arc<dyn CapMember>))
    }

    #[tokio::test(start_paused = true)]
    async fn places_go_by_priority_then_in_turn_and_none_is_lost() {
        let (cap, own) = (SharedCap::new(1), nobody());
        let held = cap.place(&own, 50).await;
        let order = Mutex::new(Vec::new());
        let wait = |name: &'static str, priority| {
            let (cap, own, order) = (&cap, &own, &order);
            async move {
                let place = cap.place(own, priority).await;
                order.lock().unwrap().push(name);
                drop(place);
            }
        };
        let mut given_up = Box::pin(wait("given up", 99));
        assert!((&mut given_up).now_or_never().is_none());
        let all = async {
            tokio::join!(wait("first", 50), wait("second", 50), wait("urgent", 60), async {
                tokio::task::yield_now().await;
                drop((given_up, held));
            })
        };
        timeout(Duration::from_secs(60), all).await.expect("all of them are served");
        assert_eq!(*order.lock().unwrap(), ["urgent", "first", "second"]);
        sleep(GRACE * 2).await;
        assert!(!cap.is_full(), "all places are back");
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_that_comes_too_late_goes_to_the_next() {
        let (cap, own) = (SharedCap::new(1), nobody());
        let held = cap.place(&own, 50).await;
        let mut late = Box::pin(cap.place(&own, 50));
        assert!((&mut late).now_or_never().is_none());
        drop(held);
        drop(late);
        let next = timeout(Duration::from_secs(1), cap.place(&own, 50)).await;
        assert!(next.is_ok(), "what was handed over and never taken is free again");
    }

    #[test]
    fn a_silent_server_is_waited_for_by_one_pool_and_told_to_the_others() {
        let cap = SharedCap::new(2);
        let of = |error: SourceError| (error.class(), error.cause());
        let silence = |by| cap.silence((Some(by), Instant::now()), "ftp://h").map(of);
        let asked = Instant::now() - Duration::from_millis(1);
        assert!(silence(2).is_none());
        let failure = |class| SourceError::new(Op::Login, "ftp://h", class, "no greeting");
        cap.note_failure(1, &failure(Class::Auth));
        assert!(silence(2).is_none(), "a server that refuses is there");
        cap.note_failure(1, &failure(Class::Stalled));
        assert!(silence(1).is_none(), "the pool itself tries again");
        let why = "no greeting (so it was for another source 0 s ago)".to_owned();
        assert_eq!(silence(2), Some((Class::Stalled, why)));
        let waited = cap.silence((Some(1), asked), "ftp://h").map(of);
        assert!(waited.is_some(), "who asked the same pool before that has waited long enough");
        cap.was_answered();
        assert!(silence(2).is_none(), "one answer, and all ask again");
    }
}
