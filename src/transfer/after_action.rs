//! What happens to a file at the source once it is stored and recorded.

use time::OffsetDateTime;
use tokio::time::Instant;

use crate::model::clocks::not_ahead;
use crate::model::failure::{Class, Failure};
use crate::model::{RemotePath, Version};
use crate::report::{Problem, SourceReport, problem};
use crate::rules::equality;
use crate::rules::plan::known::{History, Known};
use crate::rules::plan::rest::Rest;
use crate::runtime::retry::retry;
use crate::source::contract::SourceError;
use crate::transfer::archive::manifest;
use crate::transfer::aside;
use crate::transfer::context::Pass;
use crate::transfer::error::TransferError;
use crate::transfer::leaving::{Due, ReadProof, is_doubted};
use crate::transfer::missing::Absent;
use crate::transfer::removal::{Removed, RenameProof, remove_or_move};
use crate::transfer::retried_removal::not_as_read;
use crate::transfer::settings::{After, Archives};

/// A refused action is tried again after so long.
const TRY_AGAIN_AFTER: time::Duration = time::Duration::hours(24);

/// What came of an after-action.
pub enum Acted {
    /// It is done, or there is nothing to do yet.
    Done,
    /// The file stays, for this reason.
    Stays(String),
    /// It could not be done.
    Failed(Problem),
}

/// Whether the source refused to let this file go a short time ago.
pub(crate) fn was_refused(known: &Known, now: OffsetDateTime) -> bool {
    not_ahead(known.history.refused, now).is_some_and(|at| now - at < TRY_AGAIN_AFTER)
}

/// Whether an earlier run read the file that `known` tells of, and its time alone proves that it is
/// still that file.
pub(crate) fn is_proven(pass: &Pass, known: &Known) -> bool {
    let file = known.file(&pass.source.root);
    let exact = known.modified.as_ref().is_some_and(equality::is_exact);
    known.history.read && exact && pass.rest(&file, known.listed.as_ref()) == Rest::Proven
}

/// Finishes what an earlier run could not, for a file that [`is_proven`].
pub(crate) async fn finish(pass: &Pass, path: &RemotePath, known: &Known) -> Acted {
    let md5 = match pass.ledger.md5_of(path).await {
        Ok(Some(md5)) => md5,
        Ok(None) => return Acted::Done,
        Err(error) => return Acted::Failed(problem(&error)),
    };
    let left = match members_left(pass, known.version).await {
        Ok(left) => left,
        Err(error) => return Acted::Failed(problem(&error)),
    };
    // The time as it was read exactly then: a listing may show another one, in a zone of its own.
    let file = known.file(path);
    let due = Due {
        file,
        listed: known.listed,
        known: known.clone(),
        md5,
        read: Instant::now(),
        rest: Rest::Proven,
        doubted: is_doubted(Some(known)),
        is_of_share: pass.is_share(),
    };
    act_or_wait(pass, due, left).await
}

/// Members of a stored archive that nobody has but the source.
pub(crate) async fn members_left(pass: &Pass, version: Version) -> Result<u64, TransferError> {
    match pass.source.archives {
        Archives::Unpack => manifest::complete(pass, version)
            .await
            .map(|found| found.map_or(0, |archive| archive.members_left)),
        Archives::Keep | Archives::Both => Ok(0),
    }
}

/// Deletes or moves a file as the source's settings say, if nothing in it would be lost: now, if
/// its time proves that it rests; else once `leave_all` has looked at it again. The record of it is
/// durable by now, so a failure is told and tried again by a later run.
pub(crate) async fn act_or_wait(pass: &Pass, due: Due, members_only_at_source: u64) -> Acted {
    if pass.source.after == After::Keep {
        return Acted::Done;
    }
    if members_only_at_source > 0 {
        return Acted::Stays(format!(
            "{members_only_at_source} members are links or special files and not stored, or are \
            doubted, so it stays at the source"
        ));
    }
    // Whether an equal name stands for another file is known once both are recorded.
    let is_alike = pass.alike.has(&due.file.path);
    if is_alike || due.proof() != (ReadProof { wait: false, reread: false }) {
        pass.leaving.add(due);
        return Acted::Done;
    }
    act(pass, &due, RenameProof::Description).await
}

/// Tells the report what came of an action.
pub(crate) fn tell(report: &mut SourceReport, path: &RemotePath, acted: Acted) {
    match acted {
        Acted::Done => {}
        Acted::Stays(note) => report.add_note(path, &note),
        Acted::Failed(problem) => report.add_after_failed(path, &problem),
    }
}

/// Removes or moves the file and records that it left. `proof`: what shows that it is still what
/// was read, where it is renamed first.
pub(crate) async fn act(pass: &Pass, due: &Due, proof: RenameProof) -> Acted {
    if pass.leaving.is_hopeless() {
        return Acted::Stays(
            "it was not tried to remove it: the source refused that for many others".to_owned(),
        );
    }
    let once = |attempt| async move {
        // Files that need no second try do without its memory.
        if attempt > 1
            && let Some(stays) = Box::pin(not_as_read(pass, due, &due.file.path)).await?
        {
            return Ok(stays);
        }
        let mut lease = pass.pool.lend_for_try(attempt, pass.source.policy.attempts).await?;
        let result = remove_or_move(pass, &mut *lease, due, proof).await;
        lease.settle(&result);
        result
    };
    // One that a stopping run gives up is finished by the next.
    let acting = async {
        let _turn = pass.permits.action().await;
        retry(&pass.source.policy, &pass.run.cancel, "an after-action", once).await
    };
    let Some(removed) = pass.run.in_time(acting).await else { return Acted::Done };
    finish_removal(pass, due, removed.map_err(TransferError::from)).await
}

/// Finishes what a removal came to, and records it. A file that was renamed aside is read and
/// removed first.
async fn finish_removal(pass: &Pass, due: &Due, removed: Result<Removed, TransferError>) -> Acted {
    match removed {
        Ok(Removed::Aside(at)) => {
            let removed = aside::remove_once_read(pass, due, &at).await;
            Box::pin(finish_removal(pass, due, removed)).await
        }
        // Another run was quicker, or the server does not know what it lists: a fresh listing
        // tells.
        Ok(Removed::NotThere) => not_there(pass, due),
        Err(TransferError::Source(error)) if error.class() == Class::NotFound => {
            not_there(pass, due)
        }
        Ok(Removed::Gone) => taken(pass, due).await,
        Ok(Removed::MovedTo(to)) => {
            pass.leaving.moved(due.clone(), to);
            taken(pass, due).await
        }
        Ok(Removed::MovedUnread(to)) => match left(pass, due).await {
            Acted::Failed(problem) => Acted::Failed(problem),
            _ => Acted::Failed(moved_unread(&to)),
        },
        Ok(Removed::Changed) => changed(pass, due).await,
        Ok(Removed::Stays) => stays(pass, due).await,
        Ok(Removed::Held(why)) => Acted::Stays(format!("{why}, so it stays at the source")),
        Err(TransferError::Source(error)) => refused(pass, due, &error).await,
        // The next run gives a renamed file its name back.
        Err(TransferError::Interrupted) => Acted::Done,
        Err(error) => Acted::Failed(problem(&error)),
    }
}

/// What is told of a file that took the place of one that was read, was moved, and cannot be moved
/// back.
pub(crate) fn moved_unread(to: &RemotePath) -> Problem {
    Problem::new(
        Class::AfterAction,
        format!(
            "another file had taken its place when it was moved to `{to}`; its old name is taken \
            by now, so that file stays there, and it was not read"
        ),
    )
}

pub(crate) fn not_there(pass: &Pass, due: &Due) -> Acted {
    pass.missing.add(Absent::Leaving(Box::new(due.clone())));
    Acted::Done
}

/// This program took the file away.
async fn taken(pass: &Pass, due: &Due) -> Acted {
    pass.run.removed.add(&pass.source.name, &due.file);
    left(pass, due).await
}

/// Records that the file left.
pub(crate) async fn left(pass: &Pass, due: &Due) -> Acted {
    pass.leaving.let_go();
    record(
        pass,
        due,
        History { md5: Some(due.md5), left: true, refused: None, ..due.known.history.clone() },
    )
    .await
}

/// The next run takes the new content first. A listing may not show that it is another one, so that
/// run must not go by its listed time.
async fn changed(pass: &Pass, due: &Due) -> Acted {
    let history = History {
        md5: Some(due.md5),
        looked: Some(OffsetDateTime::now_utc()),
        ..due.known.history.clone()
    };
    record(pass, due, history).await
}

async fn refused(pass: &Pass, due: &Due, error: &SourceError) -> Acted {
    if !error.is_transient()
        && let Acted::Failed(problem) = note_refused(pass, due).await
    {
        return Acted::Failed(problem);
    }
    Acted::Failed(problem(error))
}

/// The server says that it let the file go, and does not: as good as a refusal.
async fn stays(pass: &Pass, due: &Due) -> Acted {
    match note_refused(pass, due).await {
        Acted::Failed(problem) => Acted::Failed(problem),
        _ => Acted::Failed(Problem::new(
            Class::AfterAction,
            "the server says again that it removed or moved it, and it is there as it was",
        )),
    }
}

async fn note_refused(pass: &Pass, due: &Due) -> Acted {
    pass.leaving.refused();
    let history = History {
        md5: Some(due.md5),
        left: false,
        refused: Some(OffsetDateTime::now_utc()),
        ..due.known.history.clone()
    };
    record(pass, due, history).await
}

pub(crate) async fn record(pass: &Pass, due: &Due, history: History) -> Acted {
    let known = Known { history, ..due.known.clone() };
    match pass.ledger.ingested(&due.file, &known, 0, 0).await {
        Ok(()) => Acted::Done,
        Err(error) => Acted::Failed(problem(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RemoteFile;
    use time::macros::datetime;

    #[test]
    fn an_action_that_was_refused_by_a_clock_that_was_ahead_is_tried_again() {
        let now = datetime!(2026-11-23 10:00 UTC);
        let refused = |at| {
            let file = RemoteFile { path: "/f".into(), size: Some(1), modified: None };
            let history = History { refused: Some(at), ..History::default() };
            let version = Version::of(&file);
            let known = Known { size: file.size, modified: None, listed: None, version, history };
            was_refused(&known, now)
        };
        assert!(!refused(datetime!(2028-01-01 0:00 UTC)));
        assert!(refused(now + time::Duration::MINUTE), "clocks differ");
        assert!(refused(now - time::Duration::HOUR) && !refused(now - time::Duration::days(2)));
    }
}
