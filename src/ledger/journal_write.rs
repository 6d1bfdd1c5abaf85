//! What tasks ask of the writing end of a ledger, and how they are answered.

use tokio::sync::oneshot;

use crate::ledger::error::LedgerError;
use crate::ledger::record::Record;
use crate::model::chain;

/// What a task asks of the writing end of a ledger.
pub(super) struct Write {
    pub asked: JournalAsk,
    /// The record as a line.
    pub line: Vec<u8>,
    /// Where the answer goes.
    pub done: oneshot::Sender<Result<(), LedgerError>>,
}

/// What is asked.
pub(super) enum JournalAsk {
    /// To append a record.
    Append(Box<Record>),
    /// To fold journals if that is due, or if more than so many are named.
    Fold(Option<usize>),
    /// To make a journal if there is none in hand.
    Make,
}

impl Write {
    /// The record to append.
    pub(super) fn record(&self) -> Option<&Record> {
        match &self.asked {
            JournalAsk::Append(record) => Some(record),
            JournalAsk::Fold(_) | JournalAsk::Make => None,
        }
    }

    /// Journals beyond which a fold is due, if that is fewer than at any other time.
    pub(super) fn above(&self) -> Option<usize> {
        match self.asked {
            JournalAsk::Fold(journals) => journals,
            JournalAsk::Append(_) | JournalAsk::Make => None,
        }
    }

    /// Whether a journal is asked for, and nothing else.
    pub(super) fn is_make(&self) -> bool {
        matches!(self.asked, JournalAsk::Make)
    }
}

/// Why the ledger is closed after `error`; that it is closed is said once.
pub(super) fn reason(error: &LedgerError) -> String {
    match error {
        LedgerError::Closed(why) => why.clone(),
        error => chain(error),
    }
}

/// Answers all who asked: the first with the error itself, the others with what it says.
pub(super) fn answer(batch: Vec<Write>, result: Result<(), LedgerError>) {
    let why = result.as_ref().err().map(reason);
    let mut first = Some(result);
    for write in batch {
        let own = match (first.take(), &why) {
            (Some(result), _) => result,
            (None, Some(why)) => Err(LedgerError::Closed(why.clone())),
            (None, None) => Ok(()),
        };
        // The caller may have been cancelled; the record is written all the same.
        drop(write.done.send(own));
    }
}
