//! Folds journals into a new snapshot: written beside the old one, made valid by one swap of the
//! head.
//!
//! Each journal is sealed before it is read, so that no record is appended that the snapshot would
//! miss. The old state is removed only when the head no longer names it; what a crash leaves behind
//! is removed a day later.

use std::collections::HashSet;
use std::ops::Range;

use bytes::Bytes;
use time::OffsetDateTime;

use crate::failpoint::{failpoint, safeguard_off};
use crate::ledger::blob_place::BlobPlace;
use crate::ledger::blobs::{HEAD, LedgerBlobs, Race, Tagged};
use crate::ledger::error::{BadState, LedgerError};
use crate::ledger::head::{Head, Piece, new_name, stamp, stamp_of};
use crate::ledger::index::{OpenRuns, UntoldRuns};
use crate::ledger::journal_files::{JournalRaw, MAX_OVERTAKEN, OwnJournal, legacy, make, seal};
use crate::ledger::load::{MAX_CHANGED, snapshot};
use crate::ledger::record::{Check, Record, scan};
use crate::ledger::snapshot::{Entry, Snapshot, SnapshotBuilder, What, prefix};
use crate::source::contract::ShareId;

/// When journals are folded, and how finely the snapshot is cut.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// Never below so many lines in all journals.
    pub lines: usize,
    /// Above, when journals have more than one line for so many files of the snapshot.
    pub share: usize,
    /// In any case when there are so many journals.
    pub journals: usize,
    /// A shard has about so many files at most.
    pub shard_files: usize,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { lines: 20_000, share: 4, journals: 8, shard_files: 1 << 16 }
    }
}

/// An unnamed blob of ours that is older than this is an orphan.
const ORPHAN_AFTER: time::Duration = time::Duration::DAY;

/// What a fold came to.
#[derive(Debug)]
pub struct Folded {
    /// The new head.
    pub head: Tagged,
    /// Its snapshot.
    pub snapshot: Snapshot,
    /// The runs that had not ended.
    pub open: OpenRuns,
    /// The runs that no manifest may tell of.
    pub untold: UntoldRuns,
    /// A journal to go on with.
    pub own: OwnJournal,
}

/// Folds every journal that the head names (or, before the first head, those of the release before
/// this one) into a new snapshot. `None` if another writer did so at the same time: then its state
/// is valid, and ours is gone. `have` is a snapshot that is in memory already, by its place in the
/// head that it was read with.
pub(crate) async fn fold(
    shelf: &LedgerBlobs,
    tuning: &Tuning,
    run: &str,
    have: Option<(Piece, Snapshot)>,
) -> Result<Option<Folded>, LedgerError> {
    let mut changed = 0;
    loop {
        let known = shelf.head().await?;
        match fold_under(shelf, tuning, run, have.clone(), known.clone()).await {
            // Gone under our hands: another writer has folded, or this is damage.
            Err(error) if error.is_missing() && changed < MAX_CHANGED => {
                let now = shelf.head().await?;
                let tag_and_index = |head: &Option<Tagged>| {
                    head.as_ref().map(|(head, etag)| (etag.clone(), head.index.clone()))
                };
                match (tag_and_index(&known), tag_and_index(&now)) {
                    (then, now) if then == now => return Err(error),
                    (Some((_, then)), Some((_, now))) if then == now => changed += 1,
                    _ => return Ok(None),
                }
            }
            result => return result,
        }
    }
}

async fn fold_under(
    shelf: &LedgerBlobs,
    tuning: &Tuning,
    run: &str,
    have: Option<(Piece, Snapshot)>,
    known: Option<Tagged>,
) -> Result<Option<Folded>, LedgerError> {
    failpoint!("fold-begins", LedgerError::Closed("failpoint".into()));
    let base = known.as_ref().map_or_else(Head::empty, |(head, _)| head.clone());
    let Gathered { entries, open, untold, restless, layout, share, place, journals } =
        gather(shelf, known.is_some().then_some(&base), run).await?;
    failpoint!("fold-sealed", LedgerError::Closed("failpoint".into()));
    // Of two records of a path only the later one stays, so what a dead run recorded is told before
    // its journals are folded. A writer that tells it folds them.
    // The first release told nothing of the kind.
    if known.is_some() && untold.has_others(run) && !safeguard_off!("folded-untold") {
        return Err(LedgerError::Closed("a run that died is to be told of first".to_owned()));
    }
    let old = match have.filter(|(piece, _)| base.index.as_ref() == Some(piece)) {
        Some((_, snapshot)) => snapshot,
        None => snapshot(shelf, &base).await?,
    };
    let generation = write_generation(shelf, tuning, &base, &old, entries).await?;
    failpoint!("before-head-swap", LedgerError::Closed("failpoint".into()));
    let own = make(shelf).await?;
    let new = Head {
        restless,
        layout,
        share,
        place,
        untold: untold.all(),
        ..generation.head(&base, &open, &own)
    };
    let Some(head) = swap(shelf, &base, new, known).await? else {
        remove_unnamed(shelf, [generation.written, vec![own.name]].concat()).await?;
        return Ok(None);
    };
    failpoint!("after-head-swap", LedgerError::Closed("failpoint".into()));
    let old_index = base.index.map(|piece| piece.name).into_iter().collect();
    shelf.remove_named([generation.replaced, old_index].concat()).await;
    shelf.remove(journals).await;
    failpoint!("fold-removed", LedgerError::Closed("failpoint".into()));
    remove_orphans(shelf, &head.0).await;
    Ok(Some(Folded { head, snapshot: generation.snapshot, open, untold, own }))
}

/// Removes what was written for a head that is not valid. It may have been, while its answer was
/// lost, and another writer may have built on it since: what the head names by now stays.
async fn remove_unnamed(shelf: &LedgerBlobs, written: Vec<String>) -> Result<(), LedgerError> {
    let Some((head, _)) = shelf.head().await? else { return Ok(()) };
    let named: HashSet<&str> = head.names().collect();
    shelf
        .remove_named(written.into_iter().filter(|name| !named.contains(name.as_str())).collect())
        .await;
    Ok(())
}

/// What the journals tell.
struct Gathered {
    /// Every entry.
    entries: Vec<Entry>,
    /// The runs that are open after them.
    open: OpenRuns,
    /// Dead runs of which no run has told.
    untold: UntoldRuns,
    /// Whether the source is restless.
    restless: bool,
    /// The settings that name blobs.
    layout: Option<String>,
    /// Which file system the source's share is.
    share: Option<ShareId>,
    /// Where the blobs of the source are.
    place: Option<BlobPlace>,
    /// The journals' names.
    journals: Vec<crate::model::BlobName>,
}

async fn gather(
    shelf: &LedgerBlobs,
    head: Option<&Head>,
    run: &str,
) -> Result<Gathered, LedgerError> {
    let mut open = OpenRuns(head.map(|head| head.open.clone()).unwrap_or_default());
    let mut untold = head.map(|head| UntoldRuns::of(&head.untold)).unwrap_or_default();
    let (mut entries, mut journals) = (Vec::new(), Vec::new());
    let mut restless = head.is_some_and(|head| head.restless);
    let mut layout = head.and_then(|head| head.layout.clone());
    let mut share = head.and_then(|head| head.share.clone());
    let mut place = head.and_then(|head| head.place.clone());
    let mut take_in = |raw: JournalRaw| {
        let visit = |record, line| {
            open.apply(&record);
            untold.apply(&record);
            restless |= matches!(record, Record::Restless { .. });
            if let Record::Begin { layout: named, share: shared, place: went, .. } = &record {
                layout = named.clone().or(layout.take());
                share = shared.clone().or(share.take());
                place = went.clone().or(place.take());
            }
            entries.extend(Entry::of(&record, &line));
        };
        if raw.scan(visit).map_err(|bad| shelf.bad(bad))?.torn {
            open.note_torn(raw.blob.as_str());
        }
        journals.push(raw.blob);
        Ok::<_, LedgerError>(())
    };
    match head {
        Some(head) => {
            for name in &head.journals {
                take_in(seal(shelf, name, run).await?)?;
            }
        }
        None => legacy(shelf).await?.into_iter().try_for_each(take_in)?,
    }
    Ok(Gathered { entries, open, untold, restless, layout, share, place, journals })
}

/// A snapshot that is written and not yet valid.
#[derive(Debug)]
pub(crate) struct Generation {
    number: u64,
    index: Piece,
    shards: Vec<Option<Piece>>,
    /// Names of what was written for it.
    pub written: Vec<String>,
    /// Names of shards that it replaces.
    replaced: Vec<String>,
    /// Its index.
    pub snapshot: Snapshot,
}

impl Generation {
    /// The head that makes it valid in the place of `base`.
    pub fn head(&self, base: &Head, open: &OpenRuns, own: &OwnJournal) -> Head {
        Head {
            generation: self.number,
            index: Some(self.index.clone()),
            shards: self.shards.clone(),
            journals: vec![own.name.clone()],
            open: open.0.clone(),
            ..base.clone()
        }
    }
}

/// Where shard `n` of `shards` begins and ends, in [`prefix`]es.
fn range(n: usize, shards: usize) -> Range<u64> {
    let width = (1u64 << 32) / shards as u64;
    n as u64 * width..(n as u64 + 1) * width
}

/// Writes the snapshot of `base` with `entries`, of which later ones count, over it. Shards of
/// which nothing changes stay as they are. One old shard after the other is in memory.
pub(crate) async fn write_generation(
    shelf: &LedgerBlobs,
    tuning: &Tuning,
    base: &Head,
    old: &Snapshot,
    mut entries: Vec<Entry>,
) -> Result<Generation, LedgerError> {
    // Stable: of one path, what was recorded last stays last.
    entries.sort_by_key(|entry| entry.key);
    let files = old.len() + entries.chunk_by(|a, b| a.key == b.key).count();
    let before = base.shards.len();
    let shards = files.div_ceil(tuning.shard_files).next_power_of_two().max(before);
    let number = base.generation + 1;
    let mut writer = Writer {
        shelf,
        number,
        shards: Vec::with_capacity(shards),
        builder: SnapshotBuilder::new(files),
        written: Vec::new(),
    };
    let mut replaced = Vec::new();
    for n in 0..before.max(1) {
        let old_range = range(n, before.max(1));
        let first = |at: u64| entries.partition_point(|entry| prefix(&entry.key) < at);
        let own = &entries[first(old_range.start)..first(old_range.end)];
        let piece = base.shards.get(n).and_then(Option::as_ref);
        if own.is_empty() && shards == before {
            writer.shards.push(piece.cloned());
            writer.builder.copy(old, &old_range);
            continue;
        }
        let mut all = match piece {
            Some(piece) => read_shard(shelf, piece, &old_range).await?,
            None => Vec::new(),
        };
        replaced.extend(piece.map(|piece| piece.name.clone()));
        all.extend_from_slice(own);
        all.sort_by_key(|entry| entry.key);
        let parts = shards / before.max(1);
        for part in n * parts..(n + 1) * parts {
            let range = range(part, shards);
            let first = |at: u64| all.partition_point(|entry| prefix(&entry.key) < at);
            writer.shard(part, &all[first(range.start)..first(range.end)]).await?;
        }
    }
    failpoint!("fold-shards-written", LedgerError::Closed("failpoint".into()));
    let (index, snapshot) = writer.index().await?;
    Ok(Generation {
        number,
        index,
        shards: writer.shards,
        written: writer.written,
        replaced,
        snapshot,
    })
}

/// The entries of a shard.
pub(crate) async fn read_shard(
    shelf: &LedgerBlobs,
    piece: &Piece,
    range: &Range<u64>,
) -> Result<Vec<Entry>, LedgerError> {
    let bytes = shelf.piece(piece).await?;
    let blob = shelf.blob(&piece.name)?;
    let mut entries = Vec::new();
    let found = scan(blob.as_str(), &bytes, Check::WherePresent, |at, record| {
        entries.extend(Entry::of(&record, &bytes.slice(at)))
    });
    let whole = found.map_err(|bad| shelf.bad(bad))?;
    let ordered = entries.is_sorted_by_key(|entry| entry.key)
        && entries.iter().all(|entry| range.contains(&prefix(&entry.key)));
    if whole.torn || !ordered {
        let why = "its lines are not those of this shard, in order".to_owned();
        return Err(shelf.bad(BadState::Blob { blob: blob.as_str().to_owned(), why }));
    }
    Ok(entries)
}

/// The entry `at`, if it only notes something of a file that the same run recorded before, with
/// what that record told of the work.
fn with_its_work(of_path: &[Entry], at: usize) -> Option<Entry> {
    let record = |entry: &Entry| match serde_json::from_slice(&entry.line) {
        Ok(Record::File(file)) => Some(file),
        _ => None,
    };
    if at == 0 {
        return None;
    }
    let note = record(&of_path[at]).filter(|note| !note.is_work())?;
    let work = of_path[..at].iter().rev().filter_map(record).find(|file| file.is_work())?;
    let merged = note.with_work_of(&work)?;
    Entry::of(&merged, &merged.to_line().into())
}

struct Writer<'a> {
    shelf: &'a LedgerBlobs,
    number: u64,
    shards: Vec<Option<Piece>>,
    builder: SnapshotBuilder,
    written: Vec<String>,
}

impl Writer<'_> {
    async fn shard(&mut self, n: usize, entries: &[Entry]) -> Result<(), LedgerError> {
        let (mut bytes, before) = (
            Vec::with_capacity(entries.iter().map(|entry| entry.line.len()).sum()),
            self.builder.len(),
        );
        for of_path in entries.chunk_by(|a, b| a.key == b.key) {
            let file = of_path.iter().rposition(|entry| matches!(entry.what, What::File(_)));
            // A sighting counts until the file is taken.
            let seen = of_path.iter().skip(file.map_or(0, |at| at + 1)).next_back();
            let seen = seen.filter(|seen| seen.what != What::Over);
            let merged = file.and_then(|at| with_its_work(of_path, at));
            if let Some(file) = merged.as_ref().or(file.map(|at| &of_path[at])) {
                bytes.extend_from_slice(&file.line);
                self.builder.push(file);
            }
            if let Some(seen) = seen {
                bytes.extend_from_slice(&seen.line);
                self.builder.push(seen);
            }
        }
        if bytes.is_empty() {
            self.shards.push(None);
            return Ok(());
        }
        let name = new_name(&format!("shard-{:06}-{n:04}", self.number), ".ndjson");
        self.written.push(name.clone());
        self.shards.push(Some(
            self.shelf.put_piece(name, bytes.into(), self.builder.len() - before).await?,
        ));
        Ok(())
    }

    async fn index(&mut self) -> Result<(Piece, Snapshot), LedgerError> {
        let files = self.builder.len();
        let bytes: Bytes = std::mem::replace(&mut self.builder, SnapshotBuilder::new(0)).finish();
        let name = new_name(&format!("index-{:06}", self.number), "");
        self.written.push(name.clone());
        let snapshot = Snapshot::parse(&name, &bytes).map_err(|bad| self.shelf.bad(bad))?;
        Ok((self.shelf.put_piece(name, bytes, files).await?, snapshot))
    }
}

/// Makes `new` valid in the place of `base`. Journals that others planned meanwhile stay named.
async fn swap(
    shelf: &LedgerBlobs,
    base: &Head,
    new: Head,
    known: Option<Tagged>,
) -> Result<Option<Tagged>, LedgerError> {
    let (mut known, mut next, mut race) = (known, new.clone(), Race::default());
    for _ in 0..MAX_OVERTAKEN {
        if let Some(etag) =
            shelf.swap(&next, known.as_ref().map(|(_, etag)| etag), &mut race).await?
        {
            return Ok(Some((next, etag)));
        }
        let Some((head, etag)) = shelf.head().await? else { return Ok(None) };
        if head.index == new.index {
            // The answer was lost.
            return Ok(Some((head, etag)));
        }
        if head.generation != base.generation || head.index != base.index {
            return Ok(None);
        }
        let planned = head.journals.iter().filter(|name| !base.journals.contains(name));
        next = Head {
            journals: planned.chain(&new.journals).cloned().collect(),
            pass: head.pass.clone(),
            ..new.clone()
        };
        known = Some((head, etag));
    }
    Ok(None)
}

/// Removes what crashes left behind. It costs nothing but room, so whatever goes wrong here is told
/// and left.
async fn remove_orphans(shelf: &LedgerBlobs, head: &Head) {
    let names = match shelf.names().await {
        Ok(names) => names,
        Err(error) => {
            return tracing::debug!(source = shelf.source, error = %crate::model::chain(&error),
                "Orphans of the ledger stay for now.");
        }
    };
    let named: HashSet<&str> = head.names().collect();
    // Others may be writing what they have not named yet.
    let old = stamp(OffsetDateTime::now_utc() - ORPHAN_AFTER);
    let orphans = names.iter().filter(|name| *name != HEAD && !named.contains(name.as_str()));
    let orphans = orphans.filter(|name| stamp_of(name).is_some_and(|at| at < old.as_str()));
    shelf.remove_named(orphans.cloned().collect()).await;
    for number in 0.. {
        let blob = shelf.paths().legacy_journal(number);
        if !matches!(shelf.store.head(&blob).await, Ok(Some(_))) {
            break;
        }
        shelf.remove(vec![blob]).await;
    }
}
