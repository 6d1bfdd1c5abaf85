//! One archive: its members uploaded, its manifest written, or its original kept.

pub(crate) mod checking;
pub mod early_upload;
pub mod ingest;
pub(crate) mod manifest;
mod manifest_writing;
pub mod members;
pub(crate) mod nested;
pub mod notes;
pub mod partial;
pub mod places;
pub mod quarantine;
pub mod stored_members;
