//! The program without one of its safeguards: each must be noticed.

use super::schedule::{Casting, play, safeguards};

/// Schedules that may be played until a mutant is noticed.
const BOUND: u64 = 300;

/// The first schedule that notices the program without `guard`.
fn noticed(guard: &'static str) -> Option<(u64, String)> {
    (0..BOUND).find_map(|seed| {
        let casting = Casting::Guarded(guard);
        let violation = play(seed, casting, Some(guard), false).violations.into_iter().next()?;
        // It is the mutant that is noticed, not something that is wrong anyway.
        let whole = play(seed, casting, None, false);
        let (cast, found) = (whole.cast, whole.violations);
        assert_eq!(found, Vec::<String>::new(), "with all safeguards: {guard}:{seed} {cast:?}");
        Some((seed, violation))
    })
}

#[test]
fn a_program_that_lacks_any_one_of_its_safeguards_is_noticed() {
    let mut unnoticed = Vec::new();
    for guard in safeguards() {
        match noticed(guard) {
            Some((seed, violation)) => println!("{guard} is missed by {guard}:{seed}: {violation}"),
            None => unnoticed.push(guard),
        }
    }
    println!("unnoticed {unnoticed:?}");
    assert_eq!(unnoticed, Vec::<&str>::new(), "not noticed in {BOUND} schedules");
}
