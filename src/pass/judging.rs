//! When expectations are judged: at the end of each pass, and at each tick. A source that is well
//! and in which nothing changes is judged by what was read before.

use time::OffsetDateTime;

use crate::history::arrivals;
use crate::history::arrivals_cache::ArrivalsCache;
use crate::history::run_id::began;
use crate::history::source_index::{SourceEntry, SourceIndex};
use crate::model::chain;
use crate::model::failure::Class;
use crate::pass::expectations::{Telling, judge, measure, reach, settled};
use crate::report::{Defer, ExpectationStanding, Problem, SourceReport};
use crate::rules::expect::LastLook;
use crate::state::store::{StateError, StateStore};
use crate::transfer::context::Run;
use crate::transfer::settings::Source;

/// What is known of a source whose last pass changed nothing.
#[derive(Clone, Copy, Debug)]
pub struct UnchangedSource<'a> {
    /// What this process has read before.
    pub cache: &'a ArrivalsCache,
    /// The last look.
    pub look: Option<LastLook>,
    /// The last run that brought files, where that is known.
    pub brought: Option<&'a str>,
}

/// Judges the expectations of `source` at the end of a pass that began at `started`, and tells the
/// report.
pub(crate) async fn after_pass(
    run: &Run,
    source: &Source,
    started: OffsetDateTime,
    report: &mut SourceReport,
) {
    if source.expectations.is_empty() || report.left_to.is_some() {
        return;
    }
    let look = Some(LastLook { began: started, whole: is_whole(report) });
    let (state, cache, now) = (&run.state, &run.arrivals, OffsetDateTime::now_utc());
    let judged = if report.is_idle() {
        judge_unchanged(state, source, now, UnchangedSource { cache, look, brought: None }).await
    } else {
        cache.forget(&source.name);
        judge(state, source, now, look, Telling::Alert).await
    };
    match judged {
        Ok(standings) => report.expectations = standings,
        Err(error) => report.problems.push(unreadable(&error)),
    }
}

fn unreadable(error: &StateError) -> Problem {
    let Problem { class, message, .. } = crate::report::problem(error);
    Problem::new(class, format!("judging what is expected: {message}"))
}

/// Whether a pass has listed all of its source.
fn is_whole(report: &SourceReport) -> bool {
    let of_files = [Class::AfterAction, Class::ArchiveUnsupported, Class::Ledger, Class::Late];
    // What waits beyond a limit was listed, and did not come for a reason of ours.
    let all = report.deferred_as(Defer::TooMany) == 0;
    all && !report.unusable
        && report.problems.iter().all(|problem| of_files.contains(&problem.class))
}

/// The last look at `source` as the index of sources tells of it.
pub(crate) fn last_look(index: &SourceIndex, source: &str) -> Option<LastLook> {
    let entry = index.sources.get(source)?;
    let began = began(entry.run.as_deref()?)?;
    let whole = entry.standing.as_ref().is_none_or(|standing| {
        !["failed", "interrupted", "abandoned"].contains(&standing.word.as_str())
            && standing.troubles.values().all(|trouble| trouble.files > 0)
    });
    Some(LastLook { began, whole })
}

/// Judges the expectations of each of `sources` at `now`, whether it is due or not. What cannot be
/// read is told in the log, and the next tick tries again.
pub(crate) async fn at_tick(
    (state, cache): (&StateStore, &ArrivalsCache),
    sources: &[Source],
    index: &SourceIndex,
    now: OffsetDateTime,
) {
    for source in sources.iter().filter(|source| !source.expectations.is_empty()) {
        let look = last_look(index, &source.name);
        let judged = match index.sources.get(&source.name) {
            Some(entry) if is_idle(entry) => {
                let brought = entry.brought.as_deref();
                judge_unchanged(state, source, now, UnchangedSource { cache, look, brought }).await
            }
            _ => judge(state, source, now, look, Telling::Alert).await,
        };
        if let Err(error) = judged {
            tracing::warn!(
                source = source.name,
                error = chain(&error),
                "Warning: what is expected of a source cannot be judged; the next tick tries again."
            );
        }
    }
}

/// Whether the last look found nothing to do, and no run is asked for that may be at it now.
fn is_idle(entry: &SourceEntry) -> bool {
    entry.idle && entry.asked.is_none()
}

/// How the expectations of `source` stand. What was read before is enough while all are well and
/// nothing is to be told: a file that came since has been counted by the run that brought it, and
/// before anybody is told of a missing one, all manifests are looked for.
pub async fn judge_unchanged(
    state: &StateStore,
    source: &Source,
    now: OffsetDateTime,
    UnchangedSource { cache, look, brought }: UnchangedSource<'_>,
) -> Result<Vec<ExpectationStanding>, StateError> {
    let reach = reach(source, now);
    let read = cache.current(&source.name, now).filter(|open| open.covers(reach, now, brought));
    if let Some(standings) = read.and_then(|open| settled(source, &open, look, now)) {
        measure(source, &standings);
        return Ok(standings);
    }
    cache.forget(&source.name);
    let kept = arrivals::kept(state, &source.name).await?;
    if kept.covers(reach, now, brought)
        && let Some(standings) = settled(source, &kept, look, now)
    {
        cache.keep(&source.name, kept, now);
        measure(source, &standings);
        return Ok(standings);
    }
    judge(state, source, now, look, Telling::Alert).await
}
