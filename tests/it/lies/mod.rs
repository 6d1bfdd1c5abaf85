//! A source that lies, and an oracle that knows the truth.
//!
//! A schedule is made from a seed: files, one or two lies ([`table`], [`reads`], [`changes`]), how
//! times are told, what becomes of files once they are stored, runs, some of which die at any of
//! their calls to source and store. The server acts on the truth and says what the lies make of it.
//! In half of the schedules it goes on so for two runs in which nothing may wait any more
//! (`late_after` is nothing). Then it turns honest, and three runs follow. After each run the
//! oracle ([`oracle`]) judges:
//!
//! - *true*: every blob holds bytes that stood under its path at one moment, and whose writer had
//!   finished. `blobs_are_true`
//! - *told*: where a run says ok, each file that was listed is stored as it was at some moment of
//!   the run, gone, or waits within its time; each folder that was shown was listed; each line that
//!   nobody understands, each name that nobody can ask for made the run's word another.
//!   `file_is_told`, `folders_are_told`
//! - *kept*: no file was removed whose bytes are not stored, and none that somebody was writing to.
//!   `removes`
//! - *ends*: runs end, within a number of calls.
//! - *recovers*: once the server is honest, all is stored, all has left that is to leave, and the
//!   word is ok (or tells of removals that were refused a short time ago). `at_rest`
//!
//! What nobody can see over any protocol is counted apart: a file whose size and time are those of
//! the one that was stored, and a replacement between the last look and the removal.
//!
//! A seed is a schedule: chance depends on seed, lie, path and call, not on the order of calls.
//! `scripts/lies.sh` plays any window of seeds and prints a digest of each thousand.
#![allow(clippy::needless_update, reason = "a row ends alike, however many fields it sets")]

mod changes;
mod cue;
mod evidence;
mod found;
mod guards;
mod honest;
pub mod mortal;
mod mutants;
mod oracle;
mod reads;
mod scene;
mod schedule;
mod server;
mod stored;
mod table;
mod truth;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use cue::Lie;
use md5::Digest;
pub use schedule::hex;
use schedule::{Casting, Played, play, safeguards};
use table::FOLDED_BY_THE_MINUTE;

/// Schedules that the gate plays.
const FIXED: u64 = 1_500;
/// Seeds of one digest.
const CHUNK: u64 = 1_000;

/// Every lie.
fn lies() -> Vec<&'static Lie> {
    table::WORDS.iter().chain(reads::READS).chain(changes::CHANGES).collect()
}

/// What many schedules came to.
#[derive(Default)]
struct Tally {
    schedules: u64,
    fired: BTreeMap<&'static str, u64>,
    /// Of each lie, how often its safeguard decided in schedules in which it acted.
    decided: BTreeMap<&'static str, u64>,
    apart: BTreeMap<&'static str, u64>,
}

impl Tally {
    fn add(&mut self, played: &Played) {
        self.schedules += 1;
        for (lie, times) in &played.fired {
            *self.fired.entry(lie).or_default() += times;
            let guard = lies().into_iter().find(|one| one.name == *lie).map(|one| one.guard);
            let decided = guard.and_then(|guard| played.decided.get(guard)).copied().unwrap_or(0);
            *self.decided.entry(lie).or_default() += decided;
        }
        for (what, times) in &played.apart {
            *self.apart.entry(what).or_default() += times;
        }
    }

    fn join(&mut self, other: Tally) {
        self.schedules += other.schedules;
        for (mine, theirs) in [
            (&mut self.fired, other.fired),
            (&mut self.decided, other.decided),
            (&mut self.apart, other.apart),
        ] {
            theirs.into_iter().for_each(|(what, times)| *mine.entry(what).or_default() += times);
        }
    }

    fn print(&self) {
        for lie in lies() {
            let of = |counts: &BTreeMap<&str, u64>| counts.get(lie.name).copied().unwrap_or(0);
            println!(
                "lie {:40} acted {:>9}, {} decided {:>9}",
                lie.name,
                of(&self.fired),
                lie.guard,
                of(&self.decided)
            );
        }
        self.apart.iter().for_each(|(what, times)| println!("apart {what}: {times}"));
    }

    /// Lies that acted, or whose safeguard decided, less often than this.
    fn idle(&self, least: u64) -> Vec<&'static str> {
        let of =
            |counts: &BTreeMap<&str, u64>, lie: &Lie| counts.get(lie.name).copied().unwrap_or(0);
        let idle =
            |lie: &&'static Lie| of(&self.fired, lie) < least || of(&self.decided, lie) < least;
        lies().into_iter().filter(idle).map(|lie| lie.name).collect()
    }
}

/// Plays these seeds on as many threads as there are processors, prints a digest of each chunk, and
/// returns all violations with the seeds that show them.
fn window(seeds: std::ops::Range<u64>) -> (Tally, Vec<String>) {
    let (total, found) = (Mutex::new(Tally::default()), Mutex::new(Vec::new()));
    let (next, begun) = (AtomicU64::new(seeds.start), Instant::now());
    let work = || {
        loop {
            let first = next.fetch_add(CHUNK, Ordering::Relaxed);
            if first >= seeds.end {
                return;
            }
            let last = (first + CHUNK).min(seeds.end);
            let (mut tally, mut sum) = (Tally::default(), md5::Md5::new());
            for seed in first..last {
                let played = play(seed, Casting::Pair, None, false);
                sum.update(played.line.as_bytes());
                if let Some(violation) = played.violations.first() {
                    let cast = played.cast.join(" + ");
                    let text = format!("{seed} ({cast}): {violation}");
                    println!("VIOLATION {text}");
                    found.lock().unwrap().push(text);
                }
                tally.add(&played);
            }
            println!(
                "model {first}..{last} digest {} after {} s",
                hex(&sum.finalize()),
                begun.elapsed().as_secs()
            );
            total.lock().unwrap().join(tally);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    (total.into_inner().unwrap(), found.into_inner().unwrap())
}

#[test]
fn every_lie_has_a_name_of_its_own_and_a_safeguard() {
    let all = lies();
    assert!(all.len() >= 30, "{} lies", all.len());
    assert_eq!(guards::doubles(all.iter().map(|lie| lie.name)), Vec::<&str>::new());
    assert_eq!(guards::doubles(all.iter().map(|lie| lie.what)), Vec::<&str>::new());
    for lie in &all {
        assert!(!lie.name.is_empty() && !lie.what.is_empty(), "{lie:?}");
        assert!(safeguards().any(|guard| guard == lie.guard), "{lie:?}");
    }
    let idle: Vec<_> =
        safeguards().filter(|guard| all.iter().all(|lie| lie.guard != *guard)).collect();
    assert_eq!(idle, Vec::<&str>::new(), "safeguards that no lie needs");
}

#[test]
fn nothing_is_lost_in_silence_whatever_a_source_says() {
    let (tally, found) = window(0..FIXED);
    tally.print();
    let again = "to see one again: BLOBFERRY_LIE=seed cargo test --test it -- lies::replay \
        --nocapture";
    assert!(found.is_empty(), "{} schedules: {found:#?}\n{again}", found.len());
    assert_eq!(tally.idle(1), Vec::<&str>::new(), "lies that never acted, or met no safeguard");
}

/// Of these seeds two had a run that was killed before it compared the two files, and said `ok`
/// when one of them had changed.
#[test]
fn a_pair_of_names_that_a_killed_run_stored_is_read_again() {
    let violations =
        |seed| play(seed, Casting::Named(FOLDED_BY_THE_MINUTE), None, false).violations;
    let found: Vec<_> = (140..200).map(|seed| (seed, violations(seed))).collect();
    let found: Vec<_> = found.iter().filter(|(_, violations)| !violations.is_empty()).collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_seed_is_a_schedule() {
    for seed in 0..40 {
        let (once, twice) =
            (play(seed, Casting::Pair, None, false), play(seed, Casting::Pair, None, false));
        assert_eq!((once.line, once.fired), (twice.line, twice.fired), "{seed}");
    }
}

/// Plays the seeds that `BLOBFERRY_LIES` names as `first..end`; without it a few, quietly.
#[test]
fn seeds() {
    let wanted = std::env::var("BLOBFERRY_LIES").ok();
    let (first, end) = wanted.as_deref().unwrap_or("1000000..1000020").split_once("..").unwrap();
    let seeds = first.parse().expect("a number")..end.parse().expect("a number");
    let count = seeds.end - seeds.start;
    let (tally, found) = window(seeds);
    if wanted.is_some() {
        tally.print();
    }
    println!("model: {} schedules, {} with violations", tally.schedules, found.len());
    assert!(found.is_empty(), "{found:#?}");
    let idle = tally.idle(if count >= 20_000 { 100 } else { 0 });
    assert_eq!(idle, Vec::<&str>::new(), "lies that acted, or were seen through, too seldom");
}

/// Plays the schedule that `BLOBFERRY_LIE` names, call by call: a seed, `lie:seed` or
/// `safeguard:seed`; without it the first one, quietly. `BLOBFERRY_MUTANT` leaves a safeguard out.
#[test]
fn replay() {
    let wanted = std::env::var("BLOBFERRY_LIE").ok();
    let mutant = std::env::var("BLOBFERRY_MUTANT").ok();
    let mutant = mutant.map(|name| safeguards().find(|guard| *guard == name).expect("a safeguard"));
    let text = wanted.as_deref().unwrap_or("0");
    let (casting, seed) = match text.split_once(':') {
        None => (Casting::Pair, text),
        Some((name, seed)) => {
            let lie = lies().into_iter().find(|lie| lie.name == name).map(|lie| lie.name);
            let guard = safeguards().find(|guard| *guard == name);
            let casting = lie.map(Casting::Named).or(guard.map(Casting::Guarded));
            (casting.expect("a lie or a safeguard"), seed)
        }
    };
    let played = play(seed.parse().expect("a number"), casting, mutant, wanted.is_some());
    println!("{played:#?}");
    assert_eq!(played.violations, Vec::<String>::new());
}
