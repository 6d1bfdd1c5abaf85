//! One schedule: a world, processes that come and go in it, and what is left when they are gone.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use blobferry::history::record::{RunRecord, Trigger, source_line, waiting_line};
use blobferry::history::records::Records;
use blobferry::history::run_id::run_id;
use blobferry::jobs::cutting::Sizes;
use blobferry::jobs::enqueue::Office;
use blobferry::jobs::message::Message;
use blobferry::jobs::outcome::Came;
use blobferry::jobs::run_status;
use blobferry::jobs::sweep::sweep;
use blobferry::jobs::work;
use blobferry::ledger::{Ledger, LedgerCache, Tuning};
use blobferry::model::{RemotePath, chain};
use blobferry::report::{Report, SourceReport};
use blobferry::run::run;
use blobferry::runtime::retry::Policy;
use blobferry::source::memory::MemoryServer;
use blobferry::state::store::StateStore;
use blobferry::store::contract::Store;
use blobferry::store::queue::Queue;
use blobferry::transfer::options::Options;
use blobferry::transfer::settings::{After, Limits, Source, Versions};
use time::OffsetDateTime;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::chance::Tally;
use super::kind::Kind;
use super::layouts::lay_out;
use super::mutants::Mutant;
use super::process::{Knobs, Process, Sim};
use super::queue::{Messages, SimQueue};
use super::rest;
use super::server::SimServer;
use super::store::SimStore;

/// Virtual time after which a process that still lives is stuck.
const PATIENCE: Duration = Duration::from_secs(6 * 3600);

struct World {
    sim: Arc<Sim>,
    messages: Arc<Messages>,
    source: Source,
    sizes: Sizes,
    limits: Limits,
    policy: Policy,
    /// What long-lived processes have read.
    ledgers: [LedgerCache; 2],
}

/// One process on its way.
struct Running {
    process: Arc<Process>,
    task: JoinHandle<()>,
}

impl Running {
    fn is_over(&self) -> bool {
        self.task.is_finished() || self.process.is_dead()
    }
}

/// Plays the schedule that `seed` makes. What was violated, and what happened.
pub fn schedule(kind: Kind, seed: u64, mutant: Option<Mutant>, told: bool) -> (Vec<String>, Tally) {
    blobferry::failpoint::seed(Some(seed));
    blobferry::failpoint::leave_out(mutant.and_then(Mutant::step));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let world = runtime.block_on(async {
        let world = World::new(kind, seed, mutant, told);
        if timeout(PATIENCE * 4, world.play(kind)).await.is_err() {
            world.sim.violation("the schedule does not come to its end".into());
        }
        world
    });
    // Dead processes hold what they had to this moment.
    drop(runtime);
    blobferry::failpoint::leave_out(None);
    blobferry::failpoint::seed(None);
    let violations = std::mem::take(&mut world.sim.witness.lock().unwrap().violations);
    let tally = world.sim.tally.lock().unwrap().clone();
    (violations, tally)
}

impl World {
    fn new(kind: Kind, seed: u64, mutant: Option<Mutant>, told: bool) -> Self {
        let dice = super::chance::Chance::new(seed ^ 0x5EED);
        let often = |most: u64| if dice.below(3) == 0 { 0 } else { dice.below(most) };
        let knobs = Knobs {
            refusals: often(40),
            lost_replies: often(40),
            late: often(25),
            crashes: often(20),
            freezes: often(12),
            changes: often(150),
            // In some worlds nobody has the right to take leases, and all work at once.
            leases: if dice.below(4) == 0 { 1_000 } else { often(250) },
        };
        let contended = kind == Kind::Contended;
        let knobs = if contended {
            Knobs { changes: 100, leases: 1_000, freezes: 0, ..knobs }
        } else {
            knobs
        };
        let versions = if contended {
            Versions::Overwrite
        } else if dice.below(2) == 0 {
            Versions::Keep
        } else {
            Versions::Overwrite
        };
        let after = if dice.below(4) == 0 { After::Delete } else { After::Keep };
        let sim = Arc::new(Sim::new(seed, knobs, versions, mutant, told));
        {
            let mut tree = sim.tree.lock().unwrap();
            let archive = dice.below(2) == 0;
            if contended && archive {
                tree.write(&RemotePath::from("/a.zip"), 0, dice.below(2));
            }
            let files = if contended { u64::from(!archive) } else { 4 + dice.below(5) };
            for n in 0..files {
                let length = dice.index(200);
                let dot = if kind == Kind::Layouts { "." } else { "" };
                tree.write(&RemotePath::from(format!("/f{dot}{n}").as_str()), length, 0);
            }
            match kind {
                Kind::Archives | Kind::Layouts => {
                    tree.write(&RemotePath::from("/a.zip"), 0, dice.below(2))
                }
                Kind::Blocks => tree.write(&RemotePath::from("/big"), (8 << 20) + 1_000, 0),
                _ => {}
            }
        }
        let source = super::super::world::source("acme", &MemoryServer::new());
        let connections = 1 + dice.index(3);
        let policy = Policy { attempts: 3, first_wait: Duration::ZERO, ..Policy::default() };
        let mut source = Source { versions, after, connections, policy, ..source };
        if kind == Kind::Layouts {
            lay_out(&mut source, seed);
        }
        // In half of all worlds slots at the store are scarcer than files.
        let plenty = Limits::default_with(std::env::temp_dir(), 1 << 30);
        let transfers = *[1, 2, 3].get(dice.index(6)).unwrap_or(&plenty.transfers);
        let limits = Limits { memory: 64 << 20, transfers, ..plenty };
        let sizes = Sizes { files: 1 + dice.index(3), bytes: 1 << 30 };
        let ledgers = [LedgerCache::keeping(), LedgerCache::keeping()];
        Self { sim, messages: Arc::default(), source, sizes, limits, policy, ledgers }
    }

    fn store(&self, process: &Arc<Process>) -> Arc<dyn Store> {
        Arc::new(SimStore { sim: self.sim.clone(), process: process.clone() })
    }

    fn queue(&self, process: &Arc<Process>) -> Arc<dyn Queue> {
        Arc::new(SimQueue {
            sim: self.sim.clone(),
            process: process.clone(),
            messages: self.messages.clone(),
        })
    }

    fn source(&self, process: &Arc<Process>) -> Source {
        Source {
            endpoint: Arc::new(SimServer { sim: self.sim.clone(), process: process.clone() }),
            ..self.source.clone()
        }
    }

    fn options(&self, process: &Arc<Process>, cancel: CancellationToken) -> Options {
        // Some processes live long, and have read the ledger before.
        let ledgers = match self.sim.chance.below(3) {
            0 => LedgerCache::default(),
            n => self.ledgers[n as usize - 1].clone(),
        };
        Options {
            ledgers,
            policy: self.policy,
            cancel,
            ..Options::new(self.store(process), self.limits.clone())
        }
    }

    async fn play(&self, kind: Kind) {
        let sim = &self.sim;
        let mut running: Vec<Running> = Vec::new();
        for number in 0..6 + sim.chance.below(9) {
            running.push(self.begin(kind, number));
            running.retain(|one| !one.is_over());
            match sim.chance.below(4) {
                0 => {}
                1 => sleep(Duration::from_millis(sim.chance.below(4_000))).await,
                2 => sleep(Duration::from_secs(sim.chance.below(120))).await,
                _ => self.wait_for(running.last()).await,
            }
        }
        sim.quiet.store(true, Ordering::Relaxed);
        for one in &running {
            self.wait_for(Some(one)).await;
            if !one.is_over() {
                sim.violation(format!("process {} hangs", one.process.name));
            }
        }
        // Leases of the dead lapse, what was late arrives.
        sleep(Duration::from_secs(1_000)).await;
        self.drain(kind).await;
        self.come_to_rest().await;
    }

    async fn wait_for(&self, one: Option<&Running>) {
        let Some(one) = one else { return };
        let mut waited = Duration::ZERO;
        while !one.is_over() && waited < PATIENCE {
            let step = if waited < Duration::from_secs(10) {
                Duration::from_millis(500)
            } else {
                Duration::from_secs(20)
            };
            sleep(step).await;
            waited += step;
        }
    }

    fn begin(&self, kind: Kind, number: u64) -> Running {
        let chance = &self.sim.chance;
        let act = match kind {
            Kind::Inline | Kind::Contended => [0, 0, 0, 0, 0, 1][chance.index(6)],
            Kind::Queue => [1, 2, 2, 3, 3, 3, 3, 3, 4][chance.index(9)],
            _ => [0, 0, 1, 2, 2, 3, 3, 3, 3, 4][chance.index(10)],
        };
        let names = ["run", "fold", "ask", "worker", "sweep"];
        let process = Process::new(format!("{}-{number}", names[act]), true);
        self.sim.count(["runs", "folds begun", "passes asked for", "workers", "sweeps"][act]);
        let stop = CancellationToken::new();
        let task = match act {
            0 => tokio::spawn(inline(
                self.sim.clone(),
                self.source(&process),
                self.options(&process, stop.clone()),
            )),
            1 => tokio::spawn(fold(self.sim.clone(), self.store(&process), self.policy)),
            2 => tokio::spawn(ask(self.store(&process), self.queue(&process), self.policy)),
            3 => tokio::spawn(self.worker(&process, stop.clone(), 1 + chance.below(4))),
            _ => tokio::spawn(self.sweeper(&process)),
        };
        if chance.below(5) == 0 {
            // Its time is over at some moment.
            let after = Duration::from_millis(chance.below(20_000));
            tokio::spawn(async move {
                sleep(after).await;
                stop.cancel();
            });
        }
        Running { process, task }
    }

    fn worker(
        &self,
        process: &Arc<Process>,
        stop: CancellationToken,
        most: u64,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (sim, messages, sizes) = (self.sim.clone(), self.messages.clone(), self.sizes);
        let (source, queue) = (self.source(process), self.queue(process));
        let (store, policy) = (self.store(process), self.policy);
        let options: Vec<Options> =
            (0..most).map(|_| self.options(process, stop.clone())).collect();
        async move {
            for options in options {
                let mut taken = messages.take(&sim);
                for _ in 0..5 {
                    if taken.is_some() {
                        break;
                    }
                    sleep(Duration::from_secs(10)).await;
                    taken = messages.take(&sim);
                }
                let Some((receipt, text)) = taken else { return };
                sim.count("messages worked on");
                let message = Message::parse(&text).expect("a message of ours");
                match work(&message, source.clone(), options, queue.clone(), sizes).await {
                    Ok(came) => {
                        let records = Records::new(StateStore::new(
                            store.clone(),
                            Default::default(),
                            policy,
                        ));
                        match &came {
                            Came::Closed(report) => {
                                looks_right(&sim, report);
                                let line = source_line(
                                    report,
                                    &Default::default(),
                                    OffsetDateTime::now_utc(),
                                );
                                drop(records.tell(&message.run, &[line]).await);
                            }
                            Came::Over => drop(run_status::settle(&records, &message.run).await),
                            Came::Done(_) | Came::Later(_) => {}
                        }
                        if sim.told {
                            println!("{message}: {came:?}");
                        }
                        messages.done(&sim, receipt);
                    }
                    Err(error) => {
                        let error = chain(&error);
                        if sim.told {
                            println!("{message}: {error}");
                        }
                        if error.contains("damaged") {
                            sim.violation(format!("state is damaged: {error}"));
                        }
                        messages.failed(&sim, receipt);
                    }
                }
            }
        }
    }

    fn sweeper(&self, process: &Arc<Process>) -> impl Future<Output = ()> + Send + 'static {
        let (source, queue) = (self.source(process), self.queue(process));
        let (store, limits, policy) = (self.store(process), self.limits.clone(), self.policy);
        async move {
            let options = || Options {
                id: "sweep".into(),
                policy,
                ..Options::new(store.clone(), limits.clone())
            };
            let sources = [source];
            let swept = sweep(&sources, &sources, &queue, options).await;
            let records = Records::new(StateStore::new(store.clone(), Default::default(), policy));
            for run in swept.closed {
                drop(run_status::settle(&records, &run).await);
            }
        }
    }

    /// All messages are worked on, all that was given up is looked after.
    async fn drain(&self, kind: Kind) {
        if matches!(kind, Kind::Inline | Kind::Contended) {
            return;
        }
        for round in 0..300 {
            if self.messages.is_empty() {
                break;
            }
            if round == 299 {
                self.sim.violation("the queue is never empty".into());
            }
            let process = Process::new("last".into(), false);
            self.worker(&process, CancellationToken::new(), 1).await;
            self.sweeper(&process).await;
            sleep(Duration::from_secs(20)).await;
        }
        self.sweeper(&Process::new("last".into(), false)).await;
    }

    async fn clean_run(&self, what: &str) -> SourceReport {
        let process = Process::new(what.into(), false);
        let report =
            run(vec![self.source(&process)], self.options(&process, CancellationToken::new()))
                .await;
        if self.sim.told {
            println!("{what}: {report}");
        }
        let report = report.sources.into_iter().next().unwrap_or_default();
        rest::is_well(&self.sim, what, &report);
        report
    }

    /// Two whole runs; what they leave is looked at; then once more without a ledger.
    async fn come_to_rest(&self) {
        self.clean_run("the first whole run").await;
        let second = self.clean_run("the second whole run").await;
        if second.unchanged != second.listed {
            self.sim.violation(format!(
                "I2 nothing lost: the second whole run still finds work: {second}"
            ));
        }
        rest::at_rest(&self.sim, &self.source.after).await;
        let before = rest::state(&self.sim);
        rest::lose_ledger(&self.sim).await;
        self.clean_run("the run without a ledger").await;
        if !rest::is_as_before(&before, &rest::state(&self.sim)) {
            self.sim.violation("I10 only work: a lost ledger has changed what is stored".into());
        }
        rest::at_rest(&self.sim, &self.source.after).await;
    }
}

fn looks_right(sim: &Sim, report: &SourceReport) {
    let sum = report.ingested
        + report.unchanged
        + report.skipped
        + report.gone
        + report.deferred
        + report.failed;
    if sum != report.listed {
        sim.violation(format!("I9 sum: {report}"));
    }
    for problem in report.problems.iter().chain(report.failures.iter().map(|line| &line.problem)) {
        if problem.message.contains("damaged")
            || problem.class == blobferry::model::failure::Class::Internal
        {
            sim.violation(format!("state is damaged, or the program is: {}", problem.message));
        }
    }
}

async fn inline(sim: Arc<Sim>, source: Source, options: Options) {
    let report: Report = run(vec![source], options).await;
    report.sources.iter().for_each(|source| looks_right(&sim, source));
    if sim.told {
        println!("{report}");
    }
}

/// Folds journals long before it is due.
async fn fold(sim: Arc<Sim>, store: Arc<dyn Store>, policy: Policy) {
    let tuning = Tuning { lines: 1, share: 1_000, journals: 0, shard_files: 2 };
    let id = run_id(OffsetDateTime::now_utc());
    let folded = match Ledger::open_tuned(
        store,
        "acme",
        &id,
        policy,
        CancellationToken::new(),
        tuning,
    )
    .await
    {
        Ok(ledger) => ledger.fold_if_due().await,
        Err(error) => Err(error),
    };
    match folded {
        Ok(()) => sim.count("folds ended"),
        Err(error) if chain(&error).contains("damaged") => {
            sim.violation(format!("state is damaged: {}", chain(&error)))
        }
        Err(_) => {}
    }
}

/// Asks for a pass, as the timer does.
async fn ask(store: Arc<dyn Store>, queue: Arc<dyn Queue>, policy: Policy) {
    let now = OffsetDateTime::now_utc();
    let state = StateStore::new(store, Default::default(), policy);
    let office = Office { state: &state, queue: &queue };
    let mut record = RunRecord::new(Trigger::Timer, "", now);
    record.run = Some(record.id.clone());
    let Ok(claimed) = office.claim(&["acme"], &record.id, now).await else { return };
    if claimed.ours.is_empty() {
        return;
    }
    record.queued.clone_from(&claimed.ours);
    record.sources = claimed.ours.iter().map(|source| waiting_line(source)).collect();
    if Records::new(state.clone()).put(&record).await.is_ok() {
        // A process that cannot send leaves a claim that lapses.
        drop(office.send(&claimed, &record.id).await);
    }
}
