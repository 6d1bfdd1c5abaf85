//! Journals as they stand in the store: made, named in the head, read, sealed.

use bytes::{Bytes, BytesMut};

use crate::failpoint::safeguard_off;
use crate::ledger::blobs::{Appended, LedgerBlobs, Race, Tagged};
use crate::ledger::error::{BadState, LedgerError, SCHEMA};
use crate::ledger::head::{Head, new_name};
use crate::ledger::reach::sum;
use crate::ledger::record::{Check, Record, Scan, scan};
use crate::model::BlobName;

/// How often another writer may be quicker before we give up.
pub(crate) const MAX_OVERTAKEN: u32 = 1_000;

/// A journal that one writer appends to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnJournal {
    /// Its name in the ledger's folder.
    pub name: String,
    /// Where it ends, as far as we know.
    pub position: u64,
    /// How many lines it has: no fewer than it had appends.
    pub lines: usize,
    /// The checksum of all of its bytes up to `position`.
    pub sum: u64,
}

/// Makes a journal that no head names yet, so that nothing of it counts.
///
/// It is made before it is named: once its name is in the head, a journal that is not there is
/// damage, and one that was folded and removed does not come to life again when its writer appends
/// to it. Nor when a request comes late: after a try that may have its effect later there is
/// another name, so that what was tried under the one that is used is over.
pub(crate) async fn make(shelf: &LedgerBlobs) -> Result<OwnJournal, LedgerError> {
    let line = Bytes::from(Record::Schema { version: SCHEMA }.to_line());
    let (position, sum) = (line.len() as u64, sum(&line));
    let name = shelf.append_new(|| new_name("journal", ".ndjson"), line).await?;
    Ok(OwnJournal { name, position, lines: 1, sum })
}

/// Names `journals` in the head, durably. `known` is the head as it was read last; it may be old.
///
/// One that was folded before this returns is named no more: a writer that appends to it finds it
/// ended.
pub(crate) async fn name_in_head(
    shelf: &LedgerBlobs,
    journals: &[OwnJournal],
    known: Option<Tagged>,
) -> Result<Tagged, LedgerError> {
    let (mut known, mut had_one, mut race) = (known, false, Race::default());
    for n in 0..MAX_OVERTAKEN {
        let (head, etag) = match &known {
            Some((head, etag)) => (head.clone(), Some(etag.clone())),
            None if had_one => break,
            None => (Head::empty(), None),
        };
        had_one |= etag.is_some();
        let mut missing = Vec::new();
        for own in journals.iter().filter(|own| !head.journals.contains(&own.name)) {
            // An answer may have been lost: then it was named, and is not any more.
            if n == 0 || safeguard_off!("journal-untouched") || is_untouched(shelf, own).await? {
                missing.push(own);
            }
        }
        if let (Some(etag), true) = (&etag, missing.is_empty()) {
            return Ok((head, etag.clone()));
        }
        let names = head
            .journals
            .iter()
            .cloned()
            .chain(missing.into_iter().map(|own| own.name.clone()))
            .collect();
        let next = Head { journals: names, ..head };
        if let Some(etag) = shelf.swap(&next, etag.as_ref(), &mut race).await? {
            return Ok((next, etag));
        }
        // Another writer was quicker, or our answer was lost.
        known = shelf.head().await?;
    }
    Err(LedgerError::Closed(
        "its head was taken away, or other writers were always quicker".to_owned(),
    ))
}

/// Whether nobody has appended to `own` or removed it since it was made. A fold seals only what the
/// head names, before its own head is valid: what a head read before this does not name, and is
/// untouched, was never named.
pub(crate) async fn is_untouched(
    shelf: &LedgerBlobs,
    own: &OwnJournal,
) -> Result<bool, LedgerError> {
    let found = shelf.get(&shelf.blob(&own.name)?, 0).await?;
    Ok(found.is_some_and(|(_, bytes)| bytes.len() as u64 == own.position))
}

/// A journal as it was read.
#[derive(Debug)]
pub struct JournalRaw {
    /// Its whole name in the store.
    pub blob: BlobName,
    /// Its bytes.
    pub bytes: Bytes,
    /// Whether its lines bear checksums.
    pub check: Check,
}

impl JournalRaw {
    /// Tells `visit` of each record and its line.
    pub(crate) fn scan(&self, mut visit: impl FnMut(Record, Bytes)) -> Result<Scan, BadState> {
        scan(self.blob.as_str(), &self.bytes, self.check, |at, record| {
            visit(record, self.bytes.slice(at))
        })
    }
}

/// Reads a journal that the head names.
pub(crate) async fn read(shelf: &LedgerBlobs, name: &str) -> Result<JournalRaw, LedgerError> {
    let blob = shelf.blob(name)?;
    let (_, bytes) = shelf.get(&blob, 0).await?.ok_or_else(|| shelf.missing(name))?;
    let raw = JournalRaw { blob, bytes, check: Check::Each };
    // A journal is named only once its first line is there.
    if !raw.bytes.starts_with(b"{\"t\":\"schema\"") || !raw.bytes.contains(&b'\n') {
        let why = "it does not begin as a journal does".to_owned();
        return Err(shelf.bad(BadState::Blob { blob: raw.blob.as_str().to_owned(), why }));
    }
    Ok(raw)
}

/// Ends the journal `name` for everybody, and reads all of it. Its writer's next append fails, and
/// it goes on in another one; nothing that was appended before is lost.
pub(crate) async fn seal(
    shelf: &LedgerBlobs,
    name: &str,
    run: &str,
) -> Result<JournalRaw, LedgerError> {
    let (mut raw, mut race) = (read(shelf, name).await?, Race::default());
    for _ in 0..MAX_OVERTAKEN {
        let mut sealed = false;
        let found = raw
            .scan(|record, _| sealed = matches!(record, Record::Sealed { .. }))
            .map_err(|bad| shelf.bad(bad))?;
        if sealed && !found.torn {
            return Ok(raw);
        }
        let position = raw.bytes.len() as u64;
        match shelf.append(&raw.blob, seal_lines(found.torn, run), position).await? {
            Appended::Landed => return Ok(raw),
            Appended::Refused(cause) => race.lost(shelf, position, cause)?,
        }
        // Its writer was quicker, or another one has sealed it, or our answer was lost.
        let (_, tail) = shelf
            .get(&raw.blob, raw.bytes.len() as u64)
            .await?
            .ok_or_else(|| shelf.missing(name))?;
        let mut whole = BytesMut::from(raw.bytes.as_ref());
        whole.extend_from_slice(&tail);
        raw.bytes = whole.freeze();
    }
    Err(LedgerError::Closed(format!("other writers of `{name}` were always quicker")))
}

fn seal_lines(torn: bool, run: &str) -> Bytes {
    let mut lines = Vec::new();
    if torn {
        lines.push(b'\n');
        lines.extend(Record::Torn.to_line());
    }
    lines.extend(Record::Sealed { by: run.to_owned() }.to_line());
    lines.into()
}

/// Ends a journal that may be damaged, without looking into it. One that is gone needs no end.
pub(crate) async fn seal_blindly(
    shelf: &LedgerBlobs,
    name: &str,
    run: &str,
) -> Result<(), LedgerError> {
    let (blob, mut race) = (shelf.blob(name)?, Race::default());
    for _ in 0..MAX_OVERTAKEN {
        let Some((_, bytes)) = shelf.get(&blob, 0).await? else { return Ok(()) };
        if bytes.ends_with(&Record::Sealed { by: run.to_owned() }.to_line()) {
            return Ok(());
        }
        let position = bytes.len() as u64;
        match shelf.append(&blob, seal_lines(true, run), position).await? {
            Appended::Landed => return Ok(()),
            Appended::Refused(cause) => race.lost(shelf, position, cause)?,
        }
    }
    Err(LedgerError::Closed(format!("other writers of `{name}` were always quicker")))
}

/// The journals of the release before this one, in their order. They had no head.
pub(crate) async fn legacy(shelf: &LedgerBlobs) -> Result<Vec<JournalRaw>, LedgerError> {
    let mut journals = Vec::new();
    loop {
        let blob = shelf.paths().legacy_journal(journals.len());
        let Some((_, bytes)) = shelf.get(&blob, 0).await? else { return Ok(journals) };
        journals.push(JournalRaw { blob, bytes, check: Check::WherePresent });
    }
}
