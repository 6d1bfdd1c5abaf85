//! Archives that are read in parts and whose directories are damaged.

use blobferry::rules::patterns::NameGlobs;

use super::World;
use super::zips::{entry, zip_of};

fn four_hundred() -> Vec<u8> {
    let member = |n: usize| {
        let content: Vec<u8> = (0..10_240).map(|at| (at as u8) ^ (n as u8)).collect();
        entry(&format!("x/{n:03}.csv"), &content)
    };
    zip_of(&(0..400).map(member).collect::<Vec<_>>())
}

fn only() -> NameGlobs {
    NameGlobs::new(&["x/00?.csv".to_owned()]).expect("globs")
}

/// Where the entries of the directory begin.
fn entries(archive: &[u8]) -> Vec<usize> {
    (0..archive.len() - 4).filter(|at| archive[*at..].starts_with(b"PK\x01\x02")).collect()
}

/// Programs that delete members by the directory alone, and damage, leave them behind.
#[tokio::test]
async fn a_member_that_no_directory_names_is_seen_by_who_reads_in_parts_as_by_who_reads_all() {
    for hidden in [4, 9, 200, 399] {
        let mut archive = four_hundred();
        let entries = entries(&archive);
        let end = archive.len() - 22;
        let over = entries.get(hidden + 1).copied().unwrap_or(end);
        let bytes = (over - entries[hidden]) as u32;
        archive.drain(entries[hidden]..over);
        let end = archive.len() - 22;
        let size = u32::from_le_bytes(archive[end + 12..end + 16].try_into().expect("4 bytes"));
        archive[end + 12..end + 16].copy_from_slice(&(size - bytes).to_le_bytes());
        for count in [end + 8, end + 10] {
            archive[count..count + 2].copy_from_slice(&399_u16.to_le_bytes());
        }
        for parts in [true, false] {
            let world =
                World::new().with(|source| source.include_members = Some(only()).filter(|_| parts));
            let ran = world.file("/hidden.zip", archive.clone()).run().await;
            let told = ran.to_string();
            assert!(told.contains("a member that its directory does not list"), "{told}");
            assert_eq!(ran.source().failed, 1, "{hidden} {parts}: {told}");
        }
    }
}

/// Seen of an archive that was read whole: the extra field of one entry grew by just the next
/// entry, so that the directory lists one member less than it counts.
#[tokio::test]
async fn a_member_that_a_damaged_directory_swallowed_is_not_left_out_in_silence() {
    let mut archive = four_hundred();
    let world = World::new().with(|source| source.include_members = Some(only()));
    let world = world.file("/whole.zip", archive.clone());
    assert_eq!(world.run().await.source().members.stored, 10);
    let read = world.server.tree().bytes_read;
    assert!(read < 1 << 20, "it was read in parts: {read}");

    let entries = entries(&archive);
    let (third, fourth, fifth) = (entries[3], entries[4], entries[5]);
    assert_eq!(&archive[third + 30..third + 32], [0, 0]);
    archive[third + 30] = u8::try_from(fifth - fourth).expect("an entry is short");
    let world = world.file("/swallowed.zip", archive);
    let ran = world.run().await;
    assert!(ran.to_string().contains("a member that its directory does not list"), "{ran}");
    assert_eq!((ran.source().ingested, ran.source().failed), (0, 1), "{ran}");
}
