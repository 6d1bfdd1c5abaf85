//! Servers that send without end, before the program itself: how much memory it takes. Run by
//! `scripts/floods.sh`, since it takes minutes.

use std::fs;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use blobferry::source::sftp::packet::{Attributes, PacketReply};
use blobferry::store::memory::MemoryStore;
use tokio::net::TcpListener;

use super::super::e2e::Ferry;
use super::super::kit::stage::runtime;
use super::ftp::{self, FtpDialect};
use super::lie::{DataEnd, PLAIN_FTP, PLAIN_SFTP, WireAct, WireCue, WireLie};
use super::scene::WireScene;
use super::sftp;

/// The most memory that a flood may cost.
const MOST_MIB: u64 = 400;
/// How long a flood goes on.
const PATIENCE: Duration = Duration::from_secs(30);
/// Names of one block or page.
const NAMES: u64 = 200;

/// Names of so many bytes that never come twice, behind this line of facts.
fn lines(block: u64, facts: &str, bytes: usize) -> Vec<u8> {
    let line = |n: u64| format!("{facts} {block:0>bytes$}-{n}\r\n");
    (0..NAMES).map(line).collect::<String>().into_bytes()
}

fn listing(answer: &mut super::lie::FtpAnswer, end: DataEnd) -> bool {
    let is_listing = answer.is_listing();
    if is_listing {
        answer.end = end;
    }
    is_listing
}

/// A page of names that never come twice.
fn page(cue: &WireCue<'_>, saying: &mut super::lie::SftpSaying<'_>, mode: u32) -> bool {
    let Some((path, reply, _)) = saying.page() else { return false };
    let page = cue.nth(path);
    let told = Attributes { size: Some(7), permissions: Some(mode), modified: Some(1_704_067_200) };
    let name = |n: u64| format!("{page:0>60}-{n}").into_bytes();
    *reply = PacketReply::Names((0..NAMES).map(|n| sftp::entry(&name(n), told.clone())).collect());
    true
}

const FLOODS: &[WireLie] = &[
    WireLie {
        name: "folders",
        what: "a listing has folders without end",
        act: WireAct::Ftp(|_, answer| {
            listing(answer, DataEnd::Growing(|block| lines(block, "type=dir;", 60)))
        }),
        ..PLAIN_FTP
    },
    WireLie {
        name: "names",
        what: "a listing has files without end",
        act: WireAct::Ftp(|_, answer| {
            let line = |block| lines(block, "type=file;size=7;modify=20240101000000;", 60);
            listing(answer, DataEnd::Growing(line))
        }),
        ..PLAIN_FTP
    },
    WireLie {
        name: "long-names",
        what: "a listing has files of long names without end",
        act: WireAct::Ftp(|_, answer| {
            let line = |block| lines(block, "type=file;size=7;modify=20240101000000;", 3_000);
            listing(answer, DataEnd::Growing(line))
        }),
        ..PLAIN_FTP
    },
    WireLie {
        name: "lines",
        what: "a listing has lines without end that tell nothing",
        act: WireAct::Ftp(|_, answer| {
            listing(answer, DataEnd::Endless(b"type=cdir;modify=20240101000000; .\r\n".to_vec()))
        }),
        ..PLAIN_FTP
    },
    WireLie {
        name: "line",
        what: "a listing has a line without end",
        act: WireAct::Ftp(|_, answer| listing(answer, DataEnd::Endless(vec![b'x'; 1_000]))),
        ..PLAIN_FTP
    },
    WireLie {
        name: "readdir",
        what: "READDIR has files without end",
        act: WireAct::Sftp(|cue, saying| page(cue, saying, 0o100_644)),
        ..PLAIN_SFTP
    },
    WireLie {
        name: "readdir-folders",
        what: "READDIR has folders without end",
        act: WireAct::Sftp(|cue, saying| page(cue, saying, 0o040_755)),
        ..PLAIN_SFTP
    },
    WireLie {
        name: "file",
        what: "a file has bytes without end",
        act: WireAct::Ftp(|cue, answer| {
            let brings = answer.brings(cue);
            if brings {
                answer.end = DataEnd::Endless(vec![b'x'; 65_536]);
            }
            brings
        }),
        ..PLAIN_FTP
    },
    WireLie {
        name: "reply",
        what: "a reply has lines without end",
        act: WireAct::Ftp(|_, answer| {
            let is_size = answer.verb == "CWD";
            if is_size {
                answer.says("250-There");
                answer.endless = Some(b"250-and there\r\n".to_vec());
            }
            is_size
        }),
        ..PLAIN_FTP
    },
];

/// The most memory that a run over this flood had, in MiB, and whether it came to its end.
fn measured(flood: &'static WireLie) -> (u64, bool, Duration) {
    let runtime = runtime();
    let store = Arc::new(MemoryStore::new());
    let scene = Arc::new(WireScene::new(0, vec![flood], store, false).endless());
    scene.truth().write("/f0", 600, 1_704_067_200);
    let host = Ipv4Addr::LOCALHOST;
    let listener = runtime.block_on(TcpListener::bind((host, 0))).unwrap();
    let port = listener.local_addr().unwrap().port();
    let _on = runtime.enter();
    let lines = match flood.act {
        WireAct::Sftp(_) => {
            let print = sftp::start(listener, scene.clone());
            format!("url = \"sftp://u:p@{host}:{port}/\"\nhost_key = \"{print}\"\n")
        }
        WireAct::Ftp(_) => {
            ftp::start(listener, host, FtpDialect::Facts, scene.clone());
            format!("url = \"ftp://u:p@{host}:{port}/\"\n")
        }
    };
    let ferry = Ferry::between(&lines, "folder = \"store\"");
    let program = std::env::var("BLOBFERRY_BINARY");
    let program = program.unwrap_or_else(|_| env!("CARGO_BIN_EXE_blobferry").to_owned());
    let mut child = Command::new(program)
        .arg("run")
        .current_dir(ferry.path(""))
        .env_clear()
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (mut peak, begun) = (0_u64, Instant::now());
    while child.try_wait().unwrap().is_none() && begun.elapsed() < PATIENCE {
        // The kernel keeps the peak, so the last look is as good as all of them.
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let told = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok());
        peak = told.unwrap_or(peak);
        std::thread::sleep(Duration::from_millis(10));
    }
    let ended = child.try_wait().unwrap().is_some();
    drop(child.kill());
    child.wait().unwrap();
    assert!(!scene.fired().is_empty(), "{} was never played", flood.name);
    (peak.div_ceil(1024), ended, begun.elapsed())
}

#[test]
#[ignore = "scripts/floods.sh runs it"]
fn floods() {
    let mut above = Vec::new();
    for flood in FLOODS {
        let (mib, ended, took) = measured(flood);
        let end = if ended { "ended" } else { "still running" };
        println!("flood {:16} {end} after {:.1} s, peak {mib} MiB", flood.name, took.as_secs_f64());
        if !(2..=MOST_MIB).contains(&mib) {
            above.push(format!("{} ({}): {mib} MiB", flood.name, flood.what));
        }
    }
    assert!(above.is_empty(), "above {MOST_MIB} MiB: {above:#?}");
}
