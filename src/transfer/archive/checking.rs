//! An archive read to its end before anything of it is stored.

use std::collections::HashMap;
use std::sync::Arc;

use crate::archive::checked_members::CheckedMembers;
use crate::archive::contract::{Format, Partial, UnpackError};
use crate::archive::options::ArchiveOptions;
use crate::archive::spool_reader::Spool;
use crate::archive::unpack::{Archive, CheckWish, Proven};
use crate::archive::verify::Taker;
use crate::model::RemotePath;
use crate::rules::plan::Why;
use crate::transfer::archive::early_upload::{self, EarlyStaged, EarlyUpload};
use crate::transfer::archive::nested::Unchanged;
use crate::transfer::archive::places::MemberPlans;
use crate::transfer::commit::Stored;
use crate::transfer::context::Pass;
use crate::transfer::error::TransferError;
use crate::transfer::identity::TransferIdentity;
use crate::transfer::request::Transfer;
use crate::transfer::settings::Versions;

/// Bytes of one archive's members that are kept from the check, at most.
const KEPT_BYTES: u64 = 32 << 20;

/// An archive that was read to its end and held.
pub struct ProvenArchive {
    pub(super) archive: Archive,
    pub(super) proven: Proven,
    pub(super) look_first: bool,
    /// Members that are in the store already and were not read, by index.
    pub(super) known: HashMap<usize, Stored>,
    /// Archives in it whose members are in the store already and were not read, by index.
    pub(super) unchanged: HashMap<usize, Unchanged>,
    /// Large members that were staged while they were checked.
    pub(super) staged: Vec<EarlyStaged>,
    /// Where each member goes.
    pub(super) plans: MemberPlans,
    /// Holds the room of members that were kept.
    pub(super) _kept: Arc<EarlyUpload>,
}

/// The archive in `spool`, and how its source wants it read.
pub(crate) fn archive(
    pass: &Pass,
    file: &RemotePath,
    format: &'static dyn Format,
    spool: &Spool,
) -> Archive {
    let unpacking = &pass.source.unpacking;
    let below = String::from_utf8_lossy(file.below(&pass.source.root).unwrap_or(file.as_bytes()));
    // Those of this file first: they are meant for it.
    let own = unpacking
        .file_passwords
        .iter()
        .filter(|(globs, _)| globs.matches(&below))
        .map(|(_, password)| password.clone());
    let passwords = own.chain(unpacking.passwords.iter().cloned()).collect();
    let limits = unpacking.own_limits.over(&pass.run.limits.archive);
    let options =
        ArchiveOptions { file_name: file.file_name_text(), passwords, limits, ..unpacking.clone() };
    Archive {
        format,
        spool: spool.clone(),
        options: Arc::new(options),
        spooler: pass.run.spooler.clone(),
        recognise: crate::archive::recognise,
    }
}

/// Reads the archive to its end: nothing of it may become visible before that has gone well.
pub(crate) async fn check(
    pass: &Pass,
    transfer: &Transfer,
    identity: &TransferIdentity<'_>,
    archive: Archive,
) -> Result<ProvenArchive, TransferError> {
    let checked = |wish, taker| archive.check_for(wish, taker);
    let (proven, look_first, staged, kept) =
        check_ahead(pass, transfer, identity, &archive, checked).await?;
    let (plans, staged) = planned_or_abandoned(pass, identity, &proven.members, staged).await?;
    Ok(ProvenArchive {
        proven,
        archive,
        look_first,
        known: HashMap::new(),
        unchanged: HashMap::new(),
        staged,
        plans,
        _kept: kept,
    })
}

/// Which members of the outermost archive are read, and what is known of others, by their places in
/// it.
#[derive(Default)]
pub(crate) struct Selection {
    /// Those that are read.
    pub wanted: Vec<bool>,
    /// Those that are in the store already.
    pub known: HashMap<usize, Stored>,
    /// Archives whose members are.
    pub unchanged: HashMap<usize, Unchanged>,
}

/// Like [`check`], of an archive of which only the places of wanted members are there.
pub(crate) async fn check_some(
    pass: &Pass,
    transfer: &Transfer,
    identity: &TransferIdentity<'_>,
    archive: Archive,
    format: &'static dyn Partial,
    selection: Selection,
) -> Result<ProvenArchive, TransferError> {
    let Selection { wanted, known, unchanged } = selection;
    let checked = |wish, taker| archive.check_some_of(format, wanted, wish, taker);
    let (proven, look_first, staged, kept) =
        check_ahead(pass, transfer, identity, &archive, checked).await?;
    // Inner archives that were opened shift those behind them.
    let known =
        known.into_iter().filter_map(|(at, stored)| Some((proven.first_of(at)?, stored))).collect();
    let unchanged = unchanged
        .into_iter()
        .filter_map(|(at, inner)| Some((proven.first_of(at)?, inner)))
        .collect();
    let (plans, staged) = planned_or_abandoned(pass, identity, &proven.members, staged).await?;
    Ok(ProvenArchive { proven, archive, look_first, known, unchanged, staged, plans, _kept: kept })
}

/// Checks an archive and stages its large members meanwhile, which spares unpacking them once more.
async fn check_ahead<F: Future<Output = Result<Proven, UnpackError>>>(
    pass: &Pass,
    transfer: &Transfer,
    identity: &TransferIdentity<'_>,
    archive: &Archive,
    check: impl FnOnce(CheckWish, Option<Arc<dyn Taker>>) -> F,
) -> Result<(Proven, bool, Vec<EarlyStaged>, Arc<EarlyUpload>), TransferError> {
    let look_first = transfer.why != Why::New
        || pass.ledger.unclean()
        || pass.source.versions == Versions::Overwrite
        || pass.source.adopt;
    // Where equal content may be there already it is hashed first: what need not be sent again is
    // worth more.
    let (ahead, large) = EarlyUpload::new(pass, !look_first);
    let taker: Arc<dyn Taker> = ahead.clone();
    let checking = async {
        let proven =
            check(CheckWish { keep_bytes: KEPT_BYTES, md5: look_first }, Some(taker)).await;
        // Nothing more comes: the staging ends when it has all.
        ahead.close();
        let mut proven = proven?;
        early_upload::hash_kept(&pass.run, &mut proven.members).await?;
        Ok(proven)
    };
    let (proven, staged) =
        tokio::join!(checking, large.stage(pass, identity, archive.format.name()));
    match (proven, staged) {
        (Ok(proven), Ok(staged)) => Ok((proven, look_first, staged, ahead)),
        (Ok(_), Err(error)) => Err(error),
        (Err(error), staged) => {
            for staged in staged.unwrap_or_default() {
                staged.abandon(pass).await;
            }
            Err(error)
        }
    }
}

/// A place for each member, or nothing of the archive is stored.
async fn planned_or_abandoned(
    pass: &Pass,
    identity: &TransferIdentity<'_>,
    checked: &CheckedMembers,
    staged: Vec<EarlyStaged>,
) -> Result<(MemberPlans, Vec<EarlyStaged>), TransferError> {
    match MemberPlans::of(pass, identity, checked) {
        Ok(plans) => Ok((plans, staged)),
        Err(error) => {
            for staged in staged {
                staged.abandon(pass).await;
            }
            Err(error.into())
        }
    }
}
