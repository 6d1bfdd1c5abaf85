//! Files by their names, as the manifests of runs tell of them: the one search of the command line
//! and of the page.
//!
//! A manifest has a line for each file that came, failed, went or waits. The index of names tells
//! where; what it does not cover is read newest first, a part at a time, so that memory does not
//! grow with it, until the time is over; then the answer says how far back was looked.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::manifest_lines::each_raw_line;
use super::name_index::{self, GatheredNames, NamesCover};
use super::name_segment::{NameEntry, fold};
use super::name_words::NameWords;
use super::record::RunStatus;
use super::records::Records;
use super::run_id::began;
use super::source_index;
use crate::model::{chain, printable};
use crate::report::{Line, Word};
use crate::settings::percent_decode;
use crate::state::paths::{ROOT, StatePaths, is_run_id};
use crate::state::store::{StateError, StateStore};
use crate::store::contract::{StoreError, StoreKind};

/// Lines of manifests that are read at once.
const LINES_AT_ONCE: usize = 8;
/// A record is smaller than this by far.
const MAX_RECORD: u64 = 64 << 20;
/// The newest runs, of which some may go on.
const NEWEST: usize = 20;
/// Bytes of a manifest's end that are read for its last lines.
const TAIL: u64 = 128 << 10;

/// What is looked for.
#[derive(Clone, Debug)]
pub struct NameQuery {
    /// A name or a part of one; `*` stands for any letters. Capital and small letters are the same.
    pub name: String,
    /// The sources that are searched.
    pub sources: Vec<String>,
    /// Hits, at most.
    pub most: usize,
    /// How long to look, at most.
    pub patience: Duration,
}

/// A file that a manifest tells of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hit {
    /// Its source.
    pub source: String,
    /// Its path there, safe for a line.
    pub path: String,
    /// What became of it.
    pub outcome: Word,
    /// Why it waits, was skipped, or the class of its failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Its size in bytes at the source.
    pub size: Option<u64>,
    /// Its time at the source.
    pub modified: Option<String>,
    /// Its MD5, if it is stored as it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub md5: Option<String>,
    /// The blob that holds it as it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blob: Option<String>,
    /// Members, if it was unpacked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members: Option<u64>,
    /// The newest run that tells of it so.
    pub run: String,
    /// When that run began.
    #[serde(with = "time::serde::rfc3339::option")]
    pub began: Option<OffsetDateTime>,
    /// How many runs tell the same of it.
    pub runs: u64,
    /// The oldest of these runs: that one changed what became of the file.
    pub since_run: String,
    /// When that run began: since then it is so.
    #[serde(with = "time::serde::rfc3339::option")]
    pub since: Option<OffsetDateTime>,
    /// When it was stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored: Option<String>,
    /// The run that stored it and died before it could say so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovered: Option<String>,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// What looking came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NamesFound {
    /// Files, newest first.
    pub hits: Vec<Hit>,
    /// Lines of manifests that were looked at.
    pub lines: u64,
    /// Whether all manifests were looked at.
    pub complete: bool,
    /// When the oldest run began whose manifest was looked at.
    #[serde(with = "time::serde::rfc3339::option")]
    pub back_to: Option<OffsetDateTime>,
}

/// Looks for files by name: in the index of names, then in the manifests that it does not cover.
pub(crate) async fn find(state: &StateStore, query: &NameQuery) -> Result<NamesFound, StoreError> {
    let until = Instant::now() + query.patience;
    let wanted = NameWords::new(&query.name);
    let segments = name_index::segments(state).await?;
    let mut entries = name_index::exact(state, &segments, &query.name).await?;
    let (scanned, sum, mut whole) = name_index::search(state, &segments, until, &wanted).await?;
    whole &= !sum.cut;
    entries.extend(scanned);
    let asked = |entry: &NameEntry| query.sources.iter().any(|source| **source == *entry.source);
    entries.retain(|entry| asked(entry) && wanted.fits(&entry.path));
    let mut entries = fold(entries);
    entries.sort_by(|one, other| (&other.run, other.at).cmp(&(&one.run, one.at)));
    if entries.len() > query.most {
        entries.truncate(query.most);
        whole = false;
    }
    let mut found = NamesFound {
        hits: details(state, entries).await?,
        lines: sum.names,
        complete: whole,
        back_to: sum.oldest.as_deref().and_then(began),
    };
    under_way(state, query, &wanted, until, &mut found).await?;
    older(state, query, &wanted, until, &mut found).await?;
    found.hits.sort_by(|one, other| other.run.cmp(&one.run));
    Ok(found)
}

/// What is known of one file, by its path, newest first, at most `most`.
pub(crate) async fn life(
    state: &StateStore,
    source: &str,
    path: &str,
    most: usize,
) -> Result<NamesFound, StoreError> {
    let segments = name_index::segments(state).await?;
    let mut entries = name_index::exact(state, &segments, path).await?;
    entries.retain(|entry| *entry.source == *source && entry.path == path);
    entries.sort_by(|one, other| (&other.run, other.at).cmp(&(&one.run, one.at)));
    let complete = entries.len() <= most;
    entries.truncate(most);
    let mut found =
        NamesFound { hits: details(state, entries).await?, complete, ..NamesFound::default() };
    let query = NameQuery {
        name: path.to_owned(),
        sources: vec![source.to_owned()],
        most,
        patience: Duration::from_secs(2),
    };
    let (until, wanted) = (Instant::now() + query.patience, NameWords::path(path));
    under_way(state, &query, &wanted, until, &mut found).await?;
    older(state, &query, &wanted, until, &mut found).await?;
    found.hits.sort_by(|one, other| other.run.cmp(&one.run));
    Ok(found)
}

/// The lines of manifests that entries name. Where a manifest is gone, the entry tells what it
/// knows.
async fn details(state: &StateStore, entries: Vec<NameEntry>) -> Result<Vec<Hit>, StoreError> {
    let read = stream::iter(entries).map(|entry| async move {
        let name = StatePaths::of(&entry.source).manifest(&entry.run);
        let line = match state.read(&name, entry.at, entry.bytes, "reading a manifest").await {
            Ok(found) => found.map(|(_, bytes)| bytes).unwrap_or_default(),
            Err(error) if error.kind == StoreKind::Rejected => Default::default(),
            Err(error) => return Err(error),
        };
        Ok(Hit::of_entry(entry, &line))
    });
    read.buffered(LINES_AT_ONCE).try_collect().await
}

/// As much of a record as tells whether its run goes on, or died, and what it looked at. Records of
/// runs over many sources are long.
#[derive(Deserialize)]
struct RunHead {
    id: String,
    status: RunStatus,
    #[serde(default)]
    queued: Vec<String>,
    #[serde(default)]
    sources: Vec<SourceHead>,
}

#[derive(Deserialize)]
struct SourceHead {
    #[serde(default)]
    source: String,
}

/// Runs that go on, or that died, have manifests of which the index knows nothing yet.
async fn under_way(
    state: &StateStore,
    query: &NameQuery,
    wanted: &NameWords,
    until: Instant,
    found: &mut NamesFound,
) -> Result<(), StoreError> {
    let records = Records::new(state.clone());
    for name in records.last_names(NEWEST, OffsetDateTime::now_utc()).await? {
        let doing = "reading the record of a run";
        let Some((_, bytes)) = state.get(&name, MAX_RECORD, doing).await? else { continue };
        // One that cannot be read is told of where all of it is needed.
        let Ok(head) = serde_json::from_slice::<RunHead>(&bytes) else { continue };
        if matches!(head.status, RunStatus::Ok | RunStatus::Degraded | RunStatus::Failed) {
            continue;
        }
        let told = head.sources.iter().map(|line| &line.source).chain(&head.queued);
        let told: Vec<&String> = told.collect();
        for source in query.sources.iter().filter(|source| told.contains(source)) {
            manifest(state, query, wanted, until, (&head.id, source), found).await?;
        }
    }
    Ok(())
}

/// Looks through manifests that the index does not cover, and writes their names down.
async fn older(
    state: &StateStore,
    query: &NameQuery,
    wanted: &NameWords,
    until: Instant,
    found: &mut NamesFound,
) -> Result<(), StoreError> {
    let cover = match source_index::names_cover(state).await {
        Ok(cover) => cover,
        Err(StateError::Store(error)) => return Err(error),
        Err(_) => NamesCover::default(),
    };
    let back_to = cover.back_to.clone();
    if back_to.as_deref() == Some("") {
        return Ok(());
    }
    let is_older = |run: &str| back_to.as_deref().is_none_or(|first| run < first);
    let mut all = manifests(state).await?;
    all.retain(|(run, _)| is_older(run));
    let newest = all.first().map_or_else(String::new, |(run, _)| run.clone());
    let mut gathered = GatheredNames::new(format!("{newest}.older"));
    let (mut covered, mut whole) = (back_to.clone(), true);
    for (run, source) in &all {
        if Instant::now() >= until {
            whole = false;
            break;
        }
        if query.sources.contains(source) {
            manifest(state, query, wanted, until, (run, source), found).await?;
        }
        // Only what is read to its end is covered.
        if !gathered.manifest(state, source, run, until).await? {
            whole = false;
            break;
        }
        covered = Some(run.clone());
    }
    found.complete &= whole;
    let covered = if whole { Some(String::new()) } else { covered };
    if covered == back_to {
        return Ok(());
    }
    // The runs of one moment are covered together or not at all.
    if let Err(error) = gathered.flush(state).await {
        // Who may only read finds the names all the same, each time anew.
        tracing::debug!(error = chain(&error), "Names of files could not be noted.");
        return Ok(());
    }
    source_index::cover_names(state, &back_to, covered).await;
    Ok(())
}

/// Looks through the manifest of a run.
async fn manifest(
    state: &StateStore,
    query: &NameQuery,
    wanted: &NameWords,
    until: Instant,
    (run, source): (&str, &str),
    found: &mut NamesFound,
) -> Result<(), StoreError> {
    let name = StatePaths::of(source).manifest(run);
    let (mut of_run, mut lines) = (Vec::new(), 0);
    let whole = each_raw_line(state, &name, 0, until, |_, line| {
        lines += 1;
        of_run.extend(Hit::of(source, run, line).filter(|hit| wanted.fits(&hit.path)));
    })
    .await?;
    found.lines += lines;
    found.complete &= whole;
    found.back_to = found.back_to.into_iter().chain(began(run)).min();
    // Within a run the last line is the newest.
    of_run.into_iter().rev().for_each(|hit| found.take_in(hit, query.most));
    Ok(())
}

/// The files that a manifest tells to have arrived, newest first, at most `most` of its end.
pub(crate) async fn newest(
    state: &StateStore,
    source: &str,
    run: &str,
    most: usize,
) -> Result<Vec<Hit>, StoreError> {
    let name = StatePaths::of(source).manifest(run);
    let Some(info) = state.head(&name, "looking for a manifest").await? else {
        return Ok(Vec::new());
    };
    let (start, mut hits) = (info.size.saturating_sub(TAIL), Vec::new());
    let until = Instant::now() + Duration::from_secs(5);
    each_raw_line(state, &name, start, until, |_, line| {
        hits.extend(Hit::of(source, run, line).filter(|hit| hit.outcome == Word::Ingested));
    })
    .await?;
    hits.reverse();
    hits.truncate(most);
    Ok(hits)
}

/// The runs that left manifests, newest first, each with its source.
async fn manifests(state: &StateStore) -> Result<Vec<(String, String)>, StoreError> {
    let run = |blob: crate::store::contract::BlobInfo| {
        let (source, rest) = blob.name.strip_prefix(ROOT)?.split_once("/runs/")?;
        let file = rest.rsplit('/').next()?.strip_suffix(".jsonl")?;
        is_run_id(file).then(|| (file.to_owned(), source.to_owned()))
    };
    let mut all = state.list(ROOT, "listing manifests", run).await?;
    all.sort_by(|one, other| other.cmp(one));
    Ok(all)
}

impl Hit {
    fn of(source: &str, run: &str, line: &[u8]) -> Option<Self> {
        let line = Line::parse(line).ok()?;
        let path = percent_decode(&line.path).unwrap_or_else(|| line.path.clone().into_bytes());
        Some(Self {
            source: source.to_owned(),
            path: printable(&path),
            outcome: line.outcome,
            reason: line.reason.or(line.class),
            message: line.message,
            size: line.size,
            modified: line.modified,
            md5: line.blob.as_ref().and_then(|blob| blob.md5.clone()),
            blob: line.blob.map(|blob| blob.name),
            members: line.archive.map(|archive| archive.members),
            run: run.to_owned(),
            began: began(run),
            runs: 1,
            since_run: run.to_owned(),
            since: began(run),
            stored: line.stored,
            recovered: line.recovered,
            version: line.version,
        })
    }

    /// Of an entry of the index, and of the line that it names.
    fn of_entry(entry: NameEntry, line: &[u8]) -> Self {
        let found = Self::of(&entry.source, &entry.run, line);
        let outcome = entry.outcome();
        let mut hit = found.filter(|hit| hit.path == entry.path).unwrap_or_else(|| Self {
            source: entry.source.to_string(),
            path: entry.path,
            outcome,
            reason: None,
            message: None,
            size: None,
            modified: None,
            md5: None,
            blob: None,
            members: None,
            began: began(&entry.run),
            run: entry.run.to_string(),
            runs: 1,
            since_run: String::new(),
            since: None,
            stored: None,
            recovered: None,
            version: None,
        });
        (hit.runs, hit.since) = (entry.runs, began(&entry.since_run));
        hit.since_run = entry.since_run.to_string();
        hit
    }

    fn is_same(&self, other: &Self) -> bool {
        let key = |hit: &Self| (hit.outcome, hit.reason.clone(), hit.version.clone());
        self.source == other.source && self.path == other.path && key(self) == key(other)
    }
}

impl NamesFound {
    /// A file of which an older run tells the same is one entry.
    fn take_in(&mut self, hit: Hit, most: usize) {
        if let Some(told) = self.hits.iter_mut().find(|told| told.is_same(&hit)) {
            let is_new = hit.run < told.since_run || hit.run > told.run;
            told.runs += u64::from(is_new);
            if hit.run < told.since_run {
                (told.since_run, told.since) = (hit.since_run, hit.since);
            } else if hit.run > told.run {
                (told.run, told.began) = (hit.run, hit.began);
            }
        } else if self.hits.len() < most {
            self.hits.push(hit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_fails_in_many_runs_is_one_hit() {
        let line = br#"{"path":"/a.csv","outcome":"failed","class":"permission","version":"0"}"#;
        let mut found = NamesFound::default();
        for run in ["20261123T100000Z-00000003", "20261123T090000Z-00000002"] {
            found.take_in(Hit::of("acme", run, line).expect("a line"), 10);
        }
        assert_eq!((found.hits.len(), found.hits[0].runs), (1, 2));
        assert_eq!(found.hits[0].run, "20261123T100000Z-00000003");
    }
}
