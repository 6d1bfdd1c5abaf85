//! What an operator asks of the command line: which file came, what is there, what would come, and
//! why not.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

/// A folder with a configuration over the folder `in`.
struct Site {
    folder: tempfile::TempDir,
}

/// What a command said.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Site {
    fn new(more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let source = folder.path().join("in");
        std::fs::create_dir(&source).expect("made");
        let text = format!(
            "[destination]\nfolder = \"out\"\n[[source]]\nname = \"acme\"\nurl = \
            \"file://{}\"\n{more}",
            source.display()
        );
        std::fs::write(folder.path().join("ingest.toml"), text).expect("written");
        Self { folder }
    }

    /// A file that has rested for days.
    fn put(&self, name: &str, text: &str) {
        let path = self.folder.path().join("in").join(name);
        write(&path, text);
        let file = std::fs::File::options().write(true).open(path).expect("opened");
        let days = Duration::from_secs(10 * 86_400);
        file.set_modified(SystemTime::now() - days).expect("its time is set");
    }

    fn say(&self, words: &[&str]) -> Said {
        let done = Command::new(env!("CARGO_BIN_EXE_blobferry"))
            .args(words)
            .current_dir(self.folder.path())
            .output()
            .expect("it starts");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Said { code: done.status.code(), out: text(done.stdout), err: text(done.stderr) }
    }
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    std::fs::write(path, text).expect("written");
}

#[test]
fn a_file_is_found_by_a_part_of_its_name_with_its_run_and_its_blob() {
    let site = Site::new("");
    site.put("x/Sales_2026.csv", "1");
    site.put("bad.csv", "1");
    write(&site.folder.path().join("out/acme/bad.csv"), "of another writer");
    assert_eq!(site.say(&["run"]).code, Some(1));
    assert_eq!(site.say(&["run"]).code, Some(1));
    let found = site.say(&["find", "sales"]);
    assert_eq!(found.code, Some(0), "{}", found.err);
    assert!(found.out.contains("arrived") && found.out.contains("/in/x/Sales_2026.csv"));
    assert!(found.out.contains("acme/x/Sales_2026.csv, MD5 c4ca4238a0b923820dcc509a6f75849b"));
    let failed = site.say(&["find", "b*.csv"]);
    assert!(failed.out.contains("failed") && failed.out.contains("(2 runs)"), "{}", failed.out);
    assert!(failed.out.contains("store_conflict"), "{}", failed.out);
    let none = site.say(&["find", "purchases"]);
    assert_eq!(none.code, Some(1));
    assert!(none.out.contains("no file of this name was seen"), "{}", none.out);
    let json = site.say(&["find", "sales", "--json"]).out;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["hits"][0]["blob"], "acme/x/Sales_2026.csv");
    assert_eq!(json["complete"], true);
}

#[test]
fn ls_tells_what_arrived_however_old_the_file_is() {
    let site = Site::new("");
    site.put("old.csv", "1");
    assert_eq!(site.say(&["run"]).code, Some(0));
    let came = site.say(&["ls", "--arrived", "1h"]);
    assert!(came.out.contains("acme/old.csv"), "{}", came.out);
    assert!(came.err.contains("STORED") && came.err.contains("1 file, 1 B"), "{}", came.err);
    assert!(site.say(&["ls", "--arrived", "2999-01-01"]).out.is_empty());
    assert!(site.say(&["ls", "nothing/"]).err.contains("no blob whose name begins with"));
}

#[test]
fn a_plan_is_sorted_and_adds_up() {
    let site = Site::new("exclude = [\"*.tmp\"]\n");
    for name in ["b.csv", "a.csv", "c.tmp"] {
        site.put(name, "1");
    }
    let plan = site.say(&["plan"]).out;
    let lines: Vec<&str> = plan.lines().collect();
    assert!(lines[0].contains("/in/a.csv") && lines[1].contains("/in/b.csv"), "{plan}");
    assert!(plan.contains("acme: 2 to fetch, 2 B; of the others 0 unchanged, 1 skipped"), "{plan}");
    assert!(!plan.contains("listed"), "{plan}");
}

#[test]
fn a_pattern_that_matches_nothing_is_told_with_the_form_that_looks_below_folders() {
    let site = Site::new("include = [\"*.csv\"]\n");
    site.put("sub/a.csv", "1");
    let said = site.say(&["run"]);
    assert_eq!(said.code, Some(0));
    assert!(said.out.contains("no file matched `include` (`*.csv`)"), "{}", said.out);
    assert!(said.out.contains("`**/*.csv`"), "{}", said.out);
    let site = Site::new("include = [\"**/*.csv\"]\n");
    site.put("sub/a.csv", "1");
    assert!(!site.say(&["run"]).out.contains("no file matched"));
}

#[test]
fn a_secret_that_is_not_there_stops_its_source_and_no_other() {
    let bad = "[[source]]\nname = \"bad\"\nurl = \"ftp://u@127.0.0.1:1/\"\npassword = { env = \
        \"SET_NOWHERE\" }\n";
    let site = Site::new(bad);
    site.put("a.csv", "1");
    let said = site.say(&["run"]);
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(site.folder.path().join("out/acme/a.csv").exists());
    assert!(said.out.contains("[config]") && said.out.contains("`source.bad.password`"));
    assert!(said.out.contains("SET_NOWHERE"), "{}", said.out);
    let check = site.say(&["check"]);
    assert_eq!(check.code, Some(1), "{}", check.err);
    assert!((check.out.clone() + &check.err).contains("SET_NOWHERE"), "{}", check.out);
}

#[test]
fn adopt_takes_over_equal_bytes_that_tell_no_md5() {
    let site = Site::new("adopt = true\n");
    for (name, there) in [("same.csv", "1"), ("other.csv", "2")] {
        site.put(name, "1");
        write(&site.folder.path().join("out/acme").join(name), there);
    }
    let said = site.say(&["run"]);
    assert_eq!(said.code, Some(1), "{}", said.out);
    assert!(said.out.contains("ingested 1"), "{}", said.out);
    assert!(said.out.contains("/in/other.csv [store_conflict]"), "{}", said.out);
    let other = std::fs::read_to_string(site.folder.path().join("out/acme/other.csv"));
    assert_eq!(other.expect("it is there"), "2");
}

#[test]
fn an_audit_after_a_rebuild_tells_of_no_run_that_did_not_end() {
    let site = Site::new("");
    site.put("a.csv", "1");
    assert_eq!(site.say(&["run"]).code, Some(0));
    assert_eq!(site.say(&["ledger", "rebuild"]).code, Some(0));
    let said = site.say(&["audit"]);
    assert_eq!(said.code, Some(0));
    assert!(!said.out.contains("did not end"), "{}", said.out);
    assert!(said.out.contains("made anew from the blobs"), "{}", said.out);
}
