//! S16 to S29: trees with loops, files that change under the reader, hostile entries, old
//! algorithms.

use std::path::Path;
use std::sync::Arc;

use blobferry::demo::sftp::LoginRule;
use blobferry::demo::sftp::script::{DemoSftpFault, DemoSftpScript};
use blobferry::source::sftp::packet::{Attributes, PacketEntry};
use bytes::Bytes;

use super::super::e2e::bad_input::old_file;
use super::super::kit::stage::{sftp, sftp_with};
use super::super::kit::trial::Trial;

#[test]
fn s16_links_that_lead_in_circles_or_nowhere() {
    let stage = sftp(DemoSftpScript::default());
    for (link, target) in [
        ("loop", "."),
        ("sub/up", ".."),
        ("self", "self"),
        ("dangling", "nowhere"),
        ("file", "b.txt"),
    ] {
        std::os::unix::fs::symlink(target, stage.root.path().join(link)).unwrap();
    }
    Trial::of(&stage, &stage.lines()).run().is("exit 0: listed 8, ingested 3, skipped 5 [symlink]");
}

fn entry(name: &[u8], mode: u32, size: u64) -> PacketEntry {
    let attributes =
        Attributes { size: Some(size), permissions: Some(mode), modified: Some(1_600_000_000) };
    PacketEntry { name: Bytes::copy_from_slice(name), long_name: Bytes::new(), attributes }
}

/// Shows these entries in `folder`, beside the real ones.
fn showing(folder: &[u8], entries: Vec<PacketEntry>) -> DemoSftpScript {
    let mut script = DemoSftpScript::default();
    script.entries.insert(folder.to_vec(), entries);
    script
}

#[test]
fn s17_a_folder_and_a_file_are_listed_and_not_there() {
    // The root lists a folder that is not there when it is entered, and a file likewise, and goes
    // on to list them.
    let ghosts = vec![entry(b"ghost", 0o040_755, 0), entry(b"ghost.txt", 0o100_644, 5)];
    let stage = sftp(showing(b"/", ghosts));
    let trial = Trial::of(&stage, &stage.lines());
    trial
        .run()
        .is("exit 1: listed 4, ingested 3, deferred 1 [unreachable], problem [listing_failed]");
    trial
        .run()
        .is("exit 1: listed 4, unchanged 3, failed 1 [unreachable], problem [listing_failed]");
}

#[test]
fn s18_a_folder_of_very_many_files() {
    let many =
        (0..50_000).map(|n| entry(format!("f{n:07}.csv").as_bytes(), 0o100_644, 1024)).collect();
    let stage = sftp(showing(b"/many", many));
    std::fs::create_dir(stage.root.path().join("many")).unwrap();
    let lines = format!("{}exclude = [\"**/*.csv\"]\n", stage.lines());
    let proof = Trial::of(&stage, &lines).run();
    assert_eq!(
        (&proof.source()["listed"], &proof.source()["ingested"], &proof.source()["skipped"]),
        (&50_003.into(), &3.into(), &50_000.into())
    );
}

fn rewrite(path: &Path, change: impl FnOnce(&Path)) {
    change(path);
}

/// `a.bin` is changed by `change` in the middle of its read: what arrives is nothing, or one whole
/// version.
#[track_caller]
fn changed_midway(change: fn(&Path), brief: &str) {
    let hook = Arc::new(move |path: &Path| rewrite(path, change));
    let stage = sftp(DemoSftpScript::default().once("a.bin", DemoSftpFault::OnRead(150_000, hook)));
    let trial = Trial::of(&stage, &stage.lines());
    trial.run().is(brief);
    // The next run takes the file as it is now, if it still is.
    let mut next = Trial::of(&stage, &stage.lines());
    next.ferry = trial.ferry;
    let proof = next.run();
    assert_eq!((proof.done.code, &proof.source()["failed"]), (0, &0.into()), "{}", proof.brief());
}

#[test]
fn s19_a_file_grows_while_it_is_read() {
    use std::io::Write as _;
    let grow = |path: &Path| {
        std::fs::OpenOptions::new()
            .append(true)
            .open(path)
            .unwrap()
            .write_all(b"more and more")
            .unwrap()
    };
    changed_midway(grow, "exit 0: listed 3, ingested 2, deferred 1 [changed_during_read]");
}

#[test]
fn s20_a_file_is_replaced_while_it_is_read() {
    let replace = |path: &Path| {
        std::fs::write(path.with_extension("new"), b"another file").unwrap();
        std::fs::rename(path.with_extension("new"), path).unwrap();
    };
    changed_midway(replace, "exit 0: listed 3, ingested 2, deferred 1 [changed_during_read]");
}

#[test]
fn s21_a_file_is_cut_short_while_it_is_read() {
    let cut = |path: &Path| {
        std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(100_000).unwrap()
    };
    changed_midway(cut, "exit 0: listed 3, ingested 2, deferred 1 [changed_during_read]");
}

#[test]
fn s22_files_that_are_still_being_written() {
    let stage = sftp(DemoSftpScript::default());
    for name in ["x.part", "x.tmp", "x.filepart", "sub/x.partial", "x.crdownload"] {
        old_file(&stage.root.path().join(name), b"half");
    }
    old_file(&stage.root.path().join("zero"), b"");
    Trial::of(&stage, &stage.lines())
        .run()
        .is("exit 0: listed 9, ingested 4, skipped 5 [in_progress]");
}

#[test]
fn s25_a_question_for_the_password() {
    let stage = sftp_with(|options| options.login = LoginRule::KeyboardInteractive);
    Trial::of(&stage, &stage.lines()).run().is("exit 0: listed 3, ingested 3");
}

#[test]
fn s26_keys_in_the_forms_that_people_paste() {
    let stage = sftp(DemoSftpScript::default());
    let url = stage.lines().replace(
        &format!(":{}@", super::super::served::percent_all(super::super::kit::stage::CANARY)),
        "@",
    );
    for (key, words) in [
        ("PuTTY-User-Key-File-3: ssh-ed25519\\nEncryption: none\\n", "damaged"),
        (
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHUaIcqPlSdnmxCOZKzDdmcmzMPGJHMK9QhGkPdrTOFY me",
            "public",
        ),
        (
            "-----BEGIN OPENSSH PRIVATE KEY-----\\nC@nary/s0ng:#%41 bird\\n-----END OPENSSH \
            PRIVATE KEY-----\\n",
            "key",
        ),
    ] {
        let trial = Trial::of(&stage, &format!("{url}private_key = \"{key}\"\n"));
        let done = trial.ferry.run(&["run", "--json"]).code(2);
        assert!(
            done.err.contains(words)
                && done.err.contains("private_key")
                && !done.err.contains("s0ng"),
            "{}",
            done.err
        );
    }
}

#[test]
fn s28_entries_that_would_lead_elsewhere() {
    let hostile: Vec<PacketEntry> = ["../up", "a/b", "/etc/passwd", "", "..", "nul\0", "..\\x"]
        .iter()
        .map(|name| entry(name.as_bytes(), 0o100_644, 5))
        .collect();
    let stage = sftp(showing(b"/", hostile));
    let proof = Trial::of(&stage, &stage.lines()).run();
    assert_eq!((proof.done.code, &proof.source()["ingested"]), (1, &3.into()), "{}", proof.brief());
    assert!(
        proof.source()["failed"].as_u64().unwrap()
            + proof.source()["unparsed_lines"].as_u64().unwrap()
            >= 4,
        "{}",
        proof.brief()
    );
}

#[test]
fn s29_where_a_login_starts() {
    let stage = sftp(DemoSftpScript::default());
    let lines = stage.lines().replacen("/\"\n", "/~/sub\"\n", 1);
    Trial::of(&stage, &lines).run().is("exit 0: listed 1, ingested 1");
    let lines = stage.lines().replacen("/\"\n", "/no/such/folder\"\n", 1);
    Trial::of(&stage, &lines).run().is("exit 3: problem [not_found]");
}
