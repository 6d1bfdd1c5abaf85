//! Looks after what nobody else can: messages that the host gave up, and passes whose workers are
//! dead.
//!
//! The host moves a message that failed too often without telling anybody, and a killed worker has
//! no last word. So each tick of the timer looks here: the files of such pieces end as failed, the
//! pass is closed, and a later one takes the files again.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;

use super::cutting::Sizes;
use super::error::WorkError;
use super::message::{Message, PieceId, Task, Unreadable};
use super::outcome::Came;
use super::pass_store::{PassStore, never};
use super::piece_job::PieceJob;
use super::progress::PassProgress;
use super::{finalize, piece_report, working};
use crate::history::record::{RunRecord, source_line};
use crate::history::records::Records;
use crate::ledger::{self, OpenPass};
use crate::model::clocks::not_ahead;
use crate::model::failure::Class;
use crate::model::{chain, printable};
use crate::report::{Outcome, Problem, SourceReport};
use crate::runtime::retry::retry;
use crate::store::queue::{GivenUp, Queue};
use crate::transfer::context::Run;
use crate::transfer::options::Options;
use crate::transfer::settings::Source;

/// Nobody else looks at messages that were given up for so long.
const HIDDEN: Duration = Duration::from_secs(300);
/// A pass that nothing was heard of for so long is looked at. The host brings the message of a
/// killed worker again after ten minutes.
pub(crate) const SILENCE: time::Duration = time::Duration::minutes(15);
/// A pass that nothing was heard of for so long is ended, whatever waits in the queue.
const LONG_SILENCE: time::Duration = time::Duration::hours(24);

/// Why a file failed that nobody will bring over.
const GIVEN_UP: &str = "its piece of work was given up: the worker failed, was killed or ran out \
    of time each time; the log tells more";

/// What a look around came to.
#[derive(Debug, Default)]
pub struct Swept {
    /// Messages that were given up, and are dealt with.
    pub given_up: usize,
    /// Runs of which a pass was closed.
    pub closed: Vec<String>,
    /// Runs that ended with it.
    pub ended: Vec<RunRecord>,
    /// What could not be done; the next tick tries again.
    pub problems: Vec<String>,
}

/// Looks after messages that were given up, and after the passes of those sources that were `asked`
/// for.
pub async fn sweep(
    sources: &[Source],
    asked: &[Source],
    queue: &Arc<dyn Queue>,
    options: impl Fn() -> Options,
) -> Swept {
    let mut swept = Swept::default();
    let policy = options().policy;
    match retry(&policy, &never(), "reading what was given up", |_| queue.given_up(HIDDEN)).await {
        Ok(messages) => {
            for message in messages {
                if let Err(error) = given_up(&message, sources, queue, &options, &mut swept).await {
                    swept.problems.push(chain(&error));
                }
            }
        }
        Err(error) => swept.problems.push(chain(&error)),
    }
    let waiting = retry(&policy, &never(), "looking at the queue", |_| queue.length()).await;
    for source in asked {
        let found =
            look_at(source, queue, &options, waiting.as_ref().map_or(1, |length| *length)).await;
        match found {
            Ok(run) => swept.closed.extend(run),
            Err(error) => swept.problems.push(chain(&error)),
        }
    }
    swept
}

async fn given_up(
    given_up: &GivenUp,
    sources: &[Source],
    queue: &Arc<dyn Queue>,
    options: &impl Fn() -> Options,
    swept: &mut Swept,
) -> Result<(), WorkError> {
    match Message::parse(&given_up.text) {
        Ok(message) => {
            for name in message.sources() {
                if let Some(source) = sources.iter().find(|source| source.name == name) {
                    of_source(&message, source, queue, options, swept).await?;
                }
            }
        }
        Err(Unreadable::Later(version)) => {
            // A worker of that release must have another chance at it.
            tracing::warn!(
                version,
                "A message of a later release was given up; it is put back for that release."
            );
            retry(&options().policy, &never(), "putting a message back", |_| {
                queue.send(&given_up.text, HIDDEN)
            })
            .await?;
        }
        Err(Unreadable::Foreign(_)) => {
            // The worker that wrote it may look for it there.
            let text: String = printable(given_up.text.as_bytes()).chars().take(200).collect();
            tracing::warn!(
                text,
                "Warning: a message that was given up is none of ours; it is left in the poison \
                queue."
            );
            return Ok(());
        }
    }
    queue.forget(given_up).await?;
    swept.given_up += 1;
    Ok(())
}

/// Ends what `message`, which was given up, asked of `source`.
async fn of_source(
    message: &Message,
    source: &Source,
    queue: &Arc<dyn Queue>,
    options: &impl Fn() -> Options,
    swept: &mut Swept,
) -> Result<(), WorkError> {
    tracing::warn!(
        run_id = message.run,
        source = source.name,
        work = %message,
        "Warning: a message was given up; its files end as failed."
    );
    let pass_store = PassStore::new(
        options(),
        source.clone(),
        Some(queue.clone()),
        Sizes::default(),
        &message.run,
    );
    let closed = match &message.task {
        Task::Plan => give_up_plan(&pass_store).await?,
        Task::Piece { pass, piece } => give_up_piece(&pass_store, pass, *piece).await?,
    };
    let Some(report) = closed else { return Ok(()) };
    let line = source_line(&report, pass_store.run.state.redactor(), OffsetDateTime::now_utc());
    let told = Records::new(pass_store.run.state.clone()).tell(&message.run, &[line]).await?;
    swept.ended.extend(told.filter(|told| told.has_ended).map(|told| told.record));
    swept.closed.push(message.run.clone());
    Ok(())
}

/// A plan that was never made: the pass is over with nothing done. Its report, if it was closed
/// now.
async fn give_up_plan(pass_store: &PassStore) -> Result<Option<SourceReport>, WorkError> {
    if pass_store.is_over().await? {
        return Ok(None);
    }
    let open = ledger::under_way(
        pass_store.run.store.clone(),
        &pass_store.source.name,
        pass_store.run.policy,
        never(),
    )
    .await?;
    if let Some(open) = open.filter(|open| open.run == pass_store.run.id) {
        return end(pass_store, &open).await;
    }
    let mut report =
        SourceReport::new(&pass_store.source.name, pass_store.source.endpoint.address());
    let why = "its listing was given up after several tries: the worker failed, was killed or ran \
        out of time each time; the log tells more";
    report.problems.push(Problem::new(Class::Interrupted, why));
    report.unusable = true;
    pass_store.tell(&report).await;
    Ok(Some(report))
}

/// The report of the pass, if it was closed by that.
async fn give_up_piece(
    pass_store: &PassStore,
    pass: &str,
    id: PieceId,
) -> Result<Option<SourceReport>, WorkError> {
    let Some(job) = PieceJob::find(pass_store, pass, id).await? else { return Ok(None) };
    if !job.is_done().await? {
        fail(&job).await?;
    }
    match working::what_comes_next(&job).await? {
        Came::Closed(report) => Ok(Some(*report)),
        _ => Ok(None),
    }
}

/// Writes the result of a piece that nobody will do: what its journal tells is ingested, the rest
/// failed.
async fn fail(job: &PieceJob<'_>) -> Result<(), WorkError> {
    let mut told = piece_report::PieceReport::of(job.pass_store);
    match job.content().await? {
        Some(Ok((header, items))) => {
            let (_, recorded) = job.ledger(&header.journal).await?;
            let done: std::collections::HashMap<_, _> =
                recorded.into_iter().map(|done| (done.path.clone(), done)).collect();
            for item in items {
                let (file, outcome) = match done.get(&item.transfer.file.path) {
                    Some(done) => working::recorded_before(done),
                    None => (
                        item.transfer.file,
                        Outcome::Failed(Problem::new(Class::Interrupted, GIVEN_UP)),
                    ),
                };
                told.add(job.pass_store, &file, Some(item.transfer.why), outcome);
            }
        }
        Some(Err(why)) => told.report.problems.push(Problem::new(
            Class::Ledger,
            format!("reading `{}`: {why}; what it held is not known", job.blob()),
        )),
        None => told.report.problems.push(Problem::new(
            Class::Ledger,
            format!("`{}` is not there; what it held is not known", job.blob()),
        )),
    }
    job.write_result(&told.outcome(None)).await.map(|_| ())
}

/// Looks at the pass over `source` that is under way, if there is one. The run of which it was
/// closed.
async fn look_at(
    source: &Source,
    queue: &Arc<dyn Queue>,
    options: &impl Fn() -> Options,
    waiting: u64,
) -> Result<Option<String>, WorkError> {
    let given = options();
    let open = ledger::under_way(given.store.clone(), &source.name, given.policy, never()).await?;
    let Some(open) = open else { return Ok(None) };
    let pass_store =
        PassStore::new(given, source.clone(), Some(queue.clone()), Sizes::default(), &open.run);
    let folder = pass_store.folder(&open.id)?;
    if pass_store.is_over().await? {
        // The worker that closed it was killed on the way.
        finalize::finish(&pass_store, &open.id, &folder).await?;
        return Ok(Some(open.run));
    }
    let state = pass_store.state(&folder).await?;
    let silent = silent_for(&state, &open);
    if silent > LONG_SILENCE || (silent > SILENCE && waiting == 0) {
        end(&pass_store, &open).await?;
        return Ok(Some(open.run));
    }
    Ok(None)
}

fn silent_for(state: &PassProgress, open: &OpenPass) -> time::Duration {
    let now = OffsetDateTime::now_utc();
    silence(state.heard(now), open.since, now)
}

/// How long nothing was heard of a pass that began at `since`. One of which all times are of a
/// clock that was ahead is silent long enough to be ended as soon as nothing waits.
fn silence(
    heard: Option<OffsetDateTime>,
    since: OffsetDateTime,
    now: OffsetDateTime,
) -> time::Duration {
    let last = heard.max(not_ahead(Some(since), now));
    last.map_or(SILENCE + time::Duration::SECOND, |last| now - last)
}

/// Ends a pass that nobody works on: pieces without a result fail. Its report, if it was closed.
async fn end(pass_store: &PassStore, open: &OpenPass) -> Result<Option<SourceReport>, WorkError> {
    tracing::warn!(
        run_id = open.run,
        source = pass_store.source.name,
        "Warning: nothing is heard of this pass any more; what is not done of it ends as failed."
    );
    let folder = pass_store.folder(&open.id)?;
    let Some(plan) = pass_store.plan(&folder).await? else {
        finalize::finish(pass_store, &open.id, &folder).await?;
        return Ok(None);
    };
    for id in pass_store.state(&folder).await?.parts(plan.pieces).missing {
        if let Some(job) = PieceJob::find(pass_store, &open.id, id).await? {
            fail(&job).await?;
        }
    }
    let state = pass_store.state(&folder).await?;
    finalize::close_if_done(pass_store, &plan, &folder, &state).await
}

/// Ends the pass `open` if nothing was heard of it for [`SILENCE`], for a run that has no queue and
/// wants to begin. Whether the source is free now.
pub(crate) async fn end_if_silent(
    run: &Arc<Run>,
    source: &Source,
    open: &OpenPass,
) -> Result<bool, WorkError> {
    let pass_store = PassStore::over(run, source.clone(), &open.run);
    let folder = pass_store.folder(&open.id)?;
    if pass_store.is_over().await? {
        finalize::finish(&pass_store, &open.id, &folder).await?;
        return Ok(true);
    }
    let state = pass_store.state(&folder).await?;
    if silent_for(&state, open) <= SILENCE {
        return Ok(false);
    }
    end(&pass_store, open).await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn an_open_pass_of_a_clock_that_was_ahead_is_ended_once_nothing_waits() {
        let (now, ahead) = (datetime!(2026-11-23 10:00 UTC), datetime!(2028-01-01 0:00 UTC));
        let ago = |minutes| now - time::Duration::minutes(minutes);
        assert!(silence(None, ahead, now) > SILENCE);
        assert_eq!(silence(Some(ago(5)), ahead, now), time::Duration::minutes(5));
        assert_eq!(silence(None, ago(7), now), time::Duration::minutes(7));
        assert_eq!(silence(Some(ago(5)), ago(7), now), time::Duration::minutes(5));
    }
}
