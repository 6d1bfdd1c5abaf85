//! Joins the blocking visit of an archive to async work.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Bytes, BytesMut};
use md5::{Digest, Md5};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::archive::contract::{Format, Member, UnpackError};
use crate::archive::limits::{Limits, Meter};
use crate::archive::spool::Spool;
use crate::failure::Class;
use crate::model;

/// The most bytes of one [`Part::Chunk`].
pub const CHUNK_BYTES: usize = 256 << 10;
/// How many parts wait for a slow consumer.
const PARTS_AHEAD: usize = 4;

/// A member that was read to its end and held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// What the archive says of it.
    pub member: Member,
    /// How many bytes it has.
    pub size: u64,
    /// Their MD5.
    pub md5: model::Md5,
}

/// A piece of an unpacked archive, in order: `Begin`, any number of `Chunk`s, `End`, and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// A member begins.
    Begin(Member),
    /// The next bytes of it; never empty.
    Chunk(Bytes),
    /// It is over, and its size and checksum held.
    End,
}

/// Reads the whole archive once and keeps nothing of it: `Ok` says that every member can be unpacked within
/// `limits` and that all sizes and checksums hold. Members come in the archive's order.
/// Dropping the future stops the reading soon.
pub async fn check(format: &'static dyn Format, spool: &Spool, limits: Limits) -> Result<Vec<Checked>, UnpackError> {
    let stop = StopOnDrop(Arc::new(AtomicBool::new(false)));
    let (stopped, spool) = (Arc::clone(&stop.0), spool.clone());
    let work = tokio::task::spawn_blocking(move || {
        let mut checked = Vec::new();
        let mut buffer = vec![0; CHUNK_BYTES];
        format.visit(spool.reader(), &mut Meter::new(limits, spool.size()), &mut |member, content| {
            let (mut size, mut md5) = (0, Md5::new());
            loop {
                if stopped.load(Ordering::Relaxed) {
                    return Err(UnpackError::new(Class::Interrupted, "nobody waits for it any more"));
                }
                match read(content, &mut buffer)? {
                    0 => break,
                    read => {
                        md5.update(&buffer[..read]);
                        size += read as u64;
                    }
                }
            }
            checked.push(Checked { member: member.clone(), size, md5: md5.finalize().into() });
            Ok(())
        })?;
        Ok(checked)
    });
    let result = joined(work).await;
    drop(stop);
    result
}

/// Unpacks the archive on a blocking thread, no further ahead than a few chunks. A member's parts come before
/// later members were read: call [`check`] first where all or nothing is wanted.
/// Must be called within a runtime. Dropping the [`Parts`] stops the thread.
pub fn stream(format: &'static dyn Format, spool: &Spool, limits: Limits) -> Parts {
    let (sender, parts) = mpsc::channel(PARTS_AHEAD);
    let spool = spool.clone();
    let work = tokio::task::spawn_blocking(move || {
        let send = |part| sender.blocking_send(part).map_err(|_| UnpackError::new(Class::Interrupted, "nobody waits for it any more"));
        format.visit(spool.reader(), &mut Meter::new(limits, spool.size()), &mut |member, content| {
            send(Part::Begin(member.clone()))?;
            loop {
                // One byte more than claimed, so that a member that tells the truth ends in the same read.
                let wish = usize::try_from(member.size).unwrap_or(CHUNK_BYTES).saturating_add(1).min(CHUNK_BYTES);
                let mut chunk = BytesMut::zeroed(wish);
                let filled = fill(content, &mut chunk)?;
                chunk.truncate(filled);
                if filled > 0 {
                    send(Part::Chunk(chunk.freeze()))?;
                }
                if filled < wish {
                    return send(Part::End);
                }
            }
        })
    });
    Parts { parts, work: Some(work) }
}

/// The parts of an archive as they are unpacked.
#[derive(Debug)]
pub struct Parts {
    parts: mpsc::Receiver<Part>,
    work: Option<JoinHandle<Result<(), UnpackError>>>,
}

impl Parts {
    /// The next part; `None` once the whole archive was read and held. Nothing follows an error.
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<Part, UnpackError>> {
        if let Some(part) = self.parts.recv().await {
            return Some(Ok(part));
        }
        let result = joined(self.work.as_mut()?).await;
        self.work = None;
        result.err().map(Err)
    }
}

struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The result of `work`; a decoder that panics is a defect of this one archive's unpacking, not the end of the process.
async fn joined<T>(work: impl Future<Output = Result<Result<T, UnpackError>, tokio::task::JoinError>>) -> Result<T, UnpackError> {
    match work.await {
        Ok(result) => result,
        Err(error) if error.is_panic() => {
            let panic = error.into_panic();
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
            Err(UnpackError::new(Class::Internal, format!("the decoder panicked: {}", text.unwrap_or_default())))
        }
        Err(_) => Err(UnpackError::new(Class::Interrupted, "the program is stopping")),
    }
}

fn read(content: &mut dyn Read, into: &mut [u8]) -> Result<usize, UnpackError> {
    loop {
        match content.read(into) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            result => return result.map_err(UnpackError::from_read),
        }
    }
}

/// Fills `into`; less only at the content's end.
fn fill(content: &mut dyn Read, into: &mut [u8]) -> Result<usize, UnpackError> {
    let mut filled = 0;
    while filled < into.len() {
        match read(content, &mut into[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::contract::{MemberKind, Visit};
    use crate::archive::spool::SpoolReader;
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
        fn recognises(&self, _: &[u8]) -> bool {
            false
        }
        fn is_document(&self, _: SpoolReader) -> Result<bool, UnpackError> {
            Ok(false)
        }
        fn visit(&self, _: SpoolReader, _: &mut Meter, visit: &mut Visit<'_>) -> Result<(), UnpackError> {
            self.visits_left.fetch_add(1, Ordering::SeqCst);
            let _left = OnDrop(self.visits_left);
            for index in 0..self.members {
                let size = (index as u64) << 20;
                let name = index.to_string();
                let member = Member { index, raw_name: name.clone().into(), name, kind: MemberKind::File, size, modified: None };
                visit(&member, &mut io::repeat(b'x').take(size))?;
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

    #[tokio::test]
    async fn members_are_checked_in_order() {
        let checked = check(scripted(3, || ()), &Spool::of(b""), Limits::default()).await.unwrap();
        assert_eq!(checked.iter().map(|checked| checked.size).collect::<Vec<_>>(), [0, 1 << 20, 2 << 20]);
        assert_eq!(model::hex(&checked[0].md5), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(checked[1].md5, <[u8; 16]>::from(Md5::digest(vec![b'x'; 1 << 20])));
    }

    #[tokio::test]
    async fn parts_come_in_order() {
        let mut parts = stream(scripted(3, || ()), &Spool::of(b""), Limits::default());
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
        let error = check(format, &Spool::of(b""), Limits::default()).await.unwrap_err();
        assert_eq!((error.class(), model::chain(&error).contains("index out of bounds")), (Class::Internal, true));
        let mut parts = stream(format, &Spool::of(b""), Limits::default());
        let mut last = None;
        while let Some(part) = parts.next().await {
            last = Some(part);
        }
        assert_eq!(last.unwrap().unwrap_err().class(), Class::Internal);
    }

    #[tokio::test]
    async fn whoever_stops_listening_stops_the_thread() {
        let endless = scripted(usize::MAX, || ());
        let mut parts = stream(endless, &Spool::of(b""), Limits::default());
        for _ in 0..10 {
            assert!(parts.next().await.unwrap().is_ok());
        }
        drop(parts);
        ends(endless).await;
        let spool = Spool::of(b"");
        let waits = tokio::time::timeout(Duration::from_millis(50), check(endless, &spool, Limits::default())).await;
        assert!(waits.is_err());
        ends(endless).await;
    }
}
