//! Asks for a pass over a source: by a message to the work queue, unless one is waiting or under way.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::desk::json;
use super::error::WorkError;
use super::message::{Message, Task};
use super::sweep::SILENCE;
use crate::model::BlobName;
use crate::retry::{Policy, retry};
use crate::run::lines::beside_report;
use crate::store::contract::{Condition, Etag, Properties, Store, StoreKind};
use crate::store::queue::Queue;

/// A pass that was asked for so long ago is asked for again, whatever waits in the queue.
const LONG_AGO: time::Duration = time::Duration::hours(24);
const MAX_BYTES: u64 = 64 << 10;

/// Whose turn at a source it is, as it was asked for last.
#[derive(Debug, Serialize, Deserialize)]
struct Turn {
    run: String,
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
}

/// What came of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The run that asked goes over the source.
    Ours,
    /// This other run was asked for before, and has not gone over the source yet.
    Joined(String),
}

/// Where passes are asked for.
pub struct Office<'a> {
    /// The state.
    pub store: &'a Arc<dyn Store>,
    /// The queue.
    pub queue: &'a Arc<dyn Queue>,
    /// How stubborn to be.
    pub policy: Policy,
}

impl Office<'_> {
    /// Whether `run` may go over `source`: it may, if nobody else was asked to who still will.
    pub async fn claim(&self, source: &str, run: &str, now: OffsetDateTime) -> Result<Asked, WorkError> {
        let name = BlobName::new(format!("_blobferry/{source}/asked")).expect("source names are legal segments");
        // Whoever was quicker is read again.
        for _ in 0..5 {
            let condition = match self.last(&name).await? {
                None => Condition::IfAbsent,
                Some((turn, _)) if turn.run == run => return Ok(Asked::Ours),
                Some((turn, etag)) if self.is_over(source, &turn, now).await? => Condition::IfMatch(etag),
                Some((turn, _)) => return Ok(Asked::Joined(turn.run)),
            };
            let bytes = json(&Turn { run: run.to_owned(), at: now });
            let md5 = <md5::Md5 as md5::Digest>::digest(&bytes).into();
            let properties = Properties { content_type: "application/json".into(), md5, metadata: [].into() };
            let put = |_| self.store.put(&name, bytes.clone(), &properties, &condition);
            match retry(&self.policy, &CancellationToken::new(), "asking for a pass", put).await {
                Ok(_) => return Ok(Asked::Ours),
                Err(error) if error.kind == StoreKind::Condition => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(WorkError::Damaged { blob: name.as_str().to_owned(), why: "others were always quicker".into() })
    }

    /// What was asked last, with its tag. What cannot be read counts as nothing asked, and is replaced.
    async fn last(&self, name: &BlobName) -> Result<Option<(Turn, Etag)>, WorkError> {
        let get = |_| self.store.get(name, 0, MAX_BYTES);
        let found = match retry(&self.policy, &CancellationToken::new(), "looking who asked", get).await {
            Err(error) if error.kind == StoreKind::NoContainer => None,
            found => found?,
        };
        let unreadable = || Turn { run: String::new(), at: OffsetDateTime::UNIX_EPOCH };
        Ok(found.map(|(info, bytes)| (serde_json::from_slice(&bytes).unwrap_or_else(|_| unreadable()), info.etag)))
    }

    /// Whether the run of `turn` has gone over the source, or will not any more.
    async fn is_over(&self, source: &str, turn: &Turn, now: OffsetDateTime) -> Result<bool, WorkError> {
        if turn.run.is_empty() || now - turn.at > LONG_AGO {
            return Ok(true);
        }
        let report = beside_report(source, &turn.run, "json");
        if retry(&self.policy, &CancellationToken::new(), "looking for a report", |_| self.store.head(&report)).await?.is_some() {
            return Ok(true);
        }
        // Its message is lost: nothing waits, and nothing is under way.
        let silent = now - turn.at > SILENCE && self.queue.length().await? == 0;
        let under_way = || crate::ledger::under_way(self.store.clone(), source, self.policy, CancellationToken::new());
        Ok(silent && under_way().await?.is_none())
    }

    /// Sends for the plan of `source`. Only after [`Office::claim`], and when the run's record is written.
    pub async fn send(&self, source: &str, run: &str) -> Result<(), WorkError> {
        let text = Message { run: run.to_owned(), source: source.to_owned(), task: Task::Plan }.to_text();
        let send = |_| self.queue.send(&text, std::time::Duration::ZERO);
        Ok(retry(&self.policy, &CancellationToken::new(), "sending a message", send).await?)
    }
}
