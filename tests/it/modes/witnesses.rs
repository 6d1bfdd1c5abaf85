//! Servers, disks and clocks that are wrong, and what is told of it.

use blobferry::demo::ftp::script::DemoFtpScript as FtpScript;
use blobferry::demo::sftp::lies::{KindRule, Lies};
use blobferry::demo::sftp::script::DemoSftpScript;

use super::super::kit::stage::{ftp, sftp};
use super::super::kit::trial::Trial;

#[test]
fn s36_a_folder_that_is_listed_as_a_file() {
    // As an empty file it would be stored, and what is in it would be missed.
    let stage =
        sftp(DemoSftpScript::lying(Lies { kinds: KindRule::FoldersAsFiles, ..Lies::default() }));
    let proof = Trial::of(&stage, &stage.lines()).run();
    proof
        .is("exit 1: listed 3, ingested 2, failed 1 [protocol]")
        .says(&["/sub", "the server lists it as a file, and it is a folder"]);
}

#[test]
fn f32_facts_with_blanks_in_their_values() {
    let line = "type=file;size=5;UNIX.groupname=domain users;UNIX.mode=0644; b.txt\r\n";
    // The server lists it once more, in its own way: it is the same file.
    let stage =
        ftp(FtpScript { extra_lines: vec![line.as_bytes().to_vec()], ..FtpScript::default() });
    Trial::of(&stage, &format!("{}exclude = [\"sub/**\"]\n", stage.lines()))
        .run()
        .is("exit 0: listed 2, ingested 2")
        .says(&["listed twice, as `/b.txt`"]);
}

#[cfg(target_os = "linux")]
#[test]
fn r18_a_log_disk_that_is_full() {
    let stage = ftp(FtpScript::default());
    let trial = Trial::of(&stage, &stage.lines());
    let configured = std::fs::read_to_string(trial.ferry.path("ingest.toml")).expect("it is there");
    let never = "rotation = \"never\"\n";
    let files = "monitor = \"full/monitor.log\"\nerrors = \"full/error.log\"\n";
    trial.ferry.configure(&configured.replace(never, &format!("{never}{files}")));
    std::fs::create_dir(trial.ferry.path("full")).expect("it can be made");
    for name in ["full/monitor.log", "full/error.log"] {
        std::os::unix::fs::symlink("/dev/full", trial.ferry.path(name)).expect("it can be made");
    }
    let proof = trial.run().is("exit 0: listed 3, ingested 3");
    let told = proof.done.err.matches("a log file cannot be written").count();
    assert!((1..=2).contains(&told), "told once a file: {}", proof.done.err);
}

#[test]
fn r19_a_clock_that_was_ahead_when_a_login_was_refused() {
    let refusing = vec![("PASS", "530 Login incorrect.\r\n")];
    let stage = ftp(FtpScript { replies: refusing, ..FtpScript::default() });
    let trial = Trial::of(&stage, &stage.lines());
    trial.run().is("exit 3: problem [auth]");
    trial.run().is("exit 3: problem [auth]");
    assert_eq!(stage.server.counts.of("PASS"), 1);
    let index = trial.ferry.path("store/_blobferry/_runs/sources.json");
    let text = std::fs::read_to_string(&index).expect("it is there");
    let year = time::OffsetDateTime::now_utc().year();
    let ahead = text
        .replace(&format!("\"refused_at\": \"{year}"), &format!("\"refused_at\": \"{}", year + 1));
    assert_ne!(ahead, text);
    std::fs::write(&index, ahead).expect("it can be written");
    trial.run().is("exit 3: problem [auth]");
    assert_eq!(stage.server.counts.of("PASS"), 2, "nobody knows when it was");
}
