//! The logins of a pool as they stand: who has which, who waits, which are kept for one who wants
//! to be alone.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::model::failure::Class;
use crate::source::contract::Session;
use crate::source::login_backoff::{Bench, Breaker};
use crate::source::shared_cap::SharedPlace;

/// A login in use is kept free of newcomers for so long, for one who wants it alone.
const DOOR_CLOSED: Duration = Duration::from_secs(5);
/// When those on it take longer, newcomers are let in for so long before the next attempt.
const DOOR_OPEN: Duration = Duration::from_secs(30);

/// What is known of a pool's logins.
#[derive(Debug)]
pub(crate) struct Logins {
    state: Mutex<LoginsState>,
    /// A task that waits looks again.
    pub returned: Notify,
    /// Room for logins.
    pub places: Arc<Semaphore>,
    /// Logins that are open now.
    pub alive: Arc<AtomicUsize>,
}

impl Logins {
    /// Of a pool with room for so many.
    pub fn new(places: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            returned: Notify::default(),
            places: Arc::new(Semaphore::new(places)),
            alive: Arc::default(),
        })
    }

    /// A place less for a while, if another login is left: the server ended one of too many.
    pub fn step_back(&self) {
        if self.alive.load(Ordering::SeqCst) > 0
            && let Ok(place) = self.places.clone().try_acquire_owned()
        {
            self.state().bench.rest(std::iter::once(place), Instant::now());
        }
    }

    /// How they stand now.
    pub fn state(&self) -> MutexGuard<'_, LoginsState> {
        self.state.lock().expect("no code panics while it holds this lock")
    }
}

/// What is known of them.
#[derive(Default)]
pub(crate) struct LoginsState {
    /// Places that rest.
    pub bench: Bench,
    /// Whether the server is down.
    pub breaker: Breaker,
    /// Why no login is tried any more.
    pub refused: Option<(Class, String)>,
    /// Sessions that nobody uses.
    pub idle: Vec<Lent>,
    /// One session of each login that can be forked; never lent itself.
    pub trunks: Vec<Lent>,
    /// Logins on which only one may be who wants to be alone, and who may still wait for the others
    /// to end.
    kept: BTreeSet<u64>,
    /// The logins that were made, as long as they live.
    made: Vec<Weak<Login>>,
    /// How many wait for a session in company.
    waiting: usize,
    /// How many of them come before the next login is kept.
    owed: usize,
    /// How many wait for a login of their own.
    seeking: usize,
    /// How many logins are to be given up once they come back.
    leaving: usize,
    /// Those that came back.
    left: Vec<Lent>,
}

impl LoginsState {
    /// Whether somebody waits for a session.
    pub(crate) fn is_wanted(&self) -> bool {
        self.waiting + self.seeking > 0
    }

    /// Whether those who wait for a session in company come before the next login is kept.
    pub(crate) fn owes_others(&self) -> bool {
        self.owed > 0
    }

    /// A session that may be in company, without a new login. What was lost is put into `lost`, to
    /// be dropped without the lock.
    pub(crate) fn at_hand(&mut self, lost: &mut Vec<Lent>) -> Option<Lent> {
        let Self { idle, trunks, kept, .. } = self;
        if let Some(at) = idle.iter().rposition(|lent| !kept.contains(&lent.login.id)) {
            return Some(idle.remove(at));
        }
        let fork =
            trunks.iter().filter(|trunk| !kept.contains(&trunk.login.id)).find_map(Lent::fork);
        if fork.is_none() {
            // A login that nobody is on and that has no room is lost, and its place is needed.
            let is_lost = |trunk: &mut Lent| {
                !kept.contains(&trunk.login.id) && Arc::strong_count(&trunk.login) == 1
            };
            lost.extend(trunks.extract_if(.., is_lost));
        }
        fork
    }

    /// A session on a login that nobody uses, without a new login. The login is kept for `alone`
    /// from now on. What was lost is put into `lost`, as in [`LoginsState::at_hand`].
    pub fn unused(&mut self, alone: &mut ExclusiveLogin, lost: &mut Vec<Lent>) -> Option<Lent> {
        // The login that it waits for may have been lost meanwhile.
        if alone.login.is_some_and(|login| self.trunks.iter().all(|trunk| trunk.login.id != login))
        {
            alone.keep(self, None);
        }
        while alone.login.is_some() || !self.owes_others() {
            let login = self.unused_login(alone.login)?;
            let mut idle: Vec<Lent> =
                self.idle.extract_if(.., |lent| lent.login.id == login).collect();
            let found = match self.trunks.iter().position(|trunk| trunk.login.id == login) {
                None => idle.pop(),
                Some(at) => {
                    // A fresh fork shows whether the connection is still there; the idle ones make
                    // room for it.
                    idle.clear();
                    let fork = self.trunks[at].fork();
                    if fork.is_none() {
                        lost.push(self.trunks.remove(at));
                    }
                    fork
                }
            };
            alone.keep(self, found.as_ref().map(|lent| lent.login.id));
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// Takes a session back: for the task that is next, or to be given up.
    pub(crate) fn take_back(&mut self, lent: Lent) {
        let to = if self.leaving > self.left.len() { &mut self.left } else { &mut self.idle };
        to.push(lent);
    }

    /// A session that was to be given up, or that nobody uses.
    pub(crate) fn next_to_leave(&mut self) -> Option<Lent> {
        self.left.pop().or_else(|| self.idle.pop())
    }

    /// All sessions of a login that nobody has used for `idle`, taken out of circulation.
    pub(crate) fn long_unused(&mut self, idle: Duration, now: Instant) -> Vec<Lent> {
        let is_long = |login: &Arc<Login>| now.duration_since(login.last_used()) >= idle;
        let here = self.idle.iter().chain(&self.trunks).map(|lent| &lent.login);
        let long: Vec<u64> = here.filter(|login| is_long(login)).map(|login| login.id).collect();
        let unused = long.into_iter().find(|id| {
            !self.kept.contains(id) && {
                let here = || self.idle.iter().chain(&self.trunks).map(|lent| &lent.login);
                let of_login = || here().filter(|login| login.id == *id);
                of_login().next().is_some_and(|one| Arc::strong_count(one) == of_login().count())
            }
        });
        unused.map_or_else(Vec::new, |id| self.take_login(id))
    }

    /// The sessions of a login that are here, taken out of circulation.
    pub(crate) fn take_login(&mut self, id: u64) -> Vec<Lent> {
        let of_login = |lent: &mut Lent| lent.login.id == id;
        let idle: Vec<Lent> = self.idle.extract_if(.., of_login).collect();
        idle.into_iter().chain(self.trunks.extract_if(.., of_login)).collect()
    }

    /// Keeps in mind that `login` was made.
    pub fn remember(&mut self, login: &Arc<Login>) {
        self.made.retain(|login| login.strong_count() > 0);
        self.made.push(Arc::downgrade(login));
    }

    /// When the oldest login was made.
    pub(crate) fn oldest_login(&self) -> Option<Instant> {
        self.made.iter().filter_map(Weak::upgrade).map(|login| login.made).min()
    }

    /// A login of which all sessions are here. Of those that are kept, only `own` counts.
    fn unused_login(&self, own: Option<u64>) -> Option<u64> {
        let here = || self.idle.iter().chain(&self.trunks).map(|lent| &lent.login);
        let is_unused = |login: &&Arc<Login>| {
            Arc::strong_count(login) == here().filter(|other| other.id == login.id).count()
        };
        here()
            .filter(|login| own == Some(login.id) || !self.kept.contains(&login.id))
            .find(is_unused)
            .map(|login| login.id)
    }
}

impl std::fmt::Debug for LoginsState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} idle, {} trunks, refused: {:?}",
            self.idle.len(),
            self.trunks.len(),
            self.refused
        )
    }
}

/// A session and its login.
pub(crate) struct Lent {
    /// The session.
    pub session: Box<dyn Session>,
    /// Its login.
    pub login: Arc<Login>,
}

impl Lent {
    /// Another session on the same login, if there is room.
    pub fn fork(&self) -> Option<Self> {
        Some(Self { session: self.session.fork()?, login: self.login.clone() })
    }
}

/// A login holds its place under the cap until the last session on it is gone.
pub struct Login {
    /// Its number.
    pub id: u64,
    _place: LoginRoom,
    alive: Arc<AtomicUsize>,
    made: Instant,
    used: Mutex<Instant>,
}

/// Room for one login.
pub struct LoginRoom {
    /// In its pool.
    pub own: OwnedSemaphorePermit,
    /// Under the cap over other pools, if there is one.
    pub shared: Option<SharedPlace>,
}

impl Login {
    /// Login number `id` at `place`, counted in `alive` as long as it lives.
    pub(crate) fn new(id: u64, place: LoginRoom, alive: &Arc<AtomicUsize>) -> Arc<Self> {
        alive.fetch_add(1, Ordering::SeqCst);
        let now = Instant::now();
        let (made, used) = (now, Mutex::new(now));
        Arc::new(Self { id, _place: place, alive: alive.clone(), made, used })
    }

    /// Somebody has used it until `now`.
    pub fn used(&self, now: Instant) {
        *self.used.lock().expect("no code panics while it holds this lock") = now;
    }

    fn last_used(&self) -> Instant {
        *self.used.lock().expect("no code panics while it holds this lock")
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

/// As long as this lives, one session that comes back is given up.
pub(crate) struct Leave(Arc<Logins>);

impl Leave {
    /// From now on.
    pub fn from(logins: &Arc<Logins>) -> Self {
        logins.state().leaving += 1;
        Self(logins.clone())
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.leaving -= 1;
        // What came back too late is of use here.
        while state.left.len() > state.leaving {
            let lent = state.left.pop();
            state.idle.extend(lent);
        }
        drop(state);
        self.0.returned.notify_waiters();
    }
}

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wants {
    /// A session.
    Any,
    /// A login of his own.
    Alone,
}

/// Somebody who waits for a session, counted as long as this lives.
pub(crate) struct LoginWaiter<'a> {
    /// Since when.
    pub since: Instant,
    logins: &'a Logins,
    wants: Wants,
}

impl<'a> LoginWaiter<'a> {
    /// Begins to wait.
    pub fn new(logins: &'a Logins, wants: Wants) -> Self {
        let mut state = logins.state();
        match wants {
            Wants::Any => state.waiting += 1,
            Wants::Alone => state.seeking += 1,
        }
        drop(state);
        Self { since: Instant::now(), logins, wants }
    }
}

impl Drop for LoginWaiter<'_> {
    fn drop(&mut self) {
        let mut state = self.logins.state();
        match self.wants {
            Wants::Any => {
                state.waiting -= 1;
                let owed = state.owed;
                state.owed = owed.saturating_sub(1).min(state.waiting);
                if owed > 0 && state.owed == 0 {
                    drop(state);
                    self.logins.returned.notify_waiters();
                }
            }
            Wants::Alone => state.seeking -= 1,
        }
    }
}

/// Nobody else is lent a session of a login as long as this lives. When it ends, all who wait for a
/// session then come before the next login is kept.
pub(crate) struct ExclusiveLogin {
    logins: Arc<Logins>,
    login: Option<u64>,
    _turn: OwnedSemaphorePermit,
}

impl ExclusiveLogin {
    /// A task that has this `turn` may keep a login.
    pub fn new(logins: Arc<Logins>, turn: OwnedSemaphorePermit) -> Self {
        Self { logins, login: None, _turn: turn }
    }

    /// Keeps `login`, and no other one any more.
    pub fn keep(&mut self, state: &mut LoginsState, login: Option<u64>) {
        if let Some(before) = self.login {
            state.kept.remove(&before);
        }
        state.kept.extend(login);
        self.login = login;
    }

    /// Closes the door of the login that is used least, so that it comes free, or opens it again
    /// when that takes too long. Returns when to knock again; before `next`, nothing changes.
    pub(crate) fn knock(&mut self, next: Option<Instant>, now: Instant) -> Option<Instant> {
        if next.is_some_and(|next| now < next) {
            return next;
        }
        let logins = self.logins.clone();
        let mut state = logins.state();
        if self.login.is_some() {
            self.open(&mut state);
            return Some(now + DOOR_OPEN);
        }
        if state.owes_others() {
            return None;
        }
        let others = state
            .trunks
            .iter()
            .map(|trunk| &trunk.login)
            .filter(|login| !state.kept.contains(&login.id));
        let least = others.min_by_key(|login| Arc::strong_count(login)).map(|login| login.id)?;
        self.keep(&mut state, Some(least));
        Some(now + DOOR_CLOSED)
    }

    fn open(&mut self, state: &mut LoginsState) {
        if self.login.is_some() {
            self.keep(state, None);
            state.owed = state.waiting;
            self.logins.returned.notify_waiters();
        }
    }
}

impl Drop for ExclusiveLogin {
    fn drop(&mut self) {
        let logins = self.logins.clone();
        self.open(&mut logins.state());
    }
}

/// Ends at `time`, or never.
pub async fn over(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
