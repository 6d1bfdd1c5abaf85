//! How long an answer is waited for, where the answers to others may come first.

use std::time::Duration;

use tokio::time::Instant;

/// How many looks at the line make a stall timeout: a stall is noticed so much of it late, at most.
const LOOKS: u32 = 8;

/// One wait. On a slow line the answers to others come first: as long as bytes arrive, and not more
/// of them than can have been asked for before, the server does not stall.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    stall: Duration,
    begun: Instant,
    /// Bytes received when some were last seen to arrive, and when that was.
    seen: u64,
    since: Instant,
    /// With more bytes of whole packets than this, others were served instead of us.
    most: u64,
}

impl Patience {
    /// A wait that begins `now`, with so many bytes `received`; beyond `most` of them in whole
    /// packets we were passed over.
    pub fn new(stall: Duration, now: Instant, received: u64, most: u64) -> Self {
        Self { stall, begun: now, seen: received, since: now, most }
    }

    /// How long until the next look.
    pub fn step(&self) -> Duration {
        self.stall / LOOKS
    }

    /// Whether it is over: nothing came for the stall timeout, or for as long everybody else was
    /// served.
    pub fn is_over(&mut self, now: Instant, (received, delivered): (u64, u64)) -> bool {
        if received != self.seen {
            (self.seen, self.since) = (received, now);
        }
        now - self.since >= self.stall || delivered > self.most && now - self.begun >= self.stall
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALL: Duration = Duration::from_secs(8);

    fn looks(arrivals: &[u64]) -> Vec<bool> {
        let begun = Instant::now();
        let mut patience = Patience::new(STALL, begun, 0, 1000);
        (1..)
            .zip(arrivals)
            .map(|(n, received)| {
                patience.is_over(begun + patience.step() * n, (*received, *received))
            })
            .collect()
    }

    #[test]
    fn silence_is_counted_from_the_last_byte_not_from_the_next_look() {
        // Bytes came just after the wait began, then none: over one stall after them, not two.
        let over = looks(&[1; 12]);
        assert_eq!(over.iter().position(|over| *over), Some(8), "{over:?}");
        let over = looks(&[0; 12]);
        assert_eq!(over.iter().position(|over| *over), Some(7), "{over:?}");
    }

    #[test]
    fn a_long_answer_that_is_on_its_way_is_no_answer_to_others() {
        let begun = Instant::now();
        let mut patience = Patience::new(STALL, begun, 0, 1000);
        for n in 1..100 {
            assert!(!patience.is_over(begun + patience.step() * n, (u64::from(n) * 400, 20)));
        }
    }

    #[test]
    fn bytes_of_others_are_no_stall_until_we_are_passed_over() {
        let steady: Vec<u64> = (1..=100).collect();
        assert!(looks(&steady).iter().all(|over| !over));
        let flood: Vec<u64> = (1..=100).map(|n| n * 400).collect();
        let over = looks(&flood);
        assert_eq!(over.iter().position(|over| *over), Some(7), "{over:?}");
    }
}
