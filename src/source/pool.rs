//! The logins of one source: lent out, forked where the protocol allows it, never more than the cap, fewer where the server has no room.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::failure::{Class, Failure};
use crate::model::chain;
use crate::source::contract::{Endpoint, Op, Session, SourceError};
use crate::source::manners::{Bench, Breaker};

/// Sessions of one endpoint.
///
/// At most `connections` logins are open at any time. The first login is made alone; once a
/// credential, host key or certificate was refused, no further login is tried. A server that has
/// no room for one more, or cannot be reached for it, keeps those it has; it is not asked for a while,
/// then for half as many, then for one more from time to time. A server that was not to be had for
/// long is not asked any more.
#[derive(Debug)]
pub struct Pool {
    endpoint: Arc<dyn Endpoint>,
    logins: Arc<Semaphore>,
    opening: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    returned: Notify,
    opened: AtomicU64,
    /// Logins that are open now.
    alive: Arc<AtomicUsize>,
}

#[derive(Default)]
struct State {
    bench: Bench,
    breaker: Breaker,
    idle: Vec<Lent>,
    /// One session of each login that can be forked; never lent itself.
    trunks: Vec<Lent>,
    /// Why no login is tried any more.
    refused: Option<(Class, String)>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} idle, {} trunks, refused: {:?}", self.idle.len(), self.trunks.len(), self.refused)
    }
}

struct Lent {
    session: Box<dyn Session>,
    login: Arc<Login>,
}

/// A login holds its place under the cap until the last session on it is gone.
struct Login {
    id: u64,
    _place: OwnedSemaphorePermit,
    alive: Arc<AtomicUsize>,
}

impl Drop for Login {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Pool {
    /// A pool of at most `connections` logins.
    pub fn new(endpoint: Arc<dyn Endpoint>, connections: usize) -> Arc<Self> {
        Arc::new(Self {
            endpoint,
            logins: Arc::new(Semaphore::new(connections.max(1))),
            opening: tokio::sync::Mutex::new(()),
            state: Mutex::default(),
            returned: Notify::new(),
            opened: AtomicU64::new(0),
            alive: Arc::default(),
        })
    }

    /// The endpoint's address, for logs and reports.
    pub fn address(&self) -> &str {
        self.endpoint.address()
    }

    /// How many logins were made so far.
    pub fn logins(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds this lock")
    }

    /// Why no login is tried any more, if so.
    pub fn refused(&self) -> Option<(Class, String)> {
        self.state().refused.clone()
    }

    /// Lends a session: an idle one, else a fork of a login with room, else a new login if the cap
    /// allows it, else waits until one of these comes true.
    pub async fn lend(self: &Arc<Self>) -> Result<Lease, SourceError> {
        loop {
            let (asks, news) = self.manners();
            let returned = self.returned.notified();
            tokio::pin!(returned);
            returned.as_mut().enable();
            if let Some(lent) = self.at_hand()? {
                return Ok(Lease { lent: Some(lent), pool: self.clone() });
            }
            tokio::select! {
                biased;
                () = &mut returned => {}
                place = self.logins.clone().acquire_owned(), if asks => {
                    let place = place.expect("this semaphore is never closed");
                    if let Some(lent) = self.log_in(place).await? {
                        return Ok(Lease { lent: Some(lent), pool: self.clone() });
                    }
                }
                () = over(news) => {}
            }
        }
    }

    /// Whether a login may be asked for now, and when to think again. With none that is there, nothing else is left to do.
    fn manners(&self) -> (bool, Option<Instant>) {
        let (now, mut state) = (Instant::now(), self.state());
        state.bench.call_back(now);
        let quiet = state.bench.quiet_until(now);
        (quiet.is_none() || self.alive.load(Ordering::SeqCst) == 0, state.bench.next())
    }

    fn at_hand(&self) -> Result<Option<Lent>, SourceError> {
        let mut state = self.state();
        if let Some((class, message)) = &state.refused {
            return Err(SourceError::new(Op::Login, self.address(), *class, message.clone()).transient(false));
        }
        if let Some(lent) = state.idle.pop() {
            return Ok(Some(lent));
        }
        let fork = |trunk: &Lent| Some(Lent { session: trunk.session.fork()?, login: trunk.login.clone() });
        Ok(state.trunks.iter().find_map(fork))
    }

    /// Logs in, alone until one login has succeeded. `None` when meanwhile a session came free.
    async fn log_in(&self, place: OwnedSemaphorePermit) -> Result<Option<Lent>, SourceError> {
        let alone = if self.logins() == 0 { Some(self.opening.lock().await) } else { None };
        if alone.is_some()
            && let Some(lent) = self.at_hand()?
        {
            return Ok(Some(lent));
        }
        let session = match self.endpoint.open().await {
            Ok(session) => session,
            Err(error) => {
                let result = self.turned_away(place, error);
                // The place is free again or rests, and others wait for news.
                self.returned.notify_waiters();
                return result.map(|()| None);
            }
        };
        self.state().breaker.close();
        let id = self.opened.fetch_add(1, Ordering::Relaxed);
        self.alive.fetch_add(1, Ordering::SeqCst);
        let login = Arc::new(Login { id, _place: place, alive: self.alive.clone() });
        let lent = match session.fork() {
            Some(fork) => {
                self.state().trunks.push(Lent { session, login: login.clone() });
                Lent { session: fork, login }
            }
            None => Lent { session, login },
        };
        self.returned.notify_waiters();
        Ok(Some(lent))
    }

    /// A login that failed. `Ok` when the server merely had no room for one more: whoever wanted it waits for
    /// one of those that are there, which costs no try.
    fn turned_away(&self, place: OwnedSemaphorePermit, error: SourceError) -> Result<(), SourceError> {
        let alive = self.alive.load(Ordering::SeqCst);
        let mut state = self.state();
        let cause = || std::error::Error::source(&error).map_or_else(|| error.to_string(), chain);
        match error.class() {
            Class::Auth | Class::HostKey | Class::Tls if !error.is_transient() => state.refused = Some((error.class(), cause())),
            Class::Busy | Class::Connect | Class::Stalled if alive > 0 && error.is_transient() => {
                // Half of the places that are not taken rest with this one.
                let spare = self.logins.available_permits() / 2;
                let spare = (0..spare).filter_map(|_| self.logins.clone().try_acquire_owned().ok());
                let rest = state.bench.rest(std::iter::once(place).chain(spare), Instant::now());
                tracing::warn!(server = self.address(), logins = alive, rest_ms = rest.as_millis() as u64, error = %chain(&error), "The server takes no more logins now; those that are there do the work.");
                return Ok(());
            }
            _ if alive == 0 && error.is_transient() => {
                if let Some(why) = state.breaker.failed(Instant::now()) {
                    state.refused = Some((error.class(), format!("{why}: {}", cause())));
                }
            }
            _ => {}
        }
        Err(error)
    }

    /// A place less for a while, if another login is left: the server ended a session because it has too many.
    fn step_back(&self) {
        if self.alive.load(Ordering::SeqCst) > 0
            && let Ok(place) = self.logins.clone().try_acquire_owned()
        {
            self.state().bench.rest(std::iter::once(place), Instant::now());
        }
    }

    /// Says good-bye on every idle login. Lent sessions end with their leases.
    pub async fn close(&self) {
        let (idle, trunks) = {
            let mut state = self.state();
            (std::mem::take(&mut state.idle), std::mem::take(&mut state.trunks))
        };
        for lent in idle.into_iter().chain(trunks) {
            lent.session.close().await;
        }
    }
}

/// Ends at `time`, or never.
async fn over(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// A session on loan. Dropping it throws the session away (a cancelled transfer leaves it in an
/// unknown state); [`Lease::give_back`] keeps it for the next one.
pub struct Lease {
    lent: Option<Lent>,
    pool: Arc<Pool>,
}

impl Lease {
    /// Returns a session that is in order.
    pub fn give_back(mut self) {
        if let Some(lent) = self.lent.take() {
            self.pool.state().idle.push(lent);
        }
    }

    /// Ends the lease as `result` demands: a session that survived goes back, one that did not takes
    /// its login, and the idle sessions that have probably died with it, out of circulation.
    pub fn settle<T>(self, result: &Result<T, SourceError>) {
        match result {
            Err(error) if !error.keeps_session() => self.lost(error),
            _ => self.give_back(),
        }
    }

    /// [`Lease::discard`], because of `error`: after one that says that the server has too much to do, one place rests.
    pub fn lost(self, error: &SourceError) {
        let pool = self.pool.clone();
        self.discard();
        if error.class() == Class::Busy {
            pool.step_back();
        }
    }

    /// Throws the session away, its login and the idle sessions that have probably died with it.
    pub fn discard(mut self) {
        let Some(lent) = self.lent.take() else { return };
        let dead: Vec<Lent> = {
            let mut state = self.pool.state();
            let trunks = std::mem::take(&mut state.trunks);
            let (dead, alive): (Vec<_>, Vec<_>) = trunks.into_iter().partition(|trunk| trunk.login.id == lent.login.id);
            state.trunks = alive;
            dead.into_iter().chain(std::mem::take(&mut state.idle)).collect()
        };
        drop((lent, dead));
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        drop(self.lent.take());
        self.pool.returned.notify_waiters();
    }
}

impl Deref for Lease {
    type Target = dyn Session;
    fn deref(&self) -> &Self::Target {
        self.lent.as_ref().expect("a lease holds its session until it ends").session.as_ref()
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.lent.as_mut().expect("a lease holds its session until it ends").session.as_mut()
    }
}
