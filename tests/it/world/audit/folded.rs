//! Each fact of a ledger that was folded (head, index, shards), of a quarantine, and of an archive
//! beside it: whichever is removed, shortened or changed at any place is missed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use blobferry::audit::{self, Bytes, Findings};
use blobferry::history::record::Trigger;
use blobferry::ledger::{Ledger, Tuning};
use blobferry::run::recorded;
use blobferry::store::contract::Store;
use blobferry::store::folder::FolderStore;
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::super::zips::{entry, zip_of};
use super::super::{World, quick};
use super::told;

fn store(folder: &TempDir) -> Arc<dyn Store> {
    Arc::new(FolderStore::new(folder.path()).unwrap())
}

async fn found(world: &World, folder: &TempDir) -> Findings {
    let sources = std::slice::from_ref(&world.source);
    let found = audit::audit(store(folder), sources, Bytes::Read, quick(), &|_| {}).await;
    found.expect("the store can be read").pop().expect("one source")
}

/// Runs over files and an archive, folded into shards of two files.
async fn folded() -> (World, TempDir) {
    let archive = zip_of(&[entry("m.txt", b"mm")]);
    let world = World::new().file("/z.zip", archive);
    (0..7).for_each(|n| world.put(&format!("/f{n}.csv"), format!("{n}"), super::LONG_AGO));
    let folder = TempDir::new().unwrap();
    let options = world.options(store(&folder), CancellationToken::new());
    let report = recorded(vec![world.source.clone()], options, Trigger::Command).await;
    assert_eq!(report.exit_code(), 0);
    let tuning = Tuning { lines: 0, share: 1, journals: 0, shard_files: 2 };
    let cancel = CancellationToken::new();
    let ledger =
        Ledger::open_tuned(store(&folder), "acme", "fold", quick(), cancel, tuning).await.unwrap();
    ledger.begin(OffsetDateTime::now_utc()).await.unwrap();
    ledger.end().await.unwrap();
    (world, folder)
}

/// What the ledger is made of.
fn facts(folder: &TempDir) -> Vec<PathBuf> {
    let ledger = folder.path().join("_blobferry/acme/ledger");
    let mut files: Vec<_> =
        fs::read_dir(ledger).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.is_file());
    files.sort();
    files
}

/// Writes other bytes in place, as a disk does it.
fn rot(path: &Path, bytes: &[u8]) {
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    fs::write(path, bytes).unwrap();
    let times = fs::FileTimes::new().set_modified(modified);
    fs::File::options().write(true).open(path).unwrap().set_times(times).unwrap();
}

#[tokio::test]
async fn whichever_fact_of_a_folded_ledger_is_removed_cut_or_changed_is_missed() {
    let (world, folder) = folded().await;
    assert_eq!(told(&found(&world, &folder).await), [""; 0]);
    let facts = facts(&folder);
    for kind in ["head", "index", "shard", "journal"] {
        let is_one =
            |path: &&PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(kind);
        assert!(facts.iter().any(|path| is_one(&path)), "there is no {kind}: {facts:?}");
    }
    let mut missed = Vec::new();
    for path in &facts {
        let bytes = fs::read(path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        // A byte at each seventh of it, the first and the last ones; and cut there.
        let places = (0..7).map(|part| bytes.len() * part / 7).chain([bytes.len() - 1]);
        for at in places {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            for (what, other) in [("flipped", &flipped[..]), ("cut", &bytes[..at])] {
                rot(path, other);
                if found(&world, &folder).await.violations.total == 0 {
                    missed.push(format!("{name} {what} at {at} of {}", bytes.len()));
                }
            }
        }
        fs::remove_file(path).unwrap();
        if found(&world, &folder).await.violations.total == 0 {
            missed.push(format!("{name} removed"));
        }
        fs::write(path, &bytes).unwrap();
    }
    assert_eq!(told(&found(&world, &folder).await), [""; 0], "all of it is as it was");
    assert!(missed.is_empty(), "{missed:#?}");
}
