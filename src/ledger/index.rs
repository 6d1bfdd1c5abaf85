//! What the records say, by path, in memory: 32 bytes for each file.
//!
//! A path is known by the first 128 bits of its SHA-256. A false "unchanged" would take two paths
//! of one source that share these bits, and size and time too. Among a million paths some two share
//! them by chance with a probability of 2e6² / 2^129, below 1e-26; making two such paths on purpose
//! takes 2^64 hashes, and harms only files of the person who made them; finding one for somebody
//! else's path takes 2^128.

use std::collections::{BTreeMap, HashMap};

use crate::ledger::blob_place::BlobPlace;
use crate::ledger::key::{Key, key};
use crate::ledger::packed::IndexPacked;
use crate::ledger::record::Record;
use crate::ledger::snapshot::Snapshot;
use crate::model::{Md5, RemotePath};
use crate::rules::plan::known::{Known, Seen, Unmet};
use crate::source::contract::ShareId;

/// The latest record of each path: a snapshot, and what was recorded since.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    snapshot: Snapshot,
    since: HashMap<Key, IndexPacked>,
    /// How many of `since` the snapshot does not know.
    added: usize,
    /// What does not fit into [`IndexPacked`].
    beside: HashMap<Key, Known>,
    /// MD5 of the bytes of files of `since`.
    sums: HashMap<Key, Md5>,
    /// How often a snapshot was taken in.
    folds: u64,
    /// Whether the source's times tell nothing.
    restless: bool,
    /// The settings that name blobs, as the last run had them that said so.
    layout: Option<String>,
    /// Which file system the source's share is.
    share: Option<ShareId>,
    /// Where the blobs of the source are.
    place: Option<BlobPlace>,
    /// `None`: what the snapshot had seen was ingested since.
    seen: HashMap<Key, Option<Seen>>,
    open: OpenRuns,
    untold: UntoldRuns,
}

/// Runs that began and did not end, in the order in which they began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenRuns(pub Vec<String>);

/// Whether `run` stands for a piece of a run's work: `<run>/<piece>`. Ids of runs hold no `/`.
fn is_piece(run: &str) -> bool {
    run.contains('/')
}

/// Whether the settings `now` are those that were `noted` last. Nothing is noted of the layouts
/// that a ledger begins with.
pub(crate) fn is_layout(noted: Option<&str>, now: &str) -> bool {
    noted.map_or(["path", "by-type"].contains(&now), |noted| noted == now)
}

impl OpenRuns {
    /// A writer of `journal` died in the midst of an append: as good as a run that did not end.
    pub(crate) fn note_torn(&mut self, journal: &str) {
        self.0.push(format!("torn in {journal}"));
    }

    /// Takes in a record.
    pub(crate) fn apply(&mut self, record: &Record) {
        match record {
            Record::Begin { run, .. } => self.0.push(run.clone()),
            Record::End { run, .. } => {
                // A run that ended has also looked after what died before it began; a piece of one,
                // only after its own.
                if let Some(began) = self.0.iter().position(|open| open == run) {
                    let first = if is_piece(run) { began } else { 0 };
                    self.0.drain(first..=began);
                }
            }
            Record::Torn => self.note_torn("a sealed journal"),
            _ => {}
        }
    }
}

/// Runs of which no manifest may tell all that they recorded: they have neither ended, nor has a
/// later run told of all of it. How many records each has, and how many of them were told.
///
/// The numbers make the order in which journals are read of no matter: a run that was taken for
/// dead and goes on recording has more records than were told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UntoldRuns(BTreeMap<String, (u64, u64)>);

impl UntoldRuns {
    /// As a head tells of them.
    pub fn of(head: &BTreeMap<String, u64>) -> Self {
        Self(head.iter().map(|(run, records)| (run.clone(), (*records, 0))).collect())
    }

    /// Takes in a record.
    pub(crate) fn apply(&mut self, record: &Record) {
        match record {
            Record::File(file) if file.is_work() => match self.0.get_mut(file.run()) {
                Some((records, _)) => *records += 1,
                None => drop(self.0.insert(file.run().to_owned(), (1, 0))),
            },
            Record::End { run, recovered } => {
                // Earlier releases did not say how many records they had told of.
                if !recovered.contains_key(run) {
                    self.0.remove(run);
                }
                for (dead, count) in recovered {
                    let (_, told) = self.0.entry(dead.clone()).or_default();
                    *told = (*told).max(*count);
                }
            }
            _ => {}
        }
    }

    /// Those that are not told, with the number of their records.
    pub fn all(&self) -> BTreeMap<String, u64> {
        let untold = self.0.iter().filter(|(_, (records, told))| records > told);
        untold.map(|(run, (records, _))| (run.clone(), *records)).collect()
    }

    /// Whether there are others than `run`.
    pub(crate) fn has_others(&self, run: &str) -> bool {
        let untold =
            |(name, (records, told)): (&String, &(u64, u64))| name != run && records > told;
        self.0.iter().any(untold)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.values().all(|(records, told)| records <= told)
    }
}

impl Index {
    /// Takes a snapshot in place of everything; `open` are the runs that had not ended then,
    /// `untold` those that no manifest may tell of.
    pub(crate) fn begin_with(&mut self, snapshot: Snapshot, open: OpenRuns, untold: UntoldRuns) {
        *self = Self {
            snapshot,
            open,
            untold,
            folds: self.folds + 1,
            restless: self.restless,
            layout: self.layout.take(),
            share: self.share.take(),
            place: self.place.take(),
            ..Self::default()
        };
    }

    /// The snapshot, without what was recorded since.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// See [`OpenRuns::note_torn`].
    pub(crate) fn note_torn(&mut self, journal: &str) {
        self.open.note_torn(journal);
    }

    /// Takes in a record. The same record twice changes nothing.
    pub(crate) fn apply(&mut self, record: &Record) {
        self.open.apply(record);
        self.untold.apply(record);
        match record {
            Record::File(file) => {
                let Some((path, known)) = file.known() else { return };
                self.note(&path, known);
            }
            Record::Seen(seen) => {
                if let Some(sighting) = seen.sighting() {
                    self.sight(sighting);
                }
            }
            Record::Restless { .. } => self.restless = true,
            Record::Begin { layout, share, place, .. } => {
                self.layout = layout.clone().or(self.layout.take());
                self.share = share.clone().or(self.share.take());
                self.place = place.clone().or(self.place.take());
            }
            _ => {}
        }
    }

    /// The settings that name blobs, as the last run had them that said so. Runs say so only where
    /// they are no longer one of the words `path` and `by-type`.
    pub fn layout(&self) -> Option<&str> {
        self.layout.as_deref()
    }

    /// The head says so.
    pub(crate) fn set_layout(&mut self, layout: Option<String>) {
        self.layout = layout;
    }

    /// Which file system the source's share is, if that was noted.
    pub fn share(&self) -> Option<&ShareId> {
        self.share.as_ref()
    }

    /// The head says so.
    pub(crate) fn set_share(&mut self, share: Option<ShareId>) {
        self.share = share;
    }

    /// Where the blobs of the source are, if that was noted.
    pub fn place(&self) -> Option<&BlobPlace> {
        self.place.as_ref()
    }

    /// The head says so.
    pub(crate) fn set_place(&mut self, place: Option<BlobPlace>) {
        self.place = place;
    }

    /// Whether a rebuild was the last to write: what it was made from may bear any names.
    pub(crate) fn is_rebuilt(&self) -> bool {
        self.open.0.iter().any(|run| run.starts_with("rebuild-"))
    }

    /// Whether the source's times move at every look.
    pub(crate) fn is_restless(&self) -> bool {
        self.restless
    }

    /// The head says so.
    pub(crate) fn set_restless(&mut self) {
        self.restless = true;
    }

    fn note(&mut self, path: &RemotePath, known: Known) {
        let key = key(path);
        match known.history.md5 {
            Some(md5) => self.sums.insert(key, md5),
            None => self.sums.remove(&key),
        };
        let known = known.indexed();
        self.forget(key);
        let packed = match IndexPacked::of(path, &known) {
            Some(packed) => {
                self.beside.remove(&key);
                packed
            }
            None => {
                self.beside.insert(key, known);
                IndexPacked::BESIDE
            }
        };
        if self.since.insert(key, packed).is_none() && self.snapshot.find(&key).is_none() {
            self.added += 1;
        }
    }

    fn sight(&mut self, seen: Seen) {
        let key = key(&seen.file.path);
        if seen.why == Some(Unmet::Over) {
            self.forget(key);
        } else {
            self.seen.insert(key, Some(seen));
        }
    }

    fn forget(&mut self, key: Key) {
        if self.snapshot.seen(&key).is_some() {
            self.seen.insert(key, None);
        } else {
            self.seen.remove(&key);
        }
    }

    /// How many sightings are in memory, those included that count no more.
    pub fn sightings(&self) -> usize {
        self.seen.len() + self.snapshot.seen_len()
    }

    /// Every sighting that counts.
    pub(crate) fn all_seen(&self) -> impl Iterator<Item = &Seen> {
        let of_snapshot = self.snapshot.all_seen();
        let newer = |key: &Key| self.seen.contains_key(key);
        let older = of_snapshot.filter(move |(key, _)| !newer(key)).map(|(_, seen)| seen);
        self.seen.values().flatten().chain(older)
    }

    /// What was ingested last from `path`.
    pub fn known(&self, path: &RemotePath) -> Option<Known> {
        let key = key(path);
        match self.since.get(&key) {
            Some(packed) => packed.known(path).or_else(|| self.beside.get(&key).cloned()),
            None => self.snapshot.known(&key, path),
        }
    }

    /// MD5 of the bytes of the file with this key, as it was recorded last; `Err` if that stands in
    /// the snapshot, and how often one was taken in.
    pub fn md5(&self, key: &Key) -> Result<Option<Md5>, u64> {
        if self.since.contains_key(key) { Ok(self.sums.get(key).copied()) } else { Err(self.folds) }
    }

    /// The last sighting of `path` that was not followed by its ingestion.
    pub fn seen(&self, path: &RemotePath) -> Option<&Seen> {
        // Sightings are few: of most sources there are none at all.
        if self.seen.is_empty() && self.snapshot.seen_is_empty() {
            return None;
        }
        let key = key(path);
        match self.seen.get(&key) {
            Some(seen) => seen.as_ref(),
            None => self.snapshot.seen(&key),
        }
    }

    /// How many paths are known.
    pub fn len(&self) -> usize {
        self.snapshot.len() + self.added
    }

    /// Whether a run began and did not end, or nobody has told what it recorded.
    pub(crate) fn unclean(&self) -> bool {
        !self.open.0.is_empty() || !self.untold.is_empty()
    }

    /// Whether no manifest may tell all that runs other than `run` recorded.
    pub(crate) fn has_others_untold(&self, run: &str) -> bool {
        self.untold.has_others(run)
    }

    /// Runs of which no manifest may tell all that they recorded.
    pub fn untold(&self) -> BTreeMap<String, u64> {
        self.untold.all()
    }
}
