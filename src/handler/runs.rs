//! The runs of this process: which source is taken by which, how they are stopped.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::console::Ids;
use super::host::Deadline;
use super::resources::Ready;
use super::run::{Job, drive};
use super::tally::RunTally;
use crate::history::record::{RunRecord, RunStatus, RunUnderWay, Trigger};
use crate::telemetry::insights::{Beginning, Operation};

/// Runs at once, at most: `limits` hold for each of them.
const MOST: usize = 4;

/// All runs of this process.
#[derive(Default)]
pub struct Runs {
    active: Mutex<Vec<Active>>,
    stop: CancellationToken,
    end: CancellationToken,
    tasks: TaskTracker,
}

struct Active {
    sources: Vec<String>,
    tally: Arc<RunTally>,
    record: watch::Receiver<RunRecord>,
}

/// A call of a function that wants a run.
pub struct RunCall {
    /// What called.
    pub trigger: Trigger,
    /// The host's id of it.
    pub invocation: String,
    /// When it came.
    pub begun: Instant,
    /// The trace that it is a part of, as the host tells it.
    pub traceparent: Option<String>,
    /// How long it may take.
    pub deadline: Deadline,
}

impl RunCall {
    /// What the run `run`, which it starts, is for Application Insights.
    fn beginning<'a>(&'a self, run: &'a str) -> Beginning<'a> {
        Beginning {
            name: self.trigger.function(),
            run,
            trigger: self.trigger.word(),
            // The host sends an id with each.
            invocation: Some(self.invocation.as_str()).filter(|id| *id != "-"),
            traceparent: self.traceparent.as_deref(),
            at: SystemTime::now() - self.begun.elapsed(),
        }
    }
}

/// What came of the wish for a run.
pub enum Started {
    /// A run over all of its sources that no other run is busy with, `under_way` being the others.
    Run {
        /// What becomes of it.
        run: RunsWatch,
        /// Sources that are left to the runs that are busy with them.
        under_way: Vec<RunUnderWay>,
    },
    /// Every one of its sources is being run over, so there is nothing to start.
    Joined(Vec<RunUnderWay>),
    /// There are as many runs as there may be.
    Full,
    /// The process is ending.
    Closing,
}

/// A run that somebody waits for.
pub struct RunsWatch {
    /// Its id.
    pub id: String,
    record: watch::Receiver<RunRecord>,
}

impl RunsWatch {
    /// The record of the run when it has ended.
    pub async fn ended(&mut self) -> RunRecord {
        let ended = self
            .record
            .wait_for(|record| record.ended.is_some())
            .await
            .map(|record| record.clone());
        ended.unwrap_or_else(|_| broken(&self.record))
    }
}

/// The record of a run whose driver has gone without a word: a defect.
fn broken(record: &watch::Receiver<RunRecord>) -> RunRecord {
    let mut record = record.borrow().clone();
    record.cut(
        RunStatus::Failed,
        "a defect of blobferry ended the run; the log has its trace",
        Vec::new(),
        OffsetDateTime::now_utc(),
    );
    record
}

impl Active {
    fn is_busy(&self) -> bool {
        // The sender goes with the driver, so a run that broke down holds no source for ever.
        self.record.borrow().ended.is_none() && self.record.has_changed().is_ok()
    }

    fn now(&self) -> RunRecord {
        let mut record = self.record.borrow().clone();
        if record.ended.is_none() {
            record.heartbeat = OffsetDateTime::now_utc();
            record.sources = self.tally.sources();
        }
        record
    }
}

impl Runs {
    /// Starts a run over those of the sources `wanted` (all, if `None`) that no other run is busy
    /// with. Two runs over one source at once are never begun.
    pub(crate) fn start(
        self: &Arc<Self>,
        ready: &Arc<Ready>,
        wanted: Option<&[String]>,
        call: RunCall,
    ) -> Started {
        let mut active = self.active();
        active.retain(|run| run.record.has_changed().is_ok());
        let busy: Vec<&Active> = active.iter().filter(|run| run.is_busy()).collect();
        let holder =
            |name: &str| busy.iter().find(|run| run.sources.iter().any(|source| source == name));
        let (mut sources, mut under_way) = (Vec::new(), Vec::new());
        for source in ready
            .enabled()
            .filter(|source| wanted.is_none_or(|wanted| wanted.contains(&source.name)))
        {
            match holder(&source.name) {
                Some(run) => under_way.push(RunUnderWay {
                    source: source.name.clone(),
                    id: run.record.borrow().id.clone(),
                }),
                None => sources.push(source.clone()),
            }
        }
        if self.stop.is_cancelled() {
            return Started::Closing;
        } else if sources.is_empty() {
            return Started::Joined(under_way);
        } else if busy.len() >= MOST {
            return Started::Full;
        }
        let names: Vec<String> = sources.iter().map(|source| source.name.clone()).collect();
        let tally = Arc::new(RunTally::new(names.iter().map(String::as_str), &ready.redactor));
        let mut record = RunRecord::new(call.trigger, &call.invocation, OffsetDateTime::now_utc());
        let id = record.id.clone();
        let operation =
            ready.insights.as_ref().map(|insights| insights.begin(&call.beginning(&id)));
        record.operation = operation.as_ref().map(Operation::id);
        let operation = operation.map(Arc::new);
        let (tell, record) = watch::channel(record);
        active.push(Active { sources: names, tally: tally.clone(), record: record.clone() });
        let job = Job {
            ready: ready.clone(),
            sources,
            ids: Arc::new(Ids { run: id.clone(), invocation: call.invocation }),
            begun: call.begun,
            deadline: call.deadline,
            stop: self.stop.child_token(),
            end: self.end.clone(),
            tally,
            record: tell,
            operation,
        };
        self.tasks.spawn(drive(job));
        Started::Run { run: RunsWatch { id, record }, under_way }
    }

    /// Runs whose records this process holds: they go on, or are being written.
    pub fn now(&self) -> Vec<RunRecord> {
        self.active()
            .iter()
            .filter(|run| run.record.has_changed().is_ok())
            .map(Active::now)
            .collect()
    }

    /// What stops, and what ends, work that is no run of this process's own.
    pub fn ends(&self) -> (CancellationToken, CancellationToken) {
        (self.stop.child_token(), self.end.clone())
    }

    /// Whether no more is begun.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Work that is waited for as runs are.
    pub fn track<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.tasks.spawn(work)
    }

    /// Stops all runs, and begins no more: files in hand are finished.
    pub fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
    }

    /// Ends all runs with what they have.
    pub fn end(&self) {
        self.end.cancel();
    }

    /// After [`Runs::stop`]: when the last run's record is written.
    pub async fn over(&self) {
        self.tasks.wait().await;
    }

    fn active(&self) -> MutexGuard<'_, Vec<Active>> {
        self.active.lock().expect("no code panics while it holds this lock")
    }
}
