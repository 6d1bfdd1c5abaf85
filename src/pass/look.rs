//! A look at one source: what there is to do, without its lease as long as that is nothing.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{Either, select};
use time::OffsetDateTime;

use super::destination;
use super::found_work::{Again, Survey};
use super::late;
use super::login_refusal;
use super::recovery;
use super::share;
use super::source_lock::{self, SourceLock, Turn};
use super::steps::{begin, note, open};
use super::survey::survey;
use crate::ledger::OpenPass;
use crate::report::{LeftTo, SourceReport};
use crate::transfer::alike;
use crate::transfer::context::{Pass, Run};
use crate::transfer::events;
use crate::transfer::settings::Source;

/// What a look at a source comes to.
pub(crate) enum LookOutcome {
    /// There is nothing to do, or nothing can be done, or another run is at it.
    Ended(Box<SourceReport>),
    /// There is work, and the lease of the source is ours.
    Work(Arc<Pass>, Box<Survey>, SourceLock),
    /// A pass in pieces is under way.
    UnderWay(OpenPass),
}

/// What becomes of a pass in pieces that is under way.
#[derive(Clone, Copy)]
pub enum Pieces<'a> {
    /// A pass whose workers are dead is ended; else the source is left to it.
    EndIfDead(&'a dyn EndDeadPasses),
    /// The look ends with [`LookOutcome::UnderWay`].
    Tell,
}

/// Ends passes in pieces whose workers are dead.
#[async_trait]
pub trait EndDeadPasses: Send + Sync {
    /// Ends `open`, the pass in pieces of the source of `pass`, if its workers are dead. `Some` is
    /// the run that the source is left to.
    async fn end_if_dead(&self, pass: &Pass, open: &OpenPass) -> Option<LeftTo>;
}

/// Looks without the lease of the source: where there is nothing to do, that is all. Work is done
/// under the lease; if another run has been here between the look and the lease, the look is taken
/// again.
pub(crate) async fn look_first(
    run: &Arc<Run>,
    source: &Source,
    again: &Again,
    pieces: Pieces<'_>,
) -> LookOutcome {
    let mut lock: Option<SourceLock> = None;
    if let Err(report) = destination::prepare(run, source).await {
        return ended(None, *report).await;
    }
    loop {
        let pass = match open(run.clone(), source.clone()).await {
            Ok(pass) => Arc::new(pass),
            Err(report) => return ended(lock, report).await,
        };
        let open = pass.ledger.under_way().cloned();
        if let (Some(open), Pieces::Tell) = (&open, pieces) {
            let open = open.clone();
            ended(lock, SourceReport::default()).await;
            return LookOutcome::UnderWay(open);
        }
        // Whether nobody but us could write to the ledger since it was read.
        let mut fresh = lock.is_some();
        if lock.is_none() && may_be_at_work(&pass, again) {
            match source_lock::ask(run, &source.name).await {
                Turn::Ours(ours) => lock = Some(ours),
                Turn::Theirs(other) => return ended(None, left(source, other)).await,
            }
            if !is_current(&pass).await {
                continue;
            }
            fresh = true;
        }
        if lock.is_some()
            && let (Some(open), Pieces::EndIfDead(sweeper)) = (&open, pieces)
            && let Some(other) = sweeper.end_if_dead(&pass, open).await
        {
            return ended(lock, left(source, other)).await;
        }
        if let Some(report) = destination::moved(&pass) {
            return ended(lock, report).await;
        }
        let mut survey = match lock_while_looking(&pass, again, &mut lock).await {
            Ok(survey) => survey,
            Err(other) => return ended(None, left(source, other)).await,
        };
        recovery::recover(&pass, &mut survey.report).await;
        if !survey.has_work(&pass) {
            let report = idle(&pass, survey).await;
            return ended(lock, report).await;
        }
        let ours = match lock {
            Some(ours) => ours,
            // There is work, so the run will leave a record.
            None => match tokio::join!(source_lock::ask(run, &source.name), run.announce()).0 {
                Turn::Ours(ours) => ours,
                Turn::Theirs(other) => return ended(None, left(source, other)).await,
            },
        };
        if !fresh && !tokio::join!(is_current(&pass), make_ahead(&pass, pieces)).0 {
            pass.pool.close().await;
            lock = Some(ours);
            continue;
        }
        return LookOutcome::Work(pass, Box::new(survey), ours);
    }
}

/// Makes the journal of a pass; pieces have journals of their own.
async fn make_ahead(pass: &Pass, pieces: Pieces<'_>) {
    if let Pieces::EndIfDead(_) = pieces {
        pass.ledger.make_ahead().await;
    }
}

/// Whether another run may be at this source, or has left work half done: then the lease comes
/// before the look.
fn may_be_at_work(pass: &Pass, again: &Again) -> bool {
    again.is_some() || pass.ledger.unclean() || pass.ledger.under_way().is_some()
}

/// Whether nobody has written to the ledger since it was read. Where that cannot be told, it is
/// read again.
async fn is_current(pass: &Pass) -> bool {
    pass.ledger.is_current().await.unwrap_or(false)
}

async fn ended(lock: Option<SourceLock>, mut report: SourceReport) -> LookOutcome {
    if let Some(ours) = lock {
        ours.over(&mut report).await;
    }
    LookOutcome::Ended(Box::new(report))
}

/// The run of a pass in pieces, as one that a source is left to.
pub fn left_to(open: &OpenPass) -> LeftTo {
    LeftTo { run: Some(open.run.clone()), host: None, since: Some(open.since) }
}

/// The report of a source that is left to another run.
pub fn left(source: &Source, other: LeftTo) -> SourceReport {
    let mut report = SourceReport::new(&source.name, source.endpoint.address());
    late::left(source, &mut report, &other, OffsetDateTime::now_utc());
    report.left_to = Some(other);
    report
}

/// A look that takes longer takes the lease of the source: runs that begin meanwhile do not look
/// too.
const LONG_LOOK: Duration = Duration::from_secs(30);

/// A look; the lease is taken beside it if it takes long. `Err` is the run that has it.
async fn lock_while_looking(
    pass: &Arc<Pass>,
    again: &Again,
    lock: &mut Option<SourceLock>,
) -> Result<Survey, LeftTo> {
    let looking = std::pin::pin!(look(pass, again));
    if lock.is_some() {
        return Ok(looking.await);
    }
    let late = async {
        tokio::time::sleep(LONG_LOOK).await;
        source_lock::ask(&pass.run, &pass.source.name).await
    };
    match select(looking, std::pin::pin!(late)).await {
        Either::Left((survey, _)) => Ok(survey),
        Either::Right((Turn::Theirs(other), _)) => Err(other),
        Either::Right((Turn::Ours(ours), looking)) => {
            *lock = Some(ours);
            Ok(looking.await)
        }
    }
}

/// Lists the source and decides. Lines of the manifest wait in memory: nothing is written by a
/// look.
async fn look(pass: &Arc<Pass>, again: &Again) -> Survey {
    pass.lines.keep();
    match pass.run.in_time(survey(pass, again)).await {
        Some(survey) => {
            share::remember(pass, &survey.share);
            survey
        }
        None => Survey::stopped(pass),
    }
}

/// There is nothing to do.
async fn idle(pass: &Pass, survey: Survey) -> SourceReport {
    let Survey { mut report, .. } = survey;
    alike::tell(pass, &mut report).await;
    events::surveyed(&report);
    pass.run.progress.planned(&pass.source.name, 0, 0);
    // What died before it could end left nothing to be looked for: later looks need no lease.
    let is_news = pass.ledger.unclean() || pass.ledger.share_is_news();
    if is_news && report.problems.is_empty() && begin(pass, &mut report).await {
        note(&mut report, pass.ledger.end().await);
    }
    note(&mut report, pass.ledger.fold_for_idle().await);
    if !pass.run.cancel.is_cancelled() {
        pass.pool.close().await;
    }
    login_refusal::after(pass).await;
    report
}
