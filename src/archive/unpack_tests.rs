//! Tests of the unpacking.

use super::*;
use crate::archive::contract::{Format, MemberKind, Options, Visit};
use crate::archive::spool::{Spool, SpoolReader};
use crate::failure::Failure;
use std::io;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

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
        Member { index, within: Vec::new(), raw_name, name, kind: MemberKind::File, size: Some(size), modified: None }
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
    fn visit(&self, _: SpoolReader, _: &Options, _: &Meter, visit: &mut Visit<'_>) -> Result<(), UnpackError> {
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
    Box::leak(Box::new(Scripted { members, then, visits_left: Box::leak(Box::new(AtomicUsize::new(0))) }))
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

const NOTHING_KEPT: Wish = Wish { keep_bytes: 0, md5: false };

/// What comes of `format`, as if three members had been proved.
fn stream(format: &'static Scripted) -> Parts {
    let checked = Checked { member: format.member(0), size: 0, md5: None, kept: None, crc32: None, read: true };
    let mut streams = Archive::of(format, Spool::of(b"")).stream(&proven(vec![checked; 3], None, (0..4).collect()));
    assert_eq!(streams.len(), 1);
    streams.remove(0)
}

#[tokio::test]
async fn members_are_kept_while_there_is_room() {
    let archive = Archive::of(scripted(3, || ()), Spool::of(b""));
    let proven = archive.check(Wish { keep_bytes: 1 << 20, md5: false }).await.unwrap();
    let kept: Vec<_> = proven.members.iter().map(|checked| checked.kept.as_ref().map(Bytes::len)).collect();
    assert_eq!(kept, [Some(0), Some(1 << 20), None]);
    assert_eq!(proven.members[1].md5.unwrap(), <[u8; 16]>::from(Md5::digest(vec![b'x'; 1 << 20])));
    assert_eq!(archive.stream(&proven).len(), 1);
    let all = archive.check(Wish { keep_bytes: 3 << 20, md5: false }).await.unwrap();
    assert!(archive.stream(&all).is_empty());
}

#[tokio::test]
async fn members_are_checked_in_order() {
    let archive = Archive::of(scripted(3, || ()), Spool::of(b""));
    let checked = archive.check(Wish { keep_bytes: 0, md5: true }).await.unwrap().members;
    assert_eq!(checked.iter().map(|checked| checked.size).collect::<Vec<_>>(), [0, 1 << 20, 2 << 20]);
    assert_eq!(model::hex(&checked[0].md5.unwrap()), "d41d8cd98f00b204e9800998ecf8427e");
    assert_eq!(checked[1].md5.unwrap(), <[u8; 16]>::from(Md5::digest(vec![b'x'; 1 << 20])));
    assert_eq!(checked.iter().map(|checked| checked.kept.is_some()).collect::<Vec<_>>(), [true, false, false]);
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
    assert_eq!((error.class(), model::chain(&error).contains("index out of bounds")), (Class::Internal, true));
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
