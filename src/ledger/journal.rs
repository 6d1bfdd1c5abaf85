//! The writing end of a ledger: records of many tasks, in one order, durable when they are
//! answered.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::failpoint::safeguard_off;
use crate::ledger::blobs::{Appended, LedgerBlobs, Race, Tagged};
use crate::ledger::compact::{Tuning, fold};
use crate::ledger::error::LedgerError;
use crate::ledger::head::Piece;
use crate::ledger::index::Index;
use crate::ledger::journal_files::{MAX_OVERTAKEN, OwnJournal, make, name_in_head};
use crate::ledger::journal_write::{JournalAsk, Write, answer, reason};
use crate::ledger::loaded::LedgerLoaded;
use crate::ledger::reach::{Reached, extended};
use crate::ledger::record::Record;
use crate::model::chain;
use crate::report::Reach;

/// Azure allows 50,000 appends to a blob; a journal is followed by the next well before that.
const MAX_APPENDS: usize = 40_000;
/// A journal of this size is followed by the next.
const MAX_BYTES: u64 = 64 << 20;
/// What is appended at once, at most: Azure allows 4 MiB.
const BATCH_BYTES: usize = 1 << 20;
/// An append waits a little for others where so many files are being committed: PostgreSQL's
/// `commit_siblings` has the same number.
const SIBLINGS: usize = 5;
/// It waits this part of what the last append took.
const LINGER_SHARE: u32 = 4;
/// It never waits longer.
const LONGEST_LINGER: Duration = Duration::from_millis(10);
/// A shorter wait is not worth a timer: the store is near.
const SHORTEST_LINGER: Duration = Duration::from_millis(1);

/// The writing end. Records of many tasks that come while an append is under way go together in the
/// next one.
pub struct Journal {
    writes: mpsc::Sender<Write>,
    broken: Arc<OnceLock<String>>,
    reached: Reached,
    coming: Arc<AtomicUsize>,
}

/// A file is being committed: its record will come.
#[derive(Debug)]
pub struct ComingRecord(Arc<AtomicUsize>);

impl Drop for ComingRecord {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Journal {
    /// Stands ready to record for `run` what goes into the ledger that was read as `loaded`;
    /// `index` is told too.
    pub(crate) fn of_ledger(
        shelf: LedgerBlobs,
        run: &str,
        loaded: LedgerLoaded,
        index: Arc<Mutex<Index>>,
        tuning: Tuning,
    ) -> Self {
        let LedgerLoaded { head, idle, legacy, lines, .. } = loaded;
        let in_memory = head.as_ref().and_then(|(head, _)| head.index.clone());
        let is_first = head.is_none() && !legacy;
        let whole =
            JournalWhole { index, tuning, head, in_memory, is_first, legacy, lines, fold_above: 0 };
        Self::start(Tail::new(shelf, run, idle, Some(whole)))
    }

    /// Stands ready to append to a journal that was planned for a piece of work.
    pub(crate) fn of_piece(shelf: LedgerBlobs, run: &str, own: OwnJournal) -> Self {
        Self::start(Tail::new(shelf, run, Some(own), None))
    }

    fn start(tail: Tail) -> Self {
        let (writes, queue) = mpsc::channel(1024);
        let (broken, reached) = (Arc::new(OnceLock::new()), tail.reached.clone());
        let coming = tail.coming.clone();
        tokio::spawn(tail.serve(queue, broken.clone()));
        Self { writes, broken, reached, coming }
    }

    /// Tells that a file is being committed, until what comes back is dropped.
    pub fn coming(&self) -> ComingRecord {
        self.coming.fetch_add(1, Ordering::Relaxed);
        ComingRecord(self.coming.clone())
    }

    /// Whether a write has failed; all later ones fail too.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.get().is_some()
    }

    /// The journals that were written, each as far as it was.
    pub fn reached(&self) -> Vec<Reach> {
        self.reached.all()
    }

    /// Appends `record` and returns when it is durable.
    pub async fn write(&self, record: Record) -> Result<(), LedgerError> {
        self.ask(record.to_line(), JournalAsk::Append(Box::new(record))).await
    }

    /// Folds journals into a snapshot if that is due.
    pub async fn fold_if_due(&self) -> Result<(), LedgerError> {
        self.ask(Vec::new(), JournalAsk::Fold(None)).await
    }

    /// As [`Journal::fold_if_due`], where more than `journals` are named.
    pub(crate) async fn fold_above(&self, journals: usize) -> Result<(), LedgerError> {
        self.ask(Vec::new(), JournalAsk::Fold(Some(journals))).await
    }

    /// Makes the journal that the first record will go to, if there is none yet. The head does not
    /// name it before: left unused it is an orphan, which a fold removes a day later.
    pub(crate) async fn make_ahead(&self) -> Result<(), LedgerError> {
        self.ask(Vec::new(), JournalAsk::Make).await
    }

    async fn ask(&self, line: Vec<u8>, asked: JournalAsk) -> Result<(), LedgerError> {
        let (done, result) = oneshot::channel();
        let closed = || LedgerError::Closed("its writer is gone".to_owned());
        self.writes.send(Write { line, asked, done }).await.map_err(|_| closed())?;
        result.await.map_err(|_| closed())?
    }
}

/// What only the writer of a whole ledger has: a piece knows nothing but its journal.
struct JournalWhole {
    index: Arc<Mutex<Index>>,
    tuning: Tuning,
    head: Option<Tagged>,
    /// Which snapshot the index has. The head may name another by now, of another writer's fold.
    in_memory: Option<Piece>,
    /// Whether there was no state at all when the ledger was read.
    is_first: bool,
    legacy: bool,
    /// Lines in all journals, as far as we know.
    lines: usize,
    /// A fold that failed is not tried again at each append.
    fold_above: usize,
}

struct Tail {
    shelf: LedgerBlobs,
    run: String,
    /// The journal in hand; `None` until there is something to record, and when another writer has
    /// ended it.
    own: Option<OwnJournal>,
    /// One that was made before there was anything to record; no head names it.
    made: Option<OwnJournal>,
    whole: Option<JournalWhole>,
    reached: Reached,
    /// Files that are being committed.
    coming: Arc<AtomicUsize>,
    /// How long the last append took.
    took: Duration,
}

impl Tail {
    fn new(
        shelf: LedgerBlobs,
        run: &str,
        own: Option<OwnJournal>,
        whole: Option<JournalWhole>,
    ) -> Self {
        let (run, took) = (run.to_owned(), Duration::ZERO);
        let (reached, coming) = (Reached::default(), Arc::default());
        Self { shelf, run, own, made: None, whole, reached, coming, took }
    }

    async fn serve(mut self, mut queue: mpsc::Receiver<Write>, broken: Arc<OnceLock<String>>) {
        while let Some(first) = queue.recv().await {
            let batch = self.gather(first, &mut queue).await;
            let result = match broken.get() {
                Some(why) => Err(LedgerError::Closed(why.clone())),
                None => self.append_and_fold(&batch).await,
            };
            // After a failure the journal's end is not known: later records must not jump over a
            // lost one.
            if let Err(error) = &result {
                broken.get_or_init(|| reason(error));
            }
            answer(batch, result);
        }
    }

    /// `first` and what goes with it in one append: what waits, and what comes in a moment where
    /// many files are being committed. Else the first record of a wave would go alone, and all
    /// others would wait for that append and then for their own.
    async fn gather(&self, first: Write, queue: &mut mpsc::Receiver<Write>) -> Vec<Write> {
        let mut bytes = first.line.len();
        let mut batch = vec![first];
        let linger = (self.took / LINGER_SHARE).min(LONGEST_LINGER);
        let until = Instant::now() + linger;
        while bytes < BATCH_BYTES {
            let next = match queue.try_recv() {
                Ok(next) => Some(next),
                Err(_) if linger < SHORTEST_LINGER || !self.has_siblings() => None,
                Err(_) => timeout_at(until, queue.recv()).await.ok().flatten(),
            };
            let Some(next) = next else { break };
            bytes += next.line.len();
            batch.push(next);
        }
        batch
    }

    fn has_siblings(&self) -> bool {
        self.coming.load(Ordering::Relaxed) >= SIBLINGS
    }

    async fn append_and_fold(&mut self, batch: &[Write]) -> Result<(), LedgerError> {
        if batch.iter().any(|write| write.record().is_some()) {
            let begun = Instant::now();
            self.append(batch).await?;
            self.took = begun.elapsed();
        }
        if batch.iter().any(Write::is_make) {
            self.make_ahead().await;
        }
        // Without a record nobody has said that the ledger may be written to.
        if batch.iter().all(Write::is_make) {
            return Ok(());
        }
        self.fold_if_due(batch.iter().filter_map(Write::above).min()).await
    }

    async fn append(&mut self, batch: &[Write]) -> Result<(), LedgerError> {
        let bytes: Bytes = batch.iter().flat_map(|write| write.line.iter().copied()).collect();
        let mut race = Race::default();
        for _ in 0..MAX_OVERTAKEN {
            let mut own = match self
                .own
                .take()
                .filter(|own| own.lines < MAX_APPENDS && own.position < MAX_BYTES)
            {
                Some(own) => own,
                None => self.plan().await?,
            };
            let blob = self.shelf.blob(&own.name)?;
            let tail = match self.shelf.append(&blob, bytes.clone(), own.position).await? {
                Appended::Landed => None,
                Appended::Refused(cause) => {
                    let tail = self.shelf.get(&blob, own.position).await?.map(|(_, tail)| tail);
                    // It is as long as was thought, so nobody was quicker. The next journal may do
                    // better, once.
                    if tail.as_ref().is_some_and(Bytes::is_empty) {
                        race.lost(&self.shelf, (), cause)?;
                    }
                    Some(tail)
                }
            };
            let there = match &tail {
                None => true,
                Some(tail) => tail.as_ref().is_some_and(|tail| tail.starts_with(&bytes)),
            };
            // What another writer appended behind ours ends this journal for us.
            let ended = tail
                .as_ref()
                .is_some_and(|tail| tail.as_ref().is_none_or(|tail| tail.len() != bytes.len()));
            if tail.is_some_and(|tail| tail.is_none()) {
                self.must_be_folded(&own).await?;
            }
            if there {
                own.position += bytes.len() as u64;
                own.sum = extended(own.sum, &bytes);
                self.reached.note(&own.name, own.position, own.sum);
                own.lines += batch.iter().filter_map(Write::record).count();
                self.own = Some(own).filter(|_| !ended);
                self.take_in(batch);
                return Ok(());
            }
        }
        Err(LedgerError::Closed("other writers were always quicker".to_owned()))
    }

    /// A journal may go away only by being folded: then the head does not name it any more.
    async fn must_be_folded(&self, own: &OwnJournal) -> Result<(), LedgerError> {
        match self.shelf.head().await? {
            Some((head, _)) if !head.journals.contains(&own.name) => Ok(()),
            _ => Err(LedgerError::Closed(format!(
                "`{}{}` was taken away meanwhile",
                self.shelf.folder(),
                own.name
            ))),
        }
    }

    fn take_in(&mut self, batch: &[Write]) {
        let Some(whole) = &mut self.whole else { return };
        let mut index = whole.index.lock().expect("no code panics while it holds this lock");
        for record in batch.iter().filter_map(Write::record) {
            whole.lines += 1;
            index.apply(record);
        }
    }

    /// Makes a journal ahead of its first record. What fails here is tried again with that record.
    async fn make_ahead(&mut self) {
        let is_wanted = self.whole.as_ref().is_some_and(|whole| !whole.legacy);
        if is_wanted && self.own.is_none() && self.made.is_none() {
            self.made = make(&self.shelf).await.ok();
        }
    }

    /// A new journal, named in the head.
    async fn plan(&mut self) -> Result<OwnJournal, LedgerError> {
        if self.whole.as_ref().is_some_and(|whole| whole.legacy) {
            self.fold().await?;
            if let Some(own) = self.own.take() {
                return Ok(own);
            }
        }
        let own = match self.made.take() {
            Some(made) => made,
            None => make(&self.shelf).await?,
        };
        // A head that was there before must still be there: it is read again by a writer that has
        // none in hand.
        let is_first = self.whole.as_ref().is_some_and(|whole| whole.is_first);
        let known = match self.whole.as_ref().and_then(|whole| whole.head.clone()) {
            Some(known) => Some(known),
            // There was none a moment ago: the condition of its write tells if there is one now.
            None if is_first => None,
            None => self.shelf.head().await?,
        };
        // Only the first run of all begins without a head.
        if known.is_none() && !is_first {
            return Err(LedgerError::Closed("its head was taken away".to_owned()));
        }
        let head = name_in_head(&self.shelf, std::slice::from_ref(&own), known).await?;
        if let Some(whole) = &mut self.whole {
            whole.head = Some(head);
            whole.is_first = false;
        }
        Ok(own)
    }

    /// A fold that fails for want of the store loses nothing, and a later one does its work. Bad
    /// state is another matter: it is told as soon as it is found.
    async fn fold_if_due(&mut self, most_journals: Option<usize>) -> Result<(), LedgerError> {
        let Some(whole) = &self.whole else { return Ok(()) };
        let most_journals = most_journals.unwrap_or(whole.tuning.journals);
        let (files, waits) = {
            let index = whole.index.lock().expect("no code panics while it holds this lock");
            (index.snapshot().len(), index.has_others_untold(&self.run))
        };
        // What dead runs recorded is told first: this run's end says that it is.
        if waits && !safeguard_off!("folded-untold") {
            return Ok(());
        }
        let journals = whole.head.as_ref().map_or(0, |(head, _)| head.journals.len());
        let most = whole.tuning.lines.max(files / whole.tuning.share.max(1)).max(whole.fold_above);
        if whole.lines <= most && (journals <= most_journals || whole.fold_above > 0) {
            return Ok(());
        }
        match self.fold().await {
            Err(error @ (LedgerError::Store { .. } | LedgerError::Closed(_))) => {
                let source = &self.shelf.source;
                tracing::warn!(source, error = %chain(&error), "The ledger's journals could not be \
                    folded; it is tried again later.");
                if let Some(whole) = &mut self.whole {
                    whole.fold_above = whole.lines.saturating_mul(2);
                }
                Ok(())
            }
            result => result,
        }
    }

    async fn fold(&mut self) -> Result<(), LedgerError> {
        let Some(whole) = &mut self.whole else { return Ok(()) };
        // Whatever comes of it, the journal in hand is sealed.
        self.own = None;
        let snapshot =
            whole.index.lock().expect("no code panics while it holds this lock").snapshot().clone();
        let have = whole.in_memory.clone().map(|piece| (piece, snapshot));
        let folded = fold(&self.shelf, &whole.tuning, &self.run, have).await?;
        whole.legacy = false;
        let Some(folded) = folded else {
            // Another run has folded; what we know stays true.
            whole.head = None;
            whole.lines = 0;
            return Ok(());
        };
        whole.in_memory = folded.head.0.index.clone();
        whole.head = Some(folded.head);
        whole.lines = 1;
        self.own = Some(folded.own);
        whole.index.lock().expect("no code panics while it holds this lock").begin_with(
            folded.snapshot,
            folded.open,
            folded.untold,
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::load::load;
    use crate::runtime::retry::Policy;
    use crate::store::memory::MemoryStore;

    #[test]
    fn that_the_ledger_is_closed_is_said_once() {
        let closed = LedgerError::Closed("its writer is gone".to_owned());
        let again = LedgerError::Closed(reason(&closed));
        assert_eq!(again.to_string(), "the ledger of this source is closed: its writer is gone");
    }

    /// Each record is appended by itself, by one run and then by another that goes on in the same
    /// journal. The store in memory takes 50,000 appends, as Azure does.
    #[tokio::test]
    async fn a_journal_is_followed_by_the_next_long_before_its_last_append() {
        let store = Arc::new(MemoryStore::new());
        let shelf = LedgerBlobs {
            store: store.clone(),
            source: "acme".into(),
            policy: Policy::default(),
            cancel: Default::default(),
        };
        // Never folded.
        let tuning = Tuning { lines: usize::MAX, share: 1, journals: usize::MAX, shard_files: 1 };
        for (run, records) in [("one", 39_000), ("two", 12_000)] {
            let mut loaded = load(&shelf).await.expect("it reads");
            let index = Arc::new(Mutex::new(std::mem::take(&mut loaded.index)));
            let journal = Journal::of_ledger(shelf.clone(), run, loaded, index, tuning);
            for _ in 0..records {
                journal
                    .write(Record::End { run: run.to_owned(), recovered: Default::default() })
                    .await
                    .expect("it appends");
            }
        }
        let (head, _) = shelf.head().await.expect("it reads").expect("there is one");
        let content = |name: &String| {
            store.content(shelf.blob(name).expect("a legal name").as_str()).expect("it is there")
        };
        let lines: Vec<usize> = head
            .journals
            .iter()
            .map(|name| content(name).iter().filter(|byte| **byte == b'\n').count())
            .collect();
        assert_eq!(
            lines,
            [MAX_APPENDS, 51_000 + 2 - MAX_APPENDS],
            "each begins with a line of its own"
        );
    }
}
