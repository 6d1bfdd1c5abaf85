//! How much an archive may unpack to, counted while it is read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::archive::error::UnpackError;
use crate::failure::Class;

/// What one archive may come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all members together, those of archives within it included.
    pub total_bytes: u64,
    /// Bytes of one member.
    pub member_bytes: u64,
    /// Unpacked bytes per packed byte, looked at once [`Limits::RATIO_FREE_BYTES`] have come out.
    pub ratio: u64,
    /// Members, those of archives within it included.
    pub members: u64,
    /// How long reading it once may take.
    pub time: Duration,
}

impl Limits {
    /// Ratios mean nothing on small output.
    pub const RATIO_FREE_BYTES: u64 = 16 << 20;
}

impl Default for Limits {
    fn default() -> Self {
        Self { total_bytes: 64 << 30, member_bytes: 64 << 30, ratio: 200, members: 100_000, time: Duration::from_secs(3600) }
    }
}

/// Counts what one archive unpacks to and stops it at its limits. Threads that read one archive share it.
#[derive(Debug)]
pub struct Meter {
    limits: Limits,
    packed_bytes: u64,
    began: Instant,
    total: AtomicU64,
    members: AtomicU64,
}

impl Meter {
    /// A meter for an archive of `packed_bytes`.
    pub fn new(limits: Limits, packed_bytes: u64) -> Self {
        Self { limits, packed_bytes, began: Instant::now(), total: AtomicU64::new(0), members: AtomicU64::new(0) }
    }

    /// Another member begins.
    pub fn member(&self) -> Result<MemberMeter<'_>, UnpackError> {
        within("members", add(&self.members, 1), self.limits.members)?;
        Ok(MemberMeter { meter: self, bytes: 0 })
    }

    /// The directory claims this many members.
    pub fn claimed_members(&self, members: u64) -> Result<(), UnpackError> {
        within("members", members, self.limits.members)
    }

    /// Another `bytes` came out that are no member's own: the inside of a compression around a whole archive.
    /// They count for the ratio and the time, not for the total.
    pub fn between(&self, bytes_so_far: u64) -> Result<(), UnpackError> {
        self.ratio(bytes_so_far)?;
        self.time()
    }

    fn bytes(&self, bytes: u64) -> Result<(), UnpackError> {
        let total = add(&self.total, bytes);
        within("bytes in all", total, self.limits.total_bytes)?;
        self.ratio(total)?;
        self.time()
    }

    fn ratio(&self, out: u64) -> Result<(), UnpackError> {
        if out <= Limits::RATIO_FREE_BYTES {
            return Ok(());
        }
        within("bytes per packed byte", out / self.packed_bytes.max(1), self.limits.ratio)
    }

    fn time(&self) -> Result<(), UnpackError> {
        if self.began.elapsed() <= self.limits.time {
            return Ok(());
        }
        Err(UnpackError::new(Class::LimitArchive, format!("reading it takes more than {} s", self.limits.time.as_secs())))
    }
}

/// Counts one member's bytes.
#[derive(Debug)]
pub struct MemberMeter<'a> {
    meter: &'a Meter,
    bytes: u64,
}

impl MemberMeter<'_> {
    /// Another `bytes` of it came out.
    pub fn bytes(&mut self, bytes: u64) -> Result<(), UnpackError> {
        self.bytes = self.bytes.saturating_add(bytes);
        within("bytes of one member", self.bytes, self.meter.limits.member_bytes)?;
        self.meter.bytes(bytes)
    }
}

/// The sum; it stays at the largest number, so that what was too much once is not little again.
fn add(sum: &AtomicU64, more: u64) -> u64 {
    let before = sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |sum| Some(sum.saturating_add(more)));
    before.unwrap_or_else(|unchanged| unchanged).saturating_add(more)
}

fn within(what: &str, found: u64, limit: u64) -> Result<(), UnpackError> {
    if found <= limit {
        return Ok(());
    }
    Err(UnpackError::new(Class::LimitArchive, format!("more than {limit} {what}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_too_much_once_stays_too_much() {
        let limits = Limits { total_bytes: u64::MAX - 1, member_bytes: u64::MAX, ratio: u64::MAX, ..Limits::default() };
        let meter = Meter::new(limits, 1);
        let taken = [1 << 63, 1 << 63, 1].map(|bytes| meter.member().and_then(|mut member| member.bytes(bytes)).is_ok());
        assert_eq!(taken, [true, false, false]);
    }
}
