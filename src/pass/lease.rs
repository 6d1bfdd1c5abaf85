//! Renews a lease while it is needed. What a lost lease leads to is the caller's: a pass goes on
//! and notes it (`source_lock.rs`), a piece stops (`jobs/working.rs`).

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::model::{BlobName, chain};
use crate::runtime::retry::retry;
use crate::store::contract::{LEASE, Lease, Leased, StoreError, StoreKind};
use crate::store::holder::{Holder, Life};
use crate::transfer::context::Run;

/// A third of a lease: two renewals may fail before it is lost.
const RENEWED_EVERY: Duration = Duration::from_secs(20);
/// Nobody waits longer for a lease to be given back; it lapses by itself.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(5);

/// A lease of ours. Dropping it has it given back, by a task that `Run::leases` tracks.
#[derive(Debug)]
pub struct LeaseGuard {
    stop: CancellationToken,
    keeper: Option<JoinHandle<Option<String>>>,
}

impl LeaseGuard {
    /// Renews `lease` in a task until the guard is given back or dropped; `what` names it in logs.
    /// It counts as lost `early` before the store would let it lapse. A loss stops nothing: ask
    /// [`LeaseGuard::lost`].
    pub fn keep(
        leases: &TaskTracker,
        lease: Box<dyn Lease>,
        what: String,
        early: Duration,
    ) -> Self {
        Self::keep_until(leases, lease, what, early, CancellationToken::new())
    }

    /// As [`LeaseGuard::keep`]; a loss also cancels the token `lost`.
    pub(crate) fn keep_until(
        leases: &TaskTracker,
        lease: Box<dyn Lease>,
        what: String,
        early: Duration,
        lost: CancellationToken,
    ) -> Self {
        let stop = CancellationToken::new();
        let keeper = Keeper { lease, what, early, stop: stop.clone(), lost };
        Self { stop, keeper: Some(leases.spawn(keeper.keep())) }
    }

    /// How it was lost, if that is known by now.
    pub async fn lost(&mut self) -> Option<String> {
        let keeper = self.keeper.take_if(|keeper| keeper.is_finished())?;
        Self::ended(keeper).await
    }

    /// Gives the lease back. Tells how it was lost, if it was.
    pub async fn release(mut self) -> Option<String> {
        self.stop.cancel();
        Self::ended(self.keeper.take()?).await
    }

    async fn ended(keeper: JoinHandle<Option<String>>) -> Option<String> {
        keeper.await.unwrap_or_else(|_| {
            Some("keeping the lease ended in a panic; the log has its trace".into())
        })
    }
}

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Keeper {
    lease: Box<dyn Lease>,
    what: String,
    early: Duration,
    stop: CancellationToken,
    lost: CancellationToken,
}

impl Keeper {
    /// Renews the lease until it is to be given back or is lost; tells how it was lost.
    async fn keep(self) -> Option<String> {
        let mut ours_until = Instant::now() + LEASE - self.early;
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                () = sleep(RENEWED_EVERY) => {}
            }
            let asked = Instant::now();
            // No retries: the next renewal is the next try, and a lease has time for three.
            let renewed = tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                renewed = timeout(RENEWED_EVERY, self.lease.renew()) => renewed,
            };
            let why = match renewed {
                Ok(Ok(())) => {
                    ours_until = asked + LEASE - self.early;
                    continue;
                }
                Ok(Err(error)) if error.kind == StoreKind::Condition => chain(&error),
                Ok(Err(error)) if Instant::now() >= ours_until => chain(&error),
                Err(_) if Instant::now() >= ours_until => "storage does not answer".into(),
                Ok(Err(error)) => {
                    tracing::debug!(what = self.what, error = %chain(&error), "A lease could not \
                        be renewed yet.");
                    continue;
                }
                Err(_) => continue,
            };
            tracing::warn!(
                what = self.what,
                error = why,
                "Warning: a lease is lost; another run or worker may do the same work meanwhile."
            );
            self.lost.cancel();
            return Some(why);
        }
        match timeout(GIVEN_BACK_WITHIN, self.lease.release()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(what = self.what, error = %chain(&error), "A lease could not be \
                    given back; it lapses by itself.")
            }
            Err(_) => tracing::debug!(
                what = self.what,
                "A lease was not given back in time; it lapses by itself."
            ),
        }
        None
    }
}

/// Asks for the lease `name`. If its holder is known to be dead, ends that lease and asks again.
pub async fn ask(run: &Run, name: &BlobName, holder: &Holder) -> Result<Leased, StoreError> {
    let once = || retry(&run.policy, &run.cancel, "leasing", |_| run.store.lease(name, holder));
    let asked = once().await?;
    let Leased::Taken(taken) = &asked else { return Ok(asked) };
    let Some(dead) = taken.by.as_ref().filter(|by| by.life() == Life::Dead) else {
        return Ok(asked);
    };
    end(run, name, dead).await;
    once().await
}

/// Ends the lease of a holder who is dead.
async fn end(run: &Run, name: &BlobName, dead: &Holder) {
    tracing::info!(
        lease = name.as_str(),
        run = dead.run,
        process = dead.process.id,
        "Whoever had this lease was killed; it is ended."
    );
    if let Err(error) = retry(&run.policy, &run.cancel, "ending a dead holder's lease", |_| {
        run.store.end_lease(name, dead)
    })
    .await
    {
        tracing::debug!(lease = name.as_str(), error = %chain(&error), "A dead holder's lease \
            could not be ended; it lapses by itself.");
    }
}
