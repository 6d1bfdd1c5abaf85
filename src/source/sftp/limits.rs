//! What a server allows and how far away it is, as far as that is known by now.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::sync::Semaphore;

use super::distance::ReadAhead;

/// The extension by which servers tell their limits.
pub(crate) const EXTENSION: &[u8] = b"limits@openssh.com";
/// What every server must be able to send in one reply, by the standard.
const PLAIN_READ: u32 = 32 << 10;
/// What OpenSSH sends in one reply. Larger ones bring nothing and risk the packet limit.
const LARGEST_READ: u32 = 261_120;
/// Who answers less than this at a time has so many answers to give that nothing gets done.
const SMALLEST_READ: u32 = 512;
/// Four numbers: the longest packet, the longest read, the longest write, open handles. 0 means
/// "not said".
const TOLD: usize = 32;

/// Nobody waits for a server's limits: they are known before the first answer to a question that
/// was asked after them.
#[derive(Debug)]
pub struct SftpLimits {
    read: AtomicU32,
    open: AtomicU64,
    round_trip: AtomicU64,
    budget: Arc<Semaphore>,
}

impl SftpLimits {
    /// Of a server of which it is only known how long its greeting took.
    pub fn new(greeting: Duration) -> Self {
        let limits = Self {
            read: AtomicU32::new(PLAIN_READ),
            open: AtomicU64::new(0),
            round_trip: AtomicU64::new(0),
            budget: Arc::new(Semaphore::new(permits(ReadAhead::of(Duration::ZERO)))),
        };
        limits.is_away(greeting);
        limits
    }

    /// Of a server that will tell more: its greeting waited for the start of a program, too, and
    /// says too much.
    pub(crate) fn to_come() -> Self {
        Self::new(Duration::ZERO)
    }

    /// Takes in what the server told, `round_trip` after it was asked. What cannot be read changes
    /// nothing.
    pub(crate) fn learn(&self, told: Option<Bytes>, round_trip: Duration) {
        self.is_away(round_trip);
        let Some(mut told) = told.filter(|told| told.len() >= TOLD) else { return };
        let (_packet, read, _write, open) =
            (told.get_u64(), told.get_u64(), told.get_u64(), told.get_u64());
        if read > 0 {
            self.read.store(
                u32::try_from(read).unwrap_or(LARGEST_READ).clamp(SMALLEST_READ, LARGEST_READ),
                Ordering::Relaxed,
            );
        }
        self.open.store(open, Ordering::Relaxed);
    }

    fn is_away(&self, round_trip: Duration) {
        let nearest = permits(ReadAhead::of(Duration::ZERO));
        self.round_trip
            .store(u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.budget.add_permits(permits(ReadAhead::of(round_trip)) - nearest);
    }

    /// The longest read that it answers in one piece.
    pub fn read(&self) -> u32 {
        self.read.load(Ordering::Relaxed)
    }

    /// How many files and directories may be open, if it says.
    pub fn open(&self) -> Option<u64> {
        Some(self.open.load(Ordering::Relaxed)).filter(|open| *open > 0)
    }

    /// How far ahead of its arrival content is asked for.
    pub(crate) fn ahead(&self) -> ReadAhead {
        ReadAhead::of(Duration::from_micros(self.round_trip.load(Ordering::Relaxed)))
    }

    /// What the connection may have asked for, in bytes.
    pub fn budget(&self) -> &Arc<Semaphore> {
        &self.budget
    }
}

fn permits(ahead: ReadAhead) -> usize {
    usize::try_from(ahead.connection).unwrap_or(Semaphore::MAX_PERMITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(numbers: [u64; 4]) -> Option<Bytes> {
        Some(numbers.iter().flat_map(|number| number.to_be_bytes()).collect())
    }

    #[test]
    fn what_is_not_said_stays_as_it_was() {
        let limits = SftpLimits::to_come();
        assert_eq!((limits.read(), limits.open()), (32 << 10, None));
        limits.learn(None, Duration::from_millis(1));
        limits.learn(Some(Bytes::from_static(b"short")), Duration::from_millis(1));
        limits.learn(told([0, 0, 0, 0]), Duration::from_millis(1));
        assert_eq!((limits.read(), limits.open()), (32 << 10, None));
        limits.learn(told([1 << 18, 4_000, 1, 20]), Duration::from_millis(1));
        assert_eq!((limits.read(), limits.open()), (4_000, Some(20)));
        limits.learn(told([1 << 18, u64::MAX, 1, 20]), Duration::from_millis(1));
        assert_eq!(limits.read(), LARGEST_READ);
        limits.learn(told([1, 1, 1, 1]), Duration::from_millis(1));
        assert_eq!((limits.read(), limits.open()), (SMALLEST_READ, Some(1)));
    }

    #[test]
    fn far_servers_get_a_larger_budget() {
        let (near, far) = (SftpLimits::new(Duration::ZERO), SftpLimits::to_come());
        far.learn(None, Duration::from_millis(100));
        assert_eq!(near.budget().available_permits(), 8 << 20);
        assert_eq!(far.budget().available_permits() as u64, far.ahead().connection);
        assert!(far.ahead().file > near.ahead().file);
    }
}
