//! Reads a ledger: head, index, journals.

use futures_util::{StreamExt, TryStreamExt, stream};

use crate::failpoint::left_out;
use crate::ledger::error::LedgerError;
use crate::ledger::head::Head;
use crate::ledger::index::{Index, OpenRuns};
use crate::ledger::planned::{Own, Raw, legacy, read};
use crate::ledger::record::Record;
use crate::ledger::shelf::{Shelf, Tagged};
use crate::ledger::snapshot::Snapshot;

/// Journals that are read at once.
const READ_AT_ONCE: usize = 16;

/// How often the state may be folded while it is being read.
pub const MAX_CHANGED: u32 = 10;

/// A ledger as it was read.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Its head; `None` before the first run of this release.
    pub head: Option<Tagged>,
    /// What it says.
    pub index: Index,
    /// A journal that the next run may go on with: whoever wrote to it has ended.
    pub idle: Option<Own>,
    /// Whether there are journals of the release before this one, which have no head.
    pub legacy: bool,
    /// Lines in all journals.
    pub lines: usize,
}

/// Reads the ledger.
pub async fn load(shelf: &Shelf) -> Result<Loaded, LedgerError> {
    let mut changed = 0;
    loop {
        let head = shelf.head().await?;
        match load_under(shelf, &head).await {
            // What was named is gone: the journals were folded since we read the head, or this is damage.
            Err(error) if error.is_missing() && changed < MAX_CHANGED => {
                let tag = |head: &Option<Tagged>| head.as_ref().map(|(_, etag)| etag.clone());
                if tag(&shelf.head().await?) == tag(&head) {
                    return Err(error);
                }
                changed += 1;
            }
            Ok(loaded) => return Ok(Loaded { head, ..loaded }),
            Err(error) => return Err(error),
        }
    }
}

async fn load_under(shelf: &Shelf, head: &Option<Tagged>) -> Result<Loaded, LedgerError> {
    let mut loaded = Loaded::default();
    let Some((head, _)) = head else {
        for raw in legacy(shelf).await? {
            loaded.legacy = true;
            take_in(shelf, &mut loaded, &raw)?;
        }
        return Ok(loaded);
    };
    loaded.index.begin_with(snapshot(shelf, head).await?, OpenRuns(head.open.clone()));
    // Read side by side, taken in in order.
    let mut journals = stream::iter(head.journals.clone()).map(|name| of_name(shelf.clone(), name)).buffered(READ_AT_ONCE);
    while let Some((name, raw)) = journals.try_next().await? {
        let (lines, idle) = take_in(shelf, &mut loaded, &raw)?;
        // Of two records of a file, that in the later journal counts: what comes next must stand in the last one.
        let own = idle.then(|| Own { name, position: raw.bytes.len() as u64, lines });
        loaded.idle = if left_out!("last-journal") { own.or(loaded.idle.take()) } else { own };
    }
    Ok(loaded)
}

async fn of_name(shelf: Shelf, name: String) -> Result<(String, Raw), LedgerError> {
    let raw = read(&shelf, &name).await?;
    Ok((name, raw))
}

/// The snapshot that `head` names.
pub async fn snapshot(shelf: &Shelf, head: &Head) -> Result<Snapshot, LedgerError> {
    let Some(piece) = &head.index else { return Ok(Snapshot::default()) };
    let bytes = shelf.piece(piece).await?;
    let blob = shelf.blob(&piece.name)?;
    Snapshot::parse(blob.as_str(), &bytes).map_err(|bad| shelf.bad(bad))
}

/// How many lines `raw` has, and whether it is idle: whole, not sealed, and everybody who began in it has ended.
fn take_in(shelf: &Shelf, loaded: &mut Loaded, raw: &Raw) -> Result<(usize, bool), LedgerError> {
    let (mut open, mut sealed) = (OpenRuns::default(), false);
    let visit = |record: Record, _| {
        loaded.index.apply(&record);
        open.apply(&record);
        sealed |= matches!(record, Record::Sealed { .. });
    };
    let scan = raw.scan(visit).map_err(|bad| shelf.bad(bad))?;
    loaded.lines += scan.lines;
    if scan.torn {
        loaded.index.note_torn(raw.blob.as_str());
    }
    Ok((scan.lines, !sealed && !scan.torn && open.0.is_empty()))
}
