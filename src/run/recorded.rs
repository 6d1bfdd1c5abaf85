//! A run of the command line, with the record that it leaves.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::local::run;
use crate::history::announcement::Announcement;
use crate::history::record::{RunRecord, Trigger};
use crate::history::records::Records;
use crate::history::source_index;
use crate::model::{Secret, chain};
use crate::report::{Report, problem};
use crate::state::store::StateStore;
use crate::transfer::options::Options;
use crate::transfer::settings::Source;

/// A run that is over sooner writes its record once.
const FIRST: Duration = Duration::from_secs(5);
/// The record of a run that goes on is written this often.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// [`run`], and a record of it: while it goes on, and when it has ended. A record that cannot be
/// written at the end is a problem of the run.
pub async fn recorded(mut sources: Vec<Source>, mut options: Options, trigger: Trigger) -> Report {
    sources.retain(|source| source.enabled);
    let secrets: Vec<Secret> =
        sources.iter().flat_map(|source| source.endpoint.secrets()).collect();
    let redactor = options.redactor.and(&secrets);
    let state = StateStore::new(options.store.clone(), redactor.clone(), options.policy);
    let records = Records::new(state.clone());
    let mut record = RunRecord::new(trigger, "", OffsetDateTime::now_utc());
    record.id.clone_from(&options.id);
    record.run = Some(options.id.clone());
    record.sources =
        sources.iter().map(|source| crate::history::record::running_line(&source.name)).collect();
    let (to, first) = (records.clone(), record.clone());
    options.announcement = Some(Arc::new(Announcement::by(move || {
        let (to, first) = (to.clone(), first.clone());
        async move { to.put(&first).await }.boxed()
    })));
    let over = CancellationToken::new();
    let keeper = tokio::spawn(keep(records.clone(), record.clone(), over.clone()));
    let mut report = run(sources, options).await;
    over.cancel();
    // A beat that is under way must not come after the last word.
    if let Err(panic) = keeper.await {
        tracing::error!(
            run_id = report.run,
            error = chain(&panic),
            "The record of a run was not kept."
        );
    }
    // A store that could not be prepared takes no record either.
    if report.sources.is_empty() && !report.problems.is_empty() {
        return report;
    }
    record.end(&report, &redactor);
    let (written, prepared) =
        tokio::join!(records.put(&record), source_index::prepare_note(&state, &record));
    match written {
        Ok(()) => source_index::note_prepared(&state, &record, prepared).await,
        Err(error) => report.problems.push(problem(&error)),
    }
    report
}

async fn keep(records: Records, mut record: RunRecord, over: CancellationToken) {
    let mut wait = FIRST;
    loop {
        tokio::select! {
            biased;
            () = over.cancelled() => return,
            () = tokio::time::sleep(wait) => wait = HEARTBEAT,
        }
        record.heartbeat = OffsetDateTime::now_utc();
        if let Err(error) = records.put(&record).await {
            tracing::debug!(
                run_id = record.id,
                error = chain(&error),
                "The record of this run could not be written yet."
            );
        }
    }
}
