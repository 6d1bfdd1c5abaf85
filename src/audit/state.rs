//! What of a source's state is to be read: archives' manifests, reports, runs' manifests. Pure.

use std::collections::{BTreeSet, HashSet};

use crate::audit::claims::{Claims, Says, name_hash};
use crate::audit::findings::{AuditNotes, Invariant, Violations};
use crate::audit::judge::path_of;
use crate::audit::names::Names;
use crate::audit::records::{AuditRecords, Hash};
use crate::ledger::described;
use crate::model::{Version, md5_of_hex, printable};
use crate::report::Line;
use crate::store::contract::BlobInfo;
use crate::transfer::archive::manifest::Manifest;
use crate::transfer::settings::Versions;

/// What stands below `_blobferry/<source>/`.
#[derive(Debug, Default)]
pub(crate) struct AuditState {
    /// Manifests of archives whose members are to be looked for.
    pub archives: Names,
    /// Every manifest of an archive, by [`name_hash`].
    pub all_archives: HashSet<Hash>,
    /// Runs that left a report.
    pub reports: Vec<String>,
    /// Runs that left a manifest.
    pub manifests: BTreeSet<String>,
}

impl AuditState {
    /// Takes in the next blob of the listing of `folder`, which is that of one source.
    pub fn take(
        &mut self,
        info: &BlobInfo,
        folder: &str,
        versions: Versions,
        records: Option<&mut AuditRecords>,
        found: (&mut Violations, &mut AuditNotes),
    ) {
        let (violations, notes) = found;
        let Some(below) = info.name.strip_prefix(folder) else { return };
        if let Some(run) =
            below.strip_prefix("runs/").and_then(|rest| rest.split_once('/')).map(|(_, file)| file)
        {
            if let Some(run) = run.strip_suffix(".json").filter(|run| is_run(run)) {
                self.reports.push(run.to_owned());
            } else if let Some(run) = run.strip_suffix(".jsonl").filter(|run| is_run(run)) {
                self.manifests.insert(run.to_owned());
            }
        } else if below.starts_with("quarantine/") {
            notes.quarantined += 1;
        } else if let Some(version) = below
            .strip_prefix("archives/")
            .and_then(|name| Version::from_hex(name.strip_suffix(".json")?))
        {
            self.all_archives.insert(name_hash(&info.name));
            judge_archive_blob(info, version, violations, notes);
            if self.is_recorded(info, version, versions, records, notes) {
                self.archives.push(&info.name);
            }
        }
    }

    /// Whether the ledger speaks of this version of an archive, so that its members must be there.
    fn is_recorded(
        &self,
        info: &BlobInfo,
        version: Version,
        versions: Versions,
        records: Option<&mut AuditRecords>,
        notes: &mut AuditNotes,
    ) -> bool {
        let Some(records) = records else { return false };
        if let Some(record) = records.mark(version.as_bytes()) {
            record.archive = true;
            // Under `overwrite` a later version has its members under the same names.
            return record.latest || versions == Versions::Keep;
        }
        let known =
            path_of(&info.metadata).is_some_and(|path| records.mark_latest(&path).is_some());
        *(if known && records.folded {
            &mut notes.earlier_versions
        } else {
            &mut notes.unrecorded
        }) += 1;
        false
    }
}

/// The ids of runs begin with a date, which is also their folder's name.
fn is_run(run: &str) -> bool {
    run.len() > 8 && run.is_ascii()
}

/// Whether the manifest of an archive agrees with itself.
fn judge_archive_blob(
    info: &BlobInfo,
    version: Version,
    violations: &mut Violations,
    notes: &mut AuditNotes,
) {
    let path = info.metadata.get("source_path");
    let mut violate = |message: &str| {
        violations.add(Invariant::I6, Some(&info.name), path.map(String::as_str), message)
    };
    match (info.metadata.get("version"), path) {
        (Some(told), _) if *told != version.to_string() => {
            violate("its name and its metadata `version` are not the same")
        }
        (Some(_), Some(_)) if described(&info.metadata).is_none() => {
            violate("its metadata `version` is not the one that its path, size and time make");
        }
        (Some(_), Some(_)) => {}
        // Of an earlier release, or of a path too long for metadata.
        _ => notes.unprovable += 1,
    }
}

/// What the manifest of an archive says of blobs, as claims. How many members have a blob.
pub(crate) fn claims_of_archive(
    info: &BlobInfo,
    bytes: &[u8],
    claims: &mut Claims,
    from: u32,
    violations: &mut Violations,
) -> u64 {
    use md5::Digest;
    let path = info.metadata.get("source_path").map(String::as_str);
    if info.md5 != Some(md5::Md5::digest(bytes).into()) {
        violations.add(
            Invariant::I5,
            Some(&info.name),
            path,
            "its bytes do not have the MD5 that it bears",
        );
    }
    let manifest: Manifest = match serde_json::from_slice(bytes) {
        Ok(manifest) => manifest,
        Err(error) => {
            violations.add(
                Invariant::I1,
                Some(&info.name),
                path,
                format!("this manifest of an archive cannot be read: {error}"),
            );
            return 0;
        }
    };
    let path = Some(manifest.source_path.as_str());
    let Some(version) = Version::from_hex(&manifest.version)
        .filter(|version| info.name.ends_with(&format!("/{version}.json")))
    else {
        violations.add(
            Invariant::I6,
            Some(&info.name),
            path,
            format!(
                "it tells of version `{}`, which is not the one in its name",
                printable(manifest.version.as_bytes())
            ),
        );
        return 0;
    };
    let mut members = 0;
    for member in &manifest.members {
        let Some(blob) = &member.blob else { continue };
        members += 1;
        match member.md5_bytes() {
            Some(md5) => {
                claims.add(blob, *version.as_bytes(), (member.size, &md5), from, Says::Archive)
            }
            None => violations.add(
                Invariant::I1,
                Some(blob),
                path,
                "its archive's manifest does not tell its MD5",
            ),
        }
    }
    members
}

/// What a line of the run's manifest `name` says of a blob, as a claim.
pub(crate) fn claim_of_line(
    line: &Line,
    name: &str,
    state: &AuditState,
    claims: &mut Claims,
    from: u32,
    found: (&mut Violations, &mut AuditNotes),
) {
    let (violations, notes) = found;
    let concealed = |text: &str| text.contains("***");
    if let Some(archive) = &line.archive
        && !concealed(&archive.manifest)
        && !state.all_archives.contains(&name_hash(&archive.manifest))
    {
        let message =
            format!("`{name}` says that this manifest of an archive is there, and it is not");
        violations.add(Invariant::Manifest, Some(&archive.manifest), Some(&line.path), message);
    }
    let Some(blob) = &line.blob else { return };
    let version = line.version.as_deref().and_then(Version::from_hex);
    let md5 = blob.md5.as_deref().and_then(md5_of_hex);
    match (version, md5) {
        _ if concealed(&blob.name) || concealed(&line.path) => notes.unprovable += 1,
        (Some(version), Some(md5)) => {
            claims.add(&blob.name, *version.as_bytes(), (blob.size, &md5), from, Says::Line)
        }
        _ => violations.add(
            Invariant::Manifest,
            Some(&blob.name),
            Some(&line.path),
            format!("`{name}` does not tell its version and MD5"),
        ),
    }
}
