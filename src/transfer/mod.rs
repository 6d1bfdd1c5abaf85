//! One file: described, downloaded, unpacked, uploaded, committed, recorded, removed at the source.

pub mod alike;
pub mod alike_names;
pub mod archive;
pub mod batch_stat;
pub mod budget;
pub mod commit;
pub mod context;
pub mod download;
pub mod error;
pub mod events;
pub mod identity;
pub mod leaving;
pub mod limit_memory;
pub mod lookup;
pub mod member_slips;
pub mod missing;
pub mod options;
pub mod permits;
pub mod post_action;
pub mod progress;
pub mod quarantined;
pub mod recheck;
pub mod removal;
pub mod request;
pub mod reread;
pub mod run_manifest;
pub mod settings;
pub mod store_health;
#[expect(clippy::module_inception, reason = "the way of one file, in the room of that name")]
pub mod transfer;
pub mod upload;
pub mod waiting;
pub mod whole_file;
