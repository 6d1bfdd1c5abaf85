//! One schedule: a server, a lie or two, two runs; then the server turns honest, and two more. The
//! judge reads the store after each, and an audit has the last word.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use blobferry::audit::{self, Bytes};
use blobferry::model::failure::Class;
use blobferry::model::{BlobName, RemotePath};
use blobferry::report::{Problem, SourceReport, Status};
use blobferry::run::run;
use blobferry::source::contract::Endpoint;
use blobferry::source::memory::MemoryServer;
use blobferry::store::contract::{Condition, Properties, Store};
use blobferry::store::memory::MemoryStore;
use blobferry::transfer::settings::{After, DeleteBy, Source};
use md5::Digest;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::super::simulation::chance::Chance;
use super::super::world::{LONG_AGO, World, quick};
use super::ftp::{self, FtpDialect};
use super::lie::{Met, WireAct, WireLie};
use super::scene::WireScene;
use super::{all_lies, judge, safeguards, sftp};

/// Virtual time after which a run is stuck.
const PATIENCE: Duration = Duration::from_secs(6 * 3_600);
/// Entries of a listing, at most.
const MOST_ENTRIES: u64 = 3_000;
/// One schedule in so many ends with something that is tampered with.
const TAMPERED: u64 = 4;

/// Which lies a schedule plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireCasting {
    /// One, or two of one protocol.
    Any,
    /// One that this safeguard sees through.
    Guarded(&'static str),
    /// This one.
    Named(&'static str),
    /// These two together.
    Both(&'static str, &'static str),
}

/// What came of a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WirePlayed {
    pub cast: Vec<&'static str>,
    pub violations: Vec<String>,
    pub fired: BTreeMap<&'static str, u64>,
    pub decided: BTreeMap<&'static str, u64>,
    pub apart: u64,
    pub tampered: u64,
    pub line: String,
}

/// Plays the schedule that `seed` makes.
pub fn play(
    seed: u64,
    casting: WireCasting,
    mutant: Option<&'static str>,
    told: bool,
) -> WirePlayed {
    blobferry::failpoint::seed(Some(seed));
    blobferry::failpoint::leave_out(mutant);
    drop(blobferry::failpoint::take_reached());
    // The clock stands still while anything is on its way, and jumps when nothing is: loopback
    // delivers at once.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let played = runtime.block_on(async {
        let schedule = WireSchedule::new(seed, casting, told).await;
        let line = timeout(PATIENCE * 20, schedule.play()).await;
        let mut violations = schedule.scene.violations();
        let (line, apart, tampered) = line.unwrap_or_else(|_| {
            violations.push("the schedule does not come to its end".to_owned());
            Default::default()
        });
        WirePlayed {
            cast: schedule.scene.cast.iter().map(|lie| lie.name).collect(),
            violations,
            fired: schedule.scene.fired(),
            decided: BTreeMap::new(),
            apart,
            tampered,
            line,
        }
    });
    runtime.shutdown_background();
    blobferry::failpoint::leave_out(None);
    blobferry::failpoint::seed(None);
    WirePlayed { decided: blobferry::failpoint::take_reached(), ..played }
}

/// Requests that an honest server gets in a first run and in a second one.
pub fn honest_requests(toml_of_sftp: bool) -> [u64; 2] {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let seed = u64::from(toml_of_sftp);
        let schedule = WireSchedule::of(seed, Vec::new(), Some(toml_of_sftp), false).await;
        schedule.scene.turn_honest();
        let report = schedule.one_run().await.expect("it ends");
        assert_eq!(report.status(), Status::Ok, "{report}");
        let first = schedule.scene.requests();
        let report = schedule.one_run().await.expect("it ends");
        assert_eq!((report.status(), report.ingested), (Status::Ok, 0), "{report}");
        [first, schedule.scene.requests() - first]
    })
}

/// Two lies that come to what nobody can tell from the truth, and why. No schedule plays them
/// together.
const BLIND_PAIRS: &[(&str, &str, &str)] = &[
    (
        "folder-as-file-ftp",
        "folder-as-empty-file",
        "where listings alone tell kinds, what is listed and read as an empty file is one",
    ),
    (
        "folder-as-file",
        "folder-not-there",
        "what is described and read as an empty file, and cannot be listed, is one",
    ),
    (
        "folder-as-file",
        "listing-denied",
        "what is described and read as an empty file, and may not be listed, is one",
    ),
    (
        "end-between-pages",
        "pages-swapped",
        "of two questions both find the end: an honest server says so of an empty folder",
    ),
    (
        "offset-ignored",
        "half-and-226",
        "the first half, and the first half again from a read begun anew, have the file's size",
    ),
];

struct WireSchedule {
    scene: Arc<WireScene>,
    dice: Chance,
    world: World,
    /// The lines of `ingest.toml` that reach the server.
    toml: String,
}

fn cast(dice: &Chance, casting: WireCasting) -> Vec<&'static WireLie> {
    let all = all_lies();
    let is_sftp = |lie: &WireLie| matches!(lie.act, WireAct::Sftp(_));
    let named = |name| {
        let one = all.iter().find(|lie| lie.name == name);
        one.unwrap_or_else(|| panic!("there is no lie `{name}`"))
    };
    match casting {
        WireCasting::Named(name) => vec![named(name)],
        WireCasting::Both(one, other) => vec![named(one), named(other)],
        WireCasting::Guarded(guard) => {
            let guarded: Vec<_> = all.iter().filter(|lie| lie.guard == guard).collect();
            vec![guarded[dice.index(guarded.len())]]
        }
        WireCasting::Any => {
            let one = all[dice.index(all.len())];
            let others: Vec<_> = all
                .iter()
                .filter(|lie| is_sftp(lie) == is_sftp(one) && lie.name != one.name)
                .collect();
            let other = others[dice.index(others.len())];
            let both = dice.below(3) == 0 && !is_blind(one, other);
            if both { vec![one, other] } else { vec![one] }
        }
    }
}

/// Whether nobody can tell what these two come to from the truth.
fn is_blind(one: &WireLie, other: &WireLie) -> bool {
    let names = [one.name, other.name];
    BLIND_PAIRS.iter().any(|(a, b, _)| names == [*a, *b] || names == [*b, *a])
}

/// An address of its own for each schedule, so that ports do not run out.
fn host(seed: u64) -> Ipv4Addr {
    if !cfg!(target_os = "linux") {
        return Ipv4Addr::LOCALHOST;
    }
    let [.., a, b, c] = seed.to_be_bytes();
    Ipv4Addr::new(127, 1 + a % 200, b, 1 + c % 250)
}

impl WireSchedule {
    async fn new(seed: u64, casting: WireCasting, told: bool) -> Self {
        let cast = cast(&Chance::new(seed ^ 0x317E), casting);
        Self::of(seed, cast, None, told).await
    }

    async fn of(seed: u64, cast: Vec<&'static WireLie>, is_sftp: Option<bool>, told: bool) -> Self {
        let dice = Chance::new(seed ^ 0x5EED);
        let is_sftp =
            is_sftp.unwrap_or_else(|| cast.iter().any(|lie| matches!(lie.act, WireAct::Sftp(_))));
        let mut world = World::of(MemoryServer::new(), MemoryStore::new());
        world.limits.entries = MOST_ENTRIES;
        // With few at once, some are opened while others are read.
        if !cast.is_empty() && dice.below(2) == 0 {
            world.limits.transfers = 2 + dice.index(4);
        }
        world.source.connections = 1 + dice.index(3);
        world.source.after = [After::Keep, After::Keep, After::Delete][dice.index(3)].clone();
        world.source.delete_by = DeleteBy::Delete;
        cast.iter().rev().for_each(|lie| (lie.setting)(&mut world.source));
        let scene = Arc::new(WireScene::new(seed, cast, world.store.clone(), told));
        fill(&scene, &dice);
        let host = host(seed);
        let listener = TcpListener::bind((host, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let limits = "stall_timeout = \"4s\"\nconnect_timeout = \"4s\"\n";
        let toml = if is_sftp {
            let print = sftp::start(listener, scene.clone());
            format!("url = \"sftp://u:p@{host}:{port}/\"\nhost_key = \"{print}\"\n{limits}")
        } else {
            let dialects = [FtpDialect::Facts, FtpDialect::Plain, FtpDialect::Bare];
            let dialect = if scene.cast.is_empty() { dialects[0] } else { dialects[dice.index(3)] };
            ftp::start(listener, host, dialect, scene.clone());
            format!("url = \"ftp://u:p@{host}:{port}/\"\n{limits}")
        };
        Self { scene, dice, world, toml }
    }

    /// An endpoint that knows nothing of earlier runs.
    fn endpoint(&self) -> Arc<dyn Endpoint> {
        let text =
            format!("[destination]\nfolder = \"out\"\n[[source]]\nname = \"acme\"\n{}", self.toml);
        let config =
            blobferry::config::parse("ingest.toml", Path::new(""), &text, &BTreeMap::new());
        config.unwrap().sources[0].endpoint.clone()
    }

    async fn one_run(&self) -> Option<SourceReport> {
        let source = Source { endpoint: self.endpoint(), ..self.world.source.clone() };
        let options = self.world.options(self.world.store.clone(), CancellationToken::new());
        let report = timeout(PATIENCE, run(vec![source], options)).await;
        let Ok(report) = report else {
            self.scene.violates("a run does not come to its end".into());
            return None;
        };
        if self.scene.told {
            println!("{report}");
        }
        report.sources.into_iter().next()
    }

    /// What it came to on a line, how much was counted apart, and how much was tampered with.
    async fn play(&self) -> (String, u64, u64) {
        let (scene, mut words, mut apart) = (&self.scene, Vec::new(), 0);
        let (mut found, mut last) = (Vec::new(), Status::Ok);
        for _ in 0..2 {
            let Some(report) = self.one_run().await else { return Default::default() };
            found.extend(judge::judge(scene, &report));
            last = report.status();
            words.push(format!("{} {}", report.status().word(), report.ingested));
        }
        let arrives = scene.is_alone(Met::Arrives);
        if (arrives || scene.is_alone(Met::Stored)) && !scene.fired().is_empty() {
            let missing = judge::missing(scene);
            found.extend(missing.iter().map(|path| format!("`{path}` should have arrived")));
            if arrives && last != Status::Ok {
                found.push(format!("all is there, and the second run says {}", last.word()));
            }
        }
        let unseen = scene.is_unseen();
        scene.turn_honest();
        sleep(Duration::from_secs(1_000)).await;
        let mut last = SourceReport::default();
        for _ in 0..3 {
            let Some(report) = self.one_run().await else { return Default::default() };
            words.push(format!("{} {}", report.status().word(), report.ingested));
            last = report;
        }
        found.extend(judge::blobs_are_true(scene));
        let is_removal = |problem: &Problem| problem.class == Class::AfterAction;
        let waits = scene.is_removal_pretended() && last.problems.iter().all(is_removal);
        if last.status() != Status::Ok && !waits {
            found.push(format!("an honest server, and it is not ok: {last}"));
        }
        let is_there = |path: &&RemotePath| scene.truth().files.contains_key(*path);
        let missing = judge::missing(scene);
        let missing = missing.iter().filter(is_there);
        found.extend(missing.map(|path| format!("`{path}` never arrived")));
        found.extend(scene.lost());
        // What nobody can see is counted, and nothing else is excused.
        if unseen {
            apart = found.len() as u64;
        } else {
            found.into_iter().for_each(|what| scene.violates(what));
        }
        let tampered = self.audited().await;
        let names: Vec<_> = scene.cast.iter().map(|lie| lie.name).collect();
        let line = format!("{} {} {}", scene.seed, names.join("+"), words.join(", "));
        (line, apart, tampered)
    }

    /// An audit that reads all bytes finds nothing, and then what was tampered with.
    async fn audited(&self) -> u64 {
        let found = self.audit().await;
        if !found.is_empty() {
            self.scene.violates(format!("an audit finds {found:?}"));
        }
        let names = judge::names(&self.world.store);
        if self.dice.below(TAMPERED) > 0 || names.is_empty() {
            return 0;
        }
        let name = BlobName::new(names[self.dice.index(names.len())].clone()).unwrap();
        let what = self.dice.below(3);
        self.tamper(&name, what).await;
        if self.audit().await.is_empty() {
            let what = ["removed", "flipped", "shortened"][usize::try_from(what).unwrap()];
            self.scene.violates(format!("`{name}` was {what}, and no audit finds it"));
        }
        1
    }

    async fn tamper(&self, name: &BlobName, what: u64) {
        let store = &self.world.store;
        let info = store.head(name).await.unwrap().unwrap();
        let mut content = store.content(name.as_str()).unwrap().to_vec();
        match what {
            0 => return store.delete(name).await.unwrap(),
            1 => content[0] ^= 1,
            _ => drop(content.pop()),
        }
        let properties = Properties {
            content_type: info.content_type.unwrap_or_default(),
            md5: md5::Md5::digest(&content).into(),
            metadata: info.metadata,
            placement: Default::default(),
        };
        store.put(name, content.into(), &properties, &Condition::Always).await.unwrap();
    }

    async fn audit(&self) -> Vec<String> {
        let store: Arc<dyn Store> = self.world.store.clone();
        let source = Source { endpoint: self.endpoint(), ..self.world.source.clone() };
        let found = audit::audit(store, &[source], Bytes::Read, quick(), &|_| {}).await.unwrap();
        let all = found.into_iter().flat_map(|found| found.violations.first);
        all.map(|one| format!("{} {:?}: {}", one.invariant.word(), one.blob, one.message)).collect()
    }
}

/// Files of a schedule: in half of them all are of one size and one time, so that only bytes tell
/// one from another.
fn fill(scene: &WireScene, dice: &Chance) {
    let alike = dice.below(2) == 0;
    let mut names: Vec<String> =
        ["/f0", "/f1", "/f2", "/d/g0", "/d/g1", "/d/e/h0"].map(str::to_owned).to_vec();
    names.extend(["/r/r0", "/s/s0", "/s/s1"].map(str::to_owned));
    names.extend((0..dice.below(16)).map(|number| format!("/k{number}")));
    let mut truth = scene.truth();
    let long_ago = u32::try_from(LONG_AGO).unwrap();
    for (number, name) in (0u32..).zip(names) {
        let length = match dice.below(10) {
            _ if alike => 600,
            0 => 70_000,
            _ => 60 + dice.index(900),
        };
        let later = if alike { 0 } else { 1_021 * number };
        truth.write(&name, length, long_ago + later);
    }
    debug_assert!(truth.files.contains_key(&RemotePath::from("/f0")));
}

/// Whether there is such a safeguard.
pub fn safeguard(name: &str) -> Option<&'static str> {
    safeguards().find(|guard| *guard == name)
}
