//! The lines of a journal: JSON, each with a checksum of its own.

use std::collections::BTreeMap;
use std::ops::Range;

use crc_fast::{CrcAlgorithm, checksum};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::ledger::blob_place::BlobPlace;
use crate::ledger::error::{BadState, SCHEMA};
use crate::model::{
    BoxError, ModifiedTime, Precision, RemoteFile, RemotePath, Version, hex, md5_of_hex,
};
use crate::rules::naming::escaped_for_metadata;
use crate::rules::plan::known::{History, Known, Seen, Unmet};
use crate::settings::percent_decode;
use crate::source::contract::ShareId;

/// One line of a journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub(crate) enum Record {
    /// The first line of every journal.
    Schema {
        /// See [`SCHEMA`].
        version: u32,
    },
    /// A run is about to commit blobs.
    Begin {
        /// The run's id.
        run: String,
        /// When.
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
        /// The settings that name its blobs, where they are others than those of the run before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        layout: Option<String>,
        /// Which file system the source's share is, where it is one and that was not noted yet.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        share: Option<ShareId>,
        /// Where its blobs go, where that was not noted yet.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        place: Option<BlobPlace>,
    },
    /// A file is in the store.
    File(FileRecord),
    /// A file was seen and not taken.
    Seen(SeenRecord),
    /// The source's times move at every look, so they tell nothing.
    Restless {
        /// Since when this is known.
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
    },
    /// A run ended in good order.
    End {
        /// The run's id.
        run: String,
        /// Of how many records of a run a manifest tells: of its own, and of those that died before
        /// it and that it has told of.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        recovered: BTreeMap<String, u64>,
    },
    /// The line before was cut off by a crash.
    Torn,
    /// Nothing more may be appended: the journal is being folded into a snapshot.
    Sealed {
        /// The run that does so.
        by: String,
    },
}

/// A file that is in the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct FileRecord {
    path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    modified: Option<TimeRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    listed: Option<TimeRecord>,
    /// There is no listed time, though there is a modified one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    unlisted: bool,
    version: String,
    run: String,
    blobs: u64,
    bytes: u64,
    /// When its commit was confirmed, by the store's clock. Earlier releases did not record this.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "time::serde::rfc3339::option"
    )]
    stored: Option<OffsetDateTime>,
    #[serde(flatten)]
    history: HistoryRecord,
}

/// How a file was taken, and what became of it at the source. Earlier releases recorded nothing of
/// this.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct HistoryRecord {
    /// MD5 of the bytes as the source sent them, in hex; they were read by this program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    md5: Option<String>,
    /// When its bytes were compared last, where its time does not tell whether it changed since.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "time::serde::rfc3339::option"
    )]
    looked: Option<OffsetDateTime>,
    /// Its time moved while its bytes stood still.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    moves: bool,
    /// It left the source.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    left: bool,
    /// When the source refused to remove or move it.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "time::serde::rfc3339::option"
    )]
    refused: Option<OffsetDateTime>,
}

impl From<&History> for HistoryRecord {
    fn from(history: &History) -> Self {
        let History { md5, looked, moves, left, refused, .. } = history;
        Self {
            md5: md5.map(|md5| hex(&md5)),
            looked: *looked,
            moves: *moves,
            left: *left,
            refused: *refused,
        }
    }
}

impl From<&HistoryRecord> for History {
    fn from(record: &HistoryRecord) -> Self {
        let md5 = record.md5.as_deref().and_then(md5_of_hex);
        Self {
            read: md5.is_some(),
            md5,
            looked: record.looked,
            moves: record.moves,
            left: record.left,
            refused: record.refused,
        }
    }
}

/// A file that was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenRecord {
    path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    modified: Option<TimeRecord>,
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    /// Left out where it is `at`.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "time::serde::rfc3339::option"
    )]
    since: Option<OffsetDateTime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct TimeRecord {
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    precision: Precision,
}

impl From<&ModifiedTime> for TimeRecord {
    fn from(time: &ModifiedTime) -> Self {
        Self { at: time.at, precision: time.precision }
    }
}

impl From<&TimeRecord> for ModifiedTime {
    fn from(time: &TimeRecord) -> Self {
        ModifiedTime::new(time.at, time.precision)
    }
}

impl Record {
    /// The record of an ingested file.
    pub fn file(path: &RemotePath, known: &Known, run: &str, blobs: u64, bytes: u64) -> Self {
        Record::File(FileRecord {
            path: escaped_for_metadata(path.as_bytes()),
            size: known.size,
            modified: known.modified.as_ref().map(TimeRecord::from),
            listed: known
                .listed
                .as_ref()
                .filter(|listed| known.modified.as_ref() != Some(listed))
                .map(TimeRecord::from),
            unlisted: known.listed.is_none() && known.modified.is_some(),
            version: known.version.to_string(),
            run: run.to_owned(),
            blobs,
            bytes,
            stored: None,
            history: HistoryRecord::from(&known.history),
        })
    }

    /// The same record of a file whose commit was confirmed at `at`.
    #[must_use]
    pub(crate) fn stored_at(self, at: Option<OffsetDateTime>) -> Self {
        match self {
            Record::File(file) => Record::File(FileRecord { stored: at, ..file }),
            other => other,
        }
    }

    /// The record of a sighting.
    pub fn seen(seen: &Seen) -> Self {
        Record::Seen(SeenRecord::of(seen))
    }

    /// This record as a line, with its checksum and its end.
    pub(crate) fn to_line(&self) -> Vec<u8> {
        checked_line(self)
    }
}

/// What begins the checksum at the end of a line; 16 hex digits and [`CRC_ENDS`] follow.
const CRC_BEGINS: &[u8] = b",\"crc\":\"";
const CRC_ENDS: &[u8] = b"\"}";
const CRC_BYTES: usize = CRC_BEGINS.len() + 16 + CRC_ENDS.len();

/// CRC-64/NVME, as 16 hex digits.
pub fn crc(bytes: &[u8]) -> String {
    format!("{:016x}", checksum(CrcAlgorithm::Crc64Nvme, bytes))
}

/// `value`, a JSON object with at least one member, as a line whose last member is a checksum of
/// what stands before it.
pub(crate) fn checked_line(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).expect("records hold nothing that JSON cannot");
    debug_assert_eq!(line.last(), Some(&b'}'), "a record is a JSON object");
    line.pop();
    let crc = crc(&line);
    line.extend_from_slice(CRC_BEGINS);
    line.extend_from_slice(crc.as_bytes());
    line.extend_from_slice(CRC_ENDS);
    line.push(b'\n');
    line
}

/// Whether a line (without its end) bears a checksum, and whether it holds.
fn crc_holds(line: &[u8]) -> Option<bool> {
    let (body, end) = line.split_at(line.len().checked_sub(CRC_BYTES)?);
    let digits = end.strip_prefix(CRC_BEGINS)?.strip_suffix(CRC_ENDS)?;
    Some(digits == crc(body).as_bytes())
}

/// Refuses a line (without its end) of which the checksum is missing or does not hold.
pub(crate) fn verify_line(line: &[u8]) -> Result<(), BoxError> {
    match crc_holds(line) {
        Some(true) => Ok(()),
        Some(false) => Err("its checksum does not hold".into()),
        None => Err("it ends without a checksum".into()),
    }
}

/// Whether every line must bear a checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Lines of our journals do.
    Each,
    /// Lines of the release before this one bear none; in a snapshot the blob as a whole is
    /// checked.
    WherePresent,
}

/// Where the whole lines of a journal end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    /// How many bytes are whole lines.
    pub whole: usize,
    /// How many lines these are.
    pub lines: usize,
    /// Whether bytes follow that are not a whole line: a writer died in the midst of an append.
    pub torn: bool,
}

fn parse_line(line: &[u8], check: Check) -> Result<Record, BoxError> {
    let text = line.strip_suffix(b"\n").ok_or("the line does not end")?;
    match (crc_holds(text), check) {
        (Some(false), _) => return Err("its checksum does not hold".into()),
        (None, Check::Each) => return Err("it ends without a checksum".into()),
        _ => {}
    }
    let record: Record = serde_json::from_slice(text)?;
    let good = match &record {
        Record::File(file) => {
            Version::from_hex(&file.version).is_some() && percent_decode(&file.path).is_some()
        }
        Record::Seen(seen) => percent_decode(&seen.path).is_some(),
        _ => true,
    };
    if good { Ok(record) } else { Err("path or version is not one".into()) }
}

/// Reads the lines of `blob` and tells `visit` of each record and where its line stands. A last
/// line that does not end is a crash in mid-append: it is left out and told of. Any other line that
/// cannot be read is damage.
pub(crate) fn scan(
    blob: &str,
    bytes: &[u8],
    check: Check,
    mut visit: impl FnMut(Range<usize>, Record),
) -> Result<Scan, BadState> {
    let mut scan = Scan::default();
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').peekable();
    while let Some(line) = lines.next() {
        if !line.ends_with(b"\n") {
            scan.torn = true;
            break;
        }
        let at = scan.whole..scan.whole + line.len();
        scan.whole = at.end;
        scan.lines += 1;
        match parse_line(line, check) {
            Ok(Record::Schema { version }) if version > SCHEMA => {
                return Err(BadState::Future { blob: blob.to_owned(), found: version.into() });
            }
            Ok(record) => visit(at, record),
            // The writer that sealed a torn journal has said so right after the torn line.
            Err(_)
                if lines
                    .peek()
                    .is_some_and(|next| matches!(parse_line(next, check), Ok(Record::Torn))) => {}
            Err(cause) => {
                return Err(BadState::Line { blob: blob.to_owned(), line: scan.lines, cause });
            }
        }
    }
    Ok(scan)
}

/// A file that a piece of work has recorded already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Its path.
    pub path: RemotePath,
    /// What was ingested.
    pub known: Known,
    /// Its blobs.
    pub blobs: u64,
    /// Bytes read from the source for it.
    pub bytes: u64,
    /// When its commit was confirmed, if its record tells.
    pub stored: Option<OffsetDateTime>,
}

impl FileRecord {
    /// What it tells, if it was recorded by `run`.
    pub fn of_run(&self, run: &str) -> Option<Recorded> {
        let (path, known) = self.known().filter(|_| self.run == run && self.is_work())?;
        Some(Recorded { path, known, blobs: self.blobs, bytes: self.bytes, stored: self.stored })
    }

    /// Whether it tells of work that was done. What only notes something of a known file does not.
    pub(crate) fn is_work(&self) -> bool {
        self.blobs > 0 || self.bytes > 0
    }

    /// This note of a file, with what `work`, the record of the same version by the same run, told.
    pub(crate) fn with_work_of(self, work: &Self) -> Option<Record> {
        if self.run != work.run || self.version != work.version {
            return None;
        }
        let Self { blobs, bytes, stored, .. } = *work;
        Some(Record::File(Self { blobs, bytes, stored, ..self }))
    }

    /// Whether it only notes that a file that was recorded before left the source, or could not.
    pub(crate) fn is_note(&self) -> bool {
        self.blobs == 0 && self.bytes == 0 && (self.history.left || self.history.refused.is_some())
    }

    /// The run that recorded it.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// The path.
    pub fn path(&self) -> Option<RemotePath> {
        Some(RemotePath::new(percent_decode(&self.path)?))
    }

    /// The path and what is known of it.
    pub fn known(&self) -> Option<(RemotePath, Known)> {
        let modified = self.modified.as_ref().map(ModifiedTime::from);
        let listed =
            self.listed.as_ref().map(ModifiedTime::from).or(modified).filter(|_| !self.unlisted);
        let version = Version::from_hex(&self.version)?;
        let known = Known {
            size: self.size,
            modified,
            listed,
            version,
            history: History::from(&self.history),
        };
        Some((self.path()?, known))
    }
}

impl SeenRecord {
    /// The record of a sighting.
    pub fn of(seen: &Seen) -> Self {
        Self {
            path: escaped_for_metadata(seen.file.path.as_bytes()),
            size: seen.file.size,
            modified: seen.file.modified.as_ref().map(TimeRecord::from),
            at: seen.at,
            since: (seen.since != seen.at).then_some(seen.since),
            why: seen.why.map(|why| why.word().to_owned()),
        }
    }

    /// The sighting.
    pub fn sighting(&self) -> Option<Seen> {
        let path = RemotePath::new(percent_decode(&self.path)?);
        let file = RemoteFile {
            path,
            size: self.size,
            modified: self.modified.as_ref().map(ModifiedTime::from),
        };
        let why = self.why.as_deref().and_then(Unmet::from_word);
        Some(Seen { file, at: self.at, since: self.since.unwrap_or(self.at), why })
    }
}

#[cfg(test)]
mod tests;
