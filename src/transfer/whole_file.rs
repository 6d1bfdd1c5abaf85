//! Stores a file as it is, and tells of it if it is an archive of a kind that is not read.

use crate::archive::contract::UnpackError;
use crate::archive::options::UnknownArchives;
use crate::archive::unread::{self, Unread};
use crate::report::{Ingested, Proof};
use crate::store::contract::Upload;
use crate::transfer::archive::notes;
use crate::transfer::commit::{self, Claim, Content};
use crate::transfer::context::Pass;
use crate::transfer::error::TransferError;
use crate::transfer::identity::TransferIdentity;
use crate::transfer::settings::Archives;
use crate::transfer::upload::Arrived;

/// Stores a file as it is, and tells of it if it is an archive of a kind that is not read.
pub(crate) async fn stored_whole(
    pass: &Pass,
    identity: &TransferIdentity<'_>,
    arrived: &Arrived,
    claim: Claim,
    upload: &Upload,
) -> Result<Ingested, TransferError> {
    let Some(kind) = unread_kind(pass, &identity.file.path.file_name_text(), arrived) else {
        return plain_file(pass, identity, arrived, claim, upload).await;
    };
    if pass.source.unpacking.unknown == UnknownArchives::Fail {
        return Err(UnpackError::unread(kind).into());
    }
    plain_file(pass, identity, arrived, claim, upload).await.map(|ingested| told_of(ingested, kind))
}

/// The kind of archive that a file is which is stored as it is, where that is worth a word.
pub(crate) fn unread_kind(pass: &Pass, file_name: &str, arrived: &Arrived) -> Option<Unread> {
    let (head, carried) = arrived.look();
    unread::of(head, file_name).or(carried).filter(|_| pass.source.archives != Archives::Keep)
}

/// `ingested`, with a word about the `kind` that is not read.
pub(crate) fn told_of(mut ingested: Ingested, kind: Unread) -> Ingested {
    ingested.not_unpacked = Some(kind.word());
    ingested.notes.push(notes::not_unpacked(kind));
    ingested
}

/// Writes the blob of a file whose bytes arrived, under the name of `claim` or one of its own.
pub(crate) async fn plain_file(
    pass: &Pass,
    identity: &TransferIdentity<'_>,
    arrived: &Arrived,
    claim: Claim,
    upload: &Upload,
) -> Result<Ingested, TransferError> {
    let content = Content::of(arrived, upload)?;
    let content_type = commit::content_type(&identity.file.path, content.head());
    let plain = pass.source.naming.file(identity.file)?;
    let stored = commit::write(pass, identity, content, &plain, claim, &content_type).await?;
    Ok(Ingested {
        bytes: stored.size,
        stored: u64::from(!stored.identical),
        identical: u64::from(stored.identical),
        notes: stored.note.into_iter().collect(),
        proof: Box::new(Proof {
            blob: Some((stored.name, stored.size, Some(stored.md5))),
            ..Proof::default()
        }),
        ..Ingested::default()
    })
}
