//! How the export goes: what waits for it, what was lost, whether somebody was told.

use crate::telemetry::insights::labels::OWN;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Items of a signal that wait to be sent, at most. The newest are lost beyond that.
pub(crate) const QUEUE: usize = 2048;

/// What is known about the export of a process.
#[derive(Debug, Default)]
pub(crate) struct Health {
    receiver: &'static str,
    lost: AtomicU64,
    told: AtomicBool,
    reason: Mutex<Option<String>>,
}

impl Health {
    /// Of the export to `receiver`.
    pub fn of(receiver: &'static str) -> Self {
        Self { receiver, ..Self::default() }
    }

    /// `items` will never arrive.
    pub fn lose(&self, items: usize) {
        self.lost.fetch_add(items as u64, Ordering::Relaxed);
    }

    /// Why the last request failed. Must be safe for a line.
    pub fn because(&self, reason: String) {
        *self.reason.lock().expect("no code panics while it holds this lock") = Some(reason);
    }

    /// Items lost so far.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Says once in the life of the process that telemetry was lost; `late`: or may be, since a
    /// flush took too long.
    pub fn tell(&self, late: bool) {
        let lost = self.lost();
        if (lost == 0 && !late) || self.told.swap(true, Ordering::Relaxed) {
            return;
        }
        let reason = self.reason.lock().expect("no code panics while it holds this lock").clone();
        let reason = reason.unwrap_or_else(|| {
            if late {
                "it did not answer in time".into()
            } else {
                "more came than could be sent".into()
            }
        });
        tracing::warn!(target: OWN, lost, reason, "Warning: telemetry for {} is being lost; \
            the runs themselves go on.", self.receiver);
    }
}

/// Lets items of one signal into its queue, as many as have room.
#[derive(Clone, Debug)]
pub struct Gate {
    waiting: Arc<AtomicUsize>,
    health: Arc<Health>,
}

impl Gate {
    /// Tells `health` what it must turn away.
    pub fn new(health: Arc<Health>) -> Self {
        Self { waiting: Arc::default(), health }
    }

    /// Whether there is room for one more. If so, it must be queued.
    pub fn enter(&self) -> bool {
        let room = |waiting| (waiting < QUEUE).then_some(waiting + 1);
        let entered = self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_ok();
        if !entered {
            self.health.lose(1);
        }
        entered
    }

    /// Lets in one more in any case: the request of a run, of which there are few.
    pub(crate) fn enter_anyway(&self) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
    }

    /// `items` were taken out of the queue.
    pub fn leave(&self, items: usize) {
        self.waiting.fetch_sub(items, Ordering::Relaxed);
    }

    /// Items in the queue.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_nobody_empties_takes_no_more_than_it_holds() {
        let health = Arc::new(Health::default());
        let gate = Gate::new(health.clone());
        let entered = (0..QUEUE + 500).filter(|_| gate.enter()).count();
        assert_eq!((entered, gate.waiting(), health.lost()), (QUEUE, QUEUE, 500));
        gate.leave(512);
        assert!(gate.enter());
        assert_eq!(gate.waiting(), QUEUE - 511);
    }
}
