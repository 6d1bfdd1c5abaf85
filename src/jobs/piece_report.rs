//! What a worker tells of a piece: its part of the report, and its lines of the manifest.

use time::OffsetDateTime;

use super::pass_store::PassStore;
use super::piece::{PieceOutcome, SCHEMA};
use crate::model::RemoteFile;
use crate::report::{Line, Outcome, SourceReport};
use crate::rules::plan::Why;

/// What is told of a piece: its part of the report, and its lines of the manifest.
pub(crate) struct PieceReport {
    /// Counts and failures.
    pub report: SourceReport,
    /// Lines of the manifest.
    pub lines: Vec<u8>,
}

impl PieceReport {
    /// Nothing yet.
    pub fn of(pass_store: &PassStore) -> Self {
        Self {
            report: SourceReport::new(
                &pass_store.source.name,
                pass_store.source.endpoint.address(),
            ),
            lines: Vec::new(),
        }
    }

    /// Tells what became of a file.
    pub fn add(
        &mut self,
        pass_store: &PassStore,
        file: &RemoteFile,
        why: Option<Why>,
        outcome: Outcome,
    ) {
        if let Some(line) = Line::of(file, why, &outcome) {
            self.lines.extend(line.redacted(pass_store.run.state.redactor()).to_bytes());
        }
        self.report.add(&file.path, outcome);
    }

    /// As it is stored.
    pub fn outcome(self, rest: Option<String>) -> PieceOutcome {
        let lines = String::from_utf8_lossy(&self.lines).into_owned();
        PieceOutcome {
            schema: SCHEMA,
            report: self.report,
            lines,
            rest,
            ended: OffsetDateTime::now_utc(),
        }
    }
}
