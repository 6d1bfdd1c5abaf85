//! Rough days: connections that break, servers with little room, two runs at once, files that
//! change and go.

use std::fs;

use super::super::names::write_under;
use super::super::served::{self, Served};
use super::super::servers::*;
use super::bad_input::old_file;
use super::watch::Watch;
use super::*;

/// Content that no two offsets of which look alike.
fn content(mib: usize) -> Vec<u8> {
    (0..u32::try_from(mib << 18).unwrap())
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes())
        .collect()
}

/// Breaks every connection several times while one file is read; the run carries on from where it
/// was.
fn through_broken_connections(served: &Served) {
    let bytes = content(160);
    old_file(&served.root.join("large.bin"), &bytes);
    let ferry = Ferry::new(&format!(
        "[destination]\nfolder = \"out\"\n[limits]\nmemory = \"32 MiB\"\n[[source]]\nname = \
        \"acme\"\n{}",
        served.toml
    ));
    let watch = Watch::folder(&ferry.path("out"));
    let mut program = ferry.start(&["run", "--json"]);
    let mut broken = 0;
    for mib in [10, 50, 100] {
        wait_for("progress", || program.has_ended() || watch.now().staged >= mib);
        broken += u32::from(!program.has_ended());
        served.daemon().expect("a server").kill_sessions();
    }
    let done = program.end(Duration::from_secs(60)).code(0);
    assert_eq!(done.source()["bytes"], bytes.len(), "{}", done.out);
    assert!(fs::read(ferry.path("out/acme/large.bin")).unwrap() == bytes);
    assert!(broken >= 2, "broken in the middle {broken} times only");
}

#[test]
fn connections_to_sshd_break() {
    let Some(served) = served::sshd(SshdAuth::Key) else { return };
    through_broken_connections(&served);
}

#[test]
fn connections_to_ftp_servers_break() {
    for served in [
        served::vsftpd(Tls::Off),
        served::proftpd(Tls::Explicit(Cert::Good)),
        served::pure_ftpd(None),
    ]
    .iter()
    .flatten()
    {
        through_broken_connections(served);
    }
}

/// A hundred small files and a larger one, by more connections than the server has room for.
fn through_a_narrow_door(root: &Path, url: &str) {
    for n in 0..100 {
        old_file(&root.join(format!("d{}/{n}.txt", n % 10)), format!("file {n}").as_bytes());
    }
    old_file(&root.join("larger.bin"), &content(8));
    hand_over(root);
    let ferry = Ferry::between(&format!("{url}\nconnections = 6\n"), "folder = \"out\"");
    assert_eq!(ferry.ingest().code(0).source()["ingested"], 101);
    let differences =
        Command::new("diff").arg("-r").arg(root).arg(ferry.path("out/acme")).output().unwrap();
    assert!(differences.status.success(), "{}", String::from_utf8_lossy(&differences.stdout));
}

#[test]
fn an_sshd_with_little_room() {
    let lines = &["MaxSessions 2", "MaxStartups 2:100:2", "RekeyLimit 1M"];
    let Some(sshd) = Sshd::start(SshdOptions { auth: SshdAuth::Key, lines }) else { return };
    let url = format!(
        "url = \"sftp://{}@127.0.0.1:{}{}\"\nprivate_key_file = \"{}\"\nhost_key = \"{}\"",
        sshd.user,
        sshd.port,
        sshd.base,
        sshd.user_key.display(),
        sshd.host_key_sha256
    );
    through_a_narrow_door(&sshd.root, &url);
}

#[test]
fn ftp_servers_with_little_room() {
    let Some(vsftpd) = Vsftpd::start(VsftpdOptions { tls: Tls::Off, lines: &["max_per_ip=2"] })
    else {
        return;
    };
    let login = |password: &str| served::percent_all(password);
    through_a_narrow_door(
        &vsftpd.root,
        &format!(
            "url = \"ftp://{}:{}@127.0.0.1:{}{}\"",
            vsftpd.user,
            login(&vsftpd.password),
            vsftpd.port,
            vsftpd.base
        ),
    );
    let proftpd = Proftpd::start(ProftpdOptions {
        mode: ProftpdMode::Ftp(Tls::Off),
        lines: &["MaxClientsPerHost 2"],
    });
    if let Some(proftpd) = proftpd {
        through_a_narrow_door(
            &proftpd.root,
            &format!(
                "url = \"ftp://{}:{}@127.0.0.1:{}{}/\"",
                proftpd.user,
                login(&proftpd.password),
                proftpd.port,
                proftpd.base
            ),
        );
    }
    if let Some(pure) =
        PureFtpd::start(PureFtpdOptions { cert: None, arguments: &["--maxclientsperip=2"] })
    {
        through_a_narrow_door(
            &pure.root,
            &format!(
                "url = \"ftp://{}:{}@127.0.0.1:{}/\"",
                pure.user,
                login(&pure.password),
                pure.port
            ),
        );
    }
}

#[test]
fn two_runs_at_once_store_everything_once() {
    let Some(served) = served::sshd(SshdAuth::Key) else { return };
    let azurite = Azurite::shared().expect("it is there where sshd is");
    let files = write_under(&served.root).files.len();
    old_file(&served.root.join("larger.bin"), &content(40));
    let zip = "import sys, zipfile\nwith zipfile.ZipFile(sys.argv[1], 'w') as out:\n for i in \
        range(200): out.writestr(f'{i}.txt', str(i) * i)";
    assert!(python(&["-c", zip, served.root.join("many.zip").to_str().unwrap()]).status.success());
    let archive = fs::File::options().write(true).open(served.root.join("many.zip")).unwrap();
    archive
        .set_modified(std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000))
        .unwrap();
    hand_over(&served.root);
    let container = Azurite::container("both");
    let ferries = [(); 3].map(|()| Ferry::between(&served.toml, &azure(azurite, &container)));
    let started = ferries.each_ref().map(|ferry| ferry.start(&["run", "--json"]));
    let mut stored = 0;
    for program in started {
        let source = program.end(Duration::from_secs(60)).code(0).source();
        // Processes that came while another one was at it leave the source to it.
        if source["status"] == "left" {
            continue;
        }
        assert_eq!(
            source["ingested"].as_u64().unwrap() + source["unchanged"].as_u64().unwrap(),
            files as u64 + 2,
            "{source:#}"
        );
        stored += source["blobs"].as_u64().unwrap();
    }
    let summary = verify(azurite, &container, &served.root, &served.base, &[]);
    assert_eq!(
        (&summary["files"], &summary["members"]),
        (&(files + 1).into(), &200.into()),
        "{summary}"
    );
    assert_eq!(stored, files as u64 + 1 + 200, "each blob was written by one of them");
    assert_eq!(ferries[0].ingest().code(0).source()["unchanged"], files + 2);
}

/// Delete or move, then a name that comes again with other content.
fn after_it_is_stored(served: &Served) {
    old_file(&served.root.join("out/a.txt"), b"first");
    old_file(&served.root.join("out/deep/b.txt"), b"b");
    hand_over(&served.root);
    let at = served.toml.find("\"\n").expect("the URL ends somewhere");
    let slash = if served.toml[..at].ends_with('/') { "" } else { "/" };
    let toml = format!("{}{slash}out{}", &served.toml[..at], &served.toml[at..]);
    let ferry = Ferry::between(
        &format!("{toml}after = \"move:{}/done\"\n", served.base),
        "folder = \"store\"",
    );
    assert_eq!(ferry.ingest().code(0).source()["ingested"], 2);
    let read = |path: &str| fs::read_to_string(served.root.join(path)).unwrap_or_default();
    assert_eq!(
        (read("done/a.txt"), read("done/deep/b.txt"), read("out/a.txt")),
        ("first".into(), "b".into(), String::new())
    );
    // The name comes again; the one that was moved stays as it is, and both contents are in the
    // store.
    fs::write(served.root.join("out/a.txt"), "second one").unwrap();
    let later = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    fs::File::options()
        .write(true)
        .open(served.root.join("out/a.txt"))
        .unwrap()
        .set_modified(later)
        .unwrap();
    hand_over(&served.root);
    let done = ferry.ingest().code(0);
    assert_eq!(
        (&done.source()["ingested"], &done.source()["after_failed"]),
        (&1.into(), &0.into()),
        "{}",
        done.out
    );
    let moved = fs::read_dir(served.root.join("done"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let beside: Vec<String> = moved
        .filter(|name| name.starts_with("a~20231114T221320Z-") && name.ends_with(".txt"))
        .collect();
    let [beside] = &beside[..] else { panic!("{beside:?}") };
    assert_eq!(
        (read("done/a.txt"), read(&format!("done/{beside}")), read("out/a.txt")),
        ("first".into(), "second one".into(), String::new())
    );
    let mut contents: Vec<String> = fs::read_dir(ferry.path("store/acme"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    contents.sort();
    assert_eq!(contents, ["first", "second one"]);
    // Now files are to be deleted instead: known ones, too.
    ferry.configure(
        &fs::read_to_string(ferry.path("ingest.toml"))
            .unwrap()
            .replace(&format!("move:{}/done", served.base), "keep"),
    );
    old_file(&served.root.join("out/c.txt"), b"c");
    hand_over(&served.root);
    assert_eq!(ferry.ingest().code(0).source()["ingested"], 1);
    let ferry_text = fs::read_to_string(ferry.path("ingest.toml")).unwrap();
    ferry.configure(&ferry_text.replace("\"keep\"", "\"delete\""));
    assert_eq!(ferry.ingest().code(0).source()["unchanged"], 1);
    assert_eq!((read("done/a.txt"), read("out/c.txt")), ("first".into(), String::new()));
}

#[test]
fn files_are_moved_and_deleted_once_they_are_stored() {
    let servers = [
        served::sshd(SshdAuth::Key),
        served::proftpd_sftp(),
        served::vsftpd(Tls::Explicit(Cert::Good)),
        served::pure_ftpd(None),
        served::proftpd(Tls::Off),
        Some(served::folder()),
    ];
    servers.iter().flatten().for_each(after_it_is_stored);
}

#[test]
fn a_listing_that_pure_ftpd_cuts_short_is_no_success() {
    for cert in [None, Some(Cert::Good)] {
        let Some(pure) =
            PureFtpd::start(PureFtpdOptions { cert, arguments: &["--limitrecursion=50:3"] })
        else {
            return;
        };
        for n in 0..100 {
            old_file(&pure.root.join(format!("{n}.txt")), b"x");
        }
        let scheme = if cert.is_some() { "ftpes" } else { "ftp" };
        let ca = pure
            .ca
            .as_ref()
            .map_or(String::new(), |ca| format!("tls_ca_file = \"{}\"", ca.display()));
        let url = format!(
            "url = \"{scheme}://{}:{}@127.0.0.1:{}/\"\n{ca}",
            pure.user,
            served::percent_all(&pure.password),
            pure.port
        );
        let ferry = Ferry::between(&url, "folder = \"out\"");
        let source = ferry.ingest().code(1).source();
        assert_eq!(
            (&source["unparsed_lines"], &source["failed"]),
            (&1.into(), &0.into()),
            "{source:#}"
        );
        assert!(
            source["unparsed_samples"][0].as_str().is_some_and(|line| line.contains("truncated")),
            "{source:#}"
        );
        assert!(source["ingested"].as_u64().is_some_and(|n| (40..=60).contains(&n)), "{source:#}");
        // What is listed in full is well.
        for n in 30..100 {
            fs::remove_file(pure.root.join(format!("{n}.txt"))).unwrap();
        }
        assert_eq!(ferry.ingest().code(0).source()["listed"], 30);
    }
}

#[test]
fn a_folder_with_very_many_files() {
    for served in [served::sshd(SshdAuth::Key), served::vsftpd(Tls::Off), served::proftpd(Tls::Off)]
        .iter()
        .flatten()
    {
        for n in 0..6_000 {
            fs::write(served.root.join(format!("{n:05}.txt")), "x").unwrap();
        }
        let touch = Command::new("find")
            .arg(&served.root)
            .args(["-type", "f", "-exec", "touch", "-d", "2020-01-02", "{}", "+"])
            .status()
            .unwrap();
        assert!(touch.success());
        let ferry = Ferry::between(
            &format!("{}include = [\"**/*00.txt\"]\n", served.toml),
            "folder = \"out\"",
        );
        let source = ferry.ingest().code(0).source();
        assert_eq!(
            (&source["listed"], &source["ingested"]),
            (&6_000.into(), &60.into()),
            "{source:#}"
        );
        assert_eq!(ferry.ingest().code(0).source()["unchanged"], 60);
    }
}
