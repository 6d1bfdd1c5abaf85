//! What runs the work: retries, signals, checksum lanes, parallel tasks, random bytes, the platform.

pub mod checksum;
pub mod parallel;
pub mod platform;
pub mod random;
pub mod retry;
pub mod signals;
