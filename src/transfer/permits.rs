//! The permits of a file on its way: a place at its source, a slot at the store, a ticket of the
//! ledger.
//!
//! A place is given back when the bytes are here, a slot when the blob is committed, a ticket when
//! the record is durable: while the store answers for one file, another one is read, and while the
//! ledger is written, others are committed. They are taken in this order, a ticket with the slot
//! still in hand, and a task that has a slot or a ticket never waits for a place: so nobody waits
//! in a circle, a source with few logins does not keep the slots of others, and of what is
//! committed no more files than there are slots and tickets lack their record.

use std::sync::{Mutex, MutexGuard};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::failpoint::safeguard_off;

/// Tickets for each slot: records wait for the append that is under way, and then for their own.
const TICKETS_PER_SLOT: usize = 2;
/// Slots at the beginning. Each may open a connection of its own, so more are added by and by.
const FIRST_SLOTS: usize = 64;
/// More slots are kept if they bring this part of the files that they could bring: twice as many
/// slots at least two fifths more files a second.
const WORTH_KEEPING: f64 = 0.4;

/// Permits of one source.
#[derive(Debug)]
pub struct SourcePermits {
    places: Semaphore,
    most_places: usize,
    /// After-actions that may wait for a login at once.
    actions: Semaphore,
}

/// Permits of a run, for all of its sources.
#[derive(Debug)]
pub struct StorePermits {
    slots: Semaphore,
    most_slots: usize,
    growth: Mutex<Growth>,
    tickets: Semaphore,
}

/// How many slots there are, and whether more would bring more files: twice as many are tried as
/// long as files wait for a slot, and given up again where the store, the line or the processor is
/// what holds them back. A store that is too busy is seen to by its pacing.
#[derive(Debug)]
struct Growth {
    slots: usize,
    /// Slots before the last growth.
    before: usize,
    /// Files a second at the last measurement.
    rate: Option<f64>,
    /// Slots that came back since the measurement began; `None` while as many come back as there
    /// are now: a new slot makes a connection first, which takes an answer more.
    wave: Option<(Instant, usize)>,
    /// Slots that came back before the measurement.
    unmeasured: usize,
    is_settled: bool,
    /// Slots that are to go when they come back.
    surplus: usize,
}

/// A place and a slot: a file that has them may be read.
#[derive(Debug)]
pub struct Admission<'a> {
    place: SemaphorePermit<'a>,
    slot: SlotPermit<'a>,
}

/// A slot: a file that has it may be committed.
#[derive(Debug)]
pub struct SlotPermit<'a> {
    permit: Option<SemaphorePermit<'a>>,
    permits: &'a StorePermits,
}

/// A ticket: a file that has it is committed, and its record is not durable yet.
#[derive(Debug)]
pub struct RecordTicket<'a>(#[expect(dead_code, reason = "held for its Drop")] SemaphorePermit<'a>);

impl SourcePermits {
    /// Of a source that can be asked for `parallel` things at once over `connections` logins. There
    /// are a few places more than that: who has one may wait for its login.
    pub fn new(parallel: usize, connections: usize) -> Self {
        let most_places = parallel + connections;
        Self {
            places: Semaphore::new(most_places),
            most_places,
            actions: Semaphore::new(parallel.max(1)),
        }
    }

    /// Waits until the source may be asked for one more after-action.
    pub async fn action(&self) -> SemaphorePermit<'_> {
        self.actions.acquire().await.expect("this semaphore is never closed")
    }
}

impl StorePermits {
    /// For at most `slots` files on their way to the store at once.
    pub fn new(slots: usize) -> Self {
        let first = slots.min(FIRST_SLOTS);
        Self {
            slots: Semaphore::new(first),
            most_slots: slots,
            growth: Mutex::new(Growth::from(first)),
            tickets: Semaphore::new(slots.saturating_mul(TICKETS_PER_SLOT)),
        }
    }

    /// Files of `source` that can be anywhere on their way at once.
    pub(crate) fn most_in_hand(&self, source: &SourcePermits) -> usize {
        source.most_places + self.most_slots.saturating_mul(1 + TICKETS_PER_SLOT)
    }

    /// Waits for a ticket. It is not given up when a run is stopped: what is committed is recorded.
    pub(crate) async fn ticket(&self) -> RecordTicket<'_> {
        RecordTicket(self.tickets.acquire().await.expect("this semaphore is never closed"))
    }

    /// A slot that no file waits for.
    pub(crate) fn spare_slot(&self) -> Option<SlotPermit<'_>> {
        let permit = self.slots.try_acquire().ok()?;
        Some(SlotPermit { permit: Some(permit), permits: self })
    }

    async fn slot(&self) -> SlotPermit<'_> {
        let permit = self.slots.acquire().await.expect("this semaphore is never closed");
        SlotPermit { permit: Some(permit), permits: self }
    }

    fn growth(&self) -> MutexGuard<'_, Growth> {
        self.growth.lock().expect("no code panics while it holds this lock")
    }

    fn came_back(&self, permit: SemaphorePermit<'_>) {
        let mut growth = self.growth();
        if growth.surplus > 0 {
            growth.surplus -= 1;
            return permit.forget();
        }
        drop(permit);
        // One that comes back and is nowhere to be had went to a file that waited.
        let is_wanted = self.slots.available_permits() == 0;
        let more = growth.came_back(is_wanted, self.most_slots, Instant::now());
        self.slots.add_permits(more);
    }
}

impl Growth {
    fn from(first: usize) -> Self {
        Self {
            slots: first,
            before: first,
            rate: None,
            wave: None,
            unmeasured: 0,
            is_settled: false,
            surplus: 0,
        }
    }

    /// A slot came back; `is_wanted` tells whether a file waited for it. How many more there are
    /// from now on.
    fn came_back(&mut self, is_wanted: bool, most: usize, now: Instant) -> usize {
        if self.is_settled || self.slots >= most && self.rate.is_none() {
            return 0;
        }
        let Some((since, done)) = &mut self.wave else {
            self.unmeasured += 1;
            self.wave = (self.unmeasured >= self.slots).then_some((now, 0));
            return 0;
        };
        *done += 1;
        if *done < self.slots {
            return 0;
        }
        let rate = *done as f64 / (now - *since).as_secs_f64().max(0.000_001);
        self.wave = Some((now, 0));
        let hoped = self.slots as f64 / self.before as f64 - 1.0;
        if self.rate.is_some_and(|before| rate < before * (1.0 + WORTH_KEEPING * hoped)) {
            (self.is_settled, self.surplus) = (true, self.slots - self.before);
            self.slots = self.before;
            return 0;
        }
        if !is_wanted {
            return 0;
        }
        let next = self.slots.saturating_mul(2).min(most);
        let more = next - self.slots;
        self.is_settled = more == 0;
        (self.before, self.slots, self.rate) = (self.slots, next, Some(rate));
        (self.wave, self.unmeasured) = (None, 0);
        more
    }
}

impl Drop for SlotPermit<'_> {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.permits.came_back(permit);
        }
    }
}

impl<'a> Admission<'a> {
    /// Waits for a place at `source` and then for a slot at `store`; `None` when `cancel` comes
    /// first.
    pub(crate) async fn wait(
        source: &'a SourcePermits,
        store: &'a StorePermits,
        cancel: &CancellationToken,
    ) -> Option<Self> {
        let place =
            async { source.places.acquire().await.expect("this semaphore is never closed") };
        let both = async {
            if safeguard_off!("place-before-slot") {
                let slot = store.slot().await;
                return Self { place: place.await, slot };
            }
            let place = place.await;
            Self { place, slot: store.slot().await }
        };
        tokio::select! {
            biased;
            admission = both => Some(admission).filter(|_| !cancel.is_cancelled()),
            () = cancel.cancelled() => None,
        }
    }

    /// Gives the place back: the bytes are here.
    pub(crate) fn arrived(self) -> SlotPermit<'a> {
        drop(self.place);
        self.slot
    }

    /// Gives the slot back, for a file that is only read.
    pub(crate) fn reads_only(self) -> SemaphorePermit<'a> {
        drop(self.slot);
        self.place
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn new_connections_do_not_pass_for_a_store_that_carries_no_more() {
        let (answer, mut now) = (Duration::from_millis(25), Instant::now());
        let mut growth = Growth::from(FIRST_SLOTS);
        // When each slot comes back; a slot that is new needs two answers for its first file.
        let mut slots = vec![now + 2 * answer; growth.slots];
        for _ in 0..3_000 {
            let at = (0..slots.len()).min_by_key(|at| slots[*at]).expect("there are slots");
            now = slots[at];
            slots[at] = now + answer;
            let more = growth.came_back(true, 256, now);
            slots.extend(vec![now + 2 * answer; more]);
        }
        assert_eq!((growth.slots, growth.surplus), (256, 0));
    }

    /// Slots after so many waves, each of which takes what `takes` says of its number of slots.
    fn grown(most: usize, waves: usize, takes: impl Fn(usize) -> Duration) -> (usize, usize) {
        let (mut growth, mut now) = (Growth::from(most.min(FIRST_SLOTS)), Instant::now());
        for _ in 0..waves {
            let slots = growth.slots;
            now += takes(slots);
            for _ in 0..slots {
                growth.came_back(true, most, now);
            }
        }
        (growth.slots, growth.surplus)
    }

    #[test]
    fn slots_grow_while_they_bring_more_files_and_no_further() {
        // Each answer takes as long however many there are: the store is far away.
        assert_eq!(grown(256, 10, |_| Duration::from_millis(25)), (256, 0));
        // All share what the line carries: twice as many bring nothing, and go again.
        let shared = grown(256, 10, |slots| Duration::from_millis(slots as u64));
        assert_eq!(shared, (FIRST_SLOTS, FIRST_SLOTS));
        assert_eq!(grown(5, 10, |_| Duration::from_millis(25)), (5, 0), "it is a limit");
    }

    #[tokio::test]
    async fn slots_that_are_too_many_go_when_they_come_back() {
        let permits = StorePermits::new(4);
        let slots = [permits.slot().await, permits.slot().await, permits.slot().await];
        permits.growth().surplus = 2;
        drop(slots);
        assert_eq!((permits.slots.available_permits(), permits.growth().surplus), (2, 0));
    }
}
