//! How much an archive may unpack to, counted while it is read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::archive::error::UnpackError;
use crate::archive::windows::{self, Window, Windows};
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
    counts: Arc<Counts>,
    /// Whether whoever reads under it may hold a window already.
    is_inner: bool,
}

#[derive(Debug)]
struct Counts {
    limits: Limits,
    packed_bytes: u64,
    began: Instant,
    total: AtomicU64,
    members: AtomicU64,
    windows: Option<Arc<Windows>>,
}

impl Meter {
    /// A meter for an archive of `packed_bytes`.
    pub fn new(limits: Limits, packed_bytes: u64) -> Self {
        Self::over(limits, packed_bytes, None)
    }

    /// The same, whose decoders draw their windows from `windows`.
    pub fn over(limits: Limits, packed_bytes: u64, windows: Option<Arc<Windows>>) -> Self {
        let (total, members) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { counts: Arc::new(Counts { limits, packed_bytes, began: Instant::now(), total, members, windows }), is_inner: false }
    }

    /// The same meter for an archive within the archive: it waits for windows only briefly, since the outer one's decoder
    /// may hold what it waits for.
    pub fn inner(&self) -> Self {
        Self { counts: Arc::clone(&self.counts), is_inner: true }
    }

    /// Draws memory for `bytes` that a decoder is about to take, small amounts excepted. Waits until they are free.
    /// `limit_archive` if there can never be so much. Blocking.
    pub fn window(&self, bytes: u64) -> Result<Option<Window>, UnpackError> {
        let Some(windows) = &self.counts.windows else { return Ok(None) };
        let end = if self.is_inner { windows::holder_waits_until() } else { self.end() };
        windows.draw(bytes, end)
    }

    /// The moment at which the time is over; far away at the latest.
    fn end(&self) -> Instant {
        const FAR: Duration = Duration::from_secs(30 * 86_400);
        self.counts.began + self.counts.limits.time.min(FAR)
    }

    /// Another member begins.
    pub fn member(&self) -> Result<MemberMeter<'_>, UnpackError> {
        within("members", add(&self.counts.members, 1), self.counts.limits.members)?;
        Ok(MemberMeter { meter: self, bytes: 0 })
    }

    /// The directory claims this many members.
    pub fn claimed_members(&self, members: u64) -> Result<(), UnpackError> {
        within("members", members, self.counts.limits.members)
    }

    /// Another `bytes` came out that are no member's own: the inside of a compression around a whole archive.
    /// They count for the ratio and the time, not for the total.
    pub fn between(&self, bytes_so_far: u64) -> Result<(), UnpackError> {
        self.ratio(bytes_so_far)?;
        self.time()
    }

    fn bytes(&self, bytes: u64) -> Result<(), UnpackError> {
        let total = add(&self.counts.total, bytes);
        within("bytes in all", total, self.counts.limits.total_bytes)?;
        self.ratio(total)?;
        self.time()
    }

    fn ratio(&self, out: u64) -> Result<(), UnpackError> {
        if out <= Limits::RATIO_FREE_BYTES {
            return Ok(());
        }
        within("bytes per packed byte", out / self.counts.packed_bytes.max(1), self.counts.limits.ratio)
    }

    fn time(&self) -> Result<(), UnpackError> {
        if self.counts.began.elapsed() <= self.counts.limits.time {
            return Ok(());
        }
        Err(UnpackError::new(Class::LimitArchive, format!("reading it takes more than {} s", self.counts.limits.time.as_secs())))
    }
}

/// Counts one member's bytes.
#[derive(Debug)]
pub struct MemberMeter<'a> {
    meter: &'a Meter,
    bytes: u64,
}

impl<'a> MemberMeter<'a> {
    /// The meter of the archive that it is in.
    pub fn archive(&self) -> &'a Meter {
        self.meter
    }

    /// Another `bytes` of it came out.
    pub fn bytes(&mut self, bytes: u64) -> Result<(), UnpackError> {
        self.bytes = self.bytes.saturating_add(bytes);
        within("bytes of one member", self.bytes, self.meter.counts.limits.member_bytes)?;
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
