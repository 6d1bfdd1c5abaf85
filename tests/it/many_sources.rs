//! Many sources: one file a partner, one cap a server, output that is read.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::e2e::Ferry;
use super::e2e::bad_input::old_file;
use super::kit::blackhole::Blackhole;
use super::kit::stage;
use super::servers::*;

const FOLDER: &str = "[destination]\nfolder = \"out\"\n";

fn partner(ferry: &Ferry, name: &str, lines: &str) {
    std::fs::create_dir_all(ferry.path("partners")).unwrap();
    let text = format!("[[source]]\nname = \"{name}\"\nstable_for = \"0s\"\n{lines}");
    std::fs::write(ferry.path(&format!("partners/{name}.toml")), text).unwrap();
}

/// `count` sources in folders of their own, each with one file.
fn shares(ferry: &Ferry, count: usize) -> String {
    let mut text = FOLDER.to_owned();
    for n in 0..count {
        let folder = ferry.path(&format!("in/{n:04}"));
        old_file(&folder.join("a.txt"), b"one");
        writeln!(text, "[[source]]\nname = \"s{n:04}\"\nurl = \"file://{}\"", folder.display())
            .unwrap();
    }
    text
}

#[test]
fn sixty_partners_on_one_server_are_one_guest() {
    let ftp = stage::ftp(Default::default());
    let sftp = stage::sftp(Default::default());
    for (lines, partners) in [(ftp.lines(), 60), (sftp.lines(), 20)] {
        let ferry = Ferry::new(&format!("include = [\"partners/*.toml\"]\n{FOLDER}"));
        for n in 0..partners {
            let connections = if n == 7 { "connections = 3\n" } else { "connections = 1\n" };
            partner(&ferry, &format!("p{n:02}"), &format!("{lines}{connections}"));
        }
        let report = ferry.ingest().code(0).report();
        let sources = report["sources"].as_array().unwrap();
        assert_eq!(sources.len(), partners);
        assert!(sources.iter().all(|source| source["ingested"] == 3), "{report:#}");
        let (logins, together) = match partners {
            60 => {
                let counts = &ftp.server.counts;
                let most = counts.most_connections.load(Ordering::SeqCst);
                (counts.logins.load(Ordering::SeqCst), most)
            }
            _ => (sftp.server.logins() as u64, sftp.server.most_connections() as u64),
        };
        assert!((1..=3).contains(&together), "{together} at once, and 3 are the largest cap");
        assert!(logins <= 9, "{logins} logins: who logs in in the same way shares them");
        ferry.run(&["check"]).code(0);
    }
    let most = ftp.server.counts.most_connections.load(Ordering::SeqCst);
    assert!(most.max(sftp.server.most_connections() as u64) <= 3, "`check` keeps to the cap, too");
}

#[test]
fn sixty_partners_show_openssh_few_logins() {
    let Some(sshd) = Sshd::start(SshdOptions::default()) else { return };
    for n in 0..60 {
        old_file(&sshd.root.join(format!("p{n:02}/a.txt")), b"one");
    }
    let ferry = Ferry::new(&format!("include = [\"partners/*.toml\"]\n{FOLDER}"));
    for n in 0..60 {
        let lines = format!(
            "url = \"sftp://{}@127.0.0.1:{}{}/p{n:02}\"\nprivate_key_file = \"{}\"\nhost_key = \
            \"{}\"\n",
            sshd.user,
            sshd.port,
            sshd.base,
            sshd.user_key.display(),
            sshd.host_key_sha256
        );
        partner(&ferry, &format!("p{n:02}"), &lines);
    }
    let report = ferry.ingest().code(0).report();
    let ingested = report["sources"].as_array().unwrap().iter().map(|one| &one["ingested"]);
    assert!(ingested.clone().all(|one| *one == 1) && ingested.count() == 60, "{report:#}");
    // Its log tells of each login and of its end, in this order.
    let (mut now, mut most, mut all) = (0_i64, 0, 0);
    for line in sshd.daemon.log().lines() {
        if line.contains("Accepted publickey") {
            (now, all) = (now + 1, all + 1);
        } else if line.contains("Disconnected from user") {
            now -= 1;
        }
        most = most.max(now);
    }
    assert!((1..=2).contains(&most), "{most} at once, and 2 are the cap of SFTP sources");
    assert!((1..=6).contains(&all), "{all} logins of 60 sources");
}

#[test]
fn a_wrong_password_of_twenty_sources_is_tried_once() {
    let ftp = stage::ftp(Default::default());
    let wrong = ftp.lines().replacen("demo:", "demo:no", 1);
    let ferry = Ferry::new(&format!("include = [\"partners/*.toml\"]\n{FOLDER}"));
    for n in 0..20 {
        partner(&ferry, &format!("p{n:02}"), &wrong);
    }
    let report = ferry.ingest().code(3).report();
    let is_refused = |one: &serde_json::Value| one["problems"][0]["class"] == "auth";
    assert!(report["sources"].as_array().unwrap().iter().all(is_refused), "{report:#}");
    let tried = ftp.server.counts.refused_logins.load(Ordering::SeqCst);
    assert!((1..=4).contains(&tried), "{tried} tries lock an account");
}

#[test]
fn a_table_of_a_server_caps_all_who_log_in_there() {
    let ftp = stage::ftp(Default::default());
    let server = "[[server]]\nhost = \"127.0.0.1\"\nconnections = 1\n";
    let ferry = Ferry::new(&format!("include = \"partners/*.toml\"\n{FOLDER}{server}"));
    for n in 0..8 {
        partner(&ferry, &format!("p{n}"), &ftp.lines());
    }
    ferry.ingest().code(0);
    assert_eq!(ftp.server.counts.most_connections.load(Ordering::SeqCst), 1);
}

#[test]
fn a_source_that_is_off_is_told_and_left_alone() {
    let ferry = Ferry::new("");
    let text = shares(&ferry, 3);
    ferry.configure(&text);
    ferry.ingest().code(0);
    // Young files would be waited for.
    old_file(&ferry.path("in/0002/b.txt"), b"two");
    ferry.configure(&format!("{text}enabled = false\n"));
    let report = ferry.ingest().code(0).report();
    assert_eq!(report["sources"].as_array().unwrap().len(), 2);
    ferry.run(&["check"]).code(0).says(&["off by `enabled = false`: s0002"]);
    ferry.run(&["ls", "--source", "s0002"]).code(0).says(&["s0002/a.txt"]);
    ferry
        .run(&["run", "--source", "s0002"])
        .code(2)
        .says(&["it is off", "BLOBFERRY__SOURCE__S0002__ENABLED=true"]);
    let ferry = ferry.set("BLOBFERRY__SOURCE__S0002__ENABLED", "true");
    ferry.run(&["run", "--source", "s0002"]).code(0);
}

#[test]
fn problems_come_last_and_what_is_unchanged_is_one_line() {
    let ferry = Ferry::new("");
    let text = shares(&ferry, 40);
    ferry.configure(&text);
    ferry.ingest().code(0);
    let done = ferry.run(&["run"]).code(0);
    let lines: Vec<&str> = done.out.lines().collect();
    assert_eq!(lines[0], "40 sources unchanged", "{}", done.out);
    assert_eq!(lines.len(), 2, "{}", done.out);
    let quiet = ferry.run(&["run", "--quiet"]).code(0);
    assert_eq!((quiet.out.as_str(), quiet.err.as_str()), ("", ""), "all is well");
    // One is ill, one has news.
    std::fs::remove_dir_all(ferry.path("in/0003")).unwrap();
    old_file(&ferry.path("in/0030/b.txt"), b"two");
    let done = ferry.run(&["run"]).code(1);
    let at = |text: &str| done.out.find(text).unwrap_or_else(|| panic!("{text} in {}", done.out));
    assert!(at("s0030 (") < at("38 sources unchanged"));
    assert!(at("38 sources unchanged") < at("s0003 ("));
    assert!(done.out.lines().count() < 12, "{}", done.out);
    let quiet = ferry.run(&["run", "--quiet"]).code(1);
    assert_eq!(quiet.out, "", "nothing but problems, and those to standard error");
    assert!(quiet.err.contains("s0003 (") && !quiet.err.contains("s0030"), "{}", quiet.err);
    let check = ferry.run(&["check"]).code(1);
    let lines: Vec<&str> = check.out.lines().collect();
    assert!(lines.len() < 30, "{}", check.out);
    let at = |text: &str| check.out.find(text).unwrap_or_else(|| panic!("{text}: {}", check.out));
    assert!(at("39 are well") < at("FAIL  s0003: "), "{}", check.out);
    assert_eq!(*lines.last().unwrap(), "1 failed, see above");
}

#[test]
fn silent_servers_are_checked_side_by_side() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let Some(hole) = runtime.block_on(Blackhole::open()) else {
        panic!("this system queues more connections than it was told to");
    };
    let ferry = Ferry::new("");
    let mut text = shares(&ferry, 20);
    for n in 0..10 {
        // Another user each: none waits for the place of another.
        writeln!(
            text,
            "[[source]]\nname = \"dead{n}\"\nurl = \"ftp://u{n}:p@{}/\"\nattempts = 1\n\
            connect_timeout = \"2s\"\nstall_timeout = \"2s\"",
            hole.address
        )
        .unwrap();
    }
    ferry.configure(&text);
    ferry.ingest();
    let begun = Instant::now();
    let done = ferry.run(&["check"]).code(1);
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    let failed = done.out.lines().filter(|line| line.starts_with("FAIL")).count();
    assert_eq!(failed, 10, "{}", done.out);
}

#[test]
fn files_are_taken_in_the_order_that_is_asked_for() {
    let ferry = Ferry::new("");
    for (name, age) in [("b.txt", 300), ("c.txt", 100), ("a.txt", 200)] {
        let path = ferry.path(&format!("in/{name}"));
        old_file(&path, name.as_bytes());
        let modified = std::time::SystemTime::now() - Duration::from_secs(100_000 + age);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    }
    let mut taken = BTreeMap::new();
    for order in ["modified", "name"] {
        ferry.configure(&format!(
            "{FOLDER}[limits]\ntransfers = 1\n[[source]]\nname = \"{order}\"\nurl = \
            \"file://{}\"\norder = \"{order}\"\n",
            ferry.path("in").display()
        ));
        let plan = ferry.run(&["plan"]).code(0);
        drop(plan);
        let verbose = ferry.run(&["run", "--verbose"]).code(0);
        let stored = verbose.err.lines().filter(|line| line.contains("A file is stored."));
        let names: Vec<&str> = stored
            .filter_map(|line| ["a.txt", "b.txt", "c.txt"].into_iter().find(|n| line.contains(n)))
            .collect();
        taken.insert(order, names);
    }
    assert_eq!(taken["modified"], ["b.txt", "a.txt", "c.txt"]);
    assert_eq!(taken["name"], ["a.txt", "b.txt", "c.txt"]);
}

#[test]
fn patterns_that_match_nothing_are_told_with_the_form_that_would() {
    let ferry = Ferry::new("");
    for name in ["x/b.csv", "c.TXT", "sales_1.dat"] {
        old_file(&ferry.path(&format!("in/{name}")), name.as_bytes());
    }
    ferry.configure(&format!(
        "{FOLDER}[[source]]\nname = \"acme\"\nurl = \"file://{}\"\ninclude = [\"*.csv\", \
        \"*.txt\", '^sales_.*\\.dat$', \"*.nothing\", \"*.dat\"]\nexclude = [\"b.csv\"]\n",
        ferry.path("in").display()
    ));
    let likely = [
        "`include`: `*.csv` matches nothing; `**/*.csv` would match, as `x/b.csv`",
        "`include`: `*.txt` matches nothing; `*.{txt,TXT}` would match, as `c.TXT`",
        "looks like a regular expression",
        "`sales_*.dat` would match, as `sales_1.dat`",
        "`exclude`: `b.csv` matches nothing; `**/b.csv` would match, as `x/b.csv`",
    ];
    let plan = ferry.run(&["plan"]).code(0).says(&likely);
    assert!(plan.out.contains("`include`: `*.nothing` matches nothing"), "{}", plan.out);
    let run = ferry.run(&["run"]).code(0).says(&likely);
    assert!(!run.out.contains("*.nothing"), "nothing speaks for a slip: {}", run.out);
    let again = ferry.run(&["run", "--again", "/in/*.dat", "--again", "*.dat"]).code(0);
    assert!(again.err.contains("note: `--again`: `/in/*.dat` matches nothing"), "{}", again.err);
    assert!(!again.err.contains("`*.dat` matches nothing"), "{}", again.err);
    ferry.run(&["run", "--source", "ac*"]).code(2).says(&["`--source` takes no patterns"]);
}

#[test]
fn several_errors_are_told_on_lines_of_their_own_and_a_wrong_zone_once() {
    let source = |name: &str| format!("[[source]]\nname = \"{name}\"\nurl = \"file:///in\"\n");
    let wrong = format!("{}dpth = 1\n", source("a"));
    let zone = "time_zone = \"Mars\"\n";
    let ferry = Ferry::new(&format!("{zone}{FOLDER}{wrong}{}", source("b")));
    let told = ferry.run(&["plan"]).code(2).err;
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 2, "{told}");
    assert!(lines[0].starts_with("error: ingest.toml:1: `time_zone` is \"Mars\""), "{told}");
    assert!(lines[1].starts_with("ingest.toml:7: `source.a.dpth`"), "{told}");
}
