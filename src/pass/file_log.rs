//! What a pass tells its manifest of files.

use crate::model::RemoteFile;
use crate::report::{Line, MANIFEST_INCOMPLETE, Outcome, Problem, SourceReport};
use crate::rules::plan::Why;
use crate::transfer::context::Pass;
use crate::transfer::run_manifest::WrittenManifest;

/// Notes what became of `file` for the manifest.
pub fn note(pass: &Pass, file: &RemoteFile, why: Option<Why>, outcome: &Outcome) {
    if let Some(line) = Line::of(file, why, outcome) {
        pass.lines.push(&line.redacted(pass.redactor()));
    }
}

/// Appends what is left, and tells the report of the manifest: it is written after it.
pub async fn close(pass: &Pass, report: &mut SourceReport) {
    let WrittenManifest { name, lines, sha256, broken } = pass.lines.finish().await;
    report.manifest_lines = lines;
    report.manifest = (lines > 0).then(|| name.as_str().to_owned());
    report.facts.manifest_sha256 = sha256.filter(|_| lines > 0 && broken.is_none());
    if let Some(Problem { class, message, .. }) = broken {
        report.problems.push(Problem::new(class, format!("{MANIFEST_INCOMPLETE}: {message}")));
    }
}
