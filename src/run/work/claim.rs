//! What the pass of a run over a source becomes is decided once: a pass in pieces, or nothing to do.
//!
//! The message that asks for a plan may come twice, and two workers may plan at once when a lease is lost. One finds
//! nothing to do and tells so in the report, the other opens a pass in the ledger's head: two blobs, which cannot be
//! written together. So each claims the decision first, by a blob that only one can create, and goes by what it says.

use super::desk::Desk;
use super::error::WorkError;
use super::names::claim;

/// The claim of a worker that has found nothing to do.
pub const NOTHING: &str = "nothing";

/// Claims the decision for `wanted`, the name of a pass or [`NOTHING`]. Returns what was decided, which may be what
/// another worker wanted.
pub async fn decide(desk: &Desk, wanted: &str) -> Result<String, WorkError> {
    let name = claim(&desk.source.name, &desk.run.id);
    if desk.write_once(&name, wanted.to_owned().into(), [].into()).await? {
        return Ok(wanted.to_owned());
    }
    let decided = desk.read(&name).await?;
    // Removed: the report is there by now, which whoever asks looks for next.
    Ok(decided.map_or_else(|| wanted.to_owned(), |bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// Removes the claim of a run that has its report: whoever decides anew finds that. Not one that another pass made.
pub async fn remove(desk: &Desk, pass: &str) {
    let name = claim(&desk.source.name, &desk.run.id);
    match desk.read(&name).await {
        Ok(Some(decided)) if decided == pass || decided == NOTHING => desk.remove([name]).await,
        Ok(_) => {}
        Err(error) => tracing::debug!(blob = name.as_str(), error = %crate::model::chain(&error), "A claim stays for now."),
    }
}
