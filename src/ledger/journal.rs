//! An append-only journal: many writers' records in one order, none lost, none torn.

use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::failure::{Class, Failure};
use crate::ledger::index::Index;
use crate::ledger::record::{BadRecord, Record, SCHEMA, parse};
use crate::model::{BlobName, chain};
use crate::retry::{Policy, retry};
use crate::store::contract::{Store, StoreError, StoreKind};

/// Azure allows 50,000 appends to a blob; a journal is followed by the next well before that.
const MAX_APPENDS: u32 = 40_000;
/// A journal of this size is followed by the next.
const MAX_BYTES: u64 = 256 << 20;
/// What is appended at once, at most: Azure allows 4 MiB.
const BATCH_BYTES: usize = 1 << 20;
/// How often another writer may be quicker before we give up.
const MAX_OVERTAKEN: u32 = 1_000;

/// Why the ledger could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The store failed.
    #[error("the ledger of `{source_name}`")]
    Store {
        /// The source's name.
        source_name: String,
        /// What the store says.
        #[source]
        cause: Box<StoreError>,
    },
    /// The journal holds something that we did not write.
    #[error(
        "the ledger of `{source_name}` (move the journal away to begin anew: what is in the container already is then recognised, not stored twice)"
    )]
    Damaged {
        /// The source's name.
        source_name: String,
        /// What is wrong.
        #[source]
        cause: BadRecord,
    },
    /// An earlier write of this run failed, so nothing more is written.
    #[error("the ledger of this source is closed: {0}")]
    Closed(String),
}

impl Failure for LedgerError {
    fn class(&self) -> Class {
        match self {
            LedgerError::Store { cause, .. } if cause.kind != StoreKind::Condition => cause.class(),
            _ => Class::Ledger,
        }
    }
    fn is_transient(&self) -> bool {
        false
    }
}

struct Write {
    line: Vec<u8>,
    done: oneshot::Sender<Result<(), LedgerError>>,
}

/// The writing end. Records of many tasks that come while an append is under way go together in the next one.
pub struct Journal {
    writes: mpsc::Sender<Write>,
    broken: Arc<OnceLock<String>>,
}

impl Journal {
    /// Reads every journal of `source` into `index` and stands ready to append to the last.
    pub async fn open(
        store: Arc<dyn Store>,
        source: &str,
        index: Arc<Mutex<Index>>,
        policy: Policy,
        cancel: CancellationToken,
    ) -> Result<Self, LedgerError> {
        let mut tail = Tail { store, source: source.to_owned(), index, policy, cancel, number: 0, position: 0, lines: 0, appends: 0 };
        tail.read_all().await?;
        let (writes, queue) = mpsc::channel(1024);
        let broken = Arc::new(OnceLock::new());
        tokio::spawn(tail.serve(queue, broken.clone()));
        Ok(Self { writes, broken })
    }

    /// Whether a write has failed; all later ones fail too.
    pub fn is_broken(&self) -> bool {
        self.broken.get().is_some()
    }

    /// Appends `record` and returns when it is durable.
    pub async fn write(&self, record: Record) -> Result<(), LedgerError> {
        let (done, result) = oneshot::channel();
        let closed = || LedgerError::Closed("its writer is gone".to_owned());
        self.writes.send(Write { line: record.to_line(), done }).await.map_err(|_| closed())?;
        result.await.map_err(|_| closed())?
    }
}

/// The last journal and where it ends, as far as we know.
struct Tail {
    store: Arc<dyn Store>,
    source: String,
    index: Arc<Mutex<Index>>,
    policy: Policy,
    cancel: CancellationToken,
    number: u32,
    position: u64,
    lines: usize,
    appends: u32,
}

impl Tail {
    fn name(&self) -> BlobName {
        journal_name(&self.source, self.number)
    }

    fn failed(&self, cause: StoreError) -> LedgerError {
        LedgerError::Store { source_name: self.source.clone(), cause: Box::new(cause) }
    }

    async fn read_all(&mut self) -> Result<(), LedgerError> {
        while self.read_on().await? && self.is_full() {
            self.follow_on();
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.position >= MAX_BYTES || self.appends >= MAX_APPENDS
    }

    fn follow_on(&mut self) {
        self.number += 1;
        (self.position, self.lines, self.appends) = (0, 0, 0);
    }

    /// Takes in what was appended since we last looked. False if there is no such journal.
    async fn read_on(&mut self) -> Result<bool, LedgerError> {
        let Some(bytes) = self.tail_bytes().await? else { return Ok(false) };
        self.take_in(&bytes)?;
        Ok(true)
    }

    async fn tail_bytes(&self) -> Result<Option<Bytes>, LedgerError> {
        let (name, position) = (self.name(), self.position);
        let once = |_| self.store.get(&name, position, 2 * MAX_BYTES);
        match retry(&self.policy, &self.cancel, "reading the ledger", once).await {
            Ok(found) => Ok(found.map(|(_, bytes)| bytes)),
            // A plan comes before the first run has made the container: it holds nothing yet.
            Err(cause) if cause.kind == StoreKind::NoContainer => Ok(None),
            Err(cause) => Err(self.failed(cause)),
        }
    }

    fn take_in(&mut self, bytes: &[u8]) -> Result<(), LedgerError> {
        let damaged = |cause| LedgerError::Damaged { source_name: self.source.clone(), cause };
        let records = parse(self.name().as_str(), self.lines + 1, bytes).map_err(damaged)?;
        let mut index = self.index.lock().expect("no code panics while it holds this lock");
        records.iter().for_each(|record| index.apply(record));
        drop(index);
        self.position += bytes.len() as u64;
        self.lines += records.len();
        // Others batch as we do: each append holds at least one line, so this counts too many, which is safe.
        self.appends = u32::try_from(self.lines).unwrap_or(u32::MAX);
        Ok(())
    }

    async fn serve(mut self, mut queue: mpsc::Receiver<Write>, broken: Arc<OnceLock<String>>) {
        while let Some(first) = queue.recv().await {
            let mut batch = vec![first];
            let mut bytes = batch[0].line.len();
            while bytes < BATCH_BYTES {
                let Ok(next) = queue.try_recv() else { break };
                bytes += next.line.len();
                batch.push(next);
            }
            let lines: Vec<u8> = batch.iter().flat_map(|write| write.line.iter().copied()).collect();
            let result = match broken.get() {
                Some(why) => Err(LedgerError::Closed(why.clone())),
                None => self.append(lines).await,
            };
            // After a failure the journal's end is not known: later records must not jump over a lost one.
            if let Err(error) = &result {
                broken.get_or_init(|| chain(error));
            }
            answer(batch, result);
        }
    }

    async fn append(&mut self, lines: Vec<u8>) -> Result<(), LedgerError> {
        if self.is_full() {
            self.follow_on();
            self.read_all().await?;
        }
        for _ in 0..MAX_OVERTAKEN {
            let mut bytes = lines.clone();
            if self.position == 0 {
                bytes.splice(0..0, Record::Schema { version: SCHEMA }.to_line());
            }
            let bytes = Bytes::from(bytes);
            let (name, position) = (self.name(), self.position);
            let once = |_| self.store.append(&name, bytes.clone(), position);
            match retry(&self.policy, &self.cancel, "writing the ledger", once).await {
                Ok(_) => return self.take_in(&bytes),
                Err(error) if error.kind == StoreKind::Condition => {
                    // Either our reply was lost and the bytes are there, or another writer was quicker.
                    let tail = self.tail_bytes().await?;
                    if tail.is_none() && self.position > 0 {
                        return Err(LedgerError::Closed(format!("`{name}` was taken away meanwhile")));
                    }
                    let tail = tail.unwrap_or_default();
                    self.take_in(&tail)?;
                    if tail.windows(bytes.len().max(1)).any(|window| window == bytes) {
                        return Ok(());
                    }
                }
                Err(error) => return Err(self.failed(error)),
            }
        }
        Err(LedgerError::Closed("other writers were always quicker".to_owned()))
    }
}

fn answer(batch: Vec<Write>, result: Result<(), LedgerError>) {
    let why = result.as_ref().err().map(|error| chain(error));
    let mut first = Some(result);
    for write in batch {
        let own = match (first.take(), &why) {
            (Some(result), _) => result,
            (None, Some(why)) => Err(LedgerError::Closed(why.clone())),
            (None, None) => Ok(()),
        };
        // Whoever asked may have been cancelled; the record is written all the same.
        drop(write.done.send(own));
    }
}

/// The name of a source's journal number `number`.
pub fn journal_name(source: &str, number: u32) -> BlobName {
    BlobName::new(format!("_blobferry/{source}/journal-{number:05}.ndjson")).expect("source names are legal segments")
}
