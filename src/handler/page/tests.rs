//! The pages over a store with records and reports whose every text is hostile.

use std::sync::Arc;

use bytes::Bytes;
use md5::{Digest, Md5};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use super::*;
use crate::history::record::{RunStatus, Trigger};
use crate::history::records::Records;
use crate::history::run_id::run_id;
use crate::model::{BlobName, Secret};
use crate::runtime::retry::Policy;
use crate::state::store::StateStore;
use crate::store::contract::{Condition, Properties};
use crate::store::memory::MemoryStore;

/// Names that would be tags, attributes, entities, scripts, if anything forgot to escape them.
const HOSTILE: &[&str] = &[
    "<img src=x onerror=alert(1)>",
    "\" onmouseover=\"alert(1)\" x=\"",
    "' onfocus='alert(1)' autofocus='",
    "</script><script>alert(1)</script>",
    "</style></title><svg onload=alert(1)>",
    "javascript:alert(1)",
    "&lt;b&gt;&#60;b&#62;",
    "{{7*7}} ${7*7} <!-- --> ]]>",
];

async fn put(store: &Arc<dyn Store>, name: &str, value: &Value) {
    let bytes = Bytes::from(value.to_string());
    let properties = Properties {
        content_type: "application/json".into(),
        md5: Md5::digest(&bytes).into(),
        metadata: [].into(),
        placement: Default::default(),
    };
    store
        .put(&BlobName::new(name).expect("a name"), bytes, &properties, &Condition::Always)
        .await
        .expect("written");
}

fn pass(text: &str) -> Value {
    let problem = json!({ "path": text, "class": text, "message": text, "hint": text });
    json!({
        "source": text, "address": text, "status": text, "listed": 5, "ingested": 1, "unchanged": 1,
        "skipped": 1, "gone": 0, "deferred": 1, "failed": 1,
        "bytes": 4096, "blobs": 1, "skipped_by_reason": { text: 1 },
        "deferred_by_reason": { text: 1 }, "deferred_files": [text],
        "failures": [problem], "problems": [problem], "notes": [text], "unparsed_lines": 1,
    })
}

/// A store with one run of the handler and one of the command line; their ids.
async fn shelf() -> (Arc<dyn Store>, String, String) {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let now = OffsetDateTime::now_utc();
    let mut record = RunRecord::new(Trigger::Timer, HOSTILE[0], now - Duration::minutes(5));
    record.run = Some(record.id.clone());
    record.status = RunStatus::Degraded;
    record.ended = Some(now);
    record.problems = HOSTILE
        .iter()
        .map(|text| json!({ "message": text, "class": text, "hint": text }))
        .collect();
    record.sources = HOSTILE.iter().map(|text| pass(text)).collect();
    Records::new(StateStore::new(store.clone(), Redactor::default(), Policy::default()))
        .put(&record)
        .await
        .expect("written");
    // The handler's run left a report too: it is the same run, and shown once.
    let id = run_id(now - Duration::minutes(9));
    for run in [&record.id, &id] {
        let mut report = pass(HOSTILE[1]);
        report["source"] = "acme".into();
        report["run"] = run.as_str().into();
        report["started"] = "2026-11-23T09:00:00Z".into();
        report["ended"] = "2026-11-23T09:00:05Z".into();
        put(&store, &format!("_blobferry/acme/runs/{}/{run}.json", &run[..8]), &report).await;
    }
    put(&store, "_blobferry/acme/runs/20261101/notes.txt", &json!({})).await;
    put(&store, "_blobferry/acme/runs/20261101/20261101T000000Z-00000000.json", &json!([1])).await;
    (store, record.id, id)
}

/// What the desk answers.
pub async fn ask_as(
    store: &Arc<dyn Store>,
    asked: &StatusQuery,
    query: &[(&str, &str)],
    dress: Dress,
) -> HttpAnswer {
    let redactor = Redactor::new([&Secret::new("s3cret-word")]);
    let sources = crate::config::parse(
        "ingest.toml",
        std::path::Path::new(""),
        "[destination]\nfolder = \"x\"\n[[source]]\nname = \"acme\"\nurl = \"file:///in\"\n\
         [[source.expect]]\nname = \"daily\"\nfiles = [\"daily_{yyyyMMdd}.csv\"]\nby = \"05:00\"\n",
        &[].into(),
    );
    let sources = sources.expect("a configuration").sources;
    let destinations = Destinations::default();
    let context = PageContext {
        store,
        destinations: &destinations,
        sources: &sources,
        redactor: &redactor,
        prefix: "/api",
        here: Vec::new(),
        starts_runs: true,
        schedule: Some("0 0 * * * *"),
    };
    let query =
        query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let call = HttpCall {
        method: "GET".into(),
        url: "https://app.example/api/ingest/runs?code=k".into(),
        query,
        ..HttpCall::default()
    };
    answer(context, &call, asked, dress).await.expect("the store answers")
}

async fn ask(store: &Arc<dyn Store>, asked: &StatusQuery, query: &[(&str, &str)]) -> HttpAnswer {
    ask_as(store, asked, query, Dress::Html).await
}

/// What a browser would make of a page: names of elements and of attributes. Our pages quote every
/// attribute, so a reader of quotes is enough, and one that meets anything else fails.
fn elements(html: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut found = Vec::new();
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        if rest.starts_with(['/', '!']) {
            continue;
        }
        let name: String = rest.chars().take_while(char::is_ascii_alphanumeric).collect();
        assert!(!name.is_empty(), "a lone `<` before `{}`", &rest[..rest.len().min(40)]);
        rest = &rest[name.len()..];
        let mut attributes = Vec::new();
        loop {
            rest = rest.trim_start();
            if let Some(after) = rest.strip_prefix('>') {
                rest = after;
                break;
            }
            let key: String =
                rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
            assert!(!key.is_empty(), "in <{name}: `{}`", &rest[..rest.len().min(40)]);
            rest = &rest[key.len()..];
            let mut value = "";
            if let Some(quoted) = rest.strip_prefix("=\"") {
                let end = quoted.find('"').expect("the quote is closed");
                (value, rest) = (&quoted[..end], &quoted[end + 1..]);
            }
            attributes.push((key, value.to_owned()));
        }
        if name == "script" || name == "style" {
            rest = &rest[rest.find(&format!("</{name}>")).expect("it is closed")..];
        }
        found.push((name, attributes));
    }
    found
}

#[tokio::test]
async fn no_name_becomes_anything_but_text() {
    let (store, handler, command_line) = shelf().await;
    let mut pages = vec![
        ask(&store, &StatusQuery::List(20), &[("code", "a\"><script>alert(1)</script>&b=c")]).await,
    ];
    for id in [&handler, &command_line] {
        pages.push(ask(&store, &StatusQuery::One(id.clone()), &[]).await);
    }
    pages.push(ask(&store, &StatusQuery::One(HOSTILE[0].into()), &[]).await);
    assert_eq!(pages.iter().map(|page| page.status).collect::<Vec<_>>(), [200, 200, 200, 404]);
    for page in &pages {
        let html = page.page.as_ref().expect("a page");
        let found = elements(html);
        assert_eq!(
            found.iter().filter(|(name, _)| name == "script").count(),
            1,
            "only our own script"
        );
        assert!(found.iter().all(|(name, _)| name != "img"
            && name != "iframe"
            && name != "object"
            && name != "base"));
        for (name, attributes) in &found {
            for (key, value) in attributes {
                assert!(
                    !key.starts_with("on") && key != "style" && key != "src" && key != "autofocus",
                    "<{name} {key}>"
                );
                let is_ours = value.is_empty()
                    || value.starts_with("/api/ingest/status")
                    || value.starts_with('#');
                assert!(key != "href" || is_ours, "<{name} href=\"{value}\">");
            }
        }
    }
    let html = pages[1].page.as_ref().expect("a page");
    for text in
        ["&lt;img src=x onerror=alert(1)&gt;", "&quot; onmouseover=&quot;", "&amp;lt;b&amp;gt;"]
    {
        assert!(html.contains(text), "{text} is shown as it is spelled");
    }
}

#[tokio::test]
async fn runs_of_both_kinds_stand_in_one_list_each_once() {
    let (store, handler, command_line) = shelf().await;
    let page = ask(&store, &StatusQuery::List(20), &[("code", "k/1"), ("limit", "20")]).await;
    let html = page.page.expect("a page");
    let rows = html.matches("<th class=\"hi-w\"").count();
    assert_eq!(rows, 2, "{html}");
    for id in [&handler, &command_line] {
        assert!(
            html.contains(&format!("href=\"/api/ingest/status/runs/{id}?code=k%2F1\"")),
            "a link with the caller's key"
        );
    }
    assert!(
        html.contains(
            "listed 40 = ingested 8 + unchanged 8 + skipped 8 + gone 0 + deferred 8 + failed 8"
        ),
        "the equation of a run over all its sources"
    );
    assert!(
        html.contains("<noscript>") && html.contains("https://app.example/api/ingest"),
        "a run can be started without a script"
    );
}

#[tokio::test]
async fn pages_keep_to_themselves() {
    let (store, handler, _) = shelf().await;
    let page = ask(&store, &StatusQuery::One(handler), &[]).await;
    let header = |name: &str| {
        page.headers.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str())
    };
    assert_eq!(
        (header("Referrer-Policy"), header("Cache-Control")),
        (Some("no-referrer"), Some("no-store"))
    );
    let policy = header("Content-Security-Policy").expect("a policy");
    assert!(
        policy.starts_with("default-src 'none';")
            && !policy.contains("unsafe")
            && !policy.contains('*'),
        "{policy}"
    );
    // The hashes are those of what the page holds: else a browser would show it bare.
    let html = page.page.as_deref().expect("a page");
    for (tag, end) in [("<style>", "</style>"), ("<script>", "</script>")] {
        let text =
            html.split_once(tag).and_then(|(_, rest)| rest.split_once(end)).expect("one of them").0;
        use base64::Engine as _;
        let hash = base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(text));
        assert!(policy.contains(&hash), "{tag} is not the one that the policy allows");
    }
    assert!(
        !html.contains("style=\"") && !html.contains("http://") && !html.contains("https://"),
        "no outside asset, no inline style"
    );
}

#[tokio::test]
async fn secrets_that_a_report_holds_are_not_shown() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let id = run_id(OffsetDateTime::now_utc());
    let report = json!({ "run": id, "started": "2026-11-23T09:00:00Z",
        "ended": "2026-11-23T09:00:05Z", "source": "acme", "notes": ["530 \
        s3cret-word"] });
    put(&store, &format!("_blobferry/acme/runs/{}/{id}.json", &id[..8]), &report).await;
    let html = ask(&store, &StatusQuery::One(id), &[]).await.page.expect("a page");
    assert!(html.contains("530 ***") && !html.contains("s3cret-word"));
}

#[tokio::test]
async fn a_running_run_reloads_and_an_empty_store_says_so() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let html = ask(&store, &StatusQuery::List(20), &[]).await.page.expect("a page");
    assert!(
        html.contains("Nothing has run yet")
            && html.contains("blobferry check")
            && html.contains("data-running=\"no\"")
    );
    // Where its files come from, and when the first run looks there.
    assert!(
        html.contains("<h2 id=\"yours\">Your source</h2>")
            && html.contains("<dt><bdi>acme</bdi></dt><dd><bdi>file:///in</bdi>")
            && html.contains("every hour, first at <time"),
        "{html}"
    );
    let json = ask_as(&store, &StatusQuery::List(20), &[], Dress::Json).await.body;
    assert_eq!(json["new"][0]["place"], "file:///in");
    assert_eq!(json["new"][0]["every"], 3_600);
    assert!(json["new"][0]["first"].is_string());
    let mut record = RunRecord::new(Trigger::Http, "i", OffsetDateTime::now_utc());
    record.sources = vec![json!({ "source": "acme", "status": "running", "bytes_to_fetch": 2048,
            "bytes_fetched": 1024, "ingested": 3 })];
    Records::new(StateStore::new(store.clone(), Redactor::default(), Policy::default()))
        .put(&record)
        .await
        .expect("written");
    for asked in [StatusQuery::List(20), StatusQuery::One(record.id.clone())] {
        let html = ask(&store, &asked, &[]).await.page.expect("a page");
        assert!(
            html.contains("data-running=\"yes\"")
                && html.contains("http-equiv=\"refresh\"")
                && html.contains("so far ingested 3"),
            "{html}"
        );
    }
}

/// How bright a colour as `#1a2b3c` is, by WCAG 2.
fn luminance(colour: &str) -> f64 {
    let part = |at: usize| {
        let short = colour.len() == 4;
        let digits =
            if short { colour[at.div_ceil(2)..][..1].repeat(2) } else { colour[at..at + 2].into() };
        let value = f64::from(u8::from_str_radix(&digits, 16).expect("a colour")) / 255.0;
        if value <= 0.03928 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5)
}

#[test]
fn text_and_pictures_stand_out_in_light_and_in_dark() {
    let style = include_str!("style.css");
    let schemes: Vec<&str> = style
        .split(":root{")
        .skip(1)
        .map(|rest| rest.split('}').next().expect("it is closed"))
        .collect();
    assert_eq!(schemes.len(), 2, "light and dark");
    for scheme in schemes {
        let colour = |name: &str| {
            scheme
                .split_once(&format!("--{name}:"))
                .unwrap_or_else(|| panic!("no {name}"))
                .1
                .split([';', '\n'])
                .next()
                .expect("a value")
        };
        let contrast = |one: &str, other: &str| {
            let (one, other) = (luminance(colour(one)), luminance(colour(other)));
            (one.max(other) + 0.05) / (one.min(other) + 0.05)
        };
        let texts = [
            "ink paper",
            "ink sunk",
            "soft paper",
            "quiet paper",
            "quiet sunk",
            "link paper",
            "link sunk",
            "bad paper",
            "warn paper",
            "good paper",
            "live paper",
            "on link",
        ];
        for pair in texts {
            let (text, ground) = pair.split_once(' ').expect("a pair");
            assert!(contrast(text, ground) >= 4.5, "{pair}: {:.2}", contrast(text, ground));
        }
        for part in ["ingested", "unchanged", "skipped", "gone", "deferred", "failed", "f-live"] {
            assert!(contrast(part, "paper") >= 3.0, "{part}: {:.2}", contrast(part, "paper"));
        }
    }
}

#[tokio::test]
async fn the_page_of_a_source_tells_its_own_destination() {
    let folder = tempfile::tempdir().expect("a folder");
    let finance = crate::store::folder::FolderStore::new(folder.path()).expect("a store");
    let finance: Arc<dyn Store> = Arc::new(finance);
    let destinations = Destinations::new([("finance".to_owned(), finance.clone())]);
    let config = crate::config::parse(
        "ingest.toml",
        std::path::Path::new(""),
        "[destination]\nfolder = \"x\"\n[destinations.finance]\nfolder = \"y\"\n[[source]]\nname = \
         \"acme\"\nurl = \"file:///in\"\ndestination = \"finance\"\n",
        &[].into(),
    );
    let sources = config.expect("a configuration").sources;
    let (store, ..) = shelf().await;
    let context = PageContext {
        store: &store,
        destinations: &destinations,
        sources: &sources,
        redactor: &Redactor::default(),
        prefix: "/api",
        here: Vec::new(),
        starts_runs: true,
        schedule: None,
    };
    let at = |asked: &StatusQuery| context.store_of(asked).address().to_owned();
    assert_eq!(at(&StatusQuery::Source("acme".into())), finance.address());
    assert_eq!(at(&StatusQuery::List(1)), store.address());
}
