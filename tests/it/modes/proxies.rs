//! The way through a proxy, and what becomes of runs when it is closed.

use blobferry::demo::ftp::script::DemoFtpScript;
use blobferry::demo::ftp::shared::TlsStart;
use blobferry::demo::sftp::script::DemoSftpScript as SftpScript;

use super::super::kit::gate::Gate;
use super::super::kit::stage::{ftp, sftp};
use super::super::kit::trial::Trial;
use super::super::served::percent_all;
use super::ftp_names::ftps;

const PASSWORD: &str = "g@te:w/rd";

/// The lines of a source, through the gate, by each protocol.
fn ways(lines: &str, gate: &Gate, password: &str) -> [String; 2] {
    ["socks5", "http"].map(|scheme| {
        format!("{lines}proxy = \"{scheme}://guest:{}@{}\"\n", percent_all(password), gate.address)
    })
}

#[test]
fn files_come_through_a_proxy() {
    let stage = sftp(SftpScript::default());
    let gate = stage.runtime.block_on(Gate::open(PASSWORD));
    // The name is the far end's to resolve.
    let lines = stage.lines().replace("127.0.0.1", "localhost");
    for (passed, lines) in ways(&lines, &gate, PASSWORD).iter().enumerate() {
        Trial::of(&stage, lines).run().is("exit 0: listed 3, ingested 3");
        assert_eq!(gate.passed(), passed + 1, "one login, one way");
    }
    assert!(gate.asked.lock().unwrap().iter().all(|target| target.starts_with("localhost:")));
    let stage = ftp(DemoFtpScript::default());
    for lines in ways(&stage.lines(), &gate, PASSWORD) {
        let before = gate.passed();
        Trial::of(&stage, &lines).run().is("exit 0: listed 3, ingested 3");
        // The control connection, a listing each of two folders, three files.
        assert!(gate.passed() >= before + 6, "data connections take the same way");
    }
    for start in [TlsStart::Explicit, TlsStart::Implicit] {
        let (stage, lines) = ftps(start, DemoFtpScript::default(), |_| {});
        for lines in ways(&lines, &gate, PASSWORD) {
            Trial::of(&stage, &lines).run().is("exit 0: listed 3, ingested 3");
        }
    }
}

#[test]
fn a_proxy_that_refuses_us_is_asked_once() {
    let (stage, other) = (sftp(SftpScript::default()), ftp(DemoFtpScript::default()));
    let gate = stage.runtime.block_on(Gate::open(PASSWORD));
    let lines = ways(&stage.lines(), &gate, "not the word")
        .into_iter()
        .map(|lines| (Trial::of(&stage, &lines), lines));
    let more = ways(&other.lines(), &gate, "not the word")
        .into_iter()
        .map(|lines| (Trial::of(&other, &lines), lines));
    for (trial, lines) in lines.chain(more) {
        let proof = trial.run().is("exit 3: problem [auth]").says(&["the proxy refuses"]);
        let configured = format!("{lines}{}", proof.log);
        assert!(
            !proof.log.contains("not the word") && !proof.done.out.contains("not the word"),
            "{configured}"
        );
    }
    assert_eq!(gate.passed(), 0);
    assert_eq!(
        (stage.server.accepted(), other.server.counts.of("USER")),
        (0, 0),
        "nobody went around it"
    );
}

#[test]
fn a_proxy_that_is_not_there_or_cannot_reach_the_server() {
    let stage = sftp(SftpScript::default());
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    Trial::of(&stage, &format!("{}proxy = \"socks5://{closed}\"\n", stage.lines()))
        .run()
        .is("exit 3: problem [connect]")
        .says(&["through the proxy"]);
    let gate = stage.runtime.block_on(Gate::open(PASSWORD));
    for lines in ways(&stage.lines_at(closed), &gate, PASSWORD) {
        Trial::of(&stage, &lines)
            .run()
            .is("exit 3: problem [connect]")
            .says(&["through the proxy"]);
    }
    assert_eq!(stage.server.accepted(), 0);
}
