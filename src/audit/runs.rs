//! Reads what runs left behind: records, manifests, reports, and what they say of each other.

use std::collections::{HashMap, HashSet};

use futures_util::{StreamExt, TryStreamExt, stream};
use sha2::{Digest, Sha256};

use super::claims::Claims;
use super::error::{AuditError, AuditWatch};
use super::facts::{self, EndedRuns, RunsTold};
use super::findings::{Findings, Invariant};
use super::reading::{AuditEnding, AuditReader};
use super::records::AuditRecords;
use super::reports::{AuditReport, AuditTally};
use super::state::{self, AuditState};
use super::suspects::Suspects;
use crate::ledger::journals;
use crate::model::{BlobName, hex};
use crate::report::{Line, Reach};
use crate::runtime::retry::retry;
use crate::state::paths::{RUNS, StatePaths, run_of_record, run_record};
use crate::state::sum::sha256;

/// Blobs that are read at once.
const AT_ONCE: usize = 8;
/// A report or a record is smaller than this by far.
const MAX_REPORT_BYTES: u64 = 64 << 20;

/// What all records of runs say.
pub(crate) async fn read_records_of_runs(
    reader: &AuditReader,
    watch: AuditWatch<'_>,
) -> Result<RunsTold, AuditError> {
    watch("reading records of runs");
    let list = |_| async {
        let mut names = Vec::new();
        let mut visit = |info: crate::store::contract::BlobInfo| {
            names.extend(run_of_record(&info.name).and_then(run_record));
        };
        reader.store.list(RUNS, &mut visit).await.map(|()| names)
    };
    let names = retry(&reader.policy, &reader.cancel, "listing records of runs", list).await?;
    let mut told = RunsTold::default();
    let read = stream::iter(names).map(|name| async move {
        let found = reader.whole(&name, MAX_REPORT_BYTES).await;
        found.map(|found| (name, found))
    });
    let mut read = read.buffered(AT_ONCE);
    while let Some((name, found)) = read.try_next().await? {
        if let Some((_, bytes)) = found {
            told.take(name.as_str(), &bytes);
        }
    }
    Ok(told)
}

/// Every run's manifest, and every report against it and against the record of its run.
pub(crate) async fn read_runs(
    reader: &AuditReader,
    (source, state, told): (&str, &AuditState, &RunsTold),
    records: Option<&AuditRecords>,
    claims: &mut Claims,
    findings: &mut Findings,
    watch: AuditWatch<'_>,
) -> Result<EndedRuns, AuditError> {
    let mut runs = EndedRuns { first: state.reports.iter().min().cloned(), ..EndedRuns::default() };
    let mut tallies: HashMap<&str, AuditTally> = HashMap::new();
    for run in &state.manifests {
        watch(&format!("{source}: reading the manifest of run {run}"));
        let name = StatePaths::of(source).manifest(run);
        let tally =
            read_manifest(reader, &name, state, records, claims, &mut runs.suspects, findings);
        tallies.extend(tally.await?.map(|tally| (run.as_str(), tally)));
    }
    let with_report: HashSet<&String> = state.reports.iter().collect();
    findings.notes.manifests_without_report =
        state.manifests.iter().filter(|run| !with_report.contains(run)).count() as u64;
    let read = stream::iter(&state.reports).map(|run| async move {
        let name = StatePaths::of(source).report(run);
        reader.whole(&name, MAX_REPORT_BYTES).await.map(|found| (run, name, found))
    });
    let mut read = read.buffered(AT_ONCE);
    let mut reaches: Vec<(BlobName, Reach)> = Vec::new();
    let mut late = RunsTold::default();
    while let Some((run, name, found)) = read.try_next().await? {
        let Some((_, bytes)) = found else { continue };
        findings.checked.reports += 1;
        let report = match serde_json::from_slice::<AuditReport>(&bytes) {
            Ok(report) => report,
            Err(error) => {
                let message = format!("this report cannot be read: {error}");
                findings.violations.add(Invariant::I9, Some(name.as_str()), None, message);
                continue;
            }
        };
        let manifest = StatePaths::of(source).manifest(run);
        let tally = tallies.get(run.as_str());
        report.judge(
            name.as_str(),
            manifest.as_str(),
            tally,
            &mut findings.violations,
            &mut findings.notes,
        );
        let facts = report.facts.clone().unwrap_or_default();
        findings.notes.reports_without_facts +=
            u64::from(tally.is_some() && facts.manifest_sha256.is_none() && report.is_whole());
        // A run that began since the records were read.
        let told = match run_record(run).filter(|_| facts.recorded && !told.knows(run)) {
            Some(record) => {
                if let Some((_, bytes)) = reader.whole(&record, MAX_REPORT_BYTES).await? {
                    late.take(record.as_str(), &bytes);
                }
                &late
            }
            None => told,
        };
        let read = (name.as_str(), &*sha256(&bytes));
        facts::judge_report(told, run, read, facts.recorded, &mut findings.violations);
        reaches.extend(facts.journals.into_iter().map(|reach| (name.clone(), reach)));
        if report.is_sound() {
            runs.sound.insert(run.clone());
        }
    }
    let folder = StatePaths::of(source).runs_folder();
    for (report, named) in told.of_folder(&folder) {
        let is_there = with_report
            .iter()
            .any(|run| StatePaths::of(source).report(run).as_str() == report.as_str());
        if !is_there {
            let message =
                format!("`{}` says that this report is there, and it is not", named.record);
            findings.violations.add(Invariant::Witness, Some(report), None, message);
        }
    }
    // What is damaged is told already.
    if records.is_some() {
        judge_journals(reader, source, reaches, findings).await?;
    }
    Ok(runs)
}

/// Reads a manifest: what it claims, and what is in it.
async fn read_manifest(
    reader: &AuditReader,
    name: &BlobName,
    state: &AuditState,
    records: Option<&AuditRecords>,
    claims: &mut Claims,
    suspects: &mut Suspects,
    findings: &mut Findings,
) -> Result<Option<AuditTally>, AuditError> {
    let from = claims.manifest(name.clone());
    let (mut tally, mut bad, mut sum) = (AuditTally::default(), 0u64, Sha256::new());
    let ending = reader.lines(name, |line| {
        sum.update(line);
        sum.update(b"\n");
        let Ok(line) = Line::parse(line) else { return bad += 1 };
        tally.add(&line);
        suspects.add_line(&line, name.as_str(), records);
        state::claim_of_line(
            &line,
            name.as_str(),
            state,
            claims,
            from,
            (&mut findings.violations, &mut findings.notes),
        );
    });
    let Some(ending) = ending.await? else { return Ok(None) };
    tally.torn = ending == AuditEnding::Torn;
    tally.sha256 = (bad == 0).then(|| hex(&sum.finalize()));
    if bad > 0 {
        let message = format!("{bad} of its lines cannot be read");
        findings.violations.add(Invariant::Manifest, Some(name.as_str()), None, message);
    }
    findings.checked.manifests += 1;
    findings.checked.lines += tally.lines;
    Ok(Some(tally))
}

/// Whether the journals that are not folded yet begin as reports say.
async fn judge_journals(
    reader: &AuditReader,
    source: &str,
    mut reaches: Vec<(BlobName, Reach)>,
    findings: &mut Findings,
) -> Result<(), AuditError> {
    if reaches.is_empty() {
        return Ok(());
    }
    let head = || journals(reader.store.clone(), source, reader.policy, reader.cancel.clone());
    // What cannot be read is told already.
    let Some(named) = head().await? else { return Ok(()) };
    reaches.sort_by(|a, b| a.1.journal.cmp(&b.1.journal));
    for of_journal in reaches.chunk_by(|a, b| a.1.journal == b.1.journal) {
        let journal = &of_journal[0].1.journal;
        let Ok(blob) = StatePaths::of(source).ledger(journal) else { continue };
        let is_named = named.names.contains(journal);
        let found = if is_named { reader.whole(&blob, MAX_REPORT_BYTES * 2).await? } else { None };
        // Folded since: what it held is in the snapshot.
        let is_folded = head().await?.is_some_and(|now| now.folded && !now.names.contains(journal));
        if is_folded {
            continue;
        }
        for (report, reach) in of_journal {
            if !found.as_ref().is_some_and(|(_, bytes)| reach.holds(bytes)) {
                facts::add_short(&mut findings.violations, blob.as_str(), report.as_str(), reach);
            }
        }
    }
    Ok(())
}
