//! Many sources of which some are dead, and folders of very many files: the healthy do not wait,
//! the memory stays small.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use blobferry::demo::ftp::ListFormat;
use blobferry::demo::ftp::script::DemoFtpScript;
use blobferry::demo::sftp::script::DemoSftpScript as SftpScript;
use blobferry::source::sftp::packet::{Attributes, PacketEntry};
use bytes::Bytes;
use tokio::io::AsyncWriteExt;

use super::super::e2e::bad_input::old_file;
use super::super::e2e::wait_for;
use super::super::kit::stage::{Stage, content, ftp, ftp_lines, ftp_with, sftp};
use super::super::kit::trial::Trial;

const HEALTHY: usize = 40;
const FILES: usize = 25;

/// A server that greets by a letter now and then, for ever. It ends with the runtime.
fn slow_greeting(runtime: &tokio::runtime::Runtime) -> std::net::SocketAddr {
    let listener =
        runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a free port");
    let address = listener.local_addr().expect("it has an address");
    runtime.spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                while client.write_all(b"2").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            });
        }
    });
    address
}

/// The dead ones are held dead until every file of the healthy ones is there: whoever waited for
/// them would wait for ever.
#[test]
fn dead_sources_hold_up_no_healthy_one() {
    let stage = ftp_with(|options| options.max_connections = 400);
    let refused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let dying = super::super::kit::stage::runtime();
    let slow = slow_greeting(&dying);
    let mut sources = String::new();
    let mut allowed = Vec::new();
    for n in 0..HEALTHY {
        for file in 0..FILES {
            let bytes = content(1_000 + n * FILES + file);
            old_file(&stage.root.path().join(format!("s{n}/{file}.bin")), &bytes);
            allowed.push(bytes);
        }
    }
    let dead = [refused, silent.local_addr().unwrap(), slow];
    for n in 0..10 {
        let address = dead[n % dead.len()];
        let patience = "attempts = 3\nconnect_timeout = \"600s\"\nstall_timeout = \"600s\"\n";
        sources.push_str(&format!(
            "[[source]]\nname = \"dead-{n}\"\n{}{patience}",
            ftp_lines(address)
        ));
    }
    for n in 0..HEALTHY {
        let lines = stage.lines().replacen("/\"\n", &format!("/s{n}\"\n"), 1);
        sources.push_str(&format!("[[source]]\nname = \"s{n}\"\nstable_for = \"0s\"\n{lines}"));
    }
    let mut trial = Trial::new(&sources, "folder = \"store\"");
    for bytes in &allowed {
        trial = trial.allow(bytes);
    }
    let mut program = trial.ferry.start(&["run", "--json"]);
    let there = |n: usize| {
        (0..FILES).all(|file| trial.ferry.path(&format!("store/s{n}/{file}.bin")).exists())
    };
    let closed = |n: usize| trial.ferry.path(&format!("store/_blobferry/s{n}/runs")).exists();
    wait_for("every healthy source", || {
        program.has_ended() || (0..HEALTHY).all(|n| there(n) && closed(n))
    });
    assert!(!program.has_ended(), "the dead ones are still being waited for");
    drop(silent);
    drop(dying);
    let proof = trial.judge(program.end(Duration::from_secs(120)));
    let of = |name: &str| {
        proof.report["sources"]
            .as_array()
            .unwrap()
            .iter()
            .find(|source| source["name"] == name || source["source"] == name)
            .cloned()
    };
    for n in 0..HEALTHY {
        assert_eq!(of(&format!("s{n}")).expect("it is told of")["ingested"], FILES, "s{n}");
    }
    assert_eq!(
        (
            proof.done.code,
            of("dead-0").expect("it is told of")["problems"].as_array().map(Vec::len)
        ),
        (1, Some(1))
    );
}

/// Peak memory of a program in KiB, as Linux tells it while it runs.
pub fn peak(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

const MANY: usize = 100_000;

/// Lists a folder of many entries, of which none is wanted; the peak of its memory in MiB.
#[track_caller]
fn listed<S>(stage: &Stage<S>, lines: &str) -> u64 {
    let trial =
        Trial::of(stage, &format!("{lines}exclude = [\"**/*.csv\"]\nstall_timeout = \"60s\"\n"));
    let begun = Instant::now();
    let mut program = trial.ferry.start(&["run", "--json"]);
    let mut most = 0;
    wait_for("the listing", || {
        most = most.max(peak(program.child.id()).unwrap_or(0));
        program.has_ended()
    });
    let proof = trial.judge(program.end(Duration::from_secs(5)));
    let source = proof.source();
    assert_eq!(
        (&source["listed"], &source["skipped"], &source["failed"]),
        (&MANY.into(), &MANY.into(), &0.into()),
        "{}",
        proof.brief()
    );
    eprintln!("{MANY} entries: {:?}, peak {} MiB", begun.elapsed(), most >> 10);
    most >> 10
}

fn name(n: usize) -> String {
    format!("measurements-of-station-{n:07}.csv")
}

/// Only these files, so that nothing else takes time.
fn bare<S>(stage: Stage<S>) -> Stage<S> {
    for name in ["a.bin", "b.txt"] {
        std::fs::remove_file(stage.root.path().join(name)).unwrap();
    }
    std::fs::remove_dir_all(stage.root.path().join("sub")).unwrap();
    stage
}

/// A generous bound of a program without optimisation; `scripts/load.sh` measures the real one.
const MOST_MIB: u64 = 256;

#[test]
fn a_hundred_thousand_entries_by_ftp() {
    let line = |n| format!("type=file;size=1024;modify=20200914012345; {}\r\n", name(n));
    let machine = ftp(DemoFtpScript {
        extra_lines: vec![(0..MANY).map(line).collect::<String>().into_bytes()],
        ..DemoFtpScript::default()
    });
    let machine = bare(machine);
    assert!((1..MOST_MIB).contains(&listed(&machine, &machine.lines())));
    let line =
        |n| format!("-rw-r--r--   1 ftp      ftp            1024 Sep 14  2020 {}\r\n", name(n));
    let lines = vec![(0..MANY).map(line).collect::<String>().into_bytes()];
    let unix = bare(ftp(DemoFtpScript {
        extra_lines: lines,
        listing: ListFormat::Unix,
        without: vec!["MLST"],
        ..DemoFtpScript::default()
    }));
    assert!((1..MOST_MIB).contains(&listed(&unix, &unix.lines())));
}

#[test]
fn a_hundred_thousand_entries_by_sftp() {
    let attributes = Attributes {
        size: Some(1024),
        permissions: Some(0o100_644),
        modified: Some(1_600_000_000),
    };
    let entry = |n| PacketEntry {
        name: Bytes::from(name(n)),
        long_name: Bytes::new(),
        attributes: attributes.clone(),
    };
    let mut script = SftpScript::default();
    script.entries.insert(b"/".to_vec(), (0..MANY).map(entry).collect());
    let stage = bare(sftp(script));
    assert!((1..MOST_MIB).contains(&listed(&stage, &stage.lines())));
}
