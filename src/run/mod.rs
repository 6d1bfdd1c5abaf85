//! The only room that joins: sources, archives, store and ledger to a run.

mod after;
mod ahead;
mod blob;
mod budget;
mod context;
mod described;
pub mod due;
mod error;
mod fetch;
mod held;
mod inner;
mod intake;
pub mod lines;
mod manifest;
mod members;
mod partly;
mod pass;
pub mod progress;
mod quarantine;
mod queued;
pub mod record;
mod recorded;
pub mod records;
mod refusals;
pub mod settings;
mod side_by_side;
pub mod source_index;
mod survey;
mod transfer;
mod turn;
pub mod watch;
pub mod work;

use std::sync::Arc;

use futures_util::future::join_all;
use time::OffsetDateTime;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::archive::spool::{SpoolLimits, Spooler};
use crate::archive::windows::Windows;
use crate::checksum::Hashers;
use crate::ledger::LedgerCache;
use crate::model::redactor::Redactor;
use crate::model::{RemotePath, Secret};
use crate::report::{Report, SourceReport, problem};
use crate::retry::{Policy, retry};
use crate::state::store::StateStore;
use crate::store::contract::Store;
use crate::store::paced::Paced;
use budget::ByteBudget;
use context::{LOOKS, Pass, Run};
use progress::{Progress, Silent};
use refusals::Refusals;
use settings::{Limits, Source};

pub use context::run_id;
pub use manifest::{MAX_MANIFEST_BYTES, Manifest, ManifestMember, name_of as archive_manifest_name};
pub use recorded::recorded;

/// What a run is given beside its sources.
pub struct Options {
    /// Its id, from [`run_id`].
    pub id: String,
    /// Where blobs go.
    pub store: Arc<dyn Store>,
    /// What it may use.
    pub limits: Limits,
    /// Secrets that nothing stored may hold; those of the sources need not be among them.
    pub redactor: Redactor,
    /// Ledgers that this process has read before.
    pub ledgers: LedgerCache,
    /// How stubborn to be with the store.
    pub policy: Policy,
    /// Globs of files that are fetched again though they are known.
    pub again: Vec<String>,
    /// Whether archives in quarantine are taken again.
    pub retry_quarantined: bool,
    /// Stops the run: no new file is begun, what is in hand has a few seconds.
    pub cancel: CancellationToken,
    /// Who looks on.
    pub progress: Arc<dyn Progress>,
}

impl Options {
    /// For a new run that nobody watches and nothing stops.
    pub fn new(store: Arc<dyn Store>, limits: Limits) -> Self {
        Self {
            id: run_id(OffsetDateTime::now_utc()),
            store,
            limits,
            redactor: Redactor::default(),
            ledgers: LedgerCache::default(),
            policy: Policy::default(),
            again: Vec::new(),
            retry_quarantined: false,
            cancel: CancellationToken::new(),
            progress: Arc::new(Silent),
        }
    }
}

/// Brings over what is new at `sources`, all of them side by side. Never fails: the report tells.
pub async fn run(sources: Vec<Source>, options: Options) -> Report {
    let (again, cancel) = (options.again.clone(), options.cancel.clone());
    let run = Arc::new(begin(options, &sources));
    tracing::info!(run = run.id, sources = sources.len(), store = run.store.address(), "A run begins.");
    let mut report = empty_report(&run);
    match retry(&run.policy, &run.cancel, "preparing the store", |_| run.store.prepare()).await {
        Err(error) => report.problems.push(problem(&error)),
        Ok(()) => {
            let passes = sources.into_iter().map(|source| {
                let again = patterns_again(&source, &again);
                let (name, address) = (source.name.clone(), source.endpoint.address().to_owned());
                // Whoever drops the run stops it.
                let task = AbortOnDropHandle::new(tokio::spawn(pass::pass(run.clone(), source, again)));
                async move {
                    let report = task.await.unwrap_or_else(|_| defect(&name, &address));
                    watch::source_ended(&report);
                    report
                }
            });
            report.sources = join_all(passes).await;
        }
    }
    report.interrupted = cancel.is_cancelled();
    report.ended = OffsetDateTime::now_utc();
    watch::run_ended(&report);
    tracing::info!(run = run.id, status = ?report.status(), ingested = report.sources.iter().map(|s| s.ingested).sum::<u64>(), "A run ended.");
    report
}

fn begin(options: Options, sources: &[Source]) -> Run {
    let Options { id, store, limits, redactor, ledgers, policy, retry_quarantined, cancel, progress, .. } = options;
    let secrets: Vec<Secret> = sources.iter().flat_map(|source| source.endpoint.secrets()).collect();
    let store: Arc<dyn Store> = Arc::new(Paced::over(store));
    let started = OffsetDateTime::now_utc();
    // Sixteenths: three for archives at rest, four for what their decoders hold, three for blocks on their way, two for
    // members kept from their check: none of them waits for another's room. The last four are what is on its way outside of
    // them, from a server's socket and to the store's, and what the allocator keeps for a moment.
    let part = limits.memory / 16;
    let folder = limits.temp_folder.clone();
    let at_rest = SpoolLimits { memory_bytes: 3 * part, archive_memory_bytes: 2 * part, temp_bytes: limits.temp, folder };
    let spooler = Spooler::with_windows(at_rest, Windows::new(4 * part));
    Run {
        id,
        started,
        state: StateStore::new(store.clone(), redactor.and(&secrets), policy),
        store,
        refusals: Refusals::default(),
        ledgers,
        looks: Arc::new(Semaphore::new(LOOKS)),
        transfers: Arc::new(Semaphore::new(limits.transfers)),
        blocks: ByteBudget::with_spare(3 * part),
        hashers: Hashers::default(),
        kept: ByteBudget::new(2 * part),
        spooler,
        limits,
        policy,
        retry_quarantined,
        cancel,
        progress,
    }
}

fn empty_report(run: &Run) -> Report {
    Report {
        run: run.id.clone(),
        started: run.started,
        ended: run.started,
        interrupted: false,
        store: run.store.address().to_owned(),
        problems: Vec::new(),
        sources: Vec::new(),
    }
}

fn patterns_again(source: &Source, globs: &[String]) -> survey::Again {
    if globs.is_empty() {
        return None;
    }
    // Checked when the command line was read.
    crate::patterns::Patterns::new(source.root.clone(), globs, &[], &[], None).ok()
}

fn defect(source: &str, address: &str) -> SourceReport {
    let mut report = SourceReport::new(source, address);
    report.unusable = true;
    report
        .problems
        .push(crate::report::Problem::new(crate::failure::Class::Internal, "a defect ended the work on this source; the log has its trace"));
    report
}

/// What a run would do with one source.
pub struct Plan {
    /// What is decided already, counted, and what went wrong with the listing.
    pub report: SourceReport,
    /// What would be fetched, in the listing's order.
    pub files: Vec<Planned>,
}

/// A file that would be fetched.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Planned {
    /// Its path.
    #[serde(serialize_with = "as_text")]
    pub path: RemotePath,
    /// Its size, if the source tells.
    pub size: Option<u64>,
    /// Why: `new`, `changed`, `again`.
    pub why: &'static str,
    /// Whether it must be looked at again first, because it may still be written.
    pub unsettled: bool,
    /// The plain name of its blob; members of an archive go below it.
    pub blob: crate::model::BlobName,
}

fn as_text<S: serde::Serializer>(path: &RemotePath, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(path)
}

/// What a run would do now. Changes nothing, neither at the sources nor in the store.
pub async fn plan(sources: Vec<Source>, options: Options) -> Vec<Plan> {
    let again = options.again.clone();
    let run = Arc::new(begin(options, &sources));
    let plans = sources.into_iter().map(|source| plan_one(run.clone(), source, again.clone()));
    join_all(plans).await
}

async fn plan_one(run: Arc<Run>, source: Source, again: Vec<String>) -> Plan {
    let again = patterns_again(&source, &again);
    let pass = match pass::open(run, source).await {
        Ok(pass) => Arc::new(pass),
        Err(report) => return Plan { report, files: Vec::new() },
    };
    let survey = survey::survey(&pass, &again).await;
    pass.pool.close().await;
    let settled = survey.transfers.iter().map(|transfer| planned(&pass, transfer, false));
    let files = settled.chain(survey.unsettled.iter().map(|transfer| planned(&pass, transfer, true))).collect();
    Plan { report: survey.report, files }
}

fn planned(pass: &Pass, transfer: &transfer::Transfer, unsettled: bool) -> Planned {
    let path = transfer.file.path.clone();
    Planned { blob: pass.source.naming.file(&path), size: transfer.file.size, why: transfer.why.word(), unsettled, path }
}
