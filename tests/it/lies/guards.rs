//! The safeguards of the program, and pairs of lies that none can see through.

use std::collections::HashSet;

/// A step of the program that sees through lies, as `safeguard_off!` names it, and what it does.
pub const SAFEGUARDS: &[(&str, &str)] = &[
    ("verify", "as many bytes must come as were promised"),
    ("look-after-read", "a file is described after it was read, and must be what it was before"),
    ("touched-reread", "where only the time moved, the file is read twice"),
    ("gone-by-listing", "not found is not gone: a fresh listing decides"),
    ("late", "nothing waits for ever and is ok"),
    ("recheck", "what cannot be compared is read"),
    ("left-unknown", "what was taken away once it was read is another file when it is back"),
    ("comes-back", "what left the source and is there again is new"),
    ("racy", "a coarse time of a young file hides a replacement"),
    ("zone", "one file that moved by an hour is no zone"),
    ("rests", "a young file is looked at twice"),
    ("entries-once", "an entry counts once however often it is listed"),
    ("unparsed-told", "a line that nobody understands is told"),
    ("unreachable-told", "a name that nobody can ask for is told"),
    ("depth-told", "folders that are not entered are told"),
    ("listing-told", "a listing that fails is told"),
    ("folder-told", "a folder that is shown and cannot be entered is told"),
    ("failures-told", "a file that did not arrive makes the run's word"),
    ("look-before-removal", "a file is described right before it is removed"),
    ("second-reading", "where its time proves nothing, a file is read twice before it is removed"),
    (
        "reread-before-retry",
        "a removal that broke off is tried again once the bytes are read again",
    ),
    (
        "line-before-removal",
        "where only listings tell times, the folder is listed before a removal",
    ),
    ("wait-before-removal", "a young file rests before it is removed"),
    ("look-after-rename", "what was renamed is looked at before it is removed"),
    ("look-after-removal", "what left once, and is there again as it was, is looked at once more"),
    ("names-given-back", "what was renamed and not removed is no new file"),
    ("limit-told", "files that are left over make the run's word"),
    ("alike-told", "equal bytes of two names that differ in case alone are doubted"),
];

/// Two lies that come to bytes which nobody can tell from the true ones but by a sum, and why. No
/// schedule plays them together.
pub const BLIND_PAIRS: &[(&str, &str, &str)] = &[
    ("ends-early", "offset-ignored", "reads begun anew come to the very size of the file"),
    ("ends-early", "no-size", NO_SIZE),
    ("ends-early", "replaced-between-runs", NO_SIZE),
    ("cut-and-written-anew", "replaced-between-runs", NO_SIZE),
    ("offset-ignored", "larger-than-it-is", "reads begun anew come to the very size that is told"),
    ("sends-more", "no-size", NO_SIZE),
    ("sends-more", "replaced-between-runs", NO_SIZE),
    ("offset-ignored", "no-size", NO_SIZE),
    ("offset-ignored", "replaced-between-runs", NO_SIZE),
    ("names-folded", "no-time", NO_TIME),
    ("names-folded", "minutes", NO_TIME),
    ("names-folded", "days", NO_TIME),
    ("names-folded", "all-of-1980", NO_TIME),
    ("names-folded", "all-of-2100", NO_TIME),
    ("names-folded", "replaced-between-runs", NO_TIME),
    ("names-folded", "replaced-within-the-minute", NO_TIME),
    ("names-folded", "listed-anew-before-it-leaves", NO_TIME),
    ("names-folded", "filled-while-its-time-stands-still", NO_TIME),
    ("names-folded", "days-from-the-second-run-on", NO_TIME),
    ("names-folded-by-the-minute", "days-from-the-second-run-on", ONE_DAY),
    ("names-folded-by-the-minute", "time-moves", MOVES),
    ("names-folded-by-the-minute", "replaced-between-runs", STALE),
    ("names-folded-by-the-minute", "all-of-2100", ONE_TIME),
    ("names-folded", "taken-away-and-back", AWAY),
    ("names-folded", "taken-away-once-read", AWAY),
    ("names-folded", "taken-by-another-consumer", AWAY),
    ("names-folded", "written-slowly", STALE),
    ("names-folded", "written-on-once-it-was-read", STALE),
    ("names-folded", "replaced-while-it-is-read", STALE),
    ("days", "replaced-while-it-is-read", SAME_DAY),
    ("days", "replaced-by-one-of-its-size", SAME_DAY),
    ("days-from-the-second-run-on", "replaced-while-it-is-read", SAME_DAY),
    ("no-size", "cut-and-written-anew", NO_SIZE),
    ("all-of-2100", "listed-anew-before-it-leaves", AFTER_ALL),
    ("names-folded", "no-size", DESCRIBED),
    ("names-folded", "time-moves", MOVES),
    ("replaced-while-it-is-read", "written-on-once-it-was-read", MOVES),
    ("replaced-while-it-is-read", "time-moves", MOVES),
    ("taken-away-once-read", "replaced-while-it-is-read", "nobody can describe it after the read"),
    ("not-described", "replaced-while-it-is-read", "nobody can describe it after the read"),
    ("clock-jumps", "written-slowly", "the newest time that the server shows is of another clock"),
];

const ONE_DAY: &str = "from the second run on one day and one exact time are told of both names";
const ONE_TIME: &str = "one exact time is told of both names, as of copies";
const AWAY: &str = "while one of the two is away, the other one's bytes and time are all there is";
const SAME_DAY: &str = "one day and one size are told of the file and of the one in its place";
const AFTER_ALL: &str =
    "no time tells the file that took its place after the last reading, right before it leaves";
const STALE: &str = "the bytes of one name are those that the other one had before";
const DESCRIBED: &str = "what is listed without a size is described before it is read";
const MOVES: &str = "a time that moves at each look tells no file from another";
const NO_SIZE: &str = "the end that the server tells is all that is known of the size";
const NO_TIME: &str = "two files of one size, of which no exact times are told";

/// Names that stand more than once.
pub fn doubles<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = HashSet::new();
    names.filter(|name| !seen.insert(*name)).collect()
}
