//! The judge: it knows what the server truly held, reads what is stored, and uses nothing of the
//! program but the words of its report.

use std::collections::BTreeMap;

use blobferry::model::{BlobName, RemotePath};
use blobferry::report::{SourceReport, Status};
use blobferry::store::contract::Store;
use blobferry::store::memory::MemoryStore;
use bytes::Bytes;
use futures_util::FutureExt;

use super::lie::Met;
use super::scene::WireScene;

/// What is stored: of each path of the source its contents.
pub type StoredHere = BTreeMap<RemotePath, Vec<Bytes>>;

/// The names of what was brought, without the program's own state.
pub fn names(store: &MemoryStore) -> Vec<String> {
    store.names().into_iter().filter(|name| !name.starts_with("_blobferry/")).collect()
}

/// Reads the store.
pub fn stored(store: &MemoryStore) -> StoredHere {
    let mut found = StoredHere::new();
    for name in names(store) {
        let name = BlobName::new(name).unwrap();
        let info = store.head(&name).now_or_never().unwrap().unwrap().unwrap();
        let path = info.metadata.get("source_path").cloned().unwrap_or_default();
        let content = store.content(name.as_str()).unwrap();
        found.entry(decoded(&path)).or_default().push(content);
    }
    found
}

/// A path as metadata spell it.
fn decoded(text: &str) -> RemotePath {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend(&part.as_bytes()[2..]);
    }
    RemotePath::new(bytes)
}

/// Every blob holds the bytes of a file that the server truly had under its path.
pub fn blobs_are_true(scene: &WireScene) -> Vec<String> {
    let truth = scene.truth();
    let mut found = Vec::new();
    for (path, contents) in stored(&scene.store) {
        let known = truth.history.get(&path).map_or(&[][..], Vec::as_slice);
        for content in contents.iter().filter(|content| !known.contains(content)) {
            let start = String::from_utf8_lossy(&content[..content.len().min(60)]).into_owned();
            let length = content.len();
            found.push(format!("under `{path}` stand {length} bytes that were never its: {start}"));
        }
    }
    found
}

/// Files of which not the last bytes are stored.
pub fn missing(scene: &WireScene) -> Vec<RemotePath> {
    let (truth, stored) = (scene.truth(), stored(&scene.store));
    let is_stored = |path: &RemotePath, contents: &[Bytes]| {
        contents.last().is_none_or(|last| stored.get(path).is_some_and(|all| all.contains(last)))
    };
    let all = truth.history.iter();
    all.filter(|(path, contents)| !is_stored(path, contents))
        .map(|(path, _)| path.clone())
        .collect()
}

/// Judges a run that came to its end while the server lied.
pub fn judge(scene: &WireScene, report: &SourceReport) -> Vec<String> {
    let mut found = blobs_are_true(scene);
    let SourceReport { ingested, unchanged, skipped, gone, deferred, failed, .. } = report;
    if report.listed != ingested + unchanged + skipped + gone + deferred + failed {
        found.push(format!("its sums do not add up: {report}"));
    }
    let is_ok = report.status() == Status::Ok;
    if is_ok {
        // All files are old: nothing may wait but what is named, by itself or by its folder.
        let waits = |path: &RemotePath| {
            let mut at = path.clone();
            while at.as_bytes() != b"/" {
                let line = format!("{at} (");
                if report.deferred_files.iter().any(|told| told.starts_with(&line)) {
                    return true;
                }
                at = at.parent();
            }
            false
        };
        found.extend(
            missing(scene)
                .into_iter()
                .filter(|path| !waits(path) && scene.truth().files.contains_key(path))
                .map(|path| format!("ok, though `{path}` is not stored: {report}")),
        );
        if scene.is_alone(Met::NeverOk) && !scene.fired().is_empty() {
            found.push(format!("ok, whatever the server did: {report}"));
        }
    }
    let untouched = {
        let truth = scene.truth();
        truth.files.len() == truth.history.len()
    };
    if *gone > 0 && untouched {
        found.push(format!("{gone} files are said to be gone, and none is: {report}"));
    }
    // Every file that was ever there, once.
    if is_ok && scene.is_alone(Met::Arrives) {
        let most = scene.truth().history.len() as u64;
        if report.listed > most {
            found.push(format!("more files were counted than the {most} there are: {report}"));
        }
    }
    found
}
