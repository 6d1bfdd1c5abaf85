//! `check` before servers and stores that are well, and before ones that are ill in every way that
//! has a cure.

use std::fs;

use blobferry::demo::{ftp, sftp};
use blobferry::model::Secret;

use super::super::served;
use super::super::servers::*;
use super::bad_input::old_file;
use super::*;

const FOLDER: &str = "folder = \"out\"";

/// The program between a source of these lines and a folder that is there.
fn ferry(toml: &str) -> Ferry {
    let ferry = Ferry::between(toml, FOLDER);
    ready(&ferry);
    ferry
}

/// Lets a run over an empty folder make the destination.
fn ready(ferry: &Ferry) {
    let configuration = fs::read_to_string(ferry.path("ingest.toml")).unwrap();
    fs::create_dir(ferry.path("empty")).unwrap();
    ferry.configure(&format!(
        "[destination]\n{FOLDER}\n[[source]]\nname = \"empty\"\nurl = \"file://{}\"\n",
        ferry.path("empty").display()
    ));
    ferry.run(&["run"]).code(0);
    ferry.configure(&configuration);
}

/// The lines of `toml` but those of this setting.
fn without(toml: &str, key: &str) -> String {
    toml.lines().filter(|line| !line.starts_with(key)).map(|line| format!("{line}\n")).collect()
}

/// The line that is to be pasted.
fn paste(done: &Done) -> String {
    let mut lines =
        done.out.lines().skip_while(|line| !line.starts_with("to paste below `name = \"acme\"`"));
    lines.nth(1).unwrap_or_else(|| panic!("nothing to paste in {}", done.out)).to_owned()
}

#[test]
fn a_server_with_ssh_is_told_step_by_step() {
    let Some(served) = served::sshd(SshdAuth::Key) else { return };
    let Some(azurite) = Azurite::shared() else { return };
    old_file(&served.root.join("a.csv"), b"a;b\n");
    let container = Azurite::container("check");
    let ferry = Ferry::between(&served.toml, &azure(azurite, &container));
    ferry.ingest().code(0);
    let done = ferry.run(&["check"]).code(0).says(&[
        "ok    identity: a connection string",
        "ok    create: a small blob below `_blobferry/`",
        "ok    read: it comes back",
        "ok    remove: the probes are gone again",
        "ok    lease: taken and given back",
        "ok    clock: this machine's clock is ",
        "ok    acme: resolve: 127.0.0.1",
        "ok    acme: connect: 127.0.0.1:",
        "ok    acme: server: SSH-2.0-OpenSSH",
        "ok    acme: host key: a key of type ssh-ed25519 with the fingerprint SHA256:",
        ", with key (",
        "ok    acme: features: SFTP version 3; ",
        "limits@openssh.com",
        "a.csv (4 B)",
        "want 1 of 1 file",
        "all is well",
    ]);
    assert!(!done.out.contains("to paste"), "{}", done.out);
    // It leaves nothing behind.
    let left: Vec<String> =
        blobs(azurite, &container).into_keys().filter(|name| name.contains("_check")).collect();
    assert_eq!(left, Vec::<String>::new());
    let json = ferry.run(&["check", "--json"]).code(0).out;
    let lines: Vec<Value> =
        json.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
    let of = |step: &str| {
        lines
            .iter()
            .find(|line| line["step"] == step)
            .unwrap_or_else(|| panic!("no {step} in {json}"))
    };
    assert_eq!(
        (&of("host key")["source"], &of("host key")["status"], of("connect")["ms"].is_u64()),
        (&"acme".into(), &"ok".into(), true)
    );
    assert_eq!(
        (&lines.last().unwrap()["status"], &lines.last().unwrap()["failed"]),
        (&"ok".into(), &0.into())
    );
}

#[test]
fn a_host_key_is_shown_compared_and_to_be_pasted() {
    let Some(served) = served::sshd(SshdAuth::Key) else { return };
    let bare = without(&served.toml, "host_key");
    let ferry = ferry(&bare);
    let done = ferry.run(&["check"]).code(3).says(&[
        "ok    acme: host key: a key of type ssh-ed25519",
        "FAIL  acme: host key: [host_key]",
    ]);
    let line = paste(&done);
    assert!(served.toml.contains(&line), "`{line}` is what sshd's own tool says: {}", served.toml);
    ferry.configure(&format!(
        "[destination]\n{FOLDER}\n[[source]]\nname = \"acme\"\n{bare}{line}\n"
    ));
    ferry.run(&["check"]).code(0);
    let other = format!("{bare}host_key = \"SHA256:{}\"\n", "A".repeat(43));
    ferry.configure(&format!("[destination]\n{FOLDER}\n[[source]]\nname = \"acme\"\n{other}"));
    ferry
        .run(&["check"])
        .code(3)
        .says(&["FAIL  acme: host key: [host_key]", "THE SERVER'S KEY IS NOT THE KNOWN ONE"]);
}

#[test]
fn a_server_with_ftps_is_told_with_its_certificate() {
    let Some(served) = served::vsftpd(Tls::Explicit(Cert::Good)) else { return };
    old_file(&served.root.join("a.csv"), b"a;b\n");
    let done = ferry(&served.toml).run(&["check"]).code(0).says(&[
        "ok    acme: certificate: CN=localhost, issued by CN=blobferry test CA, valid until \
        2046-01-01, SHA-256 ",
        "ok    acme: encryption: TLS 1.",
        "ok    acme: login: as `",
        "ok    acme: features: MLST no, MDTM yes, SIZE yes, REST yes, UTF8 no; FEAT: ",
        "ok    acme: data connection: EPSV, encrypted, taking up the TLS session of the control \
        connection",
        "ok    acme: times: listings tell the day of older files only",
    ]);
    assert!(!done.out.contains("to paste") && !done.out.contains("clear text"), "{}", done.out);
}

#[test]
fn certificates_that_are_refused_say_why_and_what_to_paste() {
    for (cert, why) in [
        (Cert::SelfSigned, "is signed by itself"),
        (Cert::Expired, "expired on 2020-12-31"),
        (Cert::WrongHost, "is for "),
    ] {
        let Some(served) = served::vsftpd(Tls::Explicit(cert)) else { return };
        let ferry = ferry(&served.toml);
        let done = ferry.run(&["check"]).code(3).says(&[
            "acme: certificate: CN=",
            "FAIL  acme: certificate: [tls]",
            why,
        ]);
        let pinned = format!("{}{}\n", without(&served.toml, "tls_ca_file"), paste(&done));
        ferry.configure(&format!("[destination]\n{FOLDER}\n[[source]]\nname = \"acme\"\n{pinned}"));
        let done = ferry.run(&["check"]).code(0);
        assert_eq!(
            done.out.contains("hint: it expired on 2020-12-31"),
            cert == Cert::Expired,
            "{}",
            done.out
        );
    }
}

#[test]
fn a_password_that_is_wrong_is_tried_once_and_told() {
    let Some(served) = served::sshd(SshdAuth::Password) else { return };
    let wrong = format!("{}password = \"canary-wrong\"\n", without(&served.toml, "password"));
    let done = ferry(&wrong).run(&["check"]).code(3).says(&[
        "ok    acme: connect: 127.0.0.1:",
        "FAIL  acme: login: [auth]",
        "hint: check user, password",
    ]);
    assert!(
        !done.out.contains("canary") && !done.err.contains("canary"),
        "{}{}",
        done.out,
        done.err
    );
}

#[test]
fn dead_servers_are_told_quickly_and_the_next_one_is_looked_at() {
    let hole = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ferry = ferry("");
    old_file(&ferry.path("in/line\nbreak.csv"), b"x");
    let local = format!("url = \"file://{}\"\nexclude = [\"**\"]", ferry.path("in").display());
    let dead = format!("url = \"ftp://{hole}/\"");
    let nowhere = "url = \"sftp://u@no-such-host.invalid/\"\npassword = \"p455-canary\"";
    let both =
        format!("[[source]]\nname = \"dead\"\n{dead}\n[[source]]\nname = \"nowhere\"\n{nowhere}\n");
    ferry.configure(&format!(
        "[destination]\n{FOLDER}\n{both}[[source]]\nname = \"local\"\n{local}\n"
    ));
    let begun = Instant::now();
    let done = ferry.run(&["check"]).code(1).says(&[
        "FAIL  dead: connect: [connect]",
        "hint: check host, port and firewall",
        "FAIL  nowhere: resolve: [dns]",
        "hint: check the host name",
        "ok    local: listing: ",
        "line\\x0Abreak.csv (1 B)",
        "note  local: patterns: `include` and `exclude` want 0 of 1 file",
        "2 failed, see above",
    ]);
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    assert!(!done.out.contains("canary"), "{}", done.out);
    ferry.run(&["check", "--source", "local"]).code(0);
    ferry.run(&["check", "--source", "dead", "--source", "nowhere"]).code(3);
}

#[test]
fn key_vault_references_that_were_not_resolved_are_named() {
    let reference = "@Microsoft.KeyVault(SecretUri=https://vault.example/secrets/canary)";
    let folder = tempfile::tempdir().unwrap();
    let unused = ferry(&format!("url = \"file://{}\"", folder.path().display()))
        .set("OTHER_PASSWORD", reference);
    let done = unused.run(&["check"]).code(0).says(&[
        "note  environment: Key Vault references that were not resolved: OTHER_PASSWORD",
        "Key Vault Secrets User",
    ]);
    assert!(!done.out.contains("canary"), "{}", done.out);
    let used = ferry("url = \"ftp://u@127.0.0.1/\"\npassword = { env = \"OTHER_PASSWORD\" }")
        .set("OTHER_PASSWORD", reference);
    used.run(&["check"]).code(3).says(&["OTHER_PASSWORD", "Key Vault"]);
}

#[test]
fn a_store_that_refuses_ends_with_three_and_a_container_to_be_made_is_no_failure() {
    let Some(azurite) = Azurite::shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let source = format!("url = \"file://{}\"", folder.path().display());
    Ferry::between(&source, &azure(azurite, &Azurite::container("check-none")))
        .run(&["check"])
        .code(0)
        .says(&[
            "note  destination: ",
            "was not there; it is created, as the first run would do",
            "ok    append: ",
        ]);
    let string = azurite.connection_string();
    let key = string.split(';').find_map(|part| part.strip_prefix("AccountKey=")).unwrap();
    let wrong = azure(azurite, &Azurite::container("check-key")).replace(key, "Y2FuYXJ5");
    let done = Ferry::between(&source, &wrong)
        .run(&["check"])
        .code(3)
        .says(&["FAIL  destination: [store_auth]"]);
    assert!(!done.out.contains("Y2FuYXJ5"), "{}", done.out);
    let dead = "connection_string = \
        \"DefaultEndpointsProtocol=http;AccountName=a;AccountKey=a2V5;\
        BlobEndpoint=http://127.0.0.1:9/a;\"\ncontainer = \"landing\"";
    Ferry::between(&source, dead)
        .run(&["check"])
        .code(3)
        .says(&["FAIL  destination: [store_unavailable]"]);
}

/// The servers of the demo, as a user may try them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_servers_are_well() {
    let root = tempfile::tempdir().unwrap();
    old_file(&root.path().join("a.csv"), b"a;b\n");
    let account = Some(blobferry::demo::sftp::DemoSftpAccount {
        user: "user".into(),
        password: Secret::new("p455-canary"),
    });
    let ssh = sftp::SftpServer::start(sftp::DemoSftpOptions {
        account,
        ..sftp::DemoSftpOptions::new(root.path())
    })
    .await
    .unwrap();
    let plain = blobferry::demo::ftp::shared::DemoFtpOptions {
        user: "user".into(),
        password: Secret::new("p455-canary"),
        ..ftp::DemoFtpOptions::new(root.path())
    };
    let plain = ftp::FtpServer::start(plain).await.unwrap();
    let ssh_lines = format!(
        "url = \"sftp://user@{}/\"\npassword = \"p455-canary\"\nhost_key = \"{}\"\n",
        ssh.address, ssh.host_key
    );
    let ftp_lines =
        format!("url = \"ftp://user@{}/\"\npassword = \"p455-canary\"\n", plain.address);
    let done = tokio::task::spawn_blocking(move || {
        ferry(&format!("{ssh_lines}[[source]]\nname = \"plain\"\n{ftp_lines}")).run(&["check"])
    });
    let done = done.await.unwrap().code(0).says(&[
        "ok    acme: login methods: password",
        "ok    acme: login: as `user`, with password",
        "ok    acme: listing: `/` holds 1 file",
        "note  plain: login: as `user`, with password",
        "hint: the password and every file go over the line in clear text",
        "ok    plain: data connection: EPSV",
        "ok    plain: listing: `/` holds 1 file",
        "the source as it was found, for any configuration:\n[[source]]\nname = \"plain\"\nurl = \
        \"ftp://127.0.0.1:",
        "host_key = \"SHA256:",
        "user = \"user\"\n",
        "password = { env = \"ACME_PASSWORD\" }",
    ]);
    assert!(!done.out.contains("canary"), "{}", done.out);
}

/// The last table that was printed.
fn table(done: &Done) -> String {
    let text = done.out.split("for any configuration:\n").last().expect("a table");
    text.lines()
        .take_while(|line| line.contains('[') || line.contains(" = "))
        .map(|line| format!("{line}\n"))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_table_that_is_shown_works_as_it_is() {
    let root = tempfile::tempdir().unwrap();
    old_file(&root.path().join("sub 1/caf\u{e9}/a.csv"), b"a;b\n");
    let account = Some(blobferry::demo::sftp::DemoSftpAccount {
        user: "us\"er".into(),
        password: Secret::new("p455-canary"),
    });
    let server = sftp::SftpServer::start(sftp::DemoSftpOptions {
        account,
        ..sftp::DemoSftpOptions::new(root.path())
    })
    .await
    .unwrap();
    let lines = format!(
        "url = \"sftp://us%22er@{}/sub%201/caf%C3%A9\"\npassword = \"p455-canary\"\nhost_key = \
        \"{}\"\n",
        server.address, server.host_key
    );
    tokio::task::spawn_blocking(move || {
        let ferry = ferry(&lines).set("ACME_PASSWORD", "p455-canary");
        let done = ferry.run(&["check"]).code(0);
        let table = table(&done);
        assert!(!done.out.contains("canary"), "{}", done.out);
        ferry.configure(&format!("[destination]\n{FOLDER}\n{table}stable_for = \"0s\"\n"));
        assert_eq!(ferry.ingest().code(0).source()["ingested"], 1, "{table}");
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cap_on_connections_is_found_by_trying_when_asked_for() {
    let root = tempfile::tempdir().unwrap();
    let plain = blobferry::demo::ftp::shared::DemoFtpOptions {
        max_connections: 3,
        ..ftp::DemoFtpOptions::new(root.path())
    };
    let plain = ftp::FtpServer::start(plain).await.unwrap();
    let mut script = sftp::script::DemoSftpScript::default();
    script.most_connections = Some(2);
    let account = Some(blobferry::demo::sftp::DemoSftpAccount {
        user: "demo".into(),
        password: Secret::new("demo"),
    });
    let ssh = sftp::SftpServer::start(sftp::DemoSftpOptions {
        account,
        script,
        ..sftp::DemoSftpOptions::new(root.path())
    })
    .await
    .unwrap();
    let counts = plain.counts.clone();
    let (ftp_lines, ssh_lines) = (
        format!("url = \"ftp://demo:demo@{}/\"\n", plain.address),
        format!("url = \"sftp://demo:demo@{}/\"\nhost_key = \"{}\"\n", ssh.address, ssh.host_key),
    );
    tokio::task::spawn_blocking(move || {
        let ferry = ferry(&ftp_lines);
        let logins = || counts.logins.load(std::sync::atomic::Ordering::SeqCst);
        ferry.run(&["check"]).code(0);
        assert_eq!(logins(), 1, "nobody asked for more");
        let done = ferry.run(&["check", "--probe-connections"]).code(0).says(&[
            "note  acme: connections: the server lets 3 in at once; one more was refused: [busy] ",
            "hint: set `connections = 3`",
        ]);
        assert!(table(&done).contains("connections = 3\n") && logins() == 4, "{}", done.out);
        ferry
            .run(&["check", "--probe-connections", "2"])
            .code(0)
            .says(&["ok    acme: connections: the server lets 2 in at once; no more were tried"]);
        ferry.run(&["check", "--probe-connections", "1"]).code(2);
        ferry.configure(&format!(
            "[destination]\n{FOLDER}\n[[source]]\nname = \"ssh\"\n{ssh_lines}connections = 2\n"
        ));
        ferry.run(&["check", "--probe-connections", "5"]).code(0).says(&[
            "ok    ssh: connections: the server lets 2 in at once; one more was refused: [busy] ",
        ]);
    })
    .await
    .unwrap();
}

#[test]
fn names_in_another_character_set_are_told_with_a_guess() {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = tempfile::tempdir().unwrap();
    for name in [&b"caf\xe9.txt"[..], b"\xfcbersicht.csv", b"na\xefve fa\xe7ade.txt"] {
        old_file(&folder.path().join(std::ffi::OsStr::from_bytes(name)), b"x");
    }
    ferry(&format!("url = \"file://{}\"", folder.path().display()))
        .run(&["check"])
        .code(0)
        .says(&["note  acme: names: 3 names are not UTF-8; they look like windows-1252, as `"]);
}
