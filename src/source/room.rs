//! Memory that may be taken for what a server lists, counted over all walks of a run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// So many bytes for all who share it.
#[derive(Clone, Debug)]
pub struct MemoryRoom {
    total: u64,
    taken: Arc<AtomicU64>,
}

impl MemoryRoom {
    /// A room of `total` bytes.
    pub fn new(total: u64) -> Self {
        Self { total, taken: Arc::default() }
    }

    /// All of it, in bytes.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// A part of it, of no bytes yet.
    pub(crate) fn part(&self) -> RoomPart {
        RoomPart { room: self.clone(), bytes: 0 }
    }
}

/// A part of a [`MemoryRoom`], which is free again when this is dropped.
#[derive(Debug)]
pub struct RoomPart {
    room: MemoryRoom,
    bytes: u64,
}

impl RoomPart {
    /// Takes `bytes` more, if they are free.
    #[must_use]
    pub fn grow(&mut self, bytes: u64) -> bool {
        let fits = |taken: u64| taken.checked_add(bytes).filter(|taken| *taken <= self.room.total);
        let grown =
            self.room.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok();
        self.bytes += if grown { bytes } else { 0 };
        grown
    }

    /// Gives `bytes` back, as far as they were taken.
    pub fn shrink(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.room.taken.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for RoomPart {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}

/// The room of the walks of a run.
#[derive(Clone, Debug)]
pub struct WalkRoom {
    /// For folders that wait to be listed.
    pub folders: MemoryRoom,
    /// For what has been listed of folders that are being listed: what comes twice is known again
    /// by it.
    pub listed: MemoryRoom,
}

impl WalkRoom {
    /// Three eighths of the `memory` that a run may use, but enough for a large folder in any case.
    pub fn of(memory: u64) -> Self {
        const LEAST: u64 = 8 << 20;
        Self {
            folders: MemoryRoom::new((memory / 4).max(LEAST)),
            listed: MemoryRoom::new((memory / 8).max(LEAST)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_more_than_there_is_and_all_comes_back() {
        let room = MemoryRoom::new(100);
        let (mut one, mut other) = (room.part(), room.part());
        assert!(one.grow(60) && !other.grow(41) && other.grow(40) && !one.grow(1));
        other.shrink(10);
        assert!(one.grow(10));
        drop(one);
        assert!(other.grow(70) && !other.grow(1));
    }
}
