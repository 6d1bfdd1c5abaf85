//! What each tick of the timer does about files that are expected.

use time::OffsetDateTime;

use super::resources::Ready;
use crate::history::source_index;
use crate::model::chain;
use crate::pass::judging;
use crate::telemetry::insights::FLUSH;

/// Judges what is expected of all sources, due or not: a partner whose source is not gone over now
/// may be late all the same.
pub(crate) async fn judge_all(ready: &Ready, now: OffsetDateTime) {
    if ready.sources.iter().all(|source| source.expectations.is_empty()) {
        return;
    }
    let state = ready.state();
    let index = match source_index::read(&state).await {
        Ok(found) => found.map(|(index, _)| index).unwrap_or_default(),
        Err(error) => {
            let error = chain(&error);
            return tracing::warn!(
                error,
                "Warning: what is expected cannot be judged, as it cannot be read when sources \
                were looked at; the next tick tries again."
            );
        }
    };
    judging::at_tick((&state, &ready.arrivals), &ready.sources, &index, now).await;
    // No run may begin now: then nobody else sends what was measured.
    if let Some(insights) = &ready.insights {
        insights.flush(FLUSH).await;
    }
}
