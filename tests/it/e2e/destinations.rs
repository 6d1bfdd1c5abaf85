//! `[destinations.NAME]`, `container` of a source, and how blobs are kept: each source's blobs in a
//! place of their own, the state of all in one.

use blobferry::store::contract::Store;
use blobferry::store::folder::FolderStore;

use super::super::servers::{Azurite, Persistence};
use super::bad_input::old_file;
use super::*;

/// Two sources, whose blobs have the same names; those of `beta` go elsewhere.
fn configured(ferry: &Ferry, places: &str, of_beta: &str) {
    let source = |name: &str| {
        let url = ferry.path(&format!("in/{name}"));
        format!(
            "[[source]]\nname = \"{name}\"\nstable_for = \"0s\"\nlayout = \"{{path}}\"\nurl = \
            \"file://{}\"\n",
            url.display()
        )
    };
    let (acme, beta) = (source("acme"), source("beta"));
    ferry.configure(&format!("{places}[log]\nfiles = false\n{acme}{beta}{of_beta}"));
}

const FOLDERS: &str =
    "[destination]\nfolder = \"out\"\n[destinations.finance]\nfolder = \"finance\"\n";
const FINANCE: &str = "destination = \"finance\"\n";

fn names(ferry: &Ferry, folder: &str) -> Vec<String> {
    let store = FolderStore::new(&ferry.path(folder)).expect("a store");
    let mut names = Vec::new();
    let runtime = super::super::kit::stage::runtime();
    runtime.block_on(store.list("", &mut |info| names.push(info.name))).expect("it is listed");
    names
}

fn filled() -> Ferry {
    let ferry = Ferry::new("");
    for name in ["acme", "beta"] {
        old_file(&ferry.path(&format!("in/{name}/a.txt")), name.as_bytes());
    }
    ferry
}

#[track_caller]
fn counts(done: Done, word: &str, expected: &[u64]) {
    let report = done.code(0).report();
    let sources = report["sources"].as_array().expect("sources");
    let found: Vec<u64> = sources.iter().filter_map(|source| source[word].as_u64()).collect();
    assert_eq!(found, expected, "{report:#}");
}

#[test]
fn each_source_has_its_blobs_in_its_destination_and_all_state_is_in_one_place() {
    let ferry = filled();
    configured(&ferry, FOLDERS, FINANCE);
    ferry.run(&["check"]).code(0).says(&["`finance`, for blobs of some sources"]);
    ferry.run(&["plan"]).code(0).says(&["a.txt"]);
    counts(ferry.ingest(), "ingested", &[1, 1]);
    assert_eq!(std::fs::read(ferry.path("out/a.txt")).unwrap(), b"acme");
    assert_eq!(std::fs::read(ferry.path("finance/a.txt")).unwrap(), b"beta");
    assert_eq!(names(&ferry, "finance"), ["_blobferry/state.json", "a.txt"]);
    let state = names(&ferry, "out");
    for source in ["acme", "beta"] {
        assert!(state.contains(&format!("_blobferry/{source}/ledger/head.json")), "{state:?}");
    }
    counts(ferry.ingest(), "unchanged", &[1, 1]);
    // Listings name the place where there are several.
    let listed = ferry.run(&["ls", "--json"]).code(0);
    let lines: Vec<Value> =
        listed.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ends = |line: &Value, end: &str| line["store"].as_str().is_some_and(|s| s.ends_with(end));
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(ends(&lines[0], "out") && ends(&lines[1], "finance"), "{lines:?}");
    let of_beta = ferry.run(&["ls", "--json", "--source", "beta"]).code(0);
    assert_eq!(of_beta.out.lines().count(), 1, "{}", of_beta.out);
    assert!(of_beta.out.contains("\"source\":\"beta\""), "{}", of_beta.out);
    // A ledger is made anew from the blobs of its own place.
    ferry.run(&["ledger", "rebuild", "--source", "beta"]).code(0).says(&["1 file known again"]);
    counts(ferry.ingest(), "unchanged", &[1, 1]);
}

#[test]
fn an_audit_looks_for_blobs_where_their_source_has_them() {
    let ferry = filled();
    configured(&ferry, FOLDERS, FINANCE);
    counts(ferry.ingest(), "ingested", &[1, 1]);
    ferry.run(&["audit", "--download"]).code(0);
    // The blob of the same name in the other place does not stand for it.
    std::fs::remove_file(ferry.path("finance/a.txt")).unwrap();
    let found = ferry.run(&["audit", "--json"]).code(1).report();
    let of = |at: usize| found["sources"][at]["violations"].as_u64();
    // The ledger and the manifest both tell of it.
    assert_eq!((of(0), of(1)), (Some(0), Some(2)), "{found:#}");
    let store = found["sources"][1]["store"].as_str().expect("its store");
    assert!(store.ends_with("finance"), "{found:#}");
}

#[test]
fn a_file_is_removed_at_its_source_once_it_is_in_its_own_destination() {
    let ferry = filled();
    configured(&ferry, FOLDERS, &format!("{FINANCE}after = \"delete\"\n"));
    counts(ferry.ingest(), "ingested", &[1, 1]);
    assert!(!ferry.path("in/beta/a.txt").exists() && ferry.path("in/acme/a.txt").exists());
    assert_eq!(std::fs::read(ferry.path("finance/a.txt")).unwrap(), b"beta");
    // Where the destination cannot be written to, nothing is removed, and the other source works.
    for name in ["acme", "beta"] {
        old_file(&ferry.path(&format!("in/{name}/b.txt")), name.as_bytes());
    }
    let elsewhere =
        "[destination]\nfolder = \"out\"\n[destinations.finance]\nfolder = \"in/beta/a\"\n";
    std::fs::write(ferry.path("in/beta/a"), b"a file, no folder").unwrap();
    configured(&ferry, elsewhere, &format!("{FINANCE}after = \"delete\"\nexclude = \"a\"\n"));
    let report = ferry.ingest().code(1).report();
    assert_eq!(report["sources"][0]["ingested"], 1, "{report:#}");
    assert_ne!(report["sources"][1]["problems"].as_array().map(Vec::len), Some(0), "{report:#}");
    assert!(ferry.path("in/beta/b.txt").exists(), "{report:#}");
}

#[test]
fn check_and_plan_tell_of_a_destination_that_was_changed() {
    let ferry = filled();
    configured(&ferry, FOLDERS, FINANCE);
    counts(ferry.ingest(), "ingested", &[1, 1]);
    let other = "[destination]\nfolder = \"out\"\n[destinations.finance]\nfolder = \"other\"\n";
    configured(&ferry, other, FINANCE);
    let told = ["[moved]", "its 1 known files went to `", "blobferry ledger rebuild"];
    ferry.run(&["check"]).code(1).says(&told);
    ferry.run(&["plan"]).code(1).says(&told);
    let report = ferry.ingest().code(1).report();
    assert_eq!(report["sources"][1]["problems"][0]["class"], "moved", "{report:#}");
    ferry.run(&["ledger", "rebuild", "--source", "beta"]).code(0).says(&["0 files known again"]);
    ferry.run(&["check"]).code(0);
    let report = ferry.ingest().code(0).report();
    assert_eq!(report["sources"][1]["ingested"], 1, "{report:#}");
    assert_eq!(std::fs::read(ferry.path("other/a.txt")).unwrap(), b"beta");
}

#[test]
fn what_names_no_place_or_two_is_refused() {
    let ferry = filled();
    let with_container = format!("{FINANCE}container = \"x\"\n");
    for (of_beta, told) in [
        ("destination = \"finanze\"\n", "did you mean `finance`?"),
        (with_container.as_str(), "stands beside `destination`"),
        ("container = \"other\"\n", "`[destination]` names a folder"),
        ("metadata = { source = \"x\" }\n", "which blobs have from blobferry"),
        ("metadata = { Feed = \"x\" }\n", "allowed are lower-case letters"),
        ("tags = { a = 1 }\n", "allowed is a table of texts"),
        ("tier = \"cool\"\n", "only storage accounts have"),
        ("tags = { a = \"b\" }\n", "only storage accounts have"),
    ] {
        configured(&ferry, FOLDERS, of_beta);
        ferry.run(&["run"]).code(2).says(&[told]);
    }
    let twice = format!("{FOLDERS}[destinations.other]\nfolder = \"finance\"\n");
    configured(&ferry, &twice, FINANCE);
    ferry.run(&["run"]).code(2).says(&["is the place of `[destinations.finance]`"]);
    // In one place, the names of both would be the same.
    configured(&ferry, FOLDERS, "");
    ferry.run(&["run"]).code(2).says(&["write the same names"]);
}

#[test]
fn a_container_of_the_same_account_with_tier_tags_and_metadata() {
    let Some(azurite) = Azurite::start(Persistence::Memory) else { return };
    let (first, other) = (Azurite::container("first"), Azurite::container("other"));
    let ferry = filled().set("COST_CENTRE", "4711");
    let places = format!("[destination]\n{}", azure(&azurite, &first));
    let of_beta = format!(
        "container = \"{other}\"\ntier = \"cool\"\ntags = {{ owner = \"fin\", \"cost centre\" = {{ \
         env = \"COST_CENTRE\" }} }}\nmetadata = {{ feed = \"sales\" }}\n"
    );
    configured(&ferry, &places, &of_beta);
    ferry.run(&["check"]).code(0).says(&["the tier `cool` and 2 index tags can be written"]);
    counts(ferry.ingest(), "ingested", &[1, 1]);
    counts(ferry.ingest(), "unchanged", &[1, 1]);
    ferry.run(&["audit"]).code(0);
    // By a program that shares no code with ours.
    let look = "import sys, json\nfrom azure.storage.blob import BlobClient\n\
        for c in sys.argv[2:]:\n \
        b = BlobClient.from_connection_string(sys.argv[1], c, 'a.txt')\n \
        p = b.get_blob_properties()\n \
        print(json.dumps([b.download_blob().readall().decode(), p.blob_tier, b.get_blob_tags(), \
        p.metadata.get('feed'), p.metadata['source']]))";
    let output = python(&["-c", look, &azurite.connection_string(), &first, &other]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0][0], "acme");
    assert_eq!((&lines[0][2], &lines[0][3]), (&serde_json::json!({}), &Value::Null));
    let tags = serde_json::json!({ "owner": "fin", "cost centre": "4711" });
    let expected = serde_json::json!(["beta", "Cool", tags, "sales", "beta"]);
    assert_eq!(lines[1], expected);
    assert_eq!(
        blobs(&azurite, &other).into_keys().collect::<Vec<_>>(),
        ["_blobferry/state.json", "a.txt"]
    );
}
