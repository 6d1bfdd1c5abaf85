//! The destination of a source that has one of its own: it is made if it is not there, once a run.

use crate::report::{SourceReport, problem};
use crate::runtime::retry::retry;
use crate::transfer::context::Run;
use crate::transfer::settings::Source;

/// Makes sure that the destination of `source` can be written to, if it is not the run's first,
/// which the run that began the run has prepared. `Err`: the report of a source that nothing can be
/// done about.
pub async fn prepare(run: &Run, source: &Source) -> Result<(), Box<SourceReport>> {
    let Some(name) = source.destination.as_deref() else { return Ok(()) };
    let prepare =
        || retry(&run.policy, &run.cancel, "preparing the store", |_| run.store.prepare());
    match run.destinations.is_prepared(name).get_or_try_init(prepare).await {
        Ok(()) => Ok(()),
        Err(error) => {
            let mut report = SourceReport::new(&source.name, source.endpoint.address());
            report.problems.push(problem(&error));
            report.unusable = true;
            Err(Box::new(report))
        }
    }
}
