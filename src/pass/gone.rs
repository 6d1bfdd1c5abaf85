//! Files and folders that the source listed and then said were not there: a fresh listing decides
//! which are gone.
//!
//! "Not there" is an answer to a name, and names are spelled in two places: some servers list what
//! they cannot open. So nothing is gone by such an answer. At the end of a pass the folders of all
//! of them are listed once more, after the last of these answers, each at most twice: for what it
//! holds, and for its own folders that could not be entered.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use time::OffsetDateTime;

use crate::failpoint::safeguard_off;
use crate::model::failure::{Class, Failure};
use crate::model::{RemoteFile, RemotePath, chain, hex};
use crate::pass::file_log;
use crate::pass::late;
use crate::report::{Defer, Outcome, Problem, SourceReport, problem};
use crate::rules::plan::known::{Seen, Unmet};
use crate::rules::plan::{Why, as_before};
use crate::runtime::parallel::side_by_side;
use crate::runtime::retry::retry;
use crate::source::bounded::ListingBound;
use crate::source::contract::{Listed, SourceError};
use crate::transfer::after_action::{self, Acted};
use crate::transfer::context::Pass;
use crate::transfer::download;
use crate::transfer::events;
use crate::transfer::leaving::Due;
use crate::transfer::missing::Absent;

/// What a fresh listing says of a path.
#[derive(Clone, Debug)]
enum Shown {
    /// The listing of its folder has no such entry.
    No,
    /// It has one.
    Yes,
    /// Its folder could not be listed.
    Unknown(Problem),
}

/// A file of which it is decided what became of it.
pub struct Settled {
    /// The file, as it was listed.
    pub file: RemoteFile,
    /// Why it was to be fetched, if it was.
    pub why: Option<Why>,
    /// What became of it.
    pub outcome: Outcome,
}

/// Decides about all that was said not to be there, tells log, manifest and report, and notes in
/// the ledger what the next run should know. `each` is told of every file.
pub(crate) async fn settle(
    pass: &Arc<Pass>,
    report: &mut SourceReport,
    mut each: impl FnMut(&Settled),
) {
    for file in pass.missing.take_moving() {
        let seen = Seen { why: Some(Unmet::Changed), ..Seen::new(file, OffsetDateTime::now_utc()) };
        late::sighted(pass, report, seen, Defer::Changed).await;
    }
    for seen in pass.missing.take_resting() {
        late::sighted(pass, report, seen, Defer::Unsettled).await;
    }
    let (absent, shown) = look(pass).await;
    for one in absent {
        let shown = shown.get(one.path()).cloned().unwrap_or_else(stopped);
        match one {
            Absent::File(file, why) => {
                let (outcome, sighting) = judge(pass, (&file, why), shown);
                if let Some(sighting) = sighting {
                    late::sighted(pass, report, sighting, Defer::Unreachable).await;
                }
                let settled = Settled { file, why, outcome };
                tell(pass, &settled, report);
                each(&settled);
            }
            Absent::Folder(dir, cause) => folder(report, &dir, &cause, &shown),
            Absent::Leaving(due) => {
                let acted = leave(pass, &due, shown).await;
                after_action::tell(report, &due.file.path, acted);
            }
        }
    }
}

/// The same without a word to the ledger, for a plan.
pub(crate) async fn settle_plan(pass: &Arc<Pass>, report: &mut SourceReport) {
    let (absent, shown) = look(pass).await;
    for one in absent {
        let shown = shown.get(one.path()).cloned().unwrap_or_else(stopped);
        match one {
            Absent::File(file, why) => {
                let outcome = judge(pass, (&file, why), shown).0;
                report.add(&file.path, outcome);
            }
            Absent::Folder(dir, cause) => folder(report, &dir, &cause, &shown),
            Absent::Leaving(_) => {}
        }
    }
}

fn stopped() -> Shown {
    Shown::Unknown(Problem::new(
        Class::Interrupted,
        "the run was stopped before its folder was listed again",
    ))
}

fn tell(pass: &Pass, settled: &Settled, report: &mut SourceReport) {
    let Settled { file, why, outcome } = settled;
    let (source, path) = (&pass.source.name, &file.path);
    events::file(source, file, outcome);
    file_log::note(pass, file, *why, outcome);
    match outcome {
        Outcome::Failed(Problem { class, message, hint }) => {
            tracing::error!(source, %path, %class, error = message, hint = &**hint, "A file did \
                not arrive.");
        }
        Outcome::Gone => {
            tracing::debug!(source, %path, "A file is gone: its folder does not show it any more.")
        }
        _ => {
            tracing::warn!(source, %path, "A file is listed, and not there when it is asked for; \
                the next run looks again.")
        }
    }
    report.add(path, outcome.clone());
}

/// What becomes of a file that was said not to be there, and what the next run should know of that.
fn judge(
    pass: &Pass,
    (file, why): (&RemoteFile, Option<Why>),
    shown: Shown,
) -> (Outcome, Option<Seen>) {
    let is_wanted = why.is_some() || pass.ledger.known(&file.path).is_none();
    match shown {
        Shown::No | Shown::Yes if safeguard_off!("gone-by-listing") => (Outcome::Gone, None),
        Shown::No => match pass.run.removed.taken_by_other(&pass.source.name, file) {
            Some(other) if is_wanted => (Outcome::Failed(taken(&file.path, &other)), None),
            _ => (Outcome::Gone, None),
        },
        Shown::Unknown(_) if pass.run.cancel.is_cancelled() => {
            (Outcome::Deferred(Defer::Interrupted), None)
        }
        Shown::Unknown(problem) => (Outcome::Failed(problem), None),
        Shown::Yes => {
            still_listed(pass, file, pass.ledger.seen(&file.path), OffsetDateTime::now_utc())
        }
    }
}

/// Two sources can see the same files, and no setting shows it.
fn taken(path: &RemotePath, other: &str) -> Problem {
    let text = format!(
        "`{path}` was taken by the source `{other}`, which removes or moves what it stored: the \
        two can see the same files"
    );
    Problem::new(Class::Config, text)
}

fn still_listed(
    pass: &Pass,
    file: &RemoteFile,
    earlier: Option<Seen>,
    now: OffsetDateTime,
) -> (Outcome, Option<Seen>) {
    let same = earlier.as_ref().filter(|earlier| {
        earlier.why == Some(Unmet::Unreachable) && as_before(&earlier.file, file, pass.times())
    });
    match same {
        Some(earlier) if now - earlier.at >= pass.source.stable_for => {
            (Outcome::Failed(unreachable(&file.path, earlier)), None)
        }
        // It counts from the first look that found it so.
        _ => (
            Outcome::Deferred(Defer::Unreachable),
            Some(Seen { why: Some(Unmet::Unreachable), ..Seen::new(file.clone(), now) }),
        ),
    }
}

fn unreachable(path: &RemotePath, earlier: &Seen) -> Problem {
    let since = earlier.at.replace_nanosecond(0).unwrap_or(earlier.at);
    let name: Vec<String> = path.file_name().iter().map(|byte| hex(&[*byte])).collect();
    let text = format!(
        "`{path}` is in the listing of its folder, and the server says that it is not there, since \
        {since}; its name in bytes: {}",
        name.join(" ")
    );
    Problem::new(Class::Unreachable, text)
}

/// A folder that could not be entered.
fn folder(report: &mut SourceReport, dir: &RemotePath, cause: &SourceError, shown: &Shown) {
    match shown {
        Shown::No => report.notes.push(format!("{dir}: it went away before it could be listed")),
        Shown::Yes if safeguard_off!("folder-told") => {}
        Shown::Yes => {
            let text = format!(
                "listing `{dir}`: {}; the folder that holds it still shows it",
                chain(cause)
            );
            report.problems.push(Problem::new(Class::ListingFailed, text));
        }
        Shown::Unknown(why) => {
            let text = format!(
                "listing `{dir}`: {}; and whether it is still there is unknown: {}",
                chain(cause),
                why.message
            );
            report.problems.push(Problem::new(Class::ListingFailed, text));
        }
    }
}

/// A stored file that was not there when it was to leave.
async fn leave(pass: &Pass, due: &Due, shown: Shown) -> Acted {
    match shown {
        // It was taken.
        Shown::No => after_action::left(pass, due).await,
        Shown::Unknown(_) if pass.run.cancel.is_cancelled() => Acted::Done,
        Shown::Unknown(problem) => Acted::Failed(problem),
        Shown::Yes => Acted::Failed(Problem::new(
            Class::AfterAction,
            "the server lists it, and says that it is not there when it is to be removed: it stays",
        )),
    }
}

/// All that was said not to be there, and what fresh listings say of each.
async fn look(pass: &Arc<Pass>) -> (Vec<Absent>, HashMap<RemotePath, Shown>) {
    let absent = pass.missing.take();
    let mut questions: BTreeSet<RemotePath> = absent.iter().map(|one| one.path().clone()).collect();
    let mut answers = HashMap::new();
    if pass.source.patterns.exact().is_some() {
        // What is asked for by its path is never listed.
        side_by_side(
            questions,
            pass.parallel(),
            |path| describe(pass.clone(), path),
            |path, shown| {
                answers.insert(path, shown.unwrap_or_else(panicked));
            },
        )
        .await;
        return (absent, answers);
    }
    // Entries whose folder itself was not there: it is looked for in its own.
    let mut open: Vec<(RemotePath, Vec<RemotePath>, SourceError)> = Vec::new();
    while !questions.is_empty() {
        let mut folders: BTreeMap<RemotePath, HashSet<RemotePath>> = BTreeMap::new();
        for path in std::mem::take(&mut questions) {
            folders.entry(path.parent()).or_default().insert(path);
        }
        let work = |(folder, wanted): (RemotePath, HashSet<RemotePath>)| {
            list(pass.clone(), folder, wanted)
        };
        side_by_side(folders, pass.parallel(), work, |(folder, wanted), found| match found {
            None => answers.extend(wanted.into_iter().map(|path| (path, panicked()))),
            Some(Ok(found)) => answers.extend(wanted.into_iter().map(|path| {
                let shown = if found.contains(&path) { Shown::Yes } else { Shown::No };
                (path, shown)
            })),
            Some(Err(error)) if error.class() == Class::NotFound && folder != pass.source.root => {
                questions.insert(folder.clone());
                open.push((folder, wanted.into_iter().collect(), error));
            }
            Some(Err(error)) => answers
                .extend(wanted.into_iter().map(|path| (path, Shown::Unknown(problem(&error))))),
        })
        .await;
        questions.retain(|folder| !answers.contains_key(folder));
    }
    for (folder, inside, error) in open.into_iter().rev() {
        let shown = match answers.get(&folder) {
            Some(Shown::No) => Shown::No,
            // The folder is shown, and cannot be entered: so it is with all that is in it.
            Some(Shown::Yes) => Shown::Yes,
            Some(Shown::Unknown(_)) | None => Shown::Unknown(problem(&error)),
        };
        answers.extend(inside.into_iter().map(|path| (path, shown.clone())));
    }
    (absent, answers)
}

fn panicked() -> Shown {
    Shown::Unknown(Problem::new(
        Class::Internal,
        "looking for it again ended in a panic; the log has its trace",
    ))
}

async fn describe(pass: Arc<Pass>, path: RemotePath) -> Shown {
    match download::stat(&pass, &RemoteFile { path, size: None, modified: None }).await {
        Ok(None) => Shown::No,
        Ok(Some(_)) => Shown::Yes,
        Err(error) => Shown::Unknown(problem(&error)),
    }
}

/// Those of `wanted` that a fresh listing of `folder` shows.
async fn list(
    pass: Arc<Pass>,
    folder: RemotePath,
    wanted: HashSet<RemotePath>,
) -> Result<HashSet<RemotePath>, SourceError> {
    let (pass, folder, wanted) = (&pass, &folder, &wanted);
    let once = |attempt| async move {
        let mut lease = pass.pool.lend_for_try(attempt, pass.source.policy.attempts).await?;
        let mut found = HashSet::new();
        let bound = ListingBound::new(pass.run.limits.entries);
        let mut visit = |listed: Listed| {
            bound.count(&listed);
            let path = match listed {
                Listed::File(file) | Listed::Untold(file) => file.path,
                Listed::Directory(path)
                | Listed::Symlink(path)
                | Listed::Special(path)
                | Listed::Unreachable(path, _)
                | Listed::Undescribed(path, _) => path,
                Listed::Unparsed(_) | Listed::Aside(_) => return,
            };
            if wanted.contains(&path) {
                found.insert(path);
            }
        };
        let listing = lease.list(folder, &mut visit);
        let result = bound.hold(pass.pool.address(), folder, listing).await;
        lease.settle(&result);
        result.map(|()| found)
    };
    retry(&pass.source.policy, &pass.run.cancel, "listing a folder once more", once).await
}
