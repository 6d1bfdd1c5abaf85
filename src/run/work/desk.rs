//! What all work on a pass in pieces is done with: the run, the source, the queue, blobs of state.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use md5::{Digest, Md5};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::cutting::Sizes;
use super::error::WorkError;
use super::live::State;
use super::message::{Message, PieceId, Task};
use super::names::{Folder, Kind};
use super::piece::{Outcome, Plan, SCHEMA};
use crate::model::BlobName;
use crate::report::SourceReport;
use crate::retry::retry;
use crate::run::Options;
use crate::run::context::Run;
use crate::run::settings::Source;
use crate::run::{lines, pass};
use crate::store::contract::{Condition, Metadata, Properties, StoreKind};
use crate::store::queue::Queue;

/// The largest blob of state that is read.
const MAX_BYTES: u64 = 256 << 20;

/// See the module.
pub struct Desk {
    pub run: Arc<Run>,
    pub source: Source,
    /// `None` where nothing is ever sent.
    pub queue: Option<Arc<dyn Queue>>,
    pub sizes: Sizes,
}

impl Desk {
    pub fn new(options: Options, source: Source, queue: Option<Arc<dyn Queue>>, sizes: Sizes, run: &str) -> Self {
        let run = super::super::begin(Options { id: run.to_owned(), ..options });
        Self { run: Arc::new(run), source, queue, sizes }
    }

    /// The desk of another run, for whoever closes what that one left.
    pub fn over(run: &Run, source: Source, of: &str) -> Self {
        Self { run: Arc::new(run.as_if(of)), source, queue: None, sizes: Sizes::default() }
    }

    /// The folder of the pass `pass`.
    pub fn folder(&self, pass: &str) -> Result<Folder, WorkError> {
        let unknown = || WorkError::Damaged { blob: crate::model::printable(pass.as_bytes()), why: "it is no name of a pass".into() };
        Folder::of(&self.source.name, pass).ok_or_else(unknown)
    }

    /// The bytes of a blob of state.
    pub async fn read(&self, name: &BlobName) -> Result<Option<Bytes>, WorkError> {
        let once = |_| self.run.store.get(name, 0, MAX_BYTES);
        let found = retry(&self.run.policy, &never(), "reading the state of a pass", once).await?;
        Ok(found.map(|(_, bytes)| bytes))
    }

    /// Writes a blob of state, over what is there.
    pub async fn write(&self, name: &BlobName, bytes: Bytes, metadata: Metadata) -> Result<(), WorkError> {
        self.put(name, bytes, metadata, &Condition::Always).await.map(|_| ())
    }

    /// Writes a blob of state unless it is there; whether it was written now. It may be ours all the same: an answer
    /// can be lost.
    pub async fn write_once(&self, name: &BlobName, bytes: Bytes, metadata: Metadata) -> Result<bool, WorkError> {
        self.put(name, bytes, metadata, &Condition::IfAbsent).await
    }

    async fn put(&self, name: &BlobName, bytes: Bytes, metadata: Metadata, condition: &Condition) -> Result<bool, WorkError> {
        let properties = Properties { content_type: "application/json".into(), md5: Md5::digest(&bytes).into(), metadata };
        let once = |_| self.run.store.put(name, bytes.clone(), &properties, condition);
        match retry(&self.run.policy, &never(), "writing the state of a pass", once).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind == StoreKind::Condition => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes blobs of state. What stays is removed later.
    pub async fn remove(&self, names: impl IntoIterator<Item = BlobName>) {
        for name in names {
            if let Err(error) = self.run.store.delete(&name).await {
                tracing::debug!(blob = name.as_str(), error = %crate::model::chain(&error), "A blob of a pass that is over stays for now.");
            }
        }
    }

    /// The plan of a pass; `None` if it is over.
    pub async fn plan(&self, folder: &Folder) -> Result<Option<Plan>, WorkError> {
        let name = folder.blob(Kind::Plan);
        let Some(bytes) = self.read(&name).await? else { return Ok(None) };
        let plan: Plan = self.parse(&name, &bytes)?;
        if plan.schema > SCHEMA {
            let why = format!("it was written by a later release (schema {}, this one knows {SCHEMA})", plan.schema);
            return Err(WorkError::Damaged { blob: name.as_str().to_owned(), why });
        }
        Ok(Some(plan))
    }

    /// What became of a piece, if somebody has written that.
    pub async fn result(&self, folder: &Folder, id: PieceId) -> Result<Option<Outcome>, WorkError> {
        let name = folder.blob(Kind::Result(id));
        match self.read(&name).await? {
            Some(bytes) => self.parse(&name, &bytes).map(Some),
            None => Ok(None),
        }
    }

    /// JSON of a blob of state.
    pub fn parse<T: serde::de::DeserializeOwned>(&self, name: &BlobName, bytes: &[u8]) -> Result<T, WorkError> {
        serde_json::from_slice(bytes).map_err(|error| WorkError::Damaged { blob: name.as_str().to_owned(), why: error.to_string() })
    }

    /// How a pass stands, by one listing.
    pub async fn state(&self, folder: &Folder) -> Result<State, WorkError> {
        let once = |_| State::read(&*self.run.store, folder);
        Ok(retry(&self.run.policy, &never(), "listing the state of a pass", once).await?)
    }

    /// Puts a message for this run and source into the queue.
    pub async fn send(&self, task: Task, delay: Duration) -> Result<(), WorkError> {
        let Some(queue) = &self.queue else { return Ok(()) };
        let message = Message { run: self.run.id.clone(), source: self.source.name.clone(), task };
        let text = message.to_text();
        Ok(retry(&self.run.policy, &never(), "sending a message", |_| queue.send(&text, delay)).await?)
    }

    /// Whether the pass of this run over this source is over: its report is there.
    pub async fn is_over(&self) -> Result<bool, WorkError> {
        let name = lines::beside_report(&self.source.name, &self.run.id, "json");
        let found = retry(&self.run.policy, &never(), "looking for a report", |_| self.run.store.head(&name)).await?;
        Ok(found.is_some())
    }

    /// Writes the report of this run's pass, unless it is there.
    pub async fn report(&self, report: &SourceReport, began: time::OffsetDateTime) -> Result<(), WorkError> {
        let run = &self.run;
        match pass::write_report(run, &self.source, report, began, &Condition::IfAbsent).await {
            Err(error) if error.kind != StoreKind::Condition => Err(error.into()),
            _ => {
                crate::run::watch::source_ended(report);
                run.progress.finished(report);
                Ok(())
            }
        }
    }
}

/// Work on state goes on when the run is told to stop: it is little, and what was done must be told.
pub fn never() -> CancellationToken {
    CancellationToken::new()
}

/// `value` as it is stored.
pub fn json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).expect("state holds nothing that JSON cannot").into()
}

/// Metadata of these pairs.
pub fn metadata<const N: usize>(pairs: [(&str, String); N]) -> Metadata {
    BTreeMap::from(pairs.map(|(name, value)| (name.to_owned(), value)))
}
