//! Whether what ledger, manifests and reports claim is so: live storage against itself. Changes
//! nothing.
//!
//! For each source, in this order, so that whatever a run commits meanwhile is there when it is
//! looked for:
//!
//! 1. The ledger is read record by record; of each stay 48 bytes: hashes of path and version, the
//!    time, its place.
//! 2. The state is listed: archives' manifests, reports, runs' manifests. The manifests of archives
//!    that the ledger speaks of, every report and every run's manifest are read; of each blob that
//!    one of them names stay 48 bytes: hashes of its name, of the version, of size and MD5.
//! 3. The container is listed once for all sources. Each blob is judged as it comes: what it says
//!    of itself, whether a record speaks of it, whether it is what manifests say, whether its like
//!    was there before (16 bytes a blob).
//! 4. What should have been met and was not is looked up again by its hash, to be told by name.
//! 5. If wanted, the bytes of each blob of ours are read in parts and hashed; of their names stays
//!    what differs from the name before.
//!
//! So memory grows with records, lines and blobs, by some 50 bytes each, and never with their
//! content. What is judged is pure (`judge`, `records`, `claims`, `reports`, `state`); this file
//! and `reading` read.
//!
//! A version may be gone where its policy lets a later one replace it: under `versions =
//! "overwrite"` only the version that was recorded last must be there, and a blob of a version that
//! no record speaks of, in its place, is told and no violation (a run was killed between commit and
//! record, or is just there). Under `keep` every version that is recorded must be there, but one in
//! whose place a later one stands (`versions` was `overwrite` then). An archive is there when its
//! manifest is, and every blob that this names, under whatever version it was first stored.
//! `adopt`, `by-type`, `both` and `after` change nothing in this: blobs are found by their
//! metadata, not by names.

mod claims;
mod download;
mod error;
mod facts;
mod findings;
mod judge;
mod names;
mod reading;
mod records;
mod reports;
mod runs;
mod state;
mod suspects;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use futures_util::{StreamExt, stream};
use tokio_util::sync::CancellationToken;

use crate::audit::claims::AuditClaim;
use crate::audit::download::download;
use crate::audit::reading::{AuditReader, has_successor};
use crate::audit::records::{AuditBuilder, AuditRecords};
use crate::audit::state::AuditState;
use crate::ledger::error::LedgerError;
use crate::ledger::look_through;
use crate::ledger::scan::ScanEvent;
use crate::model::failure::Failure;
use crate::model::{BlobName, RemoteFile, Version, chain, hex};
use crate::report::Line;
use crate::rules::naming::escaped_for_metadata;
use crate::runtime::retry::{Policy, retry};
use crate::state::paths::StatePaths;
use crate::store::contract::{Store, StoreKind};
use crate::store::destinations::Destinations;
use crate::transfer::archive::manifest::{MAX_MANIFEST_BYTES, Manifest};
use crate::transfer::settings::{Source, Versions};
use claims::{Claims, Says};
use facts::RunsTold;
use judge::{Judge, Missing, MissingKind};
use names::Names;
use records::{Hash, path_hash};
use runs::{read_records_of_runs, read_runs};

pub(crate) use crate::audit::error::AuditWatch;
pub(crate) use crate::audit::findings::{AuditChecked, AuditNotes};
pub(crate) use error::AuditError;
pub use findings::{DETAILS, Findings, Invariant, Violation, Violations};

/// Small blobs that are read at once.
const AT_ONCE: usize = 8;
/// Whether blobs' bytes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bytes {
    /// What the store says of size and MD5 is believed.
    Believed,
    /// They are read and hashed.
    Read,
}

/// Checks what is claimed of `sources`, whose blobs are all in `store`. On `Err` it could not be
/// read, and nothing is known.
pub async fn audit(
    store: Arc<dyn Store>,
    sources: &[Source],
    bytes: Bytes,
    policy: Policy,
    watch: AuditWatch<'_>,
) -> Result<Vec<Findings>, AuditError> {
    audit_at((store, &Destinations::default()), sources, bytes, policy, watch).await
}

/// As [`audit`], of sources whose blobs are in those of `destinations` that they name.
pub(crate) async fn audit_at(
    (store, destinations): (Arc<dyn Store>, &Destinations),
    sources: &[Source],
    bytes: Bytes,
    policy: Policy,
    watch: AuditWatch<'_>,
) -> Result<Vec<Findings>, AuditError> {
    let reader = AuditReader { store, policy, cancel: CancellationToken::new() };
    let reader_at = |destination: Option<&str>| AuditReader {
        store: destinations.of(destination, &reader.store),
        ..reader.clone()
    };
    let mut found: Vec<Findings> = sources
        .iter()
        .map(|source| Findings { source: source.name.clone(), ..Findings::default() })
        .collect();
    // First: what a record names has been there since.
    let mut told = read_records_of_runs(&reader, watch).await?;
    let damaged = std::mem::take(&mut told.violations);
    if let Some(first) = found.first_mut() {
        first.violations.append(damaged);
    }
    let mut judges = Vec::with_capacity(sources.len());
    for (source, findings) in sources.iter().zip(&mut found) {
        let reader = reader_at(source.destination.as_deref());
        judges.push(judge_of(&reader, source, bytes, &told, findings, watch).await?);
    }
    let places: BTreeSet<Option<&str>> =
        sources.iter().map(|source| source.destination.as_deref()).collect();
    for place in places {
        let here = sources.iter().zip(&mut judges);
        let here = here.filter(|(source, _)| source.destination.as_deref() == place);
        let here = here.map(|(_, judge)| judge).collect();
        judge_blobs(&reader_at(place), here, watch).await?;
    }
    for ((source, mut judge), findings) in sources.iter().zip(judges).zip(&mut found) {
        let reader = reader_at(source.destination.as_deref());
        let suspects = judge.take_suspects();
        add_seen(&mut judge, findings);
        add_lost_state(findings);
        name_missing(&reader, source, &judge, findings).await?;
        name_unmet(&reader, &judge.claims, findings).await?;
        suspects::confirm(&reader, &source.name, suspects, findings).await?;
        if let Some(names) = judge.names.take() {
            drop(judge);
            download(&reader, &names, findings, watch).await?;
        }
    }
    Ok(found)
}

/// Lists the blobs of one destination once, for all `judges` of its sources.
async fn judge_blobs(
    reader: &AuditReader,
    judges: Vec<&mut Judge>,
    watch: AuditWatch<'_>,
) -> Result<(), AuditError> {
    watch("listing blobs");
    let judges = Mutex::new(judges);
    let each = |act: &mut dyn FnMut(&mut Judge)| {
        let mut judges = judges.lock().expect("no code panics while it holds this lock");
        judges.iter_mut().for_each(|judge| act(judge));
    };
    let list = |_| async {
        each(&mut Judge::restart);
        let mut count = 0u64;
        let mut visit = |info| {
            each(&mut |judge| judge.take(&info));
            count += 1;
            if count.is_multiple_of(5_000) {
                watch(&format!("listing blobs: {count}"));
            }
        };
        reader.store.list("", &mut visit).await
    };
    retry(&reader.policy, &reader.cancel, "listing blobs", list).await?;
    Ok(())
}

/// Reads what is claimed of `source`.
async fn judge_of(
    reader: &AuditReader,
    source: &Source,
    bytes: Bytes,
    told: &RunsTold,
    findings: &mut Findings,
    watch: AuditWatch<'_>,
) -> Result<Judge, AuditError> {
    watch(&format!("{}: reading the ledger", source.name));
    let mut records = read_records(reader, &source.name, findings).await?;
    watch(&format!("{}: listing manifests and reports", source.name));
    let state = read_state(reader, source, records.as_mut(), findings).await?;
    let mut claims = Claims::default();
    read_archives(reader, &state, &mut claims, findings, watch).await?;
    let runs = read_runs(
        reader,
        (&source.name, &state, told),
        records.as_ref(),
        &mut claims,
        findings,
        watch,
    )
    .await?;
    claims.finish();
    let names = (bytes == Bytes::Read).then(Names::default);
    let judge = Judge::new(source.naming.clone(), source.versions, records, claims, names);
    let mut judge = judge.after(runs);
    judge.succession = source.succession().is_some();
    Ok(judge)
}

async fn read_records(
    reader: &AuditReader,
    source: &str,
    findings: &mut Findings,
) -> Result<Option<AuditRecords>, AuditError> {
    let mut builder = AuditBuilder::default();
    let looked = look_through(
        reader.store.clone(),
        source,
        reader.policy,
        reader.cancel.clone(),
        &mut |told| builder.take(told),
    )
    .await;
    match looked {
        Ok(looked) => {
            let (records, violations) = builder.finish(looked.indexed);
            findings.violations.append(violations);
            findings.notes.unfinished_runs = looked.open;
            (findings.checked.records, findings.checked.versions) =
                (records.told, records.len() as u64);
            Ok(Some(records))
        }
        Err(error @ (LedgerError::Damaged { .. } | LedgerError::Future { .. })) => {
            let blob = crate::ledger::head_name(source);
            let message = format!("{}; hint: {}", chain(&error), error.hint());
            findings.violations.add(Invariant::Ledger, Some(blob.as_str()), None, message);
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

async fn read_state(
    reader: &AuditReader,
    source: &Source,
    records: Option<&mut AuditRecords>,
    findings: &mut Findings,
) -> Result<AuditState, AuditError> {
    let folder = StatePaths::of(&source.name).folder();
    let records = Mutex::new(records);
    let lock = || records.lock().expect("no code panics while it holds this lock");
    let list = |_| async {
        let (mut state, mut violations, mut notes) =
            (AuditState::default(), Violations::default(), AuditNotes::default());
        let mut visit = |info| {
            state.take(
                &info,
                &folder,
                source.versions,
                lock().as_deref_mut(),
                (&mut violations, &mut notes),
            )
        };
        reader.store.list(&folder, &mut visit).await.map(|()| (state, violations, notes))
    };
    let (state, violations, notes) =
        retry(&reader.policy, &reader.cancel, "listing the state", list).await?;
    findings.violations.append(violations);
    let unfinished_runs = std::mem::take(&mut findings.notes.unfinished_runs);
    findings.notes = AuditNotes { unfinished_runs, ..notes };
    Ok(state)
}

async fn read_archives(
    reader: &AuditReader,
    state: &AuditState,
    claims: &mut Claims,
    findings: &mut Findings,
    watch: AuditWatch<'_>,
) -> Result<(), AuditError> {
    let read =
        state.archives.iter().filter_map(|name| BlobName::new(name).ok()).map(|name| async move {
            let found = reader.whole(&name, MAX_MANIFEST_BYTES).await;
            (name, found)
        });
    let mut read = stream::iter(read).buffered(AT_ONCE);
    while let Some((name, found)) = read.next().await {
        match found {
            Ok(Some((info, bytes))) => {
                let from = claims.manifest(name);
                findings.checked.archives += 1;
                findings.checked.members +=
                    state::claims_of_archive(&info, &bytes, claims, from, &mut findings.violations);
            }
            Ok(None) => findings.violations.add(
                Invariant::I1,
                Some(name.as_str()),
                None,
                "this manifest of an archive vanished while it was read",
            ),
            Err(error) if error.kind == StoreKind::Rejected => findings.notes.unprovable += 1,
            Err(error) => return Err(error.into()),
        }
        if findings.checked.archives.is_multiple_of(100) {
            watch(&format!(
                "{}: reading {} manifests of archives: {}",
                findings.source,
                state.archives.len(),
                findings.checked.archives
            ));
        }
    }
    Ok(())
}

fn add_seen(judge: &mut Judge, findings: &mut Findings) {
    let seen = std::mem::take(&mut judge.seen);
    findings.checked.blobs = seen.checked.blobs;
    findings.notes.foreign = seen.notes.foreign;
    findings.notes.unrecorded += seen.notes.unrecorded;
    findings.notes.earlier_versions += seen.notes.earlier_versions;
    findings.notes.earlier_names = seen.notes.earlier_names;
    findings.notes.unprovable += seen.notes.unprovable;
    findings.notes.before_reports = seen.notes.before_reports;
    findings.violations.append(seen.violations);
}

/// A run that commits a blob has written to the ledger before.
fn add_lost_state(findings: &mut Findings) {
    let Findings { checked, notes, violations, .. } = findings;
    let traces = checked.records + checked.reports + checked.manifests + checked.archives;
    if checked.blobs > 0 && traces == 0 && notes.unfinished_runs.is_empty() {
        let message = format!(
            "{} blobs say that they are this source's, and nothing of its state is there",
            checked.blobs
        );
        violations.add(Invariant::Ledger, None, None, message);
    }
}

/// Looks up versions that are recorded and not there, by what stood for them.
async fn name_missing(
    reader: &AuditReader,
    source: &Source,
    judge: &Judge,
    findings: &mut Findings,
) -> Result<(), AuditError> {
    let missing: HashMap<Hash, MissingKind> =
        judge.missing().into_iter().map(|Missing { version, kind }| (version, kind)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    // What was recorded last of each path, by now.
    let (mut files, mut last) = (HashMap::new(), HashMap::new());
    let mut visit = |told: ScanEvent<'_>| match told {
        ScanEvent::Anew => {
            files.clear();
            last.clear();
        }
        ScanEvent::File { path, known, .. } => {
            let key = path_hash(&path);
            if missing.contains_key(known.version.as_bytes()) {
                files.insert(*known.version.as_bytes(), known.file(&path));
                last.insert(key, known.version);
            } else if let Some(last) = last.get_mut(&key) {
                *last = known.version;
            }
        }
        _ => {}
    };
    look_through(
        reader.store.clone(),
        &source.name,
        reader.policy,
        reader.cancel.clone(),
        &mut visit,
    )
    .await?;
    let mut files: Vec<(Hash, RemoteFile)> = files.into_iter().collect();
    files.sort_unstable_by(|a, b| a.1.path.cmp(&b.1.path).then(a.0.cmp(&b.0)));
    for (version, file) in files {
        let path = &file.path;
        let names = source.naming.by_any_layout(&file);
        // Replaced since the ledger was read.
        let replaced = source.versions == Versions::Overwrite
            && last.get(&path_hash(path)).is_some_and(|last| *last.as_bytes() != version);
        if replaced
            || (missing[&version] == MissingKind::Superseded
                && has_later(reader, judge, &names, &version).await?)
            || has_successor(reader, source, &file).await?
        {
            continue;
        }
        let (invariant, what) = match missing[&version] {
            MissingKind::Older => (Invariant::I8, "an earlier version of it is in its place"),
            MissingKind::Latest | MissingKind::Superseded => {
                (Invariant::I1, "neither a blob of it nor an archive's manifest is there")
            }
        };
        let message = format!(
            "the ledger says that its version {} is in the store, but {what}",
            hex(&version)
        );
        findings.violations.add(
            invariant,
            names.first().map(BlobName::as_str),
            Some(&escaped_for_metadata(path.as_bytes())),
            message,
        );
    }
    Ok(())
}

/// Whether a later version of the same file stands where the first one's place is.
async fn has_later(
    reader: &AuditReader,
    judge: &Judge,
    plain: &[BlobName],
    version: &Hash,
) -> Result<bool, AuditError> {
    for name in plain {
        let found = reader.head(name).await?;
        let there = found.and_then(|info| Version::from_hex(info.metadata.get("version")?));
        let is_later = |there: &Version| {
            judge
                .records
                .as_ref()
                .is_some_and(|records| records.is_later(there.as_bytes(), version))
        };
        if there.as_ref().is_some_and(is_later) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Looks up blobs that manifests name and that are not there, by what stood for them.
async fn name_unmet(
    reader: &AuditReader,
    claims: &Claims,
    findings: &mut Findings,
) -> Result<(), AuditError> {
    let mut by_manifest: HashMap<u32, Vec<AuditClaim>> = HashMap::new();
    let mut more = 0;
    for (n, claim) in claims.unmet().enumerate() {
        if n < DETAILS {
            by_manifest.entry(claim.from).or_default().push(*claim);
        } else {
            more += 1;
        }
    }
    let mut manifests: Vec<(u32, Vec<AuditClaim>)> = by_manifest.into_iter().collect();
    manifests.sort_unstable_by_key(|(from, _)| *from);
    for (from, unmet) in manifests {
        let manifest = &claims.manifests[from as usize];
        let mut named: Vec<(Says, String, String)> = Vec::new();
        let is_unmet = |name: &str| unmet.iter().any(|claim| claim.is_about(name));
        if unmet[0].says == Says::Line {
            let visit = |line: &[u8]| {
                if let Ok(Line { path, blob: Some(blob), .. }) = Line::parse(line)
                    && is_unmet(&blob.name)
                {
                    named.push((Says::Line, blob.name, path));
                }
            };
            reader.lines(manifest, visit).await?;
        } else if let Some((_, bytes)) = reader.whole(manifest, MAX_MANIFEST_BYTES).await?
            && let Ok(archive) = serde_json::from_slice::<Manifest>(&bytes)
        {
            let blobs = archive
                .members
                .into_iter()
                .filter_map(|member| member.blob)
                .filter(|blob| is_unmet(blob));
            named.extend(blobs.map(|blob| (Says::Archive, blob, archive.source_path.clone())));
        }
        for (says, blob, path) in named {
            let invariant = if says == Says::Line { Invariant::Manifest } else { Invariant::I1 };
            findings.violations.add(
                invariant,
                Some(&blob),
                Some(&path),
                format!("`{manifest}` says that it is there, and it is not"),
            );
        }
    }
    findings.violations.total += more;
    Ok(())
}
