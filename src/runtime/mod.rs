//! What runs the work: retries, signals, checksum lanes, parallel tasks, random bytes, platform,
//! mounts.

pub mod checksum;
pub(crate) mod mounts;
pub mod parallel;
pub mod platform;
pub mod random;
pub mod retry;
pub mod signals;
