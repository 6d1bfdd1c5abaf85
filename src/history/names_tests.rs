//! Files are found by their names over runs that noted them, runs that did not, and folded notes.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use time::OffsetDateTime;
use time::macros::datetime;

use super::files_by_name::{NameQuery, NamesFound, find, life};
use super::name_index;
use super::record::{RunRecord, Trigger};
use super::records::Records;
use super::source_index;
use crate::model::redactor::Redactor;
use crate::report::Word;
use crate::runtime::retry::Policy;
use crate::state::paths::StatePaths;
use crate::state::store::StateStore;
use crate::store::contract::Store;
use crate::store::memory::MemoryStore;

const FIRST: OffsetDateTime = datetime!(2026-11-23 10:00 UTC);

struct NamesHistory {
    state: StateStore,
    store: Arc<dyn Store>,
    hours: i64,
}

impl NamesHistory {
    fn new() -> Self {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let state = StateStore::new(store.clone(), Redactor::default(), Policy::default());
        Self { state, store, hours: 0 }
    }

    /// A run over `acme` that leaves a manifest with these lines; its id. `noted`: as a run of this
    /// release ends.
    async fn run(&mut self, lines: &[(&str, &str)], noted: bool) -> String {
        let record = RunRecord::new(Trigger::Timer, "", FIRST + time::Duration::hours(self.hours));
        self.hours += 1;
        let name = StatePaths::of("acme").manifest(&record.id);
        let text: String = lines
            .iter()
            .map(|(path, outcome)| {
                format!(
                    "{}\n",
                    json!({ "path": path, "outcome": outcome, "class": "x", "version": "v" })
                )
            })
            .collect();
        let mut position = 0;
        for part in text.as_bytes().chunks(1 << 20) {
            let part = bytes::Bytes::copy_from_slice(part);
            position += part.len() as u64;
            self.store.append(&name, part.clone(), position - part.len() as u64).await.unwrap();
        }
        self.end(record, noted).await
    }

    async fn end(&self, mut record: RunRecord, noted: bool) -> String {
        let manifest = StatePaths::of("acme").manifest(&record.id).as_str().to_owned();
        record.sources = vec![json!({ "source": "acme", "status": "ok", "manifest": manifest })];
        record.status = super::record::RunStatus::Ok;
        record.ended = Some(record.started);
        Records::new(self.state.clone()).put(&record).await.expect("written");
        if noted {
            source_index::note(&self.state, &record).await;
        }
        record.id
    }

    async fn find(&self, name: &str) -> NamesFound {
        let query = NameQuery {
            name: name.into(),
            sources: vec!["acme".into()],
            most: 100,
            patience: Duration::from_secs(60),
        };
        find(&self.state, &query).await.expect("looked")
    }

    async fn cover(&self) -> Option<String> {
        let (index, _) = source_index::read(&self.state).await.expect("read").expect("an index");
        index.names.back_to
    }
}

fn told(found: &NamesFound) -> Vec<(&str, Word, u64)> {
    found.hits.iter().map(|hit| (hit.path.as_str(), hit.outcome, hit.runs)).collect()
}

#[tokio::test]
async fn what_a_run_noted_is_found_by_its_name_and_by_a_part_of_it() {
    let mut history = NamesHistory::new();
    for _ in 0..3 {
        history.run(&[("/in/Sales%201.csv", "failed"), ("/in/b.csv", "gone")], true).await;
    }
    let last = history.run(&[("/in/Sales%201.csv", "ingested")], true).await;
    for name in ["sales 1.csv", "SALES", "in/sales", "sales*.csv"] {
        let found = history.find(name).await;
        assert_eq!(
            told(&found),
            [("/in/Sales 1.csv", Word::Ingested, 1), ("/in/Sales 1.csv", Word::Failed, 3)],
            "{name}"
        );
        assert!(found.complete && found.lines == 7, "{found:?}");
        assert_eq!((&found.hits[0].run, found.hits[1].version.as_deref()), (&last, Some("v")));
    }
    assert_eq!(told(&history.find("nothing").await), []);
    let life = life(&history.state, "acme", "/in/Sales 1.csv", 10).await.expect("read");
    assert_eq!((life.hits.len(), life.complete), (2, true));
    // The manifests are gone; the index still knows what became of the file.
    for (info, _) in [(&life.hits[0].run, 0), (&life.hits[1].run, 1)] {
        let manifest = StatePaths::of("acme").manifest(info);
        history.store.delete(&manifest).await.expect("removed");
    }
    let found = history.find("sales").await;
    assert_eq!(told(&found)[0], ("/in/Sales 1.csv", Word::Ingested, 1));
}

#[tokio::test]
async fn what_earlier_releases_left_is_found_and_noted_once() {
    let mut history = NamesHistory::new();
    history.run(&[("/old.csv", "ingested")], false).await;
    history.run(&[("/old.csv", "failed"), ("/older.csv", "ingested")], false).await;
    let first = history.run(&[("/new.csv", "ingested")], true).await;
    assert_eq!(history.cover().await, Some(first));
    let found = history.find("old").await;
    assert_eq!(found.hits.len(), 3, "{found:?}");
    assert!(found.complete);
    assert_eq!(history.cover().await.as_deref(), Some(""), "all of it is noted now");
    let again = history.find("old").await;
    assert_eq!(told(&again), told(&found));
    assert_eq!(again.lines, 4, "each name is there once");
}

#[tokio::test]
async fn an_index_of_sources_that_was_lost_costs_reading_and_nothing_else() {
    let mut history = NamesHistory::new();
    history.run(&[("/a.csv", "ingested")], true).await;
    history.store.delete(&crate::state::paths::sources()).await.expect("removed");
    assert_eq!(told(&history.find("a.csv").await), [("/a.csv", Word::Ingested, 1)]);
    assert_eq!(history.cover().await.as_deref(), Some(""));
    assert_eq!(told(&history.find("a.csv").await), [("/a.csv", Word::Ingested, 1)]);
}

#[tokio::test]
async fn a_run_that_goes_on_is_found_before_it_ends() {
    let mut history = NamesHistory::new();
    history.run(&[("/a.csv", "ingested")], true).await;
    let mut record = RunRecord::new(Trigger::Timer, "", OffsetDateTime::now_utc());
    record.sources = vec![super::record::running_line("acme")];
    Records::new(history.state.clone()).put(&record).await.expect("written");
    let manifest = StatePaths::of("acme").manifest(&record.id);
    let line = br#"{"path":"/now.csv","outcome":"ingested"}"#;
    let line = [line.as_slice(), b"\n"].concat();
    history.store.append(&manifest, line.into(), 0).await.expect("appended");
    assert_eq!(told(&history.find("now").await), [("/now.csv", Word::Ingested, 1)]);
}

#[tokio::test]
async fn small_notes_are_folded_and_none_is_lost() {
    let mut history = NamesHistory::new();
    for number in 0..70 {
        let path = format!("/in/file-{number}.csv");
        history.run(&[(path.as_str(), "ingested"), ("/same.csv", "failed")], true).await;
    }
    // Twice 32 runs are folded.
    let segments = name_index::segments(&history.state).await.expect("listed");
    assert!(segments.len() < 32, "{segments:?}");
    let found = history.find("file-").await;
    assert_eq!((found.hits.len(), found.lines), (70, 70 + segments.len() as u64));
    assert_eq!(told(&history.find("same").await), [("/same.csv", Word::Failed, 70)]);
    let exact = name_index::exact(&history.state, &segments, "FILE-33.csv").await.expect("read");
    assert_eq!(exact.len(), 1, "{exact:?}");
}

/// 50,000 names are a segment: each line is in one, at its own place.
#[tokio::test]
async fn a_run_of_very_many_files_is_noted_in_parts_and_each_name_is_found_once() {
    const FILES: u64 = 100_001;
    let mut history = NamesHistory::new();
    let paths: Vec<String> = (0..FILES).map(|number| format!("/in/{number:06}.csv")).collect();
    let lines: Vec<_> = paths.iter().map(|path| (path.as_str(), "ingested")).collect();
    history.run(&lines, true).await;
    let segments = name_index::segments(&history.state).await.expect("listed");
    assert_eq!(segments.len(), 3);
    for number in [0, 49_998, 49_999, 50_000, 50_001, 99_999, 100_000] {
        let name = format!("{number:06}.csv");
        let found = history.find(&name).await;
        let path = format!("/in/{name}");
        assert_eq!(told(&found), [(path.as_str(), Word::Ingested, 1)]);
        // Its line of the manifest was read, at the place that the segment tells.
        assert_eq!(found.hits[0].version.as_deref(), Some("v"), "{name}");
    }
    assert_eq!(history.find("*.csv").await.lines, FILES, "none is missing, none is there twice");
}
