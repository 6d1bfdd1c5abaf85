//! The workbook and the alert rules ask for what is really sent, under the names that it is sent
//! by.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use blobferry::telemetry::insights::names;
use serde_json::Value;

use super::ingestion::{Ingestion, Mood};
use super::world::World;
use super::{CONNECTION, FOLDER};
use crate::lists::all_of;

fn infra() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("infra")
}

/// Every query, by where it stands.
fn queries() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(infra().join("queries")).expect("it is there") {
        let path = entry.expect("it can be read").path();
        found.insert(path.display().to_string(), std::fs::read_to_string(&path).expect("text"));
    }
    let workbook: Value =
        serde_json::from_slice(&std::fs::read(infra().join("workbook.json")).expect("it is there"))
            .expect("JSON");
    for item in workbook["items"].as_array().expect("a list") {
        if let Some(query) = item["content"]["query"].as_str() {
            let title = item["content"]["title"].as_str().expect("every query has a title");
            found.insert(format!("workbook.json: {title}"), query.to_owned());
        }
    }
    found
}

/// The kinds of envelopes that end up in each table.
const TABLES: &[(&str, &str)] = &[
    ("customMetrics", "Metric"),
    ("dependencies", "RemoteDependency"),
    ("exceptions", "Exception"),
    ("requests", "Request"),
    ("traces", "Message"),
];

/// Every status that a run is recorded or sent with: of records, of reports, and of a run that
/// panicked.
fn statuses() -> BTreeSet<&'static str> {
    use blobferry::history::record::RunStatus as Recorded;
    use blobferry::report::Status as Reported;
    let recorded =
        all_of!(Recorded: Running Ok Degraded Failed Interrupted Abandoned).map(Recorded::word);
    let reported = all_of!(Reported: Left Ok Interrupted Degraded Failed).map(Reported::word);
    recorded.into_iter().chain(reported).chain([names::BROKEN]).collect()
}

/// What is wrong with a query, `sent` being the properties that each kind of envelope was seen
/// with.
fn problems(query: &str, sent: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let mut found = Vec::new();
    let lines = query.lines().filter(|line| !line.trim_start().starts_with("//"));
    let query = lines.collect::<Vec<_>>().join("\n");
    // A part of a query begins with its table: the first line, and the first within brackets.
    let mut kind = None;
    for line in query.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if !line.starts_with(['|', ')']) && !line.ends_with('(') {
            kind = TABLES.iter().find(|(table, _)| *table == line).map(|(_, kind)| *kind);
            found.extend(kind.is_none().then(|| format!("no table of ours: {line}")));
        }
        let Some(kind) = kind else { continue };
        for (at, _) in line.match_indices("customDimensions.") {
            let rest = &line[at + "customDimensions.".len()..];
            let key: String =
                rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            let is_sent = sent.get(kind).is_some_and(|keys| keys.contains(&key));
            found.extend((!is_sent).then(|| format!("{kind} is sent without {key}")));
        }
        if let Some(rest) = line.strip_prefix("| where name == ") {
            let name = rest.trim_matches('"');
            found.extend(
                (!names::ALL.contains(&name)).then(|| format!("no measurement of ours: {name}")),
            );
        }
        if let Some((_, words)) = line.split_once("status in (") {
            let words =
                words.trim_end_matches(')').split(',').map(|word| word.trim().trim_matches('"'));
            found.extend(
                words
                    .filter(|word| !statuses().contains(word))
                    .map(|word| format!("no status of ours: {word}")),
            );
        }
        if let Some((_, word)) = line.split_once("outcome == \"").filter(|_| kind == "Metric") {
            let word = word.split('"').next().unwrap_or_default();
            let known =
                ["ingested", "unchanged", "skipped", "gone", "deferred", "failed"].contains(&word);
            found.extend((!known).then(|| format!("no outcome of ours: {word}")));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workbook_and_alerts_ask_for_what_is_sent() {
    let ingestion = Ingestion::start(Mood::Well);
    let world = World::new(FOLDER).await;
    world.append("[[source.expect]]\nname = \"never\"\nfiles = [\"*.csv\"]\nmax_age = \"1h\"\n");
    let done = world.run(&[(CONNECTION, &ingestion.connection())]);
    assert_eq!(done.code, Some(1), "{}", done.err);
    let mut sent: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for envelope in ingestion.envelopes() {
        let keys = envelope
            .data("properties")
            .as_object()
            .map(|keys| keys.keys().cloned().collect::<BTreeSet<_>>())
            .unwrap_or_default();
        sent.entry(envelope.kind().to_owned()).or_default().extend(keys);
    }
    let labels: BTreeSet<String> = names::LABELS.iter().map(|label| (*label).to_owned()).collect();
    assert!(sent["Metric"].is_superset(&labels), "{sent:?}");
    let queries = queries();
    assert!(queries.len() >= 12, "{:?}", queries.keys());
    for (place, query) in &queries {
        assert_eq!(problems(query, &sent), [] as [String; 0], "{place}: {query}");
    }
    // Each measurement is looked at somewhere.
    for name in names::ALL {
        assert!(
            queries.values().any(|query| query.contains(&format!("\"{name}\""))),
            "nobody looks at {name}"
        );
    }
    // The check can fail.
    for (good, bad) in [
        ("ingest_lag_seconds", "ingest_lag"),
        ("customDimensions.source", "customDimensions.src"),
        ("customMetrics", "customEvents"),
    ] {
        let query =
            queries.iter().find(|(place, _)| place.ends_with("lag.kql")).expect("it is there").1;
        assert_ne!(problems(&query.replace(good, bad), &sent), [] as [String; 0], "{bad}");
    }
    let query =
        queries.iter().find(|(place, _)| place.ends_with("ended.kql")).expect("it is there").1;
    assert_ne!(problems(&query.replace("\"ok\"", "\"well\""), &sent), [] as [String; 0]);
}

/// The words of `| where status in ("a", "b")`.
fn asked(query: &str) -> BTreeSet<&str> {
    let (_, words) = query.split_once("status in (").expect("it asks for statuses");
    words
        .split(')')
        .next()
        .unwrap_or_default()
        .split(',')
        .map(|word| word.trim().trim_matches('"'))
        .collect()
}

#[test]
fn no_status_of_a_run_that_is_not_well_escapes_the_alert() {
    let read = |name: &str| {
        std::fs::read_to_string(infra().join("queries").join(name)).expect("it is there")
    };
    let well = BTreeSet::from(["ok", "left", "running"]);
    let wrong: BTreeSet<&str> = statuses().difference(&well).copied().collect();
    assert_eq!(asked(&read("runs-that-went-wrong.kql")), wrong);
    assert_eq!(
        asked("| where status in (\"ok\", \"left\")\n| take 1"),
        BTreeSet::from(["ok", "left"])
    );
}

#[test]
fn a_run_that_was_stopped_or_brought_nothing_is_a_run_that_ended() {
    use blobferry::report::Status as Reported;
    let query = std::fs::read_to_string(infra().join("queries/runs-that-ended.kql"));
    let reported = all_of!(Reported: Left Ok Interrupted Degraded Failed).map(Reported::word);
    assert_eq!(asked(&query.expect("it is there")), BTreeSet::from(reported));
}

#[test]
fn the_page_explains_every_rule() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let bicep = std::fs::read_to_string(infra().join("main.bicep")).expect("it is there");
    let rules = bicep.split("'Microsoft.Insights/scheduledQueryRules@").skip(1);
    let name = |rule: &str| {
        rule.split("displayName: 'blobferry: ")
            .nth(1)
            .and_then(|rest| rest.split('\'').next())
            .map(str::to_owned)
    };
    let names: Vec<Option<String>> = rules.map(name).collect();
    let page = std::fs::read_to_string(root.join("docs/operations.md")).expect("it is there");
    let rows = page
        .lines()
        .skip_while(|line| !line.starts_with("| rule |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    assert_eq!(
        rows.map(|row| row.split('|').nth(1).map(|cell| cell.trim().to_owned()))
            .collect::<Vec<_>>(),
        names
    );
}

#[test]
fn four_rules_of_the_template_ask_by_these_queries() {
    let bicep = std::fs::read_to_string(infra().join("main.bicep")).expect("it is there");
    let rules: Vec<&str> = bicep
        .split("'Microsoft.Insights/scheduledQueryRules@")
        .skip(1)
        .map(|rest| rest.split("\nresource ").next().expect("one"))
        .collect();
    assert_eq!(rules.len(), 4);
    for rule in rules {
        let file = rule
            .split_once("loadTextContent('")
            .expect("a query in a file")
            .1
            .split('\'')
            .next()
            .expect("a name");
        let query = std::fs::read_to_string(infra().join(file)).expect("it is there");
        let column = rule
            .split_once("metricMeasureColumn: '")
            .expect("a column")
            .1
            .split('\'')
            .next()
            .expect("a name");
        assert!(
            query.contains(&format!("summarize {column} = ")),
            "{file} makes no column {column}"
        );
        for dimension in
            rule.split("{ name: '").skip(1).map(|rest| rest.split('\'').next().expect("a name"))
        {
            assert!(
                query
                    .lines()
                    .last()
                    .is_some_and(|line| line.contains(" by ") && line.contains(dimension)),
                "{file} has no {dimension} to tell apart"
            );
        }
    }
    assert!(bicep.contains("loadTextContent('workbook.json')"));
}
