//! Files by their names, as the manifests of runs tell of them: the one search of the command line
//! and of the page.
//!
//! A manifest has a line for each file that came, failed, went or waits. They are read newest
//! first, a part at a time, so that memory does not grow with them, until there are enough hits or
//! the time is over; then the answer says how far back was looked.

use std::time::{Duration, Instant};

use serde::Serialize;
use time::OffsetDateTime;

use crate::model::{BlobName, printable};
use crate::report::{Line, Word};
use crate::settings::percent_decode;
use crate::state::paths::{StatePaths, is_run_id};
use crate::state::store::StateStore;
use crate::store::contract::{StoreError, StoreKind};

/// Bytes that are read at once.
const PART: u64 = 1 << 20;
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

/// When the run of this id began, to the second.
pub fn began(run: &str) -> Option<OffsetDateTime> {
    let format = time::macros::format_description!("[year][month][day]T[hour][minute][second]Z");
    let stamp = run.split('-').next()?;
    time::PrimitiveDateTime::parse(stamp, format).ok().map(time::PrimitiveDateTime::assume_utc)
}

/// Looks for files by name.
pub async fn find(state: &StateStore, query: &NameQuery) -> Result<NamesFound, StoreError> {
    let until = Instant::now() + query.patience;
    let wanted = Wanted::new(&query.name);
    let mut found = NamesFound::default();
    for (run, source) in manifests(state, &query.sources).await? {
        if found.hits.len() >= query.most || Instant::now() >= until {
            return Ok(found);
        }
        let name = StatePaths::of(&source).manifest(&run);
        let mut of_run = Vec::new();
        let mut lines = 0;
        let whole = read(state, &name, 0, until, |line| {
            lines += 1;
            of_run.extend(Hit::of(&source, &run, line).filter(|hit| wanted.fits(&hit.path)));
        })
        .await?;
        found.lines += lines;
        found.back_to = began(&run);
        // Within a run the last line is the newest.
        of_run.into_iter().rev().for_each(|hit| found.take_in(hit, query.most));
        if !whole {
            return Ok(found);
        }
    }
    found.complete = true;
    Ok(found)
}

/// The files that a manifest tells to have arrived, newest first, at most `most` of its end.
pub async fn newest(
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
    read(state, &name, start, until, |line| {
        hits.extend(Hit::of(source, run, line).filter(|hit| hit.outcome == Word::Ingested));
    })
    .await?;
    hits.reverse();
    hits.truncate(most);
    Ok(hits)
}

/// The runs that left manifests, newest first, each with its source.
async fn manifests(
    state: &StateStore,
    sources: &[String],
) -> Result<Vec<(String, String)>, StoreError> {
    let mut all = Vec::new();
    for source in sources {
        let run = |blob: crate::store::contract::BlobInfo| {
            let file = blob.name.rsplit('/').next()?.strip_suffix(".jsonl")?;
            is_run_id(file).then(|| file.to_owned())
        };
        let folder = StatePaths::of(source).runs_folder();
        let runs = state.list(&folder, "listing manifests", run).await?;
        all.extend(runs.into_iter().map(|run| (run, source.clone())));
    }
    all.sort_by(|one, other| other.cmp(one));
    Ok(all)
}

/// Tells `visit` of the whole lines of `name` from `start` on. False: the time was over before its
/// end.
async fn read(
    state: &StateStore,
    name: &BlobName,
    start: u64,
    until: Instant,
    mut visit: impl FnMut(&[u8]) + Send,
) -> Result<bool, StoreError> {
    let (mut at, mut rest) = (start, Vec::new());
    // What begins in the midst of a line is no line.
    let mut torn = start > 0;
    loop {
        let (info, bytes) = match state.store().read(name, at, PART).await {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(true),
            // It is shorter than it was: another writer began it anew.
            Err(error) if error.kind == StoreKind::Rejected && at > 0 => return Ok(true),
            Err(error) => return Err(error),
        };
        at += bytes.len() as u64;
        rest.extend_from_slice(&bytes);
        let whole = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        for line in rest[..whole].split_inclusive(|byte| *byte == b'\n') {
            if !std::mem::take(&mut torn) {
                visit(&line[..line.len() - 1]);
            }
        }
        rest.drain(..whole);
        if bytes.is_empty() || at >= info.size || rest.len() as u64 > 8 * PART {
            return Ok(true);
        }
        if Instant::now() >= until {
            return Ok(false);
        }
    }
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

    fn is_same(&self, other: &Self) -> bool {
        let key = |hit: &Self| (hit.outcome, hit.reason.clone(), hit.version.clone());
        self.source == other.source && self.path == other.path && key(self) == key(other)
    }
}

impl NamesFound {
    /// A file of which an older run tells the same is one entry.
    fn take_in(&mut self, hit: Hit, most: usize) {
        if let Some(told) = self.hits.iter_mut().find(|told| told.is_same(&hit)) {
            told.runs += u64::from(told.run != hit.run);
            (told.since_run, told.since) = (hit.since_run, hit.since);
        } else if self.hits.len() < most {
            self.hits.push(hit);
        }
    }
}

/// What a name must be like.
struct Wanted {
    parts: Vec<String>,
}

impl Wanted {
    fn new(name: &str) -> Self {
        Self { parts: name.to_lowercase().split('*').map(str::to_owned).collect() }
    }

    /// A name without `*` may be any part of a path; one with `*` is all of the file's name.
    fn fits(&self, path: &str) -> bool {
        let path = path.to_lowercase();
        let [first, middle @ .., last] = self.parts.as_slice() else {
            return self.parts.iter().all(|part| path.contains(part.as_str()));
        };
        let name = path.rsplit('/').next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first.as_str()) else { return false };
        for part in middle {
            let Some(at) = rest.find(part.as_str()) else { return false };
            rest = &rest[at + part.len()..];
        }
        rest.ends_with(last.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_by_a_part_of_it_and_by_stars() {
        for (name, path, fits) in [
            ("sales_2026.csv", "/x/sales_2026.csv", true),
            ("SALES", "/x/sales_2026.csv", true),
            ("x/sales", "/x/sales_2026.csv", true),
            ("sales_*.csv", "/x/sales_2026.csv", true),
            ("*2026*", "/x/sales_2026.csv", true),
            ("sales_*.txt", "/x/sales_2026.csv", false),
            ("x*", "/x/sales_2026.csv", false),
            ("a*a", "/a", false),
            ("(", "/x/sales_2026.csv", false),
        ] {
            assert_eq!(Wanted::new(name).fits(path), fits, "{name} {path}");
        }
    }

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
