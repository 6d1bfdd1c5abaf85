//! How much an archive may unpack to, counted while it is read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::archive::dictionary_budget::{self, Window, Windows};
use crate::archive::error::UnpackError;
use crate::model::failure::Class;

/// What one archive may come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveLimits {
    /// Bytes of all members together, those of archives within it included.
    pub total_bytes: u64,
    /// Bytes of one member.
    pub member_bytes: u64,
    /// Unpacked bytes per packed byte, looked at once [`ArchiveLimits::RATIO_FREE_BYTES`] have come
    /// out.
    pub ratio: u64,
    /// Members, those of archives within it included.
    pub members: u64,
    /// How long reading it once may take.
    pub time: Duration,
}

impl ArchiveLimits {
    /// Ratios mean nothing on output that any machine has room for: repeated lines of a sensor pack
    /// 2,000 to 1.
    pub const RATIO_FREE_BYTES: u64 = 1 << 30;
}

impl Default for ArchiveLimits {
    fn default() -> Self {
        Self {
            total_bytes: 64 << 30,
            member_bytes: 64 << 30,
            ratio: 2_000,
            members: 1_000_000,
            time: Duration::from_secs(3600),
        }
    }
}

/// Counts what one archive unpacks to and stops it at its limits. Threads that read one archive
/// share it.
#[derive(Debug)]
pub struct Meter {
    counts: Arc<ArchiveCounts>,
    /// What an archive within the archive has come to; `None` for the outermost one.
    inner: Option<Arc<InnerCounts>>,
}

/// What an archive within an archive has come to, and with it those that it is in.
#[derive(Debug)]
struct InnerCounts {
    bytes: AtomicU64,
    members: AtomicU64,
    outer: Option<Arc<InnerCounts>>,
}

impl InnerCounts {
    fn chain(inner: Option<&Arc<Self>>) -> impl Iterator<Item = &Self> {
        std::iter::successors(inner.map(Arc::as_ref), |inner| inner.outer.as_deref())
    }
}

#[derive(Debug)]
struct ArchiveCounts {
    limits: ArchiveLimits,
    packed_bytes: u64,
    began: Instant,
    total: AtomicU64,
    members: AtomicU64,
    /// Bytes and members of archives in it that were read and then not unpacked.
    forgotten: (AtomicU64, AtomicU64),
    windows: Option<Arc<Windows>>,
    remarks: Mutex<Vec<String>>,
    doubts: Mutex<Vec<String>>,
}

impl Meter {
    /// A meter for an archive of `packed_bytes`.
    pub fn new(limits: ArchiveLimits, packed_bytes: u64) -> Self {
        Self::over(limits, packed_bytes, None)
    }

    /// The same, whose decoders draw their windows from `windows`.
    pub fn over(limits: ArchiveLimits, packed_bytes: u64, windows: Option<Arc<Windows>>) -> Self {
        let (total, members) = (AtomicU64::new(0), AtomicU64::new(0));
        Self {
            counts: Arc::new(ArchiveCounts {
                limits,
                packed_bytes,
                began: Instant::now(),
                total,
                members,
                forgotten: Default::default(),
                windows,
                remarks: Mutex::default(),
                doubts: Mutex::default(),
            }),
            inner: None,
        }
    }

    /// The same meter for an archive within the archive: it waits for windows only briefly, since
    /// the outer one's decoder may hold what it waits for.
    pub fn inner(&self) -> Self {
        let inner = InnerCounts {
            bytes: AtomicU64::new(0),
            members: AtomicU64::new(0),
            outer: self.inner.clone(),
        };
        Self { counts: Arc::clone(&self.counts), inner: Some(Arc::new(inner)) }
    }

    /// Takes back what was counted of this archive within an archive: it is not unpacked after all.
    /// Time that it took is gone. `limit_archive` where all that was read in vain comes to more
    /// than the whole archive may: archives in archives that each fail late would else be read
    /// without end.
    pub fn forget(&self) -> Result<(), UnpackError> {
        let Some(inner) = &self.inner else { return Ok(()) };
        let (bytes, members) =
            (inner.bytes.swap(0, Ordering::Relaxed), inner.members.swap(0, Ordering::Relaxed));
        take(&self.counts.total, bytes);
        take(&self.counts.members, members);
        for outer in InnerCounts::chain(inner.outer.as_ref()) {
            take(&outer.bytes, bytes);
            take(&outer.members, members);
        }
        let (in_vain, limits) = (&self.counts.forgotten, &self.counts.limits);
        within(MEMBERS, add(&in_vain.1, members), limits.members)?;
        let bytes = add(&in_vain.0, bytes);
        within(("bytes in all", "archive_bytes"), bytes, limits.total_bytes)?;
        // One bomb in an archive is kept as it is; an archive of bombs is one itself.
        if bytes <= 2 * ArchiveLimits::RATIO_FREE_BYTES { Ok(()) } else { self.ratio(bytes) }
    }

    /// Draws memory for `bytes` that a decoder is about to take, small amounts excepted. Waits
    /// until they are free. `limit_archive` if there can never be so much. Blocking.
    pub(crate) fn window(&self, bytes: u64) -> Result<Option<Window>, UnpackError> {
        let Some(windows) = &self.counts.windows else { return Ok(None) };
        let end =
            if self.inner.is_some() { dictionary_budget::holder_waits_until() } else { self.end() };
        windows.draw(bytes, end)
    }

    /// The moment at which the time is over; far away at the latest.
    fn end(&self) -> Instant {
        const FAR: Duration = Duration::from_secs(30 * 86_400);
        self.counts.began + self.counts.limits.time.min(FAR)
    }

    /// Another member begins.
    pub fn member(&self) -> Result<MemberMeter<'_>, UnpackError> {
        InnerCounts::chain(self.inner.as_ref()).for_each(|inner| _ = add(&inner.members, 1));
        within(MEMBERS, add(&self.counts.members, 1), self.counts.limits.members)?;
        Ok(MemberMeter { meter: self, bytes: 0 })
    }

    /// Somebody should know this of the archive, which is read all the same.
    pub(crate) fn remark(&self, text: String) {
        tell(&self.counts.remarks, text);
    }

    /// The content of what was read holds, and somebody should look: more may have been sent than
    /// is here, or a name may be another.
    pub(crate) fn doubt(&self, text: String) {
        tell(&self.counts.doubts, text);
    }

    /// What was doubted.
    pub fn doubts(&self) -> Vec<String> {
        self.counts.doubts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was remarked.
    pub(crate) fn remarks(&self) -> Vec<String> {
        self.counts.remarks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The directory claims this many members.
    pub fn claimed_members(&self, members: u64) -> Result<(), UnpackError> {
        within(MEMBERS, members, self.counts.limits.members)
    }

    /// Another `bytes` came out that are no member's own: the inside of a compression around a
    /// whole archive. They count for the ratio and the time, not for the total.
    pub fn between(&self, bytes_so_far: u64) -> Result<(), UnpackError> {
        self.ratio(bytes_so_far)?;
        self.time()
    }

    fn bytes(&self, bytes: u64) -> Result<(), UnpackError> {
        InnerCounts::chain(self.inner.as_ref()).for_each(|inner| _ = add(&inner.bytes, bytes));
        let total = add(&self.counts.total, bytes);
        within(("bytes in all", "archive_bytes"), total, self.counts.limits.total_bytes)?;
        self.ratio(total)?;
        self.time()
    }

    fn ratio(&self, out: u64) -> Result<(), UnpackError> {
        if out <= ArchiveLimits::RATIO_FREE_BYTES {
            return Ok(());
        }
        within(
            ("bytes per packed byte", "archive_ratio"),
            out / self.counts.packed_bytes.max(1),
            self.counts.limits.ratio,
        )
    }

    fn time(&self) -> Result<(), UnpackError> {
        if self.counts.began.elapsed() <= self.counts.limits.time {
            return Ok(());
        }
        Err(UnpackError::new(
            Class::LimitArchive,
            format!(
                "reading it takes more than {} s: `archive_time` in [limits] or [source.limits]",
                self.counts.limits.time.as_secs()
            ),
        ))
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
        within(
            ("bytes of one member", "archive_bytes"),
            self.bytes,
            self.meter.counts.limits.member_bytes,
        )?;
        self.meter.bytes(bytes)
    }
}

/// Adds `text` to what is told, once, and no more than a reader reads.
fn tell(told: &Mutex<Vec<String>>, text: String) {
    const MOST: usize = 20;
    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
    if told.len() < MOST && !told.contains(&text) {
        told.push(text);
    }
}

/// The sum; it stays at the largest number, so that what was too much once is not little again.
fn add(sum: &AtomicU64, more: u64) -> u64 {
    let before = sum
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |sum| Some(sum.saturating_add(more)));
    before.unwrap_or_else(|unchanged| unchanged).saturating_add(more)
}

/// Takes back what was added; never more than there is.
fn take(sum: &AtomicU64, less: u64) {
    let taken = sum
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |sum| Some(sum.saturating_sub(less)));
    debug_assert!(taken.is_ok(), "this update always goes well");
}

/// What is counted, and the setting that limits it.
type LimitName = (&'static str, &'static str);

const MEMBERS: LimitName = ("members", "archive_members");

fn within((what, setting): LimitName, found: u64, limit: u64) -> Result<(), UnpackError> {
    if found <= limit {
        return Ok(());
    }
    Err(UnpackError::new(
        Class::LimitArchive,
        format!("more than {limit} {what}: `{setting}` in [limits] or [source.limits]"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inner_archive_that_is_not_unpacked_counts_for_nothing() {
        let meter = Meter::new(
            ArchiveLimits { total_bytes: 100, members: 10, ..ArchiveLimits::default() },
            1,
        );
        let count = |meter: &Meter, bytes| {
            meter.member().and_then(|mut member| member.bytes(bytes)).is_ok()
        };
        assert!(count(&meter, 40));
        let inner = meter.inner();
        let innermost = inner.inner();
        assert!(count(&inner, 30) && count(&innermost, 30));
        assert!(!count(&innermost, 1), "all is taken");
        assert!(innermost.forget().is_ok());
        assert!(count(&inner, 30) && !count(&inner, 1));
        assert!(inner.forget().is_ok());
        assert!(count(&meter, 60) && !count(&meter, 1));
        let once_more = meter.inner();
        assert!(!count(&once_more, 30));
        assert!(once_more.forget().is_err(), "more was read in vain than may be read at all");
    }

    #[test]
    fn a_ratio_is_looked_at_beyond_what_any_machine_has_room_for() {
        let meter = Meter::new(ArchiveLimits::default(), 1000);
        let mut member = meter.member().expect("one may be");
        assert!(member.bytes(ArchiveLimits::RATIO_FREE_BYTES).is_ok());
        let error = member.bytes(1).expect_err("a million for one");
        assert!(
            crate::model::chain(&error)
                .contains("more than 2000 bytes per packed byte: `archive_ratio`")
        );
        assert!(
            meter.between(ArchiveLimits::RATIO_FREE_BYTES + 1).is_err(),
            "what stands between members comes out, too"
        );
        let packs_well =
            Meter::new(ArchiveLimits::default(), ArchiveLimits::RATIO_FREE_BYTES / 1500);
        assert!(
            packs_well
                .member()
                .and_then(|mut member| member.bytes(ArchiveLimits::RATIO_FREE_BYTES + 1))
                .is_ok()
        );
    }

    #[test]
    fn a_failure_names_the_setting() {
        let meter = Meter::new(ArchiveLimits { members: 0, ..ArchiveLimits::default() }, 1);
        let error = meter.member().map(drop).expect_err("there may be none");
        assert_eq!(
            crate::model::chain(&error),
            "unpacking: more than 0 members: `archive_members` in [limits] or [source.limits]"
        );
    }

    #[test]
    fn what_was_too_much_once_stays_too_much() {
        let limits = ArchiveLimits {
            total_bytes: u64::MAX - 1,
            member_bytes: u64::MAX,
            ratio: u64::MAX,
            ..ArchiveLimits::default()
        };
        let meter = Meter::new(limits, 1);
        let taken = [1 << 63, 1 << 63, 1]
            .map(|bytes| meter.member().and_then(|mut member| member.bytes(bytes)).is_ok());
        assert_eq!(taken, [true, false, false]);
    }
}
