//! `scripts/nightly.sh`: what it says of steps that fail, and that it takes in every script.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Scripts that neither the gate nor a night runs, each with the reason.
const NEITHER: &[(&str, &str)] = &[
    ("compare-builds.sh", "compares two binaries that a person names"),
    ("func-local.sh", "runs until somebody stops it, with tools of Azure"),
    ("make-state-0.1.sh", "needs a binary of release 0.1, and makes what the tests read"),
    ("profile.sh", "shows figures to a person, and judges nothing"),
    ("prove-release.sh", "needs the artefacts of a release, debootstrap and the network"),
    ("release.sh", "builds the artefacts of a release; tests/it/shipping.rs packs one"),
    ("template.sh", "needs the Bicep compiler, which comes with the Azure CLI alone"),
    ("test-fast.sh", "a part of what the gate runs, for people who wait"),
    ("verify-azure.sh", "needs a subscription"),
];

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts")
}

struct Night {
    code: Option<i32>,
    out: String,
    /// Steps and results, as the record has them.
    record: Vec<(String, String)>,
}

fn night(steps: &str, chosen: &[&str]) -> Night {
    let folder = tempfile::tempdir().unwrap();
    let (table, records) = (folder.path().join("steps"), folder.path().join("records"));
    std::fs::write(&table, steps).unwrap();
    let mut command = Command::new(scripts().join("nightly.sh"));
    command.args(chosen).env("NIGHTLY_STEPS", table).env("NIGHTLY_FOLDER", &records);
    let done = command.env_remove("NIGHTLY_PATIENCE").output().expect("bash is there");
    let out = String::from_utf8(done.stdout).unwrap() + &String::from_utf8(done.stderr).unwrap();
    let written = out.lines().find_map(|line| line.strip_prefix("record: "));
    let text = written.map(|path| std::fs::read_to_string(path).unwrap()).unwrap_or_default();
    let rows = text.lines().skip(1).map(|line| line.split('\t').collect::<Vec<_>>());
    let record = rows.map(|row| (row[3].to_owned(), row[6].to_owned())).collect();
    Night { code: done.status.code(), out, record }
}

const STEPS: &str = "
step good 60 bash 'it is well' true
step bad 60 bash 'it ends with 7' bash -c 'echo its last words; exit 7'
step slow 1 bash 'it never ends' bash -c 'sleep 600 & wait'
step lacking 60 no-such-program 'a tool is missing' true
step last 60 bash 'its words hold spaces' test 'a b' = 'a b'
";

#[test]
fn a_night_goes_on_after_steps_that_fail_and_ends_with_1() {
    let night = night(STEPS, &[]);
    let record: Vec<(&str, &str)> =
        night.record.iter().map(|(step, result)| (&**step, &**result)).collect();
    let expected = [
        ("good", "passed"),
        ("bad", "failed: status 7"),
        ("slow", "failed: over its budget of 1 s"),
        ("lacking", "failed: missing no-such-program"),
        ("last", "passed"),
    ];
    assert_eq!(record, expected, "{}", night.out);
    assert_eq!(night.code, Some(1));
    assert!(
        night.out.contains("2 passed, 3 failed") && night.out.contains("its last words"),
        "{}",
        night.out
    );
}

#[test]
fn steps_are_chosen_by_name() {
    let two = night(STEPS, &["last", "good"]);
    let passed = |step: &str| (step.to_owned(), "passed".to_owned());
    assert_eq!(
        (two.code, two.record),
        (Some(0), vec![passed("last"), passed("good")]),
        "{}",
        two.out
    );
    let unknown = night(STEPS, &["god"]);
    assert_eq!((unknown.code, unknown.record.len()), (Some(2), 0), "{}", unknown.out);
    assert!(unknown.out.contains("there is no step `god`; there are: good bad"), "{}", unknown.out);
    let listed = night(STEPS, &["--list"]);
    assert_eq!(listed.code, Some(0));
    assert!(listed.out.contains("slow                 1 s  it never ends"), "{}", listed.out);
}

/// The scripts that these texts do not call by name.
fn uncalled(all: &[String], callers: &[String]) -> Vec<String> {
    let is_called =
        |name: &String| callers.iter().any(|text| text.contains(&format!("scripts/{name}")));
    all.iter().filter(|name| !is_called(name)).cloned().collect()
}

#[test]
fn every_script_is_run_by_the_gate_or_by_a_night() {
    let read = |path: PathBuf| {
        let text =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        // What is said of a script in a comment calls nothing.
        text.lines()
            .filter(|line| !line.trim_start().starts_with('#'))
            .collect::<Vec<_>>()
            .join("\n")
    };
    let entries = std::fs::read_dir(scripts()).unwrap().map(|entry| entry.unwrap().file_name());
    let names = entries.map(|name| name.into_string().unwrap());
    let mut all: Vec<String> =
        names.filter(|name| name.ends_with(".sh") && name != "nightly.sh").collect();
    all.sort();
    assert!(all.len() > 15, "{all:?}");
    // Through scripts that these two call, too.
    let mut callers = vec![read(scripts().join("../.ci/run")), read(scripts().join("nightly.sh"))];
    for _ in 0..3 {
        let called = all
            .iter()
            .filter(|name| !uncalled(std::slice::from_ref(name), &callers).contains(name));
        let texts: Vec<String> = called.map(|name| read(scripts().join(name))).collect();
        callers.extend(texts);
    }
    let neither: Vec<&str> = NEITHER.iter().map(|(name, _)| *name).collect();
    assert_eq!(uncalled(&all, &callers), neither);
    // The check can fail.
    let planted = [all, vec!["idle.sh".to_owned()]].concat();
    assert!(uncalled(&planted, &callers).contains(&"idle.sh".to_owned()));
}
