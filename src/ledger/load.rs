//! Reads a ledger: head, index, journals.

use futures_util::{StreamExt, TryStreamExt, stream};

use crate::failpoint::safeguard_off;
use crate::ledger::blobs::{HEAD, LedgerBlobs, Tagged};
use crate::ledger::cache::LedgerCache;
use crate::ledger::error::{BadState, LedgerError, SCHEMA};
use crate::ledger::head::Head;
use crate::ledger::index::{OpenRuns, UntoldRuns};
use crate::ledger::journal_files::{JournalRaw, OwnJournal, legacy, read};
use crate::ledger::loaded::LedgerLoaded;
use crate::ledger::reach::sum;
use crate::ledger::record::{Check, Record, scan};
use crate::ledger::snapshot::Snapshot;
use crate::state::apart::told;
use crate::state::paths::pointer;
use crate::store::contract::StoreKind;

/// Journals that are read at once.
const READ_AT_ONCE: usize = 16;

/// How often the state may be folded while it is being read.
pub(crate) const MAX_CHANGED: u32 = 10;

/// Reads the ledger.
pub async fn load(shelf: &LedgerBlobs) -> Result<LedgerLoaded, LedgerError> {
    load_with(shelf, &LedgerCache::default()).await
}

/// As [`load`]; what this process has read before and has not changed is not read again.
pub(crate) async fn load_with(
    shelf: &LedgerBlobs,
    cache: &LedgerCache,
) -> Result<LedgerLoaded, LedgerError> {
    if let Some(loaded) = cache.current(shelf).await? {
        return Ok(loaded);
    }
    let mut changed = 0;
    loop {
        let head = shelf.head().await?;
        match load_under(shelf, &head).await {
            // What was named is gone: the journals were folded since we read the head, or this is
            // damage.
            Err(error) if error.is_missing() && changed < MAX_CHANGED => {
                let tag = |head: &Option<Tagged>| head.as_ref().map(|(_, etag)| etag.clone());
                if tag(&shelf.head().await?) == tag(&head) {
                    return Err(error);
                }
                changed += 1;
            }
            Ok(loaded) => {
                let loaded = LedgerLoaded { head, ..loaded };
                cache.keep(shelf, &loaded);
                return Ok(loaded);
            }
            Err(error) => return Err(error),
        }
    }
}

async fn load_under(
    shelf: &LedgerBlobs,
    head: &Option<Tagged>,
) -> Result<LedgerLoaded, LedgerError> {
    let mut loaded = LedgerLoaded::default();
    let Some((head, _)) = head else {
        for raw in legacy(shelf).await? {
            loaded.legacy = true;
            take_in(shelf, &mut loaded, &raw)?;
        }
        if !loaded.legacy {
            must_be_first(shelf).await?;
        }
        return Ok(loaded);
    };
    let (open, untold) = (OpenRuns(head.open.clone()), UntoldRuns::of(&head.untold));
    loaded.index.begin_with(snapshot(shelf, head).await?, open, untold);
    loaded.index.set_layout(head.layout.clone());
    loaded.index.set_share(head.share.clone());
    loaded.index.set_place(head.place.clone());
    if head.restless {
        loaded.index.set_restless();
    }
    // Read side by side, taken in in order.
    let mut journals = stream::iter(head.journals.clone())
        .map(|name| of_name(shelf.clone(), name))
        .buffered(READ_AT_ONCE);
    while let Some((name, raw)) = journals.try_next().await? {
        let TakenIn { lines, idle, sealed } = take_in(shelf, &mut loaded, &raw)?;
        if !sealed {
            loaded.growing.push((name.clone(), raw.bytes.len() as u64));
        }
        // Of two records of a file, that in the later journal counts: what comes next must stand in
        // the last one.
        let own = idle.then(|| {
            let (position, sum) = (raw.bytes.len() as u64, sum(&raw.bytes));
            OwnJournal { name, position, lines, sum }
        });
        loaded.idle = if safeguard_off!("last-journal") { own.or(loaded.idle.take()) } else { own };
    }
    Ok(loaded)
}

/// An error if there was a head once: an index comes with one, and nothing is recorded in a journal
/// before a head names it. Without a head, all that was ingested would be taken for new.
pub(crate) async fn must_be_first(shelf: &LedgerBlobs) -> Result<(), LedgerError> {
    let pointer = pointer();
    let (names, elsewhere) = tokio::join!(shelf.names(), shelf.get(&pointer, 0));
    let names = match names {
        Err(LedgerError::Store { cause, .. }) if cause.kind == StoreKind::NoContainer => {
            return Ok(());
        }
        names => names?,
    };
    if let Some((_, bytes)) = elsewhere? {
        let state = told(&bytes).unwrap_or_else(|| "a place that it does not tell".into());
        return Err(shelf.bad(BadState::Elsewhere { blob: pointer.as_str().to_owned(), state }));
    }
    for name in
        names.iter().filter(|name| name.starts_with("index-") || name.starts_with("journal-"))
    {
        let blob = shelf.blob(name)?;
        let Some((_, bytes)) = shelf.get(&blob, 0).await? else { continue };
        let mut records = 0;
        let is_trace = match name.starts_with("index-") {
            true => Snapshot::parse(blob.as_str(), &bytes).is_ok(),
            false => {
                let count =
                    |_, record| records += usize::from(!matches!(record, Record::Schema { .. }));
                scan(blob.as_str(), &bytes, Check::Each, count).is_ok() && records > 0
            }
        };
        if is_trace {
            let (head, trace) = (format!("{}{HEAD}", shelf.folder()), blob.as_str().to_owned());
            return Err(shelf.bad(BadState::HeadLost { blob: head, trace }));
        }
    }
    Ok(())
}

async fn of_name(shelf: LedgerBlobs, name: String) -> Result<(String, JournalRaw), LedgerError> {
    let raw = read(&shelf, &name).await?;
    Ok((name, raw))
}

/// The snapshot that `head` names.
pub async fn snapshot(shelf: &LedgerBlobs, head: &Head) -> Result<Snapshot, LedgerError> {
    let Some(piece) = &head.index else { return Ok(Snapshot::default()) };
    let bytes = shelf.piece(piece).await?;
    let blob = shelf.blob(&piece.name)?;
    Snapshot::parse(blob.as_str(), &bytes).map_err(|bad| shelf.bad(bad))
}

/// A journal as it was taken in.
struct TakenIn {
    lines: usize,
    /// Whole, not sealed, of this release, and every run that began in it has ended.
    idle: bool,
    sealed: bool,
}

fn take_in(
    shelf: &LedgerBlobs,
    loaded: &mut LedgerLoaded,
    raw: &JournalRaw,
) -> Result<TakenIn, LedgerError> {
    let (mut open, mut sealed, mut schema) = (OpenRuns::default(), false, SCHEMA);
    let visit = |record: Record, _| {
        loaded.index.apply(&record);
        open.apply(&record);
        sealed |= matches!(record, Record::Sealed { .. });
        if let Record::Schema { version } = record {
            schema = schema.min(version);
        }
    };
    let scan = raw.scan(visit).map_err(|bad| shelf.bad(bad))?;
    loaded.lines += scan.lines;
    if scan.torn {
        loaded.index.note_torn(raw.blob.as_str());
    }
    // An older release may read this journal: records that it does not know would be damage to it.
    let idle = !sealed && !scan.torn && open.0.is_empty() && schema == SCHEMA;
    Ok(TakenIn { lines: scan.lines, idle, sealed })
}
