//! Which of the wanted files are taken, by time, size and rank. Pure: the clock is a value.
//!
//! A filter never hides what it cannot judge: a file whose size or time is unknown is taken, and a
//! time that a listing tells in steps, or in a zone of its own, counts as the whole range that it
//! may stand for.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

use time::OffsetDateTime;

use crate::model::{ModifiedTime, RemoteFile, RemotePath};
use crate::rules::equality::is_exact;
use crate::rules::patterns::Patterns;
use crate::rules::plan::Skip;

/// Zones reach from 12 hours behind UTC to 14 ahead of it.
const SOME_ZONE: time::Duration = time::Duration::hours(14);

/// The bounds that a source sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileSelection {
    /// Older files are left out.
    pub modified_after: Option<OffsetDateTime>,
    /// Files from then on are left out.
    pub modified_before: Option<OffsetDateTime>,
    /// Files that are older when they are looked at are left out.
    pub max_age: Option<Duration>,
    /// Smaller files are left out.
    pub min_size: Option<u64>,
    /// Larger files are left out.
    pub max_size: Option<u64>,
    /// Of each group of files only the newest are taken.
    pub newest: Option<Newest>,
}

/// Of each group of files only so many are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newest {
    /// How many.
    pub files: usize,
    /// What makes one newer than another.
    pub by: NewestBy,
    /// What makes a group.
    pub per: NewestPer,
}

/// What makes one file newer than another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NewestBy {
    /// Its modified time.
    #[default]
    Modified,
    /// Its name, by bytes: the last one is the newest.
    Name,
}

/// Which files are compared with each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NewestPer {
    /// Those of one folder.
    #[default]
    Folder,
    /// Those that one `include` pattern matches.
    Pattern,
}

/// When and how a file is looked at.
#[derive(Clone, Copy, Debug)]
pub struct SelectionClock {
    /// Our own time.
    pub now: OffsetDateTime,
    /// When the last run began that left nothing undone: what had come by then is settled. `None`:
    /// no run has looked before.
    pub settled: Option<OffsetDateTime>,
}

/// What is decided about a file by its time and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selected {
    /// It is taken.
    Yes,
    /// It is taken although it is too old by now: an earlier run saw it, or should have, and did
    /// not take it.
    Kept,
    /// It is left out.
    No(Skip),
}

impl FileSelection {
    /// Decides about `file`; `waited` says that an earlier run saw it and left it for later.
    pub(crate) fn of(&self, file: &RemoteFile, waited: bool, clock: SelectionClock) -> Selected {
        if let Some(size) = file.size {
            if self.min_size.is_some_and(|least| size < least) {
                return Selected::No(Skip::TooSmall);
            }
            if self.max_size.is_some_and(|most| size > most) {
                return Selected::No(Skip::TooLarge);
            }
        }
        let Some(modified) = &file.modified else { return Selected::Yes };
        let (earliest, latest) = range(modified);
        if self.modified_after.is_some_and(|bound| latest <= bound) {
            return Selected::No(Skip::TooOld);
        }
        if self.modified_before.is_some_and(|bound| earliest >= bound) {
            return Selected::No(Skip::TooNew);
        }
        let Some(age) = self.max_age.and_then(|age| time::Duration::try_from(age).ok()) else {
            return Selected::Yes;
        };
        let is_older = |at: OffsetDateTime| latest <= at.saturating_sub(age);
        let since = clock.settled.map_or(clock.now, |settled| settled.min(clock.now));
        match (is_older(clock.now), waited || !is_older(since)) {
            (false, _) => Selected::Yes,
            (true, true) => Selected::Kept,
            (true, false) => Selected::No(Skip::TooOld),
        }
    }
}

/// The first moment that a told time may stand for, and the first one after the last.
fn range(modified: &ModifiedTime) -> (OffsetDateTime, OffsetDateTime) {
    let step = i64::try_from(modified.precision.nanoseconds()).unwrap_or(i64::MAX);
    let after = modified.at.saturating_add(time::Duration::nanoseconds(step));
    if is_exact(modified) {
        (modified.at, after)
    } else {
        (modified.at.saturating_sub(SOME_ZONE), after.saturating_add(SOME_ZONE))
    }
}

/// Finds the newest files of each group while a listing goes on. What can be no newest one any more
/// is handed back early, so that a folder of a million files needs little memory.
#[derive(Debug)]
pub(crate) struct NewestFiles {
    rule: Newest,
    groups: BTreeMap<Vec<u8>, Vec<RemoteFile>>,
    held: usize,
}

impl NewestFiles {
    /// By `rule`.
    pub fn new(rule: Newest) -> Self {
        Self { rule, groups: BTreeMap::new(), held: 0 }
    }

    /// One more file of `group`; those that are not among the newest come back.
    pub fn take(&mut self, group: Vec<u8>, file: RemoteFile) -> Vec<RemoteFile> {
        let files = self.groups.entry(group).or_default();
        files.push(file);
        self.held += 1;
        if files.len() < 2 * self.rule.files + 64 || !files.len().is_multiple_of(64) {
            return Vec::new();
        }
        let others = sift(self.rule, files);
        self.held -= others.len();
        others
    }

    /// How many files it holds.
    pub fn held(&self) -> usize {
        self.held
    }

    /// The newest files, and the others.
    pub fn finish(self) -> (Vec<RemoteFile>, Vec<RemoteFile>) {
        let (mut newest, mut others) = (Vec::new(), Vec::new());
        for mut files in self.groups.into_values() {
            others.append(&mut sift(self.rule, &mut files));
            newest.append(&mut files);
        }
        (newest, others)
    }
}

impl Newest {
    /// Whether the blob of `one` takes the place of that of `other`: only one file of each group is
    /// taken, these two are of one group, and `one` is newer.
    pub(crate) fn succeeds(self, one: &RemoteFile, other: &RemoteFile, all: &Patterns) -> bool {
        let group = |file: &RemoteFile| group(self, &file.path, all.pattern_of(&file.path));
        self.files == 1 && group(one) == group(other) && self.order(one, other).is_gt()
    }

    /// Which of two files is newer, as far as is told.
    pub(crate) fn order(self, one: &RemoteFile, other: &RemoteFile) -> Ordering {
        match self.by {
            NewestBy::Name => one.path.file_name().cmp(other.path.file_name()),
            NewestBy::Modified => match (one.modified, other.modified) {
                (Some(one), Some(other)) => one.at.cmp(&other.at),
                _ => Ordering::Equal,
            },
        }
    }
}

/// The group of a file.
pub fn group(rule: Newest, path: &RemotePath, pattern: Option<usize>) -> Vec<u8> {
    match rule.per {
        NewestPer::Folder => path.parent().as_bytes().to_vec(),
        NewestPer::Pattern => pattern.unwrap_or(usize::MAX).to_be_bytes().to_vec(),
    }
}

/// Leaves the newest of `files` and returns the others. A file that may be as new as the last of
/// the newest stays, and so does one without a time: nothing tells that it is older.
fn sift(rule: Newest, files: &mut Vec<RemoteFile>) -> Vec<RemoteFile> {
    if files.len() <= rule.files {
        return Vec::new();
    }
    let is_newest: Vec<bool> = match rule.by {
        NewestBy::Name => {
            let mut names: Vec<&RemotePath> = files.iter().map(|file| &file.path).collect();
            names.sort_by(|one, other| other.file_name().cmp(one.file_name()));
            let last = names[rule.files - 1].file_name();
            files.iter().map(|file| file.path.file_name() >= last).collect()
        }
        NewestBy::Modified => {
            let mut earliest: Vec<OffsetDateTime> =
                files.iter().filter_map(|file| Some(range(file.modified.as_ref()?).0)).collect();
            earliest.sort_unstable_by(|one, other| other.cmp(one));
            let Some(bound) = earliest.get(rule.files - 1).copied() else { return Vec::new() };
            let may_be =
                |modified: &ModifiedTime| modified.at >= bound || range(modified).1 > bound;
            files.iter().map(|file| file.modified.as_ref().is_none_or(may_be)).collect()
        }
    };
    let mut of_newest = is_newest.into_iter();
    files.extract_if(.., |_| !of_newest.next().unwrap_or(true)).collect()
}

#[cfg(test)]
#[path = "selection_tests.rs"]
mod tests;
