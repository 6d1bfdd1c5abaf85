//! The lines of a journal.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::model::{ModifiedTime, Precision, RemoteFile, RemotePath, Version};
use crate::naming::escaped_for_metadata;
use crate::plan::{Known, Seen};
use crate::settings::percent_decode;

/// The version of the lines below. A journal of a later one is refused, not guessed at.
pub const SCHEMA: u32 = 1;

/// One line of a journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub enum Record {
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
    },
    /// A file is in the store.
    File(FileRecord),
    /// A file was seen and not taken.
    Seen(SeenRecord),
    /// A run ended in good order.
    End {
        /// The run's id.
        run: String,
    },
}

/// A file that is in the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileRecord {
    path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    modified: Option<TimeRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    listed: Option<TimeRecord>,
    version: String,
    run: String,
    blobs: u64,
    bytes: u64,
}

/// A file that was seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeenRecord {
    path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    modified: Option<TimeRecord>,
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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

/// Why a line means nothing to us.
#[derive(Debug, thiserror::Error)]
pub enum BadRecord {
    /// Not a line of ours.
    #[error("line {line} of `{journal}` is damaged")]
    Damaged {
        /// The blob's name.
        journal: String,
        /// The line's number, from 1.
        line: usize,
        /// What the parser says.
        #[source]
        cause: crate::model::BoxError,
    },
    /// Written by a later release.
    #[error("`{journal}` was written by a later release (schema {found}, this one knows {SCHEMA}): run that release, or a later one")]
    Future {
        /// The blob's name.
        journal: String,
        /// Its schema.
        found: u32,
    },
}

impl Record {
    /// The record of an ingested file.
    pub fn file(path: &RemotePath, known: &Known, run: &str, blobs: u64, bytes: u64) -> Self {
        Record::File(FileRecord {
            path: escaped_for_metadata(path.as_bytes()),
            size: known.size,
            modified: known.modified.as_ref().map(TimeRecord::from),
            listed: known.listed.as_ref().filter(|listed| known.modified.as_ref() != Some(listed)).map(TimeRecord::from),
            version: known.version.to_string(),
            run: run.to_owned(),
            blobs,
            bytes,
        })
    }

    /// The record of a sighting.
    pub fn seen(seen: &Seen) -> Self {
        Record::Seen(SeenRecord {
            path: escaped_for_metadata(seen.file.path.as_bytes()),
            size: seen.file.size,
            modified: seen.file.modified.as_ref().map(TimeRecord::from),
            at: seen.at,
        })
    }

    /// This record as a line, with its end.
    pub fn to_line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("records hold nothing that JSON cannot");
        line.push(b'\n');
        line
    }
}

/// Reads the lines of a journal (or of its tail, of which the first line has number `first`).
pub fn parse(journal: &str, first: usize, bytes: &[u8]) -> Result<Vec<Record>, BadRecord> {
    let damaged = |line: usize, cause: crate::model::BoxError| BadRecord::Damaged { journal: journal.to_owned(), line, cause };
    let mut records = Vec::new();
    for (at, line) in bytes.split_inclusive(|b| *b == b'\n').enumerate() {
        let number = first + at;
        let Some(text) = line.strip_suffix(b"\n") else {
            return Err(damaged(number, "the line does not end".into()));
        };
        let record: Record = serde_json::from_slice(text).map_err(|error| damaged(number, error.into()))?;
        match &record {
            Record::Schema { version } if *version > SCHEMA => return Err(BadRecord::Future { journal: journal.to_owned(), found: *version }),
            Record::File(file) if Version::from_hex(&file.version).is_none() || percent_decode(&file.path).is_none() => {
                return Err(damaged(number, "path or version is not one".into()));
            }
            Record::Seen(seen) if percent_decode(&seen.path).is_none() => return Err(damaged(number, "path is not one".into())),
            _ => records.push(record),
        }
    }
    Ok(records)
}

impl FileRecord {
    /// The path and what is known of it.
    pub fn known(&self) -> Option<(RemotePath, Known)> {
        let modified = self.modified.as_ref().map(ModifiedTime::from);
        let listed = self.listed.as_ref().map(ModifiedTime::from).or(modified);
        let known = Known { size: self.size, modified, listed, version: Version::from_hex(&self.version)? };
        Some((RemotePath::new(percent_decode(&self.path)?), known))
    }
}

impl SeenRecord {
    /// The sighting.
    pub fn sighting(&self) -> Option<Seen> {
        let path = RemotePath::new(percent_decode(&self.path)?);
        let file = RemoteFile { path, size: self.size, modified: self.modified.as_ref().map(ModifiedTime::from) };
        Some(Seen { file, at: self.at })
    }
}
