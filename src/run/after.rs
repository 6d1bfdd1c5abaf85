//! What happens to a file at the source once it is stored and recorded.

use crate::failpoint::failpoint;
use crate::failure::{Class, Failure};
use crate::model::{RemoteFile, RemotePath, Version};
use crate::naming;
use crate::plan::Known;
use crate::report::{Problem, problem};
use crate::retry::retry;
use crate::run::context::Pass;
use crate::run::manifest;
use crate::run::settings::{After, Archives};
use crate::source::contract::{Session, SourceError};

/// What came of it.
pub enum Acted {
    /// It is done, or there is nothing to do.
    Done,
    /// The file stays, for this reason.
    Stays(String),
    /// It could not be done.
    Failed(Problem),
}

/// Finishes what an earlier run could not, for a file that is stored as `known` says.
pub async fn finish(pass: &Pass, path: &RemotePath, known: &Known) -> Acted {
    let left = match pass.source.archives {
        Archives::Unpack => manifest::complete(pass, known.version).await.map(|found| found.map_or(0, |archive| archive.members_left)),
        Archives::Keep | Archives::Both => Ok(0),
    };
    // The time as it was read exactly then: a listing may show another one, in a zone of its own.
    let file = RemoteFile { path: path.clone(), size: known.size, modified: known.modified };
    match left {
        Ok(left) => act(pass, &file, left).await,
        Err(error) => Acted::Failed(problem(&error)),
    }
}

/// Deletes or moves `file` as the source's settings say, if it is still the one that was stored and nothing in
/// it (`left` members) would be lost. The record of it is durable by now, so a failure is told and tried again
/// by the next run.
pub async fn act(pass: &Pass, file: &RemoteFile, left: u64) -> Acted {
    if pass.source.after == After::Keep {
        return Acted::Done;
    }
    if left > 0 {
        return Acted::Stays(format!("{left} members are links or special files and not stored, so it stays at the source"));
    }
    let once = |attempt| async move {
        let mut lease = pass.pool.lend_for_try(attempt, pass.source.policy.attempts).await?;
        let result = remove_or_move(pass, &mut *lease, file).await;
        lease.settle(&result);
        result
    };
    // One that a stopping run gives up is finished by the next.
    match pass.run.in_time(retry(&pass.source.policy, &pass.run.cancel, "an after-action", once)).await {
        None | Some(Ok(())) => Acted::Done,
        // Another run was quicker.
        Some(Err(error)) if error.class() == Class::NotFound => Acted::Done,
        Some(Err(error)) => Acted::Failed(problem(&error)),
    }
}

async fn remove_or_move(pass: &Pass, session: &mut dyn Session, file: &RemoteFile) -> Result<(), SourceError> {
    match session.stat(&file.path).await? {
        Some(now) if now.unchanged_since(file) => {}
        // Gone: done before. Changed: the next run takes the new content first.
        _ => return Ok(()),
    }
    failpoint!("before-after-action", SourceError::new(crate::source::contract::Op::Remove, "failpoint", Class::Protocol, "failpoint"));
    match &pass.source.after {
        After::Keep => Ok(()),
        After::Delete => session.remove(&file.path).await,
        After::Move(target) => {
            let target = below(target, &pass.source.root, &file.path);
            // Yesterday's file of the same name keeps its place.
            let taken = session.stat(&target).await?.is_some();
            session.rename(&file.path, &if taken { beside(&target, file) } else { target }).await
        }
    }
}

/// `path` below `target` as it is below `root`.
fn below(target: &RemotePath, root: &RemotePath, path: &RemotePath) -> RemotePath {
    target.join(path.below(root).unwrap_or(path.file_name()))
}

/// A name beside `target` that only this version of `file` has.
fn beside(target: &RemotePath, file: &RemoteFile) -> RemotePath {
    let name = target.file_name();
    let dot = name.iter().rposition(|byte| *byte == b'.').filter(|dot| *dot > 0).unwrap_or(name.len());
    let mark = naming::version_mark(&Version::of(file), file.modified.as_ref());
    target.parent().join(&[&name[..dot], b"~", mark.as_bytes(), &name[dot..]].concat())
}
