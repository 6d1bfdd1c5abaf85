//! A ledger as it was read, and whether it is still so.

use futures_util::future::try_join_all;

use crate::ledger::blobs::{LedgerBlobs, Tagged};
use crate::ledger::error::LedgerError;
use crate::ledger::index::Index;
use crate::ledger::journal_files::OwnJournal;

/// A ledger as it was read.
#[derive(Clone, Debug, Default)]
pub struct LedgerLoaded {
    /// Its head; `None` before the first run of this release.
    pub head: Option<Tagged>,
    /// What it says.
    pub index: Index,
    /// A journal that the next run may go on with: the writer that wrote to it has ended.
    pub idle: Option<OwnJournal>,
    /// Whether there are journals of the release before this one, which have no head.
    pub legacy: bool,
    /// Lines in all journals.
    pub lines: usize,
    /// Journals that are not sealed, and how long they are: others may append to them.
    pub growing: Vec<(String, u64)>,
}

impl LedgerLoaded {
    /// Whether two requests tell if it has changed.
    pub(crate) fn is_cheap_to_check(&self) -> bool {
        self.head.is_some() && self.growing.len() <= 1
    }

    /// Whether the ledger is still as it was read: two requests at most.
    pub(crate) async fn is_current(&self, shelf: &LedgerBlobs) -> Result<bool, LedgerError> {
        let read = self.head.as_ref().map(|(_, etag)| etag);
        let lengths = self.growing.iter().map(|(name, length)| async move {
            Ok::<_, LedgerError>(shelf.length(name).await? == Some(*length))
        });
        let (tag, lengths) = tokio::join!(shelf.head_tag(), try_join_all(lengths));
        // Of a journal that is gone, the head tells.
        if tag?.as_ref() != read {
            return Ok(false);
        }
        // Journals of the release before have no head, and are not looked at again.
        Ok(lengths?.into_iter().all(|is_as_read| is_as_read) && !self.legacy)
    }
}
