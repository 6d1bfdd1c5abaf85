//! Our own state in the store: every name of it (`paths`), every JSON of it (`store`), its version
//! (`version`), a place of its own (`apart`).

pub mod apart;
pub mod paths;
pub mod store;
pub mod sum;
pub mod version;
