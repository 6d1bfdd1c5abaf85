//! One folder, listed as often as it takes: each entry is told once, and every line is counted.

use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::failpoint::safeguard_off;
use crate::model::RemotePath;
use crate::runtime::retry::{Policy, retry};
use crate::source::contract::{Aside, Listed, SourceError};
use crate::source::pool::Pool;
use crate::source::room::{MemoryRoom, RoomPart};

/// Entries that are handed on together: a folder may hold more than fits into memory.
const BATCH: usize = 1024;
/// And bytes of their names.
const BATCH_BYTES: usize = 256 << 10;
/// Names with capitals that are compared with others of their folder, at most.
const MOST_CAPITALS: usize = 20_000;
/// What a hash takes in its set.
const HASH: u64 = 9;

/// Some of what a folder holds.
#[derive(Debug, Default)]
pub(crate) struct FolderBatch {
    /// How deep the folder lies.
    pub depth: usize,
    /// Entries that were not told before.
    pub entries: Vec<Listed>,
    /// Lines of the listing, whatever they say.
    pub lines: u64,
    /// What a reader of the report should know.
    pub notes: Vec<String>,
    /// Files whose names differ in case alone.
    pub alike: Vec<(RemotePath, RemotePath)>,
    /// Folders whose names do.
    pub alike_folders: Vec<(RemotePath, RemotePath)>,
}

/// How to list a folder.
pub(crate) struct Sift {
    /// The source's sessions.
    pub pool: Arc<Pool>,
    /// The folder.
    pub dir: RemotePath,
    /// How deep it lies.
    pub depth: usize,
    /// How stubborn to be.
    pub policy: Policy,
    /// Ends it.
    pub cancel: CancellationToken,
    /// For what is remembered of its entries.
    pub room: MemoryRoom,
    /// Who takes what is found. While nobody does, the server waits.
    pub to: mpsc::Sender<FolderBatch>,
}

impl Sift {
    /// Lists the folder. A listing that breaks off is begun again from its first entry.
    pub async fn run(self) -> Result<(), SourceError> {
        let told = Mutex::new(ToldEntries::new(&self.room));
        let (this, told) = (&self, &told);
        let result = retry(&this.policy, &this.cancel, "listing a folder", |attempt| {
            Box::pin(this.once(attempt, told))
        })
        .await;
        let last = lock(told).last(&this.dir);
        this.send(last).await;
        result
    }

    async fn once(&self, attempt: u32, told: &Mutex<ToldEntries>) -> Result<(), SourceError> {
        let mut lease = self.pool.lend_for_try(attempt, self.policy.attempts).await?;
        lock(told).begin_again();
        let visit = &mut |listed: Listed| lock(told).take(listed);
        let result = {
            let mut listing = pin!(lease.list(&self.dir, visit));
            loop {
                // What has been found is handed on before more is asked for.
                let step = poll_fn(|cx| match listing.as_mut().poll(cx) {
                    Poll::Ready(result) => Poll::Ready(Some(result)),
                    Poll::Pending if lock(told).is_full() => Poll::Ready(None),
                    Poll::Pending => Poll::Pending,
                });
                match step.await {
                    Some(result) => break result,
                    None => {
                        let batch = lock(told).batch();
                        self.send(batch).await;
                    }
                }
            }
        };
        lease.settle(&result);
        result
    }

    async fn send(&self, batch: FolderBatch) {
        if batch.lines > 0 || !batch.notes.is_empty() {
            // Without a receiver the walk is over.
            drop(self.to.send(FolderBatch { depth: self.depth, ..batch }).await);
        }
    }
}

/// What a folder was found to hold. Entries are known again by a hash of 64 bits: of a million
/// entries told before, one in 10^13 new ones is taken for one of them, and told by the next run.
struct ToldEntries {
    hashes: RandomState,
    /// Hashes of entries told by earlier readings of the folder, which broke off and do not count.
    before: HashSet<u64>,
    /// Hashes of entries told by the reading under way.
    now: HashSet<u64>,
    part: RoomPart,
    /// Whether there was no room to remember more: what comes twice from then on is told twice.
    forgets: bool,
    twice: u64,
    /// The first that came twice.
    example: Option<RemotePath>,
    /// Names with capitals, by the same names without, and whether they are folders.
    capitals: HashMap<(bool, RemotePath), RemotePath>,
    batch: FolderBatch,
    bytes: usize,
}

impl ToldEntries {
    fn new(room: &MemoryRoom) -> Self {
        Self {
            hashes: RandomState::new(),
            before: HashSet::new(),
            now: HashSet::new(),
            part: room.part(),
            forgets: false,
            twice: 0,
            example: None,
            capitals: HashMap::new(),
            batch: FolderBatch::default(),
            bytes: 0,
        }
    }

    /// The folder is listed from its first entry on.
    fn begin_again(&mut self) {
        self.before.extend(self.now.drain());
        (self.twice, self.example) = (0, None);
    }

    fn take(&mut self, listed: Listed) {
        match listed {
            Listed::Aside(Aside::Lines(lines)) => self.batch.lines += lines,
            Listed::Aside(Aside::Again(why)) => {
                self.begin_again();
                self.batch
                    .notes
                    .push(format!("it was listed again, one question at a time: {why}"));
            }
            Listed::Aside(Aside::Note(note)) => self.batch.notes.push(note.to_owned()),
            Listed::Aside(Aside::Doubt(why)) => {
                self.batch.notes.push(format!("its listing is taken for whole: {why}"))
            }
            listed => {
                self.batch.lines += 1;
                self.take_entry(listed);
            }
        }
    }

    fn take_entry(&mut self, listed: Listed) {
        let (kind, name) = key(&listed);
        let hash = self.hashes.hash_one((kind, name));
        let bytes = name.len();
        let is_line = matches!(listed, Listed::Unparsed(_));
        if !self.remember(hash) && !is_line && !safeguard_off!("entries-once") {
            self.twice += 1;
            self.example.get_or_insert_with(|| RemotePath::new(name));
        } else if !self.before.contains(&hash) {
            // What cannot be asked for has a name, too.
            if matches!(kind, 0 | 1 | 4) {
                let path = RemotePath::new(name);
                let other = self.compare_case(&path, kind == 1);
                let found = other.map(|other| (other, path));
                match kind {
                    1 => self.batch.alike_folders.extend(found),
                    _ => self.batch.alike.extend(found),
                }
            }
            self.bytes += bytes;
            self.batch.entries.push(listed);
        }
    }

    /// A file whose name differs from this one's in case alone, or such a folder.
    fn compare_case(&mut self, path: &RemotePath, is_folder: bool) -> Option<RemotePath> {
        let Some(folded) = folded(path) else {
            if self.capitals.is_empty() {
                return None;
            }
            return self.capitals.get(&(is_folder, path.clone())).cloned();
        };
        let kinds: &[u8] = if is_folder { &[1] } else { &[0, 4] };
        let is_listed = |hash| self.now.contains(&hash) || self.before.contains(&hash);
        if kinds.iter().any(|kind| is_listed(self.hashes.hash_one((*kind, folded.as_bytes())))) {
            return Some(folded);
        }
        let key = (is_folder, folded);
        let other = self.capitals.get(&key).cloned();
        if other.is_none() && self.capitals.len() < MOST_CAPITALS {
            self.capitals.insert(key, path.clone());
        }
        other
    }

    /// False if it is known from this reading of the folder.
    fn remember(&mut self, hash: u64) -> bool {
        let full = self.now.len() == self.now.capacity();
        if full && !self.forgets {
            // The set is about to grow to twice its size.
            let more = (self.now.capacity() as u64 + 8) * HASH;
            self.forgets = !self.part.grow(more);
        }
        if self.forgets && full { !self.now.contains(&hash) } else { self.now.insert(hash) }
    }

    fn is_full(&self) -> bool {
        self.batch.lines >= BATCH as u64 || self.bytes >= BATCH_BYTES
    }

    fn batch(&mut self) -> FolderBatch {
        self.bytes = 0;
        std::mem::take(&mut self.batch)
    }

    /// What is left when the listing has ended.
    fn last(&mut self, dir: &RemotePath) -> FolderBatch {
        let mut batch = self.batch();
        if let Some(example) = &self.example {
            let what = if self.twice == 1 {
                "an entry was".to_owned()
            } else {
                format!("{} entries were", self.twice)
            };
            batch.notes.push(format!("{what} listed twice, as `{example}`; each counts once"));
        }
        batch.notes.iter_mut().for_each(|note| *note = format!("{dir}: {note}"));
        batch
    }
}

/// What an entry is known by: a file and a folder may have one name, and both are told.
fn key(listed: &Listed) -> (u8, &[u8]) {
    match listed {
        Listed::File(file) | Listed::Untold(file) => (0, file.path.as_bytes()),
        Listed::Directory(path) => (1, path.as_bytes()),
        Listed::Symlink(path) => (2, path.as_bytes()),
        Listed::Special(path) => (3, path.as_bytes()),
        Listed::Unreachable(path, _) | Listed::Undescribed(path, _) => (4, path.as_bytes()),
        Listed::Unparsed(line) => (5, line.as_bytes()),
        Listed::Aside(_) => (6, b""),
    }
}

/// A path whose name has no capitals any more, if it had any.
fn folded(path: &RemotePath) -> Option<RemotePath> {
    let name = path.file_name();
    if name.iter().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
        return None;
    }
    let folded = match std::str::from_utf8(name) {
        Ok(text) => text.to_lowercase().into_bytes(),
        Err(_) => name.to_ascii_lowercase(),
    };
    (folded != name).then(|| path.parent().join(&folded))
}

/// No code panics while it holds this lock, so a poisoned one is still sound.
fn lock(told: &Mutex<ToldEntries>) -> MutexGuard<'_, ToldEntries> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RemoteFile;

    fn file(path: &str) -> Listed {
        Listed::File(RemoteFile { path: path.into(), size: None, modified: None })
    }

    fn told(lists: &[&[Listed]], room: u64) -> (usize, u64, Vec<String>) {
        let mut told = ToldEntries::new(&MemoryRoom::new(room));
        for list in lists {
            told.begin_again();
            list.iter().for_each(|listed| told.take(listed.clone()));
        }
        let batch = told.last(&"/d".into());
        (batch.entries.len(), batch.lines, batch.notes)
    }

    #[test]
    fn an_entry_counts_once_however_often_it_is_listed_and_every_line_counts() {
        let (a, b, dir) = (file("/d/a"), file("/d/b"), Listed::Directory("/d/a".into()));
        let nothing = Listed::Aside(Aside::Lines(500));
        let note = "/d: 2 entries were listed twice, as `/d/a`; each counts once";
        assert_eq!(
            told(&[&[a.clone(), b.clone(), a.clone(), b.clone(), dir, nothing]], 1 << 20),
            (3, 505, vec![note.to_owned()])
        );
        assert_eq!(
            told(&[std::slice::from_ref(&a), &[a.clone(), b.clone()]], 1 << 20),
            (2, 3, vec![]),
            "a second try tells nothing twice"
        );
        let line = Listed::Unparsed("?".into());
        assert_eq!(told(&[&[line.clone(), line]], 1 << 20), (2, 2, vec![]), "lines are no names");
    }

    #[test]
    fn files_whose_names_differ_in_case_alone_are_told_as_pairs() {
        let names = ["/d/a", "/d/B", "/d/A", "/d/b", "/d/X", "/d/\u{c4}", "/d/\u{e4}", "/d/x.Y"];
        let mut told = ToldEntries::new(&MemoryRoom::new(1 << 20));
        told.begin_again();
        names.iter().for_each(|name| told.take(file(name)));
        told.take(Listed::Directory("/d/x".into()));
        let pairs: Vec<String> =
            told.batch.alike.iter().map(|(one, other)| format!("{one} {other}")).collect();
        assert_eq!(pairs, ["/d/a /d/A", "/d/B /d/b", "/d/\u{c4} /d/\u{e4}"]);
    }

    #[test]
    fn a_folder_without_end_is_remembered_as_far_as_there_is_room() {
        let files: Vec<Listed> = (0..20_000).map(|n| file(&format!("/d/{n}"))).collect();
        let (entries, _, notes) = told(&[&files], 20_000);
        assert_eq!((entries, notes.len()), (20_000, 0));
    }
}
