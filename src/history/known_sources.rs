//! What earlier runs know of sources: refused logins, troubles that last.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use time::{Date, OffsetDateTime};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use crate::history::records::Records;
use crate::history::source_index::{self, SourceEntry, SourceIndex};
use crate::state::paths::runs_of_day;
use crate::state::store::{StateError, StateStore};

/// What the last run left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// Nothing.
    Nothing,
    /// A refusal that does not count any more.
    Stale,
}

/// What the index says of all sources, read once a run, and only if somebody asks.
#[derive(Default)]
pub struct KnownSources {
    entries: OnceCell<BTreeMap<String, SourceEntry>>,
    told: Mutex<ToldByRecords>,
}

impl KnownSources {
    /// The entries of the index in `state`, by the names of sources. An index that could not be
    /// read is read again by the next caller.
    pub(crate) async fn read(
        &self,
        state: &StateStore,
    ) -> Result<&BTreeMap<String, SourceEntry>, StateError> {
        let read = || async {
            let found = source_index::read(state).await?;
            Ok(found.map(|(index, _)| index.sources).unwrap_or_default())
        };
        self.entries.get_or_try_init(read).await
    }

    /// What the records say of sources that the index does not know, read once a run for all of
    /// them.
    pub(crate) async fn told(&self) -> MutexGuard<'_, ToldByRecords> {
        self.told.lock().await
    }
}

/// Records that are read, at most: a run must not wait for those of a timer that ticked each minute
/// for a year.
const MOST_RECORDS: usize = 10_000;
/// Records that are read at once.
const AT_ONCE: usize = 16;

/// What records of runs say of sources, newest days first.
#[derive(Default)]
pub(crate) struct ToldByRecords {
    index: SourceIndex,
    /// Days that were read, and the last one of them.
    days: u16,
    last: Option<Date>,
    records: usize,
}

impl ToldByRecords {
    /// How far back a run that begins at `now` looks at `source`, by the records of today and of as
    /// many `days` before.
    pub(crate) async fn looks_back_to(
        &mut self,
        state: &StateStore,
        source: &str,
        days: u16,
        now: OffsetDateTime,
    ) -> Result<Option<OffsetDateTime>, StateError> {
        let records = Records::new(state.clone());
        while self.days <= days && self.records < MOST_RECORDS {
            if self.index.sources.get(source).is_some_and(|entry| entry.settled.is_some()) {
                break;
            }
            let date = self.last.map_or(Some(now.date()), Date::previous_day);
            let Some(date) = date else { break };
            let mut names = records.names(&runs_of_day(date)).await?;
            names.reverse();
            names.truncate(MOST_RECORDS - self.records);
            for some in names.chunks(AT_ONCE) {
                let mut reads = Vec::with_capacity(AT_ONCE);
                for name in some {
                    reads.push(records.read(name));
                }
                for record in try_join_all(reads).await?.into_iter().flatten() {
                    self.index.take_in_at(&record, now);
                }
            }
            self.records += names.len();
            (self.last, self.days) = (Some(date), self.days + 1);
        }
        Ok(self.index.sources.get(source).and_then(|entry| entry.looks_back_to(now)))
    }
}
