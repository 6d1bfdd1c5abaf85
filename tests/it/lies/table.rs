//! Lies in what a server tells of files and folders: names, kinds, sizes, times, whole listings.
//!
//! A lie is a row: its name, what the server does, the safeguard that sees through it, and how it
//! acts. [`super::changes`] holds those that change files at a moment of their own choosing.

use blobferry::model::failure::Class;
use blobferry::model::{ModifiedTime, Precision, RemoteFile, RemotePath};
use blobferry::source::contract::{Listed, Op};
use time::{Duration, OffsetDateTime};

use super::cue::{Cue, Lie, PLAIN, Saying, deletes, keeps};
use super::scene::TimesToldIn;

/// A lie that is played alone: any second one about either name hides what tells the two apart.
pub const FOLDED_BY_THE_MINUTE: &str = "names-folded-by-the-minute";
/// The lie whose runs may do something about a few files only.
pub const MORE_FILES: &str = "more-files-than-a-run-takes";
/// How many that is.
pub const FEW_FILES: usize = 3;

fn shift(file: &mut RemoteFile, by: Duration) {
    file.modified = file.modified.map(|at| ModifiedTime::new(at.at + by, at.precision));
}

fn coarse(file: &mut RemoteFile, precision: Precision) {
    file.modified = file.modified.map(|at| ModifiedTime::new(at.at, precision));
}

fn at(seconds: i64) -> Option<ModifiedTime> {
    ModifiedTime::from_unix(seconds)
}

/// The entries of `/d`, or of the root for an entry of its name.
fn is_folder(listed: &Listed) -> bool {
    matches!(listed, Listed::Directory(path) if path.as_bytes() == b"/d")
}

/// A listing of this folder.
fn listing<'a, 'b>(
    saying: &'a mut Saying<'b>,
    dir: &str,
) -> Option<(&'a mut Vec<Listed>, &'a mut Option<Class>)> {
    match saying {
        Saying::Listing(path, entries, end) if path.as_bytes() == dir.as_bytes() => {
            Some((entries, end))
        }
        _ => None,
    }
}

/// Listings of the folder `/d` fail so.
fn folder_fails(saying: &mut Saying<'_>, class: Class) -> bool {
    let Some((entries, end)) = listing(saying, "/d") else { return false };
    entries.clear();
    *end = Some(class);
    true
}

/// What stands in the name of another file, if the two differ in case alone.
fn folded(cue: &Cue<'_>, path: &RemotePath) -> Option<RemotePath> {
    let lower = RemotePath::new(path.as_bytes().to_ascii_lowercase());
    (lower != *path && cue.truth().files.contains_key(&lower)).then_some(lower)
}

/// Bytes and descriptions of one file in the place of another's.
fn folds(cue: &Cue<'_>, saying: &mut Saying<'_>) -> bool {
    match saying {
        Saying::Chunk(path, at, chunk) => {
            let Some(other) = folded(cue, path) else { return false };
            let bytes = cue.truth().files[&other].bytes.clone();
            let at = usize::try_from(*at).unwrap();
            **chunk = Ok((at < bytes.len()).then(|| bytes.slice(at..)));
            true
        }
        Saying::Description(path, Ok(told)) => {
            let Some(other) = folded(cue, path) else { return false };
            let held = cue.truth().files[&other].clone();
            *told = Some(cue.scene.description(path, &held));
            true
        }
        _ => false,
    }
}

/// What the server says of names, kinds, sizes and times, and how it ends listings.
pub const WORDS: &[Lie] = &[
    Lie {
        name: "no-such-name",
        what: "a name that is listed, and that no command takes",
        guard: "gone-by-listing",
        act: |cue, saying| saying.refuses(cue, &[Op::Stat, Op::Read], Class::NotFound),
        ..PLAIN
    },
    Lie {
        name: "no-such-name-to-open",
        what: "a name that is listed and described, and cannot be opened",
        guard: "gone-by-listing",
        act: |cue, saying| saying.refuses(cue, &[Op::Read], Class::NotFound),
        ..PLAIN
    },
    Lie {
        name: "no-such-name-three-times",
        what: "a name that commands take from the third time on",
        guard: "gone-by-listing",
        act: |cue, saying| match saying {
            Saying::Opening(path, ..) if cue.nth(Op::Read, path) > 2 => false,
            saying => saying.refuses(cue, &[Op::Read], Class::NotFound),
        },
        ..PLAIN
    },
    Lie {
        name: "not-described",
        what: "a file that is listed and read, and of which every description is: no such file",
        guard: "gone-by-listing",
        act: |cue, saying| saying.refuses(cue, &[Op::Stat], Class::NotFound),
        ..PLAIN
    },
    Lie {
        name: "names-folded",
        what: "of two names that differ in case, commands take both for the small one",
        guard: "look-after-read",
        act: |cue, saying| match saying {
            // Where times are coarse, nothing tells the two apart but the listing.
            _ if cue.scene.times != TimesToldIn::Seconds => false,
            saying => folds(cue, saying),
        },
        ..PLAIN
    },
    Lie {
        name: FOLDED_BY_THE_MINUTE,
        what: "the same, where only listings tell the two apart, and the second one is there",
        guard: "alike-told",
        act: |cue, saying| match saying {
            _ if cue.scene.times == TimesToldIn::Seconds => false,
            Saying::Run(0) => {
                let (path, at) = (RemotePath::from("/F0"), OffsetDateTime::UNIX_EPOCH);
                let mut truth = cue.truth();
                if !truth.files.contains_key(&path) {
                    truth.write(&path, 90, at + Duration::days(15_000));
                }
                false
            }
            saying => folds(cue, saying),
        },
        ..PLAIN
    },
    Lie {
        name: MORE_FILES,
        what: "there are more files than a run may take",
        guard: "limit-told",
        act: |cue, saying| {
            let Saying::Run(run @ 0..2) = saying else { return false };
            for number in 0..8 {
                let path = RemotePath::from(format!("/more{run}{number}").as_str());
                let at = OffsetDateTime::UNIX_EPOCH + Duration::days(15_000 + number);
                cue.truth().write(&path, 70, at);
            }
            true
        },
        ..PLAIN
    },
    Lie {
        name: "entry-twice",
        what: "a listing that tells a file twice",
        guard: "entries-once",
        act: |cue, saying| {
            saying.entries(cue, |file| vec![Listed::File(file.clone()), Listed::File(file)])
        },
        ..PLAIN
    },
    Lie {
        name: "page-again",
        what: "a listing that begins again at its end",
        guard: "entries-once",
        act: |_, saying| {
            let Some((entries, _)) = listing(saying, "/") else { return false };
            entries.extend(entries.clone());
            true
        },
        ..PLAIN
    },
    Lie {
        name: "name-nobody-can-ask-for",
        what: "a name with a slash, or a line end, in it",
        guard: "unreachable-told",
        act: |cue, saying| {
            saying.entries(cue, |file| vec![Listed::Unreachable(file.path, "it holds a slash")])
        },
        ..PLAIN
    },
    Lie {
        name: "line-nobody-understands",
        what: "a line that is no entry stands where a file should",
        guard: "unparsed-told",
        act: |cue, saying| {
            saying.entries(cue, |file| vec![Listed::Unparsed(format!("?? {}", file.path))])
        },
        ..PLAIN
    },
    Lie {
        name: "file-and-folder",
        what: "a file and a folder of one name",
        guard: "folder-told",
        act: |cue, saying| {
            saying
                .entries(cue, |file| vec![Listed::Directory(file.path.clone()), Listed::File(file)])
        },
        ..PLAIN
    },
    Lie {
        name: "file-as-folder",
        what: "a file that is listed as a folder",
        guard: "folder-told",
        act: |cue, saying| saying.entries(cue, |file| vec![Listed::Directory(file.path)]),
        ..PLAIN
    },
    Lie {
        name: "folder-in-itself",
        what: "a folder that holds itself",
        guard: "depth-told",
        act: |_, saying| {
            let Saying::Listing(dir, entries, end) = saying else { return false };
            if !dir.as_bytes().starts_with(b"/d") {
                return false;
            }
            entries.push(Listed::Directory(dir.join(b"again")));
            **end = None;
            true
        },
        ..PLAIN
    },
    Lie {
        name: "folder-missing",
        what: "a folder that is shown, and that is said not to be there",
        guard: "folder-told",
        act: |_, saying| folder_fails(saying, Class::NotFound),
        ..PLAIN
    },
    Lie {
        name: "folder-denied",
        what: "a folder that is shown, and that may not be listed",
        guard: "listing-told",
        act: |_, saying| folder_fails(saying, Class::Permission),
        ..PLAIN
    },
    Lie {
        name: "listing-breaks-off",
        what: "listings of a folder end in an error in their middle",
        guard: "listing-told",
        act: |_, saying| {
            let Some((entries, end)) = listing(saying, "/d") else { return false };
            entries.truncate(entries.len() / 2);
            *end = Some(Class::Connect);
            true
        },
        ..PLAIN
    },
    Lie {
        name: "root-breaks-off",
        what: "in the first two runs listings of the root end in an error in their middle",
        guard: "listing-told",
        act: |cue, saying| {
            let early = cue.run() < 2;
            let Some((entries, end)) = listing(saying, "/").filter(|_| early) else { return false };
            entries.truncate(entries.len() / 2);
            *end = Some(Class::Truncated);
            true
        },
        ..PLAIN
    },
    Lie {
        name: "stale-listing",
        what: "listings go on to show a file that was there once",
        guard: "gone-by-listing",
        act: |_, saying| {
            let Some((entries, _)) = listing(saying, "/") else { return false };
            let path = RemotePath::from("/once");
            entries.push(Listed::File(RemoteFile { path, size: Some(7), modified: at(1 << 30) }));
            true
        },
        ..PLAIN
    },
    Lie {
        name: "empty-listing",
        what: "a file is not there when it is opened first, and every second listing is empty",
        guard: "gone-by-listing",
        act: |cue, saying| {
            if let Saying::Opening(path, _, refused) = saying
                && cue.hits(path)
                && cue.once(path)
            {
                **refused = Some(Class::NotFound);
                return true;
            }
            let even = cue.nth(Op::List, &RemotePath::from("/")).is_multiple_of(2);
            let Some((entries, _)) = listing(saying, "/").filter(|_| even) else { return false };
            entries.clear();
            true
        },
        ..PLAIN
    },
    Lie {
        name: "folder-left-out",
        what: "every second listing of the root lacks a folder",
        guard: "folder-told",
        act: |cue, saying| {
            let odd = cue.nth(Op::List, &RemotePath::from("/")) % 2 == 1;
            let Some((entries, _)) = listing(saying, "/").filter(|_| odd) else { return false };
            entries.retain(|entry| !is_folder(entry));
            true
        },
        ..PLAIN
    },
    Lie {
        name: "listed-empty",
        what: "listings tell 0 bytes, descriptions tell the truth",
        guard: "look-after-read",
        act: |cue, saying| saying.lines(cue, |file| file.size = Some(0)),
        ..PLAIN
    },
    Lie {
        name: "described-empty",
        what: "descriptions tell 0 bytes, listings tell the truth",
        guard: "verify",
        act: |cue, saying| saying.descriptions(cue, |file| file.size = Some(0)),
        ..PLAIN
    },
    Lie {
        name: "larger-than-it-is",
        what: "listings and descriptions tell more bytes than come",
        guard: "verify",
        act: |cue, saying| saying.told(cue, |file| file.size = file.size.map(|size| size + 9)),
        ..PLAIN
    },
    Lie {
        name: "smaller-than-it-is",
        what: "listings and descriptions tell fewer bytes than come",
        guard: "verify",
        act: |cue, saying| saying.told(cue, |file| file.size = file.size.map(|size| size / 2)),
        ..PLAIN
    },
    Lie {
        name: "in-blocks",
        what: "sizes are told in another unit",
        guard: "failures-told",
        act: |cue, saying| {
            saying.told(cue, |file| file.size = file.size.map(|size| size.div_ceil(512)))
        },
        ..PLAIN
    },
    Lie {
        name: "larger-at-each-look",
        what: "each look at a file tells more bytes than the one before",
        guard: "late",
        act: |cue, saying| {
            let n = cue.nth(Op::Stat, &RemotePath::from("/f0")) + cue.run();
            match saying {
                Saying::Description(path, Ok(Some(file))) if cue.hits(path) => {
                    file.size = file.size.map(|size| size + n + 1);
                    true
                }
                _ => false,
            }
        },
        ..PLAIN
    },
    Lie {
        name: "no-size",
        what: "no size is told",
        guard: "recheck",
        act: |cue, saying| saying.told(cue, |file| file.size = None),
        ..PLAIN
    },
    Lie {
        name: "no-time",
        what: "no time is told",
        guard: "recheck",
        act: |cue, saying| saying.told(cue, |file| file.modified = None),
        ..PLAIN
    },
    Lie {
        name: "minutes",
        what: "times are told to the minute only, and only by listings",
        guard: "recheck",
        act: |cue, saying| {
            saying.lines(cue, |file| coarse(file, Precision::Minute))
                || saying.descriptions(cue, |file| file.modified = None)
        },
        ..PLAIN
    },
    Lie {
        name: "days",
        what: "times are told to the day only, and only by listings",
        guard: "recheck",
        act: |cue, saying| {
            saying.lines(cue, |file| coarse(file, Precision::Day))
                || saying.descriptions(cue, |file| file.modified = None)
        },
        ..PLAIN
    },
    Lie {
        name: "days-from-the-second-run-on",
        what: "after half a year listings tell the day in the place of the minute",
        guard: "recheck",
        act: |cue, saying| cue.run() > 0 && saying.lines(cue, |file| coarse(file, Precision::Day)),
        ..PLAIN
    },
    Lie {
        name: "time-moves",
        what: "the time of a file is another one at each look",
        guard: "touched-reread",
        act: |cue, saying| {
            let calls = [Op::Stat, Op::List].map(|op| cue.nth(op, &RemotePath::from("/f0")));
            let n = calls.iter().sum::<u64>() + cue.run() * 100;
            saying.told(cue, |file| shift(file, Duration::seconds(n.cast_signed())))
        },
        ..PLAIN
    },
    Lie {
        name: "all-of-1980",
        what: "all files are of 1980",
        guard: "second-reading",
        act: |cue, saying| saying.told(cue, |file| file.modified = at(315_532_800)),
        setting: deletes,
        ..PLAIN
    },
    Lie {
        name: "all-of-2100",
        what: "all files are of the future",
        guard: "second-reading",
        act: |cue, saying| saying.told(cue, |file| file.modified = at(4_102_444_800)),
        setting: deletes,
        ..PLAIN
    },
    Lie {
        name: "local-as-utc",
        what: "local time is told as UTC",
        guard: "rests",
        act: |_, saying| all_lines(saying, |file| shift(file, Duration::hours(2))),
        ..PLAIN
    },
    Lie {
        name: "summer-time",
        what: "from the second run on listings tell all times an hour later",
        guard: "zone",
        act: |cue, saying| {
            cue.run() > 0 && all_lines(saying, |file| shift(file, Duration::hours(1)))
        },
        setting: keeps,
        ..PLAIN
    },
    Lie {
        name: "clock-jumps",
        what: "the times of young files are of the day before",
        guard: "rests",
        act: |cue, saying| {
            let day = OffsetDateTime::now_utc() - Duration::hours(20);
            saying.told(cue, |file| {
                let young = file.modified.is_some_and(|at| at.at > day);
                shift(file, Duration::hours(if young { -24 } else { 0 }));
            })
        },
        ..PLAIN
    },
];

/// Changes all lines of listings.
fn all_lines(saying: &mut Saying<'_>, change: impl Fn(&mut RemoteFile)) -> bool {
    let Saying::Listing(_, entries, _) = saying else { return false };
    let files = entries.iter_mut().filter_map(|entry| match entry {
        Listed::File(file) => Some(file),
        _ => None,
    });
    files.map(change).count() > 0
}
