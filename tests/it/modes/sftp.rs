//! S1 to S15: SFTP servers that refuse, lie, break off, and name files strangely.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use blobferry::demo::sftp::script::{DemoSftpFault, DemoSftpScript};
use blobferry::source::sftp::packet::status;

use super::super::e2e::bad_input::old_file;
use super::super::kit::relay::{Line, Relay};
use super::super::kit::stage::{sftp, sftp_with};
use super::super::kit::trial::Trial;

/// `a.bin` always meets `fault`; the run comes to this.
#[track_caller]
fn always(fault: DemoSftpFault, brief: &str) {
    let stage = sftp(DemoSftpScript::default().always("a.bin", fault));
    Trial::of(&stage, &stage.lines()).run().is(brief);
}

/// Turns visitors away as sshd does, above so many.
fn full_above(most: usize) -> DemoSftpScript {
    let mut script = DemoSftpScript::default();
    script.most_connections = Some(most);
    script
}

#[track_caller]
fn once(fault: DemoSftpFault) {
    let stage = sftp(DemoSftpScript::default().once("a.bin", fault));
    Trial::of(&stage, &stage.lines()).run().is("exit 0: listed 3, ingested 3");
}

#[test]
fn s01_a_host_key_that_nobody_vouched_for() {
    let stage = sftp(DemoSftpScript::default());
    let lines = stage.lines();
    let without = lines.lines().next().unwrap().to_owned() + "\n";
    Trial::of(&stage, &without)
        .run()
        .is("exit 3: problem [host_key]")
        .says(&[&stage.server.host_key]);
    assert_eq!(stage.server.credentials(), 0, "nothing was sent to a stranger");
}

#[test]
fn s02_a_host_key_that_has_changed() {
    let stage = sftp(DemoSftpScript::default());
    let old = stage.lines();
    let new = sftp_with(|options| options.host_key_seed = [9; 32]);
    let lines = old.replace(&stage.server.address.to_string(), &new.server.address.to_string());
    let trial = Trial::of(&new, &format!("{lines}attempts = 5\nconnections = 4\n"));
    trial.run().is("exit 3: problem [host_key]").says(&[&new.server.host_key]);
    assert_eq!((new.server.credentials(), new.server.accepted()), (0, 1), "one look is enough");
    // The key's own line in known_hosts is no better.
    assert_ne!(stage.server.host_key, new.server.host_key);
}

#[test]
fn s03_too_many_connections_for_sshd() {
    let stage = sftp(full_above(1));
    for n in 0..40 {
        old_file(&stage.root.path().join(format!("{n:02}.txt")), format!("number {n}").as_bytes());
    }
    Trial::of(&stage, &format!("{}connections = 4\n", stage.lines()))
        .run()
        .is("exit 0: listed 43, ingested 43");
    let full = sftp(full_above(0));
    Trial::of(&full, &full.lines()).run().is("exit 3: problem [busy]").says(&["MaxStartups"]);
    assert_eq!(full.server.accepted(), 2, "it was asked as often as `attempts` allows");
}

#[test]
fn s04_one_channel_serves_many_files() {
    let stage = sftp(DemoSftpScript::default());
    for n in 0..30 {
        old_file(&stage.root.path().join(format!("{n:02}.txt")), format!("number {n}").as_bytes());
    }
    Trial::of(&stage, &format!("{}connections = 1\n", stage.lines()))
        .run()
        .is("exit 0: listed 33, ingested 33");
    assert_eq!((stage.server.logins(), stage.server.most_connections()), (1, 1));
}

#[test]
fn s05_short_reads() {
    for most in [1000, 32_768, 7] {
        let stage = sftp(
            DemoSftpScript::default()
                .always("b.txt", DemoSftpFault::ShortReads(1))
                .always("a.bin", DemoSftpFault::ShortReads(most.max(1000))),
        );
        Trial::of(&stage, &stage.lines()).run().is("exit 0: listed 3, ingested 3");
    }
}

#[test]
fn s06_a_read_fails_at_an_offset() {
    once(DemoSftpFault::StatusAt(100_000, status::FAILURE));
    always(
        DemoSftpFault::StatusAt(100_000, status::FAILURE),
        "exit 1: listed 3, ingested 2, failed 1 [protocol]",
    );
    // Statuses that nobody has heard of.
    always(
        DemoSftpFault::StatusAt(100_000, 4711),
        "exit 1: listed 3, ingested 2, failed 1 [protocol]",
    );
}

#[test]
fn s07_a_connection_ends_at_an_offset() {
    once(DemoSftpFault::DisconnectAt(100_000));
    always(
        DemoSftpFault::DisconnectAt(100_000),
        "exit 1: listed 3, ingested 2, failed 1 [connect]",
    );
    let stage = sftp(DemoSftpScript::default());
    for line in [Line::Cut(60_000), Line::Reset(60_000)] {
        let relay =
            stage.runtime.block_on(Relay::start(stage.server.address, vec![line, Line::Good]));
        Trial::of(&stage, &stage.lines_at(relay.address)).run().is("exit 0: listed 3, ingested 3");
    }
    // Cut during the greeting, the key exchange, the login: each is one of many tries or a named
    // failure.
    for at in [0, 5, 600, 1_500, 2_500] {
        let relay = stage.runtime.block_on(Relay::start(stage.server.address, vec![Line::Cut(at)]));
        let proof = Trial::of(&stage, &stage.lines_at(relay.address)).run();
        assert_eq!(
            (proof.done.code, proof.source()["ingested"].as_u64()),
            (3, Some(0)),
            "{at}: {}",
            proof.brief()
        );
    }
}

/// Its neighbours have the worst luck: nothing of them comes as long as they are in company.
#[test]
fn s07_a_file_that_always_ends_its_connection_takes_no_neighbour_with_it() {
    for connections in [1, 2] {
        let names: Vec<String> = (0..8).map(|n| format!("{n}.txt")).collect();
        let script = names.iter().fold(DemoSftpScript::default(), |script, name| {
            script.always(name, DemoSftpFault::SilentInCompany)
        });
        let stage = sftp(
            script
                .always("a.bin", DemoSftpFault::DisconnectAt(100_000))
                .always("killer.bin", DemoSftpFault::DisconnectAt(0)),
        );
        let stage = names
            .iter()
            .fold(stage, |stage, name| stage.file(name, name.repeat(1_000).as_bytes()))
            .file("killer.bin", b"anything");
        let lines = format!("{}connections = {connections}\n", stage.lines());
        Trial::of(&stage, &lines).run().is("exit 1: listed 12, ingested 10, failed 2 [connect]");
        assert!(
            stage.server.most_connections() <= connections,
            "{} at once",
            stage.server.most_connections()
        );
    }
}

#[test]
fn s08_a_file_ends_early() {
    once(DemoSftpFault::EofAt(100_000));
    always(DemoSftpFault::EofAt(100_000), "exit 1: listed 3, ingested 2, failed 1 [truncated]");
}

#[test]
fn s09_sizes_that_are_lies() {
    always(DemoSftpFault::LieSize(1_000), "exit 1: listed 3, ingested 2, failed 1 [truncated]");
    always(
        DemoSftpFault::LieSize(-1_000),
        "exit 1: listed 3, ingested 2, failed 1 [size_mismatch]",
    );
}

#[test]
fn s09_sizes_that_no_file_has() {
    let huge = |size: usize| DemoSftpFault::LieSize(i64::MAX - i64::try_from(size).unwrap());
    // As large as can be told, three times: more than can be counted.
    let stage = sftp(
        DemoSftpScript::default()
            .always("a.bin", huge(300_000))
            .always("b.txt", huge(5))
            .always("c.txt", huge(7)),
    );
    Trial::of(&stage, &stage.lines()).run().is("exit 1: listed 3, failed 3 [truncated]");
    // -1, of a server that knows no size.
    always(DemoSftpFault::LieSize(i64::MAX), "exit 0: listed 3, ingested 3");
}

#[test]
fn s10_neither_size_nor_time() {
    // Nothing is known of the entry: neither that it is a file. It is told of, or taken; never
    // silently left.
    let stage = sftp(DemoSftpScript::default().always("a.bin", DemoSftpFault::NoAttributes));
    let proof = Trial::of(&stage, &stage.lines()).run();
    assert_eq!(
        (proof.source()["listed"].as_u64(), proof.source()["ingested"].as_u64()),
        (Some(3), Some(3)),
        "{}",
        proof.brief()
    );
}

#[test]
fn s11_describing_is_denied() {
    let stage = sftp(DemoSftpScript::default().always("a.bin", DemoSftpFault::StatDenied));
    // Listings describe it, before and after the read.
    Trial::of(&stage, &stage.lines()).run().is("exit 0: listed 3, ingested 3");
}

#[test]
fn s51_listings_that_tell_another_time_than_the_file() {
    // As Windows does across the change of daylight saving time.
    let script =
        ["a.bin", "b.txt", "c.txt"].iter().fold(DemoSftpScript::default(), |script, name| {
            script.always(name, DemoSftpFault::ListedLater(-3600))
        });
    let stage = sftp(script);
    let trial = Trial::of(&stage, &stage.lines());
    // It may have been written while it was read.
    trial.run().is("exit 0: listed 3, deferred 3 [changed_during_read]");
    trial.run().is("exit 0: listed 3, ingested 3");
    trial.run().is("exit 0: listed 3, unchanged 3");
}

#[test]
fn s51_listings_that_tell_a_time_of_no_zone() {
    let stage = sftp(DemoSftpScript::default().always("b.txt", DemoSftpFault::ListedLater(-7)));
    let trial = Trial::of(&stage, &stage.lines());
    trial.run().is("exit 0: listed 3, ingested 2, deferred 1 [changed_during_read]");
    trial.run().is("exit 1: listed 3, unchanged 2, failed 1 [unverified]");
}

#[test]
fn s12_opening_is_denied() {
    let stage = sftp(
        DemoSftpScript::default()
            .always("a.bin", DemoSftpFault::OpenStatus(status::PERMISSION_DENIED)),
    );
    let trial = Trial::of(&stage, &stage.lines());
    trial.run().is("exit 1: listed 3, ingested 2, failed 1 [permission]");
    stage.server.follow(DemoSftpScript::default());
    trial.run().is("exit 0: listed 3, ingested 1, unchanged 2");
    // What is listed still is not gone: the next run tells whether it can be opened.
    always(
        DemoSftpFault::OpenStatus(status::NO_SUCH_FILE),
        "exit 0: listed 3, ingested 2, deferred 1 [unreachable]",
    );
}

#[test]
fn s14_names_that_are_not_utf_8() {
    let stage = sftp(DemoSftpScript::default());
    let names: &[&[u8]] = &[
        b"caf\xe9.txt",
        b"\x80\xff",
        b"\xc3\xa9",
        b"e\xcc\x81",
        b"\xe2\x80\xae.txt",
        b" lead",
        b"trail ",
    ];
    for (n, name) in names.iter().enumerate() {
        old_file(
            &stage.root.path().join(OsStr::from_bytes(name)),
            format!("number {n}").as_bytes(),
        );
    }
    let trial = Trial::of(&stage, &stage.lines());
    trial.run().is("exit 0: listed 10, ingested 10");
    trial.run().is("exit 0: listed 10, unchanged 10");
}

#[test]
fn s15_names_that_would_write_on_your_terminal() {
    let stage = sftp(DemoSftpScript::default());
    for (n, name) in [
        "nl\nx.txt",
        "\x1b[31mred\x1b[0m",
        "bell\x07",
        "cr\rover",
        "del\x7f",
        "{\"level\":\"ERROR\"}\n{}",
    ]
    .iter()
    .enumerate()
    {
        old_file(&stage.root.path().join(name), format!("number {n}").as_bytes());
    }
    let trial = Trial::of(&stage, &stage.lines());
    trial.run().is("exit 0: listed 9, ingested 9");
    // The same names, each in a line that says that it failed.
    let stage = sftp(
        DemoSftpScript::default()
            .always("\x1b[31mred\x1b[0m\n", DemoSftpFault::OpenStatus(status::PERMISSION_DENIED)),
    );
    old_file(&stage.root.path().join("\x1b[31mred\x1b[0m\n"), b"x");
    Trial::of(&stage, &stage.lines())
        .run()
        .is("exit 1: listed 4, ingested 3, failed 1 [permission]")
        .says(&["x1B[31mred"]);
}

#[test]
fn s27_a_listing_that_is_slow_or_silent() {
    let stage = sftp(DemoSftpScript::default());
    let relay = stage.runtime.block_on(Relay::start(
        stage.server.address,
        vec![Line::Latency(Duration::from_millis(150))],
    ));
    Trial::of(&stage, &stage.lines_at(relay.address)).run().is("exit 0: listed 3, ingested 3");
}
