//! Bytes of file content that may be in memory at once, drawn before they are read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::store::contract::BLOCK_BYTES;

const UNIT: u64 = 1 << 10;
/// Smaller buffers are as cheap from the allocator.
const WORTH_KEEPING: usize = 1 << 20;
/// Spare buffers are kept beside the budget, so there are few of them: those between a block that
/// has arrived and the next one.
const MOST_SPARE: usize = 2;

/// A budget of bytes. A task that draws on it holds nothing else of it while waiting, so nobody
/// waits for ever.
#[derive(Clone, Debug)]
pub struct ByteBudget {
    units: Arc<Semaphore>,
    total: u32,
    spare: Arc<Mutex<Vec<BytesMut>>>,
}

/// Bytes drawn from a budget; they go back when it is dropped.
#[derive(Debug)]
pub struct BudgetDrawn(#[expect(dead_code, reason = "held for its Drop")] OwnedSemaphorePermit);

impl ByteBudget {
    /// A budget of `bytes`, in steps of 1 KiB.
    pub fn new(bytes: u64) -> Self {
        let total = u32::try_from((bytes / UNIT).max(1)).unwrap_or(u32::MAX);
        Self {
            units: Arc::new(Semaphore::new(
                usize::try_from(total).unwrap_or(Semaphore::MAX_PERMITS),
            )),
            total,
            spare: Arc::default(),
        }
    }

    /// A budget of which the buffers that are kept for large blocks are a part, as long as they are
    /// no more than a quarter.
    pub(crate) fn with_spare(bytes: u64) -> Self {
        Self::new(bytes - (MOST_SPARE as u64 * BLOCK_BYTES).min(bytes / 4))
    }

    /// Waits until `bytes` are free and draws them. More than the whole budget counts as the whole
    /// budget.
    pub(crate) async fn draw(&self, bytes: u64) -> BudgetDrawn {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).clamp(1, self.total);
        BudgetDrawn(
            self.units
                .clone()
                .acquire_many_owned(units)
                .await
                .expect("this semaphore is never closed"),
        )
    }

    /// Draws `bytes` if they are free now. More than the whole budget counts as the whole budget.
    pub(crate) fn draw_now(&self, bytes: u64) -> Option<BudgetDrawn> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).clamp(1, self.total);
        self.units.clone().try_acquire_many_owned(units).ok().map(BudgetDrawn)
    }

    /// An empty buffer for `bytes`, which were drawn before: one that was given back, if there is
    /// one of about that size.
    pub fn buffer(&self, bytes: usize) -> BytesMut {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        match spare
            .iter()
            .position(|buffer| (bytes..=bytes.saturating_mul(2)).contains(&buffer.capacity()))
        {
            Some(at) => spare.swap_remove(at),
            None => BytesMut::with_capacity(bytes),
        }
    }

    /// `block` together with the room that was drawn for it.
    pub(crate) fn hold(&self, block: Bytes, drawn: BudgetDrawn) -> BudgetedBlock {
        BudgetedBlock { block, budget: self.clone(), _drawn: Arc::new(drawn) }
    }

    /// Keeps memory: fresh pages for each block of a large file cost as much as copying it, and
    /// leave holes behind.
    fn keep(&self, block: Bytes) {
        let Ok(mut buffer) = block.try_into_mut() else { return };
        buffer.clear();
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if buffer.capacity() >= WORTH_KEEPING && spare.len() < MOST_SPARE {
            spare.push(buffer);
        }
    }

    /// All of it, in bytes.
    pub fn total(&self) -> u64 {
        u64::from(self.total) * UNIT
    }
}

/// A block and its room, which is free again when the last of its readers (the one who stages it,
/// the one who hashes it) has dropped its clone. A store that keeps the bytes keeps them on its own
/// account.
#[derive(Clone)]
pub struct BudgetedBlock {
    block: Bytes,
    budget: ByteBudget,
    _drawn: Arc<BudgetDrawn>,
}

impl BudgetedBlock {
    /// The content.
    pub fn bytes(&self) -> &Bytes {
        &self.block
    }
}

impl AsRef<[u8]> for BudgetedBlock {
    fn as_ref(&self) -> &[u8] {
        &self.block
    }
}

impl Drop for BudgetedBlock {
    fn drop(&mut self) {
        // Before the room: a task that gets that should find the memory.
        self.budget.keep(std::mem::take(&mut self.block));
    }
}

/// Bytes that a pass may still read again.
#[derive(Debug)]
pub struct Allowance(Mutex<u64>);

impl Allowance {
    /// So many bytes.
    pub fn new(bytes: u64) -> Self {
        Self(Mutex::new(bytes))
    }

    /// Takes `bytes` of it, if there are as many; where nothing may be read again, not even an
    /// empty file is.
    pub fn take(&self, bytes: u64) -> bool {
        let mut left = self.left();
        let enough = *left > 0 && bytes <= *left;
        if enough {
            *left -= bytes;
        }
        enough
    }

    fn left(&self) -> MutexGuard<'_, u64> {
        self.0.lock().expect("no code panics while it holds this lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 2 << 20;

    async fn block(budget: &ByteBudget, fill: u8) -> BudgetedBlock {
        let drawn = budget.draw(SIZE as u64).await;
        let mut buffer = budget.buffer(SIZE);
        buffer.resize(SIZE, fill);
        budget.hold(buffer.freeze(), drawn)
    }

    #[tokio::test]
    async fn room_and_memory_of_a_block_are_free_once_nobody_reads_it() {
        let budget = ByteBudget::new(2 * SIZE as u64);
        let (first, second) = (block(&budget, 1).await, block(&budget, 2).await);
        let (at, still_read, kept) =
            (first.bytes().as_ptr(), second.clone(), second.bytes().clone());
        drop(second);
        assert!(budget.draw_now(1).is_none(), "both are read");
        drop(first);
        let third = block(&budget, 3).await;
        assert_eq!(third.bytes().as_ptr(), at, "the memory of the block that was free");
        drop((third, still_read));
        assert!(
            budget.draw_now(2 * SIZE as u64).is_some(),
            "all room is back, though a store keeps the bytes"
        );
        let fresh = (block(&budget, 4).await, block(&budget, 5).await);
        assert!(
            kept.iter().all(|byte| *byte == 2),
            "bytes that somebody keeps are not written over"
        );
        drop(fresh);
    }

    #[tokio::test]
    async fn few_spare_buffers_are_kept_and_no_small_ones() {
        let budget = ByteBudget::new(1 << 30);
        let mut blocks = Vec::new();
        for fill in 0..5 {
            blocks.push(block(&budget, fill).await);
            blocks.push(budget.hold(BytesMut::from(&b"small"[..]).freeze(), budget.draw(5).await));
        }
        drop(blocks);
        let spare = budget.spare.lock().unwrap();
        assert_eq!(spare.len(), MOST_SPARE);
        assert!(spare.iter().all(|buffer| buffer.capacity() >= WORTH_KEEPING));
    }

    #[test]
    fn what_may_be_read_again_ends() {
        let allowance = Allowance::new(10);
        assert!(allowance.take(4) && !allowance.take(7) && allowance.take(6));
        assert!(!allowance.take(0), "it is used up");
        assert!(!Allowance::new(0).take(0), "it is switched off");
    }
}
