//! What is wrong is told: exit status, class and what to do, and a healthy source arrives all the
//! same.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use super::super::served::{self, percent_all};
use super::super::servers::*;
use super::*;

/// A file that has long settled.
pub fn old_file(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    let modified = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
    fs::File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
}

/// Runs with the source `acme` as told beside a healthy one: that one arrives, and `acme` has a
/// problem of this class. Returns what the report for people says, after looking at the one for
/// programs.
#[track_caller]
fn beside_a_healthy_one(source: &str, class: &str) -> (Ferry, String) {
    let ferry = Ferry::new("");
    old_file(&ferry.path("in/healthy.txt"), b"healthy");
    let healthy = format!(
        "[[source]]\nname = \"healthy\"\nurl = \"file://{}\"\n",
        ferry.path("in").display()
    );
    ferry.configure(&format!(
        "[destination]\nfolder = \"out\"\n[[source]]\nname = \
        \"acme\"\nattempts = 1\n{source}\n{healthy}"
    ));
    let report = ferry.ingest().code(1).report();
    assert_eq!(fs::read(ferry.path("out/healthy/healthy.txt")).unwrap(), b"healthy");
    let acme = &report["sources"][0];
    let classes: Vec<&Value> =
        acme["problems"].as_array().unwrap().iter().map(|problem| &problem["class"]).collect();
    assert_eq!((classes, &acme["unusable"]), (vec![&class.into()], &true.into()), "{report:#}");
    let only = ferry.run(&["run", "--source", "acme"]).code(3);
    (ferry, only.out)
}

#[track_caller]
fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no `{part}` in:\n{text}");
    }
}

#[test]
fn a_dead_server() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (scheme, more) in [
        (
            "sftp",
            "host_key = \"SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU\"\npassword = \
            \"x-secret\"",
        ),
        ("ftp", "password = \"x-secret\""),
    ] {
        let (_, text) = beside_a_healthy_one(
            &format!("url = \"{scheme}://u@127.0.0.1:{closed}/\"\n{more}"),
            "connect",
        );
        says(&text, &["problem [connect]", "is the server up?", &format!("127.0.0.1:{closed}")]);
    }
    let (_, text) = beside_a_healthy_one("url = \"ftp://no-such-host.invalid/\"", "dns");
    says(&text, &["problem [dns]", "no-such-host.invalid"]);
}

#[test]
fn a_folder_that_is_not_there() {
    let (_, text) = beside_a_healthy_one("url = \"file:///no/such/folder\"", "not_found");
    says(&text, &["problem [not_found]", "/no/such/folder"]);
    let Some(served) = served::sshd(SshdAuth::Key) else { return };
    let toml = served.toml.replacen(&served.base, "/no/such/folder", 1);
    let (_, text) = beside_a_healthy_one(&toml, "not_found");
    says(&text, &["problem [not_found]", "/no/such/folder"]);
}

#[test]
fn a_wrong_password_is_tried_exactly_once() {
    let Some(sshd) = Sshd::start(SshdOptions { auth: SshdAuth::Password, lines: &[] }) else {
        return;
    };
    let url = format!("sftp://{}@127.0.0.1:{}{}", sshd.user, sshd.port, sshd.base);
    let toml = format!(
        "url = \"{url}\"\npassword = \"wrong one\"\nhost_key = \"{}\"",
        sshd.host_key_sha256
    );
    once(&toml, || sshd.daemon.log().matches("Failed password").count());
    let vsftpd = Vsftpd::start(VsftpdOptions::default()).expect("it is there where sshd is");
    let toml = format!(
        "url = \"ftp://{}@127.0.0.1:{}{}\"\npassword = \"wrong one\"",
        vsftpd.user, vsftpd.port, vsftpd.base
    );
    once(&toml, || vsftpd.daemon.log().matches("\"PASS ").count());
    let proftpd = Proftpd::start(ProftpdOptions { mode: ProftpdMode::Ftp(Tls::Off), lines: &[] })
        .expect("it is there where sshd is");
    let toml = format!(
        "url = \"ftp://{}@127.0.0.1:{}/\"\npassword = \"wrong one\"",
        proftpd.user, proftpd.port
    );
    once(&toml, || proftpd.daemon.log().matches("Incorrect password").count());
}

#[test]
fn a_refused_key_is_tried_exactly_once() {
    let Some((sshd, other)) =
        Sshd::start(SshdOptions::default()).zip(Sshd::start(SshdOptions::default()))
    else {
        return;
    };
    let url = format!("sftp://{}@127.0.0.1:{}{}", sshd.user, sshd.port, sshd.base);
    let toml = format!(
        "url = \"{url}\"\nprivate_key_file = \"{}\"\nhost_key = \"{}\"",
        other.user_key.display(),
        sshd.host_key_sha256
    );
    once(&toml, || sshd.daemon.log().matches("Failed publickey").count());
    // A password where only keys are taken.
    let toml = format!(
        "url = \"{url}\"\npassword = \"wrong one\"\nhost_key = \"{}\"",
        sshd.host_key_sha256
    );
    let ferry = Ferry::between(&toml, "folder = \"out\"");
    ferry.run(&["run"]).code(3).says(&["problem [auth]", "publickey"]);
}

/// One run, one refused login, though retries and four connections would be allowed.
#[track_caller]
fn once(toml: &str, refusals: impl Fn() -> usize) {
    let ferry =
        Ferry::between(&format!("{toml}\nconnections = 4\nattempts = 5\n"), "folder = \"out\"");
    let done = ferry.run(&["run"]).code(3).says(&["problem [auth]", "it was tried once"]);
    assert!(!done.out.contains("wrong one") && !done.err.contains("wrong one"));
    wait_for("the server's log", || refusals() > 0);
    assert_eq!(refusals(), 1);
}

#[test]
fn an_unknown_host_key_is_shown_and_can_be_pasted() {
    let Some(sshd) = Sshd::start(SshdOptions::default()) else { return };
    old_file(&sshd.root.join("a.txt"), b"a");
    let url = format!(
        "url = \"sftp://{}@127.0.0.1:{}{}\"\nprivate_key_file = \"{}\"",
        sshd.user,
        sshd.port,
        sshd.base,
        sshd.user_key.display()
    );
    let (ferry, text) = beside_a_healthy_one(&url, "host_key");
    let at =
        text.find("host_key = \"SHA256:").unwrap_or_else(|| panic!("nothing to paste in:\n{text}"));
    let line = &text[at..];
    let line = &line[..=line.match_indices('"').nth(1).expect("it is quoted").0];
    ferry.configure(&format!(
        "[destination]\nfolder = \"out\"\n[[source]]\nname = \"acme\"\n{url}\n{line}\n"
    ));
    assert_eq!(ferry.ingest().code(0).source()["ingested"], 1);
}

#[test]
fn a_host_key_that_has_changed() {
    let Some((sshd, other)) =
        Sshd::start(SshdOptions::default()).zip(Sshd::start(SshdOptions::default()))
    else {
        return;
    };
    let url = format!(
        "url = \"sftp://{}@127.0.0.1:{}{}\"\nprivate_key_file = \"{}\"",
        sshd.user,
        sshd.port,
        sshd.base,
        sshd.user_key.display()
    );
    let (_, text) = beside_a_healthy_one(
        &format!("{url}\nhost_key = \"{}\"", other.host_key_sha256),
        "host_key",
    );
    says(
        &text,
        &["problem [host_key]", "THE SERVER'S KEY IS NOT THE KNOWN ONE", &sshd.host_key_sha256],
    );
    let known =
        other.known_hosts.replace(&format!(":{} ", other.port), &format!(":{} ", sshd.port));
    let file = other.root.join("known_hosts");
    fs::write(&file, known).unwrap();
    let (_, text) =
        beside_a_healthy_one(&format!("{url}\nknown_hosts = \"{}\"", file.display()), "host_key");
    says(&text, &["THE SERVER'S KEY IS NOT THE KNOWN ONE"]);
    assert!(!sshd.daemon.log().contains("Accepted publickey"), "nobody logs in to a stranger");
}

#[test]
fn bad_certificates() {
    for (cert, word) in
        [(Cert::Expired, "expired"), (Cert::WrongHost, "127.0.0.1"), (Cert::SelfSigned, "")]
    {
        let Some(vsftpd) = Vsftpd::start(VsftpdOptions { tls: Tls::Explicit(cert), lines: &[] })
        else {
            return;
        };
        let ca = vsftpd.ca.as_ref().unwrap().display();
        let toml = format!(
            "url = \"ftpes://{}:{}@127.0.0.1:{}{}\"\ntls_ca_file = \"{ca}\"",
            vsftpd.user,
            percent_all(&vsftpd.password),
            vsftpd.port,
            vsftpd.base
        );
        let (_, text) = beside_a_healthy_one(&toml, "tls");
        says(&text, &["problem [tls]", word, "tls_ca_file"]);
        assert!(!vsftpd.daemon.log().contains("PASS"), "the password stays with us: {cert:?}");
    }
}

#[test]
fn what_may_not_be_read_is_told_and_the_rest_arrives() {
    let servers = [
        served::sshd(SshdAuth::Key),
        served::vsftpd(Tls::Off),
        served::pure_ftpd(None),
        served::proftpd_sftp(),
    ];
    for served in servers.into_iter().flatten() {
        old_file(&served.root.join("good.txt"), b"good");
        old_file(&served.root.join("secret.txt"), b"secret");
        old_file(&served.root.join("locked/inner.txt"), b"inner");
        fs::set_permissions(served.root.join("secret.txt"), fs::Permissions::from_mode(0o000))
            .unwrap();
        fs::set_permissions(served.root.join("locked"), fs::Permissions::from_mode(0o000)).unwrap();
        let ferry = Ferry::between(&served.toml, "folder = \"out\"");
        let source = ferry.ingest().code(1).source();
        fs::set_permissions(served.root.join("locked"), fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(fs::read(ferry.path("out/acme/good.txt")).unwrap(), b"good");
        assert_eq!(
            (&source["ingested"], &source["failed"]),
            (&1.into(), &1.into()),
            "{}\n{source:#}",
            served.toml
        );
        assert_eq!(source["failures"][0]["class"], "permission", "{}\n{source:#}", served.toml);
        assert_eq!(
            (&source["unusable"], source["problems"].as_array().map(Vec::len)),
            (&false.into(), Some(1)),
            "{source:#}"
        );
        let problem = source["problems"][0].to_string();
        assert!(
            problem.contains("locked") && problem.contains("permission"),
            "{}\n{problem}",
            served.toml
        );
    }
}

/// A zip cut off, one with a spoiled member, and one whose member says that it is encrypted.
const BAD_ZIPS: &str = r#"
import io, os, sys, zipfile
def make():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("first.txt", b"first" * 100)
        archive.writestr("second.txt", os.urandom(50000))
    return bytearray(out.getvalue())
def put(name, data):
    path = os.path.join(sys.argv[1], name)
    open(path, "wb").write(data)
    os.utime(path, (1600000000, 1600000000))
put("cut.zip", make()[:20000])
spoiled = make()
spoiled[20000] ^= 0xff
put("spoiled.zip", spoiled)
encrypted = make()
encrypted[6] |= 1
encrypted[encrypted.index(b"PK\x01\x02") + 8] |= 1
put("encrypted.zip", encrypted)
put("good.zip", make())
"#;

#[test]
fn bad_archives_are_told_and_nothing_of_them_is_visible() {
    let ferry = Ferry::new("");
    fs::create_dir(ferry.path("in")).unwrap();
    assert!(python(&["-c", BAD_ZIPS, ferry.path("in").to_str().unwrap()]).status.success());
    ferry.configure(&format!(
        "[destination]\nfolder = \"out\"\n[[source]]\nname = \"acme\"\nurl = \"file://{}\"\n",
        ferry.path("in").display()
    ));
    let source = ferry.ingest().code(1).source();
    let mut failures: Vec<String> = source["failures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| {
            format!(
                "{} {}",
                line["path"].as_str().unwrap().rsplit('/').next().unwrap(),
                line["class"]
            )
        })
        .collect();
    failures.sort();
    assert_eq!(
        failures,
        [
            "cut.zip \"archive_damaged\"",
            "encrypted.zip \"archive_encrypted\"",
            "spoiled.zip \"archive_damaged\""
        ],
        "{source:#}"
    );
    assert_eq!((&source["ingested"], &source["failed"]), (&1.into(), &3.into()));
    let visible: Vec<_> = fs::read_dir(ferry.path("out/acme"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(visible, ["good.zip!"]);
}

#[test]
fn a_sas_that_has_expired() {
    let Some(azurite) = Azurite::shared() else { return };
    let container = Azurite::container("expired");
    let sas = "sv=2021-06-08&ss=b&srt=sco&sp=rwdlac&se=2020-01-01T00:00:00Z&spr=https,http&\
        sig=c2lnbmF0dXJlLW9mLWEtY2FuYXJ5LXRoYXQtaXMtZGVhZA%3D%3D";
    let ferry = Ferry::between(
        "url = \"file:///etc\"\n",
        &format!(
            "endpoint = \"{}\"\nsas = \"{sas}\"\ncontainer = \"{container}\"",
            azurite.blob_url()
        ),
    );
    let done = ferry.run(&["run"]).code(3).says(&["[store_auth]"]);
    for text in
        [done.out, done.err, ferry.run(&["ls"]).code(3).err, ferry.run(&["plan"]).code(3).out]
    {
        assert!(!text.contains("c2lnbmF0dXJl"), "{text}");
    }
}

#[test]
fn a_container_that_is_missing_or_has_a_bad_name() {
    let Some(azurite) = Azurite::shared() else { return };
    let container = Azurite::container("missing");
    let ferry = Ferry::between(
        "url = \"file:///etc\"\n",
        &(azure(azurite, &container) + "create_container = false\n"),
    );
    ferry.run(&["run"]).code(3).says(&["[store_container]", &container]);
    for command in ["ls", "plan"] {
        ferry.run(&[command]).code(3).says(&["ContainerNotFound", &container]);
    }
    let ferry = Ferry::between("url = \"file:///etc\"\n", &azure(azurite, "Bad_Name"));
    ferry.run(&["run"]).code(2).says(&["ingest.toml:3", "destination.container", "Bad_Name"]);
}

#[test]
fn a_store_that_is_down() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let key =
        "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
    let string = format!(
        "DefaultEndpointsProtocol=http;AccountName=a;AccountKey={key};\
        BlobEndpoint=http://127.0.0.1:{closed}/a;"
    );
    let ferry = Ferry::between(
        "url = \"file:///etc\"\n",
        &format!("connection_string = \"{string}\"\ncontainer = \"landing\""),
    );
    ferry.run(&["run"]).code(3).says(&["[store_unavailable]", &format!("127.0.0.1:{closed}")]);
}

#[test]
fn a_configuration_that_cannot_be_used() {
    let check = |configuration: &str, expected: &[&str]| {
        for command in ["run", "plan", "ls"] {
            let done = Ferry::new(configuration).run(&[command]).code(2).says(expected);
            assert_eq!(done.out, "");
        }
    };
    let good =
        "[destination]\nfolder = \"out\"\n[[source]]\nname = \"acme\"\nurl = \"file:///etc\"\n";
    check(&format!("{good}pasword = \"x\"\n"), &["ingest.toml:6", "source.acme.pasword"]);
    check(
        &format!("{good}exclud = [\"x\"]\n"),
        &["ingest.toml:6", "source.acme.exclud", "did you mean `exclude`?"],
    );
    check(&format!("{good}[limit]\n"), &["ingest.toml:6", "did you mean `limits`?"]);
    // What only one source lacks stops that one alone.
    let lacking = format!("{good}marker = {{ env = \"NO_SUCH_VARIABLE\" }}\n");
    for command in ["run", "plan"] {
        let done = Ferry::new(&lacking).run(&[command]);
        done.code(3).says(&["ingest.toml:6", "NO_SUCH_VARIABLE"]);
    }
    check(&good.replace("file:///etc", "gopher://x/"), &["ingest.toml:5", "gopher", "sftp"]);
    check("[destination\n", &["ingest.toml:1"]);
    check("", &["ingest.toml"]);
    let vault = "@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/secrets/s)";
    let source = "url = \"ftp://u@127.0.0.1/\"\npassword = { env = \"ACME_PASSWORD\" }\n";
    let ferry = Ferry::between(source, "folder = \"out\"").set("ACME_PASSWORD", vault);
    ferry.run(&["run"]).code(3).says(&["ACME_PASSWORD", "Key Vault"]);
    let empty = tempfile::tempdir().unwrap();
    let missing = empty.path().join("none.toml");
    Ferry::new("")
        .run(&["run", "--config", missing.to_str().unwrap()])
        .code(2)
        .says(&["none.toml", "BLOBFERRY_CONFIG"]);
    Ferry::new(good).run(&["run", "--source", "acne"]).code(2).says(&["acne", "acme"]);
    Ferry::new(good).run(&["run", "--no-such-flag"]).code(2);
}
