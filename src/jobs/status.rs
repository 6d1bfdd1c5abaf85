//! How the pass of a run over a source stands, for those who ask from outside.

use serde_json::Value;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::error::WorkError;
use super::names::{JobFolder, JobKind};
use super::piece::PiecePlan;
use super::progress::{JobCounts, PassProgress};
use crate::ledger;
use crate::state::paths::StatePaths;
use crate::state::store::StateStore;

/// A report, or a plan, is smaller by far.
const MAX_BYTES: u64 = 64 << 20;

/// How a pass stands.
#[derive(Debug)]
pub(crate) enum Standing {
    /// It is over; its report as it was stored.
    Over(Value),
    /// Workers are at it.
    UnderWay(Box<PassUnderWay>),
    /// It is not planned yet.
    Waiting,
}

/// A pass in the works.
#[derive(Debug)]
pub(crate) struct PassUnderWay {
    /// What is to be done.
    pub plan: PiecePlan,
    /// How much of it is.
    pub counts: JobCounts,
    /// Pieces, parts that were handed on included, that are done.
    pub done: usize,
    /// When it was last heard of.
    pub heard: OffsetDateTime,
}

/// How the pass of `run` over `source` stands.
pub(crate) async fn standing(
    state: &StateStore,
    source: &str,
    run: &str,
) -> Result<Standing, WorkError> {
    // Twice: it may be closed between the two looks.
    for last in [false, true] {
        let name = StatePaths::of(source).report(run);
        if let Some((report, _)) = state.get_json(&name, MAX_BYTES, "reading a report").await? {
            return Ok(Standing::Over(report));
        }
        if last {
            break;
        }
        let store = state.store();
        let open =
            ledger::under_way(store.clone(), source, *state.policy(), CancellationToken::new())
                .await?;
        let folder = open
            .as_ref()
            .filter(|open| open.run == run)
            .and_then(|open| JobFolder::of(source, &open.id));
        let (Some(open), Some(folder)) = (open, folder) else { continue };
        let plan = state
            .get_json(&folder.blob(JobKind::Plan), MAX_BYTES, "reading the plan of a pass")
            .await?;
        let Some((plan, _)) = plan else { continue };
        let stands = PassProgress::read(&**store, &folder).await?;
        let heard = stands.heard(OffsetDateTime::now_utc()).unwrap_or(open.since).max(open.since);
        let under_way =
            PassUnderWay { plan, counts: stands.counts(), done: stands.results.len(), heard };
        return Ok(Standing::UnderWay(Box::new(under_way)));
    }
    Ok(Standing::Waiting)
}
