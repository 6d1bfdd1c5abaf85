//! Z1 to Z22: a storage service that is busy, loses requests and replies, and spoils bytes.

use std::net::SocketAddr;
use std::time::Duration;

use blobferry::demo::ftp::script::DemoFtpScript;

use super::super::e2e::blobs;
use super::super::kit::http::{Mischief, Proxy, Rule};
use super::super::kit::stage::ftp;
use super::super::kit::trial::{Proof, Trial};
use super::super::servers::Azurite;

const BUSY: &str = "503 Busy\r\nretry-after: 1\r\nx-ms-error-code: ServerBusy";
const THROTTLED: &str = "429 Too Many Requests\r\nretry-after: 1";

fn rule(times: usize, method: &'static str, holds: &'static str, mischief: Mischief) -> Rule {
    Rule { times, method, holds, mischief }
}

struct Ran {
    proof: Proof,
    /// Blobs of users with their sizes.
    sizes: Vec<String>,
    /// Whether all mischief was done.
    spent: bool,
    /// Requests that would write a blob of a user.
    written: usize,
}

/// A run of three files through the proxy. Whatever happens, what is in the container is whole.
/// `None` without an Azurite.
#[track_caller]
fn run(rules: Vec<Rule>) -> Option<Ran> {
    let azurite = Azurite::shared()?;
    let stage = ftp(DemoFtpScript::default());
    let container = Azurite::container("modes");
    let direct = azurite.connection_string();
    let address = azurite.blob_address();
    let target: SocketAddr = address;
    let proxy = stage.runtime.block_on(Proxy::start(target, rules));
    let through = direct.replace(&address.to_string(), &proxy.address.to_string());
    let source = format!(
        "[[source]]\nname = \"acme\"\nstable_for = \"0s\"\nattempts = 2\nstall_timeout = \
        \"2s\"\nconnect_timeout = \"2s\"\n{}",
        stage.lines()
    );
    // Storage is asked five times, and may say how long to wait.
    let trial = Trial::new(
        &source,
        &format!("connection_string = \"{through}\"\ncontainer = \"{container}\""),
    )
    .patient(Duration::from_secs(15));
    let proof = trial.run();
    let stored = if proof.done.code == 0 || proof.source()["ingested"].as_u64() > Some(0) {
        blobs(azurite, &container)
    } else {
        Default::default()
    };
    let sizes: Vec<String> = stored
        .into_values()
        .filter(|blob| !blob.name.starts_with("_blobferry/"))
        .map(|blob| format!("{} {}", blob.name, blob.size))
        .collect();
    for shown in &sizes {
        assert!(
            ["acme/a.bin 300000", "acme/b.txt 5", "acme/sub/c.txt 7"].contains(&shown.as_str()),
            "{shown}"
        );
    }
    let written = proxy
        .requests()
        .into_iter()
        .filter(|line| line.starts_with("PUT") && line.contains("/acme%2F"))
        .count();
    Some(Ran { proof, sizes, spent: proxy.is_spent(), written })
}

/// All three arrive, and every rule was played.
#[track_caller]
fn arrives(rules: Vec<Rule>) {
    let shown = format!("{rules:?}");
    let Some(Ran { proof, sizes, spent, .. }) = run(rules) else { return };
    assert_eq!(
        (proof.brief().as_str(), sizes.len(), spent),
        ("exit 0: listed 3, ingested 3", 3, true),
        "{shown}\n{}",
        proof.log
    );
}

#[test]
fn z01_a_busy_service_says_when_to_come_back() {
    arrives(vec![
        rule(2, "PUT", "/acme%2F", Mischief::Answer(BUSY, "")),
        rule(1, "PUT", "_blobferry", Mischief::Answer(THROTTLED, "")),
    ]);
}

#[test]
fn z02_a_reply_is_lost_after_the_effect() {
    arrives(vec![rule(3, "PUT", "/acme%2F", Mischief::LoseReply)]);
    // The ledger's own writes, too.
    arrives(vec![
        rule(1, "PUT", "journal", Mischief::LoseReply),
        rule(1, "PUT", "comp=appendblock", Mischief::LoseReply),
    ]);
}

#[test]
fn z03_a_request_is_lost() {
    arrives(vec![
        rule(2, "PUT", "/acme%2F", Mischief::LoseRequest),
        rule(1, "GET", "", Mischief::LoseRequest),
    ]);
}

#[test]
fn z08_a_credential_ends_midway() {
    let denied = "403 Forbidden\r\nx-ms-error-code: AuthenticationFailed";
    let Some(Ran { proof, sizes, written, .. }) =
        run(vec![rule(100, "PUT", "/acme%2F", Mischief::Answer(denied, ""))])
    else {
        return;
    };
    assert!(proof.done.code != 0 && sizes.is_empty(), "{}", proof.brief());
    assert!(written <= 3, "no file is tried twice: {written}");
    proof.says(&["store_auth"]);
}

#[test]
fn z11_a_container_that_is_being_deleted() {
    let going = "409 Conflict\r\nx-ms-error-code: ContainerBeingDeleted";
    arrives(vec![
        rule(1, "PUT", "restype=container", Mischief::Answer(going, "")),
        rule(1, "PUT", "/acme%2F", Mischief::Answer(going, "")),
    ]);
}

#[test]
fn z15_a_blob_that_may_not_be_changed() {
    let immutable = "409 Conflict\r\nx-ms-error-code: BlobImmutableDueToPolicy";
    let Some(Ran { proof, sizes, written, .. }) =
        run(vec![rule(100, "PUT", "b.txt", Mischief::Answer(immutable, ""))])
    else {
        return;
    };
    assert_eq!((proof.done.code, sizes.len()), (1, 2), "{}", proof.brief());
    // The program looks whether a blob is there, since such an answer usually means that; it does
    // so a few times only.
    assert!(written <= 12, "{written}");
}

#[test]
fn z20_replies_that_are_not_the_services() {
    arrives(vec![
        rule(1, "PUT", "/acme%2F", Mischief::Truncate(20)),
        rule(
            1,
            "PUT",
            "/acme%2Fb.txt",
            Mischief::Answer("502 Bad Gateway\r\ncontent-type: text/html", "<html>proxy</html>"),
        ),
        rule(1, "PUT", "/acme%2Fsub", Mischief::Delay(Duration::from_millis(500))),
    ]);
}

#[test]
fn z21_bytes_that_change_on_their_way_to_the_service() {
    arrives(vec![rule(3, "PUT", "/acme%2F", Mischief::Flip)]);
}
