//! What all connections of a schedule share: the truth, the lies at work, and chance that depends
//! on the seed and on what it is about alone.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use blobferry::model::RemotePath;
use blobferry::store::memory::MemoryStore;
use bytes::Bytes;

use super::judge;
use super::lie::{FtpAnswer, Met, SftpSaying, WireAct, WireCue, WireLie};

/// Requests, of one schedule, at most.
const MOST_REQUESTS: u64 = 20_000;
/// Bytes without end that are sent at most: whoever takes so many takes all.
const MOST_ENDLESS: u64 = 24 << 20;

/// A file that the server holds.
#[derive(Clone, Debug)]
pub struct HeldHere {
    pub bytes: Bytes,
    /// Seconds since 1970.
    pub modified: u32,
}

/// What the server truly holds, and all that it ever held.
#[derive(Debug, Default)]
pub struct WireTruth {
    pub files: BTreeMap<RemotePath, HeldHere>,
    pub history: BTreeMap<RemotePath, Vec<Bytes>>,
}

impl WireTruth {
    /// Text that tells its path, of so many bytes.
    pub fn write(&mut self, path: &str, length: usize, modified: u32) {
        let unit = format!("{path} | ");
        let bytes: Bytes = unit.bytes().cycle().take(length).collect::<Vec<u8>>().into();
        let path = RemotePath::from(path);
        self.history.entry(path.clone()).or_default().push(bytes.clone());
        self.files.insert(path, HeldHere { bytes, modified });
    }

    /// Every folder, the root included.
    pub fn folders(&self) -> BTreeSet<RemotePath> {
        let mut folders = BTreeSet::from([RemotePath::from("/")]);
        // A folder stays when its files go.
        for path in self.history.keys() {
            let mut at = path.parent();
            while folders.insert(at.clone()) {
                at = at.parent();
            }
        }
        folders
    }

    /// Another file, of equal size if there is one.
    pub fn other(&self, path: &RemotePath) -> Option<(RemotePath, Bytes)> {
        let size = self.files.get(path).map(|held| held.bytes.len());
        let others = || self.files.iter().filter(|(other, _)| *other != path);
        let alike = others().find(|(_, held)| Some(held.bytes.len()) == size);
        let found = alike.or_else(|| others().next());
        found.map(|(path, held)| (path.clone(), held.bytes.clone()))
    }
}

pub struct WireScene {
    pub seed: u64,
    pub cast: Vec<&'static WireLie>,
    pub store: Arc<MemoryStore>,
    pub told: bool,
    pub most_endless: u64,
    most_requests: u64,
    truth: Mutex<WireTruth>,
    lying: AtomicBool,
    requests: AtomicU64,
    done: Mutex<HashSet<(&'static str, RemotePath)>>,
    counts: Mutex<HashMap<(&'static str, RemotePath), u64>>,
    fired: Mutex<BTreeMap<&'static str, u64>>,
    violations: Mutex<Vec<String>>,
    /// Files that were removed and are not stored.
    lost: Mutex<Vec<String>>,
}

/// Numbers that look like chance, from words.
fn mix(state: u64, word: &[u8]) -> u64 {
    let mut mixed = word.iter().fold(state ^ 0x9E37_79B9_7F4A_7C15, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
    });
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed ^ (mixed >> 31)
}

impl WireScene {
    pub fn new(
        seed: u64,
        cast: Vec<&'static WireLie>,
        store: Arc<MemoryStore>,
        told: bool,
    ) -> Self {
        Self {
            seed,
            cast,
            store,
            told,
            most_endless: MOST_ENDLESS,
            most_requests: MOST_REQUESTS,
            truth: Mutex::default(),
            lying: AtomicBool::new(true),
            requests: AtomicU64::new(0),
            done: Mutex::default(),
            counts: Mutex::default(),
            fired: Mutex::default(),
            violations: Mutex::default(),
            lost: Mutex::default(),
        }
    }

    /// However much is asked for, and taken.
    pub fn endless(self) -> Self {
        Self { most_endless: u64::MAX, most_requests: u64::MAX, ..self }
    }

    pub fn truth(&self) -> MutexGuard<'_, WireTruth> {
        self.truth.lock().unwrap()
    }

    pub fn is_lying(&self) -> bool {
        self.lying.load(Ordering::Relaxed)
    }

    /// From now on the server tells the truth.
    pub fn turn_honest(&self) {
        self.lying.store(false, Ordering::Relaxed);
    }

    /// A number for this lie and path, the same in every replay.
    pub fn draw(&self, what: &str, path: &[u8]) -> u64 {
        mix(mix(self.seed, what.as_bytes()), path)
    }

    pub fn once(&self, lie: &'static str, path: &RemotePath) -> bool {
        self.done.lock().unwrap().insert((lie, path.clone()))
    }

    pub fn nth(&self, lie: &'static str, path: &RemotePath) -> u64 {
        let mut counts = self.counts.lock().unwrap();
        let count = counts.entry((lie, path.clone())).or_default();
        *count += 1;
        *count
    }

    /// One more request; whether it may be answered.
    pub fn asked(&self, request: impl FnOnce() -> String) -> bool {
        if self.told {
            println!("{}", request());
        }
        let asked = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        if asked == self.most_requests {
            self.violates("it asks without end".into());
        }
        asked < self.most_requests
    }

    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub fn violates(&self, what: String) {
        self.violations.lock().unwrap().push(what);
    }

    pub fn violations(&self) -> Vec<String> {
        self.violations.lock().unwrap().clone()
    }

    /// Files that were removed and are not stored.
    pub fn lost(&self) -> Vec<String> {
        self.lost.lock().unwrap().clone()
    }

    fn acted(&self, lie: &WireLie, saying: impl FnOnce() -> String) {
        *self.fired.lock().unwrap().entry(lie.name).or_default() += 1;
        if self.told {
            println!("    {}: {}", lie.name, saying());
        }
    }

    /// Lets the lies of an SFTP server act.
    pub fn say_sftp(&self, saying: &mut SftpSaying<'_>) {
        for lie in self.cast.iter().filter(|_| self.is_lying()) {
            let WireAct::Sftp(act) = lie.act else { continue };
            if act(&WireCue { scene: self, lie }, saying) {
                self.acted(lie, || match saying {
                    SftpSaying::Order(_, order) => format!("in the order {order:?}"),
                    SftpSaying::Answer(answer) => {
                        let text = format!("{:?} {:?}", answer.when, answer.reply);
                        text.chars().take(300).collect()
                    }
                });
            }
        }
    }

    /// Lets the lies of an FTP server act.
    pub fn say_ftp(&self, answer: &mut FtpAnswer) {
        for lie in self.cast.iter().filter(|_| self.is_lying()) {
            let WireAct::Ftp(act) = lie.act else { continue };
            if act(&WireCue { scene: self, lie }, answer) {
                self.acted(lie, || {
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    let data = answer.data.as_deref().map(text).unwrap_or_default();
                    let text = format!("{}{data}{}", text(&answer.reply), text(&answer.closing));
                    text.chars().take(600).collect()
                });
            }
        }
    }

    pub fn fired(&self) -> BTreeMap<&'static str, u64> {
        self.fired.lock().unwrap().clone()
    }

    /// Whether the only lie has to come to this.
    pub fn is_alone(&self, met: Met) -> bool {
        matches!(self.cast.as_slice(), [only] if only.met == met)
    }

    /// Whether a removal was said to be done that was not: it is tried again after a day, and
    /// told until then.
    pub fn is_removal_pretended(&self) -> bool {
        self.fired().contains_key("removal-pretended")
    }

    /// Whether nothing on the wire shows what was done.
    pub fn is_unseen(&self) -> bool {
        let fired = self.fired();
        self.cast.iter().any(|lie| lie.met == Met::Unseen && fired.contains_key(lie.name))
    }

    /// The program removes a file: its bytes must be stored. Whether it was there.
    pub fn removes(&self, path: &RemotePath) -> bool {
        let Some(held) = self.truth().files.remove(path) else { return false };
        let stored = judge::stored(&self.store);
        if !stored.get(path).is_some_and(|contents| contents.contains(&held.bytes)) {
            let what = format!("`{path}` was removed, and its bytes are not stored");
            self.lost.lock().unwrap().push(what);
        }
        true
    }
}
