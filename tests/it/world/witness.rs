//! Servers that list what is not so.

use super::World;

/// A server lists a folder as an empty file, and sends no bytes when it is read: as a file it would
/// be stored, and what is in it would never be missed.
#[tokio::test]
async fn a_folder_that_is_listed_as_an_empty_file_is_told_and_not_stored() {
    let world = World::new().file("/a", "one").file("/e", "");
    let world = world.meanwhile("/e", 0, |tree| {
        let empty = tree.files.remove(&"/e".into()).expect("it was there");
        tree.files.insert("/e/in-it".into(), empty);
    });
    let ran = world.run().await;
    assert_eq!(ran.brief(), "degraded: ingested 1, failed 1 [protocol]", "{ran}");
    assert!(ran.to_string().contains("lists it as a file, and it is a folder"), "{ran}");
    assert_eq!(world.names(), ["acme/a"]);
}

/// One that was taken away as soon as it was read is none.
#[tokio::test]
async fn an_empty_file_that_goes_away_while_it_is_read_is_kept() {
    let world = World::new().file("/e", "");
    let world = world.meanwhile("/e", 0, |tree| drop(tree.files.remove(&"/e".into())));
    let ran = world.run().await;
    assert!(ran.brief().starts_with("ok: ingested 1"), "{ran}");
    assert_eq!(world.names(), ["acme/e"]);
}
