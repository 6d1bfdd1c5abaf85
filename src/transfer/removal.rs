//! Takes one file away at the source: described and removed, renamed and removed, or moved.

use crate::failpoint::{failpoint, safeguard_off};
use crate::model::failure::Class;
use crate::model::{RemoteFile, RemotePath, Version};
use crate::rules::equality::{self, Equality};
use crate::rules::naming;
use crate::source::contract::{FileUse, Op, Session, SourceError};
use crate::transfer::context::Pass;
use crate::transfer::leaving::Due;
use crate::transfer::settings::{After, DeleteBy};

/// What became of a file that was to leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Removed {
    /// This program took it away.
    Gone,
    /// The source says that it is not there.
    NotThere,
    /// It is another one by now, and stays.
    Changed,
    /// The source says that it is done, and shows it as it was.
    Stays,
    /// It was moved there, and no description tells whether it was still what was read.
    MovedTo(RemotePath),
    /// Another file was moved there in its place, and its old name is taken.
    MovedUnread(RemotePath),
    /// It stays: why, as a sentence without its end.
    Held(String),
    /// It was renamed to this path to be removed, and its bytes are to be read there first.
    Aside(RemotePath),
}

/// What shows that a renamed file is the one that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RenameProof {
    /// Its description.
    Description,
    /// Its bytes: its description tells too little.
    Bytes,
}

/// Removes or moves the file, if its description is still that of what was read.
pub(crate) async fn remove_or_move(
    pass: &Pass,
    session: &mut dyn Session,
    due: &Due,
    proof: RenameProof,
) -> Result<Removed, SourceError> {
    let path = &due.file.path;
    let Some(now) = session.stat(path).await? else {
        return renamed(pass, session, due, proof).await;
    };
    if !due.is_still(&pass.without_false_time(now)) {
        return Ok(Removed::Changed);
    }
    if let FileUse::Taken(who) = session.file_use(path).await?
        && !safeguard_off!("open-before-removal")
    {
        return Ok(Removed::Held(who));
    }
    // What is removed is what was described last.
    failpoint!(
        "before-after-action",
        SourceError::new(Op::Remove, "failpoint", Class::Protocol, "failpoint")
    );
    match &pass.source.after {
        After::Keep => Ok(Removed::Changed),
        After::Delete if pass.source.delete_by == DeleteBy::Rename => {
            by_rename(pass, session, due, proof).await
        }
        After::Delete => {
            session.remove(path).await?;
            looked_after(pass, session, due, path).await
        }
        After::Move(target) => move_to(pass, session, due, target).await,
    }
}

/// Moves the file, and looks at what was moved: another file may have taken its place since it was
/// described.
async fn move_to(
    pass: &Pass,
    session: &mut dyn Session,
    due: &Due,
    target: &RemotePath,
) -> Result<Removed, SourceError> {
    let path = &due.file.path;
    let target = dated(pass, &due.file)?.unwrap_or_else(|| target.clone());
    let target = below(&target, &pass.source.root, path);
    // Yesterday's file of the same name keeps its place.
    let taken = session.stat(&target).await?.is_some();
    let to = if taken { beside(&target, &due.file, b"") } else { target };
    session.rename(path, &to).await?;
    let now = match session.stat(&to).await {
        Ok(Some(now)) => pass.without_false_time(RemoteFile { path: path.clone(), ..now }),
        // Some partners take away at once what is moved there, or show nobody what lies there.
        Ok(None) => return stays_or(pass, session, due, Removed::Gone).await,
        Err(error) if error.keeps_session() => {
            return stays_or(pass, session, due, Removed::MovedTo(to)).await;
        }
        Err(error) => return Err(error),
    };
    match equality::between(&due.file, &now) {
        _ if safeguard_off!("look-after-rename") => {}
        Equality::Different if name_back(session, &to, path).await? => return Ok(Removed::Changed),
        Equality::Different => return Ok(Removed::MovedUnread(to)),
        Equality::Unknown => return Ok(Removed::MovedTo(to)),
        Equality::Same => {}
    }
    looked_after(pass, session, due, path).await
}

/// `otherwise`, unless the file is still there under its name as it was.
async fn stays_or(
    pass: &Pass,
    session: &mut dyn Session,
    due: &Due,
    otherwise: Removed,
) -> Result<Removed, SourceError> {
    let is_there = session.stat(&due.file.path).await?.is_some_and(|now| is_still(pass, due, &now));
    Ok(if is_there && !safeguard_off!("look-after-removal") { Removed::Stays } else { otherwise })
}

/// A server that says it removed a file, and shows it again later, is asked at once the next time.
async fn looked_after(
    pass: &Pass,
    session: &mut dyn Session,
    due: &Due,
    at: &RemotePath,
) -> Result<Removed, SourceError> {
    if !due.doubted || safeguard_off!("look-after-removal") {
        return Ok(Removed::Gone);
    }
    Ok(match session.stat(at).await? {
        Some(now) if is_still(pass, due, &now) => Removed::Stays,
        _ => Removed::Gone,
    })
}

fn is_still(pass: &Pass, due: &Due, now: &RemoteFile) -> bool {
    let path = due.file.path.clone();
    due.is_still(&pass.without_false_time(RemoteFile { path, ..now.clone() }))
}

/// What is not there under its own name may have been renamed by an earlier try.
async fn renamed(
    pass: &Pass,
    session: &mut dyn Session,
    due: &Due,
    proof: RenameProof,
) -> Result<Removed, SourceError> {
    if pass.source.after != After::Delete || pass.source.delete_by != DeleteBy::Rename {
        return Ok(Removed::NotThere);
    }
    let aside = aside_of(due);
    match session.stat(&aside).await? {
        Some(now) if is_still(pass, due, &now) => {
            proven_aside(pass, session, due, aside, proof).await
        }
        _ => Ok(Removed::NotThere),
    }
}

/// What was renamed is looked at and removed, so that no file can be hit that came under the old
/// name meanwhile. One that is another gets its name back, unless that is taken by now: then it is
/// listed under the new one.
async fn by_rename(
    pass: &Pass,
    session: &mut dyn Session,
    due: &Due,
    proof: RenameProof,
) -> Result<Removed, SourceError> {
    let path = &due.file.path;
    let aside = aside_of(due);
    session.rename(path, &aside).await?;
    let Some(now) = session.stat(&aside).await? else {
        // Somebody took it at once; or nothing was renamed.
        return stays_or(pass, session, due, Removed::Gone).await;
    };
    if is_still(pass, due, &now) || safeguard_off!("look-after-rename") {
        return proven_aside(pass, session, due, aside, proof).await;
    }
    name_back(session, &aside, path).await?;
    Ok(Removed::Changed)
}

/// A renamed file whose description is that of the file that was read is removed, or stays there
/// until its bytes were read.
async fn proven_aside(
    pass: &Pass,
    session: &mut dyn Session,
    due: &Due,
    aside: RemotePath,
    proof: RenameProof,
) -> Result<Removed, SourceError> {
    match proof {
        RenameProof::Description => remove_aside(pass, session, due, &aside).await,
        RenameProof::Bytes => Ok(Removed::Aside(aside)),
    }
}

/// Removes a file that was renamed and proven.
pub(crate) async fn remove_aside(
    pass: &Pass,
    session: &mut dyn Session,
    due: &Due,
    aside: &RemotePath,
) -> Result<Removed, SourceError> {
    session.remove(aside).await?;
    let removed = looked_after(pass, session, due, aside).await?;
    if removed == Removed::Stays {
        name_back(session, aside, &due.file.path).await?;
    }
    Ok(removed)
}

/// Gives a file the name back that it had, unless that is taken by now; whether it did.
pub(crate) async fn name_back(
    session: &mut dyn Session,
    aside: &RemotePath,
    path: &RemotePath,
) -> Result<bool, SourceError> {
    let is_free = session.stat(path).await?.is_none();
    if is_free {
        session.rename(aside, path).await?;
    }
    Ok(is_free)
}

/// What the name of a file ends with that is about to be removed.
const REMOVING: &[u8] = b".removing";

fn aside_of(due: &Due) -> RemotePath {
    beside(&due.file.path, &due.file, REMOVING)
}

/// The path that a file had before this program renamed it to remove it, if its name says so.
pub(crate) fn name_before(path: &RemotePath) -> Option<RemotePath> {
    let name = path.file_name().strip_suffix(REMOVING)?;
    let tildes = name.iter().enumerate().filter(|(_, byte)| **byte == b'~').map(|(at, _)| at);
    let (at, mark) = tildes.map(|at| (at, mark_length(&name[at + 1..]))).find(|(_, n)| *n > 0)?;
    let original = [&name[..at], &name[at + 1 + mark..]].concat();
    (!original.is_empty()).then(|| path.parent().join(&original))
}

/// How many bytes of `text` are the mark of a version that it begins with: 0, if there is none.
fn mark_length(text: &[u8]) -> usize {
    const DATE: &[u8] = b"00000000T000000Z-";
    let is_hex = |text: Option<&[u8]>| {
        text.is_some_and(|text| text.iter().all(|byte| b"0123456789abcdef".contains(byte)))
    };
    let is_date = |text: &[u8]| {
        let alike = |(byte, form): (&u8, &u8)| match form {
            b'0' => byte.is_ascii_digit(),
            form => byte == form,
        };
        text.len() >= DATE.len() && text.iter().zip(DATE).all(alike)
    };
    let date = if is_date(text) { DATE.len() } else { 0 };
    let ends = text.get(date + 8).is_none_or(|byte| *byte == b'.');
    if is_hex(text.get(date..date + 8)) && ends { date + 8 } else { 0 }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ModifiedTime;

    #[test]
    fn a_name_that_a_file_was_given_to_be_removed_by_tells_the_one_that_it_had() {
        for path in ["/a.csv", "/d/a", "/d/.hidden", "/a~b.c~d", "/a.tar.gz", "/~", "/\u{e9}.x"] {
            for modified in [None, ModifiedTime::from_unix(1_700_000_000)] {
                let path = RemotePath::from(path);
                let file = RemoteFile { path: path.clone(), size: Some(3), modified };
                let aside = beside(&path, &file, REMOVING);
                assert_eq!(name_before(&aside), Some(path), "{aside}");
            }
        }
        for path in ["/a.csv", "/a.removing", "/a~1234567.removing", "/a~12345678x.removing"] {
            assert_eq!(name_before(&RemotePath::from(path)), None, "{path}");
        }
    }
}
