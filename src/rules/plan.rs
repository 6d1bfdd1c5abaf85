//! Listing, ledger and rules to decisions, each with its why. Pure: the clock is a value.

pub mod known;
pub mod markers;
pub mod rest;
pub mod shift;

use std::time::Duration;

use crate::failpoint::safeguard_off;
use crate::model::{RemoteFile, RemotePath};
use crate::rules::equality::{self, Equality};

pub use known::{History, Known, Seen, Times, Unmet};
pub use markers::MarkerTimes;
pub use rest::{Clock, Rest, TimeTold};

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
    /// Its time moved by a whole offset of zones: all of the listing shows whether all did.
    Wait,
    /// Neither size nor time tells whether it is what was ingested: its bytes are read and
    /// compared.
    Recheck,
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
    /// Nothing but its bytes tells whether it changed.
    Recheck,
}

impl Why {
    /// The word for plans and logs.
    pub fn word(self) -> &'static str {
        match self {
            Why::New => "new",
            Why::Changed => "changed",
            Why::Again => "again",
            Why::Recheck => "recheck",
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
    /// It was modified before `modified_after`, or longer ago than `max_age`.
    TooOld,
    /// It was modified at or after `modified_before`.
    TooNew,
    /// It has less than `min_size`.
    TooSmall,
    /// It has more than `max_size`.
    TooLarge,
    /// It is none of the `newest`.
    NotNewest,
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
            Skip::TooOld => "too_old",
            Skip::TooNew => "too_new",
            Skip::TooSmall => "too_small",
            Skip::TooLarge => "too_large",
            Skip::NotNewest => "not_newest",
        }
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
    /// Why a file is skipped by its time or size, if it is; [`Seen`] is by earlier runs.
    pub skipped_by_time_or_size: &'a (dyn Fn(&RemoteFile, Option<&Seen>) -> Option<Skip> + Sync),
    /// The suffix of marker files, if they are used.
    pub marker: Option<&'a str>,
    /// The marker files that the listing holds.
    pub markers: &'a MarkerTimes,
    /// How long a file must rest.
    pub stable_for: Duration,
    /// The source's clock.
    pub clock: Clock,
    /// What its times are worth.
    pub times: Times,
    /// Whether files leave the source once they are stored: then one that comes back is new.
    pub removes: bool,
}

/// Decides about one file.
pub fn decide(
    file: &RemoteFile,
    known: Option<&Known>,
    seen: Option<&Seen>,
    rules: &Rules<'_>,
) -> Decision {
    if let Some(skip) = skipped(&file.path, rules) {
        // Senders clear markers away: what is stored needs its marker no more.
        let is_stored = || known.is_some_and(|known| is_same(file, known, rules));
        let is_unchanged = skip == Skip::NoMarker && is_stored();
        return if is_unchanged { Decision::Unchanged } else { Decision::Skip(skip) };
    }
    // What the user asks for by name is no old file.
    if !(rules.again)(&file.path)
        && let Some(skip) = (rules.skipped_by_time_or_size)(file, seen)
    {
        return Decision::Skip(skip);
    }
    let why = match known {
        _ if (rules.again)(&file.path) => Why::Again,
        None => Why::New,
        Some(known) if comes_back(known, rules) => Why::New,
        Some(known) => match equality_with(file, known, rules) {
            Equality::Same => return Decision::Unchanged,
            Equality::Different if shift::moved(known, file).is_some() => return Decision::Wait,
            Equality::Different => Why::Changed,
            Equality::Unknown if !is_exact(file) => return Decision::AskTime,
            Equality::Unknown => return Decision::Recheck,
        },
    };
    decide_rest(file, seen, rules, why)
}

fn is_same(file: &RemoteFile, known: &Known, rules: &Rules<'_>) -> bool {
    !(rules.again)(&file.path)
        && !comes_back(known, rules)
        && equality_with(file, known, rules) == Equality::Same
}

/// Whether a file that is there is a new one: an earlier run removed the one before.
fn comes_back(known: &Known, rules: &Rules<'_>) -> bool {
    known.history.left && rules.removes && !safeguard_off!("comes-back")
}

fn equality_with(file: &RemoteFile, known: &Known, rules: &Rules<'_>) -> Equality {
    let left = known.history.left && !safeguard_off!("comes-back");
    match known.equality(file, rules.times) {
        // It was gone once it had been read: whether this is the same one, only its bytes tell.
        Equality::Same if left && !safeguard_off!("left-unknown") => Equality::Unknown,
        Equality::Unknown if safeguard_off!("recheck") => Equality::Same,
        equality => equality,
    }
}

/// As [`decide`] once no more exact time can be had: never `AskTime` or `Wait`, nothing skipped.
pub(crate) fn decide_finally(
    file: &RemoteFile,
    known: Option<&Known>,
    seen: Option<&Seen>,
    rules: &Rules<'_>,
    told: TimeTold,
) -> Decision {
    let why = match known.filter(|known| !comes_back(known, rules)) {
        Some(known) => match equality_with(file, known, rules) {
            Equality::Same => return Decision::Unchanged,
            Equality::Unknown => return Decision::Recheck,
            Equality::Different => Why::Changed,
        },
        None => Why::New,
    };
    if settled(file, seen, rules, told) { Decision::Ingest(why) } else { Decision::LookAgain(why) }
}

fn decide_rest(file: &RemoteFile, seen: Option<&Seen>, rules: &Rules<'_>, why: Why) -> Decision {
    let told = if is_exact(file) { TimeTold::Exactly } else { TimeTold::InSomeZone };
    if settled(file, seen, rules, told) {
        Decision::Ingest(why)
    } else if file.modified.is_some() && !is_exact(file) {
        Decision::AskTime
    } else {
        Decision::LookAgain(why)
    }
}

/// Whether the listing told a time to the second.
fn is_exact(file: &RemoteFile) -> bool {
    file.modified.as_ref().is_some_and(equality::is_exact)
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
    (!rules.markers.contains_key(&markers::marker_of(path, marker))).then_some(Skip::NoMarker)
}

/// Whether a file's marker, if this source has markers, says that the file is complete.
pub(crate) fn is_vouched_for(file: &RemoteFile, rules: &Rules<'_>) -> bool {
    rules.marker.is_some_and(|suffix| markers::vouches(file, suffix, rules.markers))
}

/// Whether a file may be read now: by its marker, by its time, or because it was seen `stable_for`
/// ago as it is.
pub fn settled(file: &RemoteFile, seen: Option<&Seen>, rules: &Rules<'_>, told: TimeTold) -> bool {
    if rules.stable_for.is_zero() || is_vouched_for(file, rules) {
        return true;
    }
    let times_tell = matches!(rules.times, Times::Trust | Times::Alone);
    if times_tell
        && file
            .modified
            .as_ref()
            .is_some_and(|modified| rules.clock.settled(modified, told, rules.stable_for))
    {
        return true;
    }
    if safeguard_off!("rests") {
        return true;
    }
    // `Duration` of `time` is signed: a clock that was set back makes it negative, and the file
    // young.
    let long_ago = |seen: &Seen| rules.clock.here - seen.at >= rules.stable_for;
    // A file that changed under our eyes, or was not there, did not rest.
    seen.is_some_and(|seen| {
        seen.why.is_none() && long_ago(seen) && as_before(&seen.file, file, rules.times)
    })
}

/// Whether a file has the size and the time that it had at an earlier sighting.
pub(crate) fn as_before(then: &RemoteFile, now: &RemoteFile, times: Times) -> bool {
    match times {
        Times::Trust | Times::Alone => equality::between(then, now).is_possible(),
        Times::Unknown | Times::None => equality::sizes(then.size, now.size).is_possible(),
    }
}

#[cfg(test)]
#[path = "plan/marker_tests.rs"]
mod marker_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ModifiedTime, Precision, Version};
    use time::OffsetDateTime;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);

    fn file(size: u64, at: OffsetDateTime, precision: Precision) -> RemoteFile {
        RemoteFile {
            path: RemotePath::from("/a.csv"),
            size: Some(size),
            modified: Some(ModifiedTime::new(at, precision)),
        }
    }

    fn known(file: &RemoteFile) -> Known {
        Known::new(file, file.modified, Version::of(file))
    }

    fn check(
        file: &RemoteFile,
        known: Option<&Known>,
        seen: Option<&Seen>,
        newest: Option<OffsetDateTime>,
    ) -> Decision {
        let rules = Rules {
            wanted: &|_| true,
            in_progress: &|path| path.as_bytes().ends_with(b".part"),
            again: &|_| false,
            skipped_by_time_or_size: &|_, _| None,
            marker: None,
            markers: &MarkerTimes::new(),
            stable_for: Duration::from_secs(60),
            clock: Clock { here: NOW, newest },
            times: Times::Trust,
            removes: false,
        };
        decide(file, known, seen, &rules)
    }

    #[test]
    fn old_files_are_ingested_at_once_and_young_ones_looked_at_again() {
        let old = file(1, datetime!(2026-11-19 9:00 UTC), Precision::Second);
        let young = file(1, datetime!(2026-11-20 11:59:30 UTC), Precision::Second);
        assert_eq!(check(&old, None, None, None), Decision::Ingest(Why::New));
        assert_eq!(check(&young, None, None, None), Decision::LookAgain(Why::New));
    }

    #[test]
    fn a_file_that_rested_by_the_servers_own_newest_file_is_settled() {
        let recent = file(1, datetime!(2026-11-20 11:57 UTC), Precision::Second);
        assert_eq!(check(&recent, None, None, None), Decision::LookAgain(Why::New));
        assert_eq!(
            check(&recent, None, None, Some(datetime!(2026-11-20 11:59 UTC))),
            Decision::Ingest(Why::New)
        );
        // A file dated in the future proves nothing.
        assert_eq!(
            check(&recent, None, None, Some(datetime!(2031-01-01 0:00 UTC))),
            Decision::LookAgain(Why::New)
        );
    }

    #[test]
    fn a_file_without_a_time_is_taken_when_it_was_seen_twice() {
        let unknown = RemoteFile { modified: None, ..file(1, NOW, Precision::Second) };
        let seen =
            |minutes: i64| Seen::new(unknown.clone(), NOW - time::Duration::minutes(minutes));
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
            check(
                &file(2, datetime!(2026-11-01 10:00 UTC), Precision::Second),
                Some(&known(&before)),
                None,
                None
            ),
            Decision::Ingest(Why::Changed)
        );
        assert_eq!(
            check(
                &file(1, datetime!(2026-11-01 10:01 UTC), Precision::Second),
                Some(&known(&before)),
                None,
                None
            ),
            Decision::Ingest(Why::Changed)
        );
    }

    #[test]
    fn names_that_say_unfinished_are_skipped_and_said_so() {
        let part = RemoteFile {
            path: RemotePath::from("/a.csv.part"),
            ..file(1, datetime!(2026-11-01 10:00 UTC), Precision::Second)
        };
        assert_eq!(check(&part, None, None, None), Decision::Skip(Skip::InProgress));
    }

    #[test]
    fn a_listed_time_that_an_exact_answer_leaves_open_is_settled_by_the_bytes() {
        let before = file(1, datetime!(2026-11-01 10:00 UTC), Precision::Minute);
        let after = file(1, datetime!(2026-11-02 10:00 UTC), Precision::Minute);
        assert_eq!(check(&after, Some(&known(&before)), None, None), Decision::AskTime);
        let markers = MarkerTimes::new();
        let rules = rules(&markers);
        assert_eq!(
            decide_finally(&after, Some(&known(&before)), None, &rules, TimeTold::InSomeZone),
            Decision::Recheck
        );
        assert_eq!(
            decide_finally(&before, Some(&known(&before)), None, &rules, TimeTold::InSomeZone),
            Decision::Unchanged
        );
    }

    #[test]
    fn an_exact_time_that_moved_by_an_hour_waits_for_the_rest_of_the_listing() {
        let before = file(1, datetime!(2026-11-01 10:00 UTC), Precision::Second);
        let after = file(1, datetime!(2026-11-01 11:00 UTC), Precision::Second);
        assert_eq!(check(&after, Some(&known(&before)), None, None), Decision::Wait);
        let markers = MarkerTimes::new();
        assert_eq!(
            decide_finally(
                &after,
                Some(&known(&before)),
                None,
                &rules(&markers),
                TimeTold::Exactly
            ),
            Decision::Ingest(Why::Changed)
        );
    }

    #[test]
    fn a_file_that_comes_back_after_its_removal_is_new_whatever_its_size_and_time() {
        let same = file(1, datetime!(2026-11-01 10:00 UTC), Precision::Second);
        let mut removed = known(&same);
        removed.history.left = true;
        let markers = MarkerTimes::new();
        let rules = |removes| Rules { removes, ..rules(&markers) };
        assert_eq!(decide(&same, Some(&removed), None, &rules(true)), Decision::Ingest(Why::New));
        // Where nothing is removed, the server took it away once it was read.
        assert_eq!(decide(&same, Some(&removed), None, &rules(false)), Decision::Recheck);
    }

    pub fn rules(markers: &MarkerTimes) -> Rules<'_> {
        Rules {
            wanted: &|_| true,
            in_progress: &|_| false,
            again: &|_| false,
            skipped_by_time_or_size: &|_, _| None,
            marker: None,
            markers,
            stable_for: Duration::from_secs(60),
            clock: Clock { here: NOW, newest: None },
            times: Times::Trust,
            removes: false,
        }
    }
}
