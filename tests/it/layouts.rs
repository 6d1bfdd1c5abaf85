//! Names as a person lays them out: from the configuration to a folder store and back.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::servers::{Rights, available, tools};
use super::world::zips::zip;

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

/// 2026-03-01T23:30:00Z.
const MODIFIED: Duration = Duration::from_secs(1_772_407_800);

impl Site {
    /// With these settings in its one source.
    fn new(more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("in")).expect("made");
        let site = Self { folder };
        site.configure(more);
        site
    }

    fn configure(&self, more: &str) {
        let folder = self.folder.path();
        let text = format!(
            "[destination]\nfolder = \"out\"\n[[source]]\nname = \"acme\"\nurl = \
            \"file://{}\"\nstable_for = \"0s\"\n{more}\n",
            folder.join("in").display()
        );
        std::fs::write(folder.join("ingest.toml"), text).expect("written");
    }

    fn put(&self, name: &str, content: &[u8]) {
        let path = self.folder.path().join("in").join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(&path, content).expect("written");
        let file = std::fs::File::options().write(true).open(path).expect("opened");
        file.set_modified(SystemTime::UNIX_EPOCH + MODIFIED).expect("its time is set");
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

    fn well(&self, words: &[&str]) -> String {
        let said = self.say(words);
        assert_eq!(said.code, Some(0), "{words:?}: {}{}", said.out, said.err);
        said.out
    }

    /// The names of blobs, as `ls` tells them.
    fn names(&self) -> Vec<String> {
        let names = self.well(&["ls", "--json"]);
        let name = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
            line["name"].as_str().expect("a name").to_owned()
        };
        names.lines().map(name).collect()
    }

    fn blob(&self, name: &str) -> String {
        let path = self.folder.path().join("out").join(name);
        String::from_utf8(std::fs::read(path).expect("it is there")).expect("text")
    }

    fn refused(&self, says: &str) {
        let said = self.say(&["plan"]);
        assert_eq!(said.code, Some(2), "{}{}", said.out, said.err);
        assert!(said.err.contains(says), "{}", said.err);
    }
}

fn remove(path: &Path) {
    std::fs::remove_dir_all(path).expect("removed");
}

#[test]
fn a_hive_layout_is_planned_written_listed_audited_and_known_again() {
    let site = Site::new("layout = \"landing/{source}/dt={yyyy-MM-dd}/{path}\"");
    site.put("x/a.csv", b"one");
    site.put("b.zip", &zip(&[("m/1.csv", b"two"), ("2.csv", b"three")]));
    let planned = site.well(&["plan"]);
    assert!(planned.contains("-> landing/acme/dt=2026-03-01/x/a.csv"), "{planned}");
    site.well(&["run"]);
    let expected = [
        "landing/acme/dt=2026-03-01/b.zip!/2.csv",
        "landing/acme/dt=2026-03-01/b.zip!/m/1.csv",
        "landing/acme/dt=2026-03-01/x/a.csv",
    ];
    assert_eq!(site.names(), expected);
    assert_eq!(site.blob(expected[2]), "one");
    assert!(site.well(&["ls", "landing/acme/dt=2026-03-01/x"]).contains("x/a.csv"));
    std::fs::write(site.folder.path().join("out/landing/foreign"), "of somebody").expect("written");
    assert_eq!(site.well(&["ls"]).lines().count(), 4);
    assert_eq!(site.well(&["ls", "--source", "acme"]).lines().count(), 3);
    std::fs::remove_file(site.folder.path().join("out/landing/foreign")).expect("removed");
    assert!(site.well(&["find", "a.csv"]).contains(expected[2]));
    site.well(&["audit", "--download"]);
    assert!(site.well(&["run"]).contains("unchanged 2"));

    remove(&site.folder.path().join("out/_blobferry/acme/ledger"));
    site.well(&["ledger", "rebuild", "--source", "acme"]);
    site.well(&["audit", "--download"]);
    let again = site.well(&["run", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&again).expect("JSON");
    assert_eq!(report["sources"][0]["unchanged"], 2, "{again}");
    assert_eq!(site.names(), expected);
}

#[test]
fn captures_and_member_names_come_from_the_configuration() {
    let site = Site::new(
        "layout = '{feed}/{date:yyyy/MM}/{file}'\ncapture = '(?<feed>[a-z]+)_(?<date>\\d{8})'\n\
         member_layout = '{stem}/{member_file}'",
    );
    site.put("in/sales_20251231.csv", b"one");
    site.put("in/stock_20260102.zip", &zip(&[("x/s.csv", b"two")]));
    site.put("in/README", b"no date");
    let said = site.say(&["run"]);
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(said.out.contains("[name]"), "{}", said.out);
    assert!(
        said.out.contains("needs `feed`, and `in/README` does not match `capture`"),
        "{}",
        said.out
    );
    let expected = ["sales/2025/12/sales_20251231.csv", "stock/2026/01/stock_20260102/s.csv"];
    assert_eq!(site.names(), expected);
    let planned = site.say(&["plan"]).out;
    assert!(
        planned.contains("README -> no name, so it fails: the layout needs `feed`"),
        "{planned}"
    );
}

#[test]
fn the_day_is_that_of_the_sources_time_zone() {
    let site = Site::new("layout = \"{yyyy-MM-dd}/{HH}/{path}\"\ntime_zone = \"Europe/Berlin\"");
    site.put("a.csv", b"one");
    site.well(&["run"]);
    assert_eq!(site.names(), ["2026-03-02/00/a.csv"]);
}

#[test]
fn one_file_has_a_literal_name_and_its_last_version_replaces_it() {
    let site = Site::new(
        "include = [\"daily/report.csv\"]\nlayout = \"landing/report.csv\"\n\
        versions = \"overwrite\"",
    );
    site.put("daily/report.csv", b"one");
    site.well(&["run"]);
    site.put("daily/report.csv", b"other");
    site.well(&["run"]);
    assert_eq!((site.names().len(), site.blob("landing/report.csv").as_str()), (1, "other"));
    site.well(&["audit", "--download"]);
    site.configure("include = [\"daily/*.csv\"]\nlayout = \"landing/report.csv\"");
    site.refused("names all files alike");
}

#[test]
fn the_newest_file_takes_the_place_of_the_one_before_under_one_name() {
    let newest = "newest = 1\nnewest_by = \"name\"\nversions = \"overwrite\"";
    let one = "include = [\"out/export_*.csv\"]\nlayout = \"landing/export.csv\"";
    let site = Site::new(&format!("{one}\n{newest}"));
    let holds = |expected: &str| {
        site.well(&["run"]);
        assert_eq!(site.names(), ["landing/export.csv"]);
        assert_eq!(site.blob("landing/export.csv"), expected);
        site.well(&["audit", "--download"]);
    };
    site.put("out/export_01.csv", b"first");
    site.put("out/export_02.csv", b"second");
    holds("second");
    site.put("out/export_03.csv", b"third");
    assert!(site.well(&["plan"]).contains("out/export_03.csv -> landing/export.csv"));
    holds("third");
    site.put("out/export_03.csv", b"third, corrected");
    holds("third, corrected");
    // An older one that comes late, and one that is there again once the newest is gone.
    site.put("out/export_00.csv", b"late");
    holds("third, corrected");
    std::fs::remove_file(site.folder.path().join("in/out/export_03.csv")).expect("removed");
    holds("third, corrected");
    site.put("out/export_04.csv", b"fourth");
    holds("fourth");

    let many = format!("include = [\"a.csv\", \"b*.csv\"]\nlayout = \"x.csv\"\n{newest}");
    site.configure(&many);
    site.refused("names all files alike");
    site.configure(&format!("include = [\"**/*.csv\"]\nlayout = \"x.csv\"\n{newest}"));
    site.refused("or one pattern within one folder beside `newest = 1`");
}

#[test]
fn the_newest_file_of_each_folder_or_feed_has_one_name() {
    let newest = "newest = 1\nnewest_by = \"name\"\nversions = \"overwrite\"";
    let site = Site::new(&format!(
        "include = [\"**/*.csv\"]\nlayout = \"{{folder}}/latest.csv\"\n{newest}"
    ));
    for day in ["1", "2"] {
        site.put(&format!("a/{day}.csv"), format!("a{day}").as_bytes());
        site.put(&format!("b/{day}.csv"), format!("b{day}").as_bytes());
        site.well(&["run"]);
        assert_eq!(site.names(), ["a/latest.csv", "b/latest.csv"]);
        assert_eq!(site.blob("b/latest.csv"), format!("b{day}"));
    }
    site.well(&["audit", "--download"]);

    let feeds = Site::new(&format!(
        "include = [\"prices_*.csv\", \"stock_*.csv\"]\nlayout = \"{{feed}}.csv\"\n\
         capture = '(?<feed>[a-z]+)_'\nnewest_per = \"pattern\"\n{newest}"
    ));
    for day in ["1", "2"] {
        feeds.put(&format!("prices_{day}.csv"), day.as_bytes());
        feeds.put(&format!("stock_{day}.csv"), day.as_bytes());
        feeds.well(&["run"]);
        assert_eq!(feeds.names(), ["prices.csv", "stock.csv"]);
        assert_eq!(feeds.blob("stock.csv"), day);
    }
    feeds.well(&["audit", "--download"]);
}

#[test]
fn sources_that_may_write_the_same_names_are_refused_with_the_way_out() {
    let two = |first: &str, second: &str| {
        let site = Site::new(&format!(
            "layout = \"{first}\"\n[[source]]\nname = \"beta\"\nurl = \"file:///srv/beta\"\n\
             layout = \"{second}\""
        ));
        std::fs::write(site.folder.path().join("in/a"), "x").expect("written");
        site
    };
    for (first, second) in [
        ("landing/{path}", "landing/{path}"),
        ("{path}", "landing/{path}"),
        ("landing/beta/{path}", "landing/{source}/{path}"),
        ("landing/be{path}", "landing/{source}/{path}"),
        ("{yyyy}/{path}", "path"),
        ("beta/x/{path}", "path"),
    ] {
        two(first, second).refused("lets ");
        two(first, second).refused("begin it with `{source}/`");
    }
    let members = "landing/x{path}\"\nmember_layout = \"{member}";
    two(members, "landing/y{path}").refused("lets ");
    for (first, second) in [
        ("landing/{source}/{path}", "landing/{source}/{path}"),
        ("landing/a/{path}", "landing/b/{path}"),
        ("landing/{path}", "path"),
        ("path", "by-type"),
    ] {
        let said = two(first, second).say(&["plan", "--source", "acme"]);
        assert_eq!(said.code, Some(0), "{first} {second}: {}", said.err);
    }
}

#[test]
fn check_tells_of_layouts_by_which_files_may_meet() {
    let told = "lets files of one name in different folders have one blob's name";
    let site = Site::new("layout = \"in/{file}\"");
    assert!(site.say(&["check"]).out.contains(told));
    site.configure("layout = \"in/{path}\"\nmember_layout = \"{member_file}\"");
    assert!(site.say(&["check"]).out.contains("lets members of one name have one blob's name"));
    site.configure("layout = \"in/{path}\"");
    assert!(!site.say(&["check"]).out.contains("have one blob's name"));
}

#[test]
fn a_slip_in_a_layout_is_told_with_its_line_and_the_right_spelling() {
    for (setting, says) in [
        ("layout = \"{YYYY}/{path}\"", "ingest.toml:7: `source.acme.layout` holds {YYYY}"),
        ("layout = \"{YYYY}/{path}\"", "did you mean {yyyy}?"),
        ("layout = \"{nmae}/{path}\"", "`{nmae}`, which is no placeholder"),
        ("layout = \"bytype\"", "did you mean `by-type`?"),
        ("layout = \"_blobferry/{path}\"", "its own state"),
        ("capture = \"(?<a>x)\"", "`source.acme.capture` stands beside a `layout`"),
        (
            "layout = \"by-type\"\nmember_layout = \"{member}\"",
            "`source.acme.member_layout` stands",
        ),
        ("layout = \"{yyyy}/{file}\"\nversions = \"overwrite\"", "replace nothing"),
    ] {
        Site::new(setting).refused(says);
    }
}

#[test]
fn a_plan_names_the_blobs_that_a_run_then_writes() {
    let settings = [
        "layout = \"raw/{path}\"",
        "layout = \"raw/{path}\"\nmember_layout = \"{stem}/{member}\"",
        "layout = \"by-type\"",
        "archives = \"both\"\nlayout = \"{path}\"",
        "archives = \"keep\"",
        "exclude_members = [\"2.csv\"]",
    ];
    for setting in settings {
        let site = Site::new(setting);
        site.put("a.csv", b"one");
        site.put("x/b.zip", &zip(&[("m/1.csv", b"two"), ("2.csv", b"three")]));
        let told: serde_json::Value =
            serde_json::from_str(&site.well(&["plan", "--json"])).expect("JSON");
        let mut planned: Vec<String> = Vec::new();
        for file in told[0]["fetch"].as_array().expect("files") {
            planned.extend(file["blob"].as_str().map(str::to_owned));
            let members = file["members"]["blobs"].as_array();
            planned.extend(
                members.into_iter().flatten().map(|name| name.as_str().expect("a name").to_owned()),
            );
        }
        planned.sort();
        site.well(&["run"]);
        assert_eq!(planned, site.names(), "{setting}");
    }
}

#[test]
fn a_plan_says_where_members_go_that_it_cannot_look_at() {
    let site = Site::new("layout = \"raw/{path}\"");
    site.put("x/b.tar.gz", b"whatever");
    site.put("x/c.zip", &zip(&[("in.zip", b"an archive"), ("1.csv", b"1")]));
    let planned = site.well(&["plan"]);
    assert!(planned.contains("b.tar.gz -> its members below raw/x/b.tar.gz!/"), "{planned}");
    assert!(planned.contains("c.zip -> its 2 members below raw/x/c.zip!/:"), "{planned}");
    assert!(planned.contains(" raw/x/c.zip!/in.zip!/…\n"), "{planned}");
    assert!(planned.contains(" raw/x/c.zip!/1.csv\n"), "{planned}");
}

#[test]
fn a_changed_layout_is_told_by_plan_and_old_names_stay() {
    let site = Site::new("");
    site.put("a.csv", b"one");
    site.well(&["run"]);
    site.configure("layout = \"landing/{yyyy}/{path}\"");
    let told = "blobs are named in another way than before: 1 known files keep the names";
    assert!(site.well(&["plan"]).contains(told));
    site.put("b.csv", b"two");
    assert!(site.well(&["run"]).contains(told));
    assert_eq!(site.names(), ["acme/a.csv", "landing/2026/b.csv"]);
    assert!(!site.well(&["plan"]).contains(told), "it was told, and is so");
    site.well(&["audit", "--download"]);
}

#[test]
fn duckdb_reads_a_hive_layout_as_partitions() {
    let duckdb = tools().join("duckdb");
    if !available("DuckDB", &[duckdb.join("duckdb/__init__.py")], Rights::Anyone) {
        return;
    }
    let site = Site::new(
        "layout = 'landing/{source}/feed={feed}/dt={date:yyyy-MM-dd}/{file}'\n\
         capture = '(?<feed>[a-z]+)_(?<date>\\d{8})'",
    );
    site.put("x/sales_20251231.csv", b"n\n1\n2\n");
    site.put("sales_20260101.csv", b"n\n30\n");
    site.put("caf\u{e9} stock_20260101.csv", b"n\n400\n");
    site.well(&["run"]);
    let script = "import sys, duckdb\nfor row in duckdb.sql(\"\"\"select feed, dt, typeof(dt), \
        sum(n)::int from read_csv(?, hive_partitioning = true) group by all order by all\"\"\", \
        params=[sys.argv[1]]).fetchall(): print(*row)";
    let files = site.folder.path().join("out/landing/acme/*/*/*.csv");
    let done = Command::new("timeout")
        .args(["120", "python3", "-c", script])
        .arg(files)
        .env("PYTHONPATH", duckdb)
        .output()
        .expect("coreutils' `timeout` is there");
    let rows = String::from_utf8_lossy(&done.stdout).into_owned();
    let expected = "sales 2025-12-31 DATE 3\nsales 2026-01-01 DATE 30\nstock 2026-01-01 DATE 400\n";
    assert_eq!(rows, expected, "{}", String::from_utf8_lossy(&done.stderr));
}
