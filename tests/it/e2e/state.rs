//! `[state]`: our own state in a place of its own.

use blobferry::store::contract::Store;
use blobferry::store::folder::FolderStore;

use super::super::servers::{Azurite, Persistence};
use super::bad_input::old_file;
use super::*;

const SOURCE: &str = "name = \"acme\"\nstable_for = \"0s\"\n";

fn configured(ferry: &Ferry, places: &str) {
    let url = format!("url = \"file://{}\"\n", ferry.path("in").display());
    ferry.configure(&format!("{places}[log]\nfiles = false\n[[source]]\n{SOURCE}{url}"));
}

/// Names of all blobs in a folder.
fn names(ferry: &Ferry, folder: &str) -> Vec<String> {
    names_in(&FolderStore::new(&ferry.path(folder)).expect("a store"))
}

fn names_in(store: &dyn Store) -> Vec<String> {
    let runtime = super::super::kit::stage::runtime();
    let mut names = Vec::new();
    runtime.block_on(store.list("", &mut |info| names.push(info.name))).expect("it is listed");
    names
}

#[test]
fn state_with_a_place_of_its_own_leaves_the_blobs_alone() {
    let ferry = Ferry::new("");
    old_file(&ferry.path("in/a.txt"), b"one");
    let apart = "[destination]\nfolder = \"out\"\n[state]\nfolder = \"state\"\n";
    configured(&ferry, apart);
    ferry.run(&["check"]).code(0);
    ferry.run(&["run"]).code(0).says(&["1 ingested"]);
    let expected = ["_blobferry/state.json", "acme/a.txt"];
    assert_eq!(names(&ferry, "out"), expected);
    let state = names(&ferry, "state");
    assert!(state.iter().all(|name| name.starts_with("_blobferry/")), "{state:?}");
    assert!(state.contains(&"_blobferry/acme/ledger/head.json".to_owned()), "{state:?}");
    old_file(&ferry.path("in/b.txt"), b"two");
    let source = ferry.run(&["run", "--json"]).code(0).source();
    assert_eq!((&source["ingested"], &source["unchanged"]), (&1.into(), &1.into()));
    ferry.run(&["audit"]).code(0);
    ferry.run(&["check"]).code(0).says(&["in a place of its own"]);
    // Whoever looks for the state elsewhere is refused: nothing is brought over a second time. (A
    // record of the refused run stays where it looked.)
    let of_users = |ferry: &Ferry| {
        let mut names = names(ferry, "out");
        names.retain(|name| !name.starts_with("_blobferry/_runs/"));
        names
    };
    let before = of_users(&ferry);
    configured(&ferry, "[destination]\nfolder = \"out\"\n");
    ferry.run(&["run"]).code(3).says(&["the state of this destination is in"]);
    let other = "[destination]\nfolder = \"out\"\n[state]\nfolder = \"other\"\n";
    configured(&ferry, other);
    ferry.run(&["run"]).code(3).says(&["the state of this destination is in", "[state]"]);
    assert_eq!(of_users(&ferry), before);
    configured(&ferry, apart);
    let source = ferry.run(&["run", "--json"]).code(0).source();
    assert_eq!(source["unchanged"], 2);
}

#[test]
fn a_destination_with_state_of_its_own_is_not_begun_anew() {
    let ferry = Ferry::new("");
    old_file(&ferry.path("in/a.txt"), b"one");
    configured(&ferry, "[destination]\nfolder = \"out\"\n");
    ferry.run(&["run"]).code(0);
    let apart = "[destination]\nfolder = \"out\"\n[state]\nfolder = \"state\"\n";
    configured(&ferry, apart);
    ferry.run(&["run"]).code(3).says(&["there is state among the blobs already"]);
    // Nor may one place lie in the other.
    let within = "[destination]\nfolder = \"out\"\n[state]\nfolder = \"out/state\"\n";
    configured(&ferry, within);
    ferry.run(&["run"]).code(2).says(&["state.folder"]);
}

#[test]
fn a_container_of_the_same_account_takes_the_state() {
    let Some(azurite) = Azurite::start(Persistence::Memory) else { return };
    let (blobs, state) = (Azurite::container("blobs"), Azurite::container("state"));
    let ferry = Ferry::new("");
    old_file(&ferry.path("in/a.txt"), b"one");
    let destination = azure(&azurite, &blobs);
    let places = format!("[destination]\n{destination}[state]\ncontainer = \"{state}\"\n");
    configured(&ferry, &places);
    for expected in ["ingested", "unchanged"] {
        let source = ferry.run(&["run", "--json"]).code(0).source();
        assert_eq!(source[expected], 1, "{source:#}");
    }
    let found = names_in(&look(&azurite, &blobs));
    assert_eq!(found, ["_blobferry/state.json", "acme/a.txt"]);
    assert!(names_in(&look(&azurite, &state)).len() > 3);
    ferry.run(&["check"]).code(0).says(&["in a place of its own"]);
    let same = format!("[destination]\n{destination}[state]\ncontainer = \"{blobs}\"\n");
    configured(&ferry, &same);
    ferry.run(&["run"]).code(2).says(&["is the destination's own"]);
}

#[test]
fn an_existing_state_moves_to_a_container_of_its_own_and_back() {
    let Some(azurite) = Azurite::start(Persistence::Memory) else { return };
    let (blobs, state) = (Azurite::container("blobs"), Azurite::container("state"));
    let ferry = Ferry::new("");
    old_file(&ferry.path("in/a.txt"), b"one");
    let destination = azure(&azurite, &blobs);
    let among = format!("[destination]\n{destination}");
    let apart = format!("{among}[state]\ncontainer = \"{state}\"\n");
    configured(&ferry, &among);
    std::fs::copy(ferry.path("ingest.toml"), ferry.path("among.toml")).unwrap();
    assert_eq!(ferry.ingest().code(0).source()["ingested"], 1);
    configured(&ferry, &apart);
    std::fs::copy(ferry.path("ingest.toml"), ferry.path("apart.toml")).unwrap();
    ferry.run(&["run"]).code(3).says(&["blobferry state move"]);
    ferry.run(&["state", "move"]).code(0).says(&["the state of 1 source is in"]);
    ferry.run(&["state", "move"]).code(0).says(&["already"]);
    // It goes on: journals and manifests are appended to where they are now.
    old_file(&ferry.path("in/b.txt"), b"two");
    let source = ferry.ingest().code(0).source();
    assert_eq!((&source["ingested"], &source["unchanged"]), (&1.into(), &1.into()), "{source:#}");
    ferry.run(&["audit"]).code(0);
    // The old configuration is told, and makes nothing anew.
    let old = ["--config", "among.toml"];
    ferry.run(&[&["run"][..], &old].concat()).code(3).says(&["is in", &state, "set `[state]`"]);
    ferry.run(&[&["ledger", "rebuild"][..], &old].concat()).code(3).says(&["set `[state]`"]);
    ferry.run(&[&["state", "move"][..], &old].concat()).code(2).says(&["--from FILE"]);
    let back = [&["state", "move", "--from", "apart.toml"][..], &old].concat();
    ferry.run(&back).code(0).says(&["the state of 1 source is in"]);
    let source = ferry.run(&[&["run", "--json"][..], &old].concat()).code(0).source();
    assert_eq!(source["unchanged"], 2, "{source:#}");
    ferry.run(&["run", "--config", "apart.toml"]).code(3);
}
