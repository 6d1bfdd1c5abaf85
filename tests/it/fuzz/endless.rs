//! Archives that hold themselves, or seem to: only a limit ends them, and what is said is which.

use std::io::Read;
use std::sync::Arc;

use blobferry::archive::options::ArchiveOptions;
use blobferry::archive::recognise;
use blobferry::archive::spool::{SpoolLimits, SpoolRoom, Spooler};
use blobferry::archive::unpack::{Archive, CheckWish};
use blobferry::model::failure::{Class, Failure};
use bytes::Bytes;

use super::quine;
use super::seeds::gz;
use crate::world::World;
use crate::world::zips::zip;

/// The deepest that settings allow.
const DEEPEST: u32 = 100;

#[test]
fn the_quine_unpacks_to_itself() {
    let file = quine::gz();
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&file[..]).read_to_end(&mut unpacked).expect("its checksum holds");
    assert_eq!(unpacked, file);
}

#[tokio::test]
async fn a_file_that_holds_itself_is_opened_as_deep_as_is_set_and_then_kept() {
    let quine = quine::gz();
    let world = World::new().file("/q.gz", quine.clone());
    assert_eq!(world.run().await.brief(), "ok: ingested 1");
    assert_eq!(world.names(), ["acme/q.gz!/q!/q!/q"]);
    assert_eq!(world.store.content("acme/q.gz!/q!/q!/q").expect("it is there"), quine);
    for depth in [1, 2, DEEPEST] {
        let world =
            World::new().with(|source| source.unpacking.depth = depth).file("/q.gz", quine.clone());
        assert_eq!(world.run().await.brief(), "ok: ingested 1");
        assert_eq!(world.names(), [format!("acme/q.gz!/{}q", "q!/".repeat(depth as usize - 1))]);
    }
}

/// Twice itself, again and again: hundreds of bytes that stand for millions of members.
fn doubling(levels: usize) -> Vec<u8> {
    (0..levels).fold(b"x".to_vec(), |inner, _| gz("d.zip", &zip(&[("a", &inner), ("b", &inner)])))
}

#[tokio::test]
async fn a_small_file_that_doubles_at_every_level_fails_by_the_limit_of_members() {
    let file = doubling(24);
    assert!(file.len() < 64 << 10, "{} bytes", file.len());
    let mut world =
        World::new().with(|source| source.unpacking.depth = DEEPEST).file("/d.gz", file);
    world.limits.archive.members = 2000;
    let ran = world.run().await;
    assert_eq!(
        (ran.brief().as_str(), world.names()),
        ("degraded: failed 1 [limit_archive]", vec![])
    );
    assert!(ran.to_string().contains("more than 2000 members"), "{ran}");
}

/// What is open at once is one archive a level, and none of them is more than it has room for.
#[tokio::test]
async fn a_file_that_holds_itself_takes_no_more_room_than_its_levels() {
    let file = quine::gz();
    let check = async |memory_bytes: u64| {
        let folder = std::env::temp_dir();
        let spooler = Spooler::new(SpoolLimits {
            memory_bytes,
            archive_memory_bytes: 4 << 10,
            temp_bytes: 0,
            folder,
        });
        let mut writer = spooler
            .writer(Some(file.len() as u64), SpoolRoom::Wait)
            .await
            .expect("there is room for the outermost");
        writer.write(Bytes::from(file.clone())).await.expect("there is room for the outermost");
        let spool = writer.finish().await.expect("there is room for the outermost");
        let options = Arc::new(ArchiveOptions {
            file_name: "q.gz".into(),
            depth: DEEPEST,
            ..ArchiveOptions::default()
        });
        let format = recognise(&file, "q.gz").expect("it is a gz");
        let archive = Archive { format, spool, options, spooler: spooler.clone(), recognise };
        archive
            .check(CheckWish { keep_bytes: 0, md5: false })
            .await
            .map(|proven| proven.members.len())
    };
    // A kibibyte a level.
    assert_eq!(check(u64::from(DEEPEST) << 10).await.expect("there is room"), 1);
    let error =
        check(u64::from(DEEPEST / 2) << 10).await.expect_err("there is room for half of it");
    assert_eq!(error.class(), Class::LimitTemp);
}
