//! Which sources are due at a tick of the timer: those that no run has gone over since they last were.

use std::sync::Arc;

use time::{Date, OffsetDateTime};

use crate::model::chain;
use crate::retry::{Policy, retry};
use crate::run::context::run_id;
use crate::run::settings::Source;
use crate::store::contract::{Store, StoreError, StoreKind};

/// Days of reports that are looked through, at most: a source that is due less often than that is due at each tick
/// of its day until it has a report.
const MOST_DAYS: u32 = 366;

/// Those of `sources` that are due at `now`. A source without a schedule of its own is due at each tick; one of which
/// the reports cannot be read is taken for due, since a run too many harms nobody.
pub async fn due(store: &Arc<dyn Store>, policy: &Policy, sources: &[Source], now: OffsetDateTime) -> Vec<Source> {
    let mut due = Vec::new();
    for source in sources {
        let Some(schedule) = &source.schedule else {
            due.push(source.clone());
            continue;
        };
        // One that never was due is not due now.
        let Some(last) = schedule.last_due(now) else { continue };
        match has_report_since(store, policy, &source.name, last, now).await {
            Ok(true) => {}
            Ok(false) => due.push(source.clone()),
            Err(error) => {
                let (source_name, error) = (&source.name, chain(&error));
                tracing::warn!(source = source_name, error, "Warning: when this source was last gone over cannot be read, so it is taken for due.");
                due.push(source.clone());
            }
        }
    }
    due
}

/// Reports are named by their run's id, which begins with the time of its start.
async fn has_report_since(
    store: &Arc<dyn Store>,
    policy: &Policy,
    source: &str,
    since: OffsetDateTime,
    now: OffsetDateTime,
) -> Result<bool, StoreError> {
    let stamp = |at: OffsetDateTime| run_id(at).split('-').next().unwrap_or_default().to_owned();
    let (earliest, mut day) = (stamp(since), Some(now.date()));
    for _ in 0..MOST_DAYS {
        let Some(date) = day.filter(|date| *date >= since.date()) else { break };
        let prefix = format!("_blobferry/{source}/runs/{}/", folder(date));
        let once = |_| async {
            let mut found = false;
            let visit = &mut |info: crate::store::contract::BlobInfo| {
                let name = info.name.strip_prefix(&prefix).unwrap_or_default();
                found |= name.ends_with(".json") && name >= earliest.as_str();
            };
            store.list(&prefix, visit).await.map(|()| found)
        };
        match retry(policy, &tokio_util::sync::CancellationToken::new(), "listing reports", once).await {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            // The first run of all makes it.
            Err(error) if error.kind == StoreKind::NoContainer => return Ok(false),
            Err(error) => return Err(error),
        }
        day = date.previous_day();
    }
    Ok(false)
}

fn folder(date: Date) -> String {
    format!("{:04}{:02}{:02}", date.year(), u8::from(date.month()), date.day())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::BlobName;
    use crate::store::contract::{Condition, Properties};
    use crate::store::memory::MemoryStore;
    use time::macros::datetime;

    #[tokio::test]
    async fn a_report_of_a_run_that_began_since_counts() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let now = datetime!(2026-11-23 0:10 UTC);
        let has = |since| {
            let store = store.clone();
            async move { has_report_since(&store, &Policy::default(), "acme", since, now).await.expect("it reads") }
        };
        assert!(!has(datetime!(2026-11-20 0:00 UTC)).await);
        let run = run_id(datetime!(2026-11-22 23:50 UTC));
        let name = BlobName::new(format!("_blobferry/acme/runs/20261122/{run}.json")).expect("a name");
        let properties = Properties { content_type: "application/json".into(), md5: [0; 16], metadata: [].into() };
        let bytes = bytes::Bytes::from_static(b"{}");
        let properties = Properties { md5: <md5::Md5 as md5::Digest>::digest(&bytes).into(), ..properties };
        store.put(&name, bytes, &properties, &Condition::Always).await.expect("it writes");
        assert!(has(datetime!(2026-11-20 0:00 UTC)).await);
        assert!(has(datetime!(2026-11-22 23:50 UTC)).await);
        assert!(!has(datetime!(2026-11-22 23:50:01 UTC)).await);
        assert!(!has(datetime!(2026-11-23 0:00 UTC)).await);
    }
}
