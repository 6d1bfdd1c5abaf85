//! Records of the handler's runs, and reports of the command line's, out of the store.

use std::sync::Arc;

use futures_util::future::try_join_all;
use futures_util::{StreamExt, TryStreamExt, stream};
use time::{Duration, OffsetDateTime};

use super::view::{Run, Stored};
use crate::handler::record::{RunRecord, blob_name};
use crate::handler::records::Records;
use crate::model::BlobName;
use crate::store::contract::{Store, StoreError};
use crate::telemetry::redact::Redactor;

/// A report is smaller than this by far.
const MAX_BYTES: u64 = 32 << 20;
/// Sources that are listed at once, and reports that are read at once.
const AT_ONCE: usize = 8;

/// Where to look.
pub struct Shelf<'a> {
    /// The store.
    pub store: &'a Arc<dyn Store>,
    /// The sources whose reports are looked for.
    pub sources: &'a [&'a str],
    /// What no page may repeat.
    pub redactor: &'a Redactor,
    /// Runs of this process: they are newer than their records.
    pub here: Vec<RunRecord>,
}

impl Shelf<'_> {
    /// The last runs, newest first, at most `limit`.
    pub async fn last(&self, limit: usize, now: OffsetDateTime) -> Result<Vec<Run>, StoreError> {
        let stored = Records::new(self.store.clone()).last(limit, now).await?;
        let mut runs: Vec<Run> = self.here.iter().map(|record| Run::of_record(record, now)).collect();
        for record in stored {
            if runs.iter().all(|run| run.id != record.id) {
                runs.push(Run::of_record(&record, now));
            }
        }
        let mut names = Vec::new();
        for sources in self.sources.chunks(AT_ONCE) {
            let listings: Vec<_> = sources.iter().map(|source| self.reports(source, limit, now)).collect();
            names.extend(try_join_all(listings).await?.into_iter().flatten());
        }
        // Names end in the run's id, which begins with the time of its start.
        names.sort_by_key(|(id, _)| std::cmp::Reverse(id.clone()));
        let mut ids: Vec<String> = names.iter().map(|(id, _)| id.clone()).collect();
        ids.dedup();
        ids.retain(|id| runs.iter().all(|run| run.id != *id));
        ids.truncate(limit);
        let wanted = names.into_iter().filter(|(id, _)| ids.contains(id)).map(|(_, name)| name);
        runs.extend(Run::of_reports(self.read(wanted.collect()).await?));
        runs.sort_by_key(|run| std::cmp::Reverse(run.started));
        runs.truncate(limit);
        Ok(runs)
    }

    /// The run `id`, if there is one.
    pub async fn one(&self, id: &str, now: OffsetDateTime) -> Result<Option<Run>, StoreError> {
        if blob_name(id).is_none() {
            return Ok(None);
        }
        if let Some(record) = self.here.iter().find(|record| record.id == id) {
            return Ok(Some(Run::of_record(record, now)));
        }
        if let Some(record) = Records::new(self.store.clone()).get(id).await? {
            return Ok(Some(Run::of_record(&record, now)));
        }
        let name = |source: &&str| BlobName::new(format!("{}{}/{id}.json", prefix(source), &id[..8])).ok();
        let reports = self.read(self.sources.iter().filter_map(name).collect()).await?;
        Ok(Run::of_reports(reports).pop())
    }

    /// Ids and names of the last reports of a source: those of two days, or all, if these are fewer than `limit`.
    async fn reports(&self, source: &str, limit: usize, now: OffsetDateTime) -> Result<Vec<(String, BlobName)>, StoreError> {
        let mut names = Vec::new();
        for day in [now - Duration::DAY, now] {
            names.extend(self.names(&format!("{}{}/", prefix(source), date(day))).await?);
        }
        if names.len() < limit {
            names = self.names(&prefix(source)).await?;
        }
        let first = names.len().saturating_sub(limit);
        Ok(names.split_off(first))
    }

    async fn names(&self, prefix: &str) -> Result<Vec<(String, BlobName)>, StoreError> {
        let mut names = Vec::new();
        let mut visit = |name: &str| {
            let id = name.rsplit('/').next().and_then(|file| file.strip_suffix(".json")).filter(|id| blob_name(id).is_some());
            names.extend(id.map(str::to_owned).zip(BlobName::new(name).ok()));
        };
        self.store.list(prefix, &mut |blob| visit(&blob.name)).await?;
        Ok(names)
    }

    async fn read(&self, names: Vec<BlobName>) -> Result<Vec<Stored>, StoreError> {
        let reports = stream::iter(names).map(|name| async move {
            let found = self.store.get(&name, 0, MAX_BYTES).await?;
            let read = found.map(|(_, bytes)| serde_json::from_slice(&bytes).and_then(|value| serde_json::from_value(self.redactor.json(value))));
            Ok(match read {
                Some(Err(error)) => {
                    tracing::warn!(blob = name.as_str(), %error, "Warning: a report cannot be read and is passed over.");
                    None
                }
                Some(Ok(report)) => Some(report),
                None => None,
            })
        });
        let reports: Vec<Option<Stored>> = reports.buffered(AT_ONCE).try_collect().await?;
        Ok(reports.into_iter().flatten().collect())
    }
}

fn prefix(source: &str) -> String {
    format!("_blobferry/{source}/runs/")
}

fn date(at: OffsetDateTime) -> String {
    let date = at.date();
    format!("{:04}{:02}{:02}", date.year(), u8::from(date.month()), date.day())
}
