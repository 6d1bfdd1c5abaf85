//! A file that was renamed to be removed is read there once more: nobody who writes to its old name
//! reaches it now.

use crate::failpoint::safeguard_off;
use crate::model::failure::{Class, Failure};
use crate::model::{RemoteFile, RemotePath};
use crate::rules::verify::Verdict;
use crate::runtime::retry::retry;
use crate::source::contract::SourceError;
use crate::transfer::context::Pass;
use crate::transfer::error::TransferError;
use crate::transfer::leaving::Due;
use crate::transfer::removal::{Removed, name_back, remove_aside};
use crate::transfer::reread::{self, Reread};
use crate::transfer::retried_removal::not_as_read;

/// Removes the file at `aside` if its bytes are those that are stored. Else, and where they cannot
/// be read, it gets its name back; what that leaves undone, the next run does.
pub(crate) async fn remove_once_read(
    pass: &Pass,
    due: &Due,
    aside: &RemotePath,
) -> Result<Removed, TransferError> {
    let file = RemoteFile { path: aside.clone(), ..due.file.clone() };
    let otherwise = match reread::read(pass, &file).await {
        Ok(Reread::Whole { md5, verdict: Verdict::Whole | Verdict::Touched, .. })
            if md5 == due.md5 || safeguard_off!("second-reading") =>
        {
            match removed(pass, due, aside).await? {
                changed @ (Removed::Changed | Removed::Held(_)) => Ok(changed),
                removed => return Ok(removed),
            }
        }
        // Somebody took it at once.
        Ok(Reread::Whole { verdict: Verdict::Unseen, .. } | Reread::Left(Verdict::Vanished)) => {
            return Ok(Removed::NotThere);
        }
        Ok(Reread::TooMuch) => {
            Ok(Removed::Held("`recheck` left no room to read it again".to_owned()))
        }
        Ok(Reread::Whole { .. } | Reread::Left(_)) => Ok(Removed::Changed),
        Err(TransferError::Source(error)) if error.class() == Class::NotFound => {
            return Ok(Removed::NotThere);
        }
        Err(error) => Err(error),
    };
    let given_back = given_back(pass, due, aside).await;
    let otherwise = otherwise?;
    given_back?;
    Ok(otherwise)
}

async fn removed(pass: &Pass, due: &Due, aside: &RemotePath) -> Result<Removed, SourceError> {
    let once = |attempt| async move {
        if attempt > 1
            && let Some(stays) = Box::pin(not_as_read(pass, due, aside)).await?
        {
            return Ok(stays);
        }
        let mut lease = pass.pool.lend_for_try(attempt, pass.source.policy.attempts).await?;
        let result = remove_aside(pass, &mut *lease, due, aside).await;
        lease.settle(&result);
        result
    };
    retry(&pass.source.policy, &pass.run.cancel, "removing a file", once).await
}

/// Gives a file that lies at `now` the name back that it had, unless that is taken by now; whether
/// it did.
pub(crate) async fn given_back(
    pass: &Pass,
    due: &Due,
    now: &RemotePath,
) -> Result<bool, SourceError> {
    let once = |attempt| async move {
        let mut lease = pass.pool.lend_for_try(attempt, pass.source.policy.attempts).await?;
        let result = name_back(&mut *lease, now, &due.file.path).await;
        lease.settle(&result);
        result
    };
    retry(&pass.source.policy, &pass.run.cancel, "giving a file its name back", once).await
}
