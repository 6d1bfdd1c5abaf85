//! One run at a time goes over a source: it takes the source's lease first, and others leave the source to it.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::model::{BlobName, chain};
use crate::report::{LeftTo, SourceReport};
use crate::retry::retry;
use crate::run::context::Run;
use crate::store::contract::{LEASE, Lease, Leased, StoreError, StoreKind, Taken};
use crate::store::holder::{Holder, Life};

/// A third of a lease: two renewals may fail before it is lost.
const RENEWED_EVERY: Duration = Duration::from_secs(20);
/// How often a lease that may be a dead run's is asked for.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(5);
/// The clocks of two machines and the way between them.
const SLACK: Duration = Duration::from_secs(5);
/// Nobody waits longer for a lease to be given back; it lapses by itself.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(5);

/// Whose turn it is.
pub enum Turn {
    /// Ours, until [`Ours::over`].
    Ours(Ours),
    /// Another run's.
    Theirs(LeftTo),
}

/// Our turn. Dropping it gives the lease back as far as that can be done without waiting.
pub struct Ours {
    stop: CancellationToken,
    keeper: Option<AbortOnDropHandle<Option<String>>>,
    note: Option<String>,
}

/// Asks for the lease of `source`. Where there is none to be had (a credential without the right to it), it is
/// our turn all the same: the store's conditions keep two runs at once from harm, the lease only saves work.
pub async fn ask(run: &Run, source: &str) -> Turn {
    let name = BlobName::new(format!("_blobferry/{source}/lock")).expect("source names are legal segments");
    let holder = Holder::new(&run.id);
    let begun = Instant::now();
    let (mut ended, mut told) = (None, false);
    loop {
        let taken = match retry(&run.policy, &run.cancel, "leasing a source", |_| run.store.lease(&name, &holder)).await {
            Ok(Leased::Held(lease)) => return Turn::Ours(Ours::keep(lease, source)),
            Ok(Leased::Taken(taken)) => taken,
            Err(error) => return Turn::Ours(Ours::without(source, &error)),
        };
        let life = taken.by.as_ref().map_or(Life::Unknown, Holder::life);
        match &taken.by {
            Some(dead) if life == Life::Dead && ended.as_ref() != Some(dead) => {
                end(run, &name, dead, source).await;
                ended = Some(dead.clone());
                continue;
            }
            _ => {}
        }
        let until = begun + taken.outlives + SLACK;
        if life == Life::Alive || taken.outlives.is_zero() || Instant::now() >= until || run.cancel.is_cancelled() {
            return Turn::Theirs(left_to(source, taken));
        }
        if !told {
            tell_waiting(source, &taken, until - begun);
            told = true;
        }
        tokio::select! {
            () = sleep(LOOKED_AT_EVERY) => {}
            () = run.cancel.cancelled() => {}
        }
    }
}

async fn end(run: &Run, name: &BlobName, dead: &Holder, source: &str) {
    tracing::info!(source, run = dead.run, process = dead.process.id, "The run that had this source was killed; its lease is ended.");
    if let Err(error) = retry(&run.policy, &run.cancel, "ending a dead run's lease", |_| run.store.end_lease(name, dead)).await {
        tracing::debug!(source, error = %chain(&error), "A dead run's lease could not be ended; it lapses by itself.");
    }
}

fn tell_waiting(source: &str, taken: &Taken, wait: Duration) {
    let LeftTo { run, host, .. } = told_of(taken);
    let seconds = wait.as_secs();
    tracing::warn!(
        source,
        run,
        host,
        seconds,
        "Warning: waiting, because another run has this source. If that run is dead, its lease lapses within this time."
    );
}

fn left_to(source: &str, taken: Taken) -> LeftTo {
    let left = told_of(&taken);
    let since = left.since.map(|since| since.to_string());
    tracing::info!(source, run = left.run, host = left.host, since, "A source is left to another run.");
    left
}

fn told_of(taken: &Taken) -> LeftTo {
    let by = taken.by.clone();
    by.map_or_else(LeftTo::default, |by| LeftTo { run: Some(by.run), host: Some(by.host), since: Some(by.since) })
}

impl Ours {
    fn keep(lease: Box<dyn Lease>, source: &str) -> Self {
        let stop = CancellationToken::new();
        let keeper = AbortOnDropHandle::new(tokio::spawn(keep(lease, stop.clone(), source.to_owned())));
        Self { stop, keeper: Some(keeper), note: None }
    }

    fn without(source: &str, error: &StoreError) -> Self {
        let hint = match error.kind {
            StoreKind::Denied => "give the credential the right to write `_blobferry/` (a SAS: `w`)",
            _ => "the lease only saves work",
        };
        let error = chain(error);
        tracing::warn!(source, error, hint, "Warning: there is no lease to be had, so another run at the same time would do the same work.");
        let note = format!("without a lease, so that another run at the same time would do the same work: {error}; {hint}");
        Self { stop: CancellationToken::new(), keeper: None, note: Some(note) }
    }

    /// Our turn is over: gives the lease back, and tells the report if it was lost on the way, or never had.
    pub async fn over(self, report: &mut SourceReport) {
        self.stop.cancel();
        let lost = match self.keeper {
            Some(keeper) => keeper.await.unwrap_or_else(|_| Some("keeping its lease ended in a panic; the log has its trace".into())),
            None => None,
        };
        report.notes.extend(self.note.into_iter().chain(lost));
    }
}

/// Renews `lease` until it is to be given back or is lost; tells how it was lost.
async fn keep(lease: Box<dyn Lease>, stop: CancellationToken, source: String) -> Option<String> {
    let mut ours_until = Instant::now() + LEASE;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = sleep(RENEWED_EVERY) => {}
        }
        let asked = Instant::now();
        // No retries: the next renewal is the next try, and a lease has time for three.
        let why = match timeout(RENEWED_EVERY, lease.renew()).await {
            Ok(Ok(())) => {
                ours_until = asked + LEASE;
                continue;
            }
            Ok(Err(error)) if error.kind == StoreKind::Condition => chain(&error),
            Ok(Err(error)) if Instant::now() >= ours_until => chain(&error),
            Err(_) if Instant::now() >= ours_until => "storage does not answer".into(),
            Ok(Err(error)) => {
                tracing::debug!(source, error = %chain(&error), "A lease could not be renewed yet.");
                continue;
            }
            Err(_) => continue,
        };
        tracing::warn!(
            source,
            error = why,
            "Warning: the lease of this source is lost. The run goes on; another one may do the same work meanwhile."
        );
        return Some(format!("its lease was lost on the way, so another run may have done the same work meanwhile: {why}"));
    }
    match timeout(GIVEN_BACK_WITHIN, lease.release()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(source, error = %chain(&error), "A lease could not be given back; it lapses by itself."),
        Err(_) => tracing::debug!(source, "A lease was not given back in time; it lapses by itself."),
    }
    None
}
