//! Runs whose work goes through the queue: a record is filled with what the state of its sources
//! tells.

use serde_json::{Value, json};

use super::record::{RunRecord, Status, is_final, stored_line, waiting_line};
use super::work::standing::{Standing, UnderWay, standing};
use crate::model::chain;
use crate::state::paths::StatePaths;
use crate::state::store::StateStore;

/// `record` with how its sources stand now; as it is, if its work is not in the queue or is over.
/// Only sources whose ends the record does not tell are asked for.
pub async fn filled(state: &StateStore, mut record: RunRecord) -> RunRecord {
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
                json!({ "source": source, "status": Status::Running, "problems": [{ "message": chain(&error) }] })
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

fn line(source: &str, under_way: &UnderWay) -> Value {
    let UnderWay { plan, counts, done, .. } = under_way;
    json!({
        "source": source,
        "status": Status::Running,
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
