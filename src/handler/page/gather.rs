//! Records of the handler's runs, and reports of the command line's, out of the store.

use futures_util::future::try_join_all;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::Value;
use time::{Duration, OffsetDateTime};

use super::digest::RunDigest;
use super::expected::{self, ExpectedFeed};
use super::overview::ArrivedFile;
use super::view::{PageRun, PageStored, WantedFailures};
use crate::handler::api::decoded;
use crate::history::arrivals;
use crate::history::files_by_name::{self, NameQuery, NamesFound};
use crate::history::record::RunRecord;
use crate::history::records::Records;
use crate::history::source_index::{self, SourceIndex};
use crate::jobs::run_status;
use crate::model::redactor::Redactor;
use crate::model::{BlobName, chain};
use crate::rules::expect::ExpectedWhen;
use crate::rules::time_zone::TimeZone;
use crate::state::paths::{StatePaths, is_run_id, run_of_record};
use crate::state::store::StateStore;
use crate::store::contract::StoreError;
use crate::transfer::settings::Source;

/// A report is smaller than this by far.
const MAX_BYTES: u64 = 32 << 20;
/// Sources that are listed at once, and reports, or ends of manifests, that are read at once. With
/// the folder store each is a thread, which keeps memory of its own.
const AT_ONCE: usize = 8;
/// Records that are read at once: those of runs over many sources are long.
const RECORDS_AT_ONCE: usize = 2;
/// Sources whose expectations are read at once.
const EXPECTING_AT_ONCE: usize = 16;
/// With more sources, reports that no record tells of are not looked for.
const LISTED: usize = 50;
/// Lines of a file's life that are shown.
const LIFE: usize = 100;
/// Manifests whose ends are read for the newest files.
const MANIFESTS: usize = 24;
/// Files that a search shows.
const HITS: usize = 200;
/// How long a search of the page looks.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// What is wanted of runs.
#[derive(Clone, Copy)]
pub(crate) enum RunPart<'a> {
    /// All sources.
    All,
    /// One of them.
    Source(&'a str),
    /// All sources, with these failures.
    Failures(&'a WantedFailures),
}

impl RunPart<'_> {
    fn of(self, mut run: PageRun) -> PageRun {
        match self {
            RunPart::All => run.shorten(&WantedFailures::new()),
            RunPart::Source(name) => run.keep(name),
            RunPart::Failures(wanted) => run.shorten(wanted),
        }
        run
    }
}

/// A run, with all of it for programs.
pub(crate) struct FoundRun {
    /// The run.
    pub run: PageRun,
    whole: WholeRun,
}

enum WholeRun {
    Record(Box<RunRecord>),
    Reports(Value),
}

impl FoundRun {
    fn of_record(record: RunRecord, now: OffsetDateTime) -> Self {
        let run = PageRun::of_record(record.clone(), now);
        Self { run, whole: WholeRun::Record(Box::new(record)) }
    }

    /// All of it, as it stands at `now`.
    pub(crate) fn into_told(self, now: OffsetDateTime) -> Value {
        match self.whole {
            WholeRun::Record(record) => record.into_shown(now),
            WholeRun::Reports(told) => told,
        }
    }
}

/// Where to look.
pub(crate) struct PageShelf<'a> {
    /// The state.
    pub state: StateStore,
    /// The sources whose reports are looked for.
    pub sources: &'a [&'a str],
    /// Those of which something is expected, with the zones of their times.
    pub expecting: Vec<&'a Source>,
    /// What no page may repeat.
    pub redactor: &'a Redactor,
    /// Runs of this process: they are newer than their records.
    pub here: Vec<RunRecord>,
}

impl PageShelf<'_> {
    /// The last runs, newest first, at most `limit`; of them what `part` says.
    pub async fn last(
        &self,
        limit: usize,
        part: RunPart<'_>,
        now: OffsetDateTime,
    ) -> Result<Vec<PageRun>, StoreError> {
        let records = Records::new(self.state.clone());
        let names = records.last_names(limit, now).await?;
        let here = |record: &RunRecord| part.of(PageRun::of_record(record.clone(), now));
        let mut runs: Vec<PageRun> = self.here.iter().map(here).collect();
        for run in self.recorded(names, part, now).await? {
            if runs.iter().all(|known| known.id != run.id) {
                runs.push(run);
            }
        }
        self.with_reports(runs, limit, now).await
    }

    /// The runs before the run `before`, newest first, at most `limit`.
    pub async fn before(
        &self,
        before: &str,
        limit: usize,
        now: OffsetDateTime,
    ) -> Result<Vec<PageRun>, StoreError> {
        let names = Records::new(self.state.clone()).names_before(before, limit).await?;
        self.recorded(names, RunPart::All, now).await
    }

    /// Runs by their records. Each is made short before the next is read: those over a thousand
    /// sources are long.
    async fn recorded(
        &self,
        names: Vec<BlobName>,
        part: RunPart<'_>,
        now: OffsetDateTime,
    ) -> Result<Vec<PageRun>, StoreError> {
        let records = Records::new(self.state.clone());
        let records = &records;
        let read = stream::iter(names).map(|name| async move {
            let digest = records.read_as::<RunDigest>(&name).await?;
            let run = match digest.filter(|digest| !digest.is_open()) {
                Some(digest) => Some(PageRun::of_digest(digest, now)),
                None => self.open(records, &name, now).await?,
            };
            Ok::<_, StoreError>(run.map(|run| part.of(run)))
        });
        let runs: Vec<Option<PageRun>> = read.buffered(RECORDS_AT_ONCE).try_collect().await?;
        Ok(runs.into_iter().flatten().collect())
    }

    /// A run whose sources are worked on by the queue, as they stand now.
    async fn open(
        &self,
        records: &Records,
        name: &BlobName,
        now: OffsetDateTime,
    ) -> Result<Option<PageRun>, StoreError> {
        let id = run_of_record(name.as_str()).unwrap_or_default();
        let record = run_status::get(records, id).await?;
        Ok(record.map(|record| PageRun::of_record(record, now)))
    }

    /// `runs`, with those of which only reports tell.
    async fn with_reports(
        &self,
        mut runs: Vec<PageRun>,
        limit: usize,
        now: OffsetDateTime,
    ) -> Result<Vec<PageRun>, StoreError> {
        // Release 0.1 left reports of the command line's runs, and no records.
        // To look for them costs some listings a source.
        if runs.len() >= limit || self.sources.len() > LISTED {
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

    /// Files that arrived last, newest first, at most `most` of a source, by the runs that brought
    /// them to each.
    pub async fn arrived(
        &self,
        mut brought: Vec<(String, String)>,
        most: usize,
    ) -> Result<Vec<ArrivedFile>, StoreError> {
        brought.sort_by(|one, other| other.cmp(one));
        brought.truncate(MANIFESTS);
        let state = &self.state;
        let read = stream::iter(brought).map(|(run, source)| async move {
            files_by_name::newest(state, &source, &run, most).await
        });
        let of_runs: Vec<_> = read.buffered(AT_ONCE).try_collect().await?;
        let arrived = of_runs.into_iter().flatten().filter_map(|hit| {
            let (path, by) = (self.redactor.name(&hit.path), hit.began?);
            Some(ArrivedFile { source: hit.source, path, size: hit.size, run: hit.run, by })
        });
        Ok(arrived.collect())
    }

    /// How what is expected stood when it was judged last.
    pub async fn expected(&self, only: Option<&str>, now: OffsetDateTime) -> Vec<ExpectedFeed> {
        let wanted: Vec<(String, TimeZone)> = self
            .expecting
            .iter()
            .filter(|source| only.is_none_or(|only| only == source.name))
            .map(|source| (source.name.clone(), source.time_zone))
            .collect();
        let read = stream::iter(wanted).map(|(source, zone)| async move {
            let standings = arrivals::standings(&self.state, &source).await;
            (source, expected::last_evening(zone, now), standings)
        });
        let read: Vec<_> = read.buffered(EXPECTING_AT_ONCE).collect().await;
        let mut feeds = Vec::new();
        for (source, evening, standings) in read {
            match standings {
                Ok(standings) => feeds.extend(standings.into_iter().map(|mut standing| {
                    for path in &mut standing.paths {
                        *path = self.redactor.name(path);
                    }
                    let of = self.expecting.iter().find(|of| of.name == source);
                    let mut all = of.into_iter().flat_map(|of| &of.expectations);
                    let of = all.find(|of| of.name == standing.name).map(|of| &of.when);
                    if let Some(ExpectedWhen::By { grace, .. }) = of {
                        expected::judge(&mut standing, *grace, now);
                    }
                    ExpectedFeed { source: source.clone(), evening, standing }
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

    /// Files of this name, of these sources.
    pub async fn files(&self, name: &str, sources: &[&str]) -> Result<NamesFound, StoreError> {
        let query = NameQuery {
            name: name.to_owned(),
            sources: sources.iter().map(|name| (*name).to_owned()).collect(),
            most: HITS,
            patience: PATIENCE,
        };
        let mut found = files_by_name::find(&self.state, &query).await?;
        self.redact(&mut found);
        Ok(found)
    }

    /// What is known of one file. Hosts hand on a path as it was sent, or decoded already.
    pub async fn life(&self, source: &str, path: &str) -> Result<NamesFound, StoreError> {
        let mut tried: Vec<String> = Vec::new();
        for path in [path.to_owned(), decoded(path)] {
            for path in [path.clone(), path.trim_start_matches('/').to_owned()] {
                if tried.contains(&path) {
                    continue;
                }
                let mut found = files_by_name::life(&self.state, source, &path, LIFE).await?;
                if !found.hits.is_empty() {
                    self.redact(&mut found);
                    return Ok(found);
                }
                tried.push(path);
            }
        }
        Ok(NamesFound::default())
    }

    fn redact(&self, found: &mut NamesFound) {
        for hit in &mut found.hits {
            hit.path = self.redactor.name(&hit.path);
            hit.message = hit.message.take().map(|text| self.redactor.text(&text));
            hit.blob = hit.blob.take().map(|name| self.redactor.name(&name));
        }
    }

    /// The run `id`, if there is one.
    pub async fn one(&self, id: &str, now: OffsetDateTime) -> Result<Option<FoundRun>, StoreError> {
        if !is_run_id(id) {
            return Ok(None);
        }
        if let Some(record) = self.here.iter().find(|record| record.id == id) {
            return Ok(Some(FoundRun::of_record(record.clone(), now)));
        }
        if let Some(record) = run_status::get(&Records::new(self.state.clone()), id).await? {
            return Ok(Some(FoundRun::of_record(record, now)));
        }
        let reports = self
            .read(self.sources.iter().map(|source| StatePaths::of(source).report(id)).collect())
            .await?;
        let run = PageRun::of_reports(reports).pop();
        Ok(run.map(|run| FoundRun { whole: WholeRun::Reports(run.all()), run }))
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
