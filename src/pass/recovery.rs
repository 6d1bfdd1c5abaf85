//! Tells what earlier runs stored and died before they could tell.
//!
//! Lines of a manifest wait in memory, so a run that is killed leaves files that are in the ledger
//! and in no manifest; later runs find them unchanged. The next pass reads what the dead run has
//! recorded, before it writes anything itself, and writes the lines that are missing into its own
//! manifest. Only then does the ledger note that the dead run is told of. The same line twice is
//! harmless: the run that recorded it, the path and the version are its identity.

use std::collections::{BTreeMap, HashSet};

use crate::history::manifest_lines::each_line;
use crate::ledger::Recorded;
use crate::model::RemoteFile;
use crate::model::failure::Failure;
use crate::pass::file_log;
use crate::report::{Ingested, Line, Outcome, Problem, Proof, SourceReport, Word, problem};
use crate::rules::naming::escaped_for_metadata;
use crate::state::paths::StatePaths;
use crate::transfer::archive::manifest;
use crate::transfer::commit::{self, Claimed};
use crate::transfer::context::Pass;
use crate::transfer::error::TransferError;
use crate::transfer::identity::TransferIdentity;

/// How long an id of a run is: a moment and eight digits.
const RUN_ID: usize = 25;

/// Notes lines for what dead runs recorded and no manifest tells. The lines wait with those of this
/// pass. What cannot be read is a problem of the pass, and the next one tries again.
pub(crate) async fn recover(pass: &Pass, report: &mut SourceReport) {
    let dead = pass.ledger.untold();
    if dead.is_empty() {
        return;
    }
    match lines_of(pass, &dead).await {
        Ok(lines) => {
            report.recovered = lines.len() as u64;
            for line in lines {
                pass.lines.push(&line.redacted(pass.redactor()));
            }
            pass.ledger.set_recovered(dead);
        }
        Err(problem) => report.problems.push(problem),
    }
}

/// Ends a pass that has only recovered lines: its manifest, then the ledger's note.
pub(crate) async fn close(pass: &Pass, report: &mut SourceReport) {
    pass.lines.begin();
    let begun = pass.ledger.begin(time::OffsetDateTime::now_utc()).await;
    if let Err(error) = begun {
        report.problems.push(problem(&error));
    } else if pass.tells_all().await
        && let Err(error) = pass.ledger.end().await
    {
        report.problems.push(problem(&error));
    }
    file_log::close(pass, report).await;
}

/// The run that a name in the ledger belongs to: pieces are called `<run>-<pass>/<piece>`.
fn run_of(name: &str) -> &str {
    let run = name.split('/').next().unwrap_or_default();
    run.get(..RUN_ID).unwrap_or(run)
}

/// A line, by what makes it the same as another one.
type LineKey = (String, String, String);

async fn lines_of(pass: &Pass, dead: &BTreeMap<String, u64>) -> Result<Vec<Line>, Problem> {
    let files = pass.ledger.files_of(dead).await.map_err(|error| failed(&error))?;
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let mut told = told_by(pass, dead).await?;
    let mut lines = Vec::new();
    for file in files {
        let (run, recorded) = (run_of(&file.run), file.recorded);
        let path = escaped_for_metadata(recorded.path.as_bytes());
        if told.insert((run.to_owned(), path, recorded.known.version.to_string())) {
            let line = line_of(pass, run, recorded).await;
            lines.extend(line.map_err(|error| failed(&error))?);
        }
    }
    Ok(lines)
}

fn failed(error: &impl Failure) -> Problem {
    let Problem { class, message, .. } = problem(error);
    Problem::new(class, format!("telling what a run stored that did not end: {message}"))
}

/// What the manifests of `dead` tell, and those of runs that died after they had told of others.
async fn told_by(pass: &Pass, dead: &BTreeMap<String, u64>) -> Result<HashSet<LineKey>, Problem> {
    let (mut told, paths) = (HashSet::new(), StatePaths::of(&pass.source.name));
    let runs: HashSet<&str> = dead.keys().map(|name| run_of(name)).collect();
    for run in runs {
        let mut visit = |line: Line| {
            if line.outcome == Word::Ingested {
                let by = line.recovered.unwrap_or_else(|| run.to_owned());
                told.insert((by, line.path, line.version.unwrap_or_default()));
            }
        };
        each_line(&pass.run.state, &paths.manifest(run), &mut visit)
            .await
            .map_err(|error| failed(&error))?;
    }
    Ok(told)
}

async fn line_of(
    pass: &Pass,
    run: &str,
    recorded: Recorded,
) -> Result<Option<Line>, TransferError> {
    let Recorded { path, known, bytes, stored, .. } = recorded;
    let file = RemoteFile { path, size: known.size, modified: known.modified };
    let identity = TransferIdentity::recorded(&file, known.version);
    let mut proof = Proof { taken: Some((file.clone(), known.version)), ..Proof::default() };
    proof.stored = stored;
    // A layout that changed since may have no name for the file: then the line names no blob.
    if let Ok(plain) = pass.source.naming.file(&file)
        && let Claimed::There(name, found) = commit::claim(pass, &identity, &plain, None).await?
    {
        proof.blob = Some((name, found.size, found.md5));
    }
    let archive = manifest::complete(pass, known.version).await?;
    let members = archive.as_ref().and_then(|archive| archive.members);
    proof.archive = archive.and_then(|archive| archive.proof.archive);
    let ingested = Ingested { bytes, members, proof: Box::new(proof), ..Ingested::default() };
    let line = Line::of(&file, None, &Outcome::Ingested(ingested));
    Ok(line.map(|line| Line { recovered: Some(run.to_owned()), ..line }))
}
