//! One schedule: a source, a pair of lies, runs that may die at any call; then the server goes on
//! lying while nothing may wait any more, or turns honest; the oracle judges each run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use blobferry::model::RemotePath;
use blobferry::report::{Report, SourceReport};
use blobferry::run::run;
use blobferry::source::memory::MemoryServer;
use blobferry::store::memory::MemoryStore;
use blobferry::transfer::settings::{After, DeleteBy, Source, Versions};
use md5::Digest;
use time::OffsetDateTime;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::super::simulation::chance::Chance;
use super::super::world::{LONG_AGO, World};
use super::cue::Lie;
use super::mortal::Mortal;
use super::scene::{LyingScene, TimesToldIn};
use super::server::LyingServer;
use super::stored::{Stored, stored as stored_in};
use super::table::{FEW_FILES, FOLDED_BY_THE_MINUTE, MORE_FILES};
use super::{guards, lies};

/// Virtual time after which a run is stuck.
const PATIENCE: Duration = Duration::from_secs(6 * 3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Which lies a schedule plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Casting {
    /// Two of all, or none now and then.
    Pair,
    /// One that this safeguard sees through, and now and then a second one of all.
    Guarded(&'static str),
    /// This one, and now and then a second one of all.
    Named(&'static str),
    Honest,
}

/// What came of a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Played {
    pub cast: Vec<&'static str>,
    pub violations: Vec<String>,
    /// How often each lie acted.
    pub fired: BTreeMap<&'static str, u64>,
    /// How often each safeguard decided.
    pub decided: BTreeMap<&'static str, u64>,
    /// What nobody can see, counted.
    pub apart: BTreeMap<&'static str, u64>,
    /// All of it on a line, the same in every replay.
    pub line: String,
}

/// Plays the schedule that `seed` makes.
pub fn play(seed: u64, casting: Casting, mutant: Option<&'static str>, told: bool) -> Played {
    blobferry::failpoint::seed(Some(seed));
    blobferry::failpoint::leave_out(mutant);
    drop(blobferry::failpoint::take_reached());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let (scene, line) = runtime.block_on(async {
        let schedule = LieSchedule::new(seed, casting, told);
        let played = timeout(PATIENCE * 20, schedule.play()).await;
        let line = played.unwrap_or_else(|_| {
            let text = "the schedule does not come to its end".to_owned();
            schedule.scene.oracle().violations.push(text);
            String::new()
        });
        (schedule.scene.clone(), line)
    });
    drop(runtime);
    blobferry::failpoint::leave_out(None);
    blobferry::failpoint::seed(None);
    let decided = blobferry::failpoint::take_reached();
    let (violations, apart) = {
        let oracle = scene.oracle();
        (oracle.violations.clone(), oracle.apart.clone())
    };
    let cast = scene.cast.iter().map(|lie| lie.name).collect();
    Played { cast, violations, fired: scene.fired(), decided, apart, line }
}

/// Calls to an honest server in a first run over five files in two folders, and in a second one.
pub fn honest_calls(times: TimesToldIn) -> [BTreeMap<&'static str, u64>; 2] {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut world = World::of(MemoryServer::new(), MemoryStore::new());
        world.source.stable_for = Duration::from_secs(60);
        let scene = Arc::new(LyingScene::new(0, vec![], times, 0, world.store.clone(), false));
        for (number, name) in ["/a", "/b", "/c", "/d/e", "/d/f"].iter().enumerate() {
            scene.truth().write(&RemotePath::from(*name), 50, long_ago(number));
        }
        let schedule = LieSchedule { scene: scene.clone(), dice: Chance::new(0), world };
        schedule.one_run(None, DAY, false).await;
        let first = scene.calls_in_all();
        schedule.one_run(None, DAY, false).await;
        let both = scene.calls_in_all();
        let second = both.iter().map(|(op, times)| (*op, times - first.get(op).unwrap_or(&0)));
        let second = second.filter(|(_, times)| *times > 0).collect();
        [first, second]
    })
}

struct LieSchedule {
    scene: Arc<LyingScene>,
    dice: Chance,
    world: World,
}

impl LieSchedule {
    fn new(seed: u64, casting: Casting, told: bool) -> Self {
        let dice = Chance::new(seed ^ 0x11E5);
        let cast = cast(&dice, casting);
        let times = [
            TimesToldIn::Seconds,
            TimesToldIn::Seconds,
            TimesToldIn::MinutesOfListings,
            TimesToldIn::ListingsOnly,
        ][dice.index(4)];
        let breaks = if dice.below(2) == 0 { 0 } else { dice.below(40) };
        let store = MemoryStore::new();
        let mut world = World::of(MemoryServer::new(), store);
        settings(&mut world.source, &dice, &cast);
        let scene = LyingScene::new(seed, cast, times, breaks, world.store.clone(), told);
        let mut truth = scene.truth();
        let mut names = vec!["/f0", "/f1", "/f2", "/d/g0"];
        names.extend(["/f3", "/d/g1", "/d/e/h0", "/f4"].iter().take(dice.index(5)));
        names.extend((dice.below(2) == 0).then_some("/F0"));
        for (number, name) in names.into_iter().enumerate() {
            let length = if name.ends_with('0') { 90 } else { dice.index(200) };
            truth.write(&RemotePath::from(name), length, long_ago(number));
        }
        drop(truth);
        Self { scene: Arc::new(scene), dice, world }
    }

    async fn play(&self) -> String {
        let (scene, mut words) = (&self.scene, Vec::new());
        if scene.told {
            let source = &self.world.source;
            let names: Vec<_> = scene.cast.iter().map(|lie| lie.name).collect();
            println!("{names:?}, {:?}, {:?} {:?}", scene.times, source.after, source.delete_by);
        }
        for number in 0..2 + self.dice.below(2) {
            if number > 0 && self.dice.below(2) == 0 {
                self.change(number);
            }
            let dies = (self.dice.below(4) == 0)
                .then(|| (1 + self.dice.below(120), self.dice.below(2) == 0));
            words.push(self.one_run(dies, DAY, false).await.1);
        }
        if self.dice.below(2) == 0 {
            for _ in 0..2 {
                words.push(self.one_run(None, Duration::ZERO, true).await.1);
            }
        }
        scene.turn_honest();
        sleep(Duration::from_secs(1_000)).await;
        let mut last = SourceReport::default();
        for number in 0..3 {
            // By the clock on the wall no time passes here: what has rested for two runs rests.
            let stable_for = if number < 2 { self.world.source.stable_for } else { Duration::ZERO };
            let source = Source { stable_for, ..self.world.source.clone() };
            let (report, word) = self.run_over(source, None, false).await;
            words.push(word);
            last = report.unwrap_or_default();
        }
        let stored = stored_in(&scene.store);
        let removes = self.world.source.after == After::Delete;
        scene.oracle().at_rest(&scene.truth(), &stored, &last, removes);
        let names: Vec<_> = scene.cast.iter().map(|lie| lie.name).collect();
        format!("{} {} {} {}", scene.seed, names.join("+"), words.join(", "), sum(&stored))
    }

    /// The source goes its way between two runs.
    fn change(&self, number: u64) {
        let mut truth = self.scene.truth();
        let paths: Vec<RemotePath> = truth.files.keys().cloned().collect();
        let Some(path) = paths.get(self.dice.index(paths.len().max(1))) else { return };
        match self.dice.below(5) {
            0 => truth.remove(path),
            1 => truth.replace(path, time::Duration::seconds(61)),
            2 => truth.grow(path),
            _ => {
                let path = RemotePath::from(format!("/new{number}").as_str());
                let length = self.dice.index(200);
                truth.write(&path, length, long_ago(1_000));
            }
        }
    }

    /// A run; what it came to, and in a word.
    async fn one_run(
        &self,
        dies: Option<(u64, bool)>,
        late_after: Duration,
        last: bool,
    ) -> (Option<SourceReport>, String) {
        let source = Source { late_after, ..self.world.source.clone() };
        self.run_over(source, dies, last).await
    }

    async fn run_over(
        &self,
        source: Source,
        dies: Option<(u64, bool)>,
        last: bool,
    ) -> (Option<SourceReport>, String) {
        let scene = &self.scene;
        let (at, effect) = dies.unwrap_or((u64::MAX, false));
        let life = Arc::new(Mortal::new(self.world.store.clone(), at, effect));
        let endpoint = Arc::new(LyingServer { scene: scene.clone(), life: life.clone() });
        let source = Source { endpoint, ..source };
        let mut options = self.world.options(life.clone(), CancellationToken::new());
        if scene.is_lying() && scene.cast.iter().any(|lie| lie.name == MORE_FILES) {
            options.limits.files = FEW_FILES;
        }
        scene.begin_run();
        let mut task = tokio::spawn(run(vec![source], options));
        let report: Option<Report> = tokio::select! {
            biased;
            report = &mut task => Some(report.expect("a run does not panic")),
            () = life.death() => None,
            () = sleep(PATIENCE) => {
                scene.oracle().violations.push("a run does not come to its end".into());
                None
            }
        };
        let stored = stored_in(&scene.store);
        let Some(report) = report else {
            scene.oracle().blobs_are_true(&scene.truth(), &stored);
            scene.oracle().died();
            scene.end_run();
            // Leases of the dead lapse.
            sleep(Duration::from_secs(1_000)).await;
            return (None, "died".to_owned());
        };
        if scene.told {
            println!("{report}");
        }
        let report = report.sources.into_iter().next().unwrap_or_default();
        scene.oracle().judge(&scene.truth(), &stored, &report, last);
        scene.end_run();
        let SourceReport { ingested, unchanged, gone, deferred, failed, .. } = report;
        let word = report.status().word();
        (Some(report), format!("{word} {ingested} {unchanged} {gone} {deferred} {failed}"))
    }
}

fn long_ago(number: usize) -> OffsetDateTime {
    // Each file in a minute of its own, and no two in the same second of one.
    let seconds = LONG_AGO + 1_021 * i64::try_from(number).unwrap();
    OffsetDateTime::from_unix_timestamp(seconds).unwrap()
}

fn settings(source: &mut Source, dice: &Chance, cast: &[&'static Lie]) {
    source.connections = 1 + dice.index(3);
    source.stable_for = Duration::from_secs(60);
    source.depth = 6;
    source.versions = [Versions::Keep, Versions::Overwrite][dice.index(2)];
    source.after = [After::Keep, After::Keep, After::Delete][dice.index(3)].clone();
    source.delete_by = [DeleteBy::Delete, DeleteBy::Rename][dice.index(2)];
    // The first lie's own setting counts most.
    cast.iter().rev().for_each(|lie| (lie.setting)(source));
}

fn cast(dice: &Chance, casting: Casting) -> Vec<&'static Lie> {
    let all = lies();
    let any = || all[dice.index(all.len())];
    let second = || (dice.below(2) == 0).then(any);
    let mut cast: Vec<&'static Lie> = match casting {
        Casting::Honest => Vec::new(),
        Casting::Pair if dice.below(32) == 0 => Vec::new(),
        Casting::Pair => vec![any(), any()],
        Casting::Guarded(guard) => {
            let guarded: Vec<_> = all.iter().filter(|lie| lie.guard == guard).collect();
            let one = guarded[dice.index(guarded.len())];
            [Some(*one), second()].into_iter().flatten().collect()
        }
        Casting::Named(name) => {
            let one = all.iter().find(|lie| lie.name == name);
            let one = one.unwrap_or_else(|| panic!("there is no lie `{name}`"));
            [Some(*one), second()].into_iter().flatten().collect()
        }
    };
    cast.dedup_by_key(|lie| lie.name);
    if let Some(alone) = cast.iter().find(|lie| lie.name == FOLDED_BY_THE_MINUTE).copied() {
        cast = vec![alone];
    }
    let is_blind = |(a, b, _): &(&str, &str, &str)| {
        [a, b].iter().all(|name| cast.iter().any(|lie| lie.name == **name))
    };
    if guards::BLIND_PAIRS.iter().any(is_blind) {
        cast.truncate(1);
    }
    cast
}

/// A sum over paths and contents.
fn sum(stored: &Stored) -> String {
    let mut sum = md5::Md5::new();
    for (path, contents) in stored {
        let mut contents = contents.clone();
        contents.sort();
        sum.update(path.as_bytes());
        contents.iter().for_each(|content| sum.update(content));
    }
    hex(&sum.finalize())
}

/// Bytes as text.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Every safeguard.
pub fn safeguards() -> impl Iterator<Item = &'static str> {
    guards::SAFEGUARDS.iter().map(|(name, _)| *name)
}
