//! The parts that run for each file, each listing line and each packet, without a server: `cargo
//! bench`.
//!
//! `cargo bench -- naming` runs some of them. Figures vary by tens of percent between machines:
//! compare two commits on one.

use std::time::Duration;

use blobferry::model::{ModifiedTime, Precision, RemoteFile, RemotePath, Version};
use blobferry::rules::naming::{Layout, Naming, escaped_for_metadata};
use blobferry::rules::plan::known::Known;
use blobferry::rules::plan::rest::Clock;
use blobferry::rules::plan::{self, MarkerTimes, Rules};
use blobferry::runtime::checksum::Hashers;
use blobferry::source::ftp::listing::list_line;
use blobferry::source::sftp::packet::{Attributes, PacketEntry, PacketReply, Request};
use bytes::Bytes;
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use md5::{Digest, Md5};
use time::OffsetDateTime;
use time::macros::datetime;

const NOW: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);
const LINES: usize = 1000;
const FILES: u32 = 1_000_000;
const BLOCK: usize = 8 << 20;

fn main() {
    divan::main();
}

#[divan::bench]
fn listing_of_unix(bencher: Bencher<'_, '_>) {
    lines(bencher, |n| {
        format!(
            "-rw-r--r--   1 ftp      ftp      {:>8} Nov {:02} {:02}:{:02} reading {n:05}.csv",
            n * 37,
            n % 28 + 1,
            n % 24,
            n % 60
        )
    });
}

#[divan::bench]
fn listing_of_dos(bencher: Bencher<'_, '_>) {
    lines(bencher, |n| {
        format!(
            "11-{:02}-26  {:02}:{:02}AM       {:>14} reading {n:05}.csv",
            n % 28 + 1,
            n % 12 + 1,
            n % 60,
            n * 37
        )
    });
}

fn lines(bencher: Bencher<'_, '_>, line: impl Fn(usize) -> String) {
    let lines: Vec<String> = (0..LINES).map(line).collect();
    bencher.counter(ItemsCount::new(LINES)).bench(|| {
        lines.iter().map(|line| list_line(black_box(line.as_bytes()), NOW)).collect::<Vec<_>>()
    });
}

fn naming() -> Naming {
    Naming {
        source: "acme".into(),
        layout: Layout::Path,
        root: RemotePath::from("/outbound"),
        host_port: "sftp.acme.example_22".into(),
    }
}

#[divan::bench(args = [
    "/outbound/daily/2026-11-20/report.csv",
    "/outbound/Übersicht 50% #3.csv",
    "/outbound/\u{7}odd\\name?.txt",
])]
fn naming_of_a_file(bencher: Bencher<'_, '_>, path: &str) {
    let naming = naming();
    let file = RemoteFile { path: RemotePath::from(path), size: None, modified: None };
    bencher.counter(ItemsCount::new(1usize)).bench(|| naming.file(black_box(&file)));
}

#[divan::bench]
fn naming_for_metadata(bencher: Bencher<'_, '_>) {
    bencher
        .bench(|| escaped_for_metadata(black_box("/outbound/daily/Übersicht 50%.csv".as_bytes())));
}

#[divan::bench]
fn version_of_a_file(bencher: Bencher<'_, '_>) {
    let file = file(17);
    bencher.counter(ItemsCount::new(1usize)).bench(|| Version::of(black_box(&file)));
}

#[divan::bench]
fn sftp_asks_for_a_chunk(bencher: Bencher<'_, '_>) {
    let request = Request::Read {
        handle: Bytes::from_static(b"\0\0\0\x07"),
        offset: 1 << 30,
        length: 261_120,
    };
    bencher.counter(ItemsCount::new(1usize)).bench(|| black_box(&request).encode(42));
}

#[divan::bench]
fn sftp_takes_a_chunk(bencher: Bencher<'_, '_>) {
    let packet = PacketReply::Data(Bytes::from(vec![7; 261_120])).encode(42).slice(4..);
    bencher
        .counter(ItemsCount::new(1usize))
        .bench(|| PacketReply::decode(black_box(packet.clone())).expect("it was encoded by us"));
}

/// A folder as OpenSSH lists it, a hundred names at a time.
#[divan::bench]
fn sftp_takes_names(bencher: Bencher<'_, '_>) {
    let attributes = Attributes {
        size: Some(20_480),
        permissions: Some(0o100_644),
        modified: Some(1_700_000_000),
    };
    let long = |name: &str| {
        format!("-rw-r--r--    1 ftp      ftp         20480 Nov 14  2023 {name}").into()
    };
    let names = (0..100).map(|n| format!("reading {n:05}.csv")).map(|name| PacketEntry {
        long_name: long(&name),
        name: name.into(),
        attributes: attributes.clone(),
    });
    let packet = PacketReply::Names(names.collect()).encode(42).slice(4..);
    bencher
        .counter(ItemsCount::new(100usize))
        .bench(|| PacketReply::decode(black_box(packet.clone())).expect("it was encoded by us"));
}

#[divan::bench(args = [20 << 10, BLOCK])]
fn md5(bencher: Bencher<'_, '_>, size: usize) {
    let content = vec![7; size];
    bencher.counter(BytesCount::new(size)).bench(|| Md5::digest(black_box(&content)));
}

#[divan::bench(args = [20 << 10, BLOCK])]
fn crc64(bencher: Bencher<'_, '_>, size: usize) {
    let content = vec![7; size];
    bencher
        .counter(BytesCount::new(size))
        .bench(|| crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, black_box(&content)));
}

/// Blocks of that many large files at once: MD5 on a thread of its own, one block behind, and
/// meanwhile the CRC-64 of the next.
#[divan::bench(sample_count = 10, args = [1, 2, 4])]
fn checksums_of_files_side_by_side(bencher: Bencher<'_, '_>, files: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime starts");
    let block = Bytes::from(vec![7; BLOCK]);
    bencher.counter(BytesCount::new(files * 4 * BLOCK)).bench(|| {
        let hashers = Hashers::default();
        let one = || async {
            let (mut crc, mut hashing) = (0, hashers.begin());
            for _ in 0..4 {
                hashing.update(Box::new(block.clone())).await.expect("it hashed");
                crc ^= crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, black_box(&block));
            }
            (crc, hashing.finish().await.expect("it hashed"))
        };
        runtime.block_on(futures_util::future::join_all((0..files).map(|_| one())))
    });
}

fn file(number: u32) -> RemoteFile {
    let modified =
        ModifiedTime::new(NOW - Duration::from_secs(3600 + u64::from(number)), Precision::Second);
    RemoteFile {
        path: RemotePath::new(format!("/outbound/{:03}/file-{number:07}.csv", number % 1000)),
        size: Some(20_480),
        modified: Some(modified),
    }
}

/// A second run over a million files, a tenth of which are new.
#[divan::bench(sample_count = 5)]
fn plan_of_a_million_files(bencher: Bencher<'_, '_>) {
    let files: Vec<RemoteFile> = (0..FILES).map(file).collect();
    let known = |file: &RemoteFile| Known::new(file, file.modified, Version::of(file));
    let known: Vec<Option<Known>> =
        files.iter().enumerate().map(|(at, file)| (at % 10 > 0).then(|| known(file))).collect();
    let markers = MarkerTimes::new();
    let rules = Rules {
        wanted: &|path| path.as_bytes().ends_with(b".csv"),
        skipped_by_time_or_size: &|_, _| None,
        in_progress: &|path| path.as_bytes().ends_with(b".part"),
        again: &|_| false,
        marker: None,
        markers: &markers,
        stable_for: Duration::from_secs(60),
        clock: Clock { here: NOW, newest: None },
        times: Default::default(),
        removes: false,
    };
    bencher.counter(ItemsCount::new(FILES)).bench(|| {
        let decisions = files
            .iter()
            .zip(&known)
            .map(|(file, known)| plan::decide(black_box(file), known.as_ref(), None, &rules));
        decisions.filter(|decision| matches!(decision, plan::Decision::Ingest(_))).count()
    });
}
