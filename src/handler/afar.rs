//! Runs whose work goes through the queue: their records are filled with what their sources' own state tells.

use std::sync::Arc;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::record::{RunRecord, Status, stored_line};
use crate::model::chain;
use crate::retry::Policy;
use crate::run::work::standing::{Standing, UnderWay, standing};
use crate::store::contract::Store;

/// `record` with how its sources stand now; as it is, if its work is not in the queue or is over.
pub async fn filled(store: &Arc<dyn Store>, mut record: RunRecord) -> RunRecord {
    if record.queued.is_empty() || record.ended.is_some() {
        return record;
    }
    let mut over = Vec::new();
    record.sources.clear();
    for source in record.queued.clone() {
        let line = match standing(store, &source, &record.id, Policy::default()).await {
            Ok(Standing::Over(report)) => {
                over.push(ended(&report));
                stored_line(report)
            }
            Ok(Standing::UnderWay(under_way)) => {
                record.heartbeat = record.heartbeat.max(under_way.heard);
                line(&source, &under_way)
            }
            Ok(Standing::Waiting) => json!({ "source": source, "status": "running", "waiting": true }),
            Err(error) => json!({ "source": source, "status": "running", "problems": [{ "message": chain(&error) }] }),
        };
        record.sources.push(line);
    }
    if over.len() == record.queued.len() {
        record.status = worst(&record.sources);
        let last = over.into_iter().flatten().max().unwrap_or(record.heartbeat);
        record.ended = Some(last);
        record.heartbeat = last;
    }
    record
}

fn ended(report: &Value) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(report.get("ended")?.as_str()?, &Rfc3339).ok()
}

/// Failed if every source is, degraded if one is, as a run in one process would be.
fn worst(sources: &[Value]) -> Status {
    let count = |status: &str| sources.iter().filter(|source| source.get("status").and_then(Value::as_str) == Some(status)).count();
    let (failed, degraded) = (count("failed"), count("degraded"));
    match (failed, degraded) {
        (0, 0) => Status::Ok,
        (failed, _) if failed == sources.len() => Status::Failed,
        _ => Status::Degraded,
    }
}

fn line(source: &str, under_way: &UnderWay) -> Value {
    let UnderWay { plan, counts, done, .. } = under_way;
    json!({
        "source": source,
        "status": "running",
        "to_fetch": plan.files,
        "bytes_to_fetch": plan.bytes,
        "bytes_fetched": counts.bytes,
        "ingested": counts.ingested,
        "unchanged": plan.surveyed.unchanged,
        "skipped": plan.surveyed.skipped,
        "deferred": plan.surveyed.deferred,
        "failed": plan.surveyed.failed + counts.failed,
        "pieces": plan.pieces,
        "pieces_done": done,
    })
}
