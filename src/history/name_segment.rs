//! Names of files in a form that is searched without being read whole: sorted lines, then a short
//! index over them. Pure.
//!
//! ```text
//! sales.csv TAB /out/sales.csv TAB acme TAB failed-1c0ffee5 TAB <run> TAB 1034 TAB 211 TAB 29
//!     TAB <run>
//! …
//! \x01<key> TAB <where its part begins>      a line for each part
//! \x01 TAB <where the index begins>          the last line, of one length
//! ```
//!
//! A line tells: the file's name in small letters, its path, the source, what became of the file,
//! the newest run that tells so, where that run's manifest tells it, how many runs tell the same,
//! and the first of them.

use std::ops::Range;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::model::{hex, printable};
use crate::report::{Line, Word};
use crate::settings::percent_decode;

/// Bytes of lines that one entry of the index stands for.
const PART: usize = 64 << 10;
/// Room for the numbers of a line, and what stands between its fields.
const NUMBERS: usize = 28;
/// The length of the last line.
pub(crate) const TRAILER: usize = 23;
/// What lines of the index begin with: no printable name does.
const MARK: char = '\u{1}';

/// What one manifest, or several that say the same, tell of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameEntry {
    /// Its name without folders, in small letters.
    pub key: String,
    /// Its path at the source, safe for a line.
    pub path: String,
    /// Its source.
    pub source: Arc<str>,
    /// What became of it, and a mark of its reason and version: what is equal is the same news.
    pub mark: String,
    /// The newest run that tells of it so.
    pub run: Arc<str>,
    /// Where the line begins in that run's manifest.
    pub at: u64,
    /// How many bytes the line has.
    pub bytes: u64,
    /// How many runs tell the same.
    pub runs: u64,
    /// The oldest of these runs.
    pub since_run: Arc<str>,
}

/// The file's name without folders, in small letters.
pub(crate) fn key_of(path: &str) -> String {
    path.rsplit('/').next().unwrap_or(path).to_lowercase()
}

impl NameEntry {
    /// Of a line that the manifest of `run` has at `at`.
    pub fn of(source: &Arc<str>, run: &Arc<str>, at: u64, bytes: &[u8]) -> Option<Self> {
        let line = Line::parse(bytes).ok()?;
        let raw = percent_decode(&line.path).unwrap_or_else(|| line.path.clone().into_bytes());
        let path = printable(&raw);
        let why = format!("{:?} {:?} {:?}", line.reason, line.class, line.version);
        let digest = hex(&Sha256::digest(why.as_bytes())[..4]);
        Some(Self {
            key: key_of(&path),
            path,
            source: source.clone(),
            mark: format!("{}-{digest}", word(line.outcome)),
            run: run.clone(),
            at,
            bytes: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            runs: 1,
            since_run: run.clone(),
        })
    }

    /// What became of it.
    pub fn outcome(&self) -> Word {
        let told = self.mark.split('-').next().unwrap_or_default();
        let all = [Word::Ingested, Word::Skipped, Word::Gone, Word::Deferred, Word::Failed];
        all.into_iter().find(|outcome| word(*outcome) == told).unwrap_or(Word::Deferred)
    }

    /// Reads a line.
    pub fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split('\t');
        let entry = Self {
            key: fields.next()?.to_owned(),
            path: fields.next()?.to_owned(),
            source: fields.next()?.into(),
            mark: fields.next()?.to_owned(),
            run: fields.next()?.into(),
            at: fields.next()?.parse().ok()?,
            bytes: fields.next()?.parse().ok()?,
            runs: fields.next()?.parse().ok()?,
            since_run: fields.next()?.into(),
        };
        fields.next().is_none().then_some(entry)
    }

    fn line(&self) -> String {
        let Self { key, path, source, mark, run, at, bytes, runs, since_run } = self;
        format!("{key}\t{path}\t{source}\t{mark}\t{run}\t{at}\t{bytes}\t{runs}\t{since_run}\n")
    }

    /// Takes in what `other` tells, which is the same news.
    fn join(&mut self, other: Self) {
        // One run is told twice where two segments overlap.
        let twice = self.run == other.run || self.since_run == other.since_run;
        let runs = if twice { self.runs.max(other.runs) } else { self.runs + other.runs };
        let since = self.since_run.clone().min(other.since_run.clone());
        if other.run > self.run {
            *self = other;
        }
        (self.runs, self.since_run) = (runs, since);
    }
}

fn word(outcome: Word) -> &'static str {
    match outcome {
        Word::Ingested => "ingested",
        Word::Skipped => "skipped",
        Word::Gone => "gone",
        Word::Deferred => "deferred",
        Word::Failed => "failed",
    }
}

/// Sorts entries by name, and makes one of those that tell the same news.
pub(crate) fn fold(mut entries: Vec<NameEntry>) -> Vec<NameEntry> {
    fn news(entry: &NameEntry) -> [&str; 4] {
        [&entry.key, &entry.path, &entry.source, &entry.mark]
    }
    entries.sort_by(|one, other| news(one).cmp(&news(other)));
    entries.dedup_by(|next, known| {
        let is_same = news(next) == news(known);
        if is_same {
            known.join(next.clone());
        }
        is_same
    });
    entries
}

/// A segment of `entries`, which [`fold`] has sorted.
pub(crate) fn to_bytes(entries: &[NameEntry]) -> Vec<u8> {
    let text = |entry: &NameEntry| {
        let NameEntry { key, path, source, mark, run, since_run, .. } = entry;
        [key, path, mark].map(String::len).iter().sum::<usize>()
            + [source, run, since_run].map(|text| text.len()).iter().sum::<usize>()
    };
    // A vector that grows takes twice the memory for a moment.
    let room = entries.iter().map(|entry| text(entry) + NUMBERS).sum();
    let (mut bytes, mut parts) = (Vec::with_capacity(room), Vec::new());
    let mut end_of_part = 0;
    for entry in entries {
        if bytes.len() >= end_of_part {
            parts.push(format!("{MARK}{}\t{}\n", entry.key, bytes.len()));
            end_of_part = bytes.len() + PART;
        }
        bytes.extend(entry.line().into_bytes());
    }
    let begin = bytes.len();
    parts.iter().for_each(|part| bytes.extend(part.as_bytes()));
    bytes.extend(format!("{MARK}\t{begin:020}\n").into_bytes());
    bytes
}

/// Where the index of a segment begins, by its last [`TRAILER`] bytes.
pub(crate) fn index_begin(trailer: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(trailer).ok()?.strip_suffix('\n')?;
    text.strip_prefix(MARK)?.strip_prefix('\t')?.parse().ok()
}

/// Where lines with the name `key` may stand; `index` is all that follows `begin`.
pub(crate) fn part_of(index: &[u8], begin: u64, key: &str) -> Option<Range<u64>> {
    let text = std::str::from_utf8(index).ok()?;
    let parts: Vec<(&str, u64)> = text
        .lines()
        .filter_map(|line| line.strip_prefix(MARK)?.rsplit_once('\t'))
        .filter_map(|(key, at)| Some((key, at.parse().ok()?)))
        .collect();
    // The last line tells where the index begins.
    let (_, parts) = parts.split_last()?;
    let first = parts.partition_point(|(at, _)| *at < key).saturating_sub(1);
    let last = parts.partition_point(|(at, _)| *at <= key);
    let from = parts.get(first).map_or(0, |(_, at)| *at);
    Some(from..parts.get(last).map_or(begin, |(_, at)| *at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, run: &str) -> NameEntry {
        let line = format!(r#"{{"path":"{path}","outcome":"failed","class":"permission"}}"#);
        NameEntry::of(&"acme".into(), &run.into(), 7, line.as_bytes()).expect("a line")
    }

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let entry = entry("/out/caf%E9%0A%09Sales.CSV", "r1");
        assert_eq!(entry.key, r"caf\xe9\x0a\x09sales.csv");
        let bytes = to_bytes(std::slice::from_ref(&entry));
        let first = std::str::from_utf8(&bytes).expect("text").lines().next().expect("a line");
        assert_eq!(NameEntry::parse(first), Some(entry.clone()));
        assert_eq!(entry.outcome(), Word::Failed);
    }

    #[test]
    fn runs_that_tell_the_same_are_one_line_and_none_counts_twice() {
        let told = |runs: &[&str]| fold(runs.iter().map(|run| entry("/a", run)).collect());
        let [one] = told(&["r2", "r1", "r3"]).try_into().expect("one");
        assert_eq!((one.runs, &*one.run, &*one.since_run), (3, "r3", "r1"));
        let again = fold(vec![one.clone(), one.clone(), entry("/a", "r3")]);
        assert_eq!(again, [one]);
    }

    #[test]
    fn a_name_is_found_by_the_index_and_its_part_alone() {
        let many = (0..5_000).map(|n| entry(&format!("/out/{}/file-{n:05}.csv", n % 7), "r1"));
        let entries = fold(many.chain([entry("/x/file-02500.csv", "r1")]).collect());
        let bytes = to_bytes(&entries);
        let begin = index_begin(&bytes[bytes.len() - TRAILER..]).expect("an index");
        let at = usize::try_from(begin).expect("small");
        for key in ["file-00000.csv", "file-02500.csv", "file-04999.csv"] {
            let part = part_of(&bytes[at..], begin, key).expect("a part");
            assert!(part.end - part.start < 3 * PART as u64, "{part:?}");
            let range = usize::try_from(part.start).expect("small")
                ..usize::try_from(part.end).expect("small");
            let text = std::str::from_utf8(&bytes[range]).expect("text");
            let found = text.lines().filter_map(NameEntry::parse).filter(|e| e.key == key).count();
            assert_eq!(found, entries.iter().filter(|e| e.key == key).count(), "{key}");
        }
        let none = part_of(&bytes[at..], begin, "a").expect("a part");
        assert!(none.end - none.start <= 2 * PART as u64);
    }
}
