//! F1 to F17: FTP servers that refuse, and those that speak dialects.

use std::sync::atomic::Ordering;
use std::time::Duration;

use blobferry::demo::ftp::ListFormat;
use blobferry::demo::ftp::script::{DemoFtpFault, DemoFtpScript};

use super::super::kit::stage::{ftp, ftp_with};
use super::super::kit::trial::Trial;

fn a_bin(fault: DemoFtpFault) -> DemoFtpScript {
    DemoFtpScript { files: [(b"a.bin".to_vec(), fault)].into(), ..DemoFtpScript::default() }
}

/// All three files arrive from a server of this script.
#[track_caller]
fn arrives(script: DemoFtpScript) {
    let shown = format!("{script:?}");
    let stage = ftp(script);
    let proof = Trial::of(&stage, &stage.lines()).run();
    assert_eq!(proof.brief(), "exit 0: listed 3, ingested 3", "{shown}\n{}", proof.log);
}

#[test]
fn f01_a_greeting_of_many_lines() {
    arrives(DemoFtpScript {
        greeting: Some(b"220-Welcome\r\n220 fake end? no: \r\n".to_vec()),
        ..DemoFtpScript::default()
    });
    arrives(DemoFtpScript {
        greeting: Some(
            b"220-Welcome\r\n220-500 not an error\r\n   220 fake end\r\n\r\n220 Here.\r\n".to_vec(),
        ),
        ..DemoFtpScript::default()
    });
}

#[test]
fn f02_too_many_connections() {
    // The second login and all after it are turned away: one connection does it all.
    let stage = ftp_with(|options| options.max_connections = 1);
    for n in 0..20 {
        super::super::e2e::bad_input::old_file(
            &stage.root.path().join(format!("{n:02}.txt")),
            format!("number {n}").as_bytes(),
        );
    }
    let trial = Trial::of(&stage, &stage.lines());
    trial.run().is("exit 0: listed 23, ingested 23");
    // A server that is full from the start is asked again, and then told of.
    let stage = ftp(DemoFtpScript { full_from: Some(1), ..DemoFtpScript::default() });
    Trial::of(&stage, &stage.lines())
        .run()
        .is("exit 3: problem [busy]")
        .says(&["Too many connections"]);
}

#[test]
fn f04_no_data_connection_can_be_opened() {
    arrives(a_bin(DemoFtpFault::RefuseTimes(1, "425 Can't open data connection.\r\n")));
    let stage = ftp(a_bin(DemoFtpFault::Refuse("425 Can't open data connection.\r\n")));
    Trial::of(&stage, &stage.lines()).run().is("exit 1: listed 3, ingested 2, failed 1 [busy]");
}

#[test]
fn f05_a_transfer_is_aborted() {
    arrives(a_bin(DemoFtpFault::Times(1, Box::new(DemoFtpFault::FinThen426(0)))));
    arrives(a_bin(DemoFtpFault::RefuseTimes(1, "426 Connection closed; transfer aborted.\r\n")));
}

#[test]
fn f06_a_file_is_busy_for_a_while() {
    let stage = ftp(a_bin(DemoFtpFault::RefuseTimes(2, "450 File busy.\r\n")));
    Trial::of(&stage, &format!("{}attempts = 3\n", stage.lines()))
        .run()
        .is("exit 0: listed 3, ingested 3");
    assert!(stage.server.counts.logins.load(Ordering::SeqCst) <= 3, "the session goes on");
}

#[test]
fn f07_the_server_has_no_room_or_an_error_of_its_own() {
    for reply in ["451 Local error.\r\n", "452 No space.\r\n", "552 Quota exceeded.\r\n"] {
        arrives(a_bin(DemoFtpFault::RefuseTimes(1, reply)));
        let stage = ftp(a_bin(DemoFtpFault::Refuse(reply)));
        Trial::of(&stage, &stage.lines()).run().is("exit 1: listed 3, ingested 2, failed 1 [busy]");
    }
    // The same, once the data has flowed.
    for reply in ["426 Aborted.\r\n", "451 Local error.\r\n", "552 Quota exceeded.\r\n", ""] {
        let stage = ftp(DemoFtpScript { listing_reply: Some(reply), ..DemoFtpScript::default() });
        let proof = Trial::of(&stage, &stage.lines()).run();
        assert_eq!(
            (proof.done.code, &proof.source()["ingested"]),
            (1, &3.into()),
            "what was listed is brought over, and a listing that the server does not finish is \
            never ok: {reply:?}"
        );
    }
}

#[test]
fn f08_one_file_may_not_be_read() {
    let stage = ftp(a_bin(DemoFtpFault::Refuse("550 Permission denied.\r\n")));
    let trial = Trial::of(&stage, &stage.lines());
    trial.run().is("exit 1: listed 3, ingested 2, failed 1 [permission]");
    assert_eq!(stage.server.counts.of("RETR"), 3, "a refusal is not asked for again");
    trial.run().is("exit 1: listed 3, unchanged 2, failed 1 [permission]");
}

#[test]
fn f09_unix_listings_without_mlsd() {
    for listing in [ListFormat::Unix, ListFormat::UnixOld, ListFormat::UnixLf] {
        let stage =
            ftp(DemoFtpScript { listing, without: vec!["MLST"], ..DemoFtpScript::default() });
        let trial = Trial::of(&stage, &stage.lines());
        trial.run().is("exit 0: listed 3, ingested 3");
        let asked = stage.server.counts.of("MDTM");
        assert!(asked >= 3, "times are asked for where the listing is coarse: {asked}");
        trial.run().is("exit 0: listed 3, unchanged 3");
        // What is known by its listed time is not asked for again.
        assert_eq!(stage.server.counts.of("MDTM"), asked, "{listing:?}");
    }
}

#[test]
fn f10_dos_listings() {
    for listing in [ListFormat::Dos, ListFormat::DosLong] {
        arrives(DemoFtpScript { listing, without: vec!["MLST"], ..DemoFtpScript::default() });
    }
}

#[test]
fn f11_listings_that_nobody_can_read() {
    let garbage = ListFormat::Garbage;
    let stage =
        ftp(DemoFtpScript { listing: garbage, without: vec!["MLST"], ..DemoFtpScript::default() });
    // Names, sizes and times are asked for one by one.
    Trial::of(&stage, &stage.lines()).run().is("exit 0: listed 3, ingested 3");
    let without = vec!["MLST", "NLST"];
    let stage = ftp(DemoFtpScript { listing: garbage, without, ..DemoFtpScript::default() });
    let proof = Trial::of(&stage, &stage.lines()).run();
    assert!(
        proof.done.code != 0 && proof.source()["unparsed_lines"].as_u64() > Some(0),
        "never ok with no files: {}",
        proof.brief()
    );
    assert!(!proof.source()["unparsed_samples"].as_array().unwrap().is_empty());
    // One of VMS is read; this server does not know the versions that it shows (`A.BIN;1`).
    let vms = ListFormat::Vms;
    let stage =
        ftp(DemoFtpScript { listing: vms, without: vec!["MLST"], ..DemoFtpScript::default() });
    let trial = Trial::of(&stage, &stage.lines());
    trial.run().is("exit 0: listed 5, deferred 5 [unreachable]");
    // Escape sequences in such a line stay escaped.
    let stage = ftp(DemoFtpScript {
        extra_lines: vec![b"\x1b[2J\x07what?\r\n".to_vec()],
        ..DemoFtpScript::default()
    });
    Trial::of(&stage, &stage.lines())
        .run()
        .is("exit 1: listed 3, ingested 3, unparsed_lines 2")
        .says(&["x1B[2J"]);
}

#[test]
fn f13_sizes_are_asked_for_in_binary_mode() {
    // This server refuses SIZE in ASCII mode, in which every session begins.
    let stage = ftp(DemoFtpScript { without: vec!["MLST"], ..DemoFtpScript::default() });
    Trial::of(&stage, &stage.lines()).run().is("exit 0: listed 3, ingested 3");
    let counts = &stage.server.counts;
    assert!(counts.of("SIZE") > 0 && counts.of("TYPE") == counts.logins.load(Ordering::SeqCst));
}

#[test]
fn f14_neither_size_nor_mdtm() {
    arrives(DemoFtpScript { without: vec!["SIZE", "MDTM"], ..DemoFtpScript::default() });
    arrives(DemoFtpScript { without: vec!["MLST", "SIZE", "MDTM"], ..DemoFtpScript::default() });
    // The listing's size still unmasks data that ends early.
    let stage = ftp(DemoFtpScript {
        without: vec!["MLST", "SIZE", "MDTM"],
        ..a_bin(DemoFtpFault::FinThen226(60_000))
    });
    Trial::of(&stage, &stage.lines())
        .run()
        .is("exit 1: listed 3, ingested 2, failed 1 [truncated]");
}

#[test]
fn f15_passive_addresses_of_others() {
    for address in [[10, 255, 255, 1], [8, 8, 8, 8], [0, 0, 0, 0]] {
        arrives(DemoFtpScript {
            pasv_address: Some(address),
            without: vec!["EPSV"],
            ..DemoFtpScript::default()
        });
    }
}

#[test]
fn f16_passive_replies_that_mean_nothing() {
    arrives(DemoFtpScript {
        replies: vec![("EPSV", "229 somewhere\r\n")],
        ..DemoFtpScript::default()
    });
    let both =
        vec![("EPSV", "229 somewhere\r\n"), ("PASV", "227 Entering Passive Mode (1,2,3)\r\n")];
    let stage = ftp(DemoFtpScript { replies: both, ..DemoFtpScript::default() });
    Trial::of(&stage, &stage.lines()).run().is("exit 3: problem [listing_failed]");
}

#[test]
fn f17_epsv_is_not_known() {
    for reply in ["500 EPSV not understood.\r\n", "522 Protocol not supported.\r\n", "501 no\r\n"] {
        let stage =
            ftp(DemoFtpScript { replies: vec![("EPSV", reply)], ..DemoFtpScript::default() });
        Trial::of(&stage, &format!("{}connections = 1\n", stage.lines()))
            .run()
            .is("exit 0: listed 3, ingested 3");
        assert_eq!(stage.server.counts.of("EPSV"), 1, "it is asked for once");
    }
}

#[test]
fn f03_a_refused_login_is_tried_once_and_not_by_later_runs() {
    let stage = ftp(DemoFtpScript {
        replies: vec![("PASS", "530 Login incorrect.\r\n")],
        ..DemoFtpScript::default()
    });
    let trial = Trial::of(&stage, &format!("{}attempts = 5\nconnections = 4\n", stage.lines()));
    trial.run().is("exit 3: problem [auth]");
    assert_eq!(stage.server.counts.of("PASS"), 1);
    for _ in 0..3 {
        trial.run().is("exit 3: problem [auth]").says(&[
            "this credential was refused at",
            "530 Login incorrect.",
            "retry_auth_after",
        ]);
    }
    assert_eq!(stage.server.counts.of("PASS"), 1, "later runs do not try it again");
    // Another password is tried at once, and once.
    let configured = std::fs::read_to_string(trial.ferry.path("ingest.toml")).unwrap();
    trial.ferry.configure(&configured.replace("bird@", "birds@"));
    trial.run().is("exit 3: problem [auth]");
    trial.run().is("exit 3: problem [auth]");
    assert_eq!(stage.server.counts.of("PASS"), 2);
    // Whoever wants to try each time can.
    trial
        .ferry
        .configure(&configured.replace("attempts = 5", "attempts = 5\nretry_auth_after = \"0s\""));
    trial.run().is("exit 3: problem [auth]");
    assert_eq!(stage.server.counts.of("PASS"), 3);
}

#[test]
fn f03_a_login_that_works_again_forgets_the_refusal() {
    let stage = ftp(DemoFtpScript::default());
    let trial = Trial::of(&stage, &stage.lines());
    let right = std::fs::read_to_string(trial.ferry.path("ingest.toml")).unwrap();
    trial.ferry.configure(&right.replace("bird@", "worm@"));
    trial.run().is("exit 3: problem [auth]");
    let is_kept = || {
        let index = std::fs::read(trial.ferry.path("store/_blobferry/_runs/sources.json")).unwrap();
        let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
        index["sources"]["acme"]["refused"].is_object()
    };
    assert!(is_kept());
    trial.ferry.configure(&right);
    trial.run().is("exit 0: listed 3, ingested 3");
    assert!(!is_kept());
    trial.run().is("exit 0: listed 3, unchanged 3");
}

#[test]
fn f05_a_reply_of_ascii_mode_never_changes_bytes() {
    // Line ends of both kinds, and bytes that ASCII mode would spoil.
    let stage =
        ftp(DemoFtpScript::default()).file("lines.txt", b"one\r\ntwo\nthree\r\r\n\x00\xff\x1a");
    Trial::of(&stage, &stage.lines()).run().is("exit 0: listed 4, ingested 4");
    // A server that refuses binary mode is not read from.
    let stage = ftp(DemoFtpScript {
        replies: vec![("TYPE", "504 ASCII only.\r\n")],
        ..DemoFtpScript::default()
    });
    let proof = Trial::of(&stage, &stage.lines()).run();
    assert_eq!(proof.done.code, 3, "{}", proof.brief());
    let late = ftp(a_bin(DemoFtpFault::Late226(Duration::from_millis(50))));
    Trial::of(&late, &late.lines()).run().is("exit 0: listed 3, ingested 3");
}
