//! One piece of a pass in the hands of a worker: its blobs, its messages, its journal.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::error::WorkError;
use super::message::{PieceId, Task};
use super::names::{JobFolder, JobKind};
use super::outcome::Came;
use super::pass_store::{PassStore, metadata, never};
use super::piece::{Header, Item, PieceOutcome, PiecePlan, parse};
use super::progress::{AT, JobCounts, PassProgress, REST, stamp};
use crate::ledger::error::LedgerError;
use crate::ledger::{BlobPlace, Ledger, Recorded};
use crate::model::BlobName;
use crate::pass::destination;
use crate::pass::lease::{self, LeaseGuard};
use crate::pass::steps;
use crate::report::SourceReport;
use crate::store::contract::Leased;
use crate::store::holder::Holder;
use crate::transfer::context::Pass;
use crate::transfer::settings::Source;

/// See the module.
pub(crate) struct PieceJob<'a> {
    /// The run, the source and the queue.
    pub pass_store: &'a PassStore,
    /// The plan of the pass.
    pub plan: PiecePlan,
    /// The folder of the pass.
    pub folder: JobFolder,
    /// Which piece this is.
    pub id: PieceId,
}

impl<'a> PieceJob<'a> {
    /// The piece `id` of the pass `pass`; `None` where the pass has no plan, so is over.
    pub async fn find(
        pass_store: &'a PassStore,
        pass: &str,
        id: PieceId,
    ) -> Result<Option<Self>, WorkError> {
        let folder = pass_store.folder(pass)?;
        let plan = pass_store.plan(&folder).await?;
        Ok(plan.map(|plan| Self { pass_store, plan, folder, id }))
    }

    /// The source of the pass.
    pub fn source(&self) -> &'a Source {
        &self.pass_store.source
    }

    /// What is known of all pieces of the pass.
    pub async fn progress(&self) -> Result<PassProgress, WorkError> {
        self.pass_store.state(&self.folder).await
    }

    /// Whether the piece has a result.
    pub(crate) async fn is_done(&self) -> Result<bool, WorkError> {
        Ok(self.progress().await?.results.contains_key(&self.id))
    }

    /// The files of the piece: by its plan, or by the result of the part before it. `None` where
    /// they are not stored.
    pub async fn content(&self) -> Result<Option<Result<(Header, Vec<Item>), String>>, WorkError> {
        let bytes = match self.id.before() {
            None => self.pass_store.read(&self.blob()).await?,
            Some(before) => {
                let result = self.pass_store.result(&self.folder, before).await?;
                result.and_then(|result| result.rest).map(Bytes::from)
            }
        };
        Ok(bytes.map(|bytes| parse(&bytes)))
    }

    /// The blob that holds the files of the piece.
    pub fn blob(&self) -> BlobName {
        self.folder.blob(JobKind::Piece(self.id))
    }

    /// An error about the blob of the piece.
    pub fn damaged(&self, why: impl Into<String>) -> WorkError {
        WorkError::Damaged { blob: self.blob().as_str().to_owned(), why: why.into() }
    }

    /// The name of the piece in its journal.
    pub fn name(&self) -> String {
        format!("{}/{}", self.plan.pass, self.id)
    }

    /// How many logins the piece uses.
    pub fn logins(&self) -> usize {
        self.plan.logins.min(self.source().connections).max(1)
    }

    /// Puts the message back. A piece never fails in order to wait.
    pub async fn later(&self, delay: Duration, why: &str) -> Result<Came, WorkError> {
        self.send(self.id, delay).await?;
        Ok(Came::Later(format!(
            "piece {} of `{}` waits {} s: {why}",
            self.id,
            self.source().name,
            delay.as_secs()
        )))
    }

    /// Sends the message for a piece of the same pass.
    pub async fn send(&self, piece: PieceId, delay: Duration) -> Result<(), WorkError> {
        self.pass_store.send(Task::Piece { pass: self.plan.pass.clone(), piece }, delay).await
    }

    /// The lease of the piece, held for `who` until the guard is over; `None` where another worker
    /// has it.
    pub async fn lease(
        &self,
        who: &str,
        early: Duration,
        lost: &CancellationToken,
    ) -> Result<Option<LeaseGuard>, WorkError> {
        let run = &self.pass_store.run;
        let blob = self.folder.blob(JobKind::Lease(self.id));
        let Leased::Held(lease) = lease::ask(run, &blob, &Holder::new(who)).await? else {
            return Ok(None);
        };
        let what = format!("piece {} of pass {}", self.id, self.plan.pass);
        Ok(Some(LeaseGuard::keep_until(&run.leases, lease, what, early, lost.clone())))
    }

    /// The journal of the piece, and what an earlier worker has recorded in it.
    pub async fn ledger(&self, journal: &str) -> Result<(Ledger, Vec<Recorded>), LedgerError> {
        let run = &self.pass_store.run;
        let (store, name) = (run.store.clone(), self.name());
        let source = &self.source().name;
        Ledger::open_piece(store, source, journal, &name, run.policy, never()).await
    }

    /// The pass of the piece: its own journal, its own logins; and what an earlier worker has
    /// recorded. An error is the report of a source that cannot be worked on.
    pub async fn open(
        &self,
        journal: &str,
    ) -> Result<(Arc<Pass>, Vec<Recorded>), Box<SourceReport>> {
        let now = BlobPlace::of(self.pass_store.run.store.as_ref());
        let moved = |before| destination::moved_since_planned(self.source(), before, &now);
        if let Some(refused) = self.plan.place.as_ref().and_then(moved) {
            return Err(Box::new(refused));
        }
        let recorded = Mutex::new(Vec::new());
        let ledger = async {
            let (mut ledger, before) = self.ledger(journal).await?;
            ledger.set_unclean(self.plan.unclean);
            if self.plan.restless {
                ledger.set_restless();
            }
            *recorded.lock().expect("no code panics while it holds this lock") = before;
            Ok(ledger)
        };
        // Its slots are for its own logins.
        let source = Source { connections: self.logins(), login: None, ..self.source().clone() };
        let run = self.pass_store.run.clone();
        let pass = steps::open_with(run, source, ledger).await.map_err(Box::new)?;
        let recorded = recorded.into_inner().expect("no code panics while it holds this lock");
        Ok((Arc::new(pass), recorded))
    }

    /// Writes what became of the piece, unless another worker has. Whether this result is stored.
    pub(crate) async fn write_result(&self, outcome: &PieceOutcome) -> Result<bool, WorkError> {
        let report = &outcome.report;
        let counts = JobCounts {
            files: report.listed,
            ingested: report.ingested,
            failed: report.failed,
            bytes: report.bytes,
        };
        let mut told = metadata([
            (AT, stamp(outcome.ended)),
            (REST, u8::from(outcome.rest.is_some()).to_string()),
        ]);
        told.extend(counts.pairs().map(|(name, value)| (name.to_owned(), value)));
        let blob = self.folder.blob(JobKind::Result(self.id));
        self.pass_store.write_json_once(&blob, outcome, told).await
    }
}
