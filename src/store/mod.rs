//! Stores: where blobs go.

pub mod azure;
pub mod circuit_breaker;
pub mod contract;
pub mod destinations;
#[cfg(feature = "testing")]
pub mod discard;
pub mod folder;
pub mod gated;
pub mod holder;
mod limits;
#[cfg(feature = "testing")]
pub mod memory;
pub mod paced;
pub mod placement;
pub mod queue;
