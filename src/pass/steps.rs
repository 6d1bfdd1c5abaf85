//! The work of one pass over one source: transfers, after-actions, the report.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::OptionFuture;

use crate::failpoint::safeguard_off;
use crate::ledger::error::LedgerError;
use crate::ledger::{BlobPlace, Ledger};
use crate::model::RemotePath;
use crate::model::failure::{Class, Failure};
use crate::pass::file_log;
use crate::pass::found_work::Survey;
use crate::pass::given_names;
use crate::pass::gone;
use crate::pass::judging;
use crate::pass::late;
use crate::pass::login_refusal;
use crate::pass::look_back;
use crate::pass::renamed;
use crate::pass::second_look;
use crate::pass::source_lock::SourceLock;
use crate::pass::stored_report::write_report;
use crate::pass::waiting_folders;
use crate::report::{Defer, Outcome, Problem, SourceReport, problem};
use crate::rules::plan::Why;
use crate::rules::plan::known::Known;
use crate::runtime::parallel::{TurnInLine, Turns, side_by_side};
use crate::source::pool::Pool;
use crate::state::paths::StatePaths;
use crate::store::contract::Condition;
use crate::transfer::after_action::{self, Acted};
use crate::transfer::alike;
use crate::transfer::alike_folders::AlikeFolders;
use crate::transfer::alike_names::AlikeNames;
use crate::transfer::batch_stat::{Batch, in_batches};
use crate::transfer::budget::Allowance;
use crate::transfer::context::{LargeFiles, Pass, Restless, Run};
use crate::transfer::events;
use crate::transfer::leave_folders::leave_all;
use crate::transfer::leaving::Leaving;
use crate::transfer::member_slips::MemberSlips;
use crate::transfer::missing::{Absences, Absent};
use crate::transfer::permits::SourcePermits;
use crate::transfer::quarantined::Quarantine;
use crate::transfer::recheck::transfer_or_recheck;
use crate::transfer::request::Transfer;
use crate::transfer::run_manifest::RunManifest;
use crate::transfer::settings::Source;
use crate::transfer::waiting::WaitingFolders;

/// Does what there is to do, under the lease `ours`.
pub(crate) async fn work_on(
    pass: &Arc<Pass>,
    mut survey: Survey,
    ours: SourceLock,
) -> SourceReport {
    let (run, source) = (&pass.run, &pass.source);
    pass.lines.begin();
    let mut report = std::mem::take(&mut survey.report);
    events::surveyed(&report);
    let sizes = survey.transfers.iter().filter_map(|transfer| transfer.file.size);
    let bytes = sizes.fold(0, u64::saturating_add);
    run.progress.planned(&source.name, survey.transfers.len() as u64, bytes);
    let ((), quarantine) = tokio::join!(run.announce(), pass.quarantine.load(&run.state, source));
    match quarantine {
        Ok(()) => work(pass, survey, &mut report).await,
        Err(error) => {
            let cause = problem(&error);
            give_up(
                pass,
                survey.transfers.iter().chain(survey.unsettled.iter()),
                &cause,
                &mut report,
            )
            .await;
            report.problems.push(cause);
        }
    }
    settle_missing(pass, &mut report).await;
    pass.member_slips.tell(&mut report);
    // Good-byes, the lease and the report do not wait for each other.
    let told = async {
        login_refusal::after(pass).await;
        file_log::close(pass, &mut report).await;
        report.facts.journals = pass.ledger.reached();
        judging::after_pass(run, source, run.started, &mut report).await;
        let held = ours.note_loss(&mut report).await;
        let written = write_report(run, source, &mut report, run.started, &Condition::Always);
        let (written, ()) = tokio::join!(written, held.given_back());
        written
    };
    // A run that is being stopped does not wait for good-byes.
    let stays = !run.cancel.is_cancelled();
    let good_byes: OptionFuture<_> = stays.then(|| pass.pool.close()).into();
    if let Err(error) = tokio::join!(told, good_byes).0 {
        report.problems.push(problem(&error));
    }
    report
}

/// The pass with its ledger read, or the report of a source that nothing can be done about.
pub(crate) async fn open(run: Arc<Run>, source: Source) -> Result<Pass, SourceReport> {
    // A run that is being stopped still writes down what it has done, so the ledger does not see
    // `cancel`.
    let ledger =
        Ledger::open_cached(run.store.clone(), &source.name, &run.id, run.policy, &run.ledgers);
    open_with(run.clone(), source.clone(), ledger).await
}

/// Why nothing may be done at `source`, by its settings alone.
pub(crate) fn misconfigured(source: &Source) -> Option<String> {
    let shared = source.shared_with.as_ref().map(|other| {
        format!(
            "the source `{other}` can see the same files, and this one removes them (`after`): one \
            would take them from the other. Give the two `include` patterns with different \
            beginnings, or both `after = \"keep\"`"
        )
    });
    source.unusable.clone().or(shared)
}

/// The logins of a pass: those of all sources of the run that log in in the same way, if there are
/// more of them.
fn pool(run: &Run, source: &Source) -> Arc<Pool> {
    match (&source.login, source.within()) {
        (Some(login), Some(cap)) => {
            run.pools.of((login, source.connections), &source.endpoint, cap)
        }
        (_, within) => Pool::within(source.endpoint.clone(), source.connections, within),
    }
}

/// The pass with what `ledger` comes to, or the report of a source that nothing can be done about.
pub(crate) async fn open_with(
    run: Arc<Run>,
    source: Source,
    ledger: impl Future<Output = Result<Ledger, LedgerError>>,
) -> Result<Pass, SourceReport> {
    let pool = pool(&run, &source);
    let unusable = |problem: Problem, reached: Option<time::OffsetDateTime>| {
        let mut report = SourceReport::new(&source.name, pool.address());
        report.looked_back_to = reached;
        report.problems.push(problem);
        report.unusable = true;
        run.progress.finished(&report);
        report
    };
    if let Some(text) = misconfigured(&source) {
        return Err(unusable(Problem::new(Class::Config, text), None));
    }
    let known = async {
        let looks_back = look_back::of(&run, &source).await.map_err(|problem| (problem, None))?;
        // What is not looked at now is still to be made up for.
        let reached = look_back::reached(&source, &looks_back.0);
        let before = login_refusal::before(&run, &source).await;
        Ok((before.map_err(|problem| (problem, reached))?, looks_back, reached))
    };
    let (known, ledger) = tokio::join!(known, ledger);
    let (before, (look_back, patterns), reached) =
        known.map_err(|(problem, reached)| unusable(problem, reached))?;
    match ledger {
        Ok(ledger) => {
            let permits = SourcePermits::new(source.parallel(), source.connections);
            let large = LargeFiles::over(source.connections);
            let manifest = StatePaths::of(&source.name).manifest(&run.id);
            let lines = RunManifest::new(run.store.clone(), run.policy, manifest);
            let quarantine = Quarantine::new(run.retry_quarantined);
            let (recheck, restless) =
                (Allowance::new(source.recheck), Restless::known(ledger.is_restless()));
            let place = BlobPlace::of(run.store.as_ref());
            let ledger = ledger.under(source.naming.texts()).toward(place);
            let (leaving, missing) = (Leaving::default(), Absences::default());
            let mut source = source;
            source.patterns = patterns.unwrap_or(source.patterns);
            Ok(Pass {
                member_slips: MemberSlips::of(&source),
                run,
                source,
                pool,
                ledger,
                quarantine,
                before,
                permits,
                large,
                lines,
                recheck,
                leaving,
                missing,
                restless,
                look_back,
                left_behind: Mutex::default(),
                alike: AlikeNames::default(),
                alike_folders: AlikeFolders::default(),
                waiting: WaitingFolders::default(),
            })
        }
        Err(error) => Err(unusable(problem(&error), reached)),
    }
}

async fn work(pass: &Arc<Pass>, mut survey: Survey, report: &mut SourceReport) {
    std::mem::take(&mut survey.still_shown).forget_others(pass, report).await;
    given_names::give_back(pass, &mut survey, report).await;
    let (mut begun, other_names, mut others) = (false, renamed::told(pass), Vec::new());
    if !survey.transfers.is_empty() {
        // Files are read meanwhile; what is committed waits for it.
        let beginning = pass.ledger.begin(time::OffsetDateTime::now_utc());
        let transfers = transfer_all(pass, survey.transfers, |one, outcome, _| {
            if is_another_now(pass, &one, &outcome) {
                others.push(Transfer { rests: true, ..one });
            } else {
                tell(pass, &one, outcome, report);
            }
        });
        let (result, ()) = tokio::join!(beginning, transfers);
        begun = result.is_ok();
        note(report, result);
        if !begun {
            return give_up(pass, survey.unsettled.iter(), &not_writable(), report).await;
        }
    }
    // What leaves is recorded last: a file that comes back must be known to have left.
    for (file, known) in survey.relisted {
        let known = alike::uncompared(pass, &file.path, known);
        note(report, pass.ledger.ingested(&file, &known, 0, 0).await);
    }
    finish_after_actions(pass, survey.after, report).await;
    let read = (time::OffsetDateTime::now_utc(), tokio::time::Instant::now());
    let young = survey.unsettled.into_iter().collect();
    let mut settled = second_look::second_look(pass, young, survey.began, report).await;
    settled.append(&mut second_look::second_look(pass, others, read, report).await);
    if !settled.is_empty() {
        begun = begun || begin(pass, report).await;
        if !begun {
            return give_up(pass, settled.iter(), &not_writable(), report).await;
        }
        transfer_all(pass, settled, |one, outcome, _| tell(pass, &one, outcome, report)).await;
    }
    leave_all(pass, report).await;
    alike::tell(pass, report).await;
    late::left_behind(pass, report).await;
    late::over_limit(pass, report).await;
    settle_missing(pass, report).await;
    waiting_folders::tell(pass, report).await;
    if let Some(problem) = pass.run.store_health.is_given_up() {
        report.add_problem(problem);
    }
    if begun {
        other_names.into_iter().for_each(|told| report.add_remark(told));
    }
    // A run that died before it could tell is told of by this one, and is over with it.
    if begun || (pass.ledger.unclean() && begin(pass, report).await) {
        end(pass, report).await;
    }
}

/// Whether a file that was read to be compared is another one by now, and only has to rest.
fn is_another_now(pass: &Pass, one: &Transfer, outcome: &Outcome) -> bool {
    one.why == Why::Recheck
        && *outcome == Outcome::Deferred(Defer::Unsettled)
        && !pass.run.cancel.is_cancelled()
        && pass.missing.take_resting_of(&one.file.path).is_some()
}

/// Notes that this run ended, if its manifest tells all that it recorded. Else the next run tells
/// it, as if this one had died.
async fn end(pass: &Pass, report: &mut SourceReport) {
    if safeguard_off!("lines-before-end") || pass.ledger.is_closed() || pass.tells_all().await {
        note(report, pass.ledger.end().await);
    }
}

/// Decides about what was not there when it was asked for.
async fn settle_missing(pass: &Arc<Pass>, report: &mut SourceReport) {
    let done = |settled: &gone::Settled| {
        pass.run.progress.done(&pass.source.name, &settled.file.path, &settled.outcome)
    };
    gone::settle(pass, report, done).await;
}

/// Without a ledger nothing may be committed.
pub(crate) async fn begin(pass: &Pass, report: &mut SourceReport) -> bool {
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

/// Why files are not begun whose ledger cannot be written.
pub(crate) fn not_writable() -> Problem {
    Problem::new(Class::Ledger, "its ledger cannot be written, so it was not begun")
}

/// None of these was begun, because of `cause`.
pub(crate) async fn give_up<'a>(
    pass: &Pass,
    transfers: impl Iterator<Item = &'a Transfer>,
    cause: &Problem,
    report: &mut SourceReport,
) {
    for transfer in transfers {
        let outcome = Outcome::Failed(cause.clone());
        events::file(&report.source, &transfer.file, &outcome);
        file_log::note(pass, &transfer.file, Some(transfer.why), &outcome);
        report.add(&transfer.file.path, outcome);
        pass.lines.make_room().await;
    }
}

/// Tells the log, the manifest and the report what became of a file.
pub(crate) fn tell(pass: &Pass, one: &Transfer, outcome: Outcome, report: &mut SourceReport) {
    file_log::log(pass, one, &outcome);
    late::leave_behind(pass, &one.file, &outcome);
    report.add(&one.file.path, outcome);
}

/// Brings files over, some at once. `each` is told of each what became of it, and whether it was
/// begun at all. Those that are not there are left to [`gone::settle`].
pub(crate) async fn transfer_all(
    pass: &Arc<Pass>,
    transfers: impl IntoIterator<Item = Transfer>,
    mut each: impl FnMut(Transfer, Outcome, bool),
) {
    // Tasks wait for their permits in any order, unless the source says in which.
    let turns = pass.source.order.map(|_| Arc::new(Turns::default()));
    let work = |(number, (one, batch)): (usize, (Transfer, Option<Arc<Batch>>))| {
        let (pass, turns) = (pass.clone(), turns.clone());
        async move {
            let turn = turns.as_ref().map(|turns| turns.of(number));
            admitted(&pass, one, batch.as_deref(), turn).await
        }
    };
    let in_hand = pass.run.permits.most_in_hand(&pass.permits);
    let items = in_batches(pass, transfers).enumerate();
    side_by_side(items, in_hand, work, |(_, (one, _)), ended| {
        let panicked = || {
            (
                Outcome::Failed(Problem::new(
                    Class::Internal,
                    "its transfer ended in a panic; the log has its trace",
                )),
                true,
            )
        };
        let (outcome, begun) = ended.unwrap_or_else(panicked);
        if outcome == Outcome::Deferred(Defer::Unreachable) {
            return pass.missing.add(Absent::File(one.file, Some(one.why)));
        }
        if outcome == Outcome::Deferred(Defer::Changed) {
            pass.missing.moving(one.file.clone());
        }
        pass.run.store_health.see(&outcome);
        pass.run.progress.done(&pass.source.name, &one.file.path, &outcome);
        each(one, outcome, begun);
    })
    .await;
}

/// Files wait here for their turn among all sources; a run that is being stopped begins none. What
/// became of it, and whether it was begun.
async fn admitted(
    pass: &Pass,
    one: Transfer,
    batch: Option<&Batch>,
    turn: Option<TurnInLine<'_>>,
) -> (Outcome, bool) {
    pass.lines.make_room().await;
    if let Some(turn) = &turn {
        turn.comes().await;
    }
    let admission = pass.admission().await;
    let Some(admission) = admission.filter(|_| pass.run.store_health.is_given_up().is_none())
    else {
        return (Outcome::Deferred(Defer::Interrupted), false);
    };
    drop(turn);
    // What cannot be recorded would be read again by the next run.
    if pass.ledger.is_closed() {
        return (
            Outcome::Failed(Problem::new(
                Class::Ledger,
                "its ledger cannot be written any more, so it was not begun",
            )),
            false,
        );
    }
    let described = async {
        match batch {
            Some(batch) => batch.describe(pass, one).await,
            None => one,
        }
    };
    // Those that wait for their turn are many, and need no memory for what they will do then.
    let brought = Box::pin(async { transfer_or_recheck(pass, &described.await, admission).await });
    tokio::select! {
        biased;
        outcome = brought => (outcome, true),
        () = out_of_time(pass) => (Outcome::Deferred(Defer::Interrupted), true),
    }
}

/// How long a commit or a record that is under way may take once the run is being stopped. The run
/// that stops us with SIGTERM usually waits ten seconds before it kills.
const LAST_GRACE: Duration = Duration::from_secs(8);

/// Ends when a run that is being stopped has had its grace. What is given up then is in the state
/// that a kill would have left it in, which is always a safe one.
async fn out_of_time(pass: &Pass) {
    pass.run.cancel.cancelled().await;
    tokio::time::sleep(LAST_GRACE).await;
}

/// Does what earlier runs left to do at the source.
pub(crate) async fn finish_after_actions(
    pass: &Arc<Pass>,
    files: Vec<(RemotePath, Known)>,
    report: &mut SourceReport,
) {
    let work = |(path, known): (RemotePath, Known)| {
        let pass = pass.clone();
        async move {
            if pass.run.cancel.is_cancelled() {
                Acted::Done
            } else {
                after_action::finish(&pass, &path, &known).await
            }
        }
    };
    let panicked = || {
        Acted::Failed(Problem::new(Class::Internal, "it ended in a panic; the log has its trace"))
    };
    side_by_side(files, pass.parallel(), work, |(path, _), acted| {
        after_action::tell(report, &path, acted.unwrap_or_else(panicked))
    })
    .await;
}
