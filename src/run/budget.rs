//! Bytes of file content that may be in memory at once, drawn before they are read.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

const UNIT: u64 = 1 << 10;

/// A budget of bytes. Whoever draws on it holds nothing else of it while waiting, so nobody waits for ever.
#[derive(Clone, Debug)]
pub struct ByteBudget {
    units: Arc<Semaphore>,
    total: u32,
}

/// Bytes drawn from a budget; they go back when it is dropped.
#[derive(Debug)]
pub struct Drawn(#[expect(dead_code, reason = "held for its Drop")] OwnedSemaphorePermit);

impl ByteBudget {
    /// A budget of `bytes`, in steps of 1 KiB.
    pub fn new(bytes: u64) -> Self {
        let total = u32::try_from((bytes / UNIT).max(1)).unwrap_or(u32::MAX);
        Self { units: Arc::new(Semaphore::new(usize::try_from(total).unwrap_or(Semaphore::MAX_PERMITS))), total }
    }

    /// Waits until `bytes` are free and draws them. More than the whole budget counts as the whole budget.
    pub async fn draw(&self, bytes: u64) -> Drawn {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).clamp(1, self.total);
        Drawn(self.units.clone().acquire_many_owned(units).await.expect("this semaphore is never closed"))
    }

    /// Draws `bytes` if they are free now. More than the whole budget counts as the whole budget.
    pub fn draw_now(&self, bytes: u64) -> Option<Drawn> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).clamp(1, self.total);
        self.units.clone().try_acquire_many_owned(units).ok().map(Drawn)
    }

    /// All of it, in bytes.
    pub fn total(&self) -> u64 {
        u64::from(self.total) * UNIT
    }
}
