//! One listed blob after the other against the claims of ledger and manifests. Pure.

use std::collections::HashSet;

use crate::audit::claims::{AuditClaim, Claims, Says, name_hash};
use crate::audit::facts::EndedRuns;
use crate::audit::findings::{AuditChecked, AuditNotes, Invariant, Violations};
use crate::audit::names::Names;
use crate::audit::records::{AuditRecord, AuditRecords, Hash, hash, path_hash};
use crate::audit::suspects::{Suspect, Suspects};
use crate::ledger::described;
use crate::model::{RemotePath, Version};
use crate::rules::naming::{Layout, Naming};
use crate::settings::percent_decode;
use crate::state::paths::is_state;
use crate::store::contract::{BlobInfo, Metadata};
use crate::transfer::settings::Versions;

/// Judges the blobs of one source.
#[derive(Debug)]
pub(crate) struct Judge {
    /// The source's name.
    pub source: String,
    /// How its blobs are named now.
    pub naming: Naming,
    /// What their names begin with.
    prefix: String,
    /// What happens to a file that changes.
    pub versions: Versions,
    /// Whether the newest file takes the place of the one before, under one name.
    pub succession: bool,
    /// What the ledger says; `None` if it cannot be read.
    pub records: Option<AuditRecords>,
    /// What manifests say.
    pub claims: Claims,
    /// Names of all blobs of the source, if they are wanted.
    pub names: Option<Names>,
    /// Path, version and member of every blob so far.
    identities: HashSet<Hash>,
    /// What is known of runs.
    runs: EndedRuns,
    /// What was found.
    pub seen: JudgedSeen,
}

/// What a listing shows.
#[derive(Debug, Default)]
pub(crate) struct JudgedSeen {
    /// What was checked.
    pub checked: AuditChecked,
    /// What should be known.
    pub notes: AuditNotes,
    /// What does not hold.
    pub violations: Violations,
    /// Blobs that the ledger should speak of.
    suspects: Suspects,
}

/// A blob of ours, as its metadata tells.
struct OwnBlob {
    version: Hash,
    path: Hash,
    /// Percent-escaped, as far as it is told.
    shown: Option<String>,
    member: bool,
    /// Whether its version is the one that its path, size and time make, as far as it tells.
    proven: bool,
    /// When the file was modified, if the version proves it.
    modified: Option<i64>,
}

impl Judge {
    /// Knows these claims.
    pub fn new(
        naming: Naming,
        versions: Versions,
        records: Option<AuditRecords>,
        claims: Claims,
        names: Option<Names>,
    ) -> Self {
        Self {
            source: naming.source.clone(),
            prefix: naming.beginning().text,
            naming,
            versions,
            succession: false,
            records,
            claims,
            names,
            identities: HashSet::new(),
            runs: EndedRuns::default(),
            seen: JudgedSeen::default(),
        }
    }

    /// The same, after these runs.
    pub fn after(self, runs: EndedRuns) -> Self {
        Self { runs, ..self }
    }

    /// What the ledger should speak of and does not, as far as it was read.
    pub(crate) fn take_suspects(&mut self) -> Suspects {
        let mut suspects = std::mem::take(&mut self.runs.suspects);
        suspects.append(std::mem::take(&mut self.seen.suspects));
        suspects
    }

    /// Forgets all blobs so far: the listing begins anew.
    pub(crate) fn restart(&mut self) {
        self.records.iter_mut().for_each(AuditRecords::unmark);
        self.claims.unmark();
        self.names.iter_mut().for_each(Names::clear);
        self.identities.clear();
        self.seen = JudgedSeen::default();
    }

    /// Judges the next blob of the listing, whosever it is.
    pub fn take(&mut self, info: &BlobInfo) {
        if is_state(&info.name) {
            return;
        }
        let ours = self.ours(info);
        self.judge_claims(info, ours.as_ref());
        let Some(ours) = ours else { return };
        if let Some(names) = &mut self.names {
            names.push(&info.name);
        }
        let as_now = self.is_named_as_now(info);
        self.seen.notes.earlier_names += u64::from(!as_now);
        let identity = [
            &ours.version[..],
            &ours.path,
            of(info, "member"),
            of(info, "member_sha256"),
            of(info, "member_index"),
            of(info, "archive"),
            // What stands under the name of an earlier layout stays, and may be there once more.
            if as_now { b"" } else { b"earlier" },
        ];
        if !self.identities.insert(hash(&identity)) {
            self.violate(
                Invariant::I3,
                info,
                &ours,
                "there is another blob of the same path, version and member",
            );
        }
        self.judge_record(info, &ours);
    }

    /// Whether today's settings lead to the blob's name, or to the one that it was set apart from.
    /// What does not say enough is taken to be named so, and so is all where no layout but the
    /// first one was ever in use.
    fn is_named_as_now(&self, info: &BlobInfo) -> bool {
        // Longer names may end in hashes.
        const LONGEST: usize = 900;
        let renamed = self.records.as_ref().is_some_and(|records| records.renamed);
        if !renamed && !matches!(self.naming.layout, Layout::Template(_)) {
            return true;
        }
        let Some((path, known)) = described(&info.metadata) else { return true };
        let Ok(plain) = self.naming.file(&known.file(&path)) else { return false };
        let plain = plain.as_str();
        let segment = plain.rfind('/').map_or(0, |slash| slash + 1);
        let dot = plain[segment..].rfind('.').filter(|dot| *dot > 0);
        let stem = dot.map_or(plain.len(), |dot| segment + dot).min(LONGEST);
        info.name.starts_with(&plain[..plain.floor_char_boundary(stem)])
    }

    fn violate(&mut self, invariant: Invariant, info: &BlobInfo, ours: &OwnBlob, message: &str) {
        self.seen.violations.add(invariant, Some(&info.name), ours.shown.as_deref(), message);
    }

    /// What the blob says of itself, if it says that it is this source's, and whether it says the
    /// truth.
    fn ours(&mut self, info: &BlobInfo) -> Option<OwnBlob> {
        let metadata = &info.metadata;
        let is_ours = metadata.get("source").is_some_and(|source| *source == self.source)
            && metadata.contains_key("version");
        if !is_ours {
            let other = metadata.contains_key("source") && metadata.contains_key("version");
            self.seen.notes.foreign += u64::from(!other && info.name.starts_with(&self.prefix));
            return None;
        }
        self.seen.checked.blobs += 1;
        let shown = metadata.get("source_path").cloned();
        let violations = &mut self.seen.violations;
        let mut violate = |invariant, message: &str| {
            violations.add(invariant, Some(&info.name), shown.as_deref(), message)
        };
        if info.md5.is_none() {
            violate(Invariant::I1, "it has no MD5");
        }
        let Some(version) = metadata.get("version").and_then(|text| Version::from_hex(text)) else {
            violate(Invariant::I6, "its metadata `version` is none");
            return None;
        };
        let Some(path) = path_of(metadata) else {
            violate(Invariant::I6, "its metadata does not tell the path of its file");
            return None;
        };
        let member = metadata.contains_key("archive");
        let (mut modified, mut proven) = (None, true);
        if !member {
            if metadata.get("source_size").is_some_and(|size| *size != info.size.to_string()) {
                violate(
                    Invariant::I5,
                    &format!(
                        "it has {} bytes, its file had {}",
                        info.size, metadata["source_size"]
                    ),
                );
            }
            match (described(metadata), &shown) {
                (Some((_, known)), _) => {
                    modified = known.modified.map(|modified| modified.at.unix_timestamp())
                }
                (None, Some(_)) => {
                    proven = false;
                    violate(
                        Invariant::I6,
                        "its metadata `version` is not the one that its path, size and time make",
                    );
                }
                (None, None) => self.seen.notes.unprovable += 1,
            }
        }
        Some(OwnBlob { version: *version.as_bytes(), path, shown, member, proven, modified })
    }

    /// Whether a blob that the ledger does not speak of can be what a run that was killed left.
    fn judge_run(&mut self, info: &BlobInfo, ours: &OwnBlob) {
        let Some(run) = info.metadata.get("run") else { return };
        let is_early = self.runs.first.as_ref().is_none_or(|first| run < first);
        self.seen.notes.before_reports += u64::from(is_early);
        let Some(records) = &self.records else { return };
        let is_recorded = records.find(&ours.version).is_some()
            || records.folded && records.speaks_of(&ours.path);
        if ours.proven && !is_recorded && self.runs.sound.contains(run) {
            self.seen.suspects.add(Suspect {
                version: ours.version,
                invariant: Invariant::Ledger,
                blob: info.name.clone(),
                path: ours.shown.clone(),
                message: "its run ended well, and neither the ledger nor anything else claims it",
            });
        }
    }

    /// Whether the ledger speaks of the blob.
    fn judge_record(&mut self, info: &BlobInfo, ours: &OwnBlob) {
        self.judge_run(info, ours);
        let Some(records) = &mut self.records else { return };
        let folded = records.folded;
        if let Some(record) = records.mark(&ours.version) {
            if !record.is_of(&ours.path) {
                return self.violate(
                    Invariant::I6,
                    info,
                    ours,
                    "its version is recorded for another path",
                );
            }
            // A member says nothing of its archive as a whole.
            record.met |= !ours.member;
            return;
        }
        let notes = &mut self.seen.notes;
        match records.mark_latest(&ours.path) {
            Some(latest) => {
                latest.beside |= !ours.member;
                let newer = ours.modified.is_some_and(|modified| latest.is_before(modified));
                *(if folded && !newer {
                    &mut notes.earlier_versions
                } else {
                    &mut notes.unrecorded
                }) += 1;
            }
            None => notes.unrecorded += 1,
        }
    }

    /// Whether the blob is what manifests say of it.
    fn judge_claims(&mut self, info: &BlobInfo, ours: Option<&OwnBlob>) {
        let name = name_hash(&info.name);
        let (records, versions, succession) = (&self.records, self.versions, self.succession);
        for claim in self.claims.about(&name) {
            claim.met = true;
            if claim.holds(info.size, info.md5.as_ref()) && ours.is_some() {
                continue;
            }
            let rules = (versions, succession);
            if ours.is_some_and(|ours| is_replaced(records.as_ref(), rules, claim, ours)) {
                continue;
            }
            let (invariant, who) = match claim.says {
                Says::Line => (Invariant::Manifest, "a run's manifest"),
                Says::Archive => (Invariant::I1, "its archive's manifest"),
            };
            let what = if ours.is_some() {
                "its size or MD5 is not what"
            } else {
                "its metadata does not say that it is ours, as"
            };
            let path = ours.and_then(|ours| ours.shown.as_deref());
            self.seen.violations.add(
                invariant,
                Some(&info.name),
                path,
                format!("{what} {who} says"),
            );
        }
    }

    /// Versions that the ledger records and that no blob shows, as far as that must not be.
    pub fn missing(&self) -> Vec<Missing> {
        let mut missing = Vec::new();
        for of_path in self.records.iter().flat_map(AuditRecords::by_path) {
            let another = of_path.iter().any(|record| record.met);
            for record in &of_path {
                if let Some(kind) = self.is_missing(record, another) {
                    missing.push(Missing { version: *record.version(), kind });
                }
            }
        }
        missing
    }

    fn is_missing(&self, record: &AuditRecord, another: bool) -> Option<MissingKind> {
        if record.met || record.archive {
            return None;
        }
        match (self.versions, record.latest) {
            // A later version has taken its place.
            (Versions::Overwrite, false) => None,
            // A version has taken its place that could not be recorded any more: it is told of.
            (Versions::Overwrite, true) if record.beside => None,
            (Versions::Overwrite, true) if another => Some(MissingKind::Older),
            (Versions::Keep, false) => Some(MissingKind::Superseded),
            (_, true) => Some(MissingKind::Latest),
        }
    }
}

/// A version that is recorded and that no blob shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    /// The version.
    pub version: Hash,
    /// How it is with its path.
    pub kind: MissingKind,
}

/// How it is with the path of a missing version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MissingKind {
    /// It is the last one.
    Latest,
    /// It is the last one, and an earlier one stands in its place.
    Older,
    /// A later one is recorded, beside which it should still be; unless `versions` was `overwrite`
    /// then.
    Superseded,
}

/// Whether a blob of version `found` may stand where `claim` says that another is: a later one
/// replaced it. Under `overwrite` that may be one that could not be recorded any more.
fn is_replaced(
    records: Option<&AuditRecords>,
    (versions, succession): (Versions, bool),
    claim: &AuditClaim,
    ours: &OwnBlob,
) -> bool {
    let found = &ours.version;
    let claimed = records.and_then(|records| records.find(&claim.version));
    // A version of another file replaces nothing: two blobs were swapped.
    if claimed.is_some_and(|claimed| !claimed.is_of(&ours.path)) && !succession {
        return false;
    }
    let recorded = records.is_some_and(|records| records.find(found).is_some());
    let later = records.is_some_and(|records| records.is_later(found, &claim.version));
    *found != claim.version && (later || !recorded && versions == Versions::Overwrite)
}

fn of<'a>(info: &'a BlobInfo, key: &str) -> &'a [u8] {
    info.metadata.get(key).map_or(&[], |value| value.as_bytes())
}

/// What stands for the path that metadata tells.
pub fn path_of(metadata: &Metadata) -> Option<Hash> {
    if let Some(path) = metadata.get("source_path") {
        return percent_decode(path).map(|path| path_hash(&RemotePath::new(path)));
    }
    let long = metadata.get("source_path_sha256")?.get(..32)?;
    Version::from_hex(long).map(|hash| *hash.as_bytes())
}
