//! Every check of this folder in the test suite: on its seeds, on what fuzzers found, on mutations
//! of both.

use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::mutation::{Chance, mutated};
use super::{TARGETS, Target, named};

/// No bytes of this size may take longer, on whatever machine.
const MOST_TIME: Duration = Duration::from_secs(30);
/// What all committed files may take together.
const MOST_COMMITTED: u64 = 300 << 10;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// What is committed: findings of the past, and bytes that reach what generated ones do not.
fn committed(target: &Target) -> Vec<Vec<u8>> {
    let Ok(entries) = std::fs::read_dir(root().join("seeds").join(target.name)) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.expect("it can be read").path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).expect("it can be read")).collect()
}

fn hold(name: &str) {
    let target = named(name);
    let seeds = [(target.seeds)(), committed(target)].concat();
    assert!(!seeds.is_empty(), "nothing to begin with");
    hold_for(target, b"");
    for seed in &seeds {
        hold_for(target, seed);
    }
    let mut chance = Chance::new(name.bytes().map(u64::from).sum());
    for _ in 0..target.cases {
        hold_for(target, &mutated(&seeds, &mut chance));
    }
}

fn hold_for(target: &Target, bytes: &[u8]) {
    let start = Instant::now();
    let held = catch_unwind(|| (target.check)(bytes)).is_ok();
    let slow = start.elapsed() > MOST_TIME;
    if held && !slow {
        return;
    }
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let (name, what) = (target.name, if slow { "takes too long" } else { "does not hold" });
    panic!(
        "`{name}` {what} for\n{hex}\nto replay: BLOBFERRY_FUZZ='{name} <hex, or path of a file>' \
        cargo test --test it -- fuzz::replay::one"
    );
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            hold(stringify!($name));
        })*

        #[test]
        fn every_target_is_replayed_and_has_its_fuzzer() {
            let replayed = [$(stringify!($name)),*];
            let known: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(replayed[..], known[..]);
            let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("it can be \
                read");
            assert_eq!(manifest.matches("\n[[bin]]\n").count(), known.len(), "each fuzzer is a \
                target");
            for name in known {
                let path = format!("fuzz_targets/{name}.rs");
                assert!(manifest.contains(&format!("[[bin]]\nname = \"{name}\"\npath = \
                    \"{path}\"\n")), "fuzz/Cargo.toml \
                    lacks `{name}`");
                let text = std::fs::read_to_string(root().join(path)).expect("it can be read");
                assert!(text.contains(&format!("named(\"{name}\")")), "fuzz_targets/{name}.rs runs \
                    another target");
            }
        }
    };
}

targets!(names zip tar compressed sevenz meter list mlsd ftp_replies sftp config http);

/// The case that `BLOBFERRY_FUZZ` names, if it does: `zip 504b…` or `zip path/of/a/file`.
#[test]
fn one() {
    let Ok(case) = std::env::var("BLOBFERRY_FUZZ") else { return };
    let (name, bytes) = case.split_once(' ').expect("a target and its bytes");
    let hex = |text: &str| {
        let digits: Option<Vec<u8>> =
            text.chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect();
        digits
            .filter(|digits| digits.len().is_multiple_of(2))
            .map(|digits| digits.chunks(2).map(|two| two[0] << 4 | two[1]).collect())
    };
    let bytes: Vec<u8> =
        hex(bytes).unwrap_or_else(|| std::fs::read(bytes).expect("it can be read"));
    (named(name).check)(&bytes);
}

#[test]
fn what_is_committed_is_small_and_of_a_target() {
    let mut total = 0;
    for folder in std::fs::read_dir(root().join("seeds")).into_iter().flatten() {
        let folder = folder.expect("it can be read").path();
        let name = folder.file_name().and_then(|name| name.to_str()).expect("UTF-8");
        assert!(
            TARGETS.iter().any(|target| target.name == name),
            "fuzz/seeds/{name} is of no target"
        );
        let sizes = std::fs::read_dir(&folder)
            .expect("a folder")
            .map(|entry| entry.and_then(|entry| entry.metadata()).expect("a file").len());
        total += sizes.sum::<u64>();
    }
    assert!(total < MOST_COMMITTED, "{total} bytes");
}

/// A check that finds nothing in nonsense would be none.
#[test]
fn a_check_fails_where_something_does_not_hold() {
    let told = std::panic::catch_unwind(|| {
        let broken = Target {
            name: "broken",
            check: |bytes| assert!(bytes.len() < 3, "three"),
            seeds: Vec::new,
            cases: 0,
        };
        hold_for(&broken, b"\x01\xAB\xFF");
    });
    let told = told.expect_err("it does not hold");
    let words = told.downcast_ref::<String>().expect("words");
    assert!(words.contains("01abff") && words.contains("BLOBFERRY_FUZZ"), "{words}");
}
