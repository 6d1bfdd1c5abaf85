//! What must hold when nothing goes wrong any more and two whole runs have been over the source.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use blobferry::model::BlobName;
use blobferry::report::SourceReport;
use blobferry::store::contract::{BlobInfo, Etag, Metadata, Store};
use blobferry::transfer::settings::{After, Versions};
use bytes::Bytes;
use serde_json::Value;

use super::process::Sim;
use super::witness::{files_of_ledger, origin, record_is_true, users_blobs};

/// Looks at everything; whatever is wrong is a violation.
pub async fn at_rest(sim: &Arc<Sim>, after: &After) {
    let files = match files_of_ledger(sim).await {
        Ok(files) => files,
        Err(error) => {
            return sim.violation(format!("I2 nothing lost: the ledger cannot be read: {error}"));
        }
    };
    for (path, version) in &files {
        if let Err(violation) = record_is_true(sim, path, version) {
            sim.violation(format!("{violation} (at rest)"));
        }
    }
    every_file_is_recorded(sim, &files.into_iter().collect(), after);
    every_record_has_a_line(sim);
    no_version_twice(sim);
    no_path_twice_in_the_snapshot(sim);
    newest_is_stored(sim);
    nothing_is_left_over(sim);
}

/// I2: every file that is at the source is in the ledger as it is. A version of the same bytes is
/// as good: only its time moved.
fn every_file_is_recorded(sim: &Sim, files: &HashSet<(String, String)>, after: &After) {
    let tree = sim.tree.lock().unwrap();
    let missing = tree.files.iter().find(|(path, content)| {
        let equal = tree.history[*path].iter().filter(|version| version.bytes == content.bytes);
        !equal
            .map(|version| (path.to_string(), version.version(path).to_string()))
            .any(|version| files.contains(&version))
    });
    let missing = missing.map(|(path, _)| path.clone());
    let left = tree.files.keys().next().filter(|_| *after == After::Delete).cloned();
    drop(tree);
    if let Some(path) = missing {
        sim.violation(format!("I2 nothing lost: `{path}` is not in the ledger as it is"));
    }
    if let Some(path) = left {
        sim.violation(format!(
            "I2 nothing lost: `{path}` is still at the source, though it is to be removed"
        ));
    }
}

/// I11: of every record that was ever durable, some run's manifest has a line, whoever died.
fn every_record_has_a_line(sim: &Sim) {
    let mut told = HashSet::new();
    let manifest = |name: &String| name.contains("/runs/") && name.ends_with(".jsonl");
    for name in sim.store.names().into_iter().filter(manifest) {
        let bytes = sim.store.content(&name).unwrap_or_default();
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let line: Value = serde_json::from_slice(line).unwrap_or_default();
            if line["outcome"] == "ingested" {
                let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
                told.insert((text("path"), text("version")));
                if !line["recovered"].is_null() {
                    sim.count("lines recovered");
                }
            }
        }
    }
    let recorded = sim.witness.lock().unwrap().recorded.clone();
    if let Some((path, version)) = recorded.iter().find(|record| !told.contains(*record)) {
        sim.violation(format!(
            "I11 all told: version {version} of `{path}` is recorded, and no manifest tells of it"
        ));
    }
}

/// I3: at most one blob for each version of a file or member.
fn no_version_twice(sim: &Sim) {
    let mut seen: HashMap<(String, Option<String>, String), String> = HashMap::new();
    for info in users_blobs(sim) {
        let Some(of) = origin(&info) else { continue };
        let name = info.name.clone();
        if let Some(other) = seen.insert((of.path.to_string(), of.member, of.version), info.name) {
            sim.violation(format!(
                "I3 no duplicates: `{other}` and `{name}` are the same version of the same file"
            ));
        }
    }
}

/// I4: the snapshot knows each path once.
fn no_path_twice_in_the_snapshot(sim: &Sim) {
    let head: Value = sim
        .store
        .content("_blobferry/acme/ledger/head.json")
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    let mut paths = HashSet::new();
    for shard in
        head["shards"].as_array().into_iter().flatten().filter_map(|shard| shard["name"].as_str())
    {
        let bytes =
            sim.store.content(&format!("_blobferry/acme/ledger/{shard}")).unwrap_or_default();
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let line: Value = serde_json::from_slice(line).unwrap_or_default();
            if line["t"] == "file" && !paths.insert(line["path"].to_string()) {
                sim.violation(format!("I4 once: the snapshot knows {} twice", line["path"]));
            }
        }
    }
}

/// I8: what is at the source now is what its blob holds.
fn newest_is_stored(sim: &Sim) {
    if sim.versions != Versions::Overwrite {
        return;
    }
    let files = sim.tree.lock().unwrap().files.clone();
    let blobs = users_blobs(sim);
    for (path, content) in files {
        let holds = |member: Option<&str>, bytes: &[u8]| {
            let mut of = blobs.iter().filter(|info| {
                origin(info).is_some_and(|of| of.path == path && of.member.as_deref() == member)
            });
            of.any(|info| sim.store.content(&info.name).is_some_and(|held| held == bytes))
        };
        let newest = match &content.members {
            None => holds(None, &content.bytes),
            Some(members) => members.iter().all(|(name, bytes)| holds(Some(name), bytes)),
        };
        if !newest {
            sim.violation(format!(
                "I8 newest stays: what is stored of `{path}` is not what it holds (at rest)"
            ));
        }
    }
}

/// No pass is open.
fn nothing_is_left_over(sim: &Sim) {
    let head: Value = sim
        .store
        .content("_blobferry/acme/ledger/head.json")
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    if !head["pass"].is_null() {
        sim.violation(format!("a pass is never closed: {}", head["pass"]));
    }
}

/// Every blob of users as it stands.
pub struct Stands {
    info: BlobInfo,
    bytes: Option<Bytes>,
}

pub fn state(sim: &Sim) -> Vec<Stands> {
    let stands = |info: BlobInfo| Stands { bytes: sim.store.content(&info.name), info };
    users_blobs(sim).into_iter().map(stands).collect()
}

/// Whether nothing was written. Of a file whose time moved at every look the version is not known,
/// so that a run without a ledger writes the same bytes once more: in their place, or under the
/// name of the version that it sees now. There, and only there, the bytes count: of the same file,
/// or the same member of it.
pub fn is_as_before(before: &[Stands], after: &[Stands]) -> bool {
    let is_once_more =
        |added: &Stands| before.iter().any(|old| is_marked(old) && is_same_content(old, added));
    let is_old = |stands: &&Stands| before.iter().any(|old| old.info.name == stands.info.name);
    let after: Vec<&Stands> =
        after.iter().filter(|stands| is_old(stands) || !is_once_more(stands)).collect();
    let equal = |(before, after): (&Stands, &&Stands)| {
        let moved = is_marked(before) && is_same_content(before, after);
        before.info.name == after.info.name && (before.info.etag == after.info.etag || moved)
    };
    before.len() == after.len() && before.iter().zip(&after).all(equal)
}

fn is_marked(stands: &Stands) -> bool {
    stands.info.metadata.contains_key("time_moves")
}

/// Whether both hold the same bytes of the same file, or of the same member of it.
fn is_same_content(one: &Stands, other: &Stands) -> bool {
    let content = |stands: &Stands| {
        origin(&stands.info).map(|origin| (origin.path, origin.member, stands.bytes.clone()))
    };
    let content = [content(one), content(other)];
    content[0].is_some() && content[0] == content[1]
}

/// I10: without its ledger the source is gone over again, and nothing becomes another or comes
/// twice.
pub async fn lose_ledger(sim: &Sim) {
    for name in
        sim.store.names().into_iter().filter(|name| name.starts_with("_blobferry/acme/ledger/"))
    {
        sim.store.delete(&BlobName::new(name).unwrap()).await.unwrap();
    }
    let mut witness = sim.witness.lock().unwrap();
    witness.recorded.clear();
}

/// What a run over a quiet world may not say.
pub fn is_well(sim: &Sim, what: &str, report: &SourceReport) {
    if report.failed > 0
        || report.deferred > 0
        || !report.problems.is_empty()
        || report.left_to.is_some()
        || report.unusable
    {
        sim.violation(format!("I2 nothing lost: {what} is not well: {report}"));
    }
}

/// A blob `name` of version `etag` of `path`, which holds `bytes`.
fn stands(name: &str, etag: &str, path: &str, bytes: &'static str, more: &[&str]) -> Stands {
    let mut metadata: Metadata = [("source_path", path), ("version", "v1")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    for pair in more {
        let (key, value) = pair.split_once('=').expect("a pair");
        metadata.insert(key.into(), value.into());
    }
    let info = BlobInfo {
        name: name.into(),
        size: bytes.len() as u64,
        etag: Etag(etag.into()),
        md5: None,
        metadata,
        content_type: None,
    };
    Stands { info, bytes: Some(Bytes::from_static(bytes.as_bytes())) }
}

#[test]
fn what_a_lost_ledger_changes_is_seen() {
    const MOVES: &str = "time_moves=yes";
    let check = |before: &[Stands], after: &[Stands], expected: bool, what: &str| {
        assert_eq!(is_as_before(before, after), expected, "{what}");
    };
    let plain = |etag, bytes| [stands("acme/a", etag, "/a", bytes, &[])];
    check(&plain("1", "one"), &plain("1", "one"), true, "nothing is written");
    check(&plain("1", "one"), &plain("2", "one"), false, "written again without a reason");
    check(&plain("1", "one"), &[], false, "a blob is gone");
    check(&[], &plain("1", "one"), false, "a blob is new");
    let marked = |etag, bytes| [stands("acme/a", etag, "/a", bytes, &[MOVES])];
    check(&marked("1", "one"), &marked("2", "one"), true, "the same bytes in their place");
    check(&marked("1", "one"), &marked("2", "two"), false, "other bytes in their place");
    check(&marked("1", "one"), &[], false, "a marked blob is gone");
    let other_path = [stands("acme/a", "2", "/b", "one", &[MOVES])];
    check(&marked("1", "one"), &other_path, false, "another file in its place");
    let and = |name, path, bytes, more: &[&str]| {
        [stands("acme/a", "1", "/a", "one", &[MOVES]), stands(name, "9", path, bytes, more)]
    };
    let once = marked("1", "one");
    check(&once, &and("acme/a.v2", "/a", "one", &[MOVES]), true, "once more under another version");
    check(&once, &and("acme/a.v2", "/a", "two", &[MOVES]), false, "other bytes under that name");
    check(&once, &and("acme/b", "/b", "one", &[MOVES]), false, "equal bytes of another file");
    let member = [stands("acme/z/m", "1", "/z", "one", &[MOVES, "member=m"])];
    let members = [
        stands("acme/z/m", "1", "/z", "one", &[MOVES, "member=m"]),
        stands("acme/z/n", "9", "/z", "one", &[MOVES, "member=n"]),
    ];
    check(&member, &members, false, "equal bytes of another member");
    let foreign =
        [stands("acme/a", "1", "/a", "one", &[]), stands("acme/c", "9", "/a", "one", &[])];
    check(&plain("1", "one"), &foreign, false, "a copy of a file whose time rests");
}
