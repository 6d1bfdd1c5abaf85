//! Records of the handler's runs, and reports of the command line's, out of the store.

use futures_util::future::try_join_all;
use futures_util::{StreamExt, TryStreamExt, stream};
use time::{Duration, OffsetDateTime};

use super::expected::{self, ExpectedFeed};
use super::overview::ArrivedFile;
use super::view::{PageRun, PageStored};
use crate::history::arrivals;
use crate::history::files_by_name::{self, NameQuery, NamesFound};
use crate::history::record::RunRecord;
use crate::history::records::Records;
use crate::history::source_index::{self, SourceIndex};
use crate::jobs::run_status;
use crate::model::redactor::Redactor;
use crate::model::{BlobName, chain};
use crate::state::paths::{StatePaths, is_run_id};
use crate::state::store::StateStore;
use crate::store::contract::StoreError;

/// A report is smaller than this by far.
const MAX_BYTES: u64 = 32 << 20;
/// Sources that are listed at once, and reports that are read at once.
const AT_ONCE: usize = 8;
/// Manifests whose ends are read for the newest files.
const MANIFESTS: usize = 12;
/// Files that a search shows.
const HITS: usize = 200;
/// How long a search of the page looks.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// Where to look.
pub struct PageShelf<'a> {
    /// The state.
    pub state: StateStore,
    /// The sources whose reports are looked for.
    pub sources: &'a [&'a str],
    /// Those of which something is expected.
    pub expecting: Vec<&'a str>,
    /// What no page may repeat.
    pub redactor: &'a Redactor,
    /// Runs of this process: they are newer than their records.
    pub here: Vec<RunRecord>,
}

impl PageShelf<'_> {
    /// The last runs, newest first, at most `limit`.
    pub async fn last(
        &self,
        limit: usize,
        now: OffsetDateTime,
    ) -> Result<Vec<PageRun>, StoreError> {
        let stored = run_status::last(&Records::new(self.state.clone()), limit, now).await?;
        let mut runs: Vec<PageRun> =
            self.here.iter().map(|record| PageRun::of_record(record, now)).collect();
        for record in stored {
            if runs.iter().all(|run| run.id != record.id) {
                runs.push(PageRun::of_record(&record, now));
            }
        }
        // Release 0.1 left reports of the command line's runs, and no records.
        if runs.len() >= limit {
            runs.sort_by_key(|run| std::cmp::Reverse(run.started));
            runs.truncate(limit);
            return Ok(runs);
        }
        let mut names = Vec::new();
        for sources in self.sources.chunks(AT_ONCE) {
            let listings: Vec<_> =
                sources.iter().map(|source| self.reports(source, limit, now)).collect();
            names.extend(try_join_all(listings).await?.into_iter().flatten());
        }
        // Names end in the run's id, which begins with the time of its start.
        names.sort_by_key(|(id, _)| std::cmp::Reverse(id.clone()));
        let mut ids: Vec<String> = names.iter().map(|(id, _)| id.clone()).collect();
        ids.dedup();
        ids.retain(|id| runs.iter().all(|run| run.id != *id));
        ids.truncate(limit);
        let wanted = names.into_iter().filter(|(id, _)| ids.contains(id)).map(|(_, name)| name);
        runs.extend(PageRun::of_reports(self.read(wanted.collect()).await?));
        runs.sort_by_key(|run| std::cmp::Reverse(run.started));
        runs.truncate(limit);
        Ok(runs)
    }

    /// The index of sources; empty where it is lost.
    pub async fn index(&self) -> SourceIndex {
        match source_index::read(&self.state).await {
            Ok(found) => found.map(|(index, _)| index).unwrap_or_default(),
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(error, "When sources were looked at cannot be read.");
                SourceIndex::default()
            }
        }
    }

    /// Files that arrived last, newest first, at most `most`, by the runs that brought them to each
    /// source.
    pub async fn arrived(
        &self,
        mut brought: Vec<(String, String)>,
        most: usize,
    ) -> Result<Vec<ArrivedFile>, StoreError> {
        brought.sort_by(|one, other| other.cmp(one));
        brought.truncate(MANIFESTS);
        let state = &self.state;
        let read = brought.into_iter().map(|(run, source)| async move {
            files_by_name::newest(state, &source, &run, most).await
        });
        let of_runs = try_join_all(read).await?;
        let arrived = of_runs.into_iter().flatten().filter_map(|hit| {
            let (path, by) = (self.redactor.name(&hit.path), hit.began?);
            Some(ArrivedFile { source: hit.source, path, size: hit.size, run: hit.run, by })
        });
        Ok(arrived.take(most).collect())
    }

    /// How what is expected stood when it was judged last.
    pub async fn expected(&self, only: Option<&str>) -> Vec<ExpectedFeed> {
        let mut feeds = Vec::new();
        for source in
            self.expecting.iter().filter(|source| only.is_none_or(|only| only == **source))
        {
            match arrivals::standings(&self.state, source).await {
                Ok(standings) => feeds.extend(standings.into_iter().map(|mut standing| {
                    for path in &mut standing.paths {
                        *path = self.redactor.name(path);
                    }
                    ExpectedFeed { source: (*source).to_owned(), standing }
                })),
                Err(error) => {
                    let error = chain(&error);
                    tracing::warn!(source, error, "What is expected of a source cannot be read.");
                }
            }
        }
        expected::sort(&mut feeds);
        feeds
    }

    /// Files of this name.
    pub async fn files(&self, name: &str, source: Option<&str>) -> Result<NamesFound, StoreError> {
        let known = self.sources.iter().filter(|known| source.is_none_or(|only| only == **known));
        let query = NameQuery {
            name: name.to_owned(),
            sources: known.map(|name| (*name).to_owned()).collect(),
            most: HITS,
            patience: PATIENCE,
        };
        let mut found = files_by_name::find(&self.state, &query).await?;
        for hit in &mut found.hits {
            hit.path = self.redactor.name(&hit.path);
            hit.message = hit.message.take().map(|text| self.redactor.text(&text));
            hit.blob = hit.blob.take().map(|name| self.redactor.name(&name));
        }
        Ok(found)
    }

    /// The run `id`, if there is one.
    pub async fn one(&self, id: &str, now: OffsetDateTime) -> Result<Option<PageRun>, StoreError> {
        if !is_run_id(id) {
            return Ok(None);
        }
        if let Some(record) = self.here.iter().find(|record| record.id == id) {
            return Ok(Some(PageRun::of_record(record, now)));
        }
        if let Some(record) = run_status::get(&Records::new(self.state.clone()), id).await? {
            return Ok(Some(PageRun::of_record(&record, now)));
        }
        let reports = self
            .read(self.sources.iter().map(|source| StatePaths::of(source).report(id)).collect())
            .await?;
        Ok(PageRun::of_reports(reports).pop())
    }

    /// Ids and names of the last reports of a source: those of two days, or all, if these are fewer
    /// than `limit`.
    async fn reports(
        &self,
        source: &str,
        limit: usize,
        now: OffsetDateTime,
    ) -> Result<Vec<(String, BlobName)>, StoreError> {
        let mut names = Vec::new();
        for day in [now - Duration::DAY, now] {
            names.extend(self.names(&StatePaths::of(source).runs_of_day(day.date())).await?);
        }
        if names.len() < limit {
            names = self.names(&StatePaths::of(source).runs_folder()).await?;
        }
        let first = names.len().saturating_sub(limit);
        Ok(names.split_off(first))
    }

    async fn names(&self, prefix: &str) -> Result<Vec<(String, BlobName)>, StoreError> {
        let report = |blob: crate::store::contract::BlobInfo| {
            let file = blob.name.rsplit('/').next().and_then(|file| file.strip_suffix(".json"));
            let id = file.filter(|id| is_run_id(id)).map(str::to_owned);
            id.zip(BlobName::new(blob.name).ok())
        };
        self.state.list(prefix, "listing reports", report).await
    }

    async fn read(&self, names: Vec<BlobName>) -> Result<Vec<PageStored>, StoreError> {
        let reports = stream::iter(names).map(|name| async move {
            let found = self.state.get(&name, MAX_BYTES, "reading a report").await?;
            let read = found.map(|(_, bytes)| {
                serde_json::from_slice(&bytes)
                    .and_then(|value| serde_json::from_value(self.redactor.json(value)))
            });
            Ok(match read {
                Some(Err(error)) => {
                    tracing::warn!(blob = name.as_str(), %error, "Warning: a report cannot be read \
                        and is passed over.");
                    None
                }
                Some(Ok(report)) => Some(report),
                None => None,
            })
        });
        let reports: Vec<Option<PageStored>> = reports.buffered(AT_ONCE).try_collect().await?;
        Ok(reports.into_iter().flatten().collect())
    }
}
