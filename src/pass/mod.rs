//! One source: locked, surveyed, transferred, looked at again, reported.

pub mod file_log;
pub mod gone;
pub mod late;
pub mod lease;
pub mod login_refusal;
pub mod look;
pub mod share;
pub mod source_lock;
pub mod steps;
pub mod survey;
