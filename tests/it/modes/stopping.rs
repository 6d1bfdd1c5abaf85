//! R1: told to stop while the other side is silent, the program ends in time, with its journal
//! written and no work lost.

use std::time::Duration;

use blobferry::demo::ftp::script::{DemoFtpFault, DemoFtpScript};
use blobferry::demo::sftp::script::{DemoSftpFault as SftpFault, DemoSftpScript as SftpScript};

use super::super::e2e::{Started, blobs, wait_for};
use super::super::kit::http::{Mischief, Proxy, Rule};
use super::super::kit::relay::{Line, Relay};
use super::super::kit::stage::{Stage, ftp, ftp_lines, sftp};
use super::super::kit::trial::{Proof, Trial};
use super::super::servers::Azurite;

/// What `docker stop` and Kubernetes' own patience leave us.
const GRACE: Duration = Duration::from_secs(10);
/// Silence is not what ends these runs.
const PATIENT: &str = "stall_timeout = \"600s\"\n";

/// Tells it to stop; what it came to, in time.
#[track_caller]
fn stop(trial: &Trial, program: Started) -> Proof {
    program.signal("TERM");
    let proof = trial.judge(program.end(GRACE));
    assert_eq!(
        (proof.done.code, &proof.report["interrupted"]),
        (143, &true.into()),
        "{:#}",
        proof.report
    );
    proof
}

/// `a.bin` stalls once, the others are stored; then SIGTERM, and a run with the server well again.
#[track_caller]
fn in_the_middle_of_a_file<S>(stage: &Stage<S>, lines: &str) {
    let trial = Trial::of(stage, &format!("{lines}{PATIENT}"));
    let mut program = trial.ferry.start(&["run", "--json"]);
    let stored = |name: &str| trial.ferry.path(&format!("store/acme/{name}")).exists();
    wait_for("the small files", || program.has_ended() || stored("b.txt") && stored("sub/c.txt"));
    let proof = stop(&trial, program);
    assert_eq!(
        proof.brief(),
        "exit 143: listed 3, ingested 2, deferred 1 [interrupted]",
        "{}",
        proof.log
    );
    assert!(!stored("a.bin"), "nothing of it is visible");
    // What was recorded is known to the next run: the journal was written.
    trial.run().is("exit 0: listed 3, ingested 1, unchanged 2");
}

#[test]
fn while_an_ftp_server_is_silent_in_the_middle_of_a_file() {
    let stage = ftp(DemoFtpScript {
        files: [(b"a.bin".to_vec(), DemoFtpFault::Times(1, Box::new(DemoFtpFault::Stall(60_000))))]
            .into(),
        ..DemoFtpScript::default()
    });
    in_the_middle_of_a_file(&stage, &stage.lines());
}

#[test]
fn while_an_sftp_server_is_silent_in_the_middle_of_a_file() {
    let stage = sftp(SftpScript::default().once("a.bin", SftpFault::StallAt(60_000)));
    in_the_middle_of_a_file(&stage, &stage.lines());
}

/// The line freezes before anything is known: nothing to record, and nothing to wait for.
#[test]
fn while_a_server_is_silent_before_its_listing() {
    let (ftp_stage, sftp_stage) = (ftp(DemoFtpScript::default()), sftp(SftpScript::default()));
    for at in [0, 150] {
        let relay = |runtime: &tokio::runtime::Runtime, address| {
            runtime.block_on(Relay::start(address, vec![Line::Freeze(at)]))
        };
        let first = relay(&ftp_stage.runtime, ftp_stage.server.address);
        let second = relay(&sftp_stage.runtime, sftp_stage.server.address);
        for (relay, trial) in [
            (&first, Trial::of(&ftp_stage, &format!("{}{PATIENT}", ftp_lines(first.address)))),
            (
                &second,
                Trial::of(
                    &sftp_stage,
                    &format!("{}{PATIENT}", sftp_stage.lines_at(second.address)),
                ),
            ),
        ] {
            let mut program = trial.ferry.start(&["run", "--json"]);
            wait_for("the connection", || program.has_ended() || relay.connections() > 0);
            let proof = stop(&trial, program);
            assert_eq!(proof.source()["listed"], 0, "{}", proof.brief());
        }
    }
}

#[test]
fn while_an_upload_to_azure_hangs() {
    let Some(azurite) = Azurite::shared() else { return };
    let stage = ftp(DemoFtpScript::default());
    let container = Azurite::container("stopping");
    let direct = azurite.connection_string();
    let address = azurite.blob_address();
    let rule = Rule {
        times: 1,
        method: "PUT",
        holds: "/acme%2Fa.bin",
        mischief: Mischief::Delay(Duration::from_secs(600)),
    };
    let proxy = stage.runtime.block_on(Proxy::start(address, vec![rule]));
    let source = format!("[[source]]\nname = \"acme\"\nstable_for = \"0s\"\n{}", stage.lines());
    let to = |connection: &str| {
        format!("connection_string = \"{connection}\"\ncontainer = \"{container}\"")
    };
    let trial =
        Trial::new(&source, &to(&direct.replace(&address.to_string(), &proxy.address.to_string())));
    let mut program = trial.ferry.start(&["run", "--json"]);
    let stored = || {
        blobs(azurite, &container)
            .into_keys()
            .filter(|name| name.starts_with("acme/"))
            .collect::<Vec<_>>()
    };
    wait_for("the upload that hangs", || program.has_ended() || proxy.is_spent());
    wait_for("the small files", || program.has_ended() || stored().len() == 2);
    let proof = stop(&trial, program);
    assert_eq!(
        proof.brief(),
        "exit 143: listed 3, ingested 2, deferred 1 [interrupted]",
        "{}",
        proof.log
    );
    assert_eq!(stored(), ["acme/b.txt", "acme/sub/c.txt"]);
    let trial = Trial::new(&source, &to(&direct));
    trial.run().is("exit 0: listed 3, ingested 1, unchanged 2");
    assert_eq!(stored(), ["acme/a.bin", "acme/b.txt", "acme/sub/c.txt"]);
}
