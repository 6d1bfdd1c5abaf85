//! How many requests a server is asked to keep waiting at once.

use std::sync::atomic::{AtomicUsize, Ordering};

/// As many as OpenSSH's `sftp` has under way.
const USUAL: usize = 64;
/// Fewer than this are never asked for on purpose.
const FEW: usize = 16;
/// Of so many requests each session that shares a login has one or more.
const PER_SESSION: usize = 4;

/// Some servers stop for ever once more requests wait than their queues hold. Nothing but a stall
/// tells of that, so that a stall with many requests under way is followed by fewer of them.
#[derive(Debug)]
pub(crate) struct RequestLimit(AtomicUsize);

impl Default for RequestLimit {
    fn default() -> Self {
        Self(AtomicUsize::new(usize::MAX))
    }
}

impl RequestLimit {
    /// The most requests that may wait on one channel. Each file has one in any case.
    pub fn most(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// How many sessions may share a login of which `room` could.
    pub fn sessions(&self, room: usize) -> usize {
        room.min(self.most() / PER_SESSION)
    }

    /// The server stalled while so many requests waited.
    pub fn stalled_with(&self, waiting: usize) {
        let before = self.most();
        let most = match waiting {
            // The stall had another reason.
            waiting if waiting <= FEW && before == FEW => usize::MAX,
            waiting if waiting <= FEW => return,
            waiting if waiting <= USUAL => FEW,
            _ => USUAL,
        };
        self.0.store(most, Ordering::Relaxed);
        if most != before {
            tracing::debug!(
                waiting,
                most,
                "The server stalled while many requests waited: the most that wait is changed."
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stalls_lead_to_fewer_requests_as_long_as_many_wait() {
        let limit = RequestLimit::default();
        assert_eq!((limit.most(), limit.sessions(64)), (usize::MAX, 64));
        // A server that is silent from the start tells nothing of how much it stands.
        limit.stalled_with(3);
        assert_eq!(limit.most(), usize::MAX);
        limit.stalled_with(256);
        limit.stalled_with(200);
        assert_eq!((limit.most(), limit.sessions(64)), (64, 16));
        limit.stalled_with(64);
        assert_eq!((limit.most(), limit.sessions(64)), (16, 4));
        limit.stalled_with(16);
        assert_eq!(limit.most(), usize::MAX, "fewer did not help");
    }
}
