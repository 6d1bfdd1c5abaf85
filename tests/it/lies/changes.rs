//! Lies in which files become others at the worst moment: between two looks, while they are read,
//! right before they are to leave.

use std::time::Duration;

use blobferry::model::failure::Class;
use blobferry::model::{ModifiedTime, Precision, RemotePath};
use blobferry::source::contract::Op;
use time::OffsetDateTime;

use super::cue::{Cue, Deed, Lie, PLAIN, Saying, deletes, deletes_in_place, keeps, renames};
use super::truth::SourceTruth;

/// Not a multiple of a quarter of an hour, to the minute either: files that move so are no zone.
const LATER: time::Duration = time::Duration::seconds(1_027);

fn replace(truth: &mut SourceTruth, path: &RemotePath) {
    truth.replace(path, LATER);
}

fn replace_alike(truth: &mut SourceTruth, path: &RemotePath) {
    truth.replace(path, time::Duration::ZERO);
}

/// Within the minute, as long as that lasts.
fn replace_young(truth: &mut SourceTruth, path: &RemotePath) {
    let Some(old) = truth.files.get(path).cloned() else { return };
    let now = OffsetDateTime::now_utc();
    let same_minute = now.unix_timestamp() / 60 == old.modified.unix_timestamp() / 60;
    let later = if same_minute { time::Duration::ZERO } else { now - old.modified };
    truth.replace(path, later);
}

/// Times are told to the minute, and by listings only.
fn minutes(cue: &Cue<'_>, saying: &mut Saying<'_>) {
    let minute = |at: ModifiedTime| ModifiedTime::new(at.at, Precision::Minute);
    saying.lines(cue, |file| file.modified = file.modified.map(minute));
    saying.descriptions(cue, |file| file.modified = None);
}

/// Something happens to every file of the lie when this run begins.
fn when_run_begins(
    cue: &Cue<'_>,
    saying: &Saying<'_>,
    run: u64,
    change: fn(&mut SourceTruth, &RemotePath),
) -> bool {
    if !matches!(saying, Saying::Run(begun) if *begun == run) {
        return false;
    }
    let paths = cue.paths();
    paths.iter().for_each(|path| change(&mut cue.truth(), path));
    !paths.is_empty()
}

/// What files become, and when.
pub const CHANGES: &[Lie] = &[
    Lie {
        name: "replaced-before-it-is-opened",
        what: "a file becomes another one between its listing and its opening",
        guard: "look-after-read",
        act: |cue, saying| match saying.comes(cue, Op::Read) {
            Some(path) if cue.nth(Op::Read, &path) == 1 => {
                let longer = path.as_bytes().len() + 90;
                let mut truth = cue.truth();
                let Some(old) = truth.files.get(&path).map(|held| held.modified) else {
                    return false;
                };
                truth.write(&path, longer, old + LATER);
                true
            }
            _ => false,
        },
        ..PLAIN
    },
    Lie {
        name: "replaced-while-it-is-read",
        what: "a file becomes another one of equal size while it is read, twice",
        guard: "touched-reread",
        // Replaced at every reading, it is a file whose time moves at every look.
        act: |cue, saying| match saying.comes(cue, Op::Read) {
            Some(path) if [3, 12].contains(&cue.nth(Op::Read, &path)) => {
                cue.truth().replace(&path, LATER);
                true
            }
            _ => false,
        },
        ..PLAIN
    },
    Lie {
        name: "replaced-once-it-was-read",
        what: "a file becomes another one after its last byte, and before it is described",
        guard: "look-after-read",
        act: |cue, saying| match saying.ended(cue) {
            Some(path) if cue.once(&path) => {
                let mut truth = cue.truth();
                let Some(old) = truth.files.get(&path).cloned() else { return false };
                truth.write(&path, old.bytes.len() + 40, old.modified + LATER);
                true
            }
            _ => false,
        },
        setting: deletes,
        ..PLAIN
    },
    Lie {
        name: "replaced-before-it-leaves",
        what: "two files become other ones of equal size once stored, before their last look",
        guard: "look-before-removal",
        act: |cue, saying| match saying.comes(cue, Op::Stat) {
            // The first look comes after the read. Of all files it would be a source whose times
            // move at every look.
            Some(path)
                if path.as_bytes().ends_with(b"1")
                    && cue.nth(Op::Stat, &path) == 2
                    && cue.nth(Op::Read, &path) > 0 =>
            {
                cue.truth().replace(&path, LATER);
                true
            }
            _ => false,
        },
        setting: deletes_in_place,
        ..PLAIN
    },
    Lie {
        name: "replaced-before-it-is-renamed",
        what: "a file becomes another one between its last look and its rename",
        guard: "look-after-rename",
        act: |cue, saying| match saying.comes(cue, Op::Rename) {
            Some(path) if cue.once(&path) => {
                cue.truth().replace(&path, LATER);
                true
            }
            _ => false,
        },
        setting: renames,
        ..PLAIN
    },
    Lie {
        name: "replaced-before-it-is-removed",
        what: "a file becomes another one between its last look and its removal",
        guard: "look-before-removal",
        act: |cue, saying| match saying.comes(cue, Op::Remove) {
            Some(path) if cue.once(&path) => {
                cue.truth().replace(&path, LATER);
                true
            }
            _ => false,
        },
        setting: deletes_in_place,
        ..PLAIN
    },
    Lie {
        name: "replaced-as-a-removal-breaks",
        what: "a file of 1980 becomes another one as the connection breaks over its removal",
        guard: "reread-before-retry",
        act: |cue, saying| match saying {
            Saying::Leaving(Op::Remove, path, deed) if cue.hits(path) && cue.once(path) => {
                cue.truth().replace(path, LATER);
                **deed = Deed::Refused(Class::Connect);
                true
            }
            _ => {
                saying.told(cue, |file| file.modified = ModifiedTime::from_unix(315_532_800));
                false
            }
        },
        setting: deletes_in_place,
        ..PLAIN
    },
    Lie {
        name: "filled-while-its-time-stands-still",
        what: "a file without a time is filled after it was read once",
        guard: "second-reading",
        act: |cue, saying| match saying {
            // Nobody knows the name that a file has once it was renamed to be removed.
            Saying::Ended(path)
                if !path.as_bytes().ends_with(b".removing") && cue.hits(path) && cue.once(path) =>
            {
                cue.truth().later(path, Duration::from_secs(30), replace_alike);
                true
            }
            saying => {
                saying.told(cue, |file| file.modified = None);
                false
            }
        },
        setting: deletes_in_place,
        ..PLAIN
    },
    Lie {
        name: "listed-anew-before-it-leaves",
        what: "where only listings tell times, a file becomes another one after its second reading",
        guard: "line-before-removal",
        act: |cue, saying| match saying {
            Saying::Before(Op::List, dir) => {
                let path = dir.join(b"f0");
                let read = cue.nth(Op::Read, &path) >= 8;
                if read && cue.nth(Op::List, dir) > 1 && cue.once(&path) {
                    cue.truth().replace(&path, LATER);
                    return true;
                }
                false
            }
            saying => {
                minutes(cue, saying);
                false
            }
        },
        setting: deletes_in_place,
        ..PLAIN
    },
    Lie {
        name: "written-on-once-it-was-read",
        what: "a young file is written on half a minute after it was read",
        guard: "wait-before-removal",
        act: |cue, saying| match saying {
            Saying::Run(0) => {
                when_run_begins(cue, saying, 0, |truth, path| {
                    truth.write(path, 0, OffsetDateTime::now_utc());
                });
                false
            }
            Saying::Ended(path) if cue.hits(path) && cue.run() == 0 && cue.once(path) => {
                let mut truth = cue.truth();
                let hour_ago = OffsetDateTime::now_utc() - time::Duration::HOUR;
                let is_young = truth.files.get(path).is_some_and(|held| held.modified > hour_ago);
                if is_young {
                    truth.later(path, Duration::from_secs(30), SourceTruth::grow);
                }
                is_young
            }
            _ => false,
        },
        setting: deletes_in_place,
        ..PLAIN
    },
    Lie {
        name: "written-slowly",
        what: "of a young file there is only the beginning for half a minute",
        guard: "rests",
        act: |cue, saying| {
            when_run_begins(cue, saying, 0, |truth, path| {
                truth.begin(path);
                truth.later(path, Duration::from_secs(40), |truth, path| {
                    truth.write(path, 120, OffsetDateTime::now_utc() + time::Duration::seconds(40));
                });
            })
        },
        ..PLAIN
    },
    Lie {
        name: "grows-at-each-look",
        what: "a log that is appended to all the time",
        guard: "late",
        act: |cue, saying| match saying.comes(cue, Op::Stat) {
            Some(path) if cue.nth(Op::Stat, &path) < 60 => {
                cue.truth().grow(&path);
                true
            }
            _ => false,
        },
        ..PLAIN
    },
    Lie {
        name: "cut-and-written-anew",
        what: "a file is cut and written anew, shorter, while it is read",
        guard: "look-after-read",
        act: |cue, saying| match saying.comes(cue, Op::Read) {
            Some(path) if cue.nth(Op::Read, &path) == 3 => {
                let mut truth = cue.truth();
                let Some(old) = truth.files.get(&path).map(|held| held.modified) else {
                    return false;
                };
                truth.write(&path, 0, old + LATER);
                true
            }
            _ => false,
        },
        ..PLAIN
    },
    Lie {
        name: "replaced-within-the-minute",
        what: "a young file whose time is only listed becomes another one of equal size and minute",
        guard: "racy",
        act: |cue, saying| match saying {
            Saying::Run(0) => {
                when_run_begins(cue, saying, 0, |truth, path| {
                    truth.write(path, 80, OffsetDateTime::now_utc());
                });
                false
            }
            Saying::Run(1) => when_run_begins(cue, saying, 1, replace_young),
            saying => {
                minutes(cue, saying);
                false
            }
        },
        setting: keeps,
        ..PLAIN
    },
    Lie {
        name: "replaced-an-hour-later",
        what: "one file becomes another one of equal size, an hour later to the minute",
        guard: "zone",
        act: |cue, saying| {
            let Saying::Run(1) = saying else { return false };
            cue.truth().replace(&RemotePath::from("/f0"), time::Duration::hours(1));
            true
        },
        setting: keeps,
        ..PLAIN
    },
    Lie {
        name: "replaced-between-runs",
        what: "files of which no size is told become others of equal size and time",
        guard: "recheck",
        act: |cue, saying| {
            saying.told(cue, |file| (file.size, file.modified) = (None, None));
            when_run_begins(cue, saying, 1, replace_alike)
        },
        setting: keeps,
        ..PLAIN
    },
    Lie {
        name: "taken-away-once-read",
        what: "a file is taken away after its last byte, and is back as it was in the next run",
        guard: "left-unknown",
        act: |cue, saying| match saying {
            Saying::Ended(path) if cue.hits(path) && cue.once(path) => {
                cue.truth().take_away(path);
                true
            }
            Saying::Run(_) => cue.truth().put_back(),
            _ => false,
        },
        setting: keeps,
        ..PLAIN
    },
    Lie {
        name: "taken-away-and-back",
        what: "a file is taken away after its last byte, and another of its size and time comes",
        guard: "left-unknown",
        act: |cue, saying| match saying {
            Saying::Ended(path) if cue.hits(path) && cue.once(path) => {
                cue.truth().take_away(path);
                true
            }
            Saying::Run(_) => cue.truth().bring_back(),
            _ => false,
        },
        setting: keeps,
        ..PLAIN
    },
    Lie {
        name: "back-once-it-left",
        what: "after a file left, another one of its size and time comes under its name",
        guard: "comes-back",
        act: |cue, saying| match saying {
            // A name that the program itself gave is nobody else's.
            Saying::Leaving(Op::Remove, path, _)
                if cue.hits(path) && !path.as_bytes().contains(&b'~') && cue.once(path) =>
            {
                cue.truth().remember(path);
                false
            }
            Saying::Run(_) => cue.truth().bring_back(),
            _ => false,
        },
        setting: deletes_in_place,
        ..PLAIN
    },
    Lie {
        name: "taken-by-another-consumer",
        what: "somebody else takes a file between its listing and its opening",
        guard: "gone-by-listing",
        act: |cue, saying| match saying.comes(cue, Op::Read) {
            Some(path) if cue.once(&path) => {
                cue.truth().remove(&path);
                true
            }
            _ => false,
        },
        ..PLAIN
    },
    Lie {
        name: "folder-taken-away",
        what: "a folder goes away between its parent's listing and its own",
        guard: "folder-told",
        act: |cue, saying| match saying {
            Saying::Before(Op::List, dir) if dir.as_bytes() == b"/d" && cue.once(dir) => {
                let mut truth = cue.truth();
                let inside: Vec<_> =
                    truth.files.keys().filter(|path| path.below(dir).is_some()).cloned().collect();
                inside.iter().for_each(|path| truth.remove(path));
                true
            }
            _ => false,
        },
        ..PLAIN
    },
    Lie {
        name: "touched-between-runs",
        what: "the time of a file moves between runs, and its bytes do not",
        guard: "look-after-read",
        act: |cue, saying| when_run_begins(cue, saying, 1, |truth, path| truth.touch(path, LATER)),
        ..PLAIN
    },
    Lie {
        name: "replaced-by-one-of-its-size",
        what: "a file becomes another one of equal size before it is opened",
        guard: "touched-reread",
        act: |cue, saying| match saying.comes(cue, Op::Read) {
            Some(path) if cue.nth(Op::Read, &path) == 1 => {
                replace(&mut cue.truth(), &path);
                true
            }
            _ => false,
        },
        ..PLAIN
    },
];
