//! What every blob says of itself.

use super::zips::{entry, zip_of};
use super::{LONG_AGO, World};
use blobferry::model::RemotePath;
use expect_test::expect;
use md5::Digest;

#[tokio::test]
async fn a_blob_tells_where_it_comes_from() {
    let world = World::new().file("/in/ü 1%.csv", "one");
    world.run().await;
    let info = world.info("acme/in/ü 1%25.csv").await;
    let lines: Vec<String> = info
        .metadata
        .iter()
        .filter(|(key, _)| *key != "run")
        .map(|(key, value)| format!("{key}: {value}"))
        .collect();
    expect![[r"
        mtime: 2024-01-01T00:00:00Z
        source: acme
        source_path: /in/%C3%BC%201%25.csv
        source_size: 3
        version: 6014b09410ccaaf173b26ee746fefc83"]]
    .assert_eq(&lines.join("\n"));
    assert!(info.metadata.contains_key("run"));
}

#[tokio::test]
async fn every_blob_has_its_md5_and_metadata_that_headers_can_carry() {
    let world =
        World::new().file("/empty", "").file("/small.csv", "x").file("/big", vec![7; 20 << 20]);
    let world = world.file(
        "/a.zip",
        zip_of(&[
            entry("é\u{1f600}.txt", b"m"),
            entry("../up", b"n"),
            entry("big", &vec![9; 9 << 20]),
        ]),
    );
    world.server.put("/caf\u{e9}\u{7}", "bell", LONG_AGO);
    assert_eq!(world.run().await.brief(), "ok: ingested 5");
    for (name, content) in world.contents() {
        let info = world.info(&name).await;
        assert_eq!(info.md5, Some(md5::Md5::digest(&content).into()), "{name}");
        for (key, value) in &info.metadata {
            assert!(
                !value.is_empty() && value.bytes().all(|byte| (0x21..0x7f).contains(&byte)),
                "{name}: {key}: {value:?}"
            );
        }
        for key in ["mtime", "source", "source_path", "source_size", "version", "run"] {
            assert!(info.metadata.contains_key(key), "{name} has no {key}");
        }
    }
}

#[tokio::test]
async fn the_type_comes_from_the_name_or_from_the_first_bytes() {
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    let world = World::new()
        .file("/a.json", "{}")
        .file("/noname", png)
        .file("/x.unknownext", "text")
        .file("/e", "");
    world.run().await;
    for (name, expected) in [
        ("a.json", "application/json"),
        ("noname", "image/png"),
        ("x.unknownext", "application/octet-stream"),
    ] {
        assert_eq!(
            world.info(&format!("acme/{name}")).await.content_type.as_deref(),
            Some(expected),
            "{name}"
        );
    }
}

#[tokio::test]
async fn names_of_any_bytes_and_any_length_arrive() {
    let world = World::new();
    for path in [
        &b"/\xff\xfe"[..],
        b"/a\\b",
        b"/x\n",
        b"/end.",
        b"/%",
        &[b"/".as_slice(), &[b'x'; 3_500]].concat(),
    ] {
        let file = blobferry::source::memory::MemoryFile {
            content: "x".into(),
            modified: super::at(LONG_AGO),
            claimed_size: Some(1),
            listed: None,
        };
        world.server.tree().files.insert(RemotePath::new(path), file);
    }
    assert_eq!((world.run().await.brief().as_str(), world.names().len()), ("ok: ingested 6", 6));
    assert_eq!(world.run().await.brief(), "ok: unchanged 6");
}
