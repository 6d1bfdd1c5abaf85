//! The MD5 of the bytes that are stored of a file, whoever tells it.

use crate::model::{Md5, RemotePath};
use crate::rules::plan::known::Known;
use crate::transfer::archive::manifest;
use crate::transfer::commit::{self, Claimed};
use crate::transfer::context::Pass;
use crate::transfer::error::TransferError;
use crate::transfer::identity::TransferIdentity;
use crate::transfer::settings::Archives;

/// The MD5 of what is stored, as the source sent it: by its record; by the archive's manifest or
/// the blob itself, where an earlier release recorded none.
pub(crate) async fn stored_sum(
    pass: &Pass,
    known: &Known,
    path: &RemotePath,
) -> Result<Option<Md5>, TransferError> {
    if let Some(md5) = known.history.md5 {
        return Ok(Some(md5));
    }
    if pass.source.archives != Archives::Keep
        && let Some(md5) = manifest::source_md5(pass, known.version).await?
    {
        return Ok(Some(md5));
    }
    let file = known.file(path);
    let identity = TransferIdentity::recorded(&file, known.version);
    // A file that gets no name any more had one under the layout of its time: nobody knows which.
    let Ok(plain) = pass.source.naming.file(&file) else { return Ok(None) };
    match commit::claim(pass, &identity, &plain, None).await {
        Ok(Claimed::There(_, found)) => Ok(found.md5),
        Ok(Claimed::Free(_)) | Err(TransferError::Conflict { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
