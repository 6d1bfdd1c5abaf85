//! The heartbeat of a worker at its piece, with the counts of what it has done.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use md5::{Digest, Md5};
use time::OffsetDateTime;
use tokio::time::sleep;

use super::pass_store::metadata;
use super::progress::{AT, JobCounts, stamp};
use crate::model::{BlobName, chain};
use crate::report::{Defer, Outcome};
use crate::store::contract::{Condition, Properties};
use crate::transfer::context::Run;

/// A worker says so often that it is at its piece.
const BEAT: Duration = Duration::from_secs(20);

/// Counts the files of a piece while a worker is at it.
#[derive(Debug, Default)]
pub struct PieceCounter {
    files: AtomicU64,
    ingested: AtomicU64,
    failed: AtomicU64,
    bytes: AtomicU64,
}

impl PieceCounter {
    /// One more file that came to `outcome`.
    pub fn add(&self, outcome: &Outcome) {
        match outcome {
            // It is counted by a worker that goes on with it.
            Outcome::Deferred(Defer::Interrupted) => return,
            Outcome::Ingested(ingested) => {
                self.ingested.fetch_add(1, Ordering::Relaxed);
                self.bytes.fetch_add(ingested.bytes, Ordering::Relaxed);
            }
            Outcome::Failed(_) => drop(self.failed.fetch_add(1, Ordering::Relaxed)),
            _ => {}
        }
        self.files.fetch_add(1, Ordering::Relaxed);
    }

    /// So many files failed before they were begun.
    pub(crate) fn add_all(&self, failed: usize) {
        self.files.fetch_add(failed as u64, Ordering::Relaxed);
        self.failed.fetch_add(failed as u64, Ordering::Relaxed);
    }

    fn counts(&self) -> JobCounts {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        JobCounts {
            files: of(&self.files),
            ingested: of(&self.ingested),
            failed: of(&self.failed),
            bytes: of(&self.bytes),
        }
    }
}

/// Writes that a worker is at its piece, at once and then 20 seconds.
pub(crate) async fn beat(run: Arc<Run>, name: BlobName, counting: Arc<PieceCounter>) {
    loop {
        let mut metadata = metadata([(AT, stamp(OffsetDateTime::now_utc()))]);
        metadata.extend(counting.counts().pairs().map(|(name, value)| (name.to_owned(), value)));
        let md5 = Md5::digest([]).into();
        let properties = Properties {
            content_type: "text/plain".into(),
            md5,
            metadata,
            placement: Default::default(),
        };
        // Not tried again: the next beat is the next try.
        if let Err(error) =
            run.store.put(&name, Bytes::new(), &properties, &Condition::Always).await
        {
            tracing::debug!(blob = name.as_str(), error = %chain(&error), "A sign of life could \
                not be written.");
        }
        sleep(BEAT).await;
    }
}
