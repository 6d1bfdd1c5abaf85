//! The logins of one source: lent out, forked where the protocol allows it, never more than the
//! cap, fewer where the server has no room.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard, Weak};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use crate::model::chain;
use crate::model::failure::{Class, Failure};
use crate::source::contract::{Endpoint, Op, SourceError};
use crate::source::logins::{
    ExclusiveLogin, Leave, Lent, Login, LoginRoom, LoginWaiter, Logins, LoginsState, Wants, over,
};
use crate::source::shared_cap::{CapMember, SharedCap};

mod lease;

use lease::GOOD_BYE;
pub use lease::PoolLease;

/// Sessions of one endpoint.
///
/// At most `connections` logins are open at any time. The first login is made alone; once a
/// credential, host key or certificate was refused, no further login is tried. A server that has no
/// room for one more, or cannot be reached for it, keeps those it has; it is not asked for a while,
/// then for half as many, then for one more from time to time. A server that was not to be had for
/// long is not asked any more.
///
/// What one session does may end the others on its login. [`Pool::lend_alone`] lends one that has
/// its login to itself. Of several logins one is always there for the others; of a single one they
/// have every other turn.
///
/// Under a [`SharedCap`], several pools have no more logins together than it allows. A pool that
/// several passes share is closed by the last of them.
#[derive(Debug)]
pub struct Pool {
    endpoint: Arc<dyn Endpoint>,
    logins: Arc<Logins>,
    /// The cap over other pools, too, and whose turn it is under it.
    shared: Option<(Arc<SharedCap>, u64)>,
    itself: Weak<Self>,
    /// Turns at having a login alone.
    turns: Arc<Semaphore>,
    opening: tokio::sync::Mutex<()>,
    opened: AtomicU64,
    /// Whether several passes have it: the last of them closes it.
    common: AtomicBool,
}

impl Pool {
    /// A pool of at most `connections` logins.
    pub fn new(endpoint: Arc<dyn Endpoint>, connections: usize) -> Arc<Self> {
        Self::within(endpoint, connections, None)
    }

    /// The same, within a cap over other pools, with a priority there.
    pub(crate) fn within(
        endpoint: Arc<dyn Endpoint>,
        connections: usize,
        shared: Option<(Arc<SharedCap>, u64)>,
    ) -> Arc<Self> {
        let pool = Arc::new_cyclic(|itself| Self {
            endpoint,
            shared,
            itself: itself.clone(),
            logins: Logins::new(connections.max(1)),
            turns: Arc::new(Semaphore::new(connections.saturating_sub(1).max(1))),
            opening: tokio::sync::Mutex::new(()),
            opened: AtomicU64::new(0),
            common: AtomicBool::new(false),
        });
        if let Some((cap, _)) = &pool.shared {
            cap.join(pool.itself.clone());
        }
        pool
    }

    /// Several passes have it from now on.
    pub(crate) fn become_common(&self) {
        self.common.store(true, Ordering::Relaxed);
    }

    /// Waits for room for one more login.
    async fn place(&self) -> LoginRoom {
        let own = self.logins.places.clone().acquire_owned().await;
        let own = own.expect("this semaphore is never closed");
        let itself: Weak<dyn CapMember> = self.itself.clone();
        let shared = match &self.shared {
            Some((cap, priority)) => Some(cap.place(&itself, *priority).await),
            None => None,
        };
        LoginRoom { own, shared }
    }

    /// Whether there is no room for one more login now.
    fn is_full(&self) -> bool {
        self.logins.places.available_permits() == 0
            || self.shared.as_ref().is_some_and(|(cap, _)| cap.is_full())
    }

    /// The endpoint's address, for logs and reports.
    pub fn address(&self) -> &str {
        self.endpoint.address()
    }

    /// How many logins were made so far.
    pub fn logins(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    fn state(&self) -> MutexGuard<'_, LoginsState> {
        self.logins.state()
    }

    /// Why no login is tried any more, if so.
    pub fn refused(&self) -> Option<(Class, String)> {
        self.state().refused.clone()
    }

    /// Lends a session: an idle one, else a fork of a login with room, else a new login if the cap
    /// allows it, else waits until one of these comes true.
    pub async fn lend(self: &Arc<Self>) -> Result<PoolLease, SourceError> {
        self.lend_as(Some(self.id())).await
    }

    /// [`Pool::lend`], to a task of the pool `by`, which tries again what it tried itself. `None`:
    /// to a source that has tried nothing yet, and believes the others ([`SharedCap::silence`]).
    async fn lend_as(self: &Arc<Self>, by: Option<usize>) -> Result<PoolLease, SourceError> {
        let mut waiter = None;
        loop {
            let (asks, news) = self.manners();
            let returned = self.logins.returned.notified();
            tokio::pin!(returned);
            returned.as_mut().enable();
            if let Some(lent) = self.at_hand()? {
                return Ok(self.lease(lent, None));
            }
            let waiter = waiter.get_or_insert_with(|| LoginWaiter::new(&self.logins, Wants::Any));
            let asked = (by, waiter.since);
            self.may_expect_an_answer(asked)?;
            tokio::select! {
                biased;
                () = &mut returned => {}
                place = self.place(), if asks => {
                    if let Some(lent) = self.log_in(place, None, asked).await? {
                        return Ok(self.lease(lent, None));
                    }
                }
                () = over(news) => {}
            }
        }
    }

    /// Lends a session for try number `attempt` of `attempts`: to the last of several alone, so
    /// that the others on a login, whatever they do to it, cannot make all of them fail.
    pub(crate) async fn lend_for_try(
        self: &Arc<Self>,
        attempt: u32,
        attempts: u32,
    ) -> Result<PoolLease, SourceError> {
        match attempt {
            // Another pass may have just waited in vain on the same pool.
            1 if self.common.load(Ordering::Relaxed) => self.lend_as(None).await,
            _ if attempt > 1 && attempt >= attempts => self.lend_alone().await,
            _ => self.lend().await,
        }
    }

    /// Lends a session that has its login to itself until the lease, or what
    /// [`PoolLease::seclusion`] gives, ends: a login that nobody uses, else a new one if the cap
    /// allows it, else the one that is used least, once those on it have ended. For these newcomers
    /// are kept off it, but never for long.
    pub(crate) async fn lend_alone(self: &Arc<Self>) -> Result<PoolLease, SourceError> {
        if self.endpoint.transfers_per_connection() == 1 {
            return self.lend().await;
        }
        let waiter = LoginWaiter::new(&self.logins, Wants::Alone);
        let turn =
            self.turns.clone().acquire_owned().await.expect("this semaphore is never closed");
        let mut alone = ExclusiveLogin::new(self.logins.clone(), turn);
        // When the door of a login in use is next closed or opened.
        let mut door = None;
        loop {
            let (asks, news) = self.manners();
            let returned = self.logins.returned.notified();
            tokio::pin!(returned);
            returned.as_mut().enable();
            if let Some(lent) = self.unused(&mut alone)? {
                return Ok(self.lease(lent, Some(alone)));
            }
            let asked = (Some(self.id()), waiter.since);
            self.may_expect_an_answer(asked)?;
            let asks = asks && !self.state().owes_others();
            if !asks || self.is_full() {
                door = alone.knock(door, Instant::now());
            }
            tokio::select! {
                biased;
                () = &mut returned => {}
                place = self.place(), if asks => {
                    if let Some(lent) = self.log_in(place, Some(&mut alone), asked).await? {
                        return Ok(self.lease(lent, Some(alone)));
                    }
                }
                () = over(news) => {}
                () = over(door) => {}
            }
        }
    }

    fn lease(&self, lent: Lent, alone: Option<ExclusiveLogin>) -> PoolLease {
        PoolLease::new(self.logins.clone(), lent, alone)
    }

    /// Whether somebody waits for a session: a task that cannot use its own now may give way.
    pub(crate) fn is_wanted(&self) -> bool {
        self.state().is_wanted()
    }

    /// Whether a login may be asked for now, and when to think again. With none that is there,
    /// nothing else is left to do.
    fn manners(&self) -> (bool, Option<Instant>) {
        let (now, mut state) = (Instant::now(), self.state());
        state.bench.call_back(now);
        let quiet = state.bench.quiet_until(now);
        (quiet.is_none() || self.logins.alive.load(Ordering::SeqCst) == 0, state.bench.next())
    }

    fn may_ask(&self, state: &LoginsState) -> Result<(), SourceError> {
        let Some((class, message)) = &state.refused else { return Ok(()) };
        Err(SourceError::new(Op::Login, self.address(), *class, message.clone()).transient(false))
    }

    /// An error where the server has kept somebody waiting in vain since this task `asked` for a
    /// login, or a moment ago: the task would wait for the same silence.
    fn may_expect_an_answer(&self, asked: (Option<usize>, Instant)) -> Result<(), SourceError> {
        let cap = self.shared.as_ref().filter(|_| self.logins.alive.load(Ordering::SeqCst) == 0);
        let silence = cap.and_then(|(cap, _)| cap.silence(asked, self.address()));
        silence.map_or(Ok(()), Err)
    }

    fn at_hand(&self) -> Result<Option<Lent>, SourceError> {
        // First the lock ends, then what was lost.
        let mut lost = Vec::new();
        let mut state = self.state();
        self.may_ask(&state)?;
        Ok(state.at_hand(&mut lost))
    }

    fn unused(&self, alone: &mut ExclusiveLogin) -> Result<Option<Lent>, SourceError> {
        let mut lost = Vec::new();
        let mut state = self.state();
        self.may_ask(&state)?;
        Ok(state.unused(alone, &mut lost))
    }

    /// Logs in, one at a time until one login has succeeded. `None` when meanwhile a session came
    /// free. The login is kept for `alone`, if somebody is to have it so.
    async fn log_in(
        &self,
        place: LoginRoom,
        mut alone: Option<&mut ExclusiveLogin>,
        asked: (Option<usize>, Instant),
    ) -> Result<Option<Lent>, SourceError> {
        let first = if self.logins() == 0 { Some(self.opening.lock().await) } else { None };
        if first.is_some() {
            let found = match alone.as_deref_mut() {
                Some(alone) => self.unused(alone)?,
                None => self.at_hand()?,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        let cap = self.shared.as_ref().map(|(cap, _)| cap);
        self.may_expect_an_answer(asked)?;
        let session = match self.endpoint.open().await {
            Ok(session) => session,
            Err(error) => {
                cap.inspect(|cap| cap.note_failure(self.id(), &error));
                let result = self.turned_away(place.own, error);
                // The place is free again or rests, and others wait for news.
                self.logins.returned.notify_waiters();
                return result.map(|()| None);
            }
        };
        self.state().breaker.close();
        cap.inspect(|cap| cap.was_answered());
        let id = self.opened.fetch_add(1, Ordering::Relaxed);
        let login = Login::new(id, place, &self.logins.alive);
        let lent = {
            let mut state = self.state();
            state.remember(&login);
            if let Some(alone) = alone {
                alone.keep(&mut state, Some(id));
            }
            match session.fork() {
                Some(fork) => {
                    state.trunks.push(Lent { session, login: login.clone() });
                    Lent { session: fork, login }
                }
                None => Lent { session, login },
            }
        };
        self.logins.returned.notify_waiters();
        Ok(Some(lent))
    }

    /// What tells it from the other pools of its server.
    fn id(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// A login that failed. `Ok` when the server merely had no room for one more: the task that
    /// wanted it waits for one of those that are there, which costs no try.
    fn turned_away(
        &self,
        place: OwnedSemaphorePermit,
        error: SourceError,
    ) -> Result<(), SourceError> {
        let alive = self.logins.alive.load(Ordering::SeqCst);
        let mut state = self.state();
        match error.class() {
            Class::Auth | Class::HostKey | Class::Tls if !error.is_transient() => {
                state.refused = Some((error.class(), error.cause()))
            }
            Class::Busy | Class::Connect | Class::Stalled if alive > 0 && error.is_transient() => {
                // Half of the places that are not taken rest with this one.
                let spare = self.logins.places.available_permits() / 2;
                let spare =
                    (0..spare).filter_map(|_| self.logins.places.clone().try_acquire_owned().ok());
                let rest = state.bench.rest(std::iter::once(place).chain(spare), Instant::now());
                tracing::warn!(server = self.address(), logins = alive,
                    rest_ms = rest.as_millis() as u64, error = %chain(&error),
                    "The server takes no more logins now; those that are there do the work.");
                return Ok(());
            }
            _ if alive == 0 && error.is_transient() => {
                if let Some(why) = state.breaker.failed(Instant::now()) {
                    state.refused = Some((error.class(), format!("{why}: {}", error.cause())));
                }
            }
            _ => {}
        }
        Err(error)
    }

    /// Says good-bye on every idle login, unless another pass has use for them. Lent sessions end
    /// with their leases.
    pub async fn close(&self) {
        if self.common.load(Ordering::Relaxed) && self.itself.strong_count() > 1 {
            return;
        }
        let (idle, trunks) = {
            let mut state = self.state();
            (std::mem::take(&mut state.idle), std::mem::take(&mut state.trunks))
        };
        for lent in idle.into_iter().chain(trunks) {
            lent.session.close().await;
        }
    }
}

#[async_trait]
impl CapMember for Pool {
    async fn give_up_idle(&self, idle: Duration) -> bool {
        let unused = self.state().long_unused(idle, Instant::now());
        let any = !unused.is_empty();
        for Lent { session, login } in unused {
            // Its place is free once the server knows that the login has ended.
            drop(timeout(GOOD_BYE, session.close()).await);
            drop(login);
        }
        any
    }

    async fn give_up_one(&self) {
        if self.endpoint.transfers_per_connection() > 1 {
            let Some(pool) = self.itself.upgrade() else { return };
            if let Ok(lease) = pool.lend_alone().await {
                lease.end_login().await;
            }
            return;
        }
        let _leave = Leave::from(&self.logins);
        loop {
            let returned = self.logins.returned.notified();
            tokio::pin!(returned);
            returned.as_mut().enable();
            let next = self.state().next_to_leave();
            if let Some(Lent { session, login }) = next {
                drop(timeout(GOOD_BYE, session.close()).await);
                return drop(login);
            }
            returned.await;
        }
    }

    fn has_login_since(&self) -> Option<Instant> {
        self.state().oldest_login()
    }

    fn look_again(&self) {
        self.logins.returned.notify_waiters();
    }
}

#[cfg(test)]
mod shared_tests;
#[cfg(test)]
mod tests;
