//! A removal over which the connection was lost: what is shown before the next try.

use crate::failpoint::safeguard_off;
use crate::model::{RemoteFile, RemotePath, chain};
use crate::source::contract::SourceError;
use crate::transfer::context::Pass;
use crate::transfer::error::TransferError;
use crate::transfer::leaving::Due;
use crate::transfer::removal::Removed;
use crate::transfer::reread::{self, StaysUnproven};

/// Why a file stays whose removal or move was lost with the connection.
const NO_ROOM_AGAIN: &str = "the connection was lost over its removal, and `recheck` left no room \
    to read it again";

/// What becomes of a file that was to be removed or moved, and the connection was lost over that,
/// if it cannot be shown to be what was read. Where its description tells too little, its bytes, at
/// `at` by now, are read again before the next try: another may have taken its place since the last
/// reading.
pub(crate) async fn not_as_read(
    pass: &Pass,
    due: &Due,
    at: &RemotePath,
) -> Result<Option<Removed>, SourceError> {
    // What is not there may have left by the first try.
    if !due.proof().reread || !is_there(pass, at).await? {
        return Ok(None);
    }
    if due.file.size.is_some_and(|size| !pass.recheck.take(size)) {
        return Ok(Some(Removed::Held(NO_ROOM_AGAIN.to_owned())));
    }
    let file = RemoteFile { path: at.clone(), ..due.file.clone() };
    match reread::why_it_stays(pass, &file, &due.md5).await {
        Ok(None) => Ok(None),
        Ok(Some(StaysUnproven::Changed)) => {
            Ok(Some(Removed::Changed).filter(|_| !safeguard_off!("reread-before-retry")))
        }
        Ok(Some(StaysUnproven::NoRoom)) => Ok(Some(Removed::Held(NO_ROOM_AGAIN.to_owned()))),
        Err(TransferError::Source(error)) => Err(error),
        Err(error) => Ok(Some(Removed::Held(chain(&error)))),
    }
}

async fn is_there(pass: &Pass, path: &RemotePath) -> Result<bool, SourceError> {
    let mut lease = pass.pool.lend().await?;
    let result = lease.stat(path).await;
    lease.settle(&result);
    Ok(result?.is_some())
}
