//! Which sources are due at a tick of the timer: those that no run has looked at since they last
//! were.

use time::{Date, OffsetDateTime};

use crate::history::records::Records;
use crate::history::source_index::{self, SourceIndex};
use crate::model::chain;
use crate::state::paths::runs_of_day;
use crate::state::store::{StateError, StateStore};
use crate::transfer::settings::Source;

/// Days of records that are read where the index of sources is lost, at most: a source that is due
/// less often is due at each tick of its day until it was looked at.
const MOST_DAYS: u32 = 366;

/// Those of `sources` that are due at `now`. A source without a schedule of its own is due at each
/// tick, one that is off never; those of higher priority come first. One of which nothing can be
/// read is taken for due, since a run too many harms nobody.
pub async fn due(state: &StateStore, sources: &[Source], now: OffsetDateTime) -> Vec<Source> {
    let mut sources: Vec<Source> =
        sources.iter().filter(|source| source.enabled).cloned().collect();
    sources.sort_by_key(|source| std::cmp::Reverse(source.priority));
    if sources.iter().all(|source| source.schedule.is_none()) {
        return sources;
    }
    let index = match index(state, &sources, now).await {
        Ok(index) => index,
        Err(error) => {
            let error = chain(&error);
            tracing::warn!(
                error,
                "When sources were last looked at cannot be read, so all of them are taken for due."
            );
            SourceIndex::default()
        }
    };
    sources.retain(|source| is_due(source, &index, now));
    sources
}

/// Whether `source` is due at `now`, by what `index` knows.
pub(crate) fn is_due(source: &Source, index: &SourceIndex, now: OffsetDateTime) -> bool {
    let Some(schedule) = &source.schedule else { return true };
    // One that never was due is not due now.
    schedule.last_due(now).is_some_and(|last| !index.looked_since(&source.name, last, now))
}

/// The index of sources; where it is lost, what the records of runs say.
pub(crate) async fn index(
    state: &StateStore,
    sources: &[Source],
    now: OffsetDateTime,
) -> Result<SourceIndex, StateError> {
    match source_index::read(state).await? {
        Some((index, _)) if index != SourceIndex::default() => Ok(index),
        _ => from_records(state, sources, now).await,
    }
}

/// What records say of the sources that have a schedule of their own: newest first, until each is
/// known or was not looked at since it was due.
async fn from_records(
    state: &StateStore,
    sources: &[Source],
    now: OffsetDateTime,
) -> Result<SourceIndex, StateError> {
    let last =
        |source: &Source| source.schedule.as_ref().and_then(|schedule| schedule.last_due(now));
    let mut index = SourceIndex::default();
    let records = Records::new(state.clone());
    let mut day: Option<Date> = Some(now.date());
    for _ in 0..MOST_DAYS {
        let unknown = |index: &SourceIndex| {
            let unknown = sources
                .iter()
                .filter(|source| !index.sources.contains_key(&source.name))
                .filter_map(last);
            unknown.min()
        };
        let Some((date, _)) =
            day.zip(unknown(&index)).filter(|(date, since)| *date >= since.date())
        else {
            break;
        };
        for name in records.names(&runs_of_day(date)).await?.iter().rev() {
            if let Some(record) = records.read(name).await? {
                index.take_in_at(&record, now);
            }
        }
        day = date.previous_day();
    }
    Ok(index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::record::{RunRecord, Trigger};
    use crate::runtime::retry::Policy;
    use crate::store::memory::MemoryStore;
    use serde_json::json;
    use std::sync::Arc;
    use time::macros::datetime;

    fn sources() -> Vec<Source> {
        let text = "[destination]\nfolder = \"out\"\n[[source]]\nname = \"daily\"\nurl = \
                    \"file:///x\"\ncron = \"0 6 * * *\"\n[[source]]\nname = \"each\"\nurl = \
                    \"file:///y\"\n";
        let environment = crate::config::text::Environment::default();
        crate::config::parse("ingest.toml", std::path::Path::new(""), text, &environment)
            .expect("it is right")
            .sources
    }

    /// The index says which sources are due; without it the records of runs say the same.
    #[tokio::test]
    async fn a_source_is_due_until_a_run_that_began_since_has_looked_at_it() {
        let state =
            StateStore::new(Arc::new(MemoryStore::new()), Default::default(), Policy::default());
        let now = datetime!(2026-11-23 7:00 UTC);
        let names =
            |due: Vec<Source>| due.into_iter().map(|source| source.name).collect::<Vec<_>>();
        assert_eq!(names(due(&state, &sources(), now).await), ["daily", "each"]);
        for (hour, expected) in [(5, vec!["daily", "each"]), (6, vec!["each"])] {
            let mut record = RunRecord::new(
                Trigger::Command,
                "",
                datetime!(2026-11-23 0:00 UTC) + time::Duration::hours(hour),
            );
            record.sources = vec![json!({ "source": "daily", "status": "ok" })];
            Records::new(state.clone()).put(&record).await.expect("it writes");
            assert_eq!(names(due(&state, &sources(), now).await), expected, "by records, {hour}");
            source_index::note(&state, &record).await;
            assert_eq!(names(due(&state, &sources(), now).await), expected, "by the index, {hour}");
            state.delete(&crate::state::paths::sources(), "deleting").await.expect("it is deleted");
        }
    }

    #[test]
    fn a_run_of_a_clock_that_was_ahead_leaves_no_source_undue() {
        let (now, mut index) = (datetime!(2026-11-23 7:00 UTC), SourceIndex::default());
        let daily = &sources()[0];
        index.entry("daily").run = Some("20280101T000000Z-00000000".into());
        assert!(is_due(daily, &index, now), "it was due at six, and nobody looked");
        let mut record = RunRecord::new(Trigger::Timer, "", now);
        record.sources = vec![json!({ "source": "daily", "status": "ok" })];
        index.take_in_at(&record, now);
        assert!(!is_due(daily, &index, now + time::Duration::HOUR));
        assert!(is_due(daily, &index, now + time::Duration::DAY));
        // Clocks differ by a little.
        index.entry("daily").run = Some("20261123T070300Z-00000000".into());
        assert!(!is_due(daily, &index, now));
    }
}
