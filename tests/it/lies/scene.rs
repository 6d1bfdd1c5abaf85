//! What all calls of a schedule share: the truth, the lies at work, and chance that depends on the
//! seed, the path and the call alone, so that the order of calls does not matter.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use blobferry::model::{ModifiedTime, Precision, RemoteFile, RemotePath};
use blobferry::source::contract::Op;
use blobferry::store::memory::MemoryStore;

use super::cue::{Cue, Lie, Saying};
use super::oracle::LieOracle;
use super::truth::{HeldFile, SourceTruth};

/// How an honest server of some kind tells times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimesToldIn {
    /// To the second, everywhere.
    Seconds,
    /// Listings to the minute, descriptions to the second.
    MinutesOfListings,
    /// Listings to the minute, descriptions without a time.
    ListingsOnly,
}

#[derive(Debug)]
pub struct LyingScene {
    pub seed: u64,
    pub cast: Vec<&'static Lie>,
    pub times: TimesToldIn,
    /// Of a thousand calls so many break their connection.
    pub breaks: u64,
    pub store: Arc<MemoryStore>,
    pub told: bool,
    truth: Mutex<SourceTruth>,
    oracle: Mutex<LieOracle>,
    lying: AtomicBool,
    run: AtomicU64,
    calls: Mutex<HashMap<(&'static str, RemotePath), u64>>,
    done: Mutex<HashSet<(&'static str, RemotePath)>>,
    fired: Mutex<BTreeMap<&'static str, u64>>,
}

/// Numbers that look like chance, from words.
fn mix(state: u64, word: &[u8]) -> u64 {
    let mut mixed = word.iter().fold(state ^ 0x9E37_79B9_7F4A_7C15, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
    });
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

fn word(op: Op) -> &'static str {
    match op {
        Op::Connect => "connect",
        Op::Login => "login",
        Op::List => "list",
        Op::Stat => "stat",
        Op::Read => "read",
        Op::Remove => "remove",
        Op::Rename => "rename",
    }
}

impl LyingScene {
    pub fn new(
        seed: u64,
        cast: Vec<&'static Lie>,
        times: TimesToldIn,
        breaks: u64,
        store: Arc<MemoryStore>,
        told: bool,
    ) -> Self {
        Self {
            seed,
            cast,
            times,
            breaks,
            store,
            told,
            truth: Mutex::default(),
            oracle: Mutex::default(),
            lying: AtomicBool::new(true),
            run: AtomicU64::new(0),
            calls: Mutex::default(),
            done: Mutex::default(),
            fired: Mutex::default(),
        }
    }

    pub fn truth(&self) -> MutexGuard<'_, SourceTruth> {
        let mut truth = self.truth.lock().unwrap();
        truth.tick();
        truth
    }

    pub fn oracle(&self) -> MutexGuard<'_, LieOracle> {
        self.oracle.lock().unwrap()
    }

    pub fn run(&self) -> u64 {
        self.run.load(Ordering::Relaxed)
    }

    /// The next run begins.
    pub fn begin_run(&self) {
        self.say(&mut Saying::Run(self.run()));
        let serial = self.truth().serial;
        self.oracle().begin_run(serial);
    }

    pub fn end_run(&self) {
        self.run.fetch_add(1, Ordering::Relaxed);
    }

    pub fn is_lying(&self) -> bool {
        self.lying.load(Ordering::Relaxed)
    }

    /// From now on the server tells the truth, and loses no connection.
    pub fn turn_honest(&self) {
        self.lying.store(false, Ordering::Relaxed);
    }

    /// A number for this path and call, the same in every replay.
    pub fn draw(&self, what: &str, path: &RemotePath, call: u64) -> u64 {
        mix(mix(mix(self.seed, what.as_bytes()), path.as_bytes()), &call.to_le_bytes())
    }

    pub fn calls_of(&self, op: Op, path: &RemotePath) -> u64 {
        self.calls.lock().unwrap().get(&(word(op), path.clone())).copied().unwrap_or(0)
    }

    /// How often each operation was called, whatever for.
    pub fn calls_in_all(&self) -> BTreeMap<&'static str, u64> {
        let mut all = BTreeMap::new();
        for ((op, _), times) in &*self.calls.lock().unwrap() {
            *all.entry(*op).or_default() += times;
        }
        all
    }

    /// One more call; whether its connection breaks.
    pub fn comes(&self, op: Op, path: &RemotePath) -> bool {
        if self.told {
            println!("{op} {path}");
        }
        let call = {
            let mut calls = self.calls.lock().unwrap();
            let call = calls.entry((word(op), path.clone())).or_default();
            *call += 1;
            *call
        };
        self.say(&mut Saying::Before(op, path));
        self.is_lying() && self.draw(word(op), path, call) % 1000 < self.breaks
    }

    pub fn once(&self, lie: &'static str, path: &RemotePath) -> bool {
        self.done.lock().unwrap().insert((lie, path.clone()))
    }

    /// Lets all lies act.
    pub fn say(&self, saying: &mut Saying<'_>) {
        if !self.is_lying() {
            return;
        }
        for lie in &self.cast {
            if (lie.act)(&Cue { scene: self, lie }, saying) {
                *self.fired.lock().unwrap().entry(lie.name).or_default() += 1;
                if self.told {
                    println!("    {}: {saying:?}", lie.name);
                }
            }
        }
    }

    pub fn fired(&self) -> BTreeMap<&'static str, u64> {
        self.fired.lock().unwrap().clone()
    }

    fn file(&self, path: &RemotePath, held: &HeldFile, precision: Option<Precision>) -> RemoteFile {
        RemoteFile {
            path: path.clone(),
            size: Some(held.bytes.len() as u64),
            modified: precision.map(|precision| ModifiedTime::new(held.modified, precision)),
        }
    }

    /// As an honest server would list a file.
    pub fn line(&self, path: &RemotePath, held: &HeldFile) -> RemoteFile {
        let precision = match self.times {
            TimesToldIn::Seconds => Precision::Second,
            TimesToldIn::MinutesOfListings | TimesToldIn::ListingsOnly => Precision::Minute,
        };
        self.file(path, held, Some(precision))
    }

    /// As an honest server would describe a file.
    pub fn description(&self, path: &RemotePath, held: &HeldFile) -> RemoteFile {
        let told = self.times != TimesToldIn::ListingsOnly;
        self.file(path, held, told.then_some(Precision::Second))
    }
}
