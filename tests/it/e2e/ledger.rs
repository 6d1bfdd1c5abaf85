//! `ledger show` and `ledger rebuild`, and the runs after them.

use super::super::servers::*;
use super::bad_input::old_file;
use super::*;

fn with_files(destination: &str) -> Ferry {
    let ferry = Ferry::new("");
    for n in 0..20 {
        old_file(&ferry.path(&format!("in/{n}/caf\u{e9} {n}%.csv")), format!("{n}\n").as_bytes());
    }
    old_file(&ferry.path("in/empty"), b"");
    // One member, `a.txt`, stored without compression.
    let member: &[u8] = &[
        80, 75, 3, 4, 20, 0, 0, 0, 0, 0, 0, 0, 33, 40, 134, 166, 16, 54, 5, 0, 0, 0, 5, 0, 0, 0, 5,
        0, 0, 0, 97, 46, 116, 120, 116, 104, 101, 108, 108, 111,
    ];
    let directory: &[u8] = &[
        80, 75, 1, 2, 20, 3, 20, 0, 0, 0, 0, 0, 0, 0, 33, 40, 134, 166, 16, 54, 5, 0, 0, 0, 5, 0,
        0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 128, 1, 0, 0, 0, 0, 97, 46, 116, 120, 116,
    ];
    let end: &[u8] = &[80, 75, 5, 6, 0, 0, 0, 0, 1, 0, 1, 0, 51, 0, 0, 0, 40, 0, 0, 0, 0, 0];
    old_file(&ferry.path("in/archive.zip"), &[member, directory, end].concat());
    ferry.configure(&format!(
        "[destination]\n{destination}\n[[source]]\nname = \"acme\"\nurl = \"file://{}\"\n",
        ferry.path("in").display()
    ));
    ferry
}

fn comes_back(ferry: &Ferry, lose: impl Fn()) {
    assert_eq!(ferry.ingest().code(0).source()["ingested"], 22);
    ferry.run(&["ledger", "show"]).code(0).says(&[
        "acme: 22 files known; snapshot 0 of 0 files in 0 shards, 0 B; 1 journal of 25 lines",
    ]);
    lose();
    let rebuilt: Value = serde_json::from_str(
        &ferry.run(&["ledger", "rebuild", "--source", "acme", "--json"]).code(0).out,
    )
    .unwrap();
    assert_eq!(
        (&rebuilt["source"], &rebuilt["files"], &rebuilt["archives"], &rebuilt["left_out"]),
        (&"acme".into(), &22.into(), &1.into(), &0.into())
    );
    ferry
        .run(&["ledger", "show"])
        .code(0)
        .says(&["acme: 22 files known; snapshot 1 of 22 files in 1 shard"]);
    for _ in 0..2 {
        let source = ferry.ingest().code(0).source();
        assert_eq!(
            (&source["unchanged"], &source["ingested"], &source["bytes"], &source["blobs"]),
            (&22.into(), &0.into(), &0.into(), &0.into())
        );
    }
    old_file(&ferry.path("in/new"), b"new");
    assert_eq!(ferry.ingest().code(0).source()["ingested"], 1);
}

#[test]
fn a_lost_ledger_is_rebuilt_from_a_folder() {
    let ferry = with_files("folder = \"out\"");
    comes_back(&ferry, || {
        let removed = python(&[
            "-c",
            "import shutil, sys; shutil.rmtree(sys.argv[1])",
            ferry.path("out/_blobferry/acme/ledger").to_str().unwrap(),
        ]);
        assert!(removed.status.success(), "{removed:?}");
    });
}

#[test]
fn a_lost_ledger_is_rebuilt_from_azurite() {
    use blobferry::store::contract::Store;
    let Some(azurite) = Azurite::shared() else { return };
    let container = Azurite::container("rebuild");
    let ferry = with_files(&azure(azurite, &container));
    comes_back(&ferry, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let state: Vec<String> = blobs(azurite, &container)
            .into_keys()
            .filter(|name| name.contains("/ledger/"))
            .collect();
        assert_eq!(state.len(), 2, "{state:?}");
        let store = look(azurite, &container);
        for name in state {
            runtime
                .block_on(store.delete(&blobferry::model::BlobName::new(name).unwrap()))
                .expect("it deletes");
        }
    });
}

#[test]
fn a_damaged_ledger_says_what_to_do_and_that_helps() {
    let ferry = with_files("folder = \"out\"");
    ferry.ingest().code(0);
    let head = ferry.path("out/_blobferry/acme/ledger/head.json");
    let text = std::fs::read_to_string(&head).unwrap();
    std::fs::write(&head, text.replace("\"generation\":0", "\"generation\":1")).unwrap();
    ferry
        .run(&["ledger", "show"])
        .code(3)
        .says(&["head.json` is damaged: its checksum does not hold"]);
    ferry.run(&["run"]).code(3).says(&["`blobferry ledger rebuild --source acme`"]);
    ferry
        .run(&["ledger", "rebuild", "--source", "acme"])
        .code(0)
        .says(&["acme: 22 files known again, 1 of them archives"]);
    assert_eq!(ferry.ingest().code(0).source()["unchanged"], 22);
}
