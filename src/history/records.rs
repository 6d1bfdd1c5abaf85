//! Records of runs in the store.

use std::time::Duration as Wait;

use serde::de::DeserializeOwned;
use serde_json::Value;
use time::{Duration, OffsetDateTime};

use super::record::RunRecord;
use crate::model::{BlobName, chain};
use crate::state::paths::{RUNS, run_of_record, run_record, runs_of_day};
use crate::state::store::{StateError, StateStore};
use crate::store::contract::{BlobInfo, Condition, Etag, StoreError, StoreKind};

/// A record is smaller than this by far.
const MAX_BYTES: u64 = 64 << 20;
/// How often another writer of a record may be quicker.
const MAX_OVERTAKEN: u32 = 100;

/// A record after a change.
#[derive(Clone, Debug)]
pub struct Changed {
    /// As it stands now.
    pub record: RunRecord,
    /// Whether this change ended the run: of all who tell of its end, one is told so.
    pub has_ended: bool,
}

/// Records of runs, as the store holds them.
#[derive(Clone)]
pub struct Records {
    state: StateStore,
}

impl Records {
    /// In `state`.
    pub fn new(state: StateStore) -> Self {
        Self { state }
    }

    /// Where they are.
    pub fn state(&self) -> &StateStore {
        &self.state
    }

    /// Writes `record`, over what was written of that run before. A missing container is made, if
    /// that is allowed.
    pub async fn put(&self, record: &RunRecord) -> Result<(), StoreError> {
        let name = run_record(&record.id).expect("records carry ids of our own making");
        let put = || {
            let what = "writing the record of a run";
            self.state.put_sealed_json(&name, record, &Condition::Always, what)
        };
        match put().await {
            Err(error) if error.kind == StoreKind::NoContainer => {
                self.state.store().prepare().await?;
                put().await.map(drop)
            }
            result => result.map(drop),
        }
    }

    /// The record as it is stored; one that cannot be read is told of in the log.
    pub async fn read(&self, name: &BlobName) -> Result<Option<RunRecord>, StoreError> {
        self.read_as(name).await
    }

    /// As [`Records::read`], as much of it as `T` holds.
    pub(crate) async fn read_as<T: DeserializeOwned>(
        &self,
        name: &BlobName,
    ) -> Result<Option<T>, StoreError> {
        match self.state.get_json(name, MAX_BYTES, "reading the record of a run").await {
            Ok(found) => Ok(found.map(|(record, _)| record)),
            Err(StateError::Store(error)) => Err(error),
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(
                    blob = name.as_str(),
                    error,
                    "A record of a run cannot be read and is passed over."
                );
                Ok(None)
            }
        }
    }

    /// The records of the last runs, newest first, at most `limit`.
    pub(crate) async fn last_names(
        &self,
        limit: usize,
        now: OffsetDateTime,
    ) -> Result<Vec<BlobName>, StoreError> {
        // Two days tell enough where runs are frequent; where they are not, all of them are few.
        let mut names = self.names(&runs_of_day((now - Duration::DAY).date())).await?;
        names.extend(self.names(&runs_of_day(now.date())).await?);
        if names.len() < limit {
            names = self.names(RUNS).await?;
        }
        names.reverse();
        names.truncate(limit);
        Ok(names)
    }

    /// The records of the runs before the run `before`, newest first, at most `limit`.
    pub(crate) async fn names_before(
        &self,
        before: &str,
        limit: usize,
    ) -> Result<Vec<BlobName>, StoreError> {
        let mut names = self.names(RUNS).await?;
        names.retain(|name| run_of_record(name.as_str()).is_some_and(|run| run < before));
        names.reverse();
        names.truncate(limit);
        Ok(names)
    }

    /// Takes `lines`, the ends of sources, into the record of the run `id`, whose work goes through
    /// the queue. The record as it is then; `None` if there is none.
    pub async fn tell(&self, id: &str, lines: &[Value]) -> Result<Option<Changed>, StateError> {
        let now = OffsetDateTime::now_utc();
        self.change(id, |record| lines.iter().for_each(|line| record.tell(line.clone(), now))).await
    }

    /// Changes the record of the run `id`; `change` is called again each time that another writer
    /// was quicker. `None` if there is no such record.
    pub(crate) async fn change(
        &self,
        id: &str,
        change: impl Fn(&mut RunRecord),
    ) -> Result<Option<Changed>, StateError> {
        let Some(name) = run_record(id) else { return Ok(None) };
        for overtaken in 0..MAX_OVERTAKEN {
            let Some((before, etag)) = self.tagged(&name).await? else { return Ok(None) };
            let mut record = before.clone();
            change(&mut record);
            // What is told already needs no write, also after an answer that was lost.
            if record.sources == before.sources && record.status == before.status {
                return Ok(Some(Changed { record, has_ended: false }));
            }
            let condition = Condition::IfMatch(etag);
            if self
                .state
                .put_sealed_json(&name, &record, &condition, "writing the record of a run")
                .await?
                .is_some()
            {
                let has_ended = before.ended.is_none() && record.ended.is_some();
                return Ok(Some(Changed { record, has_ended }));
            }
            tokio::time::sleep(Wait::from_millis(20) * overtaken.min(10)).await;
        }
        Err(StateError::Damaged {
            blob: name.as_str().to_owned(),
            why: "other writers were always quicker".into(),
        })
    }

    /// The record of the run `id` as it is stored; `None` if there is none. One that cannot be read
    /// is an error here.
    pub(crate) async fn stored(&self, id: &str) -> Result<Option<RunRecord>, StateError> {
        let Some(name) = run_record(id) else { return Ok(None) };
        Ok(self.tagged(&name).await?.map(|(record, _)| record))
    }

    async fn tagged(&self, name: &BlobName) -> Result<Option<(RunRecord, Etag)>, StateError> {
        self.state.get_json(name, MAX_BYTES, "reading the record of a run").await
    }

    /// Names of records whose names begin with `prefix`, oldest first.
    pub async fn names(&self, prefix: &str) -> Result<Vec<BlobName>, StoreError> {
        let record = |blob: BlobInfo| {
            run_of_record(&blob.name).is_some().then(|| BlobName::new(blob.name).ok()).flatten()
        };
        self.state.list(prefix, "listing records of runs", record).await
    }
}
