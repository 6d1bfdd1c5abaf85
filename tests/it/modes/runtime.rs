//! R1 to R15: the machine that we run on, as far as no other test shows it.

use std::process::{Command, Stdio};
use std::time::Duration;

use blobferry::demo::ftp::script::DemoFtpScript;

use super::super::e2e::{Done, bad_input::old_file, wait_for};
use super::super::kit::stage::{ftp, ftp_lines, sftp};
use super::super::kit::trial::Trial;

#[test]
fn r11_few_file_handles() {
    let stage = ftp(DemoFtpScript::default());
    for n in 0..60 {
        old_file(&stage.root.path().join(format!("{n:02}.txt")), format!("number {n}").as_bytes());
    }
    let trial = Trial::of(&stage, &format!("{}connections = 16\n", stage.lines()));
    let program = trial.ferry.command(&["run", "--json"]);
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 32; exec \"$0\" run --json"]).arg(program.get_program());
    limited.current_dir(trial.ferry.path("")).env_clear().stdin(Stdio::null());
    let done: Done = limited.output().expect("there is a shell").into();
    assert!(
        done.code == 0 || done.code == 1 || done.code == 3,
        "no crash: {} {}",
        done.code,
        done.err
    );
    assert!(!done.err.contains("panicked"), "{}", done.err);
    // With room again, what was left arrives; nothing twice, nothing torn.
    let proof = trial.run();
    assert_eq!(
        (proof.done.code, proof.source()["listed"].as_u64()),
        (0, Some(63)),
        "{}",
        proof.brief()
    );
}

#[test]
fn r15_dead_sources_among_healthy_ones() {
    let stage = ftp(DemoFtpScript::default());
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let more =
        "attempts = 2\nstable_for = \"0s\"\nstall_timeout = \"2s\"\nconnect_timeout = \"2s\"\n";
    let mut sources = String::new();
    for n in 0..30 {
        let address = if n % 2 == 0 { closed } else { silent.local_addr().unwrap() };
        sources.push_str(&format!("[[source]]\nname = \"dead-{n}\"\n{}{more}", ftp_lines(address)));
    }
    sources.push_str(&format!("[[source]]\nname = \"well\"\n{}{more}", stage.lines()));
    let mut trial = Trial::new(&sources, "folder = \"store\"");
    for content in stage.files().values() {
        trial = trial.allow(content);
    }
    let proof = trial.run();
    assert_eq!(
        (proof.done.code, &proof.report["sources"][30]["ingested"]),
        (1, &3.into()),
        "{:#}",
        proof.report["sources"][30]
    );
}

#[test]
fn r09_little_memory() {
    // As the system counts it: less than the files that go through it, at once.
    let stage = sftp(blobferry::demo::sftp::script::DemoSftpScript::default());
    for n in 0..4 {
        old_file(&stage.root.path().join(format!("large-{n}.bin")), &vec![n; 64 << 20]);
    }
    let mut trial = Trial::new(
        &format!(
            "[limits]\nmemory = \"32 MiB\"\n[[source]]\nname = \"acme\"\nstable_for = \"0s\"\n{}",
            stage.lines()
        ),
        "folder = \"store\"",
    );
    for content in stage.files().values() {
        trial = trial.allow(content);
    }
    let mut program = trial.ferry.start(&["run", "--json"]);
    let mut most = 0;
    wait_for("the run", || {
        most = most.max(super::load::peak(program.child.id()).unwrap_or(0));
        program.has_ended()
    });
    trial.judge(program.end(Duration::from_secs(5))).is("exit 0: listed 7, ingested 7");
    eprintln!("peak {} MiB", most >> 10);
    assert!((1..192 << 10).contains(&most), "{} MiB for 256 MiB", most >> 10);
}
