//! S30 and on: servers that claim what is not so, send without end, or keep what others need.

use std::fs::File;
use std::time::{Duration, Instant};

use blobferry::demo::ftp::script::DemoFtpFault as FtpFault;
use blobferry::demo::ftp::script::DemoFtpScript as FtpScript;
use blobferry::demo::sftp::lies::{HandleRule, KindRule, Lies, PageRule, PastEnd};
use blobferry::demo::sftp::script::DemoSftpScript;
use blobferry::source::sftp::packet::status;

use super::super::e2e::bad_input::old_file;
use super::super::kit::stage::{ftp, sftp};
use super::super::kit::trial::{Proof, Trial};

fn lying(lies: Lies) -> Proof {
    let stage = sftp(DemoSftpScript::lying(lies));
    Trial::of(&stage, &stage.lines()).run()
}

#[test]
fn s30_one_handle_for_two_files() {
    let stage = sftp(DemoSftpScript::lying(Lies { handles: HandleRule::Twice, ..Lies::default() }));
    for folder in 0..4 {
        for file in 0..20 {
            old_file(
                &stage.root.path().join(format!("s{folder}/k{file}")),
                format!("{folder}-{file:02}\n").repeat(2000).as_bytes(),
            );
        }
    }
    // Files of other bytes than some file of the stage end the trial.
    let trial = Trial::of(&stage, &format!("{}attempts = 5\n", stage.lines()));
    let proof = trial.run().is("exit 0: listed 83, ingested 83");
    assert_eq!(proof.log.matches("one handle to two open files, so that").count(), 1, "told once");
    for folder in 0..4 {
        for file in 0..20 {
            let stored =
                std::fs::read_to_string(trial.ferry.path(&format!("store/acme/s{folder}/k{file}")))
                    .expect("it is stored");
            assert!(
                stored.starts_with(&format!("{folder}-{file:02}\n")),
                "s{folder}/k{file} holds {}",
                &stored[..4]
            );
        }
    }
}

#[test]
fn s31_pages_and_ends_that_make_no_whole() {
    for pages in [
        PageRule::EndInBetween,
        PageRule::SamePage(4),
        PageRule::BreaksOffWith(status::FAILURE),
        PageRule::RoundAndRound,
    ] {
        let proof = lying(Lies { pages, ..Lies::default() }).is("exit 0: listed 3, ingested 3");
        proof.says(&["listed again, one question at a time"]);
    }
    for pages in [
        PageRule::EndsWith(status::OK),
        PageRule::EndsWith(status::NO_SUCH_FILE),
        PageRule::EndsWith(status::FAILURE),
    ] {
        lying(Lies { pages, ..Lies::default() }).is("exit 0: listed 3, ingested 3");
    }
    lying(Lies { pages: PageRule::EmptyForEver, ..Lies::default() })
        .is("exit 0: listed 3, ingested 3")
        .says(&["taken for whole"]);
}

#[test]
fn s32_a_kind_that_is_not_told() {
    for kinds in [KindRule::NineLetters, KindRule::Untold] {
        lying(Lies { kinds, ..Lies::default() }).is("exit 0: listed 3, ingested 3");
    }
}

#[test]
fn s33_few_files_may_be_open() {
    let words = "Maximum concurrent transfers exceeded for the current context";
    for most_open in [(1, status::PERMISSION_DENIED, words), (2, status::FAILURE, "Failure")] {
        let stage =
            sftp(DemoSftpScript::lying(Lies { most_open: Some(most_open), ..Lies::default() }));
        for file in 0..20 {
            old_file(&stage.root.path().join(format!("f{file:02}")), &vec![7; 200_000]);
        }
        Trial::of(&stage, &format!("{}connections = 1\n", stage.lines()))
            .run()
            .is("exit 0: listed 23, ingested 23");
    }
}

#[test]
fn s34_other_answers_than_the_end_behind_the_end() {
    for past_end in [
        PastEnd::Nothing,
        PastEnd::Status(status::FAILURE),
        PastEnd::Status(status::PERMISSION_DENIED),
    ] {
        lying(Lies { past_end: Some(past_end), ..Lies::default() })
            .is("exit 0: listed 3, ingested 3");
    }
}

#[test]
fn s35_dots_without_end() {
    let stage =
        sftp(DemoSftpScript::lying(Lies { pages: PageRule::DotsForEver, ..Lies::default() }));
    Trial::of(&stage, &stage.lines())
        .run()
        .is("exit 3: problem [listing_failed]")
        .says(&["without entries"]);
}

#[test]
fn f30_an_entry_that_is_listed_twice() {
    let twice = |script: FtpScript| {
        let stage = ftp(script);
        // The lines come with each folder.
        let lines = format!("{}exclude = [\"sub/**\"]\n", stage.lines());
        Trial::of(&stage, &lines)
            .run()
            .is("exit 0: listed 2, ingested 2")
            .says(&["listed twice, as `/b.txt`"]);
    };
    let again = |line: &str| vec![format!("{line}\r\n").into_bytes()];
    twice(FtpScript {
        extra_lines: again("type=file;size=5;modify=20010203040506; b.txt"),
        ..FtpScript::default()
    });
    let lists = vec!["MLST"];
    twice(FtpScript {
        without: lists,
        extra_lines: again("-rw-r--r-- 1 f f 5 Feb 03  2001 b.txt"),
        ..FtpScript::default()
    });
}

#[test]
fn f31_a_name_without_a_kind() {
    let stage = ftp(FtpScript { untold_kinds: true, ..FtpScript::default() });
    Trial::of(&stage, &stage.lines()).run().is("exit 0: listed 3, ingested 3");
}

#[test]
fn n20_a_byte_now_and_then() {
    let drip = FtpFault::Drip(Duration::from_millis(60));
    let stage =
        ftp(FtpScript { files: [(b"a.bin".to_vec(), drip)].into(), ..FtpScript::default() });
    let lines = |rate: &str| format!("{}minimum_rate = \"{rate}\"\n", stage.lines());
    let begun = Instant::now();
    let proof =
        Trial::of(&stage, &lines("100 KiB/s over 2s")).patient(Duration::from_secs(20)).run();
    proof.is("exit 1: listed 3, ingested 2, failed 1 [stalled]").says(&["minimum_rate"]);
    assert!(begun.elapsed() < Duration::from_secs(30));
    Trial::of(&stage, &lines("off"))
        .patient(Duration::from_secs(120))
        .run()
        .is("exit 0: listed 3, ingested 3");
}

#[test]
fn n21_a_listing_that_drips() {
    let stage =
        ftp(FtpScript { listing_drip: Some(Duration::from_millis(300)), ..FtpScript::default() });
    let lines = format!("{}minimum_rate = \"100 KiB/s over 2s\"\n", stage.lines());
    let proof = Trial::of(&stage, &lines).patient(Duration::from_secs(20)).run();
    assert_eq!((proof.done.code, &proof.source()["ingested"]), (3, &0.into()), "{}", proof.brief());
    proof.says(&["minimum_rate", "stalled"]);
}

#[test]
fn n22_lines_that_tell_nothing_without_end() {
    let lines = b"type=cdir;modify=20261101000000; .\r\n".repeat(300_000);
    let stage = ftp(FtpScript { extra_lines: vec![lines], ..FtpScript::default() });
    let trial = Trial::new(
        &format!(
            "[limits]\nentries = 10000\n[[source]]\nname = \"acme\"\nstable_for = \"0s\"\n{}",
            stage.lines()
        ),
        "folder = \"store\"",
    );
    let proof =
        stage.files().into_values().fold(trial, |trial, content| trial.allow(&content)).run();
    assert_eq!(proof.done.code, 1, "{}", proof.brief());
    proof.says(&["limit_listing", "`limits.entries` = 10000 lines"]);
}

#[test]
fn r16_a_frozen_process_keeps_the_locks_of_a_folder() {
    let stage = ftp(FtpScript::default());
    let trial = Trial::of(&stage, &stage.lines());
    trial.run().is("exit 0: listed 3, ingested 3");
    let locks = trial.ferry.path("store/.blobferry/locks");
    let open = |n: u32| {
        File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(locks.join(format!("{n:02x}")))
            .expect("it opens")
    };
    let held: Vec<File> = (0..256).map(open).collect();
    held.iter().for_each(|lock| lock.lock().expect("it is free"));
    let begun = Instant::now();
    let done = trial.ferry.run(&["ls"]);
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    let name = format!("process {}", std::process::id());
    assert!(
        done.code != 0 && (!cfg!(target_os = "linux") || done.err.contains(&name)),
        "{}",
        done.err
    );
    let run = trial.ferry.start(&["run"]);
    std::thread::sleep(Duration::from_secs(2));
    let begun = Instant::now();
    run.signal("INT");
    run.end(Duration::from_secs(60));
    eprintln!("the run ended {:?} after the signal", begun.elapsed());
    drop(held);
    trial.run().is("exit 0: listed 3, unchanged 3");
}

#[cfg(unix)]
#[test]
fn r17_who_may_read_state_and_logs() {
    use std::os::unix::fs::PermissionsExt;
    let stage = ftp(FtpScript::default());
    let trial = Trial::of(&stage, &stage.lines());
    trial.run().is("exit 0: listed 3, ingested 3");
    let mut folders = vec![
        trial.ferry.path("store/.blobferry"),
        trial.ferry.path("store/_blobferry"),
        trial.ferry.path("log"),
    ];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        let mode = std::fs::metadata(&folder).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o027, 0, "{}: {mode:o}", folder.display());
        for entry in std::fs::read_dir(&folder).expect("it is a folder") {
            let path = entry.expect("it can be read").path();
            let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
            if path.is_dir() {
                folders.push(path);
            } else {
                seen += 1;
                assert_eq!(mode & 0o137, 0, "{}: {mode:o}", path.display());
            }
        }
    }
    assert!(seen > 10, "{seen} files are not all");
    let blob = std::fs::metadata(trial.ferry.path("store/acme/b.txt"))
        .expect("it is stored")
        .permissions()
        .mode();
    assert_ne!(blob & 0o400, 0);
}
