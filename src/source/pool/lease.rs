//! A session on loan from a pool.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::model::failure::{Class, Failure};
use crate::source::contract::{Session, SourceError};
use crate::source::logins::{ExclusiveLogin, Lent, Logins};

/// How long saying good-bye may take that another pool waits for.
pub(super) const GOOD_BYE: Duration = Duration::from_secs(2);

/// A session on loan. Dropping it throws the session away (a cancelled transfer leaves it in an
/// unknown state); [`PoolLease::give_back`] keeps it for the next one.
pub struct PoolLease {
    pub(super) lent: Option<Lent>,
    alone: Option<ExclusiveLogin>,
    logins: Arc<Logins>,
}

impl PoolLease {
    /// Of `lent`, which goes back to `logins`.
    pub(super) fn new(logins: Arc<Logins>, lent: Lent, alone: Option<ExclusiveLogin>) -> Self {
        Self { lent: Some(lent), alone, logins }
    }

    /// Of a lease whose login is alone: others are let onto its login once this is dropped, or
    /// the lease ends.
    pub(crate) fn seclusion(&mut self) -> Option<ExclusiveLogin> {
        self.alone.take()
    }

    /// Ends the login of a lease that has it to itself.
    pub(super) async fn end_login(mut self) {
        let Some(Lent { session, login }) = self.lent.take() else { return };
        let others = self.logins.state().take_login(login.id);
        for lent in others {
            drop(timeout(GOOD_BYE, lent.session.close()).await);
        }
        drop(timeout(GOOD_BYE, session.close()).await);
        drop(login);
    }

    /// Returns a session that is in order.
    pub(crate) fn give_back(mut self) {
        if let Some(lent) = self.lent.take() {
            lent.login.used(Instant::now());
            self.logins.state().take_back(lent);
        }
    }

    /// Ends the lease as `result` demands: a session that survived goes back, one that did not
    /// takes its login, and the idle sessions that have probably died with it, out of circulation.
    pub fn settle<T>(self, result: &Result<T, SourceError>) {
        match result {
            Err(error) if !error.keeps_session() => self.lost(error),
            _ => self.give_back(),
        }
    }

    /// [`PoolLease::discard`], because of `error`: after one that says that the server has too much
    /// to do, one place rests.
    pub fn lost(self, error: &SourceError) {
        let logins = self.logins.clone();
        self.discard();
        if error.class() == Class::Busy {
            logins.step_back();
        }
    }

    /// Throws the session away, its login and the idle sessions that have probably died with it.
    pub fn discard(mut self) {
        let Some(lent) = self.lent.take() else { return };
        let dead: Vec<Lent> = {
            let mut state = self.logins.state();
            let trunks = std::mem::take(&mut state.trunks);
            let (dead, alive): (Vec<_>, Vec<_>) =
                trunks.into_iter().partition(|trunk| trunk.login.id == lent.login.id);
            state.trunks = alive;
            dead.into_iter().chain(std::mem::take(&mut state.idle)).collect()
        };
        drop((lent, dead));
    }
}

impl Drop for PoolLease {
    fn drop(&mut self) {
        if let Some(lent) = self.lent.take() {
            lent.login.used(Instant::now());
        }
        drop(self.alone.take());
        self.logins.returned.notify_waiters();
    }
}

impl Deref for PoolLease {
    type Target = dyn Session;
    fn deref(&self) -> &Self::Target {
        self.lent.as_ref().expect("a lease holds its session until it ends").session.as_ref()
    }
}

impl DerefMut for PoolLease {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.lent.as_mut().expect("a lease holds its session until it ends").session.as_mut()
    }
}
