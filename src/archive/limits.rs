//! How much an archive may unpack to, counted while it is read.

use crate::archive::error::UnpackError;
use crate::failure::Class;

/// What one archive may come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all members together.
    pub total_bytes: u64,
    /// Bytes of one member.
    pub member_bytes: u64,
    /// Unpacked bytes per packed byte, looked at once [`Limits::RATIO_FREE_BYTES`] have come out.
    pub ratio: u64,
    /// Members.
    pub members: u64,
}

impl Limits {
    /// Ratios mean nothing on small output.
    pub const RATIO_FREE_BYTES: u64 = 16 << 20;
}

impl Default for Limits {
    fn default() -> Self {
        Self { total_bytes: 64 << 30, member_bytes: 64 << 30, ratio: 200, members: 100_000 }
    }
}

/// Counts what one archive unpacks to and stops it at its limits.
#[derive(Debug)]
pub struct Meter {
    limits: Limits,
    packed_bytes: u64,
    total: u64,
    member: u64,
    members: u64,
}

impl Meter {
    /// A meter for an archive of `packed_bytes`.
    pub fn new(limits: Limits, packed_bytes: u64) -> Self {
        Self { limits, packed_bytes, total: 0, member: 0, members: 0 }
    }

    /// Another member begins.
    pub fn member(&mut self) -> Result<(), UnpackError> {
        self.member = 0;
        self.members += 1;
        within("members", self.members, self.limits.members)
    }

    /// The directory claims this many members.
    pub fn claimed_members(&self, members: u64) -> Result<(), UnpackError> {
        within("members", members, self.limits.members)
    }

    /// Another `bytes` came out of the member in hand.
    pub fn bytes(&mut self, bytes: u64) -> Result<(), UnpackError> {
        self.member = self.member.saturating_add(bytes);
        self.total = self.total.saturating_add(bytes);
        within("bytes of one member", self.member, self.limits.member_bytes)?;
        within("bytes in all", self.total, self.limits.total_bytes)?;
        if self.total > Limits::RATIO_FREE_BYTES {
            within("bytes per packed byte", self.total / self.packed_bytes.max(1), self.limits.ratio)?;
        }
        Ok(())
    }
}

fn within(what: &str, found: u64, limit: u64) -> Result<(), UnpackError> {
    if found <= limit {
        return Ok(());
    }
    Err(UnpackError::new(Class::LimitArchive, format!("more than {limit} {what}")))
}
