//! Tests of the unpacking.

use std::io;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use md5::{Digest, Md5};

use super::*;
use crate::archive::contract::{Format, MemberKind, Visit};
use crate::archive::dictionary_budget::Windows;
use crate::archive::options::ArchiveOptions;
use crate::archive::spool::{SpoolLimits, SpoolRoom, Spooler};
use crate::archive::spool_reader::{Spool, SpoolReader};
use crate::model::failure::Failure;

/// A format whose archives hold members of `0`, `1`, `2`… mebibytes, and then what its name says.
#[derive(Debug)]
struct Scripted {
    members: usize,
    then: fn(),
    visits_left: &'static AtomicUsize,
}

impl Scripted {
    fn member(&self, index: usize) -> Member {
        let (name, size) = (index.to_string(), (index as u64) << 20);
        let raw_name = name.clone().into();
        Member {
            index,
            within: Vec::new(),
            raw_name,
            name,
            kind: MemberKind::File,
            size: Some(size),
            modified: None,
        }
    }
}

struct OnDrop(&'static AtomicUsize);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Format for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }
    fn recognises(&self, _: &[u8], _: &str) -> bool {
        false
    }
    fn nature(&self, _: SpoolReader) -> Result<Nature, UnpackError> {
        Ok(Nature::Archive)
    }
    fn visit(
        &self,
        _: SpoolReader,
        _: &ArchiveOptions,
        _: &Meter,
        visit: &mut Visit<'_>,
    ) -> Result<(), UnpackError> {
        self.visits_left.fetch_add(1, Ordering::SeqCst);
        let _left = OnDrop(self.visits_left);
        for index in 0..self.members {
            let member = self.member(index);
            visit(&member, &mut io::repeat(b'x').take(member.size.unwrap()))?;
        }
        (self.then)();
        Ok(())
    }
}

fn scripted(members: usize, then: fn()) -> &'static Scripted {
    Box::leak(Box::new(Scripted {
        members,
        then,
        visits_left: Box::leak(Box::new(AtomicUsize::new(0))),
    }))
}

async fn ends(format: &Scripted) {
    for _ in 0..500 {
        if format.visits_left.load(Ordering::SeqCst) == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the thread goes on");
}

const NOTHING_KEPT: CheckWish = CheckWish { keep_bytes: 0, md5: false };

/// What comes of `format`, as if three members had been proved.
fn stream(format: &'static Scripted) -> Parts {
    let mut members = CheckedMembers::default();
    (0..3).for_each(|index| members.push(Checked::read(&format.member(index))));
    let mut streams = Archive::of(format, Spool::of(b"")).stream(&proven(
        members,
        None,
        (0..4).collect(),
        &Meter::new(ArchiveLimits::default(), 0),
    ));
    assert_eq!(streams.len(), 1);
    streams.remove(0)
}

#[tokio::test]
async fn members_are_kept_while_there_is_room() {
    let archive = Archive::of(scripted(3, || ()), Spool::of(b""));
    let proven =
        archive.check(CheckWish { keep_bytes: (1 << 20) + 500, md5: false }).await.unwrap();
    let kept: Vec<_> =
        proven.members.iter().map(|checked| checked.kept.as_ref().map(Bytes::len)).collect();
    assert_eq!(kept, [Some(0), Some(1 << 20), None]);
    assert_eq!(proven.members.at(0).md5.unwrap(), <[u8; 16]>::from(Md5::digest(b"")));
    assert_eq!(proven.members.at(1).md5, None, "whoever asks hashes large ones side by side");
    assert_eq!(archive.stream(&proven).len(), 1);
    let all = archive.check(CheckWish { keep_bytes: (3 << 20) + 500, md5: false }).await.unwrap();
    assert!(archive.stream(&all).is_empty());
}

#[tokio::test]
async fn members_are_checked_in_order() {
    let archive = Archive::of(scripted(3, || ()), Spool::of(b""));
    let checked = archive.check(CheckWish { keep_bytes: 0, md5: true }).await.unwrap().members;
    assert_eq!(
        checked.iter().map(|checked| checked.size).collect::<Vec<_>>(),
        [0, 1 << 20, 2 << 20]
    );
    assert_eq!(crate::model::hex(&checked.at(0).md5.unwrap()), "d41d8cd98f00b204e9800998ecf8427e");
    assert_eq!(checked.at(1).md5.unwrap(), <[u8; 16]>::from(Md5::digest(vec![b'x'; 1 << 20])));
    assert_eq!(
        checked.iter().map(|checked| checked.kept.is_some()).collect::<Vec<_>>(),
        [true, false, false]
    );
}

#[tokio::test]
async fn parts_come_in_order() {
    let mut parts = stream(scripted(3, || ()));
    let mut sizes = Vec::new();
    while let Some(part) = parts.next().await {
        match part.unwrap() {
            Part::Begin(member) => {
                assert_eq!(member.index, sizes.len());
                sizes.push(0);
            }
            Part::Chunk(chunk) => {
                assert!(!chunk.is_empty() && chunk.len() <= CHUNK_BYTES);
                *sizes.last_mut().unwrap() += chunk.len();
            }
            Part::End => assert_eq!(*sizes.last().unwrap(), (sizes.len() - 1) << 20),
        }
    }
    assert_eq!(sizes, [0, 1 << 20, 2 << 20]);
    assert!(parts.next().await.is_none());
}

#[tokio::test]
async fn a_panicking_decoder_is_an_error() {
    let format = scripted(1, || panic!("index out of bounds"));
    let error = Archive::of(format, Spool::of(b"")).check(NOTHING_KEPT).await.unwrap_err();
    assert_eq!(
        (error.class(), crate::model::chain(&error).contains("index out of bounds")),
        (Class::Internal, true)
    );
    let mut parts = stream(format);
    let mut last = None;
    while let Some(part) = parts.next().await {
        last = Some(part);
    }
    assert_eq!(last.unwrap().unwrap_err().class(), Class::Internal);
}

#[tokio::test]
async fn whoever_stops_listening_stops_the_thread() {
    let endless = scripted(usize::MAX, || ());
    let mut parts = stream(endless);
    for _ in 0..10 {
        assert!(parts.next().await.unwrap().is_ok());
    }
    drop(parts);
    ends(endless).await;
    let archive = Archive::of(endless, Spool::of(b""));
    let waits = tokio::time::timeout(Duration::from_millis(50), archive.check(NOTHING_KEPT)).await;
    assert!(waits.is_err());
    ends(endless).await;
}

/// A file of xz with a dictionary of `dictionary` bytes, which claims one of `setting` (0 to 40),
/// as LZMA2 counts them.
fn xz_with(dictionary: u32, setting: Option<u8>) -> Vec<u8> {
    use std::io::Write;
    let options = lzma_rust2::XzOptions {
        lzma_options: lzma_rust2::LzmaOptions {
            dict_size: dictionary,
            ..lzma_rust2::LzmaOptions::with_preset(0)
        },
        ..lzma_rust2::XzOptions::with_preset(0)
    };
    let mut writer = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
    writer.write_all(&b"content ".repeat(10_000)).unwrap();
    let mut packed = writer.finish().unwrap();
    if let Some(setting) = setting {
        let at = packed.iter().position(|byte| *byte == 0x21).unwrap() + 2;
        packed[at] = setting;
        let end = 12 + (usize::from(packed[12]) + 1) * 4;
        let crc = crc_fast::crc32_iso_hdlc(&packed[12..end - 4]);
        packed[end - 4..end].copy_from_slice(&crc.to_le_bytes());
    }
    packed
}

/// What decoders of several archives hold at once stays within their memory, whatever the archives
/// claim.
#[tokio::test(flavor = "multi_thread")]
async fn decoders_wait_for_memory_and_those_that_claim_too_much_are_refused() {
    let windows = Windows::new(20 << 20);
    let limits = SpoolLimits {
        memory_bytes: 8 << 20,
        archive_memory_bytes: 8 << 20,
        temp_bytes: 0,
        folder: std::env::temp_dir(),
    };
    let spooler = Spooler::with_windows(limits, windows.clone());
    let check = |name: String, bytes: Vec<u8>| {
        let spooler = spooler.clone();
        async move {
            let format = crate::archive::recognise(&bytes[..bytes.len().min(512)], &name).unwrap();
            let mut writer =
                spooler.writer(Some(bytes.len() as u64), SpoolRoom::Wait).await.unwrap();
            writer.write(bytes.into()).await.unwrap();
            let archive =
                Archive { spooler, ..Archive::of(format, writer.finish().await.unwrap()) };
            archive.check(NOTHING_KEPT).await.map(|proven| proven.members.at(0).size)
        }
    };
    // 8 MiB, 16 MiB, and claims of 1.5 GiB and 4 GiB - 1, each of which is a lie.
    let claims = [(8 << 20, None), (16 << 20, None), (1 << 20, Some(37)), (1 << 20, Some(40))];
    let packed: Vec<Vec<u8>> =
        claims.into_iter().map(|(dictionary, setting)| xz_with(dictionary, setting)).collect();
    let all = (0..24)
        .map(|turn| tokio::spawn(check(format!("{turn}.xz"), packed[turn % claims.len()].clone())));
    for (turn, result) in futures_util::future::join_all(all).await.into_iter().enumerate() {
        match (turn % claims.len(), result.unwrap()) {
            (0 | 1, Ok(size)) => assert_eq!(size, 80_000),
            (2 | 3, Err(error)) => assert!(
                error.class() == Class::LimitArchive
                    && crate::model::chain(&error).contains("a window of"),
                "{error:?}"
            ),
            (_, result) => panic!("{turn}: {result:?}"),
        }
    }
    let most = windows.most_drawn();
    assert!((16 << 20..=20 << 20).contains(&most), "{most}");
}

/// Keeps what it is given.
#[derive(Debug, Default)]
struct Hand {
    room: std::sync::Mutex<u64>,
    taken: std::sync::Mutex<Vec<(String, tokio::task::JoinHandle<usize>)>>,
}

impl Taker for Hand {
    fn room(&self, bytes: u64) -> bool {
        let mut room = self.room.lock().unwrap();
        *room >= bytes && {
            *room -= bytes;
            true
        }
    }
    fn take(&self, member: &Member) -> Option<(u64, mpsc::Sender<Bytes>)> {
        let (sender, mut chunks) = mpsc::channel::<Bytes>(1);
        let mut taken = self.taken.lock().unwrap();
        let has_enough = member.name == "3";
        taken.push((
            member.name.clone(),
            tokio::runtime::Handle::current().spawn(async move {
                let mut size = 0;
                while let Some(chunk) = chunks.recv().await {
                    size += chunk.len();
                    if has_enough {
                        break;
                    }
                }
                size
            }),
        ));
        Some((taken.len() as u64 - 1, sender))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_handed_on_while_they_are_checked() {
    let hand = Arc::new(Hand { room: std::sync::Mutex::new((1 << 20) + 500), ..Hand::default() });
    let archive = Archive::of(scripted(5, || {}), Spool::of(b""));
    let mut proven = archive
        .check_for(CheckWish { keep_bytes: 64 << 20, md5: false }, Some(hand.clone()))
        .await
        .unwrap();
    let told: Vec<_> = proven
        .members
        .iter()
        .map(|checked| (checked.size >> 20, checked.kept.is_some(), checked.taken))
        .collect();
    // The one that somebody had enough of is read again.
    assert_eq!(
        told,
        [
            (0, true, None),
            (1, true, None),
            (2, false, Some(0)),
            (3, false, None),
            (4, false, Some(2))
        ]
    );
    let taken = std::mem::take(&mut *hand.taken.lock().unwrap());
    for (name, task) in taken.into_iter().filter(|(name, _)| name != "3") {
        assert_eq!(
            task.await.unwrap().to_string(),
            (name.parse::<usize>().unwrap() << 20).to_string()
        );
    }
    proven.members.give_back(2);
    assert_eq!(archive.stream(&proven).len(), 1);
}
