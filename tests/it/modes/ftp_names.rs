//! F18 to F29: names over FTP, and encryption that somebody tampers with.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use blobferry::demo::ftp::script::DemoFtpScript;
use blobferry::demo::ftp::shared::{ServerTls, TlsStart};

use super::super::e2e::bad_input::old_file;
use super::super::kit::stage::{Stage, ftp, ftp_with};
use super::super::kit::trial::Trial;

/// With files of these names, each of its own content; both kinds of listing.
#[track_caller]
fn names_arrive(names: &[&[u8]], brief: &str) {
    for without in [vec![], vec!["MLST"], vec!["MLST", "UTF8"]] {
        let stage = ftp(DemoFtpScript { without, ..DemoFtpScript::default() });
        for (n, name) in names.iter().enumerate() {
            old_file(
                &stage.root.path().join(OsStr::from_bytes(name)),
                format!("number {n}").as_bytes(),
            );
        }
        let trial = Trial::of(&stage, &stage.lines());
        trial.run().is(brief);
    }
}

#[test]
fn f18_latin_1_names_without_utf8() {
    names_arrive(
        &[b"caf\xe9.txt", "caf\u{e9}.txt".as_bytes(), b"\x80\xfe", "日本.csv".as_bytes()],
        "exit 0: listed 7, ingested 7",
    );
}

#[test]
fn f19_blanks_at_both_ends_of_names() {
    names_arrive(
        &[b" lead", b"trail ", b"  both  ", b"lead", b"trail", b"tab\t"],
        "exit 0: listed 9, ingested 9",
    );
}

#[test]
fn f20_line_breaks_in_names() {
    // FTP cannot ask for such a file: it is told of, nothing of it is guessed, and the others
    // arrive.
    for without in [vec![], vec!["MLST"]] {
        let stage = ftp(DemoFtpScript { without, ..DemoFtpScript::default() });
        for name in ["nl\nx.txt", "cr\rx.txt", "b.txt\n550 no.txt"] {
            old_file(&stage.root.path().join(name), b"never read");
        }
        let proof = Trial::of(&stage, &stage.lines()).run();
        let source = proof.source();
        assert_eq!((proof.done.code, &source["ingested"]), (1, &3.into()), "{source:#}");
        assert!(
            source["failed"].as_u64().unwrap() + source["unparsed_lines"].as_u64().unwrap() >= 3,
            "{source:#}"
        );
        assert!(proof.done.out.contains("b.txt"), "{source:#}");
    }
}

#[test]
fn f21_names_that_look_like_options_and_patterns() {
    let long = [b'n'; 255];
    let names: &[&[u8]] = &[
        b"-rf",
        b"~",
        b"*",
        b"[x]",
        b"?",
        b"a;b",
        b"a -> b",
        b"%2e%2e%2f",
        b"$(x)",
        b"`x`",
        b"\"q\"",
        &long,
    ];
    names_arrive(names, "exit 0: listed 15, ingested 15");
}

#[test]
fn f22_dots_totals_and_links_in_listings() {
    for without in [vec![], vec!["MLST"]] {
        let extra = if without.is_empty() { vec![] } else { vec![b"total 12\r\n".to_vec()] };
        let stage = ftp(DemoFtpScript { without, extra_lines: extra, ..DemoFtpScript::default() });
        for (link, target) in
            [("link", "b.txt"), ("dangling", "nowhere"), ("loop", "."), ("up", "..")]
        {
            std::os::unix::fs::symlink(target, stage.root.path().join(link)).unwrap();
        }
        Trial::of(&stage, &stage.lines())
            .run()
            .is("exit 0: listed 7, ingested 3, skipped 4 [symlink]");
    }
}

#[test]
fn f23_names_that_differ_in_case_only() {
    names_arrive(&[b"Report.TXT", b"report.txt", b"REPORT.txt"], "exit 0: listed 6, ingested 6");
}

/// An FTPS server of this script, and the lines that reach it with its certificate pinned.
pub fn ftps(
    start: TlsStart,
    script: DemoFtpScript,
    change: impl FnOnce(&mut rustls::ServerConfig),
) -> (Stage<blobferry::demo::ftp::FtpServer>, String) {
    let issued = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let key =
        rustls::pki_types::PrivateKeyDer::try_from(issued.signing_key.serialize_der()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let mut config = builder
        .with_no_client_auth()
        .with_single_cert(vec![issued.cert.der().clone()], key)
        .unwrap();
    change(&mut config);
    let digest: [u8; 32] = sha2::Digest::finalize(sha2::Digest::chain_update(
        sha2::Sha256::default(),
        issued.cert.der(),
    ))
    .into();
    let pin: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let stage = ftp_with(|options| {
        options.script = script;
        options.tls = Some(ServerTls { config: std::sync::Arc::new(config), start });
    });
    let scheme = if start == TlsStart::Implicit { "ftps" } else { "ftpes" };
    let lines = format!(
        "{}tls_pin = \"SHA256:{pin}\"\n",
        stage.lines().replacen("ftp://", &format!("{scheme}://"), 1)
    );
    (stage, lines)
}

#[test]
fn f24_a_server_whose_data_connections_cannot_do_tls_1_3() {
    // It refuses them, or dies over them; one run finds out and carries on with TLS 1.2.
    for reply in ["522 SSL connection failed: session reuse required.\r\n", ""] {
        for start in [TlsStart::Explicit, TlsStart::Implicit] {
            let (stage, lines) = ftps(
                start,
                DemoFtpScript { tls_1_3_data: Some(reply), ..DemoFtpScript::default() },
                |_| {},
            );
            let proof = Trial::of(&stage, &lines).run().is("exit 0: listed 3, ingested 3");
            proof.logs(&["trying TLS 1.2", "tls_max_version"]);
        }
    }
    // One that refuses every version is told of, and not asked for ever.
    let (stage, lines) = ftps(
        TlsStart::Explicit,
        DemoFtpScript { replies: vec![("MLSD", "522 no\r\n")], ..DemoFtpScript::default() },
        |_| {},
    );
    Trial::of(&stage, &lines).run().is("exit 3: problem [tls]");
}

#[test]
fn f25_a_certificate_that_is_another_one() {
    let (stage, lines) = ftps(TlsStart::Explicit, DemoFtpScript::default(), |_| {});
    Trial::of(&stage, &lines).run().is("exit 0: listed 3, ingested 3");
    let at = lines.find("SHA256:").unwrap() + 7;
    let other = format!("{}{}{}", &lines[..at], "0".repeat(64), &lines[at + 64..]);
    let refused = Trial::of(&stage, &other).run().is("exit 3: problem [tls]");
    refused.says(&["is not the one that `tls_pin` names", &lines[at..at + 64]]);
    // Without a pin, nobody vouches for it.
    let bare = lines.lines().next().unwrap().to_owned() + "\n";
    Trial::of(&stage, &bare).run().is("exit 3: problem [tls]");
    assert_eq!(
        stage.server.counts.of("PASS"),
        stage.server.counts.logins.load(std::sync::atomic::Ordering::SeqCst),
        "no password went to strangers"
    );
}

#[test]
fn f26_data_in_clear_text_is_refused() {
    for reply in [
        "534 No protection here.\r\n",
        "502 Not known.\r\n",
        "431 Need some unavailable resource.\r\n",
    ] {
        let (stage, lines) = ftps(
            TlsStart::Explicit,
            DemoFtpScript { replies: vec![("PROT", reply)], ..DemoFtpScript::default() },
            |_| {},
        );
        let proof = Trial::of(&stage, &lines).run();
        assert_eq!(
            (proof.done.code, proof.source()["ingested"].as_u64()),
            (3, Some(0)),
            "{reply}: {}",
            proof.brief()
        );
        assert_eq!(
            stage.server.counts.of("RETR")
                + stage.server.counts.of("LIST")
                + stage.server.counts.of("MLSD"),
            0
        );
    }
}

#[test]
fn f27_encrypted_data_without_close_notify() {
    for start in [TlsStart::Explicit, TlsStart::Implicit] {
        let (stage, lines) = ftps(
            start,
            DemoFtpScript { rude_tls: 1..u64::MAX, ..DemoFtpScript::default() },
            |_| {},
        );
        Trial::of(&stage, &lines).run().is("exit 0: listed 3, ingested 3");
        // Cut, the size tells.
        let script = DemoFtpScript {
            rude_tls: 1..u64::MAX,
            files: [(
                b"a.bin".to_vec(),
                blobferry::demo::ftp::script::DemoFtpFault::FinThen226(60_000),
            )]
            .into(),
            ..DemoFtpScript::default()
        };
        let (stage, lines) = ftps(start, script, |_| {});
        Trial::of(&stage, &lines).run().is("exit 1: listed 3, ingested 2, failed 1 [truncated]");
    }
}

#[test]
fn f28_auth_tls_is_stripped() {
    for reply in [
        "502 Command not implemented.\r\n",
        "500 what?\r\n",
        "530 Please log in.\r\n",
        "220 fine\r\n",
    ] {
        let (stage, lines) = ftps(
            TlsStart::Explicit,
            DemoFtpScript { replies: vec![("AUTH", reply)], ..DemoFtpScript::default() },
            |_| {},
        );
        let proof = Trial::of(&stage, &lines).run();
        assert_eq!(proof.done.code, 3, "{reply}: {}", proof.brief());
        assert_eq!(
            (stage.server.counts.of("USER"), stage.server.counts.of("PASS")),
            (0, 0),
            "nothing in clear text after {reply}"
        );
    }
}

#[test]
fn f29_clear_text_before_the_handshake() {
    let injected = "234 Proceed.\r\n230 Logged in already.\r\n331 And now your password?\r\n";
    let (stage, lines) = ftps(
        TlsStart::Explicit,
        DemoFtpScript { replies: vec![("AUTH", injected)], ..DemoFtpScript::default() },
        |_| {},
    );
    let proof = Trial::of(&stage, &lines).run();
    assert_eq!(
        (proof.done.code, proof.source()["ingested"].as_u64()),
        (3, Some(0)),
        "{}",
        proof.brief()
    );
    assert_eq!((stage.server.counts.of("USER"), stage.server.counts.of("PASS")), (0, 0));
}
