//! Archives: the table of formats.

mod at_rest;
pub mod contract;
pub mod error;
pub mod limits;
pub mod names;
pub mod spool;
pub mod unpack;
pub mod zip;
mod zip_directory;
mod zip_fields;
#[cfg(test)]
mod zip_tests;

use contract::Format;

/// Every format that is read, in the order in which they are asked.
pub const FORMATS: &[&dyn Format] = &[&zip::Zip];

/// The format of a file that begins with `head` (up to [`contract::HEAD_BYTES`]), if it may be an archive.
pub fn recognise(head: &[u8]) -> Option<&'static dyn Format> {
    FORMATS.iter().copied().find(|format| format.recognises(head))
}
