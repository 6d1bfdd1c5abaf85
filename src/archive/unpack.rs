//! Joins the blocking visit of an archive to async work: proved as a whole first, then streamed.

use std::collections::HashSet;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use crate::archive::checked_members::CheckedMembers;
use crate::archive::contract::{Indexed, Member, Nature, Partial, UnpackError};
use crate::archive::limits::{ArchiveLimits, Meter};
use crate::archive::nested::{Leaves, NestedWalk, fill};
use crate::archive::unpack_order::{UnpackFound, in_order};
use crate::archive::verify::{Checked, Checking};
use crate::model::failure::Class;

pub use crate::archive::nested::{Archive, CHUNK_BYTES, KeptInner, KeptWhy};
pub(crate) use crate::archive::verify::Taker;

/// How many parts wait for a slow consumer.
const PARTS_AHEAD: usize = 4;
/// Threads that read one archive, at most.
const MOST_THREADS: usize = 4;
/// A smaller archive is read faster than threads begin.
const WORTH_THREADS_BYTES: u64 = 256 << 10;

/// What else the check is to bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckWish {
    /// Bytes of members that may be kept in memory, so that they need not be unpacked again.
    pub keep_bytes: u64,
    /// Whether MD5s are wanted of those that are not kept, too.
    pub md5: bool,
}

/// An archive that was read to its end and held.
#[derive(Debug)]
pub struct Proven {
    /// Every member, in the archive's order; where an inner archive was opened, its members stand
    /// in its place.
    pub members: CheckedMembers,
    index: Option<Arc<dyn Indexed>>,
    /// For each member of the outermost archive, the index of the first one that came of it; and
    /// the end.
    starts: Arc<Vec<usize>>,
    /// Archives in it that are stored as they are.
    kept: Arc<HashSet<Vec<usize>>>,
    /// What a reader should know of the archive.
    pub remarks: Vec<String>,
    /// Why somebody should look although all that was read holds.
    pub doubts: Vec<String>,
}

impl Proven {
    /// The members of the outermost archive that were opened: what its directory says of each, its
    /// CRC-32, and the indices of the members that came of it. Nothing where the archive has no
    /// directory.
    pub fn opened(&self) -> Vec<(Member, Option<u32>, std::ops::Range<usize>)> {
        let Some(index) = &self.index else { return Vec::new() };
        let leaves = self.starts.windows(2).map(|ends| ends[0]..ends[1]).enumerate();
        let opened = leaves.filter(|(_, leaves)| is_opened(&self.members, leaves));
        opened.map(|(at, leaves)| (index.member(at), index.crc32(at), leaves)).collect()
    }

    /// The index of the first member that came of the one at `outer` of the outermost archive.
    pub(crate) fn first_of(&self, outer: usize) -> Option<usize> {
        self.starts.get(outer).copied()
    }
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

impl Archive {
    /// What it really is. An error is one of an archive that cannot be read.
    pub async fn nature(&self) -> Result<Nature, UnpackError> {
        let (format, reader) = (self.format, self.spool.reader());
        let nature = joined(tokio::task::spawn_blocking(move || format.nature(reader))).await?;
        Ok(nature.called(&self.options.file_name))
    }

    /// Reads the whole archive once: `Ok` says that every member can be unpacked within the limits
    /// and that all sizes and checksums hold. Dropping the future stops the reading soon.
    pub async fn check(&self, wish: CheckWish) -> Result<Proven, UnpackError> {
        self.check_for(wish, None).await
    }

    /// Like [`Archive::check`], for a `taker` of members while they are read.
    pub(crate) async fn check_for(
        &self,
        wish: CheckWish,
        taker: Option<Arc<dyn Taker>>,
    ) -> Result<Proven, UnpackError> {
        let _turn = self.spooler.turn(self.spool.size()).await;
        let stop = StopOnDrop(Arc::new(AtomicBool::new(false)));
        let checking = self.checking(wish, taker, &stop);
        let result = match self.open(&checking.meter).await? {
            Some(index) => self.check_indexed(index, None, checking).await,
            None => self.check_in_order(checking).await,
        };
        drop(stop);
        result
    }

    /// Like [`Archive::check_for`], but reads only those members that are `wanted` of an archive
    /// that is there in parts.
    pub(crate) async fn check_some_of(
        &self,
        format: &'static dyn Partial,
        wanted: Vec<bool>,
        wish: CheckWish,
        taker: Option<Arc<dyn Taker>>,
    ) -> Result<Proven, UnpackError> {
        let _turn = self.spooler.turn(self.spool.size()).await;
        let stop = StopOnDrop(Arc::new(AtomicBool::new(false)));
        let checking = self.checking(wish, taker, &stop);
        let (reader, options, meter) =
            (self.spool.reader(), Arc::clone(&self.options), Arc::clone(&checking.meter));
        let wanted = Arc::new(wanted);
        let asked = Arc::clone(&wanted);
        let index = joined(tokio::task::spawn_blocking(move || {
            format.open(reader, &options, &meter, &asked)
        }))
        .await?;
        self.check_indexed(index, Some(wanted), checking).await
    }

    fn meter(&self, limits: ArchiveLimits) -> Meter {
        Meter::over(limits, self.spool.size(), Some(self.spooler.windows()))
    }

    fn checking(
        &self,
        wish: CheckWish,
        taker: Option<Arc<dyn Taker>>,
        stop: &StopOnDrop,
    ) -> Checking {
        let meter = Arc::new(self.meter(self.options.limits.clone()));
        Checking {
            stopped: Arc::clone(&stop.0),
            meter,
            keep: Arc::new(AtomicU64::new(wish.keep_bytes)),
            md5: wish.md5,
            taker,
        }
    }

    async fn open(&self, meter: &Arc<Meter>) -> Result<Option<Arc<dyn Indexed>>, UnpackError> {
        let (format, reader, options, meter) =
            (self.format, self.spool.reader(), Arc::clone(&self.options), Arc::clone(meter));
        joined(tokio::task::spawn_blocking(move || format.index(reader, &options, &meter))).await
    }

    async fn check_in_order(&self, checking: Checking) -> Result<Proven, UnpackError> {
        let archive = self.clone();
        let work = tokio::task::spawn_blocking(move || {
            let walk = NestedWalk::new(&archive, &checking.meter);
            let (mut found, mut starts) =
                (Collected { checking: &checking, members: CheckedMembers::default() }, Vec::new());
            archive.format.visit(
                archive.spool.reader(),
                &archive.options,
                &checking.meter,
                &mut |member, content| {
                    starts.push(found.members.len());
                    walk.leaves(member, content, &mut found)
                },
            )?;
            starts.push(found.members.len());
            Ok(proven(found.members, None, starts, &checking.meter))
        });
        joined(work).await
    }

    async fn check_indexed(
        &self,
        index: Arc<dyn Indexed>,
        wanted: Option<Arc<Vec<bool>>>,
        checking: Checking,
    ) -> Result<Proven, UnpackError> {
        let count = index.count();
        let next = Arc::new(AtomicUsize::new(0));
        let mut threads = JoinSet::new();
        for _ in 0..self.threads(count) {
            let (archive, index, checking, next) =
                (self.clone(), Arc::clone(&index), checking.clone(), Arc::clone(&next));
            let wanted = wanted.clone();
            threads.spawn_blocking(move || {
                archive.check_some(index.as_ref(), wanted.as_deref(), &checking, &next)
            });
        }
        let meter = Arc::clone(&checking.meter);
        let (mut found, mut first_error) = (Vec::new(), None::<(usize, UnpackError)>);
        while let Some(thread) = threads.join_next().await {
            match joined(async { thread.map(Ok) }).await? {
                Ok(some) => found.push(some),
                Err((at, error)) if first_error.as_ref().is_none_or(|(first, _)| at < *first) => {
                    first_error = Some((at, error))
                }
                Err(_) => {}
            }
        }
        if let Some((_, error)) = first_error {
            return Err(error);
        }
        let (members, starts) = in_order(found, count);
        Ok(proven(members, Some(index), starts, &meter))
    }

    /// Checks members until none is left or one fails, which stops the other threads, too.
    fn check_some(
        &self,
        index: &dyn Indexed,
        wanted: Option<&Vec<bool>>,
        checking: &Checking,
        next: &AtomicUsize,
    ) -> Result<UnpackFound, (usize, UnpackError)> {
        let walk = NestedWalk::new(self, &checking.meter);
        let mut leaves = Collected { checking, members: CheckedMembers::default() };
        let mut places = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= index.count() {
                return Ok(UnpackFound { places, members: leaves.members });
            }
            let first = leaves.members.len();
            if wanted.is_some_and(|wanted| !wanted.get(at).copied().unwrap_or(false)) {
                let crc32 = index.crc32(at);
                leaves.members.push(Checked { crc32, ..Checked::unread(&index.member(at)) });
                places.push((at, 1));
                continue;
            }
            let result = index.visit_one(
                at,
                self.spool.reader(),
                &self.options,
                &checking.meter,
                &mut |member, content| walk.leaves(member, content, &mut leaves),
            );
            if let Err(error) = result {
                next.store(usize::MAX >> 1, Ordering::Relaxed);
                return Err((at, error));
            }
            let end = leaves.members.len();
            if !is_opened(&leaves.members, &(first..end)) {
                leaves.members.set_crc32(first, index.crc32(at));
            }
            places.push((at, end - first));
        }
    }

    fn threads(&self, members: usize) -> usize {
        if self.spool.size() < WORTH_THREADS_BYTES {
            return 1;
        }
        std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(MOST_THREADS)
            .min(members)
            .max(1)
    }

    /// Unpacks what was not kept or taken on blocking threads, each no further ahead than a few
    /// chunks. Every member's parts come in one of the streams, those that were kept or taken may
    /// come in none; a stream that fails does not end the others. Must be called within a runtime.
    /// Dropping a [`Parts`] stops its thread.
    pub fn stream(&self, proven: &Proven) -> Vec<Parts> {
        let is_kept =
            |leaves: &[usize]| (leaves[0]..leaves[1]).all(|place| proven.members.is_done(place));
        let wanted: Vec<usize> = proven
            .starts
            .windows(2)
            .enumerate()
            .filter(|(_, leaves)| !is_kept(leaves))
            .map(|(outer, _)| outer)
            .collect();
        if wanted.is_empty() {
            return Vec::new();
        }
        // Nothing that was proved is refused now, whatever the clock says.
        let limits =
            ArchiveLimits { time: std::time::Duration::MAX, ..self.options.limits.clone() };
        let meter = Arc::new(self.meter(limits));
        let (starts, kept) = (Arc::clone(&proven.starts), Arc::clone(&proven.kept));
        let Some(index) = &proven.index else {
            let archive = self.clone();
            return vec![Parts::of(move |sending| {
                let walk = NestedWalk::again(&archive, &meter, &kept);
                archive.format.visit(
                    archive.spool.reader(),
                    &archive.options,
                    &meter,
                    &mut |member, content| {
                        let at = starts.get(member.index).copied().unwrap_or(usize::MAX);
                        walk.leaves(member, content, &mut SentMembers { sending, at })
                    },
                )
            })];
        };
        let (wanted, next) = (Arc::new(wanted), Arc::new(AtomicUsize::new(0)));
        let stream = |_| {
            let (archive, index, meter, starts) =
                (self.clone(), Arc::clone(index), Arc::clone(&meter), Arc::clone(&starts));
            let (wanted, next, kept) = (Arc::clone(&wanted), Arc::clone(&next), Arc::clone(&kept));
            Parts::of(move |sending| {
                let walk = NestedWalk::again(&archive, &meter, &kept);
                while let Some(outer) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut sent = SentMembers { sending, at: starts[*outer] };
                    index.visit_one(
                        *outer,
                        archive.spool.reader(),
                        &archive.options,
                        &meter,
                        &mut |member, content| walk.leaves(member, content, &mut sent),
                    )?;
                }
                Ok(())
            })
        };
        (0..self.threads(wanted.len())).map(stream).collect()
    }
}

/// Whether `leaves`, which came of one member of the outermost archive, are members of an archive
/// that it is.
fn is_opened(members: &CheckedMembers, leaves: &std::ops::Range<usize>) -> bool {
    leaves.len() != 1 || members.is_nested(leaves.start)
}

fn proven(
    members: CheckedMembers,
    index: Option<Arc<dyn Indexed>>,
    starts: Vec<usize>,
    meter: &Meter,
) -> Proven {
    let kept = members.unopened().into_iter().map(|(_, kept)| kept.place.clone()).collect();
    let (remarks, doubts) = (meter.remarks(), meter.doubts());
    Proven { members, index, starts: Arc::new(starts), kept: Arc::new(kept), remarks, doubts }
}

/// Members that a check has read.
struct Collected<'a> {
    checking: &'a Checking,
    members: CheckedMembers,
}

impl Leaves for Collected<'_> {
    fn leaf(
        &mut self,
        member: &Member,
        content: &mut dyn Read,
        kept: Option<KeptInner>,
    ) -> Result<(), UnpackError> {
        let checked = self.checking.read(member, content)?;
        self.members.push(Checked { unopened: kept.map(Box::new), ..checked });
        Ok(())
    }

    fn mark(&self) -> usize {
        self.members.len()
    }

    // What a taker has of them comes to nothing: no member carries its number.
    fn undo(&mut self, mark: usize) {
        self.members.truncate(mark);
    }
}

/// Members on their way to [`Parts`], counted from `at` on.
struct SentMembers<'a> {
    sending: &'a UnpackSending,
    at: usize,
}

impl Leaves for SentMembers<'_> {
    fn leaf(
        &mut self,
        member: &Member,
        content: &mut dyn Read,
        _kept: Option<KeptInner>,
    ) -> Result<(), UnpackError> {
        self.sending.member(&mut self.at, member, content)
    }

    fn mark(&self) -> usize {
        self.at
    }

    // It is known by now what can be opened, so nothing is sent that would have to be taken back.
    fn undo(&mut self, _mark: usize) {}
}

/// The sending end of [`Parts`].
struct UnpackSending(mpsc::Sender<Part>);

impl UnpackSending {
    fn send(&self, part: Part) -> Result<(), UnpackError> {
        self.0
            .blocking_send(part)
            .map_err(|_| UnpackError::new(Class::Interrupted, "nobody waits for it any more"))
    }

    /// Sends `member` as the one at `index`, which then counts on.
    fn member(
        &self,
        index: &mut usize,
        member: &Member,
        content: &mut dyn Read,
    ) -> Result<(), UnpackError> {
        self.send(Part::Begin(Member { index: *index, ..member.clone() }))?;
        *index = index.wrapping_add(1);
        loop {
            // One byte more than claimed, so that a member that tells the truth ends in the same
            // read.
            let claimed = member
                .size
                .map_or(CHUNK_BYTES, |size| usize::try_from(size).unwrap_or(CHUNK_BYTES));
            let wish = claimed.saturating_add(1).min(CHUNK_BYTES);
            let mut chunk = BytesMut::zeroed(wish);
            let filled = fill(content, &mut chunk)?;
            chunk.truncate(filled);
            if filled > 0 {
                self.send(Part::Chunk(chunk.freeze()))?;
            }
            if filled < wish {
                return self.send(Part::End);
            }
        }
    }
}

/// The parts of an archive as they are unpacked.
#[derive(Debug)]
pub struct Parts {
    parts: mpsc::Receiver<Part>,
    work: Option<JoinHandle<Result<(), UnpackError>>>,
}

impl Parts {
    fn of(work: impl FnOnce(&UnpackSending) -> Result<(), UnpackError> + Send + 'static) -> Self {
        let (sender, parts) = mpsc::channel(PARTS_AHEAD);
        let sending = UnpackSending(sender);
        Self { parts, work: Some(tokio::task::spawn_blocking(move || work(&sending))) }
    }

    /// The next part; `None` once all of this stream was read and held. Nothing follows an error.
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

/// The result of `work`; a decoder that panics is a defect of this one archive's unpacking, not the
/// end of the process.
async fn joined<T>(
    work: impl Future<Output = Result<Result<T, UnpackError>, tokio::task::JoinError>>,
) -> Result<T, UnpackError> {
    match work.await {
        Ok(result) => result,
        Err(error) if error.is_panic() => {
            let panic = error.into_panic();
            let text = panic
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned());
            Err(UnpackError::new(
                Class::Internal,
                format!("the decoder panicked: {}", text.unwrap_or_default()),
            ))
        }
        Err(_) => Err(UnpackError::new(Class::Interrupted, "the program is stopping")),
    }
}

#[cfg(test)]
mod tests;
