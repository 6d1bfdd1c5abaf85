//! Archives that cannot be unpacked: their originals are kept for a look, and not fetched again in
//! vain.

use crate::archive::spool_reader::Spool;
use crate::model::failure::{Class, Failure};
use crate::model::{BlobName, Version, chain};
use crate::rules::naming::escaped_for_metadata;
use crate::runtime::retry::retry;
use crate::state::paths::StatePaths;
use crate::store::contract::{Properties, StoreError, Upload};
use crate::transfer::commit::{self, Claim, Content};
use crate::transfer::context::Pass;
use crate::transfer::error::TransferError;
use crate::transfer::identity::TransferIdentity;
use crate::transfer::upload::replay;

/// How much of the reason is kept with an original: metadata is small.
const MAX_REASON_CHARACTERS: usize = 500;

fn name_of(source: &str, version: Version) -> BlobName {
    StatePaths::of(source).quarantined(version)
}

/// Whether an archive that failed with `class` will fail again, however often it is fetched.
fn is_hopeless(class: Class) -> bool {
    matches!(
        class,
        Class::ArchiveDamaged
            | Class::ArchiveEncrypted
            | Class::ArchiveUnsupported
            | Class::LimitArchive
    )
}

/// Keeps the original of an archive that failed with `error`, if its source wants that. The error
/// comes back, and tells where the original is.
pub(crate) async fn keep(
    pass: &Pass,
    identity: &TransferIdentity<'_>,
    spool: &Spool,
    error: TransferError,
) -> TransferError {
    if !pass.source.quarantine || !is_hopeless(error.class()) {
        return error;
    }
    let name = name_of(&pass.source.name, identity.version);
    let upload = Upload::new(name.clone());
    let kept = async {
        let arrived = replay(pass, spool, &upload).await?;
        let content = Content::of(&arrived, &upload)?;
        let reason: String =
            pass.redactor().text(&chain(&error)).chars().take(MAX_REASON_CHARACTERS).collect();
        let metadata = [
            ("source_path", escaped_for_metadata(identity.file.path.as_bytes())),
            ("class", error.class().to_string()),
            ("reason", escaped_for_metadata(reason.as_bytes())),
            ("run", pass.run.id.clone()),
        ];
        let metadata = metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let properties = Properties {
            content_type: "application/octet-stream".to_owned(),
            md5: content.proof().1,
            metadata,
            placement: Default::default(),
        };
        let claim = Claim::always(name.clone());
        commit::commit(&pass.run, content, &claim, &properties).await?;
        Ok::<_, TransferError>(())
    };
    let kept = kept.await;
    match kept {
        Ok(()) => TransferError::Quarantined { cause: Box::new(error), name },
        Err(failed) => {
            pass.run.store.abandon(&upload).await;
            tracing::warn!(source = pass.source.name, path = %identity.file.path,
                error = chain(&failed),
                    "Warning: an archive cannot be put into quarantine.");
            error
        }
    }
}

/// Lets go of a version that was there and has been unpacked after all.
pub(crate) async fn release(pass: &Pass, version: Version) -> Result<(), StoreError> {
    if !pass.quarantine.has(version) {
        return Ok(());
    }
    let name = name_of(&pass.source.name, version);
    retry(&pass.run.policy, &pass.run.cancel, "emptying the quarantine", |_| {
        pass.run.store.delete(&name)
    })
    .await
}
