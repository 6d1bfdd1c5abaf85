//! Stores: where blobs go.

pub mod azure;
pub mod contract;
pub mod discard;
pub mod folder;
pub mod holder;
mod limits;
pub mod memory;
pub mod paced;
pub mod queue;
