//! What all work on a pass in pieces is done with: the run, the source, the queue, blobs of state.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::cutting::Sizes;
use super::error::WorkError;
use super::message::{Message, PieceId, Task};
use super::names::{JobFolder, JobKind};
use super::piece::{PieceOutcome, PiecePlan};
use super::progress::PassProgress;
use crate::model::BlobName;
use crate::pass::stored_report::write_report;
use crate::report::SourceReport;
use crate::runtime::retry::retry;
use crate::state::paths::StatePaths;
use crate::store::contract::{Condition, Metadata};
use crate::store::queue::Queue;
use crate::transfer::context::Run;
use crate::transfer::options::{Options, begin};
use crate::transfer::settings::Source;

/// The largest blob of state that is read.
const MAX_BYTES: u64 = 256 << 20;

/// See the module.
pub struct PassStore {
    pub run: Arc<Run>,
    pub source: Source,
    /// `None` where nothing is ever sent.
    pub queue: Option<Arc<dyn Queue>>,
    pub sizes: Sizes,
}

impl PassStore {
    pub fn new(
        options: Options,
        source: Source,
        queue: Option<Arc<dyn Queue>>,
        sizes: Sizes,
        run: &str,
    ) -> Self {
        let store = options.destinations.of(source.destination.as_deref(), &options.store);
        let options = Options { id: run.to_owned(), store, ..options };
        let run = begin(options, std::slice::from_ref(&source));
        Self { run: Arc::new(run), source, queue, sizes }
    }

    /// The state of a pass of another run, for the run that closes what that one left.
    pub fn over(run: &Run, source: Source, of: &str) -> Self {
        Self { run: Arc::new(run.as_if(of)), source, queue: None, sizes: Sizes::default() }
    }

    /// The folder of the pass `pass`.
    pub fn folder(&self, pass: &str) -> Result<JobFolder, WorkError> {
        let unknown = || WorkError::Damaged {
            blob: crate::model::printable(pass.as_bytes()),
            why: "it is no name of a pass".into(),
        };
        JobFolder::of(&self.source.name, pass).ok_or_else(unknown)
    }

    /// The bytes of a blob of state.
    pub async fn read(&self, name: &BlobName) -> Result<Option<Bytes>, WorkError> {
        let found = self.run.state.get(name, MAX_BYTES, "reading the state of a pass").await?;
        Ok(found.map(|(_, bytes)| bytes))
    }

    /// Writes names of files, over what is there.
    pub async fn write(&self, name: &BlobName, bytes: Bytes) -> Result<(), WorkError> {
        let doing = "writing the state of a pass";
        self.run.state.put(name, bytes, Metadata::new(), &Condition::Always, doing).await?;
        Ok(())
    }

    /// Writes JSON, over what is there.
    pub(crate) async fn write_json(
        &self,
        name: &BlobName,
        value: &impl Serialize,
        metadata: Metadata,
    ) -> Result<(), WorkError> {
        let doing = "writing the state of a pass";
        self.run.state.put_json_with(name, value, metadata, &Condition::Always, doing).await?;
        Ok(())
    }

    /// Writes JSON unless the blob is there; whether it is known to be this. An answer can be lost,
    /// so it may be ours all the same.
    pub(crate) async fn write_json_once(
        &self,
        name: &BlobName,
        value: &impl Serialize,
        metadata: Metadata,
    ) -> Result<bool, WorkError> {
        let doing = "writing the state of a pass";
        let condition = Condition::IfAbsent;
        Ok(self.run.state.put_json_with(name, value, metadata, &condition, doing).await?.is_some())
    }

    /// Removes blobs of state. What stays is removed later.
    pub async fn remove(&self, names: impl IntoIterator<Item = BlobName>) {
        for name in names {
            if let Err(error) = self.run.store.delete(&name).await {
                tracing::debug!(blob = name.as_str(), error = %crate::model::chain(&error), "A \
                    blob of a pass that is over stays for now.");
            }
        }
    }

    /// The plan of a pass; `None` if it is over.
    pub async fn plan(&self, folder: &JobFolder) -> Result<Option<PiecePlan>, WorkError> {
        let name = folder.blob(JobKind::Plan);
        Ok(self
            .run
            .state
            .get_json(&name, MAX_BYTES, "reading the plan of a pass")
            .await?
            .map(|(plan, _)| plan))
    }

    /// What became of a piece, if somebody has written that.
    pub async fn result(
        &self,
        folder: &JobFolder,
        id: PieceId,
    ) -> Result<Option<PieceOutcome>, WorkError> {
        let name = folder.blob(JobKind::Result(id));
        Ok(self
            .run
            .state
            .get_json(&name, MAX_BYTES, "reading the result of a piece")
            .await?
            .map(|(result, _)| result))
    }

    /// How a pass stands, by one listing.
    pub async fn state(&self, folder: &JobFolder) -> Result<PassProgress, WorkError> {
        let once = |_| PassProgress::read(&*self.run.store, folder);
        Ok(retry(&self.run.policy, &never(), "listing the state of a pass", once).await?)
    }

    /// Puts a message for this run and source into the queue.
    pub async fn send(&self, task: Task, delay: Duration) -> Result<(), WorkError> {
        let Some(queue) = &self.queue else { return Ok(()) };
        let message = Message::new(&self.run.id, &self.source.name, task);
        let text = message.to_text();
        Ok(retry(&self.run.policy, &never(), "sending a message", |_| queue.send(&text, delay))
            .await?)
    }

    /// Whether a pass of this run over this source is over: its report is there.
    pub async fn is_over(&self) -> Result<bool, WorkError> {
        let name = StatePaths::of(&self.source.name).report(&self.run.id);
        Ok(self.run.state.head(&name, "looking for a report").await?.is_some())
    }

    /// Writes the report of this run's pass, unless it is there.
    pub async fn report(
        &self,
        report: &mut SourceReport,
        began: time::OffsetDateTime,
    ) -> Result<(), WorkError> {
        write_report(&self.run, &self.source, report, began, &Condition::IfAbsent).await?;
        self.tell(report).await;
        Ok(())
    }

    /// Tells those who watch that the pass has ended.
    pub async fn tell(&self, report: &SourceReport) {
        crate::transfer::events::source_ended(&self.run, report).await;
        self.run.progress.finished(report);
    }
}

/// Work on state goes on when the run is told to stop: it is little, and what was done must be
/// told.
pub fn never() -> CancellationToken {
    CancellationToken::new()
}

/// Metadata of these pairs.
pub fn metadata<const N: usize>(pairs: [(&str, String); N]) -> Metadata {
    BTreeMap::from(pairs.map(|(name, value)| (name.to_owned(), value)))
}
