//! Looks for the place of a file in the store: before it is read, or while it is.

use crate::report::{Ingested, Proof};
use crate::rules::equality;
use crate::rules::plan::Why;
use crate::rules::plan::known::UNSEEN_MARK;
use crate::store::contract::{BLOCK_BYTES, BlobInfo};
use crate::transfer::archive::manifest;
use crate::transfer::commit::{self, Claim, Claimed};
use crate::transfer::context::Pass;
use crate::transfer::error::TransferError;
use crate::transfer::identity::TransferIdentity;
use crate::transfer::request::Transfer;
use crate::transfer::settings::{After, Archives, Versions};

/// Where a file goes.
#[derive(Debug)]
pub(crate) enum FilePlace {
    /// It is there already: an earlier run committed it and could not say so.
    Done(Ingested),
    /// Under this name, as soon as it is read.
    Free(Claim),
}

/// When the place of a file is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LookupTime {
    /// Never: a small new file is read first. That is one request less, and a name that is taken
    /// shows at the commit.
    Never,
    /// While it is read: nothing is likely to be there, and what is there shows before more of a
    /// large file is read in vain.
    Beside,
    /// Before it is read, where that can spare the reading or decides what may be replaced.
    First,
}

impl LookupTime {
    /// Of the file of `identity`.
    pub fn of(pass: &Pass, transfer: &Transfer, identity: &TransferIdentity<'_>) -> Self {
        let is_expected_free = is_new(transfer)
            && !pass.ledger.unclean()
            && identity.md5.is_none()
            && !identity.yields
            && pass.source.versions == Versions::Keep
            && !pass.source.adopt;
        // Of some archives only a part is read, which is decided before.
        let in_parts = pass.source.include_members.is_some() || pass.source.incremental_members;
        match identity.file.size {
            Some(size) if is_expected_free && size <= BLOCK_BYTES => Self::Never,
            Some(_) if is_expected_free && !in_parts => Self::Beside,
            _ => Self::First,
        }
    }
}

fn is_new(transfer: &Transfer) -> bool {
    transfer.why == Why::New && transfer.known.is_none()
}

/// Whether the server took the file of a blob away once it was read: what is listed now is another
/// one, and may have its size and time.
fn is_unseen(found: &BlobInfo) -> bool {
    found.metadata.contains_key(UNSEEN_MARK)
}

/// Looks for the place of the file of `identity`.
pub(crate) async fn look_for(
    pass: &Pass,
    transfer: &Transfer,
    identity: &TransferIdentity<'_>,
) -> Result<FilePlace, TransferError> {
    let file = identity.file;
    let plain = pass.source.naming.file(file)?;
    // What is there spares the reading only where nothing of the file was recorded: an earlier run
    // committed it and could not say so. Before a removal it is read in any case, and so it is
    // where no exact time tells it from another one of its size.
    let is_exact = file.modified.as_ref().is_some_and(equality::is_exact);
    let may_be_done =
        is_new(transfer) && is_exact && identity.md5.is_none() && pass.source.after == After::Keep;
    // Under `overwrite` a version that comes back finds its old manifest, but not its members.
    let may_be_unpacked = pass.source.archives != Archives::Keep
        && pass.source.versions == Versions::Keep
        && may_be_done;
    let unpacked = async {
        match may_be_unpacked {
            true => manifest::complete(pass, identity.version).await,
            false => Ok(None),
        }
    };
    let (unpacked, claimed) = tokio::join!(unpacked, commit::claim(pass, identity, &plain, None));
    if let Some(ingested) = unpacked? {
        return Ok(FilePlace::Done(ingested));
    }
    match claimed? {
        Claimed::Free(claim) => Ok(FilePlace::Free(claim)),
        // The bytes are compared, or the original of an archive says nothing of its members, which
        // are stored after it: the file is read, and meets the blob at the commit.
        Claimed::There(name, found)
            if !may_be_done || pass.source.archives == Archives::Both || is_unseen(&found) =>
        {
            Ok(FilePlace::Free(Claim::hopeful(name)))
        }
        Claimed::There(name, found) => {
            let proof =
                Box::new(Proof { blob: Some((name, found.size, found.md5)), ..Proof::default() });
            Ok(FilePlace::Done(Ingested { identical: 1, proof, ..Ingested::default() }))
        }
    }
}

/// What was read, and the claim that was found beside; or what else was found: then nothing more is
/// read.
pub(crate) async fn read_beside<T>(
    reading: impl Future<Output = Result<T, TransferError>>,
    looking: impl Future<Output = Result<FilePlace, TransferError>>,
    claim: Claim,
) -> Result<Result<(T, Claim), FilePlace>, TransferError> {
    enum ReadEnd {
        Failed(TransferError),
        Found(FilePlace),
    }
    let looking = async {
        match looking.await.map_err(ReadEnd::Failed)? {
            // What is staged belongs to its name.
            FilePlace::Free(found) if found.name == claim.name => Ok(found),
            found => Err(ReadEnd::Found(found)),
        }
    };
    let reading = async { reading.await.map_err(ReadEnd::Failed) };
    match tokio::try_join!(looking, reading) {
        Ok((claim, read)) => Ok(Ok((read, claim))),
        Err(ReadEnd::Found(found)) => Ok(Err(found)),
        Err(ReadEnd::Failed(error)) => Err(error),
    }
}
