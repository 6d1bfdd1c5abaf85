//! Exit statuses of all commands.

/// Exit status: all well.
pub(crate) const WELL: u8 = 0;

/// Exit status: the configuration cannot be used.
pub(crate) const UNUSABLE: u8 = 2;

/// Exit status: nothing could be done.
pub const NOTHING: u8 = 3;
