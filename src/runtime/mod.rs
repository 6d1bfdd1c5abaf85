//! What runs the work: retries, signals, checksum lanes, parallel tasks, threads for calls that
//! block, random bytes, platform, mounts, name service.

pub mod checksum;
pub mod few_threads;
pub(crate) mod mounts;
pub(crate) mod name_service;
pub mod parallel;
pub mod platform;
pub mod random;
pub mod retry;
pub mod signals;
