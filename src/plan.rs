//! Listing, ledger and rules to decisions, each with its why. Pure: the clock is a value.

use std::collections::HashSet;
use std::time::Duration;

use time::OffsetDateTime;

use crate::model::{ModifiedTime, Precision, RemoteFile, RemotePath, Version};

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
}

/// A sighting of a file that was not settled, remembered from an earlier run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The file as it was.
    pub file: RemoteFile,
    /// When it was seen, by our clock.
    pub at: OffsetDateTime,
}

/// What is to be done with a listed file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Fetch it.
    Ingest(Why),
    /// It is in the store already.
    Unchanged,
    /// Leave it alone.
    Skip(Skip),
    /// It may still be written: look again once `stable_for` has passed.
    LookAgain(Why),
    /// The listing's time is too coarse to decide by: ask the source for the exact one first.
    AskTime,
}

/// Why a file is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// It was never ingested.
    New,
    /// It was ingested with another size or time.
    Changed,
    /// The user asked for it again.
    Again,
}

impl Why {
    /// The word for plans and logs.
    pub fn word(self) -> &'static str {
        match self {
            Why::New => "new",
            Why::Changed => "changed",
            Why::Again => "again",
        }
    }
}

/// Why a file is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Skip {
    /// No `include` matches, or an `exclude` does.
    Excluded,
    /// Its name says that it is still being written (`in_progress`).
    InProgress,
    /// Its marker file is not there (yet).
    NoMarker,
    /// It is a marker file itself.
    Marker,
    /// A symbolic link.
    Symlink,
    /// A device, pipe or socket.
    Special,
    /// Its name cannot be asked for over this protocol.
    Unreachable,
    /// It is an archive that could not be unpacked and is in quarantine.
    Quarantined,
    /// It was gone when its turn came.
    Vanished,
}

impl Skip {
    /// The word for reports.
    pub fn word(self) -> &'static str {
        match self {
            Skip::Excluded => "excluded",
            Skip::InProgress => "in_progress",
            Skip::NoMarker => "no_marker",
            Skip::Marker => "marker",
            Skip::Symlink => "symlink",
            Skip::Special => "special",
            Skip::Unreachable => "unreachable",
            Skip::Quarantined => "quarantined",
            Skip::Vanished => "vanished",
        }
    }
}

/// The source's clock, as well as we know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Our own time.
    pub here: OffsetDateTime,
    /// The newest modified time that the source has shown: its clock is at least there.
    pub newest: Option<OffsetDateTime>,
}

impl Clock {
    /// No protocol tells a server's time, so ours stands in for it. A server may lag behind us by this
    /// much before a file that is being written now would look settled.
    pub const TOLERANCE: Duration = Duration::from_secs(300);

    /// Whether a file modified at `modified` has rested for `stable_for` by the source's clock.
    pub fn settled(&self, modified: &ModifiedTime, stable_for: Duration) -> bool {
        if stable_for.is_zero() {
            return true;
        }
        // A time stands for its whole step: the file may be that much younger.
        let step = Duration::from_nanos(u64::try_from(modified.precision.nanoseconds()).expect("a day in nanoseconds fits"));
        let youngest = modified.at.saturating_add(time::Duration::try_from(step).expect("a day fits"));
        let rested_until =
            |clock: OffsetDateTime| youngest.saturating_add(time::Duration::try_from(stable_for).expect("checked when parsed")) <= clock;
        // A file from the future is no witness of the source's clock.
        let witness = self.newest.filter(|newest| *newest <= self.here);
        witness.is_some_and(rested_until) || rested_until(self.here - Self::TOLERANCE)
    }
}

/// A source's rules for one listing, ready to be asked about each file.
pub struct Rules<'a> {
    /// Whether a path is wanted at all.
    pub wanted: &'a (dyn Fn(&RemotePath) -> bool + Sync),
    /// Whether a name says that the file is still being written.
    pub in_progress: &'a (dyn Fn(&RemotePath) -> bool + Sync),
    /// Whether the user asks for this file again though it is known.
    pub again: &'a (dyn Fn(&RemotePath) -> bool + Sync),
    /// The suffix of marker files, if they are used.
    pub marker: Option<&'a str>,
    /// The marker files that the listing holds.
    pub markers: &'a HashSet<RemotePath>,
    /// How long a file must rest.
    pub stable_for: Duration,
    /// The source's clock.
    pub clock: Clock,
}

/// Decides about one file.
pub fn decide(file: &RemoteFile, known: Option<&Known>, seen: Option<&Seen>, rules: &Rules<'_>) -> Decision {
    if let Some(skip) = skipped(&file.path, rules) {
        return Decision::Skip(skip);
    }
    let why = match known {
        _ if (rules.again)(&file.path) => Why::Again,
        None => Why::New,
        Some(known) => match compare(file, known) {
            Same::Yes => return Decision::Unchanged,
            Same::OnlyCoarseTimeDiffers => return Decision::AskTime,
            Same::No => Why::Changed,
        },
    };
    if settled(file, seen, rules) {
        Decision::Ingest(why)
    } else if file.modified.is_some_and(|modified| modified.precision > Precision::Second) {
        Decision::AskTime
    } else {
        Decision::LookAgain(why)
    }
}

fn skipped(path: &RemotePath, rules: &Rules<'_>) -> Option<Skip> {
    if rules.marker.is_some_and(|marker| path.as_bytes().ends_with(marker.as_bytes())) {
        return Some(Skip::Marker);
    }
    if !(rules.wanted)(path) {
        return Some(Skip::Excluded);
    }
    if (rules.in_progress)(path) {
        return Some(Skip::InProgress);
    }
    let marker = rules.marker?;
    let expected = RemotePath::new([path.as_bytes(), marker.as_bytes()].concat());
    (!rules.markers.contains(&expected)).then_some(Skip::NoMarker)
}

fn settled(file: &RemoteFile, seen: Option<&Seen>, rules: &Rules<'_>) -> bool {
    // A marker file is the sender's own word that the file is complete. A coarse time comes from a
    // listing that does not tell its zone: it proves nothing.
    let exact = file.modified.as_ref().filter(|modified| modified.precision <= Precision::Second);
    if rules.marker.is_some() || exact.is_some_and(|modified| rules.clock.settled(modified, rules.stable_for)) {
        return true;
    }
    // `Duration` of `time` is signed: a clock that was set back makes it negative, and the file young.
    let long_ago = |seen: &Seen| rules.clock.here - seen.at >= rules.stable_for;
    rules.stable_for.is_zero() || seen.is_some_and(|seen| seen.file.unchanged_since(file) && long_ago(seen))
}

/// Whether a file is what we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Same {
    /// As far as the coarser of the two observations tells.
    Yes,
    /// The size is the same, and a listing's time, coarser than a second, is not.
    OnlyCoarseTimeDiffers,
    /// Size or exact time differ.
    No,
}

/// Compares a listed or described file with what the ledger knows.
pub fn compare(file: &RemoteFile, known: &Known) -> Same {
    if let (Some(now), Some(then)) = (file.size, known.size)
        && now != then
    {
        return Same::No;
    }
    let Some(now) = &file.modified else { return Same::Yes };
    let times = [&known.modified, &known.listed];
    if times.iter().all(|time| time.is_none()) || times.iter().copied().flatten().any(|then| now.agrees_with(then)) {
        return Same::Yes;
    }
    if now.precision > Precision::Second { Same::OnlyCoarseTimeDiffers } else { Same::No }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);

    fn file(size: u64, at: OffsetDateTime, precision: Precision) -> RemoteFile {
        RemoteFile { path: RemotePath::from("/a.csv"), size: Some(size), modified: Some(ModifiedTime::new(at, precision)) }
    }

    fn known(file: &RemoteFile) -> Known {
        Known { size: file.size, modified: file.modified, listed: file.modified, version: Version::of(file) }
    }

    fn check(file: &RemoteFile, known: Option<&Known>, seen: Option<&Seen>, newest: Option<OffsetDateTime>) -> Decision {
        let rules = Rules {
            wanted: &|_| true,
            in_progress: &|path| path.as_bytes().ends_with(b".part"),
            again: &|_| false,
            marker: None,
            markers: &HashSet::new(),
            stable_for: Duration::from_secs(60),
            clock: Clock { here: NOW, newest },
        };
        decide(file, known, seen, &rules)
    }

    #[test]
    fn old_files_are_ingested_at_once_and_young_ones_looked_at_again() {
        let old = file(1, datetime!(2026-11-20 11:00 UTC), Precision::Second);
        let young = file(1, datetime!(2026-11-20 11:59:30 UTC), Precision::Second);
        assert_eq!(check(&old, None, None, None), Decision::Ingest(Why::New));
        assert_eq!(check(&young, None, None, None), Decision::LookAgain(Why::New));
    }

    #[test]
    fn a_file_that_rested_by_the_servers_own_newest_file_is_settled() {
        let recent = file(1, datetime!(2026-11-20 11:57 UTC), Precision::Second);
        assert_eq!(check(&recent, None, None, None), Decision::LookAgain(Why::New));
        assert_eq!(check(&recent, None, None, Some(datetime!(2026-11-20 11:59 UTC))), Decision::Ingest(Why::New));
        // A file dated in the future proves nothing.
        assert_eq!(check(&recent, None, None, Some(datetime!(2031-01-01 0:00 UTC))), Decision::LookAgain(Why::New));
    }

    #[test]
    fn a_file_without_a_time_is_taken_when_it_was_seen_twice() {
        let unknown = RemoteFile { modified: None, ..file(1, NOW, Precision::Second) };
        let seen = |minutes: i64| Seen { file: unknown.clone(), at: NOW - time::Duration::minutes(minutes) };
        assert_eq!(check(&unknown, None, None, None), Decision::LookAgain(Why::New));
        assert_eq!(check(&unknown, None, Some(&seen(2)), None), Decision::Ingest(Why::New));
        assert_eq!(check(&unknown, None, Some(&seen(0)), None), Decision::LookAgain(Why::New));
        let grown = RemoteFile { size: Some(2), ..unknown.clone() };
        assert_eq!(check(&grown, None, Some(&seen(2)), None), Decision::LookAgain(Why::New));
    }

    #[test]
    fn six_months_later_the_listing_forgets_minutes_and_nothing_is_fetched_again() {
        let exact = file(1, datetime!(2026-05-02 10:11:12 UTC), Precision::Second);
        let day = file(1, datetime!(2026-05-02 0:00 UTC), Precision::Day);
        assert_eq!(check(&day, Some(&known(&exact)), None, None), Decision::Unchanged);
    }

    #[test]
    fn a_listing_in_the_servers_own_zone_does_not_make_a_young_file_old() {
        // Written a moment ago on a server five hours behind UTC.
        let listed = file(1, datetime!(2026-11-20 06:59 UTC), Precision::Minute);
        assert_eq!(check(&listed, None, None, None), Decision::AskTime);
    }

    #[test]
    fn when_daylight_saving_moves_a_listed_time_the_exact_one_is_asked_for() {
        let exact = file(1, datetime!(2026-10-20 10:11:12 UTC), Precision::Second);
        let shifted = file(1, datetime!(2026-10-20 11:11 UTC), Precision::Minute);
        assert_eq!(check(&shifted, Some(&known(&exact)), None, None), Decision::AskTime);
        // The zone of the listing is the same as last time: no question at all.
        let mut with_listing = known(&exact);
        with_listing.listed = shifted.modified;
        assert_eq!(check(&shifted, Some(&with_listing), None, None), Decision::Unchanged);
    }

    #[test]
    fn a_server_that_learns_mlsd_does_not_make_files_new() {
        let listed = file(1, datetime!(2026-05-02 10:11 UTC), Precision::Minute);
        let exact = file(1, datetime!(2026-05-02 10:11:12 UTC), Precision::Second);
        assert_eq!(check(&exact, Some(&known(&listed)), None, None), Decision::Unchanged);
    }

    #[test]
    fn another_size_or_exact_time_is_a_change() {
        let before = file(1, datetime!(2026-11-01 10:00 UTC), Precision::Second);
        assert_eq!(
            check(&file(2, datetime!(2026-11-01 10:00 UTC), Precision::Second), Some(&known(&before)), None, None),
            Decision::Ingest(Why::Changed)
        );
        assert_eq!(
            check(&file(1, datetime!(2026-11-01 10:01 UTC), Precision::Second), Some(&known(&before)), None, None),
            Decision::Ingest(Why::Changed)
        );
    }

    #[test]
    fn names_that_say_unfinished_are_skipped_and_said_so() {
        let part = RemoteFile { path: RemotePath::from("/a.csv.part"), ..file(1, datetime!(2026-11-01 10:00 UTC), Precision::Second) };
        assert_eq!(check(&part, None, None, None), Decision::Skip(Skip::InProgress));
    }

    #[test]
    fn with_markers_a_file_waits_for_its_own() {
        let data = file(1, datetime!(2026-11-20 11:59:59 UTC), Precision::Second);
        let markers = HashSet::from([RemotePath::from("/a.csv.done")]);
        let none = HashSet::new();
        let rules = |markers| Rules {
            wanted: &|_| true,
            in_progress: &|_| false,
            again: &|_| false,
            marker: Some(".done"),
            markers,
            stable_for: Duration::from_secs(60),
            clock: Clock { here: NOW, newest: None },
        };
        assert_eq!(decide(&data, None, None, &rules(&none)), Decision::Skip(Skip::NoMarker));
        assert_eq!(decide(&data, None, None, &rules(&markers)), Decision::Ingest(Why::New));
        let marker = RemoteFile { path: RemotePath::from("/a.csv.done"), ..data };
        assert_eq!(decide(&marker, None, None, &rules(&markers)), Decision::Skip(Skip::Marker));
    }
}
