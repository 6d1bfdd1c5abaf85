//! Bytes on their way: a stream of chunks to one whole piece, to staged blocks, or to a spooled
//! archive.

use std::time::Instant;

use bytes::Bytes;
use md5::Digest;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::archive;
use crate::archive::contract::{Format, HEAD_BYTES};
use crate::archive::spool::SpoolRoom;
use crate::archive::spool_reader::Spool;
use crate::archive::unread::{self, Unread};
use crate::failpoint::failpoint;
use crate::model;
use crate::model::failure::Class;
use crate::runtime::checksum::{ALONE, Hashing};
use crate::runtime::retry::retry;
use crate::store::contract::{BLOCK_BYTES, MAX_BLOCKS, Upload};
use crate::transfer::budget::BudgetDrawn;
use crate::transfer::context::Pass;
use crate::transfer::context::Run;
use crate::transfer::error::TransferError;

/// What the bytes have become.
#[derive(Debug)]
pub enum Arrived {
    /// A piece small enough for one request.
    Whole(Whole),
    /// Blocks, staged and not yet visible.
    Staged(Staged),
    /// An archive at rest, and the MD5 of its bytes as they came.
    Spooled(Spool, &'static dyn Format, model::Md5),
}

impl Arrived {
    /// The MD5 of all bytes that came.
    pub fn md5(&self) -> model::Md5 {
        match self {
            Arrived::Whole(whole) => whole.md5,
            Arrived::Staged(staged) => staged.md5,
            Arrived::Spooled(_, _, md5) => *md5,
        }
    }
}

impl Arrived {
    /// Its first bytes, and what it carries if it is no archive to us, as a program does; nothing
    /// of what is one.
    pub fn look(&self) -> (&[u8], Option<Unread>) {
        match self {
            Arrived::Whole(whole) => {
                let (bytes, size) = (&whole.bytes, whole.bytes.len() as u64);
                let carried =
                    unread::carried(bytes).or_else(|| unread::carried_at_end(bytes, bytes, size));
                (&bytes[..bytes.len().min(HEAD_BYTES)], carried)
            }
            Arrived::Staged(staged) => (&staged.head, staged.carried),
            Arrived::Spooled(..) => (&[], None),
        }
    }
}

/// Content in memory.
#[derive(Debug)]
pub struct Whole {
    /// All of it.
    pub bytes: Bytes,
    /// Its MD5.
    pub md5: model::Md5,
    _drawn: Option<BudgetDrawn>,
}

impl Whole {
    /// Content that a task that holds it has room for.
    pub fn kept(bytes: Bytes, md5: model::Md5) -> Self {
        Self { bytes, md5, _drawn: None }
    }
}

/// Content in staged blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staged {
    /// Its first bytes.
    pub head: Bytes,
    /// What its first block carries if it is a program, or its end tells of.
    pub carried: Option<Unread>,
    /// When the first block was sent.
    pub begun: Instant,
    /// How many blocks.
    pub blocks: u32,
    /// Bytes in them.
    pub size: u64,
    /// MD5 of them all.
    pub md5: model::Md5,
}

/// Whether archives are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look<'a> {
    /// By the first bytes of a file of this name.
    ForArchives(&'a str),
    /// Everything is a plain file.
    Away,
}

/// Azure takes no larger block.
const LARGEST_BLOCK: u64 = 4000 << 20;

/// Bytes of a block of a blob of `size`: 8 MiB, more where 50,000 of them would not do.
/// A blob of unknown size begins with 8 MiB and doubles every 10,000 blocks.
fn block_bytes(size: Option<u64>, index: u32) -> u64 {
    match size {
        Some(size) => {
            size.div_ceil(MAX_BLOCKS).next_multiple_of(1 << 20).clamp(BLOCK_BYTES, LARGEST_BLOCK)
        }
        None => BLOCK_BYTES << (index / 10_000).min(4),
    }
}

/// Takes in one stream of chunks.
pub(crate) struct Intake<'a> {
    run: &'a Run,
    chunks: &'a mut mpsc::Receiver<Bytes>,
    rest: Option<Bytes>,
    expected: Option<u64>,
}

impl<'a> Intake<'a> {
    /// Of a stream that promises `expected` bytes.
    pub fn new(run: &'a Run, chunks: &'a mut mpsc::Receiver<Bytes>, expected: Option<u64>) -> Self {
        Self { run, chunks, rest: None, expected }
    }

    /// Takes the stream to its end. Blocks are staged under `upload`; nothing becomes visible. A
    /// sender that fails looks like an end here: a task that joins both must ask the sender how it
    /// ended.
    pub async fn take(mut self, upload: &Upload, look: Look<'_>) -> Result<Arrived, TransferError> {
        if let Look::ForArchives(name) = look
            && let Some(format) = archive::recognise(&self.head().await, name)
        {
            return self.spool(format).await;
        }
        let drawn = self.draw(0, 0).await;
        let first = self.fill(block_bytes(self.expected, 0)).await;
        if self.peek().await.is_none() {
            let md5 = self.run.hashers.whole(&first).await?;
            return Ok(Arrived::Whole(Whole { bytes: first, md5, _drawn: Some(drawn) }));
        }
        self.stage(upload, first, drawn).await.map(Arrived::Staged)
    }

    async fn next(&mut self) -> Option<Bytes> {
        match self.rest.take() {
            Some(rest) => Some(rest),
            None => self.chunks.recv().await,
        }
    }

    async fn peek(&mut self) -> Option<&Bytes> {
        if self.rest.is_none() {
            self.rest = self.chunks.recv().await;
        }
        self.rest.as_ref()
    }

    /// The first bytes of the stream, which stay in it.
    async fn head(&mut self) -> Bytes {
        let mut head = self.next().await.unwrap_or_default();
        while head.len() < HEAD_BYTES {
            let Some(more) = self.chunks.recv().await else { break };
            head = [&head[..], &more[..]].concat().into();
        }
        if !head.is_empty() {
            self.rest = Some(head.clone());
        }
        head.slice(..head.len().min(HEAD_BYTES))
    }

    /// Draws room for block `index`, after `taken` bytes.
    async fn draw(&self, index: u32, taken: u64) -> BudgetDrawn {
        let block = block_bytes(self.expected, index);
        let left = self.expected.map_or(block, |expected| expected.saturating_sub(taken));
        self.run.blocks.draw(left.min(block)).await
    }

    /// The next `block` bytes, fewer at the end of the stream. One chunk that is all there is, is
    /// not copied.
    async fn fill(&mut self, block: u64) -> Bytes {
        let block = usize::try_from(block).unwrap_or(usize::MAX);
        let Some(first) = self.next_up_to(block).await else { return Bytes::new() };
        if first.len() == block || self.peek().await.is_none() {
            return first;
        }
        let wanted = block.min(
            self.expected.map_or(block, |e| usize::try_from(e).unwrap_or(block)).max(first.len()),
        );
        // The size is a claim: a larger block gets its memory as its bytes come.
        let mut filled = self.run.blocks.buffer(wanted.min(BLOCK_BYTES as usize));
        filled.extend_from_slice(&first);
        drop(first);
        while filled.len() < block {
            let Some(chunk) = self.next_up_to(block - filled.len()).await else { break };
            filled.extend_from_slice(&chunk);
        }
        filled.freeze()
    }

    async fn next_up_to(&mut self, most: usize) -> Option<Bytes> {
        let mut chunk = self.next().await?;
        if chunk.len() > most {
            self.rest = Some(chunk.split_off(most));
        }
        Some(chunk)
    }

    async fn stage(
        &mut self,
        upload: &Upload,
        first: Bytes,
        drawn: BudgetDrawn,
    ) -> Result<Staged, TransferError> {
        let mut staging = Staging::new(self.run, upload);
        let (mut block, mut drawn) = (first, drawn);
        loop {
            staging.add(block, drawn).await?;
            if self.peek().await.is_none() {
                return staging.finish().await;
            }
            drawn = self.draw(staging.blocks, staging.size).await;
            block = self.fill(block_bytes(self.expected, staging.blocks)).await;
        }
    }

    async fn spool(mut self, format: &'static dyn Format) -> Result<Arrived, TransferError> {
        let mut writer = self.run.spooler.writer(self.expected, SpoolRoom::Wait).await?;
        // A small one is hashed where it is.
        let mut here = self.expected.is_some_and(|bytes| bytes <= ALONE as u64).then(md5::Md5::new);
        let mut hashing = self.run.hashers.begin();
        while let Some(chunk) = self.next().await {
            match &mut here {
                Some(sum) => sum.update(&chunk),
                None => hashing.update(Box::new(chunk.clone())).await?,
            }
            writer.write(chunk).await?;
        }
        let md5 = match here {
            Some(sum) => sum.finalize().into(),
            None => hashing.finish().await?,
        };
        Ok(Arrived::Spooled(writer.finish().await?, format, md5))
    }
}

/// Blocks of one upload on their way, some at once, hashed in order beside.
struct Staging<'a> {
    run: &'a Run,
    upload: &'a Upload,
    tasks: JoinSet<Result<(), TransferError>>,
    hashing: Hashing,
    head: Bytes,
    carried: Option<Unread>,
    /// Its last bytes.
    end: Vec<u8>,
    begun: Instant,
    blocks: u32,
    size: u64,
}

impl<'a> Staging<'a> {
    fn new(run: &'a Run, upload: &'a Upload) -> Self {
        Self {
            run,
            upload,
            tasks: JoinSet::new(),
            hashing: run.hashers.begin(),
            head: Bytes::new(),
            carried: None,
            end: Vec::new(),
            begun: Instant::now(),
            blocks: 0,
            size: 0,
        }
    }

    async fn add(&mut self, block: Bytes, drawn: BudgetDrawn) -> Result<(), TransferError> {
        while self.tasks.len() >= self.run.limits.blocks {
            self.join_one().await?;
        }
        if self.blocks == 0 {
            self.head = Bytes::copy_from_slice(&block[..block.len().min(HEAD_BYTES)]);
            self.carried = unread::carried(&block);
        }
        self.end.extend_from_slice(&block[block.len().saturating_sub(unread::END_BYTES)..]);
        self.end.drain(..self.end.len().saturating_sub(unread::END_BYTES));
        let block = self.run.blocks.hold(block, drawn);
        self.hashing.update(Box::new(block.clone())).await?;
        self.size += block.bytes().len() as u64;
        let (store, policy, cancel) =
            (self.run.store.clone(), self.run.policy, self.run.cancel.clone());
        let (upload, index) = (self.upload.clone(), self.blocks);
        self.tasks.spawn(async move {
            let once = |_| store.stage(&upload, index, block.bytes().clone());
            failpoint!("before-stage", TransferError::Defect("a step that a test lets fail"));
            retry(&policy, &cancel, "staging a block", once).await.map_err(TransferError::from)?;
            failpoint!("after-stage", TransferError::Defect("a step that a test lets fail"));
            Ok(())
        });
        self.blocks += 1;
        Ok(())
    }

    async fn join_one(&mut self) -> Result<(), TransferError> {
        match self.tasks.join_next().await {
            None => Ok(()),
            Some(result) => result.map_err(|_| TransferError::Defect("staging a block"))?,
        }
    }

    async fn finish(mut self) -> Result<Staged, TransferError> {
        while !self.tasks.is_empty() {
            self.join_one().await?;
        }
        let carried =
            self.carried.or_else(|| unread::carried_at_end(&self.head, &self.end, self.size));
        Ok(Staged {
            head: self.head,
            carried,
            begun: self.begun,
            blocks: self.blocks,
            size: self.size,
            md5: self.hashing.finish().await?,
        })
    }
}

/// Sends a spool's bytes as a stream of chunks, as if they came from a source.
pub(crate) async fn resend(
    spool: &Spool,
    chunks: mpsc::Sender<Bytes>,
) -> Result<(), TransferError> {
    use std::io::Read;
    let mut reader = spool.reader();
    let work = tokio::task::spawn_blocking(move || -> std::io::Result<()> {
        loop {
            let mut chunk = vec![0; 256 << 10];
            let read = reader.read(&mut chunk)?;
            chunk.truncate(read);
            // A receiver that is gone has failed and tells why itself.
            if read == 0 || chunks.blocking_send(chunk.into()).is_err() {
                return Ok(());
            }
        }
    });
    let result = work.await.map_err(|_| TransferError::Defect("reading a spool"))?;
    result
        .map_err(|error| crate::archive::contract::UnpackError::new(Class::LimitTemp, error).into())
}

/// A spool's bytes as if they had just come from the source, for archives that are kept whole.
pub(crate) async fn replay(
    pass: &Pass,
    spool: &Spool,
    upload: &Upload,
) -> Result<Arrived, TransferError> {
    let (sender, mut chunks) = mpsc::channel(4);
    let intake = async {
        let arrived =
            Intake::new(&pass.run, &mut chunks, Some(spool.size())).take(upload, Look::Away).await;
        chunks.close();
        arrived
    };
    let (sent, arrived) = tokio::join!(resend(spool, sender), intake);
    sent?;
    arrived
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 50,000 blocks of at most 4000 MiB: a blob may be as large as Azure takes it, 190 TiB.
    #[test]
    fn no_blob_needs_more_blocks_than_azure_allows() {
        for size in [
            0,
            1,
            BLOCK_BYTES * MAX_BLOCKS,
            BLOCK_BYTES * MAX_BLOCKS + 1,
            1 << 40,
            (1 << 40) + 12_345,
            190 << 40,
        ] {
            let block = block_bytes(Some(size), 0);
            assert!(
                size.div_ceil(block) <= MAX_BLOCKS && block <= LARGEST_BLOCK,
                "{size}: blocks of {block}"
            );
        }
        assert_eq!(block_bytes(Some(u64::MAX), 0), LARGEST_BLOCK, "no blob is as large");
        assert_eq!(
            block_bytes(Some(BLOCK_BYTES * MAX_BLOCKS), 0),
            BLOCK_BYTES,
            "no more memory than it takes"
        );
        // Of unknown size: 50,000 blocks hold 2.5 TB.
        let held: u64 = (0..50_000).map(|index| block_bytes(None, index)).sum();
        assert!(held >= 2_500_000_000_000 && block_bytes(None, 49_999) <= LARGEST_BLOCK, "{held}");
    }
}
