//! What was tampered with is found, and nothing else.

use std::sync::Arc;

use blobferry::audit::{self, Bytes};
use blobferry::model::{BlobName, Version};
use blobferry::store::contract::{Metadata, Store, StoreKind};
use blobferry::store::folder::FolderStore;
use blobferry::store::memory::{MemoryFault, MemoryOp};
use blobferry::transfer::settings::Versions;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::super::ledger::{journal, rewrite};
use super::super::{LONG_AGO, World, quick};
use super::{
    clean, delete, file, found, full, note_in_ledger, of_run, put, tamper, told, violated,
};

async fn rewrite_lines(world: &World, change: impl FnOnce(&mut Vec<String>)) {
    let name = of_run(world, ".jsonl");
    rewrite(world, &BlobName::new(name).unwrap(), |bytes| {
        let mut lines: Vec<String> =
            String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect();
        change(&mut lines);
        lines.iter().flat_map(|line| format!("{line}\n").into_bytes()).collect()
    })
    .await;
}

async fn change_report(world: &World, change: impl FnOnce(&mut Value)) {
    let name = of_run(world, ".json");
    let mut report: Value = serde_json::from_slice(&world.store.content(&name).unwrap()).unwrap();
    change(&mut report);
    put(world, &name, serde_json::to_vec(&report).unwrap(), Metadata::new(), None).await;
}

#[tokio::test]
async fn a_blob_that_was_deleted_is_missed() {
    let world = full();
    world.run().await;
    delete(&world, "acme/a.csv").await;
    violated(
        &world,
        &[
            "I1 acme/a.csv /a.csv: the ledger says that its version",
            "manifest acme/a.csv /a.csv: `_blobferry/acme/runs/",
        ],
    )
    .await;
}

#[tokio::test]
async fn an_earlier_version_that_was_deleted_is_missed_unless_it_may_be_replaced() {
    for versions in [Versions::Keep, Versions::Overwrite] {
        let world = World::new().with(|source| source.versions = versions).file("/a.csv", "one");
        world.run().await;
        world.put("/a.csv", "two!", LONG_AGO + 60);
        world.run().await;
        if versions == Versions::Keep {
            delete(&world, "acme/a.csv").await;
            violated(&world, &["I1 acme/a.csv /a.csv: ", "manifest acme/a.csv /a.csv: "]).await;
        } else {
            // Now the other policy is set: the past one explains what is gone.
            let world = world.with(|source| source.versions = Versions::Keep);
            clean(&world).await;
        }
    }
}

#[tokio::test]
async fn a_member_or_a_manifest_of_an_archive_that_was_deleted_is_missed() {
    let world = full();
    world.run().await;
    delete(&world, "acme/c.zip!/2.txt").await;
    violated(&world, &["I1 acme/c.zip!/2.txt /c.zip: `_blobferry/acme/archives/"]).await;
    let world = full();
    world.run().await;
    let name = world.store.names().into_iter().find(|name| name.contains("/archives/")).unwrap();
    delete(&world, &name).await;
    violated(
        &world,
        &[
            &format!("manifest {name} /c.zip: `_blobferry/acme/runs/"),
            "I1 acme/c.zip /c.zip: the ledger says",
        ],
    )
    .await;
}

#[tokio::test]
async fn other_bytes_are_found_by_size_by_md5_and_by_reading() {
    for (name, invariant) in [
        ("acme/a.csv", "manifest acme/a.csv /a.csv"),
        ("acme/c.zip!/2.txt", "I1 acme/c.zip!/2.txt /c.zip"),
    ] {
        let world = full();
        world.run().await;
        tamper(&world, name, |bytes, _| bytes[0] ^= 1).await;
        violated(&world, &[&format!("{invariant}: its size or MD5 is not what")]).await;
    }
    let world = full();
    world.run().await;
    tamper(&world, "acme/a.csv", |bytes, _| bytes.push(b'!')).await;
    violated(
        &world,
        &[
            "manifest acme/a.csv /a.csv: its size or MD5",
            "I5 acme/a.csv /a.csv: it has 4 bytes, its file had 3",
        ],
    )
    .await;
}

/// A folder's blobs are files: what is changed behind its back shows when it is read.
#[tokio::test]
async fn bytes_that_rotted_are_found_by_reading_them() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(FolderStore::new(folder.path()).unwrap());
    let world = full();
    let big: Vec<u8> = (0..9 << 20).map(|n: u32| u8::try_from(n % 251).unwrap()).collect();
    world.put("/big", big, LONG_AGO);
    let report = world.run_into(store.clone(), CancellationToken::new()).await.report;
    assert_eq!(report.exit_code(), 0);
    let look = async |bytes| {
        let sources = std::slice::from_ref(&world.source);
        audit::audit(store.clone(), sources, bytes, quick(), &|_| {}).await.unwrap().pop().unwrap()
    };
    let whole = look(Bytes::Read).await;
    assert_eq!((told(&whole), whole.checked.downloaded_bytes), (Vec::new(), (9 << 20) + 12));
    let path = folder.path().join("acme/big");
    let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[5 << 20] ^= 1;
    // In place, as a disk does it.
    use std::io::Write as _;
    let mut disk = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    disk.write_all(&bytes).unwrap();
    disk.set_times(std::fs::FileTimes::new().set_modified(modified)).unwrap();
    drop(disk);
    assert_eq!(told(&look(Bytes::Believed).await), [""; 0]);
    assert_eq!(
        told(&look(Bytes::Read).await),
        ["I5 acme/big /big: its bytes do not have the MD5 that it bears"]
    );
}

#[tokio::test]
async fn metadata_that_was_changed_is_found() {
    let other = Version::of(&file("/other", 1, 1)).to_string();
    let changes: [(&str, &str, &[&str]); 5] = [
        (
            "version",
            &other,
            &[
                "I6 acme/a.csv /a.csv: its metadata `version` is not the one",
                "I1 acme/a.csv /a.csv: the ledger says",
            ],
        ),
        (
            "version",
            "x",
            &[
                "manifest acme/a.csv -: its metadata does not say",
                "I6 acme/a.csv /a.csv: its metadata `version` is none",
                "I1",
            ],
        ),
        (
            "source_path",
            "/b.csv",
            &[
                "I6 acme/a.csv /b.csv: its metadata `version` is not the one",
                "I6 acme/a.csv /b.csv: its version is recorded for another path",
                "I1",
            ],
        ),
        (
            "mtime",
            "2024-01-01T00:00:01Z",
            &["I6 acme/a.csv /a.csv: its metadata `version` is not the one"],
        ),
        (
            "source_size",
            "4",
            &["I5 acme/a.csv /a.csv: it has 3 bytes, its file had 4", "I6 acme/a.csv /a.csv"],
        ),
    ];
    for (key, value, expected) in changes {
        let world = full();
        world.run().await;
        tamper(&world, "acme/a.csv", |_, metadata| drop(metadata.insert(key.into(), value.into())))
            .await;
        violated(&world, expected).await;
    }
}

#[tokio::test]
async fn a_blob_that_somebody_else_wrote_in_its_place_is_found() {
    let world = full();
    world.run().await;
    tamper(&world, "acme/a.csv", |_, metadata| metadata.clear()).await;
    let found = violated(
        &world,
        &[
            "manifest acme/a.csv -: its metadata does not say that it is ours",
            "I1 acme/a.csv /a.csv: the ledger says",
        ],
    )
    .await;
    assert_eq!(found.notes.foreign, 1);
}

#[tokio::test]
async fn a_second_blob_of_the_same_is_found() {
    for name in ["acme/a.csv", "acme/c.zip!/2.txt"] {
        let world = full();
        world.run().await;
        let info = world.info(name).await;
        put(
            &world,
            &format!("{name}~copy"),
            world.store.content(name).unwrap().to_vec(),
            info.metadata,
            info.content_type,
        )
        .await;
        violated(&world, &[&format!("I3 {name}~copy /")]).await;
    }
}

#[tokio::test]
async fn an_old_version_put_back_is_found() {
    let world = World::new().with(|source| source.versions = Versions::Overwrite).file("/a", "old");
    world.run().await;
    let (info, old) = (world.info("acme/a").await, world.store.content("acme/a").unwrap());
    world.put("/a", "newer", LONG_AGO + 60);
    world.run().await;
    clean(&world).await;
    put(&world, "acme/a", old.to_vec(), info.metadata, info.content_type).await;
    violated(
        &world,
        &["manifest acme/a /a: its size or MD5", "I8 acme/a /a: the ledger says that its version"],
    )
    .await;
}

#[tokio::test]
async fn records_that_must_not_be_are_found() {
    let world = full();
    world.run().await;
    let a = file("/a.csv", 3, LONG_AGO);
    let version = Version::of(&a);
    // Another run may say the same again.
    note_in_ledger(&world, "again", &[(&a, version)]).await;
    clean(&world).await;
    note_in_ledger(&world, "twice", &[(&a, version), (&a, version)]).await;
    violated(&world, &["I4 _blobferry/acme/ledger/journal-"]).await;
    let world = full();
    world.run().await;
    note_in_ledger(
        &world,
        "phantom",
        &[(&file("/a.csv", 3, LONG_AGO), Version::of(&file("/never", 1, 1)))],
    )
    .await;
    violated(
        &world,
        &["I6 _blobferry/acme/ledger/journal-", "I1 acme/a.csv /a.csv: the ledger says"],
    )
    .await;
    let world = full();
    world.run().await;
    let never = file("/never", 9, LONG_AGO);
    note_in_ledger(&world, "early", &[(&never, Version::of(&never))]).await;
    violated(&world, &["I1 acme/never /never: the ledger says that its version"]).await;
}

#[tokio::test]
async fn a_damaged_or_later_ledger_is_told_with_the_way_back_and_the_rest_is_checked() {
    let world = full();
    world.run().await;
    rewrite(&world, &journal(&world), |bytes| bytes[..40].iter().chain(b"\n").copied().collect())
        .await;
    let found = violated(
        &world,
        &["ledger _blobferry/acme/ledger/head.json -: the ledger of `acme` cannot be used \
            (`blobferry ledger rebuild --source acme`"],
    )
    .await;
    assert_eq!((found.checked.blobs, found.checked.lines, found.notes.unrecorded), (5, 4, 0));
    delete(&world, "acme/a.csv").await;
    violated(&world, &["ledger ", "manifest acme/a.csv /a.csv: "]).await;
    let world = full();
    world.run().await;
    rewrite(&world, &blobferry::ledger::head_name("acme"), |_| b"{\"schema\":99}\n".to_vec()).await;
    let found = violated(&world, &["ledger "]).await;
    assert!(told(&found)[0].contains("run that release, or a later one"), "{:?}", told(&found));
}

#[tokio::test]
async fn a_report_that_was_falsified_is_found() {
    let world = full();
    world.run().await;
    change_report(&world, |report| report["ingested"] = 5.into()).await;
    let expected = [
        "I9 _blobferry/acme/runs/",
        "manifest _blobferry/acme/runs/",
        "manifest _blobferry/acme/runs/",
    ];
    violated(&world, &expected).await;
    let world = full();
    world.run().await;
    change_report(&world, |report| report["members"]["stored"] = 9.into()).await;
    violated(&world, &["I9 _blobferry/acme/runs/"]).await;
    change_report(&world, |report| *report = serde_json::json!([])).await;
    let found = violated(&world, &["I9 _blobferry/acme/runs/"]).await;
    assert!(told(&found)[0].contains("this report cannot be read"), "{:?}", told(&found));
}

#[tokio::test]
async fn lines_that_were_dropped_changed_or_spoilt_are_found() {
    let world = full();
    world.run().await;
    rewrite_lines(&world, |lines| drop(lines.pop())).await;
    let found = found(&world, Bytes::Believed).await;
    assert!(
        told(&found).iter().any(|line| line.contains("it has 3 lines, its report counts 4")),
        "{:?}",
        told(&found)
    );
    let world = full();
    world.run().await;
    let of_a = "f97c5d29941bfb1b2fdab0874906ab82";
    rewrite_lines(&world, |lines| {
        lines.iter_mut().for_each(|line| *line = line.replace(of_a, &"0".repeat(32)))
    })
    .await;
    violated(
        &world,
        &[
            "manifest acme/a.csv /a.csv: its size or MD5 is not what a run's manifest says",
            "manifest _blobferry/acme/runs/",
        ],
    )
    .await;
    let world = full();
    world.run().await;
    rewrite_lines(&world, |lines| lines.push("{not json".into())).await;
    violated(&world, &["manifest _blobferry/acme/runs/"]).await;
    let world = full();
    world.run().await;
    delete(&world, &of_run(&world, ".jsonl")).await;
    let found = violated(&world, &["manifest _blobferry/acme/runs/"]).await;
    assert!(
        told(&found)[0].contains("it is not there, its report says that it has 4 lines"),
        "{:?}",
        told(&found)
    );
}

#[tokio::test]
async fn an_archives_manifest_that_was_changed_is_found() {
    let world = full();
    world.run().await;
    let name = world.store.names().into_iter().find(|name| name.contains("/archives/")).unwrap();
    tamper(&world, &name, |bytes, _| {
        *bytes =
            String::from_utf8(bytes.clone()).unwrap().replace("\"size\": 3", "\"size\": 4").into()
    })
    .await;
    violated(
        &world,
        &[
            "I1 acme/c.zip!/2.txt /c.zip: its size or MD5",
            "I1 acme/c.zip!/d/1.txt /c.zip: its size or MD5",
        ],
    )
    .await;
    tamper(&world, &name, |bytes, _| bytes.truncate(20)).await;
    violated(&world, &[&format!("I1 {name} /c.zip: this manifest of an archive cannot be read")])
        .await;
    let world = full();
    world.run().await;
    tamper(&world, &name, |_, metadata| {
        drop(metadata.insert("mtime".into(), "2020-01-01T00:00:00Z".into()))
    })
    .await;
    violated(&world, &[&format!("I6 {name} /c.zip: its metadata `version` is not the one")]).await;
}

#[tokio::test]
async fn a_store_that_cannot_be_read_is_no_clean_audit() {
    let world = full();
    world.run().await;
    for (op, nth) in [(MemoryOp::Get, 1), (MemoryOp::List, 1), (MemoryOp::List, 2)] {
        world.store.fault(op, nth, MemoryFault::Refused(StoreKind::Denied));
        let sources = std::slice::from_ref(&world.source);
        audit::audit(world.store.clone(), sources, Bytes::Believed, quick(), &|_| {})
            .await
            .expect_err("it cannot be read");
    }
    // What passes is tried again, and nothing is judged twice.
    world.store.fault(MemoryOp::List, 2, MemoryFault::Refused(StoreKind::Unavailable));
    clean(&world).await;
}
