//! The table of events in docs/log.md is what the source says, and what it says is in the log.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use crate::tidy::all_sources;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The text of the string literal that begins behind a quote, and what follows its end.
fn literal(text: &str) -> (String, &str) {
    let mut said = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '"' => break,
            '\\' => match rest.next() {
                Some('\n') => rest = rest.as_str().trim_start().chars(),
                Some(escaped) => said.push(escaped),
                None => break,
            },
            other => said.push(other),
        }
    }
    (said, rest.as_str())
}

/// The last string literal of a call whose opening bracket `text` follows: its message.
fn message(mut text: &str) -> Option<String> {
    let (mut depth, mut last) = (1, None);
    while depth > 0 {
        let at = text.find(['"', '(', ')']).expect("the call ends");
        let found = text.as_bytes()[at];
        text = &text[at + 1..];
        match found {
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {
                let (said, rest) = literal(text);
                (last, text) = (Some(said), rest);
            }
        }
    }
    last
}

/// Level and message of every event in the program's source.
fn events() -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for (path, text) in all_sources().iter().filter(|(path, _)| path.starts_with("src/")) {
        for level in ["error", "warn", "info"] {
            let bare = text.matches(&format!(" {level}!(")).count();
            assert_eq!(bare, 0, "{path}: events are written `tracing::{level}!`");
            for (at, call) in text.match_indices(&format!("tracing::{level}!(")) {
                let said = message(&text[at + call.len()..]);
                found.extend(said.map(|said| (level.to_uppercase(), said)));
            }
        }
    }
    found
}

#[test]
fn the_table_of_events_is_what_the_source_says() {
    let page = std::fs::read_to_string(root().join("docs/log.md")).expect("the page");
    let (_, table) = page.split_once("## Every event").expect("a section");
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let told: BTreeSet<(String, String)> = rows
        .map(|(level, said)| (level.to_owned(), said.trim_end_matches(" |").to_owned()))
        .collect();
    let said = events();
    assert!(said.len() > 50, "{} events are not all", said.len());
    let (missing, stale) = (said.difference(&told), told.difference(&said));
    let faults: Vec<String> = missing
        .map(|(level, said)| format!("not told: | `{level}` | {said} |"))
        .chain(stale.map(|(level, said)| format!("never said: | `{level}` | {said} |")))
        .collect();
    assert!(faults.is_empty(), "docs/log.md:\n{}", faults.join("\n"));
}

#[test]
fn an_event_that_is_written_over_lines_is_read_whole() {
    let call = "a = %f(\"x\"), b, \"One \\\n            line.\");\n next(\"no\")";
    assert_eq!(message(call).as_deref(), Some("One line."));
    assert_eq!(message("target: X, a = 1)"), None);
}

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    /// A source behind a port where nobody listens, and a good one.
    fn new(more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let text = format!(
            "[destination]\nfolder = \"out\"\n[[source]]\nname = \"acme\"\nurl = \
            \"ftp://u@127.0.0.1:{port}/in\"\npassword = \"p4ssw0rd\"\nattempts = 1\n{more}"
        );
        std::fs::write(folder.path().join("ingest.toml"), text).expect("written");
        Self { folder }
    }

    fn run(&self) -> Output {
        Command::new(env!("CARGO_BIN_EXE_blobferry"))
            .args(["run", "--quiet"])
            .current_dir(self.folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .output()
            .expect("it starts")
    }

    fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join("log").join(name)).expect("a log file")
    }
}

/// The line of standard error that says `event`, as JSON.
fn line(done: &Output, event: &str) -> serde_json::Value {
    let text = String::from_utf8_lossy(&done.stderr).into_owned();
    let found = text
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find(|line| line["message"] == event);
    found.unwrap_or_else(|| panic!("`{event}` is not said: {text}"))
}

#[test]
fn standard_error_alone_says_what_is_wrong_since_when_and_what_to_do() {
    let place = Place::new("");
    let first = place.run();
    assert_eq!(first.status.code(), Some(3));
    let told = line(&first, "A source could not be worked on.");
    let of = |name: &str| told[name].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        (of("level"), of("source"), of("class")),
        ("ERROR".into(), "acme".into(), "connect".into())
    );
    assert!(of("hint").contains("firewall"), "{told}");
    assert_eq!(told["runs"], 1);
    let since = of("since");
    assert!(!since.is_empty(), "{told}");
    for before in 1..3 {
        let told = line(&place.run(), "A source could not be worked on.");
        assert_eq!(
            (told["since"].as_str(), &told["runs"]),
            (Some(since.as_str()), &(before + 1).into())
        );
    }
    assert_eq!(line(&first, "A run ended.")["level"], "ERROR");
    let errors = place.log("error.log");
    assert!(
        errors.contains("A source could not be worked on.") && errors.contains("connect"),
        "{errors}"
    );
    assert!(!errors.contains("p4ssw0rd"));
    let monitor = place.log("monitor.log");
    assert!(
        monitor.lines().any(|line| line.contains("ERROR") && line.contains("A run ended.")),
        "{monitor}"
    );
}

#[test]
fn the_end_of_a_run_has_the_level_of_its_word() {
    let place = Place::new(
        "[[source]]\nname = \"good\"\nurl = \"file:///\"\n\
        include = [\"nothing-is-called-so\"]\ndepth = 1\n",
    );
    std::fs::create_dir(place.folder.path().join("in")).expect("made");
    let config = place.folder.path().join("ingest.toml");
    let text = std::fs::read_to_string(&config).expect("read");
    let inner = format!("file://{}/in", place.folder.path().display());
    std::fs::write(&config, text.replace("file:///", &inner)).expect("written");
    let done = place.run();
    assert_eq!(done.status.code(), Some(1));
    let told = line(&done, "A run ended.");
    assert_eq!(
        (&told["level"], &told["status"], &told["bad"]),
        (&"WARN".into(), &"degraded".into(), &1.into())
    );
}
