//! Runs whose work goes through the queue: a record is filled with what the state of its sources
//! tells.

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::status::{PassUnderWay, Standing, standing};
use crate::history::record::{RunRecord, RunStatus, is_final, stored_line, waiting_line};
use crate::history::records::{Changed, Records};
use crate::model::chain;
use crate::state::paths::{StatePaths, run_record};
use crate::state::store::{StateError, StateStore};
use crate::store::contract::StoreError;

/// The record of the run `id`, with how its sources stand now; `None` if there is none, or none
/// that we can read.
pub async fn get(records: &Records, id: &str) -> Result<Option<RunRecord>, StoreError> {
    let Some(name) = run_record(id) else { return Ok(None) };
    match records.read(&name).await? {
        Some(record) => Ok(Some(filled(records.state(), record).await)),
        None => Ok(None),
    }
}

/// Takes the ends of sources that a worker could not tell any more into the record of the run `id`,
/// and ends a run that nobody works on any more.
pub async fn settle(records: &Records, id: &str) -> Result<Option<Changed>, StateError> {
    let Some(record) = records.stored(id).await? else { return Ok(None) };
    let filled = filled(records.state(), record.clone()).await;
    let now = OffsetDateTime::now_utc();
    let is_abandoned = filled.shown_status(now) == RunStatus::Abandoned;
    if filled.unsettled() == record.unsettled() && !is_abandoned {
        return Ok(Some(Changed { record, has_ended: false }));
    }
    let lines = filled.sources;
    let change = |record: &mut RunRecord| {
        let settled = lines.iter().filter(|line| is_final(line));
        settled.for_each(|line| record.tell(line.clone(), now));
        if is_abandoned {
            record.abandon(now);
        }
    };
    records.change(id, change).await
}

/// `record` with how its sources stand now; as it is, if its work is not in the queue or is over.
/// Only sources whose ends the record does not tell are asked for.
async fn filled(state: &StateStore, mut record: RunRecord) -> RunRecord {
    for source in record.unsettled() {
        let line = match standing(state, &source, &record.id).await {
            Ok(Standing::Over(report)) => {
                stored_line(report, StatePaths::of(&source).report(&record.id).as_str())
            }
            Ok(Standing::UnderWay(under_way)) => {
                record.heartbeat = record.heartbeat.max(under_way.heard);
                line(&source, &under_way)
            }
            Ok(Standing::Waiting) => waiting_line(&source),
            Err(error) => {
                let problems = [json!({ "message": chain(&error) })];
                json!({ "source": source, "status": RunStatus::Running, "problems": problems })
            }
        };
        if is_final(&line) {
            let heartbeat = record.heartbeat;
            record.tell(line, heartbeat);
        } else {
            replace(&mut record, line);
        }
    }
    record
}

fn replace(record: &mut RunRecord, line: Value) {
    match record.sources.iter_mut().find(|told| told["source"] == line["source"]) {
        Some(told) => *told = line,
        None => record.sources.push(line),
    }
}

fn line(source: &str, under_way: &PassUnderWay) -> Value {
    let PassUnderWay { plan, counts, done, .. } = under_way;
    json!({
        "source": source,
        "status": RunStatus::Running,
        "to_fetch": plan.files,
        "bytes_to_fetch": plan.bytes,
        "bytes_fetched": counts.bytes,
        "ingested": counts.ingested,
        "unchanged": plan.surveyed.unchanged,
        "skipped": plan.surveyed.skipped,
        "gone": plan.surveyed.gone,
        "deferred": plan.surveyed.deferred,
        "failed": plan.surveyed.failed + counts.failed,
        "pieces": plan.pieces,
        "pieces_done": done,
    })
}
