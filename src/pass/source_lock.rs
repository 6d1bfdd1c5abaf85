//! One run at a time goes over a source: it takes the source's lease first, and others leave the
//! source to it.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::model::chain;
use crate::pass::lease::{self, LeaseGuard};
use crate::report::{LeftTo, SourceReport};
use crate::state::paths::StatePaths;
use crate::store::contract::{Lease, Leased, StoreError, StoreKind, Taken};
use crate::store::holder::{Holder, Life};
use crate::transfer::context::Run;

/// How often a lease that may be a dead run's is asked for.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(5);
/// The clocks of two machines and the way between them.
const SLACK: Duration = Duration::from_secs(5);

/// Whose turn it is.
pub enum Turn {
    /// Ours, until [`SourceLock::over`].
    Ours(SourceLock),
    /// Another run's.
    Theirs(LeftTo),
}

/// Our turn. Dropping it has the lease given back.
pub struct SourceLock {
    held: Option<LeaseGuard>,
    note: Option<String>,
}

/// Asks for the lease of `source`. Where there is none to be had (a credential without the right to
/// it), it is our turn all the same: the store's conditions keep two runs at once from harm, the
/// lease only saves work.
pub(crate) async fn ask(run: &Run, source: &str) -> Turn {
    let name = StatePaths::of(source).lock();
    let holder = Holder::new(&run.id);
    let begun = Instant::now();
    let mut told = false;
    loop {
        let taken = match lease::ask(run, &name, &holder).await {
            Ok(Leased::Held(lease)) => return Turn::Ours(SourceLock::keep(run, lease, source)),
            Ok(Leased::Taken(taken)) => taken,
            Err(error) => return Turn::Ours(SourceLock::without(source, &error)),
        };
        let life = taken.by.as_ref().map_or(Life::Unknown, Holder::life);
        let until = begun + taken.outlives + SLACK;
        if life == Life::Alive
            || taken.outlives.is_zero()
            || Instant::now() >= until
            || run.cancel.is_cancelled()
        {
            return Turn::Theirs(left_to(source, taken));
        }
        if !told {
            tell_waiting(source, &taken, until - begun);
            told = true;
        }
        tokio::select! {
            biased;
            () = sleep(LOOKED_AT_EVERY) => {}
            () = run.cancel.cancelled() => {}
        }
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
        "Warning: waiting, because another run has this source. If that run is dead, its lease \
        lapses within this time."
    );
}

fn left_to(source: &str, taken: Taken) -> LeftTo {
    let left = told_of(&taken);
    let since = left.since.map(|since| since.to_string());
    tracing::info!(
        source,
        run = left.run,
        host = left.host,
        since,
        "A source is left to another run."
    );
    left
}

fn told_of(taken: &Taken) -> LeftTo {
    let by = taken.by.clone();
    by.map_or_else(LeftTo::default, |by| LeftTo {
        run: Some(by.run),
        host: Some(by.host),
        since: Some(by.since),
    })
}

impl SourceLock {
    fn keep(run: &Run, lease: Box<dyn Lease>, source: &str) -> Self {
        let what = format!("source {source}");
        Self { held: Some(LeaseGuard::keep(&run.leases, lease, what, Duration::ZERO)), note: None }
    }

    fn without(source: &str, error: &StoreError) -> Self {
        let hint = match error.kind {
            StoreKind::Denied => {
                "give the credential the right to write `_blobferry/` (a SAS: `w`)"
            }
            _ => "the lease only saves work",
        };
        let error = chain(error);
        tracing::warn!(
            source,
            error,
            hint,
            "Warning: there is no lease to be had, so another run at the same time would do the \
            same work."
        );
        let note = format!(
            "without a lease, so that another run at the same time would do the same work: \
            {error}; {hint}"
        );
        Self { held: None, note: Some(note) }
    }

    /// Our turn is over: gives the lease back, and tells the report if it was lost on the way, or
    /// never had.
    pub async fn over(self, report: &mut SourceReport) {
        self.note_loss(report).await.given_back().await;
    }

    /// Adds to the report that the lease was lost on the way, or never had. Does not give it back.
    pub async fn note_loss(mut self, report: &mut SourceReport) -> Self {
        let lost = match &mut self.held {
            Some(held) => held.lost().await,
            None => None,
        };
        let lost = lost.map(|why| {
            format!(
                "its lease was lost on the way, so another run may have \
            done the same work meanwhile: {why}"
            )
        });
        report.notes.extend(self.note.take().into_iter().chain(lost));
        self
    }

    /// Gives the lease back.
    pub(crate) async fn given_back(self) {
        if let Some(held) = self.held {
            held.release().await;
        }
    }
}
