//! Pure decisions: what is new, what is equal, how blobs are named, when a source is due.

pub mod date_folders;
pub mod date_format;
pub mod equality;
pub mod escape;
pub mod expect;
pub mod expect_due;
pub mod expect_files;
pub mod layout;
pub mod naming;
pub mod patterns;
pub mod plan;
pub mod schedule;
pub mod selection;
pub mod time_zone;
pub mod verify;
pub mod windows_zones;
