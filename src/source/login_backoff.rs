//! How a polite guest behaves: places that the server has no room for rest a while; a server that
//! is down is left alone.

use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// The first rest of a place that the server had no room for.
const FIRST_REST: Duration = Duration::from_secs(5);
/// The longest.
const LONGEST_REST: Duration = Duration::from_secs(120);
/// So many logins must have failed in a row,
const FAILURES: u32 = 10;
/// for so long, before a server is left alone.
const PATIENCE: Duration = Duration::from_secs(60);

/// Places that rest, so that nobody logs in on them.
#[derive(Debug, Default)]
pub struct Bench {
    resting: Vec<OwnedSemaphorePermit>,
    /// When the next of them comes back.
    next: Option<Instant>,
    /// Until when nobody asks for one more login.
    quiet: Option<Instant>,
    /// How often the server had no room since all places were last in use.
    refusals: u32,
}

impl Bench {
    /// Lets `places` rest. Returns for how long: twice as long each time, with a tenth of chance.
    pub fn rest(
        &mut self,
        places: impl Iterator<Item = OwnedSemaphorePermit>,
        now: Instant,
    ) -> Duration {
        self.resting.extend(places);
        if let Some(until) = self.quiet_until(now) {
            // Asked for before the refusal was known: one crowd, one rest.
            return until - now;
        }
        let full = FIRST_REST.saturating_mul(1 << self.refusals.min(16)).min(LONGEST_REST);
        self.refusals += 1;
        let rest = full.mul_f64(0.95 + 0.1 * chance());
        self.next = Some(now + rest);
        self.quiet = self.next;
        rest
    }

    /// Gives back one place for which the time has come; the others wait as long again.
    pub(crate) fn call_back(&mut self, now: Instant) {
        if self.next.is_some_and(|next| next <= now) {
            drop(self.resting.pop());
            self.next = (!self.resting.is_empty()).then_some(now + FIRST_REST);
            if self.next.is_none() {
                self.refusals = 0;
            }
        }
    }

    /// When the next place comes back.
    pub fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Until when nobody is to ask for one more login, if the server has just refused one.
    pub(crate) fn quiet_until(&self, now: Instant) -> Option<Instant> {
        self.quiet.filter(|until| *until > now)
    }
}

fn chance() -> f64 {
    #[cfg(feature = "testing")]
    if let Some(chosen) = crate::failpoint::random() {
        return f64::from(chosen) / f64::from(u16::MAX);
    }
    let mut byte = [0_u8; 1];
    // Without chance, all rests are equally long.
    getrandom::fill(&mut byte).map_or(0.5, |()| f64::from(byte[0]) / 255.0)
}

/// Notices that a server is down, so that thousands of files need not each find out.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    failures: u32,
    since: Option<Instant>,
}

impl Breaker {
    /// A login has failed while no other one was open. Returns why no more are to be tried, if so.
    pub fn failed(&mut self, now: Instant) -> Option<String> {
        self.failures += 1;
        let since = *self.since.get_or_insert(now);
        let long = now.duration_since(since);
        (self.failures >= FAILURES && long >= PATIENCE).then(|| {
            format!(
                "given up for this run after {} failed logins in {} s",
                self.failures,
                long.as_secs()
            )
        })
    }

    /// A login has succeeded.
    pub fn close(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;

    #[test]
    fn places_rest_longer_each_time_and_come_back_one_by_one() {
        let places = Arc::new(Semaphore::new(4));
        let take = |n: u32| places.clone().try_acquire_many_owned(n).unwrap();
        let (mut bench, start) = (Bench::default(), Instant::now());
        let rests: Vec<u64> = (0..8)
            .map(|n| {
                bench.rest(std::iter::empty(), start + Duration::from_secs(1000 * n)).as_secs()
            })
            .collect();
        assert!(
            rests.windows(2).all(|pair| pair[0] <= pair[1] + 13)
                && rests[0] <= 5
                && rests[7] >= 114,
            "{rests:?}"
        );
        let mut bench = Bench::default();
        bench.rest([take(1)].into_iter(), start);
        assert!(
            bench.rest([take(1)].into_iter(), start + Duration::from_secs(1))
                <= Duration::from_secs(5),
            "a crowd is refused once"
        );
        assert!(
            bench.quiet_until(start + Duration::from_secs(1)).is_some()
                && bench.quiet_until(start + Duration::from_secs(6)).is_none()
        );
        bench.call_back(start + Duration::from_secs(1));
        assert_eq!(places.available_permits(), 2);
        bench.call_back(start + Duration::from_secs(6));
        assert_eq!(places.available_permits(), 3, "one at a time");
        bench.call_back(start + Duration::from_secs(7));
        assert_eq!(places.available_permits(), 3);
        bench.call_back(start + Duration::from_secs(12));
        assert_eq!(places.available_permits(), 4);
        let later = start + Duration::from_secs(100);
        assert!(
            bench.rest(std::iter::empty(), later).as_secs() <= 5,
            "once all were back, rests begin anew"
        );
    }

    #[test]
    fn a_server_is_given_up_after_many_failures_and_long_enough() {
        let (mut breaker, start) = (Breaker::default(), Instant::now());
        assert!(
            (0..50).all(|_| breaker.failed(start).is_none()),
            "a moment's failures are no verdict"
        );
        let text = breaker.failed(start + Duration::from_secs(61)).unwrap();
        assert!(text.contains("51 failed logins in 61 s"), "{text}");
        breaker.close();
        assert!(
            breaker.failed(start + Duration::from_secs(500)).is_none(),
            "a login in between begins the count anew"
        );
        assert!((0..8).all(|n| breaker.failed(start + Duration::from_secs(600 + n)).is_none()));
        assert!(breaker.failed(start + Duration::from_secs(620)).is_some());
    }
}
