//! Looks at every write when it has its effect, before anybody else can: what must never be, not
//! even for a moment.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use blobferry::ledger::each_file;
use blobferry::model::{BlobName, RemoteFile, RemotePath};
use blobferry::store::contract::{BlobInfo, Store};
use blobferry::transfer::settings::Versions;
use bytes::Bytes;
use futures_util::FutureExt;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::super::world::quick;
use super::mutants::is_users;
use super::process::Sim;
use super::server::{self, Content};

/// What was seen so far.
#[derive(Debug, Default)]
pub struct Witness {
    pub violations: Vec<String>,
    /// Path and version of every record that was ever durable.
    pub recorded: HashSet<(String, String)>,
    /// Run (or piece) and path of the same.
    by_run: HashSet<(String, String)>,
    /// Runs (or pieces) whose beginning was ever durable.
    begun: HashSet<String>,
    /// How files were described when they were read last.
    pub read_as: HashMap<RemotePath, RemoteFile>,
}

/// Whose a blob is, by its metadata.
pub struct Origin {
    pub path: RemotePath,
    pub version: String,
    pub member: Option<String>,
}

pub fn origin(info: &BlobInfo) -> Option<Origin> {
    let told = |key: &str| info.metadata.get(key).cloned();
    Some(Origin {
        path: RemotePath::from(told("source_path")?.as_str()),
        version: told("version")?,
        member: told("member"),
    })
}

/// Which version of `path` it is, the oldest being 0, and what it holds.
pub fn known_version(sim: &Sim, path: &RemotePath, version: &str) -> Option<(usize, Content)> {
    let tree = sim.tree.lock().unwrap();
    let all = tree.history.get(path)?;
    all.iter()
        .enumerate()
        .find(|(_, content)| content.version(path).to_string() == version)
        .map(|(nth, content)| (nth, content.clone()))
}

/// All blobs of users.
pub fn users_blobs(sim: &Sim) -> Vec<BlobInfo> {
    let mut found = Vec::new();
    sim.store
        .list("acme/", &mut |info| found.push(info))
        .now_or_never()
        .expect("memory does not wait")
        .expect("it lists");
    found
}

/// What stands under a name that is about to be written.
pub async fn before(sim: &Sim, name: &BlobName) -> Option<(BlobInfo, Bytes)> {
    if !is_users(name) {
        return None;
    }
    let info = sim.store.head(name).await.unwrap()?;
    Some((info, sim.store.content(name.as_str())?))
}

/// A blob was written.
pub async fn written(sim: &Arc<Sim>, name: &BlobName, before: Option<(BlobInfo, Bytes)>) {
    let text = name.as_str();
    if is_users(name) {
        its_run_has_begun(sim, name).await;
        blob_is_whole_and_never_goes_back(sim, name, before).await;
    } else if text.ends_with("/ledger/head.json") {
        no_record_vanishes(sim).await;
    } else if text.contains("/result-") {
        result_tells_what_is_recorded(sim, text);
    } else if text.starts_with("_blobferry/acme/runs/") {
        report_adds_up(sim, text);
    }
}

/// I12: a run that commits has told the ledger that it began, or the next one would not look for
/// what it leaves. Pieces are called `<run>-<pass>/<piece>`.
async fn its_run_has_begun(sim: &Arc<Sim>, name: &BlobName) {
    let info = sim.store.head(name).await.unwrap().expect("it was just written");
    let run = info.metadata.get("run").cloned().unwrap_or_default();
    let begun = {
        let witness = sim.witness.lock().unwrap();
        witness.begun.iter().any(|begun| begun.starts_with(&run))
    };
    if !begun {
        sim.violation(format!("I12 begun: `{name}` is written by {run}, which has not begun"));
    }
}

/// I5, I7, I8: whole content of the version that its metadata names; under `keep` never another
/// one's place; under `overwrite` never an older one in the place of a newer.
async fn blob_is_whole_and_never_goes_back(
    sim: &Arc<Sim>,
    name: &BlobName,
    before: Option<(BlobInfo, Bytes)>,
) {
    sim.count("blobs written");
    let info = sim.store.head(name).await.unwrap().expect("it was just written");
    let content = sim.store.content(name.as_str()).expect("it was just written");
    let Some(origin) = origin(&info) else {
        return sim.violation(format!("I5 no torn data: `{name}` does not say what it is"));
    };
    let Some((nth, whole)) = known_version(sim, &origin.path, &origin.version) else {
        return sim.violation(format!(
            "I5 no torn data: `{name}` says that it is version {} of `{}`, which there never was",
            origin.version, origin.path
        ));
    };
    let expected = match &origin.member {
        None => Some(whole.bytes),
        Some(member) => whole
            .members
            .into_iter()
            .flatten()
            .find(|(name, _)| name == member)
            .map(|(_, bytes)| bytes),
    };
    // A blob that says so was described before the read only, or with another time after it: it may
    // be what stood there later than the version that it names, and never what stood there earlier.
    // A file that was taken away once it was read may even have been written while it was, as no
    // look could show: then each of its bytes stood at its place in such a version.
    let unseen = info.metadata.contains_key("not_seen_afterwards");
    let moved = info.metadata.contains_key("time_moves");
    let stood_later = (unseen || moved) && stood_since(sim, &origin, nth, &content);
    if expected.as_ref() == Some(&content) {
        // It is what it says.
    } else if stood_later {
        sim.count("files that are a later version than they say");
    } else if unseen && origin.member.is_none() && is_woven(sim, &origin, nth, &content) {
        sim.count("files written while they were read and taken away");
    } else {
        sim.violation(format!(
            "I5 no torn data: `{name}` is not what version {nth} of `{}` holds",
            origin.path
        ));
    }
    let Some((info, old)) = before else { return };
    if sim.versions == Versions::Keep && old != content {
        sim.violation(format!("I7 never rewritten: `{name}` held other content"));
    }
    let older =
        info.metadata.get("version").and_then(|version| known_version(sim, &origin.path, version));
    if old != content && older.is_some_and(|(older, _)| older > nth) {
        sim.violation(format!(
            "I8 newest stays: version {nth} of `{name}` took the place of a newer one"
        ));
    }
}

/// Whether the source held `content` under the path of `origin` when it held its version `nth`, or
/// later.
fn stood_since(sim: &Sim, origin: &Origin, nth: usize, content: &Bytes) -> bool {
    let tree = sim.tree.lock().unwrap();
    let of_version = |version: &Content| match &origin.member {
        None => version.bytes == *content,
        Some(member) => {
            version.members.iter().flatten().any(|(name, bytes)| name == member && bytes == content)
        }
    };
    tree.history.get(&origin.path).is_some_and(|all| all[nth..].iter().any(of_version))
}

/// Whether `content` is as long as version `nth`, and each of its bytes stood at its place in that
/// version or a later one. In what order they come tells nothing: where a file is removed while it
/// is read, what was opened is read on.
fn is_woven(sim: &Sim, origin: &Origin, nth: usize, content: &[u8]) -> bool {
    let tree = sim.tree.lock().unwrap();
    let versions = tree.history.get(&origin.path).map_or(&[][..], |all| &all[nth..]);
    let stood = |(at, byte): (usize, &u8)| {
        versions.iter().any(|version| version.bytes.get(at) == Some(byte))
    };
    versions.first().is_some_and(|first| first.bytes.len() == content.len())
        && content.iter().enumerate().all(stood)
}

/// I2, I4: what was recorded stays in the ledger, whatever becomes of head, journals and snapshot.
async fn no_record_vanishes(sim: &Arc<Sim>) {
    sim.count("heads written");
    let files = match files_of_ledger(sim).await {
        Ok(files) => files,
        Err(error) => {
            return sim.violation(format!("I2 nothing lost: the ledger cannot be read: {error}"));
        }
    };
    let recorded = sim.witness.lock().unwrap().recorded.clone();
    let there: HashSet<&str> = files
        .iter()
        .filter(|file| recorded.contains(file))
        .map(|(path, _)| path.as_str())
        .collect();
    if let Some((path, _)) = recorded.iter().find(|(path, _)| !there.contains(path.as_str())) {
        sim.violation(format!(
            "I2 nothing lost: the record of `{path}` has vanished from the ledger"
        ));
    }
}

/// Path and version of every file in the ledger.
pub async fn files_of_ledger(sim: &Sim) -> Result<Vec<(String, String)>, String> {
    let mut files = Vec::new();
    let mut visit = |path: RemotePath, known: blobferry::rules::plan::known::Known| {
        files.push((path.to_string(), known.version.to_string()))
    };
    let read =
        each_file(sim.store.clone(), "acme", quick(), CancellationToken::new(), &mut visit).await;
    read.map(|()| files).map_err(|error| blobferry::model::chain(&error))
}

/// Lines were appended: each record of a file speaks of a version that there was (I6) and that is
/// in the store (I1).
pub fn appended(sim: &Arc<Sim>, name: &BlobName, bytes: &[u8]) {
    if !name.as_str().contains("/ledger/journal-") {
        return;
    }
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let Ok(line) = serde_json::from_slice::<Value>(line) else {
            return sim.violation("a line of a journal is no JSON".into());
        };
        if line["t"] == "begin" {
            let run = line["run"].as_str().unwrap_or_default().to_owned();
            sim.witness.lock().unwrap().begun.insert(run);
        }
        if line["t"] != "file" {
            continue;
        }
        sim.count("records");
        let told = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        let (path, version) = (told("path"), told("version"));
        if let Err(violation) = record_is_true(sim, &path, &version) {
            sim.violation(violation);
        }
        let mut witness = sim.witness.lock().unwrap();
        witness.by_run.insert((told("run"), path.clone()));
        witness.recorded.insert((path, version));
    }
}

/// I1, I6: the ledger never speaks of what is not in the store, or never was.
pub fn record_is_true(sim: &Sim, path: &str, version: &str) -> Result<(), String> {
    let at = RemotePath::from(path);
    let Some((nth, content)) = known_version(sim, &at, version) else {
        return Err(format!(
            "I6 no phantom: a record speaks of version {version} of `{path}`, which there never was"
        ));
    };
    let of_path: Vec<(BlobInfo, Origin)> = users_blobs(sim)
        .into_iter()
        .filter_map(|info| origin(&info).map(|origin| (info, origin)))
        .filter(|(_, origin)| origin.path == at)
        .collect();
    let is_newer = |origin: &Origin| {
        sim.versions == Versions::Overwrite
            && known_version(sim, &at, &origin.version).is_some_and(|(newer, _)| newer >= nth)
    };
    // Of an archive that was replaced or taken away while it was read, what its members hold was
    // looked at when they were written: nobody can know its version.
    let is_marked = |info: &BlobInfo| {
        ["not_seen_afterwards", "time_moves"].iter().any(|mark| info.metadata.contains_key(*mark))
    };
    let of_unknown =
        of_path.iter().any(|(info, origin)| origin.version == version && is_marked(info));
    let there = match &content.members {
        Some(_) if of_unknown => true,
        None => of_path.iter().any(|(_, origin)| origin.version == version || is_newer(origin)),
        Some(members) => members.iter().all(|(name, bytes)| {
            let mut of_member =
                of_path.iter().filter(|(_, origin)| origin.member.as_ref() == Some(name));
            of_member.any(|(info, origin)| {
                is_newer(origin) || sim.store.content(&info.name).as_ref() == Some(bytes)
            })
        }),
    };
    if there {
        Ok(())
    } else {
        Err(format!("I1 never leads: version {nth} of `{path}` is recorded and not in the store"))
    }
}

fn json(sim: &Sim, name: &str) -> Value {
    let bytes = sim.store.content(name).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

/// I1 for pieces: a result tells of no more files than the piece has recorded.
fn result_tells_what_is_recorded(sim: &Sim, name: &str) {
    sim.count("results of pieces");
    let mut parts = name.trim_end_matches(".json").rsplit('/');
    let (id, pass) = (
        parts.next().unwrap_or_default().trim_start_matches("result-"),
        parts.next().unwrap_or_default(),
    );
    let run = format!("{pass}/{id}");
    let told = json(sim, name)["report"]["ingested"].as_u64().unwrap_or(0);
    let recorded =
        sim.witness.lock().unwrap().by_run.iter().filter(|(by, _)| *by == run).count() as u64;
    if told > recorded {
        sim.violation(format!(
            "I1 result: piece {run} tells of {told} files and has recorded {recorded}"
        ));
    }
}

/// I9: the counts of a report come to what was listed; that of a pass in pieces tells of every file
/// of its plan.
fn report_adds_up(sim: &Sim, name: &str) {
    sim.count("reports");
    let report = json(sim, name);
    let count = |key: &str| report[key].as_u64().unwrap_or(0);
    let sum: u64 = ["ingested", "unchanged", "skipped", "gone", "deferred", "failed"]
        .iter()
        .map(|key| count(key))
        .sum();
    if sum != count("listed") {
        sim.violation(format!("I9 sum: {report}"));
    }
    let open = json(sim, "_blobferry/acme/ledger/head.json")["pass"].clone();
    if open["run"] != report["run"] {
        return;
    }
    let plan = json(
        sim,
        &format!("_blobferry/acme/work/{}/plan.json", open["id"].as_str().unwrap_or_default()),
    );
    let planned =
        plan["files"].as_u64().unwrap_or(0) + plan["surveyed"]["listed"].as_u64().unwrap_or(0);
    if planned != count("listed") {
        sim.violation(format!(
            "I9 sum: {planned} files were planned, the report tells of {}: {report}",
            count("listed")
        ));
    }
}

/// For the mutant that removes a file at the source when a blob of it is there.
pub async fn remove_what_is_stored(sim: &Arc<Sim>, name: &BlobName) {
    let info = sim.store.head(name).await.unwrap();
    if let Some(origin) = info.as_ref().and_then(origin) {
        server::remove(sim, &origin.path, None);
    }
}
