//! What schedules on the wire found, made small: each named for what a user saw.

use super::schedule::{WireCasting, play};

/// Schedules that show each of the rare cases.
const MANY: u64 = 30;

/// The violations of so many schedules of this lie, without `mutant`.
fn violations(lie: &'static str, seeds: u64, mutant: Option<&'static str>) -> Vec<String> {
    of_schedules(WireCasting::Named(lie), seeds, mutant)
}

fn of_schedules(casting: WireCasting, seeds: u64, mutant: Option<&'static str>) -> Vec<String> {
    let played = (0..seeds).map(|seed| play(seed, casting, mutant, false));
    played.flat_map(|played| played.violations).collect()
}

#[test]
fn a_handle_given_twice_before_an_earlier_read_swaps_no_file() {
    for lie in ["handle-twice-done-first", "handle-twice-done-first-told-late"] {
        assert_eq!(violations(lie, MANY, None), Vec::<String>::new());
        let seen = violations(lie, MANY, Some("handles-unique"));
        assert!(!seen.is_empty(), "{lie} swaps nothing, so this proves nothing");
    }
}

#[test]
fn a_handle_given_twice_and_told_late_swaps_no_file() {
    let lie = "handle-twice-told-late";
    assert_eq!(violations(lie, MANY, None), Vec::<String>::new());
    let seen = violations(lie, MANY, Some("handles-unique"));
    assert!(!seen.is_empty(), "{lie} swaps nothing, so this proves nothing");
}

#[test]
fn a_file_whose_data_never_ends_is_not_read_for_ever() {
    let lie = "data-never-ends";
    assert_eq!(violations(lie, 4, None), Vec::<String>::new());
    let seen = violations(lie, 1, Some("bytes-end"));
    assert!(seen.iter().any(|what| what.contains("of what never ends were taken")), "{seen:#?}");
}

#[test]
fn a_folder_that_is_refused_and_entered_all_the_same_loses_no_file_in_silence() {
    assert_eq!(violations("folder-refused", MANY, None), Vec::<String>::new());
}

#[test]
fn files_whose_times_move_at_every_look_leave_and_their_ledger_is_sound() {
    assert_eq!(violations("mdtm-moves", MANY, None), Vec::<String>::new());
}

#[test]
fn a_folder_read_as_an_empty_file_whose_listing_breaks_off_is_no_empty_file() {
    let both = WireCasting::Both("folder-as-empty-file", "lines-of-nothing-for-ever");
    assert_eq!(of_schedules(both, MANY, None), Vec::<String>::new());
    let seen = of_schedules(both, MANY, Some("folder-listed"));
    assert!(!seen.is_empty(), "an empty file in its place is no violation: this proves nothing");
}
