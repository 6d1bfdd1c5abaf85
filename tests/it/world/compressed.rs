//! What becomes of compressed files and tars, and of archives in archives.

use std::io::Write;

use super::World;
use super::zips::zip;
use blobferry::transfer::settings::Archives;
use expect_test::expect;

/// A member: its type, its name and its content.
fn member(kind: u8, name: &str, content: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    for (at, text) in [
        (100, "0000644\0"),
        (124, &format!("{:011o}\0", content.len())),
        (136, "14712345670\0"),
        (148, "        "),
        (257, "ustar\x0000"),
    ] {
        block[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
    block[156] = kind;
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block.extend(content);
    block.resize(block.len().next_multiple_of(512), 0);
    block
}

pub fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let members = members.iter().map(|(name, content)| member(b'0', name, content));
    members.chain([vec![0; 1024]]).collect::<Vec<_>>().concat()
}

pub fn gz(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_tar_gz_is_one_archive() {
    let archive = [
        member(b'0', "x", b"1"),
        member(b'0', "./d/y.csv", b"2"),
        member(b'2', "link", b""),
        member(b'0', "z", b""),
        vec![0; 1024],
    ];
    let world = World::new().file("/a.tar.gz", gz(&archive.concat()));
    let ran = world.run().await;
    expect![[r#"
        acme (memory://server)
          listed 1 = ingested 1 + unchanged 0 + skipped 0 + gone 0 + deferred 0 + failed 0
          3 blobs from 151 B
          1 archive: members 4 = stored 3 + identical 0 + skipped 1 (1 symbolic link)
          note: /a.tar.gz: symbolic links are not stored (1): `link`
        Ok, exit 0
    "#]]
    .assert_eq(&ran.to_string());
    assert_eq!(world.names(), ["acme/a.tar.gz!/d/y.csv", "acme/a.tar.gz!/x", "acme/a.tar.gz!/z"]);
    assert_eq!(
        (world.text("acme/a.tar.gz!/x"), world.text("acme/a.tar.gz!/d/y.csv")),
        ("1".into(), "2".into())
    );
    let info = world.info("acme/a.tar.gz!/x").await;
    assert_eq!(info.metadata.get("mtime").map(String::as_str), Some("2024-11-05T07:39:36Z"));
    assert_eq!(world.run().await.brief(), "ok: unchanged 1");
}

#[tokio::test]
async fn a_compressed_file_is_stored_as_what_it_was() {
    let world = World::new()
        .file("/report.csv.gz", gz(b"a,b\n"))
        .file("/odd", gz(b"content"))
        .file("/plain.tar", tar(&[("m", b"x")]));
    assert_eq!(world.run().await.brief(), "ok: ingested 3");
    assert_eq!(
        world.names(),
        ["acme/odd!/odd", "acme/plain.tar!/m", "acme/report.csv.gz!/report.csv"]
    );
    assert_eq!(world.text("acme/report.csv.gz!/report.csv"), "a,b\n");
    let kept = World::new()
        .with(|source| source.archives = Archives::Keep)
        .file("/report.csv.gz", gz(b"a,b\n"));
    assert_eq!(
        (kept.run().await.brief().as_str(), kept.names()),
        ("ok: ingested 1", vec!["acme/report.csv.gz".to_owned()])
    );
}

#[tokio::test]
async fn a_compressed_drawing_stays_whole() {
    let world = World::new().file("/a.svgz", gz(b"<svg/>"));
    assert_eq!(
        (world.run().await.brief().as_str(), world.names()),
        ("ok: ingested 1", vec!["acme/a.svgz".to_owned()])
    );
    let world = World::new()
        .with(|source| source.unpacking.unpack_documents = true)
        .file("/a.svgz", gz(b"<svg/>"));
    assert_eq!(
        (world.run().await.brief().as_str(), world.names()),
        ("ok: ingested 1", vec!["acme/a.svgz!/a.svgz".to_owned()])
    );
}

#[tokio::test]
async fn a_damaged_tar_gz_shows_nothing_and_says_where() {
    let inside = tar(&[("first", b"1"), ("last", &[7; 5000])]);
    let whole = gz(&inside);
    let mut spoilt_crc = whole.clone();
    let at = spoilt_crc.len() - 8;
    spoilt_crc[at] ^= 1;
    let mut spoilt_tar = inside.clone();
    spoilt_tar[1024] ^= 1;
    for (bytes, why) in [
        (spoilt_crc, "the gz stream, at byte"),
        (whole[..whole.len() - 20].to_vec(), "the gz stream, at byte"),
        (gz(&spoilt_tar), "the checksum of the header at byte 1024 does not hold"),
        (gz(&inside[..3000]), "unpacking member `last`"),
        ([&whole[..], b"junk"].concat(), "something follows the end of the gz stream"),
    ] {
        let world = World::new().file("/a.tgz", bytes).file("/b", "b");
        let ran = world.run().await;
        assert_eq!(
            (ran.brief().as_str(), world.names()),
            ("degraded: ingested 1, failed 1 [archive_damaged]", vec!["acme/b".to_owned()])
        );
        assert!(ran.to_string().contains(why), "{why}: {ran}");
    }
}

#[tokio::test]
async fn archives_in_archives_are_opened_down_to_the_depth() {
    let deepest = zip(&[("too-deep", b"x")]);
    let c = zip(&[("d", b"content"), ("e.zip", &deepest)]);
    let b = gz(&tar(&[("c.zip", &c), ("plain", b"1")]));
    let a = zip(&[("f/b.tar.gz", &b), ("g.csv.gz", &gz(b"csv"))]);
    let at_depth = async |depth: u32| {
        let world =
            World::new().with(|source| source.unpacking.depth = depth).file("/a.zip", a.clone());
        assert_eq!(world.run().await.brief(), "ok: ingested 1", "depth {depth}");
        world
    };
    let world = at_depth(3).await;
    let expected = [
        "acme/a.zip!/f/b.tar.gz!/c.zip!/d",
        "acme/a.zip!/f/b.tar.gz!/c.zip!/e.zip",
        "acme/a.zip!/f/b.tar.gz!/plain",
        "acme/a.zip!/g.csv.gz!/g.csv",
    ];
    assert_eq!(
        (world.names(), world.text(expected[0])),
        (expected.map(str::to_owned).to_vec(), "content".to_owned())
    );
    assert_eq!(world.store.content(expected[1]).unwrap(), deepest);
    assert_eq!(
        at_depth(2).await.names(),
        [
            "acme/a.zip!/f/b.tar.gz!/c.zip",
            "acme/a.zip!/f/b.tar.gz!/plain",
            "acme/a.zip!/g.csv.gz!/g.csv"
        ]
    );
    assert_eq!(at_depth(1).await.names(), ["acme/a.zip!/f/b.tar.gz", "acme/a.zip!/g.csv.gz"]);
    assert!(
        at_depth(4)
            .await
            .names()
            .contains(&"acme/a.zip!/f/b.tar.gz!/c.zip!/e.zip!/too-deep".to_owned())
    );
}

#[tokio::test]
async fn a_damaged_archive_deep_inside_is_named() {
    let mut c = gz(b"content");
    let at = c.len() - 6;
    c[at] ^= 1;
    let world = World::new().file("/a.zip", zip(&[("1", b"1"), ("b.tar", &tar(&[("c.gz", &c)]))]));
    let ran = world.run().await;
    assert_eq!(
        (ran.brief().as_str(), world.names().len()),
        ("degraded: ingested 1, problem [archive_damaged]", 2)
    );
    assert!(ran.to_string().contains("the gz stream, at byte"), "{ran}");
    assert!(ran.to_string().contains("c.gz") || ran.to_string().contains("`c`"), "{ran}");
}
