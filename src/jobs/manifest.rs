//! The manifest of a run whose pass was done in pieces: their lines, one piece after the other.
//!
//! What the pieces tell does not change, so the manifest is the same for each writer: one that
//! was killed on the way is gone on with by the next, and two at once write the same.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::error::WorkError;
use super::pass_store::{PassStore, never};
use crate::model::{BlobName, hex};
use crate::report::SourceReport;
use crate::runtime::retry::retry;
use crate::state::paths::StatePaths;
use crate::store::contract::StoreKind;
use crate::transfer::run_manifest::Appender;

/// How often another writer may be quicker.
const MAX_OVERTAKEN: usize = 100;

/// A manifest that is being written.
pub(crate) struct JobManifest<'a> {
    pass_store: &'a PassStore,
    name: BlobName,
    position: u64,
    lines: u64,
    sum: Sha256,
}

impl<'a> JobManifest<'a> {
    /// Of the run of `pass_store`.
    pub fn of(pass_store: &'a PassStore) -> Self {
        Self {
            pass_store,
            name: StatePaths::of(&pass_store.source.name).manifest(&pass_store.run.id),
            position: 0,
            lines: 0,
            sum: Sha256::new(),
        }
    }

    /// Adds whole lines, unless they are there.
    pub async fn add(&mut self, lines: Vec<u8>) -> Result<(), WorkError> {
        let all = Bytes::from(lines);
        self.sum.update(&all);
        let (start, end) = (self.position, self.position + all.len() as u64);
        for _ in 0..MAX_OVERTAKEN {
            let there = self.length(end).await?;
            if there >= end {
                break;
            }
            let rest = all.slice(usize::try_from(there.saturating_sub(start)).unwrap_or(0)..);
            let run = &self.pass_store.run;
            let mut appender = Appender::new(
                run.store.clone(),
                run.policy,
                self.name.clone(),
                there.max(start),
                0,
            );
            match appender.append(rest).await {
                Ok(()) => break,
                Err(error) if error.kind == StoreKind::Condition => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.position = end;
        self.lines += all.iter().filter(|byte| **byte == b'\n').count() as u64;
        Ok(())
    }

    /// How long the manifest is by now, as far as that matters: nothing is to be written where
    /// nothing is to be added.
    async fn length(&self, end: u64) -> Result<u64, WorkError> {
        if end == self.position {
            return Ok(end);
        }
        let run = &self.pass_store.run;
        let found =
            retry(&run.policy, &never(), "looking at a manifest", |_| run.store.head(&self.name))
                .await?;
        Ok(found.map_or(0, |info| info.size))
    }

    /// Tells the report of it.
    pub fn tell(&self, report: &mut SourceReport) {
        report.manifest_lines = self.lines;
        report.manifest = (self.lines > 0).then(|| self.name.as_str().to_owned());
        let sha256 = (self.lines > 0).then(|| hex(&self.sum.clone().finalize()));
        report.facts.manifest_sha256 = sha256;
    }
}
