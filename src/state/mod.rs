//! Our own state in the store: every name of it (`paths`), every JSON of it (`store`), its version
//! (`version`).

pub mod paths;
pub mod store;
pub mod sum;
pub mod version;
