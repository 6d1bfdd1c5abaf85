//! A second look at young files: those that rest are taken, the others wait for a later run.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::RemoteFile;
use crate::model::failure::Class;
use crate::pass::file_log;
use crate::pass::late;
use crate::report::{Defer, Outcome, Problem, SourceReport, problem};
use crate::rules::equality;
use crate::rules::plan::known::Seen;
use crate::transfer::batch_stat::{StatAnswer, ask_all};
use crate::transfer::context::Pass;
use crate::transfer::missing::Absent;
use crate::transfer::request::Transfer;

/// Waits until young files have had time to settle, and looks at them again: those that are as they
/// were come back, the others are left for a later run, which is told what this one saw.
pub(crate) async fn second_look(
    pass: &Arc<Pass>,
    unsettled: Vec<Transfer>,
    began: (time::OffsetDateTime, Instant),
    report: &mut SourceReport,
) -> Vec<Transfer> {
    if unsettled.is_empty() {
        return Vec::new();
    }
    wait(pass, unsettled.len(), began.1 + pass.source.stable_for).await;
    let (mut settled, mut deferred) = (Vec::new(), Vec::new());
    ask_all(
        pass,
        unsettled,
        |one| &one.file,
        |one, answer| match seen_again(&one, answer, began.0) {
            None => settled.push(one),
            Some((Outcome::Deferred(Defer::Unreachable), _)) => {
                pass.missing.add(Absent::File(one.file, Some(one.why)))
            }
            Some((outcome, seen)) => {
                file_log::log(pass, &one, &outcome);
                if let (Outcome::Deferred(defer), Some(seen)) = (&outcome, seen) {
                    deferred.push((seen, *defer));
                }
                report.add(&one.file.path, outcome);
            }
        },
    )
    .await;
    for (seen, defer) in deferred {
        late::sighted(pass, report, seen, defer).await;
    }
    settled
}

/// What becomes of a young file, and what the next run should know of it; `None` if it has settled.
fn seen_again(
    one: &Transfer,
    answer: StatAnswer,
    began: time::OffsetDateTime,
) -> Option<(Outcome, Option<Seen>)> {
    match answer {
        StatAnswer::Told(Some(now)) if is_same(&one.file, &now) => None,
        StatAnswer::Told(Some(now)) => {
            // The next listing will show a time as this one did, exact or coarse.
            let modified = if is_coarse(&one.file) { one.file.modified } else { now.modified };
            let seen = Seen::new(RemoteFile { modified, ..now }, time::OffsetDateTime::now_utc());
            Some((Outcome::Deferred(Defer::Unsettled), Some(seen)))
        }
        StatAnswer::Told(None) => Some((Outcome::Deferred(Defer::Unreachable), None)),
        StatAnswer::Failed(error) => Some((Outcome::Failed(problem(&error)), None)),
        StatAnswer::NotAsked => {
            Some((Outcome::Deferred(Defer::Interrupted), Some(Seen::new(one.file.clone(), began))))
        }
        StatAnswer::Panicked => Some((
            Outcome::Failed(Problem::new(Class::Internal, "looking at it again ended in a panic")),
            None,
        )),
    }
}

/// A listing's coarse time has no zone that we know: there only the size tells.
fn is_same(listed: &RemoteFile, now: &RemoteFile) -> bool {
    let equality = if is_coarse(listed) {
        equality::sizes(listed.size, now.size)
    } else {
        equality::between(listed, now)
    };
    equality.is_possible()
}

fn is_coarse(listed: &RemoteFile) -> bool {
    listed.modified.is_none_or(|modified| modified.precision > crate::model::Precision::Second)
}

async fn wait(pass: &Pass, files: usize, until: Instant) {
    let left = until.saturating_duration_since(Instant::now());
    if left > Duration::ZERO {
        pass.run.progress.waiting(&pass.source.name, files, left.as_secs());
        tracing::info!(
            source = pass.source.name,
            files,
            seconds = left.as_secs(),
            "Waiting for young files to settle."
        );
    }
    tokio::select! {
        biased;
        () = tokio::time::sleep_until(until) => {}
        () = pass.run.cancel.cancelled() => {}
    }
}
