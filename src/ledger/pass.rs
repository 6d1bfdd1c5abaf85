//! A pass in pieces, as the head tells of it: opened with all of its journals at once, closed once.

use futures_util::{StreamExt, TryStreamExt, stream};

use crate::failpoint::safeguard_off;
use crate::ledger::blob_place::BlobPlace;
use crate::ledger::blobs::{LedgerBlobs, Race};
use crate::ledger::error::{LedgerError, SCHEMA};
use crate::ledger::head::{Head, OpenPass};
use crate::ledger::index::is_layout;
use crate::ledger::journal_files::{
    MAX_OVERTAKEN, OwnJournal, is_untouched, make, name_in_head, read,
};
use crate::ledger::reach::sum;
use crate::ledger::record::Record;

/// Journals that are made at once.
const MADE_AT_ONCE: usize = 16;

/// Makes `pieces` journals that no head names yet.
pub async fn make_journals(shelf: &LedgerBlobs, pieces: usize) -> Result<Vec<String>, LedgerError> {
    let made: Vec<OwnJournal> = stream::iter(0..pieces)
        .map(|_| made(shelf.clone()))
        .buffered(MADE_AT_ONCE)
        .try_collect()
        .await?;
    Ok(made.into_iter().map(|own| own.name).collect())
}

/// Names `names` in the head together with `pass`. Another pass that the head tells of comes back;
/// the journals are removed then.
pub async fn open(
    shelf: &LedgerBlobs,
    pass: &OpenPass,
    names: Vec<String>,
    (layout, place): (Option<&str>, Option<&BlobPlace>),
) -> Result<Option<OpenPass>, LedgerError> {
    let (mut had_one, mut race) = (false, Race::default());
    for n in 0..MAX_OVERTAKEN {
        let known = shelf.head().await?;
        let (head, etag) = match known {
            Some((head, etag)) => (head, Some(etag)),
            None if had_one => break,
            None => (Head::empty(), None),
        };
        had_one |= etag.is_some();
        match &head.pass {
            // Our own swap, of which the answer was lost.
            Some(ours) if ours.id == pass.id => return Ok(None),
            Some(other) => {
                // Ours was open before it, and is over, if its journals were ever named.
                if n == 0 || were_never_named(shelf, &head, &names).await? {
                    shelf.remove_named(names).await;
                }
                return Ok(Some(other.clone()));
            }
            // It was opened, done by others and closed while our answer was lost.
            None if n > 0 && !were_never_named(shelf, &head, &names).await? => return Ok(None),
            None => {}
        }
        let journals = [head.journals.clone(), names.clone()].concat();
        let layout = match layout {
            Some(now) if !is_layout(head.layout.as_deref(), now) => Some(now.to_owned()),
            _ => head.layout,
        };
        let place = place.cloned().or(head.place);
        let next = Head { journals, pass: Some(pass.clone()), layout, place, ..head };
        if shelf.swap(&next, etag.as_ref(), &mut race).await?.is_some() {
            return Ok(None);
        }
    }
    Err(LedgerError::Closed(
        "its head was taken away, or other writers were always quicker".to_owned(),
    ))
}

/// Whether no head ever named `names`, which we made; `head` does not.
async fn were_never_named(
    shelf: &LedgerBlobs,
    head: &Head,
    names: &[String],
) -> Result<bool, LedgerError> {
    let position = Record::Schema { version: SCHEMA }.to_line().len() as u64;
    for name in names {
        let own = OwnJournal { name: name.clone(), position, lines: 1, sum: 0 };
        if head.journals.contains(name) || !is_untouched(shelf, &own).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn made(shelf: LedgerBlobs) -> Result<OwnJournal, LedgerError> {
    make(&shelf).await
}

/// Takes the pass `id` out of the head, if it is there.
pub async fn close(shelf: &LedgerBlobs, id: &str) -> Result<(), LedgerError> {
    let mut race = Race::default();
    for _ in 0..MAX_OVERTAKEN {
        let Some((head, etag)) = shelf.head().await? else { return Ok(()) };
        let is_open = head.pass.as_ref().is_some_and(|pass| pass.id == id);
        if !is_open
            || shelf.swap(&Head { pass: None, ..head }, Some(&etag), &mut race).await?.is_some()
        {
            return Ok(());
        }
    }
    Err(LedgerError::Closed("other writers were always quicker".to_owned()))
}

/// The journal `name` to append to, with what stands in it. One that was folded meanwhile is
/// followed by a new one: what it held is in the snapshot, and is found equal when it is stored
/// once more.
pub(crate) async fn own_journal(
    shelf: &LedgerBlobs,
    name: &str,
) -> Result<(OwnJournal, Vec<Record>), LedgerError> {
    let raw = match read(shelf, name).await {
        Ok(raw) => raw,
        Err(error) if error.is_missing() => {
            let head = shelf.head().await?;
            if head
                .as_ref()
                .is_some_and(|(head, _)| head.journals.iter().any(|named| named == name))
            {
                return Err(error);
            }
            let own = make(shelf).await?;
            name_in_head(shelf, std::slice::from_ref(&own), head).await?;
            return Ok((own, Vec::new()));
        }
        Err(error) => return Err(error),
    };
    let mut records = Vec::new();
    let found = raw.scan(|record, _| records.push(record)).map_err(|bad| shelf.bad(bad))?;
    let older = records
        .iter()
        .any(|record| matches!(record, Record::Schema { version } if *version < SCHEMA));
    // Folded, and still there or there again: the writer that folded it may have been killed before
    // it was removed, and a request to make it that was on its way for long may have come after
    // that. No head names it any more.
    let sealed = records.iter().any(|record| matches!(record, Record::Sealed { .. }));
    let head = shelf.head().await?;
    let named =
        head.as_ref().is_some_and(|(head, _)| head.journals.iter().any(|named| named == name));
    if found.torn || older || ((sealed || !named) && !safeguard_off!("sealed-journal")) {
        let own = make(shelf).await?;
        name_in_head(shelf, std::slice::from_ref(&own), head).await?;
        return Ok((own, records));
    }
    let (position, sum) = (raw.bytes.len() as u64, sum(&raw.bytes));
    Ok((OwnJournal { name: name.to_owned(), position, lines: found.lines, sum }, records))
}
