//! The ledger's records in 48 bytes each: which versions of which paths it says are in the store.
//! Pure.

use std::collections::HashSet;

use sha2::{Digest, Sha256};

use crate::audit::findings::{Invariant, Violations};
use crate::ledger::scan::ScanEvent;
use crate::model::{RemoteFile, RemotePath, Version};
use crate::rules::naming::escaped_for_metadata;
use crate::rules::plan::known::Known;

/// The first bytes of a SHA-256: what stands for a path or a name.
pub type Hash = [u8; 16];

/// The hash of `parts`, each with its length, so that no two lists of parts are hashed alike.
pub fn hash(parts: &[&[u8]]) -> Hash {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    cut(&hash.finalize())
}

/// What stands for a path: the beginning of its own SHA-256, which is also what is left of a long
/// one in metadata.
pub(crate) fn path_hash(path: &RemotePath) -> Hash {
    cut(&Sha256::digest(path.as_bytes()))
}

fn cut(digest: &[u8]) -> Hash {
    digest[..16].try_into().expect("a SHA-256 has 32 bytes")
}

/// A version that the ledger says is in the store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AuditRecord {
    version: Hash,
    path: Hash,
    /// Seconds since 1970; `i64::MIN` if the source does not tell.
    modified: i64,
    /// Its last place among all records.
    order: u32,
    /// A blob of it was listed.
    pub met: bool,
    /// An archive's manifest of it was found.
    pub archive: bool,
    /// A blob of the same path was listed, of a version that no record speaks of.
    pub beside: bool,
    /// No later record speaks of its path.
    pub latest: bool,
}

/// Takes in what a ledger tells.
#[derive(Debug, Default)]
pub(crate) struct AuditBuilder {
    records: Vec<AuditRecord>,
    told: u64,
    in_snapshot: bool,
    blob: String,
    from_snapshot: usize,
    /// What was recorded in this sitting.
    sitting: HashSet<Hash>,
    renamed: bool,
    violations: Violations,
}

impl AuditBuilder {
    /// Takes in the next thing that the ledger tells.
    ///
    /// What may be told twice: a fold leaves one record for each path in the snapshot. Journals may
    /// tell of the same version again, where a later run or another writer does (`--again`, a file
    /// that went back, a listed time that moved, two runs at once, a piece done twice): each of
    /// these begins anew or under another name. One run that records the same version twice after
    /// it began has appended something twice, and that must not be.
    pub fn take(&mut self, told: ScanEvent<'_>) {
        match told {
            ScanEvent::Anew => *self = Self::default(),
            ScanEvent::Blob { name, in_snapshot } => {
                name.clone_into(&mut self.blob);
                self.in_snapshot = in_snapshot;
                self.sitting.clear();
            }
            ScanEvent::Begin => self.sitting.clear(),
            ScanEvent::Renamed => self.renamed = true,
            ScanEvent::File { path, known, run, is_work } => self.file(&path, &known, run, is_work),
            ScanEvent::Differs(path) => {
                let path = escaped_for_metadata(path.as_bytes());
                let message = "the index of the snapshot does not say the same of it as its shard";
                self.violations.add(Invariant::Ledger, Some(&self.blob), Some(&path), message);
            }
        }
    }

    fn file(&mut self, path: &RemotePath, known: &Known, run: &str, is_work: bool) {
        self.told += 1;
        self.from_snapshot += usize::from(self.in_snapshot);
        let (version, path_key) = (*known.version.as_bytes(), path_hash(path));
        let once =
            if self.in_snapshot { path_key } else { hash(&[&path_key, &version, run.as_bytes()]) };
        // A run may learn more of a file after it stored it: that it is another one by now.
        if !self.sitting.insert(once) && (is_work || self.in_snapshot) {
            let what = if self.in_snapshot { "this path" } else { "this version of it in one go" };
            self.violate(Invariant::I4, path, &format!("the ledger records {what} twice"));
        }
        let file = RemoteFile { path: path.clone(), size: known.size, modified: known.modified };
        let of_content = |md5| Version::of_content(&file, &md5) == known.version;
        if Version::of(&file) != known.version && !known.history.md5.is_some_and(of_content) {
            self.violate(
                Invariant::I6,
                path,
                "the ledger records a version that its path, size and time do not make",
            );
        }
        self.records.push(AuditRecord {
            version,
            path: path_key,
            modified: known.modified.map_or(i64::MIN, |modified| modified.at.unix_timestamp()),
            order: u32::try_from(self.told).unwrap_or(u32::MAX),
            met: false,
            archive: false,
            beside: false,
            latest: false,
        });
    }

    fn violate(&mut self, invariant: Invariant, path: &RemotePath, message: &str) {
        self.violations.add(
            invariant,
            Some(&self.blob),
            Some(&escaped_for_metadata(path.as_bytes())),
            message,
        );
    }

    /// Every record, and what does not hold among them. `indexed`: how many files the snapshot's
    /// index has.
    pub fn finish(mut self, indexed: usize) -> (AuditRecords, Violations) {
        if self.from_snapshot != indexed {
            let message = format!(
                "the shards of the snapshot hold {} records, its index {indexed}",
                self.from_snapshot
            );
            self.violations.add(Invariant::Ledger, None, None, message);
        }
        let mut all = self.records;
        // Of one version, the last word counts.
        all.sort_unstable_by(|a, b| a.version.cmp(&b.version).then(b.order.cmp(&a.order)));
        all.dedup_by_key(|record| record.version);
        let mut by_path: Vec<u32> = (0..u32::try_from(all.len()).unwrap_or(u32::MAX)).collect();
        let at = |n: &u32| &all[*n as usize];
        by_path.sort_unstable_by(|a, b| {
            at(a).path.cmp(&at(b).path).then(at(a).order.cmp(&at(b).order))
        });
        let latest: Vec<u32> = by_path
            .chunk_by(|a, b| at(a).path == at(b).path)
            .filter_map(|of_path| of_path.last().copied())
            .collect();
        for n in latest {
            all[n as usize].latest = true;
        }
        let (folded, renamed) = (self.from_snapshot > 0, self.renamed);
        (AuditRecords { all, by_path, told: self.told, folded, renamed }, self.violations)
    }
}

/// What the ledger says is in the store.
#[derive(Debug, Default)]
pub(crate) struct AuditRecords {
    /// Sorted by version.
    all: Vec<AuditRecord>,
    /// Places in `all`, sorted by path and then by order.
    by_path: Vec<u32>,
    /// How many records there were.
    pub told: u64,
    /// Whether there is a snapshot: then records of earlier versions may be gone.
    pub folded: bool,
    /// Whether the layout of names has changed.
    pub renamed: bool,
}

impl AuditRecords {
    /// The record of `version`.
    pub fn find(&self, version: &Hash) -> Option<&AuditRecord> {
        self.all.binary_search_by(|record| record.version.cmp(version)).ok().map(|at| &self.all[at])
    }

    /// The record of `version`, to be marked.
    pub fn mark(&mut self, version: &Hash) -> Option<&mut AuditRecord> {
        self.all
            .binary_search_by(|record| record.version.cmp(version))
            .ok()
            .map(|at| &mut self.all[at])
    }

    /// Whether there is a record of `path`.
    pub(crate) fn speaks_of(&self, path: &Hash) -> bool {
        let end = self.by_path.partition_point(|n| self.all[*n as usize].path <= *path);
        end.checked_sub(1).is_some_and(|last| self.all[self.by_path[last] as usize].path == *path)
    }

    /// The last record of `path`, to be marked.
    pub(crate) fn mark_latest(&mut self, path: &Hash) -> Option<&mut AuditRecord> {
        let end = self.by_path.partition_point(|n| self.all[*n as usize].path <= *path);
        let last = *self.by_path.get(end.checked_sub(1)?)?;
        Some(&mut self.all[last as usize]).filter(|record| record.path == *path)
    }

    /// Whether `later` was recorded after `earlier`, as far as it is known: records that are gone
    /// were early ones.
    pub(crate) fn is_later(&self, later: &Hash, earlier: &Hash) -> bool {
        let order = |version: &Hash| self.find(version).map(|record| record.order);
        order(later).is_some_and(|later| order(earlier).is_none_or(|earlier| later > earlier))
    }

    /// How many versions are recorded.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Forgets all marks that a listing makes.
    pub(crate) fn unmark(&mut self) {
        for record in &mut self.all {
            (record.met, record.beside) = (false, false);
        }
    }

    /// Every record, those of a path together and in order.
    pub(crate) fn by_path(&self) -> impl Iterator<Item = Vec<&AuditRecord>> {
        let at = |n: &u32| &self.all[*n as usize];
        self.by_path
            .chunk_by(move |a, b| at(a).path == at(b).path)
            .map(move |of_path| of_path.iter().map(at).collect())
    }
}

impl AuditRecord {
    /// Which version it is.
    pub fn version(&self) -> &Hash {
        &self.version
    }

    /// Whether it is one of `path`.
    pub fn is_of(&self, path: &Hash) -> bool {
        self.path == *path
    }

    /// Whether a file modified at `modified` (seconds since 1970) is newer.
    pub fn is_before(&self, modified: i64) -> bool {
        self.modified < modified
    }
}
