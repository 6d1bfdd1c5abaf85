//! The oracle: it knows what the server truly held and what it said, reads what is stored, and
//! judges. It uses nothing of the program but the words of its report.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use blobferry::model::failure::Class;
use blobferry::model::{RemoteFile, RemotePath};
use blobferry::report::{SourceReport, Status};
use blobferry::source::contract::Listed;
use blobferry::store::memory::MemoryStore;
use bytes::Bytes;

use super::evidence::{Told, is_alike, is_torn_unseen, proves_rest, tells_nothing};
use super::stored::{Stored, stored};
use super::truth::{HeldFile, SourceTruth};

/// Calls of one schedule, at most.
const MOST_CALLS: u64 = 20_000;

#[derive(Debug, Default)]
pub struct LieOracle {
    pub violations: Vec<String>,
    /// What happened and cannot be seen over any protocol, counted.
    pub apart: BTreeMap<&'static str, u64>,
    calls: u64,
    /// Everything that was told of each path, in order.
    told: HashMap<RemotePath, Vec<Told>>,
    /// Contents after which a description said that there was no such file, or that the program
    /// removed: whatever stands there later is another file.
    ended: HashSet<(RemotePath, u64)>,
    /// Files that were not there any more when they were described after a read.
    unconfirmed: HashSet<RemotePath>,
    /// The content that was described last, and the one that was read last.
    described: HashMap<RemotePath, u64>,
    read: HashMap<RemotePath, u64>,
    /// What was renamed, by its new name.
    renamed: HashMap<RemotePath, RemotePath>,
    /// Contents that the program gave a name of its own.
    named_by_itself: HashSet<(RemotePath, u64)>,
    /// Those of them whose old name nobody had when they were read last.
    has_free_name: HashSet<(RemotePath, u64)>,
    /// What stood there when a removal failed.
    refused: HashMap<RemotePath, u64>,
    /// In how many runs in a row the server said of a content that it removed or renamed it, and
    /// did not.
    pretended: HashMap<(RemotePath, u64), u64>,
    run: RunSeen,
}

/// What the server showed in one run.
#[derive(Debug, Default)]
struct RunSeen {
    /// The number of the last content before the run.
    since: u64,
    /// Files and folders that every whole listing of their folder shows.
    files: HashMap<RemotePath, BTreeSet<RemotePath>>,
    folders: HashMap<RemotePath, BTreeSet<RemotePath>>,
    /// Everything that any listing showed that counts as a file.
    shown: BTreeSet<RemotePath>,
    /// Lines and names that nobody can ask for.
    riddles: Vec<String>,
    /// Contents that the server only said it let go.
    pretended: HashSet<(RemotePath, u64)>,
    /// What came to its end in this run. A run that dies may know nothing of it.
    ended: HashSet<(RemotePath, u64)>,
}

impl LieOracle {
    pub fn called(&mut self) {
        self.calls += 1;
        if self.calls == MOST_CALLS {
            self.violations.push("it never comes to rest: too many calls".into());
        }
    }

    pub fn begin_run(&mut self, since: u64) {
        self.run = RunSeen { since, ..RunSeen::default() };
    }

    fn tells(&mut self, path: &RemotePath, serial: u64, file: &RemoteFile) {
        let told = self.told.entry(path.clone()).or_default();
        if told.last() != Some(&(serial, file.clone())) {
            told.push((serial, file.clone()));
        }
    }

    pub fn listed(
        &mut self,
        truth: &SourceTruth,
        dir: &RemotePath,
        entries: &[Listed],
        end: Option<Class>,
    ) {
        let (mut files, mut folders) = (BTreeSet::new(), BTreeSet::new());
        for entry in entries {
            match entry {
                Listed::File(file) => {
                    if let Some(held) = truth.files.get(&file.path) {
                        self.tells(&file.path, held.serial, file);
                    }
                    files.insert(file.path.clone());
                }
                Listed::Directory(path) => {
                    folders.insert(path.clone());
                }
                Listed::Unparsed(line) if end.is_none() => self.run.riddles.push(line.clone()),
                Listed::Unreachable(path, _) => {
                    self.run.shown.insert(path.clone());
                    if end.is_none() {
                        self.run.riddles.push(path.to_string());
                    }
                }
                Listed::Symlink(path) | Listed::Special(path) => {
                    self.run.shown.insert(path.clone());
                }
                _ => {}
            }
        }
        self.run.shown.extend(files.iter().cloned());
        if end.is_none() {
            let all = |shown: &mut BTreeSet<RemotePath>, now: &BTreeSet<RemotePath>| {
                shown.retain(|path| now.contains(path));
            };
            let run = &mut self.run;
            all(run.files.entry(dir.clone()).or_insert_with(|| files.clone()), &files);
            all(run.folders.entry(dir.clone()).or_insert_with(|| folders.clone()), &folders);
        } else if end == Some(Class::NotFound) {
            // It was listed before, and has gone with all that it held.
            self.run.files.entry(dir.clone()).and_modify(BTreeSet::clear);
            self.run.folders.entry(dir.clone()).and_modify(BTreeSet::clear);
        }
    }

    pub fn described(
        &mut self,
        path: &RemotePath,
        held: Option<&HeldFile>,
        told: &Result<Option<RemoteFile>, Class>,
    ) {
        match told {
            Ok(Some(file)) => {
                if let Some(held) = held {
                    self.tells(path, held.serial, file);
                    self.described.insert(path.clone(), held.serial);
                }
            }
            Ok(None) => {
                let read = self.read.get(path).map(|read| (path.clone(), *read));
                self.unconfirmed.extend(read.iter().map(|(path, _)| path.clone()));
                self.run.ended.extend(read);
            }
            Err(_) => {}
        }
    }

    pub fn reads(&mut self, truth: &SourceTruth, path: &RemotePath, serial: u64) {
        self.read.insert(path.clone(), serial);
        // What is read once more has come back as it was.
        self.ended.remove(&(path.clone(), serial));
        self.run.ended.remove(&(path.clone(), serial));
        let Some(origin) = self.renamed.get(path) else { return };
        let content = (path.clone(), serial);
        if !self.named_by_itself.contains(&content) {
            return;
        }
        // The last look at it before it is removed, or the reading of a new file.
        self.read.insert(origin.clone(), serial);
        if truth.files.contains_key(origin) {
            self.has_free_name.remove(&content);
        } else {
            self.has_free_name.insert(content);
        }
    }

    /// The server says that a file left, and it did not.
    pub fn pretends(&mut self, truth: &SourceTruth, path: &RemotePath) {
        let Some(held) = truth.files.get(path) else { return };
        let origin = self.renamed.get(path).unwrap_or(path).clone();
        self.run.pretended.insert((origin, held.serial));
    }

    /// A removal or a rename fails.
    pub fn refuses(&mut self, truth: &SourceTruth, path: &RemotePath) {
        self.refused.extend(truth.files.get(path).map(|held| (path.clone(), held.serial)));
    }

    /// A run died: nobody knows what it knew.
    pub fn died(&mut self) {
        self.pretended.clear();
    }

    pub fn renamed(&mut self, from: &RemotePath, to: &RemotePath, serial: u64) {
        // A file that gets its own name back has no other any more.
        if self.renamed.get(from) != Some(to) {
            self.renamed.insert(to.clone(), from.clone());
            self.named_by_itself.insert((to.clone(), serial));
        }
    }

    /// The program removes a file: its bytes must be stored.
    pub fn removes(&mut self, truth: &SourceTruth, store: &MemoryStore, path: &RemotePath) {
        let Some(held) = truth.files.get(path) else { return };
        let origin = self.renamed.get(path).cloned().unwrap_or_else(|| path.clone());
        self.run.ended.insert((origin.clone(), held.serial));
        let stored = stored(store);
        let contents = stored.get(&origin).map_or(&[][..], Vec::as_slice);
        if truth.is_open(&origin) || truth.is_open(path) {
            let text = format!("`{path}` was removed while somebody was writing to it");
            return self.violations.push(text);
        }
        if contents.contains(&held.bytes) {
            return *self.apart.entry("files removed").or_default() += 1;
        }
        let is_second_try = self.refused.get(path) == Some(&held.serial);
        if is_second_try
            && self.read.get(&origin) != Some(&held.serial)
            && !proves_rest(self.last_told(path))
        {
            let text = format!("`{path}` was removed, unread, when that had failed before");
            return self.violations.push(text);
        }
        if self.described.get(path).is_some_and(|last| *last != held.serial) {
            return *self.apart.entry("replaced between a look and their removal").or_default() +=
                1;
        }
        let read_before = self.read.get(&origin) != Some(&held.serial);
        if read_before && self.nothing_was_told(path, held.serial) {
            let what = "replaced once they were read, and no time told before their removal";
            return *self.apart.entry(what).or_default() += 1;
        }
        if read_before && self.ends_alike(truth, &origin, held, contents) {
            let what = "replaced while they were read by one that ends in the same bytes";
            return *self.apart.entry(what).or_default() += 1;
        }
        let alike = self.cannot_be_told(truth, &origin, held, contents);
        if alike && (read_before || proves_rest(self.last_told(path))) {
            return *self
                .apart
                .entry("removed, and like what is stored by size and time")
                .or_default() += 1;
        }
        self.violations
            .push(format!("`{path}` was removed with content {} which is not stored", held.serial));
    }

    /// Whether the server told of this content exactly what it told of one that is stored: size and
    /// a time, and nothing that would speak of two files.
    fn cannot_be_told(
        &self,
        truth: &SourceTruth,
        path: &RemotePath,
        held: &HeldFile,
        stored: &[Bytes],
    ) -> bool {
        let serial = held.serial;
        let Some(told) = self.told.get(path) else { return false };
        let timed = |(of, file): &&Told| *of == serial && file.modified.is_some();
        // What was renamed was described under its new name.
        let aside: Vec<_> =
            self.renamed.iter().filter(|(_, from)| *from == path).map(|(to, _)| to).collect();
        let told_aside = aside.iter().filter_map(|to| self.told.get(*to)).flatten();
        let Some((_, now)) = told.iter().chain(told_aside).rfind(timed) else {
            return false;
        };
        // Its old name is free, and it stands aside and was read there: it has not ended.
        let read_aside = |of: u64| aside.iter().any(|to| self.read.get(*to) == Some(&of));
        let ended = |of: u64| {
            let content = (path.clone(), of);
            self.ended.contains(&content) || self.run.ended.contains(&content)
        };
        told.iter().any(|(of, then)| {
            *of != serial
                && (!ended(*of) || read_aside(*of))
                && truth.content(path, *of).is_some_and(|then| stored.contains(&then.bytes))
                && is_alike(then, now)
        })
    }

    /// Whether what was read last is stored, was never told a time of, and has the size of this
    /// content; and this one is listed with the time of one before both. It took the place of what
    /// was read before the end of the reading, and its last bytes are the same.
    fn ends_alike(
        &self,
        truth: &SourceTruth,
        path: &RemotePath,
        held: &HeldFile,
        stored: &[Bytes],
    ) -> bool {
        let read = self.read.get(path).and_then(|serial| truth.content(path, *serial));
        let Some(read) = read.filter(|read| self.nothing_was_told(path, read.serial)) else {
            return false;
        };
        let told = self.told.get(path).into_iter().flatten();
        let (now, before): (Vec<_>, Vec<_>) =
            told.filter(|(of, _)| *of != read.serial).partition(|(of, _)| *of == held.serial);
        let is_before = |now: &RemoteFile| before.iter().any(|(_, then)| is_alike(then, now));
        stored.contains(&read.bytes)
            && read.bytes.len() == held.bytes.len()
            && now.iter().any(|(_, now)| is_before(now))
    }

    /// Whether the server never told a time of this content.
    fn nothing_was_told(&self, path: &RemotePath, serial: u64) -> bool {
        let told = self.told.get(path).into_iter().flatten();
        !told.filter(|(of, _)| *of == serial).any(|(_, file)| file.modified.is_some())
    }

    fn last_told(&self, path: &RemotePath) -> Option<&RemoteFile> {
        self.told.get(path)?.last().map(|(_, file)| file)
    }

    /// Judges a run that came to its end. `last`: nothing may wait any more.
    pub fn judge(
        &mut self,
        truth: &SourceTruth,
        stored: &Stored,
        report: &SourceReport,
        last: bool,
    ) {
        self.ended.extend(self.run.ended.iter().cloned());
        let sum = report.ingested
            + report.unchanged
            + report.skipped
            + report.gone
            + report.deferred
            + report.failed;
        let shown = self.run.shown.len() as u64;
        if sum != report.listed || report.listed > shown {
            self.violations.push(format!("{shown} files were listed, and these told: {report}"));
        }
        self.blobs_are_true(truth, stored);
        let pretended = std::mem::take(&mut self.run.pretended);
        self.pretended.retain(|content, _| pretended.contains(content));
        pretended.into_iter().for_each(|content| *self.pretended.entry(content).or_default() += 1);
        if report.status() != Status::Ok {
            return;
        }
        if let Some((path, _)) =
            self.pretended.iter().find(|(_, runs)| **runs > 1).map(|(of, _)| of)
        {
            let text = format!("ok, though `{path}` was said to have left in the run before, too");
            self.violations.push(text);
        }
        if let Some(riddle) = self.run.riddles.first() {
            self.violations.push(format!("ok, though nobody could ask for `{riddle}`"));
        }
        self.folders_are_told();
        let files: BTreeSet<RemotePath> = self.run.files.values().flatten().cloned().collect();
        for path in files {
            self.file_is_told(truth, stored, report, &path, last);
        }
    }

    /// Every blob holds bytes that stood under its path at one moment.
    pub fn blobs_are_true(&mut self, truth: &SourceTruth, stored: &Stored) {
        for (path, contents) in stored {
            let known = truth.history.get(path).map_or(&[][..], Vec::as_slice);
            for content in contents {
                // What a run renamed to remove it, and did not remove, is no new file.
                let is_aside = |held: &HeldFile| {
                    held.bytes == *content
                        && self.has_free_name.contains(&(path.clone(), held.serial))
                };
                if known.iter().any(is_aside) {
                    let text = format!("`{path}` is taken for a file, and has its own name");
                    self.violations.push(text);
                }
                let text = match known.iter().find(|held| held.bytes == *content) {
                    Some(held) if held.whole => continue,
                    Some(_) => "only the beginning of a file that was being written",
                    None if is_torn_unseen(self.told.get(path), known, content) => {
                        *self.apart.entry("torn by a change that no look shows").or_default() += 1;
                        continue;
                    }
                    None if self.is_of_other_case(truth, path, content) => {
                        *self.apart.entry("of a name that differs in case alone").or_default() += 1;
                        continue;
                    }
                    None => "bytes that never stood there",
                };
                let start = String::from_utf8_lossy(&content[..content.len().min(60)]).into_owned();
                self.violations.push(format!("under `{path}` is stored {text}: {start}"));
            }
        }
    }

    /// Whether these are bytes of a file whose name differs in case alone, where no exact times
    /// tell the two apart, or none after the read. A run that knows no more must not say ok.
    fn is_of_other_case(&self, truth: &SourceTruth, path: &RemotePath, content: &Bytes) -> bool {
        let folds = |other: &RemotePath| other.as_bytes().eq_ignore_ascii_case(path.as_bytes());
        let mut told = self.told.get(path).into_iter().flatten();
        let is_untold =
            self.unconfirmed.contains(path) || told.any(|(_, file)| tells_nothing(file));
        is_untold
            && truth.history.iter().any(|(other, known)| {
                other != path && folds(other) && known.iter().any(|held| held.bytes == *content)
            })
    }

    /// A folder that was shown was listed, or the run is not ok.
    fn folders_are_told(&mut self) {
        let shown: BTreeSet<RemotePath> = self.run.folders.values().flatten().cloned().collect();
        let root = RemotePath::from("/");
        for dir in shown.iter().chain([&root]) {
            if !self.run.files.contains_key(dir) {
                self.violations.push(format!("ok, though `{dir}` was never listed to its end"));
            }
        }
    }

    /// A file that was listed is stored, gone, or told.
    fn file_is_told(
        &mut self,
        truth: &SourceTruth,
        stored: &Stored,
        report: &SourceReport,
        path: &RemotePath,
        last: bool,
    ) {
        let Some(held) = truth.files.get(path) else { return };
        let contents = stored.get(path).map_or(&[][..], Vec::as_slice);
        let began = self.serial_before(truth, path);
        let of_this_run = |held: &&HeldFile| held.serial >= began;
        let known = truth.history.get(path).map_or(&[][..], Vec::as_slice);
        if known.iter().filter(of_this_run).any(|held| contents.contains(&held.bytes)) {
            return;
        }
        // Of two names that differ in case alone nobody knows more until both were read.
        let waits = report.deferred_files.iter().any(|line| {
            line.rsplit_once(" (")
                .is_some_and(|(waits, _)| waits.as_bytes().eq_ignore_ascii_case(path.as_bytes()))
        });
        if !last && (waits || held.serial > self.run.since) {
            return;
        }
        let told = self.told.get(path);
        if contents.iter().any(|content| is_torn_unseen(told, known, content)) {
            return *self.apart.entry("torn by a change that no look shows").or_default() += 1;
        }
        if self.cannot_be_told(truth, path, held, contents) {
            return *self.apart.entry("like what is stored by size and time").or_default() += 1;
        }
        self.violations.push(format!(
            "ok, though `{path}` is not stored as it is (content {}): {report}",
            held.serial
        ));
    }

    /// The number of the content that stood there when the run began.
    fn serial_before(&self, truth: &SourceTruth, path: &RemotePath) -> u64 {
        let known = truth.history.get(path).map_or(&[][..], Vec::as_slice);
        let before = known.iter().rev().find(|held| held.serial <= self.run.since);
        before.map_or(0, |held| held.serial)
    }

    /// The server has told the truth for three runs: all is well, all is there.
    pub fn at_rest(
        &mut self,
        truth: &SourceTruth,
        stored: &Stored,
        report: &SourceReport,
        removes: bool,
    ) {
        let refused = |report: &SourceReport| {
            report.failed == 0
                && report.problems.iter().all(|problem| problem.class == Class::AfterAction)
        };
        if report.status() != Status::Ok && !refused(report) {
            self.violations.push(format!("an honest server, and not well: {report}"));
        }
        for (path, held) in &truth.files {
            let contents = stored.get(path).map_or(&[][..], Vec::as_slice);
            if !contents.contains(&held.bytes) {
                if self.cannot_be_told(truth, path, held, contents) {
                    *self.apart.entry("like what is stored by size and time").or_default() += 1;
                } else {
                    let text = format!("`{path}` is not stored (content {})", held.serial);
                    self.violations.push(format!("at rest {text}: {report}"));
                }
            } else if removes && report.status() == Status::Ok {
                self.violations.push(format!("at rest `{path}` has not left, and all is ok"));
            }
        }
    }
}
