//! The commands that pages show: each is run as it stands, by a shell, over a small source.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use super::e2e::Ferry;
use super::e2e::bad_input::old_file;

/// Pages that scripts/play-tutorial.sh plays word for word, with what they print.
const PLAYED: &[&str] = &["tutorial.md", "landing-zone.md"];
/// Commands that go on until somebody stops them, that ask, that take long, or that need a state in
/// a place of its own (`e2e/state.rs` moves one).
const LEFT_OUT: &[&str] = &["serve", "demo", "init", "state"];

/// The commands of a page: lines of its blocks, and code in its text.
fn commands(page: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (n, block) in page.split("```").enumerate() {
        if n % 2 == 1 {
            let lines = block.lines().skip(1).map(|line| line.trim_start_matches("$ "));
            found.extend(lines.filter(|line| line.starts_with("blobferry ")).map(str::to_owned));
        } else {
            let spans = block.split('`').skip(1).step_by(2);
            found.extend(spans.filter(|span| span.starts_with("blobferry ")).map(str::to_owned));
        }
    }
    found
}

/// The command with values in the place of words that stand for one, and without the system's
/// folders; `None`: it is not run.
fn runnable(command: &str) -> Option<String> {
    let word = command.split_whitespace().nth(1)?;
    if LEFT_OUT.contains(&word) || command.contains('…') {
        return None;
    }
    let mut command = command.split(" #").next()?.trim_end().replace(['\n', '\r'], " ");
    for (word, value) in [
        ("GLOB", "'*.csv'"),
        ("NAME", "a.csv"),
        ("TIME", "12h"),
        ("[--at 12h]", "--at 2030-01-01T00:00:00Z"),
        ("[--json]", "--json"),
        ("/etc/", "./"),
        ("/usr/local/", "./"),
    ] {
        command = command.replace(word, value);
    }
    Some(command)
}

#[test]
fn every_command_that_a_page_shows_does_what_it_is_shown_for() {
    let ferry = Ferry::new("");
    old_file(&ferry.path("in/a.csv"), b"1");
    ferry.configure(&format!(
        "[destination]\nfolder = \"out\"\n[[source]]\nname = \"acme\"\nurl = \"file://{}\"\n",
        ferry.path("in").display()
    ));
    std::fs::create_dir_all(ferry.path("bash_completion.d")).unwrap();
    std::fs::create_dir_all(ferry.path("share/man/man1")).unwrap();
    ferry.run(&["run"]).code(0);
    let program = Path::new(env!("CARGO_BIN_EXE_blobferry")).parent().unwrap().to_owned();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap_or_default());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages: Vec<_> = std::fs::read_dir(root.join("docs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|page| page.extension().is_some_and(|ext| ext == "md"))
        .filter(|page| !PLAYED.iter().any(|name| page.ends_with(name)))
        .collect();
    pages.push(root.join("README.md"));
    let mut all: BTreeSet<String> = BTreeSet::new();
    for page in pages {
        all.extend(commands(&std::fs::read_to_string(page).unwrap()));
    }
    let mut run = 0;
    for command in all.iter().filter_map(|command| runnable(command)) {
        let done = Command::new("bash")
            .args(["-c", &command])
            .current_dir(ferry.path(""))
            .env("PATH", &path)
            .output()
            .expect("bash is there");
        assert_eq!(
            done.status.code(),
            Some(0),
            "{command}\n{}{}",
            String::from_utf8_lossy(&done.stdout),
            String::from_utf8_lossy(&done.stderr)
        );
        run += 1;
    }
    assert!(run >= 20, "{run} of {} commands were run", all.len());
}
