//! A ledger in numbers, and file by file, for people.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::ledger::blobs::{HEAD, LedgerBlobs};
use crate::ledger::error::LedgerError;
use crate::ledger::head::Head;
use crate::ledger::journal_files;
use crate::ledger::load::load;
use crate::ledger::loaded::LedgerLoaded;
use crate::ledger::record::{Check, Record};
use crate::model::RemotePath;
use crate::rules::plan::known::Known;
use crate::runtime::retry::Policy;
use crate::state::paths::StatePaths;
use crate::store::contract::Store;

/// A ledger in numbers.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Overview {
    /// Paths that are known.
    pub files: usize,
    /// How many of them the snapshot knows.
    pub in_snapshot: usize,
    /// How often journals were folded into a snapshot.
    pub generation: u64,
    /// Shards of the snapshot that hold something.
    pub shards: usize,
    /// Bytes of the snapshot, index and shards.
    pub snapshot_bytes: u64,
    /// Journals that are not folded yet.
    pub journals: Vec<String>,
    /// Lines in them.
    pub journal_lines: usize,
    /// Whether a run began and did not end, or is under way.
    pub unclean: bool,
    /// Whether it was written by the release before this one; the next run that records something
    /// takes it over.
    pub legacy: bool,
}

/// Reads the ledger of `source` and says what is in it. Changes nothing.
pub async fn overview(
    store: Arc<dyn Store>,
    source: &str,
    policy: Policy,
    cancel: CancellationToken,
) -> Result<Overview, LedgerError> {
    let shelf = LedgerBlobs { store, source: source.to_owned(), policy, cancel };
    let LedgerLoaded { head, index, legacy, lines, .. } = load(&shelf).await?;
    let head = head.map_or_else(Head::empty, |(head, _)| head);
    Ok(Overview {
        files: index.len(),
        in_snapshot: index.snapshot().len(),
        generation: head.generation,
        shards: head.shards.iter().flatten().count(),
        snapshot_bytes: head
            .index
            .iter()
            .chain(head.shards.iter().flatten())
            .map(|piece| piece.bytes)
            .sum(),
        journals: head.journals,
        journal_lines: lines,
        unclean: index.unclean(),
        legacy,
    })
}

/// Reads every record of the ledger of `source`, the shards of its snapshot included, and tells
/// `visit` of each file: of a path that was ingested more than once since the last fold, more than
/// once, in order. Changes nothing.
pub async fn each_file(
    store: Arc<dyn Store>,
    source: &str,
    policy: Policy,
    cancel: CancellationToken,
    visit: &mut (dyn FnMut(RemotePath, Known) + Send),
) -> Result<(), LedgerError> {
    let shelf = LedgerBlobs { store, source: source.to_owned(), policy, cancel };
    let mut take_in = |raw: journal_files::JournalRaw| {
        let found = raw.scan(|record, _| {
            if let Record::File(file) = &record
                && let Some((path, known)) = file.known()
            {
                visit(path, known);
            }
        });
        found.map(|_| ()).map_err(|bad| shelf.bad(bad))
    };
    let Some((head, _)) = shelf.head().await? else {
        return journal_files::legacy(&shelf).await?.into_iter().try_for_each(take_in);
    };
    for piece in head.shards.iter().flatten() {
        let bytes = shelf.piece(piece).await?;
        take_in(journal_files::JournalRaw {
            blob: shelf.blob(&piece.name)?,
            bytes,
            check: Check::WherePresent,
        })?;
    }
    for name in &head.journals {
        take_in(journal_files::read(&shelf, name).await?)?;
    }
    Ok(())
}

/// The name of the head of the ledger of `source`.
pub fn head_name(source: &str) -> crate::model::BlobName {
    StatePaths::of(source).ledger(HEAD).expect("our own name is a legal segment")
}
