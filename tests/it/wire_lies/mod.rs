//! Servers that lie by the bytes of their protocols, and a judge who knows what they truly held.
//!
//! As `lies`, a level lower: an SFTP and an FTP server of the tests' own answer over sockets, and a
//! lie (the files named `table_…`) changes what is sent: answers swapped, one handle for two
//! files, an end too early, replies out of step, sizes that are not true. A schedule is made from a
//! seed: files, a lie or two of one protocol, what becomes of files once they are stored. Two runs
//! meet the liar, three more an honest server. The judge ([`judge`]) asserts:
//!
//! - *true*: each blob holds the bytes of a file under its own name;
//! - *told*: what a run that says ok does not store, it names; and what has to come of a lie that
//!   is played alone ([`lie::Met`]) comes of it;
//! - *kept*: no file was removed whose bytes are not stored;
//! - *ends*: each run ends, within bounds of requests, of bytes and of time;
//! - *recovers*: over an honest server all arrives, and the word is ok;
//! - *audited*: an audit that reads all bytes finds nothing, and then what was tampered with.
//!
//! The tests' clock stands still while bytes are on their way, so that a server that is silent for
//! hours costs nothing. `scripts/lies.sh --level wire` plays any window of seeds.

mod floods;
mod found;
mod ftp;
mod judge;
mod lie;
mod mutants;
mod scene;
mod schedule;
mod sftp;
mod table_ftp;
mod table_lines;
mod table_reads;
mod table_sftp;
mod table_words;

use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use lie::{BY_CONSTRUCTION, WireLie};
use md5::Digest;
use schedule::{WireCasting, WirePlayed, honest_requests, play};

/// Schedules that the gate plays.
const FIXED: u64 = 60;
/// Requests of a first and of a second run over one tree, before an honest server.
const HONEST_SFTP: [u64; 2] = [76, 28];
const HONEST_FTP: [u64; 2] = [139, 27];
/// Seeds of one digest.
const CHUNK: u64 = 1_000;

/// Every lie.
fn all_lies() -> Vec<&'static WireLie> {
    let sftp = [table_sftp::HANDLES, table_sftp::LISTINGS, table_words::WORDS, table_reads::READS];
    let ftp = [table_ftp::TRANSFERS, table_ftp::REPLIES, table_lines::LISTINGS];
    sftp.into_iter().chain(ftp).flatten().collect()
}

/// Steps of the program that see through lies, as `safeguard_off!` names them, and what they do.
const WIRE_SAFEGUARDS: &[(&str, &str)] = &[
    ("handles-unique", "no two files that are open may have one handle"),
    ("opens-settled", "no byte is believed before it is known what else was opened meanwhile"),
    ("reads-settled", "a file is whole once it is known what was opened while it was read"),
    ("spoilt-anew", "a file that may have brought another one's bytes is read anew"),
    ("refusals-doubted", "a refusal to open may be about how much is open"),
    ("answers-drained", "all answers are read before a listing ends"),
    ("empty-pages", "pages without entries are no listing"),
    ("pages-repeat", "pages that come again end a listing"),
    ("failure-again", "a listing that ends with a failure is read again"),
    ("kind-tried", "what is not told to be a file or a folder is tried out"),
    ("folder-not-file", "an empty file that ends oddly may be a folder"),
    ("folder-listed", "an empty file that is none once it was read may be a folder"),
    ("short-read", "what a read left out is asked for again"),
    ("answer-length", "a read brings some bytes, and no more than were asked for"),
    ("odd-ends", "behind the last byte anything is the end"),
    ("replies-in-step", "a reply that nobody asked for spoils those after it"),
    ("mlst-name", "facts of another file are not believed"),
    ("closing-reply", "a transfer is whole when the server says so"),
    ("bytes-end", "what goes on behind the size that was promised is not read without end"),
    ("verify", "as many bytes must come as were promised"),
    ("look-after-read", "a file is described after it was read, and must be what it was before"),
    ("touched-reread", "where only the time moved, the file is read twice"),
    ("gone-by-listing", "not found is not gone: a fresh listing decides"),
    ("entries-once", "an entry counts once however often it is listed"),
    ("unparsed-told", "a line that nobody understands is told"),
    ("unreachable-told", "a name that nobody can ask for is told"),
    ("listing-told", "a listing that fails is told"),
    ("folder-told", "a folder that is shown and cannot be entered is told"),
    ("failures-told", "a file that did not arrive makes the run's word"),
];

fn safeguards() -> impl Iterator<Item = &'static str> {
    WIRE_SAFEGUARDS.iter().map(|(name, _)| *name)
}

/// What many schedules came to.
#[derive(Default)]
struct WireTally {
    schedules: u64,
    apart: u64,
    tampered: u64,
    fired: BTreeMap<&'static str, u64>,
    /// Of each lie, how often its safeguard decided in schedules in which it acted.
    decided: BTreeMap<&'static str, u64>,
}

impl WireTally {
    fn add(&mut self, played: &WirePlayed) {
        self.schedules += 1;
        self.apart += played.apart;
        self.tampered += played.tampered;
        for (lie, times) in &played.fired {
            *self.fired.entry(lie).or_default() += times;
            let guard = all_lies().into_iter().find(|one| one.name == *lie).map(|one| one.guard);
            let decided = guard.and_then(|guard| played.decided.get(guard)).copied().unwrap_or(0);
            *self.decided.entry(lie).or_default() += decided;
        }
    }

    fn join(&mut self, other: WireTally) {
        self.schedules += other.schedules;
        self.apart += other.apart;
        self.tampered += other.tampered;
        for (mine, theirs) in [(&mut self.fired, other.fired), (&mut self.decided, other.decided)] {
            theirs.into_iter().for_each(|(what, times)| *mine.entry(what).or_default() += times);
        }
    }

    fn of(&self, lie: &WireLie) -> (u64, u64) {
        let of = |counts: &BTreeMap<&str, u64>| counts.get(lie.name).copied().unwrap_or(0);
        (of(&self.fired), of(&self.decided))
    }

    fn print(&self) {
        for lie in all_lies() {
            let (fired, decided) = self.of(lie);
            let WireLie { name, guard, .. } = lie;
            println!("lie {name:28} acted {fired:>8}, {guard} decided {decided:>8}");
        }
        println!("apart {}, tampered with and found {}", self.apart, self.tampered);
    }

    /// Lies that acted, or whose safeguard decided, less often than this.
    fn idle(&self, least: u64) -> Vec<&'static str> {
        let idle = |lie: &&'static WireLie| {
            let (fired, decided) = self.of(lie);
            fired < least || (lie.guard != BY_CONSTRUCTION && decided < least)
        };
        all_lies().into_iter().filter(idle).map(|lie| lie.name).collect()
    }
}

/// Plays these seeds on as many threads as there are processors, and returns all violations with
/// the seeds that show them.
fn window(seeds: std::ops::Range<u64>) -> (WireTally, Vec<String>) {
    let (total, found) = (Mutex::new(WireTally::default()), Mutex::new(Vec::new()));
    let chunk = CHUNK.min((seeds.end - seeds.start).div_ceil(4)).max(1);
    let (next, begun) = (AtomicU64::new(seeds.start), Instant::now());
    let work = || {
        loop {
            let first = next.fetch_add(chunk, Ordering::Relaxed);
            if first >= seeds.end {
                return;
            }
            let last = (first + chunk).min(seeds.end);
            let (mut tally, mut sum) = (WireTally::default(), md5::Md5::new());
            for seed in first..last {
                let played = play(seed, WireCasting::Any, None, false);
                sum.update(played.line.as_bytes());
                if let Some(violation) = played.violations.first() {
                    let cast = played.cast.join(" + ");
                    let text = format!("{seed} ({cast}): {violation}");
                    println!("VIOLATION {text}");
                    found.lock().unwrap().push(text);
                }
                tally.add(&played);
            }
            let digest = super::lies::hex(&sum.finalize());
            let seconds = begun.elapsed().as_secs();
            println!("wire {first}..{last} digest {digest} after {seconds} s");
            total.lock().unwrap().join(tally);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    (total.into_inner().unwrap(), found.into_inner().unwrap())
}

#[test]
fn every_lie_on_the_wire_has_a_name_of_its_own_and_a_safeguard() {
    let all = all_lies();
    assert!(all.len() >= 60, "{} lies", all.len());
    let names: HashSet<_> = all.iter().map(|lie| lie.name).collect();
    let whats: HashSet<_> = all.iter().map(|lie| lie.what).collect();
    assert_eq!(names.len(), all.len(), "two lies of one name");
    assert!(whats.len() + 20 >= all.len(), "lies that do the same");
    for lie in &all {
        assert!(!lie.name.is_empty() && !lie.what.is_empty(), "{lie:?}");
        let guards = safeguards().chain([BY_CONSTRUCTION]).any(|guard| guard == lie.guard);
        assert!(guards, "{lie:?}");
    }
    let idle: Vec<_> =
        safeguards().filter(|guard| all.iter().all(|lie| lie.guard != *guard)).collect();
    assert_eq!(idle, Vec::<&str>::new(), "safeguards that no lie needs");
}

/// Each lie by itself once, then schedules by chance.
#[test]
fn whatever_bytes_a_server_sends_nothing_is_lost_in_silence() {
    let mut found = Vec::new();
    for lie in all_lies() {
        let played = play(7, WireCasting::Named(lie.name), None, false);
        found.extend(played.violations.first().map(|what| format!("{}:7 {what}", lie.name)));
    }
    let (tally, more) = window(0..FIXED);
    tally.print();
    found.extend(more);
    let again = "to see one again: BLOBFERRY_LIE=seed cargo test --test it -- wire_lies::replay \
        --nocapture";
    assert!(found.is_empty(), "{} schedules: {found:#?}\n{again}", found.len());
}

/// What the guards cost is nothing: each file is opened, read to its end and described.
#[test]
fn an_honest_server_is_asked_for_no_more_than_before() {
    assert_eq!([honest_requests(true), honest_requests(false)], [HONEST_SFTP, HONEST_FTP]);
}

/// Plays the seeds that `BLOBFERRY_LIES` names as `first..end`; without it a few, quietly.
#[test]
fn seeds() {
    let wanted = std::env::var("BLOBFERRY_LIES").ok();
    let (first, end) = wanted.as_deref().unwrap_or("1000000..1000008").split_once("..").unwrap();
    let seeds = first.parse().expect("a number")..end.parse().expect("a number");
    let count = seeds.end - seeds.start;
    let (tally, found) = window(seeds);
    if wanted.is_some() {
        tally.print();
    }
    println!("wire: {} schedules, {} with violations", tally.schedules, found.len());
    assert!(found.is_empty(), "{found:#?}");
    let idle = tally.idle(if count >= 20_000 { 100 } else { 0 });
    assert_eq!(idle, Vec::<&str>::new(), "lies that acted, or were seen through, too seldom");
}

/// Plays the schedule that `BLOBFERRY_LIE` names, packet by packet: a seed, `lie:seed` or
/// `safeguard:seed`; without it the first one, quietly. `BLOBFERRY_MUTANT` leaves a safeguard out.
#[test]
fn replay() {
    let wanted = std::env::var("BLOBFERRY_LIE").ok();
    let mutant = std::env::var("BLOBFERRY_MUTANT").ok();
    let mutant = mutant.map(|name| schedule::safeguard(&name).expect("a safeguard"));
    let text = wanted.as_deref().unwrap_or("0");
    let (casting, seed) = match text.split_once(':') {
        None => (WireCasting::Any, text),
        Some((name, seed)) => {
            let lie = all_lies().into_iter().find(|lie| lie.name == name).map(|lie| lie.name);
            let guard = schedule::safeguard(name).map(WireCasting::Guarded);
            let casting = lie.map(WireCasting::Named).or(guard);
            (casting.expect("a lie or a safeguard"), seed)
        }
    };
    let played = play(seed.parse().expect("a number"), casting, mutant, wanted.is_some());
    println!("{played:#?}");
    assert_eq!(played.violations, Vec::<String>::new());
}
