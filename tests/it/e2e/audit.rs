//! `audit`, as its users call it.

use blobferry::model::BlobName;
use blobferry::store::contract::Store;
use expect_test::expect;

use super::super::servers::*;
use super::bad_input::old_file;
use super::*;

/// Three files, one of them larger than a block.
fn with_files(destination: &str) -> Ferry {
    let ferry = Ferry::new("");
    old_file(&ferry.path("in/daily/caf\u{e9} 1%.csv"), b"a;b\n");
    old_file(&ferry.path("in/empty"), b"");
    old_file(&ferry.path("in/large"), &vec![7; 9 << 20]);
    ferry.configure(&format!(
        "[destination]\n{destination}\n[[source]]\nname = \"acme\"\nurl = \"file://{}\"\n",
        ferry.path("in").display()
    ));
    ferry
}

fn audit(ferry: &Ferry, code: i32) -> Value {
    serde_json::from_str(&ferry.run(&["audit", "--json", "--download"]).code(code).out)
        .expect("it prints JSON")
}

#[test]
fn what_was_brought_to_azurite_is_there_until_it_is_taken_away() {
    let Some(azurite) = Azurite::shared() else { return };
    let container = Azurite::container("audit");
    let ferry = with_files(&azure(azurite, &container));
    // There is no container yet: nothing can be said.
    ferry.run(&["audit"]).code(3).says(&["error: listing", "hint: "]);
    ferry.ingest().code(0);
    let report = ferry.ingest().code(0).source();
    assert_eq!(
        (&report["manifest"], &report["manifest_lines"]),
        (&Value::Null, &0.into()),
        "an unchanged run leaves none"
    );
    let clean = audit(&ferry, 0);
    assert_eq!((&clean["clean"], &clean["violations"]), (&true.into(), &serde_json::json!([])));
    expect![[r#"
        {
          "checked": {
            "archives": 0,
            "blobs": 3,
            "downloaded": 3,
            "downloaded_bytes": 9437188,
            "lines": 3,
            "manifests": 1,
            "members": 0,
            "records": 3,
            "reports": 1,
            "versions": 3
          },
          "notes": {
            "before_reports": 0,
            "earlier_versions": 0,
            "foreign": 0,
            "incomplete_manifests": 0,
            "manifests_without_report": 0,
            "quarantined": 0,
            "reports_without_facts": 0,
            "reports_without_manifest": 0,
            "unfinished_runs": [],
            "unprovable": 0,
            "unrecorded": 0
          },
          "source": "acme",
          "violations": 0
        }"#]]
    .assert_eq(&format!("{:#}", clean["sources"][0]));
    ferry
        .run(&["audit"])
        .code(0)
        .says(&["acme: 3 records of 3 versions, 3 blobs", "all of it holds"]);

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = look(azurite, &container);
    runtime.block_on(store.delete(&BlobName::new("acme/large").unwrap())).expect("it deletes");
    let violated = audit(&ferry, 1);
    let told: Vec<(&Value, &Value)> = violated["violations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (&one["invariant"], &one["blob"]))
        .collect();
    assert_eq!(
        told,
        [(&"I1".into(), &"acme/large".into()), (&"manifest".into(), &"acme/large".into())],
        "{violated:#}"
    );
    ferry.run(&["audit"]).code(1).says(&["violation I1 `acme/large` of ", "2 violations"]);
    // The way back that the documentation names.
    ferry.run(&["run", "--again", "**/large"]).code(0);
    assert_eq!(audit(&ferry, 0)["clean"], true);
}

#[test]
fn a_configuration_that_cannot_be_used_is_told_apart() {
    let ferry = with_files("folder = \"out\"");
    ferry.ingest().code(0);
    ferry.run(&["audit", "--source", "nobody"]).code(2).says(&["there is no such source"]);
    ferry.run(&["audit", "--source", "acme"]).code(0).says(&["all of it holds"]);
    // Bytes that are changed behind the back of the store.
    std::fs::write(ferry.path("out/acme/daily/caf\u{e9} 1%25.csv"), b"a;c\n").unwrap();
    ferry.run(&["audit", "--download"]).code(1).says(&["violation"]);
    std::fs::write(ferry.path("out/_blobferry/acme/ledger/head.json"), b"{").unwrap();
    ferry
        .run(&["audit"])
        .code(1)
        .says(&["violation ledger", "blobferry ledger rebuild --source acme"]);
}

#[test]
fn a_run_that_was_killed_leaves_nothing_that_an_audit_refuses() {
    let Some(azurite) = Azurite::shared() else { return };
    let container = Azurite::container("audit-killed");
    let ferry = with_files(&azure(azurite, &container));
    for n in 0..300 {
        old_file(&ferry.path(&format!("in/many/{n}")), format!("{n}").as_bytes());
    }
    let store = look(azurite, &container);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let some = || {
        let mut count = 0;
        // The container comes with the run.
        let listed = runtime.block_on(store.list("acme/many/", &mut |_| count += 1));
        listed.is_ok() && count > 20
    };
    let mut started = ferry.start(&["run"]);
    wait_for("some files", some);
    started.signal("KILL");
    wait_for("its end", || started.has_ended());
    let killed = audit(&ferry, 0);
    assert_eq!(
        killed["sources"][0]["notes"]["unfinished_runs"].as_array().map(Vec::len),
        Some(1),
        "{killed:#}"
    );
    ferry.ingest().code(0);
    let after = audit(&ferry, 0);
    let source = &after["sources"][0];
    assert_eq!(
        (
            &source["checked"]["records"],
            &source["checked"]["blobs"],
            &source["notes"]["unrecorded"]
        ),
        (&303.into(), &303.into(), &0.into()),
        "{after:#}"
    );
}
