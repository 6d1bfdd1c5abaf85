//! Takes one file away at the source: described and removed, or moved, back to back.

use crate::failpoint::{failpoint, left_out};
use crate::model::failure::Class;
use crate::model::{RemoteFile, RemotePath, Version};
use crate::rules::naming;
use crate::source::contract::{FileUse, Op, Session, SourceError};
use crate::transfer::context::Pass;
use crate::transfer::leaving::Due;
use crate::transfer::settings::{After, DeleteBy};

/// What became of a file that was to leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// This program took it away.
    Gone,
    /// The source says that it is not there.
    NotThere,
    /// It is another one by now, and stays.
    Changed,
    /// Somebody writes to it, and it stays: who, as a sentence without its end.
    Taken(String),
}

/// Removes or moves the file, if its description is still that of what was read.
pub async fn remove_or_move(
    pass: &Pass,
    session: &mut dyn Session,
    due: &Due,
) -> Result<Removed, SourceError> {
    let path = &due.file.path;
    let Some(now) = session.stat(path).await? else { return Ok(Removed::NotThere) };
    if !due.is_still(&pass.without_false_time(now)) {
        return Ok(Removed::Changed);
    }
    if let FileUse::Taken(who) = session.file_use(path).await?
        && !left_out!("open-before-removal")
    {
        return Ok(Removed::Taken(who));
    }
    // What is removed is what was described last.
    failpoint!(
        "before-after-action",
        SourceError::new(Op::Remove, "failpoint", Class::Protocol, "failpoint")
    );
    match &pass.source.after {
        After::Keep => return Ok(Removed::Changed),
        After::Delete if pass.source.delete_by == DeleteBy::Rename => {
            return by_rename(pass, session, due).await;
        }
        After::Delete => session.remove(path).await?,
        After::Move(target) => {
            let target = dated(pass, &due.file)?.unwrap_or_else(|| target.clone());
            let target = below(&target, &pass.source.root, path);
            // Yesterday's file of the same name keeps its place.
            let taken = session.stat(&target).await?.is_some();
            session
                .rename(path, &if taken { beside(&target, &due.file, b"") } else { target })
                .await?;
        }
    }
    Ok(Removed::Gone)
}

/// What was renamed is looked at and removed, so that no file can be hit that came under the old
/// name meanwhile. One that is another gets its name back, unless that is taken by now: then it is
/// listed under the new one.
async fn by_rename(
    pass: &Pass,
    session: &mut dyn Session,
    due: &Due,
) -> Result<Removed, SourceError> {
    let path = &due.file.path;
    let aside = beside(path, &due.file, b".removing");
    session.rename(path, &aside).await?;
    let Some(now) = session.stat(&aside).await? else { return Ok(Removed::Gone) };
    let now = pass.without_false_time(RemoteFile { path: path.clone(), ..now });
    if due.is_still(&now) || left_out!("look-after-rename") {
        session.remove(&aside).await?;
        return Ok(Removed::Gone);
    }
    if session.stat(path).await?.is_none() {
        session.rename(&aside, path).await?;
    }
    Ok(Removed::Changed)
}

/// The folder to move `file` to, if that has dates: those of the file's time in the source's zone.
fn dated(pass: &Pass, file: &RemoteFile) -> Result<Option<RemotePath>, SourceError> {
    let Some(pattern) = &pass.source.move_to else { return Ok(None) };
    let Some(modified) = &file.modified else {
        let text = "it has no modified time, and `after` moves files to folders by theirs";
        return Err(SourceError::new(Op::Rename, pass.pool.address(), Class::Config, text));
    };
    let local = pass.source.time_zone.local(modified.at);
    Ok(Some(RemotePath::from(pattern.at(local).as_str())))
}

/// `path` below `target` as it is below `root`.
fn below(target: &RemotePath, root: &RemotePath, path: &RemotePath) -> RemotePath {
    target.join(path.below(root).unwrap_or(path.file_name()))
}

/// A name beside `target` that only this version of `file` has.
fn beside(target: &RemotePath, file: &RemoteFile, ending: &[u8]) -> RemotePath {
    let name = target.file_name();
    let dot =
        name.iter().rposition(|byte| *byte == b'.').filter(|dot| *dot > 0).unwrap_or(name.len());
    let mark = naming::version_mark(&Version::of(file), file.modified.as_ref());
    target.parent().join(&[&name[..dot], b"~", mark.as_bytes(), &name[dot..], ending].concat())
}
