//! Plans a pass: lists the source, decides, cuts the work into pieces, opens the pass, sends the
//! first messages.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use time::OffsetDateTime;

use super::cutting::{cut, lanes};
use super::error::WorkError;
use super::finalize;
use super::message::{PieceId, Task};
use super::names::{JobFolder, JobKind, passes};
use super::outcome::Came;
use super::pass_store::{PassStore, metadata};
use super::piece::{Header, Item, PiecePlan, SCHEMA, to_bytes};
use super::twin_folders::TwinFolders;
use crate::failpoint::{failpoint, safeguard_off};
use crate::history::run_id::run_id;
use crate::ledger::{BlobPlace, OpenPass};
use crate::model::number_of;
use crate::model::{BlobName, RemotePath, chain, hex};
use crate::pass::found_work::Survey;
use crate::pass::look::{LookOutcome, Pieces, left, left_to, look_first};
use crate::pass::{
    given_names, gone, judging, late, login_refusal, look_back, recovery, renamed, share, steps,
    waiting_folders,
};
use crate::report::SourceReport;
use crate::runtime::random;
use crate::store::contract::{BlobInfo, StoreError};
use crate::transfer::alike;
use crate::transfer::context::Pass;
use crate::transfer::events;
use crate::transfer::leave_folders::leave_all;
use crate::transfer::request::Transfer;
use crate::transfer::settings::Source;
use crate::transfer::transfers::Transfers;

/// Logins that a listing is made with, at most.
const LOGINS: usize = 4;
/// Blobs that are written at once.
const WRITTEN_AT_ONCE: usize = 16;

/// Plans the pass of this run, unless it is planned, there is nothing to do, or another run is at
/// the source.
pub(crate) async fn plan(pass_store: &PassStore) -> Result<Came, WorkError> {
    let source = Source {
        connections: pass_store.source.connections.min(LOGINS),
        ..pass_store.source.clone()
    };
    let looked = look_first(&pass_store.run, &source, &None, Pieces::Tell).await;
    share::write_down(&pass_store.run).await;
    let (pass, survey, ours) = match looked {
        LookOutcome::UnderWay(open) if open.run == pass_store.run.id => {
            return send_again(pass_store, &open).await;
        }
        LookOutcome::UnderWay(open) => {
            return Ok(closed(pass_store, left(&source, left_to(&open))).await);
        }
        LookOutcome::Ended(report) => return Ok(closed(pass_store, *report).await),
        LookOutcome::Work(pass, survey, ours) => (pass, *survey, ours),
    };
    let came = with_work(pass_store, &pass, survey).await;
    // A lease that was lost costs work that is done twice: there is no report of a plan to tell
    // that in.
    ours.over(&mut SourceReport::default()).await;
    came
}

/// The pass is over without a piece. The record of the run tells of it.
async fn closed(pass_store: &PassStore, mut report: SourceReport) -> Came {
    let began = pass_store.run.started;
    judging::after_pass(&pass_store.run, &pass_store.source, began, &mut report).await;
    pass_store.tell(&report).await;
    Came::Closed(Box::new(report))
}

/// The plan stands, and the worker that made it may not have got as far as sending its messages.
async fn send_again(pass_store: &PassStore, open: &OpenPass) -> Result<Came, WorkError> {
    let folder = pass_store.folder(&open.id)?;
    let Some(plan) = pass_store.plan(&folder).await? else { return Ok(Came::Over) };
    if let Some(came) = given_up(pass_store, open, &folder).await? {
        return Ok(came);
    }
    let state = pass_store.state(&folder).await?;
    for number in 0..plan.lanes {
        let piece = PieceId::first(number);
        if !state.was_begun(piece) {
            pass_store.send(Task::Piece { pass: open.id.clone(), piece }, Duration::ZERO).await?;
        }
    }
    Ok(Came::Done(format!(
        "`{}` is planned already: {}",
        pass_store.source.name,
        number_of(plan.pieces, "piece")
    )))
}

/// `None` if the pass `open`, which the ledger's head names, is to be done. A message may come
/// twice: if the pass of this run was over before this one was opened, nothing of this one is done,
/// and the next run takes its files.
async fn given_up(
    pass_store: &PassStore,
    open: &OpenPass,
    folder: &JobFolder,
) -> Result<Option<Came>, WorkError> {
    if !pass_store.is_over().await? {
        return Ok(None);
    }
    finalize::finish(pass_store, &open.id, folder).await?;
    Ok(Some(Came::Over))
}

async fn with_work(
    pass_store: &PassStore,
    pass: &Arc<Pass>,
    mut survey: Survey,
) -> Result<Came, WorkError> {
    if pass_store.is_over().await? {
        return Ok(Came::Over);
    }
    pass.ledger.fold_if_due().await?;
    let mut report = std::mem::take(&mut survey.report);
    events::surveyed(&report);
    given_names::give_back(pass, &mut survey, &mut report).await;
    // What leaves is recorded last: a file that comes back must be known to have left.
    for (file, known) in std::mem::take(&mut survey.relisted) {
        let known = alike::uncompared(pass, &file.path, known);
        steps::note(&mut report, pass.ledger.ingested(&file, &known, 0, 0).await);
    }
    steps::finish_after_actions(pass, std::mem::take(&mut survey.after), &mut report).await;
    std::mem::take(&mut survey.still_shown).forget_others(pass, &mut report).await;
    leave_all(pass, &mut report).await;
    let of_pieces = alike_of_pieces(pass, &survey);
    alike::tell_but(pass, &mut report, &of_pieces).await;
    let done = |settled: &gone::Settled| {
        pass_store.run.progress.done(&pass_store.source.name, &settled.file.path, &settled.outcome)
    };
    gone::settle(pass, &mut report, done).await;
    if !pass_store.run.cancel.is_cancelled() {
        pass.pool.close().await;
    }
    login_refusal::after(pass).await;
    if survey.transfers.is_empty() && survey.unsettled.is_empty() {
        late::over_limit(pass, &mut report).await;
        if report.recovered > 0 {
            recovery::close(pass, &mut report).await;
            pass_store.report(&mut report, survey.began.0).await?;
        }
        return Ok(closed(pass_store, report).await);
    }
    let twin_folders = TwinFolders::of(pass, &of_pieces).await?;
    look_back::note(pass).await;
    open(pass_store, pass, survey, (report, twin_folders)).await
}

/// Files that pieces bring, where some have alike names.
fn alike_of_pieces(pass: &Pass, survey: &Survey) -> HashSet<RemotePath> {
    if pass.alike.all().is_empty() && pass.alike_folders.all().is_empty() {
        return HashSet::new();
    }
    let all = survey.transfers.iter().chain(survey.unsettled.iter());
    all.map(|one| one.file.path.clone()).collect()
}

/// A piece before it has a journal.
struct Cut {
    items: Vec<Item>,
    young_since: Option<OffsetDateTime>,
}

/// Puts the second one of each pair of alike names behind the first one: the piece that has both
/// tells of both.
fn pairs_together(mut items: Vec<Item>) -> Vec<Item> {
    let places = items.iter().enumerate();
    let places: HashMap<RemotePath, usize> =
        places.map(|(at, item)| (item.transfer.file.path.clone(), at)).collect();
    items.sort_by_cached_key(|item| {
        let other = item.alike.as_ref().and_then(|other| places.get(&other.path));
        let own = places.get(&item.transfer.file.path);
        own.into_iter().chain(other).min().copied()
    });
    items
}

async fn cut_all(
    pass_store: &PassStore,
    pass: &Pass,
    survey: &mut Survey,
) -> Result<Vec<Cut>, WorkError> {
    let mut others = HashMap::new();
    for one in survey.transfers.iter().chain(survey.unsettled.iter()) {
        if let Some(other) = alike::other_of(pass, &one.file.path).await? {
            others.insert(one.file.path.clone(), other);
        }
    }
    let item = |transfer: Transfer| {
        let path = &transfer.file.path;
        let seen = pass.ledger.seen(path).filter(|_| !safeguard_off!("sightings-in-pieces"));
        let alike = others.get(path).cloned();
        Item { transfer, interrupted: 0, seen, alike }
    };
    let items = |transfers: Transfers| {
        let items = transfers.into_iter().map(item).collect();
        if others.is_empty() { items } else { pairs_together(items) }
    };
    let size = |item: &Item| item.transfer.file.size.unwrap_or(0);
    let settled = cut(items(std::mem::take(&mut survey.transfers)), size, pass_store.sizes);
    // Young files come last: by then most of them have rested.
    let young = cut(items(std::mem::take(&mut survey.unsettled)), size, pass_store.sizes);
    let settled = settled.into_iter().map(|items| Cut { items, young_since: None });
    let young = young.into_iter();
    let young = young.map(|items| Cut { items, young_since: Some(survey.began.0) });
    Ok(settled.chain(young).collect())
}

/// Writes the pieces, then the plan, then names both in the ledger's head: from then on the pass is
/// open. Whatever is written before counts for nothing, so a plan that was cut short is made anew.
async fn open(
    pass_store: &PassStore,
    pass: &Pass,
    mut survey: Survey,
    (mut report, twin_folders): (SourceReport, Vec<TwinFolders>),
) -> Result<Came, WorkError> {
    renamed::told(pass).into_iter().for_each(|told| report.add_remark(told));
    let cuts = cut_all(pass_store, pass, &mut survey).await?;
    let (lanes, logins) = lanes(cuts.len(), pass_store.source.connections);
    let all = || cuts.iter().flat_map(|cut| &cut.items);
    let files = all().count() as u64;
    let bytes = all().filter_map(|item| item.transfer.file.size).fold(0, u64::saturating_add);
    pass_store.run.progress.planned(&pass_store.source.name, files, bytes);
    let open = OpenPass {
        id: new_pass(&pass_store.run.id),
        run: pass_store.run.id.clone(),
        since: survey.began.0,
    };
    let folder = pass_store.folder(&open.id)?;
    let journals = pass.ledger.make_journals(cuts.len()).await?;
    failpoint!("journals-made", WorkError::Lost);
    let plan = PiecePlan {
        schema: SCHEMA,
        run: pass_store.run.id.clone(),
        pass: open.id.clone(),
        source: pass_store.source.name.clone(),
        began: survey.began.0,
        pieces: u32::try_from(cuts.len()).unwrap_or(u32::MAX),
        lanes,
        logins,
        unclean: pass.ledger.unclean(),
        recovered: pass.ledger.recovered(),
        sightings: pass.ledger.sightings(),
        waiting_folders: waiting_folders::known(&pass.ledger),
        restless: pass.ledger.is_restless(),
        place: Some(BlobPlace::of(pass_store.run.store.as_ref())),
        over_limit_since: late::over_limit_since(&pass.ledger, &pass.source),
        twin_folders,
        files,
        bytes,
        surveyed: report,
    };
    write_pieces(pass_store, &folder, cuts, &journals).await?;
    pass_store.write(&folder.blob(JobKind::Lines), pass.lines.take().into()).await?;
    failpoint!("pieces-written", WorkError::Lost);
    pass_store
        .write_json(
            &folder.blob(JobKind::Plan),
            &plan,
            metadata([("pieces", plan.pieces.to_string())]),
        )
        .await?;
    failpoint!("plan-written", WorkError::Lost);
    if let Some(other) = pass.ledger.open_pass(&open, journals).await? {
        let state = pass_store.state(&folder).await?;
        pass_store.remove(state.blobs).await;
        if other.run == pass_store.run.id {
            // The message came twice, and another worker was quicker.
            return send_again(pass_store, &other).await;
        }
        return Ok(closed(pass_store, left(&pass_store.source, left_to(&other))).await);
    }
    failpoint!("pass-opened", WorkError::Lost);
    if let Some(came) = given_up(pass_store, &open, &folder).await? {
        return Ok(came);
    }
    failpoint!("pass-decided", WorkError::Lost);
    for number in 0..lanes {
        pass_store
            .send(
                Task::Piece { pass: open.id.clone(), piece: PieceId::first(number) },
                Duration::ZERO,
            )
            .await?;
        failpoint!("piece-sent", WorkError::Lost);
    }
    remove_orphans(pass_store, &open.id).await;
    tracing::info!(
        run_id = pass_store.run.id,
        source = pass_store.source.name,
        files,
        bytes,
        pieces = plan.pieces,
        lanes,
        "A pass is planned."
    );
    Ok(Came::Done(format!(
        "`{}` is planned: {} in {}, {lanes} at once",
        pass_store.source.name,
        number_of(files, "file"),
        number_of(plan.pieces, "piece")
    )))
}

async fn write_pieces(
    pass_store: &PassStore,
    folder: &JobFolder,
    cuts: Vec<Cut>,
    journals: &[String],
) -> Result<(), WorkError> {
    let writes = cuts.into_iter().zip(journals).enumerate().map(|(number, (cut, journal))| {
        let id = PieceId::first(u32::try_from(number).unwrap_or(u32::MAX));
        let header =
            Header { schema: SCHEMA, journal: journal.clone(), young_since: cut.young_since };
        (folder.blob(JobKind::Piece(id)), header, cut.items)
    });
    // Made one by one as they are written: never all of them in memory twice.
    let writes: Vec<_> = writes.collect();
    let write = |(name, header, items): (_, Header, Vec<Item>)| async move {
        pass_store.write(&name, to_bytes(&header, &items)).await
    };
    stream::iter(writes).map(write).buffer_unordered(WRITTEN_AT_ONCE).try_collect::<()>().await
}

/// Removes what plans that were cut short left behind, a day later: others may be writing what is
/// not named yet.
async fn remove_orphans(pass_store: &PassStore, ours: &str) {
    let (prefix, old) =
        (passes(&pass_store.source.name), run_id(OffsetDateTime::now_utc() - time::Duration::DAY));
    // Ids begin with the time, so they are in its order.
    let before = format!("{prefix}{old}");
    if let Err(error) = remove_old(pass_store, &prefix, &before, ours).await {
        tracing::debug!(source = pass_store.source.name, error = %chain(&error),
            "What old plans left behind stays for now.");
    }
}

async fn remove_old(
    pass_store: &PassStore,
    prefix: &str,
    before: &str,
    ours: &str,
) -> Result<(), StoreError> {
    let (store, mut orphans) = (&pass_store.run.store, Vec::new());
    let ours = format!("{prefix}{ours}/");
    let mut visit = |info: BlobInfo| {
        if info.name.as_str() < before && !info.name.starts_with(&ours) {
            orphans.extend(BlobName::new(info.name).ok());
        }
    };
    store.list(prefix, &mut visit).await?;
    pass_store.remove(orphans).await;
    store.remove_empty_directories(prefix, before).await
}

/// A name for a pass of `run` that no other has: two that plan at once, after a lease was lost,
/// never share a folder.
fn new_pass(run: &str) -> String {
    let mut bytes = [0u8; 4];
    random::of_name(&mut bytes);
    format!("{run}-{}", hex(&bytes))
}
