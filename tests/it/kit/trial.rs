//! A run of the program against a misbehaving server, judged by what must hold whatever happens.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use blobferry::runtime::retry::Policy;
use serde_json::Value;

use super::super::e2e::{Done, Ferry};
use super::stage::{CANARY, Stage};

/// What is promised beyond a source's own time limits.
const PROMISED: Duration = Duration::from_secs(5);
/// What a source waits for when its settings do not say.
const DEFAULTS: [(&str, Duration); 2] =
    [("stall_timeout", Duration::from_secs(60)), ("connect_timeout", Duration::from_secs(15))];

/// How long a run of this configuration may take at most: every try of its slowest source stalls,
/// the waits between tries are as long as they get, and the five seconds. Of several sources each
/// has its own time, side by side.
fn bound(configuration: &str) -> Duration {
    let value = |table: &str, key: &str| {
        let line = table.lines().find_map(|line| {
            line.strip_prefix(key)?
                .trim_start()
                .strip_prefix('=')
                .map(|rest| rest.trim().to_owned())
        });
        line.map(|text| text.trim_matches('"').to_owned())
    };
    let of_source = |table: &str| {
        let attempts: u32 =
            value(table, "attempts").map_or(5, |text| text.parse().expect("a number"));
        let limit = |(key, default)| {
            let seconds = |text: String| {
                text.trim_end_matches('s')
                    .parse()
                    .map(Duration::from_secs)
                    .expect("trials tell time limits in seconds")
            };
            value(table, key).map_or(default, seconds)
        };
        let silence = DEFAULTS.map(limit).into_iter().max().expect("there are two");
        let waits: Duration = (1..attempts)
            .filter_map(|attempt| Policy { attempts, ..Policy::default() }.wait(attempt, None, 1.0))
            .sum();
        silence * attempts + waits
    };
    configuration.split("[[source]]").skip(1).map(of_source).max().unwrap_or_default() + PROMISED
}

/// How long somebody on this machine has waited for a processor so far: a run is not to blame for
/// that. Where the system does not tell, nobody has.
fn crowding() -> Duration {
    let text = std::fs::read_to_string("/proc/pressure/cpu").unwrap_or_default();
    let micros = text
        .lines()
        .find_map(|line| line.strip_prefix("some ")?.rsplit_once("total=")?.1.parse().ok());
    Duration::from_micros(micros.unwrap_or(0))
}

/// Settings under which every trial runs, unless it says otherwise.
fn settings(lines: &str) -> String {
    let mut text = String::new();
    for (key, value) in [
        ("stall_timeout", "\"2s\""),
        ("connect_timeout", "\"2s\""),
        ("stable_for", "\"0s\""),
        ("attempts", "2"),
    ] {
        let foreign = key.ends_with("_timeout") && lines.contains("file://");
        if !foreign && !lines.lines().any(|line| line.starts_with(key)) {
            text.push_str(&format!("{key} = {value}\n"));
        }
    }
    text
}

/// A configuration and a store, for one run or several.
pub struct Trial {
    pub ferry: Ferry,
    /// Every content that may ever be seen in the store.
    whole: BTreeSet<Vec<u8>>,
    /// What its runs may take beyond their bound: what a server asks us to wait.
    more: Duration,
}

impl Trial {
    /// With the lines of its only source; what the stage holds now may be seen in the store,
    /// nothing else.
    pub fn of<S>(stage: &Stage<S>, lines: &str) -> Self {
        let mut trial = Self::new(
            &format!("[[source]]\nname = \"acme\"\n{lines}{}", settings(lines)),
            "folder = \"store\"",
        );
        trial.whole.extend(stage.files().into_values());
        trial
    }

    /// With these `[[source]]` tables and this destination.
    pub fn new(sources: &str, destination: &str) -> Self {
        let log = "[log]\nlevel = \"debug\"\nformat = \"json\"\nrotation = \"never\"\n";
        Self {
            ferry: Ferry::new(&format!("[destination]\n{destination}\n{log}{sources}")),
            whole: BTreeSet::new(),
            more: Duration::ZERO,
        }
    }

    /// This content may be seen in the store, too.
    pub fn allow(mut self, content: &[u8]) -> Self {
        self.whole.insert(content.to_vec());
        self
    }

    /// Its runs may take so much longer than their own time limits, because of what the other side
    /// asks for or how slow it is.
    pub fn patient(self, more: Duration) -> Self {
        Self { more, ..self }
    }

    /// One run. What must hold after every run holds after this one, or the test ends here.
    #[track_caller]
    pub fn run(&self) -> Proof {
        self.words(&["run", "--json"])
    }

    /// One run with other words.
    #[track_caller]
    pub fn words(&self, words: &[&str]) -> Proof {
        let configuration = std::fs::read_to_string(self.ferry.path("ingest.toml"))
            .expect("there is a configuration");
        let (bound, begun, crowded) =
            (bound(&configuration) + self.more, Instant::now(), crowding());
        let mut program = self.ferry.start(words);
        while !program.has_ended() {
            let limit = bound + (crowding() - crowded);
            assert!(begun.elapsed() < limit, "a run hangs: {limit:?} are over\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        eprintln!("a run took {:?} of {bound:?}", begun.elapsed());
        self.judge(program.end(PROMISED))
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.ferry.path("log/monitor.log")).unwrap_or_default()
    }

    /// What must hold after every run, however it was started and ended.
    #[track_caller]
    pub fn judge(&self, done: Done) -> Proof {
        let log = self.log();
        silent("stdout", &done.out);
        silent("stderr", &done.err);
        silent("the log", &log);
        every_line_is_json("stderr", &done.err);
        every_line_is_json("the log", &log);
        assert!(
            !done.out.chars().any(|c| hostile(c) && c != '\n'),
            "control characters in the report: {:?}",
            done.out
        );
        self.nothing_is_torn(&self.ferry.path("store"));
        let report = done.report();
        for source in report["sources"].as_array().expect("a report has sources") {
            adds_up(source);
        }
        kept_reports_add_up(&self.ferry.path("store/_blobferry"));
        Proof { done, report, log }
    }

    #[track_caller]
    fn nothing_is_torn(&self, folder: &Path) {
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        for entry in entries {
            let entry = entry.expect("it can be read");
            let path = entry.path();
            silent("a name in the store", &path.display().to_string());
            if path.is_dir()
                && (entry.file_name() == "_blobferry" || entry.file_name() == ".blobferry")
            {
                state_is_silent(&path);
            } else if path.is_dir() {
                self.nothing_is_torn(&path);
            } else {
                let bytes = std::fs::read(&path).expect("it can be read");
                assert!(
                    self.whole.contains(&bytes),
                    "`{}` holds {} bytes that no file ever held",
                    path.display(),
                    bytes.len()
                );
            }
        }
    }
}

/// The reports that are kept in the store say the same sum.
#[track_caller]
fn kept_reports_add_up(state: &Path) {
    let Ok(sources) = std::fs::read_dir(state) else { return };
    let days = sources
        .flatten()
        .filter_map(|source| std::fs::read_dir(source.path().join("runs")).ok())
        .flatten()
        .flatten();
    let kept = days.filter_map(|day| std::fs::read_dir(day.path()).ok()).flatten().flatten();
    // Manifests stand beside them.
    for report in
        kept.filter(|blob| blob.path().extension().is_some_and(|extension| extension == "json"))
    {
        let text = std::fs::read(report.path()).expect("it can be read");
        adds_up(
            &serde_json::from_slice(&text)
                .unwrap_or_else(|error| panic!("{}: {error}", report.path().display())),
        );
    }
}

/// Whether a terminal, or a reader of lines, would take `c` for more than a sign.
fn hostile(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

#[track_caller]
fn state_is_silent(folder: &Path) {
    for entry in std::fs::read_dir(folder).expect("it is a folder") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            state_is_silent(&path);
        } else {
            silent(
                &path.display().to_string(),
                &String::from_utf8_lossy(&std::fs::read(&path).expect("it can be read")),
            );
        }
    }
}

/// `listed = ingested + unchanged + skipped + gone + deferred + failed`, and those that failed are
/// named.
#[track_caller]
fn adds_up(source: &Value) {
    let count =
        |key: &str| source[key].as_u64().unwrap_or_else(|| panic!("no `{key}` in {source:#}"));
    let sum: u64 =
        ["ingested", "unchanged", "skipped", "gone", "deferred", "failed"].map(count).iter().sum();
    assert_eq!(count("listed"), sum, "{source:#}");
    let named = source["failures"].as_array().map_or(0, Vec::len) as u64;
    assert!(named >= count("failed").min(1), "failures without a name: {source:#}");
}

/// No form of the canary.
#[track_caller]
fn silent(place: &str, text: &str) {
    let percent: String = super::super::served::percent_all(CANARY);
    let coded = base64::engine::general_purpose::STANDARD_NO_PAD.encode(CANARY);
    for form in [CANARY, &percent, &percent.to_lowercase(), &coded] {
        assert!(!text.contains(form), "{place} tells the password:\n{text}");
    }
}

/// Whole lines of JSON without a control byte.
#[track_caller]
fn every_line_is_json(place: &str, text: &str) {
    for line in text.split('\n').filter(|line| !line.is_empty()) {
        assert!(!line.chars().any(hostile), "{place} holds control characters: {line:?}");
        assert!(
            serde_json::from_str::<Value>(line).is_ok_and(|value| value.is_object()),
            "{place} holds what is no JSON: {line}"
        );
    }
}

#[test]
fn the_bound_of_a_run_follows_from_its_settings() {
    let source = "[[source]]\nattempts = 2\nstall_timeout = \"2s\"\nconnect_timeout = \"3s\"\n";
    assert_eq!(bound(source), Duration::from_millis(2 * 3_000 + 500 + 5_000));
    assert_eq!(
        bound(&format!("{source}[[source]]\nattempts = 1\n")),
        Duration::from_secs(60 + 5),
        "the slowest, by defaults"
    );
}

#[test]
fn what_may_not_be_in_a_line_is_known() {
    assert!(
        ['\u{202E}', '\u{1b}', '\u{7f}', '\u{9b}', '\n'].into_iter().all(hostile)
            && !['e', '\u{e9}'].into_iter().any(hostile)
    );
}

/// What a run came to.
pub struct Proof {
    pub done: Done,
    pub report: Value,
    pub log: String,
}

impl Proof {
    /// The report of the only source.
    pub fn source(&self) -> &Value {
        &self.report["sources"][0]
    }

    /// Every count that is not zero, with its classes and reasons, on one line, as
    /// `exit 1: listed 3, ingested 2, failed 1 [truncated]`.
    pub fn brief(&self) -> String {
        let source = self.source();
        let classes = |key: &str, class: fn(&Value) -> &Value| {
            let mut found: Vec<&str> = source[key].as_array().map_or(Vec::new(), |all| {
                all.iter().filter_map(|one| class(one).as_str()).collect()
            });
            found.sort_unstable();
            found.dedup();
            found.join(" ")
        };
        let reasons = |key: &str| {
            source[key]
                .as_object()
                .map_or(String::new(), |map| map.keys().cloned().collect::<Vec<_>>().join(" "))
        };
        let failed = classes("failures", |line| {
            if line["class"].is_null() { &line["problem"]["class"] } else { &line["class"] }
        });
        let detail = [
            ("listed", String::new()),
            ("ingested", String::new()),
            ("unchanged", String::new()),
            ("skipped", reasons("skipped_by_reason")),
            ("gone", String::new()),
            ("deferred", reasons("deferred_by_reason")),
            ("failed", failed),
            ("unparsed_lines", String::new()),
        ];
        let mut parts = Vec::new();
        for (key, why) in detail {
            match (source[key].as_u64().unwrap_or(0), why.is_empty()) {
                (0, _) => {}
                (count, true) => parts.push(format!("{key} {count}")),
                (count, false) => parts.push(format!("{key} {count} [{why}]")),
            }
        }
        let problems = classes("problems", |problem| &problem["class"]);
        if !problems.is_empty() {
            parts.push(format!("problem [{problems}]"));
        }
        format!("exit {}: {}", self.done.code, parts.join(", "))
    }

    /// Compares the line.
    #[track_caller]
    pub fn is(self, expected: &str) -> Self {
        assert_eq!(self.brief(), expected, "\n{:#}\n{}", self.report, self.log);
        self
    }

    /// Expects each of `texts` in the report.
    #[track_caller]
    pub fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.done.out.contains(text), "no `{text}` in {}", self.done.out);
        }
        self
    }

    /// Expects each of `texts` in the log.
    #[track_caller]
    pub fn logs(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.log.contains(text), "no `{text}` in {}", self.log);
        }
        self
    }
}
