//! How much memory large files take: run by `scripts/measure-memory.sh`, since it needs a release
//! build and minutes.

use std::fs;

use super::super::served::{self, Served};
use super::super::servers::*;
use super::*;

/// The most memory that the program may ever have.
const MOST_MIB: u64 = 128;

/// A sparse file: it costs no disk, but is sent in full.
fn sparse(served: &Served, gib: u64) {
    let path = served.root.join("sparse.bin");
    let file = fs::File::create(path).unwrap();
    file.set_len(gib << 30).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000))
        .unwrap();
    hand_over(&served.root);
}

/// A program that the script has built.
fn built(variable: &str) -> String {
    std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} is not set: run scripts/measure-memory.sh"))
}

/// Runs `program` in the folder of `ferry` to its end, and says the most memory that it had, in
/// KiB, and how long it took.
fn measure(ferry: &Ferry, program: &str, words: &[&str]) -> (u64, Duration, String) {
    let start = Instant::now();
    let out = fs::File::create(ferry.path("stdout")).unwrap();
    let mut child = Command::new(program)
        .args(words)
        .current_dir(ferry.path(""))
        .env_clear()
        .stdout(out)
        .spawn()
        .unwrap();
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        // The kernel keeps the peak, so the last look is as good as all of them.
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let told = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok());
        peak = told.unwrap_or(peak);
        std::thread::sleep(Duration::from_millis(5));
    }
    let out = fs::read_to_string(ferry.path("stdout")).unwrap();
    assert!(child.wait().unwrap().success(), "{out}");
    (peak, start.elapsed(), out)
}

fn tell(what: &str, gib: u64, (peak, time, out): (u64, Duration, String)) {
    let mib = peak.div_ceil(1024);
    println!(
        "{what}: {gib} GiB in {:.1} s ({:.0} MiB/s), peak {mib} MiB",
        time.as_secs_f64(),
        (gib << 10) as f64 / time.as_secs_f64()
    );
    assert!(mib > 1 && mib <= MOST_MIB, "{what}: {mib} MiB is above {MOST_MIB} MiB\n{out}");
}

fn into_nothing(what: &str, served: &Served) {
    let gib = 10;
    sparse(served, gib);
    let ferry = Ferry::between(&served.toml, "folder = \"never\"");
    let measured = measure(&ferry, &built("BLOBFERRY_INTO_NOTHING"), &["ingest.toml"]);
    assert!(
        measured.2.contains(&format!("arrived: 1 blobs, {} bytes", gib << 30)),
        "{}",
        measured.2
    );
    tell(what, gib, measured);
}

#[test]
#[ignore = "scripts/measure-memory.sh runs it"]
fn measure_sftp() {
    into_nothing(
        "SFTP from sshd into nothing",
        &served::sshd(SshdAuth::Key).expect("sshd is installed"),
    );
}

#[test]
#[ignore = "scripts/measure-memory.sh runs it"]
fn measure_ftp() {
    into_nothing(
        "FTP from vsftpd into nothing",
        &served::vsftpd(Tls::Off).expect("vsftpd is installed"),
    );
}

#[test]
#[ignore = "scripts/measure-memory.sh runs it"]
fn measure_ftps() {
    into_nothing(
        "FTPS from vsftpd into nothing",
        &served::vsftpd(Tls::Explicit(Cert::Good)).expect("vsftpd is installed"),
    );
}

#[test]
#[ignore = "scripts/measure-memory.sh runs it"]
fn measure_azurite() {
    let azurite = Azurite::start(Persistence::Disk).expect("Azurite is installed");
    let container = Azurite::container("memory");
    let served = served::sshd(SshdAuth::Key).expect("sshd is installed");
    sparse(&served, 1);
    let ferry = Ferry::between(&served.toml, &azure(&azurite, &container));
    tell("SFTP from sshd into Azurite", 1, measure(&ferry, &built("BLOBFERRY_BINARY"), &["run"]));
    verify(&azurite, &container, &served.root, &served.base, &[]);
}
