//! Files that could not leave their source at once: one wait for all of them, then folder by folder
//! a second look, or a second reading.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::failpoint::safeguard_off;
use crate::model::failure::Class;
use crate::model::{RemoteFile, RemotePath};
use crate::report::{Problem, SourceReport, problem};
use crate::rules::equality;
use crate::rules::plan::known::Times;
use crate::rules::plan::rest::Rest;
use crate::runtime::parallel::side_by_side;
use crate::runtime::retry::retry;
use crate::source::contract::{FileUse, SourceError};
use crate::transfer::after_action::{Acted, act, not_there, tell};
use crate::transfer::alike;
use crate::transfer::context::Pass;
use crate::transfer::error::TransferError;
use crate::transfer::leaving::Due;
use crate::transfer::listed_again::lines_of;
use crate::transfer::moved;
use crate::transfer::removal::RenameProof;
use crate::transfer::reread::{self, StaysUnproven};
use crate::transfer::settings::{After, DeleteBy};

/// A reading, or a line of a listing, that is older is taken anew before a file leaves: where no
/// description tells the time, another file may have taken its place since.
const LOOK_HOLDS: Duration = Duration::from_secs(10);

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
        return moved::look_after_all(pass, report).await;
    }
    // All of a folder together: it is listed once.
    waiting.sort_by_cached_key(|due| (due.file.path.parent(), due.file.path.clone()));
    let rested = waiting
        .iter()
        .filter(|due| due.proof().wait && !safeguard_off!("wait-before-removal"))
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
    moved::look_after_all(pass, report).await;
}

/// Files of one folder, some at a time: those that must be read again are, then the folder is
/// listed once for those that only a listing tells the time of, then each is described and leaves.
async fn leave_folder(pass: &Pass, folder: Vec<Due>) -> Vec<Acted> {
    let (mut acted, mut rest) = (Vec::with_capacity(folder.len()), &folder[..]);
    while !rest.is_empty() {
        let (begun, mut proofs) = (Instant::now(), Vec::new());
        for due in rest {
            proofs.push(proof_of(pass, due).await);
            // What was read is not left alone for long: another file may take its place.
            if begun.elapsed() > LOOK_HOLDS {
                break;
            }
        }
        let (some, others) = rest.split_at(proofs.len());
        acted.append(&mut leave_some(pass, some, proofs).await);
        rest = others;
    }
    acted
}

/// What is known of a file before its last look.
enum LeaveProof {
    /// It may go, by its bytes and its name; a renamed one must show this, too.
    Goes(RenameProof),
    /// It must stay, for this reason.
    Stays(String),
}

async fn proof_of(pass: &Pass, due: &Due) -> Result<LeaveProof, TransferError> {
    const BY_DESCRIPTION: LeaveProof = LeaveProof::Goes(RenameProof::Description);
    if let Some(why) = alike::stays(pass, due).await? {
        return Ok(LeaveProof::Stays(why.to_owned()));
    }
    if !due.proof().reread || pass.run.cancel.is_cancelled() || is_free(pass, due).await {
        return Ok(BY_DESCRIPTION);
    }
    // `None`: the reading takes what it needs.
    if due.file.size.is_some_and(|size| !pass.recheck.take(size)) {
        return Ok(LeaveProof::Stays(StaysUnproven::NoRoom.text().to_owned()));
    }
    let by_rename = pass.source.after == After::Delete && pass.source.delete_by == DeleteBy::Rename;
    if by_rename {
        return Ok(LeaveProof::Goes(RenameProof::Bytes));
    }
    Ok(reread::why_it_stays(pass, &due.file, &due.md5)
        .await?
        .map_or(BY_DESCRIPTION, |why| LeaveProof::Stays(why.text().to_owned())))
}

async fn leave_some(
    pass: &Pass,
    some: &[Due],
    proofs: Vec<Result<LeaveProof, TransferError>>,
) -> Vec<Acted> {
    let by_line = |(due, proof): &(&Due, &Result<LeaveProof, TransferError>)| {
        matches!(proof, Ok(LeaveProof::Goes(_))) && !is_exact(due)
    };
    let wanted = some.iter().zip(&proofs).filter(by_line).map(|(due, _)| due.file.path.clone());
    let mut lines = FolderLines { pass, wanted: wanted.collect(), listed: None };
    let mut acted = Vec::with_capacity(some.len());
    for (due, proof) in some.iter().zip(proofs) {
        acted.push(match proof {
            _ if pass.run.cancel.is_cancelled() => Acted::Done,
            Err(error) => Acted::Failed(problem(&error)),
            Ok(LeaveProof::Stays(why)) => Acted::Failed(Problem::new(Class::AfterAction, why)),
            Ok(LeaveProof::Goes(proof)) if is_exact(due) => act(pass, due, proof).await,
            Ok(LeaveProof::Goes(proof)) => match lines.of_file(due).await {
                _ if safeguard_off!("line-before-removal") => act(pass, due, proof).await,
                Err(error) => Acted::Failed(problem(error)),
                // What a fresh listing does not show is not there, whatever a description says.
                Ok(None) => not_there(pass, due),
                Ok(Some(line)) if !is_as_before(pass, due, line) => {
                    let why = "the listing shows another size or time of it than before: it stays \
                        for the next run";
                    Acted::Failed(Problem::new(Class::AfterAction, why))
                }
                Ok(Some(_)) => act(pass, due, proof).await,
            },
        });
    }
    acted
}

type ListedLines = Result<HashMap<RemotePath, RemoteFile>, SourceError>;

/// What a listing of one folder shows of files of which only listings tell the time.
struct FolderLines<'a> {
    pass: &'a Pass,
    wanted: HashSet<RemotePath>,
    listed: Option<(Instant, ListedLines)>,
}

impl FolderLines<'_> {
    /// The line of a file, from a listing that was begun a short time ago.
    async fn of_file(&mut self, due: &Due) -> Result<Option<&RemoteFile>, &SourceError> {
        let is_old = |at: Instant| at.elapsed() > LOOK_HOLDS;
        if self.listed.as_ref().is_none_or(|(at, _)| is_old(*at)) {
            let at = Instant::now();
            let folder = due.file.path.parent();
            self.listed = Some((at, lines_of(self.pass, &folder, &self.wanted).await));
        }
        match &self.listed {
            Some((_, Ok(lines))) => Ok(lines.get(&due.file.path)),
            Some((_, Err(error))) => Err(error),
            None => Ok(None),
        }
    }
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
