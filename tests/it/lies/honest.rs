//! Before an honest server the safeguards cost no request.

use std::collections::BTreeMap;

use super::scene::TimesToldIn;
use super::schedule::{Casting, honest_calls, play};

#[test]
fn honest_schedules_hold() {
    for seed in 0..30 {
        let played = play(seed, Casting::Honest, None, false);
        assert_eq!(played.violations, Vec::<String>::new(), "{seed}");
        assert_eq!(played.fired.len(), 0);
    }
}

#[test]
fn an_honest_server_is_asked_for_each_file_once_and_not_at_all_when_nothing_changed() {
    // A read is its opening, four chunks and its end.
    let reads = 5 * 6;
    for (times, described) in [
        (TimesToldIn::Seconds, 5),
        (TimesToldIn::MinutesOfListings, 10),
        (TimesToldIn::ListingsOnly, 10),
    ] {
        let [first, second] = honest_calls(times);
        let first: BTreeMap<_, _> = first.into_iter().filter(|(op, _)| *op != "login").collect();
        let second: BTreeMap<_, _> = second.into_iter().filter(|(op, _)| *op != "login").collect();
        assert_eq!(first, [("list", 2), ("read", reads), ("stat", described)].into(), "{times:?}");
        assert_eq!(second, [("list", 2)].into(), "{times:?}");
    }
}
