//! A snapshot's index: sorted records of 32 bytes, used as they were read.

use std::collections::HashMap;
use std::ops::Range;

use bytes::Bytes;

use crate::ledger::error::{BadState, SCHEMA};
use crate::ledger::key::{Key, key};
use crate::ledger::packed::IndexPacked;
use crate::ledger::record::{Check, Record, scan};
use crate::model::RemotePath;
use crate::rules::plan::known::{Known, Seen, Unmet};

/// `BFLEDGER`, the schema (4 bytes), 4 zeros, the number of records (8 bytes), little-endian; the
/// records; then, as lines of a journal, what does not fit into a record.
const MAGIC: &[u8; 8] = b"BFLEDGER";
const HEADER: usize = 24;
const RECORD: usize = 32;

/// The index of a snapshot. Cloning it copies no record.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Sorted by key; each is a key and a [`IndexPacked`].
    records: Bytes,
    lines: Bytes,
    beside: HashMap<Key, Known>,
    seen: HashMap<Key, Seen>,
}

impl Snapshot {
    /// Reads what [`SnapshotBuilder::finish`] wrote as `blob`.
    pub fn parse(blob: &str, bytes: &Bytes) -> Result<Self, BadState> {
        let bad = |why: &str| BadState::Blob { blob: blob.to_owned(), why: why.to_owned() };
        let header = bytes
            .get(..HEADER)
            .filter(|header| header.starts_with(MAGIC))
            .ok_or_else(|| bad("it is no index"))?;
        let schema = u32::from_le_bytes(header[8..12].try_into().expect("four bytes"));
        if schema > SCHEMA {
            return Err(BadState::Future { blob: blob.to_owned(), found: schema.into() });
        }
        let count = u64::from_le_bytes(header[16..24].try_into().expect("eight bytes"));
        let end = usize::try_from(count)
            .ok()
            .and_then(|count| count.checked_mul(RECORD)?.checked_add(HEADER));
        let end = end
            .filter(|end| *end <= bytes.len())
            .ok_or_else(|| bad("it has fewer records than it says"))?;
        let mut snapshot = Self {
            records: bytes.slice(HEADER..end),
            lines: bytes.slice(end..),
            ..Self::default()
        };
        if (1..snapshot.len()).any(|n| snapshot.key_at(n - 1) >= snapshot.key_at(n)) {
            return Err(bad("its records are not in order"));
        }
        let lines = snapshot.lines.clone();
        scan(blob, &lines, Check::WherePresent, |_, record| snapshot.take_in(&record))?;
        Ok(snapshot)
    }

    fn take_in(&mut self, record: &Record) {
        match record {
            Record::File(file) => {
                if let Some((path, known)) = file.known() {
                    self.beside.insert(key(&path), known.indexed());
                }
            }
            Record::Seen(seen) => {
                if let Some(seen) = seen.sighting() {
                    self.seen.insert(key(&seen.file.path), seen);
                }
            }
            _ => {}
        }
    }

    fn key_at(&self, n: usize) -> &[u8] {
        &self.records[n * RECORD..n * RECORD + 16]
    }

    /// How many files it knows.
    pub fn len(&self) -> usize {
        self.records.len() / RECORD
    }

    /// The first record that is not before `key`.
    fn first_from(&self, key: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.key_at(middle) < key { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// What it knows by this key.
    pub(crate) fn find(&self, key: &Key) -> Option<IndexPacked> {
        let at = self.first_from(key);
        if at == self.len() || self.key_at(at) != key {
            return None;
        }
        let record = &self.records[at * RECORD..(at + 1) * RECORD];
        Some(IndexPacked::from_bytes(record[16..].try_into().expect("half of a record")))
    }

    /// What it knows of the file at `path`, whose key is `key`.
    pub fn known(&self, key: &Key, path: &RemotePath) -> Option<Known> {
        self.find(key)?.known(path).or_else(|| self.beside.get(key).cloned())
    }

    /// When it was told that a file was seen and not taken.
    pub fn seen(&self, key: &Key) -> Option<&Seen> {
        self.seen.get(key)
    }

    /// Whether it was told of no such file.
    pub(crate) fn seen_is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// How many such files it was told of.
    pub(crate) fn seen_len(&self) -> usize {
        self.seen.len()
    }

    /// All of them.
    pub(crate) fn all_seen(&self) -> impl Iterator<Item = (&Key, &Seen)> {
        self.seen.iter()
    }
}

/// Puts an index together, in the order of keys.
#[derive(Debug)]
pub(crate) struct SnapshotBuilder {
    bytes: Vec<u8>,
    lines: Vec<u8>,
}

impl SnapshotBuilder {
    /// One with room for so many files.
    pub fn new(files: usize) -> Self {
        let mut bytes = Vec::with_capacity(HEADER + files * RECORD);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&SCHEMA.to_le_bytes());
        bytes.extend_from_slice(&[0; 12]);
        Self { bytes, lines: Vec::new() }
    }

    /// Adds an entry. A file comes before the sighting of the same path.
    pub fn push(&mut self, entry: &Entry) {
        if let What::File(packed) = entry.what {
            self.bytes.extend_from_slice(&entry.key);
            self.bytes.extend_from_slice(&packed.to_bytes());
        }
        if entry.what == What::Seen || entry.what == What::File(IndexPacked::BESIDE) {
            self.lines.extend_from_slice(&entry.line);
        }
    }

    /// Adds what `snapshot` knows by keys of which the first four bytes, as a number, are in
    /// `range`.
    pub fn copy(&mut self, snapshot: &Snapshot, range: &Range<u64>) {
        let bound = |at: u64| {
            u32::try_from(at).map_or(snapshot.len(), |at| snapshot.first_from(&at.to_be_bytes()))
        };
        self.bytes.extend_from_slice(
            &snapshot.records[bound(range.start) * RECORD..bound(range.end) * RECORD],
        );
        let mut keep = |at: Range<usize>, record: Record| {
            if Entry::of(&record, &Bytes::new())
                .is_some_and(|entry| range.contains(&prefix(&entry.key)))
            {
                self.lines.extend_from_slice(&snapshot.lines[at]);
            }
        };
        scan("", &snapshot.lines, Check::WherePresent, &mut keep).expect("it was read before");
    }

    /// How many files it knows by now.
    pub fn len(&self) -> usize {
        (self.bytes.len() - HEADER) / RECORD
    }

    /// The index as it is stored.
    pub fn finish(mut self) -> Bytes {
        let count = self.len() as u64;
        self.bytes[16..24].copy_from_slice(&count.to_le_bytes());
        self.bytes.append(&mut self.lines);
        self.bytes.into()
    }
}

/// The first four bytes of a key: what shards go by.
pub fn prefix(key: &Key) -> u64 {
    u64::from(u32::from_be_bytes([key[0], key[1], key[2], key[3]]))
}

/// What a line of a journal or of a shard says of a path.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The path's key.
    pub key: Key,
    /// What it says.
    pub what: What,
    /// The line.
    pub line: Bytes,
}

/// What a line says of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It is in the store.
    File(IndexPacked),
    /// It was seen and not taken.
    Seen,
    /// It was seen once, and is not there any more.
    Over,
}

impl Entry {
    /// What `record`, whose line is `line`, says; `None` if it is about no path.
    pub fn of(record: &Record, line: &Bytes) -> Option<Self> {
        let (key, what) = match record {
            Record::File(file) => {
                let (path, known) = file.known()?;
                (
                    key(&path),
                    What::File(IndexPacked::of(&path, &known).unwrap_or(IndexPacked::BESIDE)),
                )
            }
            Record::Seen(seen) => {
                let sighting = seen.sighting()?;
                let is_over = sighting.why == Some(Unmet::Over);
                (key(&sighting.file.path), if is_over { What::Over } else { What::Seen })
            }
            _ => return None,
        };
        Some(Self { key, what, line: line.clone() })
    }
}
