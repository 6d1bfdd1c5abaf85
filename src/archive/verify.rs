//! Reads members to their end to prove them; keeps small ones and hands large ones on while it
//! reads.

use std::fmt;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use md5::{Digest, Md5};
use tokio::sync::mpsc;

use crate::archive::contract::{Member, UnpackError};
use crate::archive::limits::Meter;
use crate::archive::nested::KeptInner;
use crate::archive::nested::{CHUNK_BYTES, fill};
use crate::model;
use crate::model::failure::Class;
use crate::runtime::checksum::ALONE;

/// Takes what a check reads of members, so that they need not be read again. Nothing of what it was
/// given may become visible before the check of the whole archive has gone well. Called on blocking
/// threads, by several at once.
pub(crate) trait Taker: Send + Sync + fmt::Debug {
    /// Whether there is room to keep another `bytes` in memory. What was granted stays granted
    /// until the taker is dropped.
    fn room(&self, bytes: u64) -> bool;

    /// Where the content of `member` goes, under a number that the [`Checked`] member carries;
    /// `None` if it is not wanted. Its indices count what came so far and are not final. Called for
    /// members that are not kept. A receiver that is gone has had enough; a channel that ends says
    /// nothing of the member: the check may have failed in it.
    fn take(&self, member: &Member) -> Option<(u64, mpsc::Sender<Bytes>)>;
}

/// What the threads that check one archive share.
#[derive(Clone)]
pub(super) struct Checking {
    pub(super) stopped: Arc<AtomicBool>,
    pub(super) meter: Arc<Meter>,
    pub(super) keep: Arc<AtomicU64>,
    pub(super) md5: bool,
    pub(super) taker: Option<Arc<dyn Taker>>,
}

impl Checking {
    pub(super) fn read(
        &self,
        member: &Member,
        content: &mut dyn Read,
    ) -> Result<Checked, UnpackError> {
        match self.room(member) {
            Some(room) => self.read_to_keep(member, room, content),
            None => self.read_on(member, Bytes::new(), content),
        }
    }

    /// Right into the memory that it is kept in. One byte more than the room, so that the end shows
    /// in the same read.
    fn read_to_keep(
        &self,
        member: &Member,
        room: usize,
        content: &mut dyn Read,
    ) -> Result<Checked, UnpackError> {
        let (mut bytes, mut size) = (BytesMut::zeroed(room + 1), 0);
        while size < bytes.len() {
            self.goes_on()?;
            let end = bytes.len().min(size + CHUNK_BYTES);
            let filled = fill(content, &mut bytes[size..end])?;
            size += filled;
            if size < end {
                break;
            }
        }
        if size > room {
            self.keep.fetch_add(cost(room as u64), Ordering::Relaxed);
            return self.read_on(member, bytes.freeze(), content);
        }
        self.keep.fetch_add(cost(room as u64) - cost(size as u64), Ordering::Relaxed);
        bytes.truncate(size);
        // While it is still in the cache; larger ones go side by side.
        let md5 = (size <= ALONE).then(|| Md5::digest(&bytes).into());
        // Memory that is mostly empty would not be what was counted.
        let kept = match size {
            0 => Bytes::new(),
            _ if size < room / 2 => Bytes::copy_from_slice(&bytes),
            _ => bytes.freeze(),
        };
        Ok(Checked { size: size as u64, md5, kept: Some(kept), ..Checked::read(member) })
    }

    /// In chunks, which go to a reader that takes them. `begun` was read already.
    fn read_on(
        &self,
        member: &Member,
        begun: Bytes,
        content: &mut dyn Read,
    ) -> Result<Checked, UnpackError> {
        let (number, mut taker) = self.taker.as_ref().and_then(|taker| taker.take(member)).unzip();
        let mut md5 = self.md5.then(Md5::new);
        let mut size = begun.len() as u64;
        if let Some(md5) = &mut md5 {
            md5.update(&begun);
        }
        hand_on(&mut taker, begun);
        let whole = member.size.map_or(CHUNK_BYTES, |size| {
            usize::try_from(size).unwrap_or(CHUNK_BYTES).saturating_add(1)
        });
        let mut buffer = BytesMut::zeroed(whole.min(CHUNK_BYTES));
        loop {
            self.goes_on()?;
            let filled = fill(content, &mut buffer)?;
            size += filled as u64;
            if let Some(md5) = &mut md5 {
                md5.update(&buffer[..filled]);
            }
            let over = filled < buffer.len();
            if taker.is_some() {
                let next = BytesMut::zeroed(if over { 0 } else { buffer.len() });
                let mut chunk = std::mem::replace(&mut buffer, next);
                chunk.truncate(filled);
                hand_on(&mut taker, chunk.freeze());
            }
            if over {
                break;
            }
        }
        let taken = number.filter(|_| taker.is_some());
        Ok(Checked {
            size,
            md5: md5.map(|md5| md5.finalize().into()),
            taken,
            ..Checked::read(member)
        })
    }

    fn goes_on(&self) -> Result<(), UnpackError> {
        if self.stopped.load(Ordering::Relaxed) {
            return Err(UnpackError::new(Class::Interrupted, "nobody waits for it any more"));
        }
        Ok(())
    }

    /// Room for `member`, taken from what may be kept, if it may be kept whole.
    fn room(&self, member: &Member) -> Option<usize> {
        const UNKNOWN: u64 = 1 << 20;
        let room = member.size.unwrap_or(UNKNOWN);
        if room > MOST_KEPT_OF_ONE {
            return None;
        }
        let cost = cost(room);
        let taken = self
            .keep
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(cost));
        taken.ok().filter(|_| self.taker.as_ref().is_none_or(|taker| taker.room(cost)))?;
        usize::try_from(room).ok()
    }
}

/// What a member of `size` bytes takes that is kept: who keeps a million small ones keeps more than
/// their bytes. Nothing is kept of an empty one.
fn cost(size: u64) -> u64 {
    const BESIDE_BYTES: u64 = 160;
    if size == 0 { 0 } else { size + BESIDE_BYTES }
}

fn hand_on(taker: &mut Option<mpsc::Sender<Bytes>>, chunk: Bytes) {
    if let Some(sender) = taker
        && !chunk.is_empty()
        && sender.blocking_send(chunk).is_err()
    {
        *taker = None;
    }
}

/// The largest member that is kept from the check.
pub(crate) const MOST_KEPT_OF_ONE: u64 = 8 << 20;

/// A member that was read to its end and held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// What the archive says of it. Its index counts members of inner archives, too.
    pub member: Member,
    /// How many bytes it has.
    pub size: u64,
    /// Their MD5: of what is kept if it is no larger than
    /// [`ALONE`], else
    /// if it was wanted.
    pub md5: Option<model::Md5>,
    /// All of them, if they were kept.
    pub kept: Option<Bytes>,
    /// The number under which a [`Taker`] has got all of them.
    pub taken: Option<u64>,
    /// CRC-32 of its content, where the archive tells it.
    pub crc32: Option<u32>,
    /// Whether it was read at all. What was not is only what the archive claims of it.
    pub read: bool,
    /// Why it is not unpacked, if it is an archive that cannot be.
    pub unopened: Option<Box<KeptInner>>,
}

impl Checked {
    pub(super) fn unread(member: &Member) -> Self {
        Self { read: false, size: member.size.unwrap_or(0), ..Self::read(member) }
    }

    pub(super) fn read(member: &Member) -> Self {
        Self {
            member: member.clone(),
            size: 0,
            md5: None,
            kept: None,
            taken: None,
            crc32: None,
            read: true,
            unopened: None,
        }
    }
}
