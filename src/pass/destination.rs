//! The destination of a source: one of its own is made if it is not there, once a run, and it is
//! the place that earlier runs used.

use crate::ledger::BlobPlace;
use crate::model::failure::Class;
use crate::model::printable;
use crate::report::{Problem, SourceReport, counted, problem};
use crate::runtime::retry::retry;
use crate::transfer::context::{Pass, Run};
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
        Err(error) => Err(Box::new(refused(source, problem(&error)))),
    }
}

/// The report of a source whose files are known in another place than its blobs go to now. Nothing
/// is listed: known files would be called unchanged though their blobs are not in this place.
pub(crate) fn moved(pass: &Pass) -> Option<SourceReport> {
    let (before, files) = pass.ledger.moved_from()?;
    Some(refused(&pass.source, moved_from(&before, files, pass.run.store.address())))
}

/// The report of a source whose pass was planned for `before`, and whose blobs go elsewhere now.
pub(crate) fn moved_since_planned(
    source: &Source,
    before: &BlobPlace,
    now: &BlobPlace,
) -> Option<SourceReport> {
    let text = || {
        format!(
            "its pass was planned for `{}`, and the settings name `{}` now; the next run looks \
            again",
            printable(before.address.as_bytes()),
            printable(now.address.as_bytes())
        )
    };
    before.is_left_for(now).then(|| refused(source, Problem::new(Class::Moved, text())))
}

fn refused(source: &Source, problem: Problem) -> SourceReport {
    let mut report = SourceReport::new(&source.name, source.endpoint.address());
    report.problems.push(problem);
    report.unusable = true;
    report
}

/// What to say of `files` that went to `before`, where blobs go to `now`.
pub fn moved_from(before: &BlobPlace, files: usize, now: &str) -> Problem {
    let text = format!(
        "its {} known files went to `{}`, and the settings name `{}`; nothing is listed",
        counted(files),
        printable(before.address.as_bytes()),
        printable(now.as_bytes())
    );
    Problem::new(Class::Moved, text)
}
