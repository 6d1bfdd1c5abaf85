//! The blobs of one ledger in the store: named, checked, tried again.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use md5::{Digest, Md5};
use tokio_util::sync::CancellationToken;

use crate::ledger::error::{BadState, LedgerError, SCHEMA};
use crate::ledger::head::{Head, Piece};
use crate::ledger::record::crc;
use crate::model::BlobName;
use crate::runtime::retry::{Policy, retry};
use crate::state::paths::StatePaths;
use crate::store::contract::{Condition, Etag, Properties, Store, StoreError, StoreKind};

/// More than any blob of ours has.
const MAX_BYTES: u64 = 2 << 30;

/// Where the ledger of a source is kept.
#[derive(Clone, Debug)]
pub struct LedgerBlobs {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The source's name.
    pub source: String,
    /// How stubborn to be.
    pub policy: Policy,
    /// Ends waits between tries.
    pub cancel: CancellationToken,
}

/// A race with other writers, as one of them sees it. `T` is what another writer changes: a tag, or
/// a length. A writer that is refused reads it again; if it is as it was and the store refuses once
/// more, nobody was quicker: the store has another reason, which asking again does not change.
#[derive(Debug, Default)]
pub struct Race<T>(Option<T>);

impl<T: PartialEq> Race<T> {
    /// The store has refused what was written under `seen`. An error at the second time under the
    /// same.
    pub fn lost(
        &mut self,
        shelf: &LedgerBlobs,
        seen: T,
        cause: StoreError,
    ) -> Result<(), LedgerError> {
        if self.0.as_ref() == Some(&seen) {
            return Err(shelf.failed(cause.into_no_race()));
        }
        self.0 = Some(seen);
        Ok(())
    }
}

/// What became of an append.
#[derive(Debug)]
pub enum Appended {
    /// It is there.
    Landed,
    /// The journal is not as long as was thought, says the store.
    Refused(StoreError),
}

/// A head, and the tag to replace it under.
pub(crate) type Tagged = (Head, Etag);

impl LedgerBlobs {
    /// The names of the source's state.
    pub fn paths(&self) -> StatePaths<'_> {
        StatePaths::of(&self.source)
    }

    /// The folder that the ledger's blobs are in.
    pub fn folder(&self) -> String {
        self.paths().ledger_folder()
    }

    /// A blob's whole name.
    pub fn blob(&self, name: &str) -> Result<BlobName, LedgerError> {
        self.paths().ledger(name).map_err(|error| {
            self.bad(BadState::Blob {
                blob: format!("{}{name}", self.folder()),
                why: error.to_string(),
            })
        })
    }

    fn failed(&self, cause: StoreError) -> LedgerError {
        LedgerError::Store { source_name: self.source.clone(), cause: Box::new(cause) }
    }

    /// Bad state of this ledger.
    pub fn bad(&self, cause: BadState) -> LedgerError {
        LedgerError::bad(&self.source, cause)
    }

    /// A blob that should be there and is not.
    pub fn missing(&self, name: &str) -> LedgerError {
        self.bad(BadState::Missing { blob: format!("{}{name}", self.folder()) })
    }

    /// A blob's bytes from `start` on.
    pub async fn get(
        &self,
        blob: &BlobName,
        start: u64,
    ) -> Result<Option<(Etag, Bytes)>, LedgerError> {
        let once = |_| self.store.get(blob, start, MAX_BYTES);
        match retry(&self.policy, &self.cancel, "reading the ledger", once).await {
            Ok(found) => Ok(found.map(|(info, bytes)| (info.etag, bytes))),
            // A plan comes before the first run has made the container: it holds nothing yet.
            Err(cause) if cause.kind == StoreKind::NoContainer => Ok(None),
            Err(cause) => Err(self.failed(cause)),
        }
    }

    /// A blob of a snapshot, checked.
    pub async fn piece(&self, piece: &Piece) -> Result<Bytes, LedgerError> {
        let blob = self.blob(&piece.name)?;
        let (_, bytes) = self.get(&blob, 0).await?.ok_or_else(|| self.missing(&piece.name))?;
        piece.verify(&blob, &bytes).map_err(|bad| self.bad(bad))?;
        Ok(bytes)
    }

    /// The head; `None` if there is none.
    pub async fn head(&self) -> Result<Option<Tagged>, LedgerError> {
        let blob = self.blob(HEAD)?;
        let Some((etag, bytes)) = self.get(&blob, 0).await? else { return Ok(None) };
        let head = Head::parse(&blob, &bytes).map_err(|bad| self.bad(bad))?;
        Ok(Some((head, etag)))
    }

    /// The tag of the head, whatever it holds.
    pub(crate) async fn head_tag(&self) -> Result<Option<Etag>, LedgerError> {
        let blob = self.blob(HEAD)?;
        let found =
            retry(&self.policy, &self.cancel, "looking at the ledger", |_| self.store.head(&blob))
                .await;
        match found {
            Err(cause) if cause.kind == StoreKind::NoContainer => Ok(None),
            found => {
                found.map(|found| found.map(|info| info.etag)).map_err(|cause| self.failed(cause))
            }
        }
    }

    /// How long a blob of the ledger is; `None` if it is not there.
    pub async fn length(&self, name: &str) -> Result<Option<u64>, LedgerError> {
        let blob = self.blob(name)?;
        let found =
            retry(&self.policy, &self.cancel, "looking at the ledger", |_| self.store.head(&blob))
                .await;
        found.map(|found| found.map(|info| info.size)).map_err(|cause| self.failed(cause))
    }

    /// Puts `head` in the place of the one with this tag (`None`: there is none). `None` if another
    /// writer was quicker, or if this one was and its answer was lost: the caller reads the head
    /// again and sees. `race` is the one that this caller is in: it ends when the store refuses
    /// twice under the same tag.
    pub(crate) async fn swap(
        &self,
        head: &Head,
        under: Option<&Etag>,
        race: &mut Race<Option<Etag>>,
    ) -> Result<Option<Etag>, LedgerError> {
        let condition = under.map_or(Condition::IfAbsent, |etag| Condition::IfMatch(etag.clone()));
        // An older release must refuse what this one may have written; but while a pass is under
        // way that it opened, its workers would give up their pieces.
        let schema = if head.pass.is_some() { head.schema } else { SCHEMA };
        let head = Head { schema, ..head.clone() };
        match self
            .put(&self.blob(HEAD)?, head.to_bytes().into(), "application/json", &condition)
            .await
        {
            Ok(etag) => Ok(Some(etag)),
            Err(cause) if cause.kind == StoreKind::Condition => {
                race.lost(self, under.cloned(), cause).map(|()| None)
            }
            Err(cause) => Err(self.failed(cause)),
        }
    }

    /// Writes a blob of a snapshot under a name that nobody else has.
    pub(crate) async fn put_piece(
        &self,
        name: String,
        bytes: Bytes,
        entries: usize,
    ) -> Result<Piece, LedgerError> {
        let piece =
            Piece { bytes: bytes.len() as u64, crc: crc(&bytes), entries: entries as u64, name };
        match self
            .put(&self.blob(&piece.name)?, bytes, "application/octet-stream", &Condition::IfAbsent)
            .await
        {
            Ok(_) => Ok(piece),
            // The name is random: it is there because an answer was lost.
            Err(cause) if cause.kind == StoreKind::Condition => Ok(piece),
            Err(cause) => Err(self.failed(cause)),
        }
    }

    async fn put(
        &self,
        blob: &BlobName,
        bytes: Bytes,
        content_type: &str,
        condition: &Condition,
    ) -> Result<Etag, StoreError> {
        let properties = Properties {
            content_type: content_type.to_owned(),
            md5: Md5::digest(&bytes).into(),
            metadata: [].into(),
            placement: Default::default(),
        };
        retry(&self.policy, &self.cancel, "writing the ledger", |_| {
            self.store.put(blob, bytes.clone(), &properties, condition)
        })
        .await
    }

    /// Appends to a journal that is `position` bytes long. Refused if it is not, which is also so
    /// when the answer to a first try was lost: the caller reads the journal's end and sees.
    pub async fn append(
        &self,
        blob: &BlobName,
        bytes: Bytes,
        position: u64,
    ) -> Result<Appended, LedgerError> {
        let once = |_| self.store.append(blob, bytes.clone(), position);
        match retry(&self.policy, &self.cancel, "writing the ledger", once).await {
            Ok(_) => Ok(Appended::Landed),
            Err(cause) if cause.kind == StoreKind::Condition => Ok(Appended::Refused(cause)),
            Err(cause) => Err(self.failed(cause)),
        }
    }

    /// Makes a journal that begins with `bytes`, under a name from `name`: another one after each
    /// try that may have its effect later. What such a try leaves behind is an orphan.
    pub(crate) async fn append_new(
        &self,
        name: impl Fn() -> String,
        bytes: Bytes,
    ) -> Result<String, LedgerError> {
        let current = Mutex::new(name());
        let lock = || current.lock().expect("no code panics while it holds this lock");
        let (lock, fresh) = (&lock, &name);
        let once = |_| {
            let bytes = bytes.clone();
            async move {
                let name = lock().clone();
                let blob = self.paths().ledger(&name).expect("our own names are legal segments");
                let made = self.store.append(&blob, bytes, 0).await;
                if made.as_ref().is_err_and(|error| !error.had_no_effect()) {
                    *lock() = fresh();
                }
                made.map(|_| name)
            }
        };
        match retry(&self.policy, &self.cancel, "writing the ledger", once).await {
            Ok(name) => Ok(name),
            Err(cause) => Err(self.failed(cause)),
        }
    }

    /// Removes blobs that nothing names any more. What stays is an orphan, and removed by a later
    /// run.
    pub async fn remove(&self, blobs: Vec<BlobName>) {
        for blob in blobs {
            if let Err(error) = self.store.delete(&blob).await {
                tracing::debug!(source = self.source, error = %crate::model::chain(&error), "An \
                    old blob of the ledger stays for now.");
            }
        }
    }

    /// As [`LedgerBlobs::remove`], by names in the ledger's folder.
    pub(crate) async fn remove_named(&self, names: Vec<String>) {
        self.remove(names.iter().filter_map(|name| self.blob(name).ok()).collect()).await;
    }

    /// Names of all blobs in the ledger's folder, without the folder.
    pub async fn names(&self) -> Result<Vec<String>, LedgerError> {
        let folder = self.folder();
        let once = |_| async {
            let mut names = Vec::new();
            let below = &mut |info: crate::store::contract::BlobInfo| {
                names.extend(info.name.strip_prefix(&folder).map(str::to_owned))
            };
            self.store.list(&folder, below).await.map(|()| names)
        };
        retry(&self.policy, &self.cancel, "listing the ledger", once)
            .await
            .map_err(|cause| self.failed(cause))
    }
}

/// The head's name in the ledger's folder.
pub const HEAD: &str = "head.json";
