//! The index of names: which files manifests tell of, in segments that are searched without
//! reading manifests.
//!
//! Each run that leaves manifests writes a segment of their names; small ones are folded now and
//! then. Losing all of it costs reading: a caller that searches reads the manifests that no segment
//! covers, and writes them down.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};

use super::manifest_lines::{RawEnd, raw_lines_while};
use super::name_scan::NameScan;
use super::name_segment::{NameEntry, TRAILER, fold, index_begin, key_of, part_of, to_bytes};
use super::name_words::NameWords;
use super::record::{RunRecord, is_final};
use crate::model::{BlobName, chain};
use crate::state::paths::{NAMES, StatePaths, is_run_id, names};
use crate::state::store::StateStore;
use crate::store::contract::{Condition, Metadata, StoreError};

/// What reading segments is called.
const READING: &str = "reading names of files";
/// Entries of one segment.
const SEGMENT: usize = 50_000;
/// Segments that are read at once.
const AT_ONCE: usize = 8;
/// Segments that are read through at once.
const SCANNED_AT_ONCE: usize = 8;
/// Bytes of a segment's end that its index fits into, mostly.
const TAIL: u64 = 32 << 10;
/// Bytes that are read at once.
const PART: u64 = 256 << 10;
/// Smaller segments are folded.
const SMALL: u64 = 4 << 20;
/// After as many segments small ones are folded.
const EACH: u32 = 32;
/// As many small segments are folded.
const MANY: usize = 32;
/// Bytes of small segments that are folded at once.
const FOLDED: u64 = 8 << 20;
/// Entries that a look through all names keeps of one segment.
const KEPT: usize = 2_000;
/// How long a manifest is read at the end of its run.
const PATIENCE: Duration = Duration::from_secs(600);

/// What the index of names covers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamesCover {
    /// The names of all runs from this one on are in it; empty: those of all runs; `None`: nobody
    /// knows, as where the index was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back_to: Option<String>,
    /// Segments that were written since small ones were folded last.
    #[serde(default)]
    pub fresh: u32,
}

impl NamesCover {
    /// Whether nothing is known.
    pub(crate) fn is_unknown(&self) -> bool {
        self.back_to.is_none()
    }

    /// Takes in whether the names of `run` were written. True: small segments are to be folded.
    pub(crate) fn take_in(&mut self, run: &str, written: bool) -> bool {
        if !written {
            self.back_to = None;
            return false;
        }
        self.back_to.get_or_insert_with(|| run.to_owned());
        self.fresh += 1;
        let many = self.fresh >= EACH;
        if many {
            self.fresh = 0;
        }
        many
    }
}

/// A segment as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameSegment {
    name: BlobName,
    bytes: u64,
}

/// All segments, the newest last.
pub(crate) async fn segments(state: &StateStore) -> Result<Vec<NameSegment>, StoreError> {
    let segment = |blob: crate::store::contract::BlobInfo| {
        let bytes = blob.size;
        let name = BlobName::new(blob.name).ok().filter(|name| name.as_str().ends_with(".tsv"))?;
        Some(NameSegment { name, bytes })
    };
    state.list(NAMES, "listing names of files", segment).await
}

/// Writes the names of the manifests that `record` tells of. `None`: it tells of none; false: they
/// could not be written, which the log tells.
pub(crate) async fn after_run(state: &StateStore, record: &RunRecord) -> Option<bool> {
    let run = record.run.as_ref().unwrap_or(&record.id);
    let told: Vec<&str> = record
        .sources
        .iter()
        .filter(|line| is_final(line) && line["manifest"].is_string())
        .filter_map(|line| line["source"].as_str())
        .collect();
    if told.is_empty() || !is_run_id(run) {
        return None;
    }
    Some(tell(write(state, run, &told).await, run))
}

/// Writes the names of the manifest of one source of a run whose work goes through the queue.
/// Whether that was done; the log tells why not.
pub(crate) async fn after_pass(state: &StateStore, run: &str, source: &str) -> bool {
    tell(write(state, run, &[source]).await, run)
}

fn tell(written: Result<bool, StoreError>, run: &str) -> bool {
    let error = match written {
        Ok(true) => return true,
        Ok(false) => format!("reading the manifest took longer than {} s", PATIENCE.as_secs()),
        Err(error) => chain(&error),
    };
    tracing::warn!(run_id = run, error, "Names of files could not be noted for a search.");
    false
}

/// False: reading took too long.
async fn write(state: &StateStore, run: &str, sources: &[&str]) -> Result<bool, StoreError> {
    let stem = match sources {
        [one] => format!("{run}.{one}"),
        _ => run.to_owned(),
    };
    let mut gathered = GatheredNames::new(stem);
    let mut whole = true;
    for source in sources {
        whole &= gathered.manifest(state, source, run, Instant::now() + PATIENCE).await?;
    }
    gathered.flush(state).await?;
    Ok(whole)
}

/// Names on their way into segments.
pub(crate) struct GatheredNames {
    stem: String,
    segments: usize,
    entries: Vec<NameEntry>,
}

impl GatheredNames {
    /// Of segments whose names begin with `stem`.
    pub fn new(stem: String) -> Self {
        Self { stem, segments: 0, entries: Vec::new() }
    }

    /// Adds what the manifest of a run tells; writes what is enough for a segment. False: the time
    /// was over; what segments tell of its beginning is told once more when it is read again.
    pub async fn manifest(
        &mut self,
        state: &StateStore,
        source: &str,
        run: &str,
        until: Instant,
    ) -> Result<bool, StoreError> {
        let (name, source, of) = (StatePaths::of(source).manifest(run), source.into(), run.into());
        let mut start = 0;
        loop {
            let entries = &mut self.entries;
            let end = raw_lines_while(state, &name, start, until, |at, line| {
                entries.extend(NameEntry::of(&source, &of, at, line));
                entries.len() < SEGMENT
            });
            start = match end.await? {
                RawEnd::Whole => return Ok(true),
                RawEnd::Late => return Ok(false),
                RawEnd::Stopped(at) => at,
            };
            self.flush(state).await?;
        }
    }

    /// Writes what is left.
    pub async fn flush(&mut self, state: &StateStore) -> Result<(), StoreError> {
        let entries = fold(std::mem::take(&mut self.entries));
        if entries.is_empty() {
            return Ok(());
        }
        let name = names(&format!("{}.{}", self.stem, self.segments));
        self.segments += 1;
        put(state, &name, &entries).await
    }
}

async fn put(state: &StateStore, name: &BlobName, entries: &[NameEntry]) -> Result<(), StoreError> {
    let doing = "writing names of files";
    let bytes = to_bytes(entries).into();
    state.put(name, bytes, Metadata::new(), &Condition::Always, doing).await.map(drop)
}

/// Folds small segments, if there are many. What cannot be done now is done later.
pub(crate) async fn fold_in_time(state: &StateStore) {
    if let Err(error) = fold_small(state).await {
        tracing::debug!(error = chain(&error), "Names of files could not be folded.");
    }
}

/// Folds small segments, if there are many.
pub(crate) async fn fold_small(state: &StateStore) -> Result<(), StoreError> {
    let mut small = segments(state).await?;
    small.retain(|segment| segment.bytes < SMALL);
    if small.len() < MANY {
        return Ok(());
    }
    let (mut folded, mut bytes) = (Vec::new(), 0);
    for segment in small.into_iter().rev() {
        bytes += segment.bytes;
        if bytes > FOLDED {
            break;
        }
        folded.push(segment);
    }
    let mut entries = Vec::new();
    for segment in &folded {
        let (all, mut sum) = (NameWords::new(""), ScanSum::default());
        entries.extend(scan(state, segment, usize::MAX, &all, &mut sum).await?);
    }
    let newest = folded.first().map_or("", |segment| segment.name.as_str());
    let newest = newest.trim_start_matches(NAMES).split('.').next().unwrap_or_default();
    let name = names(&format!("{newest}.folded-{}-{bytes}", folded.len()));
    put(state, &name, &fold(entries)).await?;
    for segment in folded.iter().filter(|segment| segment.name != name) {
        state.delete(&segment.name, "removing names that are folded").await?;
    }
    Ok(())
}

/// What looking through names came to, beside entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanSum {
    /// Names that were looked at.
    pub names: u64,
    /// The oldest run that one of them tells of.
    pub oldest: Option<String>,
    /// Whether there was more than was kept.
    pub cut: bool,
}

impl ScanSum {
    fn add(&mut self, other: Self) {
        self.names += other.names;
        self.cut |= other.cut;
        let both = self.oldest.take().into_iter().chain(other.oldest);
        self.oldest = both.min();
    }
}

/// Entries of files with exactly this name, in any folder.
pub(crate) async fn exact(
    state: &StateStore,
    segments: &[NameSegment],
    name: &str,
) -> Result<Vec<NameEntry>, StoreError> {
    let key = &key_of(name);
    let read = stream::iter(segments.to_vec()).map(|segment| async move {
        let Some((begin, index)) = index_of(state, &segment).await? else { return Ok(Vec::new()) };
        let Some(part) = part_of(&index, begin, key) else { return Ok(Vec::new()) };
        let length = part.end.saturating_sub(part.start);
        let Some((_, bytes)) = state.read(&segment.name, part.start, length, READING).await? else {
            return Ok(Vec::new());
        };
        let text = String::from_utf8_lossy(&bytes);
        let found = text.lines().filter(|line| line.starts_with(key.as_str()));
        Ok(found.filter_map(NameEntry::parse).filter(|entry| entry.key == *key).collect())
    });
    let read: Vec<Vec<NameEntry>> = read.buffer_unordered(AT_ONCE).try_collect().await?;
    Ok(fold(read.into_iter().flatten().collect()))
}

/// Where the index of a segment begins, and the index; `None` if the segment is gone or is none.
async fn index_of(
    state: &StateStore,
    segment: &NameSegment,
) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
    let start = segment.bytes.saturating_sub(TAIL);
    let Some((_, tail)) = state.read(&segment.name, start, TAIL, READING).await? else {
        return Ok(None);
    };
    let Some(begin) = tail.len().checked_sub(TRAILER).and_then(|at| index_begin(&tail[at..]))
    else {
        return Ok(None);
    };
    if let Some(at) = begin.checked_sub(start).and_then(|at| usize::try_from(at).ok()) {
        return Ok(tail.get(at..).map(|index| (begin, index.to_vec())));
    }
    let length = segment.bytes.saturating_sub(begin);
    let found = state.read(&segment.name, begin, length, READING).await?;
    Ok(found.map(|(_, index)| (begin, index.to_vec())))
}

/// Entries of all segments that fit `words`. False: the time was over before their end.
pub(crate) async fn search(
    state: &StateStore,
    segments: &[NameSegment],
    until: Instant,
    words: &NameWords,
) -> Result<(Vec<NameEntry>, ScanSum, bool), StoreError> {
    // The newest first.
    let newest: Vec<NameSegment> = segments.iter().rev().cloned().collect();
    let read = stream::iter(newest).map(|segment| async move {
        if Instant::now() >= until {
            return Ok(None);
        }
        let mut sum = ScanSum::default();
        let found = scan(state, &segment, KEPT, words, &mut sum).await?;
        Ok::<_, StoreError>(Some((found, sum)))
    });
    let mut read = read.buffered(SCANNED_AT_ONCE);
    let (mut all, mut sum, mut whole) = (Vec::new(), ScanSum::default(), true);
    while let Some(found) = read.try_next().await? {
        match found {
            None => whole = false,
            Some((found, of_one)) => {
                all.extend(found);
                sum.add(of_one);
                keep_newest(&mut all, KEPT, &mut sum);
            }
        }
    }
    Ok((fold(all), sum, whole))
}

fn keep_newest(entries: &mut Vec<NameEntry>, most: usize, sum: &mut ScanSum) {
    if entries.len() > most {
        entries.sort_by(|one, other| other.run.cmp(&one.run));
        entries.truncate(most);
        sum.cut = true;
    }
}

/// Reads one segment through.
async fn scan(
    state: &StateStore,
    segment: &NameSegment,
    most: usize,
    words: &NameWords,
    sum: &mut ScanSum,
) -> Result<Vec<NameEntry>, StoreError> {
    let (mut at, mut rest, mut found) = (0, Vec::new(), Vec::new());
    let mut lines = NameScan::new(words);
    loop {
        // Another process may have folded it.
        let Some((info, bytes)) = state.read(&segment.name, at, PART, READING).await? else {
            break;
        };
        at += bytes.len() as u64;
        // A line that began in the part before is put together; the others stay where they are.
        let first = bytes.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let last = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if first > 0 {
            rest.extend_from_slice(&bytes[..first]);
            lines.see(&rest, &mut found);
            lines.see(&bytes[first..last], &mut found);
            rest.clear();
        }
        rest.extend_from_slice(&bytes[last..]);
        if found.len() > most.saturating_mul(2) {
            keep_newest(&mut found, most, sum);
        }
        if bytes.is_empty() || at >= info.size {
            break;
        }
    }
    keep_newest(&mut found, most, sum);
    sum.names += lines.names;
    sum.oldest = sum.oldest.take().into_iter().chain(lines.oldest()).min();
    Ok(found)
}
