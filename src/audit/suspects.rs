//! What the ledger should speak of and does not: looked at once more before it is told, since a run
//! may have recorded it meanwhile.

use std::collections::HashSet;

use super::error::AuditError;
use super::findings::{DETAILS, Findings, Invariant};
use super::reading::AuditReader;
use super::records::{AuditRecords, Hash, path_hash};
use crate::ledger::error::LedgerError;
use crate::ledger::look_through;
use crate::ledger::scan::ScanEvent;
use crate::model::{RemotePath, Version};
use crate::report::{Line, Word};
use crate::settings::percent_decode;

/// A version of a file that is to be in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Suspect {
    /// The version.
    pub version: Hash,
    /// What the violation is about.
    pub invariant: Invariant,
    /// The blob that says so.
    pub blob: String,
    /// The file's path, percent-escaped.
    pub path: Option<String>,
    /// What is to be told.
    pub message: &'static str,
}

/// Suspects: all are counted, some are kept.
#[derive(Debug, Default)]
pub(crate) struct Suspects {
    kept: Vec<Suspect>,
    more: u64,
}

impl Suspects {
    /// Adds one.
    pub fn add(&mut self, suspect: Suspect) {
        if self.kept.len() < DETAILS {
            self.kept.push(suspect);
        } else {
            self.more += 1;
        }
    }

    /// Adds all of `other`.
    pub fn append(&mut self, other: Self) {
        self.more += other.more;
        other.kept.into_iter().for_each(|suspect| self.add(suspect));
    }

    /// A line of the manifest `manifest`: what was ingested has a record.
    pub(crate) fn add_line(&mut self, line: &Line, manifest: &str, records: Option<&AuditRecords>) {
        let (Word::Ingested, Some(records)) = (line.outcome, records) else { return };
        let Some(version) = line.version.as_deref().and_then(Version::from_hex) else { return };
        // A path that had a secret in it is not the path.
        let path = percent_decode(&line.path).filter(|_| !line.path.contains("***"));
        let path = path.map(|path| path_hash(&RemotePath::new(path)));
        let is_recorded = match records.find(version.as_bytes()) {
            Some(record) => path.is_none_or(|path| record.is_of(&path)),
            // A fold leaves the last record of each path.
            None => records.folded && path.is_none_or(|path| records.speaks_of(&path)),
        };
        if !is_recorded {
            self.add(Suspect {
                version: *version.as_bytes(),
                invariant: Invariant::Ledger,
                blob: manifest.to_owned(),
                path: Some(line.path.clone()),
                message: "it says that this file was ingested, and the ledger does not speak of it",
            });
        }
    }
}

/// Tells of those that the ledger still does not speak of.
pub(crate) async fn confirm(
    reader: &AuditReader,
    source: &str,
    suspects: Suspects,
    findings: &mut Findings,
) -> Result<(), AuditError> {
    if suspects.kept.is_empty() {
        return Ok(());
    }
    let mut recorded: HashSet<Hash> = HashSet::new();
    let mut visit = |told: ScanEvent<'_>| match told {
        ScanEvent::Anew => recorded.clear(),
        ScanEvent::File { known, .. } => drop(recorded.insert(*known.version.as_bytes())),
        _ => {}
    };
    let looked = look_through(
        reader.store.clone(),
        source,
        reader.policy,
        reader.cancel.clone(),
        &mut visit,
    );
    match looked.await {
        Ok(_) | Err(LedgerError::Damaged { .. } | LedgerError::Future { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    for Suspect { version, invariant, blob, path, message } in suspects.kept {
        if !recorded.contains(&version) {
            findings.violations.add(invariant, Some(&blob), path.as_deref(), message);
        }
    }
    findings.violations.total += suspects.more;
    Ok(())
}
