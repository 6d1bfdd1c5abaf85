//! Tests: over generated histories of runs, the page for people, the page for programs and the
//! command line's report say the same.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use super::Dress;
use super::tests::ask_as;
use crate::handler::api::{ListQuery, SeenSince, StatusQuery};
use crate::history::arrivals::{self, OpenExpectations};
use crate::history::record::{RunRecord, Trigger};
use crate::history::records::Records;
use crate::history::source_index;
use crate::model::RemotePath;
use crate::model::failure::Class;
use crate::model::number_of;
use crate::model::redactor::Redactor;
use crate::report::{
    Defer, ExpectationStanding, Ingested, LeftTo, Outcome, Problem, Report, SourceReport,
};
use crate::rules::plan::Skip;
use crate::runtime::retry::Policy;
use crate::state::store::StateStore;
use crate::store::contract::Store;
use crate::store::memory::MemoryStore;

const HISTORIES: u64 = 50;

/// Numbers that a seed decides.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

/// A pass over a source that ended in some way.
fn pass(dice: &mut Dice, name: &str) -> SourceReport {
    let mut report = SourceReport::new(name, "sftp://partner.example:22");
    let class =
        [Class::Auth, Class::Connect, Class::HostKey, Class::Ledger][dice.below(4) as usize];
    match dice.below(9) {
        0 => {
            report.problems.push(Problem::new(class, format!("{class}: it did not work")));
            report.unusable = true;
            return report;
        }
        1 => {
            report.left_to = Some(LeftTo::default());
            return report;
        }
        2 => report.problems.push(Problem::new(Class::ListingFailed, "listing of `/x` failed")),
        3 => report.problems.push(Problem::new(Class::Late, "waits since yesterday")),
        _ => {}
    }
    for number in 0..dice.below(6) {
        let path = RemotePath::from(format!("/in/file-{number}.csv").as_str());
        let outcome = match dice.below(12) {
            0..=4 => Outcome::Ingested(Ingested { bytes: 7, stored: 1, ..Ingested::default() }),
            5..=7 => Outcome::Unchanged,
            8 => Outcome::Skipped(Skip::Excluded),
            9 if dice.below(2) == 0 => Outcome::Deferred(Defer::TooMany),
            9 => Outcome::Deferred(Defer::Interrupted),
            10 => Outcome::Gone,
            _ => Outcome::Failed(Problem::new(Class::Permission, "550 no")),
        };
        report.add(&path, outcome);
    }
    report
}

/// Leaves the records and the index of some runs; their ends, newest first.
async fn live(dice: &mut Dice, state: &StateStore, now: OffsetDateTime) -> Vec<(String, String)> {
    let mut ended = Vec::new();
    let runs = 1 + dice.below(30);
    for ago in (0..runs).rev() {
        let started = now - Duration::minutes(5 + 10 * i64::try_from(ago).expect("few"));
        let mut record = RunRecord::new(Trigger::Command, "", started);
        if dice.below(12) == 0 && ago > 0 {
            // Its process died without a word.
            record.sources = vec![json!({ "source": "acme", "status": "running" })];
            Records::new(state.clone()).put(&record).await.expect("written");
            ended.push((record.id, "abandoned".to_owned()));
            continue;
        }
        let names = ["acme", "bravo", "coda"].into_iter().take(1 + dice.below(3) as usize);
        let report = Report {
            run: record.id.clone(),
            started,
            ended: started + Duration::seconds(5),
            interrupted: false,
            store: "memory".into(),
            problems: Vec::new(),
            sources: names.map(|name| pass(dice, name)).collect(),
        };
        record.end(&report, &Redactor::default());
        Records::new(state.clone()).put(&record).await.expect("written");
        source_index::note(state, &record).await;
        // What the command line says and exits with is of the same word.
        let word = report.status().word();
        assert!(report.to_string().contains(&format!("run {} {word}:", report.run)));
        assert_eq!(report.exit_code() == 0, word == "ok", "{word}");
        ended.push((report.run, word.to_owned()));
    }
    ended.reverse();
    ended
}

/// What is expected of `acme`: feeds that stand in all ways, some of which have missed their files.
fn standings(dice: &mut Dice, now: OffsetDateTime) -> Vec<ExpectationStanding> {
    let feeds = dice.below(5);
    let feed = |number: u64, dice: &mut Dice| {
        let deadline = now - Duration::minutes(i64::try_from(dice.below(3_000)).expect("few"));
        let mut told = json!({ "name": format!("feed-{number}"), "severity": "error",
            "state": "met", "deadline": rfc3339(deadline), "count": 1, "expected": 1,
            "paths": [format!("/in/daily/file-{number}.csv")] });
        if dice.below(4) == 0 {
            told["severity"] = "warn".into();
        }
        if dice.below(3) > 0 {
            told["last_met"] = rfc3339(deadline - Duration::DAY).into();
        }
        match dice.below(6) {
            0 => told["late_by"] = json!(60 * dice.below(500)),
            1 => told["state"] = "due".into(),
            unmet @ (2..=4) => {
                told["state"] = if unmet == 2 { "late" } else { "missed" }.into();
                told["since"] = rfc3339(deadline).into();
                told["unmet"] = "too_few".into();
                (told["count"], told["expected"]) = (json!(0), json!(1 + dice.below(2)));
                told["paths"] = json!([]);
                let why = ["not_listed", "failed", "deferred", "listing_failed", "not_looked"];
                told["why"] = why[dice.below(5) as usize].into();
                (told["class"], told["reason"]) = ("permission".into(), "unstable".into());
                if unmet == 4 && dice.below(2) == 0 {
                    told["recovered_at"] = rfc3339(now).into();
                }
            }
            _ => (told["count"], told["expected"]) = (json!(3), json!(3)),
        }
        ExpectationStanding::deserialize(told).expect("a standing")
    };
    (0..feeds).map(|number| feed(number, dice)).collect()
}

fn rfc3339(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).expect("a time")
}

/// What the two dresses tell of expected files: each feed, in one order, with its state and why.
fn compare_expected(seed: u64, html: &str, json: &Value) {
    let feeds = json["expected"].as_array().expect("a list");
    let Some((_, table)) = html.split_once("id=\"night\"") else {
        assert!(feeds.is_empty() && json["night"].is_null(), "{seed}: the page tells of no feed");
        return;
    };
    let (table, _) = table.split_once("</table>").expect("its end");
    let text = plain(html);
    let night = json["night"]["answer"].as_str().expect("an answer");
    assert!(text.contains(night) || json["name"].is_string(), "{seed}: {night}");
    let rows: Vec<&str> = table.split("<tr role=\"row\">").skip(2).collect();
    assert_eq!(rows.len(), feeds.len(), "{seed}: every feed has a row");
    for (row, feed) in rows.iter().zip(feeds) {
        let row = plain(&format!("<i id=\"live\">{row}</main>"));
        let has = |words: &str| assert!(row.contains(words), "{seed}: `{words}` in {row}\n{feed}");
        let (is_late, is_good) = (feed["late_by"].is_i64(), feed["recovered_at"].is_string());
        has(match feed["state"].as_str().expect("a state") {
            "missed" if is_good => "Came late",
            "missed" => "Missing",
            "met" if is_late => "Here, late",
            "met" => "Here",
            "late" => "Late",
            _ => "Due",
        });
        has(&format!(
            "{} {}",
            feed["source"].as_str().expect("a name"),
            feed["name"].as_str().expect("a name")
        ));
        has(&shown(&feed["deadline"]));
        has(&shown(&feed["last_met"]));
        for member in ["class", "reason"] {
            feed[member].as_str().into_iter().for_each(|word| has(&word.replace('_', " ")));
        }
        feed["why"].as_str().into_iter().for_each(|why| {
            has(match why {
                "not_listed" => "does not show it",
                "failed" => "could not be brought over",
                "deferred" => "It waits",
                "listing_failed" => "could not be listed",
                _ => "No run has looked",
            });
        });
        match feed["unmet"].as_str() {
            Some("too_few") if feed["expected"].as_u64() > Some(1) => {
                has(&format!("{} of {}", feed["count"], feed["expected"]));
            }
            Some("too_many") => has(&format!("{} files came, more", feed["count"])),
            Some("too_small") => has("smaller than expected"),
            Some("stale") => has("for too long"),
            _ => {}
        }
        if let Some(path) = feed["paths"][0].as_str().filter(|_| feed["unmet"].is_null()) {
            has(path.rsplit('/').next().expect("a name"));
        }
    }
}

/// The text of a page without its elements.
fn plain(html: &str) -> String {
    let (_, live) = html.split_once("id=\"live\"").expect("a part that is renewed");
    let (live, _) = live.split_once("</main>").expect("its end");
    let mut text = String::new();
    for piece in live.split('<').skip(1) {
        text.push_str(piece.split_once('>').map_or("", |(_, text)| text));
    }
    text.replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"")
}

/// All times of a JSON, to the second.
fn times(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) if text.len() > 19 && text.as_bytes()[10] == b'T' => {
            found.insert(text[..19].to_owned());
        }
        Value::Array(list) => list.iter().for_each(|value| times(value, found)),
        Value::Object(object) => object.values().for_each(|value| times(value, found)),
        _ => {}
    }
}

fn shown(time: &Value) -> String {
    time.as_str().map_or("unknown".into(), |time| format!("{} UTC", time[..19].replace('T', " ")))
}

/// What the two dresses of one page must have in common.
fn compare(seed: u64, html: &str, json: &Value) {
    let text = plain(html);
    let has = |words: &str| assert!(text.contains(words), "{seed}: `{words}` in {text}\n{json:#}");
    has(json["answer"].as_str().expect("an answer"));
    let rows: Vec<&str> = html.split("class=\"so-n\"").collect();
    let sources = json["sources"].as_array().expect("sources");
    assert_eq!(rows.len(), sources.len() + 1, "{seed}");
    for (source, (before, row)) in sources.iter().zip(rows.iter().zip(rows.iter().skip(1))) {
        let name = source["name"].as_str().expect("a name");
        assert!(row.contains(&format!("<bdi>{name}</bdi>")), "{seed}: the order is the same");
        let word = source["word"].as_str().expect("a word").replace('_', " ");
        assert!(
            before.to_lowercase().ends_with(&format!("{word}</span></th><td ")),
            "{seed}: {word}"
        );
        has(&shown(&source["complete_up_to"]));
        let number = |name: &str| source[name].as_u64().map_or("unknown".into(), |n| n.to_string());
        let row = plain(&format!("<i id=\"live\">{row}</main>"));
        assert!(
            row.contains(&format!("{}, {}", number("waiting"), number("failed"))),
            "{seed}: {row}"
        );
        let needs_you = ["down", "failing", "missing", "stuck", "silent"].contains(&word.as_str());
        for need in source["needs"].as_array().into_iter().flatten().filter(|_| needs_you) {
            for name in ["what", "message"] {
                has(need[name].as_str().expect("a text"));
            }
            let hint = need["hint"].as_str().expect("a text").replace('`', "");
            assert!(text.to_lowercase().contains(&hint.to_lowercase()), "{seed}: {hint}");
            has(&format!("Since {}", shown(&need["since"])));
            if let Some(runs) = need["runs"].as_u64() {
                has(&format!(", {}", number_of(runs, "run")));
            }
        }
    }
    compare_expected(seed, html, json);
    times_are_told(seed, html, json);
}

/// No time is on the page that programs are not told.
fn times_are_told(seed: u64, html: &str, json: &Value) {
    let mut told = BTreeSet::new();
    times(json, &mut told);
    let (before, rest) = html.split_once("class=\"asof\"").expect("when it was made");
    let (_, after) = rest.split_once("</p>").expect("its end");
    // The two were made one after the other.
    let html = format!("{before}{after}");
    for (at, _) in html.match_indices("datetime=\"") {
        let time = &html[at + 10..at + 29];
        assert!(told.contains(time), "{seed}: {time} is on the page alone: {told:?}");
    }
}

/// The pages beside the overview and those of runs: the answer of both dresses is the same, and no
/// time is told to people alone.
async fn other_pages(seed: u64, store: &Arc<dyn Store>, now: OffsetDateTime) {
    let pages = [
        StatusQuery::Source("acme".into()),
        StatusQuery::Sources(ListQuery::default()),
        StatusQuery::Runs(ListQuery::default()),
        StatusQuery::Month(now.date().to_string()[..7].to_owned()),
        StatusQuery::Files("file-".into(), None, SeenSince::Ever),
    ];
    for asked in pages {
        let html = ask_as(store, &asked, &[], Dress::Html).await.page.expect("a page");
        let json = ask_as(store, &asked, &[], Dress::Json).await.body;
        let answer = json["answer"].as_str().expect("an answer");
        assert!(plain(&html).contains(answer), "{seed}: {asked:?}: {answer}");
        if let StatusQuery::Source(_) = asked {
            compare_expected(seed, &html, &json);
        }
        times_are_told(seed, &html, &json);
        if let StatusQuery::Month(_) = asked {
            let text = plain(&html);
            let days = json["days"].as_array().expect("days");
            for day in days {
                assert!(text.contains(day["day"].as_str().expect("a day")), "{seed}: {day}");
            }
            let sum: u64 = days.iter().filter_map(|day| day["files"].as_u64()).sum();
            assert_eq!(json["files"].as_u64(), Some(sum), "{seed}");
            let files = number_of(sum, "file");
            assert!(text.contains(&format!("{files} arrived")), "{seed}: {text}");
        }
    }
}

#[tokio::test]
async fn people_programs_and_the_command_line_are_told_the_same() {
    let mut words = BTreeSet::new();
    for seed in 0..HISTORIES {
        let mut dice = Dice(seed);
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let state = StateStore::new(store.clone(), Redactor::default(), Policy::default());
        let now = OffsetDateTime::now_utc().replace_nanosecond(0).expect("a second");
        let ended = live(&mut dice, &state, now).await;
        let standings = standings(&mut dice, now);
        let open = OpenExpectations { standings, ..OpenExpectations::default() };
        arrivals::keep(&state, "acme", &open).await.expect("written");
        let asked = StatusQuery::List(100);
        let json = ask_as(&store, &asked, &[], Dress::Json).await.body;
        let html = ask_as(&store, &asked, &[], Dress::Html).await.page.expect("a page");
        compare(seed, &html, &json);
        let runs = json["runs"].as_array().expect("runs");
        assert_eq!(runs.len(), ended.len(), "{seed}");
        for (run, (id, word)) in runs.iter().zip(&ended) {
            assert_eq!((run["id"].as_str(), run["status"].as_str()), (Some(&**id), Some(&**word)));
            let one = StatusQuery::One(id.clone());
            let page = ask_as(&store, &one, &[], Dress::Html).await.page.expect("a page");
            let told = ask_as(&store, &one, &[], Dress::Json).await.body;
            assert_eq!(told["status"].as_str(), Some(&**word));
            assert!(plain(&page).contains(told["answer"].as_str().expect("an answer")));
            assert!(page.contains(&format!("\">{word}</span>")), "{seed}: {word}");
            words.insert(word.clone());
        }
        other_pages(seed, &store, now).await;
        for source in json["sources"].as_array().expect("sources") {
            words.insert(source["word"].as_str().expect("a word").to_owned());
        }
    }
    // The histories are of all kinds.
    for word in [
        "ok",
        "interrupted",
        "degraded",
        "failed",
        "down",
        "failing",
        "missing",
        "fine",
        "abandoned",
    ] {
        assert!(words.contains(word), "{word}: {words:?}");
    }
}
