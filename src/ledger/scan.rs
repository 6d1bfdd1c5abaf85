//! A ledger told record by record, for a writer that checks it. Changes nothing.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::ledger::blobs::{LedgerBlobs, Tagged};
use crate::ledger::error::LedgerError;
use crate::ledger::head::Head;
use crate::ledger::index::OpenRuns;
use crate::ledger::journal_files::{JournalRaw, legacy, read};
use crate::ledger::key::key;
use crate::ledger::load::{MAX_CHANGED, must_be_first, snapshot};
use crate::ledger::record::{Check, Record};
use crate::model::RemotePath;
use crate::rules::plan::known::Known;
use crate::runtime::retry::Policy;
use crate::store::contract::Store;

/// What is told of a ledger, in its order: the snapshot's shards, then the journals as they were
/// planned.
pub enum ScanEvent<'a> {
    /// Forget what was told before: the ledger was folded while it was read, so the reading begins
    /// anew.
    Anew,
    /// What follows stands in this blob, which is a shard of the snapshot or a journal.
    Blob {
        /// Its name.
        name: &'a str,
        /// Whether it is a shard.
        in_snapshot: bool,
    },
    /// A run (or a piece of one) begins to write.
    Begin,
    /// Another layout than the first one named blobs, for a while or still.
    Renamed,
    /// A file is recorded.
    File {
        /// Its path.
        path: RemotePath,
        /// What is known of it.
        known: Known,
        /// The run that recorded it.
        run: &'a str,
        /// Whether it tells of work: else it adds to what was recorded before.
        is_work: bool,
    },
    /// The snapshot's index, which is what runs read, says something else of this file than its
    /// shard, or nothing.
    Differs(RemotePath),
}

/// What a ledger says beside its records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// Runs that began and did not end, or are under way.
    pub open: Vec<String>,
    /// How many files the snapshot's index has.
    pub indexed: usize,
}

/// Reads all of the ledger of `source` and tells `visit` of it, one blob after the other.
pub async fn look_through(
    store: Arc<dyn Store>,
    source: &str,
    policy: Policy,
    cancel: CancellationToken,
    visit: &mut (dyn FnMut(ScanEvent<'_>) + Send),
) -> Result<Looked, LedgerError> {
    let shelf = LedgerBlobs { store, source: source.to_owned(), policy, cancel };
    let mut changed = 0;
    loop {
        visit(ScanEvent::Anew);
        let head = shelf.head().await?;
        match under(&shelf, &head, visit).await {
            // What was named is gone: the journals were folded since we read the head, or this is
            // damage.
            Err(error) if error.is_missing() && changed < MAX_CHANGED => {
                let tag = |head: &Option<Tagged>| head.as_ref().map(|(_, etag)| etag.clone());
                if tag(&shelf.head().await?) == tag(&head) {
                    return Err(error);
                }
                changed += 1;
            }
            result => return result,
        }
    }
}

/// The journals of `source` that are not folded yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Journals {
    /// Whether journals were folded before.
    pub folded: bool,
    /// Their names in the ledger's folder.
    pub names: Vec<String>,
}

/// Which journals the head of `source` names; `None` if there is no head, or none that can be read.
pub async fn journals(
    store: Arc<dyn Store>,
    source: &str,
    policy: Policy,
    cancel: CancellationToken,
) -> Result<Option<Journals>, LedgerError> {
    let shelf = LedgerBlobs { store, source: source.to_owned(), policy, cancel };
    match shelf.head().await {
        Ok(head) => {
            Ok(head.map(|(head, _)| Journals { folded: head.generation > 0, names: head.journals }))
        }
        Err(LedgerError::Damaged { .. } | LedgerError::Future { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn under(
    shelf: &LedgerBlobs,
    head: &Option<Tagged>,
    visit: &mut (dyn FnMut(ScanEvent<'_>) + Send),
) -> Result<Looked, LedgerError> {
    let mut open = OpenRuns::default();
    let Some((head, _)) = head else {
        let journals = legacy(shelf).await?;
        if journals.is_empty() {
            must_be_first(shelf).await?;
        }
        for raw in journals {
            journal(shelf, &raw, &mut open, visit)?;
        }
        return Ok(Looked { open: open.0, indexed: 0 });
    };
    open.0.clone_from(&head.open);
    if head.layout.is_some() {
        visit(ScanEvent::Renamed);
    }
    let indexed = shards(shelf, head, visit).await?;
    for name in &head.journals {
        journal(shelf, &read(shelf, name).await?, &mut open, visit)?;
    }
    Ok(Looked { open: open.0, indexed })
}

/// How many files the index has.
async fn shards(
    shelf: &LedgerBlobs,
    head: &Head,
    visit: &mut (dyn FnMut(ScanEvent<'_>) + Send),
) -> Result<usize, LedgerError> {
    let index = snapshot(shelf, head).await?;
    for piece in head.shards.iter().flatten() {
        let raw = JournalRaw {
            blob: shelf.blob(&piece.name)?,
            bytes: shelf.piece(piece).await?,
            check: Check::WherePresent,
        };
        visit(ScanEvent::Blob { name: raw.blob.as_str(), in_snapshot: true });
        let scanned = raw.scan(|record, _| {
            let Record::File(file) = &record else { return };
            let Some((path, known)) = file.known() else { return };
            if index.known(&key(&path), &path) != Some(known.indexed()) {
                visit(ScanEvent::Differs(path.clone()));
            }
            visit(ScanEvent::File { path, known, run: file.run(), is_work: file.is_work() });
        });
        scanned.map_err(|bad| shelf.bad(bad))?;
    }
    Ok(index.len())
}

fn journal(
    shelf: &LedgerBlobs,
    raw: &JournalRaw,
    open: &mut OpenRuns,
    visit: &mut (dyn FnMut(ScanEvent<'_>) + Send),
) -> Result<(), LedgerError> {
    visit(ScanEvent::Blob { name: raw.blob.as_str(), in_snapshot: false });
    let scanned = raw.scan(|record, _| {
        open.apply(&record);
        match &record {
            Record::Begin { layout, .. } => {
                visit(ScanEvent::Begin);
                if layout.is_some() {
                    visit(ScanEvent::Renamed);
                }
            }
            // What left the source stands in the store as it was recorded.
            Record::File(file) if file.is_note() => {}
            Record::File(file) => {
                if let Some((path, known)) = file.known() {
                    visit(ScanEvent::File {
                        path,
                        known,
                        run: file.run(),
                        is_work: file.is_work(),
                    });
                }
            }
            _ => {}
        }
    });
    if scanned.map_err(|bad| shelf.bad(bad))?.torn {
        open.note_torn(raw.blob.as_str());
    }
    Ok(())
}
