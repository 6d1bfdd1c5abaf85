//! N1 to N19: networks and connections that fail.

use std::sync::atomic::Ordering;
use std::time::Duration;

use blobferry::demo::ftp::DeadPorts;
use blobferry::demo::ftp::script::{DemoFtpCompany, DemoFtpFault, DemoFtpScript};
use blobferry::demo::sftp::script::{DemoSftpFault as SftpFault, DemoSftpScript as SftpScript};

use super::super::kit::relay::{Line, Relay};
use super::super::kit::stage::{ftp, ftp_lines, runtime, sftp};
use super::super::kit::trial::Trial;

/// `a.bin` meets a fault once and arrives all the same; with a fault that stays it fails by this
/// class, alone, and nothing of it is visible; once the server is well, it arrives.
#[track_caller]
fn heals_or_is_named(fault: DemoFtpFault, class: &str) {
    let script = |fault| DemoFtpScript {
        files: [(b"a.bin".to_vec(), fault)].into(),
        ..DemoFtpScript::default()
    };
    let stage = ftp(script(DemoFtpFault::Times(1, Box::new(fault.clone()))));
    Trial::of(&stage, &stage.lines()).run().is("exit 0: listed 3, ingested 3");
    let stage = ftp(script(fault));
    Trial::of(&stage, &stage.lines())
        .run()
        .is(&format!("exit 1: listed 3, ingested 2, failed 1 [{class}]"))
        .says(&["/a.bin"]);
}

#[test]
fn n01_data_ends_early_and_the_server_calls_it_complete() {
    heals_or_is_named(DemoFtpFault::FinThen226(60_000), "truncated");
}

#[test]
fn n02_data_ends_early_with_426() {
    heals_or_is_named(DemoFtpFault::FinThen426(60_000), "truncated");
}

#[test]
fn n03_data_connection_is_reset() {
    heals_or_is_named(DemoFtpFault::Reset(60_000), "truncated");
}

#[test]
fn n04_control_connection_dies_during_a_transfer() {
    heals_or_is_named(DemoFtpFault::DieControl(60_000), "truncated");
}

#[test]
fn n05_data_stops_coming() {
    heals_or_is_named(DemoFtpFault::Stall(60_000), "stalled");
    let script = || SftpScript::default().once("a.bin", SftpFault::StallAt(60_000));
    let stage = sftp(script());
    Trial::of(&stage, &stage.lines()).run().is("exit 0: listed 3, ingested 3");
    let stage = sftp(SftpScript::default().always("a.bin", SftpFault::StallAt(60_000)));
    Trial::of(&stage, &stage.lines()).run().is("exit 1: listed 3, ingested 2, failed 1 [stalled]");
}

#[test]
fn n06_a_transfer_begins_and_no_data_comes() {
    heals_or_is_named(DemoFtpFault::Stall(0), "stalled");
}

#[test]
fn n07_all_data_and_no_closing_reply() {
    let stage = ftp(DemoFtpScript {
        files: [(b"a.bin".to_vec(), DemoFtpFault::No226)].into(),
        ..DemoFtpScript::default()
    });
    Trial::of(&stage, &stage.lines())
        .run()
        .is("exit 0: listed 3, ingested 3")
        .logs(&["All bytes came, the closing reply did not."]);
}

#[test]
fn n08_the_closing_reply_is_late() {
    let stage = ftp(DemoFtpScript {
        every_file: Some(DemoFtpFault::Late226(Duration::from_millis(300))),
        ..DemoFtpScript::default()
    });
    Trial::of(&stage, &stage.lines()).run().is("exit 0: listed 3, ingested 3");
}

#[test]
fn n09_a_slow_drip_is_not_a_stall_and_starves_nobody() {
    let stage = ftp(DemoFtpScript {
        files: [(b"a.bin".to_vec(), DemoFtpFault::Drip(Duration::from_millis(10)))].into(),
        ..DemoFtpScript::default()
    });
    // 293 pieces of a kilobyte: longer than the stall timeout, in all.
    Trial::of(&stage, &stage.lines()).run().is("exit 0: listed 3, ingested 3");
}

#[test]
fn n10_passive_ports_are_closed() {
    let stage = ftp(DemoFtpScript { dead_ports: DeadPorts::Extended, ..DemoFtpScript::default() });
    Trial::of(&stage, &stage.lines()).run().is("exit 0: listed 3, ingested 3");
    let stage = ftp(DemoFtpScript { dead_ports: DeadPorts::All, ..DemoFtpScript::default() });
    Trial::of(&stage, &stage.lines())
        .run()
        .is("exit 3: problem [connect]")
        .says(&["passive ports"]);
}

#[test]
fn n10_servers_and_firewalls_that_want_to_see_one_command_at_a_time() {
    let picky = [
        DemoFtpScript { company: DemoFtpCompany::Forgotten, ..DemoFtpScript::default() },
        DemoFtpScript {
            company: DemoFtpCompany::HungUp,
            without: vec!["FEAT", "MLST"],
            ..DemoFtpScript::default()
        },
        DemoFtpScript { dead_ports: DeadPorts::InCompany, ..DemoFtpScript::default() },
    ];
    for script in picky {
        let shown = format!("{script:?}");
        let proof = {
            let stage = ftp(script);
            Trial::of(&stage, &stage.lines()).run()
        };
        assert_eq!(proof.brief(), "exit 0: listed 3, ingested 3", "{shown}\n{}", proof.log);
    }
}

#[test]
fn n14_a_file_costs_two_questions_over_a_far_line() {
    const FILES: u64 = 40;
    for without in [vec![], vec!["MLST"]] {
        let stage = ftp(DemoFtpScript { without, ..DemoFtpScript::default() });
        for n in 0..FILES {
            super::super::e2e::bad_input::old_file(
                &stage.root.path().join(format!("{n:02}.txt")),
                format!("number {n}").as_bytes(),
            );
        }
        Trial::of(&stage, &format!("{}connections = 2\n", stage.lines()))
            .run()
            .is("exit 0: listed 43, ingested 43");
        let counts = &stage.server.counts;
        let commands: u64 = ["CWD", "EPSV", "LIST", "MDTM", "MLSD", "MLST", "RETR", "SIZE"]
            .into_iter()
            .map(|verb| counts.of(verb))
            .sum();
        let questions = commands - counts.in_company.load(Ordering::SeqCst);
        assert!(questions <= 2 * FILES + 30, "{questions} questions for {commands} commands");
    }
}

#[test]
fn n11_nobody_at_the_control_port_and_other_sources_go_on() {
    let stage = ftp(DemoFtpScript::default());
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let dead = format!("[[source]]\nname = \"dead\"\nattempts = 1\n{}", ftp_lines(closed));
    let well = format!("[[source]]\nname = \"well\"\nstable_for = \"0s\"\n{}", stage.lines());
    let mut trial = Trial::new(&format!("{dead}{well}"), "folder = \"store\"");
    for content in stage.files().values() {
        trial = trial.allow(content);
    }
    let proof = trial.run();
    assert_eq!(
        (proof.done.code, &proof.report["sources"][1]["ingested"]),
        (1, &3.into()),
        "{:#}",
        proof.report
    );
    proof.says(&["\"connect\""]);
}

#[test]
fn n12_nobody_answers_at_all() {
    let runtime = runtime();
    let Some(hole) = runtime.block_on(super::super::kit::blackhole::Blackhole::open()) else {
        panic!("this system answers for a full queue: the mode cannot be played here");
    };
    let stage = ftp(DemoFtpScript::default());
    Trial::of(&stage, &ftp_lines(hole.address))
        .run()
        .is("exit 3: problem [connect]")
        .says(&["no connection in time"]);
    let stage = sftp(SftpScript::default());
    Trial::of(&stage, &stage.lines_at(hole.address)).run().is("exit 3: problem [connect]");
}

#[test]
fn n13_the_other_end_is_gone_without_a_word() {
    let stage = sftp(SftpScript::default());
    let relay = |script| stage.runtime.block_on(Relay::start(stage.server.address, script));
    // Frozen once, at first; then the line carries.
    let once = relay(vec![Line::Freeze(100_000), Line::Good]);
    Trial::of(&stage, &stage.lines_at(once.address)).run().is("exit 0: listed 3, ingested 3");
    assert!((2..=3).contains(&once.connections()), "{}", once.connections());
    let always = relay(vec![Line::Freeze(100_000)]);
    let proof = Trial::of(&stage, &stage.lines_at(always.address)).run();
    // Small files may get through before the line freezes, the large one never does.
    let brief = proof.brief();
    assert!(
        brief.contains("failed") && brief.ends_with("[stalled]") && !brief.contains("ingested 3"),
        "{brief}"
    );
    // The control connection of FTP dies in the middle of a question.
    let stage = ftp(DemoFtpScript::default());
    let frozen = stage
        .runtime
        .block_on(Relay::start(stage.server.address, vec![Line::Freeze(150), Line::Good]));
    Trial::of(&stage, &ftp_lines(frozen.address)).run().is("exit 0: listed 3, ingested 3");
}

#[test]
fn n13_a_server_that_takes_connections_and_says_nothing() {
    // It is reached, and that is all: the kernel of a machine whose server hangs answers for it.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let stage = ftp(DemoFtpScript::default());
    let proof = Trial::of(&stage, &ftp_lines(address)).run();
    assert!(
        ["exit 3: problem [connect]", "exit 3: problem [stalled]"]
            .contains(&proof.brief().as_str()),
        "{}",
        proof.brief()
    );
    let stage = sftp(SftpScript::default());
    Trial::of(&stage, &stage.lines_at(address)).run().is("exit 3: problem [stalled]");
}

#[test]
fn n14_a_line_that_is_far_and_one_that_is_thin() {
    let stage = sftp(SftpScript::default());
    for line in
        [Line::Latency(Duration::from_millis(100)), Line::Drip(4096, Duration::from_millis(5))]
    {
        let relay = stage.runtime.block_on(Relay::start(stage.server.address, vec![line]));
        Trial::of(&stage, &stage.lines_at(relay.address)).run().is("exit 0: listed 3, ingested 3");
    }
}

#[test]
fn n17_idle_sessions_are_closed_by_the_server() {
    // While `a.bin` drips, the sessions that fetched the others fall asleep and are closed.
    let script = DemoFtpScript {
        idle: Some(Duration::from_millis(100)),
        files: [(b"a.bin".to_vec(), DemoFtpFault::Drip(Duration::from_millis(3)))].into(),
        ..DemoFtpScript::default()
    };
    let stage = ftp(script);
    Trial::of(&stage, &stage.lines()).run().is("exit 0: listed 3, ingested 3");
}

#[test]
fn n18_a_closing_reply_comes_twice() {
    let stage =
        ftp(DemoFtpScript { every_file: Some(DemoFtpFault::Twice226), ..DemoFtpScript::default() });
    let lines = format!("{}connections = 1\n", stage.lines());
    Trial::of(&stage, &lines).run().is("exit 0: listed 3, ingested 3");
}

#[test]
fn n19_a_reply_without_end() {
    let greeting = [b"220-".to_vec(), vec![b'x'; 4 << 20]].concat();
    let stage = ftp(DemoFtpScript { greeting: Some(greeting), ..DemoFtpScript::default() });
    Trial::of(&stage, &stage.lines())
        .run()
        .is("exit 3: problem [listing_failed]")
        .says(&["a reply larger than"]);
}
