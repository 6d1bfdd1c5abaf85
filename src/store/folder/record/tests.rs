//! Records of blobs in a folder: whole or none, and mended after a crash.

use super::*;

struct World {
    _dir: tempfile::TempDir,
    shelf: FolderShelf,
}

/// A shelf with blob `a` = "one", and a second write of it, "two", prepared as far as its next
/// record.
fn between() -> (World, FolderRecord) {
    let dir = tempfile::tempdir().expect("a folder");
    let world = World { shelf: FolderShelf::new(dir.path()), _dir: dir };
    world.shelf.create().expect("it is created");
    let one = world.temporary("one");
    world.shelf.commit(&key_of("a"), one, PutTarget::New).expect("it commits");
    let two = world.temporary("two!");
    let text = serde_json::to_vec(&two).expect("json");
    world.shelf.write_synced(&world.shelf.next_record(&key_of("a")), &text).expect("it writes");
    (world, two)
}

impl World {
    fn temporary(&self, content: &str) -> FolderRecord {
        let id = format!("{}.{}.{}", key_of("a"), 0, random::digits());
        let path = self.shelf.temporary().join(&id);
        fs::write(&path, content).expect("it writes");
        let metadata = Metadata::from([("content".to_owned(), content.to_owned())]);
        let properties = Properties {
            content_type: "text/plain".into(),
            md5: [1; 16],
            metadata,
            placement: Default::default(),
        };
        record_of(
            "a",
            FolderPlace::Plain,
            &id,
            &fs::metadata(path).expect("it is there"),
            &properties,
        )
        .expect("a record")
    }

    /// The content and what its metadata says of it: they have to agree.
    fn seen(&self) -> (String, String) {
        let found = self.shelf.find("a").expect("it looks").expect("it is there");
        let content = fs::read_to_string(found.path).expect("it reads");
        (content, found.info.metadata.get("content").cloned().unwrap_or_default())
    }
}

fn agree(content: &str) -> (String, String) {
    (content.to_owned(), content.to_owned())
}

#[test]
fn killed_before_the_rename_nothing_happened() {
    let (world, _) = between();
    assert_eq!(world.seen(), agree("one"));
    world.shelf.settled("a", &key_of("a")).expect("it settles");
    assert_eq!(world.seen(), agree("one"));
}

#[test]
fn killed_after_the_rename_all_of_it_happened() {
    let (world, two) = between();
    fs::rename(world.shelf.temporary().join(two.temporary), world.shelf.root.join("a"))
        .expect("it renames");
    assert_eq!(world.seen(), agree("two!"));
    world.shelf.settled("a", &key_of("a")).expect("it settles");
    assert_eq!(world.seen(), agree("two!"));
}

#[test]
fn half_a_record_is_none() {
    let (world, _) = between();
    fs::write(world.shelf.next_record(&key_of("a")), "{\"name\":\"a").expect("it writes");
    assert_eq!(world.seen(), agree("one"));
    world.shelf.settled("a", &key_of("a")).expect("it settles");
    assert_eq!(world.seen(), agree("one"));
}

#[test]
fn sweeping_a_leftover_never_makes_its_record_count() {
    let (world, two) = between();
    world.shelf.forget_temporary(&two.temporary).expect("it sweeps");
    assert_eq!(world.seen(), agree("one"));
}

#[test]
fn below_a_mount_point_without_its_mount_no_folder_is_made() {
    let (world, two) = between();
    let root = &world.shelf.root;
    fs::remove_dir_all(root.join(OWN)).expect("it goes");
    fs::remove_file(root.join("a")).expect("it goes");
    let key = key_of("b");
    let told = world.shelf.write_next(&key, &two).expect_err("there is nothing to write to");
    assert!(told.to_string().contains("is missing in it"), "{told}");
    let record = FolderRecord { name: "acme/b".to_owned(), ..two };
    world.shelf.place(&key, record.clone(), PutTarget::New).expect_err("nor to put it");
    world.shelf.amend(&record).expect_err("nor to amend");
    assert_eq!(fs::read_dir(root).expect("it lists").count(), 0);
}
