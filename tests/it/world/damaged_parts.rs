//! Archives that are read in parts and whose directories are damaged.

use blobferry::rules::patterns::NameGlobs;

use super::World;
use super::zips::{entry, zip_of};

/// Seen of an archive that was read whole: the extra field of one entry grew by just the next
/// entry, so that the directory lists one member less than it counts.
#[tokio::test]
async fn a_member_that_a_damaged_directory_swallowed_is_not_left_out_in_silence() {
    let member = |n: usize| {
        let content: Vec<u8> = (0..10_240).map(|at| (at as u8) ^ (n as u8)).collect();
        entry(&format!("x/{n:03}.csv"), &content)
    };
    let mut archive = zip_of(&(0..400).map(member).collect::<Vec<_>>());
    let only = || NameGlobs::new(&["x/00?.csv".to_owned()]).expect("globs");
    let world = World::new().with(|source| source.include_members = Some(only()));
    let world = world.file("/whole.zip", archive.clone());
    assert_eq!(world.run().await.source().members.stored, 10);
    let read = world.server.tree().bytes_read;
    assert!(read < 1 << 20, "it was read in parts: {read}");

    let entries: Vec<usize> =
        (0..archive.len() - 4).filter(|at| archive[*at..].starts_with(b"PK\x01\x02")).collect();
    let (third, fourth, fifth) = (entries[3], entries[4], entries[5]);
    assert_eq!(&archive[third + 30..third + 32], [0, 0]);
    archive[third + 30] = u8::try_from(fifth - fourth).expect("an entry is short");
    let world = world.file("/swallowed.zip", archive);
    let ran = world.run().await;
    assert!(ran.to_string().contains("a member that its directory does not list"), "{ran}");
    assert_eq!((ran.source().ingested, ran.source().failed), (0, 1), "{ran}");
}
