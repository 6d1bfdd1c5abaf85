//! One pass over one source: survey, transfers, a second look at young files, the report.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use md5::{Digest, Md5};
use tokio::time::Instant;

use crate::failpoint::failpoint;
use crate::failure::{Class, Failure};
use crate::ledger::Ledger;
use crate::ledger::error::LedgerError;
use crate::model::{RemoteFile, RemotePath, chain};
use crate::plan::{Known, Seen, Skip};
use crate::report::{Defer, LeftTo, Outcome, Problem, SourceReport, Status, problem};
use crate::retry::retry;
use crate::run::after::{self, Acted};
use crate::run::context::{LargeFiles, Pass, Run, conceal};
use crate::run::described::{Answer, Batch, ask_all, in_batches};
use crate::run::lines::{self, Lines};
use crate::run::quarantine::Quarantine;
use crate::run::refusals::{self, Before};
use crate::run::settings::Source;
use crate::run::side_by_side::side_by_side;
use crate::run::survey::{Again, Survey, survey};
use crate::run::transfer::{Transfer, transfer};
use crate::run::turn::{self, Ours, Turn};
use crate::run::{watch, work};
use crate::source::pool::Pool;
use crate::store::contract::{Condition, Properties, StoreError};

/// Goes over `source` once, unless another run is at it. Never fails: whatever goes wrong is in the report.
pub async fn pass(run: Arc<Run>, source: Source, again: Again) -> SourceReport {
    let report = match turn::ask(&run, &source.name).await {
        Turn::Ours(ours) => go_over(run.clone(), source, again, ours).await,
        Turn::Theirs(other) => {
            let report = SourceReport::new(&source.name, source.endpoint.address());
            SourceReport { left_to: Some(other), ..report }
        }
    };
    run.progress.finished(&report);
    report
}

async fn go_over(run: Arc<Run>, source: Source, again: Again, turn: Ours) -> SourceReport {
    let pass = match open(run.clone(), source.clone()).await {
        Ok(pass) => Arc::new(pass),
        Err(mut report) => {
            turn.over(&mut report).await;
            return report;
        }
    };
    if let Some(other) = in_pieces(&pass).await {
        let mut report = SourceReport { left_to: Some(other), ..SourceReport::new(&source.name, source.endpoint.address()) };
        turn.over(&mut report).await;
        return report;
    }
    pass.lines.begin();
    let mut survey = match run.in_time(survey(&pass, &again)).await {
        Some(survey) => survey,
        None => {
            pass.lines.forget().await;
            Survey::stopped(&pass)
        }
    };
    let mut report = std::mem::take(&mut survey.report);
    watch::surveyed(&report);
    let (files, bytes) = (survey.transfers.len() as u64, survey.transfers.iter().filter_map(|transfer| transfer.file.size).sum());
    run.progress.planned(&source.name, files, bytes);
    work(&pass, survey, &mut report).await;
    if !run.cancel.is_cancelled() {
        // Of a run that is being stopped nobody waits for good-byes.
        pass.pool.close().await;
    }
    refusals::after(&pass).await;
    turn.over(&mut report).await;
    lines::close(&pass, &mut report).await;
    if let Err(error) = write_report(&run, &source, &report, run.started, &Condition::Always).await {
        report.problems.push(problem(&error));
    }
    report
}

/// The run whose pass is under way in pieces, if workers are at it. What a dead one left is closed first.
async fn in_pieces(pass: &Pass) -> Option<LeftTo> {
    let open = pass.ledger.under_way()?;
    match work::sweep::end_if_silent(&pass.run, &pass.source, open).await {
        Ok(true) => None,
        Ok(false) => Some(LeftTo { run: Some(open.run.clone()), host: None, since: Some(open.since) }),
        Err(error) => {
            let error = chain(&error);
            tracing::warn!(source = pass.source.name, error, "Warning: how the pass of another run stands cannot be read; the source is left to it.");
            Some(LeftTo { run: Some(open.run.clone()), host: None, since: Some(open.since) })
        }
    }
}

/// The pass with its ledger read, or the report of a source that nothing can be done about.
pub async fn open(run: Arc<Run>, source: Source) -> Result<Pass, SourceReport> {
    // A run that is being stopped still writes down what it has done, so the ledger does not see `cancel`.
    let ledger = Ledger::open(run.store.clone(), &source.name, &run.id, run.policy, tokio_util::sync::CancellationToken::new());
    open_with(run.clone(), source.clone(), ledger).await
}

/// The pass with what `ledger` comes to, or the report of a source that nothing can be done about.
pub async fn open_with(run: Arc<Run>, source: Source, ledger: impl Future<Output = Result<Ledger, LedgerError>>) -> Result<Pass, SourceReport> {
    let pool = Pool::new(source.endpoint.clone(), source.connections);
    let before = match refusals::before(&run, &source).await {
        Ok(before) => before,
        Err(problem) => {
            let mut report = SourceReport::new(&source.name, pool.address());
            report.problems.push(problem);
            report.unusable = true;
            run.progress.finished(&report);
            return Err(report);
        }
    };
    match ledger.await {
        Ok(ledger) => with_quarantine(run, source, pool, ledger, before).await,
        Err(error) => {
            let mut report = SourceReport::new(&source.name, pool.address());
            report.problems.push(problem(&error));
            report.unusable = true;
            run.progress.finished(&report);
            Err(report)
        }
    }
}

async fn with_quarantine(run: Arc<Run>, source: Source, pool: Arc<Pool>, ledger: Ledger, before: Before) -> Result<Pass, SourceReport> {
    match Quarantine::open(&run, &source, run.retry_quarantined).await {
        Ok(quarantine) => {
            let large = LargeFiles::over(source.connections);
            let lines = Lines::new(&run, &source.name);
            Ok(Pass { run, source, pool, ledger, quarantine, before, large, lines })
        }
        Err(error) => {
            let mut report = SourceReport::new(&source.name, pool.address());
            report.problems.push(problem(&error));
            report.unusable = true;
            Err(report)
        }
    }
}

async fn work(pass: &Arc<Pass>, survey: Survey, report: &mut SourceReport) {
    let mut begun = false;
    if !survey.transfers.is_empty() {
        begun = begin(pass, report).await;
        if !begun {
            return give_up(pass, survey.transfers.iter().chain(&survey.unsettled), report).await;
        }
    }
    transfer_all(pass, survey.transfers, |one, outcome, _| tell(pass, &one, outcome, report)).await;
    finish_after(pass, survey.after, report).await;
    for (file, known) in survey.relisted {
        note(report, pass.ledger.ingested(&file, &known, 0, 0).await);
    }
    let settled = second_look(pass, survey.unsettled, survey.began, report).await;
    if !settled.is_empty() {
        begun = begun || begin(pass, report).await;
        if !begun {
            return give_up(pass, settled.iter(), report).await;
        }
        transfer_all(pass, settled, |one, outcome, _| tell(pass, &one, outcome, report)).await;
    }
    if begun {
        note(report, pass.ledger.end().await);
    }
}

/// Without a ledger nothing may be committed.
pub async fn begin(pass: &Pass, report: &mut SourceReport) -> bool {
    let result = pass.ledger.begin(time::OffsetDateTime::now_utc()).await;
    let begun = result.is_ok();
    note(report, result);
    begun
}

/// Adds what went wrong to the report, if anything did.
pub fn note<E: Failure>(report: &mut SourceReport, result: Result<(), E>) {
    if let Err(error) = result {
        report.problems.push(problem(&error));
    }
}

/// None of these was begun, because the ledger cannot be written.
pub async fn give_up<'a>(pass: &Pass, transfers: impl Iterator<Item = &'a Transfer>, report: &mut SourceReport) {
    for transfer in transfers {
        let cause = Problem::new(Class::Ledger, "its ledger cannot be written, so it was not begun");
        let outcome = Outcome::Failed(cause);
        watch::file(&report.source, &transfer.file, &outcome);
        lines::note(pass, &transfer.file, Some(transfer.why), &outcome);
        report.add(&transfer.file.path, outcome);
        pass.lines.make_room().await;
    }
}

/// Tells the log, the manifest and the report what became of a file.
pub fn tell(pass: &Pass, one: &Transfer, outcome: Outcome, report: &mut SourceReport) {
    log(pass, one, &outcome);
    report.add(&one.file.path, outcome);
}

/// Brings files over, some at once. `each` is told of each what became of it, and whether it was begun at all.
pub async fn transfer_all(pass: &Arc<Pass>, transfers: Vec<Transfer>, mut each: impl FnMut(Transfer, Outcome, bool)) {
    let work = |(one, batch): (Transfer, Option<Arc<Batch>>)| {
        let pass = pass.clone();
        async move { admitted(&pass, one, batch.as_deref()).await }
    };
    // While the store takes what one file brought, its login serves another.
    let parallel = (pass.parallel() + pass.source.connections).min(pass.run.limits.transfers);
    side_by_side(in_batches(pass, transfers), parallel, work, |(one, _), ended| {
        let panicked = || (Outcome::Failed(Problem::new(Class::Internal, "its transfer ended in a panic; the log has its trace")), true);
        let (outcome, begun) = ended.unwrap_or_else(panicked);
        pass.run.progress.done(&pass.source.name, &one.file.path, &outcome);
        each(one, outcome, begun);
    })
    .await;
}

/// Files wait here for their turn among all sources; a run that is being stopped begins none. What became of it, and
/// whether it was begun.
async fn admitted(pass: &Pass, one: Transfer, batch: Option<&Batch>) -> (Outcome, bool) {
    pass.lines.make_room().await;
    let turn = tokio::select! {
        biased;
        turn = pass.run.transfers.acquire() => turn,
        () = pass.run.cancel.cancelled() => return (Outcome::Deferred(Defer::Interrupted), false),
    };
    if turn.is_err() || pass.run.cancel.is_cancelled() {
        return (Outcome::Deferred(Defer::Interrupted), false);
    }
    // What cannot be recorded would be read again by the next run.
    if pass.ledger.is_closed() {
        return (Outcome::Failed(Problem::new(Class::Ledger, "its ledger cannot be written any more, so it was not begun")), false);
    }
    let described = async {
        match batch {
            Some(batch) => batch.describe(pass, one).await,
            None => one,
        }
    };
    tokio::select! {
        biased;
        outcome = async { transfer(pass, &described.await).await } => (outcome, true),
        () = out_of_time(pass) => (Outcome::Deferred(Defer::Interrupted), true),
    }
}

/// How long a commit or a record that is under way may take once the run is being stopped. Whoever stops
/// us with SIGTERM usually waits ten seconds before it kills.
const LAST_GRACE: Duration = Duration::from_secs(8);

/// Ends when a run that is being stopped has had its grace. What is given up then is in the state
/// that a kill would have left it in, which is always a safe one.
async fn out_of_time(pass: &Pass) {
    pass.run.cancel.cancelled().await;
    tokio::time::sleep(LAST_GRACE).await;
}

fn log(pass: &Pass, one: &Transfer, outcome: &Outcome) {
    let (source, path) = (&pass.source.name, &one.file.path);
    watch::file(source, &one.file, outcome);
    lines::note(pass, &one.file, Some(one.why), outcome);
    match outcome {
        Outcome::Failed(problem) => {
            tracing::error!(source, %path, class = %problem.class, error = problem.message, hint = problem.hint, "A file did not arrive.");
        }
        Outcome::Ingested(ingested) => {
            tracing::debug!(source, %path, bytes = ingested.bytes, stored = ingested.stored, identical = ingested.identical, "A file is stored.");
        }
        Outcome::Deferred(defer) => tracing::debug!(source, %path, reason = defer.word(), "A file is left for a later run."),
        Outcome::Skipped(skip) => tracing::debug!(source, %path, reason = skip.word(), "A file is left alone."),
        Outcome::Unchanged => {}
    }
}

/// Does what earlier runs left to do at the source.
pub async fn finish_after(pass: &Arc<Pass>, files: Vec<(RemotePath, Known)>, report: &mut SourceReport) {
    let work = |(path, known): (RemotePath, Known)| {
        let pass = pass.clone();
        async move { if pass.run.cancel.is_cancelled() { Acted::Done } else { after::finish(&pass, &path, &known).await } }
    };
    side_by_side(files, pass.parallel(), work, |(path, _), acted| match acted {
        Some(Acted::Done) => {}
        Some(Acted::Stays(note)) => report.add_note(&path, &note),
        Some(Acted::Failed(problem)) => report.add_after_failed(&path, &problem),
        None => report.add_after_failed(&path, &Problem::new(Class::Internal, "it ended in a panic; the log has its trace")),
    })
    .await;
}

/// Waits until young files have had time to settle, and looks at them again: those that are as they were
/// come back, the others are left for a later run, which is told what this one saw.
pub async fn second_look(
    pass: &Arc<Pass>,
    unsettled: Vec<Transfer>,
    began: (time::OffsetDateTime, Instant),
    report: &mut SourceReport,
) -> Vec<Transfer> {
    if unsettled.is_empty() {
        return Vec::new();
    }
    wait(pass, unsettled.len(), began.1 + pass.source.stable_for).await;
    let (mut settled, mut deferred) = (Vec::new(), Vec::new());
    ask_all(
        pass,
        unsettled,
        |one| &one.file,
        |one, answer| match seen_again(&one, answer, began.0) {
            None => settled.push(one),
            Some((outcome, seen)) => {
                log(pass, &one, &outcome);
                deferred.extend(seen);
                report.add(&one.file.path, outcome);
            }
        },
    )
    .await;
    for seen in deferred {
        note(report, pass.ledger.note_seen(&seen).await);
    }
    settled
}

/// What becomes of a young file, and what the next run should know of it; `None` if it has settled.
fn seen_again(one: &Transfer, answer: Answer, began: time::OffsetDateTime) -> Option<(Outcome, Option<Seen>)> {
    match answer {
        Answer::Told(Some(now)) if is_same(&one.file, &now) => None,
        Answer::Told(Some(now)) => {
            // The next listing will show a time as this one did, exact or coarse.
            let modified = if is_coarse(&one.file) { one.file.modified } else { now.modified };
            let seen = Seen { file: RemoteFile { modified, ..now }, at: time::OffsetDateTime::now_utc() };
            Some((Outcome::Deferred(Defer::Unsettled), Some(seen)))
        }
        Answer::Told(None) => Some((Outcome::Skipped(Skip::Vanished), None)),
        Answer::Failed(error) => Some((Outcome::Failed(problem(&error)), None)),
        Answer::NotAsked => Some((Outcome::Deferred(Defer::Interrupted), Some(Seen { file: one.file.clone(), at: began }))),
        Answer::Panicked => Some((Outcome::Failed(Problem::new(Class::Internal, "looking at it again ended in a panic")), None)),
    }
}

/// A listing's coarse time has no zone that we know: there only the size tells.
fn is_same(listed: &RemoteFile, now: &RemoteFile) -> bool {
    if is_coarse(listed) { listed.size.is_none() || listed.size == now.size } else { now.unchanged_since(listed) }
}

fn is_coarse(listed: &RemoteFile) -> bool {
    listed.modified.is_none_or(|modified| modified.precision > crate::model::Precision::Second)
}

async fn wait(pass: &Pass, files: usize, until: Instant) {
    let left = until.saturating_duration_since(Instant::now());
    if left > Duration::ZERO {
        pass.run.progress.waiting(&pass.source.name, files, left.as_secs());
        tracing::info!(source = pass.source.name, files, seconds = left.as_secs(), "Waiting for young files to settle.");
    }
    tokio::select! {
        biased;
        () = tokio::time::sleep_until(until) => {}
        () = pass.run.cancel.cancelled() => {}
    }
}

/// A pass's report as it is kept.
#[derive(serde::Serialize)]
struct StoredReport<'a> {
    run: &'a str,
    #[serde(with = "time::serde::rfc3339")]
    started: time::OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    ended: time::OffsetDateTime,
    status: Status,
    #[serde(flatten)]
    report: &'a SourceReport,
}

/// `value` with every text concealed.
fn concealed(source: &Source, value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::String(text) => Value::String(conceal(source, &text)),
        Value::Array(list) => list.into_iter().map(|value| concealed(source, value)).collect(),
        Value::Object(object) => object.into_iter().map(|(name, value)| (name, concealed(source, value))).collect(),
        other => other,
    }
}

/// Writes a pass's report, beside the ledger.
pub async fn write_report(
    run: &Run,
    source: &Source,
    report: &SourceReport,
    started: time::OffsetDateTime,
    condition: &Condition,
) -> Result<(), StoreError> {
    let name = lines::beside_report(&source.name, &run.id, "json");
    let stored = StoredReport { run: &run.id, started, ended: time::OffsetDateTime::now_utc(), status: report.status(), report };
    let value = serde_json::to_value(&stored).expect("a report holds nothing that JSON cannot");
    let bytes = Bytes::from(serde_json::to_vec_pretty(&concealed(source, value)).expect("a report holds nothing that JSON cannot"));
    let properties = Properties { content_type: "application/json".into(), md5: Md5::digest(&bytes).into(), metadata: [].into() };
    let cancel = tokio_util::sync::CancellationToken::new();
    let once = |_| run.store.put(&name, bytes.clone(), &properties, condition);
    failpoint!("before-report", StoreError::new("writing", name.as_str(), "failpoint", crate::store::contract::StoreKind::Rejected, "failpoint"));
    retry(&run.policy, &cancel, "writing a report", once).await.map(|_| ())
}
