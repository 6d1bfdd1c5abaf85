//! Asks for a run over sources: by messages to the work queue, for each source unless one is
//! waiting or under way.
//!
//! Who was asked stands in the index of sources, one blob for all: one replacement claims all
//! sources of a tick.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::error::WorkError;
use super::message::{Message, Task};
use super::sweep::SILENCE;
use crate::history::records::Records;
use crate::history::run_id::is_of_clock_ahead;
use crate::history::source_index::{self, AskedFor, SourceIndex};
use crate::model::BlobName;
use crate::model::clocks::is_ahead;
use crate::runtime::retry::retry;
use crate::state::paths::{run_record, stamp};
use crate::state::store::{StateError, StateStore};
use crate::store::queue::Queue;

/// A run that was asked for so long ago is asked for again, whatever waits in the queue.
const LONG_AGO: time::Duration = time::Duration::hours(24);
/// Sources of which the last run found nothing to do, in one message.
const TOGETHER: usize = 16;

/// What came of asking, by source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimedSources {
    /// The run that asked looks at these.
    pub ours: Vec<String>,
    /// Those among them in which the last run found nothing to do.
    pub idle: Vec<String>,
    /// These other runs were asked before, and have not looked yet: source and run.
    pub joined: Vec<(String, String)>,
}

/// Where runs are asked for.
pub struct Office<'a> {
    /// The state.
    pub state: &'a StateStore,
    /// The queue.
    pub queue: &'a Arc<dyn Queue>,
}

impl Office<'_> {
    /// Takes the ends of runs into the index of sources. The index as it is then.
    pub(crate) async fn fold(&self, now: OffsetDateTime) -> Result<SourceIndex, StateError> {
        for tries in 0.. {
            let (before, condition) = source_index::read_to_replace(self.state).await?;
            let mut index = before.clone();
            self.take_in(&mut index, now).await?;
            if index == before
                || source_index::replace(self.state, &index, &condition, tries).await?
            {
                return Ok(index);
            }
        }
        unreachable!("replacing ends with an error")
    }

    /// Claims each of `sources` for `run`, unless another run was asked that still will look at it.
    pub async fn claim(
        &self,
        sources: &[&str],
        run: &str,
        now: OffsetDateTime,
    ) -> Result<ClaimedSources, WorkError> {
        let never = CancellationToken::new();
        let waiting =
            retry(self.state.policy(), &never, "looking at the queue", |_| self.queue.length())
                .await?;
        for tries in 0.. {
            let (mut index, condition) = source_index::read_to_replace(self.state).await?;
            self.take_in(&mut index, now).await?;
            let claimed = self.claim_in(&mut index, sources, run, waiting, now).await?;
            if claimed.ours.is_empty()
                || source_index::replace(self.state, &index, &condition, tries).await?
            {
                return Ok(claimed);
            }
        }
        unreachable!("replacing ends with an error")
    }

    async fn claim_in(
        &self,
        index: &mut SourceIndex,
        sources: &[&str],
        run: &str,
        waiting: u64,
        now: OffsetDateTime,
    ) -> Result<ClaimedSources, StateError> {
        let mut claimed = ClaimedSources::default();
        for source in sources {
            let asked = index.entry(source).asked.clone().filter(|asked| asked.run != run);
            if let Some(asked) = asked
                && !self.is_given_up(source, &asked, waiting, now).await?
            {
                claimed.joined.push(((*source).to_owned(), asked.run));
                continue;
            }
            let entry = index.entry(source);
            entry.asked = Some(AskedFor { run: run.to_owned(), at: now });
            claimed.idle.extend(entry.idle.then(|| (*source).to_owned()));
            claimed.ours.push((*source).to_owned());
        }
        if !claimed.ours.is_empty() && !index.open.iter().any(|open| open == run) {
            index.open.push(run.to_owned());
        }
        Ok(claimed)
    }

    /// Takes in what the records of open runs say. A run that has no record was killed before it
    /// could write one.
    async fn take_in(
        &self,
        index: &mut SourceIndex,
        now: OffsetDateTime,
    ) -> Result<(), StateError> {
        let records = Records::new(self.state.clone());
        for run in index.open.clone() {
            let name: Option<BlobName> = run_record(&run);
            let record = match &name {
                Some(name) => records.read(name).await?,
                None => None,
            };
            match record {
                Some(record) => index.take_in_at(&record, now),
                None if run < stamp(now - SILENCE) || is_of_clock_ahead(&run, now) => {
                    index.open.retain(|open| *open != run);
                    index.sources.values_mut().for_each(|entry| {
                        entry.asked.take_if(|asked| asked.run == run);
                    });
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Whether the run that was asked for will not look at the source any more.
    async fn is_given_up(
        &self,
        source: &str,
        asked: &AskedFor,
        waiting: u64,
        now: OffsetDateTime,
    ) -> Result<bool, StateError> {
        if now - asked.at > LONG_AGO || is_ahead(asked.at, now) {
            return Ok(true);
        }
        // Its message is lost: nothing waits, and nothing is under way.
        if now - asked.at <= SILENCE || waiting > 0 {
            return Ok(false);
        }
        let store = self.state.store().clone();
        let open =
            crate::ledger::under_way(store, source, *self.state.policy(), CancellationToken::new())
                .await;
        Ok(open.is_ok_and(|open| open.is_none()))
    }

    /// Sends for the plans of what was claimed. Only after [`Office::claim`], and when the run's
    /// record is written.
    pub async fn send(&self, claimed: &ClaimedSources, run: &str) -> Result<(), WorkError> {
        for message in messages(claimed, run) {
            let text = message.to_text();
            let send = |_| self.queue.send(&text, Duration::ZERO);
            retry(self.state.policy(), &CancellationToken::new(), "sending a message", send)
                .await?;
        }
        Ok(())
    }
}

/// A message for each source that may have work, so that workers share them; idle ones go together.
fn messages(claimed: &ClaimedSources, run: &str) -> Vec<Message> {
    let idle: BTreeMap<&str, ()> = claimed.idle.iter().map(|name| (name.as_str(), ())).collect();
    let busy = claimed.ours.iter().filter(|name| !idle.contains_key(name.as_str()));
    let plans = busy.map(|name| Message::new(run, name, Task::Plan));
    let looks = claimed.idle.chunks(TOGETHER).filter_map(|some| Message::plans(run, some));
    plans.chain(looks).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::run_id::run_id;
    use crate::store::memory::MemoryStore;
    use crate::store::memory::queue::MemoryQueue;

    #[test]
    fn idle_sources_go_together_and_others_by_themselves() {
        let names =
            |range: std::ops::Range<usize>| range.map(|n| format!("s{n:02}")).collect::<Vec<_>>();
        let claimed = ClaimedSources { ours: names(0..20), idle: names(2..20), joined: Vec::new() };
        let told: Vec<usize> =
            messages(&claimed, "r").iter().map(|message| message.sources().len()).collect();
        assert_eq!(told, [1, 1, 16, 2]);
    }

    #[tokio::test]
    async fn a_run_that_was_asked_for_by_a_clock_that_was_ahead_is_asked_for_again() {
        let now = time::macros::datetime!(2026-11-23 10:00 UTC);
        let ahead = time::macros::datetime!(2028-01-01 0:00 UTC);
        let store = Arc::new(MemoryStore::new());
        let state = StateStore::new(store, Default::default(), Default::default());
        let queue: Arc<dyn Queue> = Arc::new(MemoryQueue::default());
        let office = Office { state: &state, queue: &queue };
        let (old, new) = (run_id(ahead), run_id(now));
        office.claim(&["acme"], &old, ahead).await.expect("it claims");
        let mut index = source_index::read(&state).await.expect("it reads").expect("it is there").0;
        let asked = index.entry("acme").asked.clone().expect("it was asked");
        assert!(office.is_given_up("acme", &asked, 5, now).await.expect("it reads"));
        let claimed = office.claim(&["acme"], &new, now).await.expect("it claims");
        assert_eq!(claimed.ours, ["acme"]);
        let index = source_index::read(&state).await.expect("it reads").expect("it is there").0;
        assert_eq!(index.open, [new], "no record will ever be written of the other one");
    }
}
