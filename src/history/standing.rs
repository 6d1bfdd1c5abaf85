//! How a source stands over its runs: its word, and each trouble with the time that it began. Pure.
//!
//! A record of a run tells how one pass ended. What an operator asks for is older than any list of
//! the last runs: since when, over how many runs, and when all was well last. The index of sources
//! keeps that, and each record changes it once.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::{Duration, OffsetDateTime};

use crate::model::clocks::is_ahead;
use crate::report::Status;

/// How a source stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceStanding {
    /// How its last pass ended, in a word.
    pub word: String,
    /// When the run began since which it is well, or since which it is not.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// How many runs that are.
    pub runs: u64,
    /// When the last of them began: a record that is taken in twice counts once.
    #[serde(with = "time::serde::rfc3339")]
    pub looked: OffsetDateTime,
    /// When the last run began that found all well: what had settled at the source by then is
    /// stored.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub good: Option<OffsetDateTime>,
    /// That run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub good_run: Option<String>,
    /// What is wrong, by class.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub troubles: BTreeMap<String, LastingTrouble>,
}

/// A kind of failure that lasts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastingTrouble {
    /// When the first run began that met it.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// That run.
    pub run: String,
    /// How many runs met it.
    pub runs: u64,
    /// How many files the last of them could not bring over for it; none, if the whole source or a
    /// folder has it.
    #[serde(default)]
    pub files: u64,
    /// The first of these files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What happened, as the last of these runs tells.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// The run that a pass was a part of.
#[derive(Clone, Copy, Debug)]
pub struct Of<'a> {
    /// Its id.
    pub run: &'a str,
    /// When it began.
    pub began: OffsetDateTime,
}

impl SourceStanding {
    /// How a source stands after the pass that `line` of a record tells of; `before` is how it
    /// stood. `None` if the pass says nothing new: it was left to another run, or is counted.
    pub fn after(before: Option<&Self>, of: Of<'_>, line: &Value) -> Option<Self> {
        let word = line["status"].as_str().unwrap_or_default();
        let counted = before.is_some_and(|before| before.looked >= of.began);
        if counted || word == Status::Left.word() || line["left_to"].is_object() {
            return None;
        }
        let well = word == Status::Ok.word();
        let same = before.filter(|before| (before.word == Status::Ok.word()) == well);
        let good = if well {
            (Some(of.began), Some(of.run.to_owned()))
        } else {
            before.map_or((None, None), |before| (before.good, before.good_run.clone()))
        };
        Some(Self {
            word: word.to_owned(),
            since: same.map_or(of.began, |before| before.since),
            runs: same.map_or(0, |before| before.runs).saturating_add(1),
            looked: of.began,
            good: good.0,
            good_run: good.1,
            troubles: if well { BTreeMap::new() } else { troubles(before, of, line) },
        })
    }

    /// Takes the times of a clock that was ahead of `now` for unknown, so that the run of `of` is
    /// news: what they tell began with it at the latest.
    pub(crate) fn put_right(&mut self, of: Of<'_>, now: OffsetDateTime) {
        if is_ahead(self.looked, now) {
            self.looked = of.began - Duration::NANOSECOND;
        }
        if is_ahead(self.since, now) {
            self.since = of.began;
        }
        if self.good.is_some_and(|good| is_ahead(good, now)) {
            (self.good, self.good_run) = (None, None);
        }
        for trouble in self.troubles.values_mut().filter(|trouble| is_ahead(trouble.since, now)) {
            (trouble.since, trouble.run) = (of.began, of.run.to_owned());
        }
    }

    /// When the first run began that met a failure of `class`, and how many did, if earlier runs
    /// met it.
    pub fn since(&self, class: &str) -> Option<(OffsetDateTime, u64)> {
        self.troubles.get(class).map(|trouble| (trouble.since, trouble.runs))
    }
}

/// What is wrong after a pass that was not well. A pass that could not look at the files, or was
/// stopped, proves nothing about troubles that it did not meet: they stay as they were.
fn troubles(
    before: Option<&SourceStanding>,
    of: Of<'_>,
    line: &Value,
) -> BTreeMap<String, LastingTrouble> {
    let known = before.map(|before| &before.troubles);
    let whole = line["unusable"] != true
        && ["interrupted", "abandoned"].iter().all(|word| line["status"] != *word);
    let mut now = if whole { BTreeMap::new() } else { known.cloned().unwrap_or_default() };
    let mut met: BTreeMap<String, LastingTrouble> = BTreeMap::new();
    for (list, of_file) in [("problems", false), ("failures", true)] {
        for told in line[list].as_array().into_iter().flatten() {
            let text = |name: &str| told[name].as_str().unwrap_or_default().to_owned();
            let class = text("class");
            if class.is_empty() || class == "interrupted" {
                continue;
            }
            let old = known.and_then(|known| known.get(&class));
            let trouble = met.entry(class).or_insert_with(|| LastingTrouble {
                since: old.map_or(of.began, |old| old.since),
                run: old.map_or_else(|| of.run.to_owned(), |old| old.run.clone()),
                runs: old.map_or(0, |old| old.runs).saturating_add(1),
                files: 0,
                path: None,
                message: text("message"),
                hint: text("hint"),
            });
            if of_file {
                trouble.files += 1;
                trouble.path.get_or_insert_with(|| text("path"));
            }
        }
    }
    now.append(&mut met);
    now
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use time::macros::datetime;

    const FIRST: OffsetDateTime = datetime!(2026-11-23 10:00 UTC);

    /// How a source stands after passes that ended so, an hour apart.
    fn stand(lines: &[Value]) -> SourceStanding {
        let mut standing = None;
        for (line, hours) in lines.iter().zip(0..) {
            let began = FIRST + Duration::hours(hours);
            let run = format!("run-{hours}");
            let after = SourceStanding::after(standing.as_ref(), Of { run: &run, began }, line);
            standing = after.or(standing);
        }
        standing.expect("it was looked at")
    }

    fn ok() -> Value {
        json!({ "status": "ok" })
    }

    fn refused() -> Value {
        let problem = json!({ "class": "auth", "message": "530", "hint": "check it" });
        json!({ "status": "failed", "unusable": true, "problems": [problem] })
    }

    fn failing(path: &str) -> Value {
        let file = json!({ "path": path, "class": "permission", "message": "550", "hint": "ask" });
        json!({ "status": "degraded", "failed": 1, "failures": [file] })
    }

    #[test]
    fn a_trouble_has_the_time_of_the_run_that_met_it_first() {
        let mut lines = vec![ok(), ok()];
        lines.extend(std::iter::repeat_n(refused(), 191));
        let standing = stand(&lines);
        assert_eq!((standing.word.as_str(), standing.runs), ("failed", 191));
        assert_eq!(standing.since, FIRST + Duration::hours(2));
        assert_eq!(standing.since("auth"), Some((FIRST + Duration::hours(2), 191)));
        assert_eq!(standing.good, Some(FIRST + Duration::hours(1)));
        assert_eq!(standing.good_run.as_deref(), Some("run-1"));
    }

    #[test]
    fn what_is_mended_is_forgotten_and_begins_anew() {
        let standing = stand(&[refused(), ok()]);
        assert_eq!((standing.word.as_str(), standing.troubles.len(), standing.runs), ("ok", 0, 1));
        let standing = stand(&[refused(), ok(), refused()]);
        assert_eq!(standing.since("auth"), Some((FIRST + Duration::hours(2), 1)));
    }

    #[test]
    fn a_pass_that_could_not_look_leaves_what_it_did_not_see() {
        let standing = stand(&[failing("/a"), refused(), json!({ "status": "interrupted" })]);
        assert_eq!(standing.since("permission"), Some((FIRST, 1)));
        assert_eq!(standing.since("auth"), Some((FIRST + Duration::hours(1), 1)));
        assert_eq!((standing.word.as_str(), standing.runs), ("interrupted", 3));
        // One that looked at all of it and met one of them alone mends the other.
        let standing = stand(&[refused(), failing("/a")]);
        assert_eq!(standing.troubles.keys().collect::<Vec<_>>(), ["permission"]);
        assert_eq!(standing.troubles["permission"].path.as_deref(), Some("/a"));
    }

    #[test]
    fn a_source_that_was_left_to_another_run_stands_as_it_did() {
        let left = json!({ "status": "left", "left_to": { "run": "x" } });
        let standing = stand(&[refused(), left]);
        assert_eq!((standing.word.as_str(), standing.runs), ("failed", 1));
    }

    #[test]
    fn runs_of_one_second_count_each_and_a_record_that_comes_twice_counts_once() {
        let of = |run: &'static str, millis: i64| Of {
            run,
            began: FIRST + Duration::milliseconds(millis),
        };
        // Ids tell the second only, and are in no order within it.
        let first = SourceStanding::after(None, of("x-9", 1), &refused()).expect("looked at");
        let second = SourceStanding::after(Some(&first), of("x-1", 2), &refused()).expect("new");
        assert_eq!(second.runs, 2);
        assert_eq!(SourceStanding::after(Some(&second), of("x-1", 2), &refused()), None);
    }

    #[test]
    fn an_interrupted_run_is_not_the_last_good_one() {
        let standing = stand(&[ok(), json!({ "status": "interrupted" })]);
        assert_eq!((standing.word.as_str(), standing.good), ("interrupted", Some(FIRST)));
    }
}
