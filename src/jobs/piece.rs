//! The plan of a pass and its pieces, as they are stored. Pure.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::twin_folders::TwinFolders;
use crate::ledger::{BlobPlace, SeenRecord};
use crate::model::{ModifiedTime, Precision, RemoteFile, RemotePath, Version, hex, md5_of_hex};
use crate::report::SourceReport;
use crate::rules::naming::escaped_for_metadata;
use crate::rules::plan::Why;
use crate::rules::plan::known::{History, Known, Seen};
use crate::settings::percent_decode;
use crate::state::version;
use crate::transfer::alike_names::OtherName;
use crate::transfer::request::Transfer;

/// The version of all that is written here.
pub(crate) const SCHEMA: u32 = version::VERSION;

/// What a survey came to, and how its work was cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PiecePlan {
    /// See [`SCHEMA`].
    pub schema: u32,
    /// The run.
    pub run: String,
    /// The pass.
    pub pass: String,
    /// The source.
    pub source: String,
    /// When the pass began.
    #[serde(with = "time::serde::rfc3339")]
    pub began: OffsetDateTime,
    /// How many pieces there are.
    pub pieces: u32,
    /// How many of them are done side by side.
    pub lanes: u32,
    /// Logins of each.
    pub logins: usize,
    /// Whether an earlier run did not end: blobs may be there that no record speaks of.
    pub unclean: bool,
    /// Dead runs of which this pass tells what they recorded.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub recovered: BTreeMap<String, u64>,
    /// How many files are remembered that were seen and not taken.
    #[serde(default)]
    pub sightings: usize,
    /// Folders that stand for more of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting_folders: Vec<SeenRecord>,
    /// Whether the source's times are known to move at every look.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restless: bool,
    /// Where its blobs go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<BlobPlace>,
    /// Since when nothing of the source has arrived while files waited beyond a limit.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "time::serde::rfc3339::option"
    )]
    pub over_limit_since: Option<OffsetDateTime>,
    /// Folders under two spellings of which pieces bring files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub twin_folders: Vec<TwinFolders>,
    /// Files in all pieces.
    pub files: u64,
    /// Their bytes, as far as the source told.
    pub bytes: u64,
    /// What the survey itself came to.
    pub surveyed: SourceReport,
}

/// The first line of a piece.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// See [`SCHEMA`].
    pub schema: u32,
    /// The journal that it records in.
    pub journal: String,
    /// When its files, which may still be written, were seen.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "time::serde::rfc3339::option"
    )]
    pub young_since: Option<OffsetDateTime>,
}

/// A file of a piece.
#[derive(Clone, Debug)]
pub struct Item {
    /// What is to be done.
    pub transfer: Transfer,
    /// How often a worker ran out of time while it was at this file.
    pub interrupted: u32,
    /// When an earlier run saw it and did not take it: a piece reads nothing else of the ledger.
    pub seen: Option<Seen>,
    /// Another file whose name differs from its own in case alone.
    pub alike: Option<OtherName>,
}

/// What became of a piece.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PieceOutcome {
    /// See [`SCHEMA`].
    pub schema: u32,
    /// Counts and failures of its files.
    pub report: SourceReport,
    /// Its lines of the run's manifest, as they are appended to it.
    pub lines: String,
    /// What its worker ran out of time for: the next part of the piece, as [`to_bytes`] writes it.
    /// It is in one blob with what became of the others, so that of two workers at a piece one
    /// decides about both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest: Option<String>,
    /// When it ended.
    #[serde(with = "time::serde::rfc3339")]
    pub ended: OffsetDateTime,
}

#[derive(Serialize, Deserialize)]
struct Time {
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    precision: Precision,
}

#[derive(Serialize, Deserialize)]
struct KnownLine {
    size: Option<u64>,
    modified: Option<Time>,
    listed: Option<Time>,
    version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    md5: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    left: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    read: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    moves: bool,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "time::serde::rfc3339::option"
    )]
    looked: Option<OffsetDateTime>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "time::serde::rfc3339::option"
    )]
    refused: Option<OffsetDateTime>,
}

impl KnownLine {
    fn of(known: &Known) -> Self {
        let History { read, md5, looked, moves, left, refused } = &known.history;
        Self {
            size: known.size,
            modified: time(known.modified),
            listed: time(known.listed),
            version: known.version.to_string(),
            md5: md5.map(|md5| hex(&md5)),
            left: *left,
            read: *read,
            moves: *moves,
            looked: *looked,
            refused: *refused,
        }
    }

    fn known(self) -> Option<Known> {
        let md5 = self.md5.as_deref().and_then(md5_of_hex);
        let Self { left, moves, looked, refused, .. } = self;
        Some(Known {
            size: self.size,
            modified: modified(self.modified),
            listed: modified(self.listed),
            version: Version::from_hex(&self.version)?,
            history: History {
                read: self.read || md5.is_some(),
                md5,
                looked,
                moves,
                left,
                refused,
            },
        })
    }
}

#[derive(Serialize, Deserialize)]
struct OtherLine {
    path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    known: Option<KnownLine>,
}

#[derive(Serialize, Deserialize)]
struct PieceLine {
    path: String,
    size: Option<u64>,
    modified: Option<Time>,
    listed: Option<Time>,
    why: Why,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    known: Option<KnownLine>,
    #[serde(default, skip_serializing_if = "is_zero")]
    interrupted: u32,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    rests: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    yields: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seen: Option<SeenRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alike: Option<OtherLine>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

fn time(modified: Option<ModifiedTime>) -> Option<Time> {
    modified.map(|modified| Time { at: modified.at, precision: modified.precision })
}

fn modified(time: Option<Time>) -> Option<ModifiedTime> {
    time.map(|time| ModifiedTime::new(time.at, time.precision))
}

impl PieceLine {
    fn of(item: &Item) -> Self {
        let Transfer { file, listed, why, known, rests, yields } = &item.transfer;
        let alike = item.alike.as_ref().map(|other| OtherLine {
            path: escaped_for_metadata(other.path.as_bytes()),
            known: other.known.as_ref().map(KnownLine::of),
        });
        Self {
            path: escaped_for_metadata(file.path.as_bytes()),
            size: file.size,
            modified: time(file.modified),
            listed: time(*listed),
            why: *why,
            known: known.as_deref().map(KnownLine::of),
            interrupted: item.interrupted,
            rests: *rests,
            yields: *yields,
            seen: item.seen.as_ref().map(SeenRecord::of),
            alike,
        }
    }

    fn item(self) -> Option<Item> {
        let known = match self.known {
            None => None,
            Some(known) => Some(Box::new(known.known()?)),
        };
        let alike = match self.alike {
            None => None,
            Some(other) => Some(OtherName {
                path: RemotePath::new(percent_decode(&other.path)?),
                known: other.known.and_then(KnownLine::known),
            }),
        };
        let file = RemoteFile {
            path: RemotePath::new(percent_decode(&self.path)?),
            size: self.size,
            modified: modified(self.modified),
        };
        Some(Item {
            transfer: Transfer {
                file,
                listed: modified(self.listed),
                why: self.why,
                known,
                rests: self.rests,
                yields: self.yields,
            },
            interrupted: self.interrupted,
            seen: self.seen.and_then(|seen| seen.sighting()),
            alike,
        })
    }
}

/// A piece as it is stored: a line for its header, and one for each file.
pub(crate) fn to_bytes(header: &Header, items: &[Item]) -> Bytes {
    let mut bytes = serde_json::to_vec(header).expect("a header holds nothing that JSON cannot");
    for item in items {
        bytes.push(b'\n');
        serde_json::to_writer(&mut bytes, &PieceLine::of(item))
            .expect("a file's line holds nothing that JSON cannot");
    }
    bytes.push(b'\n');
    bytes.into()
}

/// Reads what [`to_bytes`] wrote, or says what is wrong with it.
pub(crate) fn parse(bytes: &[u8]) -> Result<(Header, Vec<Item>), String> {
    let whole = bytes.strip_suffix(b"\n").ok_or("its last line does not end")?;
    let mut lines = whole.split(|byte| *byte == b'\n');
    let header: Header = serde_json::from_slice(lines.next().unwrap_or_default())
        .map_err(|error| format!("line 1: {error}"))?;
    if header.schema > SCHEMA {
        return Err(format!(
            "it was written by a later release (schema {}, this one knows {SCHEMA})",
            header.schema
        ));
    }
    let item = |(n, line): (usize, &[u8])| {
        let read: PieceLine =
            serde_json::from_slice(line).map_err(|error| format!("line {}: {error}", n + 2))?;
        read.item().ok_or_else(|| format!("line {}: path or version is not one", n + 2))
    };
    let items = lines.enumerate().map(item).collect::<Result<_, String>>()?;
    Ok((header, items))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::plan::known::Unmet;
    use time::macros::datetime;

    #[test]
    fn a_piece_is_read_as_it_was_written() {
        let seen = ModifiedTime::new(datetime!(2026-11-20 10:00 UTC), Precision::Minute);
        let file = RemoteFile {
            path: RemotePath::new(b"/a\n\xFF b%.csv".to_vec()),
            size: Some(7),
            modified: Some(seen),
        };
        let history = History {
            read: true,
            md5: Some([7; 16]),
            looked: Some(seen.at),
            moves: true,
            left: true,
            refused: Some(seen.at),
        };
        let known = Known {
            size: None,
            modified: Some(seen),
            listed: None,
            version: Version::of(&file),
            history,
        };
        let one = Transfer {
            file: file.clone(),
            listed: Some(seen),
            why: Why::Recheck,
            known: Some(Box::new(known.clone())),
            rests: true,
            yields: true,
        };
        let other = Transfer {
            file: RemoteFile { size: None, modified: None, ..file },
            listed: None,
            why: Why::New,
            known: None,
            rests: false,
            yields: false,
        };
        let alike = OtherName { path: RemotePath::from("/A b%.csv"), known: Some(known) };
        let sighting = Seen { why: Some(Unmet::Changed), ..Seen::new(one.file.clone(), seen.at) };
        let items = [
            Item { transfer: one, interrupted: 2, seen: Some(sighting), alike: Some(alike) },
            Item { transfer: other, interrupted: 0, seen: None, alike: None },
        ];
        let header =
            Header { schema: SCHEMA, journal: "journal-x".into(), young_since: Some(seen.at) };
        let bytes = to_bytes(&header, &items);
        let (read, back) = parse(&bytes).expect("it is read");
        assert_eq!(read, header);
        assert_eq!(format!("{back:?}"), format!("{items:?}"));
        for length in 0..bytes.len() {
            assert!(
                parse(&bytes[..length]).is_err() || bytes[..length].ends_with(b"\n"),
                "{length}"
            );
        }
        let later = Header { schema: SCHEMA + 1, ..header };
        assert!(parse(&to_bytes(&later, &[])).expect_err("refused").contains("later release"));
    }
}
