//! Runs that died before their manifests told all that they had recorded: which, and what of it.

use std::collections::BTreeMap;

use tokio_util::sync::CancellationToken;

use crate::failpoint::safeguard_off;
use crate::ledger::blobs::{LedgerBlobs, Tagged};
use crate::ledger::error::LedgerError;
use crate::ledger::journal_files::{JournalRaw, read};
use crate::ledger::load::MAX_CHANGED;
use crate::ledger::record::{Check, Record, Recorded};

/// A file that a dead run recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UntoldFile {
    /// The run, or the piece of one, that recorded it.
    pub run: String,
    /// The file.
    pub recorded: Recorded,
}

/// What `runs` have recorded, as far as nothing newer of the same path stands in its place.
pub(crate) async fn files_of(
    shelf: &LedgerBlobs,
    runs: &BTreeMap<String, u64>,
) -> Result<Vec<UntoldFile>, LedgerError> {
    let shelf = &LedgerBlobs { cancel: CancellationToken::new(), ..shelf.clone() };
    let mut changed = 0;
    loop {
        let Some(head) = shelf.head().await? else { return Ok(Vec::new()) };
        match files_under(shelf, &head, runs).await {
            // Another writer has folded since the head was read, or this is damage.
            Err(error) if error.is_missing() && changed < MAX_CHANGED => {
                if shelf.head().await?.is_some_and(|(_, etag)| etag == head.1) {
                    return Err(error);
                }
                changed += 1;
            }
            result => return result,
        }
    }
}

/// Reads the journals that `head` names, and the snapshot if a run of `runs` was untold when that
/// was written.
async fn files_under(
    shelf: &LedgerBlobs,
    (head, _): &Tagged,
    runs: &BTreeMap<String, u64>,
) -> Result<Vec<UntoldFile>, LedgerError> {
    let mut files = Vec::new();
    let mut take_in = |raw: JournalRaw| {
        let visit = |record, _| {
            let Record::File(file) = record else { return };
            if runs.contains_key(file.run()) {
                let run = file.run().to_owned();
                files.extend(file.of_run(&run).map(|recorded| UntoldFile { run, recorded }));
            }
        };
        raw.scan(visit).map(|_| ()).map_err(|bad| shelf.bad(bad))
    };
    let is_folded = runs.keys().any(|run| head.untold.contains_key(run));
    if is_folded && !safeguard_off!("folded-untold") {
        for piece in head.shards.iter().flatten() {
            let (blob, bytes) = (shelf.blob(&piece.name)?, shelf.piece(piece).await?);
            take_in(JournalRaw { blob, bytes, check: Check::WherePresent })?;
        }
    }
    for name in &head.journals {
        take_in(read(shelf, name).await?)?;
    }
    Ok(files)
}
