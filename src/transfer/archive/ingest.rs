//! One archive, read to its end and held: unpacked, or kept as it is, or quarantined.

use crate::archive::contract::{Format, Nature};
use crate::archive::options::UnknownArchives;
use crate::archive::spool_reader::Spool;
use crate::archive::unpack::Archive;
use crate::archive::unread::{self, Unread};
use crate::model::chain;
use crate::model::failure::{Class, Failure};
use crate::report::{Ingested, Problem, Proof};
use crate::store::contract::Upload;
use crate::transfer::archive::checking::{self, ProvenArchive};
use crate::transfer::archive::members;
use crate::transfer::archive::quarantine;
use crate::transfer::commit::Claim;
use crate::transfer::context::Pass;
use crate::transfer::error::TransferError;
use crate::transfer::events::Call;
use crate::transfer::identity::TransferIdentity;
use crate::transfer::refused_archives::{RefusalRecords, limits};
use crate::transfer::request::Transfer;
use crate::transfer::settings::Archives;
use crate::transfer::whole_file::{plain_file, told_of};

/// What is to become of a file that looks like an archive, now that all of it is here.
pub(crate) async fn ingest(
    pass: &Pass,
    transfer: &Transfer,
    identity: &TransferIdentity<'_>,
    (spool, format): (Spool, &'static dyn Format),
    claim: Claim,
    upload: &Upload,
) -> Result<Ingested, TransferError> {
    let archive = checking::archive(pass, &identity.file.path, format, &spool);
    // Nothing, not even the original, becomes visible before the archive has proved whole.
    let proven = match prove(pass, transfer, identity, archive).await {
        Ok(Some(proven)) => proven,
        Ok(None) => {
            let arrived = crate::transfer::upload::replay(pass, &spool, upload).await?;
            return plain_file(pass, identity, &arrived, claim, upload).await;
        }
        Err(error) => {
            let Some(kind) = part_of(pass, identity, &error) else {
                if error.class() == Class::LimitArchive {
                    refusal_records_of(pass)
                        .remember(identity.version, spool.size(), chain(&error))
                        .await;
                }
                return Err(quarantine::keep(pass, identity, &spool, error).await);
            };
            let arrived = crate::transfer::upload::replay(pass, &spool, upload).await?;
            let mut ingested =
                told_of(plain_file(pass, identity, &arrived, claim, upload).await?, kind);
            if error.class() == Class::ArchiveDamaged {
                // Perhaps it was cut on its way here: somebody should look.
                ingested.problems.push(Problem::new(
                    Class::ArchiveUnsupported,
                    format!("it is {}, or damaged: {}", kind.about(), chain(&error)),
                ));
            }
            return Ok(ingested);
        }
    };
    let kept = if pass.source.archives == Archives::Both {
        let arrived = crate::transfer::upload::replay(pass, &spool, upload).await?;
        plain_file(pass, identity, &arrived, claim, upload).await?
    } else {
        Ingested::default()
    };
    let unpacked = store_members(pass, transfer, identity, proven, spool.size()).await?;
    let proof = Box::new(Proof { blob: kept.proof.blob, ..*unpacked.proof });
    Ok(Ingested {
        bytes: spool.size(),
        originals: kept.stored,
        notes: [kept.notes, unpacked.notes].concat(),
        proof,
        ..unpacked
    })
}

/// What an archive that failed with `error` is a part of, if it is, and such are stored as they
/// are.
pub(crate) fn part_of(
    pass: &Pass,
    identity: &TransferIdentity<'_>,
    error: &TransferError,
) -> Option<Unread> {
    let TransferError::Unpack(error) = error else { return None };
    let may_be = matches!(error.class(), Class::ArchiveDamaged | Class::ArchiveUnsupported);
    let kind = error.kind().or_else(|| unread::part_by_name(&identity.file.path.file_name_text()));
    kind.filter(|_| may_be && pass.source.unpacking.unknown == UnknownArchives::Keep)
}

/// Stores the members of an archive of `bytes`, as one call that is watched.
pub(crate) async fn store_members(
    pass: &Pass,
    transfer: &Transfer,
    identity: &TransferIdentity<'_>,
    proven: ProvenArchive,
    bytes: u64,
) -> Result<Ingested, TransferError> {
    let call = Call::to_store("store members", pass, &identity.file.path);
    let stored = members::store(pass, transfer, identity, proven).await;
    match &stored {
        Ok(_) => call.went_well(bytes),
        Err(error) => call.failed(0, error),
    }
    stored
}

/// The archive, read to its end; `None` if it is none, or a document that is wanted whole.
pub(crate) async fn prove(
    pass: &Pass,
    transfer: &Transfer,
    identity: &TransferIdentity<'_>,
    archive: Archive,
) -> Result<Option<ProvenArchive>, TransferError> {
    let opens = match archive.nature().await? {
        Nature::Archive => true,
        Nature::Document => pass.source.unpacking.unpack_documents,
        Nature::Beginning | Nature::Other => false,
    };
    if opens {
        checking::check(pass, transfer, identity, archive).await.map(Some)
    } else {
        Ok(None)
    }
}

/// What is remembered of archives that a limit refused.
pub(crate) fn refusal_records_of(pass: &Pass) -> RefusalRecords<'_> {
    let limits = pass.source.unpacking.own_limits.over(&pass.run.limits.archive);
    RefusalRecords {
        state: &pass.run.state,
        source: &pass.source.name,
        run: &pass.run.id,
        limits: self::limits(&limits, pass.run.limits.memory),
        refused: pass.quarantine.refused(),
    }
}
