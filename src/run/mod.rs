//! The only room that joins: sources, archives, store and ledger to a run.

pub mod due;
pub mod local;
mod name_lookup;
pub mod plan;
pub mod planned;
pub mod planned_members;
pub mod recorded;
pub mod state_move;

pub use crate::history::run_id::run_id;
pub use crate::pass::look::left;
pub use crate::transfer::archive::manifest::{
    MAX_MANIFEST_BYTES, Manifest, ManifestMember, name_of as archive_manifest_name,
};
pub use crate::transfer::options::Options;
pub use local::run;
pub use plan::{Plan, plan};
pub use recorded::recorded;
