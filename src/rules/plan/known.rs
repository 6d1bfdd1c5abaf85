//! What earlier runs know of a path: what was ingested, what was seen, and how well that is proven.

use time::OffsetDateTime;

use crate::failpoint::safeguard_off;
use crate::model::{Md5, ModifiedTime, RemoteFile, Version};
use crate::rules::equality::{self, Equality};

/// What the ledger knows of one path: the content that was ingested last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Size in bytes, if the source told.
    pub size: Option<u64>,
    /// Modified time, as exactly as the source could tell.
    pub modified: Option<ModifiedTime>,
    /// Modified time as the listing showed it: `LIST` shows local time and forgets minutes after
    /// six months, so a listing is compared with a listing first.
    pub listed: Option<ModifiedTime>,
    /// The version that was ingested.
    pub version: Version,
    /// How it was taken, and what became of it at the source.
    pub history: History,
}

/// Metadata of a blob whose file the server took away once it was read.
pub(crate) const UNSEEN_MARK: &str = "not_seen_afterwards";

/// How a file was taken, and what became of it at the source. Of records of earlier releases
/// nothing of this is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Whether this program read all of it and its record tells the MD5.
    pub read: bool,
    /// That MD5, of the bytes as the source sent them. The index in memory leaves it out.
    pub md5: Option<Md5>,
    /// When its bytes were compared last; kept only where its time does not tell whether it changed
    /// since.
    pub looked: Option<OffsetDateTime>,
    /// Whether its time moved while its bytes stood still.
    pub moves: bool,
    /// Whether it left the source: this program removed or moved it, or the server took it away
    /// once it was read.
    pub left: bool,
    /// When the source refused to remove or move it.
    pub refused: Option<OffsetDateTime>,
}

impl Known {
    /// What is known of `file`, taken as `version`, whose time the listing showed as `listed`.
    pub fn new(file: &RemoteFile, listed: Option<ModifiedTime>, version: Version) -> Self {
        Self {
            size: file.size,
            modified: file.modified,
            listed,
            version,
            history: History::default(),
        }
    }

    /// The same after its bytes were read or compared at `now`, and found to have this MD5.
    #[must_use]
    pub(crate) fn read_at(self, now: OffsetDateTime, md5: Option<Md5>) -> Self {
        let looked = self.looked(now);
        let history = History { read: md5.is_some(), md5, looked, ..History::default() };
        Self { history, ..self }
    }

    /// The same, found unchanged at `now`, when the listing shows its time as `listed`.
    #[must_use]
    pub(crate) fn relisted(self, listed: Option<ModifiedTime>, now: OffsetDateTime) -> Self {
        let known = Self { listed, ..self };
        let looked = known.looked(now);
        Self { history: History { looked, ..known.history.clone() }, ..known }
    }

    /// What to keep of a look at `now`. A time to the minute does not tell of a change in the
    /// minute of the look.
    fn looked(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let mut times = self.modified.iter().chain(&self.listed).peekable();
        let open = times.peek().is_none()
            || times.any(|time| equality::could_hide_a_replacement(time, now));
        open.then(|| now.replace_nanosecond(0).unwrap_or(now))
    }

    /// The same as the index in memory holds it.
    #[must_use]
    pub(crate) fn indexed(&self) -> Self {
        Self { history: History { md5: None, ..self.history.clone() }, ..self.clone() }
    }

    /// The file as it was described when it was read.
    pub fn file(&self, path: &crate::model::RemotePath) -> RemoteFile {
        RemoteFile { path: path.clone(), size: self.size, modified: self.modified }
    }

    /// Compares a listed or described file with what is known.
    pub(crate) fn equality(&self, file: &RemoteFile, times: Times) -> Equality {
        let sizes = match times {
            // What was taken with a size was taken in another way.
            Times::Alone if self.size.is_none() && file.size.is_none() => Equality::Same,
            _ => equality::sizes(self.size, file.size),
        };
        if sizes != Equality::Same || times == Times::None {
            return sizes;
        }
        if times == Times::Unknown {
            return Equality::Unknown;
        }
        if self.modified.as_ref().is_some_and(equality::is_exact)
            && file.modified.as_ref().is_some_and(equality::is_exact)
        {
            return self.exactly(file);
        }
        // A line of a listing tells a time in the server's zone, and is compared with the line
        // before: in UTC the time of another version may have been the same.
        let is_line =
            |time: &Option<ModifiedTime>| time.is_some_and(|time| !equality::is_exact(&time));
        let both_lines = is_line(&self.listed) && is_line(&file.modified);
        let looks = [&self.modified, &self.listed].map(|then| match both_lines {
            true => equality::times(self.listed.as_ref(), file.modified.as_ref()),
            false => equality::times(then.as_ref(), file.modified.as_ref()),
        });
        if looks.contains(&Equality::Same) {
            // What was young when it was looked at is compared once more.
            let is_racy = self.history.looked.is_some() && !safeguard_off!("racy");
            return if is_racy { Equality::Unknown } else { Equality::Same };
        }
        if looks.contains(&Equality::Different) { Equality::Different } else { Equality::Unknown }
    }
}

impl Known {
    /// By exact times. A listed one that is exact, too, is that of the same bytes at a later look.
    fn exactly(&self, file: &RemoteFile) -> Equality {
        let exact_listed = self.listed.as_ref().filter(|listed| equality::is_exact(listed));
        let alike = |then: &ModifiedTime| {
            equality::times(Some(then), file.modified.as_ref()) == Equality::Same
        };
        if self.modified.iter().chain(exact_listed).any(alike) {
            let hides = file.modified.as_ref().is_some_and(|modified| {
                let looked = self.history.looked.unwrap_or(modified.at);
                equality::could_hide_a_replacement(modified, looked) && !safeguard_off!("racy")
            });
            return if hides { Equality::Unknown } else { Equality::Same };
        }
        if self.history.moves { Equality::Unknown } else { Equality::Different }
    }
}

/// What the times of a source are worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Times {
    /// They tell whether a file changed.
    #[default]
    Trust,
    /// They move at every look, so they tell nothing.
    Unknown,
    /// The user says so, and that equal sizes are enough.
    None,
    /// They tell it alone: sizes are left out, since they say nothing of the bytes that come.
    Alone,
}

/// A sighting of a file that was not settled, remembered from an earlier run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The file as it was.
    pub file: RemoteFile,
    /// When it was seen, by our clock.
    pub at: OffsetDateTime,
    /// When a file under this path was first seen and not taken.
    pub since: OffsetDateTime,
    /// Why it was not taken; `None`: it may still have been written.
    pub why: Option<Unmet>,
}

/// Why a file that rests was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmet {
    /// The source listed it, and said that it was not there when it was asked for it.
    Unreachable,
    /// It changed while it was read.
    Changed,
    /// It failed, in a source that takes the newest files only: it is tried again all the same.
    Failed,
    /// Of the source as a whole: files waited because the run had enough to do.
    TooMany,
    /// Of a folder: files in it wait, and more wait in the source than are remembered one by one.
    Folder,
    /// Of a file that a whole listing did not show any more: there is nothing to remember.
    Over,
}

impl Unmet {
    /// The word for records.
    pub fn word(self) -> &'static str {
        match self {
            Unmet::Unreachable => "unreachable",
            Unmet::Changed => "changed_during_read",
            Unmet::Failed => "failed",
            Unmet::TooMany => "too_many",
            Unmet::Folder => "folder",
            Unmet::Over => "over",
        }
    }

    /// Reads [`Unmet::word`]. A word of a later release says nothing.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        const ALL: [Unmet; 6] = [
            Unmet::Unreachable,
            Unmet::Changed,
            Unmet::Failed,
            Unmet::TooMany,
            Unmet::Folder,
            Unmet::Over,
        ];
        ALL.into_iter().find(|unmet| unmet.word() == word)
    }
}

impl Seen {
    /// A first sighting of a file that may still be written.
    pub fn new(file: RemoteFile, at: OffsetDateTime) -> Self {
        Self { file, at, since: at, why: None }
    }

    /// The same, after an earlier sighting of a file under this path.
    #[must_use]
    pub fn after(self, earlier: Option<&Seen>) -> Self {
        let since = earlier.map_or(self.since, |earlier| earlier.since.min(self.since));
        Self { since, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::model::{Precision, RemotePath};
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);

    fn file(size: Option<u64>, modified: Option<ModifiedTime>) -> RemoteFile {
        RemoteFile { path: RemotePath::from("/a"), size, modified }
    }

    fn minute(at: OffsetDateTime) -> Option<ModifiedTime> {
        Some(ModifiedTime::new(at, Precision::Minute))
    }

    fn known(file: &RemoteFile) -> Known {
        Known::new(file, file.modified, Version::of(file)).read_at(NOW, Some([1; 16]))
    }

    /// A server six hours behind UTC, and a file that is replaced every six hours: the line of the
    /// new one tells the time that MDTM told of the old one.
    #[test]
    fn a_listed_time_that_equals_the_exact_one_of_the_version_before_is_no_answer() {
        let line = |hours| file(Some(8), minute(NOW - time::Duration::hours(hours)));
        let read = file(Some(8), Some(ModifiedTime::new(NOW, Precision::Second)));
        let known = Known::new(&read, line(6).modified, Version::of(&read));
        assert_eq!(known.equality(&line(6), Times::Trust), Equality::Same);
        assert_eq!(known.equality(&line(0), Times::Trust), Equality::Unknown);
    }

    #[test]
    fn a_file_listed_within_its_minute_is_compared_once_more_and_then_known() {
        let young = file(Some(5), minute(NOW));
        let known = known(&young);
        assert_eq!(known.equality(&young, Times::Trust), Equality::Unknown);
        let later = known.read_at(NOW + time::Duration::minutes(3), Some([1; 16]));
        assert_eq!(later.equality(&young, Times::Trust), Equality::Same);
    }

    #[test]
    fn a_listed_time_that_moved_is_unknown_and_without_times_size_alone_is_trusted() {
        let then = file(Some(5), minute(datetime!(2026-11-01 10:00 UTC)));
        let now = file(Some(5), minute(datetime!(2026-11-02 10:00 UTC)));
        assert_eq!(known(&then).equality(&now, Times::Trust), Equality::Unknown);
        assert_eq!(known(&then).equality(&now, Times::None), Equality::Same);
        assert_eq!(known(&then).equality(&then, Times::Unknown), Equality::Unknown);
        assert_eq!(known(&then).equality(&file(Some(6), None), Times::None), Equality::Different);
    }

    #[test]
    fn a_time_that_moved_while_the_bytes_stood_still_is_no_change() {
        let second = |seconds| {
            Some(ModifiedTime::new(
                datetime!(2026-11-01 10:00 UTC) + time::Duration::seconds(seconds),
                Precision::Second,
            ))
        };
        let mut known = known(&file(Some(5), second(0)));
        assert_eq!(known.equality(&file(Some(5), second(1)), Times::Trust), Equality::Different);
        known.history.moves = true;
        assert_eq!(known.equality(&file(Some(5), second(1)), Times::Trust), Equality::Unknown);
        // It was compared again, and has stood still since.
        known.listed = second(1);
        known.history.moves = false;
        assert_eq!(known.equality(&file(Some(5), second(1)), Times::Trust), Equality::Same);
    }

    #[test]
    fn a_time_that_every_file_of_a_device_without_a_clock_has_tells_nothing() {
        for (at, precision) in [
            (datetime!(1970-01-01 0:00 UTC), Precision::Day),
            (datetime!(1980-01-01 0:00 UTC), Precision::Second),
        ] {
            let default = file(Some(5), Some(ModifiedTime::new(at, precision)));
            assert_eq!(known(&default).equality(&default, Times::Trust), Equality::Unknown);
            assert_eq!(known(&default).equality(&default, Times::None), Equality::Same);
        }
    }

    #[test]
    fn a_file_of_which_no_time_is_told_is_never_known_by_its_size() {
        let untimed = file(Some(5), None);
        assert_eq!(known(&untimed).equality(&untimed, Times::Trust), Equality::Unknown);
        assert!(known(&untimed).history.looked.is_some(), "the oldest look comes first");
        let timed = file(Some(5), minute(datetime!(2026-11-01 10:00 UTC)));
        assert!(known(&timed).history.looked.is_none());
    }
}
