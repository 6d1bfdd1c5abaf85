//! What was ingested: an own record per source, kept in the store, written only after the commit.
//!
//! Today a journal per source, read whole at the start of a pass. Everything goes through the
//! store contract, so the ledger is as durable as the blobs it speaks of. Losing it costs work, not data:
//! the next run finds every blob under its name, equal, and records it again.

pub mod index;
pub mod journal;
pub mod record;

use std::sync::{Arc, Mutex, MutexGuard};

use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::model::{RemoteFile, RemotePath};
use crate::plan::{Known, Seen};
use crate::retry::Policy;
use crate::store::contract::Store;
use index::Index;
use journal::{Journal, LedgerError};
use record::Record;

/// The ledger of one source, for one pass.
pub struct Ledger {
    index: Arc<Mutex<Index>>,
    journal: Journal,
    run: String,
    unclean: bool,
}

impl Ledger {
    /// Reads the ledger of `source`. Nothing is written until [`Ledger::begin`].
    pub async fn open(store: Arc<dyn Store>, source: &str, run: &str, policy: Policy, cancel: CancellationToken) -> Result<Self, LedgerError> {
        let index = Arc::new(Mutex::new(Index::default()));
        let journal = Journal::open(store, source, index.clone(), policy, cancel).await?;
        // Asked once: our own beginning makes the journal look the same.
        let unclean = index.lock().expect("no code panics while it holds this lock").unclean();
        Ok(Self { index, journal, run: run.to_owned(), unclean })
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().expect("no code panics while it holds this lock")
    }

    /// What was ingested last from `path`.
    pub fn known(&self, path: &RemotePath) -> Option<Known> {
        self.index().known(path).cloned()
    }

    /// When `path` was seen by an earlier run that did not dare to take it.
    pub fn seen(&self, path: &RemotePath) -> Option<Seen> {
        self.index().seen(path).cloned()
    }

    /// How many paths are known.
    pub fn len(&self) -> usize {
        self.index().len()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether an earlier run did not say that it ended: then a blob may be there that no record
    /// speaks of, and looking for it first saves a download.
    pub fn unclean(&self) -> bool {
        self.unclean
    }

    /// Whether a write has failed, so that nothing more can be recorded.
    pub fn is_closed(&self) -> bool {
        self.journal.is_broken()
    }

    /// Notes, durably, that this run is about to commit blobs. Must come before the first commit.
    pub async fn begin(&self, now: OffsetDateTime) -> Result<(), LedgerError> {
        self.journal.write(Record::Begin { run: self.run.clone(), at: now }).await
    }

    /// Notes, durably, that a file is in the store: every blob of it is committed and verified.
    pub async fn ingested(&self, file: &RemoteFile, known: &Known, blobs: u64, bytes: u64) -> Result<(), LedgerError> {
        self.journal.write(Record::file(&file.path, known, &self.run, blobs, bytes)).await
    }

    /// Notes that a file was seen but is not settled yet, or that a listing shows another coarse time of a known file.
    pub async fn note_seen(&self, seen: &Seen) -> Result<(), LedgerError> {
        self.journal.write(Record::seen(seen)).await
    }

    /// Notes that this run ended in good order. Only after [`Ledger::begin`].
    pub async fn end(&self) -> Result<(), LedgerError> {
        self.journal.write(Record::End { run: self.run.clone() }).await
    }
}
