//! The page of a name that no file has.

use std::sync::Arc;

use bytes::Bytes;
use md5::{Digest, Md5};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use super::super::api::{SeenSince, StatusQuery};
use super::Dress;
use super::absent::patterns_near;
use super::tests::ask_as;
use crate::history::arrivals::{self, OpenExpectations};
use crate::history::record::{RunRecord, RunStatus, Trigger};
use crate::history::records::Records;
use crate::model::BlobName;
use crate::model::redactor::Redactor;
use crate::report::ExpectationStanding;
use crate::runtime::retry::Policy;
use crate::state::paths::StatePaths;
use crate::state::store::StateStore;
use crate::store::contract::{Condition, Properties, Store};
use crate::store::memory::MemoryStore;

/// A store with one run: `acme` is well and left `skipped` files out, `nordbank` refuses the login.
async fn shelf(now: OffsetDateTime, skipped: u64) -> Arc<dyn Store> {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let state = StateStore::new(store.clone(), Redactor::default(), Policy::default());
    let mut record = RunRecord::new(Trigger::Timer, "i", now - Duration::minutes(4));
    record.run = Some(record.id.clone());
    (record.status, record.ended) = (RunStatus::Degraded, Some(now - Duration::minutes(3)));
    record.sources = vec![
        json!({ "source": "acme", "address": "sftp://sftp.acme.example:22", "status": "ok",
            "listed": 2, "unchanged": 1, "ingested": 1, "skipped": skipped }),
        json!({ "source": "nordbank", "status": "failed", "unusable": true, "listed": null,
            "problems": [{ "class": "auth", "message": "no", "hint": "ask" }] }),
    ];
    Records::new(state.clone()).put(&record).await.expect("written");
    let lines = [
        json!({ "path": "/in/daily_20261121.csv", "outcome": "ingested", "size": 7,
            "stored": "2026-11-21T05:01:00Z", "version": "0" }),
        json!({ "path": "/in/daily_20261122.csv", "outcome": "ingested", "size": 7,
            "stored": "2026-11-22T05:01:00Z", "version": "0" }),
        json!({ "path": "/in/notes.txt", "outcome": "ingested", "size": 7, "version": "0" }),
    ];
    let manifest = lines.map(|line| line.to_string()).join("\n") + "\n";
    let properties = Properties {
        content_type: "application/x-ndjson".into(),
        md5: Md5::digest(&manifest).into(),
        metadata: [].into(),
        placement: Default::default(),
    };
    let name = StatePaths::of("acme").manifest(&record.id);
    let name = BlobName::new(name.to_string()).expect("a name");
    let bytes = Bytes::from(manifest);
    store.put(&name, bytes, &properties, &Condition::Always).await.expect("written");
    let standing: ExpectationStanding = serde_json::from_value(json!({
        "name": "daily", "severity": "error", "state": "late",
        "deadline": "2026-11-23T05:00:00Z", "count": 0, "expected": 1, "unmet": "too_few",
    }))
    .expect("a standing");
    let open = OpenExpectations { standings: vec![standing], ..OpenExpectations::default() };
    arrivals::keep(&state, "acme", &open).await.expect("written");
    store
}

async fn search(store: &Arc<dyn Store>, name: &str) -> (String, Value) {
    search_since(store, name, SeenSince::Ever).await
}

async fn search_since(store: &Arc<dyn Store>, name: &str, since: SeenSince) -> (String, Value) {
    let asked = StatusQuery::Files(name.into(), None, since);
    let html = ask_as(store, &asked, &[], Dress::Html).await.page.expect("a page");
    (html, ask_as(store, &asked, &[], Dress::Json).await.body)
}

#[tokio::test]
async fn of_a_file_that_nobody_saw_the_sender_is_told_when_we_looked_and_what_came_last() {
    let now = OffsetDateTime::now_utc().replace_nanosecond(0).expect("a second");
    let store = shelf(now, 0).await;
    let (html, json) = search(&store, "daily_20261123.csv").await;
    assert_eq!(json["answer"], "No file of this name was seen");
    let absent = &json["absent"];
    let looked = super::moment::in_utc(now - Duration::minutes(4));
    let lead = absent["lead"].as_str().expect("a sentence");
    assert!(lead.starts_with(&format!("acme was listed in full at {looked}, ")), "{lead}");
    assert!(lead.ends_with(" ago, and it was not there."), "{lead}");
    let said = absent["for_the_sender"].as_str().expect("a sentence");
    assert_eq!(
        said,
        format!(
            "We have not received daily_20261123.csv. We looked at /in at \
            sftp://sftp.acme.example:22 on {looked} and it was not there. The last file of this \
            kind is daily_20261122.csv, complete since 2026-11-22 05:01:00 UTC."
        )
    );
    assert!(html.contains(&format!("<p id=\"said\" data-utc><bdi>{said}</bdi></p>")), "{html}");
    // What is expected comes first, then the likest names.
    assert_eq!(absent["expected"][0]["name"], "daily");
    let near = absent["nearest"].as_array().expect("files");
    let paths: Vec<&str> = near.iter().filter_map(|hit| hit["path"].as_str()).collect();
    assert_eq!(paths, ["/in/daily_20261122.csv", "/in/daily_20261121.csv"]);
    let rows = html.split_once("Nearest names</h2>").expect("a table").1;
    let at = |text: &str| rows.find(text).unwrap_or_else(|| panic!("{text}: {rows}"));
    assert!(at("Expected by") < at("daily_20261122.csv"), "{rows}");
    assert!(at("daily_20261122.csv") < at("daily_20261121.csv"), "{rows}");
    assert_eq!(absent["unlisted"][0]["source"], "nordbank");
    // Since when the other one is not listed.
    let moment = super::moment::at(now - Duration::minutes(4)).into_string();
    let since = format!("has not been listed since {moment}: newer files are not known here");
    assert!(html.contains(&since), "{html}");
}

#[tokio::test]
async fn nobody_is_told_that_a_file_was_not_there_where_rules_leave_files_out() {
    let store = shelf(OffsetDateTime::now_utc(), 3).await;
    let (_, json) = search(&store, "daily_20261123.csv").await;
    let lead = json["absent"]["lead"].as_str().expect("a sentence");
    let out = "and it was not there, unless it is one of the 3 files that your rules leave out.";
    assert!(lead.ends_with(out), "{lead}");
    let said = json["absent"]["for_the_sender"].as_str().expect("a sentence");
    assert!(said.contains("and found no such file to take."), "{said}");
}

#[tokio::test]
async fn a_name_that_is_like_none_has_no_neighbours_and_one_that_is_found_no_such_page() {
    let store = shelf(OffsetDateTime::now_utc(), 0).await;
    let (html, json) = search(&store, "zebra_2026.csv").await;
    assert_eq!(json["absent"]["nearest"], json!([]));
    assert!(!html.contains("Nearest names") && html.contains("For the sender"), "{html}");
    let (html, json) = search(&store, "daily_20261122.csv").await;
    assert_eq!(
        (json["answer"].as_str(), json.get("absent")),
        (Some("daily_20261122.csv is here"), None)
    );
    assert!(!html.contains("For the sender"), "{html}");
}

#[tokio::test]
async fn a_file_that_was_seen_before_the_time_that_is_asked_for_is_not_told_as_absent() {
    let store = shelf(OffsetDateTime::now_utc() - Duration::days(10), 0).await;
    let (html, json) = search_since(&store, "daily_20261122.csv", SeenSince::Yesterday).await;
    assert_eq!(json["answer"], "No file of this name was seen since yesterday");
    assert_eq!((json["earlier"].as_u64(), json.get("absent")), (Some(1), None));
    assert!(html.contains("1 older hit is left out."), "{html}");
    assert!(html.contains("q=daily_20261122.csv\">Look further back</a>"), "{html}");
    assert!(html.contains("<option value=\"yesterday\" selected>yesterday</option>"), "{html}");
    for since in [SeenSince::Months, SeenSince::Ever] {
        let (html, json) = search_since(&store, "daily_20261122.csv", since).await;
        assert_eq!(json["answer"], "daily_20261122.csv is here");
        assert_eq!(json["seen_since"], since.word());
        assert!(!html.contains("Look further back"), "{html}");
    }
    // Nobody has seen this one, whenever.
    let (_, json) = search_since(&store, "zebra_2026.csv", SeenSince::Yesterday).await;
    assert_eq!(json["answer"], "No file of this name was seen");
    assert!(json["absent"].is_object());
}

#[test]
fn names_are_alike_but_for_their_digits_or_their_ends() {
    for (name, patterns) in [
        ("sales_20261202.csv", &["sales_*.csv", "sales*"][..]),
        ("/out/sales_20261202_v2.csv", &["sales_*_v*.csv", "sales*"]),
        ("invoices.xml", &["invoic*"]),
        ("20261202.csv", &["*.csv"]),
        ("sales_2026*", &["sales_*", "sales*"]),
        ("7", &[]),
    ] {
        assert_eq!(patterns_near(name), patterns, "{name}");
    }
}
