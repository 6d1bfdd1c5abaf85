//! Stores: where blobs go.

pub mod azure;
pub mod contract;
pub mod discard;
pub mod folder;
mod limits;
pub mod memory;
