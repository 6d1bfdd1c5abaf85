//! What the predecessor could do, row by row of docs/parity.md, where no other test shows it; and
//! that the page names tests that exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use blobferry::demo::sftp::script::{DemoSftpFault, DemoSftpHook, DemoSftpScript};
use blobferry::demo::sftp::{DemoSftpOptions, SftpServer};

use super::e2e::bad_input::old_file;
use super::e2e::{Done, Ferry, wait_for};

fn page(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// Every test of this package by its path, as the files define them.
fn tests_of_the_house() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut found, mut folders) = (BTreeSet::new(), vec![root.join("src"), root.join("tests/it")]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let below = path.strip_prefix(root).unwrap().with_extension("");
                let module = below
                    .to_str()
                    .unwrap()
                    .trim_start_matches("src/")
                    .trim_start_matches("tests/it/")
                    .replace('/', "::");
                let module = module.trim_end_matches("::mod");
                let text = fs::read_to_string(&path).unwrap();
                for after in
                    text.split("#[test]").skip(1).chain(text.split("#[tokio::test").skip(1))
                {
                    let name = after
                        .split("fn ")
                        .nth(1)
                        .and_then(|rest| rest.split('(').next())
                        .unwrap_or_default();
                    let inner = if text.contains("mod tests {") && below.starts_with("src") {
                        "tests::"
                    } else {
                        ""
                    };
                    found.insert(format!("{module}::{inner}{name}"));
                }
            }
        }
    }
    found
}

#[test]
fn every_row_names_tests_that_exist() {
    let known = tests_of_the_house();
    assert!(
        known.len() > 500 && known.contains("parity::every_row_names_tests_that_exist"),
        "{}",
        known.len()
    );
    let text = page("docs/parity.md");
    let rows: Vec<&str> = text
        .lines()
        .filter(|line| {
            line.starts_with("| ") && !line.starts_with("| what") && !line.starts_with("|---")
        })
        .collect();
    assert!(rows.len() >= 24, "{rows:?}");
    for row in rows {
        let cited = row.rsplit('|').nth(1).expect("a last cell");
        let names: Vec<&str> = cited.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test stands behind: {row}");
        for name in names {
            assert!(known.contains(name), "{name} is no test: {row}");
        }
    }
}

fn files_to_log(section: &str) -> (Ferry, Done) {
    let ferry = Ferry::new("");
    old_file(&ferry.path("in/good.txt"), b"good");
    old_file(&ferry.path("in/bad.zip"), b"PK\x03\x04 and nothing of a zip");
    ferry.configure(&format!(
        "[destination]\nfolder = \"out\"\n[log]\n{section}\n[[source]]\nname = \"acme\"\nurl = \
        \"file://{}\"\n",
        ferry.path("in").display()
    ));
    let done = ferry.run(&["run"]).code(1);
    (ferry, done)
}

fn lines(ferry: &Ferry, name: &str) -> Vec<String> {
    fs::read_to_string(ferry.path(name)).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn monitor_and_error_logs_have_levels_and_formats() {
    let (ferry, _) = files_to_log("");
    let (monitor, errors) = (lines(&ferry, "log/monitor.log"), lines(&ferry, "log/error.log"));
    assert!(
        monitor.iter().any(|line| line.contains(" INFO A run begins."))
            && monitor.iter().any(|line| line.contains("bad.zip")),
        "{monitor:#?}"
    );
    assert!(
        !errors.is_empty()
            && errors.iter().all(|line| line.contains("ERROR") || line.contains("WARN")),
        "{errors:#?}"
    );
    assert!(
        !monitor.iter().any(|line| line.contains("DEBUG") || line.contains('\u{1b}')),
        "no more than was asked for, and no colours"
    );

    let (ferry, _) = files_to_log(
        "level = \"debug\"\nformat = \"json\"\nmonitor = \"m.log\"\nerrors = \"logs/e.log\"",
    );
    let monitor: Vec<serde_json::Value> = lines(&ferry, "m.log")
        .iter()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert!(
        monitor.iter().any(|line| line["level"] == "DEBUG"
            && line["path"].as_str().is_some_and(|path| path.ends_with("good.txt"))),
        "{monitor:#?}"
    );
    assert!(lines(&ferry, "logs/e.log").iter().all(|line| line.starts_with("{\"timestamp\":")));

    let (ferry, _) = files_to_log("level = \"error\"");
    assert!(lines(&ferry, "log/monitor.log").iter().all(|line| line.contains("ERROR")));
    let (ferry, done) = files_to_log("files = false");
    assert!(!ferry.path("log").exists() && done.err.contains("bad.zip"), "{}", done.err);
}

#[test]
fn the_demos_ftp_server_has_the_zip_of_five_megabytes() {
    let ferry = Ferry::new("");
    ferry.run(&["demo", "--output", "shown"]).code(0);
    for source in ["demo-ftp/test_file.zip!", "demo-sftp/zips/test_file.zip!"] {
        let members: Vec<u64> = fs::read_dir(ferry.path("shown").join(source))
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .collect();
        assert_eq!(members, [5 << 20], "{source}");
    }
}

/// The command of the first block of this language below the heading, and the lines before it.
fn block<'a>(text: &'a str, heading: &str, language: &str) -> &'a str {
    let section = text.split(heading).nth(1).unwrap_or_else(|| panic!("no {heading}"));
    let block = section
        .split(&format!("```{language}\n"))
        .nth(1)
        .unwrap_or_else(|| panic!("no {language} below {heading}"));
    block.split("\n```").next().unwrap()
}

#[test]
fn cron_runs_the_line_of_the_docs_with_the_little_that_cron_gives() {
    let ferry = Ferry::new("");
    old_file(&ferry.path("in/a.txt"), b"one");
    // What the secret is for: a name of the configuration that only secrets.sh knows.
    let text = "[destination]\nfolder = \"out\"\n[[source]]\nname = \"acme\"\nurl = \
        { env = \"ACME_URL\" }\n";
    ferry.configure(text);
    fs::write(
        ferry.path("secrets.sh"),
        format!("export ACME_URL=file://{}\n", ferry.path("in").display()),
    )
    .unwrap();
    let docs = page("docs/deployment.md");
    let line = block(&docs, "\n## cron\n", "cron");
    let command: String = line.splitn(6, ' ').nth(5).expect("five fields and a command").to_owned();
    let command = command
        .replace("/etc/blobferry", &ferry.path("").display().to_string())
        .replace("/usr/local/bin/blobferry", env!("CARGO_BIN_EXE_blobferry"));
    let run = || {
        Command::new("/bin/sh")
            .args(["-c", &command])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .current_dir("/")
            .output()
            .unwrap()
    };
    let done = run();
    assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(fs::read(ferry.path("out/acme/a.txt")).unwrap(), b"one");
    assert_eq!(String::from_utf8_lossy(&done.stdout), "", "cron mails nothing while all is well");
    assert_eq!(String::from_utf8_lossy(&done.stderr), "");
    assert!(
        ferry.path("log/monitor.log").is_file(),
        "logs are beside the configuration, wherever it is run from"
    );
    fs::remove_dir_all(ferry.path("in")).unwrap();
    let done = run();
    let told = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(told.contains("acme"), "cron mails what is wrong: {told}");
    assert_eq!(
        done.status.code(),
        Some(3),
        "cron and those who watch it see that nothing could be done"
    );
}

#[test]
fn task_scheduler_is_given_a_command_that_runs() {
    let ferry = Ferry::new("");
    old_file(&ferry.path("in/a.txt"), b"one");
    ferry.configure(&format!(
        "[destination]\nfolder = \"out\"\n[[source]]\nname = \"acme\"\nurl = \"file://{}\"\n",
        ferry.path("in").display()
    ));
    let docs = page("docs/deployment.md");
    let line = block(&docs, "\n## Windows Task Scheduler\n", "bat");
    let task =
        line.split("/TR \"").nth(1).and_then(|rest| rest.strip_suffix('"')).expect("a task to run");
    let mut words = task.split(' ');
    assert_eq!(words.next(), Some("C:\\blobferry\\blobferry.exe"));
    let words: Vec<String> = words
        .map(|word| word.replace("C:\\blobferry\\", &format!("{}/", ferry.path("").display())))
        .collect();
    let done = Command::new(env!("CARGO_BIN_EXE_blobferry"))
        .args(&words)
        .env_clear()
        .current_dir("/")
        .output()
        .unwrap();
    assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(fs::read(ferry.path("out/acme/a.txt")).unwrap(), b"one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_is_how_many_files_are_in_flight() {
    for transfers in [3, 5] {
        let folder = tempfile::tempdir().unwrap();
        let opened = Arc::new(AtomicUsize::new(0));
        let mut script = DemoSftpScript::default();
        // No file is ever read to its end: those that were begun stay in flight.
        for number in 0..9 {
            let name = format!("{number}.bin");
            old_file(&folder.path().join(&name), &[7; 4096]);
            let told = opened.clone();
            let count: DemoSftpHook = Arc::new(move |_| {
                told.fetch_add(1, Ordering::SeqCst);
            });
            script = script
                .always(&name, DemoSftpFault::OnOpen(count))
                .always(&name, DemoSftpFault::StallAt(0));
        }
        let server =
            SftpServer::start(DemoSftpOptions { script, ..DemoSftpOptions::new(folder.path()) })
                .await
                .unwrap();
        let ferry = Ferry::new(&format!(
            "[destination]\nfolder = \"out\"\n[limits]\ntransfers = {transfers}\n[[source]]\nname \
             = \"acme\"\nurl = \"sftp://user@127.0.0.1:{}/\"\npassword = \"x\"\nhost_key = \
             \"{}\"\nconnections = 2\nstall_timeout = \"600s\"\n",
            server.address.port(),
            server.host_key
        ));
        let told = opened.clone();
        let most = tokio::task::spawn_blocking(move || {
            let _run = ferry.start(&["run"]);
            wait_for("files to be opened", || told.load(Ordering::SeqCst) >= transfers);
            // Time enough for one more, if nothing held it back.
            let end = Instant::now() + Duration::from_millis(500);
            while Instant::now() < end && told.load(Ordering::SeqCst) == transfers {
                std::thread::sleep(Duration::from_millis(20));
            }
            told.load(Ordering::SeqCst)
        });
        assert_eq!(most.await.unwrap(), transfers);
    }
}

/// The program on a terminal of this many columns, by `script` of util-linux. What it wrote,
/// controls and all.
fn on_a_terminal(ferry: &Ferry, words: &str, columns: usize, settings: &[(&str, &str)]) -> String {
    let command =
        format!("stty cols {columns} rows 40; exec {} {words}", env!("CARGO_BIN_EXE_blobferry"));
    let mut script = Command::new("script");
    script
        .args(["--quiet", "--return", "--echo", "never", "--command", &command, "/dev/null"])
        .current_dir(ferry.path(""))
        .env_clear();
    script
        .env("TERM", "xterm-256color")
        .env("PATH", "/usr/bin:/bin")
        .env("SHELL", "/bin/sh")
        .envs(settings.iter().copied());
    let output = script
        .stdin(std::process::Stdio::null())
        .output()
        .expect("`script` of util-linux is there");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_terminal_shows_progress_and_whoever_wants_quiet_gets_it() {
    let ferry = || {
        let ferry = Ferry::new("");
        let mut sources = String::new();
        for name in ["alpha", "beta"] {
            fs::create_dir(ferry.path(name)).unwrap();
            // Young files are waited for, so that there is something to see.
            (0..3).for_each(|n| {
                fs::write(ferry.path(&format!("{name}/{n}.bin")), vec![7; 3 << 20]).unwrap()
            });
            sources += &format!(
                "[[source]]\nname = \"{name}\"\nstable_for = \"1s\"\nurl = \"file://{}\"\n",
                ferry.path(name).display()
            );
        }
        ferry.configure(&format!(
            "[destination]\nfolder = \"out\"\n[log]\nfiles = false\n{sources}"
        ));
        ferry
    };
    let shown = on_a_terminal(&ferry(), "run", 80, &[]);
    for text in [
        "alpha",
        "beta",
        "in all",
        "9.00 MiB",
        "18.00 MiB",
        "/s",
        "left",
        "\u{1b}[36m",
        "6 ingested",
    ] {
        assert!(shown.contains(text), "no {text:?} in {shown:?}");
    }
    let plain = on_a_terminal(&ferry(), "run", 80, &[("NO_COLOR", "1")]);
    assert!(
        plain.contains("in all") && !plain.contains("\u{1b}[36m") && !plain.contains("\u{1b}[0m"),
        "{plain:?}"
    );
    for (words, marks) in
        [("run --json", vec!["\"ingested\": 3"]), ("run -v", vec!["DEBUG", "6 ingested"])]
    {
        let shown = on_a_terminal(&ferry(), words, 80, &[]);
        assert!(!shown.contains('\u{1b}'), "{words}: no bars and no colours in {shown:?}");
        assert!(marks.iter().all(|mark| shown.contains(mark)), "{words}: {shown:?}");
    }
    assert_eq!(on_a_terminal(&ferry(), "run --quiet", 80, &[]), "", "all is well");
    let piped = ferry().run(&["run"]).code(0);
    assert!(!piped.err.contains('\u{1b}') && !piped.err.contains("in all"), "{}", piped.err);
    assert!(
        piped.err.lines().all(|line| line.starts_with("{\"timestamp\":")),
        "lines for programs: {}",
        piped.err
    );
}
