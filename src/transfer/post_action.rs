//! What happens to a file at the source once it is stored and recorded.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use time::OffsetDateTime;
use tokio::time::Instant;

use crate::failpoint::left_out;
use crate::model::failure::{Class, Failure};
use crate::model::{RemoteFile, RemotePath, Version};
use crate::report::{Problem, SourceReport, problem};
use crate::rules::equality;
use crate::rules::plan::known::{History, Known, Times};
use crate::rules::plan::rest::Rest;
use crate::rules::verify::Verdict;
use crate::runtime::parallel::side_by_side;
use crate::runtime::retry::retry;
use crate::source::bounded::ListingBound;
use crate::source::contract::{FileUse, Listed, SourceError};
use crate::transfer::alike;
use crate::transfer::archive::manifest;
use crate::transfer::context::Pass;
use crate::transfer::error::TransferError;
use crate::transfer::leaving::{Due, ReadProof, is_doubted};
use crate::transfer::missing::Absent;
use crate::transfer::removal::{Removed, remove_or_move};
use crate::transfer::reread::{self, Reread};
use crate::transfer::settings::{After, Archives};

/// A refused action is tried again after so long.
const TRY_AGAIN_AFTER: time::Duration = time::Duration::hours(24);

/// What came of it.
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
    known.history.refused.is_some_and(|at| now - at < TRY_AGAIN_AFTER)
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
        doubted: is_doubted(Some(known), known),
        is_of_share: pass.is_share(),
    };
    leave(pass, due, left).await
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

/// Deletes or moves a file as the source's settings say, if nothing in it (`left` members) would be
/// lost: now, if its time proves that it rests; else once [`leave_all`] has looked at it again. The
/// record of it is durable by now, so a failure is told and tried again by a later run.
pub(crate) async fn leave(pass: &Pass, due: Due, left: u64) -> Acted {
    if pass.source.after == After::Keep {
        return Acted::Done;
    }
    if left > 0 {
        return Acted::Stays(format!(
            "{left} members are links or special files and not stored, or are doubted, so it \
            stays at the source"
        ));
    }
    // Whether an equal name stands for another file is known once both are recorded.
    let is_alike = pass.alike.has(&due.file.path);
    if is_alike || due.proof() != (ReadProof { wait: false, reread: false }) {
        pass.leaving.add(due);
        return Acted::Done;
    }
    act(pass, &due).await
}

/// Sees to those that could not leave at once: one wait for all of them, then a second look, or a
/// second reading.
pub(crate) async fn leave_all(pass: &Arc<Pass>, report: &mut SourceReport) {
    if pass.restless.take_news() {
        let note = "the times of this source move at every look, so from now on they tell nothing: \
            known files are compared by their bytes, within `recheck`";
        report.add_note(&pass.source.root, note);
    }
    for (path, problem) in pass.leaving.take_failed() {
        report.add_after_failed(&path, &problem);
    }
    let mut waiting = pass.leaving.take();
    if waiting.is_empty() {
        return;
    }
    // All of a folder together: it is listed once.
    waiting.sort_by_cached_key(|due| (due.file.path.parent(), due.file.path.clone()));
    let rested = waiting
        .iter()
        .filter(|due| due.proof().wait && !left_out!("wait-before-removal"))
        .map(|due| due.read + pass.source.stable_for)
        .max();
    if let Some(until) = rested {
        let files = waiting.len();
        tracing::info!(
            source = pass.source.name,
            files,
            "Waiting to look again at files that are to leave the source."
        );
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(until) => {}
            () = pass.run.cancel.cancelled() => {}
        }
    }
    let work = |folder: Vec<Due>| {
        let pass = pass.clone();
        async move { leave_folder(&pass, folder).await }
    };
    let folders: Vec<Vec<Due>> = waiting
        .chunk_by(|a, b| a.file.path.parent() == b.file.path.parent())
        .map(<[Due]>::to_vec)
        .collect();
    side_by_side(folders, pass.parallel(), work, |folder, acted| {
        let panicked = || {
            folder
                .iter()
                .map(|_| {
                    Acted::Failed(Problem::new(
                        Class::Internal,
                        "it ended in a panic; the log has its trace",
                    ))
                })
                .collect()
        };
        for (due, acted) in folder.iter().zip(acted.unwrap_or_else(panicked)) {
            tell(report, &due.file.path, acted);
        }
    })
    .await;
}

/// Tells the report what came of an action.
pub(crate) fn tell(report: &mut SourceReport, path: &RemotePath, acted: Acted) {
    match acted {
        Acted::Done => {}
        Acted::Stays(note) => report.add_note(path, &note),
        Acted::Failed(problem) => report.add_after_failed(path, &problem),
    }
}

/// Files of one folder: those that must be read again are, then the folder is listed once for those
/// that only a listing tells the time of, then each is described and leaves.
async fn leave_folder(pass: &Pass, folder: Vec<Due>) -> Vec<Acted> {
    let mut stays = Vec::with_capacity(folder.len());
    for due in &folder {
        let again = due.proof().reread && !pass.run.cancel.is_cancelled();
        stays.push(match alike::stays(pass, due).await {
            Ok(Some(why)) => Ok(Some(why.to_owned())),
            Ok(None) => match again && !is_free(pass, due).await {
                true => read_again(pass, due).await,
                false => Ok(None),
            },
            Err(error) => Err(error.into()),
        });
    }
    let by_line = |(due, stays): &(&Due, &Result<Option<String>, TransferError>)| {
        matches!(stays, Ok(None)) && !is_exact(due)
    };
    let wanted: HashSet<RemotePath> =
        folder.iter().zip(&stays).filter(by_line).map(|(due, _)| due.file.path.clone()).collect();
    let lines =
        if wanted.is_empty() { Ok(HashMap::new()) } else { listed_again(pass, wanted).await };
    let mut acted = Vec::with_capacity(folder.len());
    for (due, stays) in folder.iter().zip(stays) {
        acted.push(match (stays, &lines) {
            _ if pass.run.cancel.is_cancelled() => Acted::Done,
            (Err(error), _) => Acted::Failed(problem(&error)),
            (Ok(Some(why)), _) => Acted::Failed(Problem::new(Class::AfterAction, why)),
            (Ok(None), Err(error)) if !is_exact(due) => Acted::Failed(problem(error)),
            (Ok(None), Ok(lines))
                if !is_exact(due)
                    && lines
                        .get(&due.file.path)
                        .is_some_and(|line| !is_as_before(pass, due, line))
                    && !left_out!("line-before-removal") =>
            {
                let why = "the listing shows another size or time of it than before: it stays for \
                    the next run";
                Acted::Failed(Problem::new(Class::AfterAction, why))
            }
            _ => act(pass, due).await,
        });
    }
    acted
}

/// Whether the system that has the file says that nobody writes to it, so that a time that is young
/// is enough.
async fn is_free(pass: &Pass, due: &Due) -> bool {
    if !due.is_of_share || due.rest == Rest::Nothing || !is_exact(due) {
        return false;
    }
    let once = |attempt| async move {
        let mut lease = pass.pool.lend_for_try(attempt, pass.source.policy.attempts).await?;
        let result = lease.file_use(&due.file.path).await;
        lease.settle(&result);
        result
    };
    let asked = retry(&pass.source.policy, &pass.run.cancel, "asking who has a file open", once);
    // A task that has it is told by the look right before the removal.
    !matches!(asked.await, Ok(FileUse::Unknown) | Err(_))
}

fn is_exact(due: &Due) -> bool {
    due.file.modified.as_ref().is_some_and(equality::is_exact)
}

/// Whether a line tells of the file that was read. Where times tell nothing, its bytes were read
/// again.
fn is_as_before(pass: &Pass, due: &Due, line: &RemoteFile) -> bool {
    let is_its_time = pass.times() == Times::Unknown || line.modified == due.listed;
    is_its_time && equality::sizes(line.size, due.file.size).is_possible()
}

/// Why the file must stay, if its bytes are not what they were.
async fn read_again(pass: &Pass, due: &Due) -> Result<Option<String>, TransferError> {
    const NO_ROOM: &str = "its time does not prove that it rests, and `recheck` left no room to \
        read it again: it stays";
    if due.file.size.is_some_and(|size| !pass.recheck.take(size)) {
        return Ok(Some(NO_ROOM.to_owned()));
    }
    Ok(match reread::read(pass, &due.file).await? {
        Reread::Whole { md5, verdict: Verdict::Whole | Verdict::Touched, .. } if md5 == due.md5 => {
            None
        }
        // Taken: there is nothing to remove.
        Reread::Whole { verdict: Verdict::Unseen, .. } | Reread::Left(Verdict::Vanished) => None,
        Reread::Whole { .. } | Reread::Left(_) if left_out!("second-reading") => None,
        Reread::TooMuch => Some(NO_ROOM.to_owned()),
        Reread::Whole { .. } | Reread::Left(_) => Some(
            "it was read twice, and its bytes had changed: it stays for the next run".to_owned(),
        ),
    })
}

/// What a fresh listing of their folder shows of these files.
async fn listed_again(
    pass: &Pass,
    wanted: HashSet<RemotePath>,
) -> Result<HashMap<RemotePath, RemoteFile>, SourceError> {
    let folder =
        wanted.iter().next().map(RemotePath::parent).unwrap_or_else(|| pass.source.root.clone());
    let (folder, wanted) = (&folder, &wanted);
    let once = |attempt| async move {
        let mut lease = pass.pool.lend_for_try(attempt, pass.source.policy.attempts).await?;
        let mut found = HashMap::new();
        let bound = ListingBound::new(pass.run.limits.entries);
        let mut visit = |listed: Listed| {
            bound.count(&listed);
            if let Listed::File(file) = listed
                && wanted.contains(&file.path)
            {
                found.insert(file.path.clone(), pass.without_false_time(file));
            }
        };
        let listing = lease.list(folder, &mut visit);
        let result = bound.hold(pass.pool.address(), folder, listing).await;
        lease.settle(&result);
        result.map(|()| found)
    };
    retry(&pass.source.policy, &pass.run.cancel, "listing a folder again", once).await
}

/// Removes or moves the file and records that it left.
async fn act(pass: &Pass, due: &Due) -> Acted {
    if pass.leaving.is_hopeless() {
        return Acted::Stays(
            "it was not tried to remove it: the source refused that for many others".to_owned(),
        );
    }
    let once = |attempt| async move {
        let mut lease = pass.pool.lend_for_try(attempt, pass.source.policy.attempts).await?;
        let result = remove_or_move(pass, &mut *lease, due).await;
        lease.settle(&result);
        result
    };
    // One that a stopping run gives up is finished by the next.
    let acting = async {
        let _turn = pass.permits.action().await;
        retry(&pass.source.policy, &pass.run.cancel, "an after-action", once).await
    };
    let Some(removed) = pass.run.in_time(acting).await else { return Acted::Done };
    match removed {
        // Another run was quicker, or the server does not know what it lists: a fresh listing
        // tells.
        Ok(Removed::NotThere) => not_there(pass, due),
        Err(error) if error.class() == Class::NotFound => not_there(pass, due),
        Ok(Removed::Gone) => left(pass, due).await,
        Ok(Removed::Changed) => changed(pass, due).await,
        Ok(Removed::Stays) => stays(pass, due).await,
        Ok(Removed::Taken(who)) => Acted::Stays(format!("{who}, so it stays at the source")),
        Err(error) => refused(pass, due, &error).await,
    }
}

fn not_there(pass: &Pass, due: &Due) -> Acted {
    pass.missing.add(Absent::Leaving(Box::new(due.clone())));
    Acted::Done
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

async fn record(pass: &Pass, due: &Due, history: History) -> Acted {
    let known = Known { history, ..due.known.clone() };
    match pass.ledger.ingested(&due.file, &known, 0, 0).await {
        Ok(()) => Acted::Done,
        Err(error) => Acted::Failed(problem(&error)),
    }
}
