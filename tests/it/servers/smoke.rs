//! Proves the guards: an independent client logs in to each server and fetches a file.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::*;

const CONTENT: &[u8] = b"one file\r\nwith \xff bytes\n";

/// Puts a file into the served folder.
fn serve(root: &Path) {
    fs::write(root.join("a b.bin"), CONTENT).unwrap();
    hand_over(root);
}

/// Fetches the file with curl; the words say how to get there.
fn curl(port: u16, scheme: &str, base: &str, user: &str, password: &str, words: &[&str]) -> Output {
    let url = format!("{scheme}://127.0.0.1:{port}/{}/a%20b.bin", base.replacen('/', "%2F", 1));
    let login = format!("{user}:{password}");
    let mut arguments = vec!["-q", "--silent", "--show-error", "--noproxy", "*", "--user", &login];
    arguments.extend(words);
    arguments.push(&url);
    try_run("curl", arguments)
}

fn expect_file(output: &Output, daemon: &daemon::Daemon) {
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stderr),
        daemon.log()
    );
    assert_eq!(output.stdout, CONTENT);
}

/// An SFTP batch with OpenSSH's client.
fn sftp(port: u16, user: &str, key: &Path, known_hosts: &Path, path: &str) -> Output {
    let target = tempfile::tempdir().unwrap();
    let (get, local) = (target.path().join("batch"), target.path().join("got"));
    fs::write(&get, format!("get \"{path}/a b.bin\" {}\n", local.display())).unwrap();
    let option = |name: &str, value: &Path| format!("-o{name}={}", value.display());
    let port = format!("-oPort={port}");
    let known = option("UserKnownHostsFile", known_hosts);
    let key = option("IdentityFile", key);
    let batch = get.display().to_string();
    let mut arguments = vec![
        "-F",
        "/dev/null",
        "-oStrictHostKeyChecking=yes",
        "-oIdentitiesOnly=yes",
        &known,
        &key,
        &port,
        "-b",
        &batch,
    ];
    let to = format!("{user}@127.0.0.1");
    let ssh = debian("usr/bin/ssh").display().to_string();
    arguments.extend(["-S", &ssh, &to]);
    let mut output = try_run(debian("usr/bin/sftp"), arguments);
    output.stdout = fs::read(&local).unwrap_or_default();
    output
}

/// Lists and fetches with rclone, by password.
fn rclone_sftp(port: u16, user: &str, password: &str, path: &str) -> Output {
    let rclone = tools().join("python/bin/rclone");
    let hidden = line(&run(&rclone, ["obscure", "--", password]));
    let remote = format!(
        ":sftp,host=127.0.0.1,port={port},user={user},pass={hidden},shell_type=none:{path}"
    );
    assert_eq!(line(&run(&rclone, ["lsf", "--retries", "1", &remote])), "a b.bin");
    run(rclone, ["cat", "--retries", "1", &format!("{remote}/a b.bin")])
}

#[test]
fn sshd_takes_a_key() {
    let Some(sshd) = Sshd::start(SshdOptions {
        auth: SshdAuth::Key,
        lines: &["MaxSessions 2", "RekeyLimit 1M"],
    }) else {
        return;
    };
    serve(&sshd.root);
    expect_file(
        &sftp(sshd.port, &sshd.user, &sshd.user_key, &sshd.known_hosts_file, &sshd.base),
        &sshd.daemon,
    );
    assert!(sshd.known_hosts.lines().count() == 2 && sshd.host_key_sha256.starts_with("SHA256:"));
    assert!(sshd.password.is_none());
    let options = SshdOptions { auth: SshdAuth::Key, lines: &["AllowUsers nobody-at-all"] };
    let closed = Sshd::start(options).unwrap();
    assert!(
        !sftp(closed.port, &closed.user, &closed.user_key, &closed.known_hosts_file, &closed.base)
            .status
            .success()
    );
    // Another key is refused.
    let other = Sshd::start(SshdOptions::default()).unwrap();
    assert!(
        !sftp(sshd.port, &sshd.user, &other.user_key, &sshd.known_hosts_file, &sshd.base)
            .status
            .success()
    );
}

#[test]
fn sshd_takes_a_password() {
    for auth in [SshdAuth::Password, SshdAuth::Keyboard, SshdAuth::KeyOrPassword] {
        let Some(sshd) = Sshd::start(SshdOptions { auth, lines: &[] }) else { return };
        serve(&sshd.root);
        let password = sshd.password.as_deref().unwrap();
        expect_file(&rclone_sftp(sshd.port, &sshd.user, password, &sshd.base), &sshd.daemon);
        let by_key =
            sftp(sshd.port, &sshd.user, &sshd.user_key, &sshd.known_hosts_file, &sshd.base)
                .status
                .success();
        assert_eq!(by_key, auth == SshdAuth::KeyOrPassword, "{auth:?}");
    }
}

#[test]
fn vsftpd_serves_plain_ftp_to_those_who_know_the_password() {
    let Some(vsftpd) = Vsftpd::start(VsftpdOptions::default()) else { return };
    serve(&vsftpd.root);
    expect_file(
        &curl(vsftpd.port, "ftp", &vsftpd.base, &vsftpd.user, &vsftpd.password, &[]),
        &vsftpd.daemon,
    );
    let refused = curl(vsftpd.port, "ftp", &vsftpd.base, &vsftpd.user, "wrong", &[]);
    assert_eq!(refused.status.code(), Some(67), "curl's code for a refused login");
    // Who logs in may remove what it owns.
    let quote = format!("-DELE {}/a b.bin", vsftpd.base);
    expect_file(
        &curl(
            vsftpd.port,
            "ftp",
            &vsftpd.base,
            &vsftpd.user,
            &vsftpd.password,
            &["--quote", &quote],
        ),
        &vsftpd.daemon,
    );
    assert!(!vsftpd.root.join("a b.bin").exists());
}

#[test]
fn vsftpd_serves_ftps() {
    for (tls, scheme) in [(Tls::Explicit(Cert::Good), "ftp"), (Tls::Implicit(Cert::Good), "ftps")] {
        let Some(vsftpd) = Vsftpd::start(VsftpdOptions { tls, lines: &["require_ssl_reuse=YES"] })
        else {
            return;
        };
        serve(&vsftpd.root);
        let ca = vsftpd.ca.as_ref().unwrap().display().to_string();
        let words = ["--ssl-reqd", "--cacert", &ca];
        expect_file(
            &curl(vsftpd.port, scheme, &vsftpd.base, &vsftpd.user, &vsftpd.password, &words),
            &vsftpd.daemon,
        );
        // Plain text is refused.
        assert!(
            !curl(
                vsftpd.port,
                "ftp",
                &vsftpd.base,
                &vsftpd.user,
                &vsftpd.password,
                &["--max-time", "5"]
            )
            .status
            .success()
        );
    }
}

#[test]
fn bad_certificates_are_bad() {
    for cert in [Cert::Expired, Cert::WrongHost, Cert::SelfSigned] {
        let Some(vsftpd) = Vsftpd::start(VsftpdOptions { tls: Tls::Explicit(cert), lines: &[] })
        else {
            return;
        };
        serve(&vsftpd.root);
        let ca = vsftpd.ca.as_ref().unwrap().display().to_string();
        let fetch = |words: &[&str]| {
            curl(vsftpd.port, "ftp", &vsftpd.base, &vsftpd.user, &vsftpd.password, words)
        };
        let refused = fetch(&["--ssl-reqd", "--cacert", &ca]);
        assert_eq!(
            refused.status.code(),
            Some(60),
            "curl's code for a certificate that does not verify: {cert:?}"
        );
        expect_file(&fetch(&["--ssl-reqd", "--insecure"]), &vsftpd.daemon);
    }
}

#[test]
fn pure_ftpd_serves_ftp_with_and_without_tls() {
    for cert in [None, Some(Cert::Good)] {
        let Some(pure) = PureFtpd::start(PureFtpdOptions { cert, arguments: &["--maxidletime=5"] })
        else {
            return;
        };
        serve(&pure.root);
        let ca = pure.ca.as_ref().map(|ca| ca.display().to_string());
        let words = ca.as_ref().map_or(vec![], |ca| vec!["--ssl-reqd", "--cacert", ca]);
        expect_file(&curl(pure.port, "ftp", "", &pure.user, &pure.password, &words), &pure.daemon);
        assert_eq!(curl(pure.port, "ftp", "", &pure.user, "wrong", &words).status.code(), Some(67));
    }
}

#[test]
fn proftpd_serves_ftp_with_and_without_tls() {
    for (tls, scheme) in
        [(Tls::Off, "ftp"), (Tls::Explicit(Cert::Good), "ftp"), (Tls::Implicit(Cert::Good), "ftps")]
    {
        let options =
            ProftpdOptions { mode: ProftpdMode::Ftp(tls), lines: &["MaxLoginAttempts 1"] };
        let Some(proftpd) = Proftpd::start(options) else { return };
        serve(&proftpd.root);
        let ca = proftpd.ca.as_ref().map(|ca| ca.display().to_string());
        let words = ca.as_ref().map_or(vec![], |ca| vec!["--ssl-reqd", "--cacert", ca]);
        expect_file(
            &curl(proftpd.port, scheme, &proftpd.base, &proftpd.user, &proftpd.password, &words),
            &proftpd.daemon,
        );
        assert_eq!(
            curl(proftpd.port, scheme, &proftpd.base, &proftpd.user, "wrong", &words).status.code(),
            Some(67)
        );
    }
    let defaults = ProftpdOptions::default();
    assert!(defaults.mode == ProftpdMode::Ftp(Tls::Off) && defaults.lines.is_empty());
}

#[test]
fn proftpd_serves_sftp() {
    let Some(proftpd) = Proftpd::start(ProftpdOptions { mode: ProftpdMode::Sftp, lines: &[] })
    else {
        return;
    };
    serve(&proftpd.root);
    let base = if proftpd.base.is_empty() { "/" } else { &proftpd.base };
    expect_file(
        &rclone_sftp(proftpd.port, &proftpd.user, &proftpd.password, base),
        &proftpd.daemon,
    );
    let known_hosts = tempfile::NamedTempFile::new().unwrap();
    fs::write(known_hosts.path(), proftpd.known_hosts.as_ref().unwrap()).unwrap();
    expect_file(
        &sftp(
            proftpd.port,
            &proftpd.user,
            proftpd.user_key.as_ref().unwrap(),
            known_hosts.path(),
            base,
        ),
        &proftpd.daemon,
    );
}

const ROUND_TRIP: &str = "
import sys
from azure.storage.blob import BlobServiceClient
service = BlobServiceClient.from_connection_string(sys.argv[1], api_version='2025-11-05')
container = service.create_container(sys.argv[2])
container.upload_blob('a b/c%2F.txt', b'one')
blobs = [(blob.name, blob.size) for blob in container.list_blobs()]
print(blobs, container.download_blob('a b/c%2F.txt').readall())
";

#[test]
fn azurite_keeps_a_blob() {
    let Some(shared) = Azurite::shared() else { return };
    let in_memory = Azurite::start(Persistence::Memory).unwrap();
    for azurite in [shared, &in_memory] {
        let container = Azurite::container("smoke");
        let output = run("python3", ["-c", ROUND_TRIP, &azurite.connection_string(), &container]);
        assert_eq!(line(&output), "[('a b/c%2F.txt', 3)] b'one'");
        assert!(
            azurite.blob_url().ends_with("/devstoreaccount1")
                && azurite.queue_port != azurite.blob_port
        );
    }
}

#[test]
fn the_verifier_notices_every_way_to_spoil_a_container() {
    let Some(azurite) = Azurite::shared() else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/verify/self_test.py");
    let output = run(
        "python3",
        [script.display().to_string(), azurite.connection_string(), Azurite::container("verify")],
    );
    assert!(line(&output).starts_with("verify_blobs.py noticed all"), "{output:?}");
}

#[test]
fn azurite_speaks_tls() {
    let Some(azurite) = Azurite::start_with_tokens() else { return };
    let ca = azurite.ca.as_ref().unwrap().display().to_string();
    // An anonymous request is refused, in the storage's own words.
    let output = run(
        "curl",
        [
            "-q",
            "--silent",
            "--noproxy",
            "*",
            "--cacert",
            &ca,
            &format!("{}?comp=list", azurite.blob_url()),
        ],
    );
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("<Error>"),
        "{output:?}\n{}",
        azurite.daemon.log()
    );
}

#[test]
fn a_guard_takes_its_server_and_the_sessions_with_it() {
    let Some(vsftpd) = Vsftpd::start(VsftpdOptions::default()) else { return };
    let connect = |port: u16| std::net::TcpStream::connect(("127.0.0.1", port));
    let mut session = connect(vsftpd.port).unwrap();
    session.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut greeting = [0; 3];
    std::io::Read::read_exact(&mut session, &mut greeting).unwrap();
    vsftpd.daemon.kill_sessions();
    let mut rest = Vec::new();
    drop(std::io::Read::read_to_end(&mut session, &mut rest));
    assert!(connect(vsftpd.port).is_ok(), "the server itself goes on: {}", vsftpd.daemon.log());

    // A stopped server still accepts, but says nothing.
    vsftpd.daemon.signal("STOP");
    let mut silent = connect(vsftpd.port).unwrap();
    silent.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(std::io::Read::read_exact(&mut silent, &mut greeting).is_err());
    vsftpd.daemon.signal("CONT");
    silent.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    std::io::Read::read_exact(&mut silent, &mut greeting).unwrap();

    let (port, folder): (u16, PathBuf) = (vsftpd.port, vsftpd.root.clone());
    drop(vsftpd);
    let start = Instant::now();
    while connect(port).is_ok() {
        assert!(start.elapsed() < Duration::from_secs(10), "the server outlives its guard");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(!folder.exists());
}
