//! Several processes want one source at once, and one that held it is killed.

use std::fs;

use super::super::servers::*;
use super::*;

/// One young file in a source folder, which a run waits for before it takes it.
fn waiting_for(destination: &str, stable_for: &str) -> Ferry {
    let ferry = Ferry::new("");
    fs::create_dir(ferry.path("in")).unwrap();
    fs::write(ferry.path("in/young.csv"), b"a;b\n").unwrap();
    configure(&ferry, destination, stable_for);
    ferry
}

fn configure(ferry: &Ferry, destination: &str, stable_for: &str) {
    let source = format!(
        "[[source]]\nname = \"acme\"\nurl = \"file://{}\"\nstable_for = \"{stable_for}\"\n",
        ferry.path("in").display()
    );
    ferry.configure(&format!("[destination]\n{destination}\n{source}"));
}

/// Each store at whose leases two processes can meet, side by side: the tests mostly wait.
fn each_store(test: impl Fn(&str) + Sync) {
    std::thread::scope(|scope| {
        scope.spawn(|| test("folder = \"out\""));
        let Some(azurite) = Azurite::shared() else { return };
        test(&azure(azurite, &Azurite::container("leases")));
    });
}

/// A run that has its lease, has listed the source, and waits.
fn at_it(ferry: &Ferry) -> Started {
    let run = ferry.start(&["run", "--json"]);
    let waits = || {
        fs::read_to_string(ferry.path("stderr"))
            .is_ok_and(|log| log.contains("Waiting for young files to settle."))
    };
    wait_for("the first run to be at it", waits);
    run
}

#[test]
fn of_two_processes_one_does_the_work_and_the_other_says_which() {
    each_store(|destination| {
        let ferry = waiting_for(destination, "15s");
        let first = at_it(&ferry);
        let second = ferry.ingest().code(0);
        let told = second.source();
        assert_eq!(
            (&told["status"], &told["listed"], &second.report()["status"]),
            (&"left".into(), &0.into(), &"ok".into()),
            "{told:#}"
        );
        let third = ferry.run(&["run"]).code(0);
        let first = first.end(Duration::from_secs(120)).code(0);
        assert_eq!(first.source()["ingested"], 1, "{:#}", first.source());
        assert_eq!(told["left_to"]["run"], first.report()["run"], "{told:#}");
        third.says(&[
            "left to run ",
            " which is at it since ",
            first.report()["run"].as_str().unwrap(),
        ]);
        let again = ferry.ingest().code(0).source();
        assert_eq!(
            (&again["status"], &again["unchanged"]),
            (&"ok".into(), &1.into()),
            "the lease was given back: {again:#}"
        );
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_run_that_was_killed_is_in_nobodys_way() {
    each_store(|destination| {
        let ferry = waiting_for(destination, "10m");
        let first = at_it(&ferry);
        first.signal("KILL");
        drop(first);
        configure(&ferry, destination, "0s");
        let begun = Instant::now();
        let source = ferry.ingest().code(0).source();
        assert_eq!(
            (&source["ingested"], &source["status"]),
            (&1.into(), &"ok".into()),
            "{source:#}"
        );
        assert!(
            begun.elapsed() < Duration::from_secs(45),
            "it waited for the lease to lapse: {:?}",
            begun.elapsed()
        );
    });
}
