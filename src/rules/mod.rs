//! Pure decisions: what is new, what is equal, how blobs are named, when a source is due.

pub mod equality;
pub mod naming;
pub mod patterns;
pub mod plan;
pub mod schedule;
pub mod verify;
