//! The program is killed again and again: nothing partial is ever visible, and the next run makes
//! it whole.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;

use md5::Digest as _;

use super::super::served::{self, Served};
use super::super::servers::*;
use super::watch::{Seen, Thing, Watch, hex};
use super::*;

/// No run takes so long.
const HANGS: Duration = Duration::from_secs(240);

/// When to kill: what was seen before the program started, and what is seen now.
type Moment = (&'static str, fn(&Seen, &Seen) -> bool);

const UPLOAD: &[Moment] = &[
    ("the first block", |before, now| now.staged > before.staged),
    ("some blocks", |before, now| now.staged >= before.staged + 12),
    ("nearly all blocks", |before, now| now.staged >= before.staged + 25),
    ("the blob", |before, now| now.visible.len() > before.visible.len()),
];

const UPLOAD_TO_FOLDER: &[Moment] = &[
    ("the first bytes", |before, now| now.staged > before.staged + 1),
    ("half of the bytes", |before, now| now.staged >= before.staged + 130),
    ("nearly all bytes", |before, now| now.staged >= before.staged + 240),
    ("the blob", |before, now| now.visible.len() > before.visible.len()),
];

const UNPACKING: &[Moment] = &[
    ("the first member", |before, now| now.visible.len() > before.visible.len()),
    ("more members", |before, now| now.visible.len() >= before.visible.len() + 30),
    ("many members", |before, now| now.visible.len() >= before.visible.len() + 150),
];

/// Kills the program once at each moment, and looks whether anything but `expected` was ever
/// visible.
fn kill_at(moments: &[Moment], ferry: &Ferry, watch: &Watch, expected: &BTreeSet<Thing>) {
    let mut killed = 0;
    for (what, reached) in moments {
        let before = watch.fresh();
        let mut program = ferry.start(&["run", "--json"]);
        let begun = std::time::Instant::now();
        wait_for(what, || {
            // What it does so long is in its log, if anywhere.
            assert!(
                begun.elapsed() < HANGS,
                "a run hangs before {what}: {}",
                fs::read_to_string(ferry.path("log/monitor.log")).unwrap_or_default()
            );
            program.has_ended() || reached(&before, &watch.now())
        });
        killed += usize::from(!program.has_ended());
        drop(program);
        let ever = watch.fresh().ever;
        assert!(
            ever.is_subset(expected),
            "visible after a kill at {what}: {:?}",
            ever.difference(expected).collect::<Vec<_>>()
        );
    }
    // The machine may be faster than our eyes, but not always.
    assert!(
        killed + 1 >= moments.len(),
        "only {killed} of {} runs were caught in the middle",
        moments.len()
    );
}

/// The next run makes everything whole, and the one after has nothing to do.
fn all_is_well(ferry: &Ferry, watch: &Watch, expected: &BTreeSet<Thing>) {
    let source = ferry.ingest().code(0).source();
    assert_eq!(
        source["ingested"].as_u64().unwrap() + source["unchanged"].as_u64().unwrap(),
        1,
        "{source:#}"
    );
    let seen = watch.fresh();
    assert_eq!((&seen.visible, &seen.ever), (expected, expected));
    let source = ferry.ingest().code(0).source();
    assert_eq!((&source["unchanged"], &source["blobs"]), (&1.into(), &0.into()), "{source:#}");
}

/// 260 MiB, no two of which are alike.
fn large_file(served: &Served) -> BTreeSet<Thing> {
    let path = served.root.join("large.bin");
    let mut file = fs::File::create(&path).unwrap();
    let mut block: Vec<u8> =
        (0..1u32 << 18).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
    let mut md5 = md5::Md5::new();
    for index in 0..260u32 {
        block[..4].copy_from_slice(&index.to_be_bytes());
        file.write_all(&block).unwrap();
        md5.update(&block);
    }
    file.set_modified(std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000))
        .unwrap();
    [("acme/large.bin".to_owned(), 260 << 20, hex(&md5.finalize()))].into()
}

const ARCHIVE: &str = r#"
import os, sys, zipfile
path = os.path.join(sys.argv[1], "many.zip")
with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
    for i in range(600):
        out.writestr(f"d{i % 9}/{i}.txt", f"{i} ".encode() * (i * 7 + 1))
os.utime(path, (1600000000, 1600000000))
"#;

/// An archive with 600 members.
fn archive(served: &Served) -> BTreeSet<Thing> {
    assert!(python(&["-c", ARCHIVE, served.root.to_str().unwrap()]).status.success());
    let member = |i: usize| {
        let content = format!("{i} ").repeat(i * 7 + 1);
        (
            format!("acme/many.zip!/d{}/{i}.txt", i % 9),
            content.len() as u64,
            hex(&md5::Md5::digest(content.as_bytes())),
        )
    };
    (0..600).map(member).collect()
}

const SMALL: &str = "[limits]\nmemory = \"32 MiB\"\n";

fn into_azurite(served: &Served, moments: &[Moment], expected: &BTreeSet<Thing>) {
    let azurite = Azurite::start(Persistence::Disk).expect("it is there where the servers are");
    let container = Azurite::container("kills");
    let ferry = Ferry::new(&format!(
        "[destination]\n{}{SMALL}[[source]]\nname = \"acme\"\n{}",
        azure(&azurite, &container),
        served.toml
    ));
    let watch = Watch::azure(&azurite, &container);
    kill_at(moments, &ferry, &watch, expected);
    all_is_well(&ferry, &watch, expected);
    drop(watch);
    verify(&azurite, &container, &served.root, &served.base, &[]);
}

fn into_a_folder(served: &Served, moments: &[Moment], expected: &BTreeSet<Thing>) {
    let ferry = Ferry::new(&format!(
        "[destination]\nfolder = \"out\"\n{SMALL}[[source]]\nname = \"acme\"\n{}",
        served.toml
    ));
    let watch = Watch::folder(&ferry.path("out"));
    kill_at(moments, &ferry, &watch, expected);
    all_is_well(&ferry, &watch, expected);
}

#[test]
fn a_large_upload() {
    let Some(served) = served::sshd(SshdAuth::Key) else { return };
    let expected = large_file(&served);
    into_azurite(&served, UPLOAD, &expected);
    into_a_folder(&served, UPLOAD_TO_FOLDER, &expected);
}

#[test]
fn an_archive_that_is_unpacked() {
    let Some(served) = served::vsftpd(Tls::Off) else { return };
    let expected = archive(&served);
    into_azurite(&served, UNPACKING, &expected);
    into_a_folder(&served, UNPACKING, &expected);
}
