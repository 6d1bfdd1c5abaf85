//! What the server truly holds, and every content that ever stood under a path.

use std::collections::BTreeMap;
use std::time::Duration;

use blobferry::model::RemotePath;
use bytes::Bytes;
use time::OffsetDateTime;
use tokio::time::Instant;

/// A content of a file.
#[derive(Clone, Debug)]
pub struct HeldFile {
    /// Contents are counted: a later one has a higher number.
    pub serial: u64,
    pub bytes: Bytes,
    pub modified: OffsetDateTime,
    /// Whether its writer had finished.
    pub whole: bool,
}

/// What becomes of a file when its time comes.
type Change = fn(&mut SourceTruth, &RemotePath);

#[derive(Debug, Default)]
pub struct SourceTruth {
    pub files: BTreeMap<RemotePath, HeldFile>,
    /// Every content of each path, the oldest first.
    pub history: BTreeMap<RemotePath, Vec<HeldFile>>,
    /// Files that somebody has open for writing, and what he does to them when.
    writers: Vec<(Instant, RemotePath, Change)>,
    pub serial: u64,
    /// What was taken away, and comes back as another file of equal size and time.
    away: Vec<(RemotePath, HeldFile)>,
}

impl SourceTruth {
    fn put(&mut self, path: &RemotePath, bytes: Bytes, modified: OffsetDateTime, whole: bool) {
        let held = HeldFile { serial: self.serial, bytes, modified, whole };
        self.files.insert(path.clone(), held.clone());
        self.history.entry(path.clone()).or_default().push(held);
    }

    /// Text that tells its path and is another one each time, of `length` bytes, or of as many as
    /// that takes.
    fn text(&mut self, path: &RemotePath, length: usize) -> Bytes {
        self.serial += 1;
        let number = self.history.get(path).map_or(0, Vec::len);
        let unit = format!("{number:06} of {path} | ");
        let length = length.max(unit.len());
        unit.bytes().cycle().take(length).collect::<Vec<u8>>().into()
    }

    pub fn write(&mut self, path: &RemotePath, length: usize, modified: OffsetDateTime) {
        let bytes = self.text(path, length);
        self.put(path, bytes, modified, true);
    }

    /// Other bytes of equal length, modified `later` than those before.
    pub fn replace(&mut self, path: &RemotePath, later: time::Duration) {
        let Some(old) = self.files.get(path).cloned() else { return };
        let bytes = self.text(path, old.bytes.len());
        self.put(path, bytes, old.modified + later, old.whole);
    }

    /// What was there stays, and more comes after it.
    pub fn grow(&mut self, path: &RemotePath) {
        let Some(old) = self.files.get(path).cloned() else { return };
        let more = self.text(path, 0);
        let bytes = [old.bytes, more].concat().into();
        self.put(path, bytes, old.modified + time::Duration::seconds(7), true);
    }

    /// A file that is written now, and of which only the beginning is there.
    pub fn begin(&mut self, path: &RemotePath) {
        let bytes = self.text(path, 0);
        self.put(path, bytes, OffsetDateTime::now_utc(), false);
    }

    pub fn remove(&mut self, path: &RemotePath) {
        self.files.remove(path);
    }

    /// The same bytes with another time.
    pub fn touch(&mut self, path: &RemotePath, later: time::Duration) {
        if let Some(held) = self.files.get_mut(path) {
            held.modified += later;
        }
    }

    /// Another one of its size and time will come back for it.
    pub fn remember(&mut self, path: &RemotePath) {
        let held = self.files.get(path).cloned();
        self.away.extend(held.map(|held| (path.clone(), held)));
    }

    pub fn take_away(&mut self, path: &RemotePath) {
        self.remember(path);
        self.remove(path);
    }

    /// What was taken away is back as it was, where nothing else took its place; whether there was
    /// any.
    pub fn put_back(&mut self) -> bool {
        let away = std::mem::take(&mut self.away);
        let any = !away.is_empty();
        for (path, held) in away {
            self.files.entry(path).or_insert(held);
        }
        any
    }

    /// What was taken away comes back as others; whether there was any.
    pub fn bring_back(&mut self) -> bool {
        let away = std::mem::take(&mut self.away);
        for (path, old) in &away {
            let bytes = self.text(path, old.bytes.len());
            self.put(path, bytes, old.modified, true);
        }
        !away.is_empty()
    }

    /// Somebody has the file open, and will change it.
    pub fn later(&mut self, path: &RemotePath, after: Duration, change: Change) {
        self.writers.push((Instant::now() + after, path.clone(), change));
    }

    pub fn is_open(&self, path: &RemotePath) -> bool {
        self.writers.iter().any(|(_, open, _)| open == path)
    }

    /// What is due by now happens.
    pub fn tick(&mut self) {
        let now = Instant::now();
        let due: Vec<_> = self.writers.extract_if(.., |(at, ..)| *at <= now).collect();
        due.into_iter().for_each(|(_, path, change)| change(self, &path));
    }

    /// The content that stood under a path with this number.
    pub fn content(&self, path: &RemotePath, serial: u64) -> Option<&HeldFile> {
        self.history.get(path)?.iter().find(|held| held.serial == serial)
    }
}
