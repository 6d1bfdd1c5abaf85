//! What a pass tells its manifest, the log and telemetry of files.

use crate::model::RemoteFile;
use crate::report::{Line, MANIFEST_INCOMPLETE, Outcome, Problem, SourceReport};
use crate::rules::plan::Why;
use crate::transfer::context::Pass;
use crate::transfer::events;
use crate::transfer::request::Transfer;
use crate::transfer::run_manifest::WrittenManifest;

/// Notes what became of `file` for the manifest.
pub(crate) fn note(pass: &Pass, file: &RemoteFile, why: Option<Why>, outcome: &Outcome) {
    if let Some(line) = Line::of(file, why, outcome) {
        pass.lines.push(&line.redacted(pass.redactor()));
    }
}

/// Appends what is left, and tells the report of the manifest: it is written after it.
pub(crate) async fn close(pass: &Pass, report: &mut SourceReport) {
    let WrittenManifest { name, lines, sha256, broken } = pass.lines.finish().await;
    report.manifest_lines = lines;
    report.manifest = (lines > 0).then(|| name.as_str().to_owned());
    report.facts.manifest_sha256 = sha256.filter(|_| lines > 0 && broken.is_none());
    if let Some(Problem { class, message, .. }) = broken {
        report.problems.push(Problem::new(class, format!("{MANIFEST_INCOMPLETE}: {message}")));
    }
}

/// Tells what became of a file: to telemetry, the manifest and the log.
pub(crate) fn log(pass: &Pass, one: &Transfer, outcome: &Outcome) {
    let (source, path) = (&pass.source.name, &one.file.path);
    events::file(source, &one.file, outcome);
    note(pass, &one.file, Some(one.why), outcome);
    match outcome {
        Outcome::Failed(problem) => {
            tracing::error!(source, %path, class = %problem.class, error = problem.message,
                hint = &*problem.hint, "A file did not arrive.");
        }
        Outcome::Ingested(ingested) => {
            tracing::debug!(source, %path, bytes = ingested.bytes, stored = ingested.stored,
                identical = ingested.identical, "A file is stored.");
        }
        Outcome::Deferred(defer) => {
            tracing::debug!(source, %path, reason = defer.word(), "A file is left for a later run.")
        }
        Outcome::Gone => tracing::debug!(source, %path, "A file is gone."),
        Outcome::Skipped(skip) => {
            tracing::debug!(source, %path, reason = skip.word(), "A file is left alone.")
        }
        Outcome::Unchanged => {}
    }
}
