//! Every server to Azurite: each awkward name arrives once with its content, and a second run has
//! nothing to do.

use std::fs;

use blobferry::store::contract::BlobInfo;
use expect_test::expect;
use serde_json::Value;

use super::super::names::{Awkward, write_under};
use super::super::served::{self, Served};
use super::super::servers::*;
use super::*;

/// The numbers of a source's report that are not 0.
fn numbers(source: &Value) -> String {
    let counts = ["listed", "ingested", "skipped", "gone", "deferred", "failed", "unparsed_lines"];
    let told = counts.map(|key| (source[key] != 0).then(|| format!("{key} {}", source[key])));
    told.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Brings the awkward names over, verifies both ways, and runs again.
fn bring_over(served: &Served, expected: &expect_test::Expect) {
    let azurite = Azurite::shared().expect("it is there where the servers are");
    let written = write_under(&served.root).files;
    hand_over(&served.root);
    let (given, not_given): (Vec<&Awkward>, Vec<&Awkward>) =
        written.iter().partition(|file| served.gives(file));
    let container = Azurite::container("whole");
    let ferry = Ferry::between(
        &format!("{}archives = \"keep\"\nstable_for = \"1s\"\n", served.toml),
        &azure(azurite, &container),
    );
    let first = ferry.ingest().code(i32::from(!not_given.is_empty()));
    expected.assert_eq(&format!("{}, not given {}", numbers(&first.source()), not_given.len()));
    assert_eq!(first.source()["ingested"], given.len(), "{}\n{}", first.out, first.err);

    let left_out = ferry.path("left-out");
    fs::write(
        &left_out,
        not_given.iter().map(|file| escape(&file.path) + "\n").collect::<String>(),
    )
    .unwrap();
    let summary = verify(
        azurite,
        &container,
        &served.root,
        &served.base,
        &["--except", left_out.to_str().unwrap()],
    );
    assert_eq!(summary["files"], given.len(), "{summary}");

    let before = blobs(azurite, &container);
    let second = ferry.ingest().code(first.code);
    let again = second.source();
    assert_eq!(
        (&again["ingested"], &again["unchanged"], &again["bytes"], &again["blobs"]),
        (&0.into(), &given.len().into(), &0.into(), &0.into())
    );
    nothing_was_written(
        &before,
        &blobs(azurite, &container),
        second.report()["run"].as_str().expect("a run has an id"),
        not_given.is_empty(),
    );
}

/// Of the second run there is its report and its lease, and nothing else. A run that tries again
/// what failed before says so in its ledger.
fn nothing_was_written(
    before: &BTreeMap<String, BlobInfo>,
    after: &BTreeMap<String, BlobInfo>,
    run: &str,
    ledger_too: bool,
) {
    let kept = |blobs: &BTreeMap<String, BlobInfo>| {
        // Each run says in the blob of its lease who it is, and in the index of sources that it has
        // looked.
        let own = ["_blobferry/acme/lock", "_blobferry/_runs/sources.json"];
        let blobs = blobs.values().filter(|blob| !own.contains(&blob.name.as_str()));
        let blobs = blobs.filter(|blob| {
            !blob.name.contains(run) && (ledger_too || !blob.name.contains("/journal-"))
        });
        blobs.map(|blob| (blob.name.clone(), blob.etag.clone())).collect::<Vec<_>>()
    };
    assert_eq!(kept(after), kept(before));
}

fn escape(path: &[u8]) -> String {
    path.iter().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn from_sshd_by_key() {
    let Some(served) = served::sshd(SshdAuth::Key) else { return };
    bring_over(&served, &expect!["listed 98, ingested 98, not given 0"]);
}

#[test]
fn from_proftpds_mod_sftp() {
    let Some(served) = served::proftpd_sftp() else { return };
    bring_over(&served, &expect!["listed 98, ingested 98, not given 0"]);
}

#[test]
fn from_a_folder() {
    if Azurite::shared().is_none() {
        return;
    }
    bring_over(&served::folder(), &expect!["listed 98, ingested 98, not given 0"]);
}

#[test]
fn from_vsftpd() {
    let Some(served) = served::vsftpd(Tls::Off) else { return };
    bring_over(
        &served,
        &expect!["listed 98, ingested 91, failed 7, unparsed_lines 1, not given 7"],
    );
}

#[test]
fn from_vsftpd_that_wants_its_tls_sessions_again() {
    let Some(served) = served::vsftpd(Tls::Explicit(Cert::Good)) else { return };
    bring_over(
        &served,
        &expect!["listed 98, ingested 91, failed 7, unparsed_lines 1, not given 7"],
    );
}

#[test]
fn from_pure_ftpd() {
    let Some(served) = served::pure_ftpd(None) else { return };
    bring_over(&served, &expect!["listed 87, ingested 82, failed 5, not given 16"]);
}

#[test]
fn from_proftpd() {
    let Some(served) = served::proftpd(Tls::Off) else { return };
    bring_over(
        &served,
        &expect!["listed 98, ingested 93, deferred 1, failed 4, unparsed_lines 1, not given 5"],
    );
}

#[test]
fn every_name_can_be_told_from_a_folder() {
    use md5::Digest as _;
    let Some(served) = served::sshd(SshdAuth::Key) else { return };
    let written = write_under(&served.root).files;
    hand_over(&served.root);
    let ferry = Ferry::between(
        &format!("{}archives = \"keep\"\nstable_for = \"1s\"\n", served.toml),
        "folder = \"out\"",
    );
    ferry.ingest().code(0);
    let listed = ferry.run(&["ls", "--json"]).code(0).out;
    let told = listed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let text = |value: &Value| value.as_str().expect("it is told").to_owned();
    let told: BTreeMap<String, String> =
        told.map(|blob| (text(&blob["metadata"]["source_path"]), text(&blob["md5"]))).collect();
    let path = |file: &Awkward| {
        blobferry::rules::naming::escaped_for_metadata(
            &[served.base.as_bytes(), b"/", &file.path].concat(),
        )
    };
    let expected = written
        .iter()
        .map(|file| (path(file), super::watch::hex(&md5::Md5::digest(&file.content))))
        .collect();
    assert_eq!(told, expected);
    assert_eq!(ferry.ingest().code(0).source()["unchanged"], written.len());
}

/// Plain files of several sizes, as a partner sends them.
fn plain_files(root: &Path) {
    for (path, bytes) in [
        ("daily/report.csv", 10),
        ("empty.txt", 0),
        ("deep/er/photo.jpg", 70_000),
        ("big.bin", 20 << 20),
        ("notes.txt", 1),
    ] {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(
            &path,
            (0..bytes)
                .map(|byte: u32| (byte.wrapping_mul(2_654_435_761) >> 13) as u8)
                .collect::<Vec<_>>(),
        )
        .unwrap();
        let an_hour_ago = std::time::SystemTime::now() - Duration::from_secs(3_600);
        fs::File::options().write(true).open(&path).unwrap().set_modified(an_hour_ago).unwrap();
    }
    hand_over(root);
}

/// Somebody else's program finds the same bytes at the source and in the container.
fn rclone_agrees(azurite: &Azurite, source: &str, container: &str) {
    let blobs = format!(
        ":azureblob,account={},key=\"{}\",endpoint=\"{}\":{container}/acme",
        "devstoreaccount1",
        azurite
            .connection_string()
            .split("AccountKey=")
            .nth(1)
            .and_then(|rest| rest.split(';').next())
            .unwrap(),
        azurite.blob_url()
    );
    let words = ["check", "--download", "--retries", "1", "--config", "/dev/null", source, &blobs];
    let output = run(tools().join("python/bin/rclone"), words);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("0 differences found") && text.contains("5 matching files"), "{text}");
}

#[test]
fn rclone_finds_the_same_bytes_on_both_sides() {
    let Some(sshd) = Sshd::start(SshdOptions { auth: SshdAuth::Password, lines: &[] }) else {
        return;
    };
    let azurite = Azurite::shared().expect("it is there where the servers are");
    plain_files(&sshd.root);
    let password = sshd.password.clone().expect("it takes passwords");
    let container = Azurite::container("rclone");
    // The password in the URL, as some people have it.
    let login = format!("{}:{}", sshd.user, served::percent_all(&password));
    let source = format!(
        "url = \"sftp://{login}@127.0.0.1:{}{}\"\nhost_key = \"{}\"\narchives = \"keep\"\n",
        sshd.port, sshd.base, sshd.host_key_sha256
    );
    Ferry::between(&source, &azure(azurite, &container)).ingest().code(0);
    let hidden = line(&run(tools().join("python/bin/rclone"), ["obscure", "--", &password]));
    let remote = format!(
        ":sftp,host=127.0.0.1,port={},user={},pass={hidden},shell_type=none:{}",
        sshd.port, sshd.user, sshd.base
    );
    rclone_agrees(azurite, &remote, &container);
}

#[test]
fn from_sshd_by_password_and_by_keyboard_interactive() {
    for auth in [SshdAuth::Password, SshdAuth::Keyboard] {
        let Some(served) = served::sshd(auth) else { return };
        let azurite = Azurite::shared().expect("it is there where the servers are");
        plain_files(&served.root);
        let container = Azurite::container("login");
        let ferry = Ferry::between(&served.toml, &azure(azurite, &container));
        assert_eq!(ferry.ingest().code(0).source()["ingested"], 5, "{auth:?}");
        verify(azurite, &container, &served.root, &served.base, &[]);
        assert_eq!(ferry.ingest().code(0).source()["unchanged"], 5, "{auth:?}");
    }
}

#[test]
fn by_every_kind_of_tls_into_a_folder() {
    let served = [
        served::vsftpd(Tls::Implicit(Cert::Good)),
        served::pure_ftpd(Some(Cert::Good)),
        served::proftpd(Tls::Explicit(Cert::Good)),
        served::proftpd(Tls::Implicit(Cert::Good)),
    ];
    for served in served.iter().flatten() {
        plain_files(&served.root);
        let ferry = Ferry::between(&served.toml, "folder = \"out\"");
        assert_eq!(ferry.ingest().code(0).source()["ingested"], 5, "{}", served.toml);
        let differences = Command::new("diff")
            .arg("-r")
            .arg(&served.root)
            .arg(ferry.path("out/acme"))
            .output()
            .unwrap();
        assert!(differences.status.success(), "{}", String::from_utf8_lossy(&differences.stdout));
        assert_eq!(ferry.ingest().code(0).source()["unchanged"], 5, "{}", served.toml);
    }
}

/// Zip archives of every method that Python writes, with odd names, twins, folders, nothing.
const ARCHIVES: &str = r#"
import os, sys, zipfile, warnings
warnings.simplefilter("ignore")
root = sys.argv[1]
def archive(name, method, members):
    with zipfile.ZipFile(os.path.join(root, name), "w", method) as out:
        for path, data in members:
            member = zipfile.ZipInfo(path, (2021, 5, 6, 7, 8, 10))
            out.writestr(member, data, method if data else zipfile.ZIP_STORED)
plain = [("a.txt", b"one"), ("b/c.bin", os.urandom(300000)), ("empty", b""), ("b/", b""),
    ("café/日.txt", b"utf8" * 9000)]
odd = [("../climbs", b"1"), ("/absolute", b"2"), ("twice", b"3"), ("twice", b"4"), ("Case", b"5"),
    ("case", b"6"), ("C:/drive", b"7"), ("a%2Fb", b"8"), ("x.", b"9"), (" ", b"10"),
    ("\u00e9" * 1100, b"11")]
many = [(f"d{i%7}/{i}.txt", str(i).encode() * i) for i in range(300)]
archive("stored.zip", zipfile.ZIP_STORED, plain)
archive("deflated.dat", zipfile.ZIP_DEFLATED, plain)
archive("odd.zip", zipfile.ZIP_DEFLATED, odd)
archive("none.zip", zipfile.ZIP_STORED, [])
archive("many.zip", zipfile.ZIP_DEFLATED, many)
for name in os.listdir(root):
    os.utime(os.path.join(root, name), (1600000000, 1600000000))
"#;

#[test]
fn every_member_of_zip_archives_is_what_python_reads() {
    let Some(served) = served::sshd(SshdAuth::Key) else { return };
    let azurite = Azurite::shared().expect("it is there where the servers are");
    assert!(python(&["-c", ARCHIVES, served.root.to_str().unwrap()]).status.success());
    let container = Azurite::container("members");
    let ferry = Ferry::between(&served.toml, &azure(azurite, &container));
    let source = ferry.ingest().code(0).source();
    let summary = verify(azurite, &container, &served.root, &served.base, &[]);
    expect![[r#"{"archives":5,"identical":0,"members":321,"skipped":2,"stored":319}"#]]
        .assert_eq(&source["members"].to_string());
    let wanted = r#"{"blobs":319,"bytes":801574,"empty_archives":1,"members":319,"#;
    assert_eq!(summary.to_string(), format!(r#"{wanted}"ok":true,"own":13}}"#));
    assert_eq!(ferry.ingest().code(0).source()["unchanged"], 5);
}
