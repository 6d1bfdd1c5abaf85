//! How the pass of a run over a source stands, for those who ask from outside.

use std::sync::Arc;

use serde_json::Value;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::error::WorkError;
use super::live::{Counts, State};
use super::names::{Folder, Kind};
use super::piece::Plan;
use crate::ledger;
use crate::retry::Policy;
use crate::run::lines::beside_report;
use crate::store::contract::Store;

/// A report, or a plan, is smaller by far.
const MAX_BYTES: u64 = 64 << 20;

/// How a pass stands.
#[derive(Debug)]
pub enum Standing {
    /// It is over; its report as it was stored.
    Over(Value),
    /// Workers are at it.
    UnderWay(Box<UnderWay>),
    /// It is not planned yet.
    Waiting,
}

/// A pass in the works.
#[derive(Debug)]
pub struct UnderWay {
    /// What is to be done.
    pub plan: Plan,
    /// How much of it is.
    pub counts: Counts,
    /// Pieces, parts that were handed on included, that are done.
    pub done: usize,
    /// When it was last heard of.
    pub heard: OffsetDateTime,
}

/// How the pass of `run` over `source` stands.
pub async fn standing(store: &Arc<dyn Store>, source: &str, run: &str, policy: Policy) -> Result<Standing, WorkError> {
    // Twice: it may be closed between the two looks.
    for last in [false, true] {
        let name = beside_report(source, run, "json");
        if let Some((_, bytes)) = store.get(&name, 0, MAX_BYTES).await? {
            let damaged = |error: serde_json::Error| WorkError::Damaged { blob: name.as_str().to_owned(), why: error.to_string() };
            return serde_json::from_slice(&bytes).map(Standing::Over).map_err(damaged);
        }
        if last {
            break;
        }
        let open = ledger::under_way(store.clone(), source, policy, CancellationToken::new()).await?;
        let folder = open.as_ref().filter(|open| open.run == run).and_then(|open| Folder::of(source, &open.id));
        let (Some(open), Some(folder)) = (open, folder) else { continue };
        let plan = folder.blob(Kind::Plan);
        let Some((_, bytes)) = store.get(&plan, 0, MAX_BYTES).await? else { continue };
        let damaged = |error: serde_json::Error| WorkError::Damaged { blob: plan.as_str().to_owned(), why: error.to_string() };
        let state = State::read(&**store, &folder).await?;
        let heard = state.heard().unwrap_or(open.since).max(open.since);
        let under_way = UnderWay { plan: serde_json::from_slice(&bytes).map_err(damaged)?, counts: state.counts(), done: state.results.len(), heard };
        return Ok(Standing::UnderWay(Box::new(under_way)));
    }
    Ok(Standing::Waiting)
}
