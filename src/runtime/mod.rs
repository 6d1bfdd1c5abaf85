//! What runs the work: retries, signals, checksum lanes, parallel tasks, the platform.

pub mod checksum;
pub mod parallel;
pub mod platform;
pub mod retry;
pub mod signals;
