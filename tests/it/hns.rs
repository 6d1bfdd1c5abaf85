//! Accounts with a hierarchical namespace: directories are entries, and one name is either a file
//! or a directory.

use super::e2e::bad_input::old_file;
use super::e2e::{Ferry, azure};
use super::kit::hns::Hierarchy;
use super::kit::stage::runtime;
use super::servers::Azurite;

#[test]
fn directories_are_no_files_and_what_stands_in_the_way_of_a_name_is_told() {
    let Some(azurite) = Azurite::shared() else { return };
    let root = tempfile::tempdir().unwrap();
    let put = |name: &str| {
        let path = root.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder above")).unwrap();
        old_file(&path, name.as_bytes());
    };
    ["a/b/c.txt", "d/e", "f.txt"].iter().for_each(|name| put(name));
    let direct = azure(azurite, &Azurite::container("hns"));
    let address = azurite.blob_address();
    let runtime = runtime();
    let account = runtime.block_on(Hierarchy::start(address));
    let ferry = Ferry::between(
        &format!("url = \"file://{}\"\nstable_for = \"0s\"\n", root.path().display()),
        &direct.replace(&address.to_string(), &account.address.to_string()),
    );
    ferry.run(&["check"]).code(0);
    assert_eq!(ferry.ingest().code(0).source()["ingested"], 3);
    assert_eq!(ferry.ingest().code(0).source()["unchanged"], 3);
    let directories = account.directories();
    assert!(directories.iter().any(|name| name.ends_with("/acme/a/b")), "{directories:?}");
    ferry.run(&["ls"]).code(0).says(&["3 blobs"]);

    // A folder becomes a file: its name is a directory that stays, so the file stands apart.
    std::fs::remove_dir_all(root.path().join("a/b")).unwrap();
    put("a/b");
    // A file becomes a folder: nothing can be stored below the file's blob.
    std::fs::remove_file(root.path().join("d/e")).unwrap();
    put("d/e/g.txt");
    let done = ferry.run(&["run"]).code(1).says(&[
        "`acme/a/b` is a directory in this account, so it is stored as `acme/a/b~",
        "PathConflict (409)",
        "a name is either a file or a directory",
    ]);
    assert!(!done.out.contains("another writer"), "{}", done.out);
    let again = ferry.ingest().code(1).source();
    assert_eq!((&again["ingested"], &again["failed"]), (&0.into(), &1.into()), "{again:#}");
    ferry.run(&["audit"]).code(0).says(&["all of it holds"]);
    ferry.run(&["ledger", "rebuild", "--source", "acme"]).code(0);
    let rebuilt = ferry.ingest().code(1).source();
    assert_eq!((&rebuilt["ingested"], &rebuilt["failed"]), (&0.into(), &1.into()), "{rebuilt:#}");

    // Once the file's blob is out of the way, the folder's files come.
    let container = direct
        .split("container = \"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("a container");
    let address = account.address.to_string();
    let store = super::e2e::look_at(azurite, container, &address);
    let name = blobferry::model::BlobName::new("acme/d/e").unwrap();
    runtime
        .block_on(blobferry::store::contract::Store::delete(&store, &name))
        .expect("it is removed");
    assert_eq!(ferry.ingest().code(0).source()["ingested"], 1);
}
