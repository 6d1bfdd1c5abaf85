//! The lines of a run's manifest, read a part at a time.

use std::collections::HashSet;
use std::time::Instant;

use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::history::run_id::began;
use crate::model::BlobName;
use crate::report::{Line, Word};
use crate::runtime::retry::retry;
use crate::state::paths::{StatePaths, day, is_run_id};
use crate::state::store::{StateError, StateStore};
use crate::store::contract::{StoreError, StoreKind};

/// Bytes that are read at once.
const PART: u64 = 4 << 20;
/// A line is shorter than this by far.
const LONGEST: usize = 16 << 20;
/// A run that goes on for longer is looked for no more.
const LONGEST_RUN: Duration = Duration::days(7);

/// Tells `visit` of each line of the manifest `name` that can be read, and says how many bytes it
/// has; 0 if there is none. A killed run may have left part of a line at its end, which is none.
pub async fn each_line(
    state: &StateStore,
    name: &BlobName,
    visit: &mut (dyn FnMut(Line) + Send),
) -> Result<u64, StoreError> {
    let (mut at, mut rest) = (0, Vec::new());
    let never = tokio_util::sync::CancellationToken::new();
    loop {
        let once = |_| state.store().read(name, at, PART);
        let found = retry(state.policy(), &never, "reading a manifest", once).await?;
        let Some((info, bytes)) = found else { return Ok(at) };
        at += bytes.len() as u64;
        rest.extend_from_slice(&bytes);
        let whole = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let lines = rest[..whole].split(|byte| *byte == b'\n');
        lines.filter_map(|line| Line::parse(line).ok()).for_each(&mut *visit);
        rest.drain(..whole);
        if bytes.is_empty() || at >= info.size || rest.len() > LONGEST {
            return Ok(at);
        }
    }
}

/// Bytes that are read at once where somebody waits for the answer.
const SMALL_PART: u64 = 1 << 20;

/// Tells `visit` of the whole lines of `name` from `start` on, and where each begins. False: the
/// time was over before its end.
pub(crate) async fn each_raw_line(
    state: &StateStore,
    name: &BlobName,
    start: u64,
    until: Instant,
    mut visit: impl FnMut(u64, &[u8]) + Send,
) -> Result<bool, StoreError> {
    let all = |at, line: &[u8]| {
        visit(at, line);
        true
    };
    raw_lines_while(state, name, start, until, all).await.map(|end| end == RawEnd::Whole)
}

/// Where reading raw lines ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RawEnd {
    /// At the end of the manifest.
    Whole,
    /// The time was over.
    Late,
    /// Its visitor wanted no more: the rest is read from this start on.
    Stopped(u64),
}

/// The same, until `visit` says that the line was the last that it takes for now.
pub(crate) async fn raw_lines_while(
    state: &StateStore,
    name: &BlobName,
    start: u64,
    until: Instant,
    mut visit: impl FnMut(u64, &[u8]) -> bool + Send,
) -> Result<RawEnd, StoreError> {
    let (mut at, mut rest) = (start, Vec::new());
    // What begins in the midst of a line is no line.
    let mut torn = start > 0;
    loop {
        let (info, bytes) = match state.read(name, at, SMALL_PART, "reading a manifest").await {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(RawEnd::Whole),
            // It is shorter than it was: another writer began it anew.
            Err(error) if error.kind == StoreKind::Rejected && at > 0 => {
                return Ok(RawEnd::Whole);
            }
            Err(error) => return Err(error),
        };
        let mut begin = at - rest.len() as u64;
        at += bytes.len() as u64;
        rest.extend_from_slice(&bytes);
        let whole = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        for line in rest[..whole].split_inclusive(|byte| *byte == b'\n') {
            let goes_on = std::mem::take(&mut torn) || visit(begin, &line[..line.len() - 1]);
            begin += line.len() as u64;
            if !goes_on {
                // The end of this line is all that is left of it.
                return Ok(RawEnd::Stopped(begin - 1));
            }
        }
        rest.drain(..whole);
        if bytes.is_empty() || at >= info.size || rest.len() > LONGEST {
            return Ok(RawEnd::Whole);
        }
        if Instant::now() >= until {
            return Ok(RawEnd::Late);
        }
    }
}

/// A line of a file that was stored.
#[derive(Clone, Debug)]
pub(crate) struct StoredLine {
    /// The line.
    pub line: Line,
    /// The run whose manifest has it.
    pub run: String,
    /// When the file was stored.
    pub stored: OffsetDateTime,
    /// Whether that is only the time at which its run began.
    pub approximate: bool,
}

/// Files of `source` that were stored at `since` or later, each once.
pub(crate) async fn stored_since(
    state: &StateStore,
    source: &str,
    since: OffsetDateTime,
) -> Result<Vec<StoredLine>, StateError> {
    let paths = StatePaths::of(source);
    let folder = paths.runs_folder();
    // A run may have begun well before it stored its last file.
    let first = day((since - LONGEST_RUN).date());
    let runs = state
        .list(&folder, "listing manifests", |info| {
            let run = info.name.rsplit('/').next()?.strip_suffix(".jsonl")?;
            (is_run_id(run) && run[..8] >= *first).then(|| run.to_owned())
        })
        .await?;
    let (mut found, mut told) = (Vec::new(), HashSet::new());
    for run in runs {
        let mut visit = |line: Line| {
            let exact =
                line.stored.as_deref().and_then(|at| OffsetDateTime::parse(at, &Rfc3339).ok());
            let Some(stored) = exact.or_else(|| began(&run)) else { return };
            let by = line.recovered.clone().unwrap_or_else(|| run.clone());
            if line.outcome == Word::Ingested
                && stored >= since
                && told.insert((by, line.path.clone(), line.version.clone()))
            {
                let approximate = exact.is_none();
                found.push(StoredLine { line, run: run.clone(), stored, approximate });
            }
        };
        each_line(state, &paths.manifest(&run), &mut visit).await?;
    }
    Ok(found)
}
