//! Each fact is named by another one: whichever is removed, shortened or changed is missed, and
//! what honest runs, kills and retention leave is not.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use blobferry::audit::{self, Bytes, Findings};
use blobferry::history::record::Trigger;
use blobferry::model::Version;
use blobferry::run::recorded;
use blobferry::store::contract::Store;
use blobferry::store::folder::FolderStore;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::super::zips::{entry, zip_of};
use super::super::{LONG_AGO, World, quick};
use super::{clean, file, full, of_run, put, tamper, told, violated};

/// A folder that runs with records have filled.
struct Filled {
    world: World,
    folder: TempDir,
}

impl Filled {
    async fn run(&self) -> String {
        let store: Arc<dyn Store> = Arc::new(FolderStore::new(self.folder.path()).unwrap());
        let options = self.world.options(store, CancellationToken::new());
        let report = recorded(vec![self.world.source.clone()], options, Trigger::Command).await;
        assert_eq!(report.exit_code(), 0);
        report.run
    }

    /// Two runs that did something: plain files and an archive, then one file more.
    async fn twice() -> Self {
        let archive = zip_of(&[entry("m.txt", b"mm")]);
        let world =
            World::new().file("/a.csv", "one").file("/b.csv", "two").file("/z.zip", archive);
        let filled = Self { world, folder: TempDir::new().unwrap() };
        filled.run().await;
        // Ids of runs tell seconds.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        filled.world.put("/c.csv", "three", LONG_AGO);
        filled.run().await;
        filled
    }

    async fn found(&self) -> Findings {
        let store: Arc<dyn Store> = Arc::new(FolderStore::new(self.folder.path()).unwrap());
        let sources = std::slice::from_ref(&self.world.source);
        let found = audit::audit(store, sources, Bytes::Read, quick(), &|_| {}).await;
        found.expect("the store can be read").pop().expect("one source")
    }

    /// Files of blobs, without locks and caches.
    fn facts(&self) -> Vec<PathBuf> {
        let (mut files, mut folders) = (Vec::new(), vec![self.folder.path().to_owned()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                if path.is_dir() && name != ".blobferry" && name != "_names" {
                    folders.push(path);
                } else if path.is_file() && name != "sources.json" && name != "lock" {
                    files.push(path);
                }
            }
        }
        files.sort();
        files
    }

    fn below(&self, part: &str) -> Vec<PathBuf> {
        let facts = self.facts().into_iter();
        facts.filter(|path| path.to_str().unwrap().contains(part)).collect()
    }
}

/// Writes other bytes in place, as a disk does it.
fn rot(path: &Path, bytes: &[u8]) {
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    fs::write(path, bytes).unwrap();
    let times = fs::FileTimes::new().set_modified(modified);
    fs::File::options().write(true).open(path).unwrap().set_times(times).unwrap();
}

/// What may become of a fact.
type Change = (&'static str, fn(&Path));

const CHANGES: [Change; 5] = [
    ("removed", |path| fs::remove_file(path).unwrap()),
    ("a bit flipped", |path| {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        rot(path, &bytes);
    }),
    ("the last byte gone", |path| {
        let bytes = fs::read(path).unwrap();
        rot(path, &bytes[..bytes.len() - 1]);
    }),
    ("the last line gone", |path| drop_line(path, 1)),
    ("the line before the last gone", |path| drop_line(path, 2)),
];

fn drop_line(path: &Path, from_the_end: usize) {
    let bytes = fs::read(path).unwrap();
    let mut lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    let Some(at) = lines.len().checked_sub(from_the_end).filter(|at| *at > 0) else {
        return rot(path, &bytes[..bytes.len() / 2]);
    };
    lines.remove(at);
    rot(path, &lines.concat());
}

#[tokio::test]
async fn whichever_fact_is_removed_shortened_or_changed_is_missed() {
    let filled = Filled::twice().await;
    let whole = filled.found().await;
    assert_eq!(told(&whole), [""; 0]);
    let facts = filled.facts();
    // Five blobs, two reports, two manifests, two records, one of an archive, head and journal.
    assert!(facts.len() >= 13, "{facts:?}");
    let mut missed = Vec::new();
    for path in &facts {
        let (bytes, modified) =
            (fs::read(path).unwrap(), fs::metadata(path).unwrap().modified().unwrap());
        for (what, change) in CHANGES {
            change(path);
            if filled.found().await.violations.total == 0 {
                missed.push(format!("{} {what}", path.display()));
            }
            fs::write(path, &bytes).unwrap();
            let times = fs::FileTimes::new().set_modified(modified);
            fs::File::options().write(true).open(path).unwrap().set_times(times).unwrap();
        }
    }
    assert_eq!(told(&filled.found().await), [""; 0], "all of it is as it was");
    assert!(missed.is_empty(), "{missed:#?}");
}

#[tokio::test]
async fn a_run_of_which_report_and_manifest_are_gone_is_missed() {
    let filled = Filled::twice().await;
    let last = filled.below("/acme/runs/").pop().unwrap();
    let run = last.file_stem().unwrap().to_str().unwrap().to_owned();
    filled.below(&format!("/acme/runs/{}/{run}", &run[..8])).iter().for_each(|path| {
        fs::remove_file(path).unwrap();
    });
    let found = told(&filled.found().await);
    assert!(found.iter().any(|line| line.contains("says that this report is there")), "{found:?}");
}

#[tokio::test]
async fn a_source_of_which_all_state_is_gone_is_missed() {
    let filled = Filled::twice().await;
    fs::remove_dir_all(filled.folder.path().join("_blobferry/acme")).unwrap();
    let found = told(&filled.found().await);
    assert!(found.iter().any(|line| line.starts_with("witness ")), "{found:?}");
    let filled = Filled::twice().await;
    fs::remove_dir_all(filled.folder.path().join("_blobferry")).unwrap();
    let found = told(&filled.found().await);
    assert!(found.iter().any(|line| line.contains("nothing of its state is there")), "{found:?}");
}

/// Reports, manifests and records of a run that go together were put away by a rule: that is
/// marked, and nothing else is.
#[tokio::test]
async fn what_retention_cut_off_is_marked_and_no_violation() {
    let filled = Filled::twice().await;
    let first = filled.below("/_runs/").remove(0);
    let run = first.file_stem().unwrap().to_str().unwrap().to_owned();
    filled.below(&run).iter().for_each(|path| fs::remove_file(path).unwrap());
    let found = filled.found().await;
    assert_eq!((told(&found), found.notes.before_reports), (Vec::new(), 3));
}

#[tokio::test]
async fn two_runs_that_overlap_leave_nothing_to_be_told() {
    let filled = Filled::twice().await;
    for n in 0..20 {
        filled.world.put(&format!("/n{n}.csv"), format!("{n}"), LONG_AGO);
    }
    let (one, other) = tokio::join!(filled.run(), filled.run());
    assert_ne!(one, other);
    assert_eq!(told(&filled.found().await), [""; 0]);
    filled.run().await;
    assert_eq!(told(&filled.found().await), [""; 0]);
}

#[tokio::test]
async fn two_blobs_that_were_swapped_are_told() {
    let world = full();
    world.run().await;
    world.put("/d.csv", "uno", LONG_AGO);
    world.run().await;
    clean(&world).await;
    let (a, d) = (world.info("acme/a.csv").await, world.info("acme/d.csv").await);
    for (name, info, content) in [("acme/a.csv", &d, "uno"), ("acme/d.csv", &a, "one")] {
        put(&world, name, content.into(), info.metadata.clone(), info.content_type.clone()).await;
    }
    violated(
        &world,
        &[
            "manifest acme/a.csv /d.csv: its size or MD5 is not what",
            "manifest acme/d.csv /a.csv: its size or MD5 is not what",
        ],
    )
    .await;
}

#[tokio::test]
async fn a_blob_that_nothing_claims_is_told_unless_its_run_was_killed() {
    let world = full();
    let run = world.run().await.report.run;
    for (run, expected) in [
        (run.as_str(), &["ledger acme/new /new: its run ended well, and neither"][..]),
        ("20990101T000000Z-00000000", &[]),
    ] {
        let new = file("/new", 3, LONG_AGO);
        let mut metadata = world.info("acme/a.csv").await.metadata;
        metadata.insert("source_path".into(), "/new".into());
        metadata.insert("version".into(), Version::of(&new).to_string());
        metadata.insert("run".into(), run.to_owned());
        put(&world, "acme/new", b"new".to_vec(), metadata, None).await;
        let found = violated(&world, expected).await;
        assert_eq!(found.notes.unrecorded, 1);
    }
}

#[tokio::test]
async fn a_manifest_that_was_changed_where_no_blob_tells_is_told_by_its_report() {
    let world = full();
    world.run().await;
    let name = of_run(&world, ".jsonl");
    tamper(&world, &name, |bytes, _| {
        let text = String::from_utf8(std::mem::take(bytes)).unwrap();
        *bytes = text.replace("\"why\":\"new\"", "\"why\":\"old\"").into_bytes();
    })
    .await;
    violated(&world, &[&format!("manifest {name} -: its bytes do not have the SHA-256")]).await;
}
