//! What processes share, and how one of them fares: it waits, freezes, dies, and its calls meet
//! their fates.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use blobferry::model::BlobName;
use blobferry::store::contract::Properties;
use blobferry::store::memory::MemoryStore;
use blobferry::transfer::settings::Versions;
use bytes::Bytes;
use tokio::time::{Instant, sleep, sleep_until};

use super::chance::{Chance, Tally};
use super::mutants::Mutant;
use super::server::Tree;
use super::witness::Witness;

/// How often in a thousand calls something happens.
#[derive(Clone, Copy, Debug)]
pub struct Knobs {
    /// The call fails; nothing happened.
    pub refusals: u64,
    /// It happened, and nobody is told.
    pub lost_replies: u64,
    /// It fails, and happens later all the same.
    pub late: u64,
    /// The process is killed, before or after the effect.
    pub crashes: u64,
    /// The process stands still for up to some minutes.
    pub freezes: u64,
    /// A file at the source becomes another one.
    pub changes: u64,
    /// A lease is denied, or taken away after some time.
    pub leases: u64,
}

/// The world of one schedule.
pub struct Sim {
    pub chance: Chance,
    pub knobs: Knobs,
    pub versions: Versions,
    pub store: Arc<MemoryStore>,
    pub tree: Mutex<Tree>,
    pub witness: Mutex<Witness>,
    pub tally: Mutex<Tally>,
    pub mutant: Option<Mutant>,
    /// Nothing goes wrong any more.
    pub quiet: AtomicBool,
    /// Whether what happens is printed.
    pub told: bool,
    calls: AtomicU64,
}

/// More calls than any schedule needs: whoever makes them turns in a circle.
const MOST_CALLS: u64 = 60_000;

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Fine,
    Refused,
    LostReply,
    Late,
    CrashBefore,
    CrashAfter,
}

impl Sim {
    pub fn new(
        seed: u64,
        knobs: Knobs,
        versions: Versions,
        mutant: Option<Mutant>,
        told: bool,
    ) -> Self {
        Self {
            chance: Chance::new(seed),
            knobs,
            versions,
            store: Arc::new(MemoryStore::new()),
            tree: Mutex::default(),
            witness: Mutex::default(),
            tally: Mutex::default(),
            mutant,
            quiet: AtomicBool::new(false),
            told,
            calls: AtomicU64::new(0),
        }
    }

    pub fn count(&self, what: &'static str) {
        self.tally.lock().unwrap().count(what);
    }

    pub fn is_quiet(&self) -> bool {
        self.quiet.load(Ordering::Relaxed)
    }

    /// Faults happen so often in a thousand while there are any.
    pub fn happens(&self, often: u64) -> bool {
        !self.is_quiet() && self.chance.per_mille(often)
    }

    pub fn violation(&self, what: String) {
        if self.told {
            println!("VIOLATION {what}");
        }
        self.witness.lock().unwrap().violations.push(what);
    }

    fn fate(&self, process: &Process) -> Fate {
        if self.is_quiet() {
            return Fate::Fine;
        }
        let knobs = &self.knobs;
        let mut at = self.chance.below(1000);
        let fates = [
            (knobs.refusals, Fate::Refused, "calls refused"),
            (knobs.lost_replies, Fate::LostReply, "replies lost"),
            (knobs.late, Fate::Late, "effects that came late"),
            (if process.mortal { knobs.crashes } else { 0 }, Fate::CrashBefore, "crashes"),
            (if process.mortal { knobs.crashes } else { 0 }, Fate::CrashAfter, "crashes"),
        ];
        for (often, fate, what) in fates {
            if at < often {
                self.count(what);
                return fate;
            }
            at -= often;
        }
        Fate::Fine
    }
}

/// What was acknowledged and is not done yet: only mutants put anything here.
pub enum Owed {
    Blob(BlobName, Bytes, Properties),
    Lines(BlobName, Bytes),
}

/// One process: what it does ends with it, what it has asked for may not.
pub struct Process {
    pub name: String,
    mortal: bool,
    dead: AtomicBool,
    frozen_until: Mutex<Option<Instant>>,
    pub owed: Mutex<Vec<Owed>>,
}

impl Process {
    pub fn new(name: String, mortal: bool) -> Arc<Self> {
        Arc::new(Self {
            name,
            mortal,
            dead: AtomicBool::new(false),
            frozen_until: Mutex::default(),
            owed: Mutex::default(),
        })
    }

    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Nothing of it goes on: its futures are kept, and never come back. It is as if they had been
    /// dropped at every await at once, but for what a destructor would still do, which a killed
    /// process does not.
    async fn die(&self) -> std::convert::Infallible {
        self.dead.store(true, Ordering::Relaxed);
        std::future::pending().await
    }

    /// What comes before each call: others go first, or the process stands still, or is gone.
    async fn pause(&self, sim: &Sim) {
        if sim.calls.fetch_add(1, Ordering::Relaxed) == MOST_CALLS {
            sim.violation("it never comes to rest: too many calls".into());
        }
        if self.is_dead() || sim.calls.load(Ordering::Relaxed) > MOST_CALLS {
            self.die().await;
        }
        if sim.is_quiet() {
            return;
        }
        if self.mortal && sim.happens(sim.knobs.freezes) {
            sim.count("freezes");
            *self.frozen_until.lock().unwrap() =
                Some(Instant::now() + Duration::from_secs(1 + sim.chance.below(200)));
        }
        match sim.chance.below(40) {
            0..=18 => {}
            19 => sleep(Duration::from_secs(sim.chance.below(100))).await,
            20..=31 => {
                for _ in 0..sim.chance.below(6) {
                    tokio::task::yield_now().await;
                }
            }
            32..=35 => sleep(Duration::from_millis(sim.chance.below(200))).await,
            _ => sleep(Duration::from_millis(sim.chance.below(5_000))).await,
        }
        loop {
            let until = *self.frozen_until.lock().unwrap();
            match until.filter(|until| *until > Instant::now()) {
                Some(until) => sleep_until(until).await,
                None => break,
            }
        }
        if self.is_dead() {
            self.die().await;
        }
    }

    /// One call of this process to the world. `lost` is the error that it sees where there is no
    /// answer.
    pub async fn call<T, E>(
        self: &Arc<Self>,
        sim: &Arc<Sim>,
        what: &str,
        lost: impl Fn() -> E,
        work: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        self.pause(sim).await;
        let fate = sim.fate(self);
        if sim.told {
            println!("{:?} {} {what} {fate:?}", Instant::now(), self.name);
        }
        let answer = match fate {
            Fate::Fine => work.await,
            Fate::Refused => return Err(lost()),
            Fate::LostReply => {
                drop(work.await);
                return Err(lost());
            }
            Fate::Late => {
                let after = Duration::from_millis(sim.chance.below(90_000));
                let told = sim.told.then(|| format!("{} {what} came late", self.name));
                tokio::spawn(async move {
                    sleep(after).await;
                    drop(work.await);
                    told.inspect(|told| println!("{told}"));
                });
                return Err(lost());
            }
            Fate::CrashBefore => match self.die().await {},
            Fate::CrashAfter => {
                drop(work.await);
                match self.die().await {}
            }
        };
        self.pause_after(sim).await;
        answer
    }

    /// The answer is on its way, and others go first now and then.
    async fn pause_after(&self, sim: &Sim) {
        if !sim.is_quiet() && sim.chance.below(4) == 0 {
            tokio::task::yield_now().await;
        }
        if self.is_dead() {
            self.die().await;
        }
    }
}
