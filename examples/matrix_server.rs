//! One server that misbehaves, for `scripts/matrix.sh`: any client may be held against it. For
//! tests, not for users.
//!
//! `matrix_server list` prints the personalities, one JSON object a line. `matrix_server NAME
//! FOLDER` serves FOLDER as NAME on a free port of this machine, prints one line of JSON that says
//! where, and ends when its input ends.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use blobferry::demo::ftp::{self, DeadPorts, FtpServer, ListFormat};
use blobferry::demo::sftp::{self, SftpServer, script};
use blobferry::model::Secret;
use blobferry::source::sftp::packet::status;
use serde_json::json;

/// The password of every server: whoever shows it in an output has told a secret.
const CANARY: &str = "C@nary/s0ng:#%41 bird";
/// Where the faults strike, of the 100,000 bytes of `a.bin`.
const MIDDLE: u64 = 60_000;

/// What the best client can do about it.
#[derive(Clone, Copy)]
enum Best {
    /// Bring every file.
    All,
    /// Say what did not arrive.
    Named,
    /// Nothing: without a checksum from the server nobody can know.
    Unseen,
}
use Best::{All, Named, Unseen};

enum Wire {
    Ftp(blobferry::demo::ftp::script::DemoFtpScript),
    Sftp(script::DemoSftpScript),
}

struct Personality {
    name: &'static str,
    what: &'static str,
    best: Best,
    wire: Wire,
}

fn ftp(
    name: &'static str,
    what: &'static str,
    best: Best,
    script: blobferry::demo::ftp::script::DemoFtpScript,
) -> Personality {
    Personality { name, what, best, wire: Wire::Ftp(script) }
}

/// Every read meets this fault.
fn read(
    name: &'static str,
    what: &'static str,
    best: Best,
    fault: blobferry::demo::ftp::script::DemoFtpFault,
) -> Personality {
    ftp(
        name,
        what,
        best,
        blobferry::demo::ftp::script::DemoFtpScript {
            every_file: Some(fault),
            ..ftp::DemoFtpScript::default()
        },
    )
}

/// `a.bin` always meets this fault.
fn sftp(
    name: &'static str,
    what: &'static str,
    best: Best,
    fault: script::DemoSftpFault,
) -> Personality {
    Personality {
        name,
        what,
        best,
        wire: Wire::Sftp(script::DemoSftpScript::default().always("a.bin", fault)),
    }
}

/// Listings of this form, without MLSD.
fn listed(listing: ListFormat) -> blobferry::demo::ftp::script::DemoFtpScript {
    blobferry::demo::ftp::script::DemoFtpScript {
        listing,
        without: vec!["MLST"],
        ..ftp::DemoFtpScript::default()
    }
}

fn dialects() -> Vec<Personality> {
    let right = blobferry::demo::ftp::script::DemoFtpScript::default;
    let greeting =
        b"220-Welcome\r\n220-500 not an error\r\n   220 fake end\r\n220 ready\r\n".to_vec();
    let garbage =
        vec![("EPSV", "500 EPSV not understood.\r\n"), ("PASV", "227 Entering Passive Mode\r\n")];
    let refused = vec![("PASS", "530 Login incorrect.\r\n")];
    vec![
        ftp("ok", "a server that does everything right", All, right()),
        ftp(
            "multiline",
            "a greeting of many lines, with false ends",
            All,
            blobferry::demo::ftp::script::DemoFtpScript { greeting: Some(greeting), ..right() },
        ),
        ftp("list-unix", "no MLSD; `ls -l`", All, listed(ListFormat::Unix)),
        ftp("list-dos", "no MLSD; listings as IIS", All, listed(ListFormat::Dos)),
        ftp("list-garbage", "listings that mean nothing", Named, listed(ListFormat::Garbage)),
        ftp("list-feb29", "files dated `Feb 29  2024`", All, listed(ListFormat::UnixOld)),
        ftp("list-vms", "listings as OpenVMS", Named, listed(ListFormat::Vms)),
        ftp("size-ascii", "SIZE refused in ASCII mode", All, listed(ListFormat::Unix)),
        ftp(
            "no-epsv-nat",
            "no EPSV; PASV names an address behind a NAT",
            All,
            blobferry::demo::ftp::script::DemoFtpScript {
                without: vec!["EPSV"],
                pasv_address: Some([10, 255, 255, 1]),
                ..right()
            },
        ),
        ftp(
            "pasv-garbage",
            "no EPSV; PASV replies that mean nothing",
            Named,
            blobferry::demo::ftp::script::DemoFtpScript { replies: garbage, ..right() },
        ),
        ftp(
            "no-size-mdtm",
            "neither MLSD, SIZE nor MDTM",
            All,
            blobferry::demo::ftp::script::DemoFtpScript {
                without: vec!["MLST", "SIZE", "MDTM"],
                ..right()
            },
        ),
        ftp(
            "421-greeting",
            "421: too many connections, for ever",
            Named,
            blobferry::demo::ftp::script::DemoFtpScript { full_from: Some(1), ..right() },
        ),
        ftp(
            "530",
            "530: the login is refused",
            Named,
            blobferry::demo::ftp::script::DemoFtpScript { replies: refused, ..right() },
        ),
        ftp(
            "latin1",
            "names in Latin-1 and with blanks at both ends; no UTF8, no MLSD",
            All,
            blobferry::demo::ftp::script::DemoFtpScript {
                without: vec!["MLST", "UTF8"],
                ..right()
            },
        ),
    ]
}

fn reads() -> Vec<Personality> {
    use ftp::DemoFtpFault;
    let busy = blobferry::demo::ftp::script::DemoFtpScript {
        files: [(b"a.bin".to_vec(), DemoFtpFault::RefuseTimes(2, "450 File busy.\r\n"))].into(),
        ..ftp::DemoFtpScript::default()
    };
    vec![
        read(
            "cut-fin-226",
            "data ends early, the server says 226",
            Named,
            DemoFtpFault::FinThen226(MIDDLE),
        ),
        read(
            "cut-426",
            "data ends early, the server says 426",
            Named,
            DemoFtpFault::FinThen426(MIDDLE),
        ),
        read("cut-rst", "the data connection is reset", Named, DemoFtpFault::Reset(MIDDLE)),
        read(
            "cut-die",
            "both connections end in the middle",
            Named,
            DemoFtpFault::DieControl(MIDDLE),
        ),
        read("stall", "data stops coming", Named, DemoFtpFault::Stall(MIDDLE)),
        read("no226", "all data, and the closing reply never comes", All, DemoFtpFault::No226),
        read(
            "late226",
            "the closing reply comes 1 s late",
            All,
            DemoFtpFault::Late226(Duration::from_secs(1)),
        ),
        read(
            "425",
            "425: no data connection",
            Named,
            DemoFtpFault::Refuse("425 Can't open data connection.\r\n"),
        ),
        read(
            "550",
            "550: no file may be read",
            Named,
            DemoFtpFault::Refuse("550 Permission denied.\r\n"),
        ),
        ftp(
            "neverconnect",
            "passive ports that nobody listens on",
            Named,
            blobferry::demo::ftp::script::DemoFtpScript {
                dead_ports: DeadPorts::All,
                ..ftp::DemoFtpScript::default()
            },
        ),
        read("accept-nodata", "150, and then no data at all", Named, DemoFtpFault::Stall(0)),
        read("drip", "1 KiB each 5 ms", All, DemoFtpFault::Drip(Duration::from_millis(5))),
        ftp("450x2", "450: busy twice, then well", All, busy),
    ]
}

fn faults() -> Vec<Personality> {
    use script::DemoSftpFault;
    vec![
        sftp("sftp-ok", "a server that does its work", All, DemoSftpFault::ShortReads(u32::MAX)),
        sftp(
            "sftp-short",
            "no READ gives more than 1000 bytes",
            All,
            DemoSftpFault::ShortReads(1000),
        ),
        sftp(
            "sftp-fail",
            "a READ in the middle fails",
            Named,
            DemoSftpFault::StatusAt(MIDDLE, status::FAILURE),
        ),
        sftp(
            "sftp-drop",
            "the connection ends in the middle",
            Named,
            DemoSftpFault::DisconnectAt(MIDDLE),
        ),
        sftp(
            "sftp-stall",
            "a READ in the middle is never answered",
            Named,
            DemoSftpFault::StallAt(MIDDLE),
        ),
        sftp("sftp-trunc", "the end of the file comes early", Named, DemoSftpFault::EofAt(MIDDLE)),
        sftp(
            "sftp-lieplus",
            "the size is told 1000 too large",
            Named,
            DemoSftpFault::LieSize(1000),
        ),
        sftp(
            "sftp-lieminus",
            "the size is told 1000 too small",
            Named,
            DemoSftpFault::LieSize(-1000),
        ),
        sftp(
            "sftp-noattrs",
            "neither size, time nor kind is told",
            All,
            DemoSftpFault::NoAttributes,
        ),
        sftp("sftp-nostat", "STAT and FSTAT are denied", All, DemoSftpFault::StatDenied),
        sftp(
            "sftp-denied",
            "OPEN is denied",
            Named,
            DemoSftpFault::OpenStatus(status::PERMISSION_DENIED),
        ),
        sftp(
            "sftp-flip",
            "one bit of the data is another one",
            Unseen,
            DemoSftpFault::FlipAt(1234),
        ),
    ]
}

fn personalities() -> Vec<Personality> {
    dialects().into_iter().chain(reads()).chain(faults()).collect()
}

fn protocol(wire: &Wire) -> &'static str {
    match wire {
        Wire::Ftp(_) => "ftp",
        Wire::Sftp(_) => "sftp",
    }
}

fn list(out: &mut impl std::io::Write) -> Result<()> {
    for one in personalities() {
        let best = match one.best {
            All => "all",
            Named => "named",
            Unseen => "unseen",
        };
        writeln!(
            out,
            "{}",
            json!({
                "name": one.name, "what": one.what, "best": best,
                "protocol": protocol(&one.wire), "password": CANARY,
            })
        )?;
    }
    Ok(())
}

/// Keeps a server alive as long as it is held.
enum Served {
    Ftp(FtpServer),
    Sftp(SftpServer),
}

async fn serve(wire: Wire, folder: &str) -> Result<Served> {
    Ok(match wire {
        Wire::Ftp(script) => {
            let options = blobferry::demo::ftp::shared::DemoFtpOptions {
                password: Secret::new(CANARY),
                script,
                ..ftp::DemoFtpOptions::new(folder)
            };
            Served::Ftp(FtpServer::start(options).await?)
        }
        Wire::Sftp(script) => {
            let account = Some(blobferry::demo::sftp::DemoSftpAccount {
                user: "demo".into(),
                password: Secret::new(CANARY),
            });
            Served::Sftp(
                SftpServer::start(sftp::DemoSftpOptions {
                    account,
                    script,
                    ..sftp::DemoSftpOptions::new(folder)
                })
                .await?,
            )
        }
    })
}

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut out = std::io::stdout().lock();
    let (name, folder) = match words.as_slice() {
        [list_word] if list_word == "list" => return list(&mut out),
        [name, folder] => (name, folder),
        _ => bail!("usage: matrix_server list | NAME FOLDER"),
    };
    let one = personalities()
        .into_iter()
        .find(|one| one.name == name)
        .with_context(|| format!("no personality `{name}`"))?;
    let served = serve(one.wire, folder).await?;
    let (address, host_key) = match &served {
        Served::Ftp(server) => (server.address, None),
        Served::Sftp(server) => (server.address, Some(&server.host_key)),
    };
    writeln!(
        out,
        "{}",
        json!({ "port": address.port(), "user": "demo", "password": CANARY, "host_key": host_key })
    )?;
    out.flush()?;
    // Whoever started us holds the other end, and lets go when it is done or dead.
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    drop(served);
    Ok(())
}
