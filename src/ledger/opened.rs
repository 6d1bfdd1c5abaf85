//! The ledger of one source, open for one pass or one piece of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use time::OffsetDateTime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::blob_place::BlobPlace;
use super::blobs::LedgerBlobs;
use super::cache::LedgerCache;
use super::compact::Tuning;
use super::error::LedgerError;
use super::head::OpenPass;
use super::index::{Index, OpenRuns, is_layout};
use super::journal::{ComingRecord, Journal};
use super::key::key;
use super::load::{load, load_with};
use super::loaded::LedgerLoaded;
use super::pass;
use super::record::{Record, Recorded};
use super::sums::Sums;
use super::untold::{self, UntoldFile};
use crate::failpoint::{failpoint, safeguard_off};
use crate::model::{Md5, RemoteFile, RemotePath};
use crate::rules::plan::known::{History, Known, Seen};
use crate::runtime::retry::Policy;
use crate::source::contract::ShareId;
use crate::store::contract::Store;

/// Journals of a source in which nothing happens: each costs a look a request.
const IDLE_JOURNALS: usize = 2;

/// The ledger of one source, for one pass.
pub struct Ledger {
    shelf: LedgerBlobs,
    index: Arc<Mutex<Index>>,
    journal: Journal,
    run: String,
    unclean: bool,
    pass: Option<OpenPass>,
    as_read: LedgerLoaded,
    sums: Sums,
    /// Records of work that were to be written.
    records: AtomicU64,
    /// Dead runs of which this one has told.
    recovered: Mutex<BTreeMap<String, u64>>,
    /// The settings that name blobs.
    layout: Option<String>,
    /// Where blobs go.
    pub(super) place: Option<BlobPlace>,
    /// Whether the beginning of this run is durable; `None` until that is known.
    begun: watch::Sender<Option<bool>>,
    /// Which file system the source's share is by now.
    share: Mutex<Option<ShareId>>,
}

impl Ledger {
    /// Reads the ledger of `source`. Nothing is written until [`Ledger::begin`].
    pub async fn open(
        store: Arc<dyn Store>,
        source: &str,
        run: &str,
        policy: Policy,
        cancel: CancellationToken,
    ) -> Result<Self, LedgerError> {
        Self::open_tuned(store, source, run, policy, cancel, Tuning::default()).await
    }

    /// [`Ledger::open`]; a ledger that is in `cache` and has not changed is not read again.
    pub(crate) async fn open_cached(
        store: Arc<dyn Store>,
        source: &str,
        run: &str,
        policy: Policy,
        cache: &LedgerCache,
    ) -> Result<Self, LedgerError> {
        let shelf = LedgerBlobs {
            store,
            source: source.to_owned(),
            policy,
            cancel: CancellationToken::new(),
        };
        let loaded = load_with(&shelf, cache).await?;
        Ok(Self::of(shelf, run, loaded, Tuning::default()))
    }

    /// [`Ledger::open`] with other measures for folding journals into a snapshot.
    pub async fn open_tuned(
        store: Arc<dyn Store>,
        source: &str,
        run: &str,
        policy: Policy,
        cancel: CancellationToken,
        tuning: Tuning,
    ) -> Result<Self, LedgerError> {
        let shelf = LedgerBlobs { store, source: source.to_owned(), policy, cancel };
        let loaded = load(&shelf).await?;
        Ok(Self::of(shelf, run, loaded, tuning))
    }

    fn of(shelf: LedgerBlobs, run: &str, mut loaded: LedgerLoaded, tuning: Tuning) -> Self {
        // What tells whether the ledger has changed since, without what it says.
        let as_read = LedgerLoaded {
            head: loaded.head.clone(),
            growing: loaded.growing.clone(),
            legacy: loaded.legacy,
            ..LedgerLoaded::default()
        };
        let index = std::mem::take(&mut loaded.index);
        let pass = loaded.head.as_ref().and_then(|(head, _)| head.pass.clone());
        // Asked once: our own beginning makes the journal look the same.
        let unclean = index.unclean();
        let index = Arc::new(Mutex::new(index));
        let journal = Journal::of_ledger(shelf.clone(), run, loaded, index.clone(), tuning);
        Self {
            shelf,
            index,
            journal,
            run: run.to_owned(),
            unclean,
            pass,
            as_read,
            sums: Sums::default(),
            records: AtomicU64::new(0),
            recovered: Mutex::default(),
            layout: None,
            place: None,
            begun: watch::Sender::default(),
            share: Mutex::default(),
        }
    }

    /// This one, where `layout` are the settings that name blobs.
    #[must_use]
    pub fn under(self, layout: &str) -> Self {
        Self { layout: Some(layout.to_owned()), ..self }
    }

    /// Whether other settings named the blobs of the files that are known.
    pub(crate) fn has_other_names(&self) -> bool {
        let index = self.index();
        let known = index.len() > 0 && !index.is_rebuilt();
        known && self.layout.as_deref().is_some_and(|layout| !is_layout(index.layout(), layout))
    }

    pub(super) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().expect("no code panics while it holds this lock")
    }

    /// What was ingested last from `path`.
    pub fn known(&self, path: &RemotePath) -> Option<Known> {
        self.index().known(path)
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
    pub(crate) fn unclean(&self) -> bool {
        self.unclean
    }

    /// Whether the ledger is still as it was read. Nothing may have been written to it by this one.
    pub(crate) async fn is_current(&self) -> Result<bool, LedgerError> {
        self.as_read.is_current(&self.shelf).await
    }

    /// Whether a write has failed, so that nothing more can be recorded.
    pub(crate) fn is_closed(&self) -> bool {
        self.journal.is_broken()
    }

    /// Makes what [`Ledger::begin`] writes to, if there is none yet: that need not wait until the
    /// ledger is known to be as it was read. Nothing is known by it.
    pub(crate) async fn make_ahead(&self) {
        // What failed is tried again by the first record, which tells.
        drop(self.journal.make_ahead().await);
    }

    /// Notes, durably, that this run is about to commit blobs: [`Ledger::may_commit`] waits for
    /// this.
    pub async fn begin(&self, now: OffsetDateTime) -> Result<(), LedgerError> {
        let begun = self.note_beginning(now).await;
        self.begun.send_replace(Some(begun.is_ok()));
        begun
    }

    /// Tells that a file is being committed, until what comes back is dropped: its record will
    /// come.
    pub(crate) fn coming(&self) -> ComingRecord {
        self.journal.coming()
    }

    /// Waits until the beginning of this run is durable. An error if nothing may be committed: it
    /// could not be noted, or a record has failed since.
    pub(crate) async fn may_commit(&self) -> Result<(), LedgerError> {
        let mut begun = self.begun.subscribe();
        let is_begun = match safeguard_off!("begin-before-commit") {
            true => true,
            false => begun.wait_for(Option::is_some).await.is_ok_and(|begun| *begun == Some(true)),
        };
        if !is_begun {
            return Err(LedgerError::Closed("that this run began could not be noted".to_owned()));
        }
        if self.is_closed() && !safeguard_off!("closed-before-commit") {
            return Err(LedgerError::Closed("a record of this run failed".to_owned()));
        }
        Ok(())
    }

    async fn note_beginning(&self, now: OffsetDateTime) -> Result<(), LedgerError> {
        failpoint!("before-begin", LedgerError::Closed("failpoint".into()));
        let layout = self.layout.clone().filter(|layout| !is_layout(self.index().layout(), layout));
        let place = self.place.clone().filter(|now| self.index().place() != Some(now));
        let (run, at, share) = (self.run.clone(), now, self.unnoted_share());
        self.journal.write(Record::Begin { run, at, layout, share, place }).await?;
        failpoint!("after-begin", LedgerError::Closed("failpoint".into()));
        Ok(())
    }

    /// Which file system the source's share was, as the last run saw it that noted that.
    pub(crate) fn share(&self) -> Option<ShareId> {
        self.index().share().cloned()
    }

    /// The source's share is this one by now; the next [`Ledger::begin`] notes it.
    pub(crate) fn set_share(&self, share: &ShareId) {
        *self.share.lock().expect("no code panics while it holds this lock") = Some(share.clone());
    }

    /// Whether the share of files that are known has another identity than the one that is noted.
    pub(crate) fn share_is_news(&self) -> bool {
        !self.is_empty() && self.unnoted_share().is_some()
    }

    fn unnoted_share(&self) -> Option<ShareId> {
        let now = self.share.lock().expect("no code panics while it holds this lock").clone();
        now.filter(|now| self.index().share() != Some(now))
    }

    /// Notes, durably, that a file is in the store: every blob of it is committed and verified.
    pub async fn ingested(
        &self,
        file: &RemoteFile,
        known: &Known,
        blobs: u64,
        bytes: u64,
    ) -> Result<(), LedgerError> {
        self.stored(file, known, blobs, bytes, None).await
    }

    /// As [`Ledger::ingested`]; its commit was confirmed at `at`.
    pub(crate) async fn stored(
        &self,
        file: &RemoteFile,
        known: &Known,
        blobs: u64,
        bytes: u64,
        at: Option<OffsetDateTime>,
    ) -> Result<(), LedgerError> {
        self.records.fetch_add(u64::from(blobs > 0 || bytes > 0), Ordering::Relaxed);
        let md5 = match known.history.md5 {
            // What the record before told of the bytes holds on.
            None if known.history.read => self.md5_of(&file.path).await?,
            md5 => md5,
        };
        let known = Known { history: History { md5, ..known.history.clone() }, ..known.clone() };
        let record = Record::file(&file.path, &known, &self.run, blobs, bytes);
        self.journal.write(record.stored_at(at)).await
    }

    /// MD5 of the bytes that were ingested last from `path`, as the source sent them, if its record
    /// tells.
    pub(crate) async fn md5_of(&self, path: &RemotePath) -> Result<Option<Md5>, LedgerError> {
        let key = key(path);
        let found = self.index().md5(&key);
        match found {
            Ok(md5) => Ok(md5),
            Err(folds) => self.sums.of(&self.shelf, &key, folds).await,
        }
    }

    /// The order in which [`Ledger::md5_of`] is best asked about many paths.
    pub fn order(path: &RemotePath) -> [u8; 16] {
        key(path)
    }

    /// Notes that a file was seen but is not settled yet, or that a listing shows another coarse
    /// time of a known file.
    pub(crate) async fn note_seen(&self, seen: &Seen) -> Result<(), LedgerError> {
        self.journal.write(Record::seen(seen)).await?;
        // A piece's journal takes nothing in by itself.
        self.remember(seen);
        Ok(())
    }

    /// How many files that were seen and not taken are in memory.
    pub fn sightings(&self) -> usize {
        self.index().sightings()
    }

    /// Files that were seen and not taken, and folders that stand for many of them, that `want`
    /// wants.
    pub(crate) fn all_seen(&self, want: impl Fn(&Seen) -> bool) -> Vec<Seen> {
        self.index().all_seen().filter(|seen| want(seen)).cloned().collect()
    }

    /// Whether the source's times move at every look, so that they tell nothing.
    pub(crate) fn is_restless(&self) -> bool {
        self.index().is_restless()
    }

    /// Notes that they do.
    pub(crate) async fn note_restless(&self) -> Result<(), LedgerError> {
        self.journal.write(Record::Restless { at: OffsetDateTime::now_utc() }).await
    }

    /// The journals that this run has written, each as far as it wrote.
    pub(crate) fn reached(&self) -> Vec<crate::report::Reach> {
        self.journal.reached()
    }

    /// Notes that this run ended in good order: only after [`Ledger::begin`], and when what it has
    /// recorded is told by its manifest, durably.
    pub async fn end(&self) -> Result<(), LedgerError> {
        failpoint!("before-end", LedgerError::Closed("failpoint".into()));
        let mut recovered = self.recovered();
        recovered.insert(self.run.clone(), self.records());
        self.journal.write(Record::End { run: self.run.clone(), recovered }).await
    }

    /// Runs, and pieces of runs, of which no manifest may tell all that they recorded. Those that
    /// are at work now are among them. With the number of their records.
    pub fn untold(&self) -> BTreeMap<String, u64> {
        let mut untold = self.index().untold();
        untold.remove(&self.run);
        untold
    }

    /// What `runs` have recorded, as far as nothing newer of the same path stands in its place.
    pub(crate) async fn files_of(
        &self,
        runs: &BTreeMap<String, u64>,
    ) -> Result<Vec<UntoldFile>, LedgerError> {
        untold::files_of(&self.shelf, runs).await
    }

    /// How many files this run (or piece, with those that did it before) has recorded, or tried to.
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// From now on [`Ledger::end`] says that all is told of `runs`.
    pub(crate) fn set_recovered(&self, runs: BTreeMap<String, u64>) {
        *self.recovered.lock().expect("no code panics while it holds this lock") = runs;
    }

    /// Dead runs of which this one has told.
    pub fn recovered(&self) -> BTreeMap<String, u64> {
        self.recovered.lock().expect("no code panics while it holds this lock").clone()
    }

    /// Folds journals into the snapshot if there are enough of them; else it is done while records
    /// are appended.
    pub async fn fold_if_due(&self) -> Result<(), LedgerError> {
        self.journal.fold_if_due().await
    }

    /// Folds journals if there are more than a look at an idle source should have to read.
    pub(crate) async fn fold_for_idle(&self) -> Result<(), LedgerError> {
        self.journal.fold_above(IDLE_JOURNALS).await
    }
}

impl Ledger {
    /// Opens the journal `journal` of `source`, which `open_pass` has planned, for a piece of work:
    /// nothing of what was known before is read. `name` stands for the piece in the ledger:
    /// `<run>/<piece>`, and no other piece is called so. A piece that is done again by another
    /// process may open the same journal: a writer that appends second goes on in a journal of its
    /// own. What the piece has recorded before comes back beside it.
    pub(crate) async fn open_piece(
        store: Arc<dyn Store>,
        source: &str,
        journal: &str,
        name: &str,
        policy: Policy,
        cancel: CancellationToken,
    ) -> Result<(Self, Vec<Recorded>), LedgerError> {
        let shelf = LedgerBlobs { store, source: source.to_owned(), policy, cancel };
        let (own, lines) = pass::own_journal(&shelf, journal).await?;
        let (mut recorded, mut open) = (Vec::new(), OpenRuns::default());
        for record in &lines {
            open.apply(record);
            if let Record::File(file) = record {
                recorded.extend(file.of_run(name));
            }
        }
        // The writer that began this piece before and did not end may have committed what it could
        // not record.
        let unclean = open.0.iter().any(|run| run == name);
        let journal = Journal::of_piece(shelf.clone(), name, own);
        let as_read = LedgerLoaded::default();
        let (index, sums) = (Arc::default(), Sums::default());
        let ledger = Self {
            shelf,
            index,
            journal,
            run: name.to_owned(),
            unclean,
            pass: None,
            as_read,
            sums,
            records: AtomicU64::new(recorded.len() as u64),
            recovered: Mutex::default(),
            layout: None,
            place: None,
            begun: watch::Sender::default(),
            share: Mutex::default(),
        };
        Ok((ledger, recorded))
    }

    /// Whether an earlier run did not end is known to the writer that planned this piece.
    pub(crate) fn set_unclean(&mut self, unclean: bool) {
        self.unclean |= unclean;
    }

    /// So is that the source's times tell nothing.
    pub(crate) fn set_restless(&mut self) {
        self.index().set_restless();
    }

    /// And what it knows of a file of this piece that was seen and not taken.
    pub fn remember(&self, seen: &Seen) {
        self.index().apply(&Record::seen(seen));
    }

    /// The pass that was under way in pieces when this ledger was read.
    pub fn under_way(&self) -> Option<&OpenPass> {
        self.pass.as_ref()
    }

    /// Makes a journal for each of `pieces` pieces of work. They count for nothing before
    /// [`Ledger::open_pass`].
    pub async fn make_journals(&self, pieces: usize) -> Result<Vec<String>, LedgerError> {
        pass::make_journals(&self.shelf, pieces).await
    }

    /// Names `journals` in the head and makes `pass` the one that is under way: durable when this
    /// returns. Another pass that is under way comes back, and then nothing was done.
    pub async fn open_pass(
        &self,
        pass: &OpenPass,
        journals: Vec<String>,
    ) -> Result<Option<OpenPass>, LedgerError> {
        let places = (self.layout.as_deref(), self.place.as_ref());
        pass::open(&self.shelf, pass, journals, places).await
    }
}

/// The pass over `source` that is under way in pieces, if there is one.
pub async fn under_way(
    store: Arc<dyn Store>,
    source: &str,
    policy: Policy,
    cancel: CancellationToken,
) -> Result<Option<OpenPass>, LedgerError> {
    let shelf = LedgerBlobs { store, source: source.to_owned(), policy, cancel };
    Ok(shelf.head().await?.and_then(|(head, _)| head.pass))
}

/// The pass `id` is over, as far as it was under way.
pub async fn close_pass(
    store: Arc<dyn Store>,
    source: &str,
    id: &str,
    policy: Policy,
    cancel: CancellationToken,
) -> Result<(), LedgerError> {
    let shelf = LedgerBlobs { store, source: source.to_owned(), policy, cancel };
    pass::close(&shelf, id).await
}
