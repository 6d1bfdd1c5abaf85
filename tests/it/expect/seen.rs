//! What a user of the program sees of files that are expected.

use super::super::e2e::Ferry;

const EXPECTED: &str =
    "[[source.expect]]\nname = \"fresh\"\nfiles = [\"*.csv\"]\nmax_age = \"1h\"\n";

fn ferry(expected: &str) -> Ferry {
    let ferry = Ferry::new(&format!(
        "[destination]\nfolder = \"out\"\n\n[[source]]\nname = \"acme\"\nurl = \"file:///x\"\n\
         {expected}"
    ));
    let folder = ferry.path("in");
    std::fs::create_dir(&folder).unwrap();
    ferry.configure(&format!(
        "[destination]\nfolder = \"out\"\n\n[[source]]\nname = \"acme\"\nurl = \"file://{}\"\n\
         stable_for = \"0s\"\n\n{expected}",
        folder.display()
    ));
    ferry
}

#[test]
fn a_missing_file_degrades_the_run_until_it_comes() {
    let ferry = ferry(EXPECTED);
    std::fs::write(ferry.path("in/other.txt"), "x").unwrap();
    let done = ferry.ingest().code(1);
    let told = &done.source()["expectations"][0];
    assert_eq!((&told["state"], &told["why"]), (&"missed".into(), &"not_listed".into()), "{told}");
    assert_eq!(done.source()["status"], "degraded");
    assert!(done.err.contains("An expected file is missing."), "{}", done.err);
    // Told once.
    assert!(!ferry.ingest().code(1).err.contains("An expected file is missing."));
    ferry.run(&["expect"]).code(1).says(&["missed fresh", "stale, not_listed", "1 missed"]);
    std::fs::write(ferry.path("in/a.csv"), "1\n").unwrap();
    let done = ferry.ingest().code(0);
    assert_eq!(done.source()["expectations"][0]["state"], "met");
    let json = ferry.run(&["expect", "--json"]).code(0).report();
    assert_eq!(
        json["sources"][0]["expectations"][0]["paths"][0],
        format!("{}/a.csv", ferry.path("in").display())
    );
    ferry.run(&["expect", "--at", "2030-01-01T00:00:00Z"]).code(1);
}

#[test]
fn expectations_are_judged_before_the_first_run() {
    let ferry = ferry(EXPECTED);
    let at = ["expect", "--at", "2030-01-01T00:00:00Z"];
    assert_eq!(ferry.run(&at).code(1).err, "", "who asks for another time alerts nobody");
    let done = ferry.run(&["expect"]).code(1);
    // Whoever finds it out first tells it, once.
    assert!(done.err.contains("An expected file is missing."), "{}", done.err);
    done.says(&["missed fresh", "not_looked", "1 missed"]);
    assert_eq!(ferry.run(&["expect"]).code(1).err, "");
    ferry.run(&at).code(1);
}

#[test]
fn a_warning_changes_no_exit_status() {
    let ferry = ferry(&format!("{EXPECTED}severity = \"warn\"\n"));
    std::fs::write(ferry.path("in/other.txt"), "x").unwrap();
    let done = ferry.ingest().code(0);
    assert_eq!(done.source()["expectations"][0]["state"], "missed");
    ferry.run(&["expect"]).code(0).says(&["missed fresh", "1 missed"]);
    ferry.run(&["expect", "--at", "2030-01-01T00:00:00Z"]).code(0);
}

#[test]
fn wrong_expectations_are_refused_with_their_line() {
    for (lines, said) in [
        ("by = \"7\"", "allowed is a time of day as \"07:00\""),
        ("", "`source.acme.expect.by` is missing"),
        ("by = \"07:00\"\nmax_age = \"1h\"", "stands beside `by`"),
        ("max_age = \"1h\"\ndays = \"mon-fri\"", "stands beside `max_age`"),
        ("by = \"07:00\"\ngrace = \"24h\"", "reaches to the next deadline"),
        ("by = \"07:00\"\nmin_count = 2\nmax_count = 1", "is less than `min_count`"),
        ("by = \"07:00\"\ndays = \"moon\"", "allowed is \"mon-fri\""),
        ("by = \"07:00\"\ndays = [\"mon\", \"moon\"]", "is \"moon\"; allowed is"),
        ("by = \"07:00\"\ndays = []", "is empty; allowed is"),
        ("by = \"07:00\"\nexcept = [\"25.12.2026\"]", "allowed are days as \"2026-12-25\""),
        ("by = \"07:00\"\nfiles = [\"s_{YYYYMMDD}.csv\"]", "did you mean {yyyyMMdd}?"),
        ("by = \"07:00\"\nmax_size = \"1 B\"", "did you mean `min_size`?"),
        ("cron = \"0 7 * *\"", "has not five fields"),
    ] {
        let ferry = ferry(&format!("[[source.expect]]\nname = \"daily\"\n{lines}\n"));
        let done = ferry.run(&["plan"]).code(2);
        assert!(done.err.contains(said), "{lines}: {}", done.err);
    }
    let listed = "[[source.expect]]\nname = \"a\"\nby = \"07:00\"\ndays = [\"mon\", \"wed-fri\"]\n";
    ferry(listed).run(&["plan"]).code(0);
    let twice = "[[source.expect]]\nname = \"a\"\nby = \"07:00\"\n".repeat(2);
    ferry(&twice).run(&["plan"]).code(2).says(&["stands twice in this source"]);
    ferry("expect = 3\n").run(&["plan"]).code(2).says(&["allowed is `[[source.expect]]`"]);
}
