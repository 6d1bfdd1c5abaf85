//! The program without one of its safeguards: each must be noticed.

use super::schedule::{WireCasting, play};

/// Safeguards that a schedule on the wire shows when they are left out. Of the others
/// `found::a_file_whose_data_never_ends…` leaves out one, and `lies` has mutants for those that it
/// shares. What `mlst-name` and `opens-settled` are for is shown by tests of `source::ftp` and
/// `source::sftp`.
const OF_THE_WIRE: [&str; 16] = [
    "handles-unique",
    "reads-settled",
    "spoilt-anew",
    "refusals-doubted",
    "answers-drained",
    "empty-pages",
    "pages-repeat",
    "failure-again",
    "kind-tried",
    "folder-not-file",
    "folder-listed",
    "short-read",
    "answer-length",
    "odd-ends",
    "closing-reply",
    "replies-in-step",
];

/// Schedules that may be played until a mutant is noticed.
const BOUND: u64 = 40;

/// The first schedule that notices the program without `guard`.
fn noticed(guard: &'static str) -> Option<(u64, String)> {
    (0..BOUND).find_map(|seed| {
        let casting = WireCasting::Guarded(guard);
        let violation = play(seed, casting, Some(guard), false).violations.into_iter().next()?;
        // It is the mutant that is noticed, not something that is wrong anyway.
        let whole = play(seed, casting, None, false);
        let (cast, found) = (whole.cast, whole.violations);
        assert_eq!(found, Vec::<String>::new(), "with all safeguards: {guard}:{seed} {cast:?}");
        Some((seed, violation))
    })
}

#[test]
fn a_client_that_lacks_any_one_of_its_safeguards_is_noticed() {
    let mut unnoticed = Vec::new();
    for guard in OF_THE_WIRE {
        match noticed(guard) {
            Some((seed, violation)) => println!("{guard} is missed by {guard}:{seed}: {violation}"),
            None => unnoticed.push(guard),
        }
    }
    println!("unnoticed {unnoticed:?}");
    assert_eq!(unnoticed, Vec::<&str>::new(), "not noticed in {BOUND} schedules");
}
